//! Which objects show which volume. Looked up once for all of them: among thousands of volumes, to
//! go through all for each would take minutes.

use std::collections::BTreeMap;

use super::inline::{Inline, Inlines};
use super::judge::{FlexVolume, Judge};
use super::objects::{Object, Objects};

/// Objects by what they show.
pub struct VolumeIndex<'a> {
    /// PersistentVolumes by name.
    volumes: BTreeMap<&'a str, &'a Object>,
    /// Names of PersistentVolumes by CSI driver and handle.
    csi: BTreeMap<(&'a str, &'a str), Vec<&'a str>>,
    /// FlexVolumes by CSI driver and the component's id. Only of drivers that attach: shares are
    /// shown by many, and what is attached is one.
    flexvolumes: BTreeMap<(&'a str, String), Vec<String>>,
}

impl<'a> VolumeIndex<'a> {
    /// Asks each component once about each FlexVolume of its own.
    ///
    /// # Errors
    /// The field that is not as Kubernetes has it.
    pub fn of(
        judges: &[Judge<'a>],
        objects: &'a Objects,
        inlines: &Inlines<'_>,
    ) -> Result<Self, String> {
        let mut index =
            Self { volumes: BTreeMap::new(), csi: BTreeMap::new(), flexvolumes: BTreeMap::new() };
        for volume in objects.of("PersistentVolume") {
            index.volumes.insert(&volume.name, volume);
            let handle = volume.text("spec.csi.volumeHandle")?;
            if let (Some(driver), Some(handle)) = (volume.text("spec.csi.driver")?, handle) {
                index.csi.entry((driver, handle)).or_default().push(&volume.name);
            }
            if let Some(flexvolume) = FlexVolume::of_volume(volume)? {
                index.add(judges, &flexvolume, format!("PersistentVolume {}", volume.name));
            }
        }
        for Inline { flexvolume, place, .. } in inlines.all() {
            index.add(judges, flexvolume, place.clone());
        }
        Ok(index)
    }

    fn add(&mut self, judges: &[Judge<'a>], flexvolume: &FlexVolume, place: String) {
        let judge = judges.iter().find(|judge| judge.is_flexvolume(&flexvolume.driver));
        let Some(judge) = judge.filter(|judge| judge.attaches().unwrap_or(false)) else { return };
        if let Ok(translated) = judge.translate(flexvolume) {
            let key = (judge.driver, translated.volume.as_str().to_owned());
            self.flexvolumes.entry(key).or_default().push(place);
        }
    }

    /// The PersistentVolume of this name.
    pub fn volume(&self, name: &str) -> Option<&'a Object> {
        self.volumes.get(name).copied()
    }

    /// Another object than `place` and the PersistentVolume `new` that shows a volume.
    pub fn elsewhere(&self, driver: &str, id: &str, place: &str, new: &str) -> Option<String> {
        let csi = self.csi.get(&(driver, id)).into_iter().flatten();
        let csi = csi.filter(|name| **name != new).map(|name| format!("PersistentVolume {name}"));
        let flexvolumes = self.flexvolumes.get(&(driver, id.to_owned())).into_iter().flatten();
        csi.chain(flexvolumes.cloned()).find(|other| other != place)
    }
}

//! How a volume of CSI becomes one of FlexVolume: the way back for volumes that CSI made. Those
//! that were FlexVolume's before have their old pair of objects for that.
//!
//! The steps are those of the other way, and so are the rules: a second pair of objects for the
//! same data, both with Retain, and nothing that deletes, detaches or unmounts. How FlexVolume
//! names the volume, its component says.

use serde_json::{Value, json};

use super::hidden::Hidden;
use super::judge::{CsiVolume, Judge};
use super::objects::{Object, is_name};
use super::report::{Item, Verdict};
use super::to_csi::steps::{InUse, afterwards, drain, new_claim, new_volume, point, retain};
use super::to_csi::{Pair, made};
use super::volume_index::VolumeIndex;
use super::volumes::{Asked, refused};

/// What is at the end of the names of new objects.
const SUFFIX: &str = "-flexvolume";
/// Secrets of a volume that FlexVolume has none for.
const OTHER_SECRETS: [&str; 4] = [
    "controllerPublishSecretRef",
    "nodeStageSecretRef",
    "controllerExpandSecretRef",
    "nodeExpandSecretRef",
];

/// Writes the steps into the item, or why there are none.
///
/// # Errors
/// The field that is not as Kubernetes has it.
pub fn plan<'a>(
    asked: &Asked<'a>,
    index: &VolumeIndex<'_>,
    judge: &Judge<'_>,
    volume: &'a Object,
    csi: &CsiVolume,
    item: &mut Item,
) -> Result<(), String> {
    let mut stop = |verdict, says: Vec<String>| {
        item.verdict = verdict;
        item.says.extend(says);
        Ok(())
    };
    let (pair, claim) = match Pair::of(asked, volume, (SUFFIX, "FlexVolume"))? {
        Ok(pair) => pair,
        Err((verdict, why)) => return stop(verdict, vec![why]),
    };
    if let Some(why) = not_carried(csi, volume).or(other_one(asked, index, judge, &pair, csi)) {
        return stop(Verdict::Person, vec![format!("not moved to FlexVolume: {why}")]);
    }
    let flexvolume = match judge.as_flexvolume(&pair.new_volume, csi) {
        Ok(flexvolume) => flexvolume,
        Err(error) => {
            let hidden = Hidden::of(&[&csi.attributes], &csi.flags);
            let mut says = vec!["not moved to FlexVolume, where it would not work:".to_owned()];
            says.extend(refused(&hidden, &error));
            return stop(Verdict::Person, says);
        }
    };
    let attaches = judge.attaches().map_err(|error| error.to_string())?;
    let secret = secret_of(volume)?;
    item.says.push(format!(
        "as a volume of FlexVolume it is PersistentVolume {} with claim {}/{}; nodes need the \
         call-out {}, and no pods of both claims may run at once where it is attached",
        pair.new_volume, pair.namespace, pair.new_claim, flexvolume.driver
    ));
    let source = made::flexvolume_source(&flexvolume, secret);
    let object = made::volume(volume, &pair, ("flexVolume", source))?;
    item.steps = vec![retain(volume, &pair)?, new_volume(&pair, "FlexVolume", object)];
    item.steps.push(new_claim(&pair, made::claim(volume, claim, &pair)?));
    if attaches {
        let in_use = InUse::over_csi(judge.driver, &csi.handle, pair.volume);
        let nodes = asked.cluster.attached_to(pair.volume);
        item.steps.push(drain(asked, &pair, &in_use, (&nodes, &csi.handle)));
    }
    let in_use = attaches.then(|| InUse::over_flexvolume(&flexvolume.driver, &pair.new_volume));
    item.steps.push(point(&pair, in_use.as_ref(), &csi.handle));
    item.steps.push(afterwards(&pair));
    Ok(())
}

/// What FlexVolume has no place for.
fn not_carried(csi: &CsiVolume, volume: &Object) -> Option<String> {
    if csi.is_block {
        return Some("FlexVolume has no raw devices".to_owned());
    }
    if !csi.flags.is_empty() {
        return Some(
            "FlexVolume takes no `mountOptions`; what they say has to stand among the options of \
             its PersistentVolume, where the driver has one for it"
                .to_owned(),
        );
    }
    let source = |name: &&&str| volume.at(&format!("spec.csi.{name}")).is_some();
    let secret = OTHER_SECRETS.iter().find(source)?;
    Some(format!("FlexVolume has one secret, which is `nodePublishSecretRef`; it has `{secret}`"))
}

/// Another object that prevents it.
fn other_one(
    asked: &Asked<'_>,
    index: &VolumeIndex<'_>,
    judge: &Judge<'_>,
    pair: &Pair<'_>,
    csi: &CsiVolume,
) -> Option<String> {
    let place = format!("PersistentVolume {}", pair.volume);
    if let Some(other) = index.elsewhere(judge.driver, &csi.handle, &place, &pair.new_volume) {
        return Some(format!(
            "{other} shows the same volume; where it is the one of FlexVolume, it is the way back"
        ));
    }
    if index.volume(&pair.new_volume).is_some() {
        return Some(format!("PersistentVolume {} is there already", pair.new_volume));
    }
    if asked.cluster.has_claim(pair.namespace, &pair.new_claim) {
        return Some(format!("claim {}/{} is there already", pair.namespace, pair.new_claim));
    }
    let is_too_long = !is_name(&pair.new_volume) || !is_name(&pair.new_claim);
    is_too_long.then(|| format!("there is no room for `{SUFFIX}` in its name"))
}

/// The Secret for publishing.
fn secret_of(volume: &Object) -> Result<Option<Value>, String> {
    let name = volume.name_in("spec.csi.nodePublishSecretRef.name")?;
    let namespace = volume.name_in("spec.csi.nodePublishSecretRef.namespace")?;
    Ok(name.map(|name| match namespace {
        Some(namespace) => json!({ "name": name, "namespace": namespace }),
        None => json!({ "name": name }),
    }))
}

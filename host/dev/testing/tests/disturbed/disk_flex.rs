//! The life of a disk over FlexVolume. The disk itself comes and goes by CSI, undisturbed.

use wharf_testing::bed::{Bed, BedOptions, FLEX_DRIVER};
use wharf_testing::player::{CsiVolume, FlexVolume, PlayError, VolumeClass};

use super::claim::GIB;
use super::flex::Flex;
use super::life::install_next;

/// With ext4, which not every machine may grow while it is mounted: everything but growth. With
/// XFS: growth.
pub struct FlexDisk<const GROWS: bool>(CsiVolume);

impl<const GROWS: bool> Flex for FlexDisk<GROWS> {
    const DRIVER: &'static str = FLEX_DRIVER;
    const VERBS: &'static [&'static str] = &[
        "attach",
        "waitforattach",
        "mountdevice",
        "mount",
        "expandfs",
        "unmount",
        "unmountdevice",
        "detach",
        "attach elsewhere",
        "waitforattach elsewhere",
        "mountdevice elsewhere",
        "mount elsewhere",
        "unmount elsewhere",
        "unmountdevice elsewhere",
        "detach elsewhere",
    ];

    fn bed() -> BedOptions {
        BedOptions::default()
    }

    fn prepare(bed: &Bed) {
        install_next(bed);
        bed.manager().serve("controller", bed.parts()).unwrap();
    }

    fn has(verb: &str) -> bool {
        (verb == "expandfs") == GROWS
    }

    fn begin(bed: &Bed, number: usize) -> (Self, FlexVolume) {
        let class = VolumeClass::file_system("ext4", &[("type", "cloud_auto")]);
        let disk = bed.csi().provision(&format!("pvc-life-{number:04}"), GIB, &class).unwrap();
        let fs_type = if GROWS { "xfs" } else { "ext4" };
        let options = [("volumeId", disk.handle.as_str())];
        let volume = FlexVolume::new(&format!("pv-life-{number:04}"), fs_type, &options);
        (Self(disk), volume)
    }

    fn end(&self, bed: &Bed, _name: &str) -> Result<(), PlayError> {
        bed.csi().delete(&self.0)
    }

    fn names(&self) -> Vec<(String, String)> {
        let serial = self.0.handle.trim_start_matches("d-");
        [(self.0.name.as_str(), "CLAIM"), (self.0.handle.as_str(), "DISK"), (serial, "SERIAL")]
            .map(|(name, word)| (name.to_owned(), word.to_owned()))
            .into()
    }
}

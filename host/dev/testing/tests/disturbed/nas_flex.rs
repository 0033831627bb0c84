//! The life of a share over FlexVolume. No request goes to the cloud.

use wharf_testing::bed::{Bed, BedOptions};
use wharf_testing::player::{FlexVolume, PlayError};

use super::flex::Flex;
use super::kind::Kind;
use super::nas::{BEDS, DIRECTORY, files, prepare, server_of};

/// See above.
pub struct FlexShare;

impl Flex for FlexShare {
    const DRIVER: &'static str = "alicloud/nas";
    const VERBS: &'static [&'static str] = &["mount", "unmount"];
    const BEDS: usize = BEDS;
    const KINDS: &'static [Kind] = &[Kind::Killed, Kind::Orphaned];

    fn bed() -> BedOptions {
        BedOptions { nodes: 1, backends: vec!["nas"], ..BedOptions::default() }
    }

    fn prepare(bed: &Bed) {
        prepare(bed);
    }

    fn begin(bed: &Bed, number: usize) -> (Self, FlexVolume) {
        let name = format!("pv-life-{number:04}");
        let (server, path) = (server_of(bed), format!("{DIRECTORY}/{name}"));
        let options = [("server", server.as_str()), ("path", path.as_str()), ("mode", "770")];
        (Self, FlexVolume::new(&name, "", &options))
    }

    /// An administrator's share stays with its data; this one is as good as never there.
    fn end(&self, bed: &Bed, name: &str) -> Result<(), PlayError> {
        let _ = std::fs::remove_dir_all(files(bed).join(name));
        Ok(())
    }
}

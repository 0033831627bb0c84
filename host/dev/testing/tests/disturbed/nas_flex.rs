//! The life of a share over FlexVolume. No request goes to the cloud.

use std::path::Path;

use wharf_testing::bed::{Bed, BedOptions};
use wharf_testing::player::{FlexVolume, PlayError};

use super::flex::Flex;
use super::kind::Kind;
use super::nas::{BEDS, DIRECTORY, MODE, check_mode, files, prepare, server_of, take_mode};

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
        let options = [("server", server.as_str()), ("path", path.as_str()), ("mode", MODE)];
        std::fs::create_dir(files(bed).join(&name)).unwrap();
        take_mode(&files(bed).join(&name));
        (Self, FlexVolume::new(&name, "", &options))
    }

    fn mounted(at: &Path) {
        check_mode(at);
    }

    /// An administrator's share stays with its data; this one is as good as never there.
    fn end(&self, bed: &Bed, name: &str) -> Result<(), PlayError> {
        let _ = std::fs::remove_dir_all(files(bed).join(name));
        Ok(())
    }
}

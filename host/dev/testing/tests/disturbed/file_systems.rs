//! The life of a file system of a claim's own, over CSI: ordered with its mount target, and deleted
//! with it. The backend asks the cloud and nothing else, so positions are requests; mounting is as
//! with any other share.

use std::time::{Duration, Instant};

use wharf_cloudsim::Delays;
use wharf_testing::bed::{Bed, BedOptions};
use wharf_testing::player::{CsiPlayer, CsiVolume, PlayError, VolumeClass};

use super::kind::Kind;
use super::life::{Life, Lives, retry};
use super::server;

const CSI: &str = "nasplugin.csi.alibabacloud.com";
const GIB: u64 = 1 << 30;
/// Long enough for a call that is repeated at once to meet what is on its way.
const ON_ITS_WAY_MS: u64 = 300;
/// Many times that.
const SETTLED: Duration = Duration::from_secs(30);

/// See above.
pub struct FileSystemLife;

impl Lives for FileSystemLife {
    type On<'a> = OneLife<'a>;
    /// There are few lives; making a bed takes longer than one.
    const BEDS: usize = 4;
    const KINDS: &'static [Kind] =
        &[Kind::AnswerLost, Kind::RequestLost, Kind::KilledBeforeRequest, Kind::KilledAfterRequest];

    fn bed() -> BedOptions {
        let options = BedOptions { nodes: 1, backends: vec!["nas"], ..BedOptions::default() };
        BedOptions { delays: Delays { nas: ON_ITS_WAY_MS, ..options.delays }, ..options }
    }
}

pub struct OneLife<'a> {
    bed: &'a Bed,
    csi: CsiPlayer,
    name: String,
    volume: Option<CsiVolume>,
}

impl<'a> Life<'a> for OneLife<'a> {
    const VERBS: &'static [&'static str] = &["create", "delete"];

    fn prepare(bed: &Bed) {
        bed.serve().unwrap();
    }

    fn has(_verb: &str, _kind: Kind) -> bool {
        true
    }

    fn begin(bed: &'a Bed, number: usize) -> Self {
        let csi = bed.csi_of(CSI).with_retry(retry());
        Self { bed, csi, name: format!("pvc-life-{number:04}"), volume: None }
    }

    fn perform(&mut self, verb: &str) -> Result<(), PlayError> {
        match (verb, &self.volume) {
            ("create", _) => {
                let class = VolumeClass::share(&[
                    ("volumeAs", "filesystem"),
                    ("vpcId", "vpc-wharf"),
                    ("vSwitchId", "vsw-wharf"),
                    ("deleteVolume", "true"),
                ]);
                self.volume = Some(self.csi.provision(&self.name, GIB, &class)?);
                Ok(())
            }
            ("delete", Some(volume)) => self.csi.delete(volume),
            ("delete", None) => Ok(()),
            (other, _) => panic!("{other} is no verb"),
        }
    }

    fn disturb(&mut self, verb: &str, kind: Kind, at: usize) -> Result<Option<String>, PlayError> {
        let bed = self.bed;
        server::disturb(bed, bed.manager(), kind, at, || self.perform(verb))
    }

    /// A deleted file system is there for a moment.
    fn settle(&self) {
        let begun = Instant::now();
        let region = self.bed.region();
        while region.file_systems().iter().any(|system| system.status != "Running")
            && begun.elapsed() < SETTLED
        {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn was_skipped(&self) -> bool {
        // Over CSI, the sidecars always ask.
        false
    }

    fn end(&mut self) -> Result<(), PlayError> {
        self.perform("delete")
    }

    fn names(&self) -> Vec<(String, String)> {
        let mut names = Vec::new();
        for system in self.bed.region().file_systems() {
            let targets = system.mount_targets.into_iter();
            names.extend(targets.map(|target| (target, "TARGET".to_owned())));
            names.push((system.id, "SYSTEM".to_owned()));
        }
        names.push((self.name.clone(), "NAME".to_owned()));
        names
    }
}

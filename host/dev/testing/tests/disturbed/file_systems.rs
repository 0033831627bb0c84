//! The life of a file system of a claim's own, over CSI: ordered with its mount target, and deleted
//! with it. The backend asks the cloud and nothing else, so positions are requests; mounting is as
//! with any other share.

use std::time::{Duration, Instant};

use wharf_cloudsim::Delays;
use wharf_testing::bed::{Bed, BedOptions};
use wharf_testing::player::VolumeClass;

use super::claim::{Claim, ClaimLife, GIB};
use super::kind::Kind;

/// Long enough for a call that is repeated at once to meet what is on its way.
const ON_ITS_WAY_MS: u64 = 300;
/// Many times that.
const SETTLED: Duration = Duration::from_secs(30);

/// See above.
pub struct FileSystem;

impl Claim for FileSystem {
    const DRIVER: &'static str = "nasplugin.csi.alibabacloud.com";
    const VERBS: &'static [&'static str] = &["create", "delete"];
    /// There are few lives; making a bed takes longer than one.
    const BEDS: usize = 4;
    const KINDS: &'static [Kind] =
        &[Kind::AnswerLost, Kind::RequestLost, Kind::KilledBeforeRequest, Kind::KilledAfterRequest];

    fn bed() -> BedOptions {
        let options = BedOptions { nodes: 1, backends: vec!["nas"], ..BedOptions::default() };
        BedOptions { delays: Delays { nas: ON_ITS_WAY_MS, ..options.delays }, ..options }
    }

    fn prepare(bed: &Bed) {
        bed.manager().serve("controller", bed.parts()).unwrap();
    }

    fn class(_bed: &Bed) -> (VolumeClass, u64) {
        let class = VolumeClass::share(&[
            ("volumeAs", "filesystem"),
            ("vpcId", "vpc-wharf"),
            ("vSwitchId", "vsw-wharf"),
            ("deleteVolume", "true"),
        ]);
        (class, GIB)
    }

    /// A deleted file system is there for a moment.
    fn settle(life: &ClaimLife<'_, Self>) {
        let (begun, region) = (Instant::now(), life.bed.region());
        while region.file_systems().iter().any(|system| system.status != "Running")
            && begun.elapsed() < SETTLED
        {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn names(life: &ClaimLife<'_, Self>) -> Vec<(String, String)> {
        let mut names = Vec::new();
        for system in life.bed.region().file_systems() {
            let targets = system.mount_targets.into_iter();
            names.extend(targets.map(|target| (target, "TARGET".to_owned())));
            names.push((system.id, "SYSTEM".to_owned()));
        }
        names
    }
}

//! The life of a bucket over FlexVolume: call-outs killed at each of their positions, and the
//! supervisor at each of its own. No request of the host goes to the cloud.

use wharf_testing::bed::{Bed, BedOptions, Machine};
use wharf_testing::player::{FlexVolume, PlayError};
use wharf_testing::snapshot::SHARED_BUCKET;

use super::buckets::{HELPER, keys, one_node};
use super::flex::{Flex, FlexLife};
use super::kind::Kind;
use super::supervisor::{self, await_no_helper, keep_a_supervisor};

/// See above.
pub struct FlexBucket;

impl Flex for FlexBucket {
    const DRIVER: &'static str = "alicloud/oss";
    const VERBS: &'static [&'static str] = &["mount", "unmount"];
    const KINDS: &'static [Kind] = &[Kind::Killed, Kind::SupervisorKilled];

    fn bed() -> BedOptions {
        one_node()
    }

    fn prepare(bed: &Bed) {
        bed.region().make_bucket(SHARED_BUCKET).unwrap();
    }

    /// What an earlier life wrote is there.
    fn begin(bed: &Bed, number: usize) -> (Self, FlexVolume) {
        let url = bed.region().description().endpoints.oss.as_str();
        let options = [&[("bucket", SHARED_BUCKET), ("url", url)][..], &HELPER].concat();
        let mut volume = FlexVolume::new(&format!("pv-life-{number:04}"), "", &options);
        volume.secret = keys(bed).map(|(name, value)| (name, value.into_bytes())).into();
        // As a service manager does.
        keep_a_supervisor(bed, bed.node(0));
        (Self, volume)
    }

    fn disturb(
        life: &mut FlexLife<'_, Self>,
        machine: &Machine,
        verb: &str,
        kind: Kind,
        at: usize,
    ) -> Result<Option<String>, PlayError> {
        let bed = life.bed;
        match kind {
            Kind::SupervisorKilled => supervisor::disturb(life, bed, verb, kind, at),
            _ => life.disturb_call_out(machine, verb, kind, at),
        }
    }

    fn settle(life: &FlexLife<'_, Self>) {
        await_no_helper(life.bed, &life.pod_mount());
    }
}

//! The life of a bucket over FlexVolume: call-outs killed at each of their positions, and the
//! supervisor at each of its own. No request of the host goes to the cloud.

use wharf_testing::bed::{Bed, BedOptions, Machine};
use wharf_testing::player::{FlexVolume, PlayError};
use wharf_testing::snapshot::SHARED_BUCKET;

use super::buckets::one_node;
use super::flex::{Flex, FlexLife};
use super::kind::{Kind, Swap};
use super::life::Life;
use super::supervisor::{await_no_helper, keep_a_supervisor, while_the_supervisor_is_killed};

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
        let region = bed.region().description();
        let options = [
            ("bucket", SHARED_BUCKET),
            ("url", region.endpoints.oss.as_str()),
            ("fuseType", "s3fs"),
            ("otherOpts", "-o use_path_request_style -o stat_cache_expire=0"),
        ];
        let mut volume = FlexVolume::new(&format!("pv-life-{number:04}"), "", &options);
        let keys =
            [("akId", &region.admin.access_key_id), ("akSecret", &region.admin.access_key_secret)];
        volume.secret =
            keys.map(|(name, value)| (name.to_owned(), value.clone().into_bytes())).into();
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
        if kind != Kind::SupervisorKilled {
            return life.disturb_call_out(machine, verb, kind, at);
        }
        while_the_supervisor_is_killed(bed, kind.moment(at, Swap::of(bed, machine)), || {
            let performed = life.perform(verb);
            life.settle();
            performed
        })
    }

    fn settle(life: &FlexLife<'_, Self>) {
        await_no_helper(life.bed, &life.pod_mount());
    }
}

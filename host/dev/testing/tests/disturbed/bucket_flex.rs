//! The life of a bucket over FlexVolume: a process for each call-out, killed at each of its
//! positions, and the supervisor at each of its own. No request of the host goes to the cloud.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wharf_testing::bed::{Bed, BedOptions};
use wharf_testing::player::{Event, FlexNode, FlexPlayer, FlexVolume, Happening, PlayError};
use wharf_testing::snapshot::SHARED_BUCKET;

use super::buckets::{await_no_helper, keep_a_supervisor, while_the_supervisor_is_killed};
use super::call_out;
use super::kind::{Kind, Swap};
use super::life::{Life, Lives, retry};
use super::pod::{Found, use_volume};

const FLEX: &str = "alicloud/oss";
const POD: &str = "pod";

/// See above.
pub struct BucketFlexLife;

impl Lives for BucketFlexLife {
    type On<'a> = OneLife<'a>;

    const KINDS: &'static [Kind] = &[Kind::Killed, Kind::SupervisorKilled];

    fn bed() -> BedOptions {
        BedOptions { nodes: 1, backends: vec!["oss"], ..BedOptions::default() }
    }
}

pub struct OneLife<'a> {
    bed: &'a Bed,
    flex: FlexPlayer,
    node: FlexNode,
    volume: FlexVolume,
    skipped: Arc<AtomicBool>,
}

impl<'a> Life<'a> for OneLife<'a> {
    const VERBS: &'static [&'static str] = &["mount", "unmount"];

    fn prepare(bed: &Bed) {
        bed.install_flexvolume().unwrap();
        bed.region().make_bucket(SHARED_BUCKET).unwrap();
    }

    fn has(_verb: &str, _kind: Kind) -> bool {
        true
    }

    fn begin(bed: &'a Bed, number: usize) -> Self {
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
        let skipped: Arc<AtomicBool> = Arc::default();
        let heard = Arc::clone(&skipped);
        let audience = Arc::new(move |event: &Event| {
            heard.fetch_or(matches!(event.happening, Happening::Skipped { .. }), Ordering::SeqCst);
        });
        // As a service manager does.
        keep_a_supervisor(bed, bed.node(0));
        Self {
            bed,
            flex: bed.flex_of(FLEX).with_retry(retry()).with_audience(audience),
            node: bed.node(0).flex_node(),
            volume,
            skipped,
        }
    }

    fn perform(&mut self, verb: &str) -> Result<(), PlayError> {
        let flex = self.flex.clone();
        self.perform_by(&flex, verb)
    }

    fn disturb(&mut self, verb: &str, kind: Kind, at: usize) -> Result<Option<String>, PlayError> {
        let (bed, machine) = (self.bed, self.bed.node(0));
        if kind == Kind::SupervisorKilled {
            let moment = kind.moment(at, Swap::of(bed, machine));
            return while_the_supervisor_is_killed(bed, moment, || {
                let performed = self.perform(verb);
                self.settle();
                performed
            });
        }
        let flex = self.flex.clone();
        call_out::disturb(bed, machine, verb, kind, at, |disturb| {
            self.perform_by(&flex.clone().with_disturbance(disturb), verb)
        })
    }

    fn settle(&self) {
        await_no_helper(self.bed, &self.volume.pod_mount(&self.node, FLEX, POD));
    }

    fn was_skipped(&self) -> bool {
        self.skipped.load(Ordering::SeqCst)
    }

    fn end(&mut self) -> Result<(), PlayError> {
        self.flex.unmount(&self.volume, &self.node, POD)
    }

    fn names(&self) -> Vec<(String, String)> {
        vec![(self.volume.name.clone(), "NAME".to_owned())]
    }
}

impl OneLife<'_> {
    fn perform_by(&self, flex: &FlexPlayer, verb: &str) -> Result<(), PlayError> {
        self.skipped.store(false, Ordering::SeqCst);
        match verb {
            // What an earlier life wrote is there.
            "mount" => {
                use_volume(&flex.mount(&self.volume, &self.node, POD)?.join("data"), Found::Empty)
            }
            "unmount" => flex.unmount(&self.volume, &self.node, POD)?,
            other => panic!("{other} is no verb"),
        }
        Ok(())
    }
}

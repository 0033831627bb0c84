//! The lives of buckets over CSI: one of a claim's own, mounted by `s3fs` and deleted with its object,
//! the supervisor killed at each of its positions too; and a directory of a claim's own in a shared
//! bucket, filled and deleted with what is in it.
//!
//! Requests are disturbed where the backend makes them; those of the helper are the helper's.

use wharf_testing::bed::{Bed, BedOptions, Machine};
use wharf_testing::player::{CLAIM_METADATA, CsiVolume, PlayError, VolumeClass};
use wharf_testing::snapshot::SHARED_BUCKET;

use super::claim::{Claim, ClaimLife, GIB};
use super::kind::Kind;
use super::life::Life;
use super::server;
use super::supervisor::{self, await_no_helper, keep_a_supervisor};

const DRIVER: &str = "ossplugin.csi.alibabacloud.com";

/// With one node and the backend of buckets.
pub fn one_node() -> BedOptions {
    BedOptions { nodes: 1, backends: vec!["oss"], ..BedOptions::default() }
}

/// How its helper reaches the region, whose buckets have no names of hosts.
pub const HELPER: [(&str, &str); 2] =
    [("fuseType", "s3fs"), ("otherOpts", "-o use_path_request_style -o stat_cache_expire=0")];

/// The administrator's keys, as a Secret has them.
pub fn keys(bed: &Bed) -> [(String, String); 2] {
    let keys = &bed.region().description().admin;
    [("akId", &keys.access_key_id), ("akSecret", &keys.access_key_secret)]
        .map(|(name, value)| (name.to_owned(), value.clone()))
}

/// A bucket of a claim's own.
pub struct Bucket;

impl Claim for Bucket {
    const DRIVER: &'static str = DRIVER;
    const VERBS: &'static [&'static str] = &[
        "create",
        "attach",
        "stage",
        "publish",
        "publish to read",
        "unpublish to read",
        "unpublish",
        "unstage",
        "detach",
        "delete",
    ];
    const KINDS: &'static [Kind] = &[
        Kind::AnswerLost,
        Kind::RequestLost,
        Kind::KilledBeforeRequest,
        Kind::KilledAfterRequest,
        Kind::Killed,
        Kind::SupervisorKilled,
    ];

    fn bed() -> BedOptions {
        one_node()
    }

    fn has(verb: &str, kind: Kind) -> bool {
        match kind {
            Kind::SupervisorKilled => matches!(verb, "stage" | "unstage"),
            kind if kind.is_of_the_cloud() => matches!(verb, "create" | "delete"),
            _ => true,
        }
    }

    /// As a service manager does.
    fn begin(bed: &Bed) {
        keep_a_supervisor(bed, bed.node(0));
    }

    fn class(bed: &Bed) -> (VolumeClass, u64) {
        let parameters = [
            ("volumeAs", "bucket"),
            ("deleteObjects", "true"),
            ("url", bed.region().description().endpoints.oss.as_str()),
        ];
        (VolumeClass::share(&[&parameters[..], &HELPER].concat()), GIB)
    }

    fn created(bed: &Bed, volume: &mut CsiVolume) {
        volume.stage_secret = keys(bed).into();
    }

    fn disturb(
        life: &mut ClaimLife<'_, Self>,
        machine: &Machine,
        verb: &str,
        kind: Kind,
        at: usize,
    ) -> Result<Option<String>, PlayError> {
        let bed = life.bed;
        match kind {
            Kind::SupervisorKilled => supervisor::disturb(life, bed, verb, kind, at),
            _ => server::disturb(bed, machine, kind, at, || life.perform(verb)),
        }
    }

    fn settle(life: &ClaimLife<'_, Self>) {
        if let Some(staging) = life.staging() {
            await_no_helper(life.bed, &staging);
        }
    }

    fn names(life: &ClaimLife<'_, Self>) -> Vec<(String, String)> {
        life.digest().into_iter().collect()
    }
}

/// A directory of a claim's own in a bucket, with `deleteObjects`.
pub struct BucketDirectory;

impl Claim for BucketDirectory {
    const DRIVER: &'static str = DRIVER;
    const VERBS: &'static [&'static str] = &["create", "delete"];
    const KINDS: &'static [Kind] = &[
        Kind::AnswerLost,
        Kind::RequestLost,
        Kind::KilledBeforeRequest,
        Kind::KilledAfterRequest,
        Kind::Killed,
    ];

    fn bed() -> BedOptions {
        one_node()
    }

    fn prepare(bed: &Bed) {
        bed.manager().serve("controller", bed.parts()).unwrap();
        bed.region().make_bucket(SHARED_BUCKET).unwrap();
    }

    fn class(bed: &Bed) -> (VolumeClass, u64) {
        let parameters = [
            ("volumeAs", "subpath"),
            ("bucket", SHARED_BUCKET),
            ("path", "/claims"),
            ("deleteObjects", "true"),
            ("url", bed.region().description().endpoints.oss.as_str()),
            ("fuseType", "s3fs"),
        ];
        (VolumeClass::share(&[&parameters[..], &CLAIM_METADATA].concat()), GIB)
    }

    /// With some objects in it, as a pod leaves them.
    fn created(bed: &Bed, volume: &mut CsiVolume) {
        for name in ["data", "directory/", "directory/more"] {
            let key = format!("claims/{}/{name}", volume.name);
            bed.region().put_object(SHARED_BUCKET, &key, b"content").unwrap();
        }
    }
}

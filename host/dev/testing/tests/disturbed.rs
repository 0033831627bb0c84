//! Invariant 7: killing the host at any instruction and repeating the call ends in the same state
//! as never having been killed. And the same for an answer or a request that the cloud loses, and
//! for a backend that is replaced.
//!
//! A *life* is every verb of a volume, once. In the n-th life every verb is disturbed at its n-th
//! position and then repeated by Kubernetes' rules; after each verb the state of everything is
//! compared with that of an undisturbed life. Lives go on until no verb has an n-th position. So
//! every position of every verb is visited, and none is sampled. Positions are requests to the
//! cloud, and system calls that change the machine, of the host and of its helpers; calls of one
//! kind that a helper makes one after the other are one where the host alone dies.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

mod disturbed {
    pub mod bucket_flex;
    pub mod buckets;
    pub mod call_out;
    pub mod claim;
    pub mod disk_flex;
    pub mod disks;
    pub mod file_systems;
    pub mod flex;
    pub mod kind;
    pub mod lagging;
    pub mod life;
    pub mod pod;
    pub mod server;
    pub mod supervisor;
}

use disturbed::bucket_flex::FlexBucket;
use disturbed::buckets::{Bucket, BucketDirectory};
use disturbed::claim::ClaimLives;
use disturbed::disk_flex::FlexDisk;
use disturbed::disks::Disk;
use disturbed::file_systems::FileSystem;
use disturbed::flex::FlexLives;
use disturbed::lagging::{LaggingCsi, LaggingFlex};
use disturbed::life::Lives;

fn live_through<L: Lives>(test: &str) {
    if wharf_testing::requirement::machine(test) {
        disturbed::life::live_through::<L>(test);
    }
}

#[test]
fn every_csi_verb_disturbed_anywhere_ends_as_if_undisturbed() {
    live_through::<ClaimLives<Disk<false>>>(
        "every_csi_verb_disturbed_anywhere_ends_as_if_undisturbed",
    );
}

#[test]
fn every_csi_verb_of_a_raw_device_disturbed_anywhere_ends_as_if_undisturbed() {
    live_through::<ClaimLives<Disk<true>>>(
        "every_csi_verb_of_a_raw_device_disturbed_anywhere_ends_as_if_undisturbed",
    );
}

#[test]
fn every_flexvolume_verb_disturbed_anywhere_ends_as_if_undisturbed() {
    live_through::<FlexLives<FlexDisk<false>>>(
        "every_flexvolume_verb_disturbed_anywhere_ends_as_if_undisturbed",
    );
}

#[test]
fn flexvolume_growth_disturbed_anywhere_ends_as_if_undisturbed() {
    live_through::<FlexLives<FlexDisk<true>>>(
        "flexvolume_growth_disturbed_anywhere_ends_as_if_undisturbed",
    );
}

#[test]
fn every_verb_of_a_bucket_disturbed_anywhere_ends_as_if_undisturbed() {
    const TEST: &str = "every_verb_of_a_bucket_disturbed_anywhere_ends_as_if_undisturbed";
    if wharf_testing::requirement::buckets(TEST) {
        disturbed::life::live_through::<ClaimLives<Bucket>>(TEST);
    }
}

#[test]
fn every_verb_of_a_file_system_disturbed_anywhere_ends_as_if_undisturbed() {
    live_through::<ClaimLives<FileSystem>>(
        "every_verb_of_a_file_system_disturbed_anywhere_ends_as_if_undisturbed",
    );
}

#[test]
fn every_verb_of_a_bucket_over_flexvolume_disturbed_anywhere_ends_as_if_undisturbed() {
    const TEST: &str =
        "every_verb_of_a_bucket_over_flexvolume_disturbed_anywhere_ends_as_if_undisturbed";
    if wharf_testing::requirement::buckets(TEST) {
        disturbed::life::live_through::<FlexLives<FlexBucket>>(TEST);
    }
}

#[test]
fn a_directory_that_is_deleted_with_its_objects_disturbed_anywhere_ends_as_if_undisturbed() {
    live_through::<ClaimLives<BucketDirectory>>(
        "a_directory_that_is_deleted_with_its_objects_disturbed_anywhere_ends_as_if_undisturbed",
    );
}

#[test]
fn every_csi_verb_disturbed_on_a_lagging_cloud_ends_as_if_undisturbed() {
    live_through::<LaggingCsi>(
        "every_csi_verb_disturbed_on_a_lagging_cloud_ends_as_if_undisturbed",
    );
}

#[test]
fn every_flexvolume_verb_disturbed_on_a_lagging_cloud_ends_as_if_undisturbed() {
    live_through::<LaggingFlex>(
        "every_flexvolume_verb_disturbed_on_a_lagging_cloud_ends_as_if_undisturbed",
    );
}

//! Invariant 7 for file storage: what `disturbed` does for disks, in a machine with an NFS server.
//! Every request to the cloud and every system call that changes the machine is visited, of the
//! host and of the processes that ask servers for it, and none is sampled. What is left out: the
//! swap of backends, which is the same for all of them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

mod disturbed {
    pub mod call_out;
    #[allow(dead_code, reason = "some of it is for volumes that are staged")]
    pub mod claim;
    #[allow(dead_code, reason = "some of it is for disks alone")]
    pub mod flex;
    pub mod kind;
    #[allow(dead_code, reason = "some of it is for disks alone")]
    pub mod life;
    pub mod nas;
    pub mod nas_flex;
    #[allow(dead_code, reason = "some of it is for disks alone")]
    pub mod pod;
    pub mod server;
}

use std::process::ExitCode;
use std::time::Duration;

use disturbed::claim::ClaimLives;
use disturbed::flex::FlexLives;
use disturbed::life::live_through;
use disturbed::nas::{AccessPoint, Archived, Directory};
use disturbed::nas_flex::FlexShare;

/// Several times what it takes on two busy processors.
const LIMIT: Duration = Duration::from_secs(1800);

wharf_testing::tests![
    every_csi_verb_disturbed_anywhere_ends_as_if_undisturbed,
    archiving_disturbed_anywhere_ends_as_if_undisturbed,
    access_points_disturbed_anywhere_end_as_if_undisturbed,
    every_flexvolume_verb_disturbed_anywhere_ends_as_if_undisturbed,
];

fn main() -> ExitCode {
    wharf_testing::nfs_machine::run_tests("nas_disturbed", LIMIT, &[TESTS])
}

fn every_csi_verb_disturbed_anywhere_ends_as_if_undisturbed() {
    live_through::<ClaimLives<Directory>>(
        "every_csi_verb_disturbed_anywhere_ends_as_if_undisturbed",
    );
}

fn archiving_disturbed_anywhere_ends_as_if_undisturbed() {
    live_through::<ClaimLives<Archived>>("archiving_disturbed_anywhere_ends_as_if_undisturbed");
}

fn access_points_disturbed_anywhere_end_as_if_undisturbed() {
    live_through::<ClaimLives<AccessPoint>>(
        "access_points_disturbed_anywhere_end_as_if_undisturbed",
    );
}

fn every_flexvolume_verb_disturbed_anywhere_ends_as_if_undisturbed() {
    live_through::<FlexLives<FlexShare>>(
        "every_flexvolume_verb_disturbed_anywhere_ends_as_if_undisturbed",
    );
}

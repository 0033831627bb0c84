//! Invariant 7 for file storage: what `disturbed` does for disks, in a machine with an NFS server.
//! Every request of every verb is visited, and none is sampled: its answer is lost, it is lost itself,
//! and the host dies before and after it. What is left out: the swap of backends, which is the same
//! for all of them, and deaths at system calls, none of which the tracer finds in user-mode Linux.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

mod disturbed {
    pub mod kind;
    #[allow(dead_code, reason = "some of it is for disks alone")]
    pub mod life;
    pub mod nas;
    #[allow(dead_code, reason = "some of it is for disks alone")]
    pub mod pod;
    pub mod server;
}

use std::process::ExitCode;
use std::time::Duration;

use disturbed::life::live_through;
use disturbed::nas::CsiLife;

/// Several times what it takes on two busy processors.
const LIMIT: Duration = Duration::from_secs(1800);

wharf_testing::tests![every_csi_verb_disturbed_at_any_request_ends_as_if_undisturbed,];

fn main() -> ExitCode {
    wharf_testing::nfs_machine::run_tests("nas_disturbed", LIMIT, &[TESTS])
}

fn every_csi_verb_disturbed_at_any_request_ends_as_if_undisturbed() {
    live_through::<CsiLife>("every_csi_verb_disturbed_at_any_request_ends_as_if_undisturbed");
}

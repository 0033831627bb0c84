//! Volumes of file storage over CSI and FlexVolume: the real binary and the real backend, against
//! real NFS servers and a simulated region whose file systems they show, in a machine with NFS
//! (`wharf_testing::nfs_machine`).

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

mod nas_life {
    pub mod cluster;
    pub mod dead_server;
    pub mod deleting;
    pub mod dynamic;
    pub mod fixed;
    pub mod flexvolume;
    pub mod samples;
}

use std::process::ExitCode;
use std::time::Duration;

use nas_life::{dead_server, deleting, dynamic, fixed, flexvolume, samples};

/// Several times what it takes on two busy processors.
const LIMIT: Duration = Duration::from_secs(1100);

fn main() -> ExitCode {
    let tests = [
        fixed::TESTS,
        dynamic::TESTS,
        samples::TESTS,
        deleting::TESTS,
        flexvolume::TESTS,
        dead_server::TESTS,
    ];
    wharf_testing::nfs_machine::run_tests("nas_life", LIMIT, &tests)
}

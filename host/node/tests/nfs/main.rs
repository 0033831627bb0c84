//! The node against a real NFS server, in a machine that has one: `wharf_testing::nfs_machine`.

use std::process::ExitCode;
use std::time::Duration;

#[cfg(test)]
mod bed;
#[cfg(test)]
mod dead_servers;
#[cfg(test)]
mod directories;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod mounts;
#[cfg(test)]
#[path = "../directories/scenes.rs"]
mod scenes;

/// Several times what it takes on two busy processors.
const LIMIT: Duration = Duration::from_secs(1100);

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(wharf_node::CHILD_COMMAND) {
        return wharf_node::answer_parent();
    }
    let tests = [machine::TESTS, mounts::TESTS, dead_servers::TESTS, directories::TESTS];
    wharf_testing::nfs_machine::run_tests("nfs", LIMIT, &tests)
}

//! The end of the server's process, where a program that it started does not end.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

#[path = "stuck/server.rs"]
mod stuck;

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::unistd::Pid;
use stuck::{PATIENCE, StuckServer, wait_for};
use wharf_testing::bed::{Bed, BedOptions};
use wharf_testing::requirement;

/// Less than the drain: no call is in flight.
const ENDING: Duration = Duration::from_secs(15);

fn soft_and_hard_limit_of_files(pid: Pid) -> Option<(String, String)> {
    let limits =
        fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("limits")).ok()?;
    let mut words = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?
        .split_whitespace()
        .map(str::to_owned);
    Some((words.next()?, words.next()?))
}

#[test]
fn a_server_whose_mkfs_hangs_ends_when_it_is_told_to() {
    if !requirement::machine("a_server_whose_mkfs_hangs_ends_when_it_is_told_to") {
        return;
    }
    let bed = Bed::make(&BedOptions { nodes: 1, ..BedOptions::default() }).unwrap();
    bed.manager().serve("controller", bed.parts()).unwrap();
    let machine = bed.node(0);
    let mut server = StuckServer::start(&bed, machine, &[]);
    let staging = server.begin_to_stage(&bed, PATIENCE);
    wait_for("mkfs is started", PATIENCE, || {
        assert!(!staging.is_finished(), "the call ended without it");
        server.mkfs()
    });
    staging.hang_up();

    let (soft, hard) = soft_and_hard_limit_of_files(server.pid()).unwrap();
    assert_eq!(soft, hard, "a server may open as many files as the machine lets it");
    server.terminate();
    let ended = wait_for("the server ends", ENDING, || server.ended());
    assert!(ended.success(), "{ended}: {}", fs::read_to_string(machine.server_log()).unwrap());
    assert!(!machine.socket().exists());
}

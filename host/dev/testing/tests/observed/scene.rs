//! A bed whose pages are looked at, and a node whose mkfs hangs.

use std::fs;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use wharf_testing::bed::{Bed, Machine};

pub use crate::stuck::GIB;
use crate::stuck::{self, PATIENCE, Staging, StuckServer};

pub fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    stuck::wait_for(what, PATIENCE, look)
}

/// The line of one check.
pub fn check(machine: &Machine, page: &str, check: &str) -> String {
    let (_, text) = machine.page(page).unwrap();
    let of =
        |line: &&str| line.get(3..).is_some_and(|rest| rest.starts_with(&format!("{check}: ")));
    text.lines().find(of).unwrap_or_else(|| panic!("no check `{check}`:\n{text}")).to_owned()
}

pub fn add_to_configuration(machine: &Machine, text: &str) {
    let config = fs::read_to_string(machine.config()).unwrap();
    fs::write(machine.config(), config + text).unwrap();
}

/// A server that answers HTTP too, and a call that waits for its mkfs.
pub fn start_stuck<'a>(
    bed: &Bed,
    machine: &'a Machine,
    time: Duration,
) -> (StuckServer<'a>, Staging) {
    let http = format!("unix://{}", machine.http().display());
    let server = StuckServer::start(bed, machine, &["--http", &http]);
    wait_for("HTTP", || UnixStream::connect(machine.http()).ok());
    let staging = server.begin_to_stage(bed, time);
    wait_for("mkfs is started", || server.mkfs());
    (server, staging)
}

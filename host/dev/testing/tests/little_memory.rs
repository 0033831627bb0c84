//! A process that the system gives little address space.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::process::Command;

use wharf_testing::bed::{Bed, BedOptions};
use wharf_testing::requirement;

/// Enough to start, and not for the memory of one call.
const KIB: u32 = 120_000;

#[test]
fn a_call_for_which_there_is_no_memory_says_so_and_blames_no_component() {
    let name = "a_call_for_which_there_is_no_memory_says_so_and_blames_no_component";
    if !requirement::machine(name) {
        return;
    }
    let bed = Bed::make(&BedOptions { nodes: 1, ..BedOptions::default() }).unwrap();
    let machine = bed.node(0);
    bed.install_flexvolume().unwrap();
    let driver = machine.plugins().join("alicloud~disk/disk");
    let options = r#"{"kubernetes.io/pvOrVolumeName":"pv-1","volumeId":"d-1"}"#;
    let called = Command::new("sh")
        .args(["-c", &format!("ulimit -v {KIB} && exec \"$0\" attach \"$1\" node-1")])
        .arg(&driver)
        .arg(options)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&called.stdout).into_owned();
    assert!(said.contains("gets no more memory") && said.contains("limit"), "{said}");
    assert!(!said.contains("contract") && !said.contains("defect"), "{said}");
}

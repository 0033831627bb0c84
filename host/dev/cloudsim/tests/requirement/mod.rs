//! What a test needs that a machine may lack. A test that cannot run says so in the one form that
//! `cargo xtask test` counts, and fails where nothing may be left out (`CI=true`).

#![allow(dead_code, reason = "every test file uses its own part of it")]

use std::io::Write;
use std::os::unix::fs::MetadataExt;

/// Whether this process may make loop devices. `false`: the caller returns.
pub fn loop_devices(test: &str) -> bool {
    root_for(test, "loop devices need root")
}

/// Whether this process may give directories to other users. `false`: the caller returns.
pub fn other_users(test: &str) -> bool {
    root_for(test, "other users' directories need root")
}

fn root_for(test: &str, why: &str) -> bool {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !is_root {
        skip(test, why);
    }
    is_root
}

/// Whether this process may mount with `s3fs`. `false`: the caller returns.
pub fn fuse(test: &str) -> bool {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    let has_helper = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|directory| directory.join("s3fs").is_file());
    let why = match (is_root, std::path::Path::new("/dev/fuse").exists(), has_helper) {
        (false, _, _) => "mounting needs root",
        (_, false, _) => "no /dev/fuse",
        (_, _, false) => "no s3fs (package s3fs)",
        (true, true, true) => return true,
    };
    skip(test, why);
    false
}

/// Says why a test does not run.
pub fn skip(test: &str, why: &str) {
    let is_strict =
        std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false");
    assert!(!is_strict, "{test} cannot run here and CI leaves nothing out: {why}");
    // Not `println!`: cargo swallows what a passing test prints with it.
    let _ = writeln!(std::io::stdout(), "skipped: {test}: {why}");
}

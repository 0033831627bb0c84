//! What a test needs that a machine may lack. A test that cannot run says so in the one form that
//! `cargo xtask test` counts, and fails where nothing may be left out (`CI=true`).

use std::io::Write;
use std::os::unix::fs::MetadataExt;

/// Whether this process may make loop devices. `false`: the caller returns.
pub fn loop_devices(test: &str) -> bool {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !is_root {
        skip(test, "loop devices need root");
    }
    is_root
}

/// Says why a test does not run.
pub fn skip(test: &str, why: &str) {
    let is_strict =
        std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false");
    assert!(!is_strict, "{test} cannot run here and CI leaves nothing out: {why}");
    // Not `println!`: cargo swallows what a passing test prints with it.
    let _ = writeln!(std::io::stdout(), "skipped: {test}: {why}");
}

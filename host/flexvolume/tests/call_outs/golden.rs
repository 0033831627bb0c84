//! Every call-out with good and bad input, compared with `tests/golden/*.txt`.
//! `WHARF_UPDATE_GOLDEN=1` writes the files anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::scenario;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

#[test]
fn call_outs_print_and_leave_what_the_golden_files_say() {
    let mut different = Vec::new();
    for entry in fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        let expected = fs::read_to_string(&path).unwrap();
        let got = scenario::replay(&expected);
        if got != expected {
            different.push(format!("{}:\n{}", path.display(), difference(&expected, &got)));
            if std::env::var_os("WHARF_UPDATE_GOLDEN").is_some() {
                fs::write(&path, got).unwrap();
            }
        }
    }
    assert!(
        different.is_empty() || std::env::var_os("WHARF_UPDATE_GOLDEN").is_some(),
        "{}",
        different.join("\n")
    );
}

#[test]
fn every_call_out_has_a_golden_file() {
    let files: BTreeSet<_> = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    for call_out in [
        "init",
        "getvolumename",
        "attach",
        "waitforattach",
        "isattached",
        "mountdevice",
        "mount",
        "unmount",
        "unmountdevice",
        "detach",
        "expandvolume",
        "expandfs",
    ] {
        assert!(files.contains(call_out), "{call_out}");
    }
}

fn difference(expected: &str, got: &str) -> String {
    let first = expected
        .lines()
        .zip(got.lines())
        .position(|(expected, got)| expected != got)
        .unwrap_or(expected.lines().count().min(got.lines().count()));
    let line = |text: &str| text.lines().nth(first).unwrap_or("(end)").to_owned();
    format!("  line {}\n  expected: {}\n  got:      {}", first + 1, line(expected), line(got))
}

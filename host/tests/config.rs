//! `wharf config` by the real binary.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A directory with a configuration.
struct Home {
    directory: TempDir,
}

impl Home {
    fn with(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("wharf.toml"), text).unwrap();
        Self { directory }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("wharf.toml")
    }

    fn wharf(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
        command.arg("--config").arg(self.file()).args(arguments).env_clear();
        command.output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let output = self.wharf(&[arguments, &["--output", "json"]].concat());
        (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const GOOD: &str = "[backend.disk]\n[driver.\"disk.example.com\"]\nbackend = \"disk\"\n";
const BAD: &str = "stat = \"/x\"\n[driver.\"disk.example.com\"]\nbackend = \"disk\"\n";

#[test]
fn check_names_every_mistake_with_its_line_and_ends_with_code_1() {
    let home = Home::with(BAD);
    let output = home.wharf(&["config", "check"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    let file = home.file().display().to_string();
    assert!(said.contains(&format!("{file}:1: unknown field `stat`; did you mean `state`?")));
    assert!(said.contains(&format!("{file}:3: driver \"disk.example.com\" names backend")));
    assert!(said.contains("2 mistakes"), "{said}");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn check_tells_programs_the_same() {
    let (code, said) = Home::with(BAD).json(&["config", "check"]);
    assert_eq!((code, &said["usable"]), (Some(1), &Value::Bool(false)));
    assert_eq!(said["mistakes"].as_array().unwrap().len(), 2);
    assert_eq!(said["mistakes"][0]["line"], 1);
    assert_eq!(said["mistakes"][1]["setting"], "driver.\"disk.example.com\".backend");
    let (code, said) = Home::with(GOOD).json(&["config", "check"]);
    assert_eq!((code, &said["usable"]), (Some(0), &Value::Bool(true)));
    assert_eq!(said["drivers"][0], "disk.example.com");
}

#[test]
fn a_doubt_is_told_and_changes_no_exit_code() {
    let home = Home::with(&format!("{GOOD}[backend.disk.node]\nsteps = [\"find-devise\"]\n"));
    let output = home.wharf(&["config", "check"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains(":5: note: ") && said.contains("did you mean `find-device`?"), "{said}");
    assert!(said.contains("no mistakes; it serves disk.example.com"), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_a_mistake_too() {
    let home = Home::with(GOOD);
    fs::remove_file(home.file()).unwrap();
    let (code, said) = home.json(&["config", "check"]);
    assert_eq!(code, Some(1));
    assert!(said["mistakes"][0]["problem"].as_str().unwrap().contains("cannot be read"));
}

#[test]
fn what_show_prints_is_a_configuration_with_the_same_meaning() {
    let home = Home::with(GOOD);
    let shown = text(&home.wharf(&["config", "show"]).stdout);
    assert!(shown.contains("store = \"/var/lib/wharf/store\"  # default"), "{shown}");
    assert!(shown.contains("backend = \"disk\"  # line 3"), "{shown}");
    let again = Home::with(&shown);
    let (code, said) = again.json(&["config", "check"]);
    assert_eq!(code, Some(0), "{said:#}");
    let values = |home: &Home| {
        let (_, rows) = home.json(&["config", "show"]);
        let row = |row: &Value| (row["setting"].to_string(), row["value"].to_string());
        rows.as_array().unwrap().iter().map(row).collect::<Vec<_>>()
    };
    assert_eq!(values(&home), values(&again));
}

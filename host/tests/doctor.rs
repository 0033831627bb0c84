//! `wharf doctor` by the real binary.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::fs;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

fn home() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).display().to_string();
    let config = format!(
        "state = \"{}\"\nstore = \"{}\"\nkubelet-root = \"{}\"\n[mounts]\nrun = \"{}\"\n\
         [backend.disk]\n[driver.\"disk.example.com\"]\nbackend = \"disk\"\n\
         flexvolume = [\"acme/disk\"]\n",
        at("state"),
        at("store"),
        at("kubelet"),
        at("run/mounts")
    );
    fs::write(home.path().join("wharf.toml"), config).unwrap();
    home
}

fn doctor(home: &TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
    command.arg("--config").arg(home.path().join("wharf.toml")).arg("doctor").args(arguments);
    command.arg("--dir").arg(home.path().join("plugins")).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn findings_are_told_with_what_mends_them_and_end_with_code_1() {
    let home = home();
    let output = doctor(&home, &["--role", "controller", "--output", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let told = json(&output);
    assert_eq!(told["well"], false);
    let examined: Vec<_> = told["examined"].as_array().unwrap().iter().collect();
    assert!(examined.contains(&&"credentials".into()) && !examined.contains(&&"nfs".into()));
    let findings = told["findings"].as_array().unwrap();
    let missing = findings.iter().find(|it| it["examination"] == "components").unwrap();
    assert!(missing["mend"].as_str().unwrap().starts_with("wharf backend install disk disk.wasm"));
    for finding in findings {
        for part in ["problem", "meaning", "mend"] {
            assert!(!finding[part].as_str().unwrap().is_empty(), "{finding}");
        }
    }
    let text = String::from_utf8(doctor(&home, &["--only", "components"]).stdout).unwrap();
    assert!(text.contains("mend: wharf backend install") && text.contains("one finding"), "{text}");
}

#[test]
fn an_examination_that_finds_nothing_ends_with_code_0() {
    let output = doctor(&home(), &["--only", "endpoints"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("nothing is wrong"));
}

#[test]
fn every_examination_is_listed_and_an_unknown_one_is_refused() {
    let home = home();
    let listed = String::from_utf8(doctor(&home, &["--list"]).stdout).unwrap();
    assert!(listed.lines().count() >= 20 && listed.contains("propagation"), "{listed}");
    let refused = doctor(&home, &["--only", "stars"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("--list"));
}

#[test]
fn an_examination_that_hangs_is_a_finding_and_holds_up_no_other() {
    let home = home();
    // Whoever reads a pipe that nobody writes to waits for ever.
    let driver = home.path().join("plugins/acme~disk");
    fs::create_dir_all(&driver).unwrap();
    let made = Command::new("mkfifo").arg(driver.join("disk")).status().unwrap();
    assert!(made.success());
    let begun = Instant::now();
    // Many times what any other takes on a busy machine.
    let told = json(&doctor(&home, &["--within", "5", "--output", "json"]));
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    let findings = told["findings"].as_array().unwrap();
    let hung = findings.iter().find(|it| it["examination"] == "flexvolume").unwrap();
    assert!(hung["problem"].as_str().unwrap().contains("did not end within 5s"), "{hung}");
    assert!(findings.iter().any(|it| it["examination"] == "components"), "{findings:#?}");
    let unfinished =
        findings.iter().filter(|it| it["problem"].as_str().unwrap().contains("not finished"));
    assert_eq!(unfinished.count(), 1, "{findings:#?}");
}

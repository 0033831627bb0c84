//! `wharf config` by the real binary.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use wharf_core::manifest::Manifest;
use wharf_core::policy::{EndpointGrant, Lacking, NodePolicy};

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
    let (home, _) = init(&["--set", "region=r-1"], &[]);
    let again = Home::with(&text(&home.wharf(&["config", "show"]).stdout));
    assert_eq!(values(&home), values(&again), "what a preset stands for can be written instead");
}

/// The preset that comes with the components of this repository.
const CLOUD: &str = "alicloud";

/// `init` in an empty directory, with these variables.
fn init(arguments: &[&str], variables: &[(&str, &str)]) -> (Home, Output) {
    let home = Home::with("");
    fs::remove_file(home.file()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
    command.arg("--config").arg(home.file()).args(["config", "init", "--cloud", CLOUD]);
    command.args(arguments).env_clear().envs(variables.iter().copied());
    let output = command.output().unwrap();
    (home, output)
}

#[test]
fn init_writes_a_short_file_that_is_a_whole_configuration() {
    let variables = [("REGION_ID", "cn-hangzhou"), ("CLUSTER_ID", "c1")];
    let (home, output) = init(&["--set", "cluster-id=c2"], &variables);
    assert!(output.status.success(), "{output:?}");
    let written = fs::read_to_string(home.file()).unwrap();
    assert!(written.lines().count() <= 12, "{written}");
    assert!(written.contains("region = \"cn-hangzhou\"  # from REGION_ID"), "{written}");
    assert!(written.contains("cluster-id = \"c2\"\n"), "{written}");
    let (code, said) = home.json(&["config", "check"]);
    assert_eq!((code, said["drivers"].as_array().map(Vec::len)), (Some(0), Some(3)), "{said:#}");
    let shown = text(&home.wharf(&["config", "show"]).stdout);
    assert!(shown.contains("https://ecs-vpc.cn-hangzhou.aliyuncs.com"), "{shown}");
    let again = home.wharf(&["config", "init", "--cloud", CLOUD, "--set", "region=x"]);
    assert!(text(&again.stderr).contains("is there already and stays as it is"), "{again:?}");
    assert_eq!(fs::read_to_string(home.file()).unwrap(), written);
}

#[test]
fn init_says_what_it_has_to_be_told() {
    let said = |arguments: &[&str]| {
        let (home, output) = init(arguments, &[]);
        assert_eq!(output.status.code(), Some(1));
        assert!(!home.file().exists());
        text(&output.stderr)
    };
    assert!(said(&[]).contains("say `--set region=cn-hangzhou`, or set REGION_ID"));
    assert!(said(&["--set", "regoin=x"]).contains("did you mean `region`?"));
    let network = said(&["--set", "region=x", "--set", "network=lan"]);
    assert!(network.contains("allowed are public, vpc"), "{network}");
    let driver = said(&["--set", "region=x", "--driver", "tape"]);
    assert!(driver.contains("has no driver \"tape\"; it has disk, nas, oss"), "{driver}");
}

#[test]
fn the_environment_of_the_existing_driver_is_understood() {
    let home = Home::with(&format!("[preset]\nname = \"{CLOUD}\"\ndrivers = [\"disk\"]\n"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
    command.arg("--config").arg(home.file()).args(["config", "show", "--output", "json"]);
    command.env_clear().env("REGION_ID", "r-1").env("ALIBABA_CLOUD_NETWORK_TYPE", "public");
    command.env("ACCESS_KEY_ID", "canary").env("ACCESS_KEY_SECRET", "canary");
    let output = command.output().unwrap();
    let shown = text(&output.stdout);
    assert!(!shown.contains("canary"), "{shown}");
    let rows: Value = serde_json::from_str(&shown).unwrap();
    let row = |setting: &str| {
        let found = rows.as_array().unwrap().iter().find(|row| row["setting"] == setting);
        found.unwrap_or_else(|| panic!("{setting} in {rows:#}")).clone()
    };
    assert_eq!(row("endpoint.ecs.url")["value"], "https://ecs.r-1.aliyuncs.com");
    assert_eq!(row("endpoint.ecs.private")["value"], false);
    assert_eq!(row("backend.disk.config.region")["source"], "environment variable REGION_ID");
    let key = row("account.cloud.source[0].access-key-id.env");
    assert_eq!(key["value"], "ACCESS_KEY_ID");
}

#[test]
fn what_the_file_says_is_laid_over_its_preset() {
    let home = Home::with(&format!(
        "[preset]\nname = \"{CLOUD}\"\ndrivers = [\"disk\"]\nregion = \"r-1\"\n\
         [endpoint.ecs]\nca = \"/ca.pem\"\n[backend.disk.node]\nfilesystems = [\"xfs\"]\n"
    ));
    let shown = text(&home.wharf(&["config", "show"]).stdout);
    for line in ["ca = \"/ca.pem\"  # line 6", "filesystems = [\"xfs\"]  # line 8"] {
        assert!(shown.lines().any(|found| found == line), "{line} in {shown}");
    }
    assert!(shown.contains("url = \"https://ecs-vpc.r-1.aliyuncs.com\"  # "), "{shown}");
}

#[test]
fn a_driver_of_flexvolume_is_not_installed_with_values_that_its_calls_will_not_have() {
    let home = Home::with(&format!("[preset]\nname = \"{CLOUD}\"\n"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
    command.arg("--config").arg(home.file()).args(["flexvolume", "install", "--dir"]);
    command.arg(home.directory.path().join("plugins")).env_clear().env("REGION_ID", "r-1");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("environment variable REGION_ID, which kubelet does not have"), "{said}");
}

/// What a component asks for, as its author wrote it.
fn manifest(text: &str) -> Manifest {
    let mut table: toml::Table = text.parse().unwrap();
    table.insert("version".to_owned(), "1".into());
    table.try_into().unwrap()
}

#[test]
fn the_preset_grants_what_the_components_ask_for_and_no_more() {
    let (home, _) = init(&["--set", "region=r-1"], &[]);
    let shown: toml::Table = text(&home.wharf(&["config", "show"]).stdout).parse().unwrap();
    for asks in [
        include_str!("../../backends/disk/manifest.toml"),
        include_str!("../../backends/nas/manifest.toml"),
        include_str!("../../backends/oss/manifest.toml"),
    ] {
        let asks = manifest(asks);
        let backend = &shown["backend"][&*asks.name];
        let grants: Vec<EndpointGrant> = backend["grant"].clone().try_into().unwrap();
        let node: NodePolicy = backend["node"].clone().try_into().unwrap();
        let lacking = Lacking::of(&asks, &grants, &node);
        // Buckets of volumes' own are made and deleted only where an operator grants it by name.
        let left: Vec<_> = lacking.request.iter().map(|left| &*left.endpoint).collect();
        let expected: &[&str] = if &*asks.name == "oss" { &["oss"] } else { &[] };
        assert_eq!(left, expected, "{}", asks.name);
        assert_eq!(Lacking { request: Vec::new(), ..lacking }, Lacking::default());
        let granted = grants.iter().map(|grant| grant.actions.len() + grant.paths.len());
        let asked = asks.request.iter().filter(|request| !expected.contains(&&*request.endpoint));
        let asked = asked.map(|asked| asked.actions.len() + asked.paths.len());
        assert_eq!(granted.sum::<usize>(), asked.sum::<usize>(), "{}", asks.name);
        assert_eq!(node.steps.len(), asks.node.steps.len(), "{}", asks.name);
    }
}

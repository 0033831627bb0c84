//! Alibaba Cloud's own Python SDKs, both generations, against the region with signature checks on.
//! Needs root (loop devices), `python3` with `venv` and a Python package index.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

mod requirement;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use wharf_cloudsim::{Devices, OidcProvider, Region, RegionOptions};

const TEST: &str = "official_sdks_work_against_the_region";

/// For installing the SDKs, in seconds: a few MiB, in several files. An index that is out of reach
/// may drop packets for ever.
const PATIENCE: &str = "240";

const PROVIDER: &str = "acs:ram::1234567890123456:oidc-provider/ack";

#[test]
fn official_sdks_work_against_the_region() {
    if !requirement::loop_devices(TEST) {
        return;
    }
    let Some(python) = python(TEST) else { return };
    let directory = tempfile::tempdir().unwrap();
    let mut options = RegionOptions::new(directory.path());
    options.oidc_providers = vec![OidcProvider {
        arn: PROVIDER.to_owned(),
        issuer: "https://kubernetes.default.svc".to_owned(),
        audiences: vec!["sts.aliyuncs.com".to_owned()],
        subjects: std::collections::BTreeMap::new(),
    }];
    let region = Region::start(options).unwrap();
    let token = directory.path().join("token");
    std::fs::write(
        &token,
        region.oidc_token(0, "system:serviceaccount:kube-system:wharf").unwrap(),
    )
    .unwrap();
    for script in ["test_v3_sdks.py", "test_v1_sdk.py"] {
        let mut command = against(&python, script, directory.path());
        command.env("WHARF_OIDC_TOKEN", &token).env("WHARF_OIDC_PROVIDER", PROVIDER);
        println!("{script}\n{}", run(&mut command).unwrap());
    }
    let left: Vec<_> = region.disks().into_iter().map(|disk| disk.name).collect();
    assert_eq!(left, [""; 0], "the scripts clean up");
    let calls = region.journal();
    let unsigned =
        calls.iter().filter(|call| call.caller.is_none()).map(|call| call.action.as_str());
    assert!(unsigned.clone().all(|action| action == "AssumeRoleWithOIDC") && unsigned.count() == 2);
    println!("{} calls", calls.len());
}

#[test]
fn the_official_file_storage_sdk_works_against_the_region() {
    let test = "the_official_file_storage_sdk_works_against_the_region";
    if !requirement::other_users(test) {
        return;
    }
    let Some(python) = python(test) else { return };
    let directory = tempfile::tempdir().unwrap();
    let options =
        RegionOptions { devices: Devices::Absent, ..RegionOptions::new(directory.path()) };
    let region = Region::start(options).unwrap();
    let mut command = against(&python, "test_nas_sdk.py", directory.path());
    println!("{}", run(&mut command).unwrap());
    assert_eq!(region.file_systems(), [], "the script cleans up");
    let calls = region.journal();
    assert!(calls.iter().all(|call| call.listener == "nas" && call.caller.is_some()));
    println!("{} calls", calls.len());
}

#[test]
fn official_object_storage_sdks_work_against_the_region() {
    let Some(python) = python("official_object_storage_sdks_work_against_the_region") else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let region = Region::start(RegionOptions {
        devices: Devices::Absent,
        foreign_buckets: vec!["of-another".to_owned()],
        ..RegionOptions::new(directory.path())
    })
    .unwrap();
    for script in ["test_oss2.py", "test_oss_v2.py"] {
        println!("{script}\n{}", run(&mut against(&python, script, directory.path())).unwrap());
    }
    assert_eq!(region.buckets(), [], "the scripts clean up");
    println!("{} calls", region.journal().len());
}

/// A script against the region in a directory.
fn against(python: &Path, script: &str, region: &Path) -> Command {
    let mut command = Command::new(python);
    command.arg(scripts().join(script)).env("WHARF_REGION", region.join("region.json"));
    // Proxies are for the package index; the region is on loopback, under whatever name.
    command.env("no_proxy", "*").env("NO_PROXY", "*").env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk")
}

/// The interpreter that has the SDKs; `None`: the caller returns.
fn python(test: &str) -> Option<PathBuf> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let python = PYTHON.get_or_init(|| virtual_environment(&scripts().join("requirements.txt")));
    python.clone().map_err(|why| requirement::skip(test, &why)).ok()
}

/// The interpreter of a virtual environment with these packages, made once for each list of them;
/// or why there is none.
fn virtual_environment(requirements: &Path) -> Result<PathBuf, String> {
    let wanted = std::fs::read_to_string(requirements).unwrap();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sdk-venv");
    let (python, stamp) = (directory.join("bin/python"), directory.join("requirements.txt"));
    if python.exists() && std::fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&directory)).map_err(
        |why| format!("no Python with venv (packages python3, python3-venv): {}", last_line(&why)),
    )?;
    let mut pip = Command::new("timeout");
    pip.args(["--kill-after=5", PATIENCE]).arg(&python).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]);
    run(pip.args(["--retries=1", "--timeout=20", "--requirement"]).arg(requirements)).map_err(
        |why| {
            format!("pip finds no package index with the SDKs (PIP_INDEX_URL): {}", last_line(&why))
        },
    )?;
    std::fs::write(&stamp, wanted).unwrap();
    Ok(python)
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() {
        Ok(stdout.into_owned())
    } else {
        Err(format!("{command:?}: {}\n{stdout}\n{stderr}", output.status))
    }
}

fn last_line(text: &str) -> &str {
    text.trim_end().lines().last().unwrap_or_default()
}

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

use wharf_cloudsim::{OidcProvider, Region, RegionOptions};

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
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk");
    let python = match virtual_environment(&scripts.join("requirements.txt")) {
        Ok(python) => python,
        Err(why) => return requirement::skip(TEST, &why),
    };
    let folder = tempfile::tempdir().unwrap();
    let mut options = RegionOptions::new(folder.path());
    options.oidc_providers = vec![OidcProvider {
        arn: PROVIDER.to_owned(),
        issuer: "https://kubernetes.default.svc".to_owned(),
        audiences: vec!["sts.aliyuncs.com".to_owned()],
        subjects: std::collections::BTreeMap::new(),
    }];
    let region = Region::start(options).unwrap();
    let token = folder.path().join("token");
    std::fs::write(
        &token,
        region.oidc_token(0, "system:serviceaccount:kube-system:wharf").unwrap(),
    )
    .unwrap();
    for script in ["test_v3_sdks.py", "test_v1_sdk.py"] {
        let mut command = Command::new(&python);
        command.arg(scripts.join(script)).env("WHARF_REGION", folder.path().join("region.json"));
        command
            .env("WHARF_OIDC_TOKEN", &token)
            .env("WHARF_OIDC_PROVIDER", PROVIDER)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        // Proxies are for the package index; the region is on loopback.
        command.env("no_proxy", "127.0.0.1").env("NO_PROXY", "127.0.0.1");
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

/// The interpreter of a virtual environment with these packages, made once for each list of them;
/// or why there is none.
fn virtual_environment(requirements: &Path) -> Result<PathBuf, String> {
    let wanted = std::fs::read_to_string(requirements).unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sdk-venv");
    let (python, stamp) = (folder.join("bin/python"), folder.join("requirements.txt"));
    if python.exists() && std::fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder)).map_err(|why| {
        format!("no Python with venv (packages python3, python3-venv): {}", last_line(&why))
    })?;
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

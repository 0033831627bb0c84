//! Alibaba Cloud's own Python SDKs, both generations, against the region with signature checks on. Needs root (loop devices), `python3` with `venv`
//! and a Python package index; says so when one is missing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "the helpers of tests fail as tests do")]

use std::path::{Path, PathBuf};
use std::process::Command;

use wharf_cloudsim::{OidcProvider, Region, RegionOptions};

const PROVIDER: &str = "acs:ram::1234567890123456:oidc-provider/ack";

#[test]
fn official_sdks_work_against_the_region() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk");
    let python = virtual_environment(&scripts.join("requirements.txt"));
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
    std::fs::write(&token, region.oidc_token(0, "system:serviceaccount:kube-system:wharf").unwrap()).unwrap();
    for script in ["test_v3_sdks.py", "test_v1_sdk.py"] {
        let mut command = Command::new(&python);
        command.arg(scripts.join(script)).env("WHARF_REGION", folder.path().join("region.json"));
        command.env("WHARF_OIDC_TOKEN", &token).env("WHARF_OIDC_PROVIDER", PROVIDER).env("PYTHONDONTWRITEBYTECODE", "1");
        // Proxies are for the package index; the region is on loopback.
        command.env("no_proxy", "127.0.0.1").env("NO_PROXY", "127.0.0.1");
        println!("{script}\n{}", run(&mut command, "the SDK script failed"));
    }
    let left: Vec<_> = region.disks().into_iter().map(|disk| disk.name).collect();
    assert_eq!(left, [""; 0], "the scripts clean up");
    let calls = region.journal();
    let unsigned = calls.iter().filter(|call| call.caller.is_none()).map(|call| call.action.as_str());
    assert!(unsigned.clone().all(|action| action == "AssumeRoleWithOIDC") && unsigned.count() == 2);
    println!("{} calls", calls.len());
}

/// The interpreter of a virtual environment with these packages, made once for each list of them.
fn virtual_environment(requirements: &Path) -> PathBuf {
    let wanted = std::fs::read_to_string(requirements).unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sdk-venv");
    let (python, stamp) = (folder.join("bin/python"), folder.join("requirements.txt"));
    if python.exists() && std::fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return python;
    }
    let install = "install it: apt-get install python3-venv python3-pip";
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder), &format!("`python3 -m venv` is missing or broken; {install}"));
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(requirements);
    run(&mut pip, "the SDKs could not be installed; pip needs a Python package index (PIP_INDEX_URL)");
    std::fs::write(&stamp, wanted).unwrap();
    python
}

fn run(command: &mut Command, advice: &str) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}\n{advice}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{stdout}\n{stderr}\n{advice}", output.status);
    stdout.into_owned()
}

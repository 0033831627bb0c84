//! What an administrator sees of a machine in a region: `wharf doctor` and `wharf status`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the helpers of tests fail as tests do"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::Value;
use wharf_cloudsim::Delays;
use wharf_testing::bed::{Bed, BedOptions, Machine};
use wharf_testing::player::{Retry, VolumeClass};
use wharf_testing::requirement;

const GIB: u64 = 1 << 30;
const CLASS: &[(&str, &str)] = &[("type", "cloud_auto")];
/// A debug build on a loaded machine takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

fn json(bed: &Bed, machine: &Machine, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--output", "json"]].concat();
    let ran = machine.run(bed.parts(), &arguments).unwrap();
    serde_json::from_str(&ran.stdout).unwrap()
}

/// What one examination finds: the texts, joined.
fn findings(bed: &Bed, machine: &Machine, examination: &str) -> Vec<String> {
    let told = json(bed, machine, &["doctor", "--only", examination]);
    let findings = told["findings"].as_array().unwrap();
    assert_eq!(told["well"].as_bool(), Some(findings.is_empty()));
    findings
        .iter()
        .map(|it| format!("{} {} {}", it["problem"], it["meaning"], it["mend"]))
        .collect()
}

/// The finding, of which there is one, says all of this.
#[track_caller]
fn finds(bed: &Bed, examination: &str, said: &[&str]) {
    let found = findings(bed, bed.node(0), examination);
    assert_eq!(found.len(), 1, "{found:#?}");
    for said in said {
        assert!(found[0].contains(said), "{said}: {found:#?}");
    }
}

/// Changes a file for the time of some work.
fn with(path: &std::path::Path, change: impl FnOnce(&str) -> String, work: impl FnOnce()) {
    let before = fs::read_to_string(path).unwrap();
    let changed = change(&before);
    assert_ne!(changed, before, "{}", path.display());
    fs::write(path, changed).unwrap();
    work();
    fs::write(path, before).unwrap();
}

#[test]
fn the_doctor_finds_what_is_wrong_between_a_machine_and_its_cloud_and_nothing_else() {
    let name = "the_doctor_finds_what_is_wrong_between_a_machine_and_its_cloud_and_nothing_else";
    if !requirement::machine(name) {
        return;
    }
    let bed = Bed::make(&BedOptions::default()).unwrap();
    let of_the_cloud =
        ["components", "grants", "endpoints", "clock", "credentials", "node-identity", "servers"];
    for examination in of_the_cloud {
        let found = findings(&bed, bed.node(0), examination);
        assert!(found.is_empty(), "{examination}: {found:#?}");
    }
    let (config, keys) = (bed.node(0).config(), bed.node(0).directory().join("keys"));
    with(
        &keys.join("access-key-secret"),
        |_| "wrong".to_owned(),
        || {
            finds(
                &bed,
                "credentials",
                &["does not accept the credential", "nothing of the cloud can be asked"],
            );
        },
    );
    fs::rename(keys.join("access-key-id"), keys.join("away")).unwrap();
    finds(&bed, "credentials", &["access-key-id"]);
    fs::rename(keys.join("away"), keys.join("access-key-id")).unwrap();
    let id = |text: &str| text.replace("cluster-id = ", "instance-id = \"i-other\", cluster-id = ");
    with(&config, id, || {
        finds(&bed, "node-identity", &["node i-other", bed.node(0).id(), "the other machine"]);
    });
    let metadata = bed.region().description().instances[0].metadata.clone();
    let nowhere = |text: &str| text.replace(&metadata, "http://127.0.0.1:9");
    with(&config, nowhere, || {
        finds(&bed, "node-identity", &["does not know which node this is", "set `region`"]);
        finds(&bed, "endpoints", &["\\\"metadata\\\"", "cannot be reached"]);
    });
    with(
        &config,
        |text| text.replace("\"grow\", ", ""),
        || {
            finds(&bed, "grants", &["steps: grow", "wharf backend install disk disk.wasm --grant"]);
        },
    );
}

#[test]
fn status_tells_what_an_attach_waits_for_and_which_generation_serves() {
    let name = "status_tells_what_an_attach_waits_for_and_which_generation_serves";
    if !requirement::machine(name) {
        return;
    }
    let delays = Delays { attach: 5000, ..Delays::none() };
    let bed = Bed::make(&BedOptions { delays, ..BedOptions::default() }).unwrap();
    bed.serve().unwrap();
    let csi = bed.csi();
    let node =
        csi.register(bed.node(0).name(), &bed.node(0).socket(), &bed.node(0).kubelet()).unwrap();
    let class = VolumeClass::file_system("ext4", CLASS);
    let mut volume = csi.provision("pvc-status", GIB, &class).unwrap();
    std::thread::scope(|scope| {
        let pod = scope.spawn(|| csi.start_pod(&mut volume, &node, "pod").map(drop));
        let end = Instant::now() + PATIENCE;
        let server = loop {
            let seen = json(&bed, bed.manager(), &["status"]);
            let server = seen["servers"][0].clone();
            let attach = &server["operations"][0];
            if attach["verb"] == "attach" && attach["waits-for"] != "the backend" {
                break server;
            }
            assert!(Instant::now() < end, "an attach that waits: {seen:#}");
        };
        let waits = server["operations"][0]["waits-for"].as_str().unwrap();
        assert!(waits.contains("attach"), "{waits}");
        let disk = server["components"].as_array().unwrap();
        let disk = disk.iter().find(|component| component["component"] == "disk").unwrap();
        assert_eq!((&disk["generation"], &disk["why-not"]), (&disk["active"], &Value::Null));
        let pace = server["pace"].as_array().unwrap();
        assert!(pace.iter().any(|site| site["account"] == "cloud"), "{pace:#?}");
        pod.join().unwrap().unwrap();
    });
    let seen = json(&bed, bed.node(0), &["status"]);
    assert_eq!(seen["volumes"][0]["published"], 1, "{seen:#}");
    csi.end_pod(&volume, &node, "pod").unwrap();
    csi.delete(&volume).unwrap();
}

#[test]
fn a_controller_that_may_not_mount_says_so_when_it_starts_and_in_the_call_that_mounts() {
    let name = "a_controller_that_may_not_mount_says_so_when_it_starts_and_in_the_call_that_mounts";
    if !requirement::machine(name) {
        return;
    }
    const CAPABILITY: &str = "CAP_SYS_ADMIN";
    let options = BedOptions { nodes: 1, backends: vec!["nas"], ..BedOptions::default() };
    let bed = Bed::make(&options).unwrap();
    let (manager, mut parts) = (bed.manager(), bed.parts().clone());
    // As in a container that is not privileged.
    let wharf = bed.directory().join("wharf-without");
    let script = format!(
        "#!/bin/sh\nexec setpriv --bounding-set -sys_admin --inh-caps -sys_admin {} \"$@\"\n",
        parts.wharf.display()
    );
    fs::write(&wharf, script).unwrap();
    fs::set_permissions(&wharf, fs::Permissions::from_mode(0o755)).unwrap();
    parts.wharf = wharf;
    manager.serve("controller", &parts).unwrap();
    let warnings = || {
        let log = fs::read_to_string(manager.server_log()).unwrap();
        let is_warning = |line: &&str| line.contains("this process may not mount");
        log.lines().filter(is_warning).filter(|line| line.contains(CAPABILITY)).count()
    };
    assert_eq!(warnings(), 1);
    // Nothing is asked of the server before that.
    let class = VolumeClass::share(&[("volumeAs", "subpath"), ("server", "127.0.0.1:/k8s")]);
    let csi = bed.csi_of("nasplugin.csi.alibabacloud.com").with_retry(Retry::never());
    let refused = csi.provision("pvc-refused", GIB, &class).unwrap_err().to_string();
    assert!(refused.contains("PermissionDenied") && refused.contains(CAPABILITY), "{refused}");
    manager.stop();
    manager.serve("controller", bed.parts()).unwrap();
    assert_eq!(warnings(), 1, "with the capability there is nothing to say");
}

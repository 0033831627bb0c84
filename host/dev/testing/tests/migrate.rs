//! `wharf migrate`: the objects of both earlier drivers, through the real binary and the real
//! components. What it writes is held against files, given to the components again, and used: a
//! disk that FlexVolume wrote is read over CSI and back.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what a test's own helpers meet fails the test"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::{Value, json};
use tempfile::TempDir;
use wharf_testing::bed::{Bed, BedOptions, CSI_DRIVER, Machine, Parts};
use wharf_testing::player::{CsiVolume, FlexVolume, VolumeClass};
use wharf_testing::requirement;

/// A configuration with the cloud's preset, and the three backends.
struct Home {
    parts: Parts,
    directory: TempDir,
}

/// What a run printed.
struct Ran {
    code: Option<i32>,
    out: String,
    errors: String,
}

/// The tests share one: components take seconds to compile.
fn home() -> Arc<Home> {
    static SHARED: Mutex<Weak<Home>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(home) = shared.upgrade() {
        return home;
    }
    let home = Arc::new(Home { parts: Parts::find().unwrap(), directory: TempDir::new().unwrap() });
    let at = |name: &str| home.directory.path().join(name).display().to_string();
    let config = format!(
        "state = \"{}\"\nstore = \"{}\"\n[preset]\nname = \"alicloud\"\nregion = \"cn-hangzhou\"\n",
        at("state"),
        at("store")
    );
    fs::write(home.config(), config).unwrap();
    for name in ["disk", "nas", "oss"] {
        let mut install = home.command(&["backend", "install", name]);
        let installed = install.arg(home.parts.component(name)).arg("--activate").output().unwrap();
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    }
    *shared = Arc::downgrade(&home);
    home
}

impl Home {
    fn config(&self) -> PathBuf {
        self.directory.path().join("wharf.toml")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(&self.config(), arguments)
    }

    fn command_of(&self, config: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.parts.wharf);
        command.arg("--config").arg(config).args(arguments);
        command
    }

    fn migrate(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> Ran {
        run(self.command(&["migrate"]).args(arguments), input.as_ref())
    }

    /// The report as a document; its exit code is held against what it says.
    fn report(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> Value {
        let ran = self.migrate(&[arguments, &["--output", "json"]].concat(), input);
        let report: Value =
            serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}", ran.errors));
        let needs_a_person = objects(&report).iter().any(|item| item["verdict"] == "person");
        assert_eq!(ran.code, Some(i32::from(needs_a_person)), "{}", ran.errors);
        report
    }
}

fn run(command: &mut Command, input: &[u8]) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut pipe = process.stdin.take().unwrap();
    let input = input.to_owned();
    // It may end without reading everything.
    let writer = std::thread::spawn(move || drop(pipe.write_all(&input)));
    let output = process.wait_with_output().unwrap();
    writer.join().unwrap();
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        errors: String::from_utf8(output.stderr).unwrap(),
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/migrate")
}

fn sample(name: &str) -> String {
    fs::read_to_string(directory().join(name)).unwrap()
}

/// Held against a file, which `WHARF_BLESS=1` writes. Which keys a component knows is its own
/// matter, so a list of them is cut.
fn assert_golden(name: &str, text: &str) {
    const LIST: &str = " is not known, allowed: ";
    let cut = |line: &str| match line.split_once(LIST) {
        Some((start, _)) => format!("{start}{LIST}…\n"),
        None => format!("{line}\n"),
    };
    let text: String = text.lines().map(cut).collect();
    let file = directory().join(name);
    if std::env::var_os("WHARF_BLESS").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let golden = fs::read_to_string(&file).unwrap_or_default();
    assert!(golden == text, "{name} differs; it is now:\n{text}");
}

fn objects(report: &Value) -> &[Value] {
    report["objects"].as_array().unwrap()
}

fn item<'a>(report: &'a Value, name: &str) -> &'a Value {
    objects(report).iter().find(|item| item["name"] == name).unwrap_or_else(|| panic!("{name}"))
}

fn verdicts<'a>(report: &'a Value, verdict: &str) -> Vec<&'a str> {
    let of = objects(report).iter().filter(|item| item["verdict"] == verdict);
    of.map(|item| item["name"].as_str().unwrap()).collect()
}

fn steps(item: &Value) -> &[Value] {
    item["steps"].as_array().unwrap()
}

/// Objects to create, of every step.
fn applied(report: &Value) -> Vec<Value> {
    let steps = objects(report).iter().flat_map(steps);
    steps.filter_map(|step| step.get("apply").cloned()).collect()
}

/// Only what can do no harm: looking, creating, and the policy that keeps data.
fn assert_harmless(report: &Value) {
    let texts = |step: &Value, key: &str| -> Vec<String> {
        let list = step[key].as_array().unwrap();
        list.iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    for step in objects(report).iter().flat_map(steps) {
        for command in texts(step, "run") {
            let is_retain = command.starts_with("kubectl patch pv ")
                && command.ends_with(
                    " --type merge -p '{\"spec\":{\"persistentVolumeReclaimPolicy\":\"Retain\"}}'",
                );
            let is_secret = command.contains(" create secret generic ");
            assert!(is_retain || is_secret, "{command}");
        }
        for command in texts(step, "look") {
            let words: Vec<_> = command.split(' ').collect();
            let verb = if words[1] == "-n" { words[3] } else { words[1] };
            assert!(["get", "wait", "describe"].contains(&verb), "{command}");
        }
        let said = step.to_string();
        for word in
            ["kubectl delete", "--force", "--grace-period", "kubectl drain", "kubectl replace"]
        {
            assert!(!said.contains(word), "`{word}` in {said}");
        }
        if let Some(object) = step.get("apply") {
            assert_ne!(object["kind"], "VolumeAttachment");
            if object["kind"] == "PersistentVolume" {
                assert_eq!(object["spec"]["persistentVolumeReclaimPolicy"], "Retain");
            }
        }
    }
}

#[test]
fn volumes_of_flexvolume_go_on_as_they_are() {
    let home = home();
    let ran = home.migrate(&[], sample("flexvolume.yaml"));
    assert_golden("flexvolume.txt", &ran.out);
    let report = home.report(&[], sample("flexvolume.yaml"));
    let volumes = objects(&report).iter().filter(|item| item["kind"] == "PersistentVolume");
    for volume in volumes.clone() {
        assert_eq!((&volume["verdict"], steps(volume)), (&json!("unchanged"), &[][..]), "{volume}");
        let first = volume["says"][0].as_str().unwrap();
        assert!(first.contains("nothing has to be applied"), "{first}");
    }
    assert_eq!(volumes.count(), 6);
    assert_eq!(verdicts(&report, "person"), ["alicloud-disk-available"]);
    // One path, one Secret.
    assert_eq!(report["not-looked-at"], 2);
}

#[test]
fn objects_of_the_csi_driver_go_on_as_they_are() {
    let home = home();
    let ran = home.migrate(&[], sample("csi.yaml"));
    assert_golden("csi.txt", &ran.out);
    let report = home.report(&[], sample("csi.yaml"));
    assert_eq!(verdicts(&report, "person"), [] as [&str; 0]);
    assert!(applied(&report).is_empty());
}

#[test]
fn of_a_class_it_is_said_what_its_parameters_mean_and_did_not_before() {
    let home = home();
    let says = |report: &Value, name: &str| item(report, name)["says"].to_string();
    let csi = home.report(&[], sample("csi.yaml"));
    for (name, said) in [
        ("nas-fs-with-keys-of-other-kinds", "keep their file systems when they are deleted"),
        (
            "nas-fs-with-keys-of-other-kinds",
            "without effect in this class: archiveOnDelete, path, server",
        ),
        ("alicloud-nas-fs", "without effect in this class: regionId"),
        ("nas-accesspoint", "keep their access points when they are deleted"),
        ("nas-accesspoint", "is removed with everything in it"),
    ] {
        let says = says(&csi, name);
        assert!(says.contains(said), "{name}: {says}");
    }
    let plain = says(&csi, "alicloud-nas-subpath");
    assert_eq!(plain.matches("\",\"").count(), 0, "one sentence: {plain}");
    // A class that is written anew says it of its own.
    let flexvolume = says(&home.report(&[], sample("flexvolume.yaml")), "alicloud-nas");
    for said in ["is removed with everything in it", "without effect in this class: deleteVolume"] {
        assert!(flexvolume.contains(said), "{flexvolume}");
    }
}

#[test]
fn a_class_of_snapshots_is_left_alone_while_the_driver_offers_none() {
    let class = "kind: VolumeSnapshotClass\nmetadata: {name: a}\ndriver: \
                 diskplugin.csi.alibabacloud.com\ndeletionPolicy: Delete\n";
    let report = home().report(&[], class);
    assert_eq!(verdicts(&report, "person"), ["a"]);
    let said = item(&report, "a")["says"].to_string();
    assert!(said.contains("offers no snapshots") && said.contains("stay in the cloud"), "{said}");
}

#[test]
fn what_does_not_carry_over_is_named_with_what_to_do() {
    let home = home();
    let ran = home.migrate(&[], sample("refused.yaml"));
    assert_eq!(ran.code, Some(1));
    assert_golden("refused.txt", &ran.out);
    let report = home.report(&[], sample("refused.yaml"));
    assert_eq!(verdicts(&report, "unchanged"), [] as [&str; 0]);
    assert!(item(&report, "d-bp1shared")["says"].to_string().contains("in use on node-2"));
}

#[test]
fn keys_among_attributes_are_taken_where_the_operator_allows_them() {
    let home = home();
    let config = fs::read_to_string(home.config()).unwrap();
    let allowing = home.directory.path().join("allowing.toml");
    let section = "[driver.\"ossplugin.csi.alibabacloud.com\"]\nbackend = \"oss\"\n\
                   secret-attributes = [\"akid\", \"aksecret\"]\n";
    fs::write(&allowing, format!("{config}{section}")).unwrap();
    let claim = json!({ "namespace": "shop", "name": "models" });
    let volume = json!({ "kind": "PersistentVolume", "metadata": { "name": "pv-oss-keys" }, "spec": {
        "accessModes": ["ReadWriteMany"],
        "capacity": { "storage": "5Gi" },
        "claimRef": claim.clone(),
        "csi": {
            "driver": "ossplugin.csi.alibabacloud.com",
            "volumeHandle": "pv-oss-keys",
            "volumeAttributes": {
                "bucket": "models",
                "url": "oss-cn-hangzhou.aliyuncs.com",
                "akId": "canary-id",
                "akSecret": "canary-secret",
            },
        },
    } });
    let bound = json!({ "volumeName": "pv-oss-keys", "accessModes": ["ReadWriteMany"] });
    let claim = json!({ "kind": "PersistentVolumeClaim", "metadata": claim, "spec": bound });
    let input = list(&[volume, claim]);
    let migrate = |arguments: &[&str]| {
        let mut command = home.command_of(&allowing, &["migrate", "--output", "json"]);
        let ran = run(command.args(arguments), input.as_bytes());
        assert!(!ran.out.contains("canary"), "{}", ran.out);
        let report: Value = serde_json::from_str(&ran.out).unwrap();
        item(&report, "pv-oss-keys").clone()
    };
    let kept = migrate(&[]);
    assert_eq!(kept["verdict"], "unchanged", "{kept:#}");
    assert!(kept["says"].to_string().contains("`nodePublishSecretRef` is the place"), "{kept:#}");
    let moved = migrate(&["--to-flexvolume"]);
    assert_eq!(moved["verdict"], "person", "{moved:#}");
    assert!(moved["says"].to_string().contains("keys stand among its attributes"), "{moved:#}");
}

#[test]
fn volumes_of_flexvolume_become_volumes_of_csi_that_the_components_accept() {
    let home = home();
    let ran = home.migrate(&["--to-csi"], sample("flexvolume.yaml"));
    assert_golden("to-csi.txt", &ran.out);
    let report = home.report(&["--to-csi"], sample("flexvolume.yaml"));
    assert_harmless(&report);
    let made = applied(&report);
    let of_kind = |kind: &str| made.iter().filter(|object| object["kind"] == kind).count();
    assert_eq!(
        ["PersistentVolume", "PersistentVolumeClaim", "StorageClass"].map(of_kind),
        [6, 6, 2]
    );
    for claim in made.iter().filter(|object| object["kind"] == "PersistentVolumeClaim") {
        let volume = made.iter().find(|it| it["metadata"]["name"] == claim["spec"]["volumeName"]);
        let volume = volume.unwrap();
        assert_eq!(volume["spec"]["claimRef"]["name"], claim["metadata"]["name"]);
        assert_eq!(volume["spec"]["claimRef"]["namespace"], claim["metadata"]["namespace"]);
        for field in ["storageClassName", "volumeMode", "accessModes"] {
            assert_eq!(volume["spec"][field], claim["spec"][field], "{field}");
        }
        assert_eq!(volume["spec"]["capacity"], claim["spec"]["resources"]["requests"]);
    }
    // Given back, every one of them is accepted as it is.
    let again = home.report(&[], list(&made));
    assert_eq!(verdicts(&again, "unchanged").len(), 8, "{again:#}");
    // Every text of the report is YAML, too, and the same.
    let yaml = home.migrate(&["--to-csi", "--output", "yaml"], sample("flexvolume.yaml"));
    assert!(yaml.out.starts_with("not-looked-at: 2\nobjects:\n"), "{}", yaml.out);
}

/// Input that holds just these objects.
fn list(items: &[Value]) -> String {
    json!({ "kind": "List", "items": items }).to_string()
}

/// PersistentVolumes of these objects, by the start of their names.
fn volumes(made: &[Value]) -> BTreeMap<String, Value> {
    let volumes = made.iter().filter(|object| object["kind"] == "PersistentVolume");
    volumes
        .map(|volume| {
            let name = volume["metadata"]["name"].as_str().unwrap();
            (name.split("-csi").next().unwrap().to_owned(), volume["spec"].clone())
        })
        .collect()
}

#[test]
fn volumes_of_csi_become_volumes_of_flexvolume_that_mean_the_same() {
    let home = home();
    let csi = applied(&home.report(&["--to-csi"], sample("flexvolume.yaml")));
    let report = home.report(&["--to-flexvolume"], list(&csi));
    assert_harmless(&report);
    let flexvolume = applied(&report);
    let back = volumes(&flexvolume);
    assert_eq!(back.len(), 6, "{report:#}");
    let accepted = home.report(&[], list(&flexvolume));
    assert_eq!(verdicts(&accepted, "unchanged").len(), 6, "{accepted:#}");
    // Once more over CSI, each is what it was there.
    let again = volumes(&applied(&home.report(&["--to-csi"], list(&flexvolume))));
    let mut attached = 0;
    for (name, spec) in volumes(&csi) {
        let (once, twice) = (&spec["csi"], &again[&name]["csi"]);
        for field in ["driver", "volumeAttributes", "readOnly", "nodePublishSecretRef"] {
            assert_eq!(once[field], twice[field], "{name}: {field}");
        }
        if once["driver"] == CSI_DRIVER {
            attached += 1;
            // A share has no file system of its own; over FlexVolume it is called `nfs`.
            assert_eq!(once["fsType"], twice["fsType"]);
            assert_eq!(once["volumeHandle"], twice["volumeHandle"]);
            let options = &back[&name]["flexVolume"]["options"];
            assert_eq!(options["VolumeId"], once["volumeHandle"]);
            let drain = item(&report, &format!("{name}-csi"))["steps"][3].to_string();
            assert!(drain.contains("volumeattachments"), "{drain}");
        }
    }
    assert!(attached > 0);
}

#[test]
fn what_flexvolume_cannot_say_of_a_volume_is_named() {
    let home = home();
    let volume = |name: &str, spec: Value| {
        let mut volume = json!({
            "kind": "PersistentVolume",
            "metadata": { "name": name },
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "capacity": { "storage": "20Gi" },
                "claimRef": { "namespace": "shop", "name": name },
                "csi": { "driver": CSI_DRIVER, "volumeHandle": name },
            },
        });
        let spec = spec.as_object().unwrap().clone();
        for (key, value) in spec {
            match volume["spec"][&key].as_object_mut() {
                Some(there) => there.extend(value.as_object().unwrap().clone()),
                None => volume["spec"][&key] = value,
            }
        }
        let claim = json!({
            "kind": "PersistentVolumeClaim",
            "metadata": { "name": name, "namespace": "shop" },
            "spec": { "volumeName": name },
        });
        [volume, claim]
    };
    let secret = json!({ "csi": { "nodeStageSecretRef": { "name": "s", "namespace": "shop" } } });
    let objects = [
        volume("d-bp1plain", json!({})),
        volume("d-bp1raw", json!({ "volumeMode": "Block" })),
        volume("d-bp1flags", json!({ "mountOptions": ["noatime"] })),
        volume("d-bp1secret", secret),
    ];
    let report = home.report(&["--to-flexvolume"], list(objects.as_flattened()));
    assert_eq!(volumes(&applied(&report)).len(), 1, "{report:#}");
    for (name, said) in [
        ("d-bp1raw", "no raw devices"),
        ("d-bp1flags", "no `mountOptions`"),
        ("d-bp1secret", "`nodeStageSecretRef`"),
    ] {
        let item = item(&report, name);
        assert_eq!(item["verdict"], "person");
        assert!(item["says"].to_string().contains(said), "{item:#}");
    }
}

#[test]
fn a_first_look_keeps_the_data_before_anything_else_happens() {
    let home = home();
    let report = home.report(&["--to-csi"], sample("flexvolume.yaml"));
    let volumes = objects(&report).iter().filter(|item| item["kind"] == "PersistentVolume");
    for volume in volumes {
        let first = &steps(volume)[0];
        let what = first.to_string();
        assert!(what.contains("Retain") && first.get("apply").is_none(), "{what}");
    }
    let was_delete = steps(item(&report, "d-bp1dynamic"))[0]["run"].as_array().unwrap();
    assert_eq!(was_delete.len(), 1);
    let drain = steps(item(&report, "d-bp1dynamic"))[3]["what"].as_str().unwrap();
    assert!(drain.contains("db-0") && drain.contains("in use on node-1"), "{drain}");
}

#[test]
fn no_step_is_written_where_data_could_be_lost() {
    let home = home();
    let report = home.report(&["--to-csi"], sample("unsafe.yaml"));
    assert!(applied(&report).is_empty(), "{report:#}");
    for (name, verdict, said) in [
        ("d-bp1released", "person", "not Bound"),
        ("d-bp1free", "unchanged", "no claim has it"),
        ("d-bp1going", "person", "kubernetes.io/pv-protection"),
        ("d-bp1claimgoing", "person", "is being deleted"),
        ("d-bp1otherclaim", "person", "uids differ"),
        ("d-bp1twice", "person", "second shows the same volume"),
        ("second", "person", "d-bp1twice shows the same volume"),
        ("d-bp1shown", "person", "by-hand shows the same volume"),
        ("d-bp1moved", "unchanged", "in use on node-2"),
        ("d-bp1many", "person", "several nodes cannot write"),
    ] {
        let item = item(&report, name);
        assert_eq!(item["verdict"], verdict, "{item:#}");
        assert!(item["says"].to_string().contains(said), "{item:#}");
    }
}

/// Volumes that stand in pods, by their workload and name.
fn inline<'a>(report: &'a Value, name: &str, volume: &str) -> &'a Value {
    let mut of = objects(report).iter().filter(|item| item["name"] == name);
    of.find(|item| item["volume"] == volume).unwrap_or_else(|| panic!("{name} {volume}"))
}

#[test]
fn volumes_that_stand_in_pods_are_judged_where_they_are_written() {
    let home = home();
    let report = home.report(&[], sample("inline.yaml"));
    let seen: Vec<_> = objects(&report)
        .iter()
        .filter(|item| item["volume"].is_string())
        .map(|item| [&item["kind"], &item["namespace"], &item["name"], &item["verdict"]])
        .map(|words| words.map(|word| word.as_str().unwrap()).join(" "))
        .collect();
    assert_eq!(
        seen,
        [
            "Deployment shop web unchanged",
            "StatefulSet books ledger unchanged",
            "DaemonSet logs agent unchanged",
            "CronJob books report unchanged",
            "Pod books by-hand unchanged",
            // One for all pods of a maker that was not given.
            "Pod shop worker-0 unchanged",
            "Deployment shop nameless person",
            "Deployment shop nameless person",
            "ReplicaSet shop twice unchanged",
        ]
    );
    assert!(applied(&report).is_empty());
    assert_eq!(report["not-looked-at"], 1);
    let said = inline(&report, "worker-0", "files")["says"].to_string();
    assert!(said.contains("Fleet worker makes this pod"), "{said}");
}

#[test]
fn volumes_that_stand_in_pods_become_claims_that_the_components_accept() {
    let home = home();
    let ran = home.migrate(&["--to-csi"], sample("inline.yaml"));
    assert_golden("inline-to-csi.txt", &ran.out);
    let report = home.report(&["--to-csi"], sample("inline.yaml"));
    assert_harmless(&report);
    let made = applied(&report);
    let of_kind = |kind: &str| made.iter().filter(|object| object["kind"] == kind).count();
    assert_eq!(["PersistentVolume", "PersistentVolumeClaim"].map(of_kind), [6, 6]);
    let list = json!({ "kind": "List", "items": made });
    let again = home.report(&[], list.to_string());
    assert_eq!(verdicts(&again, "unchanged").len(), 6, "{again:#}");
    // Nothing is attached twice: a disk is let go before another pod wants it.
    let disk = steps(inline(&report, "ledger", "data"));
    assert!(disk[2]["expect"].as_str().unwrap().contains("no machine holds d-bp1inline"));
    for (volume, other) in [("ReplicaSet shop/twice", "d-bp1twice"), ("d-bp1twice", "twice")] {
        let item = item(&report, other);
        let said = item["says"].to_string();
        assert_eq!((&item["verdict"], steps(item)), (&json!("person"), &[][..]), "{said}");
        assert!(said.contains(volume) && said.contains("shows the same volume"), "{said}");
    }
    let reader = steps(inline(&report, "web", "models")).last().unwrap()["what"].to_string();
    assert!(reader.contains("claimName: web-models-csi, readOnly: true"), "{reader}");
}

#[test]
fn many_disks_take_no_longer_than_so_many_single_ones() {
    let home = home();
    let volume = |n: usize| {
        json!({
            "kind": "PersistentVolume",
            "metadata": { "name": format!("d-{n:020}") },
            "spec": {
                "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "1Gi" },
                "claimRef": { "namespace": "shop", "name": format!("data-{n}") },
                "flexVolume": { "driver": "alicloud/disk", "options": { "VolumeId": format!("d-{n:020}") } },
            },
        })
    };
    // Processor time, which others on this machine take nothing of. `times` prints the shell's own
    // in its first line, and that of its children in the second.
    let took = |count: usize| -> f64 {
        let items: Vec<_> = (0..count).map(volume).collect();
        let list = json!({ "kind": "List", "items": items }).to_string();
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "\"$@\" && times >&2", "sh"]).arg(&home.parts.wharf);
        shell.arg("--config").arg(home.config()).args(["migrate", "--to-csi", "--output", "json"]);
        let ran = run(&mut shell, list.as_bytes());
        let report: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(applied(&report).len(), 2 * count);
        let user = ran.errors.lines().nth(1).unwrap().split(' ').next().unwrap();
        let (minutes, seconds) = user.trim_end_matches('s').split_once('m').unwrap();
        minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()
    };
    // Eight times as many: about nine times as long. It was forty times as long.
    let (few, many) = (took(200), took(1600));
    assert!(many < few * 20.0, "200 took {few} s, 1600 took {many} s");
}

#[test]
fn no_key_is_ever_printed() {
    let home = home();
    for name in ["flexvolume.yaml", "refused.yaml", "inline.yaml"] {
        for output in ["text", "json", "yaml"] {
            let ran = home.migrate(&["--to-csi", "--output", output], sample(name));
            let said = format!("{}{}", ran.out, ran.errors);
            assert!(!said.contains("canary") && !said.contains("Y2FuYXJ5"), "{name}: {said}");
        }
    }
    // What is wrong with the input says where, and not what stands there.
    for input in [
        "kind: PersistentVolume\nmetadata: {name: a}\nspec: {flexVolume: {driver: alicloud/oss, \
         options: {akSecret: [canary]}}}",
        "kind: PersistentVolume\nmetadata: {name: a}\nspec: {csi: {driver: \
         ossplugin.csi.alibabacloud.com, volumeAttributes: canary}}",
        "kind: Secret\ndata: {a: canary}",
        "data: {a: \"canary",
        "akSecret: canary\nakSecret: canary",
    ] {
        let ran = home.migrate(&[], input);
        assert_eq!(ran.code, Some(2), "{input}");
        let said = format!("{}{}", ran.out, ran.errors);
        assert!(!said.contains("canary") && said.starts_with("wharf: "), "{said}");
    }
}

#[test]
fn what_is_no_input_is_refused_within_its_bounds() {
    let home = home();
    let huge = vec![b'#'; (32 << 20) + 1];
    let bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n".to_owned();
    let many = "---\nkind: Pod\nmetadata: {name: a}\n".repeat(20_001);
    for (input, said) in [
        (Vec::new(), "kubectl get pv"),
        (huge, "in parts"),
        ("[".repeat(1_000_000).into(), "limit"),
        ("a:\n ".repeat(100_000).into(), "line "),
        (bomb.into(), "anchors"),
        (many.into(), "in parts"),
        (vec![0xff, 0xfe, 0], "UTF-8"),
        (b"\0\0\0".to_vec(), "line 1"),
        (b"kind: Namespace\nmetadata: {name: a}\n".to_vec(), "1 others"),
        (b"kind: PersistentVolume\nmetadata: {name: \"a; reboot\"}\n".to_vec(), "metadata.name"),
    ] {
        let ran = home.migrate(&[], &input);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{said}: {}", ran.errors);
        assert!(ran.errors.contains(said), "{said}: {}", ran.errors);
    }
    let none = run(home.command(&["migrate"]).arg("--output").arg("toml"), b"");
    assert_eq!(none.code, Some(2));
}

#[test]
fn a_component_that_is_not_there_is_said_for_each_of_its_objects() {
    let home = home();
    let directory = TempDir::new().unwrap();
    let config = directory.path().join("wharf.toml");
    let text = fs::read_to_string(home.config()).unwrap();
    let store = home.directory.path().join("store").display().to_string();
    let other = directory.path().join("store").display().to_string();
    fs::write(&config, text.replace(&store, &other)).unwrap();
    let mut command = Command::new(&home.parts.wharf);
    command.arg("--config").arg(&config).arg("migrate");
    let ran = run(&mut command, sample("csi.yaml").as_bytes());
    assert_eq!(ran.code, Some(1));
    assert!(ran.out.contains("\"disk\"") && !ran.out.contains("goes on as it is"), "{}", ran.out);
}

/// What `wharf migrate --to-csi` makes of a volume, on one machine of a region.
fn moved(bed: &Bed, machine: &Machine, volume: &FlexVolume) -> CsiVolume {
    let object = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": { "name": volume.name },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "1Gi" },
            "claimRef": { "namespace": "shop", "name": "data" },
            "flexVolume": {
                "driver": "alicloud/disk", "fsType": volume.fs_type, "options": volume.options,
            },
            "persistentVolumeReclaimPolicy": "Delete",
        },
        "status": { "phase": "Bound" },
    });
    let mut command = machine.command(bed.parts(), &["migrate", "--to-csi", "--output", "json"]);
    let ran = run(&mut command, object.to_string().as_bytes());
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.errors);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_harmless(&report);
    let made = applied(&report);
    let made = made.iter().find(|object| object["kind"] == "PersistentVolume").unwrap();
    let csi = &made["spec"]["csi"];
    assert_eq!(csi["driver"], CSI_DRIVER);
    let name = made["metadata"]["name"].as_str().unwrap();
    let class = VolumeClass::file_system(csi["fsType"].as_str().unwrap_or_default(), &[]);
    let mut moved =
        CsiVolume::of_handle(name, csi["volumeHandle"].as_str().unwrap(), 1 << 30, class);
    if let Some(attributes) = csi["volumeAttributes"].as_object() {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        moved.context = attributes.iter().map(|(key, value)| (key.clone(), text(value))).collect();
    }
    moved
}

#[test]
fn a_disk_that_flexvolume_wrote_is_read_over_csi_and_back() {
    let test = "a_disk_that_flexvolume_wrote_is_read_over_csi_and_back";
    if !requirement::machine(test) {
        return;
    }
    let bed = Bed::make(&BedOptions::default()).unwrap();
    bed.install_flexvolume().unwrap();
    bed.serve().unwrap();
    let (csi, flex, manager) = (bed.csi(), bed.flex(), bed.manager().flex_node());
    let csi_nodes: Vec<_> = bed
        .nodes()
        .iter()
        .map(|node| csi.register(node.name(), &node.socket(), &node.kubelet()).unwrap())
        .collect();
    let nodes: Vec<_> = bed.nodes().iter().map(Machine::flex_node).collect();
    let class = VolumeClass::file_system("ext4", &[("type", "cloud_auto")]);
    let disk = csi.provision("pvc-1", 1 << 30, &class).unwrap();
    let volume = FlexVolume::new("d-old", "", &[("VolumeId", &disk.handle)]);
    let (_, target) = flex.start_pod(&volume, &manager, &nodes[0], "pod-a").unwrap();
    fs::write(target.join("data"), "from FlexVolume").unwrap();

    // Both objects are there while the pod still runs; nothing of it is disturbed.
    let mut moved = moved(&bed, bed.node(0), &volume);
    assert_eq!(fs::read_to_string(target.join("data")).unwrap(), "from FlexVolume");

    flex.end_pod(&volume, &manager, &nodes[0], "pod-a").unwrap();
    let target = csi.start_pod(&mut moved, &csi_nodes[1], "pod-b").unwrap();
    assert_eq!(fs::read_to_string(target.join("data")).unwrap(), "from FlexVolume");
    fs::write(target.join("data"), "from CSI").unwrap();

    // The way back.
    csi.end_pod(&moved, &csi_nodes[1], "pod-b").unwrap();
    let (_, target) = flex.start_pod(&volume, &manager, &nodes[0], "pod-c").unwrap();
    assert_eq!(fs::read_to_string(target.join("data")).unwrap(), "from CSI");
    flex.end_pod(&volume, &manager, &nodes[0], "pod-c").unwrap();
    csi.delete(&disk).unwrap();
}

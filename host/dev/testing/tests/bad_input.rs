//! What an operator gets wrong, what a disk loses, and what nobody should ever send: a call-out
//! answers one JSON object that names the fix and exits with 0, a command says it on standard error
//! and exits with 1, no secret is shown, and no volume stays where kubelet wants it gone.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what a test's own helpers meet fails the test"
)]

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::{Read, pipe};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use wharf_testing::bed::{Bed, BedOptions, CSI_DRIVER, Machine};
use wharf_testing::player::{CsiPlayer, CsiVolume, FlexNode, FlexPlayer, FlexVolume, VolumeClass};
use wharf_testing::requirement;
use wharf_testing::snapshot::Snapshot;

const GIB: u64 = 1 << 30;
const CLASS: &[(&str, &str)] = &[("type", "cloud_auto")];
/// Must not appear in anything that is printed.
const CANARY: &str = "canary-of-a-configuration";
/// The kernel's bound on one argument, with its end (`MAX_ARG_STRLEN`).
const LONGEST_ARGUMENT: usize = (128 << 10) - 1;

struct Cluster {
    flex: FlexPlayer,
    csi: CsiPlayer,
    manager: FlexNode,
    node: FlexNode,
    bed: Bed,
}

fn cluster(test: &str) -> Option<Cluster> {
    if !requirement::machine(test) {
        return None;
    }
    let bed = Bed::make(&BedOptions { nodes: 1, ..BedOptions::default() }).unwrap();
    bed.install_flexvolume().unwrap();
    let (manager, node) = (bed.manager().flex_node(), bed.node(0).flex_node());
    Some(Cluster { flex: bed.flex(), csi: bed.csi(), manager, node, bed })
}

/// One answer of a call-out.
struct Answer {
    status: String,
    message: String,
}

impl Cluster {
    /// A disk of its own, and a PersistentVolume whose name is not the disk's id.
    fn volume(&self, name: &str) -> (CsiVolume, FlexVolume) {
        self.bed.manager().serve("controller", self.bed.parts()).unwrap();
        let disk = self.csi.provision(name, GIB, &VolumeClass::file_system("ext4", CLASS)).unwrap();
        let volume = FlexVolume::new(name, "ext4", &[("VolumeId", &disk.handle)]);
        (disk, volume)
    }

    fn machine(&self) -> &Machine {
        self.bed.node(0)
    }

    /// Executes the node's driver; what it prints is held against the contract.
    fn call<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Answer {
        self.call_with(arguments, Stdio::null())
    }

    fn call_with<S: AsRef<OsStr>>(&self, arguments: &[S], input: Stdio) -> Answer {
        let (mut reader, writer) = pipe().unwrap();
        let mut command = Command::new(self.flex.executable(&self.node));
        command.args(arguments).stdin(input).stdout(writer.try_clone().unwrap()).stderr(writer);
        let mut process = command.spawn().unwrap();
        drop(command);
        let mut printed = String::new();
        reader.read_to_string(&mut printed).unwrap();
        assert_eq!(process.wait().unwrap().code(), Some(0), "{printed}");
        assert!(!printed.contains(CANARY), "{printed}");
        let object: Value =
            serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed:?}"));
        let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
        Answer { status: text("status"), message: text("message") }
    }

    /// Every call-out that needs more than the driver file fails, and says all of this.
    fn assert_refused(&self, volume: &FlexVolume, words: &[&str]) {
        let options = options(volume);
        let (global, pod) = (
            volume.global_mount(&self.node, self.flex.driver()),
            volume.pod_mount(&self.node, self.flex.driver(), "new"),
        );
        let (global, pod) = (global.to_str().unwrap(), pod.to_str().unwrap());
        for call in [
            vec!["attach", &options, &self.node.name],
            vec!["waitforattach", "", &options],
            vec!["isattached", &options, &self.node.name],
            vec!["mount", pod, &options],
            vec!["detach", &volume.name, &self.node.name],
            vec!["expandfs", &options, "", global, "2147483648", "1073741824"],
        ] {
            let answer = self.call(&call);
            assert_eq!(answer.status, "Failure", "{call:?}: {}", answer.message);
            assert!(
                words.iter().all(|word| answer.message.contains(word)),
                "{call:?} does not say {words:?}: {}",
                answer.message
            );
        }
        assert_eq!(self.call(&["init"]).status, "Success");
        assert_eq!(self.call(&["getvolumename", &options]).status, "Success");
    }

    /// A command fails at once, and says all of this to whoever reads its standard error.
    fn assert_command_refused(&self, arguments: &[&str], words: &[&str]) {
        let ran = self.machine().run(self.bed.parts(), arguments).unwrap();
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{arguments:?}: {}", ran.stderr);
        assert!(
            words.iter().all(|word| ran.stderr.contains(word)),
            "{arguments:?} does not say {words:?}: {}",
            ran.stderr
        );
        assert!(
            ran.stderr.starts_with("wharf: ")
                && !ran.stderr.contains(CANARY)
                && !ran.stderr.contains("panicked"),
            "{}",
            ran.stderr
        );
    }

    fn assert_empty(&self) {
        let left = Snapshot::of(&self.bed, &[]);
        assert!(left.is_empty(), "left behind:\n{left}");
    }
}

fn options(volume: &FlexVolume) -> String {
    let mut options = json!({ "kubernetes.io/fsType": volume.fs_type, "kubernetes.io/readwrite": "rw", "kubernetes.io/pvOrVolumeName": volume.name });
    volume.options.iter().for_each(|(key, value)| options[key] = json!(value));
    options.to_string()
}

/// Makes a file what it is not, until it is dropped.
struct Instead {
    file: PathBuf,
    text: Vec<u8>,
}

impl Instead {
    fn of(file: PathBuf) -> Self {
        Self { text: fs::read(&file).unwrap(), file }
    }

    fn write(&self, text: impl AsRef<[u8]>, mode: u32) {
        self.remove();
        fs::write(&self.file, text).unwrap();
        fs::set_permissions(&self.file, Permissions::from_mode(mode)).unwrap();
    }

    fn remove(&self) {
        let _ = fs::remove_file(&self.file).or_else(|_| fs::remove_dir_all(&self.file));
    }
}

impl Drop for Instead {
    fn drop(&mut self) {
        self.write(&self.text, 0o600);
    }
}

#[test]
fn a_configuration_that_cannot_be_used_is_named_with_its_fix_and_keeps_no_volume() {
    let Some(cluster) =
        cluster("a_configuration_that_cannot_be_used_is_named_with_its_fix_and_keeps_no_volume")
    else {
        return;
    };
    let (disk, volume) = cluster.volume("pv-config");
    let config = Instead::of(cluster.machine().config());
    let path = config.file.to_str().unwrap().to_owned();
    let whole = String::from_utf8(config.text.clone()).unwrap();
    let unclosed =
        whole.replace("access-key-secret = ", &format!("access-key-secret = \"{CANARY}, was = "));
    let shown = whole.replace(
        "access-key-secret = ",
        &format!("access-key-secret = {{ value = \"{CANARY}\" }}, was = "),
    );
    let cases: [(&dyn Fn(), &[&str]); 6] = [
        (&|| config.remove(), &["cannot be read", "No such file"]),
        (&|| config.write(&unclosed, 0o600), &["is wrong", "line"]),
        (&|| config.write(format!("stat = \"{CANARY}\"\n{whole}"), 0o600), &["is wrong", "stat"]),
        (&|| config.write(&shown, 0o644), &["is wrong", "chmod 600"]),
        (&|| config.write([0xff; 99], 0o600), &["cannot be read", "TOML"]),
        (
            &|| fs::remove_file(&config.file).and_then(|()| fs::create_dir(&config.file)).unwrap(),
            &["cannot be read"],
        ),
    ];
    for (n, (spoil, words)) in cases.iter().enumerate() {
        let pod = format!("pod-{n}");
        cluster.flex.start_pod(&volume, &cluster.manager, &cluster.node, &pod).unwrap();
        spoil();
        let words: Vec<&str> = words.iter().copied().chain([path.as_str()]).collect();
        cluster.assert_refused(&volume, &words);
        cluster.assert_command_refused(&["csi", "--role", "node"], &words);
        cluster.assert_command_refused(&["backend", "list"], &words);
        cluster.assert_command_refused(&["flexvolume", "install", "--dir", "/nowhere"], &words);
        cluster.flex.unmount(&volume, &cluster.node, &pod).unwrap();
        cluster.flex.unmount_device(&volume, &cluster.node).unwrap();
        config.write(&whole, 0o600);
        cluster.flex.detach(&volume, &cluster.manager, &cluster.node).unwrap();
    }
    cluster.assert_command_refused(
        &["csi", "--driver", "no.such.driver"],
        &["no.such.driver", "[driver."],
    );
    cluster.assert_command_refused(
        &["csi", "--driver", CSI_DRIVER, "--endpoint", "http://x"],
        &["http://x"],
    );
    cluster.csi.delete(&disk).unwrap();
    cluster.assert_empty();
}

#[test]
fn a_driver_file_of_an_earlier_version_leaves_the_roots_to_the_configuration() {
    let Some(cluster) =
        cluster("a_driver_file_of_an_earlier_version_leaves_the_roots_to_the_configuration")
    else {
        return;
    };
    let (disk, volume) = cluster.volume("pv-earlier");
    let executable = cluster.flex.executable(&cluster.node);
    let file = executable.with_file_name(".wharf.json");
    let mut driver: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert!(driver.as_object_mut().unwrap().remove("roots").is_some());
    fs::write(&file, driver.to_string()).unwrap();
    cluster.flex.start_pod(&volume, &cluster.manager, &cluster.node, "pod").unwrap();
    cluster.flex.end_pod(&volume, &cluster.manager, &cluster.node, "pod").unwrap();
    cluster.csi.delete(&disk).unwrap();
    cluster.assert_empty();
}

#[test]
fn a_store_that_is_damaged_is_named_with_its_fix_and_keeps_no_volume() {
    let Some(cluster) =
        cluster("a_store_that_is_damaged_is_named_with_its_fix_and_keeps_no_volume")
    else {
        return;
    };
    let (disk, volume) = cluster.volume("pv-store");
    let store = cluster.machine().store();
    let whole = store.with_extension("whole");
    copy(&store, &whole);
    let cases: [(&dyn Fn(), &[&str]); 5] = [
        (&|| open_to_all(&store), &["chmod go-w", "/store"]),
        (&|| fs::remove_dir_all(&store).unwrap(), &["backend install", "disk"]),
        (
            &|| fs::write(store.join("backends/disk/active"), "\0\0\0").unwrap(),
            &["backends/disk/active", "damaged"],
        ),
        (
            &|| spoil_all(&store.join("backends/disk/generations")),
            &["backends/disk/generations", "damaged"],
        ),
        (
            &|| {
                spoil_all(&store.join("components"));
                fs::remove_dir_all(store.join("cache")).unwrap();
            },
            &["components/", "damaged"],
        ),
    ];
    for (n, (spoil, words)) in cases.iter().enumerate() {
        let pod = format!("pod-{n}");
        cluster.flex.start_pod(&volume, &cluster.manager, &cluster.node, &pod).unwrap();
        spoil();
        let answer = cluster.call(&["waitforattach", "", &options(&volume)]);
        assert_eq!(answer.status, "Failure", "{}", answer.message);
        assert!(
            words.iter().all(|word| answer.message.contains(word)),
            "case {n} does not say {words:?}: {}",
            answer.message
        );
        cluster.flex.unmount(&volume, &cluster.node, &pod).unwrap();
        cluster.flex.unmount_device(&volume, &cluster.node).unwrap();
        copy(&whole, &store);
        cluster.flex.detach(&volume, &cluster.manager, &cluster.node).unwrap();
    }
    fs::remove_dir_all(&whole).unwrap();
    cluster.csi.delete(&disk).unwrap();
    cluster.assert_empty();
}

#[test]
fn a_machine_that_has_only_the_driver_compiles_anew_what_its_cache_lost() {
    let Some(cluster) =
        cluster("a_machine_that_has_only_the_driver_compiles_anew_what_its_cache_lost")
    else {
        return;
    };
    let (disk, volume) = cluster.volume("pv-cache");
    for machine in [cluster.bed.manager(), cluster.machine()] {
        fs::remove_dir_all(machine.store().join("cache")).unwrap();
    }
    cluster.flex.start_pod(&volume, &cluster.manager, &cluster.node, "pod").unwrap();
    assert!(cluster.machine().store().join("cache").is_dir());
    cluster.flex.end_pod(&volume, &cluster.manager, &cluster.node, "pod").unwrap();
    cluster.csi.delete(&disk).unwrap();
    cluster.assert_empty();
}

#[test]
fn a_state_that_cannot_be_written_keeps_no_volume() {
    let Some(cluster) = cluster("a_state_that_cannot_be_written_keeps_no_volume") else { return };
    let (disk, volume) = cluster.volume("pv-state");
    cluster.flex.start_pod(&volume, &cluster.manager, &cluster.node, "pod").unwrap();
    let states = [cluster.bed.manager().state(), cluster.machine().state()];
    states.iter().for_each(|state| freeze(state));
    cluster.flex.end_pod(&volume, &cluster.manager, &cluster.node, "pod").unwrap();
    // Kubernetes repeats what it did not hear the answer of.
    cluster.flex.detach(&volume, &cluster.manager, &cluster.node).unwrap();
    let refused = cluster.call(&["attach", &options(&volume), &cluster.node.name]);
    assert!(refused.message.contains("must be writable"), "{}", refused.message);
    states.iter().for_each(|state| run("umount", &[state.as_os_str()]));
    // What could not be removed is replaced.
    cluster.flex.start_pod(&volume, &cluster.manager, &cluster.node, "pod").unwrap();
    cluster.flex.end_pod(&volume, &cluster.manager, &cluster.node, "pod").unwrap();
    cluster.csi.delete(&disk).unwrap();
    cluster.assert_empty();
}

#[test]
fn a_region_that_nothing_answers_for_is_named_while_kubelet_still_waits() {
    let Some(cluster) =
        cluster("a_region_that_nothing_answers_for_is_named_while_kubelet_still_waits")
    else {
        return;
    };
    let config = Instead::of(cluster.machine().config());
    let text = String::from_utf8(config.text.clone()).unwrap();
    let ecs = cluster.bed.region().description().endpoints.ecs.clone();
    // Nobody listens at the port for "nobody".
    config.write(text.replace(&ecs, "http://127.0.0.1:1"), 0o600);
    let volume = FlexVolume::new("pv-silent", "ext4", &[("volumeId", "d-silent")]);
    let answer = cluster.call(&["isattached", &options(&volume), &cluster.node.name]);
    assert_eq!(answer.status, "Failure");
    assert!(
        answer.message.contains("ecs") && answer.message.contains("called again"),
        "{}",
        answer.message
    );
}

#[test]
fn whatever_the_arguments_and_the_input_are_there_is_one_answer() {
    let Some(cluster) = cluster("whatever_the_arguments_and_the_input_are_there_is_one_answer")
    else {
        return;
    };
    let status = |arguments: &[&str]| cluster.call(arguments).status;
    for options in [
        "",
        "{",
        "null",
        "[]",
        r#"{"a":1}"#,
        &format!("{{\"password\":{CANARY}}}"),
        &format!("{{\"password\":\"{CANARY}\"}}"),
    ] {
        for call in [
            vec!["attach", options, "node-1"],
            vec!["waitforattach", "", options],
            vec!["isattached", options, "node-1"],
        ] {
            let answer = cluster.call(&call);
            assert_eq!(answer.status, "Failure", "{call:?}");
            assert!(
                answer.message.contains("ptions") && answer.message.contains("illegal"),
                "{call:?}: {}",
                answer.message
            );
        }
    }
    for unknown in ["provision", "ATTACH", "attach ", "-", "--config", CANARY] {
        assert_eq!(status(&[unknown, "{}"]), "Not supported", "{unknown:?}");
    }
    assert_eq!(cluster.call(&[OsString::from_vec(vec![0xff, 0xfe])]).status, "Not supported");
    assert_eq!(status(&["attach"]), "Failure");

    let start = r#"{"kubernetes.io/pvOrVolumeName":"pv-long","VolumeId":"d-long","x":""#;
    let longest = format!("{start}{}\"}}", "x".repeat(LONGEST_ARGUMENT - start.len() - 2));
    assert_eq!(status(&["getvolumename", &longest]), "Success");
    let refused = cluster.call(&["waitforattach", "", &longest]);
    assert!(
        refused.status == "Failure" && !refused.message.contains("xxxx"),
        "{}",
        refused.message
    );
    // A megabyte takes nine arguments.
    let many: Vec<&str> = std::iter::once("mount").chain([longest.as_str(); 9]).collect();
    assert!(cluster.call(&many).message.contains("expected exactly 4 arguments; got: 11"));
    // kubelet gives `/dev/null`; what never ends must not be read.
    for input in [
        Stdio::from(File::open("/dev/zero").unwrap()),
        Stdio::from(File::open("/dev/null").unwrap()),
    ] {
        assert_eq!(cluster.call_with(&["getvolumename", &longest], input).status, "Success");
    }
    cluster.assert_empty();
}

#[test]
fn a_state_that_others_may_write_mounts_nothing_and_keeps_no_volume() {
    let Some(cluster) = cluster("a_state_that_others_may_write_mounts_nothing_and_keeps_no_volume")
    else {
        return;
    };
    let (disk, volume) = cluster.volume("pv-open-state");
    cluster.flex.start_pod(&volume, &cluster.manager, &cluster.node, "pod").unwrap();
    let state = cluster.machine().state();
    open_to_all(&state);
    let pod = volume.pod_mount(&cluster.node, cluster.flex.driver(), "new");
    for call in [
        vec!["waitforattach", "", &options(&volume)],
        vec!["mount", pod.to_str().unwrap(), &options(&volume)],
    ] {
        let refused = cluster.call(&call);
        assert!(refused.message.contains("chmod go-w"), "{call:?}: {}", refused.message);
    }
    let install = ["flexvolume", "install", "--dir", "/nowhere"];
    cluster.assert_command_refused(&install, &["chmod go-w", "/state"]);
    cluster.flex.unmount(&volume, &cluster.node, "pod").unwrap();
    cluster.flex.unmount_device(&volume, &cluster.node).unwrap();
    fs::set_permissions(&state, Permissions::from_mode(0o755)).unwrap();
    cluster.flex.detach(&volume, &cluster.manager, &cluster.node).unwrap();
    // The record that was not believed is replaced.
    cluster.flex.start_pod(&volume, &cluster.manager, &cluster.node, "pod").unwrap();
    cluster.flex.end_pod(&volume, &cluster.manager, &cluster.node, "pod").unwrap();
    cluster.csi.delete(&disk).unwrap();
    cluster.assert_empty();
}

#[test]
fn a_file_does_not_choose_whom_it_replaces() {
    let Some(cluster) = cluster("a_file_does_not_choose_whom_it_replaces") else { return };
    let file = cluster.bed.directory().join("stranger.wasm");
    for (name, words) in [
        ("auth", ["wharf authenticator install", "keys of every account"]),
        ("disk", ["calls itself \"disk\"", "wharf backend install disk FILE"]),
    ] {
        let mut stranger = fs::read(cluster.bed.parts().component(name)).unwrap();
        // Another custom section: the same component with another digest.
        stranger.extend([0, 2, 1, b'x']);
        fs::write(&file, stranger).unwrap();
        let install = ["backend", "install", file.to_str().unwrap(), "--activate"];
        cluster.assert_command_refused(&install, &words);
    }
    let install = ["authenticator", "install", file.to_str().unwrap(), "--activate"];
    cluster.assert_command_refused(&install, &["wharf backend install"]);
    for kind in ["backend", "authenticator"] {
        let ran = cluster.machine().run(cluster.bed.parts(), &[kind, "list"]).unwrap();
        assert_eq!(ran.stdout.lines().count(), 2, "{}", ran.stdout);
    }
}

fn open_to_all(directory: &Path) {
    fs::set_permissions(directory, Permissions::from_mode(0o777)).unwrap();
}

/// From now on nothing can be written there, whoever asks.
fn freeze(directory: &Path) {
    run("mount", &["--bind".as_ref(), directory.as_os_str(), directory.as_os_str()]);
    run("mount", &["-o".as_ref(), "remount,bind,ro".as_ref(), directory.as_os_str()]);
}

fn run(program: &str, arguments: &[&OsStr]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    run("cp", &["-a".as_ref(), from.as_os_str(), to.as_os_str()]);
}

/// As a disk that loses a page.
fn spoil_all(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let half = bytes.len() / 2;
        bytes[half..].fill(0);
        fs::write(&path, bytes).unwrap();
    }
}

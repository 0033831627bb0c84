//! The invariants of `ARCHITECTURE.md`, on the real binary. Each test is named after the invariant
//! that it holds to; the seventh has `disturbed.rs` to itself, and the sixth is about guests that
//! misbehave, which live with `wharf-runtime`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the helpers of tests fail as tests do"
)]

mod safety {
    pub mod cluster;
    pub mod secrets;
}

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use safety::cluster::{Cluster, GIB};
use wharf_testing::player::{FlexVolume, Part, PlayError, VolumeClass};
use wharf_testing::trace::{Act, Attached, Counted, Moment};

const CLASS: &[(&str, &str)] = &[("type", "cloud_auto")];

fn refused(error: &PlayError, expected: &str) {
    assert!(matches!(error, PlayError::Refused { code, .. } if code == expected), "{error}");
}

#[test]
fn invariant_1_no_backend_call_happens_while_unstaging_unpublishing_or_answering_init() {
    without_a_backend(Restarted::No);
}

#[test]
fn invariant_1_unstaging_and_unpublishing_work_after_a_restart_without_a_backend() {
    without_a_backend(Restarted::Yes);
}

#[derive(PartialEq)]
enum Restarted {
    Yes,
    No,
}

fn without_a_backend(restarted: Restarted) {
    let Some(cluster) = Cluster::of("invariant_1") else { return };
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let mut volume = csi.provision("pvc-1", GIB, &VolumeClass::file_system("ext4", CLASS)).unwrap();
    csi.start_pod(&mut volume, node, "pod").unwrap();
    let disk = csi.provision("pvc-2", GIB, &VolumeClass::file_system("ext4", CLASS)).unwrap();
    let flex = FlexVolume::new("pv-2", "ext4", &[("volumeId", &disk.handle)]);
    let (manager, flex_node) = (cluster.bed.manager().flex_node(), cluster.bed.node(0).flex_node());
    cluster.flex.start_pod(&flex, &manager, &flex_node, "pod").unwrap();

    // Nothing is left of any backend on the node.
    let machine = cluster.bed.node(0);
    fs::remove_dir_all(machine.store()).unwrap();
    if restarted == Restarted::Yes {
        machine.kill_server().unwrap();
    }
    cluster.bed.region().clear_journal();
    csi.unpublish(&volume, node, "pod").unwrap();
    csi.unstage(&volume, node).unwrap();
    flex_node.forget();
    cluster.flex.probe(Part::Kubelet, &flex_node).unwrap();
    cluster.flex.unmount(&flex, &flex_node, "pod").unwrap();
    cluster.flex.unmount_device(&flex, &flex_node).unwrap();
    assert_eq!(cluster.bed.region().journal(), []);
    assert_eq!(cluster.bed.mounts(), []);

    csi.detach(&volume, node).unwrap();
    cluster.flex.detach(&flex, &manager, &flex_node).unwrap();
    csi.delete(&volume).unwrap();
    csi.delete(&disk).unwrap();
    cluster.assert_empty();
}

#[test]
fn invariant_2_a_disk_held_by_another_node_is_never_taken() {
    let Some(cluster) = Cluster::of("invariant_2_held") else { return };
    let (csi, one, two) = (&cluster.csi, &cluster.nodes[0], &cluster.nodes[1]);
    let mut volume =
        csi.provision("pvc-held", GIB, &VolumeClass::file_system("ext4", CLASS)).unwrap();
    csi.attach(&mut volume, one).unwrap();
    let before = cluster.bed.region().disks();
    let error = csi.attach(&mut volume.clone(), two).unwrap_err();
    refused(&error, "FailedPrecondition");
    assert!(error.to_string().contains(&one.id), "the holder is named: {error}");
    let flex = FlexVolume::new("pv-held", "ext4", &[("volumeId", &volume.handle)]);
    let (manager, elsewhere) = (cluster.bed.manager().flex_node(), cluster.bed.node(1).flex_node());
    let error = cluster.flex.attach(&flex, &manager, &elsewhere).unwrap_err();
    assert!(error.to_string().contains(&one.id), "the holder is named: {error}");
    // Kubernetes detaches what it does not know to be attached; the holder keeps it.
    cluster.flex.detach(&flex, &manager, &elsewhere).unwrap();
    csi.detach(&volume, two).unwrap();
    assert_eq!(cluster.bed.region().disks(), before);
    csi.detach(&volume, one).unwrap();
    csi.delete(&volume).unwrap();
    cluster.assert_empty();
}

#[test]
fn invariant_2_a_device_is_never_guessed() {
    let Some(cluster) = Cluster::of("invariant_2_guessed") else { return };
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let mut volume =
        csi.provision("pvc-guess", GIB, &VolumeClass::file_system("ext4", CLASS)).unwrap();
    let mut other =
        csi.provision("pvc-other", GIB, &VolumeClass::file_system("ext4", CLASS)).unwrap();
    csi.attach(&mut volume, node).unwrap();
    csi.attach(&mut other, node).unwrap();
    // Two new devices are there, and only a link says which is which.
    let link = cluster.link_of(0, &volume.handle);
    let reported = cluster.serial_of(0, &fs::read_link(&link).unwrap());
    let serial = fs::read(&reported).unwrap();
    fs::remove_file(&reported).unwrap();
    let error = csi.once().stage(&volume, node).unwrap_err();
    assert!(
        error.to_string().contains(volume.handle.trim_start_matches("d-")),
        "the serial is named: {error}"
    );
    assert_eq!(cluster.bed.mounts(), []);
    fs::remove_file(&link).unwrap();
    fs::write(&reported, serial).unwrap();
    csi.stage(&volume, node).unwrap();
    for volume in [&volume, &other] {
        csi.end_pod(volume, node, "pod").unwrap();
        csi.delete(volume).unwrap();
    }
    cluster.assert_empty();
}

#[test]
fn invariant_2_a_device_that_is_not_provably_blank_is_never_formatted() {
    let Some(cluster) = Cluster::of("invariant_2_blank") else { return };
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    // Somebody's bytes at the beginning, somebody's file in the middle (what is looked at there is
    // a sample), somebody's bytes at the end.
    for (name, at, length) in
        [("begin", 0, 16), ("middle", GIB / 2 + 12_345, 32 << 20), ("end", GIB - 512, 16)]
    {
        let mut raw = csi.provision(&format!("pvc-{name}"), GIB, &VolumeClass::raw(CLASS)).unwrap();
        let target = csi.start_pod(&mut raw, node, "writer").unwrap();
        let device = fs::File::options().write(true).open(&target).unwrap();
        device.write_all_at(&b"somebody's bytes".repeat(length / 16), at).unwrap();
        device.sync_all().unwrap();
        drop(device);
        csi.unpublish(&raw, node, "writer").unwrap();
        csi.unstage(&raw, node).unwrap();
        let volume = wharf_testing::player::CsiVolume {
            class: VolumeClass::file_system("ext4", CLASS),
            ..raw.clone()
        };
        let error = csi.once().stage(&volume, node).unwrap_err();
        refused(&error, "FailedPrecondition");
        let device = fs::File::open(cluster.link_of(0, &volume.handle)).unwrap();
        let mut bytes = [0; 16];
        device.read_exact_at(&mut bytes, at).unwrap();
        assert_eq!(&bytes, b"somebody's bytes", "{name}");
        drop(device);
        assert_eq!(cluster.bed.mounts(), []);
        csi.end_pod(&volume, node, "writer").unwrap();
        csi.delete(&volume).unwrap();
    }
    cluster.assert_empty();
}

#[test]
fn invariant_2_a_volume_in_use_is_never_deleted() {
    let Some(cluster) = Cluster::of("invariant_2_in_use") else { return };
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let mut volume =
        csi.provision("pvc-used", GIB, &VolumeClass::file_system("ext4", CLASS)).unwrap();
    let target = csi.start_pod(&mut volume, node, "pod").unwrap();
    fs::write(target.join("data"), "kept").unwrap();
    let before = cluster.bed.region().disks();
    refused(&csi.delete(&volume).unwrap_err(), "FailedPrecondition");
    assert_eq!(cluster.bed.region().disks(), before);
    assert_eq!(fs::read_to_string(target.join("data")).unwrap(), "kept");
    csi.end_pod(&volume, node, "pod").unwrap();
    csi.delete(&volume).unwrap();
    cluster.assert_empty();
}

#[test]
fn invariant_3_a_failed_step_leaves_the_mount_table_as_it_was() {
    let Some(cluster) = Cluster::of("invariant_3_failed") else { return };
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let odd = VolumeClass {
        mount_options: vec!["nosuchoption".to_owned()],
        ..VolumeClass::file_system("ext4", CLASS)
    };
    let mut volume = csi.provision("pvc-odd", GIB, &odd).unwrap();
    csi.attach(&mut volume, node).unwrap();
    csi.once().stage(&volume, node).unwrap_err();
    assert_eq!(cluster.bed.mounts(), []);
    volume.class.mount_options.clear();
    csi.stage(&volume, node).unwrap();
    let staged = cluster.bed.mounts();
    // The place of the target is taken by a file.
    let target = volume.target(node, "pod");
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    fs::write(&target, "somebody's").unwrap();
    csi.once().publish(&volume, node, "pod", false).unwrap_err();
    assert_eq!(cluster.bed.mounts(), staged);
    let _ = fs::remove_file(&target);
    csi.publish(&volume, node, "pod", false).unwrap();
    csi.end_pod(&volume, node, "pod").unwrap();
    csi.delete(&volume).unwrap();
    cluster.assert_empty();
}

#[test]
fn invariant_3_a_mount_is_undone_when_the_step_after_it_fails() {
    let Some(cluster) = Cluster::of("invariant_3_undone") else { return };
    let (csi, node, machine) = (&cluster.csi, &cluster.nodes[0], cluster.bed.node(0));
    let mut volume =
        csi.provision("pvc-undone", GIB, &VolumeClass::file_system("xfs", CLASS)).unwrap();
    csi.start_pod(&mut volume, node, "pod").unwrap();
    csi.end_pod(&volume, node, "pod").unwrap();
    csi.attach(&mut volume, node).unwrap();
    // XFS grows once it is mounted. The program that does it is killed when it is about to; before
    // it comes whatever else the step needs.
    for at in 0.. {
        let larger = volume.bytes + GIB;
        csi.expand_controller(&mut volume, larger).unwrap();
        let pid = machine.server_pid();
        let watched =
            Attached::to(pid, Moment { at, counted: Counted::Helpers, act: Act::KillCaller })
                .unwrap();
        let staged = csi.once().stage(&volume, node);
        let mounts = cluster.bed.mounts();
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        );
        let traced = watched.wait().unwrap();
        machine.wait_for_server(pid).unwrap();
        assert!(traced.reached, "no program grows the file system: {:?}", traced.positions);
        assert_eq!(mounts.is_empty(), staged.is_err(), "{staged:?} {mounts:?}");
        if traced.positions.last().and_then(|position| position.helper.as_deref())
            == Some("xfs_growfs")
        {
            let error = staged.unwrap_err();
            assert!(error.to_string().contains("xfs_growfs"), "{error}");
            break;
        }
        csi.unstage(&volume, node).unwrap();
    }
    csi.start_pod(&mut volume, node, "pod").unwrap();
    csi.end_pod(&volume, node, "pod").unwrap();
    csi.delete(&volume).unwrap();
    cluster.assert_empty();
}

#[test]
fn invariant_3_a_retried_call_that_finds_its_work_done_does_nothing() {
    let Some(cluster) = Cluster::of("invariant_3_done") else { return };
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let mut volume =
        csi.provision("pvc-done", GIB, &VolumeClass::file_system("ext4", CLASS)).unwrap();
    csi.start_pod(&mut volume, node, "pod").unwrap();
    let machine = cluster.bed.node(0);
    let before = cluster.bed.mounts();
    cluster.bed.region().clear_journal();
    let pid = machine.server_pid();
    let watched = Attached::to(pid, Moment::never()).unwrap();
    csi.stage(&volume, node).unwrap();
    csi.publish(&volume, node, "pod", false).unwrap();
    let _ =
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    let changes = watched.wait().unwrap().positions;
    let changes: Vec<_> = changes.iter().filter(|position| position.call != "openat").collect();
    assert!(changes.is_empty(), "{changes:?}");
    machine.wait_for_server(pid).unwrap();
    assert_eq!(cluster.bed.region().journal(), []);
    assert_eq!(cluster.bed.mounts(), before);
    csi.end_pod(&volume, node, "pod").unwrap();
    csi.delete(&volume).unwrap();
    cluster.assert_empty();
}

#[test]
fn invariant_4_no_secret_appears_in_a_log_an_argument_list_an_error_or_a_state_file() {
    safety::secrets::search();
}

#[test]
fn invariant_5_no_host_code_branches_on_a_clouds_or_a_backends_name() {
    let host = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = Vec::new();
    // Everything but the tools for developers, which play a cloud.
    let rooms = fs::read_dir(&host).unwrap().map(|entry| entry.unwrap().path());
    let rooms = rooms.filter(|room| !room.ends_with("dev")).map(|room| room.join("src"));
    for room in rooms.filter(|room| room.is_dir()).chain([host.join("src")]) {
        for file in sources(&room) {
            let text = fs::read_to_string(&file).unwrap();
            let product = text.split("#[cfg(test)]").next().unwrap_or_default();
            for line in product.lines().filter(|line| !line.trim_start().starts_with("//")) {
                if ["alicloud", "aliyun", "alibaba"]
                    .iter()
                    .any(|name| line.to_lowercase().contains(name))
                {
                    found.push(format!("{}: {}", file.display(), line.trim()));
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            files.extend(sources(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs")
            && entry.file_stem().is_some_and(|name| name != "tests")
        {
            files.push(entry);
        }
    }
    files
}

#[test]
fn invariant_8_no_path_is_followed_out_of_its_root() {
    let Some(cluster) = Cluster::of("invariant_8") else { return };
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let outside = cluster.bed.directory().join("outside");
    fs::create_dir_all(&outside).unwrap();
    let mut volume =
        csi.provision("pvc-link", GIB, &VolumeClass::file_system("ext4", CLASS)).unwrap();
    csi.attach(&mut volume, node).unwrap();

    // A link in the place of the staging directory, and one in the place of the directory above it.
    let staging = volume.staging(node, csi.driver());
    let above = staging.parent().unwrap().to_owned();
    fs::create_dir_all(&above).unwrap();
    symlink(&outside, &staging).unwrap();
    csi.once().stage(&volume, node).unwrap_err();
    fs::remove_file(&staging).unwrap_or_default();
    fs::remove_dir_all(&above).unwrap_or_default();
    fs::create_dir_all(outside.join("globalmount")).unwrap();
    symlink(&outside, &above).unwrap();
    csi.once().stage(&volume, node).unwrap_err();
    assert_eq!(cluster.bed.mounts(), []);
    fs::remove_file(&above).unwrap();
    csi.stage(&volume, node).unwrap();

    // The same for the target: a pod's own directory is the one place that somebody else may have
    // written to.
    let target = volume.target(node, "pod");
    let above = target.parent().unwrap().to_owned();
    fs::create_dir_all(above.parent().unwrap()).unwrap();
    symlink(&outside, &above).unwrap();
    let staged = cluster.bed.mounts();
    csi.once().publish(&volume, node, "pod", false).unwrap_err();
    assert_eq!(cluster.bed.mounts(), staged);
    fs::remove_file(&above).unwrap();

    // And a kubelet whose root is not the configured one.
    let stranger = wharf_testing::player::CsiNode {
        root: cluster.bed.directory().join("stranger"),
        ..node.clone()
    };
    refused(&csi.once().publish(&volume, &stranger, "pod", false).unwrap_err(), "InvalidArgument");
    let mut left: Vec<_> =
        fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.retain(|name| name != "globalmount" && name != "vol_data.json");
    assert!(left.is_empty(), "{left:?}");

    csi.end_pod(&volume, node, "pod").unwrap();
    csi.delete(&volume).unwrap();
    cluster.assert_empty();
}

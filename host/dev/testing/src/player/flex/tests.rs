use std::os::unix::fs::PermissionsExt;

use super::*;

/// A driver of one shell line that also writes down what it was asked.
fn node_with(script: &str) -> (tempfile::TempDir, FlexNode) {
    let directory = tempfile::tempdir().unwrap();
    let driver = directory.path().join("exec/acme~att");
    std::fs::create_dir_all(&driver).unwrap();
    let log = directory.path().join("asked");
    let text = format!("#!/bin/sh\nprintf '%s\\n' \"$*\" >> {}\n{script}\n", log.display());
    std::fs::write(driver.join(".new"), text).unwrap();
    std::fs::set_permissions(driver.join(".new"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(driver.join(".new"), driver.join("att")).unwrap();
    let node =
        FlexNode::new("node1", directory.path().join("exec"), directory.path().join("kubelet"));
    (directory, node)
}

fn asked(directory: &tempfile::TempDir) -> Vec<String> {
    std::fs::read_to_string(directory.path().join("asked"))
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn volume() -> FlexVolume {
    FlexVolume::new("pv1", "xfs", &[("vol", "v-1")])
}

const J: &str = r#"{"kubernetes.io/fsType":"xfs","kubernetes.io/pvOrVolumeName":"pv1","kubernetes.io/readwrite":"rw","vol":"v-1"}"#;

fn player() -> FlexPlayer {
    FlexPlayer::new("acme/att").with_retry(Retry::never())
}

#[test]
fn the_calls_and_arguments_are_those_that_a_real_kubelet_was_seen_to_make() {
    let (directory, node) = node_with(r#"printf '{"status":"Success","device":"/dev/fake0"}'"#);
    let mut volume = volume();
    let (device, target) = player().start_pod(&volume, &node, &node, "u-1").unwrap();
    assert_eq!(device, "/dev/fake0");
    volume.options.clear();
    player().end_pod(&volume, &node, &node, "u-1").unwrap();
    let root = node.root.display();
    let global = format!("{root}/plugins/kubernetes.io/flexvolume/acme/att/mounts/pv1");
    let pod = concat!(
        r#"{"kubernetes.io/fsType":"xfs","kubernetes.io/pod.name":"pod-u-1","kubernetes.io/pod.namespace":"default","kubernetes.io/pod.uid":"u-1","#,
        r#""kubernetes.io/pvOrVolumeName":"pv1","kubernetes.io/readwrite":"rw","kubernetes.io/serviceAccount.name":"default","vol":"v-1"}"#
    );
    assert_eq!(target, volume.pod_mount(&node, "acme/att", "u-1"));
    let expected = [
        "init".to_owned(),
        format!("getvolumename {J}"),
        format!("attach {J} node1"),
        format!("getvolumename {J}"),
        format!("waitforattach /dev/fake0 {J}"),
        format!("mountdevice {global} /dev/fake0 {J}"),
        format!("mount {root}/pods/u-1/volumes/acme~att/pv1 {pod}"),
        format!("unmount {root}/pods/u-1/volumes/acme~att/pv1"),
        // Nothing is mounted, so kubelet skips unmountdevice.
        "detach pv1 node1".to_owned(),
    ];
    assert_eq!(asked(&directory), expected);
    assert!(
        !target.exists() && !Path::new(&global).exists(),
        "kubelet removes the directories that it made"
    );
}

#[test]
fn what_is_not_supported_is_remembered_until_the_next_probe() {
    let (directory, node) = node_with(
        r#"case "$1" in waitforattach) printf '{"status":"Not supported"}'; exit 1;; *) printf '{"status":"Success"}';; esac"#,
    );
    for _ in 0..2 {
        assert_eq!(player().wait_for_attach(&volume(), &node, "/dev/x").unwrap(), "/dev/x");
    }
    let waits = |directory| {
        asked(directory).iter().filter(|line| line.starts_with("waitforattach")).count()
    };
    assert_eq!(waits(&directory), 1);
    node.forget();
    player().wait_for_attach(&volume(), &node, "/dev/x").unwrap();
    assert_eq!(waits(&directory), 2);
}

#[test]
fn work_that_the_driver_leaves_to_kubelet_is_an_error_here() {
    let (_directory, node) = node_with(
        r#"case "$1" in init) printf '{"status":"Success"}';; *) printf '{"status":"Not supported"}';; esac"#,
    );
    for result in [
        player().mount_device(&volume(), &node, "/dev/x"),
        player().mount(&volume(), &node, "u").map(drop),
    ] {
        assert!(matches!(result, Err(PlayError::LeftToKubelet { .. })), "{result:?}");
    }
    player().mount_device(&volume(), &node, "").unwrap();
    player().detach(&volume(), &node, &node).unwrap();
}

#[test]
fn exit_codes_and_noise_mean_what_they_mean_to_kubelet() {
    for (script, unreadable) in [
        (r#"printf '{"status":"Failure","message":"no"}'; exit 1"#, false),
        (r#"printf '{"status":"Failure","message":"no"}'"#, false),
        (r#"printf '{"status":"Success"}'; exit 1"#, true),
        (r#"printf '{"status":"Success"}'; echo warning >&2"#, true),
        ("exit 0", true),
    ] {
        let (_directory, node) = node_with(&format!(
            r#"case "$1" in init) printf '{{"status":"Success"}}'; exit 0;; esac; {script}"#
        ));
        let error = player().detach(&volume(), &node, &node).unwrap_err();
        assert_eq!(matches!(error, PlayError::Unreadable { .. }), unreadable, "{script}: {error}");
    }
}

#[test]
fn a_driver_without_an_executable_is_not_loaded() {
    let (_directory, node) = node_with("");
    let missing = FlexPlayer::new("acme/other");
    assert!(matches!(missing.probe(Part::Kubelet, &node), Err(PlayError::Unreadable { .. })));
}

#[test]
fn secrets_go_to_mount_only_and_in_base64() {
    let (directory, node) = node_with(r#"printf '{"status":"Success"}'"#);
    let mut volume = volume();
    volume.secret.insert("pw".to_owned(), b"p@ss".to_vec());
    volume.fs_group = Some(1234);
    player().start_pod(&volume, &node, &node, "u").unwrap();
    let with: Vec<_> =
        asked(&directory).into_iter().filter(|line| line.contains("cEBzcw==")).collect();
    assert_eq!(with.len(), 1);
    assert!(
        with[0].starts_with("mount ")
            && with[0].contains(r#""kubernetes.io/mounterArgs.FsGroup":"1234""#)
    );
}

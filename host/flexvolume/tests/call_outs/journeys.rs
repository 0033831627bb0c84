//! What a single answer does not show.

use std::ffi::OsString;
use std::path::Path;

use wharf_flexvolume::{LocalHost, answer};

use super::world::World;

const OPTIONS: &str = r#"{"kubernetes.io/pvOrVolumeName":"d-1","volumeId":"d-1"}"#;

#[test]
fn what_needs_no_services_opens_none() {
    let world = World::new();
    let (pod, global) = (
        "/k/pods/u/volumes/acme~disk/d-1",
        "/k/plugins/kubernetes.io/flexvolume/acme/disk/mounts/d-1",
    );
    for arguments in [
        vec!["init"],
        vec!["getvolumename", OPTIONS],
        vec!["nonsense"],
        vec!["mount", "/", OPTIONS],
        vec!["attach", "{", "i-1"],
        vec!["unmount", pod],
        vec!["unmountdevice", global],
    ] {
        world.call(&arguments);
        assert_eq!(world.opened(), 0, "{arguments:?}");
    }
    world.call(&["isattached", OPTIONS, "i-1"]);
    assert_eq!(world.opened(), 1);
}

#[test]
fn no_secret_is_kept_or_repeated() {
    let mut world = World::new();
    world.driver = "share".into();
    let options = r#"{"kubernetes.io/pvOrVolumeName":"pv1","kubernetes.io/secret/pw":"aHVudGVyMg==","AKSECRET":"hunter2","server":"nas"}"#;
    let printed = world.call(&["mount", "/k/pods/u/volumes/acme~share/pv1", options]);
    assert!(printed.contains("Success"), "{printed}");
    let records = format!("{:?}", world.machine.all_records());
    assert!(records.contains("nas"), "{records}");
    assert!(!records.contains("hunter2") && !records.contains("aHVudGVyMg"), "{records}");
}

#[test]
fn long_names_and_paths_are_unmounted_where_anything_can_be() {
    let world = World::new();
    let global = "/var/lib/kubelet/plugins/kubernetes.io/flexvolume/acme/disk/mounts";
    // Longer than any record's, and mounted by the driver before.
    for length in [251, 255] {
        let name = "n".repeat(length);
        let pod = format!("/var/lib/kubelet/pods/u/volumes/acme~disk/{name}");
        let global = format!("{global}/{name}");
        for (verb, path) in [("unmount", pod), ("unmountdevice", global)] {
            world.machine.mount_over(Path::new(&path), Some("d-1"));
            let printed = world.call(&[verb, &path]);
            assert!(printed.contains("Success"), "{verb} {length}: {printed}");
            assert!(world.machine.mounts().is_empty(), "{verb} {length}");
        }
    }
    let deep = format!("/{}", "k/".repeat(2500));
    for path in [
        format!("/k/pods/{}/volumes/acme~disk/d-1", "u".repeat(300)),
        format!("/k/pods/u/volumes/acme~disk/{}", "n".repeat(256)),
        format!("{deep}pods/u/volumes/acme~disk/d-1"),
    ] {
        assert!(world.call(&["unmount", &path]).contains("Success"), "{path}");
    }
    for path in [
        format!("{global}/{}", "n".repeat(256)),
        format!("{deep}plugins/kubernetes.io/flexvolume/acme/disk/mounts/d-1"),
    ] {
        assert!(world.call(&["unmountdevice", &path]).contains("Success"), "{path}");
    }
    // What is no directory of this driver is refused whatever its length.
    let foreign = format!("/k/pods/u/volumes/acme~share/{}", "n".repeat(300));
    assert!(world.call(&["unmount", &foreign]).contains("Failure"));
}

#[test]
fn the_group_of_a_pod_reaches_a_backend_that_takes_one() {
    let mut world = World::new();
    world.driver = "share".into();
    let mount = |world: &World, pod: &str, group: &str| {
        let options = format!(
            r#"{{"server":"nas-1","kubernetes.io/pvOrVolumeName":"pv1","kubernetes.io/mounterArgs.FsGroup":"{group}"}}"#
        );
        world.call(&["mount", &format!("/k/pods/{pod}/volumes/acme~share/pv1"), &options])
    };
    assert!(mount(&world, "a", "2000").contains("Success"));
    world.cloud.state().capabilities = vec!["mount-group".into()];
    assert!(mount(&world, "b", "2000").contains("Success"));
    let printed = mount(&world, "b", "3000");
    assert!(printed.contains("the group 2000"), "{printed}");
    assert_eq!(world.cloud.state().groups, [None, Some("2000".to_owned())]);
}

#[test]
fn people_get_help_and_the_version() {
    let world = World::new();
    let executable = OsString::from(world.path().join("plugins/acme~disk/disk"));
    let print = |words: &[&str]| {
        let argv: Vec<_> =
            std::iter::once(executable.clone()).chain(words.iter().map(OsString::from)).collect();
        String::from_utf8(answer(&argv, &LocalHost::default(), &world)).unwrap()
    };
    for words in [&["version"][..], &["--version"], &["-v"]] {
        assert_eq!(print(words), env!("CARGO_PKG_VERSION"), "the version, without a newline");
    }
    for words in [&[][..], &["help"], &["--help"], &["-h"]] {
        assert!(print(words).starts_with("In K8s Mode: "));
    }
}

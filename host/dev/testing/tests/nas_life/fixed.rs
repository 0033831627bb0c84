//! PersistentVolumes that an administrator wrote by hand.

use std::fs;

use wharf_testing::player::{Access, PlayError, Retry, VolumeClass};
use wharf_testing::tests;

use super::cluster::{assert_read_only, cluster, mode, names, read, write};

tests![
    pods_of_two_nodes_share_a_volume_over_every_version,
    the_directory_is_made_and_its_mode_is_in_force_when_the_call_answers,
    a_mode_concerns_everything_in_the_directory_only_where_that_is_said,
    a_claim_that_is_only_read_is_mounted_so_and_changes_no_mode,
    every_call_may_be_repeated,
    what_is_mounted_is_unmounted_after_all_state_was_lost,
    deleting_a_fixed_volume_keeps_its_data,
    mount_options_win_and_what_is_wrong_is_named,
    how_full_a_share_is_is_told,
];

fn pods_of_two_nodes_share_a_volume_over_every_version() {
    let cluster = cluster();
    let (csi, one, two) = (&cluster.csi, &cluster.nodes[0], &cluster.nodes[1]);
    for version in ["3", "4.0", "4.1"] {
        let path = format!("/team/v{version}");
        let volume = cluster.fixed(&format!("pv-{version}"), &path, &[("vers", version)]);
        let first = csi.publish(&volume, one, "a", false).unwrap();
        let second = csi.publish(&volume, two, "b", false).unwrap();
        let reader = csi.publish(&volume, two, "c", true).unwrap();
        for (target, source) in [(&first, &second), (&second, &first)] {
            let text = format!("{version} at {}", target.display());
            write(target, &text);
            // As another client of the server sees it, whatever this one still remembers.
            assert_eq!(read(&cluster.share.at(&path)), text);
            assert!(names(source).contains(&"data".to_owned()));
        }
        assert_eq!(read(&reader), read(&cluster.share.at(&path)));
        assert_read_only(&reader);
        let mounts = cluster.bed.mounts();
        let of_pod = mounts.iter().find(|mount| mount.at == first).unwrap();
        assert_eq!(of_pod.source, format!("{}:{path}", cluster.share.server));
        assert!(of_pod.super_options.contains(&format!("vers={version}")), "{of_pod:?}");
        assert!(of_pod.super_options.contains("hard"), "{of_pod:?}");
        csi.unpublish(&volume, two, "c").unwrap();
        csi.unpublish(&volume, one, "a").unwrap();
        assert_eq!(read(&second), read(&cluster.share.at(&path)));
        csi.unpublish(&volume, two, "b").unwrap();
    }
    cluster.assert_as_before();
}

fn the_directory_is_made_and_its_mode_is_in_force_when_the_call_answers() {
    let cluster = cluster();
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let open = cluster.fixed("pv-open", "/deep/er/open", &[]);
    csi.publish(&open, node, "pod", false).unwrap();
    // As the existing driver makes it, so that a workload that is not root can write.
    assert_eq!(mode(&cluster.share.at("/deep/er/open")), 0o777);
    let closed = cluster.fixed("pv-closed", "/deep/closed", &[("mode", "0750")]);
    csi.publish(&closed, node, "pod", false).unwrap();
    assert_eq!(mode(&cluster.share.at("/deep/closed")), 0o750);
    // One that is there gets the mode of the volume, and keeps it without one.
    fs::create_dir(cluster.share.at("/there")).unwrap();
    let there = cluster.fixed("pv-there", "/there", &[("mode", "711")]);
    csi.publish(&there, node, "pod", false).unwrap();
    assert_eq!(mode(&cluster.share.at("/there")), 0o711);
    let kept = cluster.fixed("pv-kept", "/there", &[]);
    csi.publish(&kept, node, "pod", false).unwrap();
    assert_eq!(mode(&cluster.share.at("/there")), 0o711);
    for volume in [open, closed, there, kept] {
        csi.unpublish(&volume, node, "pod").unwrap();
    }
    cluster.assert_as_before();
}

fn a_mode_concerns_everything_in_the_directory_only_where_that_is_said() {
    let cluster = cluster();
    let (csi, node, file) = (&cluster.csi, &cluster.nodes[0], cluster.share.at("/tree/a/file"));
    fs::create_dir_all(cluster.share.at("/tree/a")).unwrap();
    fs::write(&file, "x").unwrap();
    let before = mode(&file);
    for (kind, expected) in [("non-recursive", before), ("recursive", 0o770)] {
        let attributes = [("mode", "770"), ("modeType", kind)];
        let volume = cluster.fixed(&format!("pv-{kind}"), "/tree", &attributes);
        csi.publish(&volume, node, "pod", false).unwrap();
        assert_eq!((mode(&cluster.share.at("/tree")), mode(&file)), (0o770, expected), "{kind}");
        csi.unpublish(&volume, node, "pod").unwrap();
    }
    cluster.assert_as_before();
}

fn a_claim_that_is_only_read_is_mounted_so_and_changes_no_mode() {
    let cluster = cluster();
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    fs::create_dir(cluster.share.at("/read")).unwrap();
    let before = mode(&cluster.share.at("/read"));
    write(&cluster.share.at("/read"), "written");
    let mut by_mode = cluster.fixed("pv-rox", "/read", &[("mode", "700")]);
    by_mode.class.access = Access::ManyNodesToRead;
    let by_option = cluster.fixed("pv-ro", "/read", &[("mode", "700"), ("options", "ro")]);
    for volume in [by_mode, by_option] {
        let target = csi.publish(&volume, node, "pod", false).unwrap();
        assert_eq!(read(&target), "written");
        assert_read_only(&target);
        csi.unpublish(&volume, node, "pod").unwrap();
    }
    assert_eq!(mode(&cluster.share.at("/read")), before);
    cluster.assert_as_before();
}

fn every_call_may_be_repeated() {
    let cluster = cluster();
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let volume = cluster.fixed("pv-twice", "/twice", &[("mode", "770")]);
    let target = csi.publish(&volume, node, "pod", false).unwrap();
    write(&target, "kept");
    for _ in 0..2 {
        assert_eq!(csi.publish(&volume, node, "pod", false).unwrap(), target);
        assert_eq!(read(&target), "kept");
        assert_eq!(cluster.bed.mounts().len(), 1);
    }
    for _ in 0..3 {
        csi.unpublish(&volume, node, "pod").unwrap();
    }
    cluster.assert_as_before();
}

fn what_is_mounted_is_unmounted_after_all_state_was_lost() {
    let cluster = cluster();
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let volume = cluster.fixed("pv-lost", "/lost", &[]);
    let target = csi.publish(&volume, node, "pod", false).unwrap();
    write(&target, "kept");
    fs::remove_dir_all(cluster.bed.node(0).state()).unwrap();
    cluster.bed.node(0).kill_server().unwrap();
    assert_eq!(read(&target), "kept");
    csi.unpublish(&volume, node, "pod").unwrap();
    assert_eq!(read(&cluster.share.at("/lost")), "kept");
    cluster.assert_as_before();
}

fn deleting_a_fixed_volume_keeps_its_data() {
    let cluster = cluster();
    fs::create_dir(cluster.share.at("/precious")).unwrap();
    write(&cluster.share.at("/precious"), "kept");
    let volume = cluster.fixed("pv-precious", "/precious", &[]);
    cluster.csi.delete(&volume).unwrap();
    assert_eq!(read(&cluster.share.at("/precious")), "kept");
    cluster.assert_as_before();
}

fn mount_options_win_and_what_is_wrong_is_named() {
    let cluster = cluster();
    let (csi, node) = (cluster.csi.clone().with_retry(Retry::never()), &cluster.nodes[0]);
    let mut volume = cluster.fixed("pv-options", "/options", &[("vers", "3"), ("options", "soft")]);
    volume.class = VolumeClass {
        mount_options: vec!["vers=4.0,hard".to_owned(), "noatime".to_owned()],
        ..volume.class
    };
    let target = csi.publish(&volume, node, "pod", false).unwrap();
    let mounts = cluster.bed.mounts();
    let shown = mounts.iter().find(|mount| mount.at == target).unwrap();
    assert!(shown.super_options.contains("vers=4.0"), "{shown:?}");
    assert!(shown.super_options.contains("hard") && shown.options.contains("noatime"), "{shown:?}");
    csi.unpublish(&volume, node, "pod").unwrap();
    for (key, value) in [
        ("mode", "9"),
        ("vers", "2"),
        ("options", "bg"),
        ("mountProtocol", "efc"),
        ("servr", "a"),
        ("server", "a.example.com"),
    ] {
        let mut volume = cluster.fixed("pv-wrong", "/wrong", &[]);
        volume.context.insert(key.to_owned(), value.to_owned());
        let refused = csi.publish(&volume, node, "pod", false).unwrap_err();
        let PlayError::Refused { message, .. } = &refused else { panic!("{refused}") };
        assert!(message.contains(value), "{key}: {message}");
    }
    assert!(!cluster.share.at("/wrong").exists());
    cluster.assert_as_before();
}

fn how_full_a_share_is_is_told() {
    let cluster = cluster();
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let volume = cluster.fixed("pv-full", "/full", &[]);
    csi.publish(&volume, node, "pod", false).unwrap();
    let usage = csi.stats(&volume, node, "pod").unwrap();
    assert!(usage.total > 0 && usage.used + usage.available <= usage.total, "{usage:?}");
    csi.unpublish(&volume, node, "pod").unwrap();
    cluster.assert_as_before();
}

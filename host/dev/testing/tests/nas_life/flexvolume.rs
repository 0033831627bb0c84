//! The same shares over FlexVolume: the installed driver, executed as kubelet executes it.

use std::fs;
use std::process::Command;

use wharf_testing::player::{FlexVolume, Part, PlayError, VolumeClass};
use wharf_testing::tests;

use super::cluster::{Cluster, FLEX, GIB, assert_read_only, cluster, mode, read, write};

tests![
    init_says_what_is_right_for_shares,
    init_says_what_the_operator_chose,
    pods_of_two_nodes_share_a_volume,
    the_directory_is_made_and_its_mode_is_in_force_when_the_call_answers,
    a_claim_that_is_only_read_cannot_be_written,
    kubelets_that_know_the_driver_before_attach_go_on_and_take_down,
    what_is_mounted_is_unmounted_after_all_state_was_lost,
    a_share_that_grows_is_no_failure,
    a_share_with_a_quota_gets_a_larger_one,
    what_is_wrong_is_named,
];

impl Cluster {
    fn pv(&self, name: &str, path: &str, options: &[(&str, &str)]) -> FlexVolume {
        let mut all = vec![("server", self.share.server.as_str()), ("path", path)];
        all.extend_from_slice(options);
        FlexVolume::new(name, "", &all)
    }
}

fn init_says_what_is_right_for_shares() {
    let cluster = cluster();
    for node in cluster.flex_nodes.iter().chain([&cluster.manager]) {
        let said = cluster.flex.probe(Part::Kubelet, node).unwrap();
        assert!(!said.attach && !said.selinux_relabel && !said.fs_group, "{said:?}");
        assert!(said.supports_metrics, "{said:?}");
    }
}

fn init_says_what_the_operator_chose() {
    let cluster = cluster();
    let (machine, node) = (cluster.bed.node(1), &cluster.flex_nodes[1]);
    let usual = fs::read_to_string(machine.config()).unwrap();
    let install = |text: &str| {
        fs::write(machine.config(), text).unwrap();
        let plugins = machine.plugins().display().to_string();
        let arguments = ["flexvolume", "install", "--dir", &plugins];
        let ran = machine.run(cluster.bed.parts(), &arguments).unwrap();
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        node.forget();
    };
    let chosen = format!("[flexvolume.init.\"{FLEX}\"]\nattach = true\nfs-group = true\n");
    install(&format!("{usual}\n{chosen}"));
    let said = cluster.flex.probe(Part::Kubelet, node).unwrap();
    assert!(said.attach && said.fs_group && !said.selinux_relabel, "{said:?}");
    // Such a kubelet asks for everything, and a share is mounted all the same.
    let volume = cluster.pv("pv-attach", "/attach", &[]);
    let (_, target) = cluster.flex.start_pod(&volume, node, node, "pod").unwrap();
    write(&target, "written");
    assert_eq!(read(&cluster.share.at("/attach")), "written");
    cluster.flex.end_pod(&volume, node, node, "pod").unwrap();
    install(&usual);
    assert!(!cluster.flex.probe(Part::Kubelet, node).unwrap().attach);
    cluster.assert_as_before();
}

fn pods_of_two_nodes_share_a_volume() {
    let cluster = cluster();
    let (flex, one, two) = (&cluster.flex, &cluster.flex_nodes[0], &cluster.flex_nodes[1]);
    for (options, shown) in [
        (&[][..], "vers=3"),
        (&[("vers", "4.0")], "vers=4.0"),
        (&[("vers", "3.0"), ("options", "noresvport,nolock,tcp,soft")], "soft"),
        (&[("VERS", "4.1"), ("Options", "none")], "vers=4.1"),
    ] {
        let volume = cluster.pv("pv-flex", "/flex", options);
        let first = flex.mount(&volume, one, "a").unwrap();
        let second = flex.mount(&volume, two, "b").unwrap();
        write(&first, shown);
        assert_eq!(read(&cluster.share.at("/flex")), shown);
        assert_eq!(read(&second), shown);
        let mounts = cluster.bed.mounts();
        let mount = mounts.iter().find(|mount| mount.at == first).unwrap();
        assert!(mount.super_options.contains(shown), "{mount:?}");
        flex.unmount(&volume, one, "a").unwrap();
        flex.unmount(&volume, two, "b").unwrap();
        fs::remove_dir_all(cluster.share.at("/flex")).unwrap();
    }
    cluster.assert_as_before();
}

fn the_directory_is_made_and_its_mode_is_in_force_when_the_call_answers() {
    let cluster = cluster();
    let (flex, node) = (&cluster.flex, &cluster.flex_nodes[0]);
    for (path, options, expected) in
        [("/made/open", &[][..], 0o777), ("/made/closed", &[("mode", "750")], 0o750)]
    {
        let volume = cluster.pv("pv-made", path, options);
        flex.mount(&volume, node, "pod").unwrap();
        assert_eq!(mode(&cluster.share.at(path)), expected);
        flex.unmount(&volume, node, "pod").unwrap();
    }
    cluster.assert_as_before();
}

fn a_claim_that_is_only_read_cannot_be_written() {
    let cluster = cluster();
    let (flex, node) = (&cluster.flex, &cluster.flex_nodes[0]);
    fs::create_dir(cluster.share.at("/read")).unwrap();
    write(&cluster.share.at("/read"), "written");
    let mut volume = cluster.pv("pv-read", "/read", &[("mode", "777")]);
    volume.read_only = true;
    let before = mode(&cluster.share.at("/read"));
    let target = flex.mount(&volume, node, "pod").unwrap();
    assert_eq!(read(&target), "written");
    assert_read_only(&target);
    assert_eq!(mode(&cluster.share.at("/read")), before);
    flex.unmount(&volume, node, "pod").unwrap();
    cluster.assert_as_before();
}

fn kubelets_that_know_the_driver_before_attach_go_on_and_take_down() {
    let cluster = cluster();
    let (flex, manager, node) = (&cluster.flex, &cluster.manager, &cluster.flex_nodes[0]);
    let volume = cluster.pv("pv-old", "/old", &[]);
    // The driver before had kubelet attach, wait and mount a device, each of which it left to
    // kubelet; a kubelet that probed it then still does.
    for kubelet in [node, manager] {
        let (device, target) = flex.start_pod(&volume, kubelet, node, "pod").unwrap();
        assert_eq!(device, "");
        write(&target, "written");
        assert_eq!(cluster.bed.mounts().len(), 1);
        assert_eq!(flex.is_attached(&volume, kubelet, node).unwrap(), None);
        flex.end_pod(&volume, kubelet, node, "pod").unwrap();
        assert!(!volume.global_mount(node, FLEX).exists());
    }
    cluster.assert_as_before();
}

fn what_is_mounted_is_unmounted_after_all_state_was_lost() {
    let cluster = cluster();
    let (flex, node) = (&cluster.flex, &cluster.flex_nodes[0]);
    let volume = cluster.pv("pv-lost", "/lost", &[]);
    let target = flex.mount(&volume, node, "pod").unwrap();
    write(&target, "kept");
    fs::remove_dir_all(cluster.bed.node(0).state()).unwrap();
    node.forget();
    flex.unmount(&FlexVolume::new("pv-lost", "", &[]), node, "pod").unwrap();
    assert_eq!(read(&cluster.share.at("/lost")), "kept");
    cluster.assert_as_before();
}

fn a_share_that_grows_is_no_failure() {
    let cluster = cluster();
    let (flex, node) = (&cluster.flex, &cluster.flex_nodes[0]);
    let volume = cluster.pv("pv-grows", "/grows", &[]);
    flex.mount(&volume, node, "pod").unwrap();
    let sizes = wharf_testing::player::flex::Sizes { new: 2 << 30, old: 1 << 30 };
    flex.expand_fs(&volume, node, "", "pod", sizes).unwrap();
    flex.unmount(&volume, node, "pod").unwrap();
    cluster.assert_as_before();
}

fn a_share_with_a_quota_gets_a_larger_one() {
    let cluster = cluster();
    let (flex, node) = (&cluster.flex, &cluster.flex_nodes[0]);
    let server = format!("{}:/k8s", cluster.share.server);
    let class = VolumeClass::share(&[("server", &server), ("volumeCapacity", "true")]);
    let made = cluster.csi.provision("pvc-grows", GIB, &class).unwrap();
    let place = "/k8s/pvc-grows";
    let quota = || cluster.quotas();
    assert_eq!(quota(), [(place.to_owned(), 1)]);
    // As it goes on through FlexVolume: the id of what Wharf made is among the options, or, as the
    // earlier provisioner wrote them, only what is mounted.
    let with_id = cluster.pv("pv-quota", place, &[("volumeId", &made.handle)]);
    for (volume, gib) in [(with_id, 3), (cluster.pv("pv-earlier", place, &[]), 5)] {
        flex.mount(&volume, node, "pod").unwrap();
        let sizes = wharf_testing::player::flex::Sizes { new: gib * GIB, old: GIB };
        for _ in 0..2 {
            flex.expand_fs(&volume, node, "", "pod", sizes).unwrap();
            assert_eq!(quota(), [(place.to_owned(), gib)]);
        }
        flex.unmount(&volume, node, "pod").unwrap();
    }
    // By hand, on a machine of the control plane.
    let options = format!(
        r#"{{"kubernetes.io/pvOrVolumeName":"pv-by-hand","server":"{}","path":"{place}"}}"#,
        cluster.share.server
    );
    let mut by_hand = Command::new(flex.executable(&cluster.manager));
    by_hand.args(["expandvolume", &options, "", &(7 * GIB).to_string(), &GIB.to_string()]);
    let output = by_hand.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(quota(), [(place.to_owned(), 7)]);
    cluster.csi.delete(&made).unwrap();
    cluster.assert_as_before();
}

fn what_is_wrong_is_named() {
    let cluster = cluster();
    let (flex, node) = (&cluster.flex, &cluster.flex_nodes[0]);
    for (key, value) in
        [("path", "relative"), ("mode", "9"), ("vers", "2"), ("options", "bg"), ("server", "")]
    {
        let mut volume = cluster.pv("pv-wrong", "/wrong", &[]);
        volume.options.insert(key.to_owned(), value.to_owned());
        let refused = flex.mount(&volume, node, "pod").unwrap_err();
        let PlayError::Refused { message, .. } = &refused else { panic!("{refused}") };
        assert!(message.contains(key) || message.contains(value), "{key}: {message}");
    }
    assert!(!cluster.share.at("/wrong").exists());
    cluster.assert_as_before();
}

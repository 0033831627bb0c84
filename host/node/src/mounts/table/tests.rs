use super::*;

const TABLE: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
40 27 8:16 / /var/lib/kubelet/plugins/pv-1 rw,noatime shared:7 - ext4 /dev/sdb rw
41 27 8:32 / /var/lib/kubelet/plugins/pv-10 rw,relatime shared:8 master:2 propagate_from:3 \
                     unbindable - xfs /dev/sdc ro,attr2
42 27 8:16 /sub\\040dir /var/lib/kubelet/pods/a\\040b\\134c\\011d/mount ro,nosuid - ext4 /dev/sdb \
                     rw
43 27 0:50 / /srv/gone//deleted rw - tmpfs tmpfs rw
44 27 0:51 / /srv/none rw - tmpfs  rw,size=1k
45 27 0:6 /vdb /srv/block rw - devtmpfs devtmpfs rw
";

fn table() -> MountTable {
    MountTable::parse(TABLE.as_bytes()).unwrap()
}

#[test]
fn a_path_matches_exactly_and_never_by_prefix() {
    let table = table();
    assert_eq!(table.top(Path::new("/var/lib/kubelet/plugins/pv-1")).unwrap().device, (8, 16));
    assert_eq!(table.top(Path::new("/var/lib/kubelet/plugins/pv-10")).unwrap().device, (8, 32));
    assert!(table.top(Path::new("/var/lib/kubelet/plugins/pv-100")).is_none());
    assert!(table.top(Path::new("/var/lib/kubelet/plugins/pv")).is_none());
    assert!(table.top(Path::new("/var/lib/kubelet/plugins")).is_none());
}

#[test]
fn a_mount_whose_number_was_given_to_another_one_is_gone() {
    let before = table();
    let gone = before.top(Path::new("/var/lib/kubelet/plugins/pv-1")).unwrap();
    assert!(before.still_has(gone));
    let now = TABLE.replace("40 27 8:16 / /var/lib/kubelet/plugins/pv-1 ", "40 27 8:48 / /other ");
    assert!(!MountTable::parse(now.as_bytes()).unwrap().still_has(gone));
}

#[test]
fn escaped_bytes_come_back_as_they_were() {
    let table = table();
    let bind = table.top(Path::new("/var/lib/kubelet/pods/a b\\c\td/mount")).unwrap();
    assert_eq!(bind.root, Path::new("/sub dir"));
    assert!(bind.is_read_only() && bind.is_read_only_here() && !bind.is_file_system_read_only());
}

#[test]
fn an_escape_that_is_none_stays_as_it_is() {
    assert_eq!(unescape(b"a\\04"), b"a\\04");
    assert_eq!(unescape(b"a\\999b\\"), b"a\\999b\\");
    assert_eq!(unescape(b"\\777"), b"\\777");
}

#[test]
fn any_number_of_peer_groups_is_skipped_and_both_kinds_of_options_are_told_apart() {
    let table = table();
    let entry = table.top(Path::new("/var/lib/kubelet/plugins/pv-10")).unwrap();
    assert_eq!(entry.fs_type, "xfs");
    assert!(entry.is_read_only() && entry.is_file_system_read_only() && !entry.is_read_only_here());
}

#[test]
fn a_mount_whose_path_is_gone_does_not_match_that_path() {
    assert!(table().top(Path::new("/srv/gone")).is_none());
}

#[test]
fn an_empty_source_does_not_shift_the_fields() {
    let table = table();
    let entry = table.top(Path::new("/srv/none")).unwrap();
    assert!(entry.source.is_empty());
    assert_eq!(entry.super_options, ["rw", "size=1k"]);
}

#[test]
fn the_last_of_stacked_mounts_is_what_the_path_shows() {
    let text =
        "1 0 8:0 / / rw - ext4 a rw\n2 1 8:1 / /a rw - ext4 b rw\n3 2 8:2 / /a rw - ext4 c rw\n";
    let table = MountTable::parse(text.as_bytes()).unwrap();
    assert_eq!(table.top(Path::new("/a")).unwrap().id, 3);
}

#[test]
fn a_mount_under_a_covered_directory_is_not_what_its_path_shows() {
    let text = "1 0 8:0 / / rw - ext4 a rw\n2 1 8:1 / /a/b rw - ext4 b rw\n3 1 8:2 / /a rw - ext4 \
                c rw\n4 2 8:3 / /a/b/c rw - ext4 d rw\n";
    let table = MountTable::parse(text.as_bytes()).unwrap();
    assert!(table.top(Path::new("/a/b")).is_none());
    assert!(table.top(Path::new("/a/b/c")).is_none());
    assert_eq!(table.top(Path::new("/a")).unwrap().id, 3);
}

#[test]
fn a_mount_under_a_mount_is_visible() {
    let text =
        "1 0 8:0 / / rw - ext4 a rw\n2 1 8:1 / /a rw - ext4 b rw\n3 2 8:2 / /a/b rw - ext4 c rw\n";
    assert_eq!(MountTable::parse(text.as_bytes()).unwrap().top(Path::new("/a/b")).unwrap().id, 3);
}

#[test]
fn every_mount_of_a_device_is_listed() {
    assert_eq!(table().of_device((8, 16)).count(), 2);
    assert_eq!(table().of_device((8, 99)).count(), 0);
}

#[test]
fn a_broken_line_is_an_error_and_not_a_missing_mount() {
    for broken in [
        "1 2",
        "x 27 0:21 / /a rw - proc proc rw",
        "1 27 0-21 / /a rw - proc proc rw",
        "1 27 0:21 / /a rw shared:1",
        "1 27 0:1 / /a rw -",
    ] {
        assert!(MountTable::parse(broken.as_bytes()).is_err(), "{broken}");
    }
}

#[test]
fn the_real_table_of_this_process_can_be_read() {
    assert!(MountTable::read().unwrap().top(Path::new("/")).is_some());
}

#[test]
fn a_kernel_that_may_lose_lines_between_two_reads_is_known_by_its_release() {
    for release in ["5.8.0", "5.10.134-16.al8.x86_64", "6.1.0-18-amd64", "6.1.0\n", "10.0"] {
        assert!(is_since_5_8(release), "{release}");
    }
    for release in ["5.7.19", "4.19.91-27.al7.x86_64", "3.10.0", "", "six", "6", "-6.1"] {
        assert!(!is_since_5_8(release), "{release}");
    }
}

#[test]
fn all_mounts_of_a_server_name_it_alike() {
    for (line, server) in [
        ("36 35 0:50 / /a rw - nfs4 NAS-1.example.com:/k8s rw", "nas-1.example.com"),
        ("36 35 0:50 / /a rw - nfs [fd00::1]:/a:/b rw", "fd00::1"),
        ("36 35 0:50 / /a rw - fuse.s3fs s3fs rw", "s3fs (device 0:50)"),
        ("36 35 0:50 / /a rw - cifs //host/share rw", "//host/share"),
    ] {
        let table = MountTable::parse(line.as_bytes()).unwrap();
        assert_eq!(table.entries()[0].server(), server, "{line}");
    }
}

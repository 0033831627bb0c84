//! Exports mounted by the kernel's client, and taken away again.

use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use wharf_core::ErrorKind;
use wharf_core::plan::{
    DirectoryBase, DirectoryPath, MakePath, MountNfs, Plan, SetOwnership, Step,
};
use wharf_core::ports::Node as _;

use crate::bed::{Bed, Export, LONG, Server, VERSIONS, WITH_LOCKS, Writing, mount, mount_two, sh};
use wharf_testing::nfs_server::{MOUNT_PORT, NFS_PORT};
use wharf_testing::tests;

tests![
    an_export_is_mounted_over_each_version_written_and_unmounted,
    what_is_mounted_already_is_left_as_it_is,
    a_read_only_mount_cannot_be_written,
    a_missing_directory_is_made_with_mode_and_owner_and_then_mounted,
    a_missing_directory_that_nobody_makes_is_an_error_that_names_it,
    directories_are_made_below_what_is_granted_and_none_above_it,
    a_volume_that_is_only_read_makes_no_directory_and_the_error_names_it,
    a_directory_that_cannot_be_made_is_an_error_that_says_first_why_it_was_to_be,
    an_option_that_the_kernel_does_not_know_is_named_and_nothing_stays,
    the_kernels_client_is_set_as_the_operator_says_and_no_further,
    another_export_on_the_same_path_is_refused,
    what_a_path_shows_is_told_from_another_export,
    an_address_that_refuses_gives_way_to_the_servers_next_one,
    an_address_of_ipv6_is_mounted_and_tried_only_by_its_own_protocol,
    a_name_that_does_not_resolve_is_an_error_that_names_it,
    what_needs_a_program_says_which_and_how_to_get_on,
    a_mount_with_locks_over_version_3_is_made_by_the_program,
    a_mount_with_locks_needs_no_program_where_statd_runs,
    a_failed_step_takes_the_mount_back,
    a_failed_step_harms_no_other_volume_of_the_file_system,
    a_mount_is_seen_only_after_the_steps_that_work_on_it,
];

fn an_export_is_mounted_over_each_version_written_and_unmounted() {
    let (bed, export, server) = (Bed::new(), Export::new(), Server::start());
    for version in VERSIONS {
        bed.run(vec![mount(&server, export.path(), version).into()], "a/b").unwrap();
        assert!(bed.is_mounted("a/b"), "{version}");
        std::fs::write(bed.path("a/b/file"), version).unwrap();
        let usage = bed.look("a/b").usage.unwrap();
        assert!(usage.total_bytes > 0 && usage.available_bytes <= usage.total_bytes, "{usage:?}");
        bed.unmount("a/b", LONG).unwrap();
        assert!(bed.mounts().is_empty() && !bed.path("a/b").exists(), "{version}");
        assert_eq!(std::fs::read_to_string(export.path().join("file")).unwrap(), version);
        bed.unmount("a/b", LONG).unwrap();
    }
}

fn the_kernels_client_is_set_as_the_operator_says_and_no_further() {
    let (mut bed, export, server) = (Bed::new(), Export::new(), Server::start());
    let number =
        |path: &str| -> u32 { std::fs::read_to_string(path).unwrap().trim().parse().unwrap() };
    let slots = || number("/proc/sys/sunrpc/tcp_slot_table_entries");
    let read_ahead = |bed: &Bed, asked: Option<u32>| {
        let mut step = mount(&server, export.path(), "vers=4.0");
        step.options.extend(asked.map(|kib| format!("readahead={kib}")));
        // Once more, as where the first call was killed before it had set anything.
        bed.run(vec![step.clone().into()], "a").unwrap();
        bed.run(vec![step.into()], "a").unwrap();
        let device = bed.mounts()[0].split(' ').nth(2).unwrap().to_owned();
        let set = number(&format!("/sys/class/bdi/{device}/read_ahead_kb"));
        bed.unmount("a", LONG).unwrap();
        set
    };
    let (own, slots_before) = (read_ahead(&bed, None), slots());
    assert_eq!(read_ahead(&bed, Some(own * 4)), own, "nobody granted it");
    bed.nfs.max_read_ahead_kb = own * 4;
    assert_eq!(read_ahead(&bed, Some(own * 4)), own * 4);
    assert_eq!(read_ahead(&bed, Some(own * 8)), own);
    bed.nfs.read_ahead_kb = Some(own * 2);
    assert_eq!(
        [None, Some(own), Some(own * 8)].map(|kib| read_ahead(&bed, kib)),
        [own * 2, own, own * 2]
    );
    assert_eq!(slots(), slots_before);
    bed.nfs.tcp_slot_table_entries = Some(slots_before + 14);
    read_ahead(&bed, None);
    assert_eq!(slots(), slots_before + 14);
}

fn what_is_mounted_already_is_left_as_it_is() {
    let (bed, export, server) = (Bed::new(), Export::new(), Server::start());
    for version in VERSIONS {
        let step = mount(&server, export.path(), version);
        bed.run(vec![step.clone().into()], "a").unwrap();
        let before = bed.mounts();
        bed.run(vec![step.clone().into()], "a").unwrap();
        assert_eq!((bed.mounts(), before.len()), (before, 1));
        let error = bed.run(vec![MountNfs { read_only: true, ..step }.into()], "a").unwrap_err();
        assert_eq!(error.kind, ErrorKind::AlreadyExists, "{error}");
        bed.unmount("a", LONG).unwrap();
    }
}

fn a_read_only_mount_cannot_be_written() {
    let (bed, export, server) = (Bed::new(), Export::new(), Server::start());
    std::fs::write(export.path().join("file"), "content").unwrap();
    for version in VERSIONS {
        let by_flag = MountNfs { read_only: true, ..mount(&server, export.path(), version) };
        let mut by_option = mount(&server, export.path(), version);
        by_option.options.push("ro,noatime,nosuid".into());
        for step in [by_flag, by_option] {
            bed.run(vec![step.into()], "a").unwrap();
            assert_eq!(std::fs::read_to_string(bed.path("a/file")).unwrap(), "content");
            let error = std::fs::write(bed.path("a/file"), "x").unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{version}");
            bed.unmount("a", LONG).unwrap();
        }
    }
}

fn a_missing_directory_is_made_with_mode_and_owner_and_then_mounted() {
    let (bed, server) = (Bed::new(), Server::start());
    for version in VERSIONS.into_iter().chain([WITH_LOCKS]) {
        end_statd();
        let export = Export::new();
        let path = export.path().join("volumes/pv-1");
        let make = MakePath {
            root: export.path().display().to_string(),
            mode: 0o2770,
            uid: Some(1001),
            gid: Some(1002),
        };
        let step = MountNfs { make_path: Some(make), ..mount(&server, &path, version) };
        for _ in 0..2 {
            bed.run(vec![step.clone().into()], "a").unwrap();
            let stat = std::fs::metadata(&path).unwrap();
            assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.gid()), (0o2770, 1001, 1002));
            std::fs::write(bed.path("a/file"), "x").unwrap();
            bed.unmount("a", LONG).unwrap();
        }
        // What is there is never changed by it.
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o711))
            .unwrap();
        bed.run(vec![step.into()], "a").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o711);
        bed.unmount("a", LONG).unwrap();
    }
}

fn a_missing_directory_that_nobody_makes_is_an_error_that_names_it() {
    let (bed, export, server) = (Bed::new(), Export::new(), Server::start());
    for version in VERSIONS.into_iter().chain([WITH_LOCKS]) {
        end_statd();
        let step = mount(&server, &export.path().join("missing"), version);
        let error = bed.run(vec![step.into()], "a").unwrap_err();
        assert!(matches!(error.kind, ErrorKind::NotFound | ErrorKind::PermissionDenied), "{error}");
        assert!(error.message.contains("/missing") && error.hint.is_some(), "{error}");
        assert!(bed.mounts().is_empty() && !bed.path("a").exists());
    }
}

fn directories_are_made_below_what_is_granted_and_none_above_it() {
    let server = Server::start();
    for version in VERSIONS {
        let (mut bed, export) = (Bed::new(), Export::new());
        let granted = export.path().join("k8s");
        bed.nfs.paths = vec![granted.display().to_string()];
        let make = MakePath {
            root: export.path().display().to_string(),
            mode: 0o700,
            uid: None,
            gid: None,
        };
        let run = |path: &Path| {
            let step = MountNfs { make_path: Some(make.clone()), ..mount(&server, path, version) };
            bed.run(vec![step.into()], "a")
        };
        let (missing, below) = (run(&granted).unwrap_err(), granted.join("team/pv"));
        assert!(missing.to_string().contains("nfs.paths"), "{missing}");
        assert!(run(&below).unwrap_err().message.contains("/k8s"), "{version}");
        assert!(!granted.exists() && bed.mounts().is_empty());
        std::fs::create_dir(&granted).unwrap();
        // Made the first time, and there the second.
        for path in [&granted, &below, &below] {
            run(path).unwrap();
            assert!(path.exists() && bed.is_mounted("a"), "{version}");
            bed.unmount("a", LONG).unwrap();
        }
    }
}

fn a_volume_that_is_only_read_makes_no_directory_and_the_error_names_it() {
    let (bed, export, server) = (Bed::new(), Export::new(), Server::start());
    let path = export.path().join("mistyped");
    let make =
        MakePath { root: export.path().display().to_string(), mode: 0o777, uid: None, gid: None };
    for version in VERSIONS.into_iter().chain([WITH_LOCKS]) {
        end_statd();
        let step = MountNfs { make_path: Some(make.clone()), ..mount(&server, &path, version) };
        let mut by_option = step.clone();
        by_option.options.push("ro".into());
        for step in [MountNfs { read_only: true, ..step }, by_option] {
            let error = bed.run(vec![step.into()], "a").unwrap_err().to_string();
            assert!(error.contains("/mistyped") && error.contains("only to be read"), "{error}");
            assert!(!path.exists() && bed.mounts().is_empty(), "{version}");
        }
    }
}

fn a_directory_that_cannot_be_made_is_an_error_that_says_first_why_it_was_to_be() {
    let (bed, export, server) = (Bed::new(), Export::new(), Server::start());
    let path = export.path().join("a/b");
    for version in VERSIONS {
        // Nobody has it, so nothing can be mounted to make the rest.
        let root = export.path().join("a").display().to_string();
        let make = MakePath { root, mode: 0o777, uid: None, gid: None };
        let step = MountNfs { make_path: Some(make), ..mount(&server, &path, version) };
        let error = bed.run(vec![step.into()], "a").unwrap_err();
        let said = error.message.split("to make it failed too").collect::<Vec<_>>();
        let [first, later] = said.as_slice() else { panic!("{error}") };
        assert!(first.contains("/a/b by way of") && later.contains("/a by way of"), "{error}");
        assert!(bed.mounts().is_empty() && !export.path().join("a").exists(), "{version}");
    }
}

fn an_option_that_the_kernel_does_not_know_is_named_and_nothing_stays() {
    let (bed, export, server) = (Bed::new(), Export::new(), Server::start());
    let mut step = mount(&server, export.path(), "vers=4.0");
    step.options.push("no_such_option".into());
    let error = bed.run(vec![step.into()], "a/b").unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidArgument, "{error}");
    assert!(error.message.contains("no_such_option"), "{error}");
    assert!(bed.mounts().is_empty() && !bed.path("a").exists());
}

fn another_export_on_the_same_path_is_refused() {
    let (bed, one, other, server) = (Bed::new(), Export::new(), Export::new(), Server::start());
    bed.run(vec![mount(&server, one.path(), "vers=4.0").into()], "a").unwrap();
    let error = bed.run(vec![mount(&server, other.path(), "vers=4.0").into()], "a").unwrap_err();
    assert_eq!(error.kind, ErrorKind::FailedPrecondition, "{error}");
    assert_eq!(bed.mounts().len(), 1);
}

fn what_a_path_shows_is_told_from_another_export() {
    let (bed, one, other, server) = (Bed::new(), Export::new(), Export::new(), Server::start());
    let step = |export: &Export| mount(&server, export.path(), "vers=4.1");
    let shown_instead = || {
        let plan = Plan { steps: vec![step(&one).into()], summary: String::new() };
        bed.node().shown_instead(&plan, &bed.policy(), &bed.path("a"), None).unwrap()
    };
    assert_eq!(shown_instead(), None, "nothing is mounted");
    bed.run(vec![step(&one).into()], "a").unwrap();
    // Neither a slash more nor a server that is gone makes it another one.
    server.stop();
    let with_slash = MountNfs { path: format!("{}/", one.path().display()), ..step(&one) };
    let plan = Plan { steps: vec![with_slash.into()], summary: String::new() };
    assert_eq!(bed.node().shown_instead(&plan, &bed.policy(), &bed.path("a"), None).unwrap(), None);
    assert_eq!(shown_instead(), None);
    server.go_on();
    bed.unmount("a", LONG).unwrap();
    bed.run(vec![step(&other).into()], "a").unwrap();
    let shown = shown_instead().unwrap();
    assert!(shown.contains(other.path().to_str().unwrap()), "{shown}");
    bed.unmount("a", LONG).unwrap();
    sh(&format!("mkdir {0}; mount -t tmpfs t {0}", bed.path("a").display()));
    assert_eq!(shown_instead().unwrap(), "t (tmpfs)");
}

fn an_address_that_refuses_gives_way_to_the_servers_next_one() {
    let (bed, export, server) = (Bed::new(), Export::new(), Server::start());
    let hosts = tempfile::NamedTempFile::new().unwrap();
    // Nobody listens at the first.
    let table = format!("127.0.3.1 two.test\n{} two.test\n", server.address());
    std::fs::write(hosts.path(), table).unwrap();
    sh(&format!("mount --bind {} /etc/hosts", hosts.path().display()));
    for version in VERSIONS {
        let step = MountNfs { server: "two.test".into(), ..mount(&server, export.path(), version) };
        bed.run(vec![step.into()], "a").unwrap();
        assert!(bed.mounts()[0].contains("two.test:/export"), "{:?}", bed.mounts());
        bed.unmount("a", LONG).unwrap();
    }
    sh("umount /etc/hosts");
}

fn an_address_of_ipv6_is_mounted_and_tried_only_by_its_own_protocol() {
    let (mut bed, export, server) = (Bed::new(), Export::new(), Server::start());
    bed.nfs.options.extend(["port=*", "mountport=*"].map(str::to_owned));
    // The machine's server, and its port mapper, listen on addresses of IPv4 alone.
    let mount_port = MOUNT_PORT + 1;
    pass_on_from(Ipv6Addr::LOCALHOST, NFS_PORT, NFS_PORT);
    pass_on_from(Ipv6Addr::LOCALHOST, mount_port, MOUNT_PORT);
    let hosts = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(hosts.path(), format!("::1 dual.test\n{} dual.test\n", server.address()))
        .unwrap();
    sh(&format!("mount --bind {} /etc/hosts", hosts.path().display()));
    for version in VERSIONS {
        let step = |name: &str, options: &str| MountNfs {
            server: name.into(),
            options: vec![
                format!("{version},{options}"),
                match version.starts_with("vers=3") {
                    true => format!("port={NFS_PORT},mountport={mount_port}"),
                    false => String::new(),
                },
            ],
            ..mount(&server, export.path(), version)
        };
        for (name, options, address) in [
            ("::1", "proto=tcp6", "addr=::1"),
            ("::1", "tcp", "addr=::1"),
            ("dual.test", "proto=tcp6", "addr=::1"),
            ("dual.test", "proto=tcp", "addr=127.0.1."),
        ] {
            bed.run(vec![step(name, options).into()], "a").unwrap();
            assert!(bed.mounts()[0].contains(address), "{version}: {:?}", bed.mounts());
            bed.unmount("a", LONG).unwrap();
        }
        let error = bed.run(vec![step("::1", "proto=tcp").into()], "a").unwrap_err();
        assert_eq!(error.kind, ErrorKind::FailedPrecondition, "{error}");
        assert!(error.to_string().contains("proto=tcp6"), "{error}");
    }
    sh("umount /etc/hosts");
}

/// Passes on what comes to a port of an address of IPv6, until the machine ends.
fn pass_on_from(address: Ipv6Addr, from: u16, to: u16) {
    let listener = TcpListener::bind((address, from)).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) =
                (client.unwrap(), TcpStream::connect((Ipv4Addr::LOCALHOST, to)).unwrap());
            for (mut from, mut into) in
                [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
            {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut into);
                    let _ = into.shutdown(Shutdown::Write);
                });
            }
        }
    });
}

fn a_name_that_does_not_resolve_is_an_error_that_names_it() {
    let (bed, export, server) = (Bed::new(), Export::new(), Server::start());
    let step =
        MountNfs { server: "nobody.test".into(), ..mount(&server, export.path(), "vers=4.0") };
    let error = bed.run(vec![step.into()], "a").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(error.message.contains("nobody.test"), "{error}");
}

fn what_needs_a_program_says_which_and_how_to_get_on() {
    let (mut bed, export, server) = (Bed::new(), Export::new(), Server::start());
    end_statd();
    bed.options.program_path.clear();
    bed.nfs.options.push("sec=krb5".into());
    for (options, said, unsaid) in [
        ("vers=3", ["rpc.statd", "mount.nfs", "nolock", "nfs-common"], "gssd"),
        ("vers=4.1,sec=krb5", ["rpc.gssd", "mount.nfs", "keytab", "nfs-common"], "nolock"),
        ("vers=3,sec=krb5", ["rpc.gssd", "mount.nfs", "keytab", "nfs-common"], "nolock"),
    ] {
        let error = bed.run(vec![mount(&server, export.path(), options).into()], "a").unwrap_err();
        assert_eq!(error.kind, ErrorKind::FailedPrecondition, "{error}");
        for words in said {
            assert!(error.to_string().contains(words), "{words}: {error}");
        }
        assert!(!error.to_string().contains(unsaid), "{error}");
        assert!(bed.mounts().is_empty() && !bed.path("a").exists());
    }
}

/// Whoever mounted with locks before may have started it.
fn end_statd() {
    sh("pkill -KILL -x rpc.statd || true");
}

fn a_mount_with_locks_needs_no_program_where_statd_runs() {
    let (mut bed, export, server) = (Bed::new(), Export::new(), Server::start());
    end_statd();
    sh("rpc.statd --no-notify");
    bed.options.program_path.clear();
    let missing = export.path().join("made");
    let make =
        MakePath { root: export.path().display().to_string(), mode: 0o700, uid: None, gid: None };
    let step = MountNfs { make_path: Some(make), ..mount(&server, &missing, WITH_LOCKS) };
    bed.run(vec![step.into()], "a").unwrap();
    assert!(bed.mounts()[0].contains("local_lock=none"), "{:?}", bed.mounts());
    sh(&format!("timeout 30 flock {} true", bed.path("a/file").display()));
    bed.unmount("a", LONG).unwrap();
    end_statd();
}

fn a_mount_with_locks_over_version_3_is_made_by_the_program() {
    let (bed, export, server) = (Bed::new(), Export::new(), Server::start());
    end_statd();
    let mut step = mount(&server, export.path(), WITH_LOCKS);
    step.options.push("noatime".into());
    bed.run(vec![step.into()], "a").unwrap();
    std::fs::write(bed.path("a/file"), "x").unwrap();
    assert!(bed.mounts()[0].contains("noatime"), "{:?}", bed.mounts());
    bed.unmount("a", LONG).unwrap();
}

fn a_failed_step_takes_the_mount_back() {
    let (bed, export, server) = (Bed::new(), Export::new(), Server::start());
    for version in VERSIONS {
        let steps = vec![
            mount(&server, export.path(), version).into(),
            mount(&server, &export.path().join("missing"), version).into(),
        ];
        bed.run(steps, "a").unwrap_err();
        assert!(bed.mounts().is_empty() && !bed.path("a").exists(), "{version}");
    }
}

fn a_mount_is_seen_only_after_the_steps_that_work_on_it() {
    let (bed, server) = (Bed::new(), Server::start());
    for version in VERSIONS {
        let export = Export::new();
        let mode = || std::fs::metadata(export.path()).unwrap().mode() & 0o7777;
        let mut step = mount(&server, export.path(), version);
        step.options.push("noatime".into());
        let at = DirectoryPath { base: DirectoryBase::Target, path: String::new() };
        let ownership =
            SetOwnership { at, mode: Some(0o2710), uid: None, gid: None, recursive: true };
        assert_ne!(mode(), 0o2710);
        // It takes a while.
        server.slow_down(Duration::from_millis(10));
        std::thread::scope(|scope| {
            let steps = vec![step.into(), ownership.into()];
            let publishing = scope.spawn(|| bed.run(steps, "a"));
            while !publishing.is_finished() {
                assert!(!bed.is_mounted("a") || mode() == 0o2710, "{version}");
            }
            publishing.join().unwrap().unwrap();
        });
        server.slow_down(Duration::ZERO);
        assert_eq!((bed.mounts().len(), mode()), (1, 0o2710), "{version}");
        assert!(bed.mounts()[0].contains("noatime"), "{:?}", bed.mounts());
        std::fs::write(bed.path("a/file"), version).unwrap();
        bed.unmount("a", LONG).unwrap();
    }
}

fn a_failed_step_harms_no_other_volume_of_the_file_system() {
    let (bed, export, server) = (Bed::new(), Export::new(), Server::start());
    for version in VERSIONS {
        let [_, step] = mount_two(&bed, &export, &server, version);
        bed.unmount("b", LONG).unwrap();
        let at = DirectoryPath { base: DirectoryBase::Target, path: "missing".into() };
        let ownership =
            SetOwnership { at, mode: Some(0o770), uid: None, gid: None, recursive: false };
        let other = mount(&server, &export.path().join("missing"), version);
        let mut writing = Writing::begin(&bed.path("a/file"), export.path().join("a/file"));
        // A piece is always on its way.
        server.slow_down(Duration::from_millis(10));
        for fails in [Step::from(ownership), other.into()] {
            let error = bed.run(vec![step.clone().into(), fails], "b").unwrap_err();
            assert!(error.message.contains("step 2"), "{version}: {error}");
            assert_eq!(bed.mounts().len(), 1, "{version}");
        }
        server.slow_down(Duration::ZERO);
        writing.wait_for_more();
        drop(writing);
        bed.unmount("a", LONG).unwrap();
    }
}

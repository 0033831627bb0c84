//! A mount from its request to its end.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::Signal;
use wharf_core::ErrorKind;
use wharf_node::supervisor::{Condition, Status};

use crate::bed::{Bed, PATIENCE, holds, kill, request, sh, signal, until};

#[test]
fn a_mount_that_is_asked_for_again_is_found_and_with_other_options_refused() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec("a");
    bed.mount(&spec).unwrap();
    let pid = bed.pid(&spec);
    bed.mount(&spec).unwrap();
    assert_eq!((bed.pid(&spec), bed.mounts().len()), (pid, 2));
    for other in [
        wharf_node::supervisor::Spec { read_only: true, ..spec.clone() },
        wharf_node::supervisor::Spec { source: "/".into(), ..spec.clone() },
        wharf_node::supervisor::Spec { arguments: vec!["-n".into()], ..spec.clone() },
    ] {
        let error = bed.mount(&other).unwrap_err();
        assert_eq!(error.kind, ErrorKind::AlreadyExists, "{error}");
    }
    assert!(holds(&spec.target.join("file"), "hello"));
    bed.client().unmount(&spec.target, PATIENCE).unwrap();
    bed.client().unmount(&spec.target, PATIENCE).unwrap();
    bed.assert_clean();
}

#[test]
fn an_unmount_by_anybody_ends_the_helper_and_leaves_nothing() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec("a");
    for _ in 0..3 {
        bed.mount(&spec).unwrap();
        sh(&format!("umount {}", spec.target.display()));
        // At once again: whatever is left of the first is in nobody's way.
        bed.mount(&spec).unwrap();
        assert!(holds(&spec.target.join("file"), "hello"));
        sh(&format!("umount {}", spec.target.display()));
        bed.assert_clean();
    }
}

#[test]
fn a_helper_stays_until_the_last_bind_of_its_mount_is_gone() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec("a");
    bed.mount(&spec).unwrap();
    let bind = bed.target("bind");
    sh(&format!("mount --bind {} {}", spec.target.display(), bind.display()));
    bed.client().unmount(&spec.target, PATIENCE).unwrap();
    assert!(holds(&bind.join("file"), "hello"));
    kill(bed.pid(&spec));
    until("the bind is healed", || holds(&bind.join("file"), "hello"));
    until("the mount is at rest", || bed.status(&spec).condition == Condition::Serving);
    sh(&format!("umount {}", bind.display()));
    bed.assert_clean();
}

#[test]
fn a_read_only_mount_is_read_only_and_none_obeys_set_user_bits_or_devices() {
    let Some(bed) = Bed::new() else { return };
    let spec = wharf_node::supervisor::Spec { read_only: true, ..bed.spec("a") };
    bed.mount(&spec).unwrap();
    let line = bed.mounts().into_iter().find(|line| line.contains("targets/a")).unwrap();
    assert!(line.contains(" ro,nosuid,nodev"), "{line}");
    assert!(std::fs::write(spec.target.join("new"), "x").is_err());
    bed.client().unmount(&spec.target, PATIENCE).unwrap();
    bed.assert_clean();
}

#[test]
fn a_target_that_is_used_stays_mounted_and_what_is_mounted_there_already_is_left_alone() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec("a");
    bed.mount(&spec).unwrap();
    let open = std::fs::File::open(spec.target.join("file")).unwrap();
    let error = bed.client().unmount(&spec.target, PATIENCE).unwrap_err();
    assert_eq!(error.kind, ErrorKind::FailedPrecondition, "{error}");
    drop(open);
    bed.client().unmount(&spec.target, PATIENCE).unwrap();
    sh(&format!("mount -t tmpfs mine {}", spec.target.display()));
    let error = bed.mount(&spec).unwrap_err();
    assert!(error.message.contains("mine (tmpfs) mounted on it"), "{error}");
    sh(&format!("umount {}", spec.target.display()));
    bed.assert_clean();
}

#[test]
fn a_helper_that_hangs_holds_up_no_other_mount() {
    let Some(bed) = Bed::new() else { return };
    let (stuck, spec) = (bed.spec("stuck"), bed.spec("a"));
    bed.mount(&stuck).unwrap();
    let pid = bed.pid(&stuck);
    signal(pid, Signal::STOP);
    bed.mount(&spec).unwrap();
    kill(bed.pid(&spec));
    until("the other is healed", || holds(&spec.target.join("file"), "hello"));
    assert_eq!(bed.client().list().unwrap().len(), 2);
    bed.client().unmount(&spec.target, PATIENCE).unwrap();
    signal(pid, Signal::CONT);
    bed.client().unmount(&stuck.target, PATIENCE).unwrap();
    bed.assert_clean();
}

#[test]
fn a_request_does_not_wait_because_the_mount_table_has_just_changed() {
    let Some(bed) = Bed::new() else { return };
    let place = bed.target("place");
    let mut times: Vec<_> = (0..20)
        .map(|_| {
            mount("t", &place, "tmpfs", MountFlags::empty(), None).unwrap();
            unmount(&place, UnmountFlags::empty()).unwrap();
            // The supervisor has seen it by then, mostly.
            std::thread::sleep(Duration::from_millis(2));
            let asked = Instant::now();
            bed.client().list().unwrap();
            asked.elapsed()
        })
        .collect();
    times.sort();
    assert!(times[10] < Duration::from_millis(12), "{times:?}");
    bed.assert_clean();
}

#[test]
fn a_helper_is_put_into_its_group_after_it_is_ready() {
    let Some(bed) = Bed::new() else { return };
    let groups = bed.path("groups");
    // Long enough for the kernel to move it.
    let script =
        format!("sleep 0.3; cat /proc/$$/cgroup > {}; exec bindfs -f $1 $2", groups.display());
    let spec = bed.script("a", &script);
    bed.mount(&spec).unwrap();
    let at_its_start = std::fs::read_to_string(&groups).unwrap();
    assert!(!at_its_start.contains(&bed.status(&spec).name), "{at_its_start}");
    bed.client().unmount(&spec.target, PATIENCE).unwrap();
    bed.assert_clean();
}

#[test]
fn a_helper_has_a_control_group_of_its_own_that_bounds_its_memory() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec("a");
    bed.mount(&spec).unwrap();
    let name = bed.status(&spec).name;
    let pid = bed.pid(&spec);
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let is_bounded = limits.lines().any(|line| {
        line.starts_with("Max data size") && line.contains(&(256_u64 << 20).to_string())
    });
    // The mount does not wait for it.
    until("the helper is in its group, or its data is bounded", || {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let own = format!("/wharf-mounts/{name}");
        is_bounded || groups.lines().any(|line| line.ends_with(&own))
    });
    bed.client().unmount(&spec.target, PATIENCE).unwrap();
    bed.assert_clean();
    until("its group is gone", || {
        !std::path::Path::new(&format!("/sys/fs/cgroup/memory/wharf-mounts/{name}")).exists()
    });
}

#[test]
fn a_helper_that_is_handed_the_device_is_a_user_of_its_own_and_without_privileges() {
    let Some(bed) = Bed::new() else { return };
    let (spec, other) = (bed.on_a_given_device("a"), bed.on_a_given_device("b"));
    bed.mount(&spec).unwrap();
    bed.mount(&other).unwrap();
    let user = bed.user(&spec);
    assert!(user >= 0x7000_0000 && user != bed.user(&other), "{user}");
    bed.client().unmount(&other.target, PATIENCE).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", bed.pid(&spec))).unwrap();
    let same = format!("\t{user}").repeat(4);
    assert!(status.contains(&format!("Uid:{same}")), "{status}");
    assert!(status.contains(&format!("Gid:{same}")), "{status}");
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    assert!(holds(&spec.target.join("file"), "hello"));
    kill(bed.pid(&spec));
    until("it is healed", || holds(&spec.target.join("file"), "hello"));
    bed.client().unmount(&spec.target, PATIENCE).unwrap();
    bed.assert_clean();
}

#[test]
fn a_supervisor_is_started_where_none_runs_and_outlives_who_started_it() {
    let Some(bed) = Bed::new() else { return };
    bed.kill_supervisor();
    assert!(bed.client().list().unwrap().is_empty());
    let spec = bed.spec("a");
    let error = bed.mount(&spec).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    // Several at once: one supervisor serves them all.
    std::thread::scope(|scope| {
        for name in ["a", "b", "c"] {
            let (bed, spec) = (bed.starting_client(), bed.spec(name));
            scope.spawn(move || bed.mount(request(spec, None)).unwrap());
        }
    });
    let mounts = || bed.client().list().unwrap();
    assert_eq!(mounts().len(), 3);
    // A mount is worked on for a moment after its caller has the answer.
    let serves = |status: &Status| status.condition == Condition::Serving;
    until("all of them serve", || mounts().iter().all(serves));
    for status in mounts() {
        bed.client().unmount(&status.target, PATIENCE).unwrap();
    }
    bed.assert_clean();
}

#[test]
fn nobody_but_root_can_ask_or_look() {
    let Some(bed) = Bed::new() else { return };
    let run = bed.path("run");
    sh(&format!("chmod 755 {}", bed.path("").display()));
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&run.join("supervisor.sock")), 0o600);
    let spec = bed.spec("a");
    bed.mount(&spec).unwrap();
    let private = run.join(bed.status(&spec).name);
    assert_eq!(mode(&private), 0o700);
    bed.client().unmount(&spec.target, Duration::from_secs(60)).unwrap();
    bed.assert_clean();
}

//! mkfs that is killed half-way: recovered from on the same attachment, and nowhere else.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use wharf_core::ErrorKind;
use wharf_node::ProgramBounds;

use crate::bed::{Bed, assert_kind, find, format, format_with, said, sh, stage};

/// Real mkfs, killed by its time bound after ever longer, then a call with time enough.
fn recovers_from_kills(fs_type: &str, arguments: &[&str]) {
    let Some(mut bed) = Bed::new() else { return };
    let mut kills = 0;
    for microseconds in (0..16).map(|power| (500_u64 << (power / 2)) + 100 * power) {
        let serial = format!("s{microseconds}");
        let device = bed.disk(&serial, 3000);
        let steps = || vec![find(&serial), format_with(fs_type, arguments)];
        bed.options.bounds = ProgramBounds {
            format: Duration::from_micros(microseconds),
            ..ProgramBounds::default()
        };
        if let Err(error) = bed.run(steps(), "unused") {
            assert!(error.message.contains("did not finish"), "{error}");
            kills += 1;
        }
        bed.options.bounds = ProgramBounds::default();
        bed.run(stage(&serial, fs_type), &serial)
            .unwrap_or_else(|error| panic!("after {microseconds} us: {error}"));
        std::fs::write(bed.path(&serial).join("file"), "x").unwrap();
        sh(&format!("umount {}", bed.path(&serial).display()));
        let verify = if fs_type == "xfs" { "xfs_repair -n" } else { "e2fsck -fn" };
        sh(&format!("{verify} {}", device.display()));
        bed.detach(&device);
        std::fs::remove_file(bed.image(&serial)).unwrap();
    }
    assert!(kills > 3, "mkfs was fast enough to escape: {kills} kills");
}

#[test]
fn ext4_recovers_from_a_kill_at_any_moment() {
    recovers_from_kills("ext4", &["-E", "lazy_itable_init=0,lazy_journal_init=0"]);
}

#[test]
fn xfs_recovers_from_a_kill_at_any_moment() {
    recovers_from_kills("xfs", &["-l", "size=128m"]);
}

/// A bed whose mkfs writes something and dies.
fn with_dying_mkfs(fs_type: &str, script: &str) -> Option<Bed> {
    let mut bed = Bed::new()?;
    let directory = bed.root().join("programs");
    std::fs::create_dir(&directory).unwrap();
    let program = directory.join(format!("mkfs.{fs_type}"));
    std::fs::write(&program, format!("#!/bin/sh\nfor D in \"$@\"; do :; done\n{script}\n"))
        .unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    bed.options.program_path.insert(0, directory);
    Some(bed)
}

const HALF: &str =
    "dd if=/dev/urandom of=$D bs=4096 count=4 seek=1 conv=fsync 2>/dev/null; kill -9 $$";

fn heal(bed: &mut Bed) {
    bed.options.program_path.remove(0);
}

#[test]
fn leftovers_of_our_own_mkfs_are_formatted_again() {
    let Some(mut bed) = with_dying_mkfs("ext4", HALF) else { return };
    bed.disk("s1", 64);
    assert_kind(bed.run(stage("s1", "ext4"), "d1"), ErrorKind::Internal, "killed by a signal");
    heal(&mut bed);
    bed.run(stage("s1", "ext4"), "d1").unwrap();
}

#[test]
fn leftovers_of_our_own_mkfs_may_become_another_file_system() {
    let Some(mut bed) = with_dying_mkfs("ext4", HALF) else { return };
    bed.disk("s1", 400);
    bed.run(stage("s1", "ext4"), "d1").unwrap_err();
    heal(&mut bed);
    bed.run(stage("s1", "xfs"), "d1").unwrap();
}

#[test]
fn leftovers_of_a_disk_that_was_away_meanwhile_are_not_formatted() {
    let Some(mut bed) = with_dying_mkfs("ext4", HALF) else { return };
    let device = bed.disk("s1", 64);
    bed.run(stage("s1", "ext4"), "d1").unwrap_err();
    heal(&mut bed);
    bed.detach(&device);
    bed.attach("s1");
    let error =
        assert_kind(bed.run(stage("s1", "ext4"), "d1"), ErrorKind::FailedPrecondition, "not blank");
    assert!(error.message.contains("begun here"), "{error}");
}

#[test]
fn leftovers_prove_nothing_for_another_disk() {
    let Some(mut bed) = with_dying_mkfs("ext4", HALF) else { return };
    bed.disk("s1", 64);
    let other = bed.disk("s2", 64);
    bed.run(stage("s1", "ext4"), "d1").unwrap_err();
    heal(&mut bed);
    sh(&format!("dd if=/dev/urandom of={} bs=4096 count=4 conv=fsync", other.display()));
    assert_kind(bed.run(stage("s2", "ext4"), "d2"), ErrorKind::FailedPrecondition, "not blank");
}

#[test]
fn an_interrupted_format_does_not_excuse_what_somebody_put_there_since() {
    let Some(mut bed) = with_dying_mkfs("ext4", HALF) else { return };
    let device = bed.disk("s1", 64);
    bed.run(stage("s1", "ext4"), "d1").unwrap_err();
    heal(&mut bed);
    sh(&format!("mkswap -q {}", device.display()));
    assert_kind(bed.run(stage("s1", "ext4"), "d1"), ErrorKind::FailedPrecondition, "swap");
    sh(&format!("mkfs.ext3 -q -F {}", device.display()));
    bed.run(stage("s1", "ext4"), "d1").unwrap();
    assert_eq!(said(&sh(&format!("blkid -p -s TYPE -o value {}", device.display()))), "ext3");
}

#[test]
fn a_process_killed_after_mkfs_finds_the_file_system_and_keeps_it() {
    let Some(mut bed) = with_dying_mkfs("ext4", "/usr/sbin/mkfs.ext4 -q \"$@\"; kill -9 $$") else {
        return;
    };
    let device = bed.disk("s1", 64);
    bed.run(stage("s1", "ext4"), "d1").unwrap_err();
    let uuid = || said(&sh(&format!("blkid -p -s UUID -o value {}", device.display())));
    let before = uuid();
    heal(&mut bed);
    bed.run(stage("s1", "ext4"), "d1").unwrap();
    assert_eq!(uuid(), before);
    assert_eq!(bed.tree("state").iter().filter(|line| line.contains("formats/")).count(), 0);
}

#[test]
fn an_unfinished_xfs_is_formatted_again_also_after_a_new_attachment_but_only_where_it_was_begun() {
    let script = "/usr/sbin/mkfs.xfs -q \"$@\"; printf '\\001' | dd of=$D bs=1 seek=126 \
                  conv=notrunc,fsync 2>/dev/null; kill -9 $$";
    let Some(mut bed) = with_dying_mkfs("xfs", script) else { return };
    let device = bed.disk("s1", 400);
    bed.run(stage("s1", "xfs"), "d1").unwrap_err();
    heal(&mut bed);
    bed.detach(&device);
    bed.attach("s1");
    let elsewhere = bed.root().join("another-node");
    let state = std::mem::replace(&mut bed.options.state_directory, elsewhere);
    assert_kind(bed.run(stage("s1", "xfs"), "d1"), ErrorKind::FailedPrecondition, "not this node");
    bed.options.state_directory = state;
    bed.run(stage("s1", "xfs"), "d1").unwrap();
}

#[test]
fn a_second_mkfs_is_not_started_beside_one_whose_parent_was_killed() {
    // The program leaves a child that holds what it inherited, as mkfs does when this process is
    // killed.
    let Some(mut bed) = with_dying_mkfs(
        "ext4",
        "exec 3<&0; sleep 600 >/dev/null 2>&1 & echo $! > $(dirname $0)/child; exit 1",
    ) else {
        return;
    };
    bed.disk("s1", 64);
    bed.run(vec![find("s1"), format("ext4")], "d1").unwrap_err();
    let child = std::fs::read_to_string(bed.root().join("programs/child")).unwrap();
    heal(&mut bed);
    let blocked = bed.run(stage("s1", "ext4"), "d1");
    sh(&format!("kill -9 {}", child.trim()));
    assert_kind(blocked, ErrorKind::Aborted, "still running");
    while bed.run(stage("s1", "ext4"), "d1").is_err_and(|error| error.kind == ErrorKind::Aborted) {
        std::thread::yield_now();
    }
    assert_eq!(bed.mounts().len(), 1);
}

//! What is never formatted.

use wharf_core::ErrorKind;

use crate::bed::{Bed, assert_kind, find, format, mount, said, sh, stage};
use wharf_core::ports::Node;

/// Prepares a disk, then asks for ext4: nothing on it may change.
fn stays_as_it_is(prepare: &str, words: &str) {
    stays_as_it_is_on(128, prepare, words);
}

fn stays_as_it_is_on(mebibytes: u64, prepare: &str, words: &str) {
    let Some(bed) = Bed::new() else { return };
    let device = bed.disk("s1", mebibytes);
    let image = bed.image("s1");
    sh(&prepare.replace("${D}", "$D").replace("$D", &device.display().to_string()));
    let digest = || said(&sh(&format!("sync {0}; sha256sum < {0}", image.display())));
    let before = digest();
    for _ in 0..2 {
        let error =
            assert_kind(bed.run(stage("s1", "ext4"), "d1"), ErrorKind::FailedPrecondition, words);
        assert!(error.hint.is_some(), "{error}");
    }
    assert_eq!(digest(), before);
    assert!(bed.mounts().is_empty());
}

#[test]
fn a_disk_with_random_bytes_is_not_formatted() {
    stays_as_it_is("dd if=/dev/urandom of=$D bs=4096 count=8 seek=10 conv=fsync", "not blank");
}

#[test]
fn a_disk_with_one_byte_at_its_end_is_not_formatted() {
    stays_as_it_is("printf x | dd of=$D bs=1 seek=$((128*1024*1024-1)) conv=fsync", "not blank");
}

#[test]
fn a_disk_with_data_in_its_middle_is_not_formatted() {
    stays_as_it_is("dd if=/dev/urandom of=$D bs=1M count=64 seek=32 conv=fsync", "not blank");
}

#[test]
fn a_raw_volume_whose_ends_were_left_zero_is_not_formatted() {
    for kibibytes in [2048, 9 * 1024, 33 * 1024 + 64, 70 * 1024 + 500, 119 * 1024] {
        let script =
            format!("dd if=/dev/urandom of=$D bs=1K count=256 seek={kibibytes} conv=fsync");
        stays_as_it_is(&script, "not blank");
    }
}

#[test]
fn a_disk_with_a_wiped_ext4_is_not_formatted() {
    stays_as_it_is("mkfs.ext4 -q $D; wipefs -q --all $D", "not blank");
}

#[test]
fn a_disk_with_an_ext4_whose_beginning_is_lost_is_not_formatted() {
    stays_as_it_is(
        "mkfs.ext4 -q -b 1024 $D; dd if=/dev/zero of=$D bs=1M count=2 conv=fsync",
        "not blank",
    );
}

/// The size is one at which no sample of the middle falls on these places.
#[test]
fn a_disk_with_a_copy_of_a_lost_superblock_is_not_formatted() {
    for kibibytes in [8193, 32768] {
        stays_as_it_is_on(
            100,
            &format!("dd if=/dev/urandom of=$D bs=1024 count=1 seek={kibibytes} conv=fsync"),
            "not blank",
        );
    }
    stays_as_it_is_on(
        300,
        "dd if=/dev/urandom of=$D bs=4096 count=1 seek=32768 conv=fsync",
        "not blank",
    );
}

#[test]
fn a_disk_with_another_file_system_is_not_formatted() {
    stays_as_it_is_on(400, "mkfs.xfs -q -f $D", "xfs file system, ext4 was asked for");
}

#[test]
fn a_disk_with_swap_is_not_formatted() {
    stays_as_it_is("mkswap $D", "swap");
}

#[test]
fn a_disk_with_an_encryption_header_is_not_formatted() {
    // LUKS2: magic, version 2, header size, and a label; what `cryptsetup luksFormat` writes first.
    let script = r#"
        { printf 'LUKS\272\276\000\002\000\000\000\000\000\000\100\000'; head -c 4080 /dev/zero; } | dd of=$D conv=fsync
        printf '12345678-1234-1234-1234-123456789abc' | dd of=$D bs=1 seek=168 conv=notrunc,fsync"#;
    stays_as_it_is(script, "crypto_LUKS");
}

/// A DOS partition table; its partitions are told to the kernel one by one, since not every kernel
/// reads tables.
const TABLE: &str = r"printf '\000\000\000\000\203\000\000\000\000\010\000\000\000\340\001\000' | dd of=$D bs=1 seek=446; printf '\125\252' | dd of=$D bs=1 seek=510 conv=fsync;";
const FIRST: &str = "addpart $D 1 2048 122880;";
const SECOND: &str = "addpart $D 2 124928 122880;";

#[test]
fn a_disk_with_a_partition_table_is_not_formatted() {
    stays_as_it_is(TABLE, "partition table");
}

#[test]
fn a_disk_with_signatures_that_contradict_each_other_is_neither_formatted_nor_mounted() {
    let script = "mkfs.ext4 -q $D; X=$(mktemp); truncate -s 400M $X; mkfs.xfs -q $X; dd if=$X \
                  of=$D bs=512 count=1 conv=fsync; rm $X";
    stays_as_it_is(script, "more than one");
}

/// An md superblock of version 1.0, 8 KiB before the end of 128 MiB: what a file system becomes
/// part of without noticing.
const MD: &str = r"
    printf '\374\116\053\251\001\000\000\000' | dd of=$D bs=1 seek=$((262128*512)) conv=notrunc
    printf '\360\377\003\000\000\000\000\000' | dd of=$D bs=1 seek=$((262128*512+144)) conv=notrunc,fsync";

#[test]
fn a_member_of_a_raid_that_looks_like_a_file_system_is_not_repaired() {
    stays_as_it_is(
        &format!("mkfs.ext4 -q $D; debugfs -w -R 'ssv state 0' $D; {MD}"),
        "linux_raid_member",
    );
}

#[test]
fn a_partition_without_a_file_system_is_not_formatted() {
    stays_as_it_is(&format!("{TABLE}{FIRST}"), "only partition");
}

#[test]
fn a_disk_with_several_partitions_is_refused_by_their_names() {
    stays_as_it_is(&format!("{TABLE}{FIRST}{SECOND} mkfs.ext4 -q ${{D}}p1"), "p1, loop");
}

#[test]
fn a_disk_with_one_formatted_partition_is_used_as_it_is() {
    let Some(bed) = Bed::new() else { return };
    let device = bed.disk("s1", 128);
    sh(&format!("{TABLE}{FIRST} mkfs.ext4 -q ${{D}}p1")
        .replace("${D}", "$D")
        .replace("$D", &device.display().to_string()));
    assert_eq!(bed.run(stage("s1", "ext4"), "d1").unwrap(), Some(device.clone()));
    assert!(bed.mounts()[0].contains(&format!("{}p1 ", device.display())));
    bed.run(stage("s1", "ext4"), "d1").unwrap();
    assert_eq!(bed.mounts().len(), 1);
    assert_kind(
        bed.run(vec![find("s1"), mount("xfs", &[], false)], "d1"),
        ErrorKind::FailedPrecondition,
        "holds a ext4",
    );
}

#[test]
fn a_mounted_disk_is_not_formatted() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 400);
    bed.run(stage("s1", "ext4"), "d1").unwrap();
    assert_kind(
        bed.run(vec![find("s1"), format("xfs")], "d2"),
        ErrorKind::FailedPrecondition,
        "in use",
    );
    assert!(bed.node().is_mounted(&bed.path("d1")).unwrap());
}

#[test]
fn a_disk_that_something_else_holds_is_not_formatted() {
    use rustix::fs::{Mode, OFlags};
    let Some(bed) = Bed::new() else { return };
    let device = bed.disk("s1", 64);
    // Whoever else looks for a free loop device claims each for a moment.
    let held = loop {
        match rustix::fs::open(&device, OFlags::RDWR | OFlags::EXCL, Mode::empty()) {
            Ok(held) => break held,
            Err(error) => assert_eq!(error, rustix::io::Errno::BUSY),
        }
    };
    assert_kind(bed.run(stage("s1", "ext4"), "d1"), ErrorKind::FailedPrecondition, "in use");
    assert_eq!(said(&sh(&format!("blkid -p {} || true", device.display()))), "");
    drop(held);
    bed.run(stage("s1", "ext4"), "d1").unwrap();
}

//! Finding devices, and never guessing one.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wharf_core::plan::{DeviceMatch, Plan};
use wharf_core::ports::{Call, Node};
use wharf_core::{Error, ErrorKind};

use crate::bed::{Bed, assert_kind, find, find_by, find_sized, forever};

fn reported(bed: &Bed, device: &Path) -> PathBuf {
    bed.options.sysfs.join("block").join(device.file_name().unwrap())
}

fn unlink(bed: &Bed, serial: &str) {
    std::fs::remove_file(bed.root().join("links").join(format!("virtio-{serial}"))).unwrap();
}

fn look(bed: &Bed, matches: Vec<DeviceMatch>) -> Result<Option<PathBuf>, Error> {
    bed.run(vec![find_by(matches, 0)], "d")
}

fn by_id(link: &str) -> DeviceMatch {
    DeviceMatch::ById(link.into())
}

fn serial(serial: &str) -> DeviceMatch {
    DeviceMatch::Serial(serial.into())
}

#[test]
fn a_device_is_found_by_exactly_its_serial_with_and_without_a_link() {
    let Some(bed) = Bed::new() else { return };
    for (wanted, file) in [("s1", "serial"), ("s2", "device/serial")] {
        let device = bed.disk(wanted, 8);
        bed.give_serial(&device, "");
        let path = reported(&bed, &device).join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("{wanted}      \n")).unwrap();
        assert_eq!(bed.run(vec![find(wanted)], "d").unwrap(), Some(device.clone()));
        unlink(&bed, wanted);
        assert_eq!(bed.run(vec![find(wanted)], "d").unwrap(), Some(device));
    }
    for wrong in ["s", "s11", "S1", " s1"] {
        assert_kind(bed.run(vec![find(wrong)], "d"), ErrorKind::Unavailable, "no device");
    }
}

#[test]
fn a_link_to_a_device_with_another_serial_is_not_followed() {
    let Some(bed) = Bed::new() else { return };
    let device = bed.disk("s1", 8);
    bed.give_serial(&device, "s9");
    assert_kind(bed.run(vec![find("s1")], "d"), ErrorKind::Unavailable, "out of date");
    let right = bed.disk("s2", 8);
    unlink(&bed, "s2");
    bed.give_serial(&right, "s1");
    assert_eq!(bed.run(vec![find("s1")], "d").unwrap(), Some(right));
}

#[test]
fn a_serial_that_cannot_be_read_is_not_found_whatever_the_links_say() {
    let Some(bed) = Bed::new() else { return };
    let device = bed.disk("s1", 8);
    bed.give_serial(&device, "");
    std::fs::create_dir(bed.root().join("paths")).unwrap();
    symlink(&device, bed.root().join("paths/pci-1")).unwrap();
    std::fs::write(reported(&bed, &device).join("wwid"), "eui.1").unwrap();
    for other in
        [by_id("virtio-s1"), DeviceMatch::ByPath("pci-1".into()), DeviceMatch::Wwn("eui.1".into())]
    {
        for matches in [vec![serial("s1"), other.clone()], vec![other, serial("s1")]] {
            assert_kind(look(&bed, matches), ErrorKind::Unavailable, "serial");
        }
    }
    let error = look(&bed, vec![serial("s1"), by_id("virtio-s1")]).unwrap_err();
    assert!(error.message.contains("no serial that can be read"), "{error}");
    std::fs::remove_dir_all(reported(&bed, &device)).unwrap();
    assert!(bed.run(vec![find("s1")], "d").is_err());
    bed.give_serial(&device, "s1");
    assert_eq!(bed.run(vec![find("s1")], "d").unwrap(), Some(device));
}

#[test]
fn without_a_serial_links_names_and_unit_numbers_identify_a_device() {
    let Some(bed) = Bed::new() else { return };
    let (device, other) = (bed.disk("s1", 8), bed.disk("s2", 8));
    bed.give_serial(&device, "");
    bed.give_serial(&other, "");
    std::fs::create_dir(bed.root().join("paths")).unwrap();
    symlink(&device, bed.root().join("paths/pci-1")).unwrap();
    std::fs::write(reported(&bed, &device).join("wwid"), "eui.1\n").unwrap();
    for (device, address) in [(&device, "3:0:0:7"), (&other, "3:0:7:1")] {
        let scsi = bed.root().join("scsi").join(address);
        std::fs::create_dir_all(&scsi).unwrap();
        symlink(scsi, reported(&bed, device).join("device")).unwrap();
    }
    for wanted in [
        by_id("virtio-s1"),
        DeviceMatch::ByPath("pci-1".into()),
        DeviceMatch::Wwn("eui.1".into()),
        DeviceMatch::Lun(7),
    ] {
        assert_eq!(look(&bed, vec![wanted]).unwrap().as_ref(), Some(&device));
    }
    for wanted in [
        by_id("virtio-s3"),
        DeviceMatch::ByPath("virtio-s1".into()),
        DeviceMatch::Wwn("eui.2".into()),
        DeviceMatch::Lun(0),
    ] {
        assert_kind(look(&bed, vec![wanted]), ErrorKind::Unavailable, "no device");
    }
    assert_kind(
        look(&bed, vec![by_id("virtio-s1"), DeviceMatch::Lun(1)]),
        ErrorKind::FailedPrecondition,
        "all claim",
    );
}

#[test]
fn two_devices_that_claim_one_serial_are_both_refused() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 8);
    let other = bed.disk("s2", 8);
    bed.give_serial(&other, "s1");
    assert_kind(bed.run(vec![find("s1")], "d"), ErrorKind::FailedPrecondition, "all claim");
    std::fs::write(reported(&bed, &other).join("hidden"), "1\n").unwrap();
    assert!(
        bed.run(vec![find("s1")], "d").is_ok(),
        "one path of a multipath disk is no second disk"
    );
}

#[test]
fn two_links_that_lead_to_different_devices_are_refused() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 8);
    bed.disk("s2", 8);
    assert_kind(
        look(&bed, vec![by_id("virtio-s1"), by_id("virtio-s2")]),
        ErrorKind::FailedPrecondition,
        "all claim",
    );
}

#[test]
fn links_to_anything_but_a_block_device_are_refused() {
    let Some(bed) = Bed::new() else { return };
    for target in ["/dev/null", "/etc/passwd", "/dev", "/dev/pts"] {
        let link = bed.root().join("links/virtio-s1");
        symlink(target, &link).unwrap();
        assert_kind(
            look(&bed, vec![by_id("virtio-s1")]),
            ErrorKind::FailedPrecondition,
            "not a block device",
        );
        std::fs::remove_file(link).unwrap();
    }
    symlink("/dev/does-not-exist", bed.root().join("links/virtio-s1")).unwrap();
    assert_kind(look(&bed, vec![by_id("virtio-s1")]), ErrorKind::Unavailable, "no device");
}

#[test]
fn a_link_name_is_never_a_path_and_something_must_be_looked_for() {
    let Some(bed) = Bed::new() else { return };
    for matches in [
        vec![],
        vec![serial("")],
        vec![serial(" ")],
        vec![DeviceMatch::Wwn(String::new())],
        vec![serial("s"), by_id("../loop0")],
        vec![serial("s"), by_id("/dev/vda")],
        vec![serial("s"), DeviceMatch::ByPath("..".into())],
        vec![serial("s"), by_id("")],
        vec![DeviceMatch::Lun(1); 17],
        vec![serial(&"s".repeat(257))],
    ] {
        assert_kind(look(&bed, matches), ErrorKind::InvalidArgument, "");
    }
}

#[test]
fn a_device_that_comes_later_is_waited_for() {
    let Some(mut bed) = Bed::new() else { return };
    bed.options.device_wait = Duration::from_secs(60);
    let device = bed.disk("s1", 8);
    let (here, away) = (reported(&bed, &device), bed.root().join("away"));
    std::fs::rename(&here, &away).unwrap();
    let (node, policy) = (bed.node(), bed.policy());
    let plan = Plan { steps: vec![find("s1")], summary: String::new() };
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| node.find_device(&forever(), &plan, &policy));
        std::fs::rename(&away, &here).unwrap();
        assert_eq!(waiter.join().unwrap().unwrap(), device);
    });
}

#[test]
fn waiting_ends_with_the_call() {
    let Some(mut bed) = Bed::new() else { return };
    bed.options.device_wait = Duration::from_secs(3600);
    let plan = Plan { steps: vec![find("s1")], summary: String::new() };
    let error =
        bed.node().find_device(&Call::until(Duration::ZERO), &plan, &bed.policy()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    let call = forever();
    call.cancel();
    assert_eq!(
        bed.node().find_device(&call, &plan, &bed.policy()).unwrap_err().kind,
        ErrorKind::Aborted
    );
}

#[test]
fn a_device_that_is_too_small_is_not_used() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 8);
    assert!(bed.run(vec![find_sized("s1", 8 << 20)], "d").is_ok());
    assert_kind(bed.run(vec![find_sized("s1", (8 << 20) + 1)], "d"), ErrorKind::Aborted, "8388609");
}

#[test]
fn a_plan_that_looks_for_no_device_has_none() {
    let Some(bed) = Bed::new() else { return };
    let plan = Plan { steps: vec![], summary: String::new() };
    assert_eq!(
        bed.node().find_device(&forever(), &plan, &bed.policy()).unwrap_err().kind,
        ErrorKind::Unsupported
    );
}

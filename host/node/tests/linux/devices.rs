//! Finding devices, and never guessing one.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use wharf_core::ErrorKind;
use wharf_core::plan::{FindDevice, Plan, Step};
use wharf_core::ports::{Call, Node};

use crate::bed::{Bed, assert_kind, find, find_sized, forever};

/// A bed whose sysfs is a folder, so that loop devices can have serials.
fn with_sysfs() -> Option<Bed> {
    let mut bed = Bed::new()?;
    bed.options.sysfs = bed.root().join("sys");
    std::fs::create_dir_all(bed.options.sysfs.join("block")).unwrap();
    Some(bed)
}

fn set_serial(bed: &Bed, device: &Path, file: &str, serial: &str) {
    let path = bed.options.sysfs.join("block").join(device.file_name().unwrap()).join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, serial).unwrap();
}

fn unlink(bed: &Bed, serial: &str) {
    std::fs::remove_file(bed.root().join("links").join(format!("virtio-{serial}"))).unwrap();
}

#[test]
fn a_device_without_a_link_is_found_by_exactly_its_serial() {
    let Some(bed) = with_sysfs() else { return };
    for (serial, file) in [("s1", "serial"), ("s2", "device/serial")] {
        let device = bed.disk(serial, 8);
        unlink(&bed, serial);
        set_serial(&bed, &device, file, &format!("{serial}      \n"));
        assert_eq!(bed.run(vec![find(serial)], "d").unwrap(), Some(device));
    }
    for wrong in ["s", "s11", "S1", " s1"] {
        assert_kind(bed.run(vec![find(wrong)], "d"), ErrorKind::Unavailable, "no device");
    }
}

#[test]
fn a_link_to_a_device_with_another_serial_is_not_followed() {
    let Some(bed) = with_sysfs() else { return };
    let device = bed.disk("s1", 8);
    set_serial(&bed, &device, "serial", "s9");
    assert_kind(bed.run(vec![find("s1")], "d"), ErrorKind::Unavailable, "out of date");
    let right = bed.disk("s2", 8);
    unlink(&bed, "s2");
    set_serial(&bed, &right, "serial", "s1");
    assert_eq!(bed.run(vec![find("s1")], "d").unwrap(), Some(right));
}

#[test]
fn two_devices_that_claim_one_serial_are_both_refused() {
    let Some(bed) = with_sysfs() else { return };
    for name in ["s1", "s2"] {
        let device = bed.disk(name, 8);
        set_serial(&bed, &device, "serial", "s1");
    }
    assert_kind(bed.run(vec![find("s1")], "d"), ErrorKind::FailedPrecondition, "all claim");
    let hidden = bed
        .options
        .sysfs
        .join("block")
        .join(bed.root().join("links/virtio-s2").read_link().unwrap().file_name().unwrap())
        .join("hidden");
    std::fs::write(hidden, "1\n").unwrap();
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
    let both = FindDevice {
        serial: "s1".into(),
        links: vec!["virtio-s1".into(), "virtio-s2".into()],
        minimum_bytes: 0,
    };
    assert_kind(
        bed.run(vec![Step::FindDevice(both)], "d"),
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
            bed.run(vec![find("s1")], "d"),
            ErrorKind::FailedPrecondition,
            "not a block device",
        );
        std::fs::remove_file(link).unwrap();
    }
    symlink("/dev/does-not-exist", bed.root().join("links/virtio-s1")).unwrap();
    assert_kind(bed.run(vec![find("s1")], "d"), ErrorKind::Unavailable, "no device");
}

#[test]
fn a_link_name_is_never_a_path_and_something_must_be_looked_for() {
    let Some(bed) = Bed::new() else { return };
    let look = |serial: &str, links: &[&str]| {
        let wanted = FindDevice {
            serial: serial.into(),
            links: links.iter().map(|link| (*link).to_owned()).collect(),
            minimum_bytes: 0,
        };
        bed.run(vec![Step::FindDevice(wanted)], "d")
    };
    for (serial, links) in [
        ("", &[][..]),
        (" ", &[]),
        ("s", &["../loop0"]),
        ("s", &["/dev/vda"]),
        ("s", &[".."]),
        ("s", &[""]),
    ] {
        assert_kind(look(serial, links), ErrorKind::InvalidArgument, "");
    }
}

#[test]
fn a_device_that_comes_later_is_waited_for() {
    let Some(mut bed) = Bed::new() else { return };
    bed.options.device_wait = Duration::from_secs(60);
    let device = bed.disk("s1", 8);
    let (link, away) = (bed.root().join("links/virtio-s1"), bed.root().join("away"));
    std::fs::rename(&link, &away).unwrap();
    let (node, policy) = (bed.node(), bed.policy());
    let plan = Plan { steps: vec![find("s1")], summary: String::new() };
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| node.find_device(&forever(), &plan, &policy));
        std::fs::rename(&away, &link).unwrap();
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

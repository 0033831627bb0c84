//! The life of disks over HTTP, with real loop devices. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

mod client;
mod requirement;

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use client::{Client, eventually};
use wharf_cloudsim::{Delays, Region, RegionDescription, RegionOptions};

fn region(directory: &Path) -> Region {
    Region::start(RegionOptions::new(directory)).unwrap()
}

fn instance(region: &Region, n: usize) -> String {
    region.description().instances[n].id.clone()
}

fn link(region: &Region, n: usize, disk: &str) -> PathBuf {
    region.description().instances[n]
        .by_id
        .join(format!("virtio-{}", disk.trim_start_matches("d-")))
}

fn backing(device: &Path) -> Option<String> {
    let name = device.file_name().unwrap();
    fs::read_to_string(Path::new("/sys/block").join(name).join("loop/backing_file"))
        .ok()
        .map(|text| text.trim().to_owned())
}

fn attach(client: &Client, instance: &str, disk: &str) {
    client.ok("AttachDisk", &[("InstanceId", instance), ("DiskId", disk)]);
    client.wait(disk, "In_use");
}

fn detach(client: &Client, instance: &str, disk: &str) {
    client.ok("DetachDisk", &[("InstanceId", instance), ("DiskId", disk)]);
    client.wait(disk, "Available");
}

/// Every device goes, if not at once: another program on this machine may be looking at all block
/// devices just now.
fn assert_no_loops(directory: &Path) {
    eventually(|| (loops_below(directory) == 0).then_some(()), "no loop device is left");
}

/// Loop devices that show a file below this directory.
fn loops_below(directory: &Path) -> usize {
    let directory = directory.canonicalize().unwrap();
    let devices = fs::read_dir("/sys/block")
        .unwrap()
        .flatten()
        .map(|entry| Path::new("/dev").join(entry.file_name()));
    devices
        .filter_map(|device| backing(&device))
        .filter(|file| Path::new(file).starts_with(&directory))
        .count()
}

#[test]
fn a_disk_moves_between_instances_with_its_bytes() {
    if !requirement::loop_devices("a_disk_moves_between_instances_with_its_bytes") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let region = region(directory.path());
    let client = Client::ecs(&region);
    let disk = client.new_disk("20");
    assert_eq!(
        client.error("DetachDisk", &[("InstanceId", &instance(&region, 0)), ("DiskId", &disk)]),
        (403, "IncorrectDiskStatus".into())
    );

    attach(&client, &instance(&region, 0), &disk);
    let here = link(&region, 0, &disk);
    let device = eventually(|| fs::read_link(&here).ok(), "the link");
    assert_eq!(
        fs::read_to_string(format!(
            "/sys/block/{}/size",
            device.file_name().unwrap().to_str().unwrap()
        ))
        .unwrap()
        .trim(),
        "41943040"
    );
    assert!(!link(&region, 1, &disk).exists(), "the other instance does not see it");
    File::options().write(true).open(&device).unwrap().write_all(b"wharf").unwrap();
    let shown = client.disk(&disk);
    assert_eq!(shown["InstanceId"], instance(&region, 0));
    assert_eq!(shown["Attachments"]["Attachment"][0]["InstanceId"], instance(&region, 0));
    assert_eq!(shown["SerialNumber"], disk.trim_start_matches("d-"));
    let elsewhere = [("InstanceId", instance(&region, 1)), ("DiskId", disk.clone())];
    let elsewhere = elsewhere.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(client.error("AttachDisk", &elsewhere), (403, "IncorrectDiskStatus".into()));
    assert_eq!(client.error("DetachDisk", &elsewhere), (403, "DependencyViolation".into()));
    assert_eq!(
        client.error("DeleteDisk", &[("DiskId", &disk)]),
        (403, "IncorrectDiskStatus".into())
    );

    detach(&client, &instance(&region, 0), &disk);
    assert!(!here.exists());
    assert_no_loops(directory.path());
    attach(&client, &instance(&region, 1), &disk);
    let device = eventually(|| fs::read_link(link(&region, 1, &disk)).ok(), "the link");
    let mut bytes = [0; 5];
    File::open(&device).unwrap().read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"wharf");

    client.ok("ResizeDisk", &[("DiskId", &disk), ("NewSize", "30"), ("Type", "online")]);
    assert_eq!(File::open(&device).unwrap().seek(SeekFrom::End(0)).unwrap(), 30 << 30);
    assert_eq!(
        client.error("ResizeDisk", &[("DiskId", &disk), ("NewSize", "30")]),
        (403, "InvalidDiskSize.TooSmall".into())
    );

    detach(&client, &instance(&region, 1), &disk);
    client.ok("DeleteDisk", &[("DiskId", &disk)]);
    assert_eq!(
        client.error("DeleteDisk", &[("DiskId", &disk)]),
        (404, "InvalidDiskId.NotFound".into())
    );
    assert!(region.disks().is_empty());
    assert_eq!(fs::read_dir(directory.path().join("disks")).unwrap().count(), 0);
}

/// Not a test of its own: what `a_killed_region_goes_on` runs in a process that it can kill.
#[test]
fn a_region_to_be_killed() {
    let Some(directory) = std::env::var_os("WHARF_REGION_TO_KILL") else { return };
    let _region = region(Path::new(&directory));
    loop {
        std::thread::park();
    }
}

#[test]
fn a_killed_region_goes_on() {
    if !requirement::loop_devices("a_killed_region_goes_on") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "a_region_to_be_killed"])
        .env("WHARF_REGION_TO_KILL", directory.path());
    let mut process = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    let read = || {
        serde_json::from_slice::<RegionDescription>(
            &fs::read(directory.path().join("region.json")).ok()?,
        )
        .ok()
    };
    let first = eventually(read, "region.json");
    let client = Client::with(&first.endpoints.ecs, "2014-05-26", &first.admin);
    let (disk, other) = (client.new_disk("20"), client.new_disk("20"));
    attach(&client, &first.instances[0].id, &disk);
    let here = first.instances[0].by_id.join(format!("virtio-{}", disk.trim_start_matches("d-")));
    let device = eventually(|| fs::read_link(&here).ok(), "the link");
    File::options().write(true).open(&device).unwrap().write_all(b"wharf").unwrap();
    let written = || {
        fs::read_to_string(directory.path().join("state.json"))
            .ok()
            .filter(|state| state.contains(r#""visible_at":null"#))
    };
    eventually(written, "the state says that the node sees the disk");
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(loops_below(directory.path()), 1, "nobody freed it");
    fs::write(directory.path().join("disks/d-begun.img"), "").unwrap();
    // As if it had been killed between growing the image and telling the device.
    File::options()
        .write(true)
        .open(directory.path().join(format!("disks/{disk}.img")))
        .unwrap()
        .set_len(30 << 30)
        .unwrap();

    let second =
        Region::start(RegionOptions { instances: 3, ..RegionOptions::new(directory.path()) })
            .unwrap();
    assert_eq!(second.description().instances.len(), 3);
    assert_eq!(second.description().admin, first.admin);
    assert_eq!(second.description().instances[..2], first.instances, "keys and ports are the same");
    assert_eq!(fs::read_link(&here).unwrap(), device);
    assert_eq!(loops_below(directory.path()), 1, "no second device for the same disk");
    assert_eq!(File::open(&device).unwrap().seek(SeekFrom::End(0)).unwrap(), 30 << 30);
    assert!(!directory.path().join("disks/d-begun.img").exists());
    let client = Client::ecs(&second);
    assert_eq!(
        (client.disk(&disk)["Status"].clone(), client.disk(&other)["Status"].clone()),
        ("In_use".into(), "Available".into())
    );

    second.stop().unwrap();
    assert_no_loops(directory.path());
    assert!(!here.exists());
    let third = region(directory.path());
    assert_eq!(loops_below(directory.path()), 1, "what was attached is attached again");
    let mut bytes = [0; 5];
    File::open(fs::read_link(&here).unwrap()).unwrap().read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"wharf");
    drop(third);
    assert_no_loops(directory.path());
}

#[test]
fn a_disk_detached_while_mounted_goes_after_the_last_user() {
    if !requirement::loop_devices("a_disk_detached_while_mounted_goes_after_the_last_user") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let region = region(directory.path());
    let client = Client::ecs(&region);
    let disk = client.new_disk("20");
    attach(&client, &instance(&region, 0), &disk);
    let device = eventually(|| fs::read_link(link(&region, 0, &disk)).ok(), "the link");
    let user = File::open(&device).unwrap();
    detach(&client, &instance(&region, 0), &disk);
    assert_eq!(region.disks()[0].detached_while_mounted, [instance(&region, 0)]);
    assert_eq!(loops_below(directory.path()), 1);

    attach(&client, &instance(&region, 1), &disk);
    let again = eventually(|| fs::read_link(link(&region, 1, &disk)).ok(), "the link");
    assert_eq!(again, device, "one disk is one block device, even then");
    drop(user);
    assert_eq!(loops_below(directory.path()), 1, "it stays, for it is attached");
    detach(&client, &instance(&region, 1), &disk);
    assert_no_loops(directory.path());
}

#[test]
fn a_multi_attach_disk_has_many_instances_and_one_device() {
    if !requirement::loop_devices("a_multi_attach_disk_has_many_instances_and_one_device") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let region = region(directory.path());
    let client = Client::ecs(&region);
    let asked = [
        ("ZoneId", "cn-wharf-1a"),
        ("Size", "20"),
        ("DiskCategory", "cloud_essd"),
        ("MultiAttach", "Enabled"),
    ];
    let disk = client.ok("CreateDisk", &asked)["DiskId"].as_str().unwrap().to_owned();
    client.wait(&disk, "Available");
    attach(&client, &instance(&region, 0), &disk);
    attach(&client, &instance(&region, 1), &disk);
    let devices =
        [0, 1].map(|n| eventually(|| fs::read_link(link(&region, n, &disk)).ok(), "the link"));
    assert_eq!(devices[0], devices[1]);
    assert_eq!(client.disk(&disk)["Attachments"]["Attachment"].as_array().unwrap().len(), 2);
    client.ok("DetachDisk", &[("InstanceId", &instance(&region, 0)), ("DiskId", &disk)]);
    eventually(|| (!link(&region, 0, &disk).exists()).then_some(()), "the first link goes");
    assert!(link(&region, 1, &disk).exists());
    assert_eq!(client.disk(&disk)["Status"], "In_use");
}

#[test]
fn a_snapshot_has_the_bytes_of_its_moment() {
    if !requirement::loop_devices("a_snapshot_has_the_bytes_of_its_moment") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let region = region(directory.path());
    region.set_delays(Delays::none());
    let client = Client::ecs(&region);
    let disk = client.new_disk("20");
    attach(&client, &instance(&region, 0), &disk);
    let device = fs::read_link(link(&region, 0, &disk)).unwrap();
    let write = |bytes: &[u8]| {
        let mut file = File::options().write(true).open(&device).unwrap();
        file.seek(SeekFrom::Start(10 << 30)).unwrap();
        file.write_all(bytes).unwrap();
        file.sync_all().unwrap();
    };
    write(b"before");
    let snapshot = client.ok("CreateSnapshot", &[("DiskId", &disk)])["SnapshotId"]
        .as_str()
        .unwrap()
        .to_owned();
    write(b"after!");
    let shown = client.ok("DescribeSnapshots", &[("SnapshotIds", &format!("[\"{snapshot}\"]"))])
        ["Snapshots"]["Snapshot"][0]
        .clone();
    assert_eq!(
        (shown["Status"].as_str(), shown["SourceDiskId"].as_str()),
        (Some("accomplished"), Some(disk.as_str()))
    );

    let asked = [
        ("ZoneId", "cn-wharf-1a"),
        ("Size", "25"),
        ("DiskCategory", "cloud_essd"),
        ("SnapshotId", &snapshot),
    ];
    let copy = client.ok("CreateDisk", &asked)["DiskId"].as_str().unwrap().to_owned();
    attach(&client, &instance(&region, 1), &copy);
    let mut file = File::open(fs::read_link(link(&region, 1, &copy)).unwrap()).unwrap();
    let mut bytes = [0; 6];
    file.seek(SeekFrom::Start(10 << 30)).unwrap();
    file.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"before");
    assert_eq!(file.seek(SeekFrom::End(0)).unwrap(), 25 << 30);

    client.ok("DeleteSnapshot", &[("SnapshotId", &snapshot), ("Force", "true")]);
    assert_eq!(
        client.error("DeleteSnapshot", &[("SnapshotId", &snapshot)]),
        (404, "InvalidSnapshotId.NotFound".into())
    );
}

#[test]
fn many_disks_come_and_go_at_once() {
    if !requirement::loop_devices("many_disks_come_and_go_at_once") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let region = region(directory.path());
    std::thread::scope(|scope| {
        for n in 0..8 {
            let region = &region;
            scope.spawn(move || {
                let client = Client::ecs(region);
                for _ in 0..3 {
                    let disk = client.new_disk("20");
                    attach(&client, &instance(region, n % 2), &disk);
                    eventually(|| fs::read_link(link(region, n % 2, &disk)).ok(), "the link");
                    detach(&client, &instance(region, n % 2), &disk);
                    client.ok("DeleteDisk", &[("DiskId", &disk)]);
                }
            });
        }
    });
    assert!(region.disks().is_empty());
    assert_no_loops(directory.path());
}

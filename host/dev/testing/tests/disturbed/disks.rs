//! A disk's life over CSI: two servers, one of the controller and one of the node. As XFS, which
//! every machine may grow while it is mounted, and as a raw device.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use wharf_testing::bed::{Bed, BedOptions, CSI_DRIVER};
use wharf_testing::player::VolumeClass;

use super::claim::{Claim, ClaimLife, GIB};
use super::life::install_next;
use super::pod::{CONTENT, Found, use_volume};

/// With a file system, or as a raw device.
pub struct Disk<const RAW: bool>;

impl<const RAW: bool> Claim for Disk<RAW> {
    const DRIVER: &'static str = CSI_DRIVER;
    const VERBS: &'static [&'static str] = &[
        "create",
        "attach",
        "stage",
        "publish",
        "expand controller",
        "expand node",
        "modify",
        "publish to read",
        "unpublish to read",
        "unpublish",
        "unstage",
        "detach",
        "attach elsewhere",
        "stage elsewhere",
        "publish elsewhere",
        "unpublish elsewhere",
        "unstage elsewhere",
        "detach elsewhere",
        "delete",
    ];

    const ATTRIBUTES: &'static [(&'static str, &'static str)] =
        &[("provisionedIops", "100"), ("burstingEnabled", "true"), ("diskTags/team", "a")];

    fn bed() -> BedOptions {
        BedOptions::default()
    }

    fn prepare(bed: &Bed) {
        install_next(bed);
        bed.serve().unwrap();
    }

    /// What is sold out is asked for first, which takes a size that it has.
    fn class(bed: &Bed) -> (VolumeClass, u64) {
        let sold_out = bed.options().shortages.iter().map(|shortage| shortage.category.as_str());
        let types: Vec<&str> = sold_out.chain(["cloud_auto"]).collect();
        let bytes = if types.len() > 1 { 20 * GIB } else { GIB };
        let types = types.join(",");
        let parameters = [("type", types.as_str())];
        let class = if RAW {
            VolumeClass::raw(&parameters)
        } else {
            VolumeClass::file_system("xfs", &parameters)
        };
        (class, bytes)
    }

    fn use_target(target: &Path, found: Found) {
        if RAW {
            use_device(target, found);
        } else {
            use_volume(&target.join("data"), found);
        }
    }

    fn names(life: &ClaimLife<'_, Self>) -> Vec<(String, String)> {
        let Some(volume) = &life.volume else { return Vec::new() };
        let serial = volume.handle.trim_start_matches("d-").to_owned();
        let own = [(volume.handle.clone(), "DISK".to_owned()), (serial, "SERIAL".to_owned())];
        life.digest().filter(|_| !RAW).into_iter().chain(own).collect()
    }
}

fn use_device(target: &Path, found: Found) {
    assert!(
        std::fs::metadata(target).unwrap().file_type().is_block_device(),
        "{} is no device",
        target.display()
    );
    if found != Found::Empty {
        let mut content = [0; CONTENT.len()];
        File::open(target).unwrap().read_exact(&mut content).unwrap();
        assert_eq!(content, CONTENT.as_bytes());
    }
    // Whether a pod may write to a device node is up to its container; the mount is compared like
    // everything else.
    if found != Found::ReadOnly {
        let mut device = File::options().write(true).open(target).unwrap();
        device.write_all(CONTENT.as_bytes()).unwrap();
        device.sync_all().unwrap();
    }
}

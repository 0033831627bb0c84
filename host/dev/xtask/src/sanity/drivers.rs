//! What csi-sanity checks of each driver: one row each.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wharf_cloudsim::Region;
use wharf_testing::bed::CSI_DRIVER;

use super::skips::{self, AllowedSkip};

/// How volumes are used in a run.
pub struct Run {
    /// `mount` or `block`.
    pub access: &'static str,
    /// Fills a node with volumes up to its limit and tries one more: a minute.
    pub fills_a_node: bool,
}

/// A driver, and how it is checked.
pub struct Driver {
    /// Its name, which is its socket's directory too.
    pub name: &'static str,
    /// What its volumes are.
    pub volumes: &'static str,
    /// Runs in an untroubled cloud. One more with mounted volumes follows, in a troubled one.
    pub runs: &'static [Run],
    /// Checks that need not run.
    pub skips: &'static [AllowedSkip],
    /// Writes what csi-sanity reads into a directory; answers its arguments. Without a region where
    /// the driver runs already.
    pub arguments: fn(Option<&Region>, &Path) -> Result<Vec<String>>,
    /// Volumes that are left in the region, each in words.
    pub left: fn(&Region) -> Vec<String>,
    /// Whether it is checked in a machine with NFS (`shares`).
    pub is_of_nfs: bool,
}

/// All of them.
pub const DRIVERS: &[Driver] = &[DISK, OSS, NAS];

/// Disks. In both ways, because these share little on a node; what fills a node is the
/// controller's, the same for both.
pub const DISK: Driver = Driver {
    name: CSI_DRIVER,
    volumes: "disks",
    runs: &[
        Run { access: "mount", fills_a_node: true },
        Run { access: "block", fills_a_node: false },
    ],
    skips: skips::DISK,
    arguments: disk_arguments,
    left: |region| {
        let say = |disk: wharf_cloudsim::DiskSummary| {
            format!("disk {} ({}) is left in the region", disk.id, disk.name)
        };
        region.disks().into_iter().map(say).collect()
    },
    is_of_nfs: false,
};

/// Buckets of the volumes' own, mounted by `s3fs`.
pub const OSS: Driver = Driver {
    name: "ossplugin.csi.alibabacloud.com",
    volumes: "buckets",
    runs: &[Run { access: "mount", fills_a_node: false }],
    skips: skips::OSS,
    arguments: oss_arguments,
    left: |region| {
        let say = |bucket: wharf_cloudsim::BucketSummary| {
            format!("bucket {} is left in the region", bucket.name)
        };
        region.buckets().into_iter().map(say).collect()
    },
    is_of_nfs: false,
};

/// Directories of a file system, each with a quota.
pub const NAS: Driver = Driver {
    name: "nasplugin.csi.alibabacloud.com",
    volumes: "shares",
    runs: &[Run { access: "mount", fills_a_node: false }],
    skips: skips::NAS,
    arguments: nas_arguments,
    left: shares_left,
    is_of_nfs: true,
};

/// The directory of the first file system in which shares are made.
pub const SHARES: &str = "k8s";

/// The smallest disk that every category of the cloud has is 20 GiB; csi-sanity's default is half
/// of that.
const DISK_BYTES: u64 = 20 << 30;
const EXPANDED_DISK_BYTES: u64 = 25 << 30;

fn disk_arguments(_: Option<&Region>, directory: &Path) -> Result<Vec<String>> {
    // A VolumeAttributesClass: another category than the one that disks get by default.
    let mutable = json!({ "type": "cloud_essd", "performanceLevel": "PL1" });
    Ok(vec![
        format!("--csi.testvolumesize={DISK_BYTES}"),
        format!("--csi.testvolumeexpandsize={EXPANDED_DISK_BYTES}"),
        file("testvolumemutableparameters", directory, &mutable)?,
    ])
}

fn oss_arguments(region: Option<&Region>, directory: &Path) -> Result<Vec<String>> {
    let region = region.context("buckets are checked in a region of their own")?.description();
    let class = json!({
        "volumeAs": "bucket",
        "bucketPrefix": "sanity-",
        "url": region.endpoints.oss,
        "fuseType": "s3fs",
        "otherOpts": "-o use_path_request_style -o stat_cache_expire=0",
    });
    let keys = json!({
        "akId": region.admin.access_key_id,
        "akSecret": region.admin.access_key_secret,
    });
    let secrets = json!({ "NodeStageVolumeSecret": keys, "NodePublishVolumeSecret": keys });
    Ok(vec![
        file("testvolumeparameters", directory, &class)?,
        file("secrets", directory, &secrets)?,
    ])
}

fn nas_arguments(region: Option<&Region>, directory: &Path) -> Result<Vec<String>> {
    let region = region.context("shares are checked in a region of their own")?;
    let system = region.file_systems().into_iter().next().context("there is no file system")?;
    let server = system.mount_targets.first().context("it has no mount target")?;
    let class = json!({
        "server": format!("{server}:/{SHARES}"),
        "volumeCapacity": "true",
        "archiveOnDelete": "false",
        "mode": "770",
    });
    Ok(vec![file("testvolumeparameters", directory, &class)?])
}

fn shares_left(region: &Region) -> Vec<String> {
    let mut left = Vec::new();
    for system in region.file_systems() {
        left.extend(system.quotas.keys().map(|path| format!("the quota of {path} is left")));
        let entries = fs::read_dir(system.directory.join(SHARES)).into_iter().flatten().flatten();
        left.extend(entries.map(|entry| format!("{} is left", entry.path().display())));
    }
    left
}

/// Writes a file that csi-sanity reads (JSON is YAML too), and answers the argument that names it.
fn file(argument: &str, directory: &Path, content: &Value) -> Result<String> {
    let path = directory.join(format!("csi-sanity-{argument}.json"));
    let write = || {
        let mut options = fs::OpenOptions::new();
        let open = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        serde_json::to_writer(open, content).map_err(std::io::Error::from)
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(format!("--csi.{argument}={}", path.display()))
}

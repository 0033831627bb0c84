//! An image, tried: its layers are unpacked, and every program in it is run in what they make up,
//! with nothing else of this machine but the kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use oci_spec::image::{ImageIndex, ImageManifest};

use crate::command;

/// In a mount namespace of its own, so that nothing stays mounted.
const SCRIPT: &str = r#"
set -eu
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/run"
mount --rbind /dev "$1/dev"
exec chroot "$@"
"#;

/// Bytes of a disk that every file system here is content with.
const DISK_BYTES: u64 = 320 << 20;
/// A disk that grew.
const GROWN_BYTES: u64 = 400 << 20;

/// Unpacks the layers of a layout, as a container runtime does.
pub fn unpack(layout: &Path, root: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(root);
    fs::create_dir_all(root)?;
    let index = ImageIndex::from_file(layout.join("index.json"))?;
    let only = index.manifests().first().context("an index without an image")?;
    let manifest = ImageManifest::from_file(blob(layout, only.digest().as_ref())?)?;
    for layer in manifest.layers() {
        let file = fs::File::open(blob(layout, layer.digest().as_ref())?)?;
        tar::Archive::new(GzDecoder::new(file)).unpack(root)?;
    }
    Ok(())
}

fn blob(layout: &Path, digest: &str) -> Result<PathBuf> {
    let (_, name) = digest.split_once(':').context("a digest without a colon")?;
    Ok(layout.join("blobs/sha256").join(name))
}

/// Runs everything that is in it. Needs root.
pub fn run(root: &Path, has_helper: bool) -> Result<()> {
    let wharf = |arguments: &[&str]| inside(root, &[&["/usr/bin/wharf"], arguments].concat());
    ensure!(wharf(&["--version"])?.starts_with("wharf "), "it does not say what it is");
    fs::create_dir_all(root.join("etc/wharf"))?;
    fs::write(root.join("etc/wharf/wharf.toml"), "")?;
    let provided = wharf(&["provide", "/usr/share/wharf/components"])?;
    ensure!(provided.lines().count() == super::COMPONENTS.len(), "provided: {provided}");
    ensure!(provided.lines().all(|line| line.ends_with("is active now")), "provided: {provided}");
    let again = wharf(&["provide", "/usr/share/wharf/components"])?;
    ensure!(again.lines().all(|line| line.ends_with("is active")), "provided again: {again}");
    let listed = wharf(&["backend", "list"])?;
    ensure!(listed.contains("disk") && listed.contains("oss"), "listed: {listed}");
    for family in ["ext3", "ext4", "xfs"] {
        file_system(root, family).with_context(|| format!("the programs of {family}"))?;
    }
    inside(root, &["/usr/sbin/xfs_growfs", "-V"])?;
    if has_helper {
        let said = inside(root, &["/usr/bin/s3fs", "--version"])?;
        ensure!(said.contains("Amazon Simple Storage Service"), "s3fs says: {said}");
    }
    Ok(())
}

/// Made, recognised and grown as the host does it.
fn file_system(root: &Path, family: &str) -> Result<()> {
    let disk = format!("/tmp/{family}");
    let file = fs::File::create(root.join(disk.trim_start_matches('/')))?;
    file.set_len(DISK_BYTES)?;
    inside(root, &[&format!("/usr/sbin/mkfs.{family}"), "-q", &disk])?;
    let found = inside(root, &["/usr/sbin/blkid", "-p", "-o", "export", &disk])?;
    ensure!(found.lines().any(|line| line == format!("TYPE={family}")), "blkid says: {found}");
    if family != "xfs" {
        file.set_len(GROWN_BYTES)?;
        inside(root, &["/usr/sbin/e2fsck", "-f", "-p", &disk])?;
        inside(root, &["/usr/sbin/resize2fs", &disk])?;
        let grown = inside(root, &["/usr/sbin/blkid", "-p", "-o", "value", "-s", "FSSIZE", &disk])?;
        ensure!(grown.trim().is_empty() || grown.trim().parse::<u64>()? > DISK_BYTES, "{grown}");
    }
    fs::remove_file(root.join(disk.trim_start_matches('/')))?;
    Ok(())
}

fn inside(root: &Path, command_line: &[&str]) -> Result<String> {
    command::output(
        Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT, "sh"])
            .arg(root)
            .args(command_line)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    )
}

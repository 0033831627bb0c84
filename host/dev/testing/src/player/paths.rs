//! Where kubelet puts things.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::PlayError;

/// `<root>/plugins/kubernetes.io/csi/<driver>/<sha256(handle)>/globalmount`.
pub fn csi_staging(root: &Path, driver: &str, handle: &str) -> PathBuf {
    let digest = format!("{:x}", Sha256::digest(handle.as_bytes()));
    root.join("plugins/kubernetes.io/csi").join(driver).join(digest).join("globalmount")
}

/// `<root>/pods/<uid>/volumes/kubernetes.io~csi/<pv>/mount`.
pub fn csi_target(root: &Path, pod: &str, pv: &str) -> PathBuf {
    root.join("pods").join(pod).join("volumes/kubernetes.io~csi").join(pv).join("mount")
}

/// `<root>/plugins/kubernetes.io/csi/volumeDevices/staging/<pv>`.
pub fn csi_block_staging(root: &Path, pv: &str) -> PathBuf {
    root.join("plugins/kubernetes.io/csi/volumeDevices/staging").join(pv)
}

/// `<root>/plugins/kubernetes.io/csi/volumeDevices/publish/<pv>/<pod uid>`.
pub fn csi_block_target(root: &Path, pod: &str, pv: &str) -> PathBuf {
    root.join("plugins/kubernetes.io/csi/volumeDevices/publish").join(pv).join(pod)
}

/// `<root>/plugins/kubernetes.io/flexvolume/<vendor>/<driver>/mounts/<name>`; `driver` is
/// `vendor/driver`.
pub fn flex_global(root: &Path, driver: &str, name: &str) -> PathBuf {
    root.join("plugins/kubernetes.io/flexvolume").join(driver).join("mounts").join(name)
}

/// `<root>/pods/<uid>/volumes/<vendor~driver>/<name>`.
pub fn flex_pod(root: &Path, pod: &str, driver: &str, name: &str) -> PathBuf {
    root.join("pods").join(pod).join("volumes").join(driver.replace('/', "~")).join(name)
}

/// `os.MkdirAll(path, 0750)`.
pub(crate) fn make_directory(path: &Path) -> Result<(), PlayError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(path)
        .map_err(|error| PlayError::stage(format!("make {}", path.display()), error))
}

/// `os.Remove(path)`, where a missing path is fine.
pub(crate) fn remove(path: &Path) -> Result<(), PlayError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(PlayError::stage(format!("remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

/// kubelet's `IsLikelyNotMountPoint`, the other way round: another device than the parent's. Blind
/// to bind mounts of the same file system, and so is kubelet.
pub(crate) fn is_likely_mounted(path: &Path) -> bool {
    let device = |path: &Path| fs::symlink_metadata(path).map(|metadata| metadata.dev());
    match (device(path), path.parent().map(device)) {
        (Ok(own), Some(Ok(parent))) => own != parent,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_kubelets() {
        let root = Path::new("/k");
        let staging = csi_staging(root, "disk.csi", "d-1");
        assert!(
            staging.starts_with("/k/plugins/kubernetes.io/csi/disk.csi/")
                && staging.ends_with("globalmount")
        );
        assert_eq!(staging.components().count(), 8);
        assert_eq!(
            csi_target(root, "u", "pv"),
            Path::new("/k/pods/u/volumes/kubernetes.io~csi/pv/mount")
        );
        assert_eq!(
            flex_global(root, "acme/att", "pv1"),
            Path::new("/k/plugins/kubernetes.io/flexvolume/acme/att/mounts/pv1")
        );
        assert_eq!(
            flex_pod(root, "u", "acme/att", "pv1"),
            Path::new("/k/pods/u/volumes/acme~att/pv1")
        );
    }

    #[test]
    fn a_plain_directory_is_no_mount_point() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("a/b");
        make_directory(&inner).unwrap();
        assert!(!is_likely_mounted(&inner));
        assert!(is_likely_mounted(Path::new("/proc")));
        remove(&inner).unwrap();
        remove(&inner).unwrap();
        assert!(!inner.exists());
    }
}

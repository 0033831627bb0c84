//! Directories that kubelet names. Their shape is checked, so that no call-out ever unmounts or
//! covers anything that is not a volume of its own driver; links are the node's to refuse.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use wharf_core::Error;

use crate::driver_name::DriverName;
use crate::object_name::ObjectName;

/// `PATH_MAX`, less the final zero.
const MAX_PATH: usize = 4095;
/// `NAME_MAX` of every file system that kubelet's directory can be on.
const MAX_NAME: usize = 255;

/// Where kubelet mounts a volume once per node:
/// `<root>/plugins/kubernetes.io/flexvolume/<vendor>/<driver>/mounts/<name>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GlobalMountDir {
    pub(crate) path: PathBuf,
    pub(crate) name: ObjectName,
}

impl GlobalMountDir {
    pub(crate) fn parse(path: &OsStr, driver: &DriverName) -> Result<Self, Error> {
        let path = normal(path)?;
        let tail =
            ["mounts", driver.driver(), driver.vendor(), "flexvolume", "kubernetes.io", "plugins"];
        let name = name_above(&path, &tail.map(Some))
            .ok_or_else(|| foreign(driver, "the global mount directory of a volume"))?;
        Ok(Self { name: ObjectName::of_directory("name of the volume's directory", &name)?, path })
    }
}

/// Where one pod finds a volume: `<root>/pods/<uid>/volumes/<vendor>~<driver>/<name>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodVolumeDir {
    pub(crate) path: PathBuf,
    pub(crate) name: ObjectName,
    root: PathBuf,
}

impl PodVolumeDir {
    pub(crate) fn parse(path: &OsStr, driver: &DriverName) -> Result<Self, Error> {
        let path = normal(path)?;
        let directory = driver.directory();
        let name =
            name_above(&path, &[Some(directory.as_str()), Some("volumes"), None, Some("pods")])
                .ok_or_else(|| foreign(driver, "the volume directory of a pod"))?;
        let root = path.ancestors().nth(5).unwrap_or(Path::new("/")).to_owned();
        Ok(Self {
            name: ObjectName::of_directory("name of the volume's directory", &name)?,
            path,
            root,
        })
    }

    /// The uid of the pod.
    pub(crate) fn pod_uid(&self) -> String {
        let uid = self.path.iter().rev().nth(3).unwrap_or_default();
        uid.to_string_lossy().chars().filter(|c| !c.is_control()).collect()
    }

    /// The global mount directory of the same volume, under the same kubelet root.
    pub(crate) fn global(&self, driver: &DriverName) -> PathBuf {
        global(&self.root, driver, &self.name)
    }
}

/// The global mount directory of a volume under this kubelet root.
pub(crate) fn global(root: &Path, driver: &DriverName, name: &ObjectName) -> PathBuf {
    global_directory(root, driver).join(name.as_str())
}

/// Where the global mount directories of a driver's volumes are under this kubelet root.
pub(crate) fn global_directory(root: &Path, driver: &DriverName) -> PathBuf {
    let mut path = root.join("plugins/kubernetes.io/flexvolume");
    path.extend([driver.vendor(), driver.driver(), "mounts"]);
    path
}

/// A directory in which a volume is mounted, whichever it is: kubelet has named both to `expandfs`
/// over time.
pub(crate) fn parse_mounted(path: &OsStr, driver: &DriverName) -> Result<PathBuf, Error> {
    GlobalMountDir::parse(path, driver)
        .map(|dir| dir.path)
        .or_else(|_| PodVolumeDir::parse(path, driver).map(|dir| dir.path))
}

/// Whether anything can be at this path; where nothing can, there is nothing to take away.
pub(crate) fn can_exist(path: &Path) -> bool {
    path.as_os_str().len() <= MAX_PATH && path.iter().all(|part| part.len() <= MAX_NAME)
}

fn normal(path: &OsStr) -> Result<PathBuf, Error> {
    let path = Path::new(path);
    let is_plain = path.is_absolute()
        && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if is_plain {
        Ok(path.components().collect())
    } else {
        Err(Error::invalid("the directory is not an absolute path without `..`"))
    }
}

/// The last part of the path, when the parts before it, from the end, are these. `None` matches
/// any.
fn name_above(path: &Path, before: &[Option<&str>]) -> Option<std::ffi::OsString> {
    let mut parts = path.iter().rev();
    let name = parts.next()?;
    before
        .iter()
        .all(|expected| {
            parts.next().is_some_and(|part| expected.is_none_or(|expected| part == expected))
        })
        .then(|| name.to_owned())
}

fn foreign(driver: &DriverName, what: &str) -> Error {
    Error::invalid(format!("the directory is not {what} of {driver}"))
        .with_hint("kubelet names it; nothing else should execute the driver")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driver() -> DriverName {
        DriverName::parse("alicloud/disk").unwrap()
    }

    #[test]
    fn the_global_directory_is_found_from_the_pods_whatever_kubelets_root_is() {
        for root in ["/var/lib/kubelet", "/data/kubelet", "/"] {
            let pod = Path::new(root).join("pods/0a-1b/volumes/alicloud~disk/d-1");
            let pod = PodVolumeDir::parse(pod.as_os_str(), &driver()).unwrap();
            let global =
                Path::new(root).join("plugins/kubernetes.io/flexvolume/alicloud/disk/mounts/d-1");
            assert_eq!((pod.global(&driver()), pod.pod_uid().as_str()), (global.clone(), "0a-1b"));
            let parsed = GlobalMountDir::parse(global.as_os_str(), &driver()).unwrap();
            assert_eq!((parsed.path, parsed.name.as_str()), (global, "d-1"));
        }
    }

    #[test]
    fn directories_of_other_drivers_and_of_nobody_are_refused() {
        for path in [
            "/",
            "",
            "pods/u/volumes/alicloud~disk/d-1",
            "/r/pods/u/volumes/alicloud~nas/d-1",
            "/r/pods/u/volumes/alicloud~disk",
            "/r/pods/u/volumes/alicloud~disk/../alicloud~disk/d-1",
            "/r/plugins/kubernetes.io/flexvolume/alicloud/nas/mounts/d-1",
            "/r/plugins/kubernetes.io/flexvolume/alicloud/disk/mounts",
            "/r/pods/u/volumes/alicloud~disk/.hidden",
        ] {
            assert!(parse_mounted(OsStr::new(path), &driver()).is_err(), "{path}");
        }
    }

    #[test]
    fn superfluous_slashes_do_not_make_another_path() {
        let pod =
            PodVolumeDir::parse(OsStr::new("/r//pods/u/volumes/alicloud~disk/d-1/"), &driver())
                .unwrap();
        assert_eq!(pod.path, Path::new("/r/pods/u/volumes/alicloud~disk/d-1"));
        assert_eq!(pod.path.as_os_str(), "/r/pods/u/volumes/alicloud~disk/d-1");
    }
}

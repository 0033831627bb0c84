//! The FUSE connections of this machine, as the kernel lists them (`fusectl`): a directory for
//! each, named by the device number of its file system, there from the first mount of it until the
//! last one in any namespace is gone. The number is given out again then; the directory's inode and
//! the time at which it was made are not, so that the three distinguish a file system from every
//! other one that has or had its number. They stay what they are when the helper dies and when
//! another supervisor takes over, and reading them asks no helper.
//!
//! Rejected: holding a file of each file system open, which keeps its number too, but ends with
//! this process; and the mount's own id (`STATX_MNT_ID_UNIQUE`), which needs Linux 6.8 and is
//! another one for each mount point and after a container of the supervisor was replaced.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, CWD, FsWord, Mode, OFlags, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags};
use serde::{Deserialize, Serialize};
use wharf_core::Error;

use super::decide::DeviceNumber;

/// Where service managers mount the list.
const MOUNT_POINT: &str = "/sys/fs/fuse/connections";
/// `FUSE_CTL_SUPER_MAGIC`.
const MAGIC: FsWord = 0x6573_5543;

/// One file system that a helper serves or served, and no other one ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Connection {
    /// The file system's device.
    pub device: DeviceNumber,
    /// The inode of its directory in the list.
    pub inode: u64,
    /// When that was made: seconds and nanoseconds.
    pub made: (i64, u32),
}

/// The list.
#[derive(Debug)]
pub(crate) struct Connections {
    list: OnceLock<OwnedFd>,
    /// Where it is mounted, or can be, the best mount point first.
    mount_points: [PathBuf; 2],
}

impl Connections {
    /// The list of a supervisor whose directory this is. Opens nothing yet.
    pub fn of(run_directory: &Path) -> Self {
        Self {
            list: OnceLock::new(),
            mount_points: [MOUNT_POINT.into(), run_directory.join("connections")],
        }
    }

    /// Opens the list if it is not open yet. Whoever forks looks at the parent's from then on, in
    /// any mount namespace.
    ///
    /// # Errors
    /// `Internal` when the kernel has no FUSE, or this process may not mount.
    pub fn open(&self) -> Result<BorrowedFd<'_>, Error> {
        if let Some(list) = self.list.get() {
            return Ok(list.as_fd());
        }
        let list = open(&self.mount_points).map_err(|error| {
            Error::internal(format!("cannot see the kernel's list of FUSE connections: {error}"))
                .with_hint(
                    "the kernel needs FUSE (`modprobe fuse`), and this process CAP_SYS_ADMIN",
                )
        })?;
        Ok(self.list.get_or_init(|| list).as_fd())
    }

    /// Which file system has this number now; `None`: none that a helper serves.
    ///
    /// # Errors
    /// `Internal` when the list cannot be read.
    pub fn with_number(&self, device: DeviceNumber) -> Result<Option<Connection>, Error> {
        let list = self.open()?;
        // As the kernel numbers devices inside: eleven bits and twenty.
        let name = (device.0 << 20) | device.1;
        let wanted = StatxFlags::INO | StatxFlags::CTIME;
        match statx(list, name.to_string(), AtFlags::SYMLINK_NOFOLLOW, wanted) {
            Ok(found) => Ok(Some(Connection {
                device,
                inode: found.stx_ino,
                made: (found.stx_ctime.tv_sec, found.stx_ctime.tv_nsec),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(Error::internal(format!(
                "cannot read the FUSE connection {name} in the kernel's list: {error}"
            ))),
        }
    }

    /// Which file system an open file lies on; `None`: none that a helper serves. Nobody else can
    /// get its number while the file is open, so the answer is sure.
    ///
    /// # Errors
    /// `Internal` when the kernel does not say.
    pub fn of_file(&self, file: impl AsFd) -> Result<Option<Connection>, Error> {
        // Without a question to the helper, which may hang or be dead.
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let found = statx(file, "", flags, StatxFlags::empty()).map_err(|error| {
            Error::internal(format!("cannot tell the device of a mount: {error}"))
        })?;
        self.with_number((found.stx_dev_major, found.stx_dev_minor))
    }

    /// Whether this file system is still there, mounted somewhere or held open.
    ///
    /// # Errors
    /// `Internal` when the list cannot be read.
    pub fn has(&self, connection: &Connection) -> Result<bool, Error> {
        Ok(self.with_number(connection.device)?.as_ref() == Some(connection))
    }
}

fn open(mount_points: &[PathBuf]) -> Result<OwnedFd, Errno> {
    if let Some(list) = mount_points.iter().find_map(|mount_point| mounted(mount_point)) {
        return Ok(list);
    }
    // Attached nowhere. This also loads FUSE where it is a module.
    let context = rustix::mount::fsopen("fusectl", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(&context)?;
    let attributes = MountAttrFlags::empty();
    let list = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    mount_list(mount_points);
    Ok(list)
}

/// Mounts the list, to stay: when its last mount goes, the next one gives every connection another
/// inode, and the next supervisor would know none of its mounts. Where it belongs, or, where that
/// cannot be (a container without this part of `/sys`), in the supervisor's own directory.
fn mount_list(mount_points: &[PathBuf]) {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let mut failures = Vec::new();
    for mount_point in mount_points {
        if mount_point != Path::new(MOUNT_POINT) {
            // What cannot be made cannot be mounted on either, which is said.
            let _ = std::fs::create_dir(mount_point);
        }
        match rustix::mount::mount("fusectl", mount_point, "fusectl", flags, None) {
            // Somebody else was faster.
            Ok(()) | Err(Errno::BUSY) => return,
            Err(error) => failures.push(format!("{}: {error}", mount_point.display())),
        }
    }
    tracing::warn!(
        "fusectl can be mounted nowhere ({}); mounts that outlive this supervisor are healed by the \
         next one only if something else mounts it at {MOUNT_POINT}",
        failures.join(", ")
    );
}

fn mounted(mount_point: &Path) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let list = rustix::fs::openat(CWD, mount_point, flags, Mode::empty()).ok()?;
    let is_list = rustix::fs::fstatfs(&list).is_ok_and(|found| found.f_type == MAGIC);
    is_list.then_some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_without_a_connection_and_a_file_of_the_kernels_have_none() {
        let connections = Connections::of(Path::new("/nowhere"));
        if let Err(error) = connections.open() {
            assert!(std::env::var_os("CI").is_none(), "{error}");
            return eprintln!("skipped: {error}");
        }
        assert_eq!(connections.with_number((0, 1_048_575)).unwrap(), None);
        assert_eq!(connections.of_file(std::fs::File::open("/proc").unwrap()).unwrap(), None);
        let connection = Connection { device: (0, 1_048_575), inode: 1, made: (0, 0) };
        assert!(!connections.has(&connection).unwrap());
    }

    #[test]
    fn where_the_list_cannot_be_where_it_belongs_it_stays_in_the_supervisor_s_directory() {
        let run = tempfile::tempdir().unwrap();
        let mount_points = [run.path().join("no/such/part"), run.path().join("connections")];
        if let Err(error) = open(&mount_points) {
            assert!(std::env::var_os("CI").is_none(), "{error}");
            return eprintln!("skipped: {error}");
        }
        // The first supervisor's descriptor is closed; the next one finds what it mounted.
        let found = mounted(&mount_points[1]);
        let again = open(&mount_points);
        rustix::mount::unmount(&mount_points[1], rustix::mount::UnmountFlags::DETACH).unwrap();
        assert!(found.is_some() && again.is_ok());
        assert!(mounted(&mount_points[1]).is_none());
    }
}

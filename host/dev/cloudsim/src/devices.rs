//! What a node sees of its disks: an image file per disk, one loop device per attached disk, and a
//! by-id link per attachment, below the instance's own directory. A disk that several instances
//! have is one block device, as it is one disk.
//!
//! Loop devices have no serial, and a disk of the cloud has: each instance gets a sysfs of its own,
//! which is the kernel's but for the serials.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use crate::error::{RegionError, at};
use crate::loops::{self, Freed};
use crate::options::Devices as Mode;

/// A file on ext4 ends at 16 TiB; a larger disk is simulated with an image of this size, which only
/// a test that writes that far can tell.
const LARGEST_IMAGE: u64 = 15 << 40;

/// The region's directory, as far as disks are concerned.
#[derive(Debug)]
pub(crate) struct Devices {
    directory: PathBuf,
    mode: Mode,
    link_into_dev_disk: bool,
}

impl Devices {
    pub(crate) fn new(directory: PathBuf, mode: Mode, link_into_dev_disk: bool) -> Self {
        Self { directory, mode, link_into_dev_disk }
    }

    /// `DIR/disks/<id>.img`; snapshots are kept the same way.
    pub(crate) fn image(&self, id: &str) -> PathBuf {
        self.directory.join("disks").join(format!("{id}.img"))
    }

    /// `DIR/<instance>/dev/disk/by-id`.
    pub(crate) fn by_id(&self, instance: &str) -> PathBuf {
        self.directory.join(instance).join("dev/disk/by-id")
    }

    /// `DIR/<instance>/sys`.
    pub(crate) fn sysfs(&self, instance: &str) -> PathBuf {
        self.directory.join(instance).join("sys")
    }

    /// Makes an empty image, or a copy of another.
    pub(crate) fn create_image(
        &self,
        id: &str,
        size_gib: u64,
        from: Option<&str>,
    ) -> Result<(), RegionError> {
        let path = self.image(id);
        let mut file = File::create(&path).map_err(at("create", &path))?;
        if let Some(from) = from {
            let source = self.image(from);
            copy_sparse(&source, &mut file).map_err(at("copy", &source))?;
        }
        file.set_len(bytes(size_gib)).map_err(at("size", &path))
    }

    /// Removes an image; one that is gone already is fine.
    pub(crate) fn remove_image(&self, id: &str) -> Result<(), RegionError> {
        remove_file(&self.image(id))
    }

    /// Removes images that a crash left between a call and its state.
    pub(crate) fn remove_unknown_images(
        &self,
        known: impl Fn(&str) -> bool,
    ) -> Result<(), RegionError> {
        let directory = self.directory.join("disks");
        for entry in fs::read_dir(&directory).map_err(at("list", &directory))?.flatten() {
            let name = entry.file_name();
            if name.to_str().and_then(|name| name.strip_suffix(".img")).is_some_and(|id| !known(id))
            {
                let path = entry.path();
                loops::detach(&path)?;
                remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Grows an image, and the device that shows it.
    pub(crate) fn grow(&self, id: &str, size_gib: u64) -> Result<(), RegionError> {
        let path = self.image(id);
        let file = File::options().write(true).open(&path).map_err(at("open", &path))?;
        file.set_len(bytes(size_gib)).map_err(at("grow", &path))?;
        if self.mode == Mode::Loop && loops::images_in_use(&path).contains(&path) {
            loops::refresh(&loops::attach(&path)?)?;
        }
        Ok(())
    }

    /// Flushes what the node wrote, so that a snapshot has what a crash at this moment would leave.
    pub(crate) fn flush(&self, id: &str) -> Result<(), RegionError> {
        let path = self.image(id);
        File::open(&path).and_then(|file| file.sync_data()).map_err(at("flush", &path))
    }

    /// Shows a disk to an instance. Nothing changes when it already sees it.
    pub(crate) fn show(&self, id: &str, instance: &str) -> Result<(), RegionError> {
        if self.mode == Mode::Absent {
            return Ok(());
        }
        let device = loops::attach(&self.image(id))?;
        self.report_serial(&device, serial(id), instance)?;
        for link in self.links(id, instance) {
            if fs::read_link(&link).is_ok_and(|target| target == device) {
                continue;
            }
            let directory = link.parent().unwrap_or(&link);
            fs::create_dir_all(directory).map_err(at("create", directory))?;
            remove_file(&link)?;
            std::os::unix::fs::symlink(&device, &link).map_err(at("link", &link))?;
        }
        Ok(())
    }

    /// Takes a disk from an instance. With `last`, the block device goes too, or as soon as nobody
    /// has it mounted.
    pub(crate) fn hide(&self, id: &str, instance: &str, last: bool) -> Result<Freed, RegionError> {
        for link in self.links(id, instance) {
            remove_file(&link)?;
        }
        self.withdraw_serials(instance, |reported| reported == serial(id))?;
        if last && self.mode == Mode::Loop && self.image(id).exists() {
            Ok(loops::detach(&self.image(id))?)
        } else {
            Ok(Freed::Now)
        }
    }

    /// Frees every device that shows an image of this region, except those of `keep`.
    pub(crate) fn free_all_but(&self, keep: &[&str]) -> Result<(), RegionError> {
        let kept: Vec<PathBuf> = keep.iter().map(|id| self.image(id)).collect();
        for image in loops::images_in_use(&self.directory.join("disks")) {
            if !kept.contains(&image) && image.exists() {
                loops::detach(&image)?;
            }
        }
        Ok(())
    }

    /// Removes all by-id links of an instance, and all serials.
    pub(crate) fn remove_links(&self, instance: &str) -> Result<(), RegionError> {
        self.withdraw_serials(instance, |_| true)?;
        let directory = self.by_id(instance);
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with("virtio-")) {
                remove_file(&entry.path())?;
                if self.link_into_dev_disk {
                    remove_file(&Path::new("/dev/disk/by-id").join(name))?;
                }
            }
        }
        Ok(())
    }

    fn report_serial(
        &self,
        device: &Path,
        serial: &str,
        instance: &str,
    ) -> Result<(), RegionError> {
        let sysfs = self.sysfs(instance);
        let block = sysfs.join("block").join(device.file_name().unwrap_or_default());
        fs::create_dir_all(&block).map_err(at("create", &block))?;
        let numbers = sysfs.join("dev");
        if !numbers.is_symlink() {
            std::os::unix::fs::symlink("/sys/dev", &numbers).map_err(at("link", &numbers))?;
        }
        let file = block.join("serial");
        fs::write(&file, serial).map_err(at("write", &file))
    }

    fn withdraw_serials(
        &self,
        instance: &str,
        is_gone: impl Fn(&str) -> bool,
    ) -> Result<(), RegionError> {
        let block = self.sysfs(instance).join("block");
        for entry in fs::read_dir(&block).into_iter().flatten().flatten() {
            let file = entry.path().join("serial");
            if fs::read_to_string(&file).is_ok_and(|serial| is_gone(&serial)) {
                remove_file(&file)?;
            }
        }
        Ok(())
    }

    fn links(&self, id: &str, instance: &str) -> Vec<PathBuf> {
        let name = format!("virtio-{}", serial(id));
        let machine = self.link_into_dev_disk.then(|| Path::new("/dev/disk/by-id").join(&name));
        std::iter::once(self.by_id(instance).join(&name)).chain(machine).collect()
    }
}

/// The serial number of a disk: its id without the `d-`.
pub(crate) fn serial(id: &str) -> &str {
    id.strip_prefix("d-").unwrap_or(id)
}

fn bytes(size_gib: u64) -> u64 {
    size_gib.saturating_mul(1 << 30).min(LARGEST_IMAGE)
}

fn remove_file(path: &Path) -> Result<(), RegionError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Copies data and leaves holes holes: by sharing blocks where the file system can (FICLONE), else
/// piece by piece.
fn copy_sparse(source: &Path, to: &mut File) -> io::Result<()> {
    let mut from = File::open(source)?;
    from.sync_data()?;
    // SAFETY: FICLONE takes the source's descriptor by value; both are open for the whole call.
    if unsafe { libc::ioctl(to.as_raw_fd(), libc::FICLONE, from.as_raw_fd()) } == 0 {
        return Ok(());
    }
    let end = from.metadata()?.len();
    let mut at = 0;
    while let Some(start) = seek(&from, at, libc::SEEK_DATA)? {
        let stop = seek(&from, start, libc::SEEK_HOLE)?.unwrap_or(end);
        from.seek(SeekFrom::Start(start))?;
        to.seek(SeekFrom::Start(start))?;
        io::copy(&mut (&from).take(stop - start), to)?;
        at = stop;
    }
    to.flush()
}

fn seek(file: &File, from: u64, whence: libc::c_int) -> io::Result<Option<u64>> {
    let offset = libc::off_t::try_from(from).map_err(io::Error::other)?;
    // SAFETY: lseek has no memory effects; the descriptor is open for the whole call.
    let found = unsafe { libc::lseek(file.as_raw_fd(), offset, whence) };
    match u64::try_from(found) {
        Ok(found) => Ok(Some(found)),
        Err(_) => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
            error => Err(error),
        },
    }
}

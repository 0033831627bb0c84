//! Linux loop devices, by ioctl. A device is only ever touched after the kernel has said that it is
//! backed by the very file (device and inode) that is meant, so another program's loop device is
//! never freed by mistake.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::DeviceError;

// linux/loop.h
const LOOP_CLR_FD: libc::Ioctl = 0x4C01;
const LOOP_SET_STATUS64: libc::Ioctl = 0x4C04;
const LOOP_GET_STATUS64: libc::Ioctl = 0x4C05;
const LOOP_SET_CAPACITY: libc::Ioctl = 0x4C07;
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// A free number is only a hint: others take numbers from the same pool at the same time. Bounded
/// so that a broken kernel is an error.
const ATTEMPTS: usize = 64;

/// `struct loop_info64`.
#[repr(C)]
#[derive(Clone, Copy)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

impl LoopInfo {
    const EMPTY: Self = Self {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: 0,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
    };
}

/// `struct loop_config`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// Whether a freed device is really gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freed {
    /// It is.
    Now,
    /// Somebody has it open or mounted; the kernel frees it after the last of them.
    WhenUnused,
}

/// The block device that shows `image`: the one that already does, or a new one.
pub(crate) fn attach(image: &Path) -> Result<PathBuf, DeviceError> {
    let backing =
        OpenOptions::new().read(true).write(true).open(image).map_err(failed("open", image))?;
    read_nothing_ahead(&backing);
    if let Some(device) = adopt(image, &backing)? {
        return Ok(device);
    }
    let control_path = Path::new("/dev/loop-control");
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open(control_path)
        .map_err(failed("open", control_path))?;
    for _ in 0..ATTEMPTS {
        let number = free_number(&control).map_err(failed("ask", control_path))?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let Ok(device) = OpenOptions::new().read(true).write(true).open(&path) else { continue };
        match configure(&device, &backing, image) {
            Ok(()) => return Ok(path),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) => return Err(failed("configure", &path)(error)),
        }
    }
    Err(DeviceError::NoneFree { attempts: ATTEMPTS })
}

/// The device that already shows `image`, which stays from now on. One may be left from a region
/// that was killed, or be about to go because it was freed while mounted.
fn adopt(image: &Path, backing: &File) -> Result<Option<PathBuf>, DeviceError> {
    for path in candidates(image) {
        let Ok(device) = OpenOptions::new().read(true).write(true).open(&path) else { continue };
        let Ok(mut info) = status(&device) else { continue };
        if !is_backed_by(&info, backing).map_err(failed("stat", image))? {
            continue;
        }
        if info.flags & LO_FLAGS_AUTOCLEAR != 0 {
            info.flags &= !LO_FLAGS_AUTOCLEAR;
            set_status(&device, &info).map_err(failed("keep", &path))?;
        }
        set_capacity(&device).map_err(failed("resize", &path))?;
        return Ok(Some(path));
    }
    Ok(None)
}

/// Frees every device that shows `image`.
pub(crate) fn detach(image: &Path) -> Result<Freed, DeviceError> {
    let backing = File::open(image).map_err(failed("open", image))?;
    let mut freed = Freed::Now;
    for path in candidates(image) {
        let Ok(device) = OpenOptions::new().read(true).write(true).open(&path) else { continue };
        let Ok(info) = status(&device) else { continue };
        if !is_backed_by(&info, &backing).map_err(failed("stat", image))? {
            continue;
        }
        match clear(&device) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => continue,
            Err(error) => return Err(failed("free", &path)(error)),
        }
        drop(device);
        if !goes(&path, image) {
            freed = Freed::WhenUnused;
        }
    }
    Ok(freed)
}

/// Whether a freed device goes at once. A process that is just being started holds copies of this
/// one's descriptors until it has become the new program, and programs that list block devices open
/// each for an instant; they are not users, so they get a moment. A disk that really is
/// mounted costs this half second once.
fn goes(device: &Path, image: &Path) -> bool {
    for _ in 0..100 {
        if backing_file(device).is_none_or(|file| file != image) {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    false
}

/// Makes the device see the new size of the file.
pub(crate) fn refresh(device: &Path) -> Result<(), DeviceError> {
    let file =
        OpenOptions::new().read(true).write(true).open(device).map_err(failed("open", device))?;
    set_capacity(&file).map_err(failed("resize", device))
}

/// All images below `directory` that some loop device shows.
pub(crate) fn images_in_use(directory: &Path) -> Vec<PathBuf> {
    let mut images: Vec<_> = loops()
        .filter_map(|device| backing_file(&device))
        .filter(|image| image.starts_with(directory))
        .collect();
    images.sort();
    images.dedup();
    images
}

fn candidates(image: &Path) -> Vec<PathBuf> {
    loops().filter(|device| backing_file(device).is_some_and(|file| file == image)).collect()
}

fn loops() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        entry
            .file_name()
            .to_str()
            .filter(|name| name.starts_with("loop"))
            .map(|name| Path::new("/dev").join(name))
    })
}

fn backing_file(device: &Path) -> Option<PathBuf> {
    let file = fs::read_to_string(
        Path::new("/sys/block").join(device.file_name()?).join("loop/backing_file"),
    )
    .ok()?;
    Some(PathBuf::from(file.trim_end_matches('\n')))
}

// The status holds the kernel's packed `dev_t` of the file system, stat(2) the C library's; both
// unpack to major and minor.
fn is_backed_by(info: &LoopInfo, backing: &File) -> io::Result<bool> {
    let file = backing.metadata()?;
    let major = libc::major(file.dev());
    let minor = libc::minor(file.dev());
    let packed = u64::from(minor & 0xff) | u64::from(major) << 8 | u64::from(minor & !0xff) << 12;
    Ok(info.inode == file.ino() && info.device == packed)
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> DeviceError + 'a {
    move |source| DeviceError::System { action, path: path.to_path_buf(), source }
}

/// What the device is not asked for is not read ahead from its file, which is nearly all holes.
/// Advice: where it is not taken, reading is slower and nothing else.
fn read_nothing_ahead(backing: &File) {
    // SAFETY: the descriptor is open, and advice touches no memory.
    let _ = unsafe { libc::posix_fadvise(backing.as_raw_fd(), 0, 0, libc::POSIX_FADV_RANDOM) };
}

fn free_number(control: &File) -> io::Result<i32> {
    // SAFETY: LOOP_CTL_GET_FREE takes no argument; the descriptor is open for the whole call.
    answer(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) })
}

fn configure(device: &File, backing: &File, image: &Path) -> io::Result<()> {
    let mut info = LoopInfo::EMPTY;
    // The name is shown by losetup and nothing else; it is cut to fit and stays NUL-terminated.
    for (to, from) in info.file_name.iter_mut().take(63).zip(image.as_os_str().as_encoded_bytes()) {
        *to = *from;
    }
    let fd = u32::try_from(backing.as_raw_fd())
        .map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    let config = LoopConfig { fd, block_size: 0, info, reserved: [0; 8] };
    // SAFETY: LOOP_CONFIGURE reads one `struct loop_config`, which `LoopConfig` matches in layout
    // and which outlives the call; the kernel takes its own reference to the backing file.
    answer(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) }).map(drop)
}

fn status(device: &File) -> io::Result<LoopInfo> {
    let mut info = LoopInfo::EMPTY;
    // SAFETY: LOOP_GET_STATUS64 writes one `struct loop_info64`, which `LoopInfo` matches in
    // layout; every bit pattern is valid for it.
    answer(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_GET_STATUS64, &raw mut info) })
        .map(|_| info)
}

fn set_status(device: &File, info: &LoopInfo) -> io::Result<()> {
    // SAFETY: LOOP_SET_STATUS64 reads one `struct loop_info64`, which `LoopInfo` matches in layout
    // and which outlives the call.
    answer(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_STATUS64, std::ptr::from_ref(info)) })
        .map(drop)
}

fn set_capacity(device: &File) -> io::Result<()> {
    // SAFETY: LOOP_SET_CAPACITY takes no argument; the descriptor is open for the whole call.
    answer(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_CAPACITY) }).map(drop)
}

fn clear(device: &File) -> io::Result<()> {
    // SAFETY: LOOP_CLR_FD takes no argument; the descriptor is open for the whole call.
    answer(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CLR_FD) }).map(drop)
}

fn answer(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_kernels_size() {
        assert_eq!(size_of::<LoopInfo>(), 232);
        assert_eq!(size_of::<LoopConfig>(), 304);
    }
}

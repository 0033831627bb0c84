//! The block device behind what is mounted.

use std::path::{Path, PathBuf};

use wharf_core::Error;

use super::mounting;
use super::table::{Entry, MountTable};
use crate::context::NodeContext;
use crate::disk::device::{Device, kernel_name};

/// The block device behind what is mounted here, also when its node itself is (a raw block volume).
pub fn of_path(context: &NodeContext, path: &Path) -> Result<Option<Device>, Error> {
    let table = MountTable::read()?;
    table.top(path).map_or(Ok(None), |entry| of_entry(context, path, entry))
}

/// The same of a mount that is at hand.
pub fn of_entry(
    context: &NodeContext,
    path: &Path,
    entry: &Entry,
) -> Result<Option<Device>, Error> {
    let number = match context.roots.locate(path)? {
        Some(target) => mounting::block_number(&target, entry)?.unwrap_or(entry.device),
        None => entry.device,
    };
    by_number(context, number, entry)
}

/// Whether a block device was taken away. Where the kernel's list of devices cannot be seen,
/// nothing is known to be gone.
pub fn is_gone(context: &NodeContext, number: (u32, u32)) -> bool {
    let sysfs = &context.options.sysfs;
    let is_listed = std::fs::read_dir(sysfs.join("dev/block"))
        .is_ok_and(|mut devices| devices.next().is_some());
    is_listed && kernel_name(sysfs, number).is_none()
}

/// The block device with this number; `None` for the number of none.
pub fn by_number(
    context: &NodeContext,
    number: (u32, u32),
    entry: &Entry,
) -> Result<Option<Device>, Error> {
    if number.0 == 0 {
        return Ok(None);
    }
    let sysfs = &context.options.sysfs;
    let by_source = PathBuf::from(&entry.source);
    let by_name = kernel_name(sysfs, number).map(|name| Path::new("/dev").join(name));
    for path in by_name.into_iter().chain(by_source.is_absolute().then_some(by_source)) {
        if let Ok(Some(device)) = Device::at(&path, "", sysfs)
            && device.number == number
        {
            return Ok(Some(device));
        }
    }
    Err(Error::internal(format!(
        "the block device {}:{} of {} has no node under /dev",
        number.0,
        number.1,
        entry.mount_point.display()
    )))
}

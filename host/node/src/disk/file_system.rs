//! Which type a device's file system is mounted as. What is there wins over what is meant by
//! default; only an explicit other family is an error.

use wharf_core::Error;
use wharf_core::policy::NodePolicy;

use crate::context::NodeContext;
use crate::disk::device::Device;
use crate::disk::probe::{self, Signature};
use crate::disk::superblock::Family;
use crate::mounts::table::MountTable;

/// The driver of ext4 mounts what older ones made, and a file system without ext4's newer features
/// is called ext3 or ext2 by whoever looks at it.
const EXT: [&str; 3] = ["ext2", "ext3", "ext4"];

/// What to mount the device as. `asked`: what the plan names; empty: whatever is there.
///
/// # Errors
/// `FailedPrecondition` when the device holds none, or one of another family than `asked`;
/// `PermissionDenied` when what it holds is not granted.
pub(crate) fn type_to_mount(
    context: &NodeContext,
    policy: &NodePolicy,
    device: &Device,
    asked: &str,
) -> Result<String, Error> {
    if let Some(entry) = MountTable::read()?.of_device(device.number).next() {
        check_family(device, &entry.fs_type, asked)?;
        return Ok(entry.fs_type.clone());
    }
    let found = match probe::probe(&context.programs, device, context.options.bounds.probe)? {
        Signature::FileSystem(found) => found,
        Signature::Other(what) => {
            return Err(Error::precondition(format!(
                "{} holds {what}, and no file system that could be mounted",
                device.path.display()
            )));
        }
        // libblkid passes over a superblock whose checksum is wrong; the kernel has the last word.
        Signature::Nothing => {
            match probe::read_superblock(context, device)?.map(|found| found.family) {
                Some(Family::Ext) => "ext4".to_owned(),
                Some(Family::Xfs) => "xfs".to_owned(),
                None => {
                    return Err(Error::precondition(format!(
                    "{} holds no file system that is recognised",
                    device.path.display()
                ))
                .with_hint(
                    "a blank disk is formatted only by a call that may write: use the volume for \
                     writing first",
                ));
                }
            }
        }
    };
    check_family(device, &found, asked)?;
    choose(&found, asked, policy)
}

/// Whether any type of the family that was found is granted: for steps that leave the type to what
/// the device has.
///
/// # Errors
/// `PermissionDenied` naming it.
pub(crate) fn check_granted(policy: &NodePolicy, family: Family) -> Result<(), Error> {
    match family {
        Family::Ext if EXT.iter().any(|fs_type| policy.check_filesystem(fs_type).is_ok()) => Ok(()),
        Family::Ext => policy.check_filesystem("ext4"),
        Family::Xfs => policy.check_filesystem("xfs"),
    }
}

/// Whether two types are made, checked and mounted by the same programs and drivers.
pub(crate) fn is_same_family(one: &str, other: &str) -> bool {
    one == other || (EXT.contains(&one) && EXT.contains(&other))
}

fn check_family(device: &Device, found: &str, asked: &str) -> Result<(), Error> {
    if asked.is_empty() || is_same_family(found, asked) {
        return Ok(());
    }
    Err(Error::precondition(format!(
        "{} holds a {found} file system, {asked} was asked for",
        device.path.display()
    ))
    .with_hint(format!(
        "ask for {found}, or use another volume: what is there is never overwritten"
    )))
}

fn choose(found: &str, asked: &str, policy: &NodePolicy) -> Result<String, Error> {
    let is_ext = EXT.contains(&found);
    let candidates = if is_ext && asked == "ext4" { ["ext4", found] } else { [found, "ext4"] };
    let usable = candidates.iter().take(if is_ext { 2 } else { 1 });
    match usable.copied().find(|fs_type| policy.check_filesystem(fs_type).is_ok()) {
        Some(fs_type) => Ok(fs_type.to_owned()),
        None => policy.check_filesystem(found).map(|()| found.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(filesystems: &[&str]) -> NodePolicy {
        NodePolicy {
            filesystems: filesystems.iter().map(|fs_type| (*fs_type).to_owned()).collect(),
            ..NodePolicy::default()
        }
    }

    #[test]
    fn what_is_there_is_mounted_as_something_that_is_granted() {
        let usual = granted(&["ext3", "ext4", "xfs"]);
        for (found, asked, chosen) in [
            ("ext4", "ext4", "ext4"),
            ("ext3", "ext4", "ext4"),
            ("ext2", "ext4", "ext4"),
            ("ext2", "", "ext4"),
            ("ext3", "", "ext3"),
            ("ext4", "ext3", "ext4"),
            ("ext2", "ext3", "ext4"),
            ("xfs", "", "xfs"),
            ("xfs", "xfs", "xfs"),
        ] {
            assert_eq!(choose(found, asked, &usual).unwrap(), chosen, "{found} {asked}");
        }
        assert_eq!(choose("ext3", "", &granted(&["ext4"])).unwrap(), "ext4");
        for (found, grants) in
            [("xfs", &["ext4"][..]), ("ext4", &["xfs"]), ("btrfs", &["ext4"]), ("ntfs", &[])]
        {
            let error = choose(found, "", &granted(grants)).unwrap_err();
            assert!(error.message.contains(found), "{error}");
        }
    }

    #[test]
    fn only_another_family_is_an_error() {
        let device = Device::named("/dev/vdz", "vdz", (1, 1), "");
        for (found, asked, is_fine) in [
            ("ext3", "ext4", true),
            ("ext2", "ext3", true),
            ("xfs", "", true),
            ("xfs", "ext4", false),
            ("ext4", "xfs", false),
            ("btrfs", "ext4", false),
        ] {
            assert_eq!(check_family(&device, found, asked).is_ok(), is_fine, "{found} {asked}");
        }
    }

    #[test]
    fn a_family_is_granted_by_any_of_its_types() {
        assert!(check_granted(&granted(&["ext3"]), Family::Ext).is_ok());
        assert!(check_granted(&granted(&["xfs"]), Family::Ext).is_err());
        assert!(check_granted(&granted(&["ext4"]), Family::Xfs).is_err());
        assert!(check_granted(&granted(&[]), Family::Ext).is_err());
    }
}

//! Whether something that is in place already is what a call asks for.
//!
//! A disk is known by its serial, or by its device, as the record has it. Everything else is known
//! by the plan in the record: the export, the helper's mount or the directory that it mounts there.
//! A record of an earlier version has no plan; what is mounted at its paths is believed, as it was
//! then, until the volume is staged or published anew.

use std::path::Path;

use super::NodeService;
use crate::error::{Blame, Error, ErrorKind};
use crate::plan::Plan;
use crate::ports::{Mounted, StageRecord};
use crate::types::{AccessType, Capability};

/// Two uses of one path agree when they are of the same kind with the same options, and both only
/// read or both may write. What else the mode says is not seen by the kernel.
///
/// # Errors
/// `AlreadyExists` when they do not.
pub(super) fn check_compatible_use(has: &Capability, wants: &Capability) -> Result<(), Error> {
    let agree = match (&has.access, &wants.access) {
        (AccessType::Block, AccessType::Block) => true,
        (
            AccessType::Mount { fs_type: has, flags: has_flags, .. },
            AccessType::Mount { fs_type: wants, flags: wants_flags, .. },
        ) => (has == wants || wants.is_empty() || has.is_empty()) && has_flags == wants_flags,
        (AccessType::Block, AccessType::Mount { .. })
        | (AccessType::Mount { .. }, AccessType::Block) => false,
    };
    if agree && has.group() != wants.group() {
        return Err(other_group(has, wants));
    }
    if agree && has.is_read_only() == wants.is_read_only() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::AlreadyExists,
        Blame::User,
        "it is in place already for an incompatible use (file system, raw device, mount options \
         or reading only differ)",
    ))
}

/// What is mounted belongs to the group that it was mounted for.
///
/// # Errors
/// `AlreadyExists` when another one is asked for.
pub(super) fn check_same_group(has: &Capability, wants: &Capability) -> Result<(), Error> {
    if has.group() == wants.group() { Ok(()) } else { Err(other_group(has, wants)) }
}

fn other_group(has: &Capability, wants: &Capability) -> Error {
    let named = |capability: &Capability| match capability.group() {
        Some(group) => format!("the group {group}"),
        None => "no group".to_owned(),
    };
    let (has, wants) = (named(has), named(wants));
    Error::new(
        ErrorKind::AlreadyExists,
        Blame::User,
        format!("it is in place already for {has}, and {wants} is asked for"),
    )
    .with_hint(
        "one mount serves all pods of the node that use the volume, so they have to have the same \
         `fsGroup`",
    )
}

impl NodeService {
    /// What is mounted at a path of the record is what the record says of it.
    ///
    /// # Errors
    /// `FailedPrecondition` naming what is mounted instead.
    pub(super) fn check_same_mount(
        &self,
        record: &StageRecord,
        mounted: &Mounted,
        path: &Path,
    ) -> Result<(), Error> {
        if let Some(device) = &record.device {
            return check_same_disk(record, device, mounted, path);
        }
        let Some((plan, staged)) = plan_at(record, path) else { return Ok(()) };
        match self.node.shown_instead(plan, &self.policy, path, staged)? {
            Some(shown) => Err(Error::precondition(format!(
                "{} shows {shown}, which is not what was mounted there for the volume",
                path.display()
            ))
            .with_hint(MOUNTED_OVER)),
            None => Ok(()),
        }
    }
}

const MOUNTED_OVER: &str = "something else was mounted over it: find out by whom, and unmount that";

/// The plan that mounted at this path of the record, and what it found staged.
fn plan_at<'a>(record: &'a StageRecord, path: &Path) -> Option<(&'a Plan, Option<&'a Path>)> {
    let staging = record.staging_path.as_path();
    if path == staging {
        return record.plan.as_ref().map(|plan| (plan, None));
    }
    let published = record.targets.iter().find(|published| published.target_path == path)?;
    let staged = Some(staging).filter(|staging| !staging.as_os_str().is_empty());
    published.plan.as_ref().map(|plan| (plan, staged))
}

fn check_same_disk(
    record: &StageRecord,
    device: &Path,
    mounted: &Mounted,
    path: &Path,
) -> Result<(), Error> {
    let is_same = match (&record.serial, &mounted.serial) {
        (Some(ours), Some(theirs)) => ours == theirs,
        _ => mounted.device.as_ref().is_some_and(|shown| is_part_of(shown, device)),
    };
    if is_same {
        return Ok(());
    }
    let shown = match (&mounted.device, &mounted.serial) {
        (Some(device), Some(serial)) => format!("{} (serial {serial})", device.display()),
        (Some(device), None) => device.display().to_string(),
        (None, _) => "no block device".to_owned(),
    };
    let serial =
        record.serial.as_ref().map(|serial| format!(" (serial {serial})")).unwrap_or_default();
    Err(Error::precondition(format!(
        "{} shows {shown}, and the volume is {}{serial}",
        path.display(),
        device.display()
    ))
    .with_hint(MOUNTED_OVER))
}

/// `/dev/vdb1` is a part of `/dev/vdb`, `/dev/nvme0n1p1` of `/dev/nvme0n1`; a disk is of itself.
fn is_part_of(part: &Path, disk: &Path) -> bool {
    let (part, disk) = (part.to_string_lossy(), disk.to_string_lossy());
    let Some(rest) = part.strip_prefix(disk.as_ref()) else { return false };
    let ends_in_digit = disk.ends_with(|last: char| last.is_ascii_digit());
    let number = if ends_in_digit { rest.strip_prefix('p') } else { Some(rest) };
    rest.is_empty()
        || number.is_some_and(|number| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_a_part_of_its_own_disk_alone() {
        let is_part = |part: &str, disk: &str| is_part_of(Path::new(part), Path::new(disk));
        for (part, disk) in [
            ("/dev/vdb", "/dev/vdb"),
            ("/dev/vdb1", "/dev/vdb"),
            ("/dev/vdb12", "/dev/vdb"),
            ("/dev/nvme0n1p1", "/dev/nvme0n1"),
            ("/dev/loop1p1", "/dev/loop1"),
        ] {
            assert!(is_part(part, disk), "{part} {disk}");
        }
        for (part, disk) in [
            ("/dev/vdba", "/dev/vdb"),
            ("/dev/vdb", "/dev/vdb1"),
            ("/dev/loop12", "/dev/loop1"),
            ("/dev/nvme0n1p", "/dev/nvme0n1"),
            ("/dev/nvme0n12", "/dev/nvme0n1"),
            ("/dev/vdc", "/dev/vdb"),
        ] {
            assert!(!is_part(part, disk), "{part} {disk}");
        }
    }
}

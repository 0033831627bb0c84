//! `AttachDisk` and `DetachDisk`.

use serde_json::json;

use super::catalog::{self, Family};
use crate::answer::{Answer, ApiError};
use crate::clock::Millis;
use crate::params::Params;
use crate::state::{Attachment, Disk, Instance, Phase};
use crate::world::World;

/// `AttachDisk`: the disk is `Attaching` for a while, and the node sees it a little later still. A
/// disk that another instance has is refused: only `DetachDisk` takes it away, `Force` alone on a
/// regional disk.
pub(super) fn attach(world: &mut World, params: &Params) -> Answer {
    let (instance_id, disk_id) =
        (params.required("InstanceId")?.to_owned(), params.required("DiskId")?.to_owned());
    let delete_with_instance = params.boolean("DeleteWithInstance")?;
    let force = params.boolean("Force")?.unwrap_or(false);
    let instance = usable_instance(world, &instance_id)?;
    let disk = world.disk(&disk_id)?;
    check_disk(world, disk, instance, force)?;
    check_ephemeral(disk, &instance_id, delete_with_instance)?;
    check_place(world, &instance_id)?;
    let now = world.now();
    if force {
        take_away(world, &disk_id, now)?;
    }
    begin(world, &instance_id, &disk_id, now)?;
    let disk = world.disk_mut(&disk_id)?;
    disk.delete_with_instance = delete_with_instance.unwrap_or(disk.delete_with_instance);
    Ok(json!({}))
}

/// Whether the instance takes one more disk; its system disk has one of the places.
pub(super) fn check_place(world: &World, instance: &str) -> Result<(), ApiError> {
    if devices_of(world, instance).len() + 1 < world.options.disk_quantity as usize {
        return Ok(());
    }
    let message = "The amount of the disk on instance in question reach its limits.";
    Err(ApiError::new(403, "InstanceDiskLimitExceeded", message))
}

/// Begins to give a disk to an instance, at that time.
pub(super) fn begin(
    world: &mut World,
    instance: &str,
    disk: &str,
    at: Millis,
) -> Result<(), ApiError> {
    let device = free_device(&devices_of(world, instance));
    let until = at.saturating_add(world.options.delays.attach);
    let attachment = Attachment {
        instance: instance.to_owned(),
        device,
        phase: Phase::Attaching { until },
        since: at,
        visible_at: Some(until.saturating_add(world.options.delays.device)),
    };
    let told = told_until(world);
    let disk = world.disk_mut(disk)?;
    disk.told = told.map(|until| (until, disk.attachments.clone()));
    disk.first_instance.get_or_insert_with(|| instance.to_owned());
    disk.attachments.push(attachment);
    Ok(())
}

/// Until when listings tell the state before a call of now; `None`: they know at once.
fn told_until(world: &World) -> Option<Millis> {
    let lag = world.options.delays.listing;
    (lag > 0).then(|| world.now().saturating_add(lag))
}

pub(super) fn usable_instance<'a>(world: &'a World, id: &str) -> Result<&'a Instance, ApiError> {
    let instance = world.instance(id)?;
    if instance.locked_for_security {
        return Err(ApiError::instance_locked());
    }
    match instance.status.as_str() {
        "Running" | "Stopped" => Ok(instance),
        _ => Err(ApiError::new(
            400,
            "IncorrectInstanceStatus",
            "The current status of the resource does not support this operation.",
        )),
    }
}

/// An ephemeral disk ends with its instance, which both calls must say, and goes to no other.
fn check_ephemeral(
    disk: &Disk,
    instance: &str,
    delete_with_instance: Option<bool>,
) -> Result<(), ApiError> {
    if catalog::category(&disk.category)?.family != Family::Ephemeral {
        return Ok(());
    }
    // Both codes by analogy: the reference tells the rules alone.
    if delete_with_instance != Some(true) {
        return Err(ApiError::invalid("DeleteWithInstance"));
    }
    if disk.first_instance.as_deref().is_some_and(|first| first != instance) {
        let message = "The specified disk is not a portable disk.";
        return Err(ApiError::new(403, "DiskNotPortable", message));
    }
    Ok(())
}

fn check_disk(
    world: &World,
    disk: &Disk,
    instance: &Instance,
    force: bool,
) -> Result<(), ApiError> {
    if disk.in_arrears {
        return Err(ApiError::disk_in_arrears());
    }
    let regional = disk.zone.is_empty() || disk.category.contains("regional");
    if !regional && disk.zone != instance.zone {
        let message = "The specified instance and disk are not in the same zone.";
        return Err(ApiError::new(403, "ResourcesNotInSameZone", message));
    }
    if disk.attachments.iter().any(|attachment| attachment.instance == instance.id) {
        return Err(ApiError::disk_status());
    }
    // `Force` is for the loss of a zone: within one it takes nothing away.
    let elsewhere = |attachment: &Attachment| {
        world.instance(&attachment.instance).map_or(true, |holder| holder.zone != instance.zone)
    };
    match disk.status() {
        "Available" => Ok(()),
        "In_use" if disk.multi_attach => Ok(()),
        "In_use" if force && regional && disk.attachments.iter().all(elsewhere) => Ok(()),
        _ => Err(ApiError::disk_status()),
    }
}

/// A forced attach of a regional disk takes it from whoever has it, at once.
fn take_away(world: &mut World, disk: &str, now: u64) -> Result<(), ApiError> {
    for attachment in &mut world.disk_mut(disk)?.attachments {
        attachment.phase = Phase::Detaching { until: now };
    }
    world.progress();
    Ok(())
}

fn devices_of<'a>(world: &'a World, instance: &str) -> Vec<&'a str> {
    let attachments = world.state.disks.values().flat_map(|disk| &disk.attachments);
    attachments
        .filter(|attachment| attachment.instance == instance)
        .map(|attachment| attachment.device.as_str())
        .collect()
}

// `/dev/xvda` is the system disk's; after `/dev/xvdz` come two letters.
fn free_device(taken: &[&str]) -> String {
    let singles = ('b'..='z').map(|letter| format!("/dev/xvd{letter}"));
    let doubles = ('a'..='z')
        .flat_map(|first| ('a'..='z').map(move |second| format!("/dev/xvd{first}{second}")));
    singles.chain(doubles).find(|name| !taken.contains(&name.as_str())).unwrap_or_default()
}

/// `DetachDisk`: the disk is `Detaching` for a while. It succeeds even while the node has it
/// mounted, as in the real cloud.
pub(super) fn detach(world: &mut World, params: &Params) -> Answer {
    let (instance_id, disk_id) =
        (params.required("InstanceId")?.to_owned(), params.required("DiskId")?.to_owned());
    let delete_with_instance = params.boolean("DeleteWithInstance")?;
    let instance = world.instance(&instance_id)?;
    if instance.locked_for_security {
        return Err(ApiError::instance_locked());
    }
    let disk = world.disk(&disk_id)?;
    match disk
        .attachments
        .iter()
        .find(|attachment| attachment.instance == instance_id)
        .map(|attachment| attachment.phase)
    {
        Some(Phase::Attached) => {}
        Some(Phase::Attaching { .. } | Phase::Detaching { .. }) => {
            return Err(ApiError::disk_status());
        }
        None if disk.attachments.is_empty() => return Err(ApiError::disk_status()),
        None => {
            let message = "The specified disk has not been attached to the specified instance.";
            return Err(ApiError::new(403, "DependencyViolation", message));
        }
    }
    check_ephemeral(disk, &instance_id, delete_with_instance)?;
    let until = world.now().saturating_add(world.options.delays.detach);
    let told = told_until(world);
    let disk = world.disk_mut(&disk_id)?;
    disk.told = told.map(|until| (until, disk.attachments.clone()));
    disk.delete_with_instance = delete_with_instance.unwrap_or(disk.delete_with_instance);
    for attachment in
        disk.attachments.iter_mut().filter(|attachment| attachment.instance == instance_id)
    {
        attachment.phase = Phase::Detaching { until };
    }
    Ok(json!({}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_from_b_on_and_never_twice() {
        assert_eq!(free_device(&[]), "/dev/xvdb");
        assert_eq!(free_device(&["/dev/xvdb", "/dev/xvdd"]), "/dev/xvdc");
        let letters: Vec<String> = ('b'..='z').map(|letter| format!("/dev/xvd{letter}")).collect();
        assert_eq!(
            free_device(&letters.iter().map(String::as_str).collect::<Vec<_>>()),
            "/dev/xvdaa"
        );
    }
}

//! `attach`: AttachDisk once the disk is free, then wait until the cloud names the node as its
//! holder.
//!
//! A disk of another node is never taken, unless the operator says so with the setting
//! `force-detach`. It is shared with another node only if both the disk and the access mode allow
//! several: what is for one node may carry a file system, which two would destroy.

use serde_json::Value;
use wharf_sdk::controller::{AttachRequest, Attachment};
use wharf_sdk::types::Pending;
use wharf_sdk::{Answer, Error, Progress};

use crate::action::Action;
use crate::asked;
use crate::detach::detach_from;
use crate::disk_record::{Disk, State, observed};
use crate::serial::{DiskId, is_instance_id};
use crate::settings;
use crate::usage_modes::need_multi_attach;

/// What the node finds the device with; also the key of the cloud's own driver.
pub const SERIAL: &str = "serialNumber";

/// Attaching and detaching take one to five seconds.
const LOOK_AFTER_MS: u32 = 500;
/// A disk may be listed as free for a moment after AttachDisk; after so many looks it is asked for
/// again.
pub(crate) const LOOKS_WHILE_FREE: u32 = 3;
/// The resume token after AttachDisk: this, and the looks.
const REQUESTED: &str = "attach-requested:";

/// `controller.attach`.
///
/// # Errors
/// See the contract.
pub fn attach(request: &AttachRequest, progress: &Progress) -> Result<Answer<Attachment>, Error> {
    let id = DiskId::parse(&request.volume_id).ok_or_else(|| missing(&request.volume_id))?;
    if !is_instance_id(&request.node_id) {
        return Err(Error::not_found(format!("there is no instance {}", request.node_id))
            .with_hint("the node's id must be its ECS instance id (`i-…`)"));
    }
    if request.read_only {
        return Err(Error::unsupported("a disk is attached to read and write")
            .with_hint("mount it read-only instead"));
    }
    need_multi_attach(std::slice::from_ref(&request.capability))?;
    let disk = observed(progress, id.as_str())?.ok_or_else(|| missing(id.as_str()))?;
    disk.need_data_disk()?;
    if request.capability.mode.is_multi_node_writer() && !disk.is_multi_attach() {
        return Err(Error::invalid_request(format!(
            "disk {id} was created without `multiAttach`, so only one node may hold it"
        )));
    }
    decide(request, &disk, progress.resume.as_deref())
}

fn decide(
    request: &AttachRequest,
    disk: &Disk,
    resume: Option<&str>,
) -> Result<Answer<Attachment>, Error> {
    let (id, node) = (&disk.disk_id, &request.node_id);
    let (here, others): (Vec<_>, Vec<_>) =
        disk.holders().into_iter().partition(|holder| holder == node);
    let is_shared = disk.is_multi_attach() && request.capability.mode.is_multi_node();
    match disk.state() {
        State::InUse if !is_shared && !others.is_empty() => {
            take_from_holder(request, disk, &others, resume)
        }
        State::InUse if !here.is_empty() => done(disk),
        State::InUse if is_shared => request_attach(request, disk, resume),
        State::InUse => {
            Ok(wait(format!("disk {id} is in use, and the cloud does not say yet by whom")))
        }
        State::Available => request_attach(request, disk, resume),
        State::Attaching => Ok(wait(format!("disk {id} is being attached"))),
        State::Detaching => Ok(wait(format!("disk {id} is being detached"))),
        State::Creating | State::Reinitialising => Ok(wait(format!("disk {id} is being prepared"))),
        State::Unknown => Ok(wait(format!(
            "disk {id} is in state {}, which this build does not know",
            disk.status
        ))),
    }
}

fn done(disk: &Disk) -> Result<Answer<Attachment>, Error> {
    let serial = serial(disk)?;
    Ok(Answer::Done(Attachment::new(vec![(SERIAL.to_owned(), serial.to_owned())])))
}

/// A device is found by its serial or not at all.
fn serial(disk: &Disk) -> Result<&str, Error> {
    if disk.serial_number.is_empty() {
        return Err(Error::precondition(format!(
            "disk {} has no serial number, so its device cannot be told from others",
            disk.disk_id
        ))
        .as_observed()
        .with_hint(
            "disks made before June 2020 have none: take a snapshot, create a disk from it, and \
             use that one",
        ));
    }
    Ok(&disk.serial_number)
}

fn request_attach(
    request: &AttachRequest,
    disk: &Disk,
    resume: Option<&str>,
) -> Result<Answer<Attachment>, Error> {
    serial(disk)?;
    let (id, node) = (&disk.disk_id, &request.node_id);
    let resume = match asked::next_look(resume, REQUESTED, LOOKS_WHILE_FREE) {
        Some(looked) => looked,
        None => {
            let _: Value = Action::AttachDisk
                .call()?
                .with("InstanceId", node)
                .with("DiskId", id)
                .with_some("DeleteWithInstance", disk.is_of_one_instance().then_some(true))
                .send()
                .map_err(|failure| {
                    Error::from(failure).context(format!("disk {id}, node {node}"))
                })?;
            asked::just_now(REQUESTED)
        }
    };
    let reason = format!("disk {id} is being attached to {node}");
    Ok(Pending::after_ms(LOOK_AFTER_MS, reason).watching(id).with_resume(resume).into())
}

fn take_from_holder(
    request: &AttachRequest,
    disk: &Disk,
    others: &[String],
    resume: Option<&str>,
) -> Result<Answer<Attachment>, Error> {
    let (id, node) = (&disk.disk_id, &request.node_id);
    // Who may share the volume or its disk with others is not there in their place.
    // What belongs to its instance cannot be attached to another one, and is lost with it.
    let can_be_taken = !disk.is_multi_attach()
        && !disk.is_of_one_instance()
        && !request.capability.mode.is_multi_node();
    match others.first() {
        Some(holder) if can_be_taken && settings::force_detach()? => {
            wharf_sdk::log::warn(format!(
                "taking disk {id} from {holder} for {node}: the setting `force-detach` is on"
            ));
            Ok(detach_from(disk, holder, resume)?.into())
        }
        _ => Err(Error::precondition(format!(
            "disk {id} is attached to {}, and is not shared with {node}",
            others.join(", ")
        ))
        .as_observed()
        .with_hint(
            "the volume is free once its workload there is gone; if that node is lost for good, \
             detach the disk in the console",
        )),
    }
}

fn wait(reason: String) -> Answer<Attachment> {
    Pending::after_ms(LOOK_AFTER_MS, reason).into()
}

fn missing(id: &str) -> Error {
    Error::not_found(format!("there is no disk {id}")).as_observed()
}

#[cfg(test)]
mod tests;

//! `attach`: AttachDisk once the disk is free, then wait until the cloud names the node as its holder.
//!
//! A disk of another node is never taken, unless the operator says so with the setting `force-detach`.

use serde_json::Value;
use wharf_sdk::controller::{AttachRequest, Attachment};
use wharf_sdk::types::Pending;
use wharf_sdk::{Answer, Error, Progress};

use crate::action::Action;
use crate::disk_record::{Disk, State, observed};
use crate::serial::{DiskId, is_instance_id};
use crate::settings;
use crate::usage_modes::need_multi_attach;

/// What the node finds the device with; also the key of the cloud's own driver.
pub const SERIAL: &str = "serialNumber";

/// Attaching and detaching take one to five seconds.
const LOOK_AFTER_MS: u32 = 500;
/// A disk may be listed as free for a moment after AttachDisk; after so many looks it is asked for again.
const LOOKS_WHILE_FREE: u32 = 3;
/// The resume token after AttachDisk: this, and how often the disk was seen free since.
const REQUESTED: &str = "attach-requested:";

/// `controller.attach`.
///
/// # Errors
/// See the contract.
pub fn attach(request: &AttachRequest, progress: &Progress) -> Result<Answer<Attachment>, Error> {
    let id = DiskId::parse(&request.volume_id).ok_or_else(|| missing(&request.volume_id))?;
    if !is_instance_id(&request.node_id) {
        return Err(
            Error::not_found(format!("there is no instance {}", request.node_id)).with_hint("the node's id must be its ECS instance id (`i-…`)")
        );
    }
    if request.read_only {
        return Err(Error::unsupported("a disk is attached to read and write").with_hint("mount it read-only instead"));
    }
    let is_shared = need_multi_attach(std::slice::from_ref(&request.capability))?;
    let disk = observed(progress, id.as_str())?.ok_or_else(|| missing(id.as_str()))?;
    if is_shared && !disk.is_multi_attach() {
        return Err(Error::invalid_request(format!("disk {id} was created without `multiAttach`, so only one node may hold it")));
    }
    decide(request, &disk, progress.resume.as_deref())
}

fn decide(request: &AttachRequest, disk: &Disk, resume: Option<&str>) -> Result<Answer<Attachment>, Error> {
    let (id, node) = (&disk.disk_id, &request.node_id);
    let is_here = disk.holders().contains(node);
    match disk.state() {
        State::InUse if is_here => done(disk),
        State::InUse if disk.is_multi_attach() => request_attach(request, disk, resume),
        State::InUse => take_from_holder(request, disk),
        State::Available => request_attach(request, disk, resume),
        State::Attaching => Ok(wait(format!("disk {id} is being attached"))),
        State::Detaching => Ok(wait(format!("disk {id} is being detached"))),
        State::Creating | State::Reinitialising => Ok(wait(format!("disk {id} is being prepared"))),
        State::Unknown => Ok(wait(format!("disk {id} is in state {}, which this build does not know", disk.status))),
    }
}

fn done(disk: &Disk) -> Result<Answer<Attachment>, Error> {
    let serial = serial(disk)?;
    Ok(Answer::Done(Attachment::new(vec![(SERIAL.to_owned(), serial.to_owned())])))
}

/// A device is found by its serial or not at all.
fn serial(disk: &Disk) -> Result<&str, Error> {
    if disk.serial_number.is_empty() {
        return Err(Error::precondition(format!("disk {} has no serial number, so its device cannot be told from others", disk.disk_id))
            .with_hint("disks made before June 2020 have none: take a snapshot, create a disk from it, and use that one"));
    }
    Ok(&disk.serial_number)
}

fn request_attach(request: &AttachRequest, disk: &Disk, resume: Option<&str>) -> Result<Answer<Attachment>, Error> {
    serial(disk)?;
    let looks = resume.and_then(|resume| resume.strip_prefix(REQUESTED)).and_then(|looks| looks.parse::<u32>().ok());
    let (id, node) = (&disk.disk_id, &request.node_id);
    let looks = match looks {
        Some(looks) if looks < LOOKS_WHILE_FREE => looks + 1,
        Some(_) | None => {
            let _: Value = Action::AttachDisk
                .call()?
                .with("InstanceId", node)
                .with("DiskId", id)
                .send()
                .map_err(|failure| Error::from(failure).context(format!("disk {id}, node {node}")))?;
            0
        }
    };
    let reason = format!("disk {id} is being attached to {node}");
    Ok(Pending::after_ms(LOOK_AFTER_MS, reason).watching(id).with_resume(format!("{REQUESTED}{looks}")).into())
}

fn take_from_holder(request: &AttachRequest, disk: &Disk) -> Result<Answer<Attachment>, Error> {
    let (id, holders) = (&disk.disk_id, disk.holders());
    let Some(holder) = holders.first() else {
        return Ok(wait(format!("disk {id} is in use, and the cloud does not say yet by whom")));
    };
    if !settings::force_detach()? {
        return Err(Error::precondition(format!("disk {id} is attached to {}, and not to {}", holders.join(", "), request.node_id))
            .with_hint("the volume is free once its workload there is gone; if that node is lost for good, detach the disk in the console"));
    }
    wharf_sdk::log::warn(format!("taking disk {id} from {holder} for {}: the setting `force-detach` is on", request.node_id));
    let _: Value = Action::DetachDisk
        .call()?
        .with("InstanceId", holder)
        .with("DiskId", id)
        .send()
        .map_err(|failure| Error::from(failure).context(format!("disk {id}, node {holder}")))?;
    Ok(wait(format!("disk {id} is being taken from {holder}")))
}

fn wait(reason: String) -> Answer<Attachment> {
    Pending::after_ms(LOOK_AFTER_MS, reason).into()
}

fn missing(id: &str) -> Error {
    Error::not_found(format!("there is no disk {id}"))
}

#[cfg(test)]
mod tests;

//! `create`: CreateDisk first, then wait until the disk is there.
//!
//! Out of stock, and other reasons that another type or zone does not have, fall through to the next attempt. A refused attempt leaves
//! nothing behind and does not bind the client token, so a call that was killed in between begins again and ends with the same disk.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use wharf_alicloud::{Failure, codes};
use wharf_sdk::controller::CreateRequest;
use wharf_sdk::types::{Pending, Volume, VolumeSource};
use wharf_sdk::{Answer, Error, ErrorKind, Progress};

use crate::action::Action;
use crate::category::Kind;
use crate::client_token::{client_token, next_token};
use crate::disk_record::{Disk, State, find};
use crate::existing;
use crate::parameters::{DISK_ID, DiskParameters};
use crate::placement;
use crate::settings;
use crate::size::Wanted;
use crate::tags;
use crate::usage_modes::need_multi_attach;
use crate::volume;

/// No more CreateDisk in one call: eight zones with three types each, which is more than any region has.
const ATTEMPTS: usize = 24;
/// A disk is there after one to three seconds.
const LOOK_AFTER_MS: u32 = 500;
/// A new disk may be missing from a listing for a moment; after so many looks there is none.
const LOOKS_FOR_A_MISSING_DISK: u32 = 5;

/// What was asked for, checked.
pub struct Wish<'a> {
    /// The request.
    pub request: &'a CreateRequest,
    /// Its parameters.
    pub parameters: DiskParameters,
    /// Its size.
    pub size: Wanted,
    /// The snapshot to start from.
    pub snapshot: Option<String>,
    /// The region of every request.
    pub region: String,
    /// Zones to try, best first. One empty name when only regional disks are wanted.
    pub zones: Vec<String>,
}

/// What comes back with the next call.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Resume {
    /// The new disk.
    disk: String,
    /// How often it was looked for in vain.
    #[serde(default)]
    missed: u32,
}

/// `controller.create`.
///
/// # Errors
/// See the contract; every refusal names the parameter or the attempt.
pub fn create(request: &CreateRequest, progress: &Progress) -> Result<Answer<Volume>, Error> {
    let wish = Wish::read(request)?;
    if wish.parameters.adopt.is_some() {
        return wish.adopt().map(Answer::Done);
    }
    match &progress.resume {
        None => wish.begin(None),
        Some(resume) => match serde_json::from_str::<Resume>(resume) {
            Ok(resume) => wish.follow(resume, progress),
            // Another build's token: beginning again finds the same disk through the client token.
            Err(_) => wish.begin(None),
        },
    }
}

impl<'a> Wish<'a> {
    fn read(request: &'a CreateRequest) -> Result<Self, Error> {
        let parameters = DiskParameters::read(&request.parameters, &request.mutable_parameters)?;
        if need_multi_attach(&request.capabilities)? && !parameters.multi_attach {
            return Err(Error::invalid_request("several nodes can hold a disk only if its StorageClass says `multiAttach: \"true\"`"));
        }
        let size = Wanted::read(&request.capacity)?;
        let size = if parameters.round_up { size.at_least_default() } else { size };
        let region = region(&parameters)?;
        let zones = zones(request, &parameters)?;
        Ok(Self { request, snapshot: snapshot(request, &parameters)?, parameters, size, region, zones })
    }

    /// Tries kind after kind in zone after zone. `lost`: a disk that the usual client token is bound to and that is gone.
    fn begin(&self, lost: Option<&str>) -> Result<Answer<Volume>, Error> {
        let token = lost.map_or_else(|| client_token(&self.request.name), |disk| next_token(&self.request.name, disk));
        let mut refusals = Refusals::default();
        for attempt in self.attempts().into_iter().take(ATTEMPTS) {
            let gib = match self.size.for_kind(&attempt.kind) {
                Ok(gib) => gib,
                Err(error) => {
                    refusals.add_size(error);
                    continue;
                }
            };
            match self.try_once(&attempt, gib, &token) {
                Ok(disk) => return Ok(pending(&Resume { disk, missed: 0 })),
                Err(failure) if failure.is(existing::MISMATCH) => return self.reuse(&attempt, gib),
                Err(failure) if falls_through(&failure) => refusals.add(&attempt, failure.into()),
                Err(failure) => return Err(Error::from(failure).context(format!("volume {}, {}", self.request.name, attempt.label()))),
            }
        }
        Err(refusals.into_error(&self.request.name))
    }

    fn attempts(&self) -> Vec<Attempt<'_>> {
        let kinds = Kind::in_order(&self.parameters.categories, &self.parameters.levels);
        let mut tried_everywhere = BTreeSet::new();
        let mut attempts = Vec::new();
        for zone in &self.zones {
            for kind in &kinds {
                let zone = if kind.category.is_regional { "" } else { zone };
                if tried_everywhere.insert((zone, kind.label())) {
                    attempts.push(Attempt { kind: *kind, zone });
                }
            }
        }
        attempts
    }

    fn try_once(&self, attempt: &Attempt<'_>, gib: u64, token: &str) -> Result<String, Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Created {
            disk_id: String,
        }
        let created: Created = self.request_for(attempt, gib, token).send()?;
        Ok(created.disk_id)
    }

    fn request_for(&self, attempt: &Attempt<'_>, gib: u64, token: &str) -> wharf_alicloud::RpcCall {
        let (asked, category) = (&self.parameters, attempt.kind.category);
        let name = &self.request.name;
        let tags = tags::of_new_disk(name, settings::cluster_id().as_deref(), asked.retention_days, &asked.tags);
        let call = Action::CreateDisk
            .call_in(&self.region)
            .with("ClientToken", token)
            .with("DiskCategory", category.name)
            .with("Size", gib)
            .with_some("ZoneId", Some(attempt.zone).filter(|zone| !zone.is_empty()))
            .with_some("PerformanceLevel", attempt.kind.level.map(|level| level.name))
            .with_some("DiskName", Some(name).filter(|name| is_disk_name(name)))
            .with_some("SnapshotId", self.snapshot.as_ref())
            .with_some("ResourceGroupId", asked.resource_group.as_ref())
            .with_some("StorageClusterId", asked.storage_cluster.as_ref())
            .with_some("Encrypted", asked.encrypted.then_some(true))
            .with_some("KMSKeyId", asked.kms_key.as_ref())
            .with_some("MultiAttach", asked.multi_attach.then_some("Enabled"))
            .with_some("ProvisionedIops", asked.provisioned_iops.filter(|iops| category.has_provisioned_iops && *iops > 0))
            .with_some("BurstingEnabled", Some(asked.bursting).filter(|_| category.has_provisioned_iops))
            .with_tags(tags.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        (1u32..).zip(&asked.arns).fold(call, |call, (number, arn)| {
            call.with(&format!("Arn.{number}.Rolearn"), &arn.role)
                .with_some(&format!("Arn.{number}.RoleType"), Some(&arn.kind).filter(|kind| !kind.is_empty()))
                .with_some(&format!("Arn.{number}.AssumeRoleFor"), Some(&arn.acts_for).filter(|whom| !whom.is_empty()))
        })
    }

    /// The client token belongs to an earlier request of this name: its disk is used if it is what is asked for now.
    fn reuse(&self, attempt: &Attempt<'_>, gib: u64) -> Result<Answer<Volume>, Error> {
        let name = &self.request.name;
        let Some(disk) = existing::find_by_name(name)? else {
            // The earlier disk is gone. The next token is made of this attempt, so that a repeated call does not create a second disk.
            let spent_on = format!("{}/{}/{gib}", attempt.zone, attempt.kind.label());
            let disk = self.try_once(attempt, gib, &next_token(name, &spent_on))?;
            return Ok(pending(&Resume { disk, missed: 0 }));
        };
        match existing::differs(&disk, self) {
            Some(difference) => Err(Error::already_exists(format!("volume {name} is disk {} already: {difference}", disk.disk_id))),
            None => Ok(self.settle(&disk, 0)),
        }
    }

    fn follow(&self, resume: Resume, progress: &Progress) -> Result<Answer<Volume>, Error> {
        match progress.of(&resume.disk).map(Disk::seen).transpose()? {
            Some(Some(disk)) => Ok(self.settle(&disk, resume.missed)),
            Some(None) if resume.missed >= LOOKS_FOR_A_MISSING_DISK => self.begin(Some(&resume.disk)),
            Some(None) => Ok(pending(&Resume { missed: resume.missed + 1, ..resume })),
            None => Ok(pending(&resume)),
        }
    }

    fn settle(&self, disk: &Disk, missed: u32) -> Answer<Volume> {
        match disk.state() {
            State::Creating | State::Reinitialising => pending(&Resume { disk: disk.disk_id.clone(), missed }),
            State::InUse | State::Available | State::Attaching | State::Detaching | State::Unknown => Answer::Done(self.volume(disk)),
        }
    }

    fn volume(&self, disk: &Disk) -> Volume {
        let source = self.snapshot.clone().map(VolumeSource::Snapshot);
        volume::of_request(disk, &self.region, &self.request.parameters, source)
    }

    /// Takes over a disk that is there already, if it is what is asked for.
    fn adopt(&self) -> Result<Volume, Error> {
        let Some(id) = &self.parameters.adopt else { return Err(Error::defect("no disk to take over")) };
        let found = find(std::slice::from_ref(id))?;
        let disk = found
            .first()
            .ok_or_else(|| Error::not_found(format!("parameter `{DISK_ID}` names disk {id}, which does not exist in {}", self.region)))?;
        let (least, most) = (self.size.required.unwrap_or(disk.size), self.size.limit.unwrap_or(u64::MAX));
        if disk.size != least || disk.size > most {
            return Err(Error::out_of_range(format!("disk {id} has {} GiB, the volume is to have {least} GiB", disk.size))
                .with_hint("ask for exactly the size of the disk"));
        }
        if !disk.zone_id.is_empty() && !placement::is_reachable(self.request.topology.as_ref(), &disk.zone_id) {
            return Err(Error::exhausted(format!("disk {id} is in zone {}, which the workload cannot use", disk.zone_id)));
        }
        Ok(self.volume(disk))
    }
}

struct Attempt<'a> {
    kind: Kind,
    zone: &'a str,
}

impl Attempt<'_> {
    fn label(&self) -> String {
        let place = if self.zone.is_empty() { "the region" } else { self.zone };
        format!("{} in {place}", self.kind.label())
    }
}

/// Why every attempt failed.
#[derive(Default)]
struct Refusals {
    reasons: Vec<String>,
    has_other_than_size: bool,
    code: Option<String>,
}

impl Refusals {
    fn add_size(&mut self, error: Error) {
        if !self.reasons.contains(&error.message) {
            self.reasons.push(error.message);
        }
    }

    fn add(&mut self, attempt: &Attempt<'_>, error: Error) {
        self.has_other_than_size |= error.kind != ErrorKind::OutOfRange;
        self.reasons.push(format!("{}: {}", attempt.label(), error.message));
        self.code = error.code.or(self.code.take());
    }

    fn into_error(self, name: &str) -> Error {
        let message = format!("volume {name}: no attempt succeeded: {}", self.reasons.join("; "));
        let error = if self.has_other_than_size {
            Error::exhausted(message).with_hint("name more types in `type`, allow more zones, or try again later")
        } else {
            Error::out_of_range(message).with_hint("ask for another size, or name a type that allows it")
        };
        Error { code: self.code, ..error }
    }
}

/// Whether another type or zone may succeed where this one did not.
fn falls_through(failure: &Failure) -> bool {
    let Failure::Refused(refusal) = failure else { return false };
    let is_about_the_kind = ["InvalidPerformanceLevel.Malformed", "InvalidProvisionedIops.LimitExceed", "OperationDenied.PerformanceLevelNotMatch"];
    // A quota is the account's: no other attempt has more of it.
    let is_stock = codes::judge(&refusal.code, refusal.status).kind == ErrorKind::ResourceExhausted && !refusal.code.contains("Quota");
    let is_size = matches!(refusal.code.as_str(), "InvalidDiskSize.NotSupported" | "InvalidDataDiskSize.ValueNotSupported");
    // The one refusal of a category that has a general code and says it in words; the cloud's own driver looks for them too.
    let is_category =
        refusal.code.starts_with("InvalidDiskCategory") || refusal.message.contains("'DataDisk.n.Category' is not valid in this region.");
    is_stock || is_size || is_category || is_about_the_kind.contains(&refusal.code.as_str())
}

fn pending(resume: &Resume) -> Answer<Volume> {
    let reason = format!("disk {} is being created", resume.disk);
    let token = serde_json::json!({ "disk": resume.disk, "missed": resume.missed }).to_string();
    Pending::after_ms(LOOK_AFTER_MS, reason).watching(&resume.disk).with_resume(token).into()
}

fn region(parameters: &DiskParameters) -> Result<String, Error> {
    let region = settings::region()?;
    match &parameters.region {
        Some(other) if *other != region => Err(Error::invalid("regionId", other, format!("{region}, where this cluster is"))),
        _ => Ok(region),
    }
}

fn zones(request: &CreateRequest, parameters: &DiskParameters) -> Result<Vec<String>, Error> {
    let zones = placement::zones(request.topology.as_ref(), &parameters.zones)?;
    let is_zonal = parameters.categories.iter().any(|category| !category.is_regional);
    match zones.is_empty() {
        false => Ok(zones),
        true if is_zonal => Ok(vec![settings::zone()?]),
        true => Ok(vec![String::new()]),
    }
}

fn snapshot(request: &CreateRequest, parameters: &DiskParameters) -> Result<Option<String>, Error> {
    match &request.source {
        None => Ok(parameters.snapshot.clone()),
        Some(VolumeSource::Snapshot(id)) if id.starts_with("s-") => Ok(Some(id.clone())),
        Some(VolumeSource::Snapshot(id)) => Err(Error::not_found(format!("there is no snapshot {id}"))),
        Some(VolumeSource::Volume(_)) => {
            Err(Error::invalid_request("a disk cannot be cloned from a disk").with_hint("take a snapshot and restore it"))
        }
    }
}

/// 2 to 128 characters, a letter first, then letters, digits and `:_.-`. Another name stays a tag.
fn is_disk_name(name: &str) -> bool {
    let is_inner = |letter: char| letter.is_alphabetic() || letter.is_ascii_digit() || matches!(letter, ':' | '_' | '.' | '-');
    (2..=128).contains(&name.chars().count()) && name.starts_with(char::is_alphabetic) && name.chars().all(is_inner)
}

#[cfg(test)]
mod tests;

//! `create`: CreateDisk first, then wait until the disk is there.
//!
//! Out of stock, and other reasons that another type or zone does not have, fall through to the
//! next attempt. A refused attempt leaves nothing behind and does not bind the client token, so a
//! call that was killed in between begins again and ends with the same disk.
//!
//! A token may be bound to a disk that is gone. Then, and once only, a second one is used; both
//! depend on the volume's name alone, so however often the call is repeated, there are never more
//! than two disks.

mod refusals;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wharf_alicloud::Failure;
use wharf_sdk::controller::CreateRequest;
use wharf_sdk::types::{Pending, Volume, VolumeSource};
use wharf_sdk::{Answer, Error, Progress};

use self::refusals::{Refusals, falls_through};
use crate::action::Action;
use crate::category::Kind;
use crate::client_token::{client_token, later_token};
use crate::disk_record::{Disk, State, find};
use crate::existing;
use crate::parameters::{DISK_ID, DiskParameters};
use crate::placement;
use crate::settings;
use crate::size::Wanted;
use crate::tags;
use crate::usage_modes::need_multi_attach;
use crate::volume;

/// No more CreateDisk in one call: eight zones with three types each, which is more than any region
/// has.
const ATTEMPTS: usize = 24;
/// A disk is there after one to three seconds.
const LOOK_AFTER_MS: u32 = 500;
/// A new disk may be missing from a listing for a while. Each look waits longer than the one
/// before, so these are four seconds, of which the provisioner's ten have to hold more than one.
const LOOKS_FOR_A_MISSING_DISK: u32 = 5;
/// By how much.
const LOOK_LONGER_MS: u32 = 200;
/// A name that was used and deleted so often within the day that the cloud remembers its tokens can
/// be used again; and where the cloud hides disks, no more than so many are made in vain.
const MOST_RENEWALS: u32 = 8;

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
}

/// What comes back with the next call.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Resume {
    /// The new disk; `None`: the client token belongs to another request of this name, and its
    /// disk is looked for.
    disk: Option<String>,
    /// How often it was looked for in vain.
    missed: u32,
    /// How many client tokens of this name are used up.
    renewals: u32,
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
        None => wish.begin(&client_token(&request.name), 0),
        Some(resume) => match serde_json::from_str::<Resume>(resume) {
            Ok(resume) => wish.follow(resume, progress),
            // Another build's token: beginning again finds the same disk through the client token.
            Err(_) => wish.begin(&client_token(&request.name), 0),
        },
    }
}

impl<'a> Wish<'a> {
    fn read(request: &'a CreateRequest) -> Result<Self, Error> {
        let parameters = DiskParameters::read(&request.parameters, &request.mutable_parameters)?;
        if need_multi_attach(&request.capabilities)? && !parameters.multi_attach {
            return Err(Error::invalid_request(
                "several nodes can hold a disk only if its StorageClass says `multiAttach: \
                 \"true\"`",
            ));
        }
        let size = Wanted::read(&request.capacity)?;
        let size = if parameters.round_up { size.at_least_default() } else { size };
        let region = region(&parameters)?;
        Ok(Self { request, snapshot: snapshot(request, &parameters)?, parameters, size, region })
    }

    /// Zones to try, best first. One empty name when only regional disks are wanted. May ask the
    /// node's metadata, so not where it is not needed.
    pub fn zones(&self) -> Result<Vec<String>, Error> {
        let zones = placement::zones(self.request.topology.as_ref(), &self.parameters.zones)?;
        let is_zonal = self.parameters.categories.iter().any(|category| !category.is_regional);
        match zones.is_empty() {
            false => Ok(zones),
            true if is_zonal => Ok(vec![settings::zone()?]),
            true => Ok(vec![String::new()]),
        }
    }

    /// Tries kind after kind in zone after zone.
    fn begin(&self, token: &str, renewals: u32) -> Result<Answer<Volume>, Error> {
        let mut refusals = Refusals::default();
        let zones = self.zones()?;
        for attempt in self.attempts(&zones).into_iter().take(ATTEMPTS) {
            let gib = match self.size.for_kind(&attempt.kind) {
                Ok(gib) => gib,
                Err(error) => {
                    refusals.add_size(error);
                    continue;
                }
            };
            match self.try_once(&attempt, gib, token) {
                Ok(disk) => return Ok(pending(&Resume { disk: Some(disk), missed: 0, renewals })),
                Err(failure) if failure.is(existing::MISMATCH) => {
                    return self.look_by_name(Resume { disk: None, missed: 0, renewals });
                }
                Err(failure) if falls_through(&failure) => {
                    refusals.add(&attempt.label(), failure.into())
                }
                Err(failure) => {
                    return Err(Error::from(failure).context(format!(
                        "volume {}, {}",
                        self.request.name,
                        attempt.label()
                    )));
                }
            }
        }
        Err(refusals.into_error(&self.request.name))
    }

    fn attempts<'z>(&self, zones: &'z [String]) -> Vec<Attempt<'z>> {
        let kinds = Kind::in_order(&self.parameters.categories, &self.parameters.levels);
        let mut tried_everywhere = BTreeSet::new();
        let mut attempts = Vec::new();
        for zone in zones {
            for kind in &kinds {
                let zone = if kind.category.is_regional { "" } else { zone.as_str() };
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
        let tags = self.tags();
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
            // Said also when it is false, as the cloud's own driver does: a request that it began
            // is then the same one under the same token. A snapshot decides for itself.
            .with_some(
                "Encrypted",
                Some(asked.encrypted).filter(|encrypted| *encrypted || self.snapshot.is_none()),
            )
            .with_some("KMSKeyId", asked.kms_key.as_ref())
            .with_some("MultiAttach", asked.multi_attach.then_some("Enabled"))
            .with_some(
                "ProvisionedIops",
                asked.provisioned_iops.filter(|iops| category.has_provisioned_iops && *iops > 0),
            )
            .with_some(
                "BurstingEnabled",
                Some(asked.bursting).filter(|_| category.has_provisioned_iops),
            )
            .with_tags(tags.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        (1u32..).zip(&asked.arns).fold(call, |call, (number, arn)| {
            call.with(&format!("Arn.{number}.Rolearn"), &arn.role)
                .with_some(
                    &format!("Arn.{number}.RoleType"),
                    Some(&arn.kind).filter(|kind| !kind.is_empty()),
                )
                .with_some(
                    &format!("Arn.{number}.AssumeRoleFor"),
                    Some(&arn.acts_for).filter(|whom| !whom.is_empty()),
                )
        })
    }

    fn follow(&self, resume: Resume, progress: &Progress) -> Result<Answer<Volume>, Error> {
        let Some(id) = &resume.disk else { return self.look_by_name(resume) };
        match progress.of(id).map(Disk::seen).transpose()? {
            Some(Some(disk)) => {
                if resume.renewals > 0 {
                    // An earlier disk may have turned up after all: two disks of one name are for a
                    // person to sort out.
                    existing::find_by_name(&self.request.name)?;
                }
                Ok(self.settle(&disk, resume))
            }
            Some(None) if resume.missed >= LOOKS_FOR_A_MISSING_DISK => self.look_by_name(resume),
            Some(None) => Ok(pending(&resume.missed_again())),
            None => Ok(pending(&resume)),
        }
    }

    /// Looks for the disk by its tag. One that is there is used if it is what is asked for now; if
    /// none turns up, there is the next token.
    fn look_by_name(&self, resume: Resume) -> Result<Answer<Volume>, Error> {
        let name = &self.request.name;
        match existing::find_by_name(name)? {
            Some(disk) => match existing::differs(&disk, self, &self.zones()?) {
                Some(difference) => Err(Error::already_exists(format!(
                    "volume {name} is disk {} already: {difference}",
                    disk.disk_id
                ))),
                None => Ok(self.settle(&disk, resume)),
            },
            None if resume.missed < LOOKS_FOR_A_MISSING_DISK => Ok(pending(&resume.missed_again())),
            None if resume.renewals >= MOST_RENEWALS => Err(self.unlisted(&resume)),
            None => self.begin(&later_token(name, resume.renewals + 1), resume.renewals + 1),
        }
    }

    fn unlisted(&self, resume: &Resume) -> Error {
        let name = &self.request.name;
        let what = match &resume.disk {
            Some(disk) => format!("disk {disk} was created, and the cloud does not list it"),
            None => "the cloud has seen its client tokens before, and does not list the disk that \
                     they made"
                .to_owned(),
        };
        Error::unavailable(format!("volume {name}: {what}"))
            .with_hint(format!(
                "the account must be allowed `DescribeDisks` for every disk of the region; the \
                 disk has the tag {}={name}",
                tags::VOLUME_NAME
            ))
            .with_unknown_effect()
    }

    fn settle(&self, disk: &Disk, resume: Resume) -> Answer<Volume> {
        match disk.state() {
            State::Creating | State::Reinitialising => {
                pending(&Resume { disk: Some(disk.disk_id.clone()), ..resume })
            }
            State::InUse
            | State::Available
            | State::Attaching
            | State::Detaching
            | State::Unknown => Answer::Done(self.volume(disk)),
        }
    }

    fn tags(&self) -> Vec<(String, String)> {
        let asked = &self.parameters;
        tags::of_new_disk(
            &self.request.name,
            settings::cluster_id().as_deref(),
            asked.retention_days,
            &asked.tags,
        )
    }

    fn volume(&self, disk: &Disk) -> Volume {
        let source = self.snapshot.clone().map(VolumeSource::Snapshot);
        volume::of_request(disk, &self.region, &self.request.parameters, source)
    }

    /// Takes over a disk that is there already, if it is what is asked for.
    fn adopt(&self) -> Result<Volume, Error> {
        let Some(id) = &self.parameters.adopt else {
            return Err(Error::defect("no disk to take over"));
        };
        let found = find(std::slice::from_ref(id))?;
        let disk = found.first().ok_or_else(|| {
            Error::not_found(format!(
                "parameter `{DISK_ID}` names disk {id}, which does not exist in {}",
                self.region
            ))
        })?;
        disk.need_data_disk()?;
        let (least, most) =
            (self.size.required.unwrap_or(disk.size), self.size.limit.unwrap_or(u64::MAX));
        if disk.size != least || disk.size > most {
            return Err(Error::out_of_range(format!(
                "disk {id} has {} GiB, the volume is to have {least} GiB",
                disk.size
            ))
            .with_hint("ask for exactly the size of the disk"));
        }
        if !disk.zone_id.is_empty()
            && !placement::is_reachable(self.request.topology.as_ref(), &disk.zone_id)
        {
            return Err(Error::exhausted(format!(
                "disk {id} is in zone {}, which the workload cannot use",
                disk.zone_id
            )));
        }
        self.tag(disk)?;
        Ok(self.volume(disk))
    }

    /// Gives a disk that is taken over what a new one has from its creation: `list` finds it, and a
    /// node does not take it for somebody else's.
    fn tag(&self, disk: &Disk) -> Result<(), Error> {
        let (tags, has) = (self.tags(), disk.tags());
        if tags.iter().all(|(key, value)| has.get(key.as_str()) == Some(&value.as_str())) {
            return Ok(());
        }
        let call = Action::TagResources
            .call_in(&self.region)
            .with("ResourceType", "disk")
            .with("ResourceId.1", &disk.disk_id);
        let _: Value = call
            .with_tags(tags.iter().map(|(key, value)| (key.as_str(), value.as_str())))
            .send()
            .map_err(|failure| {
                Error::from(failure)
                    .context(format!("volume {}, disk {}", self.request.name, disk.disk_id))
            })?;
        Ok(())
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

impl Resume {
    fn missed_again(self) -> Self {
        Self { missed: self.missed.saturating_add(1), ..self }
    }
}

fn pending(resume: &Resume) -> Answer<Volume> {
    let token = serde_json::json!({ "disk": resume.disk, "missed": resume.missed, "renewals": resume.renewals }).to_string();
    let wait = LOOK_AFTER_MS.max(resume.missed.saturating_mul(LOOK_LONGER_MS));
    match &resume.disk {
        Some(disk) => {
            Pending::after_ms(wait, format!("disk {disk} is being created")).watching(disk)
        }
        None => Pending::after_ms(
            wait,
            "the disk of an earlier request with this name is not listed yet",
        ),
    }
    .with_resume(token)
    .into()
}

fn region(parameters: &DiskParameters) -> Result<String, Error> {
    let region = settings::region()?;
    match &parameters.region {
        Some(other) if *other != region => {
            Err(Error::invalid("regionId", other, format!("{region}, where this cluster is")))
        }
        _ => Ok(region),
    }
}

fn snapshot(request: &CreateRequest, parameters: &DiskParameters) -> Result<Option<String>, Error> {
    match &request.source {
        None => Ok(parameters.snapshot.clone()),
        Some(VolumeSource::Snapshot(id)) if id.starts_with("s-") => Ok(Some(id.clone())),
        Some(VolumeSource::Snapshot(id)) => {
            Err(Error::not_found(format!("there is no snapshot {id}")))
        }
        Some(VolumeSource::Volume(_)) => {
            Err(Error::invalid_request("a disk cannot be cloned from a disk")
                .with_hint("take a snapshot and restore it"))
        }
    }
}

/// 2 to 128 characters, a letter first, then letters, digits and `:_.-`. Another name stays a tag.
fn is_disk_name(name: &str) -> bool {
    let is_inner = |letter: char| {
        letter.is_alphabetic() || letter.is_ascii_digit() || matches!(letter, ':' | '_' | '.' | '-')
    };
    (2..=128).contains(&name.chars().count())
        && name.starts_with(char::is_alphabetic)
        && name.chars().all(is_inner)
}

#[cfg(test)]
mod tests;

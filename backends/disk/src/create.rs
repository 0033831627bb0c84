//! `create`: CreateDisk first, then wait until the disk is there.
//!
//! Out of stock, and other reasons that another type or zone does not have, fall through to the
//! next attempt. One call sends one CreateDisk: what was refused goes into the resume token, so a
//! caller whose time is over comes back to the next attempt and not to the first. A refused attempt
//! leaves nothing behind, so a call that was killed in between begins again and ends with the same
//! disk.
//!
//! A token may be bound to a disk that is gone, or to an attempt that the cloud refused. Then the
//! next one is used; all of them depend on the volume's name alone, so however often the call is
//! repeated, there are never more disks than tokens.

mod refusals;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wharf_alicloud::Failure;
use wharf_sdk::controller::CreateRequest;
use wharf_sdk::types::{Pending, Volume, VolumeCapability, VolumeSource};
use wharf_sdk::{Answer, Error, Progress};

use self::refusals::{Refusals, Refused, falls_through};
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

/// No more attempts for one volume: eight zones with three types each, which is more than any
/// region has.
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

/// The host takes 4 KiB. In short, all attempts together have less: 24 of at most 120 bytes.
const LONGEST_TOKEN: usize = 4000;

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
    /// The new disk; `None`: there is none yet, or the client token belongs to another request of
    /// this name, and its disk is looked for.
    disk: Option<String>,
    /// Whether the next attempt is made, and no disk looked for.
    is_trying: bool,
    /// How often it was looked for in vain.
    missed: u32,
    /// How many client tokens of this name are used up.
    renewals: u32,
    /// Attempts that the cloud refused.
    refused: Vec<Refused>,
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
    // Another build's token: beginning again finds the same disk through the client token.
    let resume = progress.resume.as_deref().and_then(|resume| serde_json::from_str(resume).ok());
    match resume {
        None => wish.attempt(Resume::default()),
        Some(resume) => wish.follow(resume, progress),
    }
}

impl<'a> Wish<'a> {
    pub(crate) fn read(request: &'a CreateRequest) -> Result<Self, Error> {
        let parameters = DiskParameters::read(&request.parameters, &request.mutable_parameters)?;
        if need_multi_attach(&request.capabilities)? && !parameters.multi_attach {
            return Err(Error::invalid_request(
                "several nodes can hold a disk only if its StorageClass says `multiAttach: \
                 \"true\"`",
            ));
        }
        for options in request.capabilities.iter().filter_map(VolumeCapability::mount_options) {
            parameters.formatting.check(options)?;
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

    /// Makes the first attempt that was not refused yet, kind after kind in zone after zone.
    fn attempt(&self, mut resume: Resume) -> Result<Answer<Volume>, Error> {
        let name = &self.request.name;
        let zones = self.zones()?;
        let (fitting, misfits) = self.fitting_attempts(&zones);
        let is_refused = |label: &str| resume.refused.iter().any(|refused| refused.0 == label);
        let mut open = fitting.iter().filter(|(attempt, _)| !is_refused(&attempt.label()));
        let Some((attempt, gib)) = open.next() else {
            return Err(Refusals::of(misfits, &resume.refused).into_error(name));
        };
        let has_another = open.next().is_some();
        let token = match resume.renewals {
            0 => client_token(name),
            renewals => later_token(name, renewals),
        };
        match self.try_once(attempt, *gib, &token) {
            Ok(disk) => {
                Ok(pending(&Resume { disk: Some(disk), is_trying: false, missed: 0, ..resume }))
            }
            Err(failure) if failure.is(existing::MISMATCH) => {
                self.look_by_name(Resume { disk: None, is_trying: false, missed: 0, ..resume })
            }
            Err(Failure::Refused(refusal)) if falls_through(&refusal) => {
                resume.refused.push(Refused::new(attempt.label(), &refusal));
                match has_another {
                    true => Ok(pending(&Resume { is_trying: true, ..resume })),
                    false => Err(Refusals::of(misfits, &resume.refused).into_error(name)),
                }
            }
            Err(failure) => {
                Err(Error::from(failure).context(format!("volume {name}, {}", attempt.label())))
            }
        }
    }

    /// Attempts with the size that each would have, and why the others cannot have it.
    fn fitting_attempts<'z>(&self, zones: &'z [String]) -> (Vec<(Attempt<'z>, u64)>, Vec<Error>) {
        let (mut fitting, mut misfits) = (Vec::new(), Vec::new());
        for attempt in self.attempts(zones).into_iter().take(ATTEMPTS) {
            match self.size.for_kind(&attempt.kind).and_then(|gib| {
                self.need_selected_instance(&attempt)?;
                Ok(gib)
            }) {
                Ok(gib) => fitting.push((attempt, gib)),
                Err(error) => misfits.push(error),
            }
        }
        (fitting, misfits)
    }

    /// A disk that belongs to one instance is made where that one is.
    pub(crate) fn need_selected_instance(&self, attempt: &Attempt<'_>) -> Result<(), Error> {
        if !attempt.kind.category.is_of_one_instance {
            return Ok(());
        }
        match placement::selected_instance(self.request.topology.as_ref()) {
            Some((_, zone)) if zone == attempt.zone => Ok(()),
            Some((instance, zone)) => Err(Error::out_of_range(format!(
                "{} belongs to instance {instance}, which is in {zone}",
                attempt.kind.label()
            ))),
            None => Err(Error::out_of_range(format!(
                "{} belongs to one instance, and none was selected: the StorageClass needs \
                 `volumeBindingMode: WaitForFirstConsumer`",
                attempt.kind.label()
            ))),
        }
    }

    /// Every kind in every zone, best first.
    pub(crate) fn attempts<'z>(&self, zones: &'z [String]) -> Vec<Attempt<'z>> {
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
            .with_some("DiskName", Some(name).filter(|name| tags::is_disk_name(name)))
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
        let Some(id) = &resume.disk else {
            return match resume.is_trying {
                true => self.attempt(resume),
                false => self.look_by_name(resume),
            };
        };
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
                ))
                .as_observed()),
                None => Ok(self.settle(&disk, resume)),
            },
            None if resume.missed < LOOKS_FOR_A_MISSING_DISK => Ok(pending(&resume.missed_again())),
            None if resume.renewals >= MOST_RENEWALS => Err(self.unlisted(&resume)),
            None => self.attempt(Resume { disk: None, renewals: resume.renewals + 1, ..resume }),
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

    /// The node that the scheduler has chosen, where it has chosen one.
    pub fn instance(&self) -> Option<String> {
        let selected = placement::selected_instance(self.request.topology.as_ref());
        selected.map(|(instance, _)| instance.to_owned())
    }

    fn volume(&self, disk: &Disk) -> Volume {
        volume::of_wish(disk, self)
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
            .as_observed()
        })?;
        disk.need_data_disk()?;
        let least = self.size.required.unwrap_or(disk.size);
        // Without a limit exactly the size is meant: whoever names a disk knows it.
        let most = self.size.limit.unwrap_or(least);
        if disk.size < least || disk.size > most {
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

/// One kind of disk in one zone.
pub(crate) struct Attempt<'a> {
    pub(crate) kind: Kind,
    /// Empty: in the region.
    pub(crate) zone: &'a str,
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

    /// As the host carries it: the cloud's words are left out when they do not fit.
    fn token(&self) -> String {
        let text = |resume: &Self| serde_json::json!(resume).to_string();
        match text(self) {
            whole if whole.len() <= LONGEST_TOKEN => whole,
            _ => text(&Self {
                disk: self.disk.clone(),
                refused: self.refused.iter().map(Refused::in_short).collect(),
                ..*self
            }),
        }
    }
}

fn pending(resume: &Resume) -> Answer<Volume> {
    let wait = LOOK_AFTER_MS.max(resume.missed.saturating_mul(LOOK_LONGER_MS));
    let pending = match &resume.disk {
        Some(disk) => {
            Pending::after_ms(wait, format!("disk {disk} is being created")).watching(disk)
        }
        None if resume.is_trying => {
            let refused = resume.refused.last().map(Refused::reason).unwrap_or_default();
            Pending::after_ms(0, format!("the next type or zone is tried: {refused}"))
        }
        None => Pending::after_ms(
            wait,
            "the disk of an earlier request with this name is not listed yet",
        ),
    };
    pending.with_resume(resume.token()).into()
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
            Err(Error::not_found(format!("there is no snapshot {id}")).as_observed())
        }
        Some(VolumeSource::Volume(_)) => {
            Err(Error::invalid_request("a disk cannot be cloned from a disk")
                .with_hint("take a snapshot and restore it"))
        }
    }
}

#[cfg(test)]
mod tests;

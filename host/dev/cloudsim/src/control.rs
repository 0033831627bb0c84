//! What a test or an operator does to a running region, whichever way they reach it: the library or
//! `/_region`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::RegionError;
use crate::faults::{FaultPlan, FaultRule};
use crate::journal::JournalEntry;
use crate::limits::{Buckets, RateLimits};
use crate::options::{Delays, Quotas, Shortage};
use crate::params::Params;
use crate::policies::Policies;
use crate::server::{Shared, lock};

/// A disk, for assertions on the end state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSummary {
    /// `d-…`.
    pub id: String,
    /// `DiskName`.
    pub name: String,
    /// `Available`, `In_use`, …
    pub status: String,
    /// Size in GiB.
    pub size_gib: u64,
    /// `DiskCategory`.
    pub category: String,
    /// The zone.
    pub zone: String,
    /// Instances that have it, get it or are losing it.
    pub attached_to: Vec<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Instances that it was taken from while they still had it open or mounted, in this run of
    /// the region. A sound client leaves this empty.
    pub detached_while_mounted: Vec<String>,
}

/// A file system, for assertions on the end state and for who exports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSystemSummary {
    /// `1ca404a348`, `extreme-…`.
    pub id: String,
    /// `Description`.
    pub description: String,
    /// `Running`, `Pending`, `Deleting`.
    pub status: String,
    /// The directory with its files, to be exported.
    pub directory: PathBuf,
    /// The names of its mount targets, whatever their state.
    pub mount_targets: Vec<String>,
    /// The names of its access points, and the directories that they lead to.
    pub access_points: BTreeMap<String, String>,
    /// The directories that everybody's files together have a quota in, and its size in GiB.
    pub quotas: BTreeMap<String, u64>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// What is wrong, or right again, with an instance. What is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InstanceCondition {
    /// `Running`, `Stopped`, `Starting`, `Stopping`.
    pub status: Option<String>,
    /// Attach and detach answer 403 `InstanceLockedForSecurity`.
    pub locked_for_security: Option<bool>,
    /// The API no longer knows it: 404 `InvalidInstanceId.NotFound`. Its disks are detached at
    /// once, as when a real instance is released.
    pub released: Option<bool>,
}

pub(crate) fn faults(shared: &Shared) -> Vec<FaultRule> {
    lock(&shared.faults).rules()
}

pub(crate) fn set_faults(shared: &Shared, rules: Vec<FaultRule>) {
    *lock(&shared.faults) = FaultPlan::new(rules);
}

pub(crate) fn set_rate_limits(shared: &Shared, limits: RateLimits) {
    *lock(&shared.buckets) = Buckets::new(limits);
}

pub(crate) fn set_rate_limits_used_up(shared: &Shared, limits: RateLimits) {
    *lock(&shared.buckets) = Buckets::used_up(limits);
}

pub(crate) fn journal(shared: &Shared) -> Vec<JournalEntry> {
    lock(&shared.journal).entries()
}

pub(crate) fn clear_journal(shared: &Shared) {
    lock(&shared.journal).clear();
}

pub(crate) fn disks(shared: &Shared) -> Vec<DiskSummary> {
    let mut world = lock(&shared.world);
    world.progress();
    let lost = |id: &str| {
        let lost = world.detached_while_mounted.iter().filter(|(disk, _)| disk == id);
        lost.map(|(_, instance)| instance.clone()).collect()
    };
    let mut disks: Vec<_> = world.state.disks.values().collect();
    disks.sort_by_key(|disk| disk.number);
    disks
        .into_iter()
        .map(|disk| DiskSummary {
            id: disk.id.clone(),
            name: disk.name.clone(),
            status: disk.status().to_owned(),
            size_gib: disk.size_gib,
            category: disk.category.clone(),
            zone: disk.zone.clone(),
            attached_to: disk
                .attachments
                .iter()
                .map(|attachment| attachment.instance.clone())
                .collect(),
            tags: disk.tags.clone(),
            detached_while_mounted: lost(&disk.id),
        })
        .collect()
}

pub(crate) fn file_systems(shared: &Shared) -> Vec<FileSystemSummary> {
    let mut world = lock(&shared.world);
    world.progress();
    let (now, nas) = (world.now(), crate::nas::files(&world.options.directory));
    let mut systems: Vec<_> = world.state.nas.file_systems.values().collect();
    systems.sort_by_key(|system| system.number);
    systems
        .into_iter()
        .map(|system| FileSystemSummary {
            id: system.id.clone(),
            description: system.description.clone(),
            status: system.status(now).to_owned(),
            directory: nas.join(&system.id),
            mount_targets: system
                .mount_targets
                .iter()
                .map(|target| target.domain.clone())
                .collect(),
            access_points: system
                .access_points
                .iter()
                .map(|point| (point.domain.clone(), point.root.clone()))
                .collect(),
            quotas: system
                .quotas
                .iter()
                .filter(|quota| quota.user_type == "AllUsers")
                .filter_map(|quota| Some((quota.path.clone(), quota.size_gib?)))
                .collect(),
            tags: system.tags.clone(),
        })
        .collect()
}

pub(crate) fn delays(shared: &Shared) -> Delays {
    lock(&shared.world).options.delays
}

pub(crate) fn set_delays(shared: &Shared, delays: Delays) {
    lock(&shared.world).options.delays = delays;
}

pub(crate) fn quotas(shared: &Shared) -> Quotas {
    lock(&shared.world).options.quotas
}

pub(crate) fn set_quotas(shared: &Shared, quotas: Quotas) {
    lock(&shared.world).options.quotas = quotas;
}

pub(crate) fn set_policies(shared: &Shared, policies: Policies) {
    lock(&shared.world).options.policies = policies;
}

pub(crate) fn make_disks(
    shared: &Shared,
    count: usize,
    parameters: &[(&str, &str)],
) -> Result<Vec<String>, RegionError> {
    let mut world = lock(&shared.world);
    let given: BTreeMap<_, _> =
        parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut made = Vec::new();
    for n in 0..count {
        let mut pairs = given.clone();
        pairs.entry("RegionId".to_owned()).or_insert_with(|| world.options.region.clone());
        pairs.entry("DiskName".to_owned()).and_modify(|name| name.push_str(&n.to_string()));
        let answer = crate::ecs::create_disk(&mut world, &Params::new(pairs));
        let answer = answer.map_err(|error| RegionError::Refused {
            action: "CreateDisk",
            code: error.code,
            message: error.message,
        })?;
        made.extend(answer.get("DiskId").and_then(|id| id.as_str()).map(str::to_owned));
    }
    world.save()?;
    Ok(made)
}

pub(crate) fn make_file_system(shared: &Shared) -> Result<String, RegionError> {
    let mut world = lock(&shared.world);
    let made = crate::nas::make(&mut world).map_err(|error| RegionError::Refused {
        action: "CreateFileSystem",
        code: error.code,
        message: error.message,
    })?;
    world.save()?;
    Ok(made)
}

pub(crate) fn set_shortages(shared: &Shared, shortages: Vec<Shortage>) {
    lock(&shared.world).options.shortages = shortages;
}

pub(crate) fn set_session_seconds(shared: &Shared, most: Option<u64>) {
    lock(&shared.world).options.session_seconds = most;
}

pub(crate) fn set_session_grace_seconds(shared: &Shared, grace: u64) {
    lock(&shared.world).options.session_grace_seconds = grace;
}

pub(crate) fn advance(shared: &Shared, by: Duration) {
    shared.clock.advance(by);
    lock(&shared.world).progress();
    shared.wake.notify_one();
}

pub(crate) fn set_instance(
    shared: &Shared,
    id: &str,
    condition: InstanceCondition,
) -> Result<(), RegionError> {
    let mut world = lock(&shared.world);
    let now = world.now();
    let Some(instance) = world.change().instances.iter_mut().find(|instance| instance.id == id)
    else {
        return Err(RegionError::Unknown { kind: "instance", id: id.to_owned() });
    };
    instance.status = condition.status.unwrap_or_else(|| instance.status.clone());
    instance.locked_for_security =
        condition.locked_for_security.unwrap_or(instance.locked_for_security);
    instance.released = condition.released.unwrap_or(instance.released);
    if condition.released == Some(true) {
        let attachments = world.change().disks.values_mut().flat_map(|disk| &mut disk.attachments);
        for attachment in attachments.filter(|attachment| attachment.instance == id) {
            attachment.phase = crate::state::Phase::Detaching { until: now };
        }
        world.progress();
    }
    world.save()
}

pub(crate) fn set_arrears(shared: &Shared, id: &str, in_arrears: bool) -> Result<(), RegionError> {
    let mut world = lock(&shared.world);
    match world.change().disks.get_mut(id) {
        Some(disk) => disk.in_arrears = in_arrears,
        None => return Err(RegionError::Unknown { kind: "disk", id: id.to_owned() }),
    }
    world.save()
}

pub(crate) fn reset(shared: &Shared) -> Result<(), RegionError> {
    lock(&shared.world).reset()?;
    lock(&shared.oss).clear()?;
    set_faults(shared, Vec::new());
    clear_journal(shared);
    Ok(())
}

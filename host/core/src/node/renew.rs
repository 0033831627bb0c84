//! New keys for a mount's helper, from the account that gave it the first ones. The backend is not
//! asked: the plan that mounted is on record, and says whose keys they are and in which form.

use std::path::Path;

use super::NodeService;
use super::outcome::Outcome;
use super::stage::needs_keys;
use crate::error::{Error, ErrorKind};
use crate::plan::{Goal, Plan};
use crate::ports::{Call, CallSecrets, StageRecord};
use crate::secret::Secret;
use crate::types::VolumeId;

/// A plan that gave a helper keys, and what it came to.
struct WithKeys<'a> {
    plan: &'a Plan,
    goal: Goal,
    destination: &'a Path,
    only_reads: bool,
}

impl NodeService {
    /// Gives the helper whose mount is at this path the keys that its account has by now. Keys that
    /// came with a call stay: nobody here has the next ones. `false`: this driver mounted nothing
    /// with keys there, or it is gone.
    ///
    /// # Errors
    /// Why the helper goes on with the old ones.
    pub fn renew(&self, call: &Call, path: &Path) -> Result<bool, Error> {
        let records = self.node.records(&self.driver)?;
        let Some(seen) = records.iter().find(|record| self.with_keys_at(record, path).is_some())
        else {
            return Ok(false);
        };
        let _guard = self.lock(call, &seen.volume, "renew the keys of")?;
        // Nobody unmounts it from here on, and what was unmounted is not mounted again.
        let Some(record) = self.node.record(&self.driver, &seen.volume)? else { return Ok(false) };
        let Some(found) = self.with_keys_at(&record, path) else { return Ok(false) };
        if !self.node.is_mounted(path)? {
            return Ok(false);
        }
        self.run_again(call, &record.volume, &found, &[]).map(|()| true)
    }

    /// The same for the mount that a target shows, with the secrets of a publish that was repeated,
    /// as kubelet does where keys expire (`requiresRepublish`).
    pub(super) fn renew_keys(
        &self,
        call: &Call,
        record: &StageRecord,
        secrets: &[(String, Secret)],
        target: &Path,
    ) -> Result<(), Error> {
        let found = published(record).find(|found| found.destination == target);
        match found.or_else(|| staged(record)) {
            Some(found) => self.run_again(call, &record.volume, &found, secrets),
            None => Ok(()),
        }
    }

    fn with_keys_at<'a>(&self, record: &'a StageRecord, path: &Path) -> Option<WithKeys<'a>> {
        let mut all = published(record).chain(staged(record));
        all.find(|found| self.node.is_same_path(found.destination, path))
    }

    /// What the plan does is true already, and the supervisor gives the helper the keys if they are
    /// new.
    fn run_again(
        &self,
        call: &Call,
        volume: &VolumeId,
        found: &WithKeys<'_>,
        secrets: &[(String, Secret)],
    ) -> Result<(), Error> {
        let secrets = match secrets {
            [] => CallSecrets::Later,
            brought => CallSecrets::Brought(brought),
        };
        let WithKeys { plan, goal, destination, only_reads } = *found;
        let wanted = Outcome { goal, destination, staged: None, only_reads, secrets };
        match self.run_to(call, plan, volume, wanted) {
            // Keys that came with another call stay.
            Err(error)
                if error.kind == ErrorKind::Unauthenticated
                    && matches!(secrets, CallSecrets::Later) =>
            {
                Ok(())
            }
            ran => ran.map(drop).map_err(|error| error.context("new keys for the mount")),
        }
    }
}

fn published(record: &StageRecord) -> impl Iterator<Item = WithKeys<'_>> {
    record.targets.iter().filter_map(|target| {
        let plan = target.plan.as_ref().filter(|plan| needs_keys(plan))?;
        let only_reads = target.read_only || target.capability.is_read_only();
        let destination = target.target_path.as_path();
        Some(WithKeys { plan, goal: Goal::PublishedFileSystem, destination, only_reads })
    })
}

fn staged(record: &StageRecord) -> Option<WithKeys<'_>> {
    let plan = record.plan.as_ref().filter(|plan| needs_keys(plan))?;
    let only_reads = record.capability.is_read_only();
    let destination = record.staging_path.as_path();
    Some(WithKeys { plan, goal: Goal::StagedFileSystem, destination, only_reads })
}

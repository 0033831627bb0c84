//! Unstaging and unpublishing. They read only the mount table and the record, so they work without
//! configuration, backend or disk space.

use std::path::Path;

use super::{NodeService, log_failure};
use crate::error::{Error, ErrorKind};
use crate::ports::{Call, RemovePath, StageRecord};
use crate::types::VolumeId;

impl NodeService {
    /// Undoes [`NodeService::stage`]. Not staged: nothing is done.
    ///
    /// # Errors
    /// `FailedPrecondition` while a workload still uses it.
    pub fn unstage(
        &self,
        call: &Call,
        volume: &VolumeId,
        staging_path: &Path,
    ) -> Result<(), Error> {
        let _guard = self.lock_for_teardown(call, volume, "unstage")?;
        let record = self.record_for_teardown(volume);
        self.check_ours(volume, staging_path)
            .and_then(|()| self.unstage_locked(call, record, staging_path))
            .map_err(|error| self.explain(error, "unstage of", volume))
    }

    /// [`NodeService::unstage`] by path alone, for a caller that knows nothing else. Works without
    /// a record.
    pub fn unstage_path(&self, call: &Call, path: &Path) -> Result<(), Error> {
        let (_guard, record) = self.lock_path_for_teardown(call, path, "unstage", |record| {
            record.targets.iter().all(|target| target.target_path != path)
        })?;
        self.unstage_locked(call, record, path)
            .map_err(|error| error.context(format!("unstage of {}", path.display())))
    }

    fn unstage_locked(
        &self,
        call: &Call,
        record: Option<StageRecord>,
        staging_path: &Path,
    ) -> Result<(), Error> {
        let Some(record) = record else {
            // Nothing says where it is published but the mounts themselves.
            let elsewhere = self
                .node
                .mounted(staging_path)?
                .map(|mounted| mounted.elsewhere)
                .unwrap_or_default();
            elsewhere.first().map_or(Ok(()), |path| Err(still_published(path)))?;
            return self.node.unmount(call, staging_path, RemovePath::No);
        };
        self.check_unused(&record)?;
        if record.staging_path != staging_path && self.is_mounted_at(&record.staging_path)? {
            return self.node.unmount(call, staging_path, RemovePath::No);
        }
        // The record goes first: kubelet does not repeat a call that was killed after the unmount,
        // and one that was killed before it finds the mount by its path.
        log_failure("forget the volume", self.node.forget(&self.driver, &record.volume));
        self.node.unmount(call, staging_path, RemovePath::No).inspect_err(|_| {
            log_failure("write the volume down again", self.node.save(&record));
        })
    }

    fn check_unused(&self, record: &StageRecord) -> Result<(), Error> {
        for target in &record.targets {
            if self.is_mounted_at(&target.target_path)? {
                return Err(still_published(&target.target_path));
            }
        }
        Ok(())
    }

    /// Undoes [`NodeService::publish`] and removes the target path. Not published: nothing is done.
    pub fn unpublish(&self, call: &Call, volume: &VolumeId, target: &Path) -> Result<(), Error> {
        let _guard = self.lock_for_teardown(call, volume, "unpublish")?;
        let record = self.record_for_teardown(volume);
        self.check_ours(volume, target)
            .and_then(|()| self.check_not_staging(record.as_ref(), target))
            .and_then(|()| self.unpublish_locked(call, record, target, RemovePath::Yes))
            .map_err(|error| self.explain(error, "unpublish of", volume))
    }

    /// [`NodeService::unpublish`] by path alone; the directory stays. Works without a record.
    pub fn unpublish_path(&self, call: &Call, path: &Path) -> Result<(), Error> {
        let (_guard, record) = self.lock_path_for_teardown(call, path, "unpublish", |_| true)?;
        self.check_not_staging(record.as_ref(), path)
            .and_then(|()| self.unpublish_locked(call, record, path, RemovePath::No))
            .map_err(|error| error.context(format!("unpublish of {}", path.display())))
    }

    fn unpublish_locked(
        &self,
        call: &Call,
        record: Option<StageRecord>,
        target: &Path,
        remove: RemovePath,
    ) -> Result<(), Error> {
        self.node.unmount(call, target, remove)?;
        let Some(mut record) = record else { return Ok(()) };
        let count = record.targets.len();
        record.targets.retain(|published| !self.node.is_same_path(&published.target_path, target));
        if record.targets.len() != count {
            // It is unmounted. A record that says otherwise is harmless, and a disk that is full
            // would keep the pod for ever.
            log_failure("write down that it is unpublished", self.save_or_forget(&record));
        }
        Ok(())
    }

    /// What is mounted at the path is not another volume's.
    ///
    /// # Errors
    /// `FailedPrecondition` naming the other.
    pub(super) fn check_ours(&self, volume: &VolumeId, path: &Path) -> Result<(), Error> {
        // Whose path it was is found in the records of all volumes, and says nothing where nothing
        // is mounted.
        if self.node.is_mounted(path).is_ok_and(|is_mounted| !is_mounted) {
            return Ok(());
        }
        match self.node.record_of_path(path) {
            Ok(Some(record))
                if (record.driver != self.driver || record.volume != *volume)
                    && self.node.is_mounted(path)? =>
            {
                Err(Error::precondition(format!(
                    "{} belongs to volume {} of {}",
                    path.display(),
                    record.volume,
                    record.driver
                ))
                .with_hint("name the volume that is mounted there"))
            }
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "cannot tell whose path it is; the caller is believed");
                Ok(())
            }
        }
    }

    /// A record that says nothing any more is removed.
    pub(super) fn save_or_forget(&self, record: &StageRecord) -> Result<(), Error> {
        if record.targets.is_empty() && record.staging_path.as_os_str().is_empty() {
            return self.node.forget(&self.driver, &record.volume);
        }
        self.node.save(record)
    }

    /// A staging path is unmounted by unstaging alone.
    ///
    /// # Errors
    /// `FailedPrecondition` when the path is where the volume is staged.
    pub(super) fn check_not_staging(
        &self,
        record: Option<&StageRecord>,
        target: &Path,
    ) -> Result<(), Error> {
        match record {
            Some(record) if self.node.is_same_path(&record.staging_path, target) => {
                Err(Error::precondition(format!(
                    "{} is where the volume is staged, not where it is published",
                    target.display()
                ))
                .with_hint("a workload gets a path of its own"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Nothing can be mounted at a path that is none.
    pub(super) fn is_mounted_at(&self, path: &Path) -> Result<bool, Error> {
        match self.node.is_mounted(path) {
            Err(error) if error.kind == ErrorKind::InvalidArgument => {
                tracing::warn!(%error, "a record names a path that is none");
                Ok(false)
            }
            known => known,
        }
    }
}

fn still_published(path: &Path) -> Error {
    Error::precondition(format!("it is still published at {}", path.display()))
        .with_hint("unpublish it there first")
}

//! `mount-directory`: a bind of a directory that the operator granted.

use std::path::Path;

use wharf_core::Error;
use wharf_core::plan::MountDirectory;

use crate::mounts::mounting;
use crate::mounts::options::MountOptions;
use crate::mounts::paths::{Opened, descend};
use crate::run::Run;
use crate::steps::{PerformStep, ShownMount};

impl PerformStep for MountDirectory {
    fn validate(&self) -> Result<(), Error> {
        MountOptions::parse(&self.flags, self.read_only).map(drop)
    }

    fn perform(&self, run: &mut Run<'_>) -> Result<(), Error> {
        let options = MountOptions::parse(&self.flags, self.read_only)?;
        let root = run.granted_directory(&self.at.root)?;
        let path = root.join(&self.at.path);
        let opened =
            descend(&root, Path::new(&self.at.path), None)?.map(Opened::new).ok_or_else(|| {
                Error::not_found(format!("the directory {} does not exist", path.display()))
            })?;
        let target = run.target()?;
        mounting::bind(&opened, &path, &target, &options, &mut run.undo)
    }

    fn is_shown(&self, seen: &ShownMount<'_>) -> Result<bool, Error> {
        // One that is no longer granted, or not there now, cannot be distinguished from others.
        let root = seen.policy.directories.get(&self.at.root);
        let Some(root) = root.and_then(|root| root.canonicalize().ok()) else { return Ok(true) };
        let path = root.join(&self.at.path);
        Ok(seen
            .table
            .part_at(&path)
            .is_none_or(|part| part == (seen.entry.device, seen.entry.root.clone())))
    }
}

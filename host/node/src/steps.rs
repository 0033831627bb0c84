//! How each step of a plan is made true on this machine: one file for each, with what is wrong with
//! it before anything runs, how it is made true, and (beside each change) how that is taken back.
//!
//! What a step is, what grants it and what a log says of it is in `wharf_core::plan`.

use std::path::Path;

use wharf_core::Error;
use wharf_core::plan::Step;
use wharf_core::policy::NodePolicy;

use crate::context::NodeContext;
use crate::mounts::table::{Entry, MountTable};
use crate::run::Run;

mod block_device;
mod check;
mod find_device;
mod format;
mod grow;
mod make_directory;
mod mount_device;
mod mount_directory;
mod mount_fuse;
pub(crate) mod mount_nfs;
mod mount_staged;
mod move_aside;
mod remove_tree;
mod set_block_queue;
mod set_ownership;

/// One kind of step on this machine.
pub(crate) trait PerformStep {
    /// What can be known to be wrong before the first step of the plan runs.
    fn validate(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Makes the step true; true already: does nothing. What it changes goes into the undo log.
    fn perform(&self, run: &mut Run<'_>) -> Result<(), Error>;

    /// Whether what a path shows is the mount that this step makes there. Also true where the step
    /// makes none, or where its mount cannot be distinguished from others. No server or disk is
    /// asked.
    fn is_shown(&self, _seen: &ShownMount<'_>) -> Result<bool, Error> {
        Ok(true)
    }
}

/// What a path shows, and what it is compared with.
pub(crate) struct ShownMount<'a> {
    pub context: &'a NodeContext,
    pub policy: &'a NodePolicy,
    pub table: &'a MountTable,
    /// The mount that the path shows.
    pub entry: &'a Entry,
    /// The staging path as the mount table spells it, where the step is of another path.
    pub staged: Option<&'a Path>,
}

/// Whoever makes this step true.
pub(crate) fn performer(step: &Step) -> &dyn PerformStep {
    match step {
        Step::FindDevice(step) => step,
        Step::Check(step) => step,
        Step::Format(step) => step,
        Step::Grow(step) => step,
        Step::MountDevice(step) => step,
        Step::BlockDevice(step) => step,
        Step::SetBlockQueue(step) => step,
        Step::MountStaged(step) => step,
        Step::MountDirectory(step) => step,
        Step::MountNfs(step) => step,
        Step::MountFuse(step) => step,
        Step::MakeDirectory(step) => step,
        Step::SetOwnership(step) => step,
        Step::MoveAside(step) => step,
        Step::RemoveTree(step) => step,
    }
}

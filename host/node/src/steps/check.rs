//! `check`: repairs what is safe to repair, before the mount.

use wharf_core::Error;
use wharf_core::plan::Check;

use crate::disk::check;
use crate::run::Run;
use crate::steps::PerformStep;

impl PerformStep for Check {
    fn perform(&self, run: &mut Run<'_>) -> Result<(), Error> {
        check::run(run.context, run.policy, run.found_device()?, &self.fs_type)
    }
}

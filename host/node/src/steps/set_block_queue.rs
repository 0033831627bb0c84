//! `set-block-queue`: written, read back, and written back when the plan fails.

use wharf_core::Error;
use wharf_core::plan::SetBlockQueue;

use crate::disk::queue;
use crate::run::Run;
use crate::steps::PerformStep;

impl PerformStep for SetBlockQueue {
    fn validate(&self) -> Result<(), Error> {
        queue::check(&self.key, &self.value)
    }

    fn perform(&self, run: &mut Run<'_>) -> Result<(), Error> {
        let disk = run.found_device()?.clone();
        queue::set(&disk, &run.context.options.sysfs, &self.key, &self.value, &mut run.undo)
    }
}

//! `mount-staged`: a bind of what is staged. A server that answers for it is asked first, because a
//! bind opens what it shows.

use wharf_core::Error;
use wharf_core::plan::MountStaged;

use crate::mounts::options::MountOptions;
use crate::mounts::table::MountTable;
use crate::mounts::{health, mounting};
use crate::run::{Run, not_staged};
use crate::steps::PerformStep;

impl PerformStep for MountStaged {
    fn validate(&self) -> Result<(), Error> {
        MountOptions::parse(&self.flags, self.read_only).map(drop)
    }

    fn perform(&self, run: &mut Run<'_>) -> Result<(), Error> {
        let options = MountOptions::parse(&self.flags, self.read_only)?;
        let source = run.staged_target()?;
        if let Some(entry) = MountTable::read()?.top(source.path())
            && entry.is_remote()
        {
            let stats = health::of(run.context, run.call, &source, entry)?;
            if stats.usage.is_none() {
                return Err(Error::unavailable(stats.condition.message));
            }
        }
        let opened = source.open()?.ok_or_else(|| not_staged(source.path()))?;
        let target = run.target()?;
        mounting::bind(&opened, source.path(), &target, &options, &mut run.undo)
    }
}

//! `mount-staged`: a bind of what is staged. A server that answers for it is asked first, because a
//! bind opens what it shows.

use wharf_core::Error;
use wharf_core::plan::MountStaged;

use crate::mounts::options::MountOptions;
use crate::mounts::table::MountTable;
use crate::mounts::{health, mounting};
use crate::run::{Run, not_staged};
use crate::steps::mount_fuse::{Supervised, supervised_at};
use crate::steps::{PerformStep, ShownMount};

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

    fn is_shown(&self, seen: &ShownMount<'_>) -> Result<bool, Error> {
        let Some(path) = seen.staged else { return Ok(true) };
        // First, because something else may lie over the staging path, and because the places of a
        // helper's mount are healed one after the other.
        if seen.entry.is_of_helper() {
            match supervised_at(seen, path)? {
                Supervised::Devices(devices) => return Ok(devices.contains(&seen.entry.device)),
                Supervised::Unknown => return Ok(true),
                // An earlier driver staged it.
                Supervised::Nothing => {}
            }
        }
        Ok(seen.table.top(path).is_none_or(|staged| {
            (staged.device, &staged.root) == (seen.entry.device, &seen.entry.root)
        }))
    }
}

//! `grow`: the file system of the found device, or of what is mounted on the call's path.

use wharf_core::Error;
use wharf_core::plan::Grow;

use crate::disk::grow;
use crate::mounts::device;
use crate::run::Run;
use crate::steps::PerformStep;

impl PerformStep for Grow {
    fn perform(&self, run: &mut Run<'_>) -> Result<(), Error> {
        let destination = run.context.roots.spell(run.destination)?;
        let disk = match &run.device {
            Some(device) => device.clone(),
            None => device::of_path(run.context, &destination)?.ok_or_else(|| {
                Error::precondition(format!(
                    "{} has no block device behind it that could be grown",
                    destination.display()
                ))
            })?,
        };
        grow::run(run.context, run.policy, &disk, &destination)
    }
}

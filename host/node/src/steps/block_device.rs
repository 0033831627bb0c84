//! `block-device`: the found device's node on a file at the call's path.

use wharf_core::Error;
use wharf_core::plan::BlockDevice;

use crate::disk::format;
use crate::mounts::mounting;
use crate::run::Run;
use crate::steps::PerformStep;

impl PerformStep for BlockDevice {
    fn perform(&self, run: &mut Run<'_>) -> Result<(), Error> {
        let disk = run.found_device()?.clone();
        format::discard_format_intent(run.context, &disk)?;
        let target = run.target()?;
        mounting::publish_block(&target, &disk, self.read_only, &mut run.undo)
    }
}

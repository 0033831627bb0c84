//! `mount-staged`: a bind of what is staged.

use wharf_core::Error;
use wharf_core::plan::MountStaged;

use crate::mounts::mounting;
use crate::mounts::options::MountOptions;
use crate::run::{Run, not_staged};
use crate::steps::PerformStep;

impl PerformStep for MountStaged {
    fn validate(&self) -> Result<(), Error> {
        MountOptions::parse(&self.flags, self.read_only).map(drop)
    }

    fn perform(&self, run: &mut Run<'_>) -> Result<(), Error> {
        let options = MountOptions::parse(&self.flags, self.read_only)?;
        let source = run.staged_target()?;
        let opened = source.open()?.ok_or_else(|| not_staged(source.path()))?;
        let target = run.target()?;
        mounting::bind(&opened, source.path(), &target, &options, &mut run.undo)
    }
}

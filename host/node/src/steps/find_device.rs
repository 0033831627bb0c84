//! `find-device`: found by its serial, waited for, and held from then on.

use wharf_core::Error;
use wharf_core::plan::FindDevice;

use crate::disk::find;
use crate::run::Run;
use crate::steps::PerformStep;

impl PerformStep for FindDevice {
    fn validate(&self) -> Result<(), Error> {
        find::check(self)
    }

    fn perform(&self, run: &mut Run<'_>) -> Result<(), Error> {
        run.device = Some(run.context.finder().find(run.call, self)?);
        Ok(())
    }
}

//! `find-device`: found by its serial, waited for, kept open from then on, and
//! refused when it is not free to be this volume.

use wharf_core::Error;
use wharf_core::plan::FindDevice;

use crate::disk::find::{self, Finder};
use crate::disk::ownership;
use crate::run::Run;
use crate::steps::PerformStep;

impl PerformStep for FindDevice {
    fn validate(&self) -> Result<(), Error> {
        find::check(self)
    }

    fn perform(&self, run: &mut Run<'_>) -> Result<(), Error> {
        let finder = Finder::of(&run.context.options, run.context.clock.as_ref());
        let device = finder.find(run.call, self)?;
        ownership::check(run.context, &device, self, &(run.recorded_uses)()?)?;
        run.device = Some(device);
        Ok(())
    }
}

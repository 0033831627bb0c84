//! `move-aside`: not provided yet. A plan that asks for it is refused as a whole, before its first
//! step.

use wharf_core::Error;
use wharf_core::plan::MoveAside;

use crate::run::Run;
use crate::steps::PerformStep;

impl PerformStep for MoveAside {
    fn validate(&self) -> Result<(), Error> {
        Err(Error::unsupported("moving a directory aside is not provided by this build"))
    }

    fn perform(&self, _run: &mut Run<'_>) -> Result<(), Error> {
        self.validate()
    }
}

//! `set-ownership`: not provided yet. A plan that asks for it is refused as a whole, before its
//! first step.

use wharf_core::Error;
use wharf_core::plan::SetOwnership;

use crate::run::Run;
use crate::steps::PerformStep;

impl PerformStep for SetOwnership {
    fn validate(&self) -> Result<(), Error> {
        Err(Error::unsupported("setting the owner of a directory is not provided by this build"))
    }

    fn perform(&self, _run: &mut Run<'_>) -> Result<(), Error> {
        self.validate()
    }
}

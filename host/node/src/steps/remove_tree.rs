//! `remove-tree`: not provided yet. A plan that asks for it is refused as a whole, before its first
//! step.

use wharf_core::Error;
use wharf_core::plan::RemoveTree;

use crate::run::Run;
use crate::steps::PerformStep;

impl PerformStep for RemoveTree {
    fn validate(&self) -> Result<(), Error> {
        Err(Error::unsupported("removing a directory is not provided by this build"))
    }

    fn perform(&self, _run: &mut Run<'_>) -> Result<(), Error> {
        self.validate()
    }
}

//! `mount-fuse`: not provided yet. A plan that asks for it is refused as a whole, before its first
//! step.

use wharf_core::Error;
use wharf_core::plan::MountFuse;

use crate::run::Run;
use crate::steps::PerformStep;

impl PerformStep for MountFuse {
    fn validate(&self) -> Result<(), Error> {
        Err(Error::unsupported("FUSE mounts are not provided by this build"))
    }

    fn perform(&self, _run: &mut Run<'_>) -> Result<(), Error> {
        self.validate()
    }
}

//! `format`: only on a provably blank device. A format is not taken back: what it made is what the
//! next call needs.

use wharf_core::Error;
use wharf_core::plan::Format;

use crate::disk::format;
use crate::run::Run;
use crate::steps::PerformStep;

impl PerformStep for Format {
    fn validate(&self) -> Result<(), Error> {
        format::check_arguments(&self.fs_type, &self.arguments)
    }

    fn perform(&self, run: &mut Run<'_>) -> Result<(), Error> {
        format::ensure(run.context, run.found_device()?, &self.fs_type, &self.arguments)
    }
}

//! `set-ownership`: mode and owner of a directory, or of everything in it. In pieces; nothing is
//! set back when a later step fails, for the next call sets the same.

use wharf_core::Error;
use wharf_core::plan::SetOwnership;

use crate::directories::{check_path, work};
use crate::remote::Tree;
use crate::run::Run;
use crate::steps::PerformStep;
use crate::trees::Ownership;

impl PerformStep for SetOwnership {
    fn validate(&self) -> Result<(), Error> {
        if let Some(mode) = self.mode.filter(|mode| *mode > 0o7777) {
            return Err(Error::invalid(format!("{mode:o} is not a mode")));
        }
        check_path(&self.at.path, true)
    }

    fn perform(&self, run: &mut Run<'_>) -> Result<(), Error> {
        let ownership = Ownership { mode: self.mode, uid: self.uid, gid: self.gid };
        let path = (&self.at.path).into();
        let recursive = self.recursive;
        work(run, &self.at, Tree::SetOwnership { path, ownership, recursive, progress: Vec::new() })
    }
}

//! `move-aside`: a directory under another name below the same base. It is not moved back when a
//! later step fails: the next call finds it moved and goes on.

use wharf_core::Error;
use wharf_core::plan::MoveAside;

use crate::directories::{check_path, work};
use crate::remote::Tree;
use crate::run::Run;
use crate::steps::PerformStep;

impl PerformStep for MoveAside {
    fn validate(&self) -> Result<(), Error> {
        check_path(&self.from.path, false)?;
        check_path(&self.to, false)
    }

    fn perform(&self, run: &mut Run<'_>) -> Result<(), Error> {
        let (from, to) = ((&self.from.path).into(), (&self.to).into());
        work(run, &self.from, Tree::MoveAside { from, to })
    }
}

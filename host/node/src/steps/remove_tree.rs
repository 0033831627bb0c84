//! `remove-tree`: a directory with everything in it, gone. In pieces; what is removed stays so.

use wharf_core::Error;
use wharf_core::plan::RemoveTree;

use crate::directories::{check_path, work};
use crate::remote::Tree;
use crate::run::Run;
use crate::steps::PerformStep;

impl PerformStep for RemoveTree {
    // Never the base itself: it is an export's root, or what the operator granted.
    fn validate(&self) -> Result<(), Error> {
        check_path(&self.at.path, false)
    }

    fn perform(&self, run: &mut Run<'_>) -> Result<(), Error> {
        work(run, &self.at, Tree::Remove { path: (&self.at.path).into() })
    }
}

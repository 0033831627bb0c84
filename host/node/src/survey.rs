//! A look at all volumes of a driver at once, for metrics: what is written down and what the mount
//! table shows of it. Nothing that is mounted is touched, so a dead mount cannot hang it.

use std::path::Path;

use wharf_core::Error;

use crate::context::NodeContext;
use crate::mounts::device;
use crate::mounts::table::MountTable;
use crate::state::records::Records;

/// Volumes of one driver on this node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Survey {
    /// Records.
    pub records: u64,
    /// Places that a record names and that show a mount.
    pub mounted: u64,
    /// Places that a record names and that show none.
    pub missing: u64,
    /// Places whose mount lies on a device that is gone.
    pub dead: u64,
}

pub(crate) fn survey(
    context: &NodeContext,
    records: &Records,
    driver: &str,
) -> Result<Survey, Error> {
    let table = MountTable::read()?;
    let mut survey = Survey::default();
    for record in records.readable()?.into_iter().filter(|record| record.driver == driver) {
        survey.records += 1;
        let is_staged = record.complete && record.plan.is_some();
        let staged = is_staged.then_some(record.staging_path.as_path());
        let targets = record.targets.iter().map(|target| target.target_path.as_path());
        for path in staged.into_iter().chain(targets) {
            survey.count(context, &table, path);
        }
    }
    Ok(survey)
}

impl Survey {
    fn count(&mut self, context: &NodeContext, table: &MountTable, path: &Path) {
        let spelled = context.roots.spell(path);
        match spelled.ok().and_then(|path| table.top(&path)) {
            None => self.missing += 1,
            Some(entry) if entry.is_of_block_device() && device::is_gone(context, entry.device) => {
                self.dead += 1;
            }
            Some(_) => self.mounted += 1,
        }
    }
}

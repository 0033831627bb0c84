//! What a plan did is compared with what was asked, before a caller gets the answer "done".

use std::path::Path;

use super::{NodeService, log_failure};
use crate::error::{Blame, Error, ErrorKind};
use crate::plan::{Goal, Plan};
use crate::ports::{Call, CallSecrets, FoundDevice, RemovePath};
use crate::types::VolumeId;

/// What a call wants to find once its plan has run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome<'a> {
    pub goal: Goal,
    pub destination: &'a Path,
    pub staged: Option<&'a Path>,
    pub only_reads: bool,
    /// What came with the call, for the keys of a mount helper.
    pub secrets: CallSecrets<'a>,
}

impl NodeService {
    /// Runs the plan and looks at what it came to. What does not fit is unmounted again, unless it
    /// was there before.
    pub(super) fn run_to(
        &self,
        call: &Call,
        plan: &Plan,
        volume: &VolumeId,
        wanted: Outcome<'_>,
    ) -> Result<Option<FoundDevice>, Error> {
        let was_mounted = self.node.is_mounted(wanted.destination)?;
        let found =
            self.run(call, plan, volume, wanted.destination, wanted.staged, wanted.secrets)?;
        match self.check_outcome(wanted, found.as_ref()) {
            Ok(()) => Ok(found),
            Err(error) => {
                if !was_mounted {
                    log_failure(
                        "unmount what is not what was asked for",
                        self.node.unmount(call, wanted.destination, RemovePath::No),
                    );
                }
                Err(error)
            }
        }
    }

    fn check_outcome(&self, wanted: Outcome<'_>, found: Option<&FoundDevice>) -> Result<(), Error> {
        let path = wanted.destination.display();
        let unmet = |what: String| {
            Err(Error::new(ErrorKind::Internal, Blame::Host, what)
                .with_hint("the plan ran to its end; look at the log of this host"))
        };
        if wanted.goal == Goal::StagedDevice {
            return match found {
                Some(_) => Ok(()),
                None => unmet(format!("no device was found to be staged at {path}")),
            };
        }
        let Some(mounted) = self.node.mounted(wanted.destination)? else {
            return unmet(format!("nothing is mounted at {path}"));
        };
        if mounted.is_dead {
            return Err(Error::unavailable(format!(
                "the disk under {path} was taken away at the same moment"
            )));
        }
        if wanted.only_reads && !mounted.is_read_only {
            return unmet(format!("{path} is writable, and only reading was asked for"));
        }
        if let Some(found) = found
            && (mounted.device.is_none()
                || (found.serial.is_some() && mounted.serial != found.serial))
        {
            return unmet(format!("{path} does not show {}", found.path.display()));
        }
        Ok(())
    }
}

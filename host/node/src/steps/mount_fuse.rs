//! `mount-fuse`: a mount that a helper program serves. The supervisor makes it and keeps it; here
//! is only what is asked of it.
//!
//! Asked again, the supervisor finds the mount made, and gives the helper the keys if they are new.
//! One that the helper of an earlier driver serves, provably of this source, is left as it is.
//! Taking it away needs no step: an unmount by the mount table ends the helper.

use std::time::Duration;

use wharf_core::Error;
use wharf_core::plan::MountFuse;

use crate::mounts::table::MountTable;
use crate::run::Run;
use crate::steps::PerformStep;
use crate::supervisor::{Credential, MountRequest, Served, Spec, profiles};

/// Taking a mount back that nobody has used yet takes milliseconds.
const UNDO: Duration = Duration::from_secs(20);

impl PerformStep for MountFuse {
    fn perform(&self, run: &mut Run<'_>) -> Result<(), Error> {
        let client = run.context.options.supervisor.clone().ok_or_else(|| {
            Error::unsupported("this process mounts nothing that a helper program serves")
        })?;
        let grant = run.policy.helpers.get(&self.helper).ok_or_else(|| {
            Error::denied(format!("the mount helper `{}` is not granted", self.helper))
        })?;
        let profile = grant.resolve(&self.helper, profiles::shipped(&self.helper)?)?;
        // Before keys are fetched and directories made.
        profile.check_options(&self.arguments)?;
        let credential = self
            .credential
            .as_ref()
            .map(|wanted| {
                let files = run.context.keys()?.render(run.call, run.secrets, wanted)?;
                Ok::<_, Error>(Credential { form: wanted.form.clone(), files })
            })
            .transpose()?;
        let target = run.target()?;
        target.open_or_create_directory(&mut run.undo)?;
        let path = target.path().to_owned();
        let was_mounted = MountTable::read()?.top(&path).is_some();
        let wait = run.call.remaining(run.context.clock.now());
        let served = client.mount(MountRequest {
            spec: Spec {
                target: path.clone(),
                helper: self.helper.clone(),
                profile,
                source: self.source.clone(),
                arguments: self.arguments.clone(),
                ready: self.ready,
                read_only: self.read_only,
            },
            credential,
            wait_millis: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        })?;
        if served == Served::ByEarlierDriver {
            tracing::info!(target = %path.display(), source = self.source, "an earlier driver's mount is left as it is: its helper is neither started again nor given keys");
            return Ok(());
        }
        if !was_mounted {
            let undone = path.clone();
            run.undo.push(&path, move || {
                client
                    .unmount(&undone, UNDO)
                    .map_err(|error| std::io::Error::other(error.to_string()))
            });
        }
        Ok(())
    }
}

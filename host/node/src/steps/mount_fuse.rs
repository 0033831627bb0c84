//! `mount-fuse`: a mount that a helper program serves. The supervisor makes it and keeps it; here
//! is only what is asked of it.
//!
//! Asked again, the supervisor finds the mount made, and gives the helper the keys if they are new.
//! One that the helper of an earlier driver serves, provably of this source, is left as it is.
//! Taking it away needs no step: an unmount by the mount table ends the helper.

use std::path::Path;
use std::time::Duration;

use wharf_core::Error;
use wharf_core::helper_profile::HelperProfile;
use wharf_core::plan::MountFuse;
use wharf_core::policy::NodePolicy;

use crate::helper_keys::RenderedKeys;
use crate::mounts::table::MountTable;
use crate::run::Run;
use crate::steps::{PerformStep, ShownMount};
use crate::supervisor::{Condition, Credential, MountRequest, Served, Spec, Status, profiles};

/// Taking a mount back that nobody has used yet takes milliseconds.
const UNDO: Duration = Duration::from_secs(20);

impl PerformStep for MountFuse {
    fn perform(&self, run: &mut Run<'_>) -> Result<(), Error> {
        let client = run.context.options.supervisor.clone().ok_or_else(|| {
            Error::unsupported("this process mounts nothing that a helper program serves")
        })?;
        let profile = profile(self, run.policy)?;
        // Before keys are fetched and directories made.
        profile.check_options(&self.arguments)?;
        let credential = self
            .credential
            .as_ref()
            .map(|wanted| {
                let keys = run.context.keys()?.render(run.call, run.secrets, wanted)?;
                let RenderedKeys { files, renew_at_ms } = keys;
                Ok::<_, Error>(Credential { form: wanted.form.clone(), files, renew_at_ms })
            })
            .transpose()?;
        let target = run.target()?;
        target.open_or_create_directory(&mut run.undo)?;
        let path = target.path().to_owned();
        let was_mounted = MountTable::read()?.top(&path).is_some();
        let wait = run.call.remaining(run.context.clock.now());
        let served = client.mount(MountRequest {
            spec: spec(self, profile, &path),
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

    fn is_shown(&self, seen: &ShownMount<'_>) -> Result<bool, Error> {
        if !seen.entry.is_of_helper() {
            return Ok(false);
        }
        Ok(match supervised_at(seen, &seen.entry.mount_point)? {
            Supervised::Devices(devices) => devices.contains(&seen.entry.device),
            Supervised::Nothing => is_of_earlier_driver(self, seen)?,
            Supervised::Unknown => true,
        })
    }
}

fn profile(step: &MountFuse, policy: &NodePolicy) -> Result<HelperProfile, Error> {
    let grant = policy.helpers.get(&step.helper).ok_or_else(|| {
        Error::denied(format!("the mount helper `{}` is not granted", step.helper))
    })?;
    grant.resolve(&step.helper, profiles::shipped(&step.helper)?)
}

fn spec(step: &MountFuse, profile: HelperProfile, target: &Path) -> Spec {
    Spec {
        target: target.to_owned(),
        helper: step.helper.clone(),
        profile,
        source: step.source.clone(),
        arguments: step.arguments.clone(),
        ready: step.ready,
        read_only: step.read_only,
    }
}

/// Whether an earlier driver mounted the source of this step there. A helper that is no longer
/// granted cannot be distinguished from others.
fn is_of_earlier_driver(step: &MountFuse, seen: &ShownMount<'_>) -> Result<bool, Error> {
    let (Some(client), Ok(profile)) =
        (&seen.context.options.supervisor, profile(step, seen.policy))
    else {
        return Ok(true);
    };
    client.is_of_earlier_driver(spec(step, profile, &seen.entry.mount_point))
}

/// What the supervisor says of the mount that it made at a path.
pub(super) enum Supervised {
    /// The file systems that its helpers serve, or served before they died. The number of a file
    /// system proves nothing by itself, because the kernel gives it to the next one once it is
    /// free; the supervisor says only those that are still the ones that it made.
    Devices(Vec<(u32, u32)>),
    /// It has made no mount there.
    Nothing,
    /// It works on that mount now, or is none that could say it.
    Unknown,
}

pub(super) fn supervised_at(seen: &ShownMount<'_>, path: &Path) -> Result<Supervised, Error> {
    let Some(client) = &seen.context.options.supervisor else { return Ok(Supervised::Unknown) };
    let Some(mounts) = client.list_if_running()? else { return Ok(Supervised::Unknown) };
    Ok(match mounts.into_iter().find(|mount| mount.target == path) {
        None => Supervised::Nothing,
        Some(Status { condition: Condition::Busy, .. }) => Supervised::Unknown,
        Some(Status { devices, .. }) => devices.map_or(Supervised::Unknown, Supervised::Devices),
    })
}

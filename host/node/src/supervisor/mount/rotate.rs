//! New keys for a mount's helper: files that it reads again, or a second helper that takes over.

use std::time::Instant;

use wharf_core::Error;
use wharf_core::helper_profile::Rotation;

use super::super::context::SupervisorContext;
use super::super::decide::Deaths;
use super::super::launch::Running;
use super::super::protocol::Credential;
use super::Mount;

impl Mount {
    /// Gives the helper new keys.
    ///
    /// # Errors
    /// Why it goes on with the old ones.
    pub fn update(
        &mut self,
        context: &SupervisorContext,
        credential: &Credential,
        deadline: Instant,
    ) -> Result<(), Error> {
        if self.record.form.as_deref() != Some(credential.form.as_str()) {
            return Err(Error::precondition(format!(
                "the mount at {} has keys of another form",
                self.target().display()
            ))
            .with_hint("unmount it first"));
        }
        if self.private.holds(credential) && !self.record.has_old_keys {
            return self.note_renewal(context, credential);
        }
        self.settle(context)?;
        let is_alive = self.helper.is_some();
        let rotation = self.record.spec.profile.rotation;
        // Noted first: files alone do not say whether they are in use.
        self.record.has_old_keys = is_alive && rotation == Rotation::Restart;
        self.save(context)?;
        self.private.put(credential, self.user())?;
        match rotation {
            Rotation::Restart if is_alive => self.replace_helper(context, deadline)?,
            // A dead one reads the new files when it is started again.
            Rotation::Restart | Rotation::InPlace => {
                self.not_before = None;
                self.deaths = Deaths::default();
            }
        }
        self.note_renewal(context, credential)
    }

    /// When the keys are to be renewed that the helper has by now.
    fn note_renewal(
        &mut self,
        context: &SupervisorContext,
        credential: &Credential,
    ) -> Result<(), Error> {
        if self.record.renew_at_ms == credential.renew_at_ms {
            return Ok(());
        }
        self.record.renew_at_ms = credential.renew_at_ms;
        self.save(context)
    }

    /// Ends what an earlier supervisor left half-done, so that a living helper is one that serves.
    fn settle(&mut self, context: &SupervisorContext) -> Result<(), Error> {
        let is_alive = self.helper.as_ref().is_some_and(Running::is_alive);
        if is_alive && self.record.serving.is_some() {
            return if self.record.retired.is_some() {
                self.finish_replacement(context)
            } else {
                Ok(())
            };
        }
        self.note_death(context)
    }

    /// Starts a second helper, gives its mount to every mount point, and lets the first one end
    /// when its last open file is closed.
    fn replace_helper(
        &mut self,
        context: &SupervisorContext,
        deadline: Instant,
    ) -> Result<(), Error> {
        let Some(old) = self.helper.take() else { return Ok(()) };
        let before = self.record.clone();
        self.record.retired = Some(old.process());
        if let Err(error) = self.start(context, deadline) {
            self.private.detach_mount()?;
            self.helper = Some(old);
            self.record = before;
            self.save(context)?;
            return Err(error.context("the new keys are not in use"));
        }
        self.leaving.push(old);
        let finished = self.finish_replacement(context);
        self.move_helper(context);
        finished
    }

    /// Gives the living helper's mount to every mount point that shows an old one: a dead one, or
    /// that of a helper that is being replaced.
    pub(super) fn finish_replacement(&mut self, context: &SupervisorContext) -> Result<(), Error> {
        let retired = self.record.retired.and_then(Running::adopt);
        self.repair(context, retired.is_none() && self.leaving.is_empty())?;
        // The next supervisor has to know that what is left shows a living helper.
        if self.unhealed.is_empty() && self.record.retired.take().is_some() {
            self.save(context)?;
        }
        Ok(())
    }
}

//! New keys for a mount's helper: files that it reads again, or a second helper that takes over.

use std::time::Instant;

use wharf_core::Error;
use wharf_core::helper_profile::Rotation;

use super::super::decide::Deaths;
use super::super::launch::Running;
use super::super::protocol::Credential;
use super::super::world::World;
use super::Mount;

impl Mount {
    /// Gives the helper new keys.
    ///
    /// # Errors
    /// Why it goes on with the old ones.
    pub fn update(
        &mut self,
        world: &World,
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
        if self.private.holds(credential) {
            return Ok(());
        }
        self.private.put(credential, self.user())?;
        let is_alive = self.helper.as_ref().is_some_and(Running::is_alive);
        match self.record.spec.profile.rotation {
            Rotation::Restart if is_alive => self.replace_helper(world, deadline),
            // A dead one reads the new files when it is started again.
            Rotation::Restart | Rotation::InPlace => {
                self.not_before = None;
                self.deaths = Deaths::default();
                Ok(())
            }
        }
    }

    /// Starts a second helper, gives its mount to every place, and lets the first one end when its
    /// last open file is closed.
    fn replace_helper(&mut self, world: &World, deadline: Instant) -> Result<(), Error> {
        let Some(old) = self.helper.take() else { return Ok(()) };
        let before = self.record.clone();
        self.record.retired = Some(old.process());
        if let Err(error) = self.start(world, deadline) {
            self.private.detach_mount()?;
            self.helper = Some(old);
            self.record = before;
            self.save(world)?;
            return Err(error.context("the new keys are not in use"));
        }
        self.repair(world, false)?;
        self.record.retired = None;
        self.leaving.push(old);
        self.save(world)
    }
}

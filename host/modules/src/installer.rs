//! What an administrator does with components: install, activate, go back.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use wharf_core::manifest::{ComponentName, World};
use wharf_core::ports::Clock;
use wharf_runtime::Checked;

use crate::check::check;
use crate::store::{ComponentId, Generation, Reason, State, Store, StoreError};

/// Changes what a store has. No generation becomes active that this build cannot run.
pub struct Installer<'a> {
    pub(crate) store: &'a Store,
    clock: Arc<dyn Clock>,
}

/// Why a component was not installed, or did not become active. What was active before still is.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The store cannot, or must not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is in the store, marked as one that cannot run.
    #[error("it is rejected: {reason}\n{stays}")]
    Rejected {
        /// What it lacks.
        reason: Reason,
        /// Which generation calls go on with, in words.
        stays: String,
    },
    /// It was checked by another build of Wharf, or on another machine.
    #[error(
        "{generation} does not become active, because this build of Wharf cannot run it: {reason}\n\
         {stays}"
    )]
    CannotRun {
        /// The one that was to become active.
        generation: Box<Generation>,
        /// What it lacks.
        reason: Reason,
        /// Which generation calls go on with, in words.
        stays: String,
    },
    /// There is none that could become active.
    #[error(
        "{id} has no checked generation; `wharf {0} show {1}` says why", id.world.noun(), id.name
    )]
    NoneChecked {
        /// Of what.
        id: ComponentId,
    },
}

impl<'a> Installer<'a> {
    /// For this store; `clock` is what a component is asked by while it is checked.
    pub fn new(store: &'a Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Puts a component of this kind into the store and checks it. Calls do not meet it yet.
    /// `said`: the name that the operator gave, which has to be the component's own.
    ///
    /// # Errors
    /// [`InstallError::Rejected`] when it cannot run; what [`Store::install`] refuses.
    pub fn install(
        &self,
        world: World,
        said: Option<&ComponentName>,
        bytes: &[u8],
    ) -> Result<Generation, InstallError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let staged = self.store.install(world, said, bytes, now)?;
        let (id, number) = (staged.id(), staged.number);
        match check(self.store, &staged, &self.clock) {
            Ok(description) => self.mark_checked(&id, number, description),
            // Calls may run on it; what failed now may be the machine's.
            Err(why) if staged.is_checked() => Err(self.cannot_run(staged, why)),
            Err(why) => {
                let reason = Reason::from(why);
                self.store.mark(&id, number, State::Rejected { reason: reason.clone() })?;
                Err(InstallError::Rejected { reason, stays: self.what_stays(&id) })
            }
        }
    }

    /// Makes a checked generation active, the newest one unless a number is given. It is checked
    /// again: calls will run on this build.
    ///
    /// # Errors
    /// [`InstallError`].
    pub fn activate(
        &self,
        id: &ComponentId,
        number: Option<u64>,
    ) -> Result<Generation, InstallError> {
        let number = match number {
            Some(number) => number,
            None => self.newest_checked(id)?,
        };
        self.check_again(id, number)?;
        Ok(self.store.activate(id, number)?)
    }

    /// Makes the generation before the active one active again.
    ///
    /// # Errors
    /// [`InstallError`].
    pub fn rollback(&self, id: &ComponentId) -> Result<Generation, InstallError> {
        if let Some(&number) = self.store.show(id)?.previous.first() {
            self.check_again(id, number)?;
        }
        Ok(self.store.rollback(id)?)
    }

    /// Whether the generation may become active at all is the store's to say.
    fn check_again(&self, id: &ComponentId, number: u64) -> Result<(), InstallError> {
        let generation = self.store.generation(id, number)?;
        if !generation.is_checked() {
            return Ok(());
        }
        match check(self.store, &generation, &self.clock) {
            Ok(description) => self.mark_checked(id, number, description).map(drop),
            Err(why) => Err(self.cannot_run(generation, why)),
        }
    }

    /// Also of one that was checked before: this build may understand more of what it says.
    fn mark_checked(
        &self,
        id: &ComponentId,
        number: u64,
        description: Checked,
    ) -> Result<Generation, InstallError> {
        let state = State::Checked { description: Some(Box::new(description)) };
        Ok(self.store.mark(id, number, state)?)
    }

    fn cannot_run(&self, generation: Generation, why: String) -> InstallError {
        let stays = self.what_stays(&generation.id());
        let (generation, reason) = (Box::new(generation), Reason::from(why));
        InstallError::CannotRun { generation, reason, stays }
    }

    fn newest_checked(&self, id: &ComponentId) -> Result<u64, InstallError> {
        let generations = self.store.show(id)?.generations;
        let newest = generations.iter().rev().find(|generation| generation.is_checked());
        newest
            .map(|generation| generation.number)
            .ok_or_else(|| InstallError::NoneChecked { id: id.clone() })
    }

    fn what_stays(&self, id: &ComponentId) -> String {
        match self.store.active(id) {
            Ok(active) => format!("{} stays active", active.generation),
            Err(_) => format!("no generation of {id} is active"),
        }
    }
}

#[cfg(test)]
mod tests {
    use wharf_testing::component::component_with;
    use wharf_testing::fakes::FakeClock;

    use super::*;
    use crate::test_store::{TestStore, component, disk};

    #[test]
    fn what_this_build_cannot_run_does_not_become_active() {
        let bed = TestStore::new();
        let (first, second) = (bed.checked("1.0.0"), bed.checked("2.0.0"));
        bed.store.activate(&disk(), first).unwrap();
        let installer = Installer::new(&bed.store, Arc::new(FakeClock::default()));
        let refused = installer.activate(&disk(), Some(second)).unwrap_err().to_string();
        assert!(
            refused.contains("does not become active")
                && refused.contains("(generation 1) stays active"),
            "{refused}"
        );
        assert_eq!(bed.active(), first);
        bed.store.activate(&disk(), second).unwrap();
        let refused = installer.rollback(&disk()).unwrap_err().to_string();
        assert!(refused.contains("(generation 2) stays active"), "{refused}");
        assert_eq!(bed.active(), second);
    }

    #[test]
    fn a_component_that_asks_for_a_step_that_this_build_lacks_is_refused_in_words() {
        let bed = TestStore::new();
        let bytes = component_with(
            r#"{"name":"disk","version":"1.0.0","world":"backend","contract":"0.1.0",
                "node":{"steps":["mount-nfs","mount-smb"]}}"#,
        );
        bed.compile(&bytes);
        let installer = Installer::new(&bed.store, Arc::new(FakeClock::default()));
        let refused = installer.install(World::Backend, None, &bytes).unwrap_err().to_string();
        assert!(
            refused.contains("the step `mount-smb`, which this build of Wharf does not have")
                && refused.contains("remove-tree")
                && refused.contains("update Wharf"),
            "{refused}"
        );
    }

    #[test]
    fn what_was_checked_is_not_rejected_when_it_is_installed_again() {
        let bed = TestStore::new();
        let first = bed.checked("1.0.0");
        bed.store.activate(&disk(), first).unwrap();
        let installer = Installer::new(&bed.store, Arc::new(FakeClock::default()));
        let name = disk().name;
        let refused = installer.install(World::Backend, Some(&name), &component("1.0.0"));
        assert!(matches!(refused, Err(InstallError::CannotRun { .. })), "{refused:?}");
        assert!(bed.store.generation(&disk(), first).unwrap().is_checked());
    }

    #[test]
    fn a_component_that_does_not_answer_is_marked_as_rejected_with_the_reason() {
        let bed = TestStore::new();
        let bytes = component("1.0.0");
        bed.compile(&bytes);
        let installer = Installer::new(&bed.store, Arc::new(FakeClock::default()));
        let refused = installer.install(World::Backend, None, &bytes).unwrap_err();
        let InstallError::Rejected { reason, stays } = refused else { panic!("{refused}") };
        assert!(stays.contains("no generation of backend \"disk\""), "{stays}");
        assert_eq!(bed.store.generation(&disk(), 1).unwrap().state, State::Rejected { reason });
        let none = installer.activate(&disk(), None).unwrap_err();
        assert!(matches!(none, InstallError::NoneChecked { .. }), "{none}");
    }
}

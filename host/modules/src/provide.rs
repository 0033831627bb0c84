//! A component that comes with an image. It replaces what came in this way before and nothing
//! else, so one that a person made active survives restarts and upgrades.

use wharf_core::manifest::Manifest;

use crate::installer::{InstallError, Installer};
use crate::store::{ComponentId, Digest, Generation, Store, StoreError, read_manifest};

/// What became of a component that was provided.
#[derive(Debug)]
pub enum Provided {
    /// It is active already.
    Active(Generation),
    /// It was made active.
    Activated(Generation),
    /// A person made this other one active.
    ChosenByHand(Generation),
    /// It is refused, and this one, which was provided earlier, goes on serving.
    Refused {
        /// Why.
        why: InstallError,
        /// What serves.
        active: Generation,
    },
}

/// What is done about a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// It is installed and made active.
    Activate,
    /// It is active already.
    Keep,
    /// A person made another one active.
    Leave,
}

impl Installer<'_> {
    /// Installs the component and makes it active where none is, or where the active one was
    /// provided too.
    ///
    /// # Errors
    /// When it is no component; when none is active and this one cannot become it.
    pub fn provide(&self, bytes: &[u8]) -> Result<Provided, InstallError> {
        let Manifest { world, name, .. } = read_manifest(bytes)?;
        let id = ComponentId { world, name };
        let new = Digest::of(bytes);
        let active = active(self.store, &id)?;
        let provided = self.store.provided(&id)?;
        match (decide(active.as_ref().map(|active| &active.digest), &new, &provided), active) {
            (Decision::Keep, Some(active)) => {
                self.store.set_provided(&id, &[&new])?;
                Ok(Provided::Active(active))
            }
            (Decision::Leave, Some(active)) => Ok(Provided::ChosenByHand(active)),
            (_, before) => self.replace(&id, bytes, before, &new),
        }
    }

    /// Both digests stand in the mark while the change is under way: killed anywhere in between,
    /// the next run finds one of them active and goes on.
    fn replace(
        &self,
        id: &ComponentId,
        bytes: &[u8],
        before: Option<Generation>,
        new: &Digest,
    ) -> Result<Provided, InstallError> {
        let checked = match (self.install(id.world, Some(&id.name), bytes), &before) {
            (Ok(checked), _) => checked,
            (Err(why), Some(active)) => {
                return Ok(Provided::Refused { why, active: active.clone() });
            }
            (Err(error), None) => return Err(error),
        };
        let under_way: Vec<&Digest> = before.iter().map(|before| &before.digest).collect();
        self.store.set_provided(id, &[under_way.as_slice(), &[new]].concat())?;
        let active = self.store.activate(id, checked.number)?;
        self.store.set_provided(id, &[new])?;
        Ok(Provided::Activated(active))
    }
}

fn decide(active: Option<&Digest>, new: &Digest, provided: &[Digest]) -> Decision {
    match active {
        None => Decision::Activate,
        Some(active) if active == new => Decision::Keep,
        Some(active) if provided.contains(active) => Decision::Activate,
        Some(_) => Decision::Leave,
    }
}

/// `None`: nothing is active, or what says so is damaged, which activating repairs.
fn active(store: &Store, id: &ComponentId) -> Result<Option<Generation>, StoreError> {
    match store.active(id) {
        Ok(active) => Ok(Some(active.generation)),
        Err(StoreError::NotInstalled { .. } | StoreError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wharf_testing::fakes::FakeClock;

    use super::*;
    use crate::test_store::{TestStore, component, disk};

    fn provide(bed: &TestStore, bytes: &[u8]) -> Result<Provided, InstallError> {
        bed.compile(bytes);
        Installer::new(&bed.store, Arc::new(FakeClock::default())).provide(bytes)
    }

    #[test]
    fn only_what_was_provided_is_replaced() {
        let [a, b, c] = [b"a", b"b", b"c"].map(|bytes| Digest::of(bytes));
        let of = |active: Option<&Digest>, provided: &[&Digest]| {
            let provided: Vec<Digest> = provided.iter().map(|digest| (*digest).clone()).collect();
            decide(active, &b, &provided)
        };
        assert_eq!(of(None, &[]), Decision::Activate);
        assert_eq!(of(Some(&b), &[]), Decision::Keep);
        assert_eq!(of(Some(&a), &[&a]), Decision::Activate);
        assert_eq!(of(Some(&a), &[]), Decision::Leave);
        // Rolled back by hand from what was provided last.
        assert_eq!(of(Some(&a), &[&c]), Decision::Leave);
        // Killed before and after the new one became active.
        assert_eq!(of(Some(&a), &[&a, &b]), Decision::Activate);
        assert_eq!(of(Some(&b), &[&a, &b]), Decision::Keep);
    }

    #[test]
    fn a_component_that_cannot_run_leaves_the_provided_one_serving_and_marked() {
        let bed = TestStore::new();
        let first = bed.checked("1.0.0");
        bed.store.activate(&disk(), first).unwrap();
        let digest = bed.store.active(&disk()).unwrap().generation.digest;
        bed.store.set_provided(&disk(), &[&digest]).unwrap();
        // A component without a single export: it compiles and does not answer.
        let refused = provide(&bed, &component("2.0.0")).unwrap();
        assert!(matches!(refused, Provided::Refused { active, .. } if active.number == first));
        assert_eq!(bed.active(), first);
        assert_eq!(bed.store.provided(&disk()).unwrap(), [digest]);
    }

    #[test]
    fn a_component_that_a_person_made_active_stays() {
        let bed = TestStore::new();
        let first = bed.checked("1.0.0");
        bed.store.activate(&disk(), first).unwrap();
        let left = provide(&bed, &component("2.0.0")).unwrap();
        assert!(matches!(left, Provided::ChosenByHand(active) if active.number == first));
        assert_eq!(bed.store.provided(&disk()).unwrap(), []);
        // It is the provided one from the moment at which the image brings the same.
        let same = provide(&bed, &component("1.0.0")).unwrap();
        assert!(matches!(same, Provided::Active(_)));
        assert_eq!(bed.store.provided(&disk()).unwrap().len(), 1);
    }
}

//! How often components were replaced in this process, and how often that failed. Written where
//! they are loaded ([`crate::loader`]), read by metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::store::{ComponentId, Revision};

/// Every component that was asked for, by what the store calls it: as many as the
/// configuration has.
#[derive(Default)]
pub struct Components {
    changes: Mutex<BTreeMap<ComponentId, Changes>>,
}

/// What became of one component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// How often another generation took over.
    pub swaps: u64,
    /// Generations that could not be loaded.
    pub failures: u64,
    generation: Option<u64>,
    failed: Option<Option<Revision>>,
}

impl Components {
    /// A generation serves from now on. Several places of a process load the same one.
    pub fn serve(&self, id: &ComponentId, generation: u64) {
        let mut changes = self.lock();
        let changes = changes.entry(id.clone()).or_default();
        if changes.generation.is_some_and(|before| before != generation) {
            changes.swaps += 1;
        }
        changes.generation = Some(generation);
    }

    /// What was active at this moment of the store's history cannot be loaded. Told again with
    /// every call where nothing serves.
    pub fn fail(&self, id: &ComponentId, revision: Option<Revision>) {
        let mut changes = self.lock();
        let changes = changes.entry(id.clone()).or_default();
        if changes.failed != Some(revision) {
            changes.failures += 1;
        }
        changes.failed = Some(revision);
    }

    /// All of them as they are now.
    pub fn all(&self) -> BTreeMap<ComponentId, Changes> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ComponentId, Changes>> {
        // A panic in another thread leaves whole values here.
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use wharf_core::manifest::World;

    use super::*;
    use crate::test_store::disk;

    #[test]
    fn a_swap_and_a_failure_of_a_component_count_once_however_many_places_load_it() {
        let components = Components::default();
        for generation in [1, 1, 2, 2, 1] {
            components.serve(&disk(), generation);
        }
        components.fail(&disk(), None);
        components.fail(&disk(), None);
        let namesake = ComponentId::new(World::CloudAuth, "disk").unwrap();
        components.serve(&namesake, 7);
        let changes = components.all()[&disk()].clone();
        assert_eq!((changes.swaps, changes.failures), (2, 1));
        assert_eq!(components.all()[&namesake].swaps, 0);
    }
}

//! The components that the configuration names: installed, active, and such that this build runs.

use std::collections::BTreeMap;

use wharf_core::manifest::World;
use wharf_modules::{ComponentId, State, Store};

use super::{Environment, Finding};

pub fn examine(environment: &Environment<'_>) -> Vec<Finding> {
    let store = Store::open(&environment.config.store);
    let mut findings: Vec<Finding> = wanted(environment)
        .iter()
        .filter_map(|(id, section)| missing(&store, id, section))
        .collect();
    let listings = World::ALL.into_iter().filter_map(|world| store.list(world).ok());
    findings.extend(listings.flat_map(|listing| listing.damaged).map(|error| {
        Finding::new(
            error.to_string(),
            "the component is neither shown nor loaded; what servers have loaded goes on",
            "remove the file that is named and install the component again",
        )
    }));
    findings
}

/// Components, with the section that names each. What is no name, the configuration refuses.
fn wanted(environment: &Environment<'_>) -> BTreeMap<ComponentId, String> {
    let backends = environment.config.backend.iter().filter_map(|(section, backend)| {
        let component = backend.component.as_ref().unwrap_or(section);
        let id = ComponentId::new(World::Backend, component).ok()?;
        Some((id, format!("[backend.{section}]")))
    });
    let accounts = environment.config.account.iter().filter_map(|(name, account)| {
        let id = ComponentId::new(World::CloudAuth, &account.component).ok()?;
        Some((id, format!("[account.{name}]")))
    });
    accounts.chain(backends).collect()
}

fn missing(store: &Store, id: &ComponentId, section: &str) -> Option<Finding> {
    let error = store.active(id).err()?;
    let generations = store.show(id).map(|summary| summary.generations).unwrap_or_default();
    let rejected = generations.iter().rev().find_map(|generation| match &generation.state {
        State::Rejected { reason } => Some((generation.number, reason)),
        _ => None,
    });
    let (kind, name) = (id.world.noun(), &id.name);
    let (why, mend) = match (rejected, generations.is_empty()) {
        (_, true) => (String::new(), format!("wharf {kind} install {name} {name}.wasm --activate")),
        (Some((number, reason)), false) => (
            format!(" (generation {number} was rejected: {reason})"),
            format!("install a build of it that this Wharf runs: wharf {kind} show {name}"),
        ),
        (None, false) => (String::new(), format!("wharf {kind} activate {name}")),
    };
    Some(Finding::new(
        format!("{id}, which {section} names, is not active: {error}{why}"),
        "calls that need it fail; unmounting goes on",
        mend,
    ))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{checked, finds, on};
    use super::*;

    #[test]
    fn a_component_is_missed_until_a_generation_of_it_is_active() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path().join("store"));
        let found = || on(root.path(), "[backend.disk]\n", examine);
        finds(&found(), &["\"disk\"", "wharf backend install disk disk.wasm"]);
        let generation = checked(&store, "");
        finds(&found(), &["wharf backend activate disk"]);
        store.activate(&generation.id(), generation.number).unwrap();
        assert_eq!(found(), []);
    }

    #[test]
    fn a_damaged_record_of_a_component_is_found() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path().join("store"));
        let generation = checked(&store, "");
        store.activate(&generation.id(), generation.number).unwrap();
        let record = format!("backends/disk/generations/{}.json", generation.number);
        std::fs::write(store.root().join(&record), "{}").unwrap();
        // No section of the configuration names it: what is damaged is found all the same.
        finds(
            &on(root.path(), "", examine),
            &[&record, "remove the file", "install the component"],
        );
    }
}

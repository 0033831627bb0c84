//! What active components ask for and are not granted. Endpoints that the configuration does not
//! have are left out: what needs them is not used.

use wharf_core::manifest::World;
use wharf_core::policy::Lacking;
use wharf_modules::{ComponentId, Store};

use super::{Environment, Finding};

pub fn examine(environment: &Environment<'_>) -> Vec<Finding> {
    let store = Store::open(&environment.config.store);
    let mut findings = Vec::new();
    for (section, backend) in &environment.config.backend {
        let component = backend.component.as_ref().unwrap_or(section);
        let Ok(id) = ComponentId::new(World::Backend, component) else { continue };
        let Ok(active) = store.active(&id) else { continue };
        let manifest = active.generation.manifest;
        let mut lacking = Lacking::of(&manifest, &backend.grant, &backend.node);
        lacking.request.retain(|left| environment.config.endpoint.contains_key(&*left.endpoint));
        if !lacking.is_nothing() {
            findings.push(finding(section, component, &lacking));
        }
    }
    findings
}

fn finding(section: &str, component: &str, lacking: &Lacking) -> Finding {
    let requests = lacking.request.iter().map(|left| {
        let what: Vec<&str> = left.actions.iter().chain(&left.paths).map(|word| &**word).collect();
        format!("endpoint {}: {}", left.endpoint, what.join(", "))
    });
    let lists = [
        ("steps", &lacking.steps),
        ("filesystems", &lacking.filesystems),
        ("block-queue", &lacking.block_queue),
    ];
    let lists = lists.into_iter().filter(|(_, words)| !words.is_empty());
    let lists = lists.map(|(what, words)| format!("{what}: {}", words.join(", ")));
    let what: Vec<String> = requests.chain(lists).collect();
    Finding::new(
        format!(
            "[backend.{section}] does not grant what its component asks for: {}",
            what.join("; ")
        ),
        "calls that need it are refused; if that is meant, nothing else is affected",
        format!(
            "wharf backend install {component} {component}.wasm --grant (which shows what it writes; `wharf \
             config show` has what is granted)"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::{checked, finds, on};
    use super::*;

    #[test]
    fn a_step_that_is_asked_for_is_missed_until_it_is_granted() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path().join("store"));
        let generation = checked(&store, r#","node":{"steps":["grow"]}"#);
        store.activate(&generation.id(), generation.number).unwrap();
        let text = "[backend.disk.node]\n";
        finds(&on(root.path(), text, examine), &["steps: grow", "--grant"]);
        assert_eq!(on(root.path(), &format!("{text}steps = [\"grow\"]\n"), examine), []);
    }

    #[test]
    fn requests_and_lists_are_missed_too_but_not_those_to_an_endpoint_that_is_not_there() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path().join("store"));
        let asked = r#","request":[{"endpoint":"api","signed":true,"actions":["DescribeDisks"]}],
            "node":{"filesystems":["xfs"],"block-queue":["nr_requests"]}"#;
        let generation = checked(&store, asked);
        store.activate(&generation.id(), generation.number).unwrap();
        let lists =
            "[backend.disk.node]\nfilesystems = [\"xfs\"]\nblock-queue = [\"nr_requests\"]\n";
        let endpoint = "[endpoint.api]\nurl = \"https://api.example.com\"\n";
        finds(
            &on(root.path(), "[backend.disk]\n", examine),
            &["filesystems: xfs", "block-queue: nr_requests"],
        );
        assert_eq!(on(root.path(), lists, examine), []);
        let all = format!("{endpoint}{lists}");
        finds(&on(root.path(), &all, examine), &["endpoint api: DescribeDisks"]);
        let granted = format!(
            "{all}[account.a]\ncomponent = \"auth\"\nsource = []\n[[backend.disk.grant]]\n\
             endpoint = \"api\"\naccount = \"a\"\nactions = [\"DescribeDisks\"]\n"
        );
        assert_eq!(on(root.path(), &granted, examine), []);
    }
}

//! Which node each backend takes this machine for, as kubelet will be answered.

use std::time::Duration;

use wharf_core::ports::Call;

use super::parallel::in_parallel;
use super::{Environment, Finding};
use crate::assembly::{Assembly, Process};
use crate::config::Config;

/// Backends ask a metadata service; one that is not there is given up after this.
const ANSWERS_WITHIN: Duration = Duration::from_secs(8);

pub fn examine(environment: &Environment<'_>) -> Vec<Finding> {
    let drivers: Vec<&String> = environment.config.driver.keys().collect();
    let asked = in_parallel(&drivers, |driver| of_driver(environment, driver));
    asked.into_iter().flat_map(|(_, findings)| findings).collect()
}

fn of_driver(environment: &Environment<'_>, driver: &str) -> Vec<Finding> {
    let Ok(assembly) = Assembly::new(environment.config, &Process::OneCall) else {
        return Vec::new();
    };
    let Ok(node) = assembly.node(driver) else { return Vec::new() };
    let call = || Call::until(assembly.clock().now() + ANSWERS_WITHIN);
    // One that cannot be loaded is the components' matter.
    let Ok(description) = node.backend_description(&call()) else { return Vec::new() };
    let is_attached = description.attaches();
    let identity = match node.describe(&call()) {
        Ok(identity) => identity,
        Err(error) => {
            let hint = error.hint.clone();
            return vec![Finding::new(
                format!("driver {driver} does not know which node this is: {}", error.message),
                "kubelet cannot register the driver, so no pod with its volumes runs here",
                hint.unwrap_or_else(|| {
                    "see that the metadata service answers from here, in a pod with `hostNetwork: \
                     true`"
                        .to_owned()
                }),
            )];
        }
    };
    let mut findings = Vec::new();
    let real = is_attached.then(|| without_settings(environment, driver)).flatten();
    if let Some(real) = real.filter(|real| *real != identity.node_id.as_str()) {
        findings.push(Finding::new(
            format!(
                "driver {driver} takes this for node {}, and the machine itself says {real}",
                identity.node_id
            ),
            "disks are attached to the other machine, and waited for here",
            "remove the node's id from the backend's `config` (or from [preset]), or correct it",
        ));
    }
    if is_attached && identity.max_volumes.is_none() {
        findings.push(Finding::new(
            format!("driver {driver} does not know how many volumes this node can hold"),
            "the scheduler sends more pods here than volumes can be attached",
            "give the backend keys that may ask for it, or set `max-volumes` in its `config`",
        ));
    }
    findings
}

/// The node's id where the backend has no settings, as the machine itself knows it.
fn without_settings(environment: &Environment<'_>, driver: &str) -> Option<String> {
    let mut config: Config = environment.config.clone();
    let backend = config.driver.get(driver)?.backend.clone();
    let settings = &mut config.backend.get_mut(&backend)?.config;
    if settings.is_empty() {
        return None;
    }
    settings.clear();
    let assembly = Assembly::new(&config, &Process::OneCall).ok()?;
    let call = Call::until(assembly.clock().now() + ANSWERS_WITHIN);
    let described = assembly.node(driver).ok()?.describe(&call).ok()?;
    Some(described.node_id.as_str().to_owned())
}

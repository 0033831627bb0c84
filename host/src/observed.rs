//! The pages of `wharf csi`: health and metrics, put together from what the process has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;
use wharf_core::manifest::World;
use wharf_modules::ComponentId;
use wharf_node::supervisor::Client;

use crate::assembly::Assembly;
use crate::cli::Role;
use crate::config::{Config, SupervisorStart};
use crate::drivers::Served;
use crate::health::Health;
use crate::http::{Answering, Pages};
use crate::metrics::{Metrics, Sources, Supervisor};
use crate::reload::Refused;

/// Health and metrics of a server.
pub struct ServerPages {
    health: Health,
    metrics: Arc<Metrics>,
}

impl Pages for ServerPages {
    fn answer<'a>(&'a self, path: &'a str) -> Answering<'a> {
        Box::pin(async move {
            match path {
                "/healthz" => Some(self.health.live().await),
                "/readyz" => Some(self.health.ready().await),
                "/metrics" => Some(self.metrics.page().await),
                _ => None,
            }
        })
    }
}

/// Metrics for the drivers of a configuration.
pub fn metrics(config: &Config) -> Arc<Metrics> {
    let backends =
        config.driver.iter().map(|(name, driver)| (name.clone(), driver.backend.clone()));
    Metrics::new(backends.collect())
}

/// The pages of a process that serves these drivers.
pub fn pages(
    config: &Config,
    role: Role,
    assembly: &Assembly<'_>,
    metrics: Arc<Metrics>,
    drivers: Arc<Vec<Arc<Served>>>,
    refused: Refused,
    stopped: watch::Receiver<bool>,
) -> Arc<dyn Pages> {
    let has_node = role != Role::Controller;
    let is_service = config.mounts.supervisor == Some(SupervisorStart::Service);
    let client = Client::new(&config.run_directory(), None);
    let (loader, egress) = assembly.loader_and_egress();
    metrics.read_from(Sources {
        drivers: Some(Arc::clone(&drivers)),
        clock: Some(assembly.clock()),
        loader: Some(Arc::clone(&loader)),
        egress: Some(egress),
        shares: assembly.shares(),
        refused: Some(refused),
        node: has_node.then(|| assembly.machine()),
        machine: Some(assembly.machine()),
        supervisor: has_node.then(|| Supervisor::new(client.clone(), is_service)),
    });
    let health = Health {
        needed: needed(config, &drivers),
        operations: Arc::clone(&metrics.operations),
        clock: assembly.clock(),
        wedged_after: config.http.wedged_after(),
        loader,
        supervisor: (has_node && is_service).then_some(client),
        drivers,
        stopped,
    };
    Arc::new(ServerPages { health, metrics })
}

/// The components of the drivers' backends, and of the accounts that those may have sign.
fn needed(config: &Config, drivers: &[Arc<Served>]) -> BTreeSet<ComponentId> {
    let backends: BTreeMap<_, _> = drivers
        .iter()
        .filter_map(|served| config.driver.get(&served.name))
        .filter_map(|driver| config.backend.get_key_value(&driver.backend))
        .collect();
    let accounts = backends
        .values()
        .flat_map(|backend| &backend.grant)
        .filter_map(|grant| config.account.get(grant.account.as_ref()?))
        .map(|account| ComponentId::new(World::CloudAuth, &account.component));
    let own = backends
        .iter()
        .map(|(name, backend)| ComponentId::new(World::Backend, backend.component(name)));
    // What is no name, the configuration refuses.
    own.chain(accounts).filter_map(Result::ok).collect()
}

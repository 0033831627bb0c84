//! What a running server reports to `wharf status`: who it is, which generations serve, what is
//! under way and what that waits for, how requests leave. Read from what the server has in its
//! memory; nothing is asked of a backend, a cloud or a disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use wharf_core::UnderWay;
use wharf_core::controller::Controller;
use wharf_core::node::NodeService;
use wharf_modules::{Loader, Serving};
use wharf_runtime::HttpEgress;

use crate::drivers::Served;
use crate::reload::Refused;

mod socket;

pub use socket::{ask, serve};

/// No call of kubelet or of a sidecar waits so long: whatever it is about does not get on.
const WEDGED_SECONDS: u64 = 600;

/// One server as it is now.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// `node`, `controller` or `all`.
    pub role: String,
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Since when it runs, in seconds since 1970.
    pub started: u64,
    /// What it serves.
    pub drivers: Vec<DriverReport>,
    /// The components that it runs.
    pub components: Vec<Serving>,
    /// Calls that are being worked on, the oldest first.
    pub operations: Vec<OperationReport>,
    /// Requests to clouds.
    pub pace: Vec<PaceReport>,
    /// Why the configuration that is written is not in force, if it is not.
    #[serde(default)]
    pub configuration_refused: Option<String>,
}

impl Report {
    /// The operations that do not get on.
    pub fn wedged(&self) -> impl Iterator<Item = &OperationReport> {
        self.operations.iter().filter(|operation| operation.seconds >= WEDGED_SECONDS)
    }
}

/// One driver of a server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DriverReport {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub socket: PathBuf,
    /// Why it is not served, if it is not.
    pub trouble: Option<String>,
}

/// One call.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OperationReport {
    /// Of which driver.
    pub driver: String,
    /// What is done.
    pub verb: String,
    /// With which volume.
    pub volume: String,
    /// For how long.
    pub seconds: u64,
    /// What it waits for now.
    pub waits_for: String,
}

impl OperationReport {
    /// What does not get on, and why.
    pub fn in_words(&self) -> String {
        format!(
            "{} of {} ({}) is under way for {} minutes and waits for: {}",
            self.verb,
            self.volume,
            self.driver,
            self.seconds / 60,
            self.waits_for
        )
    }
}

/// Requests of one account to one endpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PaceReport {
    /// Where they go.
    pub endpoint: String,
    /// Who signs them.
    pub account: Option<String>,
    /// How many are under way.
    pub under_way: usize,
    /// How many may be.
    pub at_once: usize,
    /// How many wait for their turn.
    pub waiting: usize,
    /// Actions that the endpoint asked to slow down.
    pub slowed: Vec<SlowedReport>,
}

/// An action that is held back.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SlowedReport {
    /// Which; empty: requests without one.
    pub action: String,
    /// How far apart they leave.
    pub interval_ms: u64,
    /// When the next may leave.
    pub opens_in_ms: u64,
}

/// The services of one driver, for those who ask how it is.
pub struct Watched {
    /// Its sockets.
    pub served: Arc<Served>,
    /// Its controller, where it has one.
    pub controller: Option<Arc<Controller>>,
    /// Its node, where it has one.
    pub node: Option<Arc<NodeService>>,
}

/// What a report is made from.
pub struct Reporter {
    role: &'static str,
    started: u64,
    drivers: Vec<Watched>,
    loader: Arc<Loader>,
    http: Arc<HttpEgress>,
    refused: Refused,
}

impl Reporter {
    /// Of this process, from now on.
    pub fn new(
        role: &'static str,
        drivers: Vec<Watched>,
        (loader, http): (Arc<Loader>, Arc<HttpEgress>),
        refused: Refused,
    ) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let started = now.map_or(0, |since| since.as_secs());
        Self { role, started, drivers, loader, http, refused }
    }

    /// How it is now.
    pub fn report(&self) -> Report {
        let drivers = self.drivers.iter().map(|driver| DriverReport {
            name: driver.served.name.clone(),
            socket: driver.served.socket.clone(),
            trouble: driver.served.trouble(),
        });
        let mut operations: Vec<_> = self.drivers.iter().flat_map(operations).collect();
        operations.sort_by_key(|one| std::cmp::Reverse(one.seconds));
        Report {
            role: self.role.to_owned(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.started,
            drivers: drivers.collect(),
            components: self.loader.serving(),
            operations,
            pace: pace(&self.http),
            configuration_refused: self.refused.why(),
        }
    }
}

fn operations(driver: &Watched) -> Vec<OperationReport> {
    let controller = driver.controller.iter().flat_map(|controller| controller.under_way());
    let node = driver.node.iter().flat_map(|node| node.under_way());
    let report = |UnderWay { volume, verb, since, waits_for }| OperationReport {
        driver: driver.served.name.clone(),
        verb: verb.to_owned(),
        volume,
        seconds: since.as_secs(),
        waits_for,
    };
    controller.chain(node).map(report).collect()
}

fn pace(http: &HttpEgress) -> Vec<PaceReport> {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let report = |site: wharf_runtime::PaceOfSite| PaceReport {
        endpoint: site.endpoint,
        account: site.account,
        under_way: site.under_way,
        at_once: site.at_once,
        waiting: site.waiting,
        slowed: site
            .slowed
            .into_iter()
            .map(|action| SlowedReport {
                action: action.action,
                interval_ms: ms(action.interval),
                opens_in_ms: ms(action.opens_in),
            })
            .collect(),
    };
    http.pace().into_iter().map(report).collect()
}

//! Numbers for Prometheus. [`table`] has every metric, one row each; [`watch`] moves those that
//! happen, [`gather`] looks up those that are, when somebody asks. Only a server that listens for
//! HTTP has them: call-outs and everything else pay nothing.
//!
//! Labels hold names of the operator's configuration and words of a fixed list, never what a
//! backend, a caller or a cloud says, and so no secret.

mod gather;
mod kinds;
pub mod operations;
mod table;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;

pub use gather::{Sources, Supervisor};
use operations::Operations;
use table::Table;

use crate::http::Page;

/// The metrics of one process.
pub struct Metrics {
    registry: Registry,
    table: Arc<Table>,
    /// The calls that threads work on.
    pub operations: Arc<Operations>,
    /// The section of the backend that serves a driver.
    backends: BTreeMap<String, String>,
    began: Instant,
    sources: OnceLock<Sources>,
    scrape: Mutex<()>,
}

impl Metrics {
    /// None has a series yet. `backends`: by driver.
    pub fn new(backends: BTreeMap<String, String>) -> Arc<Self> {
        let mut registry = Registry::default();
        let table = Arc::new(Table::new(&mut registry));
        Arc::new(Self {
            registry,
            table,
            operations: Arc::default(),
            backends,
            began: Instant::now(),
            sources: OnceLock::new(),
            scrape: Mutex::default(),
        })
    }

    /// Where to read from, from now on.
    pub fn read_from(&self, sources: Sources) {
        // Once: a process has one set of them.
        let _ = self.sources.set(sources);
    }

    /// The page. Looks around first, away from the async threads.
    pub async fn page(self: &Arc<Self>) -> Page {
        let metrics = Arc::clone(self);
        let text = tokio::task::spawn_blocking(move || metrics.text()).await;
        text.map_or_else(
            |error| Page::text(500, format!("metrics ended in a defect of wharf: {error}\n")),
            |text| Page { status: 200, kind: prometheus_text::CONTENT_TYPE, text },
        )
    }

    fn text(&self) -> String {
        // What is gathered belongs to one scrape at a time.
        let _scrape = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sources) = self.sources.get() {
            sources.gather(&self.table, &self.operations);
        }
        gather::process(&self.table, self.began);
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = prometheus_text::encode(&mut text, &self.registry);
        text
    }
}

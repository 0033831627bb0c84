//! Health and metrics of a supervisor of mounts. It is asked over its own socket, as everybody asks
//! it, so that one that hangs is found out.

use std::path::Path;
use std::sync::Arc;

use wharf_node::supervisor::Client;

use crate::health;
use crate::http::{self, Answering, Listen, Pages};
use crate::metrics::{Metrics, Sources, Supervisor};
use crate::output::Failure;

struct SupervisorPages {
    client: Client,
    metrics: Arc<Metrics>,
}

impl Pages for SupervisorPages {
    fn answer<'a>(&'a self, path: &'a str) -> Answering<'a> {
        Box::pin(async move {
            match path {
                "/healthz" | "/readyz" => {
                    let outcome = health::supervised(self.client.clone()).await;
                    let name = path.trim_start_matches('/');
                    Some(health::report(name, vec![("supervisor".to_owned(), outcome)]))
                }
                "/metrics" => Some(self.metrics.page().await),
                _ => None,
            }
        })
    }
}

/// Answers on a thread of its own, until the process ends. The supervisor itself has no async
/// runtime.
pub fn serve(listen: Listen, run_directory: &Path) -> Result<(), Failure> {
    let client = Client::new(run_directory, None);
    let metrics = Metrics::new([].into());
    let supervisor = Some(Supervisor::new(client.clone(), true));
    metrics.read_from(Sources { supervisor, ..Sources::default() });
    let pages = Arc::new(SupervisorPages { client, metrics });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the threads of HTTP: {error}"))?;
    std::thread::Builder::new()
        .name("http".to_owned())
        .spawn(move || runtime.block_on(http::serve(&listen, pages)))
        .map_err(|error| format!("cannot start the thread of HTTP: {error}"))?;
    Ok(())
}

//! Callers that wait for one answer before they ask again.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;
use tonic::transport::Endpoint;
use wharf_csi::proto::NodeGetCapabilitiesRequest;
use wharf_csi::proto::node_client::NodeClient;

/// Calls before the first that counts: connections are made, buffers have their size.
const WARM_UP: usize = 200;

/// How long every call took.
pub struct Measured {
    took: Vec<Duration>,
    elapsed: Duration,
}

impl Measured {
    /// Calls, calls a second, and how long half and 99 of 100 of them took at most.
    pub fn json(&self) -> String {
        let at = |part: usize| {
            let index = self.took.len().saturating_sub(1) * part / 100;
            self.took.get(index).map_or(f64::NAN, |took| took.as_secs_f64() * 1e6)
        };
        serde_json::json!({
            "calls": self.took.len(),
            "per_second": self.took.len() as f64 / self.elapsed.as_secs_f64(),
            "p50_us": at(50),
            "p99_us": at(99),
        })
        .to_string()
    }
}

/// Lets so many callers ask for so long.
///
/// # Errors
/// The first call that is not answered, or answered with nothing.
pub async fn measure(socket: &Path, callers: usize, duration: Duration) -> Result<Measured> {
    let mut running = JoinSet::new();
    for _ in 0..callers {
        running.spawn(ask(socket.to_owned(), duration));
    }
    let (mut took, mut elapsed) = (Vec::new(), Duration::ZERO);
    while let Some(caller) = running.join_next().await {
        let (of_one, lasted) = caller??;
        took.extend(of_one);
        elapsed = elapsed.max(lasted);
    }
    took.sort_unstable();
    Ok(Measured { took, elapsed })
}

async fn ask(socket: PathBuf, duration: Duration) -> Result<(Vec<Duration>, Duration)> {
    let channel = Endpoint::try_from(format!("unix://{}", socket.display()))?
        .connect()
        .await
        .with_context(|| format!("nobody serves {}", socket.display()))?;
    let mut client = NodeClient::new(channel);
    for _ in 0..WARM_UP {
        call(&mut client).await?;
    }
    let (start, mut took) = (Instant::now(), Vec::new());
    while start.elapsed() < duration {
        let began = Instant::now();
        call(&mut client).await?;
        took.push(began.elapsed());
    }
    Ok((took, start.elapsed()))
}

async fn call(client: &mut NodeClient<tonic::transport::Channel>) -> Result<()> {
    let answer = client.node_get_capabilities(NodeGetCapabilitiesRequest {}).await?;
    ensure!(!answer.get_ref().capabilities.is_empty(), "an answer without capabilities");
    Ok(())
}

//! A real `Probe` over a CSI socket, as kubelet or a sidecar makes it: whether anybody answers
//! there, and what. Nothing but the socket is asked, so a server of ours that hangs is found out.

use std::error::Error as StdError;
use std::path::Path;
use std::time::Duration;

use tonic::transport::Endpoint;

use crate::proto::ProbeRequest;
use crate::proto::identity_client::IdentityClient;

/// What a driver answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probed {
    /// It can work.
    Ready,
    /// It answers, and cannot work yet.
    NotYet,
    /// It answers, and cannot work: its own words.
    Unable(String),
}

/// Asks the driver at this socket, and waits for so long at most.
///
/// # Errors
/// In words, when there is no answer.
pub async fn probe(socket: &Path, patience: Duration) -> Result<Probed, String> {
    let asked = tokio::time::timeout(patience, ask(socket));
    asked.await.unwrap_or_else(|_| Err(format!("no answer to Probe within {patience:?}")))
}

async fn ask(socket: &Path) -> Result<Probed, String> {
    let address = format!("unix://{}", socket.display());
    let endpoint = Endpoint::try_from(address).map_err(|error| causes(&error))?;
    let channel = endpoint.connect().await.map_err(|error| causes(&error))?;
    match IdentityClient::new(channel).probe(ProbeRequest {}).await {
        Ok(answer) if answer.get_ref().ready == Some(false) => Ok(Probed::NotYet),
        Ok(_) => Ok(Probed::Ready),
        // A status that the server sent has no source; one about the connection has.
        Err(status) if status.source().is_some() => Err(causes(&status)),
        Err(status) => Ok(Probed::Unable(status.message().to_owned())),
    }
}

/// The whole chain: the outermost error of a transport says nothing.
fn causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

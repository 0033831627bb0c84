//! One RPC: a new connection with the authority that Kubernetes sends, a deadline, and what its
//! status means.

use std::path::Path;
use std::time::{Duration, Instant};

use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status};

use crate::player::PlayError;
use crate::player::event::Part;

/// Who calls what, and how long it waits.
#[derive(Clone, Copy)]
pub(super) struct Rpc<'a> {
    pub(super) part: Part,
    pub(super) node: &'a str,
    pub(super) call: &'a str,
    pub(super) volume: &'a str,
    pub(super) socket: &'a Path,
    pub(super) timeout: Duration,
}

impl Rpc<'_> {
    /// The same, but it waits no longer than this.
    pub(super) fn within(self, longest: Duration) -> Self {
        Self { timeout: self.timeout.min(longest), ..self }
    }
}

/// An open connection, and the deadline that goes with each message on it.
pub(super) struct Line {
    pub(super) channel: Channel,
    timeout: Duration,
}

impl Line {
    /// A message with the caller's deadline.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }
}

/// Kubernetes dials anew for each RPC (kubelet does; the sidecars' connection is as good as new
/// after a restart of the driver). How long it took is from the dialling to the answer, without the
/// player's own threads.
pub(super) fn call<T>(
    rpc: &Rpc<'_>,
    send: impl AsyncFnOnce(Line) -> Result<T, Status>,
) -> (Result<T, PlayError>, Duration) {
    let runtime = match own_threads() {
        Ok(runtime) => runtime,
        Err(error) => return (Err(error), Duration::ZERO),
    };
    let (result, took) = runtime.block_on(async {
        let begun = Instant::now();
        let exchange = async {
            let channel = dial(rpc.socket).await?;
            send(Line { channel, timeout: rpc.timeout }).await
        };
        let result = tokio::time::timeout(rpc.timeout, exchange)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("context deadline exceeded")));
        (result, begun.elapsed())
    });
    // The reset that tells the server that nobody waits any more is still to be written.
    runtime.shutdown_timeout(Duration::from_millis(20));
    (result.map_err(|status| refused(rpc, &status)), took)
}

/// The same call again and again over one runtime, each time on a new connection: the answers, and
/// how long each took.
pub(super) fn call_often<T>(
    rpc: &Rpc<'_>,
    count: usize,
    send: impl AsyncFn(Line) -> Result<T, Status>,
) -> Result<Vec<(T, Duration)>, PlayError> {
    let runtime = own_threads()?;
    let all = runtime.block_on(async {
        let mut all = Vec::new();
        for _ in 0..count {
            let begun = Instant::now();
            let answer =
                send(Line { channel: dial(rpc.socket).await?, timeout: rpc.timeout }).await?;
            all.push((answer, begun.elapsed()));
        }
        Ok(all)
    });
    all.map_err(|status| refused(rpc, &status))
}

fn own_threads() -> Result<tokio::runtime::Runtime, PlayError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| PlayError::stage("start the player's own threads", error))
}

async fn dial(socket: &Path) -> Result<Channel, Status> {
    let failed =
        |error: tonic::transport::Error| Status::unavailable(format!("connection error: {error}"));
    let endpoint = Endpoint::try_from(format!("unix://{}", socket.display())).map_err(failed)?;
    endpoint.origin(Uri::from_static("http://localhost")).connect().await.map_err(failed)
}

fn refused(rpc: &Rpc<'_>, status: &Status) -> PlayError {
    PlayError::Refused {
        call: rpc.call.to_owned(),
        code: format!("{:?}", status.code()),
        message: status.message().to_owned(),
        is_final: is_final(rpc.part, status.code()),
    }
}

/// What Kubernetes calls a final error. For `CreateVolume` no room is final too: the claim is
/// scheduled anew.
fn is_final(part: Part, code: Code) -> bool {
    match code {
        Code::Cancelled | Code::DeadlineExceeded | Code::Unavailable | Code::Aborted => false,
        // What a driver that dies in the middle of an answer looks like from here; Go's client says
        // Unavailable then.
        Code::Unknown => false,
        Code::ResourceExhausted => part == Part::Provisioner,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passing_codes_are_those_of_kubernetes() {
        for code in [Code::Cancelled, Code::DeadlineExceeded, Code::Unavailable, Code::Aborted] {
            assert!(
                !is_final(Part::Kubelet, code) && !is_final(Part::Provisioner, code),
                "{code:?}"
            );
        }
        for code in [
            Code::Internal,
            Code::InvalidArgument,
            Code::NotFound,
            Code::FailedPrecondition,
            Code::OutOfRange,
        ] {
            assert!(is_final(Part::Kubelet, code), "{code:?}");
        }
        assert!(
            is_final(Part::Provisioner, Code::ResourceExhausted)
                && !is_final(Part::Attacher, Code::ResourceExhausted)
        );
    }

    #[test]
    fn a_socket_that_nobody_serves_is_unavailable_and_so_not_final() {
        let socket = tempfile::tempdir().unwrap().path().join("none.sock");
        let rpc = Rpc {
            part: Part::Kubelet,
            node: "n",
            call: "Probe",
            volume: "",
            socket: &socket,
            timeout: Duration::from_secs(2),
        };
        let error = call(&rpc, async |_| Ok(())).0.unwrap_err();
        assert!(
            matches!(&error, PlayError::Refused { code, .. } if code == "Unavailable"),
            "{error}"
        );
        assert!(!error.is_final());
    }
}

//! The Identity service: who we are, what we offer, whether we can work.

use std::collections::BTreeMap;
use std::sync::Arc;

use tonic::{Request, Response, Status};
use wharf_core::{Error, ErrorKind};

use crate::calls::Calls;
use crate::capabilities::{self, Described, Readiness};
use crate::proto;
use crate::proto::identity_server::Identity;

/// Who the driver is, and how the backend behind it can be asked.
pub(crate) struct IdentityFront {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) has_controller: bool,
    pub(crate) described: Described,
    pub(crate) calls: Arc<Calls>,
}

#[tonic::async_trait]
impl Identity for IdentityFront {
    /// Answers also while there is no backend: the name is the operator's and not the backend's.
    async fn get_plugin_info(
        &self,
        request: Request<proto::GetPluginInfoRequest>,
    ) -> Result<Response<proto::GetPluginInfoResponse>, Status> {
        let rpc = self.calls.begin("GetPluginInfo", request.metadata(), &self.name);
        let (name, vendor_version) = (self.name.clone(), self.version.clone());
        rpc.described(&self.described, move |described| {
            let manifest = described.ok().map(|backend| {
                BTreeMap::from([
                    ("backend".into(), backend.name.clone()),
                    ("backend-version".into(), backend.version.clone()),
                ])
            });
            Ok(proto::GetPluginInfoResponse {
                name,
                vendor_version,
                manifest: manifest.unwrap_or_default(),
            })
        })
        .await
    }

    async fn get_plugin_capabilities(
        &self,
        request: Request<proto::GetPluginCapabilitiesRequest>,
    ) -> Result<Response<proto::GetPluginCapabilitiesResponse>, Status> {
        let rpc = self.calls.begin("GetPluginCapabilities", request.metadata(), &self.name);
        let has_controller = self.has_controller;
        rpc.described(&self.described, move |described| {
            let capabilities = capabilities::of_plugin(described?.as_ref(), has_controller);
            Ok(proto::GetPluginCapabilitiesResponse { capabilities })
        })
        .await
    }

    /// About this host, and never behind a backend: ready once the backend has described itself,
    /// whatever became of it since, because unmounting needs none. Not ready while it is being
    /// asked or when its failure is expected to pass, which the sidecars wait for; otherwise
    /// `FAILED_PRECONDITION`, which they report.
    async fn probe(
        &self,
        request: Request<proto::ProbeRequest>,
    ) -> Result<Response<proto::ProbeResponse>, Status> {
        let rpc = self.calls.begin("Probe", request.metadata(), &self.name);
        let Readiness { is_ready, is_to_be_asked } = self.described.readiness();
        if is_to_be_asked {
            let (described, call) = (self.described.clone(), self.calls.for_ourselves());
            tokio::task::spawn_blocking(move || described.ask(&call));
        }
        rpc.routine().answer(match is_ready {
            Ok(is_ready) => Ok(proto::ProbeResponse { ready: Some(is_ready) }),
            Err(error) if error.kind.is_transient() => {
                Ok(proto::ProbeResponse { ready: Some(false) })
            }
            Err(error) => Err(Error { kind: ErrorKind::FailedPrecondition, ..error }
                .context("the backend does not answer")),
        })
    }
}

//! The Controller service: each call is parsed, run by the core, and answered.
//!
//! A method is a file beside this one, a line in [`offered`], and a line in the service's list.
//! What has no port in the core is refused as not offered.

mod create_volume;
mod delete_volume;
mod expand_volume;
mod get_capacity;
mod get_volume;
mod list_volumes;
mod modify_volume;
mod publish_volume;
mod unpublish_volume;
mod validate_capabilities;

use std::sync::Arc;

use create_volume::CreateVolume;
use delete_volume::DeleteVolume;
use expand_volume::ExpandVolume;
use get_capacity::GetCapacity;
use get_volume::GetVolume;
use list_volumes::ListVolumes;
use modify_volume::ModifyVolume;
use publish_volume::PublishVolume;
use tonic::{Request, Response, Status};
use unpublish_volume::UnpublishVolume;
use validate_capabilities::ValidateCapabilities;
use wharf_core::Error;
use wharf_core::controller::Controller;
use wharf_core::ports::Call;
use wharf_core::types::{Capability, Description};

use crate::calls::{Calls, CsiService, Rpc};
use crate::capabilities::{self, Described};
use crate::proto;
use crate::proto::controller_server::Controller as ControllerService;
pub(crate) use crate::proto::controller_service_capability::rpc::Type as ControllerRpc;
use crate::subject::Subject;

/// One method of the service.
trait Method {
    /// Its name in CSI.
    const NAME: &'static str;
    /// The word of the contract that a backend must say to be asked for it; `None`: every driver
    /// answers it.
    const NEEDS: Option<&'static str>;
    /// What is offered for a word of the contract.
    const OFFERS: &'static [(&'static str, ControllerRpc)] = &[];
    /// What comes from the caller.
    type Message: Send + 'static;
    /// The same, checked.
    type Asked: Send + 'static;
    /// What goes back.
    type Reply: Send + 'static;

    /// The volume's id or name, for the log.
    fn object(message: &Self::Message) -> &str;

    /// For whom it is made, and which of its words a log line must not repeat.
    fn subject(message: &Self::Message) -> Subject;

    /// What cannot be right is refused here.
    fn parse(message: Self::Message) -> Result<Self::Asked, Error>;

    /// How the volume is to be used, where the request says it.
    fn uses(_asked: &Self::Asked) -> &[Capability] {
        &[]
    }

    /// Runs on a thread that may wait.
    fn answer(on: &Work<'_>, asked: Self::Asked) -> Result<Self::Reply, Error>;
}

/// What a call works with.
struct Work<'a> {
    controller: &'a Controller,
    description: &'a Description,
    call: &'a Call,
}

/// What a driver offers for each word that its backend says, in `ControllerGetCapabilities`.
pub(crate) fn offered() -> impl Iterator<Item = (&'static str, ControllerRpc)> {
    [
        CreateVolume::OFFERS,
        PublishVolume::OFFERS,
        ExpandVolume::OFFERS,
        ModifyVolume::OFFERS,
        ListVolumes::OFFERS,
        GetCapacity::OFFERS,
        GetVolume::OFFERS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// The core's controller behind gRPC.
pub(crate) struct ControllerFront {
    pub(crate) controller: Arc<Controller>,
    pub(crate) described: Described,
    pub(crate) calls: Arc<Calls>,
}

type Answer<T> = Result<Response<T>, Status>;

impl ControllerFront {
    fn begin<T>(&self, rpc: &'static str, request: &Request<T>, object: &str) -> Rpc {
        self.calls.begin(rpc, request.metadata(), object)
    }

    /// Answers one method, if the backend offers it.
    async fn serve<M: Method>(&self, request: Request<M::Message>) -> Answer<M::Reply> {
        let message = request.get_ref();
        let rpc = self.begin(M::NAME, &request, M::object(message)).about(M::subject(message));
        let parsed = M::parse(request.into_inner());
        let (controller, described) = (Arc::clone(&self.controller), self.described.clone());
        rpc.run(CsiService::Controller, parsed, move |call, asked| {
            let description = described.now_or_last(call)?;
            M::NEEDS.map_or(Ok(()), |word| capabilities::require(&description, word))?;
            capabilities::require_group(&description, M::uses(&asked))?;
            let on = Work { controller: &controller, description: &description, call };
            M::answer(&on, asked)
        })
        .await
    }
}

#[tonic::async_trait]
impl ControllerService for ControllerFront {
    async fn controller_get_capabilities(
        &self,
        request: Request<proto::ControllerGetCapabilitiesRequest>,
    ) -> Answer<proto::ControllerGetCapabilitiesResponse> {
        let rpc = self.begin("ControllerGetCapabilities", &request, "");
        rpc.described(&self.described, |described| {
            let capabilities = capabilities::of_controller(described?.as_ref());
            Ok(proto::ControllerGetCapabilitiesResponse { capabilities })
        })
        .await
    }

    async fn create_volume(
        &self,
        request: Request<proto::CreateVolumeRequest>,
    ) -> Answer<proto::CreateVolumeResponse> {
        self.serve::<CreateVolume>(request).await
    }

    async fn delete_volume(
        &self,
        request: Request<proto::DeleteVolumeRequest>,
    ) -> Answer<proto::DeleteVolumeResponse> {
        self.serve::<DeleteVolume>(request).await
    }

    async fn controller_publish_volume(
        &self,
        request: Request<proto::ControllerPublishVolumeRequest>,
    ) -> Answer<proto::ControllerPublishVolumeResponse> {
        self.serve::<PublishVolume>(request).await
    }

    async fn controller_unpublish_volume(
        &self,
        request: Request<proto::ControllerUnpublishVolumeRequest>,
    ) -> Answer<proto::ControllerUnpublishVolumeResponse> {
        self.serve::<UnpublishVolume>(request).await
    }

    async fn controller_expand_volume(
        &self,
        request: Request<proto::ControllerExpandVolumeRequest>,
    ) -> Answer<proto::ControllerExpandVolumeResponse> {
        self.serve::<ExpandVolume>(request).await
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<proto::ValidateVolumeCapabilitiesRequest>,
    ) -> Answer<proto::ValidateVolumeCapabilitiesResponse> {
        self.serve::<ValidateCapabilities>(request).await
    }

    async fn list_volumes(
        &self,
        request: Request<proto::ListVolumesRequest>,
    ) -> Answer<proto::ListVolumesResponse> {
        self.serve::<ListVolumes>(request).await
    }

    async fn controller_modify_volume(
        &self,
        request: Request<proto::ControllerModifyVolumeRequest>,
    ) -> Answer<proto::ControllerModifyVolumeResponse> {
        self.serve::<ModifyVolume>(request).await
    }

    async fn controller_get_volume(
        &self,
        request: Request<proto::ControllerGetVolumeRequest>,
    ) -> Answer<proto::ControllerGetVolumeResponse> {
        self.serve::<GetVolume>(request).await
    }

    async fn get_capacity(
        &self,
        request: Request<proto::GetCapacityRequest>,
    ) -> Answer<proto::GetCapacityResponse> {
        self.serve::<GetCapacity>(request).await
    }

    async fn create_snapshot(
        &self,
        request: Request<proto::CreateSnapshotRequest>,
    ) -> Answer<proto::CreateSnapshotResponse> {
        self.begin("CreateSnapshot", &request, &request.get_ref().source_volume_id).refuse()
    }

    async fn delete_snapshot(
        &self,
        request: Request<proto::DeleteSnapshotRequest>,
    ) -> Answer<proto::DeleteSnapshotResponse> {
        self.begin("DeleteSnapshot", &request, "").refuse()
    }

    async fn list_snapshots(
        &self,
        request: Request<proto::ListSnapshotsRequest>,
    ) -> Answer<proto::ListSnapshotsResponse> {
        self.begin("ListSnapshots", &request, &request.get_ref().source_volume_id).refuse()
    }

    async fn get_snapshot(
        &self,
        request: Request<proto::GetSnapshotRequest>,
    ) -> Answer<proto::GetSnapshotResponse> {
        self.begin("GetSnapshot", &request, "").refuse()
    }
}

#[cfg(test)]
mod tests;

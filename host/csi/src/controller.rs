//! The Controller service: each call is parsed, run by the core, and answered. What has no port in
//! the core is refused as not offered.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use wharf_core::Error;
use wharf_core::controller::Controller;
use wharf_core::types::{CreateRequest, Description, VolumeSource};

use crate::calls::{Calls, Lane, Rpc};
use crate::capabilities::{self, Described};
use crate::proto::controller_server::Controller as ControllerService;
use crate::proto::{self, validate_volume_capabilities_response::Confirmed};
use crate::subject::Subject;
use crate::{request as read, response as write};

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

    /// Runs `work` with the controller, if the backend offers `word`.
    async fn run<P, A>(
        &self,
        rpc: Rpc,
        word: &'static str,
        parsed: Result<P, Error>,
        work: impl FnOnce(Work<'_>, P) -> Result<A, Error> + Send + 'static,
    ) -> Answer<A>
    where
        P: Send + 'static,
        A: Send + 'static,
    {
        let (controller, described) = (Arc::clone(&self.controller), self.described.clone());
        rpc.run(Lane::Controller, parsed, move |call, parsed| {
            let description = described.now_or_last(call)?;
            capabilities::require(&description, word)?;
            work(Work { controller: &controller, description: &description, call }, parsed)
        })
        .await
    }
}

/// What a call works with.
struct Work<'a> {
    controller: &'a Controller,
    description: &'a Description,
    call: &'a wharf_core::ports::Call,
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
        let asked = request.get_ref();
        let subject = Subject::of(&[&asked.parameters, &asked.mutable_parameters], &asked.secrets)
            .mounted_with(&asked.volume_capabilities);
        let rpc = self.begin("CreateVolume", &request, &asked.name).about(subject);
        let parsed = read::create(request.into_inner());
        self.run(rpc, "create", parsed, |on, request| {
            check_offered(on.description, &request)?;
            write::created(on.controller.create(on.call, &request)?)
        })
        .await
    }

    async fn delete_volume(
        &self,
        request: Request<proto::DeleteVolumeRequest>,
    ) -> Answer<proto::DeleteVolumeResponse> {
        let rpc = self
            .begin("DeleteVolume", &request, &request.get_ref().volume_id)
            .about(Subject::of(&[], &request.get_ref().secrets));
        let parsed = read::delete(request.into_inner());
        self.run(rpc, "create", parsed, |on, request| {
            on.controller.delete(on.call, &request)?;
            Ok(proto::DeleteVolumeResponse {})
        })
        .await
    }

    async fn controller_publish_volume(
        &self,
        request: Request<proto::ControllerPublishVolumeRequest>,
    ) -> Answer<proto::ControllerPublishVolumeResponse> {
        let asked = request.get_ref();
        let subject = Subject::of(&[&asked.volume_context], &asked.secrets)
            .mounted_with(&asked.volume_capability);
        let rpc = self.begin("ControllerPublishVolume", &request, &asked.volume_id).about(subject);
        let parsed = read::attach(request.into_inner());
        self.run(rpc, "attach", parsed, |on, request| {
            if request.read_only && !on.description.can("attach-read-only") {
                return Err(Error::invalid(
                    "readonly is set, which this driver does not offer (PUBLISH_READONLY)",
                ));
            }
            write::attached(on.controller.attach(on.call, &request)?)
        })
        .await
    }

    async fn controller_unpublish_volume(
        &self,
        request: Request<proto::ControllerUnpublishVolumeRequest>,
    ) -> Answer<proto::ControllerUnpublishVolumeResponse> {
        let rpc = self
            .begin("ControllerUnpublishVolume", &request, &request.get_ref().volume_id)
            .about(Subject::of(&[], &request.get_ref().secrets));
        let parsed = read::detach(request.into_inner());
        self.run(rpc, "attach", parsed, |on, request| {
            on.controller.detach(on.call, &request)?;
            Ok(proto::ControllerUnpublishVolumeResponse {})
        })
        .await
    }

    async fn controller_expand_volume(
        &self,
        request: Request<proto::ControllerExpandVolumeRequest>,
    ) -> Answer<proto::ControllerExpandVolumeResponse> {
        let rpc = self
            .begin("ControllerExpandVolume", &request, &request.get_ref().volume_id)
            .about(Subject::of(&[], &request.get_ref().secrets));
        let parsed = read::expand(request.into_inner());
        self.run(rpc, "expand", parsed, |on, request| {
            write::expanded(on.controller.expand(on.call, &request)?)
        })
        .await
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<proto::ValidateVolumeCapabilitiesRequest>,
    ) -> Answer<proto::ValidateVolumeCapabilitiesResponse> {
        let asked = request.get_ref();
        let subject = Subject::of(&[&asked.volume_context, &asked.parameters], &asked.secrets)
            .mounted_with(&asked.volume_capabilities);
        let rpc =
            self.begin("ValidateVolumeCapabilities", &request, &asked.volume_id).about(subject);
        let message = request.into_inner();
        let asked = Confirmed {
            volume_context: message.volume_context.clone(),
            volume_capabilities: message.volume_capabilities.clone(),
            parameters: message.parameters.clone(),
            mutable_parameters: message.mutable_parameters.clone(),
        };
        let (controller, parsed) = (Arc::clone(&self.controller), read::validate(message));
        let described = self.described.clone();
        rpc.run(Lane::Controller, parsed, move |call, request| {
            let validated = controller.validate(call, &request)?;
            if validated.confirmed
                && !asked.mutable_parameters.is_empty()
                && !described.now_or_last(call)?.can("modify")
            {
                let message = "mutable_parameters cannot be looked at: this driver does not offer \
                               them (MODIFY_VOLUME)"
                    .to_owned();
                return Ok(proto::ValidateVolumeCapabilitiesResponse { confirmed: None, message });
            }
            Ok(proto::ValidateVolumeCapabilitiesResponse {
                confirmed: validated.confirmed.then_some(asked),
                message: validated.message,
            })
        })
        .await
    }

    async fn list_volumes(
        &self,
        request: Request<proto::ListVolumesRequest>,
    ) -> Answer<proto::ListVolumesResponse> {
        let rpc = self.begin("ListVolumes", &request, "");
        let parsed = read::list(request.into_inner());
        self.run(rpc, "list", parsed, |on, (max_entries, token)| {
            write::listed(on.controller.list(on.call, max_entries, token.as_deref())?)
        })
        .await
    }

    async fn controller_modify_volume(
        &self,
        request: Request<proto::ControllerModifyVolumeRequest>,
    ) -> Answer<proto::ControllerModifyVolumeResponse> {
        let asked = request.get_ref();
        let subject = Subject::of(&[&asked.mutable_parameters], &asked.secrets);
        let rpc = self.begin("ControllerModifyVolume", &request, &asked.volume_id).about(subject);
        let parsed = read::modify(request.into_inner());
        self.run(rpc, "modify", parsed, |on, request| {
            on.controller.modify(on.call, &request)?;
            Ok(proto::ControllerModifyVolumeResponse {})
        })
        .await
    }

    async fn controller_get_volume(
        &self,
        request: Request<proto::ControllerGetVolumeRequest>,
    ) -> Answer<proto::ControllerGetVolumeResponse> {
        let rpc = self.begin("ControllerGetVolume", &request, &request.get_ref().volume_id);
        let parsed = read::get(request.into_inner());
        self.run(rpc, "condition", parsed, |on, volume| {
            write::got(on.controller.read(on.call, &volume)?)
        })
        .await
    }

    async fn get_capacity(
        &self,
        request: Request<proto::GetCapacityRequest>,
    ) -> Answer<proto::GetCapacityResponse> {
        self.begin("GetCapacity", &request, "").refuse()
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

/// What a caller must not ask of a driver that does not offer it; CSI wants `INVALID_ARGUMENT`, and
/// nothing made.
fn check_offered(description: &Description, request: &CreateRequest) -> Result<(), Error> {
    let asked = [
        (
            matches!(request.source, Some(VolumeSource::Snapshot(_))),
            "snapshot",
            "a volume from a snapshot",
        ),
        (
            matches!(request.source, Some(VolumeSource::Volume(_))),
            "clone",
            "a volume from another volume",
        ),
        (!request.mutable_parameters.is_empty(), "modify", "a VolumeAttributesClass"),
    ];
    match asked.into_iter().find(|(is_asked, word, _)| *is_asked && !description.can(word)) {
        Some((_, word, what)) => Err(Error::invalid(format!(
            "{what} was asked for, and the backend {} does not offer `{word}`",
            description.name
        ))),
        None => Ok(()),
    }
}

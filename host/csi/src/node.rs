//! The Node service. Unstage, unpublish and the look at how a volume is ask no backend anything,
//! not even what it can do.

use std::slice::from_ref;
use std::sync::Arc;

use tonic::{Request, Response, Status};
use wharf_core::Error;
use wharf_core::node::NodeService;
use wharf_core::ports::Call;
use wharf_core::types::Capability;

use crate::calls::{Calls, CsiService, Rpc};
use crate::capabilities::{self, Described};
use crate::paths::AllowedRoots;
use crate::proto;
use crate::proto::node_server::Node;
use crate::subject::Subject;
use crate::{request as read, response as write};

/// The core's node verbs behind gRPC.
pub(crate) struct NodeFront {
    pub(crate) node: Arc<NodeService>,
    pub(crate) described: Described,
    pub(crate) allowed_roots: AllowedRoots,
    pub(crate) calls: Arc<Calls>,
}

type Answer<T> = Result<Response<T>, Status>;

impl NodeFront {
    fn begin<T>(&self, rpc: &'static str, request: &Request<T>, object: &str) -> Rpc {
        self.calls.begin(rpc, request.metadata(), object)
    }
}

#[tonic::async_trait]
impl Node for NodeFront {
    async fn node_get_capabilities(
        &self,
        request: Request<proto::NodeGetCapabilitiesRequest>,
    ) -> Answer<proto::NodeGetCapabilitiesResponse> {
        let rpc = self.begin("NodeGetCapabilities", &request, "");
        rpc.described(&self.described, |described| {
            let capabilities = described.map_or_else(
                |_| capabilities::of_an_unknown_node(),
                |known| capabilities::of_node(&known),
            );
            Ok(proto::NodeGetCapabilitiesResponse { capabilities })
        })
        .await
    }

    async fn node_get_info(
        &self,
        request: Request<proto::NodeGetInfoRequest>,
    ) -> Answer<proto::NodeGetInfoResponse> {
        let rpc = self.begin("NodeGetInfo", &request, "");
        let node = Arc::clone(&self.node);
        rpc.run(CsiService::Node, Ok(()), move |call, ()| write::described(node.describe(call)?))
            .await
    }

    async fn node_stage_volume(
        &self,
        request: Request<proto::NodeStageVolumeRequest>,
    ) -> Answer<proto::NodeStageVolumeResponse> {
        let asked = request.get_ref();
        let subject = Subject::of(&[&asked.volume_context, &asked.publish_context], &asked.secrets)
            .mounted_with(&asked.volume_capability);
        let rpc = self.begin("NodeStageVolume", &request, &asked.volume_id).about(subject);
        let parsed = read::stage(request.into_inner(), &self.allowed_roots);
        let (node, described) = (Arc::clone(&self.node), self.described.clone());
        rpc.run(CsiService::Node, parsed, move |call, (request, path)| {
            capabilities::require(described.now_or_last(call)?.as_ref(), "stage")?;
            require_group(&described, call, Some(&request.capability))?;
            node.stage(call, &request, &path)?;
            Ok(proto::NodeStageVolumeResponse {})
        })
        .await
    }

    async fn node_unstage_volume(
        &self,
        request: Request<proto::NodeUnstageVolumeRequest>,
    ) -> Answer<proto::NodeUnstageVolumeResponse> {
        let rpc = self.begin("NodeUnstageVolume", &request, &request.get_ref().volume_id);
        let parsed = read::unstage(request.into_inner(), &self.allowed_roots);
        let node = Arc::clone(&self.node);
        rpc.run(CsiService::Node, parsed, move |call, (volume, path)| {
            path.map_or(Ok(()), |path| node.unstage(call, &volume, &path))?;
            Ok(proto::NodeUnstageVolumeResponse {})
        })
        .await
    }

    async fn node_publish_volume(
        &self,
        request: Request<proto::NodePublishVolumeRequest>,
    ) -> Answer<proto::NodePublishVolumeResponse> {
        let asked = request.get_ref();
        let subject = Subject::of(&[&asked.volume_context, &asked.publish_context], &asked.secrets)
            .mounted_with(&asked.volume_capability);
        let rpc = self.begin("NodePublishVolume", &request, &asked.volume_id).about(subject);
        let parsed = read::publish(request.into_inner(), &self.allowed_roots);
        let (node, described) = (Arc::clone(&self.node), self.described.clone());
        rpc.run(CsiService::Node, parsed, move |call, (request, target, staging)| {
            if staging.is_none() && described.now_or_last(call)?.can("stage") {
                return Err(Error::precondition(
                    "staging_target_path is missing: this driver's volumes are staged before they \
                     are published",
                ));
            }
            require_group(&described, call, Some(&request.capability))?;
            node.publish(call, &request, &target, staging.as_deref())?;
            Ok(proto::NodePublishVolumeResponse {})
        })
        .await
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<proto::NodeUnpublishVolumeRequest>,
    ) -> Answer<proto::NodeUnpublishVolumeResponse> {
        let rpc = self.begin("NodeUnpublishVolume", &request, &request.get_ref().volume_id);
        let parsed = read::unpublish(request.into_inner(), &self.allowed_roots);
        let node = Arc::clone(&self.node);
        rpc.run(CsiService::Node, parsed, move |call, (volume, target)| {
            target.map_or(Ok(()), |target| node.unpublish(call, &volume, &target))?;
            Ok(proto::NodeUnpublishVolumeResponse {})
        })
        .await
    }

    async fn node_expand_volume(
        &self,
        request: Request<proto::NodeExpandVolumeRequest>,
    ) -> Answer<proto::NodeExpandVolumeResponse> {
        let rpc = self
            .begin("NodeExpandVolume", &request, &request.get_ref().volume_id)
            .about(Subject::of(&[], &request.get_ref().secrets));
        let parsed = read::node_expand(request.into_inner(), &self.allowed_roots);
        let (node, described) = (Arc::clone(&self.node), self.described.clone());
        rpc.run(CsiService::Node, parsed, move |call, (request, path)| {
            capabilities::require(described.now_or_last(call)?.as_ref(), "expand-node")?;
            require_group(&described, call, request.capability.as_ref())?;
            write::node_expanded(node.expand(call, &request, &path)?)
        })
        .await
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<proto::NodeGetVolumeStatsRequest>,
    ) -> Answer<proto::NodeGetVolumeStatsResponse> {
        let rpc = self.begin("NodeGetVolumeStats", &request, &request.get_ref().volume_id);
        let parsed = read::stats(request.into_inner(), &self.allowed_roots);
        let node = Arc::clone(&self.node);
        rpc.run(CsiService::Node, parsed, move |call, (volume, path)| {
            Ok(write::stats(node.stats(call, &volume, &path)?))
        })
        .await
    }
}

/// That the backend takes the group that a capability names. Without one no backend is asked: what
/// is published already needs none.
fn require_group(
    described: &Described,
    call: &Call,
    used: Option<&Capability>,
) -> Result<(), Error> {
    match used.filter(|used| used.group().is_some()) {
        Some(used) => {
            capabilities::require_group(described.now_or_last(call)?.as_ref(), from_ref(used))
        }
        None => Ok(()),
    }
}

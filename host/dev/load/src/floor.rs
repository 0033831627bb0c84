//! The least that a CSI server in Rust can be: one call, answered with constants by the generated
//! code over an ordinary socket.

use std::path::Path;

use anyhow::Result;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, async_trait};
use wharf_csi::proto as csi;
use wharf_csi::proto::node_server::{Node, NodeServer};
use wharf_csi::proto::node_service_capability::rpc::Type;
use wharf_csi::proto::node_service_capability::{Rpc, Type as Offer};

struct Floor;

type Answer<T> = Result<Response<T>, Status>;

fn not_here<T>() -> Answer<T> {
    Err(Status::unimplemented("this server is there to be measured"))
}

#[async_trait]
impl Node for Floor {
    async fn node_get_capabilities(
        &self,
        _: Request<csi::NodeGetCapabilitiesRequest>,
    ) -> Answer<csi::NodeGetCapabilitiesResponse> {
        let offered = [Type::GetVolumeStats, Type::StageUnstageVolume, Type::ExpandVolume];
        let capabilities = offered.map(|rpc| csi::NodeServiceCapability {
            r#type: Some(Offer::Rpc(Rpc { r#type: rpc.into() })),
        });
        let capabilities = capabilities.into();
        Ok(Response::new(csi::NodeGetCapabilitiesResponse { capabilities }))
    }

    async fn node_stage_volume(
        &self,
        _: Request<csi::NodeStageVolumeRequest>,
    ) -> Answer<csi::NodeStageVolumeResponse> {
        not_here()
    }

    async fn node_unstage_volume(
        &self,
        _: Request<csi::NodeUnstageVolumeRequest>,
    ) -> Answer<csi::NodeUnstageVolumeResponse> {
        not_here()
    }

    async fn node_publish_volume(
        &self,
        _: Request<csi::NodePublishVolumeRequest>,
    ) -> Answer<csi::NodePublishVolumeResponse> {
        not_here()
    }

    async fn node_unpublish_volume(
        &self,
        _: Request<csi::NodeUnpublishVolumeRequest>,
    ) -> Answer<csi::NodeUnpublishVolumeResponse> {
        not_here()
    }

    async fn node_get_volume_stats(
        &self,
        _: Request<csi::NodeGetVolumeStatsRequest>,
    ) -> Answer<csi::NodeGetVolumeStatsResponse> {
        not_here()
    }

    async fn node_expand_volume(
        &self,
        _: Request<csi::NodeExpandVolumeRequest>,
    ) -> Answer<csi::NodeExpandVolumeResponse> {
        not_here()
    }

    async fn node_get_info(
        &self,
        _: Request<csi::NodeGetInfoRequest>,
    ) -> Answer<csi::NodeGetInfoResponse> {
        not_here()
    }
}

/// Serves until the process is ended.
///
/// # Errors
/// When the socket cannot be served.
pub async fn serve(socket: &Path) -> Result<()> {
    let connections = UnixListenerStream::new(UnixListener::bind(socket)?);
    tonic::transport::Server::builder()
        .add_service(NodeServer::new(Floor))
        .serve_with_incoming(connections)
        .await?;
    Ok(())
}

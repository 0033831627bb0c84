//! external-provisioner, external-attacher and external-resizer.

use std::collections::BTreeMap;
use std::time::Duration;

use wharf_csi::proto;
use wharf_csi::proto::controller_client::ControllerClient;
use wharf_csi::proto::controller_service_capability::rpc::Type as Can;
use wharf_csi::proto::identity_client::IdentityClient;
use wharf_csi::proto::node_client::NodeClient;
use wharf_csi::proto::plugin_capability::service::Type as Service;

use super::connection::Rpc;
use super::{CsiNode, CsiPlayer, CsiVolume, Segments, Use, VolumeClass, capability, topology};
use crate::player::event::Part;
use crate::player::{PlayError, paths};

/// `--timeout` of external-provisioner.
const PROVISIONER: Duration = Duration::from_secs(10);
/// `--timeout` of external-attacher.
const ATTACHER: Duration = Duration::from_secs(15);
/// `--timeout` of external-resizer.
const RESIZER: Duration = Duration::from_secs(10);
/// kubelet's own, for every CSI call.
pub(super) const KUBELET: Duration = Duration::from_secs(120);

impl CsiPlayer {
    /// What node-driver-registrar sets off: kubelet asks who the node is.
    ///
    /// # Errors
    /// When the driver does not say, for as long as the retry rules allow.
    pub fn register(
        &self,
        name: &str,
        socket: &std::path::Path,
        root: &std::path::Path,
    ) -> Result<CsiNode, PlayError> {
        let rpc = Rpc {
            part: Part::Kubelet,
            node: name,
            call: "NodeGetInfo",
            volume: "",
            socket,
            timeout: KUBELET,
        };
        let info = self.repeat(rpc.part, name, rpc.call, "", || {
            self.ask(&rpc, String::new(), async |line| {
                let request = line.request(proto::NodeGetInfoRequest {});
                Ok(NodeClient::new(line.channel).node_get_info(request).await?.into_inner())
            })
        })?;
        paths::make_directory(&root.join("pods"))?;
        let topology: Segments = info
            .accessible_topology
            .map(|topology| topology.segments.into_iter().collect())
            .unwrap_or_default();
        self.known_nodes().insert(name.to_owned(), topology.clone());
        Ok(CsiNode {
            name: name.to_owned(),
            id: info.node_id,
            topology,
            max_volumes: info.max_volumes_per_node,
            socket: socket.to_owned(),
            root: root.to_owned(),
        })
    }

    /// What the driver's controller says that it can do.
    ///
    /// # Errors
    /// When it does not say.
    pub fn controller_can(&self) -> Result<Vec<i32>, PlayError> {
        let rpc = self.rpc(Part::Provisioner, "ControllerGetCapabilities", "", PROVISIONER);
        self.repeat(rpc.part, "", rpc.call, "", || {
            let answer = self.ask(&rpc, String::new(), async |line| {
                let request = line.request(proto::ControllerGetCapabilitiesRequest {});
                Ok(ControllerClient::new(line.channel)
                    .controller_get_capabilities(request)
                    .await?
                    .into_inner())
            })?;
            Ok(answer.capabilities.into_iter().filter_map(rpc_type).collect())
        })
    }

    /// Where a new volume may go, if the driver has places at all.
    fn places(
        &self,
        volume: &str,
        class: &VolumeClass,
    ) -> Result<Option<proto::TopologyRequirement>, PlayError> {
        let rpc = self.rpc(Part::Provisioner, "GetPluginCapabilities", "", PROVISIONER);
        let has_places = self.repeat(rpc.part, "", rpc.call, "", || {
            let answer = self.ask(&rpc, String::new(), async |line| {
                let request = line.request(proto::GetPluginCapabilitiesRequest {});
                Ok(IdentityClient::new(line.channel)
                    .get_plugin_capabilities(request)
                    .await?
                    .into_inner())
            })?;
            Ok(answer.capabilities.into_iter().any(|capability| {
                service_type(capability) == Some(Service::VolumeAccessibilityConstraints.into())
            }))
        })?;
        let nodes: Vec<Segments> = self.known_nodes().values().cloned().collect();
        Ok(has_places.then(|| topology::requirement(volume, &class.topology, nodes)).flatten())
    }

    /// A claim is bound to a new volume.
    ///
    /// # Errors
    /// The driver's refusal, or the last of the failures that were repeated.
    pub fn provision(
        &self,
        name: &str,
        bytes: u64,
        class: &VolumeClass,
    ) -> Result<CsiVolume, PlayError> {
        let multi_writer = self.controller_can()?.contains(&i32::from(Can::SingleNodeMultiWriter));
        let places = self.places(name, class)?;
        let rpc = self.rpc(Part::Provisioner, "CreateVolume", name, PROVISIONER);
        let volume = self.repeat(rpc.part, "", rpc.call, name, || {
            let message = create_request(name, bytes, class, multi_writer, places.clone());
            let with = format!(
                "{} GiB {}",
                bytes.div_ceil(1 << 30),
                if class.volume_use == Use::Block { "raw" } else { &class.fs_type }
            );
            let answer = self.ask(&rpc, with, async |line| {
                let request = line.request(message);
                Ok(ControllerClient::new(line.channel).create_volume(request).await?.into_inner())
            })?;
            let volume = answer.volume.ok_or_else(|| PlayError::Unreadable {
                call: rpc.call.to_owned(),
                what: "no volume in it".to_owned(),
            })?;
            let has = u64::try_from(volume.capacity_bytes).unwrap_or(0);
            if has != 0 && has < bytes {
                self.delete_handle(name, &volume.volume_id)?;
                let message =
                    format!("created volume capacity {has} less than requested capacity {bytes}");
                return Err(PlayError::Refused {
                    call: rpc.call.to_owned(),
                    code: "Internal".to_owned(),
                    message,
                    is_final: true,
                });
            }
            Ok(volume)
        })?;
        let mut context: BTreeMap<String, String> = volume.volume_context.into_iter().collect();
        context.insert(
            "storage.kubernetes.io/csiProvisionerIdentity".to_owned(),
            format!("1700000000000-1234-{}", self.driver),
        );
        let has = u64::try_from(volume.capacity_bytes).unwrap_or(0);
        Ok(CsiVolume {
            name: name.to_owned(),
            handle: volume.volume_id,
            bytes: if has == 0 { bytes } else { has },
            topology: volume
                .accessible_topology
                .into_iter()
                .map(|place| place.segments.into_iter().collect())
                .collect(),
            context,
            class: class.clone(),
            publish_context: BTreeMap::new(),
            stage_secret: BTreeMap::new(),
            publish_secret: BTreeMap::new(),
        })
    }

    /// The claim is deleted and the reclaim policy is Delete.
    ///
    /// # Errors
    /// The driver's refusal, or the last of the failures that were repeated.
    pub fn delete(&self, volume: &CsiVolume) -> Result<(), PlayError> {
        self.repeat(Part::Provisioner, "", "DeleteVolume", &volume.name, || {
            self.delete_handle(&volume.name, &volume.handle)
        })
    }

    fn delete_handle(&self, name: &str, handle: &str) -> Result<(), PlayError> {
        let rpc = self.rpc(Part::Provisioner, "DeleteVolume", name, PROVISIONER);
        let message =
            proto::DeleteVolumeRequest { volume_id: handle.to_owned(), ..Default::default() };
        self.ask(&rpc, handle.to_owned(), async |line| {
            let request = line.request(message);
            ControllerClient::new(line.channel).delete_volume(request).await.map(drop)
        })
    }

    /// A VolumeAttachment is made for the node; the volume keeps what came back.
    ///
    /// # Errors
    /// The driver's refusal, or the last of the failures that were repeated.
    pub fn attach(&self, volume: &mut CsiVolume, node: &CsiNode) -> Result<(), PlayError> {
        let multi_writer = self.controller_can()?.contains(&i32::from(Can::SingleNodeMultiWriter));
        let rpc = self.rpc(Part::Attacher, "ControllerPublishVolume", &volume.name, ATTACHER);
        let context = self.repeat(rpc.part, "", rpc.call, &volume.name, || {
            let message = proto::ControllerPublishVolumeRequest {
                volume_id: volume.handle.clone(),
                node_id: node.id.clone(),
                volume_capability: Some(volume.capability(multi_writer)),
                volume_context: volume.context.clone().into_iter().collect(),
                ..Default::default()
            };
            self.ask(&rpc, format!("node {}", node.name), async |line| {
                let request = line.request(message);
                Ok(ControllerClient::new(line.channel)
                    .controller_publish_volume(request)
                    .await?
                    .into_inner()
                    .publish_context)
            })
        })?;
        volume.publish_context = context.into_iter().collect();
        Ok(())
    }

    /// The VolumeAttachment is deleted.
    ///
    /// # Errors
    /// The driver's refusal, or the last of the failures that were repeated.
    pub fn detach(&self, volume: &CsiVolume, node: &CsiNode) -> Result<(), PlayError> {
        let rpc = self.rpc(Part::Attacher, "ControllerUnpublishVolume", &volume.name, ATTACHER);
        self.repeat(rpc.part, "", rpc.call, &volume.name, || {
            let message = proto::ControllerUnpublishVolumeRequest {
                volume_id: volume.handle.clone(),
                node_id: node.id.clone(),
                ..Default::default()
            };
            self.ask(&rpc, format!("node {}", node.name), async |line| {
                let request = line.request(message);
                ControllerClient::new(line.channel)
                    .controller_unpublish_volume(request)
                    .await
                    .map(drop)
            })
        })
    }

    /// Which volume is attached to which node: page after page, as the attacher asks every minute.
    ///
    /// # Errors
    /// The driver's refusal, or the last of the failures that were repeated.
    pub fn list(&self) -> Result<Vec<proto::ListVolumesResponse>, PlayError> {
        let rpc = self.rpc(Part::Attacher, "ListVolumes", "", ATTACHER);
        let (mut pages, mut token) = (Vec::new(), String::new());
        loop {
            let page = self.repeat(rpc.part, "", rpc.call, "", || {
                // Zero: as many as the driver likes.
                let (max_entries, starting_token) = (0, token.clone());
                self.ask(&rpc, token.clone(), async |line| {
                    let message = proto::ListVolumesRequest { max_entries, starting_token };
                    let request = line.request(message);
                    Ok(ControllerClient::new(line.channel)
                        .list_volumes(request)
                        .await?
                        .into_inner())
                })
            })?;
            token.clone_from(&page.next_token);
            pages.push(page);
            if token.is_empty() {
                return Ok(pages);
            }
        }
    }

    /// The claim names a VolumeAttributesClass.
    ///
    /// # Errors
    /// The driver's refusal, or the last of the failures that were repeated.
    pub fn modify(&self, volume: &CsiVolume, class: &[(&str, &str)]) -> Result<(), PlayError> {
        let rpc = self.rpc(Part::Resizer, "ControllerModifyVolume", &volume.name, RESIZER);
        let of = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        self.repeat(rpc.part, "", rpc.call, &volume.name, || {
            let message = proto::ControllerModifyVolumeRequest {
                volume_id: volume.handle.clone(),
                mutable_parameters: class.iter().map(of).collect(),
                ..Default::default()
            };
            self.ask(&rpc, String::new(), async |line| {
                let request = line.request(message);
                ControllerClient::new(line.channel).controller_modify_volume(request).await
            })
        })
        .map(drop)
    }

    /// The claim asks for more. Says whether a node has to grow something too.
    ///
    /// # Errors
    /// The driver's refusal, or the last of the failures that were repeated.
    pub fn expand_controller(&self, volume: &mut CsiVolume, bytes: u64) -> Result<bool, PlayError> {
        let rpc = self.rpc(Part::Resizer, "ControllerExpandVolume", &volume.name, RESIZER);
        let answer = self.repeat(rpc.part, "", rpc.call, &volume.name, || {
            let message = proto::ControllerExpandVolumeRequest {
                volume_id: volume.handle.clone(),
                capacity_range: Some(range(bytes)),
                volume_capability: Some(volume.capability(false)),
                ..Default::default()
            };
            self.ask(&rpc, format!("{} GiB", bytes >> 30), async |line| {
                let request = line.request(message);
                Ok(ControllerClient::new(line.channel)
                    .controller_expand_volume(request)
                    .await?
                    .into_inner())
            })
        })?;
        volume.bytes = u64::try_from(answer.capacity_bytes).unwrap_or(bytes);
        Ok(answer.node_expansion_required)
    }

    fn rpc<'a>(&'a self, part: Part, call: &'a str, volume: &'a str, timeout: Duration) -> Rpc<'a> {
        Rpc { part, node: "", call, volume, socket: &self.controller, timeout }
    }
}

fn rpc_type(capability: proto::ControllerServiceCapability) -> Option<i32> {
    match capability.r#type? {
        proto::controller_service_capability::Type::Rpc(rpc) => Some(rpc.r#type),
    }
}

fn service_type(capability: proto::PluginCapability) -> Option<i32> {
    match capability.r#type? {
        proto::plugin_capability::Type::Service(service) => Some(service.r#type),
        proto::plugin_capability::Type::VolumeExpansion(_) => None,
    }
}

pub(super) fn range(bytes: u64) -> proto::CapacityRange {
    proto::CapacityRange {
        required_bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        limit_bytes: 0,
    }
}

fn create_request(
    name: &str,
    bytes: u64,
    class: &VolumeClass,
    multi_writer: bool,
    places: Option<proto::TopologyRequirement>,
) -> proto::CreateVolumeRequest {
    proto::CreateVolumeRequest {
        name: name.to_owned(),
        capacity_range: Some(range(bytes)),
        volume_capabilities: vec![capability(class, multi_writer)],
        parameters: class.parameters.clone().into_iter().collect(),
        accessibility_requirements: places,
        ..Default::default()
    }
}

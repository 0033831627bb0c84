//! kubelet's CSI plugin (`pkg/volume/csi/csi_attacher.go`, `csi_mounter.go`, `csi_block.go`,
//! `expander.go`).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wharf_csi::proto;
use wharf_csi::proto::node_client::NodeClient;
use wharf_csi::proto::node_service_capability::rpc::Type as Can;

use super::connection::{self, Rpc};
use super::controller::{KUBELET, range};
use super::{CsiNode, CsiPlayer, CsiVolume, Usage, Use};
use crate::player::event::Part;
use crate::player::{PlayError, paths};

/// kubelet's own note beside a staging or target directory.
const NOTE: &str = "vol_data.json";

impl CsiPlayer {
    /// The volume arrives on the node, once for all its pods.
    ///
    /// # Errors
    /// The driver's refusal, or the last of the failures that were repeated.
    pub fn stage(&self, volume: &CsiVolume, node: &CsiNode) -> Result<(), PlayError> {
        self.repeat(Part::Kubelet, &node.name, "NodeStageVolume", &volume.name, || {
            let can = self.node_can(volume, node)?;
            if !can.contains(&i32::from(Can::StageUnstageVolume)) {
                return Ok(());
            }
            let staging = volume.staging(node, &self.driver);
            paths::make_directory(&staging)?;
            note(&staging, volume, &self.driver)?;
            let staged = self.stage_once(
                volume,
                node,
                &staging,
                can.contains(&i32::from(Can::SingleNodeMultiWriter)),
            );
            match &staged {
                Err(error) if error.is_final() => tidy(&staging)?,
                _ => {}
            }
            staged
        })
    }

    fn stage_once(
        &self,
        volume: &CsiVolume,
        node: &CsiNode,
        staging: &Path,
        multi_writer: bool,
    ) -> Result<(), PlayError> {
        let message = proto::NodeStageVolumeRequest {
            volume_id: volume.handle.clone(),
            publish_context: volume.publish_context.clone().into_iter().collect(),
            staging_target_path: text(staging),
            volume_capability: Some(volume.capability(multi_writer)),
            secrets: volume.stage_secret.clone().into_iter().collect(),
            volume_context: volume.context.clone().into_iter().collect(),
        };
        self.ask(&kubelet("NodeStageVolume", volume, node), text(staging), async |line| {
            let request = line.request(message);
            NodeClient::new(line.channel).node_stage_volume(request).await.map(drop)
        })
    }

    /// One pod gets the volume. Returns where.
    ///
    /// # Errors
    /// The driver's refusal, or the last of the failures that were repeated.
    pub fn publish(
        &self,
        volume: &CsiVolume,
        node: &CsiNode,
        pod: &str,
        read_only: bool,
    ) -> Result<PathBuf, PlayError> {
        let target = volume.target(node, pod);
        self.repeat(Part::Kubelet, &node.name, "NodePublishVolume", &volume.name, || {
            let can = self.node_can(volume, node)?;
            let stages = can.contains(&i32::from(Can::StageUnstageVolume));
            // The target itself is the driver's to make.
            target.parent().map_or(Ok(()), paths::make_directory)?;
            note(&target, volume, &self.driver)?;
            let message = proto::NodePublishVolumeRequest {
                volume_id: volume.handle.clone(),
                publish_context: volume.publish_context.clone().into_iter().collect(),
                staging_target_path: if stages {
                    text(&volume.staging(node, &self.driver))
                } else {
                    String::new()
                },
                target_path: text(&target),
                volume_capability: Some(
                    volume.capability(can.contains(&i32::from(Can::SingleNodeMultiWriter))),
                ),
                readonly: read_only,
                secrets: volume.publish_secret.clone().into_iter().collect(),
                volume_context: volume.context.clone().into_iter().collect(),
            };
            let published = self.ask(
                &kubelet("NodePublishVolume", volume, node),
                text(&target),
                async |line| {
                    let request = line.request(message);
                    NodeClient::new(line.channel).node_publish_volume(request).await.map(drop)
                },
            );
            match &published {
                Err(error) if error.is_final() => tidy(&target)?,
                _ => {}
            }
            published
        })?;
        Ok(target)
    }

    /// The pod is gone.
    ///
    /// # Errors
    /// The driver's refusal, or the last of the failures that were repeated; also when the driver
    /// says done and the target is still there.
    pub fn unpublish(
        &self,
        volume: &CsiVolume,
        node: &CsiNode,
        pod: &str,
    ) -> Result<(), PlayError> {
        let target = volume.target(node, pod);
        self.repeat(Part::Kubelet, &node.name, "NodeUnpublishVolume", &volume.name, || {
            let message = proto::NodeUnpublishVolumeRequest {
                volume_id: volume.handle.clone(),
                target_path: text(&target),
            };
            self.ask(&kubelet("NodeUnpublishVolume", volume, node), text(&target), async |line| {
                let request = line.request(message);
                NodeClient::new(line.channel).node_unpublish_volume(request).await.map(drop)
            })?;
            if fs::symlink_metadata(&target).is_ok() {
                let what = format!("CSI demands that {} is gone after it", target.display());
                return Err(PlayError::Unreadable { call: "NodeUnpublishVolume".to_owned(), what });
            }
            tidy(&target)
        })
    }

    /// The last pod of the node is gone.
    ///
    /// # Errors
    /// The driver's refusal, or the last of the failures that were repeated.
    pub fn unstage(&self, volume: &CsiVolume, node: &CsiNode) -> Result<(), PlayError> {
        let staging = volume.staging(node, &self.driver);
        self.repeat(Part::Kubelet, &node.name, "NodeUnstageVolume", &volume.name, || {
            self.node_can(volume, node)?;
            let message = proto::NodeUnstageVolumeRequest {
                volume_id: volume.handle.clone(),
                staging_target_path: text(&staging),
            };
            self.ask(&kubelet("NodeUnstageVolume", volume, node), text(&staging), async |line| {
                let request = line.request(message);
                NodeClient::new(line.channel).node_unstage_volume(request).await.map(drop)
            })?;
            tidy(&staging)
        })
    }

    /// A claim has grown while `pod` uses it. Returns the size that the driver says.
    ///
    /// # Errors
    /// The driver's refusal, or the last of the failures that were repeated.
    pub fn expand_node(
        &self,
        volume: &CsiVolume,
        node: &CsiNode,
        pod: &str,
        bytes: u64,
    ) -> Result<u64, PlayError> {
        let target = volume.target(node, pod);
        self.repeat(Part::Kubelet, &node.name, "NodeExpandVolume", &volume.name, || {
            let can = self.node_can(volume, node)?;
            let message = proto::NodeExpandVolumeRequest {
                volume_id: volume.handle.clone(),
                volume_path: text(&target),
                capacity_range: Some(range(bytes)),
                staging_target_path: text(&volume.staging(node, &self.driver)),
                volume_capability: Some(
                    volume.capability(can.contains(&i32::from(Can::SingleNodeMultiWriter))),
                ),
                ..Default::default()
            };
            let answer = self.ask(
                &kubelet("NodeExpandVolume", volume, node),
                format!("{} GiB", bytes >> 30),
                async |line| {
                    let request = line.request(message);
                    Ok(NodeClient::new(line.channel)
                        .node_expand_volume(request)
                        .await?
                        .into_inner())
                },
            )?;
            Ok(u64::try_from(answer.capacity_bytes).unwrap_or(0))
        })
    }

    /// kubelet's look at how full a pod's volume is.
    ///
    /// # Errors
    /// The driver's refusal, or the last of the failures that were repeated.
    pub fn stats(&self, volume: &CsiVolume, node: &CsiNode, pod: &str) -> Result<Usage, PlayError> {
        let answer = self.look(volume, node, pod)?;
        let bytes = proto::volume_usage::Unit::Bytes;
        let found = answer.usage.into_iter().find(|usage| usage.unit() == bytes);
        let usage = found.ok_or_else(|| PlayError::Unreadable {
            call: "NodeGetVolumeStats".to_owned(),
            what: format!("no bytes in it, {:?}", answer.volume_condition),
        })?;
        let size = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
        Ok(Usage {
            total: size(usage.total),
            used: size(usage.used),
            available: size(usage.available),
        })
    }

    /// Whether the volume works, as kubelet asks with the feature gate `CSIVolumeHealth`.
    ///
    /// # Errors
    /// When the node does not say.
    pub fn condition(
        &self,
        volume: &CsiVolume,
        node: &CsiNode,
        pod: &str,
    ) -> Result<proto::VolumeCondition, PlayError> {
        self.look(volume, node, pod)?.volume_condition.ok_or_else(|| PlayError::Unreadable {
            call: "NodeGetVolumeStats".to_owned(),
            what: "no condition in it".to_owned(),
        })
    }

    fn look(
        &self,
        volume: &CsiVolume,
        node: &CsiNode,
        pod: &str,
    ) -> Result<proto::NodeGetVolumeStatsResponse, PlayError> {
        let target = volume.target(node, pod);
        let rpc = kubelet("NodeGetVolumeStats", volume, node);
        self.repeat(Part::Kubelet, &node.name, rpc.call, &volume.name, || {
            let message = proto::NodeGetVolumeStatsRequest {
                volume_id: volume.handle.clone(),
                volume_path: text(&target),
                ..Default::default()
            };
            self.ask(&rpc, text(&target), async |line| {
                let request = line.request(message);
                let answer = NodeClient::new(line.channel).node_get_volume_stats(request).await?;
                Ok(answer.into_inner())
            })
        })
    }

    /// Everything from the attached volume to the running pod. Returns where the pod finds it.
    ///
    /// # Errors
    /// The first step that failed for good.
    pub fn start_pod(
        &self,
        volume: &mut CsiVolume,
        node: &CsiNode,
        pod: &str,
    ) -> Result<PathBuf, PlayError> {
        self.attach(volume, node)?;
        self.stage(volume, node)?;
        self.publish(volume, node, pod, false)
    }

    /// The way back, to the detached volume.
    ///
    /// # Errors
    /// The first step that failed for good.
    pub fn end_pod(&self, volume: &CsiVolume, node: &CsiNode, pod: &str) -> Result<(), PlayError> {
        self.unpublish(volume, node, pod)?;
        self.unstage(volume, node)?;
        self.detach(volume, node)
    }

    /// How long kubelet waits for `NodeGetCapabilities`, so often, each time on a new connection.
    /// The player's own part in it is small: all go over one runtime.
    ///
    /// # Errors
    /// The first call that is not answered, or answered with nothing.
    pub fn time_node_capabilities(
        &self,
        node: &CsiNode,
        count: usize,
    ) -> Result<Vec<Duration>, PlayError> {
        let rpc = Rpc {
            part: Part::Kubelet,
            node: &node.name,
            call: "NodeGetCapabilities",
            volume: "",
            socket: &node.socket,
            timeout: KUBELET,
        };
        let times = connection::call_often(&rpc, count, async |line| {
            let request = line.request(proto::NodeGetCapabilitiesRequest {});
            NodeClient::new(line.channel).node_get_capabilities(request).await
        })?;
        let is_empty = |answer: &proto::NodeGetCapabilitiesResponse| answer.capabilities.is_empty();
        if times.iter().any(|(answer, _)| is_empty(answer.get_ref())) {
            return Err(PlayError::Unreadable {
                call: rpc.call.to_owned(),
                what: "no capabilities in it".to_owned(),
            });
        }
        Ok(times.into_iter().map(|(_, took)| took).collect())
    }

    fn node_can(&self, volume: &CsiVolume, node: &CsiNode) -> Result<Vec<i32>, PlayError> {
        let answer =
            self.ask(&kubelet("NodeGetCapabilities", volume, node), String::new(), async |line| {
                let request = line.request(proto::NodeGetCapabilitiesRequest {});
                Ok(NodeClient::new(line.channel).node_get_capabilities(request).await?.into_inner())
            })?;
        let of = |capability: proto::NodeServiceCapability| match capability.r#type? {
            proto::node_service_capability::Type::Rpc(rpc) => Some(rpc.r#type),
        };
        Ok(answer.capabilities.into_iter().filter_map(of).collect())
    }
}

fn kubelet<'a>(call: &'a str, volume: &'a CsiVolume, node: &'a CsiNode) -> Rpc<'a> {
    Rpc {
        part: Part::Kubelet,
        node: &node.name,
        call,
        volume: &volume.name,
        socket: &node.socket,
        timeout: KUBELET,
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn note(path: &Path, volume: &CsiVolume, driver: &str) -> Result<(), PlayError> {
    // For a raw device kubelet keeps its note elsewhere.
    if volume.class.volume_use == Use::Block {
        return Ok(());
    }
    let Some(directory) = path.parent() else { return Ok(()) };
    let data = serde_json::json!({ "driverName": driver, "volumeHandle": volume.handle, "specVolID": volume.name });
    fs::write(directory.join(NOTE), data.to_string())
        .map_err(|error| PlayError::stage(format!("write {NOTE}"), error))
}

/// `removeMountDir`: what is not mounted is removed, with kubelet's note and the directory around
/// it.
fn tidy(path: &Path) -> Result<(), PlayError> {
    if paths::is_likely_mounted(path) {
        return Ok(());
    }
    paths::remove(path)?;
    let Some(directory) = path.parent() else { return Ok(()) };
    paths::remove(&directory.join(NOTE))?;
    // Not empty (the next volume's directory) is fine, as it is for kubelet.
    let _ = fs::remove_dir(directory);
    Ok(())
}

//! The core's results into messages. What a backend answers is checked against CSI's bounds before
//! it goes out.

use std::collections::BTreeMap;

use wharf_core::Error;
use wharf_core::ports::{Stats, Usage};
use wharf_core::types::{Condition, NodeDescription, Parameters, Segments, Volume, VolumeSource};

use crate::bounds::{MAX_MAP, MAX_NODE_ID, MAX_STRING};
use crate::proto;

/// The nodes that hold a volume, and its condition, as far as the backend says.
pub(crate) fn take_status(volume: &mut Volume) -> (Vec<String>, Option<proto::VolumeCondition>) {
    let nodes = std::mem::take(&mut volume.attached_to);
    (nodes.iter().map(ToString::to_string).collect(), volume.condition.take().map(condition))
}

pub(crate) fn described(node: NodeDescription) -> Result<proto::NodeGetInfoResponse, Error> {
    Ok(proto::NodeGetInfoResponse {
        node_id: present("node_id", node.node_id.to_string(), MAX_NODE_ID)?,
        // Zero would say that there is no limit. A node without room says one; what it cannot hold
        // is refused when it is attached.
        max_volumes_per_node: node.max_volumes.map_or(0, |limit| i64::from(limit.max(1))),
        accessible_topology: if node.topology.is_empty() {
            None
        } else {
            Some(topology(node.topology)?)
        },
    })
}

pub(crate) fn node_expanded(capacity_bytes: u64) -> Result<proto::NodeExpandVolumeResponse, Error> {
    Ok(proto::NodeExpandVolumeResponse { capacity_bytes: bytes("capacity_bytes", capacity_bytes)? })
}

/// What a node can say of a volume. Without figures there is no usage: kubelet takes that for an
/// error, where zeros would be a volume that is full.
pub(crate) fn stats(stats: Stats) -> proto::NodeGetVolumeStatsResponse {
    proto::NodeGetVolumeStatsResponse {
        usage: stats.usage.map(usage).unwrap_or_default(),
        volume_condition: Some(condition(stats.condition)),
    }
}

fn condition(condition: Condition) -> proto::VolumeCondition {
    let Condition { abnormal, message } = condition;
    proto::VolumeCondition { abnormal, message }
}

/// Bytes, and inodes where the volume has any: a raw device has not. Where nothing bounds a volume,
/// as with a bucket, its file system says more than CSI's numbers hold; then they say their most.
fn usage(usage: Usage) -> Vec<proto::VolumeUsage> {
    use proto::volume_usage::Unit;
    let entry = |unit: Unit, total, available, used| {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        proto::VolumeUsage {
            total: number(total),
            available: number(available),
            used: number(used),
            unit: unit.into(),
        }
    };
    let mut entries =
        vec![entry(Unit::Bytes, usage.total_bytes, usage.available_bytes, usage.used_bytes)];
    if usage.total_inodes > 0 {
        let used = usage.total_inodes.saturating_sub(usage.free_inodes);
        entries.push(entry(Unit::Inodes, usage.total_inodes, usage.free_inodes, used));
    }
    entries
}

pub(crate) fn volume(volume: Volume) -> Result<proto::Volume, Error> {
    Ok(proto::Volume {
        capacity_bytes: bytes("capacity_bytes", volume.capacity_bytes)?,
        volume_id: present("volume_id", volume.id.to_string(), MAX_STRING)?,
        volume_context: map("volume_context", volume.context)?,
        content_source: volume.source.map(source),
        accessible_topology: volume.topology.into_iter().map(topology).collect::<Result<_, _>>()?,
    })
}

fn source(source: VolumeSource) -> proto::VolumeContentSource {
    use proto::volume_content_source::{SnapshotSource, Type, VolumeSource as FromVolume};
    let from = match source {
        VolumeSource::Snapshot(snapshot_id) => Type::Snapshot(SnapshotSource { snapshot_id }),
        VolumeSource::Volume(volume_id) => Type::Volume(FromVolume { volume_id }),
    };
    proto::VolumeContentSource { r#type: Some(from) }
}

fn topology(segments: Segments) -> Result<proto::Topology, Error> {
    Ok(proto::Topology { segments: map("segments", segments)? })
}

pub(crate) fn map(field: &str, values: Parameters) -> Result<BTreeMap<String, String>, Error> {
    let size: usize = values.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > MAX_MAP {
        return Err(defect(field, format!("{size} bytes, where CSI allows {MAX_MAP}")));
    }
    Ok(values.into_iter().collect())
}

pub(crate) fn text(field: &str, value: String, max: usize) -> Result<String, Error> {
    if value.len() > max {
        return Err(defect(field, format!("{} bytes, where CSI allows {max}", value.len())));
    }
    Ok(value)
}

fn present(field: &str, value: String, max: usize) -> Result<String, Error> {
    if value.is_empty() {
        return Err(defect(field, "nothing in it".to_owned()));
    }
    text(field, value, max)
}

pub(crate) fn bytes(field: &str, value: u64) -> Result<i64, Error> {
    i64::try_from(value).map_err(|_| defect(field, "more bytes than CSI can say".to_owned()))
}

fn defect(field: &str, what: String) -> Error {
    let mut error = Error::internal(format!("the backend answered a {field} with {what}"))
        .with_hint("report this to the backend's author");
    error.blame = wharf_core::Blame::Backend;
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_core::types::{NodeId, VolumeId};
    use wharf_core::{Blame, ErrorKind};

    fn sized(id: &str, context: Parameters, capacity_bytes: u64) -> Volume {
        Volume {
            id: VolumeId::new(id),
            capacity_bytes,
            context,
            topology: vec![],
            source: None,
            attached_to: vec![],
            condition: None,
        }
    }

    #[test]
    fn an_answer_that_csi_does_not_allow_is_the_backend_s_defect() {
        let too_large = vec![("k".to_owned(), "v".repeat(MAX_MAP))];
        for broken in [
            sized("", vec![], 1),
            sized(&"v".repeat(129), vec![], 1),
            sized("v", too_large, 1),
            sized("v", vec![], u64::MAX),
        ] {
            let error = volume(broken).unwrap_err();
            assert_eq!((error.kind, error.blame), (ErrorKind::Internal, Blame::Backend));
        }
    }

    #[test]
    fn a_volume_that_nothing_bounds_has_as_much_as_csi_can_say() {
        let usage = Usage {
            total_bytes: u64::MAX,
            available_bytes: u64::MAX,
            used_bytes: 0,
            total_inodes: u64::MAX,
            free_inodes: 1 << 40,
        };
        let numbers = super::usage(usage);
        let numbers = numbers.iter().map(|entry| (entry.total, entry.available, entry.used));
        assert_eq!(
            numbers.collect::<Vec<_>>(),
            [(i64::MAX, i64::MAX, 0), (i64::MAX, 1 << 40, i64::MAX)]
        );
    }

    #[test]
    fn a_node_without_room_does_not_say_that_it_has_no_limit() {
        let node = |max_volumes| NodeDescription {
            node_id: NodeId::new("i-1"),
            topology: vec![],
            max_volumes,
        };
        let limit = |max_volumes| described(node(max_volumes)).unwrap().max_volumes_per_node;
        assert_eq!([limit(None), limit(Some(0)), limit(Some(16))], [0, 1, 16]);
    }

    #[test]
    fn a_source_comes_back_as_it_was_asked_for() {
        let mut made = sized("v", vec![], 1);
        made.source = Some(VolumeSource::Snapshot("s-1".into()));
        let source = volume(made).unwrap().content_source.unwrap();
        let proto::volume_content_source::Type::Snapshot(snapshot) = source.r#type.unwrap() else {
            panic!("another source")
        };
        assert_eq!(snapshot.snapshot_id, "s-1");
    }
}

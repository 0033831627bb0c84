//! `describe-node`: the instance, its place, and how many disks it can still be given.
//!
//! The limit is what the instance type can hold, less the system disk, less data disks that no
//! Kubernetes driver made. A disk of a static PersistentVolume has no tag and is taken for somebody
//! else's while it is attached, so the limit may come out lower, never higher. Set `max-volumes` to
//! fix it, or to spare the node the two requests and the permission for them.
//!
//! A node that can hold none has no place: CSI reads a limit of zero as none at all, and without a
//! place no volume is scheduled to it.

use serde::Deserialize;
use wharf_sdk::node::NodeDescription;
use wharf_sdk::{Error, ErrorKind, config, log};

use crate::action::Action;
use crate::disk_record::{Disk, Page, State};
use crate::placement;
use crate::serial::is_instance_id;
use crate::settings::Identity;
use crate::tags::MANAGED;

/// `node.describe-node`.
///
/// # Errors
/// Neither the settings nor the metadata service say where this is.
pub fn describe_node() -> Result<NodeDescription, Error> {
    let identity = identity()?;
    if !is_instance_id(&identity.instance_id) {
        return Err(Error::misconfigured(format!(
            "setting `instance-id` is `{}`, allowed: an ECS instance id (`i-…`)",
            identity.instance_id
        )));
    }
    let node = NodeDescription::new(&identity.instance_id);
    let place = placement::of_node(&identity.instance_id, &identity.zone_id, &identity.region_id);
    Ok(match max_volumes(&identity)? {
        Some(0) => node.with_max_volumes(0),
        Some(max_volumes) => node.with_topology(place).with_max_volumes(max_volumes),
        None => node.with_topology(place),
    })
}

/// The settings, and the metadata service for what they leave open.
fn identity() -> Result<Identity, Error> {
    let set = |key| config::get(key);
    if let (Some(region_id), Some(zone_id), Some(instance_id)) =
        (set("region"), set("zone"), set("instance-id"))
    {
        return Ok(Identity {
            region_id,
            zone_id,
            instance_id,
            instance_type: set("instance-type").unwrap_or_default(),
        });
    }
    let asked = Identity::ask()?;
    Ok(Identity {
        region_id: set("region").unwrap_or(asked.region_id),
        zone_id: set("zone").unwrap_or(asked.zone_id),
        instance_id: set("instance-id").unwrap_or(asked.instance_id),
        instance_type: set("instance-type").unwrap_or(asked.instance_type),
    })
}

fn max_volumes(identity: &Identity) -> Result<Option<u32>, Error> {
    if let Some(set) = config::number("max-volumes")? {
        return Ok(Some(set));
    }
    if identity.instance_type.is_empty() {
        return Ok(None);
    }
    match count(identity) {
        // A node does not need an account: without one, its limit stays open.
        Err(error)
            if matches!(error.kind, ErrorKind::PermissionDenied | ErrorKind::Unauthenticated) =>
        {
            log::warn(format!(
                "the number of disks that this node can hold is not known: {}; set `max-volumes`",
                error.message
            ));
            Ok(None)
        }
        counted => counted,
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct InstanceTypes {
    instance_types: InstanceTypeList,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct InstanceTypeList {
    instance_type: Vec<InstanceType>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct InstanceType {
    instance_type_id: String,
    disk_quantity: u32,
}

fn count(identity: &Identity) -> Result<Option<u32>, Error> {
    let types: InstanceTypes = Action::DescribeInstanceTypes
        .call_in(&identity.region_id)
        .with("InstanceTypes.1", &identity.instance_type)
        .send()?;
    let found = types
        .instance_types
        .instance_type
        .into_iter()
        .find(|found| found.instance_type_id == identity.instance_type);
    let Some(room) = found.map(|found| found.disk_quantity).filter(|room| *room > 0) else {
        return Ok(None);
    };
    let attached: Page = Action::DescribeDisks
        .call_in(&identity.region_id)
        .with("InstanceId", &identity.instance_id)
        .with("MaxResults", 100)
        .send()?;
    Ok(Some(left(room, &attached.into_disks())))
}

/// Categories of disks that take a slot. Local disks of an instance type have their own.
const IN_A_SLOT: [&str; 2] = ["cloud", "elastic_ephemeral_disk"];

/// Room for data disks, of which those that a driver made are already counted by Kubernetes.
fn left(room: u32, attached: &[Disk]) -> u32 {
    let is_foreign =
        |disk: &&Disk| disk.r#type != "system" && disk.tags().get(MANAGED.0) != Some(&MANAGED.1);
    let takes_a_slot = |disk: &&Disk| {
        disk.state() != State::Detaching
            && IN_A_SLOT.iter().any(|prefix| disk.category.starts_with(prefix))
    };
    let foreign = attached.iter().filter(is_foreign).filter(takes_a_slot).count();
    room.saturating_sub(1).saturating_sub(u32::try_from(foreign).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use wharf_sdk::Pairs;
    use wharf_sdk::http::Response;
    use wharf_sdk::testing::FakeHost;

    const IDENTITY: &str = r#"{"region-id":"cn-x","zone-id":"cn-x-a","instance-id":"i-1","instance-type":"ecs.g7.large"}"#;

    fn on_an_instance() -> FakeHost {
        FakeHost::install().answering("PUT /latest/api/token", Response::new(200, "t")).answering(
            "GET /latest/dynamic/instance-identity/document",
            Response::new(200, IDENTITY),
        )
    }

    fn types() -> Response {
        Response::new(200, json!({ "InstanceTypes": { "InstanceType": [{ "InstanceTypeId": "ecs.g7.large", "DiskQuantity": 17 }] } }).to_string())
    }

    #[test]
    fn the_metadata_service_says_where_and_the_cloud_how_many() {
        let attached = json!({ "Disks": { "Disk": [
            { "DiskId": "d-0", "Type": "system" },
            { "DiskId": "d-1", "Type": "data", "Category": "cloud_essd", "Status": "In_use" },
            { "DiskId": "d-3", "Type": "data", "Category": "cloud_essd", "Status": "Detaching" },
            { "DiskId": "d-4", "Type": "data", "Category": "local_ssd_pro", "Status": "In_use" },
            { "DiskId": "d-2", "Type": "data", "Tags": { "Tag": [{ "TagKey": "k8s.aliyun.com", "TagValue": "true" }] } },
        ] } });
        let host = on_an_instance()
            .answering("DescribeInstanceTypes", types())
            .answering("DescribeDisks", Response::new(200, attached.to_string()));
        let node = describe_node().unwrap();
        assert_eq!((node.node_id.as_str(), node.max_volumes), ("i-1", Some(15)));
        assert_eq!(node.topology.value(placement::PRIVATE_ZONE), Some("cn-x-a"));
        assert_eq!(node.topology.value(placement::ZONE), Some("cn-x-a"));
        assert_eq!(node.topology.value(placement::INSTANCE), Some("i-1"));
        assert_eq!(host.requests()[3].query.value("InstanceId"), Some("i-1"));
    }

    #[test]
    fn a_node_that_can_hold_none_has_no_place() {
        let attached: Vec<_> = (0..16)
            .map(|_| json!({ "Type": "data", "Category": "elastic_ephemeral_disk_premium" }))
            .collect();
        let disks = Response::new(200, json!({ "Disks": { "Disk": attached } }).to_string());
        let _host = on_an_instance()
            .answering("DescribeInstanceTypes", types())
            .answering("DescribeDisks", disks);
        let node = describe_node().unwrap();
        assert_eq!((node.max_volumes, node.topology), (Some(0), vec![]));
    }

    #[test]
    fn settings_spare_every_request() {
        let host = FakeHost::install()
            .with_config("region", "r")
            .with_config("zone", "z")
            .with_config("instance-id", "i-9")
            .with_config("max-volumes", "7");
        let node = describe_node().unwrap();
        assert_eq!(
            (node.node_id.as_str(), node.max_volumes, host.requests().len()),
            ("i-9", Some(7), 0)
        );
    }

    #[test]
    fn a_node_without_an_account_has_an_open_limit() {
        let _host = on_an_instance()
            .answering("DescribeInstanceTypes", Response::new(403, r#"{"Code":"Forbidden.RAM"}"#));
        assert_eq!(describe_node().unwrap().max_volumes, None);
    }

    #[test]
    fn outside_of_the_cloud_the_settings_are_asked_for() {
        let _host =
            FakeHost::install().failing("PUT /latest/api/token", Error::unavailable("no route"));
        assert!(describe_node().unwrap_err().hint.unwrap().contains("instance-id"));
    }
}

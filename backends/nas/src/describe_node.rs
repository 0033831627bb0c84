//! `describe-node`: a name, and nothing else. A NAS volume is not attached to a node, so the name
//! only has to be the node's own.

use serde::Deserialize;
use wharf_alicloud::metadata;
use wharf_sdk::node::NodeDescription;
use wharf_sdk::{Error, config};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Identity {
    instance_id: String,
}

/// `node.describe-node`.
///
/// # Errors
/// Neither the settings nor the metadata service know a name.
pub fn describe_node() -> Result<NodeDescription, Error> {
    if let Some(name) = config::get("node-name").or_else(|| config::get("instance-id")) {
        return Ok(NodeDescription::new(name));
    }
    let identity: Identity =
        metadata::identity("outside of an ECS instance, set `node-name` for the NAS backend")?;
    Ok(NodeDescription::new(identity.instance_id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_sdk::http::Response;
    use wharf_sdk::testing::FakeHost;

    #[test]
    fn the_operator_names_the_node_or_the_metadata_service_does() {
        let host = FakeHost::install()
            .answering("PUT /latest/api/token", Response::new(200, "t"))
            .answering(
                "GET /latest/dynamic/instance-identity/document",
                Response::new(200, r#"{"instance-id":"i-1"}"#),
            );
        let node = describe_node().unwrap();
        assert_eq!((node.node_id.as_str(), node.max_volumes, node.topology), ("i-1", None, vec![]));
        let host = host.with_config("instance-id", "i-2");
        assert_eq!(describe_node().unwrap().node_id, "i-2");
        let _host = host.with_config("node-name", "node-3");
        assert_eq!(describe_node().unwrap().node_id, "node-3");
    }

    #[test]
    fn outside_of_the_cloud_the_setting_is_asked_for() {
        let _host =
            FakeHost::install().failing("PUT /latest/api/token", Error::unavailable("no route"));
        assert!(describe_node().unwrap_err().hint.unwrap().contains("node-name"));
    }
}

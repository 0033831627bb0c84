//! `describe-node`: the node's name. A bucket is reachable from everywhere, and a node holds any
//! number of them.

use serde::Deserialize;
use wharf_alicloud::metadata;
use wharf_sdk::node::NodeDescription;
use wharf_sdk::{Error, config};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Identity {
    instance_id: String,
}

/// The setting `node-name`, or else the id of the instance.
///
/// # Errors
/// Neither is known.
pub fn describe_node() -> Result<NodeDescription, Error> {
    if let Some(name) = config::get("node-name") {
        return Ok(NodeDescription::new(name));
    }
    let identity: Identity = metadata::identity(
        "outside of an ECS instance, set `node-name` for the object storage backend",
    )?;
    Ok(NodeDescription::new(identity.instance_id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use wharf_alicloud::metadata::TOKEN_PATH;
    use wharf_sdk::http::Response;
    use wharf_sdk::testing::FakeHost;

    #[test]
    fn a_node_is_called_as_the_operator_says_or_as_its_instance_is() {
        let host = FakeHost::install().with_config("node-name", "n-1");
        assert_eq!(describe_node().unwrap().node_id, "n-1");
        assert!(host.requests().is_empty());
        let host = FakeHost::install()
            .answering("PUT /latest/api/token", Response::new(200, "t"))
            .answering(
                "GET /latest/dynamic/instance-identity/document",
                Response::new(200, r#"{"instance-id":"i-1","zone-id":"z"}"#),
            );
        assert_eq!(describe_node().unwrap().node_id, "i-1");
        let manifest: toml::Table = toml::from_str(include_str!("../manifest.toml")).unwrap();
        let requests = manifest["request"].as_array().unwrap();
        let asked = requests.iter().find(|one| one["endpoint"].as_str() == Some("metadata"));
        let asked: BTreeSet<_> = asked.unwrap()["paths"]
            .as_array()
            .unwrap()
            .iter()
            .map(|path| path.as_str().unwrap().to_owned())
            .collect();
        assert_eq!(host.actions().into_iter().collect::<BTreeSet<_>>(), asked);
        assert!(asked.contains(&format!("PUT {TOKEN_PATH}")));
    }

    #[test]
    fn outside_of_the_cloud_the_setting_is_asked_for() {
        let lost = Error::unavailable("no route");
        let _host = FakeHost::install().failing("PUT /latest/api/token", lost);
        assert!(describe_node().unwrap_err().hint.unwrap().contains("node-name"));
    }
}

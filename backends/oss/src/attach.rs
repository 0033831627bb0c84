//! `attach`: a bucket is in reach of every node, so nothing is done.
//!
//! Kubernetes sends a volume's attributes along, and then nothing is asked either: a node mounts
//! with keys of its own, and needs none of the controller's. A call without them is compared with
//! what can be known: what was made for the volume has to be there, and the node to be an instance.

use wharf_sdk::controller::{AttachRequest, Attachment};
use wharf_sdk::types::Parameters;
use wharf_sdk::{Error, config};

use crate::names::shown;
use crate::{attributes, create};

/// `controller.attach`.
///
/// # Errors
/// `not-found`: a call without attributes is about a volume or a node that is not there. The
/// cloud's.
pub fn attach(request: &AttachRequest) -> Result<Attachment, Error> {
    if !attributes::name_a_bucket(&request.volume_context) {
        create::find(&request.volume_id)?;
        check_node(&request.node_id)?;
    }
    Ok(Attachment::new(Parameters::new()))
}

/// Nodes are called by their instance's id, unless the operator calls them otherwise.
fn check_node(node_id: &str) -> Result<(), Error> {
    if node_id.starts_with("i-") || config::get("node-name").is_some() {
        return Ok(());
    }
    Err(Error::not_found(format!("there is no node {}", shown(node_id)))
        .with_hint("nodes are called by their instance's id where no `node-name` is set")
        .as_observed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_sdk::ErrorKind;
    use wharf_sdk::http::Response;
    use wharf_sdk::testing::FakeHost;
    use wharf_sdk::types::{VolumeCapability, pairs};

    fn request(volume: &str, node: &str) -> AttachRequest {
        AttachRequest::new(volume, node, VolumeCapability::mount(""))
    }

    /// A cloud in which every bucket has this tag.
    fn cloud(tag: &'static str) -> FakeHost {
        let tag = format!("<Tag><Key>wharf-volume</Key><Value>{tag}</Value></Tag>");
        let body = format!("<Tagging><TagSet>{tag}</TagSet></Tagging>");
        FakeHost::install()
            .with_config("region", "cn-x")
            .handling(move |_| Some(Ok(Response::new(200, body.clone()))))
    }

    #[test]
    fn a_volume_with_attributes_is_attached_without_a_request() {
        let host = FakeHost::install();
        let context = pairs([("Bucket", "b-1"), ("url", "h.example")]);
        let request = AttachRequest { volume_context: context, ..request("pv-1", "any") };
        attach(&request).unwrap();
        assert!(host.requests().is_empty());
    }

    #[test]
    fn a_volume_without_attributes_is_looked_for() {
        let _host = cloud("k8s-pvc-1");
        attach(&request("bucket:k8s-pvc-1", "i-1")).unwrap();
        for (volume, node) in [
            ("pv-1", "i-1"),
            ("bucket:K8S", "i-1"),
            ("bucket:k8s-pvc-2", "i-1"),
            ("bucket:k8s-pvc-1", "node-1"),
        ] {
            let refused = attach(&request(volume, node)).unwrap_err();
            assert_eq!(refused.kind, ErrorKind::NotFound, "{volume} {node}");
        }
    }

    #[test]
    fn nodes_that_the_operator_calls_otherwise_may_have_any_name() {
        let _host = cloud("abc").with_config("node-name", "node-1");
        attach(&request("bucket:abc", "node-2")).unwrap();
    }
}

//! The smallest backend: a volume is a directory on the node, under a directory that the operator
//! grants by the name `volumes`.
//!
//! Start a backend of your own from here: rename it, then fill in [`Controller`] (what happens in
//! the cloud) and [`Node`] (what must be true on a node). `manifest.toml` beside `Cargo.toml` says
//! what the component asks for. Setting: `node-name`, the id of this node.

use wharf_sdk::controller::{Controller, CreateRequest, DeleteRequest, ValidateRequest, Validated};
use wharf_sdk::identity::{Description, Identity};
use wharf_sdk::legacy::{Legacy, LegacyVolume, TranslateRequest, Translated};
use wharf_sdk::node::{Node, NodeDescription, PublishRequest};
use wharf_sdk::plan::{Directory, Owner, Plan, Writing};
use wharf_sdk::types::{Observation, Volume};
use wharf_sdk::{Answer, Error, Pairs, Progress, config};

/// The operator's name for the directory that volumes are made in.
const ROOT: &str = "volumes";

/// Directories on a node.
pub struct Hello;

impl Identity for Hello {
    fn describe() -> Description {
        Description::new("hello", env!("CARGO_PKG_VERSION"))
            .serves("hello.wharf.dev", ["wharf/hello"])
            .can(["create"])
    }
}

impl Controller for Hello {
    fn create(request: CreateRequest, _: Progress) -> Result<Answer<Volume>, Error> {
        let own =
            request.parameters.iter().find(|(key, _)| !key.starts_with("csi.storage.k8s.io/"));
        if let Some((key, value)) = own {
            return Err(Error::unknown_key(key, value, "none"));
        }
        let path = directory(&request.name)?;
        let bytes = request.capacity.required_bytes.unwrap_or(0);
        Ok(Answer::Done(Volume::new(path, bytes).with_context("path", path)))
    }

    /// The directory stays: this backend never destroys data that it cannot see.
    fn delete(_: DeleteRequest, _: Progress) -> Result<Answer<()>, Error> {
        Ok(Answer::Done(()))
    }

    fn validate(request: ValidateRequest, _: Vec<Observation>) -> Result<Validated, Error> {
        let block =
            request.capabilities.iter().any(|capability| capability.mount_options().is_none());
        Ok(if block {
            Validated::no("a directory is not a block device")
        } else {
            Validated::yes()
        })
    }
}

impl Node for Hello {
    fn describe_node() -> Result<NodeDescription, Error> {
        config::get("node-name")
            .map(NodeDescription::new)
            .ok_or_else(|| Error::misconfigured("setting `node-name` of the backend is missing"))
    }

    fn plan_publish(request: PublishRequest) -> Result<Plan, Error> {
        let path = directory(request.volume_context.value("path").unwrap_or(&request.volume_id))?;
        Ok(Plan::new(format!("directory {path} on this node"))
            .make_directory(Directory::granted(ROOT, path), 0o755, Owner::UNCHANGED)
            .mount_directory(ROOT, path, Writing::unless_read_only(request.read_only)))
    }
}

impl Legacy for Hello {
    fn translate(request: TranslateRequest) -> Result<Translated, Error> {
        let path =
            directory(request.options.value_in_any_case("path").unwrap_or(&request.volume_name))?;
        Ok(Translated::new(path, vec![("path".into(), path.into())]))
    }

    fn describe_volume(driver: &str, volume: Volume) -> Result<LegacyVolume, Error> {
        let path = directory(volume.context.value("path").unwrap_or(&volume.id))?;
        Ok(LegacyVolume::new(driver, vec![("path".into(), path.into())], ""))
    }
}

/// One directory name. The host would stop a path that climbs out; refusing it here says why
/// to the person.
fn directory(name: &str) -> Result<&str, Error> {
    let is_plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
    if is_plain {
        Ok(name)
    } else {
        Err(Error::invalid(
            "path",
            name,
            "the name of one directory, which does not begin with a dot",
        ))
    }
}

wharf_sdk::export_backend!(Hello: controller, node, legacy);

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_sdk::ErrorKind;
    use wharf_sdk::testing::FakeHost;
    use wharf_sdk::types::VolumeCapability;

    #[test]
    fn a_volume_is_a_directory_of_its_name() {
        let request = CreateRequest::new("pvc-1", VolumeCapability::mount(""));
        let Answer::Done(volume) = Hello::create(request, Progress::default()).unwrap() else {
            panic!("it is done at once")
        };
        assert_eq!((volume.id.as_str(), volume.context.value("path")), ("pvc-1", Some("pvc-1")));
    }

    #[test]
    fn a_workload_gets_the_directory_made_and_bound() {
        let plan =
            Hello::plan_publish(PublishRequest::new("pvc-1", VolumeCapability::mount(""))).unwrap();
        let words: Vec<_> = plan.steps.iter().map(|step| step.name()).collect();
        assert_eq!(words, ["make-directory", "mount-directory"]);
        assert!(words.iter().all(|word| include_str!("../manifest.toml").contains(word)));
    }

    #[test]
    fn what_a_persistent_volume_says_means_the_same_volume() {
        let volume = Volume::new("pvc-1", 0).with_context("path", "pvc-1");
        let described = Hello::describe_volume("wharf/hello", volume).unwrap();
        let request = TranslateRequest::new("wharf/hello", "any", described.options);
        assert_eq!(Hello::translate(request).unwrap().volume_id, "pvc-1");
    }

    #[test]
    fn a_name_that_climbs_out_is_refused() {
        for name in ["..", "a/b", "", ".hidden"] {
            let refused =
                Hello::plan_publish(PublishRequest::new(name, VolumeCapability::mount("")))
                    .unwrap_err();
            assert_eq!(refused.kind, ErrorKind::InvalidArgument, "{name}");
        }
    }

    #[test]
    fn the_node_is_what_the_operator_calls_it() {
        assert!(Hello::describe_node().is_err());
        let _host = FakeHost::install().with_config("node-name", "node-1");
        assert_eq!(Hello::describe_node().unwrap().node_id, "node-1");
    }
}

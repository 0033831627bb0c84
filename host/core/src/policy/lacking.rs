//! What a component asks for and is not granted. Pure; for those who show it to an operator.

use serde::Serialize;

use super::{Asked, EndpointGrant, NodePolicy};
use crate::manifest::{EndpointRequest, Manifest, ShortText};

/// The difference between what a component asks for and what it is granted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lacking {
    /// Requests, without what is granted of them.
    pub request: Vec<EndpointRequest>,
    /// Steps of its plans.
    pub steps: Vec<String>,
    /// File systems.
    pub filesystems: Vec<String>,
    /// Request-queue settings.
    pub block_queue: Vec<String>,
}

impl Lacking {
    /// What is lacking for this component with these grants.
    pub fn of(asked: &Manifest, grants: &[EndpointGrant], node: &NodePolicy) -> Self {
        let request = asked.request.iter().map(|request| left_of(request, grants));
        let missing = |asked: &[ShortText<64>], granted: &[String]| -> Vec<String> {
            let is_granted =
                |word: &&ShortText<64>| granted.iter().any(|granted| **granted == ***word);
            asked.iter().filter(|word| !is_granted(word)).map(ToString::to_string).collect()
        };
        Self {
            request: request
                .filter(|left| !left.actions.is_empty() || !left.paths.is_empty())
                .collect(),
            steps: missing(&asked.node.steps, &node.steps),
            filesystems: missing(&asked.node.filesystems, &node.filesystems),
            block_queue: missing(&asked.node.block_queue, &node.block_queue),
        }
    }

    /// Whether everything is granted.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// The request without what is granted of it.
fn left_of(request: &EndpointRequest, grants: &[EndpointGrant]) -> EndpointRequest {
    let of_same = |grant: &&EndpointGrant| {
        *grant.endpoint == *request.endpoint && grant.account.is_some() == request.signed
    };
    let is_granted = |asked: &Asked| {
        let mut grants = grants.iter().filter(of_same);
        grants.any(|grant| asked.is_covered(&grant.actions, &grant.paths))
    };
    let left = |patterns: &[ShortText<512>], asked: fn(&str) -> Asked| -> Vec<ShortText<512>> {
        patterns.iter().filter(|pattern| !is_granted(&asked(pattern))).cloned().collect()
    };
    EndpointRequest {
        actions: left(&request.actions, |action| Asked::Action(action.to_owned())),
        paths: left(&request.paths, whole_path),
        ..request.clone()
    }
}

/// A pattern as if it were a request: another pattern covers it exactly if it covers all of it,
/// because a star matches itself and whatever it stands for.
fn whole_path(pattern: &str) -> Asked {
    let (line, keys) = pattern.split_once('?').unwrap_or((pattern, ""));
    let keys = keys.split('&').filter(|key| !key.is_empty()).map(str::to_owned).collect();
    Asked::Path { line: line.to_owned(), keys }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{NodeRequest, World};

    fn words<T: std::str::FromStr<Err: std::fmt::Debug>>(words: &[&str]) -> Vec<T> {
        words.iter().map(|word| word.parse().unwrap()).collect()
    }

    fn manifest() -> Manifest {
        let request = |endpoint: &str, signed, actions: &[&str], paths: &[&str]| EndpointRequest {
            endpoint: endpoint.parse().unwrap(),
            signed,
            actions: words(actions),
            paths: words(paths),
        };
        Manifest {
            name: "disk".parse().unwrap(),
            version: "1".parse().unwrap(),
            world: World::Backend,
            contract: "c".parse().unwrap(),
            request: vec![
                request("api", true, &["AttachDisk", "DescribeDisks"], &[]),
                request("store", true, &[], &["GET *?max-keys&tagging", "PUT *?tagging"]),
                request("meta", false, &[], &["GET /a"]),
            ],
            node: NodeRequest {
                steps: words(&["format", "grow"]),
                filesystems: words(&["ext4"]),
                block_queue: Vec::new(),
            },
        }
    }

    fn grant(
        endpoint: &str,
        account: Option<&str>,
        actions: &[&str],
        paths: &[&str],
    ) -> EndpointGrant {
        EndpointGrant {
            endpoint: endpoint.into(),
            account: account.map(str::to_owned),
            actions: words(actions),
            paths: words(paths),
        }
    }

    #[test]
    fn what_is_granted_in_whole_is_not_lacking_and_what_is_granted_in_part_is() {
        let grants = [
            grant("api", Some("a"), &["Describe*"], &[]),
            grant("store", Some("a"), &[], &["GET *?tagging&max-keys", "PUT k8s-*?tagging"]),
            grant("meta", Some("a"), &[], &["GET /a"]),
        ];
        let node = NodePolicy {
            steps: words(&["format"]),
            filesystems: words(&["ext4"]),
            ..NodePolicy::default()
        };
        let lacking = Lacking::of(&manifest(), &grants, &node);
        let left: Vec<_> =
            lacking.request.iter().map(|left| (&left.actions, &left.paths)).collect();
        let none = Vec::new();
        assert_eq!(
            left,
            [
                (&words(&["AttachDisk"]), &none),
                (&none, &words(&["PUT *?tagging"])),
                (&none, &words(&["GET /a"])),
            ],
            "a signed grant does not cover an unsigned request"
        );
        assert_eq!((lacking.steps, lacking.filesystems), (words(&["grow"]), Vec::new()));
    }

    #[test]
    fn a_component_that_is_granted_everything_lacks_nothing() {
        let grants = [
            grant("api", Some("a"), &["*"], &[]),
            grant("store", Some("b"), &[], &["*?*"]),
            grant("meta", None, &[], &["GET /*"]),
        ];
        let node = NodePolicy {
            steps: words(&["grow", "format", "check"]),
            filesystems: words(&["xfs", "ext4"]),
            ..NodePolicy::default()
        };
        assert!(Lacking::of(&manifest(), &grants, &node).is_nothing());
    }
}

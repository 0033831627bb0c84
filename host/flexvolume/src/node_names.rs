//! From the node's name in Kubernetes to the node's id in the cloud. A wrong answer here would
//! attach a disk to the wrong machine, so a name is matched by rule or refused.

use std::fs;

use wharf_core::Error;
use wharf_core::types::NodeId;

use crate::driver_file::{NodeNameRule, NodeNames};
use crate::object_name::ObjectName;

/// The names of the machine that this process runs on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalHost {
    /// Its host name, and what `KUBE_NODE_NAME` or `NODE_NAME` say.
    pub names: Vec<String>,
}

impl LocalHost {
    /// The machine that this process runs on.
    pub fn this() -> Self {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let named =
            ["KUBE_NODE_NAME", "NODE_NAME"].into_iter().filter_map(|key| std::env::var(key).ok());
        let names = host
            .into_iter()
            .chain(named)
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect();
        Self { names }
    }

    /// Kubelet registers the host name in lower case.
    fn is_called(&self, name: &str) -> bool {
        self.names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }
}

/// Which node a name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NamedNode {
    /// This one.
    Node(NodeId),
    /// The machine that this process runs on, whatever its id is.
    ThisHost,
}

/// Finds out which node `name` means.
///
/// # Errors
/// `FailedPrecondition` when nothing says so.
pub(crate) fn resolve(
    name: &ObjectName,
    rules: &NodeNames,
    local_host: &LocalHost,
) -> Result<NamedNode, Error> {
    let name = name.as_str();
    if let Some(id) = rules.ids.get(name) {
        return Ok(NamedNode::Node(NodeId::new(id)));
    }
    let last = name.split_once('.').map(|(_, rest)| rest);
    if let Some(id) =
        [Some(name), last].into_iter().flatten().find(|part| is_id(part, &rules.id_prefixes))
    {
        return Ok(NamedNode::Node(NodeId::new(id)));
    }
    if local_host.is_called(name) || rules.node_name == NodeNameRule::Any {
        return Ok(NamedNode::ThisHost);
    }
    Err(Error::precondition(format!("nothing says which machine of the cloud node {name} is"))
        .with_hint(
            "add it to `nodes` in the [flexvolume] section of the configuration and run `wharf \
             flexvolume install` again, or, where kubelet itself attaches \
             (enableControllerAttachDetach: false), set `node-name = \"any\"` there",
        ))
}

/// The prefix alone is no id, and an id has no dots.
fn is_id(part: &str, prefixes: &[String]) -> bool {
    !part.contains('.')
        && prefixes.iter().any(|prefix| {
            !prefix.is_empty() && part.len() > prefix.len() && part.starts_with(prefix.as_str())
        })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn meant(name: &str, rule: NodeNameRule) -> Result<NamedNode, Error> {
        let rules = NodeNames {
            ids: [("node-7".to_owned(), "i-seven".to_owned())].into(),
            id_prefixes: vec!["i-".to_owned()],
            node_name: rule,
        };
        let local_host = LocalHost { names: vec!["Master-1".to_owned()] };
        resolve(&ObjectName::parse("node name", OsStr::new(name)).unwrap(), &rules, &local_host)
    }

    #[test]
    fn a_name_is_matched_by_the_list_then_by_its_form_then_by_this_machine() {
        let node = |id: &str| NamedNode::Node(NodeId::new(id));
        assert_eq!(meant("node-7", NodeNameRule::Match).unwrap(), node("i-seven"));
        assert_eq!(meant("i-bp1abc", NodeNameRule::Match).unwrap(), node("i-bp1abc"));
        assert_eq!(meant("cn-beijing.i-bp1abc", NodeNameRule::Match).unwrap(), node("i-bp1abc"));
        assert_eq!(meant("master-1", NodeNameRule::Match).unwrap(), NamedNode::ThisHost);
    }

    #[test]
    fn a_name_that_nobody_knows_is_refused_unless_the_operator_says_that_it_is_this_machine() {
        for name in ["cn-beijing.192.168.0.1", "node-8", "i-", "host.i-a.example.com"] {
            let refused = meant(name, NodeNameRule::Match).unwrap_err();
            assert!(refused.hint.unwrap().contains("[flexvolume]"), "{name}");
            assert_eq!(meant(name, NodeNameRule::Any).unwrap(), NamedNode::ThisHost);
        }
    }
}

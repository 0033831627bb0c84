//! What the operator grants, as pure predicates. A component gets the intersection of what its
//! manifest requests and what is granted here; nothing is granted by default.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::plan::{GrantedDirectory, MAX_STEPS, MountSource, Plan, Step};

/// Actions that a component may ask of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct EndpointGrant {
    /// The operator's id of the endpoint.
    pub endpoint: String,
    /// The account that signs; absent: requests go out unsigned.
    #[serde(default)]
    pub account: Option<String>,
    /// Action names (`AttachDisk`), or `METHOD /path` for unsigned requests. A trailing `*`
    /// matches any rest.
    pub actions: Vec<String>,
}

impl EndpointGrant {
    /// Whether this grant covers the request.
    pub fn permits(&self, endpoint: &str, account: Option<&str>, action: &str) -> bool {
        self.endpoint == endpoint
            && self.account.as_deref() == account
            && self.actions.iter().any(|pattern| matches_pattern(pattern, action))
    }
}

/// `Describe*` matches `DescribeDisks`; without a star only the same text matches.
pub(crate) fn matches_pattern(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => text.starts_with(prefix),
        None => pattern == text,
    }
}

/// What plans may do on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NodePolicy {
    /// Granted steps, by [`Step::word`].
    #[serde(default)]
    pub steps: Vec<String>,
    /// File systems that may be made, checked, grown and mounted.
    #[serde(default)]
    pub filesystems: Vec<String>,
    /// Request-queue settings that may be written.
    #[serde(default)]
    pub block_queue: Vec<String>,
    /// Folders by name.
    #[serde(default)]
    pub directories: BTreeMap<String, PathBuf>,
    /// Mount helpers by name.
    #[serde(default)]
    pub helpers: BTreeMap<String, PathBuf>,
}

impl NodePolicy {
    /// What both sides allow: the manifest's request cut down to what the operator grants.
    #[must_use]
    pub fn intersect_steps(&self, requested: &[String]) -> Self {
        let mut both = self.clone();
        both.steps.retain(|step| requested.contains(step));
        both
    }

    /// Checks a whole plan before its first step runs.
    ///
    /// # Errors
    /// `PermissionDenied` naming the first step that is not granted, and the setting that would
    /// grant it.
    pub fn check(&self, plan: &Plan) -> Result<(), Error> {
        if plan.steps.len() > MAX_STEPS {
            return Err(Error::denied(format!(
                "the plan has {} steps, at most {MAX_STEPS} are allowed",
                plan.steps.len()
            )));
        }
        plan.steps.iter().try_for_each(|step| self.check_step(step))
    }

    fn check_step(&self, step: &Step) -> Result<(), Error> {
        let word = step.word();
        if !self.steps.iter().any(|granted| granted == word) {
            return Err(refused("steps", word));
        }
        match step {
            Step::Format { fs_type, .. } | Step::Check { fs_type } | Step::Grow { fs_type }
                if !fs_type.is_empty() =>
            {
                self.check_filesystem(fs_type)
            }
            Step::Mount(mount) => match &mount.source {
                MountSource::Device => self.check_filesystem(&mount.fs_type),
                MountSource::Directory(at) => self.check_directory(at),
                MountSource::Fuse { helper, .. } if !self.helpers.contains_key(helper) => {
                    Err(refused("helpers", helper))
                }
                MountSource::Fuse { .. } | MountSource::Nfs { .. } | MountSource::Staged => Ok(()),
            },
            Step::MakeDirectory { at, .. } => self.check_directory(at),
            Step::SetBlockQueue { key, .. } if !self.block_queue.contains(key) => {
                Err(refused("block-queue", key))
            }
            Step::FindDevice(_)
            | Step::Format { .. }
            | Step::Check { .. }
            | Step::Grow { .. }
            | Step::SetBlockQueue { .. }
            | Step::BlockDevice { .. } => Ok(()),
        }
    }

    fn check_filesystem(&self, fs_type: &str) -> Result<(), Error> {
        if self.filesystems.iter().any(|granted| granted == fs_type) {
            return Ok(());
        }
        Err(refused("filesystems", fs_type))
    }

    fn check_directory(&self, at: &GrantedDirectory) -> Result<(), Error> {
        if self.directories.contains_key(&at.root) {
            return Ok(());
        }
        Err(refused("directories", &at.root))
    }
}

fn refused(list: &str, what: &str) -> Error {
    Error::denied(format!("the backend's plan needs `{what}`, which is not granted")).with_hint(
        format!(
            "an administrator can add it to `{list}` of the backend's `node` section in the \
             configuration"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{FindDevice, Mount};

    fn policy() -> NodePolicy {
        NodePolicy {
            steps: vec![
                "find-device".into(),
                "mount-device".into(),
                "set-block-queue".into(),
                "format".into(),
            ],
            filesystems: vec!["ext4".into()],
            block_queue: vec!["read_ahead_kb".into()],
            ..NodePolicy::default()
        }
    }

    fn plan(step: Step) -> Plan {
        Plan { steps: vec![step], summary: String::new() }
    }

    #[test]
    fn a_plan_is_refused_as_a_whole_when_one_step_is_not_granted() {
        let find =
            Step::FindDevice(FindDevice { serial: "x".into(), links: vec![], minimum_bytes: 0 });
        let plan = Plan {
            steps: vec![find, Step::Check { fs_type: "ext4".into() }],
            summary: String::new(),
        };
        assert!(policy().check(&plan).unwrap_err().message.contains("`check`"));
    }

    #[test]
    fn file_systems_and_queue_settings_are_granted_one_by_one() {
        let format = |fs: &str| plan(Step::Format { fs_type: fs.into(), arguments: vec![] });
        assert!(policy().check(&format("ext4")).is_ok());
        assert!(policy().check(&format("btrfs")).is_err());
        let queue = |key: &str| plan(Step::SetBlockQueue { key: key.into(), value: "1".into() });
        assert!(policy().check(&queue("read_ahead_kb")).is_ok());
        assert!(policy().check(&queue("../../reset")).is_err());
        let mount = |source| {
            plan(Step::Mount(Mount {
                source,
                fs_type: "ext4".into(),
                flags: vec![],
                read_only: false,
            }))
        };
        assert!(policy().check(&mount(MountSource::Device)).is_ok());
        assert!(policy().check(&mount(MountSource::Staged)).is_err());
    }

    #[test]
    fn actions_match_whole_names_unless_they_end_in_a_star() {
        let grant = EndpointGrant {
            endpoint: "ecs".into(),
            account: Some("a".into()),
            actions: vec!["Describe*".into(), "AttachDisk".into()],
        };
        assert!(grant.permits("ecs", Some("a"), "DescribeDisks"));
        assert!(grant.permits("ecs", Some("a"), "AttachDisk"));
        assert!(!grant.permits("ecs", Some("a"), "AttachDiskNow"));
        assert!(!grant.permits("ecs", None, "AttachDisk"));
        assert!(!grant.permits("sts", Some("a"), "AttachDisk"));
    }
}

//! What the operator grants, as pure predicates. A component gets the intersection of what its
//! manifest requests and what is granted here; nothing is granted by default.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::helper_profile::HelperProfile;
use crate::plan::{MAX_STEPS, Plan};

mod lacking;
mod nfs;

pub use lacking::Lacking;
pub use nfs::NfsPolicy;

/// What a request asks an endpoint for: an action where the signer signs one, otherwise method,
/// subdomain, path and the query's keys (`GET /latest/*`). No grant of the one kind is satisfied by
/// the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// An API action (`AttachDisk`).
    Action(String),
    /// A request without one.
    Path {
        /// `METHOD subdomain/path`; the subdomain is mostly empty.
        line: String,
        /// The query's keys. They say what is asked for as much as the path does: of a bucket, its
        /// objects or its access rules (`?acl`).
        keys: Vec<String>,
    },
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Action(action) => f.write_str(action),
            Self::Path { line, keys } if keys.is_empty() => f.write_str(line),
            Self::Path { line, keys } => write!(f, "{line}?{}", keys.join("&")),
        }
    }
}

impl Asked {
    /// Whether one of these patterns covers it: `actions` for an action, `paths` for a path.
    pub(crate) fn is_covered(
        &self,
        actions: &[impl AsRef<str>],
        paths: &[impl AsRef<str>],
    ) -> bool {
        self.covering(actions, paths).is_some()
    }

    fn covering<'a>(
        &self,
        actions: &'a [impl AsRef<str>],
        paths: &'a [impl AsRef<str>],
    ) -> Option<&'a str> {
        match self {
            Self::Action(action) => {
                actions.iter().map(AsRef::as_ref).find(|pattern| matches_pattern(pattern, action))
            }
            Self::Path { line, keys } => {
                paths.iter().map(AsRef::as_ref).find(|pattern| matches_path(pattern, line, keys))
            }
        }
    }
}

/// `GET /bucket/*?tagging&max-keys`: behind the question mark are the keys that the query may have,
/// each with a star at its end or not; without it there may be none. A path is percent-encoded and
/// has no question mark of its own.
fn matches_path(pattern: &str, line: &str, keys: &[String]) -> bool {
    let (path, allowed) = match pattern.split_once('?') {
        Some((path, allowed)) => (path, allowed),
        None => (pattern, ""),
    };
    let is_allowed = |key: &String| {
        let mut allowed = allowed.split('&').filter(|allowed| !allowed.is_empty());
        allowed.any(|allowed| matches_pattern(allowed, key))
    };
    matches_pattern(path, line) && keys.iter().all(is_allowed)
}

/// What a component may ask of one endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct EndpointGrant {
    /// The operator's id of the endpoint.
    pub endpoint: String,
    /// The account that signs; absent: requests go out unsigned.
    #[serde(default)]
    pub account: Option<String>,
    /// Action names (`AttachDisk`). A trailing `*` matches any rest.
    #[serde(default)]
    pub actions: Vec<String>,
    /// Requests without an action: `METHOD /path`, or `METHOD subdomain/path`. A trailing `*`
    /// matches any rest. Keys that the query may have are named behind it: `GET /a*?key&other`.
    #[serde(default)]
    pub paths: Vec<String>,
}

impl EndpointGrant {
    /// Whether this grant covers the request.
    pub fn permits(&self, endpoint: &str, account: Option<&str>, asked: &Asked) -> bool {
        self.covering(endpoint, account, asked).is_some()
    }

    /// The pattern of this grant that covers the request.
    pub fn covering(&self, endpoint: &str, account: Option<&str>, asked: &Asked) -> Option<&str> {
        let is_for_it = self.endpoint == endpoint && self.account.as_deref() == account;
        is_for_it.then(|| asked.covering(&self.actions, &self.paths)).flatten()
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
    /// Granted steps, by [`crate::plan::Step::name`].
    #[serde(default)]
    pub steps: Vec<String>,
    /// File systems that may be made, checked, grown and mounted.
    #[serde(default)]
    pub filesystems: Vec<String>,
    /// Request-queue settings that may be written.
    #[serde(default)]
    pub block_queue: Vec<String>,
    /// Directories by name.
    #[serde(default)]
    pub directories: BTreeMap<String, PathBuf>,
    /// Mount helpers by name.
    #[serde(default)]
    pub helpers: BTreeMap<String, HelperGrant>,
    /// NFS exports.
    #[serde(default)]
    pub nfs: NfsPolicy,
}

/// A helper program that plans may have mounts served by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HelperGrant {
    /// Accounts whose credentials it may be given.
    #[serde(default)]
    pub accounts: Vec<String>,
    /// How it is started; unset: as the profile of the same name that comes with Wharf says.
    #[serde(default)]
    pub profile: Option<HelperProfile>,
    /// Its executable, where it is not the profile's.
    #[serde(default)]
    pub program: Option<String>,
    /// Options that plans may pass to it besides those of its profile.
    #[serde(default)]
    pub options: Vec<String>,
    /// Its memory in MiB, where it is not the profile's.
    #[serde(default)]
    pub memory_mib: Option<u64>,
}

impl HelperGrant {
    /// How the helper of this name is started: the profile that the grant has, or else the shipped
    /// one, with what the grant changes of it.
    ///
    /// # Errors
    /// `FailedPrecondition` when neither is there; what is wrong with the profile.
    pub fn resolve(
        &self,
        name: &str,
        shipped: Option<HelperProfile>,
    ) -> Result<HelperProfile, Error> {
        let mut profile = self.profile.clone().or(shipped).ok_or_else(|| {
            Error::precondition(format!("it is not said how the mount helper `{name}` is started"))
                .with_hint(format!("an administrator can describe it in `helpers.{name}.profile`"))
        })?;
        if let Some(program) = &self.program {
            profile.program.clone_from(program);
        }
        profile.options.extend(self.options.iter().cloned());
        profile.memory_mib = self.memory_mib.or(profile.memory_mib);
        profile.check()?;
        Ok(profile)
    }
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
        for step in &plan.steps {
            require(&self.steps, "steps", step.name())?;
            step.check_grant(self)?;
        }
        Ok(())
    }

    /// Whether this file system may be made, checked, grown and mounted.
    ///
    /// # Errors
    /// `PermissionDenied` naming it.
    pub fn check_filesystem(&self, fs_type: &str) -> Result<(), Error> {
        require(&self.filesystems, "filesystems", fs_type)
    }

    /// For a step that may leave the type to what the device has: then whoever performs it asks
    /// [`NodePolicy::check_filesystem`] about what it finds.
    pub(crate) fn check_filesystem_if_named(&self, fs_type: &str) -> Result<(), Error> {
        if fs_type.is_empty() { Ok(()) } else { self.check_filesystem(fs_type) }
    }

    pub(crate) fn check_block_queue(&self, key: &str) -> Result<(), Error> {
        require(&self.block_queue, "block-queue", key)
    }

    pub(crate) fn check_directory(&self, name: &str) -> Result<(), Error> {
        if self.directories.contains_key(name) {
            return Ok(());
        }
        Err(refused("directories", name))
    }

    pub(crate) fn check_helper(&self, name: &str, account: Option<&str>) -> Result<(), Error> {
        let helper = self.helpers.get(name).ok_or_else(|| refused("helpers", name))?;
        account.map_or(Ok(()), |account| {
            require(&helper.accounts, &format!("helpers.{name}.accounts"), account)
        })
    }
}

fn require(granted: &[String], list: &str, what: &str) -> Result<(), Error> {
    if granted.iter().any(|granted| granted == what) {
        return Ok(());
    }
    Err(refused(list, what))
}

/// The refusal of something that `list` of the configuration would grant.
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
    use crate::plan::{
        Check, DeviceMatch, DirectoryBase, DirectoryPath, FindDevice, Format, HelperCredential,
        MakeDirectory, MountDevice, MountFuse, MountStaged, Readiness, RemoveTree, SetBlockQueue,
        Step,
    };

    fn policy() -> NodePolicy {
        NodePolicy {
            steps: vec![
                "find-device".into(),
                "mount-device".into(),
                "set-block-queue".into(),
                "format".into(),
                "mount-fuse".into(),
                "make-directory".into(),
                "remove-tree".into(),
            ],
            filesystems: vec!["ext4".into()],
            block_queue: vec!["read_ahead_kb".into()],
            directories: [("data".to_owned(), "/srv".into())].into(),
            helpers: [(
                "helper".to_owned(),
                HelperGrant { accounts: vec!["reader".into()], ..HelperGrant::default() },
            )]
            .into(),
            ..NodePolicy::default()
        }
    }

    fn check(step: impl Into<Step>) -> Result<(), Error> {
        policy().check(&Plan { steps: vec![step.into()], summary: String::new() })
    }

    #[test]
    fn a_plan_is_refused_as_a_whole_when_one_step_is_not_granted() {
        let find =
            FindDevice { matches: vec![DeviceMatch::Serial("x".into())], minimum_bytes: 0 }.into();
        let plan = Plan {
            steps: vec![find, Check { fs_type: "ext4".into() }.into()],
            summary: String::new(),
        };
        assert!(policy().check(&plan).unwrap_err().message.contains("`check`"));
    }

    #[test]
    fn file_systems_and_queue_settings_are_granted_one_by_one() {
        let format = |fs: &str| check(Format { fs_type: fs.into(), arguments: vec![] });
        assert!(format("ext4").is_ok());
        assert!(format("btrfs").is_err() && format("").is_err());
        let queue = |key: &str| check(SetBlockQueue { key: key.into(), value: "1".into() });
        assert!(queue("read_ahead_kb").is_ok());
        assert!(queue("../../reset").is_err());
        let mount =
            |fs: &str| check(MountDevice { fs_type: fs.into(), flags: vec![], read_only: false });
        assert!(mount("ext4").is_ok());
        assert!(mount("xfs").is_err());
        assert!(mount("").is_ok(), "whoever mounts it asks about what is there");
        assert!(check(MountStaged { flags: vec![], read_only: false }).is_err());
    }

    #[test]
    fn directories_of_the_node_are_granted_by_name_and_those_of_a_mount_by_its_step() {
        let make = |base| {
            let at = DirectoryPath { base, path: "a".into() };
            check(MakeDirectory { at: at.clone(), mode: 0o755, uid: None, gid: None })
                .and(check(RemoveTree { at }))
        };
        assert!(make(DirectoryBase::Granted("data".into())).is_ok());
        assert!(make(DirectoryBase::Granted("other".into())).is_err());
        assert!(make(DirectoryBase::Target).is_ok() && make(DirectoryBase::Scratch).is_ok());
    }

    #[test]
    fn a_helper_gets_no_credential_but_those_that_its_grant_names() {
        let fuse = |helper: &str, account: Option<&str>| {
            check(MountFuse {
                helper: helper.into(),
                source: "bucket".into(),
                arguments: vec![],
                credential: account.map(|account| HelperCredential {
                    account: account.into(),
                    form: "passwd".into(),
                    values: vec![],
                }),
                ready: Readiness::Mounted,
                read_only: false,
            })
        };
        assert!(fuse("helper", None).is_ok() && fuse("helper", Some("reader")).is_ok());
        assert!(fuse("/usr/bin/helper", None).is_err() && fuse("", None).is_err());
        let refused = fuse("helper", Some("owner")).unwrap_err();
        assert!(refused.to_string().contains("helpers.helper.accounts"), "{refused}");
    }

    #[test]
    fn actions_match_whole_names_unless_they_end_in_a_star() {
        let grant = EndpointGrant {
            endpoint: "ecs".into(),
            account: Some("a".into()),
            actions: vec!["Describe*".into(), "AttachDisk".into()],
            ..EndpointGrant::default()
        };
        let permits = |endpoint, account, action: &str| {
            grant.permits(endpoint, account, &Asked::Action(action.to_owned()))
        };
        assert!(permits("ecs", Some("a"), "DescribeDisks"));
        assert!(permits("ecs", Some("a"), "AttachDisk"));
        assert!(!permits("ecs", Some("a"), "AttachDiskNow"));
        assert!(!permits("ecs", None, "AttachDisk"));
        assert!(!permits("sts", Some("a"), "AttachDisk"));
    }

    #[test]
    fn no_grant_of_one_kind_is_satisfied_by_a_request_of_the_other() {
        let grant = EndpointGrant {
            endpoint: "oss".into(),
            account: Some("a".into()),
            actions: vec!["GET /b/*".into()],
            paths: vec!["PutBucket".into(), "GET /a*".into()],
        };
        let permits = |asked| grant.permits("oss", Some("a"), &asked);
        assert!(!permits(path("GET /b/c", &[])));
        assert!(!permits(Asked::Action("PutBucket".into())));
        assert!(permits(path("GET /a/b", &[])));
    }

    fn path(line: &str, keys: &[&str]) -> Asked {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        Asked::Path { line: line.to_owned(), keys }
    }

    #[test]
    fn a_grant_of_a_path_grants_no_key_of_the_query_that_it_does_not_name() {
        let permits = |pattern: &str, line: &str, keys: &[&str]| {
            let grant = EndpointGrant {
                endpoint: "oss".into(),
                paths: vec![pattern.into()],
                ..EndpointGrant::default()
            };
            grant.permits("oss", None, &path(line, keys))
        };
        for (pattern, line, keys) in [
            ("GET b/*", "GET b/x", &[][..]),
            ("GET b/?tagging&max-keys", "GET b/", &[]),
            ("GET b/?tagging&max-keys", "GET b/", &["tagging"]),
            ("GET b/?tagging&max-keys", "GET b/", &["max-keys", "tagging"]),
            ("GET *?list-*", "GET b/", &["list-type"]),
            ("*?*", "PUT b/x", &["acl"]),
        ] {
            assert!(permits(pattern, line, keys), "{pattern} {line} {keys:?}");
        }
        for (pattern, line, keys) in [
            ("GET b/*", "GET b/", &["acl"][..]),
            ("GET b/", "GET b/", &["policy"]),
            ("*", "PUT b/", &["acl"]),
            ("GET b/?tagging", "GET b/", &["tagging", "acl"]),
            ("GET b/?tagging", "GET b/", &["tag"]),
            ("GET b/?tagging", "GET b/", &["Tagging"]),
            ("GET b/?tagging", "PUT b/", &["tagging"]),
            ("GET b/?a&b", "GET b/", &["a&b"]),
            ("GET b/?", "GET b/", &[""]),
            ("GET b/?acl", "GET b/?acl", &[]),
        ] {
            assert!(!permits(pattern, line, keys), "{pattern} {line} {keys:?}");
        }
        assert_eq!(path("GET b/", &["acl", "x"]).to_string(), "GET b/?acl&x");
    }

    #[test]
    fn a_grant_names_a_shipped_profile_and_changes_of_it_what_it_says() {
        let shipped = HelperProfile {
            program: "h".into(),
            install: String::new(),
            arguments: vec!["{mountpoint}".into()],
            read_only: vec![],
            credentials: [].into(),
            rotation: Default::default(),
            device: Default::default(),
            user: None,
            memory_mib: Some(1),
            reserves_memory: false,
            options: vec!["a".into()],
            noise: vec![],
            start_seconds: 1,
        };
        let plain = HelperGrant::default();
        assert_eq!(plain.resolve("h", Some(shipped.clone())).unwrap(), shipped);
        assert!(plain.resolve("h", None).unwrap_err().to_string().contains("helpers.h.profile"));
        let changed = HelperGrant {
            program: Some("/opt/h".into()),
            options: vec!["b".into()],
            memory_mib: Some(2),
            ..HelperGrant::default()
        };
        let profile = changed.resolve("h", Some(shipped.clone())).unwrap();
        assert_eq!(
            (profile.program.as_str(), profile.options.join(","), profile.memory_mib),
            ("/opt/h", "a,b".to_owned(), Some(2))
        );
        let own = HelperGrant {
            profile: Some(HelperProfile { program: "own".into(), ..shipped.clone() }),
            ..HelperGrant::default()
        };
        assert_eq!(own.resolve("h", Some(shipped)).unwrap().program, "own");
    }
}

//! The operator's configuration: what there is, and what each backend may do with it. Parsed once,
//! at the edge, into types that cannot contradict themselves. Reads no other file but grants beside
//! it, and of the environment what a preset names; secrets named here are read by
//! [`crate::secrets`] when they are used.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use wharf_core::policy::{EndpointGrant, HelperGrant, NodePolicy};

use crate::cli::Role;

pub mod check;
mod events;
mod flexvolume;
pub mod grants;
mod http;
pub mod in_force;
mod limits;
mod load;
pub mod mistake;
pub mod preset;
mod read;
mod traces;
pub mod tree;

pub use events::EventsSection;
pub use flexvolume::FlexVolume;
pub use http::HttpSection;
pub use limits::LimitsSection;
pub use load::{ConfigError, Loaded, Written};
pub use traces::TracesSection;

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// What this is laid over: see [`preset`], which reads it before anything else is.
    #[serde(default, rename = "preset")]
    _preset: Option<serde::de::IgnoredAny>,
    /// The file, for processes that are started to read it again.
    #[serde(skip)]
    pub file: PathBuf,
    /// One small file per volume, and what FlexVolume must remember.
    #[serde(default = "default_state")]
    pub state: PathBuf,
    /// The component store.
    #[serde(default = "default_store")]
    pub store: PathBuf,
    /// Staging and target paths lie below this.
    #[serde(default = "default_kubelet_root")]
    pub kubelet_root: PathBuf,
    /// Further directories below which staging and target paths may lie.
    #[serde(default)]
    pub extra_roots: Vec<PathBuf>,
    /// `<sockets>/<driver>/csi.sock`, and `controller.sock` for `--role controller`; unset:
    /// `<kubelet-root>/csi-plugins`.
    #[serde(default)]
    pub sockets: Option<PathBuf>,
    /// Where running servers report to `wharf status` how they are, a socket each, root's alone;
    /// unset: `status` beside the directory of `[mounts]`.
    #[serde(default)]
    pub status: Option<PathBuf>,
    /// This machine.
    #[serde(default)]
    pub node: NodeSection,
    /// Mounts that helper programs serve.
    #[serde(default)]
    pub mounts: MountsSection,
    /// Health and metrics of a server.
    #[serde(default)]
    pub http: HttpSection,
    /// Kubernetes Events of a server.
    #[serde(default)]
    pub events: EventsSection,
    /// Traces of a server.
    #[serde(default)]
    pub traces: TracesSection,
    /// What components may take of a process.
    #[serde(default)]
    pub limits: LimitsSection,
    /// Where backends and accounts may send requests, by id.
    #[serde(default)]
    pub endpoint: BTreeMap<String, Endpoint>,
    /// Who signs, by name.
    #[serde(default)]
    pub account: BTreeMap<String, Account>,
    /// What each backend gets, by name.
    #[serde(default)]
    pub backend: BTreeMap<String, Backend>,
    /// Which backend serves which driver, by CSI driver name.
    #[serde(default)]
    pub driver: BTreeMap<String, Driver>,
    /// FlexVolume.
    #[serde(default)]
    pub flexvolume: FlexVolume,
}

/// This machine.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NodeSection {
    /// Where udev names devices by their serial; unset: `/dev/disk/by-id`.
    #[serde(default)]
    pub device_links: Option<PathBuf>,
    /// Devices that may be volumes: paths under `/dev`, a trailing `*` for every rest; empty: all
    /// but those that the node itself uses.
    #[serde(default)]
    pub devices: Vec<String>,
    /// Where the kernel's sysfs is mounted; unset: `/sys`.
    #[serde(default)]
    pub sysfs: Option<PathBuf>,
}

/// Mounts that helper programs serve.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MountsSection {
    /// The supervisor's socket and the helpers' private directories; unset: `/run/wharf/mounts`.
    #[serde(default)]
    pub run: Option<PathBuf>,
    /// `service`: a supervisor runs on this node as a service or a DaemonSet, and is not started
    /// where it is missing. Unset: whoever needs it starts it.
    #[serde(default)]
    pub supervisor: Option<SupervisorStart>,
}

/// Who starts the supervisor of mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SupervisorStart {
    /// Whoever needs it and finds none.
    OnDemand,
    /// Somebody else.
    Service,
}

/// One place that requests may go to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Endpoint {
    /// `https://host[:port]`.
    pub url: String,
    /// Private, loopback and link-local addresses are allowed. Needed for a metadata service, and
    /// for endpoints inside a VPC.
    #[serde(default)]
    pub private: bool,
    /// Requests may put one name before the host's, as object storage has its buckets there.
    #[serde(default)]
    pub subdomains: bool,
    /// A PEM file with the certificate authorities that this endpoint's certificate must descend
    /// from; unset: the machine's own.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

/// One identity in a cloud.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Account {
    /// The authenticator, by its name in the store, that obtains credentials and signs.
    pub component: String,
    /// Endpoints that obtaining a credential may use.
    #[serde(default)]
    pub endpoints: Vec<String>,
    /// Settings for the signer.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Where credentials come from; the first that has one is used.
    pub source: Vec<Source>,
}

/// One place that a credential may come from.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Source {
    /// A kind that the component knows (`static`, `ecs-ram-role`, …: its documentation says).
    pub kind: String,
    /// What that kind needs.
    #[serde(flatten)]
    pub values: BTreeMap<String, SourceValue>,
}

/// A value, or where it is found. Files and environment are read anew whenever a credential is
/// obtained.
#[derive(Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "a value of a source is a string, `{ file = \"…\" }`, `{ env = \"…\" }` or `{ value = \
                 \"…\" }`"
)]
pub enum SourceValue {
    /// Written here.
    Plain(String),
    /// Found elsewhere.
    Found(Found),
}

/// Where a value is found.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// Written here, and secret: the configuration must be readable by root only.
    Value(String),
    /// An environment variable.
    Env(String),
    /// A file; white space around its content is dropped.
    File(PathBuf),
}

impl std::fmt::Debug for SourceValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(_) | Self::Found(Found::Value(_)) => f.write_str("(value not shown)"),
            Self::Found(Found::Env(name)) => write!(f, "env {name}"),
            Self::Found(Found::File(path)) => write!(f, "file {}", path.display()),
        }
    }
}

/// What one backend gets.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Backend {
    /// Its name in the store; unset: the section's name.
    #[serde(default)]
    pub component: Option<String>,
    /// What its `config` import answers.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// Where it may send requests.
    #[serde(default)]
    pub grant: Vec<EndpointGrant>,
    /// What its plans may do.
    #[serde(default)]
    pub node: NodePolicy,
}

impl Backend {
    /// Its component's name in the store. `section` is what the configuration calls it.
    pub fn component<'a>(&'a self, section: &'a str) -> &'a str {
        self.component.as_deref().unwrap_or(section)
    }
}

/// One driver.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Driver {
    /// The section of the backend that serves it.
    pub backend: String,
    /// `vendor/driver` names of FlexVolume for the same volumes.
    #[serde(default)]
    pub flexvolume: Vec<String>,
    /// Attributes of a volume over CSI, without regard to case, that hold a secret in plain text:
    /// they are its secrets where a call brings none, and reach no component and no record. Unset:
    /// they are for the backend to refuse.
    #[serde(default)]
    pub secret_attributes: Vec<String>,
}

impl Config {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// [`ConfigError`] naming the file, every place in it that is wrong, and the fix.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let Loaded { config, .. } = Loaded::load(path)?;
        let file = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Ok(Self { file, ..config })
    }

    /// Who has a share of the process: every backend, and every account's authenticator.
    pub fn shares(&self) -> usize {
        self.backend.len().saturating_add(self.account.len())
    }

    fn holds_secrets(&self) -> bool {
        self.account
            .values()
            .flat_map(|account| &account.source)
            .flat_map(|source| &source.values)
            .any(|(key, value)| match value {
                SourceValue::Plain(_) => names_a_secret(key),
                SourceValue::Found(Found::Value(_)) => true,
                SourceValue::Found(Found::Env(_) | Found::File(_)) => false,
            })
    }

    /// Where a driver's socket is, unless the command line says otherwise. A machine of the control
    /// plane may be a node too, with one configuration for both.
    pub fn socket(&self, driver: &str, role: Role) -> PathBuf {
        let file = match role {
            Role::Controller => "controller.sock",
            Role::Node | Role::All => "csi.sock",
        };
        self.sockets
            .clone()
            .unwrap_or_else(|| self.kubelet_root.join("csi-plugins"))
            .join(driver)
            .join(file)
    }

    /// Where the supervisor of mounts has its socket.
    pub fn run_directory(&self) -> PathBuf {
        let usual = || wharf_node::supervisor::SupervisorOptions::default().run_directory;
        self.mounts.run.clone().unwrap_or_else(usual)
    }

    /// Where running servers have the sockets that they report their status on.
    pub fn status_directory(&self) -> PathBuf {
        self.status.clone().unwrap_or_else(|| self.run_directory().with_file_name("status"))
    }

    /// Directories below which staging and target paths lie.
    pub fn roots(&self) -> Vec<PathBuf> {
        std::iter::once(self.kubelet_root.clone()).chain(self.extra_roots.iter().cloned()).collect()
    }
}

/// Whether what stands under this key of a source is a secret, however it is written.
fn names_a_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["secret", "token", "password", "private-key", "content"].iter().any(|word| key.contains(word))
}

fn default_state() -> PathBuf {
    "/var/lib/wharf/state".into()
}

fn default_store() -> PathBuf {
    "/var/lib/wharf/store".into()
}

fn default_kubelet_root() -> PathBuf {
    "/var/lib/kubelet".into()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(super) fn tree(text: &str) -> tree::Tree {
        tree::Tree::parse(text, tree::file(Path::new("/w.toml"))).unwrap()
    }

    pub(super) fn parse(text: &str) -> Result<Config, String> {
        let words = |mistakes: Vec<mistake::Mistake>| {
            mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        Loaded::parse(text, Path::new("/w.toml")).map(|loaded| loaded.config).map_err(words)
    }

    #[test]
    fn an_empty_configuration_has_the_usual_directories_and_no_driver() {
        let config = parse("").unwrap();
        let socket = |role| config.socket("d", role).display().to_string();
        assert_eq!(socket(Role::Node), "/var/lib/kubelet/csi-plugins/d/csi.sock");
        assert_eq!(socket(Role::All), socket(Role::Node));
        assert_eq!(socket(Role::Controller), "/var/lib/kubelet/csi-plugins/d/controller.sock");
        assert!(config.driver.is_empty());
    }

    #[test]
    fn a_misspelt_key_is_an_error_that_names_it() {
        assert!(parse("stat = \"/x\"").unwrap_err().contains("stat"));
    }

    #[test]
    fn what_is_named_must_exist() {
        assert!(parse("[driver.d]\nbackend = \"x\"").unwrap_err().contains("[backend.x]"));
        assert!(
            parse("[[backend.b.grant]]\nendpoint = \"e\"\nactions = []")
                .unwrap_err()
                .contains("[endpoint.e]")
        );
    }

    #[test]
    fn traces_are_refused_by_a_build_that_makes_none_and_need_http() {
        let of = |url: &str| parse(&format!("[traces]\nendpoint = \"{url}\"\n"));
        let good = of("http://127.0.0.1:4318");
        if crate::traces::ARE_BUILT {
            assert!(good.is_ok());
            assert!(of("grpc://127.0.0.1:4317").unwrap_err().contains("OTLP over HTTP"));
        } else {
            assert!(good.unwrap_err().contains("--features otlp"));
        }
    }

    #[test]
    fn what_init_answers_is_said_for_drivers_that_there_are() {
        let of = |driver: &str| {
            format!(
                "[backend.b]\n[driver.d]\nbackend = \"b\"\nflexvolume = [\"acme/share\"]\n\
                 [flexvolume.init.\"{driver}\"]\nfs-group = true"
            )
        };
        let config = parse(&of("acme/share")).unwrap();
        let said = config.flexvolume.init["acme/share"];
        assert_eq!((said.fs_group, said.attach), (Some(true), None));
        assert!(parse(&of("acme/shares")).unwrap_err().contains("acme/shares"));
    }

    #[test]
    fn values_of_a_source_are_never_shown() {
        let config = parse(
            "[[account.a.source]]\nkind = \"static\"\nkey = \"canary\"\nother = { value = \
             \"canary\" }\n[account.a]\ncomponent = \"auth\"",
        );
        let config = config.unwrap();
        assert!(!format!("{config:?}").contains("canary"));
        assert!(config.holds_secrets());
    }

    #[test]
    fn what_stands_in_the_file_is_never_quoted() {
        let source = "[account.a]\ncomponent = \"auth\"\n[[account.a.source]]\nkind = \"static\"\n";
        for mistake in [
            "access-key-secret = \"canary",
            "access-key-secret = canary",
            "access-key-secret = \"canary\" x",
            "access-key-secret \"canary\"",
            "access-key-secret = { valeu = \"canary\" }",
            "access-key-secret = [\"canary\"]",
            "[account.a.settings]\nkey = \"canary",
            "[account.b]\ncomponent = \"auth\"\nsettings = \"canary, expected a map\"",
            "[account.b]\ncomponent = \"auth\"\nsource = \"canary\"",
            "[node]\ndevice-links = { file = \"canary\" }",
            "[endpoint.e]\nurl = \"x\"\nprivate = \"canary\"",
        ] {
            let error = parse(&format!("{source}{mistake}\n")).unwrap_err();
            assert!(!error.contains("canary"), "{mistake}: {error}");
            assert!(error.contains("line "), "{mistake}: {error}");
        }
    }

    #[test]
    fn the_place_of_a_mistake_is_named() {
        let error = parse("store = \"/s\"\n  stat = \"/x\"\n").unwrap_err();
        assert!(
            error.contains("unknown field `stat`") && error.contains("(line 2, column 3)"),
            "{error}"
        );
    }

    #[test]
    fn a_key_in_plain_text_is_a_secret_too() {
        let holds = |line: &str| {
            let config = parse(&format!(
                "[account.a]\ncomponent = \"auth\"\n[[account.a.source]]\nkind = \
                 \"static\"\n{line}"
            ));
            config.unwrap().holds_secrets()
        };
        for line in [
            "access-key-secret = \"x\"",
            "Security-Token = \"x\"",
            "password = \"x\"",
            "any = { value = \"x\" }",
        ] {
            assert!(holds(line), "{line}");
        }
        for line in [
            "access-key-id = \"x\"",
            "access-key-secret = { file = \"/k\" }",
            "token = { env = \"T\" }",
        ] {
            assert!(!holds(line), "{line}");
        }
    }
}

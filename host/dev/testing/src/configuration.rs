//! The `wharf.toml` of a machine in a simulated region: what the README shows, filled in. Tests,
//! the demonstration and `cargo xtask region` write theirs with it.
//!
//! Everything of the machine lies below one directory: `state`, `store`, `sockets`, `mounts`,
//! `log`, `keys`. A trial writes nothing into the machine's own directories.

use std::ffi::OsString;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::Deserialize;
use wharf_cloudsim::{InstanceDescription, RegionDescription};
use wharf_core::manifest::{EndpointRequest, NodeRequest};

/// The component that obtains credentials and signs.
pub const AUTH: &str = "auth";

/// The arguments of `wharf` that put a component into the store and make it active.
pub fn install_command(name: &str, component: &Path) -> [OsString; 5] {
    let kind = if name == AUTH { "authenticator" } else { "backend" };
    [kind.into(), "install".into(), name.into(), component.into(), "--activate".into()]
}

/// A driver that a configuration can serve.
#[derive(Debug)]
pub struct Served {
    /// The component behind it.
    pub backend: &'static str,
    /// The name of the CSI driver.
    pub driver: &'static str,
    /// The name of the FlexVolume driver of the same volumes.
    pub flexvolume: &'static str,
    /// What the component asks for. A simulated region's operator grants all of it; a real one
    /// reads it first.
    manifest: &'static str,
    /// What the backend is told besides the region.
    settings: &'static str,
    /// What its plans may do, besides the steps that it asks for.
    node: &'static str,
    /// Accounts that it alone needs.
    accounts: &'static str,
}

/// All of them.
pub const SERVED: [Served; 3] = [
    Served {
        backend: "disk",
        driver: "diskplugin.csi.alibabacloud.com",
        flexvolume: "alicloud/disk",
        manifest: include_str!("../../../../backends/disk/manifest.toml"),
        settings: r#"cluster-id = "wharf""#,
        node: r#"filesystems = ["ext3", "ext4", "xfs"]
block-queue = ["add_random", "iostats", "max_sectors_kb", "nomerges", "nr_requests", "read_ahead_kb", "rq_affinity", "scheduler", "wbt_lat_usec"]
"#,
        accounts: "",
    },
    Served {
        backend: "nas",
        driver: "nasplugin.csi.alibabacloud.com",
        flexvolume: "alicloud/nas",
        manifest: include_str!("../../../../backends/nas/manifest.toml"),
        settings: r#"account = "cloud""#,
        // Who exports the region's file systems does so on loopback.
        node: r#"nfs = { servers = ["*.nas.aliyuncs.com", "127.0.0.0/8", "localhost"] }
"#,
        accounts: "",
    },
    Served {
        backend: "oss",
        driver: "ossplugin.csi.alibabacloud.com",
        flexvolume: "alicloud/oss",
        manifest: include_str!("../../../../backends/oss/manifest.toml"),
        // The region's object storage has an address and no name.
        settings: r#"network = "public", addressing = "path""#,
        node: r#"
[backend.oss.node.helpers]
ossfs = { accounts = ["oss-keys", "oss-sts"] }
ossfs2 = { accounts = ["oss-keys", "oss-sts"] }
s3fs = { accounts = ["oss-keys"] }
"#,
        accounts: r#"
# Of mount helpers: the keys in a volume's secret, or else those of the instance.
[account.oss-keys]
component = "auth"
source = [{ kind = "call" }, KEYS]

[account.oss-sts]
component = "auth"
endpoints = ["metadata"]
source = [{ kind = "ecs-ram-role" }]
"#,
    },
];

/// What a component's manifest asks for.
#[derive(Deserialize)]
struct Asks {
    request: Vec<EndpointRequest>,
    node: NodeRequest,
}

/// What a machine's configuration depends on.
#[derive(Debug)]
pub struct Configuration<'a> {
    /// Its region.
    pub region: &'a RegionDescription,
    /// Its instance.
    pub instance: &'a InstanceDescription,
    /// Everything of the machine lies below.
    pub directory: &'a Path,
    /// Staging and target paths lie below.
    pub kubelet_root: &'a Path,
    /// Further directories below which they may lie.
    pub extra_roots: &'a [&'a str],
    /// Names of the backends that are served: of [`SERVED`].
    pub backends: &'a [&'a str],
    /// Further lines of `[flexvolume]`.
    pub flexvolume: &'a str,
}

impl Configuration<'_> {
    /// Makes the machine's directories and writes its keys and `wharf.toml`. May be repeated over
    /// the same directory.
    ///
    /// # Errors
    /// What the system says, with the path.
    pub fn write(&self) -> io::Result<()> {
        for name in ["state", "sockets", "log"] {
            make_directory(&self.directory.join(name), 0o755)?;
        }
        make_directory(self.kubelet_root, 0o755)?;
        let keys = self.directory.join("keys");
        make_directory(&keys, 0o700)?;
        write_private(&keys.join("access-key-id"), &self.instance.keys.access_key_id)?;
        write_private(&keys.join("access-key-secret"), &self.instance.keys.access_key_secret)?;
        write_private(&self.directory.join("wharf.toml"), &self.text()?)
    }

    /// `wharf.toml`.
    ///
    /// # Errors
    /// When a component's manifest is not one.
    pub fn text(&self) -> io::Result<String> {
        let mut text = self.shared();
        for served in SERVED.iter().filter(|served| self.backends.contains(&served.backend)) {
            let asks = toml::from_str(served.manifest).map_err(io::Error::other)?;
            text += &self.backend(served, &asks);
        }
        Ok(text)
    }

    fn path(&self, name: &str) -> String {
        quoted(&self.directory.join(name).to_string_lossy())
    }

    /// The machine's own keys, as a source of credentials.
    fn keys(&self) -> String {
        format!(
            r#"{{ kind = "static", access-key-id = {{ file = {} }}, access-key-secret = {{ file = {} }} }}"#,
            self.path("keys/access-key-id"),
            self.path("keys/access-key-secret"),
        )
    }

    /// What all drivers share.
    fn shared(&self) -> String {
        let Self { region, instance, extra_roots, flexvolume, .. } = self;
        let ca = region.ca.as_ref().map(|ca| format!("ca = {}\n", quoted(&ca.to_string_lossy())));
        let endpoint = |name: &str, url: &str, ca: &str| {
            format!("[endpoint.{name}]\nurl = {}\nprivate = true\n{ca}\n", quoted(url))
        };
        let ca = ca.unwrap_or_default();
        let endpoints = &region.endpoints;
        let named = [
            endpoint("ecs", &endpoints.ecs, &ca),
            endpoint("nas", &endpoints.nas, &ca),
            endpoint("sts", &endpoints.sts, &ca),
            endpoint("oss", &endpoints.oss, &ca),
            endpoint("metadata", &instance.metadata, ""),
        ]
        .concat();
        format!(
            r#"# The instance {id} of the simulated region {region}. Written anew whenever the region starts.

state = {state}
store = {store}
kubelet-root = {kubelet_root}
extra-roots = {extra_roots}
sockets = {sockets}

[node]
device-links = {by_id}
sysfs = {sysfs}

[mounts]
run = {mounts}

{named}[account.cloud]
component = "{AUTH}"
endpoints = ["metadata", "sts"]
source = [{keys}]

[flexvolume]
log = {log}
secret-options = ["akId", "akSecret"]
{flexvolume}"#,
            id = instance.id,
            region = region.region,
            state = self.path("state"),
            store = self.path("store"),
            kubelet_root = quoted(&self.kubelet_root.to_string_lossy()),
            extra_roots = list(extra_roots),
            sockets = self.path("sockets"),
            by_id = quoted(&instance.by_id.to_string_lossy()),
            sysfs = quoted(&instance.sysfs.to_string_lossy()),
            mounts = self.path("mounts"),
            keys = self.keys(),
            log = self.path("log"),
        )
    }

    fn backend(&self, served: &Served, asks: &Asks) -> String {
        let Served { backend, driver, flexvolume, settings, node, .. } = served;
        let region = quoted(&self.region.region);
        let mut text = served.accounts.replace("KEYS", &self.keys());
        text += &format!("\n[backend.{backend}]\nconfig = {{ region = {region}, {settings} }}\n");
        for request in &asks.request {
            let account = if request.signed { "account = \"cloud\"\n" } else { "" };
            let endpoint = quoted(&request.endpoint);
            text += &format!("\n[[backend.{backend}.grant]]\nendpoint = {endpoint}\n{account}");
            for (key, granted) in [("actions", &request.actions), ("paths", &request.paths)] {
                if !granted.is_empty() {
                    text += &format!("{key} = {}\n", list(granted));
                }
            }
        }
        let steps = list(&asks.node.steps);
        text + &format!(
            r#"
[backend.{backend}.node]
steps = {steps}
{node}
[driver."{driver}"]
backend = "{backend}"
flexvolume = ["{flexvolume}"]
"#
        )
    }
}

/// As a TOML string.
pub fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn list(words: &[impl AsRef<str>]) -> String {
    format!("[{}]", words.iter().map(|word| quoted(word.as_ref())).collect::<Vec<_>>().join(", "))
}

fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(naming("make", path))
}

/// Readable by the owner alone from the first byte on.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let write = || {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())
    };
    write().map_err(naming("write", path))
}

fn naming(what: &str, path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    let what = format!("cannot {what} {}", path.display());
    move |error| io::Error::new(error.kind(), format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use wharf_cloudsim::{AccessKey, Endpoints};

    use super::*;

    fn keys() -> AccessKey {
        AccessKey { access_key_id: "id".into(), access_key_secret: "very secret".into() }
    }

    fn with<T>(directory: &Path, work: impl FnOnce(&Configuration<'_>) -> T) -> T {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let endpoints =
            Endpoints { ecs: url(1), nas: url(6), sts: url(2), oss: url(5), metadata: url(3) };
        let instance = InstanceDescription {
            id: "i-1".into(),
            zone: "z".into(),
            keys: keys(),
            config: directory.join("wharf.toml"),
            metadata: url(4),
            by_id: directory.join("dev/disk/by-id"),
            sysfs: directory.join("sys"),
        };
        let region = RegionDescription {
            region: "cn-wharf-1".into(),
            zones: vec![],
            account: "1".into(),
            endpoints,
            ca: None,
            admin: keys(),
            instances: vec![],
        };
        work(&Configuration {
            region: &region,
            instance: &instance,
            directory,
            kubelet_root: &directory.join("kubelet"),
            extra_roots: &["/tmp"],
            backends: &["disk", "nas", "oss"],
            flexvolume: "node-name = \"any\"\n",
        })
    }

    fn written(directory: &str) -> String {
        with(Path::new(directory), |configuration| configuration.text().unwrap())
    }

    #[test]
    fn every_backend_gets_what_its_component_asks_for_and_no_more() {
        let config: toml::Table = written("/r/i-1").parse().unwrap();
        for served in &SERVED {
            let manifest: toml::Table = served.manifest.parse().unwrap();
            let backend = &config["backend"][served.backend];
            assert_eq!(backend["node"]["steps"], manifest["node"]["steps"]);
            let grants = backend["grant"].as_array().unwrap();
            let requests = manifest["request"].as_array().unwrap();
            assert_eq!(grants.len(), requests.len());
            for (grant, request) in grants.iter().zip(requests) {
                for key in ["endpoint", "actions", "paths"] {
                    assert_eq!(grant.get(key), request.get(key), "{key} of {}", served.backend);
                }
                let is_signed = request["signed"].as_bool().unwrap();
                let account = is_signed.then_some("cloud");
                assert_eq!(grant.get("account").and_then(|it| it.as_str()), account);
            }
            let driver = &config["driver"][served.driver];
            assert_eq!(driver["backend"].as_str(), Some(served.backend));
            assert_eq!(driver["flexvolume"][0].as_str(), Some(served.flexvolume));
        }
        let helpers = &config["backend"]["oss"]["node"]["helpers"];
        assert_eq!(helpers["s3fs"]["accounts"][0].as_str(), Some("oss-keys"));
        assert_eq!(config["endpoint"]["metadata"]["url"].as_str(), Some("http://127.0.0.1:4"));
        assert_eq!(config["endpoint"]["nas"]["url"].as_str(), Some("http://127.0.0.1:6"));
        assert_eq!(config["endpoint"]["oss"]["url"].as_str(), Some("http://127.0.0.1:5"));
        assert_eq!(config["flexvolume"]["node-name"].as_str(), Some("any"));
        // A trial writes nothing into the machine's own directories.
        assert_eq!(config["flexvolume"]["log"].as_str(), Some("/r/i-1/log"));
        assert_eq!(config["mounts"]["run"].as_str(), Some("/r/i-1/mounts"));
    }

    #[test]
    fn a_directory_with_a_quote_in_its_name_stays_one_string() {
        let config: toml::Table = written("/odd \"directory\"\\x").parse().unwrap();
        assert_eq!(config["state"].as_str(), Some("/odd \"directory\"\\x/state"));
    }

    #[test]
    fn the_configuration_names_key_files_and_holds_no_key() {
        let text = written("/r/i-1");
        assert!(text.contains("/r/i-1/keys/access-key-secret") && !text.contains("very secret"));
    }

    #[test]
    fn keys_are_readable_by_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        with(directory.path(), |configuration| configuration.write().unwrap());
        for (name, mode) in [("keys", 0o700), ("keys/access-key-secret", 0o600)] {
            let found = directory.path().join(name).metadata().unwrap().permissions().mode();
            assert_eq!(found & 0o777, mode, "{name}");
        }
        let text = std::fs::read_to_string(directory.path().join("wharf.toml")).unwrap();
        assert_eq!(text, written(&directory.path().to_string_lossy()));
    }
}

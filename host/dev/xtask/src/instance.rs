//! One instance of a simulated region made ready for the real binary: its folders, its keys, a
//! `wharf.toml` that works as it stands, and a store with the components in it. Called by `region`,
//! by the csi-sanity part and by whatever plays a node.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use wharf_cloudsim::{InstanceDescription, RegionDescription};
use wharf_core::manifest::Manifest;

use crate::command;
use crate::component;

/// The CSI driver of disks.
pub const DRIVER: &str = "diskplugin.csi.alibabacloud.com";

/// The component that obtains credentials and signs.
const AUTH: &str = "auth";

/// A driver that the configuration serves.
struct Served {
    /// The component behind it.
    backend: &'static str,
    driver: &'static str,
    flexvolume: &'static str,
    /// What the backend is told besides the region.
    settings: &'static str,
    /// What its plans may do, besides the steps that it asks for.
    node: &'static str,
}

/// All of them.
const SERVED: [Served; 3] = [
    Served {
        backend: "disk",
        driver: DRIVER,
        flexvolume: "alicloud/disk",
        settings: r#"cluster-id = "wharf""#,
        node: r#"filesystems = ["ext3", "ext4", "xfs"]
block-queue = ["add_random", "iostats", "max_sectors_kb", "nomerges", "nr_requests", "read_ahead_kb", "rq_affinity", "scheduler", "wbt_lat_usec"]
"#,
    },
    Served {
        backend: "nas",
        driver: "nasplugin.csi.alibabacloud.com",
        flexvolume: "alicloud/nas",
        settings: r#"account = "cloud""#,
        // Who exports the region's file systems does so on loopback.
        node: r#"nfs = { servers = ["*.nas.aliyuncs.com", "127.0.0.0/8", "localhost"] }
"#,
    },
    Served {
        backend: "oss",
        driver: "ossplugin.csi.alibabacloud.com",
        flexvolume: "alicloud/oss",
        // The region's object storage has an address and no name.
        settings: r#"network = "public", addressing = "path""#,
        node: r#"
[backend.oss.node.helpers]
ossfs = { accounts = ["oss-keys", "oss-sts"] }
ossfs2 = { accounts = ["oss-keys", "oss-sts"] }
s3fs = { accounts = ["oss-keys"] }
"#,
    },
];

/// What an instance is made ready with.
#[derive(Debug, Clone, Copy)]
pub struct Equipment<'a> {
    /// The binary that puts components into the store.
    pub wharf: &'a Path,
    /// The folder with `auth.wasm` and the backends.
    pub components: &'a Path,
    /// Where staging and target paths will lie; `None`: `kubelet` in the instance's folder.
    pub kubelet_root: Option<&'a Path>,
}

/// Writes the configuration and fills the store. Returns the configuration's path. May be repeated
/// over the same folder.
pub fn prepare_instance(
    region: &RegionDescription,
    instance: &InstanceDescription,
    equipment: Equipment,
) -> Result<PathBuf> {
    let folder = instance.config.parent().context("the instance's configuration has no folder")?;
    let kubelet_root =
        equipment.kubelet_root.map_or_else(|| folder.join("kubelet"), Path::to_owned);
    for path in [folder.join("state"), folder.join("sockets"), kubelet_root.clone()] {
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    }
    write_keys(&folder.join("keys"), instance)?;
    let component = |name: &str| equipment.components.join(format!("{name}.wasm"));
    let mut text = configuration(region, instance, folder, &kubelet_root);
    for served in &SERVED {
        let asks = component::manifest_of(&component(served.backend))?;
        text += &backend(served, &region.region, &asks);
    }
    write_private(&instance.config, text.as_bytes())?;
    for name in std::iter::once(AUTH).chain(SERVED.iter().map(|served| served.backend)) {
        install(equipment.wharf, &instance.config, &component(name))?;
    }
    Ok(instance.config.clone())
}

/// Puts one component into the store of a configuration and makes it active.
pub fn install(wharf: &Path, config: &Path, component: &Path) -> Result<()> {
    let mut install = Command::new(wharf);
    install
        .arg("--config")
        .arg(config)
        .args(["backend", "install"])
        .arg(component)
        .arg("--activate");
    command::output(&mut install).map(drop)
}

fn write_keys(folder: &Path, instance: &InstanceDescription) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    write_private(&folder.join("access-key-id"), instance.keys.access_key_id.as_bytes())?;
    write_private(&folder.join("access-key-secret"), instance.keys.access_key_secret.as_bytes())
}

/// Readable by the owner alone from the first byte on.
fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let write = || {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(content)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// What all drivers share.
fn configuration(
    region: &RegionDescription,
    instance: &InstanceDescription,
    folder: &Path,
    kubelet_root: &Path,
) -> String {
    let path = |name: &str| quoted(&folder.join(name).to_string_lossy());
    format!(
        r#"# The instance {id} of the simulated region {region}. Written anew whenever the region starts.

state = {state}
store = {store}
kubelet-root = {kubelet_root}
# csi-sanity's own default paths lie here. Leave this out on a real node.
extra-roots = ["/tmp"]
sockets = {sockets}

[node]
device-links = {by_id}
sysfs = {sysfs}

[endpoint.ecs]
url = {ecs}
private = true
{ca}
[endpoint.nas]
url = {nas}
private = true
{ca}
[endpoint.sts]
url = {sts}
private = true
{ca}
[endpoint.oss]
url = {oss}
private = true
{ca}
[endpoint.metadata]
url = {metadata}
private = true

[account.cloud]
component = "{AUTH}"
endpoints = ["metadata", "sts"]

[[account.cloud.source]]
kind = "static"
access-key-id = {{ file = {key_id} }}
access-key-secret = {{ file = {key_secret} }}

# Of mount helpers: the keys in a volume's secret, or else those of the instance.
[account.oss-keys]
component = "{AUTH}"
source = [
    {{ kind = "call" }},
    {{ kind = "static", access-key-id = {{ file = {key_id} }}, access-key-secret = {{ file = {key_secret} }} }},
]

[account.oss-sts]
component = "{AUTH}"
endpoints = ["metadata"]
source = [{{ kind = "ecs-ram-role" }}]

[flexvolume]
# Ids of instances may stand for node names; any other name means this machine, as where kubelet
# itself attaches.
node-id-prefixes = ["i-"]
node-name = "any"
secret-options = ["akId", "akSecret"]
log = {log}
legacy-state = {{ "alicloud/disk" = "/etc/kubernetes/volumes/disk" }}
"#,
        id = instance.id,
        region = quoted(&region.region),
        state = path("state"),
        store = path("store"),
        kubelet_root = quoted(&kubelet_root.to_string_lossy()),
        sockets = path("sockets"),
        by_id = quoted(&instance.by_id.to_string_lossy()),
        sysfs = quoted(&instance.sysfs.to_string_lossy()),
        ecs = quoted(&region.endpoints.ecs),
        ca = region
            .ca
            .as_ref()
            .map(|ca| format!("ca = {}\n", quoted(&ca.to_string_lossy())))
            .unwrap_or_default(),
        nas = quoted(&region.endpoints.nas),
        sts = quoted(&region.endpoints.sts),
        oss = quoted(&region.endpoints.oss),
        metadata = quoted(&instance.metadata),
        key_id = path("keys/access-key-id"),
        key_secret = path("keys/access-key-secret"),
        log = path("log"),
    )
}

/// A simulated region's operator grants what the component asks for; a real one reads it first.
fn backend(served: &Served, region: &str, asks: &Manifest) -> String {
    let Served { backend, driver, flexvolume, settings, node } = served;
    let mut text =
        format!("\n[backend.{backend}]\nconfig = {{ region = {}, {settings} }}\n", quoted(region));
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

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn list(words: &[String]) -> String {
    format!("[{}]", words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use wharf_cloudsim::{AccessKey, Endpoints};
    use wharf_core::manifest::{EndpointRequest, NodeRequest, World};

    use super::*;

    fn keys() -> AccessKey {
        AccessKey { access_key_id: "id".into(), access_key_secret: "very secret".into() }
    }

    fn written(folder: &str) -> String {
        let endpoints = Endpoints {
            ecs: "http://127.0.0.1:1".into(),
            nas: "http://127.0.0.1:6".into(),
            sts: "http://127.0.0.1:2".into(),
            oss: "http://127.0.0.1:5".into(),
            metadata: "http://127.0.0.1:3".into(),
        };
        let instance = InstanceDescription {
            id: "i-1".into(),
            zone: "z".into(),
            keys: keys(),
            config: Path::new(folder).join("wharf.toml"),
            metadata: "http://127.0.0.1:4".into(),
            by_id: Path::new(folder).join("dev/disk/by-id"),
            sysfs: Path::new(folder).join("sys"),
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
        let asks = |name: &str| Manifest {
            name: name.into(),
            version: "1.0.0".into(),
            world: World::Backend,
            contract: "wharf:volume@0.1.0".into(),
            request: vec![
                EndpointRequest {
                    endpoint: "ecs".into(),
                    signed: true,
                    actions: vec!["AttachDisk".into()],
                    paths: vec![],
                },
                EndpointRequest {
                    endpoint: "metadata".into(),
                    signed: false,
                    actions: vec![],
                    paths: vec!["GET /latest".into()],
                },
            ],
            node: NodeRequest { steps: vec!["find-device".into(), "format".into()] },
        };
        let kubelet = Path::new(folder).join("kubelet");
        let mut text = configuration(&region, &instance, Path::new(folder), &kubelet);
        for served in &SERVED {
            text += &backend(served, &region.region, &asks(served.backend));
        }
        text
    }

    #[test]
    fn the_configuration_grants_what_the_component_asks_for_and_no_more() {
        let config: toml::Table = written("/r/i-1").parse().unwrap();
        let expected: toml::Table = r#"
            grant = [
                { endpoint = "ecs", account = "cloud", actions = ["AttachDisk"] },
                { endpoint = "metadata", paths = ["GET /latest"] },
            ]
        "#
        .parse()
        .unwrap();
        for served in &SERVED {
            let backend = &config["backend"][served.backend];
            assert_eq!(backend["grant"], expected["grant"]);
            assert_eq!(backend["node"]["steps"].as_array().unwrap().len(), 2);
            let driver = &config["driver"][served.driver];
            assert_eq!(driver["backend"].as_str(), Some(served.backend));
            assert_eq!(driver["flexvolume"][0].as_str(), Some(served.flexvolume));
        }
        let helpers = &config["backend"]["oss"]["node"]["helpers"];
        assert_eq!(helpers["s3fs"]["accounts"][0].as_str(), Some("oss-keys"));
        assert_eq!(config["endpoint"]["metadata"]["url"].as_str(), Some("http://127.0.0.1:4"));
        assert_eq!(config["endpoint"]["nas"]["url"].as_str(), Some("http://127.0.0.1:6"));
        assert_eq!(config["endpoint"]["oss"]["url"].as_str(), Some("http://127.0.0.1:5"));
        // A trial writes nothing into the machine's own folders.
        assert_eq!(config["flexvolume"]["log"].as_str(), Some("/r/i-1/log"));
    }

    #[test]
    fn a_folder_with_a_quote_in_its_name_stays_one_string() {
        let config: toml::Table = written("/odd \"folder\"\\x").parse().unwrap();
        assert_eq!(config["state"].as_str(), Some("/odd \"folder\"\\x/state"));
    }

    #[test]
    fn the_configuration_names_key_files_and_holds_no_key() {
        let text = written("/r/i-1");
        assert!(text.contains("/r/i-1/keys/access-key-secret") && !text.contains("very secret"));
    }

    #[test]
    fn keys_are_readable_by_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write_private(&path, b"x").unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

//! One instance of a simulated region made ready for the real binary: its directories, its keys, a
//! `wharf.toml` that works as it stands, and a store with the components in it. Called by `region`,
//! by the csi-sanity part and by whatever plays a node.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use wharf_cloudsim::{InstanceDescription, RegionDescription};
use wharf_testing::configuration::{AUTH, Configuration, SERVED, install_command};

use crate::command;

/// What an instance is made ready with.
#[derive(Debug, Clone, Copy)]
pub struct Equipment<'a> {
    /// The binary that puts components into the store.
    pub wharf: &'a Path,
    /// The directory with `auth.wasm` and the backends.
    pub components: &'a Path,
    /// Where staging and target paths will lie; `None`: `kubelet` in the instance's directory.
    pub kubelet_root: Option<&'a Path>,
}

/// Ids of instances may stand for node names; any other name means this machine, as where kubelet
/// itself attaches.
const FLEXVOLUME: &str = r#"node-id-prefixes = ["i-"]
node-name = "any"
legacy-state = { "alicloud/disk" = "/etc/kubernetes/volumes/disk" }
"#;

/// csi-sanity's own default paths lie here; a real node needs no such root.
const SANITY_ROOTS: &[&str] = &["/tmp"];

/// Writes the configuration and fills the store. Returns the configuration's path. May be repeated
/// over the same directory.
pub fn prepare_instance(
    region: &RegionDescription,
    instance: &InstanceDescription,
    equipment: Equipment,
) -> Result<PathBuf> {
    let directory =
        instance.config.parent().context("the instance's configuration has no directory")?;
    let kubelet_root =
        equipment.kubelet_root.map_or_else(|| directory.join("kubelet"), Path::to_owned);
    let backends = SERVED.map(|served| served.backend);
    Configuration {
        region,
        instance,
        directory,
        kubelet_root: &kubelet_root,
        extra_roots: SANITY_ROOTS,
        backends: &backends,
        flexvolume: FLEXVOLUME,
    }
    .write()?;
    for name in std::iter::once(AUTH).chain(backends) {
        let component = equipment.components.join(format!("{name}.wasm"));
        install(equipment.wharf, &instance.config, name, &component)?;
    }
    Ok(instance.config.clone())
}

/// Puts one component into the store of a configuration and makes it active.
pub fn install(wharf: &Path, config: &Path, name: &str, component: &Path) -> Result<()> {
    let mut install = Command::new(wharf);
    install.arg("--config").arg(config).args(install_command(name, component));
    command::output(&mut install).map(drop)
}

//! A test bed: a simulated region and machines in it that run the real `wharf` binary, with real
//! loop devices and file systems.
//!
//! The end-to-end tests, the demonstration and the benchmark stand on it. It makes everything below
//! one temporary folder, and takes everything away again: on drop, after a panic, and even when its
//! own process is killed. What it leaves out: building the binary and the components, which is
//! `cargo xtask`'s part, and playing Kubernetes, which is [`crate::player`]'s.

mod config;
mod machine;
mod mounts;
mod parts;
mod reaper;
mod server;
mod template;

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use wharf_cloudsim::{Delays, OidcProvider, Region, RegionOptions};

use self::config::Rights;
pub use self::machine::{Machine, Ran};
pub use self::mounts::{MountLine, loops_below, mounts_below, unmount_below};
pub use self::parts::Parts;
pub use self::reaper::{REAPER, Reaper, note};
pub use crate::player::{CsiPlayer, FlexPlayer};

/// The CSI driver that the bed serves.
pub const CSI_DRIVER: &str = "diskplugin.csi.alibabacloud.com";
/// The FlexVolume driver of the same volumes.
pub const FLEX_DRIVER: &str = "alicloud/disk";

/// Why a bed cannot be made, or something on it cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum BedError {
    /// A part of the product has not been built.
    #[error("there is no {what}: {fix}")]
    Unbuilt {
        /// Which.
        what: String,
        /// How it is built.
        fix: &'static str,
    },
    /// A file or folder.
    #[error("{what}: {source}")]
    System {
        /// What was tried, on which file.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The region.
    #[error(transparent)]
    Region(#[from] wharf_cloudsim::RegionError),
    /// A program failed.
    #[error("`{command}` failed: {output}")]
    Failed {
        /// The command line.
        command: String,
        /// What it printed.
        output: String,
    },
    /// A server did not come up.
    #[error("the server of {machine} does not answer: {why}")]
    Silent {
        /// Whose.
        machine: String,
        /// Its last words.
        why: String,
    },
}

impl BedError {
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }
}

/// How a bed is made.
#[derive(Debug, Clone)]
pub struct BedOptions {
    /// How many nodes.
    pub nodes: usize,
    /// How long the cloud takes.
    pub delays: Delays,
    /// The zones of the nodes, in their order; what is missing means the region's first.
    pub zones: Vec<&'static str>,
    /// Identity providers of the region, for `AssumeRoleWithOIDC`.
    pub oidc_providers: Vec<OidcProvider>,
    /// `[flexvolume] log-level`: `info`, or `debug` for what components and node steps do in
    /// call-outs.
    pub call_out_log: &'static str,
    /// Where an earlier FlexVolume plugin kept its `<volume name>.conf` files: below each
    /// machine's folder.
    pub legacy_state: bool,
}

impl Default for BedOptions {
    fn default() -> Self {
        let delays = Delays {
            create: 5,
            attach: 20,
            device: 5,
            detach: 20,
            snapshot: 20,
            modify: 20,
            ..Delays::none()
        };
        Self {
            nodes: 2,
            delays,
            zones: Vec::new(),
            oidc_providers: Vec::new(),
            call_out_log: "info",
            legacy_state: false,
        }
    }
}

/// The bed.
pub struct Bed {
    nodes: Vec<Machine>,
    manager: Machine,
    region: Option<Region>,
    parts: Parts,
    reaper: Option<Reaper>,
    folder: TempDir,
}

impl Bed {
    /// Starts a region and makes every machine ready: configuration, store, components. No server
    /// runs yet.
    ///
    /// # Errors
    /// When a part is not built, or the machine cannot do it.
    pub fn make(options: &BedOptions) -> Result<Self, BedError> {
        Self::make_with(options, Parts::find()?)
    }

    /// The same with these parts.
    ///
    /// # Errors
    /// When the machine cannot do it.
    pub fn make_with(options: &BedOptions, parts: Parts) -> Result<Self, BedError> {
        let folder = tempfile::Builder::new()
            .prefix("wharf-bed-")
            .tempdir()
            .map_err(BedError::system("make a temporary folder"))?;
        let reaper = Reaper::watch(folder.path())?;
        let mut region = RegionOptions::new(folder.path().join("region"));
        region.instances = options.nodes.max(1);
        region.delays = options.delays;
        region.instance_zones = options.zones.iter().map(|zone| (*zone).to_owned()).collect();
        region.oidc_providers.clone_from(&options.oidc_providers);
        std::fs::create_dir_all(&region.directory)
            .map_err(BedError::system("make the region's folder"))?;
        let region = Region::start(region)?;
        let mut bed = Self {
            nodes: Vec::new(),
            manager: Machine::new(
                "manager",
                String::new(),
                folder.path().join("manager"),
                PathBuf::new(),
                PathBuf::new(),
            ),
            region: Some(region),
            parts,
            reaper: Some(reaper),
            folder,
        };
        bed.equip(options)?;
        Ok(bed)
    }

    fn equip(&mut self, options: &BedOptions) -> Result<(), BedError> {
        let Some(region) = &self.region else { return Ok(()) };
        let description = region.description().clone();
        let names: Vec<(String, String)> = description
            .instances
            .iter()
            .enumerate()
            .map(|(n, instance)| (format!("node-{}", n + 1), instance.id.clone()))
            .collect();
        let rights = Rights {
            region: &description,
            nodes: &names,
            call_out_log: options.call_out_log,
            legacy_state: options.legacy_state,
        };
        if let Some(first) = description.instances.first() {
            self.manager = Machine::new(
                "manager",
                first.id.clone(),
                self.folder.path().join("manager"),
                first.by_id.clone(),
                first.sysfs.clone(),
            );
            self.manager.equip(&config::write(&rights, first, &self.manager))?;
            template::fill(&self.manager, &self.parts)?;
        }
        for (instance, (name, id)) in description.instances.iter().zip(&names) {
            let machine = Machine::new(
                name,
                id.clone(),
                self.folder.path().join(name),
                instance.by_id.clone(),
                instance.sysfs.clone(),
            );
            machine.equip(&config::write(&rights, instance, &machine))?;
            machine.take_store(&self.manager.store())?;
            self.nodes.push(machine);
        }
        Ok(())
    }

    /// The nodes, first to last.
    pub fn nodes(&self) -> &[Machine] {
        &self.nodes
    }

    /// A node by its place.
    ///
    /// # Panics
    /// When the bed was made with fewer.
    pub fn node(&self, n: usize) -> &Machine {
        assert!(n < self.nodes.len(), "the bed has {} nodes", self.nodes.len());
        self.nodes.get(n).unwrap_or(&self.manager)
    }

    /// The machine of the control plane: kube-controller-manager, and the sidecars with the
    /// controller's server.
    pub fn manager(&self) -> &Machine {
        &self.manager
    }

    /// The region.
    ///
    /// # Panics
    /// Never: it lives as long as the bed.
    #[allow(clippy::expect_used, reason = "taken only while the bed is dropped")]
    pub fn region(&self) -> &Region {
        self.region.as_ref().expect("the region lives as long as the bed")
    }

    /// What the bed is made of.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Where everything is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the controller's server and every node's.
    ///
    /// # Errors
    /// When one does not answer.
    pub fn serve(&self) -> Result<(), BedError> {
        self.manager.serve("controller", &self.parts)?;
        self.nodes.iter().try_for_each(|node| node.serve("node", &self.parts))
    }

    /// The same, with logs that say in JSON what components and node steps do.
    ///
    /// # Errors
    /// When one does not answer.
    pub fn serve_telling_all(&self) -> Result<(), BedError> {
        self.manager.serve_telling_all("controller", &self.parts)?;
        self.nodes.iter().try_for_each(|node| node.serve_telling_all("node", &self.parts))
    }

    /// Puts the FlexVolume drivers into every machine's plugin folder.
    ///
    /// # Errors
    /// What `wharf flexvolume install` said.
    pub fn install_flexvolume(&self) -> Result<(), BedError> {
        std::iter::once(&self.manager)
            .chain(&self.nodes)
            .try_for_each(|machine| machine.install_flexvolume(&self.parts))
    }

    /// A player whose sidecars talk to the controller's server.
    pub fn csi(&self) -> CsiPlayer {
        CsiPlayer::new(CSI_DRIVER, self.manager.socket())
    }

    /// A player of FlexVolume.
    pub fn flex(&self) -> FlexPlayer {
        FlexPlayer::new(FLEX_DRIVER)
    }

    /// Mounts below the bed's folder.
    pub fn mounts(&self) -> Vec<MountLine> {
        mounts_below(self.folder.path())
    }

    /// Loop devices over the region's images: device and image.
    pub fn loops(&self) -> Vec<(PathBuf, PathBuf)> {
        loops_below(self.folder.path())
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for machine in std::iter::once(&self.manager).chain(&self.nodes) {
            machine.stop();
        }
        mounts::unmount_below(self.folder.path());
        if let Some(region) = self.region.take()
            && let Err(error) = region.stop()
        {
            eprintln!("the region did not stop cleanly: {error}");
        }
        if let Some(reaper) = self.reaper.take() {
            reaper.dismiss();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bed_without_built_parts_says_how_to_build_them() {
        let error = Parts::in_target(Path::new("/nowhere")).unwrap_err();
        assert!(error.to_string().contains("cargo build --package wharf"), "{error}");
    }
}

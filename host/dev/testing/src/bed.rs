//! A test bed: a simulated region and machines in it that run the real `wharf` binary, with real
//! loop devices and file systems.
//!
//! The end-to-end tests, the demonstration and the benchmark stand on it. It makes everything below
//! one temporary directory, and takes everything away again: on drop, after a panic, and even when
//! its own process is killed. What it leaves out: building the binary and the components, which is
//! `cargo xtask`'s part, and playing Kubernetes, which is [`crate::player`]'s.

mod fuse_helpers;
mod machine;
mod mounts;
mod parts;
mod reaper;
mod server;
mod template;

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use wharf_cloudsim::{
    Delays, FaultRule, InstanceDescription, OidcProvider, Region, RegionOptions, Shortage,
};

pub use self::fuse_helpers::{Helper, end as end_helpers, helpers as helpers_below};
pub use self::machine::{Machine, Ran};
pub use self::mounts::{MountLine, loops_below, mounts_below, unmount_below};
pub use self::parts::Parts;
pub use self::reaper::{REAPER, Reaper, note};
pub use self::server::is_dead;
use self::template::Content;
use crate::configuration::{Configuration, SERVED, Served, quoted};
pub use crate::player::{CsiPlayer, FlexPlayer};

/// The CSI driver of disks.
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
    /// A file or directory.
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
    /// The backends that are installed and served: of `disk`, `nas` and `oss`. Each takes a second
    /// or two to compile in a debug build.
    pub backends: Vec<&'static str>,
    /// How many disks a node takes; `None`: as the region has it.
    pub disks_per_node: Option<u32>,
    /// How long the cloud takes.
    pub delays: Delays,
    /// What the cloud does not have.
    pub shortages: Vec<Shortage>,
    /// How the cloud always misbehaves; [`Bed::set_faults`] adds to it.
    pub faults: Vec<FaultRule>,
    /// The zones of the nodes, in their order; what is missing means the region's first.
    pub zones: Vec<&'static str>,
    /// Identity providers of the region, for `AssumeRoleWithOIDC`.
    pub oidc_providers: Vec<OidcProvider>,
    /// `[flexvolume] log-level`: `info`, or `debug` for what components and node steps do in
    /// call-outs.
    pub call_out_log: &'static str,
    /// Where an earlier FlexVolume plugin kept its `<volume name>.conf` files: below each
    /// machine's directory.
    pub legacy_state: bool,
    /// What mount targets of file storage are called
    /// ([`RegionOptions::mount_target_domain`]).
    pub mount_target_domain: Option<&'static str>,
    /// Where the bed lies; `None`: a temporary directory of the system.
    pub parent: Option<PathBuf>,
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
            backends: vec!["disk"],
            disks_per_node: None,
            delays,
            shortages: Vec::new(),
            faults: Vec::new(),
            zones: Vec::new(),
            oidc_providers: Vec::new(),
            call_out_log: "info",
            legacy_state: false,
            mount_target_domain: None,
            parent: None,
        }
    }
}

/// The bed.
pub struct Bed {
    nodes: Vec<Machine>,
    manager: Machine,
    region: Option<Region>,
    parts: Parts,
    backends: Vec<&'static str>,
    reaper: Option<Reaper>,
    options: BedOptions,
    directory: TempDir,
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
        let parent = options.parent.clone().unwrap_or_else(std::env::temp_dir);
        let directory = tempfile::Builder::new()
            .prefix("wharf-bed-")
            .tempdir_in(parent)
            .map_err(BedError::system("make a temporary directory"))?;
        let reaper = Reaper::watch(directory.path())?;
        let mut region = RegionOptions::new(directory.path().join("region"));
        region.instances = options.nodes.max(1);
        region.delays = options.delays;
        // The system disk counts.
        region.disk_quantity =
            options.disks_per_node.map_or(region.disk_quantity, |disks| disks + 1);
        region.shortages.clone_from(&options.shortages);
        region.faults.clone_from(&options.faults);
        region.instance_zones = options.zones.iter().map(|zone| (*zone).to_owned()).collect();
        region.oidc_providers.clone_from(&options.oidc_providers);
        region.mount_target_domain = options.mount_target_domain.map(str::to_owned);
        std::fs::create_dir_all(&region.directory)
            .map_err(BedError::system("make the region's directory"))?;
        let region = Region::start(region)?;
        let mut bed = Self {
            nodes: Vec::new(),
            manager: Machine::new(
                "manager",
                String::new(),
                first_driver(options),
                directory.path().join("manager"),
                PathBuf::new(),
                PathBuf::new(),
            ),
            region: Some(region),
            parts,
            backends: options.backends.clone(),
            reaper: Some(reaper),
            options: options.clone(),
            directory,
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
        let equip = |instance: &InstanceDescription, name: &str| {
            let directory = self.directory.path().join(name);
            let machine = Machine::new(
                name,
                instance.id.clone(),
                first_driver(options),
                directory.clone(),
                instance.by_id.clone(),
                instance.sysfs.clone(),
            );
            let configuration = Configuration {
                region: &description,
                instance,
                directory: &directory,
                kubelet_root: &machine.kubelet(),
                extra_roots: &[],
                backends: &options.backends,
                flexvolume: &flexvolume_section(options, &names, &machine),
            };
            machine.equip(&configuration).map(|()| machine)
        };
        let mut nodes = Vec::new();
        if let Some(first) = description.instances.first() {
            self.manager = equip(first, "manager")?;
            template::fill(&self.manager, &self.content(None))?;
        }
        for (instance, (name, _)) in description.instances.iter().zip(&names) {
            let machine = equip(instance, name)?;
            machine.take_store(&self.manager.store())?;
            nodes.push(machine);
        }
        self.nodes = nodes;
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

    /// Has the cloud misbehave like this from now on, and always as the bed's options say.
    pub fn set_faults(&self, rules: Vec<FaultRule>) {
        self.region().set_faults(rules.into_iter().chain(self.options.faults.clone()).collect());
    }

    /// How the bed was made.
    pub fn options(&self) -> &BedOptions {
        &self.options
    }

    /// What the bed is made of.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Where everything is.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn content(&self, newer_disk: Option<&str>) -> Content {
        Content {
            parts: self.parts.clone(),
            backends: self.backends.clone(),
            newer_disk: newer_disk.map(str::to_owned),
        }
    }

    /// Gives every machine a second generation of the disk backend and makes it active. The bed
    /// was not changed before.
    ///
    /// # Errors
    /// When it cannot be built or installed.
    pub fn install_newer_disk(&self, suffix: &str) -> Result<(), BedError> {
        template::fill(&self.manager, &self.content(Some(suffix)))?;
        self.nodes.iter().try_for_each(|node| node.take_store(&self.manager.store()))
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

    /// Puts the FlexVolume drivers into every machine's plugin directory.
    ///
    /// # Errors
    /// What `wharf flexvolume install` said.
    pub fn install_flexvolume(&self) -> Result<(), BedError> {
        std::iter::once(&self.manager)
            .chain(&self.nodes)
            .try_for_each(|machine| machine.install_flexvolume(&self.parts))
    }

    /// A player whose sidecars talk to the controller's server, about disks.
    pub fn csi(&self) -> CsiPlayer {
        self.csi_of(CSI_DRIVER)
    }

    /// The same about the volumes of another driver.
    pub fn csi_of(&self, driver: &str) -> CsiPlayer {
        CsiPlayer::new(driver, self.manager.socket_of(driver))
    }

    /// A player of FlexVolume, about disks.
    pub fn flex(&self) -> FlexPlayer {
        self.flex_of(FLEX_DRIVER)
    }

    /// The same about the volumes of another driver.
    pub fn flex_of(&self, driver: &str) -> FlexPlayer {
        FlexPlayer::new(driver)
    }

    /// Mounts below the bed's directory.
    pub fn mounts(&self) -> Vec<MountLine> {
        mounts_below(self.directory.path())
    }

    /// Loop devices over the region's images: device and image.
    pub fn loops(&self) -> Vec<(PathBuf, PathBuf)> {
        loops_below(self.directory.path())
    }
}

fn first_driver(options: &BedOptions) -> &'static str {
    let is_first = |served: &&Served| options.backends.first() == Some(&served.backend);
    SERVED.iter().find(is_first).map_or(CSI_DRIVER, |served| served.driver)
}

/// What a machine's `[flexvolume]` has besides what all have.
fn flexvolume_section(
    options: &BedOptions,
    nodes: &[(String, String)],
    machine: &Machine,
) -> String {
    let nodes: Vec<_> = nodes.iter().map(|(name, id)| format!("{name} = {}", quoted(id))).collect();
    let mut section =
        format!("log-level = \"{}\"\nnodes = {{ {} }}\n", options.call_out_log, nodes.join(", "));
    if options.legacy_state {
        let legacy = quoted(&machine.legacy().to_string_lossy());
        section += &format!("legacy-state = {{ \"{FLEX_DRIVER}\" = {legacy} }}\n");
    }
    section
}

impl Drop for Bed {
    fn drop(&mut self) {
        for machine in std::iter::once(&self.manager).chain(&self.nodes) {
            machine.stop();
            machine.end_helpers();
        }
        mounts::unmount_below(self.directory.path());
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

//! `cargo xtask region`: a simulated region in the foreground, with every instance ready for the
//! real binary.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use wharf_cloudsim::{
    Delays, Devices, FaultRule, Policy, Quotas, RateLimits, Region, RegionOptions,
};
use wharf_testing::bed::Parts;

use crate::binary::{self, Company};
use crate::build_backends;
use crate::command::announce;
use crate::instance::{Equipment, prepare_instance};
use crate::signals::Ends;
use crate::workspace::Workspace;

/// Runs a simulated region on loopback until SIGINT, SIGTERM, SIGHUP or SIGQUIT.
///
/// Writes `DIR/region.json` (endpoints and keys) and, for every instance,
/// `DIR/<instance>/wharf.toml` and a store with the built components. Prints one line that begins
/// with `ready` when all of that is there. A later start over the same directory goes on where it
/// ended.
#[derive(Args)]
pub struct Options {
    /// Where the region lives: state, disk images, journal, one directory for each instance.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// How many instances (nodes).
    #[arg(long, value_name = "N", default_value_t = 2)]
    instances: usize,
    /// The region itself and nothing else: builds no binary, fills no store, writes no
    /// `wharf.toml`.
    #[arg(long)]
    bare: bool,
    /// Use the binary and the components that are built already.
    #[arg(long)]
    no_build: bool,
    /// Where staging and target paths will lie, for all instances [default: DIR/INSTANCE/kubelet].
    #[arg(long, value_name = "PATH")]
    kubelet_root: Option<PathBuf>,
    /// Make no loop devices: the API alone. Needed where not root.
    #[arg(long)]
    no_devices: bool,
    /// Faults from the start on: a JSON list of rules, as in the documentation of
    /// `wharf-cloudsim`.
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// `none`, `real`, or a JSON file: `{"default": {"calls": 300, "seconds": 60}, "actions":
    /// {"AttachDisk": {…}}}`.
    #[arg(long, value_name = "none|real|FILE", default_value = "none")]
    rate_limits: String,
    /// How many disks the account may have.
    #[arg(long, value_name = "N", default_value_t = Quotas::default().disks)]
    disk_quota: usize,
    /// How many snapshots a disk may have.
    #[arg(long, value_name = "N", default_value_t = Quotas::default().snapshots)]
    snapshot_quota: usize,
    /// How many file systems the account may have.
    #[arg(long, value_name = "N", default_value_t = Quotas::default().file_systems)]
    file_system_quota: usize,
    /// What every NAS mount target is called, with `{}` for what the cloud would put there before
    /// the region (`{}.nas.test`); without it as the cloud calls them, a name that resolves
    /// nowhere.
    #[arg(long, value_name = "NAME")]
    mount_target_domain: Option<String>,
    /// `CreateSnapshot` refuses a disk that no instance ever had, as the API reference says.
    #[arg(long)]
    snapshots_need_attachment: bool,
    /// Every new disk is `Creating` for a while, also an empty one of the ESSD family.
    #[arg(long)]
    every_disk_is_creating: bool,
    /// All but the metadata services speak TLS; `DIR/ca.pem` is the authority to trust.
    #[arg(long)]
    tls: bool,
    /// A RAM policy document for the instances' keys; without it they may do everything.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    delays: DelayOptions,
}

/// How long the asynchronous parts take.
#[derive(Args)]
struct DelayOptions {
    /// About what a real region takes, unless one is given below.
    #[arg(long)]
    real_delays: bool,
    /// `Creating` until `Available`.
    #[arg(long, value_name = "MS")]
    delay_create_ms: Option<u64>,
    /// `Attaching` until `In_use`.
    #[arg(long, value_name = "MS")]
    delay_attach_ms: Option<u64>,
    /// `In_use` until the node sees the device.
    #[arg(long, value_name = "MS")]
    delay_device_ms: Option<u64>,
    /// `Detaching` until `Available`.
    #[arg(long, value_name = "MS")]
    delay_detach_ms: Option<u64>,
    /// After attach and detach, until listings tell of them.
    #[arg(long, value_name = "MS")]
    delay_listing_ms: Option<u64>,
    /// Until a snapshot is ready.
    #[arg(long, value_name = "MS")]
    delay_snapshot_ms: Option<u64>,
    /// Until a change of category or performance level is done.
    #[arg(long, value_name = "MS")]
    delay_modify_ms: Option<u64>,
    /// NAS: until what is asked for is there, and until what is deleted is gone.
    #[arg(long, value_name = "MS")]
    delay_nas_ms: Option<u64>,
}

/// The command.
pub fn run(options: &Options) -> Result<ExitCode> {
    let region_options = options.for_region()?;
    let parts = options.parts()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before it starts, so that an early signal still frees its loop devices.
    let mut ends = runtime.block_on(async { Ends::listen() })?;
    announce(&format!(
        "starting a region with {} instances in {}",
        options.instances,
        options.dir.display()
    ));
    let region = Region::start(region_options)?;
    if let Some(Parts { wharf, components }) = &parts {
        prepare(
            &region,
            Equipment { wharf, components, kubelet_root: options.kubelet_root.as_deref() },
        )?;
    }
    let file = options.dir.join("region.json");
    println!(
        "ready: ECS at {}, everything else in {}",
        region.description().endpoints.ecs,
        file.display()
    );
    runtime.block_on(ends.next());
    announce("stopping the region");
    region.stop()?;
    Ok(ExitCode::SUCCESS)
}

fn prepare(region: &Region, equipment: Equipment) -> Result<()> {
    for instance in &region.description().instances {
        let config = prepare_instance(region.description(), instance, equipment)?;
        println!("    {} in {}: wharf --config {}", instance.id, instance.zone, config.display());
    }
    Ok(())
}

impl Options {
    /// What instances are made ready with.
    fn parts(&self) -> Result<Option<Parts>> {
        if self.bare {
            return Ok(None);
        }
        let workspace = Workspace::load()?;
        if self.no_build {
            return Ok(Some(Parts::in_target(&workspace.target)?));
        }
        Ok(Some(Parts {
            wharf: binary::build(&workspace, Company::Alone)?,
            components: build_backends::all(&workspace, None)?,
        }))
    }

    fn for_region(&self) -> Result<RegionOptions> {
        std::fs::create_dir_all(&self.dir)
            .with_context(|| format!("cannot create {}", self.dir.display()))?;
        let mut options = RegionOptions::new(self.dir.canonicalize()?);
        options.instances = self.instances;
        options.delays = self.delays.chosen();
        options.rate_limits = rate_limits(&self.rate_limits)?;
        options.faults =
            self.faults.as_deref().map_or(Ok(Vec::new()), read_json::<Vec<FaultRule>>)?;
        options.quotas = Quotas {
            disks: self.disk_quota,
            snapshots: self.snapshot_quota,
            file_systems: self.file_system_quota,
            ..Quotas::default()
        };
        options.mount_target_domain.clone_from(&self.mount_target_domain);
        options.snapshots_need_attachment = self.snapshots_need_attachment;
        options.every_disk_is_creating = self.every_disk_is_creating;
        options.tls = self.tls;
        options.policies.users = self.policy.as_deref().map(read_json::<Policy>).transpose()?;
        if self.no_devices {
            options.devices = Devices::Absent;
        }
        Ok(options)
    }
}

impl DelayOptions {
    fn chosen(&self) -> Delays {
        let base = if self.real_delays { Delays::real() } else { Delays::default() };
        Delays {
            create: self.delay_create_ms.unwrap_or(base.create),
            attach: self.delay_attach_ms.unwrap_or(base.attach),
            device: self.delay_device_ms.unwrap_or(base.device),
            detach: self.delay_detach_ms.unwrap_or(base.detach),
            listing: self.delay_listing_ms.unwrap_or(base.listing),
            snapshot: self.delay_snapshot_ms.unwrap_or(base.snapshot),
            modify: self.delay_modify_ms.unwrap_or(base.modify),
            nas: self.delay_nas_ms.unwrap_or(base.nas),
        }
    }
}

fn rate_limits(text: &str) -> Result<RateLimits> {
    match text {
        "none" => Ok(RateLimits::none()),
        "real" => Ok(RateLimits::real()),
        file => read_json(Path::new(file)),
    }
}

fn read_json<T: serde::de::DeserializeOwned>(file: &Path) -> Result<T> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("in {}", file.display()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(directory: &Path, more: &[&str]) -> Result<RegionOptions> {
        let first = ["region", "--dir", directory.to_str().unwrap()];
        Line::try_parse_from(first.iter().chain(more)).unwrap().options.for_region()
    }

    #[test]
    fn a_delay_that_is_given_wins_over_the_real_ones() {
        let directory = tempfile::tempdir().unwrap();
        let delays =
            parse(directory.path(), &["--real-delays", "--delay-attach-ms", "7"]).unwrap().delays;
        assert_eq!(delays, Delays { attach: 7, ..Delays::real() });
    }

    #[test]
    fn quotas_and_a_policy_are_settable() {
        let directory = tempfile::tempdir().unwrap();
        let policy = directory.path().join("policy.json");
        let document = r#"{ "Version": "1", "Statement": [
            { "Effect": "Allow", "Action": "ecs:*", "Resource": "*" }
        ] }"#;
        std::fs::write(&policy, document).unwrap();
        let more = ["--disk-quota", "3000", "--policy", policy.to_str().unwrap()];
        let options = parse(directory.path(), &more).unwrap();
        assert_eq!(options.quotas, Quotas { disks: 3000, ..Quotas::default() });
        assert_eq!(options.policies.users.unwrap().statement.len(), 1);
    }

    #[test]
    fn faults_and_rate_limits_come_from_files_and_a_broken_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let (faults, limits) =
            (directory.path().join("faults.json"), directory.path().join("limits.json"));
        std::fs::write(&faults, r#"[{"action": "AttachDisk", "fault": {"delay": {"ms": 5}}}]"#)
            .unwrap();
        std::fs::write(&limits, r#"{"default": {"calls": 1, "seconds": 2}}"#).unwrap();
        let (faults, limits) = (faults.to_str().unwrap(), limits.to_str().unwrap());
        let options =
            parse(directory.path(), &["--faults", faults, "--rate-limits", limits]).unwrap();
        assert_eq!(options.faults.len(), 1);
        assert_eq!(options.rate_limits.default.unwrap().seconds, 2);
        let error = parse(directory.path(), &["--faults", limits]).unwrap_err();
        assert!(format!("{error:#}").contains("limits.json"), "{error:#}");
    }
}

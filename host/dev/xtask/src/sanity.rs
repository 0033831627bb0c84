//! csi-sanity against the real binary and a simulated region: `cargo xtask sanity`, and a part of
//! `test` and `ci`.

pub mod report;
mod tool;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use wharf_cloudsim::{Fault, FaultRule, Region, RegionOptions};
use wharf_testing::bed::{self, Reaper};

use crate::binary::{self, Company};
use crate::build_backends;
use crate::command::announce;
use crate::deadline;
use crate::instance::{Equipment, prepare_instance};
use crate::packages;
use crate::supervise;
use crate::tally::Tally;
use crate::workspace::Workspace;

/// Runs csi-sanity: against `wharf` and a region of its own, or against any endpoint.
#[derive(Args)]
pub struct Options {
    /// A driver that runs already (`unix:///path/csi.sock`). Its paths will lie below the folder
    /// given with `--dir`.
    #[arg(long, value_name = "URL", requires = "dir")]
    endpoint: Option<String>,
    /// Where staging and target paths will lie.
    #[arg(long, value_name = "DIR", requires = "endpoint")]
    dir: Option<PathBuf>,
}

/// How volumes are used in a run. Both ways, because they share little on a node.
struct Access {
    word: &'static str,
    /// Fills a node with volumes up to its limit and tries one more: a minute, and the same for
    /// both ways.
    fills_a_node: bool,
}

const ACCESS_TYPES: [Access; 2] =
    [Access { word: "mount", fills_a_node: true }, Access { word: "block", fills_a_node: false }];

/// The same with a cloud that throttles every seventh request and drops every tenth answer after
/// doing what was asked.
const TROUBLED: Access = Access { word: "mount", fills_a_node: false };

/// The smallest disk that every category of the cloud has is 20 GiB; csi-sanity's default is half
/// of that.
const VOLUME_BYTES: u64 = 20 << 30;
const EXPANDED_BYTES: u64 = 25 << 30;

/// All runs together take about three minutes; the limit is for a driver that hangs.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// The command.
pub fn run(options: &Options) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    let tally = match (&options.endpoint, &options.dir) {
        (Some(endpoint), Some(dir)) => {
            let tool = tool::find_or_install(&workspace)?;
            check_all(&Subject {
                tool,
                endpoint: endpoint.clone(),
                folder: dir.clone(),
                until: Instant::now() + LIMIT,
            })?
        }
        _ => against_wharf(&workspace, Company::Alone)?,
    };
    tally.absences.iter().chain(&tally.skips).for_each(|skip| println!("skipped: {skip}"));
    tally.failures.iter().for_each(|failure| println!("FAILED: {failure}"));
    println!(
        "{} passed, {} failed, {} skipped",
        tally.passed(),
        tally.failures.len(),
        tally.skips.len() + tally.absences.len()
    );
    Ok(if tally.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The part of `test` and `ci`.
pub fn part(workspace: &Workspace) -> Result<Tally> {
    against_wharf(workspace, Company::Tests)
}

/// A fresh region and a fresh server for it, gone afterwards.
fn against_wharf(workspace: &Workspace, company: Company) -> Result<Tally> {
    if !packages::is_root() {
        return Ok(Tally::absent("csi-sanity has disks attached and mounted, which needs root"));
    }
    let tool = match tool::find_or_install(workspace) {
        Ok(tool) => tool,
        Err(error) => return Ok(Tally::absent(format!("{error:#}"))),
    };
    let components = build_backends::all(workspace, None)?;
    let wharf = binary::build(workspace, company)?;
    let folder = workspace.target.join("csi-sanity");
    clear(&folder)?;
    let reaper = Reaper::watch(&folder)?;
    let tally = against(tool, &wharf, &components, &folder);
    bed::unmount_below(&folder);
    reaper.dismiss();
    tally
}

/// With what has been built, in a folder that is taken care of.
fn against(tool: PathBuf, wharf: &Path, components: &Path, folder: &Path) -> Result<Tally> {
    announce("starting a region and the server for csi-sanity");
    let region = Region::start(RegionOptions::new(folder))?;
    let instance = region.description().instances.first().context("the region has no instance")?;
    let config = prepare_instance(
        region.description(),
        instance,
        Equipment { wharf, components, kubelet_root: None },
    )?;
    let home = config.parent().context("a configuration without a folder")?;
    let socket = home.join("sockets").join(bed::CSI_DRIVER).join("csi.sock");
    let server = Server::start(wharf, &config, folder)?;
    let until = Instant::now() + LIMIT.min(deadline::left());
    let subject = Subject {
        tool,
        endpoint: format!("unix://{}", socket.display()),
        folder: home.join("kubelet"),
        until,
    };
    let tally = check_all(&subject).and_then(|tally| check_troubled(&subject, &region, tally));
    let ended = server.stop();
    let mounts = bed::mounts_below(folder);
    bed::unmount_below(folder);
    region.stop()?;
    let mut tally = tally?;
    ended?;
    tally
        .failures
        .extend(mounts.iter().map(|mount| format!("a mount is left at {}", mount.at.display())));
    let devices = bed::loops_below(folder);
    tally.failures.extend(
        devices
            .iter()
            .map(|(device, image)| format!("{} of {} is left", device.display(), image.display())),
    );
    Ok(tally)
}

/// What an earlier run left would be found again: its disks, its store, its half-made mounts.
fn clear(folder: &Path) -> Result<()> {
    bed::unmount_below(folder);
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            bail!("cannot clear {} ({error})", folder.display())
        }
        _ => fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display())),
    }
}

/// What is checked, and with what.
struct Subject {
    tool: PathBuf,
    endpoint: String,
    folder: PathBuf,
    /// All runs together.
    until: Instant,
}

/// All access types, one after the other.
fn check_all(subject: &Subject) -> Result<Tally> {
    let mut all = Tally::default();
    for access in &ACCESS_TYPES {
        announce(&format!("csi-sanity with {} volumes", access.word));
        all.absorb(access.word, check(subject, access)?);
    }
    Ok(all)
}

/// A VolumeAttributesClass: another category than the one that disks get by default.
const MUTABLE: &str = r#"{ "type": "cloud_essd", "performanceLevel": "PL1" }"#;

/// With a cloud in trouble; nothing may fail, and nothing may be left in it.
fn check_troubled(subject: &Subject, region: &Region, mut all: Tally) -> Result<Tally> {
    announce("csi-sanity while the region throttles or leaves unanswered one request in ten");
    region.set_faults(vec![
        FaultRule::new("*", Fault::DropAnswer).every(15),
        // Not more often: whoever is refused whatever the pace, one request in twenty or more, is
        // slowed down to the longest distance, and the run would take ten minutes.
        FaultRule::new("*", Fault::Throttle).after(3).every(25),
    ]);
    all.absorb("mount, troubled cloud", check(subject, &TROUBLED)?);
    region.set_faults(Vec::new());
    let left: Vec<String> = region
        .disks()
        .into_iter()
        .map(|disk| format!("disk {} ({}) is left in the region", disk.id, disk.name))
        .collect();
    all.failures.extend(left);
    Ok(all)
}

/// One run. csi-sanity makes and removes the two folders itself, and insists on finding them empty.
fn check(subject: &Subject, access: &Access) -> Result<Tally> {
    let Subject { tool, endpoint, folder, until } = subject;
    let class = folder.join("csi-sanity-class.json");
    fs::write(&class, MUTABLE).with_context(|| format!("cannot write {}", class.display()))?;
    let report = folder.join(format!("csi-sanity-{}.json", access.word));
    let mut sanity = Command::new(tool);
    sanity
        .arg(format!("--csi.endpoint={endpoint}"))
        .arg(format!("--csi.mountdir={}", folder.join("sanity-target").display()))
        .arg(format!("--csi.stagingdir={}", folder.join("sanity-staging").display()))
        .arg(format!("--csi.testvolumesize={VOLUME_BYTES}"))
        .arg(format!("--csi.testvolumeexpandsize={EXPANDED_BYTES}"))
        .arg(format!("--csi.testvolumemutableparameters={}", class.display()))
        .arg(format!("--csi.testvolumeaccesstype={}", access.word))
        .arg(format!("--ginkgo.json-report={}", report.display()))
        .arg("--ginkgo.no-color");
    if access.fills_a_node {
        sanity.arg("--csi.testnodevolumeattachlimit");
    }
    // A failed check shows in the report; without a report the exit status says why.
    let status =
        supervise::run(&mut sanity, until.saturating_duration_since(Instant::now()), |_| {})?;
    let text = fs::read_to_string(&report)
        .with_context(|| format!("csi-sanity ended ({status}) without a report"))?;
    let tally = report::parse(&text)?;
    if !status.success() && tally.failures.is_empty() {
        bail!("csi-sanity failed ({status}) and its report does not say why");
    }
    Ok(tally)
}

/// A running `wharf csi`; killed if it is dropped without [`Server::stop`].
struct Server {
    child: Option<Child>,
    log: PathBuf,
}

impl Server {
    fn start(wharf: &Path, config: &Path, folder: &Path) -> Result<Self> {
        let log = folder.join("wharf.log");
        let file =
            fs::File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let mut server = Command::new(wharf);
        server
            .arg("--config")
            .arg(config)
            .args(["csi", "--role", "all"])
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        println!("    its log is {}", log.display());
        let child = server.spawn().context("cannot start the wharf binary")?;
        bed::note(folder, child.id());
        Ok(Self { child: Some(child), log })
    }

    /// It must have lived until now, and end by itself when asked.
    fn stop(mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if let Some(status) = child.try_wait()? {
            bail!("the server ended by itself ({status}); see {}", self.log.display());
        }
        let status = supervise::terminate(&mut child, Duration::from_secs(30))?;
        if !status.success() {
            bail!("the server ended badly ({status}); see {}", self.log.display());
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

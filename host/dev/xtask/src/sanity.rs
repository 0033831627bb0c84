//! csi-sanity against the real binary and a simulated region: `cargo xtask sanity`, and a part of
//! `test` and `ci`. What is checked of each driver stands in `drivers`, which checks need not run
//! in `skips`.

mod drivers;
pub mod report;
mod shares;
mod skips;
mod tool;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use wharf_cloudsim::{Fault, FaultRule, Region, RegionOptions};
use wharf_testing::bed::{self, Parts, Reaper};

use crate::binary::{self, Company};
use crate::build_backends;
use crate::command::announce;
use crate::deadline;
use crate::instance::{Equipment, prepare_instance};
use crate::packages;
use crate::supervise;
use crate::tally::Tally;
use crate::workspace::Workspace;

use self::drivers::{DISK, DRIVERS, Driver, Run};

/// Runs csi-sanity: against `wharf` and a region of its own, or against any endpoint.
#[derive(Args)]
pub struct Options {
    /// A driver of disks that runs already (`unix:///path/csi.sock`). Its paths will lie below the
    /// directory given with `--dir`.
    #[arg(long, value_name = "URL", requires = "dir")]
    endpoint: Option<String>,
    /// Where staging and target paths will lie.
    #[arg(long, value_name = "DIR", requires = "endpoint")]
    dir: Option<PathBuf>,
    /// Only this driver's volumes: `disks`, `buckets`, `shares`.
    #[arg(long, value_name = "VOLUMES", conflicts_with = "endpoint")]
    only: Option<String>,
    /// With `--only shares`: this csi-sanity, and what is built already.
    #[arg(long, value_name = "FILE", requires = "only")]
    tool: Option<PathBuf>,
}

/// All runs together take about four minutes; the limit is for a driver that hangs.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// How long an unmounted helper may take to end.
const SETTLED: Duration = Duration::from_secs(10);

/// The command.
pub fn run(options: &Options) -> Result<ExitCode> {
    if let (Some("shares"), Some(tool)) = (options.only.as_deref(), &options.tool) {
        return Ok(shares::here_or_there(tool)?.map_or(ExitCode::SUCCESS, |tally| say(&tally)));
    }
    let workspace = Workspace::load()?;
    let tally = match (&options.endpoint, &options.dir) {
        (Some(endpoint), Some(dir)) => {
            let tool = tool::find_or_install(&workspace)?;
            check_all(&Subject {
                driver: &DISK,
                tool: &tool,
                endpoint: endpoint.clone(),
                directory: dir,
                arguments: (DISK.arguments)(None, dir)?,
                until: Instant::now() + LIMIT,
            })?
        }
        _ => against_wharf(&workspace, Company::Alone, &chosen(options.only.as_deref())?)?,
    };
    Ok(say(&tally))
}

/// What came of it, in words and in the exit code.
fn say(tally: &Tally) -> ExitCode {
    tally.absences.iter().chain(&tally.skips).for_each(|skip| println!("skipped: {skip}"));
    tally.failures.iter().for_each(|failure| println!("FAILED: {failure}"));
    println!(
        "{} passed, {} failed, {} skipped",
        tally.passed(),
        tally.failures.len(),
        tally.skips.len() + tally.absences.len()
    );
    if tally.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The part of `test` and `ci`.
pub fn part(workspace: &Workspace) -> Result<Tally> {
    against_wharf(workspace, Company::Tests, &chosen(None)?)
}

fn chosen(only: Option<&str>) -> Result<Vec<&'static Driver>> {
    let is_chosen = |driver: &&Driver| only.is_none_or(|only| only == driver.volumes);
    let chosen: Vec<_> = DRIVERS.iter().filter(is_chosen).collect();
    ensure!(!chosen.is_empty(), "no driver has volumes of this name, see `--help`");
    Ok(chosen)
}

/// Fresh regions and fresh servers for them, gone afterwards.
fn against_wharf(workspace: &Workspace, company: Company, drivers: &[&Driver]) -> Result<Tally> {
    if !packages::is_root() {
        return Ok(Tally::absent("csi-sanity has disks attached and mounted, which needs root"));
    }
    let tool = match tool::find_or_install(workspace) {
        Ok(tool) => tool,
        Err(error) => return Ok(Tally::absent(format!("{error:#}"))),
    };
    let components = build_backends::all(workspace, None)?;
    let wharf = binary::build(workspace, company)?;
    let (of_nfs, others): (Vec<&Driver>, Vec<&Driver>) =
        drivers.iter().partition(|driver| driver.is_of_nfs);
    let mut tally = Tally::default();
    if !others.is_empty() {
        tally = in_this_kernel(workspace, &tool, &wharf, &components, &others)?;
    }
    if !of_nfs.is_empty() {
        tally.absorb("shares", shares::part(&tool, &Parts { wharf, components })?);
    }
    Ok(tally)
}

fn in_this_kernel(
    workspace: &Workspace,
    tool: &Path,
    wharf: &Path,
    components: &Path,
    drivers: &[&Driver],
) -> Result<Tally> {
    let directory = workspace.target.join("csi-sanity");
    clear(&directory)?;
    let reaper = Reaper::watch(&directory)?;
    let tally = against(tool, wharf, components, &directory, drivers);
    bed::unmount_below(&directory);
    reaper.dismiss();
    tally
}

/// With what has been built, in a directory that is taken care of.
fn against(
    tool: &Path,
    wharf: &Path,
    components: &Path,
    directory: &Path,
    drivers: &[&Driver],
) -> Result<Tally> {
    announce("starting a region and the server for csi-sanity");
    let region = Region::start(RegionOptions::new(directory))?;
    let instance = region.description().instances.first().context("the region has no instance")?;
    let config = prepare_instance(
        region.description(),
        instance,
        Equipment { wharf, components, kubelet_root: None },
    )?;
    let home = config.parent().context("a configuration without a directory")?;
    let server = Server::start(wharf, &config, directory)?;
    let until = Instant::now() + LIMIT.min(deadline::left());
    let tally = check_drivers(drivers, tool, home, &region, until);
    let ended = server.stop();
    let mounts = left_mounted(directory);
    bed::end_helpers(&home.join("mounts"));
    bed::unmount_below(directory);
    region.stop()?;
    let mut tally = tally?;
    ended?;
    tally
        .failures
        .extend(mounts.iter().map(|mount| format!("a mount is left at {}", mount.at.display())));
    let devices = bed::loops_below(directory);
    tally.failures.extend(
        devices
            .iter()
            .map(|(device, image)| format!("{} of {} is left", device.display(), image.display())),
    );
    Ok(tally)
}

/// A helper's private directory is taken away once the helper has ended.
fn left_mounted(directory: &Path) -> Vec<bed::MountLine> {
    let begun = Instant::now();
    loop {
        let mounts = bed::mounts_below(directory);
        if mounts.is_empty() || begun.elapsed() > SETTLED {
            return mounts;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What an earlier run left would be found again: its disks, its store, its half-made mounts.
fn clear(directory: &Path) -> Result<()> {
    bed::unmount_below(directory);
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            bail!("cannot clear {} ({error})", directory.display())
        }
        _ => fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display())),
    }
}

/// What is checked, and with what.
struct Subject<'a> {
    driver: &'a Driver,
    tool: &'a Path,
    endpoint: String,
    directory: &'a Path,
    /// What csi-sanity is told about this driver's volumes.
    arguments: Vec<String>,
    /// All runs together.
    until: Instant,
}

/// Every driver that one server serves, one after the other.
fn check_drivers(
    drivers: &[&Driver],
    tool: &Path,
    home: &Path,
    region: &Region,
    until: Instant,
) -> Result<Tally> {
    let directory = home.join("kubelet");
    let mut all = Tally::default();
    for driver in drivers {
        let socket = home.join("sockets").join(driver.name).join("csi.sock");
        let subject = Subject {
            driver,
            tool,
            endpoint: format!("unix://{}", socket.display()),
            directory: &directory,
            arguments: (driver.arguments)(Some(region), &directory)?,
            until,
        };
        let begun = Instant::now();
        let tally = check_all(&subject).and_then(|tally| check_troubled(&subject, region, tally));
        all.absorb(driver.volumes, tally?);
        println!("    {} took {:.0} s", driver.volumes, begun.elapsed().as_secs_f64());
    }
    Ok(all)
}

/// All ways to use a driver's volumes, one after the other.
fn check_all(subject: &Subject) -> Result<Tally> {
    let mut all = Tally::default();
    for run in subject.driver.runs {
        announce(&format!("csi-sanity: {}, {}", subject.driver.volumes, run.access));
        all.absorb(run.access, check(subject, run)?);
    }
    Ok(all)
}

/// With a cloud in trouble; nothing may fail, and nothing may be left in it.
fn check_troubled(subject: &Subject, region: &Region, mut all: Tally) -> Result<Tally> {
    announce(&format!(
        "csi-sanity: {}, while the region throttles or leaves unanswered one request in ten",
        subject.driver.volumes
    ));
    region.set_faults(vec![
        FaultRule::new("*", Fault::DropAnswer).every(15),
        // Not more often: whoever is refused whatever the pace, one request in twenty or more, is
        // slowed down to the longest distance, and the run would take ten minutes.
        FaultRule::new("*", Fault::Throttle).after(3).every(25),
    ]);
    let run = Run { access: "mount", fills_a_node: false };
    let checked = check(subject, &run);
    region.set_faults(Vec::new());
    all.absorb("mount, troubled cloud", checked?);
    all.failures.extend((subject.driver.left)(region));
    Ok(all)
}

/// One run. csi-sanity makes and removes the two directories itself, and insists on finding them
/// empty.
fn check(subject: &Subject, run: &Run) -> Result<Tally> {
    let Subject { driver, tool, endpoint, directory, arguments, until } = subject;
    let report = directory.join(format!("csi-sanity-{}.json", run.access));
    let mut sanity = Command::new(tool);
    sanity
        .arg(format!("--csi.endpoint={endpoint}"))
        .arg(format!("--csi.mountdir={}", directory.join("sanity-target").display()))
        .arg(format!("--csi.stagingdir={}", directory.join("sanity-staging").display()))
        .arg(format!("--csi.testvolumeaccesstype={}", run.access))
        .arg(format!("--ginkgo.json-report={}", report.display()))
        .arg("--ginkgo.no-color")
        .args(arguments);
    if run.fills_a_node {
        sanity.arg("--csi.testnodevolumeattachlimit");
    }
    // A failed check shows in the report; without a report the exit status says why.
    let status =
        supervise::run(&mut sanity, until.saturating_duration_since(Instant::now()), |_| {})?;
    let text = fs::read_to_string(&report)
        .with_context(|| format!("csi-sanity ended ({status}) without a report"))?;
    let tally = report::parse(&text, driver.skips)?;
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
    fn start(wharf: &Path, config: &Path, directory: &Path) -> Result<Self> {
        let log = directory.join("wharf.log");
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
        bed::note(directory, child.id());
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

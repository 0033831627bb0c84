//! Shares: mounting one and removing a tree, beside the bare system call and the programs that do
//! the same, and the memory of a server with many. Where this kernel has no NFS, all of it is
//! measured in a second one ([`nfs_machine`]); the ratios carry over, the times do not.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use wharf_testing::bed::{Bed, BedOptions, Machine, Parts};
use wharf_testing::configuration::SERVED;
use wharf_testing::nas_servers::NasServers;
use wharf_testing::nfs_machine;
use wharf_testing::player::{CsiNode, CsiPlayer, CsiVolume, FlexVolume, Retry, VolumeClass};

use super::heard::Heard;
use super::report::{Figure, Report, Row};
use crate::command;

const FLEX: &str = "alicloud/nas";
/// Of each way to mount, in turn, so that the machine's mood hits all alike.
const ROUNDS: usize = 40;
const FILES: usize = 10_000;
const VOLUMES: usize = 200;
/// Volumes after which the server has what it needs for any number.
const FIRST: usize = 20;
const GIB: u64 = 1 << 30;
/// Five minutes in user-mode Linux.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// What every mount here is given, by whomever.
const OPTIONS: &str = "vers=3,nolock,proto=tcp,rsize=1048576,wsize=1048576,hard,timeo=600,\
                       retrans=2,noresvport";

/// Runs this command in a machine with NFS; its output is the caller's.
pub fn elsewhere() -> Result<ExitCode> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    Ok(ExitCode::from(nfs_machine::again(&arguments, LIMIT)?))
}

/// Has them measured by another process, and takes its figures.
pub fn have_measured(parts: &Parts, report: &mut Report) -> Result<()> {
    let mut bench = Command::new("/proc/self/exe");
    bench.args(["bench", "--only", "shares", "--as-built", "--output", "json"]);
    bench.env("WHARF_BIN", &parts.wharf).env("WHARF_COMPONENTS", &parts.components);
    let printed = command::output(&mut bench)?;
    let json = printed.find('[').and_then(|start| printed.get(start..));
    let rows: Vec<Row> = serde_json::from_str(json.context("no figures were printed")?)
        .with_context(|| format!("these are no figures: {printed}"))?;
    rows.into_iter().for_each(|row| report.add_row(row));
    Ok(())
}

/// A bed with one file system of an administrator.
struct Place {
    csi: CsiPlayer,
    node: CsiNode,
    /// Of the server.
    address: String,
    /// As the cloud has it.
    files: PathBuf,
    /// For mounts that are nobody's volume.
    scratch: PathBuf,
    _servers: NasServers,
    bed: Bed,
}

/// Measures here.
pub fn measure(parts: &Parts, report: &mut Report) -> Result<()> {
    let place = Place::make(parts)?;
    place.mounts(report)?;
    place.removal(report)?;
    place.memory(report)
}

impl Place {
    fn make(parts: &Parts) -> Result<Self> {
        let options = BedOptions { nodes: 1, backends: vec!["nas"], ..BedOptions::default() };
        let bed = Bed::make_with(&options, parts.clone())?;
        bed.region().make_file_system()?;
        let system = bed.region().file_systems().into_iter().next();
        let system = system.context("no file system was made")?;
        let name = system.mount_targets.first().context("it has no mount target")?.clone();
        let mut servers = NasServers::begin(bed.directory())?;
        servers.follow(bed.region())?;
        bed.serve()?;
        bed.install_flexvolume()?;
        let driver = SERVED.iter().find(|served| served.backend == "nas");
        let driver = driver.context("there is no driver of shares")?;
        let csi = bed.csi_of(driver.driver).with_retry(Retry::never());
        let machine = bed.node(0);
        let socket = machine.socket_of(driver.driver);
        let node = csi.register(machine.name(), &socket, &machine.kubelet())?;
        let scratch = bed.directory().join("scratch");
        fs::create_dir(&scratch)?;
        let address = servers.of(&name).address().to_string();
        let files = system.directory;
        Ok(Self { csi, node, address, files, scratch, _servers: servers, bed })
    }

    fn volume(&self, name: &str) -> Result<CsiVolume> {
        let path = format!("/{name}");
        fs::create_dir_all(self.files.join(name))?;
        let mut volume = CsiVolume::of_handle(name, name, GIB, VolumeClass::share(&[]));
        // An address: names are resolved by nobody here.
        for (key, value) in
            [("server", self.address.as_str()), ("path", &path), ("options", OPTIONS)]
        {
            volume.context.insert(key.to_owned(), value.to_owned());
        }
        Ok(volume)
    }

    /// One mount at a time, so that each finds no connection to the server; and each call beside
    /// one that does nothing, by the same client: the floor of a call. A call-out that is repeated
    /// reads the configuration, loads the component and asks it, and finds the share mounted;
    /// `init` does nothing of that.
    fn mounts(&self, report: &mut Report) -> Result<()> {
        let volume = self.volume("bench")?;
        let source = format!("{}:/bench", self.address);
        let heard = Heard::default();
        let csi = self.csi.clone().with_audience(heard.audience());
        let flex = self.bed.flex_of(FLEX).with_retry(Retry::never());
        let (flex, node) = (flex.with_audience(heard.audience()), self.bed.node(0).flex_node());
        let options = [("server", self.address.as_str()), ("path", "/bench"), ("options", OPTIONS)];
        let share = FlexVolume::new("pv-bench", "", &options);
        let driver = flex.executable(&node);
        let mut taken: [Vec<f64>; 7] = Default::default();
        for _ in 0..ROUNDS {
            let bare = timed(|| self.bare_mount(&source))?;
            self.unmount()?;
            let program = timed(|| self.by_program(&source))?;
            self.unmount()?;
            csi.publish(&volume, &self.node, "pod", false)?;
            csi.unpublish(&volume, &self.node, "pod")?;
            let init = timed(|| command::output(Command::new(&driver).arg("init")).map(drop))?;
            flex.mount(&share, &node, "other")?;
            // kubelet would not: it looks first.
            let repeated = timed(|| {
                let mut driver = Command::new(&driver);
                driver.arg("mount").args(share.mount_arguments(&node, FLEX, "other"));
                command::output(&mut driver).map(drop)
            })?;
            flex.unmount(&share, &node, "other")?;
            let [asked, published, mounted] =
                ["NodeGetCapabilities", "NodePublishVolume", "mount"].map(|call| heard.last(call));
            let took = [bare, program, asked?, published?, init, mounted?, repeated];
            taken.iter_mut().zip(took).for_each(|(all, took)| all.push(took));
        }
        let [bare, program, asked, published, init, mounted, repeated] = taken.map(super::median);
        let mut add = |what, value, against, target| {
            report.add(Figure { what, value, unit: "ms", against, target });
        };
        let bare_mount = Some(("mount(2)", bare));
        add("mount.nfs", program, bare_mount, "-");
        add("an empty CSI call", asked, bare_mount, "-");
        add("an empty call-out (`init`)", init, bare_mount, "-");
        add("a call-out that finds the share mounted", repeated, bare_mount, "-");
        for (what, value, floor, against) in [
            ("NodePublishVolume of a share", published, asked, "1.5 × mount(2) and an empty call"),
            (
                "FlexVolume mount of a share",
                mounted,
                repeated,
                "1.5 × mount(2) and a repeated call",
            ),
        ] {
            add(what, value, Some((against, 1.5 * bare + floor)), "≤ 1");
            add("  beside the bare call", value, bare_mount, "-");
            add("  beside mount.nfs", value, Some(("mount.nfs", program)), "-");
        }
        let least = Some(("1.5 × mount(2) and `init`", 1.5 * bare + init));
        add("  FlexVolume, beside a call-out that asks no component", mounted, least, "-");
        Ok(())
    }

    fn bare_mount(&self, source: &str) -> Result<()> {
        let data = format!("{OPTIONS},addr={}", self.address);
        let data = std::ffi::CString::new(data)?;
        let flags = rustix::mount::MountFlags::empty();
        Ok(rustix::mount::mount(source, &self.scratch, "nfs", flags, data.as_c_str())?)
    }

    fn by_program(&self, source: &str) -> Result<()> {
        let mut mount = Command::new("mount.nfs");
        mount.arg(source).arg(&self.scratch).args(["-o", OPTIONS]);
        command::output(&mut mount).map(drop)
    }

    fn unmount(&self) -> Result<()> {
        Ok(rustix::mount::unmount(&self.scratch, rustix::mount::UnmountFlags::empty())?)
    }

    /// Two trees that are alike: one is removed with its volume, the other by hand.
    fn removal(&self, report: &mut Report) -> Result<()> {
        let server = format!("{}:/", self.address);
        let class = VolumeClass::share(&[("server", &server), ("archiveOnDelete", "false")]);
        let csi = self.csi.clone().with_retry(Retry::brisk(LIMIT));
        let volume = csi.provision("pvc-bench", GIB, &class)?;
        fill(&self.files.join("pvc-bench"))?;
        fill(&self.files.join("by-hand"))?;
        let ours = timed(|| Ok(csi.delete(&volume)?))?;
        self.bare_mount(&server)?;
        let theirs = timed(|| {
            let mut remove = Command::new("rm");
            command::output(remove.arg("-rf").arg(self.scratch.join("by-hand"))).map(drop)
        });
        self.unmount()?;
        report.add(Figure {
            what: "DeleteVolume of a tree of 10 000 files",
            value: ours / 1000.0,
            unit: "s",
            against: Some(("rm -rf on a mount", theirs? / 1000.0)),
            target: "≤ 1.5",
        });
        Ok(())
    }

    /// As pods come to a node, each with a share of its own, and are asked for their space.
    fn memory(&self, report: &mut Report) -> Result<()> {
        let volumes: Vec<CsiVolume> = (0..VOLUMES)
            .map(|number| self.volume(&format!("many-{number}")))
            .collect::<Result<_>>()?;
        let mut first = 0.0;
        for (number, volume) in volumes.iter().enumerate() {
            self.csi.publish(volume, &self.node, "pod", false)?;
            self.csi.stats(volume, &self.node, "pod")?;
            if number + 1 == FIRST {
                first = resident(self.bed.node(0))?;
            }
        }
        report.add(Figure {
            what: "memory of a node's server, 200 shares",
            value: resident(self.bed.node(0))?,
            unit: "MiB",
            against: Some(("20 shares", first)),
            target: "≤ 1.1",
        });
        volumes.iter().try_for_each(|volume| Ok(self.csi.unpublish(volume, &self.node, "pod")?))
    }
}

/// In milliseconds.
fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

/// In a hundred directories.
fn fill(directory: &Path) -> Result<()> {
    for number in 0..FILES {
        let below = directory.join((number % 100).to_string());
        fs::create_dir_all(&below)?;
        File::create(below.join(number.to_string()))?;
    }
    Ok(())
}

/// What the server has in memory.
fn resident(machine: &Machine) -> Result<f64> {
    let mib = super::memory_mib(machine.server_pid(), "VmRSS")?;
    ensure!(mib > 0.0, "the server has no memory");
    Ok(mib)
}

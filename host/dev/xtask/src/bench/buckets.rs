//! Buckets: staging a volume beside starting the same helper by hand, the memory of the supervisor,
//! how soon places are readable again after their helpers were killed, and reading through a mount
//! that was healed beside a fresh one.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use wharf_testing::bed::{Bed, BedOptions, Parts, mounts_below};
use wharf_testing::player::{Access, CsiNode, CsiPlayer, CsiVolume, VolumeClass};
use wharf_testing::snapshot::SHARED_BUCKET;

use super::heard::Heard;
use super::report::{Figure, Report};
use super::{KIB_IN_MIB, median, memory_kib};

const STAGE: &str = "NodeStageVolume";
const DRIVER: &str = "ossplugin.csi.alibabacloud.com";
/// Pairs of mounts that are timed.
const PAIRS: usize = 20;
/// Mounts at the same time, for the memory of each.
const MOUNTS: usize = 16;
/// Pairs of files that are read.
const READS: usize = 5;
/// Of such a file.
const MIB: usize = 48;
/// Mounts whose helpers are killed, and containers that look at each.
const HEALED: usize = 10;
const CONTAINERS: usize = 3;
/// So often.
const KILLS: usize = 100;
/// What takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of the supervisor's log: what ten healings write.
const LAST_LINES: usize = 400;
/// Between two looks meanwhile.
const GLANCE: Duration = Duration::from_millis(1);
/// The same, for each of seventy readers: they leave the processors to what they wait for.
const LOOK: Duration = Duration::from_millis(20);

/// What both, the volume and whoever starts `s3fs` by hand, pass to it.
const OPTIONS: [&str; 4] =
    ["use_path_request_style", "allow_other", "listobjectsv2", "dbglevel=warn"];

/// Makes a bed of its own and adds its figures.
pub fn measure(parts: &Parts, report: &mut Report) -> Result<()> {
    let options = BedOptions { nodes: 1, backends: vec!["oss"], ..BedOptions::default() };
    let bed = Bed::make_with(&options, parts.clone())?;
    bed.serve()?;
    bed.region().make_bucket(SHARED_BUCKET)?;
    bed.region().put_object(SHARED_BUCKET, "large", &vec![7; MIB << 20])?;
    let machine = bed.node(0);
    let csi = bed.csi_of(DRIVER);
    let node = csi.register(machine.name(), &machine.socket_of(DRIVER), &machine.kubelet())?;
    let scene = Scene { bed: &bed, csi, node };
    scene.stages(report)?;
    scene.memory(report)?;
    scene.reads(report)?;
    scene.heals(report)
}

struct Scene<'a> {
    bed: &'a Bed,
    csi: CsiPlayer,
    node: CsiNode,
}

impl Scene<'_> {
    fn stages(&self, report: &mut Report) -> Result<()> {
        let volume = self.volume(0);
        let heard = Heard::default();
        let csi = self.csi.clone().with_audience(heard.audience());
        let (mut staged, mut repeated, mut started) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            csi.stage(&volume, &self.node)?;
            staged.push(heard.last(STAGE)?);
            csi.stage(&volume, &self.node)?;
            repeated.push(heard.last(STAGE)?);
            csi.unstage(&volume, &self.node)?;
            let (helper, took) = ByHand::start(self.bed)?;
            started.push(took.as_secs_f64() * 1e3);
            helper.unmount()?;
        }
        report.add(Figure {
            what: "OSS NodeStageVolume, p50",
            value: median(staged),
            unit: "ms",
            against: Some(("s3fs started by hand", median(started))),
            target: "≤ 1.2 ×",
        });
        report.add(Figure {
            what: "  of it what it costs to ask, where it is staged",
            value: median(repeated),
            unit: "ms",
            against: None,
            target: "-",
        });
        Ok(())
    }

    fn memory(&self, report: &mut Report) -> Result<()> {
        let without = self.supervisor_kib("RssAnon")?;
        let volumes: Vec<_> = (0..MOUNTS).map(|n| self.volume(n)).collect();
        volumes.iter().try_for_each(|volume| self.csi.stage(volume, &self.node))?;
        let (with, resident) = (self.supervisor_kib("RssAnon")?, self.supervisor_kib("VmRSS")?);
        volumes.iter().try_for_each(|volume| self.csi.unstage(volume, &self.node))?;
        for (what, value, unit, target) in [
            ("supervisor's own memory, no mount", without / KIB_IN_MIB, "MiB", "≤ 3 MiB"),
            ("  more for each mount", (with - without) / MOUNTS as f64, "KiB", "≤ 64 KiB"),
            ("  resident with 16 mounts, program file included", resident / KIB_IN_MIB, "MiB", "-"),
        ] {
            report.add(Figure { what, value, unit, against: None, target });
        }
        Ok(())
    }

    fn reads(&self, report: &mut Report) -> Result<()> {
        let volume = self.volume(0);
        let large = volume.staging(&self.node, DRIVER).join("large");
        let (mut fresh, mut healed) = (Vec::new(), Vec::new());
        for _ in 0..READS {
            self.csi.stage(&volume, &self.node)?;
            fresh.push(read(&large)?);
            let killed = self.bed.node(0).kill_helpers();
            ensure!(killed.len() == 1, "there are {} helpers", killed.len());
            until("the mount is healed", || File::open(&large).is_ok() && self.is_at_rest())?;
            healed.push(read(&large)?);
            self.csi.unstage(&volume, &self.node)?;
        }
        report.add(Figure {
            what: "reading through a healed mount, p50",
            value: median(healed),
            unit: "MiB/s",
            against: Some(("through a fresh one", median(fresh))),
            target: "1 ×",
        });
        Ok(())
    }

    /// All helpers are killed at once, and a file is read in each place: where it is staged and in
    /// containers, where a part of the volume is read only.
    fn heals(&self, report: &mut Report) -> Result<()> {
        self.bed.region().put_object(SHARED_BUCKET, "part/file", b"whole")?;
        let volumes: Vec<_> = (0..HEALED).map(|n| self.volume(n)).collect();
        let (mut containers, mut places) = (Vec::new(), Vec::new());
        for (n, volume) in volumes.iter().enumerate() {
            self.csi.stage(volume, &self.node)?;
            let staging = volume.staging(&self.node, DRIVER);
            places.push(staging.join("part/file"));
            for m in 0..CONTAINERS {
                let root = self.bed.directory().join(format!("container-{n}-{m}"));
                let container = Container::start(&staging, &root)?;
                let inside = |place: &str| container.path(&root.join(place));
                places.extend([inside("whole/part/file"), inside("part/file")]);
                containers.push(container);
            }
        }
        // As pods read: all at the same time.
        let read_all = || -> Result<f64> {
            let begun = Instant::now();
            let can_read = |place: &Path| std::fs::read(place).is_ok_and(|text| text == b"whole");
            super::together(places.iter(), |place| {
                until_each(LOOK, "every place is read", || can_read(place))
                    .with_context(|| self.told(place))
            })?;
            Ok(begun.elapsed().as_secs_f64())
        };
        read_all()?;
        let (mut took, mut undisturbed) = (Vec::new(), Vec::new());
        for _ in 0..KILLS {
            until("all helpers run", || {
                self.bed.node(0).helpers().len() == HEALED && self.is_at_rest()
            })?;
            undisturbed.push(read_all()?);
            let begun = Instant::now();
            let killed = self.bed.node(0).kill_helpers();
            ensure!(killed.len() == HEALED, "there are {} helpers", killed.len());
            read_all()?;
            took.push(begun.elapsed().as_secs_f64());
        }
        until("nobody is at work", || self.is_at_rest())?;
        drop(containers);
        volumes.iter().try_for_each(|volume| self.csi.unstage(volume, &self.node))?;
        let longest = took.iter().copied().fold(0.0, f64::max);
        let undisturbed = Some(("nothing was killed", median(undisturbed)));
        for (what, value, against, target) in [
            ("10 helpers killed, 70 places read again, p50", median(took), undisturbed, "-"),
            ("  the longest of 100 times", longest, None, "≤ 2 s"),
        ] {
            report.add(Figure { what, value, unit: "s", against, target });
        }
        Ok(())
    }

    /// As an administrator writes it; its keys come with the staging.
    fn volume(&self, n: usize) -> CsiVolume {
        let region = self.bed.region().description();
        let class = VolumeClass { access: Access::ManyNodes, ..VolumeClass::file_system("", &[]) };
        let name = format!("pv-bench-{n}");
        let mut volume = CsiVolume::of_handle(&name, &name, 1 << 30, class);
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        volume.context = [
            ("bucket", SHARED_BUCKET),
            ("url", region.endpoints.oss.as_str()),
            ("fuseType", "s3fs"),
            ("otherOpts", &format!("-o {}", OPTIONS.join(","))),
        ]
        .map(owned)
        .into();
        volume.stage_secret = [
            ("akId", region.admin.access_key_id.as_str()),
            ("akSecret", region.admin.access_key_secret.as_str()),
        ]
        .map(owned)
        .into();
        volume
    }

    /// Whether every mount is served and nobody is at work on one.
    fn is_at_rest(&self) -> bool {
        let arguments = ["mounts", "list", "--output", "json"];
        let Ok(listed) = self.bed.node(0).run(self.bed.parts(), &arguments) else { return false };
        let mounts: Vec<Value> = serde_json::from_str(&listed.stdout).unwrap_or_default();
        !mounts.is_empty()
            && mounts
                .iter()
                .all(|mount| mount.get("condition").and_then(Value::as_str) == Some("serving"))
    }

    /// For whoever has to find out why a place was not healed: what is read there, how the mounts
    /// are, and the end of what the supervisor wrote.
    fn told(&self, place: &Path) -> String {
        let read = std::fs::read(place).map(|text| format!("{} bytes", text.len()));
        let machine = self.bed.node(0);
        let listed = machine.run(self.bed.parts(), &["mounts", "list", "--output", "json"]);
        let listed = listed.map(|ran| ran.stdout);
        let log = std::fs::read_to_string(machine.helper_mounts().join("supervisor.log"));
        let log = log.unwrap_or_default();
        let skipped = log.lines().count().saturating_sub(LAST_LINES);
        let last: Vec<_> = log.lines().skip(skipped).collect();
        let place = place.display();
        format!("{place}: {read:?}\nmounts: {listed:?}\nsupervisor:\n{}", last.join("\n"))
    }

    /// A line of the supervisor's `status`.
    fn supervisor_kib(&self, name: &str) -> Result<f64> {
        let pid = self.bed.node(0).supervisor_pid().context("there is no supervisor")?;
        memory_kib(pid, name)
    }
}

/// A process in a private mount namespace, as a container runtime makes one.
struct Container(Child);

impl Container {
    /// Shows a volume at `whole`, and its directory `part` to be read only at `part`.
    fn start(staging: &Path, root: &Path) -> Result<Self> {
        std::fs::create_dir_all(root)?;
        let script = format!(
            "set -e; mount -t tmpfs box {root}; mkdir {root}/whole {root}/part; \
             mount --bind {staging} {root}/whole; mount -o bind,ro {staging}/part {root}/part; \
             umount -l {staging}; echo ready; exec sleep 86400",
            root = root.display(),
            staging = staging.display(),
        );
        let mut child = Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start unshare")?;
        let mut ready = [0; 6];
        let stdout = child.stdout.take().context("a container has no output")?;
        let container = Self(child);
        { stdout }.read_exact(&mut ready).context("a container did not start")?;
        Ok(container)
    }

    /// A path as its processes see it.
    fn path(&self, path: &Path) -> PathBuf {
        let inside = path.strip_prefix("/").unwrap_or(path);
        Path::new("/proc").join(self.0.id().to_string()).join("root").join(inside)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `s3fs` as one starts it without Wharf.
struct ByHand {
    helper: Child,
    mountpoint: PathBuf,
}

impl ByHand {
    /// Until its mount answers; and how long that took from the start of the program.
    fn start(bed: &Bed) -> Result<(Self, Duration)> {
        let region = bed.region().description();
        let (mountpoint, keys) = (bed.directory().join("by-hand"), bed.directory().join("passwd"));
        std::fs::create_dir_all(&mountpoint)?;
        let text = format!("{}:{}", region.admin.access_key_id, region.admin.access_key_secret);
        std::fs::write(&keys, text)?;
        command("chmod", &["600".as_ref(), keys.as_os_str()])?;
        let begun = Instant::now();
        let helper = Command::new("s3fs")
            .arg(SHARED_BUCKET)
            .arg(&mountpoint)
            .arg("-f")
            .arg(format!("-ourl={}", region.endpoints.oss))
            .args(OPTIONS.map(|option| format!("-o{option}")))
            .arg(format!("-opasswd_file={}", keys.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start s3fs")?;
        let started = Self { helper, mountpoint };
        until("s3fs has mounted", || {
            let mounts = mounts_below(&started.mountpoint);
            !mounts.is_empty() && std::fs::read_dir(&started.mountpoint).is_ok()
        })?;
        let took = begun.elapsed();
        Ok((started, took))
    }

    fn unmount(mut self) -> Result<()> {
        command("umount", &[self.mountpoint.as_os_str()])?;
        self.helper.wait()?;
        Ok(())
    }
}

fn command(program: &str, arguments: &[&std::ffi::OsStr]) -> Result<()> {
    let status = Command::new(program).args(arguments).status()?;
    ensure!(status.success(), "{program} failed ({status})");
    Ok(())
}

/// How fast a whole file is read.
fn read(path: &Path) -> Result<f64> {
    let begun = Instant::now();
    let (mut file, mut buffer) = (File::open(path)?, vec![0; 1 << 20]);
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => bytes += count,
        }
    }
    ensure!(bytes == MIB << 20, "{} has {bytes} bytes", path.display());
    Ok(MIB as f64 / begun.elapsed().as_secs_f64())
}

fn until(what: &str, is_so: impl FnMut() -> bool) -> Result<()> {
    until_each(GLANCE, what, is_so)
}

fn until_each(pause: Duration, what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !is_so() {
        ensure!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(pause);
    }
    Ok(())
}

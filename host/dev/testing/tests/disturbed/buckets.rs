//! The life of a bucket of a claim's own over CSI, mounted by `s3fs` and deleted with its object:
//! the server killed at each of its positions, and the supervisor at each of its own.
//!
//! Requests are disturbed where the backend makes them; those of the helper are the helper's.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use wharf_testing::bed::{Bed, BedOptions, Machine, is_dead};
use wharf_testing::player::{Access, CsiNode, CsiPlayer, CsiVolume, PlayError, VolumeClass};
use wharf_testing::trace::{Attached, Moment};

use super::csi::is_of_the_controller;
use super::kind::{Kind, Swap};
use super::life::{Life, Lives, retry};
use super::pod::{Found, use_volume};
use super::server::{self, stage};

pub const DRIVER: &str = "ossplugin.csi.alibabacloud.com";
const POD: &str = "pod";
const READER: &str = "reader";
/// How long the end of an unmounted helper is waited for.
const ENDED: Duration = Duration::from_secs(30);

/// See above.
pub struct BucketLife;

impl Lives for BucketLife {
    type On<'a> = OneLife<'a>;

    const KINDS: &'static [Kind] = &[
        Kind::AnswerLost,
        Kind::RequestLost,
        Kind::KilledBeforeRequest,
        Kind::KilledAfterRequest,
        Kind::Killed,
        Kind::SupervisorKilled,
    ];

    fn bed() -> BedOptions {
        BedOptions { nodes: 1, backends: vec!["oss"], ..BedOptions::default() }
    }
}

pub struct OneLife<'a> {
    bed: &'a Bed,
    csi: CsiPlayer,
    node: CsiNode,
    name: String,
    volume: Option<CsiVolume>,
}

impl<'a> Life<'a> for OneLife<'a> {
    const VERBS: &'static [&'static str] = &[
        "create",
        "attach",
        "stage",
        "publish",
        "publish to read",
        "unpublish to read",
        "unpublish",
        "unstage",
        "detach",
        "delete",
    ];

    fn prepare(bed: &Bed) {
        bed.serve().unwrap();
    }

    fn has(verb: &str, kind: Kind) -> bool {
        match kind {
            Kind::SupervisorKilled => matches!(verb, "stage" | "unstage"),
            kind if kind.is_of_the_cloud() => matches!(verb, "create" | "delete"),
            _ => true,
        }
    }

    fn begin(bed: &'a Bed, number: usize) -> Self {
        let csi = bed.csi_of(DRIVER).with_retry(retry());
        let node = bed.node(0);
        // As a service manager does.
        keep_a_supervisor(bed, node);
        let node = csi.register(node.name(), &node.socket(), &node.kubelet()).unwrap();
        Self { bed, csi, node, name: format!("pvc-life-{number:04}"), volume: None }
    }

    fn perform(&mut self, verb: &str) -> Result<(), PlayError> {
        if verb == "create" {
            self.volume = Some(self.create()?);
            return Ok(());
        }
        let (csi, node) = (&self.csi, &self.node);
        let Some(volume) = &mut self.volume else { return Ok(()) };
        match verb {
            "attach" => csi.attach(volume, node),
            "stage" => csi.stage(volume, node),
            "publish" => csi
                .publish(volume, node, POD, false)
                .map(|target| use_volume(&target.join("data"), Found::Empty)),
            "publish to read" => csi
                .publish(volume, node, READER, true)
                .map(|target| use_volume(&target.join("data"), Found::ReadOnly)),
            "unpublish to read" => csi.unpublish(volume, node, READER),
            "unpublish" => csi.unpublish(volume, node, POD),
            "unstage" => csi.unstage(volume, node),
            "detach" => csi.detach(volume, node),
            "delete" => csi.delete(volume),
            other => panic!("{other} is no verb"),
        }
    }

    fn disturb(&mut self, verb: &str, kind: Kind, at: usize) -> Result<Option<String>, PlayError> {
        let bed = self.bed;
        let machine = if is_of_the_controller(verb) { bed.manager() } else { bed.node(0) };
        if kind == Kind::SupervisorKilled {
            let moment = kind.moment(at, Swap::of(bed, machine));
            return while_the_supervisor_is_killed(bed, moment, || {
                let performed = self.perform(verb);
                self.settle();
                performed
            });
        }
        server::disturb(bed, machine, kind, at, || self.perform(verb))
    }

    fn settle(&self) {
        let Some(volume) = &self.volume else { return };
        await_no_helper(self.bed, &volume.staging(&self.node, self.csi.driver()));
    }

    fn was_skipped(&self) -> bool {
        false
    }

    fn end(&mut self) -> Result<(), PlayError> {
        let (csi, node) = (&self.csi, &self.node);
        let Some(volume) = &self.volume else { return Ok(()) };
        csi.unpublish(volume, node, READER)?;
        csi.end_pod(volume, node, POD)?;
        csi.delete(volume)
    }

    fn names(&self) -> Vec<(String, String)> {
        let mut names = vec![(self.name.clone(), "NAME".to_owned())];
        if let Some(volume) = &self.volume {
            let staging = volume.staging(&self.node, self.csi.driver());
            let digest = staging.parent().and_then(|directory| directory.file_name()).unwrap();
            names.insert(0, (digest.to_string_lossy().into_owned(), "DIGEST".to_owned()));
        }
        names
    }
}

impl OneLife<'_> {
    fn create(&self) -> Result<CsiVolume, PlayError> {
        let region = self.bed.region().description();
        let parameters = [
            ("volumeAs", "bucket"),
            ("deleteObjects", "true"),
            ("url", region.endpoints.oss.as_str()),
            ("fuseType", "s3fs"),
            ("otherOpts", "-o use_path_request_style -o stat_cache_expire=0"),
        ];
        let class = VolumeClass::file_system("", &parameters);
        let class = VolumeClass { access: Access::ManyNodes, ..class };
        let mut volume = self.csi.provision(&self.name, 1 << 30, &class)?;
        let keys = &region.admin;
        volume.stage_secret =
            [("akId", &keys.access_key_id), ("akSecret", &keys.access_key_secret)]
                .map(|(name, value)| (name.to_owned(), value.clone()))
                .into();
        Ok(volume)
    }
}

/// Does something while the supervisor of the first node is killed at a moment. The helper goes on
/// without it, and another supervisor follows.
pub fn while_the_supervisor_is_killed(
    bed: &Bed,
    moment: Moment,
    perform: impl FnOnce() -> Result<(), PlayError>,
) -> Result<Option<String>, PlayError> {
    let machine = bed.node(0);
    let pid = machine.supervisor_pid().unwrap();
    let attached =
        Attached::to(pid, moment).map_err(|error| stage("trace the supervisor", &error))?;
    let result = perform();
    // Whoever was not killed is: the tracer goes with it.
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    let traced = attached.wait().map_err(|error| stage("trace the supervisor", &error))?;
    keep_a_supervisor(bed, machine);
    result?;
    Ok(traced.last_reached())
}

/// The supervisor takes away what a helper had once that has ended, after its mount is gone.
pub fn await_no_helper(bed: &Bed, mounted: &Path) {
    let begun = Instant::now();
    let is_mounted = || bed.mounts().iter().any(|mount| mount.at == mounted);
    let records = bed.node(0).state().join("mounts");
    let has_records = || std::fs::read_dir(&records).is_ok_and(|mut all| all.next().is_some());
    let is_tended = || bed.node(0).supervisor_pid().is_some();
    while !is_mounted() && has_records() && is_tended() && begun.elapsed() < ENDED {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Supervisors that were started here and have to be waited for.
static STARTED: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Starts a supervisor where none runs, and waits until it answers.
pub fn keep_a_supervisor(bed: &Bed, machine: &Machine) {
    // A tracer may have had its status before.
    // Only those that are dead are waited for: of one that another thread traces, `wait` would take
    // the stops that its tracer waits for.
    STARTED
        .lock()
        .unwrap()
        .retain_mut(|child| !is_dead(child.id().cast_signed()) || child.wait().is_err());
    if machine.supervisor_pid().is_none() {
        let mut serve = Command::new(&bed.parts().wharf);
        serve.args(["mounts", "serve", "--run"]).arg(machine.helper_mounts());
        serve.arg("--state").arg(machine.state());
        serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        STARTED.lock().unwrap().push(serve.spawn().unwrap());
    }
    let socket = machine.helper_mounts().join("supervisor.sock");
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        std::thread::sleep(Duration::from_millis(2));
    }
}

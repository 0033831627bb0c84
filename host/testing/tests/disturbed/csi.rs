//! A volume's life over CSI: two servers, one of the controller and one of the node, and XFS, which every machine may grow while it is mounted.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use wharf_testing::bed::{Bed, Machine};
use wharf_testing::player::retry::OnFinal;
use wharf_testing::player::{CsiNode, CsiPlayer, CsiVolume, PlayError, Retry, VolumeClass};
use wharf_testing::trace::Attached;

use super::kind::{Kind, Swap};
use super::life::{Life, Lives};

const GIB: u64 = 1 << 30;
const POD: &str = "pod";

pub struct CsiLife;

impl Lives for CsiLife {
    type On<'a> = OneLife<'a>;
}

pub struct OneLife<'a> {
    bed: &'a Bed,
    csi: CsiPlayer,
    nodes: Vec<CsiNode>,
    name: String,
    volume: Option<CsiVolume>,
}

impl<'a> Life<'a> for OneLife<'a> {
    const VERBS: &'static [&'static str] = &[
        "create",
        "attach",
        "stage",
        "publish",
        "expand controller",
        "expand node",
        "unpublish",
        "unstage",
        "detach",
        "attach elsewhere",
        "stage elsewhere",
        "publish elsewhere",
        "unpublish elsewhere",
        "unstage elsewhere",
        "detach elsewhere",
        "delete",
    ];

    fn prepare(bed: &Bed) {
        let newer = bed.parts().newer_disk("next").unwrap();
        bed.manager().install(bed.parts(), &newer).unwrap();
        bed.nodes().iter().for_each(|node| node.take_store(&bed.manager().store()).unwrap());
        bed.serve().unwrap();
    }

    fn has(verb: &str, kind: Kind) -> bool {
        is_of_the_controller(verb) == kind.is_of_the_cloud()
    }

    fn begin(bed: &'a Bed, number: usize) -> Self {
        // As in Kubernetes, final failures are repeated too: an orphaned helper may hold a mount for a moment.
        let retry =
            Retry { first: Duration::from_millis(2), longest: Duration::from_millis(50), within: Duration::from_secs(20), on_final: OnFinal::Repeat };
        let csi = bed.csi().with_retry(retry);
        let nodes = bed.nodes().iter().map(|node| csi.register(node.name(), &node.socket(), &node.kubelet()).unwrap()).collect();
        Self { bed, csi, nodes, name: format!("pvc-life-{number:04}"), volume: None }
    }

    fn perform(&mut self, verb: &str) -> Result<(), PlayError> {
        let elsewhere = verb.ends_with(" elsewhere");
        let node = &self.nodes[usize::from(elsewhere)];
        let verb = verb.trim_end_matches(" elsewhere");
        if verb == "create" {
            let class = VolumeClass::file_system("xfs", &[("type", "cloud_auto")]);
            self.volume = Some(self.csi.provision(&self.name, GIB, &class)?);
            return Ok(());
        }
        let Some(volume) = &mut self.volume else { return Ok(()) };
        match verb {
            "attach" => self.csi.attach(volume, node),
            "stage" => self.csi.stage(volume, node),
            "publish" => self.csi.publish(volume, node, POD, false).map(|target| use_volume(&target.join("data"), elsewhere)),
            "expand controller" => self.csi.expand_controller(volume, 2 * GIB).map(drop),
            "expand node" => {
                self.csi.expand_node(volume, node, POD, 2 * GIB)?;
                use_volume(&volume.target(node, POD).join("data"), true);
                Ok(())
            }
            "unpublish" => self.csi.unpublish(volume, node, POD),
            "unstage" => self.csi.unstage(volume, node),
            "detach" => self.csi.detach(volume, node),
            "delete" => self.csi.delete(volume),
            other => panic!("{other} is no verb"),
        }
    }

    fn disturb(&mut self, verb: &str, kind: Kind, at: usize) -> Result<Option<String>, PlayError> {
        let bed = self.bed;
        let machine = if is_of_the_controller(verb) { bed.manager() } else { bed.node(usize::from(verb.ends_with(" elsewhere"))) };
        let swap = Swap::of(bed, machine);
        if kind.is_of_the_cloud() {
            let pid = machine.server_pid();
            let (result, reached) = kind.at_request(bed, at, || pid, &swap, || self.perform(verb));
            result?;
            return Ok(reached.then(|| "request".to_owned()));
        }
        let pid = machine.server_pid();
        let attached = Attached::to(pid, kind.moment(at, swap)).map_err(|error| stage("trace the server", &error))?;
        let result = self.perform(verb);
        // Whoever was not killed is: the tracer goes with it.
        let traced = end(machine, pid, attached)?;
        result?;
        Ok(traced.reached.then(|| traced.positions.last().map(|position| format!("{position:?}")).unwrap_or_default()))
    }

    fn was_skipped(&self) -> bool {
        // Over CSI, kubelet always asks.
        false
    }

    fn end(&mut self) -> Result<(), PlayError> {
        let Some(volume) = &self.volume else { return Ok(()) };
        for node in &self.nodes {
            self.csi.end_pod(volume, node, POD)?;
        }
        self.csi.delete(volume)
    }

    fn names(&self) -> Vec<(String, String)> {
        let mut names = vec![(self.name.clone(), "NAME".to_owned())];
        if let Some(volume) = &self.volume {
            let staging = volume.staging(&self.nodes[0], self.csi.driver());
            let digest = staging.parent().and_then(|folder| folder.file_name()).unwrap().to_string_lossy().into_owned();
            names.insert(0, (digest, "DIGEST".to_owned()));
            names.push((volume.handle.clone(), "DISK".to_owned()));
            names.push((volume.handle.trim_start_matches("d-").to_owned(), "SERIAL".to_owned()));
        }
        names
    }
}

fn is_of_the_controller(verb: &str) -> bool {
    let verb = verb.trim_end_matches(" elsewhere");
    matches!(verb, "create" | "attach" | "expand controller" | "detach" | "delete")
}

fn end(machine: &Machine, pid: i32, attached: Attached) -> Result<wharf_testing::trace::Traced, PlayError> {
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    let traced = attached.wait().map_err(|error| stage("trace the server", &error))?;
    machine.wait_for_server(pid).map_err(|error| stage("wait for the server", &error))?;
    Ok(traced)
}

fn stage(what: &str, why: &impl std::fmt::Display) -> PlayError {
    PlayError::Stage { what: what.to_owned(), why: why.to_string() }
}

/// The pod writes, or finds what it wrote.
pub fn use_volume(file: &std::path::Path, written: bool) {
    if written {
        assert_eq!(std::fs::read_to_string(file).unwrap(), "content");
        return;
    }
    std::fs::write(file, "content").unwrap();
}

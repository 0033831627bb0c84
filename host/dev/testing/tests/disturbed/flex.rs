//! A volume's life over FlexVolume: a process for each call-out. The disk itself comes and goes by
//! CSI, undisturbed.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex};

use wharf_testing::bed::Bed;
use wharf_testing::player::flex::{Disturbance, Sizes};
use wharf_testing::player::{
    CsiPlayer, CsiVolume, Event, FlexNode, FlexPlayer, FlexVolume, Happening, PlayError,
    VolumeClass,
};
use wharf_testing::trace::{self, Moment, Traced};

use super::csi::{Found, use_volume};
use super::kind::{Kind, Swap};
use super::life::{Life, Lives, install_next, retry};

const GIB: u64 = 1 << 30;
const POD: &str = "pod";

/// With ext4, which not every machine may grow while it is mounted: everything but growth.
pub struct FlexLife;

/// With XFS: growth.
pub struct FlexGrowth;

impl Lives for FlexLife {
    type On<'a> = OneLife<'a, false>;
}

impl Lives for FlexGrowth {
    type On<'a> = OneLife<'a, true>;
}

pub struct OneLife<'a, const GROWS: bool> {
    bed: &'a Bed,
    flex: FlexPlayer,
    csi: CsiPlayer,
    manager: FlexNode,
    nodes: Vec<FlexNode>,
    disk: CsiVolume,
    volume: FlexVolume,
    device: String,
    /// Where Kubernetes has it attached: it never detaches what it knows to be detached.
    attached: [bool; 2],
    skipped: Arc<AtomicBool>,
}

impl<'a, const GROWS: bool> Life<'a> for OneLife<'a, GROWS> {
    const VERBS: &'static [&'static str] = &[
        "attach",
        "waitforattach",
        "mountdevice",
        "mount",
        "expandfs",
        "unmount",
        "unmountdevice",
        "detach",
        "attach elsewhere",
        "waitforattach elsewhere",
        "mountdevice elsewhere",
        "mount elsewhere",
        "unmount elsewhere",
        "unmountdevice elsewhere",
        "detach elsewhere",
    ];

    fn prepare(bed: &Bed) {
        install_next(bed);
        bed.install_flexvolume().unwrap();
        bed.manager().serve("controller", bed.parts()).unwrap();
    }

    fn has(verb: &str, _kind: Kind) -> bool {
        (verb == "expandfs") == GROWS
    }

    fn begin(bed: &'a Bed, number: usize) -> Self {
        let csi = bed.csi();
        let class = VolumeClass::file_system("ext4", &[("type", "cloud_auto")]);
        let disk = csi.provision(&format!("pvc-life-{number:04}"), GIB, &class).unwrap();
        let volume = FlexVolume::new(
            &format!("pv-life-{number:04}"),
            if GROWS { "xfs" } else { "ext4" },
            &[("volumeId", &disk.handle)],
        );
        let nodes = bed.nodes().iter().map(wharf_testing::bed::Machine::flex_node).collect();
        let skipped: Arc<AtomicBool> = Arc::default();
        let heard = Arc::clone(&skipped);
        let audience = Arc::new(move |event: &Event| {
            heard.fetch_or(matches!(event.happening, Happening::Skipped { .. }), Ordering::SeqCst);
        });
        Self {
            bed,
            flex: bed.flex().with_retry(retry()).with_audience(audience),
            csi,
            manager: bed.manager().flex_node(),
            nodes,
            disk,
            volume,
            device: String::new(),
            attached: [false; 2],
            skipped,
        }
    }

    fn perform(&mut self, verb: &str) -> Result<(), PlayError> {
        let flex = self.flex.clone();
        self.perform_by(&flex, verb)
    }

    fn disturb(&mut self, verb: &str, kind: Kind, at: usize) -> Result<Option<String>, PlayError> {
        let bed = self.bed;
        let elsewhere = verb.ends_with(" elsewhere");
        let call = verb.trim_end_matches(" elsewhere").to_owned();
        let machine = if matches!(call.as_str(), "attach" | "detach") {
            bed.manager()
        } else {
            bed.node(usize::from(elsewhere))
        };
        let swap = Swap::of(bed, machine);
        if kind.is_of_the_cloud() {
            let pid = Arc::new(AtomicI32::new(0));
            let flex = self.flex.clone().with_disturbance(noting_the_process(&pid));
            let (result, reached) = kind.at_request(
                bed,
                at,
                || pid.load(Ordering::SeqCst),
                &swap,
                || self.perform_by(&flex, verb),
            );
            result?;
            return Ok(reached.then(|| "request".to_owned()));
        }
        let traced = Arc::new(Mutex::new(Traced::default()));
        let flex = self.flex.clone().with_disturbance(tracing_the_first(
            &call,
            kind.moment(at, swap),
            &traced,
        ));
        self.perform_by(&flex, verb)?;
        let traced = traced.lock().unwrap().clone();
        Ok(traced.reached.then(|| {
            traced.positions.last().map(|position| format!("{position:?}")).unwrap_or_default()
        }))
    }

    fn was_skipped(&self) -> bool {
        self.skipped.load(Ordering::SeqCst)
    }

    fn end(&mut self) -> Result<(), PlayError> {
        for (node, attached) in self.nodes.iter().zip(self.attached) {
            self.flex.unmount(&self.volume, node, POD)?;
            self.flex.unmount_device(&self.volume, node)?;
            if attached {
                self.flex.detach(&self.volume, &self.manager, node)?;
            }
        }
        self.csi.delete(&self.disk)
    }

    fn names(&self) -> Vec<(String, String)> {
        vec![
            (self.disk.name.clone(), "CLAIM".to_owned()),
            (self.volume.name.clone(), "NAME".to_owned()),
            (self.disk.handle.clone(), "DISK".to_owned()),
            (self.disk.handle.trim_start_matches("d-").to_owned(), "SERIAL".to_owned()),
        ]
    }
}

impl<const GROWS: bool> OneLife<'_, GROWS> {
    fn perform_by(&mut self, flex: &FlexPlayer, verb: &str) -> Result<(), PlayError> {
        let elsewhere = verb.ends_with(" elsewhere");
        let node = &self.nodes[usize::from(elsewhere)];
        let volume = &self.volume;
        self.skipped.store(false, Ordering::SeqCst);
        match verb.trim_end_matches(" elsewhere") {
            "attach" => {
                self.attached[usize::from(elsewhere)] = true;
                self.device = flex.attach(volume, &self.manager, node)?;
            }
            "waitforattach" => self.device = flex.wait_for_attach(volume, node, &self.device)?,
            "mountdevice" => flex.mount_device(volume, node, &self.device)?,
            "mount" => use_volume(
                &flex.mount(volume, node, POD)?.join("data"),
                if elsewhere { Found::Written } else { Found::Empty },
            ),
            "expandfs" if !GROWS => {}
            "expandfs" => {
                flex.expand_fs(volume, node, &self.device, POD, Sizes { new: 2 * GIB, old: GIB })?;
                use_volume(
                    &volume.pod_mount(node, flex.driver(), POD).join("data"),
                    Found::Written,
                );
            }
            "unmount" => flex.unmount(volume, node, POD)?,
            "unmountdevice" => flex.unmount_device(volume, node)?,
            "detach" => {
                flex.detach(volume, &self.manager, node)?;
                self.attached[usize::from(elsewhere)] = false;
            }
            other => panic!("{other} is no verb"),
        }
        Ok(())
    }
}

fn noting_the_process(pid: &Arc<AtomicI32>) -> Disturbance {
    let pid = Arc::clone(pid);
    Arc::new(move |mut command: Command| {
        let mut child = command.spawn()?;
        drop(command);
        pid.store(i32::try_from(child.id()).unwrap(), Ordering::SeqCst);
        child.wait()
    })
}

/// Only the first call of that name is traced; what follows repeats it.
fn tracing_the_first(call: &str, moment: Moment, traced: &Arc<Mutex<Traced>>) -> Disturbance {
    let (call, moment, traced) = (call.to_owned(), Mutex::new(Some(moment)), Arc::clone(traced));
    Arc::new(move |mut command: Command| {
        let is_it = command.get_args().next().is_some_and(|word| word == call.as_str());
        let Some(moment) = is_it.then(|| moment.lock().unwrap().take()).flatten() else {
            return command.status();
        };
        let result = trace::run(command, moment)?;
        let status = result
            .code
            .map_or_else(|| ExitStatus::from_raw(9), |code| ExitStatus::from_raw(code << 8));
        *traced.lock().unwrap() = result;
        Ok(status)
    })
}

//! A volume's life over FlexVolume: a process for each call-out. The disk itself comes and goes by
//! CSI, undisturbed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wharf_testing::bed::Bed;
use wharf_testing::player::flex::Sizes;
use wharf_testing::player::{
    CsiPlayer, CsiVolume, Event, FlexNode, FlexPlayer, FlexVolume, Happening, PlayError,
    VolumeClass,
};

use super::call_out;
use super::kind::Kind;
use super::life::{Life, Lives, install_next, retry};
use super::pod::{Found, use_volume};

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
        let flex = self.flex.clone();
        call_out::disturb(bed, machine, &call, kind, at, |disturb| {
            self.perform_by(&flex.clone().with_disturbance(disturb), verb)
        })
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

//! The life of a volume over FlexVolume: a process for each call-out. Whose volume it is, and which
//! verbs it has, its [`Flex`] says.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wharf_testing::bed::{Bed, BedOptions, Machine};
use wharf_testing::player::flex::Sizes;
use wharf_testing::player::{Event, FlexNode, FlexPlayer, FlexVolume, Happening, PlayError};

use super::call_out;
use super::claim::GIB;
use super::kind::Kind;
use super::life::{Life, Lives, retry};
use super::pod::{Found, use_volume};

const POD: &str = "pod";

/// One kind of volume, and what is there of it besides its name and options.
pub trait Flex: Sized + 'static {
    const DRIVER: &'static str;
    /// The verbs in order; ` elsewhere` is on the second node.
    const VERBS: &'static [&'static str];
    /// What disturbs it.
    const KINDS: &'static [Kind] = Kind::ALL;
    /// How many beds there are at once.
    const BEDS: usize = 8;
    /// How beds are made.
    fn bed() -> BedOptions;
    /// Readies a bed for many lives, besides installing the drivers.
    fn prepare(bed: &Bed);
    /// Whether a verb has positions at all.
    fn has(_verb: &str) -> bool {
        true
    }
    /// What is there when a life begins, and its volume.
    fn begin(bed: &Bed, number: usize) -> (Self, FlexVolume);
    /// Does a verb, disturbed at a position.
    fn disturb(
        life: &mut FlexLife<'_, Self>,
        machine: &Machine,
        verb: &str,
        kind: Kind,
        at: usize,
    ) -> Result<Option<String>, PlayError> {
        life.disturb_call_out(machine, verb, kind, at)
    }
    /// Waits for what follows a verb that has been answered.
    fn settle(_life: &FlexLife<'_, Self>) {}
    /// What has to be so of what a pod finds mounted.
    fn mounted(_at: &Path) {}
    /// Takes away what is left when the volume is neither mounted nor attached.
    fn end(&self, _bed: &Bed, _name: &str) -> Result<(), PlayError> {
        Ok(())
    }
    /// Names that differ from life to life, besides the volume's, and words that stand for them.
    fn names(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// The lives of a kind of volume.
pub struct FlexLives<F>(std::marker::PhantomData<F>);

impl<F: Flex> Lives for FlexLives<F> {
    type On<'a> = FlexLife<'a, F>;
    const BEDS: usize = F::BEDS;
    const KINDS: &'static [Kind] = F::KINDS;

    fn bed() -> BedOptions {
        F::bed()
    }
}

pub struct FlexLife<'a, F> {
    pub bed: &'a Bed,
    flex: FlexPlayer,
    manager: FlexNode,
    nodes: Vec<FlexNode>,
    what: F,
    volume: FlexVolume,
    device: String,
    /// Where Kubernetes has it attached: it never detaches what it knows to be detached.
    attached: [bool; 2],
    skipped: Arc<AtomicBool>,
}

impl<'a, F: Flex> Life<'a> for FlexLife<'a, F> {
    const VERBS: &'static [&'static str] = F::VERBS;

    fn prepare(bed: &Bed) {
        F::prepare(bed);
        bed.install_flexvolume().unwrap();
    }

    fn has(verb: &str, _kind: Kind) -> bool {
        F::has(verb)
    }

    fn begin(bed: &'a Bed, number: usize) -> Self {
        let (what, volume) = F::begin(bed, number);
        let skipped: Arc<AtomicBool> = Arc::default();
        let heard = Arc::clone(&skipped);
        let audience = Arc::new(move |event: &Event| {
            heard.fetch_or(matches!(event.happening, Happening::Skipped { .. }), Ordering::SeqCst);
        });
        Self {
            bed,
            flex: bed.flex_of(F::DRIVER).with_retry(retry()).with_audience(audience),
            manager: bed.manager().flex_node(),
            nodes: bed.nodes().iter().map(Machine::flex_node).collect(),
            what,
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
        let machine = if verb.starts_with("attach") || verb.starts_with("detach") {
            bed.manager()
        } else {
            bed.node(usize::from(verb.ends_with(" elsewhere")))
        };
        F::disturb(self, machine, verb, kind, at)
    }

    fn settle(&self) {
        F::settle(self);
    }

    fn was_skipped(&self) -> bool {
        self.skipped.load(Ordering::SeqCst)
    }

    fn end(&mut self) -> Result<(), PlayError> {
        for (node, attached) in self.nodes.iter().zip(self.attached) {
            self.flex.unmount(&self.volume, node, POD)?;
            if F::VERBS.contains(&"mountdevice") {
                self.flex.unmount_device(&self.volume, node)?;
            }
            if attached {
                self.flex.detach(&self.volume, &self.manager, node)?;
            }
        }
        self.what.end(self.bed, &self.volume.name)
    }

    fn names(&self) -> Vec<(String, String)> {
        let mut names = self.what.names();
        names.push((self.volume.name.clone(), "NAME".to_owned()));
        names
    }
}

impl<F: Flex> FlexLife<'_, F> {
    /// Where the pod of the first node has it.
    pub fn pod_mount(&self) -> std::path::PathBuf {
        self.volume.pod_mount(&self.nodes[0], F::DRIVER, POD)
    }

    /// Does a verb while its call-out is disturbed at a position.
    pub fn disturb_call_out(
        &mut self,
        machine: &Machine,
        verb: &str,
        kind: Kind,
        at: usize,
    ) -> Result<Option<String>, PlayError> {
        let (bed, flex) = (self.bed, self.flex.clone());
        let call = verb.trim_end_matches(" elsewhere");
        call_out::disturb(bed, machine, call, kind, at, |disturb| {
            self.perform_by(&flex.with_disturbance(disturb), verb)
        })
    }

    fn perform_by(&mut self, flex: &FlexPlayer, verb: &str) -> Result<(), PlayError> {
        let is_elsewhere = verb.ends_with(" elsewhere");
        let node = &self.nodes[usize::from(is_elsewhere)];
        let attached = &mut self.attached[usize::from(is_elsewhere)];
        let volume = &self.volume;
        self.skipped.store(false, Ordering::SeqCst);
        match verb.trim_end_matches(" elsewhere") {
            "attach" => {
                *attached = true;
                self.device = flex.attach(volume, &self.manager, node)?;
            }
            "waitforattach" => self.device = flex.wait_for_attach(volume, node, &self.device)?,
            "mountdevice" => flex.mount_device(volume, node, &self.device)?,
            "mount" => {
                let mounted = flex.mount(volume, node, POD)?;
                F::mounted(&mounted);
                let found = if is_elsewhere { Found::Written } else { Found::Empty };
                use_volume(&mounted.join("data"), found);
            }
            "expandfs" if !F::has("expandfs") => {}
            "expandfs" => {
                flex.expand_fs(volume, node, &self.device, POD, Sizes { new: 2 * GIB, old: GIB })?;
                let mounted = volume.pod_mount(node, F::DRIVER, POD);
                use_volume(&mounted.join("data"), Found::Written);
            }
            "unmount" => flex.unmount(volume, node, POD)?,
            "unmountdevice" => flex.unmount_device(volume, node)?,
            "detach" => {
                flex.detach(volume, &self.manager, node)?;
                *attached = false;
            }
            other => panic!("{other} is no verb"),
        }
        Ok(())
    }
}

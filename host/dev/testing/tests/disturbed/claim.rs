//! The life of a claim over CSI: made, mounted by pods, grown and deleted, the servers of controller
//! and node disturbed on the way. What its class is, and which verbs it has, its [`Claim`] says.

use std::marker::PhantomData;
use std::path::Path;

use wharf_testing::bed::{Bed, BedOptions, Machine};
use wharf_testing::player::{CsiNode, CsiPlayer, CsiVolume, PlayError, VolumeClass};

use super::kind::Kind;
use super::life::{Life, Lives, retry};
use super::pod::{Found, use_volume};
use super::server;

pub const GIB: u64 = 1 << 30;
const POD: &str = "pod";
const READER: &str = "reader";

/// One kind of claim.
pub trait Claim: Sized + 'static {
    const DRIVER: &'static str;
    /// The verbs in order; ` elsewhere` is on the second node.
    const VERBS: &'static [&'static str];
    /// What disturbs it.
    const KINDS: &'static [Kind] = Kind::ALL;
    /// What a VolumeAttributesClass makes of it.
    const ATTRIBUTES: &'static [(&'static str, &'static str)] = &[];
    /// How many beds there are at once.
    const BEDS: usize = 8;
    /// How beds are made.
    fn bed() -> BedOptions;
    /// Readies a bed for many lives.
    fn prepare(bed: &Bed) {
        bed.serve().unwrap();
    }
    /// Whether a verb has positions of this kind at all.
    fn has(_verb: &str, _kind: Kind) -> bool {
        true
    }
    /// Readies a bed for the next life.
    fn begin(_bed: &Bed) {}
    /// Its StorageClass and its size.
    fn class(bed: &Bed) -> (VolumeClass, u64);
    /// What is done with it as soon as it is there.
    fn created(_bed: &Bed, _volume: &mut CsiVolume) {}
    /// What a pod does with what it was given.
    fn use_target(target: &Path, found: Found) {
        use_volume(&target.join("data"), found);
    }
    /// What has to be so once it is deleted.
    fn deleted(_bed: &Bed, _name: &str) {}
    /// Does a verb, disturbed at a position.
    fn disturb(
        life: &mut ClaimLife<'_, Self>,
        machine: &Machine,
        verb: &str,
        kind: Kind,
        at: usize,
    ) -> Result<Option<String>, PlayError> {
        let bed = life.bed;
        server::disturb(bed, machine, kind, at, || life.perform(verb))
    }
    /// Waits for what follows a verb that has been answered.
    fn settle(_life: &ClaimLife<'_, Self>) {}
    /// Takes away what the deletion of the claim leaves.
    fn end(_bed: &Bed, _name: &str) {}
    /// Names that differ from life to life, besides the claim's, and words that stand for them.
    fn names(_life: &ClaimLife<'_, Self>) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// The lives of a kind of claim.
pub struct ClaimLives<C>(PhantomData<C>);

impl<C: Claim> Lives for ClaimLives<C> {
    type On<'a> = ClaimLife<'a, C>;
    const BEDS: usize = C::BEDS;
    const KINDS: &'static [Kind] = C::KINDS;

    fn bed() -> BedOptions {
        C::bed()
    }
}

pub struct ClaimLife<'a, C> {
    pub bed: &'a Bed,
    csi: CsiPlayer,
    nodes: Vec<CsiNode>,
    name: String,
    pub volume: Option<CsiVolume>,
    claim: PhantomData<C>,
}

impl<C: Claim> ClaimLife<'_, C> {
    /// Where the first node stages it.
    pub fn staging(&self) -> Option<std::path::PathBuf> {
        Some(self.volume.as_ref()?.staging(&self.nodes[0], self.csi.driver()))
    }

    /// The name of the directory that kubelet makes for that, and the word that stands for it.
    pub fn digest(&self) -> Option<(String, String)> {
        let staging = self.staging()?;
        let digest = staging.parent().and_then(Path::file_name).unwrap().to_string_lossy();
        Some((digest.into_owned(), "DIGEST".to_owned()))
    }
}

impl<'a, C: Claim> Life<'a> for ClaimLife<'a, C> {
    const VERBS: &'static [&'static str] = C::VERBS;

    fn prepare(bed: &Bed) {
        C::prepare(bed);
    }

    fn has(verb: &str, kind: Kind) -> bool {
        C::has(verb, kind)
    }

    fn begin(bed: &'a Bed, number: usize) -> Self {
        C::begin(bed);
        let csi = bed.csi_of(C::DRIVER).with_retry(retry());
        let register =
            |node: &Machine| csi.register(node.name(), &node.socket(), &node.kubelet()).unwrap();
        let is_mounted = C::VERBS.contains(&"publish");
        let nodes = bed.nodes().iter().filter(|_| is_mounted).map(register).collect();
        let name = format!("pvc-life-{number:04}");
        Self { bed, csi, nodes, name, volume: None, claim: PhantomData }
    }

    fn perform(&mut self, verb: &str) -> Result<(), PlayError> {
        let csi = &self.csi;
        if verb == "create" {
            let (class, bytes) = C::class(self.bed);
            let mut volume = csi.provision(&self.name, bytes, &class)?;
            C::created(self.bed, &mut volume);
            self.volume = Some(volume);
            return Ok(());
        }
        let Some(volume) = &mut self.volume else { return Ok(()) };
        let is_elsewhere = verb.ends_with(" elsewhere");
        let node = || &self.nodes[usize::from(is_elsewhere)];
        match verb.trim_end_matches(" elsewhere") {
            "attach" => csi.attach(volume, node()),
            "stage" => csi.stage(volume, node()),
            "publish" => csi.publish(volume, node(), POD, false).map(|target| {
                C::use_target(&target, if is_elsewhere { Found::Written } else { Found::Empty });
            }),
            "publish to read" => csi
                .publish(volume, node(), READER, true)
                .map(|target| C::use_target(&target, Found::ReadOnly)),
            "expand controller" => csi.expand_controller(volume, 2 * GIB).map(drop),
            "expand node" => {
                csi.expand_node(volume, node(), POD, 2 * GIB)?;
                C::use_target(&volume.target(node(), POD), Found::Written);
                Ok(())
            }
            "modify" => csi.modify(volume, C::ATTRIBUTES),
            "unpublish to read" => csi.unpublish(volume, node(), READER),
            "unpublish" => csi.unpublish(volume, node(), POD),
            "unstage" => csi.unstage(volume, node()),
            "detach" => csi.detach(volume, node()),
            "delete" => csi.delete(volume).map(|()| C::deleted(self.bed, &self.name)),
            other => panic!("{other} is no verb"),
        }
    }

    fn disturb(&mut self, verb: &str, kind: Kind, at: usize) -> Result<Option<String>, PlayError> {
        let bed = self.bed;
        let machine = if is_of_the_controller(verb) {
            bed.manager()
        } else {
            bed.node(usize::from(verb.ends_with(" elsewhere")))
        };
        C::disturb(self, machine, verb, kind, at)
    }

    fn settle(&self) {
        C::settle(self);
    }

    /// Over CSI, kubelet and the sidecars always ask.
    fn was_skipped(&self) -> bool {
        false
    }

    fn end(&mut self) -> Result<(), PlayError> {
        let Some(volume) = &self.volume else { return Ok(()) };
        for node in &self.nodes {
            self.csi.unpublish(volume, node, READER)?;
            self.csi.unpublish(volume, node, POD)?;
            if C::VERBS.contains(&"stage") {
                self.csi.unstage(volume, node)?;
                self.csi.detach(volume, node)?;
            }
        }
        self.csi.delete(volume)?;
        C::end(self.bed, &self.name);
        Ok(())
    }

    fn names(&self) -> Vec<(String, String)> {
        C::names(self).into_iter().chain([(self.name.clone(), "NAME".to_owned())]).collect()
    }
}

/// Whether the controller does it, and no node.
pub fn is_of_the_controller(verb: &str) -> bool {
    let verb = verb.trim_end_matches(" elsewhere");
    matches!(verb, "create" | "attach" | "expand controller" | "modify" | "detach" | "delete")
}

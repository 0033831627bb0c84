//! The life of a directory of file storage: over CSI one that a StorageClass makes, over FlexVolume
//! one that an administrator wrote down. For a machine with an NFS server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use wharf_testing::bed::{Bed, BedOptions};
use wharf_testing::nas_servers::NasServers;
use wharf_testing::player::{
    CsiNode, CsiPlayer, CsiVolume, Event, FlexNode, FlexPlayer, FlexVolume, Happening, PlayError,
    VolumeClass,
};

use super::kind::Kind;
use super::life::{Life, Lives, retry};
use super::pod::{Found, use_volume};
use super::{call_out, server};

const CSI: &str = "nasplugin.csi.alibabacloud.com";
const FLEX: &str = "alicloud/nas";
const GIB: u64 = 1 << 30;
const POD: &str = "pod";
const READER: &str = "reader";

/// Over CSI.
pub struct CsiLife;

/// Over FlexVolume.
pub struct FlexLife;

impl Lives for CsiLife {
    type On<'a> = OneCsiLife<'a>;
    /// There is one table of names in the machine.
    const BEDS: usize = 1;

    fn bed() -> BedOptions {
        BedOptions { backends: vec!["nas"], ..BedOptions::default() }
    }
}

impl Lives for FlexLife {
    type On<'a> = OneFlexLife<'a>;
    const BEDS: usize = 1;

    fn bed() -> BedOptions {
        BedOptions { backends: vec!["nas"], ..BedOptions::default() }
    }
}

/// The servers of the bed that there is.
static SERVERS: Mutex<Option<NasServers>> = Mutex::new(None);

/// Makes a file system with a directory for volumes, and its server.
fn prepare(bed: &Bed) {
    let mut servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
    *servers = None;
    bed.region().make_file_system().unwrap();
    std::fs::create_dir(bed.region().file_systems()[0].directory.join("k8s")).unwrap();
    let mut here = NasServers::begin(bed.folder()).unwrap();
    here.follow(bed.region()).unwrap();
    *servers = Some(here);
}

/// The name of the file system's mount target.
fn server_of(bed: &Bed) -> String {
    bed.region().file_systems()[0].mount_targets[0].clone()
}

/// A swap of backends is the same whatever they are for.
fn is_here(kind: Kind) -> bool {
    !matches!(kind, Kind::SwappedAtCall | Kind::SwappedAtRequest)
}

pub struct OneCsiLife<'a> {
    bed: &'a Bed,
    csi: CsiPlayer,
    nodes: Vec<CsiNode>,
    name: String,
    volume: Option<CsiVolume>,
}

impl<'a> Life<'a> for OneCsiLife<'a> {
    const VERBS: &'static [&'static str] = &[
        "create",
        "publish",
        "publish to read elsewhere",
        "expand controller",
        "unpublish to read elsewhere",
        "unpublish",
        "delete",
    ];

    fn prepare(bed: &Bed) {
        prepare(bed);
        bed.serve().unwrap();
    }

    fn has(_verb: &str, kind: Kind) -> bool {
        is_here(kind)
    }

    fn begin(bed: &'a Bed, number: usize) -> Self {
        let csi = bed.csi_of(CSI).with_retry(retry());
        let register = |node: &wharf_testing::bed::Machine| {
            csi.register(node.name(), &node.socket_of(CSI), &node.kubelet()).unwrap()
        };
        let nodes = bed.nodes().iter().map(register).collect();
        Self { bed, csi, nodes, name: format!("pvc-life-{number:04}"), volume: None }
    }

    fn perform(&mut self, verb: &str) -> Result<(), PlayError> {
        let (here, elsewhere) = (&self.nodes[0], &self.nodes[1]);
        if verb == "create" {
            let server = format!("{}:/k8s", server_of(self.bed));
            let class = VolumeClass::share(&[
                ("server", &server),
                ("volumeCapacity", "true"),
                ("archiveOnDelete", "false"),
                ("mode", "770"),
            ]);
            self.volume = Some(self.csi.provision(&self.name, GIB, &class)?);
            return Ok(());
        }
        let Some(volume) = &mut self.volume else { return Ok(()) };
        match verb {
            "publish" => {
                let target = self.csi.publish(volume, here, POD, false)?;
                use_volume(&target.join("data"), Found::Empty);
                Ok(())
            }
            "publish to read elsewhere" => {
                let target = self.csi.publish(volume, elsewhere, READER, true)?;
                use_volume(&target.join("data"), Found::ReadOnly);
                Ok(())
            }
            "expand controller" => self.csi.expand_controller(volume, 2 * GIB).map(drop),
            "unpublish to read elsewhere" => self.csi.unpublish(volume, elsewhere, READER),
            "unpublish" => self.csi.unpublish(volume, here, POD),
            "delete" => self.csi.delete(volume),
            other => panic!("{other} is no verb"),
        }
    }

    fn disturb(&mut self, verb: &str, kind: Kind, at: usize) -> Result<Option<String>, PlayError> {
        let bed = self.bed;
        let machine = match verb {
            "create" | "expand controller" | "delete" => bed.manager(),
            verb => bed.node(usize::from(verb.ends_with(" elsewhere"))),
        };
        server::disturb(bed, machine, kind, at, || self.perform(verb))
    }

    fn was_skipped(&self) -> bool {
        // Over CSI, kubelet always asks.
        false
    }

    fn end(&mut self) -> Result<(), PlayError> {
        let Some(volume) = &self.volume else { return Ok(()) };
        self.csi.unpublish(volume, &self.nodes[1], READER)?;
        self.csi.unpublish(volume, &self.nodes[0], POD)?;
        self.csi.delete(volume)
    }

    fn names(&self) -> Vec<(String, String)> {
        vec![(self.name.clone(), "NAME".to_owned())]
    }
}

pub struct OneFlexLife<'a> {
    bed: &'a Bed,
    flex: FlexPlayer,
    nodes: Vec<FlexNode>,
    volume: FlexVolume,
    skipped: Arc<AtomicBool>,
}

impl<'a> Life<'a> for OneFlexLife<'a> {
    const VERBS: &'static [&'static str] =
        &["mount", "mount elsewhere", "unmount elsewhere", "unmount"];

    fn prepare(bed: &Bed) {
        prepare(bed);
        bed.install_flexvolume().unwrap();
    }

    fn has(_verb: &str, kind: Kind) -> bool {
        is_here(kind)
    }

    fn begin(bed: &'a Bed, number: usize) -> Self {
        let name = format!("pv-life-{number:04}");
        let path = format!("/k8s/{name}");
        let options = [("server", server_of(bed)), ("path", path), ("mode", "770".to_owned())];
        let options: Vec<_> = options.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let skipped: Arc<AtomicBool> = Default::default();
        let heard = Arc::clone(&skipped);
        let audience = Arc::new(move |event: &Event| {
            heard.fetch_or(matches!(event.happening, Happening::Skipped { .. }), Ordering::SeqCst);
        });
        Self {
            bed,
            flex: bed.flex_of(FLEX).with_retry(retry()).with_audience(audience),
            nodes: bed.nodes().iter().map(wharf_testing::bed::Machine::flex_node).collect(),
            volume: FlexVolume::new(&name, "", &options),
            skipped,
        }
    }

    fn perform(&mut self, verb: &str) -> Result<(), PlayError> {
        let flex = self.flex.clone();
        self.perform_by(&flex, verb)
    }

    fn disturb(&mut self, verb: &str, kind: Kind, at: usize) -> Result<Option<String>, PlayError> {
        let machine = self.bed.node(usize::from(verb.ends_with(" elsewhere")));
        let call = verb.trim_end_matches(" elsewhere");
        let flex = self.flex.clone();
        call_out::disturb(self.bed, machine, call, kind, at, |disturb| {
            self.perform_by(&flex.with_disturbance(disturb), verb)
        })
    }

    fn was_skipped(&self) -> bool {
        self.skipped.load(Ordering::SeqCst)
    }

    fn end(&mut self) -> Result<(), PlayError> {
        for node in &self.nodes {
            self.flex.unmount(&self.volume, node, POD)?;
        }
        // The administrator's part.
        let directory = self.directory();
        let removed = std::fs::remove_dir_all(&directory);
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(PlayError::Stage {
                what: format!("remove {}", directory.display()),
                why: error.to_string(),
            }),
            _ => Ok(()),
        }
    }

    fn names(&self) -> Vec<(String, String)> {
        vec![(self.volume.name.clone(), "NAME".to_owned())]
    }
}

impl OneFlexLife<'_> {
    fn directory(&self) -> std::path::PathBuf {
        self.bed.region().file_systems()[0].directory.join("k8s").join(&self.volume.name)
    }

    fn perform_by(&mut self, flex: &FlexPlayer, verb: &str) -> Result<(), PlayError> {
        self.skipped.store(false, Ordering::SeqCst);
        let node = &self.nodes[usize::from(verb.ends_with(" elsewhere"))];
        match verb {
            "mount" => {
                let target = flex.mount(&self.volume, node, POD)?;
                use_volume(&target.join("data"), Found::Empty);
                Ok(())
            }
            "mount elsewhere" => {
                let target = flex.mount(&self.volume, node, POD)?;
                use_volume(&target.join("data"), Found::Written);
                Ok(())
            }
            "unmount" | "unmount elsewhere" => flex.unmount(&self.volume, node, POD),
            other => panic!("{other} is no verb"),
        }
    }
}

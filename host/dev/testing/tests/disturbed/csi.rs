//! A volume's life over CSI: two servers, one of the controller and one of the node. As XFS, which
//! every machine may grow while it is mounted, and as a raw device.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use wharf_testing::bed::Bed;
use wharf_testing::player::{CsiNode, CsiPlayer, CsiVolume, PlayError, VolumeClass};

use super::kind::Kind;
use super::life::{Life, Lives, install_next, retry};
use super::pod::{CONTENT, Found, use_volume};
use super::server;

const GIB: u64 = 1 << 30;
const POD: &str = "pod";
const READER: &str = "reader";

/// With a file system.
pub struct CsiLife;

/// As a raw device.
pub struct CsiRawLife;

impl Lives for CsiLife {
    type On<'a> = OneLife<'a, false>;
}

impl Lives for CsiRawLife {
    type On<'a> = OneLife<'a, true>;
}

pub struct OneLife<'a, const RAW: bool> {
    bed: &'a Bed,
    csi: CsiPlayer,
    nodes: Vec<CsiNode>,
    name: String,
    volume: Option<CsiVolume>,
}

impl<'a, const RAW: bool> Life<'a> for OneLife<'a, RAW> {
    const VERBS: &'static [&'static str] = &[
        "create",
        "attach",
        "stage",
        "publish",
        "expand controller",
        "expand node",
        "publish to read",
        "unpublish to read",
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
        install_next(bed);
        bed.serve().unwrap();
    }

    fn has(_verb: &str, _kind: Kind) -> bool {
        true
    }

    fn begin(bed: &'a Bed, number: usize) -> Self {
        let csi = bed.csi().with_retry(retry());
        let nodes = bed
            .nodes()
            .iter()
            .map(|node| csi.register(node.name(), &node.socket(), &node.kubelet()).unwrap())
            .collect();
        Self { bed, csi, nodes, name: format!("pvc-life-{number:04}"), volume: None }
    }

    fn perform(&mut self, verb: &str) -> Result<(), PlayError> {
        let elsewhere = verb.ends_with(" elsewhere");
        let node = &self.nodes[usize::from(elsewhere)];
        let verb = verb.trim_end_matches(" elsewhere");
        if verb == "create" {
            let (types, bytes) = asked(self.bed);
            let parameters = [("type", types.as_str())];
            let class = if RAW {
                VolumeClass::raw(&parameters)
            } else {
                VolumeClass::file_system("xfs", &parameters)
            };
            self.volume = Some(self.csi.provision(&self.name, bytes, &class)?);
            return Ok(());
        }
        let Some(volume) = &mut self.volume else { return Ok(()) };
        match verb {
            "attach" => self.csi.attach(volume, node),
            "stage" => self.csi.stage(volume, node),
            "publish to read" => self
                .csi
                .publish(volume, node, READER, true)
                .map(|target| use_target(&target, Found::ReadOnly)),
            "unpublish to read" => self.csi.unpublish(volume, node, READER),
            "publish" => self.csi.publish(volume, node, POD, false).map(|target| {
                use_target(&target, if elsewhere { Found::Written } else { Found::Empty })
            }),
            "expand controller" => self.csi.expand_controller(volume, 2 * GIB).map(drop),
            "expand node" => {
                self.csi.expand_node(volume, node, POD, 2 * GIB)?;
                use_target(&volume.target(node, POD), Found::Written);
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
        let machine = if is_of_the_controller(verb) {
            bed.manager()
        } else {
            bed.node(usize::from(verb.ends_with(" elsewhere")))
        };
        server::disturb(bed, machine, kind, at, || self.perform(verb))
    }

    fn was_skipped(&self) -> bool {
        // Over CSI, kubelet always asks.
        false
    }

    fn end(&mut self) -> Result<(), PlayError> {
        let Some(volume) = &self.volume else { return Ok(()) };
        for node in &self.nodes {
            self.csi.unpublish(volume, node, READER)?;
            self.csi.end_pod(volume, node, POD)?;
        }
        self.csi.delete(volume)
    }

    fn names(&self) -> Vec<(String, String)> {
        let mut names = vec![(self.name.clone(), "NAME".to_owned())];
        if let Some(volume) = &self.volume {
            if !RAW {
                let staging = volume.staging(&self.nodes[0], self.csi.driver());
                let digest = staging
                    .parent()
                    .and_then(|directory| directory.file_name())
                    .unwrap()
                    .to_string_lossy()
                    .into_owned();
                names.insert(0, (digest, "DIGEST".to_owned()));
            }
            names.push((volume.handle.clone(), "DISK".to_owned()));
            names.push((volume.handle.trim_start_matches("d-").to_owned(), "SERIAL".to_owned()));
        }
        names
    }
}

/// Types of disk and a size: what is sold out is asked for first, which takes a size that it has.
fn asked(bed: &Bed) -> (String, u64) {
    let sold_out = bed.options().shortages.iter().map(|shortage| shortage.category.as_str());
    let types: Vec<&str> = sold_out.chain(["cloud_auto"]).collect();
    (types.join(","), if types.len() > 1 { 20 * GIB } else { GIB })
}

pub fn is_of_the_controller(verb: &str) -> bool {
    let verb = verb.trim_end_matches(" elsewhere");
    matches!(verb, "create" | "attach" | "expand controller" | "detach" | "delete")
}

/// What the pod was given is a directory or a device.
fn use_target(target: &Path, found: Found) {
    if target.is_dir() {
        return use_volume(&target.join("data"), found);
    }
    assert!(
        std::fs::metadata(target).unwrap().file_type().is_block_device(),
        "{} is no device",
        target.display()
    );
    if found != Found::Empty {
        let mut content = [0; CONTENT.len()];
        File::open(target).unwrap().read_exact(&mut content).unwrap();
        assert_eq!(content, CONTENT.as_bytes());
    }
    // Whether a pod may write to a device node is up to its container; the mount is compared like
    // everything else.
    if found != Found::ReadOnly {
        let mut device = File::options().write(true).open(target).unwrap();
        device.write_all(CONTENT.as_bytes()).unwrap();
        device.sync_all().unwrap();
    }
}

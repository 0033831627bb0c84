//! The lives of directories of file storage that a StorageClass makes, over CSI: one with a quota
//! that is removed in the end, and one that is archived. For a machine with an NFS server.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use wharf_testing::bed::{Bed, BedOptions};
use wharf_testing::nas_servers::NasServers;
use wharf_testing::player::{CsiNode, CsiPlayer, CsiVolume, PlayError, VolumeClass};

use super::kind::Kind;
use super::life::{Life, Lives, retry};
use super::pod::{Found, use_volume};
use super::server;

const CSI: &str = "nasplugin.csi.alibabacloud.com";
const GIB: u64 = 1 << 30;
const POD: &str = "pod";
const READER: &str = "reader";
/// There is one table of names in the machine.
pub const BEDS: usize = 1;
/// The directory of the file system that volumes lie in.
pub const DIRECTORY: &str = "/k8s";

/// Over CSI.
pub struct CsiLife;

impl Lives for CsiLife {
    type On<'a> = OneCsiLife<'a>;
    const BEDS: usize = BEDS;
    const KINDS: &'static [Kind] = &[
        Kind::AnswerLost,
        Kind::RequestLost,
        Kind::KilledBeforeRequest,
        Kind::KilledAfterRequest,
        Kind::Killed,
        Kind::Orphaned,
    ];

    fn bed() -> BedOptions {
        BedOptions { backends: vec!["nas"], ..BedOptions::default() }
    }
}

/// The servers of the bed that there is.
static SERVERS: Mutex<Option<NasServers>> = Mutex::new(None);

/// Makes a file system with a directory for volumes, and its server.
pub fn prepare(bed: &Bed) {
    let mut servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
    *servers = None;
    bed.region().make_file_system().unwrap();
    std::fs::create_dir(files(bed)).unwrap();
    let mut here = NasServers::begin(bed.directory()).unwrap();
    here.follow(bed.region()).unwrap();
    *servers = Some(here);
}

/// Where the cloud has the directories of volumes.
pub fn files(bed: &Bed) -> PathBuf {
    bed.region().file_systems()[0].directory.join(DIRECTORY.trim_start_matches('/'))
}

/// The name of the file system's mount target.
pub fn server_of(bed: &Bed) -> String {
    bed.region().file_systems()[0].mount_targets[0].clone()
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

    fn has(verb: &str, kind: Kind) -> bool {
        match verb {
            // The backend asks the cloud and nothing else.
            "expand controller" => kind.is_of_the_cloud(),
            verb if is_of_the_controller(verb) => true,
            // A node asks the cloud nothing.
            _ => !kind.is_of_the_cloud(),
        }
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
            let server = format!("{}:{DIRECTORY}", server_of(self.bed));
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
        self.csi.unpublish(volume, &self.nodes[1], READER)?;
        self.csi.unpublish(volume, &self.nodes[0], POD)?;
        self.csi.delete(volume)
    }

    fn names(&self) -> Vec<(String, String)> {
        vec![(self.name.clone(), "NAME".to_owned())]
    }
}

/// Over CSI, for a directory that is archived. Making it is as above, and so only its end is
/// disturbed.
pub struct ArchiveLife;

impl Lives for ArchiveLife {
    type On<'a> = OneArchiveLife<'a>;
    const BEDS: usize = BEDS;
    const KINDS: &'static [Kind] = &[Kind::Killed, Kind::Orphaned];

    fn bed() -> BedOptions {
        BedOptions { nodes: 1, ..CsiLife::bed() }
    }
}

pub struct OneArchiveLife<'a> {
    bed: &'a Bed,
    csi: CsiPlayer,
    name: String,
    volume: Option<CsiVolume>,
}

impl OneArchiveLife<'_> {
    /// The names of its archives.
    fn archives(&self) -> Vec<String> {
        let begin = format!("archived-{}-", self.name);
        let entries = std::fs::read_dir(files(self.bed)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(&begin)).collect()
    }
}

impl<'a> Life<'a> for OneArchiveLife<'a> {
    const VERBS: &'static [&'static str] = &["create", "delete"];

    fn prepare(bed: &Bed) {
        prepare(bed);
        bed.serve().unwrap();
    }

    fn has(verb: &str, _kind: Kind) -> bool {
        verb == "delete"
    }

    fn begin(bed: &'a Bed, number: usize) -> Self {
        let csi = bed.csi_of(CSI).with_retry(retry());
        Self { bed, csi, name: format!("pvc-life-{number:04}"), volume: None }
    }

    fn perform(&mut self, verb: &str) -> Result<(), PlayError> {
        match (verb, &self.volume) {
            ("create", _) => {
                let server = format!("{}:{DIRECTORY}", server_of(self.bed));
                let class = VolumeClass::share(&[("server", &server)]);
                self.volume = Some(self.csi.provision(&self.name, GIB, &class)?);
                use_volume(&files(self.bed).join(&self.name).join("data"), Found::Empty);
                Ok(())
            }
            ("delete", Some(volume)) => {
                self.csi.delete(volume)?;
                let archives = self.archives();
                let [archive] = archives.as_slice() else { panic!("one archive: {archives:?}") };
                use_volume(&files(self.bed).join(archive).join("data"), Found::Written);
                Ok(())
            }
            ("delete", None) => Ok(()),
            (other, _) => panic!("{other} is no verb"),
        }
    }

    fn disturb(&mut self, verb: &str, kind: Kind, at: usize) -> Result<Option<String>, PlayError> {
        let bed = self.bed;
        server::disturb(bed, bed.manager(), kind, at, || self.perform(verb))
    }

    fn was_skipped(&self) -> bool {
        false
    }

    fn end(&mut self) -> Result<(), PlayError> {
        self.perform("delete")?;
        // Archives are the administrator's, and stay with what is in them.
        for archive in self.archives() {
            std::fs::remove_dir_all(files(self.bed).join(archive)).unwrap();
        }
        Ok(())
    }

    fn names(&self) -> Vec<(String, String)> {
        let archives = self.archives().into_iter().map(|name| (name, "ARCHIVE".to_owned()));
        archives.chain([(self.name.clone(), "NAME".to_owned())]).collect()
    }
}

fn is_of_the_controller(verb: &str) -> bool {
    matches!(verb, "create" | "expand controller" | "delete")
}

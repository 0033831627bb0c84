//! What the tests share: a bed whose nodes have the backend of file storage, and the servers of its
//! region.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use wharf_testing::bed::{Bed, BedOptions};
use wharf_testing::nas_servers::NasServers;
use wharf_testing::player::{CsiNode, CsiPlayer, CsiVolume, FlexNode, FlexPlayer, VolumeClass};
use wharf_testing::snapshot::Snapshot;

pub const CSI: &str = "nasplugin.csi.alibabacloud.com";
pub const FLEX: &str = "alicloud/nas";
pub const GIB: u64 = 1 << 30;

/// One for all tests, in turn: a machine has one table of names, and a bed takes its time.
static CLUSTER: LazyLock<Mutex<Cluster>> = LazyLock::new(|| Mutex::new(Cluster::make()));

/// The cluster, for one test alone.
pub fn cluster() -> MutexGuard<'static, Cluster> {
    // What a test before has left says that it failed, and no more.
    let mut cluster = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    cluster.bed.region().set_faults(Vec::new());
    cluster.share.clear();
    cluster.other.clear();
    cluster.before = Snapshot::of(&cluster.bed, &[]);
    cluster
}

pub struct Cluster {
    pub csi: CsiPlayer,
    pub nodes: Vec<CsiNode>,
    pub flex: FlexPlayer,
    pub manager: FlexNode,
    pub flex_nodes: Vec<FlexNode>,
    /// A file system that was there before.
    pub share: Share,
    /// And another one.
    pub other: Share,
    before: Snapshot,
    servers: Mutex<NasServers>,
    pub bed: Bed,
}

/// A file system as an administrator knows it.
pub struct Share {
    pub id: String,
    /// The name of its mount target.
    pub server: String,
    /// Where the cloud has its files.
    pub files: PathBuf,
}

impl Cluster {
    fn make() -> Self {
        let bed =
            Bed::make(&BedOptions { backends: vec!["nas"], ..BedOptions::default() }).unwrap();
        let [share, other] = [(), ()].map(|()| bed.region().make_file_system().unwrap());
        let mut servers = NasServers::begin(bed.directory()).unwrap();
        servers.follow(bed.region()).unwrap();
        bed.serve().unwrap();
        bed.install_flexvolume().unwrap();
        let csi = bed.csi_of(CSI);
        let register = |node: &wharf_testing::bed::Machine| {
            csi.register(node.name(), &node.socket_of(CSI), &node.kubelet()).unwrap()
        };
        let nodes = bed.nodes().iter().map(register).collect();
        let known = |id: String| {
            let made = bed.region().file_systems().into_iter().find(|made| made.id == id).unwrap();
            Share { id, server: made.mount_targets[0].clone(), files: made.directory }
        };
        let (share, other) = (known(share), known(other));
        Self {
            nodes,
            csi,
            flex: bed.flex_of(FLEX),
            manager: bed.manager().flex_node(),
            flex_nodes: bed.nodes().iter().map(wharf_testing::bed::Machine::flex_node).collect(),
            share,
            other,
            before: Snapshot::of(&bed, &[]),
            servers: Mutex::new(servers),
            bed,
        }
    }

    /// The servers, after they have learned what is new in the region.
    pub fn servers(&self) -> MutexGuard<'_, NasServers> {
        let mut servers = self.servers.lock().unwrap();
        servers.follow(self.bed.region()).unwrap();
        servers
    }

    /// A volume that an administrator wrote by hand.
    pub fn fixed(&self, name: &str, path: &str, attributes: &[(&str, &str)]) -> CsiVolume {
        let mut volume = CsiVolume::of_handle(name, name, GIB, VolumeClass::share(&[]));
        let always = [("server", self.share.server.as_str()), ("path", path)];
        for (key, value) in always.iter().chain(attributes) {
            volume.context.insert((*key).to_owned(), (*value).to_owned());
        }
        volume
    }

    /// Nothing of any volume is left but what is in the administrator's own file system.
    pub fn assert_as_before(&self) {
        self.share.clear();
        self.other.clear();
        let left = Snapshot::of(&self.bed, &[]).differences(&self.before);
        assert!(left.is_empty(), "{left:#?}");
        assert!(self.bed.mounts().is_empty(), "{:?}", self.bed.mounts());
    }
}

impl Share {
    fn clear(&self) {
        for name in names(&self.files) {
            fs::remove_dir_all(self.at(&name)).unwrap();
        }
    }

    /// A directory or file of it, as the cloud has it.
    pub fn at(&self, path: &str) -> PathBuf {
        self.files.join(path.trim_start_matches('/'))
    }
}

pub fn write(directory: &Path, text: &str) {
    fs::write(directory.join("data"), text).unwrap();
}

pub fn read(directory: &Path) -> String {
    fs::read_to_string(directory.join("data")).unwrap()
}

/// What a pod gets that may not write.
pub fn assert_read_only(directory: &Path) {
    let refused = fs::write(directory.join("data"), "x").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

/// Permission bits.
pub fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The names in a directory, in order.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

//! The lives of directories of file storage that a StorageClass makes, over CSI: one with a quota
//! that is removed in the end, one that is archived, and one with an access point. For a machine
//! with an NFS server.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use wharf_cloudsim::Delays;
use wharf_testing::bed::{Bed, BedOptions};
use wharf_testing::nas_servers::NasServers;
use wharf_testing::player::{CsiVolume, VolumeClass};

use super::claim::{Claim, ClaimLife, GIB, is_of_the_controller};
use super::kind::Kind;
use super::pod::{Found, use_volume};

const DRIVER: &str = "nasplugin.csi.alibabacloud.com";
/// There is one table of names in the machine.
pub const BEDS: usize = 1;
/// The directory of the file system that volumes lie in.
pub const DIRECTORY: &str = "/k8s";

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

/// A StorageClass of directories in that one.
fn class_of(bed: &Bed, more: &[(&str, &str)]) -> (VolumeClass, u64) {
    let server = format!("{}:{DIRECTORY}", server_of(bed));
    (VolumeClass::share(&[&[("server", server.as_str())][..], more].concat()), GIB)
}

/// Of every volume.
pub const MODE: &str = "770";

/// Gives a directory another mode, so that publishing has one to set.
pub fn take_mode(directory: &Path) {
    std::fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
}

/// What a pod finds mounted has its mode.
pub fn check_mode(mounted: &Path) {
    assert_eq!(std::fs::metadata(mounted).unwrap().mode() & 0o7777, 0o770);
}

/// A directory with a quota that is removed.
pub struct Directory;

impl Claim for Directory {
    const DRIVER: &'static str = DRIVER;
    const VERBS: &'static [&'static str] = &[
        "create",
        "publish",
        "publish to read elsewhere",
        "expand controller",
        "unpublish to read elsewhere",
        "unpublish",
        "delete",
    ];
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

    fn class(bed: &Bed) -> (VolumeClass, u64) {
        let more = [("volumeCapacity", "true"), ("archiveOnDelete", "false"), ("mode", MODE)];
        class_of(bed, &more)
    }

    fn created(bed: &Bed, volume: &mut CsiVolume) {
        take_mode(&files(bed).join(&volume.name));
    }

    fn use_target(target: &Path, found: Found) {
        check_mode(target);
        use_volume(&target.join("data"), found);
    }
}

/// A directory that is archived. Making it is as above, and so only its end is disturbed.
pub struct Archived;

/// The names of a claim's archives.
fn archives(bed: &Bed, name: &str) -> Vec<String> {
    let begin = format!("archived-{name}-");
    let entries = std::fs::read_dir(files(bed)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(&begin)).collect()
}

impl Claim for Archived {
    const DRIVER: &'static str = DRIVER;
    const VERBS: &'static [&'static str] = &["create", "delete"];
    const BEDS: usize = BEDS;
    const KINDS: &'static [Kind] = &[Kind::Killed, Kind::Orphaned];

    fn bed() -> BedOptions {
        BedOptions { nodes: 1, ..Directory::bed() }
    }

    fn prepare(bed: &Bed) {
        prepare(bed);
        bed.manager().serve("controller", bed.parts()).unwrap();
    }

    fn has(verb: &str, _kind: Kind) -> bool {
        verb == "delete"
    }

    fn class(bed: &Bed) -> (VolumeClass, u64) {
        class_of(bed, &[])
    }

    fn created(bed: &Bed, volume: &mut CsiVolume) {
        use_volume(&files(bed).join(&volume.name).join("data"), Found::Empty);
    }

    fn deleted(bed: &Bed, name: &str) {
        let archives = archives(bed, name);
        let [archive] = archives.as_slice() else { panic!("one archive: {archives:?}") };
        use_volume(&files(bed).join(archive).join("data"), Found::Written);
    }

    /// Archives are the administrator's, and stay with what is in them.
    fn end(bed: &Bed, name: &str) {
        for archive in archives(bed, name) {
            std::fs::remove_dir_all(files(bed).join(archive)).unwrap();
        }
    }

    fn names(life: &ClaimLife<'_, Self>) -> Vec<(String, String)> {
        let Some(volume) = &life.volume else { return Vec::new() };
        let archives = archives(life.bed, &volume.name).into_iter();
        archives.map(|name| (name, "ARCHIVE".to_owned())).collect()
    }
}

/// A directory behind an access point of its own, which the cloud makes and deletes in its time.
/// What is done to the directory is as above, and so only requests are disturbed.
pub struct AccessPoint;

/// Long enough for a call that is repeated at once to meet what is on its way.
const ON_ITS_WAY_MS: u64 = 300;
/// Many times that.
const SETTLED: Duration = Duration::from_secs(30);

fn access_points(bed: &Bed) -> Vec<String> {
    bed.region().file_systems()[0].access_points.keys().cloned().collect()
}

impl Claim for AccessPoint {
    const DRIVER: &'static str = DRIVER;
    const VERBS: &'static [&'static str] = &["create", "delete"];
    const BEDS: usize = BEDS;
    const KINDS: &'static [Kind] =
        &[Kind::AnswerLost, Kind::RequestLost, Kind::KilledBeforeRequest, Kind::KilledAfterRequest];

    fn bed() -> BedOptions {
        let options = Archived::bed();
        BedOptions { delays: Delays { nas: ON_ITS_WAY_MS, ..options.delays }, ..options }
    }

    fn prepare(bed: &Bed) {
        Archived::prepare(bed);
    }

    fn class(bed: &Bed) -> (VolumeClass, u64) {
        class_of(bed, &[("volumeAs", "accesspoint"), ("archiveOnDelete", "false")])
    }

    fn deleted(bed: &Bed, _name: &str) {
        let begun = Instant::now();
        while !access_points(bed).is_empty() && begun.elapsed() < SETTLED {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn names(life: &ClaimLife<'_, Self>) -> Vec<(String, String)> {
        access_points(life.bed).into_iter().map(|name| (name, "POINT".to_owned())).collect()
    }
}

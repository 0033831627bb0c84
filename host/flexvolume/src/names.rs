//! Which volume a name means, kept in small files: `detach` gets nothing but the name of a
//! PersistentVolume and of a node, `waitforattach` after a restart of kubelet not even what
//! `attach` answered.
//!
//! Below `<state>/flexvolume/<vendor>~<driver>/`: `attached/<node>/<name>.json`, written by
//! `attach` before anything is asked of the cloud and moved by `detach` to `detached/`, where it
//! says for a few minutes what a repeated `detach` means; `found/<name>.json`, written by
//! `waitforattach` and removed by `unmountdevice`. One file per call's object, so that processes
//! that run at once never write the same one. Written by rename, with fsync: killed anywhere, a
//! file is there as a whole or not at all.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wharf_core::Error;
use wharf_core::types::{NodeId, Parameters, VolumeId};
use wharf_files::{FileError, OwnDirectory};

use crate::driver_file::DriverFile;
use crate::object_name::ObjectName;
use crate::paths;

/// An id of the cloud with its newline; more is no id.
const MAX_LEGACY_BYTES: usize = 512;

/// A volume's id and what belongs to it: some hundred bytes.
const MAX_RECORD_BYTES: u64 = 64 << 10;

/// How long a detached name is remembered: more than twice the longest wait between two tries of
/// Kubernetes (2 min 2 s). No longer, because a name may come to mean another volume on a machine
/// that takes over the control plane, and this one would not hear of it.
const DETACHED_RETENTION: Duration = Duration::from_secs(300);

/// How long the record of a volume stays that has no directory to be mounted on: kubelet makes the
/// directory within a moment of `waitforattach`, unless it gives the volume up.
const FOUND_RETENTION: Duration = Duration::from_secs(24 * 3600);

/// What `attach` knew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct AttachRecord {
    /// Absent: the call was refused before anything was asked of the cloud, so there is nothing to
    /// detach.
    pub(crate) volume: Option<VolumeId>,
    /// The node's id, once it was known.
    pub(crate) node: Option<NodeId>,
}

/// What `waitforattach` knew. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct FoundRecord {
    pub(crate) volume: VolumeId,
    /// The options that were translated to this volume and context.
    pub(crate) options: Parameters,
    pub(crate) context: Parameters,
    pub(crate) publish_context: Parameters,
}

/// The files of one driver.
#[derive(Debug)]
pub(crate) struct Names {
    state: OwnDirectory,
    directory: PathBuf,
    legacy: Option<PathBuf>,
    /// Where kubelet makes a directory for each volume before it calls `mountdevice`, under each
    /// root.
    global_directories: Vec<PathBuf>,
}

impl Names {
    pub(crate) fn of(driver: &DriverFile) -> Self {
        let directory = driver.state.join("flexvolume").join(driver.driver.directory());
        let roots = driver.roots.iter();
        Self {
            state: OwnDirectory::new(&driver.state),
            directory,
            legacy: driver.legacy_state.clone(),
            global_directories: roots
                .map(|root| paths::global_directory(root, &driver.driver))
                .collect(),
        }
    }

    pub(crate) fn attached(
        &self,
        name: &ObjectName,
        node: &ObjectName,
    ) -> Result<Option<AttachRecord>, Error> {
        self.read(&self.attached_file(name, node))
    }

    pub(crate) fn save_attached(
        &self,
        name: &ObjectName,
        node: &ObjectName,
        record: &AttachRecord,
    ) -> Result<(), Error> {
        self.write(&self.attached_file(name, node), record)
    }

    /// Also removes the node's directory when this was the last file in it: nodes come and go.
    pub(crate) fn forget_attached(
        &self,
        name: &ObjectName,
        node: &ObjectName,
    ) -> Result<(), Error> {
        let file = self.attached_file(name, node);
        remove(&file)?;
        file.parent().map(fs::remove_dir);
        Ok(())
    }

    /// Which volume the name stood for until a moment ago: a `detach` that was killed before it
    /// answered is repeated.
    pub(crate) fn detached(
        &self,
        name: &ObjectName,
        node: &ObjectName,
    ) -> Result<Option<AttachRecord>, Error> {
        let file = self.detached_file(name, node);
        if is_remembered(&file) { self.read(&file) } else { Ok(None) }
    }

    /// Written before the record goes. What is no longer believed is removed on the way, so that
    /// the directory holds no more than a few minutes' calls.
    pub(crate) fn save_detached(
        &self,
        name: &ObjectName,
        node: &ObjectName,
        record: &AttachRecord,
    ) -> Result<(), Error> {
        self.prune_detached();
        self.write(&self.detached_file(name, node), record)
    }

    /// What cannot be removed now is tried again by the next call; it is not believed meanwhile.
    fn prune_detached(&self) {
        for node in entries(&self.directory.join("detached")) {
            entries(&node)
                .filter(|file| !is_remembered(file))
                .for_each(|file| drop(fs::remove_file(file)));
            let _ = fs::remove_dir(node);
        }
    }

    pub(crate) fn found(&self, name: &ObjectName) -> Result<Option<FoundRecord>, Error> {
        self.read(&self.found_file(name))
    }

    pub(crate) fn save_found(&self, name: &ObjectName, record: &FoundRecord) -> Result<(), Error> {
        self.prune_found();
        self.write(&self.found_file(name), record)
    }

    /// A volume whose `mountdevice` never succeeds gets no `unmountdevice` that would remove its
    /// record. What is removed too early costs one question to the cloud.
    fn prune_found(&self) {
        let is_needed = |file: &Path| {
            let name = file.file_stem().unwrap_or_default();
            let has_directory =
                self.global_directories.iter().any(|directory| directory.join(name).exists());
            has_directory || is_younger(file, FOUND_RETENTION)
        };
        entries(&self.directory.join("found"))
            .filter(|file| !is_needed(file))
            .for_each(|file| drop(fs::remove_file(file)));
    }

    pub(crate) fn forget_found(&self, name: &ObjectName) -> Result<(), Error> {
        remove(&self.found_file(name))
    }

    /// The volume's id as an older driver of this name wrote it down when it attached the volume. A
    /// file with nothing in it was being written when that driver, or the machine, died.
    pub(crate) fn legacy(&self, name: &ObjectName) -> Result<Option<ObjectName>, Error> {
        let Some(file) = self.legacy_file(name) else { return Ok(None) };
        let Some(text) = load(&file)?.filter(|text| !text.trim_ascii().is_empty()) else {
            return Ok(None);
        };
        let text = std::str::from_utf8(text.get(..MAX_LEGACY_BYTES).unwrap_or(&text))
            .map_err(|error| broken(&file, error))?;
        ObjectName::parse("volume id", text.trim().as_ref())
            .map(Some)
            .map_err(|error| broken(&file, error))
    }

    /// Forgets it once the volume is detached. The older driver kept a dated copy for ever; nothing
    /// ever read those.
    pub(crate) fn forget_legacy(&self, name: &ObjectName) -> Result<(), Error> {
        self.legacy_file(name).map_or(Ok(()), |file| remove(&file))
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, file: &Path) -> Result<Option<T>, Error> {
        let text = match self.state.read(file, MAX_RECORD_BYTES) {
            Ok(None) => return Ok(None),
            Ok(Some(text)) => text,
            Err(FileError::Io(error)) if is_absent(&error) => return Ok(None),
            Err(FileError::Io(error)) => return Err(unreadable(file, &error)),
            Err(FileError::Untrusted(untrusted)) => return Err(untrustworthy(&untrusted)),
            Err(error @ FileError::TooLarge { .. }) => return Err(broken(file, error)),
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| broken(file, error))
    }

    fn write<T: Serialize>(&self, file: &Path, record: &T) -> Result<(), Error> {
        let refuse = |error: &dyn std::fmt::Display| {
            Error::unavailable(format!("cannot write {}: {error}", file.display())).with_hint(
                "the state directory must be writable and survive a restart, or the \
                 PersistentVolume must have the volume's id as its name",
            )
        };
        let text = serde_json::to_vec(record).map_err(|error| refuse(&error))?;
        let replace = || self.state.replace(file, &text);
        // Twice: the directory may be removed, as empty, between its creation and its first file.
        replace().or_else(|_| replace()).map_err(|error| match error {
            FileError::Untrusted(untrusted) => untrustworthy(&untrusted),
            error => refuse(&error),
        })
    }

    fn attached_file(&self, name: &ObjectName, node: &ObjectName) -> PathBuf {
        self.directory.join("attached").join(node.as_str()).join(format!("{name}.json"))
    }

    fn detached_file(&self, name: &ObjectName, node: &ObjectName) -> PathBuf {
        self.directory.join("detached").join(node.as_str()).join(format!("{name}.json"))
    }

    fn found_file(&self, name: &ObjectName) -> PathBuf {
        self.directory.join("found").join(format!("{name}.json"))
    }

    fn legacy_file(&self, name: &ObjectName) -> Option<PathBuf> {
        Some(self.legacy.as_ref()?.join(format!("{name}.conf")))
    }
}

fn is_remembered(file: &Path) -> bool {
    is_younger(file, DETACHED_RETENTION)
}

/// Whether a file was written within this time. A clock that went back makes a file old, which is
/// the safe side.
fn is_younger(file: &Path, most: Duration) -> bool {
    let written = fs::symlink_metadata(file).and_then(|metadata| metadata.modified());
    written.is_ok_and(|written| written.elapsed().is_ok_and(|age| age <= most))
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// The file's bytes, if there is such a file.
fn load(file: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(unreadable(file, &error)),
    }
}

/// There is no such file; under a name that is too long for one there never was.
fn is_absent(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename
    )
}

fn unreadable(file: &Path, error: &std::io::Error) -> Error {
    let broken = broken(file, error);
    if error.kind() == ErrorKind::PermissionDenied {
        broken.with_hint("run as root, as kubelet does")
    } else {
        broken
    }
}

/// What a name means there may be what somebody else wrote.
fn untrustworthy(untrusted: &wharf_files::Untrusted) -> Error {
    Error::precondition(format!("the state directory is not used: {untrusted}"))
}

fn broken(file: &Path, why: impl std::fmt::Display) -> Error {
    Error::internal(format!("cannot read {}: {why}", file.display()))
        .with_hint("look at what the file says, then repair or remove it")
}

fn remove(file: &Path) -> Result<(), Error> {
    match fs::remove_file(file) {
        Err(error) if !is_absent(&error) => {
            Err(Error::unavailable(format!("cannot remove {}: {error}", file.display())))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs::File;

    use super::*;

    fn name(text: &str) -> ObjectName {
        ObjectName::parse("name", OsStr::new(text)).unwrap()
    }

    fn names(directory: &Path) -> Names {
        Names {
            state: OwnDirectory::new(directory.join("state")),
            directory: directory.join("state"),
            legacy: Some(directory.join("legacy")),
            global_directories: vec![directory.join("mounts")],
        }
    }

    #[test]
    fn one_name_on_two_nodes_is_two_records() {
        let directory = tempfile::tempdir().unwrap();
        let names = names(directory.path());
        let record =
            |volume: &str| AttachRecord { volume: Some(VolumeId::new(volume)), node: None };
        names.save_attached(&name("data"), &name("n1"), &record("d-1")).unwrap();
        names.save_attached(&name("data"), &name("n2"), &record("d-2")).unwrap();
        assert_eq!(names.attached(&name("data"), &name("n1")).unwrap(), Some(record("d-1")));
        names.forget_attached(&name("data"), &name("n1")).unwrap();
        names.forget_attached(&name("data"), &name("n1")).unwrap();
        assert_eq!(names.attached(&name("data"), &name("n1")).unwrap(), None);
        assert_eq!(names.attached(&name("data"), &name("n2")).unwrap(), Some(record("d-2")));
        assert!(!directory.path().join("state/attached/n1").exists());
    }

    #[test]
    fn a_detached_name_is_remembered_for_a_few_minutes_and_then_neither_believed_nor_kept() {
        let directory = tempfile::tempdir().unwrap();
        let names = names(directory.path());
        let record =
            AttachRecord { volume: Some(VolumeId::new("d-1")), node: Some(NodeId::new("i-1")) };
        let age = |pv: &str, age: Duration| {
            let file = File::options()
                .write(true)
                .open(names.detached_file(&name(pv), &name("n1")))
                .unwrap();
            file.set_modified(std::time::SystemTime::now() - age).unwrap();
        };
        names.save_detached(&name("young"), &name("n1"), &record).unwrap();
        names.save_detached(&name("old"), &name("n1"), &record).unwrap();
        age("young", DETACHED_RETENTION - Duration::from_secs(60));
        age("old", DETACHED_RETENTION + Duration::from_secs(1));
        assert_eq!(names.detached(&name("young"), &name("n1")).unwrap(), Some(record.clone()));
        assert_eq!(names.detached(&name("young"), &name("n2")).unwrap(), None);
        assert_eq!(names.detached(&name("old"), &name("n1")).unwrap(), None);
        names.save_detached(&name("next"), &name("n2"), &record).unwrap();
        assert!(!names.detached_file(&name("old"), &name("n1")).exists());
        assert!(names.detached_file(&name("young"), &name("n1")).exists());
        age("young", DETACHED_RETENTION * 2);
        names.save_detached(&name("next"), &name("n2"), &record).unwrap();
        assert!(!directory.path().join("state/detached/n1").exists());
    }

    #[test]
    fn what_a_killed_write_leaves_is_replaced_by_the_next_even_for_the_longest_name() {
        let directory = tempfile::tempdir().unwrap();
        let (names, longest) = (names(directory.path()), "x".repeat(250));
        let kept = directory.path().join("state/attached/n1");
        fs::create_dir_all(&kept).unwrap();
        fs::write(
            kept.join(format!(".{longest}.new")),
            "longer than what is written next ".repeat(9),
        )
        .unwrap();
        let record = AttachRecord { volume: Some(VolumeId::new("d-1")), node: None };
        names.save_attached(&name(&longest), &name("n1"), &record).unwrap();
        assert_eq!(names.attached(&name(&longest), &name("n1")).unwrap(), Some(record));
        assert_eq!(fs::read_dir(&kept).unwrap().count(), 1);
    }

    #[test]
    fn a_name_that_somebody_else_could_have_written_is_neither_believed_nor_written_beside() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let names = names(directory.path());
        let record = AttachRecord { volume: Some(VolumeId::new("d-1")), node: None };
        names.save_attached(&name("pv"), &name("n1"), &record).unwrap();
        let state = directory.path().join("state");
        fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).unwrap();
        for refused in [
            names.attached(&name("pv"), &name("n1")).map(drop),
            names.save_attached(&name("pv"), &name("n1"), &record),
        ] {
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains("chmod go-w"), "{refused}");
        }
        names.forget_attached(&name("pv"), &name("n1")).unwrap();
    }

    #[test]
    fn a_damaged_record_is_an_error_and_never_none() {
        let directory = tempfile::tempdir().unwrap();
        let names = names(directory.path());
        let record = FoundRecord {
            volume: VolumeId::new("d-1"),
            options: vec![],
            context: vec![],
            publish_context: vec![],
        };
        names.save_found(&name("pv"), &record).unwrap();
        assert_eq!(names.found(&name("pv")).unwrap(), Some(record));
        fs::write(directory.path().join("state/found/pv.json"), "{").unwrap();
        assert!(names.found(&name("pv")).unwrap_err().hint.is_some());
    }

    #[test]
    fn a_record_of_a_volume_that_is_never_mounted_goes_after_a_day() {
        let directory = tempfile::tempdir().unwrap();
        let names = names(directory.path());
        let record = FoundRecord {
            volume: VolumeId::new("d-1"),
            options: vec![],
            context: vec![],
            publish_context: vec![],
        };
        fs::create_dir_all(directory.path().join("mounts/mounted")).unwrap();
        for pv in ["mounted", "abandoned"] {
            names.save_found(&name(pv), &record).unwrap();
            let file = File::options().write(true).open(names.found_file(&name(pv))).unwrap();
            let age = FOUND_RETENTION + Duration::from_secs(1);
            file.set_modified(std::time::SystemTime::now() - age).unwrap();
        }
        names.save_found(&name("young"), &record).unwrap();
        assert_eq!(names.found(&name("abandoned")).unwrap(), None);
        for pv in ["mounted", "young"] {
            assert_eq!(names.found(&name(pv)).unwrap().as_ref(), Some(&record), "{pv}");
        }
    }

    #[test]
    fn what_the_older_driver_wrote_down_is_read_and_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let names = names(directory.path());
        assert_eq!(names.legacy(&name("pv")).unwrap(), None);
        fs::create_dir(directory.path().join("legacy")).unwrap();
        fs::write(directory.path().join("legacy/pv.conf"), "d-2zeold\n").unwrap();
        assert_eq!(names.legacy(&name("pv")).unwrap(), Some(name("d-2zeold")));
        names.forget_legacy(&name("pv")).unwrap();
        assert_eq!(names.legacy(&name("pv")).unwrap(), None);
    }

    #[test]
    fn what_the_older_driver_did_not_finish_says_nothing_and_what_is_damaged_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let names = names(directory.path());
        fs::create_dir(directory.path().join("legacy")).unwrap();
        let legacy = |text: &[u8]| {
            fs::write(directory.path().join("legacy/pv.conf"), text).unwrap();
            names.legacy(&name("pv"))
        };
        assert_eq!(legacy(b"").unwrap(), None);
        assert_eq!(legacy(b" \n\t\n").unwrap(), None);
        for damaged in [&b"\0\0\0\0"[..], b"\xff", b"d-1\nd-2", &[b'x'; MAX_LEGACY_BYTES]] {
            assert!(legacy(damaged).unwrap_err().hint.is_some(), "{damaged:?}");
        }
    }

    #[test]
    fn whoever_may_not_read_a_record_is_told_who_may() {
        let error = unreadable(Path::new("/r"), &ErrorKind::PermissionDenied.into());
        assert!(error.hint.unwrap().contains("root"));
        assert!(
            unreadable(Path::new("/r"), &ErrorKind::InvalidData.into())
                .hint
                .unwrap()
                .contains("repair")
        );
    }
}

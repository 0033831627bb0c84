//! What survives the supervisor: one small file for each mount, `<state>/mounts/<name>.json`,
//! replaced by rename. It holds nothing secret. Where it and the kernel's mount table differ, the
//! table is right. Mounts end with the machine's life, so nothing waits until it is on a disk.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wharf_core::Error;
use wharf_files::OwnDirectory;

use super::connections::Connection;
use super::decide::{DeviceNumber, Phase};
use super::launch::Process;
use super::protocol::{Ending, Spec};
use crate::state::records;

/// The layout of the file. A newer one is refused, not guessed.
const FORMAT: u32 = 1;
/// Dead connections that some mount point may still show. One more comes with each restart that
/// could not repair everything; the oldest is forgotten first.
const MAX_CONNECTIONS: usize = 32;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    format: u32,
    /// Mounts do not survive the machine.
    pub boot: String,
    /// What was asked for.
    pub spec: Spec,
    /// The form of its credential.
    pub form: Option<String>,
    /// Whether the helper goes on with keys that are not those of its files any more.
    pub has_old_keys: bool,
    /// When there are new keys, as [`Credential`](super::protocol::Credential) has it.
    #[serde(default)]
    pub renew_at_ms: Option<u64>,
    /// How far it has come.
    pub phase: Phase,
    /// The helper.
    pub process: Option<Process>,
    /// The helper that it takes the place of, and that still lives.
    pub retired: Option<Process>,
    /// What the helper serves, once it has mounted.
    pub serving: Option<Connection>,
    /// Every connection that mount points may show, `serving` among them.
    pub connections: Vec<Connection>,
    /// How often the helper was started again.
    pub restarts: u64,
    /// How many mount points were repaired.
    pub healed: u64,
    /// How the helper ended the last time.
    pub last_exit: Option<Ending>,
}

impl Record {
    /// Of a mount that is about to be made.
    pub fn new(boot: &str, spec: Spec, form: Option<String>) -> Self {
        Self {
            format: FORMAT,
            boot: boot.to_owned(),
            spec,
            form,
            has_old_keys: false,
            renew_at_ms: None,
            phase: Phase::Starting,
            process: None,
            retired: None,
            serving: None,
            connections: Vec::new(),
            restarts: 0,
            healed: 0,
            last_exit: None,
        }
    }

    /// Notes a helper that is about to run and has mounted nothing yet.
    pub fn started(&mut self, process: Process) {
        self.process = Some(process);
        self.serving = None;
        self.has_old_keys = false;
    }

    /// Notes that the helper which was to be replaced goes on: the other one has mounted nothing.
    pub fn resume_retired(&mut self) {
        self.process = self.retired.take();
        self.serving = self.connections.last().copied();
        self.has_old_keys = true;
    }

    /// Notes what the helper has mounted.
    pub fn mounted(&mut self, connection: Connection) {
        self.serving = Some(connection);
        // A number is used again once its file system is gone.
        self.connections.retain(|other| other.device != connection.device);
        self.connections.push(connection);
        let surplus = self.connections.len().saturating_sub(MAX_CONNECTIONS);
        self.connections.drain(..surplus);
    }

    /// The connection that this mount has or had under a number.
    pub fn with_number(&self, device: DeviceNumber) -> Option<&Connection> {
        self.connections.iter().find(|connection| connection.device == device)
    }

    /// The connections of helpers that have ended or are being replaced.
    pub fn dead(&self) -> impl Iterator<Item = &Connection> {
        self.connections.iter().filter(|connection| Some(**connection) != self.serving)
    }
}

/// The name of the mount at a target: the same for ever, short, and safe in a path.
pub(crate) fn name_of(target: &Path) -> String {
    format!("{:.16x}", Sha256::digest(target.as_os_str().as_encoded_bytes()))
}

/// The directory of records.
#[derive(Debug, Clone)]
pub(crate) struct MountRecords {
    state: OwnDirectory,
    directory: PathBuf,
}

impl MountRecords {
    /// Looks at nothing yet.
    pub fn new(state_directory: &Path) -> Self {
        Self {
            state: OwnDirectory::new(state_directory),
            directory: state_directory.join("mounts"),
        }
    }

    /// Writes a record.
    pub fn save(&self, name: &str, record: &Record) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(record).map_err(|error| {
            Error::internal(format!("cannot encode the record of mount {name}: {error}"))
        })?;
        records::replace_for_this_boot(&self.state, &self.path(name), &bytes)
    }

    /// Removes a record; a missing one is fine.
    pub fn forget(&self, name: &str) -> Result<(), Error> {
        records::forget(&self.path(name))
    }

    /// Every record, by name. One that cannot be read is reported and left where it is: its mount
    /// goes on without a supervisor.
    pub fn all(&self, boot: &str) -> Result<Vec<(String, Record)>, Error> {
        let mut all = Vec::new();
        for path in records::files(&self.directory)? {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            match read(&self.state, &path, boot) {
                Ok(Some(record)) if name_of(&record.spec.target) == name => {
                    all.push((name, record));
                }
                Ok(Some(_)) => {
                    tracing::error!(path = %path.display(), "this record is of another mount; it is not used");
                }
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "a mount is not looked after"),
            }
        }
        Ok(all)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.json"))
    }
}

fn read(state: &OwnDirectory, path: &Path, boot: &str) -> Result<Option<Record>, Error> {
    let Some(bytes) = records::read_bounded(state, path)? else { return Ok(None) };
    let cannot_use = |why: String| {
        Error::internal(format!("the state file {} cannot be used: {why}", path.display()))
            .with_hint("if the mount that it names is gone, delete the file")
    };
    let record: Record = match serde_json::from_slice(&bytes) {
        Ok(record) => record,
        Err(_) if records::is_left_by_a_crash(&bytes, boot) => {
            records::forget(path)?;
            return Ok(None);
        }
        Err(error) => return Err(cannot_use(error.to_string())),
    };
    if record.format != FORMAT {
        let why = format!("it has format {}, this build knows {FORMAT}", record.format);
        return Err(cannot_use(why));
    }
    Ok(Some(record))
}

#[cfg(test)]
pub(crate) mod tests {
    use wharf_core::helper_profile::{HelperProfile, Rotation};
    use wharf_core::plan::Readiness;

    use super::*;

    pub fn spec(target: &str) -> Spec {
        Spec {
            target: target.into(),
            helper: "h".into(),
            profile: HelperProfile {
                program: "h".into(),
                install: String::new(),
                arguments: vec!["{mountpoint}".into()],
                read_only: vec![],
                credentials: [].into(),
                rotation: Rotation::Restart,
                device: Default::default(),
                user: None,
                memory_mib: None,
                reserves_memory: false,
                options: vec![],
                noise: vec![],
                start_seconds: 1,
            },
            source: "s".into(),
            arguments: vec![],
            ready: Readiness::Mounted,
            read_only: false,
        }
    }

    fn connection(minor: u32) -> Connection {
        Connection { device: (0, minor), inode: 1, made: (1, 2) }
    }

    #[test]
    fn a_record_comes_back_as_it_was_written_and_goes_with_what_a_killed_writer_left() {
        let state = tempfile::tempdir().unwrap();
        let records = MountRecords::new(state.path());
        assert!(records.all("boot").unwrap().is_empty());
        let mut record = Record::new("boot", spec("/a"), Some("passwd".into()));
        record.mounted(connection(9));
        let name = name_of(Path::new("/a"));
        records.save(&name, &record).unwrap();
        assert_eq!(records.all("boot").unwrap(), [(name.clone(), record)]);
        std::fs::write(state.path().join(format!("mounts/.{name}.new")), "{").unwrap();
        records.forget(&name).unwrap();
        records.forget(&name).unwrap();
        assert_eq!(std::fs::read_dir(state.path().join("mounts")).unwrap().count(), 0);
    }

    #[test]
    fn a_record_that_is_damaged_newer_or_of_another_mount_is_not_used_and_stays() {
        let state = tempfile::tempdir().unwrap();
        let records = MountRecords::new(state.path());
        let record = Record::new("boot", spec("/a"), None);
        records.save("other", &record).unwrap();
        let newer = serde_json::to_string(&record).unwrap().replace("\"format\":1", "\"format\":2");
        std::fs::write(records.path(&name_of(Path::new("/a"))), newer).unwrap();
        std::fs::write(records.path("torn"), "{").unwrap();
        assert!(records.all("boot").unwrap().is_empty());
        assert_eq!(std::fs::read_dir(state.path().join("mounts")).unwrap().count(), 3);
    }

    #[test]
    fn what_a_crash_of_the_machine_left_empty_is_removed() {
        let state = tempfile::tempdir().unwrap();
        let records = MountRecords::new(state.path());
        records.save("other", &Record::new("boot", spec("/a"), None)).unwrap();
        std::fs::write(records.path("empty"), "").unwrap();
        std::fs::write(records.path("zeros"), [0; 900]).unwrap();
        let before = serde_json::to_vec_pretty(&Record::new("before", spec("/a"), None)).unwrap();
        std::fs::write(records.path("half"), &before[..before.len() / 2]).unwrap();
        assert!(records.all("boot").unwrap().is_empty());
        let left = std::fs::read_dir(state.path().join("mounts")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["other.json"]);
    }

    #[test]
    fn a_number_that_is_used_again_is_no_longer_dead() {
        let mut record = Record::new("boot", spec("/a"), None);
        record.mounted(connection(9));
        record.mounted(connection(10));
        let dead = |record: &Record| record.dead().copied().collect::<Vec<_>>();
        assert_eq!(record.serving, Some(connection(10)));
        assert_eq!(dead(&record), [connection(9)]);
        let again = Connection { inode: 2, ..connection(9) };
        record.mounted(again);
        assert_eq!(record.serving, Some(again));
        assert_eq!(dead(&record), [connection(10)]);
        assert_eq!(record.with_number((0, 9)), Some(&again));
        for minor in 0..100 {
            record.mounted(connection(minor));
        }
        assert_eq!(record.connections.len(), MAX_CONNECTIONS);
    }

    #[test]
    fn names_differ_and_are_safe_in_a_path() {
        let name = name_of(Path::new("/a/../\n"));
        assert!(name.len() == 16 && name.chars().all(|c| c.is_ascii_hexdigit()));
        assert_ne!(name, name_of(Path::new("/a")));
    }
}

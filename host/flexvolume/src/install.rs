//! Puts the binary where kubelet looks for drivers, and takes it away again.
//!
//! Kubelet watches the directory and executes what it finds there at any moment, so an executable
//! appears and changes by rename alone, and nothing is touched that need not change: any event on a
//! name without a leading dot makes kubelet load the driver anew. The command line calls this with
//! drivers read from the operator's configuration; it also is what takes over from another driver
//! of the same name, and puts it back.

mod executable;
mod mounted;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use wharf_core::Error;

pub use self::mounted::mounted;
use crate::driver_file::{DriverFile, FILE_NAME};
use crate::driver_name::DriverName;

/// Serialises two installers, as when an old and a new DaemonSet pod overlap.
const LOCK_NAME: &str = ".wharf.lock";

/// What happened to one driver.
#[derive(Debug)]
pub struct Outcome {
    /// The driver.
    pub driver: DriverName,
    /// Where kubelet finds it.
    pub executable: PathBuf,
    /// What was changed. One driver's failure does not keep the others from being done.
    pub result: Result<Change, Error>,
}

/// What was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The driver is new.
    Installed,
    /// Another executable was there; it is kept, for [`uninstall`].
    TookOver,
    /// The executable, or what `init` answers, has changed: kubelet loads the driver anew.
    Updated,
    /// Only settings have changed: the next call-out follows them, kubelet notices nothing.
    Reconfigured,
    /// Everything was as it should be.
    Unchanged,
    /// The driver is gone.
    Removed,
    /// The driver is gone, and the executable that was there before is back.
    Restored,
    /// There was nothing to remove.
    Absent,
}

/// Installs each driver into `plugins`, kubelet's volume plugin directory. Idempotent.
///
/// `binary` is this program (`/proc/self/exe`). It is copied once and hard-linked for further
/// drivers, so that several share the page cache.
pub fn install(plugins: &Path, binary: &Path, drivers: &[DriverFile]) -> Vec<Outcome> {
    let mut sibling: Option<PathBuf> = None;
    let mut outcomes = Vec::with_capacity(drivers.len());
    for driver in drivers {
        let files = InstalledFiles::of(plugins, &driver.driver);
        let result = files.install(binary, sibling.as_deref(), driver);
        if result.is_ok() {
            sibling.get_or_insert_with(|| files.executable.clone());
        }
        outcomes.push(Outcome {
            driver: driver.driver.clone(),
            executable: files.executable,
            result,
        });
    }
    outcomes
}

/// Removes each driver that [`install`] put there, and puts back what was there before.
/// Idempotent.
///
/// Volumes that are still mounted ([`mounted`]) are then kubelet's alone: drain the node first.
pub fn uninstall(plugins: &Path, drivers: &[DriverName]) -> Vec<Outcome> {
    let one = |driver: &DriverName| {
        let files = InstalledFiles::of(plugins, driver);
        let result = files.uninstall();
        Outcome { driver: driver.clone(), executable: files.executable, result }
    };
    drivers.iter().map(one).collect()
}

/// Where the files of one driver lie in the plugin directory.
struct InstalledFiles {
    directory: PathBuf,
    executable: PathBuf,
    /// Being written; becomes the executable by rename.
    incoming: PathBuf,
    /// The executable of whoever was here before.
    predecessor: PathBuf,
    description: PathBuf,
}

impl InstalledFiles {
    fn of(plugins: &Path, driver: &DriverName) -> Self {
        let directory = plugins.join(driver.directory());
        Self {
            executable: directory.join(driver.driver()),
            incoming: directory.join(format!(".{}.tmp", driver.driver())),
            predecessor: directory.join(format!(".{}.before-wharf", driver.driver())),
            description: directory.join(FILE_NAME),
            directory,
        }
    }

    fn install(
        &self,
        binary: &Path,
        sibling: Option<&Path>,
        driver: &DriverFile,
    ) -> Result<Change, Error> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&self.directory)
            .map_err(|error| failed("create", &self.directory, &error))?;
        let _lock = self.lock()?;
        let before = DriverFile::parse(&self.description).ok();
        let took_over =
            before.is_none() && !self.description.exists() && self.back_up_predecessor(binary)?;
        let is_described = before.as_ref() == Some(driver);
        if !is_described {
            self.describe(driver)?;
        }
        let is_current = executable::is_same(binary, &self.executable)
            .map_err(|error| failed("read", &self.executable, &error))?;
        let has_same_answer =
            before.as_ref().is_some_and(|before| before.capabilities == driver.capabilities);
        if is_current && has_same_answer {
            return Ok(if is_described { Change::Unchanged } else { Change::Reconfigured });
        }
        let is_new = !self.executable.exists();
        executable::place(binary, sibling, &self.incoming, &self.executable)
            .map_err(|error| failed("write", &self.executable, &error))?;
        Ok(match (is_new, took_over) {
            (true, _) => Change::Installed,
            (false, true) => Change::TookOver,
            (false, false) => Change::Updated,
        })
    }

    /// Keeps an executable that is not ours; says whether there was one.
    fn back_up_predecessor(&self, binary: &Path) -> Result<bool, Error> {
        let keep = || -> io::Result<bool> {
            if !self.executable.exists() || executable::is_same(binary, &self.executable)? {
                return Ok(false);
            }
            if !self.predecessor.exists() {
                executable::duplicate(&self.executable, &self.incoming)?;
                fs::rename(&self.incoming, &self.predecessor)?;
            }
            Ok(true)
        };
        keep().map_err(|error| failed("keep", &self.executable, &error))
    }

    fn describe(&self, driver: &DriverFile) -> Result<(), Error> {
        serde_json::to_vec_pretty(driver)
            .map_err(io::Error::from)
            .and_then(|text| wharf_files::replace_with_mode(&self.description, &text, 0o644))
            .map_err(|error| failed("write", &self.description, &error))
    }

    fn uninstall(&self) -> Result<Change, Error> {
        if !self.directory.exists() {
            return Ok(Change::Absent);
        }
        let _lock = self.lock()?;
        let change = self.vacate()?;
        for left in [&self.predecessor, &self.incoming, &self.directory.join(LOCK_NAME)] {
            remove(left)?;
        }
        // Someone else's files stay, and then so does the directory.
        let _ = fs::remove_dir(&self.directory);
        Ok(change)
    }

    /// The predecessor is removed last: killed anywhere in between, the next run puts it back
    /// again.
    fn vacate(&self) -> Result<Change, Error> {
        if !self.description.exists() {
            return match (self.executable.exists(), self.predecessor.exists()) {
                (true, true) => Ok(Change::Restored),
                (true, false) => Err(Error::precondition(format!(
                    "{} was not installed by wharf",
                    self.executable.display()
                ))
                .with_hint("remove it by hand if it is not needed")),
                (false, _) => Ok(Change::Absent),
            };
        }
        let change = if self.predecessor.exists() {
            let restore = || {
                executable::duplicate(&self.predecessor, &self.incoming)
                    .and_then(|()| fs::rename(&self.incoming, &self.executable))
            };
            restore().map_err(|error| failed("restore", &self.executable, &error))?;
            Change::Restored
        } else {
            remove(&self.executable)?;
            Change::Removed
        };
        remove(&self.description)?;
        Ok(change)
    }

    fn lock(&self) -> Result<File, Error> {
        let path = self.directory.join(LOCK_NAME);
        let lock = || -> io::Result<File> {
            let file = File::create(&path)?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(|error| failed("lock", &path, &error))
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", path, &error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn failed(verb: &str, path: &Path, error: &io::Error) -> Error {
    Error::unavailable(format!("cannot {verb} {}: {error}", path.display())).with_hint(
        "it must be kubelet's volume plugin directory (--volume-plugin-dir), writable for root",
    )
}

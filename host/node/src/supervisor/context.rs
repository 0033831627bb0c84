//! What all mounts of a supervisor have in common: where things are, and nothing that changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use wharf_core::Error;
use wharf_core::helper_profile::HelperProfile;

use super::SupervisorOptions;
use super::cgroups::Cgroups;
use super::connections::Connections;
use super::record::MountRecords;

/// Where things are.
#[derive(Debug)]
pub(crate) struct SupervisorContext {
    pub run_directory: PathBuf,
    pub records: MountRecords,
    pub cgroups: Cgroups,
    pub connections: Arc<Connections>,
    pub program_path: Vec<PathBuf>,
    /// Which life of the machine this is.
    pub boot: String,
}

impl SupervisorContext {
    /// Makes the run directory, for root alone.
    ///
    /// # Errors
    /// `Internal` with what cannot be made or read.
    pub fn new(options: &SupervisorOptions) -> Result<Self, Error> {
        crate::state::records::make_private_directory(&options.run_directory)?;
        let failed = |what: &Path, error: std::io::Error| {
            Error::internal(format!("cannot use {}: {error}", what.display()))
        };
        let run_directory = options
            .run_directory
            .canonicalize()
            .map_err(|error| failed(&options.run_directory, error))?;
        let boot_file = Path::new("/proc/sys/kernel/random/boot_id");
        let boot = std::fs::read_to_string(boot_file).map_err(|error| failed(boot_file, error))?;
        Ok(Self {
            connections: Arc::new(Connections::of(&run_directory)),
            run_directory,
            records: MountRecords::new(&options.state_directory),
            cgroups: Cgroups::new(&options.cgroups),
            program_path: options.program_path.clone(),
            boot: boot.trim().to_owned(),
        })
    }

    /// The file of a helper's program.
    ///
    /// # Errors
    /// `FailedPrecondition` with how to install it.
    pub fn find(&self, profile: &HelperProfile) -> Result<PathBuf, Error> {
        let name = Path::new(&profile.program);
        let candidates = self.program_path.iter().map(|directory| directory.join(name));
        candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| {
            Error::precondition(format!(
                "the mount helper {} is not installed on this node",
                profile.program
            ))
            .with_hint(format!("install it: {}", profile.install))
        })
    }
}

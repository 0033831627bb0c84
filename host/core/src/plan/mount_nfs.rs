//! `mount-nfs`: an NFS export on the call's path, or in a private mount.

use serde::{Deserialize, Serialize};

use super::{PlanStep, StepOutput};
use crate::error::Error;
use crate::policy::NodePolicy;

const READ_AHEAD: &str = "readahead=";

/// Mounts an NFS export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountNfs {
    /// Host name or address; an IPv6 address without brackets.
    pub server: String,
    /// Export path.
    pub path: String,
    /// Mount options; one string may hold several, separated by commas.
    pub options: Vec<String>,
    /// Nothing is written through this mount.
    pub read_only: bool,
    /// Where it is mounted.
    pub place: MountPlace,
    /// Makes `path` first where it is missing.
    pub make_path: Option<MakePath>,
}

/// Where a mount lands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountPlace {
    /// The call's path.
    Target,
    /// A private mount that only this plan sees and that is gone afterwards.
    Scratch,
}

/// How a missing directory of an export is made: through a private mount of one that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MakePath {
    /// An export path that exists and that the mounted path lies below. Where it is not granted,
    /// the granted one that is nearest to it is meant.
    pub root: String,
    /// Permission bits of the new directory.
    pub mode: u32,
    /// Its owner; absent: whoever the server gives it.
    pub uid: Option<u32>,
    /// Its group; absent: whichever the server gives it.
    pub gid: Option<u32>,
}

impl MountNfs {
    /// The option `readahead=`, which is for the host and not for the kernel's client: how many KiB
    /// are to be read ahead. As far as the operator grants it; it decides nothing about the data.
    ///
    /// # Errors
    /// `InvalidArgument` when it is no number.
    pub fn read_ahead_kb(&self) -> Result<Option<u32>, Error> {
        let asked = self.each_option().filter_map(|option| option.strip_prefix(READ_AHEAD)).last();
        asked
            .map(|asked| {
                asked.parse().map_err(|_| {
                    Error::invalid(format!("the mount option `{READ_AHEAD}` takes a number of KiB"))
                })
            })
            .transpose()
    }

    /// The options of the kernel's client.
    pub fn client_options(&self) -> impl Iterator<Item = &str> {
        self.each_option().filter(|option| !option.starts_with(READ_AHEAD))
    }

    /// The options, one by one, as the kernel separates them.
    fn each_option(&self) -> impl Iterator<Item = &str> {
        self.options
            .iter()
            .flat_map(|options| options.split(','))
            .map(str::trim)
            .filter(|option| !option.is_empty())
    }
}

impl PlanStep for MountNfs {
    const NAME: &'static str = "mount-nfs";

    fn needs_path(&self) -> bool {
        self.place == MountPlace::Target
    }

    fn check_grant(&self, policy: &NodePolicy) -> Result<(), Error> {
        policy.nfs.check(self)
    }

    fn output(&self) -> Option<StepOutput> {
        Some(match self.place {
            MountPlace::Target => StepOutput::FileSystem,
            MountPlace::Scratch => StepOutput::Scratch,
        })
    }

    fn for_reading(self, _is_shared: bool) -> Option<Self> {
        let read_only = self.read_only || self.place == MountPlace::Target;
        Some(Self { read_only, ..self })
    }

    fn describe(&self) -> String {
        format!("{} {}:{}", Self::NAME, self.server, self.path)
    }
}

//! Building plans: one method for each step, in the order in which it must become true.

pub use crate::bindings::backend::exports::wharf::volume::node::{
    BlockDevice, Check, FindDevice, Format, FuseSource, GrantedDirectory, Grow, MakeDirectory,
    Mount, MountSource, NfsSource, Plan, SetBlockQueue, Step,
};

/// Whether a workload may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    /// Read and write.
    Allowed,
    /// Read only.
    Forbidden,
}

impl Writing {
    /// From the contract's `read-only`.
    pub fn unless_read_only(read_only: bool) -> Self {
        if read_only { Self::Forbidden } else { Self::Allowed }
    }

    fn is_read_only(self) -> bool {
        self == Self::Forbidden
    }
}

impl Plan {
    /// An empty plan; `summary` is one line for people.
    pub fn new(summary: impl Into<String>) -> Self {
        Self { steps: Vec::new(), summary: summary.into(), extensions: Vec::new() }
    }

    /// Adds any step.
    #[must_use]
    pub fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Finds the block device with this serial; `links` are its names under the by-id folder, best
    /// first.
    #[must_use]
    pub fn find_device(self, serial: impl Into<String>, links: Vec<String>) -> Self {
        self.find_device_of(serial, links, 0)
    }

    /// The same, and the device must have so many bytes.
    #[must_use]
    pub fn find_device_of(
        self,
        serial: impl Into<String>,
        links: Vec<String>,
        minimum_bytes: u64,
    ) -> Self {
        self.step(Step::FindDevice(FindDevice { serial: serial.into(), links, minimum_bytes }))
    }

    /// Checks and repairs the file system if there is one.
    #[must_use]
    pub fn check(self, fs_type: impl Into<String>) -> Self {
        self.step(Step::Check(Check { fs_type: fs_type.into() }))
    }

    /// Makes a file system if the device is provably blank.
    #[must_use]
    pub fn format(self, fs_type: impl Into<String>, arguments: Vec<String>) -> Self {
        self.step(Step::Format(Format { fs_type: fs_type.into(), arguments }))
    }

    /// Grows the file system to its device; an empty type means the one that it has.
    #[must_use]
    pub fn grow(self, fs_type: impl Into<String>) -> Self {
        self.step(Step::Grow(Grow { fs_type: fs_type.into() }))
    }

    /// Mounts the found device on the call's path.
    #[must_use]
    pub fn mount_device(
        self,
        fs_type: impl Into<String>,
        flags: Vec<String>,
        writing: Writing,
    ) -> Self {
        self.mount(MountSource::Device, fs_type, flags, writing)
    }

    /// Binds what the volume was staged as to the call's path.
    #[must_use]
    pub fn mount_staged(self, flags: Vec<String>, writing: Writing) -> Self {
        self.mount(MountSource::Staged, "", flags, writing)
    }

    /// Binds a folder under a root that the operator granted by name.
    #[must_use]
    pub fn mount_directory(
        self,
        root: impl Into<String>,
        path: impl Into<String>,
        writing: Writing,
    ) -> Self {
        let at = GrantedDirectory { root: root.into(), path: path.into() };
        self.mount(MountSource::Directory(at), "", Vec::new(), writing)
    }

    /// Mounts an NFS export.
    #[must_use]
    pub fn mount_nfs(self, source: NfsSource, flags: Vec<String>, writing: Writing) -> Self {
        self.mount(MountSource::Nfs(source), "nfs", flags, writing)
    }

    /// Mounts with a helper program that the operator granted by name.
    #[must_use]
    pub fn mount_fuse(self, source: FuseSource, flags: Vec<String>, writing: Writing) -> Self {
        self.mount(MountSource::Fuse(source), "fuse", flags, writing)
    }

    /// Makes a folder under a granted root.
    #[must_use]
    pub fn make_directory(
        self,
        root: impl Into<String>,
        path: impl Into<String>,
        mode: u32,
    ) -> Self {
        let at = GrantedDirectory { root: root.into(), path: path.into() };
        self.step(Step::MakeDirectory(MakeDirectory { at, mode, uid: None, gid: None }))
    }

    /// Writes one setting of the found device's request queue.
    #[must_use]
    pub fn set_block_queue(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.step(Step::SetBlockQueue(SetBlockQueue { key: key.into(), value: value.into() }))
    }

    /// Puts the found device at the call's path.
    #[must_use]
    pub fn block_device(self, writing: Writing) -> Self {
        self.step(Step::BlockDevice(BlockDevice { read_only: writing.is_read_only() }))
    }

    fn mount(
        self,
        source: MountSource,
        fs_type: impl Into<String>,
        flags: Vec<String>,
        writing: Writing,
    ) -> Self {
        self.step(Step::Mount(Mount {
            source,
            fs_type: fs_type.into(),
            flags,
            read_only: writing.is_read_only(),
        }))
    }
}

impl Step {
    /// The step's word in a manifest's list of steps.
    pub fn word(&self) -> &'static str {
        match self {
            Self::FindDevice(_) => "find-device",
            Self::Format(_) => "format",
            Self::Check(_) => "check",
            Self::Grow(_) => "grow",
            Self::Mount(mount) => match mount.source {
                MountSource::Device => "mount-device",
                MountSource::Staged => "mount-staged",
                MountSource::Directory(_) => "mount-directory",
                MountSource::Nfs(_) => "mount-nfs",
                MountSource::Fuse(_) => "mount-fuse",
            },
            Self::MakeDirectory(_) => "make-directory",
            Self::SetBlockQueue(_) => "set-block-queue",
            Self::BlockDevice(_) => "block-device",
        }
    }
}

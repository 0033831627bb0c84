//! Building plans: one method for each step, in the order in which it must become true.
//!
//! A [`Plan`] is data here, so that a test can look at it. When a backend returns one, the SDK
//! hands it to the host step by step; a component imports only the functions of the steps that this
//! module knows.

use crate::bindings::backend::wharf::volume::plans as host;
pub use crate::bindings::backend::wharf::volume::plans::{
    DeviceMatch, Directory, DirectoryBase, FuseMount, GrantedDirectory, HelperCredential,
    MissingPath, MountPlace, NfsShare, Owner, Readiness,
};
use crate::types::Parameters;

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

    /// Whether only reading is allowed.
    pub fn is_read_only(self) -> bool {
        self == Self::Forbidden
    }
}

/// What must be true on a node, in order; at most 32 steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// One line for people: what this plan is for.
    pub summary: String,
    /// The steps.
    pub steps: Vec<Step>,
}

/// One thing that must be true; the contract says of each what it means.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the fields are the parameters of the function in `wit/plans.wit`")]
pub enum Step {
    /// `plan.find-device`
    FindDevice { matches: Vec<DeviceMatch>, minimum_bytes: u64 },
    /// `plan.check`
    Check { fs_type: String },
    /// `plan.format`
    Format { fs_type: String, arguments: Vec<String> },
    /// `plan.grow`
    Grow { fs_type: String },
    /// `plan.mount-device`
    MountDevice { fs_type: String, flags: Vec<String>, read_only: bool },
    /// `plan.block-device`
    BlockDevice { read_only: bool },
    /// `plan.set-block-queue`
    SetBlockQueue { key: String, value: String },
    /// `plan.mount-staged`
    MountStaged { flags: Vec<String>, read_only: bool },
    /// `plan.mount-directory`
    MountDirectory { at: GrantedDirectory, flags: Vec<String>, read_only: bool },
    /// `plan.mount-nfs`
    MountNfs { share: NfsShare, place: MountPlace, read_only: bool },
    /// `plan.mount-fuse`
    MountFuse { mount: FuseMount, read_only: bool },
    /// `plan.make-directory`
    MakeDirectory { at: Directory, mode: u32, owner: Owner },
    /// `plan.set-ownership`
    SetOwnership { at: Directory, mode: Option<u32>, owner: Owner, recursive: bool },
    /// `plan.move-aside`
    MoveAside { from: Directory, to: String },
    /// `plan.remove-tree`
    RemoveTree { at: Directory },
}

impl Step {
    /// The step's name in a manifest's list of steps.
    pub fn name(&self) -> &'static str {
        match self {
            Self::FindDevice { .. } => "find-device",
            Self::Check { .. } => "check",
            Self::Format { .. } => "format",
            Self::Grow { .. } => "grow",
            Self::MountDevice { .. } => "mount-device",
            Self::BlockDevice { .. } => "block-device",
            Self::SetBlockQueue { .. } => "set-block-queue",
            Self::MountStaged { .. } => "mount-staged",
            Self::MountDirectory { .. } => "mount-directory",
            Self::MountNfs { .. } => "mount-nfs",
            Self::MountFuse { .. } => "mount-fuse",
            Self::MakeDirectory { .. } => "make-directory",
            Self::SetOwnership { .. } => "set-ownership",
            Self::MoveAside { .. } => "move-aside",
            Self::RemoveTree { .. } => "remove-tree",
        }
    }

    fn add_to(&self, plan: &host::Plan) {
        match self {
            Self::FindDevice { matches, minimum_bytes } => {
                plan.find_device(matches, *minimum_bytes);
            }
            Self::Check { fs_type } => plan.check(fs_type),
            Self::Format { fs_type, arguments } => plan.format(fs_type, arguments),
            Self::Grow { fs_type } => plan.grow(fs_type),
            Self::MountDevice { fs_type, flags, read_only } => {
                plan.mount_device(fs_type, flags, *read_only);
            }
            Self::BlockDevice { read_only } => plan.block_device(*read_only),
            Self::SetBlockQueue { key, value } => plan.set_block_queue(key, value),
            Self::MountStaged { flags, read_only } => plan.mount_staged(flags, *read_only),
            Self::MountDirectory { at, flags, read_only } => {
                plan.mount_directory(at, flags, *read_only);
            }
            Self::MountNfs { share, place, read_only } => {
                plan.mount_nfs(share, *place, *read_only);
            }
            Self::MountFuse { mount, read_only } => plan.mount_fuse(mount, *read_only),
            Self::MakeDirectory { at, mode, owner } => plan.make_directory(at, *mode, *owner),
            Self::SetOwnership { at, mode, owner, recursive } => {
                plan.set_ownership(at, *mode, *owner, *recursive);
            }
            Self::MoveAside { from, to } => plan.move_aside(from, to),
            Self::RemoveTree { at } => plan.remove_tree(at),
        }
    }
}

impl Plan {
    /// An empty plan; `summary` is one line for people.
    pub fn new(summary: impl Into<String>) -> Self {
        Self { steps: Vec::new(), summary: summary.into() }
    }

    /// Adds any step.
    #[must_use]
    pub fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Finds the block device by these matches, best first, of at least so many bytes (zero: any
    /// size).
    #[must_use]
    pub fn find_device(self, matches: Vec<DeviceMatch>, minimum_bytes: u64) -> Self {
        self.step(Step::FindDevice { matches, minimum_bytes })
    }

    /// Checks and repairs the file system if there is one.
    #[must_use]
    pub fn check(self, fs_type: impl Into<String>) -> Self {
        self.step(Step::Check { fs_type: fs_type.into() })
    }

    /// Makes a file system if the device is provably blank.
    #[must_use]
    pub fn format(self, fs_type: impl Into<String>, arguments: Vec<String>) -> Self {
        self.step(Step::Format { fs_type: fs_type.into(), arguments })
    }

    /// Grows the file system to its device; an empty type means the one that it has.
    #[must_use]
    pub fn grow(self, fs_type: impl Into<String>) -> Self {
        self.step(Step::Grow { fs_type: fs_type.into() })
    }

    /// Mounts the found device on the call's path.
    #[must_use]
    pub fn mount_device(
        self,
        fs_type: impl Into<String>,
        flags: Vec<String>,
        writing: Writing,
    ) -> Self {
        let read_only = writing.is_read_only();
        self.step(Step::MountDevice { fs_type: fs_type.into(), flags, read_only })
    }

    /// Puts the found device at the call's path.
    #[must_use]
    pub fn block_device(self, writing: Writing) -> Self {
        self.step(Step::BlockDevice { read_only: writing.is_read_only() })
    }

    /// Writes one setting of the found device's request queue.
    #[must_use]
    pub fn set_block_queue(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.step(Step::SetBlockQueue { key: key.into(), value: value.into() })
    }

    /// Shows what the volume was staged as on the call's path.
    #[must_use]
    pub fn mount_staged(self, flags: Vec<String>, writing: Writing) -> Self {
        self.step(Step::MountStaged { flags, read_only: writing.is_read_only() })
    }

    /// Shows a directory under a root that the operator granted by name.
    #[must_use]
    pub fn mount_directory(
        self,
        root: impl Into<String>,
        path: impl Into<String>,
        writing: Writing,
    ) -> Self {
        let at = GrantedDirectory { root: root.into(), path: path.into() };
        let read_only = writing.is_read_only();
        self.step(Step::MountDirectory { at, flags: Vec::new(), read_only })
    }

    /// Mounts an NFS export on the call's path.
    #[must_use]
    pub fn mount_nfs(self, share: NfsShare, writing: Writing) -> Self {
        let read_only = writing.is_read_only();
        self.step(Step::MountNfs { share, place: MountPlace::Target, read_only })
    }

    /// Mounts an NFS export in the plan's scratch mount, to write in it.
    #[must_use]
    pub fn mount_nfs_in_scratch(self, share: NfsShare) -> Self {
        self.step(Step::MountNfs { share, place: MountPlace::Scratch, read_only: false })
    }

    /// Mounts by a helper program that the operator granted by name.
    #[must_use]
    pub fn mount_fuse(self, mount: FuseMount, writing: Writing) -> Self {
        self.step(Step::MountFuse { mount, read_only: writing.is_read_only() })
    }

    /// Makes a directory, and those above it where they are missing.
    #[must_use]
    pub fn make_directory(self, at: Directory, mode: u32, owner: Owner) -> Self {
        self.step(Step::MakeDirectory { at, mode, owner })
    }

    /// Gives one directory this mode (`None`: as it is) and owner.
    #[must_use]
    pub fn set_ownership(self, at: Directory, mode: Option<u32>, owner: Owner) -> Self {
        self.step(Step::SetOwnership { at, mode, owner, recursive: false })
    }

    /// Gives a directory and all that is in it this mode (`None`: as it is) and owner.
    #[must_use]
    pub fn set_ownership_of_tree(self, at: Directory, mode: Option<u32>, owner: Owner) -> Self {
        self.step(Step::SetOwnership { at, mode, owner, recursive: true })
    }

    /// Renames a directory inside its base, never overwriting; one that is not there is aside.
    #[must_use]
    pub fn move_aside(self, from: Directory, to: impl Into<String>) -> Self {
        self.step(Step::MoveAside { from, to: to.into() })
    }

    /// Removes a directory with all that is in it.
    #[must_use]
    pub fn remove_tree(self, at: Directory) -> Self {
        self.step(Step::RemoveTree { at })
    }

    /// The host's own plan. Only inside a component: a native build has no host.
    pub(crate) fn hand_over(&self) -> host::Plan {
        let plan = host::Plan::new(&self.summary);
        self.steps.iter().for_each(|step| step.add_to(&plan));
        plan
    }
}

impl Directory {
    /// In a directory that the operator granted by this name.
    pub fn granted(root: impl Into<String>, path: impl Into<String>) -> Self {
        Self { base: DirectoryBase::Granted(root.into()), path: path.into() }
    }

    /// In what this plan mounted on the call's path.
    pub fn in_target(path: impl Into<String>) -> Self {
        Self { base: DirectoryBase::Target, path: path.into() }
    }

    /// In this plan's scratch mount.
    pub fn in_scratch(path: impl Into<String>) -> Self {
        Self { base: DirectoryBase::Scratch, path: path.into() }
    }
}

impl Owner {
    /// Whoever has it; root for what is new.
    pub const UNCHANGED: Self = Self { uid: None, gid: None };
}

impl NfsShare {
    /// An export whose path has to exist.
    pub fn new(server: impl Into<String>, path: impl Into<String>, options: Vec<String>) -> Self {
        Self {
            server: server.into(),
            path: path.into(),
            options,
            missing: None,
            extensions: Parameters::new(),
        }
    }

    /// Makes the path with this mode where it does not exist; `root` is the part that does.
    #[must_use]
    pub fn making_path(mut self, root: impl Into<String>, mode: u32) -> Self {
        self.missing = Some(MissingPath {
            root: root.into(),
            mode,
            owner: Owner::UNCHANGED,
            extensions: Parameters::new(),
        });
        self
    }
}

impl FuseMount {
    /// A mount whose root must answer, without keys.
    pub fn new(helper: impl Into<String>, source: impl Into<String>, options: Vec<String>) -> Self {
        Self {
            helper: helper.into(),
            source: source.into(),
            options,
            credential: None,
            ready: Readiness::Answers,
            extensions: Parameters::new(),
        }
    }

    /// With keys of this account, in a form that its authenticator knows.
    #[must_use]
    pub fn with_credential(
        mut self,
        account: impl Into<String>,
        form: impl Into<String>,
        values: Parameters,
    ) -> Self {
        self.credential = Some(HelperCredential::new(account, form, values));
        self
    }
}

impl HelperCredential {
    /// Keys of this account, in a form that its authenticator knows, with what the form needs
    /// besides.
    pub fn new(account: impl Into<String>, form: impl Into<String>, values: Parameters) -> Self {
        let (account, form) = (account.into(), form.into());
        Self { account, form, values, extensions: Parameters::new() }
    }
}

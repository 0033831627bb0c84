//! The resource `plans.plan`: what a guest says step by step becomes a plan, which is data from
//! then on. Every function of the contract is one method here; a component that was built before
//! one existed does not import it.

use wasmtime::component::Resource;
use wharf_core::plan::{
    BlockDevice, Check, DeviceMatch, DirectoryBase, DirectoryPath, FindDevice, Format,
    GrantedDirectory, Grow, HelperCredential, MAX_STEPS, MakeDirectory, MakePath, MountDevice,
    MountDirectory, MountFuse, MountNfs, MountPlace, MountStaged, MoveAside, Plan, Readiness,
    RemoveTree, SetBlockQueue, SetOwnership, Step,
};

use crate::bindings::imports::plans as wit;
use crate::host::HostCtx;

/// Plans that one call may hold at once: it returns one, and builds at most another beside it.
const PLANS: usize = 4;

/// A plan that is being built.
#[derive(Debug)]
pub struct PlanBuilder {
    plan: Plan,
}

impl HostCtx {
    /// Takes a finished plan from the guest.
    pub(crate) fn take_plan(&mut self, plan: Resource<PlanBuilder>) -> wasmtime::Result<Plan> {
        Ok(self.plans.delete(plan)?.plan)
    }

    fn add(&mut self, plan: &Resource<PlanBuilder>, step: Step) -> wasmtime::Result<()> {
        let steps = &mut self.plans.get_mut(plan)?.plan.steps;
        // One more than allowed says that there were too many; the rest would only take memory.
        if steps.len() <= MAX_STEPS {
            steps.push(step);
        }
        Ok(())
    }
}

impl wit::Host for HostCtx {}

type Built = wasmtime::Result<()>;
type Handle = Resource<PlanBuilder>;

impl wit::HostPlan for HostCtx {
    fn new(&mut self, summary: String) -> wasmtime::Result<Handle> {
        Ok(self.plans.push(PlanBuilder { plan: Plan { steps: Vec::new(), summary } })?)
    }

    fn find_device(
        &mut self,
        plan: Handle,
        matches: Vec<wit::DeviceMatch>,
        minimum_bytes: u64,
    ) -> Built {
        let matches = matches
            .into_iter()
            .map(|one| match one {
                wit::DeviceMatch::Serial(serial) => DeviceMatch::Serial(serial),
                wit::DeviceMatch::ById(name) => DeviceMatch::ById(name),
                wit::DeviceMatch::ByPath(name) => DeviceMatch::ByPath(name),
                wit::DeviceMatch::Wwn(name) => DeviceMatch::Wwn(name),
                wit::DeviceMatch::Lun(number) => DeviceMatch::Lun(number),
            })
            .collect();
        self.add(&plan, Step::FindDevice(FindDevice { matches, minimum_bytes }))
    }

    fn check(&mut self, plan: Handle, fs_type: String) -> Built {
        self.add(&plan, Step::Check(Check { fs_type }))
    }

    fn format(&mut self, plan: Handle, fs_type: String, arguments: Vec<String>) -> Built {
        self.add(&plan, Step::Format(Format { fs_type, arguments }))
    }

    fn grow(&mut self, plan: Handle, fs_type: String) -> Built {
        self.add(&plan, Step::Grow(Grow { fs_type }))
    }

    fn mount_device(
        &mut self,
        plan: Handle,
        fs_type: String,
        flags: Vec<String>,
        read_only: bool,
    ) -> Built {
        self.add(&plan, Step::MountDevice(MountDevice { fs_type, flags, read_only }))
    }

    fn block_device(&mut self, plan: Handle, read_only: bool) -> Built {
        self.add(&plan, Step::BlockDevice(BlockDevice { read_only }))
    }

    fn set_block_queue(&mut self, plan: Handle, key: String, value: String) -> Built {
        self.add(&plan, Step::SetBlockQueue(SetBlockQueue { key, value }))
    }

    fn mount_staged(&mut self, plan: Handle, flags: Vec<String>, read_only: bool) -> Built {
        self.add(&plan, Step::MountStaged(MountStaged { flags, read_only }))
    }

    fn mount_directory(
        &mut self,
        plan: Handle,
        at: wit::GrantedDirectory,
        flags: Vec<String>,
        read_only: bool,
    ) -> Built {
        let at = GrantedDirectory { root: at.root, path: at.path };
        self.add(&plan, Step::MountDirectory(MountDirectory { at, flags, read_only }))
    }

    fn mount_nfs(
        &mut self,
        plan: Handle,
        share: wit::NfsShare,
        place: wit::MountPlace,
        read_only: bool,
    ) -> Built {
        let wit::NfsShare { server, path, options, missing, extensions: _ } = share;
        let place = match place {
            wit::MountPlace::Target => MountPlace::Target,
            wit::MountPlace::Scratch => MountPlace::Scratch,
        };
        let make_path = missing.map(|missing| {
            let wit::MissingPath { root, mode, owner, extensions: _ } = missing;
            MakePath { root, mode, uid: owner.uid, gid: owner.gid }
        });
        let mount = MountNfs { server, path, options, read_only, place, make_path };
        self.add(&plan, Step::MountNfs(mount))
    }

    fn mount_fuse(&mut self, plan: Handle, mount: wit::FuseMount, read_only: bool) -> Built {
        let wit::FuseMount { helper, source, options, credential, ready, extensions: _ } = mount;
        let credential = credential.map(|credential| {
            let wit::HelperCredential { account, form, values, extensions: _ } = credential;
            HelperCredential { account, form, values }
        });
        let ready = match ready {
            wit::Readiness::Mounted => Readiness::Mounted,
            wit::Readiness::Answers => Readiness::Answers,
        };
        let arguments = options;
        let mount = MountFuse { helper, source, arguments, credential, ready, read_only };
        self.add(&plan, Step::MountFuse(mount))
    }

    fn make_directory(
        &mut self,
        plan: Handle,
        at: wit::Directory,
        mode: u32,
        owner: wit::Owner,
    ) -> Built {
        let (at, wit::Owner { uid, gid }) = (directory(at), owner);
        self.add(&plan, Step::MakeDirectory(MakeDirectory { at, mode, uid, gid }))
    }

    fn set_ownership(
        &mut self,
        plan: Handle,
        at: wit::Directory,
        mode: Option<u32>,
        owner: wit::Owner,
        recursive: bool,
    ) -> Built {
        let (at, wit::Owner { uid, gid }) = (directory(at), owner);
        self.add(&plan, Step::SetOwnership(SetOwnership { at, mode, uid, gid, recursive }))
    }

    fn move_aside(&mut self, plan: Handle, from: wit::Directory, to: String) -> Built {
        self.add(&plan, Step::MoveAside(MoveAside { from: directory(from), to }))
    }

    fn remove_tree(&mut self, plan: Handle, at: wit::Directory) -> Built {
        self.add(&plan, Step::RemoveTree(RemoveTree { at: directory(at) }))
    }

    fn drop(&mut self, plan: Handle) -> wasmtime::Result<()> {
        self.plans.delete(plan)?;
        Ok(())
    }
}

fn directory(at: wit::Directory) -> DirectoryPath {
    let wit::Directory { base, path } = at;
    let base = match base {
        wit::DirectoryBase::Granted(root) => DirectoryBase::Granted(root),
        wit::DirectoryBase::Target => DirectoryBase::Target,
        wit::DirectoryBase::Scratch => DirectoryBase::Scratch,
    };
    DirectoryPath { base, path }
}

/// A table for the plans of one call.
pub(crate) fn table() -> wasmtime::component::ResourceTable {
    let mut table = wasmtime::component::ResourceTable::new();
    table.set_max_capacity(PLANS);
    table
}

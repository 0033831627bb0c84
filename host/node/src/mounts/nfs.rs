//! NFS mounts, as the host asks for them: options sorted for the kernel, the server's addresses in
//! turn, and a directory that is missing made first. The system calls are made in a process of its
//! own (`remote`), because each may wait for the server.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::MountFlags;
use wharf_core::plan::{MakePath, MountNfs};
use wharf_core::policy::NfsPolicy;
use wharf_core::ports::Call;
use wharf_core::{Error, ErrorKind};

use self::family::Families;
use crate::context::NodeContext;
use crate::mounts::options::MountOptions;
use crate::mounts::paths::MountTarget;
use crate::program::Program;
use crate::remote::{Answer, Failure, NfsMount, Purpose, Request, Session, Tree, TreeBase, Work};
use crate::trees::Ownership;

mod family;
mod statd;
pub(crate) mod tuning;

/// A resolver that answers does so in less.
const RESOLVE_BOUND: Duration = Duration::from_secs(10);
/// One address: a server answers in milliseconds, and after a failover within half a minute.
const ADDRESS_BOUND: Duration = Duration::from_secs(60);
/// A mount target has one or two; more would leave too little time for each.
const MAX_ADDRESSES: usize = 4;
/// Of what a call has left, for taking back what was done and for the answer: a fifth, and at most
/// this.
const RESERVE: Duration = Duration::from_secs(5);

/// Read by mount.nfs alone: how it waits and tries again, which the host does itself.
const FOR_MOUNT_PROGRAM: [&str; 4] = ["retry", "fg", "intr", "nointr"];

/// An export that is to be mounted, its options sorted.
#[derive(Debug, Clone)]
pub(crate) struct NfsExport {
    server: String,
    path: String,
    options: MountOptions,
    /// For the kernel's client.
    client_options: Vec<String>,
    make_path: Option<MakePath>,
    /// Why a missing directory is not made although the plan asks for it, and what to do.
    unmade: Option<String>,
}

impl NfsExport {
    /// Sorts the options of a step.
    ///
    /// # Errors
    /// As [`MountOptions::parse`].
    pub fn parse(step: &MountNfs) -> Result<Self, Error> {
        let options: Vec<String> = step.client_options().map(str::to_owned).collect();
        let options = MountOptions::parse(&options, step.read_only)?;
        let client_options = options
            .of_file_system()
            .iter()
            .filter(|option| !FOR_MOUNT_PROGRAM.contains(&name_of(option)))
            .cloned()
            .collect();
        let MountNfs { server, path, make_path, .. } = step.clone();
        let export = Self { server, path, options, client_options, make_path, unmade: None };
        if export.options.flags.contains(MountFlags::RDONLY) {
            // An empty directory in place of a mistyped one would look like lost data.
            return Ok(export.making_nothing("it is only to be read"));
        }
        Ok(export)
    }

    /// A missing directory that the plan would have made is an error.
    fn making_nothing(mut self, why: &str) -> Self {
        self.unmade = self.make_path.take().map(|_| {
            format!(
                "{} is not made where it is missing, because {why}: make it on the server",
                self.path
            )
        });
        self
    }

    /// Makes a missing directory only as far as the operator grants the way to it.
    pub fn making_within(mut self, policy: &NfsPolicy) -> Self {
        let Some(make) = &self.make_path else { return self };
        match policy.root_for_making(&self.path, &make.root) {
            Some(root) => {
                self.make_path = Some(MakePath { root: root.to_owned(), ..make.clone() });
                self
            }
            None => self.making_nothing("`nfs.paths` grants no directory above it"),
        }
    }

    /// As the mount table shows it.
    pub fn source(&self) -> String {
        source(&self.server, &self.path)
    }

    /// As [`Entry::server`](crate::mounts::table::Entry::server) has it.
    fn server_name(&self) -> String {
        self.server.to_ascii_lowercase()
    }

    /// What belongs to the mount and not to the protocol.
    pub fn options(&self) -> &MountOptions {
        &self.options
    }

    /// Why the kernel's client needs programs beside it for this mount, if it does.
    fn needs_program(&self) -> Option<Need> {
        let has = |wanted: &str| self.client_options.iter().any(|option| option == wanted);
        if self.client_options.iter().any(|option| option.starts_with("sec=krb5")) {
            return Some(Need::Kerberos);
        }
        let is_local = has("nolock") || has("local_lock=all") || has("local_lock=posix");
        (self.is_version_3() && !is_local).then_some(Need::Locks)
    }

    /// The same, where nobody has started yet what it needs, or that cannot be known.
    fn missing_program(&self) -> Option<Need> {
        self.needs_program().filter(|need| *need != Need::Locks || !statd::is_running())
    }

    fn is_version_3(&self) -> bool {
        self.client_options.iter().any(|option| match option.split_once('=') {
            Some(("vers" | "nfsvers", version)) => version.starts_with('3'),
            Some(_) => false,
            None => option == "v3",
        })
    }

    fn at(&self, address: IpAddr, path: &str) -> NfsMount {
        NfsMount {
            source: source(&self.server, path),
            address,
            options: self.client_options.clone(),
            flags: self.options.flags.bits(),
        }
    }

    /// Where nobody locks anything, no server has to know of locks.
    fn without_locks(mut self) -> Self {
        if self.needs_program().is_some() && self.is_version_3() {
            self.client_options.retain(|option| option != "lock");
            self.client_options.push("nolock".to_owned());
        }
        self
    }
}

/// What the kernel's client cannot do alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Tickets come from a program beside it.
    Kerberos,
    /// Over NFSv3 a server that has started anew learns of locks from a program beside it.
    Locks,
}

impl Need {
    fn why(self) -> &'static str {
        match self {
            Self::Kerberos => "Kerberos needs rpc.gssd",
            Self::Locks => "locks over NFSv3 need rpc.statd",
        }
    }

    /// What to do where the program is not there. Images do not have it: what it starts has to
    /// outlive the container, so it is the node's.
    fn hint(self) -> &'static str {
        match self {
            Self::Kerberos => {
                "Kerberos needs Wharf as a service of the node, with mount.nfs and rpc.gssd \
                 (`apt-get install nfs-common`, `yum install nfs-utils`) and a keytab; in a \
                 container, say `sec=sys`"
            }
            Self::Locks => {
                "start rpc.statd on the node (`systemctl enable --now rpc-statd`, after `apt-get \
                 install nfs-common` or `yum install nfs-utils`), or say in `mountOptions` \
                 `nolock`, where no two nodes lock one file, or `vers=4.0`, which needs no program"
            }
        }
    }
}

fn name_of(option: &str) -> &str {
    option.split_once('=').map_or(option, |(name, _)| name)
}

fn source(server: &str, path: &str) -> String {
    if server.contains(':') { format!("[{server}]:{path}") } else { format!("{server}:{path}") }
}

/// Mounts on a directory that is there; nothing may be mounted on it yet.
///
/// # Errors
/// `Unavailable` naming the server when no address of it answers; what the kernel says otherwise.
pub(crate) fn mount_at(
    context: &NodeContext,
    call: &Call,
    export: &NfsExport,
    target: &MountTarget,
) -> Result<(), Error> {
    if let Some(need) = export.missing_program() {
        return by_program(context, call, export, target, need);
    }
    let work = format!("mount {}", target.path().display());
    let place = Place::Target(target);
    Mounting { context, call, export, work, place }.run().map(drop)
}

/// Mounts for a directory that is there, where only the returned process sees it until
/// [`Request::Show`]. `None`: nothing is mounted, because that takes a program, which mounts where
/// everybody sees it.
///
/// # Errors
/// As [`mount_at`].
pub(crate) fn mount_unseen(
    context: &NodeContext,
    call: &Call,
    export: &NfsExport,
    target: &MountTarget,
) -> Result<Option<Session>, Error> {
    if export.missing_program().is_some() {
        return Ok(None);
    }
    let work = format!("mount {}", target.path().display());
    let place = Place::Unseen(target);
    Mounting { context, call, export, work, place }.run().map(Some)
}

/// Mounts where only the returned process sees it, for as long as that lives. `purpose` is the same
/// whenever the same is tried again: what an earlier call left behind, and the kernel does not let
/// go of, is then waited for and not added to. Others that share the export do not wait for it.
///
/// # Errors
/// As [`mount_at`].
pub(crate) fn mount_scratch(
    context: &NodeContext,
    call: &Call,
    export: &NfsExport,
    purpose: &str,
) -> Result<Session, Error> {
    let export = &export.clone().without_locks();
    let work = format!("{purpose} on {}", export.source());
    Mounting { context, call, export, work, place: Place::Scratch }.run()
}

/// Where a mount lands.
#[derive(Clone, Copy)]
enum Place<'a> {
    Target(&'a MountTarget),
    /// For a target, and not there yet.
    Unseen(&'a MountTarget),
    Scratch,
}

/// One mount, and what it takes.
struct Mounting<'a> {
    context: &'a NodeContext,
    call: &'a Call,
    export: &'a NfsExport,
    work: String,
    place: Place<'a>,
}

impl Mounting<'_> {
    /// Tries each address in turn, and returns the process that mounted.
    fn run(&self) -> Result<Session, Error> {
        let addresses = self.resolve()?;
        let mut last = None;
        for (index, address) in addresses.iter().enumerate() {
            if self.call.is_cancelled() {
                break;
            }
            let share = self.left() / u32::try_from(addresses.len() - index).unwrap_or(1);
            let bound = share.min(ADDRESS_BOUND);
            // Each has a process of its own: the one before it may not be killed yet.
            let mut session = self.start(&format!("{} by way of {address}", self.work))?;
            match self.mount(&mut session, *address, bound) {
                Ok(()) => return Ok(session),
                Err(failure) if is_unreachable(&failure) => {
                    let what = format!("the NFS server {} ({address})", self.export.server);
                    last = Some(failure.into_error(&what, bound));
                }
                Err(failure) => return Err(failure.into_error(&self.export.server, bound)),
            }
        }
        Err(last.unwrap_or_else(|| {
            Error::aborted(format!("{} was not mounted in time", self.export.source()))
        }))
    }

    fn start(&self, name: &str) -> Result<Session, Error> {
        let clock = self.context.clock.as_ref();
        let at = match self.place {
            Place::Target(target) | Place::Unseen(target) => Some(target.as_fd()),
            Place::Scratch => None,
        };
        let work = Work { name, server: &self.export.server_name(), purpose: Purpose::Use };
        self.context.remote.start(work, at, self.call, clock)
    }

    /// What a request may take.
    fn left(&self) -> Duration {
        left(self.context, self.call)
    }

    fn resolve(&self) -> Result<Vec<IpAddr>, Error> {
        let server = self.export.server.clone();
        let families = Families::of(&self.export.client_options);
        if let Ok(address) = server.parse() {
            return families.permitted(&server, vec![address]);
        }
        let mut session = self.start(&format!("{}, resolving {server}", self.work))?;
        let bound = RESOLVE_BOUND.min(self.left());
        match session.ask_last(Request::Resolve { server }, bound) {
            Ok(Answer::Addresses(addresses)) if !addresses.is_empty() => {
                let mut addresses = families.permitted(&self.export.server, addresses)?;
                addresses.truncate(MAX_ADDRESSES);
                Ok(addresses)
            }
            Ok(_) => {
                Err(Error::unavailable(format!("the name {} has no address", self.export.server)))
            }
            Err(failure) => {
                let what = format!("the resolver, asked for {},", self.export.server);
                Err(failure.into_error(&what, bound))
            }
        }
    }

    /// Mounts by one address; a directory that is missing is made, and it is tried once more.
    fn mount(
        &self,
        session: &mut Session,
        address: IpAddr,
        bound: Duration,
    ) -> Result<(), Failure> {
        let mut ask = |bound| {
            let mount = self.export.at(address, &self.export.path);
            let name = |target: &MountTarget| OsString::from(target.name());
            match self.place {
                Place::Target(target) => {
                    session.ask_last(Request::Mount { mount, at: Some(name(target)) }, bound)
                }
                // They are there for what comes next.
                Place::Unseen(target) => {
                    session.ask(&Request::MountUnseen { mount, at: name(target) }, bound)
                }
                Place::Scratch => session.ask(&Request::Mount { mount, at: None }, bound),
            }
        };
        let failure = match ask(bound) {
            Ok(_) => return Ok(()),
            Err(failure) if is_perhaps_missing(&failure) => failure,
            Err(failure) => return Err(failure),
        };
        let Some(make) = &self.export.make_path else {
            return Err(match &self.export.unmade {
                Some(hint) => failure.with_hint(hint),
                None => failure,
            });
        };
        // What was said of the path itself is the cause: it may be there and closed to this node.
        let making = self.make_path(make, address, bound.min(self.left()));
        making.map_err(|later| later.after(&failure))?;
        ask(bound.min(self.left())).map(drop)
    }

    /// Makes the exported directory through a private mount of one above it.
    fn make_path(&self, make: &MakePath, address: IpAddr, bound: Duration) -> Result<(), Failure> {
        let said = |error| Failure::Said { error, errno: None };
        let below = Path::new(&self.export.path).strip_prefix(&make.root).map_err(|_| {
            said(Error::invalid(format!("{} is not below {}", self.export.path, make.root)))
        })?;
        let export = self.export.clone().without_locks();
        let mount = export.at(address, &make.root);
        let shown = mount.source.clone();
        tracing::info!(path = %self.export.source(), "making an exported directory that is missing");
        let clock = self.context.clock.as_ref();
        let name = &format!("make {}", self.export.source());
        let work = Work { name, server: &export.server_name(), purpose: Purpose::Nested };
        let mut session = self.context.remote.start(work, None, self.call, clock).map_err(said)?;
        session.ask(&Request::Mount { mount, at: None }, bound)?;
        let bound = bound.min(self.left());
        let ownership = Ownership { mode: Some(make.mode), uid: make.uid, gid: make.gid };
        let work = Tree::Make { path: below.to_owned(), ownership };
        let base = TreeBase::Scratch;
        session.ask(&Request::Tree { base, shown, work, bound }, bound).map(drop)
    }
}

/// What a request may take, of what the call has left.
pub(crate) fn left(context: &NodeContext, call: &Call) -> Duration {
    let left = call.remaining(context.clock.now());
    left.saturating_sub(RESERVE.min(left / 5))
}

/// Servers say the one or the other of a path that does not exist.
fn is_perhaps_missing(failure: &Failure) -> bool {
    matches!(failure.errno(), Some(Errno::NOENT | Errno::ACCESS))
}

/// Whether another address of the server may do better.
fn is_unreachable(failure: &Failure) -> bool {
    match failure {
        Failure::Silent => true,
        Failure::Said { error, errno } => errno.is_some() && error.kind == ErrorKind::Unavailable,
    }
}

/// With the program that starts what the kernel's client needs beside it.
///
/// The program says in words why it failed, so where no Kerberos is in the way the kernel's client
/// is asked as well, out of sight and without locks: it knows the number of the error, and makes
/// the directory that is missing.
fn by_program(
    context: &NodeContext,
    call: &Call,
    export: &NfsExport,
    target: &MountTarget,
    need: Need,
) -> Result<(), Error> {
    let Err(said) = run_program(context, call, export, target, need)? else { return Ok(()) };
    if need == Need::Kerberos {
        return Err(said.with_hint(
            "look for the reason in the log of rpc.gssd; with Kerberos no directory is made, so it \
             has to be there",
        ));
    }
    drop(mount_scratch(context, call, export, &format!("look for {}", target.path().display()))?);
    run_program(context, call, export, target, need)?
}

/// Runs it once: its own failure is within, what kept it from running is not.
fn run_program(
    context: &NodeContext,
    call: &Call,
    export: &NfsExport,
    target: &MountTarget,
    need: Need,
) -> Result<Result<(), Error>, Error> {
    let flags = export.options.flag_names().into_iter().map(str::to_owned);
    let options: Vec<String> = export.client_options.iter().cloned().chain(flags).collect();
    let at = target.path_for_programs();
    let finished = context
        .programs
        .run(Program {
            name: "mount.nfs",
            package: "nfs-common",
            arguments: vec![
                export.source().into(),
                at.into(),
                "-o".into(),
                options.join(",").into(),
            ],
            bound: left(context, call).min(ADDRESS_BOUND),
            input: None,
        })
        .map_err(|error| match error.kind {
            ErrorKind::FailedPrecondition => error.context(need.why()).with_hint(need.hint()),
            _ => error.context(format!("the NFS server {}", export.server)),
        })?;
    if finished.code == Some(0) {
        return Ok(Ok(()));
    }
    Ok(Err(Error::unavailable(format!(
        "mount.nfs {} for {}: {}",
        finished.ending(),
        export.source(),
        finished.report
    ))))
}

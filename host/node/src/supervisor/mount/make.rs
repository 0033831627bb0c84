//! Making a mount: its helper is started on a private mount point and waited for, and the mount
//! moved to the target once it is ready. A target never shows a mount that is not.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountFlags, MoveMountFlags, move_mount};
use wharf_core::Error;
use wharf_core::helper_profile::{FuseDevice, HelperMount};
use wharf_core::plan::Readiness;

use super::super::connections::Connection;
use super::super::context::SupervisorContext;
use super::super::decide::Phase;
use super::super::launch::{self, Launch, Running};
use super::super::private::Private;
use super::super::protocol::{Credential, Ending};
use super::super::repair::RootQuestion;
use super::{ANSWER, Mount, memory_bytes};
use crate::child::timespec;
use crate::mounts::detached::add_flags;
use crate::mounts::paths::descend;
use crate::mounts::table::MountTable;

/// Between two questions to a mount that does not answer yet.
const POLL: Duration = Duration::from_millis(100);
/// Helpers that need no privilege run as users from here on, one for each target: `nobody` is also
/// what other programs run as, and who has the same user reads the keys in a process's memory. No
/// account, container or service manager is given these numbers.
const FIRST_USER: u32 = 0x7000_0000;
/// So many digits of a mount's name count up from there.
const USER_DIGITS: usize = 6;
/// As much of a helper's last words goes into an error: kubelet's events hold a kilobyte, with the
/// paths in it. What a helper says last is the cause; what it says before goes to the log.
const MAX_SHOWN_BYTES: usize = 400;
/// A piece of a line that is shorter says nothing.
const MIN_PIECE_BYTES: usize = 80;
/// As much of them goes into the log.
const MAX_LOGGED_BYTES: usize = 4096;

impl Mount {
    /// Makes the mount at a target that shows none. Whoever asked waits until `deadline`; what was
    /// begun is taken back when it fails.
    ///
    /// # Errors
    /// Why there is no mount, with the helper's last words.
    pub fn make(
        &mut self,
        context: &SupervisorContext,
        credential: Option<&Credential>,
        deadline: Instant,
    ) -> Result<(), Error> {
        let Err(mut error) = self.try_make(context, credential, deadline) else { return Ok(()) };
        if let Err(left) = self.roll_back(context) {
            error.message = format!("{}; and this could not be taken back: {left}", error.message);
        }
        Err(error)
    }

    fn try_make(
        &mut self,
        context: &SupervisorContext,
        credential: Option<&Credential>,
        deadline: Instant,
    ) -> Result<(), Error> {
        // Before anything is made: what is refused leaves no trace.
        self.connections.open()?;
        self.arguments("/dev/fd/0", Path::new("/dev/fd/0"))?;
        context.find(&self.record.spec.profile)?;
        self.record.renew_at_ms = credential.and_then(|credential| credential.renew_at_ms);
        self.save(context)?;
        self.private.create()?;
        if let Some(credential) = credential {
            self.private.put(credential, self.user())?;
        }
        self.start(context, deadline)?;
        self.move_to_target()?;
        self.move_helper(context);
        tracing::info!(mount = self.name, helper = self.spec().helper, target = %self.target().display(), "mounted");
        Ok(())
    }

    /// The last thing that is done for a helper that was started, once every mount point shows its
    /// mount: see [`Running::move_into`].
    pub(super) fn move_helper(&mut self, context: &SupervisorContext) {
        let memory = memory_bytes(&self.record);
        if let Some(helper) = &mut self.helper {
            helper.move_into(&context.cgroups, &self.name, memory);
        }
    }

    pub(super) fn user(&self) -> Option<u32> {
        let profile = &self.record.spec.profile;
        match profile.device {
            FuseDevice::Opens => profile.user,
            FuseDevice::Given => Some(profile.user.unwrap_or_else(|| own_user(&self.name))),
        }
    }

    fn arguments(&self, mountpoint: &str, credentials: &Path) -> Result<Vec<String>, Error> {
        let spec = &self.record.spec;
        let credentials = credentials.to_string_lossy();
        spec.profile.argument_vector(&HelperMount {
            source: &spec.source,
            mountpoint,
            options: &spec.arguments,
            read_only: spec.read_only,
            credential: self.record.form.as_deref().map(|form| (form, &*credentials)),
        })
    }

    /// Starts a helper on the private mount point, and waits until its mount is ready.
    pub(super) fn start(
        &mut self,
        context: &SupervisorContext,
        deadline: Instant,
    ) -> Result<(), Error> {
        let profile = self.record.spec.profile.clone();
        let program = context.find(&profile)?;
        // Opened before anybody can mount, so that no mount is missed.
        let changes = MountChanges::watch()?;
        let given = match profile.device {
            FuseDevice::Opens => None,
            FuseDevice::Given => Some(self.mount_given()?),
        };
        let mountpoint = match &given {
            None => self.private.mountpoint().to_string_lossy().into_owned(),
            Some(device) => format!("/dev/fd/{}", device.as_raw_fd()),
        };
        let directory = self.user().map(|user| self.private.open_for(user)).transpose()?;
        let credentials = match &directory {
            None => self.private.credentials(),
            Some(directory) => Private::credentials_in(directory.as_fd()),
        };
        let arguments = self.arguments(&mountpoint, &credentials)?;
        let kept: Vec<_> = given.iter().chain(&directory).map(AsFd::as_fd).collect();
        let log = self.private.open_log()?;
        let log_start = self.private.log_length();
        let memory = memory_bytes(&self.record);
        let launch = Launch {
            program: &program,
            arguments: &arguments,
            log: &log,
            search: &context.program_path,
            kept: &kept,
            user: self.user(),
            data_bytes: memory
                .filter(|_| !profile.reserves_memory && !context.cgroups.can_bound_memory()),
        };
        let (name, record) = (self.name.clone(), &mut self.record);
        let helper = launch::start(&launch, |process| {
            record.started(process);
            context.records.save(&name, record)
        })?;
        self.memory_kills = context.cgroups.out_of_memory_kills(&name);
        // The kernel notices a dead helper by the last open descriptor.
        drop(given);
        let started = Instant::now();
        let limit = started + Duration::from_secs(profile.start_seconds.into());
        let ready = self.wait_until_ready(&helper, &changes, deadline.min(limit));
        self.helper = Some(helper);
        let connection = match ready {
            Ok(connection) => connection,
            Err(why) => return Err(self.explain(context, &why, log_start)),
        };
        self.record.mounted(connection);
        self.seen.retain(|seen| self.record.connections.contains(seen));
        self.seen.push(connection);
        self.ready_since = Some(Instant::now());
        // Before any mount point shows it, so that the successor of a supervisor that is killed
        // then knows whose it is. Where no mount point shows it yet it ends, as one does that was
        // unmounted.
        self.record.phase = Phase::Made;
        self.save(context)
    }

    /// Mounts for a helper that is handed the kernel's side of it.
    fn mount_given(&self) -> Result<OwnedFd, Error> {
        let failed = |what: &str, error: rustix::io::Errno| {
            Error::internal(format!("cannot {what}: {error}"))
        };
        let device = rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| failed("open /dev/fuse", error))?;
        let user = self.user().unwrap_or_default();
        let options = format!(
            "fd={},rootmode=40000,user_id={user},group_id={user},allow_other",
            device.as_raw_fd()
        );
        let options = std::ffi::CString::new(options)
            .map_err(|_| Error::internal("the mount options hold a zero byte"))?;
        let fs_type = format!("fuse.{}", self.record.spec.helper);
        let mountpoint = self.private.mountpoint();
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        rustix::mount::mount(
            &*self.record.spec.source,
            &mountpoint,
            fs_type,
            flags,
            options.as_c_str(),
        )
        .map_err(|error| failed(&format!("mount {}", mountpoint.display()), error))?;
        Ok(device)
    }

    fn wait_until_ready(
        &self,
        helper: &Running,
        changes: &MountChanges,
        deadline: Instant,
    ) -> Result<Connection, NotReady> {
        let profile = &self.record.spec.profile;
        if self.record.spec.ready != Readiness::Answers && profile.device != FuseDevice::Given {
            return self.wait_until_mounted(helper, changes, deadline);
        }
        // While the helper loads its libraries.
        let question =
            RootQuestion::prepare(&self.private.mountpoint()).map_err(NotReady::Unknown)?;
        match self.wait_until_mounted(helper, changes, deadline) {
            Ok(connection) => {
                self.wait_for_answer(question, helper, connection, deadline).map(|()| connection)
            }
            Err(why) => {
                question.cancel();
                Err(why)
            }
        }
    }

    fn wait_until_mounted(
        &self,
        helper: &Running,
        changes: &MountChanges,
        deadline: Instant,
    ) -> Result<Connection, NotReady> {
        loop {
            changes.wait(helper, deadline);
            if let Some(connection) = self.mounted().map_err(NotReady::Unknown)? {
                return Ok(connection);
            }
            if !helper.is_alive() {
                return Err(NotReady::Ended);
            }
            if Instant::now() >= deadline {
                return Err(NotReady::Late("it has mounted nothing".to_owned()));
            }
        }
    }

    /// What is mounted on the private mount point, where nobody but the helper mounts.
    fn mounted(&self) -> Result<Option<Connection>, Error> {
        self.connections.of_file(self.open_mountpoint().map_err(|error| {
            Error::internal(format!("cannot open what the helper has mounted: {error}"))
        })?)
    }

    fn open_mountpoint(&self) -> Result<OwnedFd, rustix::io::Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, self.private.mountpoint(), flags, Mode::empty())
    }

    /// Asks until the mount answers. A helper that finds its key refused takes its mount away and
    /// ends, and the directory below answers in its stead: so what answered has to be there still.
    fn wait_for_answer(
        &self,
        question: RootQuestion,
        helper: &Running,
        connection: Connection,
        deadline: Instant,
    ) -> Result<(), NotReady> {
        let mut prepared = Some(question);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let question = prepared
                .take()
                .map_or_else(|| RootQuestion::prepare(&self.private.mountpoint()), Ok);
            let answer = question.and_then(|question| question.ask(left.min(ANSWER)));
            let is_there = self.mounted().map_err(NotReady::Unknown)? == Some(connection);
            let gone = || Error::unavailable("it has taken its mount away again");
            match answer.and_then(|()| is_there.then_some(()).ok_or_else(gone)) {
                Ok(()) => return Ok(()),
                Err(_) if helper.wait(POLL.min(left)) => return Err(NotReady::Ended),
                Err(error) if Instant::now() >= deadline => {
                    return Err(NotReady::Late(error.message));
                }
                Err(_) => {}
            }
        }
    }

    /// The error of a helper that did not get ready, which it does not survive.
    fn explain(&mut self, context: &SupervisorContext, why: &NotReady, log_start: u64) -> Error {
        let (name, source) = (&self.record.spec.helper, &self.record.spec.source);
        let target = self.target().display().to_string();
        let ended = match self.helper.take() {
            Some(helper) => self.cause(context, helper.kill()),
            None => Ending::Unseen,
        };
        let log = self.private.log_from(log_start);
        tracing::warn!(
            mount = self.name,
            target,
            words = last_words(&log, &[], MAX_LOGGED_BYTES),
            "the helper did not get ready: {ended}"
        );
        let noise = &self.record.spec.profile.noise;
        let words = last_words(&log, noise, MAX_SHOWN_BYTES);
        let said = if words.is_empty() {
            "it said nothing".to_owned()
        } else {
            format!("it said: {words}")
        };
        let error = match why {
            NotReady::Ended => Error::precondition(format!(
                "the mount helper `{name}` did not mount `{source}` at {target}: {ended}; {said}"
            )),
            NotReady::Late(what) => Error::unavailable(format!(
                "the mount helper `{name}` was not ready in time to show `{source}` at {target}, \
                 and was stopped: {what}; {said}"
            )),
            NotReady::Unknown(error) => error.clone(),
        };
        self.record.last_exit = Some(ended);
        let _ = self.save(context);
        error
            .with_hint("the cause is in what it said: a wrong key, name or endpoint, or no network")
    }

    fn check_free(&self) -> Result<(), Error> {
        let table = MountTable::read()?;
        let Some(entry) = table.top(self.target()) else { return Ok(()) };
        Err(Error::precondition(format!(
            "{} has {} mounted on it",
            self.target().display(),
            entry.source.to_string_lossy()
        ))
        .with_hint("unmount it first"))
    }

    /// Moves the mount from its private mount point to the target.
    fn move_to_target(&mut self) -> Result<(), Error> {
        let failed = |error: rustix::io::Errno| {
            Error::internal(format!("cannot mount on {}: {error}", self.target().display()))
                .with_hint("run as root with the capability CAP_SYS_ADMIN")
        };
        self.check_free()?;
        let relative = self.target().strip_prefix("/").unwrap_or(self.target());
        let target = descend(Path::new("/"), relative, None)?.ok_or_else(|| {
            Error::precondition(format!("{} does not exist", self.target().display()))
        })?;
        let mount = self.open_mountpoint().map_err(failed)?;
        let mut own = MountFlags::NOSUID | MountFlags::NODEV;
        if self.record.spec.read_only {
            own |= MountFlags::RDONLY;
        }
        add_flags(&mount, own).map_err(failed)?;
        let both_open =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(&mount, "", &target, "", both_open).map_err(failed)
    }
}

fn own_user(name: &str) -> u32 {
    let digits = name.get(..USER_DIGITS).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    FIRST_USER + digits.unwrap_or_default()
}

/// Why a helper is not ready.
#[derive(Debug)]
enum NotReady {
    Ended,
    Late(String),
    Unknown(Error),
}

/// Wakes when the mount table changes.
struct MountChanges(std::fs::File);

impl MountChanges {
    fn watch() -> Result<Self, Error> {
        std::fs::File::open("/proc/self/mountinfo")
            .map(Self)
            .map_err(|error| Error::internal(format!("cannot read the mount table: {error}")))
    }

    /// Until the table changes, the helper ends, or the deadline passes.
    fn wait(&self, helper: &Running, deadline: Instant) {
        let handle = helper.handle();
        let mut fds = [PollFd::new(&self.0, PollFlags::PRI), PollFd::new(&handle, PollFlags::IN)];
        let left = deadline.saturating_duration_since(Instant::now());
        // However it returns, the caller looks again.
        let _ = rustix::event::poll(&mut fds, Some(&timespec(left)));
    }
}

/// The end of a log in one line of at most so many bytes: its last lines without those that are
/// noise, and the beginning of the line before them if there is room for as much as says something.
fn last_words(log: &str, noise: &[String], bytes: usize) -> String {
    const SEPARATOR: &str = " | ";
    let mut words = String::new();
    let is_noise = |line: &&str| noise.iter().any(|noise| line.contains(noise));
    let lines = log.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    for line in lines.filter(|line| !is_noise(line)) {
        let between = if words.is_empty() { "" } else { SEPARATOR };
        let room = bytes.saturating_sub(words.len() + between.len());
        let is_whole = line.len() <= room;
        if is_whole || words.is_empty() || room >= MIN_PIECE_BYTES {
            let piece = line.get(..line.floor_char_boundary(room)).unwrap_or_default();
            words = format!("{piece}{between}{words}");
        }
        if !is_whole {
            break;
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_the_end_of_a_log_in_one_line() {
        assert_eq!(last_words("", &[], 9), "");
        assert_eq!(last_words("a\n\n  b \n", &[], 9), "a | b");
        assert_eq!(last_words("é\nb\nc", &[], 5), "b | c");
        assert_eq!(last_words("a\nééé", &[], 5), "éé");
        let noise = ["[INF]".to_owned()];
        assert_eq!(last_words("no such option\nat 1 [INF] loaded", &noise, 99), "no such option");
        assert_eq!(last_words("[INF] loaded", &noise, 99), "");
        let cause = format!("cause {}", "x".repeat(200));
        let shown = last_words(&format!("before\n{cause}\nconsequence"), &[], 200);
        assert!(shown.starts_with("cause x") && shown.ends_with("x | consequence"), "{shown}");
        assert_eq!(shown.len(), 200);
        assert_eq!(last_words(&format!("{cause}\nconsequence"), &[], 90), "consequence");
    }
    #[test]
    fn the_cause_is_among_the_last_words_of_ossfs2() {
        let at = |level: &str, text: &str| {
            format!("2026/11/30 12:58:48.150554|{level}|th=00007FF68D158F80|{text}")
        };
        let log = [
            at("INFO ", "oss_adapter.cpp:70|Begin"),
            at(
                "ERROR",
                "oss_patched.cpp:273|Operation on [] failed! RequestId[7CD2DF28C46EBCBAB730417B], \
                 OSSError: Code[SignatureDoesNotMatch], Message[The request signature we calculated \
                 does not match the signature you provided. Check your key and signing method.]",
            ),
            at("ERROR", "fs.cpp:2153|fail to check bucket with error -13"),
            at("ERROR", "main.cpp:517|Init OssFileSystem failed with error -13"),
            at("INFO ", "fs_admin.cpp:50|Destroy uds server"),
            "ERROR: failed to mount ossfs2, see more details in logs".to_owned(),
            at("INFO ", "metrics.cpp:145|Destroy metrics collector"),
        ];
        let noise = super::super::super::profiles::shipped("ossfs2").unwrap().unwrap().noise;
        let words = last_words(&log.join("\n"), &noise, MAX_SHOWN_BYTES);
        assert!(words.contains("Code[SignatureDoesNotMatch]"), "{words}");
        assert!(words.ends_with("fail to check bucket with error -13"), "{words}");
    }
}

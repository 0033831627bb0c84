//! Unmounts what a server, or a process, answers for. Everything that may wait for it is done in
//! processes that can be left behind; what was written is only given up when the server is dead,
//! and not because it is slow, nor because a call was too short to know.

use std::time::Duration;

use rustix::io::Errno;
use wharf_core::Error;
use wharf_core::ports::{Call, Clock, Instant};

use crate::context::NodeContext;
use crate::mounts::answers;
use crate::mounts::paths::MountTarget;
use crate::mounts::table::{Entry, MountTable};
use crate::mounts::unmount::silence::Silence;
use crate::mounts::usage;
use crate::remote::{Answer, Failure, Purpose, Remote, Request, Session, Work};

/// So many times as long as for an answer: what was written is lost when the mount is unmounted by
/// force, and a server's failover takes half a minute.
const PATIENCE_TO_WRITE: u32 = 6;
/// A shorter wait than this part of the patience says nothing: the process that asks may not have
/// begun to.
const LEAST_PART: u32 = 5;
/// What is left of a call for taking a dead mount away: no server is asked for that.
const RESERVE: Duration = Duration::from_secs(5);
/// Looking at the mount table, and a process's start.
const TAKE_AWAY_BOUND: Duration = Duration::from_secs(5);

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unmounted {
    /// The table has to be read again.
    Changed,
    /// Somebody uses it.
    Busy,
}

/// Unmounts the top mount of this path once. A server is dead that has answered nothing for a
/// while, although it was asked, in this call and in those before it.
///
/// # Errors
/// `Unavailable` when what was written is not all there by the call's deadline: its server is slow,
/// or it is not silent for long enough yet to be dead. The next call goes on.
pub(super) fn unmount(
    context: &NodeContext,
    call: &Call,
    target: &MountTarget,
    entry: &Entry,
) -> Result<Unmounted, Error> {
    let clock = context.clock.as_ref();
    let left = call.remaining(clock.now());
    let call_for_writing =
        call.no_later_than(call.deadline().saturating_sub(RESERVE.min(left / 2)));
    let patience = context.options.patience;
    let mut silence = context.silences.take(entry, answers::count(target.path()), clock.now());
    let mut session = None;
    loop {
        let begun = clock.now();
        let window = patience.min(call_for_writing.remaining(begun));
        let waited = match &mut session {
            Some(session) => Session::wait(session, window),
            None => match begin(context, &call_for_writing, begun + window, target, entry) {
                Ok(Some(started)) => {
                    session = Some(started);
                    continue;
                }
                // Who unmounted for an earlier call still writes back, and the kernel does not let
                // go of it: whether the server answers that one counts as well.
                Ok(None) => Ok(None),
                Err(failure) => Err(failure),
            },
        };
        if let Some(unmounted) = outcome(waited, target, left)? {
            return Ok(unmounted);
        }
        let waited = window.min(clock.now().saturating_sub(begun));
        let counts = waited >= patience / LEAST_PART;
        let waited = if counts { waited } else { Duration::ZERO };
        listen(context, call, target, entry, &mut silence, waited);
        if silence.lasted() >= patience * PATIENCE_TO_WRITE {
            drop(session);
            return take_dead_away(context, target, entry)
                .map(|()| Unmounted::Changed)
                .inspect_err(|_| context.silences.save(entry, silence, clock.now()));
        }
        if call_for_writing.remaining(clock.now()).is_zero() || call.is_cancelled() {
            context.silences.save(entry, silence, clock.now());
            return Err(unfinished(entry, target, silence.lasted(), patience * PATIENCE_TO_WRITE));
        }
    }
}

/// Starts a process that unmounts; `None` while an earlier one still does at `hanging`.
fn begin(
    context: &NodeContext,
    call: &Call,
    hanging: Instant,
    target: &MountTarget,
    entry: &Entry,
) -> Result<Option<Session>, Failure> {
    let name = &format!("unmount {}", target.path().display());
    let work = Work { name, server: &entry.server(), purpose: Purpose::Unmount };
    let (at, clock) = (Some(target.as_fd()), context.clock.as_ref());
    let hanging = call.no_later_than(hanging);
    let mut session = context.remote.start_unless_hanging(work, at, &hanging, call, clock)?;
    if let Some(session) = &mut session {
        session.send(&Request::Unmount { at: target.name().to_owned() })?;
    }
    Ok(session)
}

/// `None`: there is no answer yet.
fn outcome(
    waited: Result<Option<Answer>, Failure>,
    target: &MountTarget,
    left: Duration,
) -> Result<Option<Unmounted>, Error> {
    match waited {
        Ok(None) => Ok(None),
        Ok(Some(_)) => Ok(Some(Unmounted::Changed)),
        Err(failure) => match failure.errno() {
            // Somebody else was faster.
            Some(Errno::INVAL | Errno::NOENT) => Ok(Some(Unmounted::Changed)),
            Some(Errno::BUSY) => Ok(Some(Unmounted::Busy)),
            _ => {
                let what = target.path().display().to_string();
                Err(failure.into_error(&what, left).context(what))
            }
        },
    }
}

/// Looks whether the server has answered anything while it was `waited` for.
fn listen(
    context: &NodeContext,
    call: &Call,
    target: &MountTarget,
    entry: &Entry,
    silence: &mut Silence,
    waited: Duration,
) {
    let answers = answers::count(target.path());
    let has_answered = answers.is_none() && {
        let soon = call.no_later_than(context.clock.now() + context.options.patience);
        usage::ask(context, &soon, target, entry, Purpose::Nested).is_ok()
    };
    silence.note(answers, has_answered, waited);
}

fn unfinished(
    entry: &Entry,
    target: &MountTarget,
    silent: Duration,
    dead_after: Duration,
) -> Error {
    let (source, path) = (entry.source_in_words(), target.path().display());
    if silent.is_zero() {
        return Error::unavailable(format!(
            "not all that was written to {path} is with {source} yet, so it is not unmounted"
        ))
        .with_hint("it is tried again; nothing of it is given up while the server lives");
    }
    let seconds = |time: Duration| time.as_secs_f32().ceil();
    Error::unavailable(format!(
        "{source} has answered nothing for {} s, so {path} is not unmounted",
        seconds(silent)
    ))
    .with_hint(format!(
        "it is tried again, and goes on when the server answers; after {} s without an answer the \
         mount is taken away, and what was not written may be lost",
        seconds(dead_after)
    ))
}

/// Takes the mount of a dead server away. Force is against a file system, not a mount: at each
/// other mount of it, of whichever volume, every write would fail that the server gets once it is
/// back.
fn take_dead_away(context: &NodeContext, target: &MountTarget, entry: &Entry) -> Result<(), Error> {
    let (remote, clock) = (&context.remote, context.clock.as_ref());
    let is_last = MountTable::read()?.of_device(entry.device).count() <= 1;
    let (mounted, path) = (entry.source_in_words(), target.path().display());
    if is_last {
        tracing::warn!(
            %mounted,
            %path,
            "nobody answers; the mount is taken away by force, and what was not written is lost"
        );
        let at = target.name().to_owned();
        take_away(remote, clock, target, entry, Request::ForceUnmount { at })
    } else {
        tracing::warn!(
            %mounted,
            %path,
            "nobody answers; the mount is detached, and the other mounts of its file system wait"
        );
        detach(remote, clock, target, entry)
    }
}

/// Takes a mount out of the table without asking its server, whoever uses it; no other mount is
/// touched.
///
/// # Errors
/// `Unavailable` when it is still in the mount table.
pub(crate) fn detach(
    remote: &Remote,
    clock: &dyn Clock,
    target: &MountTarget,
    entry: &Entry,
) -> Result<(), Error> {
    let at = target.name().to_owned();
    take_away(remote, clock, target, entry, Request::Detach { at })
}

fn take_away(
    remote: &Remote,
    clock: &dyn Clock,
    target: &MountTarget,
    entry: &Entry,
    request: Request,
) -> Result<(), Error> {
    let call = Call::until(clock.now() + TAKE_AWAY_BOUND);
    let name = &format!("take away {}", target.path().display());
    let work = Work { name, server: &entry.server(), purpose: Purpose::TakeAway };
    let mut session = remote.start(work, Some(target.as_fd()), &call, clock)?;
    let answer = session.ask_last(request, TAKE_AWAY_BOUND);
    // The kernel may go on waiting for what is in the table no longer.
    if !MountTable::read()?.still_has(entry) {
        return Ok(());
    }
    let what = format!("{} (mounted at {})", entry.source_in_words(), target.path().display());
    match answer {
        Ok(_) => Err(Error::unavailable(format!("{what} is still mounted"))),
        Err(failure) => Err(failure.into_error(&what, TAKE_AWAY_BOUND)),
    }
}

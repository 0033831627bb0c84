//! Unmounts what a server, or a process, answers for. Everything that may wait for it is done in
//! processes that can be left behind; what was written is only given up when the server is dead,
//! and not because it is slow.

use std::time::Duration;

use rustix::io::Errno;
use wharf_core::Error;
use wharf_core::ports::{Call, Clock};

use crate::context::NodeContext;
use crate::mounts::answers;
use crate::mounts::paths::MountTarget;
use crate::mounts::table::{Entry, MountTable};
use crate::mounts::usage;
use crate::remote::{Remote, Request, Session};

/// So many times as long as for an answer: what was written is lost when the mount is taken away,
/// and a server's failover takes half a minute.
const PATIENCE_TO_WRITE: u32 = 6;
/// What is left of a call for taking a dead mount away: no server is asked for that.
const RESERVE: Duration = Duration::from_secs(5);
/// Looking at the mount table, and a process's start.
const FORCE_BOUND: Duration = Duration::from_secs(5);

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unmounted {
    /// The table has to be read again.
    Changed,
    /// Somebody uses it.
    Busy,
}

/// Unmounts the top mount of this path once. A server is dead that has answered nothing for a
/// while, although it was asked.
///
/// # Errors
/// `Unavailable` when its server lives and what was written is not all there by the call's
/// deadline.
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
    let work = format!("unmount {}", target.path().display());
    let begin = || -> Result<Session, Error> {
        let at = target.parent_path();
        let mut session = context.remote.start(&work, at, &call_for_writing, clock)?;
        let request = Request::Unmount { at: target.name().to_owned() };
        session.send(&request).map_err(|failure| failure.into_error("", left))?;
        Ok(session)
    };
    let mut session = None;
    let mut seen = answers::count(target.path());
    let mut silent = Duration::ZERO;
    loop {
        let window = context.options.patience.min(call_for_writing.remaining(clock.now()));
        let waited = match &mut session {
            Some(session) => Session::wait(session, window),
            None => {
                let soon = call_for_writing.no_later_than(clock.now() + window);
                match context.check_not_hanging(&soon, &work) {
                    Ok(()) => {
                        session = Some(begin()?);
                        continue;
                    }
                    Err(error) if call.is_cancelled() => return Err(error),
                    // Who unmounted for an earlier call still writes back, and the kernel does not
                    // let go of it: whether the server answers that one counts as well.
                    Err(_) => Ok(None),
                }
            }
        };
        match waited {
            Ok(Some(_)) => return Ok(Unmounted::Changed),
            Err(failure) => match failure.errno() {
                // Somebody else was faster.
                Some(Errno::INVAL | Errno::NOENT) => return Ok(Unmounted::Changed),
                Some(Errno::BUSY) => return Ok(Unmounted::Busy),
                _ => {
                    let what = target.path().display().to_string();
                    return Err(failure.into_error(&what, left).context(what));
                }
            },
            Ok(None) => {}
        }
        let now = answers::count(target.path());
        let is_alive = match now {
            Some(_) => now != seen,
            None => {
                let soon = Call::until(clock.now() + context.options.patience);
                usage::ask(context, &soon, target).is_ok()
            }
        };
        silent = if is_alive { Duration::ZERO } else { silent + window };
        seen = now;
        let is_over = call_for_writing.remaining(clock.now()).is_zero() || call.is_cancelled();
        if is_over && is_alive {
            return Err(Error::unavailable(format!(
                "{} does not take what was written to {} fast enough",
                entry.source_in_words(),
                target.path().display()
            ))
            .with_hint("it is tried again; nothing of it is given up while the server lives"));
        }
        if is_over || silent >= context.options.patience * PATIENCE_TO_WRITE {
            tracing::warn!(
                mounted = %entry.source_in_words(),
                path = %target.path().display(),
                "nobody answers; the mount is taken away by force, and what was not written is lost"
            );
            drop(session);
            force(&context.remote, clock, target, entry)?;
            return Ok(Unmounted::Changed);
        }
    }
}

/// Takes a mount away without asking its server: because that is dead, or because nobody has used
/// the mount yet.
///
/// # Errors
/// `Unavailable` when it is still in the mount table.
pub(crate) fn force(
    remote: &Remote,
    clock: &dyn Clock,
    target: &MountTarget,
    entry: &Entry,
) -> Result<(), Error> {
    let call = Call::until(clock.now() + FORCE_BOUND);
    let work = format!("force {}", target.path().display());
    let mut session = remote.start(&work, target.parent_path(), &call, clock)?;
    let answer = session.ask(&Request::ForceUnmount { at: target.name().to_owned() }, FORCE_BOUND);
    // The kernel may go on waiting for what is in the table no longer.
    if !MountTable::read()?.still_has(entry) {
        return Ok(());
    }
    let what = format!("{} (mounted at {})", entry.source_in_words(), target.path().display());
    match answer {
        Ok(_) => Err(Error::unavailable(format!("{what} is still mounted"))),
        Err(failure) => Err(failure.into_error(&what, FORCE_BOUND)),
    }
}

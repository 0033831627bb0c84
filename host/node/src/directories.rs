//! Work on directories for the steps of a plan: below a granted directory, below what the plan
//! mounted on the call's path, or out of sight. It is done in a process of its own, in pieces, so
//! that a server that is gone ends the call by its deadline and somebody who hangs up is noticed.

use std::path::{Component, Path};
use std::time::Duration;

use wharf_core::Error;
use wharf_core::plan::{DirectoryBase, DirectoryPath};
use wharf_core::ports::Call;

use crate::context::NodeContext;
use crate::mounts::nfs::left;
use crate::mounts::table::MountTable;
use crate::remote::{Answer, Purpose, Request, Session, Tree, TreeBase, Work};
use crate::run::Run;
use walks::SavedWalk;

mod walks;

/// One request to the process takes no longer. Between two it is checked whether the caller waits.
const MAX_REQUEST_TIME: Duration = Duration::from_secs(5);
/// Work looks at the clock after each system call; one that takes longer than this waits for a
/// server that is gone.
const GRACE: Duration = Duration::from_secs(20);
/// A call with less than this left is not worth a start.
const MIN_TIME_LEFT: Duration = Duration::from_millis(50);

/// Whether a path can lie below a base: relative, each component a name.
///
/// # Errors
/// `InvalidArgument` otherwise; for the empty path too, unless the base itself is meant.
pub(crate) fn check_path(path: &str, may_be_empty: bool) -> Result<(), Error> {
    let is_below = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if is_below && !path.contains('\0') && (may_be_empty || !path.is_empty()) {
        return Ok(());
    }
    Err(Error::invalid(format!("{path:?} does not name a directory below its base")))
}

/// Does the work to its end.
///
/// # Errors
/// `Aborted` when the call's time is over before: a repetition goes on where this one ended.
pub(crate) fn work(run: &mut Run<'_>, at: &DirectoryPath, work: Tree) -> Result<(), Error> {
    let context = run.context;
    let call = run.call;
    let mut own;
    let (session, base, shown): (&mut Session, TreeBase, String) = match (&at.base, &mut run.unseen)
    {
        (DirectoryBase::Target, Some(unseen)) => unseen.base(),
        (DirectoryBase::Scratch, _) => {
            let scratch = run.scratch.as_mut().ok_or_else(|| {
                Error::invalid("no step before this one mounts anything out of sight")
            })?;
            (&mut scratch.session, TreeBase::Scratch, scratch.shown.clone())
        }
        (DirectoryBase::Target, None) => {
            let missing = || {
                Error::precondition(format!("nothing is mounted at {}", run.destination.display()))
            };
            let target = context.roots.locate(run.destination)?.ok_or_else(missing)?;
            let table = MountTable::read()?;
            let entry = table.top(target.path()).ok_or_else(missing)?;
            let name = &format!("work on {}", target.path().display());
            let work = Work { name, server: &entry.server(), purpose: Purpose::Use };
            let (at, clock) = (Some(target.as_fd()), context.clock.as_ref());
            own = context.remote.start(work, at, call, clock)?;
            (&mut own, TreeBase::Mounted(target.name().to_owned()), entry.source_in_words())
        }
        (DirectoryBase::Granted(name), _) => {
            let path = run.granted_directory(name)?;
            let name = &format!("work on {}", path.join(&at.path).display());
            let shown = path.display().to_string();
            let work = Work { name, server: &shown, purpose: Purpose::Use };
            own = context.remote.start(work, None, call, context.clock.as_ref())?;
            (&mut own, TreeBase::Directory(path), shown)
        }
    };
    let mut work = work;
    let walk = SavedWalk::of(&context.options.state_directory, &shown, &work);
    if let (Some(walk), Tree::SetOwnership { progress, .. }) = (&walk, &mut work) {
        *progress = walk.read();
    }
    let worked = finish(context, call, session, &base, &shown, &mut work);
    match (&walk, &worked, &work) {
        (Some(walk), Ok(()), _) => walk.forget(),
        (Some(walk), Err(_), Tree::SetOwnership { progress, .. }) => walk.write(progress),
        _ => {}
    }
    worked
}

/// Piece by piece.
fn finish(
    context: &NodeContext,
    call: &Call,
    session: &mut Session,
    base: &TreeBase,
    shown: &str,
    work: &mut Tree,
) -> Result<(), Error> {
    let mut done = 0;
    loop {
        let left = left(context, call);
        if left < MIN_TIME_LEFT || call.is_cancelled() {
            return Err(unfinished(shown, done));
        }
        let bound = MAX_REQUEST_TIME.min(left.mul_f32(0.8));
        let wait = left.min(bound + GRACE);
        let request =
            Request::Tree { base: base.clone(), shown: shown.into(), work: work.clone(), bound };
        match session.ask(&request, wait) {
            Ok(Answer::Unfinished { entries, progress: far }) => {
                done += entries;
                if let Tree::SetOwnership { progress, .. } = work {
                    *progress = far;
                }
            }
            Ok(_) => return Ok(()),
            Err(failure) => return Err(failure.into_error(shown, wait)),
        }
    }
}

fn unfinished(shown: &str, done: u64) -> Error {
    Error::aborted(format!("the work on {shown} is not finished, {done} entries are done"))
        .with_hint("it goes on with the next call")
}

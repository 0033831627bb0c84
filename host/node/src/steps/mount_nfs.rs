//! `mount-nfs`: an NFS export on the call's path, or where only this plan sees it. Mounted already:
//! nothing is done.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use wharf_core::Error;
use wharf_core::plan::{MountNfs, MountPlace};

use crate::mounts::mounting::{check_writable_alike, occupied};
use crate::mounts::nfs::{self, NfsExport, tuning};
use crate::mounts::paths::MountTarget;
use crate::mounts::table::{Entry, MountTable};
use crate::mounts::unmount::remote::detach;
use crate::remote::{Request, Session, TreeBase};
use crate::run::{Run, Scratch};
use crate::steps::{PerformStep, ShownMount};

impl PerformStep for MountNfs {
    fn validate(&self) -> Result<(), Error> {
        let export = NfsExport::parse(self)?;
        if export.options().propagation.is_some() {
            return Err(Error::invalid("an NFS mount takes no propagation among its options"));
        }
        if let Some(make) = &self.make_path
            && make.mode > 0o7777
        {
            return Err(Error::invalid(format!("{:o} is not a directory's mode", make.mode)));
        }
        Ok(())
    }

    fn perform(&self, run: &mut Run<'_>) -> Result<(), Error> {
        let export = NfsExport::parse(self)?.making_within(&run.policy.nfs);
        match self.place {
            MountPlace::Target => {
                tuning::set_slots(&run.policy.nfs);
                mount_on_target(run, self, &export)
            }
            MountPlace::Scratch => {
                if run.scratch.is_some() {
                    return Err(Error::invalid("a plan mounts one export out of sight"));
                }
                let (context, call) = (run.context, run.call);
                let session = nfs::mount_scratch(context, call, &export, &run.purpose)?;
                run.scratch = Some(Scratch { session, shown: export.source() });
                Ok(())
            }
        }
    }

    fn is_shown(&self, seen: &ShownMount<'_>) -> Result<bool, Error> {
        match self.place {
            MountPlace::Target => Ok(is_export(seen.entry, &NfsExport::parse(self)?)),
            MountPlace::Scratch => Ok(true),
        }
    }
}

fn mount_on_target(run: &mut Run<'_>, step: &MountNfs, export: &NfsExport) -> Result<(), Error> {
    let target = run.target()?;
    if let Some(entry) = MountTable::read()?.top(target.path()) {
        if !is_export(entry, export) {
            return Err(occupied(&target, entry).with_hint(format!(
                "{} was to be mounted there; unmount the other first",
                export.source()
            )));
        }
        check_writable_alike(&target, entry, export.options())?;
        return finish(run, step, export, &target);
    }
    target.open_or_create_directory(&mut run.undo)?;
    remember(run, &target)?;
    if run.is_worked_on_later
        && let Some(session) = nfs::mount_unseen(run.context, run.call, export, &target)?
    {
        run.unseen = Some(Unseen { step: step.clone(), export: export.clone(), target, session });
        return Ok(());
    }
    nfs::mount_at(run.context, run.call, export, &target)?;
    finish(run, step, export, &target)
}

/// It is there: looks at it once more, and sets what belongs to it.
fn finish(
    run: &Run<'_>,
    step: &MountNfs,
    export: &NfsExport,
    target: &MountTarget,
) -> Result<(), Error> {
    match MountTable::read()?.top(target.path()) {
        Some(entry) if is_export(entry, export) => {
            let sysfs = &run.context.options.sysfs;
            tuning::set_read_ahead(&run.policy.nfs, step, entry, sysfs);
            Ok(())
        }
        _ => Err(Error::aborted(format!(
            "{} was unmounted or covered at the same moment",
            target.path().display()
        ))),
    }
}

/// An export that is mounted for the call's path and is not there yet: it lives in a process, and
/// is gone with it. A kernel that cannot do that has it there already.
pub(crate) struct Unseen {
    step: MountNfs,
    export: NfsExport,
    target: MountTarget,
    session: Session,
}

impl Unseen {
    /// Where work on its directories is done, and what is mounted, for an error.
    pub fn base(&mut self) -> (&mut Session, TreeBase, String) {
        let base = TreeBase::Mounted(self.target.name().to_owned());
        (&mut self.session, base, self.export.source())
    }

    /// Puts it on its path.
    pub fn show(mut self, run: &Run<'_>) -> Result<(), Error> {
        let bound = nfs::left(run.context, run.call);
        let show = Request::Show { at: self.target.name().to_owned() };
        let shown = self.session.ask_last(show, bound);
        shown.map_err(|failure| failure.into_error(&self.export.source(), bound))?;
        finish(run, &self.step, &self.export, &self.target)
    }
}

/// Before it is mounted: whether it was is not known when the server does not answer.
fn remember(run: &mut Run<'_>, target: &MountTarget) -> Result<(), Error> {
    let again = target.duplicate()?;
    let (remote, clock) = (run.context.remote.clone(), Arc::clone(&run.context.clock));
    run.undo.push(target.path(), move || {
        let table = MountTable::read().map_err(std::io::Error::other)?;
        match table.top(again.path()) {
            Some(entry) if entry.is_remote() => {
                detach(&remote, clock.as_ref(), &again, entry).map_err(std::io::Error::other)
            }
            _ => Ok(()),
        }
    });
    Ok(())
}

fn is_export(entry: &Entry, export: &NfsExport) -> bool {
    // The kernel may show one slash more or less at the end.
    let is_same = |one: &OsStr, other: &OsStr| Path::new(one).iter().eq(Path::new(other).iter());
    entry.fs_type.starts_with("nfs") && is_same(&entry.source, OsStr::new(&export.source()))
}

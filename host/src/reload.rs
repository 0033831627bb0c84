//! A configuration that is changed while a server runs. It comes into force whole or not at all,
//! and in the one way in which any configuration does, by a start: the server tries whether it
//! could serve with what is written now, drains as for the end, and executes itself anew. The
//! process, its number, its container and its logs stay; mounts have a supervisor of their own and
//! notice nothing. A configuration that is wrong changes nothing, and is reported in the log, in
//! `wharf status` and in a metric until it is corrected.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};

use crate::config::Written;

/// Between two checks of the files. kubelet takes a minute or more to bring a changed `ConfigMap`
/// to a pod, so this adds little; a check reads some kilobytes.
pub const POLL: Duration = Duration::from_secs(5);

/// The program that runs, also where its file was replaced or deleted.
const PROGRAM: &str = "/proc/self/exe";

/// Why what is written is not in force, if it is not.
#[derive(Debug, Clone, Default)]
pub struct Refused(Arc<Mutex<Option<String>>>);

impl Refused {
    /// `None`: what is written is in force, or was not read yet.
    pub fn why(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, why: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
}

/// Who asks for a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The clock. A file that changed since the last check may be half written, and waits for the
    /// next one.
    ByTime,
    /// A person, with SIGHUP.
    ByPerson,
}

/// The files of a configuration, beside what they were when it came into force.
pub struct Changes {
    path: PathBuf,
    in_force: Written,
    seen: Written,
    judged: Option<Written>,
    refused: Refused,
}

impl Changes {
    /// From now on. To be called before the configuration is read.
    pub fn since_now(path: &Path) -> Self {
        let in_force = Written::read(path);
        Self {
            path: path.to_owned(),
            seen: in_force.clone(),
            in_force,
            judged: None,
            refused: Refused::default(),
        }
    }

    /// Where it is noted that a change was refused.
    pub fn refused(&self) -> Refused {
        self.refused.clone()
    }

    /// Whether to start again. `try_it` says why that would not serve. Reads files.
    pub fn check(&mut self, asked: Asked, try_it: impl FnOnce() -> Result<(), String>) -> bool {
        let written = Written::read(&self.path);
        let is_settled = asked == Asked::ByPerson || written == self.seen;
        self.seen = written;
        if self.seen == self.in_force {
            if asked == Asked::ByPerson {
                tracing::info!("SIGHUP: the configuration that is written is in force already");
            }
            self.judged = None;
            self.refused.set(None);
            return false;
        }
        let is_known = asked == Asked::ByTime && self.judged.as_ref() == Some(&self.seen);
        if !is_settled || is_known {
            return false;
        }
        self.judged = Some(self.seen.clone());
        let tried = try_it();
        match &tried {
            Ok(()) => tracing::info!("the configuration was changed; starting again with it"),
            Err(why) => tracing::error!(
                error = why,
                "the configuration was changed and stays as it was until that is mended"
            ),
        }
        self.refused.set(tried.as_ref().err().cloned());
        tried.is_ok()
    }
}

/// Executes this program anew in this process, with its arguments and environment. Returns only
/// where that fails. A SIGHUP waits from here until [`take_hangups`].
///
/// # Errors
/// What the system says.
pub fn start_again() -> Result<Infallible, String> {
    let failed = |error: Errno| format!("cannot start again with a changed configuration: {error}");
    let words = |words: Vec<u8>| CString::new(words).map_err(|_| failed(Errno::EINVAL));
    let program = words(program().into_os_string().into_vec())?;
    let arguments = std::env::args_os().map(|argument| words(argument.as_bytes().to_vec()));
    let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
    hangups().thread_block().map_err(failed)?;
    nix::unistd::execv(&program, &arguments).map_err(failed)
}

/// Signals that came while the program was executed anew are taken from now on. To be called when
/// they do not end the process any more.
pub fn take_hangups() {
    // It fails for a mask that is not one.
    let _ = hangups().thread_unblock();
}

fn hangups() -> SigSet {
    SigSet::from(Signal::SIGHUP)
}

/// The file's own name where it is still this program: lists of processes show it.
fn program() -> PathBuf {
    let file = |path: &Path| std::fs::metadata(path).map(|it| (it.dev(), it.ino())).ok();
    let named = std::env::current_exe().unwrap_or_default();
    match file(Path::new(PROGRAM)) {
        Some(running) if file(&named) == Some(running) => named,
        _ => PROGRAM.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("wharf.toml");
        std::fs::write(&path, text).unwrap();
        (directory, path)
    }

    #[test]
    fn a_change_is_tried_once_it_stays_the_same_and_once_only() {
        let (directory, path) = written("a");
        let mut changes = Changes::since_now(&path);
        let never = || -> Result<(), String> { panic!("tried") };
        assert!(!changes.check(Asked::ByTime, never));
        std::fs::write(&path, "half").unwrap();
        assert!(!changes.check(Asked::ByTime, never));
        std::fs::write(&path, "whole").unwrap();
        assert!(!changes.check(Asked::ByTime, never));
        assert!(!changes.check(Asked::ByTime, || Err("no driver".to_owned())));
        assert_eq!(changes.refused().why().as_deref(), Some("no driver"));
        assert!(!changes.check(Asked::ByTime, never));
        // A mode that lets others write is part of it, and so are grants.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(!changes.check(Asked::ByTime, never));
        assert!(!changes.check(Asked::ByTime, || Err("again".to_owned())));
        std::fs::create_dir(directory.path().join("grants.d")).unwrap();
        std::fs::write(directory.path().join("grants.d/disk.toml"), "").unwrap();
        assert!(!changes.check(Asked::ByTime, never));
        assert!(changes.check(Asked::ByTime, || Ok(())));
        assert_eq!(changes.refused().why(), None);
    }

    #[test]
    fn a_person_is_answered_at_once_and_what_was_taken_back_is_no_change() {
        let (_directory, path) = written("a");
        let mut changes = Changes::since_now(&path);
        std::fs::write(&path, "b").unwrap();
        for _ in 0..2 {
            assert!(!changes.check(Asked::ByPerson, || Err("wrong".to_owned())));
            assert!(changes.refused().why().is_some());
        }
        std::fs::write(&path, "a").unwrap();
        assert!(!changes.check(Asked::ByPerson, || panic!("tried")));
        assert_eq!(changes.refused().why(), None);
        std::fs::remove_file(&path).unwrap();
        assert!(!changes.check(Asked::ByPerson, || Err("it is gone".to_owned())));
        assert_eq!(changes.refused().why().as_deref(), Some("it is gone"));
    }
}

//! The socket on which a server reports its status: one answer for each connection, in JSON. It
//! lies in a directory that is root's alone, because names of volumes stand in it.
//!
//! A server serves volumes whether or not it can report how it is, so nothing here is an error of
//! it.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Report, Reporter};

/// How long one who asks may take to read the answer: the next one waits meanwhile.
const READS_WITHIN: Duration = Duration::from_secs(1);
/// How long the answer is waited for; it is made from memory.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// An operation takes about 200 bytes, and the front ends let some thousands be under way.
const MAX_BYTES: u64 = 4 << 20;

/// The socket of a server; it goes with the value.
pub struct StatusSocket {
    path: PathBuf,
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Tells everybody who asks, on a thread of its own, until the process ends. `None`, and a line in
/// the log, where that cannot be.
pub fn serve(directory: &Path, name: &str, reporter: Arc<Reporter>) -> Option<StatusSocket> {
    let path = directory.join(format!("{name}.sock"));
    let served = listen(directory, &path).and_then(|listener| {
        let answer_all =
            move || listener.incoming().flatten().for_each(|stream| answer(stream, &reporter));
        std::thread::Builder::new().name("status".to_owned()).spawn(answer_all)
    });
    match served {
        Ok(_) => Some(StatusSocket { path }),
        Err(error) => {
            tracing::warn!(socket = %path.display(), %error, "`wharf status` will not see this server");
            None
        }
    }
}

fn listen(directory: &Path, path: &Path) -> io::Result<UnixListener> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            if UnixStream::connect(path).is_ok() {
                return Err(io::Error::new(
                    ErrorKind::AddrInUse,
                    "another server of this role tells its status there",
                ));
            }
            // Of one that was killed.
            fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}

/// Whoever does not read is left.
fn answer(mut stream: UnixStream, reporter: &Reporter) {
    let _ = stream.set_write_timeout(Some(READS_WITHIN));
    if let Ok(report) = serde_json::to_vec(&reporter.report()) {
        let _ = stream.write_all(&report);
    }
}

/// Asks every server that has a socket there. Those of killed servers are passed over; a server
/// that does not answer is named by its socket.
pub fn ask(directory: &Path) -> (Vec<Report>, Vec<String>) {
    let (mut reports, mut silent) = (Vec::new(), Vec::new());
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return (reports, silent),
        Err(error) => return (reports, vec![format!("{}: {error}", directory.display())]),
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "sock"));
    paths.sort();
    for path in paths {
        match ask_one(&path) {
            Ok(Some(report)) => reports.push(report),
            Ok(None) => {}
            Err(error) => silent.push(format!("{}: {error}", path.display())),
        }
    }
    (reports, silent)
}

/// `None`: nobody listens there.
fn ask_one(path: &Path) -> io::Result<Option<Report>> {
    let stream = match UnixStream::connect(path) {
        Err(error)
            if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) =>
        {
            return Ok(None);
        }
        stream => stream?,
    };
    stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
    let mut bytes = Vec::new();
    stream.take(MAX_BYTES).read_to_end(&mut bytes).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => {
            io::Error::other(format!("the server does not answer within {ANSWERS_WITHIN:?}"))
        }
        _ => error,
    })?;
    serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_killed_server_is_passed_over_and_its_place_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.sock");
        drop(UnixListener::bind(&path).unwrap());
        let (reports, silent) = ask(directory.path());
        assert!(reports.is_empty() && silent.is_empty(), "{silent:?}");
        let listener = listen(directory.path(), &path).unwrap();
        assert!(
            listen(directory.path(), &path).unwrap_err().to_string().contains("another server")
        );
        drop(listener);
    }

    #[test]
    fn a_server_that_does_not_answer_is_named_and_holds_up_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let _deaf = UnixListener::bind(directory.path().join("node.sock")).unwrap();
        let (reports, silent) = ask(directory.path());
        assert!(reports.is_empty());
        assert!(silent.first().unwrap().contains("does not answer within 2s"), "{silent:?}");
    }

    #[test]
    fn the_directory_is_for_its_owner_alone() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("status");
        let _listener = listen(&directory, &directory.join("node.sock")).unwrap();
        let mode = fs::metadata(&directory).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}

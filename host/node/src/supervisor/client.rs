//! How the rest of the host asks the supervisor, and starts it where nobody else does.

use std::ffi::OsString;
use std::io::ErrorKind as ErrorOfIo;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use wharf_core::{Error, ErrorKind};

use super::protocol::{self, Answer, Credential, MountRequest, Request, Spec, Status};
use super::server::check_peer;
use super::{log, log_path, socket_path};

/// Starting takes milliseconds; adopting many helpers, a second.
const START: Duration = Duration::from_secs(10);
/// Between two attempts to connect meanwhile.
const CONNECT_AGAIN: Duration = Duration::from_millis(5);
/// The answer may take as long as the request says, and a little.
const ANSWER: Duration = Duration::from_secs(5);

/// A mount of an earlier driver is asked one question.
const ASK_MOUNT: Duration = Duration::from_secs(5);

/// A command of this program: one that serves until it is ended, or one that ends by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartCommand {
    /// The program.
    pub program: PathBuf,
    /// Its name for itself, and its arguments.
    pub arguments: Vec<OsString>,
}

/// Whose helper serves a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// The supervisor's: it is healed, and gets new keys.
    BySupervisor,
    /// An earlier driver's, which was left as it is.
    ByEarlierDriver,
}

impl StartCommand {
    /// Runs one that ends by itself, and waits for its end. Whether it did what it was to do; why
    /// not, it says where this process says things.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&self) -> std::io::Result<bool> {
        let mut command = Command::new(&self.program);
        if let Some((name, arguments)) = self.arguments.split_first() {
            command.arg0(name).args(arguments);
        }
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
        Ok(status.success())
    }
}

/// Asks the supervisor of one run directory.
#[derive(Debug, Clone)]
pub struct Client {
    run_directory: PathBuf,
    start: Option<StartCommand>,
}

impl Client {
    /// Connects to nothing yet. With a command, the supervisor is started where none runs.
    pub fn new(run_directory: &Path, start: Option<StartCommand>) -> Self {
        Self { run_directory: run_directory.to_owned(), start }
    }

    /// Has a mount made, or finds it made.
    ///
    /// # Errors
    /// Why there is no mount; `Unavailable` when there is no supervisor.
    pub fn mount(&self, request: MountRequest) -> Result<Served, Error> {
        let wait = Duration::from_millis(request.wait_millis);
        match self.ask(&Request::Mount(Box::new(request)), wait)? {
            Answer::Done => Ok(Served::BySupervisor),
            Answer::LeftAsFound => Ok(Served::ByEarlierDriver),
            other => Err(unexpected(&other)),
        }
    }

    /// Unmounts a target, and waits for its helper to end.
    ///
    /// # Errors
    /// `FailedPrecondition` while it is used.
    pub fn unmount(&self, target: &Path, wait: Duration) -> Result<(), Error> {
        let request = Request::Unmount { target: target.to_owned(), wait_millis: millis(wait) };
        self.done(&request, wait)
    }

    /// Gives the helper of a mount new keys.
    ///
    /// # Errors
    /// `NotFound` when there is no such mount; why it goes on with the old ones.
    pub fn update(
        &self,
        target: &Path,
        credential: Credential,
        wait: Duration,
    ) -> Result<(), Error> {
        let target = target.to_owned();
        let request = Request::Update { target, credential, wait_millis: millis(wait) };
        self.done(&request, wait)
    }

    /// Whether the target shows this mount by the helper of an earlier driver. Also true where that
    /// is proved and it does not answer, and where the supervisor is of a version that cannot say.
    ///
    /// # Errors
    /// `Unavailable` when there is no supervisor, or it does not answer.
    pub fn is_of_earlier_driver(&self, spec: Spec) -> Result<bool, Error> {
        let stream = self.connect()?.ok_or_else(|| self.absent())?;
        match exchange(stream, &Request::LookForEarlier(Box::new(spec)), ASK_MOUNT + ANSWER)? {
            Answer::LeftAsFound => Ok(true),
            Answer::Done => Ok(false),
            Answer::Failed(failure) => {
                Ok(Error::from(failure).kind != ErrorKind::FailedPrecondition)
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Every mount that has a helper; none when no supervisor runs.
    ///
    /// # Errors
    /// `Unavailable` when it does not answer.
    pub fn list(&self) -> Result<Vec<Status>, Error> {
        self.list_if_running().map(Option::unwrap_or_default)
    }

    /// The same; `None` when no supervisor runs.
    ///
    /// # Errors
    /// `Unavailable` when it does not answer.
    pub fn list_if_running(&self) -> Result<Option<Vec<Status>>, Error> {
        self.list_within(ANSWER)
    }

    /// The same for a caller that waits no longer than this.
    ///
    /// # Errors
    /// `Unavailable` when it has not answered by then.
    pub fn list_within(&self, bound: Duration) -> Result<Option<Vec<Status>>, Error> {
        let Some(stream) = self.connect()? else { return Ok(None) };
        match exchange(stream, &Request::List, bound)? {
            Answer::Mounts(mounts) => Ok(Some(mounts)),
            Answer::Failed(failure) => Err(failure.into()),
            other => Err(unexpected(&other)),
        }
    }

    /// The same where a supervisor is to be there.
    ///
    /// # Errors
    /// `Unavailable` when none runs, or when it does not answer.
    pub fn list_of_running(&self) -> Result<Vec<Status>, Error> {
        self.list_if_running()?.ok_or_else(|| self.absent())
    }

    /// The end of a helper's log.
    ///
    /// # Errors
    /// `NotFound` when there is no such mount.
    pub fn log(&self, mount: &str) -> Result<String, Error> {
        let stream = self.connect()?.ok_or_else(|| self.absent())?;
        match exchange(stream, &Request::Log { mount: mount.to_owned() }, ANSWER)? {
            Answer::Log(log) => Ok(log),
            Answer::Failed(failure) => Err(failure.into()),
            other => Err(unexpected(&other)),
        }
    }

    fn done(&self, request: &Request, wait: Duration) -> Result<(), Error> {
        match self.ask(request, wait)? {
            Answer::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    fn ask(&self, request: &Request, wait: Duration) -> Result<Answer, Error> {
        let answer = match exchange(self.connect_or_start()?, request, wait + ANSWER) {
            // Every request can be made twice. A supervisor that was killed is still connected to
            // for a moment, where it had forked a child.
            Err(error) if error.kind == ErrorKind::Aborted => {
                std::thread::sleep(CONNECT_AGAIN);
                exchange(self.connect_or_start()?, request, wait + ANSWER)?
            }
            answer => answer?,
        };
        match answer {
            Answer::Failed(failure) => Err(failure.into()),
            answer => Ok(answer),
        }
    }

    /// `None`: no supervisor runs.
    fn connect(&self) -> Result<Option<UnixStream>, Error> {
        let path = socket_path(&self.run_directory);
        match UnixStream::connect(&path) {
            Ok(stream) => {
                check_peer(&stream).map_err(|error| {
                    Error::denied(format!("{} is served by somebody else: {error}", path.display()))
                })?;
                Ok(Some(stream))
            }
            Err(error)
                if matches!(error.kind(), ErrorOfIo::NotFound | ErrorOfIo::ConnectionRefused) =>
            {
                Ok(None)
            }
            Err(error) => Err(Error::unavailable(format!(
                "cannot ask the supervisor of mounts at {}: {error}",
                path.display()
            ))),
        }
    }

    fn connect_or_start(&self) -> Result<UnixStream, Error> {
        if let Some(stream) = self.connect()? {
            return Ok(stream);
        }
        let start = self.start.as_ref().ok_or_else(|| self.absent())?;
        let deadline = Instant::now() + START;
        self.start(start)?;
        loop {
            if let Some(stream) = self.connect()? {
                return Ok(stream);
            }
            if Instant::now() >= deadline {
                return Err(Error::unavailable(format!(
                    "the supervisor of mounts was started and does not answer after {START:?}"
                ))
                .with_hint(format!("see {}", self.log_path().display())));
            }
            std::thread::sleep(CONNECT_AGAIN);
        }
    }

    /// In a session of its own and a child of nobody, so that it outlives the call. Two that are
    /// started at once find out by their lock, and one ends.
    fn start(&self, start: &StartCommand) -> Result<(), Error> {
        let failed = |error: std::io::Error| {
            Error::unavailable(format!(
                "cannot start the supervisor of mounts ({}): {error}",
                start.program.display()
            ))
        };
        crate::state::records::make_private_directory(&self.run_directory)?;
        let log = log::open(&self.log_path()).map_err(failed)?;
        let mut command = Command::new(&start.program);
        if let Some((name, arguments)) = start.arguments.split_first() {
            command.arg0(name).args(arguments);
        }
        command.env_clear().current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let in_a_new_session = || {
            rustix::process::setsid()?;
            Ok(())
        };
        #[allow(unsafe_code, reason = "a new session is begun between fork and exec")]
        // SAFETY: one system call, and nothing is allocated.
        unsafe {
            command.pre_exec(in_a_new_session);
        }
        let child = command.spawn().map_err(failed)?;
        // A long-lived caller has it as a child, and would keep it as a zombie once it ends.
        std::thread::spawn(move || {
            let mut child = child;
            let _ = child.wait();
        });
        Ok(())
    }

    fn log_path(&self) -> PathBuf {
        log_path(&self.run_directory)
    }

    fn absent(&self) -> Error {
        Error::unavailable(format!(
            "no supervisor of mounts runs for {}",
            self.run_directory.display()
        ))
        .with_hint("start `wharf mounts serve` on this node, as a service or a DaemonSet")
    }
}

fn exchange(mut stream: UnixStream, request: &Request, bound: Duration) -> Result<Answer, Error> {
    let exchanged = stream
        .set_read_timeout(Some(bound))
        .and_then(|()| protocol::write(&mut stream, request))
        .and_then(|()| protocol::read(&mut stream));
    exchanged.map_err(|error| {
        let what = format!("the supervisor of mounts did not answer: {error}");
        let is_gone = matches!(
            error.kind(),
            ErrorOfIo::ConnectionReset | ErrorOfIo::BrokenPipe | ErrorOfIo::UnexpectedEof
        );
        let error = if is_gone { Error::aborted(what) } else { Error::unavailable(what) };
        error.with_hint("it is asked again with the next call")
    })
}

fn unexpected(answer: &Answer) -> Error {
    Error::internal(format!(
        "the supervisor of mounts answered something else: {:?}",
        std::mem::discriminant(answer)
    ))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_supervisor_that_hangs_is_waited_for_as_long_as_the_caller_says() {
        let run = tempfile::tempdir().unwrap();
        let _silent = UnixListener::bind(socket_path(run.path())).unwrap();
        let begun = Instant::now();
        let client = Client::new(run.path(), None);
        let error = client.list_within(Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
        assert!(begun.elapsed() < ANSWER, "{:?}", begun.elapsed());
    }
}

//! What commands print. A reader that is gone (`wharf backend list | head`) is no defect and gets
//! no message: the command ends with code 1, as programs do that a broken pipe ends.

use std::io::{self, Write};
use std::sync::mpsc::channel;
use std::time::Duration;

use wharf_core::text::lines;

/// How long the end of the process waits for its last message: a pipe that nobody empties must not
/// keep it.
const FLUSH_BOUND: Duration = Duration::from_secs(1);

/// Why a command ends with another code than 0.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// What failed, and what to do.
    Message(String),
    /// What is wrong with what the command reads: it ends with code 2.
    Input(String),
    /// Nobody reads what it prints.
    NobodyReads,
    /// What it printed is what is wrong.
    Printed,
}

impl Failure {
    /// How the process ends.
    pub fn code(&self) -> u8 {
        match self {
            Self::Input(_) => 2,
            Self::Message(_) | Self::NobodyReads | Self::Printed => 1,
        }
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Message(message)
    }
}

/// Prints a result: the text and a newline, at once, and nothing that a terminal obeys.
///
/// # Errors
/// When standard output does not take it.
pub fn print(text: &str) -> Result<(), Failure> {
    write(format!("{}\n", lines(text, usize::MAX)).as_bytes())
}

/// Prints bytes as they are.
///
/// # Errors
/// When standard output does not take them.
pub fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(failure)
}

fn failure(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::NobodyReads,
        _ => Failure::Message(format!("cannot write to standard output: {error}")),
    }
}

/// Says on standard error why the command failed, where anybody listens.
pub fn complain(failure: Failure) {
    let (Failure::Message(message) | Failure::Input(message)) = failure else { return };
    let (done, end) = channel();
    let write_message = move || {
        let message = lines(&message, usize::MAX);
        let _ = io::stderr().write_all(format!("wharf: {message}\n").as_bytes());
        let _ = done.send(());
    };
    if std::thread::Builder::new().spawn(write_message).is_ok() {
        let _ = end.recv_timeout(FLUSH_BOUND);
    }
}

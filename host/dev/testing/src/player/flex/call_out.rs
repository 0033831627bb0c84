//! Executing a driver as kubelet does: its whole environment, `/dev/null` as input, one pipe for
//! both outputs, and reading until the last holder of that pipe is gone.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use super::Disturbance;

/// What came out.
pub(super) struct Executed {
    pub(super) output: Vec<u8>,
    pub(super) succeeded: bool,
}

/// A driver that cannot be executed is, to kubelet, one that printed nothing.
pub(super) fn execute(
    executable: &Path,
    call: &str,
    arguments: &[String],
    disturb: Option<&Disturbance>,
) -> Executed {
    run(executable, call, arguments, disturb)
        .unwrap_or_else(|_| Executed { output: Vec::new(), succeeded: false })
}

fn run(
    executable: &Path,
    call: &str,
    arguments: &[String],
    disturb: Option<&Disturbance>,
) -> io::Result<Executed> {
    let (mut reader, writer) = io::pipe()?;
    let mut command = Command::new(executable);
    command
        .arg(call)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let output = std::thread::spawn(move || {
        let mut output = Vec::new();
        reader.read_to_end(&mut output).map(|_| output)
    });
    let status = match disturb {
        Some(disturb) => disturb(command)?,
        None => {
            let status = command.status();
            // The command holds the writing ends of the pipe.
            drop(command);
            status?
        }
    };
    let output = output.join().map_err(|_| io::Error::other("the reader is gone"))??;
    Ok(Executed { output, succeeded: status.success() })
}

//! A server that is disturbed while a verb is done.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use wharf_testing::bed::{Bed, Machine};
use wharf_testing::player::PlayError;
use wharf_testing::trace::Attached;

use super::kind::{Kind, Swap};

/// Does a verb while the server of a machine is disturbed at a position. Says whether there is one,
/// and in words which.
pub fn disturb(
    bed: &Bed,
    machine: &Machine,
    kind: Kind,
    at: usize,
    perform: impl FnOnce() -> Result<(), PlayError>,
) -> Result<Option<String>, PlayError> {
    let swap = Swap::of(bed, machine);
    let pid = machine.server_pid();
    if kind.is_of_the_cloud() {
        let (result, reached) = kind.at_request(bed, at, || pid, &swap, perform);
        result?;
        return Ok(reached.then(|| "request".to_owned()));
    }
    let attached = Attached::to(pid, kind.moment(at, swap))
        .map_err(|error| stage("trace the server", &error))?;
    let result = perform();
    // Whoever was not killed is: the tracer goes with it.
    let traced = end(machine, pid, attached)?;
    result?;
    Ok(traced.last_reached())
}

fn end(
    machine: &Machine,
    pid: i32,
    attached: Attached,
) -> Result<wharf_testing::trace::Traced, PlayError> {
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    let traced = attached.wait().map_err(|error| stage("trace the server", &error))?;
    machine.wait_for_server(pid).map_err(|error| stage("wait for the server", &error))?;
    Ok(traced)
}

pub fn stage(what: &str, why: &impl std::fmt::Display) -> PlayError {
    PlayError::Stage { what: what.to_owned(), why: why.to_string() }
}

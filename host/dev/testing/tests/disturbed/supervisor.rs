//! The supervisor of mounts that is killed while a verb is done.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use wharf_testing::bed::{Bed, Machine, is_dead};
use wharf_testing::player::PlayError;
use wharf_testing::trace::Attached;

use super::kind::{Kind, Swap};
use super::life::Life;
use super::server::stage;

/// How long the end of an unmounted helper is waited for.
const ENDED: Duration = Duration::from_secs(30);

/// Does a verb while the supervisor of the first node is killed at a position. The helper goes on
/// without it, and another supervisor follows.
pub fn disturb<'a>(
    life: &mut impl Life<'a>,
    bed: &Bed,
    verb: &str,
    kind: Kind,
    at: usize,
) -> Result<Option<String>, PlayError> {
    let machine = bed.node(0);
    let moment = kind.moment(at, Swap::of(bed, machine));
    let pid = machine.supervisor_pid().unwrap();
    let attached =
        Attached::to(pid, moment).map_err(|error| stage("trace the supervisor", &error))?;
    let result = life.perform(verb);
    life.settle();
    // Whoever was not killed is: the tracer goes with it.
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    let traced = attached.wait().map_err(|error| stage("trace the supervisor", &error))?;
    keep_a_supervisor(bed, machine);
    result?;
    Ok(traced.last_reached())
}

/// The supervisor takes away what a helper had once that has ended, after its mount is gone.
pub fn await_no_helper(bed: &Bed, mounted: &Path) {
    let begun = Instant::now();
    let is_mounted = || bed.mounts().iter().any(|mount| mount.at == mounted);
    let records = bed.node(0).state().join("mounts");
    let has_records = || std::fs::read_dir(&records).is_ok_and(|mut all| all.next().is_some());
    let is_tended = || bed.node(0).supervisor_pid().is_some();
    while !is_mounted() && has_records() && is_tended() && begun.elapsed() < ENDED {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Supervisors that were started here and have to be waited for.
static STARTED: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Starts a supervisor where none runs, and waits until it answers.
pub fn keep_a_supervisor(bed: &Bed, machine: &Machine) {
    // A tracer may have had its status before.
    // Only those that are dead are waited for: of one that another thread traces, `wait` would take
    // the stops that its tracer waits for.
    STARTED
        .lock()
        .unwrap()
        .retain_mut(|child| !is_dead(child.id().cast_signed()) || child.wait().is_err());
    if machine.supervisor_pid().is_none() {
        let mut serve = Command::new(&bed.parts().wharf);
        serve.args(["mounts", "serve", "--run"]).arg(machine.helper_mounts());
        serve.arg("--state").arg(machine.state());
        serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        STARTED.lock().unwrap().push(serve.spawn().unwrap());
    }
    let socket = machine.helper_mounts().join("supervisor.sock");
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        std::thread::sleep(Duration::from_millis(2));
    }
}

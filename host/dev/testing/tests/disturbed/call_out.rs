//! A call-out that is disturbed: a process of its own, that is traced or known by its number.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex};

use wharf_testing::bed::{Bed, Machine};
use wharf_testing::player::PlayError;
use wharf_testing::player::flex::Disturbance;
use wharf_testing::trace::{self, Moment, Traced};

use super::kind::{Kind, Swap};

/// Does a verb, by a player with the disturbance that it is handed, while the call-out of that name
/// is disturbed at a position. Says whether there is one, and in words which.
pub fn disturb(
    bed: &Bed,
    machine: &Machine,
    call: &str,
    kind: Kind,
    at: usize,
    perform: impl FnOnce(Disturbance) -> Result<(), PlayError>,
) -> Result<Option<String>, PlayError> {
    let swap = Swap::of(bed, machine);
    if kind.is_of_the_cloud() {
        let pid = Arc::new(AtomicI32::new(0));
        let disturbance = noting_the_process(&pid);
        let victim = || pid.load(Ordering::SeqCst);
        let (result, reached) = kind.at_request(bed, at, victim, &swap, || perform(disturbance));
        result?;
        return Ok(reached.then(|| "request".to_owned()));
    }
    let traced = Arc::new(Mutex::new(Traced::default()));
    perform(tracing_the_first(call, kind.moment(at, swap), &traced))?;
    let traced = traced.lock().unwrap().clone();
    Ok(traced.reached.then(|| {
        traced.positions.last().map(|position| format!("{position:?}")).unwrap_or_default()
    }))
}

fn noting_the_process(pid: &Arc<AtomicI32>) -> Disturbance {
    let pid = Arc::clone(pid);
    Arc::new(move |mut command: Command| {
        let mut child = command.spawn()?;
        drop(command);
        pid.store(i32::try_from(child.id()).unwrap(), Ordering::SeqCst);
        child.wait()
    })
}

/// Only the first call of that name is traced; what follows repeats it.
fn tracing_the_first(call: &str, moment: Moment, traced: &Arc<Mutex<Traced>>) -> Disturbance {
    let (call, moment, traced) = (call.to_owned(), Mutex::new(Some(moment)), Arc::clone(traced));
    Arc::new(move |mut command: Command| {
        let is_it = command.get_args().next().is_some_and(|word| word == call.as_str());
        let Some(moment) = is_it.then(|| moment.lock().unwrap().take()).flatten() else {
            return command.status();
        };
        let result = trace::run(command, moment)?;
        let status = result
            .code
            .map_or_else(|| ExitStatus::from_raw(9), |code| ExitStatus::from_raw(code << 8));
        *traced.lock().unwrap() = result;
        Ok(status)
    })
}

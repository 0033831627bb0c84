//! The supervisor is killed before each thing that it changes, for each of its verbs; another one
//! starts, and the call is repeated. The end is the same as without: what was asked for is so, and
//! nothing else is left.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::Write;
use std::time::Duration;

use wharf_core::Error;
use wharf_node::supervisor::{Condition, Spec};
use wharf_testing::trace::{Act, Attached, Counted, Moment};

use crate::bed::{
    Bed, Container, PATIENCE, credential, holds, kill, request, sh, until, until_within,
};

/// What a run begins with, does, and has to come to; each in a fresh life of the same bed.
struct Verb<'a> {
    prepare: &'a dyn Fn(&Bed),
    perform: &'a dyn Fn(&Bed) -> Result<(), Error>,
    settle: &'a dyn Fn(&Bed),
}

/// Visits every position of a verb. There are at least `fewest`, so that none is lost unnoticed.
fn visit(bed: &Bed, fewest: usize, verb: &Verb<'_>) {
    let mut position = 0;
    loop {
        (verb.prepare)(bed);
        // Its own changes, those of the processes that it repairs with, and those of the helper.
        let moment = Moment { at: position, counted: Counted::All, act: Act::KillProcess };
        let tracer = Attached::to(bed.supervisor(), moment).unwrap();
        let _ = (verb.perform)(bed);
        bed.kill_supervisor();
        let traced = tracer.wait().unwrap();
        bed.start();
        // As kubelet does: until it is so.
        let at = traced.positions.last();
        let what = format!("the call is repeated after {at:?} ({position})");
        until(&what, || {
            let again = (verb.perform)(bed);
            again.inspect_err(|error| eprintln!("{what}: {error}")).is_ok()
        });
        (verb.settle)(bed);
        bed.assert_clean();
        if !traced.reached {
            break;
        }
        position += 1;
    }
    assert!(position >= fewest, "only {position} positions were visited");
    eprintln!("{position} positions");
}

fn unmount(bed: &Bed, spec: &Spec) {
    bed.client().unmount(&spec.target, PATIENCE).unwrap();
}

#[test]
fn a_mount_that_was_interrupted_anywhere_is_made_by_the_next_call() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec("a");
    let mount = |bed: &Bed| {
        bed.client().mount(request(spec.clone(), Some(credential("c4n4ry-key")))).map(drop)
    };
    let settle = |bed: &Bed| {
        assert!(holds(&spec.target.join("file"), "hello"));
        until("one helper is left", || bed.processes().len() == 1);
        assert_eq!(bed.mounts().len(), 2, "{:?}", bed.mounts());
        unmount(bed, &spec);
    };
    visit(&bed, 15, &Verb { prepare: &|_| {}, perform: &mount, settle: &settle });
}

#[test]
fn an_unmount_that_was_interrupted_anywhere_leaves_nothing_after_the_next_call() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec("a");
    let prepare = |bed: &Bed| bed.mount(&spec).unwrap();
    let perform = |bed: &Bed| bed.client().unmount(&spec.target, PATIENCE);
    visit(&bed, 3, &Verb { prepare: &prepare, perform: &perform, settle: &|_| {} });
}

#[test]
fn new_keys_that_were_interrupted_anywhere_are_in_use_after_the_next_call() {
    let Some(bed) = Bed::new() else { return };
    let script = "cp $(dirname $2)/credential/passwd $1/key; exec bindfs -f $1 $2";
    let spec = bed.script("a", script);
    let held = RefCell::new(None);
    let prepare = |bed: &Bed| {
        bed.client().mount(request(spec.clone(), Some(credential("first-key")))).unwrap();
        let open = File::options().write(true).open(spec.target.join("file")).unwrap();
        *held.borrow_mut() = Some(open);
    };
    let perform = |bed: &Bed| bed.client().update(&spec.target, credential("second-key"), PATIENCE);
    let settle = |bed: &Bed| {
        // Its helper serves it until it is closed, whoever supervises.
        held.borrow_mut().take().unwrap().write_all(b"hello").unwrap();
        until("the new keys are in use", || holds(&spec.target.join("key"), "second-key"));
        until("one helper is left", || bed.processes().len() == 1);
        until("it can be unmounted", || bed.client().unmount(&spec.target, PATIENCE).is_ok());
    };
    visit(&bed, 10, &Verb { prepare: &prepare, perform: &perform, settle: &settle });
}

/// How long a supervisor that was killed in the middle is taken for one that still heals.
const GLANCE: Duration = Duration::from_millis(20);

#[test]
fn a_healing_that_was_interrupted_anywhere_is_ended_by_the_next_supervisor() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec("a");
    let (stage, part) = (spec.target.display().to_string(), bed.target("part"));
    let inside = bed.path("containers");
    let (container, helper) = (RefCell::new(None), Cell::new(None));
    let prepare = |bed: &Bed| {
        bed.mount(&spec).unwrap();
        sh(&format!("mount -o bind,ro {stage}/sub {}", part.display()));
        let commands = format!("mount -o bind,ro {stage}/sub {}", inside.display());
        *container.borrow_mut() = Some(Container::new(bed, &commands));
        helper.set(Some(bed.pid(&spec)));
    };
    let is_healed = || {
        let container = container.borrow();
        let there = container.as_ref().unwrap().path(&inside);
        holds(&spec.target.join("file"), "hello")
            && [&part, &there].iter().all(|place| holds(&place.join("inner"), "inner"))
    };
    let perform = |bed: &Bed| {
        // The helper dies once; what follows is the supervisor's alone.
        if let Some(pid) = helper.take() {
            kill(pid);
            until("the mount is dead", || !is_healed() || bed.client().list().is_err());
        }
        until("it is healed, or the supervisor was killed", || {
            until_within(GLANCE, is_healed)
                || !bed.client().list_if_running().is_ok_and(|list| list.is_some())
        });
        if is_healed() { Ok(()) } else { Err(Error::unavailable("the supervisor was killed")) }
    };
    let settle = |bed: &Bed| {
        until("it is at rest", || {
            let status = bed.status(&spec);
            status.condition == Condition::Serving && status.unhealed.is_empty()
        });
        let container = container.borrow_mut().take().unwrap();
        for place in [&part, &container.path(&inside)] {
            assert!(std::fs::write(place.join("new"), "x").is_err(), "{}", place.display());
        }
        until("one helper is left", || bed.processes().len() == 1);
        drop(container);
        sh(&format!("umount {}", part.display()));
        unmount(bed, &spec);
    };
    visit(&bed, 20, &Verb { prepare: &prepare, perform: &perform, settle: &settle });
}

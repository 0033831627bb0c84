use std::path::Path;
use std::process::Command;

use super::*;

const SCRIPT: &str = "mkdir one; : > two; mv two three; rmdir one";

fn shell(directory: &Path, script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).current_dir(directory);
    command
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn undisturbed(script: &str) -> Traced {
    let directory = tempfile::tempdir().unwrap();
    run(shell(directory.path(), script), Moment::never()).unwrap()
}

#[test]
fn positions_are_counted_over_helpers_and_in_order() {
    let traced = undisturbed(SCRIPT);
    assert_eq!((traced.code, traced.reached), (Some(0), false));
    let calls: Vec<&str> = traced
        .positions
        .iter()
        .filter(|position| position.call != "execve")
        .map(|position| position.call)
        .collect();
    let is = |calls: &[&str]| {
        calls
            .iter()
            .map(|call| call.trim_end_matches("at2").trim_end_matches("at").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(is(&calls), ["mkdir", "open", "rename", "rmdir"]);
    assert!(traced.positions.iter().any(|position| position.helper.as_deref() == Some("mkdir")));
}

#[test]
fn a_kill_at_each_position_leaves_what_came_before_it_and_nothing_after() {
    let all = undisturbed(SCRIPT).positions.len();
    let mut seen = Vec::new();
    for at in 0..all {
        let directory = tempfile::tempdir().unwrap();
        let traced = run(
            shell(directory.path(), SCRIPT),
            Moment { at, counted: Counted::All, act: Act::KillAll },
        )
        .unwrap();
        assert_eq!((traced.reached, traced.code, traced.positions.len()), (true, None, at + 1));
        seen.push(names(directory.path()).join(" "));
    }
    seen.dedup();
    assert_eq!(seen, ["", "one", "one two", "one three"]);
}

#[test]
fn a_helper_goes_on_when_only_its_process_is_killed() {
    let looking = || Moment { counted: Counted::Helpers, ..Moment::never() };
    let undisturbed = tempfile::tempdir().unwrap();
    let seen = run(shell(undisturbed.path(), SCRIPT), looking()).unwrap().positions;
    let at = seen.iter().position(|position| position.call.starts_with("mkdir")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let traced = run(
        shell(directory.path(), SCRIPT),
        Moment { at, counted: Counted::Helpers, act: Act::KillProcess },
    )
    .unwrap();
    assert_eq!(traced.code, None);
    while names(directory.path()).is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(names(directory.path()), ["one"]);
}

#[test]
fn alike_calls_of_a_helper_that_goes_on_are_one_position() {
    let script = "dd if=/dev/zero of=one bs=1 count=40 2>/dev/null; mkdir two";
    let counted = |counted| {
        let directory = tempfile::tempdir().unwrap();
        let moment = Moment { counted, ..Moment::never() };
        let traced = run(shell(directory.path(), script), moment).unwrap();
        traced.positions.iter().filter(|position| position.call == "write").count()
    };
    assert_eq!((counted(Counted::All), counted(Counted::Helpers)), (40, 1));
}

#[test]
fn something_can_happen_meanwhile_and_the_process_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let act = Act::Meanwhile(Box::new(move || std::fs::write(path.join("meanwhile"), "").unwrap()));
    let traced =
        run(shell(directory.path(), SCRIPT), Moment { at: 1, counted: Counted::All, act }).unwrap();
    assert_eq!((traced.code, traced.reached), (Some(0), true));
    assert_eq!(names(directory.path()), ["meanwhile", "three"]);
}

#[test]
fn a_running_process_is_taken_hold_of() {
    use std::io::Write;
    let directory = tempfile::tempdir().unwrap();
    let mut child = shell(directory.path(), "read go; mkdir one; mkdir two")
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let attached = Attached::to(
        i32::try_from(child.id()).unwrap(),
        Moment { at: 3, counted: Counted::All, act: Act::KillAll },
    )
    .unwrap();
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let traced = attached.wait().unwrap();
    assert!(traced.reached);
    assert_eq!(names(directory.path()), ["one"]);
    let _ = child.wait();
}

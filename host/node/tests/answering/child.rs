//! The process that asks servers, for a test program whose `main` is the test harness's: one of its
//! tests answers.

use std::ffi::OsString;

/// This program, running the one test that answers.
pub fn command() -> Vec<OsString> {
    let program = std::env::current_exe().unwrap();
    let test = concat!(module_path!(), "::a_child_answers_its_parent");
    let test = test.split_once("::").unwrap().1;
    vec![program.into(), "--exact".into(), test.into()]
}

/// The other end of what calls that may wait for a server are made through; started by the test
/// program without a parent that asks, there is nothing to answer.
#[test]
fn a_child_answers_its_parent() {
    let input = rustix::fs::fstat(std::io::stdin()).unwrap();
    if rustix::fs::FileType::from_raw_mode(input.st_mode) == rustix::fs::FileType::Socket {
        assert_eq!(wharf_node::answer_parent(), std::process::ExitCode::SUCCESS);
    }
}

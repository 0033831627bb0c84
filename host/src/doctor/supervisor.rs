//! The supervisor of mounts, where buckets may be mounted.

use wharf_node::supervisor::Client;

use super::{Environment, Finding};
use crate::config::SupervisorStart;

pub fn examine(environment: &Environment<'_>) -> Vec<Finding> {
    if !environment.grants_step(&["mount-fuse"]) {
        return Vec::new();
    }
    let run = environment.config.run_directory();
    let is_service = environment.config.mounts.supervisor == Some(SupervisorStart::Service);
    match Client::new(&run, None).list_if_running() {
        Ok(Some(_)) => Vec::new(),
        Ok(None) if !is_service => Vec::new(),
        Ok(None) => vec![Finding::new(
            format!("no supervisor of mounts runs for {}", run.display()),
            "the configuration says that it is a service, so nobody starts it and no bucket is \
             mounted; mounts that are there are not healed",
            "start `wharf mounts serve` as a service or a DaemonSet of this node",
        )],
        Err(error) => vec![Finding::new(
            format!("the supervisor of mounts for {} does not answer: {error}", run.display()),
            "buckets are neither mounted nor healed",
            "end its process; a new one takes over what is there (`wharf mounts list` says how it is)",
        )],
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::super::tests::{finds, on};
    use super::examine;

    #[test]
    fn a_service_that_does_not_run_or_does_not_answer_is_found() {
        let root = tempfile::tempdir().unwrap();
        let run = root.path().join("run");
        let fuse = "[backend.b.node]\nsteps = [\"mount-fuse\"]\n";
        let mounts = format!("[mounts]\nrun = \"{}\"\n", run.display());
        let service = format!("{mounts}supervisor = \"service\"\n{fuse}");
        finds(&on(root.path(), &service, examine), &["no supervisor", "wharf mounts serve"]);
        assert_eq!(
            on(root.path(), &format!("{mounts}{fuse}"), examine),
            [],
            "it is started on demand"
        );
        assert_eq!(on(root.path(), &mounts, examine), []);
        std::fs::create_dir(&run).unwrap();
        let listener = UnixListener::bind(run.join("supervisor.sock")).unwrap();
        let answering = std::thread::spawn(move || drop(listener.accept()));
        finds(&on(root.path(), &service, examine), &["does not answer"]);
        answering.join().unwrap();
    }
}

//! Whether the endpoints answer from here, whatever they answer.

use std::time::Duration;

use wharf_core::ErrorKind;

use super::parallel::in_parallel;
use super::{Environment, Finding};
use crate::assembly::{Assembly, Process};

/// A cloud's endpoint that is reachable answers within a second. All are asked at once.
pub const ANSWERS_WITHIN: Duration = Duration::from_secs(8);

pub fn examine(environment: &Environment<'_>) -> Vec<Finding> {
    let Ok(assembly) = Assembly::new(environment.config, &Process::OneCall) else {
        return Vec::new();
    };
    let (_, http) = assembly.loader_and_egress();
    let ids: Vec<&String> = environment.config.endpoint.keys().collect();
    let asked = in_parallel(&ids, |id| http.probe(id, ANSWERS_WITHIN).err());
    let failed = asked.into_iter().filter_map(|(id, error)| Some((id, error?)));
    failed
        .map(|(id, error)| {
            let url =
                environment.config.endpoint.get(*id).map_or("", |endpoint| endpoint.url.as_str());
            let mend = match error.kind {
                ErrorKind::PermissionDenied => {
                    format!("if that is meant, write `private = true` into [endpoint.{id}]")
                }
                _ => format!(
                    "see that this machine is in the network that {url} is for, with its name \
                     servers and routes; an endpoint inside of a cloud's network has another name \
                     than that of the internet (`wharf config show` says who chose it)"
                ),
            };
            let said = error.message.strip_prefix(&format!("endpoint `{id}` cannot be reached: "));
            let said = said.unwrap_or(&error.message);
            Finding::new(
                format!("endpoint \"{id}\" at {url} cannot be reached: {said}"),
                "every call that needs it waits until its time is over",
                mend,
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::clock::tests::answering;
    use super::super::tests::{finds, on};
    use super::examine;

    #[test]
    fn an_endpoint_where_nobody_listens_is_found_and_one_that_refuses_is_not() {
        let root = tempfile::tempdir().unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let text = |port: u16, private: bool| {
            format!("[endpoint.api]\nurl = \"http://127.0.0.1:{port}\"\nprivate = {private}\n")
        };
        finds(
            &on(root.path(), &text(closed.port(), true), examine),
            &["\"api\"", "cannot be reached"],
        );
        let port = answering("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(on(root.path(), &text(port, true), examine), []);
        finds(
            &on(root.path(), &text(port, false), examine),
            &["private address", "private = true"],
        );
    }

    #[test]
    fn an_endpoint_that_accepts_and_says_nothing_is_found_in_time() {
        let root = tempfile::tempdir().unwrap();
        let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = deaf.local_addr().unwrap().port();
        let text = format!("[endpoint.api]\nurl = \"http://127.0.0.1:{port}\"\nprivate = true\n");
        let begun = std::time::Instant::now();
        finds(&on(root.path(), &text, examine), &["did not answer in the time"]);
        let killed = std::time::Duration::from_secs(super::super::WITHIN_SECONDS);
        assert!(begun.elapsed() < killed, "before the examination is killed");
    }
}

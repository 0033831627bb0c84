//! This machine's clock against the `Date` of the endpoints' answers.

use std::time::{Duration, SystemTime};

use super::endpoints::ANSWERS_WITHIN;
use super::parallel::in_parallel;
use super::{Environment, Finding};
use crate::assembly::{Assembly, Process};

/// Clouds take signatures that are up to fifteen minutes old. A third of that is no drift, but a
/// clock that nobody sets.
const MAX_OFFSET: Duration = Duration::from_secs(300);

pub fn examine(environment: &Environment<'_>) -> Vec<Finding> {
    let Ok(assembly) = Assembly::new(environment.config, &Process::OneCall) else {
        return Vec::new();
    };
    let (_, http) = assembly.loader_and_egress();
    let ids: Vec<&String> = environment.config.endpoint.keys().collect();
    let asked = in_parallel(&ids, |id| {
        let date = http.probe(id, ANSWERS_WITHIN).ok()?.date?;
        difference(httpdate::parse_http_date(&date).ok()?, SystemTime::now())
    });
    let wrong = asked.into_iter().find_map(|(id, off)| Some((id, off?)));
    wrong
        .map(|(id, off)| {
            Finding::new(
                format!("this machine's clock is {off} what endpoint \"{id}\" says"),
                "signatures carry the time, and those that are too old or too new are refused",
                "timedatectl set-ntp true (or set the clock, and find out who should)",
            )
        })
        .into_iter()
        .collect()
}

/// In words, where it is much.
fn difference(theirs: SystemTime, ours: SystemTime) -> Option<String> {
    let (off, way) = match ours.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    (off > MAX_OFFSET).then(|| format!("{} minutes {way}", off.as_secs() / 60))
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::super::tests::{finds, on};
    use super::*;

    /// A server on loopback that answers everything like that. It ends with the process.
    pub(in super::super) fn answering(answer: impl Into<String>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, answer) = (listener.local_addr().unwrap().port(), answer.into());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        port
    }

    #[test]
    fn a_clock_that_is_far_off_is_found_and_one_that_drifts_is_not() {
        let root = tempfile::tempdir().unwrap();
        let at = |time: SystemTime| {
            let date = httpdate::fmt_http_date(time);
            let port = answering(format!(
                "HTTP/1.1 404 Not Found\r\ndate: {date}\r\ncontent-length: 0\r\n\r\n"
            ));
            let url =
                format!("[endpoint.api]\nurl = \"http://127.0.0.1:{port}\"\nprivate = true\n");
            on(root.path(), &url, examine)
        };
        let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
        assert_eq!(at(now - Duration::from_secs(60)), []);
        finds(&at(now - hour), &["60 minutes ahead of", "timedatectl"]);
        finds(&at(now + hour), &["59 minutes behind"]);
    }
}

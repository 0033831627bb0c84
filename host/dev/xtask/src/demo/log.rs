//! Reading the JSON log of a server or of call-outs as it grows: calls of components, plans, steps
//! and programs of the node.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::event::{BackendCall, Planned, Seen};

/// A log file, and how far it has been read.
pub struct Log {
    path: PathBuf,
    read: u64,
}

impl Log {
    /// From its beginning; it need not be there yet.
    pub fn of(path: PathBuf) -> Self {
        Self { path, read: 0 }
    }

    /// What has been written since the last time, whole lines.
    pub fn fresh(&mut self) -> Vec<String> {
        let mut text = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.read))?;
            file.read_to_end(&mut text)
        });
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if read.is_err() || whole == 0 {
            return Vec::new();
        }
        self.read += u64::try_from(whole).unwrap_or(0);
        text.truncate(whole);
        String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
    }
}

/// The last lines of a log, each after the machine's name.
pub fn tail(machine: &str, path: &Path, lines: usize) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let last: Vec<&str> = text.lines().rev().take(lines).collect();
    last.into_iter().rev().map(|line| format!("{machine}: {line}")).collect()
}

/// Adds what a line says to what was seen; lines about other things say nothing here.
pub fn read(line: &str, seen: &mut Seen) {
    let Ok(line) = serde_json::from_str::<Value>(line) else { return };
    let Some(fields) = line.get("fields") else { return };
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |name: &str| fields.get(name).and_then(Value::as_u64);
    let message = text("message");
    if let Some(generation) = number("generation") {
        seen.backend.push(BackendCall {
            component: text("component"),
            generation,
            function: message,
            micros: number("micros").unwrap_or(0),
        });
        return;
    }
    match message.as_str() {
        "plan" => seen.plans.push(Planned {
            function: text("function"),
            summary: text("summary"),
            steps: text("steps"),
        }),
        "starting a program" => seen.host.push(
            format!("runs {} {}", text("program"), words(&text("arguments"))).trim_end().to_owned(),
        ),
        "now serving another generation" => seen
            .host
            .push(format!("now serves another generation of the {} backend", text("backend"))),
        _ => match line.get("target").and_then(Value::as_str) {
            Some(target) if target.starts_with("wharf_node") && message != "making a step true" => {
                seen.host.push(
                    [message, text("device"), text("fs_type")].join(" ").trim_end().to_owned(),
                );
            }
            _ => {}
        },
    }
}

/// `["-F", "/dev/loop3"]`, as one would type it.
fn words(list: &str) -> String {
    serde_json::from_str::<Vec<String>>(list)
        .map_or_else(|_| list.to_owned(), |words| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(lines: &[&str]) -> Seen {
        let mut seen = Seen::default();
        lines.iter().for_each(|line| read(line, &mut seen));
        seen
    }

    #[test]
    fn calls_plans_and_programs_are_told_apart() {
        let seen = seen(&[
            r#"{"fields":{"message":"plan-stage","component":"disk","generation":2,"micros":7,"requests":0},"target":"wharf::journal"}"#,
            r#"{"fields":{"message":"plan","function":"plan-stage","summary":"s","steps":"find-device x"},"target":"wharf::journal"}"#,
            r#"{"fields":{"message":"starting a program","program":"mkfs.ext4","arguments":"[\"-F\", \"/dev/loop3\"]"},"target":"wharf_node::program"}"#,
            r#"{"fields":{"message":"call answered","rpc":"NodeStageVolume"},"target":"wharf_csi::calls"}"#,
            "not JSON",
        ]);
        assert_eq!(
            seen.backend,
            [BackendCall {
                component: "disk".into(),
                generation: 2,
                function: "plan-stage".into(),
                micros: 7
            }]
        );
        assert_eq!(
            seen.plans,
            [Planned {
                function: "plan-stage".into(),
                summary: "s".into(),
                steps: "find-device x".into()
            }]
        );
        assert_eq!(seen.host, ["runs mkfs.ext4 -F /dev/loop3"]);
    }

    #[test]
    fn a_line_that_is_still_being_written_is_read_when_it_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = Log::of(path.clone());
        assert!(log.fresh().is_empty());
        std::fs::write(&path, "one\ntw").unwrap();
        assert_eq!(log.fresh(), ["one"]);
        std::fs::write(&path, "one\ntwo\n").unwrap();
        assert_eq!(log.fresh(), ["two"]);
    }
}

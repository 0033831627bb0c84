//! Tells events: as lines for people, coloured on a terminal, or as JSON. Counts what the summary
//! needs.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

use super::Output;
use super::event::{Asked, BackendCall, CloudRequest, Event, Seen, Summary};
use crate::command;

/// See above.
pub struct Teller {
    output: Output,
    is_coloured: bool,
    inner: Mutex<Inner>,
}

struct Inner {
    to: File,
    /// Set by the first event: what was built before is not the demo's time.
    begun: Option<Instant>,
    chapter: usize,
    summary: Summary,
}

/// An event and its time.
#[derive(Serialize)]
struct Timed<'a> {
    at_ms: u64,
    #[serde(flatten)]
    event: &'a Event,
}

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const CYAN: &str = "\x1b[36m";
const PLAIN: &str = "\x1b[0m";

impl Teller {
    /// With JSON, from here on everything else that this process and its children print goes to
    /// standard error.
    pub fn new(output: Output) -> Result<Self> {
        let to = match output {
            Output::Json => command::keep_standard_output()?,
            Output::Text => File::from(
                std::io::stdout()
                    .as_fd()
                    .try_clone_to_owned()
                    .context("cannot share standard output")?,
            ),
        };
        let is_coloured = output == Output::Text
            && to.is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Ok(Self {
            output,
            is_coloured,
            inner: Mutex::new(Inner { to, begun: None, chapter: 0, summary: Summary::default() }),
        })
    }

    /// Tells one event. A reader that is gone does not stop the demo, which has to clean up.
    pub fn tell(&self, event: &Event) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let at_ms = elapsed(&mut inner);
        match event {
            Event::Chapter { .. } => inner.chapter += 1,
            Event::Answered { failure, .. } => {
                inner.summary.steps += 1;
                inner.summary.failed += usize::from(failure.is_some());
            }
            _ => {}
        }
        let text = match self.output {
            Output::Json => {
                serde_json::to_string(&Timed { at_ms, event }).unwrap_or_default() + "\n"
            }
            Output::Text => self.lines(event, inner.chapter),
        };
        let _ = inner.to.write_all(text.as_bytes());
    }

    /// One backend more was replaced.
    pub fn count_swap(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).summary.swaps += 1;
    }

    /// One build more was refused.
    pub fn count_refusal(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).summary.refused += 1;
    }

    /// So many requests more reached the cloud.
    pub fn add_cloud_requests(&self, count: usize) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).summary.cloud_requests += count;
    }

    /// The last event.
    pub fn summarize(&self, succeeded: bool, left: Vec<String>) {
        let summary = {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let took_ms = elapsed(&mut inner);
            Summary { succeeded, left, took_ms, ..inner.summary.clone() }
        };
        self.tell(&Event::Summary(summary));
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.is_coloured { format!("{colour}{text}{PLAIN}") } else { text.to_owned() }
    }

    fn lines(&self, event: &Event, chapter: usize) -> String {
        match event {
            Event::Chapter { title } => {
                format!("\n{}\n", self.paint(BOLD, &format!("{chapter}. {title}")))
            }
            Event::Note { text } => format!("  * {text}\n"),
            Event::Command { line, printed, exit_code, took_ms } => {
                self.command(line, printed, *exit_code, *took_ms)
            }
            Event::Asked(asked) => format!("  {}\n", self.asked(asked)),
            Event::Answered { asked, failure: None, took_ms, seen } => {
                let with =
                    if asked.with.is_empty() { String::new() } else { format!("  {}", asked.with) };
                format!("{}      {} {took_ms} ms{with}\n", self.seen(seen), self.paint(GREEN, "ok"))
            }
            Event::Answered { failure: Some(why), took_ms, seen, .. } => {
                format!(
                    "{}      {} {took_ms} ms  {why}\n",
                    self.seen(seen),
                    self.paint(RED, "failed")
                )
            }
            Event::Remark { asked, text } => format!("  {} {text}\n", self.asked(asked)),
            Event::Failed { why, log } => {
                let log: String = log.iter().map(|line| format!("  | {line}\n")).collect();
                format!("\n{} {why}\n{log}", self.paint(RED, "FAILED:"))
            }
            Event::Summary(summary) => self.summary(summary),
        }
    }

    fn asked(&self, asked: &Asked) -> String {
        let Asked { who, node, call, volume, with } = asked;
        let on = if node.is_empty() || node == "manager" {
            String::new()
        } else {
            format!(" on {node}")
        };
        let with = if with.is_empty() { String::new() } else { format!(" ({with})") };
        let volume = if volume.is_empty() { String::new() } else { format!(" {volume}") };
        format!("{who}{on} → {}{volume}{with}", self.paint(BOLD, call))
    }

    fn command(&self, line: &str, printed: &str, exit_code: Option<i32>, took_ms: u64) -> String {
        let printed: String =
            printed.lines().map(|line| format!("      {}\n", cut(line))).collect();
        let (colour, word) = match exit_code {
            Some(0) => (GREEN, "ok".to_owned()),
            Some(code) => (RED, format!("exit code {code}")),
            None => (RED, "killed".to_owned()),
        };
        format!(
            "  {}\n{printed}      {} {took_ms} ms\n",
            self.paint(CYAN, line),
            self.paint(colour, &word)
        )
    }

    fn seen(&self, seen: &Seen) -> String {
        let mut text = String::new();
        let mut line = |layer: &str, what: &str| {
            text += &format!("      {} {what}\n", self.paint(DIM, &format!("{layer:<8}")))
        };
        seen.plans
            .iter()
            .for_each(|plan| line("plan", &format!("{}: {}", plan.function, plan.steps)));
        for (who, calls) in by_component(&seen.backend) {
            line("sandbox", &format!("{who}: {calls}"));
        }
        if !seen.cloud.is_empty() {
            line("cloud", &in_runs(seen.cloud.iter().map(request)));
        }
        seen.host.iter().for_each(|what| line("host", what));
        text
    }

    fn summary(&self, summary: &Summary) -> String {
        let Summary { succeeded, steps, failed, cloud_requests, swaps, refused, left, took_ms } =
            summary;
        let nothing = "nothing: no mounts, loop devices, processes or directories".to_owned();
        let left = if left.is_empty() { nothing } else { left.join("\n                  ") };
        let word = if *succeeded { self.paint(GREEN, "done") } else { self.paint(RED, "not done") };
        format!(
            "\nSummary: {word}\n  calls           {steps}, {failed} failed\n  cloud requests  \
             {cloud_requests}\n  backends        {swaps} replaced while serving, {refused} broken \
             ones refused\n  left behind     {left}\n  time            {}.{} s\n",
            took_ms / 1000,
            took_ms % 1000 / 100
        )
    }
}

fn elapsed(inner: &mut Inner) -> u64 {
    let begun = inner.begun.get_or_insert_with(Instant::now);
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Messages that list every difference are for the reader of a log.
const LINE_CHARS: usize = 240;

fn cut(line: &str) -> String {
    match line.char_indices().nth(LINE_CHARS) {
        Some((end, _)) => line.get(..end).unwrap_or(line).to_owned() + " …",
        None => line.to_owned(),
    }
}

/// Calls of each component and generation, in the order in which they first appear, with their
/// time.
fn by_component(calls: &[BackendCall]) -> Vec<(String, String)> {
    let mut groups: Vec<(String, Vec<&BackendCall>)> = Vec::new();
    for call in calls {
        let who = format!("{}, generation {}", call.component, call.generation);
        match groups.iter_mut().find(|(name, _)| *name == who) {
            Some((_, group)) => group.push(call),
            None => groups.push((who, vec![call])),
        }
    }
    let told = |group: Vec<&BackendCall>| {
        let micros: u64 = group.iter().map(|call| call.micros).sum();
        format!(
            "{} ({}.{} ms)",
            in_runs(group.iter().map(|call| call.function.clone())),
            micros / 1000,
            micros % 1000 / 100
        )
    };
    groups.into_iter().map(|(who, group)| (who, told(group))).collect()
}

fn request(request: &CloudRequest) -> String {
    let code = request.code.as_ref().map_or_else(String::new, |code| format!(" {code}"));
    format!("{} {}{code}", request.action, request.status)
}

/// `a, a, b` as `a ×2, b`.
fn in_runs(words: impl Iterator<Item = String>) -> String {
    let mut runs: Vec<(String, usize)> = Vec::new();
    for word in words {
        match runs.last_mut() {
            Some((last, count)) if *last == word => *count += 1,
            _ => runs.push((word, 1)),
        }
    }
    let told = runs
        .into_iter()
        .map(|(word, count)| if count == 1 { word } else { format!("{word} ×{count}") });
    told.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_words_are_counted() {
        assert_eq!(in_runs(["a", "a", "b", "a"].map(str::to_owned).into_iter()), "a ×2, b, a");
    }

    #[test]
    fn generations_of_a_component_are_told_apart() {
        let call = |generation| BackendCall {
            component: "disk".into(),
            generation,
            function: "attach".into(),
            micros: 1500,
        };
        let told = by_component(&[call(1), call(1), call(2)]);
        assert_eq!(
            told,
            [
                ("disk, generation 1".into(), "attach ×2 (3.0 ms)".into()),
                ("disk, generation 2".into(), "attach (1.5 ms)".into())
            ]
        );
    }
}

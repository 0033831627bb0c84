//! A server's log: lines go to a thread that writes them to standard error. A pipe that nobody
//! empties, a full disk or a reader that is gone costs lines, never a call: what does not fit into
//! the queue, or cannot be written, is counted, and the number is logged as soon as a line gets
//! through again.
//!
//! Call-outs do not come here: they have a file of their own (`host/flexvolume`).

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::Builder;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait for the thread, all together: some thousands, which is what a node logs in a
/// minute when every pod starts at once. A pipe holds 64 KiB besides.
const MAX_QUEUED_BYTES: usize = 1 << 20;
/// How long the end of the process waits for its last lines: a disk needs milliseconds, and whoever
/// does not read them within this will not read them at all.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Takes lines and never waits.
#[derive(Clone)]
pub struct Log {
    lines: Sender<Message>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    queued_bytes: AtomicUsize,
    lost_lines: AtomicU64,
}

enum Message {
    Line(Vec<u8>),
    /// Everything before it was written, or lost.
    End(SyncSender<()>),
}

impl Log {
    /// Sends what this process logs to standard error, as containers want it; `RUST_LOG` chooses
    /// the level.
    pub fn start(json: bool) -> Self {
        let log = Self::to(io::stderr());
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(log.clone());
        // Only a second call in one process could fail, and there is none.
        let _ = if json { lines.json().try_init() } else { lines.with_ansi(false).try_init() };
        log.take_panics();
        log
    }

    fn to(out: impl Write + Send + 'static) -> Self {
        let (lines, written) = channel();
        let counts = Arc::<Counts>::default();
        let own = Arc::clone(&counts);
        // Without a thread there is no log: what is sent to nobody is counted.
        let _ =
            Builder::new().name("log".to_owned()).spawn(move || write_lines(out, &written, &own));
        Self { lines, counts }
    }

    /// Waits until what was logged so far is written, a second at most.
    pub fn finish(&self) {
        let (end, ended) = sync_channel(1);
        if self.lines.send(Message::End(end)).is_ok() {
            let _ = ended.recv_timeout(LAST_LINES);
        }
    }

    /// A panic is a line as well: the usual hook writes to standard error and waits for it.
    fn take_panics(&self) {
        let log = self.clone();
        std::panic::set_hook(Box::new(move |panic| {
            let location = panic.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(location, "{panic}");
            log.finish();
        }));
    }

    fn send(&self, line: &[u8]) {
        let queued = self.counts.queued_bytes.fetch_add(line.len(), Ordering::Relaxed);
        let has_room = queued.saturating_add(line.len()) <= MAX_QUEUED_BYTES;
        if !has_room || self.lines.send(Message::Line(line.to_vec())).is_err() {
            self.counts.queued_bytes.fetch_sub(line.len(), Ordering::Relaxed);
            self.counts.lost_lines.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The subscriber writes each event as one piece.
impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.send(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self::Writer {
        self.clone()
    }
}

fn write_lines(mut out: impl Write, lines: &Receiver<Message>, counts: &Counts) {
    let mut reported = 0;
    while let Ok(message) = lines.recv() {
        let line = match message {
            Message::Line(line) => line,
            Message::End(end) => {
                let _ = end.send(());
                continue;
            }
        };
        counts.queued_bytes.fetch_sub(line.len(), Ordering::Relaxed);
        if out.write_all(&line).is_err() {
            counts.lost_lines.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        // It goes through the queue like any other line; lost itself, it is counted and logged
        // again.
        let lost = counts.lost_lines.load(Ordering::Relaxed);
        if lost != reported {
            reported = lost;
            tracing::warn!(lines = lost, "log lines were lost: standard error did not take them");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tracing::subscriber::with_default;

    use super::*;

    /// A reader that takes nothing until the gate is open, and then refuses so many times.
    #[derive(Clone, Default)]
    struct Reader {
        gate: Arc<Mutex<()>>,
        refusals: Arc<AtomicU64>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _open = self.gate.lock().unwrap();
            let refusals = &self.refusals;
            if refusals
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                .is_ok()
            {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.taken.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Reader {
        fn text(&self) -> String {
            String::from_utf8(self.taken.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn a_reader_that_takes_nothing_holds_nobody_up_and_the_loss_is_counted() {
        let reader = Reader::default();
        let closed = reader.gate.lock().unwrap();
        let log = Log::to(reader.clone());
        let line = [b'x'; 1024];
        let sent = 3 * MAX_QUEUED_BYTES / line.len();
        for _ in 0..sent {
            log.send(&line);
        }
        let lost = log.counts.lost_lines.load(Ordering::Relaxed);
        assert!(log.counts.queued_bytes.load(Ordering::Relaxed) <= MAX_QUEUED_BYTES);
        drop(closed);
        log.finish();
        let taken = u64::try_from(reader.text().len() / line.len()).unwrap();
        assert_eq!(taken + lost, u64::try_from(sent).unwrap());
        assert!(lost > 0);
    }

    #[test]
    fn lines_that_could_not_be_written_are_told_once_one_gets_through() {
        let reader = Reader { refusals: Arc::new(2.into()), ..Reader::default() };
        let log = Log::to(reader.clone());
        for line in ["one\n", "two\n", "three\n"] {
            log.send(line.as_bytes());
        }
        log.finish();
        assert_eq!(
            (reader.text().as_str(), log.counts.lost_lines.load(Ordering::Relaxed)),
            ("three\n", 2)
        );
    }

    #[test]
    fn an_event_is_one_line_of_the_queue() {
        let reader = Reader::default();
        let log = Log::to(reader.clone());
        let lines = tracing_subscriber::fmt().json().with_writer(log.clone()).finish();
        with_default(lines, || tracing::info!("hello"));
        log.finish();
        assert!(reader.text().contains("hello") && reader.text().ends_with("}\n"));
    }
}

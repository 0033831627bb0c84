//! A tree of spans for each call, from what the front end and the runtime report.
//!
//! A call's work is on one thread from its beginning to its end, and so is what it does. Whatever
//! ends is reported before that which it is a part of. So a thread keeps what ended; a call of a
//! component takes what began within it, and the CSI call the rest. One read of a cloud may be for
//! several calls: it is in the trace of the one whose thread asked.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use wharf_csi::{Answered, CallObserver, Work, Working};
use wharf_runtime::{CallEvent, Outcome, RequestEvent, RuntimeObserver};
use wharf_traces::{Kind, Sender, Span, Value};

/// Parts of one call: one that waits for a cloud for half an hour has two thousand reads, all of
/// which say the same. What is more is counted.
const MAX_PARTS: usize = 512;
/// Stands for words of a guest: what no grant covers never left, and its endpoint and action are
/// whatever the guest wrote.
const NOT_GRANTED: &str = "not granted";

thread_local! {
    /// What ended in the call that this thread works on; `None`: it works on none.
    static ENDED: RefCell<Option<Parts>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Parts {
    spans: Vec<Span>,
    count: usize,
    left_out: i64,
}

/// Makes the trees.
pub struct Recorder {
    sender: Arc<Sender>,
}

impl Recorder {
    /// Gives them to this.
    pub fn new(sender: Arc<Sender>) -> Self {
        Self { sender }
    }
}

impl CallObserver for Recorder {
    fn working(&self, work: &Work<'_>) -> Box<dyn Working> {
        let mut attributes = vec![
            ("rpc.system", text("grpc")),
            ("rpc.method", text(work.rpc)),
            ("wharf.driver", text(work.driver)),
        ];
        if !work.volume.is_empty() {
            attributes.push(("wharf.volume", text(work.volume)));
        }
        ENDED.with(|ended| ended.replace(Some(Parts::default())));
        let root = Span {
            name: work.rpc.to_owned(),
            kind: Kind::Server,
            began: work.arrived,
            ended: work.arrived,
            attributes,
            error: None,
            parts: Vec::new(),
        };
        // The end of work that panics is reported by nobody.
        Box::new(WorkSpan { sender: Arc::clone(&self.sender), root: Some(root), code: "Internal" })
    }

    fn answered(&self, _: &Answered<'_>) {}
}

/// Ends the span of a call with the thread's work.
struct WorkSpan {
    sender: Arc<Sender>,
    root: Option<Span>,
    code: &'static str,
}

impl Working for WorkSpan {
    fn ended(&mut self, code: &'static str) {
        self.code = code;
    }
}

impl Drop for WorkSpan {
    fn drop(&mut self) {
        let parts = ENDED.with(|ended| ended.replace(None)).unwrap_or_default();
        let Some(mut root) = self.root.take() else { return };
        root.ended = Instant::now();
        root.parts = parts.spans;
        root.attributes.push(("rpc.response.status_code", text(self.code)));
        if parts.left_out > 0 {
            root.attributes.push(("wharf.spans_left_out", Value::Number(parts.left_out)));
        }
        root.error = (self.code != "OK").then(|| self.code.to_owned());
        self.sender.export(root);
    }
}

impl RuntimeObserver for Recorder {
    fn called(&self, event: &CallEvent<'_>) {
        in_call(|parts| {
            let within = parts.spans.iter().position(|span| span.began >= event.began);
            let within = within.map(|at| parts.spans.split_off(at)).unwrap_or_default();
            let generation = i64::try_from(event.generation).unwrap_or(i64::MAX);
            parts.add(Span {
                name: event.function.to_owned(),
                kind: Kind::Internal,
                began: event.began,
                ended: event.began + event.duration,
                attributes: vec![
                    ("wharf.kind", text(event.world.noun())),
                    ("wharf.component", text(event.component)),
                    ("wharf.generation", Value::Number(generation)),
                ],
                error: match event.outcome {
                    Outcome::Answered => None,
                    Outcome::Failed(kind) => Some(format!("{kind:?}")),
                    Outcome::Broken(kind) => Some(format!("trapped or broke a bound: {kind:?}")),
                },
                parts: within,
            });
        });
    }

    fn requested(&self, event: &RequestEvent<'_>) {
        in_call(|parts| {
            let name = event.granted.unwrap_or(NOT_GRANTED);
            let word = |word: &str| text(event.granted.map_or(NOT_GRANTED, |_| word));
            let mut attributes = vec![
                ("wharf.endpoint", word(event.endpoint)),
                ("wharf.action", word(event.action)),
            ];
            attributes.extend(event.id.map(|id| ("wharf.request_id", text(id))));
            let error = match event.outcome {
                Ok(status) => {
                    let code = Value::Number(i64::from(status));
                    attributes.push(("http.response.status_code", code));
                    (status >= 400).then(|| format!("status {status}"))
                }
                Err(kind) => Some(format!("{kind:?}")),
            };
            parts.add(Span {
                name: name.to_owned(),
                kind: Kind::Client,
                began: event.began,
                ended: event.began + event.duration,
                attributes,
                error,
                parts: Vec::new(),
            });
        });
    }
}

impl Parts {
    fn add(&mut self, span: Span) {
        if self.count == MAX_PARTS {
            self.left_out += 1;
        } else {
            self.count += 1;
            self.spans.push(span);
        }
    }
}

fn text(word: &str) -> Value {
    Value::Text(word.to_owned())
}

/// What happens outside of any call (a component is loaded, say) is in no trace.
fn in_call(add: impl FnOnce(&mut Parts)) {
    ENDED.with(|ended| {
        if let Ok(mut ended) = ended.try_borrow_mut()
            && let Some(parts) = &mut *ended
        {
            add(parts);
        }
    });
}

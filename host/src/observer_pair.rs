//! Two observers of the same calls: the log, and metrics or traces.

use wharf_core::plan::Plan;
use wharf_csi::{Answered, CallObserver, Work, Working};
use wharf_runtime::{CallEvent, RequestEvent, RuntimeObserver};

use std::sync::Arc;

/// Passes everything to the first one, then to the second.
pub struct ObserverPair<T: ?Sized>(pub Arc<T>, pub Arc<T>);

impl RuntimeObserver for ObserverPair<dyn RuntimeObserver> {
    fn called(&self, event: &CallEvent<'_>) {
        self.0.called(event);
        self.1.called(event);
    }

    fn planned(&self, function: &'static str, plan: &Plan) {
        self.0.planned(function, plan);
        self.1.planned(function, plan);
    }

    fn requested(&self, event: &RequestEvent<'_>) {
        self.0.requested(event);
        self.1.requested(event);
    }
}

impl CallObserver for ObserverPair<dyn CallObserver> {
    fn working(&self, work: &Work<'_>) -> Box<dyn Working> {
        Box::new(WorkingPair(self.0.working(work), self.1.working(work)))
    }

    fn answered(&self, answered: &Answered<'_>) {
        self.0.answered(answered);
        self.1.answered(answered);
    }
}

struct WorkingPair(Box<dyn Working>, Box<dyn Working>);

impl Working for WorkingPair {
    fn ended(&mut self, code: &'static str) {
        self.0.ended(code);
        self.1.ended(code);
    }
}

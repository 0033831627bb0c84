//! Two who hear of the same things.

use wharf_core::plan::Plan;
use wharf_csi::{Answered, CallObserver, Work, Working};
use wharf_runtime::{CallEvent, Observer, RequestEvent};

use std::sync::Arc;

/// Tells the first one, then the second.
pub struct Both<T: ?Sized>(pub Arc<T>, pub Arc<T>);

impl Observer for Both<dyn Observer> {
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

impl CallObserver for Both<dyn CallObserver> {
    fn working(&self, work: &Work<'_>) -> Box<dyn Working> {
        Box::new(BothWorking(self.0.working(work), self.1.working(work)))
    }

    fn answered(&self, answered: &Answered<'_>) {
        self.0.answered(answered);
        self.1.answered(answered);
    }
}

struct BothWorking(Box<dyn Working>, Box<dyn Working>);

impl Working for BothWorking {
    fn ended(&mut self, code: &'static str) {
        self.0.ended(code);
        self.1.ended(code);
    }
}

//! `controller`.

use super::{Component, on_entry, progress};
use crate::bindings::backend::wharf::volume::plans::Outcome;
use crate::bindings::controller::exports::wharf::volume::controller as contract;
use crate::controller::{
    AttachRequest, Available, CapacityRequest, Controller, CreateRequest, DeleteRequest,
    DetachRequest, ExpandRequest, ListRequest, Listed, ModifyRequest, ValidateRequest, Validated,
};
use crate::error::Error;
use crate::types::{Answer, Observation, ResourceId, Volume};

/// The plain answer of every verb that returns nothing.
pub(super) fn outcome(answer: Answer<()>) -> Outcome {
    match answer {
        Answer::Done(()) => Outcome::Done,
        Answer::Pending(pending) => Outcome::Pending(pending),
        Answer::Perform(perform) => Outcome::Perform(perform.hand_over()),
    }
}

/// The answer of a verb that returns a value.
macro_rules! answer {
    ($answer:expr, $variant:ty) => {
        $answer.map(|answer| match answer {
            Answer::Done(value) => <$variant>::Done(value),
            Answer::Pending(pending) => <$variant>::Pending(pending),
            Answer::Perform(perform) => <$variant>::Perform(perform.hand_over()),
        })
    };
}
pub(super) use answer;

fn nothing_to_perform<T>(verb: &str) -> Result<T, Error> {
    Err(Error::defect(format!("`{verb}` has nothing for a machine to perform")))
}

impl<B: Controller> contract::Guest for Component<B> {
    fn observe(resources: Vec<ResourceId>) -> Result<Vec<Observation>, Error> {
        on_entry();
        B::observe(resources)
    }

    fn read(observed: Observation) -> Result<Volume, Error> {
        on_entry();
        B::read(observed)
    }

    fn create(
        request: CreateRequest,
        observed: Vec<Observation>,
        resume: Option<String>,
    ) -> Result<contract::CreateAnswer, Error> {
        answer!(B::create(request, progress(observed, resume)), contract::CreateAnswer)
    }

    fn delete(
        request: DeleteRequest,
        observed: Vec<Observation>,
        resume: Option<String>,
    ) -> Result<Outcome, Error> {
        B::delete(request, progress(observed, resume)).map(outcome)
    }

    fn attach(
        request: AttachRequest,
        observed: Vec<Observation>,
        resume: Option<String>,
    ) -> Result<contract::AttachAnswer, Error> {
        match B::attach(request, progress(observed, resume))? {
            Answer::Done(attachment) => Ok(contract::AttachAnswer::Done(attachment)),
            Answer::Pending(pending) => Ok(contract::AttachAnswer::Pending(pending)),
            Answer::Perform(_) => nothing_to_perform("attach"),
        }
    }

    fn detach(
        request: DetachRequest,
        observed: Vec<Observation>,
        resume: Option<String>,
    ) -> Result<contract::DetachAnswer, Error> {
        match B::detach(request, progress(observed, resume))? {
            Answer::Done(()) => Ok(contract::DetachAnswer::Done),
            Answer::Pending(pending) => Ok(contract::DetachAnswer::Pending(pending)),
            Answer::Perform(_) => nothing_to_perform("detach"),
        }
    }

    fn expand(
        request: ExpandRequest,
        observed: Vec<Observation>,
        resume: Option<String>,
    ) -> Result<contract::ExpandAnswer, Error> {
        answer!(B::expand(request, progress(observed, resume)), contract::ExpandAnswer)
    }

    fn modify(
        request: ModifyRequest,
        observed: Vec<Observation>,
        resume: Option<String>,
    ) -> Result<Outcome, Error> {
        B::modify(request, progress(observed, resume)).map(outcome)
    }

    fn validate(request: ValidateRequest, observed: Vec<Observation>) -> Result<Validated, Error> {
        on_entry();
        B::validate(request, observed)
    }

    fn list(request: ListRequest) -> Result<Listed, Error> {
        on_entry();
        B::list(request)
    }

    fn capacity(request: CapacityRequest) -> Result<Available, Error> {
        on_entry();
        B::capacity(request)
    }
}

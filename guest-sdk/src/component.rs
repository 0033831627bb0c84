//! Between the contract's exports and the SDK's traits. The macros in here are the last line of
//! every component.

use std::sync::Once;

use crate::auth::{Authenticator, Credential};
use crate::bindings::backend::exports::wharf::volume as exports;
use crate::bindings::cloud_auth::exports::wharf::volume::authenticator;
use crate::controller::{self, Attachment, Controller, Expanded};
use crate::error::Error;
use crate::identity::{Description, Identity};
use crate::legacy::{self, Legacy};
use crate::node::{self, Node};
use crate::plan::Plan;
use crate::snapshots::{self, Snapshots};
use crate::types::{Answer, Observation, Progress, Volume};

/// Turns a type that implements the backend traits into a component: nothing in a native build, the
/// exports in a Wasm build.
///
/// The type needs [`Identity`], [`Controller`], [`Snapshots`], [`Node`] and [`Legacy`].
#[macro_export]
macro_rules! export_backend {
    ($backend:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Component = $crate::component::Component<$backend>;
            $crate::bindings::backend::__export_backend_world!(
                Component with_types_in $crate::bindings::backend
            );
        };
    };
}

/// Turns an [`Authenticator`] into a component: nothing in a native build, the exports in a Wasm
/// build.
#[macro_export]
macro_rules! export_authenticator {
    ($authenticator:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Component = $crate::component::AuthComponent<$authenticator>;
            $crate::bindings::cloud_auth::__export_cloud_auth_world!(
                Component with_types_in $crate::bindings::cloud_auth
            );
        };
    };
}

/// The contract's exports, answered by a backend.
pub struct Component<B>(std::marker::PhantomData<B>);

/// The contract's `authenticator`, answered by an [`Authenticator`].
pub struct AuthComponent<A>(std::marker::PhantomData<A>);

/// Every instance serves one call: whatever entry comes first installs the hook, so that the text
/// of a panic outlives the trap.
fn on_entry() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        #[cfg(target_arch = "wasm32")]
        std::panic::set_hook(Box::new(|panic| crate::host::panicked(&panic.to_string())));
    });
}

fn progress(observed: Vec<Observation>, resume: Option<String>) -> Progress {
    on_entry();
    Progress { observed, resume }
}

impl<B: Identity> exports::identity::Guest for Component<B> {
    fn describe() -> Result<Description, Error> {
        on_entry();
        Ok(B::describe())
    }
}

fn plain(answer: Answer<()>) -> exports::controller::Answer {
    match answer {
        Answer::Done(()) => exports::controller::Answer::Done,
        Answer::Pending(pending) => exports::controller::Answer::Pending(pending),
    }
}

macro_rules! answer {
    ($answer:expr, $variant:ty) => {
        match $answer? {
            Answer::Done(value) => Ok(<$variant>::Done(value)),
            Answer::Pending(pending) => Ok(<$variant>::Pending(pending)),
        }
    };
}

impl<B: Controller> exports::controller::Guest for Component<B> {
    fn observe(ids: Vec<String>) -> Result<Vec<Observation>, Error> {
        on_entry();
        B::observe(ids)
    }

    fn holders(observed: Observation) -> Result<Vec<String>, Error> {
        on_entry();
        B::holders(observed)
    }

    fn create(
        request: controller::CreateRequest,
        observed: Vec<Observation>,
        resume: Option<String>,
    ) -> Result<exports::controller::CreateAnswer, Error> {
        let answer: Result<Answer<Volume>, Error> = B::create(request, progress(observed, resume));
        answer!(answer, exports::controller::CreateAnswer)
    }

    fn delete(
        request: controller::DeleteRequest,
        observed: Vec<Observation>,
        resume: Option<String>,
    ) -> Result<exports::controller::Answer, Error> {
        B::delete(request, progress(observed, resume)).map(plain)
    }

    fn attach(
        request: controller::AttachRequest,
        observed: Vec<Observation>,
        resume: Option<String>,
    ) -> Result<exports::controller::AttachAnswer, Error> {
        let answer: Result<Answer<Attachment>, Error> =
            B::attach(request, progress(observed, resume));
        answer!(answer, exports::controller::AttachAnswer)
    }

    fn detach(
        request: controller::DetachRequest,
        observed: Vec<Observation>,
        resume: Option<String>,
    ) -> Result<exports::controller::Answer, Error> {
        B::detach(request, progress(observed, resume)).map(plain)
    }

    fn expand(
        request: controller::ExpandRequest,
        observed: Vec<Observation>,
        resume: Option<String>,
    ) -> Result<exports::controller::ExpandAnswer, Error> {
        let answer: Result<Answer<Expanded>, Error> =
            B::expand(request, progress(observed, resume));
        answer!(answer, exports::controller::ExpandAnswer)
    }

    fn modify(
        request: controller::ModifyRequest,
        observed: Vec<Observation>,
        resume: Option<String>,
    ) -> Result<exports::controller::Answer, Error> {
        B::modify(request, progress(observed, resume)).map(plain)
    }

    fn validate(
        request: controller::ValidateRequest,
        observed: Vec<Observation>,
    ) -> Result<controller::Validated, Error> {
        on_entry();
        B::validate(request, observed)
    }

    fn list(request: controller::ListRequest) -> Result<controller::Listed, Error> {
        on_entry();
        B::list(request)
    }

    fn capacity(request: controller::CapacityRequest) -> Result<controller::Available, Error> {
        on_entry();
        B::capacity(request)
    }
}

fn snapshot_plain(answer: Answer<()>) -> exports::snapshots::Answer {
    match answer {
        Answer::Done(()) => exports::snapshots::Answer::Done,
        Answer::Pending(pending) => exports::snapshots::Answer::Pending(pending),
    }
}

impl<B: Snapshots> exports::snapshots::Guest for Component<B> {
    fn create_snapshot(
        request: snapshots::CreateSnapshotRequest,
        observed: Vec<Observation>,
        resume: Option<String>,
    ) -> Result<exports::snapshots::CreateSnapshotAnswer, Error> {
        answer!(
            B::create_snapshot(request, progress(observed, resume)),
            exports::snapshots::CreateSnapshotAnswer
        )
    }

    fn delete_snapshot(
        request: snapshots::DeleteSnapshotRequest,
        observed: Vec<Observation>,
        resume: Option<String>,
    ) -> Result<exports::snapshots::Answer, Error> {
        B::delete_snapshot(request, progress(observed, resume)).map(snapshot_plain)
    }

    fn list_snapshots(
        request: snapshots::ListSnapshotsRequest,
    ) -> Result<snapshots::ListedSnapshots, Error> {
        on_entry();
        B::list_snapshots(request)
    }

    fn create_group(
        request: snapshots::CreateGroupRequest,
        observed: Vec<Observation>,
        resume: Option<String>,
    ) -> Result<exports::snapshots::CreateGroupAnswer, Error> {
        answer!(
            B::create_group(request, progress(observed, resume)),
            exports::snapshots::CreateGroupAnswer
        )
    }

    fn delete_group(
        request: snapshots::DeleteGroupRequest,
        observed: Vec<Observation>,
        resume: Option<String>,
    ) -> Result<exports::snapshots::Answer, Error> {
        B::delete_group(request, progress(observed, resume)).map(snapshot_plain)
    }

    fn get_group(request: snapshots::GetGroupRequest) -> Result<snapshots::Group, Error> {
        on_entry();
        B::get_group(request)
    }
}

impl<B: Node> exports::node::Guest for Component<B> {
    fn describe_node() -> Result<node::NodeDescription, Error> {
        on_entry();
        B::describe_node()
    }

    fn plan_stage(request: node::StageRequest) -> Result<Plan, Error> {
        on_entry();
        B::plan_stage(request)
    }

    fn plan_publish(request: node::PublishRequest) -> Result<Plan, Error> {
        on_entry();
        B::plan_publish(request)
    }

    fn plan_expand(request: node::ExpandRequest) -> Result<Plan, Error> {
        on_entry();
        B::plan_expand(request)
    }
}

impl<B: Legacy> exports::legacy::Guest for Component<B> {
    fn translate(request: legacy::TranslateRequest) -> Result<legacy::Translated, Error> {
        on_entry();
        B::translate(request)
    }
}

impl<A: Authenticator> authenticator::Guest for AuthComponent<A> {
    fn describe() -> Result<authenticator::AuthDescription, Error> {
        on_entry();
        Ok(A::describe())
    }

    fn obtain(
        source: authenticator::Source,
        now_ms: u64,
    ) -> Result<authenticator::Credential, Error> {
        on_entry();
        A::obtain(source.into(), now_ms).map(Into::into)
    }

    fn sign(
        request: authenticator::UnsignedRequest,
        credential: authenticator::Credential,
        now_ms: u64,
        nonce: String,
    ) -> Result<authenticator::Signature, Error> {
        on_entry();
        A::sign(request, Credential::from(credential), now_ms, &nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::exports::controller::Guest as _;
    use super::exports::node::Guest as _;
    use super::exports::snapshots::Guest as _;
    use super::*;
    use crate::error::ErrorKind;
    use crate::types::{Pending, VolumeCapability};

    struct Slow;

    impl Controller for Slow {
        fn delete(_: controller::DeleteRequest, progress: Progress) -> Result<Answer<()>, Error> {
            match progress.resume.as_deref() {
                Some("asked") if progress.of("v-1").is_some_and(|seen| !seen.found) => {
                    Ok(Answer::Done(()))
                }
                _ => Ok(Pending::after_ms(5, "v-1 goes away")
                    .watching("v-1")
                    .with_resume("asked")
                    .into()),
            }
        }
    }

    impl Node for Slow {}
    impl Snapshots for Slow {}

    #[test]
    fn what_is_observed_and_remembered_reaches_the_backend() {
        let request = || controller::DeleteRequest::new("v-1");
        let exports::controller::Answer::Pending(pending) =
            Component::<Slow>::delete(request(), Vec::new(), None).unwrap()
        else {
            panic!("it was only asked for")
        };
        assert_eq!(
            (pending.watch.as_slice(), pending.after_ms),
            (["v-1".to_owned()].as_slice(), 5)
        );
        let answer =
            Component::<Slow>::delete(request(), vec![Observation::missing("v-1")], pending.resume);
        assert!(matches!(answer, Ok(exports::controller::Answer::Done)));
    }

    #[test]
    fn what_a_backend_leaves_out_is_unsupported() {
        let group = snapshots::GetGroupRequest {
            group_id: "g".into(),
            snapshot_ids: Vec::new(),
            extensions: Vec::new(),
        };
        let kinds = [
            Component::<Slow>::attach(
                controller::AttachRequest::new("v", "n", VolumeCapability::block()),
                Vec::new(),
                None,
            )
            .err(),
            Component::<Slow>::plan_stage(node::StageRequest::new("v", VolumeCapability::block()))
                .err(),
            Component::<Slow>::get_group(group).err(),
        ];
        assert!(
            kinds
                .into_iter()
                .all(|error| error.is_some_and(|error| error.kind == ErrorKind::Unsupported))
        );
    }

    #[test]
    fn an_observation_is_asked_for_even_where_there_is_nothing_to_see() {
        let seen = Component::<Slow>::observe(vec!["a".into(), "b".into()]).unwrap();
        assert_eq!(seen.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }
}

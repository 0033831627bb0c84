//! Between the contract's exports and the SDK's traits, one file for each interface. The macros in
//! here are the last line of every component.

mod authenticator;
mod controller;
mod identity;
mod legacy;
mod node;
mod snapshots;

use std::sync::Once;

use crate::types::{Observation, Progress};

/// Turns a type into a component that exports `identity` and the interfaces named after the type:
/// nothing in a native build, the exports in a Wasm build.
///
/// `export_backend!(Disk: controller, node, legacy);` needs
/// [`Identity`](crate::identity::Identity), [`Controller`](crate::controller::Controller),
/// [`Node`](crate::node::Node) and [`Legacy`](crate::legacy::Legacy). What is not named is not
/// exported, and the host offers none of it.
#[macro_export]
macro_rules! export_backend {
    ($backend:ty $(: $($interface:ident),+)?) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Component = $crate::component::Component<$backend>;
            $crate::bindings::backend::__export_identity!(
                Component with_types_in $crate::bindings::backend
            );
            $($($crate::__export_interface!($interface, Component);)+)?
        };
    };
}

/// One interface of the contract by its name.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_interface {
    (controller, $component:ident) => {
        $crate::bindings::controller::__export_controller!(
            $component with_types_in $crate::bindings::controller
        );
    };
    (snapshots, $component:ident) => {
        $crate::bindings::snapshots::__export_snapshots!(
            $component with_types_in $crate::bindings::snapshots
        );
    };
    (node, $component:ident) => {
        $crate::bindings::node::__export_node!(
            $component with_types_in $crate::bindings::node
        );
    };
    (legacy, $component:ident) => {
        $crate::bindings::legacy::__export_legacy!(
            $component with_types_in $crate::bindings::legacy
        );
    };
}

/// Turns an [`Authenticator`](crate::auth::Authenticator) into a component: nothing in a native
/// build, the exports in a Wasm build.
#[macro_export]
macro_rules! export_authenticator {
    ($authenticator:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Component = $crate::component::AuthComponent<$authenticator>;
            $crate::bindings::cloud_auth::__export_authenticator!(
                Component with_types_in $crate::bindings::cloud_auth
            );
        };
    };
}

/// The contract's exports, answered by a backend.
pub struct Component<B>(std::marker::PhantomData<B>);

/// The contract's `authenticator`, answered by an
/// [`Authenticator`](crate::auth::Authenticator).
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::backend::wharf::volume::plans::Outcome;
    use crate::bindings::controller::exports::wharf::volume::controller::Guest as _;
    use crate::controller::{AttachRequest, Controller, DeleteRequest};
    use crate::error::{Error, ErrorKind};
    use crate::plan::Plan;
    use crate::types::{Answer, Pending, Perform, ResourceId, VolumeCapability};

    struct Slow;

    impl Controller for Slow {
        fn delete(_: DeleteRequest, progress: Progress) -> Result<Answer<()>, Error> {
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

        fn detach(_: crate::controller::DetachRequest, _: Progress) -> Result<Answer<()>, Error> {
            Ok(Perform::new(Plan::new("nothing"), "1").into())
        }
    }

    #[test]
    fn what_is_observed_and_remembered_reaches_the_backend() {
        let request = || DeleteRequest::new("v-1");
        let Outcome::Pending(pending) =
            Component::<Slow>::delete(request(), Vec::new(), None).unwrap()
        else {
            panic!("it was only asked for")
        };
        assert_eq!(
            (pending.watch.as_slice(), pending.after_ms),
            ([ResourceId::volume("v-1")].as_slice(), 5)
        );
        let answer =
            Component::<Slow>::delete(request(), vec![Observation::missing("v-1")], pending.resume);
        assert!(matches!(answer, Ok(Outcome::Done)));
    }

    #[test]
    fn what_a_backend_leaves_out_is_unsupported_and_what_it_may_not_do_a_defect() {
        let attach = AttachRequest::new("v", "n", VolumeCapability::block());
        let refused = Component::<Slow>::attach(attach, Vec::new(), None).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Unsupported);
        let detach = crate::controller::DetachRequest::new("v", None);
        let refused = Component::<Slow>::detach(detach, Vec::new(), None).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Internal);
    }

    #[test]
    fn an_observation_is_asked_for_even_where_there_is_nothing_to_see() {
        let asked = ["a", "b"].map(ResourceId::volume);
        let seen = Component::<Slow>::observe(asked.to_vec()).unwrap();
        assert_eq!(seen.into_iter().map(|one| one.of).collect::<Vec<_>>(), asked);
    }
}

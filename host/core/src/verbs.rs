//! The verbs of the contract, each a type: what it asks, what it answers, and its name there.
//!
//! [`Ask`] is the one way to ask a backend anything, so whatever stands between a front end and a
//! component (a store, a journal, a refusal) forwards every verb with one implementation. A new
//! verb is a row in the table below and a file beside this one, a file in the adapter that calls
//! components, and a file in the front end that offers it. Lists of all verbs are derived from the
//! table ([`for_every_verb`](crate::for_every_verb)).

mod attach;
mod capacity;
mod create;
mod delete;
mod describe_volume;
mod detach;
mod expand;
mod list;
mod modify;
mod plan_expand;
mod plan_publish;
mod plan_stage;
mod translate;
mod validate;

use std::sync::Arc;

pub use attach::*;
pub use capacity::*;
pub use create::*;
pub use delete::*;
pub use describe_volume::*;
pub use detach::*;
pub use expand::*;
pub use list::*;
pub use modify::*;
pub use plan_expand::*;
pub use plan_publish::*;
pub use plan_stage::*;
pub use translate::*;
pub use validate::*;

use crate::error::Error;
use crate::plan::Plan;
use crate::ports::Call;
use crate::types::{
    Answer, Description, NodeDescription, Observation, Progress, ResourceId, Volume, VolumeId,
};

/// One function of the contract.
pub trait Verb {
    /// Its name in the contract.
    const NAME: &'static str;
    /// What it is asked.
    type Request: ?Sized;
    /// What it answers.
    type Answer;
}

/// A verb that changes one volume until it is as was asked: the controller observes the volume,
/// asks the backend, waits, and asks again.
pub trait Change: Verb<Answer = Answer<Self::Done>> {
    /// What the caller gets in the end.
    type Done;
    /// Whether the volume is gone afterwards, with what is in it.
    const ENDS: bool = false;

    /// The volume that is changed. Two changes of one volume do not run at once.
    fn volume(request: &Self::Request) -> &VolumeId;

    /// What is done to what, for errors: `attach of volume d-1 to node i-1`.
    fn title(request: &Self::Request) -> String;
}

/// A verb that changes nothing and is answered at once: the controller observes what it is about,
/// asks the backend, and asks again after what passes.
pub trait Query: Verb {
    /// The volume that it is about; `None`: none, so nothing is observed.
    fn volume(_request: &Self::Request) -> Option<&VolumeId> {
        None
    }

    /// What is asked about what, for errors: `validation of volume d-1`.
    fn title(request: &Self::Request) -> String;
}

/// Answers one verb. May be repeated; never waits for the cloud's slow states.
pub trait Ask<V: Verb>: Send + Sync {
    /// `progress` is empty on the first call, and for verbs that have none.
    ///
    /// # Errors
    /// What the contract says of the verb.
    fn ask(
        &self,
        call: &Call,
        request: &V::Request,
        progress: &Progress,
    ) -> Result<V::Answer, Error>;
}

/// Says who a backend is.
pub trait Describe: Send + Sync {
    /// What the generation that serves now said of itself when it was loaded. No component is
    /// called for it again.
    ///
    /// # Errors
    /// When no generation can be loaded.
    fn description(&self, call: &Call) -> Result<Arc<Description>, Error>;

    /// The same without waiting for anything; `None` where something would have to be loaded or
    /// asked first.
    fn description_at_hand(&self) -> Option<Arc<Description>> {
        None
    }
}

impl<V: Verb, B: Ask<V> + ?Sized> Ask<V> for Arc<B> {
    fn ask(
        &self,
        call: &Call,
        request: &V::Request,
        progress: &Progress,
    ) -> Result<V::Answer, Error> {
        B::ask(self, call, request, progress)
    }
}

impl<B: Describe + ?Sized> Describe for Arc<B> {
    fn description(&self, call: &Call) -> Result<Arc<Description>, Error> {
        B::description(self, call)
    }

    fn description_at_hand(&self) -> Option<Arc<Description>> {
        B::description_at_hand(self)
    }
}

macro_rules! verbs {
    // `$d` is a dollar sign, for the macro that is made here.
    ($d:tt $($(#[$doc:meta])* $verb:ident($name:literal): $request:ty => $answer:ty;)+) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy)]
            pub enum $verb {}

            impl Verb for $verb {
                const NAME: &'static str = $name;
                type Request = $request;
                type Answer = $answer;
            }
        )+

        /// A sandboxed backend: who it is, and every verb of the contract. Each call runs on
        /// whatever generation is active when it starts.
        pub trait Backend: Describe $(+ Ask<$verb>)+ {}

        impl<B: Describe $(+ Ask<$verb>)+ + ?Sized> Backend for B {}

        /// Does something for every verb, by its type: `for_every_verb!(V => check::<V>()?)`.
        #[macro_export]
        macro_rules! for_every_verb {
            ($d name:ident => $d do:expr) => {{
                $({
                    type $d name = $crate::verbs::$verb;
                    $d do;
                })+
            }};
        }
    };
}

verbs! {$
    /// One observation for each resource, in any order; at most [`Description::observe_batch`].
    Observe("observe"): [ResourceId] => Vec<Observation>;
    /// The volume that an observation shows. Pure.
    Read("read"): Observation => Volume;
    /// Creates the volume of a name, or finds it.
    Create("create"): CreateRequest => Answer<Volume>;
    /// Deletes a volume.
    Delete("delete"): DeleteRequest => Answer<()>;
    /// Attaches a volume to a node.
    Attach("attach"): AttachRequest => Answer<Attached>;
    /// Detaches a volume from a node.
    Detach("detach"): DetachRequest => Answer<()>;
    /// Makes a volume larger.
    Expand("expand"): ExpandRequest => Answer<Expanded>;
    /// Changes what a VolumeAttributesClass names.
    Modify("modify"): ModifyRequest => Answer<()>;
    /// Whether a volume can be used in some way.
    Validate("validate"): ValidateRequest => Validated;
    /// One page of volumes.
    List("list"): ListRequest => Listed;
    /// How much can still be created.
    Capacity("capacity"): CapacityRequest => Available;
    /// What this node is.
    DescribeNode("describe-node"): () => NodeDescription;
    /// What staging needs. Pure.
    PlanStage("plan-stage"): StageRequest => Plan;
    /// What one workload needs. Pure.
    PlanPublish("plan-publish"): PublishRequest => Plan;
    /// What makes a grown volume usable. Pure.
    PlanExpand("plan-expand"): NodeExpandRequest => Plan;
    /// Which volume a map of FlexVolume's options means. Pure.
    Translate("translate"): TranslateRequest => Translated;
    /// How a PersistentVolume of FlexVolume names a volume. Pure.
    DescribeVolume("describe-volume"): DescribeVolumeRequest => LegacyVolume;
}

/// Asks a verb by its name, of anything that answers it.
pub trait AskExt {
    /// Asks one verb that has no progress.
    ///
    /// # Errors
    /// What the contract says of the verb.
    fn call<V: Verb>(&self, call: &Call, request: &V::Request) -> Result<V::Answer, Error>
    where
        Self: Ask<V>,
    {
        Ask::<V>::ask(self, call, request, &Progress::default())
    }
}

impl<B: ?Sized> AskExt for B {}

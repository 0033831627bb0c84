//! [`WasmBackend`]: the port [`Backend`], played by a component. Holds the generation that is
//! active; publishing another one is a pointer swap, and calls in flight end on the one they began
//! with.

use std::sync::{Arc, PoisonError, RwLock};

use wasmtime::Store;
use wasmtime::component::{Component, HasSelf};
use wharf_core::Error;
use wharf_core::manifest::{Manifest, World};
use wharf_core::plan::Plan;
use wharf_core::policy::EndpointGrant;
use wharf_core::ports::{Backend, Call};
use wharf_core::types::{
    Answer, AttachRequest, Attached, CreateRequest, Description, DetachRequest, ExpandRequest,
    Expanded, Listed, NodeDescription, NodeExpandRequest, NodeId, Observation, Parameters,
    Progress, PublishRequest, StageRequest, TranslateRequest, Translated, ValidateRequest,
    Validated, Volume, VolumeId,
};

use crate::account::Signer;
use crate::bindings::backend::{Backend as Instance, BackendPre};
use crate::bindings::exports::node;
use crate::bindings::imports::types;
use crate::component_error::ComponentError;
use crate::egress::{Author, Egress, Grants};
use crate::engine::Engine;
use crate::guest::{CallPorts, Entry, Guest, Invoked, linker};
use crate::host::{HostCtx, Outbound};
use crate::{bounds, contract, convert};

/// A linked backend: one generation, ready to be called.
pub struct BackendCode {
    guest: Guest,
    pre: BackendPre<HostCtx>,
}

impl BackendCode {
    /// Links a component of the world `backend`. Microseconds; nothing of the guest runs.
    ///
    /// # Errors
    /// [`ComponentError::Contract`] with every difference, in words.
    pub fn link(
        engine: &Engine,
        component: &Component,
        manifest: Manifest,
        generation: u64,
    ) -> Result<Self, ComponentError> {
        let differences = |error| {
            ComponentError::Contract(contract::differences(
                engine.wasmtime(),
                component,
                World::Backend,
                &error,
            ))
        };
        let pre = linker(engine, component, |linker| {
            Instance::add_to_linker::<_, HasSelf<HostCtx>>(linker, |ctx| ctx)
        })
        .and_then(|linker| BackendPre::new(linker.instantiate_pre(component)?))
        .map_err(differences)?;
        Ok(Self { guest: Guest::new(engine, manifest, generation), pre })
    }

    /// The generation's number in the store.
    pub fn generation(&self) -> u64 {
        self.guest.generation
    }

    /// The component's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.guest.manifest
    }

    /// Calls so far, and how many of them trapped or broke a bound.
    pub fn health(&self) -> (u64, u64) {
        self.guest.health()
    }

    /// Instantiates it and drops it, for those who want to know that it starts.
    pub(crate) fn instantiate(&self, store: &mut Store<HostCtx>) -> wasmtime::Result<Instance> {
        self.pre.instantiate(store)
    }
}

/// What a backend is given by its operator.
#[derive(Clone)]
pub struct BackendPorts {
    /// Clock, limits and observer.
    pub calls: CallPorts,
    /// The way out; absent: every request is refused.
    pub egress: Option<Arc<dyn Egress>>,
    /// Who signs; absent: signed requests are refused.
    pub signer: Option<Arc<dyn Signer>>,
    /// What the operator grants. The manifest's side comes with each generation.
    pub grants: Vec<EndpointGrant>,
    /// The operator's settings for the backend.
    pub config: Parameters,
}

/// A backend that is a component.
pub struct WasmBackend {
    ports: BackendPorts,
    config: Arc<Parameters>,
    active: RwLock<Arc<Active>>,
}

struct Active {
    code: Arc<BackendCode>,
    outbound: Option<Outbound>,
}

/// Whether a function may send requests. The contract calls the others static or pure, and they are
/// held to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Network {
    Granted,
    None,
}

impl WasmBackend {
    /// A backend whose first generation is `code`.
    pub fn new(ports: BackendPorts, code: Arc<BackendCode>) -> Self {
        let config = Arc::new(ports.config.clone());
        let active = RwLock::new(Arc::new(Active::new(&ports, code)));
        Self { ports, config, active }
    }

    /// Makes another generation the active one. Calls in flight end on the old one, which is freed
    /// with the last of them.
    pub fn publish(&self, code: Arc<BackendCode>) {
        let next = Arc::new(Active::new(&self.ports, code));
        *self.active.write().unwrap_or_else(PoisonError::into_inner) = next;
    }

    /// The active generation.
    pub fn active(&self) -> Arc<BackendCode> {
        Arc::clone(&self.current().code)
    }

    fn current(&self) -> Arc<Active> {
        Arc::clone(&self.active.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn call<W, T>(
        &self,
        call: &Call,
        (function, network): (&'static str, Network),
        invoke: impl FnOnce(&Instance, &mut Store<HostCtx>) -> Invoked<W>,
        convert: impl FnOnce(W) -> T,
        check: impl FnOnce(&T) -> Result<(), Error>,
    ) -> Result<T, Error> {
        self.call_on(&self.current(), call, (function, network), invoke, convert, check)
    }

    fn call_on<W, T>(
        &self,
        active: &Active,
        call: &Call,
        (function, network): (&'static str, Network),
        invoke: impl FnOnce(&Instance, &mut Store<HostCtx>) -> Invoked<W>,
        convert: impl FnOnce(W) -> T,
        check: impl FnOnce(&T) -> Result<(), Error>,
    ) -> Result<T, Error> {
        let outbound = if network == Network::Granted { active.outbound.clone() } else { None };
        let entry = Entry {
            call,
            function,
            outbound,
            config: Arc::clone(&self.config),
            secrets: Vec::new(),
        };
        active.code.guest.call(
            &self.ports.calls,
            entry,
            |store| active.code.instantiate(store),
            invoke,
            convert,
            check,
        )
    }

    /// A plan, judged by the manifest of the generation that made it.
    fn plan(
        &self,
        call: &Call,
        function: &'static str,
        invoke: impl FnOnce(
            &Instance,
            &mut Store<HostCtx>,
        ) -> wasmtime::Result<Result<node::Plan, types::Error>>,
    ) -> Result<Plan, Error> {
        let active = self.current();
        self.call_on(
            &active,
            call,
            (function, Network::None),
            invoke,
            convert::plan_from_guest,
            |plan| active.check_plan(plan),
        )
    }
}

impl Active {
    fn new(ports: &BackendPorts, code: Arc<BackendCode>) -> Self {
        let grants = Arc::new(Grants {
            operator: ports.grants.clone(),
            manifest: code.guest.manifest.request.clone(),
        });
        let outbound = ports.egress.clone().map(|egress| Outbound {
            egress,
            signer: ports.signer.clone(),
            grants,
            author: Author::Backend,
        });
        Self { code, outbound }
    }

    /// The manifest's side of the grants; the operator's side is the node policy's.
    fn check_plan(&self, plan: &Plan) -> Result<(), Error> {
        bounds::plan(plan)?;
        let requested = &self.code.guest.manifest.node.steps;
        match plan.steps.iter().find(|step| !requested.iter().any(|word| word == step.word())) {
            Some(step) => Err(Error::denied(format!(
                "the plan has the step `{}`, which the component's manifest does not request",
                step.word()
            ))
            .with_hint(
                "the backend's author has to request it; a manifest that does not ask gets nothing",
            )),
            None => Ok(()),
        }
    }
}

impl Backend for WasmBackend {
    fn describe(&self, call: &Call) -> Result<Description, Error> {
        let invoke = |it: &Instance, store: &mut Store<HostCtx>| {
            it.wharf_volume_identity().call_describe(store)
        };
        self.call(
            call,
            ("describe", Network::None),
            invoke,
            convert::description_from_guest,
            bounds::description,
        )
    }

    fn observe(&self, call: &Call, ids: &[String]) -> Result<Vec<Observation>, Error> {
        self.call(
            call,
            ("observe", Network::Granted),
            |it, store| it.wharf_volume_controller().call_observe(store, ids),
            |observed| observed.into_iter().map(convert::observation_from_guest).collect(),
            |observed: &Vec<Observation>| bounds::observations(ids, observed),
        )
    }

    fn holders(&self, call: &Call, observed: &Observation) -> Result<Vec<NodeId>, Error> {
        let observed = convert::observation_to_guest(observed);
        let nodes = self.call(
            call,
            ("holders", Network::None),
            |it, store| it.wharf_volume_controller().call_holders(store, &observed),
            |nodes| nodes,
            |nodes: &Vec<String>| bounds::holders(nodes),
        )?;
        Ok(nodes.into_iter().map(NodeId::new).collect())
    }

    fn create(
        &self,
        call: &Call,
        request: &CreateRequest,
        progress: &Progress,
    ) -> Result<Answer<Volume>, Error> {
        let (request, observed) =
            (convert::create_to_guest(request), convert::observations_to_guest(&progress.observed));
        self.call(
            call,
            ("create", Network::Granted),
            |it, store| {
                it.wharf_volume_controller().call_create(
                    store,
                    &request,
                    &observed,
                    progress.resume.as_deref(),
                )
            },
            convert::created_from_guest,
            bounds::created,
        )
    }

    fn delete(
        &self,
        call: &Call,
        volume: &VolumeId,
        progress: &Progress,
    ) -> Result<Answer<()>, Error> {
        let (request, observed) =
            (convert::delete_to_guest(volume), convert::observations_to_guest(&progress.observed));
        self.call(
            call,
            ("delete", Network::Granted),
            |it, store| {
                it.wharf_volume_controller().call_delete(
                    store,
                    &request,
                    &observed,
                    progress.resume.as_deref(),
                )
            },
            convert::answer_from_guest,
            bounds::answered,
        )
    }

    fn attach(
        &self,
        call: &Call,
        request: &AttachRequest,
        progress: &Progress,
    ) -> Result<Answer<Attached>, Error> {
        let (request, observed) =
            (convert::attach_to_guest(request), convert::observations_to_guest(&progress.observed));
        self.call(
            call,
            ("attach", Network::Granted),
            |it, store| {
                it.wharf_volume_controller().call_attach(
                    store,
                    &request,
                    &observed,
                    progress.resume.as_deref(),
                )
            },
            convert::attached_from_guest,
            bounds::attached,
        )
    }

    fn detach(
        &self,
        call: &Call,
        request: &DetachRequest,
        progress: &Progress,
    ) -> Result<Answer<()>, Error> {
        let (request, observed) =
            (convert::detach_to_guest(request), convert::observations_to_guest(&progress.observed));
        self.call(
            call,
            ("detach", Network::Granted),
            |it, store| {
                it.wharf_volume_controller().call_detach(
                    store,
                    &request,
                    &observed,
                    progress.resume.as_deref(),
                )
            },
            convert::answer_from_guest,
            bounds::answered,
        )
    }

    fn expand(
        &self,
        call: &Call,
        request: &ExpandRequest,
        progress: &Progress,
    ) -> Result<Answer<Expanded>, Error> {
        let (request, observed) =
            (convert::expand_to_guest(request), convert::observations_to_guest(&progress.observed));
        self.call(
            call,
            ("expand", Network::Granted),
            |it, store| {
                it.wharf_volume_controller().call_expand(
                    store,
                    &request,
                    &observed,
                    progress.resume.as_deref(),
                )
            },
            convert::expanded_from_guest,
            bounds::expanded,
        )
    }

    fn validate(
        &self,
        call: &Call,
        request: &ValidateRequest,
        observed: &[Observation],
    ) -> Result<Validated, Error> {
        let (request, observed) =
            (convert::validate_to_guest(request), convert::observations_to_guest(observed));
        self.call(
            call,
            ("validate", Network::Granted),
            |it, store| it.wharf_volume_controller().call_validate(store, &request, &observed),
            convert::validated_from_guest,
            bounds::validated,
        )
    }

    fn list(
        &self,
        call: &Call,
        max_entries: u32,
        starting_token: Option<&str>,
    ) -> Result<Listed, Error> {
        let request = convert::list_to_guest(max_entries, starting_token);
        self.call(
            call,
            ("list", Network::Granted),
            |it, store| it.wharf_volume_controller().call_list(store, &request),
            convert::listed_from_guest,
            |listed| bounds::listed(max_entries, listed),
        )
    }

    fn describe_node(&self, call: &Call) -> Result<NodeDescription, Error> {
        let invoke = |it: &Instance, store: &mut Store<HostCtx>| {
            it.wharf_volume_node().call_describe_node(store)
        };
        self.call(
            call,
            ("describe-node", Network::Granted),
            invoke,
            convert::node_description_from_guest,
            bounds::node_description,
        )
    }

    fn plan_stage(&self, call: &Call, request: &StageRequest) -> Result<Plan, Error> {
        let request = convert::stage_to_guest(request);
        let invoke = |it: &Instance, store: &mut Store<HostCtx>| {
            it.wharf_volume_node().call_plan_stage(store, &request)
        };
        self.plan(call, "plan-stage", invoke)
    }

    fn plan_publish(&self, call: &Call, request: &PublishRequest) -> Result<Plan, Error> {
        let request = convert::publish_to_guest(request);
        let invoke = |it: &Instance, store: &mut Store<HostCtx>| {
            it.wharf_volume_node().call_plan_publish(store, &request)
        };
        self.plan(call, "plan-publish", invoke)
    }

    fn plan_expand(&self, call: &Call, request: &NodeExpandRequest) -> Result<Plan, Error> {
        let request = convert::node_expand_to_guest(request);
        let invoke = |it: &Instance, store: &mut Store<HostCtx>| {
            it.wharf_volume_node().call_plan_expand(store, &request)
        };
        self.plan(call, "plan-expand", invoke)
    }

    fn translate(&self, call: &Call, request: &TranslateRequest) -> Result<Translated, Error> {
        let request = convert::translate_to_guest(request);
        let invoke = |it: &Instance, store: &mut Store<HostCtx>| {
            it.wharf_volume_legacy().call_translate(store, &request)
        };
        self.call(
            call,
            ("translate", Network::None),
            invoke,
            convert::translated_from_guest,
            bounds::translated,
        )
    }
}

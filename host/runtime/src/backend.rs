//! [`WasmBackend`]: the core's port `Backend`, played by a component. Every verb takes the one path
//! through [`WasmBackend::run`]; what differs between them is in [`crate::verbs`]. Each generation
//! is a backend of its own: whoever takes another one over keeps the only pointer to what is
//! active, and calls in flight end on the one that they began with.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, ComponentType, HasSelf, Instance,
    InstancePre, Lift, Lower, TypedFunc,
};
use wasmtime::{AsContextMut, Store};
use wharf_core::manifest::{Manifest, World};
use wharf_core::plan::Plan;
use wharf_core::policy::EndpointGrant;
use wharf_core::ports::{Ask, Call, Describe};
use wharf_core::types::{Caller, Description, Parameters, Progress};
use wharf_core::{Error, Secret};

use crate::account::Signer;
use crate::bindings::backend::EveryInterface;
use crate::bindings::exports::identity;
use crate::bindings::imports::types;
use crate::component_error::ComponentError;
use crate::egress::{Egress, Grants, Requester};
use crate::engine::Engine;
use crate::guest::{CallPorts, Entry, Guest, Invoked, linker};
use crate::host::{HostCtx, Outbound};
use crate::on_demand::{CodeGuard, OnDemandCopy};
use crate::share::Network;
use crate::verbs::WasmVerb;
use crate::{bounds, contract, convert};

/// A linked backend: one generation, ready to be called.
pub struct BackendCode {
    guest: Guest,
    pre: InstancePre<HostCtx>,
    exports: Exports,
    /// What it said when it was checked. Empty only in what checks it, which asks.
    described: OnceLock<Arc<Description>>,
    on_demand: OnDemandCopy<Self>,
}

/// Functions that a component exports, by interface and name, found once for each generation.
#[derive(Default)]
struct Exports {
    functions: HashMap<(&'static str, String), Export>,
}

struct Export {
    index: ComponentExportIndex,
    /// Its type was compared with the contract's: it is the same in every instance.
    is_checked: AtomicBool,
}

impl Exports {
    /// The contract's functions in a component. Interfaces that it leaves out are not offered.
    fn of(engine: &Engine, component: &Component) -> Self {
        let mut functions = HashMap::new();
        for (name, item) in component.component_type().exports(engine.wasmtime()) {
            let (Some(interface), ComponentItem::ComponentInstance(instance)) =
                (contract::exported(name), item.ty)
            else {
                continue;
            };
            let Some(parent) = component.get_export_index(None, name) else { continue };
            for (function, _) in instance.exports(engine.wasmtime()) {
                if let Some(index) = component.get_export_index(Some(&parent), function) {
                    let export = Export { index, is_checked: AtomicBool::new(false) };
                    functions.insert((interface, function.to_owned()), export);
                }
            }
        }
        Self { functions }
    }

    fn get(&self, interface: &'static str, function: &str) -> Result<&Export, Error> {
        self.functions.get(&(interface, function.to_owned())).ok_or_else(|| {
            Error::unsupported(format!(
                "the backend does not provide `{function}`: its component exports no \
                 `{interface}` that has it"
            ))
        })
    }
}

impl Export {
    /// Calls it.
    fn call<P, W>(&self, instance: &Instance, store: &mut Store<HostCtx>, params: P) -> Invoked<W>
    where
        P: ComponentNamedList + Lower + Send + Sync + 'static,
        W: ComponentType + Lift + Send + Sync + 'static,
    {
        let (answer,) = self.typed::<P, W>(instance, store)?.call(store, params)?;
        Ok(answer)
    }

    /// The function of one instance. Comparing its type takes longer than most calls do, so that is
    /// done in the first instance of a generation.
    fn typed<P, W>(
        &self,
        instance: &Instance,
        store: &mut Store<HostCtx>,
    ) -> wasmtime::Result<TypedFunc<P, (Result<W, types::Error>,)>>
    where
        P: ComponentNamedList + Lower + Send + Sync + 'static,
        W: ComponentType + Lift + Send + Sync + 'static,
    {
        let function = instance
            .get_func(store.as_context_mut(), self.index)
            .ok_or_else(|| wasmtime::Error::msg("an instance lacks what its component exports"))?;
        if self.is_checked.load(Ordering::Relaxed) {
            // SAFETY: an earlier instance of the same component had this very export, of this
            // type, and a component's types do not differ between its instances.
            return Ok(unsafe { TypedFunc::new_unchecked(function) });
        }
        let typed = function.typed(&*store)?;
        self.is_checked.store(true, Ordering::Relaxed);
        Ok(typed)
    }
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
        let differences =
            |error| contract::error(engine.wasmtime(), component, World::Backend, &error);
        let pre = linker(engine, component, |linker| {
            EveryInterface::add_to_linker::<_, HasSelf<HostCtx>>(linker, |ctx| ctx)
        })
        .and_then(|linker| linker.instantiate_pre(component))
        .map_err(differences)?;
        let exports = Exports::of(engine, component);
        if let Err(missing) = exports.get("identity", "describe") {
            return Err(differences(wasmtime::Error::msg(missing.to_string())));
        }
        Ok(Self {
            guest: Guest::new(engine, manifest, generation),
            pre,
            exports,
            described: OnceLock::new(),
            on_demand: OnDemandCopy::new(engine, component),
        })
    }

    /// The same with what the component said of itself when it was checked. It is not asked again:
    /// one that answers otherwise by now, or not at all, changes nothing.
    #[must_use]
    pub fn described(self, description: Description) -> Self {
        Self { described: OnceLock::from(Arc::new(description)), ..self }
    }

    fn for_one_call(self: &Arc<Self>) -> CodeGuard<Self> {
        let Guest { manifest, generation, .. } = &self.guest;
        self.on_demand.for_one_call(self, |engine, component| {
            Self::link(engine, component, manifest.clone(), *generation)
        })
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
        let (calls, broken) = self.guest.health();
        let (more, more_broken) =
            self.on_demand.get().map_or((0, 0), |on_demand| on_demand.guest.health());
        (calls.saturating_add(more), broken.saturating_add(more_broken))
    }

    pub(crate) fn instantiate(&self, store: &mut Store<HostCtx>) -> wasmtime::Result<Instance> {
        self.pre.instantiate(store)
    }

    /// Compares the type of one export with the contract's. What is not exported is not compared.
    fn check_type<V: WasmVerb>(
        &self,
        instance: &Instance,
        store: &mut Store<HostCtx>,
    ) -> wasmtime::Result<()> {
        match self.exports.get(V::INTERFACE, V::NAME) {
            Ok(export) => export.typed::<V::Params, V::Wire>(instance, store).map(drop),
            Err(_) => Ok(()),
        }
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

/// A backend that is one generation of a component.
pub struct WasmBackend {
    ports: BackendPorts,
    config: Arc<Parameters>,
    code: Arc<BackendCode>,
    outbound: Option<Outbound>,
}

impl WasmBackend {
    /// The backend that this code is.
    pub fn new(ports: BackendPorts, code: Arc<BackendCode>) -> Self {
        let config = Arc::new(ports.config.clone());
        let grants = Arc::new(Grants {
            operator: ports.grants.clone(),
            manifest: code.guest.manifest.request.clone(),
        });
        let outbound = ports.egress.clone().map(|egress| Outbound {
            egress,
            signer: ports.signer.clone(),
            grants,
            requester: Requester::Backend,
            asker: Arc::clone(ports.calls.share.name()),
            call_secrets: Arc::default(),
        });
        Self { ports, config, code, outbound }
    }

    /// Its code.
    pub fn code(&self) -> &Arc<BackendCode> {
        &self.code
    }

    fn entry<'a>(
        &self,
        call: &'a Call,
        function: &'static str,
        network: Network,
        outbound: Option<Outbound>,
    ) -> Result<Entry<'a>, Error> {
        let admission = self.ports.calls.admit(network, function, call)?;
        let config = Arc::clone(&self.config);
        Ok(Entry { call, function, admission, outbound, config, secrets: Vec::new() })
    }

    /// What the component says of itself, asked anew. Only for those who measure a call:
    /// everybody else takes [`Describe::description`].
    ///
    /// # Errors
    /// When it fails, or breaks a bound.
    pub fn ask_description(&self, call: &Call) -> Result<Description, Error> {
        self.ask_to_describe(call)
    }

    /// Compares the type of every verb with the contract's, in a real instance: some differences
    /// show nowhere else.
    ///
    /// # Errors
    /// The first that differs, in words.
    pub(crate) fn check_types(&self, call: &Call) -> Result<(), Error> {
        let entry = self.entry(call, "describe", Network::None, None)?;
        let guard = self.code.for_one_call();
        let code = &*guard.code;
        code.guest.call(
            &self.ports.calls,
            entry,
            |store| {
                let instance = code.instantiate(store)?;
                wharf_core::for_every_verb!(Verb => code.check_type::<Verb>(&instance, store)?);
                Ok(instance)
            },
            |_, _| Ok(Ok(())),
            |(), _| Ok(()),
            |()| Ok(()),
        )
    }

    fn ask_to_describe(&self, call: &Call) -> Result<Description, Error> {
        let entry = self.entry(call, "describe", Network::None, None)?;
        let guard = self.code.for_one_call();
        let code = &*guard.code;
        let export = code.exports.get("identity", "describe")?;
        code.guest.call(
            &self.ports.calls,
            entry,
            |store| code.instantiate(store),
            |instance, store| export.call::<(), identity::Description>(instance, store, ()),
            |wire, _| Ok(convert::description_from_guest(wire)),
            bounds::description,
        )
    }

    /// One verb, start to end: a fresh instance is asked, and its answer is
    /// checked with the contract, the request and the manifest.
    fn run<V: WasmVerb>(
        &self,
        call: &Call,
        request: &V::Request,
        progress: &Progress,
    ) -> Result<V::Answer, Error> {
        // What is not offered is refused without a slot.
        self.code.exports.get(V::INTERFACE, V::NAME)?;
        let outbound = match V::NETWORK {
            Network::Reads | Network::Changes => self.outbound_for(V::caller(request)),
            Network::None => None,
        };
        let params = V::lower(request, progress);
        let entry = self.entry(call, V::NAME, V::NETWORK, outbound)?;
        let guard = self.code.for_one_call();
        let code = &*guard.code;
        let export = code.exports.get(V::INTERFACE, V::NAME)?;
        code.guest.call(
            &self.ports.calls,
            entry,
            |store| code.instantiate(store),
            |instance, store| export.call(instance, store, params),
            |wire, ctx| V::lift(wire, ctx),
            |answer| {
                V::check(request, answer)?;
                let Some(plan) = V::plan(answer) else { return Ok(()) };
                if let Some(observer) = &self.ports.calls.observer {
                    observer.planned(V::NAME, plan);
                }
                self.check_plan(plan)
            },
        )
    }

    /// The way out of one call; accounts whose source is `call` sign with the caller's secrets.
    fn outbound_for(&self, caller: Option<&Caller>) -> Option<Outbound> {
        let mut outbound = self.outbound.clone()?;
        if let Some(caller) = caller.filter(|caller| !caller.secrets.is_empty()) {
            let secrets: Vec<(String, Secret)> = caller.secrets.clone();
            outbound.call_secrets = Arc::new(secrets);
        }
        Some(outbound)
    }

    /// The manifest's side of the grants; the operator's side is the node policy's.
    fn check_plan(&self, plan: &Plan) -> Result<(), Error> {
        let requested = &self.code.guest.manifest.node.steps;
        match plan.steps.iter().find(|step| !requested.iter().any(|word| **word == *step.name())) {
            Some(step) => Err(Error::denied(format!(
                "the plan has the step `{}`, which the component's manifest does not request",
                step.name()
            ))
            .with_hint(
                "the backend's author has to request it; a manifest that does not ask gets nothing",
            )),
            None => Ok(()),
        }
    }
}

impl Describe for WasmBackend {
    fn description(&self, call: &Call) -> Result<Arc<Description>, Error> {
        if let Some(described) = self.code.described.get() {
            return Ok(Arc::clone(described));
        }
        let description = self.ask_to_describe(call)?;
        Ok(Arc::clone(self.code.described.get_or_init(|| Arc::new(description))))
    }

    fn description_at_hand(&self) -> Option<Arc<Description>> {
        self.code.described.get().map(Arc::clone)
    }
}

impl<V: WasmVerb> Ask<V> for WasmBackend {
    fn ask(
        &self,
        call: &Call,
        request: &V::Request,
        progress: &Progress,
    ) -> Result<V::Answer, Error> {
        self.run::<V>(call, request, progress)
    }
}

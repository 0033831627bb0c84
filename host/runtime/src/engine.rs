//! Engine set-up: one set of compile settings, two ways of allocating.
//!
//! Both modes compile to the same code, so that a file precompiled by one is loaded by the other.
//! What the modes are for: a process that makes one call and exits takes [`EngineMode::OnDemand`];
//! a server takes [`EngineMode::Pooled`].

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use wasmtime::component::Component;
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails,
};

use crate::component_error::ComponentError;
use crate::guest::lacks_memory;
use crate::ticker::{Ticker, TickingGuard};

/// Linear memory of one call: the largest real guest (Python, with its interpreter) starts at 30
/// MiB; a Rust guest uses one.
pub const MEMORY_BYTES: usize = 64 << 20;
/// Table elements of one call, all tables together: the Python interpreter has about 10 000
/// functions behind pointers.
pub const TABLE_ELEMENTS: usize = 32_768;
/// Core instances of one component: three for a Rust guest, some dozens for an interpreter that is
/// linked from libraries.
pub const CORE_INSTANCES: u32 = 64;
/// Tables of one component, for the same reason.
pub const TABLES: u32 = 8;
/// Linear memories of one component; nothing real has a second one.
pub const MEMORIES: u32 = 2;

/// Address space behind one memory. The default (4 GiB) fails under `ulimit -v` and in 39-bit
/// address spaces as soon as there is a pool; twice [`MEMORY_BYTES`] leaves growth in place.
const MEMORY_RESERVATION: u64 = 128 << 20;
/// Bounds are checked explicitly with a reservation this small; the guard only has to catch
/// constant offsets.
const MEMORY_GUARD: u64 = 64 << 10;
/// Native stack of a guest: the shadow stack is in linear memory, this one holds return addresses
/// and spills.
const WASM_STACK: usize = 512 << 10;
/// Bytes that a slot keeps mapped between calls: the pages that a Rust guest touches, and more.
/// Only pays with `PAGEMAP_SCAN`.
const KEEP_RESIDENT: usize = 1_200 << 10;

/// How memory for calls is obtained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineMode {
    /// Slots reserved once and reused: 28 µs a call, 3 ms to set up. Falls back to `OnDemand` where
    /// the kernel cannot do it well, and for calls that find no slot.
    Pooled {
        /// Calls that can run at once in slots.
        slots: u32,
    },
    /// Mapped for each call: 50 µs a call, nothing to set up.
    OnDemand,
}

/// A configured engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    wasmtime: wasmtime::Engine,
    ticker: Ticker,
    mode: EngineMode,
    taken: AtomicUsize,
    on_demand: OnceLock<Option<Engine>>,
}

/// One slot of a pool, for one call.
pub(crate) struct SlotGuard(Arc<Inner>);

impl Drop for SlotGuard {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Engine {
    /// Sets an engine up. A pool that this machine cannot give (no `PAGEMAP_SCAN`, too little
    /// address space) becomes `OnDemand`.
    ///
    /// # Errors
    /// [`ComponentError::Engine`] when even the plain engine is refused.
    pub fn new(mode: EngineMode) -> Result<Self, ComponentError> {
        if let EngineMode::Pooled { slots } = mode
            && let Some(pooled) = pooled(slots)
        {
            return Ok(Self::around(pooled, mode));
        }
        let plain = wasmtime::Engine::new(&settings())
            .map_err(|error| ComponentError::Engine(format!("{error:#}")))?;
        Ok(Self::around(plain, EngineMode::OnDemand))
    }

    fn around(wasmtime: wasmtime::Engine, mode: EngineMode) -> Self {
        let ticker = Ticker::new(wasmtime.weak());
        let (taken, on_demand) = (AtomicUsize::new(0), OnceLock::new());
        Self { inner: Arc::new(Inner { wasmtime, ticker, mode, taken, on_demand }) }
    }

    /// A slot for one call; `None`: the pool is full. Without a pool there is always one.
    pub(crate) fn slot(&self) -> Option<SlotGuard> {
        let slots = match self.inner.mode {
            EngineMode::Pooled { slots } => usize::try_from(slots).unwrap_or(usize::MAX),
            EngineMode::OnDemand => usize::MAX,
        };
        let taken = self.inner.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            (taken < slots).then(|| taken.saturating_add(1))
        });
        taken.ok().map(|_| SlotGuard(Arc::clone(&self.inner)))
    }

    /// A component for calls that find the pool full: the same code in an engine that maps memory
    /// for each call. `None` where that engine cannot be made.
    pub(crate) fn on_demand_copy(&self, component: &Component) -> Option<(Engine, Component)> {
        let on_demand = self.inner.on_demand.get_or_init(|| Self::new(EngineMode::OnDemand).ok());
        let on_demand = on_demand.as_ref()?;
        let code = component.serialize().ok()?;
        // SAFETY: wasmtime itself wrote these bytes a moment ago, and nobody had them in between.
        let component = unsafe { Component::deserialize(on_demand.wasmtime(), code) };
        Some((on_demand.clone(), component.ok()?))
    }

    /// The mode that it has in fact.
    pub fn mode(&self) -> EngineMode {
        self.inner.mode
    }

    /// Names everything that precompiled code depends on: wasmtime's version, the machine and the
    /// settings. A path component.
    pub fn hash(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.inner.wasmtime.precompile_compatibility_hash().hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }

    /// Compiles a component to code for [`Engine::load`]. Takes 30 ms for a small guest, seconds
    /// and hundreds of megabytes for one with an interpreter inside: never on a request's path,
    /// and for components from outside in a child process with limits.
    ///
    /// # Errors
    /// [`ComponentError::Compile`] when this is no valid component.
    pub fn compile(&self, wasm: &[u8]) -> Result<Vec<u8>, ComponentError> {
        self.inner
            .wasmtime
            .precompile_component(wasm)
            .map_err(|error| ComponentError::Compile(format!("{error:#}")))
    }

    /// Maps precompiled code: this open file, whatever its path means by now.
    ///
    /// # Safety
    /// The content must be what [`Engine::compile`] returned, byte by byte: wasmtime runs it as
    /// native code and does not check it. The caller has compared this very file's digest with
    /// one that only root can write, and only root can write the file.
    ///
    /// # Errors
    /// [`ComponentError::Stale`] when it was made by another engine, [`ComponentError::Memory`]
    /// when it cannot be mapped.
    pub unsafe fn load(&self, code: &File) -> Result<Component, ComponentError> {
        // SAFETY: the caller's obligation, word for word.
        unsafe {
            Component::deserialize_file(
                &self.inner.wasmtime,
                format!("/proc/self/fd/{}", code.as_raw_fd()),
            )
        }
        .map_err(|error| match lacks_memory(&error) {
            true => ComponentError::Memory(format!("{error:#}")),
            false => ComponentError::Stale(format!("{error:#}")),
        })
    }

    /// Compiles and loads in one go, for checks, tests and tools.
    ///
    /// # Errors
    /// [`ComponentError::Compile`] when this is no valid component.
    pub fn load_wasm(&self, wasm: &[u8]) -> Result<Component, ComponentError> {
        Component::from_binary(&self.inner.wasmtime, wasm)
            .map_err(|error| ComponentError::Compile(format!("{error:#}")))
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.inner.wasmtime
    }

    /// Time passes for guests while the guard lives.
    pub(crate) fn ticking(&self) -> Result<TickingGuard<'_>, wharf_core::Error> {
        self.inner.ticker.begin()
    }
}

fn settings() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        .memory_reservation(MEMORY_RESERVATION)
        .memory_guard_size(MEMORY_GUARD)
        .memory_init_cow(true)
        .max_wasm_stack(WASM_STACK)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        // Tables for other unwinders than wasmtime's own, which nobody here is. Taking those of a
        // component away when a call-out ends cost as much as its guest calls.
        .native_unwind_info(false);
    config
}

/// A pool, where it is worth having: without `PAGEMAP_SCAN` resetting a slot costs more than
/// mapping a new one.
fn pooled(slots: u32) -> Option<wasmtime::Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES))
        .total_memories(slots.saturating_mul(MEMORIES))
        .total_tables(slots.saturating_mul(TABLES))
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_memory_size(MEMORY_BYTES)
        .table_elements(TABLE_ELEMENTS)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Yes);
    let mut config = settings();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    match wasmtime::Engine::new(&config) {
        Ok(engine) => Some(engine),
        Err(error) => {
            tracing::info!(%error, slots, "no pool on this machine: calls map their memory on demand");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_precompiled_file_serves_both_modes() {
        let pooled = Engine::new(EngineMode::Pooled { slots: 8 }).unwrap();
        let on_demand = Engine::new(EngineMode::OnDemand).unwrap();
        assert_eq!(pooled.hash(), on_demand.hash());
    }

    #[test]
    fn what_is_no_component_is_refused_by_the_compiler() {
        let engine = Engine::new(EngineMode::OnDemand).unwrap();
        assert!(matches!(engine.compile(b"\0asm\x01\0\0\0"), Err(ComponentError::Compile(_))));
        assert!(matches!(engine.compile(b"hello"), Err(ComponentError::Compile(_))));
    }

    #[test]
    fn a_pool_too_large_for_the_address_space_becomes_on_demand() {
        let engine = Engine::new(EngineMode::Pooled { slots: u32::MAX / 64 }).unwrap();
        assert_eq!(engine.mode(), EngineMode::OnDemand);
    }
}

//! The same component called with wasmtime alone: instantiate, call, drop. No bounds, no share, no
//! log, nothing but a pool: the floor of an isolated call.

use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};

use exports::wharf::volume::legacy::TranslateRequest;

wasmtime::component::bindgen!({ path: "../../wit", world: "with-legacy" });

/// As the host keeps resident, so that resetting a slot costs both sides the same.
const KEEP_RESIDENT: usize = 1_200 << 10;

pub struct Raw {
    engine: Engine,
    linked: WithLegacyPre<()>,
}

impl Raw {
    pub fn new(wasm: &[u8]) -> Self {
        let mut pool = PoolingAllocationConfig::new();
        pool.linear_memory_keep_resident(KEEP_RESIDENT)
            .table_keep_resident(64 << 10)
            .pagemap_scan(wasmtime::Enabled::Yes);
        let mut config = Config::new();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config).unwrap();
        let component = Component::new(&engine, wasm).unwrap();
        let mut linker = Linker::new(&engine);
        linker.define_unknown_imports_as_traps(&component).unwrap();
        let linked = linker.instantiate_pre(&component).unwrap();
        Self { linked: WithLegacyPre::new(linked).unwrap(), engine }
    }

    pub fn translate(&self, driver: &str, options: &[(String, String)], name: &str) -> bool {
        let mut store = Store::new(&self.engine, ());
        let component = self.linked.instantiate(&mut store).unwrap();
        let request = TranslateRequest {
            driver: driver.to_owned(),
            options: options.to_vec(),
            volume_name: name.to_owned(),
            extensions: Vec::new(),
        };
        let legacy = component.wharf_volume_legacy();
        legacy.call_translate(&mut store, &request).unwrap().is_ok()
    }
}

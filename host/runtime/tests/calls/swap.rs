//! Another generation takes over while calls run.

use std::sync::{Arc, OnceLock};

use wharf_core::ports::Backend;
use wharf_runtime::WasmBackend;

use crate::fixture::{Bench, code, does, ok};

#[test]
fn a_call_in_flight_ends_on_the_generation_that_it_began_with() {
    let backend = Arc::new(OnceLock::<WasmBackend>::new());
    let swapped = Arc::clone(&backend);
    let bench = Bench::new().answering(move |_| {
        swapped.get().unwrap().publish(code(2));
        Ok(ok())
    });
    let backend = backend.get_or_init(|| bench.backend());
    let old = Arc::downgrade(&backend.active());
    let answered = does(backend, &bench.call(), "send cloud - read - GET /ok").unwrap_err();
    assert!(answered.message.starts_with("status 200"), "{answered}");
    backend.describe(&bench.call()).unwrap();
    let generations: Vec<u64> = bench.heard.0.lock().unwrap().iter().map(|heard| heard.0).collect();
    assert_eq!(generations, [1, 2]);
    assert!(old.upgrade().is_none(), "the old generation is freed with its last call");
}

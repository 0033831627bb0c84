//! WASI with nothing in it, for components whose tool chain insists: no directory, no environment,
//! no argument, no network. What such a guest prints goes to its log; what it waits for ends with
//! its call.
//!
//! Linked only for components that import `wasi:*`; everything else never touches this module.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::AsyncWrite;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::Host as _;
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::guest_log::Level;
use crate::host::HostCtx;

/// The interface whose waiting is bounded, as `wasmtime-wasi` links it.
const MONOTONIC_CLOCK: &str = "wasi:clocks/monotonic-clock@0.2.12";
/// Printed text that waits for the end of the call; the same bound as the log's.
const PRINTED_BYTES: usize = 64 << 10;

/// Streams, errors and timers that a guest holds at once; each is memory of the host. An
/// interpreter has a dozen.
const RESOURCES: usize = 1024;
/// Random bytes in one request: an interpreter seeds itself with some thousand.
const RANDOM_BYTES: u64 = 64 << 10;

/// One call's empty WASI.
pub(crate) struct WasiState {
    ctx: WasiCtx,
    table: ResourceTable,
    printed: Printed,
}

impl Default for WasiState {
    fn default() -> Self {
        let printed = Printed::default();
        let mut ctx = WasiCtxBuilder::new();
        ctx.stdout(printed.clone())
            .stderr(printed.clone())
            .allow_tcp(false)
            .allow_udp(false)
            .max_random_size(RANDOM_BYTES);
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES);
        Self { ctx: ctx.build(), table, printed }
    }
}

impl WasiView for HostCtx {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let WasiState { ctx, table, printed: _ } = self.wasi.get_or_insert_with(WasiState::default);
        WasiCtxView { ctx, table }
    }
}

/// Puts WASI into a linker.
pub(crate) fn link(linker: &mut Linker<HostCtx>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    let mut clock = linker.instance(MONOTONIC_CLOCK)?;
    clock.func_wrap(
        "subscribe-duration",
        |mut store: StoreContextMut<'_, HostCtx>, (nanos,): (u64,)| {
            Ok((subscribe(store.data_mut(), nanos)?,))
        },
    )?;
    clock.func_wrap(
        "subscribe-instant",
        |mut store: StoreContextMut<'_, HostCtx>, (when,): (u64,)| {
            let now = wasmtime_wasi::clocks::WasiClocksView::clocks(store.data_mut()).now()?;
            Ok((subscribe(store.data_mut(), when.saturating_sub(now))?,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// A guest that sleeps blocks a thread of the host, where no epoch reaches it: the sleep ends with
/// the call.
fn subscribe(ctx: &mut HostCtx, nanos: u64) -> wasmtime::Result<Resource<DynPollable>> {
    let left = ctx.watch.deadline().saturating_duration_since(Instant::now());
    let bounded = Duration::from_nanos(nanos).min(left);
    wasmtime_wasi::clocks::WasiClocksView::clocks(ctx)
        .subscribe_duration(u64::try_from(bounded.as_nanos()).unwrap_or(u64::MAX))
}

/// Moves what the guest printed into its log.
pub(crate) fn flush(ctx: &mut HostCtx) {
    let Some(wasi) = &ctx.wasi else { return };
    let bytes = std::mem::take(&mut *wasi.printed.lock());
    for line in String::from_utf8_lossy(&bytes).lines() {
        ctx.log.write(Level::Info, line);
    }
}

#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Printed {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IsTerminal for Printed {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printed {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for Printed {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let mut printed = self.lock();
        let room = PRINTED_BYTES.saturating_sub(printed.len()).min(bytes.len());
        printed.extend(bytes.iter().take(room));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

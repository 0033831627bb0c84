//! `wharf csi`: every configured driver on its socket until a signal.

use std::path::{Path, PathBuf};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing_subscriber::EnvFilter;
use wharf_csi::Driver;

use crate::assembly::{Assembly, Process};
use crate::cli::{Csi, Role};
use crate::config::Config;

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// What is wrong with the configuration, or which socket cannot be served.
pub fn run(config: &Path, command: &Csi) -> Result<(), String> {
    start_log(command.log_json);
    let config = Config::load(config).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(wharf_csi::BLOCKING_THREADS.saturating_mul(config.driver.len().max(1)))
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| format!("cannot start the server's threads: {error}"))?;
    runtime.block_on(serve(&config, command))
}

async fn serve(config: &Config, command: &Csi) -> Result<(), String> {
    let assembly = Assembly::new(config, &Process::Server(tokio::runtime::Handle::current())).map_err(|error| error.to_string())?;
    let (stop, stopped) = watch::channel(false);
    let mut servers = JoinSet::new();
    for (name, socket) in sockets(config, command)? {
        let driver = open(&assembly, config, command.role, &name).map_err(|error| error.to_string())?;
        let mut stopped = stopped.clone();
        servers.spawn(async move {
            let shutdown = async move {
                // An error means that the sender is gone, which is a reason to stop too.
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            wharf_csi::serve(driver, &socket, shutdown).await.map_err(|error| format!("driver {name} at {}: {error}", socket.display()))
        });
    }
    tokio::select! {
        signal = wait_for_signal() => tracing::info!(signal = signal?, "draining: calls under way are finished, no new ones are taken"),
        Some(first) = servers.join_next() => {
            let _ = stop.send(true);
            return flatten(first);
        }
    }
    let _ = stop.send(true);
    while let Some(ended) = servers.join_next().await {
        flatten(ended)?;
    }
    Ok(())
}

fn flatten(ended: Result<Result<(), String>, tokio::task::JoinError>) -> Result<(), String> {
    ended.map_err(|error| format!("a server ended unexpectedly: {error}"))?
}

fn sockets(config: &Config, command: &Csi) -> Result<Vec<(String, PathBuf)>, String> {
    if let (Some(driver), Some(endpoint)) = (&command.driver, &command.endpoint) {
        let socket = wharf_csi::endpoint::parse(endpoint).map_err(|error| error.to_string())?;
        return Ok(vec![(driver.clone(), socket)]);
    }
    let chosen = config.driver.keys().filter(|name| command.driver.as_ref().is_none_or(|driver| driver == *name));
    let sockets: Vec<_> = chosen.map(|name| (name.clone(), config.socket(name))).collect();
    if sockets.is_empty() {
        return Err(match &command.driver {
            Some(driver) => format!("the configuration has no driver \"{driver}\"; it needs a section [driver.\"{driver}\"]"),
            None => "the configuration has no driver to serve; it needs a section such as [driver.\"disk.example.com\"]".to_owned(),
        });
    }
    Ok(sockets)
}

fn open(assembly: &Assembly<'_>, config: &Config, role: Role, name: &str) -> Result<Driver, wharf_core::Error> {
    let (has_controller, has_node) = match role {
        Role::Controller => (true, false),
        Role::Node => (false, true),
        Role::All => (true, true),
    };
    Ok(Driver {
        name: name.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        controller: has_controller.then(|| assembly.controller(name)).transpose()?.map(Into::into),
        node: has_node.then(|| assembly.node(name)).transpose()?.map(Into::into),
        clock: assembly.clock(),
        allowed_roots: config.roots(),
        drain: wharf_csi::DEFAULT_DRAIN,
    })
}

async fn wait_for_signal() -> Result<&'static str, String> {
    let listen = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
    }
}

/// To standard error, as containers want it; `RUST_LOG` chooses the level.
fn start_log(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Only a second call in one process could fail, and there is none.
    let _ = if json { log.json().try_init() } else { log.with_ansi(false).try_init() };
}

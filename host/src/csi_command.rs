//! `wharf csi`: every configured driver on its socket until a signal.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use wharf_csi::{CallObserver, Driver};

use crate::assembly::{Assembly, Process};
use crate::cli::{Csi, Role};
use crate::config::Config;
use crate::drivers::{self, Served};
use crate::log::Log;
use crate::status::{self, Teller, Watched};
use crate::{http, may_mount, observed};

/// After the drain, threads that do not return are left: the one that waits for a mkfs may do so
/// for half an hour, and with the drain this has to fit into a pod's default of 30 seconds. They
/// hold nothing that a repeated call does not find.
const LEAVE_THREADS_AFTER: Duration = Duration::from_secs(2);

/// Serves until SIGTERM, SIGINT or SIGQUIT.
///
/// # Errors
/// What is wrong with the configuration, or which socket cannot be served.
pub fn run(config: &Path, command: &Csi) -> Result<(), String> {
    let log = Log::start(command.log_json);
    let served = run_logged(config, command);
    log.finish();
    served
}

fn run_logged(config: &Path, command: &Csi) -> Result<(), String> {
    raise_open_files();
    let config = Config::load(config).map_err(|error| error.for_a_command())?;
    for directory in [&config.state, &config.store] {
        // No reason not to serve: what is mounted has to be unmounted.
        if let Err(error) = wharf_files::check_path(directory) {
            tracing::error!(%error, "nothing new is mounted before this is mended");
        }
    }
    may_mount::warn_otherwise(&config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(
            wharf_csi::BLOCKING_THREADS.saturating_mul(config.driver.len().max(1)),
        )
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| format!("cannot start the server's threads: {error}"))?;
    let served = runtime.block_on(serve(&config, command));
    runtime.shutdown_timeout(LEAVE_THREADS_AFTER);
    served
}

async fn serve(config: &Config, command: &Csi) -> Result<(), String> {
    let signals = Signals::listen()?;
    let listen = command.http.as_ref().or(config.http.listen.as_ref());
    let metrics = listen.map(|_| observed::metrics(config));
    let process = Process::Server(tokio::runtime::Handle::current(), metrics.clone());
    let assembly = Assembly::new(config, &process).map_err(|error| error.to_string())?;
    let mut opened = Vec::new();
    for (name, socket) in sockets(config, command)? {
        let registers = command.role != Role::Controller && !command.no_registration;
        let registration = registers.then(|| drivers::registration(config, &name));
        let served = Served::new(name, socket, registration);
        let driver = open(&assembly, config, command.role, &served);
        let mut driver = driver.map_err(|error| error.to_string())?;
        driver.observer = metrics.clone().map(|metrics| metrics as Arc<dyn CallObserver>);
        opened.push((driver, served));
    }
    assembly.keep_components();
    let all: Arc<Vec<_>> = Arc::new(opened.iter().map(|(_, served)| Arc::clone(served)).collect());
    let watched = opened.iter().map(|(driver, served)| Watched {
        served: Arc::clone(served),
        controller: driver.controller.clone(),
        node: driver.node.clone(),
    });
    let teller = Teller::new(command.role.word(), watched.collect(), assembly.insides());
    let _told = status::serve(&config.status_directory(), &status_name(command), teller);
    let (stop, stopped) = watch::channel(false);
    let mut servers = JoinSet::new();
    if let (Some(listen), Some(metrics)) = (listen.cloned(), metrics) {
        let drivers = Arc::clone(&all);
        let pages =
            observed::pages(config, command.role, &assembly, metrics, drivers, stopped.clone());
        // Until the process ends: who waits for the end of the drain wants to see it.
        tokio::spawn(async move { http::serve(&listen, pages).await });
    }
    for (driver, served) in opened {
        servers.spawn(drivers::keep(driver, served, Arc::clone(&all), stopped.clone()));
    }
    run_until(signals.end(), servers, &stop).await
}

/// A process that serves one driver has others of its role beside it.
fn status_name(command: &Csi) -> String {
    match &command.driver {
        Some(driver) => format!("{}-{driver}", command.role.word()),
        None => command.role.word().to_owned(),
    }
}

/// Until the signal, or until the first server gives up; then every other one drains. The first
/// failure is returned.
async fn run_until(
    signal: impl Future<Output = Result<&'static str, String>>,
    mut servers: JoinSet<Result<(), String>>,
    stop: &watch::Sender<bool>,
) -> Result<(), String> {
    let mut result = tokio::select! {
        signal = signal => signal.map(|signal| tracing::info!(signal, "draining: calls under way are finished, no new ones are taken")),
        Some(first) = servers.join_next() => flatten(first).inspect_err(|error| tracing::error!(error, "ending: every other driver drains")),
    };
    let _ = stop.send(true);
    while let Some(ended) = servers.join_next().await {
        result = result.and(flatten(ended));
    }
    result
}

fn flatten(ended: Result<Result<(), String>, tokio::task::JoinError>) -> Result<(), String> {
    ended.map_err(|error| format!("a server ended unexpectedly: {error}"))?
}

fn sockets(config: &Config, command: &Csi) -> Result<Vec<(String, PathBuf)>, String> {
    if let (Some(driver), Some(endpoint)) = (&command.driver, &command.endpoint) {
        let socket = wharf_csi::endpoint::parse(endpoint).map_err(|error| error.to_string())?;
        return Ok(vec![(driver.clone(), socket)]);
    }
    let chosen = config
        .driver
        .keys()
        .filter(|name| command.driver.as_ref().is_none_or(|driver| driver == *name));
    let sockets: Vec<_> =
        chosen.map(|name| (name.clone(), config.socket(name, command.role))).collect();
    if sockets.is_empty() {
        return Err(match &command.driver {
            Some(driver) => format!(
                "the configuration has no driver \"{driver}\"; it needs a section \
                 [driver.\"{driver}\"]"
            ),
            None => "the configuration has no driver to serve; it needs a section such as \
                     [driver.\"disk.example.com\"]"
                .to_owned(),
        });
    }
    Ok(sockets)
}

fn open(
    assembly: &Assembly<'_>,
    config: &Config,
    role: Role,
    served: &Served,
) -> Result<Driver, wharf_core::Error> {
    let name = served.name.as_str();
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
        registration: served.registration.clone(),
        observer: None,
    })
}

/// What the process is told from outside.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    user_1: Signal,
    user_2: Signal,
}

impl Signals {
    /// From now on no signal ends the process by itself.
    fn listen() -> Result<Self, String> {
        let listen =
            |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            quit: listen(SignalKind::quit())?,
            hangup: listen(SignalKind::hangup())?,
            user_1: listen(SignalKind::user_defined1())?,
            user_2: listen(SignalKind::user_defined2())?,
        })
    }

    /// The one that ends the server.
    async fn end(mut self) -> Result<&'static str, String> {
        loop {
            let ignored = tokio::select! {
                _ = self.terminate.recv() => return Ok("SIGTERM"),
                _ = self.interrupt.recv() => return Ok("SIGINT"),
                _ = self.quit.recv() => return Ok("SIGQUIT"),
                _ = self.hangup.recv() => "SIGHUP",
                _ = self.user_1.recv() => "SIGUSR1",
                _ = self.user_2.recv() => "SIGUSR2",
            };
            // A terminal that closes, or a tool that means another program, must not end calls.
            tracing::info!(
                signal = ignored,
                "ignored: backends are replaced with `wharf backend activate`, and a changed \
                 configuration is read at the next start"
            );
        }
    }
}

/// Kubelet opens a connection for each call and every mount holds descriptors. The usual soft
/// limit, 1024, is for programs that `select`; nothing here does.
fn raise_open_files() {
    let most = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }) {
        tracing::warn!(%error, "the limit of open files stays as it is; connections may have to wait");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Two servers that drain when they are told to, and say so.
    fn two_servers(
        stopped: &watch::Receiver<bool>,
    ) -> (JoinSet<Result<(), String>>, Arc<AtomicUsize>) {
        let (mut servers, drained) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
        for _ in 0..2 {
            let (mut stopped, drained) = (stopped.clone(), Arc::clone(&drained));
            servers.spawn(async move {
                let _ = stopped.wait_for(|stop| *stop).await;
                drained.fetch_add(1, Ordering::SeqCst);
                Ok(())
            });
        }
        (servers, drained)
    }

    #[tokio::test]
    async fn a_server_that_fails_lets_the_others_drain_and_names_itself() {
        let (stop, stopped) = watch::channel(false);
        let (mut servers, drained) = two_servers(&stopped);
        servers.spawn(async { Err("driver a: the socket is in use".to_owned()) });
        let ended = run_until(std::future::pending(), servers, &stop).await;
        assert_eq!(ended, Err("driver a: the socket is in use".to_owned()));
        assert_eq!(drained.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn servers_drain_also_where_no_signal_can_be_listened_for() {
        let (stop, stopped) = watch::channel(false);
        let (servers, drained) = two_servers(&stopped);
        let ended =
            run_until(std::future::ready(Err("no signals".to_owned())), servers, &stop).await;
        assert_eq!((ended, drained.load(Ordering::SeqCst)), (Err("no signals".to_owned()), 2));
    }
}

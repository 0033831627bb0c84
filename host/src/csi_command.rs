//! `wharf csi`: every configured driver on its socket until a signal, or until its configuration is
//! another one.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use wharf_csi::{CallObserver, Driver};
use wharf_node::supervisor::Client;

use crate::assembly::{Assembly, Process};
use crate::cli::{Csi, Role};
use crate::config::Config;
use crate::drivers::{self, Served};
use crate::log::Log;
use crate::observer_pair::ObserverPair;
use crate::reload::{self, Asked, Changes};
use crate::renewal::{self, Renewal};
use crate::status::{self, Reporter, Watched};
use crate::traces::{self, Traces};
use crate::{events, http, may_mount, observed, open_files};

/// After the drain, threads that do not return are left: the one that waits for a mkfs may do so
/// for half an hour, and with the drain this has to fit into a pod's default of 30 seconds. They
/// hold nothing that a repeated call does not find.
const LEAVE_THREADS_AFTER: Duration = Duration::from_secs(2);
/// Threads that read and write sockets; whatever blocks or computes has threads of its own. Between
/// several of them each call is handed on, which wakes another processor and costs more than the
/// call itself; one alone answers several times what all callers of a node ask.
const ASYNC_THREADS: usize = 1;

/// Why a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// A signal asked it to.
    Stopped(&'static str),
    /// It starts again with a configuration that was changed.
    Changed,
}

/// Serves until SIGTERM, SIGINT or SIGQUIT.
///
/// # Errors
/// What is wrong with the configuration, or which socket cannot be served.
pub fn run(config: &Path, command: &Csi) -> Result<(), String> {
    let log = Log::start(command.log_json);
    let ended = run_logged(config, command);
    log.finish();
    match ended? {
        End::Stopped(_) => Ok(()),
        End::Changed => reload::start_again().map(|never| match never {}),
    }
}

fn run_logged(path: &Path, command: &Csi) -> Result<End, String> {
    open_files::raise();
    let changes = Changes::since_now(path);
    let config = Config::load(path).map_err(|error| error.for_a_command())?;
    for directory in [&config.state, &config.store] {
        // No reason not to serve: what is mounted has to be unmounted.
        if let Err(error) = wharf_files::check_path(directory) {
            tracing::error!(%error, "nothing new is mounted before this is mended");
        }
    }
    may_mount::warn_if_not(&config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(ASYNC_THREADS)
        .max_blocking_threads(
            wharf_csi::BLOCKING_THREADS.saturating_mul(config.driver.len().max(1)),
        )
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| format!("cannot start the server's threads: {error}"))?;
    let could_serve = || {
        let config = Config::load(path).map_err(|error| error.in_one_line())?;
        check_that_it_serves(&config, command)
    };
    let traces = traces::start(&config, command.role.word(), runtime.handle());
    let ended = runtime.block_on(serve(&config, command, traces.as_ref(), changes, could_serve));
    if let Some(traces) = traces {
        (traces.finish)();
    }
    runtime.shutdown_timeout(LEAVE_THREADS_AFTER);
    ended
}

/// Puts everything together that a start does, and leaves it: nothing here has an effect.
fn check_that_it_serves(config: &Config, command: &Csi) -> Result<(), String> {
    let assembly = Assembly::new(config, &Process::OneCall).map_err(|error| error.to_string())?;
    for (name, socket) in sockets(config, command)? {
        let driver = open(&assembly, config, command.role, &Served::new(name, socket, None));
        driver.map_err(|error| error.to_string())?;
    }
    Ok(())
}

async fn serve(
    config: &Config,
    command: &Csi,
    traces: Option<&Traces>,
    mut changes: Changes,
    could_serve: impl Fn() -> Result<(), String>,
) -> Result<End, String> {
    let mut signals = Signals::listen()?;
    reload::take_hangups();
    let listen = command.http.as_ref().or(config.http.listen.as_ref());
    let metrics = listen.map(|_| observed::metrics(config));
    let process = Process::Server {
        handle: tokio::runtime::Handle::current(),
        metrics: metrics.clone(),
        traces: traces.map(|traces| Arc::clone(&traces.components)),
    };
    let assembly = Assembly::new(config, &process).map_err(|error| error.to_string())?;
    let mut opened = Vec::new();
    for (name, socket) in sockets(config, command)? {
        let registers = command.role != Role::Controller && !command.no_registration;
        let registration = registers.then(|| drivers::registration(config, &name));
        let served = Served::new(name, socket, registration);
        let driver = open(&assembly, config, command.role, &served);
        let mut driver = driver.map_err(|error| error.to_string())?;
        let counted = metrics.clone().map(|metrics| metrics as Arc<dyn CallObserver>);
        let traced = traces.map(|traces| Arc::clone(&traces.calls));
        driver.observer = match (counted, traced) {
            (Some(counted), Some(traced)) => Some(Arc::new(ObserverPair(counted, traced))),
            (one, None) | (None, one) => one,
        };
        opened.push((driver, served));
    }
    assembly.load_components();
    let all: Arc<Vec<_>> = Arc::new(opened.iter().map(|(_, served)| Arc::clone(served)).collect());
    let watched = opened.iter().map(|(driver, served)| Watched {
        served: Arc::clone(served),
        controller: driver.controller.clone(),
        node: driver.node.clone(),
    });
    let reporter = Reporter::new(
        command.role.word(),
        watched.collect(),
        assembly.loader_and_egress(),
        changes.refused(),
    );
    let reporter = Arc::new(reporter);
    if command.role != Role::Controller {
        let drivers = opened.iter().filter_map(|(driver, _)| driver.node.clone()).collect();
        let supervisor = Client::new(&config.run_directory(), None);
        renewal::start(Renewal { supervisor, drivers, clock: assembly.clock() });
    }
    events::start(&config.events, event_sources(config, command, &assembly, &reporter, &all));
    let _socket = status::serve(&config.status_directory(), &status_name(command), reporter);
    let (stop, stopped) = watch::channel(false);
    let mut servers = JoinSet::new();
    if let (Some(listen), Some(metrics)) = (listen.cloned(), metrics) {
        let drivers = Arc::clone(&all);
        let pages = observed::pages(
            config,
            command.role,
            &assembly,
            metrics,
            drivers,
            changes.refused(),
            stopped.clone(),
        );
        // Until the process ends: who waits for the end of the drain wants to see it.
        tokio::spawn(async move { http::serve(&listen, pages).await });
    }
    for (driver, served) in opened {
        servers.spawn(drivers::keep_serving(driver, served, Arc::clone(&all), stopped.clone()));
    }
    let ended = run_until(signals.end(&mut changes, could_serve), servers, &stop).await?;
    // Told to end while it drained for another start: it ends.
    Ok(signals.ending.already_received().await.map_or(ended, End::Stopped))
}

/// What Events are made from.
fn event_sources(
    config: &Config,
    command: &Csi,
    assembly: &Assembly<'_>,
    reporter: &Arc<Reporter>,
    drivers: &Arc<Vec<Arc<Served>>>,
) -> events::Sources {
    let has_node = command.role != Role::Controller;
    events::Sources {
        reporter: Arc::clone(reporter),
        http: assembly.loader_and_egress().1,
        drivers: Arc::clone(drivers),
        node: has_node.then(|| assembly.machine()),
        supervisor: has_node.then(|| Client::new(&config.run_directory(), None)),
    }
}

/// A process that serves one driver has others of its role beside it.
fn status_name(command: &Csi) -> String {
    match &command.driver {
        Some(driver) => format!("{}-{driver}", command.role.word()),
        None => command.role.word().to_owned(),
    }
}

/// Until there is a reason to end, or until the first server gives up; then every other one drains.
/// The first failure is returned.
async fn run_until(
    end: impl Future<Output = End>,
    mut servers: JoinSet<Result<(), String>>,
    stop: &watch::Sender<bool>,
) -> Result<End, String> {
    let mut result = tokio::select! {
        end = end => {
            tracing::info!(?end, "draining: calls under way are finished, no new ones are taken");
            Ok(end)
        }
        Some(first) = servers.join_next() => {
            let failed = flatten(first).inspect_err(|error| tracing::error!(error, "ending: every other driver drains"));
            failed.map(|()| End::Stopped("nothing is left to serve"))
        }
    };
    let _ = stop.send(true);
    while let Some(ended) = servers.join_next().await {
        result = result.and_then(|end| flatten(ended).map(|()| end));
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

/// The signals that the process receives.
struct Signals {
    ending: EndingSignals,
    hangup: Signal,
    ignored: IgnoredSignals,
}

/// Signals that end the server.
struct EndingSignals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

/// Signals that mean something to other programs.
struct IgnoredSignals {
    user_1: Signal,
    user_2: Signal,
}

impl Signals {
    /// From now on no signal ends the process by itself.
    fn listen() -> Result<Self, String> {
        let listen =
            |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
        let ending = EndingSignals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            quit: listen(SignalKind::quit())?,
        };
        let ignored = IgnoredSignals {
            user_1: listen(SignalKind::user_defined1())?,
            user_2: listen(SignalKind::user_defined2())?,
        };
        Ok(Self { ending, hangup: listen(SignalKind::hangup())?, ignored })
    }

    /// Until a signal ends the server, or another configuration does.
    async fn end(
        &mut self,
        changes: &mut Changes,
        could_serve: impl Fn() -> Result<(), String>,
    ) -> End {
        loop {
            let asked = tokio::select! {
                signal = self.ending.received() => return End::Stopped(signal),
                // A terminal that closes sends it too: nothing is changed then.
                _ = self.hangup.recv() => Asked::ByPerson,
                () = tokio::time::sleep(reload::POLL) => Asked::ByTime,
                signal = self.ignored.received() => {
                    tracing::info!(
                        signal,
                        "ignored: backends are replaced with `wharf backend activate`, and a \
                         changed configuration is read by itself"
                    );
                    continue;
                }
            };
            if tokio::task::block_in_place(|| changes.check(asked, &could_serve)) {
                return End::Changed;
            }
        }
    }
}

impl EndingSignals {
    async fn received(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.quit.recv() => "SIGQUIT",
        }
    }

    /// One that came and was not handled yet.
    async fn already_received(&mut self) -> Option<&'static str> {
        tokio::select! {
            biased;
            signal = self.received() => Some(signal),
            () = std::future::ready(()) => None,
        }
    }
}

impl IgnoredSignals {
    async fn received(&mut self) -> &'static str {
        tokio::select! {
            _ = self.user_1.recv() => "SIGUSR1",
            _ = self.user_2.recv() => "SIGUSR2",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Two servers that drain when they are asked to, and say so.
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
    async fn servers_drain_for_another_start_as_for_the_end() {
        let (stop, stopped) = watch::channel(false);
        let (servers, drained) = two_servers(&stopped);
        let ended = run_until(std::future::ready(End::Changed), servers, &stop).await;
        assert_eq!((ended, drained.load(Ordering::SeqCst)), (Ok(End::Changed), 2));
    }
}

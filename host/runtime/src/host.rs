//! The host's side of the contract's imports: what a guest can reach during one call, and nothing
//! else.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wasmtime::component::ResourceTable;
use wharf_core::types::Parameters;
use wharf_core::{Blame, Effect, Error, ErrorKind, Secret};

use crate::account::{Signer, Used};
use crate::bindings::imports::{config, http, log, random, types, wall_clock};
use crate::egress::{Budget, Egress, Grants, Request, RequestEffect, Requester, Scope};
use crate::guest::Entry;
use crate::guest_log::{GuestLog, Level};
use crate::limits::{Limits, Memory, PARALLEL_REQUESTS, RANDOM_BYTES, Watch};
use crate::share::Admission;
use crate::wasi::WasiState;
use crate::{convert, plan_builder};

/// The way out, for the calls that have one.
#[derive(Clone)]
pub(crate) struct Outbound {
    pub(crate) egress: Arc<dyn Egress>,
    pub(crate) signer: Option<Arc<dyn Signer>>,
    pub(crate) grants: Arc<Grants>,
    pub(crate) requester: Requester,
    pub(crate) asker: Arc<str>,
    /// What came with the call, for accounts whose source that is.
    pub(crate) call_secrets: Arc<Vec<(String, Secret)>>,
}

/// What one call's requests have done so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Requests so far.
    pub(crate) requests: u32,
    /// A mutating request left the host.
    pub(crate) mutated: bool,
    /// A mutating request left the host and no answer was understood.
    pub(crate) unanswered: bool,
    /// Time that the call waited for them.
    pub(crate) waited: Duration,
}

/// The state of one store: one call of one guest.
pub(crate) struct HostCtx {
    pub(crate) memory: Memory,
    pub(crate) watch: Watch,
    pub(crate) log: GuestLog,
    pub(crate) sent: Sent,
    pub(crate) wasi: Option<WasiState>,
    pub(crate) plans: ResourceTable,
    config: Arc<Parameters>,
    outbound: Option<Outbound>,
    function: &'static str,
    request_bound: u32,
    bodies: Budget,
    used: Used,
    admission: Arc<Admission>,
}

impl HostCtx {
    /// `remaining`: until the call's deadline.
    pub(crate) fn new(
        entry: Entry<'_>,
        remaining: Duration,
        limits: &Limits,
        log: GuestLog,
    ) -> Self {
        let Entry { call, function, admission, outbound, config, .. } = entry;
        Self {
            memory: Memory::new(limits, Arc::clone(&admission)),
            watch: Watch::new(call, remaining, limits),
            log,
            sent: Sent::default(),
            wasi: None,
            plans: plan_builder::table(),
            config,
            outbound,
            function,
            request_bound: limits.http_requests,
            bodies: Budget::within(limits.http_bytes, Arc::clone(&admission)),
            used: Used::default(),
            admission,
        }
    }

    /// Whose share the call has a part of.
    pub(crate) fn owner(&self) -> &str {
        self.admission.owner()
    }

    /// Whether the call lacked memory that other calls have.
    pub(crate) fn was_refused_memory(&self) -> bool {
        self.admission.was_refused()
    }

    /// A credential that the cloud refused may have been rotated or revoked since it was obtained.
    /// Then it is dropped and the call is worth another try; who cannot sign with a fresh one
    /// either has no rights, and that is final.
    pub(crate) fn retried_if_refused(&self, mut error: Error) -> Error {
        let signer = self.outbound.as_ref().and_then(|outbound| outbound.signer.as_deref());
        if error.kind == ErrorKind::Unauthenticated
            && signer.is_some_and(|signer| self.used.refused(signer))
        {
            error.kind = ErrorKind::Unavailable;
            error.message.push_str("; the next call signs with another credential");
        }
        error
    }

    fn send_requests(
        &mut self,
        requests: Vec<http::Request>,
    ) -> Vec<Result<http::Response, types::Error>> {
        let count = requests.len();
        let bytes = requests.iter().map(|request| request.body.len()).sum();
        match self.admit(count, bytes) {
            Ok(outbound) => {
                let answers = self.send_admitted(&outbound, requests);
                self.admission.give_back(bytes);
                answers
            }
            Err(error) => (0..count.min(PARALLEL_REQUESTS))
                .map(|_| Err(convert::error_to_guest(&error)))
                .collect(),
        }
    }

    fn admit(&mut self, count: usize, bytes: usize) -> Result<Outbound, Error> {
        let Some(outbound) = self.outbound.clone() else {
            return Err(Error::new(
                ErrorKind::PermissionDenied,
                Blame::Backend,
                format!("`{}` must not send requests; the host gives it no network", self.function),
            ));
        };
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        if self.sent.requests.saturating_add(count) > self.request_bound {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                Blame::Backend,
                format!(
                    "`{}` sent more than {} requests in one call",
                    self.function, self.request_bound
                ),
            ));
        }
        if !self.admission.take(bytes) {
            return Err(Error::unavailable(
                "there is no memory for a request: other calls of the backend have it",
            ));
        }
        self.sent.requests += count;
        Ok(outbound)
    }

    fn send_admitted(
        &mut self,
        outbound: &Outbound,
        requests: Vec<http::Request>,
    ) -> Vec<Result<http::Response, types::Error>> {
        let requests: Vec<Request> =
            requests.into_iter().map(convert::request_from_guest).collect();
        let mutating: Vec<bool> =
            requests.iter().map(|request| request.effect == RequestEffect::Mutate).collect();
        let scope = Scope {
            grants: &outbound.grants,
            requester: outbound.requester,
            asker: &outbound.asker,
            signer: outbound.signer.as_deref(),
            call_secrets: &outbound.call_secrets,
            call: self.watch.requests(),
            deadline: self.watch.requests_end(),
            bodies: self.bodies.clone(),
            used: &self.used,
            scrubber: self.log.scrubber(),
        };
        let began = Instant::now();
        let answers = outbound.egress.send_all(&scope, requests);
        self.sent.waited += began.elapsed();
        for (answer, mutates) in answers.iter().zip(mutating) {
            let unanswered = answer.as_ref().is_err_and(|error| error.effect == Effect::Unknown);
            self.sent.mutated |= mutates && (answer.is_ok() || unanswered);
            self.sent.unanswered |= mutates && unanswered;
        }
        answers
            .into_iter()
            .map(|answer| {
                answer
                    .map(convert::response_to_guest)
                    .map_err(|error| convert::error_to_guest(&error))
            })
            .collect()
    }
}

impl types::Host for HostCtx {}

impl http::Host for HostCtx {
    fn send(
        &mut self,
        request: http::Request,
    ) -> wasmtime::Result<Result<http::Response, types::Error>> {
        let answer = self.send_requests(vec![request]).pop();
        answer.ok_or_else(|| wasmtime::Error::msg("the host sent a request and kept no answer"))
    }

    fn send_all(
        &mut self,
        requests: Vec<http::Request>,
    ) -> wasmtime::Result<Vec<Result<http::Response, types::Error>>> {
        if requests.len() > PARALLEL_REQUESTS {
            return Err(wasmtime::Error::msg(format!(
                "`send-all` with {} requests, at most {PARALLEL_REQUESTS} are allowed",
                requests.len()
            )));
        }
        Ok(self.send_requests(requests))
    }
}

impl log::Host for HostCtx {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        self.log.write(level, &message);
        Ok(())
    }

    fn panicked(&mut self, message: String) -> wasmtime::Result<()> {
        self.log.panicked(&message);
        Ok(())
    }
}

impl config::Host for HostCtx {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        Ok(self.config.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone()))
    }

    fn all(&mut self) -> wasmtime::Result<Parameters> {
        Ok(self.config.to_vec())
    }
}

impl wall_clock::Host for HostCtx {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(unix_millis())
    }
}

impl random::Host for HostCtx {
    fn bytes(&mut self, count: u32) -> wasmtime::Result<Vec<u8>> {
        if count > RANDOM_BYTES {
            return Err(wasmtime::Error::msg(format!(
                "{count} random bytes asked for, at most {RANDOM_BYTES} are allowed"
            )));
        }
        random_bytes(count as usize).map_err(|error| wasmtime::Error::msg(error.to_string()))
    }
}

/// Milliseconds since 1970-01-01 UTC.
pub(crate) fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Bytes from the kernel's generator.
pub(crate) fn random_bytes(count: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; count];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(read) => filled += read,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                return Err(Error::internal(format!("the kernel gives no random bytes: {error}")));
            }
        }
    }
    Ok(bytes)
}

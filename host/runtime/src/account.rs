//! Accounts: where keys come from, who turns them into credentials, and how requests are signed
//! with them.
//!
//! Keys live here and in the authenticator's memory during one call, and nowhere else: a backend
//! names an account and gets signed requests.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wharf_core::ports::{Call, CallSecrets, Clock};
use wharf_core::types::Parameters;
use wharf_core::{Blame, Error, ErrorKind, Secret};

use crate::host::{random_bytes, unix_millis};

mod authenticator;

pub use authenticator::{
    AuthDescription, Authenticator, Credential, CredentialFile, Reserved, Signature, Unsigned,
};

/// A credential is renewed this long before it expires: longer than any call, and clouds hand out
/// the next one by then.
const RENEW_BEFORE: Duration = Duration::from_secs(300);
/// A credential without an end is obtained again after this time, so that a rotated key is found:
/// it costs a file or an environment, not a request.
const READ_AGAIN: Duration = Duration::from_secs(60);
/// A mount helper whose credential has no end gets the account's current one this often: whoever
/// changes a key leaves the old one valid for longer. It costs a process where no server runs.
const HELPER_REFRESH: Duration = Duration::from_secs(300);
/// After a renewal that failed, the old credential is used for this long before the next one: a
/// service that hangs costs one call of many.
const RENEW_AGAIN: Duration = Duration::from_secs(30);
/// A metadata or token service answers in milliseconds; a call that waits for one must still have
/// time for its own requests.
const OBTAINING_TIME: Duration = Duration::from_secs(10);
/// A refused credential younger than this was obtained for the call that it was refused to: another
/// one would be no better, and asking would never end.
const JUST_OBTAINED: Duration = Duration::from_secs(5);
/// How often a call that waits for another one's credential checks whether its own caller has gone.
const CANCELLATION_CHECK: Duration = Duration::from_millis(50);
/// Random bytes in a signature's nonce: as many as a UUID has.
const NONCE_BYTES: usize = 16;

/// One place where keys may be, read and ready for the authenticator.
#[derive(Clone)]
pub struct Source {
    /// One of the authenticator's kinds.
    pub kind: String,
    /// Its values.
    pub values: Vec<(String, Secret)>,
}

/// The kind of source that is not read: the secrets of the call.
pub const CALL_SOURCE: &str = "call";

/// Reads a source anew each time a credential is obtained, so that rotated keys are found.
pub trait SourceReader: Send + Sync {
    /// Whether this is the source [`CALL_SOURCE`], which `read` is never asked for.
    fn is_call(&self) -> bool {
        false
    }

    /// # Errors
    /// `NotFound` when this source is empty here (no such file, no such variable): the next one is
    /// tried.
    fn read(&self) -> Result<Source, Error>;
}

impl<F: Fn() -> Result<Source, Error> + Send + Sync> SourceReader for F {
    fn read(&self) -> Result<Source, Error> {
        self()
    }
}

/// Signs requests of accounts.
pub trait Signer: Send + Sync {
    /// Who signs for an account: what only it may set, and which codes ask to slow down.
    fn describe(&self, call: &Call, account: &str) -> Result<AuthDescription, Error>;
    /// The signature of a request, and the credential that made it. `call_secrets` came with the
    /// call; they are what an account has whose source that is.
    fn sign(
        &self,
        call: &Call,
        account: &str,
        call_secrets: &[(String, Secret)],
        request: &Unsigned<'_>,
    ) -> Result<(Signature, Arc<Credential>), Error>;
    /// The cloud refused what this credential signed. True: the next signature is made with another
    /// one.
    fn refused(&self, account: &str, credential: &Arc<Credential>) -> bool;
}

/// The credentials that signed the requests of one call.
#[derive(Default)]
pub(crate) struct Used(Mutex<Vec<(String, Arc<Credential>)>>);

impl Used {
    pub(crate) fn note(&self, account: &str, credential: Arc<Credential>) {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !used.iter().any(|(_, known)| Arc::ptr_eq(known, &credential)) {
            used.push((account.to_owned(), credential));
        }
    }

    /// The call ended because the cloud did not accept who signed. True: it is worth another try.
    pub(crate) fn refused(&self, signer: &dyn Signer) -> bool {
        let used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        used.iter().fold(false, |renewed, (account, credential)| {
            signer.refused(account, credential) || renewed
        })
    }
}

/// One account of the operator's configuration.
pub struct Account {
    authenticator: Arc<dyn Authenticator>,
    sources: Vec<Box<dyn SourceReader>>,
    settings: Parameters,
    state: Mutex<State>,
    obtained: Condvar,
}

#[derive(Default)]
struct State {
    cached: Option<CachedCredential>,
    obtaining: bool,
    /// How often a credential was obtained, or tried to be.
    attempts: u64,
    failed: Option<Failed>,
}

/// An attempt that failed, for everybody who waited for it: one after the other they would wait for
/// a service that hangs as often as there are callers.
struct Failed {
    attempt: u64,
    time: Duration,
    error: Error,
}

impl Failed {
    /// Whether somebody who has so much time would learn no more by trying it again. An attempt of
    /// a call that was nearly over says little to one that has long.
    fn answers(&self, time: Duration) -> bool {
        self.time >= time / 2
    }
}

#[derive(Clone)]
struct CachedCredential {
    credential: Arc<Credential>,
    generation: u64,
    since: Duration,
    renew_at_ms: Option<u64>,
    not_renewed_before: Duration,
}

impl CachedCredential {
    fn new(credential: Credential, generation: u64, now: Duration, now_ms: u64) -> Self {
        Self {
            renew_at_ms: credential.expires_at_ms.map(|at| renewal(now_ms, at)),
            not_renewed_before: if credential.expires_at_ms.is_some() {
                now
            } else {
                now + READ_AGAIN
            },
            credential: Arc::new(credential),
            generation,
            since: now,
        }
    }

    fn is_good(&self, generation: u64, now_ms: u64) -> bool {
        self.generation == generation && self.credential.expires_at_ms.is_none_or(|at| now_ms < at)
    }

    fn is_due(&self, now: Duration, now_ms: u64) -> bool {
        now >= self.not_renewed_before && self.renew_at_ms.is_none_or(|at| now_ms >= at)
    }
}

impl Account {
    /// `sources` are tried in this order; `settings` go to every signature.
    pub fn new(
        authenticator: Arc<dyn Authenticator>,
        sources: Vec<Box<dyn SourceReader>>,
        settings: Parameters,
    ) -> Self {
        Self { authenticator, sources, settings, state: Mutex::default(), obtained: Condvar::new() }
    }

    fn is_of_calls(&self) -> bool {
        self.sources.iter().any(|source| source.is_call())
    }

    /// The credential of one call. An account whose source is the call has one for each call, kept
    /// by nobody; every other has one for all.
    fn credential(
        &self,
        call: &Call,
        clock: &dyn Clock,
        call_secrets: &[(String, Secret)],
    ) -> Result<Arc<Credential>, Error> {
        if !call_secrets.is_empty() && self.is_of_calls() {
            let source = Source { kind: CALL_SOURCE.to_owned(), values: call_secrets.to_vec() };
            match self.authenticator.obtain(call, &source, unix_millis()) {
                Err(error) if error.kind == ErrorKind::NotFound => {}
                obtained => return obtained.map(Arc::new),
            }
        }
        self.shared_credential(call, clock)
    }

    /// A credential that is good for a while. While one caller obtains another, the rest go on with
    /// the old one or, where there is none, wait, and get what that one gets.
    fn shared_credential(&self, call: &Call, clock: &dyn Clock) -> Result<Arc<Credential>, Error> {
        let generation = self.authenticator.generation();
        let mut state = self.lock();
        let mut awaited = None;
        loop {
            let (now, now_ms) = (clock.now(), unix_millis());
            let time = obtaining_time(call, now);
            let good = state.cached.as_ref().filter(|cached| cached.is_good(generation, now_ms));
            if let Some(cached) =
                good.filter(|cached| state.obtaining || !cached.is_due(now, now_ms))
            {
                return Ok(Arc::clone(&cached.credential));
            }
            if let (Some(awaited), Some(failed)) = (awaited, &state.failed)
                && failed.attempt >= awaited
                && failed.answers(time)
            {
                return Err(failed.error.clone());
            }
            if !state.obtaining {
                break;
            }
            awaited = Some(state.attempts);
            if call.is_cancelled() || call.remaining(clock.now()).is_zero() {
                return Err(Error::unavailable(
                    "the caller stopped waiting while a credential was obtained",
                ));
            }
            state = self
                .obtained
                .wait_timeout(state, CANCELLATION_CHECK)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.obtaining = true;
        state.attempts += 1;
        drop(state);
        let _turn = ObtainingGuard { account: self };
        self.renewed(call, clock, generation)
    }

    fn renewed(
        &self,
        call: &Call,
        clock: &dyn Clock,
        generation: u64,
    ) -> Result<Arc<Credential>, Error> {
        let (begun, time) = (clock.now(), obtaining_time(call, clock.now()));
        let obtained = self.obtain(&call.no_later_than(begun + time));
        let (now, now_ms) = (clock.now(), unix_millis());
        let mut state = self.lock();
        match (obtained, state.cached.as_mut().filter(|cached| cached.is_good(generation, now_ms)))
        {
            (Ok(credential), _) => {
                let cached = CachedCredential::new(credential, generation, now, now_ms);
                let credential = Arc::clone(&cached.credential);
                state.cached = Some(cached);
                Ok(credential)
            }
            (Err(error), Some(old)) => {
                tracing::warn!(%error, "no new credential yet; the old one is still good");
                old.not_renewed_before = now + RENEW_AGAIN;
                Ok(Arc::clone(&old.credential))
            }
            (Err(error), None) => {
                // A call that was given up says nothing about the service.
                let is_shared = !call.is_cancelled();
                state.failed = is_shared.then(|| Failed {
                    attempt: state.attempts,
                    time,
                    error: error.clone(),
                });
                Err(error)
            }
        }
    }

    fn obtain(&self, call: &Call) -> Result<Credential, Error> {
        let mut missing = Vec::new();
        for source in &self.sources {
            if source.is_call() {
                missing.push("the call brought no secrets that it knows".to_owned());
                continue;
            }
            match source
                .read()
                .and_then(|source| self.authenticator.obtain(call, &source, unix_millis()))
            {
                Err(error) if error.kind == ErrorKind::NotFound => missing.push(error.message),
                other => return other,
            }
        }
        let reasons =
            if missing.is_empty() { "it has no sources".to_owned() } else { missing.join("; ") };
        Err(Error::new(
            ErrorKind::Unauthenticated,
            Blame::User,
            format!("no credential: {reasons}"),
        )
        .with_hint(if self.is_of_calls() {
            "name the volume's secret (CSI: `nodePublishSecretRef` or `nodeStageSecretRef`, \
             FlexVolume: `secretRef`), or give the account another source"
        } else {
            "give the account a source that has keys"
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in another thread leaves whole values here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to obtain; it passes on however the holder ends.
struct ObtainingGuard<'a> {
    account: &'a Account,
}

impl Drop for ObtainingGuard<'_> {
    fn drop(&mut self) {
        self.account.lock().obtaining = false;
        self.account.obtained.notify_all();
    }
}

/// How long a call that has so much time left may wait for a credential.
fn obtaining_time(call: &Call, now: Duration) -> Duration {
    OBTAINING_TIME.min(call.remaining(now) / 2)
}

/// When to renew: [`RENEW_BEFORE`] the end, or in the last quarter of a short life.
fn renewal(now_ms: u64, expires_at_ms: u64) -> u64 {
    let life = expires_at_ms.saturating_sub(now_ms);
    let early = u64::try_from(RENEW_BEFORE.as_millis()).unwrap_or(u64::MAX).min(life / 4);
    expires_at_ms.saturating_sub(early)
}

/// When an account has another credential than this.
fn next_of(credential: &Credential, now_ms: u64) -> u64 {
    let changed =
        now_ms.saturating_add(u64::try_from(HELPER_REFRESH.as_millis()).unwrap_or(u64::MAX));
    credential.expires_at_ms.map_or(changed, |end| renewal(now_ms, end))
}

/// The files of a mount helper.
pub struct Rendered {
    /// Its files.
    pub files: Vec<CredentialFile>,
    /// When there is another credential, in milliseconds since 1970-01-01 UTC; `None`: it came with
    /// the call, or another one of the account may.
    pub renew_at_ms: Option<u64>,
}

/// Every account, by the operator's name.
pub struct Accounts {
    accounts: HashMap<String, Account>,
    clock: Arc<dyn Clock>,
}

impl Accounts {
    /// From the operator's configuration.
    pub fn new(
        accounts: impl IntoIterator<Item = (String, Account)>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { accounts: accounts.into_iter().collect(), clock }
    }

    /// The files of a mount helper, with the account's credential in the helper's form.
    ///
    /// # Errors
    /// `PermissionDenied` for an unknown account, `Unauthenticated` when no source has a key,
    /// `Unsupported` for a form that its authenticator does not know.
    pub fn render(
        &self,
        call: &Call,
        account: &str,
        call_secrets: CallSecrets<'_>,
        form: &str,
        values: &Parameters,
    ) -> Result<Rendered, Error> {
        let call_secrets = match call_secrets {
            CallSecrets::Brought(secrets) => secrets,
            CallSecrets::Later if self.get(account)?.is_of_calls() => {
                return Err(Error::new(
                    ErrorKind::Unauthenticated,
                    Blame::User,
                    format!("account `{account}`: its keys come with a later call"),
                ));
            }
            CallSecrets::Later => &[],
        };
        let credential = self.credential(call, account, call_secrets)?;
        let has = self.get(account)?;
        let files = has
            .authenticator
            .render(call, &credential, form, values)
            .map_err(|error| error.context(format!("account `{account}`")))?;
        let renew_at_ms = (!has.is_of_calls()).then(|| next_of(&credential, unix_millis()));
        Ok(Rendered { files, renew_at_ms })
    }

    /// The credential that signs for an account.
    ///
    /// # Errors
    /// `PermissionDenied` for an unknown account, `Unauthenticated` when no source has a key.
    pub fn credential(
        &self,
        call: &Call,
        account: &str,
        call_secrets: &[(String, Secret)],
    ) -> Result<Arc<Credential>, Error> {
        self.get(account)?
            .credential(call, self.clock.as_ref(), call_secrets)
            .map_err(|error| error.context(format!("account `{account}`")))
    }

    fn get(&self, account: &str) -> Result<&Account, Error> {
        self.accounts.get(account).ok_or_else(|| {
            Error::denied(format!("there is no account `{account}`"))
                .with_hint("an administrator can add it to `accounts` in the configuration")
        })
    }
}

impl Signer for Accounts {
    fn describe(&self, call: &Call, account: &str) -> Result<AuthDescription, Error> {
        self.get(account)?.authenticator.describe(call)
    }

    fn sign(
        &self,
        call: &Call,
        account: &str,
        call_secrets: &[(String, Secret)],
        request: &Unsigned<'_>,
    ) -> Result<(Signature, Arc<Credential>), Error> {
        let credential = self.credential(call, account, call_secrets)?;
        let account = self.get(account)?;
        let nonce = const_hex::encode(random_bytes(NONCE_BYTES)?);
        let signature = account.authenticator.sign(
            call,
            request,
            &account.settings,
            &credential,
            unix_millis(),
            &nonce,
        )?;
        Ok((signature, credential))
    }

    fn refused(&self, account: &str, credential: &Arc<Credential>) -> bool {
        let Ok(account) = self.get(account) else { return false };
        let mut state = account.lock();
        match &state.cached {
            Some(cached) if Arc::ptr_eq(&cached.credential, credential) => {
                let is_worth_it = self.clock.now().saturating_sub(cached.since) >= JUST_OBTAINED;
                if is_worth_it {
                    state.cached = None;
                }
                is_worth_it
            }
            // Another call dropped or replaced it.
            Some(_) | None => true,
        }
    }
}

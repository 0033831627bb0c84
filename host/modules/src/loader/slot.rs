//! One component of the store, as calls meet it: what serves, what is to take over, and why it does
//! not yet.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::time::Duration;

use wharf_core::Error;
use wharf_core::backoff::Backoff;
use wharf_core::ports::{Call, Instant};

use super::{
    BEING_LOADED, Loaded, Loader, LoadsInBackground, NOT_NEEDED_YET, Serving, being_loaded,
    host_error,
};
use crate::store::{ComponentId, Generation, Revision};

/// How often a call that waits for its component looks whether it is there.
const POLL: Duration = Duration::from_millis(5);
/// What could not be loaded is tried again after the first pause, then after twice as long, up to
/// the last: a disk that was full, a process that could not be started.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);
/// Links what was loaded.
type Link<T> = Box<dyn Fn(Loaded) -> Result<T, Error> + Send + Sync>;

/// A component whose generation follows the store. The one pointer to what is active: another
/// generation is another component, calls in flight end on the one they began with, and it is freed
/// with the last of them.
pub(crate) struct Slot<T> {
    id: ComponentId,
    loader: Arc<Loader>,
    link: Link<T>,
    current: RwLock<Option<Current<T>>>,
    loading: Mutex<Option<Failed>>,
    /// A thread of this process loads.
    is_loading: AtomicBool,
}

/// What calls run on.
struct Current<T> {
    component: Arc<T>,
    /// Of the store, when it was loaded.
    revision: Revision,
    generation: u64,
    version: Arc<str>,
    /// It serves because the active one could not be loaded.
    is_stand_in: bool,
}

impl<T> Current<T> {
    /// Nothing else is to be loaded. Removed under a running server, what is loaded goes on.
    fn is_settled(&self, revision: Option<Revision>) -> bool {
        revision.is_none_or(|revision| revision == self.revision && !self.is_stand_in)
    }
}

impl<T> Clone for Current<T> {
    fn clone(&self) -> Self {
        Self {
            component: Arc::clone(&self.component),
            revision: self.revision,
            generation: self.generation,
            version: Arc::clone(&self.version),
            is_stand_in: self.is_stand_in,
        }
    }
}

/// What could not be loaded, and why.
struct Failed {
    revision: Option<Revision>,
    error: Error,
    /// Not tried again before, by what has not to be loaded for a call.
    retry_at: Instant,
    backoff: Backoff,
}

impl<T: Send + Sync + 'static> LoadsInBackground for Slot<T> {
    fn serving(&self) -> Serving {
        let current = self.current();
        let revision = self.loader.store.revision(&self.id);
        let active = self.loader.active(&self.id);
        let number = active.as_ref().ok().map(|active| active.number);
        let failed = match self.loading.try_lock() {
            Ok(failed) => failed
                .as_ref()
                .filter(|failed| failed.revision == revision)
                .map(|failed| failed.error.to_string()),
            Err(TryLockError::Poisoned(_)) => None,
            Err(TryLockError::WouldBlock) => Some(BEING_LOADED.to_owned()),
        };
        let generation = current.as_ref().map(|current| current.generation);
        let why_not = match (generation, &active) {
            (generation, Ok(active)) if generation == Some(active.number) => None,
            (_, Err(error)) => Some(error.to_string()),
            (None, _) => Some(failed.unwrap_or_else(|| NOT_NEEDED_YET.to_owned())),
            (Some(_), _) => Some(failed.unwrap_or_else(|| "the next call loads it".to_owned())),
        };
        let version = current.map(|current| current.version.to_string());
        Serving {
            kind: self.id.world.noun().to_owned(),
            component: self.id.name.to_string(),
            generation,
            version,
            active: number,
            why_not,
        }
    }

    fn load_if_due(self: Arc<Self>) {
        let revision = self.loader.store.revision(&self.id);
        let is_settled = match self.current() {
            Some(current) => current.is_settled(revision),
            // Nothing was installed under this name yet.
            None => revision.is_none(),
        };
        if !is_settled && self.may_try(revision) {
            self.begin_to_load();
        }
    }
}

impl<T: Send + Sync + 'static> Slot<T> {
    pub(crate) fn new(
        id: ComponentId,
        loader: &Arc<Loader>,
        link: impl Fn(Loaded) -> Result<T, Error> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let slot = Arc::new(Self {
            id,
            loader: Arc::clone(loader),
            link: Box::new(link),
            current: RwLock::new(None),
            loading: Mutex::new(None),
            is_loading: AtomicBool::new(false),
        });
        let slot_to_load: Arc<dyn LoadsInBackground> = slot.clone();
        loader
            .slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::downgrade(&slot_to_load));
        slot
    }

    /// The same for whoever is asked without a call.
    pub(crate) fn get_within(self: &Arc<Self>, time: Duration) -> Result<Arc<T>, Error> {
        self.get(&Call::until(self.loader.clock.now().saturating_add(time)))
    }

    fn current(&self) -> Option<Current<T>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The component of the active generation, or of the one that serves in its place.
    pub(crate) fn get(self: &Arc<Self>, call: &Call) -> Result<Arc<T>, Error> {
        let revision = self.loader.store.revision(&self.id);
        match self.current() {
            Some(current) if current.is_settled(revision) => Ok(current.component),
            Some(current) => Ok(self.follow(revision, call).unwrap_or(current.component)),
            None if self.loader.is_server() => self.first(call),
            None => {
                let mut failed = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
                self.load(&mut failed, &|| self.is_waited_for(call))
            }
        }
    }

    /// The component of the active generation where nothing has to be loaded first.
    pub(crate) fn at_hand(&self) -> Option<Arc<T>> {
        let revision = self.loader.store.revision(&self.id);
        let current = self.current()?;
        let is_active = revision.is_none_or(|revision| revision == current.revision);
        is_active.then_some(current.component)
    }

    fn is_waited_for(&self, call: &Call) -> bool {
        !call.is_cancelled() && !call.remaining(self.loader.clock.now()).is_zero()
    }

    /// Takes over another generation on one thread, while the others go on with what they have.
    /// What has to be compiled first is not waited for in a server.
    fn follow(self: &Arc<Self>, revision: Option<Revision>, call: &Call) -> Option<Arc<T>> {
        if !self.may_try(revision) {
            return None;
        }
        let active = self.loader.active(&self.id);
        if self.loader.is_server()
            && active.as_ref().is_ok_and(|active| !self.loader.is_compiled(active))
        {
            self.begin_to_load();
            return None;
        }
        let mut failed = self.loading.try_lock().ok()?;
        self.load(&mut failed, &|| self.is_waited_for(call)).ok()
    }

    /// Whether nobody loads, and what failed before is to be tried again.
    fn may_try(&self, revision: Option<Revision>) -> bool {
        let Ok(failed) = self.loading.try_lock() else { return false };
        let now = self.loader.clock.now();
        failed.as_ref().is_none_or(|failed| failed.revision != revision || failed.retry_at <= now)
    }

    /// Waits for a thread that loads, as long as the call may.
    fn first(self: &Arc<Self>, call: &Call) -> Result<Arc<T>, Error> {
        self.begin_to_load();
        loop {
            let is_over = !self.is_loading.load(Ordering::Acquire);
            if let Some(current) = self.current() {
                return Ok(current.component);
            }
            if is_over {
                let failed = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
                let error = failed.as_ref().map(|failed| failed.error.clone());
                return Err(error.unwrap_or_else(|| being_loaded(&self.id)));
            }
            if !self.is_waited_for(call) {
                return Err(being_loaded(&self.id));
            }
            self.loader.clock.sleep(POLL, call);
        }
    }

    /// One thread for each component, however many calls wait for it.
    fn begin_to_load(self: &Arc<Self>) {
        if self.is_loading.swap(true, Ordering::AcqRel) {
            return;
        }
        let loading = LoadingGuard(Arc::clone(self));
        let load = move || {
            let slot = &loading.0;
            let mut failed = slot.loading.lock().unwrap_or_else(PoisonError::into_inner);
            // What fails is remembered there.
            let _ = slot.load(&mut failed, &|| true);
        };
        if let Err(error) = std::thread::Builder::new().name("load".to_owned()).spawn(load) {
            let error =
                host_error(format!("cannot start a thread that loads {}: {error}", self.id));
            let revision = self.loader.store.revision(&self.id);
            let mut failed = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
            self.remember(&mut failed, revision, &error);
        }
    }

    /// Loads the active generation. Where it cannot be loaded and nothing serves, the nearest
    /// before it that can: a host that was replaced may meet a component that it cannot run.
    fn load(
        &self,
        failed: &mut MutexGuard<'_, Option<Failed>>,
        may_wait: &dyn Fn() -> bool,
    ) -> Result<Arc<T>, Error> {
        let current = self.current();
        // Read before loading: a swap in between is then noticed by the next call.
        let revision = self.loader.store.revision(&self.id);
        if let Some(current) = current.as_ref().filter(|current| current.is_settled(revision)) {
            return Ok(Arc::clone(&current.component));
        }
        let linked = |generation: &Generation| {
            (self.link)(self.loader.load(generation, may_wait)?).map(Arc::new)
        };
        let active = self.loader.active(&self.id);
        let error = match active.as_ref().map_err(Clone::clone).and_then(linked) {
            Ok(next) => {
                **failed = None;
                if let Ok(active) = &active {
                    if let Some(before) = current.map(|current| current.generation) {
                        let generation = active.number;
                        tracing::info!(component = %self.id, before, generation, "now serving another generation");
                    }
                    self.serve(&next, revision, active, false);
                }
                return Ok(next);
            }
            Err(error) => error,
        };
        let is_news = self.remember(failed, revision, &error);
        let (active, mut serving) =
            (active.ok(), current.as_ref().map(|current| current.generation));
        let mut stand_in = None;
        if current.is_none() && active.is_some() {
            stand_in = self.loader.previous(&self.id).into_iter().find_map(|generation| {
                let component = linked(&generation).ok()?;
                self.serve(&component, revision, &generation, true);
                serving = Some(generation.number);
                Some(component)
            });
        }
        if is_news {
            let active = active.map(|active| active.number);
            tracing::warn!(component = %self.id, active, serving, %error, "the active generation cannot be loaded; it is tried again");
        }
        stand_in.ok_or(error)
    }

    /// Says whether this is another failure than the one before.
    fn remember(
        &self,
        failed: &mut Option<Failed>,
        revision: Option<Revision>,
        error: &Error,
    ) -> bool {
        let before = failed.take().filter(|failed| failed.revision == revision);
        let mut backoff = before
            .as_ref()
            .map_or(Backoff::between(FIRST_RETRY, LAST_RETRY), |before| before.backoff);
        let is_news = before.is_none_or(|before| before.error != *error);
        self.loader.components.fail(&self.id, revision);
        let retry_at = self.loader.clock.now().saturating_add(backoff.next_pause());
        *failed = Some(Failed { revision, error: error.clone(), retry_at, backoff });
        is_news
    }

    fn serve(
        &self,
        component: &Arc<T>,
        revision: Option<Revision>,
        generation: &Generation,
        is_stand_in: bool,
    ) {
        let Some(revision) = revision else { return };
        self.loader.components.serve(&self.id, generation.number);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Current {
            component: Arc::clone(component),
            revision,
            generation: generation.number,
            version: (*generation.manifest.version).into(),
            is_stand_in,
        });
    }
}

/// The thread that loads; however it ends, another one may begin.
struct LoadingGuard<T>(Arc<Slot<T>>);

impl<T> Drop for LoadingGuard<T> {
    fn drop(&mut self) {
        self.0.is_loading.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use wharf_core::ErrorKind;
    use wharf_core::ports::Clock;
    use wharf_runtime::EngineMode;

    use wharf_testing::fakes::FakeClock;

    use super::*;
    use crate::test_store::{TestStore, disk};

    fn call() -> Call {
        Call::until(Duration::from_secs(3600))
    }

    fn loader(bed: &TestStore, mode: EngineMode) -> (Arc<Loader>, Arc<FakeClock>) {
        let clock = Arc::new(FakeClock::default());
        (Arc::new(Loader::new(bed.store.clone(), mode, clock.clone())), clock)
    }

    #[test]
    fn the_generation_before_serves_where_the_active_one_cannot() {
        let bed = TestStore::new();
        for version in ["1.0.0", "2.0.0"] {
            bed.store.activate(&disk(), bed.checked(version)).unwrap();
        }
        let (loader, _) = loader(&bed, EngineMode::OnDemand);
        let link = |loaded: Loaded| match loaded.generation {
            2 => Err(Error::internal("it needs another host")),
            generation => Ok(generation),
        };
        let slot = Slot::new(disk(), &loader, link);
        assert!(slot.at_hand().is_none());
        assert_eq!((*slot.get(&call()).unwrap(), *slot.get(&call()).unwrap()), (1, 1));
        assert_eq!(loader.components().all()[&disk()].failures, 1);
        let serving = slot.serving();
        assert_eq!((serving.generation, serving.active), (Some(1), Some(2)));
        assert!(serving.why_not.unwrap().contains("another host"));
        assert_eq!(slot.at_hand().as_deref(), Some(&1));
        bed.store.activate(&disk(), bed.checked("3.0.0")).unwrap();
        assert!(slot.at_hand().is_none());
        assert_eq!(*slot.get(&call()).unwrap(), 3);
        let none = Slot::new(disk(), &loader, |_: Loaded| {
            Err::<u64, _>(Error::internal("it needs another host"))
        });
        assert!(none.get(&call()).unwrap_err().message.contains("another host"));
    }

    #[test]
    fn a_call_in_flight_keeps_the_generation_that_it_began_with_and_frees_it_at_its_end() {
        let bed = TestStore::new();
        bed.store.activate(&disk(), bed.checked("1.0.0")).unwrap();
        let (loader, _) = loader(&bed, EngineMode::OnDemand);
        let slot = Slot::new(disk(), &loader, |loaded: Loaded| Ok(loaded.generation));
        let in_flight = slot.get(&call()).unwrap();
        bed.store.activate(&disk(), bed.checked("2.0.0")).unwrap();
        assert_eq!((*slot.get(&call()).unwrap(), *in_flight), (2, 1));
        let old = Arc::downgrade(&in_flight);
        drop(in_flight);
        assert!(old.upgrade().is_none());
    }

    /// A slot whose first attempts at this generation fail, as on a disk that is full.
    fn failing(loader: &Arc<Loader>, number: u64, times: usize) -> (Arc<Slot<u64>>, Attempts) {
        let attempts = Attempts::default();
        let counted = Arc::clone(&attempts);
        let link = move |loaded: Loaded| {
            if loaded.generation == number {
                let before = counted.fetch_add(1, Ordering::SeqCst);
                if before < times {
                    return Err(Error::internal("no space left"));
                }
            }
            Ok(loaded.generation)
        };
        (Slot::new(disk(), loader, link), attempts)
    }

    type Attempts = Arc<std::sync::atomic::AtomicUsize>;

    #[test]
    fn what_failed_to_load_is_tried_again_by_itself_with_growing_pauses() {
        let bed = TestStore::new();
        for version in ["1.0.0", "2.0.0"] {
            bed.store.activate(&disk(), bed.checked(version)).unwrap();
        }
        let (loader, clock) = loader(&bed, EngineMode::OnDemand);
        let (slot, attempts) = failing(&loader, 2, 3);
        let get = || *slot.get(&call()).unwrap();
        let attempts = || attempts.load(Ordering::SeqCst);
        assert_eq!((get(), get(), attempts()), (1, 1, 1), "not on every call");
        for (usual, serving) in [(1000, 1), (2000, 1), (4000, 2)] {
            // A quarter less than usual, or more, and no other.
            let before = attempts();
            clock.sleep(Duration::from_millis(usual * 3 / 4 - 1), &call());
            assert_eq!((get(), attempts()), (1, before));
            clock.sleep(Duration::from_millis(usual / 2 + 1), &call());
            assert_eq!((get(), attempts()), (serving, before + 1));
        }
        assert_eq!(slot.serving().why_not, None);
    }

    #[test]
    fn a_server_loads_without_a_call_and_a_call_waits_no_longer_than_it_may() {
        let bed = TestStore::new();
        bed.store.activate(&disk(), bed.checked("1.0.0")).unwrap();
        let (loader, clock) = loader(&bed, EngineMode::Pooled { slots: 1 });
        let gate = Arc::new(Mutex::new(()));
        let closed = gate.lock().unwrap();
        let own = Arc::clone(&gate);
        let slot = Slot::new(disk(), &loader, move |loaded: Loaded| {
            let _open = own.lock().unwrap();
            Ok(loaded.generation)
        });
        let hurried = Call::until(clock.now() + Duration::from_secs(1));
        let error = slot.get(&hurried).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.message.contains("is being compiled"), "{error}");
        assert!(clock.now() < Duration::from_secs(2));
        drop(closed);
        loader.load_in_background();
        while slot.current().is_none() {
            std::thread::yield_now();
        }
        assert_eq!(*slot.get(&hurried).unwrap(), 1);
    }
}

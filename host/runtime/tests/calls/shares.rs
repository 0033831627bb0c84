//! What calls of several backends may take of one process, together.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use wharf_core::ErrorKind;
use wharf_core::ports::Describe as _;
use wharf_core::types::{ResourceId, VolumeId};
use wharf_core::verbs::{AskExt as _, Observe};
use wharf_runtime::{CALLS_AT_ONCE, Outcome};

use crate::fixture::{Bench, does, ok};

/// Far above what a call takes on a busy machine, and far below what would hold it up here.
const SOON: Duration = Duration::from_secs(10);

/// A cloud that answers nobody until it is told to.
#[derive(Default)]
struct Hanging {
    arrived: AtomicUsize,
    most: AtomicUsize,
    is_over: Mutex<bool>,
    told: Condvar,
}

impl Hanging {
    fn wait(&self) {
        let arrived = self.arrived.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(arrived, Ordering::SeqCst);
        let is_over = self.is_over.lock().unwrap();
        drop(self.told.wait_while(is_over, |is_over| !*is_over).unwrap());
        self.arrived.fetch_sub(1, Ordering::SeqCst);
    }

    /// Until so many have arrived.
    fn wait_for(&self, calls: usize) {
        let end = Instant::now() + Duration::from_secs(60);
        while self.arrived.load(Ordering::SeqCst) < calls {
            assert!(Instant::now() < end, "only {:?} of {calls} arrive", self.arrived);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn end(&self) {
        *self.is_over.lock().unwrap() = true;
        self.told.notify_all();
    }
}

fn hanging() -> (Bench, Arc<Hanging>) {
    let cloud = Arc::<Hanging>::default();
    let asked = Arc::clone(&cloud);
    let bench = Bench::new().answering(move |request| {
        if request.path == "/slow" {
            asked.wait();
        }
        Ok(ok())
    });
    (bench, cloud)
}

#[test]
fn three_hundred_calls_that_hang_hold_up_no_other_backend_and_no_look() {
    let ((bench, cloud), other) = (hanging(), Bench::new());
    let backend = bench.backend();
    std::thread::scope(|scope| {
        for _ in 0..300 {
            scope.spawn(|| does(&backend, &bench.call(), "send cloud - mutate - POST /slow"));
        }
        cloud.wait_for(CALLS_AT_ONCE);
        let start = Instant::now();
        other.does("nothing").unwrap();
        backend.description(&bench.call()).unwrap();
        let seen = [ResourceId::volume(&VolumeId::new("nothing"))];
        let looked = backend.call::<Observe>(&bench.call(), &seen);
        assert!(!matches!(looked, Err(error) if error.kind == ErrorKind::Unavailable));
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
        cloud.end();
    });
    assert_eq!(cloud.most.load(Ordering::SeqCst), CALLS_AT_ONCE);
}

#[test]
fn calls_that_fill_their_memory_do_so_in_turn() {
    let (bench, cloud) = hanging();
    cloud.end();
    let backend = bench.backend();
    // The first one teaches what such calls need.
    let fill = "fill 60 cloud - read - GET /slow";
    assert!(does(&backend, &bench.call(), fill).unwrap_err().message.contains("status 200"));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let error = does(&backend, &bench.call(), fill).unwrap_err();
                assert!(error.message.contains("status 200"), "{error}");
            });
        }
    });
    assert_eq!(cloud.most.load(Ordering::SeqCst), 1, "of 80 MiB one call takes 60");
}

#[test]
fn a_call_that_finds_no_memory_left_by_others_is_repeated_and_no_defect() {
    let (bench, cloud) = hanging();
    let backend = bench.backend();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            does(&backend, &bench.call(), "fill 60 cloud - read - GET /slow").unwrap_err()
        });
        cloud.wait_for(1);
        let refused = does(&backend, &bench.call(), "fill 60 cloud - read - GET /ok").unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Unavailable, "{refused}");
        assert!(refused.message.contains("no memory for it"), "{refused}");
        cloud.end();
        assert!(first.join().unwrap().message.contains("status 200"));
    });
    assert_eq!(backend.code().health().1, 0, "nothing broke");
    let heard = bench.heard.0.lock().unwrap();
    assert!(heard.iter().all(|heard| !matches!(heard.outcome, Outcome::Broken(_))));
}

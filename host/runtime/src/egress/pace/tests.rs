use super::*;

fn waiter(asker: &str, action: &str, effect: RequestEffect) -> Waiter {
    Waiter { asker: asker.into(), action: action.to_owned(), effect }
}

fn change(asker: &str, action: &str) -> Waiter {
    waiter(asker, action, RequestEffect::Mutate)
}

fn read(asker: &str, action: &str) -> Waiter {
    waiter(asker, action, RequestEffect::Read)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn join(queue: &mut Queue, count: usize, mut waiter: impl FnMut() -> Waiter) -> Vec<u64> {
    (0..count).map(|_| queue.join(waiter())).collect()
}

/// Who goes next, again and again, each ending at once with the same verdict.
fn drain(queue: &mut Queue, now: Duration, verdict: Verdict) -> Vec<u64> {
    std::iter::from_fn(|| {
        let (number, at) = queue.next(now)?;
        let started = queue.start(number, at, 0.5)?;
        queue.end(started, at, verdict, 0.5);
        Some(number)
    })
    .collect()
}

/// A cloud's limit: a bucket that refills evenly and is empty at first.
struct Bucket {
    per_second: f64,
    level: f64,
    at: Duration,
}

impl Bucket {
    fn admits(&mut self, now: Duration) -> bool {
        self.level += (now - self.at).as_secs_f64() * self.per_second;
        self.at = now;
        let admits = self.level >= 1.0;
        self.level -= if admits { 1.0 } else { 0.0 };
        admits
    }
}

/// So many operations at a limit that is used up.
fn at_a_limit(operations: usize, per_second: f64) -> (Duration, usize) {
    let mut bucket = Bucket { per_second, level: 0.0, at: Duration::ZERO };
    until_admitted(operations, |now| bucket.admits(now))
}

/// So many operations; refused ones come back later. When the last one was admitted, and how many
/// requests it took.
fn until_admitted(
    operations: usize,
    mut admits: impl FnMut(Duration) -> bool,
) -> (Duration, usize) {
    const ANSWERS_AFTER: Duration = ms(5);
    let mut queue = Queue::new(REQUESTS_AT_ONCE);
    let (mut now, mut sent, mut admitted) = (Duration::ZERO, 0, 0);
    let mut random = (0_u32..).map(|n| f64::from(u16::try_from(n * 7919 % 1000).unwrap()) / 1000.0);
    let (mut under_way, mut coming_back) = (Vec::new(), Vec::new());
    join(&mut queue, operations, || change("disk", "AttachDisk"));
    while admitted < operations {
        while let Some(started) =
            queue.next(now).and_then(|(number, _)| queue.start(number, now, random.next().unwrap()))
        {
            sent += 1;
            under_way.push((now + ANSWERS_AFTER, started, admits(now)));
        }
        let (ended, still): (Vec<_>, Vec<_>) =
            under_way.into_iter().partition(|(at, _, _)| *at <= now);
        under_way = still;
        for (_, started, is_admitted) in ended {
            let verdict = if is_admitted { Verdict::Answered } else { Verdict::Throttled(None) };
            queue.end(started, now, verdict, random.next().unwrap());
            match is_admitted {
                true => admitted += 1,
                false => coming_back.push(now + ms(1000)),
            }
        }
        let before = coming_back.len();
        coming_back.retain(|at| *at > now);
        join(&mut queue, before - coming_back.len(), || change("disk", "AttachDisk"));
        let ends = under_way.iter().map(|(at, _, _)| *at);
        let next = queue.next(now).map(|(_, at)| at);
        let events = ends.chain(coming_back.iter().copied()).chain(next);
        now = events.filter(|at| *at > now).min().unwrap_or(now);
    }
    (now, sent)
}

#[test]
fn a_limit_that_is_used_up_costs_little_more_than_it_must() {
    for (operations, per_second) in [(300, 500.0 / 60.0), (300, 100.0 / 60.0), (900, 15.0)] {
        let bound = operations as f64 / per_second;
        let (took, sent) = at_a_limit(operations, per_second);
        assert!(took.as_secs_f64() <= 1.05 * bound, "{took:?} against {bound} s");
        assert!(sent * 100 <= operations * 115, "{sent} requests for {operations}");
    }
}

#[test]
fn what_is_refused_by_chance_does_not_make_a_lane_slower_and_slower() {
    for (refused_in_ten, seconds_each) in [(1, 0.1), (2, 0.25), (3, 0.4)] {
        let mut seed = 1_u32;
        // Numerical Recipes' generator: the same refusals in every run.
        let mut chance = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed / (1 << 16) % 10
        };
        let (took, _) = until_admitted(300, |_| chance() >= refused_in_ten);
        assert!(took.as_secs_f64() <= 300.0 * seconds_each, "{refused_in_ten} in ten: {took:?}");
    }
}

#[test]
fn a_limit_that_becomes_lower_is_followed() {
    let mut bucket = Bucket { per_second: 15.0, level: 0.0, at: Duration::ZERO };
    let (took, sent) = until_admitted(900, |now| {
        if now > Duration::from_secs(30) {
            bucket.per_second = 3.0;
        }
        bucket.admits(now)
    });
    assert!(took.as_secs_f64() <= 1.05 * (30.0 + 450.0 / 3.0), "{took:?}");
    assert!(sent <= 900 * 14 / 10, "{sent} requests");
}

#[test]
fn a_limit_that_is_whole_is_used_at_once() {
    let mut queue = Queue::new(REQUESTS_AT_ONCE);
    join(&mut queue, 300, || change("disk", "AttachDisk"));
    assert_eq!(drain(&mut queue, Duration::ZERO, Verdict::Answered).len(), 300);
}

#[test]
fn refusals_of_one_moment_count_once() {
    let mut lane = lane::Lane::default();
    let epochs: Vec<u64> = (0..10).map(|_| lane.start(ms(0), 0.5)).collect();
    epochs.iter().for_each(|epoch| lane.end(*epoch, ms(5), Verdict::Throttled(None), 0.0));
    assert_eq!(lane.opens_at(), ms(5 + 250));
    lane.start(ms(255), 0.5);
    assert_eq!(lane.opens_at(), ms(255 + 50));
}

#[test]
fn an_answer_to_what_left_before_the_refusal_does_not_undo_it() {
    let mut lane = lane::Lane::default();
    let (refused, answered) = (lane.start(ms(0), 0.5), lane.start(ms(0), 0.5));
    lane.end(refused, ms(5), Verdict::Throttled(None), 0.0);
    (0..1000).for_each(|_| lane.end(answered, ms(6), Verdict::Answered, 0.0));
    lane.start(ms(300), 0.5);
    assert_eq!(lane.opens_at(), ms(350));
}

#[test]
fn what_was_not_answered_teaches_nothing() {
    let mut lane = lane::Lane::default();
    let epoch = lane.start(ms(0), 0.5);
    lane.end(epoch, ms(5), Verdict::Throttled(None), 0.0);
    for _ in 0..28 {
        let epoch = lane.start(ms(300), 0.5);
        lane.end(epoch, ms(300), Verdict::Unknown, 0.0);
    }
    assert_eq!(lane.opens_at(), ms(350), "28 of them take nothing of the distance");
}

#[test]
fn an_outage_that_ends_leaves_no_long_distance_behind() {
    let (mut lane, mut now) = (lane::Lane::default(), Duration::ZERO);
    for _ in 0..20 {
        now = now.max(lane.opens_at());
        let epoch = lane.start(now, 0.5);
        lane.end(epoch, now, Verdict::Throttled(None), 0.0);
    }
    assert_eq!(lane.opens_at() - now, Duration::from_secs(10), "it is asked every ten seconds");
    now = lane.opens_at();
    lane.start(now, 0.5);
    assert_eq!(lane.opens_at() - now, ms(50));
}

#[test]
fn the_cloud_may_say_how_long_it_wants_to_be_left_alone() {
    for (asked, pause) in
        [(3, 3), (3600, 10)].map(|(a, b)| (Duration::from_secs(a), Duration::from_secs(b)))
    {
        let mut lane = lane::Lane::default();
        let epoch = lane.start(ms(0), 0.5);
        lane.end(epoch, ms(0), Verdict::Throttled(Some(asked)), 0.0);
        assert_eq!(lane.opens_at(), pause);
    }
}

#[test]
fn what_was_learned_is_forgotten_after_a_quiet_minute() {
    let mut lane = lane::Lane::default();
    let epoch = lane.start(ms(0), 0.5);
    lane.end(epoch, ms(0), Verdict::Throttled(None), 0.0);
    assert!(lane.is_slowed(ms(1_000)) && !lane.is_forgotten(ms(60_000)));
    lane.start(ms(60_250), 0.5);
    assert!(!lane.is_slowed(ms(60_251)));
}

#[test]
fn a_refused_action_holds_up_no_other_action() {
    let mut queue = Queue::new(REQUESTS_AT_ONCE);
    let attach = queue.join(change("disk", "AttachDisk"));
    let started = queue.start(attach, ms(0), 0.5).unwrap();
    queue.end(started, ms(0), Verdict::Throttled(None), 0.0);
    let (again, other) =
        (queue.join(change("disk", "AttachDisk")), queue.join(read("disk", "DescribeDisks")));
    assert_eq!(queue.next(ms(0)), Some((other, ms(0))));
    assert!(!queue.leave(other, ms(0)), "it was not held back");
    assert_eq!(queue.next(ms(0)), Some((again, ms(250))));
}

#[test]
fn the_first_come_go_first_and_looks_before_changes() {
    let mut queue = Queue::new(REQUESTS_AT_ONCE);
    let changes = join(&mut queue, 3, || change("disk", "AttachDisk"));
    let reads = join(&mut queue, 2, || read("disk", "DescribeDisks"));
    let order = drain(&mut queue, ms(0), Verdict::Answered);
    assert_eq!(order, [reads, changes].concat());
}

#[test]
fn backends_take_turns_however_many_requests_one_of_them_has() {
    let mut queue = Queue::new(REQUESTS_AT_ONCE);
    let many = join(&mut queue, 100, || read("nas", "DescribeZones"));
    let few = join(&mut queue, 2, || change("disk", "AttachDisk"));
    let order = drain(&mut queue, ms(0), Verdict::Answered);
    let place = |number: &u64| order.iter().position(|other| other == number).unwrap();
    assert!(few.iter().all(|number| place(number) <= 4), "{order:?}");
    assert!(place(&many[0]) <= 1, "{order:?}");
}

#[test]
fn changes_leave_room_for_looks() {
    let mut queue = Queue::new(REQUESTS_AT_ONCE);
    join(&mut queue, 100, || change("disk", "AttachDisk"));
    let mut under_way = Vec::new();
    while let Some((number, _)) = queue.next(ms(0)) {
        under_way.push(queue.start(number, ms(0), 0.5).unwrap());
    }
    assert_eq!(under_way.len(), 12);
    join(&mut queue, 100, || read("disk", "DescribeDisks"));
    while let Some((number, _)) = queue.next(ms(0)) {
        under_way.push(queue.start(number, ms(0), 0.5).unwrap());
    }
    assert_eq!(under_way.len(), REQUESTS_AT_ONCE);
}

#[test]
fn a_guest_cannot_fill_memory_with_names_of_actions() {
    let mut queue = Queue::new(REQUESTS_AT_ONCE);
    let mut names = (0..).map(|n| format!("Describe{n}"));
    join(&mut queue, 300, || read("disk", &names.next().unwrap()));
    assert_eq!(drain(&mut queue, ms(0), Verdict::Answered).len(), 300);
    assert!(queue.lanes() <= 65, "{}", queue.lanes());
}

fn wanted<'a>(asker: &'a Arc<str>, endpoint: &'a str) -> Wanted<'a> {
    Wanted {
        asker,
        account: Some("main"),
        endpoint,
        action: "AttachDisk",
        effect: RequestEffect::Mutate,
    }
}

fn call() -> Call {
    Call::until(Duration::MAX)
}

#[test]
fn an_endpoint_that_does_not_answer_holds_up_itself_alone() {
    let (pace, asker) = (Pace::new(REQUESTS_AT_ONCE), Arc::from("disk"));
    let soon = || Instant::now() + ms(50);
    let hanging: Vec<Turn> =
        (0..12).map(|_| pace.turn(wanted(&asker, "hanging"), &call(), soon()).unwrap()).collect();
    let error = pace.turn(wanted(&asker, "hanging"), &call(), soon()).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.message.contains("nothing was sent"), "{error}");
    assert!(pace.turn(wanted(&asker, "other"), &call(), Instant::now()).is_ok());
    let of_another = Wanted { account: Some("other"), ..wanted(&asker, "hanging") };
    assert!(pace.turn(of_another, &call(), Instant::now()).is_ok());
    drop(hanging);
    assert!(pace.turn(wanted(&asker, "hanging"), &call(), Instant::now()).is_ok());
}

#[test]
fn whoever_waits_is_woken_when_a_turn_ends_or_its_caller_has_gone() {
    let (pace, asker) = (Pace::new(1), Arc::from("disk"));
    let late = Instant::now() + Duration::from_secs(60);
    let first = pace.turn(wanted(&asker, "e"), &call(), late).unwrap();
    let gone = call();
    std::thread::scope(|scope| {
        let (pace, asker, gone) = (&pace, &asker, &gone);
        let waits = scope.spawn(move || pace.turn(wanted(asker, "e"), &call(), late).is_ok());
        let leaves = scope.spawn(move || pace.turn(wanted(asker, "e"), gone, late).err());
        gone.cancel();
        assert!(leaves.join().unwrap().unwrap().message.contains("stopped waiting"));
        drop(first);
        assert!(waits.join().unwrap());
    });
}

#[test]
fn a_turn_that_does_not_come_because_the_cloud_refuses_is_throttled() {
    let (pace, asker) = (Pace::new(REQUESTS_AT_ONCE), Arc::from("disk"));
    let mut turn = pace.turn(wanted(&asker, "e"), &call(), Instant::now()).unwrap();
    turn.answered(&response(429, "", &[]), &[]);
    drop(turn);
    let error = pace.turn(wanted(&asker, "e"), &call(), Instant::now() + ms(20)).err().unwrap();
    assert_eq!((error.kind, error.effect), (ErrorKind::Throttled, wharf_core::Effect::None));
}

fn response(status: u16, body: &str, headers: &[(&str, &str)]) -> Response {
    let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    Response { status, headers: headers.collect(), body: body.as_bytes().to_vec() }
}

#[test]
fn a_refusal_is_known_by_its_status_or_by_the_signers_codes() {
    let codes = ["Throttling".to_owned(), "SlowDown".to_owned(), String::new()];
    let slows = Verdict::Throttled(None);
    for (status, body, expected) in [
        (429, "", slows),
        (503, "<html>", slows),
        (400, r#"{"RequestId":"1","Code":"Throttling.User","Message":"no"}"#, slows),
        (400, "{ \"Code\" : \"Throttling\" }", slows),
        (403, "<Error>\n<Code>SlowDown</Code></Error>", slows),
        (
            400,
            r#"{"Code":"InvalidParameter","Message":"about Throttling of it"}"#,
            Verdict::Answered,
        ),
        (400, r#"{"Code":"NotThrottling"}"#, Verdict::Answered),
        (404, "", Verdict::Answered),
        (200, r#"{"Code":"Throttling.User"}"#, Verdict::Answered),
        (500, "", Verdict::Unknown),
    ] {
        assert_eq!(verdict(&response(status, body, &[]), &codes), expected, "{status} {body}");
    }
    assert_eq!(
        verdict(&response(429, "", &[("retry-after", "3")]), &[]),
        Verdict::Throttled(Some(Duration::from_secs(3)))
    );
    let date = [("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")];
    assert_eq!(verdict(&response(429, "", &date), &[]), slows);
}

#[test]
fn a_moment_tells_what_is_under_way_what_waits_and_which_actions_are_held_back() {
    let mut queue = Queue::new(1);
    join(&mut queue, 2, || change("disk", "AttachDisk"));
    let (number, at) = queue.next(ms(0)).unwrap();
    let started = queue.start(number, at, 0.5).unwrap();
    assert_eq!(queue.moment(ms(0)), (1, 1, vec![]));
    queue.end(started, ms(1), Verdict::Throttled(None), 0.0);
    let (under_way, waiting, slowed) = queue.moment(ms(1));
    assert_eq!((under_way, waiting), (0, 1));
    let told: Vec<_> = slowed.iter().map(|it| (it.action.as_str(), it.opens_in)).collect();
    assert_eq!(told, [("AttachDisk", ms(250))]);
}

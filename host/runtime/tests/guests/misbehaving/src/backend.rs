//! The backend: one deed for each volume id.

#[allow(warnings, reason = "generated code")]
mod bindings {
    wit_bindgen::generate!({
        path: "../../../../../wit",
        inline: "
            package test:misbehaving;
            world guest {
                include wharf:volume/backend@0.1.0;
                include wharf:volume/with-controller@0.1.0;
                include wharf:volume/with-node@0.1.0;
                include wharf:volume/with-legacy@0.1.0;
            }
        ",
        world: "test:misbehaving/guest",
        generate_all,
    });
}

use bindings::exports::wharf::volume::controller::*;
use bindings::exports::wharf::volume::identity::{self, Description, Driver};
use bindings::exports::wharf::volume::legacy::{self, TranslateRequest, Translated};
use bindings::exports::wharf::volume::node::{self, NodeDescription};
use bindings::wharf::volume::plans::{Outcome, Perform, Plan};
use bindings::wharf::volume::types::{
    Blame, Effect, Error, ErrorKind, Observation, Pending, ResourceId,
};
use bindings::wharf::volume::{config, http, log, random};

struct Misbehaving;

impl identity::Guest for Misbehaving {
    fn describe() -> Result<Description, Error> {
        // Nothing is configured while it is checked.
        let capability = match config::get("describe").as_deref() {
            Some("otherwise") => "create",
            Some("never") => spin(),
            _ => "attach",
        };
        Ok(Description {
            name: "misbehaving".into(),
            version: "0.1.0".into(),
            drivers: vec![Driver {
                name: "misbehaving.example.com".into(),
                flexvolume: vec![],
                extensions: vec![],
            }],
            capabilities: vec![capability.into()],
            topology_keys: vec![],
            observe_batch: 10,
            extensions: vec![],
        })
    }
}

impl Guest for Misbehaving {
    fn observe(resources: Vec<ResourceId>) -> Result<Vec<Observation>, Error> {
        let observation = |of: &ResourceId| Observation {
            of: of.clone(),
            found: true,
            state: vec![0; if of.id == "huge-state" { (64 << 10) + 1 } else { 1 }],
            extensions: vec![],
        };
        Ok(resources.iter().filter(|of| of.id != "forgotten").map(observation).collect())
    }

    fn read(_: Observation) -> Result<Volume, Error> {
        send("main", "read", "DescribeDisks").map(|_| volume("d-1"))
    }

    fn create(
        _: CreateRequest,
        _: Vec<Observation>,
        _: Option<String>,
    ) -> Result<CreateAnswer, Error> {
        Err(error("create is not misbehaved with"))
    }

    fn delete(
        request: DeleteRequest,
        _: Vec<Observation>,
        resume: Option<String>,
    ) -> Result<Outcome, Error> {
        let mut words = request.volume_id.split(' ');
        match words.next().unwrap_or_default() {
            "spin" => spin(),
            "allocate" => allocate(),
            "panic" => {
                log::panicked("the author's own words at src/lib.rs:1");
                trap()
            }
            "trap" => trap(),
            "trap-after" => {
                let _ = http::send(&request_of(words));
                trap()
            }
            "fail-after" => {
                let _ = http::send(&request_of(words));
                Err(error("failed after a request"))
            }
            "huge-resume-after" => {
                let _ = http::send(&request_of(words));
                Ok(pending((4 << 10) + 1))
            }
            "send" => Err(outcome(http::send(&request_of(words)))),
            "fill" => {
                let mib = words.next().and_then(|mib| mib.parse().ok()).unwrap_or(0);
                let filled = vec![1_u8; mib << 20];
                let answer = http::send(&request_of(words));
                Err(error(&format!("{} filled, {}", filled.len(), outcome(answer).message)))
            }
            "say-throttled" => {
                let _ = http::send(&request_of(words));
                Err(Error { kind: ErrorKind::Throttled, ..error("slow down, says the guest") })
            }
            "send-and-search" => {
                let inverted = words.next().unwrap_or_default().to_owned();
                let answered = http::send(&request_of(words)).is_ok();
                Err(error(&format!("answered {answered}, found {}", search(&inverted))))
            }
            "send-many" => {
                let count = words.next().and_then(|count| count.parse().ok()).unwrap_or(0);
                let request = request_of(words);
                (0..count).try_for_each(|_| http::send(&request).map(drop))?;
                Ok(Outcome::Done)
            }
            "send-all" => {
                let count = words.next().and_then(|count| count.parse().ok()).unwrap_or(0);
                let requests: Vec<_> = std::iter::repeat_n(request_of(words), count).collect();
                let answered =
                    http::send_all(&requests).into_iter().filter(|answer| answer.is_ok()).count();
                Err(error(&format!("{answered} answered")))
            }
            "send-all-refused" => {
                let count = words.next().and_then(|count| count.parse().ok()).unwrap_or(0);
                let requests: Vec<_> = std::iter::repeat_n(request_of(words), count).collect();
                Err(http::send_all(&requests)
                    .into_iter()
                    .map(outcome)
                    .next_back()
                    .unwrap_or_else(|| error("nothing was sent")))
            }
            "log" => {
                (0..1000).for_each(|_| log::write(log::Level::Info, &"x".repeat(1 << 10)));
                Ok(Outcome::Done)
            }
            "log-nothing" => {
                (0..100_000).for_each(|_| log::write(log::Level::Info, ""));
                Ok(Outcome::Done)
            }
            "random" => {
                let count = words.next().and_then(|count| count.parse().ok()).unwrap_or(0);
                Err(error(&format!("{} bytes", random::bytes(count).len())))
            }
            "huge-resume" => Ok(pending((4 << 10) + 1)),
            "perform" => Ok(perform(&["check"], 1)),
            "perform-unrequested" => Ok(perform(&["check", "format"], 1)),
            "perform-huge-resume" => Ok(perform(&["check"], (4 << 10) + 1)),
            "hoard-plans" => {
                std::mem::forget((0..5).map(|_| Plan::new("")).collect::<Vec<_>>());
                Ok(Outcome::Done)
            }
            "resume" => Err(error(&format!("{resume:?}"))),
            "huge-error" => Err(error(&"e".repeat(1 << 20))),
            "config" => {
                Err(error(&format!("{:?} of {}", config::get("zone"), config::all().len())))
            }
            "cross" => cross(),
            "spin-after" => {
                let _ = http::send(&request_of(words));
                spin()
            }
            #[cfg(feature = "wasi")]
            "sleep" => {
                crate::wasi_bindings::wasi::clocks::monotonic_clock::subscribe_duration(
                    3_600_000_000_000,
                )
                .block();
                Ok(Outcome::Done)
            }
            _ => Ok(Outcome::Done),
        }
    }

    fn attach(
        _: AttachRequest,
        _: Vec<Observation>,
        _: Option<String>,
    ) -> Result<AttachAnswer, Error> {
        Err(error("attach is not misbehaved with"))
    }

    fn detach(
        _: DetachRequest,
        _: Vec<Observation>,
        _: Option<String>,
    ) -> Result<DetachAnswer, Error> {
        Ok(DetachAnswer::Done)
    }

    fn expand(
        _: ExpandRequest,
        _: Vec<Observation>,
        _: Option<String>,
    ) -> Result<ExpandAnswer, Error> {
        Err(error("expand is not misbehaved with"))
    }

    fn modify(_: ModifyRequest, _: Vec<Observation>, _: Option<String>) -> Result<Outcome, Error> {
        Ok(Outcome::Done)
    }

    fn validate(_: ValidateRequest, _: Vec<Observation>) -> Result<Validated, Error> {
        Ok(Validated { confirmed: true, message: String::new(), extensions: vec![] })
    }

    fn list(request: ListRequest) -> Result<Listed, Error> {
        Ok(Listed {
            volumes: (0..=request.max_entries).map(|n| volume(&format!("d-{n}"))).collect(),
            next_token: None,
            extensions: vec![],
        })
    }

    fn capacity(_: CapacityRequest) -> Result<Available, Error> {
        Ok(Available {
            bytes: 0,
            minimum_volume_bytes: None,
            maximum_volume_bytes: None,
            extensions: vec![],
        })
    }
}

impl node::Guest for Misbehaving {
    fn describe_node() -> Result<NodeDescription, Error> {
        Ok(NodeDescription {
            node_id: "i\n1".into(),
            topology: vec![],
            max_volumes: None,
            extensions: vec![],
        })
    }

    fn plan_stage(request: node::StageRequest) -> Result<Plan, Error> {
        match request.volume_id.as_str() {
            "many-steps" => Ok(plan(&["check"; 33])),
            "unrequested-step" => {
                log::write(log::Level::Info, "planning");
                Ok(plan(&["check", "format"]))
            }
            "network" => send("main", "read", "DescribeDisks").map(|_| plan(&[])),
            _ => Ok(plan(&["check"])),
        }
    }

    fn plan_publish(_: node::PublishRequest) -> Result<Plan, Error> {
        Ok(plan(&[]))
    }

    fn plan_expand(_: node::ExpandRequest) -> Result<Plan, Error> {
        Ok(plan(&[]))
    }
}

fn plan(words: &[&str]) -> Plan {
    let plan = Plan::new("");
    for word in words {
        match *word {
            "check" => plan.check("ext4"),
            _ => plan.format("ext4", &[]),
        }
    }
    plan
}

fn perform(words: &[&str], resume: usize) -> Outcome {
    Outcome::Perform(Perform {
        plan: plan(words),
        resume: Some("r".repeat(resume)),
        extensions: vec![],
    })
}

fn volume(id: &str) -> Volume {
    Volume {
        id: id.into(),
        capacity_bytes: 0,
        context: vec![],
        topology: vec![],
        source: None,
        attached_to: vec![],
        condition: None,
        extensions: vec![],
    }
}

impl legacy::Guest for Misbehaving {
    fn translate(_: TranslateRequest) -> Result<Translated, Error> {
        Ok(Translated { volume_id: String::new(), context: vec![], extensions: vec![] })
    }

    fn describe_volume(_: String, _: Volume) -> Result<legacy::LegacyVolume, Error> {
        Err(error("nothing is provisioned"))
    }
}

fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

fn allocate() -> ! {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(vec![1; 1 << 20]);
        std::hint::black_box(&hoard);
    }
}

/// How often bytes stand in this instance's whole linear memory. They are handed over inverted, in
/// hexadecimal, so that the request itself does not put them there.
fn search(inverted: &str) -> usize {
    let digit = |at: usize| {
        inverted.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or(0)
    };
    let wanted: Vec<u8> = (0..inverted.len()).step_by(2).map(digit).collect();
    let size = core::arch::wasm32::memory_size(0) << 16;
    // SAFETY: all of linear memory may be read; address 0 alone is left out, because a reference
    // may not be null.
    let memory = unsafe { std::slice::from_raw_parts(1 as *const u8, size - 1) };
    memory
        .windows(wanted.len())
        .filter(|window| window.iter().zip(&wanted).all(|(byte, inverted)| *byte == !inverted))
        .count()
}

fn trap() -> ! {
    std::process::abort()
}

/// One crossing with more than any honest one has.
fn cross() -> ! {
    loop {
        log::write(log::Level::Debug, &"x".repeat(20 << 20));
    }
}

fn pending(resume: usize) -> Outcome {
    Outcome::Pending(Pending {
        after_ms: 0,
        watch: vec![],
        resume: Some("r".repeat(resume)),
        reason: String::new(),
        extensions: vec![],
    })
}

fn send(account: &str, effect: &str, action: &str) -> Result<http::Response, Error> {
    http::send(&request_of(["cloud", account, effect, action, "GET", "/ok"].into_iter()))
}

/// `endpoint account|- read|mutate action|- METHOD /path [header=value]…`
fn request_of<'a>(mut words: impl Iterator<Item = &'a str>) -> http::Request {
    let mut next = || words.next().unwrap_or_default().to_owned();
    let (endpoint, account, effect, action, method, path) =
        (next(), next(), next(), next(), next(), next());
    let headers = words
        .filter_map(|word| word.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    http::Request {
        endpoint,
        account: (account != "-").then_some(account),
        effect: if effect == "mutate" { http::Effect::Mutate } else { http::Effect::Read },
        action: if action == "-" { String::new() } else { action },
        api: vec![],
        method,
        subdomain: None,
        path,
        query: vec![],
        headers,
        body: vec![],
        extensions: vec![],
    }
}

fn outcome(answer: Result<http::Response, Error>) -> Error {
    match answer {
        Ok(response) if response.status == 401 => {
            Error { kind: ErrorKind::Unauthenticated, ..error("who are you?") }
        }
        Ok(response) => error(&format!(
            "status {} with {} bytes {:?}",
            response.status,
            response.body.len(),
            response.headers
        )),
        Err(error) => error,
    }
}

fn error(message: &str) -> Error {
    Error {
        kind: ErrorKind::Other,
        message: message.into(),
        hint: None,
        blame: Blame::Backend,
        effect: Effect::None,
        code: None,
        observed: false,
        retry_after_ms: None,
        extensions: vec![],
    }
}

bindings::export!(Misbehaving with_types_in bindings);

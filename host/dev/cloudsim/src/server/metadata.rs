//! Calls to an instance's metadata service.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Incoming, Outcome, Outgoing, Record, Service, Shared, lock};
use crate::answer::ApiError;
use crate::faults::{Fault, HoldPoint};

pub(super) async fn handle(instance: usize, shared: Arc<Shared>, incoming: Incoming) -> Outcome {
    let action = format!("{} {}", incoming.method, incoming.path);
    let caller =
        lock(&shared.world).state.instances.get(instance).map(|instance| instance.id.clone());
    let nothing = BTreeMap::new();
    let strike = lock(&shared.faults).strike(&action, caller.as_deref(), &nothing);
    shared.delay(strike.delay_ms).await;
    if strike.fault == Some(Fault::Hold(HoldPoint::Before)) {
        shared.holds.park(&action, &nothing, HoldPoint::Before).await;
    }
    let (status, body) = match &strike.fault {
        Some(Fault::DropRequest) => (0, String::new()),
        Some(Fault::Fail { status, message, .. }) => (*status, message.clone()),
        Some(Fault::Throttle) => (429, ApiError::throttled().message),
        _ => run(instance, &shared, &incoming),
    };
    shared.record(Record {
        service: Service::Metadata(instance),
        arrived: incoming.arrived,
        action: &action,
        caller,
        parameters: &nothing,
        status,
        code: None,
        fault: strike.fault.as_ref().map(Fault::name).or((strike.delay_ms > 0).then_some("delay")),
    });
    if strike.fault == Some(Fault::Hold(HoldPoint::After)) {
        shared.holds.park(&action, &nothing, HoldPoint::After).await;
    }
    let content_type =
        if body.starts_with('{') { "application/json" } else { "text/plain; charset=utf-8" };
    Outcome {
        answer: Outgoing { status: status.max(100), content_type, body, request_id: None },
        fault: strike.fault,
    }
}

fn run(instance: usize, shared: &Shared, incoming: &Incoming) -> (u16, String) {
    let Some(service) = shared.metadata.get(instance) else { return (404, String::new()) };
    let mut world = lock(&shared.world);
    let header = |name: &str| incoming.headers.get(name).map(String::as_str);
    let answer =
        lock(service).answer(&mut world, instance, &incoming.method, &incoming.path, header);
    match world.save() {
        Ok(()) => answer,
        Err(error) => (500, error.to_string()),
    }
}

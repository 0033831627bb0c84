//! Calls in the RPC style: ECS, NAS and STS.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{Incoming, Outcome, Outgoing, Record, Service, Shared, admin, lock};
use crate::access;
use crate::answer::{Answer, ApiError};
use crate::faults::{Fault, HoldPoint, Strike};
use crate::params::Params;
use crate::signature::{self, Claim, SignedRequest};
use crate::text::decode_pairs;
use crate::world::Caller;
use crate::{ecs, identifiers, nas, sts};

/// One call, read.
struct Call {
    service: Service,
    incoming: Incoming,
    action: String,
    version: String,
    params: Params,
    shown: BTreeMap<String, String>,
    claim: Result<Option<Claim>, ApiError>,
}

pub(super) async fn handle(service: Service, shared: Arc<Shared>, incoming: Incoming) -> Outcome {
    if service == Service::Ecs && shared.admin_api && incoming.path.starts_with("/_region/") {
        return admin::handle(shared, incoming).await;
    }
    let call = Arc::new(Call::read(service, incoming));
    let strike =
        lock(&shared.faults).strike(&call.qualified_action(), call.claimed_key(), &call.shown);
    shared.delay(strike.delay_ms).await;
    if strike.fault == Some(Fault::DropRequest) {
        call.record(&shared, &strike, 0, None);
        return Outcome { answer: outgoing(200, String::new(), None), fault: strike.fault };
    }
    if strike.fault == Some(Fault::Hold(HoldPoint::Before)) {
        shared.holds.park(&call.action, &call.shown, HoldPoint::Before).await;
    }
    let fault = strike.fault.clone();
    let (running, sharing) = (Arc::clone(&call), Arc::clone(&shared));
    // The work is file and device I/O under a lock.
    let answer = tokio::task::spawn_blocking(move || running.run(&sharing, &strike)).await;
    shared.wake.notify_one();
    if fault == Some(Fault::Hold(HoldPoint::After)) {
        shared.holds.park(&call.action, &call.shown, HoldPoint::After).await;
    }
    let answer = answer
        .unwrap_or_else(|error| outgoing(super::lost(&error).as_u16(), error.to_string(), None));
    Outcome { answer, fault }
}

impl Call {
    fn read(service: Service, incoming: Incoming) -> Self {
        let is_form = incoming
            .headers
            .get("content-type")
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let form = if is_form {
            decode_pairs(&String::from_utf8_lossy(&incoming.body))
        } else {
            Vec::new()
        };
        let params = Params::new(incoming.query.iter().cloned().chain(form));
        let claim = signature::claim(&signed(&incoming, &params));
        let header = |name: &str| incoming.headers.get(name).cloned();
        Self {
            service,
            action: header("x-acs-action").or_else(|| params.owned("Action")).unwrap_or_default(),
            version: header("x-acs-version")
                .or_else(|| params.owned("Version"))
                .unwrap_or_default(),
            shown: params.shown(),
            params,
            claim,
            incoming,
        }
    }

    /// The action, with its service where an older one has actions of the same names.
    fn qualified_action(&self) -> Cow<'_, str> {
        match self.service {
            Service::Nas => Cow::Owned(format!("nas:{}", self.action)),
            Service::Ecs | Service::Sts | Service::Oss | Service::Metadata(_) => {
                Cow::Borrowed(&self.action)
            }
        }
    }

    fn claimed_key(&self) -> Option<&str> {
        self.claim.as_ref().ok().and_then(Option::as_ref).map(|claim| claim.access_key_id.as_str())
    }

    fn run(&self, shared: &Shared, strike: &Strike) -> Outgoing {
        let (number, seed, answer) = {
            let mut world = lock(&shared.world);
            world.requests += 1;
            let (number, seed) = (world.requests, world.state.seed.clone());
            let answer = self
                .admit(shared, &world, strike)
                .and_then(|caller| self.operate(&mut world, &caller));
            if answer.is_err() && strike.fault == Some(Fault::BindToken) {
                world.bind_token(&self.action, &self.params);
            }
            // Nobody is answered before what they asked for would survive a crash.
            let answer = world.save().map_err(|error| ApiError::internal(&error)).and(answer);
            (number, seed, answer)
        };
        let id = identifiers::request_id(&seed, number);
        let host = self.incoming.headers.get("host").map_or("", String::as_str);
        let (status, code, body) = match answer {
            Ok(mut body) => {
                if let Value::Object(fields) = &mut body {
                    fields.insert("RequestId".to_owned(), Value::String(id.clone()));
                }
                (200, None, body)
            }
            Err(error) => {
                let body = error.body(&id, host);
                (error.status, Some(error.code), body)
            }
        };
        self.record(shared, strike, status, code);
        outgoing(status, body.to_string(), Some(id))
    }

    /// Who calls, if the call may be made at all.
    fn admit(
        &self,
        shared: &Shared,
        world: &crate::world::World,
        strike: &Strike,
    ) -> Result<Caller, ApiError> {
        if world.is_stopped() {
            return Err(ApiError::new(
                503,
                "ServiceUnavailable",
                "The request has failed due to a temporary failure of the server.",
            ));
        }
        let (version, known) = match self.service {
            Service::Ecs => (ecs::VERSION, ecs::knows(&self.action)),
            Service::Nas => (nas::VERSION, nas::knows(&self.action)),
            Service::Sts | Service::Oss | Service::Metadata(_) => {
                (sts::VERSION, sts::knows(&self.action))
            }
        };
        if self.action.is_empty() {
            return Err(ApiError::new(
                400,
                "MissingAction",
                "Action is mandatory for this action.",
            ));
        }
        if self.version != version {
            return Err(ApiError::new(
                400,
                "InvalidVersion",
                format!("Specified parameter Version is not valid (this service has {version})."),
            ));
        }
        if !known {
            return Err(ApiError::no_action());
        }
        let claim = self.claim.as_ref().map_err(Clone::clone)?.as_ref();
        let may_be_anonymous = self.service == Service::Sts && sts::is_anonymous(&self.action);
        if claim.is_none() && !may_be_anonymous {
            return Err(ApiError::new(
                400,
                "MissingAccessKeyId",
                "AccessKeyId is mandatory for this action.",
            ));
        }
        let request = signed(&self.incoming, &self.params);
        let caller = access::authenticate(
            world,
            &mut lock(&shared.nonces),
            &request,
            claim,
            shared.verify_signatures,
        )?;
        world.options.policies.check(&caller, self.service.name(), &self.action)?;
        match &strike.fault {
            Some(Fault::Fail { status, code, message }) => {
                return Err(ApiError::new(*status, code, message));
            }
            Some(Fault::Throttle) => return Err(ApiError::throttled()),
            _ => {}
        }
        if lock(&shared.buckets).admit(&self.qualified_action(), world.now()) {
            Ok(caller)
        } else {
            Err(ApiError::throttled())
        }
    }

    fn operate(&self, world: &mut crate::world::World, caller: &Caller) -> Answer {
        match self.service {
            Service::Ecs => ecs::call(world, &self.action, &self.params),
            Service::Nas => nas::call(world, &self.action, &self.params),
            Service::Sts | Service::Oss | Service::Metadata(_) => {
                sts::call(world, &self.action, &self.params, caller)
            }
        }
    }

    fn record(&self, shared: &Shared, strike: &Strike, status: u16, code: Option<String>) {
        let fault =
            strike.fault.as_ref().map(Fault::name).or((strike.delay_ms > 0).then_some("delay"));
        shared.record(Record {
            service: self.service,
            arrived: self.incoming.arrived,
            action: &self.action,
            caller: self.claimed_key().map(str::to_owned),
            parameters: &self.shown,
            status,
            code,
            fault,
        });
    }
}

fn signed<'a>(incoming: &'a Incoming, params: &'a Params) -> SignedRequest<'a> {
    SignedRequest {
        method: &incoming.method,
        path: &incoming.path,
        query: &incoming.query,
        params: params.all(),
        headers: &incoming.headers,
        body: &incoming.body,
    }
}

fn outgoing(status: u16, body: String, request_id: Option<String>) -> Outgoing {
    Outgoing { status, content_type: "application/json;charset=utf-8", body, request_id }
}

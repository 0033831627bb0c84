//! One call from its arrival to its answer: read its head, let the fault plan strike, find the
//! caller, mind the rates, take its body, run it, write it down.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};

use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use axum::response::IntoResponse;

use super::body::Digested;
use super::error::OssError;
use super::operation::{BodyKind, Operation};
use super::reply::Reply;
use super::request::Head;
use super::signature::{self, Claim};
use super::store::Store;
use super::store::file::Draft;
use super::{access, body, buckets, copy, listing, multipart, objects};
use crate::clock::Millis;
use crate::faults::{Fault, HoldPoint, Strike};
use crate::identifiers;
use crate::server::{Record, Service, Shared, lock, lost};
use crate::wire::Cutter;
use crate::world::{Caller, World};

/// Query parameters that the journal does not have: signatures, and who signed, which it has.
const HIDDEN: &[&str] = &[
    "AWSAccessKeyId",
    "Expires",
    "OSSAccessKeyId",
    "Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "security-token",
    "x-amz-security-token",
    "x-oss-credential",
    "x-oss-security-token",
    "x-oss-signature",
];

/// One call, read.
struct Call {
    head: Head,
    operation: Result<Operation, OssError>,
    claim: Result<Option<Claim>, OssError>,
    action: String,
    shown: BTreeMap<String, String>,
}

/// What an operation works with.
pub(super) struct Context<'a> {
    pub(super) shared: &'a Shared,
    pub(super) head: &'a Head,
    pub(super) admitted: Admitted,
}

/// What is known of a call that may be made.
#[derive(Debug, Clone)]
pub(super) struct Admitted {
    operation: Operation,
    pub(super) caller: Caller,
    /// The account's id.
    pub(super) account: String,
    /// The region's.
    pub(super) region: String,
}

impl Context<'_> {
    /// The region's time.
    pub(super) fn now(&self) -> Millis {
        self.shared.clock.now()
    }

    /// The store, for as long as the guard lives; bytes are read and written without it.
    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.shared.oss)
    }

    /// A file for bytes that become an object.
    pub(super) fn draft(&self) -> Result<Draft, OssError> {
        self.store().draft().map_err(|error| OssError::internal(&error))
    }
}

/// What a call brings besides its head.
enum Payload {
    Absent,
    Document(Vec<u8>),
    Bytes(Draft, Digested),
}

/// Answers one request.
pub(crate) async fn answer(
    shared: Arc<Shared>,
    cutter: Cutter,
    request: Request,
) -> Response<Body> {
    let arrived = shared.clock.now();
    let (parts, body) = request.into_parts();
    // In a task of its own: a client that hangs up must not undo half of what it asked for.
    let outcome = tokio::spawn(async move {
        let call = Call::read(Head::read(arrived, &parts, &shared.region));
        handle(shared, Arc::new(call), body).await
    });
    match outcome.await {
        Ok((reply, fault)) => reply.send(fault.as_ref(), &cutter),
        Err(error) => lost(&error).into_response(),
    }
}

async fn handle(shared: Arc<Shared>, call: Arc<Call>, body: Body) -> (Reply, Option<Fault>) {
    let strike = lock(&shared.faults).strike(&call.action, call.claimed_key(), &call.shown);
    shared.delay(strike.delay_ms).await;
    if strike.fault == Some(Fault::DropRequest) {
        call.record(&shared, &strike, 0, None);
        return (Reply::empty(200), strike.fault);
    }
    if strike.fault == Some(Fault::Hold(HoldPoint::Before)) {
        shared.holds.park(&call.action, &call.shown, HoldPoint::Before).await;
    }
    let strike = Arc::new(strike);
    let (id, answer) = run(&shared, &call, &strike, body).await;
    let (reply, code) = match answer {
        Ok(reply) => (reply, None),
        Err(error) => (Reply::error(&error, &id, &call.head), Some(error.code)),
    };
    call.record(&shared, &strike, reply.status, code);
    if strike.fault == Some(Fault::Hold(HoldPoint::After)) {
        shared.holds.park(&call.action, &call.shown, HoldPoint::After).await;
    }
    (reply.signed_off(&id, call.head.face), strike.fault.clone())
}

/// Admits a call, takes its body and does its work. Also answers the request's id.
async fn run(
    shared: &Arc<Shared>,
    call: &Arc<Call>,
    strike: &Arc<Strike>,
    body: Body,
) -> (String, Result<Reply, OssError>) {
    let (sharing, running, striking) = (Arc::clone(shared), Arc::clone(call), Arc::clone(strike));
    // The locks may be held during file and device I/O, so all of it happens on blocking threads.
    let admitted = blocking(move || Ok(running.admit(&sharing, &striking))).await;
    let (id, admitted) = match admitted {
        Ok(admitted) => admitted,
        Err(error) => (String::new(), Err(error)),
    };
    let received = match &admitted {
        Ok(admitted) => receive(shared, &call.head, admitted.operation, body).await,
        Err(error) => {
            body::unwanted(body).await;
            Err(error.clone())
        }
    };
    let (admitted, payload) = match (admitted, received) {
        (Ok(admitted), Ok(payload)) => (admitted, payload),
        (Err(error), _) | (_, Err(error)) => return (id, Err(error)),
    };
    let (sharing, running) = (Arc::clone(shared), Arc::clone(call));
    let answer = blocking(move || {
        perform(&Context { shared: &sharing, head: &running.head, admitted }, payload)
    });
    (id, answer.await)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OssError> + Send + 'static,
) -> Result<T, OssError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| match error.is_cancelled() {
        true => Err(OssError::stopped()),
        false => Err(OssError::internal(&error)),
    })
}

async fn receive(
    shared: &Arc<Shared>,
    head: &Head,
    operation: Operation,
    body: Body,
) -> Result<Payload, OssError> {
    match operation.body() {
        BodyKind::Absent => {
            body::unwanted(body).await;
            Ok(Payload::Absent)
        }
        BodyKind::Document => body::document(head, body).await.map(Payload::Document),
        BodyKind::Bytes => {
            if let Err(error) = body::check_head(head) {
                body::unwanted(body).await;
                return Err(error);
            }
            let sharing = Arc::clone(shared);
            let draft = blocking(move || {
                lock(&sharing.oss).draft().map_err(|error| OssError::internal(&error))
            });
            let (draft, digested) = body::bytes(head, body, draft.await?).await?;
            Ok(Payload::Bytes(draft, digested))
        }
    }
}

impl Call {
    fn read(head: Head) -> Self {
        let operation = Operation::of(&head);
        Self {
            claim: signature::claim(&head),
            action: operation.as_ref().map_or("Unknown".to_owned(), |known| known.name()),
            operation,
            shown: shown(&head),
            head,
        }
    }

    fn claimed_key(&self) -> Option<&str> {
        let claim = self.claim.as_ref().ok().and_then(Option::as_ref);
        claim.map(|claim| claim.access_key_id.as_str())
    }

    /// The request's id, and who calls for what, if the call may be made at all.
    fn admit(&self, shared: &Shared, strike: &Strike) -> (String, Result<Admitted, OssError>) {
        let (id, known) = {
            let mut world = lock(&shared.world);
            world.requests += 1;
            let id = identifiers::request_id(&world.state.seed, world.requests);
            (id.replace('-', ""), self.authenticate(shared, &world))
        };
        let admitted = known.and_then(|(admitted, foreign)| {
            let (operation, caller) = (admitted.operation, &admitted.caller);
            access::permit(&lock(&shared.oss), &foreign, &self.head, operation, caller)?;
            self.pass(shared, strike)?;
            Ok(admitted)
        });
        // The real ids have 24 digits.
        (id.get(..24).unwrap_or_default().to_owned(), admitted)
    }

    fn authenticate(
        &self,
        shared: &Shared,
        world: &World,
    ) -> Result<(Admitted, Vec<String>), OssError> {
        if world.is_stopped() {
            return Err(OssError::stopped());
        }
        self.head.check_names(&world.options.region)?;
        let claim = self.claim.as_ref().map_err(Clone::clone)?.as_ref();
        let caller = access::authenticate(world, &self.head, claim, shared.verify_signatures)?;
        let operation = self.operation.clone()?;
        let policies = &world.options.policies;
        policies
            .check(&caller, "oss", &operation.ram_action())
            .map_err(|_| OssError::denied("You have no right to access this object."))?;
        let admitted = Admitted {
            operation,
            caller,
            account: world.state.account.clone(),
            region: world.options.region.clone(),
        };
        Ok((admitted, world.options.foreign_buckets.clone()))
    }

    /// Lets the call pass, or refuses it as the fault plan or its rate wants.
    fn pass(&self, shared: &Shared, strike: &Strike) -> Result<(), OssError> {
        match &strike.fault {
            Some(Fault::Fail { status, code, message }) => {
                return Err(OssError::new(*status, code, message));
            }
            Some(Fault::Throttle) => return Err(OssError::throttled(self.head.face)),
            _ => {}
        }
        if lock(&shared.buckets).admit_listed(&self.action, shared.clock.now()) {
            Ok(())
        } else {
            Err(OssError::throttled(self.head.face))
        }
    }

    fn record(&self, shared: &Shared, strike: &Strike, status: u16, code: Option<String>) {
        let fault =
            strike.fault.as_ref().map(Fault::name).or((strike.delay_ms > 0).then_some("delay"));
        shared.record(Record {
            service: Service::Oss,
            arrived: self.head.arrived,
            action: &self.action,
            caller: self.claimed_key().map(str::to_owned),
            parameters: &self.shown,
            status,
            code,
            fault,
        });
    }
}

/// What journal, faults and held calls are told: bucket, key, and the query without secrets.
fn shown(head: &Head) -> BTreeMap<String, String> {
    let names = [("bucket", head.bucket()), ("key", &head.key)];
    let names = names.iter().filter(|(_, value)| !value.is_empty());
    let names = names.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let query = head.query.iter().filter(|(name, _)| !HIDDEN.contains(&name.as_str())).cloned();
    names.chain(query).collect()
}

fn perform(context: &Context<'_>, payload: Payload) -> Result<Reply, OssError> {
    let operation = context.admitted.operation;
    let (document, bytes) = match payload {
        Payload::Absent => (Vec::new(), None),
        Payload::Document(document) => (document, None),
        Payload::Bytes(draft, digested) => (Vec::new(), Some((draft, digested))),
    };
    if let Some((draft, digested)) = bytes {
        return match operation {
            Operation::UploadPart => multipart::upload_part(context, draft, &digested),
            Operation::AppendObject => objects::append(context, draft, &digested),
            _ => objects::put(context, draft, &digested),
        };
    }
    match operation {
        Operation::ListBuckets => buckets::list(context),
        Operation::PutBucket => buckets::put(context, &document),
        Operation::DeleteBucket => buckets::delete(context),
        Operation::HeadBucket => buckets::head(context),
        Operation::GetBucketInfo => buckets::info(context),
        Operation::GetBucketLocation => buckets::location(context),
        Operation::GetBucketStat => buckets::stat(context),
        Operation::GetBucketAcl => buckets::acl(context),
        Operation::PutBucketAcl => buckets::put_acl(context),
        Operation::GetBucketTags => buckets::tags(context),
        Operation::PutBucketTags => buckets::put_tags(context, &document),
        Operation::DeleteBucketTags => buckets::delete_tags(context),
        Operation::ListObjects => listing::objects(context),
        Operation::ListObjectsV2 => listing::objects_v2(context),
        Operation::ListMultipartUploads => listing::uploads(context),
        Operation::DeleteMultipleObjects => objects::delete_many(context, &document),
        Operation::GetObject => objects::get(context),
        Operation::HeadObject | Operation::GetObjectMeta => objects::head(context),
        Operation::DeleteObject => objects::delete(context),
        Operation::GetObjectAcl => objects::acl(context),
        Operation::PutObjectAcl => objects::put_acl(context),
        Operation::CopyObject => copy::object(context),
        Operation::UploadPartCopy => copy::part(context),
        Operation::InitiateMultipartUpload => multipart::begin(context),
        Operation::CompleteMultipartUpload => multipart::complete(context, &document),
        Operation::AbortMultipartUpload => multipart::abort(context),
        Operation::ListParts => multipart::list_parts(context),
        // Their bytes were taken above.
        Operation::PutObject | Operation::AppendObject | Operation::UploadPart => {
            Err(OssError::incomplete_body())
        }
    }
}

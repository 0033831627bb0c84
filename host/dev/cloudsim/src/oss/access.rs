//! Whether the caller of a request may make it: keys and signatures, and what buckets and objects
//! let everybody do.

use super::error::OssError;
use super::operation::{Operation, Right};
use super::request::Head;
use super::signature::{self, Claim};
use super::store::Store;
use super::store::record::Acl;
use crate::access::{KeyProblem, owner};
use crate::clock;
use crate::world::{Caller, World};

/// Finds and checks the caller of a request. Without `check_signatures` only the access key id is
/// looked at.
pub(crate) fn authenticate(
    world: &World,
    head: &Head,
    claim: Option<&Claim>,
    check_signatures: bool,
) -> Result<Caller, OssError> {
    let Some(claim) = claim else { return Ok(Caller::Anonymous) };
    let known = owner(world, &claim.access_key_id, claim.security_token.as_deref())
        .map_err(|problem| refusal(problem, claim))?;
    if check_signatures {
        let region = &world.options.region;
        signature::verify(head, claim, &known.secret, region, clock::wall())?;
    }
    Ok(known.caller)
}

fn refusal(problem: KeyProblem, claim: &Claim) -> OssError {
    let (code, message) = match problem {
        KeyProblem::Unknown | KeyProblem::NoToken => (
            "InvalidAccessKeyId",
            "The OSS Access Key Id you provided does not exist in our records.",
        ),
        KeyProblem::TokenMalformed | KeyProblem::TokenOfAnother => {
            ("InvalidSecurityToken", "The security token you provided is invalid.")
        }
        KeyProblem::TokenExpired => {
            ("SecurityTokenExpired", "The security token you provided has expired.")
        }
    };
    OssError::new(403, code, message).with("OSSAccessKeyId", &claim.access_key_id)
}

/// Whether the caller may do it, as far as keys and access lists decide. What is not there is
/// reported by the operation itself, to those who may know.
pub(crate) fn permit(
    store: &Store,
    foreign: &[String],
    head: &Head,
    operation: Operation,
    caller: &Caller,
) -> Result<(), OssError> {
    let bucket = head.bucket();
    if foreign.iter().any(|name| name == bucket) {
        return Err(match operation {
            Operation::PutBucket => OssError::bucket_exists(bucket),
            _ => OssError::denied("The bucket you access does not belong to you."),
        });
    }
    if *caller != Caller::Anonymous {
        return Ok(());
    }
    let denied = OssError::denied("You have no right to access this object because of bucket acl.");
    if operation.right() == Right::Own {
        return Err(OssError::denied("Anonymous user has no right to access this resource."));
    }
    let bucket = store.bucket(bucket)?;
    let object = bucket.objects.get(&head.key).and_then(|object| object.described.acl);
    let acl = object.unwrap_or(bucket.record.acl);
    let allowed = match (operation.right(), acl) {
        (Right::Read, Acl::PublicRead | Acl::PublicReadWrite) => true,
        // An object's own list does not let anybody replace it in a bucket that does not.
        (Right::Write, Acl::PublicReadWrite) => bucket.record.acl == Acl::PublicReadWrite,
        (Right::Read | Right::Write | Right::Own, _) => false,
    };
    if allowed { Ok(()) } else { Err(denied) }
}

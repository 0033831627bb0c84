//! Who calls: checks signature, time and nonce, and finds the keys' owner.

use std::collections::{BTreeSet, VecDeque};

use crate::answer::ApiError;
use crate::clock::{self, Millis};
use crate::signature::{self, Claim, SignedRequest};
use crate::world::{Caller, World};

/// How far a client's clock may be from the machine's.
const WINDOW: Millis = 15 * 60 * 1000;

/// Nonces remembered at most: 15 minutes at over 500 calls a second. Past that the oldest is
/// forgotten, so memory stays below 40 MiB.
const MOST_NONCES: usize = 500_000;

/// Nonces of the last minutes.
#[derive(Debug, Default)]
pub(crate) struct Nonces {
    used: BTreeSet<String>,
    order: VecDeque<(Millis, String)>,
}

impl Nonces {
    /// Takes a nonce; `false` when it was used before.
    fn take(&mut self, nonce: String, now: Millis) -> bool {
        while self.order.front().is_some_and(|(at, _)| at.saturating_add(2 * WINDOW) < now)
            || self.order.len() >= MOST_NONCES
        {
            if let Some((_, old)) = self.order.pop_front() {
                self.used.remove(&old);
            }
        }
        let is_new = self.used.insert(nonce.clone());
        if is_new {
            self.order.push_back((now, nonce));
        }
        is_new
    }
}

/// Finds and checks the caller of a request. Without `verify` only the access key id is looked at.
pub(crate) fn authenticate(
    world: &World,
    nonces: &mut Nonces,
    request: &SignedRequest<'_>,
    claim: Option<&Claim>,
    verify: bool,
) -> Result<Caller, ApiError> {
    let Some(claim) = claim else { return Ok(Caller::Anonymous) };
    let known = owner(world, claim)?;
    if !verify {
        return Ok(known.caller);
    }
    let now = clock::wall();
    if claim.timestamp.abs_diff(now) > WINDOW {
        return Err(ApiError::new(
            400,
            "InvalidTimeStamp.Expired",
            "Specified time stamp or date value is expired.",
        ));
    }
    signature::verify(request, claim, &known.secret)?;
    if !nonces.take(format!("{}/{}", claim.access_key_id, claim.nonce), now) {
        return Err(ApiError::new(
            400,
            "SignatureNonceUsed",
            "Specified signature nonce was used already.",
        ));
    }
    Ok(known.caller)
}

struct Owner {
    caller: Caller,
    secret: String,
}

fn owner(world: &World, claim: &Claim) -> Result<Owner, ApiError> {
    let id = &claim.access_key_id;
    if let Some(session) = world.state.sessions.get(id) {
        let token = claim.security_token.as_deref();
        let token = token.ok_or_else(|| {
            ApiError::new(
                400,
                "MissingSecurityToken",
                "SecurityToken is mandatory for this action.",
            )
        })?;
        if token != session.token {
            return Err(wrong_token(world, token));
        }
        if session.expires <= world.now() {
            return Err(ApiError::new(
                400,
                "InvalidSecurityToken.Expired",
                "Specified SecurityToken is expired.",
            ));
        }
        let caller = Caller::Role { role: session.role.clone(), session: session.name.clone() };
        return Ok(Owner { caller, secret: session.secret.clone() });
    }
    if let Some(token) = claim.security_token.as_deref() {
        return Err(wrong_token(world, token));
    }
    if *id == world.state.admin.id {
        return Ok(Owner { caller: Caller::Admin, secret: world.state.admin.secret.clone() });
    }
    match world.state.instances.iter().find(|instance| instance.keys.id == *id) {
        Some(instance) => Ok(Owner {
            caller: Caller::Instance(instance.id.clone()),
            secret: instance.keys.secret.clone(),
        }),
        None => Err(ApiError::new(
            404,
            "InvalidAccessKeyId.NotFound",
            "Specified access key is not found.",
        )),
    }
}

fn wrong_token(world: &World, token: &str) -> ApiError {
    if world.state.sessions.values().any(|session| session.token == token) {
        let message = "Specified SecurityToken mismatch with the AccessKey.";
        return ApiError::new(400, "InvalidSecurityToken.MismatchWithAccessKey", message);
    }
    ApiError::new(400, "InvalidSecurityToken.Malformed", "Specified SecurityToken is malformed.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_taken_once_within_the_window() {
        let mut nonces = Nonces::default();
        assert!(nonces.take("a".to_owned(), 0));
        assert!(!nonces.take("a".to_owned(), WINDOW));
        assert!(nonces.take("a".to_owned(), 2 * WINDOW + 1));
    }
}

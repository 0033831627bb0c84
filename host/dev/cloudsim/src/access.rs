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
    let known = owner(world, &claim.access_key_id, claim.security_token.as_deref())
        .map_err(KeyProblem::in_rpc_words)?;
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

/// Whose an access key is.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) caller: Caller,
    pub(crate) secret: String,
}

/// Why an access key, or the token beside it, is refused. Every service has its own words for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyProblem {
    /// Nobody has this key.
    Unknown,
    /// A temporary key came without its token.
    NoToken,
    /// No session has this token.
    TokenMalformed,
    /// The token of another session.
    TokenOfAnother,
    /// The session has ended.
    TokenExpired,
}

impl KeyProblem {
    fn in_rpc_words(self) -> ApiError {
        let (status, code, message) = match self {
            Self::Unknown => {
                (404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.")
            }
            Self::NoToken => {
                (400, "MissingSecurityToken", "SecurityToken is mandatory for this action.")
            }
            Self::TokenMalformed => {
                (400, "InvalidSecurityToken.Malformed", "Specified SecurityToken is malformed.")
            }
            Self::TokenOfAnother => (
                400,
                "InvalidSecurityToken.MismatchWithAccessKey",
                "Specified SecurityToken mismatch with the AccessKey.",
            ),
            Self::TokenExpired => {
                (400, "InvalidSecurityToken.Expired", "Specified SecurityToken is expired.")
            }
        };
        ApiError::new(status, code, message)
    }
}

/// Whose an access key is, if the token beside it fits.
pub(crate) fn owner(world: &World, id: &str, token: Option<&str>) -> Result<Owner, KeyProblem> {
    if let Some(session) = world.state.sessions.get(id) {
        let token = token.ok_or(KeyProblem::NoToken)?;
        if token != session.token {
            return Err(wrong_token(world, token));
        }
        let grace = world.options.session_grace_seconds.saturating_mul(1000);
        if session.expires.saturating_add(grace) <= world.now() {
            return Err(KeyProblem::TokenExpired);
        }
        let caller = Caller::Role { role: session.role.clone(), session: session.name.clone() };
        return Ok(Owner { caller, secret: session.secret.clone() });
    }
    if let Some(token) = token {
        return Err(wrong_token(world, token));
    }
    if *id == world.state.admin.id {
        return Ok(Owner { caller: Caller::Admin, secret: world.state.admin.secret.clone() });
    }
    let instance = world.state.instances.iter().find(|instance| instance.keys.id == *id);
    let instance = instance.ok_or(KeyProblem::Unknown)?;
    Ok(Owner {
        caller: Caller::Instance(instance.id.clone()),
        secret: instance.keys.secret.clone(),
    })
}

fn wrong_token(world: &World, token: &str) -> KeyProblem {
    if world.state.sessions.values().any(|session| session.token == token) {
        KeyProblem::TokenOfAnother
    } else {
        KeyProblem::TokenMalformed
    }
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

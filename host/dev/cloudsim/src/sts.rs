//! The Security Token Service, version 2015-04-01.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::answer::{Answer, ApiError};
use crate::clock::iso8601;
use crate::identifiers;
use crate::params::Params;
use crate::state::Session;
use crate::world::{Caller, World};

/// The version that clients must name.
pub(crate) const VERSION: &str = "2015-04-01";

/// Whether there is such an operation.
pub(crate) fn knows(action: &str) -> bool {
    matches!(action, "GetCallerIdentity" | "AssumeRole" | "AssumeRoleWithOIDC")
}

/// Whether it needs no signature.
pub(crate) fn is_anonymous(action: &str) -> bool {
    action == "AssumeRoleWithOIDC"
}

/// Runs an operation.
pub(crate) fn call(world: &mut World, action: &str, params: &Params, caller: &Caller) -> Answer {
    match action {
        "GetCallerIdentity" => Ok(identity(world, caller)),
        "AssumeRole" => assume_role(world, params),
        "AssumeRoleWithOIDC" => assume_role_with_oidc(world, params),
        _ => Err(ApiError::no_action()),
    }
}

fn identity(world: &World, caller: &Caller) -> Value {
    let account = &world.state.account;
    match caller {
        Caller::Admin | Caller::Anonymous => json!({
            "IdentityType": "Account", "AccountId": account, "PrincipalId": account, "UserId": account, "Arn": format!("acs:ram::{account}:root"),
        }),
        Caller::Instance(instance) => json!({
            "IdentityType": "RAMUser", "AccountId": account, "PrincipalId": instance, "UserId": instance,
            "Arn": format!("acs:ram::{account}:user/{instance}"),
        }),
        Caller::Role { role, session } => json!({
            "IdentityType": "AssumedRoleUser", "AccountId": account, "PrincipalId": format!("{}:{session}", role_id(role)), "RoleId": role_id(role),
            "Arn": assumed_arn(role, session),
        }),
    }
}

fn assume_role(world: &mut World, params: &Params) -> Answer {
    let role = role(world, params)?;
    let (name, seconds) = session(params)?;
    grant(world, role, name, seconds)
}

fn assume_role_with_oidc(world: &mut World, params: &Params) -> Answer {
    let provider = params.required("OIDCProviderArn")?;
    let token = params.required("OIDCToken")?;
    let role = role(world, params)?;
    let (name, seconds) = session(params)?;
    let Some(provider) = world.options.oidc_providers.iter().find(|known| known.arn == provider)
    else {
        return Err(ApiError::new(
            404,
            "EntityNotExist.OIDCProvider",
            format!("The OIDC provider does not exist: {provider}."),
        ));
    };
    let claims = claims(token).ok_or_else(|| refused("Invalid", "This OIDC token is invalid."))?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let audience = |wanted: &String| {
        text("aud") == wanted
            || claims
                .get("aud")
                .and_then(Value::as_array)
                .is_some_and(|all| all.contains(&json!(wanted)))
    };
    if text("iss") != provider.issuer {
        return Err(refused(
            "IssuerInvalid",
            "The issuer of this OIDC token does not match the OIDC provider.",
        ));
    }
    if !provider.audiences.iter().any(audience) {
        return Err(refused(
            "AudienceInvalid",
            "The audience of this OIDC token is not one of the OIDC provider's client ids.",
        ));
    }
    if claims
        .get("exp")
        .and_then(Value::as_u64)
        .is_none_or(|exp| exp.saturating_mul(1000) <= world.now())
    {
        return Err(refused("Expired", "This OIDC token is expired."));
    }
    if !provider.subjects.is_empty()
        && provider.subjects.get(&role).is_none_or(|subject| subject != text("sub"))
    {
        return Err(ApiError::new(
            403,
            "AuthenticationFail.NoPermission",
            "This operation is forbidden by permission system.",
        ));
    }
    grant(world, role, name, seconds)
}

// The third part, the issuer's signature, is not looked at: the region has no issuer's key, and its
// provider decides by issuer and audience.
fn claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?).ok()
}

fn refused(why: &str, message: &str) -> ApiError {
    ApiError::new(400, format!("AuthenticationFail.OIDCToken.{why}"), message)
}

fn role(world: &World, params: &Params) -> Result<String, ApiError> {
    let role = params.required("RoleArn")?;
    let name = role.strip_prefix("acs:ram::").and_then(|rest| rest.split_once(":role/"));
    match name {
        Some((account, name)) if account == world.state.account && !name.is_empty() => {
            Ok(role.to_owned())
        }
        Some(_) => {
            Err(ApiError::new(404, "EntityNotExist.Role", format!("The role not exists: {role}.")))
        }
        None => Err(ApiError::new(
            400,
            "InvalidParameter.RoleArn",
            "The parameter RoleArn is wrongly formed.",
        )),
    }
}

fn session(params: &Params) -> Result<(String, u64), ApiError> {
    let name = params.required("RoleSessionName")?;
    let plain =
        |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '@' | '-' | '_');
    if !(2..=64).contains(&name.len()) || !name.chars().all(plain) {
        return Err(ApiError::new(
            400,
            "InvalidParameter.RoleSessionName",
            "The parameter RoleSessionName is wrongly formed.",
        ));
    }
    let seconds = params.number("DurationSeconds")?.unwrap_or(3600);
    if !(900..=43_200).contains(&seconds) {
        return Err(ApiError::new(
            400,
            "InvalidParameter.DurationSeconds",
            "The Min/Max value of DurationSeconds is 15min/12hr.",
        ));
    }
    Ok((name.to_owned(), seconds))
}

fn grant(world: &mut World, role: String, name: String, seconds: u64) -> Answer {
    let user = json!({ "Arn": assumed_arn(&role, &name), "AssumedRoleId": format!("{}:{name}", role_id(&role)) });
    let (id, session) = open_session(world, role, name, seconds)?;
    Ok(json!({
        "AssumedRoleUser": user,
        "Credentials": {
            "AccessKeyId": id,
            "AccessKeySecret": session.secret,
            "SecurityToken": session.token,
            "Expiration": iso8601(session.expires),
        },
    }))
}

/// Makes temporary keys for a role. Those that have expired for a day are forgotten; until then
/// they are told to be expired.
pub(crate) fn open_session(
    world: &mut World,
    role: String,
    name: String,
    seconds: u64,
) -> Result<(String, Session), ApiError> {
    let now = world.now();
    let seconds = world.options.session_seconds.map_or(seconds, |most| seconds.min(most));
    let random = |length| identifiers::random(length).map_err(|error| ApiError::internal(&error));
    let id = format!("STS.N{}", random(24)?);
    let session = Session {
        secret: random(44)?,
        token: format!("CAIS{}", random(120)?),
        role,
        name,
        expires: now.saturating_add(seconds.saturating_mul(1000)),
    };
    let sessions = &mut world.change().sessions;
    sessions.retain(|_, old| old.expires.saturating_add(86_400_000) > now);
    sessions.insert(id.clone(), session.clone());
    Ok((id, session))
}

fn role_id(role: &str) -> String {
    let digits: u64 =
        role.bytes().fold(5381, |hash: u64, byte| hash.wrapping_mul(33) ^ u64::from(byte));
    format!("3{:017}", digits % 100_000_000_000_000_000)
}

fn assumed_arn(role: &str, session: &str) -> String {
    format!("{}/{session}", role.replacen(":role/", ":assumed-role/", 1))
}

/// A token that the provider with this issuer would have given out; its signature part is not one.
pub(crate) fn token(issuer: &str, audience: &str, subject: &str, expires_ms: u64) -> String {
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let payload =
        json!({ "iss": issuer, "aud": audience, "sub": subject, "exp": expires_ms / 1000 });
    format!(
        "{}.{}.{}",
        encode(json!({ "alg": "RS256", "typ": "JWT" })),
        encode(payload),
        URL_SAFE_NO_PAD.encode("not checked")
    )
}

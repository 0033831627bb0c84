//! The keys of a credential, and the source that has them in the open.

use wharf_sdk::auth::{Credential, Secret, Source};
use wharf_sdk::{Blame, Error, ErrorKind};

/// The access key's id.
pub const ID: &str = "access-key-id";
/// The access key's secret.
pub const SECRET: &str = "access-key-secret";
/// The token of a temporary credential.
pub const TOKEN: &str = "security-token";

/// What signs.
pub struct Keys<'a> {
    /// The access key's id.
    pub id: &'a str,
    /// Its secret.
    pub secret: &'a Secret,
    /// With a temporary credential.
    pub token: Option<&'a Secret>,
}

impl<'a> Keys<'a> {
    /// The keys of a credential.
    ///
    /// # Errors
    /// `unauthenticated` when one is missing.
    pub fn of(credential: &'a Credential) -> Result<Self, Error> {
        let need = |key: &str| {
            credential.value(key).ok_or_else(|| {
                Error::new(
                    ErrorKind::Unauthenticated,
                    Blame::Host,
                    format!("the credential has no `{key}`"),
                )
            })
        };
        Ok(Self { id: need(ID)?.expose(), secret: need(SECRET)?, token: credential.value(TOKEN) })
    }
}

/// A credential of these keys; an empty token is none.
pub fn credential(id: &str, secret: &str, token: &str) -> Credential {
    let credential = Credential::new().with(ID, Secret::new(id)).with(SECRET, Secret::new(secret));
    if token.is_empty() { credential } else { credential.with(TOKEN, Secret::new(token)) }
}

/// Source `static`.
///
/// # Errors
/// `not-found` without a key.
pub fn of_static(source: &Source) -> Result<Credential, Error> {
    let token = source.value(TOKEN).map(Secret::expose).unwrap_or_default();
    Ok(credential(source.require(ID)?.expose(), source.require(SECRET)?.expose(), token))
}

/// Source `call`: the secrets of a PersistentVolume under the names that the earlier drivers take.
///
/// # Errors
/// `not-found` without keys, so that an account may have another source; `invalid-argument` when
/// one half is there.
pub fn of_call(source: &Source) -> Result<Credential, Error> {
    let pairs = [("akId", "akSecret"), ("AccessKeyId", "AccessKeySecret")];
    for (id, secret) in pairs {
        match (source.value_in_any_case(id), source.value_in_any_case(secret)) {
            (Some(id), Some(secret)) => {
                let token = source.value_in_any_case("SecurityToken").map(Secret::expose);
                return Ok(credential(id.expose(), secret.expose(), token.unwrap_or_default()));
            }
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => {
                return Err(Error::invalid_request(format!(
                    "the secrets of the call have one of `{id}` and `{secret}`, both are needed"
                )));
            }
        }
    }
    Err(Error::not_found("the call brought no access key"))
}

/// A temporary credential, as the metadata service and the token service write it.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
pub struct Temporary {
    access_key_id: String,
    access_key_secret: String,
    security_token: String,
    expiration: String,
}

impl Temporary {
    /// The credential, with its end.
    ///
    /// # Errors
    /// `internal` when a part is missing, or when the end is not a time. Nothing is quoted.
    pub fn into_credential(self, from: &str) -> Result<Credential, Error> {
        let incomplete = |what: &str| {
            Error::new(
                ErrorKind::Internal,
                Blame::Cloud,
                format!("{from} gave a credential without {what}"),
            )
        };
        if self.access_key_id.is_empty()
            || self.access_key_secret.is_empty()
            || self.security_token.is_empty()
        {
            return Err(incomplete("one of its keys"));
        }
        let expires_at = wharf_alicloud::timestamp::parse(&self.expiration)
            .ok_or_else(|| incomplete("a time at which it ends"))?;
        Ok(credential(&self.access_key_id, &self.access_key_secret, &self.security_token)
            .until_ms(expires_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_a_call_are_known_by_both_drivers_names() {
        for (id, secret) in [("akId", "akSecret"), ("accesskeyid", "ACCESSKEYSECRET")] {
            let source = Source::new("call", [(id, "i"), (secret, "s"), ("securityToken", "t")]);
            let credential = of_call(&source).unwrap();
            assert_eq!(Keys::of(&credential).unwrap().token.unwrap().expose(), "t");
        }
        assert_eq!(of_call(&Source::new("call", [])).unwrap_err().kind, ErrorKind::NotFound);
        let half = of_call(&Source::new("call", [("akId", "canary")])).unwrap_err();
        assert_eq!(half.kind, ErrorKind::InvalidArgument);
        assert!(half.message.contains("akSecret") && !half.message.contains("canary"));
    }

    #[test]
    fn an_open_source_needs_both_keys_and_may_have_a_token() {
        let both =
            of_static(&Source::new("static", [(ID, "i"), (SECRET, "s"), (TOKEN, "")])).unwrap();
        assert!(Keys::of(&both).unwrap().token.is_none());
        let temporary =
            of_static(&Source::new("static", [(ID, "i"), (SECRET, "s"), (TOKEN, "t")])).unwrap();
        assert_eq!(Keys::of(&temporary).unwrap().token.unwrap().expose(), "t");
        assert_eq!(
            of_static(&Source::new("static", [(ID, "i"), (SECRET, "")])).unwrap_err().kind,
            ErrorKind::NotFound
        );
    }

    #[test]
    fn half_a_credential_signs_nothing() {
        let half = Credential::new().with(ID, Secret::new("i"));
        assert_eq!(Keys::of(&half).err().unwrap().kind, ErrorKind::Unauthenticated);
    }
}

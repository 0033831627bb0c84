//! Alibaba Cloud's credentials and signatures.
//!
//! # Sources
//!
//! | kind | values |
//! |---|---|
//! | `static` | `access-key-id`, `access-key-secret`, `security-token` (optional) |
//! | `cloud-config` | `content`: JSON with `Global.accessKeyID` and `Global.accessKeySecret`;
//! `base64` = `true` when both are encoded |
//! | `addon-token` | `content`: the JSON that ACK mounts at `/var/addon/token-config` |
//! | `cli-config` | `content`: `~/.aliyun/config.json`; `profile` (optional: the current one).
//! Modes `AK`, `StsToken` and `EcsRamRole` |
//! | `ecs-ram-role` | `role` (optional: the machine's own); asks the endpoint `metadata` |
//! | `oidc` | `role-arn`, `oidc-provider-arn`, `token`; optional: `session-name` (`wharf`),
//! `duration-seconds` (3600); asks the endpoint `sts` |
//! | `call` | the secrets of a call: `akId` and `akSecret`, or in any case `AccessKeyId`,
//! `AccessKeySecret` and `SecurityToken` |
//!
//! A source that is empty answers `not-found`, and the host tries the next. One that is there and
//! wrong is an error: falling through to another identity would hide it.
//!
//! # Settings of an account
//!
//! `signature`: how requests are signed. For APIs with actions `acs3-hmac-sha256` (absent: this
//! one), or `rpc-hmac-sha1` for private clouds that know nothing newer; for object storage, whose
//! requests name no action, `oss-v4` (absent: this one) or `oss-v1`. An account that signs for both
//! may name one of each: `rpc-hmac-sha1,oss-v1`.
//!
//! `region`: the region that `oss-v4` signs for, where the backend does not say it.

pub mod acs3;
pub mod addon_token;
pub mod canonical;
pub mod cli_config;
pub mod cloud_config;
pub mod ecs_ram_role;
pub mod keys;
pub mod oidc;
pub mod oss;
pub mod oss_v1;
pub mod oss_v4;
pub mod render;
pub mod rpc_sha1;
pub mod sealed_json;

use wharf_sdk::auth::{
    AuthDescription, Authenticator, Credential, File, Signature, Source, UnsignedRequest,
};
use wharf_sdk::types::Parameters;
use wharf_sdk::{Blame, Error, ErrorKind, Pairs};

use crate::keys::Keys;

/// Alibaba Cloud.
pub struct Alicloud;

/// Headers that only the signer sets; one that ends in a dash is a prefix. With them are those that
/// have object storage do what method and path do not say: read another object, open one to
/// everybody, or call somebody.
const RESERVED_HEADERS: [&str; 12] = [
    "authorization",
    "content-md5",
    "x-acs-",
    "x-oss-acl",
    "x-oss-callback",
    "x-oss-callback-",
    "x-oss-content-sha256",
    "x-oss-copy-source",
    "x-oss-copy-source-",
    "x-oss-date",
    "x-oss-object-acl",
    "x-oss-security-token",
];
/// Query keys that only the signer sets. Action and version are among them: a gateway may read them
/// from the query although others are signed.
const RESERVED_QUERY: [&str; 21] = [
    "AccessKeyId",
    "Action",
    "Expires",
    "Format",
    "OSSAccessKeyId",
    "SecurityToken",
    "Signature",
    "SignatureMethod",
    "SignatureNonce",
    "SignatureType",
    "SignatureVersion",
    "Timestamp",
    "Version",
    "security-token",
    "x-oss-additional-headers",
    "x-oss-credential",
    "x-oss-date",
    "x-oss-expires",
    "x-oss-security-token",
    "x-oss-signature",
    "x-oss-signature-version",
];
/// Signatures of APIs whose actions are signed; the first one is used where nobody chooses.
const OF_ACTIONS: [&str; 2] = [acs3::NAME, rpc_sha1::NAME];
/// Signatures of object storage; likewise.
const OF_OBJECTS: [&str; 2] = [oss_v4::NAME, oss_v1::NAME];
/// How the codes begin that ask to slow down, of OpenAPI and of object storage.
const THROTTLING: [&str; 4] = ["Throttling", "ServiceUnavailable", "QpsLimit", "SlowDown"];
const SOURCES: [&str; 7] =
    ["static", "cloud-config", "addon-token", "cli-config", "ecs-ram-role", "oidc", "call"];

impl Authenticator for Alicloud {
    fn describe() -> AuthDescription {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        AuthDescription {
            name: "auth".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            reserved_headers: owned(&RESERVED_HEADERS),
            reserved_query: owned(&RESERVED_QUERY),
            source_kinds: owned(&SOURCES),
            forms: owned(&render::FORMS),
            throttling_codes: owned(&THROTTLING),
            extensions: Vec::new(),
        }
    }

    fn obtain(source: Source, now_ms: u64) -> Result<Credential, Error> {
        match source.kind.as_str() {
            "static" => keys::of_static(&source),
            "call" => keys::of_call(&source),
            "cloud-config" => cloud_config::read(&source),
            "addon-token" => addon_token::read(&source, now_ms),
            "cli-config" => cli_config::read(&source),
            "ecs-ram-role" => {
                ecs_ram_role::ask(source.value("role").map(wharf_sdk::auth::Secret::expose))
            }
            "oidc" => oidc::ask(&source, now_ms),
            other => {
                let message = format!(
                    "credential source `{other}` is not known, allowed: {}",
                    SOURCES.join(", ")
                );
                Err(Error::new(ErrorKind::InvalidArgument, Blame::Host, message))
            }
        }
    }

    fn sign(
        request: UnsignedRequest,
        credential: Credential,
        now_ms: u64,
        nonce: &str,
    ) -> Result<Signature, Error> {
        let keys = Keys::of(&credential)?;
        match signature_of(&request)? {
            oss_v1::NAME => oss_v1::sign(&request, &keys, now_ms),
            oss_v4::NAME => oss_v4::sign(&request, &keys, now_ms),
            _ if request.api.value("version").is_none_or(str::is_empty) => {
                Err(Error::defect(format!(
                    "{}: a request to sign names its API's version as `version`",
                    request.action
                )))
            }
            rpc_sha1::NAME => rpc_sha1::sign(&request, &keys, now_ms, nonce),
            _ => acs3::sign(&request, &keys, now_ms, nonce),
        }
    }

    fn render(credential: Credential, form: &str, values: Parameters) -> Result<Vec<File>, Error> {
        render::render(&credential, form, &values)
    }
}

/// The signature that the account's settings choose for a request of this kind. One that signs no
/// action is never used where an action was granted.
fn signature_of(request: &UnsignedRequest) -> Result<&'static str, Error> {
    let chosen = request.settings.value("signature").unwrap_or_default();
    let chosen: Vec<&str> =
        chosen.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let known = || OF_ACTIONS.into_iter().chain(OF_OBJECTS);
    if let Some(other) = chosen.iter().find(|name| !known().any(|known| known == **name)) {
        return Err(Error::misconfigured(format!(
            "setting `signature` of the account is `{other}`, allowed: {}",
            known().collect::<Vec<_>>().join(", ")
        )));
    }
    let of_this_kind = if request.action.is_empty() { OF_OBJECTS } else { OF_ACTIONS };
    let [usual, _] = of_this_kind;
    Ok(of_this_kind.into_iter().find(|name| chosen.contains(name)).unwrap_or(usual))
}

wharf_sdk::export_authenticator!(Alicloud);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use wharf_alicloud::metadata;

    #[test]
    fn the_manifest_asks_for_exactly_the_requests_that_are_made() {
        let manifest: toml::Table = toml::from_str(include_str!("../manifest.toml")).unwrap();
        let asked: BTreeSet<String> = manifest["request"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|request| {
                let endpoint = request["endpoint"].as_str().unwrap();
                request["paths"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(move |action| format!("{endpoint} {}", action.as_str().unwrap()))
            })
            .collect();
        let made = [
            format!("metadata PUT {}", metadata::TOKEN_PATH),
            format!("metadata GET {}*", metadata::ROLE_PATH),
            "sts POST /?Action&Format&Timestamp&Version".to_owned(),
        ];
        assert_eq!(asked, made.into_iter().collect());
    }

    #[test]
    fn every_source_that_is_named_is_known_and_empty_ones_are_passed_over() {
        for kind in Alicloud::describe().source_kinds.iter().filter(|kind| *kind != "ecs-ram-role")
        {
            assert_eq!(
                Alicloud::obtain(Source::new(kind, []), 0).unwrap_err().kind,
                wharf_sdk::ErrorKind::NotFound,
                "{kind}"
            );
        }
        let unknown = Alicloud::obtain(Source::new("magic", []), 0).unwrap_err();
        assert_eq!((unknown.kind, unknown.blame), (ErrorKind::InvalidArgument, Blame::Host));
        assert!(
            Alicloud::describe()
                .source_kinds
                .iter()
                .all(|kind| unknown.message.contains(kind.as_str()))
        );
    }

    #[test]
    fn an_unknown_signature_is_refused() {
        let request = acs3::tests::documented(&[("signature", "md5")]);
        let credential = Credential::new()
            .with(keys::ID, wharf_sdk::auth::Secret::new("id"))
            .with(keys::SECRET, wharf_sdk::auth::Secret::new("s3cr3t"));
        let error = Alicloud::sign(request, credential.clone(), 0, "n").unwrap_err();
        assert!(error.message.contains("md5"));
        assert!(!format!("{credential:?}").contains("s3cr3t"));
    }

    #[test]
    fn an_action_decides_the_kind_of_signature_and_the_settings_which_of_it() {
        let of = |action: &str, chosen: &str| {
            let settings = wharf_sdk::types::pairs([("signature", chosen)]);
            let request = acs3::tests::documented(&[]);
            signature_of(&UnsignedRequest { action: action.into(), settings, ..request }).unwrap()
        };
        for (chosen, of_actions, of_objects) in [
            ("", acs3::NAME, oss_v4::NAME),
            ("rpc-hmac-sha1", rpc_sha1::NAME, oss_v4::NAME),
            ("oss-v1", acs3::NAME, oss_v1::NAME),
            ("rpc-hmac-sha1, oss-v1", rpc_sha1::NAME, oss_v1::NAME),
            ("acs3-hmac-sha256,oss-v4", acs3::NAME, oss_v4::NAME),
        ] {
            assert_eq!(of("AttachDisk", chosen), of_actions, "{chosen}");
            assert_eq!(of("", chosen), of_objects, "{chosen}");
        }
    }

    #[test]
    fn a_request_without_a_version_is_not_signed_by_either_signature() {
        let credential = keys::credential("id", "s3cr3t", "");
        for name in [acs3::NAME, rpc_sha1::NAME] {
            let mut request = acs3::tests::documented(&[("signature", name)]);
            assert!(Alicloud::sign(request.clone(), credential.clone(), 0, "n").is_ok());
            request.api.clear();
            let error = Alicloud::sign(request, credential.clone(), 0, "n").unwrap_err();
            assert_eq!((error.kind, error.blame), (ErrorKind::Internal, Blame::Backend), "{name}");
        }
    }

    #[test]
    fn headers_that_reach_beyond_their_path_are_reserved() {
        let reserved = Alicloud::describe().reserved_headers;
        for header in ["x-oss-copy-source", "x-oss-object-acl", "x-oss-callback"] {
            assert!(reserved.iter().any(|own| own == header), "{header}");
        }
    }

    #[test]
    fn everything_that_a_signature_adds_is_reserved() {
        let described = Alicloud::describe();
        let credential = keys::credential("id", "secret", "token");
        for name in OF_ACTIONS.into_iter().chain(OF_OBJECTS) {
            let mut request = acs3::tests::documented(&[("signature", name), ("region", "r")]);
            if OF_OBJECTS.contains(&name) {
                request.action.clear();
                request.body.push(1);
            }
            let signed = Alicloud::sign(request, credential.clone(), 0, "n").unwrap();
            let is_reserved = |header: &str| {
                described.reserved_headers.iter().any(|own| {
                    own == header || own.ends_with('-') && header.starts_with(own.as_str())
                })
            };
            assert!(signed.headers.iter().all(|(header, _)| is_reserved(header)), "{name}");
            assert!(
                signed.query.iter().all(|(key, _)| described.reserved_query.contains(key)),
                "{name}"
            );
        }
    }
}

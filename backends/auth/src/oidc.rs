//! Source `oidc`: a workload's identity token (RRSA) turned into a temporary credential by the
//! token service. The request is not signed: the identity token speaks for itself.

use serde::Deserialize;
use wharf_alicloud::{codes, timestamp};
use wharf_sdk::auth::{Credential, Secret, Source};
use wharf_sdk::http::{Request, Response};
use wharf_sdk::{Blame, Error, ErrorKind};

use crate::canonical::query;
use crate::keys::Temporary;
use crate::sealed_json;

/// The endpoint id of the token service.
pub const ENDPOINT: &str = "sts";
const ACTION: &str = "AssumeRoleWithOIDC";
/// An hour, as long as the cloud's SDKs ask for.
const DURATION: &str = "3600";
const TRUST: &str = "check the role's trust policy, the identity provider, and that the token is \
                     fresh and has the audience `sts.aliyuncs.com`";

/// Asks for a credential.
///
/// # Errors
/// `not-found` without a token or a role; otherwise the cloud's, by its code. Nothing that was sent
/// is quoted.
pub fn ask(source: &Source, now_ms: u64) -> Result<Credential, Error> {
    let text = |key: &str, default: &'static str| source.value(key).map_or(default, Secret::expose);
    let form = query([
        ("RoleArn", source.require("role-arn")?.expose()),
        ("OIDCProviderArn", source.require("oidc-provider-arn")?.expose()),
        ("OIDCToken", source.require("token")?.expose().trim()),
        ("RoleSessionName", text("session-name", "wharf")),
        ("DurationSeconds", text("duration-seconds", DURATION)),
    ]);
    let request = Request::read(ENDPOINT, "POST", "/")
        .with_query("Action", ACTION)
        .with_query("Version", "2015-04-01")
        .with_query("Format", "JSON")
        .with_query("Timestamp", timestamp::format(now_ms))
        .with_header("accept", "application/json")
        .with_header("content-type", "application/x-www-form-urlencoded")
        .with_body(form);
    read(&request.send().map_err(|error| error.context(ACTION))?)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    credentials: Temporary,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Refusal {
    code: String,
}

fn read(response: &Response) -> Result<Credential, Error> {
    if response.is_success() {
        return sealed_json::of_answer::<Answer>("the token service", response)?
            .credentials
            .into_credential("the token service");
    }
    Err(refused(response))
}

fn refused(response: &Response) -> Error {
    let code =
        sealed_json::of_answer::<Refusal>("the token service", response).unwrap_or_default().code;
    let verdict = codes::judge(&code, response.status);
    // `not-found` would mean that this source is empty: here it is a role or a provider that does
    // not exist.
    let kind =
        if verdict.kind == ErrorKind::NotFound { ErrorKind::Unauthenticated } else { verdict.kind };
    let mut error = Error::new(
        kind,
        verdict.blame,
        format!("{ACTION}: the token service refused with status {}", response.status),
    );
    let is_about_trust = !verdict.is_known
        || matches!(kind, ErrorKind::Unauthenticated | ErrorKind::PermissionDenied);
    let hint = if verdict.blame == Blame::User && is_about_trust { TRUST } else { verdict.hint };
    error.hint = Some(hint.to_owned()).filter(|hint| !hint.is_empty());
    error.code = Some(code).filter(|code| !code.is_empty());
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Keys;
    use wharf_sdk::Pairs;
    use wharf_sdk::testing::FakeHost;

    fn source() -> Source {
        Source::new(
            "oidc",
            [
                ("role-arn", "acs:ram::1:role/r"),
                ("oidc-provider-arn", "acs:ram::1:oidc-provider/p"),
                ("token", "ey.s3cr3t\n"),
                ("session-name", "node-1"),
            ],
        )
    }

    #[test]
    fn a_token_becomes_a_credential_without_a_signature() {
        let body = r#"{"Credentials":{"AccessKeyId":"STS.a","AccessKeySecret":"s","SecurityToken":"t","Expiration":"2023-10-26T10:22:32Z"},"RequestId":"R"}"#;
        let host = FakeHost::install().answering("POST /", Response::new(200, body));
        let credential = ask(&source(), 0).unwrap();
        assert_eq!(
            (Keys::of(&credential).unwrap().id, credential.expires_at_ms),
            ("STS.a", Some(1_698_315_752_000))
        );
        let sent = &host.requests()[0];
        assert_eq!(
            (sent.endpoint.as_str(), sent.account.as_ref(), sent.query.value("Action")),
            ("sts", None, Some(ACTION))
        );
        let form = String::from_utf8(sent.body.clone()).unwrap();
        assert!(
            form.contains("RoleArn=acs%3Aram%3A%3A1%3Arole%2Fr")
                && form.contains("OIDCToken=ey.s3cr3t&")
                && form.contains("RoleSessionName=node-1")
        );
    }

    #[test]
    fn a_refusal_has_its_kind_and_quotes_nothing() {
        for (status, code, kind) in [
            (400, "AuthenticationFail.OIDCToken.Expired", ErrorKind::Unauthenticated),
            (403, "NoPermission", ErrorKind::PermissionDenied),
            (429, "Throttling.User", ErrorKind::Throttled),
            (404, "EntityNotExist.Role", ErrorKind::Unauthenticated),
        ] {
            let _host = FakeHost::install().answering(
                "POST /",
                Response::new(
                    status,
                    format!(r#"{{"Code":"{code}","Message":"token ey.s3cr3t"}}"#),
                ),
            );
            let error = ask(&source(), 0).unwrap_err();
            assert_eq!(error.kind, kind, "{code}");
            assert!(!format!("{error:?}").contains("s3cr3t"));
        }
    }

    #[test]
    fn a_service_that_is_down_or_busy_is_not_the_user_s_fault() {
        for (status, body, code) in [
            (503, r#"{"Code":"Brand.New"}"#, Some("Brand.New")),
            (502, "<html>", None),
            (429, r#"{"Code":"Throttling.User"}"#, Some("Throttling.User")),
        ] {
            let _host = FakeHost::install().answering("POST /", Response::new(status, body));
            let error = ask(&source(), 0).unwrap_err();
            assert_eq!(
                (error.blame, error.hint.as_deref(), error.code.as_deref()),
                (Blame::Cloud, None, code),
                "{status}"
            );
            assert!(
                matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Throttled),
                "{status}"
            );
        }
    }

    #[test]
    fn an_odd_answer_is_not_quoted() {
        for body in [
            r#""s3cr3t""#,
            r#"{"Credentials":"s3cr3t"}"#,
            r#"{"Credentials":{"AccessKeySecret":"s3cr3t"}}"#,
        ] {
            let _host = FakeHost::install().answering("POST /", Response::new(200, body));
            let error = ask(&source(), 0).unwrap_err();
            assert!(
                error.kind == ErrorKind::Internal && !format!("{error:?}").contains("s3cr3t"),
                "{error:?}"
            );
        }
    }
}

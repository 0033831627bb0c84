//! Source `ecs-ram-role`: the temporary credential that the metadata service has for the machine's
//! RAM role.

use serde::Deserialize;
use wharf_alicloud::metadata::{Metadata, ROLE_PATH};
use wharf_sdk::auth::Credential;
use wharf_sdk::{Blame, Error, ErrorKind};

use crate::keys::Temporary;
use crate::sealed_json;

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Code", default)]
    code: String,
    #[serde(flatten)]
    temporary: Temporary,
}

/// Asks for the credential of this role, or of the machine's own.
///
/// # Errors
/// `not-found` when the machine has no role; `unavailable` when there is no answer.
pub fn ask(role: Option<&str>) -> Result<Credential, Error> {
    let metadata = Metadata::open()?;
    let role = match role {
        Some(role) => role.to_owned(),
        None => {
            metadata.get(ROLE_PATH)?.text().lines().next().unwrap_or_default().trim().to_owned()
        }
    };
    if role.is_empty() {
        return Err(Error::not_found("this machine has no RAM role"));
    }
    if !role.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    {
        return Err(Error::misconfigured(
            "the name of the RAM role has characters that no role's name has",
        ));
    }
    let answer: Answer = sealed_json::of_answer(
        "the metadata service",
        &metadata.get(&format!("{ROLE_PATH}{role}"))?,
    )?;
    if !matches!(answer.code.as_str(), "" | "Success") {
        return Err(Error::new(
            ErrorKind::Unavailable,
            Blame::Cloud,
            format!("the metadata service has no credential of role {role}"),
        )
        .with_code(answer.code));
    }
    answer.temporary.into_credential("the metadata service")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Keys;
    use wharf_sdk::http::Response;
    use wharf_sdk::testing::FakeHost;

    const ANSWER: &str = r#"{"Code":"Success","AccessKeyId":"STS.a","AccessKeySecret":"s","SecurityToken":"t","Expiration":"2023-10-26T10:22:32Z","LastUpdated":"x"}"#;

    fn host() -> FakeHost {
        FakeHost::install().answering("PUT /latest/api/token", Response::new(200, "T"))
    }

    fn path(role: &str) -> String {
        format!("GET {ROLE_PATH}{role}")
    }

    #[test]
    fn the_machine_s_role_is_asked_for_and_then_its_credential() {
        let host = host()
            .answering(&path(""), Response::new(200, "worker\n"))
            .answering(&path("worker"), Response::new(200, ANSWER));
        let credential = ask(None).unwrap();
        assert_eq!(Keys::of(&credential).unwrap().id, "STS.a");
        assert_eq!(credential.expires_at_ms, Some(1_698_315_752_000));
        assert!(host.requests().iter().all(|request| request.account.is_none()));
    }

    #[test]
    fn a_role_that_is_named_spares_a_question() {
        let host = host().answering(&path("mine"), Response::new(200, ANSWER));
        assert!(ask(Some("mine")).is_ok());
        assert_eq!(host.requests().len(), 2);
    }

    #[test]
    fn a_machine_without_a_role_is_passed_over() {
        let _host = host().answering(&path(""), Response::new(404, "<html>404</html>"));
        assert_eq!(ask(None).unwrap_err().kind, ErrorKind::NotFound);
    }

    #[test]
    fn a_name_that_is_a_path_is_asked_for_nowhere() {
        let host = host();
        assert!(ask(Some("../../user-data")).is_err());
        assert_eq!(host.requests().len(), 1);
    }

    #[test]
    fn an_incomplete_or_odd_credential_is_an_error_that_quotes_nothing() {
        for body in [
            r#"{"Code":"Success","AccessKeyId":"STS.a","AccessKeySecret":"s3cr3t"}"#,
            r#"{"Code":"Success","AccessKeyId":"STS.a","AccessKeySecret":"s3cr3t","SecurityToken":"s3cr3t","Expiration":"s3cr3t"}"#,
            r#""s3cr3t""#,
        ] {
            let _host = host().answering(&path("r"), Response::new(200, body));
            let error = ask(Some("r")).unwrap_err();
            assert!(
                error.kind == ErrorKind::Internal && !format!("{error:?}").contains("s3cr3t"),
                "{error:?}"
            );
        }
    }

    #[test]
    fn a_service_that_has_no_credential_yet_is_asked_again_later() {
        let _host = host().answering(&path("r"), Response::new(200, r#"{"Code":"NotReady"}"#));
        let error = ask(Some("r")).unwrap_err();
        assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Unavailable, Some("NotReady")));
    }
}

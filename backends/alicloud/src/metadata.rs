//! The instance metadata service in its second version: a short-lived token first, then the
//! question. The endpoint id is `metadata`; its requests carry no account, so the operator grants
//! them as `METHOD /path`.

use serde::de::DeserializeOwned;
use wharf_sdk::http::{Request, Response};
use wharf_sdk::{Error, ErrorKind};

/// The endpoint id.
pub const ENDPOINT: &str = "metadata";
/// Where tokens come from.
pub const TOKEN_PATH: &str = "/latest/api/token";
/// Region, zone, instance and type of this machine, as JSON.
pub const IDENTITY_PATH: &str = "/latest/dynamic/instance-identity/document";
/// The name of the machine's RAM role; with the name behind it, its credential.
pub const ROLE_PATH: &str = "/latest/meta-data/ram/security-credentials/";

/// A token outlives the few questions of one call.
const TOKEN_SECONDS: u32 = 60;

/// A session with the metadata service.
#[derive(Clone)]
pub struct Metadata {
    token: String,
}

impl Metadata {
    /// Gets a token.
    ///
    /// # Errors
    /// There is no metadata service, or it refuses.
    pub fn open() -> Result<Self, Error> {
        let request = Request::read(ENDPOINT, "PUT", TOKEN_PATH)
            .with_header("x-aliyun-ecs-metadata-token-ttl-seconds", TOKEN_SECONDS.to_string());
        let response = ask(&request)?;
        Ok(Self { token: response.text().to_owned() })
    }

    /// Reads one path.
    ///
    /// # Errors
    /// `not-found` for a path that the service does not have; `unavailable` for anything else that
    /// is not an answer.
    pub fn get(&self, path: &str) -> Result<Response, Error> {
        ask(&Request::read(ENDPOINT, "GET", path)
            .with_header("x-aliyun-ecs-metadata-token", &self.token))
    }
}

fn ask(request: &Request) -> Result<Response, Error> {
    let what = format!("metadata service, {}", request.granted_as());
    let response = request.send().map_err(|error| error.context(&what))?;
    match response.status {
        200 => Ok(response),
        404 => Err(Error::not_found(format!("{what}: there is no such thing on this machine"))),
        status => Err(Error::unavailable(format!("{what}: status {status}"))),
    }
}

/// What the service says of this machine, as far as `T` names it. `outside` is what to do where
/// there is no such service.
///
/// # Errors
/// As [`Metadata::open`] and [`Metadata::get`], and an answer that is no `T`.
pub fn identity<T: DeserializeOwned>(outside: &str) -> Result<T, Error> {
    let ask = || Metadata::open()?.get(IDENTITY_PATH)?.json::<T>();
    ask().map_err(|error| if is_absent(&error) { error.with_hint(outside) } else { error })
}

/// Whether the error says that this machine has no such metadata, or no metadata service at all.
fn is_absent(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::NotFound | ErrorKind::Unavailable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_sdk::Pairs;
    use wharf_sdk::testing::FakeHost;

    #[test]
    fn a_question_carries_the_token_and_no_account() {
        let host = FakeHost::install()
            .answering("PUT /latest/api/token", Response::new(200, "TOKEN\n"))
            .answering("GET /latest/dynamic/instance-identity/document", Response::new(200, "{}"));
        Metadata::open().unwrap().get(IDENTITY_PATH).unwrap();
        let requests = host.requests();
        assert_eq!(
            requests[0].headers.value("x-aliyun-ecs-metadata-token-ttl-seconds"),
            Some("60")
        );
        assert_eq!(requests[1].headers.value("x-aliyun-ecs-metadata-token"), Some("TOKEN"));
        assert!(
            requests
                .iter()
                .all(|request| request.account.is_none() && request.endpoint == "metadata")
        );
    }

    #[test]
    fn a_missing_path_is_not_found_and_an_odd_status_passes() {
        let _host = FakeHost::install()
            .answering("PUT /latest/api/token", Response::new(404, ""))
            .answering("PUT /latest/api/token", Response::new(500, ""));
        assert_eq!(Metadata::open().err().unwrap().kind, ErrorKind::NotFound);
        assert_eq!(Metadata::open().err().unwrap().kind, ErrorKind::Unavailable);
    }
}

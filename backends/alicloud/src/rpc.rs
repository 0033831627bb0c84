//! One RPC-style call: parameters in the query, an empty body, JSON back.
//!
//! Action and version travel beside the request (`action`, `api`), because the signer puts them
//! where the account's signature version wants them.

use serde::de::DeserializeOwned;
use serde_json::Value;
use wharf_sdk::http::{Effect, Request};
use wharf_sdk::{Blame, Error, ErrorKind, config};

use crate::refusal::{Failure, Refusal};

/// The account that signs, unless the setting `account` names another.
const DEFAULT_ACCOUNT: &str = "cloud";

/// One API of the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Api {
    endpoint: &'static str,
    version: &'static str,
}

impl Api {
    /// The API behind this endpoint id, in this version.
    pub const fn new(endpoint: &'static str, version: &'static str) -> Self {
        Self { endpoint, version }
    }

    /// Elastic Compute Service.
    pub const fn ecs() -> Self {
        Self::new("ecs", "2014-05-26")
    }

    /// A call that changes nothing.
    pub fn read(self, action: &str) -> RpcCall {
        self.call(Effect::Read, action)
    }

    /// A call that may change something, answered or not.
    pub fn mutate(self, action: &str) -> RpcCall {
        self.call(Effect::Mutate, action)
    }

    fn call(self, effect: Effect, action: &str) -> RpcCall {
        let account = config::get("account").unwrap_or_else(|| DEFAULT_ACCOUNT.to_owned());
        let request = Request::new(effect, self.endpoint, "POST", "/")
            .signed(account, action)
            .with_api("version", self.version);
        RpcCall { request: request.with_header("accept", "application/json") }
    }
}

/// A call that is being put together.
#[derive(Debug, Clone, PartialEq)]
pub struct RpcCall {
    request: Request,
}

impl RpcCall {
    /// Adds a parameter.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.request = self.request.with_query(key, value.to_string());
        self
    }

    /// Adds a parameter if there is a value.
    #[must_use]
    pub fn with_some(self, key: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// Adds tags as `Tag.1.Key`, `Tag.1.Value`, …
    #[must_use]
    pub fn with_tags<'a>(self, tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        (1u32..).zip(tags).fold(self, |call, (number, (key, value))| {
            call.with(&format!("Tag.{number}.Key"), key).with(&format!("Tag.{number}.Value"), value)
        })
    }

    /// Sends it and reads the answer.
    ///
    /// # Errors
    /// [`Failure::Refused`] when the cloud said no in its own words; [`Failure::Unanswered`] when
    /// there was no answer, or none that is understood.
    pub fn send<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let response = self
            .request
            .send()
            .map_err(|error| Failure::Unanswered(error.context(&self.request.action)))?;
        if !response.is_success() {
            return Err(Refusal::read(&self.request, &response));
        }
        let answer =
            response.json().map_err(|error| Failure::Unanswered(self.not_understood(error)))?;
        // Not the parser's own text: it quotes what it stumbled over.
        serde_json::from_value(without_nulls(answer)).map_err(|_| {
            let error = Error::new(
                ErrorKind::Internal,
                Blame::Cloud,
                format!(
                    "the answer (status {}) does not have the shape that the API documents",
                    response.status
                ),
            );
            Failure::Unanswered(self.not_understood(error))
        })
    }

    fn not_understood(&self, error: Error) -> Error {
        let error = error.context(&self.request.action);
        match self.request.effect {
            Effect::Read => error,
            // What was asked for may have been done: the call is repeated, and then finds out.
            Effect::Mutate => Error { kind: ErrorKind::Unavailable, ..error }.with_unknown_effect(),
        }
    }
}

/// The cloud writes `null` for a field that does not apply, in some answers, and leaves it out in
/// others: here it is left out always.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, field)| !field.is_null())
            .map(|(name, field)| (name, without_nulls(field)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_sdk::http::Response;
    use wharf_sdk::testing::FakeHost;
    use wharf_sdk::{Effect as Left, Pairs};

    #[test]
    fn parameters_go_into_the_query_and_the_action_beside_it() {
        let host = FakeHost::install()
            .with_config("account", "prod")
            .answering("CreateDisk", Response::new(200, "{}"));
        let _: Value = Api::ecs()
            .mutate("CreateDisk")
            .with("Size", 20)
            .with_some("KMSKeyId", None::<&str>)
            .with_tags([("a", "b")])
            .send()
            .unwrap();
        let sent = &host.requests()[0];
        assert_eq!(
            (
                sent.endpoint.as_str(),
                sent.account.as_deref(),
                sent.method.as_str(),
                sent.path.as_str()
            ),
            ("ecs", Some("prod"), "POST", "/")
        );
        assert_eq!(sent.api.value("version"), Some("2014-05-26"));
        assert_eq!(sent.query.value("Size"), Some("20"));
        assert_eq!(
            (sent.query.value("Tag.1.Key"), sent.query.value("Tag.1.Value")),
            (Some("a"), Some("b"))
        );
        assert_eq!(sent.query.value("KMSKeyId"), None);
        assert_eq!(sent.query.value("Action"), None);
        assert!(sent.body.is_empty());
    }

    #[test]
    fn an_answer_that_is_not_understood_leaves_the_effect_of_a_mutation_open() {
        let _host = FakeHost::install()
            .answering("CreateDisk", Response::new(200, "<html>"))
            .answering("DescribeDisks", Response::new(200, "<html>"));
        let mutation: Error = Api::ecs().mutate("CreateDisk").send::<Value>().unwrap_err().into();
        assert_eq!((mutation.effect, mutation.kind), (Left::Unknown, ErrorKind::Unavailable));
        let look: Error = Api::ecs().read("DescribeDisks").send::<Value>().unwrap_err().into();
        assert_eq!(look.effect, Left::None);
        assert!(!look.message.contains("<html>"));
    }

    #[test]
    fn a_field_that_does_not_apply_may_be_null_or_missing() {
        let _host = FakeHost::install().answering(
            "DescribeDisks",
            Response::new(200, r#"{"Disks":{"Disk":[{"Size":1,"Iops":null}]}}"#),
        );
        let answer: Value = Api::ecs().read("DescribeDisks").send().unwrap();
        assert_eq!(answer, serde_json::json!({ "Disks": { "Disk": [{ "Size": 1 }] } }));
    }

    #[test]
    fn the_account_is_called_cloud_unless_set() {
        let host = FakeHost::install().answering("DescribeDisks", Response::new(200, "{}"));
        let _: Value = Api::ecs().read("DescribeDisks").send().unwrap();
        assert_eq!(host.requests()[0].account.as_deref(), Some("cloud"));
    }
}

//! What the cloud says when it says no, and what becomes of it.

use serde::Deserialize;
use wharf_sdk::http::{Effect, Request, Response};
use wharf_sdk::{Blame, Error, ErrorKind};

use crate::codes;

/// A cloud's message is cut after so many characters: it is for people, and some quote a whole
/// request.
const MESSAGE_CHARS: usize = 300;

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// The cloud refused, in its own words.
    Refused(Box<Refusal>),
    /// There was no answer, or none that is understood.
    Unanswered(Error),
}

impl Failure {
    /// The cloud's code, if it gave one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) => Some(&refusal.code),
            Self::Unanswered(_) => None,
        }
    }

    /// Whether the cloud refused with exactly this code.
    pub fn is(&self, code: &str) -> bool {
        self.code() == Some(code)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => (*refusal).into(),
            Failure::Unanswered(error) => error,
        }
    }
}

/// An answer of the form `{"Code": …, "Message": …, "RequestId": …, "Recommend": …}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The action that was refused.
    pub action: String,
    /// The HTTP status.
    pub status: u16,
    /// The cloud's code.
    pub code: String,
    /// The cloud's words, cut and cleaned; empty where they could hold more than a person should
    /// see.
    pub message: String,
    /// For a support ticket.
    pub request_id: String,
    /// Where the cloud says to look.
    pub recommend: Option<String>,
    /// Whether the refused call could have changed something.
    pub is_mutation: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Body {
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    request_id: String,
    recommend: Option<String>,
}

impl Refusal {
    /// Reads an answer whose status is not a success.
    pub(crate) fn read(request: &Request, response: &Response) -> Failure {
        let is_mutation = request.effect == Effect::Mutate;
        match response.json::<Body>() {
            Ok(body) => Failure::Refused(Box::new(Self {
                action: request.action.clone(),
                status: response.status,
                message: presentable(&body.message),
                code: body.code,
                request_id: body.request_id,
                recommend: body.recommend.filter(|link| !link.is_empty()),
                is_mutation,
            })),
            Err(_) => Failure::Unanswered(without_a_code(&request.action, response, is_mutation)),
        }
    }

    /// The words of this refusal, with the action in front.
    fn words(&self, kind: ErrorKind) -> String {
        // A signature error's message quotes the signed request, security token included.
        let said = match kind {
            ErrorKind::Unauthenticated => {
                "the cloud does not accept the credential or the signature"
            }
            _ if self.message.is_empty() => "refused by the cloud",
            _ => &self.message,
        };
        match self.request_id.as_str() {
            "" => format!("{}: {said}", self.action),
            id => format!("{}: {said} [request {id}]", self.action),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let verdict = codes::judge(&refusal.code, refusal.status);
        let mut error = Error::new(verdict.kind, verdict.blame, refusal.words(verdict.kind))
            .with_code(&refusal.code);
        error.hint = match (verdict.hint, &refusal.recommend) {
            ("", recommend) => recommend.as_ref().map(|link| format!("see {link}")),
            (hint, _) => Some(hint.to_owned()),
        };
        if refusal.is_mutation && codes::leaves_open(refusal.status) {
            error.with_unknown_effect()
        } else {
            error
        }
    }
}

/// A proxy's or a load balancer's answer: there is a status and nothing else to go by.
fn without_a_code(action: &str, response: &Response, is_mutation: bool) -> Error {
    let (kind, blame) = codes::judge_status(response.status);
    let message = format!(
        "{action}: status {} with no error code in {} bytes",
        response.status,
        response.body.len()
    );
    let error = Error::new(kind, blame, message)
        .with_hint("check that the endpoint is the cloud's API and not a proxy in front of it");
    let error = if blame == Blame::User { Error { blame: Blame::Cloud, ..error } } else { error };
    if is_mutation { error.with_unknown_effect() } else { error }
}

fn presentable(message: &str) -> String {
    if message.contains("string to sign") {
        return String::new();
    }
    message
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(MESSAGE_CHARS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_sdk::Effect as Left;

    fn refused(effect: Effect, status: u16, body: &str) -> Error {
        let request = Request::new(effect, "ecs", "POST", "/").signed("cloud", "AttachDisk");
        Refusal::read(&request, &Response::new(status, body)).into()
    }

    #[test]
    fn a_refusal_names_action_words_code_and_request() {
        let error = refused(
            Effect::Mutate,
            404,
            r#"{"Code":"InvalidInstanceId.NotFound","Message":"The specified InstanceId does not exist.","RequestId":"R-1"}"#,
        );
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert_eq!(
            error.message,
            "AttachDisk: The specified InstanceId does not exist. [request R-1]"
        );
        assert_eq!(error.code.as_deref(), Some("InvalidInstanceId.NotFound"));
        assert_eq!(error.effect, Left::None);
    }

    #[test]
    fn a_refused_signature_quotes_nothing_that_was_signed() {
        let body = r#"{"Code":"SignatureDoesNotMatch","Message":"Specified signature is not matched. server string to sign is:POST&SecurityToken%3DCAIS","RequestId":"R"}"#;
        let error = refused(Effect::Read, 400, body);
        assert_eq!(error.kind, ErrorKind::Unauthenticated);
        assert!(!format!("{error:?}").contains("CAIS"));
    }

    #[test]
    fn a_server_error_leaves_the_effect_of_a_mutation_open() {
        let body = r#"{"Code":"InternalError","Message":"x","RequestId":"R"}"#;
        assert_eq!(refused(Effect::Mutate, 500, body).effect, Left::Unknown);
        assert_eq!(refused(Effect::Read, 500, body).effect, Left::None);
        assert_eq!(refused(Effect::Mutate, 403, body).effect, Left::None);
    }

    #[test]
    fn an_answer_without_a_code_is_judged_by_its_status_and_not_quoted() {
        let error = refused(Effect::Mutate, 502, "<html>secret gateway</html>");
        assert_eq!((error.kind, error.effect), (ErrorKind::Unavailable, Left::Unknown));
        assert!(!error.message.contains("gateway"));
        assert_eq!(refused(Effect::Read, 400, "").blame, Blame::Cloud);
    }

    #[test]
    fn an_unknown_code_is_named_and_points_where_the_cloud_points() {
        let error = refused(
            Effect::Read,
            403,
            r#"{"Code":"Brand.New","Message":"No.","Recommend":"https://x.example/q"}"#,
        );
        assert_eq!(error.kind, ErrorKind::FailedPrecondition);
        assert_eq!(
            (error.code.as_deref(), error.hint.as_deref()),
            (Some("Brand.New"), Some("see https://x.example/q"))
        );
    }
}

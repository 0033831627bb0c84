//! The one JSON object that a call-out answers.
//!
//! Keys come in the order `status`, `message`, `device`, `volumeName`, and `volumeName` is always
//! there, as in the driver that Wharf takes over from; `attached` and `capabilities` only where the
//! call-out has them (kubelet dies of `"capabilities":null`).
//!
//! Every failure has the same status: kubelet and the controller treat all of them alike and call
//! again. So no [`ErrorKind`] is mapped here, and above all `Unsupported` does not become "Not
//! supported", which kubelet remembers and replaces by doing the work its own way (formatting a
//! disk, say). Only call-outs that nobody knows, and those that a driver without attaching has no
//! use for and kubelet does nothing for, get that.
//!
//! [`ErrorKind`]: wharf_core::ErrorKind

use serde::Serialize;
use wharf_core::Error;

use crate::driver_file::Capabilities;

/// Kubelet puts the message into an event, which holds 1 KiB, and into its log.
const MAX_MESSAGE: usize = 2048;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Status {
    Success,
    Failure,
    #[serde(rename = "Not supported")]
    NotSupported,
}

/// An answer. Its `Default` is plain success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reply {
    pub(crate) status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<String>,
    pub(crate) volume_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attached: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) capabilities: Option<Capabilities>,
}

impl Reply {
    pub(crate) fn success() -> Self {
        Self {
            status: Status::Success,
            message: None,
            device: None,
            volume_name: String::new(),
            attached: None,
            capabilities: None,
        }
    }

    pub(crate) fn device(device: impl Into<String>) -> Self {
        Self { device: Some(device.into()), ..Self::success() }
    }

    pub(crate) fn not_supported(message: Option<String>) -> Self {
        Self { status: Status::NotSupported, message, ..Self::success() }
    }

    /// The error's own words and its hint.
    pub(crate) fn failure(error: &Error) -> Self {
        let mut message = error.to_string();
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        Self { status: Status::Failure, message: Some(message), ..Self::success() }
    }

    /// The object and a newline, in one piece.
    pub(crate) fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_else(|_| LAST_RESORT.as_bytes().to_vec());
        line.push(b'\n');
        line
    }
}

/// What is said when nothing else can be.
const LAST_RESORT: &str =
    r#"{"status":"Failure","message":"wharf could not write its answer","volumeName":""}"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(reply: &Reply) -> String {
        String::from_utf8(reply.to_line()).unwrap()
    }

    #[test]
    fn answers_look_like_those_of_the_driver_before() {
        assert_eq!(line(&Reply::success()), "{\"status\":\"Success\",\"volumeName\":\"\"}\n");
        assert_eq!(
            line(&Reply::device("/dev/vdb")),
            "{\"status\":\"Success\",\"device\":\"/dev/vdb\",\"volumeName\":\"\"}\n"
        );
        assert_eq!(
            line(&Reply::not_supported(None)),
            "{\"status\":\"Not supported\",\"volumeName\":\"\"}\n"
        );
        let failure = line(&Reply::failure(&Error::invalid("no \"id\"").with_hint("set one")));
        assert_eq!(
            failure,
            "{\"status\":\"Failure\",\"message\":\"no \\\"id\\\"; set one\",\"volumeName\":\"\"}\n"
        );
        assert!(serde_json::from_str::<serde_json::Value>(LAST_RESORT).is_ok());
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let reply = Reply::failure(&Error::invalid("ü".repeat(MAX_MESSAGE)));
        assert_eq!(reply.message.unwrap().len(), MAX_MESSAGE);
        let odd = Reply::failure(&Error::invalid(format!("a{}", "ü".repeat(MAX_MESSAGE))));
        assert_eq!(odd.message.unwrap().len(), MAX_MESSAGE - 1);
    }
}

//! JSON that holds keys: read without ever quoting it.
//!
//! Messages of `serde_json` repeat the value that they stumble over, so no error in here has one.
//! Every source that reads JSON comes here; answers without keys are read with [`Response::json`].

use serde::de::DeserializeOwned;
use serde_json::error::Category;
use wharf_sdk::auth::Secret;
use wharf_sdk::http::Response;
use wharf_sdk::{Blame, Error, ErrorKind};

/// Reads a file's content; `what` is how a person calls the file.
///
/// # Errors
/// A misconfiguration that says what is wrong, and in which line where that is known.
pub fn of_file<T: DeserializeOwned>(what: &str, content: &Secret) -> Result<T, Error> {
    serde_json::from_str(content.expose())
        .map_err(|error| Error::misconfigured(format!("{what} {}", wrong(&error))))
}

/// Reads an answer; `what` is who gave it.
///
/// # Errors
/// `internal`, blamed on the cloud.
pub fn of_answer<T: DeserializeOwned>(what: &str, response: &Response) -> Result<T, Error> {
    serde_json::from_slice(&response.body).map_err(|error| {
        let size = response.body.len();
        Error::new(
            ErrorKind::Internal,
            Blame::Cloud,
            format!(
                "the answer of {what} (status {}, {size} bytes) {}",
                response.status,
                wrong(&error)
            ),
        )
    })
}

fn wrong(error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Data => "has a value of an unexpected type".to_owned(),
        Category::Eof => "ends in the middle of its JSON".to_owned(),
        Category::Syntax | Category::Io => format!("is not JSON (line {})", error.line()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    struct Keys {
        #[expect(dead_code, reason = "only its type is looked at")]
        secret: String,
    }

    #[test]
    fn an_error_says_what_is_wrong_and_never_what_stands_there() {
        for (text, word) in [
            (r#""s3cr3t""#, "unexpected type"),
            (r#"{"secret": 53637}"#, "unexpected type"),
            (r#"{"s3cr3t": "s3cr3t"}"#, "unexpected type"),
            ("{\n\"secret\": s3cr3t}", "line 2"),
            (r#"{"secret": "s3cr3t"#, "ends in the middle"),
            ("", "ends in the middle"),
        ] {
            let of_file = of_file::<Keys>("the file", &Secret::new(text)).unwrap_err();
            let of_answer = of_answer::<Keys>("somebody", &Response::new(200, text)).unwrap_err();
            assert_eq!(
                (of_file.kind, of_answer.kind),
                (ErrorKind::FailedPrecondition, ErrorKind::Internal),
                "{text}"
            );
            for error in [of_file, of_answer] {
                assert!(error.message.contains(word), "{}", error.message);
                assert!(
                    !format!("{error:?}").contains("s3cr3t")
                        && !format!("{error:?}").contains("53637"),
                    "{error:?}"
                );
            }
        }
    }
}

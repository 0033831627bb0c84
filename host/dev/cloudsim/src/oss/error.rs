//! What object storage answers when it refuses: an XML document with the codes, statuses and
//! messages of the public error tables of OSS (and of S3 where only that face can meet them).

use super::document::Document;
use super::request::Face;

/// An error as the real API gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OssError {
    pub(crate) status: u16,
    pub(crate) code: String,
    message: String,
    /// What this code says besides: `BucketName`, `Key`, …
    fields: Vec<(&'static str, String)>,
    /// What a client is told beside the document.
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl OssError {
    /// An error by its HTTP status, code and message.
    pub(crate) fn new(status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            fields: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// With one more element in its document.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// With a header.
    #[must_use]
    pub(crate) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The body.
    pub(crate) fn document(&self, request_id: &str, host: &str) -> String {
        let mut document = Document::new();
        document.inside("Error", |error| {
            error.field("Code", &self.code).field("Message", &self.message);
            error.field("RequestId", request_id).field("HostId", host);
            for (name, value) in &self.fields {
                error.field(name, value);
            }
        });
        document.text()
    }

    /// 404 `NoSuchBucket`.
    pub(crate) fn no_bucket(bucket: &str) -> Self {
        Self::new(404, "NoSuchBucket", "The specified bucket does not exist.")
            .with("BucketName", bucket)
    }

    /// 404 `NoSuchKey`.
    pub(crate) fn no_key(key: &str) -> Self {
        Self::new(404, "NoSuchKey", "The specified key does not exist.").with("Key", key)
    }

    /// 404 `NoSuchUpload`.
    pub(crate) fn no_upload(id: &str) -> Self {
        let message = "The specified upload does not exist. The upload ID may be invalid, or the \
                       upload may have been aborted or completed.";
        Self::new(404, "NoSuchUpload", message).with("UploadId", id)
    }

    /// 409 `BucketAlreadyExists`.
    pub(crate) fn bucket_exists(bucket: &str) -> Self {
        let message = "The requested bucket name is not available. The bucket namespace is shared \
                       by all users of the system. Please select a different name and try again.";
        Self::new(409, "BucketAlreadyExists", message).with("BucketName", bucket)
    }

    /// 409 `BucketNotEmpty`.
    pub(crate) fn bucket_not_empty(bucket: &str) -> Self {
        Self::new(409, "BucketNotEmpty", "The bucket you tried to delete is not empty.")
            .with("BucketName", bucket)
    }

    /// 400 `InvalidBucketName`.
    pub(crate) fn bucket_name(bucket: &str) -> Self {
        Self::new(400, "InvalidBucketName", "The specified bucket is not valid.")
            .with("BucketName", bucket)
    }

    /// 400 `InvalidObjectName`.
    pub(crate) fn object_name(message: &str) -> Self {
        Self::new(400, "InvalidObjectName", message)
    }

    /// 400 `InvalidArgument`, with what was wrong.
    pub(crate) fn argument(name: &str, value: &str, message: impl Into<String>) -> Self {
        Self::new(400, "InvalidArgument", message)
            .with("ArgumentName", name)
            .with("ArgumentValue", value)
    }

    /// 403 `AccessDenied`.
    pub(crate) fn denied(message: &str) -> Self {
        Self::new(403, "AccessDenied", message)
    }

    /// 400 `MalformedXML`.
    pub(crate) fn malformed_xml() -> Self {
        let message = "The XML you provided was not well-formed or did not validate against our \
                       published schema.";
        Self::new(400, "MalformedXML", message)
    }

    /// 400 `EntityTooLarge`: more bytes than one request may bring.
    pub(crate) fn too_large(most: u64) -> Self {
        let message = "Your proposed upload exceeds the maximum allowed object size.";
        Self::new(400, "EntityTooLarge", message).with("MaxSizeAllowed", most.to_string())
    }

    /// 400 `IncompleteBody`: the client announced more than it sent.
    pub(crate) fn incomplete_body() -> Self {
        let message = "The request body terminated before the number of bytes that the \
                       Content-Length header gives.";
        Self::new(400, "IncompleteBody", message)
    }

    /// 412 `PreconditionFailed`.
    pub(crate) fn precondition(condition: &'static str) -> Self {
        let message = "At least one of the pre-conditions you specified did not hold.";
        Self::new(412, "PreconditionFailed", message).with("Condition", condition)
    }

    /// 409 `OperationAborted`: the object was replaced while the call was at work on it.
    pub(crate) fn replaced(key: &str) -> Self {
        let message = "A conflicting operation is currently in progress against this resource.";
        Self::new(409, "OperationAborted", message).with("Key", key)
    }

    /// 501 `NotImplemented`: real, and not simulated.
    pub(crate) fn not_simulated(what: &str) -> Self {
        let message = format!(
            "A header or parameter you provided implies functionality that is not implemented. \
             (simulated region: {what})"
        );
        Self::new(501, "NotImplemented", message)
    }

    /// 503, in the words of the face that asks: too many calls.
    pub(crate) fn throttled(face: Face) -> Self {
        let code = match face {
            Face::Native => "ServiceUnavailable",
            Face::S3 => "SlowDown",
        };
        Self::new(503, code, "Please reduce your request rate.")
    }

    /// 503 `ServiceUnavailable`: the region is ending.
    pub(crate) fn stopped() -> Self {
        Self::new(503, "ServiceUnavailable", "Please try again later.")
    }

    /// 500 `InternalError`: the region itself failed, mostly on a file. The reason goes to the
    /// message, for the person running it.
    pub(crate) fn internal(reason: &dyn std::fmt::Display) -> Self {
        let message = format!("We encountered an internal error. (simulated region: {reason})");
        Self::new(500, "InternalError", message)
    }
}

impl std::fmt::Display for OssError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.code, self.message)?;
        self.fields.iter().try_for_each(|(name, value)| write!(formatter, " ({name} {value})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_s_document_names_code_host_and_object_and_escapes_them() {
        let document = OssError::no_key("a<&>b").document("ID", "b.oss.example");
        assert_eq!(
            document,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchKey</Code>\
             <Message>The specified key does not exist.</Message><RequestId>ID</RequestId>\
             <HostId>b.oss.example</HostId><Key>a&lt;&amp;&gt;b</Key></Error>"
        );
    }
}

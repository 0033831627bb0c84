//! What the region answers: a JSON object, or an error in the shape and with the codes of the real
//! API.
//!
//! Codes, status and messages follow the public error tables of ECS 2014-05-26, STS 2015-04-01 and
//! the common errors of the API gateway.

use serde_json::{Value, json};

/// An answer without its `RequestId`, which the server adds.
pub(crate) type Answer = Result<Value, ApiError>;

/// An object without its fields that are `null`: the real API leaves them out.
pub(crate) fn present(mut object: Value) -> Value {
    if let Value::Object(fields) = &mut object {
        fields.retain(|_, value| !value.is_null());
    }
    object
}

/// An error as the real API gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
}

impl ApiError {
    /// An error by its HTTP status, code and message.
    pub(crate) fn new(status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into() }
    }

    /// A parameter that must be there and is not.
    pub(crate) fn missing(parameter: &str) -> Self {
        let message = format!(
            "The input parameter \"{parameter}\" that is mandatory for processing this request is \
             not supplied."
        );
        Self::new(400, "MissingParameter", message)
    }

    /// A parameter whose value cannot be.
    pub(crate) fn invalid(parameter: &str) -> Self {
        Self::new(
            400,
            "InvalidParameter",
            format!("The specified parameter \"{parameter}\" is not valid."),
        )
    }

    /// 404 `InvalidAction.NotFound`.
    pub(crate) fn no_action() -> Self {
        let message = "Specified api is not found, please check your url and method.";
        Self::new(404, "InvalidAction.NotFound", message)
    }

    /// 404 `InvalidRegionId.NotFound`.
    pub(crate) fn no_region() -> Self {
        Self::new(404, "InvalidRegionId.NotFound", "The specified RegionId does not exist.")
    }

    /// 404 `InvalidDiskId.NotFound`.
    pub(crate) fn no_disk() -> Self {
        Self::new(404, "InvalidDiskId.NotFound", "The specified disk does not exist.")
    }

    /// 404 `InvalidInstanceId.NotFound`.
    pub(crate) fn no_instance() -> Self {
        Self::new(404, "InvalidInstanceId.NotFound", "The specified InstanceId does not exist.")
    }

    /// 404 `InvalidSnapshotId.NotFound`.
    pub(crate) fn no_snapshot() -> Self {
        Self::new(404, "InvalidSnapshotId.NotFound", "The specified SnapshotId does not exist.")
    }

    /// 403 `IncorrectDiskStatus`.
    pub(crate) fn disk_status() -> Self {
        Self::new(
            403,
            "IncorrectDiskStatus",
            "The current disk status does not support this operation.",
        )
    }

    /// 403 `InstanceLockedForSecurity`.
    pub(crate) fn instance_locked() -> Self {
        Self::new(403, "InstanceLockedForSecurity", "The instance is locked due to security.")
    }

    /// 403 `DiskInArrears`.
    pub(crate) fn disk_in_arrears() -> Self {
        Self::new(403, "DiskInArrears", "The specified operation is denied as your disk owing fee.")
    }

    /// 400 `Throttling.User`.
    pub(crate) fn throttled() -> Self {
        Self::new(400, "Throttling.User", "Request was denied due to user flow control.")
    }

    /// 500 `InternalError`: the region itself failed, on a file or a loop device. The reason goes
    /// to the message, for the person running it.
    pub(crate) fn internal(reason: &dyn std::fmt::Display) -> Self {
        let message = format!(
            "The request processing has failed due to some unknown error. (simulated region: \
             {reason})"
        );
        Self::new(500, "InternalError", message)
    }

    /// The body, with the fields of the real API.
    pub(crate) fn body(&self, request_id: &str, host: &str) -> Value {
        json!({
            "RequestId": request_id,
            "HostId": host,
            "Code": self.code,
            "Message": self.message,
            "Recommend": format!("https://api.aliyun.com/troubleshoot?q={}&product=Ecs", self.code),
        })
    }
}

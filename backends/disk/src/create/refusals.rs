//! Refused attempts at a disk: which of them leave room for another attempt, and what they come to
//! when none is left.

use wharf_alicloud::{Failure, codes};
use wharf_sdk::{Error, ErrorKind};

/// Why every attempt failed.
#[derive(Default)]
pub(super) struct Refusals {
    reasons: Vec<String>,
    kinds: Vec<ErrorKind>,
    code: Option<String>,
}

impl Refusals {
    /// The size is none of that kind: nothing was sent.
    pub(super) fn add_size(&mut self, error: Error) {
        if !self.reasons.contains(&error.message) {
            self.reasons.push(error.message);
        }
    }

    /// The cloud refused this attempt.
    pub(super) fn add(&mut self, attempt: &str, error: Error) {
        self.kinds.push(error.kind);
        self.reasons.push(format!("{attempt}: {}", error.message));
        self.code = error.code.or(self.code.take());
    }

    /// One error for all of them: a shortage where one is among them, since it passes; else a
    /// mistake where one is; else the size.
    pub(super) fn into_error(self, name: &str) -> Error {
        let message = format!("volume {name}: no attempt succeeded: {}", self.reasons.join("; "));
        let error = if self.kinds.iter().all(|kind| *kind == ErrorKind::OutOfRange) {
            Error::out_of_range(message)
                .with_hint("ask for another size, or name a type that allows it")
        } else if self.kinds.contains(&ErrorKind::InvalidArgument)
            && !self.kinds.contains(&ErrorKind::ResourceExhausted)
        {
            Error::invalid_request(message)
                .with_hint("change the parameters of the StorageClass: waiting does not help")
        } else {
            Error::exhausted(message)
                .with_hint("name more types in `type`, allow more zones, or try again later")
        };
        Error { code: self.code, ..error }
    }
}

/// Codes that concern one type, level or zone, whatever they begin with.
const ABOUT_THE_ATTEMPT: [&str; 8] = [
    "InvalidDataDiskSize.ValueNotSupported",
    "InvalidDiskSize.NotSupported",
    "InvalidParameter.DiskCategoryAndMultiAttachNotMatch",
    "InvalidParameter.EncryptedNotSupported",
    "InvalidProvisionedIops.LimitExceed",
    "OperationDenied.PerformanceLevelNotMatch",
    "OperationDenied.ZoneNotSupportMultiAttachDisk",
    // Counted for each type and zone; any other quota is the account's, and no other attempt has
    // more of it.
    "QuotaExceed.DiskCapacity",
];

/// Whether another type or zone may succeed where this one did not.
pub(super) fn falls_through(failure: &Failure) -> bool {
    let Failure::Refused(refusal) = failure else { return false };
    let is_stock = codes::judge(&refusal.code, refusal.status).kind == ErrorKind::ResourceExhausted
        && !refusal.code.contains("Quota");
    let is_kind = ["InvalidDiskCategory", "InvalidPerformanceLevel"]
        .iter()
        .any(|prefix| refusal.code.starts_with(prefix));
    // The one refusal of a category that has a general code and says it in words; the cloud's own
    // driver looks for them too.
    let is_category =
        refusal.message.contains("'DataDisk.n.Category' is not valid in this region.");
    is_stock || is_kind || is_category || ABOUT_THE_ATTEMPT.contains(&refusal.code.as_str())
}

//! Refused attempts at a disk: which of them leave room for another attempt, and what they come to
//! when none is left.

use serde::{Deserialize, Serialize};
use wharf_alicloud::{Refusal, codes};
use wharf_sdk::{Error, ErrorKind};

/// A code of the cloud is shorter.
const CODE_CHARS: usize = 80;

/// An attempt that the cloud refused, as the next call gets it: the attempt, the HTTP status, the
/// cloud's code, and its words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refused(pub(super) String, u16, String, String);

impl Refused {
    pub(super) fn new(attempt: String, refusal: &Refusal) -> Self {
        let code = refusal.code.chars().take(CODE_CHARS).collect();
        Self(attempt, refusal.status, code, Error::from(refusal.clone()).message)
    }

    /// Without the cloud's words.
    pub(super) fn in_short(&self) -> Self {
        Self(self.0.clone(), self.1, self.2.clone(), String::new())
    }

    /// What was refused, and why.
    pub(super) fn reason(&self) -> String {
        format!("{}: {}", self.0, if self.3.is_empty() { &self.2 } else { &self.3 })
    }

    fn kind(&self) -> ErrorKind {
        codes::judge(&self.2, self.1).kind
    }
}

/// Why every attempt failed.
pub(super) struct Refusals {
    reasons: Vec<String>,
    kinds: Vec<ErrorKind>,
    code: Option<String>,
}

impl Refusals {
    /// Sizes that a kind does not have, for which nothing was sent, and attempts that the cloud
    /// refused.
    pub(super) fn of(misfits: Vec<Error>, refused: &[Refused]) -> Self {
        let mut reasons: Vec<String> = Vec::new();
        for misfit in misfits {
            // One kind is a misfit in every zone alike.
            if !reasons.contains(&misfit.message) {
                reasons.push(misfit.message);
            }
        }
        reasons.extend(refused.iter().map(Refused::reason));
        Self {
            reasons,
            kinds: refused.iter().map(Refused::kind).collect(),
            code: refused.last().map(|refused| refused.2.clone()),
        }
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
pub(super) fn falls_through(refusal: &Refusal) -> bool {
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

//! One table from the cloud's error codes to the contract's error kinds, with what a person should
//! do.
//!
//! Source: the error code lists of CreateDisk, DeleteDisk, AttachDisk, DetachDisk, ResizeDisk,
//! DescribeDisks (ECS 2014-05-26), the common error codes, and the codes that the public driver
//! handles. What the table does not know is judged by its HTTP status, and its code is shown.

use wharf_sdk::{Blame, ErrorKind};

/// What a code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The contract's kind.
    pub kind: ErrorKind,
    /// Who has to act.
    pub blame: Blame,
    /// What that person should do; empty where the cloud's own words say it.
    pub hint: &'static str,
    /// Whether the table knew the code.
    pub is_known: bool,
}

struct Row(&'static str, ErrorKind, Blame, &'static str);

const ACCOUNT_MONEY: &str =
    "settle the account's balance in the Alibaba Cloud console, then try again";
const ACCOUNT_LOCK: &str = "the cloud locked the resource (security or compliance); unlock it in \
                            the console or open a ticket";
const CREDENTIAL: &str = "check the access key or role that the account of this driver uses";
const RAM: &str = "grant this action to the RAM user or role of the account that signs";
const STOCK: &str = "choose another disk type or zone, or try again later";
const QUOTA: &str = "raise the quota in the Quota Center, or delete what is not needed";
const SLOTS: &str = "the node holds as many disks as its instance type allows; schedule the \
                     workload on another node";
const PAIRING: &str = "use a disk type that the node's instance type supports, or another node";

/// First match wins. A star at the end matches any rest, a star at the beginning any start.
const TABLE: &[Row] = &[
    // Slow down.
    Row("Throttling*", ErrorKind::Throttled, Blame::Cloud, ""),
    Row("RequestLimitExceeded*", ErrorKind::Throttled, Blame::Cloud, ""),
    Row("FlowControl*", ErrorKind::Throttled, Blame::Cloud, ""),
    // Who are you?
    Row("SignatureNonceUsed", ErrorKind::Unavailable, Blame::Host, ""),
    Row(
        "InvalidTimeStamp*",
        ErrorKind::Unauthenticated,
        Blame::Host,
        "set this machine's clock: the cloud accepts 15 minutes of difference",
    ),
    Row(
        "IllegalTimestamp",
        ErrorKind::Unauthenticated,
        Blame::Host,
        "set this machine's clock: the cloud accepts 15 minutes of difference",
    ),
    Row("SignatureDoesNotMatch", ErrorKind::Unauthenticated, Blame::User, CREDENTIAL),
    Row("IncompleteSignature", ErrorKind::Unauthenticated, Blame::User, CREDENTIAL),
    Row("InvalidAccessKeyId*", ErrorKind::Unauthenticated, Blame::User, CREDENTIAL),
    Row("InvalidSecurityToken*", ErrorKind::Unauthenticated, Blame::User, CREDENTIAL),
    Row("MissingSecurityToken", ErrorKind::Unauthenticated, Blame::User, CREDENTIAL),
    Row("MissingAccessKeyId", ErrorKind::Unauthenticated, Blame::User, CREDENTIAL),
    Row("AuthenticationFail*", ErrorKind::Unauthenticated, Blame::User, CREDENTIAL),
    // You may not. Money and locks come first: several of them begin with `Forbidden` as well.
    Row("InvalidAccountStatus*", ErrorKind::FailedPrecondition, Blame::User, ACCOUNT_MONEY),
    Row("*Arrearage", ErrorKind::FailedPrecondition, Blame::User, ACCOUNT_MONEY),
    Row("*InArrears", ErrorKind::FailedPrecondition, Blame::User, ACCOUNT_MONEY),
    Row("*NotEnoughBalance", ErrorKind::FailedPrecondition, Blame::User, ACCOUNT_MONEY),
    Row("InsufficientBalance*", ErrorKind::FailedPrecondition, Blame::User, ACCOUNT_MONEY),
    Row("InstanceLockedForSecurity", ErrorKind::FailedPrecondition, Blame::User, ACCOUNT_LOCK),
    Row("*LockedForSecurity", ErrorKind::FailedPrecondition, Blame::User, ACCOUNT_LOCK),
    Row("SecurityRisk*", ErrorKind::FailedPrecondition, Blame::User, ACCOUNT_LOCK),
    Row(
        "RealNameAuthenticationError",
        ErrorKind::FailedPrecondition,
        Blame::User,
        "finish the real-name registration of the account",
    ),
    Row("Forbidden.RAM", ErrorKind::PermissionDenied, Blame::User, RAM),
    Row("Forbidden*", ErrorKind::PermissionDenied, Blame::User, RAM),
    Row("NoPermission*", ErrorKind::PermissionDenied, Blame::User, RAM),
    Row("ImplicitDeny*", ErrorKind::PermissionDenied, Blame::User, RAM),
    Row(
        "UserNotInTheWhiteList",
        ErrorKind::PermissionDenied,
        Blame::User,
        "ask the cloud to enable this feature for the account",
    ),
    Row(
        "InvalidKMSKey*",
        ErrorKind::InvalidArgument,
        Blame::User,
        "name a key of this region that the account may use in `kmsKeyId`",
    ),
    Row(
        "InvalidParameter.KMSKeyId*",
        ErrorKind::InvalidArgument,
        Blame::User,
        "name a key of this region that the account may use in `kmsKeyId`",
    ),
    // Not enough of it.
    Row("*NoStock", ErrorKind::ResourceExhausted, Blame::Cloud, STOCK),
    Row("*NotOnSale", ErrorKind::ResourceExhausted, Blame::Cloud, STOCK),
    Row("InvalidResource.Insufficient*", ErrorKind::ResourceExhausted, Blame::Cloud, STOCK),
    Row("*CapacityNotEnough", ErrorKind::ResourceExhausted, Blame::Cloud, STOCK),
    Row("*NotEnoughCapacity", ErrorKind::ResourceExhausted, Blame::Cloud, STOCK),
    Row("InstanceDiskLimitExceeded", ErrorKind::ResourceExhausted, Blame::User, SLOTS),
    Row("InstanceDiskCategoryLimitExceed*", ErrorKind::ResourceExhausted, Blame::User, SLOTS),
    Row("QuotaExceed*", ErrorKind::ResourceExhausted, Blame::User, QUOTA),
    Row("Quota.Exceed*", ErrorKind::ResourceExhausted, Blame::User, QUOTA),
    Row("*QuotaExceed", ErrorKind::ResourceExhausted, Blame::User, QUOTA),
    Row("*QuotaExceeded", ErrorKind::ResourceExhausted, Blame::User, QUOTA),
    // Busy, and soon not any more.
    Row("IncorrectDiskStatus*", ErrorKind::Aborted, Blame::Cloud, ""),
    Row("IncorrectInstanceStatus*", ErrorKind::Aborted, Blame::Cloud, ""),
    Row("InvalidStatus.DiskNotReady", ErrorKind::Aborted, Blame::Cloud, ""),
    Row("InvalidOperation.Conflict", ErrorKind::Aborted, Blame::Cloud, ""),
    Row("Operation.Conflict", ErrorKind::Aborted, Blame::Cloud, ""),
    // Also too many disks on their way to one instance at a time.
    Row("OperationConflict*", ErrorKind::Aborted, Blame::Cloud, ""),
    Row("DisksDetachingOnEcsExceeded", ErrorKind::Aborted, Blame::Cloud, ""),
    Row("InvalidStatus.Upgrading", ErrorKind::Aborted, Blame::Cloud, ""),
    Row("DiskId.StatusNotSupported", ErrorKind::Aborted, Blame::Cloud, ""),
    // The next look says whose it is.
    Row("InvalidDisk.InUse", ErrorKind::Aborted, Blame::Cloud, ""),
    Row("LastOrderProcessing", ErrorKind::Aborted, Blame::Cloud, ""),
    Row("LastTokenProcessing", ErrorKind::Aborted, Blame::Cloud, ""),
    Row("DiskCreatingSnapshot", ErrorKind::Aborted, Blame::Cloud, ""),
    Row("TaskConflict", ErrorKind::Aborted, Blame::Cloud, ""),
    Row("InvalidDisk.AlreadyExisted", ErrorKind::Aborted, Blame::Cloud, ""),
    // Broken for now.
    Row("ServiceUnavailable*", ErrorKind::Unavailable, Blame::Cloud, ""),
    Row("InternalError*", ErrorKind::Unavailable, Blame::Cloud, ""),
    Row("UnknownError", ErrorKind::Unavailable, Blame::Cloud, ""),
    Row("ServiceTimeout", ErrorKind::Unavailable, Blame::Cloud, ""),
    // It does not fit.
    Row(
        "IdempotentParameterMismatch",
        ErrorKind::AlreadyExists,
        Blame::User,
        "the same name was used with other parameters; use another name",
    ),
    Row(
        "InvalidDiskSize*",
        ErrorKind::OutOfRange,
        Blame::User,
        "ask for a size that the disk type allows",
    ),
    Row(
        "InvalidDataDiskSize*",
        ErrorKind::OutOfRange,
        Blame::User,
        "ask for a size that the disk type allows",
    ),
    Row("InvalidDataDiskCategory*", ErrorKind::ResourceExhausted, Blame::Cloud, STOCK),
    Row("InvalidDiskCategory*", ErrorKind::InvalidArgument, Blame::User, PAIRING),
    Row(
        "OperationDenied.PerformanceLevelNotMatch",
        ErrorKind::OutOfRange,
        Blame::User,
        "choose a performance level that allows this size",
    ),
    Row(
        "InvalidPerformanceLevel*",
        ErrorKind::InvalidArgument,
        Blame::User,
        "choose a performance level that this region offers",
    ),
    Row(
        "InvalidProvisionedIops*",
        ErrorKind::InvalidArgument,
        Blame::User,
        "ask for fewer provisioned IOPS, or for a larger disk",
    ),
    Row(
        "InvalidInstanceType.NotSupportDiskCategory",
        ErrorKind::FailedPrecondition,
        Blame::User,
        PAIRING,
    ),
    Row("NotSupportDiskCategory", ErrorKind::FailedPrecondition, Blame::User, PAIRING),
    Row("InvalidInstanceType*", ErrorKind::FailedPrecondition, Blame::User, PAIRING),
    Row(
        "ResourcesNotInSameZone",
        ErrorKind::FailedPrecondition,
        Blame::User,
        "the disk and the node are in different zones; use `volumeBindingMode: \
         WaitForFirstConsumer`",
    ),
    Row(
        "InvalidOperation.InvalidZone*",
        ErrorKind::FailedPrecondition,
        Blame::User,
        "the disk and the node are in different zones; use `volumeBindingMode: \
         WaitForFirstConsumer`",
    ),
    Row(
        "DiskNotPortable",
        ErrorKind::FailedPrecondition,
        Blame::User,
        "the disk is bound to the instance that it was bought with; convert it to pay-as-you-go",
    ),
    Row(
        "DependencyViolation*",
        ErrorKind::FailedPrecondition,
        Blame::User,
        "delete what depends on it first (snapshots, for example)",
    ),
    Row(
        "DeletionProtection*",
        ErrorKind::FailedPrecondition,
        Blame::User,
        "switch deletion protection off first",
    ),
    Row("OperationDenied*", ErrorKind::FailedPrecondition, Blame::User, ""),
    // Not there. After everything that ends like it and means something else.
    Row("InvalidRegionId*", ErrorKind::InvalidArgument, Blame::User, "check the setting `region`"),
    Row("InvalidZoneId*", ErrorKind::InvalidArgument, Blame::User, "name a zone of this region"),
    Row(
        "InvalidResourceGroup*",
        ErrorKind::InvalidArgument,
        Blame::User,
        "check `resourceGroupId`",
    ),
    Row("*.NotFound", ErrorKind::NotFound, Blame::User, ""),
    // The call is wrong.
    Row("Missing*", ErrorKind::InvalidArgument, Blame::User, ""),
    Row("InvalidParameter*", ErrorKind::InvalidArgument, Blame::User, ""),
    Row("*.Malformed", ErrorKind::InvalidArgument, Blame::User, ""),
    Row("*.ValueNotSupported", ErrorKind::InvalidArgument, Blame::User, ""),
    Row("UnsupportedOperation*", ErrorKind::InvalidArgument, Blame::User, ""),
    Row(
        "InvalidAction*",
        ErrorKind::Internal,
        Blame::Backend,
        "the endpoint does not know this action; check that it is the right product's endpoint",
    ),
    Row(
        "InvalidVersion",
        ErrorKind::Internal,
        Blame::Backend,
        "the endpoint does not know this API version; check that it is the right product's \
         endpoint",
    ),
];

/// What this code means, arriving with this HTTP status.
pub fn judge(code: &str, status: u16) -> Verdict {
    match TABLE.iter().find(|Row(pattern, ..)| matches(pattern, code)) {
        Some(&Row(_, kind, blame, hint)) => Verdict { kind, blame, hint, is_known: true },
        None => {
            let (kind, blame) = judge_status(status);
            Verdict { kind, blame, hint: "", is_known: false }
        }
    }
}

/// What a status alone means. ECS uses 403 for states and quotas as much as for permissions, so an
/// unknown 403 is a state.
pub fn judge_status(status: u16) -> (ErrorKind, Blame) {
    match status {
        400 => (ErrorKind::InvalidArgument, Blame::User),
        401 => (ErrorKind::Unauthenticated, Blame::User),
        403 => (ErrorKind::FailedPrecondition, Blame::User),
        404 => (ErrorKind::NotFound, Blame::User),
        409 => (ErrorKind::Aborted, Blame::Cloud),
        429 => (ErrorKind::Throttled, Blame::Cloud),
        500..=599 => (ErrorKind::Unavailable, Blame::Cloud),
        _ => (ErrorKind::Other, Blame::Cloud),
    }
}

/// Whether a mutation that was refused with this status may have happened all the same.
pub fn leaves_open(status: u16) -> bool {
    status >= 500
}

fn matches(pattern: &str, code: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), _) => code.ends_with(end),
        (None, Some(start)) => code.starts_with(start),
        (None, None) => code == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_that_drivers_meet_has_its_kind() {
        let table = [
            ("Throttling", ErrorKind::Throttled),
            ("Throttling.User", ErrorKind::Throttled),
            ("Throttling.Api", ErrorKind::Throttled),
            ("ServiceUnavailable", ErrorKind::Unavailable),
            ("InternalError", ErrorKind::Unavailable),
            ("Forbidden.RAM", ErrorKind::PermissionDenied),
            ("NoPermission", ErrorKind::PermissionDenied),
            ("OperationDenied.NoStock", ErrorKind::ResourceExhausted),
            ("Zone.NotOnSale", ErrorKind::ResourceExhausted),
            ("InstanceDiskLimitExceeded", ErrorKind::ResourceExhausted),
            ("QuotaExceed.Snapshot", ErrorKind::ResourceExhausted),
            ("DiskQuotaExceeded", ErrorKind::ResourceExhausted),
            ("InvalidDiskId.NotFound", ErrorKind::NotFound),
            ("InvalidInstanceId.NotFound", ErrorKind::NotFound),
            ("InvalidSnapshotId.NotFound", ErrorKind::NotFound),
            ("InvalidAccessKeyId.NotFound", ErrorKind::Unauthenticated),
            ("InvalidAccessKeyId.Inactive", ErrorKind::Unauthenticated),
            ("InvalidSecurityToken.Expired", ErrorKind::Unauthenticated),
            ("SignatureDoesNotMatch", ErrorKind::Unauthenticated),
            ("DiskInArrears", ErrorKind::FailedPrecondition),
            ("InvalidAccountStatus.NotEnoughBalance", ErrorKind::FailedPrecondition),
            ("InstanceLockedForSecurity", ErrorKind::FailedPrecondition),
            ("IncorrectDiskStatus", ErrorKind::Aborted),
            ("IncorrectDiskStatus.Initializing", ErrorKind::Aborted),
            ("IncorrectInstanceStatus", ErrorKind::Aborted),
            ("InvalidOperation.Conflict", ErrorKind::Aborted),
            ("Operation.Conflict", ErrorKind::Aborted),
            ("OperationConflict", ErrorKind::Aborted),
            ("OperationConflict.DisksAttachingParallellyExceed", ErrorKind::Aborted),
            ("DisksDetachingOnEcsExceeded", ErrorKind::Aborted),
            ("InvalidStatus.Upgrading", ErrorKind::Aborted),
            ("DiskId.StatusNotSupported", ErrorKind::Aborted),
            ("InvalidDisk.InUse", ErrorKind::Aborted),
            ("InsufficientBalance.AgentAccount", ErrorKind::FailedPrecondition),
            ("InvalidStorageClusterId.CapacityNotEnough", ErrorKind::ResourceExhausted),
            ("OperationDenied.NotEnoughCapacity", ErrorKind::ResourceExhausted),
            ("LastOrderProcessing", ErrorKind::Aborted),
            ("DependencyViolation", ErrorKind::FailedPrecondition),
            ("IdempotentParameterMismatch", ErrorKind::AlreadyExists),
            ("InvalidDiskSize.NotSupported", ErrorKind::OutOfRange),
            ("InvalidInstanceType.NotSupportDiskCategory", ErrorKind::FailedPrecondition),
            ("InvalidRegionId.NotFound", ErrorKind::InvalidArgument),
            ("MissingParameter", ErrorKind::InvalidArgument),
            ("DiskNotPortable", ErrorKind::FailedPrecondition),
        ];
        for (code, kind) in table {
            let verdict = judge(code, 400);
            assert_eq!((verdict.kind, verdict.is_known), (kind, true), "{code}");
        }
    }

    #[test]
    fn money_locks_permissions_slots_and_stock_each_say_what_to_do() {
        let hints: Vec<_> = [
            "DiskInArrears",
            "InstanceLockedForSecurity",
            "Forbidden.RAM",
            "InstanceDiskLimitExceeded",
            "OperationDenied.NoStock",
            "QuotaExceed.Disk",
        ]
        .map(|code| judge(code, 403).hint)
        .to_vec();
        assert!(hints.iter().all(|hint| !hint.is_empty()));
        assert_eq!(hints.iter().collect::<std::collections::BTreeSet<_>>().len(), hints.len());
    }

    #[test]
    fn an_unknown_code_goes_by_its_status() {
        for (status, kind) in [
            (400, ErrorKind::InvalidArgument),
            (403, ErrorKind::FailedPrecondition),
            (404, ErrorKind::NotFound),
            (429, ErrorKind::Throttled),
            (503, ErrorKind::Unavailable),
            (302, ErrorKind::Other),
        ] {
            let verdict = judge("Never.Seen", status);
            assert_eq!((verdict.kind, verdict.is_known), (kind, false), "{status}");
        }
    }

    #[test]
    fn no_row_hides_a_later_one() {
        for (index, Row(pattern, ..)) in TABLE.iter().enumerate() {
            if pattern.contains('*') {
                continue;
            }
            let first = TABLE.iter().position(|Row(other, ..)| matches(other, pattern));
            assert_eq!(first, Some(index), "`{pattern}` is never reached");
        }
    }
}

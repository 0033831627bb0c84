//! What goes wrong on purpose: rules by action and count, never by chance, so that a failing test
//! fails again.
//!
//! In JSON a plan is a list of rules:
//!
//! ```json
//! [
//! { "action": "AttachDisk", "skip": 1, "count": 2, "fault": { "fail": { "status": 403, "code":
//! "DiskInArrears", "message": "…" } } },
//!   { "action": "Describe*", "every": 3, "fault": "throttle" },
//! { "action": "CreateDisk", "parameters": { "DiskCategory": "cloud_essd" }, "count": 1, "fault":
//! "drop-answer" },
//!   { "action": "*", "fault": { "delay": { "ms": 250 } } },
//!   { "action": "DetachDisk", "count": 1, "fault": { "hold": "before" } }
//! ]
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// When something goes wrong, and what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// An action (`AttachDisk`), its beginning and a star (`Describe*`), or `*`. Names that several
    /// services have can be told apart: `nas:TagResources`. On the metadata listeners the action is
    /// method and path: `GET /latest/meta-data/instance-id`.
    pub action: String,
    /// Only calls signed with this access key id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Only calls with these parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Lets so many matching calls pass first.
    #[serde(default)]
    pub skip: u64,
    /// How often it strikes.
    #[serde(default)]
    pub count: Count,
    /// Strikes at the first, then every n-th matching call after the skipped ones. 0 means 1.
    #[serde(default = "one")]
    pub every: u64,
    /// What goes wrong.
    pub fault: Fault,
}

fn one() -> u64 {
    1
}

impl FaultRule {
    /// A rule that strikes at every call of an action.
    pub fn new(action: impl Into<String>, fault: Fault) -> Self {
        Self {
            action: action.into(),
            caller: None,
            parameters: BTreeMap::new(),
            skip: 0,
            count: Count::Forever,
            every: 1,
            fault,
        }
    }

    /// Strikes so often and then no more.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.count = Count::Times(count);
        self
    }

    /// Lets so many matching calls pass first.
    #[must_use]
    pub fn after(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    /// Strikes at every n-th matching call.
    #[must_use]
    pub fn every(mut self, every: u64) -> Self {
        self.every = every;
        self
    }

    /// Only calls with this parameter.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.insert(name.into(), value.into());
        self
    }

    /// Only calls of this access key id.
    #[must_use]
    pub fn by(mut self, access_key_id: impl Into<String>) -> Self {
        self.caller = Some(access_key_id.into());
        self
    }
}

/// How often a rule strikes: a number, or `"forever"`, which is the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Count {
    /// So often.
    Times(u64),
    /// Without end.
    #[default]
    Forever,
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Times(count) => serializer.serialize_u64(*count),
            Self::Forever => serializer.serialize_str("forever"),
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Times(u64),
            Word(String),
        }
        match Raw::deserialize(deserializer)? {
            Raw::Times(count) => Ok(Self::Times(count)),
            Raw::Word(word) if word == "forever" => Ok(Self::Forever),
            Raw::Word(word) => Err(serde::de::Error::custom(format!(
                "`count` is a number or \"forever\", not \"{word}\""
            ))),
        }
    }
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// The call is refused with this answer and does nothing.
    Fail {
        /// HTTP status.
        status: u16,
        /// `Code` of the body.
        code: String,
        /// `Message` of the body.
        #[serde(default)]
        message: String,
    },
    /// Refused with 400 `Throttling.User`.
    Throttle,
    /// Waits first. Delays of several rules add up, and another rule's fault comes after them.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// The call does its work and the connection closes without an answer.
    DropAnswer,
    /// The connection closes and the call does nothing.
    DropRequest,
    /// The call does its work and the connection closes in the middle of the answer's body.
    TruncateAnswer,
    /// The call does its work and the answer (200) is not JSON.
    GarbageAnswer,
    /// The call runs; if it fails, its client token is bound to its parameters all the same, as
    /// some failed calls of the real API do (it is not known which).
    BindToken,
    /// The call is parked until it is released through the library or `/_region/holds/release`. It
    /// then goes on even if its client has hung up.
    Hold(HoldPoint),
}

impl Fault {
    /// Shorthand for [`Fault::Fail`].
    pub fn fail(status: u16, code: impl Into<String>) -> Self {
        let code = code.into();
        Self::Fail { status, message: format!("{code} (by the fault plan)"), code }
    }

    /// Its name in JSON and in the journal.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Fail { .. } => "fail",
            Self::Throttle => "throttle",
            Self::Delay { .. } => "delay",
            Self::DropAnswer => "drop-answer",
            Self::DropRequest => "drop-request",
            Self::TruncateAnswer => "truncate-answer",
            Self::GarbageAnswer => "garbage-answer",
            Self::BindToken => "bind-token",
            Self::Hold(HoldPoint::Before) => "hold-before",
            Self::Hold(HoldPoint::After) => "hold-after",
        }
    }
}

/// Where a call is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldPoint {
    /// Before it does its work.
    Before,
    /// After its work, before its answer.
    After,
}

/// What a call has to suffer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Strike {
    pub(crate) delay_ms: u64,
    pub(crate) fault: Option<Fault>,
}

/// The rules and how often each has matched and struck.
#[derive(Debug, Default)]
pub(crate) struct FaultPlan {
    rules: Vec<Counted>,
}

#[derive(Debug)]
struct Counted {
    rule: FaultRule,
    matched: u64,
    struck: u64,
}

impl FaultPlan {
    pub(crate) fn new(rules: Vec<FaultRule>) -> Self {
        Self {
            rules: rules.into_iter().map(|rule| Counted { rule, matched: 0, struck: 0 }).collect(),
        }
    }

    /// The rules as they were given.
    pub(crate) fn rules(&self) -> Vec<FaultRule> {
        self.rules.iter().map(|counted| counted.rule.clone()).collect()
    }

    /// Counts a call. Every delay that is due adds up; of the other faults the first rule's
    /// strikes, and later ones keep theirs.
    pub(crate) fn strike(
        &mut self,
        action: &str,
        caller: Option<&str>,
        parameters: &BTreeMap<String, String>,
    ) -> Strike {
        let mut strike = Strike::default();
        for counted in
            self.rules.iter_mut().filter(|counted| counted.rule.matches(action, caller, parameters))
        {
            let is_delay = matches!(counted.rule.fault, Fault::Delay { .. });
            counted.matched += 1;
            if !counted.is_due() || (strike.fault.is_some() && !is_delay) {
                continue;
            }
            counted.struck += 1;
            match &counted.rule.fault {
                Fault::Delay { ms } => strike.delay_ms = strike.delay_ms.saturating_add(*ms),
                fault => strike.fault = Some(fault.clone()),
            }
        }
        strike
    }
}

impl Counted {
    fn is_due(&self) -> bool {
        let left = match self.rule.count {
            Count::Times(count) => self.struck < count,
            Count::Forever => true,
        };
        let past = self.matched.saturating_sub(self.rule.skip);
        left && past > 0 && (past - 1).is_multiple_of(self.rule.every.max(1))
    }
}

impl FaultRule {
    fn matches(
        &self,
        action: &str,
        caller: Option<&str>,
        parameters: &BTreeMap<String, String>,
    ) -> bool {
        let is = |action: &str| match self.action.strip_suffix('*') {
            Some(start) => action.starts_with(start),
            None => self.action == action,
        };
        let named = is(action) || action.strip_prefix("nas:").is_some_and(is);
        let called = self.caller.as_deref().is_none_or(|wanted| caller == Some(wanted));
        named
            && called
            && self.parameters.iter().all(|(name, value)| parameters.get(name) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strikes(rule: FaultRule, calls: usize) -> Vec<bool> {
        let mut plan = FaultPlan::new(vec![rule]);
        (0..calls)
            .map(|_| plan.strike("AttachDisk", None, &BTreeMap::new()).fault.is_some())
            .collect()
    }

    #[test]
    fn rules_count_calls() {
        let rule = || FaultRule::new("AttachDisk", Fault::Throttle);
        assert_eq!(strikes(rule(), 3), [true, true, true]);
        assert_eq!(strikes(rule().after(1).times(1), 4), [false, true, false, false]);
        assert_eq!(strikes(rule().every(3), 5), [true, false, false, true, false]);
        assert_eq!(
            strikes(rule().every(2).after(1).times(2), 7),
            [false, true, false, true, false, false, false]
        );
        assert_eq!(strikes(FaultRule::new("Attach*", Fault::Throttle), 1), [true]);
        assert_eq!(strikes(FaultRule::new("Detach*", Fault::Throttle), 1), [false]);
    }

    #[test]
    fn rules_can_ask_for_caller_and_parameters() {
        let mut plan = FaultPlan::new(vec![
            FaultRule::new("*", Fault::Throttle).by("LTAI1").with("DiskId", "d-1"),
        ]);
        let disk = |id: &str| BTreeMap::from([("DiskId".to_owned(), id.to_owned())]);
        assert_eq!(plan.strike("A", Some("LTAI2"), &disk("d-1")).fault, None);
        assert_eq!(plan.strike("A", Some("LTAI1"), &disk("d-2")).fault, None);
        assert_eq!(plan.strike("A", Some("LTAI1"), &disk("d-1")).fault, Some(Fault::Throttle));
    }

    #[test]
    fn rules_name_an_action_of_all_services_or_of_one() {
        let strikes = |rule: &str, action: &str| {
            let mut plan = FaultPlan::new(vec![FaultRule::new(rule, Fault::Throttle)]);
            plan.strike(action, None, &BTreeMap::new()).fault.is_some()
        };
        for (rule, expected) in [
            ("TagResources", [true, true]),
            ("Tag*", [true, true]),
            ("nas:TagResources", [false, true]),
            ("nas:*", [false, true]),
            ("*", [true, true]),
        ] {
            let struck = ["TagResources", "nas:TagResources"].map(|action| strikes(rule, action));
            assert_eq!(struck, expected, "{rule}");
        }
    }

    #[test]
    fn delays_add_up_and_the_first_other_fault_strikes_alone() {
        let mut plan = FaultPlan::new(vec![
            FaultRule::new("*", Fault::Delay { ms: 5 }),
            FaultRule::new("*", Fault::DropAnswer).times(1),
            FaultRule::new("*", Fault::Throttle).times(1),
            FaultRule::new("*", Fault::Delay { ms: 7 }).times(1),
        ]);
        let mut strike = || plan.strike("A", None, &BTreeMap::new());
        assert_eq!(strike(), Strike { delay_ms: 12, fault: Some(Fault::DropAnswer) });
        assert_eq!(strike(), Strike { delay_ms: 5, fault: Some(Fault::Throttle) });
        assert_eq!(strike(), Strike { delay_ms: 5, fault: None });
    }

    #[test]
    fn a_plan_is_read_from_json() {
        let text = r#"[
            { "action": "AttachDisk", "skip": 1, "count": 2, "fault": { "fail": { "status": 403, "code": "DiskInArrears" } } },
            { "action": "*", "count": "forever", "every": 3, "fault": "drop-answer" },
            { "action": "DetachDisk", "fault": { "hold": "before" } },
            { "action": "CreateDisk", "fault": { "delay": { "ms": 3 } } }
        ]"#;
        let rules: Vec<FaultRule> = serde_json::from_str(text).unwrap();
        assert_eq!(rules[0].count, Count::Times(2));
        assert_eq!(rules[1], FaultRule::new("*", Fault::DropAnswer).every(3));
        assert_eq!(rules[2].fault, Fault::Hold(HoldPoint::Before));
        let again: Vec<FaultRule> =
            serde_json::from_str(&serde_json::to_string(&rules).unwrap()).unwrap();
        assert_eq!(again, rules);
        assert!(
            serde_json::from_str::<Vec<FaultRule>>(
                r#"[{ "action": "*", "count": "often", "fault": "throttle" }]"#
            )
            .is_err()
        );
    }
}

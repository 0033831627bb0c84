//! The section `limits`: what components may take of a process. Every bound has a default that
//! suits the backends of this repository; the reasons stand beside the defaults, in the runtime.

use std::time::Duration;

use serde::Deserialize;
use wharf_runtime::{Limits, MEMORY_BYTES, REQUESTS_AT_ONCE, SHARE_BYTES, ShareLimits};

/// What components may take.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LimitsSection {
    /// Memory of all calls of components together, in MiB; each backend and each account has an
    /// equal part of it. Unset: 132 for each of them.
    #[serde(default)]
    memory_mib: Option<usize>,
    /// Calls of one backend that may wait for a cloud at once. Unset: 64.
    #[serde(default)]
    calls_per_backend: Option<usize>,
    /// Requests of one account under way to one endpoint at once. Unset: 16.
    #[serde(default)]
    requests_per_endpoint: Option<usize>,
    /// What one call may take.
    #[serde(default)]
    call: CallSection,
}

/// What one call may take.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct CallSection {
    /// Wall time, requests included. Unset: 60.
    #[serde(default)]
    seconds: Option<u64>,
    /// Processor time. Unset: 5.
    #[serde(default)]
    cpu_seconds: Option<u64>,
    /// Linear memory, in MiB. Unset: 64, which is also the most.
    #[serde(default)]
    memory_mib: Option<usize>,
    /// Requests. Unset: 64.
    #[serde(default)]
    requests: Option<u32>,
    /// Answers to its requests, in MiB. Unset: 16.
    #[serde(default)]
    answers_mib: Option<usize>,
    /// Log text, in KiB. Unset: 64.
    #[serde(default)]
    log_kib: Option<usize>,
}

impl LimitsSection {
    /// What one call may take.
    pub fn of_a_call(&self) -> Limits {
        let (usual, call) = (Limits::default(), &self.call);
        Limits {
            wall: call.seconds.map_or(usual.wall, Duration::from_secs),
            cpu: call.cpu_seconds.map_or(usual.cpu, Duration::from_secs),
            memory_bytes: call.memory_mib.map_or(usual.memory_bytes, mib),
            log_bytes: call.log_kib.map_or(usual.log_bytes, |kib| kib.saturating_mul(1 << 10)),
            http_requests: call.requests.unwrap_or(usual.http_requests),
            http_bytes: call.answers_mib.map_or(usual.http_bytes, mib),
        }
    }

    /// What each of so many backends and accounts may take.
    pub fn of_a_share(&self, shares: usize) -> ShareLimits {
        let usual = ShareLimits::default();
        ShareLimits {
            calls: self.calls_per_backend.unwrap_or(usual.calls),
            memory_bytes: self.memory_mib.map_or(SHARE_BYTES, |all| mib(all) / shares.max(1)),
        }
    }

    /// Requests of one account under way to one endpoint at once.
    pub fn requests_per_endpoint(&self) -> usize {
        self.requests_per_endpoint.unwrap_or(REQUESTS_AT_ONCE)
    }

    /// What is wrong, for so many backends and accounts.
    pub(super) fn check(&self, shares: usize) -> Result<(), String> {
        let call = self.of_a_call();
        for (is_zero, name) in [
            (self.calls_per_backend == Some(0), "calls-per-backend"),
            (self.requests_per_endpoint == Some(0), "requests-per-endpoint"),
            (call.wall.is_zero(), "call.seconds"),
            (call.cpu.is_zero(), "call.cpu-seconds"),
            (call.memory_bytes == 0, "call.memory-mib"),
        ] {
            if is_zero {
                return Err(format!("`limits.{name}` is 0, with which nothing can be done"));
            }
        }
        if call.memory_bytes > MEMORY_BYTES {
            return Err(format!(
                "`limits.call.memory-mib` is more than {}, for which components are compiled",
                MEMORY_BYTES >> 20
            ));
        }
        let needed = ShareLimits::memory_for(call.memory_bytes.saturating_add(call.http_bytes));
        if self.of_a_share(shares).memory_bytes < needed {
            return Err(format!(
                "one call may take {} MiB, and of `limits.memory-mib` each of {shares} backends \
                 and accounts has too little for one; set it to {} or more, or lower \
                 `limits.call.memory-mib` or `limits.call.answers-mib`",
                (call.memory_bytes.saturating_add(call.http_bytes)) >> 20,
                needed.saturating_mul(shares).div_ceil(1 << 20)
            ));
        }
        Ok(())
    }
}

fn mib(mib: usize) -> usize {
    mib.saturating_mul(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::super::{Config, tests};

    fn parse(limits: &str) -> Result<Config, String> {
        tests::parse(&format!(
            "{limits}\n[backend.a]\n[backend.b]\n[account.c]\ncomponent = \"auth\"\nsource = []"
        ))
    }

    #[test]
    fn what_is_not_said_is_as_the_runtime_has_it() {
        let limits = parse("").unwrap().limits;
        assert_eq!(limits.of_a_call(), super::Limits::default());
        assert_eq!(limits.of_a_share(3), super::ShareLimits::default());
        assert_eq!(limits.requests_per_endpoint(), super::REQUESTS_AT_ONCE);
    }

    #[test]
    fn every_bound_can_be_set() {
        let limits = parse(
            "[limits]\nmemory-mib = 300\ncalls-per-backend = 8\nrequests-per-endpoint = 4\n\
             [limits.call]\nseconds = 9\ncpu-seconds = 2\nmemory-mib = 32\nrequests = 5\n\
             answers-mib = 1\nlog-kib = 2",
        );
        let limits = limits.unwrap().limits;
        let call = limits.of_a_call();
        assert_eq!((call.wall.as_secs(), call.cpu.as_secs(), call.http_requests), (9, 2, 5));
        let bytes = (call.memory_bytes, call.http_bytes, call.log_bytes);
        assert_eq!(bytes, (32 << 20, 1 << 20, 2 << 10));
        let share = limits.of_a_share(3);
        assert_eq!((share.calls, share.memory_bytes), (8, 100 << 20));
        assert_eq!(limits.requests_per_endpoint(), 4);
    }

    #[test]
    fn bounds_with_which_nothing_runs_are_refused_with_what_would_do() {
        for (limits, said) in [
            ("[limits]\nmemory-mib = 300", "set it to 385 or more"),
            ("[limits]\ncalls-per-backend = 0", "`limits.calls-per-backend` is 0"),
            ("[limits.call]\nmemory-mib = 65", "more than 64"),
            ("[limits.call]\nanswers-mib = 100", "lower `limits.call.memory-mib`"),
            ("[limits.call]\nmemory = 1", "unknown field"),
        ] {
            let error = parse(limits).unwrap_err();
            assert!(error.contains(said), "{limits}: {error}");
        }
    }
}

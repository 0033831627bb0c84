//! How long a call may take: the `grpc-timeout` header, less what the answer needs to arrive.

use std::time::Duration;

use tonic::metadata::MetadataMap;

/// A caller that names no time gets what kubelet gives its calls. csi-sanity names none.
const DEFAULT: Duration = Duration::from_secs(120);
/// No call is worked on for longer, whatever the caller allows: its volume is locked for as long.
const LONGEST: Duration = Duration::from_secs(600);
/// A twentieth of the time is kept back for the answer, within these bounds: enough to be
/// scheduled, never seconds of idling.
const MARGIN_PARTS: u32 = 20;
const SHORTEST_MARGIN: Duration = Duration::from_millis(10);
const LONGEST_MARGIN: Duration = Duration::from_millis(500);

/// The time that a call has, of which [`Allowance::work`] may be spent on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// For the work.
    pub work: Duration,
    /// For the answer, after that.
    pub margin: Duration,
}

impl Allowance {
    /// What the caller's header allows. A header that cannot be read counts as none.
    pub(crate) fn of(metadata: &MetadataMap) -> Self {
        let asked =
            metadata.get("grpc-timeout").and_then(|value| value.to_str().ok()).and_then(parse);
        let total = asked.unwrap_or(DEFAULT).min(LONGEST);
        let margin = (total / MARGIN_PARTS).clamp(SHORTEST_MARGIN, LONGEST_MARGIN).min(total / 2);
        Self { work: total - margin, margin }
    }
}

/// One to eight digits and a unit, as gRPC writes it.
fn parse(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        'H' => Some(Duration::from_secs(count * 3600)),
        'M' => Some(Duration::from_secs(count * 60)),
        'S' => Some(Duration::from_secs(count)),
        'm' => Some(Duration::from_millis(count)),
        'u' => Some(Duration::from_micros(count)),
        'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(header: Option<&str>) -> Allowance {
        let mut metadata = MetadataMap::new();
        if let Some(header) = header {
            metadata.insert("grpc-timeout", header.parse().unwrap());
        }
        Allowance::of(&metadata)
    }

    #[test]
    fn every_unit_of_grpc_is_understood_and_nothing_else() {
        let cases = [
            ("2H", 7200.0),
            ("3M", 180.0),
            ("15S", 15.0),
            ("250m", 0.25),
            ("1500u", 0.0015),
            ("99999999n", 0.099_999_999),
        ];
        for (text, seconds) in cases {
            assert_eq!(parse(text), Some(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "S", "15", "123456789S", "-1S", "+1S", "1.5S", "1s", "1 S", "１S"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_part_of_the_time_is_kept_back_for_the_answer() {
        assert_eq!(
            allowed(Some("10S")),
            Allowance { work: Duration::from_millis(9500), margin: Duration::from_millis(500) }
        );
        assert_eq!(
            allowed(Some("1S")),
            Allowance { work: Duration::from_millis(950), margin: Duration::from_millis(50) }
        );
        assert_eq!(
            allowed(Some("10m")),
            Allowance { work: Duration::from_millis(5), margin: Duration::from_millis(5) }
        );
        assert_eq!(allowed(Some("0S")).work, Duration::ZERO);
    }

    #[test]
    fn a_call_without_a_time_has_two_minutes_and_none_has_more_than_ten() {
        let half = Duration::from_millis(500);
        assert_eq!(allowed(None).work, DEFAULT - half);
        assert_eq!(allowed(Some("soon")).work, DEFAULT - half);
        assert_eq!(allowed(Some("99999999H")).work, LONGEST - half);
    }
}

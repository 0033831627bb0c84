//! The region's time: the machine's wall clock plus what a test has advanced it by. Signature time
//! stamps are checked against the machine's clock alone, so that clients go on being understood
//! after an advance.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::UtcDateTime;
use time::format_description::well_known::Rfc3339;

/// Milliseconds since 1970, UTC.
pub(crate) type Millis = u64;

/// The region's clock.
#[derive(Debug, Default)]
pub(crate) struct RegionClock {
    advanced: AtomicU64,
}

impl RegionClock {
    /// The region's time.
    pub(crate) fn now(&self) -> Millis {
        wall().saturating_add(self.advanced.load(Ordering::Relaxed))
    }

    /// Moves the region's time forward.
    pub(crate) fn advance(&self, by: Duration) {
        self.advanced.fetch_add(millis(by), Ordering::Relaxed);
    }
}

/// The machine's time.
pub(crate) fn wall() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

/// A duration in milliseconds.
pub(crate) fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// `2026-01-31T23:59:59Z`, the form that Alibaba Cloud's answers use.
pub(crate) fn iso8601(at: Millis) -> String {
    let seconds = i64::try_from(at / 1000).unwrap_or(i64::MAX);
    let at = UtcDateTime::from_unix_timestamp(seconds).unwrap_or(UtcDateTime::MAX);
    // Every year that it can have has the four digits that the format wants.
    at.format(&Rfc3339).unwrap_or_default()
}

/// Reads `yyyy-MM-ddTHH:mm:ssZ` (also without seconds, which ECS uses in places). `None` when it is
/// not that.
pub(crate) fn parse_iso8601(text: &str) -> Option<Millis> {
    // The cloud takes none of the other forms that the crate reads.
    let (_, time) = text.strip_suffix('Z')?.split_once('T')?;
    let seconds = match time.len() {
        5 => ":00Z",
        8 => "Z",
        _ => return None,
    };
    let text = format!("{}{seconds}", text.strip_suffix('Z')?);
    let at = UtcDateTime::parse(&text, &Rfc3339).ok()?;
    Some(u64::try_from(at.unix_timestamp()).ok()? * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_back_as_they_were_written() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2000-02-29T12:00:00Z",
            "2023-10-26T10:22:32Z",
            "2026-12-31T23:59:59Z",
        ] {
            assert_eq!(iso8601(parse_iso8601(text).unwrap()), text);
        }
        assert_eq!(parse_iso8601("2023-10-26T10:22:32Z"), Some(1_698_315_752_000));
    }

    #[test]
    fn a_malformed_time_is_refused() {
        for text in [
            "",
            "2023-10-26",
            "2023-10-26T10:22:32",
            "2023-13-26T10:22:32Z",
            "x-10-26T10:22:32Z",
            "2023-10-26T10:22:32.5Z",
            "2023-10-26T18:22:32+08:00",
            "2023-10-26 10:22:32Z",
        ] {
            assert_eq!(parse_iso8601(text), None, "{text}");
        }
    }
}

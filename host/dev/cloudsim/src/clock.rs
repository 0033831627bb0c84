//! The region's time: the machine's wall clock plus what a test has advanced it by. Signature time
//! stamps are checked against the machine's clock alone, so that clients go on being understood
//! after an advance.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    let seconds = at / 1000;
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

/// Reads `yyyy-MM-ddTHH:mm:ssZ` (also without seconds, which ECS uses in places). `None` when it is
/// not that.
pub(crate) fn parse_iso8601(text: &str) -> Option<Millis> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next().unwrap_or(Some(0))?);
    if !(1970..=9999).contains(&year)
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    Some((days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second) * 1000)
}

// Howard Hinnant's calendar arithmetic on a year that starts in March, for years from 1970 on.
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
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
        for text in
            ["", "2023-10-26", "2023-10-26T10:22:32", "2023-13-26T10:22:32Z", "x-10-26T10:22:32Z"]
        {
            assert_eq!(parse_iso8601(text), None, "{text}");
        }
    }
}

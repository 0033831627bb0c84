//! The cloud's timestamps, `2023-10-26T10:22:32Z`: UTC, whole seconds.

use time::{Date, Month, UtcDateTime};

/// Milliseconds since 1970-01-01 UTC as `YYYY-MM-DDThh:mm:ssZ`. What is later than the year 9999 is
/// written as its end.
pub fn format(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    let at = UtcDateTime::from_unix_timestamp(seconds).unwrap_or(UtcDateTime::MAX);
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second) = at.as_hms();
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", u8::from(month))
}

/// Milliseconds since 1970-01-01 UTC of `YYYY-MM-DDThh:mm[:ss]Z`; `None` for anything else, or for
/// a time before 1970.
pub fn parse(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let time = if time.len() == 5 { format!("{time}:00") } else { time.to_owned() };
    let [hour, minute, second] = numbers(&time, ':', [2, 2, 2])?;
    let small = |field: u16| u8::try_from(field).ok();
    let month = Month::try_from(small(month)?).ok()?;
    let date = Date::from_calendar_date(year.into(), month, small(day)?).ok()?;
    // A leap second counts as the next one.
    let (second, leap) = if second == 60 { (59, 1) } else { (second, 0) };
    let at = date.with_hms(small(hour)?, small(minute)?, small(second)?).ok()?;
    Some(u64::try_from(at.as_utc().unix_timestamp() + leap).ok()? * 1000)
}

fn numbers(text: &str, separator: char, widths: [usize; 3]) -> Option<[u16; 3]> {
    let mut fields = text.split(separator);
    let mut read = [0; 3];
    for (slot, width) in read.iter_mut().zip(widths) {
        let field = fields.next().filter(|field| {
            field.len() == width && field.bytes().all(|byte| byte.is_ascii_digit())
        })?;
        *slot = field.parse().ok()?;
    }
    fields.next().is_none().then_some(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times_are_written_and_read() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_456_231_584_000, "2016-02-23T12:46:24Z"),
            (1_698_315_752_000, "2023-10-26T10:22:32Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59Z"),
        ] {
            assert_eq!(format(ms), text);
            assert_eq!(parse(text), Some(ms));
        }
    }

    #[test]
    fn every_day_of_four_centuries_comes_back() {
        for day in 0..=146_097 {
            let ms = day * 86_400_000 + 86_399_000;
            assert_eq!(parse(&format(ms)), Some(ms), "{}", format(ms));
        }
    }

    #[test]
    fn milliseconds_are_cut_and_minutes_are_enough() {
        assert_eq!(format(1_999), "1970-01-01T00:00:01Z");
        assert_eq!(parse("2014-05-06T15:30Z"), parse("2014-05-06T15:30:00Z"));
        assert_eq!(format(u64::MAX), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in [
            "",
            "2023-10-26",
            "2023-10-26T10:22:32",
            "2023-13-01T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2023-10-26T24:00:00Z",
            "1969-12-31T23:59:59Z",
            "2023-1-1T00:00:00Z",
            "+023-10-26T10:22:32Z",
            "yesterday",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

//! The cloud's timestamps, `2023-10-26T10:22:32Z`: UTC, whole seconds. Civil dates by hand, after
//! Howard Hinnant's `days_from_civil`.

const MS_PER_DAY: u64 = 86_400_000;

/// Milliseconds since 1970-01-01 UTC as `YYYY-MM-DDThh:mm:ssZ`.
pub fn format(ms: u64) -> String {
    let (year, month, day) = civil(ms / MS_PER_DAY);
    let seconds = ms % MS_PER_DAY / 1000;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// Milliseconds since 1970-01-01 UTC of `YYYY-MM-DDThh:mm[:ss]Z`; `None` for anything else, or for
/// a time before 1970.
pub fn parse(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let time = if time.len() == 5 { format!("{time}:00") } else { time.to_owned() };
    let [hour, minute, second] = numbers(&time, ':', [2, 2, 2])?;
    let is_real = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day);
    // 60: a leap second, which counts as the next one.
    let is_time = hour < 24 && minute < 60 && second <= 60;
    (is_real && is_time)
        .then(|| days(year, month, day) * MS_PER_DAY + ((hour * 60 + minute) * 60 + second) * 1000)
}

fn numbers(text: &str, separator: char, widths: [usize; 3]) -> Option<[u64; 3]> {
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

fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days before 1970-01-01, counted from 0000-03-01.
const EPOCH: u64 = 719_468;

fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - EPOCH
}

fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + EPOCH;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = (shifted_month + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted_month + 2) / 5 + 1)
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
            let ms = day * MS_PER_DAY + 86_399_000;
            assert_eq!(parse(&format(ms)), Some(ms), "{}", format(ms));
        }
    }

    #[test]
    fn milliseconds_are_cut_and_minutes_are_enough() {
        assert_eq!(format(1_999), "1970-01-01T00:00:01Z");
        assert_eq!(parse("2014-05-06T15:30Z"), parse("2014-05-06T15:30:00Z"));
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
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

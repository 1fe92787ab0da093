//! Dates and times as text: read as `dateutil`'s `isoparse` does, written as Python's `isoformat` does.

use std::fmt::Write as _;

use crate::calendar::{DAY, Date, is_leap};
use crate::{Malformed, Timestamp, Zone};

/// A date and time as written, with or without an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateTime {
    /// Microseconds from 1970-01-01T00:00 to it on a clock of its own zone.
    pub local: i64,
    /// Seconds east of Greenwich; `None` for a naive time.
    pub offset: Option<i32>,
}

impl DateTime {
    /// The moment meant; a naive time is read on the clocks of `zone`.
    pub fn moment(self, zone: &Zone) -> Timestamp {
        match self.offset {
            Some(seconds) => Timestamp(self.local - i64::from(seconds) * 1_000_000),
            None => zone.moment_of(self.local),
        }
    }
}

/// Reads a date, or date and time, in any form `dateutil`'s `isoparse` accepts: basic (`20300102T030405`) or extended
/// (`2030-01-02T03:04:05`), weeks (`2030-W01-2`), day of the year (`2030-002`), any one letter in between, fractions
/// after `.` or `,` (cut to microseconds), `Z` or an offset.
pub fn parse(text: &str) -> Result<DateTime, Malformed> {
    parse_parts(text.as_bytes()).ok_or_else(|| {
        let found = crate::fields::excerpt(text);
        Malformed::new("time", format!("{found:?} is no ISO 8601 date and time"))
    })
}

fn parse_parts(text: &[u8]) -> Option<DateTime> {
    let (days, end) = date(text)?;
    let (time, offset) = match text.get(end..)? {
        [] => (0, None),
        [_, rest @ ..] => time(rest)?,
    };
    let local = days * DAY + time;
    // The last week, and 24:00 on the last day, may reach beyond the years Python knows.
    (local < Date { year: 9999, month: 12, day: 31 }.days() * DAY + DAY).then_some(DateTime { local, offset })
}

fn number(text: &[u8], at: usize, digits: usize) -> Option<i64> {
    let digits = text.get(at..at + digits)?;
    digits.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
}

/// The date at the start of `text`, as days since 1970-01-01, and where it ends.
fn date(text: &[u8]) -> Option<(i64, usize)> {
    let year = number(text, 0, 4)?;
    let dash = text.get(4) == Some(&b'-');
    let at = 4 + usize::from(dash);
    let (month, day, end) = match common_date(text, at, dash) {
        Some(found) => found,
        None if text.get(at) == Some(&b'W') => return week_date(text, at + 1, dash, year),
        None => return ordinal_date(text, at, year),
    };
    Some((Date::new(year, month, day)?.days(), end))
}

/// Month and day after the year: `YYYY`, `YYYY-MM`, `YYYY-MM-DD`, `YYYYMMDD`.
fn common_date(text: &[u8], at: usize, dash: bool) -> Option<(i64, i64, usize)> {
    if text.len() == 4 {
        return Some((1, 1, 4));
    }
    let month = number(text, at, 2)?;
    if dash && text.len() == at + 2 {
        return Some((month, 1, at + 2));
    }
    let at = at + 2;
    if dash && text.get(at) != Some(&b'-') {
        return None;
    }
    let at = at + usize::from(dash);
    Some((month, number(text, at, 2)?, at + 2))
}

/// `ww` or `ww-D` after the year's `W`.
fn week_date(text: &[u8], at: usize, dash: bool, year: i64) -> Option<(i64, usize)> {
    let week = number(text, at, 2)?;
    let mut end = at + 2;
    let mut day = 1;
    if text.len() > end {
        if (text.get(end) == Some(&b'-')) != dash {
            return None;
        }
        end += usize::from(dash);
        day = number(text, end, 1)?;
        end += 1;
    }
    if !(1..=53).contains(&week) || !(1..=7).contains(&day) {
        return None;
    }
    // The first week is the one with 4 January in it; 1970-01-01 was a Thursday.
    let fourth = Date::new(year, 1, 4)?.days();
    let monday = fourth - (fourth + 3).rem_euclid(7);
    Some((monday + (week - 1) * 7 + day - 1, end))
}

/// `DDD` after the year.
fn ordinal_date(text: &[u8], at: usize, year: i64) -> Option<(i64, usize)> {
    let day = number(text, at, 3)?;
    let first = Date::new(year, 1, 1)?.days();
    (1..=365 + i64::from(is_leap(year))).contains(&day).then_some((first + day - 1, at + 3))
}

/// A time of day in microseconds, and its offset.
fn time(text: &[u8]) -> Option<(i64, Option<i32>)> {
    let hour = number(text, 0, 2)?;
    let colon = text.get(2) == Some(&b':');
    let mut at = 2;
    let mut parts = [0; 2];
    for part in &mut parts {
        if matches!(text.get(at), None | Some(b'+' | b'-' | b'Z' | b'z')) {
            break;
        }
        if colon && text.get(at) != Some(&b':') {
            return None;
        }
        at += usize::from(colon);
        *part = number(text, at, 2)?;
        at += 2;
    }
    let mut micros = 0;
    if at == 6 + 2 * usize::from(colon) && matches!(text.get(at), Some(b'.' | b',')) {
        (micros, at) = fraction(text, at + 1)?;
    }
    let offset = match text.get(at..)? {
        [] => None,
        zone => Some(offset(zone)?),
    };
    let [minute, second] = parts;
    let midnight = hour == 24 && (minute, second, micros) == (0, 0, 0);
    let valid = (hour < 24 || midnight) && minute < 60 && second < 60;
    valid.then_some((((hour * 60 + minute) * 60 + second) * 1_000_000 + micros, offset))
}

fn fraction(text: &[u8], at: usize) -> Option<(i64, usize)> {
    let digits = text.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let kept = digits.min(6);
    let value = number(text, at, kept)?;
    (digits > 0).then_some((value * 10_i64.pow(6 - kept as u32), at + digits))
}

/// `Z`, `+HH`, `+HHMM` or `+HH:MM`, in seconds.
fn offset(text: &[u8]) -> Option<i32> {
    let sign = match text {
        b"Z" | b"z" => return Some(0),
        [b'+', ..] => 1,
        [b'-', ..] => -1,
        _ => return None,
    };
    let hours = number(text, 1, 2)?;
    let minutes = match (text.len(), text.get(3)) {
        (3, _) => 0,
        (5, _) => number(text, 3, 2)?,
        (6, Some(b':')) => number(text, 4, 2)?,
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) as i32 * 60)
}

/// Writes a moment with the offset of `zone`, as `datetime.isoformat()`: microseconds only if there are any.
///
/// Moments outside of the years 1 to 9999 are written as the nearest one inside.
pub fn format(moment: Timestamp, zone: &Zone) -> String {
    let first = Date { year: 1, month: 1, day: 1 }.days() * DAY;
    let last = Date { year: 9999, month: 12, day: 31 }.days() * DAY + DAY - 1;
    let offset = zone.offset_at(moment);
    let local = moment.0.saturating_add(i64::from(offset) * 1_000_000).clamp(first, last);
    let mut text = String::with_capacity(32);
    write_local(&mut text, local);
    write_offset(&mut text, offset);
    text
}

fn write_local(out: &mut String, local: i64) {
    let Date { year, month, day } = Date::from_days(local.div_euclid(DAY));
    let time = local.rem_euclid(DAY);
    let (seconds, micros) = (time / 1_000_000, time % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    // Writing to a string cannot fail.
    let _ = write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if micros != 0 {
        let _ = write!(out, ".{micros:06}");
    }
}

fn write_offset(out: &mut String, offset: i32) {
    let sign = if offset < 0 { '-' } else { '+' };
    let offset = offset.unsigned_abs();
    let _ = write!(out, "{sign}{:02}:{:02}", offset / 3600, offset / 60 % 60);
    if !offset.is_multiple_of(60) {
        let _ = write!(out, ":{:02}", offset % 60);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> String {
        format(parse(text).expect(text).moment(&Zone::UTC), &Zone::UTC)
    }

    #[test]
    fn every_form_of_isoparse_is_read() {
        for (text, read) in [
            ("2030", "2030-01-01T00:00:00+00:00"),
            ("2030-02", "2030-02-01T00:00:00+00:00"),
            ("2030-02-03", "2030-02-03T00:00:00+00:00"),
            ("20300203", "2030-02-03T00:00:00+00:00"),
            ("2030-W01", "2029-12-31T00:00:00+00:00"),
            ("2030W012", "2030-01-01T00:00:00+00:00"),
            ("2030-W53-7", "2031-01-05T00:00:00+00:00"),
            ("2030-002", "2030-01-02T00:00:00+00:00"),
            ("2028366", "2028-12-31T00:00:00+00:00"),
            ("2030-01-02T03", "2030-01-02T03:00:00+00:00"),
            ("2030-01-02 03:04", "2030-01-02T03:04:00+00:00"),
            ("20300102T0304", "2030-01-02T03:04:00+00:00"),
            ("20300102T030405,5", "2030-01-02T03:04:05.500000+00:00"),
            ("2030-01-02T03:04:05.123456789Z", "2030-01-02T03:04:05.123456+00:00"),
            ("2030-01-02T03:04:05+02:00", "2030-01-02T01:04:05+00:00"),
            ("2030-01-02T03:04:05-0230", "2030-01-02T05:34:05+00:00"),
            ("2030-01-02T03:04:05z", "2030-01-02T03:04:05+00:00"),
            ("2030-01-02T03+01", "2030-01-02T02:00:00+00:00"),
            ("2030-01-02T24:00", "2030-01-03T00:00:00+00:00"),
        ] {
            assert_eq!(utc(text), read, "{text}");
        }
    }

    #[test]
    fn what_isoparse_refuses_is_an_error() {
        for text in [
            "",
            "203",
            "203001",
            "2030-13-01",
            "2030-02-30",
            "2030-0203",
            "2030-01-02T",
            "2030-01-02T3",
            "2030-01-02T25:00",
            "2030-01-02T24:01",
            "2030-01-02T03:0405",
            "2030-01-02T03:04:05.",
            "2030-01-02T03:04:05+1",
            "2030-W54-1",
            "2030-W01-8",
            "2030-366",
            "not a time",
            "2030-01-02T03:04:05+24:00",
            "9999-12-31T24:00",
            "9999-W53",
            "9999-W52-6",
            "0000-01-01",
            "２０３０",
            "2030-01-02T03:04:05Zx",
            "2030-01-02T03.5",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn naive_times_are_read_on_the_clocks_of_the_zone() {
        let oslo = Zone::named("Europe/Oslo").expect("known");
        for (text, moment) in [
            ("2030-01-02T03:04:05", "2030-01-02T02:04:05+00:00"),
            ("2030-07-02T03:04:05", "2030-07-02T01:04:05+00:00"),
            // Skipped, and shown twice.
            ("2030-03-31T02:30:00", "2030-03-31T01:30:00+00:00"),
            ("2030-10-27T02:30:00", "2030-10-27T00:30:00+00:00"),
        ] {
            assert_eq!(format(parse(text).expect(text).moment(&oslo), &Zone::UTC), moment, "{text}");
        }
        assert_eq!(format(Timestamp(1_893_553_445_006_000), &oslo), "2030-01-02T04:04:05.006000+01:00");
        assert_eq!(format(Timestamp(0), &Zone::fixed(-5400 - 15)), "1969-12-31T22:29:45-01:30:15");
        assert_eq!(format(Timestamp(i64::MAX), &oslo).get(..26), Some("9999-12-31T23:59:59.999999"));
    }
}

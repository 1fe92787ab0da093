//! Time zones, from a database compiled in: nothing is read from disk.

use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::calendar::DAY;
use crate::{Malformed, Timestamp};

/// A time zone.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone(Kind);

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// Seconds east of Greenwich.
    Fixed(i32),
    Rules(TimeZone),
}

impl Default for Zone {
    fn default() -> Self {
        Self::UTC
    }
}

impl Zone {
    /// UTC.
    pub const UTC: Self = Self(Kind::Fixed(0));

    /// A zone that is always `seconds` east of Greenwich.
    pub fn fixed(seconds: i32) -> Self {
        Self(Kind::Fixed(seconds))
    }

    /// The zone with an IANA name such as `Europe/Oslo`.
    pub fn named(name: &str) -> Result<Self, Malformed> {
        if matches!(name, "UTC" | "utc" | "Z" | "Etc/UTC") {
            return Ok(Self::UTC);
        }
        let unknown = |_| Malformed::new("timezone", format!("there is no time zone named {name:?}"));
        TimeZone::get(name).map(|zone| Self(Kind::Rules(zone))).map_err(unknown)
    }

    /// A zone from the content of a TZif file, e.g. the machine's own zone from `/etc/localtime`.
    pub fn from_tzif(name: &str, content: &[u8]) -> Result<Self, Malformed> {
        let wrong = |error| Malformed::new("timezone", format!("{name}: {error}"));
        TimeZone::tzif(name, content).map(|zone| Self(Kind::Rules(zone))).map_err(wrong)
    }

    /// Seconds east of Greenwich at a moment.
    pub fn offset_at(&self, moment: Timestamp) -> i32 {
        match &self.0 {
            Kind::Fixed(seconds) => *seconds,
            Kind::Rules(zone) => {
                let moment = jiff::Timestamp::from_microsecond(moment.0).unwrap_or_default();
                zone.to_offset(moment).seconds()
            }
        }
    }

    /// The moment at which clocks here show `local` (microseconds since 1970-01-01T00:00 on those clocks).
    ///
    /// A time shown twice is the first of both; a time skipped is read with the offset before the gap, and so lies as
    /// far behind it.
    pub fn moment_of(&self, local: i64) -> Timestamp {
        let seconds = match &self.0 {
            Kind::Fixed(seconds) => *seconds,
            Kind::Rules(zone) => match zone.to_ambiguous_timestamp(civil(local)).offset() {
                AmbiguousOffset::Unambiguous { offset } => offset.seconds(),
                AmbiguousOffset::Gap { before, .. } | AmbiguousOffset::Fold { before, .. } => before.seconds(),
            },
        };
        Timestamp(local.saturating_sub(i64::from(seconds) * 1_000_000))
    }
}

fn civil(local: i64) -> jiff::civil::DateTime {
    let date = crate::calendar::Date::from_days(local.div_euclid(DAY));
    let seconds = local.rem_euclid(DAY) / 1_000_000;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    // Subseconds do not matter: no zone changes within a second.
    let parts = (i16::try_from(date.year), date.month as i8, date.day as i8);
    let year = parts.0.unwrap_or(9999).clamp(1, 9999);
    jiff::civil::DateTime::new(year, parts.1, parts.2, hour as i8, minute as i8, second as i8, 0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_zone_is_an_error_that_names_it() {
        let error = Zone::named("Mars/Olympus").expect_err("no such zone");
        assert!(error.to_string().contains("Mars/Olympus"));
    }

    #[test]
    fn offsets_follow_the_zones_rules() {
        let oslo = Zone::named("Europe/Oslo").expect("known");
        assert_eq!(oslo.offset_at(Timestamp::from_seconds(1_767_225_600.0)), 3600);
        assert_eq!(oslo.offset_at(Timestamp::from_seconds(1_782_864_000.0)), 7200);
    }
}

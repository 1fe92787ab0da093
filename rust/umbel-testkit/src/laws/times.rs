//! Dates and times.

use umbel_protocol::{Timestamp, Zone, iso8601};

use super::memory::bounded;

/// The first and the last moment Python knows, in UTC; µs.
const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

/// A time that is read is within the years Python knows, and comes back from its text in any zone. Bytes before the text:
/// minutes east of Greenwich.
pub(super) fn time(data: &[u8]) {
    let Some((minutes, text)) = data.split_first_chunk::<2>() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(time) = bounded(text.len(), 8, || iso8601::parse(text)) else { return };
    assert!(YEARS.contains(&time.local), "{text:?} is outside of the years 1 to 9999");
    let zone = Zone::fixed(i32::from(i16::from_le_bytes(*minutes)) % (24 * 60) * 60);
    let moment = time.moment(&zone);
    for other in [Zone::UTC, zone] {
        let shown = moment.0 + i64::from(other.offset_at(moment)) * 1_000_000;
        if YEARS.contains(&shown) {
            let text = iso8601::format(moment, &other);
            let again = iso8601::parse(&text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(again.moment(&Zone::UTC), moment, "{text}");
        }
    }
    let _ = iso8601::format(Timestamp(time.local), &Zone::UTC);
}

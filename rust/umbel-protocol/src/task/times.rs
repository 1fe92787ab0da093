//! Times and time limits in headers.

use std::time::Duration;

use crate::extended::{self, ExtendedType};
use crate::fields::excerpt;
use crate::json::{self, Value};
use crate::{Malformed, Timestamp, Zone, iso8601};

/// Longer limits are as good as none, and must still fit when added to a clock.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// An `eta` or `expires` value: ISO 8601 text, or a datetime of Celery's JSON. Null and `""` are no time.
pub fn read_time(value: &Value, zone: &Zone) -> Result<Option<Timestamp>, Malformed> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) => Some(text.as_str()),
        other => match extended::recognise(other)? {
            Some((ExtendedType::DateTime, inner)) => inner.as_str(),
            _ => None,
        },
    };
    match text {
        Some("") => Ok(None),
        Some(text) => iso8601::parse(text).map(|time| Some(time.moment(zone))),
        None => {
            let found = json::to_string(value);
            Err(Malformed::new("time", format!("expected an ISO 8601 time, found {}", excerpt(&found))))
        }
    }
}

/// A time limit in seconds. Null, zero and less are none.
pub fn read_time_limit(value: &Value) -> Result<Option<Duration>, Malformed> {
    let seconds = match value {
        Value::Null | Value::Bool(false) => return Ok(None),
        other => other.as_f64().ok_or_else(|| {
            Malformed::new("time limit", format!("expected seconds, found {}", excerpt(&json::to_string(other))))
        })?,
    };
    // NaN is no limit either.
    if seconds.is_nan() || seconds <= 0.0 {
        return Ok(None);
    }
    Ok(Some(Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST)))
}

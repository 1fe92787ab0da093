//! Reading options that are text: each is taken out once, and what is left over is unknown.

use std::time::Duration;

use crate::error::{BrokerError, Result};
use crate::queue::PRIORITY_STEPS;
use crate::url::TransportOptions;

/// Options of kombu that ask for nothing here: what they tune does not exist, or is always on.
const WITHOUT_MEANING: [&str; 18] = [
    "ack_emulation",
    "brpop_timeout",
    "credential_provider",
    "fanout_patterns",
    "max_connections",
    "protocol",
    "queue_order_strategy",
    "retry_on_error",
    "retry_on_timeout",
    "sentinel_fanout_compat",
    "socket_keepalive_options",
    "socket_read_size",
    "socket_type",
    "unacked_mutex_expire",
    "unacked_mutex_key",
    "unacked_restore_interval",
    "unacked_restore_limit",
    "unacked_restore_throttle",
];

/// Takes options out of the map, so that what is left over is unknown.
pub(super) struct Reader(pub(super) TransportOptions);

impl Reader {
    pub(super) fn optional(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    pub(super) fn text(&mut self, name: &str, default: &str) -> String {
        self.optional(name).unwrap_or_else(|| default.to_owned())
    }

    /// What stands in front of the names of fanout exchanges: a text in which `{db}` is the database's number, or
    /// whether there is such a text at all.
    pub(super) fn fanout_prefix(&mut self, db: i64) -> String {
        let given = self.text("fanout_prefix", "true");
        match given.trim().to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => format!("/{db}."),
            "0" | "false" | "no" | "off" | "none" | "" => String::new(),
            _ => given.replace("{db}", &db.to_string()),
        }
    }

    pub(super) fn integer(&mut self, name: &str) -> Result<Option<i64>> {
        let Some(text) = self.optional(name) else { return Ok(None) };
        text.trim().parse().map(Some).map_err(|_| bad(name, &text, "a whole number"))
    }

    /// A positive number of seconds.
    pub(super) fn seconds(&mut self, name: &str, default: f64) -> Result<Duration> {
        let Some(text) = self.optional(name) else { return Ok(Duration::from_secs_f64(default)) };
        let seconds = text.trim().parse().ok().filter(|seconds: &f64| *seconds > 0.0);
        let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        duration.filter(|duration| !duration.is_zero()).ok_or_else(|| bad(name, &text, "a positive number of seconds"))
    }

    pub(super) fn flag(&mut self, name: &str, default: bool) -> Result<bool> {
        let Some(text) = self.optional(name) else { return Ok(default) };
        match text.trim().to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok(true),
            "0" | "false" | "no" | "off" => Ok(false),
            _ => Err(bad(name, &text, "true or false")),
        }
    }

    /// `ssl_cert_reqs` in the spellings of redis-py and of Python's `ssl` module; true to verify.
    pub(super) fn certificates(&mut self, name: &str) -> Result<bool> {
        let Some(text) = self.optional(name) else { return Ok(true) };
        let word = text.trim().to_ascii_lowercase();
        match word.trim_start_matches("verifymode.").trim_start_matches("cert_") {
            "required" | "optional" | "1" | "2" => Ok(true),
            "none" | "0" => Ok(false),
            _ => Err(bad(name, &text, "required or none")),
        }
    }

    /// Ascending steps, written `0,3,6,9` or `[0, 3, 6, 9]`.
    pub(super) fn steps(&mut self, name: &str) -> Result<Vec<u8>> {
        let Some(text) = self.optional(name) else { return Ok(PRIORITY_STEPS.to_vec()) };
        let digits = text.trim().trim_start_matches(['[', '(']).trim_end_matches([']', ')']);
        let words = digits.split(',').map(str::trim).filter(|word| !word.is_empty());
        let steps: Option<Vec<u8>> = words.map(|word| word.parse().ok()).collect();
        let ascending = |steps: &Vec<u8>| steps.first() == Some(&0) && steps.is_sorted() && steps.len() <= 16;
        steps.filter(ascending).ok_or_else(|| bad(name, &text, "up to 16 ascending numbers that begin with 0"))
    }

    pub(super) fn finish(mut self) -> Result<()> {
        WITHOUT_MEANING.iter().for_each(|name| drop(self.0.remove(*name)));
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(BrokerError::Config {
                setting: name.clone(),
                detail: "the Redis transport has no such option; look for a typing error".to_owned(),
            }),
        }
    }
}

fn bad(name: &str, value: &str, wanted: &str) -> BrokerError {
    BrokerError::Config { setting: name.to_owned(), detail: format!("{value:?} is not {wanted}") }
}

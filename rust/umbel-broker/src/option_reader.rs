//! Reading options that are text: each is taken out once, and what is left over is unknown.

use std::time::Duration;

use crate::error::{BrokerError, Result};
use crate::url::TransportOptions;

/// Takes options out of the map, so that what is left over is unknown.
pub(crate) struct Reader(pub(crate) TransportOptions);

impl Reader {
    pub(crate) fn optional(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    pub(crate) fn text(&mut self, name: &str, default: &str) -> String {
        self.optional(name).unwrap_or_else(|| default.to_owned())
    }

    pub(crate) fn integer(&mut self, name: &str) -> Result<Option<i64>> {
        let Some(text) = self.optional(name) else { return Ok(None) };
        text.trim().parse().map(Some).map_err(|_| bad(name, &text, "a whole number"))
    }

    /// A positive number of seconds.
    pub(crate) fn seconds(&mut self, name: &str, default: f64) -> Result<Duration> {
        let Some(text) = self.optional(name) else { return Ok(Duration::from_secs_f64(default)) };
        let seconds = text.trim().parse().ok().filter(|seconds: &f64| *seconds > 0.0);
        let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        duration.filter(|duration| !duration.is_zero()).ok_or_else(|| bad(name, &text, "a positive number of seconds"))
    }

    pub(crate) fn flag(&mut self, name: &str, default: bool) -> Result<bool> {
        let Some(text) = self.optional(name) else { return Ok(default) };
        match text.trim().to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok(true),
            "0" | "false" | "no" | "off" => Ok(false),
            _ => Err(bad(name, &text, "true or false")),
        }
    }

    /// `ssl_cert_reqs` in the spellings of redis-py and of Python's `ssl` module; true to verify.
    pub(crate) fn certificates(&mut self, name: &str) -> Result<bool> {
        let Some(text) = self.optional(name) else { return Ok(true) };
        let word = text.trim().to_ascii_lowercase();
        match word.trim_start_matches("verifymode.").trim_start_matches("cert_") {
            "required" | "optional" | "1" | "2" => Ok(true),
            "none" | "0" => Ok(false),
            _ => Err(bad(name, &text, "required or none")),
        }
    }

    /// Refuses what is left over, but for options of kombu that are without meaning here.
    pub(crate) fn finish(mut self, transport: &str, without_meaning: &[&str]) -> Result<()> {
        without_meaning.iter().for_each(|name| drop(self.0.remove(*name)));
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(BrokerError::Config {
                setting: name.clone(),
                detail: format!("the {transport} transport has no such option; look for a typing error"),
            }),
        }
    }
}

/// The error for a value that is not what is `wanted`.
pub(crate) fn bad(name: &str, value: &str, wanted: &str) -> BrokerError {
    BrokerError::Config { setting: name.to_owned(), detail: format!("{value:?} is not {wanted}") }
}

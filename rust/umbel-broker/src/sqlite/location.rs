//! Which file a `sqlite://` URL means, and how it is to be used.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{BrokerError, Result};
use crate::url::TransportOptions;

/// How long a call waits for another process's transaction before it says that the file is locked.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// Until the disk has it: survives a power cut.
    #[default]
    Full,
    /// Until the operating system has it: survives the death of any process, may lose the last moments in a power cut.
    Normal,
}

/// A database file and the options of its URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Absolute path of the database file.
    pub path: PathBuf,
    /// What a commit waits for. Query or transport option `synchronous`: `full` or `normal`.
    pub synchronous: Synchronous,
    /// How long a call waits for other processes' transactions. Option `timeout`, in seconds.
    pub timeout: Duration,
    /// True to use a file on a network file system in spite of what that does to locks. Option
    /// `network_filesystem`: `allow` or `refuse`.
    pub allow_network: bool,
}

impl Location {
    /// The file that `url`, the value of `setting`, means. Relative paths are taken from the working directory now, so
    /// that a later change of directory changes nothing.
    ///
    /// # Errors
    /// [`BrokerError::Config`] for a URL or option that cannot be used.
    pub fn parse(url: &str, options: &TransportOptions, setting: &str) -> Result<Self> {
        let wrong = |detail: String| BrokerError::Config { setting: setting.to_owned(), detail };
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let written = written_path(address).map_err(wrong)?;
        let path = std::path::absolute(Path::new(&written))
            .map_err(|error| wrong(format!("{url:?}: the working directory cannot be found: {error}")))?;
        let mut location =
            Self { path, synchronous: Synchronous::Full, timeout: DEFAULT_TIMEOUT, allow_network: false };
        for (name, value) in options {
            location.set(name, value).map_err(wrong)?;
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !location.set(name, value).map_err(wrong)? {
                let detail = format!("{url:?} has an unknown option {name:?}; there are {OPTIONS}");
                return Err(wrong(detail));
            }
        }
        Ok(location)
    }

    /// Sets one option; false when SQLite has none of that name (transport options may be meant for other engines).
    fn set(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match (name, value) {
            ("synchronous", "full") => self.synchronous = Synchronous::Full,
            ("synchronous", "normal") => self.synchronous = Synchronous::Normal,
            ("network_filesystem", "allow") => self.allow_network = true,
            ("network_filesystem", "refuse") => self.allow_network = false,
            ("timeout", seconds) => {
                let parsed = seconds.parse::<f64>().ok().filter(|seconds| (0.0..=86_400.0).contains(seconds));
                let seconds = parsed.ok_or_else(|| format!("option timeout={seconds:?} is no number of seconds"))?;
                self.timeout = Duration::from_secs_f64(seconds);
            }
            ("synchronous" | "network_filesystem", _) => {
                return Err(format!("option {name}={value:?} is not known; options of sqlite:// are {OPTIONS}"));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// URL with the absolute path, for people.
    pub fn display_url(&self) -> String {
        format!("sqlite:///{}", self.path.display())
    }

    /// Text that is equal for two locations exactly when they are one file.
    pub fn identity(&self) -> String {
        let real = self.path.canonicalize().or_else(|_| {
            let parent = self.path.parent().unwrap_or(Path::new("/")).canonicalize()?;
            Ok::<_, std::io::Error>(self.path.file_name().map_or(parent.clone(), |name| parent.join(name)))
        });
        format!("sqlite:{}", real.unwrap_or_else(|_| self.path.clone()).display())
    }

    /// The file beside the database that processes take turns with.
    pub(super) fn turnstile_path(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push("-turnstile");
        PathBuf::from(name)
    }
}

const OPTIONS: &str = "synchronous=full|normal, timeout=SECONDS, network_filesystem=refuse|allow";

/// The path as written after `sqlite:///`, percent-decoded.
fn written_path(address: &str) -> Result<String, String> {
    let advice = "write sqlite:///relative/path.sqlite3 or sqlite:////absolute/path.sqlite3";
    let rest = address.split_once(':').map_or("", |(_, rest)| rest);
    let Some(path) = rest.strip_prefix("///") else {
        return Err(format!("{address:?} names no file: {advice}"));
    };
    if path == ":memory:" {
        return Err(format!("{address:?}: for a broker in memory write memory://"));
    }
    let path = percent_decode(path);
    if path.is_empty() || path.ends_with('/') || path.contains('\0') {
        return Err(format!("{address:?} names no file: {advice}"));
    }
    Ok(path)
}

/// Replaces `%XX`; what is no such escape stays, so that a path with a plain `%` works as written.
fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match escape.and_then(|hex| u8::from_str_radix(hex, 16).ok().filter(|_| !hex.starts_with('+'))) {
            Some(byte) if bytes[at] == b'%' => {
                decoded.push(byte);
                at += 3;
            }
            _ => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Location> {
        Location::parse(url, &TransportOptions::new(), "broker_url")
    }

    #[test]
    fn paths_are_relative_or_absolute() {
        let here = std::env::current_dir().expect("a working directory");
        for (url, path) in [
            ("sqlite:////srv/q.sqlite3", PathBuf::from("/srv/q.sqlite3")),
            ("sqlite:///umbel.sqlite3", here.join("umbel.sqlite3")),
            ("sqlite:///a/b%20c%3F100%.db?timeout=1", here.join("a/b c?100%.db")),
            ("sqlite:///ü%zz%+1.db", here.join("ü%zz%+1.db")),
        ] {
            assert_eq!(parse(url).expect(url).path, path);
        }
    }

    #[test]
    fn options_come_from_the_query_or_beside_it() {
        let beside = TransportOptions::from(
            [("timeout", "7.5"), ("synchronous", "full"), ("visibility_timeout", "3600")]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let location = Location::parse("sqlite:////q?synchronous=normal", &beside, "broker_url").expect("parse");
        assert_eq!(location.synchronous, Synchronous::Normal, "the query wins");
        assert_eq!(location.timeout, Duration::from_millis(7500));
        assert_eq!(parse("sqlite:////q").expect("parse").synchronous, Synchronous::Full);
    }

    #[test]
    fn what_cannot_be_used_is_explained() {
        for (url, word) in [
            ("sqlite://", "sqlite:///relative"),
            ("sqlite:///", "sqlite:///relative"),
            ("sqlite://q.db", "sqlite:///relative"),
            ("sqlite:///dir/", "names no file"),
            ("sqlite:///:memory:", "memory://"),
            ("sqlite:///q?synchronus=full", "synchronous=full|normal"),
            ("sqlite:///q?synchronous=sometimes", "sometimes"),
            ("sqlite:///q?timeout=soon", "soon"),
            ("sqlite:///q?timeout=-1", "-1"),
            ("sqlite:///q?timeout=NaN", "NaN"),
        ] {
            let error = parse(url).expect_err(url).to_string();
            assert!(error.contains(word) && error.starts_with("broker_url: "), "{url}: {error}");
        }
    }

    #[test]
    fn one_file_has_one_identity() {
        let folder = tempfile::tempdir().expect("a folder");
        let real = folder.path().join("q.db");
        let before = parse(&format!("sqlite:///{}", real.display())).expect("parse").identity();
        std::fs::write(&real, "").expect("a file");
        let dotted = parse(&format!("sqlite:///{}/./x/../q.db", folder.path().display())).expect("parse");
        std::fs::create_dir(folder.path().join("x")).expect("a folder");
        let link = folder.path().join("link.db");
        std::os::unix::fs::symlink(&real, &link).expect("a link");
        let linked = parse(&format!("sqlite:///{}", link.display())).expect("parse");
        assert_eq!((dotted.identity(), linked.identity()), (before.clone(), before));
    }
}

//! Broker URLs: which engine a URL names, and how it prints without its password.

use std::collections::BTreeMap;

use crate::error::{BrokerError, Result};

/// Options beside the URL (`broker_transport_options`), as text; a URL's query wins over them.
pub type TransportOptions = BTreeMap<String, String>;

/// The engine a URL's scheme names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// `memory://name`: inside this process.
    Memory,
    /// `sqlite:///relative/path` or `sqlite:////absolute/path`.
    Sqlite,
    /// `redis://`, `rediss://`, `redis+socket://`, `unix://`, `sentinel://`.
    Redis,
    /// `amqp://`, `amqps://`, `pyamqp://`: RabbitMQ.
    Amqp,
}

/// Schemes in the order an error lists them.
const SCHEMES: [(&str, Engine); 12] = [
    ("sqlite", Engine::Sqlite),
    ("memory", Engine::Memory),
    ("redis", Engine::Redis),
    ("rediss", Engine::Redis),
    ("redis+socket", Engine::Redis),
    ("unix", Engine::Redis),
    ("sentinel", Engine::Redis),
    ("redis+sentinel", Engine::Redis),
    ("rediss+sentinel", Engine::Redis),
    ("amqp", Engine::Amqp),
    ("amqps", Engine::Amqp),
    ("pyamqp", Engine::Amqp),
];

impl Engine {
    /// The engine for `url`, the value of `setting`.
    ///
    /// # Errors
    /// [`BrokerError::Config`] that names the schemes there are.
    pub fn of(url: &str, setting: &str) -> Result<Self> {
        let scheme = url.split_once(':').map(|(scheme, _)| scheme);
        let found = SCHEMES.iter().find(|(known, _)| scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(known)));
        found.map(|(_, engine)| *engine).ok_or_else(|| {
            let known: Vec<String> = SCHEMES.iter().map(|(scheme, _)| format!("{scheme}://")).collect();
            let detail =
                format!("{:?} names no known engine; URLs begin with {}", hide_password(url), known.join(", "));
            BrokerError::Config { setting: setting.to_owned(), detail }
        })
    }
}

/// The schemes there are.
pub fn schemes() -> impl Iterator<Item = &'static str> {
    SCHEMES.iter().map(|(scheme, _)| *scheme)
}

/// Name of the in-process store a `memory://` URL means.
pub fn memory_name(url: &str) -> &str {
    let rest = url.split_once(':').map_or("", |(_, rest)| rest);
    rest.split('?').next().unwrap_or("").trim_matches('/')
}

/// `url` (or several, separated by `;`) without what must not be printed: passwords become `**`.
///
/// Works on text that is no valid URL too, and hides too much sooner than too little: a password may hold `/`, `?`
/// or `@` that should have been percent-encoded.
pub fn hide_password(url: &str) -> String {
    let mut shown = String::with_capacity(url.len());
    let mut rest = url;
    while let Some(end) = next_url(rest) {
        shown.push_str(&hide_in_one(&rest[..end]));
        shown.push(';');
        rest = &rest[end + 1..];
    }
    shown + &hide_in_one(rest)
}

/// Each of several URLs separated by `;`, without those that are empty.
pub(crate) fn urls(mut rest: &str) -> Vec<&str> {
    let mut found = Vec::new();
    while let Some(end) = next_url(rest) {
        found.push(rest[..end].trim());
        rest = &rest[end + 1..];
    }
    found.push(rest.trim_matches(|char: char| char == ';' || char.is_whitespace()));
    found.retain(|url| !url.is_empty());
    found
}

/// Position of the `;` after which another URL begins. One inside a password is followed by no scheme.
fn next_url(urls: &str) -> Option<usize> {
    urls.match_indices(';').map(|(at, _)| at).find(|at| {
        let scheme = urls[at + 1..].split("://").next().unwrap_or("");
        scheme.len() < urls.len() - at - 1 && is_scheme(scheme)
    })
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+')
}

fn hide_in_one(url: &str) -> String {
    let (start, path_only) = match url.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) {
        Some((scheme, _)) => (scheme.len() + 3, matches!(scheme, "sqlite" | "memory")),
        None => (0, false),
    };
    let mut shown = url.to_owned();
    let at = if path_only { None } else { url.rfind('@').filter(|at| *at >= start) };
    if let Some((at, colon)) = at.and_then(|at| Some((at, url[start..at].find(':')?))) {
        shown.replace_range(start + colon + 1..at, "**");
    }
    hide_query_secrets(&shown)
}

fn hide_query_secrets(url: &str) -> String {
    let Some((before, query)) = url.split_once('?') else { return url.to_owned() };
    let pairs: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((key, _)) if is_secret(key) => format!("{key}=**"),
            _ => pair.to_owned(),
        })
        .collect();
    format!("{before}?{}", pairs.join("&"))
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["pass", "secret", "token"].iter().any(|word| key.contains(word))
}

/// `text` with its `%xx` made into bytes; `None` if that is no UTF-8.
pub(crate) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped =
            || std::str::from_utf8(after.get(..2)?).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (first == b'%').then(escaped).flatten() {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hidden() {
        for (url, shown) in [
            ("redis://:secret@host:6379/0", "redis://:**@host:6379/0"),
            ("redis://user:secret@host/0", "redis://user:**@host/0"),
            ("redis://user:a/b?c@d@host/0", "redis://user:**@host/0"),
            ("redis://host:6379/0", "redis://host:6379/0"),
            ("redis://user@host", "redis://user@host"),
            ("sentinel://:a;b@h1:1;sentinel://:c@h2:2/0", "sentinel://:**@h1:1;sentinel://:**@h2:2/0"),
            ("redis://h/0?password=x&timeout=3", "redis://h/0?password=**&timeout=3"),
            ("sqlite:////srv/a:b@c/umbel.sqlite3", "sqlite:////srv/a:b@c/umbel.sqlite3"),
            ("user:secret@host", "user:**@host"),
            ("user:secret@host/0?next=http://x", "user:**@host/0?next=http://x"),
            ("", ""),
            (";;", ";;"),
            ("@", "@"),
            ("redis://é:é@é", "redis://é:**@é"),
        ] {
            assert_eq!(hide_password(url), shown);
        }
    }

    #[test]
    fn unknown_schemes_name_the_known_ones_and_no_password() {
        let error = Engine::of("qpid://guest:pw1@host//", "broker_url").expect_err("unknown").to_string();
        assert!(error.contains("sqlite://") && error.contains("broker_url") && !error.contains("pw1"), "{error}");
        assert_eq!(Engine::of("REDISS://h", "broker_url"), Ok(Engine::Redis));
    }

    #[test]
    fn memory_urls_name_a_store() {
        for (url, name) in [("memory://", ""), ("memory://a", "a"), ("memory:///a/?x=1", "a"), ("memory", "")] {
            assert_eq!(memory_name(url), name);
        }
    }
}

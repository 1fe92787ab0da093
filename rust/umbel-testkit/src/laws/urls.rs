//! Broker URLs.

use umbel_broker::sqlite::Location;
use umbel_broker::url::{Engine, hide_password, memory_name};
use umbel_broker::{Broker, RedisBroker, RedisOptions, TransportOptions};

use super::memory::bounded;

/// A password that is nowhere else.
const PASSWORD: &str = "Xyzzy+7/Plugh";

/// No URL makes a reader panic, and a password is never shown: as text, in an error, or by an engine that was set up.
/// Two zero bytes part what comes before the password from what comes after.
pub(super) fn url(data: &[u8]) {
    let (before, after) = super::parts(data);
    let (Ok(before), Ok(after)) = (std::str::from_utf8(before), std::str::from_utf8(after)) else { return };
    read(&format!("{before}{after}"));
    // Where a password may be: a scheme, a user without what would end it.
    let (scheme, user) = before.split_once("://").unwrap_or(("redis", before));
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric();
    if scheme.is_empty() || !scheme.bytes().all(|byte| is_plain(byte) || byte == b'+') || !user.bytes().all(is_plain) {
        return;
    }
    // A fuzzer finds the word in time, and puts it where it may be shown.
    if matches!(scheme, "sqlite" | "memory") || [user, after].iter().any(|part| part.contains(PASSWORD)) {
        return;
    }
    for said in read(&format!("{scheme}://{user}:{PASSWORD}@{after}")) {
        assert!(!said.contains(PASSWORD), "{said}");
    }
}

/// Reads a URL in every way; returns what is shown to people.
fn read(url: &str) -> Vec<String> {
    let options = TransportOptions::new();
    let mut said = vec![hide_password(url)];
    assert_eq!(hide_password(&said[0]), said[0], "hiding twice hides no more");
    said.extend(Engine::of(url, "broker_url").err().map(|error| error.to_string()));
    let _ = memory_name(url);
    // TLS would read the machine's certificates, or whatever file the URL names.
    if url.to_ascii_lowercase().contains("rediss") {
        return said;
    }
    match bounded(url.len(), 64, || RedisOptions::parse(url, &options)) {
        Ok(options) => {
            let broker = RedisBroker::new(options);
            said.extend([broker.display_url(), broker.identity()]);
        }
        Err(error) => said.push(error.to_string()),
    }
    if let Err(error) = bounded(url.len() + (16 << 10), 64, || Location::parse(url, &options, "broker_url")) {
        assert!(!error.to_string().is_empty());
    }
    said
}

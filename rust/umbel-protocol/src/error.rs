//! What a parser says of bytes it cannot accept.

/// Bytes or fields that do not form a valid message, result or frame.
///
/// The text is shown to people (dead letters, logs), so it names the field and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {detail}")]
pub struct Malformed {
    /// The part that is wrong: `"envelope"`, `"header 'eta'"`, `"body"`, …
    pub what: String,
    /// What is wrong with it, in words.
    pub detail: String,
}

impl Malformed {
    /// A malformed `what`, with the reason in `detail`.
    pub fn new(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { what: what.into(), detail: detail.into() }
    }
}

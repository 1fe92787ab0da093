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

    /// The same reason, said of another `what` (a parser knows bytes, its caller knows which field they are).
    pub fn of(self, what: impl Into<String>) -> Self {
        Self { what: what.into(), detail: self.detail }
    }
}

/// Why something could not be read or written here: it is wrong, or it takes Python (pickle, yaml, lzma, codecs that
/// an application registered).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No side can read or write it.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Python may be able to.
    #[error(transparent)]
    NeedsPython(#[from] NeedsPython),
}

/// A format this crate does not speak, by the name it has on the wire.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NeedsPython {
    /// A serializer: its content type.
    #[error("serializer {0:?} is for Python only")]
    Serializer(String),
    /// A compression codec: its name or content type.
    #[error("compression {0:?} is for Python only")]
    Compression(String),
}

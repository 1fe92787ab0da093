//! What can go wrong, by what helps against it.

/// Shorthand for this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Bytes that are no AMQP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {detail}")]
pub struct Malformed {
    /// The part that is wrong.
    pub what: &'static str,
    /// What is wrong with it.
    pub detail: String,
}

impl Malformed {
    /// A malformed `what`.
    pub fn new(what: &'static str, detail: impl Into<String>) -> Self {
        Self { what, detail: detail.into() }
    }
}

/// Why a peer closed a channel or the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text} ({code})")]
pub struct CloseReason {
    /// Reply code: 404, 406, …
    pub code: u16,
    /// The server's words.
    pub text: String,
    /// Class and method that caused it; zeros for none.
    pub method: (u16, u16),
}

/// Reply code of a refused login or a missing permission.
pub const ACCESS_REFUSED: u16 = 403;
/// Reply code of a queue or exchange that is not there.
pub const NOT_FOUND: u16 = 404;
/// Reply code of something that is another connection's alone.
pub const RESOURCE_LOCKED: u16 = 405;
/// Reply code of arguments other than the existing ones, and of deliveries that were held for too long.
pub const PRECONDITION_FAILED: u16 = 406;
/// Reply code of a virtual host that is not there or not allowed.
pub const NOT_ALLOWED: u16 = 530;

/// Why something did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket cannot be opened, or broke.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The peer does not speak AMQP as it should. The connection is over.
    #[error("the server does not speak AMQP 0-9-1 as it should: {0}")]
    Protocol(#[from] Malformed),
    /// The server closed the connection.
    #[error("the server closed the connection: {0}")]
    Closed(CloseReason),
    /// The server refused the login.
    #[error("{0}")]
    Refused(String),
    /// The server closed a channel; the connection goes on.
    #[error("the server closed channel {channel}: {reason}")]
    ChannelClosed {
        /// Which.
        channel: u16,
        /// Why.
        reason: CloseReason,
    },
    /// Nothing was heard of the peer for two heartbeats, or an answer did not come in time.
    #[error("the server has been silent for {0:?}")]
    Silent(std::time::Duration),
    /// The server accepts no messages for now; its reason.
    #[error("the server accepts no messages: {0}")]
    Blocked(String),
    /// What was to be sent cannot be said in AMQP.
    #[error("{0}")]
    Unsendable(String),
}

impl Error {
    /// Whether the connection is over.
    pub fn ends_connection(&self) -> bool {
        !matches!(self, Self::ChannelClosed { .. } | Self::Unsendable(_) | Self::Blocked(_))
    }

    /// The reply code, if the server gave one.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Closed(reason) | Self::ChannelClosed { reason, .. } => Some(reason.code),
            _ => None,
        }
    }
}

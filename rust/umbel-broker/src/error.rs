//! Broker and result store errors; each knows what to do next, so callers never match on text.

/// Shorthand for this crate and the result stores.
pub type Result<T, E = BrokerError> = std::result::Result<T, E>;

/// What a caller should do after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    /// The same call may succeed later on this connection (busy, out of memory, loading).
    Retry,
    /// The connection is gone: reconnect, then repeat what was not confirmed.
    Reconnect,
    /// Repeating cannot help: a setting, a password or the call itself is wrong.
    GiveUp,
}

/// Why a broker or result store did not do what it was asked. Texts never hold passwords.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// The server cannot be reached, or the connection broke; what was in flight is unknown.
    #[error("connection to {url} lost: {detail}")]
    Connection {
        /// URL without password.
        url: String,
        /// The operating system's or library's words.
        detail: String,
    },
    /// The server answered that it cannot do this now (out of memory, loading, read-only, disk full, locked).
    #[error("{url} cannot do this now: {detail}")]
    Unavailable {
        /// URL without password.
        url: String,
        /// The server's words.
        detail: String,
    },
    /// Wrong password, missing permission or TLS trust.
    #[error("{url} refused access: {detail}")]
    Access {
        /// URL without password.
        url: String,
        /// The server's words.
        detail: String,
    },
    /// No queue is bound to the exchange and routing key; the message was not sent.
    #[error("no queue is bound to exchange {exchange:?} with routing key {routing_key:?}: the message was not sent")]
    Unroutable {
        /// Exchange name.
        exchange: String,
        /// Routing key.
        routing_key: String,
    },
    /// A URL or option cannot be used.
    #[error("{setting}: {detail}")]
    Config {
        /// The setting or URL part at fault.
        setting: String,
        /// What is wrong and what to write instead.
        detail: String,
    },
    /// The store holds something this version does not understand, or the call does not fit it.
    #[error("{detail}")]
    Protocol {
        /// What was found.
        detail: String,
    },
}

impl From<umbel_net::TlsError> for BrokerError {
    fn from(error: umbel_net::TlsError) -> Self {
        Self::Config { setting: error.setting, detail: error.detail }
    }
}

impl BrokerError {
    /// The error for results in a settlement of a consumer that was opened without `stores_results`.
    pub fn results_not_stored() -> Self {
        let detail = "a settlement carries results, but the consumer was opened without stores_results".to_owned();
        Self::Protocol { detail }
    }

    /// What to do next.
    pub fn next_step(&self) -> NextStep {
        match self {
            Self::Connection { .. } => NextStep::Reconnect,
            Self::Unavailable { .. } => NextStep::Retry,
            Self::Access { .. } | Self::Unroutable { .. } | Self::Config { .. } | Self::Protocol { .. } => {
                NextStep::GiveUp
            }
        }
    }
}

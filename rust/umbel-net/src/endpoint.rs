//! Where a server listens.

use std::fmt;
use std::path::PathBuf;

/// Where one server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// Host and port.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// Path of a unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // One name for the machine we are on, so that two spellings are one store.
            Self::Tcp { host, port } if host == "localhost" => write!(f, "127.0.0.1:{port}"),
            Self::Tcp { host, port } => write!(f, "{}:{port}", host.to_lowercase()),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

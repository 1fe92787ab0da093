//! Sockets of a client that blocks: plain, Unix and TLS, and waiting for one together with a waker.

mod eagerness;
mod endpoint;
mod socket;
mod tls;

pub use eagerness::Eagerness;
pub use endpoint::Endpoint;
pub use socket::{Ready, Socket, SocketSettings};
pub use tls::{TlsError, TlsOptions};
// What a configuration is made into.
pub use rustls::ClientConfig;

//! A socket with what was read of it and not yet taken.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use umbel_net::{Endpoint, Ready, Socket, SocketSettings};

use super::buffered::Buffered;
use super::reply::Value;

/// A connected socket with its read buffer.
pub(super) struct Stream {
    input: Buffered<Socket>,
}

impl Stream {
    /// Connects to `endpoint`; with TLS the handshake happens at the first write.
    pub(super) fn connect(endpoint: &Endpoint, settings: &SocketSettings<'_>) -> io::Result<Self> {
        Ok(Self { input: Buffered::new(Socket::connect(endpoint, settings)?) })
    }

    /// Reads one frame, a reply or a push.
    pub(super) fn value(&mut self) -> io::Result<Value> {
        self.input.value()
    }

    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.input.reader.write_all(bytes)
    }

    /// Waits until there is something to read, `waker` is readable or `timeout` has passed.
    pub(super) fn wait(&mut self, timeout: Duration, waker: Option<BorrowedFd<'_>>) -> io::Result<Ready> {
        if self.input.has_bytes() { Ok(Ready::Data) } else { self.input.reader.wait(timeout, waker) }
    }

    /// Whether there is something to read; of TLS, perhaps no more than a part of a record.
    pub(super) fn is_readable(&self) -> io::Result<bool> {
        Ok(self.input.has_bytes() || self.input.reader.is_readable()?)
    }
}

//! A connected socket, and waiting for it together with a waker.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_keepalive;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::endpoint::Endpoint;

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// The server sent something (or closed).
    Data,
    /// The waker's descriptor is readable.
    Woken,
    /// Neither, in time.
    Timeout,
}

/// A connected socket.
pub struct Socket(Kind);

enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// How a socket is opened.
pub struct SocketSettings<'a> {
    /// `None` for plain text.
    pub tls: Option<&'a Arc<ClientConfig>>,
    /// For each address of the host.
    pub connect_timeout: Duration,
    /// For each read and write.
    pub timeout: Duration,
    /// Whether the kernel probes an idle peer.
    pub keepalive: bool,
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Tcp(socket) => socket.read(into),
            Kind::Unix(socket) => socket.read(into),
            Kind::Tls(socket) => socket.read(into),
        }
    }
}

impl Socket {
    /// Connects to `endpoint`; with TLS the handshake happens at the first write.
    ///
    /// # Errors
    /// Those of the network; of a name that is none for TLS.
    pub fn connect(endpoint: &Endpoint, settings: &SocketSettings<'_>) -> io::Result<Self> {
        let timeout = Some(settings.timeout);
        let socket = match endpoint {
            Endpoint::Unix(path) => {
                let socket = UnixStream::connect(path)?;
                socket.set_read_timeout(timeout)?;
                socket.set_write_timeout(timeout)?;
                Kind::Unix(socket)
            }
            Endpoint::Tcp { host, port } => {
                let socket = connect_tcp(host, *port, settings.connect_timeout)?;
                socket.set_nodelay(true)?;
                socket.set_read_timeout(timeout)?;
                socket.set_write_timeout(timeout)?;
                set_socket_keepalive(&socket, settings.keepalive)?;
                match settings.tls {
                    None => Kind::Tcp(socket),
                    Some(config) => Kind::Tls(Box::new(start_tls(host, socket, config)?)),
                }
            }
        };
        Ok(Self(socket))
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// Those of the socket; with TLS also of the handshake.
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Kind::Tcp(socket) => socket.write_all(bytes),
            Kind::Unix(socket) => socket.write_all(bytes),
            Kind::Tls(socket) => socket.write_all(bytes).and_then(|()| socket.flush()),
        }
    }

    /// Waits until there is something to read, `waker` is readable or `timeout` has passed.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn wait(&mut self, timeout: Duration, waker: Option<BorrowedFd<'_>>) -> io::Result<Ready> {
        let deadline = Instant::now() + timeout;
        loop {
            if self.has_plaintext()? {
                return Ok(Ready::Data);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match poll_both(self.descriptor(), waker, left)? {
                // Readable may mean a TLS record that holds no data of ours: take it in and look again.
                Some(Ready::Data) => match &mut self.0 {
                    Kind::Tls(tls) => {
                        if tls.conn.read_tls(&mut tls.sock)? == 0 {
                            return Ok(Ready::Data);
                        }
                    }
                    _ => return Ok(Ready::Data),
                },
                Some(ended) => return Ok(ended),
                None => {}
            }
        }
    }

    /// Whether there is something to read; of TLS, perhaps no more than a part of a record.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn is_readable(&self) -> io::Result<bool> {
        Ok(poll_both(self.descriptor(), None, Duration::ZERO)? == Some(Ready::Data))
    }

    fn has_plaintext(&mut self) -> io::Result<bool> {
        let Kind::Tls(tls) = &mut self.0 else { return Ok(false) };
        let state = tls.conn.process_new_packets().map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        Ok(state.plaintext_bytes_to_read() > 0 || state.peer_has_closed())
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Kind::Tcp(socket) => socket.as_fd(),
            Kind::Unix(socket) => socket.as_fd(),
            Kind::Tls(socket) => socket.sock.as_fd(),
        }
    }
}

fn connect_tcp(host: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(ErrorKind::NotFound, format!("{host} has no address"));
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn start_tls(
    host: &str,
    socket: TcpStream,
    config: &Arc<ClientConfig>,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| io::Error::new(ErrorKind::InvalidInput, format!("{host}: {error}")))?;
    let connection = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(connection, socket))
}

fn poll_both(socket: BorrowedFd<'_>, waker: Option<BorrowedFd<'_>>, timeout: Duration) -> io::Result<Option<Ready>> {
    let interest = PollFlags::IN;
    let mut fds =
        [PollFd::from_borrowed_fd(socket, interest), PollFd::from_borrowed_fd(waker.unwrap_or(socket), interest)];
    let count = if waker.is_some() { 2 } else { 1 };
    let timeout = Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    match poll(&mut fds[..count], Some(&timeout)) {
        // A signal is no reason to end the wait: the caller looks at its deadline and polls again.
        Err(rustix::io::Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
        Ok(0) => Ok(Some(Ready::Timeout)),
        Ok(_) if !fds[0].revents().is_empty() => Ok(Some(Ready::Data)),
        Ok(_) => Ok(Some(Ready::Woken)),
    }
}

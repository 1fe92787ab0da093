//! A connection on a socket that blocks.
//!
//! What is sent is collected until [`Link::flush`], or until an answer is waited for, so that many methods share a system
//! call. An answer that is overdue ends the connection: what came after it could be taken for another's.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use umbel_net::{ClientConfig, Eagerness, Endpoint, Ready, Socket, SocketSettings};

use crate::connection::{Connection, Content, Event, Settings, Tuned};
use crate::error::{CloseReason, Error, Result};
use crate::method::Method;
use crate::table::Table;

/// Bytes read at once.
const READ_SIZE: usize = 256 << 10;

/// Bytes collected at most before they are sent.
const COLLECTED: usize = 256 << 10;

/// Where a server is, and how patient to be with it.
#[derive(Clone)]
pub struct Address {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// `None` for plain text.
    pub tls: Option<Arc<ClientConfig>>,
    /// For the connection of the socket.
    pub connect_timeout: Duration,
    /// For each answer.
    pub timeout: Duration,
    /// Whether the kernel probes an idle peer.
    pub keepalive: bool,
}

/// Patience with a server that has stopped us.
const BLOCKED: Duration = Duration::from_secs(1);

/// What a wait brought.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// Something happened.
    Event(Event),
    /// The waker's descriptor is readable.
    Woken,
    /// Nothing in time.
    Timeout,
}

/// An open connection. After an error that ends it every further call fails.
pub struct Link {
    socket: Socket,
    connection: Connection,
    started: Instant,
    timeout: Duration,
    buffer: Box<[u8]>,
    /// What happened while something else was waited for.
    events: VecDeque<Event>,
    server: Table,
    blocked: Option<String>,
    over: bool,
    eagerness: Eagerness,
}

impl Link {
    /// Connects and logs in.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Refused`], [`Error::Closed`] (of a virtual host that is not there), [`Error::Protocol`].
    pub fn open(address: &Address, settings: Settings) -> Result<Self> {
        let socket_settings = SocketSettings {
            tls: address.tls.as_ref(),
            connect_timeout: address.connect_timeout,
            timeout: address.timeout,
            keepalive: address.keepalive,
        };
        let mut link = Self {
            socket: Socket::connect(&address.endpoint, &socket_settings)?,
            connection: Connection::open(settings, Duration::ZERO),
            started: Instant::now(),
            timeout: address.timeout,
            buffer: vec![0; READ_SIZE].into_boxed_slice(),
            events: VecDeque::new(),
            server: Table::new(),
            blocked: None,
            over: false,
            eagerness: Eagerness::default(),
        };
        link.log_in()?;
        Ok(link)
    }

    fn log_in(&mut self) -> Result<()> {
        loop {
            let logging_in = self.connection.is_logging_in();
            match self.next(self.timeout, None) {
                Ok(Next::Event(Event::Opened { server, .. })) => {
                    self.server = server;
                    return Ok(());
                }
                Ok(Next::Event(_) | Next::Woken) => {}
                Ok(Next::Timeout) => return self.fail(Error::Silent(self.timeout)),
                Err(Error::Io(error)) if logging_in && error.kind() == ErrorKind::UnexpectedEof => {
                    return Err(Error::Refused("the server hung up when it was told who we are".to_owned()));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What both sides agreed on.
    pub fn tuned(&self) -> Tuned {
        self.connection.tuned()
    }

    /// What the server says of itself.
    pub fn server(&self) -> &Table {
        &self.server
    }

    /// Why the server accepts no messages now, if so.
    pub fn blocked(&self) -> Option<&str> {
        self.blocked.as_deref()
    }

    /// Whether it can still be used, as far as is known.
    pub fn is_open(&self) -> bool {
        !self.over
    }

    /// Has answers looked for without sleeping, for as long as the server answers within a moment; for callers that have
    /// nothing else to do and whose caller waits.
    pub fn be_eager(&mut self) {
        self.eagerness.want();
    }

    /// Collects a method.
    ///
    /// # Errors
    /// [`Error::Unsendable`]; those of sending, when much was collected.
    pub fn send(&mut self, channel: u16, method: &Method) -> Result<()> {
        self.connection.send(channel, method)?;
        self.flush_if_much()
    }

    /// Collects a message; see [`Connection::publish`].
    ///
    /// # Errors
    /// As [`Link::send`].
    pub fn publish(&mut self, channel: u16, method: &Method, properties: &[u8], body: &[u8]) -> Result<()> {
        self.connection.publish(channel, method, properties, body)?;
        self.flush_if_much()
    }

    fn flush_if_much(&mut self) -> Result<()> {
        if self.connection.output().len() < COLLECTED { Ok(()) } else { self.flush() }
    }

    /// Sends what was collected.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Blocked`] where the server takes nothing because it has said so.
    pub fn flush(&mut self) -> Result<()> {
        self.check()?;
        if self.connection.output().is_empty() {
            return Ok(());
        }
        let output = std::mem::take(self.connection.output());
        let sent = self.socket.write_all(&output);
        let now = self.now();
        // The buffer goes back: a large one is dear to allocate anew.
        *self.connection.output() = output;
        self.connection.output().clear();
        self.connection.sent(now);
        sent.or_else(|error| self.fail(error.into()))
    }

    /// Sends a method and waits for its answer.
    ///
    /// # Errors
    /// [`Error::ChannelClosed`] when the server refuses it; those that end the connection.
    pub fn call(&mut self, channel: u16, method: &Method) -> Result<Method> {
        self.send(channel, method)?;
        self.answer(channel)
    }

    /// Waits for the next answer on a channel, of those that were asked for by [`Link::send`].
    ///
    /// # Errors
    /// As [`Link::call`].
    pub fn answer(&mut self, channel: u16) -> Result<Method> {
        let found = self.wait_for(|event| match event {
            Event::Method { channel: of, method } => *of == channel && is_answer(method),
            Event::ChannelClosed { channel: of, .. } => *of == channel,
            _ => false,
        })?;
        match found {
            Event::Method { method, .. } => Ok(method),
            other => Err(Self::refusal(other)),
        }
    }

    /// Takes one message off a queue, if there is one.
    ///
    /// # Errors
    /// As [`Link::call`].
    pub fn get(&mut self, channel: u16, queue: &str) -> Result<Option<Content>> {
        self.send(channel, &Method::get(queue))?;
        self.got(channel)
    }

    /// Waits for the answer to a `basic.get` that was sent before.
    ///
    /// # Errors
    /// As [`Link::call`].
    pub fn got(&mut self, channel: u16) -> Result<Option<Content>> {
        let found = self.wait_for(|event| match event {
            Event::Method { channel: of, method: Method::BasicGetEmpty { .. } } => *of == channel,
            Event::Content { channel: of, content } => {
                *of == channel && matches!(content.method, Method::BasicGetOk { .. })
            }
            Event::ChannelClosed { channel: of, .. } => *of == channel,
            _ => false,
        })?;
        match found {
            Event::Content { content, .. } => Ok(Some(*content)),
            Event::Method { .. } => Ok(None),
            other => Err(Self::refusal(other)),
        }
    }

    fn refusal(event: Event) -> Error {
        let Event::ChannelClosed { channel, reason } = event else {
            return Error::Closed(CloseReason { code: 0, text: "an unexpected answer".to_owned(), method: (0, 0) });
        };
        Error::ChannelClosed { channel, reason }
    }

    /// Waits for an event; those that come before it are kept for [`Link::next`].
    fn wait_for(&mut self, is_wanted: impl Fn(&Event) -> bool) -> Result<Event> {
        self.flush()?;
        let deadline = Instant::now() + self.timeout;
        let mut looked = 0;
        loop {
            while let Some(event) = self.events.get(looked) {
                if is_wanted(event) {
                    return Ok(self.events.remove(looked).unwrap_or(Event::Unblocked));
                }
                looked += 1;
            }
            self.look_eagerly()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if self.take_in(left, None)? != Ready::Data && left.is_zero() {
                return Err(self.gave_up());
            }
        }
    }

    fn look_eagerly(&mut self) -> Result<()> {
        let mut eagerness = std::mem::take(&mut self.eagerness);
        let looked = eagerness.look(|| self.socket.is_readable());
        self.eagerness = eagerness;
        looked.or_else(|error| self.fail(error.into()))
    }

    /// What happened next: at once if something has, else waits up to `timeout`, or until `waker` is readable.
    ///
    /// # Errors
    /// Those that end the connection.
    pub fn next(&mut self, timeout: Duration, waker: Option<BorrowedFd<'_>>) -> Result<Next> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Next::Event(event));
            }
            self.flush()?;
            let left = deadline.saturating_duration_since(Instant::now());
            match self.take_in(left, waker)? {
                Ready::Woken => return Ok(Next::Woken),
                Ready::Timeout if left.is_zero() => return Ok(Next::Timeout),
                Ready::Data | Ready::Timeout => {}
            }
        }
    }

    /// What happened next, for who waits for the server's word: at once, eagerly, then for as long as an answer may take. A
    /// server that has said that it accepts nothing is not waited for so long.
    ///
    /// # Errors
    /// Those that end the connection.
    pub fn confirm(&mut self) -> Result<Next> {
        if self.events.is_empty() {
            self.flush()?;
            self.look_eagerly()?;
        }
        let patience = if self.blocked.is_some() { self.timeout.min(BLOCKED) } else { self.timeout };
        self.next(patience, None)
    }

    /// Ends a connection on which a word of the server is overdue, and says why.
    pub fn gave_up(&mut self) -> Error {
        self.over = true;
        self.blocked.clone().map_or(Error::Silent(self.timeout), Error::Blocked)
    }

    /// What has happened so far, without waiting for more.
    ///
    /// # Errors
    /// Those that end the connection.
    pub fn poll(&mut self) -> Result<Option<Event>> {
        if self.events.is_empty() {
            while self.take_in(Duration::ZERO, None)? == Ready::Data && self.events.is_empty() {}
        }
        Ok(self.events.pop_front())
    }

    /// Keeps the heartbeat without waiting for anything.
    ///
    /// # Errors
    /// Those that end the connection.
    pub fn keep_alive(&mut self) -> Result<()> {
        while self.take_in(Duration::ZERO, None)? == Ready::Data {}
        self.flush()
    }

    /// Reads once, if there is something within `timeout`; keeps the heartbeat.
    fn take_in(&mut self, timeout: Duration, waker: Option<BorrowedFd<'_>>) -> Result<Ready> {
        self.check()?;
        let now = self.now();
        let until_tick = self.connection.next_tick().map(|at| at.saturating_sub(now));
        let wait = until_tick.map_or(timeout, |until| until.min(timeout));
        let ready = match self.socket.wait(wait, waker) {
            Ok(ready) => ready,
            Err(error) => return self.fail(error.into()),
        };
        if ready == Ready::Data {
            self.read()?;
        }
        let now = self.now();
        if let Err(error) = self.connection.tick(now) {
            return self.fail(error);
        }
        if ready == Ready::Timeout && wait < timeout {
            self.flush()?;
            // Not yet the caller's timeout.
            return Ok(Ready::Data);
        }
        Ok(ready)
    }

    fn read(&mut self) -> Result<()> {
        let read = match self.socket.read(&mut self.buffer) {
            Ok(0) => return self.fail(io::Error::from(ErrorKind::UnexpectedEof).into()),
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => return Ok(()),
            Err(error) => return self.fail(error.into()),
        };
        let now = self.now();
        let received = self.connection.receive(&self.buffer[..read], now);
        while let Some(event) = self.connection.next_event() {
            match event {
                Event::Blocked(reason) => {
                    self.blocked = Some(reason.clone());
                    self.events.push_back(Event::Blocked(reason));
                }
                Event::Unblocked => {
                    self.blocked = None;
                    self.events.push_back(Event::Unblocked);
                }
                Event::Closed(reason) => {
                    self.over = true;
                    // The answer to its goodbye; the server may be gone already.
                    let output = std::mem::take(self.connection.output());
                    let _ = self.socket.write_all(&output);
                    return Err(Error::Closed(reason.unwrap_or_else(closed_by_us)));
                }
                event => self.events.push_back(event),
            }
        }
        received.or_else(|error| self.fail(error))
    }

    /// Says goodbye and waits for the answer, unless that takes too long.
    pub fn close(&mut self) {
        if self.over {
            return;
        }
        self.connection.close();
        let until = Instant::now() + self.timeout.min(Duration::from_secs(2));
        if self.flush().is_ok() {
            while Instant::now() < until && self.take_in(until - Instant::now(), None).is_ok() {}
        }
        self.over = true;
    }

    fn check(&self) -> Result<()> {
        if self.over { Err(Error::Closed(closed_by_us())) } else { Ok(()) }
    }

    fn fail<T>(&mut self, error: Error) -> Result<T> {
        self.over |= error.ends_connection();
        Err(error)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Drop for Link {
    /// A word of goodbye, without waiting: the server is to notice at once, and to log nothing.
    fn drop(&mut self) {
        if !self.over {
            self.connection.close();
            let _ = self.flush();
        }
    }
}

fn closed_by_us() -> CloseReason {
    CloseReason { code: 200, text: "the connection was closed after an earlier error".to_owned(), method: (0, 0) }
}

/// Methods that the server sends of its own accord are no answers.
fn is_answer(method: &Method) -> bool {
    !matches!(method, Method::BasicAck { .. } | Method::BasicNack { .. } | Method::BasicCancel { .. })
}

//! A connection without a socket: bytes in, events out; commands in, bytes out.
//!
//! The life of one: [`Connection::open`] puts the greeting into [`Connection::output`]; what the server sends goes through
//! [`Connection::receive`], whose events [`Connection::next_event`] hands out, [`Event::Opened`] first; from then on channels are
//! opened by [`Connection::send`] of `channel.open`. Closing a channel or the connection is answered here, as are heartbeats
//! ([`Connection::tick`]). After an error the connection is over, and says nothing more.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::error::{ACCESS_REFUSED, CloseReason, Error, Malformed, Result};
use crate::frame::{self, Frame, Kind};
use crate::method::{Method, Unused};
use crate::table::{Table, Value};
use crate::wire::{Reader, Writer};

/// The largest frame before both sides have agreed on one. RabbitMQ 4 takes no more than 8192 bytes of us until then.
const FIRST_FRAME_MAX: usize = 8192;

/// The largest payload that is taken of a server before that: it may say a lot about itself.
const FIRST_PAYLOAD_MAX: usize = 128 * 1024;

/// The smallest frame a server may ask for.
const FRAME_MIN: u32 = 4096;

/// How to log in.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// Name and password.
    Plain {
        /// Who.
        user: String,
        /// The password.
        password: String,
    },
    /// By what the layer below has shown, a certificate as a rule.
    External,
}

impl Login {
    fn mechanism(&self) -> &'static str {
        match self {
            Self::Plain { .. } => "PLAIN",
            Self::External => "EXTERNAL",
        }
    }

    fn response(&self) -> Vec<u8> {
        match self {
            Self::Plain { user, password } => format!("\0{user}\0{password}").into_bytes(),
            Self::External => Vec::new(),
        }
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain { user, .. } => write!(f, "Plain({user:?}, **)"),
            Self::External => write!(f, "External"),
        }
    }
}

/// What a client wants of a connection.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who it is.
    pub login: Login,
    /// Where to.
    pub virtual_host: String,
    /// The name the server shows people.
    pub name: String,
    /// The longest silence, in whole seconds; zero sends no heartbeats and expects none.
    pub heartbeat: Duration,
    /// The largest frame wanted.
    pub frame_max: u32,
}

/// What both sides agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuned {
    /// The highest channel.
    pub channel_max: u16,
    /// The largest frame, its ends included.
    pub frame_max: usize,
    /// The longest silence; zero for any.
    pub heartbeat: Duration,
}

/// A message as it comes.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// `basic.deliver`, `basic.get-ok` or `basic.return`.
    pub method: Method,
    /// The properties as bytes, for [`crate::Properties::decode`]: a stranger may have written any.
    pub properties: Vec<u8>,
    /// The body.
    pub body: Vec<u8>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The connection is open: channels may be opened.
    Opened {
        /// What the server says of itself.
        server: Table,
        /// What both sides agreed on.
        tuned: Tuned,
    },
    /// A method on a channel, an answer as a rule.
    Method {
        /// Which channel.
        channel: u16,
        /// The method.
        method: Method,
    },
    /// A message.
    Content {
        /// Which channel.
        channel: u16,
        /// The message.
        content: Box<Content>,
    },
    /// The server closed a channel. It may be opened again.
    ChannelClosed {
        /// Which channel.
        channel: u16,
        /// Why.
        reason: CloseReason,
    },
    /// The server accepts no messages until further notice, and why.
    Blocked(String),
    /// It does again.
    Unblocked,
    /// The connection was closed, by us if there is no reason.
    Closed(Option<CloseReason>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Waits for `connection.start`.
    Greeted,
    /// Waits for `connection.tune`, or the refusal of the login.
    LoggingIn,
    /// Waits for `connection.open-ok`.
    Opening,
    Open,
    /// Waits for `connection.close-ok`.
    Closing,
    Over,
}

/// A channel that was opened, and the message that is coming in on it.
#[derive(Debug, Default)]
struct Channel {
    /// We have closed it, and wait for the server to agree.
    closing: bool,
    incoming: Option<Incoming>,
}

#[derive(Debug)]
struct Incoming {
    method: Method,
    header: Option<(Vec<u8>, u64)>,
    body: Vec<u8>,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    settings: Settings,
    state: State,
    server: Table,
    tuned: Tuned,
    /// The largest payload either side may send.
    payload_max: usize,
    /// The beginning of a frame of which the end has not come.
    partial: Vec<u8>,
    channels: BTreeMap<u16, Channel>,
    events: VecDeque<Event>,
    output: Vec<u8>,
    /// When something last came, and went.
    received_at: Duration,
    sent_at: Duration,
}

impl Connection {
    /// Begins one: the greeting is in its output.
    pub fn open(settings: Settings, now: Duration) -> Self {
        let tuned = Tuned { channel_max: 0, frame_max: FIRST_FRAME_MAX, heartbeat: Duration::ZERO };
        Self {
            settings,
            state: State::Greeted,
            server: Table::new(),
            tuned,
            payload_max: FIRST_PAYLOAD_MAX,
            partial: Vec::new(),
            channels: BTreeMap::new(),
            events: VecDeque::new(),
            output: frame::PROTOCOL_HEADER.to_vec(),
            received_at: now,
            sent_at: now,
        }
    }

    /// What both sides agreed on.
    pub fn tuned(&self) -> Tuned {
        self.tuned
    }

    /// Bytes for the server; whoever sends them clears them.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Output was sent at `now`.
    pub fn sent(&mut self, now: Duration) {
        self.sent_at = now;
    }

    /// What happened next.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether the login was sent and nothing has been heard since: a server that then hangs up refuses it.
    pub fn is_logging_in(&self) -> bool {
        self.state == State::LoggingIn
    }

    /// Takes in what the server sent, however it is cut.
    ///
    /// # Errors
    /// [`Error::Protocol`], [`Error::Refused`]: the connection is over.
    pub fn receive(&mut self, bytes: &[u8], now: Duration) -> Result<()> {
        self.received_at = now;
        if self.state == State::Over {
            return Ok(());
        }
        let taken = if self.partial.is_empty() {
            self.take_frames(bytes)
        } else {
            let mut joined = std::mem::take(&mut self.partial);
            joined.extend_from_slice(bytes);
            self.take_frames(&joined)
        };
        taken.inspect_err(|_| self.state = State::Over)
    }

    fn take_frames(&mut self, mut bytes: &[u8]) -> Result<()> {
        while let Some((frame, length)) = frame::split(bytes, self.payload_max)? {
            self.take(frame)?;
            bytes = &bytes[length..];
            if self.state == State::Over {
                return Ok(());
            }
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }

    fn take(&mut self, frame: Frame<'_>) -> Result<()> {
        match (frame.kind, frame.channel) {
            (Kind::Heartbeat, _) => Ok(()),
            (Kind::Method, 0) => self.take_own(Method::decode(frame.payload)?),
            (_, 0) => Err(Malformed::new("frame", "content on channel 0").into()),
            (Kind::Method, channel) => self.take_method(channel, Method::decode(frame.payload)?),
            (Kind::Header, channel) => self.take_header(channel, frame.payload),
            (Kind::Body, channel) => self.take_body(channel, frame.payload),
        }
    }

    /// A method of the connection itself.
    fn take_own(&mut self, method: Method) -> Result<()> {
        match (self.state, method) {
            (State::Greeted, Method::ConnectionStart { server_properties, mechanisms, .. }) => {
                self.server = server_properties;
                self.log_in(&mechanisms)
            }
            (State::LoggingIn, Method::ConnectionTune { channel_max, frame_max, heartbeat }) => {
                self.tune(channel_max, frame_max, heartbeat)
            }
            (State::Opening, Method::ConnectionOpenOk { .. }) => {
                self.state = State::Open;
                self.events.push_back(Event::Opened { server: self.server.clone(), tuned: self.tuned });
                Ok(())
            }
            (_, Method::ConnectionClose { code, text, class, method }) => {
                let reason = CloseReason { code, text, method: (class, method) };
                if self.state == State::LoggingIn && code == ACCESS_REFUSED {
                    return Err(Error::Refused(reason.text));
                }
                // Whether the answer arrives matters to nobody.
                self.write_method(0, &Method::ConnectionCloseOk)?;
                self.end(Some(reason));
                Ok(())
            }
            (State::Closing, Method::ConnectionCloseOk) => {
                self.end(None);
                Ok(())
            }
            (State::Closing, _) => Ok(()),
            (State::Open, Method::ConnectionBlocked { reason }) => {
                self.events.push_back(Event::Blocked(reason));
                Ok(())
            }
            (State::Open, Method::ConnectionUnblocked) => {
                self.events.push_back(Event::Unblocked);
                Ok(())
            }
            (state, method) => {
                Err(Malformed::new("connection", format!("{} comes unexpected ({state:?})", method.name())).into())
            }
        }
    }

    fn end(&mut self, reason: Option<CloseReason>) {
        self.state = State::Over;
        self.channels.clear();
        self.events.push_back(Event::Closed(reason));
    }

    fn log_in(&mut self, mechanisms: &[u8]) -> Result<()> {
        let mechanism = self.settings.login.mechanism();
        let offered = String::from_utf8_lossy(mechanisms).into_owned();
        if !offered.split(' ').any(|offer| offer == mechanism) {
            return Err(Error::Refused(format!("the server logs nobody in by {mechanism}; it offers {offered}")));
        }
        let capabilities = ["consumer_cancel_notify", "connection.blocked", "authentication_failure_close"]
            .into_iter()
            .chain(["publisher_confirms", "basic.nack", "exchange_exchange_bindings"])
            .fold(Table::new(), |table, name| table.with(name, true));
        let client_properties = Table::new()
            .with("product", "umbel")
            .with("version", env!("CARGO_PKG_VERSION"))
            .with("platform", "Rust")
            .with("capabilities", Value::Table(capabilities))
            .with("connection_name", self.settings.name.as_str());
        let start_ok = Method::ConnectionStartOk {
            client_properties,
            mechanism: mechanism.to_owned(),
            response: self.settings.login.response(),
            locale: "en_US".to_owned(),
        };
        self.state = State::LoggingIn;
        self.write_method(0, &start_ok)
    }

    fn tune(&mut self, channel_max: u16, frame_max: u32, heartbeat: u16) -> Result<()> {
        let wanted = self.settings.frame_max.max(FRAME_MIN);
        let frame_max = if frame_max == 0 { wanted } else { frame_max.min(wanted) };
        if frame_max < FRAME_MIN {
            return Err(Malformed::new("tune", format!("frames of {frame_max} bytes are too small")).into());
        }
        let channel_max = if channel_max == 0 { u16::MAX } else { channel_max };
        let wanted = u16::try_from(self.settings.heartbeat.as_secs()).unwrap_or(u16::MAX);
        let heartbeat = if heartbeat == 0 || wanted == 0 { wanted } else { heartbeat.min(wanted) };
        let size = usize::try_from(frame_max).unwrap_or(usize::MAX);
        self.tuned = Tuned { channel_max, frame_max: size, heartbeat: Duration::from_secs(heartbeat.into()) };
        self.payload_max = size - frame::OVERHEAD;
        self.write_method(0, &Method::ConnectionTuneOk { channel_max, frame_max, heartbeat })?;
        self.state = State::Opening;
        let virtual_host = self.settings.virtual_host.clone();
        self.write_method(0, &Method::ConnectionOpen { virtual_host, capabilities: Unused, insist: false })
    }

    fn channel(&mut self, channel: u16, what: &str) -> Result<&mut Channel> {
        let missing = || Malformed::new("channel", format!("{what} on channel {channel}, which is not open"));
        Ok(self.channels.get_mut(&channel).ok_or_else(missing)?)
    }

    fn take_method(&mut self, number: u16, method: Method) -> Result<()> {
        if self.state == State::Closing {
            return Ok(());
        }
        let channel = self.channel(number, method.name())?;
        match method {
            Method::ChannelClose { code, text, class, method } => {
                self.channels.remove(&number);
                self.write_method(number, &Method::ChannelCloseOk)?;
                let reason = CloseReason { code, text, method: (class, method) };
                self.events.push_back(Event::ChannelClosed { channel: number, reason });
                Ok(())
            }
            Method::ChannelCloseOk => {
                self.channels.remove(&number);
                self.events.push_back(Event::Method { channel: number, method: Method::ChannelCloseOk });
                Ok(())
            }
            _ if channel.closing => Ok(()),
            _ if channel.incoming.is_some() => {
                Err(Malformed::new("content", format!("{} in the middle of a message", method.name())).into())
            }
            Method::ChannelFlow { active } => self.write_method(number, &Method::ChannelFlowOk { active }),
            method if method.carries_content() => {
                channel.incoming = Some(Incoming { method, header: None, body: Vec::new() });
                Ok(())
            }
            method => {
                self.events.push_back(Event::Method { channel: number, method });
                Ok(())
            }
        }
    }

    fn take_header(&mut self, number: u16, payload: &[u8]) -> Result<()> {
        if self.state == State::Closing {
            return Ok(());
        }
        let channel = self.channel(number, "a content header")?;
        if channel.closing {
            return Ok(());
        }
        let mut reader = Reader::new(payload, "content header");
        let (_class, _weight, size) = (reader.u16()?, reader.u16()?, reader.u64()?);
        match &mut channel.incoming {
            Some(incoming) if incoming.header.is_none() => incoming.header = Some((reader.rest().to_vec(), size)),
            _ => return Err(Malformed::new("content", "a header without its method").into()),
        }
        self.complete(number);
        Ok(())
    }

    fn take_body(&mut self, number: u16, payload: &[u8]) -> Result<()> {
        if self.state == State::Closing {
            return Ok(());
        }
        let channel = self.channel(number, "a body")?;
        if channel.closing {
            return Ok(());
        }
        let Some(Incoming { header: Some((_, size)), body, .. }) = &mut channel.incoming else {
            return Err(Malformed::new("content", "a body without its header").into());
        };
        if (body.len() + payload.len()) as u64 > *size {
            return Err(Malformed::new("content", format!("a body is longer than its {size} bytes")).into());
        }
        if body.is_empty() && payload.len() as u64 == *size {
            body.reserve_exact(payload.len());
        }
        body.extend_from_slice(payload);
        self.complete(number);
        Ok(())
    }

    /// Hands a message out once all of it is there.
    fn complete(&mut self, number: u16) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        let whole =
            |incoming: &Incoming| incoming.header.as_ref().is_some_and(|(_, size)| incoming.body.len() as u64 == *size);
        if let Some(Incoming { method, header: Some((properties, _)), body }) = channel.incoming.take_if(|i| whole(i)) {
            let content = Box::new(Content { method, properties, body });
            self.events.push_back(Event::Content { channel: number, content });
        }
    }

    /// Puts a method into the output. `channel.open` opens a channel, `channel.close` has what still comes on it left out.
    ///
    /// # Errors
    /// [`Error::Unsendable`], of which nothing is in the output then; [`Error::Closed`] when the connection is over.
    pub fn send(&mut self, channel: u16, method: &Method) -> Result<()> {
        self.check_open()?;
        self.write_method(channel, method)?;
        match method {
            Method::ChannelOpen { .. } => {
                self.channels.insert(channel, Channel::default());
            }
            Method::ChannelClose { .. } => {
                self.channels.insert(channel, Channel { closing: true, incoming: None });
            }
            _ => {}
        }
        Ok(())
    }

    /// Puts a message into the output: `method` is `basic.publish`, `properties` as of [`crate::Properties::encode`].
    ///
    /// # Errors
    /// As [`Connection::send`]; also for properties that do not fit into a frame.
    pub fn publish(&mut self, channel: u16, method: &Method, properties: &[u8], body: &[u8]) -> Result<()> {
        self.check_open()?;
        if properties.len() + 12 > self.payload_max {
            let (size, most) = (properties.len(), self.payload_max - 12);
            let detail = format!("the headers of a message take {size} bytes, of which RabbitMQ carries {most}");
            return Err(Error::Unsendable(detail));
        }
        self.write_method(channel, method)?;
        let mut header = Vec::with_capacity(properties.len() + 12);
        let writer = &mut Writer::new(&mut header);
        writer.u16(60);
        writer.u16(0);
        writer.u64(body.len() as u64);
        writer.bytes(properties);
        frame::write(&mut self.output, Kind::Header, channel, &header);
        for piece in body.chunks(self.payload_max) {
            frame::write(&mut self.output, Kind::Body, channel, piece);
        }
        Ok(())
    }

    /// Begins to close the connection: [`Event::Closed`] is the end.
    pub fn close(&mut self) {
        if self.state == State::Over {
            return;
        }
        let close = Method::ConnectionClose { code: 200, text: "Goodbye".to_owned(), class: 0, method: 0 };
        if self.write_method(0, &close).is_ok() {
            self.state = State::Closing;
        }
    }

    fn check_open(&self) -> Result<()> {
        if self.state == State::Open {
            return Ok(());
        }
        let text = "the connection is not open".to_owned();
        Err(Error::Closed(CloseReason { code: 0, text, method: (0, 0) }))
    }

    fn write_method(&mut self, channel: u16, method: &Method) -> Result<()> {
        let start = self.output.len();
        frame::write(&mut self.output, Kind::Method, channel, &[]);
        self.output.pop();
        let payload = self.output.len();
        let written = method.encode(&mut Writer::new(&mut self.output)).and_then(|()| {
            let size = self.output.len() - payload;
            if size + frame::OVERHEAD > self.tuned.frame_max {
                return Err(Error::Unsendable(format!("{} takes {size} bytes, too many for a frame", method.name())));
            }
            u32::try_from(size).map_err(|_| Error::Unsendable(format!("{} is too long", method.name())))
        });
        match written {
            Ok(size) => {
                self.output[start + 3..payload].copy_from_slice(&size.to_be_bytes());
                self.output.push(frame::END);
                Ok(())
            }
            Err(error) => {
                self.output.truncate(start);
                Err(error)
            }
        }
    }

    /// Time has passed: says a sign of life if nothing was said for half a heartbeat.
    ///
    /// # Errors
    /// [`Error::Silent`] when nothing was heard for two heartbeats.
    pub fn tick(&mut self, now: Duration) -> Result<()> {
        let heartbeat = self.tuned.heartbeat;
        if heartbeat.is_zero() || self.state != State::Open {
            return Ok(());
        }
        let silence = now.saturating_sub(self.received_at);
        if silence >= heartbeat * 2 {
            self.state = State::Over;
            return Err(Error::Silent(silence));
        }
        if now.saturating_sub(self.sent_at) >= heartbeat / 2 {
            frame::write(&mut self.output, Kind::Heartbeat, 0, &[]);
        }
        Ok(())
    }

    /// When to tick next; `None` without heartbeats.
    pub fn next_tick(&self) -> Option<Duration> {
        let heartbeat = self.tuned.heartbeat;
        let next = (self.sent_at + heartbeat / 2).min(self.received_at + heartbeat * 2);
        (!heartbeat.is_zero() && self.state == State::Open).then_some(next)
    }
}

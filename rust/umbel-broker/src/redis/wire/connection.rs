//! One connection: opened and introduced, then commands out and replies in.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use umbel_net::{Eagerness, Endpoint, Ready, SocketSettings};

use super::command::{Command, Pipeline};
use super::failure;
use super::reply::{self, Value};
use super::script::Script;
use super::sentinel;
use super::stream::Stream;
use crate::error::{BrokerError, Result};
use crate::redis::options::{Credentials, RedisOptions, Server};

/// A connection idle for longer may have been closed by the server or something between.
const PROBE_AFTER: Duration = Duration::from_secs(1);

/// Bytes of a pipeline whose replies an eager connection looks for: larger ones take the server longer than a moment.
const SMALL: usize = 16 << 10;

/// How the connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Understood by every server.
    Resp2,
    /// With push frames; servers from 6.0.
    Resp3,
}

/// What a wait brought.
#[derive(Debug, PartialEq)]
pub enum Event {
    /// A frame, whether reply or push.
    Frame(Value),
    /// The waker's descriptor is readable.
    Woken,
    /// Nothing in time.
    Timeout,
}

/// A blocking connection. After an I/O error it is dead: every further call fails at once.
pub struct Connection {
    stream: Stream,
    url: Arc<str>,
    patience: Duration,
    /// Through a sentinel "read-only" means that the master has moved.
    moves: bool,
    alive: bool,
    used: Instant,
    digests: Vec<(&'static Script, String)>,
    pushes: VecDeque<Value>,
    eagerness: Eagerness,
}

impl Connection {
    /// Opens a connection to the first address that answers, or to the master the sentinels name.
    ///
    /// # Errors
    /// As the server or the network has it; never hangs longer than the timeouts in `options`.
    pub fn open(options: &RedisOptions, protocol: Protocol) -> Result<Self> {
        match &options.server {
            Server::Direct(endpoints) => open_first(endpoints, options, protocol),
            Server::Sentinel(sentinels) => {
                let master = sentinel::find_master(sentinels, options)?;
                let mut connection = Self::open_at(&master, options, &options.credentials, Some(options.db), protocol)?;
                connection.moves = true;
                sentinel::check_role(&mut connection)?;
                Ok(connection)
            }
        }
    }

    /// Opens a connection to `endpoint`.
    pub(super) fn open_at(
        endpoint: &Endpoint,
        options: &RedisOptions,
        credentials: &Credentials,
        db: Option<i64>,
        protocol: Protocol,
    ) -> Result<Self> {
        let settings = SocketSettings {
            tls: options.tls.as_ref(),
            connect_timeout: options.socket_connect_timeout,
            timeout: options.socket_timeout,
            keepalive: options.socket_keepalive,
        };
        let stream = Stream::connect(endpoint, &settings)
            .map_err(|error| failure::io(&options.display, &error, options.socket_connect_timeout))?;
        let mut connection = Self {
            stream,
            url: options.display.clone(),
            patience: options.socket_timeout,
            moves: false,
            alive: true,
            used: Instant::now(),
            digests: Vec::new(),
            pushes: VecDeque::new(),
            eagerness: Eagerness::default(),
        };
        connection.introduce(options, credentials, db, protocol)?;
        Ok(connection)
    }

    /// Says who we are and chooses the database, in one round trip.
    fn introduce(
        &mut self,
        options: &RedisOptions,
        credentials: &Credentials,
        db: Option<i64>,
        protocol: Protocol,
    ) -> Result<()> {
        let mut hello = Pipeline::default();
        if protocol == Protocol::Resp3 {
            hello.add(&credentials.hello());
        } else if let Some(auth) = credentials.auth() {
            hello.add(&auth);
        }
        // Even without a password there is one answer to read: a server that refuses us says so in it.
        hello.add(&match db {
            None | Some(0) => Command::new("PING"),
            Some(db) => Command::new("SELECT").number(db),
        });
        let required = hello.len();
        let name = Command::new("CLIENT").arg("SETNAME").arg(&options.client_name);
        hello.add(&name);
        hello.add(&Command::new("CLIENT").arg("SETINFO").arg("LIB-NAME").arg("umbel"));
        self.send(&hello)?;
        let mut refused = None;
        for index in 0..hello.len() {
            let reply = match self.reply() {
                Ok(reply) => reply,
                // Who has too many clients says so and hangs up, whatever else it was asked.
                Err(error) => return Err(refused.unwrap_or(error)),
            };
            if let Value::Error(error) = reply {
                // Names are a courtesy that old servers and narrow permissions refuse.
                if index < required && refused.is_none() {
                    refused = Some(self.refusal(&error));
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// URL without password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// False once the connection broke.
    pub fn is_open(&self) -> bool {
        self.alive
    }

    /// False once the connection broke or, after an idle while, is seen to have been closed.
    pub fn is_usable(&mut self) -> bool {
        if self.alive && self.used.elapsed() > PROBE_AFTER {
            // Nothing is owed to us between calls, so anything to read is the end.
            self.alive = matches!(self.stream.wait(Duration::ZERO, None), Ok(Ready::Timeout));
        }
        self.alive
    }

    /// Writes commands without waiting for their replies.
    ///
    /// # Errors
    /// [`BrokerError::Connection`].
    pub fn send(&mut self, pipeline: &Pipeline) -> Result<()> {
        self.attempt(|stream| stream.write_all(pipeline.bytes()))
    }

    /// Reads the next reply; pushes before it are kept for [`Connection::next_event`].
    ///
    /// # Errors
    /// [`BrokerError::Connection`]; a refusal is a [`Value::Error`].
    pub fn reply(&mut self) -> Result<Value> {
        loop {
            match self.attempt(Stream::value)? {
                push @ Value::Push(_) => self.pushes.push_back(push),
                value => return Ok(value),
            }
        }
    }

    /// Drops the pushes that came before the last reply; false if there were none.
    pub fn forget_pushes(&mut self) -> bool {
        let some = !self.pushes.is_empty();
        self.pushes.clear();
        some
    }

    /// Runs one command.
    ///
    /// # Errors
    /// [`BrokerError::Connection`], or the server's refusal.
    pub fn query(&mut self, command: &Command) -> Result<Value> {
        self.send(&Pipeline::of(command))?;
        let value = self.reply()?;
        self.accept(value)
    }

    /// Runs several commands in one round trip. Scripts the server has forgotten are loaded and run again.
    ///
    /// # Errors
    /// [`BrokerError::Connection`]; refusals are [`Value::Error`]s in their places.
    pub fn run(&mut self, pipeline: &Pipeline) -> Result<Vec<Value>> {
        let mut replies = self.run_once(pipeline)?;
        let forgotten: Vec<usize> = (0..replies.len()).filter(|index| is_forgotten(&replies[*index])).collect();
        if !forgotten.is_empty() {
            self.reload()?;
            let again = self.run_once(&pipeline.select(&forgotten))?;
            for (index, value) in forgotten.into_iter().zip(again) {
                replies[index] = value;
            }
        }
        Ok(replies)
    }

    /// Has replies looked for without sleeping, for as long as the server answers within a moment; for callers that have
    /// nothing else to do and whose caller waits.
    pub fn be_eager(&mut self) {
        self.eagerness.want();
    }

    fn run_once(&mut self, pipeline: &Pipeline) -> Result<Vec<Value>> {
        self.send(pipeline)?;
        if pipeline.bytes().len() <= SMALL {
            let mut eagerness = std::mem::take(&mut self.eagerness);
            let looked = self.attempt(|stream| eagerness.look(|| stream.is_readable()));
            self.eagerness = eagerness;
            looked?;
        }
        (0..pipeline.len()).map(|_| self.reply()).collect()
    }

    /// `value`, unless it is a refusal.
    ///
    /// # Errors
    /// The refusal.
    pub fn accept(&mut self, value: Value) -> Result<Value> {
        match value {
            Value::Error(error) => Err(self.refusal(&error)),
            value => Ok(value),
        }
    }

    fn refusal(&mut self, error: &reply::ServerError) -> BrokerError {
        if self.moves && (error.code == "READONLY" || error.code == "MASTERDOWN") {
            self.alive = false;
            let detail = format!("the master has moved ({})", error.text);
            return BrokerError::Connection { url: self.url.to_string(), detail };
        }
        failure::server(&self.url, error)
    }

    /// The beginning of a call of `script`, which is loaded if this connection has not run it before. The caller adds
    /// the keys' number, the keys and the arguments.
    ///
    /// # Errors
    /// As [`Connection::query`].
    pub fn script(&mut self, script: &'static Script) -> Result<Command> {
        if !self.digests.iter().any(|(known, _)| *known == script) {
            self.load(script)?;
        }
        let digest = self.digests.iter().find(|(known, _)| *known == script).map_or("", |(_, digest)| digest);
        Ok(Command::new("EVALSHA").arg(digest))
    }

    fn load(&mut self, script: &'static Script) -> Result<()> {
        let value = self.query(&Command::new("SCRIPT").arg("LOAD").arg(script.source))?;
        let digest = value.as_str().unwrap_or_default().to_owned();
        self.digests.push((script, digest));
        Ok(())
    }

    fn reload(&mut self) -> Result<()> {
        for (script, _) in std::mem::take(&mut self.digests) {
            self.load(script)?;
        }
        Ok(())
    }

    /// Waits up to `timeout` for the next frame, or until `waker` is readable.
    ///
    /// # Errors
    /// [`BrokerError::Connection`].
    pub fn next_event(&mut self, timeout: Duration, waker: Option<BorrowedFd<'_>>) -> Result<Event> {
        if let Some(push) = self.pushes.pop_front() {
            return Ok(Event::Frame(push));
        }
        match self.attempt(|stream| stream.wait(timeout, waker))? {
            Ready::Data => Ok(Event::Frame(self.attempt(Stream::value)?)),
            Ready::Woken => Ok(Event::Woken),
            Ready::Timeout => Ok(Event::Timeout),
        }
    }

    /// Runs `work` on the stream; an error ends the connection, because what comes after it cannot be told apart.
    fn attempt<T>(&mut self, work: impl FnOnce(&mut Stream) -> io::Result<T>) -> Result<T> {
        if !self.alive {
            let detail = "the connection was closed after an earlier error".to_owned();
            return Err(BrokerError::Connection { url: self.url.to_string(), detail });
        }
        self.used = Instant::now();
        work(&mut self.stream).map_err(|error| {
            self.alive = false;
            failure::io(&self.url, &error, self.patience)
        })
    }
}

fn open_first(endpoints: &[Endpoint], options: &RedisOptions, protocol: Protocol) -> Result<Connection> {
    let mut failure = None;
    for endpoint in endpoints {
        match Connection::open_at(endpoint, options, &options.credentials, Some(options.db), protocol) {
            Ok(connection) => return Ok(connection),
            Err(error @ (BrokerError::Connection { .. } | BrokerError::Unavailable { .. })) => failure = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(failure.unwrap_or_else(|| BrokerError::Config {
        setting: "broker_url".to_owned(),
        detail: "it names no Redis server".to_owned(),
    }))
}

fn is_forgotten(value: &Value) -> bool {
    matches!(value, Value::Error(error) if error.code == "NOSCRIPT")
}

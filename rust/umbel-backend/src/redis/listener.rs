//! Hearing of records: one subscription a task, on a connection that is polled together with a waker.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use umbel_broker::redis::wire::{Command, Connection, Event, Pipeline, Protocol, Value};
use umbel_broker::redis::{RedisOptions, result_key};
use umbel_broker::{BrokerError, Result};

use crate::backend::{ListenerWaker, ResultListener};

/// Channels of one command.
const CHANNELS: usize = 512;
/// Records handed over at once.
const BATCH: usize = 1024;

/// Listens for records.
pub(super) struct RedisListener {
    options: Arc<RedisOptions>,
    connection: Connection,
    /// Whether the connection takes other commands while it is subscribed (RESP3).
    reads: bool,
    prefix: String,
    /// Everything subscribed to, so that a new connection hears of it too.
    subscribed: BTreeSet<String>,
    heard: Vec<(String, Vec<u8>)>,
    last_sign: Instant,
    pinged: Option<Instant>,
    woken: UnixStream,
    waker: Arc<UnixStream>,
}

impl RedisListener {
    pub(super) fn open(options: Arc<RedisOptions>, prefix: String) -> Result<Self> {
        let (waker, woken) = pair(&options)?;
        let (connection, reads) = connect(&options)?;
        Ok(Self {
            connection,
            reads,
            options,
            prefix,
            subscribed: BTreeSet::new(),
            heard: Vec::new(),
            last_sign: Instant::now(),
            pinged: None,
            woken,
            waker: Arc::new(waker),
        })
    }

    /// Sends `command` for the channels of `task_ids` and waits for the server's word on each.
    fn change(&mut self, command: &str, task_ids: &[String]) -> Result<()> {
        for page in task_ids.chunks(CHANNELS) {
            let channels = page.iter().map(|task_id| result_key(&self.prefix, task_id));
            self.connection.send(&Pipeline::of(&Command::new(command).args(channels)))?;
            let mut confirmed = 0;
            while confirmed < page.len() {
                match self.connection.next_event(self.options.socket_timeout, None)? {
                    Event::Frame(frame) => confirmed += usize::from(self.take_in(frame)?),
                    Event::Woken => {}
                    Event::Timeout => return Err(self.silent(command)),
                }
            }
        }
        Ok(())
    }

    /// Subscribes and reads up to [`CHANNELS`] ids in one round trip.
    fn subscribe_page(&mut self, task_ids: &[String]) -> Result<Vec<Value>> {
        let keys: Vec<String> = task_ids.iter().map(|task_id| result_key(&self.prefix, task_id)).collect();
        let mut pipeline = Pipeline::default();
        pipeline.add(&Command::new("SUBSCRIBE").args(&keys));
        pipeline.add(&Command::new("MGET").args(&keys));
        self.connection.send(&pipeline)?;
        let (mut confirmed, mut records) = (0, None);
        loop {
            match self.connection.next_event(self.options.socket_timeout, None)? {
                Event::Frame(Value::Array(read)) => records = Some(read),
                Event::Frame(frame) => confirmed += usize::from(self.take_in(frame)?),
                Event::Woken => {}
                Event::Timeout => return Err(self.silent("SUBSCRIBE")),
            }
            if confirmed >= task_ids.len()
                && let Some(records) = records.take()
            {
                return Ok(records);
            }
        }
    }

    /// Keeps a frame if it is a record; true if it confirms a change of subscriptions.
    fn take_in(&mut self, frame: Value) -> Result<bool> {
        self.last_sign = Instant::now();
        self.pinged = None;
        let mut parts = self.connection.accept(frame)?.into_elements().into_iter();
        let kind = parts.next();
        match (kind.as_ref().and_then(Value::as_bytes), parts.next(), parts.next()) {
            (Some(b"message"), Some(channel), Some(Value::Data(record))) => {
                let start = result_key(&self.prefix, "");
                if let Some(task_id) = channel.as_str().and_then(|channel| channel.strip_prefix(&start)) {
                    self.heard.push((task_id.to_owned(), record));
                }
                Ok(false)
            }
            (Some(b"subscribe" | b"unsubscribe"), ..) => Ok(true),
            _ => Ok(false),
        }
    }

    fn silent(&self, asked: &str) -> BrokerError {
        let detail = format!("no answer to {asked} within {:.1} s", self.options.socket_timeout.as_secs_f64());
        BrokerError::Connection { url: self.options.display.to_string(), detail }
    }

    /// Asks a server that has been silent for long whether it is there. Returns until when to wait for a sign.
    fn check_health(&mut self) -> Result<Instant> {
        if let Some(pinged) = self.pinged {
            let end = pinged + self.options.socket_timeout;
            return if Instant::now() < end { Ok(end) } else { Err(self.silent("PING")) };
        }
        let due = self.last_sign + self.options.health_check_interval;
        if Instant::now() < due {
            return Ok(due);
        }
        self.connection.send(&Pipeline::of(&Command::new("PING")))?;
        self.pinged = Some(Instant::now());
        Ok(Instant::now() + self.options.socket_timeout)
    }

    fn clear_waker(&mut self) {
        let mut bytes = [0; 64];
        while matches!(self.woken.read(&mut bytes), Ok(count) if count > 0) {}
    }

    /// Waits for one event; true when the wait is over.
    fn step(&mut self, deadline: Instant) -> Result<bool> {
        let check = self.check_health()?;
        let until = if self.heard.is_empty() { deadline.min(check) } else { Instant::now() };
        let left = until.saturating_duration_since(Instant::now());
        match self.connection.next_event(left, Some(self.woken.as_fd()))? {
            Event::Frame(frame) => {
                self.take_in(frame)?;
                Ok(self.heard.len() >= BATCH)
            }
            Event::Woken => {
                self.clear_waker();
                Ok(true)
            }
            Event::Timeout => Ok(!self.heard.is_empty() || Instant::now() >= deadline),
        }
    }
}

impl ResultListener for RedisListener {
    fn subscribe(&mut self, task_ids: &[String]) -> Result<()> {
        self.subscribed.extend(task_ids.iter().cloned());
        if self.connection.is_open() {
            return self.change("SUBSCRIBE", task_ids);
        }
        (self.connection, self.reads) = connect(&self.options)?;
        (self.last_sign, self.pinged) = (Instant::now(), None);
        let all: Vec<String> = self.subscribed.iter().cloned().collect();
        self.change("SUBSCRIBE", &all)
    }

    fn subscribe_and_read(&mut self, task_ids: &[String]) -> Result<Option<Vec<Option<Vec<u8>>>>> {
        if !self.reads || !self.connection.is_open() {
            return self.subscribe(task_ids).map(|()| None);
        }
        self.subscribed.extend(task_ids.iter().cloned());
        let mut found = Vec::with_capacity(task_ids.len());
        for page in task_ids.chunks(CHANNELS) {
            found.extend(self.subscribe_page(page)?.into_iter().map(|record| match record {
                Value::Data(record) => Some(record),
                _ => None,
            }));
        }
        Ok(Some(found))
    }

    fn unsubscribe(&mut self, task_ids: &[String]) -> Result<()> {
        let known: Vec<String> = task_ids.iter().filter(|id| self.subscribed.remove(*id)).cloned().collect();
        self.heard.retain(|(task_id, _)| !known.contains(task_id));
        if self.connection.is_open() { self.change("UNSUBSCRIBE", &known) } else { Ok(()) }
    }

    fn next(&mut self, timeout: Duration) -> Result<Vec<(String, Vec<u8>)>> {
        let deadline = Instant::now() + timeout;
        while !self.step(deadline)? {}
        Ok(std::mem::take(&mut self.heard))
    }

    fn waker(&self) -> Box<dyn ListenerWaker> {
        Box::new(Waker(self.waker.clone()))
    }
}

/// A connection that can read while it is subscribed; where the server or a proxy has none, one that cannot.
fn connect(options: &RedisOptions) -> Result<(Connection, bool)> {
    match Connection::open(options, Protocol::Resp3) {
        Err(BrokerError::Protocol { .. } | BrokerError::Access { .. }) => {
            Ok((Connection::open(options, Protocol::Resp2)?, false))
        }
        outcome => outcome.map(|connection| (connection, true)),
    }
}

/// One byte into the listener's socket pair.
struct Waker(Arc<UnixStream>);

impl ListenerWaker for Waker {
    fn wake(&self) {
        // A full pair already holds a wake-up.
        let _ = (&*self.0).write(&[0]);
    }
}

fn pair(options: &RedisOptions) -> Result<(UnixStream, UnixStream)> {
    let nonblocking = || -> std::io::Result<(UnixStream, UnixStream)> {
        let (waker, woken) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        Ok((waker, woken))
    };
    nonblocking().map_err(|error| BrokerError::Unavailable {
        url: options.display.to_string(),
        detail: format!("no socket pair for the listener: {error}"),
    })
}

//! What is said to all workers, in kombu's way: a message on a fanout exchange is a `PUBLISH`, a box is a list that a
//! binding leads to. What must not be forgotten is in a sorted set of ours.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use umbel_protocol::{Destination, Message, Timestamp, envelope};
use uuid::Uuid;

use super::keys::Keys;
use super::link::Link;
use super::options::RedisOptions;
use super::scripts;
use super::wire::{Command, Connection, Event, Pipeline, Protocol, Value};
use crate::control::{Control, KEPT, Listener, Revocation, Revoked, micros};
use crate::error::{BrokerError, Result};
use crate::lane::Turn;

/// How long kombu protects the bindings of a box at least.
const BINDINGS_KEPT: Duration = Duration::from_secs(3600);

/// Revocations written by one command.
const PAGE: usize = 512;

pub(super) struct RedisControl {
    link: Link,
    options: Arc<RedisOptions>,
    keys: Arc<Keys>,
}

impl RedisControl {
    pub(super) fn open(options: Arc<RedisOptions>, keys: Arc<Keys>) -> Result<Self> {
        Ok(Self { link: Link::open(options.clone(), Protocol::Resp2)?, options, keys })
    }

    /// Runs commands as one step.
    fn transact(&mut self, commands: &[Command]) -> Result<()> {
        let mut transaction = Pipeline::of(&Command::new("MULTI"));
        commands.iter().for_each(|command| transaction.add(command));
        transaction.add(&Command::new("EXEC"));
        let connection = self.link.connection()?;
        for reply in connection.run(&transaction)? {
            connection.accept(reply)?;
        }
        Ok(())
    }

    /// The list of a box: kombu names the queue after the routing key and the exchange.
    fn box_name(address: &Destination) -> String {
        format!("{}.{}", address.routing_key, address.exchange)
    }

    fn box_member(&self, address: &Destination) -> String {
        self.keys.binding_member(&address.routing_key, "", &Self::box_name(address))
    }

    /// The queues that bindings lead an answer to.
    fn boxes(&mut self, address: &Destination) -> Result<Vec<String>> {
        let bindings = Command::new("SMEMBERS").arg(self.keys.bindings(&address.exchange));
        let members = self.link.connection()?.query(&bindings)?.into_elements();
        let bound = members.iter().filter_map(|member| self.keys.split_binding(member.as_str()?));
        let mine = bound.filter(|(routing_key, _, _)| *routing_key == address.routing_key);
        Ok(mine.map(|(_, _, queue)| queue.to_owned()).collect())
    }
}

fn milliseconds(at: Timestamp) -> i64 {
    at.0.div_euclid(1000)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

impl Control for RedisControl {
    fn revoke(&mut self, revocations: &[Revocation]) -> Result<()> {
        for page in revocations.chunks(PAGE) {
            let keep =
                page.iter().fold(Command::new("ZADD").arg(&self.keys.revoked).arg("GT"), |command, revocation| {
                    command.number(milliseconds(revocation.until)).arg(revocation.what.to_text())
                });
            let forget = Command::new("ZREMRANGEBYSCORE").arg(&self.keys.revoked).arg("-inf");
            self.transact(&[forget.number(milliseconds(now())), keep])?;
        }
        Ok(())
    }

    fn revoked(&mut self) -> Result<Vec<Revocation>> {
        let from = format!("({}", milliseconds(now()));
        let range = Command::new("ZRANGE").arg(&self.keys.revoked).arg(from).arg("+inf").arg("BYSCORE");
        let found = self.link.connection()?.query(&range.arg("WITHSCORES"))?.into_elements();
        let pairs = found.chunks_exact(2).filter_map(|pair| {
            let until: f64 = pair[1].as_str()?.parse().ok()?;
            Some(Revocation {
                what: Revoked::from_text(pair[0].as_str()?)?,
                until: Timestamp((until as i64).saturating_mul(1000)),
            })
        });
        Ok(pairs.collect())
    }

    fn turn(&mut self, limit: &str, pause: Duration, patience: Duration) -> Result<Turn> {
        let connection = self.link.connection()?;
        let call = connection.script(&scripts::TURN)?.number(1).arg(self.keys.lane(limit));
        let call = call.number(micros(pause)).number(micros(patience));
        let reply = connection.run(&Pipeline::of(&call))?.pop().unwrap_or(Value::Nil);
        let parts = connection.accept(reply)?.into_elements();
        let part = |at: usize| parts.get(at).and_then(Value::as_int).unwrap_or(0);
        Ok(Turn { wait: Duration::from_micros(part(0).unsigned_abs()), granted: part(1) == 1 })
    }

    fn broadcast(&mut self, exchange: &str, message: &Message) -> Result<()> {
        let mut message = message.clone();
        message.properties.destination = Destination { exchange: exchange.to_owned(), routing_key: String::new() };
        let text = envelope::encode(&message, &Uuid::new_v4().to_string());
        let publish = Command::new("PUBLISH").arg(self.keys.channel(exchange)).arg(text);
        self.link.connection()?.query(&publish).map(drop)
    }

    fn open_box(&mut self, address: &Destination) -> Result<()> {
        let deadline = now().after(BINDINGS_KEPT);
        let bind = Command::new("SADD").arg(self.keys.bindings(&address.exchange)).arg(self.box_member(address));
        let protect = Command::new("ZADD").arg(self.keys.binding_deadlines()).arg("GT");
        self.transact(&[bind, protect.number(milliseconds(deadline)).arg(&address.exchange)])
    }

    fn collect(&mut self, address: &Destination, timeout: Duration) -> Result<Vec<Message>> {
        let lists = self.keys.lists(&Self::box_name(address));
        let limits = self.options.limits;
        // 0 would wait for ever.
        let wait = timeout.min(self.options.socket_timeout / 2).as_secs_f64().max(0.001);
        let connection = self.link.connection()?;
        let mut call = Command::new("BRPOP").args(&lists).number(wait);
        let mut answers = Vec::new();
        loop {
            let popped = connection.query(&call)?.into_elements();
            let Some(raw) = popped.get(1).and_then(Value::as_bytes) else { return Ok(answers) };
            answers.extend(envelope::decode(raw, &limits).ok());
            // The others, if there are any, are there now.
            call = Command::new("BRPOP").args(&lists).number(0.001);
        }
    }

    fn close_box(&mut self, address: &Destination) -> Result<()> {
        let member = self.box_member(address);
        let unbind = Command::new("SREM").arg(self.keys.bindings(&address.exchange)).arg(member);
        self.transact(&[unbind, Command::new("DEL").args(self.keys.lists(&Self::box_name(address)))])
    }

    fn answer(&mut self, address: &Destination, message: &Message) -> Result<()> {
        let mut message = message.clone();
        message.properties.destination = address.clone();
        let text = envelope::encode(&message, &Uuid::new_v4().to_string());
        for queue in self.boxes(address)? {
            let list = self.keys.list(&self.keys.list_name(&queue, message.properties.priority));
            let push = Command::new("LPUSH").arg(&list).arg(&text);
            self.transact(&[push, Command::new("PEXPIRE").arg(&list).number(KEPT.as_millis())])?;
        }
        Ok(())
    }
}

pub(super) struct RedisListener {
    options: Arc<RedisOptions>,
    connection: Connection,
    last_sign: Instant,
    pinged: Option<Instant>,
    heard: Vec<Message>,
}

impl RedisListener {
    pub(super) fn open(options: Arc<RedisOptions>, channel: String) -> Result<Self> {
        let mut connection = Connection::open(&options, Protocol::Resp2)?;
        connection.query(&Command::new("SUBSCRIBE").arg(channel))?;
        Ok(Self { options, connection, last_sign: Instant::now(), pinged: None, heard: Vec::new() })
    }

    fn take_in(&mut self, frame: Value) -> Result<()> {
        self.last_sign = Instant::now();
        self.pinged = None;
        let parts = self.connection.accept(frame)?.into_elements();
        let is_message = parts.first().and_then(Value::as_bytes) == Some(b"message");
        let raw = parts.get(2).and_then(Value::as_bytes).filter(|_| is_message);
        self.heard.extend(raw.and_then(|raw| envelope::decode(raw, &self.options.limits).ok()));
        Ok(())
    }

    /// Asks a server that has been silent for long whether it is there.
    fn check_health(&mut self) -> Result<()> {
        match self.pinged {
            Some(pinged) if pinged.elapsed() > self.options.socket_timeout => {
                let detail = format!("no answer within {:.1} s", self.options.socket_timeout.as_secs_f64());
                Err(BrokerError::Connection { url: self.options.display.to_string(), detail })
            }
            None if self.last_sign.elapsed() > self.options.health_check_interval => {
                self.pinged = Some(Instant::now());
                self.connection.send(&Pipeline::of(&Command::new("PING")))
            }
            _ => Ok(()),
        }
    }
}

impl Listener for RedisListener {
    fn next(&mut self, timeout: Duration) -> Result<Vec<Message>> {
        self.check_health()?;
        let deadline = Instant::now() + timeout;
        loop {
            let left =
                if self.heard.is_empty() { deadline.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
            match self.connection.next_event(left, None)? {
                Event::Frame(frame) => self.take_in(frame)?,
                Event::Woken | Event::Timeout => return Ok(std::mem::take(&mut self.heard)),
            }
        }
    }
}

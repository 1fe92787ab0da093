//! Publishing: one write for a batch, `LPUSH` with all messages that follow each other into the same list.

use std::sync::Arc;

use umbel_protocol::{Destination, Message, Timestamp, envelope};
use uuid::Uuid;

use super::culprit;
use super::keys::Keys;
use super::link::Link;
use super::options::RedisOptions;
use super::record;
use super::router::Router;
use super::scripts;
use super::wire::{Command, Connection, Pipeline, Protocol, Value};
use crate::broker::{ExchangeKind, Outgoing, Publisher};
use crate::clock::{Clock, SystemClock};
use crate::error::{BrokerError, Result};
use crate::lines;
use crate::once::{Lock, Taken};

/// Messages of one `LPUSH`, and bytes of one write: beyond these other clients would wait noticeably for the server.
const PUSH_MESSAGES: usize = 256;
const PUSH_BYTES: usize = 256 * 1024;
const WRITE_BYTES: usize = 1024 * 1024;

/// A connection to publish on; a broken one is replaced at the next call.
pub(super) struct RedisPublisher {
    link: Link,
    keys: Arc<Keys>,
    router: Router,
}

impl RedisPublisher {
    pub(super) fn open(options: Arc<RedisOptions>, keys: Arc<Keys>) -> Result<Self> {
        let link = Link::open(options, Protocol::Resp2)?;
        Ok(Self { link, router: Router::new(keys.clone()), keys })
    }
}

impl Publisher for RedisPublisher {
    fn publish(&mut self, batch: &[Outgoing]) -> Result<()> {
        self.push(batch).map_err(|error| self.explain(error, batch))
    }

    fn publish_once(&mut self, outgoing: &Outgoing, lock: &Lock) -> Result<Taken> {
        let connection = self.link.connection()?;
        self.router.prepare(connection, std::iter::once(&outgoing.destination))?;
        let queues = self.router.queues(&outgoing.destination)?;
        let priority = outgoing.message.properties.priority;
        let lists: Vec<String> =
            queues.iter().map(|queue| self.keys.list(&self.keys.list_name(queue, priority))).collect();
        let call = connection.script(&scripts::ONCE)?.number(lists.len() + 1);
        let call = call.arg(self.keys.lock(&lock.name)).args(&lists).arg(&lock.owner);
        let call = call.number(lock.life.as_millis().max(1)).number(u8::from(lock.replace)).arg(encode(outgoing));
        let reply = connection.run(&Pipeline::of(&call))?.pop().unwrap_or(Value::Nil);
        let parts = connection.accept(reply)?.into_elements();
        let part = |at: usize| parts.get(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(match part(0).as_str() {
            "refused" => Taken::Refused { owner: part(1) },
            _ => Taken::Published { replaced: Some(part(1)).filter(|owner| !owner.is_empty()) },
        })
    }

    fn bind(&mut self, queue: &str, destination: &Destination, kind: ExchangeKind) -> Result<()> {
        self.router.bind(self.link.connection()?, queue, destination, kind)
    }
}

impl RedisPublisher {
    fn push(&mut self, batch: &[Outgoing]) -> Result<()> {
        let connection = self.link.connection()?;
        connection.be_eager();
        self.router.prepare(connection, batch.iter().map(|outgoing| &outgoing.destination))?;
        let mut pushes = Pushes::new(connection);
        for outgoing in batch {
            for queue in self.router.queues(&outgoing.destination)? {
                let list = self.keys.list_name(&queue, outgoing.message.properties.priority);
                let envelope = encode(outgoing);
                match outgoing.line.as_ref().filter(|_| outgoing.eta.is_none()) {
                    None => pushes.add(&self.keys.list(&list), &envelope)?,
                    Some(line) => {
                        let place = in_line(&self.keys, &queue, line, &list, SystemClock.now());
                        pushes.add_to_line(&self.keys.list(&list), &place, &envelope)?;
                    }
                }
            }
        }
        pushes.finish()
    }

    fn explain(&mut self, error: BrokerError, batch: &[Outgoing]) -> BrokerError {
        let (keys, router) = (&self.keys, &self.router);
        let lists = || {
            let destinations = batch.iter().map(|outgoing| &outgoing.destination);
            let tables = destinations.clone().map(|destination| (keys.bindings(&destination.exchange), "set"));
            let queues = destinations.flat_map(|destination| router.queues(destination).unwrap_or_default());
            tables.chain(queues.flat_map(|queue| keys.lists(&queue)).map(|list| (list, "list"))).collect()
        };
        match self.link.connection() {
            Ok(connection) => culprit::name(connection, error, lists),
            Err(_) => error,
        }
    }
}

/// What the scripts are told of a message in a line: what our keys begin with, the line's name and window, when the message
/// comes in at the latest, and its id while it waits.
pub(super) fn in_line(keys: &Keys, queue: &str, line: &str, list: &str, now: Timestamp) -> [String; 5] {
    let due = format!("{:.6}", now.after(lines::LONGEST_LINE).as_seconds());
    [keys.own(), lines::name(queue, line), lines::WINDOW.to_string(), due, record::delayed_id(list)]
}

/// The envelope of a message on its way out, under a delivery tag of its own.
pub(super) fn encode(outgoing: &Outgoing) -> Vec<u8> {
    let message = &outgoing.message;
    let tag = Uuid::new_v4().to_string();
    if message.properties.destination == outgoing.destination {
        return envelope::encode(message, &tag);
    }
    let mut addressed = Message::clone(message);
    addressed.properties.destination = outgoing.destination.clone();
    envelope::encode(&addressed, &tag)
}

/// Gathers messages into `LPUSH` commands and those into writes.
struct Pushes<'a> {
    connection: &'a mut Connection,
    pipeline: Pipeline,
    bytes: usize,
    list: String,
    push: Command,
    messages: usize,
}

impl<'a> Pushes<'a> {
    fn new(connection: &'a mut Connection) -> Self {
        let (pipeline, push) = (Pipeline::default(), Command::default());
        Self { connection, pipeline, bytes: 0, list: String::new(), push, messages: 0 }
    }

    fn add(&mut self, list: &str, envelope: &[u8]) -> Result<()> {
        let full = self.messages == PUSH_MESSAGES || self.push.len() + envelope.len() > PUSH_BYTES;
        if self.messages > 0 && (full || self.list != list) {
            self.end_push()?;
        }
        if self.messages == 0 {
            list.clone_into(&mut self.list);
            self.push = Command::new("LPUSH").arg(list);
        }
        self.push.push(envelope);
        self.messages += 1;
        Ok(())
    }

    fn add_to_line(&mut self, list: &str, place: &[String], envelope: &[u8]) -> Result<()> {
        if self.messages > 0 {
            self.end_push()?;
        }
        let call = self.connection.script(&scripts::LINE)?.number(1).arg(list).args(place).arg(envelope);
        self.bytes += call.len();
        self.pipeline.add(&call);
        if self.bytes >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    fn end_push(&mut self) -> Result<()> {
        self.bytes += self.push.len();
        self.pipeline.add(&self.push);
        self.messages = 0;
        if self.bytes >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<()> {
        self.bytes = 0;
        for reply in self.connection.run(&std::mem::take(&mut self.pipeline))? {
            self.connection.accept(reply)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        if self.messages > 0 {
            self.end_push()?;
        }
        if self.pipeline.is_empty() { Ok(()) } else { self.write() }
    }
}

//! Sends messages on a connection of its own, and knows of each what became of it.
//!
//! A connection that publishes is stopped by the server when it runs short of memory or disk: one that consumes as well could
//! not acknowledge then. So each handle that does both has two.
//!
//! After a lost connection what was not confirmed is sent again, once. What was confirmed of a call that failed all the same is
//! remembered, so that the caller, who repeats all of it, sends it once.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use umbel_amqp::error::NOT_FOUND;
use umbel_amqp::link::Next;
use umbel_amqp::{Confirms, Content, Error, Event, Link, Method, Properties};
use umbel_protocol::{Destination, Message, Timestamp};

use super::failure;
use super::message;
use super::options::AmqpOptions;
use super::topology::{Topology, delayed_destination};
use crate::broker::{ExchangeKind, Outgoing};
use crate::error::{BrokerError, Result};
use crate::queue::unroutable;

/// The channel messages are published on.
const CHANNEL: u16 = 1;

/// Unconfirmed messages at most.
const WINDOW: usize = 2048;

/// Unconfirmed bytes at most, unless one message has more.
const WINDOW_BYTES: usize = 8 << 20;

/// How long what was confirmed is remembered for who repeats it.
const MEMORY: Duration = Duration::from_secs(300);

/// A message that is due sooner waits with its consumer.
const SHORTEST_DELAY: Duration = Duration::from_secs(1);

/// One message, ready to be sent.
#[derive(Debug)]
pub(super) struct Item<'a> {
    pub(super) destination: Destination,
    /// The queue it is for, where it waits for its time first.
    pub(super) delayed_for: Option<String>,
    /// Whether somebody must receive it.
    pub(super) mandatory: bool,
    pub(super) properties: Vec<u8>,
    pub(super) body: &'a [u8],
}

impl Item<'_> {
    /// For `queue` itself, whatever it is bound to.
    pub(super) fn to_queue<'a>(queue: &str, properties: &Properties, body: &'a [u8]) -> Result<Item<'a>> {
        let destination = Destination::queue(queue);
        Ok(Item { destination, delayed_for: None, mandatory: true, properties: encoded(properties)?, body })
    }

    /// For `queue` when it is due.
    pub(super) fn to_queue_at<'a>(
        queue: &str,
        until: Timestamp,
        now: Timestamp,
        mut properties: Properties,
        body: &'a [u8],
    ) -> Result<Item<'a>> {
        if until.0 <= now.0 {
            return Self::to_queue(queue, &properties, body);
        }
        // It would end the wait; the task's own header has the time in any case.
        properties.expiration = None;
        let item = Self::to_queue(queue, &properties, body)?;
        let (exchange, routing_key) = delayed_destination(queue, until.since(now).as_secs());
        let destination = Destination { exchange, routing_key };
        Ok(Item { destination, delayed_for: Some(queue.to_owned()), ..item })
    }

    /// As somebody sends it. One that is due later, and for a queue by its name, waits on the server.
    pub(super) fn outgoing<'a>(outgoing: &'a Outgoing, options: &AmqpOptions, now: Timestamp) -> Result<Item<'a>> {
        let properties = message::properties(&outgoing.message, &options.limits)?;
        let (destination, body) = (&outgoing.destination, outgoing.message.body.as_slice());
        if destination.exchange.is_empty() {
            if destination.routing_key.is_empty() {
                return Err(unroutable(destination));
            }
            if let Some(eta) = outgoing.eta.filter(|eta| eta.0 > now.after(SHORTEST_DELAY).0) {
                return Self::to_queue_at(&destination.routing_key, eta, now, properties, body);
            }
        }
        let destination = destination.clone();
        Ok(Item { destination, delayed_for: None, mandatory: true, properties: encoded(&properties)?, body })
    }

    /// For whoever listens, if anybody does.
    pub(super) fn for_whoever<'a>(to: &Destination, message: &'a Message, options: &AmqpOptions) -> Result<Item<'a>> {
        let properties = encoded(&message::properties(message, &options.limits)?)?;
        Ok(Item { destination: to.clone(), delayed_for: None, mandatory: false, properties, body: &message.body })
    }

    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        // A delay is counted from now: another try has another key.
        self.delayed_for.as_ref().unwrap_or(&self.destination.routing_key).hash(&mut hasher);
        (&self.properties, self.body).hash(&mut hasher);
        hasher.finish()
    }

    fn is_returned_as(&self, content: &Content) -> bool {
        let (exchange, routing_key, _) = message::route(content);
        (exchange, routing_key) == (&self.destination.exchange, &self.destination.routing_key)
            && content.body == self.body
            && content.properties == self.properties
    }
}

fn encoded(properties: &Properties) -> Result<Vec<u8>> {
    properties.encode().map_err(|error| BrokerError::Protocol { detail: error.to_string() })
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Unknown,
    Confirmed,
    /// Nobody is bound to receive it.
    Returned,
    /// A queue was full.
    Refused,
}

/// A connection to publish on, opened when it is needed.
pub(super) struct Sender {
    options: Arc<AmqpOptions>,
    purpose: &'static str,
    wire: Option<Wire>,
    /// Digests of what was confirmed in calls that failed, and when they did.
    confirmed: HashMap<u64, Instant>,
}

struct Wire {
    link: Link,
    topology: Topology,
    /// The channel is open and in confirm mode.
    confirming: bool,
    confirms: Confirms<usize>,
}

impl Sender {
    /// Connects when it is first used.
    pub(super) fn new(options: Arc<AmqpOptions>, purpose: &'static str) -> Self {
        Self { options, purpose, wire: None, confirmed: HashMap::new() }
    }

    /// Connects now.
    pub(super) fn open(options: Arc<AmqpOptions>, purpose: &'static str) -> Result<Self> {
        let mut sender = Self::new(options, purpose);
        sender.wire()?;
        Ok(sender)
    }

    pub(super) fn options(&self) -> &AmqpOptions {
        &self.options
    }

    fn wire(&mut self) -> Result<&mut Wire> {
        let alive = self.wire.take().filter(|wire| wire.link.is_open());
        let wire = match alive {
            Some(wire) => wire,
            None => {
                // Who publishes now and then sends no heartbeats.
                let mut link = self.options.open(self.purpose, Duration::ZERO)?;
                link.be_eager();
                Wire { link, topology: Topology::default(), confirming: false, confirms: Confirms::default() }
            }
        };
        Ok(self.wire.insert(wire))
    }

    /// Sends all of `items`, in order, and returns when all are confirmed.
    ///
    /// # Errors
    /// [`BrokerError::Unroutable`] for the first that nobody receives; the others are sent.
    pub(super) fn send(&mut self, items: &[Item<'_>]) -> Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        let mut fates = self.remembered(items);
        let mut sent = self.attempt(items, &mut fates);
        if let Err(BrokerError::Connection { .. }) = sent {
            // A connection that sent nothing for a while may have been cut since.
            sent = self.attempt(items, &mut fates);
        }
        let outcome = sent.and_then(|()| self.judge(items, &fates));
        if outcome.is_err() {
            let now = Instant::now();
            let confirmed = items.iter().zip(&fates).filter(|(_, fate)| **fate == Fate::Confirmed);
            self.confirmed.extend(confirmed.map(|(item, _)| (item.digest(), now)));
        }
        outcome
    }

    /// What was confirmed in a call that failed, and is now repeated, is not sent again.
    fn remembered(&mut self, items: &[Item<'_>]) -> Vec<Fate> {
        if self.confirmed.is_empty() {
            return vec![Fate::Unknown; items.len()];
        }
        self.confirmed.retain(|_, at| at.elapsed() < MEMORY);
        let mut fate = |item: &Item<'_>| match self.confirmed.remove(&item.digest()) {
            Some(_) => Fate::Confirmed,
            None => Fate::Unknown,
        };
        items.iter().map(&mut fate).collect()
    }

    fn judge(&self, items: &[Item<'_>], fates: &[Fate]) -> Result<()> {
        let of = |wanted: &dyn Fn(Fate) -> bool| items.iter().zip(fates).find(|(_, fate)| wanted(**fate));
        if let Some((item, _)) = of(&|fate| fate == Fate::Returned) {
            return Err(unroutable(&item.destination));
        }
        match of(&|fate| fate != Fate::Confirmed) {
            None => Ok(()),
            Some((item, _)) => {
                let key = &item.destination.routing_key;
                let detail = format!("a queue for {key:?} takes no message: it is full, or not ready yet");
                Err(BrokerError::Unavailable { url: self.options.display.to_string(), detail })
            }
        }
    }

    /// Sends what has no fate yet.
    fn attempt(&mut self, items: &[Item<'_>], fates: &mut [Fate]) -> Result<()> {
        let options = Arc::clone(&self.options);
        let wire = self.wire()?;
        let result = wire.prepare(&options, items, fates).and_then(|missing| match missing {
            Some(index) => {
                fates[index] = Fate::Returned;
                Ok(())
            }
            None => wire.exchange(items, fates),
        });
        result.map_err(|error| failure::using(&options.display, &error))
    }

    /// Declares `queue` and binds it.
    pub(super) fn bind(&mut self, queue: &str, destination: &Destination, kind: ExchangeKind) -> Result<()> {
        let options = Arc::clone(&self.options);
        let Wire { link, topology, .. } = self.wire()?;
        let mut declare = || {
            topology.queue(link, &options, queue)?;
            topology.exchange(link, &destination.exchange, kind)?;
            topology.bind(link, queue, &destination.exchange, &destination.routing_key)
        };
        declare().map_err(|error| failure::using(&options.display, &error))
    }

    /// Notices what has happened since, and answers the server.
    pub(super) fn keep_alive(&mut self) {
        if self.wire.as_mut().is_some_and(|wire| wire.link.keep_alive().is_err()) {
            self.wire = None;
        }
    }

    /// Closes the connection, if there is one.
    pub(super) fn close(&mut self) {
        if let Some(mut wire) = self.wire.take() {
            wire.link.close();
        }
    }
}

impl Wire {
    /// Declares what the items need. The index of one whose exchange is not there.
    fn prepare(
        &mut self,
        options: &AmqpOptions,
        items: &[Item<'_>],
        fates: &[Fate],
    ) -> umbel_amqp::Result<Option<usize>> {
        if let Some(reason) = self.link.blocked() {
            let reason = reason.to_owned();
            self.link.keep_alive()?;
            if self.link.blocked().is_some() {
                return Err(Error::Blocked(reason));
            }
        }
        if !self.confirming {
            self.link.call(CHANNEL, &Method::channel_open())?;
            self.link.call(CHANNEL, &Method::ConfirmSelect { no_wait: false })?;
            (self.confirming, self.confirms) = (true, Confirms::default());
        }
        for (index, item) in items.iter().enumerate().filter(|(index, _)| fates[*index] == Fate::Unknown) {
            let Item { destination, delayed_for, .. } = item;
            let (link, topology) = (&mut self.link, &mut self.topology);
            if let Some(queue) = delayed_for {
                topology.delay(link, options, queue)?;
            } else if destination.exchange.is_empty() {
                if item.mandatory {
                    topology.queue(link, options, &destination.routing_key)?;
                }
            } else if !topology.has_exchange(link, &destination.exchange)? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    fn exchange(&mut self, items: &[Item<'_>], fates: &mut [Fate]) -> umbel_amqp::Result<()> {
        let mut bytes = 0;
        for (index, item) in items.iter().enumerate() {
            if fates[index] != Fate::Unknown {
                continue;
            }
            let Destination { exchange, routing_key } = &item.destination;
            let method = Method::publish(exchange, routing_key, item.mandatory);
            if let Err(error) = self.link.publish(CHANNEL, &method, &item.properties, item.body) {
                // Of those before it the fate is to be known.
                self.wait_for_confirms(items, fates, 0)?;
                return Err(error);
            }
            self.confirms.published(index);
            bytes += item.body.len() + item.properties.len();
            if self.confirms.len() >= WINDOW || bytes >= WINDOW_BYTES {
                self.wait_for_confirms(items, fates, WINDOW / 2)?;
                bytes = 0;
            }
        }
        self.wait_for_confirms(items, fates, 0)
    }

    /// Waits until no more than `most` messages are unconfirmed.
    fn wait_for_confirms(&mut self, items: &[Item<'_>], fates: &mut [Fate], most: usize) -> umbel_amqp::Result<()> {
        while self.confirms.len() > most {
            match self.link.confirm()? {
                Next::Event(event) => self.take(event, items, fates)?,
                Next::Woken | Next::Timeout => return Err(self.link.gave_up()),
            }
        }
        Ok(())
    }

    fn take(&mut self, event: Event, items: &[Item<'_>], fates: &mut [Fate]) -> umbel_amqp::Result<()> {
        let (tag, multiple, fate) = match event {
            Event::Method { channel: CHANNEL, method: Method::BasicAck { delivery_tag, multiple } } => {
                (delivery_tag, multiple, Fate::Confirmed)
            }
            Event::Method { channel: CHANNEL, method: Method::BasicNack { delivery_tag, multiple, .. } } => {
                (delivery_tag, multiple, Fate::Refused)
            }
            Event::Content { channel: CHANNEL, content } => {
                // What is returned is confirmed afterwards.
                let unknown = |(index, item): &(usize, &Item<'_>)| {
                    fates[*index] == Fate::Unknown && item.is_returned_as(&content)
                };
                if let Some((index, _)) = items.iter().enumerate().find(unknown) {
                    fates[index] = Fate::Returned;
                }
                return Ok(());
            }
            Event::ChannelClosed { channel: CHANNEL, reason } => {
                self.confirming = false;
                // An exchange or queue that was there is gone: look again.
                self.topology.forget();
                let text =
                    if reason.code == NOT_FOUND { format!("{reason}; it was there before") } else { reason.text };
                let reason = umbel_amqp::CloseReason { text, ..reason };
                return Err(Error::ChannelClosed { channel: CHANNEL, reason });
            }
            _ => return Ok(()),
        };
        self.confirms.settle(tag, multiple, |index| {
            if fates[index] == Fate::Unknown {
                fates[index] = fate;
            }
        });
        Ok(())
    }
}

//! What is said to all workers, and answered, through the exchanges and queues of kombu's pidbox.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use umbel_amqp::link::Next;
use umbel_amqp::{Content, Event, Link, Method, Table};
use umbel_protocol::{Destination, Message};

use super::failure;
use super::message;
use super::options::AmqpOptions;
use super::revoked;
use super::sender::{Item, Sender};
use super::topology::Topology;
use crate::broker::Payload;
use crate::clock::{Clock, SystemClock};
use crate::control::{Control, Listener, Revocation, micros};
use crate::error::{BrokerError, Result};
use crate::lane::{Lane, Turn};
use crate::sync::Mutex;

/// The channel of what is heard.
const CHANNEL: u16 = 4;

/// An idle queue of a listener lives so long, and a message in one, in milliseconds: as kombu has it.
const QUEUE_LIFE: i64 = 10_000;
const MESSAGE_LIFE: i64 = 300_000;

/// A queue of results that nobody reads lives so long, in milliseconds.
const RESULTS_LIFE: i64 = 86_400_000;

/// Turns of rate limits by their names.
pub(super) type Lanes = Arc<Mutex<HashMap<String, Lane>>>;

/// See [`crate::Control`].
pub(super) struct AmqpControl {
    options: Arc<AmqpOptions>,
    lanes: Lanes,
    sender: Sender,
    wire: Option<Wire>,
}

/// A connection with the boxes that are open on it.
struct Wire {
    link: Link,
    topology: Topology,
    listening: bool,
    /// By the names of their queues.
    boxes: HashMap<String, AnswerBox>,
}

/// What has come into an open box.
struct AnswerBox {
    /// Of this opening: what was on its way to an earlier one is not for this.
    consumer_tag: String,
    answers: Vec<Message>,
}

impl AmqpControl {
    /// Connects when it is first used.
    pub(super) fn new(options: Arc<AmqpOptions>, lanes: Lanes) -> Self {
        let sender = Sender::new(Arc::clone(&options), "control");
        Self { options, lanes, sender, wire: None }
    }

    fn attempt<T>(&mut self, work: impl FnOnce(&mut Wire) -> umbel_amqp::Result<T>) -> Result<T> {
        let wire = match self.wire.take() {
            Some(wire) => wire,
            None => {
                let link = self.options.open("control", Duration::ZERO)?;
                Wire { link, topology: Topology::default(), listening: false, boxes: HashMap::new() }
            }
        };
        let wire = self.wire.insert(wire);
        work(wire).map_err(|error| {
            self.wire = None;
            failure::using(&self.options.display, &error)
        })
    }

    /// Sends what nobody needs to receive.
    fn say<'a>(&mut self, words: impl Iterator<Item = (&'a Destination, &'a Message)>) -> Result<()> {
        let items: Result<Vec<_>> = words.map(|(to, message)| Item::for_whoever(to, message, &self.options)).collect();
        match self.sender.send(&items?) {
            // No such exchange: nobody has ever listened.
            Err(BrokerError::Unroutable { .. }) => Ok(()),
            other => other,
        }
    }
}

impl Control for AmqpControl {
    fn revoke(&mut self, revocations: &[Revocation]) -> Result<()> {
        let now = SystemClock.now();
        let items: Result<Vec<_>> =
            revocations.iter().filter_map(|revocation| revoked::item(revocation, now).transpose()).collect();
        self.sender.send(&items?)
    }

    fn revoked(&mut self) -> Result<Vec<Revocation>> {
        let (now, patience) = (SystemClock.now(), self.options.socket_timeout);
        self.attempt(|wire| revoked::read(&mut wire.link, &mut wire.topology, now, patience))
    }

    fn turn(&mut self, limit: &str, pause: Duration, patience: Duration) -> Result<Turn> {
        let now = micros(SystemClock.steady());
        let mut lanes = self.lanes.lock();
        Ok(lanes.entry(limit.to_owned()).or_default().turn(micros(pause), micros(patience), now))
    }

    fn broadcast(&mut self, exchange: &str, message: &Message) -> Result<()> {
        let everybody = Destination { exchange: exchange.to_owned(), routing_key: String::new() };
        self.say([(&everybody, message)].into_iter())
    }

    fn open_box(&mut self, address: &Destination) -> Result<()> {
        let queue = box_name(address);
        self.attempt(|wire| {
            if !wire.listening {
                wire.link.call(CHANNEL, &Method::channel_open())?;
                wire.listening = true;
            }
            let Destination { exchange, routing_key } = address;
            let consumer_tag = listen(&mut wire.link, &queue, exchange, "direct", routing_key)?;
            wire.boxes.insert(queue, AnswerBox { consumer_tag, answers: Vec::new() });
            Ok(())
        })
    }

    fn collect(&mut self, address: &Destination, timeout: Duration) -> Result<Vec<Message>> {
        let (queue, deadline) = (box_name(address), Instant::now() + timeout);
        self.attempt(|wire| {
            if !wire.boxes.contains_key(&queue) {
                return Ok(Vec::new());
            }
            if timeout.is_zero() {
                wire.catch_up(&queue)?;
            }
            loop {
                let open = wire.boxes.get_mut(&queue);
                let answers = open.map(|open| std::mem::take(&mut open.answers)).unwrap_or_default();
                let left = deadline.saturating_duration_since(Instant::now());
                if !answers.is_empty() || left.is_zero() {
                    return Ok(answers);
                }
                match wire.link.next(left, None)? {
                    Next::Event(event) => wire.take(event),
                    Next::Woken | Next::Timeout => {}
                }
            }
        })
    }

    fn close_box(&mut self, address: &Destination) -> Result<()> {
        let queue = box_name(address);
        self.attempt(|wire| {
            if wire.boxes.remove(&queue).is_some() {
                let ticket = umbel_amqp::method::Ticket;
                let delete = Method::QueueDelete { ticket, queue, if_unused: false, if_empty: false, no_wait: false };
                wire.link.call(CHANNEL, &delete)?;
            }
            Ok(())
        })
    }

    fn answer(&mut self, address: &Destination, message: &Message) -> Result<()> {
        self.say([(address, message)].into_iter())
    }

    fn answer_all(&mut self, answers: &[(Destination, Message)]) -> Result<()> {
        if answers.iter().all(|(address, _)| address.exchange.is_empty()) {
            return self.say(answers.iter().map(|(address, message)| (address, message)));
        }
        // An exchange that is not there would keep the others from being sent.
        answers.iter().try_for_each(|(address, message)| self.answer(address, message))
    }
}

impl Wire {
    fn take(&mut self, event: Event) {
        let Event::Content { content, .. } = event else { return };
        let Method::BasicDeliver { consumer_tag, .. } = &content.method else { return };
        if let Some(open) = self.boxes.values_mut().find(|open| open.consumer_tag == *consumer_tag) {
            open.answers.extend(heard(*content));
        }
    }

    /// Waits until what is in the queue is here.
    fn catch_up(&mut self, queue: &str) -> umbel_amqp::Result<()> {
        self.link.call(CHANNEL, &Method::queue_look(queue))?;
        self.link.call(CHANNEL, &Method::BasicQos { prefetch_size: 0, prefetch_count: 0, global: false })?;
        while let Some(event) = self.link.poll()? {
            self.take(event);
        }
        Ok(())
    }
}

fn heard(mut content: Content) -> Option<Message> {
    match message::payload(&mut content, "", "") {
        Payload::Message(message) => Some(*message),
        Payload::Malformed { .. } => None,
    }
}

/// kombu's name for the queue of who is answered at `address`. Results by `rpc://` go to a queue by its own name.
fn box_name(address: &Destination) -> String {
    if address.exchange.is_empty() {
        return address.routing_key.clone();
    }
    format!("{}.{}", address.routing_key, address.exchange)
}

/// Declares a queue of this connection alone, binds it and consumes from it without acknowledging; the consumer tag.
fn listen(link: &mut Link, queue: &str, exchange: &str, kind: &str, routing_key: &str) -> umbel_amqp::Result<String> {
    let consumer_tag = uuid::Uuid::new_v4().to_string();
    let consume = Method::consume(queue, &consumer_tag, true);
    if exchange.is_empty() {
        // It outlives the connection: results that come meanwhile are not lost.
        link.call(CHANNEL, &Method::queue_declare(queue, Table::new().with("x-expires", RESULTS_LIFE)))?;
        link.call(CHANNEL, &consume)?;
        return Ok(consumer_tag);
    }
    let arguments = Table::new().with("x-expires", QUEUE_LIFE).with("x-message-ttl", MESSAGE_LIFE);
    let mut declare = Method::queue_declare(queue, arguments);
    if let Method::QueueDeclare { durable, exclusive, auto_delete, .. } = &mut declare {
        (*durable, *exclusive, *auto_delete) = (false, true, true);
    }
    let methods = [
        Method::exchange_declare(exchange, kind, false),
        declare,
        Method::queue_bind(queue, exchange, routing_key),
        consume,
    ];
    methods.iter().try_for_each(|method| link.call(CHANNEL, method).map(drop))?;
    Ok(consumer_tag)
}

/// See [`crate::Listener`].
pub(super) struct AmqpListener {
    options: Arc<AmqpOptions>,
    link: Link,
}

impl AmqpListener {
    pub(super) fn open(options: Arc<AmqpOptions>, exchange: &str) -> Result<Self> {
        let mut link = options.open("listener", options.heartbeat)?;
        let queue = format!("{}.{exchange}", uuid::Uuid::new_v4());
        let opened = link.call(CHANNEL, &Method::channel_open());
        opened
            .and_then(|_| listen(&mut link, &queue, exchange, "fanout", ""))
            .map_err(|error| failure::using(&options.display, &error))?;
        Ok(Self { options, link })
    }

    fn hear(&mut self, timeout: Duration) -> umbel_amqp::Result<Vec<Message>> {
        let deadline = Instant::now() + timeout;
        let mut messages = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = match self.link.poll()? {
                Some(event) => event,
                None if !messages.is_empty() || left.is_zero() => return Ok(messages),
                None => match self.link.next(left, None)? {
                    Next::Event(event) => event,
                    Next::Woken | Next::Timeout => continue,
                },
            };
            match event {
                Event::Content { content, .. } => messages.extend(heard(*content)),
                Event::ChannelClosed { channel, reason } => {
                    return Err(umbel_amqp::Error::ChannelClosed { channel, reason });
                }
                Event::Method { method: Method::BasicCancel { .. }, .. } => {
                    let text = "the queue of a listener was deleted".to_owned();
                    let reason = umbel_amqp::CloseReason { code: 0, text, method: (0, 0) };
                    return Err(umbel_amqp::Error::Closed(reason));
                }
                _ => {}
            }
        }
    }
}

impl Listener for AmqpListener {
    fn next(&mut self, timeout: Duration) -> Result<Vec<Message>> {
        self.hear(timeout).map_err(|error| failure::using(&self.options.display, &error))
    }
}

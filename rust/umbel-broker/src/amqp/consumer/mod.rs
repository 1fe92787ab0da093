//! Takes messages as the server pushes them, and settles them.
//!
//! | file | |
//! |---|---|
//! | `intake` | subscriptions, how much the server may push, what it has pushed and nobody has asked for yet |
//! | `settling` | follow-ups and returns first, confirmed; then the acknowledgements |
//!
//! What is held is held by the connection: when it ends, all of it goes back to the queues, and its tags are worth nothing. So
//! a tag has the number of its connection in it, and is never sent on another.

mod intake;
mod settling;

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use umbel_amqp::link::Next;
use umbel_amqp::{Event, Link};

use self::intake::Intake;
use self::settling::{Held, Settled};
use super::failure;
use super::options::AmqpOptions;
use super::sender::Sender;
use super::topology::Topology;
use crate::broker::{Consumer, ConsumerOptions, Exchanged, Settlement, Tag};
use crate::error::{BrokerError, Result};

/// The channel of deliveries and acknowledgements.
const CHANNEL: u16 = 1;

/// Numbers the connections of this process, so that no tag is given twice.
static CONNECTIONS: AtomicU64 = AtomicU64::new(1);

/// See [`crate::Consumer`].
pub(super) struct AmqpConsumer {
    options: Arc<AmqpOptions>,
    consumer: ConsumerOptions,
    wire: Option<Wire>,
    sender: Sender,
}

/// One connection and what is held on it.
struct Wire {
    link: Link,
    topology: Topology,
    /// Its number.
    epoch: u64,
    intake: Intake,
    held: Held,
}

impl AmqpConsumer {
    /// Connects; nothing is pushed before somebody asks.
    pub(super) fn open(options: Arc<AmqpOptions>, consumer: ConsumerOptions) -> Result<Self> {
        let sender = Sender::new(Arc::clone(&options), "follow-ups");
        let mut opened = Self { options, consumer, wire: None, sender };
        opened.connect()?;
        Ok(opened)
    }

    fn connect(&mut self) -> Result<()> {
        self.disconnect();
        let mut link = self.options.open("consumer", self.options.heartbeat)?;
        let mut topology = Topology::default();
        let opened = link.call(CHANNEL, &umbel_amqp::Method::channel_open()).map(drop);
        let declare = |()| {
            let mut queues = self.consumer.queues.iter();
            queues.try_for_each(|queue| topology.queue(&mut link, &self.options, queue))
        };
        opened.and_then(declare).map_err(|error| failure::using(&self.options.display, &error))?;
        let epoch = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        let intake = Intake::new(&self.consumer.queues);
        self.wire = Some(Wire { link, topology, epoch, intake, held: Held::default() });
        Ok(())
    }

    /// Gives everything back, if there is still somebody to give it to.
    fn disconnect(&mut self) {
        let Some(mut wire) = self.wire.take() else { return };
        if wire.link.is_open() && wire.return_all().is_ok() {
            wire.link.close();
        }
    }

    /// Runs `work` on the connection. An error of it is the end of all that is held.
    fn attempt<T>(&mut self, work: impl FnOnce(&mut Wire, &AmqpOptions) -> umbel_amqp::Result<T>) -> Result<T> {
        let Some(wire) = &mut self.wire else {
            let (url, detail) = (self.options.display.to_string(), "the connection is closed".to_owned());
            return Err(BrokerError::Connection { url, detail });
        };
        work(wire, &self.options).map_err(|error| {
            self.wire = None;
            match failure::using(&self.options.display, &error) {
                // Whatever it was: what was held is so no more.
                BrokerError::Access { url, detail } | BrokerError::Unavailable { url, detail } => {
                    BrokerError::Connection { url, detail }
                }
                BrokerError::Protocol { detail } => {
                    BrokerError::Connection { url: self.options.display.to_string(), detail }
                }
                error => error,
            }
        })
    }

    fn tag(&self, epoch: u64, number: u64) -> Tag {
        Tag(format!("{}.{epoch}.{number}", self.consumer.worker_id).into())
    }
}

impl Wire {
    /// Gives everything back, which is in its place once the queues answer.
    fn return_all(&mut self) -> umbel_amqp::Result<()> {
        let everything = umbel_amqp::Method::BasicNack { delivery_tag: 0, multiple: true, requeue: true };
        self.withdraw()?;
        self.link.send(CHANNEL, &everything)?;
        self.look_at_queues()
    }

    /// Takes in what has come, without waiting.
    fn take_in(&mut self) -> umbel_amqp::Result<()> {
        while let Some(event) = self.link.poll()? {
            self.take(event)?;
        }
        Ok(())
    }

    fn take(&mut self, event: Event) -> umbel_amqp::Result<()> {
        match event {
            Event::Content { content, .. } => {
                self.intake.arrived(*content);
                Ok(())
            }
            Event::Method { method: umbel_amqp::Method::BasicCancel { consumer_tag, .. }, .. } => {
                // Not in the macro, which looks at its arguments only where somebody listens.
                let queue = self.intake.cancelled(&consumer_tag);
                log::warn!("RabbitMQ cancelled the consumption of queue {queue:?}");
                Ok(())
            }
            Event::ChannelClosed { channel: CHANNEL, reason } => {
                Err(umbel_amqp::Error::ChannelClosed { channel: CHANNEL, reason })
            }
            _ => Ok(()),
        }
    }
}

impl Consumer for AmqpConsumer {
    fn exchange(&mut self, settlements: &[Settlement], want: usize) -> Result<Exchanged> {
        if settlements.iter().any(Settlement::needs_results) {
            return Err(BrokerError::results_not_stored());
        }
        let Settled { lost, entered } = self.settle(settlements)?;
        let deliveries = if want == 0 { Vec::new() } else { self.fetch(want)? };
        self.attempt(|wire, options| {
            let settled_alone = !settlements.is_empty() && want == 0;
            if options.thorough_fetch && settled_alone { wire.catch_up() } else { wire.link.flush() }
        })?;
        Ok(Exchanged { deliveries, lost, entered, next_due: None })
    }

    fn heartbeat(&mut self) -> Result<usize> {
        self.sender.keep_alive();
        self.attempt(|wire, _| {
            wire.link.keep_alive()?;
            wire.take_in()?;
            wire.give_back_what_nobody_wants()?;
            wire.link.flush()
        })?;
        Ok(0)
    }

    fn listens(&self) -> bool {
        true
    }

    fn listen(&mut self, timeout: Duration, waker: BorrowedFd<'_>) -> Result<bool> {
        let deadline = Instant::now() + timeout;
        self.attempt(|wire, options| {
            loop {
                wire.take_in()?;
                // A queue that was deleted is declared anew, and may bring something at once.
                wire.subscribe(options)?;
                if !wire.intake.is_empty() {
                    return Ok(true);
                }
                let left = deadline.saturating_duration_since(Instant::now());
                match wire.link.next(left, Some(waker))? {
                    Next::Event(event) => wire.take(event)?,
                    Next::Woken | Next::Timeout => return Ok(false),
                }
            }
        })
    }

    fn recover(&mut self, known: &[Tag]) -> Result<Vec<Tag>> {
        // What was held on the old connection has gone back, or will when the server notices.
        self.connect()?;
        Ok(known.to_vec())
    }

    fn close(&mut self) -> Result<()> {
        self.disconnect();
        self.sender.close();
        Ok(())
    }
}

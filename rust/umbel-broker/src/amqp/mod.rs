//! RabbitMQ, over our own AMQP 0-9-1 client: exchanges, queues and messages exactly as Celery has them, so that its producers and
//! workers can share a virtual host with ours, and Umbel's own beside them.
//!
//! | object | what |
//! |---|---|
//! | exchange `<queue>`, queue `<queue>` | Celery's, with the arguments of the settings |
//! | exchanges and queues `celery_delayed_<n>`, `celery_delayed_delivery` | messages that wait for their time, in Celery's layout |
//! | queue `umbel.dead` | dead letters |
//! | queue `umbel.revoked` | what is not to run, each until it ends |
//! | fanout exchange `celery.pidbox` and queues of listeners | what is said to all workers |
//! | exchange `reply.celery.pidbox` and queues of those who asked | answers |
//!
//! `docs/decisions/0012-amqp.md` tells what the contract means here: nothing is lost, but there is no doing two things in one
//! step ([`Capabilities`]).

mod admin;
mod consumer;
mod control;
mod dead_letters;
mod doorbell;
mod failure;
mod headers;
mod message;
mod options;
mod publisher;
mod revoked;
mod sender;
mod topology;

use std::collections::HashMap;
use std::sync::Arc;

use self::admin::AmqpAdmin;
use self::consumer::AmqpConsumer;
use self::control::{AmqpControl, AmqpListener, Lanes};
use self::doorbell::AmqpDoorbell;
use self::publisher::AmqpPublisher;
use crate::broker::{Admin, Broker, Consumer, ConsumerOptions, Doorbell, Publisher};
use crate::capability::{Capabilities, Capability};
use crate::control::{Control, Listener};
use crate::error::Result;
use crate::sync::Mutex;
use crate::url::TransportOptions;

pub use options::{AmqpOptions, QueueSpec, QueueType, Server};

/// Whether a queue is Umbel's own and not one of tasks.
fn is_ours(queue: &str) -> bool {
    matches!(queue, dead_letters::QUEUE | revoked::QUEUE)
}

/// A RabbitMQ server, or several for failover, as broker.
pub struct AmqpBroker {
    options: Arc<AmqpOptions>,
    /// Turns of rate limits: this process' own.
    lanes: Lanes,
}

impl AmqpBroker {
    /// A broker with `options`; nothing is connected yet.
    pub fn new(options: AmqpOptions) -> Self {
        Self { options: Arc::new(options), lanes: Arc::new(Mutex::new(HashMap::new())) }
    }

    /// A broker at `url` with `broker_transport_options`.
    ///
    /// # Errors
    /// [`crate::BrokerError::Config`] for a URL or option that cannot be used.
    pub fn from_url(url: &str, options: &TransportOptions) -> Result<Self> {
        AmqpOptions::parse(url, options).map(Self::new)
    }
}

impl Broker for AmqpBroker {
    fn display_url(&self) -> String {
        self.options.display.to_string()
    }

    fn identity(&self) -> String {
        self.options.store_name()
    }

    fn capabilities(&self) -> Capabilities {
        use Capability::{
            Atomic, Dues, Front, Leases, Lines, Locks, Malformed, Overhearing, Peeking, Priorities, Slots, Turns,
            Verbatim,
        };
        // RabbitMQ reads properties itself, and takes none that cannot be read.
        let lacking = [
            Atomic,
            Dues,
            Front,
            Leases,
            Lines,
            Locks,
            Malformed,
            Overhearing,
            Peeking,
            Priorities,
            Slots,
            Turns,
            Verbatim,
        ];
        lacking.into_iter().fold(Capabilities::ALL, Capabilities::without)
    }

    fn publisher(&self) -> Result<Box<dyn Publisher>> {
        Ok(Box::new(AmqpPublisher::open(Arc::clone(&self.options))?))
    }

    fn consumer(&self, options: ConsumerOptions) -> Result<Box<dyn Consumer>> {
        Ok(Box::new(AmqpConsumer::open(Arc::clone(&self.options), options)?))
    }

    fn doorbell(&self, queues: &[String]) -> Result<Box<dyn Doorbell>> {
        Ok(Box::new(AmqpDoorbell::open(Arc::clone(&self.options), queues)?))
    }

    fn admin(&self) -> Result<Box<dyn Admin>> {
        Ok(Box::new(AmqpAdmin::open(Arc::clone(&self.options))?))
    }

    fn control(&self) -> Result<Box<dyn Control>> {
        Ok(Box::new(AmqpControl::new(Arc::clone(&self.options), Arc::clone(&self.lanes))))
    }

    fn listener(&self, exchange: &str) -> Result<Box<dyn Listener>> {
        Ok(Box::new(AmqpListener::open(Arc::clone(&self.options), exchange)?))
    }
}

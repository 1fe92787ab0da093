//! Sends messages of programs.

use std::sync::Arc;

use umbel_protocol::Destination;

use super::options::AmqpOptions;
use super::sender::{Item, Sender};
use crate::broker::{ExchangeKind, Outgoing, Publisher};
use crate::clock::{Clock, SystemClock};
use crate::error::{BrokerError, Result};
use crate::once::{Lock, Taken};
use crate::queue::check_bindable;

/// See [`crate::Publisher`].
pub(super) struct AmqpPublisher(Sender);

impl AmqpPublisher {
    pub(super) fn open(options: Arc<AmqpOptions>) -> Result<Self> {
        Sender::open(options, "publisher").map(Self)
    }
}

impl Publisher for AmqpPublisher {
    fn publish(&mut self, batch: &[Outgoing]) -> Result<()> {
        let now = SystemClock.now();
        let items: Result<Vec<_>> =
            batch.iter().map(|outgoing| Item::outgoing(outgoing, self.0.options(), now)).collect();
        let items = items?;
        self.0.send(&items)
    }

    fn publish_once(&mut self, _: &Outgoing, _: &Lock) -> Result<Taken> {
        let detail =
            "RabbitMQ keeps no locks, which unique tasks take: use Redis or a SQLite file as broker".to_owned();
        Err(BrokerError::Config { setting: "broker_url".to_owned(), detail })
    }

    fn bind(&mut self, queue: &str, destination: &Destination, kind: ExchangeKind) -> Result<()> {
        check_bindable(queue, destination)?;
        self.0.bind(queue, destination, kind)
    }
}

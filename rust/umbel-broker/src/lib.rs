//! Brokers: the contract in [`broker`], one engine a folder.

pub mod amqp;
pub mod broker;
pub mod capability;
pub mod clock;
pub mod control;
pub mod error;
pub mod lane;
pub mod lines;
pub mod memory;
pub mod once;
pub mod open;
mod option_reader;
pub mod queue;
pub mod redis;
pub mod slots;
pub mod sqlite;
pub mod sync;
pub mod url;

pub use amqp::{AmqpBroker, AmqpOptions};
pub use broker::{
    Admin, Broker, Consumer, ConsumerOptions, DeadLetter, DeadReason, Delivery, Disposition, Doorbell, ExchangeKind,
    Exchanged, Outgoing, Payload, Publisher, Settlement, Tag, Waiting,
};
pub use capability::{Capabilities, Capability};
pub use clock::{Clock, ManualClock, SystemClock};
pub use control::{Control, Listener, Revocation, Revoked};
pub use error::{BrokerError, NextStep, Result};
pub use lane::{Lane, Turn};
pub use memory::MemoryBroker;
pub use once::{Lock, Taken};
pub use open::{open, open_beside};
pub use redis::{RedisBroker, RedisOptions};
pub use slots::{GivenUp, Slot};
pub use sqlite::SqliteBroker;
pub use url::TransportOptions;

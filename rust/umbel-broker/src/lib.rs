//! Brokers: the contract in [`broker`], one engine a folder.

pub mod broker;
pub mod clock;
pub mod error;

pub use broker::{
    Admin, Broker, Consumer, ConsumerOptions, DeadLetter, DeadReason, Delivery, Disposition, Doorbell, ExchangeKind,
    Exchanged, Outgoing, Payload, Publisher, Settlement, Tag,
};
pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{BrokerError, NextStep, Result};

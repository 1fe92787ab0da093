//! From a URL to its broker.

use std::sync::Arc;

use crate::amqp::AmqpBroker;
use crate::broker::Broker;
use crate::clock::Clock;
use crate::error::Result;
use crate::memory::MemoryBroker;
use crate::redis::RedisBroker;
use crate::sqlite::{Location, SqliteBroker};
use crate::url::{Engine, TransportOptions, memory_name};

/// Opens the broker that `url` names. No connection is made before a handle is asked for.
///
/// # Errors
/// [`BrokerError::Config`] for a URL or option that cannot be used.
pub fn open(url: &str, options: &TransportOptions, clock: Arc<dyn Clock>) -> Result<Arc<dyn Broker>> {
    match Engine::of(url, "broker_url")? {
        Engine::Memory => Ok(Arc::new(MemoryBroker::named(memory_name(url), clock))),
        Engine::Redis => Ok(Arc::new(RedisBroker::from_url(url, options)?)),
        Engine::Amqp => Ok(Arc::new(AmqpBroker::from_url(url, options)?)),
        Engine::Sqlite => {
            let location = Location::parse(url, options, "broker_url")?;
            Ok(Arc::new(SqliteBroker::new(location, clock)))
        }
    }
}

/// As [`open`], for a broker whose results are kept at `result_url`: where that is on the same server, both can be
/// written in one step, and [`Broker::identity`] says so.
///
/// # Errors
/// [`BrokerError::Config`] for a broker's URL or option that cannot be used.
pub fn open_beside(
    url: &str,
    options: &TransportOptions,
    result_url: &str,
    result_options: &TransportOptions,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn Broker>> {
    match (Engine::of(url, "broker_url")?, Engine::of(result_url, "result_backend")) {
        (Engine::Redis, Ok(Engine::Redis)) => {
            Ok(Arc::new(RedisBroker::beside(url, options, result_url, result_options)?))
        }
        _ => open(url, options, clock),
    }
}

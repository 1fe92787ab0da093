//! Opening what URLs name.

use std::sync::Arc;

use umbel_backend::{Backend, MemoryBackend, RedisBackend};
use umbel_broker::url::{Engine, memory_name};
use umbel_broker::{Broker, BrokerError, SystemClock, TransportOptions};

/// Where a broker and a result store are.
pub(crate) struct Stores {
    pub(crate) broker_url: String,
    pub(crate) broker_options: TransportOptions,
    /// None: results are not stored.
    pub(crate) result_url: Option<String>,
    pub(crate) result_options: TransportOptions,
}

/// A broker and, if results are stored, their store.
pub(crate) type Opened = (Arc<dyn Broker>, Option<Arc<dyn Backend>>);

impl Stores {
    /// Both, not yet connected.
    pub(crate) fn open(&self) -> Result<Opened, BrokerError> {
        let clock = Arc::new(SystemClock);
        let broker = umbel_broker::open(&self.broker_url, &self.broker_options, clock.clone())?;
        let backend =
            self.result_url.as_deref().map(|url| open_backend(url, &self.result_options, clock)).transpose()?;
        Ok((broker, backend))
    }
}

fn open_backend(
    url: &str,
    options: &TransportOptions,
    clock: Arc<SystemClock>,
) -> Result<Arc<dyn Backend>, BrokerError> {
    match Engine::of(url, "result_backend")? {
        Engine::Memory => Ok(Arc::new(MemoryBackend::named(memory_name(url), clock))),
        Engine::Redis => Ok(Arc::new(RedisBackend::from_url(url, options)?)),
        Engine::Sqlite => Err(BrokerError::Config { setting: "result_backend".into(), detail: "not linked".into() }),
    }
}

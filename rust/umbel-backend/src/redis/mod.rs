//! Redis: Celery's keys, so that either side reads what the other wrote. A record's key is also the channel on which
//! it is published.

mod listener;
mod store;

use std::sync::Arc;

use umbel_broker::redis::{RedisOptions, ResultLayout, result_prefix};
use umbel_broker::{Result, TransportOptions};

use self::listener::RedisListener;
use self::store::RedisStore;
use crate::backend::{Backend, ResultListener, ResultStore};

/// A Redis server as result store.
pub struct RedisBackend {
    options: Arc<RedisOptions>,
    layout: ResultLayout,
}

impl RedisBackend {
    /// A store with `options`, whose `global_keyprefix` gets an underscore as Celery's backend has it; nothing is
    /// connected yet.
    pub fn new(options: RedisOptions) -> Self {
        let prefix = result_prefix(&options.global_keyprefix);
        let layout = ResultLayout { db: None, prefix, ..options.results.clone() };
        Self { options: Arc::new(options), layout }
    }

    /// A store at `url` with `result_backend_transport_options`.
    ///
    /// # Errors
    /// [`umbel_broker::BrokerError::Config`] for a URL or option that cannot be used.
    pub fn from_url(url: &str, options: &TransportOptions) -> Result<Self> {
        RedisOptions::parse(url, options).map(Self::new)
    }
}

impl Backend for RedisBackend {
    fn display_url(&self) -> String {
        self.options.display.to_string()
    }

    fn identity(&self) -> String {
        self.options.results_identity(&self.layout)
    }

    fn store(&self) -> Result<Box<dyn ResultStore>> {
        Ok(Box::new(RedisStore::open(self.options.clone(), self.layout.prefix.clone())?))
    }

    fn listener(&self) -> Result<Box<dyn ResultListener>> {
        Ok(Box::new(RedisListener::open(self.options.clone(), self.layout.prefix.clone())?))
    }
}

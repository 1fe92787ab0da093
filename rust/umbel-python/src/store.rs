//! Opening what URLs name.

use std::sync::Arc;

use crate::clock::ProcessClock;
use umbel_backend::Backend;
use umbel_broker::{Broker, BrokerError, TransportOptions};

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
        let clock = Arc::new(ProcessClock);
        let result_url = self.result_url.as_deref();
        let (url, options) = (&self.broker_url, &self.broker_options);
        let broker = match result_url {
            Some(results) => umbel_broker::open_beside(url, options, results, &self.result_options, clock.clone())?,
            None => umbel_broker::open(url, options, clock.clone())?,
        };
        let backend = result_url.map(|url| umbel_backend::open(url, &self.result_options, clock)).transpose()?;
        Ok((broker, backend))
    }
}

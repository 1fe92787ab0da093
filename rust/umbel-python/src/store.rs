//! Opening what URLs name.

use std::sync::Arc;

use pyo3::prelude::*;

use umbel_backend::Backend;
use umbel_broker::{Broker, BrokerError, TransportOptions};

use crate::bridge::PythonBackend;
use crate::clock::ProcessClock;

/// Where a broker and a result store are.
pub(crate) struct Stores {
    pub(crate) broker_url: String,
    pub(crate) broker_options: TransportOptions,
    /// None: results are not stored.
    pub(crate) result_url: Option<String>,
    pub(crate) result_options: TransportOptions,
    /// Opens the result store where it is a Python object.
    pub(crate) open_results: Option<Arc<Py<PyAny>>>,
}

/// A broker and, if results are stored, their store.
pub(crate) type Opened = (Arc<dyn Broker>, Option<Arc<dyn Backend>>);

impl Stores {
    /// Both, not yet connected.
    pub(crate) fn open(&self) -> Result<Opened, BrokerError> {
        let clock = Arc::new(ProcessClock);
        let result_url = self.result_url.as_deref();
        let (url, options) = (&self.broker_url, &self.broker_options);
        if let (Some(results), Some(open)) = (result_url, &self.open_results) {
            let backend = Arc::new(PythonBackend::new(results, Arc::clone(open)));
            return Ok((umbel_broker::open(url, options, clock)?, Some(backend)));
        }
        let broker = match result_url {
            Some(results) => umbel_broker::open_beside(url, options, results, &self.result_options, clock.clone())?,
            None => umbel_broker::open(url, options, clock.clone())?,
        };
        let backend = result_url.map(|url| umbel_backend::open(url, &self.result_options, clock)).transpose()?;
        Ok((broker, backend))
    }
}

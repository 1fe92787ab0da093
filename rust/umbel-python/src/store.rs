//! Opening what URLs name.

use std::sync::Arc;

use pyo3::prelude::*;

use umbel_backend::{Backend, RpcBackend, RpcOptions};
use umbel_broker::{Broker, BrokerError, TransportOptions};

use crate::bridge::{PythonBackend, PythonBroker};
use crate::clock::ProcessClock;

/// Where a broker and a result store are.
pub(crate) struct Stores {
    pub(crate) broker_url: String,
    pub(crate) broker_options: TransportOptions,
    /// Opens the broker where it is a Python object.
    pub(crate) open_broker: Option<Py<PyAny>>,
    /// None: results are not stored.
    pub(crate) result_url: Option<String>,
    pub(crate) result_options: TransportOptions,
    /// Opens the result store where it is a Python object.
    pub(crate) open_results: Option<Arc<Py<PyAny>>>,
    /// Tells how replies are written, and where this process' own go (`rpc://`): a function, for that differs after a fork.
    pub(crate) reply_options: Option<Py<PyAny>>,
}

/// A broker and, if results are stored, their store.
pub(crate) type Opened = (Arc<dyn Broker>, Option<Arc<dyn Backend>>);

impl Stores {
    /// Both, not yet connected.
    pub(crate) fn open(&self) -> Result<Opened, BrokerError> {
        let broker = self.broker()?;
        let backend = self.backend(&broker)?;
        Ok((broker, backend))
    }

    fn broker(&self) -> Result<Arc<dyn Broker>, BrokerError> {
        let (url, options, clock) = (&self.broker_url, &self.broker_options, Arc::new(ProcessClock));
        if let Some(open) = &self.open_broker {
            return Ok(Arc::new(PythonBroker::open(open)?));
        }
        match self.result_url.as_deref().filter(|_| self.open_results.is_none() && self.reply_options.is_none()) {
            Some(results) => umbel_broker::open_beside(url, options, results, &self.result_options, clock),
            None => umbel_broker::open(url, options, clock),
        }
    }

    fn backend(&self, broker: &Arc<dyn Broker>) -> Result<Option<Arc<dyn Backend>>, BrokerError> {
        let Some(url) = self.result_url.as_deref() else { return Ok(None) };
        if let Some(options) = &self.reply_options {
            let options = Python::attach(|py| reply_options(options.bind(py))).map_err(|error| {
                BrokerError::Config { setting: "result_backend".to_owned(), detail: format!("{url}: {error}") }
            })?;
            return Ok(Some(Arc::new(RpcBackend::new(Arc::clone(broker), options))));
        }
        if let Some(open) = &self.open_results {
            return Ok(Some(Arc::new(PythonBackend::new(url, Arc::clone(open)))));
        }
        umbel_backend::open(url, &self.result_options, Arc::new(ProcessClock)).map(Some)
    }
}

/// From a mapping of the fields' names.
fn reply_options(options: &Bound<'_, PyAny>) -> PyResult<RpcOptions> {
    let given = options.call0()?;
    Ok(RpcOptions {
        reply_to: given.get_item("reply_to")?.extract()?,
        content_type: given.get_item("content_type")?.extract()?,
        content_encoding: given.get_item("content_encoding")?.extract()?,
        persistent: given.get_item("persistent")?.extract()?,
    })
}

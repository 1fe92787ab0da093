//! The one table from Rust errors to Python exception classes.

use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;

use umbel_broker::BrokerError;
use umbel_protocol::Malformed;

create_exception!(umbel._native, NativeError, PyException, "What every error of the Rust core derives from.");
create_exception!(umbel._native, ConnectionLostError, NativeError, "The server cannot be reached, or went away.");
create_exception!(umbel._native, UnavailableError, NativeError, "The server cannot do this now: busy, full, loading.");
create_exception!(umbel._native, AccessError, NativeError, "Wrong password, missing permission or TLS trust.");
create_exception!(umbel._native, UnroutableError, NativeError, "No queue is bound where the message was sent.");
create_exception!(umbel._native, ConfigError, NativeError, "A URL or option cannot be used.");
create_exception!(umbel._native, ProtocolError, NativeError, "The store holds what this version does not understand.");
create_exception!(umbel._native, MalformedError, NativeError, "Bytes that are not what they should be.");
create_exception!(umbel._native, ForkedError, PyRuntimeError, "The object belongs to the parent process.");

/// The Python exception for a broker or result store error.
pub(crate) fn broker_error(error: BrokerError) -> PyErr {
    let text = error.to_string();
    match error {
        BrokerError::Connection { .. } => ConnectionLostError::new_err(text),
        BrokerError::Unavailable { .. } => UnavailableError::new_err(text),
        BrokerError::Access { .. } => AccessError::new_err(text),
        BrokerError::Unroutable { .. } => UnroutableError::new_err(text),
        BrokerError::Config { .. } => ConfigError::new_err(text),
        BrokerError::Protocol { .. } => ProtocolError::new_err(text),
    }
}

/// The Python exception for bytes that cannot be read.
pub(crate) fn malformed(error: Malformed) -> PyErr {
    MalformedError::new_err(error.to_string())
}

/// Puts the exception classes into the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("NativeError", py.get_type::<NativeError>())?;
    module.add("ConnectionLostError", py.get_type::<ConnectionLostError>())?;
    module.add("UnavailableError", py.get_type::<UnavailableError>())?;
    module.add("AccessError", py.get_type::<AccessError>())?;
    module.add("UnroutableError", py.get_type::<UnroutableError>())?;
    module.add("ConfigError", py.get_type::<ConfigError>())?;
    module.add("ProtocolError", py.get_type::<ProtocolError>())?;
    module.add("MalformedError", py.get_type::<MalformedError>())?;
    module.add("ForkedError", py.get_type::<ForkedError>())
}

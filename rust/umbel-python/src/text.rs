//! Small things on text and bytes that Python shares with the core: times, ids, compression.

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use umbel_protocol::compression::Codec;
use umbel_protocol::error::ReadError;
use umbel_protocol::{Limits, Zone, iso8601};

use crate::errors::malformed;

/// Seconds since the epoch (naive text read as UTC) and whether the text was naive.
#[pyfunction]
#[pyo3(signature = (text, /))]
fn parse_iso8601(text: &str) -> PyResult<(f64, bool)> {
    let moment = iso8601::parse(text).map_err(malformed)?;
    Ok((moment.moment(&Zone::fixed(0)).as_seconds(), moment.offset.is_none()))
}

/// A random task id; safe after fork.
#[pyfunction]
fn uuid4() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Compresses with an alias or MIME name; returns the bytes and the header value. Raises KeyError for others.
#[pyfunction]
#[pyo3(signature = (data, method, /))]
fn compress<'py>(py: Python<'py>, data: &[u8], method: &str) -> PyResult<(Bound<'py, PyBytes>, &'static str)> {
    let codec = Codec::named(method).ok_or_else(|| PyKeyError::new_err(method.to_owned()))?;
    let packed = py.detach(|| codec.compress(data)).map_err(|_| PyKeyError::new_err(method.to_owned()))?;
    Ok((PyBytes::new(py, &packed), codec.content_type()))
}

/// The reverse; more than `limit` bytes (default 64 MiB) are malformed. Raises KeyError for methods that Python must
/// undo.
#[pyfunction]
#[pyo3(signature = (data, method, /, limit = 67_108_864))]
fn decompress<'py>(py: Python<'py>, data: &[u8], method: &str, limit: usize) -> PyResult<Bound<'py, PyBytes>> {
    let codec = Codec::named(method).ok_or_else(|| PyKeyError::new_err(method.to_owned()))?;
    let limits = Limits { max_bytes: limit, ..Limits::default() };
    match py.detach(|| codec.decompress(data, &limits)) {
        Ok(bytes) => Ok(PyBytes::new(py, &bytes)),
        Err(ReadError::Malformed(error)) => Err(malformed(error)),
        Err(ReadError::NeedsPython(_)) => Err(PyKeyError::new_err(method.to_owned())),
    }
}

/// Puts the functions into the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(parse_iso8601, module)?)?;
    module.add_function(wrap_pyfunction!(uuid4, module)?)?;
    module.add_function(wrap_pyfunction!(compress, module)?)?;
    module.add_function(wrap_pyfunction!(decompress, module)?)
}

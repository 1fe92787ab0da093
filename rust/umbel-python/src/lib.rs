//! The Python extension `umbel._native`. Importing it starts no thread.

mod codec;
mod errors;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    errors::register(module)?;
    codec::register(module)
}

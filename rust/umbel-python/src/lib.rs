//! The Python extension `umbel._native`. Importing it starts no thread.

mod client;
mod codec;
mod errors;
mod gil;
mod message;
mod options;
mod repr;
mod text;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    errors::register(module)?;
    codec::register(module)?;
    repr::register(module)?;
    text::register(module)?;
    module.add_class::<client::Client>()
}

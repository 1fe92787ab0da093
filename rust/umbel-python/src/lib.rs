//! The Python extension `umbel._native`. Importing it starts no thread.

mod client;
mod codec;
mod descriptor;
mod errors;
mod gil;
mod job;
mod link;
mod message;
mod options;
mod repr;
mod runtime;
mod text;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    errors::register(module)?;
    codec::register(module)?;
    repr::register(module)?;
    text::register(module)?;
    module.add_class::<client::Client>()?;
    module.add_class::<job::Job>()?;
    module.add_class::<link::ChildLink>()
}

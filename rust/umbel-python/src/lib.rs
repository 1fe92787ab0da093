//! The Python extension `umbel._native`. Importing it starts no thread.

mod bridge;
mod client;
mod clock;
mod codec;
mod control;
mod descriptor;
mod errors;
mod event;
mod gil;
mod job;
mod link;
mod logs;
mod message;
mod options;
mod process_state;
mod repr;
mod runtime;
mod store;
mod stream;
mod text;
mod worker;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    logs::start();
    errors::register(module)?;
    codec::register(module)?;
    repr::register(module)?;
    text::register(module)?;
    bridge::register(module)?;
    module.add_function(wrap_pyfunction!(clock::set_clock_offset, module)?)?;
    module.add_class::<client::Client>()?;
    module.add_class::<job::Job>()?;
    module.add_class::<process_state::ProcessState>()?;
    module.add_class::<link::ChildLink>()?;
    module.add_class::<stream::ResultStream>()?;
    module.add_class::<worker::Worker>()?;
    // PyO3 lists the names of its own accord; that list would have to be repeated in the stub.
    module.delattr("__all__")
}

//! Task handlers written in Rust, which need no Python: a registry, a pool of threads, and a worker made of them.
//!
//! ```no_run
//! use umbel_worker::native::Registry;
//!
//! let mut registry = Registry::new();
//! registry.register("tasks.add", |call| {
//!     let sum = call.arg(0)?.as_f64().zip(call.arg(1)?.as_f64()).map(|(a, b)| a + b);
//!     sum.map(Into::into).ok_or_else(|| "add takes two numbers".into())
//! });
//! ```

mod outcome;
mod pool;
mod registry;
mod signals;
mod worker;

pub use outcome::Runner;
pub use pool::NativePool;
pub use registry::{Call, Registry, TaskError, TaskResult};
pub use worker::{NativeWorker, run};

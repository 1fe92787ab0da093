//! The runtime: threads, sockets and clocks around the engine.
//!
//! Three threads serve a worker, none of which ever needs Python:
//!
//! * the engine thread ([`driver`]) speaks with the children and runs the engine;
//! * the broker thread ([`settler`]) settles, fetches and keeps the lease, one exchange at a time, and listens for new
//!   messages while the queues are empty, if its connection can;
//! * the doorbell thread ([`bell`]) listens where it cannot.
//!
//! They talk through [`shared`]. The supervisor, who starts processes and logs, reads [`WorkerEvent`]s.

mod bell;
mod children;
mod connection;
mod control;
mod driver;
mod event;
mod exit;
mod mailbox;
mod options;
mod outbox;
mod results;
mod settler;
mod shared;
mod stats;
mod worker;

pub use event::WorkerEvent;
pub use options::{Pauses, WorkerOptions};
pub use stats::Stats;
pub use worker::{Worker, WorkerError};

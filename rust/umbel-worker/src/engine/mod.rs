//! The engine: a state machine without I/O, clock or thread.

pub mod config;
pub mod input;
pub mod job;
pub mod output;

pub use config::{EngineConfig, TaskOptions};
pub use input::{ChildId, Input, ShutdownKind};
pub use job::{Job, JobId, Outcome, Verdict};
pub use output::{Notice, Output};

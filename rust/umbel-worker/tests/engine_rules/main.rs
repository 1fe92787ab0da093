//! The engine's rules, one by one: inputs in, outputs out, time passed in.

#![allow(clippy::unwrap_used, reason = "a test that finds nothing may panic")]

mod acks;
mod batches;
mod bench;
mod children;
mod connection;
mod dispatch;
mod fetch;
mod intake;
mod limits;
mod lines;
mod pacing;
mod plain;
mod revoking;
mod shutdown;
mod slots;
mod surplus;
mod timer;
mod unique;

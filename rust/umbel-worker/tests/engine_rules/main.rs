//! The engine's rules, one by one: inputs in, outputs out, time passed in.

#![allow(clippy::unwrap_used, reason = "a test that finds nothing may panic")]

mod bench;
mod plain;

//! The worker: an engine that decides ([`engine`]) and a thin runtime that does.

pub mod engine;

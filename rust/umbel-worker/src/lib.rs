//! The worker: an engine that decides ([`engine`]), a thin runtime that does, and the links to the children ([`link`]).

pub mod engine;
pub mod link;
pub mod native;
pub mod runtime;

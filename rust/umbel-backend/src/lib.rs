//! Result stores: the contract in [`backend`], one engine a file.

pub mod backend;

pub use backend::{Backend, ListenerWaker, ResultListener, ResultStore};

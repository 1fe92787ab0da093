//! Result stores: the contract in [`backend`], one engine a file.

pub mod backend;
pub mod memory;
pub mod open;
pub mod polling;
pub mod redis;
pub mod rpc;
pub mod sqlite;

pub use backend::{Backend, ListenerWaker, ResultListener, ResultStore};
pub use memory::MemoryBackend;
pub use open::open;
pub use polling::PollingListener;
pub use redis::RedisBackend;
pub use rpc::{RpcBackend, RpcOptions};
pub use sqlite::SqliteBackend;

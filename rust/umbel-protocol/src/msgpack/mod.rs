//! MessagePack to and from [`Value`](crate::json::Value), as `msgpack-python` writes and reads it
//! (`use_bin_type`, `raw=False`).
//!
//! Binary data becomes the object that Celery's JSON writes for bytes (`{"__type__": "bytes", ..}`), map keys become
//! text as JSON would have it. Extension types have no meaning here and are malformed.

mod read;
mod write;

pub use read::decode;
pub use write::encode;

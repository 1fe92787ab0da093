//! The link between a worker's main process and one of its children: a stream socket pair that carries batched,
//! length-prefixed frames.
//!
//! [`frame`] is the codec, from buffers and to buffers. [`child`] is the end a child holds, without Python in it;
//! [`parent`] is the end the main process holds, for an event loop.

pub mod child;
mod fields;
pub mod frame;
pub mod incoming;
pub(crate) mod outgoing;
pub mod parent;
pub(crate) mod thread;

pub use child::ChildLink;
pub use frame::{PROTOCOL_VERSION, ToChild, ToMain};
pub use parent::ParentLink;

/// Why a link did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// An outcome or record is too large for a frame. The job still counts as running: finish it with a smaller one.
    #[error(
        "a task's outcome of {bytes} bytes is more than a child may report ({limit}); store the data elsewhere and return its key"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest that passes.
        limit: usize,
    },
    /// The operating system refused.
    #[error("child link: {0}")]
    Io(#[from] std::io::Error),
}

//! What a program that sends tasks needs: a publisher that many threads share ([`publisher`]), kept connections for
//! everything rarer ([`kept`]), one listener for all result waits ([`waiter`]), all of them together ([`client`]), and an
//! owner that notices a fork ([`per_process`]).

pub mod call;
pub mod client;
pub mod kept;
pub mod per_process;
pub mod publisher;
pub mod retry_policy;
pub mod waiter;

pub use call::{Call, CallError};
pub use client::{Client, ClientOptions};
pub use kept::Kept;
pub use per_process::PerProcess;
pub use publisher::CombiningPublisher;
pub use retry_policy::{Backoff, RetryPolicy};
pub use waiter::{ResultStream, Waiter};

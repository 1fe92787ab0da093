//! The engine for RabbitMQ, beside a real one. One binary, for a node takes seconds to start and all tests share it.

mod client;
mod conformance;
mod faults;
mod layout;
mod proxy;
#[path = "../../../umbel-amqp/tests/sessions/mod.rs"]
mod sessions;
mod surroundings;

//! Conformance suites, the simulator and servers for tests.

pub use umbel_conformance::{
    backend_conformance, broker_conformance, conformance, conformance_tests, same_store_conformance,
};

pub mod laws;
pub mod servers;
pub mod simulator;

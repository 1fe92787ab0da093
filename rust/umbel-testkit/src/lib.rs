//! Conformance suites, the simulator and servers for tests.

pub mod conformance;
pub mod laws;
pub mod servers;
pub mod simulator;

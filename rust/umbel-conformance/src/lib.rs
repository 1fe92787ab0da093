//! The conformance suites as a crate of their own: the test kit runs them on our engines, and the Python extension offers
//! them to whoever writes a broker in Python.

pub mod conformance;

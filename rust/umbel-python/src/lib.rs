//! The Python extension `umbel._native`.

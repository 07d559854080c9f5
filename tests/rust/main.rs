//! Tests through the public API, one binary.

mod config;
mod layout;

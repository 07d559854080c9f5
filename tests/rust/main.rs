//! Tests through the public API, one binary.

mod arena;
mod config;
mod layout;

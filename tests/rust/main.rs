//! Tests through the public API, one binary.
#![allow(clippy::unwrap_used, reason = "a test that finds no value fails")]

mod access;
mod arena;
mod captured;
mod config;
mod corpus;
#[cfg(not(miri))] // which ends the program where memory is exhausted
mod failing;
mod layer_manager;
mod layout;
#[cfg(all(unix, not(miri)))] // which map files
mod mapped;
mod memory;
mod model;
mod moves;
mod rings;
mod scopes;
mod support;
mod tasks;
mod threads;
mod traces;

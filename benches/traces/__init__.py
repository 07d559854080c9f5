"""What real programs ask of a workspace, recorded; `tests/rust/traces.rs` replays it."""

//! Programs of bytes, in workspaces and in the model of plain vectors: the two must agree.

#![no_main]
#![allow(dead_code, unused_imports, reason = "what only the tests use")]

#[path = "../../tests/rust"]
mod tests {
    pub mod model;
    pub mod support;
}

use tests::support;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(violation) = tests::model::tape::play(bytes) {
        panic!("{violation}");
    }
});

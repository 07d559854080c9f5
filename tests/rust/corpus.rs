//! Programs that a fuzzer found worth keeping, and what once went wrong: against the model of plain vectors.

use std::fs;
use std::path::PathBuf;

use crate::model::tape::play;

#[test]
fn programs_of_the_corpus_agree_with_plain_vectors() {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "fuzz", "corpus", "model"].iter().collect();
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    paths.sort();
    let mut steps = 0;
    for path in &paths {
        match play(&fs::read(path).unwrap()) {
            Ok(taken) => steps += taken,
            Err(violation) => panic!("{}: {violation}", path.display()),
        }
    }
    assert!(steps > 1000, "{steps} steps in {} programs", paths.len());
    println!("corpus: {} programs, {steps} steps", paths.len());
}

// Reads a recorded trace; a part of the tests and of the benchmarks.

/// What a trace asks for.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The next request, of so many bytes.
    Birth(usize),
    /// The i-th request dies.
    Death(usize),
}

/// The traces beside this file, with their names.
pub fn traces() -> Vec<(String, Vec<Step>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/traces");
    let files = std::fs::read_dir(folder).expect("the folder of the traces");
    let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "txt"));
    paths.sort();
    paths.iter().map(|path| (stem(path), read(path))).collect()
}

fn stem(path: &std::path::Path) -> String {
    path.file_stem().expect("a name").to_string_lossy().into_owned()
}

fn read(path: &std::path::Path) -> Vec<Step> {
    let text = std::fs::read_to_string(path).expect("a trace");
    let step = |line: &str| {
        let (what, number) = line.split_once(' ').expect("a sign and a number");
        let number = number.parse().expect("a number");
        if what == "+" { Step::Birth(number) } else { Step::Death(number) }
    };
    text.lines().map(step).collect()
}

//! What the tests share: workspaces of few words, and a look at leased bytes.

use ndarena::{
    Array, LearningPolicy, Lease, ResetPolicy, Settings, Workspace, WorkspaceConfiguration,
    WorkspaceStats,
};

pub const KIB: u64 = 1024;

pub fn configuration(change: impl FnOnce(&mut Settings)) -> WorkspaceConfiguration {
    WorkspaceConfiguration::default().replace(change).expect("a valid configuration")
}

/// A workspace in no registry.
pub fn workspace(change: impl FnOnce(&mut Settings)) -> Workspace {
    Workspace::new(configuration(change), "W").expect("a small workspace")
}

/// A fixed arena of `bytes`.
pub fn fixed(s: &mut Settings, bytes: u64) {
    s.initial_size = bytes;
    s.policy_learning = LearningPolicy::None;
    s.overallocation_limit = 0.0;
}

/// A ring of `1 + further` blocks, each of `block` bytes if it is not to be learned.
pub fn ring(s: &mut Settings, block: u64, further: f64) {
    s.policy_reset = ResetPolicy::EndOfBufferReached;
    s.overallocation_limit = further;
    s.initial_size = block;
    if block > 0 {
        s.policy_learning = LearningPolicy::None;
    }
}

/// One whole cycle.
pub fn cycle<R>(ws: &Workspace, body: impl FnOnce() -> R) -> R {
    let scope = ws.notify_scope_entered().expect("may enter");
    let result = body();
    scope.close().expect("the innermost scope");
    result
}

/// An array of `bytes` bytes, each of them `value`.
pub fn bytes(ws: &Workspace, bytes: u64, value: u8) -> Array {
    ws.full(&[usize::try_from(bytes).expect("a length")], value).expect("room")
}

/// The bytes a lease keeps; also long after their array went out of scope.
pub fn bytes_of(lease: &Lease) -> Vec<u8> {
    #[allow(unsafe_code)]
    // SAFETY: the lease keeps the bytes mapped, and no test writes them meanwhile.
    let bytes = unsafe { std::slice::from_raw_parts(lease.as_ptr(), lease.buffer().len()) };
    bytes.to_vec()
}

/// All counters.
pub fn counters(ws: &Workspace) -> WorkspaceStats {
    ws.stats()
}

//! Memory workspaces in the manner of ND4J: memory that is taken once and used again in every turn of a loop.
//!
//! Arrays are cut from a workspace inside a scope, end together when the scope is left, and are refused afterwards. Names
//! and meaning are those of the Python package of the same name; the default features do not know the interpreter.
//!
//! ```
//! use ndarena::{Error, Workspace, WorkspaceConfiguration};
//!
//! let ws = Workspace::new(WorkspaceConfiguration::default(), "LOOP")?;
//! let scope = ws.notify_scope_entered()?;
//! let h = ws.zeros::<f32>(&[32, 128])?;
//! h.write::<f32, _>(|values| values.fill(1.0))?;
//! let kept = h.detach::<f32>()?; // a Vec of our own
//! drop(scope);
//! assert_eq!(kept[0], 1.0);
//! assert!(matches!(h.read::<f32, _>(|values| values[0]), Err(Error::Stale { .. })));
//! # Ok::<(), Error>(())
//! ```
//!
//! # The rooms
//!
//! | room | what |
//! |---|---|
//! | `error` `layout` `sync` `latch` | words, sums, the switch between std and loom, a lock |
//! | `faults` | refusals on demand, for tests |
//! | `clock` | time, leases, and the pair of the two |
//! | `config` | wishes |
//! | `block` | memory from the system; the only pointers of the core |
//! | `fork` | what a fork does to counts, and to the locks of files |
//! | `mapping` `holds` | arenas in files: which file, and which of its bytes are leased |
//! | `fit` `arena` `plan` `ring` | offsets: good fit, reuse within a cycle, the learned plan, circular workspaces |
//! | `cycle` | what a cycle does with bytes: enter, place, die, close, learn |
//! | `workspace` | id, owner, configuration, clock, state |
//! | `thread` `registry` `scope` | a thread's scopes, its workspaces by id, the guard |
//! | `array` | handles, leases, views |
//! | `layer_manager` | roles of arrays in a network: where each lives, and whether it lies there |

#![warn(missing_docs)]

mod arena;
mod array;
mod block;
mod clock;
mod config;
mod cycle;
mod error;
mod faults;
mod fit;
mod fork;
mod holds;
mod latch;
mod layer_manager;
mod layout;
mod mapping;
mod plan;
pub mod registry;
mod ring;
mod scope;
mod sync;
mod thread;
mod workspace;

#[cfg(feature = "python")]
mod python;

/// What benchmarks and proofs look at; no part of the interface, it changes without notice.
#[doc(hidden)]
pub mod internals {
    pub use crate::arena::{Arena, Ticket};
    pub use crate::faults::{Refusals, Refused, Refuser, refuse};
    pub use crate::fit::Bump;
}

pub use arena::CycleEvent;
pub use array::{Array, Buffer, Destination, Lease, Moved};
pub use block::keep_everything;
pub use config::*;
pub use cycle::Piece;
pub use error::{Error, Facts, Quick, Result, Validity};
pub use layer_manager::{ArrayType, Cast, Helper, LayerWorkspaceMgr, LayerWorkspaceMgrBuilder};
pub use layout::{Dtype, Element, parse_bytes};
pub use registry::{
    create_new_workspace, current_workspace, destroy_all_workspaces, get_workspace,
    set_current_workspace,
};
pub use scope::{Scope, scope_out_of_workspaces};
pub use workspace::{
    Captured, DEFAULT_WORKSPACE_ID, Holder, Workspace, WorkspaceStats, allocated_bytes,
    living_workspaces, set_capture_floor,
};

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

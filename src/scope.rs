//! The scope of a Rust user: a guard that cannot leave its thread.

use std::marker::PhantomData;

use crate::array::Array;
use crate::config::EscapePolicy;
use crate::error::Result;
use crate::layout::Element;
use crate::registry::{self, Left, ScopeToken};
use crate::workspace::Workspace;

/// An open scope; dropping it closes it, with all that is still open inside.
///
/// ```compile_fail
/// let ws = ndarena::Workspace::new(ndarena::WorkspaceConfiguration::default(), "A").unwrap();
/// let scope = ws.notify_scope_entered().unwrap();
/// std::thread::spawn(move || drop(scope)); // a scope belongs to its thread
/// ```
#[derive(Debug)]
#[must_use = "the scope closes when the guard is dropped"]
pub struct Scope {
    token: ScopeToken,
    own_thread: PhantomData<*const ()>,
}

impl Scope {
    pub(crate) fn new(token: ScopeToken) -> Self {
        Self { token, own_thread: PhantomData }
    }

    /// Closes the scope now. `Err`: it is not the innermost one (nothing changed), or views escaped
    /// under [`EscapePolicy::Raise`] (the scope is closed).
    pub fn close(&self) -> Result<()> {
        escapes(&self.token.close()?)
    }

    /// The workspace it belongs to; `None` if it scopes out of workspaces.
    pub fn workspace(&self) -> Option<&Workspace> {
        self.token.workspace()
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        // A drop cannot fail; whoever wants to know calls `close`.
        drop(self.token.exit());
    }
}

fn escapes(left: &Left) -> Result<()> {
    for report in &left.reports {
        let raises = report.workspace.configuration().policy_escape == EscapePolicy::Raise;
        if report.escaped > 0 && raises {
            return Err(report.escaped_error());
        }
    }
    Ok(())
}

/// A scope inside which no workspace is current while all stay open.
pub fn scope_out_of_workspaces() -> Result<Scope> {
    registry::scope_out_of_workspaces().map(Scope::new)
}

impl Workspace {
    /// Enters: begins a cycle, or continues the running one.
    pub fn notify_scope_entered(&self) -> Result<Scope> {
        Ok(Scope::new(registry::enter(self)?))
    }

    /// Makes the open workspace current, in its running cycle.
    pub fn notify_scope_borrowed(&self) -> Result<Scope> {
        registry::borrow(self).map(Scope::new)
    }

    /// Closes the innermost open scope of the workspace.
    pub fn notify_scope_left(&self) -> Result<()> {
        escapes(&registry::leave(self)?)
    }

    /// An array whose elements are whatever the memory held.
    pub fn empty<T: Element>(&self, shape: &[usize]) -> Result<Array> {
        Array::allocate(self, T::DTYPE, shape, false)
    }

    /// An array of zeros.
    pub fn zeros<T: Element>(&self, shape: &[usize]) -> Result<Array> {
        Array::allocate(self, T::DTYPE, shape, true)
    }

    /// An array of one value.
    pub fn full<T: Element>(&self, shape: &[usize], value: T) -> Result<Array> {
        let array = self.empty::<T>(shape)?;
        array.write::<T, _>(|elements| elements.fill(value))?;
        Ok(array)
    }

    /// A copy of values, in C order.
    pub fn array<T: Element>(&self, values: &[T]) -> Result<Array> {
        let array = self.empty::<T>(&[values.len()])?;
        array.write::<T, _>(|elements| elements.copy_from_slice(values))?;
        Ok(array)
    }
}

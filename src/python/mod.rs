//! The bindings: convert, one call of the core, convert. The only folder that names pyo3 or NumPy.

mod arguments;
mod array;
mod array_type;
mod callers;
mod capture;
mod collector;
mod config;
mod create;
mod cycle_log;
mod error;
mod fast;
mod faults;
mod flags;
mod foreign;
mod form;
mod functions;
mod handle;
mod handler;
mod holding;
mod indexing;
mod joining;
mod layer_manager;
mod loops;
mod makers;
mod manager;
mod memory_manager;
mod methods;
mod moves;
mod naming;
mod npy;
mod numbers;
mod object;
mod operators;
mod ops;
mod order;
mod place;
mod protocol;
mod reduce;
mod scope;
mod seen;
mod shortcut;
mod slot;
mod stats;
mod steady;
mod task;
mod temporaries;
mod thread_end;
mod view;
mod workspace;

/// The extension module; `ndarena` is its public face. A free-threaded interpreter turns its lock on for it.
#[pyo3::pymodule(gil_used = true)]
mod _core {
    use pyo3::exceptions::PyImportError;
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::array_type::PyArrayType;
    #[pymodule_export]
    use super::capture::capture_numpy;
    #[pymodule_export]
    use super::config::PyWorkspaceConfiguration;
    #[pymodule_export]
    use super::faults::{clear_fault, fail_allocations, set_fault};
    #[pymodule_export]
    use super::handle::WorkspaceArray;
    #[pymodule_export]
    use super::joining::concatenate_here;
    #[pymodule_export]
    use super::layer_manager::{PyBuilder, PyLayerWorkspaceMgr};
    #[pymodule_export]
    use super::loops::matmul::{multiply, multiply_in_tiles};
    #[pymodule_export]
    use super::loops::overlapping::add_overlapping;
    #[pymodule_export]
    use super::loops::rows::cross_entropy::{cross_entropy, cross_entropy_back};
    #[pymodule_export]
    use super::loops::rows::softmax::softmax;
    #[pymodule_export]
    use super::loops::rows::sums::add_up_rows;
    #[pymodule_export]
    use super::loops::rows::{add_bias, rectify_back};
    #[pymodule_export]
    use super::manager::{
        WorkspaceManager, allocation_statistics, any_workspace_active_for_current_thread,
        assert_no_workspaces_open, assert_open_active_and_current, assert_open_and_active,
        check_if_workspace_exists, check_if_workspace_exists_and_active, create_new_workspace,
        destroy_all_workspaces_for_current_thread, destroy_workspace,
        get_all_workspaces_for_current_thread, get_all_workspaces_ids_for_current_thread,
        get_and_activate_workspace, get_debug_mode, get_default_workspace_configuration,
        get_workspace_for_current_thread, get_workspace_manager,
        print_allocation_statistics_for_current_thread, scope_out_of_workspaces, set_debug_mode,
        set_default_workspace_configuration, set_workspace_for_current_thread,
    };
    #[pymodule_export]
    use super::memory_manager::{
        MemoryManager, allocated_bytes, gc_policy, get_auto_gc_window, get_current_workspace,
        get_memory_manager, invoke_gc, invoke_gc_occasionally, is_periodic_gc_active,
        set_auto_gc_window, set_current_workspace, set_occasional_gc_frequency, toggle_periodic_gc,
    };
    #[pymodule_export]
    use super::scope::PyScope;
    #[pymodule_export]
    use super::stats::PyWorkspaceStats;
    #[pymodule_export]
    use super::workspace::PyWorkspace;

    #[pymodule_export]
    const DEFAULT_WORKSPACE_ID: &str = crate::DEFAULT_WORKSPACE_ID;
    #[pymodule_export]
    #[expect(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        refuse_without_lock(module.py())?;
        super::manager::read_environment()?;
        super::capture::read_environment()?;
        crate::registry::set_task_finder(super::task::find);
        super::collector::watch_forks(module.py())?;
        super::loops::prepare(module.py())?;
        super::fast::register(module)?;
        super::functions::register(module)?;
        super::makers::register(module)?;
        super::handle::register(module)?;
        super::layer_manager::register(module)?;
        super::methods::register(module)?;
        super::protocol::register(module)?;
        super::scope::register(module)?;
        super::workspace::register(module)?;
        super::array::register(module)?;
        super::array_type::register(module)?;
        super::operators::register(module)?;
        super::temporaries::register(module)?;
        super::create::register(module)?;
        super::moves::register(module)?;
        let keep = pyo3::types::PyCFunction::new_closure(module.py(), None, None, |_, _| {
            crate::keep_everything();
        })?;
        module.py().import("atexit")?.call_method1("register", (keep,)).map(drop)
    }

    /// What the lock guards is not safe without it, whatever the user asked of the interpreter.
    fn refuse_without_lock(py: Python<'_>) -> PyResult<()> {
        match py.import("sys")?.getattr_opt("_is_gil_enabled")? {
            Some(enabled) if !enabled.call0()?.is_truthy()? => Err(PyImportError::new_err(
                "ndarena needs the interpreter's global lock, which is turned off here: \
                 start Python without -X gil=0 and PYTHON_GIL=0",
            )),
            _ => Ok(()),
        }
    }
}

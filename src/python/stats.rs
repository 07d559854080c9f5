//! A workspace's counters at one moment, and how they look: one line, or a bar in a notebook.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::config::policy_member;
use crate::{Workspace, WorkspaceStats};

macro_rules! record {
    ($($(#[$doc:meta])* $field:ident: $kind:ty,)*) => {
        /// All counters of a workspace at one moment; sizes in bytes. It does not keep the workspace.
        #[pyclass(frozen, get_all, name = "WorkspaceStats", module = "ndarena")]
        pub struct PyWorkspaceStats {
            $($(#[$doc])* pub $field: $kind,)*
        }

        const NAMES: &[&str] = &[$(stringify!($field)),*];

        /// A record with these fields, all of which must be given.
        fn record(fields: &Bound<'_, PyDict>) -> PyResult<PyWorkspaceStats> {
            $(let $field = field(fields, stringify!($field))?.extract::<$kind>()?;)*
            Ok(PyWorkspaceStats { $($field),* })
        }
    };
}

record! {
    id: String,
    thread_id: u64,
    device_id: u32,
    configuration: Py<PyAny>,
    workspace_type: Py<PyAny>,
    generation_id: u64,
    current_size: u64,
    current_offset: u64,
    host_offset: u64,
    primary_offset: u64,
    this_cycle_allocations: u64,
    last_cycle_allocations: u64,
    max_cycle_allocations: u64,
    peak_size: u64,
    cycles_count: u64,
    step_number: u64,
    initial_block_size: u64,
    number_of_external_allocations: u64,
    spilled_size: u64,
    number_of_pinned_allocations: u64,
    pinned_size: u64,
    retired_size: u64,
    escaped_count: u64,
    is_scope_active: bool,
    is_destroyed: bool,
    /// Id of what was current at the running full enter.
    parent_workspace: Option<String>,
    /// Open scopes whose object died without closing them.
    lost_scopes: u64,
    /// Requests served by a learned plan.
    requests_on_plan: u64,
    /// Requests served without one.
    requests_dynamic: u64,
    /// Cycles that left their plan.
    cycles_diverged: u64,
}

fn field<'py>(fields: &Bound<'py, PyDict>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    let missing = || PyTypeError::new_err(format!("WorkspaceStats lacks the field {name}"));
    fields.get_item(name)?.ok_or_else(missing)
}

impl PyWorkspaceStats {
    pub fn new(py: Python<'_>, s: WorkspaceStats, configuration: Py<PyAny>) -> PyResult<Self> {
        Ok(Self {
            id: s.id,
            thread_id: s.thread_id,
            device_id: s.device_id,
            configuration,
            workspace_type: policy_member(py, "WorkspaceType", s.workspace_type.name())?,
            generation_id: s.generation_id,
            current_size: s.current_size,
            current_offset: s.current_offset,
            this_cycle_allocations: s.this_cycle_allocations,
            last_cycle_allocations: s.last_cycle_allocations,
            max_cycle_allocations: s.max_cycle_allocations,
            peak_size: s.peak_size,
            cycles_count: s.cycles_count,
            step_number: s.step_number,
            initial_block_size: s.initial_block_size,
            number_of_external_allocations: s.number_of_external_allocations,
            spilled_size: s.spilled_size,
            number_of_pinned_allocations: s.number_of_pinned_allocations,
            pinned_size: s.pinned_size,
            retired_size: s.retired_size,
            escaped_count: s.escaped_count,
            host_offset: s.current_offset,
            primary_offset: s.current_offset,
            lost_scopes: s.lost_scopes,
            requests_on_plan: s.requests_on_plan,
            requests_dynamic: s.requests_dynamic,
            cycles_diverged: s.cycles_diverged,
            is_scope_active: s.is_scope_active,
            is_destroyed: s.is_destroyed,
            parent_workspace: s.parent_workspace,
        })
    }
}

#[pymethods]
impl PyWorkspaceStats {
    /// What pickle makes it of.
    #[new]
    #[pyo3(signature = (**fields))]
    fn from_fields(py: Python<'_>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let given = fields.map_or_else(|| PyDict::new(py), Clone::clone);
        let record = record(&given)?;
        let unknown = given.keys().iter().find(|name| {
            name.extract::<String>().map_or(true, |name| !NAMES.contains(&name.as_str()))
        });
        match unknown {
            Some(name) => Err(PyTypeError::new_err(format!("WorkspaceStats has no field {name}"))),
            None => Ok(record),
        }
    }

    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let py = slf.py();
        let partial = py.import("functools")?.getattr("partial")?;
        let make = partial.call((slf.get_type(),), Some(&Self::to_dict(slf)?))?;
        Ok((make, PyTuple::empty(py)))
    }

    /// All fields by name.
    fn to_dict<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(slf.py());
        for name in NAMES {
            dict.set_item(name, slf.getattr(*name)?)?;
        }
        Ok(dict)
    }

    fn __eq__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        match other.cast::<Self>() {
            Ok(other) => Self::to_dict(slf)?.eq(Self::to_dict(other)?),
            Err(_) => Ok(false),
        }
    }

    fn __hash__(slf: &Bound<'_, Self>) -> PyResult<isize> {
        let stats = slf.get();
        PyTuple::new(slf.py(), [stats.generation_id, stats.cycles_count])?.hash()
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let fields: PyResult<Vec<String>> = Self::to_dict(slf)?
            .iter()
            .map(|(name, value)| Ok(format!("{name}={}", value.repr()?)))
            .collect();
        Ok(format!("WorkspaceStats({})", fields?.join(", ")))
    }
}

/// `1536` → `1.5 KiB`.
fn human(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let rank = (bytes.max(1).ilog2() / 10).min(6);
    if rank == 0 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "for the eye")]
    let value = bytes as f64 / (1_u64 << (10 * rank)) as f64;
    format!("{value:.1} {}", units[rank as usize])
}

fn state(s: &WorkspaceStats) -> &'static str {
    match (s.is_destroyed, s.is_scope_active) {
        (true, _) => "destroyed",
        (false, true) => "open",
        (false, false) => "closed",
    }
}

/// The workspace in one line.
pub fn line(workspace: &Workspace) -> String {
    let s = workspace.stats();
    let mut text = format!(
        "<Workspace [{}] {}, {}, generation {}, {} of {} in use",
        s.id.escape_debug(),
        s.workspace_type.name().to_lowercase(),
        state(&s),
        s.generation_id,
        human(s.current_offset),
        human(s.current_size),
    );
    let parts =
        [(s.spilled_size, "spilled"), (s.pinned_size, "pinned"), (s.retired_size, "retired")];
    for (bytes, what) in parts {
        if bytes > 0 {
            text.extend([", ", &human(bytes), " ", what]);
        }
    }
    if s.lost_scopes > 0 {
        text.extend([", ", &s.lost_scopes.to_string(), " scope(s) without an object"]);
    }
    text + ">"
}

/// Allocation statistics in one line: current size, spilled, pinned.
pub fn allocation_line(s: &WorkspaceStats) -> String {
    format!(
        "[{}] {}: current size {} ({} B), spilled {} ({} B), pinned {} ({} B)",
        s.id.escape_debug(),
        state(s),
        human(s.current_size),
        s.current_size,
        human(s.spilled_size),
        s.spilled_size,
        human(s.pinned_size),
        s.pinned_size,
    )
}

/// A bar of the arena: in use, peak, size.
pub fn bar(workspace: &Workspace) -> String {
    let s = workspace.stats();
    let share = |bytes: u64| (bytes * 100).checked_div(s.current_size).unwrap_or(0).min(100);
    let (used, peak) = (share(s.current_offset), share(s.peak_size));
    let title = line(workspace).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!(
        "<div style=\"font-family:monospace\"><div>{title}</div>\
         <div style=\"position:relative;width:100%;max-width:40em;height:1.2em;background:#ddd\">\
         <div style=\"position:absolute;width:{peak}%;height:100%;background:#9cf\" title=\"peak {p}\"></div>\
         <div style=\"position:absolute;width:{used}%;height:100%;background:#37c\" title=\"in use {u}\"></div>\
         </div></div>",
        p = human(s.peak_size),
        u = human(s.current_offset),
    )
}

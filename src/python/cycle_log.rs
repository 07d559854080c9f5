//! The log of a cycle, for those who record traces.

use pyo3::prelude::*;

use super::workspace::PyWorkspace;
use crate::CycleEvent;

#[pymethods]
impl PyWorkspace {
    /// Births and deaths in the running cycle: `("birth", bytes)`, `("death", number of the birth)`.
    #[pyo3(name = "_cycle_log")]
    fn cycle_log(&self) -> Vec<(&'static str, u64)> {
        let told = |event| match event {
            CycleEvent::Birth { bytes } => ("birth", bytes),
            CycleEvent::Death { request } => ("death", request as u64),
        };
        self.core.cycle_log().into_iter().map(told).collect()
    }
}

//! The builder of a manager, which Python changes in place.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use super::super::arguments::Name;
use super::super::array_type::array_type;
use super::{Any, PyLayerWorkspaceMgr, configuration};
use crate::layer_manager::LayerWorkspaceMgrBuilder;

/// Collects where arrays of each type shall live; of two calls about the same type the last one counts.
#[pyclass(frozen, name = "LayerWorkspaceMgrBuilder", module = "ndarena")]
#[derive(Default)]
pub struct PyBuilder {
    core: Mutex<LayerWorkspaceMgrBuilder>,
}

impl PyBuilder {
    fn core(&self) -> MutexGuard<'_, LayerWorkspaceMgrBuilder> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, step: impl FnOnce(LayerWorkspaceMgrBuilder) -> LayerWorkspaceMgrBuilder) {
        let mut core = self.core();
        *core = step(std::mem::take(&mut *core));
    }
}

type Builder<'py> = Bound<'py, PyBuilder>;

#[pymethods]
impl PyBuilder {
    /// Arrays of the types that are not named are plain.
    fn default_no_workspace(slf: Builder<'_>) -> Builder<'_> {
        slf.get().change(LayerWorkspaceMgrBuilder::default_no_workspace);
        slf
    }

    /// Arrays of this type are plain.
    fn no_workspace_for<'py>(slf: Builder<'py>, t: Any<'_, 'py>) -> PyResult<Builder<'py>> {
        let t = array_type(t)?;
        slf.get().change(|builder| builder.no_workspace_for(t));
        Ok(slf)
    }

    /// Arrays of the types that are not named live in this workspace.
    fn default_workspace<'py>(
        slf: Builder<'py>,
        name: Name<'_>,
        conf: Any<'_, 'py>,
    ) -> PyResult<Builder<'py>> {
        let conf = configuration(conf)?;
        slf.get().change(|builder| builder.default_workspace(&name, conf));
        Ok(slf)
    }

    /// Arrays of this type live in this workspace.
    fn with_<'py>(
        slf: Builder<'py>,
        t: Any<'_, 'py>,
        name: Name<'_>,
        conf: Any<'_, 'py>,
    ) -> PyResult<Builder<'py>> {
        let (t, conf) = (array_type(t)?, configuration(conf)?);
        slf.get().change(|builder| builder.with(t, &name, conf));
        Ok(slf)
    }

    /// The manager; what the builder is told later does not change it.
    fn build(&self) -> PyLayerWorkspaceMgr {
        self.core().build().into()
    }
}

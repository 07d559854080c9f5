//! An array that a manager is asked about, and its copy in the place that the core decides on.

use pyo3::prelude::*;

use super::super::create::refuse_references;
use super::super::error::to_pyerr;
use super::super::foreign;
use super::super::handle::{WorkspaceArray, has_references};
use super::super::moves::{plain_number, plain_view};
use super::super::naming::Call;
use super::super::npy::Ndarray;
use super::super::place::{copy_as, copy_into};
use super::{Any, Object};
use crate::layer_manager::Located;
use crate::{Buffer, Destination, Error, registry};

/// An array argument: leased if it is in a workspace and valid.
pub(super) struct Source<'py> {
    object: Bound<'py, PyAny>,
    pub(super) view: Ndarray<'py>,
    memory: Option<Result<Buffer, Error>>,
    method: &'static str,
}

impl<'py> Source<'py> {
    /// The array that a method of this name was given.
    pub(super) fn new(object: Any<'_, 'py>, method: &'static str) -> PyResult<Self> {
        let object = object.clone();
        let Ok(ours) = object.cast::<WorkspaceArray>() else {
            let view = plain_view(&object)?;
            return Ok(Self { object, view, memory: None, method });
        };
        let py = object.py();
        let (view, memory) = match ours.get().lend(py)? {
            Ok((view, buffer)) => (view, Ok(buffer)),
            Err(error) => (ours.get().template(py)?.clone(), Err(error)),
        };
        Ok(Self { view, memory: Some(memory), object, method })
    }

    pub(super) fn located(&self) -> Located<'_> {
        match &self.memory {
            None => Located::Detached,
            Some(Ok(buffer)) => Located::In(buffer),
            Some(Err(error)) => Located::Stale(error.clone()),
        }
    }

    /// The exception, with the facts of this array in it.
    pub(super) fn refused(&self, error: Error) -> PyErr {
        let shape: Vec<usize> = self.view.shape().iter().map(|n| n.unsigned_abs()).collect();
        match self.view.dtype() {
            Ok(dtype) => to_pyerr(error.of_array(&shape, &dtype.to_string())),
            Err(failed) => failed,
        }
    }

    /// Follows the core's decision about where a copy goes.
    pub(super) fn carried(&self, to: &Destination, order: Option<&str>) -> Object<'py> {
        if *to == Destination::Itself {
            return Ok(self.object.clone());
        }
        let is_same_order = matches!(order, None | Some("K" | "k"));
        if let (Destination::Workspace(workspace), true) = (to, is_same_order) {
            refuse_references(&self.view.dtype()?)?;
            return Ok(copy_into(workspace, &self.view, &Call::Method(self.method))?.into_any());
        }
        let order = (order.unwrap_or("K"),);
        let _plain = (*to == Destination::Detached).then(registry::plain_results);
        self.settled(to, foreign::call_method(self.view.object(), "copy", order, None)?)
    }

    /// The same with another element type.
    pub(super) fn converted(&self, to: &Destination, dtype: Any<'_, 'py>) -> Object<'py> {
        if *to == Destination::Itself {
            return Ok(self.object.clone());
        }
        let number = plain_number(dtype)?;
        if let (Destination::Workspace(workspace), Some(number)) = (to, number) {
            if !has_references(&self.view.dtype()?)? {
                return Ok(copy_as(
                    workspace,
                    &self.view,
                    (&number, "unsafe"),
                    &Call::Method(self.method),
                )?
                .into_any());
            }
        }
        let _plain = (*to == Destination::Detached).then(registry::plain_results);
        self.settled(to, foreign::call_method(self.view.object(), "astype", (dtype,), None)?)
    }

    /// A fresh plain array, in its place.
    fn settled(&self, to: &Destination, fresh: Bound<'py, PyAny>) -> Object<'py> {
        match (to, Ndarray::exact(&fresh)?) {
            (Destination::Workspace(workspace), Some(array)) => {
                refuse_references(&array.dtype()?)?;
                Ok(copy_into(workspace, &array, &Call::Method(self.method))?.into_any())
            }
            _ => Ok(fresh),
        }
    }
}

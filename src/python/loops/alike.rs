//! Two arrays of ours that are alike: one dtype, one shape, one order. The commonest case, without detours.
//!
//! Invariants
//! 1. Both arrays are *at hand* when they are looked at, and no other code runs until the loop is done: their
//!    addresses, dtype and lengths are those of living arrays, aligned and without gaps.
//! 2. What is written is new memory.

#![allow(unsafe_code)]

use pyo3::prelude::*;

use super::elementwise::{finish, number_of};
use super::job::LONG;
use super::{Loops, NOTHING, Strand};
use crate::python::fast;
use crate::python::handle::WorkspaceArray;
use crate::python::npy::{self, ALIGNED, C_CONTIGUOUS, F_CONTIGUOUS, Ndarray};

/// The ufunc on both, into new memory of the current workspace; `None`: they are not alike, or not short.
#[inline]
pub fn call<'py>(
    loops: &Loops,
    left: &Bound<'py, PyAny>,
    right: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = left.py();
    let (Ok(one), Ok(other)) =
        (left.cast_exact::<WorkspaceArray>(), right.cast_exact::<WorkspaceArray>())
    else {
        return Ok(None);
    };
    let Some(workspace) = fast::current() else { return Ok(None) };
    let here = workspace.owner();
    if !(one.get().is_at_hand_of(here) && other.get().is_at_hand_of(here)) {
        return Ok(None);
    }
    let (one, other) = (one.get().template(py)?, other.get().template(py)?);
    let (item, orders) = (one.item(), orders(one, other));
    let Some((entry, produced)) = loops.find(item.type_num).filter(|_| orders != 0) else {
        return Ok(None);
    };
    let (Some(number), Some(axes)) = (number_of(py, item.type_num)?, one.few_axes()) else {
        return Ok(None);
    };
    let count = one.size();
    if !one.has_dtype(number) || count > LONG || axes.shape().is_empty() {
        return Ok(None);
    }
    let (number, size) = if produced == item.type_num {
        (number, item.size)
    } else {
        let Some(number) = number_of(py, produced)? else { return Ok(None) };
        (number, npy::item(number)?.size)
    };
    let Some(bytes) = fast::bytes(axes.shape(), size) else { return Ok(None) };
    let layout = (false, orders & C_CONTIGUOUS == 0);
    let made = fast::array(workspace, (number.clone(), size), axes.shape(), bytes, layout)?;
    let Some(result) = made else { return Ok(None) };
    let mut strands = [NOTHING; 3];
    for (strand, array) in strands.iter_mut().zip([one, other]) {
        *strand = Strand { address: array.data(), step: item.size };
    }
    strands[2] = Strand { address: result.get().template(py)?.data(), step: size };
    // SAFETY: invariants 1 and 2.
    let flags = unsafe { loops.run(entry, &strands, count) };
    finish(loops, &[left, right], result, flags).map(Some)
}

/// The orders that both have, packed and aligned, if they are alike; else none.
#[inline]
fn orders(one: &Ndarray<'_>, other: &Ndarray<'_>) -> std::ffi::c_int {
    let flags = one.flags() & other.flags();
    let is_alike = flags & ALIGNED != 0 && one.has_dtype_of(other) && one.has_shape_of(other);
    if is_alike { flags & (C_CONTIGUOUS | F_CONTIGUOUS) } else { 0 }
}

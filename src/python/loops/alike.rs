//! One array of ours, or two that are alike: one dtype, one shape, one order. The commonest cases, without detours.
//!
//! Invariants
//! 1. The arrays are *at hand* when they are looked at, and no other code runs until the loop is done: their
//!    addresses, dtype and lengths are those of living arrays, aligned and without gaps.
//! 2. What is written is new memory.

#![allow(unsafe_code)]

use std::ptr;

use pyo3::prelude::*;

use super::elementwise::finish;
use super::job::LONG;
use super::{Loops, NOTHING, Strand};
use crate::python::fast;
use crate::python::form::Form;
use crate::python::handle::WorkspaceArray;
use crate::python::npy::{ALIGNED, C_CONTIGUOUS, F_CONTIGUOUS};
use crate::python::numbers::Number;

/// The ufunc on all of them, one or two, into new memory of the current workspace; `None`: they are not alike,
/// or not short.
#[inline]
pub fn call<'py, const N: usize>(
    loops: &Loops,
    inputs: [&Bound<'py, PyAny>; N],
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = inputs[0].py();
    if !inputs.iter().all(|input| input.is_exact_instance_of::<WorkspaceArray>()) {
        return Ok(None);
    }
    // SAFETY: as was just seen.
    let arrays = inputs.map(|input| unsafe { input.cast_unchecked::<WorkspaceArray>() }.get());
    let forms = arrays.map(WorkspaceArray::form);
    let (item, orders, shape) = (forms[0].item(), orders(&forms), forms[0].shape());
    let Some((entry, produced)) = loops.find(item.type_num).filter(|_| orders != 0) else {
        return Ok(None);
    };
    let Some(number) = Number::of(py, item.type_num)? else { return Ok(None) };
    let count = forms[0].size();
    if !forms[0].has_dtype(number.dtype(py)) || count > LONG || shape.is_empty() {
        return Ok(None);
    }
    let Some(number) = Number::of(py, produced)? else { return Ok(None) };
    let Some(bytes) = fast::bytes(shape, number.item.size) else { return Ok(None) };
    let piece = fast::piece_here(bytes, |workspace| {
        let here = workspace.owner();
        arrays.iter().all(|array| array.is_at_hand_of(here))
    });
    let Some(piece) = piece else { return Ok(None) };
    let mut strands = [NOTHING; 3];
    for (strand, form) in strands.iter_mut().zip(forms) {
        *strand = Strand { address: form.data(), step: item.size };
    }
    let address = ptr::with_exposed_provenance_mut(piece.address());
    strands[N] = Strand { address, step: number.item.size };
    let result = WorkspaceArray::packed(py, piece, number, shape, orders & C_CONTIGUOUS == 0)?;
    // SAFETY: invariants 1 and 2.
    let flags = unsafe { loops.run(entry, &strands, count) };
    finish(loops, &inputs, result, flags).map(Some)
}

/// The orders that all have, packed and aligned, if they are alike; else none.
#[inline]
fn orders(forms: &[&Form]) -> std::ffi::c_int {
    let flags = forms.iter().fold(!0, |flags, form| flags & form.flags());
    let is_alike = |form: &&Form| form.has_dtype_of(forms[0]) && form.has_shape_of(forms[0]);
    let are_alike = flags & ALIGNED != 0 && forms.iter().skip(1).all(is_alike);
    if are_alike { flags & (C_CONTIGUOUS | F_CONTIGUOUS) } else { 0 }
}

//! NumPy's own inner loops, called on memory in place, and the floating-point flags they leave behind.
//!
//! Invariants
//! 1. The tables of a `Loops` are fields of an object whose type is exactly `numpy.ufunc`, which the
//!    module `numpy` and we keep for ever: `ntypes` functions with as many data pointers, and `ntypes`
//!    times `nargs` type numbers. They are documented and the same in every NumPy 2; functions may be
//!    replaced in place, so the function is read when it is called.
//! 2. A loop for numbers takes one address and one step per operand, and a count. It reads and writes
//!    that many elements from there on, each aligned, and nothing else. It holds on to nothing.
//! 3. Operands of a `Call` are alive and of the loop's dtype, and have `count` elements at `step`s (or
//!    one, at step 0) from their address on, in memory that nobody gives to others meanwhile:
//!    `elementwise`, which makes it, sees to that.
//! 4. The table of NumPy's ufuncs has `PyUFunc_GiveFloatingpointErrors` at its place since NumPy 2.0.

#![allow(unsafe_code)]

mod alike;
pub mod elementwise;
pub mod filling;
pub mod folding;
mod job;
pub mod matmul;
pub mod overlapping;
pub mod picking;
pub mod rows;
mod scalar;
pub mod turning;

use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCapsule, PyCapsuleMethods, PyDict};

use super::npy::{numpy, ufunc_class};
use super::numbers::Number;

type Function = unsafe extern "C" fn(*mut *mut u8, *const isize, *const isize, *mut c_void);

/// The beginning of `PyUFuncObject` of NumPy's headers.
#[repr(C)]
struct UfuncFields {
    head: ffi::PyObject,
    nin: c_int,
    nout: c_int,
    nargs: c_int,
    identity: c_int,
    functions: *const Option<Function>,
    data: *const *mut c_void,
    ntypes: c_int,
    reserved: c_int,
    name: *const c_char,
    types: *const i8,
    doc: *const c_char,
    memory: *mut c_void,
    object: *mut ffi::PyObject,
    user_loops: *mut ffi::PyObject,
    core_enabled: c_int,
}

/// Type numbers of numbers are smaller.
const TYPES: usize = 24;

/// The loops of one ufunc for operands that all have one dtype.
pub struct Loops {
    ufunc: Py<PyAny>,
    nin: usize,
    /// By type number of the inputs: which entry of the table, and the type number of the result.
    by_type: [Option<(usize, c_int)>; TYPES],
    takes_rows: bool,
    /// By entry of the table: it computes in vector registers alone, of which the flags are cheap to read.
    in_vectors: u64,
    /// By entry of the table: an element takes a nanosecond or so.
    quick: u64,
}

/// Arithmetic of which nothing is left to the C library, which raises flags elsewhere, too.
const IN_VECTORS: [&str; 4] = ["add", "subtract", "multiply", "divide"];
/// The type numbers of single and double precision.
const PLAIN_FLOATS: [i8; 2] = [11, 12];

/// What takes an instruction or two for each number of up to eight bytes.
const QUICK: [&str; 22] = [
    "add",
    "subtract",
    "multiply",
    "divide",
    "maximum",
    "minimum",
    "negative",
    "absolute",
    "square",
    "sqrt",
    "greater",
    "greater_equal",
    "less",
    "less_equal",
    "equal",
    "not_equal",
    "logical_and",
    "logical_or",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "invert",
];

/// Ufuncs of whose loops the tail tells the two zeros apart otherwise than the rest: what they give depends
/// on how many elements they are given at once, and NumPy may gather rows before it calls them.
const NOT_ROW_BY_ROW: [&str; 2] = ["fmax", "fmin"];

/// Finds, at import, what is found once: nobody waits for another thread between the look at an operand
/// and its use.
pub fn prepare(py: Python<'_>) -> PyResult<()> {
    Loops::of_matmul(py)?;
    Loops::of(&py.None().into_bound(py))?;
    scalar::prepare(py)?;
    rows::prepare(py)?;
    Number::of(py, 0).map(drop)
}

/// One operand: where it begins, and how far it is from element to element.
#[derive(Clone, Copy, Debug)]
pub struct Strand {
    pub address: *mut u8,
    pub step: isize,
}

/// Three of them at most.
pub type Strands = [Strand; 3];

/// No operand.
pub const NOTHING: Strand = Strand { address: ptr::null_mut(), step: 0 };

impl Loops {
    /// The loops of a ufunc of NumPy's that has one result and no core dimensions.
    pub fn of<'a>(ufunc: &Bound<'_, PyAny>) -> PyResult<Option<&'a Self>> {
        static KNOWN: PyOnceLock<Vec<Loops>> = PyOnceLock::new();
        static LAST: AtomicUsize = AtomicUsize::new(0);
        let known = KNOWN.get_or_try_init(ufunc.py(), || read_all(ufunc.py()))?;
        let address = ufunc.as_ptr().addr();
        let is_it = |loops: &&Self| loops.ufunc.as_ptr().addr() == address;
        if let Some(last) = known.get(LAST.load(Ordering::Relaxed)).filter(is_it) {
            return Ok(Some(last));
        }
        let found = known.binary_search_by_key(&address, |loops| loops.ufunc.as_ptr().addr());
        Ok(found.ok().map(|index| {
            LAST.store(index, Ordering::Relaxed);
            &known[index]
        }))
    }

    /// The loops of `matmul`.
    pub fn of_matmul<'a>(py: Python<'_>) -> PyResult<Option<&'a Self>> {
        static MATMUL: PyOnceLock<Option<Loops>> = PyOnceLock::new();
        let found = MATMUL.get_or_try_init(py, || {
            let ufunc = numpy(py)?.getattr("matmul")?;
            let is_known = Flags::CAN_BE_READ && ufunc.get_type().is(ufunc_class(py)?);
            Ok::<_, PyErr>(if is_known { Loops::read(&ufunc, true) } else { None })
        })?;
        Ok(found.as_ref())
    }

    /// The ufunc itself.
    pub fn ufunc<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.ufunc.bind(py)
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.nin
    }

    /// Whether it may be called row by row.
    pub fn takes_rows(&self) -> bool {
        self.takes_rows
    }

    /// The loop for inputs of that type, and the type of its results.
    #[inline]
    pub fn find(&self, type_num: c_int) -> Option<(usize, c_int)> {
        *self.by_type.get(usize::try_from(type_num).ok()?)?
    }

    fn read(ufunc: &Bound<'_, PyAny>, of_matrices: bool) -> Option<Self> {
        // SAFETY: invariant 1: the caller has seen to the type.
        let fields = unsafe { &*ufunc.as_ptr().cast::<UfuncFields>() };
        let count = |n: c_int| usize::try_from(n).unwrap_or(0);
        let (nin, nargs, ntypes) = (count(fields.nin), count(fields.nargs), count(fields.ntypes));
        let has_core = fields.core_enabled != 0;
        let is_simple = fields.nout == 1 && matches!(nin, 1 | 2);
        if !is_simple
            || has_core != of_matrices
            || fields.types.is_null()
            || fields.functions.is_null()
            || ntypes == 0
        {
            return None;
        }
        // SAFETY: invariant 1.
        let types = unsafe { std::slice::from_raw_parts(fields.types, ntypes * nargs) };
        let mut by_type = [None; TYPES];
        for (entry, types) in types.chunks_exact(nargs).enumerate() {
            let (inputs, result) = (&types[..nin], c_int::from(types[nin]));
            let Some(first) = usize::try_from(inputs[0]).ok().filter(|&t| t < TYPES) else {
                continue;
            };
            let is_one = inputs.iter().all(|t| *t == inputs[0]);
            let is_result = usize::try_from(result).is_ok_and(|t| t < TYPES);
            if is_one && is_result && by_type[first].is_none() {
                by_type[first] = Some((entry, result));
            }
        }
        let name: String = ufunc.getattr("__name__").and_then(|name| name.extract()).ok()?;
        let takes_rows = !NOT_ROW_BY_ROW.contains(&name.as_str());
        let is_arithmetic = IN_VECTORS.contains(&name.as_str());
        let is_plain =
            |types: &[i8]| types.iter().all(|t| *t == types[0]) && PLAIN_FLOATS.contains(&types[0]);
        let entries = |is_it: &dyn Fn(&[i8]) -> bool| {
            let all = types.chunks_exact(nargs).take(64).enumerate();
            all.filter(|(_, types)| is_it(types)).fold(0, |all, (entry, _)| all | 1 << entry)
        };
        let in_vectors = entries(&|types| is_arithmetic && is_plain(types));
        let is_quick = QUICK.contains(&name.as_str());
        let quick = entries(&|types| is_quick && types.iter().all(|t| *t <= PLAIN_FLOATS[1]));
        let ufunc = ufunc.clone().unbind();
        Some(Self { ufunc, nin, by_type, takes_rows, in_vectors, quick })
    }

    #[inline]
    fn is_quick(&self, entry: usize) -> bool {
        self.quick.checked_shr(u32::try_from(entry).unwrap_or(u32::MAX)).unwrap_or(0) & 1 == 1
    }

    /// The function of an entry of the table, and its data.
    #[inline]
    fn entry(&self, entry: usize) -> Option<(Function, *mut c_void)> {
        // SAFETY: invariant 1.
        let fields = unsafe { &*self.ufunc.as_ptr().cast::<UfuncFields>() };
        // SAFETY: invariant 1: `entry` was found in the table.
        let function = unsafe { fields.functions.wrapping_add(entry).read() };
        // SAFETY: as above.
        let data = unsafe { fields.data.wrapping_add(entry).read() };
        function.map(|function| (function, data))
    }

    /// Computes `count` elements; the flags it raised.
    ///
    /// # Safety
    /// Invariant 3, for the dtype that found `entry`.
    #[inline(always)]
    pub unsafe fn run(&self, entry: usize, strands: &Strands, count: isize) -> Flags {
        let Some((function, data)) = self.entry(entry) else { return Flags::IMPOSSIBLE };
        let mut addresses = strands.map(|strand| strand.address);
        let steps = strands.map(|strand| strand.step);
        let unit = if self.in_vectors >> entry & 1 == 1 { Unit::Vectors } else { Unit::All };
        unit.clear();
        // SAFETY: invariants 2 and 3.
        unsafe { function(addresses.as_mut_ptr(), &raw const count, steps.as_ptr(), data) };
        unit.flags()
    }
}

impl Loops {
    /// The same of a loop with core dimensions.
    ///
    /// # Safety
    /// Invariant 3, for the dtype that found `entry`, with lengths and steps of the loop's signature.
    pub unsafe fn run_core(
        &self,
        entry: usize,
        strands: &Strands,
        lengths: &[isize; 4],
        steps: &[isize; 9],
    ) -> Flags {
        let Some((function, data)) = self.entry(entry) else { return Flags::IMPOSSIBLE };
        let mut addresses = strands.map(|strand| strand.address);
        Flags::clear();
        // SAFETY: invariants 2 and 3.
        unsafe { function(addresses.as_mut_ptr(), lengths.as_ptr(), steps.as_ptr(), data) };
        Flags::read()
    }
}

/// Those of all ufuncs of the module `numpy`, by address.
fn read_all(py: Python<'_>) -> PyResult<Vec<Loops>> {
    let mut known = Vec::new();
    if !Flags::CAN_BE_READ {
        return Ok(known);
    }
    let class = ufunc_class(py)?;
    for (_, value) in numpy(py)?.getattr("__dict__")?.cast_into::<PyDict>()?.iter() {
        if value.get_type().is(class) {
            known.extend(Loops::read(&value, false));
        }
    }
    known.sort_by_key(|loops| loops.ufunc.as_ptr().addr());
    known.dedup_by_key(|loops| loops.ufunc.as_ptr().addr());
    Ok(known)
}

/// Which registers tell what happened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    All,
    /// Those of vectors alone; all others may have raised something earlier.
    Vectors,
}

impl Unit {
    #[inline]
    fn clear(self) {
        if !(self == Self::Vectors && Flags::of_vectors() == Some(Flags::NONE)) {
            Flags::clear();
        }
    }

    #[inline]
    fn flags(self) -> Flags {
        match self {
            Self::Vectors => Flags::of_vectors().unwrap_or_else(Flags::read),
            Self::All => Flags::read(),
        }
    }
}

/// Floating-point errors that happened since they were cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(c_int);

/// C's `FE_UNDERFLOW`; where flags cannot be read, none is it.
const UNDERFLOW: c_int = if cfg!(target_arch = "aarch64") { 0x08 } else { 0x10 };

#[cfg(all(unix, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod fenv {
    use std::ffi::c_int;

    // Invalid, divide by zero, overflow, underflow: the four that NumPy asks for.
    #[cfg(target_arch = "x86_64")]
    pub(super) const ERRORS: c_int = 0x01 | 0x04 | 0x08 | 0x10;
    #[cfg(target_arch = "aarch64")]
    pub(super) const ERRORS: c_int = 0x01 | 0x02 | 0x04 | 0x08;

    /// The same four, and NumPy's bits for them.
    #[cfg(target_arch = "x86_64")]
    pub(super) const NUMPYS: [(c_int, c_int); 4] = [(0x01, 8), (0x04, 1), (0x08, 2), (0x10, 4)];
    #[cfg(target_arch = "aarch64")]
    pub(super) const NUMPYS: [(c_int, c_int); 4] = [(0x01, 8), (0x02, 1), (0x04, 2), (0x08, 4)];

    unsafe extern "C" {
        #[cfg(target_arch = "aarch64")]
        pub(super) safe fn fetestexcept(excepts: c_int) -> c_int;
        pub(super) safe fn feclearexcept(excepts: c_int) -> c_int;
    }
}

/// NumPy's function that warns, raises or calls back as the user has it, and where its table has it.
type GiveErrors = unsafe extern "C" fn(*const c_char, c_int) -> c_int;
const GIVE_ERRORS: usize = 46;

fn give_errors(py: Python<'_>) -> PyResult<GiveErrors> {
    static FOUND: PyOnceLock<GiveErrors> = PyOnceLock::new();
    let found = FOUND.get_or_try_init(py, || {
        let attribute = py.import("numpy._core._multiarray_umath")?.getattr("_UFUNC_API")?;
        let table = attribute.cast_into::<PyCapsule>()?.pointer_checked(None)?;
        let entry = table.cast::<GiveErrors>().as_ptr().wrapping_add(GIVE_ERRORS);
        // SAFETY: invariant 4.
        Ok::<_, PyErr>(unsafe { entry.read() })
    })?;
    Ok(*found)
}

#[cfg(not(all(unix, any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod fenv {
    use std::ffi::c_int;

    pub(super) const NUMPYS: [(c_int, c_int); 0] = [];
}

impl Flags {
    /// Tells NumPy what happened in the ufunc of that name.
    #[inline]
    pub fn report(self, py: Python<'_>, ufunc: &str) -> PyResult<()> {
        if self == Self::NONE { Ok(()) } else { self.give(py, ufunc) }
    }

    #[cold]
    fn give(self, py: Python<'_>, ufunc: &str) -> PyResult<()> {
        let name = CString::new(ufunc)?;
        let bits = fenv::NUMPYS.iter().filter(|(bit, _)| self.0 & bit != 0);
        let bits = bits.fold(0, |all, (_, numpys)| all | numpys);
        let give = give_errors(py)?;
        // SAFETY: invariant 4: a name that ends in NUL, and bits of NumPy's.
        let result = unsafe { give(name.as_ptr(), bits) };
        if result < 0 { Err(PyErr::fetch(py)) } else { Ok(()) }
    }

    /// Those of the vector registers, where they have a register of their own.
    #[cfg(all(unix, target_arch = "x86_64"))]
    #[inline]
    fn of_vectors() -> Option<Self> {
        let mut register = 0_u32;
        // SAFETY: writes the four bytes of the register, and nothing else.
        unsafe {
            std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut register, options(nostack, preserves_flags));
        }
        c_int::try_from(register).ok().map(|register| Self(register & fenv::ERRORS))
    }

    #[cfg(not(all(unix, target_arch = "x86_64")))]
    fn of_vectors() -> Option<Self> {
        None
    }

    /// None.
    pub const NONE: Self = Self(0);
    /// The loop could not be called: as if every error had happened.
    const IMPOSSIBLE: Self = Self(-1);

    #[cfg(all(unix, any(target_arch = "x86_64", target_arch = "aarch64")))]
    const CAN_BE_READ: bool = true;
    #[cfg(not(all(unix, any(target_arch = "x86_64", target_arch = "aarch64"))))]
    const CAN_BE_READ: bool = false;

    /// Whether there was nothing but an underflow.
    #[inline]
    pub fn is_underflow(self) -> bool {
        self.0 == UNDERFLOW
    }

    /// Those that work raises.
    fn during(work: impl FnOnce()) -> Self {
        Self::clear();
        work();
        Self::read()
    }

    /// Those of both.
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[cfg(all(unix, any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn clear() {
        if Self::read() != Self::NONE {
            fenv::feclearexcept(fenv::ERRORS);
        }
    }

    /// Those of the vectors, and of the other unit, in which C libraries raise some.
    #[cfg(all(unix, target_arch = "x86_64"))]
    #[inline]
    fn read() -> Self {
        let status: u16;
        // SAFETY: reads a register, and touches no memory.
        unsafe {
            std::arch::asm!("fnstsw ax", out("ax") status, options(nomem, nostack, preserves_flags));
        }
        let other = Self(c_int::from(status) & fenv::ERRORS);
        Self::of_vectors().map_or(other, |vectors| vectors.or(other))
    }

    #[cfg(all(unix, target_arch = "aarch64"))]
    fn read() -> Self {
        Self(fenv::fetestexcept(fenv::ERRORS))
    }

    #[cfg(not(all(unix, any(target_arch = "x86_64", target_arch = "aarch64"))))]
    fn clear() {}

    #[cfg(not(all(unix, any(target_arch = "x86_64", target_arch = "aarch64"))))]
    fn read() -> Self {
        Self::IMPOSSIBLE
    }
}

//! The arrays of a Rust user, in their places. A plain array is a vector of values.

use super::{ArrayType, LayerWorkspaceMgr, Located};
use crate::array::{Array, Destination, Moved};
use crate::error::{Error, Result};
use crate::layout::{Element, byte_size};

/// Elements that can be converted to `U`, as by `as`: a float becomes the nearest integer towards zero.
pub trait Cast<U>: Element {
    /// The element as a `U`.
    fn cast(self) -> U;
}

macro_rules! cast {
    ($from:ty => $($to:ty)*) => {$(
        #[allow(clippy::unnecessary_cast, clippy::cast_lossless, clippy::cast_precision_loss)]
        #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]
        impl Cast<$to> for $from {
            fn cast(self) -> $to {
                self as $to
            }
        }
    )*};
}

macro_rules! casts {
    ($($from:ty)*) => {$(
        cast!($from => u8 i8 u16 i16 u32 i32 u64 i64 f32 f64);
    )*};
}

casts!(u8 i8 u16 i16 u32 i32 u64 i64 f32 f64);

impl<T> From<Array> for Moved<T> {
    fn from(array: Array) -> Self {
        Self::Attached(array)
    }
}

impl<T> From<Vec<T>> for Moved<T> {
    fn from(values: Vec<T>) -> Self {
        Self::Detached(values)
    }
}

impl<T: Element> Moved<T> {
    fn located(&self) -> Located<'_> {
        match self {
            Self::Attached(array) => Located::of(array.buffer()),
            Self::Detached(_) => Located::Detached,
        }
    }

    fn is_of<U: Element>(&self) -> bool {
        match self {
            Self::Attached(array) => array.dtype() == U::DTYPE,
            Self::Detached(_) => T::DTYPE == U::DTYPE,
        }
    }

    /// Follows the decision about where a copy goes.
    fn carried(&self, to: Destination) -> Result<Self> {
        match (self, to) {
            (_, Destination::Itself) | (Self::Detached(_), Destination::Detached) => {
                Ok(self.clone())
            }
            (Self::Attached(array), to) => array.carry(to),
            (Self::Detached(values), Destination::Workspace(workspace)) => {
                workspace.array(values).map(Self::Attached)
            }
        }
    }

    /// The same with other elements.
    fn converted<U: Element>(&self, to: &Destination) -> Result<Moved<U>>
    where
        T: Cast<U>,
    {
        match self {
            Self::Attached(array) => array.read(|from| convert::<T, U>(from, array.shape(), to))?,
            Self::Detached(values) => convert(values, &[values.len()], to),
        }
    }

    /// The error, with the facts of this array in it.
    fn named(&self, error: Error) -> Error {
        match self {
            Self::Attached(array) => error.of_array(array.shape(), array.dtype().name()),
            Self::Detached(values) => error.of_array(&[values.len()], T::DTYPE.name()),
        }
    }
}

fn convert<T: Cast<U>, U: Element>(
    from: &[T],
    shape: &[usize],
    to: &Destination,
) -> Result<Moved<U>> {
    let values = from.iter().map(|element| element.cast());
    let Destination::Workspace(workspace) = to else {
        return Ok(Moved::Detached(values.collect()));
    };
    let array = workspace.empty::<U>(shape)?;
    array.write(|elements: &mut [U]| {
        elements.iter_mut().zip(values).for_each(|(element, value)| *element = value);
    })?;
    Ok(Moved::Attached(array))
}

impl LayerWorkspaceMgr {
    /// Zeros of a type.
    pub fn create<T: Element>(&self, t: ArrayType, shape: &[usize]) -> Result<Moved<T>> {
        match self.place("create", t)? {
            Destination::Workspace(workspace) => workspace.zeros::<T>(shape).map(Moved::Attached),
            _ => zeros(shape).map(Moved::Detached),
        }
    }

    /// An array of a type whose elements are whatever the memory held; plain values are zeros.
    pub fn create_uninitialized<T: Element>(
        &self,
        t: ArrayType,
        shape: &[usize],
    ) -> Result<Moved<T>> {
        match self.place("create_uninitialized", t)? {
            Destination::Workspace(workspace) => workspace.empty::<T>(shape).map(Moved::Attached),
            _ => zeros(shape).map(Moved::Detached),
        }
    }

    /// A copy, as an array of that type.
    pub fn dup<T: Element>(&self, t: ArrayType, a: &Moved<T>) -> Result<Moved<T>> {
        a.carried(self.place_dup(t, a.located()).map_err(|e| a.named(e))?)
    }

    /// The array itself if its elements are `U` and it is plain or lies where the type belongs, else a
    /// copy of that type; always a copy with `dup_if_correct_type`.
    pub fn cast_to<T: Cast<U>, U: Element>(
        &self,
        t: ArrayType,
        a: &Moved<T>,
        dup_if_correct_type: bool,
    ) -> Result<Moved<U>> {
        let to = self.place_cast(t, a.located(), a.is_of::<U>(), dup_if_correct_type);
        match (to.map_err(|e| a.named(e))?, a) {
            (Destination::Itself, Moved::Attached(array)) => Ok(Moved::Attached(array.clone())),
            (to, Moved::Attached(array)) if array.dtype() == U::DTYPE => array.carry(to),
            (to, a) => a.converted(&to),
        }
    }

    /// The array itself if it is plain or lies where the type belongs, else a copy there.
    pub fn leverage_to<T: Element>(&self, t: ArrayType, a: &Moved<T>) -> Result<Moved<T>> {
        a.carried(self.place_leveraged(t, a.located()).map_err(|e| a.named(e))?)
    }

    /// The array itself if it lies where the type belongs, else [`Error::Location`], or, with
    /// `migrate_if_invalid`, a copy in the right place. A plain array where one of a workspace is
    /// expected is wrong only with `exception_if_detached`.
    pub fn validate_array_location<T: Element>(
        &self,
        t: ArrayType,
        a: &Moved<T>,
        migrate_if_invalid: bool,
        exception_if_detached: bool,
    ) -> Result<Moved<T>> {
        let to = self.place_validated(t, a.located(), migrate_if_invalid, exception_if_detached);
        a.carried(to.map_err(|e| a.named(e))?)
    }
}

/// Plain zeros; an error where memory cannot hold them.
fn zeros<T: Element>(shape: &[usize]) -> Result<Vec<T>> {
    let refused = || Error::Shape {
        reason: format!("shape {shape:?} of {} is larger than memory", T::DTYPE.name()),
    };
    byte_size(shape, T::DTYPE.itemsize()).ok_or_else(refused)?;
    let length = shape.iter().product();
    let mut values = Vec::new();
    values.try_reserve_exact(length).map_err(|_| refused())?;
    values.resize(length, T::default());
    Ok(values)
}

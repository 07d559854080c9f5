//! Elements: the model numbers them, whatever their type.

use ndarena::{Array, Dtype, Element, Error};

/// An element type of the model: the values are numbered.
pub trait Numbered: Element + PartialEq + std::fmt::Debug {
    fn of(number: u32) -> Self;
}

macro_rules! numbered {
    ($($element:ty),+) => {$(
        impl Numbered for $element {
            #[allow(clippy::cast_possible_truncation, clippy::cast_lossless)]
            fn of(number: u32) -> Self {
                number as Self
            }
        }
    )+};
}

numbered!(u8, i16, f64);

/// Runs an expression with `$T` as the element type.
macro_rules! with_dtype {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            ndarena::Dtype::U8 => {
                type $T = u8;
                $body
            }
            ndarena::Dtype::I16 => {
                type $T = i16;
                $body
            }
            _ => {
                type $T = f64;
                $body
            }
        }
    };
}

pub(super) use with_dtype;

pub const DTYPES: [Dtype; 3] = [Dtype::U8, Dtype::I16, Dtype::F64];

pub fn write(array: &Array, numbers: &[u32]) -> Result<(), Error> {
    with_dtype!(array.dtype(), T => array.write::<T, _>(|values| {
        for (value, &n) in values.iter_mut().zip(numbers) {
            *value = T::of(n);
        }
    }))
}

pub fn are<T: Numbered>(values: &[T], numbers: &[u32]) -> bool {
    values.len() == numbers.len() && values.iter().zip(numbers).all(|(v, &n)| *v == T::of(n))
}

pub trait Bytes {
    fn bytes(self) -> Vec<u8>;
}

macro_rules! bytes {
    ($($element:ty),+) => {$(
        impl Bytes for $element {
            fn bytes(self) -> Vec<u8> {
                self.to_ne_bytes().to_vec()
            }
        }
    )+};
}

bytes!(u8, i16, f64);

pub fn number<T: Bytes + Copy>(values: &[T]) -> Vec<u8> {
    values.iter().flat_map(|&v| v.bytes()).collect()
}

pub fn encode(dtype: Dtype, numbers: &[u32]) -> Vec<u8> {
    with_dtype!(dtype, T => number(&numbers.iter().map(|&n| T::of(n)).collect::<Vec<T>>()))
}

//! The sums: bytes, alignment, growth and the text form of sizes. Nothing here touches memory.
#![forbid(unsafe_code)]

use std::fmt;

/// The smallest multiple of `align` that is at least `n`; `None` on overflow or if `align` is zero.
#[inline]
pub fn align_up(n: u64, align: u64) -> Option<u64> {
    if !align.is_power_of_two() {
        return n.checked_next_multiple_of(align);
    }
    // Without the division, which is most of what an allocation would cost.
    match n & (align - 1) {
        0 => Some(n),
        rest => n.checked_add(align - rest),
    }
}

/// Bytes of an array; `None` if they, or the product of the non-zero extents, exceed `isize::MAX`.
///
/// The zero extents are left out of the check, as in NumPy: strides are computed from the others.
pub fn byte_size(shape: &[usize], itemsize: usize) -> Option<usize> {
    let span = shape
        .iter()
        .filter(|&&extent| extent != 0)
        .try_fold(itemsize.max(1), |bytes, &extent| bytes.checked_mul(extent))
        .filter(|&bytes| isize::try_from(bytes).is_ok())?;
    let empty = itemsize == 0 || shape.contains(&0);
    Some(if empty { 0 } else { span })
}

/// `n` enlarged by the fraction `f`: `n + trunc(n * f)`, saturating.
pub fn grow(n: u64, f: f64) -> u64 {
    n.saturating_add(scale(n, f))
}

/// The ancestor's block of a ring: 1.3 times the cycle, then on to the next multiple of 8.
///
/// A multiple of 8 still gains 8: `ring_block_nd4j(800) == 1048`.
pub fn ring_block_nd4j(n: u64) -> u64 {
    let enlarged = scale(n, 1.3);
    enlarged.saturating_add(8 - enlarged % 8)
}

/// `trunc(n * f)` in double arithmetic, as the ancestor computes it; saturating, NaN gives 0.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounding to double, truncation and saturation are the definition"
)]
fn scale(n: u64, f: f64) -> u64 {
    (n as f64 * f) as u64
}

/// The bytes that a text such as `"10 MiB"` or `"1.5 KB"` names; `None` if it names no whole number
/// of bytes.
///
/// `B`; `KB`, `MB`, `GB`, `TB` are powers of 1000; `KiB`, `MiB`, `GiB`, `TiB` powers of 1024; in any
/// case, after an optional space. Digits may be grouped by underscores.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let end = text.rfind(|c: char| c.is_ascii_digit())? + 1;
    let (number, rest) = text.split_at(end);
    let unit = unit_bytes(rest.strip_prefix(' ').unwrap_or(rest))?;
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (digits(whole)?, digits(fraction)?),
        None => (digits(number)?, Vec::new()),
    };
    let whole = whole.iter().try_fold(0_u64, |n, &digit| n.checked_mul(10)?.checked_add(digit))?;
    whole.checked_mul(unit)?.checked_add(fraction_of(unit, &fraction)?)
}

/// The decimal fraction with these digits of `unit`, if it is a whole number: long multiplication,
/// exact for any number of digits.
fn fraction_of(unit: u64, fraction: &[u64]) -> Option<u64> {
    fraction.iter().rev().try_fold(0, |carry, &digit| {
        let product = digit * unit + carry;
        (product % 10 == 0).then_some(product / 10)
    })
}

/// The digits of a number; underscores may stand between two of them.
fn digits(text: &str) -> Option<Vec<u64>> {
    let groups = text.split('_');
    let mut digits = Vec::with_capacity(text.len());
    for group in groups {
        if group.is_empty() {
            return None;
        }
        for c in group.chars() {
            digits.push(u64::from(c.to_digit(10)?));
        }
    }
    Some(digits)
}

fn unit_bytes(unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_lowercase();
    let prefix = unit.strip_suffix('b')?;
    let (base, prefix) = match prefix.strip_suffix('i') {
        Some("") => return None,
        Some(prefix) => (1024_u64, prefix),
        None => (1000, prefix),
    };
    let power = ["", "k", "m", "g", "t"].iter().position(|&known| known == prefix)?;
    Some((0..power).fold(1, |bytes, _| bytes * base))
}

/// The element types of the Rust user's arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// One byte, 0 or 1; read and written as `u8`.
    Bool,
    /// `i8`
    I8,
    /// `i16`
    I16,
    /// `i32`
    I32,
    /// `i64`
    I64,
    /// `u8`
    U8,
    /// `u16`
    U16,
    /// `u32`
    U32,
    /// `u64`
    U64,
    /// `f32`
    F32,
    /// `f64`
    F64,
}

impl Dtype {
    /// Bytes of one element.
    pub fn itemsize(self) -> usize {
        match self {
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// NumPy's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::I8 => "int8",
            Self::I16 => "int16",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::U8 => "uint8",
            Self::U16 => "uint16",
            Self::U32 => "uint32",
            Self::U64 => "uint64",
            Self::F32 => "float32",
            Self::F64 => "float64",
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A type without invalid bit patterns, as which the elements of an array can be read and written.
pub trait Element: sealed::Sealed + Copy + Default + Send + Sync + 'static {
    /// Its element type.
    const DTYPE: Dtype;
}

macro_rules! elements {
    ($($element:ty => $dtype:ident),+ $(,)?) => {$(
        impl sealed::Sealed for $element {}
        impl Element for $element {
            const DTYPE: Dtype = Dtype::$dtype;
        }
    )+};
}

elements!(
    u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, u64 => U64, i64 => I64,
    f32 => F32, f64 => F64,
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LARGEST: usize = isize::MAX.unsigned_abs();

    #[test]
    fn alignment_rounds_up_and_leaves_multiples_alone() {
        let padded = |n| align_up(n, 16);
        assert_eq!([1, 16, 20, 40, 80, 100].map(padded), [16, 16, 32, 48, 80, 112].map(Some));
        assert_eq!(align_up(0, 64), Some(0));
        assert_eq!(align_up(u64::MAX - 63, 64), Some(u64::MAX - 63));
    }

    #[test]
    fn alignment_reports_overflow_and_zero() {
        assert_eq!(align_up(u64::MAX - 62, 64), None);
        assert_eq!(align_up(u64::MAX, 16), None);
        assert_eq!(align_up(5, 0), None);
    }

    #[test]
    fn bytes_of_an_array_are_the_product() {
        assert_eq!(byte_size(&[], 8), Some(8));
        assert_eq!(byte_size(&[3, 4, 5], 8), Some(480));
        assert_eq!(byte_size(&[LARGEST], 1), Some(LARGEST));
    }

    #[test]
    fn empty_arrays_take_no_bytes() {
        assert_eq!(byte_size(&[0], 8), Some(0));
        assert_eq!(byte_size(&[3, 0, 5], 8), Some(0));
        assert_eq!(byte_size(&[LARGEST, 0], 1), Some(0));
        assert_eq!(byte_size(&[7, 7], 0), Some(0));
    }

    #[test]
    fn arrays_beyond_the_address_space_have_no_size() {
        assert_eq!(byte_size(&[LARGEST + 1], 1), None, "more than isize::MAX");
        assert_eq!(byte_size(&[LARGEST / 8 + 1], 8), None, "more than isize::MAX");
        assert_eq!(byte_size(&[usize::MAX], 2), None, "overflow");
        assert_eq!(byte_size(&[1 << 32, 1 << 32], 8), None, "the product wraps to zero");
        assert_eq!(byte_size(&[0, usize::MAX, 2], 8), None, "strides would overflow, as in NumPy");
    }

    #[test]
    fn growth_truncates_in_double_arithmetic() {
        assert_eq!(grow(100, 0.29), 128, "100 * 0.29 is 28.999… in doubles");
        assert_eq!(grow(1008, 0.3), 1310);
        assert_eq!(grow(800, 0.0), 800);
        assert_eq!(grow(1600, 0.5), 2400);
        assert_eq!(grow(1048, 2.0), 3144);
        assert_eq!(grow(0, 5.0), 0);
    }

    #[test]
    fn growth_saturates() {
        assert_eq!(grow(u64::MAX, 0.3), u64::MAX);
        assert_eq!(grow(1, 1e300), u64::MAX);
        assert_eq!(grow(7, f64::NAN), 7);
        assert_eq!(grow(7, -1.0), 7);
    }

    #[test]
    fn ring_blocks_gain_one_to_eight_bytes() {
        let table =
            [(800, 1048), (8000, 10408), (80, 112), (80_000, 104_008), (819_200, 1_064_968)];
        for (cycle, block) in table {
            assert_eq!(ring_block_nd4j(cycle), block, "cycle of {cycle}");
        }
        assert_eq!(ring_block_nd4j(u64::MAX), u64::MAX);
    }

    proptest! {
        #[test]
        fn bytes_agree_with_wide_arithmetic(
            shape in proptest::collection::vec(1_usize..1 << 20, 0..5), itemsize in 1_usize..32,
        ) {
            let product = shape.iter().try_fold(itemsize as u128, |n, &d| n.checked_mul(d as u128));
            let wanted = product.and_then(|n| usize::try_from(n).ok()).filter(|&n| n <= LARGEST);
            prop_assert_eq!(byte_size(&shape, itemsize), wanted);
        }

        #[test]
        fn aligned_sizes_are_the_smallest_multiple(n in 0_u64..1 << 62, power in 4_u32..13) {
            let align = 1 << power;
            let aligned = align_up(n, align).unwrap();
            prop_assert!(aligned % align == 0 && aligned >= n && aligned - n < align);
        }
    }
}

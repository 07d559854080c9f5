//! The text form of sizes, and the element types.

use ndarena::{Dtype, Element, parse_bytes};
use proptest::prelude::*;

#[test]
fn texts_that_are_sizes() {
    let table = [
        ("0B", 0),
        ("1 B", 1),
        ("1_000 b", 1000),
        ("007B", 7),
        ("1KB", 1000),
        ("1 kB", 1000),
        ("2 mb", 2_000_000),
        ("3GB", 3_000_000_000),
        ("4 TB", 4_000_000_000_000),
        ("1KiB", 1024),
        ("10 MiB", 10 << 20),
        ("10 mib", 10 << 20),
        ("10MIB", 10 << 20),
        ("2 GiB", 2 << 30),
        ("1 TiB", 1 << 40),
        ("1.5 KiB", 1536),
        ("0.1 KB", 100),
        ("0.001 KB", 1),
        ("0.000_001 MB", 1),
        ("2.000 B", 2),
        ("0.29 KB", 290),
        ("1_0.2_5 KiB", 10_496),
        ("0.0009765625 KiB", 1),
        ("0.0000000000009094947017729282379150390625 TiB", 1),
        ("18446744073709551615 B", u64::MAX),
        ("18446744073709551.615 KB", u64::MAX),
        ("000000000000000000000000000001 B", 1),
    ];
    for (text, bytes) in table {
        assert_eq!(parse_bytes(text), Some(bytes), "{text:?}");
    }
}

#[test]
fn texts_that_are_no_sizes() {
    let table = [
        "",
        " ",
        "B",
        "KB",
        "10",
        "1024",
        "10 ",
        " 10 B",
        "10 B ",
        "10  B",
        "10\tB",
        "10 K",
        "10 Ki",
        "10 iB",
        "10 PB",
        "10 PiB",
        "10 Bytes",
        "10 K B",
        "-1 B",
        "+1 B",
        "1e3 B",
        "0x10 B",
        "1,5 KB",
        "1.5.5 KB",
        ".5 KiB",
        "5. KiB",
        "5 .KiB",
        "_1 B",
        "1_ B",
        "1__0 B",
        "1_.5 KB",
        "1._5 KB",
        "0.5 B",
        "1.0001 KB",
        "0.1 KiB",
        "0.0001 KB",
        "1 ΚB",
        "١ B",
        "１ B",
        "NaN B",
        "inf B",
        "18446744073709551616 B",
        "18446744073709551.616 KB",
        "16777216 TiB",
        "99999999999999999999 TB",
    ];
    for text in table {
        assert_eq!(parse_bytes(text), None, "{text:?}");
    }
}

#[test]
fn element_types_have_numpys_names_and_sizes() {
    let table = [
        (Dtype::Bool, "bool", 1),
        (Dtype::I8, "int8", 1),
        (Dtype::I16, "int16", 2),
        (Dtype::I32, "int32", 4),
        (Dtype::I64, "int64", 8),
        (Dtype::U8, "uint8", 1),
        (Dtype::U16, "uint16", 2),
        (Dtype::U32, "uint32", 4),
        (Dtype::U64, "uint64", 8),
        (Dtype::F32, "float32", 4),
        (Dtype::F64, "float64", 8),
    ];
    for (dtype, name, itemsize) in table {
        assert_eq!((dtype.name(), dtype.itemsize()), (name, itemsize));
        assert_eq!(dtype.to_string(), name);
    }
}

#[test]
fn elements_are_as_large_as_their_type_says() {
    fn check<T: Element>(dtype: Dtype) {
        assert_eq!(T::DTYPE, dtype);
        assert_eq!(size_of::<T>(), dtype.itemsize());
    }
    check::<u8>(Dtype::U8);
    check::<i8>(Dtype::I8);
    check::<u16>(Dtype::U16);
    check::<i16>(Dtype::I16);
    check::<u32>(Dtype::U32);
    check::<i32>(Dtype::I32);
    check::<u64>(Dtype::U64);
    check::<i64>(Dtype::I64);
    check::<f32>(Dtype::F32);
    check::<f64>(Dtype::F64);
}

proptest! {
    #[test]
    fn any_text_is_a_size_or_none(text in "\\PC*") {
        let _ = parse_bytes(&text);
    }

    #[test]
    fn fractions_agree_with_integer_arithmetic(whole in 0_u64..1_000_000, thousandths in 0_u64..1000) {
        let written = parse_bytes(&format!("{whole}.{thousandths:03} KiB"));
        let exact = (whole * 1000 + thousandths) * 1024;
        prop_assert_eq!(written, (exact % 1000 == 0).then_some(exact / 1000));
    }
}

//! Reading and writing: who may look when, and as what.

use ndarena::{Dtype, Error, Validity};

use crate::support::{bytes, counters, cycle, fixed, workspace};

#[test]
fn many_read_or_one_writes() {
    let ws = workspace(|s| fixed(s, 4096));
    let scope = ws.notify_scope_entered().unwrap();
    let array = ws.array(&[1.0_f32, 2.0, 3.0, 4.0]).unwrap().reshape(&[2, 2]).unwrap();
    let (row, other) = (array.row(1).unwrap(), ws.zeros::<f32>(&[2]).unwrap());
    let borrowed = |result: Result<(), Error>| {
        assert!(matches!(result, Err(Error::Borrowed { .. })), "{result:?}");
    };
    array
        .read::<f32, _>(|all| {
            assert_eq!(row.read::<f32, _>(<[f32]>::to_vec).unwrap(), all[2..]);
            borrowed(row.write::<f32, _>(|_| ()));
            other.write::<f32, _>(|to| to.copy_from_slice(&all[..2])).unwrap();
        })
        .unwrap();
    let before = counters(&ws);
    row.write::<f32, _>(|part| {
        borrowed(array.read::<f32, _>(|_| ()));
        borrowed(array.write::<f32, _>(|_| ()));
        borrowed(array.buffer().lease().map(drop));
        borrowed(array.dup::<f32>().map(drop));
        part.fill(9.0);
    })
    .unwrap();
    assert_eq!(counters(&ws), before, "a refused copy has not allocated");
    assert_eq!(array.detach::<f32>().unwrap(), [1.0, 2.0, 9.0, 9.0]);
    assert_eq!(other.detach::<f32>().unwrap(), [1.0, 2.0]);
    scope.close().unwrap();
}

#[test]
fn leased_memory_is_not_lent_to_write() {
    let ws = workspace(|s| fixed(s, 4096));
    let scope = ws.notify_scope_entered().unwrap();
    let array = bytes(&ws, 10, 1);
    let lease = array.buffer().lease().unwrap();
    assert!(matches!(array.write::<u8, _>(|_| ()), Err(Error::Borrowed { .. })));
    assert_eq!(array.read::<u8, _>(<[u8]>::len).unwrap(), 10);
    drop(lease);
    array.write::<u8, _>(|v| v.fill(2)).unwrap();
    scope.close().unwrap();
}

#[test]
fn a_panic_in_a_closure_gives_the_borrow_back() {
    let ws = workspace(|s| fixed(s, 4096));
    let scope = ws.notify_scope_entered().unwrap();
    let array = bytes(&ws, 10, 1);
    let body = std::panic::AssertUnwindSafe(|| array.write::<u8, ()>(|_| panic!("in the closure")));
    std::panic::catch_unwind(body).unwrap_err();
    array.write::<u8, _>(|v| v[0] = 5).unwrap();
    drop(array);
    assert_eq!(ws.stats().current_offset, 0);
    scope.close().unwrap();
}

#[test]
fn a_closure_may_end_what_it_looks_at() {
    let ws = workspace(|s| fixed(s, 1024));
    let scope = ws.notify_scope_entered().unwrap();
    let array = bytes(&ws, 1024, 7);
    array
        .read::<u8, _>(|seen| {
            scope.close().unwrap();
            cycle(&ws, || drop(bytes(&ws, 1024, 8)));
            ws.destroy_workspace().unwrap();
            assert_eq!(seen, [7; 1024], "an operation in flight holds its block");
        })
        .unwrap();
    assert_eq!(array.validity(), Validity::Destroyed);
    assert_eq!(ws.stats().retired_size, 0);
}

#[test]
fn another_element_type_is_an_error() {
    let ws = workspace(|s| fixed(s, 4096));
    let scope = ws.notify_scope_entered().unwrap();
    let array = ws.array(&[1_i32, -2]).unwrap();
    assert_eq!(array.dtype(), Dtype::I32);
    for refused in [
        array.read::<f32, _>(|_| ()),
        array.write::<u32, _>(|_| ()),
        array.detach::<i64>().map(drop),
        array.dup::<i16>().map(drop),
        array.migrate::<u8>(true).map(drop),
    ] {
        assert!(matches!(refused, Err(Error::Dtype { found: "int32", .. })), "{refused:?}");
    }
    assert_eq!(array.detach::<i32>().unwrap(), [1, -2]);
    scope.close().unwrap();
}

#[test]
fn every_element_type_keeps_its_values() {
    let ws = workspace(|s| fixed(s, 4096));
    let scope = ws.notify_scope_entered().unwrap();
    macro_rules! extremes {
        ($($T:ty),+) => {$(
            let values = [<$T>::MIN, <$T>::MAX, <$T>::default(), <$T>::from(1_i8 > 0)];
            assert_eq!(ws.array(&values).unwrap().detach::<$T>().unwrap(), values);
        )+};
    }
    extremes!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);
    scope.close().unwrap();
}

#[test]
fn what_is_printed_while_debugging_says_whose_it_is_and_no_addresses() {
    let ws = workspace(|s| fixed(s, 4096));
    let scope = ws.notify_scope_entered().unwrap();
    let array = ws.zeros::<f32>(&[2, 3]).unwrap();
    let lease = array.buffer().lease().unwrap();
    let shown = format!("{array:?} {lease:?} {:?}", array.dup::<f32>().unwrap());
    assert!(shown.contains("Buffer([W], generation 1, 24 bytes, VALID)"), "{shown}");
    assert!(shown.contains("shape: [2, 3]"), "{shown}");
    assert!(!shown.contains(&array.buffer().address().to_string()), "{shown}");
    assert!(shown.len() < 400, "{shown}");
    drop(lease);
    scope.close().unwrap();
    assert!(format!("{array:?}").contains("LEAKED"));
}

//! Copies that change their place, views that do not, and workspaces by id.

use ndarena::{
    Array, Error, Moved, create_new_workspace, get_workspace, registry, scope_out_of_workspaces,
};

use crate::scopes::{enter, scope_error};
use crate::support::{bytes, configuration, fixed, workspace};

fn attached(moved: Moved<u8>) -> Array {
    match moved {
        Moved::Attached(array) => array,
        Moved::Detached(values) => panic!("detached: {values:?}"),
    }
}

fn detached(moved: Moved<u8>) -> Vec<u8> {
    match moved {
        Moved::Detached(values) => values,
        Moved::Attached(array) => panic!("attached: {array:?}"),
    }
}

#[test]
fn copies_go_where_they_are_sent() {
    let outer_ws = create_new_workspace(None, "OUTER").unwrap();
    let inner_ws = create_new_workspace(None, "INNER").unwrap();
    let outer = enter(&outer_ws);
    let inner = enter(&inner_ws);
    let array = bytes(&inner_ws, 5, 6);
    let levered = attached(array.leverage().unwrap());
    assert_eq!(levered.workspace(), &outer_ws);
    assert_eq!(array.leverage_to("OUTER", true).unwrap().workspace(), &outer_ws);
    assert!(array.leverage_to("INNER", true).unwrap().buffer().is(array.buffer()));
    assert!(array.leverage_to("NONE", false).unwrap().buffer().is(array.buffer()));
    let unknown = array.leverage_to("NONE", true).unwrap_err();
    assert!(matches!(unknown, Error::UnknownWorkspace { .. }), "{unknown}");
    assert!(unknown.to_string().contains("[NONE]"), "{unknown}");
    assert_eq!(detached(array.leverage_or_detach("NONE").unwrap()), [6; 5]);
    assert_eq!(attached(array.leverage_or_detach("OUTER").unwrap()).workspace(), &outer_ws);
    assert_eq!(attached(levered.dup().unwrap()).workspace(), &inner_ws);
    assert_eq!(attached(levered.migrate(false).unwrap()).workspace(), &inner_ws);
    inner.close().unwrap();
    assert_eq!(levered.detach::<u8>().unwrap(), [6; 5], "outlives the inner scope");
    assert_eq!(detached(levered.leverage().unwrap()), [6; 5], "the current one has no parent");
    let before = inner_ws.stats();
    let reason = scope_error(levered.leverage_to("INNER", true));
    assert!(reason.contains("neither open nor current"), "{reason}");
    assert_eq!(inner_ws.stats(), before);
    assert_eq!(detached(levered.leverage_or_detach("INNER").unwrap()), [6; 5]);
    let out = scope_out_of_workspaces().unwrap();
    assert_eq!(detached(levered.migrate(true).unwrap()), [6; 5]);
    assert!(attached(levered.migrate(false).unwrap()).buffer().is(levered.buffer()));
    out.close().unwrap();
    outer.close().unwrap();
    registry::destroy_all_workspaces();
}

#[test]
fn views_share_memory_and_validity() {
    let ws = workspace(|s| fixed(s, 1024));
    let scope = enter(&ws);
    let table = ws.array(&[1_i16, 2, 3, 4, 5, 6]).unwrap().reshape(&[3, 2]).unwrap();
    let row = table.row(1).unwrap();
    row.write::<i16, _>(|v| v[0] = 30).unwrap();
    assert_eq!(table.detach::<i16>().unwrap(), [1, 2, 30, 4, 5, 6]);
    assert_eq!((row.shape(), row.size()), (&[2][..], 2));
    assert_eq!(table.row(2).unwrap().row(1).unwrap().detach::<i16>().unwrap(), [6]);
    for refused in [table.row(3), table.reshape(&[4]), row.reshape(&[usize::MAX, 2])] {
        assert!(matches!(refused, Err(Error::Shape { .. })), "{refused:?}");
    }
    drop(table);
    let before = ws.stats().current_offset;
    drop(row);
    assert!(ws.stats().current_offset < before, "the last view frees the memory");
    scope.close().unwrap();
}

// ---------------------------------------------------------------------- registry

#[test]
fn an_id_names_one_workspace_of_the_thread() {
    let c = configuration(|s| s.min_size = 4096);
    let ws = get_workspace(Some(&c), "MINE").unwrap();
    assert_eq!(get_workspace(None, "MINE").unwrap(), ws);
    assert_eq!(get_workspace(Some(&c), "MINE").unwrap(), ws);
    let other = configuration(|s| s.min_size = 8192);
    let refused = get_workspace(Some(&other), "MINE").unwrap_err();
    assert!(matches!(&refused, Error::Configuration { field, .. } if field == "min_size"));
    let scope = enter(&ws);
    scope_error(create_new_workspace(None, "MINE"));
    scope.close().unwrap();
    let next = create_new_workspace(None, "MINE").unwrap();
    assert!(ws.is_destroyed() && next != ws);
    registry::destroy_workspace(&next).unwrap();
    assert_eq!(registry::find("MINE"), None);
    assert!(!registry::workspace_ids().contains(&"MINE".to_owned()));
}

#[test]
fn the_asserts_of_the_registry() {
    let ws = create_new_workspace(None, "ASSERTED").unwrap();
    registry::assert_no_workspaces_open("m", false).unwrap();
    scope_error(registry::assert_open_and_active("ASSERTED", "m"));
    scope_error(registry::assert_open_and_active("UNKNOWN", "m"));
    let scope = enter(&ws);
    registry::assert_open_active_and_current("ASSERTED", "m").unwrap();
    let reason = scope_error(registry::assert_no_workspaces_open("m", true));
    assert!(reason.contains("m: workspaces are open: [ASSERTED]"), "{reason}");
    let out = scope_out_of_workspaces().unwrap();
    registry::assert_open_and_active("ASSERTED", "m").unwrap();
    scope_error(registry::assert_open_active_and_current("ASSERTED", "m"));
    scope_error(registry::assert_no_workspaces_open("m", false));
    registry::assert_no_workspaces_open("m", true).unwrap();
    out.close().unwrap();
    scope.close().unwrap();
    registry::destroy_all_workspaces();
    assert!(ws.is_destroyed());
}

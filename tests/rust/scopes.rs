//! Scopes: how they nest and close, what is current, and what refuses.

use ndarena::{
    Error, EscapePolicy, Moved, Scope, Validity, Workspace, WorkspaceConfiguration,
    current_workspace, registry, scope_out_of_workspaces, set_current_workspace,
};

use crate::support::{bytes, bytes_of, cycle, ring, workspace};

fn named(id: &str) -> Workspace {
    Workspace::new(WorkspaceConfiguration::default(), id).unwrap()
}

pub fn enter(ws: &Workspace) -> Scope {
    ws.notify_scope_entered().unwrap()
}

/// The reason of a `ScopeError`.
#[track_caller]
pub fn scope_error<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Scope { reason, .. }) => reason,
        other => panic!("not a scope error: {other:?}"),
    }
}

#[track_caller]
fn destroyed<T: std::fmt::Debug>(result: Result<T, Error>) {
    match result {
        Err(Error::DestroyedWorkspace { .. }) => {}
        other => panic!("not refused: {other:?}"),
    }
}

// ---------------------------------------------------------------------- enter, close, order

#[test]
fn a_scope_is_a_cycle_and_restores_what_was_current() {
    let (a, b) = (named("A"), named("B"));
    assert_eq!((a.generation_id(), a.is_scope_active()), (0, false));
    let outer = enter(&a);
    assert_eq!((a.generation_id(), a.is_scope_active()), (1, true));
    let inner = enter(&b);
    assert_eq!(current_workspace().as_ref(), Some(&b));
    assert_eq!(b.parent_workspace(), Some(a.clone()));
    inner.close().unwrap();
    assert_eq!(current_workspace().as_ref(), Some(&a));
    outer.close().unwrap();
    assert_eq!(current_workspace(), None);
    assert_eq!((a.stats().cycles_count, b.stats().cycles_count), (1, 1));
    assert_eq!(a.parent_workspace(), None);
}

#[test]
fn close_is_idempotent_per_scope() {
    let ws = named("A");
    let (outer, inner) = (enter(&ws), enter(&ws));
    inner.close().unwrap();
    inner.close().unwrap();
    assert!(ws.is_scope_active(), "the second close did not close the outer scope");
    drop(inner);
    assert!(ws.is_scope_active());
    outer.close().unwrap();
    assert_eq!(ws.stats().cycles_count, 1);
}

#[test]
fn closing_out_of_order_is_refused_and_changes_nothing() {
    let (a, b) = (named("A"), named("B"));
    let outer = enter(&a);
    let inner = enter(&b);
    let before = (a.stats(), b.stats());
    for refused in [outer.close(), a.notify_scope_left()] {
        let reason = scope_error(refused);
        assert!(reason.contains("[A]") && reason.contains("[B]"), "{reason}");
    }
    assert_eq!((a.stats(), b.stats()), before);
    assert_eq!(current_workspace().as_ref(), Some(&b));
    inner.close().unwrap();
    outer.close().unwrap();
}

#[test]
fn a_dropped_scope_closes_those_inside_innermost_first() {
    let spaces: Vec<Workspace> = ["A", "B", "C"].map(named).into();
    let outer = enter(&spaces[0]);
    let middle = enter(&spaces[1]);
    let out = scope_out_of_workspaces().unwrap();
    let inner = enter(&spaces[2]);
    let array = inner.workspace().unwrap().zeros::<u8>(&[1]).unwrap();
    drop(outer);
    assert!(spaces.iter().all(|ws| !ws.is_scope_active() && ws.stats().cycles_count == 1));
    assert_eq!(array.validity(), Validity::Leaked);
    assert_eq!((current_workspace(), registry::scope_depth()), (None, 0));
    for late in [&inner, &out, &middle] {
        late.close().expect("a later close is a no-op");
    }
    assert_eq!(spaces[2].stats().cycles_count, 1);
}

#[test]
fn an_exit_names_what_was_left_open() {
    let (a, b) = (named("A"), named("B"));
    let outer = registry::enter(&a).unwrap();
    let (_inner, _out) = (enter(&b), scope_out_of_workspaces().unwrap());
    let left = outer.exit().unwrap();
    assert_eq!(left.left_open, ["scope_out_of_workspaces", "B"]);
    assert!(left.reports.is_empty(), "nothing escaped");
    for ws in [&a, &b] {
        assert_eq!((ws.is_scope_active(), ws.stats().cycles_count), (false, 1));
    }
    assert!(outer.exit().unwrap().left_open.is_empty(), "the second exit does nothing");
    assert_eq!(a.stats().cycles_count, 1);
}

#[test]
fn leaving_with_no_scope_open_is_refused_and_not_counted() {
    let ws = named("A");
    scope_error(ws.notify_scope_left());
    cycle(&ws, || ());
    let before = ws.stats();
    let reason = scope_error(ws.notify_scope_left());
    assert!(reason.contains("no open scope"), "{reason}");
    assert_eq!(ws.stats(), before);
}

#[test]
fn notify_scope_left_closes_the_innermost_scope_of_the_workspace() {
    let (a, b) = (named("A"), named("B"));
    let first = enter(&a);
    let (_second, third) = (enter(&b), enter(&a));
    a.notify_scope_left().unwrap();
    assert_eq!(current_workspace().as_ref(), Some(&b));
    third.close().expect("closed already");
    b.notify_scope_left().unwrap();
    assert!(a.is_scope_active());
    first.close().unwrap();
}

#[test]
fn scopes_nest_to_any_depth() {
    let ws = named("A");
    let scopes: Vec<Scope> = (0..2000).map(|_| enter(&ws)).collect();
    assert_eq!((registry::scope_depth(), ws.generation_id()), (2000, 1));
    drop(scopes.into_iter().next());
    assert_eq!((registry::scope_depth(), ws.is_scope_active()), (0, false));
}

// ---------------------------------------------------------------------- re-entry and borrow

#[test]
fn re_entry_continues_the_cycle() {
    let (a, b) = (named("A"), named("B"));
    let outer = enter(&a);
    let early = bytes(&a, 10, 7);
    let between = enter(&b);
    let again = enter(&a);
    assert_eq!(current_workspace().as_ref(), Some(&a));
    assert_eq!(a.generation_id(), 1);
    let late = bytes(&a, 10, 8);
    again.close().unwrap();
    assert_eq!(current_workspace().as_ref(), Some(&b));
    for (array, value) in [(&early, 7), (&late, 8)] {
        assert_eq!(array.detach::<u8>().unwrap(), [value; 10]);
    }
    between.close().unwrap();
    outer.close().unwrap();
    assert_eq!([early, late].map(|a| a.validity()), [Validity::Leaked; 2]);
}

#[test]
fn a_borrow_is_current_in_the_running_cycle() {
    let (a, b) = (named("A"), named("B"));
    let reason = scope_error(a.notify_scope_borrowed());
    assert!(reason.contains("not open"), "{reason}");
    let outer = enter(&a);
    let inner = enter(&b);
    let borrowed = a.notify_scope_borrowed().unwrap();
    assert_eq!(current_workspace().as_ref(), Some(&a));
    assert_eq!(a.generation_id(), 1);
    let array = bytes(&a, 3, 5);
    borrowed.close().unwrap();
    assert_eq!(current_workspace().as_ref(), Some(&b));
    assert!(array.is_in_scope());
    inner.close().unwrap();
    outer.close().unwrap();
    assert_eq!(a.stats().cycles_count, 1);
    scope_error(a.notify_scope_borrowed());
}

#[test]
fn scoped_out_nothing_is_current_while_all_stay_open() {
    let ws = named("A");
    let scope = enter(&ws);
    let out = scope_out_of_workspaces().unwrap();
    assert!(out.workspace().is_none());
    assert_eq!(current_workspace(), None);
    let array = bytes(&ws, 4, 1);
    assert!(array.is_in_scope(), "open is enough");
    assert!(matches!(array.dup::<u8>().unwrap(), Moved::Detached(values) if values == [1; 4]));
    out.close().unwrap();
    assert_eq!(current_workspace().as_ref(), Some(&ws));
    scope.close().unwrap();
}

// ---------------------------------------------------------------------- lost scopes

#[test]
fn a_scope_without_an_object_is_counted_and_stays_open() {
    let ws = named("A");
    let token = registry::enter(&ws).unwrap();
    token.lose();
    assert!(ws.is_scope_active());
    assert_eq!((ws.stats().lost_scopes, registry::lost_scopes()), (1, 1));
    let told = registry::assert_no_workspaces_open("at the end", false).unwrap_err().to_string();
    assert!(told.contains("1 scope(s) without an object") && told.contains("[A]"), "{told}");
    ws.notify_scope_left().unwrap();
    assert_eq!((ws.stats().lost_scopes, registry::lost_scopes()), (0, 0));
    registry::assert_no_workspaces_open("at the end", false).unwrap();
}

#[test]
fn a_lost_scope_of_a_destroyed_workspace_is_closed() {
    for destroyed_first in [true, false] {
        let (outer, ws) = (named("A"), named("B"));
        let around = enter(&outer);
        let token = registry::enter(&ws).unwrap();
        let inside = registry::scope_out_of_workspaces().unwrap();
        if destroyed_first {
            ws.destroy_workspace().unwrap();
            token.lose();
        } else {
            token.lose();
            ws.destroy_workspace().unwrap();
        }
        assert_eq!((registry::scope_depth(), registry::lost_scopes()), (2, 0));
        assert_eq!(current_workspace(), None);
        inside.close().unwrap();
        assert_eq!(current_workspace().as_ref(), Some(&outer));
        drop(around);
        assert_eq!(registry::scope_depth(), 0);
    }
}

#[test]
fn a_forgotten_guard_leaves_its_scope_open() {
    let ws = named("A");
    std::mem::forget(enter(&ws));
    assert!(ws.is_scope_active());
    ws.notify_scope_left().unwrap();
    assert!(!ws.is_scope_active());
}

// ---------------------------------------------------------------------- current, never entered

#[test]
fn allocation_needs_a_workspace_that_is_open_or_current() {
    let ws = named("A");
    let reason = scope_error(ws.zeros::<f32>(&[2]));
    assert!(reason.contains("enter it first"), "{reason}");
    assert_eq!(ws.stats().this_cycle_allocations, 0);
    set_current_workspace(Some(&ws)).unwrap();
    let array = ws.zeros::<f32>(&[2]).unwrap();
    set_current_workspace(None).unwrap();
    scope_error(ws.zeros::<f32>(&[2]));
    assert!(array.is_in_scope());
}

#[test]
fn an_array_of_a_current_workspace_lives_until_the_next_full_enter() {
    let ws = named("A");
    set_current_workspace(Some(&ws)).unwrap();
    let array = bytes(&ws, 100, 3);
    let lease = array.buffer().lease().unwrap();
    assert_eq!((array.generation_id(), array.validity()), (0, Validity::Valid));
    scope_error(ws.reset());
    scope_error(ws.initialize_workspace());
    let scope = enter(&ws);
    assert_eq!(array.validity(), Validity::Outdated);
    assert_eq!(bytes_of(&lease), [3; 100]);
    scope.close().unwrap();
    assert_eq!(current_workspace().as_ref(), Some(&ws), "restored");

    let later = bytes(&ws, 100, 4);
    assert_eq!((later.generation_id(), later.validity()), (1, Validity::Valid));
    cycle(&ws, || assert_eq!(later.validity(), Validity::Outdated));
    set_current_workspace(None).unwrap();
}

// ---------------------------------------------------------------------- validity and errors

#[test]
fn the_ages_of_an_array() {
    let ws = named("A");
    let array = cycle(&ws, || bytes(&ws, 8, 1));
    assert_eq!(array.validity(), Validity::Leaked);
    let scope = enter(&ws);
    assert_eq!(array.validity(), Validity::Outdated);
    scope.close().unwrap();
    assert_eq!(array.validity(), Validity::Outdated);
    ws.destroy_workspace().unwrap();
    assert_eq!(array.validity(), Validity::Destroyed);
}

#[test]
fn a_stale_use_tells_all_the_facts() {
    let ws = named("LOOP");
    let array = cycle(&ws, || ws.zeros::<f32>(&[2, 3]).unwrap());
    let other = named("OTHER");
    let _open = enter(&other);
    let uses: [(&str, Result<(), Error>); 8] = [
        ("read", array.read::<f32, _>(|_| ())),
        ("write", array.write::<f32, _>(|_| ())),
        ("detach", array.detach::<f32>().map(drop)),
        ("reshape", array.reshape(&[6]).map(drop)),
        ("row", array.row(0).map(drop)),
        ("dup", array.dup::<f32>().map(drop)),
        ("leverage_to", array.leverage_to("X", false).map(drop)),
        ("migrate", array.migrate::<f32>(true).map(drop)),
    ];
    for (operation, result) in uses {
        let error = result.unwrap_err();
        let begin = format!(
            "Op [{operation}] self argument uses leaked workspace pointer from workspace [LOOP]"
        );
        assert!(error.to_string().starts_with(&begin), "{error}");
        let Error::Stale { validity, facts } = error else { panic!("{error}") };
        assert_eq!(validity, Validity::Leaked);
        assert_eq!((facts.array_generation, facts.workspace_generation), (Some(1), Some(1)));
        assert_eq!(facts.open_workspaces, Some(vec!["OTHER".to_owned()]));
        assert_eq!(facts.shape, Some(vec![2, 3]));
        assert_eq!(facts.dtype.as_deref(), Some("float32"));
    }
    assert_eq!(other.stats().this_cycle_allocations, 0, "no result was allocated");
}

#[test]
fn arrays_without_elements_grow_old_like_any_other() {
    for ws in [named("A"), workspace(|s| ring(s, 128, 1.0))] {
        let scope = enter(&ws);
        let empty = ws.zeros::<f64>(&[3, 0]).unwrap();
        assert!(empty.detach::<f64>().unwrap().is_empty());
        scope.close().unwrap();
        ws.destroy_workspace().unwrap();
        assert_eq!(empty.validity(), Validity::Destroyed);
    }
    let ws = named("A");
    let (empty, scalar) =
        cycle(&ws, || (ws.zeros::<f64>(&[0]).unwrap(), ws.full::<f64>(&[], 2.5).unwrap()));
    for stale in [empty, scalar] {
        assert!(matches!(stale.read::<f64, _>(<[f64]>::len), Err(Error::Stale { .. })));
    }
}

// ---------------------------------------------------------------------- escapes

fn escaping(policy: EscapePolicy) -> Workspace {
    workspace(|s| s.policy_escape = policy)
}

#[test]
fn escapes_count_arrays_with_leases_not_handles() {
    let ws = escaping(EscapePolicy::Retire);
    let (_handle, held) = cycle(&ws, || {
        let (a, b) = (bytes(&ws, 100, 1), bytes(&ws, 100, 2));
        let held = [&a, &a, &b].map(|array| array.buffer().lease().unwrap());
        (bytes(&ws, 100, 3), held)
    });
    assert_eq!(ws.stats().escaped_count, 2);
    cycle(&ws, || ());
    assert_eq!(ws.stats().escaped_count, 2, "an array escapes once");
    let kept = held.each_ref().map(|lease| bytes_of(lease)[0]);
    assert_eq!(kept, [1, 1, 2]);
}

#[test]
fn an_escape_that_is_an_error_comes_after_the_close() {
    let ws = escaping(EscapePolicy::Raise);
    let scope = enter(&ws);
    let array = bytes(&ws, 100, 1);
    let lease = array.buffer().lease().unwrap();
    let closed = scope.close();
    assert!(matches!(closed, Err(Error::Escaped { arrays: 1, .. })), "{closed:?}");
    assert!(!ws.is_scope_active());
    assert_eq!(ws.stats().cycles_count, 1);
    scope.close().expect("closed already");
    cycle(&ws, || assert_eq!(bytes(&ws, 100, 2).detach::<u8>().unwrap(), [2; 100]));
    assert_eq!(bytes_of(&lease), [1; 100]);
}

#[test]
fn leases_of_a_ring_never_escape() {
    let ws = workspace(|s| {
        ring(s, 256, 2.0);
        s.policy_escape = EscapePolicy::Raise;
    });
    let lease = cycle(&ws, || bytes(&ws, 100, 1).buffer().lease().unwrap());
    assert_eq!(ws.stats().escaped_count, 0);
    assert_eq!(bytes_of(&lease), [1; 100]);
}

// ---------------------------------------------------------------------- destroy

#[test]
fn destroyed_while_open_its_scopes_restore_what_was_current() {
    let (a, b) = (named("A"), named("B"));
    let outer = enter(&a);
    let inner = enter(&b);
    let array = bytes(&b, 64, 9);
    let lease = array.buffer().lease().unwrap();
    b.destroy_workspace().unwrap();
    b.destroy_workspace().expect("idempotent");
    assert_eq!((b.is_destroyed(), b.is_scope_active()), (true, false));
    assert_eq!(array.validity(), Validity::Destroyed);
    assert_eq!(bytes_of(&lease), [9; 64]);
    inner.close().unwrap();
    assert_eq!(current_workspace().as_ref(), Some(&a));
    outer.close().unwrap();
    assert_eq!(b.stats().cycles_count, 0);
}

#[test]
fn a_destroyed_workspace_answers_and_refuses() {
    let ws = named("A");
    cycle(&ws, || drop(bytes(&ws, 1000, 1)));
    cycle(&ws, || drop(bytes(&ws, 1000, 1)));
    ws.destroy_workspace().unwrap();
    let stats = ws.stats();
    assert_eq!((stats.current_size, stats.spilled_size, stats.retired_size), (0, 0, 0));
    assert_eq!((stats.cycles_count, stats.generation_id, stats.is_destroyed), (2, 2, true));
    assert_eq!(ws.trim(), Ok(0));
    destroyed(ws.notify_scope_entered().map(drop));
    destroyed(ws.notify_scope_borrowed().map(drop));
    destroyed(ws.zeros::<u8>(&[1]));
    destroyed(ws.allocate(8, false));
    destroyed(set_current_workspace(Some(&ws)));
    destroyed(ws.toggle_workspace_use(false));
    destroyed(ws.enable_debug(true));
    destroyed(ws.initialize_workspace());
    destroyed(ws.reset());
    assert_eq!(ws.stats(), stats);
}

#[test]
fn initialise_and_reset_wait_until_the_running_cycle_is_empty() {
    for ws in [named("A"), workspace(|s| ring(s, 256, 1.0))] {
        let scope = enter(&ws);
        let array = bytes(&ws, 100, 1);
        let reason = scope_error(ws.reset());
        assert!(reason.contains("1 array(s)"), "{reason}");
        scope_error(ws.initialize_workspace());
        let lease = array.buffer().lease().unwrap();
        drop(array);
        scope_error(ws.reset());
        assert_eq!(bytes_of(&lease), [1; 100]);
        drop(lease);
        ws.reset().unwrap();
        ws.initialize_workspace().unwrap();
        ws.initialize_workspace().unwrap();
        assert_eq!(bytes(&ws, 100, 2).detach::<u8>().unwrap(), [2; 100]);
        scope.close().unwrap();
        ws.reset().unwrap();
    }
}

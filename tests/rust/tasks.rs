//! Scopes of tasks: a stack each, beside the thread's.

use std::cell::Cell;
use std::thread;

use ndarena::registry::{self, Task, TaskId};
use ndarena::{Error, Workspace, current_workspace, set_current_workspace};

use crate::scopes::{enter, scope_error};
use crate::support::workspace;

thread_local! {
    static RUNS: Cell<Option<TaskId>> = const { Cell::new(None) };
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

fn find() -> Option<TaskId> {
    ASKED.set(ASKED.get() + 1);
    RUNS.get()
}

/// Tasks of the calling thread, which the test switches by hand.
fn tasks<const N: usize>() -> [Task; N] {
    registry::set_task_finder(find);
    std::array::from_fn(|_| Task::new().unwrap())
}

fn run(task: &Task) {
    RUNS.set(Some(task.id()));
}

fn run_none() {
    RUNS.set(None);
}

fn spaces<const N: usize>() -> [Workspace; N] {
    std::array::from_fn(|_| workspace(|_| ()))
}

/// `async with ws.notify_scope_entered():` in the task that runs.
fn enter_async(ws: &Workspace) -> registry::ScopeToken {
    let token = registry::enter(ws).unwrap();
    token.move_to_task(RUNS.get().unwrap()).unwrap();
    token
}

#[test]
fn every_task_has_a_stack_and_the_others_the_thread_s() {
    let ([one, two, three], [a, b, outer]) = (tasks(), spaces());
    let around = enter(&outer);
    run(&one);
    let first = enter_async(&a);
    assert_eq!(a.parent_workspace(), Some(outer.clone()), "it begins with what was current");
    run(&two);
    assert_eq!(current_workspace(), Some(outer.clone()), "without scopes of its own");
    let second = enter_async(&b);
    run(&three);
    assert_eq!(current_workspace(), Some(outer.clone()));
    for (task, own) in [(&one, &a), (&two, &b), (&one, &a)] {
        run(task);
        assert_eq!(current_workspace().as_ref(), Some(own));
        assert_eq!(registry::open_workspaces(), [own.id()]);
    }
    set_current_workspace(None).unwrap();
    run_none();
    assert_eq!((current_workspace(), registry::scope_depth()), (Some(outer.clone()), 3));
    run(&one);
    assert_eq!(current_workspace(), None);
    first.close().unwrap();
    assert_eq!(current_workspace(), Some(outer), "the thread's again");
    run(&two);
    second.exit().unwrap();
    around.close().unwrap();
    assert_eq!(registry::scope_depth(), 0);
}

#[test]
fn nobody_is_asked_while_no_task_has_scopes() {
    let ([task], [ws]) = (tasks(), spaces());
    run(&task);
    ASKED.set(0);
    enter(&ws).close().unwrap();
    let token = registry::enter(&ws).unwrap();
    assert_eq!(ASKED.get(), 0);
    token.move_to_task(task.id()).unwrap();
    assert!(current_workspace().is_some());
    assert_ne!(ASKED.get(), 0);
    token.close().unwrap();
    ASKED.set(0);
    enter(&ws).close().unwrap();
    assert_eq!((ASKED.get(), current_workspace()), (0, None));
}

#[test]
fn the_last_to_leave_ends_the_cycle() {
    let ([one, two], [ws]) = (tasks(), spaces());
    let around = enter(&ws);
    run(&one);
    let first = enter_async(&ws);
    let inner = enter(&ws);
    run(&two);
    let second = enter_async(&ws);
    run_none();
    around.close().unwrap();
    assert_eq!((ws.is_scope_active(), ws.generation_id()), (true, 1));
    run(&two);
    second.close().unwrap();
    run(&one);
    inner.close().unwrap();
    assert_eq!((ws.is_scope_active(), ws.stats().cycles_count), (true, 0));
    first.close().unwrap();
    assert_eq!((ws.is_scope_active(), ws.stats().cycles_count), (false, 1));
}

#[test]
fn only_the_innermost_scope_moves() {
    let ([one, two], [a, b]) = (tasks(), spaces());
    run(&one);
    let token = registry::enter(&a).unwrap();
    let inner = enter(&b);
    let reason = scope_error(token.move_to_task(one.id()));
    assert!(reason.contains("async with"), "{reason}");
    assert_eq!((current_workspace(), registry::scope_depth()), (Some(b), 2));
    inner.close().unwrap();
    token.move_to_task(one.id()).unwrap();
    token.move_to_task(one.id()).expect("is there already");
    run(&two);
    scope_error(token.move_to_task(two.id()));
    run(&one);
    token.close().unwrap();
    scope_error(token.move_to_task(one.id()));
}

#[test]
fn others_close_by_an_exit_only() {
    let ([one, two], [a, b]) = (tasks(), spaces());
    run(&one);
    let (first, inner) = (enter_async(&a), registry::enter(&b).unwrap());
    run(&two);
    for token in [&first, &inner] {
        let reason = scope_error(token.close());
        assert!(reason.contains("another task"), "{reason}");
        scope_error(token.check_open());
        assert!(token.is_open());
    }
    scope_error(registry::leave(&b));
    assert!(a.is_scope_active() && b.is_scope_active());
    let own = enter_async(&b);
    let left = first.exit().unwrap();
    assert_eq!(left.left_open, [b.id()]);
    assert_eq!((a.is_scope_active(), b.is_scope_active()), (false, true));
    assert_eq!(current_workspace(), Some(b.clone()));
    own.close().unwrap();
    assert!(!b.is_scope_active());
}

#[test]
fn a_short_form_ends_where_it_stands() {
    let ([one, two], [a, b]) = (tasks(), spaces());
    run(&one);
    registry::enter_task_block(&a, 1, one.id()).unwrap();
    registry::enter_task_block(&b, 2, one.id()).unwrap();
    registry::leave(&b).unwrap();
    registry::leave(&a).unwrap();
    registry::enter_block(&a, &mut None, 3).unwrap();
    run(&two);
    registry::enter_task_block(&a, 4, two.id()).unwrap();
    registry::exit_block(&b, 2, &mut None).unwrap();
    registry::exit_block(&a, 1, &mut None).unwrap();
    assert!(a.is_scope_active());
    registry::exit_block(&a, 4, &mut None).unwrap();
    assert!(a.is_scope_active(), "the block at 3 is still running");
    registry::exit_block(&a, 3, &mut None).unwrap();
    assert_eq!((a.is_scope_active(), registry::scope_depth()), (false, 0));
}

#[test]
fn what_a_dead_task_left_open_is_closed_by_the_owner() {
    let ([one, two], [a, b, next]) = (tasks(), spaces());
    run(&one);
    let token = enter_async(&a);
    registry::enter_task_block(&b, 1, one.id()).unwrap();
    run(&two);
    thread::spawn(move || drop(one)).join().unwrap();
    assert!(a.is_scope_active(), "the owner has not come by");
    let scope = enter(&next);
    assert!(!a.is_scope_active() && !b.is_scope_active());
    assert_eq!((registry::scope_depth(), next.parent_workspace()), (1, None));
    assert!(token.exit().unwrap().reports.is_empty());
    scope.close().unwrap();
}

#[test]
fn the_end_of_a_thread_ends_its_tasks() {
    let ended = thread::spawn(|| {
        let ([one, two], [a]) = (tasks(), spaces());
        run(&one);
        let token = enter_async(&a);
        run(&two);
        enter_async(&a);
        (a, token, [one, two])
    });
    let (a, token, _tasks) = ended.join().unwrap();
    assert_eq!((a.is_scope_active(), a.is_destroyed()), (false, true));
    assert!(token.close().unwrap().reports.is_empty());
}

#[test]
fn another_thread_cannot_take_a_scope() {
    let [ws] = spaces();
    let token = registry::enter(&ws).unwrap();
    let stolen = thread::scope(|s| {
        s.spawn(|| {
            let [task] = tasks();
            let block = registry::enter_task_block(&ws, 1, task.id());
            assert!(matches!(block, Err(Error::WrongThread { .. })), "{block:?}");
            token.move_to_task(task.id())
        })
        .join()
        .unwrap()
    });
    assert!(matches!(stolen, Err(Error::WrongThread { .. })), "{stolen:?}");
    token.close().unwrap();
}

#[test]
fn a_scope_lost_in_a_task_is_counted_there() {
    let ([one, two], [ws]) = (tasks(), spaces());
    run(&one);
    enter_async(&ws).lose();
    run(&two);
    assert_eq!((ws.stats().lost_scopes, registry::lost_scopes()), (1, 0));
    registry::assert_no_workspaces_open("here", false).unwrap();
    run(&one);
    assert_eq!(registry::lost_scopes(), 1);
    scope_error(registry::assert_no_workspaces_open("here", false));
    registry::leave(&ws).unwrap();
    assert_eq!(ws.stats().lost_scopes, 0);
}

#[test]
fn a_scope_lost_in_a_task_ends_with_its_workspace() {
    let ([one, two], [ws]) = (tasks(), spaces());
    run(&one);
    enter_async(&ws).lose();
    run(&two);
    assert_eq!(registry::scope_depth(), 1);
    ws.destroy_workspace().unwrap();
    assert_eq!(registry::scope_depth(), 0);
    run(&one);
    assert_eq!((registry::open_workspaces().len(), registry::lost_scopes()), (0, 0));
}

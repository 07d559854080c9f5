//! Roles of arrays: which workspace each lives in, and what is refused.

use std::sync::Arc;

use ndarena::registry::{find, workspace_ids};
use ndarena::{
    Array, ArrayType, Error, LayerWorkspaceMgr, Moved, Validity, Workspace, WorkspaceConfiguration,
    current_workspace, destroy_all_workspaces, get_workspace,
};

use crate::support::{configuration, counters, fixed};

const ACT: ArrayType = ArrayType::Activations;
const WORK: ArrayType = ArrayType::FfWorkingMem;
const GRAD: ArrayType = ArrayType::ActivationGrad;
const INPUT: ArrayType = ArrayType::Input;

fn arena() -> WorkspaceConfiguration {
    configuration(|s| fixed(s, 4096))
}

/// ACTIVATIONS in ACT, `FF_WORKING_MEM` in WORK, INPUT scoped out, the others unconfigured.
fn manager() -> LayerWorkspaceMgr {
    let builder = LayerWorkspaceMgr::builder().with(ACT, "ACT", arena());
    builder.with(WORK, "WORK", arena()).no_workspace_for(INPUT).build()
}

fn other() -> Workspace {
    get_workspace(Some(&arena()), "OTHER").unwrap()
}

fn place<T>(array: &Moved<T>) -> Option<&str> {
    match array {
        Moved::Attached(array) => Some(array.workspace().id()),
        Moved::Detached(_) => None,
    }
}

fn values<T: ndarena::Element>(array: &Moved<T>) -> Vec<T> {
    match array {
        Moved::Attached(array) => array.detach().unwrap(),
        Moved::Detached(values) => values.clone(),
    }
}

fn attached(array: &Array) -> Moved<f64> {
    array.clone().into()
}

fn is_same(a: &Moved<f64>, b: &Array) -> bool {
    matches!(a, Moved::Attached(a) if a.buffer().is(b.buffer()))
}

/// The refusal of a call that changes nothing in this thread.
fn refused<T: std::fmt::Debug>(call: impl FnOnce() -> Result<T, Error>) -> Error {
    let state = || {
        let found = workspace_ids();
        let counted: Vec<_> = found.iter().map(|id| counters(&find(id).unwrap())).collect();
        (found, counted, current_workspace())
    };
    let before = state();
    let error = call().expect_err("a refusal");
    assert_eq!(state(), before);
    error
}

fn is_scope(error: &Error, what: &str) -> bool {
    matches!(error, Error::Scope { .. }) && error.to_string().contains(what)
}

fn is_location(error: &Error, what: &str) -> bool {
    matches!(error, Error::Location { .. }) && error.to_string().contains(what)
}

fn is_unconfigured(error: &Error) -> bool {
    matches!(error, Error::Configuration { value, .. } if value == "ACTIVATION_GRAD")
}

#[test]
fn types_have_their_names() {
    assert_eq!(ArrayType::ALL.len(), 9);
    for &t in ArrayType::ALL {
        assert_eq!(ArrayType::from_name(&t.name().to_lowercase()), Some(t));
        assert_eq!(t.to_string(), t.name());
    }
    assert_eq!(ArrayType::from_name("ACTIVATION"), None);
}

#[test]
fn y37_the_last_call_wins() {
    let start = LayerWorkspaceMgr::builder;
    let name = |m: &LayerWorkspaceMgr| {
        let name = m.get_workspace_name(ACT).unwrap_or("unconfigured");
        if m.is_scoped_out(ACT) { "out".to_owned() } else { name.to_owned() }
    };
    let out_with = start().no_workspace_for(ACT).with(ACT, "A", arena()).build();
    let with_out = start().with(ACT, "A", arena()).no_workspace_for(ACT).build();
    let with_default = start().with(ACT, "A", arena()).default_no_workspace().build();
    let out_default = start().no_workspace_for(ACT).default_workspace("D", arena()).build();
    let two_defaults = start().default_no_workspace().default_workspace("D", arena()).build();
    let names = [out_with, with_out, with_default, out_default, two_defaults, start().build()];
    assert_eq!(names.each_ref().map(name), ["A", "out", "A", "out", "D", "unconfigured"]);
}

#[test]
fn what_is_built_is_independent() {
    let builder = LayerWorkspaceMgr::builder().with(ACT, "A", arena());
    let (mut first, second) = (builder.build(), builder.build());
    let later = builder.no_workspace_for(ACT).build();
    first.set_workspace_name(ACT, "B").unwrap();
    assert_eq!(first.get_workspace_name(ACT), Some("B"));
    assert_eq!(second.get_workspace_name(ACT), Some("A"));
    assert!(later.is_scoped_out(ACT));
}

#[test]
fn the_direct_form_has_a_default() {
    let plain = LayerWorkspaceMgr::new([(ACT, Some(("A", arena()))), (GRAD, None)], None);
    assert_eq!(plain.get_workspace_name(ACT), Some("A"));
    assert!(ArrayType::ALL.iter().all(|&t| t == ACT || plain.is_scoped_out(t)));
    let named = LayerWorkspaceMgr::new([(GRAD, None)], Some(("D", arena())));
    assert!(named.is_scoped_out(GRAD));
    assert_eq!(named.get_workspace_name(INPUT), Some("D"));
    assert_eq!(named.get_configuration(INPUT), Some(&arena()));
}

#[test]
fn y29_an_unconfigured_type_is_named() {
    let (m, a) = (manager(), Moved::from(vec![1.0]));
    for error in [
        refused(|| m.notify_scope_entered(&[ACT, GRAD])),
        refused(|| m.notify_scope_borrowed(GRAD)),
        refused(|| m.is_workspace_open(GRAD)),
        refused(|| m.assert_open(GRAD, None)),
        refused(|| m.assert_not_open(GRAD, None)),
        refused(|| m.assert_current_workspace(GRAD, None)),
        refused(|| m.create::<f64>(GRAD, &[3])),
        refused(|| m.create_uninitialized::<f64>(GRAD, &[3])),
        refused(|| m.dup(GRAD, &a)),
        refused(|| m.cast_to::<f64, f32>(GRAD, &a, false)),
        refused(|| m.validate_array_location(GRAD, &a, false, true)),
    ] {
        assert!(is_unconfigured(&error), "{error}");
    }
    assert_eq!(values(&m.leverage_to(GRAD, &a).unwrap()), [1.0]);
    assert_eq!(values(&m.cast_to::<f64, f64>(GRAD, &a, false).unwrap()), [1.0]);
}

#[test]
fn half_a_configuration_does_not_open() {
    let mut m = manager();
    m.set_workspace_name(GRAD, "G").unwrap();
    assert!(m.has_configuration(GRAD));
    assert!(refused(|| m.is_workspace_open(GRAD)).to_string().contains("no configuration"));
    let mut m = manager();
    m.set_configuration(GRAD, arena()).unwrap();
    assert!(!m.has_configuration(GRAD));
    assert!(refused(|| m.is_workspace_open(GRAD)).to_string().contains("no name"));
    m.set_scoped_out_for(GRAD).unwrap();
    assert_eq!(m.get_configuration(GRAD), None);
    m.set_configuration(GRAD, arena()).unwrap();
    assert!(m.is_scoped_out(GRAD));
    m.set_workspace(GRAD, "G", arena()).unwrap();
    assert!(!m.is_scoped_out(GRAD));
}

#[test]
fn several_types_are_entered_together() {
    let m = manager();
    let scope = m.notify_scope_entered(&[ACT, WORK]).unwrap();
    assert_eq!(scope.workspace().map(Workspace::id), Some("WORK"));
    assert_eq!(current_workspace().as_ref(), scope.workspace());
    let outside = other();
    let inside = outside.notify_scope_entered().unwrap();
    assert!(is_scope(&refused(|| scope.close()), "[OTHER]"));
    inside.close().unwrap();
    scope.close().unwrap();
    scope.close().unwrap();
    assert_eq!(current_workspace(), None);
    let cycles = ["ACT", "WORK", "OTHER"].map(|id| find(id).unwrap().stats().cycles_count);
    assert_eq!(cycles, [1, 1, 1]);
    drop(m.notify_scope_entered(&[ACT, INPUT, WORK]).unwrap());
    assert!(!m.is_workspace_open(ACT).unwrap() && !m.is_workspace_open(WORK).unwrap());
    let out = m.notify_scope_entered(&[ACT, INPUT]).unwrap();
    assert_eq!((out.workspace(), current_workspace()), (None, None));
    drop(out);
    destroy_all_workspaces();
}

#[test]
fn all_or_nothing() {
    let mut m = manager();
    let ws = other();
    m.set_workspace(GRAD, "OTHER", configuration(|s| fixed(s, 8192))).unwrap();
    let differs = refused(|| m.notify_scope_entered(&[ACT, WORK, GRAD]));
    assert!(matches!(differs, Error::Configuration { field, .. } if field == "initial_size"));
    m.set_workspace(GRAD, "ACT", configuration(|s| fixed(s, 8192))).unwrap();
    refused(|| m.notify_scope_entered(&[ACT, GRAD]));
    m.set_workspace(GRAD, "HUGE", configuration(|s| fixed(s, 1 << 62))).unwrap();
    let scope = ws.notify_scope_entered().unwrap();
    let full = refused(|| m.notify_scope_entered(&[ACT, WORK, GRAD]));
    assert!(matches!(full, Error::Full { .. }), "{full}");
    assert_eq!(workspace_ids(), ["OTHER"]);
    scope.close().unwrap();
    assert!(matches!(refused(|| m.notify_scope_entered(&[])), Error::Usage { .. }));
    destroy_all_workspaces();
}

#[test]
fn y31_a_closed_workspace_is_refused() {
    let m = manager();
    drop(m.notify_scope_entered(&[ACT]).unwrap());
    let ws = other();
    let scope = ws.notify_scope_entered().unwrap();
    let (a, plain) = (attached(&ws.full(&[2], 1.0).unwrap()), Moved::from(vec![1.0]));
    for error in [
        refused(|| m.create::<f64>(ACT, &[3])),
        refused(|| m.create_uninitialized::<f64>(ACT, &[3])),
        refused(|| m.dup(ACT, &a)),
        refused(|| m.dup(ACT, &plain)),
        refused(|| m.cast_to::<f64, f32>(ACT, &plain, false)),
        refused(|| m.notify_scope_borrowed(ACT)),
        refused(|| m.leverage_to(ACT, &a)),
        refused(|| m.validate_array_location(ACT, &a, true, true)),
    ] {
        assert!(is_scope(&error, "workspace [ACT] of ACTIVATIONS is not open"), "{error}");
        assert_eq!(error.facts().unwrap().workspace_id.as_deref(), Some("ACT"));
    }
    drop(scope);
    destroy_all_workspaces();
}

#[test]
fn arrays_go_where_their_type_belongs() {
    let m = manager();
    let ws = other();
    let scopes = (m.notify_scope_entered(&[ACT]).unwrap(), ws.notify_scope_entered().unwrap());
    let here = attached(&ws.array(&[1.0, 2.5]).unwrap());
    let plain = Moved::from(vec![1.0, 2.5]);
    let zeros = m.create::<f32>(ACT, &[2, 2]).unwrap();
    assert_eq!((place(&zeros), values(&zeros)), (Some("ACT"), vec![0.0; 4]));
    assert_eq!(place(&m.create_uninitialized::<f32>(ACT, &[2]).unwrap()), Some("ACT"));
    assert_eq!(values(&m.create::<i8>(INPUT, &[2, 2]).unwrap()), [0; 4]);
    assert_eq!(place(&m.create_uninitialized::<i8>(INPUT, &[2]).unwrap()), None);
    for a in [&here, &plain] {
        let copy = m.dup(ACT, a).unwrap();
        assert_eq!((place(&copy), values(&copy)), (Some("ACT"), vec![1.0, 2.5]));
        let copy = m.dup(INPUT, a).unwrap();
        assert_eq!((place(&copy), values(&copy)), (None, vec![1.0, 2.5]));
        let cast = m.cast_to::<f64, i32>(ACT, a, false).unwrap();
        assert_eq!((place(&cast), values(&cast)), (Some("ACT"), vec![1, 2]));
        let cast = m.cast_to::<f64, i32>(INPUT, a, false).unwrap();
        assert_eq!((place(&cast), values(&cast)), (None, vec![1, 2]));
        assert_eq!(place(&m.cast_to::<f64, f64>(ACT, a, true).unwrap()), Some("ACT"));
    }
    assert_eq!(place(&m.cast_to::<f64, f64>(ACT, &here, false).unwrap()), Some("ACT"));
    assert_eq!(place(&m.cast_to::<f64, f64>(ACT, &plain, false).unwrap()), None);
    assert_eq!(place(&m.leverage_to(ACT, &here).unwrap()), Some("ACT"));
    assert_eq!(place(&m.leverage_to(INPUT, &here).unwrap()), None);
    assert_eq!(place(&m.leverage_to(ACT, &plain).unwrap()), None);
    let Moved::Attached(home) = m.dup(ACT, &here).unwrap() else { panic!("not in a workspace") };
    assert!(is_same(&m.leverage_to(ACT, &attached(&home)).unwrap(), &home));
    assert!(is_same(&m.cast_to(ACT, &attached(&home), false).unwrap(), &home));
    assert!(!is_same(&m.dup(ACT, &attached(&home)).unwrap(), &home));
    drop((home, scopes.1.close(), scopes.0.close()));
    destroy_all_workspaces();
}

#[test]
fn wrong_shapes_are_refused() {
    let m = manager();
    let scope = m.notify_scope_entered(&[ACT]).unwrap();
    for t in [ACT, INPUT] {
        for shape in [&[usize::MAX, 2][..], &[1 << 62, 1 << 62], &[0, usize::MAX, 2]] {
            let error = refused(|| m.create::<f64>(t, shape));
            assert!(matches!(error, Error::Shape { .. }), "{error}");
        }
        assert!(values(&m.create::<f64>(t, &[0, 3]).unwrap()).is_empty());
        assert_eq!(values(&m.create::<f64>(t, &[]).unwrap()), [0.0]);
    }
    drop(scope);
    destroy_all_workspaces();
}

#[test]
fn y33_a_wrong_place_is_refused_with_its_cure() {
    let m = manager();
    let ws = other();
    let scopes = (m.notify_scope_entered(&[ACT]).unwrap(), ws.notify_scope_entered().unwrap());
    let array = ws.full(&[2, 3], 1.0).unwrap();
    let (here, plain) = (attached(&array), Moved::from(vec![1.0]));
    let check = |t, a: &Moved<f64>| m.validate_array_location(t, a, false, true);

    let error = refused(|| check(INPUT, &here));
    assert!(is_location(&error, "INPUT should be detached, but is in workspace [OTHER]"));
    let error = refused(|| check(ACT, &here));
    assert!(is_location(&error, "should be in workspace [ACT], but is in workspace [OTHER]"));
    assert!(is_location(&error, "mgr.leverage_to(ArrayType.ACTIVATIONS, a)"));
    let facts = error.facts().unwrap();
    assert_eq!(facts.shape.as_deref(), Some(&[2, 3][..]));
    assert_eq!((facts.array_generation, facts.argument.as_deref()), (Some(1), Some("a")));
    let error = refused(|| check(ACT, &plain));
    assert!(is_location(&error, "[ACT], but is detached; call mgr.dup(ArrayType.ACTIVATIONS, a)"));
    assert_eq!(place(&m.validate_array_location(ACT, &plain, false, false).unwrap()), None);
    assert_eq!(place(&check(INPUT, &plain).unwrap()), None);

    for cured in [m.leverage_to(ACT, &here).unwrap(), m.dup(ACT, &plain).unwrap()] {
        let Moved::Attached(home) = &cured else { panic!("not in a workspace") };
        assert!(is_same(&check(ACT, &cured).unwrap(), home));
    }
    let migrate = |t| m.validate_array_location(t, &here, true, true).unwrap();
    assert_eq!((place(&migrate(ACT)), place(&migrate(INPUT))), (Some("ACT"), None));
    drop((array, scopes.1.close(), scopes.0.close()));
    destroy_all_workspaces();
}

#[test]
fn a_stale_array_is_refused_everywhere() {
    let m = manager();
    let scope = m.notify_scope_entered(&[ACT]).unwrap();
    let a = m.create::<f64>(ACT, &[3]).unwrap();
    scope.close().unwrap();
    for validity in [Validity::Leaked, Validity::Outdated] {
        let scope =
            m.notify_scope_entered(if validity == Validity::Leaked { &[WORK] } else { &[ACT] });
        for t in [ACT, INPUT] {
            for migrate in [false, true] {
                let error = refused(|| m.validate_array_location(t, &a, migrate, true));
                assert!(is_location(&error, &validity.name().to_lowercase()), "{error}");
                assert_eq!(error.facts().unwrap().workspace_id.as_deref(), Some("ACT"));
            }
            for error in [
                refused(|| m.dup(t, &a)),
                refused(|| m.cast_to::<f64, f64>(t, &a, false)),
                refused(|| m.cast_to::<f64, f32>(t, &a, false)),
                refused(|| m.leverage_to(t, &a)),
            ] {
                assert!(matches!(error, Error::Stale { validity: v, .. } if v == validity));
                assert_eq!(error.facts().unwrap().argument.as_deref(), Some("a"));
            }
        }
        scope.unwrap().close().unwrap();
    }
    destroy_all_workspaces();
}

#[test]
fn y35_asserts() {
    let m = manager();
    let ws = other();
    assert!(is_scope(&refused(|| m.assert_open(ACT, Some("here"))), "here: workspace [ACT]"));
    m.assert_not_open(ACT, None).unwrap();
    let scope = m.notify_scope_entered(&[ACT]).unwrap();
    m.assert_open(ACT, None).unwrap();
    m.assert_current_workspace(ACT, None).unwrap();
    assert!(is_scope(&refused(|| m.assert_not_open(ACT, None)), "[ACT] of ACTIVATIONS is open"));
    let inner = ws.notify_scope_entered().unwrap();
    let error = refused(|| m.assert_current_workspace(ACT, Some("here")));
    assert!(is_scope(&error, "here: workspace [ACT] of ACTIVATIONS is not current"), "{error}");
    assert!(is_scope(&error, "current is [OTHER]"), "{error}");
    let borrowed = m.notify_scope_borrowed(ACT).unwrap();
    m.assert_current_workspace(ACT, None).unwrap();
    drop(borrowed);
    m.assert_open(INPUT, None).unwrap();
    m.assert_not_open(INPUT, None).unwrap();
    m.assert_current_workspace(INPUT, None).unwrap();
    assert!(m.is_workspace_open(INPUT).unwrap());
    drop((inner.close(), scope.close()));
    destroy_all_workspaces();
}

#[test]
fn y39_the_no_leverage_override() {
    let mut m = manager();
    let ws = other();
    let scope = ws.notify_scope_entered().unwrap();
    let array = ws.full(&[2], 1.0).unwrap();
    m.set_no_leverage_override("OTHER").unwrap();
    for &t in ArrayType::ALL {
        assert!(is_same(&m.leverage_to(t, &attached(&array)).unwrap(), &array));
        let valid = m.validate_array_location(t, &attached(&array), true, true);
        assert!(is_same(&valid.unwrap(), &array));
    }
    scope.close().unwrap();
    let stale = refused(|| m.validate_array_location(ACT, &attached(&array), true, true));
    assert!(is_location(&stale, "leaked"), "{stale}");
    destroy_all_workspaces();
}

#[test]
fn a_same_named_workspace_of_another_thread_is_another() {
    let m = manager();
    let scope = m.notify_scope_entered(&[ACT]).unwrap();
    let a = m.dup(ACT, &Moved::from(vec![1.0, 2.0])).unwrap();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            assert!(!m.is_workspace_open(ACT).unwrap());
            let error = refused(|| m.validate_array_location(ACT, &a, false, true));
            assert!(is_location(&error, "another workspace of that name"), "{error}");
            let scope = m.notify_scope_entered(&[ACT]).unwrap();
            let error = refused(|| m.validate_array_location(ACT, &a, false, true));
            assert!(is_location(&error, "another workspace of that name"), "{error}");
            let mine = m.leverage_to(ACT, &a).unwrap();
            assert_eq!(values(&mine), [1.0, 2.0]);
            m.validate_array_location(ACT, &mine, false, true).unwrap();
            drop((mine, scope));
        });
    });
    drop(scope);
    destroy_all_workspaces();
}

#[test]
fn helpers_are_kept_under_their_keys() {
    let mut m = LayerWorkspaceMgr::no_workspaces();
    assert!(m.get_helper_workspace("key").is_none());
    assert!(m.set_helper_workspace("key", Arc::new(vec![1_u8])).unwrap().is_none());
    let found = m.get_helper_workspace("key").unwrap().downcast_ref::<Vec<u8>>();
    assert_eq!(found, Some(&vec![1]));
    let replaced = m.set_helper_workspace("key", Arc::new(5_u32)).unwrap().unwrap();
    assert!(replaced.downcast_ref::<Vec<u8>>().is_some());
    assert_eq!(m.helper_workspaces().count(), 1);
    assert_eq!(m.take_helper_workspaces().len(), 1);
    assert!(m.get_helper_workspace("key").is_none());
}

#[test]
fn an_immutable_manager_refuses_every_change() {
    let mut m = LayerWorkspaceMgr::no_workspaces_immutable();
    for result in [
        m.set_workspace(ACT, "A", arena()),
        m.set_configuration(ACT, arena()),
        m.set_workspace_name(ACT, "A"),
        m.set_scoped_out_for(ACT),
        m.set_no_leverage_override("A"),
        m.set_helper_workspace("key", Arc::new(1)).map(drop),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Usage { .. }) && error.to_string().contains("immutable"));
    }
    for &t in ArrayType::ALL {
        assert!(m.is_scoped_out(t));
        assert_eq!((m.get_workspace_name(t), m.get_configuration(t)), (None, None));
    }
    assert!(m.get_helper_workspace("key").is_none());
    assert_eq!(place(&m.create::<f64>(ACT, &[2]).unwrap()), None);
    LayerWorkspaceMgr::no_workspaces().set_workspace(ACT, "A", arena()).unwrap();
}

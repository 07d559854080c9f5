"""Vertices alone: values from formulas, gradients from differences, results in their place, masks, types."""

import numpy as np
import pytest
from nn_support import differences

from ndarena import (
    ArrayType,
    ConfigurationError,
    LayerWorkspaceMgr,
    WorkspaceConfiguration,
    allocated_bytes,
    get_all_workspaces_for_current_thread,
    nn,
)

PLAIN = LayerWorkspaceMgr.no_workspaces()
RNG = np.random.default_rng(11)
A, B, C = RNG.normal(size=(3, 4, 6))
ROW = RNG.normal(size=(4, 1))
SERIES = RNG.normal(size=(4, 3, 5))
IMAGES = RNG.normal(size=(4, 2, 3, 3))
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 1, 1, 0], [0, 0, 0, 0, 0]], float)
LAST = SERIES[[0, 1, 2], :, [4, 2, 3]]


def kept_backwards(x):
    out = np.zeros_like(x)
    for n, mask in enumerate(MASK):
        kept = np.flatnonzero(mask)
        out[n][:, kept] = x[n][:, kept[::-1]]
    return out


def unit(x):
    flat = x.reshape(len(x), -1)
    return (flat / np.linalg.norm(flat, axis=1, keepdims=True)).reshape(x.shape)


def distance(a, b):
    return np.linalg.norm((a - b).reshape(len(a), -1), axis=1)[:, None]


ELEMENTWISE = [
    (nn.ElementWiseVertex("add"), (A, B, C), A + B + C),
    (nn.ElementWiseVertex("Add"), (A, ROW), A + ROW),
    (nn.ElementWiseVertex("subtract"), (A, B), A - B),
    (nn.ElementWiseVertex("subtract"), (ROW, A), ROW - A),
    (nn.ElementWiseVertex("product"), (A, B, C), A * B * C),
    (nn.ElementWiseVertex("product"), (A, ROW), A * ROW),
    (nn.ElementWiseVertex("average"), (A, B, C), (A + B + C) / 3),
    (nn.ElementWiseVertex("max"), (A, B, C), np.maximum(np.maximum(A, B), C)),
    (nn.ElementWiseVertex("max"), (A,), A),
]
CASES = [
    *ELEMENTWISE,
    (nn.MergeVertex(), (A, B[:, :2]), np.concatenate([A, B[:, :2]], 1)),
    (nn.MergeVertex(), (IMAGES, IMAGES[:, :1]), np.concatenate([IMAGES, IMAGES[:, :1]], 1)),
    (nn.MergeVertex(merge_axis=-1), (SERIES, SERIES), np.concatenate([SERIES, SERIES], 2)),
    (nn.MergeVertex(), (A,), A),
    (nn.SubsetVertex(1, 3), (A,), A[:, 1:4]),
    (nn.SubsetVertex(0, 0), (IMAGES,), IMAGES[:, :1]),
    (nn.StackVertex(), (A, B), np.concatenate([A, B])),
    (
        nn.StackVertex(),
        (SERIES, SERIES[:, :, :3]),
        np.concatenate([SERIES, np.pad(SERIES[:, :, :3], ((0, 0), (0, 0), (0, 2)))]),
    ),
    (nn.UnstackVertex(1, 2), (A,), A[2:]),
    (nn.UnstackVertex(from_=0, stack_size=4), (IMAGES,), IMAGES[:1]),
    (nn.ScaleVertex(2.5), (A,), 2.5 * A),
    (nn.ShiftVertex(-0.5), (A,), A - 0.5),
    (nn.L2NormalizeVertex(), (A,), unit(A)),
    (nn.L2NormalizeVertex(), (IMAGES,), unit(IMAGES)),
    (nn.L2NormalizeVertex(dimension=(1,)), (SERIES,), SERIES / np.linalg.norm(SERIES, axis=1, keepdims=True)),
    (nn.L2NormalizeVertex(eps=100.0), (A,), A / 100.0),
    (nn.L2Vertex(), (A, B), distance(A, B)),
    (nn.L2Vertex(), (SERIES, 2.0 * SERIES), distance(SERIES, 2.0 * SERIES)),
    (nn.PreprocessorVertex(nn.CnnToFeedForwardPreProcessor(3, 3, 2)), (IMAGES,), IMAGES.reshape(4, 18)),
    (
        nn.PreprocessorVertex(nn.RnnToFeedForwardPreProcessor()),
        (SERIES,),
        np.concatenate([SERIES[:, :, t] for t in range(5)]),
    ),
    (nn.LastTimeStepVertex(), (SERIES,), SERIES[:, :, -1]),
    (nn.ReverseTimeSeriesVertex(), (SERIES,), SERIES[:, :, ::-1]),
]
MASKED = [
    (nn.LastTimeStepVertex("x"), (SERIES,), np.concatenate([LAST, np.zeros((1, 3))])),
    (nn.ReverseTimeSeriesVertex("x"), (SERIES,), kept_backwards(SERIES)),
]


def name(value):
    return str(value) if isinstance(value, nn.GraphVertex) else None


def run(vertex, inputs, mgr=PLAIN, masks=None):
    twin = vertex.instantiate()
    return twin, twin.do_forward(*inputs, training=True, workspace_mgr=mgr, masks=masks)


@pytest.mark.parametrize(("vertex", "inputs", "wanted"), CASES, ids=name)
def test_values_and_gradients(vertex, inputs, wanted):
    check(vertex, inputs, wanted, None)


@pytest.mark.parametrize(("vertex", "inputs", "wanted"), MASKED, ids=name)
def test_values_and_gradients_under_a_mask(vertex, inputs, wanted):
    check(vertex, inputs, wanted, [None, MASK])


def check(vertex, inputs, wanted, masks):
    inputs = [x.copy() for x in inputs]
    twin, out = run(vertex, inputs, masks=masks)
    np.testing.assert_allclose(out, wanted, rtol=1e-12)
    epsilon = np.random.default_rng(1).normal(size=out.shape)
    given = epsilon.copy()
    below = twin.do_backward(epsilon, workspace_mgr=PLAIN)
    assert len(below) == len(inputs)
    np.testing.assert_array_equal(epsilon, given)
    for x, gradient in zip(inputs, below, strict=True):
        slope = differences(lambda: float((run(vertex, inputs, masks=masks)[1] * epsilon).sum()), x)
        np.testing.assert_allclose(gradient, slope, atol=1e-7)


def test_features_are_repeated_at_every_step_of_the_series_named():
    vertex = nn.DuplicateToTimeSeriesVertex("x")
    assert vertex.reference == "x"
    twin, out = run(vertex, (A, SERIES))
    np.testing.assert_array_equal(out, np.repeat(A[:, :, None], 5, axis=2))
    (below,) = twin.do_backward(out, workspace_mgr=PLAIN)
    np.testing.assert_allclose(below, 5 * A)
    assert twin.feed_forward_masks(None, MASK) is MASK


def test_equal_largest_elements_give_the_gradient_to_the_first():
    twin, _ = run(nn.ElementWiseVertex("max"), (A, A, A))
    first, second, third = twin.do_backward(B, workspace_mgr=PLAIN)
    np.testing.assert_array_equal(first, B)
    assert not second.any()
    assert not third.any()


def test_equal_points_have_no_direction():
    twin, out = run(nn.L2Vertex(), (A, A.copy()))
    assert not out.any()
    assert not np.any(twin.do_backward(np.ones_like(out), workspace_mgr=PLAIN))


ROLES = (ArrayType.INPUT, ArrayType.ACTIVATIONS, ArrayType.ACTIVATION_GRAD, ArrayType.BP_WORKING_MEM)


def workspaces(conf):
    builder = LayerWorkspaceMgr.builder()
    for role in ROLES:
        builder.with_(role, f"PLACE_{role.name}", conf)
    return builder.build()


def turn(mgr, vertex, inputs):
    """Go there and back once, as a graph does: what is calculated on the way lies in the scratch."""
    with mgr.notify_scope_entered(*ROLES):
        twin, out = run(vertex, [mgr.dup(ArrayType.INPUT, x) for x in inputs], mgr, [None, MASK])
        twin.do_backward(out, workspace_mgr=mgr)
        twin.clear()
        del out


@pytest.mark.parametrize(("vertex", "inputs", "wanted"), CASES + MASKED, ids=name)
def test_a_steady_loop_takes_no_memory(vertex, inputs, wanted):
    mgr = workspaces(WorkspaceConfiguration())
    for _ in range(3):
        turn(mgr, vertex, inputs)
    places = [ws for ws in get_all_workspaces_for_current_thread() if ws.id.startswith("PLACE_")]
    sizes, held = [ws.current_size for ws in places], allocated_bytes()
    for _ in range(5):
        turn(mgr, vertex, inputs)
        assert not any(ws.spilled_size for ws in places)
    assert ([ws.current_size for ws in places], allocated_bytes()) == (sizes, held)


@pytest.mark.parametrize(("vertex", "inputs", "wanted"), CASES + MASKED, ids=name)
def test_results_lie_in_their_place(vertex, inputs, wanted):
    mgr = workspaces(WorkspaceConfiguration(initial_size=1 << 16))
    with mgr.notify_scope_entered(*ROLES):
        here = [mgr.dup(ArrayType.INPUT, x) for x in inputs]
        twin, out = run(vertex, here, mgr, [None, MASK] if vertex.reference else None)
        mgr.validate_array_location(ArrayType.ACTIVATIONS, out)
        np.testing.assert_allclose(out.numpy(), wanted, rtol=1e-12)
        epsilon = mgr.dup(ArrayType.INPUT, out)
        for below in twin.do_backward(epsilon, workspace_mgr=mgr):
            mgr.validate_array_location(ArrayType.ACTIVATION_GRAD, below)
        del here, out, epsilon, below, twin


def test_masks_join_where_arrays_do():
    merge, stack = nn.MergeVertex().instantiate(), nn.StackVertex().instantiate()
    other = np.roll(MASK, 1, axis=0)
    np.testing.assert_array_equal(merge.feed_forward_masks(MASK, other), np.maximum(MASK, other))
    assert merge.feed_forward_masks(MASK, None) is None
    np.testing.assert_array_equal(stack.feed_forward_masks(MASK, other), np.concatenate([MASK, other]))
    assert stack.feed_forward_masks(None, None) is None
    shorter = stack.feed_forward_masks(None, MASK[:, :3])
    np.testing.assert_array_equal(shorter, np.concatenate([np.ones((4, 3)), MASK[:, :3]]))
    padded = stack.feed_forward_masks(MASK, MASK[:, :3])
    np.testing.assert_array_equal(padded[4:], np.pad(MASK[:, :3], ((0, 0), (0, 2))))
    part = nn.UnstackVertex(1, 2).instantiate()
    np.testing.assert_array_equal(part.feed_forward_masks(MASK), MASK[2:])
    assert part.feed_forward_masks(None) is None
    assert nn.ScaleVertex(2.0).instantiate().feed_forward_masks(MASK) is MASK
    for ends in (nn.LastTimeStepVertex("x"), nn.L2Vertex()):
        assert ends.instantiate().feed_forward_masks(MASK, MASK) is None
    rows, image = MASK[:, :1], MASK[:, :1, None, None]
    for first, passed in ((rows, rows), (image, None), (None, None)):
        assert nn.L2Vertex().instantiate().feed_forward_masks(first, rows) is passed


def test_numbers_of_examples_follow_stacks():
    assert nn.StackVertex().get_batch_size(4, 4, 2) == 10
    assert nn.UnstackVertex(0, 2).get_batch_size(10) == 5
    assert nn.MergeVertex().get_batch_size(4, 4) == 4


FF, RNN, CNN = nn.InputType.feed_forward, nn.InputType.recurrent, nn.InputType.convolutional
TYPES = [
    (nn.MergeVertex(), (FF(3), FF(4)), FF(7)),
    (nn.MergeVertex(), (RNN(3, 9), RNN(4, 9)), RNN(7, 9)),
    (nn.MergeVertex(), (CNN(5, 6, 1), CNN(5, 6, 2)), CNN(5, 6, 3)),
    (nn.MergeVertex(), (nn.InputType.convolutional_flat(2, 2, 1),), nn.InputType.convolutional_flat(2, 2, 1)),
    (nn.ElementWiseVertex("add"), (FF(1), FF(4)), FF(4)),
    (nn.ElementWiseVertex("add"), (RNN(3), RNN(3, 4)), RNN(3, 4)),
    (nn.SubsetVertex(1, 2), (FF(3),), FF(2)),
    (nn.SubsetVertex(1, 2), (RNN(3, 9),), RNN(2, 9)),
    (nn.SubsetVertex(1, 2), (CNN(5, 6, 3),), CNN(5, 6, 2)),
    (nn.StackVertex(), (RNN(3, 9), RNN(3, 8)), RNN(3)),
    (nn.UnstackVertex(0, 2), (FF(3),), FF(3)),
    (nn.L2Vertex(), (CNN(5, 6, 3), CNN(5, 6, 3)), FF(1)),
    (nn.PreprocessorVertex(nn.CnnToFeedForwardPreProcessor(5, 6, 3)), (CNN(5, 6, 3),), FF(90)),
    (nn.LastTimeStepVertex(), (RNN(3, 9),), FF(3)),
    (nn.ReverseTimeSeriesVertex("x"), (RNN(3, 9), RNN(2)), RNN(3, 9)),
    (nn.DuplicateToTimeSeriesVertex("x"), (FF(3), RNN(2, 9)), RNN(3, 9)),
]


@pytest.mark.parametrize(("vertex", "given", "wanted"), TYPES, ids=name)
def test_types_tell_what_comes_out(vertex, given, wanted):
    assert vertex.get_output_type(*given) == wanted


@pytest.mark.parametrize(
    ("make", "field", "words"),
    [
        (lambda: nn.MergeVertex(merge_axis=0), "merge_axis", "examples"),
        (lambda: nn.MergeVertex(merge_axis=4).get_output_type(FF(3), FF(3)), "inputs", "no axis 4"),
        (lambda: nn.MergeVertex().get_output_type(FF(3), RNN(3)), "inputs", "one kind"),
        (lambda: nn.MergeVertex().get_output_type(CNN(5, 6, 1), CNN(6, 6, 1)), "inputs", "other axes"),
        (lambda: nn.ElementWiseVertex("divide"), "op", "ADD, SUBTRACT"),
        (lambda: nn.ElementWiseVertex("subtract").get_output_type(FF(3)), "inputs", "two"),
        (lambda: nn.ElementWiseVertex("add").get_output_type(FF(3), FF(4)), "inputs", "broadcast"),
        (lambda: nn.ElementWiseVertex("add").get_output_type(FF(3), RNN(3)), "inputs", "one kind"),
        (lambda: nn.SubsetVertex(2, 1), "to", "from 2 on"),
        (lambda: nn.SubsetVertex(-1, 1), "from_", "from_"),
        (lambda: nn.SubsetVertex(0, 3).get_output_type(FF(3)), "to", "below 3"),
        (lambda: nn.StackVertex().get_output_type(FF(3), FF(4)), "inputs", "equal"),
        (lambda: nn.UnstackVertex(2, 2), "from_", "stack_size=2"),
        (lambda: nn.ScaleVertex("2"), "scale_factor", "number"),
        (lambda: nn.ShiftVertex(None), "shift_factor", "number"),
        (lambda: nn.L2NormalizeVertex(eps=-1.0), "eps", "from 0 on"),
        (lambda: nn.L2NormalizeVertex(dimension=(0,)), "dimension", "whole number"),
        (lambda: nn.L2Vertex().get_output_type(FF(3), RNN(3)), "inputs", "one kind"),
        (lambda: nn.PreprocessorVertex(nn.ScaleVertex(2.0)), "preprocessor", "InputPreProcessor"),
        (lambda: nn.LastTimeStepVertex(3), "mask_array_input", "name"),
        (lambda: nn.LastTimeStepVertex().get_output_type(FF(3)), "inputs", "recurrent"),
        (lambda: nn.DuplicateToTimeSeriesVertex(None), "input_name", "name"),
        (
            lambda: nn.DuplicateToTimeSeriesVertex("x").get_output_type(RNN(3), RNN(3)),
            "inputs",
            "feed-forward",
        ),
    ],
)
def test_what_does_not_fit_is_named(make, field, words):
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert caught.value.field == field
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("vertex", "inputs", "words"),
    [
        (nn.MergeVertex(), (A, SERIES), "one rank"),
        (nn.MergeVertex(), (A, B[:3]), "axis 1 only"),
        (nn.ElementWiseVertex("subtract"), (A, B, C), "two inputs"),
        (nn.ElementWiseVertex("add"), (A, A[:, :4]), "broadcast"),
        (nn.SubsetVertex(2, 6), (A,), "7 features"),
        (nn.StackVertex(), (A, A[:, :4]), "agree"),
        (nn.StackVertex(), (IMAGES, IMAGES[:, :, :2]), "agree"),
        (nn.UnstackVertex(0, 3), (A,), "3 equal parts"),
        (nn.L2Vertex(), (A, A[:, :4]), "one shape"),
        (nn.LastTimeStepVertex(), (A,), "time"),
        (nn.ReverseTimeSeriesVertex(), (A,), "time"),
        (nn.DuplicateToTimeSeriesVertex("x"), (A, B), "series"),
    ],
)
def test_wrong_shapes_are_value_errors(vertex, inputs, words):
    with pytest.raises(ValueError, match=words) as caught:
        run(vertex, inputs)
    assert "vertex0" in str(caught.value)
    assert str(list(inputs[0].shape)) in str(caught.value)


def test_a_vertex_is_configuration_until_it_is_instantiated():
    vertex = nn.SubsetVertex(0, 1)
    twin = vertex.instantiate(index=3, name="left")
    assert twin == vertex == nn.SubsetVertex(from_=0, to=1)
    assert hash(twin) == hash(vertex)
    assert (twin.index, twin.name, twin.batch_size) == (3, "left", None)
    with pytest.raises(AttributeError, match="instantiate"):
        _ = vertex.name
    with pytest.raises(RuntimeError, match="left: do_forward"):
        twin.do_backward(A, workspace_mgr=PLAIN)
    with pytest.raises(TypeError):
        nn.L2Vertex(1e-8)


@pytest.mark.parametrize("kind", [int, np.int32, np.int64])
def test_whole_numbers_may_be_numpy_s(kind):
    """They are kept as Python's: JSON takes no others."""
    two = kind(2)
    assert nn.SubsetVertex(kind(1), kind(3)) == nn.SubsetVertex(1, 3)
    assert nn.UnstackVertex(kind(1), two) == nn.UnstackVertex(1, 2)
    assert nn.L2NormalizeVertex(dimension=kind(1)).dimension == (1,)
    assert nn.MergeVertex(merge_axis=two).merge_axis == 2
    fields = [*vars(nn.SubsetVertex(kind(0), two)).values(), nn.MergeVertex(merge_axis=two).merge_axis]
    assert {type(value) for value in fields if value is not None} == {int}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.SubsetVertex(-1, 2), "from_=-1: must be a whole number from 0 on"),
        (lambda: nn.SubsetVertex(2, 1), "to=1: must be a whole number from 2 on"),
        (lambda: nn.UnstackVertex(-1, 2), "from_=-1: must be a whole number from 0 on"),
        (lambda: nn.L2NormalizeVertex(dimension=1.5), "dimension=1.5"),
    ],
)
def test_what_is_no_such_number_is_named_as_it_was_given(make, words):
    with pytest.raises(ConfigurationError, match=words):
        make()

"""Normalisers: statistics like NumPy's and scikit-learn's, there and back, masks, files, what is refused."""

import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from ndarena import WorkspaceArray, WorkspaceConfiguration, get_workspace_for_current_thread
from ndarena.data import (
    ArrayDataSetIterator,
    DataSet,
    ImagePreProcessingScaler,
    ListDataSetIterator,
    MultiDataSet,
    Normalizer,
    NormalizerMinMaxScaler,
    NormalizerStandardize,
)

RNG = np.random.default_rng(7)
ROWS = RNG.normal(3.0, 5.0, size=(50, 4))
LABELS = RNG.normal(-2.0, 0.5, size=(50, 2))
SERIES = RNG.normal(1.0, 2.0, size=(6, 3, 5))
MASK = (RNG.random((6, 5)) < 0.7).astype(float)
KINDS = [NormalizerStandardize, NormalizerMinMaxScaler, ImagePreProcessingScaler]


@pytest.mark.parametrize("batch_size", [1, 7, 50])
def test_statistics_of_batches_are_those_of_the_whole(batch_size):
    batches = ArrayDataSetIterator(ROWS, LABELS, batch_size=batch_size)
    standard = NormalizerStandardize(fit_labels=True).fit(batches)
    wanted = StandardScaler().fit(ROWS)
    np.testing.assert_allclose(standard.mean, wanted.mean_)
    np.testing.assert_allclose(standard.std, wanted.scale_)
    np.testing.assert_allclose(standard.label_std, LABELS.std(axis=0))
    scaled = standard.transform(DataSet(ROWS, LABELS))
    np.testing.assert_allclose(scaled.features, wanted.transform(ROWS), atol=1e-12)
    ranged = NormalizerMinMaxScaler(-1.0, 2.0).fit(batches)
    np.testing.assert_allclose(
        ranged.transform(DataSet(ROWS)).features, MinMaxScaler((-1.0, 2.0)).fit_transform(ROWS)
    )
    assert ranged.label_min is None


def test_far_from_zero_nothing_is_lost():
    rows = 1e8 + RNG.normal(size=(1000, 2))
    fitted = NormalizerStandardize().fit(ListDataSetIterator(DataSet(rows).batch_by(10)))
    np.testing.assert_allclose(fitted.std, rows.std(axis=0), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int64"])
def test_there_and_back(kind, dtype):
    x = np.random.default_rng(0).integers(0, 255, (8, 3, 4, 4)).astype(dtype)
    given, data = x.copy(), DataSet(x, LABELS[:8])
    normalizer = kind().fit(data)
    scaled = normalizer.transform(data)
    assert scaled.features.dtype == {"float32": "f4", "uint8": "f4"}.get(dtype, "f8")
    assert scaled.labels is data.labels
    np.testing.assert_array_equal(x, given)
    np.testing.assert_allclose(normalizer.revert(scaled).features, x, atol=1e-3)
    normalizer.pre_process(data)
    np.testing.assert_array_equal(data.features, scaled.features)


@pytest.mark.parametrize("kind", [NormalizerStandardize, NormalizerMinMaxScaler])
def test_steps_that_are_left_out_do_not_count_and_become_0(kind):
    data = DataSet(SERIES, features_mask=MASK)
    kept = SERIES.transpose(0, 2, 1)[MASK == 1]
    normalizer = kind().fit(data)
    if kind is NormalizerStandardize:
        np.testing.assert_allclose((normalizer.mean, normalizer.std), (kept.mean(0), kept.std(0)))
    else:
        np.testing.assert_allclose((normalizer.min, normalizer.max), (kept.min(0), kept.max(0)))
    scaled = normalizer.transform(data)
    assert not scaled.features.transpose(0, 2, 1)[MASK == 0].any()
    np.testing.assert_allclose(normalizer.revert(scaled).features, SERIES * MASK[:, None, :], atol=1e-12)


def test_a_column_that_does_not_vary_is_only_centred():
    rows = np.column_stack([np.full(5, 3.0), np.arange(5.0)])
    fitted = NormalizerStandardize().fit(DataSet(rows))
    assert fitted.std[0] == 1e-5
    np.testing.assert_allclose(fitted.transform(DataSet(rows + 2.0)).features[:, 0], 2.0)


def test_batches_in_a_workspace_stay_there():
    fitted = NormalizerStandardize().fit(DataSet(ROWS))
    with get_workspace_for_current_thread(
        WorkspaceConfiguration(initial_size=1 << 16), id="NORMALIZED"
    ) as ws:
        data = DataSet(ws.array(ROWS))
        fitted.pre_process(data)
        assert isinstance(data.features, WorkspaceArray)
        np.testing.assert_allclose(data.features.numpy(), (ROWS - fitted.mean) / fitted.std)
        del data


@pytest.mark.parametrize(
    "normalizer",
    [
        NormalizerStandardize().fit(DataSet(ROWS)),
        NormalizerStandardize(fit_labels=True).fit(DataSet(ROWS, LABELS)),
        NormalizerMinMaxScaler(-1.0, 3.0).fit(DataSet(ROWS)),
        NormalizerMinMaxScaler(fit_labels=True).fit(DataSet(ROWS, LABELS)),
        ImagePreProcessingScaler(-1.0, 1.0, max_bits=4),
    ],
    ids=lambda n: n.name,
)
def test_bytes_come_back(normalizer):
    content = normalizer.to_bytes()
    again = Normalizer.from_bytes(content)
    assert type(again) is type(normalizer)
    assert again.to_bytes() == content
    data = DataSet(ROWS, LABELS)
    one, other = again.transform(data), normalizer.transform(data)
    np.testing.assert_array_equal(one.features, other.features)
    np.testing.assert_array_equal(one.labels, other.labels)
    for end in (1, 12, 20, len(content) - 1):
        with pytest.raises(ValueError, match="bytes"):
            Normalizer.from_bytes(content[:end])
    with pytest.raises(ValueError, match="there is no normaliser 'M"):
        Normalizer.from_bytes(content.replace(normalizer.name.encode(), b"M" * len(normalizer.name)))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: NormalizerStandardize().mean, "fit"),
        (lambda: NormalizerStandardize().transform(DataSet(ROWS)), "fit"),
        (lambda: NormalizerStandardize().fit([]), "no features"),
        (lambda: NormalizerStandardize(fit_labels=True).fit(DataSet(ROWS)), "no labels"),
        (lambda: NormalizerStandardize().fit(DataSet(ROWS[:, 0])), "axis 1"),
        (lambda: NormalizerStandardize().fit(DataSet(SERIES, features_mask=0 * MASK)), "no features"),
        (lambda: NormalizerStandardize().fit(DataSet(ROWS)).transform(DataSet(LABELS)), r"\[N, 4, ...\]"),
        (lambda: NormalizerMinMaxScaler(1.0, 1.0), "below"),
        (lambda: NormalizerMinMaxScaler(0.0, np.inf), "finite"),
        (lambda: ImagePreProcessingScaler(max_bits=0), "max_bits"),
    ],
)
def test_what_does_not_fit_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint16"])
def test_a_column_that_does_not_vary_goes_to_the_least(dtype):
    x = np.array([[1000, 0], [1000, 1]], dtype)
    data = DataSet(x)
    scaled = NormalizerMinMaxScaler(-1.0, 1.0).fit(data).transform(data)
    assert scaled.features.tolist() == [[-1.0, -1.0], [-1.0, 1.0]]


@pytest.mark.parametrize("kind", [NormalizerStandardize, NormalizerMinMaxScaler])
def test_batches_of_other_columns_are_refused(kind):
    normalizer = kind().fit(DataSet(ROWS))
    before = normalizer.to_bytes()
    for columns in (1, 3):
        with pytest.raises(ValueError, match=rf"features of shape \[N, 4, ...\], .*\[50, {columns}\]"):
            normalizer.fit([DataSet(ROWS), DataSet(ROWS[:, :columns])])
    assert normalizer.to_bytes() == before


@pytest.mark.parametrize("shape", [(6, 1), (6, 6), (6, 3, 5), (5, 6)])
@pytest.mark.parametrize("kind", [NormalizerStandardize, NormalizerMinMaxScaler])
def test_a_mask_of_series_has_a_number_for_every_step(kind, shape):
    data = DataSet(SERIES)
    data.features_mask = np.ones(shape)
    for call in (kind().fit, kind().fit(DataSet(SERIES)).transform):
        with pytest.raises(ValueError, match=r"features_mask must have shape \[6, 5\]"):
            call(data)


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_of_several_features_is_refused(kind):
    several = MultiDataSet([ROWS], [LABELS])
    normalizer = kind().fit(DataSet(ROWS))
    fits = [] if kind is ImagePreProcessingScaler else [normalizer.fit]
    for call in (*fits, normalizer.transform, normalizer.revert):
        with pytest.raises(TypeError, match="expected a DataSet, not MultiDataSet"):
            call(several)


def test_bits_of_a_pixel_may_be_a_number_of_numpy():
    assert ImagePreProcessingScaler(max_bits=np.int64(8)).max_bits == 8
    for bits in (65, True, 8.0):
        with pytest.raises(ValueError, match=r"max_bits=.* from 1 to 64"):
            ImagePreProcessingScaler(max_bits=bits)

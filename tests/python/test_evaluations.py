"""All evaluations: against scikit-learn and formulas, in any split, through JSON, and when used wrongly."""

import base64
import json
import math
import struct

import numpy as np
import pytest
from evaluation_support import MAKERS, plain_sums
from sklearn import metrics

from ndarena.evaluation import (
    ROC,
    Evaluation,
    EvaluationBinary,
    EvaluationCalibration,
    RegressionEvaluation,
    ROCBinary,
    ROCMultiClass,
)

ROWS, COLUMNS = 60, 3


def one_hot(classes, count=COLUMNS):
    return np.eye(count)[classes]


def drawn(seed, kind):
    """Return labels and predictions of a kind; probabilities have ties."""
    rng = np.random.default_rng(seed)
    p = rng.integers(0, 12, (ROWS, COLUMNS)) / 12
    if kind == "regression":
        return rng.normal(5, 2, (ROWS, COLUMNS)), rng.normal(5, 2, (ROWS, COLUMNS))
    if kind == "single":
        return (p[:, :1] + rng.normal(0, 0.3, (ROWS, 1)) > 0.5).astype(float), p[:, :1]
    if kind == "binary":
        return (p + rng.normal(0, 0.3, p.shape) > 0.5).astype(float), p
    return one_hot(rng.integers(0, COLUMNS, ROWS)), p


makers = pytest.mark.parametrize(("make", "kind"), MAKERS.values(), ids=MAKERS)


def fed(make, *batches):
    evaluation = make()
    for batch in batches:
        evaluation.eval(*batch)
    return evaluation


def split(y, p, *places):
    return list(zip(np.split(y, places), np.split(p, places), strict=True))


# In any split.


@makers
@pytest.mark.parametrize("places", [(1,), (30,), (10, 11, 50), (20, 20, 40)], ids=str)
def test_merging_any_split_equals_the_whole(make, kind, places):
    y, p = drawn(3, kind)
    whole = fed(make, (y, p))
    parts = [fed(make, batch) for batch in split(y, p, *places)]
    merged = make()
    for part in parts:
        before = part.to_json()
        merged.merge(part)
        assert part.to_json() == before
    assert plain_sums(merged) == plain_sums(whole)
    assert plain_sums(fed(make, *split(y, p, *places))) == plain_sums(whole)
    merged.eval(y, p)  # what was merged is not shared
    assert [plain_sums(part) for part in parts] == [
        plain_sums(fed(make, batch)) for batch in split(y, p, *places)
    ]


@makers
def test_an_evaluation_comes_back_from_json_and_goes_on(make, kind):
    (y, p), more = drawn(4, kind), drawn(5, kind)
    evaluation = fed(make, (y, p))
    read = type(evaluation).from_json(evaluation.to_json())
    assert read.to_json() == evaluation.to_json()
    assert read.stats() == evaluation.stats()
    read.eval(*more)
    assert plain_sums(read) == plain_sums(fed(make, (y, p), more))


@makers
def test_a_new_instance_has_the_settings_and_has_seen_nothing(make, kind):
    evaluation = fed(make, drawn(6, kind))
    fresh = evaluation.new_instance()
    assert fresh.to_json() == make().to_json()
    fresh.eval(*drawn(6, kind))
    assert fresh.stats() == evaluation.stats()
    evaluation.reset()
    assert evaluation.to_json() == make().to_json()


@makers
def test_masked_rows_do_not_count(make, kind):
    y, p = drawn(7, kind)
    keep = np.arange(ROWS) % 3 > 0
    wrong = np.where(keep[:, None], p, np.nan)
    masked = fed(make, (y, wrong, keep[:, None].astype(np.float32)))
    assert plain_sums(masked) == plain_sums(fed(make, (y[keep], p[keep])))


@makers
def test_series_and_images_are_rows(make, kind):
    y, p = drawn(8, kind)
    wanted = plain_sums(fed(make, (y, p)))
    for places in ((10,), (5, 2)):
        shaped = [np.moveaxis(a.reshape(-1, *places, a.shape[1]), -1, 1) for a in (y, p)]
        assert plain_sums(fed(make, shaped)) == wanted
        mask = np.ones((len(shaped[0]), *places))
        mask[0] = 0
        rows = ROWS // len(shaped[0])
        assert plain_sums(fed(make, (*shaped, mask))) == plain_sums(fed(make, (y[rows:], p[rows:])))


@makers
def test_a_batch_masked_as_a_whole_is_ignored(make, kind):
    y, p = drawn(9, kind)
    evaluation = fed(make, (y, p, np.zeros((ROWS, 1))))
    assert plain_sums(evaluation) == plain_sums(make())
    evaluation.eval(y, p)
    assert plain_sums(evaluation) == plain_sums(fed(make, (y, p)))


# Against scikit-learn.


@pytest.mark.parametrize("seed", range(5))
def test_roc_areas_and_curves_equal_those_of_scikit_learn_with_ties(seed):
    y, p = drawn(seed, "single")
    roc = fed(lambda: ROC(remove_redundant_points=False), (y, p))
    assert roc.calculate_auc() == pytest.approx(metrics.roc_auc_score(y, p), rel=1e-12)
    fpr, tpr, threshold = metrics.roc_curve(y[:, 0], p[:, 0], drop_intermediate=False)
    curve = roc.roc_curve()
    assert (curve.fpr[0], curve.tpr[0], curve.fpr[-1], curve.tpr[-1]) == (0, 0, 1, 1)
    np.testing.assert_allclose(curve.threshold[1:-1], threshold[1:])
    np.testing.assert_allclose(curve.fpr[1:-1], fpr[1:], rtol=1e-12)
    np.testing.assert_allclose(curve.tpr[1:-1], tpr[1:], rtol=1e-12)
    precision, recall, _ = metrics.precision_recall_curve(y[:, 0], p[:, 0])
    assert roc.calculate_auprc() == pytest.approx(metrics.auc(recall, precision), rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_areas_per_column_equal_those_of_scikit_learn(seed):
    y, p = drawn(seed, "binary")
    binary = fed(ROCBinary, (y, p))
    classes, scores = drawn(seed, "classes")
    multi = fed(ROCMultiClass, (classes, scores))
    for i in range(COLUMNS):
        assert binary.calculate_auc(i) == pytest.approx(metrics.roc_auc_score(y[:, i], p[:, i]), rel=1e-12)
        wanted = metrics.roc_auc_score(classes[:, i], scores[:, i])
        assert multi.calculate_auc(i) == pytest.approx(wanted, rel=1e-12)
    assert binary.calculate_auc() == pytest.approx(metrics.roc_auc_score(y, p, average="macro"), rel=1e-12)


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_averages_of_classes_equal_those_of_scikit_learn(average):
    y, p = drawn(1, "classes")
    actual, said = y.argmax(axis=1), p.argmax(axis=1)
    evaluation = fed(Evaluation, (y, p))
    assert evaluation.confusion_matrix.tolist() == metrics.confusion_matrix(actual, said).tolist()
    assert evaluation.accuracy() == pytest.approx(metrics.accuracy_score(actual, said))
    for name in ("precision", "recall", "f1"):
        wanted = getattr(metrics, f"{name}_score")(actual, said, average=average)
        assert getattr(evaluation, name)(averaging=average) == pytest.approx(wanted)


def test_binary_metrics_equal_those_of_scikit_learn():
    y, p = drawn(2, "binary")
    evaluation = fed(EvaluationBinary, (y, p))
    for i in range(COLUMNS):
        actual, said = y[:, i], p[:, i] > 0.5
        for name in ("accuracy", "precision", "recall", "f1"):
            wanted = getattr(metrics, f"{name}_score")(actual, said)
            assert getattr(evaluation, name)(i) == pytest.approx(wanted)
        assert evaluation.matthews_correlation(i) == pytest.approx(metrics.matthews_corrcoef(actual, said))
        assert evaluation.f_beta(2, i) == pytest.approx(metrics.fbeta_score(actual, said, beta=2))


@pytest.mark.parametrize("offset", [0, 1e6])
def test_regression_metrics_equal_those_of_scikit_learn(offset):
    y, p = (values + offset for values in drawn(3, "regression"))
    evaluation = fed(RegressionEvaluation, *split(y, p, 7, 30))
    for i in range(COLUMNS):
        a, b = y[:, i], p[:, i]
        assert evaluation.mean_squared_error(i) == pytest.approx(metrics.mean_squared_error(a, b))
        assert evaluation.mean_absolute_error(i) == pytest.approx(metrics.mean_absolute_error(a, b))
        assert evaluation.root_mean_squared_error(i) == pytest.approx(math.sqrt(np.mean((a - b) ** 2)))
        assert evaluation.r_squared(i) == pytest.approx(metrics.r2_score(a, b))
        assert evaluation.relative_squared_error(i) == pytest.approx(1 - metrics.r2_score(a, b))
        assert evaluation.pearson_correlation(i) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert evaluation.r_squared() == pytest.approx(metrics.r2_score(y, p))


def test_a_reliability_diagram_equals_scikit_learns_calibration_curve():
    from sklearn.calibration import calibration_curve  # noqa: PLC0415 - slow to import

    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(COLUMNS), 200)
    y = one_hot((p.cumsum(axis=1) < rng.random((200, 1))).sum(axis=1).clip(0, COLUMNS - 1))
    evaluation = fed(EvaluationCalibration, (y, p))
    for i in range(COLUMNS):
        fraction, mean = calibration_curve(y[:, i], p[:, i], n_bins=10)
        diagram = evaluation.reliability_diagram(i)
        np.testing.assert_allclose(diagram.fraction_positive, fraction)
        np.testing.assert_allclose(diagram.mean_predicted, mean)
    residuals = np.histogram(np.abs(y - p), bins=50, range=(0, 1))[0]
    assert np.abs(evaluation.residual_plot().counts - residuals).sum() <= 2  # a value on an edge
    assert evaluation.probability_histogram().counts.sum() == p.size


# Known values.


def test_perfect_scores_have_area_1():
    y = (np.arange(20) % 2)[:, None]
    for steps in (0, 10):
        roc = fed(lambda steps=steps: ROC(threshold_steps=steps), (y, np.where(y, 0.9, 0.2)))
        assert (roc.calculate_auc(), roc.calculate_auprc(), roc.total_count) == (1, 1, 20)


def test_E23_the_regression_of_known_values():  # noqa: N802 - an id
    y = [[1, 2, 3], [0.1, 0.2, 0.3], [6, 5, 4]]
    p = [[2.5, 3.2, 3.8], [2.15, 1.3, -1.2], [7, 4.5, 3]]
    evaluation = fed(RegressionEvaluation, (y, p))
    wanted = {
        "mean_squared_error": [2.484166667, 0.966666667, 1.296666667],
        "mean_absolute_error": [1.516666667, 0.933333333, 1.1],
        "relative_squared_error": [0.368813923, 0.246598639, 0.530937216],
        "pearson_correlation": [0.997013483, 0.968619605, 0.915603032],
        "r_squared": [0.63118608, 0.75340136, 0.46906278],
    }
    for name, values in wanted.items():
        got = [getattr(evaluation, name)(i) for i in range(3)]
        assert got == pytest.approx(values, abs=1e-8), name


def test_elements_can_be_masked_one_by_one():
    for make, kind in (MAKERS[name] for name in ("EvaluationBinary", "ROCBinary", "RegressionEvaluation")):
        y, p = drawn(11, kind)
        mask = np.random.default_rng(0).integers(0, 2, y.shape)
        masked = fed(make, (y, np.where(mask, p, np.nan), mask))
        rows = mask[:, 1] != 0
        alone = fed(make, (y[rows, 1:2], p[rows, 1:2]))
        name = {"regression": "r_squared"}.get(kind, "matthews_correlation")
        name = name if hasattr(masked, name) else "calculate_auc"
        assert getattr(masked, name)(1) == pytest.approx(getattr(alone, name)(0))


def test_dl4js_exact_roc_gives_its_saved_curves_and_takes_no_more():
    roc = fed(ROC, drawn(1, "single"))
    tree = json.loads(roc.to_json())
    del tree["scores"]  # which DL4J does not write
    read = ROC.from_json(json.dumps(tree))
    assert read.calculate_auprc() == roc.calculate_auprc()
    assert read.stats() == roc.stats()
    assert read.roc_curve().tpr.tolist() == roc.roc_curve().tpr.tolist()
    assert read.precision_recall_curve().point_at_recall(0.5) == roc.precision_recall_curve().point_at_recall(
        0.5
    )
    for way in (lambda: read.eval([[1]], [[1]]), lambda: read.merge(roc), lambda: roc.merge(read)):
        with pytest.raises(ValueError, match="holds no scores"):
            way()


def test_dl4js_regression_without_our_distances_is_read():
    evaluation = fed(RegressionEvaluation, drawn(1, "regression"))
    tree = json.loads(evaluation.to_json())
    del tree["distances"], tree["origin"]
    read = RegressionEvaluation.from_json(json.dumps(tree))
    assert read.r_squared() == pytest.approx(evaluation.r_squared())
    assert read.pearson_correlation() == pytest.approx(evaluation.pearson_correlation())


def test_rocs_are_written_with_the_areas_and_names_of_dl4j():
    roc = fed(ROC, drawn(1, "single"))
    tree = json.loads(roc.to_json())
    assert tree["rocCurve"]["auc"] == tree["auc"] == roc.calculate_auc()
    assert tree["prCurve"]["area"] == tree["auprc"] == roc.calculate_auprc()
    for kind in (ROCBinary, ROCMultiClass):
        tree = json.loads(kind().to_json())
        assert (tree["axis"], tree["labels"], tree["underlying"]) == (1, None, None)


def test_calibrations_are_written_as_by_dl4j_tables_in_base64_and_counts_whole():
    evaluation = EvaluationCalibration(reliability_bins=2, histogram_bins=3)
    evaluation.eval([[1, 0], [0, 1], [1, 0]], [[0.75, 0.25], [0.5, 0.5], [1, 0]])
    tree = json.loads(evaluation.to_json())
    assert tree["labelCountsEachClass"] == {"dataType": "LONG", "shape": [1, 2], "data": [2, 1]}
    assert tree["predictionCountsEachClass"] == {"dataType": "LONG", "shape": [1, 2], "data": [3, 0]}
    assert tree["residualPlotOverall"] == {"dataType": "DOUBLE", "shape": [1, 3], "data": [4.0, 2.0, 0.0]}
    assert tree["probHistogramOverall"] == {"dataType": "DOUBLE", "shape": [1, 3], "data": [2.0, 2.0, 2.0]}
    mode = b"\0\x10MIXED_DATA_TYPES"
    for name, kind, noted, values in (
        ("rDiagBinPosCount", b"LONG", 1 << 18, struct.pack(">4q", 0, 0, 2, 1)),
        ("rDiagBinTotalCount", b"LONG", 1 << 18, struct.pack(">4q", 0, 2, 3, 1)),
        ("rDiagBinSumPredictions", b"DOUBLE", 1 << 14, struct.pack(">4d", 0, 0.25, 2.25, 0.5)),
    ):
        shape = struct.pack(">q2s4s8q", 8, b"\0\4", b"LONG", 2, 2, 2, 2, 1, noted, 1, ord("c"))
        data = struct.pack(">qH", 4, len(kind)) + kind + values
        *lines, end = tree[name]["array"].split("\r\n")
        assert base64.b64decode("".join(lines)) == mode + shape + mode + data, name
        assert ({len(line) for line in lines[:-1]}, end) == ({76}, "")


def test_parts_of_labels_come_back_from_the_json_of_a_calibration():
    evaluation = EvaluationCalibration()
    evaluation.eval([[0.25, 0.75]], [[0.5, 0.5]])
    read = EvaluationCalibration.from_json(evaluation.to_json())
    assert read.to_json() == evaluation.to_json()
    assert read.reliability_diagram(1).fraction_positive.tolist() == [0.75]


@pytest.mark.parametrize("broken", ["AAAA", "A", "ABBNSVhFRF9EQVRBX1RZUEVT", None, 3])
def test_a_broken_table_of_a_calibration_is_refused(broken):
    tree = json.loads(fed(EvaluationCalibration, drawn(1, "classes")).to_json())
    tree["rDiagBinPosCount"]["array"] = broken
    with pytest.raises(ValueError):
        EvaluationCalibration.from_json(json.dumps(tree))


@pytest.mark.parametrize("name", ["Evaluation", "RegressionEvaluation", "ROCMultiClass"])
def test_dl4js_older_names_and_lists_are_read(name):
    make, kind = MAKERS[name]
    evaluation = fed(make, drawn(1, kind))
    new = json.loads(evaluation.to_json())
    old = {k: v["data"] if isinstance(v, dict) and "data" in v else v for k, v in new.items()}
    for added in ("axis", "distances", "origin", "labels"):
        old.pop(added, None)
    old["@class"] = f"org.deeplearning4j.eval.{name}"
    assert make().from_json(json.dumps(old)).stats() == evaluation.stats()
    with pytest.raises(ValueError, match="expected the JSON of"):
        ROC.from_json(json.dumps(old))


# Bad input.


@makers
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y, p: (y[:-1], p), "same shape"),
        (lambda y, p: (y[:, 0], p[:, 0]), "same shape"),
        (lambda y, p: (y, p, np.ones(7)), "mask"),
        (lambda y, p: (y, np.where(p == p[3, 0], np.nan, p)), "NaN"),
    ],
)
def test_data_that_do_not_fit_are_refused_and_change_nothing(make, kind, change, message):
    y, p = drawn(1, kind)
    evaluation = fed(make, (y, p))
    before = evaluation.to_json()
    with pytest.raises(ValueError, match=message):
        evaluation.eval(*change(y, p))
    with pytest.raises(ValueError):
        evaluation.eval(np.ones((2, 5)) / 5, np.ones((2, 5)) / 5)
    assert evaluation.to_json() == before


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "RegressionEvaluation"])
def test_labels_of_classifiers_are_probabilities(name):
    make, kind = MAKERS[name]
    y, p = drawn(1, kind)
    for bad in (y * 3, y - 1):
        with pytest.raises(ValueError, match="labels must be probabilities"):
            make().eval(bad, p)


@pytest.mark.parametrize("name", ["EvaluationCalibration", "ROC", "ROC 7", "ROCBinary", "ROCMultiClass"])
def test_scores_are_probabilities(name):
    make, kind = MAKERS[name]
    y, p = drawn(1, kind)
    with pytest.raises(ValueError, match="predictions must be probabilities"):
        make().eval(y, p * 2)


NOTHING = {
    "Evaluation": ["accuracy", "precision"],
    "EvaluationBinary": ["accuracy", "f1", "matthews_correlation"],
    "EvaluationCalibration": ["residual_plot", "probability_histogram"],
    "ROC": ["calculate_auc", "calculate_auprc", "roc_curve", "precision_recall_curve"],
    "ROCBinary": ["calculate_auc", "calculate_auprc"],
    "ROCMultiClass": ["calculate_auc", "calculate_auprc"],
    "RegressionEvaluation": ["mean_squared_error", "r_squared", "pearson_correlation"],
}


@pytest.mark.parametrize("name", NOTHING)
def test_metrics_of_nothing_are_refused_and_its_report_says_so(name):
    evaluation = MAKERS[name][0]()
    for metric in NOTHING[name]:
        with pytest.raises(ValueError, match="nothing was evaluated"):
            getattr(evaluation, metric)()
    assert "No data" in evaluation.stats().replace("Data", "data") or name == "EvaluationCalibration"


@pytest.mark.parametrize("name", [name for name in NOTHING if name != "ROC"])
def test_evaluations_of_other_sizes_are_not_merged(name):
    make, kind = MAKERS[name]
    evaluation = fed(make, drawn(0, kind))
    before = evaluation.to_json()
    with pytest.raises(ValueError, match="where there were"):
        evaluation.merge(fed(make, (np.eye(2), np.eye(2))))
    assert evaluation.to_json() == before


@pytest.mark.parametrize("name", NOTHING)
def test_objects_of_other_classes_are_not_merged(name):
    make, kind = MAKERS[name]
    evaluation = fed(make, drawn(0, kind))
    before = evaluation.to_json()
    for other in (None, "text", type(evaluation), *(MAKERS[each][0]() for each in NOTHING if each != name)):
        message = f"other must be an object of {name}, as this one is, not of {type(other).__name__}$"
        with pytest.raises(TypeError, match=message):
            evaluation.merge(other)
    assert evaluation.to_json() == before
    derived = evaluation.new_instance()
    derived.__class__ = type("Derived", (type(evaluation),), {})
    derived.merge(evaluation)
    evaluation.merge(derived)
    assert plain_sums(evaluation) == plain_sums(fed(make, *[drawn(0, kind)] * 2))


@pytest.mark.parametrize(
    "make",
    [
        lambda: ROC(threshold_steps=-1),
        lambda: EvaluationCalibration(reliability_bins=0),
        lambda: EvaluationCalibration(histogram_bins=0),
        lambda: EvaluationBinary(decision_threshold=1.5),
        lambda: EvaluationBinary(decision_threshold=[0.5]).eval(np.ones((1, 2)), np.ones((1, 2))),
        lambda: ROC().eval(np.ones((2, 3)), np.ones((2, 3))),
        lambda: ROC().merge(ROC(threshold_steps=3)),
        lambda: EvaluationCalibration().merge(EvaluationCalibration(reliability_bins=3)),
        lambda: EvaluationBinary().merge(EvaluationBinary(roc_binary_steps=0)),
        lambda: ROC.from_json(ROCBinary().to_json()),
        lambda: ROC.from_json('{"@class": "org.nd4j.evaluation.classification.ROC"}'),
        lambda: Evaluation.from_json("[]"),
    ],
)
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(ValueError):
        make()


@pytest.mark.parametrize("make", [ROC, ROCBinary, ROCMultiClass])
def test_the_number_of_classes_is_not_taken_for_steps(make):
    with pytest.raises(TypeError):
        make(10)


@pytest.mark.parametrize("look", ["point_at_threshold", "point_at_precision", "point_at_recall"])
def test_look_ups_beyond_0_and_1_are_refused(look):
    curve = fed(ROC, drawn(0, "single")).precision_recall_curve()
    for v in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="from 0 to 1"):
            getattr(curve, look)(v)


def test_unknown_columns_are_refused():
    for name, metric in (
        ("EvaluationBinary", "accuracy"),
        ("EvaluationCalibration", "reliability_diagram"),
        ("ROCBinary", "calculate_auc"),
        ("RegressionEvaluation", "r_squared"),
    ):
        make, kind = MAKERS[name]
        with pytest.raises(ValueError, match="there is no"):
            getattr(fed(make, drawn(0, kind)), metric)(COLUMNS)

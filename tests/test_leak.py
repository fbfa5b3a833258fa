"""Scores of stimuli that were trained on raise a LeakWarning, and no others do."""

import datetime as dt
import pickle
import subprocess
import sys
import warnings
from contextlib import contextmanager
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    cross_val_score,
    cross_validate,
    learning_curve,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmot import (
    LayerStack,
    LinearPredictivity,
    MultiLevelOT,
    SemiMatching,
    SoftMatching,
)
from skmot.exceptions import LeakWarning
from skmot.metrics import negative_cost, source_score, target_score
from skmot.model_selection import StimulusKFold, compare, permutation_control
from skmot.preprocessing import LayerwiseTransformer, UnitSubsampler

N_IMAGES, N_REPEATS = 40, 3
IMAGES = np.array([f"image {number:02d}" for number in range(N_IMAGES)])


def trials(seed, labels=IMAGES, n_repeats=N_REPEATS):
    """Two regions of a subject that saw every image a few times."""
    rng = np.random.default_rng(seed)
    signals = [rng.normal(size=(len(labels), n_units)) for n_units in (6, 8)]
    return LayerStack(
        {
            name: np.repeat(signal, n_repeats, axis=0)
            + 0.5 * rng.normal(size=(len(labels) * n_repeats, signal.shape[1]))
            for name, signal in zip(("V1", "V4"), signals, strict=True)
        },
        stimuli=[label for label in labels for _ in range(n_repeats)],
    )


@contextmanager
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


TORN = np.arange(N_IMAGES * N_REPEATS) % N_REPEATS == 0


@pytest.mark.parametrize(
    "method",
    ["score", "inverse_score", "layer_scores", "unit_scores", "held_out_cost"],
)
@pytest.mark.parametrize("estimator", [MultiLevelOT(), LinearPredictivity()], ids=repr)
def test_repeats_on_both_sides_are_warned_of(estimator, method):
    X, y = trials(0), trials(1)
    fitted = estimator.fit(X[~TORN], y[~TORN])
    with pytest.warns(
        LeakWarning, match=r"40 of the 40 rows .*'image 00', .*"
    ) as caught:
        getattr(fitted, method)(X[TORN], y[TORN])
    (told,) = caught
    assert told.filename == __file__
    assert "'image 03'" not in str(told.message)
    assert "StimulusKFold" in str(told.message)


def test_matching_score_and_scorers_warn_too():
    X, y = trials(0), trials(1)
    matching = SoftMatching().fit(X[~TORN], y[~TORN])
    with pytest.warns(LeakWarning):
        matching.matching_score(X[TORN], y[TORN])
    pipeline = make_pipeline(
        LayerwiseTransformer(StandardScaler()), UnitSubsampler(), MultiLevelOT()
    ).fit(X[~TORN], y[~TORN])
    for scorer in (target_score, source_score, negative_cost):
        with pytest.warns(LeakWarning):
            scorer(pipeline, X[TORN], y[TORN])


def test_part_of_the_rows_is_counted():
    X, y = trials(0, n_repeats=1), trials(1, n_repeats=1)
    fitted = MultiLevelOT().fit(X[:30], y[:30])
    with pytest.warns(
        LeakWarning, match=r"2 of the 12 rows .*'image 28', 'image 29'\)"
    ):
        fitted.score(X[28:], y[28:])


def test_held_out_and_training_rows_are_not_warned_of():
    X, y = trials(0), trials(1)
    with no_warning():
        for train, test in StimulusKFold(4).split(X):
            fitted = MultiLevelOT().fit(X[train], y[train])
            for rows in (test, train, train[::-1], train[5:20]):
                fitted.score(X[rows], y[rows])
                fitted.held_out_cost(X[rows], y[rows])
        once = [trials(seed, n_repeats=1) for seed in (0, 1)]
        cross_validate(MultiLevelOT(), *once, cv=4, return_train_score=True)
        learning_curve(MultiLevelOT(), *once, cv=3, train_sizes=[0.5, 1.0])
        GridSearchCV(
            make_pipeline(UnitSubsampler(random_state=0), MultiLevelOT()),
            {"unitsubsampler__fraction": [0.5, 1.0]},
            cv=3,
        ).fit(*once).score(*once)
        MultiLevelOT(cost_cv=3).fit(*once)
        permutation_control(
            MultiLevelOT(),
            *once,
            control="stimuli",
            cv=3,
            n_permutations=19,
            random_state=0,
        )
        compare({"a": X}, {"b": y}, {"mot": MultiLevelOT()}, 3, verbose=False)


def test_the_same_stimuli_of_another_run_are_warned_of():
    X, y = trials(0, n_repeats=1), trials(1, n_repeats=1)
    noise = np.random.default_rng(2)
    second = X.map(lambda layer: layer + 0.1 * noise.normal(size=layer.shape))
    fitted = MultiLevelOT().fit(X, y)
    with no_warning():
        fitted.score(X, y)
        # Rounded to float32, rows are the same.
        fitted.score(X.map(lambda layer: layer.astype("f4")), y)
    with pytest.warns(LeakWarning, match="40 of the 40 rows"):
        fitted.score(second, y)


def test_rows_drawn_more_often_than_trained_on_are_warned_of():
    X, y = trials(0, n_repeats=1), trials(1, n_repeats=1)
    fitted = MultiLevelOT().fit(X, y)
    rows = [0, 0, 1, 2, 3]
    with pytest.warns(LeakWarning):
        fitted.score(X[rows], y[rows])


@pytest.mark.parametrize(
    "labels",
    [
        np.arange(N_IMAGES),
        np.arange(N_IMAGES) - 20,
        np.arange(N_IMAGES) / 7,
        np.arange(N_IMAGES).astype("M8[s]"),
        pd.date_range("2020-01-01", periods=N_IMAGES),
        [("image", number) for number in range(N_IMAGES)],
        [1, "1", 2.5, *range(2, 39)],
        [b"a%d" % number for number in range(N_IMAGES)],
    ],
    ids=["whole", "negative", "real", "dates", "pandas", "tuples", "mixed", "bytes"],
)
def test_labels_of_every_kind_are_known_again(labels):
    X, y = trials(0, labels, 1), trials(1, labels, 1)
    fitted = SoftMatching().fit(X[:30], y[:30])
    with no_warning():
        fitted.score(X[30:], y[30:])
    with pytest.warns(LeakWarning, match="1 of the 11 rows"):
        fitted.score(X[29:], y[29:])
    # One side's labels are enough.
    with pytest.warns(LeakWarning):
        fitted.score(X[29:].with_stimuli(None), y[29:])


def test_equal_numbers_of_other_types_are_the_same_stimulus():
    X, y = trials(0, np.arange(40), 1), trials(1, np.arange(40), 1)
    fitted = SoftMatching().fit(X[:30], y[:30])
    real = [stack.with_stimuli(stack.stimuli.astype(float)) for stack in (X, y)]
    with pytest.warns(LeakWarning, match="1 of the 11 rows"):
        fitted.score(*(stack[29:] for stack in real))


_ELSEWHERE = """
import pickle, sys, warnings
fitted, X, y = pickle.load(open(sys.argv[1], "rb"))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    fitted.score(X, y)
print([warning.category.__name__ for warning in caught])
"""


def test_a_fit_remembers_digests_and_no_labels_in_every_process(tmp_path):
    X, y = trials(0, n_repeats=1), trials(1, n_repeats=1)
    fitted = MultiLevelOT().fit(X[:30], y[:30])
    assert b"image" not in pickle.dumps(fitted)
    path = tmp_path / "fit.pkl"
    path.write_bytes(pickle.dumps((fitted, X[25:], y[25:])))
    # Python's own hash of strings differs from process to process.
    for seed in ("1", "2"):
        found = subprocess.run(
            [sys.executable, "-c", _ELSEWHERE, str(path)],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert found.stdout.strip() == "['LeakWarning']"


def test_without_labels_nothing_is_remembered():
    X, y = (trials(seed).with_stimuli(None) for seed in (0, 1))
    fitted = MultiLevelOT().fit(X[~TORN], y[~TORN])
    with no_warning():
        fitted.score(X[TORN], y[TORN])


def test_folds_that_tear_repeats_warn_within_scikit_learns_tools():
    X, y = trials(0), trials(1)
    with pytest.warns(LeakWarning):
        cross_validate(MultiLevelOT(), X, y, cv=KFold(3, shuffle=True, random_state=0))


# -- the same stimuli in another recording ---------------------------------------------


def model_and_brain(run):
    """Return the features of a model, and a recording of one run of 60 images."""
    features = np.random.default_rng(0).normal(size=(60, 30))
    signal = np.random.default_rng(1).normal(size=(60, 20))
    noise = np.random.default_rng(2 + run).normal(size=(60, 20))
    names = [f"image {row}" for row in range(60)]
    return (
        LayerStack({"model": features}, stimuli=names),
        LayerStack({"V1": signal + noise}, stimuli=names),
    )


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("rows", [np.s_[:], np.s_[1:], np.s_[::-2]])
def test_another_run_of_one_side_is_told_where_the_other_is_a_model(swap, rows):
    first, second = model_and_brain(run=1), model_and_brain(run=2)
    if swap:
        first, second = first[::-1], second[::-1]
    fitted = SoftMatching().fit(*first)
    fitted.score(*(side[rows] for side in first))
    with pytest.warns(LeakWarning):
        fitted.score(*(side[rows] for side in second))


def test_leave_one_run_out_from_a_model_is_told():
    runs = [model_and_brain(run) for run in range(3)]
    X, y = (np.concatenate([run[side] for run in runs]) for side in (0, 1))
    with pytest.warns(LeakWarning):
        cross_val_score(SoftMatching(), X, y, cv=KFold(3))


def test_disjoint_trials_of_the_same_stimuli_are_told():
    _, one = model_and_brain(run=1)
    X, other = model_and_brain(run=2)
    y = LayerStack.from_trials(np.concatenate([one, other]))
    first, second = y.split_trials(random_state=0)
    fitted = SoftMatching().fit(X, first)
    with pytest.warns(LeakWarning):
        fitted.score(X, second)


@pytest.mark.parametrize("make", [np.round, lambda v: np.maximum(v - 1, 0)])
def test_another_run_of_sparse_responses_is_told(make):
    names = list(range(50))
    runs = [
        LayerStack(
            [make(np.random.default_rng(k).normal(size=(50, 12)))], stimuli=names
        )
        for k in range(2)
    ]
    fitted = SemiMatching().fit(runs[0], runs[0])
    fitted.score(runs[0][5:20], runs[0][5:20])
    with pytest.warns(LeakWarning):
        fitted.score(runs[1][5:20], runs[1][5:20])


def test_training_rows_that_a_transformer_rounds_are_no_leak():
    # The last component of as many units as rows is rounding.
    layer = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
    X = LayerStack([layer], stimuli=range(40))
    steps = make_pipeline(LayerwiseTransformer(PCA()), SoftMatching()).fit(X, X)
    steps.score(X[:10], X[:10])


@pytest.mark.parametrize(
    ("trained", "scored", "is_leak"),
    [
        (
            pd.date_range("2020", periods=8),
            list(pd.date_range("2020", periods=8)),
            True,
        ),
        (
            list(pd.date_range("2020", periods=8, tz="UTC")),
            list(pd.date_range("2020", periods=8, tz="UTC").tz_convert("Asia/Tokyo")),
            True,
        ),
        ([Fraction(k, 2) for k in range(8)], [k / 2 for k in range(8)], True),
        ([str(k) for k in range(8)], [str(k).encode() for k in range(8)], False),
        ([dt.date(2020, 1, k) for k in range(1, 9)], ["2020-01-01"] * 8, False),
    ],
)
def test_labels_are_the_same_where_python_says_so(trained, scored, is_leak):
    values = np.random.default_rng(0).normal(size=(2, 8, 4))
    fitted = SoftMatching().fit(
        LayerStack([values[0]], stimuli=trained), LayerStack([values[0]])
    )
    other = LayerStack([values[1]], stimuli=scored), LayerStack([values[1]])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LeakWarning)
        fitted.score(*other)
    assert bool(caught) == is_leak

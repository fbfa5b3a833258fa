import itertools
import math
import warnings

import numpy as np
import pandas as pd
import pytest
from joblib import effective_n_jobs
from scipy.stats import binom, kstest, norm, special_ortho_group
from scipy.stats import t as student_t
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmot import LayerStack, MultiLevelOT, SoftMatching
from skmot.exceptions import DeadUnitWarning, RowNumberWarning
from skmot.model_selection import (
    StimulusKFold,
    StimulusShuffleSplit,
    permutation_control,
)
from skmot.preprocessing import (
    LayerwiseTransformer,
    TransformedTargetLayers,
    UnitSubsampler,
)
from tests import reference
from tests.model_selection.common import FALSE_ALARM, ONE_SPLIT, stacks
from tests.networks import random_networks, rows
from tests.tables import assert_survives_files

# -- the definition ----------------------------------------------------------------


def slow_score(direction, X, y, predicted):
    return reference.score(y if direction == "target" else X, predicted)


# Few layers are quick to do slowly, and have few orders.
@pytest.mark.filterwarnings("ignore:The p-value of control")
@pytest.mark.parametrize("strategy", ["transport", "single_best", "pairwise_best"])
@pytest.mark.parametrize("direction", ["target", "source"])
@pytest.mark.parametrize("shape", [(3, 4), (4, 2)])
def test_layers_control_is_that_of_refitted_reconstructions(strategy, direction, shape):
    X, y = random_networks((7, 12, 5, 6)[: shape[0]], (6, 9, 11, 8)[: shape[1]])
    splits = list(KFold(3).split(X[0]))
    estimator = MultiLevelOT(strategy=strategy)
    # The deeper side is permuted.
    n_orders = math.factorial(max(shape))
    result = permutation_control(
        estimator,
        X,
        y,
        control="layers",
        cv=splits,
        n_permutations=n_orders,
        direction=direction,
        random_state=0,
    )
    slow = np.zeros((n_orders, 3))
    for number, (train, test) in enumerate(splits):
        fitted = MultiLevelOT(strategy=strategy).fit(rows(X, train), rows(y, train))
        slow_mot = reference.SlowMultiLevelOT(rows(X, train), rows(y, train))
        for k, order in enumerate(itertools.permutations(range(max(shape)))):
            side = "coupling_" if direction == "target" else "inverse_coupling_"
            coupling = np.take(getattr(fitted, side), order, axis=np.argmax(shape))
            if direction == "target":
                predicted = slow_mot.predict(rows(X, test), coupling)
            else:
                predicted = slow_mot.inverse_predict(rows(y, test), coupling)
            slow[k, number] = slow_score(
                direction, rows(X, test), rows(y, test), predicted
            )
    np.testing.assert_allclose(result.scores, slow[0], atol=1e-10)
    # As many null scores as orders: each order once.
    np.testing.assert_allclose(
        np.sort(result.null_scores), np.sort(slow.mean(axis=1)), atol=1e-10
    )
    at_least = np.count_nonzero(slow.mean(axis=1) >= slow[0].mean() - 1e-10)
    assert result.p_value == (at_least + 1) / (n_orders + 1)


def test_layers_control_of_stacks_of_stacks_and_in_a_pipeline():
    networks = [random_networks(n_stimuli=40, seed=seed) for seed in range(4)]
    X, y = ([network[side] for network in networks] for side in (0, 1))
    estimator = make_pipeline(
        LayerwiseTransformer(StandardScaler()), MultiLevelOT(MultiLevelOT())
    )
    train, test = np.arange(25), np.arange(25, 40)
    result = permutation_control(
        estimator,
        LayerStack(X),
        LayerStack(y),
        control="layers",
        cv=[(train, test)],
        n_permutations=24,
        random_state=0,
    )
    fitted = estimator.fit(LayerStack(X)[train], LayerStack(y)[train])
    coupling = fitted[-1].coupling_.copy()
    slow = []
    for order in itertools.permutations(range(4)):
        fitted[-1].coupling_ = coupling[list(order)]
        slow.append(fitted.score(LayerStack(X)[test], LayerStack(y)[test]))
    assert result.score == pytest.approx(slow[0], abs=1e-10)
    np.testing.assert_allclose(np.sort(result.null_scores), np.sort(slow), atol=1e-10)


@pytest.mark.parametrize("direction", ["target", "source"])
@pytest.mark.parametrize("how", ["rows", "groups", "blocks", "circular"])
def test_stimuli_control_is_that_of_rearranged_rows(direction, how):
    X, y = random_networks(n_stimuli=34)
    train, test = np.arange(22), np.arange(28, 34)
    groups = np.repeat(np.arange(17), 2)
    rearranged = {
        "rows": list(itertools.permutations(range(6))),
        "groups": [
            np.concatenate([[2 * g, 2 * g + 1] for g in order])
            for order in itertools.permutations(range(3))
        ],
        "circular": [np.roll(np.arange(6), shift) for shift in range(6)],
    }
    # Two blocks of two rows and two of one half: blocks of two.
    rearranged["blocks"] = rearranged["groups"]
    options = {
        "rows": {},
        "groups": {"groups": groups},
        "blocks": {"blocks": 2},
        "circular": {"blocks": "circular"},
    }[how]
    n_orders = len(rearranged[how])
    with warnings.catch_warnings():
        # So few rows are quick to do slowly, and have few orders.
        warnings.filterwarnings("ignore", "The p-value of control")
        result = permutation_control(
            MultiLevelOT(),
            X,
            y,
            control="stimuli",
            cv=[(train, test)],
            n_permutations=n_orders,
            direction=direction,
            random_state=0,
            **options,
        )
    fitted = MultiLevelOT().fit(rows(X, train), rows(y, train))
    score = fitted.score if direction == "target" else fitted.inverse_score
    slow = [
        score(rows(X, test), rows(y, test[np.asarray(order)]))
        for order in rearranged[how]
    ]
    assert result.smallest_p == 1 / min(n_orders, n_orders + 1)
    assert result.score == pytest.approx(slow[0], abs=1e-10)
    np.testing.assert_allclose(np.sort(result.null_scores), np.sort(slow), atol=1e-10)
    at_least = np.count_nonzero(np.array(slow) >= slow[0] - 1e-10)
    assert result.p_value == (at_least + 1) / (n_orders + 1)
    assert result.split_correlations == [[1]]
    assert np.isnan(result.pilot_correlation)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        # A short last block is no group that is left behind.
        ({"blocks": 2}, 0),
        ({"groups": [*range(23), 30, 30, 31, 31, 32, 32, 33]}, 1),
    ],
    ids=["blocks", "groups"],
)
@pytest.mark.filterwarnings("ignore:Only 86% of the rows")
def test_a_short_last_block_stays_and_groups_change_with_their_like(options, told):
    X, y = stacks(n_stimuli=30)
    cv = [(np.arange(18), np.arange(23, 30))]
    # Three blocks of two and one row, so 3! orders; as many of three groups of two.
    with pytest.warns(UserWarning, match=r"cannot be below 0.167: only 6") as caught:
        result = permutation_control(
            SoftMatching(), X, y, control="stimuli", cv=cv, **options
        )
    messages = [str(warning.message) for warning in caught]
    assert sum("Only 86% of the rows can move" in text for text in messages) == told
    assert result.movable_share == pytest.approx(6 / 7)
    assert result.smallest_p == 1 / 6
    assert result.p_value >= 1 / 6


@pytest.mark.filterwarnings("ignore:The p-value of control")
def test_a_unit_constant_in_the_held_out_rows_is_left_out_of_null_scores_too():
    X, y = random_networks(n_stimuli=40)
    train, test = np.arange(34), np.arange(34, 40)
    y[0][test, 2] = 1.5
    X[1][test] = 0.1
    for control in ("stimuli", "layers"):
        result = permutation_control(
            MultiLevelOT(), X, y, control=control, cv=[(train, test)], n_permutations=9
        )
        fitted = MultiLevelOT().fit(rows(X, train), rows(y, train))
        score = fitted.score(rows(X, test), rows(y, test))
        assert result.score == pytest.approx(score, abs=1e-10)
        if control == "stimuli":
            # Each null score is that of some order of the rows.
            every = [
                fitted.score(rows(X, test), rows(y, test[list(order)]))
                for order in itertools.permutations(range(6))
            ]
            gaps = np.abs(np.subtract.outer(result.null_scores, every)).min(axis=1)
            assert gaps.max() < 1e-10


def test_refitted_control_permutes_before_splitting():
    X, y = stacks(n_stimuli=24)
    cv = KFold(2)
    with pytest.warns(UserWarning, match="only 6"):
        result = permutation_control(
            SoftMatching(),
            X.with_stimuli(np.arange(24)),
            y.with_stimuli(np.arange(24)),
            control="stimuli",
            cv=cv,
            blocks=8,
            refit=True,
            n_permutations=6,
        )
    slow = []
    for order in itertools.permutations(np.split(np.arange(24), 3)):
        permuted = y[np.concatenate(order)]
        slow.append(
            np.mean(
                [
                    SoftMatching()
                    .fit(X[train], permuted[train])
                    .score(X[test], permuted[test])
                    for train, test in cv.split(X)
                ]
            )
        )
    np.testing.assert_allclose(np.sort(result.null_scores), np.sort(slow), atol=1e-10)
    assert result.split_correlations is None
    # The upper tail of a new draw from a normal distribution with six known draws.
    spread = np.std(slow, ddof=1) * np.sqrt(1 + 1 / 6)
    tail = student_t(df=5, loc=np.mean(slow), scale=spread).sf(result.score)
    assert result.p_value_t == pytest.approx(tail, rel=1e-6)


def test_foreign_estimators_are_scored_by_correlation():
    X, y = random_networks(n_stimuli=40)
    train, test = next(KFold(2).split(X[0]))
    result = permutation_control(
        Ridge(), X, y, control="stimuli", cv=[(train, test)], n_permutations=19
    )
    predicted = (
        Ridge()
        .fit(np.hstack(X)[train], np.hstack(y)[train])
        .predict(np.hstack(X)[test])
    )
    widths = np.cumsum([layer.shape[1] for layer in y])[:-1]
    expected = reference.score(rows(y, test), np.split(predicted, widths, axis=1))
    assert result.score == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore:The p-value of control='layers' cannot")
@pytest.mark.parametrize(
    "transformer",
    [
        UnitSubsampler(0.5, random_state=0),
        LayerwiseTransformer(PCA(n_components=2, random_state=0)),
    ],
    ids=["subsampler", "pca"],
)
@pytest.mark.parametrize("control", ["stimuli", "layers", "basis"])
def test_a_transformed_target_is_scored_in_its_own_space(control, transformer):
    X, y = stacks()
    method = TransformedTargetLayers(MultiLevelOT(), transformer)
    result = permutation_control(
        method,
        X,
        y,
        control=control,
        cv=KFold(2),
        n_permutations=19,
        random_state=0,
    )
    expected = [
        method.fit(X[train], y[train]).score(X[test], y[test])
        for train, test in KFold(2).split(X)
    ]
    np.testing.assert_allclose(result.scores, expected, atol=1e-12)


def test_basis_control_rotates_each_source_layer():
    class Spy(SoftMatching):
        seen = []

        def fit(self, X, y):
            self.seen.append([np.asarray(layer) for layer in X.layers])
            return super().fit(X, y)

    X, y = random_networks(source_widths=(7, 1, 5), n_stimuli=40)
    result = permutation_control(
        Spy(),
        X,
        y,
        control="basis",
        scale="raw",
        cv=ONE_SPLIT,
        n_permutations=19,
        random_state=0,
    )
    train, _ = next(ONE_SPLIT.split(X[0]))
    # 19 rotations, and the data as they are.
    assert len(Spy.seen) == 20
    for fitted in Spy.seen:
        for layer, rotated in zip(X, fitted, strict=True):
            rotation = np.linalg.lstsq(layer[train], rotated)[0]
            np.testing.assert_allclose(layer[train] @ rotation, rotated, atol=1e-9)
            np.testing.assert_allclose(
                rotation.T @ rotation, np.eye(layer.shape[1]), atol=1e-9
            )
            assert np.linalg.det(rotation) == pytest.approx(1)
    assert len({fitted[0][0, 0] for fitted in Spy.seen}) == 20
    assert result.smallest_p == 1 / 20
    assert "axes" in result.null_hypothesis


def with_dead_units(X, n_dead):
    """Put units after constant ones."""
    wide = np.zeros((len(X), X.shape[1] + n_dead))
    wide[:, -X.shape[1] :] = X
    return wide


def test_basis_control_leaves_dead_units_as_they_are():
    class Spy(SoftMatching):
        seen = []

        def fit(self, X, y):
            self.seen.append(np.asarray(X.layers[0]))
            return super().fit(X, y)

    rng = np.random.default_rng(0)
    X = with_dead_units(rng.normal(size=(40, 4)), 3)
    # Varies in held-out rows alone.
    train, test = next(ONE_SPLIT.split(X))
    X[:, 0] = 2.0
    X[test, 0] = rng.normal(size=len(test))
    with pytest.warns(DeadUnitWarning):
        permutation_control(
            Spy(),
            X,
            rng.normal(size=(40, 5)),
            control="basis",
            scale="raw",
            cv=ONE_SPLIT,
            n_permutations=19,
            random_state=0,
        )
    assert len(Spy.seen) == 20
    for fitted in Spy.seen:
        np.testing.assert_array_equal(fitted[:, :3], X[train, :3])
        rotation = np.linalg.lstsq(X[train, 3:], fitted[:, 3:])[0]
        np.testing.assert_allclose(rotation.T @ rotation, np.eye(4), atol=1e-9)
    assert len({fitted[0, 3] for fitted in Spy.seen}) == 20


@pytest.mark.parametrize(
    "options", [{"control": "basis", "scale": "raw"}, {"refit": True}]
)
def test_controls_warn_once_of_what_their_fits_warn_of(options):
    X, y = random_networks()
    X[0][:, 2] = 1.0
    # Dead in some training rows, so that fits count differently.
    X[0][:, 1] = np.arange(60) < 20
    with pytest.warns(DeadUnitWarning, match=r"60 time\(s\) in all") as caught:
        permutation_control(
            SoftMatching(),
            X[0],
            y[0],
            **{"control": "stimuli", "cv": KFold(3), "n_permutations": 19, **options},
        )
    assert len(caught) == 1
    assert caught[0].filename == __file__


# -- permutations in parallel --------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"control": "basis"},
        {"refit": True},
        {"statistic": "cost"},
        {"n_pilot": 5},
    ],
    ids=lambda options: next(iter(options)),
)
def test_parallel_permutations_give_the_same_numbers_and_warn_once(options):
    X, y = random_networks((5, 6), (4, 5), n_stimuli=40)
    X[0][:, 2] = 1.0
    # A RandomState goes on from where the control left it.
    results, after, messages = [], [], []
    for n_jobs in (None, 2):
        random = np.random.RandomState(0)
        with pytest.warns(DeadUnitWarning) as caught:
            results.append(
                permutation_control(
                    MultiLevelOT(n_jobs=2),
                    LayerStack(X, stimuli=np.arange(40)),
                    LayerStack(y, stimuli=np.arange(40)),
                    **{"control": "stimuli", "cv": KFold(2), **options},
                    n_permutations=19,
                    random_state=random,
                    n_jobs=n_jobs,
                )
            )
        after.append(random.normal())
        messages.append([str(warning.message) for warning in caught])
    one, two = results
    np.testing.assert_array_equal(one.scores, two.scores)
    np.testing.assert_array_equal(one.null_scores, two.null_scores)
    np.testing.assert_equal(one.pilot_correlation, two.pilot_correlation)
    assert len(set(one.null_scores)) > 10
    assert after[0] == after[1]
    assert messages[0] == messages[1]
    assert len(messages[0]) == 1


def test_rotations_are_those_of_scipy_in_turn():
    X, y = random_networks((5, 1, 6), (4, 5), n_stimuli=40)
    estimator = MultiLevelOT()
    result = permutation_control(
        estimator,
        X,
        y,
        control="basis",
        scale="raw",
        cv=ONE_SPLIT,
        n_permutations=19,
        random_state=3,
    )
    random = np.random.RandomState(3)
    train, test = next(ONE_SPLIT.split(X[0]))
    expected = []
    for _ in range(19):
        rotated = [
            layer
            if layer.shape[1] == 1
            else layer @ special_ortho_group.rvs(layer.shape[1], random_state=random)
            for layer in X
        ]
        fitted = estimator.fit(rows(rotated, train), rows(y, train))
        expected.append(fitted.score(rows(rotated, test), rows(y, test)))
    np.testing.assert_allclose(result.null_scores, expected, atol=1e-12)


class JobsAsCost(BaseEstimator):
    """Its cost is the number of jobs that a fit may use if it asks for two."""

    def fit(self, X, y):
        self.cost_ = effective_n_jobs(2)
        return self


def test_fits_within_parallel_permutations_use_one_job():
    X, y = random_networks()
    result = permutation_control(
        JobsAsCost(),
        X,
        y,
        control="stimuli",
        statistic="cost",
        n_permutations=19,
        random_state=0,
        n_jobs=2,
    )
    assert result.score == -2
    np.testing.assert_array_equal(result.null_scores, -1)


# -- what controls say -------------------------------------------------------------


def test_few_layers_cannot_say_much():
    X, y = stacks(source_widths=(7, 12, 5), target_widths=(6, 9, 11))
    with pytest.warns(UserWarning, match=r"cannot be below 0.167: only 6") as caught:
        result = permutation_control(
            MultiLevelOT(), X, y, control="layers", cv=3, n_permutations=999
        )
    assert caught[0].filename == __file__
    assert result.smallest_p == 1 / 6
    assert result.p_value >= 1 / 6
    assert result.null_scores.shape == (999,)
    with pytest.warns(UserWarning, match="raise `n_permutations`"):
        permutation_control(
            SoftMatching(), X, y, control="stimuli", cv=3, n_permutations=9
        )


def autoregressive(rng, n_rows, n_units, memory):
    """Return units that forget the share 1 - memory of their past a row."""
    noise = rng.normal(size=(n_rows + 50, n_units))
    for row in range(1, len(noise)):
        noise[row] += memory * noise[row - 1]
    return noise[50:]


def independent(kind, seed, n_layers):
    rng = np.random.default_rng(seed)
    networks = []
    for _ in range(2):
        if kind == "repeats":
            # Four repeats of 20 stimuli, in random order.
            draws = [
                np.repeat(rng.normal(size=(20, 12)), 4, axis=0)
                + 0.3 * rng.normal(size=(80, 12))
                for _ in range(n_layers)
            ]
        elif kind == "time":
            draws = [autoregressive(rng, 150, 12, 0.8) for _ in range(n_layers)]
        else:
            draws = [rng.normal(size=(60, 12)) for _ in range(n_layers)]
        networks.append(LayerStack(draws))
    return networks


REPEATS = np.repeat(np.arange(20), 4)
FORWARD = TimeSeriesSplit(2, gap=15)
GROUPED = StimulusShuffleSplit(1, test_size=0.4, random_state=0)
N_SEEDS = 100


def p_values(kind, n_layers=2, n_seeds=N_SEEDS, estimator=None, **options):
    found = []
    for seed in range(n_seeds):
        X, y = independent(kind, seed, n_layers)
        result = permutation_control(
            MultiLevelOT() if estimator is None else estimator,
            X,
            y,
            random_state=seed,
            **{"n_permutations": 99, **options},
        )
        found.append(result.p_value)
    return np.array(found)


def assert_never_liberal(p):
    for level in (0.05, 0.2):
        most = binom.ppf(1 - FALSE_ALARM / 3, len(p), level)
        assert np.count_nonzero(p <= level) <= most


def assert_uniform(p, step=1 / 100):
    assert_never_liberal(p)
    # P-values are multiples of a step: in the middle of it they are nearest to a
    # continuous distribution.
    assert kstest(p - step / 2, "uniform").pvalue > FALSE_ALARM / 3


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("rows", {"cv": ONE_SPLIT}),
        ("rows", {"cv": TimeSeriesSplit(3)}),
        ("rows", {"cv": ONE_SPLIT, "direction": "source"}),
        ("repeats", {"cv": GROUPED, "groups": REPEATS}),
        ("time", {"cv": FORWARD, "blocks": "circular"}),
        ("time", {"cv": TimeSeriesSplit(2, gap=16), "blocks": 10}),
    ],
    ids=["rows", "forward", "source", "repeats", "circular", "blocks"],
)
def test_p_values_of_unrelated_networks_are_uniform(kind, options):
    # Stouffer's combination of several splits is continuous.
    step = 0 if isinstance(options["cv"], TimeSeriesSplit) else 1 / 100
    assert_uniform(p_values(kind, control="stimuli", **options), step)


def test_p_values_of_refits_are_uniform_in_cross_validation():
    p = p_values(
        "rows",
        n_layers=1,
        n_seeds=40,
        control="stimuli",
        cv=KFold(3),
        refit=True,
        estimator=SoftMatching(),
        n_permutations=19,
    )
    assert_uniform(p, step=1 / 20)


def test_p_values_of_rotations_are_uniform():
    p = p_values(
        "rows",
        n_layers=1,
        n_seeds=40,
        control="basis",
        # The larger of two p-values is not uniform.
        scale="standardized",
        cv=ONE_SPLIT,
        estimator=SoftMatching(),
        n_permutations=19,
    )
    assert_uniform(p, step=1 / 20)


@pytest.mark.filterwarnings("ignore::skmot.exceptions.DeadUnitWarning")
def test_p_values_of_rotations_are_uniform_among_dead_units():
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(60, 8))
        # The same space, in a basis of its own: the null hypothesis, with something
        # to be reconstructed.
        basis = special_ortho_group.rvs(8, random_state=seed)
        y = X @ basis + 0.5 * rng.normal(size=(60, 8))
        result = permutation_control(
            SoftMatching(),
            with_dead_units(X, 24),
            y,
            control="basis",
            scale="raw",
            cv=ONE_SPLIT,
            n_permutations=19,
            random_state=seed,
        )
        found.append(result.p_value)
    assert_uniform(np.array(found), step=1 / 20)
    # A mean of 40 uniform numbers strays from the middle by 0.05 a deviation.
    assert np.mean(found) == pytest.approx(0.5 + 1 / 40, abs=0.15)


@pytest.mark.parametrize("kind", ["rows", "repeats", "time"])
def test_p_values_of_layer_orders_are_uniform(kind):
    options = {
        "rows": {"cv": ONE_SPLIT},
        "repeats": {"cv": GROUPED, "groups": REPEATS},
        "time": {"cv": FORWARD},
    }[kind]
    p = p_values(
        kind, n_layers=4, n_seeds=60, control="layers", n_permutations=24, **options
    )
    assert_uniform(p, step=1 / 25)


@pytest.mark.parametrize(("control", "n_layers"), [("stimuli", 1), ("layers", 4)])
def test_cross_validation_with_kept_fits_is_never_liberal(control, n_layers):
    # The pilot of "stimuli" takes 45 fits a seed.
    options = {"estimator": SoftMatching()} if control == "stimuli" else {}
    p = p_values(
        "rows", n_layers=n_layers, n_seeds=30, control=control, cv=KFold(3), **options
    )
    assert_never_liberal(p)


@pytest.mark.parametrize("kind", ["time", "repeats"])
def test_free_permutation_of_dependent_rows_is_too_liberal(kind):
    cv = FORWARD if kind == "time" else [next(GROUPED.split(REPEATS, None, REPEATS))]
    p = p_values(kind, control="stimuli", cv=cv)
    # More than chance allows an honest one.
    assert np.count_nonzero(p <= 0.05) > binom.ppf(1 - FALSE_ALARM, len(p), 0.05)


@pytest.mark.parametrize("direction", ["target", "source"])
def test_p_values_of_networks_that_share_structure_are_small(direction):
    X, y = stacks(
        source_widths=(15,) * 5, target_widths=(15,) * 5, n_stimuli=80, seed=3
    )
    for control, options in [
        ("stimuli", {}),
        ("stimuli", {"groups": np.repeat(np.arange(40), 2)}),
        ("layers", {}),
    ]:
        result = permutation_control(
            MultiLevelOT(),
            X,
            y,
            control=control,
            cv=4,
            direction=direction,
            n_permutations=59,
            random_state=0,
            **options,
        )
        assert result.p_value <= 0.05


def test_a_shared_basis_is_found_and_a_shared_space_is_none():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 12))
    y = X[:, ::-1] + rng.normal(size=(80, 12))
    rotated = X @ special_ortho_group.rvs(12, random_state=0)
    p_values = [
        permutation_control(
            SoftMatching(),
            source,
            y,
            control="basis",
            cv=4,
            n_permutations=59,
            random_state=0,
        ).p_value
        for source in (X, rotated)
    ]
    assert p_values[0] == 1 / 60
    assert p_values[1] > 0.05


def test_shared_structure_in_time_is_found():
    rng = np.random.default_rng(0)
    latent = autoregressive(rng, 150, 12, 0.8)
    X, y = (latent + 0.5 * rng.normal(size=latent.shape) for _ in range(2))
    result = permutation_control(
        SoftMatching(),
        X,
        y,
        control="stimuli",
        cv=FORWARD,
        blocks="circular",
        random_state=0,
    )
    # 35 and 85 rows are trained on, and 50 held out, which have 50 shifts.
    weights = np.sqrt([35, 85])
    z = norm.isf(1 / 50) * weights.sum() / np.linalg.norm(weights)
    assert result.smallest_p == pytest.approx(norm.sf(z))
    assert result.p_value <= 5 / 1000


@pytest.mark.parametrize("control", ["stimuli", "layers", "basis"])
def test_controls_are_reproducible(control):
    X, y = stacks(source_widths=(5, 6, 7, 8), target_widths=(5, 6, 7, 8))
    first, second = (
        permutation_control(
            MultiLevelOT(),
            X,
            y,
            control=control,
            cv=ONE_SPLIT,
            n_permutations=20,
            random_state=5,
        )
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.null_scores, second.null_scores)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"control": "layers", "blocks": 3}, "options of control='stimuli'"),
        ({"control": "basis", "refit": True}, "options of control='stimuli'"),
        ({"control": "layers", "statistic": "cost"}, "options of control='stimuli'"),
        ({"scale": "raw"}, "option of control='basis'"),
        ({"runs": np.zeros(60)}, "give `blocks` too"),
        ({"blocks": 3, "runs": np.zeros(59)}, "59 labels for 60 rows"),
        ({"blocks": 3, "runs": np.arange(60) % 2}, "'?0.*row 2 comes after"),
        ({"statistic": "cost", "direction": "source"}, "has no direction"),
        ({"blocks": 3, "groups": np.arange(60)}, "give one"),
        ({"blocks": 3, "cv": KFold(3, shuffle=True)}, "must be consecutive"),
        ({"blocks": 20}, "Nothing can be permuted"),
        ({"groups": np.arange(59)}, "59 labels for 60 rows"),
        ({"groups": np.arange(60) // 2, "cv": KFold(7)}, "both in training and held"),
        ({"cv": [(np.arange(40), np.arange(39, 60))]}, "row 39"),
        ({"cv": [(np.arange(40), [41])]}, "holds out 1 row"),
        ({"cv": []}, "makes no split"),
        ({"control": "other"}, "'control' parameter"),
        ({"direction": "both"}, "'direction' parameter"),
        ({"n_permutations": 0}, "'n_permutations' parameter"),
        ({"n_pilot": -1}, "'n_pilot' parameter"),
        ({"statistic": "loss"}, "'statistic' parameter"),
    ],
)
def test_bad_options_are_refused(options, message):
    X, y = stacks()
    options = {"control": "stimuli", "cv": TimeSeriesSplit(2, gap=10), **options}
    with pytest.raises(ValueError, match=message):
        permutation_control(SoftMatching(), X, y, **options)


def test_networks_of_other_stimuli_are_refused():
    X, y = stacks()
    with pytest.raises(ValueError, match="X has 60 stimuli and y has 59"):
        permutation_control(SoftMatching(), X, y[:59], control="stimuli", cv=3)
    with pytest.raises(TypeError, match="SoftMatching does not have"):
        permutation_control(SoftMatching(), X, y, control="layers", cv=3)


@pytest.mark.filterwarnings("ignore:The p-value of control")
def test_a_single_permutation_is_enough():
    X, y = stacks(source_widths=(4,), target_widths=(5,), n_stimuli=20)
    result = permutation_control(
        SoftMatching(), X, y, control="stimuli", cv=2, n_permutations=1, n_pilot=0
    )
    assert len(result.null_scores) == 1
    assert result.smallest_p == 0.5


@pytest.mark.filterwarnings("ignore:The p-value of control")
@pytest.mark.parametrize("statistic", ["score", "cost"])
def test_the_conclusion_has_the_number_that_is_tested(statistic):
    X, y = stacks(source_widths=(4,), target_widths=(5,), n_stimuli=20)
    result = permutation_control(
        SoftMatching(), X, y, cv=2, n_permutations=5, statistic=statistic, n_pilot=0
    )
    sign = -1 if statistic == "cost" else 1
    digits = ".3g" if statistic == "cost" else "z.2f"
    assert (
        f"({statistic} {sign * result.score:{digits}}, permuted "
        f"{sign * result.null_scores.mean():{digits}} on average)"
    ) in str(result)


@pytest.mark.filterwarnings("ignore:The p-value of control")
def test_row_numbers_in_another_order_are_warned_of_once():
    X, y = (np.asarray(side) for side in stacks(n_stimuli=20))
    frames = pd.DataFrame(X), pd.DataFrame(y, index=np.arange(20)[::-1])
    with pytest.warns(RowNumberWarning) as caught:
        permutation_control(SoftMatching(), *frames, cv=2, n_permutations=3, refit=True)
    assert [told.category for told in caught].count(RowNumberWarning) == 1


def test_training_rows_beside_held_out_ones_are_warned_of():
    X, y = stacks()
    for blocks, gap in [("circular", 0), (4, 3)]:
        with pytest.warns(UserWarning, match=f"are {gap + 1} row") as caught:
            permutation_control(
                SoftMatching(),
                X,
                y,
                control="stimuli",
                cv=TimeSeriesSplit(2, gap=gap),
                blocks=blocks,
            )
        assert caught[0].filename == __file__


def test_groups_that_cannot_move_are_told():
    # Half of the groups have a size of their own, and stay where they are.
    groups = np.repeat(np.arange(40), np.r_[np.arange(5, 25), np.full(20, 10)])
    rng = np.random.default_rng(0)
    X = rng.normal(size=(len(groups), 20))
    y = X + rng.normal(size=X.shape)
    settings = {"control": "stimuli", "n_permutations": 19, "random_state": 0}
    with pytest.warns(UserWarning, match=r"Only \d\d% of the rows can move"):
        result = permutation_control(
            SoftMatching(), X, y, cv=StimulusKFold(3), groups=groups, **settings
        )
    assert 0.3 < result.movable_share < 0.6
    with pytest.warns(UserWarning, match=r"Only \d\d% of the rows can move"):
        refitted = permutation_control(
            SoftMatching(), X, y, cv=3, groups=groups, refit=True, **settings
        )
    # Sizes from 5 to 24 occur once, but for ten.
    movable = (21 * 10) / len(groups)
    assert refitted.movable_share == pytest.approx(movable)
    plain = permutation_control(SoftMatching(), X, y, cv=3, **settings)
    assert plain.movable_share == 1


@pytest.mark.parametrize("by", ["labels", "groups"])
def test_the_share_of_rows_that_move_is_that_of_stimuli_with_as_many_trials(by):
    # Held out are eight images of three trials, and two of a number of their own.
    n_trials = np.r_[np.full(6, 4), np.full(8, 3), 9, 11]
    images = np.repeat([f"image {number}" for number in range(16)], n_trials)
    test = np.flatnonzero(np.isin(images, [f"image {k}" for k in range(6, 16)]))
    cv = [(np.setdiff1d(np.arange(len(images)), test), test)]
    rng = np.random.default_rng(1)
    X = LayerStack([rng.normal(size=(len(images), 6))])
    y = X.map(lambda layer: layer + rng.normal(size=layer.shape))
    options = {"groups": images}
    if by == "labels":
        X, y, options = X.with_stimuli(images), y.with_stimuli(images), {}
    with pytest.warns(UserWarning, match=r"Only 55% of the rows can move") as caught:
        result = permutation_control(
            SoftMatching(), X, y, control="stimuli", cv=cv, random_state=0, **options
        )
    assert caught[0].filename == __file__
    assert result.movable_share == pytest.approx(8 * 3 / (8 * 3 + 9 + 11))


# -- defaults and tables ---------------------------------------------------------------


def test_stimuli_and_five_folds_are_the_defaults():
    X, y = stacks()
    options = {"n_permutations": 19, "n_pilot": 0, "random_state": 0}
    default = permutation_control(MultiLevelOT(), X, y, **options)
    named = permutation_control(
        MultiLevelOT(), X, y, control="stimuli", cv=KFold(5), **options
    )
    assert default.control == "stimuli"
    assert len(default.scores) == 5
    np.testing.assert_array_equal(default.scores, named.scores)
    np.testing.assert_array_equal(default.null_scores, named.null_scores)


@pytest.mark.filterwarnings("ignore:The p-value of control")
def test_controls_have_tables_of_results_splits_permutations_and_scales():
    X, y = stacks()
    options = {"cv": 3, "n_permutations": 5, "n_pilot": 0, "random_state": 0}
    results = [
        permutation_control(MultiLevelOT(), X, y, **how, **options)
        for how in (
            {"control": "stimuli"},
            {"control": "layers"},
            {"control": "basis"},
            {"statistic": "cost"},
        )
    ]
    frame = pd.concat([result.to_frame() for result in results], ignore_index=True)
    assert frame["control"].tolist() == ["stimuli", "layers", "basis", "stimuli"]
    for name in ("score", "p_value", "statistic", "smallest_p", "null_hypothesis"):
        assert frame[name].tolist() == [result[name] for result in results]
    assert_survives_files(frame)
    for result in results:
        splits = result.to_frame("splits")
        permutations = result.to_frame("permutations")
        assert splits["score"].tolist() == result.scores.tolist()
        assert splits["split"].tolist() == list(range(len(result.scores)))
        assert permutations["score"].tolist() == result.null_scores.tolist()
        assert permutations["permutation"].tolist() == list(range(5))
        assert_survives_files(splits)
        assert_survives_files(permutations)
    scales = results[2].to_frame("scales").set_index("scale")
    assert scales["p_value"].max() == results[2].p_value
    assert scales.loc[results[2].decisive_scale, "p_value"] == results[2].p_value
    with pytest.raises(ValueError, match="got 'scales'"):
        results[0].to_frame("scales")

import itertools
import math
import warnings

import numpy as np
import pytest
from scipy.stats import binom, kstest, special_ortho_group
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    ShuffleSplit,
    TimeSeriesSplit,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmot import LayerStack, MultiLevelOT, SoftMatching
from skmot.exceptions import DeadUnitWarning
from skmot.model_selection import (
    StimulusKFold,
    StimulusShuffleSplit,
    compare,
    permutation_control,
    train_validation_test_split,
)
from skmot.preprocessing import (
    LayerwiseTransformer,
    TransformedTargetLayers,
    UnitSubsampler,
)
from tests import reference
from tests.networks import random_networks, rows

ONE_SPLIT = ShuffleSplit(1, test_size=0.4, random_state=0)
# Seeds are fixed, so a test either always passes or always fails; had they been drawn
# anew, a right implementation would fail each check of uniformity this often.
FALSE_ALARM = 1e-3


def stacks(**kwargs):
    return [LayerStack(layers) for layers in random_networks(**kwargs)]


# -- splits ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "splitter",
    [
        StimulusKFold(4),
        StimulusKFold(4, shuffle=True, random_state=0),
        StimulusShuffleSplit(6, test_size=0.3, random_state=0),
    ],
)
@pytest.mark.parametrize("labels", [np.arange(12), [f"image {i}" for i in range(12)]])
def test_rows_of_a_stimulus_never_straddle(splitter, labels):
    groups = np.repeat(labels, [1, 2, 3] * 4)[np.random.default_rng(0).permutation(24)]
    X = LayerStack([np.zeros((24, 2))])
    held_out = []
    for train, test in splitter.split(X, groups=groups):
        assert not set(groups[train]) & set(groups[test])
        np.testing.assert_array_equal(np.union1d(train, test), np.arange(24))
        held_out.append(test)
    assert len(held_out) == splitter.get_n_splits()
    if isinstance(splitter, StimulusKFold):
        np.testing.assert_array_equal(np.sort(np.concatenate(held_out)), np.arange(24))


@pytest.mark.parametrize("splitter", [StimulusKFold(2), StimulusShuffleSplit(2)])
def test_groups_are_asked_for_and_checked(splitter):
    X = np.zeros((6, 2))
    with pytest.raises(ValueError, match="'groups' parameter should not be None"):
        splitter.split(X)
    with pytest.raises(ValueError, match="5 labels for 6 rows"):
        splitter.split(X, groups=np.arange(5))
    with pytest.raises(ValueError, match="row 3 is missing"):
        splitter.split(X, groups=[0.0, 0, 1, np.nan, 2, 2])
    with pytest.raises(ValueError, match="one label a row"):
        splitter.split(X, groups=3)
    # A list of three layers has three rows for scikit-learn.
    with pytest.raises(ValueError, match="6 labels for 3 rows"):
        splitter.split([X, X, X], groups=np.arange(6))


@pytest.mark.parametrize(
    "splitter", [StimulusKFold(3), StimulusShuffleSplit(3, random_state=0)]
)
def test_groups_are_routed(splitter):
    assert splitter.get_metadata_routing().split.requests == {"groups": True}
    X, y = stacks()
    groups = np.repeat(np.arange(20), 3)
    with config_context(enable_metadata_routing=True):
        found = cross_validate(
            SoftMatching(), X, y, cv=splitter, params={"groups": groups}
        )
    by_hand = [
        SoftMatching().fit(X[train], y[train]).score(X[test], y[test])
        for train, test in splitter.split(X, groups=groups)
    ]
    np.testing.assert_allclose(found["test_score"], by_hand)
    with pytest.raises(ValueError, match="groups"):
        cross_validate(SoftMatching(), X, y, cv=splitter)


def test_three_parts_are_what_they_came_as():
    source, target = random_networks()
    X = LayerStack(source, stimuli=np.arange(60))
    y = dict(zip("abcd", target, strict=True))
    labels = np.arange(60)
    parts = train_validation_test_split(X, y, source, source[0], labels, random_state=0)
    assert len(parts) == 15
    assert [len(part) for part in parts[:3]] == [42, 6, 12]
    assert all(isinstance(part, LayerStack) for part in parts[:3])
    assert all(isinstance(part, dict) for part in parts[3:6])
    assert all(isinstance(part, list) for part in parts[6:9])
    kept = parts[12:]
    np.testing.assert_array_equal(np.sort(np.concatenate(kept)), labels)
    for number, selected in enumerate(kept):
        np.testing.assert_array_equal(parts[number].stimuli, selected)
        np.testing.assert_array_equal(parts[3 + number]["b"], target[1][selected])
        np.testing.assert_array_equal(parts[6 + number][2], source[2][selected])
        np.testing.assert_array_equal(parts[9 + number], source[0][selected])


def test_three_parts_keep_groups_together():
    groups = np.repeat([f"image {i}" for i in range(20)], 3)
    parts = train_validation_test_split(
        groups, groups=groups, validation_size=3, test_size=0.25, random_state=0
    )
    assert [len(set(part)) for part in parts] == [12, 3, 5]
    assert sum(len(part) for part in parts) == 60


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"test_size": 0.95}, "none is left to train on"),
        ({"test_size": 0}, "`test_size` must be"),
        ({"validation_size": 1.5}, "`validation_size` must be"),
    ],
)
def test_impossible_parts_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        train_validation_test_split(np.zeros((10, 2)), **sizes)


def test_three_parts_need_equal_rows():
    with pytest.raises(ValueError, match="at least one array"):
        train_validation_test_split()
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        train_validation_test_split(np.zeros((10, 2)), np.zeros(9))


# -- permutation controls: the definition --------------------------------------------


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
    n_orders = math.factorial(shape[0])
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
        for k, order in enumerate(itertools.permutations(range(shape[0]))):
            if direction == "target":
                coupling = fitted.coupling_[list(order)]
                predicted = slow_mot.predict(rows(X, test), coupling)
            else:
                coupling = fitted.inverse_coupling_[list(order)]
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
    assert not result.conservative


def test_a_short_last_block_stays_and_groups_change_with_their_like():
    X, y = stacks(n_stimuli=30)
    cv = [(np.arange(18), np.arange(23, 30))]
    # Three blocks of two and one row, so 3! orders; as many of three groups of two.
    for options in (
        {"blocks": 2},
        {"groups": [*range(23), 30, 30, 31, 31, 32, 32, 33]},
    ):
        with pytest.warns(UserWarning, match=r"cannot be below 0.167: only 6"):
            result = permutation_control(
                SoftMatching(), X, y, control="stimuli", cv=cv, **options
            )
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
    assert not result.conservative


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


def test_basis_control_rotates_each_source_layer():
    class Spy(SoftMatching):
        seen = []

        def fit(self, X, y):
            self.seen.append([np.asarray(layer) for layer in X.layers])
            return super().fit(X, y)

    X, y = random_networks(source_widths=(7, 1, 5), n_stimuli=40)
    result = permutation_control(
        Spy(), X, y, control="basis", cv=ONE_SPLIT, n_permutations=19, random_state=0
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
    assert "basis" in result.null_hypothesis


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


@pytest.mark.parametrize("options", [{"control": "basis"}, {"refit": True}])
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


# -- permutation controls: what they say ----------------------------------------------


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
    assert_uniform(p_values(kind, control="stimuli", **options))


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
    p = p_values("rows", n_layers=n_layers, n_seeds=60, control=control, cv=KFold(4))
    assert_never_liberal(p)


@pytest.mark.parametrize("kind", ["time", "repeats"])
def test_free_permutation_of_dependent_rows_is_too_liberal(kind):
    cv = FORWARD if kind == "time" else [next(GROUPED.split(REPEATS, None, REPEATS))]
    p = p_values(kind, control="stimuli", cv=cv)
    # More than chance allows an honest one.
    assert np.count_nonzero(p <= 0.05) > binom.ppf(1 - FALSE_ALARM, len(p), 0.05)


def test_dependent_splits_are_called_conservative():
    X, y = stacks()
    for cv, conservative in [
        (KFold(3), True),
        (ShuffleSplit(2, random_state=0), True),
        (TimeSeriesSplit(3), False),
        (ONE_SPLIT, False),
    ]:
        result = permutation_control(
            SoftMatching(), X, y, control="stimuli", cv=cv, n_permutations=19
        )
        assert result.conservative is conservative


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
    assert result.smallest_p == 1 / 1000
    # Of 999 pairs of shifts some may be no shift in either split.
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


# -- compare -----------------------------------------------------------------------


class CostOnly(BaseEstimator):
    """A method without a map."""

    def fit(self, X, y):
        self.cost_ = abs(float(np.asarray(X).mean() - np.asarray(y).mean()))
        return self


class ForwardOnly(BaseEstimator):
    """A method without an inverse."""

    def fit(self, X, y):
        self.inner_ = SoftMatching().fit(X, y)
        return self

    def predict(self, X):
        return self.inner_.predict(X)


METHODS = {
    "mot": MultiLevelOT(),
    "piped": make_pipeline(LayerwiseTransformer(StandardScaler()), SoftMatching()),
    "forward": ForwardOnly(),
    "cost": CostOnly(),
}


def networks_to_compare():
    first, second = random_networks(), random_networks(seed=1)
    return (
        {"a": LayerStack(first[0], names=["x", "y", "z"]), "b": second[0]},
        {"c": first[1], "d": second[1]},
    )


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_rows_are_those_of_loops(n_jobs):
    sources, targets = networks_to_compare()
    cv = KFold(3, shuffle=True, random_state=0)
    comparison = compare(
        sources, targets, METHODS, cv, n_jobs=n_jobs, n_bootstrap=5, verbose=False
    )
    expected = {}
    splits = list(cv.split(np.zeros(60)))
    for s, t, m in itertools.product(sources, targets, METHODS):
        X, y = LayerStack(sources[s]), LayerStack(targets[t])
        for number, (train, test) in enumerate(splits):
            fitted = clone(METHODS[m]).fit(X[train], y[train])
            if m == "cost":
                expected[s, t, m, "cost", number, None] = fitted.cost_
                continue
            X_test = X[test]
            if m == "piped":
                X_test, fitted = fitted[:-1].transform(X_test), fitted[-1]
            if m == "forward":
                fitted = fitted.inner_
            for direction in ("target", "source"):
                if (m, direction) == ("forward", "source"):
                    continue
                names = (X if direction == "source" else y).names
                scores = fitted.layer_scores(X_test, y[test], direction)
                for layer, score in enumerate(scores):
                    label = layer if names is None else names[layer]
                    expected[s, t, m, direction, number, label] = score
    columns = ["source", "target", "method", "direction", "split", "layer"]
    found = {tuple(row[c] for c in columns): row["score"] for row in comparison.rows}
    assert len(found) == len(comparison.rows)
    assert found == pytest.approx(expected)
    assert all(row["seconds"] > 0 for row in comparison.rows)


def test_rows_make_a_frame():
    sources, targets = networks_to_compare()
    comparison = compare(sources, targets, METHODS, 2, n_bootstrap=5, verbose=False)
    frame = comparison.to_frame()
    assert list(frame.columns) == [
        *("source", "target", "method", "direction", "split", "layer"),
        *("score", "seconds"),
    ]
    assert len(frame) == len(comparison.rows)
    # By pandas: over layers, then pairs, then splits.
    scores = frame.groupby(["method", "direction", "source", "target", "split"])
    scores = scores["score"].mean().groupby(["method", "direction", "split"]).mean()
    for row in comparison.summary(by=("method", "direction")):
        own = scores[row["method"], row["direction"]]
        assert row["mean"] == pytest.approx(own.mean())
        assert row["standard_deviation_over_splits"] == pytest.approx(own.std())


def test_summaries_label_deviation_and_error():
    sources, targets = networks_to_compare()
    comparison = compare(
        sources, targets, {"mot": MultiLevelOT()}, 4, n_bootstrap=5, verbose=False
    )
    row = comparison.summary()[0]
    assert (row["source"], row["target"], row["direction"]) == ("a", "c", "target")
    X, y = LayerStack(sources["a"]), LayerStack(targets["c"])
    by_hand = [
        MultiLevelOT().fit(X[train], y[train]).score(X[test], y[test])
        for train, test in KFold(4).split(X)
    ]
    deviation = np.sqrt(np.sum((by_hand - np.mean(by_hand)) ** 2) / 3)
    assert row["mean"] == pytest.approx(np.mean(by_hand))
    assert row["standard_deviation_over_splits"] == pytest.approx(deviation)
    assert row["standard_error_over_splits"] == pytest.approx(deviation / 2)
    assert row["n_splits"] == 4
    by_layer = comparison.summary(by=("source", "direction", "layer"))
    assert {r["layer"] for r in by_layer if r["source"] == "a"} >= {"x", "y", "z"}
    with pytest.raises(ValueError, match="with 'direction'"):
        comparison.summary(by=("method",))


def test_one_split_has_no_deviation():
    X, y = stacks()
    comparison = compare(
        {"a": X}, {"b": y}, {"mot": MultiLevelOT()}, ONE_SPLIT, verbose=False
    )
    assert np.isnan(comparison.summary()[0]["standard_error_over_splits"])


@pytest.mark.parametrize("grouped", [False, True])
def test_bootstrap_scores_resampled_stimuli(grouped):
    X, y = stacks()
    y = [np.array(layer) for layer in y.layers]
    # In some resamples these vary not at all.
    y[0][:, 1] = (np.arange(60) % 7 == 0) * 2.0
    y = LayerStack(y)
    groups = np.repeat(np.arange(20), 3) if grouped else None
    cv = StimulusKFold(3) if grouped else KFold(3)
    methods = {"mot": MultiLevelOT(), "soft": SoftMatching()}
    comparison = compare(
        {"a": X},
        {"b": y},
        methods,
        cv,
        groups,
        n_bootstrap=50,
        random_state=0,
        verbose=False,
    )
    codes = np.arange(60) if groups is None else groups
    n_groups = codes.max() + 1
    drawn = np.random.RandomState(0).multinomial(
        n_groups, np.full(n_groups, 1 / n_groups), 50
    )
    slow = np.zeros((2, 50))
    for train, test in cv.split(X, groups=groups):
        for number, method in enumerate(methods.values()):
            fitted = clone(method).fit(X[train], y[train])
            for k, counts in enumerate(drawn):
                resample = np.repeat(test, counts[codes[test]])
                slow[number, k] += fitted.score(X[resample], y[resample]) / 3
    low, high = np.quantile(slow[0] - slow[1], [0.05, 0.95])
    row = comparison.differences("soft", confidence_level=0.9)[0]
    means = {row["method"]: row["mean"] for row in reversed(comparison.summary())}
    assert row["method"] == "mot"
    assert row["direction"] == "target"
    assert row["difference"] == pytest.approx(means["mot"] - means["soft"])
    assert row["low"] == pytest.approx(low)
    assert row["high"] == pytest.approx(high)
    assert row["standard_error_over_stimuli"] == pytest.approx(
        np.std(slow[0] - slow[1], ddof=1)
    )
    assert row["n_bootstrap"] == 50


def test_differences_are_of_what_both_methods_have():
    sources, targets = networks_to_compare()
    comparison = compare(sources, targets, METHODS, 2, n_bootstrap=5, verbose=False)
    found = {(row["method"], row["direction"]) for row in comparison.differences("mot")}
    assert found == {("piped", "target"), ("piped", "source"), ("forward", "target")}
    assert comparison.differences("cost") == []
    with pytest.raises(ValueError, match="one of the methods"):
        comparison.differences("other")
    with pytest.raises(ValueError, match="between 0 and 1"):
        comparison.differences("mot", confidence_level=95)


def test_intervals_cover_the_difference():
    rng = np.random.default_rng(0)
    tuning = rng.normal(size=(6, 8))

    def draw(n_rows):
        X = rng.normal(size=(n_rows, 6)) * [4, 1, 1, 1, 1, 1]
        return X, X @ tuning + 2 * rng.normal(size=(n_rows, 8))

    methods = {"plain": SoftMatching(), "raw": SoftMatching(reconstruct="raw")}
    train_X, train_y = draw(40)
    many_X, many_y = draw(50_000)
    truth = np.subtract(
        *(
            method.fit(train_X, train_y).score(many_X, many_y)
            for method in methods.values()
        )
    )
    covered = 0
    for _ in range(100):
        X, y = draw(60)
        comparison = compare(
            {"a": np.vstack([train_X, X])},
            {"b": np.vstack([train_y, y])},
            methods,
            [(np.arange(40), np.arange(40, 100))],
            directions=["target"],
            n_bootstrap=300,
            random_state=0,
            verbose=False,
        )
        row = comparison.differences("raw", confidence_level=0.9)[0]
        covered += row["low"] <= truth <= row["high"]
    # Two-sided: too wide is as wrong as too narrow.
    assert binom.ppf(FALSE_ALARM / 2, 100, 0.9) <= covered
    assert covered <= binom.ppf(1 - FALSE_ALARM / 2, 100, 0.9)


def test_the_cost_is_told_before(capsys):
    X, y = stacks()
    methods = {"mot": MultiLevelOT(), "soft": SoftMatching()}
    compare({"a": X, "b": X}, {"c": y}, methods, 3, n_bootstrap=5)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 method(s) x 2 pair(s) x 3 split(s) = 12 fits"
    assert "s more" in lines[1]
    assert len(lines) == 2
    compare({"a": X}, {"c": y}, methods, 3, n_bootstrap=5, verbose=False)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_warnings_of_fits_come_once_wherever_they_ran(n_jobs):
    X, y = random_networks()
    X[0][:, 2] = 1.0
    with pytest.warns(DeadUnitWarning, match=r"1 unit\(s\) of X.*6 time") as caught:
        compare(
            {"a": X},
            {"b": y},
            {"mot": MultiLevelOT(), "soft": SoftMatching()},
            3,
            n_jobs=n_jobs,
            n_bootstrap=5,
            verbose=False,
        )
    assert len(caught) == 1
    assert "method 'mot', source 'a', target 'b', split 0" in str(caught[0].message)
    assert caught[0].filename == __file__


def scores_by_direction(comparison):
    found = {}
    for row in comparison.rows:
        found.setdefault(row["direction"], []).append(row["score"])
    return found


@pytest.mark.parametrize("piped", [False, True])
def test_searches_are_compared_by_their_best_estimator(piped):
    X, y = stacks()
    search = GridSearchCV(MultiLevelOT(), {"strategy": ["transport"]}, cv=2)
    method, plain = search, MultiLevelOT()
    if piped:
        scaler = LayerwiseTransformer(StandardScaler())
        method, plain = make_pipeline(scaler, search), make_pipeline(scaler, plain)
    found, expected = (
        scores_by_direction(
            compare({"a": X}, {"b": y}, {"m": m}, 2, n_bootstrap=5, verbose=False)
        )
        for m in (method, plain)
    )
    assert set(found) == set(expected) == {"target", "source"}
    for direction in expected:
        assert found[direction] == pytest.approx(expected[direction])


def test_a_method_without_rows_is_refused():
    X, y = stacks()
    with pytest.raises(ValueError, match="Method 'forward' has no `inverse_predict`"):
        compare(
            {"a": X},
            {"b": y},
            {"forward": ForwardOnly()},
            2,
            directions=("source",),
            verbose=False,
        )


class Draw(BaseEstimator):
    """A method that shows its seeds."""

    def __init__(self, inner=None, random_state=None):
        self.inner = inner
        self.random_state = random_state

    def fit(self, X, y):
        self.cost_ = self.random_state
        if self.inner is not None:
            self.cost_ = self.inner.random_state
        return self


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_each_fit_has_a_seed_of_its_own(n_jobs):
    X, y = stacks()
    methods = {"plain": Draw(), "nested": Draw(Draw()), "fixed": Draw(random_state=7)}

    def seeds(random_state):
        comparison = compare(
            {"a": X, "b": X},
            {"c": y},
            methods,
            3,
            n_jobs=n_jobs,
            n_bootstrap=5,
            random_state=random_state,
            verbose=False,
        )
        return {
            name: [row["score"] for row in comparison.rows if row["method"] == name]
            for name in methods
        }

    first = seeds(0)
    assert len({*first["plain"], *first["nested"]}) == 12
    assert first["fixed"] == [7] * 6
    assert seeds(0) == first
    assert seeds(1)["plain"] != first["plain"]
    assert methods["plain"].random_state is None


def test_a_permuted_coupling_is_reproducible():
    X, y = stacks(source_widths=(5, 6, 7, 8), target_widths=(5, 6, 7, 8))
    methods = {"permuted": MultiLevelOT(strategy="permuted")}
    first, second = (
        scores_by_direction(
            compare(
                {"a": X},
                {"b": y},
                methods,
                4,
                n_bootstrap=5,
                random_state=0,
                verbose=False,
            )
        )
        for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize(
    "transformer",
    [
        UnitSubsampler(0.5, random_state=0),
        LayerwiseTransformer(PCA(n_components=2, random_state=0)),
    ],
    ids=["subsampler", "pca"],
)
def test_a_transformed_target_is_scored_in_its_own_space(transformer):
    X, y = stacks()
    method = TransformedTargetLayers(MultiLevelOT(), transformer)
    found = scores_by_direction(
        compare({"a": X}, {"b": y}, {"m": method}, 2, n_bootstrap=5, verbose=False)
    )
    for direction in ("target", "source"):
        expected = np.concatenate(
            [
                method.fit(X[train], y[train]).layer_scores(X[test], y[test], direction)
                for train, test in KFold(2).split(X)
            ]
        )
        np.testing.assert_allclose(found[direction], expected, atol=1e-12)
    for control in ("stimuli", "layers", "basis"):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The p-value of control='layers' cannot")
            result = permutation_control(
                method,
                X,
                y,
                control=control,
                cv=KFold(2),
                n_permutations=19,
                random_state=0,
            )
        splits = np.reshape(found["target"], (2, -1)).mean(axis=1)
        np.testing.assert_allclose(result.scores, splits, atol=1e-12)


class Narrow(ForwardOnly):
    """A method that leaves out the last unit of each layer."""

    def predict(self, X):
        return [layer[:, :-1] for layer in super().predict(X).layers]


def test_predictions_of_another_width_are_refused():
    X, y = stacks()
    width = y.widths[0]
    with pytest.raises(
        ValueError, match=rf"{width - 1} unit\(s\) of y, layer 0, which has {width}"
    ):
        compare({"a": X}, {"b": y}, {"narrow": Narrow()}, 2, verbose=False)


def test_bad_comparisons_are_refused():
    X, y = stacks()
    soft = {"soft": SoftMatching()}
    with pytest.raises(ValueError, match="`sources` is empty"):
        compare({}, {"b": y}, soft, 3)
    with pytest.raises(ValueError, match="`methods` is empty"):
        compare({"a": X}, {"b": y}, {}, 3)
    with pytest.raises(ValueError, match="'sources' parameter"):
        compare(X, {"b": y}, soft, 3)
    with pytest.raises(ValueError, match="`directions` must be"):
        compare({"a": X}, {"b": y}, soft, 3, directions=["both"])
    with pytest.raises(ValueError, match=r"sources\['a'\] has 60 .*targets\['b'\]"):
        compare({"a": X}, {"b": y[:59]}, soft, 3)
    with pytest.raises(ValueError, match=r"row 0 is .* in sources\['a'\]"):
        compare(
            {"a": LayerStack(X, stimuli=np.arange(60))},
            {"b": LayerStack(y, stimuli=np.arange(60)[::-1])},
            soft,
            3,
        )
    with pytest.raises(ValueError, match="both in training and held"):
        compare({"a": X}, {"b": y}, soft, KFold(7), np.arange(60) // 2)
    with pytest.raises(TypeError, match="learned no `cost_`"):
        compare({"a": X}, {"b": y}, {"scaler": StandardScaler()}, 3, verbose=False)
    broken = LayerStack([np.full((60, 2), np.nan)])
    with pytest.raises(ValueError, match="NaN") as raised:
        compare({"a": X, "n": broken}, {"b": y}, soft, 3, verbose=False)
    assert "method 'soft', source 'n'" in raised.value.__notes__[0]

"""RotationMatching, and MultiLevelOTRotation above it.

One test needs `_RotationProblem`: that a unit is rotated to nothing by an exact
rotation cannot be asked of a fit, which finds rotations only up to rounding.
"""

import pickle
import warnings
from functools import cached_property
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.stats import ortho_group
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skmot import MultiLevelOT, MultiLevelOTRotation, RotationMatching, SoftMatching
from skmot.exceptions import DeadUnitWarning
from skmot.pairs.rotation import _RotationProblem
from skmot.transport import TuningCurves
from tests import reference
from tests._utils.test_orthogonal import slow_nearest_rotation
from tests.networks import random_networks, rows

METRICS = ["correlation", "sqeuclidean"]
# Source and target units, stimuli: equal, unequal both ways, and with more units than
# stimuli on either side or on both.
SIZES = [(8, 8, 40), (6, 10, 40), (10, 6, 40), (12, 15, 9), (15, 12, 9), (14, 5, 9)]


def populations(n, k, n_stimuli, seed=0):
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n_stimuli, 6))
    return [
        (latent @ rng.normal(size=(6, width)) + rng.normal(size=(n_stimuli, width)))
        * (1 + rng.random(width))
        + rng.normal(size=width)
        for width in (n, k)
    ]


# -- the definition, spelt out slowly --------------------------------------------------


def z(layer, training):
    return (layer - training.mean(axis=0)) / training.std(axis=0)


def slow_alternation(X, Y, metric, n_rounds):
    """Return the plan, R, J and error of each round, from the identity."""
    x, y = z(X, X), z(Y, Y)
    n_stimuli, n = x.shape
    rotation = np.eye(n)
    found = []
    for _ in range(n_rounds):
        rotated = x @ rotation
        if metric == "correlation":
            costs = reference.correlation_distances(rotated, y)
        else:
            costs = np.array([[np.sum((a - b) ** 2) for b in y.T] for a in rotated.T])
        plan, _ = reference.transport(costs)
        carried = y @ (n * plan).T
        rotation = slow_nearest_rotation(x.T @ carried)
        rotated = x @ rotation
        squared = np.array([[np.mean((a - b) ** 2) for b in y.T] for a in rotated.T])
        objective = np.sum(plan * squared)
        error = np.sum((rotated - carried) ** 2) / (n_stimuli * n)
        found.append((plan, rotation, objective, error))
    return found


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("n", "k", "n_stimuli"), SIZES)
def test_rounds_are_those_of_the_definition(metric, n, k, n_stimuli):
    X, Y = populations(n, k, n_stimuli)
    matching = RotationMatching(metric, tol=1e-8, max_iter=100).fit(X, Y)
    slow = slow_alternation(X, Y, metric, matching.n_iter_)
    path = matching.path_
    np.testing.assert_allclose(path["objective"], [r[2] for r in slow], atol=1e-9)
    np.testing.assert_allclose(path["error"], [r[3] for r in slow], atol=1e-9)
    best = slow[np.argmin(np.round(path["objective"], 9))]
    np.testing.assert_allclose(matching.coupling_.toarray(), best[0], atol=1e-12)
    np.testing.assert_allclose(matching.rotation_, best[1], atol=1e-7)
    assert matching.cost_ == pytest.approx(best[3], abs=1e-9)


@pytest.mark.parametrize(("n", "k", "n_stimuli"), SIZES)
def test_predictions_are_those_of_the_definition(n, k, n_stimuli):
    X, Y = populations(n, k, n_stimuli + 20)
    train, test = slice(0, n_stimuli), slice(n_stimuli, None)
    matching = RotationMatching().fit(X[train], Y[train])
    plan, R = matching.coupling_.toarray(), matching.rotation_
    np.testing.assert_allclose(
        matching.predict(X[test]),
        z(X[test], X[train]) @ R @ (k * plan) * Y[train].std(axis=0)
        + Y[train].mean(axis=0),
        atol=1e-12,
    )
    np.testing.assert_allclose(
        matching.inverse_predict(Y[test]),
        z(Y[test], Y[train]) @ (n * plan).T @ R.T * X[train].std(axis=0)
        + X[train].mean(axis=0),
        atol=1e-12,
    )


@pytest.mark.parametrize(("n", "k", "n_stimuli"), SIZES)
def test_held_out_costs_are_errors_of_the_trained_map(n, k, n_stimuli):
    X, Y = populations(n, k, n_stimuli + 20)
    train, test = slice(0, n_stimuli), slice(n_stimuli, None)
    matching = RotationMatching().fit(X[train], Y[train])
    assert matching.held_out_cost(X[train], Y[train]) == pytest.approx(matching.cost_)
    error = z(X[test], X[train]) @ matching.rotation_ - z(Y[test], Y[train]) @ (
        n * matching.coupling_.toarray().T
    )
    expected = np.sum(error**2) / (20 * n)
    assert matching.held_out_cost(X[test], Y[test]) == pytest.approx(expected)


def shared_by_few(n, k, n_stimuli, seed=0):
    """Return populations in which only four dimensions vary."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n_stimuli, 4))
    return [latent @ rng.normal(size=(4, width)) + 5 for width in (n, k)]


def copied(n, k, n_stimuli):
    """Return populations of which each unit comes twice, exactly."""
    halves = populations(n // 2, k // 2, n_stimuli)
    return [np.repeat(half, 2, axis=1)[:, ::-1].copy() for half in halves]


@pytest.mark.parametrize(("n", "k"), [(8, 8), (8, 4), (5, 9)])
def test_the_cost_of_nearly_equal_populations_is_their_small_difference(n, k):
    # Taken from products, it would be a rounding error of theirs.
    rng = np.random.default_rng(0)
    units = rng.normal(size=(60, 1)) * [1.0, 3.0, 0.2, 1.0, 2.0, 1.0, 1.0, 4.0, 1.0]
    X, Y = (units[:, :width] + 1e-5 * rng.normal(size=(60, width)) for width in (n, k))
    matching = RotationMatching().fit(X, Y)
    plan = matching.coupling_.toarray()
    difference = z(X, X) @ matching.rotation_ - z(Y, Y) @ (n * plan).T
    assert matching.cost_ == pytest.approx(np.mean(difference**2), rel=1e-6, abs=0)
    assert 0 < matching.cost_ < 1e-8


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("made", [populations, shared_by_few, copied])
@pytest.mark.parametrize(("n", "k", "n_stimuli"), SIZES)
def test_the_rotation_and_its_cost_are_those_of_the_plan(
    n, k, n_stimuli, made, dtype, metric
):
    # Whichever of several plans that are as cheap is found.
    X, Y = (side.astype(dtype) for side in made(n // 2 * 2, k // 2 * 2, n_stimuli))
    matching = RotationMatching(metric).fit(X, Y)
    x, y = (z(side.astype(np.float64), side.astype(np.float64)) for side in (X, Y))
    plan, R = matching.coupling_.toarray(), matching.rotation_.astype(np.float64)
    carried = y @ (len(plan) * plan).T
    # Float32 keeps the products to 1e-7 of the largest, and so the rotation of what
    # has a thousandth of that to 1e-4.
    exact = dtype == np.float64
    product = x.T @ carried
    if not exact:
        largest = np.linalg.norm(product, 2)
        left, values, right = np.linalg.svd(product)
        product = left @ np.diag(np.where(values > 1e-5 * largest, values, 0)) @ right
    np.testing.assert_allclose(
        R, slow_nearest_rotation(product), atol=1e-9 if exact else 1e-3
    )
    assert matching.cost_ == pytest.approx(
        np.mean((x @ R - carried) ** 2), abs=1e-12 if exact else 2e-6
    )


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("n", "k", "n_stimuli"), [*SIZES, (20, 8, 60), (8, 20, 60)])
def test_rounds_of_float32_are_those_of_float64(metric, n, k, n_stimuli):
    X, Y = (side.astype(np.float32) for side in populations(n, k, n_stimuli))
    single = RotationMatching(metric).fit(X, Y)
    double = RotationMatching(metric).fit(X.astype(np.float64), Y.astype(np.float64))
    for found in ("objective", "error"):
        np.testing.assert_allclose(single.path_[found], double.path_[found], atol=3e-6)
    np.testing.assert_allclose(single.rotation_, double.rotation_, atol=1e-3)


# -- the alternation -------------------------------------------------------------------


@pytest.mark.parametrize(("n", "k", "n_stimuli"), SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_the_objective_never_rises_with_squared_distances(n, k, n_stimuli, seed):
    X, Y = populations(n, k, n_stimuli, seed)
    matching = RotationMatching("sqeuclidean", max_iter=200, tol=0).fit(X, Y)
    assert (np.diff(matching.path_["objective"]) <= 1e-12).all()


def test_the_error_may_rise_while_the_objective_falls():
    X, Y = populations(30, 40, 200)
    matching = RotationMatching("sqeuclidean", max_iter=200, tol=0).fit(X, Y)
    assert np.diff(matching.path_["error"]).max() > 1e-4
    # The round is chosen by the objective, so its error is not the least.
    best = matching.path_["objective"].argmin()
    assert matching.cost_ == pytest.approx(matching.path_["error"][best], abs=1e-9)
    assert matching.cost_ > matching.path_["error"].min() + 1e-4


@pytest.mark.parametrize(
    ("n", "k", "n_stimuli", "seed"), [(8, 14, 30, 21), (20, 7, 12, 13)]
)
def test_where_the_objective_rises_the_round_before_is_kept(n, k, n_stimuli, seed):
    # With correlation distance it may, though seldom.
    X, Y = populations(n, k, n_stimuli, seed)
    matching = RotationMatching(max_iter=200, tol=0).fit(X, Y)
    objective = matching.path_["objective"]
    assert objective[-1] > objective[-2] + 1e-3
    x, y = z(X, X), z(Y, Y)
    rotated, plan = x @ matching.rotation_, matching.coupling_.toarray()
    squared = np.array([[np.mean((a - b) ** 2) for b in y.T] for a in rotated.T])
    assert np.sum(plan * squared) == pytest.approx(objective[-2], abs=1e-9)
    assert matching.cost_ == matching.path_["error"][-2]


def test_the_alternation_ends_when_the_objective_falls_by_no_more_than_tol():
    # Where little is shared, more rounds are needed.
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(60, 40)), rng.normal(size=(60, 50))
    tight = RotationMatching(tol=1e-6, max_iter=200).fit(X, Y)
    objective = tight.path_["objective"]
    for tol in (1e-1, 1e-2):
        loose = RotationMatching(tol=tol, max_iter=200).fit(X, Y)
        expected = 2 + np.flatnonzero(-np.diff(objective) <= tol)[0]
        assert loose.n_iter_ == expected < tight.n_iter_
        np.testing.assert_allclose(loose.path_["objective"], objective[:expected])


@pytest.mark.parametrize("max_iter", [1, 2])
def test_too_few_rounds_are_never_silent(max_iter):
    X, Y = populations(20, 30, 100)
    # The first round is compared with the coupling it started from, without R.
    before = SoftMatching().fit(X, Y).cost_ * 2
    with pytest.warns(ConvergenceWarning, match=r"fall of J .* Raise `max_iter`") as w:
        matching = RotationMatching(max_iter=max_iter, tol=1e-8).fit(X, Y)
    assert matching.n_iter_ == max_iter
    fall = -np.diff(np.append(before, matching.path_["objective"]))[-1]
    assert f"{fall:.1e}" in str(w[0].message)


def test_a_population_matched_to_itself_needs_one_round():
    X, _ = populations(9, 9, 40)
    matching = RotationMatching(max_iter=1).fit(X, X)
    assert matching.n_iter_ == 1
    np.testing.assert_allclose(matching.rotation_, np.eye(9), atol=1e-12)
    assert matching.cost_ == pytest.approx(0, abs=1e-12)


# -- the rotation ----------------------------------------------------------------------


@pytest.mark.parametrize(("n", "k", "n_stimuli"), SIZES)
@pytest.mark.parametrize("dtypes", [("f8", "f8"), ("f4", "f4"), ("f4", "f8")])
def test_rotations_are_orthogonal_in_their_precision(n, k, n_stimuli, dtypes):
    X, Y = populations(n, k, n_stimuli)
    matching = RotationMatching().fit(X.astype(dtypes[0]), Y.astype(dtypes[1]))
    R = matching.rotation_
    assert R.dtype == np.result_type(*dtypes)
    tolerance = 1e-5 if R.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(R @ R.T, np.eye(n), atol=tolerance)
    plain = RotationMatching().fit(X, Y)
    assert matching.cost_ == pytest.approx(plain.cost_, abs=1e-5)
    assert matching.predict(X.astype(dtypes[0])).dtype == dtypes[1]


@pytest.mark.parametrize("metric", METRICS)
def test_stimuli_the_units_do_not_span_keep_the_identity(metric):
    # Two stimuli: one dimension is left once centred, and only it may be turned.
    X, Y = populations(7, 9, 2)
    R = RotationMatching(metric).fit(X, Y).rotation_
    assert np.linalg.matrix_rank(R - np.eye(7), tol=1e-10) <= 2


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_unit_rotated_to_nothing_correlates_with_nothing(dtype):
    # Of two copies this rotation makes one unit of all they have and one of rounding
    # error, whose correlations would be arbitrary.
    rng = np.random.default_rng(0)
    curve = rng.normal(size=20)
    Y = rng.normal(size=(20, 3)) + curve[:, np.newaxis]
    curve, Y = (a - a.mean(axis=0) for a in (curve, Y))
    curve, Y = (a / np.linalg.norm(a, axis=0) for a in (curve, Y))
    copy = np.nextafter(curve.astype(dtype), rng.choice([-1, 1], size=20).astype(dtype))
    X = np.column_stack([curve.astype(dtype), copy])
    rotation = np.array([[1, 1], [1, -1]], dtype=dtype) / dtype(np.sqrt(2))
    assert np.linalg.norm(X @ rotation, axis=0)[1] > 0
    curves = [TuningCurves(side, None, 1.0) for side in (X, Y.astype(dtype))]
    problem = _RotationProblem(*curves, "correlation")
    rotated = SimpleNamespace(rotate=lambda split: rotation.T @ split.units)
    plan = problem.couple(rotated, rotated.rotate(problem.cross))
    correlations = np.vstack([curve @ Y, np.zeros(3)])
    assert plan.cost == pytest.approx(reference.transport(-correlations)[1], abs=1e-6)


# -- Procrustes ------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("n_stimuli", [40, 15])
def test_at_equal_widths_it_is_procrustes(metric, n_stimuli):
    X, Y = populations(12, 12, n_stimuli + 20)
    train, test = slice(0, n_stimuli), slice(n_stimuli, None)
    x, y = (z(side[train], side[train]) for side in (X, Y))
    # Of scipy: the rotation that takes y to x, over all orthogonal matrices.
    turn, nuclear = orthogonal_procrustes(y, x)
    error = np.mean((y @ turn - x) ** 2)
    assert error == pytest.approx(2 - 2 * nuclear / x.size)
    matching = RotationMatching(metric, tol=1e-9).fit(X[train], Y[train])
    np.testing.assert_allclose(matching.path_["error"], error, atol=1e-9)
    np.testing.assert_allclose(matching.path_["objective"], error, atol=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        one_round = RotationMatching(metric, max_iter=1).fit(X[train], Y[train])
    for fitted in (matching, one_round):
        np.testing.assert_allclose(
            z(fitted.inverse_predict(Y[test]), X[train]),
            z(Y[test], Y[train]) @ turn,
            atol=1e-8,
        )
        np.testing.assert_allclose(
            z(fitted.predict(X[test]), Y[train]),
            z(X[test], X[train]) @ turn.T,
            atol=1e-8,
        )


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("n", "k", "n_stimuli"), [(12, 4, 40), (9, 9, 30), (5, 1, 20)])
def test_where_k_divides_n_no_iteration_or_start_changes_j(metric, n, k, n_stimuli):
    X, Y = populations(n, k, n_stimuli)
    # Four iterations by the definition, of which the couplings differ.
    slow = slow_alternation(X, Y, metric, 4)
    matching = RotationMatching(metric, n_init=3, random_state=0).fit(X, Y)
    for found, index in (("objective", 2), ("error", 3)):
        expected = [iteration[index] for iteration in slow]
        np.testing.assert_allclose(expected, expected[0], atol=1e-9)
        np.testing.assert_allclose(matching.path_[found], expected[0], atol=1e-9)
    for plan, rotation, *_ in slow:
        np.testing.assert_allclose(
            matching.predict(X),
            z(X, X) @ rotation @ (k * plan) * Y.std(axis=0) + Y.mean(axis=0),
            atol=1e-8,
        )
    plain = RotationMatching(metric).fit(X, Y)
    np.testing.assert_array_equal(matching.rotation_, plain.rotation_)


# -- what it is for --------------------------------------------------------------------


def rotated_pair(n, k, n_stimuli=400, noise=0.2, seed=0):
    """Return two populations, the same up to copies of units, noise and a rotation."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n_stimuli, min(n, k)))

    def widened(width):
        copies = shared[:, np.arange(width) % min(n, k)]
        return copies + noise * rng.normal(size=(n_stimuli, width))

    return widened(n) @ ortho_group.rvs(n, random_state=seed), widened(k)


@pytest.mark.parametrize(("n", "k"), [(12, 12), (8, 16), (16, 8), (12, 8), (8, 12)])
@pytest.mark.parametrize("metric", METRICS)
def test_a_planted_rotation_is_found_where_soft_matching_fails(n, k, metric):
    X, Y = rotated_pair(n, k)
    train, test = slice(0, 300), slice(300, None)
    plain = SoftMatching().fit(X[train], Y[train])
    matching = RotationMatching(metric).fit(X[train], Y[train])
    for method in ("score", "inverse_score"):
        assert getattr(plain, method)(X[test], Y[test]) < 0.7
        # Below 0.9 at 8 by 12: some units have two copies and some one, where uniform
        # masses let each have one and a half.
        assert getattr(matching, method)(X[test], Y[test]) > 0.85


def test_planted_rotations_of_layers_are_found_where_plain_transport_fails():
    pairs = [rotated_pair(n, k, seed=n) for n, k in ((10, 10), (6, 12), (12, 6))]
    source = [X for X, _ in pairs]
    # The layers of the target in another order.
    target = [pairs[index][1] for index in (1, 2, 0)]
    train, test = slice(0, 300), slice(300, None)
    plain = MultiLevelOT().fit(rows(source, train), rows(target, train))
    mot = MultiLevelOTRotation().fit(rows(source, train), rows(target, train))
    np.testing.assert_allclose(
        mot.coupling_ * 3, [[0, 0, 1], [1, 0, 0], [0, 1, 0]], atol=1e-12
    )
    for method in ("score", "inverse_score"):
        assert getattr(plain, method)(rows(source, test), rows(target, test)) < 0.7
        assert getattr(mot, method)(rows(source, test), rows(target, test)) > 0.9


def test_independent_populations_are_reconstructed_no_better_than_chance():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(2, 300, 10))
    matching = RotationMatching().fit(X[:200], Y[:200])
    assert abs(matching.inverse_score(X[200:], Y[200:])) < 0.1
    assert matching.held_out_cost(X[200:], Y[200:]) > matching.cost_


# -- restarts --------------------------------------------------------------------------


def test_restarts_are_never_worse():
    improved = 0
    for seed in range(6):
        X, Y = rotated_pair(9, 14, n_stimuli=120, noise=0.5, seed=seed)
        least = [
            RotationMatching(n_init=n_init, random_state=3, max_iter=200)
            .fit(X, Y)
            .path_["objective"]
            .min()
            for n_init in (1, 2, 5)
        ]
        assert least[0] >= least[1] >= least[2]
        improved += least[2] < least[0] - 1e-6
    assert improved > 0


def test_restarts_are_reproducible():
    X, Y = rotated_pair(9, 14, n_stimuli=120, noise=0.5)
    first, again = (
        RotationMatching(n_init=3, random_state=7).fit(X, Y) for _ in range(2)
    )
    np.testing.assert_array_equal(first.rotation_, again.rotation_)
    # One start is the identity, whatever the seed.
    plain = [RotationMatching(random_state=seed).fit(X, Y) for seed in (0, 1)]
    np.testing.assert_array_equal(plain[0].rotation_, plain[1].rotation_)


def test_one_unit_starts_from_either_sign():
    X, Y = populations(1, 3, 40)
    matching = RotationMatching(n_init=5, random_state=0).fit(X, Y)
    assert abs(matching.rotation_).tolist() == [[1.0]]
    # The sign is that of the correlation with what the target units have in common.
    common = np.corrcoef(X[:, 0], z(Y, Y).sum(axis=1))[0, 1]
    assert matching.rotation_[0, 0] == np.sign(common)


# -- laws ------------------------------------------------------------------------------


def test_it_is_directed():
    X, Y = populations(8, 14, 40)
    forth, back = RotationMatching().fit(X, Y), RotationMatching().fit(Y, X)
    assert forth.rotation_.shape == (8, 8)
    assert back.rotation_.shape == (14, 14)
    assert abs(forth.cost_ - back.cost_) > 1e-2
    source, target = random_networks()
    forth = MultiLevelOTRotation().fit(source, target)
    back = MultiLevelOTRotation().fit(target, source)
    assert abs(forth.layer_costs_ - back.layer_costs_.T).max() > 1e-2


def test_rescaling_shifting_and_permuting_units_changes_nothing():
    X, Y = populations(8, 14, 60)
    rng = np.random.default_rng(1)
    scales = np.exp(3 * rng.normal(size=8))
    order = rng.permutation(14)
    plain = RotationMatching().fit(X[:40], Y[:40])
    moved = RotationMatching().fit((X * scales + 50)[:40], Y[:40, order])
    assert moved.cost_ == pytest.approx(plain.cost_, abs=1e-9)
    assert moved.inverse_score((X * scales + 50)[40:], Y[40:, order]) == pytest.approx(
        plain.inverse_score(X[40:], Y[40:]), abs=1e-9
    )


def test_extreme_units_are_matched_rightly():
    X, Y = populations(6, 9, 40)
    scales = np.array([1e30, 1e-30, 1.0, 1e6, 1e-6, 1e15])
    plain, scaled = RotationMatching().fit(X, Y), RotationMatching().fit(X * scales, Y)
    assert scaled.cost_ == pytest.approx(plain.cost_, abs=1e-12)
    back = scaled.inverse_predict(Y) / scales
    np.testing.assert_allclose(back, plain.inverse_predict(Y), rtol=1e-8, atol=1e-10)


def test_dead_units_take_no_part_and_are_predicted_as_their_constant():
    X, Y = populations(6, 9, 40)
    dead_X = np.insert(X, 2, 0.1, axis=1)
    dead_Y = np.insert(Y, [0, 9], [-4.0, 7.0], axis=1)
    plain = RotationMatching().fit(X, Y)
    with pytest.warns(DeadUnitWarning, match=r"1 unit\(s\) of X and 2 unit\(s\) of y"):
        matching = RotationMatching().fit(dead_X, dead_Y)
    assert matching.cost_ == plain.cost_
    assert matching.coupling_.shape == (7, 11)
    np.testing.assert_array_equal(matching.rotation_, plain.rotation_)
    predicted, back = matching.predict(dead_X), matching.inverse_predict(dead_Y)
    np.testing.assert_array_equal(predicted[:, [0, 10]], [[-4.0, 7.0]] * 40)
    np.testing.assert_array_equal(back[:, 2], 0.1)
    np.testing.assert_allclose(predicted[:, 1:10], plain.predict(X))
    np.testing.assert_allclose(np.delete(back, 2, axis=1), plain.inverse_predict(Y))
    # Alive on other stimuli, they still take no part.
    dead_X[:, 2], dead_Y[:, 0] = X[:, 0], Y[:, 0]
    assert matching.held_out_cost(dead_X, dead_Y) == pytest.approx(plain.cost_)


def test_a_stack_is_one_population():
    source, target = random_networks()
    stacked = RotationMatching().fit(source, target)
    X, Y = np.hstack(source), np.hstack(target)
    flat = RotationMatching().fit(X, Y)
    np.testing.assert_allclose(stacked.rotation_, flat.rotation_, atol=1e-9)
    np.testing.assert_allclose(
        np.hstack(stacked.inverse_predict(target)), flat.inverse_predict(Y), atol=1e-9
    )
    assert stacked.held_out_cost(source, target) == pytest.approx(flat.cost_)


def test_a_fit_survives_pickling_and_cloning_and_changes_nothing_given():
    X, Y = populations(6, 9, 40)
    kept = X.copy(), Y.copy()
    X.flags.writeable = Y.flags.writeable = False
    matching = RotationMatching("sqeuclidean", n_init=2, random_state=0).fit(X, Y)
    restored = pickle.loads(pickle.dumps(matching))
    np.testing.assert_array_equal(restored.predict(X), matching.predict(X))
    assert clone(matching).get_params() == matching.get_params()
    np.testing.assert_array_equal(X, kept[0])
    np.testing.assert_array_equal(Y, kept[1])


# -- networks --------------------------------------------------------------------------

TRAIN, TEST = slice(0, 45), slice(45, 60)
STRATEGIES = ["transport", "single_best", "pairwise_best", "permuted"]


def slow_layer_costs(source, target, n_iter):
    """Errors by the slow alternation; rounds as counted, the last being the best."""
    costs = np.empty(n_iter.shape)
    for pair in np.ndindex(costs.shape):
        rounds = slow_alternation(
            source[pair[0]], target[pair[1]], "correlation", n_iter[pair]
        )
        costs[pair] = min(rounds, key=lambda found: round(found[2], 9))[3]
    return costs


def slow_reconstruction(mot, direction, given, source, target):
    """Sum over the layers seen, each with its weight, plan and rotation."""
    n_source, n_target = mot.layer_costs_.shape
    made = []
    for wanted in range(n_target if direction == "target" else n_source):
        total = 0.0
        for seen in range(n_source if direction == "target" else n_target):
            s, m = (seen, wanted) if direction == "target" else (wanted, seen)
            plan = mot.inner_[s][m].coupling_.toarray()
            R = mot.inner_[s][m].rotation_
            if direction == "target":
                carried = z(given[s], source[s]) @ R @ (plan.shape[1] * plan)
                weight = n_target * mot.coupling_[s, m]
            else:
                carried = z(given[m], target[m]) @ (plan.shape[0] * plan).T @ R.T
                weight = n_source * mot.inverse_coupling_[s, m]
            total = total + weight * carried
        own = (target if direction == "target" else source)[wanted]
        made.append(total * own.std(axis=0) + own.mean(axis=0))
    return made


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_networks_are_coupled_and_reconstructed_as_defined(strategy):
    source, target = random_networks()
    X, y = rows(source, TRAIN), rows(target, TRAIN)
    mot = MultiLevelOTRotation(strategy=strategy, random_state=1).fit(X, y)
    assert mot.n_iter_.shape == (3, 4)
    assert mot.n_iter_.dtype.kind == "i"
    C = slow_layer_costs(X, y, mot.n_iter_)
    np.testing.assert_allclose(mot.layer_costs_, C, atol=1e-9)
    plan, cost = reference.transport(C)
    if strategy == "transport":
        np.testing.assert_allclose(mot.coupling_, plan, atol=1e-12)
        np.testing.assert_array_equal(mot.inverse_coupling_, mot.coupling_)
        assert mot.cost_ == pytest.approx(cost)
    elif strategy == "permuted":
        np.testing.assert_allclose(
            sorted(mot.coupling_.tolist()), sorted(plan.tolist()), atol=1e-12
        )
    else:
        weights = np.round(plan, 12) if strategy == "single_best" else np.ones((3, 4))
        for m in range(4):
            best = min(range(3), key=lambda s: (-weights[s, m], C[s, m]))
            np.testing.assert_array_equal(
                mot.coupling_[:, m], np.where(np.arange(3) == best, 1 / 4, 0)
            )
        for s in range(3):
            best = min(range(4), key=lambda m: (-weights[s, m], C[s, m]))
            np.testing.assert_array_equal(
                mot.inverse_coupling_[s], np.where(np.arange(4) == best, 1 / 3, 0)
            )
    held_out = rows(source, TEST), rows(target, TEST)
    slow = {
        "target": slow_reconstruction(mot, "target", held_out[0], X, y),
        "source": slow_reconstruction(mot, "source", held_out[1], X, y),
    }
    for made, expected in (
        (mot.predict(held_out[0]), slow["target"]),
        (mot.inverse_predict(held_out[1]), slow["source"]),
    ):
        for layer, slow_layer in zip(made, expected, strict=True):
            np.testing.assert_allclose(layer, slow_layer, atol=1e-10)
    assert mot.score(*held_out) == pytest.approx(
        reference.score(held_out[1], slow["target"])
    )
    assert mot.inverse_score(*held_out) == pytest.approx(
        reference.score(held_out[0], slow["source"])
    )


def test_it_is_the_level_above_rotation_matching():
    source, target = random_networks()
    settings = {"metric": "sqeuclidean", "n_init": 2, "random_state": 0}
    mot = MultiLevelOTRotation(**settings).fit(source, target)
    above = MultiLevelOT(RotationMatching(**settings)).fit(source, target)
    np.testing.assert_array_equal(mot.layer_costs_, above.layer_costs_)
    np.testing.assert_array_equal(mot.coupling_, above.coupling_)
    for layer, other in zip(mot.predict(source), above.predict(source), strict=True):
        np.testing.assert_array_equal(layer, other)
    pair = RotationMatching(**settings).fit(source[1], target[2])
    assert mot.layer_costs_[1, 2] == pair.cost_
    assert mot.n_iter_[1, 2] == pair.n_iter_


def test_what_norms_need_of_a_layer_is_made_once_not_once_a_pair(monkeypatch):
    source, target = random_networks()
    made = []
    factor = TuningCurves.triangular.func

    @cached_property
    def triangular(self):
        made.append(self.vectors.shape)
        return factor(self)

    triangular.__set_name__(TuningCurves, "triangular")
    monkeypatch.setattr(TuningCurves, "triangular", triangular)
    MultiLevelOTRotation().fit(source, target)
    assert sorted(made) == sorted(layer.shape for layer in source)
    # Squared distances of rotated units have no norms.
    MultiLevelOTRotation("sqeuclidean").fit(source, target)
    assert len(made) == len(source)


@pytest.mark.parametrize("n_init", [1, 2])
def test_pairs_that_are_kept_are_not_fitted_again(tmp_path, monkeypatch, n_init):
    source, target = random_networks()
    settings = {"n_init": n_init, "memory": tmp_path}
    if n_init > 1:
        # Rotations drawn without a seed are others each time.
        with pytest.raises(ValueError, match="RotationMatching draws"):
            MultiLevelOTRotation(**settings).fit(source, target)
        settings["random_state"] = 0
    first = MultiLevelOTRotation(**settings).fit(source, target)

    def solve_again(self, source, target):
        raise AssertionError("A pair that was kept is solved again.")

    monkeypatch.setattr(RotationMatching, "_solve", solve_again)
    again = MultiLevelOTRotation(strategy="pairwise_best", **settings)
    again.fit(source, target)
    np.testing.assert_array_equal(again.layer_costs_, first.layer_costs_)
    np.testing.assert_array_equal(again.n_iter_, first.n_iter_)
    np.testing.assert_array_equal(
        again.inner_[1][2].rotation_, first.inner_[1][2].rotation_
    )


def test_the_number_of_jobs_changes_no_number():
    source, target = random_networks()
    settings = {"n_init": 2, "random_state": 0}
    alone = MultiLevelOTRotation(**settings).fit(source, target)
    both = MultiLevelOTRotation(n_jobs=2, **settings).fit(source, target)
    np.testing.assert_array_equal(alone.layer_costs_, both.layer_costs_)
    np.testing.assert_array_equal(alone.coupling_, both.coupling_)
    np.testing.assert_array_equal(alone.n_iter_, both.n_iter_)


def test_networks_report_dead_units_and_unsettled_pairs_once():
    source, target = random_networks()
    source[1] = np.insert(source[1], 3, 5.0, axis=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mot = MultiLevelOTRotation(max_iter=1, tol=1e-8).fit(source, target)
    dead, unsettled = caught
    assert dead.category is DeadUnitWarning
    assert unsettled.category is ConvergenceWarning
    assert "12 problem(s)" in str(unsettled.message)
    assert "`max_iter`" in str(unsettled.message)
    assert unsettled.filename == __file__
    np.testing.assert_array_equal(mot.dead_source_units_[1], [3])
    assert (mot.n_iter_ == 1).all()
    np.testing.assert_allclose(mot.inverse_predict(target)[1][:, 3], 5.0)


def test_held_out_costs_of_networks_are_weighted_by_the_coupling():
    source, target = random_networks()
    mot = MultiLevelOTRotation().fit(rows(source, TRAIN), rows(target, TRAIN))
    held_out = rows(source, TEST), rows(target, TEST)
    costs = [
        [mot.inner_[s][m].held_out_cost(source[s][TEST], target[m][TEST])]
        for s, m in np.ndindex(3, 4)
    ]
    assert mot.held_out_cost(*held_out) == pytest.approx(
        np.sum(mot.coupling_.ravel() * np.ravel(costs))
    )

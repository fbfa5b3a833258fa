"""Partial matching: what SoftMatching does with `mass`, and curves over it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    ShuffleSplit,
    TimeSeriesSplit,
)

from skmot import LayerStack, MultiLevelOT, SoftMatching
from skmot.exceptions import DeadUnitWarning
from skmot.partial import curve_corner, mass_curve
from skmot.transport import TuningCurves, match_tuning_curves
from tests import reference
from tests.networks import random_networks, rows
from tests.tables import assert_survives_files

DISTANCES = {
    "correlation": reference.correlation_distances,
    "cosine": reference.cosine_distances,
    "sqeuclidean": reference.squared_distances,
}


def populations(n=9, k=12, n_stimuli=60, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_stimuli, n)) * (1 + rng.random(n)) + rng.normal(size=n)
    Y = X @ rng.normal(size=(n, k)) + rng.normal(size=(n_stimuli, k)) + 3
    return X, Y


def planted(n_shared=14, n_alone=6, n_stimuli=300, noise=0.4, seed=0):
    """Return populations of which the first units match and the others do not."""
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(2, n_stimuli, n_shared + n_alone))
    Y[:, :n_shared] = X[:, :n_shared] + noise * Y[:, :n_shared]
    return X, Y


def partial_optimum(costs, mass):
    n, k = costs.shape
    rows = np.kron(np.eye(n), np.ones(k))
    columns = np.kron(np.ones(n), np.eye(k))
    return linprog(
        costs.ravel(),
        A_ub=np.vstack([rows, columns]),
        b_ub=np.concatenate([np.full(n, 1 / n), np.full(k, 1 / k)]),
        A_eq=np.ones((1, n * k)),
        b_eq=[mass],
    ).fun


# -- the estimator ---------------------------------------------------------------------


@pytest.mark.parametrize("metric", DISTANCES)
@pytest.mark.parametrize("mass", [0.2, 0.55, 0.98])
def test_cost_and_plan_are_those_of_the_linear_program(metric, mass):
    X, Y = populations()
    distances = DISTANCES[metric](X, Y)
    matching = SoftMatching(metric, mass).fit(X, Y)
    plan = matching.coupling_.toarray()
    assert plan.sum() == pytest.approx(mass, abs=1e-12)
    assert plan.sum(axis=1).max() <= 1 / 9 + 1e-12
    assert plan.sum(axis=0).max() <= 1 / 12 + 1e-12
    assert matching.cost_ == pytest.approx(np.sum(plan * distances) / mass, abs=1e-12)
    assert matching.cost_ == pytest.approx(
        partial_optimum(distances, mass) / mass, abs=1e-8
    )
    np.testing.assert_allclose(matching.matched_[0], 9 * plan.sum(axis=1), atol=1e-12)
    np.testing.assert_allclose(matching.matched_[1], 12 * plan.sum(axis=0), atol=1e-12)
    u, v = matching.potentials_
    assert np.max(u[:, np.newaxis] + v - distances) <= 1e-12
    bound = u.mean() + v.mean() - (1 - mass) * (u.max() + v.max())
    assert bound / mass + matching.duality_gap_ == pytest.approx(
        matching.cost_, abs=1e-12
    )
    assert matching.duality_gap_ <= 1e-12


def test_norms_decide_who_is_matched_by_squared_distance():
    # Offsets are no constant of a partial plan: the short vectors are the near ones.
    curves = TuningCurves(np.diag([3.0, 2.0, 1.0, 0.5]), np.array([9, 4, 1, 0.25]), 2.0)
    # Nothing but orthogonal vectors on the other side: |x|^2 + |y|^2 each.
    others = TuningCurves(np.zeros((4, 4)), np.zeros(4), 2.0)
    result = match_tuning_curves(curves, others, mass=0.5)
    np.testing.assert_array_equal(result.matched[0], [0, 0, 1, 1])
    assert result.cost == pytest.approx(1.25 / 4, abs=1e-15)


@pytest.mark.parametrize("metric", DISTANCES)
def test_matching_everything_is_what_it_was(metric):
    X, Y = populations()
    matching = SoftMatching(metric, 1).fit(X, Y)
    plan, cost = reference.transport(DISTANCES[metric](X, Y))
    np.testing.assert_allclose(matching.coupling_.toarray(), plan, atol=1e-12)
    assert matching.cost_ == pytest.approx(cost, abs=1e-12)
    assert all(np.all(part == 1) for part in matching.matched_)
    almost = SoftMatching(metric, 1 - 1e-10).fit(X, Y)
    assert almost.cost_ == pytest.approx(cost, abs=1e-8)
    np.testing.assert_allclose(almost.predict(X), matching.predict(X), atol=1e-6)


@pytest.mark.parametrize("metric", DISTANCES)
def test_both_directions_are_one_plan(metric):
    X, Y = populations()
    forth, back = (
        SoftMatching(metric, 0.6).fit(*pair)
        for pair in ((X[:40], Y[:40]), (Y[:40], X[:40]))
    )
    np.testing.assert_allclose(
        forth.coupling_.toarray().T, back.coupling_.toarray(), atol=1e-12
    )
    assert forth.cost_ == pytest.approx(back.cost_, abs=1e-12)
    np.testing.assert_allclose(forth.matched_[0], back.matched_[1], atol=1e-12)
    np.testing.assert_allclose(forth.predict(X), back.inverse_predict(X), atol=1e-9)
    assert forth.held_out_cost(X[40:], Y[40:]) == pytest.approx(
        back.held_out_cost(Y[40:], X[40:]), abs=1e-12
    )


@pytest.mark.parametrize("metric", DISTANCES)
def test_permuting_units_permutes_the_plan_and_nothing_else(metric):
    X, Y = populations()
    rng = np.random.default_rng(1)
    p, q = rng.permutation(9), rng.permutation(12)
    plain = SoftMatching(metric, 0.6).fit(X[:40], Y[:40])
    permuted = SoftMatching(metric, 0.6).fit(X[:40][:, p], Y[:40][:, q])
    np.testing.assert_allclose(
        permuted.coupling_.toarray(),
        plain.coupling_.toarray()[np.ix_(p, q)],
        atol=1e-14,
    )
    np.testing.assert_allclose(permuted.matched_[1], plain.matched_[1][q], atol=1e-14)
    for method in ("score", "inverse_score", "matching_score", "held_out_cost"):
        assert getattr(permuted, method)(X[40:][:, p], Y[40:][:, q]) == pytest.approx(
            getattr(plain, method)(X[40:], Y[40:]), abs=1e-12
        )


@pytest.mark.parametrize("metric", DISTANCES)
def test_cost_never_falls_as_the_mass_grows(metric):
    X, Y = populations()
    costs = [
        SoftMatching(metric, mass).fit(X, Y).cost_ for mass in np.arange(1, 21) / 20
    ]
    assert np.all(np.diff(costs) >= -1e-12)


def test_predictions_shrink_by_what_is_not_matched():
    X, Y = populations()
    matching = SoftMatching(mass=0.53).fit(X[:40], Y[:40])
    weights = 12 * matching.coupling_.toarray()
    # All three kinds of unit occur: matched, in part, not at all.
    sums = weights.sum(axis=0)
    assert np.any(sums < 1e-12)
    assert np.any((sums > 1e-3) & (sums < 1 - 1e-3))
    assert np.any(sums > 1 - 1e-12)
    z = (X[40:] - X[:40].mean(axis=0)) / X[:40].std(axis=0)
    expected = z @ weights * Y[:40].std(axis=0) + Y[:40].mean(axis=0)
    predicted = matching.predict(X[40:])
    np.testing.assert_allclose(predicted, expected, atol=1e-12)
    alone = sums == 0
    np.testing.assert_allclose(
        predicted[:, alone], np.tile(Y[:40].mean(axis=0)[alone], (20, 1)), atol=1e-12
    )
    scores = matching.unit_scores(X[40:], Y[40:])
    np.testing.assert_array_equal(scores[alone], 0)
    assert matching.score(X[40:], Y[40:]) == pytest.approx(scores.mean())


def test_raw_predictions_make_up_with_the_mean_what_is_not_matched():
    X, Y = populations()
    matching = SoftMatching(mass=0.53, reconstruct="raw").fit(X[:40], Y[:40])
    weights = 12 * matching.coupling_.toarray()
    rest = (1 - weights.sum(axis=0)) * Y[:40].mean(axis=0)
    np.testing.assert_allclose(
        matching.predict(X[40:]), X[40:] @ weights + rest, atol=1e-12
    )
    weights = 9 * matching.coupling_.toarray().T
    rest = (1 - weights.sum(axis=0)) * X[:40].mean(axis=0)
    np.testing.assert_allclose(
        matching.inverse_predict(Y[40:]), Y[40:] @ weights + rest, atol=1e-12
    )


@pytest.mark.parametrize("reconstruct", ["standardized", "raw"])
def test_dead_units_are_matched_by_nothing(reconstruct):
    X, Y = populations()
    dead_X, dead_Y = np.insert(X, 2, 0.1, axis=1), np.insert(Y, [0, 12], 4.0, axis=1)
    plain = SoftMatching(mass=0.6, reconstruct=reconstruct).fit(X, Y)
    with pytest.warns(DeadUnitWarning):
        matching = SoftMatching(mass=0.6, reconstruct=reconstruct).fit(dead_X, dead_Y)
    assert matching.cost_ == plain.cost_
    np.testing.assert_array_equal(
        matching.matched_[0], np.insert(plain.matched_[0], 2, 0.0)
    )
    np.testing.assert_array_equal(
        matching.matched_[1], np.insert(plain.matched_[1], [0, 12], 0.0)
    )
    np.testing.assert_allclose(
        matching.predict(dead_X), np.insert(plain.predict(X), [0, 12], 4.0, axis=1)
    )


@pytest.mark.parametrize("mass", [0.0, -1.0, 1.5, "half"])
def test_masses_out_of_range_are_refused(mass):
    X, Y = populations()
    with pytest.raises(ValueError, match="'mass' parameter of SoftMatching"):
        SoftMatching(mass=mass).fit(X, Y)


# -- costs on other stimuli ------------------------------------------------------------


@pytest.mark.parametrize("mass", [1.0, 0.6])
@pytest.mark.parametrize("metric", DISTANCES)
def test_the_cost_on_the_training_stimuli_is_the_cost(metric, mass):
    X, Y = populations()
    matching = SoftMatching(metric, mass).fit(X, Y)
    assert matching.held_out_cost(X, Y) == pytest.approx(matching.cost_, abs=1e-12)
    source, target = random_networks()
    matching = SoftMatching(metric, mass).fit(source, target)
    assert matching.held_out_cost(source, target) == pytest.approx(
        matching.cost_, abs=1e-12
    )


@pytest.mark.parametrize("mass", [1.0, 0.6])
@pytest.mark.parametrize("metric", ["correlation", "cosine"])
def test_held_out_cost_reads_distances_with_the_training_plan(metric, mass):
    X, Y = populations()
    matching = SoftMatching(metric, mass).fit(X[:40], Y[:40])
    plan = matching.coupling_.toarray()
    expected = np.sum(plan * DISTANCES[metric](X[40:], Y[40:])) / mass
    cost = matching.held_out_cost(X[40:], Y[40:])
    assert cost == pytest.approx(expected, abs=1e-12)
    assert cost == pytest.approx(1 - matching.matching_score(X[40:], Y[40:]))


@pytest.mark.parametrize("mass", [1.0, 0.6])
def test_held_out_squared_distance_keeps_centre_and_scale_of_training(mass):
    X, Y = populations()
    matching = SoftMatching("sqeuclidean", mass).fit(X[:40], Y[:40])
    x, y = (
        (side[40:] - side[:40].mean(axis=0)) / np.sqrt(side[:40].var(axis=0).mean())
        for side in (X, Y)
    )
    distances = np.array([[np.mean((a - b) ** 2) for b in y.T] for a in x.T])
    expected = np.sum(matching.coupling_.toarray() * distances) / mass
    assert matching.held_out_cost(X[40:], Y[40:]) == pytest.approx(expected, abs=1e-12)


def test_held_out_cost_leaves_out_constant_targets_and_counts_constant_sources_as_0():
    X, Y = populations(4, 4)
    matching = SoftMatching().fit(X[:40], Y[:40])
    plan = matching.coupling_.toarray()
    distances = reference.correlation_distances(X[40:], Y[40:])
    held_out_X, held_out_Y = X[40:].copy(), Y[40:].copy()
    held_out_X[:, 1], held_out_Y[:, 2] = 5.0, -1.0
    kept = plan.copy()
    kept[:, 2] = 0.0
    distances[1] = 1.0
    assert matching.held_out_cost(held_out_X, held_out_Y) == pytest.approx(
        np.sum(kept * distances) / kept.sum()
    )
    held_out_X[:] = 1.0
    assert matching.held_out_cost(held_out_X, held_out_Y) == 1.0
    held_out_Y[:] = 1.0
    with pytest.raises(ValueError, match="Every matched unit of y is constant"):
        matching.held_out_cost(held_out_X, held_out_Y)


@pytest.mark.parametrize("metric", ["correlation", "cosine"])
@pytest.mark.parametrize("mass", [0.6, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_held_out_cost_is_one_minus_the_matching_score(metric, mass, seed):
    # Sparse: of ten stimuli held out many units see none they respond to.
    X, Y = (np.maximum(part - 1, 0) for part in planted(seed=seed))
    matching = SoftMatching(metric, mass).fit(X[:280], Y[:280])
    held_out = X[290:], Y[290:]
    for layer in held_out:
        assert (layer.max(axis=0) == 0).any()
    assert matching.held_out_cost(*held_out) == pytest.approx(
        1 - matching.matching_score(*held_out), abs=1e-12
    )


# -- units without a counterpart -------------------------------------------------------


@pytest.mark.parametrize("metric", DISTANCES)
@pytest.mark.parametrize("seed", range(3))
def test_units_without_a_counterpart_are_left_out(metric, seed):
    X, Y = planted(seed=seed)
    matching = SoftMatching(metric, 0.7).fit(X, Y)
    for matched in matching.matched_:
        np.testing.assert_array_equal(matched, [1] * 14 + [0] * 6)
    # One by one: the planted partner, where the whole plan has other pairs as well.
    np.testing.assert_array_equal(
        matching.coupling_.toarray()[:14, :14] > 0, np.eye(14, dtype=bool)
    )


def test_layers_are_summed_by_how_much_of_a_unit_they_match():
    source, target = random_networks()
    mot = MultiLevelOT(SoftMatching(mass=0.7)).fit(source, target)
    weights = mot.coupling_ * len(target)
    for m, predicted in enumerate(mot.predict(source)):
        total = 0.0
        for s, layer in enumerate(source):
            z = (layer - layer.mean(axis=0)) / layer.std(axis=0)
            plan = mot.inner_[s][m].coupling_.toarray()
            total = total + weights[s, m] * z @ (plan.shape[1] * plan)
        expected = total * target[m].std(axis=0) + target[m].mean(axis=0)
        np.testing.assert_allclose(predicted, expected, atol=1e-10)


def test_a_search_by_score_does_not_choose_the_smallest_mass():
    X, Y = planted()
    masses = [0.1, 0.3, 0.5, 0.7, 1.0]
    search = GridSearchCV(SoftMatching(), {"mass": masses}, cv=4).fit(X, Y)
    scores = search.cv_results_["mean_test_score"]
    # Seven tenths of the units have a score, whatever is matched beyond.
    assert search.best_params_["mass"] >= 0.7
    np.testing.assert_allclose(
        scores[:4] / scores[3], [1 / 7, 3 / 7, 5 / 7, 1], atol=0.02
    )
    # By the mean over what is matched there would be no such peak.
    smallest = SoftMatching(mass=0.1).fit(X[:200], Y[:200])
    whole = SoftMatching(mass=1.0).fit(X[:200], Y[:200])
    assert smallest.matching_score(X[200:], Y[200:]) > whole.matching_score(
        X[200:], Y[200:]
    )


# -- curves ----------------------------------------------------------------------------


@pytest.mark.parametrize("n_alone", [4, 8, 12])
@pytest.mark.parametrize("metric", ["correlation", "sqeuclidean"])
def test_the_corner_finds_the_share_planted(metric, n_alone):
    X, Y = planted(20 - n_alone, n_alone)
    curve = mass_curve(X, Y, estimator=SoftMatching(metric))
    # One step of the masses is one unit here.
    assert curve.corner == pytest.approx(1 - n_alone / 20, abs=0.051)
    for matched in curve.matched:
        order = matched.mean(axis=0).argsort(kind="stable")
        assert set(order[:n_alone]) == set(range(20 - n_alone, 20))


def test_curves_hold_what_was_fitted_fold_by_fold():
    X, Y = populations()
    masses, cv = [0.25, 0.5, 1.0], KFold(4, shuffle=True, random_state=0)
    curve = mass_curve(X, Y, masses, estimator=SoftMatching("sqeuclidean"), cv=cv)
    np.testing.assert_array_equal(curve.masses, masses)
    for column, mass in enumerate(masses):
        whole = SoftMatching("sqeuclidean", mass).fit(X, Y)
        assert curve.costs[column] == whole.cost_
        for side in (0, 1):
            np.testing.assert_array_equal(
                curve.matched[side][column], whole.matched_[side]
            )
        for row, (train, test) in enumerate(cv.split(X)):
            fitted = clone(whole).fit(X[train], Y[train])
            assert curve.held_out_costs[row, column] == fitted.held_out_cost(
                X[test], Y[test]
            )
            assert curve.held_out_scores[row, column] == fitted.score(X[test], Y[test])
    for errors, folds in (
        (curve.cost_errors, curve.held_out_costs),
        (curve.score_errors, curve.held_out_scores),
    ):
        deviations = np.sqrt(np.sum((folds - folds.mean(axis=0)) ** 2, axis=0) / 3)
        np.testing.assert_allclose(errors, deviations / 2)
    np.testing.assert_allclose(curve.mean_costs, curve.held_out_costs.mean(axis=0))
    np.testing.assert_allclose(curve.mean_scores, curve.held_out_scores.mean(axis=0))
    assert curve.corner == curve_corner(masses, masses * curve.mean_costs)


def test_curves_are_the_same_for_stacks_and_for_any_number_of_jobs():
    X, Y = planted(n_stimuli=60)
    masses = [0.3, 0.6, 0.9]
    plain = mass_curve(X, Y, masses, cv=3)
    for other in (
        mass_curve(LayerStack([X]), [Y], masses, cv=3),
        mass_curve(X, Y, masses, cv=3, n_jobs=2),
        mass_curve(X, Y, masses, cv=list(KFold(3).split(X))),
    ):
        np.testing.assert_array_equal(other.held_out_costs, plain.held_out_costs)
        np.testing.assert_array_equal(other.held_out_scores, plain.held_out_scores)
    X, Y = random_networks()
    curve = mass_curve(X, Y, masses, cv=KFold(3))
    for row, (train, test) in enumerate(KFold(3).split(X[0])):
        for column, mass in enumerate(masses):
            fitted = SoftMatching(mass=mass).fit(rows(X, train), rows(Y, train))
            held_out = rows(X, test), rows(Y, test)
            assert curve.held_out_costs[row, column] == fitted.held_out_cost(*held_out)
            # A mean over layers of the mean over their units.
            assert curve.held_out_scores[row, column] == fitted.score(*held_out)


def test_units_are_made_ready_once_a_fold():
    X, Y = populations()
    prepared = []

    class Counted(SoftMatching):
        def _prepare(self, leaves, statistics):
            prepared.append(len(statistics.live))
            return super()._prepare(leaves, statistics)

    masses = [0.2, 0.5, 0.8, 1.0]
    curve = mass_curve(X, LayerStack(Y), masses, cv=3, estimator=Counted())
    # Both sides, for each of the folds and for all stimuli.
    assert sorted(prepared) == [X.shape[1]] * 4 + [Y.shape[1]] * 4
    plain = mass_curve(X, Y, masses, cv=3)
    np.testing.assert_array_equal(curve.held_out_costs, plain.held_out_costs)


class Unproven(SoftMatching):
    """As if the solver had given up; the gap grows with the mass."""

    def _solve(self, source, target):
        solution = super()._solve(source, target)
        return replace(solution, converged={"duality gap": self.mass / 100})


def test_curves_warn_once_of_plans_short_of_their_tolerance():
    X, Y = populations()
    with pytest.warns(ConvergenceWarning) as caught:
        mass_curve(X, Y, [0.3, 0.5, 0.7], cv=3, estimator=Unproven())
    (warning,) = caught
    # Three masses, for each of the folds and for all stimuli.
    assert "12 plan(s) are not proven" in str(warning.message)
    assert "at most 7.0e-03" in str(warning.message)
    assert warning.filename == __file__


def test_one_fold_has_no_standard_error():
    X, Y = populations()
    curve = mass_curve(X, Y, [0.2, 0.5, 0.8], cv=[(np.arange(40), np.arange(40, 60))])
    assert np.isnan(curve.cost_errors).all()


def test_curves_warn_once_of_dead_units_where_they_were_called():
    X, Y = populations()
    X[:, 0] = 1.0
    with pytest.warns(DeadUnitWarning) as caught:
        mass_curve(X, Y, [0.2, 0.5, 0.8], cv=3)
    assert [warning.filename for warning in caught] == [__file__]


def test_curves_take_nothing_but_soft_matching():
    X, Y = populations()
    with pytest.raises(TypeError, match="must be a SoftMatching"):
        mass_curve(X, Y, estimator=MultiLevelOT())
    with pytest.raises(ValueError, match="'metric' parameter"):
        mass_curve(X, Y, estimator=SoftMatching("euclid"))


@pytest.mark.parametrize(
    ("masses", "message"),
    [
        ([0.5, 1.0], "three or more increasing"),
        ([0.5, 0.5, 1.0], "three or more increasing"),
        ([0.0, 0.5, 1.0], "from 0.0 to 1.0"),
        ([0.5, 0.8, 1.2], "from 0.5 to 1.2"),
        ([0.5, np.nan, 1.0], "three or more increasing"),
        (0.5, "three or more increasing"),
        ([[0.2, 0.5, 1.0]] * 3, "three or more increasing"),
    ],
)
def test_bad_masses_are_refused(masses, message):
    X, Y = populations()
    with pytest.raises(ValueError, match=message):
        mass_curve(X, Y, masses)


# -- the share of units with a counterpart ---------------------------------------------

MASSES = np.arange(1, 11) / 10
ONE_SPLIT = ShuffleSplit(1, test_size=0.3, random_state=0)


def unrelated(n_stimuli=100, n=10, k=10, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_stimuli, n)), rng.normal(size=(n_stimuli, k))


def terms(X, Y, train, test, mass):
    """Return the plan of a split, and its terms row by row of X and Y held out."""
    plan = SoftMatching(mass=mass).fit(X[train], Y[train]).coupling_.toarray()
    x, y = (side[test] - side[test].mean(axis=0) for side in (X, Y))
    x, y = x / np.linalg.norm(x, axis=0), y / np.linalg.norm(y, axis=0)
    return plan, x @ plan @ y.T


@pytest.mark.parametrize(
    ("cv", "widening"),
    [
        # 1 + 4 x .3, 1 + 9 x .3; nothing in common; one split.
        (KFold(5), np.sqrt(2.2)),
        (KFold(10), np.sqrt(3.7)),
        (TimeSeriesSplit(3), 1.0),
        (ONE_SPLIT, 1.0),
    ],
)
def test_similarities_are_sums_of_held_out_correlations_and_nulls_permute_rows(
    cv, widening
):
    X, Y = planted(6, 4, n_stimuli=80)
    curve = mass_curve(X, Y, [0.3, 0.6, 1.0], cv=cv, random_state=0)
    splits = list(cv.split(X))
    for column, mass in enumerate([0.3, 0.6, 1.0]):
        similarities, variances = [], []
        for train, test in splits:
            plan, products = terms(X, Y, train, test, mass)
            correlations = 1 - reference.correlation_distances(X[test], Y[test])
            similarities.append(np.sum(plan * correlations))
            # Hoeffding's variance of a sum over permuted rows: rows and columns of
            # these products sum to 0.
            variances.append(np.sum(products**2) / (len(test) - 1))
        assert curve.similarities[column] == pytest.approx(
            np.mean(similarities), abs=0.02
        )
        deviation = widening * np.sqrt(np.sum(variances)) / len(splits)
        assert curve.null_similarities[:, column].std() == pytest.approx(
            deviation, rel=0.1
        )
    assert curve.split_correlations.mean() * len(splits) == pytest.approx(widening**2)


def test_splits_that_share_held_out_rows_depend_on_each_other_by_what_they_share():
    X, Y = unrelated(n_stimuli=40)
    train, test = np.arange(30), np.arange(30, 40)
    curve = mass_curve(X, Y, MASSES, cv=[(train, test), (train, test)])
    np.testing.assert_allclose(curve.split_correlations, 1.0)


@pytest.mark.parametrize("cv", [5, 12, ONE_SPLIT, ShuffleSplit(4, random_state=0)])
@pytest.mark.parametrize("sizes", [(10, 10), (6, 15)])
def test_unrelated_units_have_no_counterpart(cv, sizes):
    X, Y = unrelated(150, *sizes, seed=1)
    curve = mass_curve(X, Y, MASSES, cv=cv, random_state=0)
    assert (curve.verdict, curve.share, curve.low) == ("none detected", 0.0, 0.0)
    assert curve.p_value > 0.05
    assert np.isnan([curve.corner, curve.high, curve.least_similarity]).all()
    assert np.isnan(curve.fitted_similarities).all()
    assert "No counterparts were detected" in str(curve)
    assert "does not show that there are none" in str(curve)


@pytest.mark.parametrize("cv", [5, 12, ONE_SPLIT, ShuffleSplit(4, random_state=0)])
def test_half_of_the_units_are_found_between_the_bounds(cv):
    X, Y = planted(10, 10, n_stimuli=200, noise=1.0)
    curve = mass_curve(X, Y, cv=cv, random_state=0)
    assert curve.verdict == "some"
    assert curve.p_value == pytest.approx(0.001)
    assert curve.low <= 0.5 <= curve.high
    assert curve.share == pytest.approx(0.5, abs=0.1)
    assert curve.corner == curve_corner(curve.masses, curve.masses * curve.mean_costs)
    # Their correlation is 1 / sqrt(2).
    assert curve.least_similarity == pytest.approx(0.35, abs=0.08)
    assert f"At most {curve.high:.0%}" in str(curve)
    assert "weaker counterparts of the others cannot be excluded" in str(curve)


@pytest.mark.parametrize("noise", [1.0, np.linspace(0.3, 2.0, 20)])
@pytest.mark.parametrize("cv", [5, ONE_SPLIT])
def test_where_all_units_have_a_counterpart_there_is_no_corner(noise, cv):
    X, Y = planted(20, 0, n_stimuli=200, noise=noise)
    curve = mass_curve(X, Y, cv=cv, random_state=0)
    assert curve.verdict == "at least .95"
    assert curve.low >= 0.95
    assert curve.share >= curve.low
    assert curve.high == 1.0
    assert np.isnan(curve.corner)
    assert "does not show that it is their only counterpart" in str(curve)


def test_a_share_is_found_where_some_counterparts_are_less_similar_than_others():
    errors = []
    for seed in range(5):
        X, Y = planted(10, 10, 200, noise=0.0, seed=seed)
        noise = np.random.default_rng([seed, 1]).normal(size=(200, 10))
        Y[:, :10] = X[:, :10] + np.linspace(0.3, 2.0, 10) * noise
        errors.append(mass_curve(X, Y, random_state=0).share - 0.5)
    # A curve of two straight pieces has its corner at about .4.
    assert abs(np.mean(errors)) < 0.06


@pytest.mark.parametrize("swapped", [False, True])
def test_shares_are_of_the_larger_side(swapped):
    X, Y = unrelated(200, 8, 20)
    Y[:, :8] = X + 0.8 * Y[:, :8]
    if swapped:
        X, Y = Y, X
    curve = mass_curve(X, Y, random_state=0)
    assert curve.low <= 0.4 <= curve.high
    assert curve.share == pytest.approx(0.4, abs=0.1)
    assert f"the 20 units of {'X' if swapped else 'y'}, the larger side" in str(curve)
    assert "One-to-one counterparts cannot exceed 40%" in str(curve)


def test_several_counterparts_of_a_unit_fill_the_larger_side():
    X, Y = unrelated(200, 5, 20)
    Y = np.tile(X, 4) + 0.8 * Y
    assert mass_curve(X, Y, random_state=0).verdict == "at least .95"


def test_dead_units_do_not_count_as_units_of_a_side():
    X, Y = planted(10, 10, n_stimuli=200)
    plain = mass_curve(X, Y, random_state=0)
    with pytest.warns(DeadUnitWarning):
        curve = mass_curve(
            np.insert(X, [0] * 20, 1.0, axis=1),
            np.insert(Y, [3] * 20, 1.0, axis=1),
            random_state=0,
        )
    assert curve.share == pytest.approx(plain.share)
    assert curve.low == pytest.approx(plain.low)


def test_the_fit_increases_up_to_the_share_and_is_no_worse_than_two_straight_pieces():
    X, Y = planted(10, 10, n_stimuli=200, noise=1.0)
    curve = mass_curve(X, Y, random_state=0)
    slopes = np.diff(curve.fitted_similarities, prepend=0.0)
    np.testing.assert_allclose(slopes[curve.masses > curve.share + 0.05], 0, atol=1e-12)
    before = slopes[curve.masses < curve.share]
    assert np.all(np.diff(before) <= 1e-12)
    assert before[-1] > before[0] / 3
    straight = []
    for share in np.arange(1, 21) / 20:
        line = np.minimum(curve.masses, share)
        line = line * (line @ curve.similarities) / (line @ line)
        straight.append(np.sum((curve.similarities - line) ** 2))
    error = np.sum((curve.similarities - curve.fitted_similarities) ** 2)
    assert error <= min(straight) + 1e-12


def test_the_upper_bound_has_the_sampling_error_of_rows():
    # Loud rows are loud on both sides, which permuted rows do not show.
    X, Y = planted(5, 5, n_stimuli=300)
    loud = np.exp(np.random.default_rng(1).normal(size=(300, 1)))
    X, Y = X * loud, Y * loud
    ((train, test),) = ONE_SPLIT.split(X)
    curve = mass_curve(X, Y, MASSES, cv=ONE_SPLIT, random_state=0)
    assert curve.verdict == "some"
    column = int(np.flatnonzero(np.isclose(MASSES, curve.share))[0])
    plans = [terms(X, Y, train, test, mass)[0] for mass in (1.0, curve.share)]
    rng = np.random.default_rng(0)
    gains = []
    for _ in range(400):
        rows = rng.choice(test, len(test))
        correlations = 1 - reference.correlation_distances(X[rows], Y[rows])
        gains.append(np.sum((plans[0] - plans[1]) * correlations))
    null = curve.null_similarities[:, -1] - curve.null_similarities[:, column]
    assert np.std(gains) > 1.5 * null.std()
    gain = curve.similarities[-1] - curve.similarities[column]
    error = ((curve.high - curve.share) * curve.least_similarity - gain) / 1.645
    # The correlations of loud rows are not normal, so the two agree roughly.
    assert error == pytest.approx(np.std(gains), rel=0.3)


def test_repeated_rows_in_groups_are_as_single_rows():
    X, Y = planted(5, 5, n_stimuli=60)
    plain_splits = list(KFold(4).split(X))
    codes = np.tile(np.arange(60), 3)
    stimuli = [f"stimulus {code}" for code in codes]
    rows = [
        tuple(np.flatnonzero(np.isin(codes, part)) for part in split)
        for split in plain_splits
    ]
    plain = mass_curve(X, Y, MASSES, cv=plain_splits, random_state=0)
    for curve in (
        mass_curve(X[codes], Y[codes], MASSES, cv=rows, groups=stimuli, random_state=0),
        mass_curve(
            LayerStack([X[codes]], stimuli=stimuli),
            LayerStack([Y[codes]], stimuli=stimuli),
            MASSES,
            cv=rows,
            random_state=0,
        ),
    ):
        np.testing.assert_allclose(curve.similarities, plain.similarities)
        np.testing.assert_allclose(curve.null_similarities, plain.null_similarities)
        np.testing.assert_allclose(curve.split_correlations, plain.split_correlations)
        for name in ("p_value", "share", "low", "high"):
            assert curve[name] == pytest.approx(plain[name])


def test_groups_stay_together():
    X, Y = planted(5, 5, n_stimuli=60)
    groups = np.repeat(np.arange(20), 3)
    with pytest.raises(ValueError, match="must stay together"):
        mass_curve(X, Y, MASSES, cv=KFold(4, shuffle=True), groups=groups)
    assert mass_curve(X, Y, MASSES, groups=groups, random_state=0).verdict == "some"
    with pytest.raises(ValueError, match="`groups` has 3 labels for 60 rows"):
        mass_curve(X, Y, MASSES, groups=[0, 1, 2])


def test_what_all_groups_have_in_common_is_no_similarity_at_any_mass():
    X, Y = unrelated(n_stimuli=150)
    # The position in a group of three is the same for all groups.
    groups = np.repeat(np.arange(50), 3)
    position = np.tile([-2.0, 0.0, 2.0], 50)[:, np.newaxis]
    curve = mass_curve(
        X + position, Y + position, MASSES, groups=groups, random_state=0
    )
    noise = curve.null_similarities.std(axis=0)
    assert np.all(np.abs(curve.similarities) < 4 * noise)
    np.testing.assert_allclose(curve.null_similarities.mean(axis=0), 0, atol=1e-12)
    assert curve.verdict == "none detected"


def test_groups_of_sizes_of_their_own_are_refused_or_warned_of():
    X, Y = planted(5, 5, n_stimuli=60)
    sizes = [30, 10, 9, 11]
    groups = np.repeat(np.arange(4), sizes)
    cv = [(np.arange(30), np.arange(30, 60))]
    with pytest.raises(ValueError, match="no two groups or blocks have the same size"):
        mass_curve(X, Y, MASSES, cv=cv, groups=groups)
    groups = np.repeat(np.arange(16), [30, 16, *[1] * 14])
    with pytest.warns(UserWarning, match="Only 47% of the rows can be permuted"):
        mass_curve(X, Y, MASSES, cv=cv, groups=groups)
    groups = np.repeat(np.arange(4), [30, 10, 10, 10])
    with pytest.warns(UserWarning, match="Only 6 permutations .* are distinct"):
        curve = mass_curve(X, Y, MASSES, cv=cv, groups=groups)
    assert curve.p_value >= 1 / 6 - 0.05


@pytest.mark.parametrize("metric", ["cosine", "sqeuclidean"])
def test_shares_are_not_judged_where_loud_units_decide_who_is_matched(metric):
    X, Y = planted(5, 5, n_stimuli=100)
    curve = mass_curve(X, Y, MASSES, estimator=SoftMatching(metric), random_state=0)
    assert curve.verdict == "some"
    assert np.isnan([curve.share, curve.low, curve.high]).all()
    assert curve.corner == curve_corner(MASSES, MASSES * curve.mean_costs)
    assert "use metric='correlation'" in str(curve)
    X, Y = unrelated()
    curve = mass_curve(X, Y, MASSES, estimator=SoftMatching(metric), random_state=0)
    assert curve.verdict == "none detected"


def test_nothing_is_said_beyond_the_last_mass():
    X, Y = planted(10, 0, n_stimuli=200)
    curve = mass_curve(X, Y, [0.2, 0.4, 0.6, 0.8], random_state=0)
    assert curve.verdict == "some"
    assert curve.share == 0.8
    # Seven units, because there is more to gain beyond six.
    assert curve.low == 0.7
    assert curve.high == 1.0
    assert "It cannot be excluded that all have one" in str(curve)


def test_units_that_are_constant_over_a_fold_count_as_not_similar():
    X, Y = planted(6, 4, n_stimuli=60)
    X[:, 0] = np.arange(60) < 5
    curve = mass_curve(X, Y, MASSES, cv=KFold(4), random_state=0)
    assert np.isfinite(curve.similarities).all()
    assert curve.verdict == "some"


def test_layers_of_a_network_are_judged_as_one_population():
    X, Y = planted(5, 5, n_stimuli=100)
    plain = mass_curve(X, Y, MASSES, random_state=0)
    stacked = mass_curve(
        LayerStack([X[:, :3], X[:, 3:]]),
        LayerStack([Y[:, :7], Y[:, 7:]]),
        MASSES,
        random_state=0,
    )
    np.testing.assert_allclose(stacked.null_similarities, plain.null_similarities)
    assert stacked.conclusion == plain.conclusion


def test_random_networks_of_the_same_stimuli_have_counterparts_and_it_says_so():
    rng = np.random.default_rng(0)
    stimuli = rng.normal(size=(150, 6))
    X, Y = (np.maximum(stimuli @ rng.normal(size=(6, 10)), 0) for _ in range(2))
    curve = mass_curve(X, Y, MASSES, n_permutations=99, random_state=0)
    assert curve.share > 0.5
    assert "units of untrained networks that see the same stimuli" in str(curve)


def test_random_state_decides_the_permutations_and_jobs_change_nothing():
    X, Y = planted(5, 5, n_stimuli=60)
    first, second, other = (
        mass_curve(X, Y, MASSES, n_jobs=n_jobs, random_state=seed, n_permutations=19)
        for n_jobs, seed in ((None, 0), (2, 0), (None, 1))
    )
    np.testing.assert_array_equal(first.null_similarities, second.null_similarities)
    assert first.null_similarities.shape == (19, 10)
    assert not np.array_equal(first.null_similarities, other.null_similarities)
    np.testing.assert_allclose(first.similarities, other.similarities, atol=0.1)


def test_fewer_permutations_than_a_small_p_value_needs_are_refused():
    X, Y = unrelated()
    with pytest.raises(ValueError, match="'n_permutations' parameter of mass_curve"):
        mass_curve(X, Y, n_permutations=18)


def test_few_of_many_unrelated_pairs_seem_to_have_counterparts():
    detected = [
        mass_curve(
            *unrelated(60, 6, 6, seed=seed),
            [0.25, 0.5, 1.0],
            cv=4,
            n_permutations=59,
            random_state=seed,
        ).verdict
        != "none detected"
        for seed in range(60)
    ]
    # At a rate of .05, eight or more of 60 are found once in 80 times.
    assert np.sum(detected) < 8


# -- corners ---------------------------------------------------------------------------


@pytest.mark.parametrize("corner", [0.15, 0.4, 0.7, 0.95])
@pytest.mark.parametrize(
    ("before", "after"), [(0.1, 1.0), (1.0, 0.1), (0, -3), (2, -1)]
)
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_the_corner_of_two_straight_pieces_is_where_they_meet(
    corner, before, after, offset
):
    masses = np.arange(1, 21) / 20
    values = (
        before * np.minimum(masses, corner)
        + after * np.maximum(masses - corner, 0)
        + offset
    )
    assert curve_corner(masses, values) == pytest.approx(corner, abs=1e-12)
    uneven = np.array([0.01, 0.02, corner, 0.96, 0.99])
    values = np.interp(uneven, masses, values)
    assert curve_corner(uneven, values * 1e-200) == corner


def test_a_straight_curve_has_its_corner_at_the_end():
    masses = np.arange(1, 11) / 10
    assert curve_corner(masses, 0.3 * masses) == 1.0
    assert curve_corner(masses, np.zeros(10)) == 1.0


def test_ties_go_to_the_smaller_mass():
    assert curve_corner([0.1, 0.2, 0.3, 0.4], [0.0, -1.0, -1.0, 0.0]) == 0.2


@pytest.mark.parametrize(
    ("values", "message"),
    [([1.0, 2.0], "shape"), ([1.0, np.nan, 2.0], "NaN"), ([[1.0, 2.0, 3.0]], "shape")],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        curve_corner([0.2, 0.5, 1.0], values)


# -- tables ----------------------------------------------------------------------------


def test_tables_of_a_curve_have_one_row_for_each_result_mass_fold_or_unit():
    X, Y = planted(n_shared=5, n_alone=3, n_stimuli=60)
    source = LayerStack({"V1": X[:, :3], "V4": X[:, 3:]})
    target = LayerStack([Y], unit_names=[list("abcdefgh")])
    masses = [0.25, 0.5, 0.75, 1.0]
    curve = mass_curve(source, target, masses, cv=3, n_permutations=19, random_state=0)
    (row,) = curve.to_frame().to_dict("records")
    for name in ("verdict", "share", "low", "high", "p_value"):
        assert row[name] == curve[name]
    by_mass = curve.to_frame("masses")
    np.testing.assert_array_equal(by_mass["mass"], masses)
    np.testing.assert_array_equal(by_mass["similarity"], curve.similarities)
    folds = curve.to_frame("folds")
    for column in ("cost", "score"):
        wide = folds.pivot(index="fold", columns="mass", values=f"held_out_{column}")
        np.testing.assert_array_equal(wide, curve[f"held_out_{column}s"])
        np.testing.assert_allclose(by_mass[f"mean_{column}"], wide.mean(axis=0))
    units = curve.to_frame("units")
    assert units["side"].tolist() == ["source"] * 8 + ["target"] * 8
    assert units["layer"].tolist() == ["V1"] * 3 + ["V4"] * 5 + [0] * 8
    assert units["unit"].tolist() == [0, 1, 2, 0, 1, 2, 3, 4, *"abcdefgh"]
    for side, matched in zip(("source", "target"), curve.matched, strict=True):
        np.testing.assert_allclose(
            units["matched"][units["side"] == side], matched.mean(axis=0)
        )
    for table in (None, "masses", "folds"):
        assert_survives_files(curve.to_frame(table))

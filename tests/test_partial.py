"""Partial matching: what SoftMatching does with `mass`, and curves over it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, KFold

from skmot import LayerStack, MultiLevelOT, SoftMatching
from skmot.exceptions import DeadUnitWarning
from skmot.partial import curve_corner, mass_curve
from skmot.transport import TuningCurves, match_tuning_curves
from tests import reference
from tests.networks import random_networks, rows

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
    ],
)
def test_bad_masses_are_refused(masses, message):
    X, Y = populations()
    with pytest.raises(ValueError, match=message):
        mass_curve(X, Y, masses)


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

"""SoftMatching(metric="abs_correlation"), against loops over `np.corrcoef`."""

import numpy as np
import pytest
from sklearn.base import clone

from skmot import LayerStack, MultiLevelOT, MultiLevelOTRotation, RotationMatching
from skmot import SoftMatching as SoftMatchingOfAnyMetric
from skmot.exceptions import DeadUnitWarning
from skmot.inspection import matches
from skmot.partial import mass_curve
from tests import reference
from tests.networks import random_networks, rows
from tests.pairs.common import (
    LAWS_OF_MAPS,
    SIZES,
    back,
    by_law,
    correlations,
    mean_r,
    populations,
    z,
)


def SoftMatching(**parameters):
    return SoftMatchingOfAnyMetric(metric="abs_correlation", **parameters)


def linear_program(costs, mass):
    """Return the least cost of a plan that matches `mass`, by scipy's solver."""
    from scipy.optimize import linprog

    n, k = costs.shape
    sums = np.vstack([np.kron(np.eye(n), np.ones(k)), np.kron(np.ones(n), np.eye(k))])
    limits = np.concatenate([np.full(n, 1 / n), np.full(k, 1 / k)])
    found = linprog(
        costs.ravel(), sums, limits, np.ones((1, n * k)), [mass], method="highs"
    )
    return found.fun


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize(("n", "k"), [*SIZES, (150, 190)])
def test_the_plan_is_that_of_the_magnitudes_of_correlations(n, k, dtype):
    X, Y = populations(n, k)
    matching = SoftMatching().fit(X.astype(dtype), Y.astype(dtype))
    r = correlations(X, Y)
    plan, cost = reference.transport(1 - np.abs(r))
    assert matching.cost_ == pytest.approx(cost, abs=1e-9 if dtype == "f8" else 1e-5)
    if dtype == "f8":
        np.testing.assert_allclose(matching.coupling_.toarray(), plan, atol=1e-12)
        u, v = matching.potentials_
        assert np.all(u[:, np.newaxis] + v <= 1 - np.abs(r) + 1e-9)
        assert u.mean() + v.mean() == pytest.approx(matching.cost_, abs=1e-9)
        assert matching.duality_gap_ <= 1e-9


@pytest.mark.parametrize(("n", "k"), SIZES)
def test_signs_are_those_of_training_correlations_of_matched_pairs(n, k):
    X, Y = populations(n, k)
    matching = SoftMatching().fit(X[:30], Y[:30])
    plan = matching.coupling_.toarray()
    signs = matching.signs_.toarray()
    expected = np.where(plan > 0, np.sign(correlations(X[:30], Y[:30])), 0)
    np.testing.assert_array_equal(signs, expected)
    assert (plan >= 0).all()


@pytest.mark.parametrize(("n", "k"), SIZES)
def test_predictions_use_the_signs_of_the_training_rows(n, k):
    X, Y = populations(n, k)
    matching = SoftMatching().fit(X[:30], Y[:30])
    r = correlations(X[:30], Y[:30])
    plan = reference.transport(1 - np.abs(r))[0] * np.sign(r)
    predicted = back(z(X[30:], X[:30]) @ (k * plan), Y[:30])
    recovered = back(z(Y[30:], Y[:30]) @ (n * plan).T, X[:30])
    np.testing.assert_allclose(matching.predict(X[30:]), predicted, atol=1e-9)
    np.testing.assert_allclose(matching.inverse_predict(Y[30:]), recovered, atol=1e-9)
    score = mean_r(Y[30:], predicted)
    assert matching.score(X[30:], Y[30:]) == pytest.approx(score)
    assert matching.unit_scores(X[30:], Y[30:]).mean() == pytest.approx(score)
    assert matching.inverse_score(X[30:], Y[30:]) == pytest.approx(
        mean_r(X[30:], recovered)
    )
    held_out = np.sum(plan * correlations(X[30:], Y[30:]))
    assert matching.matching_score(X[30:], Y[30:]) == pytest.approx(held_out)
    assert matching.held_out_cost(X[30:], Y[30:]) == pytest.approx(1 - held_out)
    # In sample every sign is right.
    assert matching.held_out_cost(X[:30], Y[:30]) == pytest.approx(matching.cost_)


def test_raw_predictions_are_signed_sums_of_activations():
    X, Y = populations(6, 10)
    r = correlations(X, Y)
    plan = reference.transport(1 - np.abs(r))[0] * np.sign(r)
    matching = SoftMatching(reconstruct="raw").fit(X, Y)
    np.testing.assert_allclose(matching.predict(X), X @ (10 * plan), atol=1e-9)
    np.testing.assert_allclose(matching.inverse_predict(Y), Y @ (6 * plan).T, atol=1e-9)


def test_a_population_and_its_negative_are_the_same():
    X, _ = populations(7, 1)
    order = np.random.default_rng(1).permutation(7)
    signs = np.array([1, -1, 1, -1, -1, 1, 1])
    Y = (X * signs)[:, order]
    matching = SoftMatching().fit(X[:30], Y[:30])
    assert matching.cost_ == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(matching.predict(X[30:]), Y[30:])
    np.testing.assert_allclose(matching.inverse_predict(Y[30:]), X[30:])
    np.testing.assert_array_equal(
        matching.signs_.toarray()[order, np.arange(7)], signs[order]
    )
    # Without signs it is not.
    assert SoftMatchingOfAnyMetric().fit(X, Y).cost_ > 0.2


def test_changing_the_sign_of_a_unit_changes_its_signs_and_nothing_else():
    X, Y = populations(8, 13, n_stimuli=60)
    flips = np.where(np.arange(8) % 3 == 1, -1.0, 1.0)
    plain = SoftMatching().fit(X[:40], Y[:40])
    flipped = SoftMatching().fit(X[:40] * flips, Y[:40])
    assert flipped.cost_ == pytest.approx(plain.cost_, abs=1e-12)
    np.testing.assert_allclose(
        flipped.signs_.toarray(), plain.signs_.toarray() * flips[:, np.newaxis]
    )
    np.testing.assert_allclose(
        flipped.predict(X[40:] * flips), plain.predict(X[40:]), atol=1e-9
    )
    for method in ("score", "inverse_score", "matching_score", "held_out_cost"):
        assert getattr(flipped, method)(X[40:] * flips, Y[40:]) == pytest.approx(
            getattr(plain, method)(X[40:], Y[40:]), abs=1e-12
        )


@pytest.mark.parametrize("mass", [0.3, 2 / 3])
def test_partial_plans_are_optimal_for_the_magnitudes(mass):
    X, Y = populations(7, 5)
    Y[:, ::2] *= -1
    matching = SoftMatching(mass=mass).fit(X, Y)
    costs = 1 - np.abs(correlations(X, Y))
    assert matching.cost_ == pytest.approx(linear_program(costs, mass) / mass)
    plan = matching.coupling_.toarray()
    np.testing.assert_array_equal(
        matching.signs_.toarray(),
        np.where(plan > 0, np.sign(1 - costs), 0) * np.sign(correlations(X, Y)),
    )
    signed = plan * matching.signs_.toarray()
    np.testing.assert_allclose(
        matching.predict(X), back(z(X, X) @ (5 * signed), Y), atol=1e-9
    )
    assert matching.matching_score(X, Y) == pytest.approx(1 - matching.cost_)


@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_units_that_are_nearly_opposite_have_accurate_costs(dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 30)).astype(dtype)
    noise = rng.normal(size=(200, 30)).astype(dtype)
    size = np.asarray(1e-5 if dtype == "f8" else 1e-3, dtype)
    Y = -X + size * noise
    matching = SoftMatching().fit(X, Y)
    unit = [side.astype(float) - side.astype(float).mean(axis=0) for side in (X, Y)]
    unit = [side / np.linalg.norm(side, axis=0) for side in unit]
    expected = np.mean(np.sum((unit[0] + unit[1]) ** 2, axis=0)) / 2
    assert matching.cost_ == pytest.approx(expected, rel=1e-3)
    assert matching.held_out_cost(X, Y) == pytest.approx(expected, rel=1e-3)
    assert (matching.signs_.data == -1).all()


@pytest.mark.parametrize("n_stimuli", [2, 3])
def test_few_stimuli_have_signs_too(n_stimuli):
    X, Y = populations(6, 4, n_stimuli=n_stimuli)
    matching = SoftMatching().fit(X, Y)
    r = correlations(X, Y)
    assert matching.cost_ == pytest.approx(
        reference.transport(1 - np.abs(r))[1], abs=1e-9
    )
    if n_stimuli == 2:
        # Every correlation is 1 or -1.
        assert matching.cost_ == pytest.approx(0, abs=1e-12)
        np.testing.assert_allclose(matching.predict(X), Y)


def test_uncorrelated_pairs_have_the_sign_1():
    X, Y = np.eye(4)[:, :1] - np.eye(4)[:, 1:2], np.eye(4)[:, 2:3] - np.eye(4)[:, 3:]
    matching = SoftMatching().fit(X, Y)
    assert matching.cost_ == 1
    assert matching.signs_.toarray() == [[1]]


def test_dead_units_have_no_sign():
    X, Y = populations(5, 9)
    dead_X, dead_Y = np.insert(X, 2, 7.0, axis=1), np.insert(Y, 4, -0.1, axis=1)
    with pytest.warns(DeadUnitWarning):
        matching = SoftMatching().fit(dead_X, dead_Y)
    signs = matching.signs_.toarray()
    assert signs.shape == (6, 10)
    assert not signs[2].any()
    assert not signs[:, 4].any()
    np.testing.assert_array_equal(
        np.delete(np.delete(signs, 2, axis=0), 4, axis=1),
        SoftMatching().fit(X, Y).signs_.toarray(),
    )


def test_other_metrics_have_no_signs():
    X, Y = populations(5, 9)
    assert not hasattr(SoftMatchingOfAnyMetric().fit(X, Y), "signs_")


@by_law(*LAWS_OF_MAPS)
def test_laws_of_all_pairs(law):
    law(SoftMatching())


# -- above, beside and below -----------------------------------------------------------


def test_layers_are_coupled_and_reconstructed_with_signs():
    source, target = random_networks()
    train, test = slice(0, 40), slice(40, None)
    mot = MultiLevelOT(SoftMatching()).fit(rows(source, train), rows(target, train))
    costs, plans = np.empty((2, len(source), len(target)), dtype=object)
    for pair in np.ndindex(costs.shape):
        r = correlations(source[pair[0]][train], target[pair[1]][train])
        plan, costs[pair] = reference.transport(1 - np.abs(r))
        plans[pair] = plan * np.sign(r)
    coupling, cost = reference.transport(costs.astype(float))
    assert mot.cost_ == pytest.approx(cost)
    np.testing.assert_allclose(mot.layer_costs_, costs.astype(float))
    predicted = mot.predict(rows(source, test))
    n_target = len(target)
    held_out = 0.0
    for m, layer in enumerate(target):
        total = 0.0
        for s, given in enumerate(source):
            carried = z(given[test], given[train]) @ plans[s, m]
            total = total + n_target * coupling[s, m] * carried * layer.shape[1]
            held_out += coupling[s, m] * np.sum(
                plans[s, m] * (correlations(given[test], layer[test]))
            )
        np.testing.assert_allclose(predicted[m], back(total, layer[train]), atol=1e-9)
    assert mot.held_out_cost(rows(source, test), rows(target, test)) == pytest.approx(
        1 - held_out
    )


def test_signs_are_the_same_for_any_number_of_jobs_and_from_disk(tmp_path):
    source, target = random_networks()
    plain = MultiLevelOT(SoftMatching(), cost_cv=3).fit(source, target)
    for settings in ({"n_jobs": 2}, {"memory": tmp_path}, {"memory": tmp_path}):
        found = clone(plain).set_params(**settings).fit(source, target)
        np.testing.assert_array_equal(found.layer_costs_, plain.layer_costs_)
        for one, other in zip(found.inner_[1], plain.inner_[1], strict=True):
            np.testing.assert_array_equal(one.signs_.toarray(), other.signs_.toarray())
        assert found.score(source, target) == plain.score(source, target)


@pytest.mark.parametrize(
    ("estimator", "sides"),
    [
        (RotationMatching(metric="abs_correlation"), populations(4, 4)),
        (MultiLevelOTRotation(metric="abs_correlation"), random_networks()),
    ],
    ids=["one pair", "layers"],
)
def test_rotations_refuse_signs_and_say_why(estimator, sides):
    with pytest.raises(ValueError, match="a rotation can change the signs of units"):
        estimator.fit(*sides)


def test_tables_of_matches_show_the_signs():
    pytest.importorskip("pandas")
    X, _ = populations(4, 1)
    Y = X[:, [2, 0, 3, 1]] * [1, -1, -1, 1]
    X, Y = LayerStack({"V1": X}), LayerStack({"conv": Y})
    for estimator in (SoftMatching(), MultiLevelOT(SoftMatching())):
        table = matches(estimator.fit(X, Y), X, Y)
        assert table["source_unit"].tolist() == [2, 0, 3, 1]
        assert table["sign"].tolist() == [1, -1, -1, 1]
        np.testing.assert_allclose(table["correlation"], [1, -1, -1, 1])
    table = matches(SoftMatchingOfAnyMetric().fit(X, Y), X, Y)
    assert "sign" not in table


def test_the_sign_of_a_match_stays_with_it_where_units_share_partners():
    pytest.importorskip("pandas")
    X, Y = populations(7, 4)
    matching = SoftMatching().fit(X, Y)
    for top in (1, 2, None):
        table = matches(matching, X, Y, top=top)
        np.testing.assert_array_equal(table["sign"], np.sign(table["correlation"]))


def test_mass_curves_count_opposite_responses_as_similar():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(2, 200, 10))
    Y[:, :7] = -X[:, 6::-1] + 0.3 * Y[:, :7]
    masses = np.arange(1, 11) / 10
    settings = {"cv": 3, "n_permutations": 99, "random_state": 0}
    curve = mass_curve(X, Y, masses, estimator=SoftMatching(), **settings)
    assert curve.verdict == "some"
    assert "'abs_correlation', for which bounds are not known" in curve.conclusion
    # The opposite of the responses has the same curve with the other metric.
    opposite = mass_curve(-X, Y, masses, **settings)
    np.testing.assert_allclose(
        curve.similarities[:7], opposite.similarities[:7], atol=1e-9
    )

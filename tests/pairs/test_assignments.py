"""Semi-matching and one-to-one matching: brute force, and laws."""

from itertools import permutations

import numpy as np
import pytest
from sklearn.base import clone

from skmot import OneToOneMatching, SemiMatching
from skmot.metrics import rectangular_matching_score, semi_matching_score
from tests.pairs.common import (
    LAWS_OF_MAPS,
    SIZES,
    back,
    by_law,
    correlations,
    populations,
    swapping_source_and_target_changes_nothing,
    z,
)

ESTIMATORS = [SemiMatching(), OneToOneMatching()]


# -- semi-matching ---------------------------------------------------------------------


@pytest.mark.parametrize(("n", "k"), SIZES)
def test_semi_matching_reconstructs_each_unit_from_its_best_partner(n, k):
    X, Y = populations(n, k)
    semi = SemiMatching().fit(X[:30], Y[:30])
    r = correlations(X[:30], Y[:30])
    best_sources, best_targets = r.argmax(axis=0), r.argmax(axis=1)
    assert semi.cost_ == pytest.approx(1 - r.max(axis=1).mean())
    np.testing.assert_allclose(
        semi.predict(X[30:]), back(z(X[30:], X[:30])[:, best_sources], Y[:30])
    )
    np.testing.assert_allclose(
        semi.inverse_predict(Y[30:]), back(z(Y[30:], Y[:30])[:, best_targets], X[:30])
    )
    np.testing.assert_allclose(semi.coupling_.sum(axis=0), 1 / k)
    np.testing.assert_allclose(semi.inverse_coupling_.sum(axis=1), 1 / n)
    assert semi.coupling_.nnz == k
    assert semi.inverse_coupling_.nnz == n
    held_out = correlations(X[30:], Y[30:])[np.arange(n), best_targets].mean()
    assert semi.held_out_cost(X[30:], Y[30:]) == pytest.approx(1 - held_out)


def test_semi_matching_swapped_swaps_its_maps_and_not_its_cost():
    X, Y = populations(5, 9)
    there, back_again = SemiMatching().fit(X, Y), SemiMatching().fit(Y, X)
    np.testing.assert_allclose(there.predict(X), back_again.inverse_predict(X))
    assert abs(there.cost_ - back_again.cost_) > 0.01


# -- one-to-one matching ---------------------------------------------------------------


@pytest.mark.parametrize(("n", "k"), [(4, 4), (3, 7), (6, 4), (1, 5), (5, 1)])
def test_one_to_one_matching_is_the_best_of_all_assignments(n, k):
    X, Y = populations(n, k)
    matching = OneToOneMatching().fit(X[:30], Y[:30])
    r = correlations(X[:30], Y[:30])
    r = r if n <= k else r.T
    best = max(
        permutations(range(max(n, k)), min(n, k)),
        key=lambda chosen: sum(r[i, j] for i, j in enumerate(chosen)),
    )
    assignment = np.zeros(r.shape)
    assignment[np.arange(len(best)), best] = 1
    mean_correlation = np.sum(assignment * r) / len(best)
    assert matching.cost_ == pytest.approx(1 - mean_correlation)
    assignment = assignment if n <= k else assignment.T
    np.testing.assert_allclose(matching.coupling_.toarray(), assignment / len(best))
    # Unmatched units are 0 deviations from their mean.
    np.testing.assert_allclose(
        matching.predict(X[30:]), back(z(X[30:], X[:30]) @ assignment, Y[:30])
    )
    np.testing.assert_allclose(
        matching.inverse_predict(Y[30:]),
        back(z(Y[30:], Y[:30]) @ assignment.T, X[:30]),
    )
    held_out = np.sum(assignment * correlations(X[30:], Y[30:])) / len(best)
    assert matching.held_out_cost(X[30:], Y[30:]) == pytest.approx(1 - held_out)


def test_unmatched_units_count_as_0():
    X, _ = populations(4, 4)
    Y = np.column_stack([X[:, ::-1], np.random.default_rng(5).normal(size=(40, 4))])
    matching = OneToOneMatching().fit(X[:30], Y[:30])
    np.testing.assert_allclose(
        matching.unit_scores(X[30:], Y[30:]), [1, 1, 1, 1, 0, 0, 0, 0], atol=1e-12
    )
    assert matching.score(X[30:], Y[30:]) == pytest.approx(0.5)
    assert matching.inverse_score(X[30:], Y[30:]) == pytest.approx(1)


@pytest.mark.parametrize(("n", "k"), SIZES)
def test_swapping_source_and_target_changes_nothing(n, k):
    swapping_source_and_target_changes_nothing(OneToOneMatching(), n, k)


# -- both ------------------------------------------------------------------------------


def test_costs_are_those_of_the_functions():
    X, Y = populations(5, 9)
    assert SemiMatching().fit(X, Y).cost_ == pytest.approx(
        1 - semi_matching_score(X, Y), abs=1e-12
    )
    expected = 1 - rectangular_matching_score(X, Y)
    assert OneToOneMatching().fit(X, Y).cost_ == pytest.approx(expected, abs=1e-12)
    assert OneToOneMatching().fit(Y, X).cost_ == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_constant_targets_are_left_out_and_constant_sources_count_as_0(estimator):
    X, Y = populations(6, 6)
    estimator = clone(estimator).fit(X[:30], Y[:30])
    plan = getattr(estimator, "inverse_coupling_", estimator.coupling_)
    sources, targets = plan.nonzero()
    r = correlations(X[30:], Y[30:])[sources, targets]
    silent_X, silent_Y = X[30:].copy(), Y[30:].copy()
    silent_X[:, sources[0]] = silent_Y[:, targets[0]] = 5
    left = targets != targets[0]
    assert estimator.held_out_cost(X[30:], silent_Y) == pytest.approx(
        1 - r[left].mean()
    )
    r[sources == sources[0]] = 0
    assert estimator.held_out_cost(silent_X, Y[30:]) == pytest.approx(1 - r.mean())
    assert estimator.held_out_cost(silent_X, silent_Y) == pytest.approx(
        1 - r[left].mean()
    )
    # With no source unit that varies nothing is told of the targets.
    assert estimator.held_out_cost(np.ones_like(X), Y) == 1


@by_law(*LAWS_OF_MAPS)
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_laws_of_all_pairs(estimator, law):
    law(clone(estimator))

"""What the tests of estimators of one pair share: data, and laws that all obey.

A law is a function of an estimator that is not fitted. Each file tests its own
estimators by it.
"""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import KFold

from skmot import MultiLevelOT
from skmot.exceptions import DeadUnitWarning
from tests import reference
from tests.networks import random_networks, rows

SIZES = [(7, 7), (5, 9), (9, 5), (1, 4), (4, 1), (30, 50)]


def populations(n, k, n_stimuli=40, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_stimuli, n)) * (1 + rng.random(n)) + rng.normal(size=n)
    Y = X @ rng.normal(size=(n, k)) + rng.normal(size=(n_stimuli, k)) + 3
    return X, Y


def z(layer, training):
    return (layer - training.mean(axis=0)) / training.std(axis=0)


def back(carried, training):
    return carried * training.std(axis=0) + training.mean(axis=0)


def correlations(X, Y):
    return 1 - reference.correlation_distances(X, Y)


def mean_r(recorded, predicted):
    pairs = zip(recorded.T, predicted.T, strict=True)
    return np.mean([reference.pearson(a, b) for a, b in pairs])


def by_law(*laws):
    """Run a test once a law, under its name."""
    return pytest.mark.parametrize("law", laws, ids=lambda law: law.__name__)


# -- laws of every cost ----------------------------------------------------------------


def constant_sides_have_no_cost(estimator):
    X, Y = populations(5, 9)
    estimator.fit(X, Y)
    with pytest.raises(ValueError, match=r"Every (matched )?unit of y"):
        estimator.held_out_cost(X, np.ones_like(Y))


def dead_units_take_no_part(estimator):
    X, Y = populations(5, 9, n_stimuli=60)
    without = clone(estimator).fit(X[:40], Y[:40])
    dead_x, dead_y = np.insert(X, 2, 7.0, axis=1), np.insert(Y, 4, -0.1, axis=1)
    # What is constant over the training stimuli only has no part either.
    dead_x[40:, 2], dead_y[40:, 4] = X[40:, 0], Y[40:, 0]
    with pytest.warns(DeadUnitWarning, match=r"1 unit\(s\) of X and 1 unit\(s\) of y"):
        estimator.fit(dead_x[:40], dead_y[:40])
    np.testing.assert_array_equal(estimator.dead_source_units_, [2])
    np.testing.assert_array_equal(estimator.dead_target_units_, [4])
    assert estimator.cost_ == pytest.approx(without.cost_, abs=1e-9)
    assert estimator.held_out_cost(dead_x[40:], dead_y[40:]) == pytest.approx(
        without.held_out_cost(X[40:], Y[40:]), abs=1e-9
    )
    if not hasattr(estimator, "predict"):
        return
    predicted = estimator.predict(dead_x[40:])
    np.testing.assert_array_equal(predicted[:, 4], -0.1)
    np.testing.assert_allclose(
        np.delete(predicted, 4, axis=1), without.predict(X[40:]), atol=1e-9
    )
    predicted = estimator.inverse_predict(dead_y[40:])
    np.testing.assert_array_equal(predicted[:, 2], 7.0)
    np.testing.assert_allclose(
        np.delete(predicted, 2, axis=1), without.inverse_predict(Y[40:]), atol=1e-9
    )


def float32_is_near_float64_and_stays_float32(estimator):
    X, Y = populations(12, 9, n_stimuli=200)
    double = estimator.fit(X, Y).cost_
    X, Y = X.astype(np.float32), Y.astype(np.float32)
    # Of float32 correlations; ranks have 64 of its rounding units.
    assert estimator.fit(X, Y).cost_ == pytest.approx(double, abs=1e-4)
    if hasattr(estimator, "predict"):
        assert estimator.predict(X).dtype == np.float32
        assert estimator.inverse_predict(Y).dtype == np.float32


def magnitudes_do_not_matter(estimator):
    X, Y = populations(6, 9)
    cost = estimator.fit(X, Y).cost_
    predicted = estimator.predict(X) if hasattr(estimator, "predict") else None
    for factor in (1e30, 1e-30):
        for dtype, tolerance in ((np.float64, 1e-9), (np.float32, 1e-4)):
            scaled = (factor * X).astype(dtype)
            assert estimator.fit(scaled, Y).cost_ == pytest.approx(cost, abs=tolerance)
            if predicted is not None:
                np.testing.assert_allclose(
                    estimator.predict(scaled), predicted, rtol=tolerance, atol=tolerance
                )
                recovered = estimator.inverse_predict(Y)
                assert np.isfinite(recovered).all()


def fits_pickle_and_say_when_they_are_not_fitted(estimator):
    fresh = clone(estimator)
    X, Y = populations(6, 9)
    with pytest.raises(NotFittedError):
        fresh.held_out_cost(X, Y)
    fitted = pickle.loads(pickle.dumps(fresh.fit(X, Y)))
    assert fitted.held_out_cost(X, Y) == fresh.held_out_cost(X, Y)


def costs_on_held_out_folds_are_those_of_fits_to_the_others(estimator):
    source, target = random_networks()
    mot = MultiLevelOT(estimator, cost_cv=3).fit(source, target)
    expected = np.zeros_like(mot.layer_costs_)
    for train, test in KFold(3).split(source[0]):
        for s, m in np.ndindex(expected.shape):
            pair = clone(estimator).fit(source[s][train], target[m][train])
            expected[s, m] += pair.held_out_cost(source[s][test], target[m][test]) / 3
    np.testing.assert_allclose(mot.layer_costs_, expected, atol=1e-9)


LAWS_OF_COSTS = [
    constant_sides_have_no_cost,
    dead_units_take_no_part,
    float32_is_near_float64_and_stays_float32,
    magnitudes_do_not_matter,
    fits_pickle_and_say_when_they_are_not_fitted,
    costs_on_held_out_folds_are_those_of_fits_to_the_others,
]


# -- laws of those that map ------------------------------------------------------------


def _multilevel_reconstructs_by_it(estimator, strategy):
    source, target = random_networks()
    train, test = np.arange(45), np.arange(45, 60)
    mot = MultiLevelOT(estimator, strategy=strategy)
    mot.fit(rows(source, train), rows(target, train))
    pairs = [[clone(estimator).fit(x[train], y[train]) for y in target] for x in source]
    costs = [[pair.cost_ for pair in row] for row in pairs]
    np.testing.assert_allclose(mot.layer_costs_, costs, atol=1e-12)
    for m, predicted in enumerate(mot.predict(rows(source, test))):
        expected = sum(
            len(target) * mot.coupling_[s, m] * pairs[s][m].predict(source[s][test])
            for s in range(len(source))
        )
        np.testing.assert_allclose(predicted, expected, atol=1e-9)
    for s, predicted in enumerate(mot.inverse_predict(rows(target, test))):
        expected = sum(
            len(source)
            * mot.inverse_coupling_[s, m]
            * pairs[s][m].inverse_predict(target[m][test])
            for m in range(len(target))
        )
        np.testing.assert_allclose(predicted, expected, atol=1e-9)


def multilevel_reconstructs_by_transport(estimator):
    _multilevel_reconstructs_by_it(estimator, "transport")


def multilevel_reconstructs_from_the_single_best(estimator):
    _multilevel_reconstructs_by_it(estimator, "single_best")


def multilevel_reconstructs_from_the_pairwise_best(estimator):
    _multilevel_reconstructs_by_it(estimator, "pairwise_best")


def permuted_layers_keep_the_inner_maps(estimator):
    source, target = random_networks()
    mot = MultiLevelOT(estimator, strategy="permuted", random_state=0)
    mot.fit(source, target)
    for m, predicted in enumerate(mot.predict(source)):
        expected = sum(
            len(target)
            * mot.coupling_[s, m]
            * clone(estimator).fit(source[s], target[m]).predict(source[s])
            for s in np.flatnonzero(mot.coupling_[:, m])
        )
        np.testing.assert_allclose(predicted, expected, atol=1e-9)
    assert -1 <= mot.score(source, target) <= 1


LAWS_OF_MAPS = [
    *LAWS_OF_COSTS,
    multilevel_reconstructs_by_transport,
    multilevel_reconstructs_from_the_single_best,
    multilevel_reconstructs_from_the_pairwise_best,
    permuted_layers_keep_the_inner_maps,
]


# -- the law of those that are symmetric -----------------------------------------------


def swapping_source_and_target_changes_nothing(estimator, n, k):
    X, Y = populations(n, k)
    there, back_again = clone(estimator).fit(X, Y), clone(estimator).fit(Y, X)
    assert there.cost_ == pytest.approx(back_again.cost_, abs=1e-12)
    assert there.held_out_cost(X[:9], Y[:9]) == pytest.approx(
        back_again.held_out_cost(Y[:9], X[:9]), abs=1e-12
    )
    if hasattr(there, "predict"):
        np.testing.assert_allclose(
            there.predict(X), back_again.inverse_predict(X), atol=1e-9
        )

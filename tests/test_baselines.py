"""The alternatives as estimators: their maps, costs, and places in a search."""

import pickle
from itertools import permutations

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.stats import ortho_group
from sklearn.base import is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score

from skmot import (
    CKA,
    RSA,
    LayerStack,
    LinearPredictivity,
    MultiLevelOT,
    OneToOneMatching,
    Procrustes,
    RotationMatching,
    SemiMatching,
    SoftMatching,
    baselines,
)
from skmot.exceptions import DeadUnitWarning
from skmot.metrics import (
    linear_cka,
    negative_cost,
    procrustes_distance,
    rectangular_matching_score,
    rsa_score,
    semi_matching_score,
)
from tests import reference
from tests.networks import random_networks, rows

MAPS = [
    SemiMatching(),
    OneToOneMatching(),
    Procrustes(),
    LinearPredictivity(random_state=0),
]
GEOMETRIES = [RSA(), CKA(), CKA(debiased=False)]
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


# -- Procrustes ------------------------------------------------------------------------


@pytest.mark.parametrize("n_stimuli", [40, 12])
def test_procrustes_at_equal_widths_is_scipys(n_stimuli):
    X, Y = populations(8, 8, n_stimuli)
    train, test = slice(0, n_stimuli - 3), slice(n_stimuli - 3, None)
    procrustes = Procrustes().fit(X[train], Y[train])
    x, y = X[train] - X[train].mean(axis=0), Y[train] - Y[train].mean(axis=0)
    norms = np.linalg.norm(x), np.linalg.norm(y)
    rotation, _ = orthogonal_procrustes(x / norms[0], y / norms[1])
    np.testing.assert_allclose(procrustes.rotation_, rotation, atol=1e-9)
    assert procrustes.cost_ == pytest.approx(
        np.linalg.norm(x / norms[0] @ rotation - y / norms[1]) ** 2
    )
    x = (X[test] - X[train].mean(axis=0)) @ rotation * norms[1] / norms[0]
    np.testing.assert_allclose(
        procrustes.predict(X[test]), x + Y[train].mean(axis=0), atol=1e-9
    )
    y = (Y[test] - Y[train].mean(axis=0)) @ rotation.T * norms[0] / norms[1]
    np.testing.assert_allclose(
        procrustes.inverse_predict(Y[test]), y + X[train].mean(axis=0), atol=1e-9
    )
    x, y = X[test] - X[test].mean(axis=0), Y[test] - Y[test].mean(axis=0)
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    assert procrustes.held_out_cost(X[test], Y[test]) == pytest.approx(
        np.linalg.norm(x @ rotation - y) ** 2
    )


@pytest.mark.parametrize(("n", "k"), SIZES)
def test_procrustes_maps_by_a_partial_isometry_that_attains_its_cost(n, k):
    X, Y = populations(n, k, n_stimuli=25)
    procrustes = Procrustes().fit(X, Y)
    singular_values = np.linalg.svd(procrustes.rotation_, compute_uv=False)
    rank = min(n, k, 24)
    np.testing.assert_allclose(singular_values[:rank], 1)
    np.testing.assert_allclose(singular_values[rank:], 0, atol=1e-9)
    assert procrustes.cost_ == pytest.approx(procrustes_distance(X, Y) ** 2)
    # Read on the training stimuli, the cost of the map is that of the singular values.
    assert procrustes.held_out_cost(X, Y) == pytest.approx(procrustes.cost_)


def test_procrustes_undoes_a_rotation_into_more_units():
    X, _ = populations(6, 6, n_stimuli=60)
    Y = 3 * X @ ortho_group.rvs(10, random_state=0)[:6] - 2
    procrustes = Procrustes().fit(X[:40], Y[:40])
    assert procrustes.cost_ == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(procrustes.predict(X[40:]), Y[40:])
    np.testing.assert_allclose(procrustes.inverse_predict(Y[40:]), X[40:])


# -- linear predictivity ---------------------------------------------------------------


@pytest.mark.parametrize("alphas", [None, (0.5, 20.0)])
@pytest.mark.parametrize(("n", "k"), SIZES)
def test_linear_predictivity_is_a_ridge_with_one_chosen_penalty(n, k, alphas):
    X, Y = populations(n, k, n_stimuli=60)
    train, test = slice(0, 40), slice(40, None)
    regression = LinearPredictivity(alphas=alphas, random_state=3)
    regression.fit(X[train], Y[train])
    validation, fitted = np.split(np.random.RandomState(3).permutation(40), [5])

    def by_hand(seen, made, cost, alpha_found, predicted):
        zs, zm = z(seen[train], seen[train]), z(made[train], made[train])
        costs = {}
        for alpha in np.logspace(-4, 4, 8) if alphas is None else alphas:
            # A matrix of targets, whatever their number.
            ridge = Ridge(alpha).fit(zs[fitted], np.hstack([zm, zm])[fitted])
            r = mean_r(zm[validation], ridge.predict(zs[validation])[:, : zm.shape[1]])
            costs[alpha] = 1 - r
        # Correlations of one unit with one are the same for all penalties.
        least = min(costs.values())
        assert costs[alpha_found] == pytest.approx(least, abs=1e-12)
        if cost is not None:
            assert cost == pytest.approx(least)
        ridge = Ridge(alpha_found).fit(zs, np.hstack([zm, zm]))
        carried = ridge.predict(z(seen[test], seen[train]))[:, : zm.shape[1]]
        np.testing.assert_allclose(predicted, back(carried, made[train]), atol=1e-8)

    by_hand(X, Y, regression.cost_, regression.alpha_, regression.predict(X[test]))
    by_hand(Y, X, None, regression.inverse_alpha_, regression.inverse_predict(Y[test]))
    assert regression.coef_.shape == (n, k)
    assert regression.inverse_coef_.shape == (k, n)
    assert regression.held_out_cost(X[test], Y[test]) == pytest.approx(
        1 - regression.score(X[test], Y[test])
    )


def test_linear_predictivity_takes_strong_penalties_where_they_are_better():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 150))
    Y = X[:, :5] @ rng.normal(size=(5, 3)) + 5 * rng.normal(size=(200, 3))
    assert LinearPredictivity(random_state=0).fit(X, Y).alpha_ > 10
    assert LinearPredictivity(random_state=0).fit(X, X[:, :3]).alpha_ < 1


def test_linear_predictivity_swapped_swaps_its_maps_and_not_its_cost():
    X, Y = populations(3, 20, n_stimuli=60)
    there, back_again = (
        LinearPredictivity(random_state=0).fit(*pair) for pair in ((X, Y), (Y, X))
    )
    np.testing.assert_allclose(there.predict(X), back_again.inverse_predict(X))
    np.testing.assert_allclose(there.inverse_predict(Y), back_again.predict(Y))
    assert abs(there.cost_ - back_again.cost_) > 0.001


def test_linear_predictivity_of_a_target_that_varies_once():
    X, _ = populations(4, 4)
    Y = np.zeros((40, 1))
    Y[17] = 1
    # The validation part has it, so that there is something to correlate.
    for seed in range(5):
        regression = LinearPredictivity(random_state=seed).fit(X, Y)
        assert 0 <= regression.cost_ <= 2


def test_linear_predictivity_checks_its_settings():
    X, Y = populations(4, 4)
    with pytest.raises(ValueError, match="`alphas` must be"):
        LinearPredictivity(alphas=[1.0, 0.0]).fit(X, Y)
    with pytest.raises(ValueError, match="'validation_fraction' parameter"):
        LinearPredictivity(validation_fraction=1.0).fit(X, Y)
    with pytest.raises(ValueError, match="n_samples=3 stimuli cannot be split"):
        LinearPredictivity().fit(X[:3], Y[:3])


# -- RSA and CKA -----------------------------------------------------------------------


@pytest.mark.parametrize(("n", "k"), SIZES)
def test_costs_of_geometries_are_those_of_the_functions(n, k):
    X, Y = populations(n, k)
    held_out = X[30:], Y[30:]
    for estimator, score in (
        (RSA(), rsa_score),
        (CKA(), linear_cka),
        (CKA(debiased=False), lambda X, Y: linear_cka(X, Y, debiased=False)),
    ):
        estimator.fit(X[:30], Y[:30])
        assert estimator.cost_ == pytest.approx(1 - score(X[:30], Y[:30]), abs=1e-12)
        assert estimator.held_out_cost(*held_out) == pytest.approx(
            1 - score(*held_out), abs=1e-12
        )


def test_costs_of_maps_are_those_of_the_functions():
    X, Y = populations(5, 9)
    assert SemiMatching().fit(X, Y).cost_ == pytest.approx(
        1 - semi_matching_score(X, Y), abs=1e-12
    )
    expected = 1 - rectangular_matching_score(X, Y)
    assert OneToOneMatching().fit(X, Y).cost_ == pytest.approx(expected, abs=1e-12)
    assert OneToOneMatching().fit(Y, X).cost_ == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("estimator", GEOMETRIES, ids=repr)
@pytest.mark.parametrize("wrap", [lambda inner: inner, MultiLevelOT])
def test_geometries_are_no_regressors(estimator, wrap):
    estimator = wrap(estimator)
    assert not is_regressor(estimator)
    X, Y = populations(5, 9)
    estimator.fit(X, Y)
    for method in (
        *("predict", "inverse_predict", "score", "inverse_score"),
        *("unit_scores", "layer_scores"),
    ):
        assert not hasattr(estimator, method)
        # What `available_if` says is the cause of what it raises.
        with pytest.raises(AttributeError) as caught:
            getattr(estimator, method)
        assert "no `" in str(caught.value.__cause__)


@pytest.mark.parametrize("estimator", GEOMETRIES, ids=repr)
def test_a_layers_geometry_is_made_once(estimator, monkeypatch):
    name = "rsa_geometry" if isinstance(estimator, RSA) else "cka_geometry"
    made, original = [], getattr(baselines, name)

    def counting(*arguments):
        made.append(arguments[-1])
        return original(*arguments)

    monkeypatch.setattr(baselines, name, counting)
    source, target = random_networks()
    mot = MultiLevelOT(estimator).fit(source, target)
    assert len(made) == len(source) + len(target)
    by_pairs = [[estimator.fit(x, y).cost_ for y in target] for x in source]
    np.testing.assert_allclose(mot.layer_costs_, by_pairs, atol=1e-12)


@pytest.mark.parametrize("estimator", GEOMETRIES, ids=repr)
def test_geometries_of_several_layers_are_those_of_all_their_units(estimator):
    source, target = random_networks()
    together = estimator.fit(source, target).cost_
    side_by_side = estimator.fit(np.hstack(source), np.hstack(target)).cost_
    assert together == pytest.approx(side_by_side, abs=1e-12)
    nested = MultiLevelOT(estimator).fit([LayerStack(source)], [LayerStack(target)])
    assert nested.cost_ == pytest.approx(side_by_side, abs=1e-12)


def test_geometries_name_the_layer_that_is_constant():
    source, target = random_networks()
    target[2] = np.ones_like(target[2])
    for estimator in (RSA(), MultiLevelOT(RSA())):
        with pytest.raises(ValueError, match=r"Every unit is constant .* y, layer 2"):
            estimator.fit(source, target)


@pytest.mark.parametrize("estimator", [*MAPS, *GEOMETRIES], ids=repr)
def test_costs_on_stimuli_over_which_a_side_is_constant_are_an_error(estimator):
    X, Y = populations(5, 9)
    estimator.fit(X, Y)
    with pytest.raises(ValueError, match=r"Every (matched )?unit of y"):
        estimator.held_out_cost(X, np.ones_like(Y))


@pytest.mark.parametrize("estimator", [SemiMatching(), OneToOneMatching()], ids=repr)
def test_constant_targets_are_left_out_and_constant_sources_count_as_0(estimator):
    X, Y = populations(6, 6)
    estimator.fit(X[:30], Y[:30])
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


# -- laws of all -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator", [OneToOneMatching(), Procrustes(), *GEOMETRIES], ids=repr
)
@pytest.mark.parametrize(("n", "k"), SIZES)
def test_swapping_source_and_target_changes_nothing(estimator, n, k):
    X, Y = populations(n, k)
    there = type(estimator)(**estimator.get_params()).fit(X, Y)
    back_again = type(estimator)(**estimator.get_params()).fit(Y, X)
    assert there.cost_ == pytest.approx(back_again.cost_, abs=1e-12)
    assert there.held_out_cost(X[:9], Y[:9]) == pytest.approx(
        back_again.held_out_cost(Y[:9], X[:9]), abs=1e-12
    )
    if hasattr(there, "predict"):
        np.testing.assert_allclose(
            there.predict(X), back_again.inverse_predict(X), atol=1e-9
        )


@pytest.mark.parametrize("estimator", [*MAPS, *GEOMETRIES], ids=repr)
def test_dead_units_take_no_part(estimator):
    X, Y = populations(5, 9, n_stimuli=60)
    without = type(estimator)(**estimator.get_params()).fit(X[:40], Y[:40])
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


@pytest.mark.parametrize("estimator", [*MAPS, *GEOMETRIES], ids=repr)
def test_float32_is_near_float64_and_stays_float32(estimator):
    X, Y = populations(12, 9, n_stimuli=200)
    double = estimator.fit(X, Y).cost_
    X, Y = X.astype(np.float32), Y.astype(np.float32)
    # Of float32 correlations; ranks have 64 of its rounding units.
    assert estimator.fit(X, Y).cost_ == pytest.approx(double, abs=1e-4)
    if hasattr(estimator, "predict"):
        assert estimator.predict(X).dtype == np.float32
        assert estimator.inverse_predict(Y).dtype == np.float32


@pytest.mark.parametrize("estimator", [*MAPS, *GEOMETRIES], ids=repr)
@pytest.mark.parametrize("factor", [1e30, 1e-30])
def test_magnitudes_do_not_matter(estimator, factor):
    X, Y = populations(6, 9)
    cost = estimator.fit(X, Y).cost_
    predicted = estimator.predict(X) if hasattr(estimator, "predict") else None
    estimator.fit(X.astype(np.float32), Y)
    for dtype, tolerance in ((np.float64, 1e-9), (np.float32, 1e-4)):
        scaled = (factor * X).astype(dtype)
        assert estimator.fit(scaled, Y).cost_ == pytest.approx(cost, abs=tolerance)
        if predicted is not None:
            np.testing.assert_allclose(
                estimator.predict(scaled), predicted, rtol=tolerance, atol=tolerance
            )
            recovered = estimator.inverse_predict(Y)
            assert np.isfinite(recovered).all()


@pytest.mark.parametrize("estimator", [*MAPS, *GEOMETRIES], ids=repr)
def test_estimators_pickle_and_say_when_they_are_not_fitted(estimator):
    fresh = type(estimator)(**estimator.get_params())
    X, Y = populations(6, 9)
    with pytest.raises(NotFittedError):
        fresh.held_out_cost(X, Y)
    fitted = pickle.loads(pickle.dumps(fresh.fit(X, Y)))
    assert fitted.held_out_cost(X, Y) == fresh.held_out_cost(X, Y)
    # A geometry and activations stay with the fit's data.
    assert len(pickle.dumps(RSA().fit(*populations(2, 2, 300)))) < 5_000


# -- within MultiLevelOT and scikit-learn ----------------------------------------------


@pytest.mark.parametrize("strategy", ["transport", "single_best", "pairwise_best"])
@pytest.mark.parametrize("inner", MAPS, ids=repr)
def test_multilevel_reconstructs_by_any_inner_map(inner, strategy):
    source, target = random_networks()
    train, test = np.arange(45), np.arange(45, 60)
    mot = MultiLevelOT(inner, strategy=strategy)
    mot.fit(rows(source, train), rows(target, train))
    pairs = [
        [type(inner)(**inner.get_params()).fit(x[train], y[train]) for y in target]
        for x in source
    ]
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


@pytest.mark.parametrize(
    "strategy", ["transport", "single_best", "pairwise_best", "permuted"]
)
@pytest.mark.parametrize("inner", GEOMETRIES, ids=repr)
def test_multilevel_couples_layers_by_any_cost(inner, strategy):
    source, target = random_networks()
    mot = MultiLevelOT(inner, strategy=strategy, random_state=0).fit(source, target)
    assert mot.coupling_.sum() == pytest.approx(1)
    assert mot.cost_ == pytest.approx(np.sum(mot.coupling_ * mot.layer_costs_))
    assert mot.held_out_cost(source, target) == pytest.approx(mot.cost_)


@pytest.mark.parametrize("inner", [*MAPS, *GEOMETRIES], ids=repr)
def test_costs_on_held_out_folds_are_those_of_fits_to_the_others(inner):
    source, target = random_networks()
    mot = MultiLevelOT(inner, cost_cv=3).fit(source, target)
    expected = np.zeros_like(mot.layer_costs_)
    for train, test in KFold(3).split(source[0]):
        for s, m in np.ndindex(expected.shape):
            pair = type(inner)(**inner.get_params())
            pair.fit(source[s][train], target[m][train])
            expected[s, m] += pair.held_out_cost(source[s][test], target[m][test]) / 3
    np.testing.assert_allclose(mot.layer_costs_, expected, atol=1e-9)


def test_permuted_layers_keep_the_inner_maps():
    source, target = random_networks()
    for inner in MAPS:
        mot = MultiLevelOT(inner, strategy="permuted", random_state=0)
        assert -1 <= mot.fit(source, target).score(source, target) <= 1


def test_a_search_over_the_kind_of_inner_itself():
    source, target = random_networks(n_stimuli=60)
    X, y = LayerStack(source), LayerStack(target)
    candidates = [
        *(SoftMatching(), RotationMatching(), *MAPS[:-1]),
        LinearPredictivity(alphas=[1.0], random_state=0),
    ]
    search = GridSearchCV(
        MultiLevelOT(SoftMatching()),
        [
            {"inner": candidates, "strategy": ["transport", "pairwise_best"]},
            {
                "inner": [LinearPredictivity(random_state=0)],
                "inner__alphas": [[1.0], [100.0]],
            },
        ],
        cv=3,
        error_score="raise",
    ).fit(X, y)
    assert len(search.cv_results_["params"]) == 2 * len(candidates) + 2
    for candidate, mean in zip(
        search.cv_results_["params"],
        search.cv_results_["mean_test_score"],
        strict=True,
    ):
        mot = MultiLevelOT().set_params(**candidate)
        by_hand = cross_val_score(mot, X, y, cv=KFold(3))
        assert mean == pytest.approx(by_hand.mean())
    # The layers share random mixtures of a few latents, which a regression undoes.
    assert isinstance(search.best_params_["inner"], LinearPredictivity)


def test_costs_can_be_searched_over_the_kind_of_geometry():
    X, y = (LayerStack(network) for network in random_networks())
    search = GridSearchCV(
        MultiLevelOT(RSA()),
        {"inner": [RSA(), CKA(), CKA(debiased=False)]},
        scoring=negative_cost,
        cv=3,
        error_score="raise",
    ).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()

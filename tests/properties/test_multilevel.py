"""Properties of levels above the pairs, for all networks hypothesis finds."""

import numpy as np
import pytest
from hypothesis import find, given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from skmot import (
    CKA,
    LayerStack,
    MultiLevelOT,
    MultiLevelOTRotation,
    RotationMatching,
    SoftMatching,
    TemplateMOT,
)
from skmot.metrics import hierarchy_score
from tests import reference
from tests.properties.promises import fitted, with_dead_units_alive
from tests.properties.strategies import examples, generic_networks, networks

STRATEGIES = ["transport", "single_best", "pairwise_best", "permuted", "uniform"]
SEEDS = st.integers(0, 2**16)
small_networks = networks(max_units=16, max_layers=3)


def arrays(recipes):
    return [recipe.array() for recipe in recipes]


def depth_distances(n, k):
    u, v = (np.linspace(0, 1, m) if m > 1 else np.array([0.5]) for m in (n, k))
    return np.abs(np.subtract.outer(u, v))


def check_marginals(mot):
    n, k = mot.layer_costs_.shape
    coupling, inverse = np.asarray(mot.coupling_), np.asarray(mot.inverse_coupling_)
    assert (coupling >= 0).all()
    assert (inverse >= 0).all()
    np.testing.assert_allclose(coupling.sum(axis=0), 1 / k, atol=1e-12)
    np.testing.assert_allclose(inverse.sum(axis=1), 1 / n, atol=1e-12)
    if mot.strategy in ("transport", "permuted", "uniform"):
        np.testing.assert_array_equal(coupling, inverse)
    elif mot.strategy in ("single_best", "pairwise_best"):
        assert (np.count_nonzero(coupling, axis=0) == 1).all()
        assert (np.count_nonzero(inverse, axis=1) == 1).all()


# -- couplings ---------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
@examples(2)
@given(recipes=small_networks, seed=SEEDS)
def test_any_networks_have_a_coupling_a_cost_and_scores_in_range(
    strategy, recipes, seed
):
    source, target = map(arrays, recipes)
    copies = [[layer.copy() for layer in side] for side in (source, target)]
    estimator = MultiLevelOT(strategy=strategy, random_state=seed)
    mot, _ = fitted(estimator, source, target)
    check_marginals(mot)
    costs = mot.layer_costs_
    assert costs.shape == (len(source), len(target))
    assert ((costs >= -1e-6) & (costs <= 2 + 1e-6)).all()
    expected = float((mot.coupling_ * costs).sum())
    assert mot.cost_ == pytest.approx(expected, abs=1e-12)
    new = [list(map(with_dead_units_alive, side)) for side in (source, target)]
    scores = [
        mot.score(*new),
        mot.inverse_score(*new),
        *mot.layer_scores(*new),
        *mot.layer_scores(*new, direction="source"),
    ]
    assert np.abs(scores).max() <= 1
    held_out = mot.held_out_layer_costs(*new)
    assert ((held_out >= 0) & (held_out <= 2)).all()
    for side, copy in zip((source, target), copies, strict=True):
        for layer, same in zip(side, copy, strict=True):
            np.testing.assert_array_equal(layer, same)


@examples(2)
@given(recipes=small_networks)
def test_the_coupling_is_optimal_for_the_costs_of_the_pairs(recipes):
    source, target = map(arrays, recipes)
    mot, _ = fitted(MultiLevelOT(), source, target)
    for row, X in enumerate(source):
        for column, y in enumerate(target):
            pair, _ = fitted(SoftMatching(), X, y)
            assert mot.layer_costs_[row, column] == pytest.approx(pair.cost_, abs=1e-12)
    _, optimum = reference.transport(mot.layer_costs_)
    assert mot.cost_ == pytest.approx(optimum, abs=1e-9)


@examples(1)
@given(recipes=small_networks)
def test_freer_strategies_cost_less(recipes):
    source, target = map(arrays, recipes)
    costs = {
        strategy: fitted(MultiLevelOT(strategy=strategy), source, target)[0].cost_
        for strategy in ("pairwise_best", "transport", "uniform")
    }
    assert costs["pairwise_best"] <= costs["transport"] + 1e-12
    assert costs["transport"] <= costs["uniform"] + 1e-12


@pytest.mark.parametrize("strategy", ["transport", "single_best", "pairwise_best"])
@pytest.mark.parametrize("inner", [SoftMatching("sqeuclidean"), CKA()])
@examples(1)
@given(recipes=small_networks)
def test_swapped_networks_have_the_transposed_coupling(strategy, inner, recipes):
    source, target = map(arrays, recipes)
    estimator = MultiLevelOT(inner, strategy=strategy)
    there, _ = fitted(estimator, source, target)
    back, _ = fitted(estimator, target, source)
    np.testing.assert_allclose(back.layer_costs_, there.layer_costs_.T, atol=1e-9)
    # Costs that differ by rounding can decide for another of several best couplings.
    for costs, coupling in (
        (there.layer_costs_, back.coupling_.T),
        (back.layer_costs_, there.coupling_.T),
    ):
        if strategy == "transport":
            _, optimum = reference.transport(costs)
            assert (coupling * costs).sum() == pytest.approx(optimum, abs=1e-9)


@pytest.mark.parametrize("strategy", ["transport", "single_best", "pairwise_best"])
@examples(1)
@given(recipes=generic_networks())
def test_swapped_networks_in_general_position_have_the_same_fit(strategy, recipes):
    source, target = map(arrays, recipes)
    estimator = MultiLevelOT(strategy=strategy)
    there, _ = fitted(estimator, source, target)
    back, _ = fitted(estimator, target, source)
    np.testing.assert_array_equal(back.coupling_, there.inverse_coupling_.T)
    np.testing.assert_array_equal(back.inverse_coupling_, there.coupling_.T)
    for one, other in zip(
        back.predict(target), there.inverse_predict(target), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


def test_rotations_of_swapped_networks_have_a_witness_that_they_differ():
    def differ(recipes):
        source, target = map(arrays, recipes)
        estimator = MultiLevelOTRotation(max_iter=3)
        there, _ = fitted(estimator, source, target)
        back, _ = fitted(estimator, target, source)
        return np.abs(back.layer_costs_ - there.layer_costs_.T).max() > 0.01

    find(generic_networks(), differ)


@examples(1)
@given(recipes=generic_networks(), seed=SEEDS)
def test_the_coupling_follows_the_order_of_layers_units_and_stimuli(recipes, seed):
    source, target = map(arrays, recipes)
    mot, _ = fitted(MultiLevelOT(), source, target)
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(source[0]))
    orders = [rng.permutation(len(side)) for side in (source, target)]
    moved = [
        [side[i][rows][:, rng.permutation(side[i].shape[1])] for i in order]
        for side, order in zip((source, target), orders, strict=True)
    ]
    other, _ = fitted(MultiLevelOT(), *moved)
    for name in ("layer_costs_", "coupling_"):
        expected = getattr(mot, name)[np.ix_(*orders)]
        np.testing.assert_allclose(getattr(other, name), expected, atol=1e-9)
    assert other.cost_ == pytest.approx(mot.cost_, abs=1e-9)


@examples(1)
@given(recipes=generic_networks())
def test_reconstructions_are_those_of_the_definition(recipes):
    source, target = map(arrays, recipes)
    mot, _ = fitted(MultiLevelOT(), source, target)
    slow = reference.SlowMultiLevelOT(source, target)
    np.testing.assert_allclose(mot.coupling_, slow.coupling, atol=1e-12)
    for found, expected in (
        (mot.predict(source), slow.predict(source)),
        (mot.inverse_predict(target), slow.inverse_predict(target)),
    ):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


@examples(1)
@given(recipes=networks(max_units=12, kinds=("ReLU", "one active"), hostile=False))
def test_sparse_layers_have_the_fit_of_dense_ones(recipes):
    source, target = map(arrays, recipes)
    mot, _ = fitted(MultiLevelOT(), source, target)
    sides = [
        LayerStack([csr_array(layer) for layer in side]) for side in (source, target)
    ]
    sparse, _ = fitted(MultiLevelOT(), *sides)
    np.testing.assert_allclose(sparse.layer_costs_, mot.layer_costs_, atol=1e-9)
    assert sparse.cost_ == pytest.approx(mot.cost_, abs=1e-9)


@examples(1)
@given(recipes=small_networks)
def test_levels_above_levels_have_the_costs_of_their_pairs(recipes):
    source, target = map(arrays, recipes)
    runs = [[source, target], [target]]
    mot, _ = fitted(MultiLevelOT(MultiLevelOT()), *runs)
    check_marginals(mot)
    below = [fitted(MultiLevelOT(), network, target)[0].cost_ for network in runs[0]]
    np.testing.assert_allclose(mot.layer_costs_[:, 0], below, atol=1e-9)
    assert mot.cost_ == pytest.approx(np.mean(below), abs=1e-9)


# -- depth -------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["transport", "single_best", "permuted"])
@examples(1)
@given(
    recipes=small_networks,
    priors=st.lists(st.floats(0, 3), min_size=2, max_size=3, unique=True),
)
def test_a_depth_prior_solves_its_own_problem_and_trades_cost_for_depth(
    strategy, recipes, priors
):
    source, target = map(arrays, recipes)
    costs, distances = [], []
    for weight in sorted(priors):
        mot, _ = fitted(
            MultiLevelOT(depth_prior=weight, strategy=strategy, random_state=0),
            source,
            target,
        )
        check_marginals(mot)
        coupling, layer_costs = np.asarray(mot.coupling_), mot.layer_costs_
        assert mot.cost_ == pytest.approx((coupling * layer_costs).sum(), abs=1e-12)
        depth = depth_distances(*layer_costs.shape)
        if strategy == "transport":
            outer = layer_costs + weight * np.ptp(layer_costs) * depth
            _, optimum = reference.transport(outer)
            assert (coupling * outer).sum() == pytest.approx(optimum, abs=1e-9)
            costs.append(mot.cost_)
            distances.append(float((coupling * depth).sum()))
    assert (np.diff(costs) >= -1e-9).all()
    # The costs can be equal, so that the prior, times their range, has no weight.
    if np.ptp(layer_costs) > 1e-6 and min(np.diff(sorted(priors))) > 1e-3:
        assert (np.diff(distances) <= 1e-4).all()


@examples(2)
@given(recipes=small_networks)
def test_hierarchy_scores_are_in_range_and_have_no_direction(recipes):
    source, target = map(arrays, recipes)
    mot, _ = fitted(MultiLevelOT(), source, target)
    score = hierarchy_score(mot.coupling_)
    assert 0 <= score <= 1 + 1e-12
    expected = 1 - (mot.coupling_ * depth_distances(*mot.coupling_.shape)).sum()
    assert score == pytest.approx(expected, abs=1e-12)
    for same in (mot.coupling_.T, mot.coupling_[::-1, ::-1], 1e30 * mot.coupling_):
        assert hierarchy_score(same) == pytest.approx(score, abs=1e-12)
    if 1 not in mot.coupling_.shape:
        assert hierarchy_score(mot.coupling_, adjusted=True) <= 1 + 1e-9


# -- rotations ---------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["sqeuclidean", "correlation"])
@examples(1)
@given(recipes=networks(max_units=12, max_layers=2))
def test_rotations_of_layers_are_those_of_their_pairs(metric, recipes):
    source, target = map(arrays, recipes)
    estimator = MultiLevelOTRotation(metric=metric, max_iter=4, tol=0)
    mot, _ = fitted(estimator, source, target)
    check_marginals(mot)
    for row, X in enumerate(source):
        for column, y in enumerate(target):
            inner = mot.inner_[row][column]
            assert inner.n_iter_ == mot.n_iter_[row, column]
            pair, _ = fitted(RotationMatching(metric, max_iter=4, tol=0), X, y)
            # Products are rounded as they are in a level, or for a single pair.
            if {X.dtype.name, y.dtype.name} <= {"float64", "int64"}:
                assert mot.layer_costs_[row, column] == pytest.approx(
                    pair.cost_, abs=1e-6
                )
            if metric == "sqeuclidean":
                assert (np.diff(inner.path_["objective"]) <= 1e-4).all()


# -- templates ---------------------------------------------------------------------


def three_networks(recipes):
    """Return three networks of which the third has the layers of the second."""
    source, target = map(arrays, recipes)
    return [source, target, target[::-1]]


@pytest.mark.parametrize(
    "inner", [None, SoftMatching("sqeuclidean"), SoftMatching("abs_correlation")]
)
@examples(1)
@given(recipes=networks(max_units=12, max_layers=3), first=st.integers(0, 2))
def test_the_cost_of_a_template_never_rises(inner, recipes, first):
    given_networks = three_networks(recipes)
    copies = [[layer.copy() for layer in network] for network in given_networks]
    template, _ = fitted(
        TemplateMOT(inner=inner, init=first, max_iter=4, tol=0), given_networks, None
    )
    single = any(
        layer.dtype != np.float64 for network in given_networks for layer in network
    )
    assert len(template.costs_) == template.n_iter_
    assert (np.diff(template.costs_) <= (1e-4 if single else 1e-9)).all()
    assert [len(mot.inner_) for mot in template.mots_] == list(map(len, given_networks))
    best = np.mean([mot.cost_ for mot in template.mots_])
    assert best == pytest.approx(template.costs_.min(), abs=1e-12)
    for curves in template.template_.layers:
        np.testing.assert_allclose(curves.mean(axis=0), 0, atol=1e-4)
        variances = curves.var(axis=0, dtype=np.float64)
        is_scaled_by_layer = inner is not None and inner.metric == "sqeuclidean"
        np.testing.assert_allclose(
            variances.mean() if is_scaled_by_layer else variances, 1, atol=1e-3
        )
    for network, copy in zip(given_networks, copies, strict=True):
        for layer, same in zip(network, copy, strict=True):
            np.testing.assert_array_equal(layer, same)


@examples(1)
@given(recipes=generic_networks(max_layers=2), seed=SEEDS)
def test_a_template_ignores_the_order_and_scale_of_units(recipes, seed):
    source, target = map(arrays, recipes)
    estimator = TemplateMOT(init=0, max_iter=3, tol=0)
    template, _ = fitted(estimator, [source, target], None)
    rng = np.random.default_rng(seed)
    moved = [
        layer[:, rng.permutation(layer.shape[1])] * np.exp(rng.normal()) + rng.normal()
        for layer in target
    ]
    other, _ = fitted(estimator, [source, moved], None)
    np.testing.assert_allclose(other.costs_, template.costs_, atol=1e-6)

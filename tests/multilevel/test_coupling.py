"""The outer problem: which layer corresponds to which, given the costs of all pairs."""

from itertools import permutations

import numpy as np
import pytest

from skmot import FunctionComparison, MultiLevelOT, MultiLevelOTRotation
from tests import reference
from tests.networks import random_networks, rows

STRATEGIES = ["transport", "single_best", "pairwise_best", "permuted", "uniform"]
TRAIN, TEST = slice(0, 45), slice(45, 60)


def split(networks=None):
    source, target = networks or random_networks()
    return (
        rows(source, TRAIN),
        rows(target, TRAIN),
        rows(source, TEST),
        rows(target, TEST),
    )


def look_up(X, Y, costs):
    return costs[int(X[0, 0]), int(Y[0, 0])]


def couple(costs, **settings):
    """Fit to layers whose pairs cost what is given: the outer problem alone."""
    sides = [
        # A layer's number, and another that it is not constant.
        [np.array([[index], [-1.0]]) for index in range(depth)]
        for depth in costs.shape
    ]
    inner = FunctionComparison(look_up, kw_args={"costs": costs})
    return MultiLevelOT(inner, **settings).fit(*sides)


# -- any costs -------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (3, 4), (4, 3), (5, 5), (2, 6)])
@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (1e-12, 0), (1e12, 0), (1, 1e4)])
def test_the_coupling_is_the_plan_of_least_cost(shape, scale, offset):
    costs = np.random.default_rng(0).normal(size=shape)
    plan, cost = reference.transport(costs)
    mot = couple(scale * costs + offset)
    np.testing.assert_array_equal(mot.layer_costs_, scale * costs + offset)
    np.testing.assert_allclose(mot.coupling_, plan, atol=1e-12)
    np.testing.assert_array_equal(mot.inverse_coupling_, mot.coupling_)
    assert mot.cost_ == pytest.approx(
        scale * cost + offset, rel=1e-12, abs=1e-9 * scale
    )
    assert 0 <= mot.duality_gap_ <= 1e-9 * max(np.ptp(mot.layer_costs_), 1e-300)


@pytest.mark.parametrize("shape", [(3, 4), (4, 4), (2, 6), (6, 3)])
def test_ties_leave_a_plan_of_least_cost(shape):
    for seed in range(5):
        costs = np.random.default_rng(seed).integers(0, 3, size=shape).astype(float)
        mot = couple(costs)
        assert mot.cost_ == pytest.approx(reference.transport(costs)[1], abs=1e-12)
        np.testing.assert_allclose(mot.coupling_.sum(axis=1), 1 / shape[0])
        np.testing.assert_allclose(mot.coupling_.sum(axis=0), 1 / shape[1])


def best(coupling, costs):
    """Return the row of largest weight in each column, ties by cost, then by index."""
    found = []
    for weights, prices in zip(coupling.T, costs.T, strict=True):
        largest = np.flatnonzero(np.isclose(weights, weights.max(), atol=1e-12))
        found.append(min(largest, key=lambda row: (prices[row], row)))
    return found


def one_a_column(found, n_rows):
    coupling = np.zeros((n_rows, len(found)))
    coupling[found, np.arange(len(found))] = 1 / len(found)
    return coupling


@pytest.mark.parametrize("shape", [(3, 4), (4, 4), (2, 6), (6, 2), (3, 3)])
@pytest.mark.parametrize("n_costs", [1, 2, 4])
def test_ties_of_a_single_counterpart_go_to_the_cheaper_and_then_to_the_first(
    shape, n_costs
):
    for seed in range(4):
        random = np.random.default_rng(seed)
        costs = random.integers(0, n_costs, size=shape).astype(float)
        P = couple(costs).coupling_
        single = couple(costs, strategy="single_best")
        np.testing.assert_allclose(
            single.coupling_, one_a_column(best(P, costs), shape[0])
        )
        np.testing.assert_allclose(
            single.inverse_coupling_, one_a_column(best(P.T, costs.T), shape[1]).T
        )
        assert single.cost_ == pytest.approx(np.sum(single.coupling_ * costs))
        pairwise = couple(costs, strategy="pairwise_best")
        np.testing.assert_allclose(
            pairwise.coupling_, one_a_column(costs.argmin(axis=0), shape[0])
        )
        np.testing.assert_allclose(
            pairwise.inverse_coupling_, one_a_column(costs.argmin(axis=1), shape[1]).T
        )
        assert pairwise.duality_gap_ == 0


@pytest.mark.parametrize("strategy", STRATEGIES[:3])
@pytest.mark.parametrize("shape", [(3, 4), (4, 4), (2, 6)])
def test_swapping_the_sides_of_tied_costs_transposes_the_couplings(strategy, shape):
    for seed in range(5):
        costs = np.random.default_rng(seed).integers(0, 3, size=shape).astype(float)
        forth = couple(costs, strategy=strategy)
        back = couple(costs.T, strategy=strategy)
        np.testing.assert_array_equal(forth.coupling_.T, back.inverse_coupling_)
        np.testing.assert_array_equal(forth.inverse_coupling_.T, back.coupling_)


def test_costs_that_differ_by_rounding_only_are_ties():
    costs = np.random.default_rng(0).integers(0, 3, size=(3, 6)).astype(float)
    rounded = costs + 1e-14 * np.random.default_rng(1).normal(size=costs.shape)
    for strategy in STRATEGIES[:3]:
        plain, other = (couple(c, strategy=strategy) for c in (costs, rounded))
        np.testing.assert_array_equal(plain.coupling_, other.coupling_)
        np.testing.assert_array_equal(plain.inverse_coupling_, other.inverse_coupling_)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (3, 4), (4, 3), (5, 5)])
@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (1e-12, 0), (1e12, 0), (0, 1)])
def test_uniform_takes_every_counterpart_alike(shape, scale, offset):
    costs = scale * np.random.default_rng(0).normal(size=shape) + offset
    mot = couple(costs, strategy="uniform")
    for coupling in (mot.coupling_, mot.inverse_coupling_):
        np.testing.assert_allclose(coupling, np.full(shape, 1 / costs.size), rtol=1e-14)
    assert mot.coupling_ is not mot.inverse_coupling_
    np.testing.assert_array_equal(mot.layer_costs_, costs)
    assert mot.cost_ == pytest.approx(costs.mean(), rel=1e-12, abs=1e-12 * scale)
    assert mot.duality_gap_ == 0


@pytest.mark.parametrize("shape", [(3, 3), (3, 5), (5, 3)])
def test_the_cost_of_uniform_is_the_mean_cost_over_all_permutations(shape):
    costs = np.random.default_rng(1).normal(size=shape)
    plan = couple(costs).coupling_
    permuted = [
        np.sum(plan[list(order)] * costs) for order in permutations(range(shape[0]))
    ]
    uniform = couple(costs, strategy="uniform")
    assert uniform.cost_ == pytest.approx(np.mean(permuted), rel=1e-12)


# -- a prior on depth ------------------------------------------------------------------


def with_prior(costs, weight):
    """Return C + w (max C - min C) |u_l - v_m|, with loops."""
    n, k = costs.shape
    spread, found = costs.max() - costs.min(), costs.copy()
    for s in range(n):
        for t in range(k):
            u, v = (i / (d - 1) if d > 1 else 0.5 for i, d in ((s, n), (t, k)))
            found[s, t] += weight * spread * abs(u - v)
    return found


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (3, 4), (4, 3), (5, 5), (2, 6)])
@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (1e-12, 0), (1e12, 0), (1, 1e4)])
@pytest.mark.parametrize("weight", [0.1, 0.7, np.float32(2), 30])
def test_a_depth_prior_is_added_to_the_costs_of_the_outer_problem(
    shape, scale, offset, weight
):
    costs = np.random.default_rng(0).normal(size=shape)
    plan, cost = reference.transport(with_prior(costs, float(weight)))
    mot = couple(scale * costs + offset, depth_prior=weight)
    np.testing.assert_allclose(mot.coupling_, plan, atol=1e-12)
    np.testing.assert_array_equal(mot.inverse_coupling_, mot.coupling_)
    np.testing.assert_array_equal(mot.layer_costs_, scale * costs + offset)
    assert mot.cost_ == pytest.approx(
        scale * np.sum(plan * costs) + offset, rel=1e-12, abs=1e-9 * scale
    )
    assert 0 <= mot.duality_gap_ <= 1e-9 * scale * max(cost, 1)
    # Numbers read off the marked coupling are plain ones.
    assert type(mot.cost_) is float
    assert type(mot.coupling_.sum()) is np.float64


@pytest.mark.parametrize("shape", [(3, 4), (4, 4), (2, 6), (3, 3)])
def test_one_counterpart_with_a_depth_prior_is_that_of_the_outer_problem(shape):
    for seed in range(4):
        random = np.random.default_rng(seed)
        costs = random.integers(0, 3, size=shape).astype(float)
        P = np.asarray(couple(costs, depth_prior=0.4).coupling_)
        outer = with_prior(costs, 0.4).round(10)
        single = couple(costs, depth_prior=0.4, strategy="single_best")
        np.testing.assert_allclose(
            single.coupling_, one_a_column(best(P, outer), shape[0])
        )
        np.testing.assert_allclose(
            single.inverse_coupling_, one_a_column(best(P.T, outer.T), shape[1]).T
        )
        assert single.cost_ == pytest.approx(np.sum(single.coupling_ * costs))
        permuted = couple(costs, depth_prior=0.4, strategy="permuted", random_state=1)
        np.testing.assert_array_equal(
            sorted(permuted.coupling_.tolist()), sorted(P.tolist())
        )


def test_a_depth_prior_of_zero_changes_nothing():
    X, y, held_out_X, held_out_y = split()
    plain, zero = (
        MultiLevelOT(**settings).fit(X, y) for settings in ({}, {"depth_prior": 0})
    )
    for name in ("coupling_", "inverse_coupling_", "layer_costs_"):
        assert type(getattr(zero, name)) is np.ndarray
        np.testing.assert_array_equal(getattr(zero, name), getattr(plain, name))
    assert zero.cost_ == plain.cost_
    assert zero.held_out_cost(held_out_X, held_out_y) == plain.held_out_cost(
        held_out_X, held_out_y
    )


def test_a_depth_prior_does_not_order_layers_whose_costs_are_all_the_same():
    # The unit of the prior is the range of the costs, which is 0.
    costs = np.full((4, 4), 0.3)
    np.testing.assert_array_equal(
        couple(costs, depth_prior=5.0).coupling_, couple(costs).coupling_
    )


@pytest.mark.parametrize("kind", [MultiLevelOT, MultiLevelOTRotation])
def test_a_large_depth_prior_couples_in_the_order_of_depth_whatever_the_layers(kind):
    X, y, held_out_X, held_out_y = split(random_networks((5, 6, 4), (4, 6, 5)))
    plain = kind().fit(X[::-1], y)
    mot = kind(depth_prior=100).fit(X[::-1], y)
    assert np.abs(plain.coupling_ - np.eye(3) / 3).max() > 0.1
    np.testing.assert_allclose(mot.coupling_, np.eye(3) / 3, atol=1e-15)
    np.testing.assert_array_equal(mot.layer_costs_, plain.layer_costs_)
    assert mot.cost_ == pytest.approx(np.trace(plain.layer_costs_) / 3)
    held_out = [
        pairs[index].held_out_cost(held_out_X[::-1][index], held_out_y[index])
        for index, pairs in enumerate(mot.inner_)
    ]
    found = mot.held_out_cost(held_out_X[::-1], held_out_y)
    assert found == pytest.approx(np.mean(held_out))


@pytest.mark.parametrize("kind", [MultiLevelOT, MultiLevelOTRotation])
@pytest.mark.parametrize("weight", [-0.1, np.nan, np.inf, "0.5", None, 1j, [0.5]])
def test_a_depth_prior_that_is_no_weight_is_an_error(kind, weight):
    with pytest.raises(ValueError, match="'depth_prior' parameter of MultiLevelOT"):
        kind(depth_prior=weight).fit(*random_networks())


@pytest.mark.parametrize("strategy", ["pairwise_best", "uniform"])
def test_a_depth_prior_without_an_outer_problem_is_an_error(strategy):
    networks = random_networks()
    level = MultiLevelOT(strategy=strategy, depth_prior=0.5)
    with pytest.raises(ValueError, match=f"'{strategy}' solves no outer problem"):
        level.fit(*networks)
    with pytest.raises(ValueError, match=f"'{strategy}' solves no outer problem"):
        MultiLevelOT(level).fit(*([network] for network in networks))
    MultiLevelOT(strategy=strategy, depth_prior=0).fit(*networks)


def test_a_depth_prior_acts_at_the_level_that_it_is_given_to():
    X, y = ([network] * 2 for network in random_networks())
    inner = MultiLevelOT(depth_prior=3.0).fit(X[0], y[0])
    above = MultiLevelOT(MultiLevelOT(depth_prior=3.0)).fit(X, y)
    np.testing.assert_array_equal(above.inner_[0][1].coupling_, inner.coupling_)
    np.testing.assert_array_equal(above.layer_costs_, np.full((2, 2), inner.cost_))
    assert type(above.coupling_) is np.ndarray


# -- costs of networks -----------------------------------------------------------------


@pytest.mark.parametrize(
    "shapes", [((5, 6, 7), (4, 8, 6)), ((6,), (5, 4)), ((5, 4), (6,))]
)
def test_marginals_of_the_coupling_are_uniform(shapes):
    X, y, *_ = split(random_networks(*shapes))
    mot = MultiLevelOT().fit(X, y)
    np.testing.assert_allclose(mot.coupling_.sum(axis=1), 1 / len(X), atol=1e-12)
    np.testing.assert_allclose(mot.coupling_.sum(axis=0), 1 / len(y), atol=1e-12)
    assert mot.duality_gap_ <= 1e-9 * max(np.ptp(mot.layer_costs_), 1e-300)


def test_single_best_keeps_the_counterpart_of_largest_weight():
    X, y, *_ = split()
    transport = MultiLevelOT().fit(X, y)
    best = MultiLevelOT(strategy="single_best").fit(X, y)
    P, C = transport.coupling_, transport.layer_costs_
    for m in range(4):
        # Of equal weights, up to rounding, the one of smaller cost.
        largest = np.flatnonzero(np.isclose(P[:, m], P[:, m].max(), atol=1e-12))
        expected = largest[C[largest, m].argmin()]
        np.testing.assert_array_equal(
            best.coupling_[:, m], np.where(np.arange(3) == expected, 1 / 4, 0)
        )
    for s in range(3):
        largest = np.flatnonzero(np.isclose(P[s], P[s].max(), atol=1e-12))
        expected = largest[C[s, largest].argmin()]
        np.testing.assert_array_equal(
            best.inverse_coupling_[s], np.where(np.arange(4) == expected, 1 / 3, 0)
        )


def test_single_best_breaks_exact_ties_by_cost():
    # Two source layers, four target layers: each source layer has two counterparts of
    # the same weight, and the later one is the better.
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(50, 6)) for _ in range(2)]
    y = [
        X[0] + rng.normal(size=(50, 6)),
        X[0] + 0.1 * rng.normal(size=(50, 6)),
        X[1] + rng.normal(size=(50, 6)),
        X[1] + 0.1 * rng.normal(size=(50, 6)),
    ]
    transport = MultiLevelOT().fit(X, y)
    np.testing.assert_allclose(
        transport.coupling_, [[0.25, 0.25, 0, 0], [0, 0, 0.25, 0.25]], atol=1e-15
    )
    best = MultiLevelOT(strategy="single_best").fit(X, y)
    np.testing.assert_array_equal(
        best.inverse_coupling_, [[0, 0.5, 0, 0], [0, 0, 0, 0.5]]
    )


def test_pairwise_best_keeps_the_counterpart_of_least_cost():
    X, y, *_ = split()
    mot = MultiLevelOT(strategy="pairwise_best").fit(X, y)
    C = mot.layer_costs_
    for m in range(4):
        expected = np.where(np.arange(3) == C[:, m].argmin(), 1 / 4, 0)
        np.testing.assert_array_equal(mot.coupling_[:, m], expected)
    for s in range(3):
        expected = np.where(np.arange(4) == C[s].argmin(), 1 / 3, 0)
        np.testing.assert_array_equal(mot.inverse_coupling_[s], expected)
    assert mot.cost_ == pytest.approx(C.min(axis=0).mean())


def test_permuted_permutes_the_rows_of_the_plan_and_keeps_the_unit_plans():
    X, y, *_ = split()
    plain = MultiLevelOT().fit(X, y)
    seen = set()
    for seed in range(20):
        mot = MultiLevelOT(strategy="permuted", random_state=seed).fit(X, y)
        order = [
            next(
                i for i, row in enumerate(plain.coupling_) if np.array_equal(row, other)
            )
            for other in mot.coupling_
        ]
        assert sorted(order) == [0, 1, 2]
        seen.add(tuple(order))
        np.testing.assert_array_equal(mot.inverse_coupling_, mot.coupling_)
        np.testing.assert_array_equal(mot.layer_costs_, plain.layer_costs_)
        np.testing.assert_array_equal(
            mot.inner_[1][2].coupling_.toarray(), plain.inner_[1][2].coupling_.toarray()
        )
        again = MultiLevelOT(strategy="permuted", random_state=seed).fit(X, y)
        np.testing.assert_array_equal(again.coupling_, mot.coupling_)
    assert len(seen) > 3


@pytest.mark.parametrize("strategy", [s for s in STRATEGIES if s != "permuted"])
@pytest.mark.parametrize("depths", [(3, 4), (4, 4), (2, 6)])
def test_swapping_the_sides_transposes_the_couplings(strategy, depths):
    widths = [[6 + i for i in range(depth)] for depth in depths]
    X, y, held_out_X, held_out_y = split(random_networks(*widths))
    forth = MultiLevelOT(strategy=strategy).fit(X, y)
    back = MultiLevelOT(strategy=strategy).fit(y, X)
    np.testing.assert_allclose(forth.coupling_.T, back.inverse_coupling_, atol=1e-12)
    np.testing.assert_allclose(forth.inverse_coupling_.T, back.coupling_, atol=1e-12)
    assert forth.score(held_out_X, held_out_y) == pytest.approx(
        back.inverse_score(held_out_y, held_out_X), abs=1e-9
    )


@pytest.mark.parametrize("kind", [MultiLevelOT, MultiLevelOTRotation])
def test_uniform_keeps_the_unit_plans_and_averages_all_counterparts(kind):
    X, y, held_out_X, held_out_y = split()
    plain = kind(random_state=0).fit(X, y)
    uniform = kind(strategy="uniform", random_state=0).fit(X, y)
    np.testing.assert_array_equal(uniform.layer_costs_, plain.layer_costs_)
    assert uniform.cost_ == pytest.approx(plain.layer_costs_.mean())
    pairs = plain.inner_
    for m, layer in enumerate(uniform.predict(held_out_X)):
        parts = [pairs[s][m].predict(held_out_X[s]) for s in range(3)]
        np.testing.assert_allclose(layer, np.mean(parts, axis=0), atol=1e-10)
    for s, layer in enumerate(uniform.inverse_predict(held_out_y)):
        parts = [pairs[s][m].inverse_predict(held_out_y[m]) for m in range(4)]
        np.testing.assert_allclose(layer, np.mean(parts, axis=0), atol=1e-10)
    held_out = [
        pairs[s][m].held_out_cost(held_out_X[s], held_out_y[m])
        for s, m in np.ndindex(3, 4)
    ]
    found = uniform.held_out_cost(held_out_X, held_out_y)
    assert found == pytest.approx(np.mean(held_out), rel=1e-12)


def repetitions(n_layers, noise, n_stimuli=4000, seed=0):
    """Two networks whose layers all show the same signals, each with its own noise."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(n_stimuli, 15))
    return [
        [signal + noise * rng.normal(size=signal.shape) for _ in range(n_layers)]
        for _ in range(2)
    ]


def test_a_score_rewards_averages_as_the_formula_says_and_a_cost_does_not():
    # A unit has variance 1 of signal and 1 of noise: a counterpart correlates r = 1/2
    # with it, and rho = 1/2 with another counterpart.
    n_layers, r, rho = 4, 0.5, 0.5
    X, y = repetitions(n_layers, noise=1.0)
    training, held_out = slice(0, 2000), slice(2000, 4000)
    scores, costs = {}, {}
    for strategy in ("transport", "uniform"):
        mot = MultiLevelOT(strategy=strategy).fit(rows(X, training), rows(y, training))
        scores[strategy] = mot.score(rows(X, held_out), rows(y, held_out))
        costs[strategy] = mot.held_out_cost(rows(X, held_out), rows(y, held_out))
    # A correlation of 2000 stimuli has a standard error of .02; the means are over 60
    # units.
    assert scores["transport"] == pytest.approx(r, abs=0.02)
    expected = r * np.sqrt(n_layers / (1 + (n_layers - 1) * rho))
    assert scores["uniform"] == pytest.approx(expected, abs=0.02)
    assert costs["transport"] == pytest.approx(1 - r, abs=0.02)
    assert costs["uniform"] == pytest.approx(1 - r, abs=0.02)


def test_uniform_does_not_win_where_each_layer_shows_something_else():
    rng = np.random.default_rng(0)
    X = list(rng.normal(size=(4, 400, 15)))
    y = [layer[:, ::-1] + rng.normal(size=layer.shape) for layer in X]
    training, held_out = slice(0, 300), slice(300, 400)
    fits = [
        MultiLevelOT(strategy=strategy).fit(rows(X, training), rows(y, training))
        for strategy in ("transport", "uniform")
    ]
    transport, uniform = (
        fit.score(rows(X, held_out), rows(y, held_out)) for fit in fits
    )
    # One counterpart of four correlates 1 / sqrt(2), the others 0: half of it is left.
    assert transport == pytest.approx(np.sqrt(0.5), abs=0.05)
    assert uniform == pytest.approx(np.sqrt(0.5) / 2, abs=0.05)


def test_a_planted_layer_order_is_found_by_transport_and_not_by_pairwise_best():
    # The first source layer holds, clearly, what all target layers share; the others
    # hold noisily what they share with their own counterpart only. One by one every
    # target layer is nearest to the first; together only the order planted is cheap.
    rng = np.random.default_rng(0)
    shared, *own = rng.normal(size=(5, 200, 15))
    X = [shared + 0.1 * rng.normal(size=shared.shape)]
    y = [shared + 0.3 * rng.normal(size=shared.shape)]
    for part in own:
        X.append(shared + part + 1.5 * rng.normal(size=shared.shape))
        y.append(shared + 0.8 * part + 0.3 * rng.normal(size=shared.shape))
    order = rng.permutation(5)
    X, y = rows(X, slice(150)), [y[layer][:150, ::-1] for layer in order]
    transport = MultiLevelOT().fit(X, y)
    np.testing.assert_array_equal(transport.coupling_.argmax(axis=0), order)
    np.testing.assert_allclose(transport.coupling_.max(axis=0), 1 / 5)
    pairwise = MultiLevelOT(strategy="pairwise_best").fit(X, y)
    np.testing.assert_array_equal(pairwise.coupling_.argmax(axis=0), 0)


def test_permuting_layers_permutes_the_coupling():
    X, y, *_ = split()
    plain = MultiLevelOT().fit(X, y)
    moved = MultiLevelOT().fit([X[2], X[0], X[1]], y[::-1])
    np.testing.assert_allclose(moved.coupling_, plain.coupling_[[2, 0, 1], ::-1])
    assert moved.cost_ == pytest.approx(plain.cost_, abs=1e-12)


@pytest.mark.parametrize("strategy", ["transport", "single_best", "pairwise_best"])
def test_copies_of_layers_do_not_break_the_law_of_swapping(strategy):
    X, y, *_ = split()
    # Copies in another order of units: their costs differ by rounding only.
    X, y = [X[0], X[1], X[1][:, ::-1]], [y[0], y[0][:, ::-1], y[1]]
    for source, target in ((X, y), (X[:2], y), (X, [*y, y[2][:, ::-1]])):
        forth = MultiLevelOT(strategy=strategy).fit(source, target)
        back = MultiLevelOT(strategy=strategy).fit(target, source)
        np.testing.assert_array_equal(forth.coupling_.T, back.inverse_coupling_)
        np.testing.assert_array_equal(forth.inverse_coupling_.T, back.coupling_)


def coupling_of_costs(costs):
    """Return the coupling of layers with the given costs."""
    random = np.random.default_rng(0)
    source, target = (
        [1e3 * index + random.normal(size=(10, 1)) for index in range(n)]
        for n in costs.shape
    )

    def look_up(X, Y):
        return costs[round(X.mean() / 1e3), round(Y.mean() / 1e3)]

    return MultiLevelOT(FunctionComparison(look_up)).fit(source, target).coupling_


@pytest.mark.parametrize("factor", [1e4, 1e7, 1e12])
@pytest.mark.parametrize("n_layers", [(6, 6), (4, 7)])
def test_one_large_cost_does_not_hide_the_others(factor, n_layers):
    costs = np.random.default_rng(0).random(n_layers)
    # However large its cost is, the pair is in no good plan.
    costs[0, 1] = 100
    expected = coupling_of_costs(costs)
    costs[0, 1] = 100 * factor
    np.testing.assert_array_equal(coupling_of_costs(costs), expected)

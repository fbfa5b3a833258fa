"""Properties of the solver, for every cost matrix that hypothesis finds."""

import math
from unittest import mock

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.sparse import issparse

from skmot.transport import _flow, solve_partial_transport, solve_transport
from tests.properties import proofs
from tests.properties.strategies import Costs, costs, examples, weights

# Sizes at which the solver changes its way: 25,000 arcs (158 x 158 has 24,964), squares
# of 100 rows, blocks of 250,000 entries, a single row or column.
THRESHOLDS = [
    (1, 1),
    (1, 64),
    (64, 1),
    (99, 99),
    (100, 100),
    (101, 101),
    (100, 99),
    (158, 158),
    (158, 159),
    (159, 159),
    (250, 100),
    (100, 251),
    (501, 500),
]
# The gap of every plan, as a share of the spread of its costs.
TOLERANCE = 1e-9


def spread_of(matrix):
    matrix = matrix.astype(np.float64)
    return float(matrix.max() - matrix.min())


def rounding_of(matrix):
    """What the largest cost rounds to, times the terms of a sum."""
    return (
        64 * np.finfo(np.float64).eps * float(np.abs(matrix.astype(np.float64)).max())
    )


def check_plan(result, shape):
    """Assert that a plan between all units is a vertex of T(n, k), in whole numbers."""
    n, k = shape
    divisor = math.gcd(n, k)
    assert issparse(result.coupling)
    flow, plan = result.flow.toarray(), result.coupling.toarray()
    assert (flow >= 0).all()
    np.testing.assert_array_equal(flow.sum(axis=1), k // divisor)
    np.testing.assert_array_equal(flow.sum(axis=0), n // divisor)
    np.testing.assert_array_equal(plan, flow / math.lcm(n, k))
    assert np.count_nonzero(plan) <= n + k - 1


def check_proof(result, matrix):
    """Assert that a plan is optimal, by its potentials, in exact arithmetic."""
    spread, rounding = spread_of(matrix), rounding_of(matrix)
    cost, gap = proofs.exact_gap(result, matrix)
    assert 0 <= gap <= TOLERANCE * spread + rounding
    assert abs(float(cost) - result.cost) <= rounding
    # What the result claims of itself.
    assert result.converged
    assert 0 <= result.duality_gap <= TOLERANCE * spread
    assert abs(float(gap) - result.duality_gap) <= rounding
    return float(cost)


def solve_and_check(recipe):
    matrix = recipe.array()
    before = matrix.copy()
    result = solve_transport(matrix)
    np.testing.assert_array_equal(matrix, before)
    check_plan(result, matrix.shape)
    check_proof(result, matrix)
    return result


@examples(20)
@given(costs())
def test_every_plan_is_a_vertex_with_a_proof(recipe):
    solve_and_check(recipe)


# Squares of large costs overflow in float32.
@example(recipe=Costs(100, 100, exponent=30, dtype="float32"))
@examples(2)
@given(recipe=costs(shapes=THRESHOLDS))
def test_plans_are_proven_on_both_sides_of_every_threshold(recipe):
    solve_and_check(recipe)


@examples(8)
@given(costs(), st.data())
def test_another_solver_finds_the_same_cost(recipe, data):
    matrix = recipe.array()
    n, k = matrix.shape
    solvers = proofs.solvers_for(matrix.shape)
    solver = solvers[data.draw(st.sampled_from(sorted(solvers)))]
    scaled = proofs.scaled_to_one(matrix)
    flow = solve_transport(matrix).flow.tocoo()
    found = float(flow.data @ scaled[flow.row, flow.col]) / math.lcm(n, k)
    expected = solver(scaled, np.full(n, 1 / n), np.full(k, 1 / k))
    tolerance = 1e-8 if solver is proofs.by_linprog else 1e-9
    assert abs(found - expected) <= tolerance


@examples(6)
@given(costs())
def test_few_chosen_arcs_give_a_proven_plan_at_every_size(recipe):
    # Sizes below 25,000 arcs, and costs with ties, use all arcs otherwise.
    with (
        mock.patch.object(_flow, "_FEW_ARCS", 0),
        mock.patch.object(_flow, "_FEWEST_DISTINCT", 0.0),
        mock.patch.object(_flow, "_ARCS_A_UNIT", 2),
    ):
        solve_and_check(recipe)


@examples(6)
@given(costs(), st.integers(1, 40))
def test_the_bound_of_an_interrupted_solver_is_true(recipe, max_pivots):
    matrix = recipe.array()
    optimum, _ = proofs.exact_gap(solve_transport(matrix), matrix)
    result = solve_transport(matrix, max_pivots=max_pivots)
    flow = result.flow.toarray()
    divisor = math.gcd(*matrix.shape)
    np.testing.assert_array_equal(flow.sum(axis=1), matrix.shape[1] // divisor)
    np.testing.assert_array_equal(flow.sum(axis=0), matrix.shape[0] // divisor)
    assert (flow >= 0).all()
    cost, gap = proofs.exact_gap(result, matrix)
    # Artificial arcs leave potentials as large as the number of units.
    rounding = rounding_of(matrix) * max(matrix.shape)
    assert float(gap) <= result.duality_gap + rounding
    assert float(cost - optimum) <= result.duality_gap + rounding


@examples(4)
@given(costs(), st.integers(0, 2**16))
def test_order_transposition_and_repeats_of_units_change_no_cost(recipe, seed):
    matrix = recipe.array()
    tolerance = TOLERANCE * spread_of(matrix) + rounding_of(matrix)
    cost = solve_transport(matrix).cost
    rng = np.random.default_rng(seed)
    order = [rng.permutation(n) for n in matrix.shape]
    for other in (matrix.T, matrix[np.ix_(*order)], np.repeat(matrix, 2, axis=0)):
        assert abs(solve_transport(other).cost - cost) <= tolerance


@examples(4)
@given(costs(), st.integers(0, 2**16))
def test_a_number_for_each_row_and_column_moves_the_cost_by_their_means(recipe, seed):
    matrix = recipe.array().astype(np.float64)
    rng = np.random.default_rng(seed)
    spread = spread_of(matrix) or 1.0
    r, c = (spread * rng.normal(size=n) for n in matrix.shape)
    moved = matrix + r[:, np.newaxis] + c
    expected = solve_transport(matrix).cost + r.mean() + c.mean()
    tolerance = TOLERANCE * spread_of(moved) + 4 * rounding_of(moved)
    tolerance += 4 * rounding_of(matrix)
    assert abs(solve_transport(moved).cost - expected) <= tolerance


@examples(4)
@given(costs(), st.integers(0, 2**16), st.floats(0, 2))
def test_a_warm_start_changes_no_proof(recipe, seed, size):
    matrix = recipe.array()
    rng = np.random.default_rng(seed)
    potentials = [size * spread_of(matrix) * rng.normal(size=n) for n in matrix.shape]
    result = solve_transport(matrix, potentials=potentials)
    check_plan(result, matrix.shape)
    check_proof(result, matrix)


# -- weights -----------------------------------------------------------------------


@examples(6)
@given(costs(), st.data())
def test_weighted_plans_have_their_masses_and_a_proof(recipe, data):
    matrix = recipe.array()
    n, k = matrix.shape
    given_weights = data.draw(weights(n)), data.draw(weights(k))
    result = solve_transport(
        matrix, row_weights=given_weights[0], column_weights=given_weights[1]
    )
    flow = result.flow.toarray()
    assert (flow >= 0).all()
    assert np.count_nonzero(flow) <= n + k - 1
    shares = []
    for given_side, length, axis in zip(given_weights, (n, k), (1, 0), strict=True):
        side = np.ones(length) if given_side is None else given_side
        shares.append(flow.sum(axis=axis) / flow.sum())
        # Masses are whole multiples of about 2^-40.
        np.testing.assert_allclose(shares[-1], side / side.sum(), rtol=0, atol=2e-12)
    check_proof(result, matrix)
    if n * k <= 300 and spread_of(matrix) > 0:
        scaled = proofs.scaled_to_one(matrix)
        found = float((flow / flow.sum() * scaled).sum())
        assert abs(found - proofs.by_linprog(scaled, *shares)) <= 1e-8


@examples(2)
@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_a_whole_weight_is_a_number_of_copies(n, k, data):
    matrix = Costs(n, k, seed=data.draw(st.integers(0, 2**16))).array()
    copies = data.draw(st.lists(st.integers(1, 4), min_size=n, max_size=n))
    weighted = solve_transport(matrix, row_weights=copies).cost
    repeated = solve_transport(np.repeat(matrix, copies, axis=0)).cost
    assert abs(weighted - repeated) <= 1e-12


# -- partial plans -----------------------------------------------------------------

MASSES = st.one_of(
    st.sampled_from([0.5, 1 / 3, 0.999, 1e-3, 0.9, 1 - 1e-9]),
    st.floats(1e-6, 1, exclude_max=True),
)


@examples(8)
@given(costs(), MASSES, st.data())
def test_partial_plans_match_the_mass_within_all_limits_with_a_proof(
    recipe, mass, data
):
    matrix = recipe.array()
    n, k = matrix.shape
    row_weights, column_weights = data.draw(weights(n)), data.draw(weights(k))
    result = solve_partial_transport(
        matrix, mass, row_weights=row_weights, column_weights=column_weights
    )
    plan = result.coupling.toarray()
    assert (plan >= 0).all()
    assert abs(plan.sum() - mass) <= 1e-14
    assert np.count_nonzero(plan) <= n + k
    for axis, limits, matched in zip(
        (1, 0), result.masses, result.matched, strict=True
    ):
        sums = plan.sum(axis=axis)
        assert (sums <= limits + 1e-14).all()
        assert ((matched >= 0) & (matched <= 1)).all()
        np.testing.assert_allclose(matched * limits, sums, rtol=0, atol=1e-14)
    spread, rounding = spread_of(matrix), rounding_of(matrix)
    cost, gap = proofs.exact_partial_gap(result, matrix, mass)
    assert float(gap) <= TOLERANCE * mass * spread + rounding
    assert abs(float(cost) - result.cost) <= rounding
    assert result.converged
    if n * k <= 200 and spread > 0:
        scaled = proofs.scaled_to_one(matrix)
        expected = proofs.by_linprog(scaled, *result.masses, mass)
        assert abs((plan * scaled).sum() - expected) <= 1e-8


@examples(2)
@given(costs(), st.lists(st.floats(1e-3, 1), min_size=2, max_size=4, unique=True))
def test_the_cost_of_a_matched_unit_never_falls_with_the_mass(recipe, masses):
    matrix = recipe.array()
    tolerance = 2 * TOLERANCE * spread_of(matrix)
    found = [solve_partial_transport(matrix, m).cost / m for m in sorted(masses)]
    rounding = rounding_of(matrix) / min(masses)
    assert (np.diff(found) >= -tolerance - rounding).all()

"""Partial transport against linear programming, enumeration and its own certificate.

The bound that potentials give is checked entry by entry and re-derived here from the
linear program's own dual: multipliers of at most 0 for rows and columns, a free one for
the total mass.
"""

import math
from itertools import combinations, permutations

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.sparse import csr_array, kron, vstack

from skmot.transport import solve_partial_transport, solve_transport
from tests.transport.test_solver import adversarial_costs, spread_of

MASSES = [1e-12, 1e-3, 0.1, 1 / 3, 0.5, 0.617283945, 0.8, 5 / 6, 0.999, 1 - 1e-12]


def linear_program(costs, mass):
    """Return the optimum by HiGHS, for costs in [0, 1], a unit of mass.

    In units of the mass: P / mass sums to one, and rows to at most 1 / (n mass).
    """
    n, k = costs.shape
    sums = vstack(
        [
            kron(csr_array(np.eye(n)), np.ones((1, k))),
            kron(np.ones((1, n)), csr_array(np.eye(k))),
        ]
    )
    solution = linprog(
        costs.ravel(),
        A_ub=sums.tocsr(),
        b_ub=np.concatenate([np.full(n, 1 / n), np.full(k, 1 / k)]) / mass,
        A_eq=np.ones((1, n * k)),
        b_eq=[1.0],
        method="highs-ds",
        options={
            "dual_feasibility_tolerance": 1e-10,
            "primal_feasibility_tolerance": 1e-10,
        },
    )
    assert solution.status == 0
    return solution.fun


def best_matching(costs, size):
    """Return the least sum over all matchings of `size` rows to distinct columns."""
    n, k = costs.shape
    return min(
        sum(costs[i, j] for i, j in zip(rows, columns, strict=True))
        for rows in combinations(range(n), size)
        for columns in permutations(range(k), size)
    )


def check_plan(result, shape, mass):
    n, k = shape
    plan, flow = result.coupling.toarray(), result.flow.toarray()
    assert plan.shape == flow.shape == shape
    assert plan.min() >= 0
    assert plan.sum() == pytest.approx(mass, rel=1e-13)
    assert plan.sum(axis=1).max() <= 1 / n + 1e-12
    assert plan.sum(axis=0).max() <= 1 / k + 1e-12
    # Flow is the plan in whole numbers: of one total, of which rows have the same part.
    assert np.issubdtype(flow.dtype, np.integer)
    np.testing.assert_allclose(plan, flow * (mass / flow.sum()), rtol=1e-14)
    for matched, sums, n_units in zip(
        result.matched, (plan.sum(axis=1), plan.sum(axis=0)), shape, strict=True
    ):
        assert matched.shape == (n_units,)
        assert matched.min() >= 0
        assert matched.max() <= 1
        # A mass beyond three digits is rounded to 1e-15 of the whole, a unit 1/n.
        np.testing.assert_allclose(matched, sums * n_units, rtol=0, atol=1e-13)


def check_certificate(result, costs, mass, interrupted=False):
    costs = np.asarray(costs, dtype=np.float64)
    rounding = 1e-14 * max(spread_of(costs), np.abs(costs).max())
    if interrupted:
        # Artificial arcs leave potentials as large as the number of units.
        rounding *= 10 * max(costs.shape)
    u, v = result.potentials
    assert u.shape == costs.shape[:1]
    assert v.shape == costs.shape[1:]
    assert np.max(u[:, np.newaxis] + v - costs) <= rounding
    # The dual as linear programming has it.
    multiplier = u.max() + v.max()
    row_multipliers, column_multipliers = u - u.max(), v - v.max()
    assert row_multipliers.max() <= 0
    assert column_multipliers.max() <= 0
    bound = mass * multiplier + row_multipliers.mean() + column_multipliers.mean()
    assert result.duality_gap >= 0
    assert result.cost == pytest.approx(
        float((result.coupling.toarray() * costs).sum()), rel=0, abs=rounding
    )
    assert bound + result.duality_gap == pytest.approx(result.cost, rel=0, abs=rounding)


def check_optimal(result, costs, mass):
    check_plan(result, np.shape(costs), mass)
    check_certificate(result, costs, mass)
    assert result.converged
    assert result.duality_gap <= 1e-9 * spread_of(costs) * mass
    # A vertex: n + k conditions besides that of the total.
    assert result.coupling.nnz <= sum(np.shape(costs))


def test_small_problems_have_the_optimum_of_linear_programming():
    rng = np.random.default_rng(0)
    n_problems = 0
    for number in range(60):
        n, k = rng.integers(1, 11, 2)
        for costs in adversarial_costs(rng, n, k):
            mass = MASSES[(n_problems + number) % len(MASSES)]
            result = solve_partial_transport(costs, mass)
            check_optimal(result, costs, mass)
            assert result.cost / mass == pytest.approx(
                linear_program(costs, mass), rel=0, abs=1e-9
            )
            n_problems += 1
    assert n_problems == 600


def test_any_mass_has_the_optimum_of_linear_programming():
    rng = np.random.default_rng(1)
    costs = rng.random((13, 9))
    for mass in rng.random(60):
        result = solve_partial_transport(costs, mass)
        check_optimal(result, costs, mass)
        assert result.cost / mass == pytest.approx(
            linear_program(costs, mass), rel=0, abs=1e-9
        )


@pytest.mark.parametrize("n", range(1, 7))
def test_a_number_of_units_is_matched_by_the_best_matching_of_that_number(n):
    rng = np.random.default_rng(n)
    for costs in (
        rng.normal(size=(n, n)),
        rng.integers(0, 3, (n, n)).astype(float),
        rng.random((n, 1)) + rng.random((1, n)),
    ):
        for size in range(1, n + 1):
            result = solve_partial_transport(costs, size / n)
            assert result.cost * n == pytest.approx(
                best_matching(costs, size), rel=0, abs=1e-12
            )
            # A vertex of this problem matches whole units.
            flow = result.flow.toarray()
            assert set(np.unique(flow)) <= {0, 1}
            assert flow.sum() == size


def test_everything_is_balanced_transport():
    costs = np.random.default_rng(2).random((8, 12))
    partial, balanced = solve_partial_transport(costs, 1.0), solve_transport(costs)
    np.testing.assert_array_equal(partial.flow.toarray(), balanced.flow.toarray())
    assert partial.cost == balanced.cost
    for side in (0, 1):
        np.testing.assert_array_equal(
            partial.potentials[side], balanced.potentials[side]
        )
        np.testing.assert_array_equal(partial.matched[side], 1.0)


def test_almost_everything_costs_almost_what_everything_does():
    costs = np.random.default_rng(3).random((20, 14))
    whole = solve_transport(costs).cost
    for rest in (1e-4, 1e-8, 1e-12, 1e-15, 2**-53):
        result = solve_partial_transport(costs, 1 - rest)
        check_optimal(result, costs, 1 - rest)
        # Less by at most the multiplier times the rest.
        multiplier = sum(part.max() for part in result.potentials)
        assert whole - multiplier * rest <= result.cost + 1e-15
        assert result.cost <= whole + 1e-15


@pytest.mark.parametrize("mass", [1e-300, 1e-30, 1e-12, 1e-3])
def test_almost_nothing_goes_to_the_cheapest_pair(mass):
    costs = np.random.default_rng(4).random((20, 14))
    result = solve_partial_transport(costs, mass)
    plan = result.coupling.toarray()
    assert plan.argmax() == costs.argmin()
    assert plan.max() == pytest.approx(mass, rel=1e-14)
    assert result.cost == pytest.approx(mass * costs.min(), rel=1e-12)
    assert result.converged


@pytest.mark.parametrize("mass", [0.3, 0.617283945])
@pytest.mark.parametrize("factor", [1e-12, 1e-16, 1e-300, 1e12, 1e300])
@pytest.mark.parametrize("shape", [(30, 45), (12, 7), (1, 5)])
def test_scale_of_costs_only_scales_the_result(shape, factor, mass):
    costs = np.random.default_rng(5).random(shape)
    result = solve_partial_transport(costs * factor, mass)
    check_optimal(result, costs * factor, mass)
    assert result.cost / factor / mass == pytest.approx(
        linear_program(costs, mass), rel=0, abs=1e-9
    )


@pytest.mark.parametrize("offset", [1e9, -1e9, -1.0])
def test_an_offset_moves_the_cost_and_leaves_the_plan(offset):
    shifted = offset + np.random.default_rng(6).random((20, 30))
    costs = shifted - offset
    result = solve_partial_transport(shifted, 0.7)
    check_optimal(result, shifted, 0.7)
    found = float((result.coupling.toarray() * costs).sum())
    assert found / 0.7 == pytest.approx(linear_program(costs, 0.7), rel=0, abs=1e-9)


@pytest.mark.parametrize("value", [0.0, 3.5, -1e9, 1e-300])
@pytest.mark.parametrize("shape", [(1, 1), (6, 6), (6, 4), (5, 8)])
def test_equal_costs_give_that_cost(shape, value):
    costs = np.full(shape, value)
    result = solve_partial_transport(costs, 0.4)
    check_plan(result, shape, 0.4)
    assert result.cost == pytest.approx(0.4 * value, rel=1e-15)
    assert result.duality_gap == 0


def test_order_of_rows_and_columns_and_transposition_change_nothing():
    rng = np.random.default_rng(7)
    costs = rng.random((20, 14))
    p, q = rng.permutation(20), rng.permutation(14)
    for mass in (0.25, 0.71828):
        plain = solve_partial_transport(costs, mass)
        shuffled = solve_partial_transport(costs[p][:, q], mass)
        turned = solve_partial_transport(costs.T, mass)
        # Random costs have one optimal plan.
        np.testing.assert_allclose(
            shuffled.coupling.toarray(), plain.coupling.toarray()[p][:, q], atol=1e-14
        )
        np.testing.assert_allclose(
            turned.coupling.toarray(), plain.coupling.toarray().T, atol=1e-14
        )


def test_cost_is_convex_in_the_mass_and_units_once_matched_stay():
    costs = np.random.default_rng(8).random((15, 10))
    masses = np.arange(1, 31) / 30
    results = [solve_partial_transport(costs, mass) for mass in masses]
    slopes = np.diff([0.0] + [result.cost for result in results])
    assert np.all(np.diff(slopes) >= -1e-14)
    # Each step's multiplier is the slope that it starts or ends with.
    for result, before, after in zip(
        results[:-1], slopes[:-1], slopes[1:], strict=True
    ):
        multiplier = sum(part.max() for part in result.potentials) / 30
        assert before - 1e-14 <= multiplier <= after + 1e-14
    # Shortest augmenting paths never free a unit, and the optimum is unique here.
    for side in (0, 1):
        matched = np.array([result.matched[side] for result in results])
        assert np.all(np.diff(matched, axis=0) >= -1e-12)


def test_numbers_of_units_without_common_divisor_are_solved():
    rng = np.random.default_rng(9)
    costs = rng.random((211, 199))
    for mass in (0.5, 0.123456789, 1 - 1e-9):
        check_optimal(solve_partial_transport(costs, mass), costs, mass)


def test_ties_in_the_plan_are_exact():
    costs = np.ones((6, 4))
    costs[:3, :2] = 0.0
    result = solve_partial_transport(costs, 0.5)
    np.testing.assert_array_equal(result.matched[0], [1, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(result.matched[1], [1, 1, 0, 0])
    assert result.flow.sum() == math.lcm(6, 4) // 2


def test_float32_costs_are_solved_as_the_same_numbers_in_float64():
    costs = np.random.default_rng(10).random((40, 25)).astype(np.float32)
    result = solve_partial_transport(costs, 0.6)
    check_optimal(result, costs, 0.6)
    assert result.cost == pytest.approx(
        solve_partial_transport(costs.astype(np.float64), 0.6).cost, abs=1e-15
    )


@pytest.mark.parametrize("max_pivots", [1, 5, 20, 60])
@pytest.mark.parametrize("mass", [0.2, 0.876543])
def test_interrupted_solver_returns_a_plan_and_a_true_bound(mass, max_pivots):
    rng = np.random.default_rng(11)
    n_interrupted = 0
    for shape in [(30, 30), (24, 36), (41, 29)]:
        costs = 5 + 3 * rng.random(shape)
        optimum = solve_partial_transport(costs, mass).cost
        result = solve_partial_transport(costs, mass, max_pivots=max_pivots)
        check_plan(result, shape, mass)
        check_certificate(result, costs, mass, interrupted=True)
        assert -1e-12 <= result.cost - optimum <= result.duality_gap + 1e-12
        n_interrupted += not result.converged
    assert n_interrupted == 3


@pytest.mark.parametrize(
    ("shape", "max_pivots"), [((40, 37), 3), ((40, 37), 20), ((25, 11), 60)]
)
def test_an_interrupted_plan_of_almost_everything_matches_no_more_than_that(
    shape, max_pivots
):
    # Completed as it is, the flow would match more than it may.
    costs = np.random.default_rng(0).random(shape)
    result = solve_partial_transport(costs, 0.99, max_pivots=max_pivots)
    assert not result.converged
    check_plan(result, shape, 0.99)
    optimum = solve_partial_transport(costs, 0.99).cost
    assert 0 < result.cost - optimum <= result.duality_gap + 1e-12


@pytest.mark.parametrize("mass", [0.0, -0.5, 1.0001, np.nan, np.inf])
def test_masses_out_of_range_are_refused(mass):
    with pytest.raises(ValueError, match="more than 0 and at most 1"):
        solve_partial_transport(np.ones((2, 2)), mass)


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        (np.ones(3), "two-dimensional"),
        (np.array([[1.0, np.nan]]), "NaN or infinite"),
        (np.ones((2, 2)) * 1j, "must be real"),
        ([[-1.7e308, 1.7e308]], "spread"),
    ],
)
def test_bad_costs_are_refused_as_by_balanced_transport(costs, message):
    with pytest.raises(ValueError, match=message):
        solve_partial_transport(costs, 0.5)


def test_costs_are_left_as_they_are():
    costs = np.random.default_rng(12).random((5, 7))
    before = costs.copy()
    costs.setflags(write=False)
    solve_partial_transport(costs, 0.5)
    np.testing.assert_array_equal(costs, before)

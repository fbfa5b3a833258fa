"""The exact solver against linear programming, enumeration and its own certificate.

A plan with potentials that are feasible and attain its cost is optimal whoever found
it: the certificate is checked entry by entry here, not taken from the solver.
"""

import math
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment, linprog
from scipy.sparse import csr_array, issparse

from skmot.transport import solve_transport
from tests import reference
from tests.libraries import home_at

SIZES = [(1, 1), (1, 7), (7, 1), (2, 2), (5, 5), (4, 6), (9, 8), (60, 91), (64, 64)]


def linear_program(costs):
    """Return the optimum of T(n, k) by HiGHS, for costs in [0, 1]."""
    n, k = costs.shape
    rows = np.kron(np.eye(n), np.ones(k))
    columns = np.kron(np.ones(n), np.eye(k))
    solution = linprog(
        costs.ravel(),
        # The last condition follows from the others.
        A_eq=csr_array(np.vstack([rows, columns])[:-1]),
        b_eq=np.concatenate([np.full(n, 1 / n), np.full(k, 1 / k)])[:-1],
        method="highs-ds",
        # Reduced costs of at most -1e-10 and a mass of 1 leave an error below 1e-9.
        options={
            "dual_feasibility_tolerance": 1e-10,
            "primal_feasibility_tolerance": 1e-10,
        },
    )
    assert solution.status == 0
    return solution.fun


def best_permutation(costs):
    n = len(costs)
    return min(
        sum(costs[i, order[i]] for i in range(n)) / n
        for order in permutations(range(n))
    )


def spread_of(costs):
    return float(np.max(costs)) - float(np.min(costs))


def check_coupling(result, shape):
    """Assert that plan and flow are couplings, and the same one."""
    n, k = shape
    divisor = math.gcd(n, k)
    assert issparse(result.coupling)
    assert issparse(result.flow)
    flow, plan = result.flow.toarray(), result.coupling.toarray()
    assert np.issubdtype(flow.dtype, np.integer)
    assert flow.shape == plan.shape == shape
    assert flow.min() >= 0
    np.testing.assert_array_equal(flow.sum(axis=1), k // divisor)
    np.testing.assert_array_equal(flow.sum(axis=0), n // divisor)
    np.testing.assert_allclose(plan.sum(axis=1), 1 / n, rtol=0, atol=1e-12)
    np.testing.assert_allclose(plan.sum(axis=0), 1 / k, rtol=0, atol=1e-12)
    np.testing.assert_allclose(plan, flow / math.lcm(n, k), rtol=1e-15)


def check_certificate(result, costs, interrupted=False):
    """Assert that the numbers of a result agree with each other and with the costs."""
    costs = np.asarray(costs, dtype=np.float64)
    spread = spread_of(costs)
    # What a sum of numbers as large as the largest cost rounds to.
    rounding = 1e-14 * max(spread, np.abs(costs).max())
    if interrupted:
        # The artificial arcs of an interrupted simplex leave potentials as large as
        # the number of units times the spread.
        rounding *= max(costs.shape)
    u, v = result.potentials
    assert u.shape == costs.shape[:1]
    assert v.shape == costs.shape[1:]
    assert result.cost == pytest.approx(
        float((result.coupling.toarray() * costs).sum()), rel=0, abs=rounding
    )
    assert np.max(u[:, np.newaxis] + v - costs) <= rounding
    bound = u.mean() + v.mean()
    assert bound + result.duality_gap == pytest.approx(result.cost, rel=0, abs=rounding)
    assert result.duality_gap >= 0


def check_optimal(result, costs):
    check_coupling(result, np.shape(costs))
    check_certificate(result, costs)
    assert result.converged
    assert result.duality_gap <= 1e-9 * spread_of(costs)
    assert result.coupling.nnz <= sum(np.shape(costs)) - 1


def adversarial_costs(rng, n, k):
    """Yield costs in [0, 1] that are hard for a simplex: ties, clusters, extremes."""
    yield rng.random((n, k))
    yield rng.integers(0, 2, (n, k)).astype(float)
    yield rng.integers(0, 4, (n, k)) / 3
    yield np.full((n, k), 0.5)
    yield np.minimum(np.exp(rng.normal(-9, 9, (n, k))), 1.0)
    yield np.abs(np.subtract.outer(rng.random(n), rng.random(k)))
    yield np.tile(rng.random((1, k)), (n, 1))
    yield rng.random((n, 1)) * rng.random((1, k))
    few = rng.random((2, 2))
    yield few[rng.integers(0, 2, n)][:, rng.integers(0, 2, k)]
    one_large = 1e-6 * rng.random((n, k))
    one_large[rng.integers(n), rng.integers(k)] = 1.0
    yield one_large


def test_small_problems_have_the_optimum_of_linear_programming():
    rng = np.random.default_rng(0)
    n_problems = 0
    for _ in range(200):
        n, k = rng.integers(1, 13, 2)
        for costs in adversarial_costs(rng, n, k):
            result = solve_transport(costs)
            check_optimal(result, costs)
            assert result.cost == pytest.approx(
                linear_program(costs), rel=0, abs=1e-9 * max(spread_of(costs), 1e-6)
            )
            n_problems += 1
    assert n_problems == 2000


@pytest.mark.parametrize("n", range(1, 7))
def test_square_problems_are_solved_by_the_best_permutation(n):
    rng = np.random.default_rng(n)
    for _ in range(5):
        for costs in (
            rng.normal(size=(n, n)),
            rng.integers(0, 3, (n, n)).astype(float),
        ):
            cost = solve_transport(costs).cost
            assert cost == pytest.approx(best_permutation(costs), rel=0, abs=1e-12)


@pytest.mark.parametrize("n", [99, 100, 128, 158])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_small_squares_have_the_optimum_and_a_proof_however_hard(n, dtype):
    rng = np.random.default_rng(n)
    for costs in adversarial_costs(rng, n, n):
        costs = costs.astype(dtype)
        result = solve_transport(costs)
        check_optimal(result, costs)
        in_float64 = costs.astype(np.float64)
        optimum = in_float64[linear_sum_assignment(in_float64)].mean()
        assert result.cost == pytest.approx(
            optimum, rel=0, abs=1e-12 * max(spread_of(costs), 1e-6)
        )


@pytest.mark.parametrize("shape", SIZES)
def test_cost_is_the_optimum_on_equal_and_unequal_sizes(shape):
    costs = 1.0 - np.random.default_rng(1).uniform(-1, 1, shape)
    result = solve_transport(costs)
    check_optimal(result, costs)
    _, optimum = reference.transport(costs)
    assert result.cost == pytest.approx(optimum, rel=0, abs=1e-9 * spread_of(costs))


def test_larger_problem_has_the_optimum_of_linear_programming():
    costs = np.random.default_rng(2).random((60, 91))
    assert solve_transport(costs).cost == pytest.approx(
        linear_program(costs), rel=0, abs=1e-9 * spread_of(costs)
    )


def test_points_on_a_line_are_matched_in_order():
    # The closed form in one dimension: the integral over q of the distance between
    # the q-quantiles; with 4 and 6 points the quantiles step at multiples of 1/12.
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=4), rng.normal(size=6)
    expected = np.mean(np.abs(np.repeat(np.sort(x), 3) - np.repeat(np.sort(y), 2)))
    cost = solve_transport(np.abs(x[:, np.newaxis] - y)).cost
    assert cost == pytest.approx(expected, abs=1e-14)


def test_integer_costs_give_the_exact_fraction():
    # Six rows of mass 1/6 over four columns of 1/4; costs |3i - 5j| mod 7.
    costs = np.abs(3 * np.arange(6)[:, np.newaxis] - 5 * np.arange(4)) % 7
    result = solve_transport(costs)
    total = Fraction(int((result.flow.toarray() * costs).sum()), 12)
    assert result.cost == pytest.approx(float(total), abs=1e-15)
    # Units repeated to the least common multiple make it a square assignment.
    square = np.repeat(np.repeat(costs, 2, axis=0), 3, axis=1)
    assert linear_program(square / 6) * 6 == pytest.approx(float(total), abs=1e-9)


@pytest.mark.parametrize("factor", [1e-12, 1e-16, 1e-200, 1e-300, 1e12, 1e200, 1e300])
@pytest.mark.parametrize("shape", [(60, 90), (12, 7), (1, 5)])
def test_scale_of_costs_only_scales_the_result(shape, factor):
    costs = np.random.default_rng(4).random(shape)
    _, optimum = reference.transport(costs)
    result = solve_transport(costs * factor)
    check_optimal(result, costs * factor)
    assert result.cost / factor == pytest.approx(optimum, rel=0, abs=1e-9)


@pytest.mark.parametrize("offset", [1e9, -1e9])
def test_large_offset_leaves_the_plan_optimal(offset):
    shifted = offset + np.random.default_rng(5).random((60, 90))
    # What is left of the costs after rounding; the difference is exact.
    costs = shifted - offset
    _, optimum = reference.transport(costs)
    result = solve_transport(shifted)
    check_optimal(result, shifted)
    found = float((result.coupling.toarray() * costs).sum())
    assert found == pytest.approx(optimum, rel=0, abs=1e-9)
    # A number near 1e9 is known to 1e-7.
    assert result.cost - offset == pytest.approx(optimum, rel=0, abs=3e-7)


def test_small_differences_on_large_and_small_costs_at_once_are_resolved():
    # Two blocks that do not interact, one with costs 1e-6 of the other's.
    rng = np.random.default_rng(6)
    costs = np.ones((8, 8))
    costs[:4, :4] = 0.5 * rng.random((4, 4))
    costs[4:, 4:] = 1e-6 * rng.random((4, 4))
    plan = solve_transport(costs).coupling.toarray() * 8
    small = float((plan[4:, 4:] * costs[4:, 4:]).sum()) / 4
    assert plan[:4, 4:].sum() == 0
    assert small == pytest.approx(best_permutation(costs[4:, 4:]), rel=1e-6)


@pytest.mark.parametrize("value", [0.0, 3.5, -1e9, 1e-300, 1e300])
@pytest.mark.parametrize("shape", [(1, 1), (6, 6), (6, 4), (5, 8)])
def test_equal_costs_give_that_cost(shape, value):
    costs = np.full(shape, value)
    result = solve_transport(costs)
    check_optimal(result, costs)
    assert result.cost == value
    assert result.duality_gap == 0


def test_integer_costs_with_many_ties_are_solved():
    rng = np.random.default_rng(7)
    for shape in [(40, 40), (24, 36), (31, 20)]:
        costs = rng.integers(0, 3, shape)
        result = solve_transport(costs)
        check_optimal(result, costs)
        assert result.cost == pytest.approx(
            2 * linear_program(costs / 2), rel=0, abs=2e-9
        )


def test_repeated_rows_and_columns_change_nothing():
    costs = np.random.default_rng(8).random((9, 6))
    cost = solve_transport(costs).cost
    for repeated in (
        np.repeat(costs, 3, axis=0),
        np.repeat(costs, 4, axis=1),
        np.tile(costs, (2, 5)),
    ):
        result = solve_transport(repeated)
        check_optimal(result, repeated)
        assert result.cost == pytest.approx(cost, rel=0, abs=1e-13)


def test_order_of_rows_and_columns_and_transposition_change_nothing():
    rng = np.random.default_rng(9)
    costs = rng.random((20, 14))
    cost = solve_transport(costs).cost
    shuffled = costs[rng.permutation(20)][:, rng.permutation(14)]
    assert solve_transport(shuffled).cost == pytest.approx(cost, rel=0, abs=1e-13)
    assert solve_transport(costs.T).cost == pytest.approx(cost, rel=0, abs=1e-13)


def test_a_number_for_each_row_and_column_moves_the_cost_by_their_means():
    rng = np.random.default_rng(10)
    costs, r, c = rng.random((15, 10)), rng.normal(size=15), rng.normal(size=10)
    moved = solve_transport(costs + r[:, np.newaxis] + c).cost
    expected = solve_transport(costs).cost + r.mean() + c.mean()
    assert moved == pytest.approx(expected, rel=0, abs=1e-12)


@pytest.mark.parametrize("shape", [(1, 7), (7, 1), (1, 1)])
def test_one_unit_takes_everything(shape):
    costs = np.random.default_rng(11).normal(size=shape)
    result = solve_transport(costs)
    check_optimal(result, costs)
    np.testing.assert_array_equal(result.flow.toarray(), 1)
    assert result.cost == pytest.approx(costs.mean(), abs=1e-15)


def test_float32_costs_are_solved_as_the_same_numbers_in_float64():
    costs = np.random.default_rng(12).random((40, 25)).astype(np.float32)
    result = solve_transport(costs)
    check_optimal(result, costs)
    _, optimum = reference.transport(costs.astype(np.float64))
    assert result.cost == pytest.approx(optimum, rel=0, abs=1e-9)


def test_float32_costs_near_one_another_are_resolved():
    # Correlations near .99999: differences of a few float32 steps decide the plan.
    steps = np.random.default_rng(13).integers(0, 40, (30, 45))
    costs = (np.float32(0.99999) + steps * np.float32(2**-24)).astype(np.float32)
    _, optimum = reference.transport(costs.astype(np.float64))
    result = solve_transport(costs)
    check_optimal(result, costs)
    exact = float((result.coupling.toarray() * costs.astype(np.float64)).sum())
    assert exact == pytest.approx(optimum, rel=0, abs=1e-9 * spread_of(costs))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32, bool])
@pytest.mark.parametrize("order", ["C", "F"])
def test_costs_of_any_kind_and_order_are_read_and_left_as_they_are(dtype, order):
    costs = np.asarray(
        np.random.default_rng(14).integers(0, 2, (10, 15)), dtype=dtype, order=order
    )
    before = costs.copy()
    costs.setflags(write=False)
    result = solve_transport(costs)
    check_optimal(result, costs)
    np.testing.assert_array_equal(costs, before)
    strided = np.repeat(before, 2, axis=0)[::-2]
    assert solve_transport(strided).cost == pytest.approx(result.cost, abs=1e-15)


def test_costs_may_be_a_nested_list():
    assert solve_transport([[0, 1], [1, 0]]).cost == 0


# Small squares are assignments, which take no pivots.
@pytest.mark.parametrize("max_pivots", [1, 2, 10, 50])
@pytest.mark.parametrize("shape", [(30, 31), (24, 36), (41, 29)])
def test_interrupted_solver_returns_a_coupling_and_a_true_bound(shape, max_pivots):
    costs = 5 + 3 * np.random.default_rng(15).random(shape)
    _, optimum = reference.transport(costs)
    result = solve_transport(costs, max_pivots=max_pivots)
    check_coupling(result, shape)
    check_certificate(result, costs, interrupted=True)
    assert not result.converged
    assert result.duality_gap > 1e-9 * spread_of(costs)
    assert result.cost >= optimum - 1e-12
    assert result.cost - result.duality_gap <= optimum + 1e-12


def test_bound_of_an_interrupted_solver_holds_on_adversarial_costs():
    rng = np.random.default_rng(16)
    n_interrupted = 0
    for _ in range(60):
        shape = tuple(rng.integers(2, 13, 2))
        for costs in adversarial_costs(rng, *shape):
            result = solve_transport(costs, max_pivots=int(rng.integers(1, 15)))
            check_coupling(result, shape)
            check_certificate(result, costs, interrupted=True)
            _, optimum = reference.transport(costs)
            excess = result.cost - optimum
            assert -1e-12 <= excess <= result.duality_gap + 1e-12
            assert result.converged == (
                result.duality_gap <= 1e-9 * max(spread_of(costs), 1e-300)
            )
            n_interrupted += not result.converged
    assert n_interrupted > 100


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_costs_that_are_not_finite_are_refused(bad, dtype):
    costs = np.ones((4, 5), dtype=dtype)
    costs[2, 3] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        solve_transport(costs)


@pytest.mark.parametrize(
    "costs", [np.ones(3), np.ones((0, 3)), np.ones((2, 2, 2)), 1.0]
)
def test_costs_of_a_wrong_shape_are_refused(costs):
    with pytest.raises(ValueError, match="two-dimensional and not empty"):
        solve_transport(costs)


def test_complex_costs_are_refused():
    with pytest.raises(ValueError, match="must be real"):
        solve_transport(np.ones((2, 2)) * 1j)


def test_a_spread_beyond_float64_is_refused():
    with pytest.raises(ValueError, match="spread"):
        solve_transport([[-1.7e308, 0.0], [0.0, 1.7e308]])


def test_costs_in_blocks_of_rows_have_the_plan_of_those_in_one_block():
    # Blocks have 250,000 entries, those of other libraries than numpy far more.
    costs = np.random.default_rng(17).random((900, 600))
    in_blocks = solve_transport(costs)
    check_optimal(in_blocks, costs)
    whole = solve_transport(home_at("array_api_strict").asarray(costs))
    assert (in_blocks.flow != whole.flow).nnz == 0
    for one, other in zip(whole.potentials, in_blocks.potentials, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("costs", "match"),
    [
        (np.ma.masked_array([[1.0, 2.0], [3.0, 4.0]], [[1, 0], [0, 0]]), "masked"),
        ([["1", "2"], ["3", "4"]], "must be numbers"),
        (np.array([[1, 2], [3, 4]], "M8[Y]"), "must be numbers"),
        (np.array([[1, 2], [3, 4]], "m8[s]"), "must be numbers"),
        (np.array([[b"1", b"2"], [b"3", b"4"]]), "must be numbers"),
    ],
    ids=["masked", "digit strings", "dates", "durations", "bytes"],
)
def test_costs_that_are_not_numbers_are_refused(costs, match):
    with pytest.raises(ValueError, match=match):
        solve_transport(costs)


@pytest.mark.parametrize("max_pivots", [0, -1, 2.5, None])
def test_a_number_of_pivots_that_is_none_is_refused(max_pivots):
    with pytest.raises(ValueError, match=r"`max_pivots` must be a whole number of at"):
        solve_transport(np.eye(3), max_pivots=max_pivots)


@pytest.mark.parametrize(
    ("potentials", "message"),
    [
        (np.zeros((2, 3)), "a tuple of two arrays, .* got ndarray"),
        ((np.zeros(3),), "a tuple of two arrays, .* got tuple"),
        (
            (np.zeros(5), np.zeros(3)),
            r"shapes \(3,\) and \(5,\), .* \(\(5,\), \(3,\)\)",
        ),
        ((np.zeros(3), np.full(5, np.nan)), "must be finite"),
    ],
)
def test_potentials_that_do_not_fit_are_refused(potentials, message):
    with pytest.raises(ValueError, match=message):
        solve_transport(np.ones((3, 5)), potentials=potentials)


@pytest.mark.parametrize("shape", [(4, 6), (5, 5), (1, 7)])
def test_what_is_done_to_a_plan_leaves_its_flow(shape):
    result = solve_transport(np.random.default_rng(0).random(shape))
    before = result.flow.toarray()
    result.coupling.data[0] = 0
    result.coupling.eliminate_zeros()
    np.testing.assert_array_equal(result.flow.toarray(), before)


def test_float32_costs_whose_squares_overflow_have_their_optimum():
    # More entries than are solved at once, so that potentials are approximated first.
    costs = np.random.default_rng(0).random((170, 160))
    large = (costs * 1e25).astype(np.float32)
    result = solve_transport(large)
    expected = reference.transport(large.astype(np.float64) / 1e25)[1]
    assert result.converged
    assert result.cost / 1e25 == pytest.approx(expected, abs=1e-9)

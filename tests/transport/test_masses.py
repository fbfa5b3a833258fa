"""Transport between weighted rows and columns, against linear programs and `ot.emd`."""

import math
from fractions import Fraction

import numpy as np
import ot
import pytest
from scipy.optimize import linprog
from scipy.sparse import csr_array

from skmot.transport import solve_partial_transport, solve_transport

RESOLUTION = 2**40
SIZES = [(1, 1), (1, 7), (7, 1), (2, 2), (5, 5), (4, 6), (9, 8), (30, 43)]


def linear_program(costs, rows, columns, mass=None):
    """Return the least cost of a plan with these sums, or at most these, by HiGHS."""
    n, k = costs.shape
    sums = np.vstack([np.kron(np.eye(n), np.ones(k)), np.kron(np.ones(n), np.eye(k))])
    limits = np.concatenate([rows, columns]).astype(float)
    # The last equation follows from the others.
    constraints = {"A_eq": csr_array(sums[:-1]), "b_eq": limits[:-1]}
    if mass is not None:
        constraints = {
            "A_ub": csr_array(sums),
            "b_ub": limits,
            "A_eq": np.ones((1, n * k)),
            "b_eq": [mass],
        }
    tolerances = {
        "dual_feasibility_tolerance": 1e-10,
        "primal_feasibility_tolerance": 1e-10,
    }
    found = linprog(costs.ravel(), **constraints, method="highs-ds", options=tolerances)
    assert found.status == 0
    return found.fun


def weights_of_kind(kind, n, rng):
    return {
        "uneven": lambda: rng.random(n) ** 4 + 1e-3,
        "whole": lambda: rng.integers(1, 6, n).astype(float),
        "equal": lambda: np.full(n, 0.3),
        "wide": lambda: 10.0 ** rng.integers(-200, 200, n),
    }[kind]()


def exact_shares(weights):
    exact = [Fraction(weight) for weight in weights]
    return [weight / sum(exact) for weight in exact]


@pytest.mark.parametrize(
    "kinds",
    [
        ("uneven", "uneven"),
        ("uneven", "whole"),
        ("whole", "whole"),
        ("whole", None),
        (None, "uneven"),
        ("equal", "wide"),
    ],
)
@pytest.mark.parametrize(("n", "k"), SIZES)
def test_plans_are_optimal_for_masses_within_the_stated_resolution(n, k, kinds):
    rng = np.random.default_rng(n * k)
    costs = rng.random((n, k))
    given = [
        None if kind is None else weights_of_kind(kind, length, rng)
        for kind, length in zip(kinds, (n, k), strict=True)
    ]
    result = solve_transport(costs, row_weights=given[0], column_weights=given[1])
    masses = [result.flow.sum(axis=axis) for axis in (1, 0)]
    total = int(masses[0].sum())
    assert total == masses[1].sum() <= RESOLUTION
    for mass, weights, length, kind, found in zip(
        masses, given, (n, k), kinds, result.masses, strict=True
    ):
        wanted = exact_shares(np.ones(length) if weights is None else weights)
        if kind in (None, "whole", "equal") or length == 1:
            assert [Fraction(int(m), total) for m in mass] == wanted
        else:
            assert total > RESOLUTION / 2
            assert mass.min() >= 1
            excess = [int(m) - w * total for m, w in zip(mass, wanted, strict=True)]
            # Shares that are below the resolution are rounded up, at the expense of the
            # largest.
            assert max(excess) <= 1
            assert min(excess) > -length
        np.testing.assert_allclose(found, mass / total, rtol=1e-15)
    # By its masses as exact fractions.
    rows, columns = ([Fraction(int(m), total) for m in mass] for mass in masses)
    assert result.cost == pytest.approx(linear_program(costs, rows, columns), abs=1e-9)
    reference = ot.emd(masses[0].astype(float), masses[1].astype(float), costs)
    assert result.cost == pytest.approx(np.sum(reference * costs) / total, abs=1e-9)
    # The certificate, entry by entry.
    u, v = result.potentials
    assert np.all(u[:, np.newaxis] + v <= costs + 1e-12)
    bound = result.masses[0] @ u + result.masses[1] @ v
    assert result.cost - bound <= 1e-9
    assert result.duality_gap <= 1e-9
    assert result.converged
    assert result.coupling.nnz <= n + k - 1
    np.testing.assert_allclose(result.coupling.sum(), 1, rtol=1e-14)


@pytest.mark.parametrize("mass", [0.7, 1 / 3, 0.123456789])
@pytest.mark.parametrize("kind", ["uneven", "whole"])
@pytest.mark.parametrize(("n", "k"), [(2, 2), (5, 5), (4, 6), (25, 31)])
def test_partial_plans_are_optimal_for_weights(n, k, kind, mass):
    rng = np.random.default_rng(n * k)
    costs = rng.random((n, k))
    weights = [weights_of_kind(kind, length, rng) for length in (n, k)]
    result = solve_partial_transport(
        costs, mass, row_weights=weights[0], column_weights=weights[1]
    )
    limits = [side / side.sum() for side in weights]
    expected = linear_program(costs, *limits, mass)
    assert result.cost == pytest.approx(expected, abs=1e-9)
    assert result.coupling.sum() == pytest.approx(mass, rel=1e-12)
    for axis, limit, matched in zip((1, 0), limits, result.matched, strict=True):
        sums = result.coupling.sum(axis=axis)
        assert np.all(sums <= limit + 1e-12)
        np.testing.assert_allclose(matched, sums / limit, rtol=1e-6, atol=1e-9)
        assert matched.max() <= 1
    u, v = result.potentials
    assert np.all(u[:, np.newaxis] + v <= costs + 1e-12)
    bound = limits[0] @ u + limits[1] @ v - (1 - mass) * (u.max() + v.max())
    assert result.cost == pytest.approx(bound, abs=1e-9)
    assert result.converged


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("spread", [0.0, 3.0, 8.0])
def test_problems_that_use_few_arcs_are_solved_exactly(spread, dtype):
    rng = np.random.default_rng(0)
    # Products of curves, which have many nearly optimal plans.
    curves = [rng.normal(size=(20, n)) for n in (310, 260)]
    costs = (-curves[0].T @ curves[1]).astype(dtype)
    weights = [np.exp(spread * rng.normal(size=n)) for n in costs.shape]
    result = solve_transport(costs, row_weights=weights[0], column_weights=weights[1])
    masses = [result.flow.sum(axis=axis).astype(float) for axis in (1, 0)]
    costs = costs.astype(float)
    scaled = (costs - costs.min()) / np.ptp(costs)
    reference = ot.emd(*masses, scaled, numItermax=10**8) / masses[0].sum()
    assert result.converged
    assert result.cost == pytest.approx(
        np.sum(reference * costs), abs=1e-9 * np.ptp(costs)
    )


def test_weights_that_are_equal_change_nothing():
    costs = np.random.default_rng(0).random((40, 30))
    plain = solve_transport(costs)
    for weights in (np.ones(40), np.full(40, 0.1), np.full(40, 1e300)):
        found = solve_transport(costs, row_weights=weights)
        np.testing.assert_array_equal(found.flow.toarray(), plain.flow.toarray())
        assert found.cost == plain.cost
    partial = [
        solve_partial_transport(costs, 0.6, row_weights=weights)
        for weights in (None, np.full(40, 7.0))
    ]
    assert partial[0].cost == partial[1].cost


def test_partial_plans_of_the_whole_mass_have_the_weights_of_both_sides():
    rng = np.random.default_rng(1)
    costs = rng.random((6, 5))
    rows, columns = rng.integers(1, 5, 6), rng.integers(1, 5, 5)
    found = solve_partial_transport(
        costs, 1.0, row_weights=rows, column_weights=columns
    )
    shares = [side / side.sum() for side in (rows, columns)]
    for axis, share in zip((1, 0), shares, strict=True):
        np.testing.assert_allclose(found.coupling.sum(axis=axis), share, rtol=1e-12)
    assert found.cost == pytest.approx(linear_program(costs, *shares), abs=1e-9)


def test_of_equal_weights_the_first_are_rounded_up():
    # Masses must not depend on how a machine sorts ties.
    weights = np.tile([np.pi, np.e], 60)
    costs = np.random.default_rng(0).random((120, 3))
    masses = solve_transport(costs, row_weights=weights).flow.sum(axis=1)
    for equal in (masses[::2], masses[1::2]):
        assert np.all(np.diff(equal) <= 0)
        assert np.ptp(equal) <= 1
    # Some are rounded up and some down, or nothing was tested.
    assert np.ptp(masses[::2]) + np.ptp(masses[1::2]) > 0


def test_a_whole_number_counts_its_row_so_many_times():
    rng = np.random.default_rng(0)
    costs = rng.random((6, 5))
    counts = [rng.integers(1, 5, n) for n in costs.shape]
    found = solve_transport(costs, row_weights=counts[0], column_weights=counts[1])
    copies = np.repeat(np.repeat(costs, counts[0], axis=0), counts[1], axis=1)
    assert found.cost == pytest.approx(solve_transport(copies).cost, abs=1e-12)
    # Neither the unit of the weights nor a common factor matters.
    for factor in (0.1, 6, 1e-200):
        again = solve_transport(
            costs, row_weights=factor * counts[0], column_weights=counts[1]
        )
        np.testing.assert_array_equal(again.flow.toarray(), found.flow.toarray())
    assert found.flow.sum() == math.lcm(*(int(side.sum()) for side in counts))


def test_an_interrupted_plan_has_the_masses_and_a_bound():
    rng = np.random.default_rng(0)
    costs, weights = rng.random((60, 50)), rng.random(60) + 0.01
    optimum = solve_transport(costs, row_weights=weights)
    found = solve_transport(costs, row_weights=weights, max_pivots=3)
    assert not found.converged
    assert optimum.cost < found.cost <= optimum.cost + found.duality_gap + 1e-12
    np.testing.assert_array_equal(found.flow.sum(axis=1), optimum.flow.sum(axis=1))
    np.testing.assert_array_equal(found.flow.sum(axis=0), optimum.flow.sum(axis=0))


@pytest.mark.parametrize("solve", [solve_transport, solve_partial_transport])
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, 2.0], r"must have shape \(3,\), like the costs; got shape \(2,\)"),
        ([1.0, 0.0, 2.0], "must be positive and finite"),
        ([1.0, -1.0, 2.0], "must be positive and finite"),
        ([1.0, np.nan, 2.0], "must be positive and finite"),
        ([1.0, np.inf, 2.0], "must be positive and finite"),
    ],
)
def test_bad_weights_are_refused_by_name(solve, weights, message):
    arguments = () if solve is solve_transport else (0.5,)
    with pytest.raises(ValueError, match=f"`row_weights` {message}"):
        solve(np.ones((3, 2)), *arguments, row_weights=weights)
    with pytest.raises(ValueError, match=f"`column_weights` {message}"):
        solve(np.ones((2, 3)), *arguments, column_weights=weights)

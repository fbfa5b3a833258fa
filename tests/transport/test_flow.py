"""Chosen arcs and pricing: the same optimum as with all arcs, whatever was chosen.

Small problems go to the simplex as they are, and so do costs with many ties. Thousands
of adversarial problems can be solved on chosen arcs only where the bounds that decide
so are lowered, and a faulty simplex must be put in its place: hence the internal
imports. Results are compared with POT on all arcs of the same numbers in float64.
"""

import numpy as np
import ot
import pytest

from skmot.transport import _flow, _simplex, solve_partial_transport, solve_transport
from tests import reference
from tests.libraries import HOMES, home_at, record_host_copies
from tests.transport.test_solver import (
    adversarial_costs,
    check_certificate,
    check_coupling,
    check_optimal,
    spread_of,
)


@pytest.fixture
def chosen_arcs_only(monkeypatch):
    """Let nothing but chosen arcs be used, however few or alike they are."""
    monkeypatch.setattr(_flow, "_FEW_ARCS", 0)
    monkeypatch.setattr(_flow, "_FEWEST_DISTINCT", 0.0)
    monkeypatch.setattr(_flow, "_LARGEST_SHARE", 1.0)
    monkeypatch.setattr(_flow, "_MOST_ROUNDS", 10_000)
    monkeypatch.setattr(_flow, "solve_on_all", None)
    monkeypatch.setattr(_flow, "solve_assignment", None)


def correlations(rng, n, k, n_stimuli=200, noise=1.0):
    """Return float32 costs as the estimators make them, minus correlations."""
    latent = rng.normal(size=(n_stimuli, 20))
    sides = []
    for n_units in (n, k):
        units = latent @ rng.normal(size=(20, n_units))
        units += noise * rng.normal(size=units.shape)
        units -= units.mean(axis=0)
        sides.append((units / np.linalg.norm(units, axis=0)).astype(np.float32))
    return -(sides[0].T @ sides[1])


def optimum_of(costs):
    return reference.transport(np.asarray(costs, dtype=np.float64))[1]


def check_same_optimum(costs, **kwargs):
    result = solve_transport(costs, **kwargs)
    check_optimal(result, costs)
    assert result.cost == pytest.approx(
        optimum_of(costs), rel=0, abs=1e-9 * max(spread_of(costs), 1e-6)
    )
    return result


@pytest.mark.usefixtures("chosen_arcs_only")
@pytest.mark.parametrize("arcs_a_unit", [1, 3, 10])
def test_thousands_of_adversarial_problems_have_the_optimum_over_all_arcs(
    monkeypatch, arcs_a_unit
):
    monkeypatch.setattr(_flow, "_ARCS_A_UNIT", arcs_a_unit)
    rng = np.random.default_rng(0)
    n_problems = 0
    for dtype in (np.float32, np.float64):
        for _ in range(60):
            n, k = rng.integers(2, 30, 2)
            for costs in adversarial_costs(rng, n, k):
                check_same_optimum(costs.astype(dtype))
                n_problems += 1
    assert n_problems == 1200


@pytest.mark.usefixtures("chosen_arcs_only")
@pytest.mark.parametrize("shape", [(300, 200), (150, 400), (250, 250), (257, 193)])
def test_correlations_have_the_optimum_over_all_arcs(shape):
    rng = np.random.default_rng(1)
    for noise in (0.0, 1.0, 30.0):
        check_same_optimum(correlations(rng, *shape, noise=noise))


@pytest.mark.parametrize("shape", [(300, 200), (250, 250)])
def test_larger_problems_are_solved_with_few_of_their_arcs(monkeypatch, shape):
    solved = []

    def count(arcs, *rest):
        solved.append(len(arcs))
        return _simplex.solve_on_arcs(arcs, *rest)

    monkeypatch.setattr(_flow, "solve_on_arcs", count)
    monkeypatch.setattr(_flow, "solve_on_all", None)
    check_same_optimum(correlations(np.random.default_rng(2), *shape))
    assert 0 < max(solved) < 0.25 * np.prod(shape)


@pytest.mark.parametrize("repeats", [(1, 4), (4, 4), (60, 1), (20, 10)])
@pytest.mark.parametrize("noise", [0.0, 1e-7, 1e-3])
def test_repeated_units_are_solved(repeats, noise):
    rng = np.random.default_rng(3)
    shape = 240 // repeats[0], 180 // repeats[1]
    costs = correlations(rng, *shape)
    for axis in (0, 1):
        costs = np.repeat(costs, repeats[axis], axis=axis)
    check_same_optimum((costs + noise * rng.normal(size=costs.shape)).astype("f4"))


@pytest.mark.parametrize(
    "make",
    [
        lambda rng, n, k: rng.integers(0, 3, (n, k)),
        lambda rng, n, k: rng.integers(0, 100, (n, k)),
        lambda rng, n, k: np.abs(np.subtract.outer(rng.random(n), rng.random(k))),
        lambda rng, n, k: rng.random((n, 1)) * rng.random((1, k)),
        lambda rng, n, k: np.minimum(np.exp(rng.normal(-9, 9, (n, k))), 1),
        lambda rng, n, k: np.tile(rng.random((1, k)), (n, 1)),
        lambda rng, n, k: rng.standard_cauchy((n, k)),
        lambda rng, n, k: (rng.random((n, k)) > 0.001) + 1e-3 * rng.random((n, k)),
        lambda rng, n, k: 1e7 + rng.random((n, k)),
        lambda rng, n, k: np.where(np.eye(n, k), 1e30, 1e24 * rng.random((n, k))),
        lambda rng, n, k: 1e-38 * rng.random((n, k)),
        lambda rng, n, k: np.outer(10.0 ** -np.arange(n).clip(0, 30), rng.random(k)),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_hard_costs_beyond_the_bounds_for_small_problems(make, dtype):
    costs = make(np.random.default_rng(4), 220, 170).astype(dtype)
    scale = float(np.max(np.abs(costs.astype(np.float64))))
    result = solve_transport(costs)
    check_coupling(result, costs.shape)
    check_certificate(result, costs)
    assert result.converged
    assert result.cost / scale == pytest.approx(
        optimum_of(costs.astype(np.float64) / scale), rel=0, abs=1e-9
    )


# -- costs that are too large for copies --------------------------------------------


@pytest.mark.parametrize("shape", [(300, 200), (150, 400), (250, 250)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sinkhorn_kernel_that_is_not_kept_chooses_the_same_arcs(
    monkeypatch, shape, dtype
):
    costs = correlations(np.random.default_rng(14), *shape).astype(dtype)
    expected = solve_transport(costs)
    # Several blocks, of unequal heights.
    monkeypatch.setattr("skmot.transport._costs._BLOCK_ENTRIES", 7 * shape[1])
    monkeypatch.setattr(_flow, "_MOST_KEPT", 0)
    result = check_same_optimum(costs)
    assert (result.flow != expected.flow).nnz == 0


@pytest.mark.parametrize("most_missing", [0, 500, 4_000_000])
def test_large_costs_with_ties_are_solved_without_using_all_arcs(
    monkeypatch, most_missing
):
    monkeypatch.setattr(_flow, "_MOST_ON_ALL", 0)
    monkeypatch.setattr(_flow, "_MOST_MISSING", most_missing)
    monkeypatch.setattr(_flow, "_ARCS_A_UNIT", 2)
    monkeypatch.setattr(_flow, "solve_on_all", None)
    rng = np.random.default_rng(15)
    repeated = np.repeat(correlations(rng, 10, 9), 24, axis=0).repeat(20, axis=1)
    for costs in (
        repeated,
        rng.integers(0, 3, (240, 180)),
        np.tile(rng.random((1, 180)), (240, 1)),
        correlations(rng, 240, 180),
    ):
        check_same_optimum(np.asarray(costs, dtype=np.float32))


def test_large_costs_that_need_too_many_rounds_are_returned_with_a_true_bound(
    monkeypatch,
):
    monkeypatch.setattr(_flow, "_MOST_ON_ALL", 0)
    monkeypatch.setattr(_flow, "_MOST_ROUNDS_OF_LARGE", 1)
    monkeypatch.setattr(_flow, "_ARCS_A_UNIT", 1)
    monkeypatch.setattr(_flow, "solve_on_all", None)
    costs = correlations(np.random.default_rng(16), 240, 180)
    result = solve_transport(costs)
    check_coupling(result, costs.shape)
    check_certificate(result, costs)
    assert not result.converged
    optimum = optimum_of(costs)
    assert optimum < result.cost <= optimum + result.duality_gap + 1e-12


# -- precision -----------------------------------------------------------------------


def test_correlations_near_one_are_priced_in_float64():
    # A float32 pass at an absolute 1e-6 takes thousands of these arcs for priced.
    rng = np.random.default_rng(5)
    steps = rng.integers(0, 400, (300, 220))
    costs = -(np.float32(0.99999) - steps * np.float32(2**-24)).astype(np.float32)
    check_same_optimum(costs)


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 1e3])
def test_potentials_to_start_from_change_no_cost(scale):
    rng = np.random.default_rng(6)
    costs = correlations(rng, 240, 180)
    u, v = solve_transport(costs).potentials
    check_same_optimum(
        costs,
        potentials=(
            u + scale * rng.normal(size=u.shape),
            v + scale * rng.normal(size=v.shape),
        ),
    )


@pytest.mark.parametrize("max_pivots", [1, 50, 200])
def test_an_interrupted_solver_of_chosen_arcs_returns_a_true_bound(max_pivots):
    costs = correlations(np.random.default_rng(7), 240, 180)
    result = solve_transport(costs, max_pivots=max_pivots)
    check_coupling(result, costs.shape)
    check_certificate(result, costs, interrupted=True)
    assert not result.converged
    optimum = optimum_of(costs)
    assert result.cost - result.duality_gap <= optimum + 1e-12
    assert result.cost >= optimum - 1e-12


@pytest.mark.parametrize("mass", [0.25, 0.6, 0.95])
def test_partial_transport_of_larger_problems_is_proven_optimal(mass):
    costs = 0.5 + 0.5 * correlations(np.random.default_rng(8), 220, 170)
    result = solve_partial_transport(costs, mass)
    assert result.converged
    # A row and a column more, at no cost, take what is left out: POT on all arcs.
    total = 220 * 170
    extended = np.zeros((221, 171))
    extended[:-1, :-1] = costs / 4
    extended[-1, -1] = 1.0
    left_out = round((1 - mass) * total)
    plan = ot.emd(
        np.append(np.full(220, 170.0), left_out),
        np.append(np.full(170, 220.0), left_out),
        extended,
        numItermax=10**7,
    )
    optimum = float((plan[:-1, :-1] * costs).sum()) / total
    assert result.cost == pytest.approx(optimum, rel=0, abs=1e-12)


def test_a_flow_of_other_masses_is_an_error(monkeypatch):
    def lossy(*arguments):
        found = _simplex.solve_on_arcs(*arguments)
        found.amounts[0] += 1
        return found

    monkeypatch.setattr(_flow, "solve_on_arcs", lossy)
    with pytest.raises(RuntimeError, match="has not the masses"):
        solve_transport(correlations(np.random.default_rng(11), 240, 180))


# -- other array libraries ---------------------------------------------------------


@pytest.mark.parametrize("shape", [(12, 9), (40, 40), (300, 200)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("library", HOMES)
def test_costs_of_another_library_are_solved_where_they_are(library, dtype, shape):
    costs = correlations(np.random.default_rng(12), *shape).astype(dtype)
    expected = solve_transport(costs)
    result = solve_transport(home_at(library).asarray(costs))
    check_optimal(result, costs)
    assert result.cost == pytest.approx(expected.cost, rel=0, abs=1e-12)


@pytest.mark.parametrize("library", HOMES)
def test_costs_on_another_device_do_not_come_to_the_host_as_a_whole(
    library, monkeypatch
):
    home = home_at(library)
    costs = correlations(np.random.default_rng(13), 300, 200)
    given = home.asarray(costs)
    moved = record_host_copies(home, monkeypatch)
    result = solve_transport(given)
    check_optimal(result, costs)
    # Twice the arcs wanted, 10 a row and a column, and the sample they are chosen by.
    assert 0 < max(moved) <= max(20 * 500, 60_000 // 2)
    assert max(moved) < costs.size

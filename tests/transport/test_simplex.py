"""The calls of POT, with and without its private functions.

Which function of POT is called, and with which arcs, no result shows: hence the
internal import.
"""

import numpy as np
import pytest

from skmot.transport import _simplex, solve_transport
from tests import reference
from tests.transport.test_flow import correlations
from tests.transport.test_solver import check_certificate, check_optimal


@pytest.mark.parametrize("shape", [(12, 9), (240, 180)])
def test_without_private_functions_the_public_one_gives_the_same(monkeypatch, shape):
    costs = correlations(np.random.default_rng(9), *shape)
    expected = solve_transport(costs).cost
    monkeypatch.setattr(_simplex, "emd_c", None)
    monkeypatch.setattr(_simplex, "emd_c_sparse", None)
    result = solve_transport(costs)
    check_optimal(result, costs)
    assert result.cost == pytest.approx(expected, rel=0, abs=1e-12)
    interrupted = solve_transport(costs, max_pivots=3)
    check_certificate(interrupted, costs, interrupted=True)
    assert not interrupted.converged


def test_the_private_functions_are_there_and_take_potentials():
    assert _simplex.emd_c is not None
    assert _simplex.emd_c_sparse is not None
    rng = np.random.default_rng(10)
    costs = rng.random((30, 20))
    masses = np.full(30, 2), np.full(20, 3)
    arcs = np.arange(600)
    none = np.zeros(30), np.zeros(20)
    found = _simplex.solve_on_arcs(arcs, costs.ravel(), *masses, none, 10**6)
    again = _simplex.solve_on_arcs(
        arcs, costs.ravel(), *masses, found.potentials, 10**6
    )
    for result in (found, again):
        assert result.is_optimal
        paid = float(result.amounts @ costs.ravel()[result.arcs]) / 60
        assert paid == pytest.approx(reference.transport(costs)[1], rel=0, abs=1e-12)


def test_arcs_that_allow_no_flow_are_an_error():
    # POT returns code 0, cost 0 and an empty plan.
    masses = np.ones(2, dtype=int), np.ones(2, dtype=int)
    with pytest.raises(RuntimeError, match="infeasible"):
        _simplex.solve_on_arcs(
            np.array([0]), np.zeros(1), *masses, (np.zeros(2), np.zeros(2)), 100
        )

"""The calls of POT, with and without its private functions.

Which function of POT is called, and with which arcs, no result shows: hence the
internal import.
"""

import subprocess
import sys

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
    monkeypatch.setattr(_simplex, "private_functions", lambda: (None, None))
    result = solve_transport(costs)
    check_optimal(result, costs)
    assert result.cost == pytest.approx(expected, rel=0, abs=1e-12)
    interrupted = solve_transport(costs, max_pivots=3)
    check_certificate(interrupted, costs, interrupted=True)
    assert not interrupted.converged


def test_the_private_functions_are_there_and_take_potentials():
    assert None not in _simplex.private_functions()
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


def run_in_a_fresh_process(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_pot_is_imported_by_the_first_solve_and_not_with_skmot():
    run_in_a_fresh_process(
        """
import sys
import skmot
skmot.MultiLevelOT(), skmot.RotationMatching(), skmot.transport.solve_transport
assert not {"ot", "torch", "networkx"} & set(sys.modules)
assert skmot.transport.solve_transport([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]]).converged
assert "ot" in sys.modules
"""
    )


def test_the_first_solves_can_be_in_several_threads():
    run_in_a_fresh_process(
        """
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from skmot.transport import solve_transport
costs = np.random.default_rng(0).random((12, 9))
with ThreadPoolExecutor(8) as threads:
    found = list(threads.map(solve_transport, [costs] * 16))
assert all(result.converged for result in found)
assert {result.cost for result in found} == {solve_transport(costs).cost}
"""
    )


def test_arcs_that_allow_no_flow_are_an_error():
    # POT returns code 0, cost 0 and an empty plan.
    masses = np.ones(2, dtype=int), np.ones(2, dtype=int)
    with pytest.raises(RuntimeError, match="infeasible"):
        _simplex.solve_on_arcs(
            np.array([0]), np.zeros(1), *masses, (np.zeros(2), np.zeros(2)), 100
        )

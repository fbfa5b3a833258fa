"""Exact transport between uniform masses, with a bound on the error of the plan."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from skmot.transport._costs import CostMatrix
from skmot.transport._flow import cheapest_flow

# A plan counts as optimal if its duality gap is at most this fraction of the spread of
# the costs. For 1e4 units per side, the rounding error of sums of float64 costs in
# [0, 1] is about 1e-13.
GAP_TOLERANCE = 1e-9
# The network simplex normally needs far fewer pivots. The limit bounds the run time if
# it fails to terminate.
MAX_PIVOTS = 100_000_000


@dataclass(frozen=True)
class TransportResult:
    """Transport plan with dual potentials, which bound its distance to the optimum.

    Attributes
    ----------
    coupling : csr_array of shape (n, k)
        Transport plan. Rows sum to 1/n and columns to 1/k, or to at most that for
        partial transport.
    flow : csr_array of int64 of shape (n, k)
        The same plan in integers. Rows sum to k/g and columns to n/g, where g is the
        greatest common divisor of n and k. For partial transport they sum to at most
        that, times an integer that depends on the mass. Entries of the plan that are
        mathematically equal are exactly equal here.
    matched : tuple of ndarray, of shape (n,) and (k,)
        Fraction of the mass of each row and column that the plan uses, from 0 to 1; all
        1 unless the transport is partial. Mathematically equal fractions are exactly
        equal.
    cost : float
        The objective <coupling, costs>.
    potentials : tuple of ndarray, of shape (n,) and (k,)
        Dual solution (u, v) with u[i] + v[j] <= costs[i, j] for all entries, up to
        rounding errors.
    duality_gap : float
        Cost minus the dual objective mean(u) + mean(v) - (1 - mass) (max(u) + max(v)),
        see :func:`solve_partial_transport`. The cost exceeds the optimum by at most the
        gap, even if the solver did not converge.
    converged : bool
        Whether the gap per unit of mass is at most 1e-9 of the spread of the costs.
    """

    coupling: csr_array
    flow: csr_array
    matched: tuple[np.ndarray, np.ndarray]
    cost: float
    potentials: tuple[np.ndarray, np.ndarray]
    duality_gap: float
    converged: bool


def solve_transport(costs, *, potentials=None, max_pivots=MAX_PIVOTS):
    """Compute the optimal coupling of two uniform populations.

    Minimises sum_ij P_ij costs_ij over T(n, k), the matrices P >= 0 whose n rows each
    sum to 1/n and whose k columns each sum to 1/k ([1]_, eq. 3 and 11).

    Parameters
    ----------
    costs : array-like of shape (n, k)
        Finite costs, of any size and sign. Float32 costs are not copied, and the result
        is as accurate as for float64 costs with the same values. Arrays of another
        library or on an accelerator stay on their device; only selected entries are
        copied to the CPU.
    potentials : tuple of ndarray, of shape (n,) and (k,), default=None
        Approximate dual potentials for a warm start, for example those of a similar
        problem. They change the run time, but not the cost.
    max_pivots : int, default=100_000_000
        Maximum number of pivots of each run of the network simplex.

    Returns
    -------
    result : TransportResult
        Plan, cost, dual potentials and duality gap. If the solver stopped at
        `max_pivots`, or after 50 rounds on costs of more than 2^26 entries,
        `converged` is False. The plan is then still a coupling, and its cost exceeds
        the optimum by at most the gap.

    Raises
    ------
    ValueError
        If the costs are not a two-dimensional, nonempty, finite, real array.
    RuntimeError
        If the result of the solver is not a valid coupling.

    Notes
    -----
    In addition to n k costs, the solver needs memory for about 20 (n + k) arcs if there
    are more than 2^26 costs. For fewer costs it also needs a copy of them, and up to 40
    bytes per cost if many costs are equal.

    References
    ----------
    .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
       representations that captures single-neuron tuning. UniReps, PMLR, 2024.

    Examples
    --------
    >>> from skmot.transport import solve_transport
    >>> result = solve_transport([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])
    >>> result.coupling.toarray().round(3)
    array([[0.333, 0.167, 0.   ],
           [0.   , 0.167, 0.333]])
    >>> round(result.cost, 3), result.converged
    (0.333, True)
    """
    costs = CostMatrix.of(costs)
    masses = uniform_masses(*costs.shape)
    if potentials is not None:
        potentials = costs.scale_potentials(*potentials)
    flow = cheapest_flow(costs, *masses, max_pivots, potentials)
    plan, whole_plan = flow.matrices(
        flow.amounts / math.lcm(*costs.shape), flow.amounts
    )
    gap = max(flow.cost - float(flow.rows.mean() + flow.columns.mean()), 0.0)
    return TransportResult(
        coupling=plan,
        flow=whole_plan,
        matched=tuple(np.ones(n_units) for n_units in costs.shape),
        cost=flow.cost * costs.spread + costs.offset,
        potentials=(
            flow.rows * costs.spread + costs.offset,
            flow.columns * costs.spread,
        ),
        duality_gap=gap * costs.spread,
        converged=gap <= GAP_TOLERANCE,
    )


def uniform_masses(n, k):
    """Return the mass of each row and of each column as integers."""
    divisor = math.gcd(n, k)
    return (
        np.full(n, k // divisor, dtype=np.int64),
        np.full(k, n // divisor, dtype=np.int64),
    )

"""Exact transport with uniform masses, and the proof that the plan is optimal."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from skmot.transport._costs import CostMatrix
from skmot.transport._flow import cheapest_flow

# A plan counts as optimal when its duality gap is below this share of the costs'
# spread: sums of float64 costs in [0, 1] are good to about 1e-13 at 1e4 units a side.
GAP_TOLERANCE = 1e-9
# The network simplex ends by itself; this only bounds the time of a run gone wrong.
MAX_PIVOTS = 100_000_000


@dataclass(frozen=True)
class TransportResult:
    """A plan and the proof that it is optimal.

    Attributes
    ----------
    coupling : csr_array of shape (n, k)
        The plan: rows sum to 1/n, columns to 1/k; where only a share of the mass is
        matched, to that much at most.
    flow : csr_array of int64 of shape (n, k)
        The same plan in whole numbers: rows sum to k/g, columns to n/g, with g the
        greatest common divisor of n and k; where only a share is matched, to that much
        at most, times a whole number that depends on the share. Entries are equal
        exactly where the plan says they are equal.
    matched : tuple of ndarray, of shape (n,) and (k,)
        How much of each row's and each column's mass the plan uses, from 0 to 1; all 1
        where everything is matched. Exactly equal where the plan says so.
    cost : float
        The objective <coupling, costs>.
    potentials : tuple of ndarray, of shape (n,) and (k,)
        Dual solution: u[i] + v[j] <= costs[i, j] everywhere, up to rounding.
    duality_gap : float
        Cost less the dual objective, in units of the cost: the plan is within this much
        of the optimum, whatever the solver did. The dual objective is mean(u) + mean(v)
        less (1 - mass) (max(u) + max(v)), see :func:`solve_partial_transport`.
    converged : bool
        Whether the gap is at most 1e-9 of the spread of the costs, a unit of mass.
    """

    coupling: csr_array
    flow: csr_array
    matched: tuple[np.ndarray, np.ndarray]
    cost: float
    potentials: tuple[np.ndarray, np.ndarray]
    duality_gap: float
    converged: bool


def solve_transport(costs, *, potentials=None, max_pivots=MAX_PIVOTS):
    """Find the cheapest coupling of two uniform populations.

    Minimises sum_ij P_ij costs_ij over T(n, k): P >= 0 whose n rows each sum to 1/n
    and whose k columns each sum to 1/k ([1]_, eq. 3 and 11).

    Parameters
    ----------
    costs : array-like of shape (n, k)
        Finite costs, of any size and sign. Float32 is read as it is, without a copy,
        and the result is that of the same numbers in float64. An array of another
        library, or on an accelerator, stays there: only chosen entries leave it.
    potentials : tuple of ndarray, of shape (n,) and (k,), default=None
        Approximate dual potentials to start from, such as those of a similar problem.
        They change how long it takes, not the cost.
    max_pivots : int, default=100_000_000
        Pivots of a run of the network simplex after which it gives up.

    Returns
    -------
    result : TransportResult
        The plan, its cost, dual potentials and duality gap. Where the solver gave up,
        `converged` is False, the plan is still a coupling, and the gap bounds how far
        it is from the optimum.

    Raises
    ------
    ValueError
        If the costs are not a two-dimensional, nonempty, finite, real array.
    RuntimeError
        If the solver's plan is no coupling.

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
    gap = max(flow.cost - float(flow.rows.mean() + flow.columns.mean()), 0.0)
    return TransportResult(
        coupling=flow.matrix(flow.amounts / math.lcm(*costs.shape)),
        flow=flow.matrix(flow.amounts),
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
    """Return the mass of each row and of each column in whole numbers."""
    divisor = math.gcd(n, k)
    return (
        np.full(n, k // divisor, dtype=np.int64),
        np.full(k, n // divisor, dtype=np.int64),
    )

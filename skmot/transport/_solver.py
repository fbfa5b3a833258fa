"""Exact transport with uniform masses, and the proof that the plan is optimal."""

import math
from dataclasses import dataclass

import numpy as np
import ot
from scipy.sparse import coo_array, csr_array

# A plan counts as optimal when its duality gap is below this share of the costs'
# spread: sums of float64 costs in [0, 1] are good to about 1e-13 at 1e4 units a side.
GAP_TOLERANCE = 1e-9
# The network simplex ends by itself; this only bounds the time of a run gone wrong.
MAX_PIVOTS = 100_000_000
# Rows of the cost are read in blocks of about this many entries (32 MB of float64).
_BLOCK_ENTRIES = 4_000_000
_POT_OPTIMAL, _POT_ITERATION_LIMIT = 1, 3


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


def solve_transport(costs, *, max_pivots=MAX_PIVOTS):
    """Find the cheapest coupling of two uniform populations.

    Minimises sum_ij P_ij costs_ij over T(n, k): P >= 0 whose n rows each sum to 1/n
    and whose k columns each sum to 1/k ([1]_, eq. 3 and 11).

    Parameters
    ----------
    costs : array-like of shape (n, k)
        Finite costs, of any size and sign.
    max_pivots : int, default=100_000_000
        Pivots of the network simplex after which it gives up.

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
    costs = _check_costs(costs)
    scaled, offset, spread = _scale(costs)
    row_masses, column_masses = _uniform_masses(*scaled.shape)
    flow, row_potentials = _cheapest_flow(scaled, row_masses, column_masses, max_pivots)
    total = math.lcm(*scaled.shape)
    coupling = csr_array(
        (flow.data / total, flow.indices, flow.indptr), shape=flow.shape
    )
    scaled_cost = float((flow.multiply(scaled)).sum()) / total
    rows, columns = _tighten(scaled, row_potentials)
    gap = max(scaled_cost - rows.mean() - columns.mean(), 0.0)
    return TransportResult(
        coupling=coupling,
        flow=flow,
        matched=tuple(np.ones(n_units) for n_units in scaled.shape),
        cost=scaled_cost * spread + offset,
        potentials=(rows * spread + offset, columns * spread),
        duality_gap=gap * spread,
        converged=gap <= GAP_TOLERANCE,
    )


def _check_costs(costs):
    costs = np.asarray(costs)
    if costs.ndim != 2 or 0 in costs.shape:
        raise ValueError(
            f"`costs` must be two-dimensional and not empty; got shape {costs.shape}."
        )
    if costs.dtype.kind == "c":
        raise ValueError("`costs` must be real; got complex numbers.")
    if costs.dtype.kind != "f":
        costs = costs.astype(np.float64)
    if not np.isfinite(costs).all():
        raise ValueError("`costs` has entries that are NaN or infinite.")
    return costs


def _scale(costs):
    """Bring costs to [0, 1] in float64.

    POT's simplex gives its artificial arcs a cost of (max + 1) n: where the costs are
    small beside 1, or their differences small beside their size, its tolerances pass
    plans that are far from optimal, and say nothing.
    """
    offset = float(costs.min())
    spread = float(costs.max()) - offset
    if not math.isfinite(spread):
        raise ValueError("`costs` spread over more than a float64 can hold.")
    scaled = np.subtract(costs, offset, dtype=np.float64, order="C")
    if spread > 0:
        scaled /= spread
    return scaled, offset, spread


def _uniform_masses(n, k):
    """Return the mass of each row and of each column in whole numbers.

    Uniform masses 1/n and 1/k are at times called infeasible (POT issue 190): their
    float sums differ. Whole numbers have no rounding.
    """
    divisor = math.gcd(n, k)
    return (
        np.full(n, k // divisor, dtype=np.int64),
        np.full(k, n // divisor, dtype=np.int64),
    )


def _cheapest_flow(scaled, row_masses, column_masses, max_pivots):
    """Return the optimal flow in whole numbers and potentials of its rows."""
    n, k = scaled.shape
    if min(n, k) == 1:
        # All of the larger side goes to the one unit of the smaller.
        potentials = scaled[:, 0] if k == 1 else np.zeros(1)
        return csr_array(np.minimum.outer(row_masses, column_masses)), potentials
    plan, log = ot.emd(
        row_masses.astype(np.float64),
        column_masses.astype(np.float64),
        scaled,
        numItermax=max_pivots,
        log=True,
        center_dual=False,
    )
    if log["result_code"] not in (_POT_OPTIMAL, _POT_ITERATION_LIMIT):
        raise RuntimeError(
            f"POT's network simplex failed on {n} x {k} costs: {log['warning']}"
        )
    rows, columns = np.nonzero(plan)
    flow = coo_array(
        (np.rint(plan[rows, columns]).astype(np.int64), (rows, columns)), shape=(n, k)
    ).tocsr()
    if log["result_code"] == _POT_ITERATION_LIMIT:
        flow = _complete(flow, row_masses, column_masses)
    if not (
        np.array_equal(flow.sum(axis=1), row_masses)
        and np.array_equal(flow.sum(axis=0), column_masses)
    ):
        raise RuntimeError(
            f"POT's network simplex returned a plan for {n} x {k} costs whose "
            "marginals are not those asked for."
        )
    flow.eliminate_zeros()
    return flow, log["u"]


def _complete(flow, row_masses, column_masses):
    """Send what an interrupted flow left behind along a staircase: a plan again."""
    left = np.asarray(row_masses - flow.sum(axis=1), dtype=np.int64)
    wanted = np.asarray(column_masses - flow.sum(axis=0), dtype=np.int64)
    sent, received = np.cumsum(left), np.cumsum(wanted)
    steps = np.union1d(sent, received)
    amounts = np.diff(steps, prepend=0)
    used = amounts > 0
    rows = np.searchsorted(sent, steps[used])
    columns = np.searchsorted(received, steps[used])
    return flow + csr_array((amounts[used], (rows, columns)), shape=flow.shape)


def _tighten(scaled, row_potentials):
    """Make potentials feasible and as large as they go: two c-transforms.

    v_j = min_i c_ij - u_i, then u_i = min_j c_ij - v_j, over all entries in float64:
    whatever the solver returned, mean(u) + mean(v) is then a lower bound of the cost.
    """
    n, k = scaled.shape
    block = max(1, _BLOCK_ENTRIES // k)
    columns = np.full(k, np.inf)
    for start in range(0, n, block):
        part = slice(start, start + block)
        slack = scaled[part] - row_potentials[part, None]
        np.minimum(columns, slack.min(axis=0), out=columns)
    rows = np.empty(n)
    for start in range(0, n, block):
        part = slice(start, start + block)
        rows[part] = (scaled[part] - columns).min(axis=1)
    return rows, columns

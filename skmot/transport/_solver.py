"""Exact transport between given masses, with a bound on the error of the plan."""

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from scipy.sparse import csr_array

from skmot._utils.array_api import as_numbers
from skmot.transport._costs import CostMatrix
from skmot.transport._flow import cheapest_flow
from skmot.transport._masses import mean_over_mass, whole_masses

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
        Transport plan. Rows sum to 1/n and columns to 1/k, or to the masses of given
        weights; to at most that for partial transport.
    flow : csr_array of int64 of shape (n, k)
        The same plan in integers. Rows sum to k/g and columns to n/g, where g is the
        greatest common divisor of n and k; for other weights, they sum to the masses as
        integers. For partial transport they sum to at most that, times an integer that
        depends on the mass. Entries of the plan that are
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
        with weighted means if weights are given, see :func:`solve_partial_transport`.
        The cost exceeds the optimum by at most the
        gap, even if the solver did not converge.
    converged : bool
        Whether the gap per unit of mass is at most 1e-9 of the spread of the costs.
    masses : tuple of ndarray, of shape (n,) and (k,)
        Mass of each row and column: 1/n and 1/k, or in proportion to given weights.
        Those of a side sum to 1.
    """

    coupling: csr_array
    flow: csr_array
    matched: tuple[np.ndarray, np.ndarray]
    cost: float
    potentials: tuple[np.ndarray, np.ndarray]
    duality_gap: float
    converged: bool
    masses: tuple[np.ndarray, np.ndarray]


def solve_transport(
    costs,
    *,
    row_weights=None,
    column_weights=None,
    potentials=None,
    max_pivots=MAX_PIVOTS,
):
    """Compute the optimal coupling of two populations.

    Minimises sum_ij P_ij costs_ij over T(n, k), the matrices P >= 0 whose n rows each
    sum to 1/n and whose k columns each sum to 1/k ([1]_, eq. 3 and 11). With weights,
    the sums are proportional to the weights, and all entries sum to 1.

    Parameters
    ----------
    costs : array-like of shape (n, k)
        Finite costs, of any size and sign. Float32 costs are not copied, and the result
        is as accurate as for float64 costs with the same values. Arrays of another
        library or on an accelerator stay on their device; only selected entries are
        copied to the CPU.
    row_weights, column_weights : array-like of shape (n,) and (k,), default=None
        Positive weights of rows and columns, see Notes. None means equal weights.
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
        If the costs are not a two-dimensional, nonempty, finite, real array, or there
        is not one positive, finite weight for each row and each column.
    RuntimeError
        If the result of the solver is not a valid coupling.

    Notes
    -----
    Masses are integers, so that flows are sums without rounding errors. Weights in the
    ratios of whole numbers with a sum of at most 2^20, such as equal weights, are
    represented exactly. Other weights are rounded to multiples of about 2^-40 (9e-13)
    of their sum; smaller ones are rounded up to it. The plan is optimal for the rounded
    masses. If the masses of both sides change by at most e in total, the optimum
    changes by at most e times the spread of the costs.

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
    check_pivots(max_pivots)
    costs = CostMatrix.of(costs)
    masses = whole_masses(costs.shape, row_weights, column_weights)
    if potentials is not None:
        potentials = costs.scale_potentials(*_read_potentials(potentials, costs.shape))
    flow = cheapest_flow(costs, *masses, max_pivots, potentials)
    plan, whole_plan = flow.matrices(flow.amounts / int(masses[0].sum()), flow.amounts)
    bound = mean_over_mass(flow.rows, masses[0])
    bound += mean_over_mass(flow.columns, masses[1])
    gap = max(flow.cost - bound, 0.0)
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
        masses=tuple(mass / mass.sum() for mass in masses),
    )


def check_pivots(max_pivots):
    """Raise an error unless a number of pivots is a whole number of at least 1."""
    if not isinstance(max_pivots, Integral) or max_pivots < 1:
        raise ValueError(
            f"`max_pivots` must be a whole number of at least 1; got {max_pivots!r}."
        )


def _read_potentials(potentials, shape):
    """Return the potentials of rows and of columns, or raise an error."""
    if not isinstance(potentials, tuple | list) or len(potentials) != 2:
        raise ValueError(
            "`potentials` must be a tuple of two arrays, of the rows and of the "
            f"columns; got {type(potentials).__name__}."
        )
    read = [as_numbers(side, "potentials") for side in potentials]
    found = tuple(side.shape for side in read)
    if found != tuple((length,) for length in shape):
        raise ValueError(
            f"`potentials` must have the shapes ({shape[0]},) and ({shape[1]},), like "
            f"the costs; got {found}."
        )
    if not all(np.isfinite(side).all() for side in read):
        raise ValueError("`potentials` must be finite. Leave them out, or give others.")
    return read

"""Exact partial transport, with a bound on the error of the plan."""

import math
from fractions import Fraction
from numbers import Real

import numpy as np
from scipy.sparse import coo_array, csr_array

from skmot.transport._costs import CostMatrix
from skmot.transport._flow import cheapest_flow, complete
from skmot.transport._masses import mean_over_mass, whole_masses
from skmot.transport._solver import (
    GAP_TOLERANCE,
    MAX_PIVOTS,
    TransportResult,
    check_pivots,
    solve_transport,
)

# Costs are from 0 to 1, so no optimal plan uses an arc with this cost.
_FORBIDDEN = 2.0
# A mass such as 0.7 or 5/6 is converted to a fraction with at most this denominator.
_LARGEST_DENOMINATOR = 1000
# Other masses are rounded to a multiple of 1 over this total, with an error below
# 1e-15. The extended problem has at most four times as much mass. Float64 represents
# all integers up to there exactly.
_LARGEST_TOTAL = 2**50


def solve_partial_transport(
    costs,
    mass,
    *,
    row_weights=None,
    column_weights=None,
    max_pivots=MAX_PIVOTS,
):
    """Compute the optimal plan that matches a fraction of two populations.

    Minimises sum_ij P_ij costs_ij over P >= 0 whose n rows sum to at most 1/n, whose k
    columns sum to at most 1/k, and whose entries sum to `mass` ([1]_, [2]_). The
    optimal plan determines which units are left out. With weights, the limits are
    proportional to the weights, and those of each side sum to 1.

    Parameters
    ----------
    costs : array-like of shape (n, k)
        Finite costs, of any size and sign.
    mass : float
        Fraction of the mass that is matched, above 0 and at most 1. If it is 1, the
        result is that of :func:`solve_transport`.
    row_weights, column_weights : array-like of shape (n,) and (k,), default=None
        Positive weights of rows and columns, see :func:`solve_transport`. None means
        equal weights.
    max_pivots : int, default=100_000_000
        Maximum number of pivots of the network simplex.

    Returns
    -------
    result : TransportResult
        Plan, matched fraction of each row and column, cost (the sum, not divided by
        `mass`), dual potentials and duality gap. If the solver stopped at `max_pivots`,
        `converged` is False. The plan then still matches `mass`, and its cost exceeds
        the optimum by at most the gap.

    Raises
    ------
    ValueError
        If the costs are not a two-dimensional, nonempty, finite, real array, the mass
        is not above 0 and at most 1, or there is not one positive, finite weight for
        each row and each column.
    RuntimeError
        If the result of the solver is not a valid plan.

    Notes
    -----
    *Optimality.* For any potentials with u_i + v_j <= costs_ij, and any plan with row
    sums p_i <= 1/n and total `mass`, ::

        sum_i u_i p_i = mean(u) - sum_i u_i (1/n - p_i)
                     >= mean(u) - (1 - mass) max(u)

    and likewise for columns. Therefore mean(u) + mean(v) - (1 - mass) (max(u) + max(v))
    is a lower bound of the cost of every plan. (With weights a_i in place of 1/n, the
    mean is the weighted mean.) The optimum attains this bound: units
    that are not fully matched then have the largest potential of their side. (In terms
    of linear programming, max(u) + max(v) is the multiplier of the total mass, and
    u - max(u) and v - max(v) are the multipliers of the inequalities, at most 0.)

    *Algorithm.* An additional row and an additional column with costs of 0 receive the
    mass that is left out. A high cost prevents that they are matched to each other
    ([1]_, [3]_). Masses are integers, which float64 adds without rounding. POT
    normalises the masses by their total. A further row and a further column, matched to
    each other, make the total a power of two, so that this does not round either.

    References
    ----------
    .. [1] L. Chapel, M. Z. Alaya, G. Gasso. Partial optimal transport with applications
       on positive-unlabeled learning. NeurIPS, 2020.
    .. [2] Partial soft-matching distance for neural representational comparison with
       partial unit correspondence. arXiv 2602.19331, 2026.
    .. [3] L. A. Caffarelli, R. J. McCann. Free boundaries in optimal transport and
       Monge-Ampere obstacle problems. Annals of Mathematics, 2010.

    Examples
    --------
    >>> from skmot.transport import solve_partial_transport
    >>> costs = [[0.0, 9.0, 2.0], [9.0, 1.0, 9.0], [9.0, 9.0, 7.0]]
    >>> result = solve_partial_transport(costs, mass=2 / 3)
    >>> result.coupling.toarray().round(3)
    array([[0.333, 0.   , 0.   ],
           [0.   , 0.333, 0.   ],
           [0.   , 0.   , 0.   ]])
    >>> result.matched[0]
    array([1., 1., 0.])
    >>> round(result.cost, 3), result.converged
    (0.333, True)
    """
    check_pivots(max_pivots)
    if not isinstance(mass, Real) or not 0 < mass <= 1:
        raise ValueError(f"`mass` must be more than 0 and at most 1; got {mass!r}.")
    if mass == 1:
        return solve_transport(
            costs,
            row_weights=row_weights,
            column_weights=column_weights,
            max_pivots=max_pivots,
        )
    mass = float(mass)
    costs = CostMatrix.of(costs)
    scaled, offset, spread = costs.scaled(), costs.offset, costs.spread
    masses = whole_masses(scaled.shape, row_weights, column_weights)
    row_masses, column_masses, amount = _divisible_masses(*masses, mass)
    flow, potentials = _cheapest_part(
        scaled, row_masses, column_masses, amount, max_pivots
    )
    weights = flow.data * (mass / amount)
    coupling = csr_array((weights, flow.indices, flow.indptr), shape=flow.shape)
    scaled_cost = float(coupling.multiply(scaled).sum())
    gap = max(scaled_cost - _dual_objective(*potentials, *masses, mass), 0.0)
    rows, columns = potentials
    return TransportResult(
        coupling=coupling,
        flow=flow,
        matched=(flow.sum(axis=1) / row_masses, flow.sum(axis=0) / column_masses),
        cost=scaled_cost * spread + offset * mass,
        potentials=(rows * spread + offset, columns * spread),
        duality_gap=gap * spread,
        converged=gap <= GAP_TOLERANCE * mass,
        masses=tuple(side / side.sum() for side in masses),
    )


def _divisible_masses(row_masses, column_masses, mass):
    """Multiply masses by a number, so that the matched mass is an integer, too."""
    total = int(row_masses.sum())
    fraction = Fraction(mass).limit_denominator(_LARGEST_DENOMINATOR)
    if fraction < 1 and math.isclose(fraction, mass, rel_tol=1e-15):
        factor = (fraction * total).denominator
    else:
        fraction, factor = Fraction(mass), _LARGEST_TOTAL // total
    # Rounding must not change the mass to 0 or 1.
    amount = min(max(round(fraction * total * factor), 1), total * factor - 1)
    return row_masses * factor, column_masses * factor, amount


def _cheapest_part(scaled, row_masses, column_masses, amount, max_pivots):
    """Compute the optimal flow of an amount, and potentials of rows and columns."""
    n, k = scaled.shape
    total = int(row_masses.sum())
    left_out = total - amount
    padding = 2 ** (total + left_out).bit_length() - (total + left_out)
    extended = np.full((n + 2, k + 2), _FORBIDDEN)
    extended[:n, :k] = scaled
    extended[:n, k] = extended[n, :k] = extended[n + 1, k + 1] = 0.0
    costs = CostMatrix.of(extended)
    found = cheapest_flow(
        costs,
        np.append(row_masses, [left_out, padding]),
        np.append(column_masses, [left_out, padding]),
        max_pivots,
    )
    rows, columns = np.divmod(found.arcs, k + 2)
    inside = (rows < n) & (columns < k)
    arcs = rows[inside], columns[inside], found.amounts[inside]
    if arcs[2].sum() != amount:
        # The completion of an interrupted flow can use forbidden arcs.
        arcs = complete(*arcs, row_masses, column_masses)
        arcs = _without_costliest(*arcs, scaled, total - amount)
    rows, columns, amounts = arcs
    flow = coo_array((amounts, (rows, columns)), shape=scaled.shape).tocsr()
    return flow, (found.rows[:n] * costs.spread, found.columns[:k] * costs.spread)


def _without_costliest(rows, columns, amounts, scaled, excess):
    """Remove an amount from a flow, from the arcs with the highest costs."""
    order = np.argsort(-scaled[rows, columns], kind="stable")
    amounts = amounts[order]
    before = np.cumsum(amounts) - amounts
    amounts = amounts - np.clip(excess - before, 0, amounts)
    kept = order[amounts > 0]
    return rows[kept], columns[kept], amounts[amounts > 0]


def _dual_objective(rows, columns, row_masses, column_masses, mass):
    """Compute the lower bound of the cost described in `solve_partial_transport`."""
    # The largest potential is subtracted first. For a small mass the differences are
    # mostly 0, and the rounding error of mean potentials could exceed the mass.
    largest = rows.max() + columns.max()
    return float(
        mass * largest
        + mean_over_mass(rows - rows.max(), row_masses)
        + mean_over_mass(columns - columns.max(), column_masses)
    )

"""Refinement of plans whose costs have very different scales."""

import math
from dataclasses import replace

import numpy as np

from skmot.transport._solver import solve_transport

# Gap, as a fraction of the scale of the small costs, at which a plan counts as optimal.
_TOLERANCE = 1e-9
# Two or three rounds were enough for units of up to 1e8 times the others.
_MOST_ROUNDS = 8


def refine(costs, result, scale):
    """Make a plan optimal among its small costs too.

    A few large costs set the spread. Tolerances that are fractions of the spread then
    accept any plan among the other units. The reduced costs c_ij - u_i - v_j have a
    scale of their own. If G is the duality gap and the smallest flow is 1 / lcm(n, k),
    an optimal plan uses no arc with a reduced cost above lcm(n, k) G. These costs are
    clipped, and the problem is solved again, with a spread of lcm(n, k) G.

    Parameters
    ----------
    costs : ndarray of shape (n, k)
        Costs in float64.
    result : TransportResult
        Result of `solve_transport` for them.
    scale : float
        Scale of the costs between units that are not loud.

    Returns
    -------
    result : TransportResult
        Its gap is relative to all costs, and `converged` is relative to `scale`.
    """
    columns = result.potentials[1] - np.median(result.potentials[1])
    units = math.lcm(*costs.shape)
    for n_left in reversed(range(_MOST_ROUNDS)):
        # The largest rows for these columns, so that no reduced cost is negative.
        rows = (costs - columns).min(axis=1)
        reduced = costs - rows[:, np.newaxis] - columns
        gap = _gap(result, costs, reduced)
        if gap <= _TOLERANCE * scale or n_left == 0:
            break
        result = solve_transport(np.minimum(reduced, units * gap))
        columns = columns + result.potentials[1]
        columns -= np.median(columns)
    plan = result.coupling.tocoo()
    return replace(
        result,
        cost=float(plan.data @ costs[plan.row, plan.col]),
        potentials=(rows, columns),
        duality_gap=gap,
        converged=gap <= _TOLERANCE * scale,
    )


def _gap(result, costs, reduced):
    """Return the duality gap of a plan, without the rounding errors of large costs."""
    plan = result.coupling.tocoo()
    arcs = plan.row, plan.col
    rounding = 4 * np.finfo(np.float64).eps * np.abs(costs[arcs])
    return float(plan.data @ np.maximum(reduced[arcs] - rounding, 0.0))

"""Refinement of plans whose costs have very different scales."""

from dataclasses import replace

import numpy as np

from skmot.transport._solver import solve_transport

# Gap, as a fraction of the scale of the small costs, at which a plan counts as optimal.
_TOLERANCE = 1e-9
# Two or three rounds were enough for units of up to 1e8 times the others.
_MOST_ROUNDS = 8


def refine(costs, result, scale, row_weights=None, column_weights=None):
    """Make a plan optimal among its small costs too.

    A few large costs set the spread. Tolerances that are fractions of the spread then
    accept any plan among the other units. The reduced costs c_ij - u_i - v_j have a
    scale of their own. If G is the duality gap and the smallest flow is 1/T, an optimal
    plan uses no arc with a reduced cost above T G. T is the total of the masses as
    integers, lcm(n, k) for equal weights. The reduced costs are clipped at 2 T G, so
    that a plan that uses a clipped arc costs more than the optimum, and the problem is
    solved again.

    Parameters
    ----------
    costs : ndarray of shape (n, k)
        Costs in float64.
    result : TransportResult
        Result of `solve_transport` for them.
    scale : float
        Scale of the costs between units that are not loud.
    row_weights, column_weights : ndarray of shape (n,) and (k,), default=None
        Weights of the units.

    Returns
    -------
    result : TransportResult
        Its gap is relative to all costs, and `converged` is relative to `scale`.
    """
    columns = result.potentials[1] - np.median(result.potentials[1])
    units = int(result.flow.sum())
    # Costs, and the potentials of loud units, round to more than the reduced costs of
    # their other arcs. Reduced costs below this are rounding errors.
    rounding = 4 * np.finfo(np.float64).eps * np.abs(costs)
    for n_left in reversed(range(_MOST_ROUNDS)):
        slack = costs - columns
        # The largest rows for these columns, so that no reduced cost is negative.
        rows = (slack + rounding).min(axis=1)
        reduced = np.maximum(slack - rows[:, np.newaxis] - rounding, 0.0)
        gap = _gap(result, reduced)
        if gap <= _TOLERANCE * scale or n_left == 0:
            break
        result = solve_transport(
            np.minimum(reduced, 2 * units * gap),
            row_weights=row_weights,
            column_weights=column_weights,
        )
        change = result.potentials[1] - np.median(result.potentials[1])
        # A rise that is lost in rounding would leave the arcs of the column loose.
        columns = np.where(
            change > 0, np.nextafter(columns + change, np.inf), columns + change
        )
    plan = result.coupling.tocoo()
    return replace(
        result,
        cost=float(plan.data @ costs[plan.row, plan.col]),
        potentials=(rows, columns),
        duality_gap=gap,
        converged=gap <= _TOLERANCE * scale,
    )


def _gap(result, reduced):
    """Return the duality gap of a plan, from its reduced costs."""
    plan = result.coupling.tocoo()
    return float(plan.data @ reduced[plan.row, plan.col])

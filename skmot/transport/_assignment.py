"""Solver for small square problems: assignment by SciPy, and dual potentials."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from skmot.transport._simplex import SimplexResult

# Paths that are shorter by less than this are rounding errors, for costs from 0 to 1.
_ROUNDING = 1e-15


def solve_assignment(costs, columns):
    """Compute the optimal flow between n rows and n columns that each have mass 1.

    Potentials can be subtracted from the costs without changing the optimal flow. The
    nearer they are to the optimum, the shorter are the paths that SciPy searches, and
    those that lead to the dual solution.

    Parameters
    ----------
    costs : ndarray of float64 of shape (n, n)
        Costs from 0 to 1, which are overwritten.
    columns : ndarray of float64 of shape (n,)
        Approximate potentials of the columns for these costs; 0 if they are unknown.

    Returns
    -------
    found : SimplexResult
        Optimal flow.
    """
    n = len(costs)
    costs -= columns
    rows = costs.min(axis=1)
    costs -= rows[:, np.newaxis]
    starts, ends = linear_sum_assignment(costs)
    row_shifts, column_shifts = _assignment_potentials(costs, ends)
    return SimplexResult(
        starts * n + ends,
        np.ones(n, dtype=np.int64),
        (rows + row_shifts, columns + column_shifts),
        True,
    )


def _assignment_potentials(costs, columns):
    """Compute dual potentials from an optimal assignment. The costs are overwritten.

    Potentials are feasible if v_j <= v_l + excess_lj for all columns j and l. Here
    excess_lj is the cost in column j of the row that is assigned to column l, minus its
    cost in column l. For an optimal assignment the excesses of every cycle sum to at
    least 0, so shortest paths exist, and their lengths are feasible potentials. They
    are computed by the Bellman-Ford algorithm. Each iteration only uses the columns
    that the previous one changed.
    """
    n = len(costs)
    row_of = np.argsort(columns)
    assigned = costs[np.arange(n), columns]
    costs -= assigned[:, np.newaxis]
    potentials = np.minimum.reduce(costs)
    (changed,) = (potentials < -_ROUNDING).nonzero()
    for _ in range(n):
        if changed.size == 0:
            break
        # The arrays are small, so functions with little overhead are used.
        paths = costs.take(row_of.take(changed), axis=0)
        paths += potentials.take(changed)[:, np.newaxis]
        paths = np.minimum.reduce(paths)
        (changed,) = (paths < potentials - _ROUNDING).nonzero()
        potentials[changed] = paths[changed]
    return assigned - potentials[columns], potentials

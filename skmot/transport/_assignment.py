"""Solver for small square problems: assignment by SciPy, and dual potentials."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from skmot.transport._simplex import SimplexResult

# Paths that are shorter by less than this are rounding errors, for costs from 0 to 1.
_ROUNDING = 1e-15


def solve_assignment(costs):
    """Compute the optimal flow between n rows and n columns that each have mass 1.

    Parameters
    ----------
    costs : ndarray of float64 of shape (n, n)
        Costs from 0 to 1.

    Returns
    -------
    found : SimplexResult
        Optimal flow.
    """
    n = len(costs)
    rows, columns = linear_sum_assignment(costs)
    potentials = _assignment_potentials(costs, columns)
    return SimplexResult(
        rows * n + columns, np.ones(n, dtype=np.int64), potentials, True
    )


def _assignment_potentials(costs, columns):
    """Compute dual potentials from an optimal assignment.

    Potentials are feasible if u_i <= u_m + excess_im for all rows i and m. Here
    excess_im is the cost of row i in the column of row m, minus the cost of row m in
    this column. For an optimal assignment the excesses of every cycle sum to at least
    0, so shortest paths exist, and their lengths are feasible potentials. They are
    computed by the Bellman-Ford algorithm. Each iteration only uses the rows that the
    previous one changed.
    """
    n = len(costs)
    assigned = costs[np.arange(n), columns]
    # Row m contains the excess of every row in the column of row m.
    excess = np.ascontiguousarray((costs[:, columns] - assigned).T)
    potentials = excess.min(axis=0)
    changed = np.flatnonzero(potentials < -_ROUNDING)
    for _ in range(n):
        if len(changed) == 0:
            break
        paths = (excess[changed] + potentials[changed, np.newaxis]).min(axis=0)
        changed = np.flatnonzero(paths < potentials - _ROUNDING)
        potentials[changed] = paths[changed]
    others = np.empty(n)
    others[columns] = assigned - potentials
    return potentials, others

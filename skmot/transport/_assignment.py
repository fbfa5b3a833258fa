"""Small squares: SciPy's assignment, and the potentials it does not give."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from skmot.transport._simplex import SimplexResult

# Paths shorter by less than this, of costs from 0 to 1, are rounding.
_ROUNDING = 1e-15


def solve_assignment(costs):
    """Find the cheapest flow where rows and columns are as many, of mass one each.

    Parameters
    ----------
    costs : ndarray of float64 of shape (n, n)
        From 0 to 1.

    Returns
    -------
    found : SimplexResult
        The flow, optimal.
    """
    n = len(costs)
    rows, columns = linear_sum_assignment(costs)
    potentials = _assignment_potentials(costs, columns)
    return SimplexResult(
        rows * n + columns, np.ones(n, dtype=np.int64), potentials, True
    )


def _assignment_potentials(costs, columns):
    """Recover potentials from an optimal assignment.

    Row i could have the column of row m at an excess of c_im - c_mm. As no cycle of
    such exchanges gains anything, shortest paths of excesses exist, and u_i <= u_m +
    excess_im is feasibility. Found by Bellman and Ford's rounds, each over the rows
    that the last one changed.
    """
    n = len(costs)
    assigned = costs[np.arange(n), columns]
    # Row m: the excess of every other row in its column.
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

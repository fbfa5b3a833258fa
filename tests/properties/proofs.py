"""Proofs of optimality in whole numbers, and solvers that are not the package's.

A float64 number is a whole number times a power of two. Scaled by a common power of
two, costs and potentials become Python's integers, and sums of them are exact.
"""

import math
from fractions import Fraction

import numpy as np
import ot
from scipy.optimize import linear_sum_assignment, linprog
from scipy.sparse import eye_array, kron

# HiGHS keeps equations to 1e-7 by default, of each unit; 1e-10 is the least it takes.
HIGHS_OPTIONS = {
    "primal_feasibility_tolerance": 1e-10,
    "dual_feasibility_tolerance": 1e-10,
}


def as_integers(*arrays):
    """Return arrays of Python's integers in the ratios of the given float64 numbers.

    Returns
    -------
    wholes : list of ndarray of object
        The numbers times `scale`.
    scale : Fraction
        A power of two.
    """
    split = [np.frexp(np.asarray(array, dtype=np.float64)) for array in arrays]
    lowest = min(
        int(exponent[mantissa != 0].min(initial=0)) for mantissa, exponent in split
    )
    wholes = []
    for mantissa, exponent in split:
        digits = np.ldexp(mantissa, 53).astype(np.int64)
        shifts = np.where(digits == 0, 0, exponent - lowest)
        whole = [
            int(digit) << int(shift)
            for digit, shift in zip(digits.flat, shifts.flat, strict=True)
        ]
        wholes.append(np.array(whole, dtype=object).reshape(mantissa.shape))
    return wholes, Fraction(2) ** (53 - lowest)


def exact_gap(result, costs):
    """Compute cost and duality gap of a plan between all units without rounding.

    The flow is in whole numbers. Potentials are lowered by their largest violation of
    u_i + v_j <= c_ij before they give the bound.

    Returns
    -------
    cost, gap : Fraction
        Cost of the plan, and cost minus the proven bound of every plan's cost.
    """
    (costs, u, v), scale = as_integers(costs, *result.potentials)
    flow = result.flow.tocoo()
    rows, columns = _sums(result.flow)
    total = sum(rows)
    cost = sum(
        int(amount) * costs[i, j]
        for amount, i, j in zip(flow.data, flow.row, flow.col, strict=True)
    )
    violation = max((u[:, np.newaxis] + v - costs).max(), 0)
    bound = sum(m * p for m, p in zip(rows, u, strict=True))
    bound += sum(m * p for m, p in zip(columns, v, strict=True))
    bound -= total * violation
    return Fraction(cost, total) / scale, Fraction(cost - bound, total) / scale


def exact_partial_gap(result, costs, mass):
    """Compute cost and duality gap of a partial plan, up to the rounding of `mass`.

    With row masses a and column masses b that each sum to 1, and u_i + v_j <= c_ij, a
    plan of a total mass w costs at least ::

        sum_i a_i (u_i - max u) + sum_j b_j (v_j - max v) + w (max u + max v)
    """
    masses = [[Fraction(float(part)) for part in side] for side in result.masses]
    masses = [[part / sum(side) for part in side] for side in masses]
    (costs, u, v), scale = as_integers(costs, *result.potentials)
    flow = result.flow.tocoo()
    amount = Fraction(mass) / sum(map(int, flow.data))
    cost = amount * sum(
        int(part) * costs[i, j]
        for part, i, j in zip(flow.data, flow.row, flow.col, strict=True)
    )
    violation = max((u[:, np.newaxis] + v - costs).max(), 0)
    u = u - violation
    bound = Fraction(mass) * (max(u) + max(v))
    for side, potentials in zip(masses, (u, v), strict=True):
        largest = max(potentials)
        bound += sum(m * (p - largest) for m, p in zip(side, potentials, strict=True))
    return cost / scale, (cost - bound) / scale


def _sums(flow):
    """Return the sums of rows and of columns of a flow, as Python's integers."""
    return [list(map(int, np.asarray(flow.sum(axis=axis)))) for axis in (1, 0)]


def exact_assignment_cost(costs):
    """Return the least sum of a square matrix of Python's integers, by the Hungarian
    algorithm with shortest paths. It is slow, and rounds nothing."""
    n = len(costs)
    rows, columns = [0] * n, [0] * (n + 1)
    # Row of each column. Column n is where each search starts.
    assigned = [None] * (n + 1)
    for row in range(n):
        assigned[n], column = row, n
        paths, previous, reached = [math.inf] * n, [n] * n, set()
        while assigned[column] is not None:
            reached.add(column)
            current = assigned[column]
            for j in set(range(n)) - reached:
                path = int(costs[current, j]) - rows[current] - columns[j]
                if path < paths[j]:
                    paths[j], previous[j] = path, column
            nearest = min(set(range(n)) - reached, key=paths.__getitem__)
            step = paths[nearest]
            for j in reached:
                rows[assigned[j]] += step
                columns[j] -= step
            paths = [p if j in reached else p - step for j, p in enumerate(paths)]
            column = nearest
        while column != n:
            assigned[column] = assigned[previous[column]]
            column = previous[column]
    return sum(rows) + sum(columns[:n])


def exact_excess(flow, costs):
    """Return how much the cost of a flow between all units exceeds the least cost.

    Parameters
    ----------
    flow : ndarray of shape (n, k)
        Plan, whose entries are proportional to whole numbers.
    costs : ndarray of float64 of shape (n, k)
        Costs.

    Returns
    -------
    excess : Fraction
        Excess per unit of mass.
    """
    n, k = costs.shape
    common = math.lcm(n, k)
    (wholes,), scale = as_integers(costs)
    repeated = np.repeat(np.repeat(wholes, common // n, 0), common // k, 1)
    amounts = np.rint(flow / flow.sum() * common).astype(int)
    found = sum(int(a) * c for a, c in zip(amounts.flat, wholes.flat, strict=True))
    return Fraction(found - exact_assignment_cost(repeated), common) / scale


# -- other solvers -----------------------------------------------------------------


def scaled_to_one(costs):
    """Return costs from 0 to 1 in float64."""
    costs = np.asarray(costs, dtype=np.float64)
    offset = costs.min()
    spread = costs.max() - offset
    return (costs - offset) / (spread if spread > 0 else 1.0)


def by_linprog(scaled, rows, columns, mass=1.0):
    """Return the least cost by linear programming (HiGHS). Masses sum to 1."""
    n, k = scaled.shape
    sums = [kron(eye_array(n), np.ones((1, k))), kron(np.ones((1, n)), eye_array(k))]
    limits = [rows, columns]
    if mass < 1:
        solved = linprog(
            scaled.ravel(),
            A_ub=np.vstack([part.toarray() for part in sums]),
            b_ub=np.concatenate(limits),
            A_eq=np.ones((1, n * k)),
            b_eq=[mass],
            options=HIGHS_OPTIONS,
        )
    else:
        # One equation follows from the others, and rounding could contradict it.
        solved = linprog(
            scaled.ravel(),
            A_eq=np.vstack([part.toarray() for part in sums])[:-1],
            b_eq=np.concatenate(limits)[:-1],
            options=HIGHS_OPTIONS,
        )
    assert solved.status == 0, solved.message
    return solved.fun


def by_assignment(scaled, rows, columns):
    """Return the least cost by assignment, of units repeated to equal numbers."""
    n, k = scaled.shape
    common = math.lcm(n, k)
    repeated = np.repeat(np.repeat(scaled, common // n, 0), common // k, 1)
    return repeated[linear_sum_assignment(repeated)].mean()


def by_pot(scaled, rows, columns):
    """Return the least cost by the network simplex of POT, for float masses."""
    n, k = scaled.shape
    divisor = math.gcd(n, k)
    plan = ot.emd(
        np.full(n, float(k // divisor)), np.full(k, float(n // divisor)), scaled
    )
    return float((plan / plan.sum() * scaled).sum())


def solvers_for(shape):
    """Return the solvers that take costs of this shape, with equal masses, in time."""
    found = {"ot.emd": by_pot}
    if shape[0] * shape[1] <= 300:
        found["linprog"] = by_linprog
    if math.lcm(*shape) <= 160:
        found["linear_sum_assignment"] = by_assignment
    return found

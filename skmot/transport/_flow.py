"""Optimal flow by column generation: network simplex on a selected subset of the arcs.

An optimal flow uses at most n + k - 1 of the n k arcs. The simplex first solves the
problem on the arcs with the smallest reduced costs under approximate potentials. Then
the reduced costs of all arcs are computed in float64 with its potentials. Arcs that can
lower the cost are added, and the simplex runs again. If there is no such arc, the flow
is optimal over all arcs.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array

from skmot._utils.array_api import to_numpy
from skmot.transport._assignment import solve_assignment
from skmot.transport._costs import CostMatrix
from skmot.transport._simplex import SimplexResult, solve_on_all, solve_on_arcs

# Number of arcs per row and column that are selected first. With fewer arcs more must
# be added later, with more arcs the simplex is slower. In measurements 6 to 10 were
# equally fast, and 10 needed fewer rounds.
_ARCS_A_UNIT = 10
# Parameters of the approximate potentials: entropy in standard deviations of the costs,
# and number of Sinkhorn iterations. In measurements .2 and 5 were as good, and
# entropies of .1, .5 or 1 needed more rounds.
_ENTROPY, _SCALINGS = 0.3, 3
# exp(-80) is still a normal number in float32.
_LEAST_EXPONENT = -80.0
# The Sinkhorn kernel of up to this many arcs is kept (256 MB in float32). That of more
# arcs is computed again in each iteration. This takes twice as long, but a kernel that
# is kept would need as much memory as the costs.
_MOST_KEPT = 2**26
# For up to this many arcs the simplex uses all of them, which is faster than selecting.
_FEW_ARCS = 25_000
# Square problems with at least this many rows are solved from approximate potentials.
# For fewer rows they take longer to compute than the assignment.
_FEWEST_ROWS = 100
# If more than this fraction of all arcs would be added, the simplex also uses all arcs:
# the potentials are then inaccurate, and many rounds would be needed.
_LARGEST_SHARE = 0.1
# After this number of rounds the simplex uses all arcs. Two or three are typical.
_MOST_ROUNDS = 8
# For more than this many arcs the simplex never uses all of them, because it needs
# about 40 bytes for each (2.7 GB). It then has more rounds, which so far only costs
# with a very large number of nearly optimal flows have used up, such as distances
# between points on a line. The flow is returned with its bound.
_MOST_ON_ALL = 2**26
_MOST_ROUNDS_OF_LARGE = 50
# If more missing arcs are found than this, a selection of them is kept (64 MB).
_MOST_MISSING = 4_000_000
# If the fraction of distinct costs, in sampled rows or columns, is below this, the
# simplex uses all arcs: with ties many flows are optimal, and it finds one quickly.
_FEWEST_DISTINCT = 1 / 16
_SAMPLED_LINES, _SAMPLED_ARCS = 8, 20_000
# Reduced costs above this are rounding errors, for costs from 0 to 1: the potentials of
# the simplex have an error of about 1e-13.
_NEGATIVE = -1e-11
# If there are many missing arcs, those are added whose reduced cost is at least this
# fraction of the most negative one of their row or column. The most negative ones
# overall would be in few rows only.
_NEAR_WORST = 0.5


@dataclass(frozen=True)
class Flow:
    """A flow, its cost, and potentials that give a lower bound of the optimum.

    Attributes
    ----------
    shape : tuple of int
        Shape (n, k) of the costs.
    arcs : ndarray of int64 of shape (n_used,)
        Flat indices of the arcs with a positive flow, in increasing order.
    amounts : ndarray of int64 of shape (n_used,)
        Integer flow along each arc.
    cost : float
        Cost per unit of mass, for costs from 0 to 1.
    rows, columns : ndarray of float64 of shape (n,) and (k,)
        Feasible potentials for costs from 0 to 1: the sum of the potentials of a row
        and a column is at most the cost of their arc in float64.
    """

    shape: tuple[int, int]
    arcs: np.ndarray
    amounts: np.ndarray
    cost: float
    rows: np.ndarray
    columns: np.ndarray

    def matrices(self, *values):
        """Return csr_arrays with values on the arcs of the flow."""
        n, k = self.shape
        starts, ends = np.divmod(self.arcs, k)
        bounds = np.concatenate([[0], np.cumsum(np.bincount(starts, minlength=n))])
        return [
            csr_array((data, ends, bounds), shape=self.shape, copy=True)
            for data in values
        ]


def cheapest_flow(costs, row_masses, column_masses, max_pivots, potentials=None):
    """Compute the optimal flow.

    Parameters
    ----------
    costs : CostMatrix
        Costs of the arcs.
    row_masses, column_masses : ndarray of int64 of shape (n,) and (k,)
        Masses in integers. POT can report that uniform float masses are infeasible,
        because their sums differ by rounding errors (POT issue 190).
    max_pivots : int
        Maximum number of pivots of each run of the network simplex.
    potentials : tuple of ndarray, of shape (n,) and (k,), default=None
        Approximate potentials for costs from 0 to 1, for a warm start. If None, they
        are computed here.

    Returns
    -------
    flow : Flow
        Optimal flow. If the simplex stopped at `max_pivots`, or was used in too many
        rounds, it has the required masses but may not be optimal.

    Raises
    ------
    RuntimeError
        If the simplex fails, or its flow does not have the required masses.
    """
    n, k = costs.shape
    masses = row_masses, column_masses
    if costs.spread == 0 or min(n, k) == 1:
        return _only_flow(costs, masses)
    if n == k and n * k <= _FEW_ARCS and row_masses.max() == column_masses.max() == 1:
        return _assign(costs, masses)
    can_use_all = n * k <= _MOST_ON_ALL
    most_rounds = _MOST_ROUNDS if can_use_all else _MOST_ROUNDS_OF_LARGE
    if n * k <= _FEW_ARCS or (can_use_all and _has_ties(costs)):
        most_rounds = 0
    else:
        if potentials is None:
            potentials = _approximate_potentials(costs, masses)
        arcs = _choose_arcs(costs, potentials, masses)
    for n_left in reversed(range(most_rounds)):
        found = solve_on_arcs(
            arcs, costs.on_arcs(arcs), *masses, potentials, max_pivots
        )
        if not found.is_optimal:
            return _interrupted(costs, found, masses)
        potentials = found.potentials
        rows, missing, n_missing = _price(costs, potentials)
        if n_missing == 0 or (n_left == 0 and not can_use_all):
            return _flow(costs, found, masses, rows, potentials[1])
        if can_use_all and n_missing > _LARGEST_SHARE * n * k:
            break
        arcs = np.concatenate([arcs, missing])
    # Without a warm start: inaccurate potentials would need more pivots.
    found = solve_on_all(costs.scaled(), *masses, max_pivots)
    if not found.is_optimal:
        return _interrupted(costs, found, masses)
    rows, *_ = _price(costs, (None, found.potentials[1]))
    return _flow(costs, found, masses, rows, found.potentials[1])


# -- selecting arcs ----------------------------------------------------------------


def _has_ties(costs):
    """Whether sampled rows, or sampled columns, contain few distinct costs."""
    xp, matrix = costs.xp, costs.matrix
    for axis in (0, 1):
        lines = np.linspace(0, costs.shape[axis] - 1, _SAMPLED_LINES).astype(np.int64)
        sample = xp.take(matrix, costs.beside(lines), axis=axis)
        ordered = xp.sort(sample if axis == 0 else xp.matrix_transpose(sample), axis=1)
        steps = ordered[:, 1:] > ordered[:, :-1]
        if float(xp.mean(xp.astype(steps, xp.float32))) < _FEWEST_DISTINCT:
            return True
    return False


def _approximate_potentials(costs, masses):
    """Compute approximate potentials by a few Sinkhorn iterations."""
    xp, matrix = costs.xp, costs.matrix
    rows, columns = [], None
    for part in costs.blocks():
        block = matrix[part, :]
        lowest = xp.min(block, axis=1)
        rows.append(lowest)
        least = xp.min(block - lowest[:, None], axis=0)
        columns = least if columns is None else xp.minimum(columns, least)
    rows = xp.concat(rows)
    # Each row and column now has a reduced cost of 0, so no sum of the kernel is 0.
    sample = to_numpy(costs.take(_sampled_arcs(costs)))
    # Squares of large costs overflow in float32.
    deviation = float(sample.std(dtype=np.float64))
    entropy = max(_ENTROPY * deviation, 1e-6 * costs.factor)
    kernel = _Kernel(costs, rows, columns, entropy)
    if math.prod(costs.shape) <= _MOST_KEPT:
        kernel = list(kernel)
    row_masses, column_masses = (
        costs.like(mass / mass.sum() * len(mass)) for mass in masses
    )
    column_factors = xp.ones_like(columns)
    for _ in range(_SCALINGS):
        sums = xp.zeros_like(columns)
        for part, block in kernel:
            sums += (row_masses[part] / (block @ column_factors)) @ block
        column_factors = column_masses / sums
    row_factors = [
        row_masses[part] / (block @ column_factors) for part, block in kernel
    ]
    rows += entropy * xp.log(xp.concat(row_factors))
    columns += entropy * xp.log(column_factors)
    return (
        costs.from_matrix(rows=to_numpy(rows).astype(np.float64)),
        costs.from_matrix(columns=to_numpy(columns).astype(np.float64)),
    )


@dataclass(frozen=True)
class _Kernel:
    """Sinkhorn kernel, exp(-reduced cost / entropy), which is computed in blocks.

    Attributes
    ----------
    costs : CostMatrix
        Costs of the arcs.
    rows, columns : array of shape (n,) and (k,)
        Potentials for the matrix, in its array library and dtype.
    entropy : float
        Entropy in units of the matrix.
    """

    costs: CostMatrix
    rows: object
    columns: object
    entropy: float

    def __iter__(self):
        """Yield slices of rows, and the rows of the kernel."""
        xp, matrix = self.costs.xp, self.costs.matrix
        least = self.costs.like(_LEAST_EXPONENT)
        for part in self.costs.blocks():
            block = matrix[part, :] - self.rows[part, None]
            block -= self.columns
            block *= -1.0 / self.entropy
            yield part, xp.exp(xp.maximum(block, least))


def _choose_arcs(costs, potentials, masses):
    """Return the arcs with the smallest reduced costs, and arcs of a feasible flow."""
    xp, matrix = costs.xp, costs.matrix
    n, k = costs.shape
    wanted = _ARCS_A_UNIT * (n + k)
    rows = costs.like(costs.to_matrix(rows=potentials[0]))
    columns = costs.like(costs.to_matrix(columns=potentials[1]))
    sample = _sampled_arcs(costs)
    reduced = to_numpy(
        costs.take(sample)
        - xp.take(rows, costs.beside(sample // k), axis=0)
        - xp.take(columns, costs.beside(sample % k), axis=0)
    )
    rank = min(int(len(sample) * wanted / (n * k)), len(sample) - 1)
    rows = rows + costs.like(np.partition(reduced, rank)[rank])
    chosen = []
    for part in costs.blocks():
        is_low = matrix[part, :] - columns <= rows[part, None]
        arcs = to_numpy(xp.nonzero(xp.reshape(is_low, (-1,)))[0])
        # If too many arcs have small reduced costs, only some of them are used.
        chosen.append(_subsample(arcs, 2 * wanted) + part.start * k)
    chosen = _subsample(np.concatenate(chosen), 2 * wanted)
    starts, ends, _ = staircase(*masses)
    # The result can contain an arc twice.
    return np.concatenate([chosen, starts * k + ends])


def _sampled_arcs(costs):
    """Return evenly spaced flat indices that cover all columns."""
    n, k = costs.shape
    step = max(1, n * k // _SAMPLED_ARCS)
    while math.gcd(step, k) > 1:
        step += 1
    return np.arange(0, n * k, step)


def _subsample(arcs, limit):
    """Return at most `limit` of the arcs, evenly spaced."""
    return arcs[:: -(-len(arcs) // limit)] if len(arcs) > limit else arcs


# -- reduced costs -----------------------------------------------------------------


def _price(costs, potentials):
    """Compute the reduced costs of all arcs in float64.

    Parameters
    ----------
    costs : CostMatrix
        Costs of the arcs.
    potentials : tuple of ndarray, of shape (n,) and (k,)
        Potentials for costs from 0 to 1. If the first one is None, missing arcs are not
        searched for.

    Returns
    -------
    rows : ndarray of shape (n,)
        Largest row potentials that are feasible with the given column potentials (the
        c-transform).
    missing : ndarray of int64
        Flat indices of arcs that can lower the cost: all of them, or if there are many,
        some of every row and column that has any.
    n_missing : int
        Number of arcs that can lower the cost.
    """
    xp, matrix = costs.xp, costs.matrix
    k = matrix.shape[1]
    given, columns = potentials
    columns = costs.beside(costs.to_matrix(columns=columns))
    if given is not None:
        given = costs.to_matrix(rows=given)
        bounds = costs.beside(given + _NEGATIVE * costs.factor)
    lowest, missing, reduced = [], [], []
    n_kept = n_missing = 0
    for part in costs.blocks():
        slack = xp.astype(matrix[part, :], xp.float64)
        slack -= columns
        least = xp.min(slack, axis=1)
        lowest.append(to_numpy(least))
        if given is None or not xp.any(least < bounds[part]):
            continue
        is_missing = xp.reshape(slack < bounds[part, None], (-1,))
        arcs = xp.nonzero(is_missing)[0]
        slack = to_numpy(xp.take(xp.reshape(slack, (-1,)), arcs, axis=0))
        arcs = to_numpy(arcs) + part.start * k
        missing.append(arcs)
        reduced.append(slack - given[arcs // k])
        n_missing += len(arcs)
        n_kept += len(arcs)
        if n_kept > _MOST_MISSING:
            missing, reduced = (
                [part] for part in _worst(missing, reduced, costs.shape)
            )
            n_kept = len(missing[0])
    rows = costs.from_matrix(rows=np.concatenate(lowest))
    if n_missing == 0:
        return rows, np.empty(0, dtype=np.int64), 0
    return rows, _worst(missing, reduced, costs.shape)[0], n_missing


def _worst(arcs, reduced, shape):
    """Select missing arcs from every row and column that has some.

    Parameters
    ----------
    arcs, reduced : list of ndarray
        Flat indices of the missing arcs, and their reduced costs.
    shape : tuple of int
        Shape (n, k) of the costs.

    Returns
    -------
    arcs, reduced : ndarray
        The selection, or all if there are few.
    """
    arcs, reduced = np.concatenate(arcs), np.concatenate(reduced)
    limit = _ARCS_A_UNIT * sum(shape)
    if len(arcs) <= limit:
        return arcs, reduced
    near_worst = np.zeros(len(arcs), dtype=bool)
    for side, n_lines in zip(np.divmod(arcs, shape[1]), shape, strict=True):
        worst = np.zeros(n_lines)
        np.minimum.at(worst, side, reduced)
        near_worst |= reduced <= _NEAR_WORST * worst[side]
    return _subsample(arcs[near_worst], limit), _subsample(reduced[near_worst], limit)


# -- flows -------------------------------------------------------------------------


def staircase(row_masses, column_masses):
    """Compute a feasible flow that fills the columns in order (north-west corner rule).

    Parameters
    ----------
    row_masses, column_masses : ndarray of int64 of shape (n,) and (k,)
        Masses with equal sums.

    Returns
    -------
    rows, columns, amounts : ndarray of int64
        Row, column and flow of at most n + k - 1 arcs.
    """
    sent, received = np.cumsum(row_masses), np.cumsum(column_masses)
    steps = np.union1d(sent, received)
    amounts = np.diff(steps, prepend=0)
    steps, amounts = steps[amounts > 0], amounts[amounts > 0]
    return np.searchsorted(sent, steps), np.searchsorted(received, steps), amounts


def complete(rows, columns, amounts, row_masses, column_masses):
    """Complete a partial flow, so that it has the given masses.

    Parameters
    ----------
    rows, columns, amounts : ndarray of int64
        Row, column and flow of each arc. Flow that exceeds the masses is removed.
    row_masses, column_masses : ndarray of int64 of shape (n,) and (k,)
        Masses with equal sums.

    Returns
    -------
    rows, columns, amounts : ndarray of int64
        Row, column and flow of each arc of the completed flow. An arc can occur twice.
    """
    # The flow of an interrupted simplex can exceed the masses, because of its
    # artificial arcs.
    amounts = _limit_amounts(row_masses, rows, amounts)
    amounts = _limit_amounts(column_masses, columns, amounts)
    rest = staircase(
        row_masses - _sums(rows, amounts, len(row_masses)),
        column_masses - _sums(columns, amounts, len(column_masses)),
    )
    return tuple(
        np.concatenate(parts)
        for parts in zip((rows, columns, amounts), rest, strict=True)
    )


def _limit_amounts(masses, lines, amounts):
    """Reduce the amounts of each row, or column, to at most its mass."""
    order = np.argsort(lines, kind="stable")
    lines, sorted_amounts = lines[order], amounts[order]
    before = np.cumsum(sorted_amounts) - sorted_amounts
    before -= before[np.searchsorted(lines, lines)]
    cut = np.empty_like(amounts)
    cut[order] = np.clip(masses[lines] - before, 0, sorted_amounts)
    return cut


def _tighten(costs, rows):
    """Compute feasible potentials from any row potentials, by two c-transforms.

    The transforms are v_j = min_i c_ij - u_i and then u_i = min_j c_ij - v_j, over all
    entries in float64. For any initial u, mean(u) + mean(v) is then a lower bound of
    the cost.

    Parameters
    ----------
    costs : CostMatrix
        Costs of the arcs.
    rows : ndarray of shape (n,)
        Potentials u for costs from 0 to 1.

    Returns
    -------
    rows, columns : ndarray of float64 of shape (n,) and (k,)
        Potentials u and v for costs from 0 to 1.
    """
    xp, matrix = costs.xp, costs.matrix
    rows, columns = costs.beside(costs.to_matrix(rows=rows)), None
    for part in costs.blocks():
        slack = xp.astype(matrix[part, :], xp.float64) - rows[part, None]
        least = xp.min(slack, axis=0)
        columns = least if columns is None else xp.minimum(columns, least)
    columns = costs.from_matrix(columns=to_numpy(columns))
    return _price(costs, (None, columns))[0], columns


def _assign(costs, masses):
    """Return the optimal flow of a small problem in which all masses are 1."""
    columns = np.zeros(costs.shape[1])
    if len(columns) >= _FEWEST_ROWS:
        columns = _approximate_potentials(costs, masses)[1]
    found = solve_assignment(costs.scaled(), columns)
    rows, *_ = _price(costs, (None, found.potentials[1]))
    return _flow(costs, found, masses, rows, found.potentials[1])


def _only_flow(costs, masses):
    """Return a flow if all flows have the same cost: equal costs, or a single unit."""
    rows, columns, amounts = staircase(*masses)
    n, k = costs.shape
    found = SimplexResult(rows * k + columns, amounts, None, True)
    # The potentials of equal costs are 0.
    if k == 1:
        rows, columns = costs.on_arcs(np.arange(n)), np.zeros(k)
    else:
        rows, columns = np.zeros(n), costs.on_arcs(np.arange(k))
    return _flow(costs, found, masses, rows, columns)


def _interrupted(costs, found, masses):
    """Complete the flow of an interrupted simplex."""
    k = costs.shape[1]
    rows, columns, amounts = complete(*np.divmod(found.arcs, k), found.amounts, *masses)
    found = replace(found, arcs=rows * k + columns, amounts=amounts)
    return _flow(costs, found, masses, *_tighten(costs, found.potentials[0]))


def _flow(costs, found, masses, rows, columns):
    n, k = costs.shape
    arcs, positions = np.unique(found.arcs[found.amounts > 0], return_inverse=True)
    amounts = _sums(positions, found.amounts[found.amounts > 0], len(arcs))
    if not (
        np.array_equal(_sums(arcs // k, amounts, n), masses[0])
        and np.array_equal(_sums(arcs % k, amounts, k), masses[1])
    ):
        raise RuntimeError(
            f"The flow found for {n} x {k} costs has not the masses that are required."
        )
    cost = float(amounts @ costs.on_arcs(arcs)) / int(masses[0].sum())
    return Flow(costs.shape, arcs, amounts, cost, rows, columns)


def _sums(lines, amounts, n_lines):
    """Sum integers by row or by column, exactly for sums up to 2^53."""
    return np.bincount(lines, weights=amounts, minlength=n_lines).astype(np.int64)

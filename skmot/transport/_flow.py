"""The cheapest flow: network simplex on chosen arcs, priced until none is missing.

An optimal flow uses at most n + k - 1 of the n k arcs. The simplex gets those that can
matter: the arcs of least reduced cost under approximate potentials. Its own potentials
then price all arcs, in float64; those that would lower the cost are added, and it runs
again. It ends when there is none, which proves the flow optimal over all arcs.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array

from skmot._array_api import to_numpy
from skmot.transport._assignment import solve_assignment
from skmot.transport._simplex import SimplexResult, solve_on_all, solve_on_arcs

# Arcs chosen at first, a row and a column. Fewer leave more to be added later, more
# make the simplex slower; 6 to 10 measured alike, and 10 needed fewer rounds.
_ARCS_A_UNIT = 10
# The approximate potentials: entropy in standard deviations of the costs, and how often
# they are scaled. Measured: .2 and 5 are as good, .1, .5 or 1 need more rounds.
_ENTROPY, _SCALINGS = 0.3, 3
# exp(-80) is still a normal number in float32.
_LEAST_EXPONENT = -80.0
# Up to this many arcs the simplex takes all of them: choosing would cost more.
_FEW_ARCS = 25_000
# Where more than this share of all arcs is found missing, it takes all, too: the
# potentials are then far off, and rounds would be many.
_LARGEST_SHARE = 0.1
# Rounds after which it takes all; two or three are the rule.
_MOST_ROUNDS = 8
# The share of distinct costs, in sampled rows or columns, below which choosing is of no
# use: ties leave many flows as good, and the simplex on all arcs finds one soon.
_FEWEST_DISTINCT = 1 / 16
_SAMPLED_LINES, _SAMPLED_ARCS = 8, 20_000
# Reduced costs above this, of costs from 0 to 1, are rounding: the potentials of the
# simplex are good to about 1e-13.
_NEGATIVE = -1e-11
# Of many missing arcs, those are added whose reduced cost is at least this share of the
# worst of their row or column: the worst overall are all in few rows.
_NEAR_WORST = 0.5


@dataclass(frozen=True)
class Flow:
    """A flow, its cost, and potentials that bound what any flow costs.

    Attributes
    ----------
    shape : tuple of int
        Of the costs, (n, k).
    arcs : ndarray of int64 of shape (n_used,)
        Flat indices of the arcs it uses, ascending.
    amounts : ndarray of int64 of shape (n_used,)
        What each carries, in whole numbers.
    cost : float
        A unit of mass, of costs from 0 to 1.
    rows, columns : ndarray of float64 of shape (n,) and (k,)
        Of costs from 0 to 1; the sum of a row's and a column's is at most the cost of
        their arc, over all arcs, in float64.
    """

    shape: tuple[int, int]
    arcs: np.ndarray
    amounts: np.ndarray
    cost: float
    rows: np.ndarray
    columns: np.ndarray

    def matrix(self, values):
        """Return numbers on the arcs that are used as a csr_array."""
        n, k = self.shape
        starts, ends = np.divmod(self.arcs, k)
        bounds = np.concatenate([[0], np.cumsum(np.bincount(starts, minlength=n))])
        return csr_array((values, ends, bounds), shape=self.shape)


def cheapest_flow(costs, row_masses, column_masses, max_pivots, potentials=None):
    """Find the cheapest flow.

    Parameters
    ----------
    costs : CostMatrix
        The costs.
    row_masses, column_masses : ndarray of int64 of shape (n,) and (k,)
        In whole numbers: uniform float masses are at times called infeasible (POT
        issue 190), as their float sums differ.
    max_pivots : int
        Pivots of a run of the network simplex after which it gives up.
    potentials : tuple of ndarray, default=None
        Approximate ones, of costs from 0 to 1, in place of our own.

    Returns
    -------
    flow : Flow
        Optimal, unless the simplex gave up; a flow all the same.

    Raises
    ------
    RuntimeError
        If the simplex fails, or its flow does not have the masses asked for.
    """
    n, k = costs.shape
    masses = row_masses, column_masses
    if costs.spread == 0 or min(n, k) == 1:
        return _only_flow(costs, masses)
    arcs = None
    if n * k > _FEW_ARCS and not _has_ties(costs):
        if potentials is None:
            potentials = _approximate_potentials(costs, masses)
        arcs = _choose_arcs(costs, potentials, masses)
    for _ in range(_MOST_ROUNDS if arcs is not None else 0):
        found = solve_on_arcs(
            arcs, costs.on_arcs(arcs), *masses, potentials, max_pivots
        )
        if not found.is_optimal:
            return _interrupted(costs, found, masses)
        potentials = found.potentials
        rows, missing = _price(costs, potentials)
        if missing is None:
            break
        if len(missing) == 0:
            return _flow(costs, found, masses, rows, potentials[1])
        arcs = np.concatenate([arcs, missing])
    if n == k and n * k <= _FEW_ARCS and masses[0].max() == masses[1].max() == 1:
        found = solve_assignment(costs.scaled())
    else:
        # From nothing: potentials that are far off, as here, cost it more pivots.
        found = solve_on_all(costs.scaled(), *masses, max_pivots)
    if not found.is_optimal:
        return _interrupted(costs, found, masses)
    rows, _ = _price(costs, (None, found.potentials[1]))
    return _flow(costs, found, masses, rows, found.potentials[1])


# -- choosing arcs -----------------------------------------------------------------


def _has_ties(costs):
    """Whether most costs of sampled rows, or of sampled columns, are not distinct."""
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
    """Scale exp(-costs / entropy) a few times towards the masses (Sinkhorn)."""
    xp, matrix = costs.xp, costs.matrix
    rows = xp.min(matrix, axis=1)
    columns = None
    for part in costs.blocks():
        least = xp.min(matrix[part, :] - rows[part, None], axis=0)
        columns = least if columns is None else xp.minimum(columns, least)
    # Each row and each column now has a reduced cost of 0, so that no sum vanishes.
    sample = to_numpy(costs.take(_sampled_arcs(costs)))
    entropy = max(_ENTROPY * float(sample.std()), 1e-6 * costs.factor)
    kernel = xp.empty_like(matrix)
    for part in costs.blocks():
        reduced = matrix[part, :] - rows[part, None]
        reduced -= columns
        reduced *= -1.0 / entropy
        kernel[part, :] = xp.exp(xp.maximum(reduced, costs.like(_LEAST_EXPONENT)))
    row_shares, column_shares = (
        costs.like(mass / mass.sum() * len(mass)) for mass in masses
    )
    column_factors = xp.ones_like(columns)
    for _ in range(_SCALINGS):
        row_factors = row_shares / (kernel @ column_factors)
        column_factors = column_shares / (row_factors @ kernel)
    row_factors = row_shares / (kernel @ column_factors)
    rows += entropy * xp.log(row_factors)
    columns += entropy * xp.log(column_factors)
    return (
        costs.from_matrix(rows=to_numpy(rows).astype(np.float64)),
        costs.from_matrix(columns=to_numpy(columns).astype(np.float64)),
    )


def _choose_arcs(costs, potentials, masses):
    """Return the arcs of least reduced cost, and some along which there is a flow."""
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
        # Where many arcs are as good as each other, some of them will do.
        chosen.append(_thinned(arcs, 2 * wanted) + part.start * k)
    chosen = _thinned(np.concatenate(chosen), 2 * wanted)
    starts, ends, _ = staircase(*masses)
    # An arc may be there twice.
    return np.concatenate([chosen, starts * k + ends])


def _sampled_arcs(costs):
    """Return flat indices all over the matrix, of all columns."""
    n, k = costs.shape
    step = max(1, n * k // _SAMPLED_ARCS)
    while math.gcd(step, k) > 1:
        step += 1
    return np.arange(0, n * k, step)


def _thinned(arcs, limit):
    """Return so many of the arcs at most, evenly spread."""
    return arcs[:: -(-len(arcs) // limit)] if len(arcs) > limit else arcs


# -- pricing arcs ------------------------------------------------------------------


def _price(costs, potentials):
    """Read the reduced costs of all arcs, in float64.

    Parameters
    ----------
    costs : CostMatrix
        The costs.
    potentials : tuple of ndarray, of shape (n,) and (k,)
        Of costs from 0 to 1. Without the first, missing arcs are not looked for.

    Returns
    -------
    rows : ndarray of shape (n,)
        The largest row potentials that are feasible with the column potentials given:
        their c-transform.
    missing : ndarray of int64 or None
        Flat indices of arcs that would lower the cost; None where there are so many
        that all arcs are to be taken.
    """
    xp, matrix = costs.xp, costs.matrix
    k = matrix.shape[1]
    given, columns = potentials
    columns = costs.beside(costs.to_matrix(columns=columns))
    if given is not None:
        given = costs.to_matrix(rows=given)
        bounds = costs.beside(given + _NEGATIVE * costs.factor)
    lowest, missing, reduced, n_missing = [], [], [], 0
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
        if n_missing > _LARGEST_SHARE * math.prod(matrix.shape):
            return None, None
    rows = costs.from_matrix(rows=np.concatenate(lowest))
    if not missing:
        return rows, np.empty(0, dtype=np.int64)
    return rows, _worst(np.concatenate(missing), np.concatenate(reduced), costs.shape)


def _worst(arcs, reduced, shape):
    """Return some of the missing arcs, of every row and column that misses any."""
    limit = _ARCS_A_UNIT * sum(shape)
    if len(arcs) <= limit:
        return arcs
    near_worst = np.zeros(len(arcs), dtype=bool)
    for side, n_lines in zip(np.divmod(arcs, shape[1]), shape, strict=True):
        worst = np.zeros(n_lines)
        np.minimum.at(worst, side, reduced)
        near_worst |= reduced <= _NEAR_WORST * worst[side]
    return _thinned(arcs[near_worst], limit)


# -- flows -------------------------------------------------------------------------


def staircase(row_masses, column_masses):
    """Send rows' masses to columns in their order.

    Parameters
    ----------
    row_masses, column_masses : ndarray of int64 of shape (n,) and (k,)
        Of equal sum.

    Returns
    -------
    rows, columns, amounts : ndarray of int64
        At most n + k - 1 arcs, and what each carries.
    """
    sent, received = np.cumsum(row_masses), np.cumsum(column_masses)
    steps = np.union1d(sent, received)
    amounts = np.diff(steps, prepend=0)
    steps, amounts = steps[amounts > 0], amounts[amounts > 0]
    return np.searchsorted(sent, steps), np.searchsorted(received, steps), amounts


def complete(rows, columns, amounts, row_masses, column_masses):
    """Send what a flow leaves behind along a staircase.

    Parameters
    ----------
    rows, columns, amounts : ndarray of int64
        Arcs, and what each carries; what exceeds the masses is taken away.
    row_masses, column_masses : ndarray of int64 of shape (n,) and (k,)
        Of equal sum.

    Returns
    -------
    rows, columns, amounts : ndarray of int64
        The same of a flow of the masses; an arc may be there twice.
    """
    # An interrupted simplex may send more than there is, from artificial arcs.
    amounts = _at_most(row_masses, rows, amounts)
    amounts = _at_most(column_masses, columns, amounts)
    rest = staircase(
        row_masses - _sums(rows, amounts, len(row_masses)),
        column_masses - _sums(columns, amounts, len(column_masses)),
    )
    return tuple(
        np.concatenate(parts)
        for parts in zip((rows, columns, amounts), rest, strict=True)
    )


def _at_most(masses, lines, amounts):
    """Cut the amounts of each row, or column, where their sum exceeds its mass."""
    order = np.argsort(lines, kind="stable")
    lines, sorted_amounts = lines[order], amounts[order]
    before = np.cumsum(sorted_amounts) - sorted_amounts
    before -= before[np.searchsorted(lines, lines)]
    cut = np.empty_like(amounts)
    cut[order] = np.clip(masses[lines] - before, 0, sorted_amounts)
    return cut


def _tighten(costs, rows):
    """Make potentials feasible and as large as they go: two c-transforms.

    v_j = min_i c_ij - u_i, then u_i = min_j c_ij - v_j, over all entries in float64:
    whatever u was, mean(u) + mean(v) is then a lower bound of the cost.

    Parameters
    ----------
    costs : CostMatrix
        The costs.
    rows : ndarray of shape (n,)
        u, of costs from 0 to 1.

    Returns
    -------
    rows, columns : ndarray of float64 of shape (n,) and (k,)
        Of costs from 0 to 1.
    """
    xp, matrix = costs.xp, costs.matrix
    rows, columns = costs.beside(costs.to_matrix(rows=rows)), None
    for part in costs.blocks():
        slack = xp.astype(matrix[part, :], xp.float64) - rows[part, None]
        least = xp.min(slack, axis=0)
        columns = least if columns is None else xp.minimum(columns, least)
    columns = costs.from_matrix(columns=to_numpy(columns))
    return _price(costs, (None, columns))[0], columns


def _only_flow(costs, masses):
    """Flow where all flows cost the same: equal costs, or a side of one unit."""
    rows, columns, amounts = staircase(*masses)
    n, k = costs.shape
    found = SimplexResult(rows * k + columns, amounts, None, True)
    rows, columns = np.zeros(n), np.zeros(k)
    if costs.spread > 0 and k == 1:
        rows = costs.scaled()[:, 0]
    elif costs.spread > 0:
        columns = costs.scaled()[0]
    return _flow(costs, found, masses, rows, columns)


def _interrupted(costs, found, masses):
    """Send what an interrupted flow left behind along a staircase."""
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
            f"The flow found for {n} x {k} costs has not the masses asked for."
        )
    cost = float(amounts @ costs.on_arcs(arcs)) / int(masses[0].sum())
    return Flow(costs.shape, arcs, amounts, cost, rows, columns)


def _sums(lines, amounts, n_lines):
    """Add up whole numbers by row or by column; exact up to 2^53."""
    return np.bincount(lines, weights=amounts, minlength=n_lines).astype(np.int64)

"""Permutations of rows that keep groups, blocks or time together."""

import itertools
import math
import warnings

import numpy as np


class PiecePermutations:
    """Permutations of pieces of rows with the same size.

    Parameters
    ----------
    pieces : list of ndarray of int
        Rows of each piece, which stay together.
    """

    def __init__(self, pieces):
        self.n_rows = sum(len(piece) for piece in pieces)
        sizes = sorted({len(piece) for piece in pieces})
        # One array of shape (n_pieces, size) for each size.
        self.classes = [
            np.array([piece for piece in pieces if len(piece) == size])
            for size in sizes
        ]

    @property
    def n_distinct(self):
        return math.prod(math.factorial(len(pieces)) for pieces in self.classes)

    @property
    def movable_share(self):
        """Share of the rows whose piece has another piece of its size."""
        movable = sum(pieces.size for pieces in self.classes if len(pieces) > 1)
        return movable / self.n_rows

    def sample(self, n, random):
        """Return n random orders of the rows, of shape (n, n_rows)."""
        if self.n_distinct <= n:
            orders = list(itertools.product(*map(_all_orders, self.classes)))
            chosen = [
                orders[number] for number in _sample_equally(len(orders), n, random)
            ]
        else:
            chosen = (
                [random.permutation(len(pieces)) for pieces in self.classes]
                for _ in range(n)
            )
        rows = np.empty((n, self.n_rows), dtype=np.intp)
        for row, orders in zip(rows, chosen, strict=True):
            for pieces, order in zip(self.classes, orders, strict=True):
                row[pieces.ravel()] = pieces[list(order)].ravel()
        return rows


class CircularShifts:
    """All circular shifts of rows in time."""

    movable_share = 1.0

    def __init__(self, n_rows):
        self.n_distinct = self.n_rows = n_rows

    def sample(self, n, random):
        """Return n random orders of the rows, of shape (n, n_rows)."""
        if self.n_rows <= n:
            shifts = _sample_equally(self.n_rows, n, random)
        else:
            shifts = random.randint(self.n_rows, size=n)
        return (shifts[:, np.newaxis] + np.arange(self.n_rows)) % self.n_rows


def _all_orders(pieces):
    return itertools.permutations(range(len(pieces)))


def _sample_equally(n_distinct, n, random):
    """Sample n of few permutations, each equally often, in random order.

    The identity is then sampled so often that no p-value is below 1 / n_distinct.
    """
    rounds = [random.permutation(n_distinct) for _ in range(-(-n // n_distinct))]
    return np.concatenate(rounds)[:n]


def row_permutations(rows, codes, blocks):
    """Return the permutations of some rows that the options allow, numbered from 0."""
    n_rows = len(rows)
    if blocks is not None and not np.array_equal(np.diff(rows), np.ones(n_rows - 1)):
        raise ValueError(
            "`blocks` are of rows in time, so held-out rows must be consecutive. Use "
            "TimeSeriesSplit, KFold without shuffling, or your own (train, test) pairs."
        )
    if blocks == "circular":
        return CircularShifts(n_rows)
    positions = np.arange(n_rows)
    if blocks is not None:
        pieces = np.split(positions, range(blocks, n_rows, blocks))
    elif codes is not None:
        pieces = [positions[codes[rows] == code] for code in np.unique(codes[rows])]
    else:
        pieces = list(positions[:, np.newaxis])
    permutations = PiecePermutations(pieces)
    if permutations.n_distinct == 1:
        raise ValueError(
            f"Nothing can be permuted among {n_rows} rows: no two groups or blocks "
            "have the same size. Average repeats first, or choose smaller blocks."
        )
    return permutations


def say_permuted(codes, blocks):
    """Name the rows, groups or blocks that are permuted."""
    if blocks == "circular":
        return "rows, shifted circularly,"
    if blocks is not None:
        return f"blocks of {blocks} rows"
    return "rows" if codes is None else "groups of rows"


def warn_about_near_rows(splits, distance):
    """Warn if training rows are at most `distance` rows from held-out rows."""
    nearest = min(
        int(np.abs(train[:, np.newaxis] - [test.min(), test.max()]).min())
        for train, test in splits
    )
    if nearest <= distance:
        warnings.warn(
            f"Training rows are {nearest} row(s) from held-out ones. In a time series, "
            "rows shortly after the training rows are correlated with them, but "
            "permuted rows are not: the p-value is too small. Leave a gap, for "
            "example with TimeSeriesSplit(gap=...), or use refit=True.",
            UserWarning,
            # The stack: this function, _permute_held_out, permutation_control, its
            # wrapper, the caller.
            stacklevel=5,
        )

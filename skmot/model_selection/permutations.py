"""Permutations of rows that keep groups, blocks or time together."""

import itertools
import math
import warnings

import numpy as np

from skmot._utils.warnings import stacklevel_of_caller
from skmot.layers.labels import as_labels, list_labels


class PiecePermutations:
    """Permutations of pieces of rows with the same size.

    Parameters
    ----------
    pieces : list of ndarray of int
        Rows of each piece, which stay together.
    runs : sequence of int, default=None
        Run of each piece. Pieces only change places with pieces of the same run. None
        means that all pieces are of one run.
    """

    def __init__(self, pieces, runs=None):
        self.n_rows = sum(len(piece) for piece in pieces)
        runs = [0] * len(pieces) if runs is None else runs
        classes = {}
        for piece, run in zip(pieces, runs, strict=True):
            classes.setdefault((run, len(piece)), []).append(piece)
        # One array of shape (n_pieces, size) for each run and size.
        self.classes = [np.array(classes[key]) for key in sorted(classes)]

    @property
    def n_distinct(self):
        return math.prod(math.factorial(len(pieces)) for pieces in self.classes)

    @property
    def movable_share(self):
        """Share of the rows whose piece has another one to change places with."""
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
    """All circular shifts of rows in time, of each segment of the rows by itself.

    Parameters
    ----------
    lengths : list of int
        Number of rows of each segment.
    """

    movable_share = 1.0

    def __init__(self, lengths):
        self.lengths = lengths

    @property
    def n_distinct(self):
        return math.prod(self.lengths)

    def sample(self, n, random):
        """Return n random orders of the rows, of shape (n, n_rows)."""
        if self.n_distinct <= n:
            every = list(itertools.product(*map(range, self.lengths)))
            shifts = np.array(every)[_sample_equally(len(every), n, random)]
        else:
            shifts = np.stack(
                [random.randint(length, size=n) for length in self.lengths], axis=1
            )
        starts = np.cumsum([0, *self.lengths[:-1]])
        return np.concatenate(
            [
                start + (shift[:, np.newaxis] + np.arange(length)) % length
                for start, length, shift in zip(
                    starts, self.lengths, shifts.T, strict=True
                )
            ],
            axis=1,
        )


def _all_orders(pieces):
    return itertools.permutations(range(len(pieces)))


def _sample_equally(n_distinct, n, random):
    """Sample n of few permutations, each equally often, in random order.

    The identity is then sampled so often that no p-value is below 1 / n_distinct.
    """
    rounds = [random.permutation(n_distinct) for _ in range(-(-n // n_distinct))]
    return np.concatenate(rounds)[:n]


def read_runs(runs, n_rows):
    """Convert the labels of runs to integers that count runs in time.

    Parameters
    ----------
    runs : array-like of shape (n_rows,)
        Run (recording) of each row, of any type.
    n_rows : int
        Number of rows.

    Returns
    -------
    codes : ndarray of int of shape (n_rows,)
        Index of the run of each row, starting at 0.

    Raises
    ------
    ValueError
        If there is not one label for each row, or rows of a run are not consecutive.
    """
    if np.ndim(runs) == 0:
        raise ValueError(f"`runs` must be one label a row; got {runs!r}.")
    labels = list_labels(as_labels(runs))
    if len(labels) != n_rows:
        raise ValueError(
            "Found input variables with inconsistent numbers of samples: `runs` has "
            f"{len(labels)} labels for {n_rows} rows."
        )
    codes, found = [], {}
    for row, label in enumerate(labels):
        code = found.setdefault(label, len(found))
        if codes and code < codes[-1]:
            raise ValueError(
                f"Rows of run {label!r} are not consecutive: row {row} comes after "
                "rows of another run. Put the rows in the order of time, one run after "
                "the other, and give each run a label of its own."
            )
        codes.append(code)
    return np.array(codes)


def row_permutations(rows, codes, blocks, runs=None):
    """Return the permutations of some rows that the options allow, numbered from 0.

    Parameters
    ----------
    rows : ndarray of int
        Rows to permute.
    codes : ndarray of int of shape (n_all_rows,) or None
        Group of each row of the data, from `read_groups`. Groups of the same size
        change places as a whole.
    blocks : int, "circular" or None
        Length of blocks of consecutive rows, or circular shifts.
    runs : ndarray of int of shape (n_all_rows,), default=None
        Run of each row of the data, from `read_runs`. Blocks and shifts stay within
        the run.

    Returns
    -------
    permutations : PiecePermutations or CircularShifts
        Permutations of the positions of the rows in `rows`.

    Raises
    ------
    ValueError
        If there are `blocks` and the rows are not consecutive within their run, or if
        nothing can change places.
    """
    n_rows = len(rows)
    positions = np.arange(n_rows)
    if blocks is not None:
        segments = np.split(positions, _segment_starts(rows, runs))
        if blocks == "circular":
            permutations = CircularShifts([len(segment) for segment in segments])
        else:
            pieces = [
                (number, piece)
                for number, segment in enumerate(segments)
                for piece in np.split(segment, range(blocks, len(segment), blocks))
            ]
            permutations = PiecePermutations(
                [piece for _, piece in pieces], [number for number, _ in pieces]
            )
    elif codes is not None:
        permutations = PiecePermutations(
            [positions[codes[rows] == code] for code in np.unique(codes[rows])]
        )
    else:
        permutations = PiecePermutations(list(positions[:, np.newaxis]))
    if permutations.n_distinct == 1:
        within = "" if runs is None else " of the same run"
        raise ValueError(
            f"Nothing can be permuted among {n_rows} rows: no two groups or blocks"
            f"{within} have the same size. Average repeats first, or choose smaller "
            "blocks."
        )
    return permutations


def _segment_starts(rows, runs):
    """Return the positions, above 0, at which another run begins.

    An error is raised if the rows are not consecutive within each run.
    """
    begins = np.diff(rows) != 1
    if runs is None:
        if begins.any():
            raise ValueError(
                "`blocks` are of rows in time, so held-out rows must be consecutive. "
                "Use TimeSeriesSplit, KFold without shuffling, or your own (train, "
                "test) pairs. If held-out rows are of several recordings, give `runs=`."
            )
        return np.array([], dtype=np.intp)
    changes = np.diff(runs[rows]) != 0
    torn = (begins & ~changes) | (np.diff(rows) < 1)
    if torn.any():
        first, second = rows[np.flatnonzero(torn)[0] :][:2]
        raise ValueError(
            "`blocks` are of rows in time, so the held-out rows of each run must be "
            f"consecutive: row {first} is followed by row {second}. Hold out whole "
            "runs (LeaveOneGroupOut), or use splitters that do not shuffle."
        )
    return np.flatnonzero(changes) + 1


def say_permuted(codes, blocks):
    """Name the rows, groups or blocks that are permuted."""
    if blocks == "circular":
        return "rows, shifted circularly,"
    if blocks is not None:
        return f"blocks of {blocks} rows"
    return "rows" if codes is None else "groups of rows"


def warn_about_near_rows(splits, distance, runs=None):
    """Warn if training rows are at most `distance` rows from held-out rows.

    Rows of different runs are not near each other.
    """
    nearest = min(_nearest_rows(train, test, runs) for train, test in splits)
    if nearest <= distance:
        warnings.warn(
            f"Training rows are {nearest:.0f} row(s) from held-out ones. In a time "
            "series, rows shortly after the training rows are correlated with them, "
            "but permuted rows are not: the p-value is too small. Leave a gap, for "
            "example with TimeSeriesSplit(gap=...), give `runs=` if recordings end "
            "between these rows, or use refit=True.",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )


def _nearest_rows(train, test, runs):
    """Return the smallest distance of a training row from a held-out row, in a run."""
    if runs is None:
        runs = np.zeros(max(train.max(), test.max()) + 1, dtype=np.intp)
    nearest = math.inf
    for run in np.intersect1d(runs[train], runs[test]):
        of_run = test[runs[test] == run]
        ends = [of_run.min(), of_run.max()]
        distances = np.abs(train[runs[train] == run][:, np.newaxis] - ends)
        nearest = min(nearest, int(distances.min()))
    return nearest

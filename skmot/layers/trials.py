"""Layers of single trials, read as the average of the trials of each stimulus."""

import numpy as np
from scipy.sparse import csr_array, issparse

from skmot._utils.array_api import (
    move_to_device_of,
    namespace_of,
    read_dtypes,
    to_numpy,
)
from skmot._utils.state import stored_as_dict
from skmot.layers.files import Reference
from skmot.layers.lazy import (
    LazyLayer,
    check_unchanged,
    is_in_file,
    sample_of,
    take_rows,
    to_store,
)

# Entries of the trials that are averaged at once. In memory, 2 MB of float64 fit into
# the processor's cache, three times as fast as 32 MB. A file is read in large blocks,
# because its trials may be in any order.
_BLOCK_ENTRIES = 250_000
_BLOCK_ENTRIES_IN_FILE = 16_000_000


@stored_as_dict
class Repeats:
    """Trials of each stimulus.

    Parameters
    ----------
    trials : ndarray of int of shape (n_trials,)
        Trials, sorted by their stimulus.
    counts : ndarray of int of shape (n_stimuli,)
        Number of trials of each stimulus.
    """

    def __init__(self, trials, counts):
        self._trials, self._counts = trials, counts
        self._first = np.cumsum(counts) - counts

    @classmethod
    def of_codes(cls, codes):
        """Return the trials with each of the codes 0, 1, 2, ..."""
        return cls(np.argsort(codes, kind="stable"), np.bincount(codes))

    def __len__(self):
        return len(self._counts)

    def of(self, rows):
        """Return the trials of some stimuli.

        Parameters
        ----------
        rows : range or ndarray of int
            The stimuli.

        Returns
        -------
        trials : ndarray of int of shape (n_trials,)
            Trials of each row in turn.
        counts : ndarray of int of shape (n_rows,)
            Number of trials of each row.
        """
        rows = np.asarray(rows, dtype=np.intp)
        counts = self._counts[rows]
        ends = np.cumsum(counts)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(
            ends - counts, counts
        )
        return self._trials[np.repeat(self._first[rows], counts) + within], counts


@stored_as_dict
class TrialAverages(LazyLayer):
    """Averages over the trials of each stimulus.

    In memory, all averages are computed when one is asked for, and kept: the parts of a
    stack share them. Of trials in a file, only those of the requested rows are read.

    Parameters
    ----------
    trials : array or LazyLayer of shape (n_trials, n_units)
        The trials.
    repeats : Repeats
        Trials of each stimulus.
    """

    def __init__(self, trials, repeats):
        self.trials, self.repeats = trials, repeats
        self.shape = len(repeats), trials.shape[1]
        kept = read_dtypes(self.sample)
        self.dtype = trials.dtype if trials.dtype in kept else kept[0]
        self._averages = None

    @property
    def sample(self):
        return sample_of(self.trials)

    @property
    def in_file(self):
        return is_in_file(self.trials)

    def check_unchanged(self, where):
        check_unchanged(self.trials, where)

    def take(self, rows):
        if self.in_file:
            return self._average(rows)
        if self._averages is None:
            self._averages = self._average(range(len(self.repeats)))
            if isinstance(self._averages, np.ndarray):
                # It is shared by all parts of a stack.
                self._averages.flags.writeable = False
        return take_rows(self._averages, rows)

    def _average(self, rows):
        """Average the trials of some rows in blocks of rows."""
        if issparse(self.sample):
            trials, counts = self.repeats.of(rows)
            averages = _average_sparse_runs(take_rows(self.trials, trials), counts)
            return averages.astype(self.dtype)
        xp = namespace_of(self.sample)
        averages = np.empty((len(rows), self.shape[1]), np.float64)
        trials, counts = self.repeats.of(rows)
        ends = np.cumsum(counts)
        entries = _BLOCK_ENTRIES_IN_FILE if self.in_file else _BLOCK_ENTRIES
        step = max(1, entries // max(1, self.shape[1]))
        start = 0
        while start < len(rows):
            first = ends[start] - counts[start]
            stop = max(start + 1, int(np.searchsorted(ends, first + step, "right")))
            block = take_rows(self.trials, trials[first : ends[stop - 1]])
            block = to_numpy(xp.astype(block, xp.float64, copy=False))
            averages[start:stop] = _average_runs(block, counts[start:stop])
            start = stop
        averages = move_to_device_of(self.sample, averages)
        return xp.astype(averages, self.dtype, copy=False)

    def compact(self, rows):
        trials, counts = self.repeats.of(rows)
        repeats = Repeats(np.arange(len(trials)), counts)
        layer = TrialAverages(take_rows(self.trials, trials), repeats)
        if self._averages is not None:
            layer._averages = take_rows(self._averages, rows)
        return layer

    def __getstate__(self):
        return self.__dict__ | {"trials": to_store(self.trials)}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.trials = Reference.opened(self.trials)


def _average_runs(block, counts):
    """Average runs of rows, `counts[i]` for run i.

    The first trial of each run is subtracted before the sum. Otherwise, rounding errors
    would change the mean of equal values, and constant units would vary.
    """
    first = np.cumsum(counts) - counts
    reference = block[first]
    total = np.zeros_like(reference)
    # Missing responses stay missing without a word: the layer is checked later.
    with np.errstate(invalid="ignore"):
        for k in range(1, counts.max()):
            runs = np.flatnonzero(counts > k)
            total[runs] += block[first[runs] + k] - reference[runs]
        return reference + total / counts[:, np.newaxis]


def _average_sparse_runs(block, counts):
    """Compute what `_average_runs` does, for sparse trials."""
    n_runs, n_trials = len(counts), block.shape[0]
    ends = np.cumsum(counts)
    reference = block[ends - counts].astype(np.float64)
    differences = block - reference[np.repeat(np.arange(n_runs), counts)]
    summing = csr_array(
        (np.ones(n_trials), np.arange(n_trials), np.concatenate([[0], ends])),
        shape=(n_runs, n_trials),
    )
    total = summing @ differences
    total.data /= np.repeat(counts, np.diff(total.indptr))
    return csr_array(reference + total)


def numeric_trials(trials, where):
    """Return trials as numbers, or raise an error that names the layer."""
    if isinstance(trials, LazyLayer) or not isinstance(trials, np.ndarray):
        return trials
    try:
        if trials.dtype.kind == "O":
            return trials.astype(np.float64)
        if trials.dtype.kind not in "biuf":
            raise ValueError(
                f"dtype='numeric' is not compatible with arrays of {trials.dtype}. "
                "Convert your data to numeric values explicitly instead: trials must "
                "be real numbers."
            )
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error} (in {where})") from error
    return trials

"""Reliability of units, from repeated trials of stimuli."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array, issparse

from skmot._units import column_correlations, constant_units, dense_blocks
from skmot._utils.array_api import to_numpy
from skmot.layers import LayerStack
from skmot.layers.labels import as_labels, list_labels, stimulus_codes
from skmot.layers.reading import check_unmasked


@dataclass(frozen=True)
class Halves:
    """Random halves of the trials of each stimulus.

    Attributes
    ----------
    averaging : list of tuple of two csr_array of shape (n_repeated_stimuli, n_trials)
        For each random split, the matrices that average the trials of the first and of
        the second half.
    factor : float
        Noise variance of the average over a half, divided by that of the average over
        all trials: the factor k of the Spearman-Brown formula.
    """

    averaging: list
    factor: float

    def reliability(self, correlation):
        """Convert correlations between halves to reliabilities of the full average.

        Parameters
        ----------
        correlation : ndarray
            Correlations between halves, averaged over splits. They are clipped to the
            interval from 0 to 1.

        Returns
        -------
        reliability : ndarray
            Reliabilities from 0 to 1.
        """
        correlation = np.clip(correlation, 0.0, 1.0)
        return self.factor * correlation / (1 + (self.factor - 1) * correlation)


def random_halves(codes, n_halves, random, runs=None):
    """Split the trials of each stimulus at random into halves.

    Each half has h = n // 2 of the n trials of a stimulus; if n is odd, one trial is
    left out. With `runs`, each half has all trials of r // 2 of the r runs that show
    the stimulus. Stimuli with a single trial, or a single run, are left out.

    Parameters
    ----------
    codes : ndarray of int of shape (n_trials,)
        Index of each trial's stimulus, starting at 0.
    n_halves : int
        Number of random splits.
    random : RandomState
        Random number generator for the splits.
    runs : ndarray of int of shape (n_trials,), default=None
        Index of each trial's run, starting at 0. The runs have one random order in each
        split, so stimuli that are shown in the same runs are split alike. With None,
        the trials of each stimulus are split independently.

    Returns
    -------
    halves : Halves
        The halves, and the factor of the Spearman-Brown formula: mean(1/h) / mean(1/n)
        over stimuli, where h and n are numbers of trials.

    Raises
    ------
    ValueError
        If fewer than two stimuli have two trials, or are shown in two runs.
    """
    counts = np.bincount(codes)
    # A piece is what a split keeps together: a trial, or a stimulus in a run.
    pieces, piece_codes, piece_runs = np.arange(len(codes)), codes, None
    if runs is not None:
        cells, pieces = np.unique(np.stack([codes, runs]), axis=1, return_inverse=True)
        pieces, (piece_codes, piece_runs) = pieces.ravel(), cells
    n_pieces = np.bincount(piece_codes)
    repeated = n_pieces >= 2
    if np.count_nonzero(repeated) < 2:
        found = f"{np.count_nonzero(repeated)} of {len(counts)} stimuli"
        raise ValueError(
            f"{found} has two trials or more, while at least two stimuli must: without "
            "repeats, signal and noise cannot be separated."
            if runs is None
            else f"{found} is shown in two runs or more, while at least two stimuli "
            "must: halves that are split by run need stimuli that several runs show."
        )
    averaging, noise = [], []
    for _ in range(n_halves):
        side = _split_pieces(piece_codes, n_pieces, piece_runs, random)[pieces]
        in_half = [np.flatnonzero(side == k) for k in (0, 1)]
        sizes = [np.bincount(codes[half], minlength=len(counts)) for half in in_half]
        averaging.append(
            tuple(
                _averaging_matrix(codes, size, half)[repeated]
                for size, half in zip(sizes, in_half, strict=True)
            )
        )
        noise.append(np.mean([1 / size[repeated] for size in sizes]))
    return Halves(averaging, float(np.mean(noise) / np.mean(1 / counts)))


def split_half_reliability(trials, codes, n_halves, random, runs=None):
    """Estimate the reliability of each unit's average over all its trials.

    The trials of each stimulus are split at random into two halves, see
    `random_halves`. The averages of the two halves are correlated over the stimuli with
    at least two trials, and the correlations r are averaged over the random splits. The
    Spearman-Brown formula gives the reliability for all trials, k r / (1 + (k - 1) r)
    with k = mean(1/h) / mean(1/n) over stimuli. For equal and even numbers of trials
    k = 2, for three trials k = 3.

    Parameters
    ----------
    trials : array or sparse array of shape (n_trials, n_units)
        Finite responses, float32 or float64.
    codes : ndarray of int of shape (n_trials,)
        Index of each trial's stimulus, starting at 0.
    n_halves : int
        Number of random splits.
    random : RandomState
        Random number generator for the splits.
    runs : ndarray of int of shape (n_trials,), default=None
        Index of each trial's run, starting at 0, whose trials stay together. With None,
        the trials of each stimulus are split independently.

    Returns
    -------
    reliabilities : ndarray of shape (n_units,)
        Reliabilities from 0 to 1: 0 if the halves correlate negatively, NaN if the unit
        is constant over all trials.

    Raises
    ------
    ValueError
        If fewer than two stimuli have two trials, or are shown in two runs.
    """
    halves = random_halves(codes, n_halves, random, runs)
    return halves.reliability(half_correlations(trials, halves))


def half_correlations(trials, halves):
    """Correlate the averages over two halves, averaged over the random splits.

    Parameters
    ----------
    trials : array or sparse array of shape (n_trials, n_units)
        Finite responses, float32 or float64.
    halves : Halves
        Halves of these trials.

    Returns
    -------
    correlations : ndarray of shape (n_units,)
        Correlations over stimuli, from -1 to 1; NaN if the unit is constant over all
        trials.
    """
    if not issparse(trials):
        trials = to_numpy(trials)
    correlations = np.zeros(trials.shape[1])
    for part, block in dense_blocks(trials):
        for first, second in averages_of_halves(block, halves):
            # A half without variance counts as correlation 0.
            of_split = np.nan_to_num(column_correlations(first, second))
            correlations[part] += of_split / len(halves.averaging)
    correlations[constant_units(trials)] = np.nan
    return correlations


def averages_of_halves(trials, halves):
    """Yield the averages over the first and the second half of each split.

    One trial is subtracted from all, which does not change correlations, and constant
    units become exactly 0.

    Parameters
    ----------
    trials : ndarray of shape (n_trials, n_units)
        Finite responses.
    halves : Halves
        Halves of these trials.

    Yields
    ------
    first, second : ndarray of shape (n_repeated_stimuli, n_units)
        Averages in float64.
    """
    trials = trials.astype(np.float64) - trials[0]
    for first, second in halves.averaging:
        yield first @ trials, second @ trials


def read_runs(runs, rows, stimuli, where):
    """Return the run of each trial as numbers from 0.

    Parameters
    ----------
    runs : array-like of shape (n_trials,), LayerStack or None
        Runs in the order of the trials, or a stack of run numbers that was made by
        `LayerStack.from_trials`. The rows of a stack are found by their labels.
    rows : ndarray of int of shape (n_trials,)
        Row of each trial, starting at 0.
    stimuli : ndarray of shape (n_rows,) or None
        Label of each row.
    where : str
        Name of the trials in error messages.

    Returns
    -------
    runs : ndarray of int of shape (n_trials,) or None
        Run of each trial. None without runs.

    Raises
    ------
    ValueError
        If there is not one run for each trial, or a run is missing.
    """
    if runs is None:
        return None
    if isinstance(runs, LayerStack):
        if (np.diff(rows) < 0).any():
            raise ValueError(
                f"`runs` is a stack, but {where} has no trials, so that which row is "
                "which trial of a stimulus is not known: make it with "
                "`LayerStack.from_trials`, or give `runs` as one run for each row."
            )
        runs = _runs_of_rows(runs, rows, stimuli, where)
    else:
        check_unmasked(runs, "`runs`")
        runs = as_labels(runs)
    if len(runs) != len(rows):
        raise ValueError(
            f"`runs` has {len(runs)} runs, but {where} has {len(rows)} trials. Give "
            "one run for each trial, in the order of `stack.trials`; or, where trials "
            "are split or selected, a stack of them: `LayerStack.from_trials("
            "runs[:, np.newaxis], stimuli)`."
        )
    return stimulus_codes(runs)


def _runs_of_rows(runs, rows, stimuli, where):
    """Return the runs of the trials of some rows, which have the given labels."""
    if not runs.has_trials or runs.shape[1] != 1:
        raise ValueError(
            f"`runs` is {runs!r}, but must have one unit, the number of the run, and "
            "trials: `LayerStack.from_trials(runs[:, np.newaxis], stimuli)`."
        )
    counts = np.bincount(rows)
    if stimuli is not None and runs.stimuli is not None:
        places = {label: row for row, label in enumerate(list_labels(runs.stimuli))}
        labels = list_labels(stimuli)
        missing = [label for label in labels if label not in places]
        if missing:
            raise ValueError(
                f"`runs` has no stimulus {missing[0]!r}, which is one of {where}."
            )
        runs = runs[[places[label] for label in labels]]
    elif len(runs) != len(counts):
        raise ValueError(
            f"`runs` has {len(runs)} rows and {where} {len(counts)}, and one of them "
            "has no stimulus labels by which rows could be found."
        )
    differs = np.flatnonzero(runs.n_trials != counts)
    if differs.size:
        row = differs[0]
        raise ValueError(
            f"`runs` has {runs.n_trials[row]} trials of the stimulus in row {row} and "
            f"{where} has {counts[row]}."
        )
    ((numbers, _, _),) = runs._trial_leaves(lambda index: "`runs`")
    return as_labels(to_numpy(numbers)[:, 0])


def say_largest(reliabilities):
    """Format the largest reliability or noise ceiling for an error message.

    Parameters
    ----------
    reliabilities : ndarray of shape (n_units,)
        Reliabilities, NaN if a unit has none.

    Returns
    -------
    largest : str
        Largest reliability with three digits, or "missing" if all are NaN.
    """
    defined = reliabilities[~np.isnan(reliabilities)]
    return f"{defined.max():.3g}" if defined.size else "missing"


def _split_pieces(codes, counts, runs, random):
    """Assign pieces at random to the first half (0), the second (1) or none (above).

    Parameters
    ----------
    codes : ndarray of int of shape (n_pieces,)
        Stimulus of each piece.
    counts : ndarray of int of shape (n_stimuli,)
        Number of pieces of each stimulus.
    runs : ndarray of int of shape (n_pieces,) or None
        Run of each piece.
    random : RandomState
        Random number generator.

    Returns
    -------
    side : ndarray of int of shape (n_pieces,)
        Half of each piece.
    """
    if runs is None:
        keys = random.random_sample(len(codes))
    else:
        keys = random.permutation(runs.max() + 1)[runs]
    order = np.lexsort((keys, codes))
    ranks = np.empty_like(codes)
    ranks[order] = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    # The first h of n pieces are one half, the next h pieces are the other.
    halves = counts[codes] // 2
    return np.where(halves > 0, ranks // halves.clip(1), 2)


def _averaging_matrix(codes, counts, chosen):
    """Return the matrix that averages the chosen trials, `counts` of each stimulus."""
    stimuli = codes[chosen]
    return csr_array(
        (1.0 / counts[stimuli], (stimuli, chosen)), shape=(len(counts), len(codes))
    )

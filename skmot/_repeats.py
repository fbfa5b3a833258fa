"""Reliability of units, from repeated trials of stimuli."""

import numpy as np
from scipy.sparse import csr_array

from skmot._units import column_blocks, column_correlations, constant_units
from skmot._utils.array_api import to_numpy


def split_half_reliability(trials, codes, n_halves, random, repeats=None):
    """Estimate the reliability of each unit's average over all its trials.

    The trials of each stimulus are split at random into two halves of h = n // 2 trials
    (if n is odd, one trial is left out). The averages of the two halves are correlated
    over the stimuli with at least two trials, and the correlations r are averaged over
    the random splits. The Spearman-Brown formula gives the reliability for all trials,
    k r / (1 + (k - 1) r) with k = mean(1/h) / mean(1/n) over stimuli. For equal and
    even numbers of trials k = 2, for three trials k = 3.

    Parameters
    ----------
    trials : array of shape (n_trials, n_units)
        Finite responses, float32 or float64.
    codes : ndarray of int of shape (n_trials,)
        Index of each trial's stimulus, starting at 0.
    n_halves : int
        Number of random splits.
    random : RandomState
        Random number generator for the splits.
    repeats : ndarray of int of shape (n_trials,), default=None
        Index of the repeat that each trial belongs to, starting at 0. All trials of a
        repeat are then in the same half. With None, the trials of each stimulus are
        split independently.

    Returns
    -------
    reliabilities : ndarray of shape (n_units,)
        Reliabilities from 0 to 1: 0 if the halves correlate negatively, NaN if the unit
        is constant over all trials.

    Raises
    ------
    ValueError
        If fewer than two stimuli have two trials.
    """
    trials = to_numpy(trials)
    counts = np.bincount(codes)
    halves = counts // 2
    repeated = halves > 0
    if np.count_nonzero(repeated) < 2:
        raise ValueError(
            f"{np.count_nonzero(repeated)} of {len(counts)} stimuli has two trials or "
            "more, while at least two stimuli must: without repeats, signal and noise "
            "cannot be separated."
        )
    splits = [
        [half[repeated] for half in _split_trials(codes, halves, random, repeats)]
        for _ in range(n_halves)
    ]
    correlation = np.zeros(trials.shape[1])
    for part in column_blocks(trials):
        # Subtracting one trial does not change correlations, and constant units become
        # exactly 0.
        block = trials[:, part].astype(np.float64) - trials[0, part]
        for first, second in splits:
            split_correlations = column_correlations(first @ block, second @ block)
            # A half without variance counts as correlation 0.
            correlation[part] += np.nan_to_num(split_correlations) / n_halves
    factor = np.mean(1 / halves[repeated]) / np.mean(1 / counts)
    correlation = np.clip(correlation, 0.0, 1.0)
    reliabilities = factor * correlation / (1 + (factor - 1) * correlation)
    reliabilities[constant_units(trials)] = np.nan
    return reliabilities


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


def _split_trials(codes, halves, random, repeats):
    """Return two matrices that average disjoint random halves of the trials."""
    if repeats is None:
        keys = random.random_sample(len(codes))
    else:
        keys = random.permutation(repeats.max() + 1)[repeats]
    order = np.lexsort((keys, codes))
    counts = np.bincount(codes)
    ranks = np.empty_like(codes)
    ranks[order] = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    # The first h of n trials are one half, the next h trials are the other.
    side = ranks // halves[codes].clip(1)
    in_half = halves[codes] > 0
    return [_averaging_matrix(codes, halves, in_half & (side == k)) for k in (0, 1)]


def _averaging_matrix(codes, counts, chosen=slice(None)):
    """Return the matrix that averages the chosen trials, `counts` of each stimulus."""
    trials = np.arange(len(codes))[chosen]
    stimuli = codes[chosen]
    return csr_array(
        (1.0 / counts[stimuli], (stimuli, trials)), shape=(len(counts), len(codes))
    )

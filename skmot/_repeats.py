"""Repeats of stimuli: which rows show the same one, their average, their agreement."""

import numpy as np
from scipy.sparse import csr_array

from skmot._labels import list_labels
from skmot._units import _column_blocks, column_correlations, constant_units


def stimulus_codes(labels):
    """Give the stimuli numbers, in the order of their first appearance.

    Parameters
    ----------
    labels : ndarray of shape (n_trials,)
        One label a trial; equal labels are repeats of one stimulus.

    Returns
    -------
    codes : ndarray of int of shape (n_trials,)
        From 0 on.
    """
    numbers = {}
    return np.array(
        [numbers.setdefault(label, len(numbers)) for label in list_labels(labels)],
        dtype=np.intp,
    )


def average_trials(layer, codes):
    """Average the trials of each stimulus.

    Parameters
    ----------
    layer : ndarray of shape (n_trials, n_units)
        Finite responses, float32 or float64.
    codes : ndarray of int of shape (n_trials,)
        As `stimulus_codes` gives them.

    Returns
    -------
    averages : ndarray of shape (n_stimuli, n_units)
        In the layer's precision, from float64 sums.
    """
    _, first = np.unique(codes, return_index=True)
    averaging = _averaging_matrix(codes, np.bincount(codes))
    averages = np.empty((len(first), layer.shape[1]), dtype=layer.dtype)
    for part in _column_blocks(layer):
        block = layer[:, part].astype(np.float64)
        # Around a stimulus' first trial: the mean of equal numbers need not be that
        # number, and a constant unit would come back alive by its rounding errors.
        around = block[first]
        averages[:, part] = around + averaging @ (block - around[codes])
    return averages


def split_half_reliability(trials, codes, n_halves, random, repeats=None):
    """Estimate the reliability of each unit's average over all its trials.

    The trials of each stimulus are split at random in two halves of h = n // 2 trials
    (of an odd number n one is left out), and the halves' averages are correlated over
    the stimuli that have two trials or more. The correlations, averaged over the
    splits, are brought from halves to all trials by Spearman's and Brown's formula,
    k r / (1 + (k - 1) r) with k = mean(1/h) / mean(1/n) over stimuli: 2 for equal even
    numbers of trials, 3 for three trials.

    Parameters
    ----------
    trials : ndarray of shape (n_trials, n_units)
        Finite responses, float32 or float64.
    codes : ndarray of int of shape (n_trials,)
        As `stimulus_codes` gives them.
    n_halves : int
        Number of random splits.
    random : RandomState
        Draws them.
    repeats : ndarray of int of shape (n_trials,), default=None
        Which repeat a trial belongs to, from 0 on: repeats are then split whole, the
        same for all stimuli. None splits the trials of each stimulus by themselves.

    Returns
    -------
    reliabilities : ndarray of shape (n_units,)
        From 0 to 1; 0 where the halves correlate negatively, NaN for a unit that is
        constant over all trials.

    Raises
    ------
    ValueError
        If fewer than two stimuli have two trials.
    """
    counts = np.bincount(codes)
    halves = counts // 2
    repeated = halves > 0
    if np.count_nonzero(repeated) < 2:
        raise ValueError(
            f"{np.count_nonzero(repeated)} of {len(counts)} stimuli has two trials or "
            "more, while at least two stimuli must: without repeats nothing tells "
            "signal from noise."
        )
    splits = [
        [half[repeated] for half in _draw_halves(codes, halves, random, repeats)]
        for _ in range(n_halves)
    ]
    correlation = np.zeros(trials.shape[1])
    for part in _column_blocks(trials):
        # A common shift changes no correlation; constant units become exactly 0.
        block = trials[:, part].astype(np.float64) - trials[0, part]
        for first, second in splits:
            found = column_correlations(first @ block, second @ block)
            # Without variance in one half there is no agreement to be counted.
            correlation[part] += np.nan_to_num(found) / n_halves
    factor = np.mean(1 / halves[repeated]) / np.mean(1 / counts)
    correlation = np.clip(correlation, 0.0, 1.0)
    reliabilities = factor * correlation / (1 + (factor - 1) * correlation)
    reliabilities[constant_units(trials)] = np.nan
    return reliabilities


def say_largest(reliabilities):
    """Say in a message what the largest reliability or ceiling is, of those known.

    Parameters
    ----------
    reliabilities : ndarray of shape (n_units,)
        NaN where a unit has none.

    Returns
    -------
    largest : str
        Three digits of it; "missing" where no unit has one.
    """
    counted = reliabilities[~np.isnan(reliabilities)]
    return f"{counted.max():.3g}" if counted.size else "missing"


def _draw_halves(codes, halves, random, repeats):
    """Return two matrices that average disjoint random halves of each stimulus."""
    if repeats is None:
        keys = random.random_sample(len(codes))
    else:
        keys = random.permutation(repeats.max() + 1)[repeats]
    order = np.lexsort((keys, codes))
    counts = np.bincount(codes)
    ranks = np.empty_like(codes)
    ranks[order] = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    # The first h of n are one half, the next h the other.
    side = ranks // halves[codes].clip(1)
    in_half = halves[codes] > 0
    return [_averaging_matrix(codes, halves, in_half & (side == k)) for k in (0, 1)]


def _averaging_matrix(codes, counts, chosen=slice(None)):
    """Return the matrix that averages the chosen trials, `counts` of each stimulus."""
    trials = np.arange(len(codes))[chosen]
    own = codes[chosen]
    return csr_array(
        (1.0 / counts[own], (own, trials)), shape=(len(counts), len(codes))
    )

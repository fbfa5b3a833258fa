"""Stimulus labels, and the check that two sides have the same stimuli."""

import numpy as np


def as_labels(stimuli):
    """Convert stimulus labels to a one-dimensional array.

    Parameters
    ----------
    stimuli : array-like of shape (n_stimuli,)
        One label per stimulus.

    Returns
    -------
    labels : ndarray of shape (n_stimuli,)
        The labels. Labels with several parts, such as those of a MultiIndex, become
        tuples.

    Raises
    ------
    ValueError
        If the labels are a scalar, or a label is missing (NaN or NaT).
    """
    labels = np.asarray(stimuli)
    if labels.ndim == 0:
        raise ValueError(f"`stimuli` must be one label a stimulus; got {stimuli!r}.")
    if labels.ndim > 1:
        # The labels are tuples, as in a MultiIndex: store one object per stimulus.
        rows = list(stimuli)
        labels = np.empty(len(rows), dtype=object)
        labels[:] = [tuple(row) for row in rows]
    missing = np.flatnonzero(_is_nan(labels))
    if missing.size:
        raise ValueError(
            f"The stimulus label of row {missing[0]} is missing "
            f"({labels[missing[0]]}): give a label to every stimulus, or no labels."
        )
    return labels


def list_labels(labels):
    """Convert labels to a list of Python objects, which can be compared and printed.

    Dates remain numpy objects, because `tolist` turns dates in nanoseconds into
    integers.
    """
    return list(labels) if labels.dtype.kind in "mM" else labels.tolist()


def check_same_stimuli(first, second, first_where, second_where):
    """Raise an error unless two sides have the same labels in the same order.

    Parameters
    ----------
    first, second : ndarray of shape (n_stimuli,) or None
        Labels of the two sides. None, for a side without labels, matches any labels.
    first_where, second_where : str
        Names of the sides in error messages.

    Raises
    ------
    ValueError
        If the labels differ. The message names the first mismatch.
    """
    if first is None or second is None:
        return
    first, second = list_labels(first), list_labels(second)
    if first == second:
        return
    row = next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b),
        min(len(first), len(second)),
    )
    found = [
        labels[row] if row < len(labels) else "nothing" for labels in (first, second)
    ]
    raise ValueError(
        f"The stimuli differ: row {row} is {found[0]!r} in {first_where} and "
        f"{found[1]!r} in {second_where}. Put them in the same order with "
        "`skmot.align_stimuli`. If the mismatch is intended (a shuffled control), "
        "remove the labels of one side with `stack.with_stimuli(None)`."
    )


def _is_nan(labels):
    if labels.dtype.kind in "fmM":
        return np.isnan(labels)
    return np.array([isinstance(label, float) and label != label for label in labels])

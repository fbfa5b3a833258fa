"""Labels of stimuli: that two sides show the same, in the same order."""

import numpy as np


def as_labels(stimuli):
    """Return labels as an array of one dimension.

    Raises
    ------
    ValueError
        If there is one label for all, or one is missing: it names no stimulus.
    """
    labels = np.asarray(stimuli)
    if labels.ndim == 0:
        raise ValueError(f"`stimuli` must be one label a stimulus; got {stimuli!r}.")
    if labels.ndim > 1:
        # Rows of tuples, a MultiIndex for instance: one object a stimulus.
        rows = list(stimuli)
        labels = np.empty(len(rows), dtype=object)
        labels[:] = [tuple(row) for row in rows]
    missing = np.flatnonzero(_is_nan(labels))
    if missing.size:
        raise ValueError(
            f"The stimulus label of row {missing[0]} is missing "
            f"({labels[missing[0]]}): every stimulus needs one, or none does."
        )
    return labels


def list_labels(labels):
    """Return labels as a list of what compares and prints best.

    Dates stay numpy's: as Python's, those in nanoseconds would be bare integers.
    """
    return list(labels) if labels.dtype.kind in "mM" else labels.tolist()


def check_same_stimuli(first, second, first_where, second_where):
    """Raise unless two sides show the same labels in the same order.

    Parameters
    ----------
    first, second : ndarray of shape (n_stimuli,) or None
        The labels; a side without labels agrees with every other.
    first_where, second_where : str
        What the sides are called in the message.

    Raises
    ------
    ValueError
        If they differ; the message names the first mismatch.
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
        "`skmot.align_stimuli`; where the mismatch is meant (a shuffled control), drop "
        "the labels of one side with `stack.with_stimuli(None)`."
    )


def _is_nan(labels):
    if labels.dtype.kind in "fmM":
        return np.isnan(labels)
    return np.array([isinstance(label, float) and label != label for label in labels])

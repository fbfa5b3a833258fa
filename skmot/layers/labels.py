"""Labels of stimuli: whether two sides show the same stimuli in the same order."""

import unicodedata
import warnings
from collections.abc import Hashable

import numpy as np

from skmot._utils.warnings import stacklevel_of_caller
from skmot.exceptions import RowNumberWarning

# numpy's kinds that hold labels of one Python type without converting any.
_EXACT_KINDS = {str: "U", int: "iu", float: "f", bool: "b"}


def as_labels(stimuli):
    """Return labels as an array of one dimension; none is converted to another type.

    Parameters
    ----------
    stimuli : array-like of shape (n_stimuli,)
        Labels, equal where Python's `==` says so. Rows of an array of two dimensions,
        and tuples, are one label each.

    Returns
    -------
    labels : ndarray of shape (n_stimuli,)
        Of numpy's own dtypes where these hold every label exactly, else of objects.

    Raises
    ------
    ValueError
        If there is one label for all, or a label is missing or cannot be hashed.
    """
    if isinstance(stimuli, str) or not hasattr(stimuli, "__len__"):
        raise ValueError(f"`stimuli` must be one label a stimulus; got {stimuli!r}.")
    dtype = getattr(stimuli, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind in "biufSUmM":
        labels = np.asarray(stimuli)
        if labels.ndim == 0:
            raise ValueError(
                f"`stimuli` must be one label a stimulus; got {stimuli!r}."
            )
        if labels.ndim > 1:
            labels = _as_objects([tuple(row) for row in labels.tolist()])
    else:
        labels = _as_exact_array([_as_label(label) for label in stimuli])
    for row, label in _suspects(labels):
        if _is_missing(label):
            raise ValueError(
                f"The stimulus label of row {row} is missing ({label}): every stimulus "
                "needs one, or none does."
            )
        if not _is_hashable(label):
            raise ValueError(
                f"The stimulus label of row {row} is a {type(label).__name__}, which "
                "cannot be hashed: use strings, numbers or tuples of them."
            )
    return labels


def _as_label(label):
    """Return a label, a list or row of an array as a tuple."""
    if isinstance(label, np.ndarray) and label.ndim:
        return tuple(label.tolist())
    return tuple(label) if isinstance(label, list) else label


def _as_exact_array(labels):
    """Return labels as an array, of objects where numpy would convert some."""
    kinds = set(map(type, labels))
    if len(kinds) == 1:
        (kind,) = kinds
        if issubclass(kind, np.generic) or kind in _EXACT_KINDS:
            array = np.asarray(labels)
            # Whole numbers beyond 64 bits become floats, and strings lose a NUL at
            # their end.
            is_exact = array.dtype.kind in _EXACT_KINDS.get(kind, array.dtype.kind)
            if kind is str:
                is_exact = not any(label.endswith("\0") for label in labels)
            if is_exact:
                return array
    return _as_objects(labels)


def _as_objects(labels):
    array = np.empty(len(labels), dtype=object)
    array[:] = labels
    return array


def _suspects(labels):
    """Yield rows and labels that may be missing or not hashable."""
    if labels.dtype.kind in "fmM":
        for row in np.flatnonzero(np.isnan(labels))[:1]:
            yield int(row), labels[row]
    elif labels.dtype.kind == "O":
        for row, label in enumerate(labels):
            if type(label) is not str:
                yield row, label


def _is_missing(label):
    if isinstance(label, tuple):
        return any(map(_is_missing, label))
    if label is None or type(label).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(label, float | np.floating | np.datetime64 | np.timedelta64):
        return bool(label != label)
    return False


def _is_hashable(label):
    if isinstance(label, tuple):
        return all(map(_is_hashable, label))
    return isinstance(label, Hashable)


def list_labels(labels):
    """Return labels as a list of what compares and prints best.

    Dates stay numpy's: as Python's, those in nanoseconds would be bare integers.
    """
    return list(labels) if labels.dtype.kind in "mM" else labels.tolist()


def join_labels(parts):
    """Concatenate arrays of labels; none is converted to another type."""
    kinds = {part.dtype.kind for part in parts}
    if (len(kinds) == 1 and kinds <= set("USbOmM")) or kinds <= set("iu"):
        return np.concatenate(parts)
    return _as_exact_array([label for part in parts for label in list_labels(part)])


def labels_repeat(labels):
    """Whether some labels are equal; False where there are none."""
    return labels is not None and len(set(list_labels(labels))) < len(labels)


def labels_agree(first, second):
    """Whether two arrays hold equal labels in the same order."""
    if first.shape != second.shape:
        return False
    kinds = first.dtype.kind, second.dtype.kind
    if kinds[0] == kinds[1] and kinds[0] in "USbiuM":
        return bool(np.array_equal(first, second))
    return list_labels(first) == list_labels(second)


def check_same_stimuli(first, second, first_where, second_where):
    """Raise unless two sides show the same labels in the same order.

    Parameters
    ----------
    first, second : ndarray of shape (n_stimuli,) or None
        The labels. A side without labels agrees with every other.
    first_where, second_where : str
        Names of the sides in the error message.

    Raises
    ------
    ValueError
        If they differ; the message names the first mismatch.
    """
    if first is None or second is None or labels_agree(first, second):
        return
    first, second = list_labels(first), list_labels(second)
    row = next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b),
        min(len(first), len(second)),
    )
    found = [
        labels[row] if row < len(labels) else "nothing" for labels in (first, second)
    ]
    raise ValueError(
        f"The stimuli differ: row {row} is {found[0]!r} in {first_where} and "
        f"{found[1]!r} in {second_where}.{_explain(*found)} Put them in the same order "
        "with `skmot.align_stimuli`. If the mismatch is intended, as in a shuffled "
        "control, remove the labels of one side with `stack.with_stimuli(None)`."
    )


def _explain(first, second):
    """Say where two labels differ in their form alone."""
    if isinstance(first, str) and isinstance(second, str):
        forms = (unicodedata.normalize("NFC", label) for label in (first, second))
        if len(set(forms)) == 1:
            return (
                " They differ in their Unicode form alone: "
                "`unicodedata.normalize('NFC', label)` makes them equal."
            )
        if first.strip() == second.strip():
            return " They differ in white space alone: `label.strip()` removes it."
    elif str(first) == str(second):
        return (
            f" One is a {type(first).__name__}, the other a {type(second).__name__}: "
            "make them one type."
        )
    return ""


def warn_about_row_numbers(first, second, first_where, second_where):
    """Warn if two DataFrames number their rows differently.

    A side with the default numbers 0, 1, 2, ... may have been renumbered. It is only
    compared with the same numbers in another order.

    Parameters
    ----------
    first, second : ndarray of shape (n_stimuli,) or None
        Row numbers.
    first_where, second_where : str
        Names of the sides in the warning.
    """
    if first is None or second is None or len(first) != len(second):
        return
    if np.array_equal(first, second):
        return
    default = np.arange(len(first))
    if not np.array_equal(np.sort(first), np.sort(second)) and any(
        np.array_equal(numbers, default) for numbers in (first, second)
    ):
        return
    row = int(np.argmax(first != second))
    warnings.warn(
        f"The row numbers of the DataFrames differ: row {row} is number {first[row]} "
        f"in {first_where} and {second[row]} in {second_where}. They may show other "
        "stimuli, as after a shuffle or filter of one of them, unless this is a "
        "permutation test. If rows correspond, reset both indexes; to have them "
        "compared, name the index: `frame.rename_axis('stimulus')`.",
        RowNumberWarning,
        stacklevel=stacklevel_of_caller(),
    )

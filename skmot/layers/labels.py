"""Labels of stimuli: whether two sides show the same stimuli in the same order."""

import re
import unicodedata
import warnings
from collections.abc import Hashable, Set
from itertools import pairwise
from numbers import Number

import numpy as np

from skmot._utils.array_api import is_foreign, to_numpy
from skmot._utils.warnings import stacklevel_of_caller
from skmot.exceptions import RowNumberWarning

# numpy's kinds that hold labels of one Python type without converting any.
_EXACT_KINDS = {str: "U", int: "iu", float: "f", bool: "b"}


def as_labels(stimuli, what="stimulus"):
    """Return labels as an array of one dimension; none is converted to another type.

    Parameters
    ----------
    stimuli : array-like of shape (n_stimuli,)
        Labels, equal where Python's `==` says so. Rows of an array of two dimensions,
        and tuples, are one label each.
    what : {"stimulus", "unit"}, default="stimulus"
        Word for what the labels name, in error messages.

    Returns
    -------
    labels : ndarray of shape (n_stimuli,)
        Of numpy's own dtypes where these hold every label exactly, else of objects.

    Raises
    ------
    ValueError
        If there is one label for all, or a label is missing or cannot be hashed.
    """
    if is_foreign(stimuli):
        stimuli = to_numpy(stimuli)
    if isinstance(stimuli, str) or not hasattr(stimuli, "__len__"):
        raise ValueError(_say_one_label(stimuli, what))
    if np.ma.is_masked(stimuli):
        row = int(np.argmax(np.ma.getmaskarray(stimuli)))
        raise ValueError(
            f"The {what} label of row {row} is masked: every {what} needs one, or none "
            "does."
        )
    if isinstance(stimuli, Set):
        raise ValueError(f"`stimuli` is a {type(stimuli).__name__}, without an order.")
    if hasattr(stimuli, "coords"):
        # A DataArray of xarray, whose elements are DataArrays too.
        stimuli = stimuli.to_numpy()
    dtype = getattr(stimuli, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind in "biufSUmM":
        labels = np.asarray(stimuli)
        if labels.ndim == 0:
            raise ValueError(_say_one_label(stimuli, what))
        if labels.ndim > 1:
            labels = _as_objects([tuple(row) for row in labels.tolist()])
    else:
        labels = _as_exact_array([_as_label(label) for label in stimuli])
    for row, label in _suspects(labels):
        if _is_missing(label):
            raise ValueError(
                f"The {what} label of row {row} is missing ({label}): every {what} "
                "needs one, or none does."
            )
        if not _is_hashable(label):
            raise ValueError(
                f"The {what} label of row {row} is a {type(label).__name__}, which "
                "cannot be hashed: use strings, numbers or tuples of them."
            )
    return labels


def _say_one_label(given, what):
    argument = "stimuli" if what == "stimulus" else f"{what}_names"
    return f"`{argument}` must be one label a {what}; got {given!r}."


def _as_label(label):
    """Return a label, a list or row of an array as a tuple."""
    if is_foreign(label):
        # Scalars of other libraries are equal only to themselves.
        label = to_numpy(label)
        return _as_label(label if label.ndim else label.item())
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
    if labels.dtype.kind in "fcmM":
        for row in np.flatnonzero(np.isnan(labels))[:1]:
            yield int(row), labels[row]
    elif labels.dtype.kind in "OV":
        for row, label in enumerate(labels):
            if type(label) is not str:
                yield row, label


def _is_missing(label):
    if label is None or type(label).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(label, tuple | frozenset):
        return any(map(_is_missing, label))
    if isinstance(label, np.void):
        return _is_missing(label.tolist())
    # NaN of any type of numbers differs from itself.
    return isinstance(label, Number | np.datetime64 | np.timedelta64) and label != label


def _is_hashable(label):
    if isinstance(label, tuple):
        return all(map(_is_hashable, label))
    return isinstance(label, Hashable)


def list_labels(labels):
    """Return labels as a list of what compares and prints best.

    Dates stay numpy's: as Python's, those in nanoseconds would be bare integers.
    """
    return list(labels) if labels.dtype.kind in "mM" else labels.tolist()


def stimulus_codes(labels):
    """Convert stimulus labels to numbers, in the order of their first occurrence.

    Parameters
    ----------
    labels : ndarray of shape (n_trials,)
        Stimulus label of each trial. Trials with equal labels are repeats of one
        stimulus.

    Returns
    -------
    codes : ndarray of int of shape (n_trials,)
        Index of each trial's stimulus, starting at 0.
    """
    numbers = {}
    return np.array(
        [numbers.setdefault(label, len(numbers)) for label in list_labels(labels)],
        dtype=np.intp,
    )


def join_labels(parts):
    """Concatenate arrays of labels; none is converted to another type."""
    kinds = {part.dtype.kind for part in parts}
    # numpy would join signed and unsigned integers to floats.
    if len(kinds) == 1 and kinds <= set("USbOmMiu"):
        return np.concatenate(parts)
    return _as_exact_array([label for part in parts for label in list_labels(part)])


def labels_repeat(labels):
    """Whether some labels are equal; False where there are none."""
    return labels is not None and len(set(list_labels(labels))) < len(labels)


def are_sorted(labels):
    """Whether labels are in increasing order; False where they have no order.

    Numbers within strings count as numbers: "image 2" is before "image 10".
    """
    for key in (lambda label: label, _split_numbers):
        try:
            keys = map(key, list_labels(labels))
            if all(first <= second for first, second in pairwise(keys)):
                return True
        except TypeError:
            # Labels of different types.
            return False
    return False


def _split_numbers(label):
    if not isinstance(label, str):
        return label
    # Texts are at even places and numbers at odd ones.
    parts = re.split(r"(\d+)", label)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


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
        f"{found[1]!r} in {second_where}.{explain_difference(*found)} Put them in the "
        "same order with `skmot.align_stimuli`. If the mismatch is intended, as in a "
        "shuffled control, remove the labels of one side with "
        "`stack.with_stimuli(None)`."
    )


def _same_unicode(label):
    return unicodedata.normalize("NFKC", label) if isinstance(label, str) else label


def _same_spaces(label):
    return " ".join(label.split()) if isinstance(label, str) else label


def _same_type(label):
    if isinstance(label, bytes):
        return label.decode("utf-8", "replace")
    if isinstance(label, Number) and label == round(label.real):
        return str(round(label.real))
    return str(label)


def plain_form(label):
    """Return a label without what is easily overlooked: type, Unicode form, spaces."""
    return _map_label(lambda part: _same_spaces(_same_unicode(_same_type(part))), label)


def _map_label(function, label):
    if isinstance(label, tuple):
        return tuple(_map_label(function, part) for part in label)
    return function(label)


# Differences that are easily overlooked, with what removes them.
_FORMS = (
    ("Unicode form", _same_unicode, "`unicodedata.normalize('NFKC', label)`"),
    ("white space", _same_spaces, "`' '.join(label.split())`"),
    ("type", _same_type, None),
)


def explain_difference(first, second):
    """Say where two labels differ in their form alone, or return an empty string."""
    if plain_form(first) != plain_form(second):
        return ""
    found = [
        (name, remedy)
        for name, function, remedy in _FORMS
        if _map_label(function, first) == _map_label(function, second)
    ] or [(name, remedy) for name, _, remedy in _FORMS]
    text = ""
    spelled = [entry for entry in found if entry[0] != "type"]
    if spelled:
        names, remedies = (" and ".join(part) for part in zip(*spelled, strict=True))
        text = f" They differ in their {names} alone: {remedies} makes them equal."
    if len(spelled) < len(found):
        first_type, second_type = (
            type(part).__name__ for part in _first_of_other_type(first, second)
        )
        text += (
            f" One is a {first_type}, the other a {second_type}: make them one type."
        )
    return text


def _first_of_other_type(first, second):
    """Return the two labels, or the first parts of tuples, whose types differ."""
    if isinstance(first, tuple) and isinstance(second, tuple):
        for pair in zip(first, second, strict=False):
            if _same_type(pair[0]) == _same_type(pair[1]) and pair[0] != pair[1]:
                return pair
    return first, second


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

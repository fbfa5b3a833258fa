"""Row selections of a stack, as index arrays or ranges, and their composition."""

import numbers

import numpy as np

from skmot._utils.array_api import to_numpy


def check_rows(key, n_rows):
    """Convert an indexing key to the rows that it selects.

    Parameters
    ----------
    key : slice, array-like of int or bool, Ellipsis or tuple
        Key in `stack[key]`. A tuple may only select rows, as in `stack[rows, :]`.
    n_rows : int
        Number of rows of the stack.

    Returns
    -------
    rows : range or ndarray of int
        The selected rows, as a range if they come from a slice or are consecutive.

    Raises
    ------
    TypeError
        If the key is an integer, a name, or selects units.
    IndexError
        If the key is an array of another type or shape, or a row is out of range.
    """
    if isinstance(key, tuple):
        if len(key) == 0 or not all(_is_everything(part) for part in key[1:]):
            raise TypeError(
                "A LayerStack is indexed by stimuli only, not by units: select units "
                "layer by layer, through `.layers`."
            )
        key = key[0]
    if key is Ellipsis:
        return range(n_rows)
    if isinstance(key, slice):
        return range(n_rows)[key]
    if isinstance(key, str):
        raise TypeError(
            f"A LayerStack is indexed by stimuli: layer {key!r} is `.layer({key!r})`."
        )
    if np.ma.is_masked(key):
        raise IndexError(
            "The rows have masked entries: fill them, `rows.filled(False)`, or leave "
            "them out, `rows.compressed()`."
        )
    rows = to_numpy(key)
    if rows.ndim == 0:
        hint = (
            f"layer {key} is `.layers[{key}]`, stimulus {key} is `[[{key}]]`"
            if isinstance(key, numbers.Integral) and not isinstance(key, bool)
            else "use a slice, row numbers or a mask; layers are in `.layers`"
        )
        raise TypeError(f"A LayerStack is not indexed by {key!r}: {hint}.")
    if rows.ndim != 1:
        raise IndexError(
            f"A LayerStack is indexed by stimuli, in one dimension; got {rows.ndim}."
        )
    if rows.dtype == bool:
        if len(rows) != n_rows:
            raise IndexError(
                f"A mask of {len(rows)} rows for a stack of {n_rows} stimuli."
            )
        rows = np.flatnonzero(rows)
    elif rows.size == 0:
        return range(0)
    elif not np.issubdtype(rows.dtype, np.integer):
        raise IndexError(
            f"Rows must be whole numbers or a mask; got an array of {rows.dtype}."
        )
    outside = (rows < -n_rows) | (rows >= n_rows)
    if outside.any():
        raise IndexError(
            f"Row {rows[outside][0]} is out of range for a stack of {n_rows} stimuli."
        )
    # Small integer types cannot hold `rows + n_rows`.
    rows = rows.astype(np.intp)
    return simplify(np.where(rows < 0, rows + n_rows, rows))


def simplify(rows):
    """Convert consecutive row numbers to a range, so that indexing gives a view."""
    if rows.size and rows[-1] - rows[0] == rows.size - 1 and np.all(np.diff(rows) == 1):
        return range(int(rows[0]), int(rows[-1]) + 1)
    return rows


def compose_rows(base_rows, rows):
    """Return `base_rows[rows]`: the base rows that a selection of them refers to.

    Parameters
    ----------
    base_rows : range or ndarray of int
        Rows of the base that a stack has.
    rows : range or ndarray of int
        Selected rows of the stack.

    Returns
    -------
    rows : range or ndarray of int
        The selected rows of the base.
    """
    if isinstance(base_rows, range):
        if isinstance(rows, range):
            return base_rows[as_index(rows)] if len(rows) else range(0)
        return simplify(base_rows.start + base_rows.step * rows)
    return simplify(base_rows[as_index(rows)])


def as_index(rows):
    """Convert rows to an index for numpy, which is a slice for a range."""
    if not isinstance(rows, range):
        return rows
    if len(rows) == 0:
        return slice(0, 0)
    stop = rows.stop if rows.stop >= 0 else None
    return slice(rows.start, stop, rows.step)


def _is_everything(part):
    return part is Ellipsis or (isinstance(part, slice) and part == slice(None))

"""Positions of feature maps and tokens as rows: their order and their labels."""

from numbers import Integral

import numpy as np

from skmot._utils.array_api import namespace_of


def usual_unit_axis(n_axes):
    """Return the axis of the units: 1 of feature maps, the last one of tokens."""
    return 1 if n_axes > 3 else -1


def check_unit_axis(axis):
    """Raise an error unless the argument `unit_axis` is a whole number or None."""
    if not isinstance(axis, Integral | None):
        raise TypeError(
            "`unit_axis` must be an int, a dict of int by the names of layers, or "
            f"None; got {axis!r}."
        )


def by_position(maps, unit_axis):
    """Return activations by stimulus and position, positions in row-major order.

    Parameters
    ----------
    maps : array of shape (n_stimuli, ...)
        Activations, of any library, with one axis of units and any number of axes of
        positions.
    unit_axis : int
        Axis of the units.

    Returns
    -------
    values : array of shape (n_stimuli, n_positions, n_units)
        The same activations.
    """
    xp = namespace_of(maps)
    values = xp.moveaxis(maps, unit_axis, -1)
    return xp.reshape(values, (values.shape[0], -1, values.shape[-1]))


def rows_at_positions(values, mask=None):
    """Return the rows (stimulus, position), all positions of a stimulus together.

    Parameters
    ----------
    values : array of shape (n_stimuli, n_positions, n_units)
        Activations, of any library.
    mask : array of bool of shape (n_stimuli, n_positions), default=None
        Positions that become rows. None takes all.

    Returns
    -------
    rows : array of shape (n_rows, n_units)
        The rows.
    """
    if mask is not None:
        return values[mask]
    return namespace_of(values).reshape(values, (-1, values.shape[-1]))


def label_positions(labels, n_positions):
    """Return a label for each row, that of its stimulus.

    Rows of one stimulus then have equal labels, so that splits, controls and the
    bootstrap keep them together.

    Parameters
    ----------
    labels : ndarray of shape (n_stimuli,) or None
        Labels of the stimuli. None numbers them from 0.
    n_positions : sequence of int
        Number of rows of each stimulus.

    Returns
    -------
    labels : ndarray of shape (n_rows,)
        Labels of the rows.
    """
    if labels is None:
        labels = np.arange(len(n_positions))
    return np.repeat(labels, n_positions)

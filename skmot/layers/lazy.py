"""Layers whose rows are read, or computed, when they are asked for."""

from abc import ABC, abstractmethod

import numpy as np

from skmot._utils.array_api import is_foreign, select
from skmot._utils.state import stored_as_dict
from skmot.layers.files import FileReference, Reference, check_map
from skmot.layers.rows import as_index, compose_rows


class LazyLayer(ABC):
    """Base class of what a stack can store in place of an array.

    Attributes
    ----------
    shape : tuple of int
        Number of rows and number of units.
    dtype : dtype
        Dtype of the rows that are read, in their array library.
    sample : array
        Any array of the namespace and on the device of the rows that are read.
    in_file : bool
        Whether the data are in a file, so that they are stored as a reference.
    repeats : Repeats or None
        Trials of each row, if rows are averages of trials.
    """

    ndim = 2
    in_file = False
    repeats = None

    @abstractmethod
    def take(self, rows):
        """Return some rows as an array.

        Parameters
        ----------
        rows : range or ndarray of int
            The rows.

        Returns
        -------
        layer : array of shape (n_rows, n_units)
            The rows, possibly as a view.
        """

    def compact(self, rows):
        """Return a layer that stores some of the rows only."""
        return self.take(rows)

    def to_store(self):
        """Return what is stored in place of the layer, if it is not the layer."""
        return self

    def check_unchanged(self, where):
        """Raise an error if the layer is in a file that has changed."""
        return


class _Selection(LazyLayer):
    """Base class of layers that are a part of another layer."""

    def __init__(self, base, selected, shape):
        self._base, self._selected, self.shape = base, selected, shape

    @property
    def dtype(self):
        return self._base.dtype

    @property
    def sample(self):
        return sample_of(self._base)

    @property
    def in_file(self):
        return is_in_file(self._base)

    def check_unchanged(self, where):
        check_unchanged(self._base, where)

    def __getstate__(self):
        return self.__dict__ | {"_base": to_store(self._base)}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._base = Reference.opened(self._base)


@stored_as_dict
class SelectedUnits(_Selection):
    """Some units of a layer, which are selected when rows are read.

    Parameters
    ----------
    base : array or LazyLayer
        The layer with all units.
    units : ndarray of int
        Positions of the selected units.
    """

    def __init__(self, base, units):
        super().__init__(base, units, (base.shape[0], len(units)))

    @property
    def repeats(self):
        return repeats_of(self._base)

    @property
    def trials(self):
        """The trials of the selected units."""
        return SelectedUnits(self._base.trials, self._selected)

    def take(self, rows):
        return select(take_rows(self._base, rows), self._selected, axis=1)

    def compact(self, rows):
        if self.repeats is None:
            return self.take(rows)
        return SelectedUnits(self._base.compact(rows), self._selected)

    def __getstate__(self):
        if self.in_file or self.repeats is not None:
            return super().__getstate__()
        # What is in memory travels with the selected units only.
        base = self.take(range(self.shape[0]))
        return self.__dict__ | {"_base": base, "_selected": np.arange(self.shape[1])}


@stored_as_dict
class SelectedRows(_Selection):
    """Some rows of a layer, which are read when they are asked for.

    Parameters
    ----------
    base : array or LazyLayer
        The layer with all rows.
    rows : range or ndarray of int
        The selected rows.
    """

    def __init__(self, base, rows):
        super().__init__(base, rows, (len(rows), base.shape[1]))

    def take(self, rows):
        return take_rows(self._base, compose_rows(self._selected, rows))

    def __getstate__(self):
        if self.in_file:
            return super().__getstate__()
        # What is in memory travels with the selected rows only.
        base = take_rows(self._base, self._selected)
        return self.__dict__ | {"_base": base, "_selected": range(len(self._selected))}


def sample_of(base):
    """Return an array of the namespace and on the device of a layer."""
    return base.sample if isinstance(base, LazyLayer) else base


def repeats_of(base):
    """Return the trials of each row of a layer, or None if rows are no averages."""
    return base.repeats if isinstance(base, LazyLayer) else None


def to_store(base):
    """Return what is stored in place of a layer: a reference if it is in a file."""
    return base.to_store() if isinstance(base, LazyLayer) else FileReference.of(base)


def is_in_file(base):
    """Whether the data of a layer are in a file, to which a reference is stored."""
    if isinstance(base, LazyLayer):
        return base.in_file
    return isinstance(FileReference.of(base), FileReference)


def check_unchanged(base, where):
    """Raise an error if a layer is in a file that has changed since its first use.

    Parameters
    ----------
    base : array or LazyLayer
        The layer.
    where : str
        Name of the layer in the error message.
    """
    if isinstance(base, LazyLayer):
        base.check_unchanged(where)
    else:
        check_map(base, where)


def take_rows(base, rows):
    """Return some rows of a layer, as a view if they are evenly spaced.

    Parameters
    ----------
    base : array or LazyLayer
        The layer.
    rows : range or ndarray of int
        The rows.

    Returns
    -------
    layer : array of shape (n_rows, n_units)
        The rows.
    """
    if isinstance(base, LazyLayer):
        return base.take(rows)
    index = as_index(rows)
    if not is_foreign(base):
        return base[index]
    if isinstance(index, slice) and (index.step is None or index.step > 0):
        return base[index, :]
    # Some libraries do not support negative steps.
    return select(base, np.asarray(rows), axis=0)


def compact_rows(base, rows):
    """Return a layer that stores some of the rows of a layer only.

    The rows of an array in a file stay a reference to it if they are evenly spaced.
    """
    if isinstance(base, LazyLayer):
        return base.compact(rows)
    return FileReference.of(take_rows(base, rows))

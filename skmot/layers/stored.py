"""Layers in HDF5 files and zarr stores, whose rows are read when asked for."""

import os

import numpy as np

from skmot.layers.lazy import LazyLayer

# Rows between the requested ones are read too if they are at most this many times as
# many: reading a block is much faster than reading single rows.
_BLOCK_SHARE = 4


class StoredLayer(LazyLayer):
    """Layer in an HDF5 file or a zarr store, which stays there.

    Parameters
    ----------
    array : h5py.Dataset or zarr.Array
        The array, of shape (n_stimuli, n_units).
    """

    def __init__(self, array):
        self._array = array
        self.shape = tuple(array.shape)
        self.dtype = np.dtype(array.dtype)
        # An HDF5 file may be closed after the stack has been made.
        self._place = None
        if _library(array) == "h5py":
            # Relative paths change their meaning with the working directory.
            self._place = os.path.abspath(array.file.filename), array.name

    @staticmethod
    def is_stored(given):
        """Whether an object is an array of h5py or zarr; neither is imported."""
        return _library(given) in ("h5py", "zarr") and hasattr(given, "dtype")

    @property
    def sample(self):
        return np.empty(0, self.dtype)

    @property
    def in_file(self):
        if self._place is None:
            return True
        return os.path.exists(self._place[0])

    def _opened(self):
        # A closed dataset of h5py is False.
        if self._place is not None and not self._array:
            self._array = _open_dataset(*self._place)._array
        return self._array

    def take(self, rows):
        array = self._opened()
        if isinstance(rows, range) and rows.step == 1:
            return np.asarray(array[rows.start : rows.stop])
        # Both libraries read rows in increasing order.
        wanted, place = np.unique(np.asarray(rows), return_inverse=True)
        if len(wanted) == 0:
            return np.empty((0, self.shape[1]), self.dtype)
        first, last = int(wanted[0]), int(wanted[-1]) + 1
        if last - first <= _BLOCK_SHARE * len(wanted):
            return np.asarray(array[first:last])[wanted - first][place]
        read = array if self._place else array.oindex
        return np.asarray(read[wanted])[place]

    def __reduce__(self):
        if not self.in_file:
            return np.asarray, (self.take(range(self.shape[0])),)
        if self._place is None:
            # zarr pickles its arrays as references.
            return StoredLayer, (self._array,)
        return _open_dataset, self._place


def _open_dataset(path, name):
    import h5py

    return StoredLayer(h5py.File(path, "r")[name])


def _library(array):
    return type(array).__module__.partition(".")[0]

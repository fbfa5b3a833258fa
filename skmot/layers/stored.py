"""Layers in HDF5 files and zarr stores, whose rows are read when asked for."""

import os
from os import PathLike

import numpy as np

from skmot._utils.state import stored_as_dict
from skmot.layers.files import Reference, check_state, file_state
from skmot.layers.lazy import LazyLayer
from skmot.layers.untrusted import check_stored, library_of

# Rows between the requested ones are read too if they are at most this many times as
# many: reading a block is much faster than reading single rows.
_BLOCK_SHARE = 4


@stored_as_dict
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
        self._reference = ArrayReference.of(array)

    @staticmethod
    def is_stored(given):
        """Whether an object is an array of h5py or zarr; neither is imported."""
        return library_of(given) in ("h5py", "zarr") and hasattr(given, "dtype")

    @property
    def sample(self):
        return np.empty(0, self.dtype)

    @property
    def in_file(self):
        # An open HDF5 file can be read although it was deleted, or never written.
        return not self._is_hdf5 or os.path.exists(self._reference.path)

    @property
    def _is_hdf5(self):
        return self._reference is not None and self._reference.library == "h5py"

    def _opened(self):
        # A closed dataset of h5py is False.
        if self._is_hdf5 and not self._array:
            self._array = self._reference.open()._array
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
        read = array if self._is_hdf5 else array.oindex
        return np.asarray(read[wanted])[place]

    def check_unchanged(self, where):
        if self._reference is not None:
            check_state(self._reference.watched, self._reference.state, where)

    def to_store(self):
        if not self.in_file:
            return self.take(range(self.shape[0]))
        # zarr stores its arrays in other places than folders by itself.
        return self if self._reference is None else self._reference


@stored_as_dict
class ArrayReference(Reference):
    """Location of an array in an HDF5 file or in a zarr store, which is a folder.

    Parameters
    ----------
    library : {"h5py", "zarr"}
        Library that opens the array.
    path : str
        Absolute path of the file or folder.
    name : str
        Name of the array within it.
    may_change : bool
        Whether the caller has opened the array to write to it.
    """

    def __init__(self, library, path, name, may_change):
        self.library, self.path, self.name = library, path, name
        self.state = None if may_change else file_state(self.watched)

    @classmethod
    def of(cls, array):
        """Return the reference to an array, or None if it is in no file or folder."""
        if library_of(array) == "h5py":
            path, name = array.file.filename, array.name
            may_change = array.file.mode != "r"
        else:
            path, name = getattr(array.store, "root", None), array.path
            may_change = not array.read_only
            if not isinstance(path, PathLike):
                return None
        # Relative paths change their meaning with the working directory.
        return cls(library_of(array), os.path.abspath(path), name, may_change)

    @property
    def watched(self):
        if self.library == "h5py":
            return self.path
        # The values are in many files. Where a whole array is written anew, so is the
        # file that describes it (its name in version 2 and 3 of the format).
        folder = os.path.join(self.path, self.name)
        names = [os.path.join(folder, name) for name in (".zarray", "zarr.json")]
        return next(filter(os.path.exists, names), names[-1])

    def _open(self):
        if self.library == "h5py":
            import h5py

            array = h5py.File(self.path, "r")[self.name]
            if os.path.abspath(array.file.filename) != self.path:
                raise ValueError(f"{self.name!r} is a link to another file")
        else:
            import zarr

            array = zarr.open_array(self.path, path=self.name, mode="r")
        check_stored(array, repr(self.name))
        return StoredLayer(array)

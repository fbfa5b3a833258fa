"""Layers in files: references stored in their place, and checks for changes."""

import os
from abc import ABC, abstractmethod
from weakref import WeakKeyDictionary

import numpy as np

from skmot._utils.state import stored_as_dict

# State of the file of each memory map (`file_state`) when the map was first used. All
# stacks and views of a map share its state.
_states = WeakKeyDictionary()
_CHANGE = "its size or its time of modification is another"


def file_state(path):
    """Return the size of a file and its time of modification, or None if missing."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_size, found.st_mtime_ns


def check_state(path, state, where):
    """Raise an error if a file is no longer in the state of its first use.

    Parameters
    ----------
    path : str
        Path of the file.
    state : tuple or None
        State at the first use, see `file_state`. None if the file may change.
    where : str
        Name of the layer in the error message.

    Raises
    ------
    ValueError
        If the size or the time of modification of the file has changed. A file that
        was deleted is no error, because an open file keeps its contents.
    """
    if _has_changed(path, state):
        raise ValueError(
            f"{where} is in a file, and the file {path!r} has changed since the layer "
            f"was first used: {_CHANGE}. Results would mix the old and the new "
            "contents. Open the file again, and fit again."
        )


def _has_changed(path, state):
    return state is not None and file_state(path) not in (state, None)


def check_map(array, where):
    """Raise an error if the file of a memory-mapped array has changed.

    Parameters
    ----------
    array : array
        Any array. If it is in a memory map that is used for the first time, the state
        of its file is noted.
    where : str
        Name of the layer in the error message.

    Raises
    ------
    ValueError
        If the file is shorter than the map (reading would end the process), or if it
        has changed since its first use. A map that can be written to may change.
    """
    mapped = _map_of(array)
    if mapped is None:
        return
    size, needed = mapped.base.size(), mapped.offset + mapped.nbytes
    if size < needed:
        raise ValueError(
            f"{where} is in the file {mapped.filename!r}, which was cut to {size} of "
            f"{needed} bytes since it was opened. Write the file again, and open it "
            "again."
        )
    check_state(mapped.filename, _state_of(mapped), where)


def _map_of(array):
    """Return the memory map that holds an array, or None."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and not isinstance(array.base, np.ndarray):
            return array if hasattr(array.base, "size") else None
        array = array.base
    return None


def _state_of(mapped):
    """Return the state of the file of a memory map when the map was first used."""
    if mapped.filename is None or mapped.mode not in ("r", "c"):
        return None
    if mapped.base not in _states:
        _states[mapped.base] = file_state(mapped.filename)
    return _states[mapped.base]


class Reference(ABC):
    """Location of a layer in a file or folder, `path`.

    Attributes
    ----------
    path : str
        Path of the file or folder.
    state : tuple or None
        State of the file when the layer was first used, see `file_state`. None if the
        file may change.
    """

    @staticmethod
    def opened(base):
        """Return the layer that a reference refers to, or what is no reference."""
        return base.open() if isinstance(base, Reference) else base

    def open(self):
        """Return the layer, which stays in the file.

        Raises
        ------
        FileNotFoundError
            If the file is missing.
        ValueError
            If the file has changed, or the layer is no longer in it.
        """
        try:
            if _has_changed(self.watched, self.state):
                raise ValueError(_CHANGE)
            return self._open()
        except (FileNotFoundError, KeyError, ValueError) as error:
            if os.path.exists(self.path):
                raise ValueError(
                    f"The file {self.path!r} has changed since a stack was stored with "
                    f"a reference to it: its layer cannot be opened ({error})."
                ) from error
            raise FileNotFoundError(
                f"A layer is in the file {self.path!r}, which is missing: a stack is "
                "stored with references to its files. Put the file back. To store the "
                "data themselves, read them first, `stack.map(np.array)`."
            ) from error

    @property
    def watched(self):
        """Path of the file whose state is compared."""
        return self.path

    @abstractmethod
    def _open(self):
        """Return the layer."""


@stored_as_dict
class FileReference(Reference):
    """Location of a memory-mapped array in its file, to store it without the data.

    Parameters
    ----------
    path : str
        Path of the file.
    offset : int
        Position of the array's first byte in the file.
    n_bytes : int
        Number of bytes from the first to the last byte of the array.
    shape : tuple of int
        Shape of the array.
    strides : tuple of int
        Strides of the array in bytes.
    dtype : dtype
        Dtype of the array.
    state : tuple or None
        State of the file when the array was first used, see `file_state`.
    """

    def __init__(self, path, offset, n_bytes, shape, strides, dtype, state):
        self.path = path
        self.offset = offset
        self.n_bytes = n_bytes
        self.shape = shape
        self.strides = strides
        self.dtype = dtype
        self.state = state

    @classmethod
    def of(cls, base):
        """Return a reference if the array is memory-mapped, otherwise the array."""
        if not isinstance(base, np.ndarray) or base.size == 0 or base.dtype.hasobject:
            return base
        mapped = _map_of(base)
        # A copy-on-write map may differ from its file. Arrays with negative strides
        # cannot be rebuilt from a buffer that starts at their first byte.
        if (
            mapped is None
            or mapped.filename is None
            or mapped.mode == "c"
            or min(base.strides) < 0
        ):
            return base
        first, last = np.lib.array_utils.byte_bounds(base)
        start = np.lib.array_utils.byte_bounds(mapped)[0]
        return cls(
            path=str(mapped.filename),
            offset=mapped.offset + first - start,
            n_bytes=last - first,
            shape=base.shape,
            strides=base.strides,
            dtype=base.dtype,
            state=_state_of(mapped),
        )

    def _open(self):
        if self.dtype.hasobject:
            # The bytes of the file would be used as addresses of Python objects.
            raise ValueError("a file holds numbers, and the reference is to objects")
        # The array is memory-mapped in read-only mode.
        buffer = np.memmap(
            self.path, np.uint8, "r", offset=self.offset, shape=(self.n_bytes,)
        )
        _states[buffer.base] = self.state
        return np.ndarray(self.shape, self.dtype, buffer, strides=self.strides)

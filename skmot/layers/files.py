"""References to layers in files, which are stored in place of the data."""

import os
from abc import ABC, abstractmethod

import numpy as np

from skmot._utils.state import stored_as_dict


class Reference(ABC):
    """Location of a layer in a file or folder, `path`."""

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
            If the layer is no longer in the file.
        """
        try:
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
    """

    def __init__(self, path, offset, n_bytes, shape, strides, dtype):
        self.path = path
        self.offset = offset
        self.n_bytes = n_bytes
        self.shape = shape
        self.strides = strides
        self.dtype = dtype

    @classmethod
    def of(cls, base):
        """Return a reference if the array is memory-mapped, otherwise the array."""
        if not isinstance(base, np.ndarray) or base.size == 0 or base.dtype.hasobject:
            return base
        mapped = base
        while isinstance(mapped.base, np.ndarray):
            mapped = mapped.base
        # A copy-on-write map may differ from its file. Arrays with negative strides
        # cannot be rebuilt from a buffer that starts at their first byte.
        if (
            not isinstance(mapped, np.memmap)
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
        )

    def _open(self):
        # The array is memory-mapped in read-only mode.
        buffer = np.memmap(
            self.path, np.uint8, "r", offset=self.offset, shape=(self.n_bytes,)
        )
        return np.ndarray(self.shape, self.dtype, buffer, strides=self.strides)

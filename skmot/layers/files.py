"""References to memory-mapped layers, which are pickled in place of the data."""

import numpy as np


class FileReference:
    """Location of a memory-mapped array in its file, to pickle it without the data.

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

    @staticmethod
    def opened(base):
        """Return the array that a reference refers to, or what is no reference."""
        return base.open() if isinstance(base, FileReference) else base

    def open(self):
        """Return the array, memory-mapped in read-only mode."""
        buffer = np.memmap(
            self.path, np.uint8, "r", offset=self.offset, shape=(self.n_bytes,)
        )
        return np.ndarray(self.shape, self.dtype, buffer, strides=self.strides)

"""Layers that lie in files travel as references."""

import numpy as np


class FileReference:
    """Where a memory-mapped layer lies, so that it is pickled without its bytes."""

    def __init__(self, path, offset, n_bytes, shape, strides, dtype):
        self.path = path
        self.offset = offset
        self.n_bytes = n_bytes
        self.shape = shape
        self.strides = strides
        self.dtype = dtype

    @classmethod
    def of(cls, base):
        """Return a reference to `base` if a file backs it, else `base` itself."""
        if not isinstance(base, np.ndarray) or base.size == 0 or base.dtype.hasobject:
            return base
        mapped = base
        while isinstance(mapped.base, np.ndarray):
            mapped = mapped.base
        # Copy-on-write maps may differ from their file; negative strides cannot be
        # rebuilt over a buffer that starts at the first byte.
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

    def open(self):
        buffer = np.memmap(
            self.path, np.uint8, "r", offset=self.offset, shape=(self.n_bytes,)
        )
        return np.ndarray(self.shape, self.dtype, buffer, strides=self.strides)

"""Rows of all batches: in memory, or in one `.npy` file per layer."""

import os
import re
from os import PathLike
from pathlib import Path

import numpy as np


class MemoryStorage:
    """Rows of each layer in memory."""

    def __init__(self):
        self._parts = {}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def append(self, name, rows):
        """Add the rows of a batch to a layer."""
        parts = self._parts.setdefault(name, [])
        if parts:
            _check_width(name, parts[0].shape[1], rows.shape[1])
        parts.append(rows)

    def finish(self):
        """Return the layers by their names."""
        # One layer at a time is in memory twice.
        return {name: np.concatenate(self._parts.pop(name)) for name in [*self._parts]}


class FolderStorage:
    """Rows of each layer in a `.npy` file, with a temporary name until the end.

    As a context manager, it removes the temporary files.

    Parameters
    ----------
    folder : str or path
        The folder, which is made if it does not exist.
    """

    def __init__(self, folder):
        if not isinstance(folder, str | PathLike):
            raise TypeError(f"`out` must be the path of a folder; got {folder!r}.")
        self._folder = Path(folder)
        present = sorted(path.name for path in self._folder.glob("*.npy"))
        if present:
            raise FileExistsError(
                f"The folder {str(folder)!r} has {len(present)} .npy files already, "
                f"such as {present[0]!r}. Give another folder in `out`, or delete them."
            )
        self._files = {}

    def __enter__(self):
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *error):
        for file in self._files.values():
            file.temporary.unlink(missing_ok=True)

    def append(self, name, rows):
        """Add the rows of a batch to a layer."""
        if name not in self._files:
            # Numbers keep the order of the layers, and the names apart.
            safe = re.sub(r"[^\w.#-]", "_", name)
            path = self._folder / f"{len(self._files):03d}_{safe}.npy"
            self._files[name] = _LayerFile(path, rows)
        _check_width(name, self._files[name].width, rows.shape[1])
        self._files[name].append(rows)

    def finish(self):
        """Return the layers by their names, memory-mapped."""
        for file in self._files.values():
            file.write_header()
        for file in self._files.values():
            os.replace(file.temporary, file.path)
        return {
            name: np.load(file.path, mmap_mode="r", allow_pickle=False)
            for name, file in self._files.items()
        }


class _LayerFile:
    """One `.npy` file that grows by rows.

    Parameters
    ----------
    path : Path
        Path of the complete file.
    rows : ndarray of shape (n_rows, n_units)
        Rows of the first batch, which say the width and dtype.
    """

    def __init__(self, path, rows):
        self.path, self.temporary = path, path.with_name(f"{path.name}.part")
        self.width, self._dtype, self._n_rows = rows.shape[1], rows.dtype, 0
        self.temporary.write_bytes(b"")
        self.write_header()

    def append(self, rows):
        with open(self.temporary, "ab") as file:
            file.write(rows.tobytes())
        self._n_rows += len(rows)

    def write_header(self):
        # numpy pads the header, so that the number of rows can grow within it.
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self._n_rows, self.width),
        }
        with open(self.temporary, "r+b") as file:
            np.lib.format.write_array_header_1_0(file, header)


def _check_width(name, width, width_here):
    if width != width_here:
        raise ValueError(
            f"Layer {name!r} has {width} units in the first batch and {width_here} in "
            "a later one. Stimuli of different sizes need a `reduce` over positions, "
            "such as 'mean'."
        )

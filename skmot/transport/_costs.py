"""Cost matrix of a transport problem, which the solver reads in blocks or by arc."""

import math
from dataclasses import dataclass

import numpy as np

from skmot._utils.array_api import (
    device_of,
    namespace_of,
    non_numeric_type,
    to_numpy,
)

# Blocks of about this many entries fit in the cache of a core (2 MB in float64).
_BLOCK_ENTRIES = 250_000
# Accelerators are faster with few large blocks (1 GB in float64).
_ACCELERATOR_BLOCK_ENTRIES = 125_000_000
# Costs are not scaled in advance if their offset is at most this multiple of their
# spread, and the spread is within these bounds. Otherwise they are scaled in float64.
_LARGEST_OFFSET = 1e3
_PLAIN_SPREADS = (1e-30, 1e30)


@dataclass(frozen=True)
class CostMatrix:
    """Cost matrix with the offset and the spread that scale it to [0, 1].

    The network simplex of POT gives its artificial arcs a cost of (max + 1) n. If the
    costs are much smaller than 1, or their differences are small relative to their
    size, its tolerances accept plans that are far from optimal without a warning.
    Therefore the costs of the chosen arcs are scaled in float64 before they are solved.
    This does not need a copy of the matrix.

    Attributes
    ----------
    matrix : array of shape (n, k)
        Float32 or float64 array of any array library and on any device, C-contiguous.
    offset, spread : float
        Smallest cost, and difference between the largest and the smallest cost.
    is_scaled : bool
        Whether the matrix already contains costs from 0 to 1.
    """

    matrix: object
    offset: float
    spread: float
    is_scaled: bool

    @classmethod
    def of(cls, costs):
        """Check the costs: they must be a finite, real, two-dimensional array."""
        matrix = _check_costs(costs)
        xp = namespace_of(matrix)
        low, high = float(xp.min(matrix)), float(xp.max(matrix))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("`costs` has entries that are NaN or infinite.")
        spread = high - low
        if not math.isfinite(spread):
            raise ValueError(
                "The spread of `costs` (largest minus smallest) is too large for "
                "float64."
            )
        largest = max(abs(low), abs(high))
        if spread == 0 or (
            _PLAIN_SPREADS[0] < spread < _PLAIN_SPREADS[1]
            and largest <= _LARGEST_OFFSET * spread
        ):
            if isinstance(matrix, np.ndarray):
                matrix = np.ascontiguousarray(matrix)
            return cls(matrix, low, spread, is_scaled=False)
        scaled = (xp.astype(matrix, xp.float64) - low) / spread
        return cls(scaled, low, spread, is_scaled=True)

    @property
    def shape(self):
        return self.matrix.shape

    @property
    def xp(self):
        return namespace_of(self.matrix)

    def beside(self, values):
        """Convert a NumPy array to the array library and the device of the matrix."""
        if isinstance(self.matrix, np.ndarray):
            return values
        values = np.ascontiguousarray(values)
        return self.xp.asarray(values, device=device_of(self.matrix))

    def like(self, values):
        """Convert numbers to the array library, device and dtype of the matrix."""
        return self.xp.astype(self.beside(np.asarray(values)), self.matrix.dtype)

    def take(self, arcs):
        """Return the entries of arcs, given by flat indices."""
        return self.xp.take(
            self.xp.reshape(self.matrix, (-1,)), self.beside(arcs), axis=0
        )

    def blocks(self):
        """Yield slices of rows, so that each block fits in the cache."""
        n, k = self.shape
        entries = (
            _BLOCK_ENTRIES
            if isinstance(self.matrix, np.ndarray)
            else _ACCELERATOR_BLOCK_ENTRIES
        )
        height = max(1, entries // k)
        for start in range(0, n, height):
            yield slice(start, min(start + height, n))

    def on_arcs(self, arcs):
        """Return the costs of arcs as a NumPy array, from 0 to 1 in float64."""
        return self._scale(to_numpy(self.take(arcs)).astype(np.float64))

    def scaled(self):
        """Return all costs as a new NumPy array, from 0 to 1 in float64."""
        matrix = to_numpy(self.matrix)
        scaled = np.empty(matrix.shape)
        for part in self.blocks():
            scaled[part] = matrix[part]
            self._scale(scaled[part])
        return scaled

    def _scale(self, values):
        if not self.is_scaled:
            values -= self.offset
            values /= self.spread or 1.0
        return values

    # -- potentials for costs from 0 to 1, for the matrix, and for the original costs --

    @property
    def factor(self):
        """Difference of matrix entries that corresponds to a scaled difference of 1."""
        return 1.0 if self.is_scaled else self.spread or 1.0

    def to_matrix(self, *, rows=None, columns=None):
        """Convert potentials for costs from 0 to 1 to potentials for the matrix.

        Rows or columns are given. The potentials of the rows contain the offset.
        """
        if rows is None:
            return columns * self.factor
        return rows * self.factor + (0.0 if self.is_scaled else self.offset)

    def from_matrix(self, *, rows=None, columns=None):
        """Convert potentials for the matrix to potentials for costs from 0 to 1."""
        if rows is None:
            return columns / self.factor
        return (rows - (0.0 if self.is_scaled else self.offset)) / self.factor

    def scale_potentials(self, rows, columns):
        """Convert potentials for the original costs to those for costs from 0 to 1."""
        spread = self.spread or 1.0
        return (rows - self.offset) / spread, columns / spread


def _check_costs(costs):
    rows = costs if isinstance(costs, list | tuple) else [costs]
    if any(np.ma.is_masked(row) for row in rows):
        raise ValueError(
            "`costs` has masked entries. Give pairs that must not be matched a cost "
            "above the others."
        )
    if not (hasattr(costs, "__array_namespace__") or hasattr(costs, "device")):
        costs = np.asarray(costs)
    found = non_numeric_type(costs)
    if found is not None:
        raise ValueError(f"`costs` must be numbers; got {found}.")
    if costs.ndim != 2 or 0 in costs.shape:
        raise ValueError(
            "`costs` must be two-dimensional and not empty; got shape "
            f"{tuple(costs.shape)}."
        )
    xp = namespace_of(costs)
    if xp.isdtype(costs.dtype, "complex floating"):
        raise ValueError("`costs` must be real; got complex numbers.")
    if costs.dtype not in (xp.float32, xp.float64):
        costs = xp.astype(costs, xp.float64)
    return costs

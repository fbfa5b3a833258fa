"""Costs as the solver reads them: on one scale, in blocks, a few arcs at a time."""

import math
from dataclasses import dataclass

import numpy as np

from skmot._array_api import device_of, namespace_of, to_numpy

# Blocks of about this many entries stay in a core's cache (2 MB in float64).
_BLOCK_ENTRIES = 250_000
# Beyond the cache of a CPU: an accelerator wants few large steps (1 GB in float64).
_ACCELERATOR_BLOCK_ENTRIES = 125_000_000
# Float32 costs are read as they are while their offset is at most this many times
# their spread and the spread within these bounds; else they are scaled in float64.
_LARGEST_OFFSET = 1e3
_PLAIN_SPREADS = (1e-30, 1e30)


@dataclass(frozen=True)
class CostMatrix:
    """Costs, and the numbers that bring them to [0, 1].

    POT's simplex gives its artificial arcs a cost of (max + 1) n: where costs are small
    beside 1, or their differences small beside their size, its tolerances pass plans
    that are far from optimal, and say nothing. Chosen arcs are therefore scaled in
    float64 before they are solved; the matrix itself need not be copied for that.

    Attributes
    ----------
    matrix : array of shape (n, k)
        Float32 or float64, C-contiguous, of any array namespace and on any device.
    offset, spread : float
        The least cost, and by how much the largest exceeds it.
    is_scaled : bool
        Whether the matrix holds costs from 0 to 1 already.
    """

    matrix: object
    offset: float
    spread: float
    is_scaled: bool

    @classmethod
    def of(cls, costs):
        """Read costs; raise unless they are a finite, real, two-dimensional array."""
        matrix = _check_costs(costs)
        xp = namespace_of(matrix)
        low, high = float(xp.min(matrix)), float(xp.max(matrix))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("`costs` has entries that are NaN or infinite.")
        spread = high - low
        if not math.isfinite(spread):
            raise ValueError("`costs` spread over more than a float64 can hold.")
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
        """Return an array of the host as one of the matrix's library and device."""
        if isinstance(self.matrix, np.ndarray):
            return values
        values = np.ascontiguousarray(values)
        return self.xp.asarray(values, device=device_of(self.matrix))

    def like(self, values):
        """Return numbers of the host in the matrix's library, device and precision."""
        return self.xp.astype(self.beside(np.asarray(values)), self.matrix.dtype)

    def take(self, arcs):
        """Return the entries of some arcs, by their flat indices."""
        return self.xp.take(
            self.xp.reshape(self.matrix, (-1,)), self.beside(arcs), axis=0
        )

    def blocks(self):
        """Yield slices of rows, of which the work fits in a cache."""
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
        """Return the costs of some arcs of the host, from 0 to 1 in float64."""
        return self._scale(to_numpy(self.take(arcs)).astype(np.float64))

    def scaled(self):
        """Return all costs from 0 to 1, as a new float64 array of the host."""
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

    # -- potentials: of costs from 0 to 1, of the matrix, of the costs given ---------

    @property
    def factor(self):
        """What a cost of 1 is in the matrix."""
        return 1.0 if self.is_scaled else self.spread or 1.0

    def to_matrix(self, *, rows=None, columns=None):
        """Bring potentials of costs from 0 to 1, of one side, to those of the matrix.

        The offset is with the rows.
        """
        if rows is None:
            return columns * self.factor
        return rows * self.factor + (0.0 if self.is_scaled else self.offset)

    def from_matrix(self, *, rows=None, columns=None):
        """Undo `to_matrix`."""
        if rows is None:
            return columns / self.factor
        return (rows - (0.0 if self.is_scaled else self.offset)) / self.factor

    def scale_potentials(self, rows, columns):
        """Bring potentials of the costs that were given to those from 0 to 1."""
        spread = self.spread or 1.0
        return (rows - self.offset) / spread, columns / spread


def _check_costs(costs):
    if not (hasattr(costs, "__array_namespace__") or hasattr(costs, "device")):
        costs = np.asarray(costs)
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

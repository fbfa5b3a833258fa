"""Transport between tuning curves, whose costs are one matrix product."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from skmot._utils.array_api import (
    move_to_device_of,
    namespace_of,
    numpy_dtype,
    select,
    to_numpy,
)
from skmot._utils.linalg import inner_products, triangular_factor
from skmot._utils.sparse import ShiftedSparse
from skmot.transport._masses import mean_over_mass
from skmot.transport._partial import solve_partial_transport
from skmot.transport._refine import refine
from skmot.transport._solver import solve_transport

# Squared norm of a loud unit, relative to the median unit. Such units set the spread of
# squared Euclidean costs, and with it the tolerance of the solver for all others.
_LOUD = 1e3


@dataclass(frozen=True)
class TuningCurves:
    """Tuning curves x_i and y_j, whose cost is r_i + c_j - weight x_i . y_j.

    The correlation distance 1 - x_i . y_j of centred vectors of norm 1 has r = c = 1/2
    and weight 1. The squared Euclidean distance has ``r = |x_i|^2``, ``c = |y_j|^2``
    and weight 2. For couplings with uniform marginals, r and c add a constant to the
    cost. If all units are matched, the plan therefore depends on the product alone, and
    rounding errors of r and c do not affect it.

    Attributes
    ----------
    vectors : array of shape (n_stimuli, n_units) or ShiftedSparse
        Tuning curves, one column for each unit.
    offsets : ndarray of shape (n_units,)
        r or c of the units of this side, in float64.
    weight : float
        Weight of the product, which is equal for both sides.
    """

    vectors: np.ndarray
    offsets: np.ndarray
    weight: float

    @cached_property
    def triangular(self):
        """Array of at most `n_units` rows with the same scalar products of columns.

        It is computed at the first access. Threads that access it at the same time
        compute equal arrays.
        """
        return triangular_factor(self.vectors)

    @cached_property
    def median_offset(self):
        """Median of the offsets, computed at the first access."""
        return float(np.median(self.offsets))

    @cached_property
    def has_loud_units(self):
        """Whether an offset is more than `_LOUD` times the median."""
        return bool(self.offsets.max() > _LOUD * self.median_offset)

    def in_float64(self):
        """Return the same curves in float64, with exactly the norms of the offsets.

        The costs of nearly identical curves are small differences of products. Products
        in float32 would be rounding errors.
        """
        if isinstance(self.vectors, ShiftedSparse):
            scale = self._scale_to_norms(self.vectors.squared_norms())
            return replace(self, vectors=self.vectors.scaled(scale))
        xp = namespace_of(self.vectors)
        vectors = xp.astype(self.vectors, xp.float64)
        scale = self._scale_to_norms(to_numpy(xp.sum(vectors**2, axis=0)))
        vectors *= move_to_device_of(vectors, scale)
        return TuningCurves(vectors, self.offsets, self.weight)

    def select(self, units):
        """Return the tuning curves of some units, given by their indices."""
        vectors = self.vectors
        if isinstance(vectors, ShiftedSparse):
            vectors = ShiftedSparse(vectors.matrix[:, units], vectors.offsets[units])
        else:
            vectors = select(vectors, units, axis=1)
        return TuningCurves(vectors, self.offsets[units], self.weight)

    def scaled(self, factor):
        """Return tuning curves multiplied by a number, for squared distances."""
        vectors = self.vectors
        if isinstance(vectors, ShiftedSparse):
            vectors = vectors.scaled(np.full(vectors.shape[1], factor))
        else:
            vectors = vectors * factor
        return TuningCurves(vectors, self.offsets * factor**2, self.weight)

    def _scale_to_norms(self, squared):
        """Return factors that give columns the norms of the offsets."""
        return np.sqrt(2 * self.offsets / (self.weight * squared))


def match_tuning_curves(
    source, target, mass=1.0, *, ignore_sign=False, weights=(None, None)
):
    """Compute the optimal coupling of two populations of tuning curves.

    Parameters
    ----------
    source, target : TuningCurves
        Tuning curves over the same stimuli.
    mass : float, default=1.0
        Fraction of the units that is matched, above 0 and at most 1.
    ignore_sign : bool, default=False
        Whether the cost of two units is that of x_i and y_j or of x_i and -y_j,
        whichever is smaller: ``r_i + c_j - weight |x_i . y_j|``.
    weights : tuple of (ndarray or None), of shape (n_source_units,) and \
(n_target_units,), default=(None, None)
        Positive weights of the source units and of the target units, see
        :func:`solve_transport`. None means equal weights.

    Returns
    -------
    result : TransportResult
        Plan between the units. The cost and the potentials include the offsets.
    """
    settings = mass, ignore_sign, weights
    result = _match(source, target, *settings)
    dtype = numpy_dtype(source.vectors)
    if dtype == np.float32 and are_nearly_alike(result.cost / mass, dtype):
        result = _match(source.in_float64(), target.in_float64(), *settings)
    return result


def are_nearly_alike(cost, dtype):
    """Whether a cost that was computed from products lost half of its digits."""
    return cost < np.sqrt(np.finfo(dtype).eps)


def _match(source, target, mass, ignore_sign, weights):
    """Compute the optimal coupling in the precision of the tuning curves."""
    costs = inner_products(source.vectors, target.vectors)
    if ignore_sign:
        # In place where possible: the costs take most of the memory.
        is_numpy = isinstance(costs, np.ndarray)
        costs = np.abs(costs, out=costs) if is_numpy else namespace_of(costs).abs(costs)
    costs *= -source.weight
    weights = dict(zip(("row_weights", "column_weights"), weights, strict=True))
    if mass < 1:
        # The offsets influence which units are matched.
        costs = to_numpy(costs) + source.offsets[:, np.newaxis]
        costs += target.offsets
        result = solve_partial_transport(costs, mass, **weights)
        return _judge(result, source, target)
    result = solve_transport(costs, **weights)
    scale = _scale_of_small_costs(source, target)
    if scale is not None:
        result = refine(to_numpy(costs).astype(np.float64), result, scale, **weights)
    rows, columns = result.potentials
    offsets = [
        mean_over_mass(side.offsets, masses)
        for side, masses in zip((source, target), result.masses, strict=True)
    ]
    return replace(
        result,
        cost=result.cost + sum(offsets),
        potentials=(rows + source.offsets, columns + target.offsets),
    )


def _scale_of_small_costs(source, target):
    """Return the scale of the costs between most units, or None if no unit is loud."""
    if source.has_loud_units or target.has_loud_units:
        return max(source.median_offset, target.median_offset)
    return None


def _judge(result, source, target):
    """Judge a partial plan by the scale of the costs between most units."""
    scale = _scale_of_small_costs(source, target)
    if scale is None:
        return result
    # Costs include the squared norms of loud units, which round the gap.
    rounding = (
        4
        * np.finfo(np.float64).eps
        * max(float(side.offsets.max()) for side in (source, target))
    )
    gap = result.duality_gap + rounding
    return replace(
        result, duality_gap=gap, converged=result.converged and gap <= 1e-9 * scale
    )

"""Transport between tuning curves, whose costs are one matrix product."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from skmot._utils.array_api import namespace_of, to_numpy
from skmot._utils.linalg import triangular_factor
from skmot.transport._partial import solve_partial_transport
from skmot.transport._solver import solve_transport


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
    vectors : ndarray of shape (n_stimuli, n_units)
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


def match_tuning_curves(source, target, mass=1.0):
    """Compute the optimal coupling of two populations of tuning curves.

    Parameters
    ----------
    source, target : TuningCurves
        Tuning curves over the same stimuli.
    mass : float, default=1.0
        Fraction of the units that is matched, above 0 and at most 1.

    Returns
    -------
    result : TransportResult
        Plan between the units. The cost and the potentials include the offsets.
    """
    xp = namespace_of(source.vectors)
    costs = xp.matmul(xp.matrix_transpose(source.vectors), target.vectors)
    costs *= -source.weight
    if mass < 1:
        # The offsets influence which units are matched.
        costs = to_numpy(costs) + source.offsets[:, np.newaxis]
        costs += target.offsets
        return solve_partial_transport(costs, mass)
    result = solve_transport(costs)
    rows, columns = result.potentials
    return replace(
        result,
        cost=result.cost + float(source.offsets.mean() + target.offsets.mean()),
        potentials=(rows + source.offsets, columns + target.offsets),
    )

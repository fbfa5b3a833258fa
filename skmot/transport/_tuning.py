"""Transport between tuning curves: the cost is never more than one matrix product."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from skmot._array_api import namespace_of, to_numpy
from skmot._linalg import triangular_factor
from skmot.transport._partial import solve_partial_transport
from skmot.transport._solver import solve_transport


@dataclass(frozen=True)
class TuningCurves:
    """Units as vectors, such that the cost of a pair is r_i + c_j - weight x_i . y_j.

    Correlation distance 1 - x_i . y_j of centred unit vectors has r = c = 1/2 and
    weight 1; squared Euclidean distance ``r = |x_i|^2``, ``c = |y_j|^2`` and weight 2.
    Over couplings with uniform marginals r and c add a constant, so where every unit is
    matched the plan depends on the product alone, and small distances between large
    vectors lose no digits to it.

    Attributes
    ----------
    vectors : ndarray of shape (n_stimuli, n_units)
        One column a unit.
    offsets : ndarray of shape (n_units,)
        This side's r or c, in float64.
    weight : float
        The same on both sides.
    """

    vectors: np.ndarray
    offsets: np.ndarray
    weight: float

    @cached_property
    def triangular(self):
        """At most `n_units` rows, of which the columns have the same inner products.

        Made when it is first asked for; threads that ask at the same time each make
        it, and the same one.
        """
        return triangular_factor(self.vectors)


def match_tuning_curves(source, target, mass=1.0):
    """Find the optimal coupling of two populations of tuning curves.

    Parameters
    ----------
    source, target : TuningCurves
        The populations, over the same stimuli.
    mass : float, default=1.0
        The share of the units that is matched, more than 0 and at most 1.

    Returns
    -------
    result : TransportResult
        The plan between their units; cost and potentials include the offsets.
    """
    xp = namespace_of(source.vectors)
    costs = xp.matmul(xp.matrix_transpose(source.vectors), target.vectors)
    costs *= -source.weight
    if mass < 1:
        # Which units are matched depends on their own offsets.
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

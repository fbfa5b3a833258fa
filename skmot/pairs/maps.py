"""Maps that transport plans define, and plans extended to all units."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array

from skmot._units import paired_squared_distances
from skmot._utils.array_api import apply_plan
from skmot._utils.state import stored_as_dict


@stored_as_dict
@dataclass(frozen=True)
class PlanMap:
    """Map that reconstructs each unit as a weighted sum of the units matched to it.

    Attributes
    ----------
    plan : sparse array of shape (n_source_units, n_target_units)
        Coupling between live units.
    factor : float
        Factor of the weights, so that the weights of each reconstructed unit sum to
        one.
    to_source : bool, default=False
        Whether source units are reconstructed from target units.
    """

    plan: object
    factor: float
    to_source: bool = False

    def __call__(self, units):
        plan = self.plan.T if self.to_source else self.plan
        return apply_plan(units, plan * self.factor)


def over_all_units(plan, source, target):
    """Extend a plan between live units to all units.

    Parameters
    ----------
    plan : sparse array of shape (n_live_source_units, n_live_target_units)
        Plan between live units.
    source, target : UnitStatistics
        Statistics of all units.

    Returns
    -------
    plan : csr_array of shape (n_source_units, n_target_units)
        Plan with empty rows and columns for dead units.
    """
    if source.live.all() and target.live.all():
        return plan.tocsr()
    plan = plan.tocoo()
    rows, columns = np.flatnonzero(source.live), np.flatnonzero(target.live)
    return coo_array(
        (plan.data, (rows[plan.row], columns[plan.col])),
        shape=(len(source.live), len(target.live)),
    ).tocsr()


def cost_from_differences(plan, source, target):
    """Compute <plan, costs> from the differences of matched units.

    The cost of two units is |x - y|^2 (squared Euclidean) or |x - y|^2 / 2 of unit
    vectors (1 - x . y). Summed so, costs keep their digits if units are nearly alike.

    Parameters
    ----------
    plan : sparse array of shape (n_source_units, n_target_units)
        Coupling between the units.
    source, target : TuningCurves
        The units.

    Returns
    -------
    cost : float
        At least 0.
    """
    plan = plan.tocoo()
    squared = paired_squared_distances(
        source.vectors, target.vectors, plan.row, plan.col
    )
    return float(plan.data @ squared) * source.weight / 2

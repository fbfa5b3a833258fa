"""Maps that transport plans define, and plans extended to all units."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, diags_array

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
        Coupling between live units. Entries are negative for pairs of opposite sign.
    factor : float or ndarray of shape (n_reconstructed_units,)
        Factor of the weights, so that the magnitudes of the weights of each
        reconstructed unit sum to one: the inverse of the mass of the unit.
    to_source : bool, default=False
        Whether source units are reconstructed from target units.
    """

    plan: object
    factor: object
    to_source: bool = False

    def __call__(self, units):
        plan = self.plan.T if self.to_source else self.plan
        if np.ndim(self.factor) == 0:
            return apply_plan(units, plan * self.factor)
        return apply_plan(units, plan @ diags_array(self.factor))


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
    return extend_plan(plan, source.live, target.live)


def extend_plan(plan, rows, columns):
    """Extend a plan between some of the units by empty rows and columns.

    Parameters
    ----------
    plan : sparse array of shape (n_rows_kept, n_columns_kept)
        Plan between some of the units.
    rows, columns : ndarray of bool of shape (n_rows,) and (n_columns,)
        Masks of these units.

    Returns
    -------
    plan : csr_array of shape (n_rows, n_columns)
        Plan between all units.
    """
    if rows.all() and columns.all():
        return plan.tocsr()
    plan = plan.tocoo()
    shape = len(rows), len(columns)
    rows, columns = np.flatnonzero(rows), np.flatnonzero(columns)
    return coo_array(
        (plan.data, (rows[plan.row], columns[plan.col])), shape=shape
    ).tocsr()


def cost_from_differences(plan, source, target):
    """Compute <plan, costs> from the differences of matched units.

    The cost of two units is |x - y|^2 (squared Euclidean) or |x - y|^2 / 2 of unit
    vectors (1 - x . y). Summed so, costs keep their digits if units are nearly alike.

    Parameters
    ----------
    plan : sparse array of shape (n_source_units, n_target_units)
        Coupling between the units. If an entry is negative, the target unit is
        multiplied by -1.
    source, target : TuningCurves
        The units.

    Returns
    -------
    cost : float
        At least 0.
    """
    plan = plan.tocoo()
    squared = paired_squared_distances(
        source.vectors,
        target.vectors,
        plan.row,
        plan.col,
        signs=np.where(plan.data < 0, -1, 1),
    )
    return float(np.abs(plan.data) @ squared) * source.weight / 2

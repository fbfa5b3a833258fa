"""matches, a table of the units that a fitted coupling matches."""

from dataclasses import dataclass
from numbers import Integral
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array, issparse

from skmot._units import column_blocks, column_correlations
from skmot._utils.array_api import select, to_numpy
from skmot._utils.frames import import_pandas
from skmot._utils.sklearn import Interval, validate_params
from skmot.base import LayerEstimator, read_side_by_side
from skmot.inspection._unwrap import unwrap_stacks
from skmot.layers import LayerStack
from skmot.layers.layout import Layout, layer_label
from skmot.layers.names import name_arrays
from skmot.layers.stack import leaves_of

COLUMNS = (
    "source_layer",
    "source_unit",
    "target_layer",
    "target_unit",
    "share",
    "weight",
    "correlation",
)
# Shares are compared with this many decimals, so that rounding errors decide no tie.
_SHARE_DECIMALS = 12


@validate_params(
    {"top": [Interval(Integral, 1, None, closed="left"), None]},
    prefer_skip_nested_validation=True,
)
def matches(estimator, X, y, top=1):
    """List the source units that are matched to each target unit.

    Parameters
    ----------
    estimator : SoftMatching, SemiMatching, OneToOneMatching, MultiLevelOT, Pipeline, \
search or TransformedTargetLayers
        Fitted estimator. A `MultiLevelOT` must have one of these as its inner
        estimator, at any number of levels. A Pipeline and a TransformedTargetLayers
        must end in such an estimator. Of a search, the best estimator is used.
    X, y : LayerStack, list, dict, DataFrame or array-like
        Source and target layers over the same, preferably held-out, stimuli, on which
        the correlations are computed.
    top : int or None, default=1
        Number of source units to list for each target unit and each pair of layers with
        a weight in the layer coupling. These are the units of largest weight; ties go
        to the lower index. None lists all source units with a weight. A target unit
        thus has `top` rows for every source layer that its layer is coupled with: see
        Notes for a single best one.

    Returns
    -------
    table : pandas.DataFrame
        Table with one row for each match, sorted by target layer, target unit, and
        decreasing share. The columns are

        - "source_layer" and "target_layer": name of the layer, or its number, counted
          from 0, if the layers have no names. For stacks of stacks, this is a string
          with the names at all levels, joined by "/";
        - "source_unit" and "target_unit": name of the unit, or its number within its
          layer, counted from 0, if the units have no names. If earlier steps of a
          Pipeline select units, this is the number before the selection;
        - "share": fraction of the target unit's weight in the plan of this pair of
          layers that comes from this source unit, from 0 to 1;
        - "weight": entry of the plan times the weight of the pair of layers. The sum
          over all matches is at most 1;
        - "correlation": Pearson correlation of the two units over the given stimuli,
          from -1 to 1; NaN if the target unit is constant, 0 if only the source unit
          is constant;
        - "sign": 1 or -1, the sign of the pair over the training stimuli. Only for
          `SoftMatching(metric="abs_correlation")`.

    Raises
    ------
    ImportError
        If pandas is not installed: ``pip install 'skmot[data]'``.
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If the estimator does not couple the units of `X` with those of `y`.
        `RotationMatching` couples rotated source units, each of which is a mixture of
        all units.
    ValueError
        If the layers differ from those in `fit`, the stimuli of the two sides differ,
        or there are fewer than two stimuli.

    See Also
    --------
    coupling_table : Table of the coupling of layers.
    score_table : Table of the scores of units or layers.
    skmot.SoftMatching.matching_score : Mean correlation of all matches, by weight.

    Notes
    -----
    Target units without a match are not listed: dead units, and units that
    `OneToOneMatching` or `SoftMatching(mass=...)` leaves out.

    If an estimator of one pair of populations was fitted to several layers, these form
    one population with one plan. Shares and `top` then refer to all source layers
    together.

    Each pair of layers has a plan of its own, so that a target unit has one best source
    unit in each source layer that its layer is coupled with, and shares of different
    layers cannot be compared. Weights can: the single best source unit of each target
    unit, which is that of largest weight, is in the rows of ::

        table.sort_values("weight", ascending=False, kind="stable").drop_duplicates(
            ["target_layer", "target_unit"]
        )

    The matches of `SemiMatching` are those of its attribute `coupling_`: the best
    source unit of each target unit.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import SoftMatching
    >>> from skmot.inspection import matches
    >>> rng = np.random.default_rng(0)
    >>> X = {"V1": rng.normal(size=(100, 3))}
    >>> y = {"conv1": 2 * X["V1"][:, [2, 0, 1]] + rng.normal(size=(100, 3))}
    >>> matching = SoftMatching().fit(X, y)
    >>> table = matches(matching, X, y)
    >>> table["source_unit"].tolist()
    [2, 0, 1]
    >>> table["correlation"].round(1).tolist()
    [0.9, 0.9, 0.9]
    """
    # Without it there is no table, which is said before the work.
    pd = import_pandas()
    estimator, X, y = unwrap_stacks(estimator, X, y)
    check_couples_units(estimator)
    source, target = (
        _Side(stack, layout)
        for stack, layout in zip(
            estimator._check_both(X, y, "matches"),
            (estimator._source_layout, estimator._target_layout),
            strict=True,
        )
    )
    parts = [
        _matches_of_plan(
            plan, signs, source.population(rows), target.population(columns), top
        )
        for plan, signs, rows, columns in _unit_plans(estimator)
    ]
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort(
        (
            found["source_unit"],
            found["source_array"],
            -found["share"].round(_SHARE_DECIMALS),
            found["target_unit"],
            found["target_array"],
        )
    )
    found = {name: values[order] for name, values in found.items()}
    columns = {
        **source.name(found["source_array"], found["source_unit"], "source"),
        **target.name(found["target_array"], found["target_unit"], "target"),
        **{name: found[name].tolist() for name in ("share", "weight", "correlation")},
    }
    table = {name: columns[name] for name in COLUMNS}
    if "sign" in found:
        table["sign"] = found["sign"].tolist()
    return pd.DataFrame(table)


def check_couples_units(estimator):
    """Raise an error unless the estimator, or the innermost one, couples units."""
    name = type(estimator).__name__
    if isinstance(estimator, LayerEstimator):
        if hasattr(estimator, "inner_"):
            check_couples_units(estimator.inner_[0][0])
            return
        if hasattr(estimator, "coupling_"):
            if not hasattr(estimator, "rotation_"):
                return
            raise TypeError(
                f"{name} couples rotated source units, each of which is a mixture of "
                "all source units. No single unit of X is matched to a unit of y. "
                "Without a rotation, units are matched by SoftMatching."
            )
    raise TypeError(
        f"{name} has no coupling of units. SoftMatching, SemiMatching and "
        "OneToOneMatching have one, and so has MultiLevelOT with one of these as its "
        "inner estimator."
    )


def _unit_plans(estimator, weight=1.0, rows=(), columns=()):
    """Yield each plan between units and the paths of its two layers in the stacks.

    Parameters
    ----------
    estimator : estimator
        Fitted estimator.
    weight : float, default=1.0
        Weight of the estimator in the level above.
    rows, columns : tuple of int, default=()
        Index of the source layer and of the target layer at each level above.

    Yields
    ------
    plan : coo_array of shape (n_source_units, n_target_units)
        Plan times the weights of its layers at all levels.
    signs : ndarray of int or None
        Sign of each entry of the plan. None if the estimator has no signs.
    rows, columns : tuple of int
        Index of the source layer and of the target layer at each level. Empty if the
        estimator has one plan for all layers.
    """
    if not hasattr(estimator, "inner_"):
        coupling = estimator.coupling_
        # The coupling of a user's own class can be dense, on any device.
        plan = coo_array(coupling if issparse(coupling) else to_numpy(coupling))
        plan = coo_array((weight * plan.data, plan.coords), plan.shape)
        signs = getattr(estimator, "signs_", None)
        yield plan, None if signs is None else signs.data.astype(int), rows, columns
        return
    coupling = to_numpy(estimator.coupling_)
    for row, column in zip(*np.nonzero(coupling), strict=True):
        yield from _unit_plans(
            estimator.inner_[row][column],
            weight * coupling[row, column],
            (*rows, row),
            (*columns, column),
        )


def _matches_of_plan(plan, signs, source, target, top):
    """Return the matches of one plan as one array for each column of the table.

    Parameters
    ----------
    plan : coo_array of shape (n_source_units, n_target_units)
        Weight of each pair of units.
    signs : ndarray of int or None
        Sign of each entry of the plan, if there are signs.
    source, target : _Population
        The units of both sides.
    top : int or None
        Number of source units for each target unit.

    Returns
    -------
    found : dict of ndarray of shape (n_matches,)
        Number of the array and of the unit for both sides, and the numbers of the
        table.
    """
    (rows, columns), weights = plan.coords, plan.data
    kept = np.flatnonzero(weights > 0)
    rows, columns, weights = rows[kept], columns[kept], weights[kept]
    shares = weights / np.bincount(columns, weights)[columns]
    if top is not None:
        order = np.lexsort((rows, -shares.round(_SHARE_DECIMALS), columns))
        # Rank of each entry among those of its target unit.
        ordered = columns[order]
        rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
        best = order[rank < top]
        rows, columns, kept = rows[best], columns[best], kept[best]
        weights, shares = weights[best], shares[best]
    found = {
        "source_array": source.arrays[rows],
        "source_unit": source.units[rows],
        "target_array": target.arrays[columns],
        "target_unit": target.units[columns],
        "share": shares,
        "weight": weights,
        "correlation": _correlate(source.responses, target.responses, rows, columns),
    }
    if signs is not None:
        found["sign"] = signs[kept]
    return found


def _correlate(source, target, rows, columns):
    """Correlate pairs of units, NaN if the target unit is constant."""
    correlations = np.empty(len(rows))
    for pairs in column_blocks(source, len(rows)):
        correlations[pairs] = column_correlations(
            select(target, columns[pairs], axis=1), select(source, rows[pairs], axis=1)
        )
    return correlations


class _Population(NamedTuple):
    """The units that the rows or the columns of a plan refer to.

    Attributes
    ----------
    responses : array of shape (n_stimuli, n_units)
        Responses of the units.
    arrays : ndarray of int of shape (n_units,)
        Number of the array of each unit, among all arrays of the side.
    units : ndarray of int of shape (n_units,)
        Number of each unit within its array.
    """

    responses: np.ndarray
    arrays: np.ndarray
    units: np.ndarray


@dataclass
class _Side:
    """The layers of one side, with the names that they had in the fit.

    Attributes
    ----------
    stack : LayerStack
        Layers over the stimuli given.
    layout : Layout
        Layout of the side in the fit.
    arrays : list of NamedArray
        Names of all arrays.
    """

    stack: LayerStack
    layout: Layout

    def __post_init__(self):
        self.arrays = name_arrays(
            self.layout.structure, self.layout.unit_names, self.stack._unit_numbers
        )

    def population(self, path):
        """Return the population of all arrays within the layer at a path."""
        numbers = [
            number
            for number, array in enumerate(self.arrays)
            if array.path[: len(path)] == path
        ]
        widths = [self.arrays[number].n_units for number in numbers]
        return _Population(
            read_side_by_side(self._leaves(path))[0],
            np.repeat(numbers, widths),
            np.concatenate([np.arange(width) for width in widths]),
        )

    def _leaves(self, path):
        """Iterate over the arrays within the layer at a path."""
        if not path:
            return self.layout.leaves(self.stack)
        first, *deeper = path
        layer, where = self.stack.layers[first], self.layout.where(first)
        for index in deeper:
            where = f"{where}, {layer_label(index, layer.names)}"
            layer = layer.layers[index]
        return leaves_of(layer, where)

    def name(self, arrays, units, side):
        """Return the columns with the names of layers and units.

        Parameters
        ----------
        arrays, units : ndarray of int of shape (n_matches,)
            Number of the array, and of the unit within it.
        side : {"source", "target"}
            Beginning of the names of the columns.

        Returns
        -------
        columns : dict of list
            Two columns of the table.
        """
        arrays = arrays.tolist()
        names = [array.unit_labels for array in self.arrays]
        return {
            f"{side}_layer": [self.arrays[number].label for number in arrays],
            f"{side}_unit": [
                names[number][unit]
                for number, unit in zip(arrays, units.tolist(), strict=True)
            ],
        }

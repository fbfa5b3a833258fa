"""The common ground of the estimators of one pair of populations."""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array

from skmot._base import LayerEstimator
from skmot._units import (
    UnitStatistics,
    check_some_live,
    standardize,
    tuning_curves,
    unit_statistics,
)
from skmot._validation import Layout, check_layer, checked_layers
from skmot.layers import LayerStack, layer_label
from skmot.transport import TuningCurves


@dataclass(frozen=True)
class Population:
    """One or more layers made ready for matching, as one population.

    Attributes
    ----------
    curves : TuningCurves
        The live units.
    statistics : UnitStatistics
        All units.
    """

    curves: TuningCurves
    statistics: UnitStatistics

    @classmethod
    def side_by_side(cls, parts):
        """Join populations over the same stimuli into one."""
        if len(parts) == 1:
            return parts[0]
        curves = TuningCurves(
            np.concatenate([part.curves.vectors for part in parts], axis=1),
            np.concatenate([part.curves.offsets for part in parts]),
            parts[0].curves.weight,
        )
        statistics = UnitStatistics.side_by_side([part.statistics for part in parts])
        return cls(curves, statistics)


class PairEstimator(LayerEstimator):
    """Base of the estimators that compare one population with another.

    They are fitted in two steps, so that a level above prepares each layer once, not
    once a pair: `_prepare` a layer, then `_fit_populations` a pair of prepared ones. A
    map between populations carries standardised units: what a subclass says in `_carry`
    is the mathematics alone.
    """

    # What `tuning_curves` are made for.
    _curves_metric = "correlation"

    @abstractmethod
    def _fit_populations(self, source, target):
        """Learn from two populations; layouts and statistics are set."""

    @abstractmethod
    def _carry(self, direction, units):
        """Map standardised units of one side to standardised units of the other.

        Parameters
        ----------
        direction : {"target", "source"}
            The side that is reconstructed.
        units : ndarray of shape (n_stimuli, n_units_seen)
            All units of the side that is seen, side by side; dead ones are 0.

        Returns
        -------
        carried : ndarray of shape (n_stimuli, n_units_wanted)
            A new array; what it says of dead units does not matter.
        """

    @abstractmethod
    def _held_out_cost(self, source, target):
        """Return the cost of the fit on other stimuli.

        Parameters
        ----------
        source, target : ndarray of shape (n_stimuli, n_units)
            All units of each side, side by side.

        Returns
        -------
        cost : float
            As `cost_`.
        """

    def _cost_on(self, source, target):
        return self._held_out_cost(
            *(
                np.concatenate(
                    list(checked_layers(stack, layout, min_stimuli=2)), axis=1
                )
                for stack, layout in (
                    (source, self._source_layout),
                    (target, self._target_layout),
                )
            )
        )

    def _prepare(self, layer, where):
        """Return a layer (or a stack, as one population) as a `Population`."""
        if isinstance(layer, LayerStack):
            return Population.side_by_side(
                [
                    self._prepare(part, f"{where}, {layer_label(index, layer.names)}")
                    for index, part in enumerate(layer.layers)
                ]
            )
        layer = check_layer(layer, where, min_stimuli=2)
        statistics = unit_statistics(layer)
        check_some_live(statistics.live, where)
        curves = tuning_curves(layer, statistics, self._curves_metric)
        return Population(curves, statistics)

    def _fit(self, source, target):
        populations = [
            Population.side_by_side(
                [
                    self._prepare(layer, layout.where(index))
                    for index, layer in enumerate(stack.layers)
                ]
            )
            for stack, layout in (
                (source, self._source_layout),
                (target, self._target_layout),
            )
        ]
        self._set_statistics(*(population.statistics for population in populations))
        self._fit_populations(*populations)

    def _fit_prepared(self, source, target):
        """Fit to two prepared layers, as `fit` would to the layers themselves."""
        n_source_units = len(source.statistics.live)
        n_target_units = len(target.statistics.live)
        self._source_layout = Layout("X", "array", (n_source_units,), None)
        self._target_layout = Layout("y", "array", (n_target_units,), None)
        self.source_names_ = self.target_names_ = None
        self.n_features_in_ = n_source_units
        self._set_statistics(source.statistics, target.statistics)
        self._fit_populations(source, target)
        return self

    def _set_statistics(self, source, target):
        """Set what is kept of the units; a level above shares it between pairs."""
        self._source_statistics = source
        self._target_statistics = target
        self.dead_source_units_ = source.dead_units
        self.dead_target_units_ = target.dead_units

    def _statistics(self, direction):
        """Return the statistics of the units seen and of those reconstructed."""
        if direction == "target":
            return self._source_statistics, self._target_statistics
        return self._target_statistics, self._source_statistics

    def _reconstruct(self, direction, stack):
        seen, wanted = self._layouts(direction)
        given, made = self._statistics(direction)
        layers = checked_layers(stack, seen)
        units = np.concatenate(
            [
                self._enter(layer, given[part])
                for part, layer in zip(seen.boundaries, layers, strict=True)
            ],
            axis=1,
        )
        carried = self._carry(direction, units)
        for part in wanted.boundaries:
            yield self._leave(carried[:, part], made[part])

    def _enter(self, layer, statistics):
        """Return activations as they are carried: standardised."""
        return standardize(layer, statistics)

    def _leave(self, carried, statistics):
        """Put carried activations on the mean and deviation of the units they make."""
        carried = carried.astype(np.result_type(carried, statistics.dtype), copy=False)
        carried *= statistics.deviation.astype(carried.dtype)
        carried += statistics.mean.astype(carried.dtype)
        return carried


def over_all_units(plan, source, target):
    """Give a sparse matrix between live units the shape of all units.

    Parameters
    ----------
    plan : sparse array of shape (n_live_source_units, n_live_target_units)
        Between live units.
    source, target : UnitStatistics
        All units.

    Returns
    -------
    plan : csr_array of shape (n_source_units, n_target_units)
        Empty for dead units.
    """
    if source.live.all() and target.live.all():
        return plan.tocsr()
    plan = plan.tocoo()
    rows, columns = np.flatnonzero(source.live), np.flatnonzero(target.live)
    return coo_array(
        (plan.data, (rows[plan.row], columns[plan.col])),
        shape=(len(source.live), len(target.live)),
    ).tocsr()

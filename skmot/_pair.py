"""The common ground of the estimators of one pair of populations."""

from abc import abstractmethod
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.sparse import coo_array
from sklearn import config_context

from skmot._array_api import namespace_of
from skmot._base import LayerEstimator
from skmot._units import (
    UnitStatistics,
    check_some_live,
    standardize,
    tuning_curves,
    unit_statistics,
    unstandardize,
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
        curves = _curves_side_by_side([part.curves for part in parts])
        statistics = UnitStatistics.side_by_side([part.statistics for part in parts])
        return cls(curves, statistics)


class PairEstimator(LayerEstimator):
    """Base of the estimators that compare one population with another.

    They are fitted in two steps, so that a level above prepares each layer once, not
    once a pair: `_prepare` a layer, then `_fit_populations` a pair of prepared ones. A
    map between populations carries standardised units: what a subclass says in `_carry`
    is the mathematics alone.
    """

    # Whether what is learned depends on `random_state`, where there is one.
    _draws = True
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
        units : array of shape (n_stimuli, n_units_seen)
            All units of the side that is seen, side by side; dead ones are 0.

        Returns
        -------
        carried : array of shape (n_stimuli, n_units_wanted)
            A new array; what it says of dead units does not matter.
        """

    @abstractmethod
    def _held_out_cost(self, source, target):
        """Return the cost of the fit on other stimuli.

        Parameters
        ----------
        source, target : array of shape (n_stimuli, n_units)
            All units of each side, side by side.

        Returns
        -------
        cost : float
            As `cost_`.
        """

    def _cost_on(self, source, target):
        return self._held_out_cost(
            *(
                side_by_side(checked_layers(stack, layout, min_stimuli=2))
                for stack, layout in (
                    (source, self._source_layout),
                    (target, self._target_layout),
                )
            )
        )

    def _prepare(self, layer, where):
        """Return a layer (or a stack, as one population) as a `Population`."""
        statistics = read_statistics(layer, where)
        # Its numbers were checked with that.
        with config_context(assume_finite=True):
            return self._populate(layer, statistics, where)

    def _populate(self, layer, statistics, where):
        """Return a layer whose statistics were read, and so checked, as above."""
        return Population(self._curves(layer, statistics, where), statistics)

    def _curves(self, layer, statistics, where):
        if not isinstance(layer, LayerStack):
            layer = check_layer(layer, where)
            return tuning_curves(layer, statistics, self._curves_metric)
        ends = np.cumsum((0, *layer.widths))
        return _curves_side_by_side(
            [
                self._curves(part, statistics[start:end], where)
                for part, (start, end) in zip(layer.layers, pairwise(ends), strict=True)
            ]
        )

    def _population_bytes(self, n_stimuli, statistics):
        """Return about how many bytes a population takes."""
        return n_stimuli * statistics.n_live * statistics.dtype.itemsize

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

    def _drop_statistics(self):
        """Forget them, for a level above that sends or stores the rest."""
        del self._source_statistics, self._target_statistics
        del self.dead_source_units_, self.dead_target_units_

    def _statistics(self, direction):
        """Return the statistics of the units seen and of those reconstructed."""
        if direction == "target":
            return self._source_statistics, self._target_statistics
        return self._target_statistics, self._source_statistics

    def _reconstruct(self, direction, stack):
        seen, wanted = self._layouts(direction)
        given, made = self._statistics(direction)
        layers = checked_layers(stack, seen)
        units = side_by_side(
            self._enter(layer, given[part])
            for part, layer in zip(seen.boundaries, layers, strict=True)
        )
        carried = self._carry(direction, units)
        for part in wanted.boundaries:
            yield self._leave(carried[:, part], made[part])

    def _enter(self, layer, statistics):
        """Return activations as they are carried: standardised."""
        return standardize(layer, statistics)

    def _leave(self, carried, statistics):
        """Put carried activations on the mean and deviation of the units they make."""
        return unstandardize(carried, statistics)


def read_statistics(layer, where, digest=None):
    """Check a layer (or a stack, as one population) and read its units' statistics.

    Parameters
    ----------
    layer : array-like of shape (n_stimuli, n_units) or LayerStack
        The layer.
    where : str
        What it is called in messages.
    digest : LayerDigest, default=None
        Is given the layer's numbers.

    Returns
    -------
    statistics : UnitStatistics
        Of all units.
    """
    if isinstance(layer, LayerStack):
        return UnitStatistics.side_by_side(
            [
                read_statistics(
                    part, f"{where}, {layer_label(index, layer.names)}", digest
                )
                for index, part in enumerate(layer.layers)
            ]
        )
    layer = check_layer(layer, where, min_stimuli=2)
    statistics = unit_statistics(layer)
    check_some_live(statistics.live, where)
    if digest is not None:
        digest.add(layer)
    return statistics


def _curves_side_by_side(parts):
    """Join tuning curves over the same stimuli into those of one population."""
    if len(parts) == 1:
        return parts[0]
    return TuningCurves(
        side_by_side(part.vectors for part in parts),
        np.concatenate([part.offsets for part in parts]),
        parts[0].weight,
    )


def side_by_side(layers):
    """Return all units of some layers as one array, of one layer as they are."""
    layers = list(layers)
    if len(layers) == 1:
        return layers[0]
    return namespace_of(*layers).concat(layers, axis=1)


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

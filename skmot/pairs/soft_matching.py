"""SoftMatching: the optimal coupling of the units of two populations."""

from dataclasses import dataclass
from numbers import Real

import numpy as np

from skmot._units import (
    METRICS,
    live_units,
    paired_products,
    paired_squared_distances,
    standardize,
    tuning_curves,
    unit_statistics,
)
from skmot._utils.array_api import move_to_device_of, namespace_of, numpy_dtype
from skmot._utils.docstrings import shared_docs
from skmot._utils.sklearn import Interval, StrOptions
from skmot._utils.state import stored_as_dict
from skmot.base import PairMapping, Solution, read_side_by_side
from skmot.layers.checks import check_layer
from skmot.pairs.maps import (
    PlanMap,
    cost_from_differences,
    over_all_units,
)
from skmot.transport import match_tuning_curves
from skmot.transport._tuning import are_nearly_alike


@shared_docs
class SoftMatching(PairMapping):
    """Soft matching: the optimal coupling of the units of two populations.

    Finds the transport plan Q in T(N, K) that minimises the cost <Q, D> between N
    source units and K target units, where D contains the distances of their tuning
    curves ([1]_, eq. 11 and 12; the inner level of [2]_). If networks have several
    layers, all layers of a network form one population (global transport). If `mass` is
    below 1, only this fraction of the units is matched, and the optimal plan determines
    which units are left out ([3]_).

    Parameters
    ----------
    metric : {"correlation", "cosine", "sqeuclidean"}, default="correlation"
        Distance between tuning curves.

        - "correlation": 1 - corr(x_i, y_j). Then `cost_` = 1 - s_T.
        - "cosine": 1 - cos(x_i, y_j), which is the same without centring.
        - "sqeuclidean": ``|x_i - y_j|^2``, with centred columns. Each layer is divided
          by one number, so that the mean squared norm of its units is 1. (This is the
          squared distance divided by the number of stimuli, after scaling the units of
          the layer to a mean variance of 1.) Then `cost_` = d_T^2, the square of
          :func:`skmot.metrics.soft_matching_distance`.
    mass : float, default=1.0
        Fraction of the units that is matched, above 0 and at most 1. The plan sums to
        `mass`, its rows to at most 1/N and its columns to at most 1/K. The optimal
        plan leaves out units without a counterpart.
        :func:`skmot.partial.mass_curve` computes costs as a function of `mass`.
    reconstruct : {"standardized", "raw"}, default="standardized"
        How units are reconstructed. "standardized": reconstructions are weighted sums
        of units standardised by their training mean and deviation, and are rescaled to
        the mean and deviation of the reconstructed unit. "raw": reconstructions are
        weighted sums of raw activations, as in the formula of [2]_; units of large
        variance then dominate.

        In both cases the reconstruction of a partially matched unit is shrunk towards
        its training mean, by the fraction that is not matched. The reconstruction of
        an unmatched unit is its training mean. It is constant, so its score is 0. (The
        shrinkage does not change correlations within one population. In a sum over the
        layers of a network, it weights each counterpart by the matched fraction.)

    Attributes
    ----------
    coupling_ : csr_array of shape (n_source_units, n_target_units)
        Transport plan between N live source units and K live target units. Rows sum to
        1/N and columns to 1/K, or to at most that if `mass` is below 1. At most
        N + K - 1 entries are nonzero, or N + K if `mass` is below 1.
    cost_ : float
        <Q, D> / `mass`; lower is more alike. It ranges from 0 to 2 with "correlation"
        and "cosine", and from 0 to 4 with "sqeuclidean". It never decreases as `mass`
        increases.
    matched_ : tuple of ndarray, of shape (n_source_units,) and (n_target_units,)
        Matched fraction of each unit, from 0 to 1; 0 for dead units. It ranks the units
        of each side: units without a counterpart come last.
    potentials_ : tuple of ndarray, of shape (n_source_units,) and (n_target_units,)
        Dual solution (u, v) with u_i + v_j <= D_ij; NaN for dead units. Over live
        units, mean(u) + mean(v) - (1 - `mass`) (max(u) + max(v)) equals `mass` times
        `cost_`, up to the duality gap. It proves that no plan costs less, see
        :func:`skmot.transport.solve_partial_transport`.
    duality_gap_ : float
        Upper bound of the difference between `cost_` and the optimum, computed from the
        potentials.
    <<pair attributes>>

    See Also
    --------
    MultiLevelOT : Soft matching of every pair of layers, and a coupling of the layers.
    skmot.metrics.soft_matching_score : The score of two arrays, without an estimator.

    Notes
    -----
    With "correlation" or "cosine", `held_out_cost` is 1 - :meth:`matching_score`.
    Target units that are constant over the given stimuli are left out. Pairs in which
    only the source unit is constant have a distance of 1. If units are constant over
    these stimuli, `held_out_cost` is not symmetric, although `cost_` is.

    References
    ----------
    .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
       representations that captures single-neuron tuning. UniReps, PMLR, 2024.
    .. [2] Representational alignment across model layers and brain regions with
       multi-level optimal transport.
    .. [3] Partial soft-matching distance for neural representational comparison with
       partial unit correspondence. arXiv 2602.19331, 2026.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import SoftMatching
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(100, 5))
    >>> y = 3 * X[:, [4, 0, 2, 1, 3]] + rng.normal(size=(100, 5))
    >>> matching = SoftMatching().fit(X[:80], y[:80])
    >>> matching.coupling_.toarray().argmax(axis=0)
    array([4, 0, 2, 1, 3])
    >>> round(matching.score(X[80:], y[80:]), 2)
    0.95

    Two of six target units have no counterpart:

    >>> y = np.hstack([y[:, :4], rng.normal(size=(100, 2))])
    >>> partial = SoftMatching(mass=4 / 6).fit(X[:, [4, 0, 2, 1]], y)
    >>> partial.matched_[1].round(2)
    array([1., 1., 1., 1., 0., 0.])
    """

    _parameter_constraints = {
        "metric": [StrOptions(set(METRICS))],
        "mass": [Interval(Real, 0, 1, closed="right")],
        "reconstruct": [StrOptions({"standardized", "raw"})],
    }

    def __init__(self, metric="correlation", mass=1.0, reconstruct="standardized"):
        self.metric = metric
        self.mass = mass
        self.reconstruct = reconstruct

    def matching_score(self, X, y):
        """Compute the mean correlation of the matched units on held-out stimuli.

        The score is sum_ij Q_ij corr(x_i, y_j), with the plan of the fit and the
        correlations over the given stimuli ([1]_, eq. 12, held out). Pairs whose target
        unit is constant over these stimuli are left out, and the weights of the other
        pairs are rescaled to sum to 1. Pairs in which only the source unit is constant
        count as 0. With `metric="cosine"` the correlations are not centred.

        If `mass` is below 1, the score is a mean over the matched mass. Unmatched units
        do not count, so a search over `mass` with this score tends to choose the
        smallest. Use :meth:`score` for such a search: unmatched units count as 0 there.

        Parameters
        ----------
        X, y : LayerStack, list, dict, DataFrame or array-like
            Source and target layers over the same, preferably held-out, stimuli.

        Returns
        -------
        score : float
            Mean correlation, from -1 to 1.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the layers differ from those in `fit`, the stimuli of the two sides
            differ, there are fewer than two stimuli, or every target unit is constant.

        References
        ----------
        .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
           representations that captures single-neuron tuning. UniReps, PMLR, 2024.
        """
        source, target = self._check_both(X, y, "matching_score")
        return _mean_product(
            self.coupling_.tocoo(),
            _unit_vectors(self._source_layout.leaves(source), self.metric),
            _unit_vectors(self._target_layout.leaves(target), self.metric),
        )

    _runs_in_threads = True
    _supports_array_api = True

    @property
    def _cost_name(self):
        metric = {"sqeuclidean": "squared Euclidean"}.get(self.metric, self.metric)
        return f"{metric} distance"

    def _solve(self, source, target):
        result = match_tuning_curves(source.curves, target.curves, self.mass)
        statistics = source.statistics, target.statistics
        attributes = {
            "coupling_": over_all_units(result.coupling, *statistics),
            "matched_": tuple(
                _with_dead_units(matched, part, 0.0)
                for matched, part in zip(result.matched, statistics, strict=True)
            ),
            "potentials_": tuple(
                _with_dead_units(potentials, part, np.nan)
                for potentials, part in zip(result.potentials, statistics, strict=True)
            ),
            "duality_gap_": result.duality_gap / self.mass,
        }
        if self.metric == "sqeuclidean":
            # Standard deviations of the units, relative to the scale of their layer.
            attributes["_scales"] = tuple(
                _with_dead_units(np.sqrt(side.curves.offsets), side.statistics, 0.0)
                for side in (source, target)
            )
        cost = result.cost
        if are_nearly_alike(cost, numpy_dtype(source.curves.vectors)):
            cost = cost_from_differences(result.coupling, source.curves, target.curves)
        return Solution(
            cost=cost / self.mass,
            maps=(
                self._map_by(result.coupling, target.statistics, result.matched[1]),
                self._map_by(
                    result.coupling,
                    source.statistics,
                    result.matched[0],
                    to_source=True,
                ),
            ),
            attributes=attributes,
            converged=result.converged or {"duality gap": attributes["duality_gap_"]},
        )

    def _map_by(self, plan, reconstructed, matched, to_source=False):
        """Return the map of one direction. Weights sum to the matched fraction."""
        plan_map = PlanMap(plan.tocsr(), reconstructed.n_live, to_source)
        if self.reconstruct == "standardized":
            return plan_map
        mean = reconstructed.mean[reconstructed.live]
        return RawPlanMap(plan_map, (1 - matched) * mean)

    @property
    def _curves_metric(self):
        return self.metric

    def _to_map_units(self, layer, statistics):
        if self.reconstruct == "raw":
            return live_units(layer, statistics)
        return super()._to_map_units(layer, statistics)

    def _from_map_units(self, units, statistics):
        if self.reconstruct == "raw":
            constants = np.where(statistics.live, 0.0, statistics.mean)
            return units + move_to_device_of(
                units, constants.astype(numpy_dtype(units))
            )
        return super()._from_map_units(units, statistics)

    # -- costs on other stimuli ----------------------------------------------------

    def _prepare_held_out(self, leaves, statistics):
        if self.metric != "sqeuclidean":
            return _unit_vectors(leaves, self.metric)
        layer, _ = read_side_by_side(leaves)
        return standardize(layer, statistics)

    def _held_out_cost(self, source, target):
        plan = self.coupling_.tocoo()
        if self.metric != "sqeuclidean":
            cost = 1.0 - _mean_product(plan, source, target)
            if are_nearly_alike(cost, numpy_dtype(source[0])):
                cost = _mean_half_difference(plan, source, target)
            return cost
        sides = [
            units * move_to_device_of(units, scales)
            for units, scales in zip((source, target), self._scales, strict=True)
        ]
        squared = paired_squared_distances(*sides, plan.row, plan.col)
        return float(plan.data @ squared / (self.mass * source.shape[0]))


@stored_as_dict
@dataclass(frozen=True)
class RawPlanMap:
    """Map that reconstructs units as weighted sums of raw activations.

    Attributes
    ----------
    plan_map : PlanMap
        Map that computes the weighted sums.
    offsets : ndarray of shape (n_reconstructed_units,)
        Constants to add: the training mean of each reconstructed unit, times the
        fraction that is not matched.
    """

    plan_map: PlanMap
    offsets: np.ndarray

    def __call__(self, units):
        mapped = self.plan_map(units)
        mapped += move_to_device_of(mapped, self.offsets.astype(numpy_dtype(mapped)))
        return mapped


def _unit_vectors(leaves, metric):
    """Concatenate the units that vary over the given stimuli, scaled to norm 1.

    Returns
    -------
    vectors : array of shape (n_stimuli, n_live_units)
        Units with the dtype of the layers, centred unless the metric is "cosine".
    columns : ndarray of int of shape (n_units,)
        Column of each unit in `vectors`; -1 for units that are constant over these
        stimuli.
    """
    kind = "cosine" if metric == "cosine" else "correlation"
    vectors, live = [], []
    for leaf in leaves:
        layer = check_layer(leaf.layer, leaf.where, min_stimuli=2)
        statistics = unit_statistics(layer)
        vectors.append(tuning_curves(layer, statistics, kind).vectors)
        live.append(statistics.live)
    live = np.concatenate(live)
    vectors = namespace_of(vectors[0]).concat(vectors, axis=1)
    return vectors, np.where(live, np.cumsum(live) - 1, -1)


def _mean_product(plan, source, target):
    """Compute the mean product of matched units, without constant target units.

    `source` and `target` are outputs of `_unit_vectors`.
    """
    # Products with a constant source unit are 0.
    weights, rows, columns = _varying_pairs(plan, source, target)
    products = paired_products(source[0], target[0], rows, columns)
    return float(weights @ products)


def _mean_half_difference(plan, source, target):
    """Compute 1 - `_mean_product` from differences, which keep their digits."""
    weights, rows, columns = _varying_pairs(plan, source, target)
    squared = paired_squared_distances(source[0], target[0], rows, columns)
    # The distance from a constant source unit is 1.
    return float(weights @ squared / 2) + 1.0 - float(weights.sum())


def _varying_pairs(plan, source, target):
    """Return weights and columns of the matched pairs of units that both vary.

    The weights of all pairs sum to 1, except pairs with a constant target unit.
    """
    rows, columns = source[1][plan.row], target[1][plan.col]
    counted = columns >= 0
    if not counted.any():
        raise ValueError(
            "Every matched unit of y is constant over the stimuli given: no "
            "correlation is defined. Give more stimuli."
        )
    varies = counted & (rows >= 0)
    weights = plan.data[varies] / plan.data[counted].sum()
    return weights, rows[varies], columns[varies]


def _with_dead_units(values, statistics, fill_value):
    """Extend values of live units to all units."""
    extended = np.full(len(statistics.live), fill_value)
    extended[statistics.live] = values
    return extended

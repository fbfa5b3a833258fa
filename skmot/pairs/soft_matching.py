"""SoftMatching: the optimal coupling of the units of two populations."""

from dataclasses import dataclass, replace
from numbers import Real

import numpy as np
from scipy.sparse import coo_array

from skmot._units import (
    METRICS,
    live_units,
    paired_products,
    paired_squared_distances,
    scale_units,
    standardize,
    tuning_curves,
    unit_statistics,
    with_precision_of,
)
from skmot._utils.array_api import move_to_device_of, numpy_dtype
from skmot._utils.docstrings import shared_docs
from skmot._utils.sklearn import Interval, StrOptions
from skmot._utils.state import stored_as_dict
from skmot.base import PairMapping, Solution
from skmot.layers.checks import check_layer
from skmot.layers.stack import side_by_side
from skmot.pairs.maps import PlanMap, cost_from_differences, extend_plan
from skmot.pairs.weights import NAMED_WEIGHTS, unit_weights
from skmot.transport import TuningCurves, match_tuning_curves
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
    metric : {"correlation", "abs_correlation", "cosine", "sqeuclidean"}, \
default="correlation"
        Distance between tuning curves.

        - "correlation": 1 - corr(x_i, y_j). Then `cost_` = 1 - s_T.
        - "abs_correlation": 1 - ``|corr(x_i, y_j)|``. Each matched pair has a sign,
          that of its correlation over the training stimuli (see `signs_`). See Notes
          for what a negative sign means.
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
    source_weights, target_weights : {"reliability", "variance"}, callable, \
array-like of shape (n_units,) or None, default=None
        Weights of the units of each side: nonnegative numbers, of which only the ratios
        matter. The mass of a unit in the plan is proportional to its weight, see Notes.
        None gives all units of a side the same mass.

        - "reliability": reliability of the unit's average over the trials of each
          training stimulus, from 0 to 1, as in
          :class:`skmot.preprocessing.ReliabilitySelector`. The layers must come from
          :meth:`skmot.LayerStack.from_trials`. The same 100 random halves are used in
          every fit.
        - "variance": variance of the unit over the training stimuli, in the units of
          the data.
        - callable: function that takes a layer, an array of shape (n_stimuli, n_units)
          over the training stimuli, and returns the weights of its units.
        - array-like: weights of all units of the side. Only for a single pair: the
          pairs of layers of a level above have different units.

        Weights of constant units are ignored. A unit with a weight of 0 takes no part
        in the matching: it predicts nothing, and is predicted as its training mean.

    Attributes
    ----------
    coupling_ : csr_array of shape (n_source_units, n_target_units)
        Transport plan between N live source units and K live target units, which is
        nonnegative. Rows sum to 1/N and columns to 1/K, or to the masses of weighted
        units; to at most that if `mass` is below 1. At most N + K - 1 entries are
        nonzero, or N + K if `mass` is below 1.
    signs_ : csr_array of int8 of shape (n_source_units, n_target_units)
        Sign of each matched pair: 1 or -1 where `coupling_` has a weight. A correlation
        of exactly 0 has the sign 1. Only defined if `metric="abs_correlation"`.
    cost_ : float
        <Q, D> / `mass`; lower is more alike. It ranges from 0 to 2 with "correlation"
        and "cosine", from 0 to 1 with "abs_correlation", and from 0 to 4 with
        "sqeuclidean". It never decreases as `mass` increases.
    matched_ : tuple of ndarray, of shape (n_source_units,) and (n_target_units,)
        Matched fraction of the mass of each unit, from 0 to 1; 0 for dead units and
        units with a weight of 0. It ranks the units of each side: units without a
        counterpart come last.
    masses_ : tuple of ndarray, of shape (n_source_units,) and (n_target_units,)
        Mass of each unit, which sum to 1 for each side; 0 for dead units. Only defined
        if `source_weights` or `target_weights` is given.
    potentials_ : tuple of ndarray, of shape (n_source_units,) and (n_target_units,)
        Dual solution (u, v) with u_i + v_j <= D_ij; NaN for dead units and units with a
        weight of 0. Over the other units, mean(u) + mean(v) - (1 - `mass`) (max(u) +
        max(v)) equals `mass` times `cost_`, up to the duality gap. The means are
        weighted by the masses. It proves that no plan costs less, see
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
    Unless the metric is "sqeuclidean", `held_out_cost` is 1 - :meth:`matching_score`.
    Target units that are constant over the given stimuli are left out. Pairs in which
    only the source unit is constant have a distance of 1. If units are constant over
    these stimuli, `held_out_cost` is not symmetric, although `cost_` is.

    *Weights.* With weights w_i of the source units and w_j of the target units, the
    masses are a_i = w_i / sum(w) and b_j = w_j / sum(w), in place of 1/N and 1/K:

    .. code-block:: text

        plan            Q >= 0,  sum_j Q_ij = a_i,  sum_i Q_ij = b_j
        cost_           sum_ij Q_ij D_ij,  the least of all such plans
        predict         yhat_j = sum_i (Q_ij / b_j) z(x_i)
        inverse_predict xhat_i = sum_j (Q_ij / a_i) z(y_j)
        matching_score  sum_ij Q_ij corr(x_i, y_j) on the given stimuli

    (With `mass` below 1, rows sum to at most a_i, columns to at most b_j, and all to
    `mass`.) A unit is reconstructed by a weighted mean of its counterparts, as without
    weights, because each column of the plan is divided by its own mass. Costs and
    :meth:`matching_score` are means over matched pairs, in which units count by their
    masses. :meth:`score` and the other scores are still plain means over units, because
    they ask how well each unit is predicted. A unit with a weight of 0 counts as 0
    there, like an unmatched one. Otherwise, a search over weights by the score would
    choose those that leave out the units that are difficult to predict. With
    "sqeuclidean", the weighted mean of the squared norms of a population is 1.

    Weights in the ratios of small whole numbers are represented exactly: a weight of 2
    gives the same cost as two copies of the unit. Other masses are rounded to multiples
    of about 2^-40 (9e-13), and the plan is optimal for the rounded masses, see
    :func:`skmot.transport.solve_transport`.

    *Signs.* With "abs_correlation", D_ij = 1 - ``|r_ij|`` with the training
    correlations r_ij, and the sign of each matched pair is s_ij = sign(r_ij). The
    reconstruction of a unit is sum_i (Q_ij / b_j) s_ij z(x_i), the score is
    sum_ij Q_ij s_ij corr(x_i, y_j), and `held_out_cost` is 1 minus it: it is above 1 if
    signs are not reproduced. Every unit may be replaced by its negative without
    changing the costs. That suits units whose sign is arbitrary, such as principal
    components. The negative of a ReLU unit or of a firing rate is no unit of such a
    population: it is most active for the stimuli for which the unit is silent, so a
    match of opposite sign does not say that two units have the same tuning. In sample,
    signs always lower the cost, also between unrelated data: compare held-out costs.

    Sparse layers of a stack stay sparse (see :ref:`sparse-layers`). A centred unit is a
    sparse column minus a constant, x_i - m_i, so that products are computed from the
    stored entries: (x_i - m_i) . y_j = x_i . y_j - m_i sum(y_j). Units that are active
    for more than half of the stimuli are centred before the product, at most doubling
    the number of entries, so that no digits are lost. The costs of all pairs of units,
    and predictions, are dense.

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
        "source_weights": [
            StrOptions(set(NAMED_WEIGHTS)),
            callable,
            "array-like",
            None,
        ],
        "target_weights": [
            StrOptions(set(NAMED_WEIGHTS)),
            callable,
            "array-like",
            None,
        ],
    }

    def __init__(
        self,
        metric="correlation",
        mass=1.0,
        reconstruct="standardized",
        source_weights=None,
        target_weights=None,
    ):
        self.metric = metric
        self.mass = mass
        self.reconstruct = reconstruct
        self.source_weights = source_weights
        self.target_weights = target_weights

    def matching_score(self, X, y):
        """Compute the mean correlation of the matched units on held-out stimuli.

        The score is sum_ij Q_ij corr(x_i, y_j), with the plan of the fit and the
        correlations over the given stimuli ([1]_, eq. 12, held out). With
        `metric="abs_correlation"`, the correlation of each pair is multiplied by its
        sign over the training stimuli. Pairs whose target
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
            self._signed_plan.tocoo(),
            _unit_vectors(self._source_layout.leaves(source), self.metric),
            _unit_vectors(self._target_layout.leaves(target), self.metric),
        )

    _runs_in_threads = True
    _supports_array_api = True
    _accepts_sparse = True

    @property
    def _cost_name(self):
        metric = {
            "sqeuclidean": "squared Euclidean",
            "abs_correlation": "absolute correlation",
        }.get(self.metric, self.metric)
        return f"{metric} distance"

    @property
    def _signed_plan(self):
        """The plan, with negative weights for pairs of opposite sign."""
        if self.metric != "abs_correlation":
            return self.coupling_
        return self.coupling_.multiply(self.signs_).tocsr()

    def _read(self, side, stack, where, digest=None):
        statistics = super()._read(side, stack, where, digest)
        weights = {}
        for name in ("source", "target"):
            setting = getattr(self, f"{name}_weights")
            if setting is not None and side in (name, None):
                weights[name] = unit_weights(
                    setting, f"{name}_weights", statistics, stack, where, digest
                )
        return replace(statistics, weights=weights) if weights else statistics

    def _check_as_inner(self):
        for name in ("source_weights", "target_weights"):
            setting = getattr(self, name)
            if not (setting is None or isinstance(setting, str) or callable(setting)):
                raise ValueError(
                    f"`{name}` is an array, which has the weights of the units of one "
                    "pair. In a level above, each layer has units of its own: use "
                    f"one of {NAMED_WEIGHTS}, or a function of a layer."
                )

    def _solve(self, source, target):
        first = _Participants.of(source, "source", self.metric)
        second = _Participants.of(target, "target", self.metric)
        has_signs = self.metric == "abs_correlation"
        result = match_tuning_curves(
            first.curves,
            second.curves,
            self.mass,
            ignore_sign=has_signs,
            weights=(first.weights, second.weights),
        )
        matched, potentials, masses = (
            tuple(
                side.over_all_units(values, fill_value)
                for side, values in zip((first, second), pair, strict=True)
            )
            for pair, fill_value in (
                (result.matched, 0.0),
                (result.potentials, np.nan),
                (result.masses, 0.0),
            )
        )
        attributes = {
            "coupling_": extend_plan(result.coupling, first.mask, second.mask),
            "matched_": matched,
            "potentials_": potentials,
            "duality_gap_": result.duality_gap / self.mass,
        }
        if first.weights is not None or second.weights is not None:
            attributes["masses_"] = masses
        plan = result.coupling
        if has_signs:
            signs = _signs_of_pairs(plan, first.curves, second.curves)
            attributes["signs_"] = extend_plan(signs, first.mask, second.mask)
            plan = plan.multiply(signs).tocsr()
        if self.metric == "sqeuclidean":
            # Standard deviations of the units, relative to the scale of their layer.
            attributes["_scales"] = tuple(
                side.over_all_units(np.sqrt(side.curves.offsets), 0.0)
                for side in (first, second)
            )
        cost = result.cost
        if are_nearly_alike(cost, numpy_dtype(source.curves.vectors)):
            cost = cost_from_differences(plan, first.curves, second.curves)
        # Maps are between live units, of which some may have no weight.
        plan = extend_plan(plan, first.mask[first.live], second.mask[second.live])
        return Solution(
            cost=cost / self.mass,
            maps=(
                self._map_by(plan, second, target.statistics, matched[1], masses[1]),
                self._map_by(
                    plan, first, source.statistics, matched[0], masses[0], True
                ),
            ),
            attributes=attributes,
            converged=result.converged or {"duality gap": attributes["duality_gap_"]},
        )

    def _map_by(self, plan, side, statistics, matched, masses, to_source=False):
        """Return the map that reconstructs one side.

        The magnitudes of the weights of a unit sum to its matched fraction.
        """
        live = statistics.live
        factor = statistics.n_live
        if side.weights is not None:
            # A unit without mass has no counterparts.
            factor = 1 / np.where(masses > 0, masses, 1.0)[live]
        plan_map = PlanMap(plan, factor, to_source)
        if self.reconstruct == "standardized":
            return plan_map
        return RawPlanMap(plan_map, (1 - matched[live]) * statistics.mean[live])

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
            units = with_precision_of(units, statistics)
            return units + move_to_device_of(
                units, constants.astype(numpy_dtype(units))
            )
        return super()._from_map_units(units, statistics)

    # -- costs on other stimuli ----------------------------------------------------

    def _prepare_held_out(self, leaves, statistics):
        if self.metric != "sqeuclidean":
            return _unit_vectors(leaves, self.metric)
        return side_by_side(
            standardize(layer, own)
            for layer, own in self._layers_of(leaves, statistics, min_stimuli=2)
        )

    def _held_out_cost(self, source, target):
        plan = self._signed_plan.tocoo()
        if self.metric != "sqeuclidean":
            cost = 1.0 - _mean_product(plan, source, target)
            if are_nearly_alike(cost, numpy_dtype(source[0])):
                cost = _mean_half_difference(plan, source, target)
            return cost
        sides = [
            scale_units(units, scales)
            for units, scales in zip((source, target), self._scales, strict=True)
        ]
        squared = paired_squared_distances(*sides, plan.row, plan.col)
        return float(plan.data @ squared / (self.mass * source.shape[0]))


@dataclass(frozen=True)
class _Participants:
    """Units of one side that take part in the matching.

    Attributes
    ----------
    curves : TuningCurves
        Their tuning curves.
    weights : ndarray of shape (n_participants,) or None
        Their weights. None if all live units take part with equal weights.
    mask : ndarray of bool of shape (n_units,)
        Mask of these units among all units.
    live : ndarray of bool of shape (n_units,)
        Mask of the live units. Those with a weight of 0 take no part.
    """

    curves: TuningCurves
    weights: np.ndarray | None
    mask: np.ndarray
    live: np.ndarray

    @classmethod
    def of(cls, population, side, metric):
        """Select the units of a population that have a weight on the given side."""
        curves, live = population.curves, population.statistics.live
        weights = (population.statistics.weights or {}).get(side)
        if weights is None:
            return cls(curves, None, live, live)
        mask = live & (weights > 0)
        weights = weights[mask]
        if not mask[live].all():
            curves = curves.select(np.flatnonzero(mask[live]))
        if metric == "sqeuclidean":
            mean = np.average(curves.offsets, weights=weights / weights.max())
            curves = curves.scaled(float(1 / np.sqrt(mean)))
        return cls(curves, weights, mask, live)

    def over_all_units(self, values, fill_value):
        """Extend the values of these units to all units."""
        extended = np.full(len(self.mask), fill_value)
        extended[self.mask] = values
        return extended


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


def _signs_of_pairs(plan, source, target):
    """Return the signs of the correlations of matched units, with the plan's entries.

    Parameters
    ----------
    plan : csr_array of shape (n_source_units, n_target_units)
        Plan between live units.
    source, target : TuningCurves
        The units.

    Returns
    -------
    signs : csr_array of int8 of shape (n_source_units, n_target_units)
        1 or -1 for each entry of the plan.
    """
    plan = plan.tocoo()
    products = paired_products(source.vectors, target.vectors, plan.row, plan.col)
    signs = np.where(products < 0, -1, 1).astype(np.int8)
    return coo_array((signs, plan.coords), shape=plan.shape).tocsr()


def _unit_vectors(leaves, metric):
    """Concatenate the units that vary over the given stimuli, scaled to norm 1.

    Returns
    -------
    vectors : array or ShiftedSparse of shape (n_stimuli, n_live_units)
        Units with the dtype of the layers, centred unless the metric is "cosine".
    columns : ndarray of int of shape (n_units,)
        Column of each unit in `vectors`; -1 for units that are constant over these
        stimuli.
    """
    kind = "cosine" if metric == "cosine" else "correlation"
    vectors, live = [], []
    for leaf in leaves:
        layer = check_layer(leaf.layer, leaf.where, min_stimuli=2, accept_sparse=True)
        statistics = unit_statistics(layer)
        vectors.append(tuning_curves(layer, statistics, kind).vectors)
        live.append(statistics.live)
    live = np.concatenate(live)
    return side_by_side(vectors), np.where(live, np.cumsum(live) - 1, -1)


def _mean_product(plan, source, target):
    """Compute the mean product of matched units, without constant target units.

    `source` and `target` are outputs of `_unit_vectors`. Products of pairs with a
    negative weight are multiplied by -1.
    """
    # Products with a constant source unit are 0.
    weights, rows, columns = _varying_pairs(plan, source, target)
    products = paired_products(source[0], target[0], rows, columns)
    # Rounding errors can exceed the bounds of a mean correlation.
    return float(np.clip(weights @ products, -1.0, 1.0))


def _mean_half_difference(plan, source, target):
    """Compute 1 - `_mean_product` from differences, which keep their digits."""
    weights, rows, columns = _varying_pairs(plan, source, target)
    squared = paired_squared_distances(
        source[0], target[0], rows, columns, signs=np.where(weights < 0, -1, 1)
    )
    weights = np.abs(weights)
    # The distance from a constant source unit is 1.
    return float(weights @ squared / 2) + 1.0 - float(weights.sum())


def _varying_pairs(plan, source, target):
    """Return weights and columns of the matched pairs of units that both vary.

    The magnitudes of the weights of all pairs sum to 1, except pairs with a constant
    target unit.
    """
    rows, columns = source[1][plan.row], target[1][plan.col]
    counted = columns >= 0
    if not counted.any():
        raise ValueError(
            "Every matched unit of y is constant over the stimuli given: no "
            "correlation is defined. Give more stimuli."
        )
    varies = counted & (rows >= 0)
    weights = plan.data[varies] / np.abs(plan.data[counted]).sum()
    return weights, rows[varies], columns[varies]

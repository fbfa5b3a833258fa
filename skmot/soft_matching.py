"""SoftMatching: the optimal coupling of the units of two populations."""

from numbers import Real

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from skmot._array_api import (
    carry,
    move_to_home_of,
    namespace_of,
    numpy_dtype,
    to_numpy,
)
from skmot._pair import PairEstimator, over_all_units
from skmot._units import (
    METRICS,
    paired_products,
    paired_squared_distances,
    standardize,
    tuning_curves,
    unit_statistics,
)
from skmot._validation import checked_layers
from skmot.transport import match_tuning_curves


class SoftMatching(PairEstimator):
    """Soft matching: the optimal coupling of the units of two populations.

    Finds the transport plan Q in T(N, K) of least cost <Q, D> between N source and K
    target units, where D compares their tuning curves ([1]_, eq. 11 and 12; the inner
    level of [2]_). Given networks of several layers, all layers of a network count as
    one population (global transport). With `mass` below 1 only that share of the units
    is matched, and which units are left out is part of the solution ([3]_).

    Parameters
    ----------
    metric : {"correlation", "cosine", "sqeuclidean"}, default="correlation"
        What D compares.

        - "correlation": 1 - corr(x_i, y_j). Then `cost_` = 1 - s_T.
        - "cosine": 1 - cos(x_i, y_j), the same without centring.
        - "sqeuclidean": ``|x_i - y_j|^2``, with columns centred and each layer divided
          by one number such that its units' mean squared norm is 1 (its mean variance
          over the S stimuli 1, and the squared distance divided by S). Then `cost_` =
          d_T^2, the square of :func:`skmot.metrics.soft_matching_distance`.
    mass : float, default=1.0
        The share of the units that is matched, more than 0 and at most 1: the plan sums
        to `mass`, its rows to at most 1/N and its columns to at most 1/K. The least
        costly plan of this kind leaves out the units that have no counterpart.
        :func:`skmot.partial.mass_curve` tells how costs depend on it.
    reconstruct : {"standardized", "raw"}, default="standardized"
        How units are carried over. "standardized": each unit is centred and scaled by
        its training mean and deviation, carried over, and put on the mean and deviation
        of the unit it reconstructs. "raw": activations are carried over as they are, as
        the formula of [2]_ reads; units of large variance then dominate.

        Either way a unit that is matched in part only is shrunk towards its training
        mean, by the share that is not matched, and a unit that is not matched at all is
        its training mean: constant, so that its score is 0. (Within one population
        correlations are indifferent to the shrinkage; in a sum over the layers of a
        network, counterparts then count by how much of the unit they match.)

    Attributes
    ----------
    coupling_ : csr_array of shape (n_source_units, n_target_units)
        The plan: rows sum to one over the number of live source units, columns to one
        over the number of live target units (with `mass` below 1, to that at most);
        at most N + K - 1 entries are not zero (below 1, N + K).
    cost_ : float
        <Q, D> / `mass`, lower is more alike. From 0 to 2 with "correlation" and
        "cosine", from 0 to 4 with "sqeuclidean". It never falls as `mass` grows.
    matched_ : tuple of ndarray, of shape (n_source_units,) and (n_target_units,)
        How much of each unit is matched, from 0 to 1; 0 for dead units. The units of
        each side rank by it: those without a counterpart come last.
    potentials_ : tuple of ndarray, of shape (n_source_units,) and (n_target_units,)
        Dual solution: u_i + v_j <= D_ij, and mean(u) + mean(v) - (1 - `mass`) (max(u) +
        max(v)), over live units, is `mass` times `cost_`, up to the gap; NaN for dead
        units. No plan costs less, see
        :func:`skmot.transport.solve_partial_transport`.
    duality_gap_ : float
        By how much `cost_` may exceed the optimum, proven from the potentials.
    dead_source_units_, dead_target_units_ : ndarray of int
        Units that are constant over the training stimuli: they take no part, predict
        nothing and are predicted as their constant.
    source_names_, target_names_ : tuple or None
        The layers' names, where they have any.
    n_features_in_ : int
        Number of source units.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of source units, where `X` was a DataFrame with string columns.

    See Also
    --------
    MultiLevelOT : The same for every pair of layers, and a coupling of layers above.
    skmot.metrics.soft_matching_score : The score of two arrays, without an estimator.

    Notes
    -----
    `held_out_cost` with "correlation" or "cosine" is 1 - :meth:`matching_score`: a
    target unit that is constant over the stimuli given is left out, and pairs with a
    source unit that is have a distance of 1 (silent there, it tells nothing of its
    counterpart). Where units fall silent it is therefore not symmetric, as `cost_` is.

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
        """Score the plan by the correlations of the units it matches.

        sum_ij Q_ij corr(x_i, y_j), with the training plan and the correlations of the
        rows given ([1]_, eq. 12, held out). Pairs whose target unit is constant over
        these rows are left out and the other pairs' weights made to sum to one; pairs
        whose source unit only is constant count as 0. With `metric="cosine"`
        the correlations are not centred.

        With `mass` below 1 it is the mean over what is matched. Units left out do not
        count, so that a search over `mass` by this score tends to the smallest; one by
        :meth:`score`, where they count as 0, does not.

        Parameters
        ----------
        X, y : LayerStack, list, dict, DataFrame or array-like
            Source and target over the same, preferably held-out, stimuli.

        Returns
        -------
        score : float
            From -1 to 1.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the layers differ from those fitted to or between the sides in their
            stimuli, there are fewer than two stimuli, or every target unit is constant.

        References
        ----------
        .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
           representations that captures single-neuron tuning. UniReps, PMLR, 2024.
        """
        sides = (
            _unit_vectors(checked_layers(stack, layout, min_stimuli=2), self.metric)
            for stack, layout in zip(
                self._check_both(X, y, "matching_score"),
                (self._source_layout, self._target_layout),
                strict=True,
            )
        )
        return _mean_product(self.coupling_.tocoo(), *sides)

    def _fit_populations(self, source, target):
        result = match_tuning_curves(source.curves, target.curves, self.mass)
        statistics = source.statistics, target.statistics
        self.coupling_ = over_all_units(result.coupling, *statistics)
        # 1 - corr and |x - y|^2 are never negative; rounding makes 0 so.
        self.cost_ = max(result.cost / self.mass, 0.0)
        self.matched_ = tuple(
            _with_dead_units(matched, part, 0.0)
            for matched, part in zip(result.matched, statistics, strict=True)
        )
        self.potentials_ = tuple(
            _with_dead_units(potentials, part, np.nan)
            for potentials, part in zip(result.potentials, statistics, strict=True)
        )
        self.duality_gap_ = result.duality_gap / self.mass
        self._converged = result.converged
        if self.metric == "sqeuclidean":
            # Of standardised units these are the deviations, on their layer's scale.
            self._scales = tuple(
                _with_dead_units(np.sqrt(side.curves.offsets), side.statistics, 0.0)
                for side in (source, target)
            )

    def _shortfalls(self):
        return [] if self._converged else [("duality gap", self.duality_gap_)]

    def _carry(self, direction, units):
        plan = self.coupling_ if direction == "target" else self.coupling_.T
        wanted = self._statistics(direction)[1]
        # Weights of each reconstructed unit sum, over the units seen, to as much of it
        # as is matched.
        carried = carry(units, plan * wanted.n_live)
        if self.reconstruct == "raw":
            # Standardised units have the mean 0: there the rest is their mean as it is.
            matched = to_numpy(self.matched_[1 if direction == "target" else 0])
            rest = ((1 - matched) * wanted.mean).astype(numpy_dtype(carried))
            carried += move_to_home_of(carried, rest)
        return carried

    def _held_out_cost(self, source, target):
        plan = self.coupling_.tocoo()
        if self.metric == "sqeuclidean":
            sides = [
                standardize(side, statistics) * move_to_home_of(side, scales)
                for side, statistics, scales in zip(
                    (source, target),
                    (self._source_statistics, self._target_statistics),
                    self._scales,
                    strict=True,
                )
            ]
            squared = paired_squared_distances(*sides, plan.row, plan.col)
            return float(plan.data @ squared / (self.mass * source.shape[0]))
        sides = (_unit_vectors([side], self.metric) for side in (source, target))
        return 1.0 - _mean_product(plan, *sides)

    @property
    def _curves_metric(self):
        return self.metric

    def _enter(self, layer, statistics):
        if self.reconstruct == "raw":
            return layer
        return super()._enter(layer, statistics)

    def _leave(self, carried, statistics):
        if self.reconstruct == "raw":
            return carried
        return super()._leave(carried, statistics)


def _unit_vectors(layers, metric):
    """Return live units side by side, of unit norm, and the place of each unit there.

    Returns
    -------
    vectors : array of shape (n_stimuli, n_live_units)
        In the layers' precision.
    places : ndarray of int of shape (n_units,)
        The column of each unit; -1 for those that are constant over these stimuli.
    """
    kind = "cosine" if metric == "cosine" else "correlation"
    vectors, live = [], []
    for layer in layers:
        statistics = unit_statistics(layer)
        vectors.append(tuning_curves(layer, statistics, kind).vectors)
        live.append(statistics.live)
    live = np.concatenate(live)
    vectors = namespace_of(vectors[0]).concat(vectors, axis=1)
    return vectors, np.where(live, np.cumsum(live) - 1, -1)


def _mean_product(plan, source, target):
    """Average the products of matched units, over targets that are not constant.

    Both sides as `_unit_vectors` gives them.
    """
    (sources, source_places), (targets, target_places) = source, target
    rows, columns = source_places[plan.row], target_places[plan.col]
    counted = columns >= 0
    if not counted.any():
        raise ValueError(
            "Every matched unit of y is constant over the stimuli given: no "
            "correlation is defined. Give more stimuli."
        )
    # The product with a source unit that is constant is 0.
    varied = counted & (rows >= 0)
    products = paired_products(sources, targets, rows[varied], columns[varied])
    return float(plan.data[varied] @ products / plan.data[counted].sum())


def _with_dead_units(values, statistics, missing):
    everywhere = np.full(len(statistics.live), missing)
    everywhere[statistics.live] = values
    return everywhere

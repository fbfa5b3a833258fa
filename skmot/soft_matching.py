"""SoftMatching: the optimal coupling of the units of two populations."""

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from skmot._labels import check_same_stimuli
from skmot._pair import PairEstimator, over_all_units
from skmot._units import METRICS, paired_products, tuning_curves, unit_statistics
from skmot._validation import check_later_side, check_same_length, checked_layers
from skmot.transport import match_tuning_curves


class SoftMatching(PairEstimator):
    """Soft matching: the optimal coupling of the units of two populations.

    Finds the transport plan Q in T(N, K) of least cost <Q, D> between N source and K
    target units, where D compares their tuning curves ([1]_, eq. 11 and 12; the inner
    level of [2]_). Given networks of several layers, all layers of a network count as
    one population (global transport).

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
    reconstruct : {"standardized", "raw"}, default="standardized"
        How units are carried over. "standardized": each unit is centred and scaled by
        its training mean and deviation, carried over, and put on the mean and deviation
        of the unit it reconstructs. "raw": activations are carried over as they are, as
        the formula of [2]_ reads; units of large variance then dominate.

    Attributes
    ----------
    coupling_ : csr_array of shape (n_source_units, n_target_units)
        The plan: rows sum to one over the number of live source units, columns to one
        over the number of live target units; at most N + K - 1 entries are not zero.
    cost_ : float
        <Q, D>, lower is more alike. From 0 to 2 with "correlation" and "cosine", from 0
        to 4 with "sqeuclidean".
    potentials_ : tuple of ndarray, of shape (n_source_units,) and (n_target_units,)
        Dual solution: u_i + v_j <= D_ij, and mean(u) + mean(v) = `cost_` up to the gap;
        NaN for dead units.
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

    References
    ----------
    .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
       representations that captures single-neuron tuning. UniReps, PMLR, 2024.
    .. [2] Representational alignment across model layers and brain regions with
       multi-level optimal transport.

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
    """

    _parameter_constraints = {
        "metric": [StrOptions(set(METRICS))],
        "reconstruct": [StrOptions({"standardized", "raw"})],
    }

    def __init__(self, metric="correlation", reconstruct="standardized"):
        self.metric = metric
        self.reconstruct = reconstruct

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
        """Find the optimal coupling of source and target units.

        Parameters
        ----------
        X : LayerStack, list, dict, DataFrame or array-like
            Source population, (n_stimuli, n_units) or layers of it; at least two
            stimuli.
        y : LayerStack, list, dict, DataFrame or array-like
            Target population over the same stimuli. One dimension is one unit.

        Returns
        -------
        self : SoftMatching
            Fitted.

        Raises
        ------
        ValueError, TypeError
            If the input is not finite numbers in two dimensions, the sides differ in
            their stimuli, a layer has constant units only, or one side has several
            layers and the other is one bare array.

        Warns
        -----
        DeadUnitWarning
            If some units are constant.
        ConvergenceWarning
            If the plan is not proven optimal to 1e-9 of the spread of costs.
        """
        self._fit_quietly(X, y)
        self._report()
        return self

    def matching_score(self, X, y):
        """Score the plan by the correlations of the units it matches.

        sum_ij Q_ij corr(x_i, y_j), with the training plan and the correlations of the
        rows given ([1]_, eq. 12, held out). Pairs whose target unit is constant over
        these rows are left out and the other pairs' weights made to sum to one; pairs
        whose source unit only is constant count as 0. With `metric="cosine"`
        the correlations are not centred.

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
        check_is_fitted(self)
        source, _ = check_later_side(self, X, self._source_layout)
        target, _ = check_later_side(self, y, self._target_layout)
        check_same_length(source, target, "X", "y")
        check_same_stimuli(source.stimuli, target.stimuli, "X", "y")
        vectors, constant = zip(
            _unit_vectors(source, self._source_layout, self.metric),
            _unit_vectors(target, self._target_layout, self.metric),
            strict=True,
        )
        plan = self.coupling_.tocoo()
        counted = ~constant[1][plan.col]
        weights = plan.data[counted]
        if weights.sum() == 0:
            raise ValueError(
                "Every matched unit of y is constant over the stimuli scored: no "
                "correlation is defined. Score on more stimuli."
            )
        products = paired_products(*vectors, plan.row[counted], plan.col[counted])
        return float(weights @ products / weights.sum())

    def _fit_populations(self, source, target):
        result = match_tuning_curves(source.curves, target.curves)
        statistics = source.statistics, target.statistics
        self.coupling_ = over_all_units(result.coupling, *statistics)
        # 1 - corr and |x - y|^2 are never negative; rounding makes 0 so.
        self.cost_ = max(result.cost, 0.0)
        self.potentials_ = tuple(
            _with_dead_units(potentials, part)
            for potentials, part in zip(result.potentials, statistics, strict=True)
        )
        self.duality_gap_ = result.duality_gap
        self._converged = result.converged

    def _shortfalls(self):
        return [] if self._converged else [("duality gap", self.duality_gap_)]

    def _carry(self, direction, units):
        plan = self.coupling_ if direction == "target" else self.coupling_.T
        # Weights of each reconstructed unit sum to one over the units seen.
        weights = plan * self._statistics(direction)[1].n_live
        return units @ weights.tocsr().astype(units.dtype)

    @property
    def _curves_metric(self):
        return self.metric

    def _enter(self, layer, statistics):
        if self.reconstruct == "raw":
            return layer
        return super()._enter(layer, statistics)

    def _leave(self, carried, statistics):
        if self.reconstruct == "raw":
            carried[:, ~statistics.live] = statistics.mean[~statistics.live]
            return carried
        return super()._leave(carried, statistics)


def _unit_vectors(stack, layout, metric):
    """Return all units side by side, of unit norm, and which are constant."""
    vectors, constant = [], []
    for layer in checked_layers(stack, layout, min_stimuli=2):
        statistics = unit_statistics(layer)
        unit_vectors = np.zeros(layer.shape, dtype=layer.dtype)
        kind = "cosine" if metric == "cosine" else "correlation"
        unit_vectors[:, statistics.live] = tuning_curves(
            layer, statistics, kind
        ).vectors
        vectors.append(unit_vectors)
        constant.append(~statistics.live)
    return np.concatenate(vectors, axis=1), np.concatenate(constant)


def _with_dead_units(potentials, statistics):
    everywhere = np.full(len(statistics.live), np.nan)
    everywhere[statistics.live] = potentials
    return everywhere

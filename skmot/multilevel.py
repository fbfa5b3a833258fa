"""MultiLevelOT: a coupling of layers above the couplings of their units."""

from abc import abstractmethod
from functools import partial
from itertools import product
from numbers import Integral

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import check_cv
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.parallel import Parallel, delayed

from skmot._base import LayerEstimator
from skmot._pair import PairEstimator
from skmot._units import check_some_live, constant_units
from skmot._validation import check_layer
from skmot.layers import LayerStack, layer_label
from skmot.soft_matching import SoftMatching
from skmot.transport import solve_transport

# Costs closer than this share of their spread are ties: sums of float64 costs are good
# to about 1e-13, and a plan may be that much above the optimum.
_COMPARED_DECIMALS = 12
STRATEGIES = ("transport", "single_best", "pairwise_best", "permuted")


class LayerCoupler(LayerEstimator):
    """Base of the estimators that couple layers by the costs of an inner estimator.

    What is fitted to each pair of layers, a subclass says in `_inner`. A subclass has
    the parameters `strategy`, `cost_cv`, `n_jobs` and `random_state`.
    """

    @abstractmethod
    def _inner(self):
        """Return the estimator, not fitted, whose clones are fitted to the pairs."""

    # -- fitting -------------------------------------------------------------------

    def _fit(self, source, target):
        inner = self._inner()
        if isinstance(inner, LayerEstimator):
            # Its own `fit`, which would do this, is not what fits the pairs.
            inner._validate_params()
        self._fold_shortfalls = []
        prepared = [
            _prepare_layers(inner, stack, layout)
            for stack, layout in (
                (source, self._source_layout),
                (target, self._target_layout),
            )
        ]
        (sources, self.dead_source_units_), (targets, self.dead_target_units_) = (
            prepared
        )
        fitted = Parallel(n_jobs=self.n_jobs)(
            delayed(_fit_pair)(clone(inner), source_layer, target_layer)
            for source_layer in sources
            for target_layer in targets
        )
        n_targets = len(targets)
        self.inner_ = [
            fitted[start : start + n_targets]
            for start in range(0, len(fitted), n_targets)
        ]
        _share_statistics(self.inner_, sources, targets)
        self.layer_costs_ = self._check_costs(
            self._cross_validated_costs(source, target)
            if self.cost_cv is not None
            else [[_read_cost(estimator) for estimator in row] for row in self.inner_]
        )
        self._couple_layers()

    def _cross_validated_costs(self, source, target):
        """Read each pair's cost on held-out folds of the training stimuli."""
        inner = self._inner()
        if not hasattr(inner, "held_out_cost"):
            raise TypeError(
                f"{type(inner).__name__} has no `held_out_cost(X, y)`: its cost cannot "
                "be read on held-out folds. Use `cost_cv=None`."
            )
        folds = list(check_cv(self.cost_cv).split(source))
        total = np.zeros((source.n_layers, target.n_layers))
        for train, test in folds:
            sides = [
                (_prepare_layers(inner, stack[train], layout)[0], stack[test].layers)
                for stack, layout in (
                    (source, self._source_layout),
                    (target, self._target_layout),
                )
            ]
            read = Parallel(n_jobs=self.n_jobs)(
                delayed(_fit_and_read_cost)(clone(inner), *pair)
                for pair in product(*(zip(*side, strict=True) for side in sides))
            )
            total += np.reshape([cost for cost, _ in read], total.shape)
            self._fold_shortfalls += [found for _, part in read for found in part]
        return total / len(folds)

    def _check_costs(self, costs):
        costs = np.array(costs)
        if not np.isfinite(costs).all():
            pair = tuple(int(index) for index in np.argwhere(~np.isfinite(costs))[0])
            raise ValueError(
                f"{type(self._inner()).__name__} learned a `cost_` of {costs[pair]} "
                f"for {self._source_layout.where(pair[0])} and "
                f"{self._target_layout.where(pair[1])}: layer costs must be finite."
            )
        return costs

    def _couple_layers(self):
        costs, spread = _comparable(self.layer_costs_)
        self.duality_gap_ = 0.0
        self._outer_converged = True
        if self.strategy == "pairwise_best":
            self.coupling_ = _one_a_column(costs.argmin(axis=0), costs.shape)
            self.inverse_coupling_ = _one_a_column(
                costs.argmin(axis=1), costs.T.shape
            ).T
        else:
            plan, flow = _plan_layers(costs)
            self.duality_gap_ = plan.duality_gap * spread
            self._outer_converged = plan.converged
            if self.strategy == "single_best":
                self.coupling_ = _one_a_column(_largest(flow, costs), costs.shape)
                self.inverse_coupling_ = _one_a_column(
                    _largest(flow.T, costs.T), costs.T.shape
                ).T
            else:
                coupling = flow / flow.sum()
                if self.strategy == "permuted":
                    random = check_random_state(self.random_state)
                    coupling = coupling[random.permutation(len(coupling))]
                self.coupling_ = coupling
                self.inverse_coupling_ = coupling.copy()
        self.cost_ = float((self.coupling_ * self.layer_costs_).sum())

    def _cost_on(self, source, target):
        total = 0.0
        # Pairs without weight are not read.
        for pair in zip(*np.nonzero(self.coupling_), strict=True):
            inner = self.inner_[pair[0]][pair[1]]
            layers = (
                _as_taken(inner, stack.layers[index], layout.where(index))
                for stack, layout, index in zip(
                    (source, target),
                    (self._source_layout, self._target_layout),
                    pair,
                    strict=True,
                )
            )
            total += self.coupling_[pair] * inner.held_out_cost(*layers)
        return total

    def _shortfalls(self):
        found = list(self._fold_shortfalls)
        if not self._outer_converged:
            found.append(("duality gap", self.duality_gap_))
        for estimator in (estimator for row in self.inner_ for estimator in row):
            if isinstance(estimator, LayerEstimator):
                found += estimator._shortfalls()
        return found

    # -- reconstructing ------------------------------------------------------------

    def _reconstruct(self, direction, stack):
        if direction == "target":
            weights, inner = self.coupling_, self.inner_
        else:
            weights = self.inverse_coupling_.T
            inner = list(zip(*self.inner_, strict=True))
        # Row: a layer that is seen. Column: a layer that is reconstructed, whose
        # weights sum to one.
        weights = weights * weights.shape[1]
        seen = self._layouts(direction)[0]
        for column in range(weights.shape[1]):
            yield _weighted_sum(
                (
                    weights[row, column],
                    _predict(
                        inner[row][column],
                        direction,
                        stack.layers[row],
                        seen.where(row),
                    ),
                )
                for row in np.flatnonzero(weights[:, column])
            )

    def _check_map(self, direction):
        method = "predict" if direction == "target" else "inverse_predict"
        inner = self._inner()
        if not hasattr(inner, method):
            raise AttributeError(
                f"{type(inner).__name__} has no `{method}`: it compares layers and "
                f"does not map one to the other, so {type(self).__name__} above it "
                f"cannot reconstruct the {direction} either."
            )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if not hasattr(self._inner(), "predict"):
            tags.estimator_type = None
            tags.regressor_tags = None
        return tags


class MultiLevelOT(LayerCoupler):
    """Multi-level optimal transport (MOT) between two networks.

    Matches the units of every pair of layers with an inner estimator, whose costs C
    then decide which layer corresponds to which: the layer coupling P in T(L, M) is the
    transport plan of least cost <P, C> ([1]_, section 2.2). A layer is reconstructed
    from all its counterparts, each in proportion to P.

    Parameters
    ----------
    inner : estimator, default=None
        What is fitted to each pair of layers: any estimator with `fit(X, y)` that
        learns a `cost_`. None means `SoftMatching()`. A `MultiLevelOT` makes one level
        more, on stacks of stacks. Its settings are searched as `inner__...`, if it is
        given.
    strategy : {"transport", "single_best", "pairwise_best", "permuted"}, \
default="transport"
        Which counterparts a layer is reconstructed from.

        - "transport": all, weighted by the plan P.
        - "single_best": only the one of largest weight in P; exact ties go to the
          smaller cost, then to the lower index.
        - "pairwise_best": only the one of least cost. Solves no outer problem: what is
          done without MOT.
        - "permuted": as "transport", with the rows of P permuted at random and the unit
          plans kept (Perm-P), a control.
    cost_cv : int, cross-validation splitter or iterable, default=None
        How the layer costs are read. None reads them on the training stimuli they were
        made small on, as the paper does; at few stimuli wide layers are then cheap to
        match by their width alone. Otherwise the training stimuli are split, as
        `cv` of scikit-learn says, and costs are those on held-out folds, averaged; the
        plans are still fitted to all training stimuli.
    n_jobs : int, default=None
        Pairs fitted at the same time, as `scikit-learn has it
        <https://scikit-learn.org/stable/glossary.html#term-n_jobs>`__. The results do
        not depend on it.
    random_state : int, RandomState instance or None, default=None
        Of the permutation, for `strategy="permuted"`.

    Attributes
    ----------
    coupling_ : ndarray of shape (n_source_layers, n_target_layers)
        Weights in the reconstruction of target layers; columns sum to one over the
        number of target layers.
    inverse_coupling_ : ndarray of shape (n_source_layers, n_target_layers)
        Weights in the reconstruction of source layers; rows sum to one over the number
        of source layers. The same as `coupling_` for "transport" and "permuted".
    layer_costs_ : ndarray of shape (n_source_layers, n_target_layers)
        C: the inner `cost_` of each pair, or its mean over held-out folds.
    cost_ : float
        ``<coupling_, C>``; lower is more alike.
    inner_ : list of list of estimators
        `inner_[l][m]` is fitted to source layer l and target layer m. skmot's own keep
        plans and statistics of units, no activations.
    duality_gap_ : float
        By how much <P, C> may exceed the optimum of the outer problem; 0 for
        "pairwise_best", which has none.
    dead_source_units_, dead_target_units_ : list of ndarray of int
        Of each layer, units that are constant over the training stimuli: they take no
        part, predict nothing and are predicted as their constant.
    source_names_, target_names_ : tuple or None
        The layers' names, where they have any.
    n_features_in_ : int
        Number of source units of all layers.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of source units, where `X` was one DataFrame with string columns.

    See Also
    --------
    SoftMatching : The default inner estimator.
    skmot.metrics.hierarchy_score : Whether the coupling follows depth.

    Notes
    -----
    `score` is about the target and `inverse_score` about the source; the paper reports
    the latter. They differ, for "single_best" and "pairwise_best" even in the layers
    they use.

    References
    ----------
    .. [1] Representational alignment across model layers and brain regions with
       multi-level optimal transport.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import MultiLevelOT
    >>> rng = np.random.default_rng(0)
    >>> source = [rng.normal(size=(100, 8)) for _ in range(3)]
    >>> target = [layer[:, ::-1] + rng.normal(size=(100, 8)) for layer in source]
    >>> mot = MultiLevelOT().fit([x[:80] for x in source], [y[:80] for y in target])
    >>> mot.coupling_.round(2)
    array([[0.33, 0.  , 0.  ],
           [0.  , 0.33, 0.  ],
           [0.  , 0.  , 0.33]])
    >>> round(mot.score([x[80:] for x in source], [y[80:] for y in target]), 1)
    0.7
    """

    _parameter_constraints = {
        "inner": [HasMethods(["fit"]), None],
        "strategy": [StrOptions(set(STRATEGIES))],
        "cost_cv": ["cv_object"],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        inner=None,
        strategy="transport",
        cost_cv=None,
        n_jobs=None,
        random_state=None,
    ):
        self.inner = inner
        self.strategy = strategy
        self.cost_cv = cost_cv
        self.n_jobs = n_jobs
        self.random_state = random_state

    def _inner(self):
        return SoftMatching() if self.inner is None else self.inner


def _prepare_layers(inner, stack, layout):
    """Return layers as the inner estimator takes them, and their dead units."""
    layers, dead = [], []
    for index, layer in enumerate(stack.layers):
        where = layout.where(index)
        if isinstance(inner, PairEstimator):
            layer = inner._prepare(layer, where)
            dead.append(layer.statistics.dead_units)
        else:
            layer, dead_units = _check_raw(layer, where)
            dead.append(dead_units)
        layers.append(layer)
    return layers, dead


def _check_raw(layer, where):
    """Check a layer that an inner estimator takes as it is, at any depth."""
    if isinstance(layer, LayerStack):
        parts = [
            _check_raw(part, f"{where}, {layer_label(index, layer.names)}")
            for index, part in enumerate(layer.layers)
        ]
        return layer, [dead for _, dead in parts]
    layer = check_layer(layer, where, min_stimuli=2)
    constant = constant_units(layer)
    check_some_live(~constant, where)
    return layer, np.flatnonzero(constant)


def _fit_pair(inner, source, target):
    if isinstance(inner, PairEstimator):
        return inner._fit_prepared(source, target)
    if isinstance(inner, LayerEstimator):
        return inner._fit_quietly(source, target)
    return inner.fit(source, target)


def _fit_and_read_cost(inner, source, target):
    """Fit to training layers and read the cost on held-out ones, (train, test) each.

    Returns
    -------
    cost : float
        On the held-out layers.
    shortfalls : list
        As `LayerEstimator._shortfalls` has them.
    """
    fitted = _fit_pair(inner, source[0], target[0])
    cost = fitted.held_out_cost(
        *(_as_taken(inner, test, "a held-out fold") for _, test in (source, target))
    )
    # Fold fits are not kept, but what they fell short of is reported.
    shortfalls = fitted._shortfalls() if isinstance(fitted, LayerEstimator) else []
    return cost, shortfalls


def _as_taken(inner, layer, where):
    """Return a layer as an inner estimator takes it once it is fitted.

    What matches units takes a stack within a stack as one population.
    """
    if isinstance(inner, PairEstimator) or not isinstance(layer, LayerStack):
        return check_layer(layer, where)
    return layer


def _share_statistics(inner, sources, targets):
    """Let all pairs of a layer keep one copy of its units' statistics."""
    for row, source in zip(inner, sources, strict=True):
        for estimator, target in zip(row, targets, strict=True):
            if isinstance(estimator, PairEstimator):
                estimator._set_statistics(source.statistics, target.statistics)


def _read_cost(estimator):
    if not hasattr(estimator, "cost_"):
        raise TypeError(
            f"{type(estimator).__name__} learned no `cost_`: the inner estimator of "
            "MultiLevelOT must tell how far two layers are apart."
        )
    return float(estimator.cost_)


def _one_a_column(rows, shape):
    """Return the coupling whose columns have all their weight in one row."""
    coupling = np.zeros(shape)
    coupling[rows, np.arange(shape[1])] = 1.0 / shape[1]
    return coupling


def _comparable(costs):
    """Bring costs to [0, 1], without the digits that differ by rounding only.

    The costs of two layers that are copies of each other differ in their last digits,
    and not the same ones when the sides are swapped: they are ties.

    Returns
    -------
    costs : ndarray of shape (n_source_layers, n_target_layers)
        What plans and ties are decided by.
    spread : float
        What their differences are to be multiplied by.
    """
    spread = float(np.ptp(costs))
    if spread == 0:
        return np.zeros_like(costs), 0.0
    return np.round((costs - costs.min()) / spread, _COMPARED_DECIMALS), spread


def _plan_layers(costs):
    """Solve the outer problem the same way round whichever network is the source.

    Where several plans are as cheap, swapping the sides then gives the same one.

    Returns
    -------
    plan : TransportResult
        Of the problem, or of its transpose.
    flow : ndarray of int of shape (n_source_layers, n_target_layers)
        The plan in whole numbers.
    """
    turned = costs.shape[0] > costs.shape[1] or (
        costs.shape[0] == costs.shape[1] and costs.T.tolist() < costs.tolist()
    )
    plan = solve_transport(costs.T if turned else costs)
    flow = plan.flow.toarray()
    return plan, flow.T if turned else flow


def _largest(flow, costs):
    """Return each column's row of largest flow; ties by cost, then by index.

    Flows are whole numbers, so ties are exact. They are the rule where the depth of one
    network divides that of the other.
    """
    return np.where(flow == flow.max(axis=0), costs, np.inf).argmin(axis=0)


def _predict(estimator, direction, layer, where):
    layer = _as_taken(estimator, layer, where)
    if direction == "target":
        return estimator.predict(layer)
    return estimator.inverse_predict(layer)


def _weighted_sum(weighted):
    """Add up weighted layers, or stacks of layers layer by layer."""
    total = None
    for weight, layer in weighted:
        # A Python float: a numpy one would make float32 layers float64.
        part = _map_layers(partial(np.multiply, float(weight)), layer)
        total = part if total is None else _map_layers(np.add, total, part)
    return total


def _map_layers(function, *layers):
    if not isinstance(layers[0], LayerStack):
        return function(*(_as_columns(layer) for layer in layers))
    return LayerStack(
        [
            _map_layers(function, *parts)
            for parts in zip(*(layer.layers for layer in layers), strict=True)
        ],
        names=layers[0].names,
        stimuli=layers[0].stimuli,
    )


def _as_columns(prediction):
    """Return a prediction as a layer: of one unit, foreign estimators give a vector."""
    prediction = np.asarray(prediction)
    return prediction[:, np.newaxis] if prediction.ndim == 1 else prediction

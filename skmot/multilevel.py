"""MultiLevelOT: a coupling of layers above the couplings of their units."""

import warnings
from abc import abstractmethod
from contextlib import closing
from functools import partial
from numbers import Integral
from operator import add, mul
from os import PathLike

import numpy as np
from joblib import Memory, effective_n_jobs
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import check_cv
from sklearn.utils import check_random_state, get_tags
from sklearn.utils._param_validation import HasMethods, StrOptions

from skmot._array_api import as_array, namespace_of, to_numpy
from skmot._base import LayerEstimator
from skmot._layer_cache import LayerCache, in_tiles
from skmot._pair import PairEstimator
from skmot._pair_store import NoStore, PairStore
from skmot._parallel import run_side_by_side
from skmot._prepared import as_taken, prepare_layers
from skmot._validation import check_fit_pair
from skmot._warnings import repeat_warnings
from skmot.layers import LayerStack
from skmot.soft_matching import SoftMatching
from skmot.transport import solve_transport

# Costs closer than this share of their spread are ties: sums of float64 costs are good
# to about 1e-13, and a plan may be that much above the optimum.
_COMPARED_DECIMALS = 12
STRATEGIES = ("transport", "single_best", "pairwise_best", "permuted")


class LayerCoupler(LayerEstimator):
    """Base of the estimators that couple layers by the costs of an inner estimator.

    What is fitted to each pair of layers, a subclass says in `_inner`. A subclass has
    the parameters `strategy`, `cost_cv`, `n_jobs`, `memory` and `random_state`.
    """

    @abstractmethod
    def _inner(self):
        """Return the estimator, not fitted, whose clones are fitted to the pairs."""

    # -- fitting -------------------------------------------------------------------

    def _fit(self, source, target):
        self._check_inner()
        with closing(LayerCache()) as cache:
            handles = [
                prepare_layers(
                    self._inner(), stack, layout.where, cache, keyed=self._is_kept()
                )
                for stack, layout in (
                    (source, self._source_layout),
                    (target, self._target_layout),
                )
            ]
            log = self._fit_layers(source, *handles)
            _give_statistics(self, *handles)
        # `_fit_quietly`, `fit`, scikit-learn's wrapper of it, and then the caller.
        repeat_warnings(log, stacklevel=6)

    def _fit_prepared(self, source, target):
        """Fit to two prepared networks, as `fit` would to the networks themselves."""
        stack, other, self._source_layout, self._target_layout = check_fit_pair(
            self, source.layer, target.layer
        )
        self.source_names_, self.target_names_ = stack.names, other.names
        for category, message, _ in self._fit_layers(
            stack, source.layers, target.layers
        ):
            # The level above tells of them once.
            warnings.warn(message, category, stacklevel=2)
        return self

    def _check_inner(self):
        """Check settings of the inner estimator, whose own `fit` is not called."""
        inner = self._inner()
        if isinstance(inner, LayerEstimator):
            inner._validate_params()
        if isinstance(inner, LayerCoupler):
            inner._check_inner()
        self._open_store()
        if self.cost_cv is not None and not hasattr(inner, "held_out_cost"):
            raise TypeError(
                f"{type(inner).__name__} has no `held_out_cost(X, y)`: its cost cannot "
                "be read on held-out folds. Use `cost_cv=None`."
            )

    def _fit_layers(self, source, sources, targets):
        """Fit to prepared layers, and return what foreign estimators warned of.

        Parameters
        ----------
        source : LayerStack
            What folds are made of.
        sources, targets : list of LayerHandle
            The layers of both sides.

        Returns
        -------
        log : list
            As `recorded_warnings` has it.
        """
        self.dead_source_units_ = [layer.dead_units for layer in sources]
        self.dead_target_units_ = [layer.dead_units for layer in targets]
        self.inner_, log = self._run(_fit_pair, sources, targets)
        costs = [[_read_cost(estimator) for estimator in row] for row in self.inner_]
        self._fold_shortfalls = []
        if self.cost_cv is not None:
            costs, more = self._cross_validated_costs(source, sources, targets)
            log += more
        self.layer_costs_ = self._check_costs(costs)
        self._couple_layers()
        return log

    def _cross_validated_costs(self, source, sources, targets):
        """Read each pair's cost on held-out folds of the training stimuli."""
        folds = list(check_cv(self.cost_cv).split(source))
        total, log = np.zeros((len(sources), len(targets))), []
        for rows in folds:
            sides = [
                [layer.fold(*rows) for layer in side] for side in (sources, targets)
            ]
            read, more = self._run(_fit_and_read_cost, *sides)
            total += [[cost for cost, _ in row] for row in read]
            self._fold_shortfalls += [
                found for row in read for _, part in row for found in part
            ]
            log += more
        return total / len(folds), log

    def _run(self, function, sources, targets):
        """Call a function on every pair of layers, or find what it returned before.

        Returns
        -------
        results : list of list
            What it returned; a row a source layer.
        log : list
            What it warned of, in the same order.
        """
        store = self._open_store()
        results = np.empty((len(sources), len(targets)), dtype=object)
        keys = np.empty(results.shape, dtype=object)
        for pair in np.ndindex(results.shape):
            row, column = pair
            keys[pair] = store.key(
                function.__name__, sources[row].digest, targets[column].digest
            )
            results[pair] = store.find(keys[pair])
        missing = [
            pair
            for pair in in_tiles(
                [layer.made_bytes for layer in sources],
                [layer.made_bytes for layer in targets],
                sources[0].cache.limit,
                effective_n_jobs(self.n_jobs),
            )
            if results[pair] is None
        ]
        found = run_side_by_side(
            function,
            ((sources[row], targets[column]) for row, column in missing),
            self.n_jobs,
            own=_is_own(self._inner()),
            at_once=self.memory is not None,
        )
        # Whatever happens to a result here, what is under way ends with it.
        with closing(found):
            for index, *result in found:
                pair = missing[index]
                store.keep(keys[pair], result)
                results[pair] = result
        log = store.log + [entry for _, part in results.flat for entry in part]
        return [[result for result, _ in row] for row in results], log

    def _open_store(self):
        if self.memory is None:
            return NoStore()
        return PairStore(self.memory, self._inner())

    def _is_kept(self):
        """Whether results of pairs are kept, at any level."""
        inner = self._inner()
        below = isinstance(inner, LayerCoupler) and inner._is_kept()
        return self.memory is not None or below

    @property
    def _draws(self):
        """Whether what is learned depends on `random_state`, inner settings apart."""
        return self.strategy == "permuted"

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
        coupling = to_numpy(self.coupling_)
        # Pairs without weight are not read.
        for pair in zip(*np.nonzero(coupling), strict=True):
            inner = self.inner_[pair[0]][pair[1]]
            layers = (
                as_taken(inner, stack.layers[index], layout.where(index))
                for stack, layout, index in zip(
                    (source, target),
                    (self._source_layout, self._target_layout),
                    pair,
                    strict=True,
                )
            )
            total += coupling[pair] * inner.held_out_cost(*layers)
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
            weights, inner = to_numpy(self.coupling_), self.inner_
        else:
            weights = to_numpy(self.inverse_coupling_).T
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
        inner = self._inner()
        tags.array_api_support = (
            isinstance(inner, BaseEstimator) and get_tags(inner).array_api_support
        )
        if not hasattr(inner, "predict"):
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
        <https://scikit-learn.org/stable/glossary.html#term-n_jobs>`__. skmot's own
        inner estimators run in threads, each pair in one, and the results have the same
        bits however many there are; others run in processes. Both run where
        `joblib.parallel_config` says instead, on a Dask cluster for instance: layers in
        files (memory maps) then travel as references.
    memory : str, path or joblib.Memory, default=None
        A folder in which the fit of each pair is kept, for every fold of `cost_cv` too.
        A pair that was fitted before to the same numbers with the same settings is not
        fitted again: a search over `strategy` fits each pair once a fold, and a fit
        that was interrupted goes on where it was. What draws at random needs an integer
        seed. Of entries that are damaged, and of a folder that can only be read, a
        warning tells; those pairs are fitted again. Changed code of an inner estimator
        that is not skmot's or scikit-learn's is not noticed: empty the folder then.
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

    What matching needs of a layer is made when a pair asks for it and kept up to
    scikit-learn's `working_memory` (in MiB, 1024 by default), so that layers in files
    may be larger than memory: the smaller side stays as far as there is room, and the
    other streams past it.

    Inner estimators that are not skmot's may warn: each warning is repeated once, with
    how often it came. Where the user has them run in threads, whose warnings Python
    does not tell apart, warnings come as they are.

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
        "memory": [str, PathLike, Memory, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        inner=None,
        strategy="transport",
        cost_cv=None,
        n_jobs=None,
        memory=None,
        random_state=None,
    ):
        self.inner = inner
        self.strategy = strategy
        self.cost_cv = cost_cv
        self.n_jobs = n_jobs
        self.memory = memory
        self.random_state = random_state

    def _inner(self):
        return SoftMatching() if self.inner is None else self.inner


def _is_own(inner):
    """Whether everything that is fitted to a pair of layers is skmot's own."""
    if isinstance(inner, LayerCoupler):
        return _is_own(inner._inner())
    return isinstance(inner, PairEstimator)


def _fit_pair(source, target):
    """Fit a new inner estimator to two prepared layers.

    Returns
    -------
    fitted : estimator
        Without the statistics of units, which the caller has.
    """
    inner = clone(source.inner)
    if not isinstance(inner, LayerEstimator):
        return inner.fit(source.made(), target.made())
    inner._fit_prepared(source.made(), target.made())
    if isinstance(inner, PairEstimator):
        inner._drop_statistics()
    return inner


def _fit_and_read_cost(source, target):
    """Fit to training layers and read the cost on held-out ones.

    Returns
    -------
    cost : float
        On the held-out layers.
    shortfalls : list
        As `LayerEstimator._shortfalls` has them.
    """
    fitted = _fit_pair(source.train, target.train)
    _give_statistics_of_pair(fitted, source.train, target.train)
    # Its numbers were checked when the whole layer was read.
    with config_context(assume_finite=True):
        cost = fitted.held_out_cost(source.test.made(), target.test.made())
    # Fold fits are not kept, but what they fell short of is reported.
    shortfalls = fitted._shortfalls() if isinstance(fitted, LayerEstimator) else []
    return cost, shortfalls


def _give_statistics(fitted, sources, targets):
    """Let all pairs of a layer keep one copy of its units' statistics."""
    for row, source in zip(fitted.inner_, sources, strict=True):
        for inner, target in zip(row, targets, strict=True):
            _give_statistics_of_pair(inner, source, target)


def _give_statistics_of_pair(inner, source, target):
    if isinstance(inner, PairEstimator):
        inner._set_statistics(source.statistics, target.statistics)
    elif isinstance(inner, LayerCoupler):
        _give_statistics(inner, source.layers, target.layers)


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
    layer = as_taken(estimator, layer, where)
    if direction == "target":
        return estimator.predict(layer)
    return estimator.inverse_predict(layer)


def _weighted_sum(weighted):
    """Add up weighted layers, or stacks of layers layer by layer."""
    total = None
    for weight, layer in weighted:
        # A Python float: a numpy one would make float32 layers float64.
        part = _map_layers(partial(mul, float(weight)), layer)
        total = part if total is None else _map_layers(add, total, part)
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
    prediction = as_array(prediction)
    if prediction.ndim == 1:
        return namespace_of(prediction).reshape(prediction, (-1, 1))
    return prediction

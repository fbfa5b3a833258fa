"""Multi-level estimators, which couple layers by the costs of an inner estimator."""

import warnings
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from numbers import Integral, Real
from operator import add
from os import PathLike

import numpy as np
from joblib import Memory, effective_n_jobs
from sklearn.base import BaseEstimator
from sklearn.callback import with_callbacks
from sklearn.utils import get_tags

from skmot._scores import as_columns
from skmot._utils.array_api import to_numpy
from skmot._utils.docstrings import shared_docs
from skmot._utils.parallel import run_in_parallel
from skmot._utils.progress import begin_fit, passes_callbacks_on
from skmot._utils.sklearn import HasMethods, Interval, StrOptions
from skmot._utils.warnings import repeat_warnings, stacklevel_of_caller
from skmot.base import LayerEstimator, Solution
from skmot.layers import LayerStack
from skmot.layers.depth import DepthPriorCoupling
from skmot.layers.splits import make_cost_folds
from skmot.multilevel.cache import LayerCache, in_tiles
from skmot.multilevel.coupling import (
    STRATEGIES,
    TRANSPORT_STRATEGIES,
    couple_layers,
)
from skmot.multilevel.inner import ForeignInner, inner_of, open_layers
from skmot.multilevel.store import open_store
from skmot.pairs import RotationMatching, SoftMatching


class LayerCoupler(LayerEstimator):
    """Base class of the estimators that couple layers by inner costs.

    A subclass implements `_inner_estimator` and has the parameters `strategy`,
    `cost_cv`, `n_jobs`, `memory`, `random_state` and `depth_prior`.
    """

    @abstractmethod
    def _inner_estimator(self):
        """Return the unfitted estimator whose clones are fitted to the pairs."""

    def _further_attributes(self, solutions):
        """Return further fitted attributes, given the solutions of all pairs."""
        return {}

    @property
    def _inner(self):
        """Adapter of the inner estimator."""
        estimator = self._inner_estimator()
        if isinstance(estimator, type):
            raise TypeError(
                f"`inner` must be an instance, `{estimator.__name__}()`; got the class."
            )
        return inner_of(estimator)

    @property
    def _is_stochastic(self):
        # The random state of the inner estimator is considered separately.
        return self.strategy == "permuted"

    @property
    def _is_stored(self):
        """Whether solutions of pairs are stored on disk, at any level."""
        return self.memory is not None or self._inner.is_stored

    # -- fitting -------------------------------------------------------------------

    def _fit(self, source, target):
        self._check_settings()
        with closing(LayerCache()) as cache:
            sides = [
                [
                    handle.read(self._is_stored)
                    for handle in open_layers(
                        self._inner, stack, layout.where, cache, side=side
                    )
                ]
                for side, stack, layout in (
                    ("source", source, self._source_layout),
                    ("target", target, self._target_layout),
                )
            ]
            solution, log = self._solve_layers(source, target, *sides)
            self._set_solution(solution, *sides)
        repeat_warnings(log)

    def _check_settings(self):
        """Validate the inner estimator's parameters: its `fit` is not called."""
        inner = self._inner
        inner.check_settings()
        self._check_depth_prior()
        self._open_store()
        if not isinstance(inner, ForeignInner) and hasattr(
            inner.estimator, "_skl_callbacks"
        ):
            raise TypeError(
                f"The {type(inner.estimator).__name__} inside of "
                f"{type(self).__name__} has callbacks, which would not be called. Set "
                "them on the outermost estimator."
            )
        if isinstance(self.cost_cv, Iterator):
            raise ValueError(
                "`cost_cv` is an iterator, which can be read only once. Every fit "
                "reads it: give a list of folds, `list(cv.split(X))`, or a splitter."
            )
        if self.cost_cv is not None and not hasattr(inner.estimator, "held_out_cost"):
            raise TypeError(
                f"{type(inner.estimator).__name__} has no `held_out_cost(X, y)`: its "
                "cost cannot be read on held-out folds. Use `cost_cv=None`."
            )

    def _check_depth_prior(self):
        """Raise an error if there is a depth prior, but no outer problem to add to."""
        if self.depth_prior and self.strategy not in TRANSPORT_STRATEGIES:
            raise ValueError(
                f"strategy={self.strategy!r} solves no outer problem, so "
                f"`depth_prior={self.depth_prior!r}` would change nothing. Use "
                f"`depth_prior=0`, or a strategy of {TRANSPORT_STRATEGIES}."
            )

    @with_callbacks
    def _solve(self, source, target, sources, targets):
        """Solve a pair of networks for a level above, which collects the warnings."""
        solution, log = self._solve_layers(source, target, sources, targets)
        self._callback_fit_ctx.call_on_fit_task_end(estimator=self)
        for category, message, _ in log:
            warnings.warn(message, category, stacklevel=2)
        return solution

    def _solve_layers(self, source, target, sources, targets):
        """Solve every pair of layers, and couple the layers.

        Parameters
        ----------
        source, target : LayerStack
            The two networks, whose stimuli `cost_cv` splits into folds.
        sources, targets : list of LayerHandle
            The layers of both sides.

        Returns
        -------
        solution : Solution
            Solution whose `maps` are the solutions of all pairs, one row per source
            layer.
        log : list
            Warnings of the inner estimator, in the format of `recorded_warnings`.
        """
        inner = self._inner
        folds = []
        if self.cost_cv is not None:
            folds = make_cost_folds(self.cost_cv, source, target)
        n_pairs = len(sources) * len(targets)
        task = begin_fit(self, (1 + len(folds)) * n_pairs, X=source, y=target)
        tasks = task.parts(_name_tasks(sources, targets, len(folds)))
        solutions, log = self._run(
            solve_pair, sources, targets, tasks and tasks[:n_pairs]
        )
        costs = [[inner.cost(pair) for pair in row] for row in solutions]
        issues = []
        if self.cost_cv is not None:
            costs, issues, cv_log = self._cross_validate_costs(
                folds, sources, targets, tasks and tasks[n_pairs:]
            )
            log += cv_log
        costs = np.array(costs)
        self._check_finite(costs, sources, targets)
        for pair in (pair for row in solutions for pair in row):
            issues += inner.issues(pair)
        cost, attributes, outer_issues = self._couple(costs)
        solution = Solution(
            cost=cost,
            maps=solutions,
            attributes={
                "layer_costs_": costs,
                **attributes,
                **self._further_attributes(solutions),
                "_pair_issues": issues,
            },
            converged=outer_issues + issues,
        )
        return solution, log

    def _couple(self, costs):
        """Couple the layers by the costs of their pairs.

        Parameters
        ----------
        costs : ndarray of shape (n_source_layers, n_target_layers)
            Finite cost of each pair of layers.

        Returns
        -------
        cost : float
            Cost of the pair of networks.
        attributes : dict
            Further fitted attributes that depend on the coupling.
        issues : list
            Convergence issues of the outer problem.
        """
        coupling = couple_layers(
            costs, self.strategy, self.random_state, self.depth_prior
        )
        # Marked, so that `hierarchy_score` can tell a coupling with a prior.
        kind = DepthPriorCoupling if self.depth_prior else np.asarray
        attributes = {
            "coupling_": kind(coupling.target),
            "inverse_coupling_": kind(coupling.source),
            "duality_gap_": coupling.duality_gap,
        }
        issues = []
        if not coupling.converged:
            issues.append(("duality gap", coupling.duality_gap))
        return float((coupling.target * costs).sum()), attributes, issues

    def _fit_again(self, fitted):
        """Fit to the data of another fit by coupling the layers again.

        No pair of layers is solved. The fitted attributes are the same as those of
        `fit`, and the inner estimators are shared by both fits.

        Parameters
        ----------
        fitted : LayerCoupler
            Fitted estimator of the same class. Its parameters may only differ in
            `strategy`, `depth_prior`, `n_jobs`, `memory`, and in a `random_state` that
            no pair of layers depends on.

        Returns
        -------
        self : LayerCoupler
            Fitted estimator.
        """
        self._validate_params()
        self._check_depth_prior()
        parameters = self.get_params(deep=False)
        for name, value in vars(fitted).items():
            if name not in parameters:
                setattr(self, name, value)
        cost, attributes, issues = self._couple(to_numpy(self.layer_costs_))
        self._set_coupling(cost, attributes, issues + self._pair_issues)
        self._move_learned_to(self._device_reference)
        self._report()
        return self

    def _cross_validate_costs(self, folds, sources, targets, tasks):
        """Compute each pair's cost on held-out folds of the training stimuli.

        Parameters
        ----------
        folds : list of pairs of ndarray of int
            Indices of the training rows and of the held-out rows of each fold.
        sources, targets : list of LayerHandle
            The layers of both sides.
        tasks : list of Task or None
            Task of each pair in each fold, for callbacks.

        Returns
        -------
        costs : ndarray of shape (n_source_layers, n_target_layers)
            Held-out cost of each pair, averaged over the folds.
        issues : list
            Convergence issues of all fits.
        log : list
            Warnings of the inner estimator, in the format of `recorded_warnings`.
        """
        total, issues, log = np.zeros((len(sources), len(targets))), [], []
        for number, rows in enumerate(folds):
            sides = [
                [layer.fold(*rows) for layer in side] for side in (sources, targets)
            ]
            start = number * total.size
            results, fold_log = self._run(
                cost_of_fold, *sides, tasks and tasks[start : start + total.size]
            )
            total += [[cost for cost, _ in row] for row in results]
            issues += [issue for row in results for _, pair in row for issue in pair]
            log += fold_log
        return total / len(folds), issues, log

    def _run(self, function, sources, targets, tasks):
        """Call a function on every pair of layers, unless its result is stored on disk.

        Parameters
        ----------
        function : {solve_pair, cost_of_fold}
            Function of a source layer and a target layer.
        sources, targets : list of LayerHandle or list of Fold
            The layers of both sides.
        tasks : list of Task or None
            Task of each pair for callbacks, row by row. None without callbacks.

        Returns
        -------
        results : list of list
            Return value for each pair, one row per source layer.
        log : list
            Warnings of all pairs, in the same order.
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
        if tasks is not None:
            tasks = dict(zip(np.ndindex(results.shape), tasks, strict=True))
            for pair, task in tasks.items():
                if results[pair] is not None:
                    task.begin()
                    task.end()
        missing = [
            pair
            for pair in in_tiles(
                [layer.prepared_bytes for layer in sources],
                [layer.prepared_bytes for layer in targets],
                sources[0].cache.limit,
                effective_n_jobs(self.n_jobs),
            )
            if results[pair] is None
        ]
        # A worker gets the task only if the inner estimator has parts to tell of.
        is_sent = self._inner.reports_itself and passes_callbacks_on(self)
        found = run_in_parallel(
            function,
            (
                (
                    sources[row],
                    targets[column],
                    tasks[row, column].context if is_sent else None,
                )
                for row, column in missing
            ),
            self.n_jobs,
            in_threads=self._inner.runs_in_threads,
            at_once=self.memory is not None,
            tasks=(
                None if tasks is None or is_sent else [tasks[pair] for pair in missing]
            ),
        )
        # If an error occurs here, `closing` also ends the calls that are still running.
        with closing(found):
            for index, *result in found:
                pair = missing[index]
                store.keep(keys[pair], result)
                results[pair] = result
        log = store.log + [entry for _, part in results.flat for entry in part]
        return [[result for result, _ in row] for row in results], log

    def _open_store(self):
        return open_store(self.memory, self._inner_estimator())

    def _check_finite(self, costs, sources, targets):
        if not np.isfinite(costs).all():
            row, column = (int(index) for index in np.argwhere(~np.isfinite(costs))[0])
            raise ValueError(
                f"{type(self._inner_estimator()).__name__} learned a `cost_` of "
                f"{costs[row, column]} for {sources[row].where} and "
                f"{targets[column].where}: layer costs must be finite."
            )

    def _set_solution(self, solution, sources, targets):
        """Set the fitted attributes from the solution for the layers of both sides."""
        inner = self._inner
        self.inner_ = [
            [
                inner.fitted(pair, source, target)
                for pair, target in zip(row, targets, strict=True)
            ]
            for row, source in zip(solution.maps, sources, strict=True)
        ]
        self.dead_source_units_, self.dead_target_units_ = (
            [inner.dead_units(layer.facts) for layer in side]
            for side in (sources, targets)
        )
        self._set_coupling(solution.cost, solution.attributes, solution.converged)

    def _set_coupling(self, cost, attributes, issues):
        """Set the cost, further fitted attributes, and the convergence issues."""
        self.cost_ = cost
        self._convergence_issues = issues
        for name, value in attributes.items():
            setattr(self, name, value)

    def _set_solution_of_networks(self, solution, source, target, sources, targets):
        """Set the fitted attributes and the layouts, as the inner estimator of a level.

        Parameters
        ----------
        solution : Solution
            Solution of the two networks.
        source, target : LayerHandle
            The two networks, each of which is one layer of the level above.
        sources, targets : list of LayerHandle
            The layers of the two networks.
        """
        self._set_layouts(
            source.facts.layout, replace(target.facts.layout, argument="y")
        )
        self._set_solution(solution, sources, targets)

    # -- costs on other stimuli ----------------------------------------------------

    def held_out_layer_costs(self, X, y):
        """Compute the cost of every pair of layers on held-out stimuli.

        The attribute `layer_costs_` is computed on the training stimuli unless
        `cost_cv` is given. These costs use the same fits on other stimuli.

        Parameters
        ----------
        X, y : LayerStack, list, dict, DataFrame or array-like
            Source and target layers over the same, preferably held-out, stimuli.

        Returns
        -------
        costs : ndarray of shape (n_source_layers, n_target_layers)
            Costs in the units of `layer_costs_`. The method `held_out_cost` returns
            ``(coupling_ * costs).sum()``.

        Raises
        ------
        NotFittedError, ValueError
            Same as in :meth:`held_out_cost`.

        See Also
        --------
        skmot.inspection.coupling_table : Table of these costs, with names of layers.
        """
        source, target = self._check_both(X, y, "held_out_layer_costs")
        with self._held_out(source, target) as (sources, targets):
            inner, pairs = self._inner, self.inner_
            return np.array(
                [
                    [
                        inner.held_out_cost(pairs[row][column], layer, other)
                        for column, other in enumerate(targets)
                    ]
                    for row, layer in enumerate(sources)
                ]
            )

    def _cost_on(self, source, target):
        with self._held_out(source, target) as sides:
            return self._coupled_cost(*sides)

    @contextmanager
    def _held_out(self, source, target):
        """Provide the handles of the layers of both sides on other stimuli."""
        with closing(LayerCache()) as cache:
            yield (
                self._open(source, "source", cache, "held_out"),
                self._open(target, "target", cache, "held_out"),
            )

    def _coupled_cost(self, sources, targets):
        """Return <coupling, costs> on other stimuli, skipping pairs of weight zero."""
        inner, coupling = self._inner, to_numpy(self.coupling_)
        return sum(
            coupling[row, column]
            * inner.held_out_cost(
                self.inner_[row][column], sources[row], targets[column]
            )
            for row, column in zip(*np.nonzero(coupling), strict=True)
        )

    def _open(self, stack, side, cache, purpose):
        """Create the handles of the layers of one side at other stimuli."""
        if side == "source":
            layout, fitted = self._source_layout, [row[0] for row in self.inner_]
        else:
            layout, fitted = self._target_layout, self.inner_[0]
        inner = self._inner
        return open_layers(
            inner,
            stack,
            layout.where,
            cache,
            facts=[inner.facts_of(pair, side) for pair in fitted],
            purpose=purpose,
            is_checked=False,
        )

    # -- reconstructing ------------------------------------------------------------

    @contextmanager
    def _opened(self, direction, stack):
        """Provide the handles of the layers that one side is reconstructed from."""
        side = "source" if direction == "target" else "target"
        with closing(LayerCache()) as cache:
            yield self._open(stack, side, cache, "map")

    def _reconstruct(self, direction, stack):
        with self._opened(direction, stack) as handles:
            yield from self._reconstruct_from(direction, handles)

    def _reconstruct_from(self, direction, handles):
        """Yield the layers of one side, given the handles of the other side's layers.

        Yhat_m = sum_l (M P_lm) Yhat_lm, where Yhat_lm is the reconstruction of target
        layer m from source layer l alone.
        """
        weights = to_numpy(
            self.coupling_ if direction == "target" else self.inverse_coupling_.T
        )
        # Rows are the layers given, columns the layers reconstructed. The weights of
        # each column sum to one.
        weights = weights * weights.shape[1]
        for column in range(weights.shape[1]):
            rows = np.flatnonzero(weights[:, column])
            yield weighted_sum(
                weights[rows, column],
                self._predict_layer(direction, handles, rows, column),
            )

    def _predict_layer(self, direction, handles, rows, column):
        """Yield the reconstruction of layer `column` from each of the layers `rows`."""
        inner = self._inner
        for row in rows:
            fitted = (
                self.inner_[row][column]
                if direction == "target"
                else self.inner_[column][row]
            )
            yield inner.predict(fitted, direction, handles[row])

    def _why_no_map(self, method):
        reason = self._inner.why_no_map(method)
        if reason is None:
            return None
        side = "target" if method == "predict" else "source"
        return (
            f"{reason}, so {type(self).__name__} above it cannot reconstruct the "
            f"{side} either."
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = self._inner_estimator()
        tags.array_api_support = (
            isinstance(inner, BaseEstimator) and get_tags(inner).array_api_support
        )
        return tags


def _name_tasks(sources, targets, n_folds):
    """Yield the name of the task of each pair, first for all stimuli, then by fold."""
    for fold in range(-1, n_folds):
        prefix = "" if fold < 0 else f"fold {fold} of cost_cv: "
        for source in sources:
            for target in targets:
                yield f"{prefix}{source.where}; {target.where}"


def solve_pair(source, target, context):
    """Solve a pair of layers, given by their handles."""
    return _unless_files_changed(
        source.inner.solve(source, target, context), source, target
    )


def cost_of_fold(source, target, context):
    """Return the held-out cost and convergence issues of a pair of layers in a fold."""
    return _unless_files_changed(
        source.train.inner.cost_of_fold(source, target, context), source, target
    )


def _unless_files_changed(result, source, target):
    """Return a result, or raise an error: it may be stored by the digests of before."""
    source.check_files()
    target.check_files()
    return result


def weighted_sum(weights, layers):
    """Return the weighted sum of layers; stacks are summed array by array."""
    total = None
    for weight, layer in zip(weights, layers, strict=True):
        # A numpy float would turn float32 layers into float64.
        weight = float(weight)
        if not isinstance(layer, LayerStack):
            part = weight * as_columns(layer)
            total = part if total is None else total + part
            continue
        part = layer.map(lambda array, weight=weight: weight * as_columns(array))
        total = (
            part if total is None else total.map(add, [a for a, *_ in part.leaves()])
        )
    return total


@shared_docs
class MultiLevelOT(LayerCoupler):
    """Multi-level optimal transport (MOT) between two networks.

    An inner estimator is fitted to every pair of layers. Its costs C define the layer
    coupling P, the transport plan in T(L, M) with the least cost <P, C> ([1]_, section
    2.2). Each layer is reconstructed from all layers of the other network, weighted in
    proportion to P.

    Parameters
    ----------
    inner : estimator, default=None
        Inner estimator that is cloned and fitted to each pair of layers. It can be any
        estimator with `fit(X, y)` and a fitted attribute `cost_`. A `MultiLevelOT` adds
        one more level, for stacks of stacks. None uses `SoftMatching()`; parameter
        searches over `inner__...` need an explicit estimator.
    strategy : {"transport", "single_best", "pairwise_best", "permuted", \
"uniform"}, default="transport"
        Layers of the other network that a layer is reconstructed from.

        - "transport": all layers, weighted by the plan P.
        - "single_best": only the layer of largest weight in P. Exact ties go to the
          smaller cost, then to the lower index.
        - "pairwise_best": only the layer of least cost. No outer problem is solved, as
          in analyses without MOT.
        - "permuted": all layers, weighted by P with its rows permuted at random
          (Perm-P). The unit plans are unchanged. This is a control.
        - "uniform": all layers alike, in plain averages. The unit plans are unchanged,
          and no outer problem is solved. This is a control, too: `cost_` is the mean of
          the layer costs, and a score that is no higher than that of this strategy is
          no evidence that layers correspond.
    cost_cv : int, cross-validation splitter or iterable, default=None
        Stimuli on which the layer costs are computed. With None, costs are computed on
        the training stimuli, as in the paper. The plans minimise the cost on these
        stimuli, so with few stimuli wide layers have low costs because of their width
        alone. Otherwise, `cost_cv` splits the training stimuli as `cv` in scikit-learn,
        and costs are averages over the held-out folds. The plans are still fitted to
        all training stimuli. Rows with equal stimulus labels are repeats, and stay
        together: an int then means
        :class:`~skmot.model_selection.StimulusKFold`, and folds that separate them
        are a ValueError, as are folds with a row both in training and held out.
    n_jobs : int, default=None
        Number of pairs fitted in parallel, see the `scikit-learn glossary
        <https://scikit-learn.org/stable/glossary.html#term-n_jobs>`__. Built-in inner
        estimators run in threads, with one thread per pair, and results are the same to
        the last bit for any number of jobs. Other estimators run in processes.
        `joblib.parallel_config` can select another backend, for instance a Dask
        cluster. Memory-mapped layers are then sent as references to their files.
    memory : str, path or joblib.Memory, default=None
        Folder in which the fits of all pairs are stored, including those for `cost_cv`.
        A pair that was fitted before to the same data with the same parameters is
        loaded instead of fitted: a search over `strategy` fits each pair once per
        fold, and an interrupted fit continues where it stopped. Randomised inner
        estimators need an integer `random_state`. Damaged entries and read-only
        folders raise a warning, and their pairs are fitted again. New versions of skmot
        and scikit-learn are detected, but changes to the code of other inner estimators
        are not: empty the folder after such a change. The entries are pickles: trust
        the folder like code.
    random_state : int, RandomState instance or None, default=None
        Controls the permutation for `strategy="permuted"`. Pass an int for reproducible
        output across multiple function calls.
    depth_prior : float, default=0.0
        Weight w >= 0 of a prior that layers of equal relative depth correspond. The
        outer problem then has the costs ``C + w (max C - min C) |u_l - v_m|``, with the
        depths u and v of :func:`skmot.metrics.hierarchy_score`: at w = 1, being at the
        other end of the network costs as much as the whole range of the layer costs.
        `cost_`, `layer_costs_` and `held_out_cost` leave the prior out. 0 is the paper.
        "pairwise_best" and "uniform" solve no outer problem, and raise an error if
        there is a prior. See Notes.

    Attributes
    ----------
    coupling_ : ndarray of shape (n_source_layers, n_target_layers)
        Weights in the reconstruction of the target layers. Each column sums to
        1 / n_target_layers. A :class:`skmot.metrics.DepthPriorCoupling` if there is a
        depth prior, like `inverse_coupling_`.
    inverse_coupling_ : ndarray of shape (n_source_layers, n_target_layers)
        Weights in the reconstruction of the source layers. Each row sums to
        1 / n_source_layers. Equal to `coupling_` for "transport", "permuted" and
        "uniform".
    layer_costs_ : ndarray of shape (n_source_layers, n_target_layers)
        Layer costs C: the inner `cost_` of each pair, or its mean over held-out folds.
    cost_ : float
        Cost ``<coupling_, C>`` of the pair of networks. Lower means more alike.
    inner_ : list of list of estimators
        Fitted inner estimators: `inner_[l][m]` is fitted to source layer l and target
        layer m. Built-in estimators store plans and statistics of units, but no
        activations.
    duality_gap_ : float
        Upper bound on how much <P, C> exceeds the optimum of the outer problem, where C
        includes the depth prior. It is 0 for "pairwise_best" and "uniform", which do
        not solve an outer problem.
    <<level attributes>>

    See Also
    --------
    SoftMatching : The default inner estimator.
    skmot.metrics.hierarchy_score : Measures whether the coupling follows depth.

    Notes
    -----
    `score` evaluates the reconstruction of the target and `inverse_score` that of the
    source, which is the one that the paper reports. The two scores differ. For
    "single_best" and "pairwise_best" they even use different pairs of layers.

    A score rewards averaging over several noisy layers, whether or not they correspond,
    and "uniform" averages most. `held_out_cost` does not reward it: it is a mean over
    matched pairs of layers. Parameters that say which layers correspond are therefore
    chosen by the cost (:func:`skmot.metrics.negative_cost`), and those of a prediction
    by the score. The cost does not decide between "pairwise_best", which may match all
    layers to a single one, and "transport", which has to use every layer alike.

    `depth_prior` is the extension that the paper names as future work ([1]_,
    discussion). It is linear in P, so the plan is still exact. It brings knowledge from
    outside the data, and helps only if that knowledge is right: a prior for the wrong
    order lowers the mass on true pairs (see the user guide for simulations). The
    hierarchy score of a coupling with a prior is circular, and
    :func:`skmot.metrics.hierarchy_score` warns.
    :func:`skmot.model_selection.hierarchy_test` is not affected, because it reads the
    layer costs. Ties of "single_best" go to the smaller cost including the prior. If
    one pair of layers has a far larger cost than all others, it sets the unit of w.

    Each layer is prepared when a pair needs it. Prepared layers are cached up to
    scikit-learn's `working_memory` (in MiB, 1024 by default), so memory-mapped layers
    may be larger than memory. As many layers of the smaller network as possible stay in
    the cache, while the layers of the larger network are read one after the other.

    Callbacks of scikit-learn follow a fit: ``set_callbacks(ProgressBar())`` shows how
    many pairs of layers are done, those for `cost_cv` and those found in `memory`
    included. Set them on the outermost estimator.

    Each warning of an inner estimator that is not built in is shown once, with the
    number of times that it occurred. If such an estimator runs in threads, its warnings
    are shown as they occur, because Python cannot separate the warnings of threads.

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
        "depth_prior": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        inner=None,
        strategy="transport",
        cost_cv=None,
        n_jobs=None,
        memory=None,
        random_state=None,
        depth_prior=0.0,
    ):
        self.inner = inner
        self.strategy = strategy
        self.cost_cv = cost_cv
        self.n_jobs = n_jobs
        self.memory = memory
        self.random_state = random_state
        self.depth_prior = depth_prior

    def set_params(self, **params):
        """Set the parameters of this estimator, and of its inner estimator.

        Parameters
        ----------
        **params : dict
            Parameters; `inner__<name>` are those of the inner estimator.

        Returns
        -------
        self : estimator
            The estimator itself.

        Raises
        ------
        ValueError
            If a parameter does not exist, or belongs to an inner estimator that is
            None.
        """
        nested = [name for name in params if name.startswith("inner__")]
        if nested and params.get("inner", self.inner) is None:
            raise ValueError(
                f"{nested[0]!r} cannot be set, because `inner` is None. Give the inner "
                "estimator to set or search its parameters: "
                "`MultiLevelOT(SoftMatching())`."
            )
        return super().set_params(**params)

    def _inner_estimator(self):
        return SoftMatching() if self.inner is None else self.inner

    def _fit(self, source, target):
        super()._fit(source, target)
        self._warn_about_pooled_layers()

    def _warn_about_pooled_layers(self):
        """Warn if layers have layers, and no `inner` says what to do with these."""
        if self.inner is not None:
            return
        for layout in (self._source_layout, self._target_layout):
            for index, part in enumerate(layout.structure[1]):
                if isinstance(part, tuple) and len(part[1]) > 1:
                    warnings.warn(
                        f"{layout.where(index)} has {len(part[1])} layers itself, "
                        "which are compared as one population, side by side. For a "
                        "level of their own use `MultiLevelOT(MultiLevelOT())`; if one "
                        "population is meant, `MultiLevelOT(SoftMatching())`.",
                        UserWarning,
                        stacklevel=stacklevel_of_caller(),
                    )
                    return


@shared_docs
class MultiLevelOTRotation(LayerCoupler):
    """Multi-level optimal transport with a rotation per layer pair (MOT+R).

    Same as :class:`skmot.MultiLevelOT`, except that the source layer of each pair is
    rotated before the units are matched ([1]_, section 2.3). The rotation is optimised
    together with the unit coupling, so layers can match even if they represent the same
    information in different bases. Layer costs are reconstruction errors of the source.

    Parameters
    ----------
    metric, max_iter, tol, n_init : {"correlation", "sqeuclidean"}, int, float, int
        Parameters of the matching of each pair, see :class:`skmot.RotationMatching`.
    strategy : {"transport", "single_best", "pairwise_best", "permuted", \
"uniform"}, default="transport"
        Layers of the other network that a layer is reconstructed from, see
        :class:`skmot.MultiLevelOT`.
    cost_cv : int, cross-validation splitter or iterable, default=None
        Stimuli on which the layer costs are computed, see :class:`skmot.MultiLevelOT`.
    n_jobs : int, default=None
        Number of pairs fitted in parallel, see :class:`skmot.MultiLevelOT`.
    memory : str, path or joblib.Memory, default=None
        Folder in which the fits of all pairs are stored, see
        :class:`skmot.MultiLevelOT`. The entries are pickles: trust the folder like
        code.
    random_state : int, RandomState instance or None, default=None
        Controls the random initial rotations, and the permutation for
        `strategy="permuted"`. Pass an int for reproducible output across multiple
        function calls.
    depth_prior : float, default=0.0
        Weight of a prior that layers of equal relative depth correspond, see
        :class:`skmot.MultiLevelOT`.

    Attributes
    ----------
    coupling_, inverse_coupling_, layer_costs_ : ndarray of shape \
(n_source_layers, n_target_layers)
        Same as in :class:`skmot.MultiLevelOT`. Layer costs are reconstruction errors
        per entry of the source layer.
    cost_ : float
        Cost ``<coupling_, C>`` of the pair of networks. Lower means more alike.
    inner_ : list of list of RotationMatching
        Fitted inner estimators: `inner_[l][m]` is fitted to source layer l and target
        layer m.
    n_iter_ : ndarray of int of shape (n_source_layers, n_target_layers)
        Number of iterations for each pair.
    duality_gap_ : float
        Upper bound on how much <P, C> exceeds the optimum of the outer problem, where C
        includes the depth prior.
    <<level attributes>>

    See Also
    --------
    RotationMatching : The inner estimator.
    MultiLevelOT : Multi-level OT without rotations, or with another inner estimator.

    Notes
    -----
    The paper reports `inverse_score`: rotations act on the source and are fitted to
    reconstruct it. Swapping source and target gives a different fit.

    ``metric="sqeuclidean"`` is the fast choice for source layers that are wider than
    the target layers: an iteration takes 0.5 to 0.7 of the time, and held-out scores
    differed by less than .001 in all cases that were measured.

    References
    ----------
    .. [1] Representational alignment across model layers and brain regions with
       multi-level optimal transport.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import ortho_group
    >>> from skmot import MultiLevelOTRotation
    >>> rng = np.random.default_rng(0)
    >>> target = [rng.normal(size=(200, 6)) for _ in range(3)]
    >>> source = [y @ ortho_group.rvs(6, random_state=0) for y in target[::-1]]
    >>> mot = MultiLevelOTRotation().fit(source, target)
    >>> mot.coupling_.round(2)
    array([[0.  , 0.  , 0.33],
           [0.  , 0.33, 0.  ],
           [0.33, 0.  , 0.  ]])
    """

    _parameter_constraints = {
        **RotationMatching._parameter_constraints,
        "strategy": [StrOptions(set(STRATEGIES))],
        "cost_cv": ["cv_object"],
        "n_jobs": [Integral, None],
        "memory": [str, PathLike, Memory, None],
        "depth_prior": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        metric="correlation",
        max_iter=50,
        tol=1e-4,
        n_init=1,
        strategy="transport",
        cost_cv=None,
        n_jobs=None,
        memory=None,
        random_state=None,
        depth_prior=0.0,
    ):
        self.metric = metric
        self.max_iter = max_iter
        self.tol = tol
        self.n_init = n_init
        self.strategy = strategy
        self.cost_cv = cost_cv
        self.n_jobs = n_jobs
        self.memory = memory
        self.random_state = random_state
        self.depth_prior = depth_prior

    def _inner_estimator(self):
        return RotationMatching(
            metric=self.metric,
            max_iter=self.max_iter,
            tol=self.tol,
            n_init=self.n_init,
            random_state=self.random_state,
        )

    @property
    def _is_stochastic(self):
        # `random_state` also controls the rotations.
        return super()._is_stochastic or self._inner_estimator()._is_stochastic

    def _further_attributes(self, solutions):
        n_iter = [[pair.attributes["n_iter_"] for pair in row] for row in solutions]
        return {"n_iter_": np.array(n_iter)}

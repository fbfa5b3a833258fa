"""Matrix of the costs between many networks."""

from collections.abc import Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import combinations, permutations

import numpy as np
from joblib import effective_n_jobs
from numpy.lib.mixins import NDArrayOperatorsMixin
from sklearn.base import clone
from sklearn.utils import get_tags
from sklearn.utils.validation import validate_data

from skmot._scores import unwrap
from skmot._utils.array_api import check_numpy, on_same_device
from skmot._utils.frames import import_pandas
from skmot._utils.parallel import run_in_order
from skmot._utils.progress import function_task
from skmot._utils.warnings import recorded_warnings, repeat_warnings
from skmot.layers import LayerStack
from skmot.layers.checks import check_same_length
from skmot.layers.labels import check_same_stimuli, warn_about_row_numbers
from skmot.layers.layout import Layout
from skmot.layers.sides import (
    check_both_single_or_layered,
    read_side,
    seen_by_sklearn,
)
from skmot.layers.stack import device_of_layers
from skmot.multilevel.cache import LayerCache, in_tiles
from skmot.multilevel.estimators import LayerCoupler
from skmot.multilevel.inner import ForeignInner, LayerHandle, inner_of

# Symmetric costs in float32 differ by less between both orders of two networks.
_ROUNDING = 1e-5


class PairwiseCosts(NDArrayOperatorsMixin):
    """Costs of all pairs of networks, returned by :func:`pairwise_costs`.

    It can be indexed, computed with, plotted, and given to numpy and scikit-learn like
    the array of its costs. Results are numpy arrays.

    Attributes
    ----------
    costs : ndarray of shape (n_networks, n_networks)
        `costs[i, j]` is the cost with network i as the source and network j as the
        target.
    names : list
        Names of the networks, or their indices if they have no names.
    estimator : estimator
        Unfitted clone of the estimator.
    shape, ndim, dtype, T : tuple, int, dtype, ndarray
        Those of `costs`.

    See Also
    --------
    pairwise_costs : Function that computes the costs.
    """

    def __init__(self, costs, names, estimator):
        self.costs = costs
        self.names = names
        self.estimator = estimator

    def __repr__(self):
        return f"{type(self).__name__}({len(self)} networks, {self.estimator!r})"

    def to_frame(self):
        """Return the costs as a table with the names of the networks.

        ``costs.to_frame().stack().rename("cost").reset_index()`` is the same with one
        row for each pair.

        Returns
        -------
        frame : pandas.DataFrame
            Table with one row for each source and one column for each target.

        Raises
        ------
        ImportError
            If pandas is not installed: ``pip install 'skmot[data]'``.
        """
        pd = import_pandas()
        return pd.DataFrame(
            self.costs,
            index=pd.Index(self.names, name="source", tupleize_cols=False),
            columns=pd.Index(self.names, name="target", tupleize_cols=False),
        )

    @property
    def shape(self):
        return self.costs.shape

    @property
    def ndim(self):
        return self.costs.ndim

    @property
    def dtype(self):
        return self.costs.dtype

    @property
    def T(self):
        return self.costs.T

    def __len__(self):
        return len(self.costs)

    def __iter__(self):
        return iter(self.costs)

    def __getitem__(self, key):
        return self.costs[key]

    def __array__(self, dtype=None, copy=None):
        return np.array(self.costs, dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        if out is not None:
            if any(isinstance(array, PairwiseCosts) for array in out):
                # Results are arrays: `costs = costs + 1` works, `costs += 1` does not.
                return NotImplemented
            kwargs["out"] = out
        inputs = [
            given.costs if isinstance(given, PairwiseCosts) else given
            for given in inputs
        ]
        return getattr(ufunc, method)(*inputs, **kwargs)


def pairwise_costs(
    networks, estimator, *, symmetric=False, n_jobs=None, callbacks=None
):
    """Compute the cost of every pair of networks.

    Parameters
    ----------
    networks : dict or sequence of networks
        Networks over the same stimuli, each a LayerStack, list, dict, DataFrame or
        array-like.
    estimator : estimator
        Estimator with `fit(X, y)` and the attribute `cost_`, or a pipeline or search
        that ends in one. It is cloned and fitted once for each pair. For the estimators
        of skmot, and those derived from :mod:`skmot.base`, each network is prepared
        once for all of its pairs.
    symmetric : bool, default=False
        Whether to fit each pair in one order only. Use True if the cost is symmetric:
        transport (the strategy "transport" without rotation), Procrustes, RSA and CKA.
        Costs of rotations, regressions, semi-matching and the strategy "pairwise_best"
        depend on the order and need False.
    n_jobs : int, default=None
        Number of pairs to fit in parallel, see the `scikit-learn glossary
        <https://scikit-learn.org/stable/glossary.html#term-n_jobs>`__. Estimators of
        skmot run in threads, with one thread of linear algebra per pair, and costs are
        the same to the last bit for any number of jobs.
    callbacks : callback or list of callbacks, default=None
        Callbacks of scikit-learn that follow the progress, one task for each pair:
        for instance :class:`sklearn.callback.ProgressBar`, which needs
        ``pip install 'skmot[progress]'``.

    Returns
    -------
    costs : PairwiseCosts of shape (n_networks, n_networks)
        `costs[i, j]` is the cost with network i as the source and network j as the
        target. The diagonal is also computed: the cost of a network with itself is not
        always 0, for example for regressions. numpy functions take the result as an
        array.

    Raises
    ------
    ValueError
        If there are fewer than two networks, `symmetric` is True and the costs of the
        first two networks depend on their order, the stimuli of networks differ, one is
        a single array and another one has several layers, or a pair cannot be fitted.
        Errors of fits name the pair.
    TypeError
        If the fitted estimator has no `cost_`.

    Warns
    -----
    Warning
        Each warning of the fits is raised once, with the first pair that caused it and
        the number of times it occurred.

    Notes
    -----
    The costs are the `layer_costs_` of a :class:`skmot.MultiLevelOT` above the
    estimator, fitted to the networks as the layers of both sides. Prepared networks are
    cached up to scikit-learn's `working_memory`, so that many networks, or
    memory-mapped ones, may be larger than memory. Other estimators, and pipelines, get
    the networks as they were given.

    If `estimator` is a `SoftMatching` with correlation distance, and each network is a
    single population, sqrt(2 cost) is a metric. It is the soft matching distance of
    units scaled to norm 1, and can be used for multidimensional scaling and clustering.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import SoftMatching
    >>> from skmot.metrics import pairwise_costs
    >>> rng = np.random.default_rng(0)
    >>> a = rng.normal(size=(100, 5))
    >>> networks = {"a": a, "a again": a[:, ::-1], "b": rng.normal(size=(100, 8))}
    >>> costs = pairwise_costs(networks, SoftMatching())
    >>> costs
    PairwiseCosts(3 networks, SoftMatching())
    >>> np.sqrt(2 * costs).round(1)
    array([[0. , 0. , 1.3],
           [0. , 0. , 1.3],
           [1.3, 1.3, 0. ]])
    """
    if isinstance(networks, Mapping):
        names, networks = list(networks), list(networks.values())
    else:
        networks = list(networks)
        names = list(range(len(networks)))
    n_networks = len(networks)
    if n_networks < 2:
        raise ValueError(f"At least two networks are needed; got {n_networks}.")
    off_diagonal = combinations if symmetric else permutations
    pairs = [(i, i) for i in range(n_networks)]
    pairs += list(off_diagonal(range(n_networks), 2))
    if symmetric:
        # One pair in both orders shows whether the order matters.
        pairs.append((1, 0))
    places = [f"source {names[i]!r}, target {names[j]!r}" for i, j in pairs]
    sides = None
    if not _has_own_fit(estimator):
        sides = _read_sides(networks, names, estimator)
    with function_task("pairwise_costs", callbacks, len(pairs)) as task:
        if sides is None:
            found, log = _fit_pairs(estimator, networks, pairs, places, n_jobs, task)
        else:
            found, log = _solve_pairs(estimator, sides, pairs, places, n_jobs, task)
    # repeat_warnings, pairwise_costs, the caller.
    repeat_warnings(log, stacklevel=3)
    costs = np.full((n_networks, n_networks), np.nan)
    for (i, j), cost in zip(pairs, found, strict=True):
        costs[i, j] = cost
    if symmetric:
        if not np.isclose(costs[0, 1], costs[1, 0], rtol=_ROUNDING, atol=_ROUNDING):
            raise ValueError(
                f"The costs of {type(estimator).__name__} depend on the order of two "
                f"networks, or on chance: {costs[0, 1]:.6g} with {names[0]!r} as the "
                f"source and {names[1]!r} as the target, and {costs[1, 0]:.6g} the "
                "other way round. Use `symmetric=False`."
            )
        lower = np.tril_indices(n_networks, -1)
        costs[lower] = costs.T[lower]
    return PairwiseCosts(costs, names, clone(estimator))


# -- estimators of skmot: each network is prepared once --------------------------------


@dataclass(frozen=True)
class _Side:
    """A network as the source or the target of its pairs.

    Attributes
    ----------
    stack : LayerStack
        Layers of the network.
    layout : Layout
        Layout of the network, whose `argument` names it in error messages.
    """

    stack: LayerStack
    layout: Layout

    @property
    def as_layer(self):
        """Stack with the network as its only layer."""
        return self.stack if self.layout.is_single_array else LayerStack([self.stack])


def _has_own_fit(estimator):
    """Whether a fit does more than to prepare both sides and to solve the pair."""
    return (
        isinstance(inner_of(estimator), ForeignInner)
        or type(estimator).fit is not LayerCoupler.fit
        # Only a fit calls the callbacks of an estimator.
        or hasattr(estimator, "_skl_callbacks")
    )


def _read_sides(networks, names, estimator):
    """Read the networks and check them as a fit does.

    Returns None if the networks are on several devices, because a fit moves the target
    to that of the source.
    """
    sides = []
    for name, network in zip(names, networks, strict=True):
        stack, layout = read_side(network, f"networks[{name!r}]", allow_vector=False)
        validate_data(
            clone(estimator),
            seen_by_sklearn(network, stack, layout),
            skip_check_array=True,
        )
        sides.append(_Side(stack, layout))
    references = [device_of_layers(side.stack) for side in sides]
    if not all(on_same_device(references[0], other) for other in references):
        return None
    if not get_tags(estimator).array_api_support:
        what = f"{type(estimator).__name__}, with the settings it has,"
        check_numpy(references[0], what)
    for first, second in combinations(sides, 2):
        wheres = first.layout.argument, second.layout.argument
        check_same_length(first.stack, second.stack, *wheres)
        check_same_stimuli(first.stack.stimuli, second.stack.stimuli, *wheres)
        check_both_single_or_layered(first.layout, second.layout)
    return sides


def _solve_pairs(estimator, sides, pairs, places, n_jobs, task):
    """Prepare each network once and solve all pairs.

    Returns
    -------
    costs : list of float
        Cost of each pair.
    log : list
        Warnings of the fits.
    """
    inner = inner_of(estimator)
    inner.check_settings()
    place_of = dict(zip(pairs, places, strict=True))
    with closing(LayerCache()) as cache:
        handles = [
            LayerHandle(inner, side.as_layer, side.layout.argument, cache)
            for side in sides
        ]
        for handle in handles:
            handle.read(inner.is_stored)
        sizes = [handle.prepared_bytes for handle in handles]
        order = [
            pair
            for pair in in_tiles(sizes, sizes, cache.limit, effective_n_jobs(n_jobs))
            if pair in place_of
        ]
        found = run_in_order(
            _solve_pair,
            ((handles[i], handles[j], place_of[i, j]) for i, j in order),
            n_jobs,
            in_threads=inner.runs_in_threads,
            tasks=task.parts(place_of[pair] for pair in order),
        )
        solved = {order[index]: rest for index, *rest in found}
    dead = [inner.dead_units(handle.facts) for handle in handles]
    reporter, costs, log = clone(estimator), [], []
    for i, j in pairs:
        (cost, issues), fit_log = solved[i, j]
        costs.append(cost)
        place = place_of[i, j]
        with recorded_warnings(log, place):
            numbers = (sides[index].stack._row_numbers for index in (i, j))
            warn_about_row_numbers(*numbers, "X", "y")
            reporter._set_layouts(
                replace(sides[i].layout, argument="X"),
                replace(sides[j].layout, argument="y"),
            )
            reporter.dead_source_units_, reporter.dead_target_units_ = dead[i], dead[j]
            reporter._convergence_issues = issues
            reporter._report()
        log += [(category, message, place) for category, message, _ in fit_log]
    return costs, log


def _solve_pair(source, target, place):
    """Return the cost of a pair and its convergence issues."""
    inner = source.inner
    with _errors_named(place):
        solution = inner.solve(source, target)
        cost = inner.cost(solution)
        if not np.isfinite(cost):
            name = type(inner.estimator).__name__
            raise ValueError(f"{name} learned a `cost_` of {cost}; it must be finite.")
    return cost, inner.issues(solution)


# -- other estimators ------------------------------------------------------------------


def _fit_pairs(estimator, networks, pairs, places, n_jobs, task):
    """Fit an estimator to all pairs, and return the costs and the warnings."""
    found = run_in_order(
        _fit_pair,
        (
            (estimator, networks[i], networks[j], place)
            for (i, j), place in zip(pairs, places, strict=True)
        ),
        n_jobs,
        in_threads=False,
        tasks=task.parts(places),
    )
    costs, log = [], []
    for _, (cost, fit_log), _ in found:
        costs.append(cost)
        log += fit_log
    return costs, log


def _fit_pair(estimator, source, target, place):
    log = []
    with recorded_warnings(log, place), _errors_named(place):
        fitted, *_ = unwrap(clone(estimator).fit(source, target))
        if not hasattr(fitted, "cost_"):
            raise TypeError(f"{type(fitted).__name__} learned no `cost_`.")
    return float(fitted.cost_), log


@contextmanager
def _errors_named(place):
    """Add the place to the errors of a fit."""
    try:
        yield
    except (TypeError, ValueError) as error:
        error.add_note(f"({place})")
        raise

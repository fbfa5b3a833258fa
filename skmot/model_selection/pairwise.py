"""Matrix of the costs between many networks."""

import warnings
from collections.abc import Iterable, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, combinations, permutations
from numbers import Integral

import numpy as np
from joblib import effective_n_jobs
from numpy.lib.mixins import NDArrayOperatorsMixin
from sklearn import config_context
from sklearn.base import clone
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.validation import validate_data

from skmot._scores import check_is_estimator, unwrap
from skmot._utils.array_api import check_numpy, on_same_device
from skmot._utils.embedding import embed_costs
from skmot._utils.frames import choose_table, import_pandas
from skmot._utils.parallel import run_in_order
from skmot._utils.progress import function_task
from skmot._utils.sklearn import HasMethods, Interval, validate_params
from skmot._utils.warnings import (
    recorded_warnings,
    repeat_warnings,
    stacklevel_of_caller,
)
from skmot.layers import LayerStack
from skmot.layers.checks import check_same_length
from skmot.layers.labels import check_same_stimuli, warn_about_row_numbers
from skmot.layers.layout import Layout
from skmot.layers.sides import (
    check_both_single_or_layered,
    read_side,
    seen_by_sklearn,
)
from skmot.layers.splits import make_splits, read_groups, repeated_groups
from skmot.layers.stack import device_of_layers
from skmot.metrics import negative_cost
from skmot.model_selection.permutations import row_permutations
from skmot.multilevel.cache import LayerCache, in_tiles
from skmot.multilevel.estimators import LayerCoupler
from skmot.multilevel.inner import ForeignInner, LayerHandle, LevelInner, inner_of

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
    n_splits : int
        Number of splits over which held-out costs were averaged. 0 for the costs of
        fits to all stimuli.
    null_costs : ndarray of shape (n_permutations, n_networks, n_networks) or None
        Cost of each pair after each permutation of the target's stimuli, NaN on the
        diagonal. None without permutations.
    chance : ndarray of shape (n_networks, n_networks) or None
        Chance level of each pair, the mean of `null_costs`.
    shape, ndim, dtype, T : tuple, int, dtype, ndarray
        Those of `costs`.

    See Also
    --------
    pairwise_costs : Function that computes the costs.
    group_separation_test : Tests whether groups of networks separate.
    skmot.inspection.NetworkMapDisplay : Draws a map of the networks.
    """

    def __init__(self, costs, names, estimator, n_splits=0, null_costs=None):
        self.costs = costs
        self.names = names
        self.estimator = estimator
        self.n_splits = n_splits
        self.null_costs = null_costs

    def __repr__(self):
        held_out = f", held out in {self.n_splits} splits" if self.n_splits else ""
        return (
            f"{type(self).__name__}({len(self)} networks, {self.estimator!r}{held_out})"
        )

    @property
    def chance(self):
        return None if self.null_costs is None else self.null_costs.mean(axis=0)

    def to_frame(self, table=None):
        """Return the costs as a table with the names of the networks.

        Parameters
        ----------
        table : {"matrix", "pairs"}, default=None
            "matrix", which None means too, has one row for each source and one column
            for each target. "pairs" has one row for each pair of different networks:
            `source`, `target`, `cost`, and `chance` if there is a chance level.

        Returns
        -------
        frame : pandas.DataFrame
            The table.

        Raises
        ------
        ImportError
            If pandas is not installed: ``pip install 'skmot[data]'``.
        ValueError
            If there is no table of this name.
        """
        return choose_table({"matrix": self._matrix, "pairs": self._pairs}, table)

    def _matrix(self):
        pd = import_pandas()
        return pd.DataFrame(
            self.costs,
            index=pd.Index(self.names, name="source", tupleize_cols=False),
            columns=pd.Index(self.names, name="target", tupleize_cols=False),
        )

    def _pairs(self):
        chance = self.chance
        return [
            {
                "source": self.names[i],
                "target": self.names[j],
                "cost": float(self.costs[i, j]),
                **({} if chance is None else {"chance": float(chance[i, j])}),
            }
            for i, j in permutations(range(len(self)), 2)
        ]

    def embed(self, n_components=2, *, squared=False, symmetrize=False):
        """Place the networks so that their distances are close to their costs.

        The positions are found by metric multidimensional scaling
        (:class:`sklearn.manifold.MDS`).

        Parameters
        ----------
        n_components : int, default=2
            Number of dimensions.
        squared : bool, default=False
            Whether the costs are squared distances, whose roots are embedded: those of
            :class:`skmot.SoftMatching` and :class:`skmot.Procrustes`.
        symmetrize : bool, default=False
            Whether to take the mean of both directions, if costs are not symmetric.

        Returns
        -------
        embedding : Result
            Dictionary-like object that prints its stress, and says if the map says
            little. ``embedding.to_frame()`` is a table of the positions. The attributes
            are

            positions : ndarray of shape (n_networks, n_components)
                Positions of the networks. Their orientation has no meaning.
            stress : float
                Root of the sum of squared errors of the distances, divided by the sum
                of squared distances (stress-1). 0 is exact.
            equal_stress : float
                Stress of as many networks that are all equally far from each other.
            says_little : bool
                Whether the stress is .3 or more, or at least .8 of `equal_stress`. The
                distances on the map are then not to be read.
            costs : ndarray of shape (n_networks, n_networks)
                The distances that were embedded.
            names, n_components, is_symmetrized : list, int, bool
                Names of the networks, the number of dimensions, and whether the costs
                are means of both directions.

        Raises
        ------
        ValueError
            If there are fewer than three networks, a cost is negative, all are 0, or
            they are not symmetric and `symmetrize` is False.

        Examples
        --------
        >>> import numpy as np
        >>> from skmot import SoftMatching
        >>> from skmot.metrics import pairwise_costs
        >>> noise = np.random.default_rng(0).normal(size=(8, 100, 5))
        >>> print(pairwise_costs(noise, SoftMatching()).embed(squared=True))
        8 networks in 2 dimension(s): stress 0.32 (0.32 if all were equally far). A map
        of 2 dimension(s) says little.
        """
        return embed_costs(
            self,
            n_components,
            names=self.names,
            squared=squared,
            symmetrize=symmetrize,
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


@validate_params(
    {
        "estimator": [HasMethods(["fit"])],
        "cv": ["cv_object"],
        "n_permutations": [Interval(Integral, 0, None, closed="left")],
        "symmetric": ["boolean"],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
    },
    prefer_skip_nested_validation=False,
)
def pairwise_costs(
    networks,
    estimator,
    cv=None,
    n_permutations=0,
    callbacks=None,
    n_jobs=None,
    *,
    symmetric=False,
    random_state=None,
):
    """Compute the cost of every pair of networks.

    Parameters
    ----------
    networks : dict or sequence of networks
        Networks over the same stimuli, each a LayerStack, list, dict, DataFrame or
        array-like.
    estimator : estimator
        Estimator with `fit(X, y)` and the attribute `cost_`, or a pipeline or search
        that ends in one. With `cv` it needs `held_out_cost(X, y)` instead of `cost_`.
        It is cloned and fitted once for each pair, and for each split. For the
        estimators of skmot, and those derived from :mod:`skmot.base`, each network is
        prepared once for all of its pairs, and once for each split.
    cv : int, cross-validation splitter or iterable, default=None
        Stimuli on which costs are computed. With None, they are the stimuli of the fit:
        costs of unrelated networks are then below chance, the more so the fewer stimuli
        there are and the wider the networks are. Otherwise, `cv` splits the stimuli as
        in scikit-learn, and costs are means over the held-out parts of the splits. Rows
        with equal stimulus labels are repeats, and stay together: an int then means
        :class:`StimulusKFold`.
    n_permutations : int, default=0
        Number of permutations of the stimuli of the target, which estimate the chance
        level of each pair. Groups of repeats are permuted as a whole, and change places
        with groups of the same size. With `cv`, held-out rows are permuted and fits are
        kept. Without it, all rows are permuted and fitted again, in `n_permutations`
        times as many fits.
    callbacks : callback or list of callbacks, default=None
        Callbacks of scikit-learn that follow the progress, one task for each pair and
        split, its permutations included: for instance
        :class:`sklearn.callback.ProgressBar`, which needs
        ``pip install 'skmot[progress]'``.
    n_jobs : int, default=None
        Number of pairs to fit in parallel, see the `scikit-learn glossary
        <https://scikit-learn.org/stable/glossary.html#term-n_jobs>`__. Estimators of
        skmot run in threads, with one thread of linear algebra per pair, and costs are
        the same to the last bit for any number of jobs.
    symmetric : bool, default=False
        Whether to fit each pair in one order only. Use True if the cost is symmetric:
        transport (the strategy "transport" without rotation), Procrustes, RSA and CKA.
        Costs of rotations, regressions, semi-matching and the strategy "pairwise_best"
        depend on the order and need False. So do held-out costs if units are constant
        over held-out stimuli.
    random_state : int, RandomState instance or None, default=None
        Controls the permutations. Pass an int for reproducible output across multiple
        function calls.

    Returns
    -------
    costs : PairwiseCosts of shape (n_networks, n_networks)
        `costs[i, j]` is the cost with network i as the source and network j as the
        target. The diagonal is also computed: the cost of a network with itself is not
        always 0, for example for regressions. numpy functions take the result as an
        array. `costs.chance` has the chance levels.

    Raises
    ------
    ValueError
        If there are fewer than two networks, `symmetric` is True and the costs of the
        first two networks depend on their order, the stimuli of networks differ, one is
        a single array and another one has several layers, splits separate rows of one
        stimulus, nothing can be permuted, or a pair cannot be fitted. Errors of fits
        name the pair.
    TypeError
        If the fitted estimator has no `cost_`, or no `held_out_cost` with `cv`.

    Warns
    -----
    UserWarning
        If some groups of repeats have no other group of their size to change places
        with. The chance level then keeps a part of the effect.
    Warning
        Each warning of the fits is raised once, with the first pair that caused it and
        the number of times it occurred.

    See Also
    --------
    group_separation_test : Tests whether groups of networks separate.
    permutation_control : Tests one pair against chance.
    joint_permutation_test : One p-value for many pairs.

    Notes
    -----
    Without `cv`, the costs are the `layer_costs_` of a :class:`skmot.MultiLevelOT`
    above the estimator, fitted to the networks as the layers of both sides. With `cv`,
    they are those of ``MultiLevelOT(estimator, cost_cv=cv)``. Prepared networks are
    cached up to scikit-learn's `working_memory`, so that many networks, or
    memory-mapped ones, may be larger than memory. Pipelines, and estimators that are
    not derived from :mod:`skmot.base`, get the networks as they were given, or as a
    LayerStack if there are splits or permutations.

    The permutations are those of the control "stimuli" of :func:`permutation_control`:
    with kept fits for held-out costs, and with new fits for costs in sample. The same
    permutations are used for all pairs. Chance levels are means and no tests. For costs
    in sample, ``(1 + sum(null_costs[:, i, j] <= costs[i, j])) / (1 + n_permutations)``
    is the p-value of ``permutation_control(statistic="cost")``. For held-out costs of
    several splits it is not: splits share stimuli, so null costs vary too little, and
    the two functions under See Also take account of that.

    If `estimator` is a `SoftMatching` with correlation distance, and each network is a
    single population, sqrt(2 cost) in sample is a metric. It is the soft matching
    distance of units scaled to norm 1, and can be used for multidimensional scaling and
    clustering. Held-out costs need not obey the triangle inequality.

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

    The chance level of unrelated networks is below 1 in sample, and about 1 on held-out
    stimuli:

    >>> noise = rng.normal(size=(4, 60, 40))
    >>> options = {"n_permutations": 10, "random_state": 0}
    >>> for cv in (None, 5):
    ...     costs = pairwise_costs(noise, SoftMatching(), cv=cv, **options)
    ...     print(f"{np.nanmean(costs.chance):.2f}")
    0.75
    1.00
    """
    check_is_estimator(estimator)
    names, networks = _name_networks(networks)
    if cv is not None:
        _check_held_out(estimator)
    plan = _Plan.of_pairs(names, symmetric)
    sides = None
    if cv is not None or n_permutations or not _has_own_fit(estimator):
        sides = _read_sides(networks, names)
    if cv is not None or n_permutations:
        plan = plan.with_rows(
            sides, cv, n_permutations, check_random_state(random_state)
        )
    is_shared = not _has_own_fit(estimator) and _can_share(estimator, networks, sides)
    if sides is not None and not is_shared and (plan.splits or n_permutations):
        networks = [side.stack for side in sides]
    with function_task("pairwise_costs", callbacks, len(plan.parts)) as task:
        if is_shared:
            found, log = _solve_pairs(estimator, sides, plan, n_jobs, task)
        else:
            found, log = _fit_pairs(estimator, networks, plan, n_jobs, task)
    repeat_warnings(log)
    costs, null_costs = plan.fill(found, n_permutations)
    if symmetric:
        _check_symmetric(costs, names, estimator)
        for matrix in (costs, *(() if null_costs is None else null_costs)):
            lower = np.tril_indices(len(names), -1)
            matrix[lower] = matrix.T[lower]
    return PairwiseCosts(costs, names, clone(estimator), len(plan.splits), null_costs)


def _name_networks(networks):
    """Return the names of the networks, or their indices, and the networks."""
    if not isinstance(networks, Mapping | Iterable):
        raise TypeError(
            "`networks` must be a dict of networks by name, or a list of them; got "
            f"{networks!r}."
        )
    if isinstance(networks, Mapping):
        names, networks = list(networks), list(networks.values())
    else:
        networks = list(networks)
        names = list(range(len(networks)))
    if len(networks) < 2:
        raise ValueError(f"At least two networks are needed; got {len(networks)}.")
    return names, networks


def _check_held_out(estimator):
    """Raise an error if a level is above an estimator without held-out costs."""
    inner = inner_of(estimator)
    if not isinstance(inner, LevelInner):
        # The fit of one pair tells; a pipeline has what its last step has.
        return
    while isinstance(inner, LevelInner):
        inner = inner.below
    if not hasattr(inner.estimator, "held_out_cost"):
        raise TypeError(
            f"{type(inner.estimator).__name__} has no `held_out_cost(X, y)`: its cost "
            "cannot be read on held-out stimuli. Use `cv=None`."
        )


def _check_symmetric(costs, names, estimator):
    if not np.isclose(costs[0, 1], costs[1, 0], rtol=_ROUNDING, atol=_ROUNDING):
        raise ValueError(
            f"The costs of {type(estimator).__name__} depend on the order of two "
            f"networks, or on chance: {costs[0, 1]:.6g} with {names[0]!r} as the "
            f"source and {names[1]!r} as the target, and {costs[1, 0]:.6g} the "
            "other way round. Use `symmetric=False`."
        )


# -- what is fitted --------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    """Pairs of networks, splits of the stimuli, and permutations of the target's rows.

    Attributes
    ----------
    n_networks : int
        Number of networks.
    places : dict of str
        Name of each pair in messages, by the indices of its source and target.
    splits : list of pairs of ndarray of int
        Training rows and held-out rows of each split. Empty for costs in sample.
    orders : list of ndarray of int of shape (n_permutations, n_rows)
        Orders of the held-out rows of each split, or of all rows, once, in sample.
    """

    n_networks: int
    places: dict
    splits: list = field(default_factory=list)
    orders: list = field(default_factory=list)

    @classmethod
    def of_pairs(cls, names, symmetric):
        """Choose the pairs that are fitted."""
        n_networks = len(names)
        off_diagonal = combinations if symmetric else permutations
        pairs = [(i, i) for i in range(n_networks)]
        pairs += list(off_diagonal(range(n_networks), 2))
        if symmetric:
            # One pair in both orders shows whether the order matters.
            pairs.append((1, 0))
        places = {(i, j): f"source {names[i]!r}, target {names[j]!r}" for i, j in pairs}
        return cls(n_networks, places)

    def with_rows(self, sides, cv, n_permutations, random):
        """Return the plan with splits and permutations of the rows of the networks."""
        stacks = [side.stack for side in sides]
        n_rows = len(stacks[0])
        groups = repeated_groups(None, *stacks)
        codes = None if groups is None else read_groups(groups, n_rows)
        splits = [] if cv is None else make_splits(cv, n_rows, codes, groups)
        orders = []
        if n_permutations:
            permuted = [test for _, test in splits] or [np.arange(n_rows)]
            allowed = [row_permutations(rows, codes, None) for rows in permuted]
            _warn_about_fixed_groups(allowed)
            orders = [found.sample(n_permutations, random) for found in allowed]
        return replace(self, splits=splits, orders=orders)

    @property
    def times(self):
        """Index of each split, or 0 for a single fit in sample."""
        return range(max(1, len(self.splits)))

    @property
    def parts(self):
        """Index of the split, source and target of each part, in the order of tasks."""
        return [(time, *pair) for time in self.times for pair in self.places]

    def job(self, networks, part):
        """Return what computes a part: both networks, split, orders and place."""
        time, first, second = part
        return (
            networks[first],
            networks[second],
            self.split(time),
            self.orders_of(part),
            self.place(part),
        )

    def split(self, time):
        """Return training rows and held-out rows, None in sample."""
        return self.splits[time] if self.splits else None

    def place(self, part):
        """Name the pair of a part, for messages."""
        return self.places[part[1:]]

    def orders_of(self, part):
        """Return the orders of the target's rows, none for a network with itself."""
        time, i, j = part
        return self.orders[time] if self.orders and i != j else ()

    def name(self, part):
        """Name a part, for callbacks."""
        split = f", split {part[0]}" if self.splits else ""
        return f"{self.place(part)}{split}"

    def fill(self, found, n_permutations):
        """Return the matrix of costs, and those of the permutations or None.

        Parameters
        ----------
        found : dict of list of float
            Cost of each part, and its costs after each permutation.
        n_permutations : int
            Number of permutations.
        """
        # Pairs that are not fitted stay NaN.
        costs = np.full((self.n_networks, self.n_networks), np.nan)
        null_costs = np.full((n_permutations, *costs.shape), np.nan)
        for i, j in self.places:
            by_time = [found[time, i, j] for time in self.times]
            first, *others = np.mean(by_time, axis=0)
            costs[i, j] = first
            if others:
                null_costs[:, i, j] = others
        return costs, null_costs if n_permutations else None


def _warn_about_fixed_groups(permutations):
    movable_share = min(allowed.movable_share for allowed in permutations)
    if movable_share < 1:
        warnings.warn(
            f"Only {movable_share:.0%} of the rows can move: repeats of a stimulus "
            "change places with those of a stimulus that was shown as often, and some "
            "numbers of repeats occur once. The chance levels keep a part of the "
            "effect. Average the repeats of each stimulus first.",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )


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


def _read_sides(networks, names):
    """Read the networks, and check that they show the same stimuli."""
    sides = [
        _Side(*read_side(network, f"networks[{name!r}]", allow_vector=False))
        for name, network in zip(names, networks, strict=True)
    ]
    for first, second in combinations(sides, 2):
        wheres = first.layout.argument, second.layout.argument
        check_same_length(first.stack, second.stack, *wheres)
        check_same_stimuli(first.stack.stimuli, second.stack.stimuli, *wheres)
        check_both_single_or_layered(first.layout, second.layout)
    return sides


def _can_share(estimator, networks, sides):
    """Check the networks as a fit does, and return whether they can be prepared once.

    They cannot if they are on several devices, because a fit moves the target to that
    of the source.
    """
    for network, side in zip(networks, sides, strict=True):
        validate_data(
            clone(estimator),
            seen_by_sklearn(network, side.stack, side.layout),
            skip_check_array=True,
        )
    references = [device_of_layers(side.stack) for side in sides]
    if not all(on_same_device(references[0], other) for other in references):
        return False
    if not get_tags(estimator).array_api_support:
        what = f"{type(estimator).__name__}, with the settings it has,"
        check_numpy(references[0], what)
    return True


@dataclass(frozen=True)
class _Network:
    """Handles of a network, which prepare it once.

    Attributes
    ----------
    handle : LayerHandle
        The network.
    unlabelled : LayerHandle
        The network without stimulus labels, whose rows are permuted. It is `handle` if
        there are no labels, or no permutations.
    """

    handle: LayerHandle
    unlabelled: LayerHandle

    @classmethod
    def of_side(cls, inner, side, cache, is_permuted):
        def open_side(side):
            handle = LayerHandle(inner, side.as_layer, side.layout.argument, cache)
            return handle.read(inner.is_stored)

        handle = open_side(side)
        if not is_permuted or side.stack.stimuli is None:
            return cls(handle, handle)
        without = replace(side, stack=side.stack.with_stimuli(None))
        return cls(handle, open_side(without))

    def at(self, split):
        """Return the network on the training rows of a split, or on all rows."""
        return self.handle if split is None else self.handle.at(split[0])

    def prepared_bytes(self, split):
        """Return the size of what is prepared for a split, or for all rows."""
        of_split = self.handle if split is None else self.handle.fold(*split)
        return of_split.prepared_bytes


def _solve_pairs(estimator, sides, plan, n_jobs, task):
    """Prepare each network once, and once for each split, and solve all pairs.

    Returns
    -------
    costs : dict of list of float
        Cost of each part of the plan, and its costs after each permutation.
    log : list
        Warnings of the fits.
    """
    inner = inner_of(estimator)
    inner.check_settings()
    with closing(LayerCache()) as cache:
        networks = [
            _Network.of_side(inner, side, cache, bool(plan.orders)) for side in sides
        ]
        parts = []
        for time in plan.times:
            sizes = [network.prepared_bytes(plan.split(time)) for network in networks]
            tiles = in_tiles(sizes, sizes, cache.limit, effective_n_jobs(n_jobs))
            parts += [(time, *pair) for pair in tiles if pair in plan.places]
        found = run_in_order(
            _solve_part,
            (plan.job(networks, part) for part in parts),
            n_jobs,
            in_threads=inner.runs_in_threads,
            tasks=task.parts(map(plan.name, parts)),
        )
        dead = [
            [
                inner.dead_units(network.at(plan.split(time)).facts)
                for network in networks
            ]
            for time in plan.times
        ]
    solved = {parts[index]: rest for index, *rest in found}
    return _report_parts(clone(estimator), sides, plan, solved, dead)


def _report_parts(reporter, sides, plan, solved, dead):
    """Return the costs of the parts, and the warnings that fits would have raised."""
    costs, log = {}, []
    for part in plan.parts:
        (costs[part], issues), fit_log = solved[part]
        time, i, j = part
        place = plan.place(part)
        with recorded_warnings(log, place):
            if time == 0:
                numbers = (sides[index].stack._row_numbers for index in (i, j))
                warn_about_row_numbers(*numbers, "X", "y")
            reporter._set_layouts(
                replace(sides[i].layout, argument="X"),
                replace(sides[j].layout, argument="y"),
            )
            reporter.dead_source_units_ = dead[time][i]
            reporter.dead_target_units_ = dead[time][j]
            reporter._convergence_issues = issues
            reporter._report()
        log += [(category, message, place) for category, message, _ in fit_log]
    return costs, log


def _solve_part(source, target, split, orders, place):
    """Return the costs of a pair and its convergence issues.

    Parameters
    ----------
    source, target : _Network
        The pair.
    split : tuple of ndarray of int or None
        Training rows and held-out rows.
    orders : sequence of ndarray of int
        Orders of the rows of the target that costs are computed on.
    place : str
        Name of the pair in messages.

    Returns
    -------
    costs : list of float
        Cost of the pair as it is, and with each order of the rows.
    issues : list
        Convergence issues of all fits.
    """
    inner = source.handle.inner
    with _errors_named(place):
        if split is None:
            costs, issues = _costs_in_sample(inner, source, target, orders)
        else:
            costs, issues = _costs_held_out(inner, source, target, split, orders)
        if not np.isfinite(costs).all():
            name = type(inner.estimator).__name__
            cost = next(cost for cost in costs if not np.isfinite(cost))
            raise ValueError(f"{name} learned a `cost_` of {cost}; it must be finite.")
    return costs, issues


def _costs_in_sample(inner, source, target, orders):
    permuted = (target.unlabelled.at(order) for order in orders)
    costs, issues = [], []
    for layer in chain([target.handle], permuted):
        solution = inner.solve(source.handle, layer)
        costs.append(inner.cost(solution))
        issues += inner.issues(solution)
    return costs, issues


def _costs_held_out(inner, source, target, split, orders):
    train, test = split
    first, second = source.handle.fold(*split), target.handle.fold(*split)
    fitted, issues = inner.fit_of_fold(first, second)
    permuted = (target.unlabelled.fold(train, test[order]).test for order in orders)
    # The values were checked when the networks were read.
    with config_context(assume_finite=True):
        costs = [
            inner.held_out_cost(fitted, first.test, layer)
            for layer in chain([second.test], permuted)
        ]
    return costs, issues


# -- other estimators ------------------------------------------------------------------


def _fit_pairs(estimator, networks, plan, n_jobs, task):
    """Fit an estimator to all pairs, and return the costs and the warnings."""
    found = run_in_order(
        _fit_part,
        ((estimator, *plan.job(networks, part)) for part in plan.parts),
        n_jobs,
        in_threads=False,
        tasks=task.parts(map(plan.name, plan.parts)),
    )
    costs, log = {}, []
    for index, (part_costs, fit_log), _ in found:
        costs[plan.parts[index]] = part_costs
        log += fit_log
    return costs, log


def _fit_part(estimator, source, target, split, orders, place):
    """Return the costs of a pair, as `_solve_part` does, and the warnings of fits."""
    log = []
    with recorded_warnings(log, place), _errors_named(place):
        if split is None:
            costs = [_cost_of_fit(estimator, source, target)]
            costs += [
                _cost_of_fit(estimator, source, target.with_stimuli(None)[order])
                for order in orders
            ]
        else:
            train, test = split
            fitted = clone(estimator).fit(source[train], target[train])
            costs = [-negative_cost(fitted, source[test], target[test])]
            costs += [
                -negative_cost(
                    fitted, source[test], target.with_stimuli(None)[test[order]]
                )
                for order in orders
            ]
    return costs, log


def _cost_of_fit(estimator, source, target):
    fitted, *_ = unwrap(clone(estimator).fit(source, target))
    if not hasattr(fitted, "cost_"):
        raise TypeError(f"{type(fitted).__name__} learned no `cost_`.")
    return float(fitted.cost_)


@contextmanager
def _errors_named(place):
    """Add the place to the errors of a fit."""
    try:
        yield
    except (TypeError, ValueError) as error:
        error.add_note(f"({place})")
        raise

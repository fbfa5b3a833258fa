"""Permutation test of many pairs of networks at once."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from skmot._scores import DIRECTIONS, layer_scores, reconstruct_held_out, unwrap
from skmot._utils.parallel import run_in_order
from skmot._utils.progress import function_task
from skmot._utils.results import Result, numbered_rows
from skmot._utils.sklearn import HasMethods, Interval, StrOptions, validate_params
from skmot._utils.warnings import (
    recorded_warnings,
    repeat_warnings,
    stacklevel_of_caller,
)
from skmot.layers.splits import make_splits, read_groups, repeated_groups
from skmot.model_selection.compare import set_seeds
from skmot.model_selection.networks import identify_networks, read_networks, read_pairs
from skmot.model_selection.permutations import row_permutations, say_permuted

STATISTICS = ("cost", "score")
# Values of equal fits can differ by rounding errors. Null values that are lower than
# the value by less than this, in standard deviations, are treated as equal to it.
_TIE = 1e-9
_USUAL_LEVEL = 0.05
_LARGEST_SEED = np.iinfo(np.int32).max


@validate_params(
    {
        "estimator": [HasMethods(["fit"])],
        "sources": [Mapping],
        "targets": [Mapping, None],
        "pairs": ["array-like", None],
        "statistic": [StrOptions(set(STATISTICS))],
        "cv": ["cv_object"],
        "blocks": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"circular"}),
            None,
        ],
        "n_permutations": [Interval(Integral, 1, None, closed="left")],
        "direction": [StrOptions(set(DIRECTIONS))],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=False,
)
def joint_permutation_test(
    estimator,
    sources,
    targets,
    *,
    pairs=None,
    statistic="cost",
    cv=None,
    groups=None,
    blocks=None,
    n_permutations=99,
    direction="target",
    n_jobs=None,
    random_state=None,
    callbacks=None,
):
    """Test whether networks are related at all, with one p-value for all pairs.

    The estimator is fitted to every pair, and again after the rows of the targets were
    permuted, in the same order for all targets. Pairs that share a network are
    dependent; permutations in the same order leave that dependence as it is.

    Parameters
    ----------
    estimator : estimator
        Estimator with `cost_`, or with `predict` (`inverse_predict` for
        `direction="source"`) if `statistic="score"`. It is cloned.
    sources, targets : dict of LayerStack, list, dict, DataFrame or array-like
        Networks by name, all over the same stimuli, as in :func:`compare`. If `targets`
        is None, the networks in `sources` are compared with each other.
    pairs : sequence of (source, target), default=None
        Names of the pairs, if not all.
    statistic : {"cost", "score"}, default="cost"
        Value of each pair: minus the `cost_` of a fit to all rows, or the held-out
        correlation, averaged over units, layers and splits. The cost needs no splits
        and is the quickest.
    cv : int, splitter or iterable of (train, test), default=None
        Splits for `statistic="score"`, as in scikit-learn. If there are groups, an int
        means :class:`StimulusKFold`.
    groups : array-like of shape (n_rows,), default=None
        Stimulus of each row, if several rows repeat a stimulus. Whole groups of the
        same size are permuted, and splits must keep groups together. None uses the
        stimulus labels of a network if some of them repeat, except with `blocks`.
    blocks : int, "circular" or None, default=None
        If rows are a time series: an int permutes blocks of this many consecutive rows,
        and "circular" shifts the rows circularly. Both are approximate.
    n_permutations : int, default=99
        Number of permutations. Each takes as many fits as there are pairs, times the
        number of splits if `statistic="score"`.
    direction : {"target", "source"}, default="target"
        Side to reconstruct, for `statistic="score"`.
    n_jobs : int, default=None
        Number of fits to run in parallel, see the `scikit-learn glossary
        <https://scikit-learn.org/stable/glossary.html#term-n_jobs>`__. The result does
        not depend on it.
    random_state : int, RandomState instance or None, default=None
        Controls the randomness of the permutations and of the fits. Pass an int for
        reproducible output across multiple function calls.
    callbacks : callback or list of callbacks, default=None
        Callbacks of scikit-learn that follow the progress, one task for each pair of
        networks and permutation: for instance :class:`sklearn.callback.ProgressBar`,
        which needs ``pip install 'skmot[progress]'``.

    Returns
    -------
    result : Result
        Dictionary-like object that prints as a conclusion. ``result.to_frame()`` is a
        table with one row, ``to_frame("pairs")`` has one row for each pair, and
        ``to_frame("permutations")`` one for each null effect. The attributes are

        p_value : float
            (b + 1) / (n + 1), where b of the n null effects are at least `effect`.
        smallest_p : float
            Smallest p-value that these permutations can give.
        effect : float
            Mean over pairs of the standardised values, see Notes.
        null_effects : ndarray of shape (n_permutations,)
            The same for each permutation.
        pair_values : ndarray of shape (n_pairs,)
            Value of each pair. Larger means more alike: costs have a minus sign.
        null_pair_values : ndarray of shape (n_permutations, n_pairs)
            Values after each permutation.
        pairs : list of tuple
            Names of the source and of the target of each pair.
        movable_share : float
            Share of the rows that can change places, of (0, 1].
        null_hypothesis : str
            Null hypothesis that a small p-value rejects.
        statistic, direction : str
            The given values.

    Raises
    ------
    ValueError
        If networks, pairs, splits or groups are not valid (see :func:`compare`),
        `statistic="score"` has no `cv`, or nothing can be permuted.
    TypeError
        If the fitted estimator has no `cost_`, or no predictions.

    Warns
    -----
    UserWarning
        If `smallest_p` is above 0.05, or if some groups cannot move because no other
        group has their size.
    Warning
        Each warning of the fits is raised once, with the number of times it occurred.

    See Also
    --------
    permutation_control : Tests of a single pair, also of layers and units.
    Comparison.differences : Tests whether one method is better than another.

    Notes
    -----
    Let ``v_p0`` be the value of pair p, and ``v_pb`` that after permutation b = 1..n.
    With the mean ``m_p`` and the standard deviation ``s_p`` of ``v_p0, ..., v_pn``, the
    effect of permutation b is the mean over pairs of ``(v_pb - m_p) / s_p``, so that
    every pair has the same weight, whatever its number of units. The p-value is the
    rank of the effect of b = 0 among all. It is exact if rows (or groups of the same
    size) are exchangeable, for all splits, because every permutation is fitted again.

    A network can be a source of one pair and a target of another one. No single order
    of the target's rows then breaks all relations, so each network gets an order of its
    own, the same in all its pairs, and the null hypothesis is that all networks are
    unrelated to each other.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import SoftMatching
    >>> from skmot.model_selection import joint_permutation_test
    >>> rng = np.random.default_rng(0)
    >>> sources = {name: rng.normal(size=(40, 5)) for name in ("a", "b")}
    >>> targets = {"c": sources["a"] + rng.normal(size=(40, 5))}
    >>> result = joint_permutation_test(
    ...     SoftMatching(), sources, targets, n_permutations=19, random_state=0
    ... )
    >>> result.p_value
    0.05
    """
    networks = read_networks(sources, targets)
    pairs = read_pairs(networks, targets is None, pairs)
    stacks = [stack for side in networks for stack in side.values()]
    n_rows = len(stacks[0])
    if groups is not None and blocks is not None:
        raise ValueError(
            "`groups` and `blocks` are two ways to keep rows together: give one."
        )
    if blocks is None:
        groups = repeated_groups(groups, *stacks)
    codes = None if groups is None else read_groups(groups, n_rows)
    splits = None
    if statistic == "score":
        if cv is None:
            raise ValueError("`statistic='score'` needs splits: give `cv`.")
        splits = make_splits(cv, n_rows, codes, groups)
    permutations = row_permutations(np.arange(n_rows), codes, blocks)
    random = check_random_state(random_state)
    orders = _sample_orders(networks, pairs, permutations, n_permutations, random)
    if codes is not None and permutations.movable_share < 1:
        warnings.warn(
            f"Only {permutations.movable_share:.0%} of the rows can move: a group "
            "changes places with groups of its size, and some sizes occur once. The "
            "p-value is too large. Average the rows of each group first, or give every "
            "group as many rows.",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )
    smallest = 1 / min(orders.n_distinct, n_permutations + 1)
    if smallest > _USUAL_LEVEL:
        warnings.warn(
            f"The p-value cannot be below {smallest:.3g}: raise `n_permutations`, or "
            "permute more and smaller groups or blocks.",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )
    tasks = [
        _Task(pair, number, random.randint(_LARGEST_SEED))
        for number in range(n_permutations + 1)
        for pair in pairs
    ]
    labels = next((s.stimuli for s in stacks if s.stimuli is not None), None)
    with function_task("joint_permutation_test", callbacks, len(tasks)) as run:
        found = run_in_order(
            _fit_value,
            (
                (
                    task,
                    clone(estimator),
                    *(
                        # The labels of permuted rows would not match those of the
                        # other side.
                        side[name][orders.of(end, name, task.number)].with_stimuli(
                            labels
                        )
                        for end, side, name in zip(
                            ("source", "target"), networks, task.pair, strict=True
                        )
                    ),
                    splits,
                    direction,
                )
                for task in tasks
            ),
            n_jobs,
            in_threads=False,
            tasks=run.parts(map(str, tasks)),
        )
    repeat_warnings([entry for _, (_, log), _ in found for entry in log])
    values = np.array([value for _, (value, _), _ in found]).reshape(-1, len(pairs))
    effects = _standardised_means(values)
    n_as_good = int(np.count_nonzero(effects[1:] >= effects[0] - _TIE))
    p_value = (n_as_good + 1) / (n_permutations + 1)
    what = say_permuted(codes, blocks)
    if orders.is_one_set:
        hypothesis = (
            f"No network is related to another one: {what} of each network could be in "
            "any order."
        )
    else:
        hypothesis = (
            f"No source is related to a target: {what} of the targets could be in any "
            "order, the same for all targets."
        )
    return JointResult(
        f"p = {p_value:.2g} for {len(pairs)} pair(s) at once ({n_permutations} "
        "permutations). A small p says that at least one pair is related, not which "
        "one, how closely, or which units and layers correspond.",
        p_value=p_value,
        smallest_p=smallest,
        effect=float(effects[0]),
        null_effects=effects[1:],
        pair_values=values[0],
        null_pair_values=values[1:],
        pairs=pairs,
        movable_share=permutations.movable_share,
        null_hypothesis=hypothesis,
        statistic=statistic,
        direction=direction,
    )


class JointResult(Result):
    """Result of a joint permutation test."""

    def _tables(self):
        return {
            **super()._tables(),
            "pairs": self._pairs,
            "permutations": lambda: numbered_rows(
                "permutation", effect=self.null_effects
            ),
        }

    def _pairs(self):
        return {
            "source": [source for source, _ in self.pairs],
            "target": [target for _, target in self.pairs],
            "value": self.pair_values,
            "null_mean": self.null_pair_values.mean(axis=0),
        }


@dataclass(frozen=True)
class _Task:
    """One pair, with the rows in one order. Number 0 is the order of the data."""

    pair: tuple
    number: int
    seed: int

    @property
    def place(self):
        """Name of the pair in warnings and errors."""
        return f"source {self.pair[0]!r}, target {self.pair[1]!r}"

    def __str__(self):
        rows = f"permutation {self.number - 1}" if self.number else "given rows"
        return f"{self.place}, {rows}"


@dataclass(frozen=True)
class _Orders:
    """Orders of the rows of each network.

    Attributes
    ----------
    by_network : dict of ndarray of shape (n_permutations + 1, n_rows)
        Orders by the identity of a network; the first one is that of the data. Rows of
        networks that are not in it are not permuted.
    identities : dict of str
        Identity of a network by (side, name).
    n_distinct : int
        Number of distinct joint orders.
    is_one_set : bool
        Whether a network is both a source and a target.
    """

    by_network: dict
    identities: dict
    n_distinct: int
    is_one_set: bool

    def of(self, side, name, number):
        """Return the rows of a network in the order of a permutation."""
        orders = self.by_network.get(self.identities[side, name])
        return slice(None) if orders is None else orders[number]


def _sample_orders(networks, pairs, permutations, n_permutations, random):
    """Sample one order for all targets, or one for each network of one set."""
    identities = identify_networks(networks, pairs)
    n_rows = len(next(iter(networks[0].values())))
    sides = [
        list(dict.fromkeys(identities[side, pair[index]] for pair in pairs))
        for index, side in enumerate(("source", "target"))
    ]

    def sample():
        own_order = np.arange(n_rows)[np.newaxis]
        return np.concatenate([own_order, permutations.sample(n_permutations, random)])

    if not set(sides[0]) & set(sides[1]):
        return _Orders(
            dict.fromkeys(sides[1], sample()),
            identities,
            permutations.n_distinct,
            False,
        )
    # Only orders relative to each other matter, so the first network keeps its own.
    others = list(dict.fromkeys([*sides[0], *sides[1]]))[1:]
    return _Orders(
        {network: sample() for network in others},
        identities,
        permutations.n_distinct ** len(others),
        True,
    )


def _fit_value(task, estimator, source, target, splits, direction):
    """Fit a pair and return its value, which is larger if it is more alike."""
    log = []
    with recorded_warnings(log, task.place):
        try:
            set_seeds(estimator, task.seed)
            if splits is None:
                value = -_cost(estimator.fit(source, target))
            else:
                value = np.mean(
                    [
                        _score(estimator, source, target, direction, *split)
                        for split in splits
                    ]
                )
        except (TypeError, ValueError) as error:
            error.add_note(f"({task.place})")
            raise
    return float(value), log


def _cost(fitted):
    fitted = unwrap(fitted)[0]
    if not hasattr(fitted, "cost_"):
        raise TypeError(
            f"{type(fitted).__name__} learned no `cost_`: use statistic='score'."
        )
    return fitted.cost_


def _score(estimator, source, target, direction, train, test):
    fitted = clone(estimator).fit(source[train], target[train])
    method = "predict" if direction == "target" else "inverse_predict"
    final = unwrap(fitted)[0]
    if not hasattr(final, method):
        raise TypeError(
            f"{type(final).__name__} has no `{method}`: use statistic='cost'."
        )
    parts = reconstruct_held_out(fitted, direction, source[test], target[test])
    return layer_scores(parts).mean()


def _standardised_means(values):
    """Return the mean over pairs of values in standard deviations of each pair."""
    deviations = values.std(axis=0)
    # Differences of rounding errors are none.
    varies = deviations > _TIE * np.abs(values).max(axis=0)
    centred = (values - values.mean(axis=0)) * varies
    return (centred / np.where(varies, deviations, 1.0)).mean(axis=1)

"""Comparison of methods on pairs of networks, with the same splits for all methods."""

import itertools
import math
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from numbers import Integral

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.parallel import Parallel, delayed

from skmot._scores import DIRECTIONS, layer_scores, reconstruct, unwrap
from skmot._units import unit_columns
from skmot._utils.sklearn import Interval, validate_params
from skmot._utils.warnings import recorded_warnings, repeat_warnings
from skmot.layers.checks import check_same_length
from skmot.layers.labels import check_same_stimuli
from skmot.layers.sides import read_side
from skmot.model_selection.splits import make_splits, read_groups, repeated_groups

COLUMNS = (
    "source",
    "target",
    "method",
    "direction",
    "split",
    "layer",
    "score",
    "n_units",
    "seconds",
)
_PAIR = ("source", "target", "method", "direction")
# Units are the same if what tells them apart, a number around 1, is as close as this.
_ALIKE = 1e-5
_LARGEST_SEED = np.iinfo(np.int32).max


@validate_params(
    {
        "sources": [Mapping],
        "targets": [Mapping, None],
        "pairs": ["array-like", None],
        "methods": [Mapping],
        "cv": ["cv_object"],
        "n_jobs": [Integral, None],
        "n_bootstrap": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "verbose": ["boolean"],
    },
    prefer_skip_nested_validation=False,
)
def compare(
    sources,
    targets,
    methods,
    cv,
    groups=None,
    *,
    pairs=None,
    n_jobs=None,
    directions=("target", "source"),
    n_bootstrap=1000,
    random_state=None,
    verbose=True,
):
    """Fit every method to every pair of networks, with the same splits of the stimuli.

    Parameters
    ----------
    sources, targets : dict of LayerStack, list, dict, DataFrame or array-like
        Networks by name, all over the same stimuli. Every source is compared with every
        target, except with itself. If `targets` is None, the networks in `sources` are
        compared with each other, each pair once, with the first of them as the source.
    methods : dict of estimators
        Estimators by name. They are cloned. They can be inside Pipelines, searches
        (:class:`~sklearn.model_selection.GridSearchCV`, whose best estimator is scored)
        and :class:`skmot.preprocessing.TransformedTargetLayers`, which is scored on the
        transformed target.
    cv : int, splitter or iterable of (train, test)
        Splits, as in scikit-learn. If `groups` are given, an int means
        :class:`StimulusKFold`.
    groups : array-like of shape (n_rows,), default=None
        Stimulus of each row, if several rows repeat a stimulus. The splits must keep
        groups together, and the bootstrap resamples groups. None uses the stimulus
        labels of a network if some of them repeat.
    pairs : sequence of (source, target), default=None
        Names of the pairs to compare, if not all.
    n_jobs : int, default=None
        Number of fits to run in parallel, see the `scikit-learn glossary
        <https://scikit-learn.org/stable/glossary.html#term-n_jobs>`__. The scores do
        not depend on it.
    directions : sequence of {"target", "source"}, default=("target", "source")
        Sides to reconstruct and score. Methods without `inverse_predict` are not scored
        on the source.
    n_bootstrap : int, default=1000
        Number of bootstrap resamples of the stimuli for :meth:`Comparison.differences`.
    random_state : int, RandomState instance or None, default=None
        Controls the randomness of the resamples and of the fits. Pass an int for
        reproducible output across multiple function calls. Each fit gets a different
        seed for every parameter `random_state` that is None, including those of nested
        estimators. A `random_state` that is an int is used in every fit. Do not set one
        for `MultiLevelOT(strategy="permuted")`: all fits would use the same
        permutation.
    verbose : bool, default=True
        Whether to print the number of fits before the comparison starts, and an
        estimate of the remaining time after the first fit of each method.

    Returns
    -------
    comparison : Comparison
        Scores of all fits.

    Raises
    ------
    ValueError, TypeError
        If there is no network, no method or no pair, a name in `pairs` is unknown or a
        pair is a network with itself, the stimuli of networks differ, a split separates
        rows of one group, a method has neither predictions nor a `cost_`, a
        method has no predictions in the `directions`, or a method cannot be fitted or
        scored. Errors of fits and scores name the method and the pair.

    Warns
    -----
    Warning
        Each warning of the fits is raised once, with the first method and pair that
        caused it and the number of times it occurred. Warnings that differ only in
        numbers are treated as the same.

    Notes
    -----
    Scores are Pearson correlations as in :meth:`skmot.MultiLevelOT.layer_scores`, even
    if the `score` of a method is a different one. Methods without `predict` (RSA, CKA)
    are represented by their `held_out_cost`, in the direction "cost". Methods that have
    none are represented by their `cost_` on the training stimuli. Do not compare these
    rows with others.

    The score of each fit is computed on all bootstrap resamples of the stimuli while
    the predictions are in memory. The resamples are the same for all methods and
    splits. Therefore the comparison stores only `n_bootstrap` numbers for each pair,
    method and direction, in addition to the scores.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import SoftMatching
    >>> from skmot.model_selection import compare
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 8))
    >>> y = X[:, ::-1] + rng.normal(size=(60, 8))
    >>> methods = {"plain": SoftMatching(), "raw": SoftMatching(reconstruct="raw")}
    >>> comparison = compare(
    ...     {"a": X}, {"b": y}, methods, cv=3, random_state=0, verbose=False
    ... )
    >>> comparison
    Comparison(2 methods, 1 pairs, 3 splits, 12 rows)
    >>> row = comparison.summary()[0]
    >>> row["method"], row["direction"], round(row["mean"], 1)
    ('plain', 'target', 0.7)
    """
    networks = _read_networks(sources, targets)
    pairs = _read_pairs(networks, targets is None, pairs)
    if not methods:
        raise ValueError("`methods` is empty: give estimators by name.")
    unknown = set(directions) - set(DIRECTIONS)
    if unknown or not len(directions):
        raise ValueError(
            f"`directions` must be some of {DIRECTIONS}; got {tuple(directions)}."
        )
    n_rows = len(next(iter(networks[0].values())))
    stacks = [*networks[0].values(), *networks[1].values()]
    groups = repeated_groups(groups, *stacks)
    codes = None if groups is None else read_groups(groups, n_rows)
    splits = make_splits(cv, n_rows, codes, groups)
    random = check_random_state(random_state)
    counts = _sample_counts(
        np.arange(n_rows) if codes is None else codes, n_bootstrap, random
    )
    tasks = [
        _Fit(source, target, method, number, random.randint(_LARGEST_SEED))
        for source, target in pairs
        for number in range(len(splits))
        for method in methods
    ]

    def run(chosen, n_jobs):
        return Parallel(n_jobs=n_jobs)(
            delayed(_fit_and_score)(
                task,
                methods[task.method],
                networks[0][task.source],
                networks[1][task.target],
                splits[task.split],
                directions,
                counts[:, splits[task.split][1]],
            )
            for task in chosen
        )

    # The fits to the first split of the first pair measure the time of each method.
    n_first = len(methods)
    if verbose:
        print(
            f"{len(methods)} method(s) x {len(pairs)} pair(s) x {len(splits)} split(s) "
            f"= {len(tasks)} fits",
            flush=True,
        )
    started = time.perf_counter()
    results = run(tasks[:n_first], None)
    seconds = time.perf_counter() - started
    rest = tasks[n_first:]
    if verbose:
        expected = seconds * len(rest) / n_first / effective_n_jobs(n_jobs)
        print(
            f"The first fit of each method took {seconds:.2g} s in all: about "
            f"{expected:.2g} s more, if other pairs are as large.",
            flush=True,
        )
    results += run(rest, n_jobs)
    # repeat_warnings, compare, scikit-learn's wrapper, the caller.
    repeat_warnings([entry for result in results for entry in result.log], stacklevel=4)
    resampled, units = {}, {}
    for task, result in zip(tasks, results, strict=True):
        for direction, scores in result.resampled.items():
            resampled.setdefault((*task.pair, direction), []).append(scores)
            units.setdefault((*task.pair, direction), []).append(
                result.units[direction]
            )
    return Comparison(
        rows=[row for result in results for row in result.rows],
        resampled={key: np.mean(scores, axis=0) for key, scores in resampled.items()},
        n_splits=len(splits),
        units=units,
        design=_digest(counts, *itertools.chain.from_iterable(splits)),
    )


class Comparison:
    """Scores of methods on pairs of networks, returned by :func:`compare`.

    Attributes
    ----------
    rows : list of dict
        One dict for each pair, method, direction, split and layer, with the keys

        - "source", "target", "method": names of the networks and of the method;
        - "direction": "target", "source" or "cost";
        - "split": index of the split;
        - "layer": name or index of the layer; None for a cost;
        - "score": held-out correlation, or cost on the held-out stimuli;
        - "n_units": number of units that the score is a mean of; None for a cost;
        - "seconds": time of the fit, the same in all rows of a fit.

    See Also
    --------
    compare : Function that runs a comparison.
    """

    def __init__(self, rows, resampled, n_splits, units, design):
        self.rows = rows
        self._resampled = resampled
        self._units = units
        self._n_splits = n_splits
        # Digest of the splits and the resamples.
        self._design = design

    def __repr__(self):
        n_methods = len({row["method"] for row in self.rows})
        n_pairs = len({(row["source"], row["target"]) for row in self.rows})
        return (
            f"Comparison({n_methods} methods, {n_pairs} pairs, {self._n_splits} "
            f"splits, {len(self.rows)} rows)"
        )

    def join(self, *others):
        """Return the rows of several comparisons as one comparison.

        Use it to add methods or pairs to a comparison that has been made before.

        Parameters
        ----------
        *others : Comparison
            Comparisons with the same splits and the same resamples of the stimuli: made
            with the same `cv`, `groups`, `n_bootstrap` and integer `random_state`.

        Returns
        -------
        comparison : Comparison
            The rows of this comparison and of the others.

        Raises
        ------
        ValueError
            If the splits or the resamples differ, or a pair has been compared by a
            method of the same name in two of them.
        """
        rows, resampled, units, fits = [], {}, {}, set()
        for part in (self, *others):
            if part._design != self._design:
                raise ValueError(
                    "The comparisons have other splits or other resamples of the "
                    "stimuli, so their scores are not paired. Make them with the same "
                    "`cv`, `groups`, `n_bootstrap` and integer `random_state`."
                )
            own = {tuple(row[column] for column in _PAIR[:3]) for row in part.rows}
            if own & fits:
                source, target, method = min(own & fits, key=str)
                raise ValueError(
                    f"Method {method!r} is in two of the comparisons for source "
                    f"{source!r} and target {target!r}: give it another name."
                )
            fits |= own
            rows += part.rows
            resampled |= part._resampled
            units |= part._units
        return Comparison(rows, resampled, self._n_splits, units, self._design)

    def to_frame(self):
        """Return the rows as a table.

        Returns
        -------
        frame : pandas.DataFrame
            Table with the keys of :attr:`rows` as columns.
        """
        import pandas as pd

        return pd.DataFrame(self.rows, columns=COLUMNS)

    def summary(self, by=_PAIR):
        """Compute the mean and standard deviation of scores over splits.

        For each split, scores are first averaged over layers and then over all columns
        that are not in `by`.

        Parameters
        ----------
        by : sequence of str, default=("source", "target", "method", "direction")
            Columns to group by. ("method", "direction") averages over pairs.

        Returns
        -------
        summary : list of dict
            One dict for each group, with the columns of `by` and

            - "mean": mean over splits;
            - "standard_deviation_over_splits": computed with n_splits - 1; NaN for one
              split;
            - "standard_error_over_splits": the standard deviation divided by the square
              root of "n_splits". It assumes that splits are independent, and is too
              small if splits share training rows;
            - "n_splits": number of splits.

        Raises
        ------
        ValueError
            If `by` contains other columns than the default ones and "layer", or does
            not contain "direction". Without it, costs would be averaged with
            correlations.
        """
        by = tuple(by)
        if not set(by) <= {*_PAIR, "layer"} or "direction" not in by:
            raise ValueError(
                f"`by` must be some of {(*_PAIR, 'layer')}, with 'direction'; got {by}."
            )
        # Averaging over layers first gives networks of any depth the same weight.
        layer = ("layer",) if "layer" in by else ()
        scores = _average(self.rows, (*_PAIR, "split", *layer))
        found = {}
        for row in _average(scores, (*by, "split")):
            key = tuple(row[column] for column in by)
            found.setdefault(key, []).append(row["score"])
        return [
            {**dict(zip(by, key, strict=True)), **_spread(np.array(scores))}
            for key, scores in found.items()
        ]

    def differences(self, reference, confidence_level=0.95):
        """Compare each method with a reference method, paired by split and by stimulus.

        The confidence interval is a percentile bootstrap over held-out stimuli, or over
        groups if `groups` were given. Both methods are scored on the same resamples in
        all splits. The interval describes the uncertainty due to the choice of held-out
        stimuli. It does not include the uncertainty due to the training stimuli,
        because the methods are not refitted.

        Parameters
        ----------
        reference : str
            Name of the method to compare the others with.
        confidence_level : float, default=0.95
            Confidence level of the interval, between 0 and 1.

        Returns
        -------
        differences : list of dict
            One dict for each pair, direction and other method, with "source", "target",
            "method", "reference", "direction" and

            - "difference": score of the method minus score of the reference, averaged
              over splits;
            - "low", "high": bounds of the confidence interval;
            - "confidence_level": the given level;
            - "standard_error_over_stimuli": standard deviation over resamples;
            - "n_bootstrap": number of resamples in which every layer has a score.

        Warns
        -----
        UserWarning
            If a method and the reference did not score the same units of a side, for
            instance because a pipeline transforms the source. That direction is left
            out. So is the direction "cost", because costs of different measures have
            different units.

        Raises
        ------
        ValueError
            If there is no method with this name, or the level is not between 0 and 1.
        """
        known = list(dict.fromkeys(row["method"] for row in self.rows))
        if reference not in known:
            raise ValueError(
                f"`reference` must be one of the methods {known}; got {reference!r}."
            )
        if not 0 < confidence_level < 1:
            raise ValueError(
                f"`confidence_level` must be between 0 and 1; got {confidence_level}."
            )
        means = {
            tuple(row[column] for column in _PAIR): row["score"]
            for row in _average(self.rows, _PAIR)
        }
        tail = (1 - confidence_level) / 2
        differences = []
        for source, target, method, direction in means:
            key = source, target, method, direction
            reference_key = source, target, reference, direction
            if method == reference:
                continue
            if direction == "cost" and reference_key in means:
                self._warn_about_costs(key, reference)
            if not {key, reference_key} <= set(self._resampled):
                continue
            pairs = zip(self._units[key], self._units[reference_key], strict=True)
            if not all(_same_units(*pair) for pair in pairs):
                self._warn_about_other_units(key, reference)
                continue
            resampled = self._resampled[key] - self._resampled[reference_key]
            resampled = resampled[~np.isnan(resampled)]
            low, high = _interval(resampled, tail)
            differences.append(
                {
                    "source": source,
                    "target": target,
                    "method": method,
                    "reference": reference,
                    "direction": direction,
                    "difference": means[key] - means[reference_key],
                    "low": low,
                    "high": high,
                    "confidence_level": confidence_level,
                    "standard_error_over_stimuli": _deviation(resampled),
                    "n_bootstrap": len(resampled),
                }
            )
        return differences

    def _warn_about_costs(self, key, reference):
        """Warn that there is no difference between two costs."""
        source, target, method, _ = key
        warnings.warn(
            f"No difference of costs for source {source!r} and target {target!r}: the "
            f"costs of {method!r} and {reference!r} may have different units. Costs "
            "compare strategies above one inner estimator only: use "
            "`cross_val_score(..., scoring=skmot.metrics.negative_cost)`.",
            UserWarning,
            # This, differences, the caller.
            stacklevel=3,
        )

    def _warn_about_other_units(self, key, reference):
        """Warn that a method and the reference scored other units."""
        source, target, method, direction = key
        counts = [
            sum(
                row["n_units"]
                for row in self.rows
                if row["split"] == 0
                and [row[column] for column in _PAIR]
                == [source, target, name, direction]
            )
            for name in (method, reference)
        ]
        warnings.warn(
            f"No difference in the direction {direction!r} for source {source!r} and "
            f"target {target!r}: {method!r} scored {counts[0]} unit(s) and "
            f"{reference!r} {counts[1]}, and they are not the same units. A paired "
            "difference is between scores of the same units.",
            UserWarning,
            # This, differences, the caller.
            stacklevel=3,
        )


@dataclass(frozen=True)
class _Fit:
    """One fit: a method, a pair of networks, a split and a seed."""

    source: object
    target: object
    method: object
    split: int
    seed: int

    @property
    def pair(self):
        return self.source, self.target, self.method

    def __str__(self):
        return (
            f"method {self.method!r}, source {self.source!r}, target {self.target!r}, "
            f"split {self.split}"
        )


@dataclass(frozen=True)
class _Result:
    """Result of one fit: its rows, scores on resampled stimuli, and warnings."""

    rows: list
    resampled: dict
    units: dict
    log: list


@dataclass(frozen=True)
class _Scored:
    """Scores of one fit in one direction, and what tells the scored units apart."""

    direction: str
    layers: list
    scores: list
    n_units: list
    resampled: np.ndarray | None = None
    units: np.ndarray | None = None


def _fit_and_score(task, method, source, target, split, directions, counts):
    train, test = split
    rows, resampled, log = [], {}, []
    with recorded_warnings(log, str(task)):
        try:
            unfitted = clone(method)
            _seed(unfitted, task.seed)
            started = time.perf_counter()
            fitted = unfitted.fit(source[train], target[train])
            seconds = time.perf_counter() - started
            scored = _score(fitted, source[test], target[test], directions, counts)
        except (TypeError, ValueError) as error:
            error.add_note(f"({task})")
            raise
    if not scored:
        raise ValueError(
            f"Method {task.method!r} has no `inverse_predict`, so it cannot be scored "
            f"in directions={tuple(directions)}: add 'target', or leave the method out."
        )
    units = {}
    for part in scored:
        if part.resampled is not None:
            resampled[part.direction] = part.resampled
            units[part.direction] = part.units
        rows += [
            {
                "source": task.source,
                "target": task.target,
                "method": task.method,
                "direction": part.direction,
                "split": task.split,
                "layer": layer,
                "score": float(score),
                "n_units": n_units,
                "seconds": seconds,
            }
            for layer, score, n_units in zip(
                part.layers, part.scores, part.n_units, strict=True
            )
        ]
    return _Result(rows, resampled, units, log)


def _seed(estimator, seed):
    """Set each `random_state` that is None to a different seed, also in nested ones."""
    random = check_random_state(seed)
    parameters = estimator.get_params()
    unseeded = {
        name: random.randint(_LARGEST_SEED)
        for name in sorted(parameters)
        if name.split("__")[-1] == "random_state" and parameters[name] is None
    }
    if unseeded:
        estimator.set_params(**unseeded)


def _score(fitted, source, target, directions, counts):
    """Score a fitted estimator in each direction, or return its cost.

    Returns a list of `_Scored`.
    """
    names = {"target": target.names, "source": source.names}
    fitted, source, target = unwrap(fitted, source, target)
    if not hasattr(fitted, "predict"):
        if not hasattr(fitted, "cost_"):
            raise TypeError(
                f"{type(fitted).__name__} has no `predict` and learned no `cost_`: "
                "there is nothing to compare."
            )
        cost = fitted.cost_
        if hasattr(fitted, "held_out_cost"):
            cost = fitted.held_out_cost(source, target)
        return [_Scored("cost", [None], [cost], [None])]
    scored = []
    for direction in directions:
        if direction == "source" and not hasattr(fitted, "inverse_predict"):
            continue
        parts = reconstruct(fitted, direction, source, target)
        scores = layer_scores(parts)
        layers = names[direction] or range(len(scores))
        resampled = np.zeros(len(counts))
        for part in parts:
            resampled += part.weight * part.resampled_scores(counts)
        n_units = np.zeros(len(scores), dtype=int)
        for part in parts:
            n_units[part.layer] += np.count_nonzero(~np.isnan(part.unit_scores()))
        scored.append(
            _Scored(
                direction,
                layers,
                scores,
                n_units.tolist(),
                resampled / len(scores),
                np.concatenate([_tell_units(part.recorded) for part in parts]),
            )
        )
    return scored


def _tell_units(recorded):
    """Return one number per unit that differs between units, whatever their scale."""
    columns = unit_columns(recorded)
    direction = np.random.default_rng(0).normal(size=len(columns))
    return np.abs(direction @ columns)


def _same_units(first, second):
    """Whether two fits scored the same units."""
    return first.shape == second.shape and np.allclose(first, second, atol=_ALIKE)


def _read_networks(sources, targets):
    """Read both dicts of networks and check that they have the same stimuli."""
    networks, first, known = [], None, {}
    for argument, given in (("sources", sources), ("targets", targets)):
        if given is None:
            networks.append(networks[0])
            continue
        if not given:
            raise ValueError(f"`{argument}` is empty: give networks by name.")
        read = {}
        for name, network in given.items():
            where = f"{argument}[{name!r}]"
            # A network that is on both sides is read once, so that it is recognised.
            if id(network) not in known:
                known[id(network)], _ = read_side(network, where, allow_vector=False)
            read[name] = known[id(network)]
            if first is None:
                first = read[name], where
            check_same_length(first[0], read[name], first[1], where)
            check_same_stimuli(first[0].stimuli, read[name].stimuli, first[1], where)
        networks.append(read)
    return networks


def _read_pairs(networks, is_one_set, pairs):
    """Return the names of the pairs to compare."""
    sources, targets = networks
    if pairs is None:
        if is_one_set:
            pairs = list(itertools.combinations(sources, 2))
        else:
            pairs = [
                (source, target)
                for source, target in itertools.product(sources, targets)
                if sources[source] is not targets[target]
            ]
        if not pairs:
            raise ValueError("There is no pair: a network is not compared with itself.")
        return pairs
    pairs = [tuple(pair) for pair in pairs]
    if not pairs:
        raise ValueError("`pairs` is empty: give names of a source and a target.")
    for pair in pairs:
        if len(pair) != 2 or pair[0] not in sources or pair[1] not in targets:
            raise ValueError(
                f"`pairs` must have a source of {list(sources)} and a target of "
                f"{list(targets)} each; got {pair}."
            )
        if sources[pair[0]] is targets[pair[1]]:
            raise ValueError(f"`pairs` has {pair}, a network with itself.")
        if pairs.count(pair) > 1:
            raise ValueError(f"`pairs` has {pair} twice.")
    return pairs


def _digest(*arrays):
    """Return a hash of arrays of numbers."""
    found = sha256()
    for array in arrays:
        array = np.asarray(array, dtype=np.float64)
        found.update(f"{array.shape}".encode())
        found.update(np.ascontiguousarray(array))
    return found.hexdigest()


def _sample_counts(codes, n_bootstrap, random):
    """Sample groups with replacement, and count how often each row was sampled."""
    n_groups = codes.max() + 1
    counts = random.multinomial(n_groups, np.full(n_groups, 1 / n_groups), n_bootstrap)
    return counts[:, codes].astype(np.float64)


def _average(rows, by):
    """Average the scores of rows with equal values in the columns `by`."""
    found = {}
    for row in rows:
        found.setdefault(tuple(row[column] for column in by), []).append(row["score"])
    return [
        {**dict(zip(by, key, strict=True)), "score": float(np.mean(scores))}
        for key, scores in found.items()
    ]


def _spread(scores):
    n_splits = len(scores)
    deviation = _deviation(scores)
    return {
        "mean": float(scores.mean()),
        "standard_deviation_over_splits": deviation,
        "standard_error_over_splits": deviation / math.sqrt(n_splits),
        "n_splits": n_splits,
    }


def _deviation(scores):
    return float(np.std(scores, ddof=1)) if len(scores) > 1 else float("nan")


def _interval(resampled, tail):
    if len(resampled) == 0:
        return float("nan"), float("nan")
    return tuple(float(bound) for bound in np.quantile(resampled, [tail, 1 - tail]))

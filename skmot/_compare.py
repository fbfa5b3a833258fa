"""Compare methods on pairs of networks, on the same splits."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, validate_params
from sklearn.utils.parallel import Parallel, delayed

from skmot._base import DIRECTIONS
from skmot._held_out import layer_scores, reconstruct, unwrap
from skmot._labels import check_same_stimuli
from skmot._splits import make_splits, read_groups
from skmot._validation import check_same_length, read_side
from skmot._warnings import recorded_warnings, repeat_warnings

COLUMNS = (
    "source",
    "target",
    "method",
    "direction",
    "split",
    "layer",
    "score",
    "seconds",
)
_PAIR = ("source", "target", "method", "direction")
_LARGEST_SEED = np.iinfo(np.int32).max


@validate_params(
    {
        "sources": [Mapping],
        "targets": [Mapping],
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
    n_jobs=None,
    directions=("target", "source"),
    n_bootstrap=1000,
    random_state=None,
    verbose=True,
):
    """Fit every method to every pair of networks, on the same splits of the stimuli.

    Parameters
    ----------
    sources, targets : dict of LayerStack, list, dict, DataFrame or array-like
        Networks by name, all over the same stimuli.
    methods : dict of estimators
        Estimators by name; cloned, not changed. Pipelines, searches
        (:class:`~sklearn.model_selection.GridSearchCV`, by its best estimator) and
        :class:`skmot.preprocessing.TransformedTargetLayers`, scored on the transformed
        target, may wrap them.
    cv : int, splitter or iterable of (train, test)
        The splits, as scikit-learn takes them. With groups, a number means
        :class:`StimulusKFold`.
    groups : array-like of shape (n_rows,), default=None
        The stimulus of each row, where rows are repeats: splits must keep groups
        together, and the bootstrap draws groups.
    n_jobs : int, default=None
        Fits made at the same time, as `scikit-learn has it
        <https://scikit-learn.org/stable/glossary.html#term-n_jobs>`__. The scores do
        not depend on it.
    directions : sequence of {"target", "source"}, default=("target", "source")
        Which sides are reconstructed and scored; "source" where a method has
        `inverse_predict`.
    n_bootstrap : int, default=1000
        Resamples of the stimuli, for :meth:`Comparison.differences`.
    random_state : int, RandomState instance or None, default=None
        Of the resamples and the fits: each fit of a method whose `random_state`, at
        any depth, is None gets its own seed. A method's own int is kept, and then every
        fit makes the same draws: `MultiLevelOT(strategy="permuted")` should have none.
    verbose : bool, default=True
        Whether to print what the comparison costs: the number of fits before it starts,
        and a time once each method was fitted to the first pair.

    Returns
    -------
    comparison : Comparison
        All scores.

    Raises
    ------
    ValueError, TypeError
        If there is no network or method, networks differ in their stimuli, groups
        straddle a split, a method has neither a prediction nor a `cost_`, or none in
        the `directions`, or a method cannot be fitted or scored; the latter names the
        method and the pair.

    Warns
    -----
    Warning
        What the fits warn of, each once with its first method and pair and with how
        often it came, wherever the fits ran and whatever numbers it gives.

    Notes
    -----
    Scores are Pearson correlations as in :meth:`skmot.MultiLevelOT.layer_scores`,
    whatever a method's own `score` is. Methods without `predict` (RSA, CKA) give their
    `cost_`, which is in sample, in the direction "cost"; so its rows compare with no
    others.

    Besides the scores only `n_bootstrap` numbers a pair, method and direction are kept:
    while the predictions are there, the score is computed on every resample of the
    stimuli, which are the same for all methods and splits.

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
    if not methods:
        raise ValueError("`methods` is empty: give estimators by name.")
    unknown = set(directions) - set(DIRECTIONS)
    if unknown or not len(directions):
        raise ValueError(
            f"`directions` must be some of {DIRECTIONS}; got {tuple(directions)}."
        )
    n_rows = len(next(iter(networks[0].values())))
    codes = None if groups is None else read_groups(groups, n_rows)
    splits = make_splits(cv, n_rows, codes)
    random = check_random_state(random_state)
    counts = _draw_counts(
        np.arange(n_rows) if codes is None else codes, n_bootstrap, random
    )
    pairs = [(source, target) for source in networks[0] for target in networks[1]]
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

    # The first split of the first pair tells the time of each method.
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
    resampled = {}
    for task, result in zip(tasks, results, strict=True):
        for direction, scores in result.resampled.items():
            resampled.setdefault((*task.pair, direction), []).append(scores)
    return Comparison(
        rows=[row for result in results for row in result.rows],
        resampled={key: np.mean(scores, axis=0) for key, scores in resampled.items()},
        n_splits=len(splits),
    )


class Comparison:
    """Scores of methods on pairs of networks; what :func:`compare` returns.

    Attributes
    ----------
    rows : list of dict
        One a pair, method, direction, split and layer: "source", "target", "method",
        "direction" ("target", "source" or "cost"), "split", "layer" (its name or
        number; None for a cost), "score" (the held-out correlation; the cost in
        sample), "seconds" (of the fit, the same in all its rows).

    See Also
    --------
    compare : Makes it.
    """

    def __init__(self, rows, resampled, n_splits):
        self.rows = rows
        self._resampled = resampled
        self._n_splits = n_splits

    def __repr__(self):
        n_methods = len({row["method"] for row in self.rows})
        n_pairs = len({(row["source"], row["target"]) for row in self.rows})
        return (
            f"Comparison({n_methods} methods, {n_pairs} pairs, {self._n_splits} "
            f"splits, {len(self.rows)} rows)"
        )

    def to_frame(self):
        """Return the rows as a table.

        Returns
        -------
        frame : pandas.DataFrame
            One column a key of :attr:`rows`.
        """
        import pandas as pd

        return pd.DataFrame(self.rows, columns=COLUMNS)

    def summary(self, by=_PAIR):
        """Summarise scores over splits.

        In each split scores are averaged over layers and then over whatever `by` does
        not keep apart.

        Parameters
        ----------
        by : sequence of str, default=("source", "target", "method", "direction")
            The columns kept apart; ("method", "direction") averages over pairs.

        Returns
        -------
        summary : list of dict
            With the columns of `by` and

            - "mean": over splits;
            - "standard_deviation_over_splits": with n_splits - 1; NaN for one split;
            - "standard_error_over_splits": that over the square root of "n_splits". It
              takes splits as independent, which those that share training rows are not:
              it is then too small;
            - "n_splits".

        Raises
        ------
        ValueError
            If `by` is not of these columns, or leaves out "direction", so that costs
            would be averaged with correlations.
        """
        by = tuple(by)
        if not set(by) <= {*_PAIR, "layer"} or "direction" not in by:
            raise ValueError(
                f"`by` must be some of {(*_PAIR, 'layer')}, with 'direction'; got {by}."
            )
        # Layers first, so that a network counts once whatever its depth.
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
        """Compare each method with one of them, paired by split and by stimulus.

        The interval is a percentile bootstrap over held-out stimuli (groups, where
        there were any): both methods are scored on the same resamples, drawn once for
        all splits. It tells how far the difference may be due to the stimuli that were
        held out; the fits are kept, so it does not tell how training stimuli matter.

        Parameters
        ----------
        reference : str
            The method the others are compared with.
        confidence_level : float, default=0.95
            Of the interval, between 0 and 1.

        Returns
        -------
        differences : list of dict
            One a pair, direction and other method, with "source", "target", "method",
            "reference", "direction" and

            - "difference": score of the method minus that of the reference, mean over
              splits;
            - "low", "high": of the interval, at "confidence_level";
            - "standard_error_over_stimuli": standard deviation of the bootstrap;
            - "n_bootstrap": resamples in which every layer could be scored.

        Raises
        ------
        ValueError
            If there is no such method, or the level is not between 0 and 1.
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
            own = source, target, method, direction
            other = source, target, reference, direction
            if method == reference or not {own, other} <= set(self._resampled):
                continue
            resampled = self._resampled[own] - self._resampled[other]
            resampled = resampled[~np.isnan(resampled)]
            low, high = _interval(resampled, tail)
            differences.append(
                {
                    "source": source,
                    "target": target,
                    "method": method,
                    "reference": reference,
                    "direction": direction,
                    "difference": means[own] - means[other],
                    "low": low,
                    "high": high,
                    "confidence_level": confidence_level,
                    "standard_error_over_stimuli": _deviation(resampled),
                    "n_bootstrap": len(resampled),
                }
            )
        return differences


@dataclass(frozen=True)
class _Fit:
    """One method fitted to one pair in one split."""

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
    """Rows of one fit, its scores on resampled stimuli, and what it warned of."""

    rows: list
    resampled: dict
    log: list


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
            f"Method {task.method!r} has no `inverse_predict`, so that nothing can be "
            f"scored in directions={tuple(directions)}: add 'target', or leave it out."
        )
    for direction, layers, scores, resamples in scored:
        if resamples is not None:
            resampled[direction] = resamples
        rows += [
            {
                "source": task.source,
                "target": task.target,
                "method": task.method,
                "direction": direction,
                "split": task.split,
                "layer": layer,
                "score": float(score),
                "seconds": seconds,
            }
            for layer, score in zip(layers, scores, strict=True)
        ]
    return _Result(rows, resampled, log)


def _seed(estimator, seed):
    """Give every `random_state` that is None, at any depth, a seed of its own."""
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
    """Score each direction a fitted estimator has; else read its cost."""
    names = {"target": target.names, "source": source.names}
    fitted, source, target = unwrap(fitted, source, target)
    if not hasattr(fitted, "predict"):
        if not hasattr(fitted, "cost_"):
            raise TypeError(
                f"{type(fitted).__name__} has no `predict` and learned no `cost_`: "
                "there is nothing to compare."
            )
        return [("cost", [None], [fitted.cost_], None)]
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
        scored.append((direction, layers, scores, resampled / len(scores)))
    return scored


def _read_networks(sources, targets):
    """Read both dicts of networks, and check that all show the same stimuli."""
    networks, first = [], None
    for argument, given in (("sources", sources), ("targets", targets)):
        if not given:
            raise ValueError(f"`{argument}` is empty: give networks by name.")
        read = {}
        for name, network in given.items():
            where = f"{argument}[{name!r}]"
            read[name], _ = read_side(network, where)
            if first is None:
                first = read[name], where
            check_same_length(first[0], read[name], first[1], where)
            check_same_stimuli(first[0].stimuli, read[name].stimuli, first[1], where)
        networks.append(read)
    return networks


def _draw_counts(codes, n_bootstrap, random):
    """Draw groups with replacement; count how often each row was drawn."""
    n_groups = codes.max() + 1
    drawn = random.multinomial(n_groups, np.full(n_groups, 1 / n_groups), n_bootstrap)
    return drawn[:, codes].astype(np.float64)


def _average(rows, by):
    """Average scores over rows that agree in some columns, in order of appearance."""
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

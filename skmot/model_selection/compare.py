"""Comparison of methods on pairs of networks, with the same splits for all methods."""

import itertools
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from numbers import Integral

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state

from skmot._scores import DIRECTIONS, layer_scores, reconstruct, unwrap
from skmot._units import unit_columns
from skmot._utils.parallel import run_in_parallel
from skmot._utils.progress import function_task
from skmot._utils.sklearn import Interval, validate_params
from skmot._utils.warnings import recorded_warnings, repeat_warnings
from skmot.layers.names import name_arrays_of
from skmot.layers.sides import read_side
from skmot.layers.splits import make_splits, read_groups, repeated_groups
from skmot.metrics import hierarchy_score
from skmot.model_selection.comparison import Comparison
from skmot.model_selection.comparison_facts import ComparisonFacts
from skmot.model_selection.networks import (
    digest,
    identify_networks,
    read_networks,
    read_pairs,
)
from skmot.model_selection.resamples import Resamples
from skmot.multilevel.cache import LayerCache
from skmot.multilevel.estimators import (
    LayerCoupler,
    MultiLevelOT,
    MultiLevelOTRotation,
)
from skmot.multilevel.store import describe

KEPT = ("couplings", "hierarchy_scores", "unit_scores")
_LARGEST_SEED = np.iinfo(np.int32).max


@validate_params(
    {
        "sources": [Mapping],
        "targets": [Mapping, None],
        "pairs": ["array-like", None],
        "methods": [Mapping],
        "cv": ["cv_object"],
        "keep": ["array-like"],
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
    keep=(),
    n_jobs=None,
    directions=("target", "source"),
    n_bootstrap=1000,
    random_state=None,
    verbose=True,
    callbacks=None,
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
    keep : sequence of {"couplings", "hierarchy_scores", "unit_scores"}, default=()
        What to keep of each fit, in :attr:`Comparison.kept`. Nothing by default,
        because couplings of units can be large.
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
    callbacks : callback or list of callbacks, default=None
        Callbacks of scikit-learn that follow the progress, one task for each fit:
        for instance :class:`sklearn.callback.ProgressBar`, which needs
        ``pip install 'skmot[progress]'``.
        Methods that share a fit are one task. `verbose` prints in addition.

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
    Methods that differ only in the `strategy` or the `depth_prior` of a
    :class:`skmot.MultiLevelOT` or :class:`skmot.MultiLevelOTRotation` share one fit:
    the pairs of layers are fitted for the first of them, and only the layers are
    coupled again for the others. Scores are the same as those of separate fits. The
    methods can be inside Pipelines and
    :class:`skmot.preprocessing.TransformedTargetLayers`, if these are the same, too.
    Methods with a `random_state` of None that the fits of the pairs depend on, and
    with functions that have no name in a module, do not share a fit.

    Scores are Pearson correlations as in :meth:`skmot.MultiLevelOT.layer_scores`, even
    if the `score` of a method is a different one. Estimators of one pair of populations
    treat all layers of a network as one population, side by side; inside of a
    :class:`skmot.MultiLevelOT` they compare layer by layer. ``print(comparison)`` tells
    which methods do so. Methods without `predict` (RSA, CKA)
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
    >>> print(comparison)  # doctest: +ELLIPSIS
    method  direction   mean    low   high
     plain     target  0.729  0.679  0.767
    ...
    >>> row = comparison.summary()[0]
    >>> row["method"], row["direction"], round(row["mean"], 1)
    ('plain', 'target', 0.7)
    """
    networks = read_networks(sources, targets)
    pairs = read_pairs(networks, targets is None, pairs)
    if not methods:
        raise ValueError("`methods` is empty: give estimators by name.")
    for name, method in methods.items():
        if isinstance(method, type) or not hasattr(method, "fit"):
            raise TypeError(f"`methods` must be estimators; {name!r} is {method!r}.")
    unknown = set(directions) - set(DIRECTIONS)
    if unknown or not len(directions):
        raise ValueError(
            f"`directions` must be some of {DIRECTIONS}; got {tuple(directions)}."
        )
    if isinstance(keep, str) or set(keep) - set(KEPT):
        raise ValueError(f"`keep` must be a list with some of {KEPT}; got {keep!r}.")
    n_rows = len(next(iter(networks[0].values())))
    stacks = [*networks[0].values(), *networks[1].values()]
    groups = repeated_groups(groups, *stacks)
    codes = None if groups is None else read_groups(groups, n_rows)
    splits = make_splits(cv, n_rows, codes, groups)
    random = check_random_state(random_state)
    counts = _sample_counts(
        np.arange(n_rows) if codes is None else codes, n_bootstrap, random
    )
    descriptions = {name: _describe_cost(method) for name, method in methods.items()}
    sharing = _share_fits(methods, descriptions)
    tasks = [
        _Fit(source, target, method, number, random.randint(_LARGEST_SEED))
        for source, target in pairs
        for number in range(len(splits))
        for method in methods
    ]
    # Methods that share a fit are one call.
    by_fit = {}
    for task in tasks:
        fit = task.source, task.target, task.split, sharing[task.method]
        by_fit.setdefault(fit, []).append(task)
    calls = list(by_fit.values())

    def run(chosen, n_jobs, resamples, task):
        found = run_in_parallel(
            _fit_and_score,
            (
                (
                    together,
                    {task.method: methods[task.method] for task in together},
                    networks[0][together[0].source],
                    networks[1][together[0].target],
                    splits[together[0].split],
                    directions,
                    keep,
                    resamples[together[0].split],
                )
                for together in chosen
            ),
            n_jobs,
            in_threads=False,
            tasks=task.parts("; ".join(map(str, together)) for together in chosen),
        )
        return [result for _, results, _ in found for result in results]

    # The fits to the first split of the first pair measure the time of each method.
    n_first = len(set(sharing.values()))
    if verbose:
        shared = len(tasks) - len(calls)
        said = f", {shared} of which only couple layers again" if shared else ""
        print(
            f"{len(methods)} method(s) x {len(pairs)} pair(s) x {len(splits)} split(s) "
            f"= {len(tasks)} fits{said}",
            flush=True,
        )
    with (
        function_task("compare", callbacks, len(calls)) as task,
        closing(LayerCache()) as cache,
    ):
        resamples = [Resamples(counts[:, test], cache) for _, test in splits]
        started = time.perf_counter()
        results = run(calls[:n_first], None, resamples, task)
        seconds = time.perf_counter() - started
        rest = calls[n_first:]
        if verbose:
            expected = seconds * len(rest) / n_first / effective_n_jobs(n_jobs)
            print(
                f"The first fit of each method took {seconds:.2g} s in all: about "
                f"{expected:.2g} s more, if other pairs are as large.",
                flush=True,
            )
        results += run(rest, n_jobs, resamples, task)
    of_task = {result.task: result for result in results}
    results = [of_task[task] for task in tasks]
    # repeat_warnings, compare, scikit-learn's wrapper, the caller.
    repeat_warnings([entry for result in results for entry in result.log])
    resampled, units = {}, {}
    for task, result in zip(tasks, results, strict=True):
        for direction, scores in result.resampled.items():
            resampled.setdefault((*task.pair, direction), []).append(scores)
            units.setdefault((*task.pair, direction), []).append(
                result.units[direction]
            )
    return Comparison(
        rows=[row for result in results for row in result.rows],
        kept=[result.kept for result in results] if len(keep) else [],
        facts=ComparisonFacts(
            n_splits=len(splits),
            design=digest(counts, *itertools.chain.from_iterable(splits)),
            resampled={
                key: np.mean(scores, axis=0) for key, scores in resampled.items()
            },
            units=units,
            identities=identify_networks(networks, pairs),
            is_one_set=targets is None,
            costs=descriptions,
            layers={result.task.pair: result.layers for result in results},
        ),
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

    task: _Fit
    rows: list
    kept: dict
    resampled: dict
    units: dict
    layers: str | None
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
    unit_scores: list = field(default_factory=list)


def _fit_and_score(tasks, methods, source, target, split, directions, keep, resamples):
    """Fit and score the methods of some tasks, which share one fit.

    The first method is fitted. The others couple the layers of that fit again.
    """
    train, test = split
    names = {"target": target.names, "source": source.names}
    results, shared, shared_seconds = [], None, 0.0
    for task in tasks:
        log = []
        with recorded_warnings(log, str(task)):
            try:
                estimator = clone(methods[task.method])
                set_seeds(estimator, task.seed)
                started = time.perf_counter()
                if shared is None:
                    estimator.fit(source[train], target[train])
                    shared_seconds = time.perf_counter() - started
                    seconds = shared_seconds
                    shared, *held_out = unwrap(estimator, source[test], target[test])
                    fitted = shared
                else:
                    fitted = _final_step(estimator)._fit_again(shared)
                    seconds = shared_seconds + time.perf_counter() - started
                scored = _score(fitted, *held_out, names, directions, resamples)
            except (TypeError, ValueError) as error:
                error.add_note(f"({task})")
                raise
            if not scored:
                raise ValueError(
                    f"Method {task.method!r} has no `inverse_predict`, so it cannot be "
                    f"scored in directions={tuple(directions)}: add 'target', or leave "
                    "the method out."
                )
            sides = dict(zip(("source", "target"), held_out, strict=True))
            kept = _keep(keep, fitted, scored, sides)
            layers = _how_layers_are_seen(fitted, source, target)
            results.append(_collect(task, kept, scored, seconds, layers, log))
    return results


def _how_layers_are_seen(fitted, source, target):
    """Return whether a method treats the layers of a network as one population.

    Parameters
    ----------
    fitted : estimator
        Fitted estimator, as `unwrap` returns it.
    source, target : LayerStack
        The two networks.

    Returns
    -------
    layers : {"side by side", "one by one"} or None
        None if both networks have one layer, or the method is not skmot's.
    """
    if source.n_layers == target.n_layers == 1:
        return None
    if isinstance(fitted, LayerCoupler):
        return "one by one"
    # What estimators of one pair of populations write.
    return "side by side" if hasattr(fitted, "_solve") else None


def _collect(task, kept, scored, seconds, layers, log):
    """Return the result of one task."""
    rows = [
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
        for part in scored
        for layer, score, n_units in zip(
            part.layers, part.scores, part.n_units, strict=True
        )
    ]
    kept = {
        "source": task.source,
        "target": task.target,
        "method": task.method,
        "split": task.split,
        **kept,
    }
    resampled = [part for part in scored if part.resampled is not None]
    return _Result(
        task,
        rows,
        kept,
        {part.direction: part.resampled for part in resampled},
        {part.direction: part.units for part in resampled},
        layers,
        log,
    )


def _keep(keep, fitted, scored, held_out):
    """Return what is kept of a fitted estimator and its scores.

    Parameters
    ----------
    keep : sequence of str
        What to keep.
    fitted : estimator
        Fitted estimator, as `unwrap` returns it.
    scored : list of _Scored
        Its scores.
    held_out : dict of LayerStack
        Held-out rows of "source" and "target", as `unwrap` returns them.

    Returns
    -------
    kept : dict
        Entries of `Comparison.kept`.
    """
    kept = {}
    if "couplings" in keep:
        for side in ("coupling", "inverse_coupling"):
            kept[side] = getattr(fitted, f"{side}_", None)
        kept |= _names_of_layers(fitted)
    if "hierarchy_scores" in keep:
        kept |= _hierarchy_scores(fitted)
    if "unit_scores" in keep:
        predicted = [part for part in scored if part.unit_scores]
        kept["unit_scores"] = {part.direction: part.unit_scores for part in predicted}
        kept["unit_names"] = {
            part.direction: _names_of_units(held_out[part.direction])
            for part in predicted
        }
    return kept


def _names_of_layers(fitted):
    """Return the names of the layers that are coupled, None if none are."""
    names = {"source_layers": None, "target_layers": None}
    if isinstance(fitted, LayerCoupler):
        shape = fitted.coupling_.shape
        for side, n_layers in zip(("source", "target"), shape, strict=True):
            names[f"{side}_layers"] = list(
                getattr(fitted, f"{side}_names_") or range(n_layers)
            )
    return names


def _names_of_units(side):
    """Return the names of the units of each layer, None for layers without names."""
    names = {}
    for array in name_arrays_of(read_side(side, "the scored side")[0]):
        names.setdefault(array.path[0], []).append(array.unit_names)
    return [
        None if None in of_layer else list(itertools.chain(*of_layer))
        for of_layer in names.values()
    ]


def _hierarchy_scores(fitted):
    """Return the hierarchy scores of a layer coupling, NaN where there are none."""
    score = adjusted = float("nan")
    if isinstance(fitted, LayerCoupler):
        score = hierarchy_score(fitted.coupling_)
        if 1 not in fitted.coupling_.shape:
            adjusted = hierarchy_score(fitted.coupling_, adjusted=True)
    return {"hierarchy_score": score, "adjusted_hierarchy_score": adjusted}


def _describe_cost(method):
    """Describe the cost of a method: equal for couplings above one inner estimator.

    Returns None if the method is no LayerCoupler, or its settings cannot be described.
    """
    method = clone(method)
    final = _final_step(method)
    if not isinstance(final, LayerCoupler):
        return None
    final.set_params(strategy="transport", depth_prior=0.0)
    try:
        return describe(method, type(final).__name__)
    except ValueError:
        return None


def _final_step(method):
    """Return what unfitted pipelines and target transformers end in."""
    while isinstance(method, Pipeline) or hasattr(method, "_transform_target"):
        method = method[-1] if isinstance(method, Pipeline) else method.regressor
    return method


def _share_fits(methods, descriptions):
    """Return a key for each method, equal for methods that share a fit.

    Parameters
    ----------
    methods : dict of estimators
        Methods by name.
    descriptions : dict of str or None
        Description of the cost of each method, from `_describe_cost`.

    Returns
    -------
    sharing : dict
        Hashable key of each method.
    """
    sharing = {}
    for name, method in methods.items():
        sharing[name] = name
        # A subclass can couple layers in other ways.
        is_built_in = type(_final_step(method)) in (MultiLevelOT, MultiLevelOTRotation)
        if is_built_in and descriptions[name] is not None:
            parts = method.get_params().values()
            # Classes that were defined in functions can have the same name.
            classes = [type(part) for part in parts if hasattr(part, "get_params")]
            sharing[name] = descriptions[name], *classes
    return sharing


def set_seeds(estimator, seed):
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


def _score(fitted, source, target, names, directions, resamples):
    """Score a fitted estimator in each direction, or return its cost.

    Parameters
    ----------
    fitted : estimator
        Fitted estimator, as `unwrap` returns it.
    source, target : LayerStack
        Held-out rows, as `unwrap` returns them.
    names : dict
        Names of the layers of each side, or None.
    directions : sequence of {"target", "source"}
        Sides to reconstruct.
    resamples : Resamples
        Resamples of the held-out rows.

    Returns
    -------
    scored : list of _Scored
        Scores in each direction.
    """
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
        resampled = sum(part.weight * resamples.scores(part) for part in parts)
        unit_scores = [
            np.concatenate([p.unit_scores() for p in parts if p.layer == layer])
            for layer in range(len(scores))
        ]
        scored.append(
            _Scored(
                direction,
                layers,
                scores,
                [int(np.count_nonzero(~np.isnan(layer))) for layer in unit_scores],
                resampled / len(scores),
                np.concatenate([_tell_units(part.recorded) for part in parts]),
                unit_scores,
            )
        )
    return scored


def _tell_units(recorded):
    """Return one number per unit that differs between units, whatever their scale."""
    columns = unit_columns(recorded)
    direction = np.random.default_rng(0).normal(size=len(columns))
    return np.abs(direction @ columns)


def _sample_counts(codes, n_bootstrap, random):
    """Sample groups with replacement, and count how often each row was sampled."""
    n_groups = codes.max() + 1
    counts = random.multinomial(n_groups, np.full(n_groups, 1 / n_groups), n_bootstrap)
    return counts[:, codes].astype(np.float64)

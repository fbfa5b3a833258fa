"""Permutation controls, which test held-out scores against chance."""

import itertools
import math
import warnings
from dataclasses import dataclass, field
from numbers import Integral

import numpy as np
from sklearn.base import clone
from sklearn.utils import Bunch, check_random_state

from skmot._scores import (
    DIRECTIONS,
    layer_scores,
    pair_arrays,
    reconstruct_held_out,
    unwrap,
)
from skmot._units import column_correlations, constant_units, unit_columns
from skmot._utils.array_api import to_numpy
from skmot._utils.orthogonal import random_rotation
from skmot._utils.sklearn import (
    HasMethods,
    Interval,
    StrOptions,
    validate_params,
)
from skmot._utils.warnings import recorded_warnings, repeat_warnings
from skmot.layers import LayerStack
from skmot.layers.checks import check_layer
from skmot.layers.sides import read_pair
from skmot.model_selection.permutations import (
    PiecePermutations,
    row_permutations,
    say_permuted,
    warn_about_near_rows,
)
from skmot.model_selection.splits import make_splits, read_groups, repeated_groups
from skmot.multilevel.estimators import LayerCoupler

CONTROLS = ("layers", "stimuli", "basis")
# Sums in another order differ by rounding errors. Null scores that are lower than the
# score by less than this are treated as equal to it, which makes the p-value larger.
_TIE = 1e-10
# A warning is raised if the smallest possible p-value is above this significance level.
_USUAL_LEVEL = 0.05
# Products of held-out rows, and of permutations, are computed in blocks of about this
# many entries (32 MB).
_BLOCK_ENTRIES = 4_000_000


@validate_params(
    {
        "estimator": [HasMethods(["fit"])],
        "control": [StrOptions(set(CONTROLS))],
        "cv": ["cv_object"],
        "blocks": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"circular"}),
            None,
        ],
        "refit": ["boolean"],
        "n_permutations": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "direction": [StrOptions(set(DIRECTIONS))],
    },
    prefer_skip_nested_validation=False,
)
def permutation_control(
    estimator,
    X,
    y,
    *,
    control,
    cv,
    groups=None,
    blocks=None,
    refit=False,
    n_permutations=999,
    random_state=None,
    direction="target",
):
    """Test held-out scores against scores after permuting one aspect of the data.

    The estimator is fitted to the training rows of each split and scored on the
    held-out rows. Null scores are computed in the same way after one aspect of the data
    or of the fits was randomised. The score is the Pearson correlation, averaged over
    units and then over layers, even if the `score` of the estimator is a different one.

    Parameters
    ----------
    estimator : estimator
        Estimator with `predict`, or with `inverse_predict` for `direction="source"`. It
        is cloned. `control="layers"` needs a :class:`skmot.MultiLevelOT` or
        :class:`skmot.MultiLevelOTRotation`, or a Pipeline that ends in one. A
        :class:`skmot.preprocessing.TransformedTargetLayers` is scored on the
        transformed target.
    X, y : LayerStack, list, dict, DataFrame or array-like
        Source and target layers over the same stimuli.
    control : {"layers", "stimuli", "basis"}
        Aspect to randomise.

        - "layers": the correspondence of layers (Perm-P of [1]_). The rows of the layer
          coupling of each fit are permuted, with the same permutations in all splits.
          The unit plans do not change. The predictions of layer pairs are computed once
          for each split. A permutation only changes their weights, so it needs no fit
          and no pass over the stimuli.
        - "stimuli": the correspondence of held-out rows of the source and the target.
          The estimator is not refitted, unless `refit` is True.
        - "basis": the units of the source layers. Each source layer is rotated by a
          rotation sampled uniformly from SO(N), and the estimator is refitted. This
          takes `n_permutations` times the number of splits fits, and the rotations.
          Units that are constant over the training rows of a split are not rotated.
    cv : int, splitter or iterable of (train, test)
        Splits, as in scikit-learn. If `groups` are given, an int means
        :class:`StimulusKFold`.
    groups : array-like of shape (n_rows,), default=None
        Stimulus of each row, if several rows repeat a stimulus. The splits must keep
        groups together. "stimuli" permutes whole groups of the same size. None uses the
        stimulus labels of X or y if some of them repeat, except with `blocks`.
    blocks : int, "circular" or None, default=None
        For "stimuli", if rows are a time series: an int permutes blocks of this many
        consecutive rows, and "circular" shifts the rows circularly. Held-out rows must
        be consecutive.
    refit : bool, default=False
        For "stimuli": whether to permute the rows before splitting, and refit the
        estimator for each permutation.
    n_permutations : int, default=999
        Number of null scores. If there are at most this many distinct permutations, all
        of them are used, about equally often.
    random_state : int, RandomState instance or None, default=None
        Controls the randomness of the permutations and rotations. Pass an int for
        reproducible output across multiple function calls.
    direction : {"target", "source"}, default="target"
        Side to reconstruct and score.

    Returns
    -------
    result : :class:`sklearn.utils.Bunch`
        Dictionary-like object with the attributes

        scores : ndarray of shape (n_splits,)
            Held-out score of each split.
        score : float
            Mean of `scores`.
        null_scores : ndarray of shape (n_permutations,)
            Score of each permutation, averaged over splits.
        p_value : float
            (b + 1) / (n + 1), where b of the n null scores are at least `score`.
        smallest_p : float
            Smallest p-value that these permutations can give. If the number of distinct
            permutations does not divide `n_permutations + 1`, the smallest attainable
            value can be larger by less than 1 / `n_permutations`.
        null_hypothesis : str
            Null hypothesis that a small p-value rejects.
        conservative : bool
            Whether the p-value is an upper bound, see Notes.
        movable_share : float
            Share of the rows that can change places, of (0, 1]. Groups of a size of
            their own stay where they are.
        control, direction : str
            The given values.

    Raises
    ------
    ValueError
        If an option does not match the control, a split separates rows of one group,
        `blocks` are given and held-out rows are not consecutive, there is only one
        permutation, or the networks cannot be fitted or scored.
    TypeError
        If `control="layers"` and the estimator has no layer coupling.

    Warns
    -----
    UserWarning
        If `smallest_p` is above 0.05, so that no result can be significant. For
        example, three layers have 3! = 6 orders, and the p-value of "layers" is at
        least 1/6. A warning is also raised if `blocks` are given and training rows are
        at most one block from held-out rows (one row for "circular").
    Warning
        Each warning of the fits is raised once, with the number of times it occurred.

    Notes
    -----
    The p-value is valid if the permutations do not change the distribution of the data
    under the null hypothesis. This holds for single rows if rows are independent, and
    for groups if groups are independent. Rows of a time series need blocks that are
    longer than their autocorrelation, or circular shifts if the process is stationary.

    Without refitting, "stimuli" is exact for a single split, and for splits that train
    on earlier rows only (`TimeSeriesSplit`). In k-fold cross-validation and in repeated
    random splits, the held-out rows of one split are training rows of another one. The
    scores of the splits are then dependent, and independent permutations in each split
    would give a null distribution that is too narrow. (For five folds of 60 rows and
    two unrelated networks of two layers of 15 units, 13 % of 400 simulated p-values
    were 0.05 or less.) For such splits, the null scores of each split are sorted before
    they are averaged over splits: null score k is the mean of the k-th smallest null
    score of each split. This treats the splits as perfectly dependent. The p-value is
    then larger than necessary, and `conservative` is True. `refit=True` is exact for
    all splits.

    In a time series, rows shortly after the training rows are correlated with them.
    Leave a gap between training and held-out rows: `TimeSeriesSplit(gap=...)`.

    References
    ----------
    .. [1] Representational alignment across model layers and brain regions with
       multi-level optimal transport.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import ShuffleSplit
    >>> from skmot import SoftMatching
    >>> from skmot.model_selection import permutation_control
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 8))
    >>> y = X[:, ::-1] + rng.normal(size=(60, 8))
    >>> cv = ShuffleSplit(1, test_size=0.3, random_state=0)
    >>> result = permutation_control(
    ...     SoftMatching(), X, y, control="stimuli", cv=cv, random_state=0
    ... )
    >>> round(result.score, 1), result.p_value
    (0.7, 0.001)
    """
    if control != "stimuli" and (blocks is not None or refit):
        raise ValueError(
            "`blocks` and `refit` are options of control='stimuli'; got "
            f"control={control!r}."
        )
    if groups is not None and blocks is not None:
        raise ValueError(
            "`groups` and `blocks` are two ways to keep rows together: give one."
        )
    X, y, *_ = read_pair(X, y)
    if blocks is None:
        groups = repeated_groups(groups, X, y)
    codes = None if groups is None else read_groups(groups, len(X))
    task = _Task(
        estimator,
        X,
        y,
        direction,
        make_splits(cv, len(X), codes, groups),
        n_permutations,
        check_random_state(random_state),
    )
    if control == "layers":
        outcome = _permute_layers(task)
    elif control == "basis":
        outcome = _rotate_sources(task)
    elif refit:
        outcome = _permute_and_refit(task, codes, blocks)
    else:
        outcome = _permute_held_out(task, codes, blocks)
    # repeat_warnings, permutation_control, scikit-learn's wrapper, the caller.
    repeat_warnings(task.log, stacklevel=4)
    return _conclude(outcome, control, direction, is_grouped=codes is not None)


@dataclass(frozen=True)
class _Task:
    """Estimator, data, splits and permutations of one control."""

    estimator: object
    X: LayerStack
    y: LayerStack
    direction: str
    splits: list
    n_permutations: int
    random: np.random.RandomState
    # Warnings of the fits.
    log: list = field(default_factory=list)

    def fits(self, X=None, y=None):
        """Yield the fitted estimator and the held-out rows of X and y of each split."""
        X, y = (self.X if X is None else X), (self.y if y is None else y)
        for train, test in self.splits:
            with recorded_warnings(self.log):
                fitted = clone(self.estimator).fit(X[train], y[train])
            yield fitted, X[test], y[test]

    def refitted_scores(self, X=None, y=None):
        """Return the score of each split. X and y replace the data of the task."""
        return np.array(
            [
                layer_scores(
                    reconstruct_held_out(fitted, self.direction, *held_out)
                ).mean()
                for fitted, *held_out in self.fits(X, y)
            ]
        )


@dataclass(frozen=True)
class _Outcome:
    """Scores, null scores, and the null hypothesis that they test."""

    scores: np.ndarray
    null_scores: np.ndarray
    n_distinct: int | float
    null_hypothesis: str
    conservative: bool = False
    movable_share: float = 1.0


def _conclude(outcome, control, direction, is_grouped):
    """Compute the p-value, and warn if it cannot be small."""
    score, null_scores = outcome.scores.mean(), outcome.null_scores
    n_as_good = int(np.count_nonzero(null_scores >= score - _TIE))
    # The minimum is taken first: the number of permutations can exceed the largest
    # float.
    n_attainable = min(outcome.n_distinct, len(null_scores) + 1)
    smallest = 1 / n_attainable
    if is_grouped and outcome.movable_share < 1:
        warnings.warn(
            f"Only {outcome.movable_share:.0%} of the rows can move: a group changes "
            "places with groups of its size, and some sizes occur once. The null "
            "scores keep a part of the effect: the p-value is too large. Average the "
            "rows of each group first, or give every group as many rows.",
            UserWarning,
            # _conclude, permutation_control, scikit-learn's wrapper, the caller.
            stacklevel=4,
        )
    if smallest > _USUAL_LEVEL:
        reason = (
            "raise `n_permutations`"
            if n_attainable == len(null_scores) + 1
            else f"only {n_attainable} permutations are distinct"
        )
        warnings.warn(
            f"The p-value of control={control!r} cannot be below {smallest:.3g}: "
            f"{reason}.",
            UserWarning,
            # _conclude, permutation_control, scikit-learn's wrapper, the caller.
            stacklevel=4,
        )
    return Bunch(
        scores=outcome.scores,
        score=float(score),
        null_scores=null_scores,
        p_value=(n_as_good + 1) / (len(null_scores) + 1),
        smallest_p=smallest,
        null_hypothesis=outcome.null_hypothesis,
        conservative=outcome.conservative,
        movable_share=outcome.movable_share,
        control=control,
        direction=direction,
    )


# -- stimuli -------------------------------------------------------------------------


def _permute_held_out(task, codes, blocks):
    # Invalid options raise an error before the fits, which can take long.
    permutations = [row_permutations(test, codes, blocks) for _, test in task.splits]
    if blocks is not None:
        warn_about_near_rows(task.splits, 1 if blocks == "circular" else blocks)
    conservative = _are_splits_dependent(task.splits)
    scores, null_scores, n_distinct = [], [], []
    for allowed, (fitted, *held_out) in zip(permutations, task.fits(), strict=True):
        orders = allowed.sample(task.n_permutations, task.random)
        parts = reconstruct_held_out(fitted, task.direction, *held_out)
        scores.append(layer_scores(parts).mean())
        null_scores.append(_permuted_scores(parts, orders))
        n_distinct.append(allowed.n_distinct)
    if conservative:
        null_scores = [np.sort(null) for null in null_scores]
    what = say_permuted(codes, blocks)
    return _Outcome(
        np.array(scores),
        np.mean(null_scores, axis=0),
        max(n_distinct) if conservative else math.prod(n_distinct),
        f"Given the fits, held-out {what} of the source are unrelated to those of the "
        "target: any of them could belong to any other.",
        conservative,
        float(np.mean([allowed.movable_share for allowed in permutations])),
    )


def _permuted_scores(parts, orders):
    """Score each order of the reconstructed rows against the recorded ones.

    Correlations are sums over stimuli of products of rows. Therefore one matrix of
    products gives the scores of all orders.
    """
    n_layers = parts[-1].layer + 1
    recorded, reconstructed = [], []
    for part in parts:
        columns = unit_columns(part.recorded)
        n_counted = np.count_nonzero(columns.any(axis=0))
        recorded.append(columns * (part.weight / (n_layers * n_counted)))
        reconstructed.append(unit_columns(part.reconstructed))
    recorded, reconstructed = np.hstack(recorded), np.hstack(reconstructed)
    n_rows = len(recorded)
    scores = np.zeros(len(orders))
    height = max(1, _BLOCK_ENTRIES // max(n_rows, len(orders)))
    for start in range(0, n_rows, height):
        rows = slice(start, start + height)
        products = recorded[rows] @ reconstructed.T
        scores += products[np.arange(len(products)), orders[:, rows]].sum(axis=1)
    return scores


def _are_splits_dependent(splits):
    """Whether two splits share held-out rows or train on each other's held-out rows."""
    return any(
        np.intersect1d(test, other_test).size
        or (
            np.intersect1d(test, other_train).size
            and np.intersect1d(other_test, train).size
        )
        for (train, test), (other_train, other_test) in itertools.combinations(
            splits, 2
        )
    )


def _permute_and_refit(task, codes, blocks):
    permutations = row_permutations(np.arange(len(task.y)), codes, blocks)
    # With labels, the fit would raise an error, because permuted stimuli do not match.
    target = task.y.with_stimuli(None)
    null_scores = [
        task.refitted_scores(y=target[order]).mean()
        for order in permutations.sample(task.n_permutations, task.random)
    ]
    what = say_permuted(codes, blocks)
    return _Outcome(
        task.refitted_scores(),
        np.array(null_scores),
        permutations.n_distinct,
        f"{what.capitalize()} of the source are unrelated to those of the target, in "
        "training and held out: any of them could belong to any other.",
        movable_share=permutations.movable_share,
    )


# -- basis ---------------------------------------------------------------------------


def _rotate_sources(task):
    trains = [train for train, _ in task.splits]
    null_scores = [
        task.refitted_scores(X=_rotate(task.X, trains, task.random, "X")).mean()
        for _ in range(task.n_permutations)
    ]
    return _Outcome(
        task.refitted_scores(),
        np.array(null_scores),
        math.inf,
        "The basis of each source layer is arbitrary: after a random rotation of the "
        "source layers, the reconstruction is as good as before.",
    )


def _rotate(stack, trains, random, where):
    """Rotate the live units of every layer of a stack, also of nested ones.

    Only units that vary over the training rows of all splits are rotated. A rotation of
    all units would give constant units a tuning, and the rotated data would have more
    units to match than the original data.
    """
    names = [leaf.where for leaf in stack.leaves(where)]

    def rotate_layer(layer, where):
        layer = check_layer(layer, where, min_stimuli=2)
        live = ~np.any([constant_units(layer[train]) for train in trains], axis=0)
        n_live = np.count_nonzero(live)
        if n_live > 0:
            rotation = random_rotation(int(n_live), random, reflections=False)
            layer = layer.copy()
            layer[:, live] = layer[:, live] @ rotation.astype(layer.dtype)
        return layer

    return stack.map(rotate_layer, names)


# -- layers --------------------------------------------------------------------------


def _permute_layers(task):
    n_layers = task.X.n_layers
    permutations = PiecePermutations(list(np.arange(n_layers)[:, np.newaxis]))
    orders = permutations.sample(task.n_permutations, task.random)
    scores, null_scores, couplings = [], [], []
    for fitted, source, target in task.fits():
        fitted, source, target = unwrap(fitted, source, target)
        if not isinstance(fitted, LayerCoupler):
            raise TypeError(
                "control='layers' permutes a layer coupling, which "
                f"{type(fitted).__name__} does not have: give a MultiLevelOT or "
                "MultiLevelOTRotation, or a Pipeline that ends in one."
            )
        fitted._check_map(task.direction)
        coupling = to_numpy(
            fitted.coupling_ if task.direction == "target" else fitted.inverse_coupling_
        )
        couplings.append(coupling)
        all_orders = np.concatenate([np.arange(n_layers)[np.newaxis], orders])
        permuted = _coupling_scores(
            fitted, task.direction, source, target, coupling[all_orders]
        )
        scores.append(permuted[0])
        null_scores.append(permuted[1:])
    return _Outcome(
        np.array(scores),
        np.mean(null_scores, axis=0),
        _count_distinct_orders(np.concatenate(couplings, axis=1)),
        "The correspondence of source and target layers does not matter: after "
        "permuting the source layers in the layer coupling, with the same unit plans, "
        f"the reconstruction of the {task.direction} is as good as before.",
    )


def _count_distinct_orders(couplings):
    """Count the distinct orders of the rows, some of which can be equal."""
    _, repeats = np.unique(couplings, axis=0, return_counts=True)
    n_equal = math.prod(math.factorial(int(count)) for count in repeats)
    return math.factorial(len(couplings)) // n_equal


def _coupling_scores(fitted, direction, source, target, couplings):
    """Score the reconstructions with each of many layer couplings.

    Parameters
    ----------
    fitted : LayerCoupler
        Fitted estimator, whose inner estimators compute the reconstructions.
    direction : {"target", "source"}
        Side to reconstruct.
    source, target : LayerStack
        Held-out rows.
    couplings : ndarray of shape (n_couplings, n_source_layers, n_target_layers)
        Layer couplings.

    Returns
    -------
    scores : ndarray of shape (n_couplings,)
        Score of each coupling, averaged over layers.
    """
    given, recorded = (source, target) if direction == "target" else (target, source)
    if direction == "source":
        couplings = couplings.transpose(0, 2, 1)
    total = np.zeros(len(couplings))
    layout = fitted._layouts(direction)[1]
    with fitted._opened(direction, given) as handles:
        for column in range(recorded.n_layers):
            used = np.flatnonzero(couplings[:, :, column].any(axis=0))
            weights = couplings[:, used, column] * recorded.n_layers
            reconstructions = fitted._predict_layer(direction, handles, used, column)
            pairs = [
                list(pair_arrays(recorded.layers[column], layer, layout.where(column)))
                for layer in reconstructions
            ]
            for parts in zip(*pairs, strict=True):
                total += parts[0].weight * _mixture_scores(parts, weights)
    return total / recorded.n_layers


def _mixture_scores(parts, weights):
    """Score weighted sums of several reconstructions of one layer.

    The correlation of a weighted sum depends only on the covariances of the
    reconstructions with the recorded layer and with each other. Therefore one pass over
    the stimuli gives the scores of all sums.

    Parameters
    ----------
    parts : sequence of Reconstruction
        Reconstructions of the same layer, each from a different layer.
    weights : ndarray of shape (n_mixtures, n_parts)
        Weight of each reconstruction in each sum.

    Returns
    -------
    scores : ndarray of shape (n_mixtures,)
        Score of each sum, averaged over units.
    """
    weights, which = np.unique(weights, axis=0, return_inverse=True)
    recorded = parts[0].recorded
    # Raises the same error as the score if every recorded unit is constant.
    parts[0].score()
    counted = ~np.isnan(column_correlations(recorded, recorded))
    n_stimuli, n_parts = len(recorded), len(parts)
    width = max(1, _BLOCK_ENTRIES // max(n_stimuli * n_parts, len(weights)))
    scores = np.zeros(len(weights))
    units = np.flatnonzero(counted)
    for start in range(0, len(units), width):
        block = units[start : start + width]
        truth = unit_columns(recorded[:, block])
        predicted = _rescale_columns([part.reconstructed[:, block] for part in parts])
        covariances = weights @ np.einsum("su,psu->pu", truth, predicted)
        products = predicted.transpose(2, 0, 1) @ predicted.transpose(2, 1, 0)
        mixed = np.einsum("wp,wq->wpq", weights, weights).reshape(len(weights), -1)
        variances = mixed @ products.reshape(-1, n_parts**2).T
        # A sum of opposite reconstructions can be constant up to rounding errors.
        largest = np.einsum("upp->up", products).max(axis=1)
        varies = variances > np.finfo(np.float64).eps * n_stimuli * largest
        scores += np.divide(
            covariances,
            np.sqrt(np.where(varies, variances, 1.0)),
            out=np.zeros(covariances.shape),
            where=varies,
        ).sum(axis=1)
    return (scores / len(units))[which.ravel()]


def _rescale_columns(blocks):
    """Centre reconstructions of the same units, with one scale for each unit."""
    columns = np.stack([block.astype(np.float64) for block in blocks])
    scale = np.abs(columns).max(axis=(0, 1))
    columns /= np.where(scale > 0, scale, 1.0)
    # Constant columns have equal extremes, but subtracting their mean can leave a
    # rounding error.
    varies = columns.min(axis=1) < columns.max(axis=1)
    columns -= columns.mean(axis=1, keepdims=True)
    columns *= varies[:, np.newaxis]
    return columns

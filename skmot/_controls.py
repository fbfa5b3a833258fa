"""Permutation controls: whether a held-out score is more than chance."""

import itertools
import math
import warnings
from dataclasses import dataclass, field
from numbers import Integral

import numpy as np
from sklearn.base import clone
from sklearn.utils import Bunch, check_random_state
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_params,
)

from skmot._array_api import to_numpy
from skmot._base import DIRECTIONS
from skmot._held_out import Reconstruction, layer_scores, reconstruct, unwrap
from skmot._labels import check_same_stimuli
from skmot._orthogonal import random_rotation
from skmot._splits import make_splits, read_groups
from skmot._units import _unit_columns, column_correlations, constant_units
from skmot._validation import check_layer, check_same_length, read_side
from skmot._warnings import recorded_warnings, repeat_warnings
from skmot.layers import LayerStack
from skmot.multilevel import LayerCoupler, _as_columns, _predict

CONTROLS = ("layers", "stimuli", "basis")
# A score summed in another order differs by rounding: closer scores are ties, and a
# tie counts against the finding.
_TIE = 1e-10
# The smallest p-value above which a control can show nothing at the usual level.
_USUAL_LEVEL = 0.05
# Products of held-out rows, and of permutations, are made in blocks of about this many
# entries (32 MB).
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
    """Compare held-out scores with what they would be if a structure did not matter.

    The estimator is fitted to the training rows of each split and scored on the
    held-out rows; the null scores are those of data, or of fits, in which one structure
    was destroyed at random. The score is that of skmot's estimators (mean over layers
    of the mean over units of the Pearson correlation), whatever the estimator.

    Parameters
    ----------
    estimator : estimator
        With `predict`, or `inverse_predict` for `direction="source"`; cloned, not
        changed. For `control="layers"` a :class:`skmot.MultiLevelOT` or
        :class:`skmot.MultiLevelOTRotation`, or a Pipeline that ends in one.
        Of a :class:`skmot.preprocessing.TransformedTargetLayers` the transformed target
        is scored.
    X, y : LayerStack, list, dict, DataFrame or array-like
        Source and target layers over the same stimuli.
    control : {"layers", "stimuli", "basis"}
        What is destroyed.

        - "layers": which layer corresponds to which (Perm-P of [1]_). The rows of the
          layer coupling of each fit are permuted, in all splits alike; unit plans are
          kept. Predictions of layer pairs are made once a split, and a permutation
          weighs their products anew, so that it costs no fit and no pass over stimuli.
        - "stimuli": which held-out row of the source belongs to which of the target.
          The fits are kept, unless `refit`.
        - "basis": which units the source layers consist of. Each layer is rotated by
          a random rotation, uniform in SO(N), and the estimator fitted anew: this costs
          `n_permutations` times the number of splits fits, and the rotations. Units
          that are constant over the training rows of a split have no tuning to turn and
          stay as they are.
    cv : int, splitter or iterable of (train, test)
        The splits, as scikit-learn takes them. With groups, a number means
        :class:`StimulusKFold`.
    groups : array-like of shape (n_rows,), default=None
        The stimulus of each row, where rows are repeats. Splits must keep groups
        together; "stimuli" permutes whole groups among those of the same size.
    blocks : int, "circular" or None, default=None
        For "stimuli" and rows in time: permutes blocks of so many consecutive rows, or
        shifts the rows circularly. Held-out rows must then be consecutive.
    refit : bool, default=False
        For "stimuli": whether rows are permuted before splitting, and the estimator
        fitted anew for each permutation.
    n_permutations : int, default=999
        Number of null scores. Where there are no more distinct permutations than that,
        all are used in turn.
    random_state : int, RandomState instance or None, default=None
        Of the splits' permutations and the rotations.
    direction : {"target", "source"}, default="target"
        Which side is reconstructed and scored.

    Returns
    -------
    result : :class:`sklearn.utils.Bunch`
        With

        scores : ndarray of shape (n_splits,)
            Held-out score of each split.
        score : float
            Their mean.
        null_scores : ndarray of shape (n_permutations,)
            Mean over splits under each permutation.
        p_value : float
            (b + 1) / (n + 1), where b of the n null scores are at least `score`.
        smallest_p : float
            The smallest p-value these permutations can give. Where few distinct ones
            are used in turn, their number need not divide `n_permutations + 1`, and
            what can be reached is larger by less than 1 / `n_permutations`.
        null_hypothesis : str
            What a small p-value speaks against.
        conservative : bool
            Whether the p-value is larger than need be, see Notes.
        control, direction : str
            As given.

    Raises
    ------
    ValueError
        If an option does not go with the control, groups straddle a split, held-out
        rows are not consecutive where `blocks` needs it, nothing can be permuted, or
        the networks cannot be fitted or scored.
    TypeError
        If `control="layers"` and the estimator has no layer coupling.

    Warns
    -----
    UserWarning
        If `smallest_p` is above 0.05, so that nothing can be significant: three layers
        have 3! = 6 orders and "layers" cannot go below 1/6. If `blocks` are given and
        training rows are nearer to held-out rows than a block (or adjoin them, for
        "circular").
    Warning
        What the fits warn of, each once with how often it came.

    Notes
    -----
    The p-value is valid where the permutations leave the null hypothesis's distribution
    alone. Single rows may be permuted if they are independent of each other, groups if
    groups are, and rows in time only in blocks longer than their memory, or circularly
    if the process is stationary.

    With kept fits, "stimuli" is exact for one split, and for splits each trained on
    earlier rows only (`TimeSeriesSplit`). In k-fold cross-validation and in repeated
    random splits the held-out rows of one split train another: their chance
    correlations count twice, scores of splits are dependent, and null scores drawn for
    each split by itself are too narrow (five folds of 60 rows, two unrelated networks
    of two layers of 15 units: 13 % of 400 simulated p-values were 0.05 or less). Null
    scores of such splits are therefore put in order before they are averaged, as if the
    splits were perfectly dependent: `conservative` is True. `refit=True` is exact for
    any splits.

    A fit to rows in time follows its training rows beyond their end. Leave a gap
    between them and the held-out ones: `TimeSeriesSplit(gap=...)`.

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
    X, y = _read_pair(X, y)
    codes = None if groups is None else read_groups(groups, len(X))
    task = _Task(
        estimator,
        X,
        y,
        direction,
        make_splits(cv, len(X), codes),
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
    return _conclude(outcome, control, direction)


@dataclass(frozen=True)
class _Task:
    """What is fitted, to what, and how often it is permuted."""

    estimator: object
    X: LayerStack
    y: LayerStack
    direction: str
    splits: list
    n_permutations: int
    random: np.random.RandomState
    # What the fits warned of.
    log: list = field(default_factory=list)

    def fits(self, X=None, y=None):
        """Fit to each split; yield the fit and the held-out rows of both sides."""
        X, y = (self.X if X is None else X), (self.y if y is None else y)
        for train, test in self.splits:
            with recorded_warnings(self.log):
                fitted = clone(self.estimator).fit(X[train], y[train])
            yield fitted, X[test], y[test]

    def refitted_scores(self, X=None, y=None):
        """Return the score of each split, of these data or of others in their place."""
        return np.array(
            [
                layer_scores(reconstruct(fitted, self.direction, *held_out)).mean()
                for fitted, *held_out in self.fits(X, y)
            ]
        )


@dataclass(frozen=True)
class _Outcome:
    """Scores of the splits, null scores, and what the latter can tell."""

    scores: np.ndarray
    null_scores: np.ndarray
    n_distinct: int | float
    null_hypothesis: str
    conservative: bool = False


def _conclude(outcome, control, direction):
    """Make the p-value, and warn where it cannot be small."""
    score, null_scores = outcome.scores.mean(), outcome.null_scores
    n_as_good = int(np.count_nonzero(null_scores >= score - _TIE))
    # Not from the number of permutations alone: it may be beyond what a float holds.
    n_attainable = min(outcome.n_distinct, len(null_scores) + 1)
    smallest = 1 / n_attainable
    if smallest > _USUAL_LEVEL:
        reason = (
            "raise `n_permutations`"
            if n_attainable == len(null_scores) + 1
            else f"only {n_attainable} permutations can be told apart"
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
        control=control,
        direction=direction,
    )


def _read_pair(X, y):
    X, _ = read_side(X, "X")
    y, _ = read_side(y, "y")
    check_same_length(X, y, "X", "y")
    check_same_stimuli(X.stimuli, y.stimuli, "X", "y")
    return X, y


# -- stimuli -------------------------------------------------------------------------


class _Rearrangements:
    """Ways to put rows in another order that leave the null hypothesis alone.

    Parameters
    ----------
    pieces : list of ndarray of int
        Rows that stay together: pieces of one size may change places.
    """

    def __init__(self, pieces):
        self.n_rows = sum(len(piece) for piece in pieces)
        sizes = sorted({len(piece) for piece in pieces})
        # One (n_pieces, size) array of rows a size.
        self.classes = [
            np.array([piece for piece in pieces if len(piece) == size])
            for size in sizes
        ]

    @property
    def n_distinct(self):
        return math.prod(math.factorial(len(pieces)) for pieces in self.classes)

    def draw(self, n, random):
        """Return n orders of the rows, of shape (n, n_rows)."""
        if self.n_distinct <= n:
            orders = list(itertools.product(*map(_all_orders, self.classes)))
            chosen = [orders[number] for number in _in_turn(len(orders), n, random)]
        else:
            chosen = (
                [random.permutation(len(pieces)) for pieces in self.classes]
                for _ in range(n)
            )
        rows = np.empty((n, self.n_rows), dtype=np.intp)
        for row, orders in zip(rows, chosen, strict=True):
            for pieces, order in zip(self.classes, orders, strict=True):
                row[pieces.ravel()] = pieces[list(order)].ravel()
        return rows


class _CircularShifts:
    """All shifts of rows in time, the end joined to the beginning."""

    def __init__(self, n_rows):
        self.n_distinct = self.n_rows = n_rows

    def draw(self, n, random):
        """Return n orders of the rows, of shape (n, n_rows)."""
        if self.n_rows <= n:
            shifts = _in_turn(self.n_rows, n, random)
        else:
            shifts = random.randint(self.n_rows, size=n)
        return (shifts[:, np.newaxis] + np.arange(self.n_rows)) % self.n_rows


def _all_orders(pieces):
    return itertools.permutations(range(len(pieces)))


def _in_turn(n_distinct, n, random):
    """Choose n of few permutations, each as often as any other, in random order.

    So the identity comes up often enough that no p-value is below 1 / n_distinct.
    """
    rounds = [random.permutation(n_distinct) for _ in range(-(-n // n_distinct))]
    return np.concatenate(rounds)[:n]


def _rearrangements(rows, codes, blocks):
    """Return what may be done to some rows, numbered from 0."""
    n_rows = len(rows)
    if blocks is not None and not np.array_equal(np.diff(rows), np.ones(n_rows - 1)):
        raise ValueError(
            "`blocks` are of rows in time, so held-out rows must be consecutive. Use "
            "TimeSeriesSplit, KFold without shuffling, or your own (train, test) pairs."
        )
    if blocks == "circular":
        return _CircularShifts(n_rows)
    positions = np.arange(n_rows)
    if blocks is not None:
        pieces = np.split(positions, range(blocks, n_rows, blocks))
    elif codes is not None:
        pieces = [positions[codes[rows] == code] for code in np.unique(codes[rows])]
    else:
        pieces = list(positions[:, np.newaxis])
    found = _Rearrangements(pieces)
    if found.n_distinct == 1:
        raise ValueError(
            f"Nothing can be permuted among {n_rows} rows: no two groups or blocks "
            "have the same size. Average repeats first, or choose smaller blocks."
        )
    return found


def _kept_together(codes, blocks):
    """Name what is permuted."""
    if blocks == "circular":
        return "rows, shifted circularly,"
    if blocks is not None:
        return f"blocks of {blocks} rows"
    return "rows" if codes is None else "groups of rows"


def _permute_held_out(task, codes, blocks):
    # Before the fits, which may be long.
    every = [_rearrangements(test, codes, blocks) for _, test in task.splits]
    if blocks is not None:
        _warn_about_near_rows(task.splits, 1 if blocks == "circular" else blocks)
    conservative = _splits_depend(task.splits)
    scores, null_scores, n_distinct = [], [], []
    for ways, (fitted, *held_out) in zip(every, task.fits(), strict=True):
        orders = ways.draw(task.n_permutations, task.random)
        parts = reconstruct(fitted, task.direction, *held_out)
        scores.append(layer_scores(parts).mean())
        null_scores.append(_rearranged_scores(parts, orders))
        n_distinct.append(ways.n_distinct)
    if conservative:
        null_scores = [np.sort(null) for null in null_scores]
    what = _kept_together(codes, blocks)
    return _Outcome(
        np.array(scores),
        np.mean(null_scores, axis=0),
        max(n_distinct) if conservative else math.prod(n_distinct),
        f"Given the fits, held-out {what} of the source are unrelated to those of the "
        "target: any of them could belong to any other.",
        conservative,
    )


def _rearranged_scores(parts, orders):
    """Score each order of the reconstructed rows against the recorded ones.

    Correlations are sums over stimuli of products of rows, so all orders read their
    score off one matrix of products.
    """
    n_layers = parts[-1].layer + 1
    recorded, reconstructed = [], []
    for part in parts:
        columns = _unit_columns(part.recorded)
        n_counted = np.count_nonzero(columns.any(axis=0))
        recorded.append(columns * (part.weight / (n_layers * n_counted)))
        reconstructed.append(_unit_columns(part.reconstructed))
    recorded, reconstructed = np.hstack(recorded), np.hstack(reconstructed)
    n_rows = len(recorded)
    scores = np.zeros(len(orders))
    height = max(1, _BLOCK_ENTRIES // max(n_rows, len(orders)))
    for start in range(0, n_rows, height):
        rows = slice(start, start + height)
        products = recorded[rows] @ reconstructed.T
        scores += products[np.arange(len(products)), orders[:, rows]].sum(axis=1)
    return scores


def _splits_depend(splits):
    """Whether held-out rows of two splits are the same, or train each other."""
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


def _warn_about_near_rows(splits, distance):
    """Warn where training rows are nearer to held-out ones than they should be."""
    nearest = min(
        int(np.abs(train[:, np.newaxis] - [test.min(), test.max()]).min())
        for train, test in splits
    )
    if nearest <= distance:
        warnings.warn(
            f"Training rows are {nearest} row(s) from held-out ones. A fit to rows in "
            "time follows its training rows beyond their end, which no rearrangement "
            "of the held-out ones does: the p-value is too small. Leave a gap, "
            "TimeSeriesSplit(gap=...) for instance, or refit=True.",
            UserWarning,
            # This, _permute_held_out, permutation_control, its wrapper, the caller.
            stacklevel=5,
        )


def _permute_and_refit(task, codes, blocks):
    ways = _rearrangements(np.arange(len(task.y)), codes, blocks)
    # Labels would tell that the stimuli no longer match, which is meant here.
    target = task.y.with_stimuli(None)
    null_scores = [
        task.refitted_scores(y=target[order]).mean()
        for order in ways.draw(task.n_permutations, task.random)
    ]
    what = _kept_together(codes, blocks)
    return _Outcome(
        task.refitted_scores(),
        np.array(null_scores),
        ways.n_distinct,
        f"{what.capitalize()} of the source are unrelated to those of the target, in "
        "training and held out: any of them could belong to any other.",
    )


# -- basis ---------------------------------------------------------------------------


def _rotate_sources(task):
    trains = [train for train, _ in task.splits]
    null_scores = [
        task.refitted_scores(X=_rotated(task.X, trains, task.random, "X")).mean()
        for _ in range(task.n_permutations)
    ]
    return _Outcome(
        task.refitted_scores(),
        np.array(null_scores),
        math.inf,
        "The basis of each source layer is arbitrary: after a random rotation of the "
        "source, the fit reconstructs as well.",
    )


def _rotated(stack, trains, random, where):
    """Rotate the live units of every layer of a stack, at any depth.

    Those that vary in all training rows: a rotation would give the others tuning, and
    the null more units to match than the data have.
    """
    layers = []
    for index, layer in enumerate(stack.layers):
        if isinstance(layer, LayerStack):
            layers.append(_rotated(layer, trains, random, f"{where}, layer {index}"))
            continue
        layer = check_layer(layer, f"{where}, layer {index}", min_stimuli=2)
        live = ~np.any([constant_units(layer[train]) for train in trains], axis=0)
        n_live = np.count_nonzero(live)
        if n_live > 0:
            rotation = random_rotation(int(n_live), random, reflections=False)
            layer = layer.copy()
            layer[:, live] = layer[:, live] @ rotation.astype(layer.dtype)
        layers.append(layer)
    return LayerStack(layers, names=stack.names, stimuli=stack.stimuli)


# -- layers --------------------------------------------------------------------------


def _permute_layers(task):
    n_layers = task.X.n_layers
    orders = _Rearrangements(list(np.arange(n_layers)[:, np.newaxis])).draw(
        task.n_permutations, task.random
    )
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
        every = np.concatenate([np.arange(n_layers)[np.newaxis], orders])
        found = _reweighed_scores(
            fitted, task.direction, source, target, coupling[every]
        )
        scores.append(found[0])
        null_scores.append(found[1:])
    return _Outcome(
        np.array(scores),
        np.mean(null_scores, axis=0),
        _distinguishable_orders(np.concatenate(couplings, axis=1)),
        "Which source layer has which counterparts does not matter: with the unit "
        f"plans kept, the {task.direction} is reconstructed as well after the source "
        "layers changed places in the layer coupling.",
    )


def _distinguishable_orders(couplings):
    """Count the orders of rows that differ: equal rows may change places unseen."""
    _, repeats = np.unique(couplings, axis=0, return_counts=True)
    unseen = math.prod(math.factorial(int(count)) for count in repeats)
    return math.factorial(len(couplings)) // unseen


def _reweighed_scores(fitted, direction, source, target, couplings):
    """Score the reconstruction under many layer couplings.

    Parameters
    ----------
    fitted : LayerCoupler
        Whose inner estimators reconstruct.
    direction : {"target", "source"}
        The side.
    source, target : LayerStack
        Held-out rows.
    couplings : ndarray of shape (n_couplings, n_source_layers, n_target_layers)
        The weights to be tried.

    Returns
    -------
    scores : ndarray of shape (n_couplings,)
        Mean over layers.
    """
    if direction == "target":
        seen, wanted, inner = source, target, fitted.inner_
    else:
        seen, wanted = target, source
        inner = list(zip(*fitted.inner_, strict=True))
        couplings = couplings.transpose(0, 2, 1)
    total = np.zeros(len(couplings))
    layout, made = fitted._layouts(direction)
    for column in range(wanted.n_layers):
        used = np.flatnonzero(couplings[:, :, column].any(axis=0))
        weights = couplings[:, used, column] * wanted.n_layers
        pairs = [
            _pair_reconstructions(
                _predict(
                    inner[row][column], direction, seen.layers[row], layout.where(row)
                ),
                wanted.layers[column],
                made.where(column),
            )
            for row in used
        ]
        for parts in zip(*pairs, strict=True):
            total += parts[0].weight * _mixture_scores(parts, weights)
    return total / wanted.n_layers


def _pair_reconstructions(prediction, layer, where):
    """Pair the arrays of a recorded layer with those one inner estimator made."""
    if not isinstance(layer, LayerStack):
        layer = check_layer(layer, where, min_stimuli=2)
        return [Reconstruction(layer, _as_columns(prediction), 0, 1.0, where)]
    parts = []
    for index, (recorded, made) in enumerate(
        zip(layer.layers, LayerStack(prediction).layers, strict=True)
    ):
        for part in _pair_reconstructions(made, recorded, f"{where}, layer {index}"):
            weight = part.weight / layer.n_layers
            parts.append(
                Reconstruction(part.recorded, part.reconstructed, 0, weight, part.where)
            )
    return parts


def _mixture_scores(parts, weights):
    """Score weighted sums of several reconstructions of one layer.

    The correlation of a weighted sum needs the covariances of the reconstructions with
    the truth and with each other alone, so stimuli are passed over once for all.

    Parameters
    ----------
    parts : sequence of Reconstruction
        Of the same layer, each from another.
    weights : ndarray of shape (n_mixtures, n_parts)
        Of each reconstruction in each mixture.

    Returns
    -------
    scores : ndarray of shape (n_mixtures,)
        Mean over units.
    """
    weights, which = np.unique(weights, axis=0, return_inverse=True)
    recorded = parts[0].recorded
    # Raises where no unit can be scored, as the score itself does.
    parts[0].score()
    counted = ~np.isnan(column_correlations(recorded, recorded))
    n_stimuli, n_parts = len(recorded), len(parts)
    width = max(1, _BLOCK_ENTRIES // max(n_stimuli * n_parts, len(weights)))
    scores = np.zeros(len(weights))
    units = np.flatnonzero(counted)
    for start in range(0, len(units), width):
        block = units[start : start + width]
        truth = _unit_columns(recorded[:, block])
        made = _comparable_columns([part.reconstructed[:, block] for part in parts])
        covariances = weights @ np.einsum("su,psu->pu", truth, made)
        products = made.transpose(2, 0, 1) @ made.transpose(2, 1, 0)
        mixed = np.einsum("wp,wq->wpq", weights, weights).reshape(len(weights), -1)
        variances = mixed @ products.reshape(-1, n_parts**2).T
        # Below it a mixture of opposite reconstructions is constant but for rounding.
        largest = np.einsum("upp->up", products).max(axis=1)
        varies = variances > np.finfo(np.float64).eps * n_stimuli * largest
        scores += np.divide(
            covariances,
            np.sqrt(np.where(varies, variances, 1.0)),
            out=np.zeros(covariances.shape),
            where=varies,
        ).sum(axis=1)
    return (scores / len(units))[which.ravel()]


def _comparable_columns(blocks):
    """Centre reconstructions of the same units, and divide each unit by one scale."""
    made = np.stack([block.astype(np.float64) for block in blocks])
    scale = np.abs(made).max(axis=(0, 1))
    made /= np.where(scale > 0, scale, 1.0)
    # By their extremes: the mean of equal numbers is rounded.
    varies = made.min(axis=1) < made.max(axis=1)
    made -= made.mean(axis=1, keepdims=True)
    made *= varies[:, np.newaxis]
    return made

"""The control "stimuli": permutations of rows, of kept fits or with new fits."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student_t

from skmot._scores import layer_scores, reconstruct_held_out
from skmot._units import unit_columns
from skmot.model_selection.control_task import (
    ControlOutcome,
    rank_p_value,
    smallest_rank_p,
)
from skmot.model_selection.dependence import (
    are_splits_independent,
    combine_independent,
    dependent_means,
    pilot_correlation,
    split_correlations,
)
from skmot.model_selection.permutations import (
    row_permutations,
    say_permuted,
    warn_about_near_rows,
)

# Products of held-out rows, and of permutations, are computed in blocks of about this
# many entries (32 MB).
_BLOCK_ENTRIES = 4_000_000
_SHOWS = "the responses of both sides to the stimuli are related"
_LIMITS = (
    "It shows neither how strong the relation is, nor that single units or layers "
    "correspond."
)
# Refits are advised if the pilot takes at least this share of their fits.
_LARGE_PILOT = 0.5


class RowOptions:
    """What rows stay together when rows are permuted: groups, blocks and runs.

    Parameters
    ----------
    codes : ndarray of int of shape (n_rows,) or None
        Group of each row.
    blocks : int, "circular" or None
        Length of blocks of rows, or circular shifts.
    runs : ndarray of int of shape (n_rows,) or None
        Run of each row.
    """

    def __init__(self, codes, blocks, runs):
        self.codes, self.blocks, self.runs = codes, blocks, runs

    def permutations(self, rows):
        """Return the permutations of some rows."""
        return row_permutations(rows, self.codes, self.blocks, self.runs)

    def __str__(self):
        return say_permuted(self.codes, self.blocks)

    @property
    def remark(self):
        """A sentence that says if permutations of the rows are approximate."""
        if self.blocks is None:
            return ""
        what = "Circular shifts" if self.blocks == "circular" else "Blocks"
        return (
            f"{what} of a time series are approximate: the p-value can be somewhat too "
            "small."
        )

    def warn_about_near_rows(self, splits):
        """Warn if training rows of a time series are too near to held-out rows."""
        if self.blocks is not None:
            distance = 1 if self.blocks == "circular" else self.blocks
            warn_about_near_rows(splits, distance, self.runs)


# -- kept fits -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Decision:
    """P-value of the mean score over splits, and how it takes account of dependence."""

    null_scores: np.ndarray
    p_value: float
    smallest_p: float
    correlations: np.ndarray
    source: str
    pilot: float = np.nan
    remark: str = ""


def count_pilot_fits(splits, options, n_pilot):
    """Return the number of refits of all splits that `permute_held_out` does."""
    return 0 if are_splits_independent(splits, options.codes) else n_pilot


def permute_held_out(task, options, n_pilot):
    """Permute the held-out rows of each split, whose fit is kept."""
    # Invalid options raise an error before the fits, which can take long.
    permutations = [options.permutations(test) for _, test in task.splits]
    options.warn_about_near_rows(task.splits)
    scores, null_scores = [], []
    with task.of_given_rows(len(task.splits)) as given:
        fits = given.fits()
        for allowed, (fitted, *held_out) in zip(permutations, fits, strict=True):
            orders = allowed.sample(task.n_permutations, task.random)
            parts = reconstruct_held_out(fitted, task.direction, *held_out)
            scores.append(layer_scores(parts).mean())
            null_scores.append(_permuted_scores(parts, orders))
    found = np.array(scores), np.array(null_scores)
    n_distinct = [allowed.n_distinct for allowed in permutations]
    if are_splits_independent(task.splits, options.codes):
        decision = _decide_independent(task, *found, n_distinct)
    else:
        decision = _decide_dependent(task, options, *found, n_distinct, n_pilot)
    return ControlOutcome(
        found[0],
        decision.null_scores,
        decision.p_value,
        decision.smallest_p,
        f"Given the fits, held-out {options} of the source are unrelated to those of "
        "the target: any of them could belong to any other.",
        _SHOWS,
        _LIMITS,
        f"{decision.remark} {options.remark}".strip(),
        float(np.mean([allowed.movable_share for allowed in permutations])),
        values={
            "split_correlations": decision.correlations,
            "correlations_from": decision.source,
            "pilot_correlation": decision.pilot,
        },
    )


def _decide_independent(task, scores, null_scores, n_distinct):
    """Combine the p-values of splits that do not train each other."""
    averaged, correlations = null_scores.mean(axis=0), np.eye(len(scores))
    p_values = [
        rank_p_value(score, null)
        for score, null in zip(scores, null_scores, strict=True)
    ]
    smallest = [smallest_rank_p(count, task.n_permutations) for count in n_distinct]
    if len(scores) == 1:
        return _Decision(
            averaged, p_values[0], smallest[0], correlations, "there is one split"
        )
    # The score of a split depends on pairs of a training row and a held-out row.
    weights = np.sqrt([len(train) * len(test) for train, test in task.splits])
    return _Decision(
        averaged,
        combine_independent(p_values, weights),
        combine_independent(smallest, weights),
        correlations,
        "splits are trained on earlier rows only",
        remark="The p-value combines those of the splits, which are independent, by "
        "Stouffer's method.",
    )


def _decide_dependent(task, options, scores, null_scores, n_distinct, n_pilot):
    """Average null scores of splits that train each other, with their correlations."""
    n_rows = len(task.y)
    design, pilot = split_correlations(task.splits, n_rows), np.nan
    correlations = design
    if n_pilot > 0:
        permutations = options.permutations(np.arange(n_rows))
        pilot_scores = _refitted_scores(task, permutations, n_pilot)
        pilot = pilot_correlation(null_scores, pilot_scores)
        correlations = split_correlations(task.splits, n_rows, pilot)
    averaged = dependent_means(null_scores, correlations, task.random)
    remark = (
        "The p-value is approximate, because splits share rows; refit=True is the "
        "reference."
    )
    if n_pilot >= _LARGE_PILOT * task.n_permutations:
        remark += (
            f" With {task.n_permutations} permutations, refit=True takes hardly more "
            "fits than this pilot: use it."
        )
    return _Decision(
        averaged,
        rank_p_value(scores.mean(), averaged),
        smallest_rank_p(math.prod(n_distinct), task.n_permutations),
        correlations,
        _say_source(design, correlations, pilot, n_pilot),
        pilot,
        remark,
    )


def _say_source(design, correlations, pilot, n_pilot):
    """Say where the correlations of the splits come from."""
    if not n_pilot:
        return "the design, without a pilot"
    said_pilot = f"a pilot of {n_pilot} refits ({pilot:.2f})"
    others = ~np.eye(len(design), dtype=bool)
    raised = correlations[others] > design[others]
    if raised.all():
        return said_pilot
    if not raised.any():
        return f"the design, which is above {said_pilot}"
    return f"the larger of the design and {said_pilot}, entry by entry"


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


# -- new fits ------------------------------------------------------------------------


def permute_and_refit(task, options):
    """Permute all rows before they are split, and fit again."""
    permutations = options.permutations(np.arange(len(task.y)))
    with task.of_given_rows(len(task.splits)) as given:
        scores = given.refitted_scores()
    null_scores = _refitted_scores(task, permutations, task.n_permutations).mean(axis=1)
    return _refitted_outcome(
        task,
        options,
        permutations,
        scores,
        null_scores,
        f"{str(options).capitalize()} of the source are unrelated to those of the "
        "target, in training and held out: any of them could belong to any other.",
        _LIMITS,
    )


def permute_and_refit_costs(task, options):
    """Permute all rows and fit them again, without splits, for the cost of the fit."""
    permutations = options.permutations(np.arange(len(task.y)))
    with task.part("given rows"):
        score = -task.fitted_cost()
    orders = permutations.sample(task.n_permutations, task.random)
    null_scores = task.for_each(_negative_cost_of_order, orders, len(orders))
    return _refitted_outcome(
        task,
        options,
        permutations,
        np.array([score]),
        np.array(null_scores),
        f"{str(options).capitalize()} of the source are unrelated to those of the "
        "target: any of them could belong to any other.",
        "It shows neither how well one side predicts the other for new stimuli, nor "
        "that single units or layers correspond.",
    )


def _refitted_outcome(
    task, options, permutations, scores, null_scores, null_hypothesis, limits
):
    return ControlOutcome(
        scores,
        null_scores,
        rank_p_value(scores.mean(), null_scores),
        smallest_rank_p(permutations.n_distinct, task.n_permutations),
        null_hypothesis,
        _SHOWS,
        limits,
        options.remark,
        permutations.movable_share,
        values={"p_value_t": _t_tail(scores.mean(), null_scores)},
    )


def _refitted_scores(task, permutations, n):
    """Return the scores of fits to permuted rows, of shape (n, n_splits)."""
    scores = task.for_each(_scores_of_order, permutations.sample(n, task.random), n)
    return np.array(scores).reshape(n, len(task.splits))


def _scores_of_order(task, order):
    """Fit a permuted target, and return the score of each split."""
    return task.refitted_scores(y=_permuted(task.y, order))


def _negative_cost_of_order(task, order):
    """Fit a permuted target, and return minus the cost."""
    return -task.fitted_cost(_permuted(task.y, order))


def _permuted(target, order):
    # With labels, the fit would raise an error, because permuted stimuli do not match.
    return target.with_stimuli(None)[order]


def _t_tail(score, null_scores):
    """Return the p-value of a new draw from a normal distribution of null scores.

    (T - m) / (s sqrt(1 + 1 / n)) has Student's t distribution with n - 1 degrees of
    freedom if T and the n null scores, of mean m and deviation s, are normal.
    """
    n = len(null_scores)
    deviation = np.std(null_scores, ddof=1) if n > 1 else 0.0
    if deviation == 0:
        return np.nan
    t = (score - np.mean(null_scores)) / (deviation * math.sqrt(1 + 1 / n))
    return float(student_t.sf(t, n - 1))

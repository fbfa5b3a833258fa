"""Permutation controls, which test held-out scores against chance.

:func:`permutation_control` is the public function. Each control is in a module of its
own: `control_stimuli.py`, `control_layers.py` and `control_basis.py`. What they share,
the fits on the splits and the outcome, is in `control_task.py`. Which rows can change
places is in `permutations.py`, and how much splits depend on each other is in
`dependence.py`.
"""

import warnings
from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state

from skmot._scores import DIRECTIONS
from skmot._utils.progress import function_task
from skmot._utils.results import Result, numbered_rows
from skmot._utils.sklearn import (
    HasMethods,
    Interval,
    StrOptions,
    validate_params,
)
from skmot._utils.warnings import repeat_warnings, stacklevel_of_caller
from skmot.exceptions import RowNumberWarning
from skmot.layers.sides import read_pair
from skmot.layers.splits import make_splits, read_groups, repeated_groups
from skmot.model_selection.control_basis import SCALES, rotate_sources
from skmot.model_selection.control_layers import permute_layers
from skmot.model_selection.control_stimuli import (
    RowOptions,
    count_pilot_fits,
    permute_and_refit,
    permute_and_refit_costs,
    permute_held_out,
)
from skmot.model_selection.control_task import ControlTask
from skmot.model_selection.permutations import read_runs

CONTROLS = ("stimuli", "layers", "basis")
# The conclusion calls p-values up to this level significant. A warning is raised if the
# smallest possible p-value is above it.
_USUAL_LEVEL = 0.05
# Values of the result that only some of the controls compute.
_NOT_COMPUTED = {
    "p_value_t": np.nan,
    "split_correlations": None,
    "pilot_correlation": np.nan,
    "correlations_from": None,
    "permuted_side": None,
    "by_scale": None,
    "decisive_scale": None,
}


@validate_params(
    {
        "estimator": [HasMethods(["fit"])],
        "control": [StrOptions(set(CONTROLS))],
        "cv": ["cv_object"],
        "statistic": [StrOptions({"score", "cost"})],
        "blocks": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"circular"}),
            None,
        ],
        "refit": ["boolean"],
        "n_pilot": [Interval(Integral, 0, None, closed="left")],
        "scale": [StrOptions({"both", *SCALES})],
        "n_permutations": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "direction": [StrOptions(set(DIRECTIONS))],
        "n_jobs": [Integral, None],
    },
    prefer_skip_nested_validation=False,
)
def permutation_control(
    estimator,
    X,
    y,
    *,
    control="stimuli",
    cv=5,
    statistic="score",
    groups=None,
    blocks=None,
    runs=None,
    refit=False,
    n_pilot=15,
    scale="both",
    n_permutations=999,
    random_state=None,
    direction="target",
    n_jobs=None,
    callbacks=None,
):
    """Test a score against scores after permuting one aspect of the data.

    The estimator is fitted to the training rows of each split and scored on the
    held-out rows. Null scores are computed in the same way after one aspect of the data
    or of the fits was randomised. The score is the Pearson correlation, averaged over
    units and then over layers, even if the `score` of the estimator is a different one.
    `print(result)` says what the p-value shows, and what it does not show.

    Parameters
    ----------
    estimator : estimator
        Estimator with `predict`, or with `inverse_predict` for `direction="source"`, or
        with `cost_` for `statistic="cost"`. It is cloned. `control="layers"` needs a
        :class:`skmot.MultiLevelOT` or :class:`skmot.MultiLevelOTRotation`, or a
        Pipeline that ends in one. A
        :class:`skmot.preprocessing.TransformedTargetLayers` is scored on the
        transformed target.
    X, y : LayerStack, list, dict, DataFrame or array-like
        Source and target layers over the same stimuli.
    control : {"stimuli", "layers", "basis"}, default="stimuli"
        Aspect to randomise.

        - "stimuli": the correspondence of rows of the source and the target. The
          held-out rows of each split are permuted, and the fits are kept, unless
          `refit` is True or `statistic` is "cost".
        - "layers": the correspondence of layers (Perm-P of [1]_). The layers of the
          side with more layers are permuted in the layer coupling of each fit, with the
          same permutations in all splits (the source layers, if both sides have as
          many). The unit plans do not change. The predictions of layer pairs are
          computed once for each split. A permutation only changes their weights, so it
          needs no fit and no pass over the stimuli.
        - "basis": the units of the source layers. Each source layer is rotated by a
          rotation sampled uniformly from SO(N), and the estimator is refitted, as
          `scale` says. Units that are constant over the training rows of a split are
          not rotated.
    cv : int, splitter or iterable of (train, test), default=5
        Splits, as in scikit-learn; None means five folds. If `groups` are given, an int
        means :class:`StimulusKFold`. It is not used by `statistic="cost"`, which has no
        splits.
    statistic : {"score", "cost"}, default="score"
        For "stimuli": what is tested.

        - "score": the held-out score.
        - "cost": the `cost_` of the fit to all rows. Every permutation is a fit, and no
          row is held out. It answers whether the two sides are related at all, not how
          well one predicts the other.
    groups : array-like of shape (n_rows,), default=None
        Stimulus of each row, if several rows repeat a stimulus. The splits must keep
        groups together. "stimuli" permutes whole groups of the same size. None uses the
        stimulus labels of X or y if some of them repeat, except with `blocks`.
    blocks : int, "circular" or None, default=None
        For "stimuli", if rows are a time series: an int permutes blocks of this many
        consecutive rows, and "circular" shifts the rows circularly. Held-out rows must
        be consecutive, or consecutive within each run.
    runs : array-like of shape (n_rows,), default=None
        For `blocks`: the run (recording) of each row. Rows of a run are consecutive and
        in the order of time. Blocks and shifts stay within the run. Rows of different
        runs are not near each other, so that whole runs can be held out in any order.
    refit : bool, default=False
        For "stimuli": whether to permute the rows before splitting, and refit the
        estimator for each permutation.
    n_pilot : int, default=15
        For "stimuli" with kept fits and several splits that train each other: number of
        permutations of all rows that are refitted, to estimate how much the scores of
        the splits depend on each other. 0 uses the design of the splits alone, which
        can make the p-value too small.
    scale : {"both", "standardized", "raw"}, default="both"
        For "basis": whether units are rotated after they were standardised with their
        mean and deviation in the training rows of each split ("standardized"), or as
        they are ("raw"). "both" takes the larger p-value. Each scale takes
        `n_permutations` times the number of splits fits.
    n_permutations : int, default=999
        Number of null scores. If there are at most this many distinct permutations, all
        of them are used, about equally often.
    random_state : int, RandomState instance or None, default=None
        Controls the randomness of the permutations and rotations. Pass an int for
        reproducible output across multiple function calls.
    direction : {"target", "source"}, default="target"
        Side to reconstruct and score. A cost has no direction.
    n_jobs : int, default=None
        Number of permutations that are refitted in parallel, for "basis", `refit`,
        `statistic="cost"` and the pilot, see the `scikit-learn glossary
        <https://scikit-learn.org/stable/glossary.html#term-n_jobs>`__. Fits within a
        parallel one use one job, whatever the `n_jobs` of the estimator. The result
        does not depend on it.
    callbacks : callback or list of callbacks, default=None
        Callbacks of scikit-learn that follow the progress: for instance
        :class:`sklearn.callback.ProgressBar`, which needs
        ``pip install 'skmot[progress]'``. The fits to the given rows are one task, with
        a part for each split, and so is each permutation that is refitted. For "layers"
        there is one task for each split.

    Returns
    -------
    result : Result
        Dictionary-like object, which prints as its conclusion. ``result.to_frame()`` is
        a table with one row, ``to_frame("splits")`` and ``to_frame("permutations")``
        have the score of each split and each null score, and ``to_frame("scales")`` of
        "basis" has `by_scale`. The attributes are

        conclusion : str
            What the p-value shows, and what it does not show.
        scores : ndarray of shape (n_splits,)
            Held-out score of each split. For `statistic="cost"` there is one, minus
            the `cost_`.
        score : float
            Mean of `scores`.
        null_scores : ndarray of shape (n_permutations,)
            Score of each permutation, averaged over splits.
        p_value : float
            (b + 1) / (n + 1), where b of the n null scores are at least `score`. Notes
            name the exceptions.
        p_value_t : float
            For refits (`refit=True` or `statistic="cost"`): the p-value of Student's t
            distribution, see Notes. It is not limited by `smallest_p`, but assumes that
            null scores are normal. NaN for other tests.
        smallest_p : float
            Smallest p-value that these permutations can give. If the number of distinct
            permutations does not divide `n_permutations + 1`, the smallest attainable
            value can be larger by less than 1 / `n_permutations`.
        null_hypothesis : str
            Null hypothesis that a small p-value rejects.
        movable_share : float
            Share of the rows that can change places, of (0, 1]. Groups of a size of
            their own stay where they are.
        split_correlations : ndarray of shape (n_splits, n_splits)
            For "stimuli" with kept fits: correlations R of the null scores of the
            splits, see Notes. None for other tests.
        correlations_from : str
            Where `split_correlations` come from: design, pilot, or no need.
        pilot_correlation : float
            Mean correlation of two splits in the pilot, NaN without one.
        permuted_side : {"source", "target"}
            For "layers": the side whose layers are permuted.
        by_scale : dict of Bunch
            For "basis": `score`, `null_scores` and `p_value` for each scale. A `score`
            of standardised units differs from that of raw units if the estimator, or
            an earlier step of a Pipeline, depends on the scale of the units.
        decisive_scale : {"standardized", "raw"}
            For "basis": the scale with the larger p-value, to which `null_scores` and
            `p_value` belong.
        control, statistic, direction : str
            The given values.

    Raises
    ------
    ValueError
        If an option does not match the control, a split separates rows of one group,
        `blocks` are given and held-out rows are not consecutive within a run, there is
        only one permutation, or the networks cannot be fitted or scored.
    TypeError
        If `control="layers"` and the estimator has no layer coupling, if it cannot
        reconstruct the side that is scored, or if it learns no `cost_` and
        `statistic="cost"`.

    Warns
    -----
    UserWarning
        If `smallest_p` is above 0.05, so that no result can be significant. For
        example, three source and three target layers have 3! = 6 orders, and the
        p-value of "layers" is at least 1/6. A warning is also raised if `blocks` are
        given and training rows are at most one block from held-out rows of the same run
        (one row for "circular"), and if groups cannot move.
    Warning
        Each warning of the fits is raised once, with the number of times it occurred.

    See Also
    --------
    hierarchy_test : Tests whether layers of similar depth are more alike.
    joint_permutation_test : One p-value for many pairs of networks.
    compare : Scores of several methods and networks, with confidence intervals.

    Notes
    -----
    **What rows can change places.** The p-value is valid if the permutations do not
    change the distribution of the data under the null hypothesis. This holds for single
    rows if rows are independent, and for groups of equal size if groups are
    independent. Blocks and circular shifts are approximate: the ends of blocks, and of
    the shifted series, are joined to rows that were not their neighbours. Use blocks
    that are longer than the autocorrelation. Rows shortly after the training rows are
    correlated with them: leave a gap (`TimeSeriesSplit(gap=...)`), or hold out whole
    runs.

    **Kept fits.** A single split gives an exact p-value. So do splits that are trained
    on earlier rows only (`TimeSeriesSplit`): each split has a p-value of its own, these
    are independent for exchangeable rows, and Stouffer's method combines them, with
    weights sqrt(n_train n_test). The mean of the scores would not be exact, because the
    spread of later null scores depends on the earlier rows.

    In k-fold cross-validation and repeated random splits, held-out rows of one split
    are training rows of another one. Their scores depend on each other, and a mean of
    independent null scores would vary too little. The correlations R of the splits
    are the larger of two estimates. The first one comes from the design: with A_k the
    unordered pairs of rows that cross from training to held out in split k,

    R_kj = abs(A_k and A_j) / sqrt(abs(A_k) abs(A_j)),

    which is 1 / (K - 1) for K folds. The second one is the mean correlation in a pilot
    of `n_pilot` refits to permuted rows. With z_bk the score of refit b in split k, in
    standard deviations of the null scores of split k from their mean,

    rho = (mean_b (sum_k z_bk)^2 / mean_b sum_k z_bk^2 - 1) / (K - 1),

    clipped to the range from 0 to 1. The null scores of each split are then put into
    the order of one of K normal variables with the correlations R (Iman and Conover
    [2]_), and averaged over splits. This p-value is approximate, and conservative where
    splits overlap (repeated k-fold, `ShuffleSplit`). `refit=True` is the reference: it
    is exact for all splits if rows, or groups of equal size, are exchangeable. The
    pilot takes `n_pilot` times the number of splits fits. If `n_permutations` is not
    much larger than `n_pilot`, or if 19 permutations are enough, use `refit=True`.

    **Refits.** With m and s the mean and standard deviation of the n null scores T_b,
    `p_value_t` is the upper tail of (T - m) / (s sqrt(1 + 1 / n)) in Student's t
    distribution with n - 1 degrees of freedom.

    **Costs.** `statistic="cost"` is exact if rows, or groups of equal size, are
    exchangeable. It uses all rows for the fit and for the test, and takes one fit a
    permutation. In simulations it had the highest power.

    **Layers.** A small p-value also results if layers differ in quality only, for
    instance if the signal-to-noise ratio rises with depth on both sides.

    **Basis.** Raw layers alone give too small p-values if units differ in variance,
    because a rotation mixes loud units into all others. Standardised layers alone give
    too small p-values if few dimensions are shared. A small p-value says that the axes
    are special. Two sides with tuning of the same kind (sparse, for instance) have
    special axes even if they have no unit in common.

    References
    ----------
    .. [1] Representational alignment across model layers and brain regions with
       multi-level optimal transport.
    .. [2] R. L. Iman, W. J. Conover. A distribution-free approach to inducing rank
       correlation among input variables. Communications in Statistics - Simulation and
       Computation, 11(3), 1982.

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
    ...     SoftMatching(), X, y, cv=cv, random_state=0
    ... )
    >>> round(result.score, 1), result.p_value
    (0.7, 0.001)
    >>> print(result)  # doctest: +NORMALIZE_WHITESPACE
    p = 0.001 (score 0.70, permuted 0.00 on average) shows that the responses of both
    sides to the stimuli are related. It shows neither how strong the relation is, nor
    that single units or layers correspond.

    The cost of the fit needs no splits:

    >>> result = permutation_control(
    ...     SoftMatching(),
    ...     X,
    ...     y,
    ...     statistic="cost",
    ...     n_permutations=99,
    ...     random_state=0,
    ... )
    >>> result.p_value
    0.01

    Results of several tests make a table:

    >>> frame = result.to_frame()
    >>> frame[["control", "statistic", "p_value"]]
       control statistic  p_value
    0  stimuli      cost     0.01
    """
    _check_options(control, statistic, groups, blocks, runs, refit, scale, direction)
    X, y, *_ = read_pair(X, y)
    if blocks is None:
        groups = repeated_groups(groups, X, y)
    codes = None if groups is None else read_groups(groups, len(X))
    options = RowOptions(
        codes, blocks, None if runs is None else read_runs(runs, len(X))
    )
    splits = [] if statistic == "cost" else make_splits(cv, len(X), codes, groups)
    n_tasks = 1 + n_permutations
    if control == "layers":
        n_tasks = len(splits)
    elif control == "stimuli" and statistic == "score" and not refit:
        n_tasks = 1 + count_pilot_fits(splits, options, n_pilot)
    with function_task("permutation_control", callbacks, n_tasks) as progress:
        task = ControlTask(
            estimator,
            X,
            y,
            direction,
            splits,
            n_permutations,
            check_random_state(random_state),
            n_jobs,
            progress=progress,
        )
        if control == "layers":
            outcome = permute_layers(task)
        elif control == "basis":
            outcome = rotate_sources(task, scale)
        elif statistic == "cost":
            outcome = permute_and_refit_costs(task, options)
        elif refit:
            outcome = permute_and_refit(task, options)
        else:
            outcome = permute_held_out(task, options, n_pilot)
    # `read_pair` has warned if the row numbers of the given data differ.
    log = [entry for entry in task.log if entry[0] is not RowNumberWarning]
    repeat_warnings(log)
    _warn_about_large_p(outcome, control, n_permutations, is_grouped=codes is not None)
    return ControlResult(
        _conclude(outcome, statistic),
        scores=outcome.scores,
        score=float(outcome.scores.mean()),
        null_scores=outcome.null_scores,
        p_value=outcome.p_value,
        smallest_p=outcome.smallest_p,
        null_hypothesis=outcome.null_hypothesis,
        movable_share=outcome.movable_share,
        control=control,
        statistic=statistic,
        direction=direction,
        **{**_NOT_COMPUTED, **outcome.values},
    )


class ControlResult(Result):
    """Result of a permutation control."""

    def _tables(self):
        tables = {
            **super()._tables(),
            "splits": lambda: numbered_rows("split", score=self.scores),
            "permutations": lambda: numbered_rows(
                "permutation", score=self.null_scores
            ),
        }
        if self.by_scale is not None:
            tables["scales"] = lambda: [
                {"scale": name, "score": part.score, "p_value": part.p_value}
                for name, part in self.by_scale.items()
            ]
        return tables


def _check_options(control, statistic, groups, blocks, runs, refit, scale, direction):
    """Raise an error if an option does not match the control or another option."""
    if control != "stimuli" and (blocks is not None or refit or statistic == "cost"):
        raise ValueError(
            "`blocks`, `refit` and statistic='cost' are options of control='stimuli'; "
            f"got control={control!r}."
        )
    if control != "basis" and scale != "both":
        raise ValueError(
            f"`scale` is an option of control='basis'; got control={control!r}."
        )
    if groups is not None and blocks is not None:
        raise ValueError(
            "`groups` and `blocks` are two ways to keep rows together: give one."
        )
    if runs is not None and blocks is None:
        raise ValueError(
            "`runs` says within which rows blocks are permuted or shifted: give "
            "`blocks` too, or give the runs as `groups` to permute whole runs."
        )
    if statistic == "cost" and direction == "source":
        raise ValueError(
            "statistic='cost' has no direction: the `cost_` is that of both sides. "
            "Leave `direction` out, or exchange X and y."
        )


def _warn_about_large_p(outcome, control, n_permutations, is_grouped):
    """Warn if the p-value cannot be small, or if it is too large."""
    if is_grouped and outcome.movable_share < 1:
        warnings.warn(
            f"Only {outcome.movable_share:.0%} of the rows can move: a group changes "
            "places with groups of its size, and some sizes occur once. The null "
            "scores keep a part of the effect: the p-value is too large. Average the "
            "rows of each group first, or give every group as many rows.",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )
    if outcome.smallest_p > _USUAL_LEVEL:
        n_distinct = 1 / outcome.smallest_p
        if n_distinct > n_permutations + 0.5:
            reason = "raise `n_permutations`"
        elif abs(n_distinct - round(n_distinct)) < 1e-6:
            reason = f"only {round(n_distinct)} permutations are distinct"
        else:
            reason = "too few permutations of the splits are distinct"
        warnings.warn(
            f"The p-value of control={control!r} cannot be below "
            f"{outcome.smallest_p:.3g}: {reason}.",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )


def _conclude(outcome, statistic):
    """Say what the p-value shows, and what it does not show."""
    score, null = outcome.scores.mean(), outcome.null_scores.mean()
    if statistic == "cost":
        numbers = f"cost {-score:.3g}, permuted {-null:.3g}"
    else:
        name = "rotated" if "by_scale" in outcome.values else "permuted"
        numbers = f"score {score:z.2f}, {name} {null:z.2f}"
    found = f"p = {outcome.p_value:.2g} ({numbers} on average)"
    if outcome.p_value <= _USUAL_LEVEL:
        said = f"{found} shows that {outcome.shows}. {outcome.limits}"
    else:
        said = f"{found} does not show that {outcome.shows}, and does not exclude it."
    return f"{said} {outcome.remark}".rstrip()

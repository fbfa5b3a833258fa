"""How many units have a counterpart: partial matching at many masses."""

import math
import warnings
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from scipy.optimize import nnls
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.parallel import Parallel, delayed

from skmot._units import paired_products, unit_columns, warn_about_dead_units
from skmot._utils.array_api import as_numbers, to_numpy
from skmot._utils.results import Result
from skmot._utils.sklearn import Interval, validate_params
from skmot._utils.warnings import stacklevel_of_caller
from skmot.layers.checks import check_layer
from skmot.layers.names import label_units, name_arrays_of
from skmot.layers.reading import check_unmasked
from skmot.layers.sides import check_fit_pair, read_side
from skmot.layers.splits import make_splits, read_groups, repeated_groups
from skmot.layers.stack import side_by_side
from skmot.model_selection.dependence import design_correlations
from skmot.model_selection.permutations import row_permutations
from skmot.pairs import SoftMatching

__all__ = ["curve_corner", "mass_curve"]

# Multiples of 1/20: noise of the folds hides finer corners, and each mass needs one fit
# per fold.
_MASSES = tuple(step / 20 for step in range(1, 21))
_LEVEL = 0.05
# Normal quantiles: the lower bound is one-sided at 2.5 %, the upper one at 5 %.
_LOW_QUANTILE, _HIGH_QUANTILE = 1.96, 1.645
_NEARLY_ALL = 0.95
# The least similar counterparts are assumed to be at least half as similar as the mean
# of all. Where similarity falls linearly, the last is then 1/3 of the first.
_LEAST_OF_MEAN, _LEAST_OF_FIRST = 1 / 2, 1 / 3
# Smallest correlation of splits that train on each other's rows. Measured, with 60 to
# 120 pairs of 20 x 20 unrelated units: .23 to .29 for 5 folds, .17 to .22 for 10 and
# .07 to .16 for 20, where the shared pairs of rows alone give .25, .11 and .05.
_LEAST_CORRELATION = 0.3
# Rounding error of the distances from a chord, relative to the largest value.
_ROUNDING = 1e-12


@validate_params(
    {
        "cv": ["cv_object"],
        # With fewer no p-value is at most 0.05.
        "n_permutations": [Interval(Integral, 19, None, closed="left")],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
    },
    prefer_skip_nested_validation=False,
)
def mass_curve(
    X,
    y,
    masses=_MASSES,
    *,
    estimator=None,
    cv=5,
    groups=None,
    n_permutations=999,
    random_state=None,
    n_jobs=None,
):
    """Judge how many units have a counterpart, from partial matching at many masses.

    Partial matching matches only a fraction of the units, the `mass`, and the most
    similar pairs first ([1]_). The correlations of the matched units are computed on
    held-out rows, because units without a counterpart find similar partners in training
    by chance. While units with a counterpart are added, the sum of these correlations
    increases; when only others are left, it stays the same. `verdict` says whether that
    sum is above chance at all, and whether it increases up to the full mass. `share`,
    `low` and `high` say where it stops. If a test on other rows follows, pass only the
    training rows.

    Parameters
    ----------
    X, y : LayerStack, list, dict, DataFrame or array-like
        Source and target layers over the same stimuli.
    masses : array-like of shape (n_masses,), default=(0.05, 0.1, ..., 1)
        At least three fractions to match, increasing, above 0 and at most 1. Between
        two of them the curve is taken to be straight.
    estimator : SoftMatching, default=None
        Estimator to fit. Its `mass` is ignored. None means `SoftMatching()`. The share
        is judged only with `metric="correlation"` and without weights, see Notes.
    cv : int, cross-validation splitter or iterable, default=5
        Splits of the stimuli, as in scikit-learn. If `groups` are given, an int means
        :class:`skmot.model_selection.StimulusKFold`.
    groups : array-like of shape (n_rows,), default=None
        Stimulus of each row, if several rows repeat a stimulus. The splits must keep
        groups together, and whole groups of the same size are permuted. In a time
        series, number blocks of consecutive rows that are longer than the
        autocorrelation. None uses the stimulus labels of X or y if some of them repeat.
    n_permutations : int, default=999
        Number of permutations of the held-out rows of each split, at least 19. They
        need no fit.
    random_state : int, RandomState instance or None, default=None
        Controls the randomness of the permutations. Pass an int for reproducible output
        across multiple function calls.
    n_jobs : int, default=None
        Number of folds to fit in parallel.

    Returns
    -------
    curve : Result
        Dictionary-like object, which prints as a sentence. ``curve.to_frame()`` is a
        table with one row, ``to_frame("masses")`` has one row for each mass,
        ``to_frame("folds")`` one for each mass in each fold, and ``to_frame("units")``
        one for each unit, with the mean of `matched` over masses. The attributes are

        verdict : {"none detected", "some", "at least .95"}
            "none detected" if `p_value` is above 0.05, "at least .95" if `low` is at
            least 0.95, else "some".
        share : float
            Estimated share of the units with a counterpart, in units of `masses`. 0 if
            none is detected, NaN if it is not judged. If the two sides differ in size,
            it is a share of the larger side: if each of 12 units has one counterpart
            among 30, it is 12/30. It is above that only if units have several
            counterparts.
        low : float
            Lower bound of the share. 0 if no mass has a significant gain.
        high : float
            Upper bound of the share of units with a counterpart whose correlation is at
            least `least_similarity`. Weaker counterparts cannot be excluded. 1 if it is
            not below the last of `masses`, NaN if none is detected.
        least_similarity : float
            Half the mean correlation of the units within `share`, NaN if none is
            detected.
        p_value : float
            p-value of the hypothesis that no unit has a counterpart.
        corner : float
            Corner of the held-out total costs ``masses * mean_costs``, see
            :func:`curve_corner`. NaN unless the verdict is "some", because without or
            with only counterparts the curve has no corner.
        masses : ndarray of shape (n_masses,)
            The given masses.
        similarities : ndarray of shape (n_masses,)
            Sum over pairs of matched mass times held-out correlation, averaged over
            splits, minus the mean of permuted rows (0 for single rows).
        fitted_similarities : ndarray of shape (n_masses,)
            The fitted curve, which increases up to the estimated share. NaN if none is
            detected or the share is not judged.
        null_similarities : ndarray of shape (n_permutations, n_masses)
            `similarities` of permuted rows, widened for the dependence of the splits.
        costs : ndarray of shape (n_masses,)
            `cost_` (per unit of mass) of fits to all stimuli.
        matched : tuple of ndarray, of shape (n_masses, n_units) each
            `matched_` of source and target units, in fits to all stimuli. Units with
            the best counterparts are matched first. The mean over masses therefore
            ranks units more finely than a single mass.
        layer_names, unit_names : tuple of list, of length n_units each
            Name of each source and target unit and of its layer, or their numbers,
            counted from 0, if they have no names.
        held_out_costs, held_out_scores : ndarray of shape (n_folds, n_masses)
            `held_out_cost` and `score` on each held-out fold. Unmatched units count as
            0 in the score and do not count in the cost.
        mean_costs, mean_scores : ndarray of shape (n_masses,)
            Means over folds.
        cost_errors, score_errors : ndarray of shape (n_masses,)
            Standard errors of these means: the standard deviation over folds divided by
            the square root of the number of folds; NaN for one fold. They are
            approximate, because folds share training stimuli.
        split_correlations : ndarray of shape (n_folds, n_folds)
            Assumed correlations of the null similarities of the splits.
        conclusion : str
            The sentence that is printed.

    Raises
    ------
    TypeError
        If the estimator is not a SoftMatching.
    ValueError
        If masses do not increase, are out of range or fewer than three, a split
        separates rows of one group, no two groups among the held-out rows have the same
        size, or the estimator cannot be fitted to `X` and `y`.

    Warns
    -----
    DeadUnitWarning
        If units are constant. The warning is raised once.
    ConvergenceWarning
        If a plan may not be optimal.
    UserWarning
        If there are so few groups that no p-value is at most 0.05, or if some groups
        cannot be permuted because no other group has their size.

    See Also
    --------
    skmot.SoftMatching : The estimator.
    curve_corner : Finds the corner of a curve.
    skmot.model_selection.permutation_control : Tests scores instead of shares.

    Notes
    -----
    For mass m, S(m) is the mean over splits of sum_ij P_ij r_ij, with the training plan
    P of this mass and the held-out correlations r_ij. Held-out rows of y are permuted B
    times in each split, which gives S*(m) with standard deviation s(m), and s(m, 1) of
    S*(1) - S*(m). For K splits, all deviations from the mean of S* are multiplied by
    f = sqrt(K mean(R)), with the mean over all entries of the correlations R of the
    splits. An entry of R is the share of pairs of rows that cross from training to held
    out in both splits, but at least 0.3 if there are any. (By the share alone f would
    be sqrt(2) for any number of folds, which is too small for 10.) For 5 folds f is
    1.48, for 10 it is 1.92, and for one split it is 1.

    - p_value = (1 + #{max_m S*(m) f / s(m) >= max_m S(m) / s(m)}) / (B + 1).
    - low: the masses are tested from 0 upwards as long as S(1) - S(m) > 1.96 f s(m, 1).
      The share is then above the last mass of these, by at least the smallest mass that
      a plan can move (the inverse of the least common multiple of the numbers of live
      units).
    - share: the smallest sum of squares of S(m) - T(min(m, k)) over k, at least one
      unit, where the slope of T is positive and falls linearly to at least a third of
      its start, because the most similar units are matched first. (A straight line,
      without the fall, gives .75 for a share of 1 if the correlations range from .45 to
      .96.) It is at least `low`.
    - high = share + max(S(1) - S(share) + 1.645 e, 0) / least_similarity, where e is
      the larger one of f s(share, 1) and the sampling error of S(1) - S(share), which
      is computed from the influence of each row (or group of rows) on the correlations.

    The bounds rely on units with a counterpart being matched first. With
    `metric="sqeuclidean"` units of small variance are matched first, and with "cosine"
    units with a large mean, whether or not they have a counterpart: in simulations with
    such units, `low` was above the true share in more than 9 of 10 data sets. With
    "abs_correlation", whose similarities have the signs of the training rows, the
    bounds have not been tested. Nor have they with `source_weights` or
    `target_weights`, where shares are shares of the mass instead of the units. In all
    these cases only the p-value and the verdicts "none detected" and "some" are given.

    A counterpart is a unit whose responses are related. It need not be the only one:
    units that share one signal are counterparts of each other. Nor need both units have
    learned the same: of 20 rectified random projections of 400 images of digits, about
    .85, .80 and 1 had a counterpart among 20 other ones, in three draws. Compare the
    share with that of untrained networks.

    References
    ----------
    .. [1] Partial soft-matching distance for neural representational comparison with
       partial unit correspondence. arXiv 2602.19331, 2026.

    Examples
    --------
    Seven of the ten units of each side have a counterpart:

    >>> import numpy as np
    >>> from skmot.partial import mass_curve
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(2, 200, 10))
    >>> y[:, :7] = X[:, 6::-1] + 0.3 * y[:, :7]
    >>> curve = mass_curve(X, y, np.arange(1, 11) / 10, random_state=0)
    >>> curve.verdict, round(curve.share, 2), curve.corner
    ('some', 0.7, 0.7)
    >>> sorted(curve.matched[1].mean(axis=0).argsort()[:3].tolist())
    [7, 8, 9]
    """
    masses = _check_masses(masses)
    estimator = SoftMatching() if estimator is None else estimator
    if not isinstance(estimator, SoftMatching):
        raise TypeError(
            "`estimator` must be a SoftMatching, which has a `mass`; got "
            f"{type(estimator).__name__}."
        )
    estimator._validate_params()
    # These fits come first, because they check the input.
    fitted = _fit_masses(estimator, masses, X, y)
    source, target = read_side(X, "X")[0], read_side(y, "y")[0]
    groups = repeated_groups(groups, source, target)
    codes = None if groups is None else read_groups(groups, len(source))
    splits = make_splits(cv, len(source), codes, groups)
    random = check_random_state(random_state)
    permutations = [row_permutations(test, codes, None) for _, test in splits]
    folds = Parallel(n_jobs=n_jobs)(
        delayed(_score_fold)(
            estimator,
            masses,
            source,
            target,
            split,
            allowed.sample(n_permutations, random),
        )
        for split, allowed in zip(splits, permutations, strict=True)
    )
    costs, scores, gaps = (
        np.array([getattr(fold, name) for fold in folds])
        for name in ("costs", "scores", "gaps")
    )
    _report(fitted, gaps)
    _warn_about_permutations(permutations, n_permutations)
    correlations = _split_correlations(splits, len(source))
    similarity = _HeldOutSimilarity.over_splits(
        masses, folds, splits, codes, correlations
    )
    judged = _judge(
        similarity, _why_not_judged(estimator), _count_live_units(fitted[0])
    )
    names = [label_units(name_arrays_of(side)) for side in (source, target)]
    return MassCurve(
        **judged,
        corner=(
            curve_corner(masses, masses * costs.mean(axis=0))
            if judged["verdict"] == "some"
            else math.nan
        ),
        similarities=similarity.values[1:],
        null_similarities=similarity.null_values[:, 1:],
        split_correlations=correlations,
        masses=masses,
        costs=np.array([matching.cost_ for matching in fitted]),
        matched=tuple(
            np.array([matching.matched_[side] for matching in fitted])
            for side in (0, 1)
        ),
        layer_names=tuple(side["layer"] for side in names),
        unit_names=tuple(side["unit"] for side in names),
        held_out_costs=costs,
        held_out_scores=scores,
        mean_costs=costs.mean(axis=0),
        mean_scores=scores.mean(axis=0),
        cost_errors=_standard_errors(costs),
        score_errors=_standard_errors(scores),
    )


class MassCurve(Result):
    """Result of `mass_curve`."""

    def _tables(self):
        return {
            **super()._tables(),
            "masses": lambda: {
                "mass": self.masses,
                "similarity": self.similarities,
                "fitted_similarity": self.fitted_similarities,
                "cost": self.costs,
                "mean_cost": self.mean_costs,
                "cost_error": self.cost_errors,
                "mean_score": self.mean_scores,
                "score_error": self.score_errors,
            },
            "folds": self._folds,
            "units": self._units,
        }

    def _folds(self):
        n_folds, n_masses = self.held_out_costs.shape
        return {
            "fold": np.repeat(np.arange(n_folds), n_masses),
            "mass": np.tile(self.masses, n_folds),
            "held_out_cost": self.held_out_costs.ravel(),
            "held_out_score": self.held_out_scores.ravel(),
        }

    def _units(self):
        sides = np.repeat(["source", "target"], [len(part) for part in self.unit_names])
        return {
            "side": sides.tolist(),
            "layer": [name for side in self.layer_names for name in side],
            "unit": [name for side in self.unit_names for name in side],
            "matched": np.concatenate([part.mean(axis=0) for part in self.matched]),
        }


def curve_corner(masses, values):
    """Find the corner of a curve: the point with the largest distance from its chord.

    The chord joins the first and the last point ([1]_). The corner does not depend on
    the units of the axes, or on whether the curve increases or decreases. If the curve
    consists of two straight pieces, the corner is the point where they meet. (On smooth
    L-curves the corner is often the point of maximal curvature ([2]_), but this needs
    second differences, which are too noisy here.)

    Parameters
    ----------
    masses : array-like of shape (n_masses,)
        At least three increasing masses.
    values : array-like of shape (n_masses,)
        Costs or scores at these masses.

    Returns
    -------
    corner : float
        Mass at the corner. Ties give the smallest mass. If the curve is straight, it
        has no corner, and the last mass is returned.

    Raises
    ------
    ValueError
        If masses do not increase or are fewer than three, or `values` does not contain
        one finite number for each mass.

    References
    ----------
    .. [1] V. Satopaa, J. Albrecht, D. Irwin, B. Raghavan. Finding a "kneedle" in a
       haystack: detecting knee points in system behavior. ICDCS Workshops, 2011.
    .. [2] P. C. Hansen, D. P. O'Leary. The use of the L-curve in the regularization of
       discrete ill-posed problems. SIAM Journal on Scientific Computing, 1993.

    Examples
    --------
    >>> from skmot.partial import curve_corner
    >>> curve_corner([0.25, 0.5, 0.75, 1.0], [0.1, 0.2, 0.3, 0.9])
    0.75
    """
    masses = _check_increasing(masses)
    check_unmasked(values, "`values`")
    values = as_numbers(values, "values")
    if values.shape != masses.shape or not np.isfinite(values).all():
        raise ValueError(
            f"`values` must be one finite number for each of {len(masses)} masses; got "
            f"an array of shape {values.shape}"
            f"{'' if np.isfinite(values).all() else ' with NaN or infinity'}."
        )
    along = (masses - masses[0]) / (masses[-1] - masses[0])
    # The chord is a weighted mean of both ends. The difference of the ends would have
    # larger rounding errors if the values are large.
    distances = np.abs(values - (1 - along) * values[0] - along * values[-1])
    rounding = _ROUNDING * np.abs(values).max()
    if distances.max() <= rounding:
        return float(masses[-1])
    return float(masses[np.argmax(distances >= distances.max() - rounding)])


def _check_increasing(masses):
    check_unmasked(masses, "`masses`")
    masses = as_numbers(masses, "masses")
    if masses.ndim != 1 or len(masses) < 3 or not np.all(np.diff(masses) > 0):
        raise ValueError(
            f"`masses` must be three or more increasing numbers; got {masses}."
        )
    return masses


def _check_masses(masses):
    masses = _check_increasing(masses)
    if not (masses[0] > 0 and masses[-1] <= 1):
        raise ValueError(
            "`masses` must be more than 0 and at most 1; got numbers from "
            f"{masses[0]} to {masses[-1]}."
        )
    return masses


def _fit_masses(estimator, masses, X, y):
    """Fit one estimator for each mass. The populations are prepared once."""
    source, target, *layouts = check_fit_pair(clone(estimator), X, y)
    sides = zip(("source", "target"), (source, target), layouts, strict=True)
    populations, statistics = zip(
        *(estimator._prepare_side(*side) for side in sides), strict=True
    )
    fitted = []
    for mass in masses:
        matching = clone(estimator).set_params(mass=float(mass))
        matching._set_layouts(*layouts)
        matching._set_solution(matching._solve_checked(*populations), *statistics)
        fitted.append(matching)
    return fitted


@dataclass(frozen=True)
class _Fold:
    """What one split measures at each mass.

    Attributes
    ----------
    costs, scores, gaps : list of float
        Held-out costs, held-out scores and duality gaps.
    similarities : ndarray of shape (n_masses,)
        Sum of P_ij r_ij, with the training plan P and held-out correlations r.
    null_similarities : ndarray of shape (n_permutations, n_masses)
        The same after permuting the held-out rows of the target.
    influences : ndarray of shape (n_held_out_rows, n_masses)
        Change of the similarity with the weight of each held-out row. The sum of their
        squares is its sampling variance.
    """

    costs: list
    scores: list
    gaps: list
    similarities: np.ndarray
    null_similarities: np.ndarray
    influences: np.ndarray


def _score_fold(estimator, masses, source, target, split, orders):
    """Measure one split. `orders` are permutations of its held-out rows."""
    train, test = split
    fitted = _fit_masses(estimator, masses, source[train], target[train])
    source, target = source[test], target[test]
    # Correlations are products of these columns. Constant units have none: 0.
    x, y = (
        _unit_columns(layout.leaves(stack))
        for layout, stack in (
            (fitted[0]._source_layout, source),
            (fitted[0]._target_layout, target),
        )
    )
    similarities = [_similarities(plan._signed_plan, x, y, orders) for plan in fitted]
    observed, permuted, influences = zip(*similarities, strict=True)
    return _Fold(
        [matching.held_out_cost(source, target) for matching in fitted],
        [matching.score(source, target) for matching in fitted],
        [_gap(matching) for matching in fitted],
        np.array(observed),
        np.column_stack(permuted),
        np.column_stack(influences),
    )


def _unit_columns(leaves):
    """Return all units of a side, centred and scaled to norm 1, in numpy."""
    arrays = [check_layer(leaf.layer, leaf.where, min_stimuli=2) for leaf in leaves]
    return unit_columns(to_numpy(side_by_side(arrays)))


def _similarities(plan, x, y, orders):
    """Return the similarity under a plan, that of permuted rows, and influences."""
    # The similarity is a sum over rows, so one matrix has the terms of all orders.
    products = (x @ plan) @ y.T
    observed = np.trace(products)
    permuted = products[np.arange(len(x)), orders].sum(axis=1)
    # A correlation depends on a row by its product and by its part of both variances.
    plan = plan.tocoo()
    weighted = plan.data * paired_products(x, y, plan.row, plan.col)
    of_sources = np.bincount(plan.row, weighted, minlength=x.shape[1])
    of_targets = np.bincount(plan.col, weighted, minlength=y.shape[1])
    influences = np.diag(products) - (x**2 @ of_sources + y**2 @ of_targets) / 2
    return observed, permuted, influences


def _gap(matching):
    """Return the duality gap of a fit that did not converge, else 0."""
    return max((amount for _, amount in matching._convergence_issues), default=0.0)


def _report(fitted, gaps):
    """Warn once about dead units, and once about plans that may not be optimal."""
    warn_about_dead_units(
        [fitted[0].dead_source_units_, fitted[0].dead_target_units_],
        ["X", "y"],
    )
    gaps = np.append([_gap(matching) for matching in fitted], gaps)
    if gaps.any():
        warnings.warn(
            f"{np.count_nonzero(gaps)} plan(s) are not proven optimal: costs are above "
            f"the optimum by at most {gaps.max():.1e}.",
            ConvergenceWarning,
            stacklevel=stacklevel_of_caller(),
        )


def _standard_errors(folds):
    n_folds = len(folds)
    if n_folds < 2:
        return np.full(folds.shape[1], np.nan)
    return folds.std(axis=0, ddof=1) / np.sqrt(n_folds)


# -- the share of units with a counterpart ---------------------------------------------


@dataclass(frozen=True)
class _HeldOutSimilarity:
    """Held-out similarity as a function of the mass, starting at mass 0.

    Attributes
    ----------
    masses : ndarray of shape (n_masses + 1,)
        0 and the masses.
    values : ndarray of shape (n_masses + 1,)
        Mean similarity over splits, minus the mean of permuted rows.
    null_values : ndarray of shape (n_permutations, n_masses + 1)
        The same for permuted rows, widened by the dependence of the splits.
    influences : ndarray of shape (n_groups, n_masses + 1)
        Influence of each row, or group of rows.
    """

    masses: np.ndarray
    values: np.ndarray
    null_values: np.ndarray
    influences: np.ndarray

    @classmethod
    def over_splits(cls, masses, folds, splits, codes, correlations):
        observed = np.mean([fold.similarities for fold in folds], axis=0)
        permuted = np.mean([fold.null_similarities for fold in folds], axis=0)
        # It is 0 for single rows. Groups of rows keep what all groups have in common,
        # such as an effect of the position in the group.
        null_mean = permuted.mean(axis=0)
        widening = math.sqrt(len(splits) * correlations.mean())
        if codes is None:
            codes = np.arange(1 + max(test.max() for _, test in splits))
        influences = np.zeros((codes.max() + 1, len(masses)))
        for (_, test), fold in zip(splits, folds, strict=True):
            np.add.at(influences, codes[test], fold.influences / len(splits))
        parts = observed - null_mean, widening * (permuted - null_mean), influences
        return cls(
            np.append(0.0, masses),
            # No mass has no similarity.
            *(np.insert(part, 0, 0.0, axis=-1) for part in parts),
        )

    def p_value(self):
        """Test the largest similarity of all masses, in standard deviations."""
        deviations = self.null_values.std(axis=0)
        varies = deviations > 0
        observed = self.values[varies] / deviations[varies]
        permuted = self.null_values[:, varies] / deviations[varies]
        n_as_good = np.count_nonzero(
            permuted.max(axis=1, initial=0.0) >= observed.max(initial=0.0)
        )
        return (n_as_good + 1) / (len(permuted) + 1)

    def low(self, n_parts):
        """Return the lower bound of the share: masses are tested from 0 upwards."""
        gains = self.values[-1] - self.values[:-1]
        deviations = _beyond(self.null_values).std(axis=0)[:-1]
        # The last mass has no gain, so that there is one that is not significant.
        significant = np.append(gains > _LOW_QUANTILE * deviations, False)
        n_significant = int(np.argmin(significant))
        if n_significant == 0:
            return 0.0
        # The share is above this mass. Plans consist of whole parts of 1 / n_parts.
        n_matched = math.floor(self.masses[n_significant - 1] * n_parts + _ROUNDING)
        return min((n_matched + 1) / n_parts, float(self.masses[-1]))

    def fit(self, share):
        """Fit a curve that increases up to the share; return it and its error."""
        matched = np.minimum(self.masses, share)
        # Slopes that fall linearly are sums of these two: constant, and falling most.
        falling = matched - (1 - _LEAST_OF_FIRST) * matched**2 / (2 * share)
        curves = np.column_stack([matched, falling])
        weights, error = nnls(curves, self.values)
        return curves @ weights, error

    def gain_beyond(self, mass):
        """Return the similarity gained beyond a mass, and its error."""
        gain, *influences = (
            values[-1] - np.interp(mass, self.masses, values)
            for values in (self.values, *self.influences)
        )
        null = [
            values[-1] - np.interp(mass, self.masses, values)
            for values in self.null_values
        ]
        return gain, max(np.linalg.norm(influences), np.std(null))


def _beyond(values):
    """Return what is gained between each mass and the last one."""
    return values[:, -1:] - values


def _split_correlations(splits, n_rows):
    """Return the correlations of the null similarities of the splits."""
    design = design_correlations(splits, n_rows)
    return np.where(design > 0, np.maximum(design, _LEAST_CORRELATION), 0.0)


def _count_live_units(matching):
    """Return the numbers of units that are not constant."""
    dead = matching.dead_source_units_, matching.dead_target_units_
    return [
        len(matched) - len(units)
        for matched, units in zip(matching.matched_, dead, strict=True)
    ]


def _why_not_judged(estimator):
    """Return the setting for which the bounds are not known to hold, or None."""
    for name in ("source_weights", "target_weights"):
        if getattr(estimator, name) is not None:
            return f"`{name}`", f"{name}=None"
    if estimator.metric != "correlation":
        return f"metric={estimator.metric!r}", "metric='correlation'"
    return None


def _judge(similarity, not_judged, n_units):
    """Return the verdict, the share with its bounds, and the sentence about them."""
    p_value = similarity.p_value()
    last = float(similarity.masses[-1])
    judged = {
        "p_value": p_value,
        "verdict": "none detected",
        "share": 0.0,
        "low": 0.0,
        "high": math.nan,
        "least_similarity": math.nan,
        "fitted_similarities": np.full(len(similarity.masses) - 1, math.nan),
    }
    if p_value > _LEVEL:
        deviation = similarity.null_values[:, -1].std()
        bound = (similarity.values[-1] + _HIGH_QUANTILE * deviation) / last
        return judged | {"conclusion": _say_none(p_value, bound)}
    if not_judged is not None:
        return judged | {
            "verdict": "some",
            "share": math.nan,
            "low": math.nan,
            "conclusion": _say_not_judged(p_value, *not_judged),
        }
    low = similarity.low(math.lcm(*n_units))
    n_larger = max(n_units)
    shares = np.arange(1, max(1, round(last * n_larger)) + 1) / n_larger
    best = shares[np.argmin([similarity.fit(share)[1] for share in shares])]
    share = float(max(best, low))
    gain, error = similarity.gain_beyond(share)
    mean = (similarity.values[-1] - gain) / share
    least = float(max(_LEAST_OF_MEAN * mean, 0.0))
    high = share + max(gain + _HIGH_QUANTILE * error, 0.0) / least if least > 0 else 1.0
    judged |= {
        "verdict": "at least .95" if low >= _NEARLY_ALL - _ROUNDING else "some",
        "share": share,
        "low": low,
        # What is beyond the last mass was not measured.
        "high": 1.0 if high >= last else float(high),
        "least_similarity": least,
        "fitted_similarities": similarity.fit(share)[0][1:],
    }
    return judged | {"conclusion": _say_share(judged, n_units)}


# What readers take a counterpart for.
_RELATED_ONLY = (
    " A counterpart has related responses: units of untrained networks that see the "
    "same stimuli have counterparts, too."
)


def _say_none(p_value, bound):
    return (
        f"No counterparts were detected (p = {p_value:.3g}). This does not show that "
        f"there are none: a mean held-out correlation of up to {max(bound, 0.0):.2g} "
        "over all units cannot be excluded, of a few units with strong counterparts or "
        "of many with weak ones."
    )


def _say_not_judged(p_value, setting, advice):
    return (
        f"Some units have a counterpart (p = {p_value:.3g}). How many is not judged "
        f"with {setting}, for which bounds are not known to hold: use {advice}."
    )


def _say_share(judged, n_units):
    """Say how many units have a counterpart, and what cannot be excluded."""
    of_units = "the units"
    note = ""
    if n_units[0] != n_units[1]:
        side = "X" if n_units[0] > n_units[1] else "y"
        of_units = f"the {max(n_units)} units of {side}, the larger side,"
        note = (
            f" One-to-one counterparts cannot exceed {min(n_units) / max(n_units):.0%}."
        )
    p_value = f"(p = {judged['p_value']:.3g})"
    if judged["verdict"] == "at least .95":
        return (
            f"At least {judged['low']:.0%} of {of_units} have a counterpart {p_value}: "
            "their responses are related to those of the units they are matched to. "
            "This does not show that it is their only counterpart, or a close one."
            f"{note}{_RELATED_ONLY}"
        )
    low = f"at least {judged['low']:.0%}" if judged["low"] > 0 else "possibly only one"
    least = f"with a held-out correlation of {judged['least_similarity']:.2g} or more"
    if judged["high"] < 1:
        high = (
            f"At most {judged['high']:.0%} have one {least}; weaker counterparts of "
            "the others cannot be excluded."
        )
    else:
        high = f"It cannot be excluded that all have one, even {least}."
    return (
        f"About {judged['share']:.0%} of {of_units} have a counterpart, {low} "
        f"{p_value}. {high}{note}{_RELATED_ONLY}"
    )


def _warn_about_permutations(permutations, n_permutations):
    """Warn if no p-value can be small, or some groups stay where they are."""
    n_distinct = math.prod(allowed.n_distinct for allowed in permutations)
    if 1 / min(n_distinct, n_permutations + 1) > _LEVEL:
        warnings.warn(
            f"Only {n_distinct} permutations of the held-out groups are distinct: the "
            "p-value cannot be at most 0.05, so no counterpart can be detected. Hold "
            "out more groups.",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )
    movable = np.mean([allowed.movable_share for allowed in permutations])
    if movable < 1:
        warnings.warn(
            f"Only {movable:.0%} of the rows can be permuted: a group changes places "
            "with groups of its size, and some sizes occur once. Counterparts are "
            "detected less often. Average the rows of each group first, or give every "
            "group as many rows.",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )

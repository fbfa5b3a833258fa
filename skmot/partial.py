"""Costs and scores of partial matching as a function of the matched mass."""

import warnings

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import check_cv
from sklearn.utils import Bunch
from sklearn.utils.parallel import Parallel, delayed

from skmot._units import warn_about_dead_units
from skmot.layers.sides import check_fit_pair, read_side
from skmot.pairs import SoftMatching

__all__ = ["curve_corner", "mass_curve"]

# Multiples of 1/20: noise of the folds hides finer corners, and each mass needs one fit
# per fold.
_MASSES = tuple(step / 20 for step in range(1, 21))
# Rounding error of the distances from a chord, relative to the largest value.
_ROUNDING = 1e-12


def mass_curve(X, y, masses=_MASSES, *, estimator=None, cv=5, n_jobs=None):
    """Compute costs and scores of partial matching as a function of the matched mass.

    The total cost `mass` x `cost_` increases with the mass and is convex. It increases
    slowly while units with a counterpart are matched, and faster when the remaining
    units have none. The corner of this curve estimates the fraction of units with a
    counterpart (the L-curve of [1]_). On the training stimuli, units without a
    counterpart also find partners by chance, which fit well if there are few stimuli.
    Therefore the corner is computed from costs on held-out folds. If a test follows,
    pass only the training stimuli.

    Parameters
    ----------
    X, y : LayerStack, list, dict, DataFrame or array-like
        Source and target layers over the same stimuli.
    masses : array-like of shape (n_masses,), default=(0.05, 0.1, ..., 1)
        At least three fractions to match, increasing, above 0 and at most 1.
    estimator : SoftMatching, default=None
        Estimator to fit. Its `mass` is ignored. None means `SoftMatching()`.
    cv : int, cross-validation splitter or iterable, default=5
        Splits of the stimuli, as in scikit-learn. If several rows repeat a stimulus,
        pass the splits themselves, ``splitter.split(X, groups=groups)``.
    n_jobs : int, default=None
        Number of folds to fit in parallel.

    Returns
    -------
    curve : :class:`sklearn.utils.Bunch`
        Dictionary-like object with the attributes

        masses : ndarray of shape (n_masses,)
            The given masses.
        costs : ndarray of shape (n_masses,)
            `cost_` (per unit of mass) of fits to all stimuli.
        matched : tuple of ndarray, of shape (n_masses, n_units) each
            `matched_` of source and target units, in fits to all stimuli. Units with
            the best counterparts are matched first. The mean over masses therefore
            ranks units more finely than a single mass.
        held_out_costs, held_out_scores : ndarray of shape (n_folds, n_masses)
            `held_out_cost` and `score` on each held-out fold. Unmatched units count as
            0 in the score and do not count in the cost.
        mean_costs, mean_scores : ndarray of shape (n_masses,)
            Means over folds.
        cost_errors, score_errors : ndarray of shape (n_masses,)
            Standard errors of these means: the standard deviation over folds divided by
            the square root of the number of folds; NaN for one fold. They are
            approximate, because folds share training stimuli.
        corner : float
            Corner of the held-out total costs ``masses * mean_costs``, see
            :func:`curve_corner`.

    Raises
    ------
    TypeError
        If the estimator is not a SoftMatching.
    ValueError
        If masses do not increase, are out of range or fewer than three, or the
        estimator cannot be fitted to `X` and `y`.

    Warns
    -----
    DeadUnitWarning
        If units are constant. The warning is raised once.
    ConvergenceWarning
        If a plan may not be optimal.

    See Also
    --------
    skmot.SoftMatching : The estimator.
    curve_corner : Finds the corner of a curve.

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
    >>> curve = mass_curve(X, y, np.arange(1, 11) / 10)
    >>> curve.corner
    0.7
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
    folds = Parallel(n_jobs=n_jobs)(
        delayed(_score_fold)(estimator, masses, source, target, train, test)
        for train, test in check_cv(cv).split(source)
    )
    costs, scores, gaps = (np.array(part) for part in zip(*folds, strict=True))
    _report(fitted, gaps)
    return Bunch(
        masses=masses,
        costs=np.array([matching.cost_ for matching in fitted]),
        matched=tuple(
            np.array([matching.matched_[side] for matching in fitted])
            for side in (0, 1)
        ),
        held_out_costs=costs,
        held_out_scores=scores,
        mean_costs=costs.mean(axis=0),
        mean_scores=scores.mean(axis=0),
        cost_errors=_standard_errors(costs),
        score_errors=_standard_errors(scores),
        corner=curve_corner(masses, masses * costs.mean(axis=0)),
    )


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
    values = np.asarray(values, dtype=np.float64)
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
    masses = np.asarray(masses, dtype=np.float64)
    if masses.ndim != 1 or len(masses) < 3 or not np.all(np.diff(masses) > 0):
        raise ValueError(
            f"`masses` must be three or more increasing numbers; got {masses.tolist()}."
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
    sides = zip((source, target), layouts, strict=True)
    populations, statistics = zip(
        *(estimator._prepare_side(stack, layout) for stack, layout in sides),
        strict=True,
    )
    fitted = []
    for mass in masses:
        matching = clone(estimator).set_params(mass=float(mass))
        matching._set_layouts(*layouts)
        matching._set_solution(matching._solve_checked(*populations), *statistics)
        fitted.append(matching)
    return fitted


def _score_fold(estimator, masses, source, target, train, test):
    """Return the held-out costs, the held-out scores and the duality gaps of a fold."""
    costs, scores, gaps = [], [], []
    for matching in _fit_masses(estimator, masses, source[train], target[train]):
        costs.append(matching.held_out_cost(source[test], target[test]))
        scores.append(matching.score(source[test], target[test]))
        gaps.append(_gap(matching))
    return costs, scores, gaps


def _gap(matching):
    """Return the duality gap of a fit that did not converge, else 0."""
    return max((amount for _, amount in matching._convergence_issues), default=0.0)


def _report(fitted, gaps):
    """Warn once about dead units, and once about plans that may not be optimal."""
    warn_about_dead_units(
        [fitted[0].dead_source_units_, fitted[0].dead_target_units_],
        ["X", "y"],
        # The stack: warn_about_dead_units, this function, mass_curve, the caller.
        stacklevel=4,
    )
    gaps = np.append([_gap(matching) for matching in fitted], gaps)
    if gaps.any():
        warnings.warn(
            f"{np.count_nonzero(gaps)} plan(s) are not proven optimal: costs are above "
            f"the optimum by at most {gaps.max():.1e}.",
            ConvergenceWarning,
            stacklevel=3,
        )


def _standard_errors(folds):
    n_folds = len(folds)
    if n_folds < 2:
        return np.full(folds.shape[1], np.nan)
    return folds.std(axis=0, ddof=1) / np.sqrt(n_folds)

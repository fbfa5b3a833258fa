"""How much of two populations has a counterpart: curves over the mass matched."""

import warnings

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import check_cv
from sklearn.utils import Bunch
from sklearn.utils.parallel import Parallel, delayed

from skmot._validation import check_fit_pair, read_side, warn_about_dead_units
from skmot.soft_matching import SoftMatching

# Every twentieth: a fold's noise hides finer corners, and each mass is a fit a fold.
_MASSES = tuple(step / 20 for step in range(1, 21))
# Distances from a chord round by less than this share of the largest value.
_ROUNDING = 1e-12


def mass_curve(X, y, masses=_MASSES, *, estimator=None, cv=5, n_jobs=None):
    """Read costs and scores of partial matching over the share that is matched.

    The more is matched the more it costs: while units with a counterpart remain, little
    a unit, and much once there are none. The total cost `mass` x `cost_` is convex in
    the mass, and its corner tells the share with a counterpart (the L-curve of [1]_).
    In sample, units without a counterpart find partners by chance, at few stimuli good
    ones; so costs are read on held-out folds of the stimuli given, which should be the
    training stimuli where a test follows.

    Parameters
    ----------
    X, y : LayerStack, list, dict, DataFrame or array-like
        Source and target over the same stimuli.
    masses : array-like of shape (n_masses,), default=(0.05, 0.1, ..., 1)
        Shares to be matched, increasing, more than 0 and at most 1; three or more.
    estimator : SoftMatching, default=None
        What is fitted, with its `mass` replaced. None means `SoftMatching()`.
    cv : int, cross-validation splitter or iterable, default=5
        How the stimuli are split, as `cv` of scikit-learn says. Where stimuli are
        grouped, give the splits themselves, ``splitter.split(X, groups=groups)``.
    n_jobs : int, default=None
        Folds fitted at the same time.

    Returns
    -------
    curve : Bunch
        With the attributes

        masses : ndarray of shape (n_masses,)
            As given.
        costs : ndarray of shape (n_masses,)
            `cost_` a unit of mass, fitted and read on all stimuli.
        matched : tuple of ndarray, of shape (n_masses, n_units) each
            `matched_` of source and of target, fitted to all stimuli. Their mean over
            masses ranks units more finely than one mass does: those with the best
            counterparts are matched first.
        held_out_costs, held_out_scores : ndarray of shape (n_folds, n_masses)
            `held_out_cost` and `score` of each held-out fold. In the score units that
            are not matched count as 0; in the cost they do not count.
        mean_costs, mean_scores : ndarray of shape (n_masses,)
            Over folds.
        cost_errors, score_errors : ndarray of shape (n_masses,)
            Standard errors of these means: deviation over folds by the root of their
            number; NaN for one fold. Folds share training stimuli, so they are rough.
        corner : float
            The corner of the held-out total costs, ``masses * mean_costs``, see
            :func:`curve_corner`.

    Raises
    ------
    TypeError
        If the estimator is no SoftMatching.
    ValueError
        If masses do not increase, are out of range or fewer than three, or `X` and `y`
        cannot be fitted to.

    Warns
    -----
    DeadUnitWarning
        If some units are constant; once.
    ConvergenceWarning
        If a plan is not proven optimal.

    See Also
    --------
    skmot.SoftMatching : The estimator.
    curve_corner : The corner of a curve.

    References
    ----------
    .. [1] Partial soft-matching distance for neural representational comparison with
       partial unit correspondence. arXiv 2602.19331, 2026.

    Examples
    --------
    Of ten units a side, seven have a counterpart:

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
    # All checks of the input are those of a fit, so these come first.
    fitted = _fit_masses(estimator, masses, X, y)
    source, target = read_side(X, "X")[0], read_side(y, "y")[0]
    folds = Parallel(n_jobs=n_jobs)(
        delayed(_read_fold)(estimator, masses, source, target, train, test)
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
    """Find the corner of a curve: the point farthest from its chord.

    The chord joins the first point to the last. Which point is farthest does not depend
    on the units of either axis, nor on whether the curve rises or falls, and on a curve
    of two straight pieces it is where they meet ([1]_; the curvature that is maximised
    on smooth L-curves ([2]_) needs second differences, which noise swamps).

    Parameters
    ----------
    masses : array-like of shape (n_masses,)
        Increasing; three or more.
    values : array-like of shape (n_masses,)
        Costs or scores at these masses.

    Returns
    -------
    corner : float
        One of the masses. On ties the smallest; the last if the curve is straight, and
        so has no corner: every unit is then as good as the others.

    Raises
    ------
    ValueError
        If masses do not increase or are fewer than three, or values are not as many
        finite numbers.

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
    # Each end weighted, not a difference: of large values it would lose the curve.
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
    """Fit every mass to units that are made ready once."""
    *stacks, source_layout, target_layout = check_fit_pair(clone(estimator), X, y)
    populations = [
        estimator._prepare(
            stack.layers[0] if layout.is_bare else stack, layout.argument
        )
        for stack, layout in zip(stacks, (source_layout, target_layout), strict=True)
    ]
    fitted = []
    for mass in masses:
        matching = clone(estimator).set_params(mass=float(mass))
        matching._fit_prepared(*populations)
        # What is scored is averaged over layers, as they were given.
        matching._source_layout = source_layout
        matching._target_layout = target_layout
        fitted.append(matching)
    return fitted


def _read_fold(estimator, masses, source, target, train, test):
    """Return held-out costs and scores, and gaps of what is not proven optimal."""
    costs, scores, gaps = [], [], []
    for matching in _fit_masses(estimator, masses, source[train], target[train]):
        costs.append(matching.held_out_cost(source[test], target[test]))
        scores.append(matching.score(source[test], target[test]))
        gaps.append(_shortfall(matching))
    return costs, scores, gaps


def _shortfall(matching):
    return max((amount for _, amount in matching._shortfalls()), default=0.0)


def _report(fitted, gaps):
    """Warn once of dead units, and once of plans that are not proven optimal."""
    warn_about_dead_units(
        [fitted[0].dead_source_units_, fitted[0].dead_target_units_],
        ["X", "y"],
        # This function, `mass_curve`, and then the caller.
        stacklevel=4,
    )
    gaps = np.append([_shortfall(matching) for matching in fitted], gaps)
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

"""Soft and one-to-one matching of two populations (paper 1)."""

import warnings

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.exceptions import ConvergenceWarning

from skmot._array_api import namespace_of, to_numpy
from skmot._units import (
    check_some_live,
    paired_squared_distances,
    tuning_curves,
    unit_statistics,
)
from skmot._validation import check_pair, warn_about_dead_units
from skmot.transport import match_tuning_curves


def soft_matching_distance(X, Y, *, center=True, scale=True):
    """Soft matching distance between two populations, in their own bases.

    ``d_T(X, Y)^2 = min over P in T(Nx, Ny) of sum_ij P_ij |x_i - y_j|^2`` ([1]_, eq.
    11): the 2-Wasserstein distance between two sets of tuning curves, each of uniform
    mass. It is symmetric, satisfies the triangle inequality, ignores the order of units
    and takes populations of any size.

    Parameters
    ----------
    X : array-like of shape (n_stimuli, n_units_x)
        Responses of the first population.
    Y : array-like of shape (n_stimuli, n_units_y)
        Responses of the second population to the same stimuli.
    center : bool, default=True
        Whether each unit's mean over the stimuli is subtracted.
    scale : bool, default=True
        Whether each population is divided by one number such that its units' mean
        squared norm is 1. Repeating every unit then changes nothing, where a Frobenius
        norm of 1 would make wide populations look close to everything.

    Returns
    -------
    distance : float
        At least 0; with `center` and `scale` at most 2, and sqrt(2) where no unit
        correlates with any.

    Warns
    -----
    DeadUnitWarning
        If units are constant over the stimuli; they take no part.

    See Also
    --------
    one_to_one_distance : Its counterpart for populations of one size.
    soft_matching_score : The correlation that the same plan attains.

    References
    ----------
    .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
       representations that captures single-neuron tuning. UniReps, PMLR, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot.metrics import soft_matching_distance
    >>> X = np.random.default_rng(0).normal(size=(50, 8))
    >>> soft_matching_distance(X, X[:, ::-1])
    0.0
    >>> round(soft_matching_distance(X, np.repeat(X, 3, axis=1)), 9)
    0.0
    """
    source, target = _curves(X, Y, "sqeuclidean", center, scale)
    result = _match(source, target)
    plan = result.coupling.tocoo()
    squared = paired_squared_distances(
        source.vectors, target.vectors, plan.row, plan.col
    )
    return float(np.sqrt(plan.data @ squared))


def one_to_one_distance(X, Y, *, center=True, scale=True):
    """One-to-one matching distance between two populations of one size.

    ``d_P(X, Y) = min over permutations P of |X - Y P|_F`` ([1]_, eq. 9), which is
    sqrt(N) times the soft matching distance.

    Parameters
    ----------
    X, Y : array-like of shape (n_stimuli, n_units)
        Responses of the populations to the same stimuli.
    center : bool, default=True
        Whether each unit's mean over the stimuli is subtracted.
    scale : bool, default=True
        Whether each population is divided by one number such that its units' mean
        squared norm is 1.

    Returns
    -------
    distance : float
        At least 0; with `center` and `scale` at most 2 sqrt(n_units).

    Raises
    ------
    ValueError
        If the populations differ in their number of (not constant) units.

    Warns
    -----
    DeadUnitWarning
        If units are constant over the stimuli; they take no part.

    References
    ----------
    .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
       representations that captures single-neuron tuning. UniReps, PMLR, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot.metrics import one_to_one_distance
    >>> X = np.random.default_rng(0).normal(size=(50, 8))
    >>> one_to_one_distance(X, X[:, ::-1])
    0.0
    """
    source, target = _curves(X, Y, "sqeuclidean", center, scale)
    widths = source.vectors.shape[1], target.vectors.shape[1]
    if widths[0] != widths[1]:
        raise ValueError(
            "A one-to-one distance needs as many units on both sides; X has "
            f"{widths[0]} and Y has {widths[1]} (constant units not counted). "
            "`soft_matching_distance` takes any sizes."
        )
    # |x_i|^2 and |y_j|^2 are the same for every permutation.
    xp = namespace_of(source.vectors, target.vectors)
    products = to_numpy(xp.matmul(source.vectors.T, target.vectors))
    rows, columns = linear_sum_assignment(products, maximize=True)
    squared = paired_squared_distances(source.vectors, target.vectors, rows, columns)
    return float(np.sqrt(squared.sum()))


def soft_matching_score(X, Y, *, center=True):
    """Soft matching correlation score between two populations.

    ``s_T(X, Y) = max over P in T(Nx, Ny) of sum_ij P_ij corr(x_i, y_j)`` ([1]_, eq.
    12). In sample it is positive even for independent data, and the more so the fewer
    the stimuli: :meth:`skmot.SoftMatching.matching_score` takes the plan from some
    stimuli and the correlations from others.

    Parameters
    ----------
    X : array-like of shape (n_stimuli, n_units_x)
        Responses of the first population.
    Y : array-like of shape (n_stimuli, n_units_y)
        Responses of the second population to the same stimuli.
    center : bool, default=True
        Whether correlations are of centred units; False takes the cosine.

    Returns
    -------
    score : float
        From -1 to 1, 1 for equal populations; the score is symmetric.

    Warns
    -----
    DeadUnitWarning
        If units are constant over the stimuli; they take no part.

    References
    ----------
    .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
       representations that captures single-neuron tuning. UniReps, PMLR, 2024.

    Examples
    --------
    Figure 3A of [1]_: Z holds both X and Y, and is half like either.

    >>> import numpy as np
    >>> from skmot.metrics import soft_matching_score
    >>> X, Y = np.eye(6)[:, :3], np.eye(6)[:, 3:]
    >>> Z = np.hstack([X, Y])
    >>> soft_matching_score(X, Z, center=False), soft_matching_score(X, Y, center=False)
    (0.5, 0.0)
    """
    source, target = _curves(X, Y, "correlation" if center else "cosine")
    return float(np.clip(1.0 - _match(source, target).cost, -1.0, 1.0))


def _curves(X, Y, metric, center=True, scale=True):
    X, Y = check_pair(X, Y)
    statistics = [unit_statistics(X), unit_statistics(Y)]
    for part, where in zip(statistics, ["X", "Y"], strict=True):
        check_some_live(part.live, where)
    warn_about_dead_units(
        [part.dead_units for part in statistics], ["X", "Y"], stacklevel=4
    )
    return [
        tuning_curves(layer, part, metric, center=center, scale=scale)
        for layer, part in zip([X, Y], statistics, strict=True)
    ]


def _match(source, target):
    result = match_tuning_curves(source, target)
    if not result.converged:
        warnings.warn(
            "The transport did not reach its tolerance: the cost is within "
            f"{result.duality_gap:.1e} of the optimum.",
            ConvergenceWarning,
            stacklevel=3,
        )
    return result

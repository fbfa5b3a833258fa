"""Scores that match each unit to a single unit of the other population."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from skmot._utils.array_api import namespace_of, to_numpy
from skmot._utils.sklearn import validate_params
from skmot.metrics._matching import read_curves


@validate_params({"center": ["boolean"]}, prefer_skip_nested_validation=True)
def semi_matching_score(X, Y, *, center=True):
    """Semi-matching score: the mean correlation of units with their best partners.

    ``s_semi(X, Y) = mean_i max_j corr(x_i, y_j)`` ([1]_, eq. 13, after Li et al.). A
    unit of Y can be the partner of several units or of none. Therefore the score is not
    symmetric, and units of Y that do not resemble any unit of X do not lower it.

    Parameters
    ----------
    X : array-like of shape (n_stimuli, n_units_x)
        Responses of the population whose units are matched.
    Y : array-like of shape (n_stimuli, n_units_y)
        Responses of the population of the partners to the same stimuli.
    center : bool, default=True
        Whether to centre units. If False, the cosine replaces the correlation.

    Returns
    -------
    score : float
        Score from -1 to 1.

    Raises
    ------
    ValueError, TypeError
        If the input is invalid, as in :func:`procrustes_distance`.

    Warns
    -----
    DeadUnitWarning
        If units are constant over the stimuli. These units are left out.

    See Also
    --------
    soft_matching_score : Score in which every unit of both populations counts.
    skmot.SemiMatching : The estimator, which also makes predictions.

    References
    ----------
    .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
       representations that captures single-neuron tuning. UniReps, PMLR, 2024.

    Examples
    --------
    Figure 3A of [1]_: X and Y have nothing in common, and Z contains both. The score of
    X and Z is the maximum.

    >>> import numpy as np
    >>> from skmot.metrics import semi_matching_score
    >>> X, Y = np.eye(6)[:, :3], np.eye(6)[:, 3:]
    >>> Z = np.hstack([X, Y])
    >>> semi_matching_score(X, Z, center=False), semi_matching_score(X, Y, center=False)
    (1.0, 0.0)
    >>> semi_matching_score(Z, X, center=False)
    0.5
    """
    curves = read_curves(X, Y, "correlation" if center else "cosine")
    return match_best(_products(curves))[1]


def match_best(correlations):
    """Match each unit of X to the unit of Y with the largest correlation.

    Parameters
    ----------
    correlations : ndarray of shape (n_units_x, n_units_y)
        Correlations of all pairs of units.

    Returns
    -------
    partners : ndarray of int of shape (n_units_x,)
        Index of the partner of each unit. Ties give the smallest index.
    score : float
        Mean correlation of the units with their partners.
    """
    partners = correlations.argmax(axis=1)
    return partners, _mean_of_pairs(correlations, np.arange(len(partners)), partners)


@validate_params({"center": ["boolean"]}, prefer_skip_nested_validation=True)
def rectangular_matching_score(X, Y, *, center=True):
    """Rectangular assignment score: the best matching of X to distinct units of Y.

    ``s_R(X, Y) = max sum_ij P_ij corr(x_i, y_j) / Nx`` over the assignments P that
    match every unit of X to a different unit of Y ([1]_, eq. 14 and 15). Unmatched
    units of Y do not count.

    Parameters
    ----------
    X : array-like of shape (n_stimuli, n_units_x)
        Responses of the smaller population.
    Y : array-like of shape (n_stimuli, n_units_y)
        Responses of the larger population to the same stimuli; n_units_y >= n_units_x.
    center : bool, default=True
        Whether to centre units. If False, the cosine replaces the correlation.

    Returns
    -------
    score : float
        Score from -1 to 1.

    Raises
    ------
    ValueError, TypeError
        If Y has fewer units than X (without constant units), or the input is invalid,
        as in :func:`procrustes_distance`.

    Warns
    -----
    DeadUnitWarning
        If units are constant over the stimuli. These units are left out.

    See Also
    --------
    soft_matching_score : Score in which every unit of both populations counts.
    skmot.OneToOneMatching : The estimator, which also makes predictions. Either side
        can be the larger one.

    References
    ----------
    .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
       representations that captures single-neuron tuning. UniReps, PMLR, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot.metrics import rectangular_matching_score
    >>> X, Y = np.eye(6)[:, :3], np.eye(6)[:, 3:]
    >>> Z = np.hstack([X, Y])
    >>> rectangular_matching_score(X, Z, center=False)
    1.0
    """
    correlations = _products(read_curves(X, Y, "correlation" if center else "cosine"))
    n_first, n_second = correlations.shape
    if n_first > n_second:
        raise ValueError(
            "Y must have at least as many units as X; X has "
            f"{n_first} and Y has {n_second} (constant units not counted). Swap them: "
            "`rectangular_matching_score(Y, X)`."
        )
    return match_one_to_one(correlations)[1]


def match_one_to_one(correlations):
    """Compute the assignment of units with the largest mean correlation.

    Parameters
    ----------
    correlations : ndarray of shape (n_units_x, n_units_y)
        Correlations of all pairs of units.

    Returns
    -------
    pairs : tuple of ndarray of int of shape (min(n_units_x, n_units_y),)
        Indices of the matched units of X and of Y.
    score : float
        Mean correlation of the matched units.
    """
    pairs = linear_sum_assignment(correlations, maximize=True)
    return pairs, _mean_of_pairs(correlations, *pairs)


def _products(curves):
    """Return the scalar products of all pairs of units as a NumPy array."""
    first, second = (part.vectors for part in curves)
    xp = namespace_of(first, second)
    return to_numpy(xp.matmul(first.T, second))


def _mean_of_pairs(correlations, rows, columns):
    mean = correlations[rows, columns].mean(dtype=np.float64)
    return float(np.clip(mean, -1.0, 1.0))

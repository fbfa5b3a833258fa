"""Soft and one-to-one matching of two populations (paper 1)."""

import warnings

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.exceptions import ConvergenceWarning

from skmot._units import (
    check_some_live,
    paired_squared_distances,
    tuning_curves,
    unit_statistics,
    warn_about_dead_units,
)
from skmot._utils.array_api import namespace_of, to_numpy
from skmot._utils.sklearn import validate_params
from skmot._utils.warnings import stacklevel_of_caller
from skmot.layers.checks import check_pair
from skmot.transport import match_tuning_curves


@validate_params(
    {"center": ["boolean"], "scale": ["boolean"]}, prefer_skip_nested_validation=True
)
def soft_matching_distance(X, Y, *, center=True, scale=True):
    """Soft matching distance between two populations, in their own bases.

    ``d_T(X, Y)^2 = min over P in T(Nx, Ny) of sum_ij P_ij |x_i - y_j|^2`` ([1]_, eq.
    11). It is the 2-Wasserstein distance between two sets of tuning curves with equal
    weights. It is symmetric, satisfies the triangle inequality, does not depend on the
    order of units and compares populations of any size.

    Parameters
    ----------
    X : array-like of shape (n_stimuli, n_units_x)
        Responses of the first population.
    Y : array-like of shape (n_stimuli, n_units_y)
        Responses of the second population to the same stimuli.
    center : bool, default=True
        Whether to subtract the mean of each unit over the stimuli.
    scale : bool, default=True
        Whether to divide each population by one number, so that the mean squared norm
        of its units is 1. The distance then does not change if every unit is repeated.
        Scaling to a Frobenius norm of 1 would instead make large populations close to
        every other population.

    Returns
    -------
    distance : float
        Distance, at least 0. With `center` and `scale` it is at most 2, and sqrt(2) if
        all correlations between units are 0.

    Warns
    -----
    DeadUnitWarning
        If units are constant over the stimuli. These units are left out.

    See Also
    --------
    one_to_one_distance : Distance by a permutation, for populations of equal size.
    soft_matching_score : Mean correlation under the optimal plan.

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
    source, target = read_curves(X, Y, "sqeuclidean", center, scale)
    result = match_curves(source, target)
    plan = result.coupling.tocoo()
    squared = paired_squared_distances(
        source.vectors, target.vectors, plan.row, plan.col
    )
    return float(np.sqrt(plan.data @ squared))


@validate_params(
    {"center": ["boolean"], "scale": ["boolean"]}, prefer_skip_nested_validation=True
)
def one_to_one_distance(X, Y, *, center=True, scale=True):
    """One-to-one matching distance between two populations of equal size.

    ``d_P(X, Y) = min over permutations P of |X - Y P|_F`` ([1]_, eq. 9), which is
    sqrt(N) times the soft matching distance for N units.

    Parameters
    ----------
    X, Y : array-like of shape (n_stimuli, n_units)
        Responses of the populations to the same stimuli.
    center : bool, default=True
        Whether to subtract the mean of each unit over the stimuli.
    scale : bool, default=True
        Whether to divide each population by one number, so that the mean squared norm
        of its units is 1.

    Returns
    -------
    distance : float
        Distance, at least 0. With `center` and `scale` it is at most 2 sqrt(n_units).

    Raises
    ------
    ValueError
        If the populations differ in their number of units, without constant units.

    Warns
    -----
    DeadUnitWarning
        If units are constant over the stimuli. These units are left out.

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
    source, target = read_curves(X, Y, "sqeuclidean", center, scale)
    widths = source.vectors.shape[1], target.vectors.shape[1]
    if widths[0] != widths[1]:
        raise ValueError(
            "The one-to-one distance needs equal numbers of units; X has "
            f"{widths[0]} and Y has {widths[1]} (constant units not counted). "
            "Use `soft_matching_distance` for populations of different sizes."
        )
    # |x_i|^2 and |y_j|^2 are the same for every permutation.
    xp = namespace_of(source.vectors, target.vectors)
    products = to_numpy(xp.matmul(source.vectors.T, target.vectors))
    rows, columns = linear_sum_assignment(products, maximize=True)
    squared = paired_squared_distances(source.vectors, target.vectors, rows, columns)
    return float(np.sqrt(squared.sum()))


@validate_params({"center": ["boolean"]}, prefer_skip_nested_validation=True)
def soft_matching_score(X, Y, *, center=True):
    """Soft matching correlation score between two populations.

    ``s_T(X, Y) = max over P in T(Nx, Ny) of sum_ij P_ij corr(x_i, y_j)`` ([1]_, eq.
    12). Because the plan and the correlations come from the same stimuli, the score is
    positive even for independent data, and larger with fewer stimuli.
    :meth:`skmot.SoftMatching.matching_score` computes the correlations on held-out
    stimuli.

    Parameters
    ----------
    X : array-like of shape (n_stimuli, n_units_x)
        Responses of the first population.
    Y : array-like of shape (n_stimuli, n_units_y)
        Responses of the second population to the same stimuli.
    center : bool, default=True
        Whether to centre units. If False, the cosine replaces the correlation.

    Returns
    -------
    score : float
        Symmetric score from -1 to 1. It is 1 for equal populations.

    Warns
    -----
    DeadUnitWarning
        If units are constant over the stimuli. These units are left out.

    References
    ----------
    .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
       representations that captures single-neuron tuning. UniReps, PMLR, 2024.

    Examples
    --------
    Figure 3A of [1]_: Z contains X and Y, and its score with each of them is 0.5.

    >>> import numpy as np
    >>> from skmot.metrics import soft_matching_score
    >>> X, Y = np.eye(6)[:, :3], np.eye(6)[:, 3:]
    >>> Z = np.hstack([X, Y])
    >>> soft_matching_score(X, Z, center=False), soft_matching_score(X, Y, center=False)
    (0.5, 0.0)
    """
    source, target = read_curves(X, Y, "correlation" if center else "cosine")
    return float(np.clip(1.0 - match_curves(source, target).cost, -1.0, 1.0))


def read_curves(X, Y, metric, center=True, scale=True):
    """Check the two arrays of a metric and compute their tuning curves."""
    *layers, statistics = read_populations(X, Y)
    return [
        tuning_curves(layer, part, metric, center=center, scale=scale)
        for layer, part in zip(layers, statistics, strict=True)
    ]


def read_populations(X, Y, names=("X", "Y")):
    """Check the two arrays of a metric and compute the statistics of their units.

    Warnings about dead units point to the line that calls the metric.

    Parameters
    ----------
    X, Y : array-like of shape (n_stimuli, n_units)
        The two populations.
    names : tuple of str
        Names of the arguments in messages.

    Returns
    -------
    X, Y : array of shape (n_stimuli, n_units)
        The checked populations.
    statistics : list of UnitStatistics
        Statistics of both. Each has at least one live unit.
    """
    X, Y = check_pair(X, Y, names)
    statistics = [unit_statistics(X), unit_statistics(Y)]
    for part, where in zip(statistics, names, strict=True):
        check_some_live(part.live, where)
    warn_about_dead_units([part.dead_units for part in statistics], names)
    return X, Y, statistics


def match_curves(source, target, ignore_sign=False):
    """Match tuning curves, and warn if the plan may not be optimal."""
    result = match_tuning_curves(source, target, ignore_sign=ignore_sign)
    if not result.converged:
        warnings.warn(
            "The transport did not reach its tolerance: the cost is within "
            f"{result.duality_gap:.1e} of the optimum.",
            ConvergenceWarning,
            stacklevel=stacklevel_of_caller(),
        )
    return result

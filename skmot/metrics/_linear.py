"""Linear predictivity: ridge regression with a penalty chosen on validation stimuli."""

import math
import warnings
from numbers import Real

import numpy as np
from sklearn.utils import check_random_state

from skmot._units import (
    check_some_live,
    column_correlations,
    mean_over_units,
    standardize,
    unit_statistics,
    warn_about_dead_units,
)
from skmot._utils.array_api import as_numbers, namespace_of, select
from skmot._utils.sklearn import Interval, validate_params
from skmot._utils.warnings import say_few_validation, stacklevel_of_caller
from skmot.layers.checks import check_pair, rows_of
from skmot.layers.reading import check_unmasked
from skmot.layers.splits import repeated_rows
from skmot.metrics._ridge import RidgePopulation, fit_ridge

# Penalties of paper 1, section 3.3.
ALPHAS = tuple(np.logspace(-4, 4, 8))
# Correlations and regressions need at least two stimuli.
_LEAST_PART = 2
# A correlation over two stimuli is 1 or -1. For 3 units, penalties chosen on fewer
# than 5 stimuli predicted worse by .007 to .022 than the best penalty, and no better
# than random ones (60 simulations each).
LEAST_VALIDATION = 5
# A penalty for each unit rests on the correlation of this unit alone. With 7, 15, 30
# and 60 validation stimuli, the held-out correlation was lower by .072, .029, .015 and
# .009 than with a common penalty, for units that need no penalty of their own (40
# simulations each, standard errors .003 or less).
LEAST_VALIDATION_PER_TARGET = 30


@validate_params(
    {
        "alpha_per_target": ["boolean"],
        "validation_size": [Interval(Real, 0, 1, closed="neither")],
        "test_size": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def linear_predictivity_score(
    X,
    Y,
    *,
    alphas=None,
    alpha_per_target=False,
    validation_size=0.1,
    test_size=0.2,
    random_state=None,
):
    """Linear predictivity: how well a ridge regression from X predicts Y.

    The protocol is that of [1]_, section 3.3. The stimuli are split at random into
    training, validation and test parts (70/10/20). Regressions are fitted to the
    training part, and the penalty with the highest mean correlation on the validation
    part is chosen, for all units of Y or for each of them. The regression with this
    penalty is refitted to both parts and scored on the test part.

    Parameters
    ----------
    X : array-like of shape (n_stimuli, n_units_x)
        Responses of the population to predict from.
    Y : array-like of shape (n_stimuli, n_units_y)
        Responses of the population to predict, to the same stimuli. If labels of the
        stimuli (of a LayerStack, DataFrame or DataArray) repeat, rows of one stimulus
        stay in one part.
    alphas : array-like of shape (n_alphas,), default=None
        Candidate penalties of the squared coefficients between standardised units. None
        means 8 penalties from 1e-4 to 1e4, equally spaced in their logarithm.
    alpha_per_target : bool, default=False
        Whether to choose a penalty for each unit of Y, as voxel-wise encoding models
        do. Otherwise one penalty is chosen for all units.
    validation_size, test_size : float, default=0.1, 0.2
        Fraction of the stimuli in each part. Each part has at least two stimuli.
    random_state : int, RandomState instance or None, default=None
        Controls the randomness of the split. Pass an int for reproducible output across
        multiple function calls.

    Returns
    -------
    score : float
        Pearson correlation between recorded and predicted responses to the test part,
        averaged over units of Y; from -1 to 1, not symmetric. Units that are constant
        over the test part are left out. Units with a constant prediction count as 0.

    Raises
    ------
    ValueError, TypeError
        If a part would have fewer than two stimuli, a penalty is not positive, every
        unit of Y is constant over a part, or the input is invalid, as in
        :func:`procrustes_distance`.

    Warns
    -----
    DeadUnitWarning
        If units are constant over the stimuli.
    UserWarning
        If a penalty is chosen on fewer than five validation stimuli, or a penalty for
        each unit on fewer than 30.

    See Also
    --------
    skmot.LinearPredictivity : The estimator.

    Notes
    -----
    Regressions are computed in float64, also for float32 input. If penalties tie, the
    largest is chosen.

    References
    ----------
    .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
       representations that captures single-neuron tuning. UniReps, PMLR, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot.metrics import linear_predictivity_score
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 5))
    >>> Y = X @ rng.normal(size=(5, 9))
    >>> round(linear_predictivity_score(X, Y, random_state=0), 3)
    1.0
    """
    groups = repeated_rows(rows_of(X)[0], rows_of(Y)[0])
    X, Y = check_pair(X, Y)
    xp = namespace_of(X)
    # In float32 a penalty of 1e-4 is smaller than the rounding error of X'X for
    # thousands of stimuli.
    X, Y = (xp.astype(side, xp.float64, copy=False) for side in (X, Y))
    statistics = [unit_statistics(X), unit_statistics(Y)]
    for part, where in zip(statistics, ["X", "Y"], strict=True):
        check_some_live(part.live, where)
    warn_about_dead_units([part.dead_units for part in statistics], ["X", "Y"])
    alphas = check_alphas(alphas)
    test, validation, training = split_stimuli(
        X.shape[0], (test_size, validation_size), random_state, groups
    )
    least = LEAST_VALIDATION_PER_TARGET if alpha_per_target else LEAST_VALIDATION
    if len(alphas) > 1 and len(validation) < least:
        warnings.warn(
            say_few_validation(1, len(validation), "validation_size"),
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )
    fitted = np.concatenate([training, validation])
    test_X, test_Y = (select(side, test, axis=0) for side in (X, Y))
    X, Y = (select(side, fitted, axis=0) for side in (X, Y))
    source, target = unit_statistics(X), unit_statistics(Y)
    fit = fit_ridge(
        RidgePopulation(standardize(X, source), alphas),
        RidgePopulation(standardize(Y, target), alphas),
        # The validation part comes last in `fitted`.
        np.arange(len(training), len(fitted)),
        alpha_per_target,
        "Y",
    )
    predicted = standardize(test_X, source) @ fit.coefficients
    return mean_over_units(column_correlations(test_Y, predicted), "Y")


def check_alphas(alphas):
    """Check the candidate penalties and convert them to an array.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,) or None
        Penalties. None means the default penalties.

    Returns
    -------
    alphas : ndarray of shape (n_alphas,)
        Positive and finite penalties in float64.

    Raises
    ------
    ValueError
        If there is no penalty, or one is not positive or not finite.
    """
    check_unmasked(alphas, "`alphas`")
    alphas = as_numbers(ALPHAS if alphas is None else alphas, "alphas")
    if (
        alphas.ndim != 1
        or alphas.size == 0
        or not (np.isfinite(alphas) & (alphas > 0)).all()
    ):
        raise ValueError(
            "`alphas` must be a list of penalties, each positive and finite; got "
            f"{alphas}."
        )
    return alphas


def split_stimuli(n_stimuli, shares, random_state, groups=None):
    """Split stimuli at random into parts of given sizes, and the rest.

    Parameters
    ----------
    n_stimuli : int
        Number of stimuli.
    shares : sequence of float
        Fraction of the stimuli in each part except the last, above 0 and below 1. Sizes
        are rounded up to whole stimuli, as in scikit-learn, and are at least two.
    random_state : int, RandomState instance or None
        Controls the randomness of the split.
    groups : ndarray of int of shape (n_stimuli,), default=None
        Groups of rows that stay together, numbered from 0. Fractions are of the groups.

    Returns
    -------
    parts : list of ndarray of int
        Indices of the stimuli in each part. The last part is the rest.

    Raises
    ------
    ValueError
        If fewer than two stimuli are left for the last part.
    """
    if groups is not None:
        parts = split_stimuli(int(groups.max()) + 1, shares, random_state)
        return [np.flatnonzero(np.isin(groups, part)) for part in parts]
    sizes = [max(_LEAST_PART, math.ceil(share * n_stimuli)) for share in shares]
    if n_stimuli - sum(sizes) < _LEAST_PART:
        raise ValueError(
            f"n_samples={n_stimuli} stimuli cannot be split into parts of {sizes} for "
            f"validation and test and {_LEAST_PART} or more for training: give more "
            "stimuli, or make the fractions smaller."
        )
    order = check_random_state(random_state).permutation(n_stimuli)
    return np.split(order, np.cumsum(sizes))

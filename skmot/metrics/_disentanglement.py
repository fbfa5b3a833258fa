"""Disentanglement: how units of a representation correspond to ground-truth factors."""

from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from scipy.stats import entropy
from sklearn.base import clone
from sklearn.linear_model import Lasso
from sklearn.metrics import mutual_info_score
from sklearn.model_selection import GridSearchCV
from sklearn.utils import check_random_state

from skmot._units import standardize, tuning_curves, unit_statistics
from skmot._utils.array_api import to_numpy
from skmot._utils.results import Result
from skmot._utils.sklearn import HasMethods, Interval, StrOptions, validate_params
from skmot.layers.checks import rows_of
from skmot.layers.labelled import read_unit_names
from skmot.layers.labels import list_labels
from skmot.layers.splits import repeated_rows
from skmot.metrics._linear import split_stimuli
from skmot.metrics._matching import match_curves, read_populations

_NAMES = ("factors", "representation")
# The penalty of the lasso, and the number and depths of the trees, in the published
# code of Eastwood and Williams, where the depth is chosen on a tenth of the stimuli.
_LASSO_PENALTY = 0.02
_N_TREES = 10
_DEPTHS = (2, 4, 6, 8, 10, 12)
_VALIDATION_SHARE = 0.1
# Nearly equal units need more iterations than scikit-learn's default of 1,000.
_MOST_ITERATIONS = 100_000


@validate_params(
    {
        "factors": "no_validation",
        "representation": "no_validation",
        "categorical": "no_validation",
        "signed": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def disentanglement_score(factors, representation, *, categorical=None, signed=True):
    r"""Soft matching score between ground-truth factors and units.

    The score is ``s_T(F, X) = max over P in T(n_factors, n_units) of sum_ij P_ij
    corr(f_i, x_j)`` ([1]_, eq. 12, proposed for disentanglement in appendix A.5): the
    mean correlation of factors and units when each factor is matched to its share of
    the units. It is 1 if every unit is one factor up to a positive scale and an offset,
    and every factor has the same number of units.

    Parameters
    ----------
    factors : array-like of shape (n_stimuli, n_factors)
        Ground-truth factors, one column each, as numbers: continuous, ordinal, or
        one-hot columns. Columns are standardised.
    representation : array-like of shape (n_stimuli, n_units)
        Responses of the units to the same stimuli.
    categorical : array-like of int or of bool, default=None
        Columns of `factors` whose numbers are names of categories, as indices or as a
        mask. Each is replaced by one-hot columns, one per category. Two categories are
        one column, which is 1 for the larger number: the second would be its mirror
        image. None means that all columns are used as they are.
    signed : bool, default=True
        Whether a unit that falls when its factor rises counts as negative, as in eq.
        12. If False, the magnitude of the correlation is used.

    Returns
    -------
    score : float
        Score from -1 to 1, or from 0 to 1 if it is not signed.

    Raises
    ------
    ValueError, TypeError
        If `categorical` does not name columns of `factors`, all factors or all units
        are constant, or the input is invalid, as in :func:`procrustes_distance`.

    Warns
    -----
    DeadUnitWarning
        If factors or units are constant over the stimuli. These are left out.

    See Also
    --------
    dci_scores : Disentanglement, completeness and informativeness.
    mutual_information_gap : Gap between the best and the second best unit.
    semi_matching_score : The same without a penalty for units that match no factor.

    Notes
    -----
    Every unit has to be matched. If there are more units than factors, those that
    respond to no factor lower the score; if there are fewer, the factors without a unit
    do. If the number of units is not a multiple of the number of factors, a unit is
    shared by several factors and the score is below 1: three units that are two factors
    exactly have a score of 5/6, if the factors are uncorrelated. Of two equal factors,
    each needs a unit.

    All columns have the same mass. A factor with many categories therefore counts more
    than one with few, and its best representation has a unit for each category. Other
    masses would give the factors themselves, taken as units, a score below 1.

    The score only sees linear relations of single units. It is in sample: for unrelated
    factors it is positive, the more so with few stimuli.

    References
    ----------
    .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
       representations that captures single-neuron tuning. UniReps, PMLR, 2024.

    Examples
    --------
    Units that are one factor each, with the opposite sign, and the same units after a
    rotation:

    >>> import numpy as np
    >>> from skmot.metrics import disentanglement_score
    >>> factors = np.random.default_rng(0).uniform(size=(500, 8))
    >>> units = 1 - 2 * factors
    >>> round(disentanglement_score(factors, units, signed=False), 3)
    1.0
    >>> round(disentanglement_score(factors, units), 1)
    0.1
    >>> rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))
    >>> round(disentanglement_score(factors, units @ rotation, signed=False), 1)
    0.7
    """
    given = _read(factors, representation, categorical)
    source, target = (
        tuning_curves(side, unit_statistics(side), "correlation")
        for side in (np.hstack(_encode(given)), given.units)
    )
    result = match_curves(source, target, ignore_sign=not signed)
    return float(np.clip(1.0 - result.cost, -1.0, 1.0))


class DCIScores(Result):
    """Result of `dci_scores`."""

    def _tables(self):
        return {
            **super()._tables(),
            "units": lambda: {
                "unit": self.unit_names,
                "importance": self.unit_importances,
                "disentanglement": self.unit_disentanglement,
            },
            "factors": lambda: {
                "factor": self.factor_names,
                "completeness": self.factor_completeness,
                "error": self.factor_errors,
            },
        }


@validate_params(
    {
        "factors": "no_validation",
        "representation": "no_validation",
        "regressor": [
            StrOptions({"lasso", "random_forest"}),
            HasMethods(["fit", "predict"]),
        ],
        "categorical": "no_validation",
        "test_size": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def dci_scores(
    factors,
    representation,
    *,
    regressor="lasso",
    categorical=None,
    test_size=0.1,
    random_state=None,
):
    r"""Disentanglement, completeness and informativeness of a representation (DCI).

    A regressor predicts each factor from all units, and R_ij is the relative importance
    of unit i for factor j ([1]_, section 2). With D units and K factors:

    .. code-block:: text

        disentanglement of a unit   D_i = 1 - H_K(R_i. / sum_j R_ij)
        completeness of a factor    C_j = 1 - H_D(R_.j / sum_i R_ij)
        error of a factor           E_j = rms(z_j - prediction) / sd(z_j), held out

    where H_K is the entropy to the base K. `disentanglement` is the mean of D_i with
    the importances ``sum_j R_ij / sum_ij R_ij`` of the units as weights, and
    `completeness` the mean of C_j.

    Parameters
    ----------
    factors : array-like of shape (n_stimuli, n_factors)
        Ground-truth factors, one column each, as numbers.
    representation : array-like of shape (n_stimuli, n_units)
        Responses of the units to the same stimuli.
    regressor : {"lasso", "random_forest"} or regressor, default="lasso"
        How factors are predicted from standardised units.

        - "lasso": linear, with the penalty .02 of the authors' published code.
          Importances are the magnitudes of the weights.
        - "random_forest": 10 trees, with the depth from 2 to 12 that predicts a tenth
          of the stimuli best. Importances are those of
          :class:`sklearn.ensemble.RandomForestRegressor`.
        - A regressor of scikit-learn that has `coef_` or `feature_importances_` after
          the fit, or a search over such a regressor.
    categorical : array-like of int or of bool, default=None
        Columns of `factors` whose numbers are names of categories, as indices or as a
        mask. The one-hot columns of such a factor are predicted together, and their
        importances are averaged.
    test_size : float, default=0.1
        Fraction of the stimuli for the errors. Rows with equal labels stay together.
    random_state : int, RandomState instance or None, default=None
        Controls the randomness of the split and of the forest. Pass an int for
        reproducible output across multiple function calls.

    Returns
    -------
    scores : Result
        Prints as a sentence, and has the tables "result", "units" and "factors".

        - disentanglement, completeness : float from 0 to 1. Disentanglement is 1 if
          each unit predicts one factor, completeness if each factor is predicted by
          one unit.
        - error : float, at least 0. Mean error of the factors, which [1]_ reports as
          informativeness. It is 0 if all are predicted perfectly, 1 if they are
          predicted as well as by their mean.
        - informativeness : float. ``1 - error``, so that for all scores 1 is best.
        - unit_disentanglement, unit_importances : ndarray of shape (n_units,)
        - factor_completeness, factor_errors : ndarray of shape (n_factors,)
        - importances : ndarray of shape (n_units, n_factors). R_ij.
        - unit_names, factor_names : list. Names of columns, or their numbers.

        Values of constant units and factors are NaN, and so is the disentanglement of a
        unit without importance.

    Raises
    ------
    ValueError, TypeError
        If `categorical` does not name columns of `factors`, all factors or all units
        are constant, a factor is constant in a part of the stimuli, the regressor
        has no importances, or the input is invalid, as in :func:`procrustes_distance`.

    Warns
    -----
    DeadUnitWarning
        If factors or units are constant over the stimuli. These are left out, and do
        not count in D and K.

    See Also
    --------
    disentanglement_score : Soft matching score between factors and units.
    mutual_information_gap : Gap between the best and the second best unit.

    Notes
    -----
    Signs do not matter, and neither do units without importance. With one factor each
    unit is disentangled, and with one unit each factor is complete. A factor for which
    no unit is important has a completeness of 0. If no unit is important for any
    factor, the disentanglement is 0. Completeness depends on the number of units:
    a factor that is spread evenly over 2 of 2 units has 0, over 2 of 100 units .85.

    Of two equal units the lasso may use either or both, and the forest shares the
    importance. Of two equal factors, one unit predicts both and is not disentangled.

    References
    ----------
    .. [1] C. Eastwood, C. K. I. Williams. A framework for the quantitative evaluation
       of disentangled representations. ICLR, 2018. Code:
       https://github.com/cianeastwood/qedr

    Examples
    --------
    >>> import numpy as np
    >>> from skmot.metrics import dci_scores
    >>> factors = np.random.default_rng(0).uniform(size=(500, 3))
    >>> scores = dci_scores(factors, -2 * factors + 1, random_state=0)
    >>> round(scores.disentanglement, 2), round(scores.completeness, 2)
    (1.0, 1.0)
    >>> rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    >>> scores = dci_scores(factors, factors @ rotation, random_state=0)
    >>> round(scores.disentanglement, 2), round(scores.completeness, 2)
    (0.21, 0.21)
    >>> round(scores.informativeness, 2)
    0.96
    """
    groups = repeated_rows(rows_of(factors)[0], rows_of(representation)[0])
    given = _read(factors, representation, categorical)
    factors = _encode(given)
    random_state = check_random_state(random_state)
    test, validation, training = split_stimuli(
        len(given.units), (test_size, _VALIDATION_SHARE), random_state, groups
    )
    # The validation part chooses the depth of the forest, and comes last here.
    fitted = np.concatenate([training, validation])
    chosen_on = np.arange(len(training), len(fitted))
    units = standardize(given.units, unit_statistics(given.units[fitted]))
    importances = np.empty((units.shape[1], len(factors)))
    errors = np.empty(len(factors))
    for j, columns in enumerate(factors):
        # A category may be missing from a part of the stimuli, a whole factor may not.
        if not all(np.ptp(columns[part], axis=0).any() for part in (fitted, test)):
            name = given.factor_names[np.flatnonzero(given.live_factors)[j]]
            raise ValueError(
                f"Column {name!r} of factors is constant in the training or the test "
                "part of the stimuli. Give more stimuli, a larger `test_size` or "
                "another `random_state`, or leave the factor out."
            )
        columns = standardize(columns, unit_statistics(columns[fitted]))
        # scikit-learn warns of two-dimensional targets with a single column.
        targets = columns[:, 0] if columns.shape[1] == 1 else columns
        model = _make_regressor(regressor, chosen_on, len(fitted), random_state)
        model.fit(units[fitted], targets[fitted])
        importances[:, j] = _importances(model)
        residuals = targets[test] - model.predict(units[test])
        spread = targets[test] - targets[test].mean(axis=0)
        errors[j] = np.sqrt(np.sum(residuals**2) / np.sum(spread**2))
    return _summarize(importances, errors, given)


def _summarize(importances, errors, given):
    """Compute the scores of a matrix of importances."""
    disentanglement = _concentrations(importances)
    # A factor that no unit is important for has no unit of its own.
    completeness = np.nan_to_num(_concentrations(importances.T))
    unit_importances = importances.sum(axis=1)
    unit_importances /= unit_importances.sum() or 1.0
    means = {
        "disentanglement": float(unit_importances @ np.nan_to_num(disentanglement)),
        "completeness": float(completeness.mean()),
        "informativeness": float(1.0 - errors.mean()),
        "error": float(errors.mean()),
    }
    return DCIScores(
        "Disentanglement {disentanglement:.2f} (1: each unit predicts one factor), "
        "completeness {completeness:.2f} (1: each factor is predicted by one unit), "
        "informativeness {informativeness:.2f} (1: all factors are predicted from the "
        "units).".format(**means),
        **means,
        unit_disentanglement=_over_all(disentanglement, given.live_units),
        unit_importances=_over_all(unit_importances, given.live_units),
        factor_completeness=_over_all(completeness, given.live_factors),
        factor_errors=_over_all(errors, given.live_factors),
        importances=_over_pairs(importances, given),
        unit_names=given.unit_names,
        factor_names=given.factor_names,
    )


class MutualInformationGap(Result):
    """Result of `mutual_information_gap`."""

    def _tables(self):
        return {
            **super()._tables(),
            "factors": lambda: {
                "factor": self.factor_names,
                "gap": self.factor_gaps,
                "best_unit": [
                    None if unit < 0 else self.unit_names[unit]
                    for unit in self.best_units
                ],
            },
        }


@validate_params(
    {
        "factors": "no_validation",
        "representation": "no_validation",
        "categorical": "no_validation",
        "n_bins": [Interval(Integral, 2, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def mutual_information_gap(factors, representation, *, categorical=None, n_bins=20):
    r"""Mutual information gap (MIG) between the best and the second best unit.

    For a factor v_k, the gap is ``(I(z_best; v_k) - I(z_second; v_k)) / H(v_k)``, the
    difference between the two largest mutual informations with single units as a share
    of the entropy of the factor ([1]_, section 4). The result is the mean over factors.

    Parameters
    ----------
    factors : array-like of shape (n_stimuli, n_factors)
        Ground-truth factors, one column each, as numbers.
    representation : array-like of shape (n_stimuli, n_units)
        Responses of the units to the same stimuli.
    categorical : array-like of int or of bool, default=None
        Columns of `factors` whose numbers are names of categories, as indices or as a
        mask. They are not put into bins.
    n_bins : int, default=20
        Columns of both arrays with more than this number of distinct values are put
        into this number of bins of equal width between their minimum and maximum, as
        Locatello et al. ([2]_) do with units. Other columns are used as they are.

    Returns
    -------
    result : Result
        Prints as a sentence, and has the tables "result" and "factors".

        - gap : float from 0 to 1. Mean over factors.
        - factor_gaps : ndarray of shape (n_factors,). NaN for constant factors.
        - best_units : ndarray of int of shape (n_factors,). Index of the unit with the
          largest mutual information, -1 for constant factors.
        - information : ndarray of shape (n_units, n_factors). Mutual information in
          nats, NaN for constant units and factors.
        - unit_names, factor_names : list. Names of columns, or their numbers.

    Raises
    ------
    ValueError, TypeError
        If `categorical` does not name columns of `factors`, all factors or all units
        are constant, or the input is invalid, as in :func:`procrustes_distance`.

    Warns
    -----
    DeadUnitWarning
        If factors or units are constant over the stimuli. These are left out.

    See Also
    --------
    disentanglement_score : Soft matching score between factors and units.
    dci_scores : Disentanglement, completeness and informativeness.

    Notes
    -----
    The gap measures how complete units are: a factor needs one unit, and a second unit
    that knows as much makes its gap 0. It does not notice that a unit is the best of
    several factors, nor units that know nothing. With a single unit, the second
    information is 0. Mutual information does not depend on signs or, up to the bins,
    on monotone transformations. From n stimuli and b bins it is estimated too high,
    by about ``(b - 1)^2 / 2n`` nats for unrelated columns, which cancels in the
    difference only if both units are biased alike.

    In [1]_ the units are random variables with a known density given the stimulus.
    Here each stimulus has one response.

    References
    ----------
    .. [1] R. T. Q. Chen, X. Li, R. Grosse, D. Duvenaud. Isolating sources of
       disentanglement in variational autoencoders. NeurIPS, 2018.
    .. [2] F. Locatello et al. Challenging common assumptions in the unsupervised
       learning of disentangled representations. ICML, 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot.metrics import mutual_information_gap
    >>> factors = np.random.default_rng(0).integers(4, size=(2000, 3))
    >>> round(mutual_information_gap(factors, -2 * factors + 1).gap, 2)
    1.0
    >>> round(mutual_information_gap(factors, np.repeat(factors, 2, axis=1)).gap, 2)
    0.0
    """
    given = _read(factors, representation, categorical)
    units = [_discretize(unit, n_bins) for unit in given.units.T]
    factors = [
        _discretize(factor, None if is_categorical else n_bins)
        for factor, is_categorical in zip(
            given.factors.T, given.is_categorical, strict=True
        )
    ]
    information = np.array(
        [[mutual_info_score(factor, unit) for factor in factors] for unit in units]
    )
    entropies = np.array([mutual_info_score(factor, factor) for factor in factors])
    # A second unit that knows nothing is added for representations of a single unit.
    ordered = np.sort(np.vstack([np.zeros(len(factors)), information]), axis=0)
    gaps = (ordered[-1] - ordered[-2]) / entropies
    gap = float(gaps.mean())
    best_units = np.full(len(given.live_factors), -1)
    best_units[given.live_factors] = np.flatnonzero(given.live_units)[
        information.argmax(axis=0)
    ]
    return MutualInformationGap(
        f"Mutual information gap {gap:.2f}: what the best unit knows of a factor, less "
        "what the second best knows, as a share of the entropy of the factor (1: one "
        "unit knows all, and no other unit anything).",
        gap=gap,
        factor_gaps=_over_all(gaps, given.live_factors),
        best_units=best_units,
        information=_over_pairs(information, given),
        unit_names=given.unit_names,
        factor_names=given.factor_names,
    )


# -- input and output --------------------------------------------------------------


class _Given(NamedTuple):
    """Factors and units that are not constant, and which of all columns they are."""

    factors: np.ndarray
    units: np.ndarray
    is_categorical: np.ndarray
    live_factors: np.ndarray
    live_units: np.ndarray
    factor_names: list
    unit_names: list


def _read(factors, representation, categorical):
    """Check the input, and leave constant factors and units out."""
    names = map(read_unit_names, (factors, representation))
    *arrays, statistics = read_populations(factors, representation, _NAMES)
    factors, units = (to_numpy(array).astype(np.float64) for array in arrays)
    live_factors, live_units = (part.live for part in statistics)
    is_categorical = _read_categorical(categorical, len(live_factors))
    factor_names, unit_names = (
        list(range(len(part.live))) if own is None else list_labels(own)
        for own, part in zip(names, statistics, strict=True)
    )
    return _Given(
        factors[:, live_factors],
        units[:, live_units],
        is_categorical[live_factors],
        live_factors,
        live_units,
        factor_names,
        unit_names,
    )


def _read_categorical(categorical, n_factors):
    """Convert indices or a mask of columns to a mask."""
    mask = np.zeros(n_factors, dtype=bool)
    if categorical is None:
        return mask
    columns = np.asarray(categorical)
    is_mask = columns.dtype == bool and columns.shape == (n_factors,)
    are_indices = columns.ndim == 1 and set(columns.tolist()) <= set(range(n_factors))
    if not (is_mask or (are_indices and columns.dtype != bool)):
        raise ValueError(
            f"`categorical` must be indices from 0 to {n_factors - 1} of columns of "
            f"factors, or a mask of {n_factors} booleans; got {categorical!r}."
        )
    mask[columns if is_mask else columns.astype(int)] = True
    return mask


def _over_all(values, live):
    """Return values of live columns as values of all columns, NaN for constant ones."""
    filled = np.full(len(live), np.nan)
    filled[live] = values
    return filled


def _over_pairs(values, given):
    filled = np.full((len(given.live_units), len(given.live_factors)), np.nan)
    filled[np.ix_(given.live_units, given.live_factors)] = values
    return filled


# -- columns -----------------------------------------------------------------------


def _encode(given):
    """Return the columns of each factor: one-hot columns of a categorical factor."""
    return [
        _one_hot(factor) if is_categorical else factor[:, np.newaxis]
        for factor, is_categorical in zip(
            given.factors.T, given.is_categorical, strict=True
        )
    ]


def _one_hot(factor):
    categories = np.unique(factor)
    # With two categories, the first column is the mirror image of the second.
    kept = categories[1:] if len(categories) == 2 else categories
    return (factor[:, np.newaxis] == kept).astype(np.float64)


def _discretize(column, n_bins):
    """Return the bin of each value, or its rank if there are few distinct values."""
    distinct, ranks = np.unique(column, return_inverse=True)
    if n_bins is None or len(distinct) <= n_bins:
        return ranks
    # Scaled first: differences of extreme values can overflow.
    scaled = column / np.abs(distinct[[0, -1]]).max()
    edges = np.linspace(scaled.min(), scaled.max(), n_bins + 1)
    return np.digitize(scaled, edges[1:-1])


# -- importances -------------------------------------------------------------------


def _make_regressor(regressor, validation, n_rows, random_state):
    """Return an unfitted regressor; `validation` are rows that choose the depth."""
    if isinstance(regressor, str) and regressor == "lasso":
        return Lasso(alpha=_LASSO_PENALTY, max_iter=_MOST_ITERATIONS)
    if isinstance(regressor, str):
        # Imported when it is needed: nothing else in skmot uses trees.
        from sklearn.ensemble import RandomForestRegressor

        forest = RandomForestRegressor(_N_TREES, random_state=random_state)
        split = np.delete(np.arange(n_rows), validation), validation
        return GridSearchCV(forest, {"max_depth": _DEPTHS}, cv=[split])
    return clone(regressor)


def _importances(model):
    """Return the importance of each unit in a fitted regressor, at least 0."""
    model = getattr(model, "best_estimator_", model)
    if hasattr(model, "feature_importances_"):
        return model.feature_importances_
    if hasattr(model, "coef_"):
        return np.abs(np.atleast_2d(model.coef_)).mean(axis=0)
    raise TypeError(
        f"`regressor` must have `coef_` or `feature_importances_` after the fit; "
        f"{type(model).__name__} has neither. Use 'lasso' or 'random_forest'."
    )


def _concentrations(importances):
    """Return 1 minus the entropy of each row, to the base of its length.

    It is 1 for rows of a single entry, and NaN for rows of zeros.
    """
    n = importances.shape[1]
    with np.errstate(invalid="ignore"):
        # It divides each row by its sum.
        entropies = entropy(importances, axis=1) / (np.log(n) if n > 1 else 1.0)
    return np.clip(1.0 - entropies, 0.0, 1.0)

"""LinearPredictivity and RegressorMapping: regressions between two populations."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from numbers import Real

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import Ridge

from skmot._units import (
    UnitStatistics,
    column_correlations,
    mean_over_units,
    over_all_units,
    standardize,
)
from skmot._utils.array_api import namespace_of
from skmot._utils.docstrings import shared_docs
from skmot._utils.sklearn import HasMethods, Interval
from skmot._utils.state import stored_as_dict
from skmot.base import (
    FEW_VALIDATION_STIMULI,
    PairMapping,
    Solution,
    read_side_by_side,
)
from skmot.metrics._linear import (
    LEAST_VALIDATION,
    LEAST_VALIDATION_PER_TARGET,
    check_alphas,
    split_stimuli,
)
from skmot.metrics._ridge import (
    RidgePopulation,
    fit_ridge,
    ridge_bytes,
    with_varied_units,
)


class ValidatedRegression(PairMapping):
    """Base class of regressions whose cost is computed on a validation part.

    Subclasses have the parameters `validation_fraction` and `random_state`.
    """

    _parameter_constraints = {
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
    }

    _cost_name = "1 - validation correlation"
    _splits_rows = True

    @abstractmethod
    def _fit_both_directions(self, source, target, validation):
        """Fit a regression of each population to the other.

        Parameters
        ----------
        source, target : object
            The two populations, as `_prepare` returns them.
        validation : ndarray of int
            Indices of the stimuli in the validation part.

        Returns
        -------
        score : float
            Score of the prediction of the target on the validation part.
        maps : tuple of two
            The maps of the solution.
        attributes : dict
            The fitted attributes.
        """

    # Fewer validation stimuli raise a warning.
    _least_validation = LEAST_VALIDATION

    def _solve(self, source, target):
        validation, _ = split_stimuli(
            source.units.shape[0],
            [self.validation_fraction],
            self.random_state,
            source.groups,
        )
        score, maps, attributes = self._fit_both_directions(source, target, validation)
        few = len(validation) < self._least_validation
        return Solution(
            cost=1.0 - score,
            maps=maps,
            attributes=attributes,
            converged={FEW_VALIDATION_STIMULI: len(validation)} if few else True,
        )


@shared_docs
class LinearPredictivity(ValidatedRegression):
    """Linear predictivity: ridge regression from all source units to each target unit.

    All target units share one penalty, unless `alpha_per_target` is set. It is chosen
    on a validation part of the training stimuli ([1]_, section 3.3; 70 % of the stimuli
    there are for training, 10 % for validation and 20 % for testing). Then the
    regression is refitted to all training stimuli. Units are standardised over all
    training stimuli. A second regression predicts the source.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,), default=None
        Candidate penalties of the squared coefficients between standardised units. None
        means 8 penalties from 1e-4 to 1e4, equally spaced in their logarithm.
    alpha_per_target : bool, default=False
        Whether to choose a penalty for each predicted unit, as voxel-wise encoding
        models do. Otherwise one penalty is chosen for all units. A penalty of its own
        rests on the correlation of one unit over the validation part: with few
        validation stimuli predictions are worse than with a common penalty (held-out
        correlations by .07 with 7 stimuli, by .015 with 30). Raise
        `validation_fraction`, or use `RegressorMapping(RidgeCV(alphas,
        alpha_per_target=True))`, which chooses it by leaving out each stimulus in turn.
    validation_fraction : float, default=0.125
        Fraction of the training stimuli in the validation part. The part has at least
        two stimuli, and one more if every unit would otherwise be constant over it. If
        it has fewer than five, or fewer than 30 with `alpha_per_target`, a warning is
        raised.
    random_state : int, RandomState instance or None, default=None
        Controls the randomness of the validation part. Pass an int for reproducible
        output; within a `MultiLevelOT` it makes the part the same for every pair of
        layers, which also makes the fit faster.

    Attributes
    ----------
    coef_ : ndarray of shape (n_source_units, n_target_units)
        Coefficients between standardised units; 0 for dead units.
    inverse_coef_ : ndarray of shape (n_target_units, n_source_units)
        Coefficients of the regression that predicts the source.
    alpha_ : float or ndarray of shape (n_target_units,)
        Chosen penalty; the largest if several are equally good. With `alpha_per_target`
        there is one for each target unit. It is NaN for dead units, and the largest for
        units that are constant over the validation part.
    inverse_alpha_ : float or ndarray of shape (n_source_units,)
        Chosen penalty of the regression that predicts the source.
    cost_ : float
        1 minus the mean correlation between the recorded and predicted responses of the
        live target units to the validation part, with a regression fitted to the rest.
        It ranges from 0 to 2; lower is more alike. It is not symmetric. It is slightly
        too low, because the penalty was chosen to minimise it.
    <<pair attributes>>

    See Also
    --------
    MultiLevelOT : `MultiLevelOT(LinearPredictivity(), strategy="pairwise_best")` is
        the pairwise linear predictivity of the second paper.
    skmot.metrics.linear_predictivity_score : The score of two arrays.

    Notes
    -----
    The validation part is a random sample of the stimuli: rows with equal stimulus
    labels stay together. Without labels, each row counts as a stimulus, and repeats of
    one stimulus in both parts favour small penalties.

    The coefficients B for the penalty alpha minimise ``|Y - X B|^2 + alpha |B|^2``. For
    all penalties and targets they follow from one eigendecomposition of X'X, or of XX'
    if there are fewer stimuli than units. Within a `MultiLevelOT`, if `random_state` is
    an int, each layer is decomposed twice, without the validation part and over all
    stimuli, however many layers it is paired with. Penalties below 1e-12 of the sum of
    the eigenvalues would drown in their rounding errors: then the singular value
    decomposition of X is used. Regressions are computed in float64, also for float32
    layers.

    References
    ----------
    .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
       representations that captures single-neuron tuning. UniReps, PMLR, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import LinearPredictivity
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 5))
    >>> y = X @ rng.normal(size=(5, 3)) + 0.1 * rng.normal(size=(200, 3))
    >>> regression = LinearPredictivity(random_state=0).fit(X[:160], y[:160])
    >>> round(regression.score(X[160:], y[160:]), 2)
    1.0
    """

    _parameter_constraints = {
        **ValidatedRegression._parameter_constraints,
        "alphas": ["array-like", None],
        "alpha_per_target": ["boolean"],
    }
    _runs_in_threads = True
    _supports_array_api = True

    def __init__(
        self,
        alphas=None,
        alpha_per_target=False,
        validation_fraction=0.125,
        random_state=None,
    ):
        self.alphas = alphas
        self.alpha_per_target = alpha_per_target
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    @property
    def _least_validation(self):
        if self.alpha_per_target:
            return LEAST_VALIDATION_PER_TARGET
        return LEAST_VALIDATION

    def _prepare(self, leaves, statistics):
        layer, _ = read_side_by_side(leaves)
        xp = namespace_of(layer)
        # In float32 a penalty of 1e-4 is smaller than the rounding error of X'X for
        # thousands of stimuli.
        layer = xp.astype(layer, xp.float64, copy=False)
        units = standardize(layer, statistics, statistics.live)
        return PreparedRidge(
            RidgePopulation(units, check_alphas(self.alphas)), statistics
        )

    def _prepared_bytes(self, n_stimuli, statistics):
        n_validation = math.ceil(self.validation_fraction * n_stimuli)
        n_alphas = len(check_alphas(self.alphas))
        return ridge_bytes(n_stimuli, statistics.n_live, n_validation, n_alphas)

    def _fit_both_directions(self, source, target, validation):
        to_target, to_source = (
            fit_ridge(given.ridge, made.ridge, validation, self.alpha_per_target, where)
            for given, made, where in ((source, target, "y"), (target, source, "X"))
        )
        maps = (
            _with_dtype_of(to_target.coefficients, target.statistics),
            _with_dtype_of(to_source.coefficients, source.statistics),
        )
        return (
            to_target.score,
            maps,
            {
                "alpha_": _penalties(to_target, target.statistics),
                "inverse_alpha_": _penalties(to_source, source.statistics),
            },
        )

    @property
    def coef_(self):
        return self._coefficients("target")

    @property
    def inverse_coef_(self):
        return self._coefficients("source")

    def _coefficients(self, direction):
        coefficients = self._maps[0 if direction == "target" else 1]
        for axis, statistics in enumerate(self._statistics(direction)):
            coefficients = over_all_units(coefficients, statistics.live, axis=axis)
        return coefficients


@dataclass(frozen=True)
class PreparedRidge:
    """Input of `LinearPredictivity._solve`.

    Attributes
    ----------
    ridge : RidgePopulation
        Standardised live units in float64 and their decompositions, which all partners
        of the population share.
    statistics : UnitStatistics
        Statistics of all units.
    groups : ndarray of int of shape (n_stimuli,) or None
        Groups of rows with equal stimulus labels.
    """

    ridge: RidgePopulation
    statistics: UnitStatistics
    groups: object = None

    @property
    def units(self):
        """Array of shape (n_stimuli, n_live_units), the standardised live units."""
        return self.ridge.units


def _with_dtype_of(coefficients, statistics):
    """Convert coefficients to the dtype of the units that they predict."""
    xp = namespace_of(coefficients)
    return xp.astype(coefficients, getattr(xp, statistics.dtype.name), copy=False)


def _penalties(fit, statistics):
    """Return the chosen penalty, or an array of one per unit, NaN for dead units."""
    if np.ndim(fit.alphas) == 0:
        return float(fit.alphas)
    penalties = np.full(len(statistics.live), np.nan)
    penalties[statistics.live] = fit.alphas
    return penalties


@shared_docs
class RegressorMapping(ValidatedRegression):
    """Map each population to the other with any scikit-learn regressor.

    One clone of the regressor learns to predict all target units from all source units,
    and another one to predict the source from the target. The regressors are fitted to
    units standardised over the training stimuli. Predictions are transformed back to
    the training means and deviations.

    Parameters
    ----------
    regressor : multi-output regressor, default=None
        Regressor to clone, such as
        :class:`~sklearn.cross_decomposition.PLSRegression`,
        :class:`~sklearn.kernel_ridge.KernelRidge` or a Pipeline. None means
        :class:`~sklearn.linear_model.Ridge`. A search can set the parameters of a given
        regressor as `regressor__...`.
    validation_fraction : float, default=0.125
        Fraction of the training stimuli in the validation part, on which `cost_` is
        computed. The part has at least two stimuli, and one more if every unit would
        otherwise be constant over it. If it has fewer than five, a warning is raised.
    random_state : int, RandomState instance or None, default=None
        Controls the randomness of the validation part. Pass an int for reproducible
        output; within a `MultiLevelOT` it makes the part the same for every pair of
        layers.

    Attributes
    ----------
    regressor_ : regressor
        Regressor that predicts standardised live target units from standardised live
        source units, fitted to all training stimuli.
    inverse_regressor_ : regressor
        Regressor that predicts the source from the target.
    cost_ : float
        1 minus the mean correlation between the recorded and predicted responses of the
        live target units to the validation part, with a regressor fitted to the rest.
        It ranges from 0 to 2; lower is more alike. It is not symmetric.
    <<pair attributes>>

    See Also
    --------
    LinearPredictivity : Ridge regression whose penalty is chosen on a validation part.
    skmot.base.PairMapping : Base class for your own maps.

    Notes
    -----
    The regressor receives float64 arrays. In a `MultiLevelOT` each pair of layers has
    its own regressors, and each of their warnings is repeated once per fit. The
    validation part is a random sample of the stimuli: rows with equal stimulus labels
    stay together.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.cross_decomposition import PLSRegression
    >>> from skmot import RegressorMapping
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 5))
    >>> y = X @ rng.normal(size=(5, 3)) + 0.1 * rng.normal(size=(200, 3))
    >>> pls = RegressorMapping(PLSRegression(n_components=3), random_state=0)
    >>> round(pls.fit(X[:160], y[:160]).score(X[160:], y[160:]), 1)
    1.0
    """

    _parameter_constraints = {
        **ValidatedRegression._parameter_constraints,
        "regressor": [HasMethods(["fit", "predict"]), None],
    }

    def __init__(self, regressor=None, validation_fraction=0.125, random_state=None):
        self.regressor = regressor
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def _fit_both_directions(self, source, target, validation):
        X, Y = source.units, target.units
        regressor = Ridge() if self.regressor is None else self.regressor
        to_target, score = fit_regressor(regressor, X, Y, validation, "y")
        to_source, _ = fit_regressor(regressor, Y, X, validation, "X")
        maps = RegressorMap(to_target), RegressorMap(to_source)
        attributes = {"regressor_": to_target, "inverse_regressor_": to_source}
        return score, maps, attributes


def fit_regressor(regressor, X, Y, validation, where):
    """Score a regressor on a validation part and fit it to all stimuli.

    Parameters
    ----------
    regressor : regressor
        Regressor, of which clones are fitted.
    X, Y : ndarray of shape (n_stimuli, n_units_x) and (n_stimuli, n_units_y)
        Standardised units.
    validation : ndarray of int
        Indices of the stimuli in the validation part, see `with_varied_units`.
    where : str
        Name of Y in error messages.

    Returns
    -------
    regressor : regressor
        Regressor that is fitted to all stimuli.
    score : float
        Correlation of recorded and predicted responses to the validation part, averaged
        over units, with a regressor fitted to the other stimuli.
    """
    X, Y = X.astype(np.float64, copy=False), Y.astype(np.float64, copy=False)
    validation = with_varied_units(validation, Y)
    training = np.delete(np.arange(len(X)), validation)
    validated = clone(regressor).fit(X[training], Y[training])
    predicted = np.reshape(validated.predict(X[validation]), (len(validation), -1))
    if not np.isfinite(predicted).all():
        raise ValueError(
            f"{type(regressor).__name__} predicted NaN or infinity for {where} "
            "(its validation part)."
        )
    score = mean_over_units(
        column_correlations(Y[validation], predicted), f"{where} (its validation part)"
    )
    return clone(regressor).fit(X, Y), score


@stored_as_dict
class RegressorMap:
    """Map that returns the predictions of a regressor with the dtype of its input."""

    def __init__(self, regressor):
        self.regressor = regressor

    def __call__(self, units):
        predicted = self.regressor.predict(units)
        return np.reshape(predicted, (len(units), -1)).astype(units.dtype, copy=False)

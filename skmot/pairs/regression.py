"""LinearPredictivity and RegressorMapping: regressions between two populations."""

from abc import abstractmethod
from numbers import Real

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import Ridge

from skmot._units import over_all_units
from skmot._utils.docstrings import shared_docs
from skmot._utils.sklearn import HasMethods, Interval
from skmot.base import FEW_VALIDATION_STIMULI, PairMapping, Solution
from skmot.metrics._linear import (
    LEAST_VALIDATION,
    check_alphas,
    coefficients_of,
    fit_on_validation,
    ridges,
    split_stimuli,
)


class ValidatedRegression(PairMapping):
    """Base class of regressions whose cost is computed on a validation part.

    Subclasses have the parameters `validation_fraction` and `random_state`.
    """

    _parameter_constraints = {
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
    }

    _splits_rows = True

    @abstractmethod
    def _regressors(self):
        """Return the unfitted candidate regressors."""

    @abstractmethod
    def _maps_and_attributes(self, to_target, to_source, X, Y):
        """Return the maps and the fitted attributes for two fitted regressors."""

    def _solve(self, source, target):
        X, Y = source.units, target.units
        validation, _ = split_stimuli(
            len(X), [self.validation_fraction], self.random_state, source.groups
        )
        to_target, score = fit_on_validation(self._regressors(), X, Y, validation, "y")
        to_source, _ = fit_on_validation(self._regressors(), Y, X, validation, "X")
        maps, attributes = self._maps_and_attributes(to_target, to_source, X, Y)
        few = len(validation) < LEAST_VALIDATION
        return Solution(
            cost=1.0 - score,
            maps=maps,
            attributes=attributes,
            converged={FEW_VALIDATION_STIMULI: len(validation)} if few else True,
        )


@shared_docs
class LinearPredictivity(ValidatedRegression):
    """Linear predictivity: ridge regression from all source units to each target unit.

    All target units share one penalty, which is chosen on a validation part of the
    training stimuli ([1]_, section 3.3; 70 % of the stimuli there are for training,
    10 % for validation and 20 % for testing). Then the regression is refitted to all
    training stimuli. Units are standardised over all training stimuli. A second
    regression predicts the source.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,), default=None
        Candidate penalties of the squared coefficients between standardised units. None
        means 8 penalties from 1e-4 to 1e4, equally spaced in their logarithm.
    validation_fraction : float, default=0.125
        Fraction of the training stimuli in the validation part. The part has at least
        two stimuli, and one more if every unit would otherwise be constant over it. If
        it has fewer than five, a warning is raised.
    random_state : int, RandomState instance or None, default=None
        Controls the randomness of the validation part. Pass an int for reproducible
        output; within a `MultiLevelOT` it makes the part the same for every pair of
        layers.

    Attributes
    ----------
    coef_ : ndarray of shape (n_source_units, n_target_units)
        Coefficients between standardised units; 0 for dead units.
    inverse_coef_ : ndarray of shape (n_target_units, n_source_units)
        Coefficients of the regression that predicts the source.
    alpha_, inverse_alpha_ : float
        Chosen penalties. The largest is chosen if several are equally good.
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
    }
    _runs_in_threads = True

    def __init__(self, alphas=None, validation_fraction=0.125, random_state=None):
        self.alphas = alphas
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def _regressors(self):
        return ridges(check_alphas(self.alphas))

    def _maps_and_attributes(self, to_target, to_source, X, Y):
        maps = coefficients_of(to_target, Y), coefficients_of(to_source, X)
        return maps, {
            "alpha_": to_target.alpha,
            "inverse_alpha_": to_source.alpha,
        }

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

    def _regressors(self):
        return [Ridge() if self.regressor is None else clone(self.regressor)]

    def _maps_and_attributes(self, to_target, to_source, X, Y):
        maps = RegressorMap(to_target), RegressorMap(to_source)
        return maps, {"regressor_": to_target, "inverse_regressor_": to_source}


class RegressorMap:
    """Map that returns the predictions of a regressor with the dtype of its input."""

    def __init__(self, regressor):
        self.regressor = regressor

    def __call__(self, units):
        predicted = self.regressor.predict(units)
        return np.reshape(predicted, (len(units), -1)).astype(units.dtype, copy=False)

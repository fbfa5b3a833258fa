"""Ridge regressions between populations, with decompositions that all of them share."""

import math
from dataclasses import dataclass
from threading import Lock

import numpy as np

from skmot._units import mean_over_units
from skmot._utils.array_api import move_to_device_of, namespace_of, select, to_numpy
from skmot._utils.linalg import thin_svd

# Scores closer than this are ties: they are means of correlations in float64, after a
# solve whose rounding errors the smallest penalty magnifies.
_TIE = 1e-6
# Eigenvalues of X'X have rounding errors of about 1e-16 times the largest of them. For
# a penalty of this share of their sum, predictions of layers of low rank are off by up
# to 1e-5. For smaller penalties X itself is decomposed, which takes two to four times
# as long.
_SMALLEST_SHARE = 1e-12
_FLOAT64_BYTES = 8


class RidgePopulation:
    """Units of one population, with the decompositions of its ridge regressions.

    Each decomposition is computed when it is first needed. It then serves all partners,
    both directions and all penalties. Methods can be called by several threads.

    Parameters
    ----------
    units : array of shape (n_stimuli, n_units)
        Standardised units in float64. Constant units are 0. The array must not be
        modified.
    alphas : ndarray of shape (n_alphas,)
        Candidate penalties.

    Attributes
    ----------
    alphas : ndarray of shape (n_alphas,)
        Candidate penalties in decreasing order.
    """

    def __init__(self, units, alphas):
        self.units, self.alphas = units, np.sort(alphas)[::-1]
        self._lock = Lock()
        self._factors = self._split = None

    @property
    def factors(self):
        """RidgeFactors of all stimuli."""
        with self._lock:
            if self._factors is None:
                self._factors = RidgeFactors.of(self.units, self.alphas[-1])
            return self._factors

    def split(self, validation):
        """Return the population with the given validation part.

        Only the last one is kept. Pairs share one part, unless each draws its own.

        Parameters
        ----------
        validation : ndarray of int
            Indices of the stimuli in the validation part.

        Returns
        -------
        split : SplitPopulation
            The population at the training part and at the validation part.
        """
        with self._lock:
            if self._split is None or not np.array_equal(
                self._split.validation, validation
            ):
                self._split = SplitPopulation(self.units, validation, self.alphas)
            return self._split

    @property
    def nbytes(self):
        """Size of all arrays in bytes."""
        parts = self._factors, self._split
        known = sum(part.nbytes for part in parts if part is not None)
        return _nbytes(self.units) + known


@dataclass(frozen=True)
class RidgeFactors:
    """Decomposition of a matrix X that yields the ridge regressions of all penalties.

    The coefficients for the targets Y and the penalty alpha are::

        (X'X + alpha I)^-1 X'Y = right diag(1 / (squares + alpha)) left' Y

    Attributes
    ----------
    left : array of shape (n_rows, rank)
        U diag(s), or U, of the singular value decomposition X = U diag(s) V'.
    right : array of shape (n_columns, rank) or (n_points, rank)
        V, or V diag(s), multiplied with points if there are any.
    squares : array of shape (rank,)
        Squared singular values.
    """

    left: object
    right: object
    squares: object

    @classmethod
    def of(cls, matrix, smallest_alpha, points=None):
        """Decompose a matrix.

        Parameters
        ----------
        matrix : array of shape (n_rows, n_columns)
            Centred columns in float64.
        smallest_alpha : float
            Smallest penalty that will be used, which defines the precision.
        points : array of shape (n_points, n_columns), default=None
            Rows that coefficients are multiplied with: `right` then yields predictions
            for them instead of coefficients.

        Returns
        -------
        factors : RidgeFactors
            The decomposition.
        """
        xp = namespace_of(matrix)
        n_rows, n_columns = matrix.shape
        if smallest_alpha < _SMALLEST_SHARE * float(xp.sum(matrix * matrix)):
            left, values, right = thin_svd(matrix)
            right = right.T if points is None else points @ right.T
            return cls(left * values, right, values * values)
        # The smaller one of X X' and X'X.
        is_wide = n_rows < n_columns
        gram = matrix @ matrix.T if is_wide else matrix.T @ matrix
        squares, vectors = xp.linalg.eigh(gram)
        # Rounding errors make eigenvalues of 0 slightly negative.
        squares = xp.clip(squares, 0.0, None)
        if is_wide:
            products = matrix.T if points is None else points @ matrix.T
            return cls(vectors, products @ vectors, squares)
        right = vectors if points is None else points @ vectors
        return cls(matrix @ vectors, right, squares)

    def shrinkage(self, alphas):
        """Return 1 / (squares + alpha), an array of shape (rank, n_alphas)."""
        alphas = move_to_device_of(self.squares, np.atleast_1d(alphas))
        return 1.0 / (self.squares[:, None] + alphas[None, :])

    def coefficients(self, targets, alphas):
        """Return the coefficients of a ridge regression.

        Parameters
        ----------
        targets : array of shape (n_rows, n_targets)
            Targets, one per column.
        alphas : float or ndarray of shape (n_targets,)
            One penalty for all targets, or one for each.

        Returns
        -------
        coefficients : array of shape (n_columns, n_targets)
            Coefficients in float64.
        """
        return self.right @ (self.shrinkage(alphas) * (self.left.T @ targets))

    @property
    def nbytes(self):
        """Size of all arrays in bytes."""
        return _nbytes(self.left, self.right, self.squares)


class SplitPopulation:
    """Population at the training part and the validation part of the stimuli.

    Parameters
    ----------
    units : array of shape (n_stimuli, n_units)
        Standardised units in float64.
    validation : ndarray of int
        Indices of the stimuli in the validation part.
    alphas : ndarray of shape (n_alphas,)
        Candidate penalties in decreasing order.
    """

    def __init__(self, units, validation, alphas):
        self.validation, self.alphas = validation, alphas
        training = np.delete(np.arange(units.shape[0]), validation)
        self._training = _centre(select(units, training, axis=0))
        self._held_out = _centre(select(units, validation, axis=0))
        self._recorded = _normalise(self._held_out)
        self._lock = Lock()
        self._smoothers = None

    def scores(self, target):
        """Correlate validation responses with their predictions for each penalty.

        The regressions are fitted to the training part of this population.

        Parameters
        ----------
        target : SplitPopulation
            Population to predict, with the same validation part.

        Returns
        -------
        scores : ndarray of shape (n_alphas, n_target_units)
            Pearson correlations. They are NaN for units that are constant over the
            validation part, and 0 if the prediction is constant.
        """
        smoothers, basis = self._smoothers_and_basis()
        responses = target._training
        if basis is not None:
            responses = basis.T @ responses
        recorded = target._recorded
        scores = np.stack(
            [_cosines(recorded, smoother @ responses) for smoother in smoothers]
        )
        scores[:, ~to_numpy(_varies(recorded))] = np.nan
        return scores

    def _smoothers_and_basis(self):
        """Return the matrices that map training responses to predictions.

        Returns
        -------
        smoothers : list of array
            Matrix for each penalty, up to a factor, which correlations do not depend
            on. Predictions are centred over the validation part.
        basis : array of shape (n_training_stimuli, rank) or None
            Responses are multiplied with its transpose first, if that takes fewer
            operations and less memory than larger smoothers.
        """
        with self._lock:
            if self._smoothers is None:
                self._smoothers = self._make_smoothers()
            return self._smoothers

    def _make_smoothers(self):
        xp = namespace_of(self._training)
        # The coefficients of units that are constant over the training part are 0. The
        # decomposition has rounding errors in their place.
        held_out = xp.where(_varies(self._training), self._held_out, 0.0)
        factors = RidgeFactors.of(self._training, self.alphas[-1], held_out)
        shrinkage = factors.shrinkage(self.alphas)
        smoothers = [
            _with_largest_entry_of_one(factors.right * shrinkage[:, index])
            for index in range(len(self.alphas))
        ]
        basis = factors.left
        if _is_folding_cheaper(*basis.shape, len(smoothers) * held_out.shape[0]):
            return [smoother @ basis.T for smoother in smoothers], None
        return smoothers, basis

    @property
    def nbytes(self):
        """Size of all arrays in bytes."""
        known = _nbytes(self._training, self._held_out, self._recorded)
        if self._smoothers is not None:
            smoothers, basis = self._smoothers
            known += _nbytes(*smoothers, *([] if basis is None else [basis]))
        return known


@dataclass(frozen=True)
class RidgeFit:
    """Ridge regression with chosen penalties.

    Attributes
    ----------
    coefficients : array of shape (n_source_units, n_target_units)
        Coefficients in float64, fitted to all stimuli.
    alphas : float or ndarray of shape (n_target_units,)
        Chosen penalty, or the penalty of each target unit.
    score : float
        Correlation of recorded and predicted responses to the validation part, averaged
        over target units, with a regression fitted to the other stimuli.
    """

    coefficients: object
    alphas: object
    score: float


def fit_ridge(source, target, validation, alpha_per_target, where):
    """Choose penalties on a validation part and fit a ridge regression to all stimuli.

    Parameters
    ----------
    source, target : RidgePopulation
        Population to predict from, and population to predict.
    validation : ndarray of int
        Indices of the stimuli in the validation part, see `with_varied_units`.
    alpha_per_target : bool
        Whether to choose a penalty for each target unit.
    where : str
        Name of the target in error messages.

    Returns
    -------
    fit : RidgeFit
        The regression. If penalties tie, the largest is chosen.
    """
    where = f"{where} (its validation part)"
    validation = with_varied_units(validation, target.units)
    scores = source.split(validation).scores(target.split(validation))
    if not alpha_per_target:
        scores = np.array([[mean_over_units(row, where)] for row in scores])
    chosen, best = _choose_first_of_the_best(scores)
    alphas = source.alphas[chosen] if alpha_per_target else source.alphas[chosen[0]]
    return RidgeFit(
        source.factors.coefficients(target.units, alphas),
        alphas,
        mean_over_units(best, where),
    )


def with_varied_units(validation, units):
    """Add one stimulus to a validation part if every unit is constant over it.

    Otherwise no correlation would be defined.

    Parameters
    ----------
    validation : ndarray of int
        Indices of the stimuli in the validation part.
    units : array of shape (n_stimuli, n_units)
        Responses to all stimuli.

    Returns
    -------
    validation : ndarray of int
        The same part, or one more stimulus.
    """
    xp = namespace_of(units)
    first = units[int(validation[0]), :]
    if bool(xp.any(select(units, validation, axis=0) != first)):
        return validation
    varied = np.flatnonzero(to_numpy(xp.any(units != first, axis=1)))
    return np.append(validation, varied[:1])


def ridge_bytes(n_stimuli, n_units, n_validation, n_alphas):
    """Return the size of a RidgePopulation in bytes, with all its decompositions."""
    n_training, n_smoothed = n_stimuli - n_validation, n_alphas * n_validation
    rank = min(n_stimuli, n_units)
    factors = (n_stimuli + n_units) * rank
    smoothers = min(n_smoothed * n_training, (n_training + n_smoothed) * rank)
    return _FLOAT64_BYTES * (2 * n_stimuli * n_units + factors + smoothers)


def _choose_first_of_the_best(scores):
    """Return the row of the best score in each column, and this score.

    A later row is better if its score is larger by more than the tolerance of ties.
    """
    chosen, best = np.zeros(scores.shape[1], dtype=np.intp), scores[0].copy()
    for row, found in enumerate(scores):
        better = found > best + _TIE
        chosen[better], best[better] = row, found[better]
    return chosen, best


def _centre(rows):
    """Centre columns. Those that are constant become exactly 0."""
    xp = namespace_of(rows)
    shifted = rows - rows[:1, :]
    return shifted - xp.mean(shifted, axis=0)


def _normalise(centred):
    """Scale centred columns to norm 1. Constant columns stay 0.

    They are divided by their largest magnitude first, because squares of small numbers
    underflow.
    """
    xp = namespace_of(centred)
    scaled = _divide(centred, xp.max(xp.abs(centred), axis=0))
    return _divide(scaled, xp.sqrt(xp.sum(scaled * scaled, axis=0)))


def _varies(centred):
    """Return a mask of the columns that are not 0."""
    return namespace_of(centred).any(centred != 0, axis=0)


def _divide(columns, divisors):
    """Divide each column by its divisor. Columns whose divisor is 0 stay 0."""
    xp = namespace_of(columns)
    return columns / xp.where(divisors > 0, divisors, 1.0)


def _with_largest_entry_of_one(matrix):
    """Scale a matrix, so that squares of its products do not underflow."""
    xp = namespace_of(matrix)
    return matrix / (float(xp.max(xp.abs(matrix))) or 1.0)


def _cosines(normalised, predicted):
    """Return the cosine of each pair of columns in numpy, 0 if a prediction is 0."""
    xp = namespace_of(predicted)
    products = to_numpy(xp.sum(normalised * predicted, axis=0))
    norms = to_numpy(xp.sqrt(xp.sum(predicted * predicted, axis=0)))
    cosines = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    return np.clip(cosines, -1.0, 1.0)


def _is_folding_cheaper(n_training, rank, n_smoothed):
    """Whether smoothers of training responses are smaller than those with a basis."""
    return n_smoothed * n_training < (n_training + n_smoothed) * rank


def _nbytes(*arrays):
    return _FLOAT64_BYTES * sum(math.prod(array.shape) for array in arrays)

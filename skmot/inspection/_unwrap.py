"""Unwrapping of fitted estimators, for tables that name units."""

from sklearn.utils.validation import check_is_fitted

from skmot._scores import check_is_estimator, unwrap
from skmot.base import LayerEstimator
from skmot.layers.sides import read_side


def unwrap_stacks(estimator, X, y):
    """Call `unwrap` after reading both sides as stacks, which keep names of units.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    """
    check_is_estimator(estimator)
    check_is_fitted(estimator)
    if not isinstance(estimator, LayerEstimator):
        # Selectors of units number those of a stack as they were before.
        X, y = _as_stack(X, "X"), _as_stack(y, "y")
    return unwrap(estimator, X, y)


def _as_stack(given, argument):
    # scikit-learn compares the columns of DataFrames with those of the fit.
    return given if hasattr(given, "columns") else read_side(given, argument)[0]

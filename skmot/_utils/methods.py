"""Methods that exist only under a condition, and one that transformers share."""

from functools import partial, update_wrapper
from types import MethodType


def available_where(check):
    """Return a decorator of methods that exist only for some estimators.

    Unlike with scikit-learn's `available_if`, the AttributeError itself says why a
    method does not exist, and not only the error that it was raised from.

    Parameters
    ----------
    check : callable
        Function that takes the estimator and raises an AttributeError if the method
        does not exist.

    Returns
    -------
    decorator : callable
        Decorator of the method.
    """
    return partial(_ConditionalMethod, check)


class _ConditionalMethod:
    def __init__(self, check, method):
        self.check = check
        self.method = method
        update_wrapper(self, method)

    def __get__(self, estimator, owner=None):
        if estimator is None:
            return self.method
        self.check(estimator)
        return MethodType(self.method, estimator)


class LayersAsOutput:
    """Mixin of transformers that return layers, whatever output is asked for."""

    def set_output(self, *, transform=None):
        """Do nothing, because layers are returned as the type they were given as.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, default=None
            Ignored, because a DataFrame cannot store layers of different widths.

        Returns
        -------
        self : estimator
            The unchanged estimator.
        """
        return self

"""Warnings of skmot."""

__all__ = ["DeadUnitWarning"]


class DeadUnitWarning(UserWarning):
    """Some units are constant over the training stimuli and take no part in a fit.

    Raised once a fit, by every estimator that matches units. Which units they are is
    in the estimator's `dead_source_units_` and `dead_target_units_`.

    Examples
    --------
    >>> import warnings
    >>> from skmot.exceptions import DeadUnitWarning
    >>> warnings.simplefilter("ignore", DeadUnitWarning)
    """

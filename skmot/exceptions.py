"""Warning classes of skmot."""

__all__ = ["DeadUnitWarning"]


class DeadUnitWarning(UserWarning):
    """Warning that some units are constant over the training stimuli.

    These units are left out of the fit. Each estimator that matches units raises this
    warning at most once per fit, and lists the units in its attributes
    `dead_source_units_` and `dead_target_units_`.

    Examples
    --------
    >>> import warnings
    >>> from skmot.exceptions import DeadUnitWarning
    >>> warnings.simplefilter("ignore", DeadUnitWarning)
    """

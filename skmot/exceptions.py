"""Warning classes of skmot."""

__all__ = ["DeadUnitWarning", "LeakWarning", "RowNumberWarning"]


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


class LeakWarning(UserWarning):
    """Stimuli that an estimator was trained on are scored as if they were held out.

    Raised by scores and held-out costs of stacks with stimulus labels, unless all rows
    that are scored are training rows. An estimator remembers digests of its training
    stimuli, and not the labels.

    Examples
    --------
    >>> import warnings
    >>> from skmot.exceptions import LeakWarning
    >>> warnings.simplefilter("error", LeakWarning)
    """


class RowNumberWarning(UserWarning):
    """Two DataFrames number their rows differently, so rows may not correspond.

    An index of whole numbers without a name numbers rows. Any other index names
    stimuli, and names that differ are an error.

    Examples
    --------
    >>> import warnings
    >>> from skmot.exceptions import RowNumberWarning
    >>> warnings.simplefilter("error", RowNumberWarning)
    """

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
    """Rows of the two sides may not correspond, and have no labels that would tell.

    Raised if two DataFrames number their rows differently. An index of whole numbers
    without a name numbers rows. Any other index names stimuli, and names that differ
    are an error.

    Raised by `fit` and by the tests against chance, too, if one side was made by
    :meth:`skmot.LayerStack.from_trials`, whose rows are in the order of first
    appearance, and this is not the order of their labels, while the other side has no
    labels. There is one warning for a stack and all its parts.

    Examples
    --------
    >>> import warnings
    >>> from skmot.exceptions import RowNumberWarning
    >>> warnings.simplefilter("error", RowNumberWarning)
    """

"""Mean correlation between units and their reconstructions."""

from skmot._units import column_correlations, mean_over_units
from skmot._utils.array_api import as_array
from skmot.layers.checks import (
    check_pair,
    check_same_rows,
    check_same_units,
)
from skmot.layers.reading import check_dimensions, check_unmasked, refuse_sparse


def reconstruction_correlation(y_true, y_pred):
    """Mean Pearson correlation between units and their reconstructions.

    This is the score of a layer in multi-level optimal transport ([1]_, section 2.2.3).

    Parameters
    ----------
    y_true : array-like of shape (n_stimuli, n_units) or (n_stimuli,)
        Recorded responses.
    y_pred : array-like of the same shape
        Reconstructed responses.

    Returns
    -------
    correlation : float
        Mean correlation, from -1 to 1. Units that are constant in `y_true` are left
        out. Units with a constant reconstruction count as 0.

    Raises
    ------
    ValueError
        If the shapes or the names of stimuli or units differ, there are fewer than two
        stimuli, or every unit of `y_true` is constant.

    References
    ----------
    .. [1] Representational alignment across model layers and brain regions with
       multi-level optimal transport.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot.metrics import reconstruction_correlation
    >>> y = np.random.default_rng(0).normal(size=(20, 3))
    >>> round(reconstruction_correlation(y, 5 - 2 * y), 9)
    -1.0
    >>> constant = np.column_stack([y[:, :2], np.ones(20)])
    >>> round(reconstruction_correlation(y, constant), 3)
    0.667
    """
    for given, where in ((y_true, "y_true"), (y_pred, "y_pred")):
        check_unmasked(given, where)
        refuse_sparse(given, where)
        check_dimensions(given, where)
    check_same_rows(y_true, y_pred, "y_true", "y_pred")
    check_same_units(y_true, y_pred, "y_true", "y_pred")
    y_true, y_pred = _read(y_true, "y_true"), _read(y_pred, "y_pred")
    if y_true.shape != y_pred.shape:
        phrase = ""
        if y_true.ndim and y_pred.ndim and len(y_true) != len(y_pred):
            phrase = "Found input variables with inconsistent numbers of samples: "
        raise ValueError(
            f"{phrase}y_true and y_pred must have the same shape; got {y_true.shape} "
            f"and {y_pred.shape}."
        )
    if y_true.ndim == 1:
        y_true, y_pred = y_true[:, None], y_pred[:, None]
    y_true, y_pred = check_pair(y_true, y_pred, names=("y_true", "y_pred"))
    return mean_over_units(column_correlations(y_true, y_pred), "y_true")


def _read(given, where):
    try:
        return as_array(given)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error} (found in {where})") from error

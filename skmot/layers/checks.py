"""Checks of input arrays: a single layer, or two populations."""

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import assert_all_finite, check_array

from skmot._utils.array_api import (
    as_array,
    check_float64,
    is_dispatched,
    is_foreign,
    move_to_device_of,
    namespace_of,
    non_numeric_type,
    read_dtypes,
    select,
    to_numpy,
)
from skmot._utils.sparse import as_csr
from skmot.layers.labelled import is_frame, read_rows, read_unit_names
from skmot.layers.labels import (
    check_same_stimuli,
    labels_agree,
    list_labels,
    warn_about_row_numbers,
)
from skmot.layers.reading import check_dimensions, check_unmasked, refuse_sparse
from skmot.layers.stack import LayerStack, leaves_of, side_by_side


def check_layer(layer, where, min_stimuli=1, allow_missing=False, accept_sparse=False):
    """Return a layer as a float32 or float64 array of two dimensions.

    Parameters
    ----------
    layer : array-like of shape (n_stimuli, n_units) or LayerStack
        The layer; if it is a stack, all its units are put side by side. It is not
        modified. Arrays of other libraries are converted to numpy arrays, unless
        scikit-learn's `array_api_dispatch` is enabled.
    where : str
        Name of the layer in error messages, with the name of the argument.
    min_stimuli : int, default=1
        Minimum number of stimuli.
    allow_missing : bool, default=False
        Whether responses may be NaN or infinite.
    accept_sparse : bool, default=False
        Whether a sparse layer stays sparse. Otherwise it becomes a dense array. Several
        layers side by side are always dense.

    Returns
    -------
    layer : array of shape (n_stimuli, n_units)
        Checked layer: float32 if the input is float32, float16 or bfloat16, otherwise
        float64. A sparse layer that stays sparse is a `csr_array` with sorted indices,
        without stored zeros.

    Raises
    ------
    ValueError, TypeError
        For the same reasons as `sklearn.utils.check_array`, with `where` in the
        message.
    """
    check_unmasked(layer, where)
    if not isinstance(layer, LayerStack):
        check_dimensions(layer, where)
    try:
        layers = [leaf.layer for leaf in leaves_of(layer, where)]
        if not accept_sparse or len(layers) > 1:
            layers = [to_numpy(part) if issparse(part) else part for part in layers]
        layer = side_by_side(layers)
        if isinstance(layer, list | tuple) or is_foreign(layer) or is_frame(layer):
            layer = as_array(layer)
        given = layer
        if getattr(getattr(layer, "dtype", None), "kind", None) != "O":
            check_numeric(layer)
        if is_dispatched(layer):
            check_float64(layer)
        layer = check_array(
            layer,
            accept_sparse="csr",
            dtype=read_dtypes(layer),
            ensure_all_finite=False,
            ensure_min_samples=min_stimuli,
        )
        # scikit-learn has raised its own error for objects that are no numbers.
        check_numeric(given)
        if issparse(layer):
            layer = as_csr(layer)
        if not allow_missing:
            check_finite(layer, where)
        return layer
    except (TypeError, ValueError, OverflowError) as error:
        # A subclass may need more arguments than a message. An OverflowError is due to
        # an integer beyond float64.
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{error} (found in {where})") from error


def check_numeric(array):
    """Raise an error for strings and dates, which numpy might convert silently."""
    found = non_numeric_type(array)
    if found is not None:
        raise ValueError(
            f"dtype='numeric' is not compatible with arrays of {found}. Convert your "
            "data to numeric values explicitly instead."
        )


def check_finite(
    layer,
    where,
    which="unit(s)",
    numbers=None,
    advice="Leave these units out with `skmot.preprocessing.FiniteUnitSelector`, or "
    "leave the stimuli out.",
):
    """Raise an error that says which units are missing if a response is not finite.

    Parameters
    ----------
    layer : array of shape (n_stimuli, n_units)
        Layer of real numbers.
    where : str
        Name of the layer in the error message.
    which : str, default="unit(s)"
        Word for the units in the error message.
    numbers : ndarray of shape (n_units,), default=None
        Numbers of the units in the error message. None numbers them from 0.
    advice : str
        Last sentence of the error message.

    Raises
    ------
    ValueError
        If a response is NaN or infinite. The message begins with scikit-learn's.
    """
    try:
        assert_all_finite(layer)
    except ValueError as error:
        missing = ~finite_units(layer)
        unit = int(np.argmax(missing))
        responses = to_numpy(select(layer, np.array([unit]), axis=1))
        row = int(np.argmin(np.isfinite(responses)))
        number = unit if numbers is None else numbers[unit]
        raise ValueError(
            f"{error} {missing.sum()} of {len(missing)} {which} of {where} have "
            f"missing responses (NaN or infinite), the first in unit {number}, row "
            f"{row}. {advice}"
        ) from error


def finite_units(layer):
    """Return whether all responses of each unit are finite, as a numpy array."""
    if issparse(layer):
        missing = layer.indices[~np.isfinite(layer.data)]
        return np.bincount(missing, minlength=layer.shape[1]) == 0
    xp = namespace_of(layer)
    return to_numpy(xp.all(xp.isfinite(layer), axis=0))


def check_pair(X, Y, names=("X", "Y")):
    """Return two populations over the same stimuli as finite float arrays.

    Parameters
    ----------
    X, Y : array-like of shape (n_stimuli, n_units)
        The two populations.
    names : tuple of str
        Names of the populations in error messages.

    Returns
    -------
    X, Y : array of shape (n_stimuli, n_units)
        The checked populations, both in the namespace and on the device of X.

    Raises
    ------
    ValueError, TypeError
        If a population is not a numeric array with at least two rows, or the numbers of
        rows differ.
    """
    for layer, name in zip((X, Y), names, strict=True):
        refuse_sparse(layer, name)
    check_same_rows(X, Y, *names)
    X, Y = (
        check_layer(layer, name, min_stimuli=2)
        for layer, name in zip((X, Y), names, strict=True)
    )
    check_same_length(X, Y, *names)
    return X, move_to_device_of(X, Y)


def check_same_rows(first, second, first_where, second_where):
    """Raise if two sides name different stimuli, and warn of different row numbers.

    Parameters
    ----------
    first, second : LayerStack, DataFrame, DataArray or array-like
        The two sides. Arrays say nothing of their rows.
    first_where, second_where : str
        Names of the sides in messages.
    """
    labels, numbers = zip(rows_of(first), rows_of(second), strict=True)
    check_same_stimuli(*labels, first_where, second_where)
    warn_about_row_numbers(*numbers, first_where, second_where)


def rows_of(given):
    """Return the stimulus labels and the row numbers of one side, or None."""
    if isinstance(given, LayerStack):
        return given.stimuli, given._row_numbers
    return read_rows(given)


def check_same_units(first, second, first_where, second_where):
    """Raise if two arrays of the same units have other names of the units.

    Parameters
    ----------
    first, second : DataFrame, DataArray or array-like
        The two arrays. Arrays without names agree with every other.
    first_where, second_where : str
        Names of the arrays in the error message.
    """
    names = read_unit_names(first), read_unit_names(second)
    if any(own is None for own in names) or labels_agree(*names):
        return
    first_names, second_names = map(list_labels, names)
    pairs = zip(first_names, second_names, strict=False)
    unit = next((k for k, (a, b) in enumerate(pairs) if a != b), None)
    if unit is None:
        # The error about the shapes follows.
        return
    raise ValueError(
        f"The units differ: unit {unit} is {first_names[unit]!r} in {first_where} and "
        f"{second_names[unit]!r} in {second_where}. Put them in one order, "
        "`frame[names]`."
    )


def check_same_length(first, second, first_where, second_where):
    """Raise an error unless two sides have the same number of stimuli."""
    lengths = first.shape[0], second.shape[0]
    if lengths[0] != lengths[1]:
        raise ValueError(
            "Found input variables with inconsistent numbers of samples: "
            f"{first_where} has {lengths[0]} stimuli and {second_where} has "
            f"{lengths[1]}. Both must be recorded over the same stimuli."
        )

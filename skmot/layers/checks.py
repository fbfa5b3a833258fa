"""Checks of input arrays: a single layer, or two populations."""

from sklearn.utils import check_array

from skmot._utils.array_api import (
    as_array,
    check_float64,
    is_dispatched,
    is_foreign,
    move_to_device_of,
    read_dtypes,
)
from skmot.layers.reading import check_unmasked
from skmot.layers.stack import leaves_of, side_by_side

# Dtype kinds of strings, bytes, structured arrays, dates and time differences.
_NON_NUMERIC_KINDS = tuple("USVMm")


def check_layer(layer, where, min_stimuli=1):
    """Return a layer as a finite float32 or float64 array of two dimensions.

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

    Returns
    -------
    layer : array of shape (n_stimuli, n_units)
        Checked layer: float32 if the input is float32, float16 or bfloat16, otherwise
        float64.

    Raises
    ------
    ValueError, TypeError
        For the same reasons as `sklearn.utils.check_array`, with `where` in the
        message.
    """
    check_unmasked(layer, where)
    try:
        layer = side_by_side(leaf.layer for leaf in leaves_of(layer, where))
        if isinstance(layer, list | tuple) or is_foreign(layer):
            layer = as_array(layer)
        _check_numeric(getattr(layer, "dtype", None))
        if is_dispatched(layer):
            check_float64(layer)
        return check_array(
            layer, dtype=read_dtypes(layer), ensure_min_samples=min_stimuli
        )
    except (TypeError, ValueError, OverflowError) as error:
        # A subclass may need more arguments than a message. An OverflowError is due to
        # an integer beyond float64.
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{error} (found in {where})") from error


def _check_numeric(dtype):
    """Raise an error for a non-numeric dtype, which numpy might convert silently."""
    if getattr(dtype, "kind", None) in _NON_NUMERIC_KINDS:
        raise ValueError(
            f"dtype='numeric' is not compatible with arrays of {dtype}. Convert your "
            "data to numeric values explicitly instead."
        )


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
    X, Y = (
        check_layer(layer, name, min_stimuli=2)
        for layer, name in zip((X, Y), names, strict=True)
    )
    check_same_length(X, Y, *names)
    return X, move_to_device_of(X, Y)


def check_same_length(first, second, first_where, second_where):
    """Raise an error unless two sides have the same number of stimuli."""
    lengths = first.shape[0], second.shape[0]
    if lengths[0] != lengths[1]:
        raise ValueError(
            "Found input variables with inconsistent numbers of samples: "
            f"{first_where} has {lengths[0]} stimuli and {second_where} has "
            f"{lengths[1]}. Both must be recorded over the same stimuli."
        )


def checked_layers(stack, layout, min_stimuli=1):
    """Check the layers of a stack one at a time.

    Parameters
    ----------
    stack : LayerStack
        The layers.
    layout : Layout
        Layout of the stack, which names the layers in error messages.
    min_stimuli : int, default=1
        Minimum number of stimuli.

    Yields
    ------
    layer : array of shape (n_stimuli, n_units)
        Checked layer. The units of a nested stack are put side by side.
    """
    for index, layer in enumerate(stack.layers):
        yield check_layer(layer, layout.where(index), min_stimuli)

"""Rows of the table of bad input: how a layer is spoilt, and what the error says."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from scipy import sparse

# The layer of a network that is spoilt.
NAME = "V2"


class Row(NamedTuple):
    """A bad layer.

    Attributes
    ----------
    spoil : callable
        Makes a bad layer of a good one.
    kind : type
        Type of the error.
    found : str
        What the message says was found: scikit-learn's own phrase where it has one.
    remedy : str
        What the message says to do. Empty where scikit-learn's error says nothing.
    """

    spoil: Callable
    kind: type
    found: str
    remedy: str = ""


def with_entry(value, dtype=None):
    def spoil(layer):
        layer = layer.astype(dtype or layer.dtype)
        layer[7, 1] = value
        return layer

    return spoil


def as_tensor(layer):
    # torch has no negative strides.
    return import_module("torch").tensor(np.ascontiguousarray(layer))


def masked(layer):
    mask = np.zeros(layer.shape, bool)
    mask[3, 1] = True
    return np.ma.array(layer, mask=mask)


ROWS = {
    "NaN": Row(
        with_entry(np.nan), ValueError, "Input contains NaN", "FiniteUnitSelector"
    ),
    "infinity": Row(
        with_entry(-np.inf),
        ValueError,
        "Input contains infinity",
        "FiniteUnitSelector",
    ),
    "missing units": Row(
        lambda layer: np.where(np.arange(layer.shape[1]) < 2, np.nan, layer),
        ValueError,
        "the first in unit 0, row 0",
        "FiniteUnitSelector",
    ),
    "complex": Row(lambda layer: layer + 1j, ValueError, "Complex data not supported"),
    "strings": Row(
        lambda layer: layer.astype(str),
        ValueError,
        "dtype='numeric' is not compatible with arrays of <U",
        "Convert your data to numeric",
    ),
    "dates": Row(
        lambda layer: layer.astype("M8[s]"),
        ValueError,
        "dtype='numeric' is not compatible with arrays of datetime64",
        "Convert your data to numeric",
    ),
    "objects": Row(
        with_entry("owl", object), ValueError, "could not convert string to float"
    ),
    "masked": Row(masked, ValueError, "masked entries", "fill them"),
    "tokens": Row(
        lambda layer: np.zeros((len(layer), 7, 4)),
        ValueError,
        "Found array with dim 3, while dim <= 2 is required",
        "layer.mean(axis=1)",
    ),
    "feature maps": Row(
        lambda layer: np.zeros((len(layer), 4, 3, 3)),
        ValueError,
        "Found array with dim 4, while dim <= 2 is required",
        "layer.mean(axis=(2, 3))",
    ),
    "vectors in a list": Row(list, ValueError, "vectors of", "np.stack(vectors)"),
    "path": Row(
        lambda layer: "layer.npy", TypeError, "the path 'layer.npy'", "np.load"
    ),
    "generator": Row(
        lambda layer: (row for row in layer),
        TypeError,
        "is a generator",
        "np.stack(list(stimuli))",
    ),
    "nothing": Row(lambda layer: None, ValueError, ""),
    "too short": Row(
        lambda layer: layer[:-2],
        ValueError,
        "inconsistent numbers of samples",
    ),
    "transposed": Row(
        lambda layer: layer.T, ValueError, "inconsistent numbers of samples"
    ),
    "no unit": Row(
        lambda layer: layer[:, :0],
        ValueError,
        "0 feature(s)",
    ),
}
if find_spec("torch"):
    ROWS |= {
        "bfloat16": Row(
            lambda layer: as_tensor(layer).bfloat16(),
            TypeError,
            "numpy has no bfloat16",
            "layer.float()",
        ),
        "gradients": Row(
            lambda layer: as_tensor(layer).requires_grad_(),
            TypeError,
            "requires grad",
            "layer.detach()",
        ),
    }
# In a stack a layer may be sparse; elsewhere it may not.
OF_LAYERS = {
    "sparse": Row(sparse.csr_array, TypeError, "Sparse data was passed", "toarray"),
}
# A layer that was fitted may be constant over other stimuli.
OF_FITS = {
    "constant": Row(np.ones_like, ValueError, "constant"),
}
# Of another width than that of the fit.
OTHER_WIDTH = Row(lambda layer: layer[:, :0], ValueError, "")


def rows_of(kind, is_fit):
    """Return the rows that apply to an argument."""
    rows = dict(ROWS)
    if kind == "layer":
        rows |= OF_LAYERS
    if is_fit:
        rows |= OF_FITS
    else:
        # The number of units differs from that of the fit.
        rows["no unit"] = OTHER_WIDTH
    return rows


def message_of(error):
    """Return what a user reads of an exception, with its notes."""
    return "\n".join([str(error), *getattr(error, "__notes__", ())])


def spoil_layer(given, kind, row):
    """Return data with one bad layer, and the name of the layer."""
    if kind == "layer":
        return row.spoil(given), ""
    if kind == "network":
        return {**given, NAME: row.spoil(given[NAME])}, NAME
    name = list(given)[-1]
    return {**given, name: spoil_layer(given[name], "network", row)[0]}, NAME

"""Functions that read layers from lists, dicts, DataFrames and arrays."""

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array

from skmot._utils.array_api import as_array, is_foreign, namespace_of
from skmot._utils.sparse import as_csr
from skmot.layers.labelled import is_frame, read_rows, read_unit_names, unit_names_of
from skmot.layers.labels import check_same_stimuli
from skmot.layers.layout import layer_label
from skmot.layers.stored import StoredLayer
from skmot.layers.untrusted import check_stored, is_archive, members_of

_REDUCTIONS = (
    "Reduce it to one row per stimulus first: average or flatten feature maps over "
    "space (`layer.mean(axis=(2, 3))`, `layer.reshape(len(layer), -1)`), average or "
    "select tokens (`layer.mean(axis=1)`, `layer[:, -1]`), average repeats "
    "(`layer.mean(axis=1)`). Or take positions as stimuli and channels as units "
    "(`skmot.preprocessing.positions_as_stimuli(layer)`), and tokens as stimuli, "
    "without those of the padding (`positions_as_stimuli(layer, "
    "mask=attention_mask)`). If the first axis is the layer, pass `list(array)`."
)


class LazyLayers(Sequence):
    """Sequence of the layers of a stack, which reads a layer when it is accessed."""

    def __init__(self, stack):
        self._stack = stack

    def __len__(self):
        return self._stack.n_layers

    def __getitem__(self, key):
        if isinstance(key, slice):
            return [self._stack._layer(i) for i in range(len(self))[key]]
        return self._stack._layer(range(len(self))[key])

    def __repr__(self):
        return f"<layers of {self._stack!r}>"


class Reading(NamedTuple):
    """Layers that were read from the user's input, with their names and labels.

    Attributes
    ----------
    bases : list of array and LayerStack
        The layers.
    kind : {"list", "dict", "frame", "array", "vector"}
        Type that the layers were given as.
    names : tuple or None
        Names of the layers.
    stimuli : ndarray of shape (n_stimuli,) or None
        Labels of the stimuli.
    columns : pandas.MultiIndex or None
        Columns of a DataFrame with two column levels.
    row_numbers : ndarray of shape (n_stimuli,) or None
        Row numbers of a DataFrame whose index names no stimuli.
    unit_names : list of (ndarray or None), or None
        Names of the units of each layer.
    """

    bases: list
    kind: str
    names: tuple | None = None
    stimuli: np.ndarray | None = None
    columns: object = None
    row_numbers: np.ndarray | None = None
    unit_names: list | None = None


def read_layers(given, stack_type, allow_vector=False):
    """Read layers from any input except a stack.

    Parameters
    ----------
    given : list, dict, DataFrame or array-like
        Layers, see :class:`skmot.LayerStack`.
    stack_type : type
        The class LayerStack, for layers that have layers themselves.
    allow_vector : bool, default=False
        Whether a one-dimensional array is read as one layer of one unit, as
        scikit-learn reads a target `y`.

    Returns
    -------
    reading : Reading
        The layers, without copies.
    """
    check_no_path(given, "The layers are")
    # A `dok_array` is also a dict and a DataFrame is similar to one, so they are
    # checked first.
    refuse_sparse(given)
    if is_frame(given):
        if given.columns.nlevels > 1:
            return _read_two_level_frame(given)
        return _read_one(given, allow_vector)
    if is_archive(given):
        given = members_of(given)
    if isinstance(given, Mapping):
        layers = list(given.values())
        return _read_many(layers, "dict", stack_type, names=tuple(given))
    if isinstance(given, Sequence) and not isinstance(given, bytes):
        if len(given) == 0:
            return Reading([], "list")
        if max(_dimensions(element) for element in given) >= 2:
            return _read_many(given, "list", stack_type)
    return _read_one(given, allow_vector)


def _check_no_iterator(given, where):
    """Raise an error for a generator, which can be read once, and has no shape."""
    if isinstance(given, Iterator):
        raise TypeError(
            f"{where} is a {type(given).__name__}, not an array. If it yields layers, "
            "write `list(layers)`; if it yields the stimuli of one layer, write "
            "`np.stack(list(stimuli))`."
        )


def _check_no_vectors(given, where):
    """Raise where a sequence holds vectors: layers of one unit, or rows of a layer."""
    if not isinstance(given, Sequence) or len(given) == 0:
        return
    for part in given:
        check_no_path(part, f"A layer of {where} is")
    if all(hasattr(part, "shape") and _dimensions(part) == 1 for part in given):
        raise ValueError(
            f"Got a list of {len(given)} vectors of {given[0].shape[0]} numbers as "
            f"{where}. Layers must have the shape (n_stimuli, n_units). If each vector "
            "is a layer of one unit, write `[vector[:, np.newaxis] for vector in "
            "vectors]`; if they are the stimuli of one layer, write "
            "`np.stack(vectors)`."
        )


def _read_many(layers, kind, stack_type, names=None):
    bases, labels, numbers, unit_names = [], None, None, []
    for index, layer in enumerate(layers):
        name = layer_label(index, names)
        if _has_layers(layer):
            layer = stack_type(layer)
        if isinstance(layer, stack_type):
            base, base_labels, base_numbers = layer, layer.stimuli, layer._row_numbers
            unit_names.append(None)
        else:
            base = as_2d(layer, name)
            base_labels, base_numbers = read_rows(layer)
            unit_names.append(read_unit_names(layer))
        bases.append(base)
        if base_labels is not None:
            check_same_stimuli(labels, base_labels, "the layers before it", name)
            labels = base_labels
        if base_numbers is not None:
            if numbers is not None and not np.array_equal(numbers, base_numbers):
                raise ValueError(
                    f"{name} has other row numbers than the DataFrames before it. Put "
                    "the rows of all layers in one order and reset their indexes."
                )
            numbers = base_numbers
    return Reading(
        bases,
        kind,
        names=names,
        stimuli=labels,
        row_numbers=numbers,
        unit_names=unit_names,
    )


def _has_layers(layer):
    """Whether a layer has layers itself: dict, two-level DataFrame or nested list."""
    if issparse(layer):
        return False
    if is_frame(layer):
        return layer.columns.nlevels > 1
    if isinstance(layer, LazyLayers):
        return True
    if isinstance(layer, list | tuple) and len(layer) > 0:
        first = layer[0]
        if isinstance(first, list | tuple):
            return _has_layers(first)
        return _dimensions(first) >= 2
    return isinstance(layer, Mapping)


def _read_one(given, allow_vector):
    labels, numbers = read_rows(given)
    if allow_vector and _dimensions(given) == 1:
        check_stored(given, "the layer")
        column = _as_array(given, "the layer", ensure_2d=False)
        column = namespace_of(column).reshape(column, (-1, 1))
        return Reading([column], "vector", stimuli=labels, row_numbers=numbers)
    return Reading(
        [as_2d(given, "the layer")],
        "array",
        stimuli=labels,
        row_numbers=numbers,
        unit_names=[read_unit_names(given)],
    )


def _read_two_level_frame(frame):
    if frame.columns.nlevels != 2:
        raise ValueError(
            f"The columns of a DataFrame have {frame.columns.nlevels} levels: two are "
            "read, (layer, unit). Pass nested layers as a dict of DataFrames."
        )
    level = frame.columns.get_level_values(0)
    names = tuple(dict.fromkeys(level))
    columns = [np.flatnonzero(level == name) for name in names]
    labels, numbers = read_rows(frame)
    return Reading(
        [
            as_2d(frame.iloc[:, positions], f"layer {name!r}")
            for positions, name in zip(columns, names, strict=True)
        ],
        "frame",
        names=names,
        stimuli=labels,
        row_numbers=numbers,
        unit_names=[
            unit_names_of(frame.columns[positions].get_level_values(1))
            for positions in columns
        ],
        # The columns of a layer need not be adjacent. Reconstructions are sorted by
        # layer.
        columns=frame.columns[np.concatenate(columns)] if columns else frame.columns,
    )


def check_no_path(given, what):
    """Raise an error for the path of a file, because layers are arrays."""
    if isinstance(given, str | bytes | PathLike):
        raise TypeError(
            f"{what} the path {str(given)!r}, not an array. Open the file first: "
            f'`np.load(path, mmap_mode="r")` reads only what is needed.'
        )


def refuse_sparse(given, where=None):
    """Raise an error for a sparse array that is not a layer of several, or of a stack.

    scikit-learn passes a sparse `X` to estimators that say that they support it at any
    place. Here only layers may be sparse.
    """
    if issparse(given):
        found = "" if where is None else f" (found in {where})"
        raise TypeError(
            "Sparse data was passed, but dense data is required. A layer of a stack "
            "may be sparse, `LayerStack([X])`. Otherwise use '.toarray()' to convert "
            f"to a dense numpy array.{found}"
        )


def check_dimensions(layer, where):
    """Raise for paths, vectors in a list, and arrays of more than two dimensions."""
    check_no_path(layer, f"{where} is")
    check_stored(layer, where)
    _check_no_iterator(layer, where)
    _check_no_vectors(layer, where)
    if _dimensions(layer) > 2:
        raise ValueError(
            f"Found array with dim {_dimensions(layer)}, while dim <= 2 is required: "
            f"{where} must be (n_stimuli, n_units). {_REDUCTIONS}"
        )


def as_2d(layer, where):
    """Read one array, or raise if it is not two-dimensional.

    A sparse array becomes a `csr_array`.
    """
    check_dimensions(layer, where)
    if issparse(layer):
        if layer.dtype.kind == "c":
            # scikit-learn's error would show all entries.
            raise ValueError(f"Complex data not supported: {where} is {layer.dtype}.")
        return as_csr(_as_array(layer, where))
    if _dimensions(layer) == 2 and StoredLayer.is_stored(layer):
        return StoredLayer(layer)
    return _as_array(layer, where)


def _as_array(layer, where, ensure_2d=True):
    check_unmasked(layer, where)
    try:
        return check_array(
            as_array(layer) if is_foreign(layer) else layer,
            accept_sparse="csr",
            dtype=None,
            ensure_2d=ensure_2d,
            ensure_all_finite=False,
            ensure_min_samples=0,
            ensure_min_features=0,
        )
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error} (in {where})") from error


def check_unmasked(layer, where):
    """Raise an error for masked entries, because conversion to numpy unmasks them."""
    parts = layer if isinstance(layer, list | tuple) else [layer]
    if any(np.ma.is_masked(part) for part in parts):
        raise ValueError(
            f"{where} has masked entries: fill them or leave their stimuli out."
        )


def _dimensions(given):
    """Return the number of dimensions of an array-like, without converting it."""
    if isinstance(given, Mapping) and not issparse(given):
        return 2
    if isinstance(given, list | tuple | LazyLayers):
        return 1 + (_dimensions(given[0]) if len(given) else 0)
    if hasattr(given, "ndim"):
        return given.ndim
    if hasattr(given, "shape"):
        return len(given.shape)
    if hasattr(given, "__array__"):
        return np.ndim(np.asarray(given))
    return 0

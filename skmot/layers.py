"""What the data is: layers recorded over the same stimuli, indexed as one array."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array

from skmot._array_api import (
    NUMPY,
    as_array,
    device_of,
    home_of,
    is_foreign,
    namespace_of,
    select,
)
from skmot._files import FileReference
from skmot._labels import as_labels, check_same_stimuli, list_labels
from skmot._rows import as_index, check_rows, compose_rows

_REDUCTIONS = (
    "Reduce it to one row a stimulus first: average or flatten feature maps over "
    "space (`layer.mean(axis=(2, 3))`, `layer.reshape(len(layer), -1)`), average or "
    "select tokens (`layer.mean(axis=1)`, `layer[:, -1]`), average repeats "
    "(`layer.mean(axis=1)`)."
)


class LayerStack:
    """Layers of one network over the same stimuli, seen as one two-dimensional array.

    A stack looks like an array of shape (n_stimuli, n_units of all layers), so that
    everything in scikit-learn that splits, shuffles or counts samples works on it,
    while the layers stay apart. Indexing selects stimuli and is lazy: the layers are
    kept as they are, and one layer is made at a time when it is asked for.

    Parameters
    ----------
    layers : list, dict, DataFrame, array-like or LayerStack
        A list of layers, each array-like of shape (n_stimuli, n_units); a dict of
        them, whose keys are the names; a DataFrame with two-level columns (layer,
        unit); one array (a single layer). A layer may itself be a stack (or a list or
        dict of layers), so that checkpoints, runs and subjects nest.
    names : sequence of hashable, default=None
        One name a layer. None takes them from a dict, a DataFrame or a stack and
        otherwise leaves the layers unnamed.
    stimuli : array-like of shape (n_stimuli,), default=None
        One label a stimulus, kept through indexing. Where both sides of a comparison
        have labels they must agree, in the same order. None takes them from the index
        of DataFrames (unless it is the default one, 0, 1, 2, ...) or from the stacks
        given as layers.

    Attributes
    ----------
    layers : sequence of array of shape (n_stimuli, n_units) or LayerStack
        The layers, each made when it is asked for.
    names : tuple or None
        The layers' names.
    n_layers : int
        The number of layers.
    stimuli : ndarray of shape (n_stimuli,) or None
        The stimuli's labels.
    shape : tuple of int
        Number of stimuli and total number of units.

    Raises
    ------
    ValueError
        If there is no layer, a layer is not two-dimensional, or the layers differ in
        their stimuli, or in their library or device.
    TypeError
        If a layer is sparse, or a stack is indexed by anything but stimuli.

    Notes
    -----
    A stack made under scikit-learn's `array_api_dispatch
    <https://scikit-learn.org/stable/modules/array_api.html>`__ keeps arrays of other
    libraries as they are and where they are. Otherwise they become numpy's.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import LayerStack
    >>> rng = np.random.default_rng(0)
    >>> v1, v2 = rng.normal(size=(6, 4)), rng.normal(size=(6, 3))
    >>> stack = LayerStack({"V1": v1, "V2": v2})
    >>> stack
    LayerStack(6 stimuli, 2 layers: V1 (4 units), V2 (3 units))
    >>> stack.shape
    (6, 7)
    >>> stack[[0, 2]].layer("V2").shape
    (2, 3)
    """

    # A stack has a length and is indexed by stimuli, so Python would iterate it
    # stimulus by stimulus; what a reader of `for layer in stack` means is the layers.
    __iter__ = None

    def __init__(self, layers, names=None, stimuli=None):
        if isinstance(layers, LayerStack):
            self.__dict__.update(layers.__dict__)
        else:
            self._set_layers(_read(layers))
        if names is not None:
            self._names = _check_names(names, self._bases)
        if stimuli is not None:
            self._labels = as_labels(stimuli)
            if len(self._labels) != len(self):
                raise ValueError(
                    f"`stimuli` has {len(self._labels)} labels, but the layers have "
                    f"{len(self)} stimuli."
                )

    def _set_layers(self, given):
        if len(given.bases) == 0:
            raise ValueError("A LayerStack needs at least one layer, got none.")
        self._names = _check_names(given.names, given.bases)
        _check_one_home(given.bases, self._names)
        self._bases = tuple(given.bases)
        self._rows = range(_common_length(given.bases, self._names))
        self._labels = given.stimuli

    # -- what a reader of layers asks for ------------------------------------------

    @property
    def layers(self):
        return _LazyLayers(self)

    @property
    def names(self):
        return self._names

    @property
    def n_layers(self):
        return len(self._bases)

    @property
    def stimuli(self):
        return self._labels

    def layer(self, name):
        """Return the layer of that name.

        Parameters
        ----------
        name : hashable
            One of :attr:`names`.

        Returns
        -------
        layer : ndarray of shape (n_stimuli, n_units) or LayerStack
            The layer.

        Raises
        ------
        KeyError
            If no layer has that name.
        """
        if self._names is None:
            raise KeyError(
                f"{name!r}: the layers of this stack have no names; index `.layers`."
            )
        if name not in self._names:
            raise KeyError(f"{name!r}: the layers are {list(self._names)}.")
        return self.layers[self._names.index(name)]

    def with_stimuli(self, stimuli):
        """Return the same layers with other labels, or with none.

        Parameters
        ----------
        stimuli : array-like of shape (n_stimuli,) or None
            The labels; None leaves the stack without labels, so that it can be paired
            with any stack of as many stimuli (a shuffled control, say).

        Returns
        -------
        stack : LayerStack
            A stack that shares this one's layers.

        Raises
        ------
        ValueError
            If there are not as many labels as stimuli.
        """
        stack = LayerStack(self, stimuli=stimuli)
        if stimuli is None:
            stack._labels = None
        return stack

    @property
    def widths(self):
        """Number of units of each layer, of nested stacks in all."""
        return tuple(base.shape[1] for base in self._bases)

    @property
    def structure(self):
        """Names and widths; in place of a nested stack's width, its structure."""
        return self._names, tuple(
            base.structure if isinstance(base, LayerStack) else base.shape[1]
            for base in self._bases
        )

    # -- what scikit-learn and numpy ask for ---------------------------------------

    @property
    def shape(self):
        return (len(self._rows), sum(self.widths))

    @property
    def ndim(self):
        return 2

    @property
    def size(self):
        return math.prod(self.shape)

    @property
    def dtype(self):
        xp = namespace_of(self._sample)
        return xp.result_type(*(base.dtype for base in self._bases))

    @property
    def device(self):
        # Of the array API standard; asked for only under `array_api_dispatch=True`.
        return device_of(self._sample)

    @property
    def _sample(self):
        """An array whose library and device are those of all layers."""
        base = self._bases[0]
        return base._sample if isinstance(base, LayerStack) else base

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, key):
        rows = check_rows(key, len(self))
        stack = LayerStack.__new__(LayerStack)
        stack._bases = self._bases
        stack._names = self._names
        stack._rows = compose_rows(self._rows, rows)
        stack._labels = None if self._labels is None else self._labels[as_index(rows)]
        return stack

    def __array__(self, dtype=None, copy=None):
        if copy is False:
            raise ValueError(
                "A LayerStack keeps its layers apart: side by side they are a copy."
            )
        # Casting as `np.asarray` does: from numeric objects to numbers, too.
        return np.concatenate(
            [np.asarray(layer) for layer in self.layers],
            axis=1,
            dtype=dtype,
            casting="unsafe",
        )

    def __array_function__(self, function, types, args, kwargs):
        if function in (np.concatenate, np.take):
            stacked = _STACKED[function](*args, **kwargs)
            if stacked is not NotImplemented:
                return stacked
        # Everything else sees the layers side by side, as `np.asarray` gives them.
        return function(*_as_arrays(args), **_as_arrays(kwargs))

    def __array_namespace__(self, *, api_version=None):
        # numpy's own: its `take`, `concat` and `asarray` come back here through
        # `__array_function__`, so rows are taken layer by layer under dispatch too.
        # Other libraries have no such way back.
        if is_foreign(self._sample):
            return _stack_namespace(namespace_of(self._sample))
        return NUMPY

    def __repr__(self):
        names = self._names or range(self.n_layers)
        described = ", ".join(
            f"{name} ({width} units)"
            for name, width in zip(names, self.widths, strict=True)
        )
        plural = "" if self.n_layers == 1 else "s"
        return (
            f"LayerStack({len(self)} stimuli, {self.n_layers} layer{plural}: "
            f"{described})"
        )

    # -- pickling: files travel as references --------------------------------------

    def __getstate__(self):
        state = self.__dict__.copy()
        state["_bases"] = tuple(FileReference.of(base) for base in self._bases)
        return state

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._bases = tuple(
            base.open() if isinstance(base, FileReference) else base
            for base in state["_bases"]
        )

    def _layer(self, index):
        layer = self._bases[index]
        if not (isinstance(self._rows, range) and self._rows == range(layer.shape[0])):
            layer = _take_rows(layer, self._rows)
        if isinstance(layer, LayerStack):
            # A nested stack follows when this one is given other labels, or none.
            layer = LayerStack(layer)
            layer._labels = self._labels
        return layer


def home_of_layers(stack):
    """Return an empty array where the layers of a stack are."""
    return home_of(stack._sample)


def side_by_side(stack):
    """Return all units of a stack, at any depth, as one array where its layers are."""
    if not is_foreign(stack._sample):
        return np.asarray(stack)
    parts = [
        side_by_side(layer) if isinstance(layer, LayerStack) else layer
        for layer in stack.layers
    ]
    return namespace_of(*parts).concat(parts, axis=1)


def _take_rows(layer, rows):
    """Return some rows of a layer, as a view where they are evenly spaced."""
    index = as_index(rows)
    if not is_foreign(layer) or isinstance(layer, LayerStack):
        return layer[index]
    if isinstance(index, slice) and (index.step is None or index.step > 0):
        return layer[index, :]
    # Not every library steps backwards.
    return select(layer, np.asarray(rows), axis=0)


class _LazyLayers(Sequence):
    """The layers of a stack, each made when it is asked for."""

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


# -- reading layers ----------------------------------------------------------------


class _Given:
    """Layers as they were given: what they are, what they came as, what came along."""

    def __init__(self, bases, kind, names=None, stimuli=None, columns=None):
        self.bases = bases
        self.kind = kind
        self.names = names
        self.stimuli = stimuli
        self.columns = columns


def as_stack(given, allow_vector=False):
    """Read a stack from anything skmot takes.

    Parameters
    ----------
    given : list, dict, DataFrame, array-like or LayerStack
        See :class:`LayerStack`.
    allow_vector : bool, default=False
        Whether one dimension is taken as one layer of one unit, as scikit-learn takes
        a target `y`.

    Returns
    -------
    stack : LayerStack
        The layers.
    kind : {"stack", "list", "dict", "frame", "array", "vector"}
        What they came as, for `restore_layers`.
    columns : pandas.MultiIndex or None
        The columns of a DataFrame with two levels.
    """
    if isinstance(given, LayerStack):
        return given, "stack", None
    read = _read(given, allow_vector)
    stack = LayerStack.__new__(LayerStack)
    stack._set_layers(read)
    return stack, read.kind, read.columns


def _read(given, allow_vector=False):
    # A `dok_array` is a dict, and a DataFrame a mapping of columns: their turn comes
    # first.
    if issparse(given):
        return _one_layer(given, allow_vector)
    if _is_frame(given):
        if given.columns.nlevels > 1:
            return _read_two_level_frame(given)
        return _one_layer(given, allow_vector)
    if isinstance(given, Mapping):
        return _many_layers(list(given.values()), "dict", names=tuple(given))
    if isinstance(given, list | tuple | _LazyLayers):
        if len(given) == 0:
            return _Given([], "list")
        if max(_dimensions(element) for element in given) >= 2:
            return _many_layers(given, "list")
    return _one_layer(given, allow_vector)


def restore_layers(layers, like, names, stimuli, columns=None):
    """Give layers back as the kind they were read from.

    Parameters
    ----------
    layers : list of array and LayerStack
        The layers.
    like : str
        The kind, as `as_stack` names it.
    names : tuple or None
        The layers' names.
    stimuli : ndarray or None
        The labels of the rows.
    columns : pandas.MultiIndex, default=None
        The columns, where `like` is "frame".

    Returns
    -------
    given : LayerStack, list, dict, DataFrame or ndarray
        The layers.
    """
    if like == "vector":
        return layers[0][:, 0]
    if like == "array":
        return layers[0]
    if like == "list":
        return list(layers)
    if like == "dict":
        return dict(zip(names, layers, strict=True))
    if like == "frame":
        import pandas as pd

        return pd.DataFrame(
            np.concatenate(layers, axis=1), index=stimuli, columns=columns
        )
    return LayerStack(layers, names=names, stimuli=stimuli)


def _many_layers(layers, kind, names=None):
    bases, labels = [], None
    for index, layer in enumerate(layers):
        name = layer_label(index, names)
        base, base_labels = _read_layer(layer, name)
        bases.append(base)
        if base_labels is not None:
            check_same_stimuli(labels, base_labels, "the layers before it", name)
            labels = base_labels
    return _Given(bases, kind, names=names, stimuli=labels)


def _read_layer(layer, where):
    """Return one layer, an array or a stack, and its stimuli's labels or None."""
    if _is_network(layer):
        layer = LayerStack(layer)
    if isinstance(layer, LayerStack):
        return layer, layer.stimuli
    return _as_2d(layer, where), _frame_labels(layer)


def _is_network(layer):
    """Whether a layer holds layers of its own: a dict, a frame of two levels, lists."""
    if issparse(layer) or isinstance(layer, LayerStack):
        return False
    if _is_frame(layer):
        return layer.columns.nlevels > 1
    if isinstance(layer, _LazyLayers):
        return True
    if isinstance(layer, list | tuple) and len(layer) > 0:
        first = layer[0]
        if isinstance(first, list | tuple):
            return _is_network(first)
        return _dimensions(first) >= 2
    return isinstance(layer, Mapping)


def _one_layer(given, allow_vector):
    if allow_vector and _dimensions(given) == 1:
        column = _as_array(given, "the layer", ensure_2d=False)
        column = namespace_of(column).reshape(column, (-1, 1))
        return _Given([column], "vector", stimuli=_frame_labels(given))
    return _Given([_as_2d(given, "the layer")], "array", stimuli=_frame_labels(given))


def _read_two_level_frame(frame):
    if frame.columns.nlevels != 2:
        raise ValueError(
            f"The columns of a DataFrame have {frame.columns.nlevels} levels: two are "
            "read, (layer, unit). Give deeper ones as a dict of DataFrames."
        )
    level = frame.columns.get_level_values(0)
    names = tuple(dict.fromkeys(level))
    columns = [np.flatnonzero(level == name) for name in names]
    return _Given(
        [
            _as_2d(frame.iloc[:, own], f"layer {name!r}")
            for own, name in zip(columns, names, strict=True)
        ],
        "frame",
        names=names,
        stimuli=_frame_labels(frame),
        # A layer's columns may lie apart: what is given back is in the layers' order.
        columns=frame.columns[np.concatenate(columns)] if columns else frame.columns,
    )


def _as_2d(layer, where):
    if _dimensions(layer) > 2:
        raise ValueError(
            f"Found array with dim {_dimensions(layer)}, while dim <= 2 is required: "
            f"{where} must be (n_stimuli, n_units). {_REDUCTIONS}"
        )
    return _as_array(layer, where)


def _as_array(layer, where, ensure_2d=True):
    check_unmasked(layer, where)
    try:
        return check_array(
            as_array(layer) if is_foreign(layer) else layer,
            dtype=None,
            ensure_2d=ensure_2d,
            ensure_all_finite=False,
            ensure_min_samples=0,
            ensure_min_features=0,
        )
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error} (in {where})") from error


def _dimensions(given):
    """Count the dimensions of anything array-like, without converting it."""
    if isinstance(given, Mapping) and not issparse(given):
        return 2
    if isinstance(given, list | tuple | _LazyLayers):
        return 1 + (_dimensions(given[0]) if len(given) else 0)
    if hasattr(given, "ndim"):
        return given.ndim
    if hasattr(given, "shape"):
        return len(given.shape)
    if hasattr(given, "__array__"):
        return np.ndim(np.asarray(given))
    return 0


def _is_frame(given):
    return hasattr(given, "columns") and hasattr(given, "iloc")


def _frame_labels(given):
    """Labels from a pandas index, unless it is the default 0, 1, 2, ..."""
    if not hasattr(given, "iloc"):
        return None
    index = given.index
    if type(index).__name__ == "RangeIndex" and (index.start, index.step) == (0, 1):
        return None
    return as_labels(index)


def align_stimuli(*stacks):
    """Keep the stimuli that all stacks have, in the order of the first.

    Parameters
    ----------
    *stacks : LayerStack, or anything that reads as one
        At least one, each with labels (`stimuli`).

    Returns
    -------
    stacks : list of LayerStack
        The same layers, each with the common stimuli only, in the same order.

    Raises
    ------
    ValueError
        If a stack has no labels, has a label twice, or no label is common to all.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import LayerStack, align_stimuli
    >>> a = LayerStack([np.eye(3)], stimuli=["cat", "dog", "owl"])
    >>> b = LayerStack([np.eye(3)], stimuli=["owl", "eel", "cat"])
    >>> a, b = align_stimuli(a, b)
    >>> a.stimuli.tolist(), b.stimuli.tolist()
    (['cat', 'owl'], ['cat', 'owl'])
    """
    stacks = [
        stack if isinstance(stack, LayerStack) else LayerStack(stack)
        for stack in stacks
    ]
    if not stacks:
        raise ValueError("align_stimuli needs at least one stack, got none.")
    positions = []
    for number, stack in enumerate(stacks):
        if stack.stimuli is None:
            raise ValueError(
                f"Stack {number} has no stimulus labels: give them with "
                "`LayerStack(layers, stimuli=labels)`."
            )
        labels = list_labels(stack.stimuli)
        position = {label: row for row, label in enumerate(labels)}
        if len(position) != len(labels):
            repeated = next(
                label for row, label in enumerate(labels) if position[label] != row
            )
            raise ValueError(
                f"Stack {number} has the stimulus {repeated!r} more than once: average "
                "or select its repeats first."
            )
        positions.append(position)
    common = [
        label
        for label in positions[0]
        if all(label in other for other in positions[1:])
    ]
    if not common:
        raise ValueError("The stacks have no stimulus in common.")
    return [
        stack[np.array([position[label] for label in common], dtype=np.intp)]
        for stack, position in zip(stacks, positions, strict=True)
    ]


# -- numpy functions that keep the layers --------------------------------------------


def _concatenate(arrays, axis=0, out=None, **kwargs):
    """`np.concatenate` along the stimuli: the layers stay apart."""
    if axis not in (0, -2) or out is not None or not _only_stacks(arrays):
        return NotImplemented
    first = arrays[0]
    for other in arrays[1:]:
        if other.structure != first.structure:
            raise ValueError(
                f"Stacks of other layers cannot be joined: {first!r} and {other!r}."
            )
    layers = [
        _join([stack.layers[index] for stack in arrays], **kwargs)
        for index in range(first.n_layers)
    ]
    labels = None
    if all(stack.stimuli is not None for stack in arrays):
        labels = np.concatenate([stack.stimuli for stack in arrays])
    return LayerStack(layers, names=first.names, stimuli=labels)


def _join(parts, **kwargs):
    first = parts[0]
    if is_foreign(first._sample if isinstance(first, LayerStack) else first):
        return namespace_of(first).concat(parts, axis=0)
    return np.concatenate(parts, **kwargs)


def _take(stack, indices, axis=None, out=None, mode="raise"):
    """`np.take` along the stimuli, which the array API knows in place of indexing."""
    if not isinstance(stack, LayerStack) or axis not in (0, -2) or out is not None:
        return NotImplemented
    if mode != "raise":
        return NotImplemented
    return stack[indices]


_STACKED = {np.concatenate: _concatenate, np.take: _take}


class _StackNamespace:
    """The namespace of another library, of which some functions keep the layers."""

    def __init__(self, xp):
        self._xp = xp

    def __getattr__(self, name):
        return getattr(self._xp, name)

    def take(self, array, indices, /, *, axis=None):
        stacked = _take(array, indices, axis=axis)
        if stacked is not NotImplemented:
            return stacked
        return self._xp.take(array, indices, axis=axis)

    def concat(self, arrays, /, *, axis=0):
        stacked = _concatenate(arrays, axis=axis)
        if stacked is not NotImplemented:
            return stacked
        return self._xp.concat(arrays, axis=axis)


@lru_cache
def _stack_namespace(xp):
    """Return the same object each time: namespaces are compared by identity."""
    return _StackNamespace(xp)


def _only_stacks(arrays):
    return len(arrays) > 0 and all(isinstance(array, LayerStack) for array in arrays)


def _as_arrays(value):
    if isinstance(value, LayerStack):
        return np.asarray(value)
    if isinstance(value, list | tuple):
        return type(value)(_as_arrays(element) for element in value)
    if isinstance(value, dict):
        return {key: _as_arrays(element) for key, element in value.items()}
    return value


# -- checks ------------------------------------------------------------------------


def layer_label(index, names):
    """Name a layer in a message: by its name, else by its number."""
    return f"layer {index}" if names is None else f"layer {names[index]!r}"


def check_unmasked(layer, where):
    """Raise where numpy would show what a mask hides."""
    if np.ma.is_masked(layer):
        raise ValueError(
            f"{where} has masked entries: fill them or leave their stimuli out."
        )


def _check_names(names, bases):
    if names is None:
        return None
    names = tuple(names)
    if len(names) != len(bases):
        raise ValueError(f"`names` has {len(names)} names for {len(bases)} layers.")
    if len(set(names)) != len(names):
        raise ValueError(f"`names` must differ from each other; got {list(names)}.")
    return names


def _check_one_home(bases, names):
    """Raise unless all layers are of one library and on one device."""
    homes = [
        (namespace_of(sample).__name__, device_of(sample))
        for sample in (
            base._sample if isinstance(base, LayerStack) else base for base in bases
        )
    ]
    for index, home in enumerate(homes):
        if home != homes[0]:
            found = [f"{name} on {device}" for name, device in (homes[0], home)]
            raise ValueError(
                f"{layer_label(0, names)} is of {found[0]} and "
                f"{layer_label(index, names)} of {found[1]}: all layers of a network "
                "must be arrays of one library, on one device. Move them there first."
            )


def _common_length(bases, names):
    lengths = [base.shape[0] for base in bases]
    for index, length in enumerate(lengths):
        if length != lengths[0]:
            raise ValueError(
                "Found input variables with inconsistent numbers of samples: "
                f"{layer_label(0, names)} has {lengths[0]} stimuli and "
                f"{layer_label(index, names)} has {length}. All layers of a network "
                "must be recorded over the same stimuli."
            )
    return lengths[0]

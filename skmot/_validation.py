"""Checks of what users give: one layer, two arrays, two networks."""

import warnings
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from skmot._array_api import (
    as_array,
    check_float64,
    has_same_home,
    is_foreign,
    keeps,
    move_to_home_of,
    read_dtypes,
)
from skmot._labels import check_same_stimuli
from skmot.exceptions import DeadUnitWarning
from skmot.layers import (
    LayerStack,
    as_stack,
    check_unmasked,
    home_of_layers,
    layer_label,
    restore_layers,
    side_by_side,
)

# numpy's letters for strings, bytes, structures, dates and spans of time.
_NO_NUMBERS = tuple("USVMm")


def check_layer(layer, where, min_stimuli=1):
    """Return a layer as a finite float32 or float64 array of two dimensions.

    Parameters
    ----------
    layer : array-like of shape (n_stimuli, n_units) or LayerStack
        One layer, of a stack all units side by side; never changed. Arrays of other
        libraries than numpy become numpy's, but under scikit-learn's
        `array_api_dispatch`.
    where : str
        What it is called in a message: the argument, and the layer's name.
    min_stimuli : int, default=1
        How many rows it must have.

    Returns
    -------
    layer : array of shape (n_stimuli, n_units)
        float32 for float32 and float16 (and bfloat16), else float64.

    Raises
    ------
    ValueError, TypeError
        As `sklearn.utils.check_array`, with `where` in the message.
    """
    check_unmasked(layer, where)
    try:
        if isinstance(layer, LayerStack):
            layer = side_by_side(layer)
        if isinstance(layer, list | tuple) or is_foreign(layer):
            layer = as_array(layer)
        _check_numeric(getattr(layer, "dtype", None))
        if keeps(layer):
            check_float64(layer)
        return check_array(
            layer, dtype=read_dtypes(layer), ensure_min_samples=min_stimuli
        )
    except (TypeError, ValueError, OverflowError) as error:
        # Subclasses may not be made from a message; an integer beyond float64 is none.
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{error} (found in {where})") from error


def _check_numeric(dtype):
    """Raise where numpy would turn what is no number into numbers."""
    if getattr(dtype, "kind", None) in _NO_NUMBERS:
        raise ValueError(
            f"dtype='numeric' is not compatible with arrays of {dtype}. Convert your "
            "data to numeric values explicitly instead."
        )


def check_pair(X, Y, names=("X", "Y")):
    """Return two populations over the same stimuli as finite float arrays.

    Parameters
    ----------
    X, Y : array-like of shape (n_stimuli, n_units)
        The populations.
    names : tuple of str
        What they are called in a message.

    Returns
    -------
    X, Y : array
        The populations, both where X is.

    Raises
    ------
    ValueError, TypeError
        If either is not an array of numbers with two rows or more, or the numbers of
        rows differ.
    """
    X, Y = (
        check_layer(layer, name, min_stimuli=2)
        for layer, name in zip((X, Y), names, strict=True)
    )
    check_same_length(X, Y, *names)
    return X, move_to_home_of(X, Y)


def check_same_length(first, second, first_where, second_where):
    """Raise unless two sides have as many stimuli."""
    lengths = first.shape[0], second.shape[0]
    if lengths[0] != lengths[1]:
        raise ValueError(
            "Found input variables with inconsistent numbers of samples: "
            f"{first_where} has {lengths[0]} stimuli and {second_where} has "
            f"{lengths[1]}. Both must be recorded over the same stimuli."
        )


@dataclass(frozen=True)
class Layout:
    """What one side of a fit looked like: what later calls must look like, and get.

    Attributes
    ----------
    argument : {"X", "y"}
        The side.
    kind : str
        What it came as, see :func:`skmot.layers.as_stack`.
    widths : tuple of int
        Units of each layer.
    names : tuple or None
        The layers' names.
    columns : pandas.MultiIndex or None
        Of a DataFrame with two levels.
    structure : tuple or None
        Names and widths at every depth, see :attr:`skmot.LayerStack.structure`; None
        where a level above has checked them.
    """

    argument: str
    kind: str
    widths: tuple
    names: tuple | None
    columns: object = None
    structure: tuple | None = None

    @property
    def is_bare(self):
        return self.kind in ("array", "vector")

    @property
    def boundaries(self):
        """Slices of each layer's units among all units side by side."""
        ends = np.cumsum((0, *self.widths))
        return [slice(*pair) for pair in pairwise(ends)]

    def where(self, index):
        """Name a layer in a message."""
        if self.is_bare:
            return self.argument
        return f"{self.argument}, {layer_label(index, self.names)}"

    def restore(self, layers, stimuli):
        """Give layers of this side back as the kind it was fitted to."""
        return restore_layers(layers, self.kind, self.names, stimuli, self.columns)

    def check(self, stack, estimator):
        """Raise unless a stack has the layers that were fitted."""
        fitted, given = sum(self.widths), sum(stack.widths)
        if stack.widths != self.widths:
            raise ValueError(
                f"{self.argument} has {given} features, but "
                f"{type(estimator).__name__} is expecting {fitted} features as input: "
                f"it was fitted to {len(self.widths)} layer(s) of "
                f"{list(self.widths)} units and got {stack.n_layers} of "
                f"{list(stack.widths)}."
            )
        if None not in (stack.names, self.names) and stack.names != self.names:
            raise ValueError(
                f"{self.argument} has the layers {list(stack.names)}, but "
                f"{type(estimator).__name__} was fitted to {list(self.names)}, in that "
                "order."
            )
        if self.structure is not None:
            _check_nested(self.structure, stack.structure, self.argument, estimator)


def _check_nested(fitted, given, where, estimator):
    """Raise unless stacks within a stack have the layers that were fitted."""
    names, parts = fitted
    for index, (part, found) in enumerate(zip(parts, given[1], strict=True)):
        here = f"{where}, {layer_label(index, names)}"
        if not _same_layers(part, found):
            raise ValueError(
                f"{here} has {_describe(found)}, but {type(estimator).__name__} was "
                f"fitted to {_describe(part)}, in that order."
            )
        if isinstance(part, tuple):
            _check_nested(part, found, here, estimator)


def _same_layers(first, second):
    """Whether two structures agree at their top; unnamed layers agree with any."""
    if not (isinstance(first, tuple) and isinstance(second, tuple)):
        return first == second
    names = first[0], second[0]
    return len(first[1]) == len(second[1]) and (None in names or names[0] == names[1])


def _describe(structure):
    if not isinstance(structure, tuple):
        return f"{structure} units in one array"
    names, parts = structure
    layers = "layers" if names is None else f"layers {list(names)}"
    return f"{len(parts)} {layers}"


def read_side(given, argument):
    """Read one side of a fit.

    Returns
    -------
    stack : LayerStack
        The layers.
    layout : Layout
        What they look like.
    """
    try:
        stack, kind, columns = as_stack(given, allow_vector=argument == "y")
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error} (found in {argument})") from error
    layout = Layout(argument, kind, stack.widths, stack.names, columns, stack.structure)
    home = home_of_layers(stack)
    if is_foreign(home) and not keeps(home):
        # A stack made under array API dispatch, and used without.
        stack = move_stack(stack, np.empty(0), layout)
    return stack, layout


def move_stack(stack, home, layout):
    """Return a side with its layers where another is, itself if they are there.

    Parameters
    ----------
    stack : LayerStack
        The side.
    home : array
        Where to.
    layout : Layout
        What the side looks like; names it in messages.
    """
    if has_same_home(home_of_layers(stack), home):
        return stack
    return _move_layers(stack, home, layout.where)


def _move_layers(stack, home, where):
    layers = [
        _move_layers(layer, home, _within(where(index), layer.names))
        if isinstance(layer, LayerStack)
        else move_to_home_of(home, check_layer(layer, where(index)))
        for index, layer in enumerate(stack.layers)
    ]
    return LayerStack(layers, names=stack.names, stimuli=stack.stimuli)


def _within(where, names):
    return lambda index: f"{where}, {layer_label(index, names)}"


def check_fit_pair(estimator, X, y):
    """Read both sides of a fit and check that they belong together.

    Sets the estimator's `n_features_in_` (and `feature_names_in_`).

    Parameters
    ----------
    estimator : estimator
        What is being fitted.
    X, y : anything a LayerStack can be read from
        Source and target.

    Returns
    -------
    source, target : LayerStack
        Layers as given, both where the source is: numbers are checked layer by layer.
    source_layout, target_layout : Layout
        What they look like.
    """
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but "
            "the target y is None: `fit(source_layers, target_layers)`."
        )
    source, source_layout = read_side(X, "X")
    target, target_layout = read_side(y, "y")
    check_same_length(source, target, "X", "y")
    check_same_stimuli(source.stimuli, target.stimuli, "X", "y")
    for bare, other in (
        (source_layout, target_layout),
        (target_layout, source_layout),
    ):
        if bare.is_bare and len(other.widths) > 1:
            raise ValueError(
                f"{other.argument} has {len(other.widths)} layers and {bare.argument} "
                "is one bare array. If it is one layer, say so with "
                f"`LayerStack([{bare.argument}])`; if its layers were put side by side "
                "on the way (a transformer without `LayerwiseTransformer` does that), "
                "keep them apart."
            )
    validate_data(
        estimator, seen_by_sklearn(X, source, source_layout), skip_check_array=True
    )
    target = move_stack(target, home_of_layers(source), target_layout)
    return source, target, source_layout, target_layout


def check_later_side(estimator, given, layout):
    """Read a side given to a fitted estimator and compare it with the fit's.

    Returns
    -------
    stack : LayerStack
        Its layers as given.
    found : Layout
        What they look like; layers are as fitted, kind and names may differ.
    """
    stack, found = read_side(given, layout.argument)
    layout.check(stack, estimator)
    if layout.argument == "X":
        validate_data(
            estimator,
            seen_by_sklearn(given, stack, found),
            skip_check_array=True,
            reset=False,
        )
    return stack, found


def seen_by_sklearn(given, stack, layout):
    """Return what scikit-learn reads feature names and numbers from."""
    return given if layout.is_bare and hasattr(given, "columns") else stack


def checked_layers(stack, layout, min_stimuli=1):
    """Make the layers of a stack one at a time, each checked.

    Yields
    ------
    layer : ndarray of shape (n_stimuli, n_units)
        The layer; where it is a stack itself, all its units side by side.
    """
    for index, layer in enumerate(stack.layers):
        yield check_layer(layer, layout.where(index), min_stimuli)


def warn_about_dead_units(dead_units, where, stacklevel):
    """Warn once about constant units, whatever their number.

    Parameters
    ----------
    dead_units : list
        Of each side, the constant units: an array of indices or nested lists of them.
    where : list of str
        What the sides are called.
    stacklevel : int
        As `warnings.warn` takes it, counted from here.
    """
    counted = [
        f"{_count(dead)} unit(s) of {side}"
        for dead, side in zip(dead_units, where, strict=True)
        if _count(dead) > 0
    ]
    if counted:
        warnings.warn(
            f"{' and '.join(counted)} are constant over the training stimuli: they "
            "have no tuning curve, take no part in the matching, and are predicted as "
            "their constant. Estimators list them in `dead_source_units_` and "
            "`dead_target_units_`.",
            DeadUnitWarning,
            stacklevel=stacklevel,
        )


def _count(dead):
    if isinstance(dead, list):
        return sum(_count(part) for part in dead)
    return dead.shape[0]

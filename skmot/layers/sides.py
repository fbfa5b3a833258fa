"""Functions that read the two sides of a comparison and check them."""

import warnings
from dataclasses import replace

import numpy as np
from sklearn.utils.validation import validate_data

from skmot._utils.array_api import (
    is_dispatched,
    is_foreign,
    move_to_device_of,
    on_same_device,
)
from skmot._utils.warnings import stacklevel_of_caller
from skmot.exceptions import RowNumberWarning
from skmot.layers.checks import check_layer, check_same_length
from skmot.layers.labels import check_same_stimuli, warn_about_row_numbers
from skmot.layers.layout import Layout
from skmot.layers.reading import read_layers
from skmot.layers.stack import LayerStack, device_of_layers


def as_stack(given, allow_vector=False):
    """Convert any supported input to a stack.

    Parameters
    ----------
    given : list, dict, DataFrame, array-like or LayerStack
        Layers, see :class:`LayerStack`.
    allow_vector : bool, default=False
        Whether a one-dimensional array is read as one layer of one unit, as
        scikit-learn reads a target `y`.

    Returns
    -------
    stack : LayerStack
        The layers.
    layout : Layout
        Layout of the layers.
    """
    if isinstance(given, LayerStack):
        return given, Layout("stack", given.structure, unit_names=given.unit_names)
    reading = read_layers(given, LayerStack, allow_vector)
    stack = LayerStack._of(reading)
    layout = Layout(
        reading.kind, stack.structure, reading.columns, unit_names=stack.unit_names
    )
    return stack, layout


def read_side(given, argument, allow_vector=None):
    """Read one side of a comparison.

    Parameters
    ----------
    given : list, dict, DataFrame, array-like or LayerStack
        Layers, see :class:`LayerStack`.
    argument : str
        Name of the side in error messages.
    allow_vector : bool, default=None
        Whether a one-dimensional array is read as one layer of one unit. None means
        that this is allowed if `argument` is "y".

    Returns
    -------
    stack : LayerStack
        The layers.
    layout : Layout
        Layout of the layers.
    """
    if allow_vector is None:
        allow_vector = argument == "y"
    try:
        stack, layout = as_stack(given, allow_vector)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error} (found in {argument})") from error
    layout = replace(layout, argument=argument)
    reference = device_of_layers(stack)
    if is_foreign(reference) and not is_dispatched(reference):
        # The stack was created with array API dispatch, which is not enabled now.
        stack = move_stack(stack, np.empty(0), layout)
    return stack, layout


def move_stack(stack, reference, layout):
    """Move the layers of a side to the namespace and device of an array.

    Parameters
    ----------
    stack : LayerStack
        Layers of the side.
    reference : array
        Array whose namespace and device are used.
    layout : Layout
        Layout of the side, which names the layers in error messages.

    Returns
    -------
    stack : LayerStack
        The moved layers, or the same stack if no move is necessary.
    """
    if on_same_device(device_of_layers(stack), reference):
        return stack
    where = [leaf.where for leaf in layout.leaves(stack)]
    return stack.map(
        lambda layer, where: move_to_device_of(reference, check_layer(layer, where)),
        where,
    )


def read_pair(X, y):
    """Read both sides of a comparison and check that they have the same stimuli.

    Parameters
    ----------
    X, y : list, dict, DataFrame, array-like or LayerStack
        Source and target layers, see :class:`LayerStack`.

    Returns
    -------
    source, target : LayerStack
        Source and target layers.
    source_layout, target_layout : Layout
        Layouts of the two sides.
    """
    source, source_layout = read_side(X, "X")
    target, target_layout = read_side(y, "y")
    check_same_length(source, target, "X", "y")
    check_same_stimuli(source.stimuli, target.stimuli, "X", "y")
    warn_about_row_numbers(source._row_numbers, target._row_numbers, "X", "y")
    warn_about_reordered_trials(source, target)
    return source, target, source_layout, target_layout


def warn_about_reordered_trials(source, target):
    """Warn if averages of trials are compared row by row with a side without labels.

    There is one warning for all parts of a stack, such as the folds of a search.

    Parameters
    ----------
    source, target : LayerStack
        The two sides, "X" and "y".
    """
    for averaged, other, name, other_name in (
        (source, target, "X", "y"),
        (target, source, "y", "X"),
    ):
        if (
            averaged._reordered is not None
            and not averaged._reordered["is_told"]
            and averaged.stimuli is not None
            and other.stimuli is None
            and not other._labels_were_removed
        ):
            averaged._reordered["is_told"] = True
            warnings.warn(
                f"{other_name} has no stimulus labels, so its rows are compared with "
                f"those of {name} in the order given. {name} was made by "
                "`LayerStack.from_trials`: its rows are in the order in which the "
                "trials first showed each stimulus, not in the order of the labels. "
                f"Give {other_name} labels, too, `LayerStack(layers, stimuli=labels)`, "
                "and bring both into one order with `skmot.align_stimuli`. If its rows "
                f"are in the order of `{name}.stimuli` already, give it these labels, "
                f"or remove them, `{name}.with_stimuli(None)`.",
                RowNumberWarning,
                stacklevel=stacklevel_of_caller(),
            )


def check_both_single_or_layered(source_layout, target_layout):
    """Raise an error if one side has several layers and the other is a single array."""
    for single, other in (
        (source_layout, target_layout),
        (target_layout, source_layout),
    ):
        if single.is_single_array and len(other.widths) > 1:
            raise ValueError(
                f"{other.argument} has {len(other.widths)} layers and "
                f"{single.argument} is a single array. If it is one layer, use "
                f"`LayerStack([{single.argument}])`. If an earlier step has put its "
                "layers side by side (a transformer without `LayerwiseTransformer` "
                "does that), keep them apart."
            )


def check_fit_pair(estimator, X, y):
    """Read both arguments of `fit` and check that they match.

    Sets the estimator's `n_features_in_` (and `feature_names_in_`). The values of the
    layers are not checked here, but later, one layer at a time.

    Parameters
    ----------
    estimator : estimator
        Estimator that is fitted.
    X, y : list, dict, DataFrame, array-like or LayerStack
        Source and target layers, see :class:`LayerStack`.

    Returns
    -------
    source, target : LayerStack
        Source and target layers, both in the namespace and on the device of the source.
    source_layout, target_layout : Layout
        Layouts of the two sides.
    """
    check_target_given(estimator, y)
    source, target, source_layout, target_layout = read_pair(X, y)
    check_both_single_or_layered(source_layout, target_layout)
    validate_data(
        estimator, seen_by_sklearn(X, source, source_layout), skip_check_array=True
    )
    target = move_stack(target, device_of_layers(source), target_layout)
    return source, target, source_layout, target_layout


def check_target_given(estimator, y):
    """Raise an error if the target is None."""
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but "
            "the target y is None: `fit(source_layers, target_layers)`."
        )


def check_later_side(estimator, given, layout):
    """Read a side given to a fitted estimator and check it against the layout in `fit`.

    Parameters
    ----------
    estimator : estimator
        Fitted estimator.
    given : list, dict, DataFrame, array-like or LayerStack
        Layers, see :class:`LayerStack`.
    layout : Layout
        Layout of this side in `fit`.

    Returns
    -------
    stack : LayerStack
        The layers.
    found : Layout
        Layout of the layers, whose kind and names may differ from those in `fit`.
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
    # After scikit-learn's own check of columns, whose message its checks look for.
    layout.check_unit_names(stack, estimator)
    return stack, found


def seen_by_sklearn(given, stack, layout):
    """Return the object from which scikit-learn reads feature names and their number.

    Parameters
    ----------
    given : object
        Input of the user.
    stack : LayerStack
        Layers that were read from it.
    layout : Layout
        Layout of the layers.

    Returns
    -------
    X : DataFrame or LayerStack
        The user's DataFrame if it is a single layer, otherwise the stack.
    """
    return given if layout.is_single_array and hasattr(given, "columns") else stack

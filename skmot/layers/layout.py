"""Layout: the names and widths of the layers of one side, and their input type."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from skmot._utils.state import stored_as_dict
from skmot.layers.labels import labels_agree, list_labels


def layer_label(index, names):
    """Return the name of a layer in error messages, or its index if it has no name."""
    return f"layer {index}" if names is None else f"layer {names[index]!r}"


@stored_as_dict
@dataclass(frozen=True)
class Layout:
    """Description of one side (X or y): its layers, and the type they were given as.

    A fitted estimator stores the layout of each side. It is used to check that later
    input has the same layers, and to return predictions as the same type.

    Attributes
    ----------
    kind : {"stack", "list", "dict", "frame", "array", "vector"}
        Type that the layers were given as.
    structure : tuple
        Names and widths of the layers, see :attr:`skmot.LayerStack.structure`.
    columns : pandas.MultiIndex or None
        Columns of a DataFrame with two column levels.
    argument : str
        Name of the side in error messages, such as "X".
    """

    kind: str
    structure: tuple
    columns: object = None
    argument: str = "X"
    unit_names: list | None = None

    def __getstate__(self):
        columns = None if self.columns is None else _arrays_of(self.columns)
        return self.__dict__ | {"columns": columns}

    def __setstate__(self, state):
        self.__dict__.update(state)
        if self.columns is not None:
            self.__dict__["columns"] = _columns_of(self.columns)

    @classmethod
    def of_units(cls, argument, n_units):
        """Return the layout of a single array, which is one layer of a level above."""
        return cls("array", (None, (n_units,)), argument=argument)

    @property
    def names(self):
        """Names of the layers, or None."""
        return self.structure[0]

    @property
    def widths(self):
        """Number of units of each layer. For a nested stack, this is its total."""
        return tuple(_width(part) for part in self.structure[1])

    @property
    def is_single_array(self):
        """Whether the side was given as a single array."""
        return self.kind in ("array", "vector")

    @property
    def boundaries(self):
        """Slice of each layer's units in an array of all units side by side."""
        ends = np.cumsum((0, *self.widths))
        return [slice(*pair) for pair in pairwise(ends)]

    def where(self, index):
        """Return the name of a layer in error messages."""
        if self.is_single_array:
            return self.argument
        return f"{self.argument}, {layer_label(index, self.names)}"

    def leaves(self, stack):
        """Yield the arrays of a stack with this layout, named by `where`."""
        return stack._leaves(self.where)

    def trial_leaves(self, stack):
        """Yield the trials of a stack with this layout, named by `where`."""
        return stack._trial_leaves(self.where)

    def nest(self, values):
        """Arrange values, one per array, in lists that are nested like the layers."""
        return nest(values, self.structure)

    def restore(self, layers, stimuli, row_numbers=None):
        """Convert a list of layers to the type that this side was given as.

        Parameters
        ----------
        layers : list of array and LayerStack
            Layers of this side.
        stimuli : ndarray of shape (n_stimuli,) or None
            Labels of the stimuli.
        row_numbers : ndarray of shape (n_stimuli,), default=None
            Row numbers of DataFrames whose index names no stimuli.

        Returns
        -------
        side : LayerStack, list, dict, DataFrame or array
            The layers as the original type.
        """
        if self.kind == "vector":
            return layers[0][:, 0]
        if self.kind == "array":
            return layers[0]
        if self.kind == "list":
            return list(layers)
        if self.kind == "dict":
            return dict(zip(self.names, layers, strict=True))
        if self.kind == "frame":
            import pandas as pd

            return pd.DataFrame(
                np.concatenate(layers, axis=1),
                index=row_numbers if stimuli is None else stimuli,
                columns=self.columns,
            )
        # The stack module imports this one, so it cannot be imported at the top.
        from skmot.layers.stack import LayerStack

        stack = LayerStack(layers, names=self.names, stimuli=stimuli)
        stack._row_numbers = row_numbers
        return stack

    def check(self, stack, estimator):
        """Raise an error unless a stack has the same layers as in `fit`."""
        fitted, given = sum(self.widths), sum(stack.widths)
        if stack.widths != self.widths:
            raise ValueError(
                f"{self.argument} has {given} features, but "
                f"{type(estimator).__name__} is expecting {fitted} features as input: "
                f"it was fitted to {len(self.widths)} layer(s) of "
                f"{list(self.widths)} units and got {stack.n_layers} of "
                f"{list(stack.widths)}."
            )
        self.check_names(stack, estimator)
        _check_nested(self.structure, stack.structure, self.argument, estimator)

    def check_unit_names(self, stack, estimator):
        """Raise if a stack names its units differently than the fitted layers."""
        _check_unit_names(
            self.unit_names, stack.unit_names, self.where, type(estimator).__name__
        )

    def check_names(self, stack, estimator):
        """Raise an error if the layers have other names than in `fit`.

        Names are compared only if the layers have names in both cases.
        """
        if None not in (stack.names, self.names) and stack.names != self.names:
            raise ValueError(
                f"{self.argument} has the layers {list(stack.names)}, but "
                f"{type(estimator).__name__} was fitted to {list(self.names)}, in that "
                "order."
            )


def nest(values, structure):
    """Arrange values, one per array, in lists that are nested like the layers.

    Parameters
    ----------
    values : iterable
        One value per array, in the order of :meth:`skmot.LayerStack.leaves`.
    structure : tuple
        Names and widths of the layers, see :attr:`skmot.LayerStack.structure`.

    Returns
    -------
    nested : list
        One element per layer: its value, or a list for a nested stack.
    """
    values = iter(values)
    return [
        nest(values, part) if isinstance(part, tuple) else next(values)
        for part in structure[1]
    ]


def _arrays_of(columns):
    """Return the parts of a MultiIndex, from which `_columns_of` makes it again."""
    return {
        "levels": [np.asarray(level) for level in columns.levels],
        "dtypes": [str(level.dtype) for level in columns.levels],
        "codes": [np.asarray(codes) for codes in columns.codes],
        "names": list(columns.names),
    }


def _columns_of(arrays):
    import pandas as pd

    levels = zip(arrays["levels"], arrays["dtypes"], strict=True)
    return pd.MultiIndex(
        [pd.Index(values, dtype=dtype) for values, dtype in levels],
        arrays["codes"],
        names=arrays["names"],
    )


def _width(part):
    return sum(_width(inner) for inner in part[1]) if isinstance(part, tuple) else part


def _check_unit_names(fitted, given, where, estimator):
    for index, (old, new) in enumerate(zip(fitted or (), given, strict=False)):
        if old is None and _is_reordered_default(new):
            # The default numbers 0, 1, 2, ... are no names, unless in another order.
            old = np.arange(len(new))
        if old is None or new is None:
            continue
        here = where(index)
        if isinstance(old, list):
            _check_unit_names(
                old, new, lambda i, here=here: f"{here}, layer {i}", estimator
            )
        elif not labels_agree(old, new):
            old, new = list_labels(old), list_labels(new)
            pairs = enumerate(zip(old, new, strict=True))
            unit = next(i for i, (a, b) in pairs if a != b)
            raise ValueError(
                f"The units of {here} differ: unit {unit} is {new[unit]!r}, but "
                f"{estimator} was fitted to {old[unit]!r} there. Put the units in the "
                "order of the fit, `frame[names]` or `stack.select_units`."
            )


def _is_reordered_default(names):
    if not isinstance(names, np.ndarray) or names.dtype.kind not in "iu":
        return False
    return np.array_equal(np.sort(names), np.arange(len(names)))


def _check_nested(fitted, given, where, estimator):
    """Raise an error unless nested stacks have the same layers as in `fit`."""
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
    """Whether two structures have the same top level; names may be missing in one."""
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

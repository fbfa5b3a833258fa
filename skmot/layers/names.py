"""Names of the layers and of the units of a side, for tables."""

from typing import NamedTuple

import numpy as np

from skmot.layers.labels import list_labels


class NamedArray(NamedTuple):
    """Names of one array of a side.

    Attributes
    ----------
    path : tuple of int
        Index of the layer at each level of nesting.
    label : hashable
        Name of the layer, or its number, counted from 0, if the layers have no names.
        For stacks of stacks, a string with the names at all levels, joined by "/".
    n_units : int
        Number of units.
    unit_names : list or None
        Names of the units, or their numbers before a selection. None if they have
        neither.
    """

    path: tuple
    label: object
    n_units: int
    unit_names: list | None

    @property
    def unit_labels(self):
        """Names of the units, or their numbers, counted from 0."""
        return list(range(self.n_units)) if self.unit_names is None else self.unit_names


def name_arrays(structure, unit_names=None, unit_numbers=None):
    """Name all arrays of a side.

    Parameters
    ----------
    structure : tuple
        Names and widths of the layers, see :attr:`skmot.LayerStack.structure`.
    unit_names, unit_numbers : list, default=None
        Names of the units, and their numbers before a selection, which are used where
        they have no names. Nested like the layers.

    Returns
    -------
    arrays : list of NamedArray
        The arrays, in the order of :meth:`skmot.LayerStack.leaves`.
    """
    return list(_name_arrays(structure, _first_known(unit_names, unit_numbers)))


def name_arrays_of(stack):
    """Name all arrays of a stack."""
    return name_arrays(stack.structure, stack.unit_names, stack._unit_numbers)


def name_layers(stack):
    """Return the names of the layers of a stack, or their numbers, counted from 0."""
    return list(range(stack.n_layers) if stack.names is None else stack.names)


def label_units(arrays):
    """Return the columns of a table that name the units of arrays side by side.

    Parameters
    ----------
    arrays : list of NamedArray
        Arrays.

    Returns
    -------
    columns : dict of list
        Columns "layer" and "unit", with one name or number for each unit.
    """
    return unit_rows(
        [array.label for array in arrays], [array.unit_labels for array in arrays]
    )


def unit_rows(layer_names, unit_names):
    """Return the columns "layer" and "unit" of a table with one row for each unit.

    Parameters
    ----------
    layer_names : list
        Name of the layer of each array.
    unit_names : list of list
        Names of the units of each array.
    """
    return {
        "layer": [
            layer
            for layer, units in zip(layer_names, unit_names, strict=True)
            for _ in units
        ],
        "unit": [unit for units in unit_names for unit in units],
    }


def pair_columns(source_layers, target_layers, **values):
    """Return the columns of a table with one row for each pair of layers.

    Parameters
    ----------
    source_layers, target_layers : list
        Names of the layers.
    **values : array-like of shape (n_source_layers, n_target_layers)
        Further columns.

    Returns
    -------
    columns : dict of list
        Columns "source_layer" and "target_layer", and the further ones.
    """
    return {
        "source_layer": [name for name in source_layers for _ in target_layers],
        "target_layer": [name for _ in source_layers for name in target_layers],
        **{name: np.ravel(matrix).tolist() for name, matrix in values.items()},
    }


def _first_known(names, numbers):
    """Return names of units, and their numbers before a selection where they lack."""
    if names is None or numbers is None:
        return numbers if names is None else names
    if isinstance(names, list):
        return [_first_known(*pair) for pair in zip(names, numbers, strict=True)]
    return names


def _name_arrays(structure, unit_names, path=(), label=()):
    names, parts = structure
    for index, part in enumerate(parts):
        inner_names = None if unit_names is None else unit_names[index]
        inner_path = (*path, index)
        inner_label = (*label, index if names is None else names[index])
        if isinstance(part, tuple):
            yield from _name_arrays(part, inner_names, inner_path, inner_label)
            continue
        yield NamedArray(
            inner_path,
            "/".join(map(str, inner_label)) if path else inner_label[0],
            part,
            None if inner_names is None else list_labels(inner_names),
        )

"""What DataFrames and DataArrays say of their rows and units."""

from collections.abc import Mapping

import numpy as np

from skmot.layers.labels import as_labels, check_same_stimuli, list_labels


def is_frame(given):
    """Whether an object is a DataFrame, of pandas or another library."""
    return hasattr(given, "columns") and hasattr(given, "iloc")


def read_rows(given):
    """Read what a DataFrame or DataArray says of its rows.

    Parameters
    ----------
    given : object
        Layer as the user gave it.

    Returns
    -------
    labels : ndarray of shape (n_stimuli,) or None
        Names of the stimuli: any index except unnamed whole numbers.
    numbers : ndarray of shape (n_stimuli,) or None
        Row numbers: an index of whole numbers without a name.
    """
    index = _row_index(given)
    if index is None:
        return None, None
    if index.nlevels == 1 and index.name is None and index.dtype.kind in "iu":
        return None, index.to_numpy()
    return as_labels(index), None


def _row_index(given):
    """Return the pandas index of the rows, or None."""
    if hasattr(given, "iloc"):
        return given.index
    if not is_data_array(given) or not given.dims:
        return None
    _check_not_transposed(given)
    rows = given.dims[0]
    index = given.indexes.get(rows)
    if index is not None:
        # xarray names every index after its dimension: numbers stay numbers.
        is_numbering = index.nlevels == 1 and index.dtype.kind in "iu"
        return index.rename(None) if is_numbering and index.name == rows else index
    along = [name for name in given.coords if given.coords[name].dims == (rows,)]
    if len(along) == 1:
        return given.coords[along[0]].to_index().rename(along[0])
    if along:
        raise ValueError(
            f"The DataArray has the coordinates {along} along {rows!r}, and none is "
            f"its index. Say which one names the stimuli: `stimuli={along[0]!r}`."
        )
    return None


def read_coordinate(layers, name):
    """Take the labels of rows from a named coordinate or index level.

    Parameters
    ----------
    layers : DataArray, DataFrame, or list or dict of them
        Layers that have the coordinate along their rows.
    name : str
        Name of the coordinate, or of a level of the index.

    Returns
    -------
    layers : as given
        The layers, without what else is known of their rows.
    labels : ndarray of shape (n_stimuli,)
        The labels.
    """
    if isinstance(layers, Mapping) and not is_frame(layers):
        read = {key: read_coordinate(part, name) for key, part in layers.items()}
        labels = [own for _, own in read.values()]
        layers = {key: part for key, (part, _) in read.items()}
    elif isinstance(layers, list | tuple):
        read = [read_coordinate(part, name) for part in layers]
        labels = [own for _, own in read]
        layers = [part for part, _ in read]
    elif is_data_array(layers):
        along = layers.dims[:1]
        others = [c for c in layers.coords if layers.coords[c].dims == along]
        if name not in layers.coords or layers.coords[name].dims != along:
            raise ValueError(
                f"`stimuli={name!r}` is no coordinate along the rows, {along[0]!r}: "
                f"there are {others}."
            )
        labels = [as_labels(layers.coords[name].to_numpy())]
        layers = layers.drop_vars(others)
    elif hasattr(layers, "iloc") and name in layers.index.names:
        labels = [as_labels(layers.index.get_level_values(name))]
        layers = layers.reset_index(drop=True)
    else:
        raise ValueError(
            f"`stimuli={name!r}` names a coordinate of DataArrays or an index level of "
            "DataFrames; the layers have none of that name. Labels are given as one "
            "label per stimulus."
        )
    for number, own in enumerate(labels):
        check_same_stimuli(labels[0], own, "the first layer", f"layer {number}")
    return layers, labels[0]


def is_data_array(given):
    """Whether an object is a DataArray of xarray, which is not imported."""
    return hasattr(given, "coords") and hasattr(given, "dims")


# Parts of the names of dimensions and coordinates of stimuli, and of units.
_STIMULUS_WORDS = (
    "stim",
    "presentation",
    "image",
    "trial",
    "time",
    "frame",
    "condition",
    "sentence",
    "word",
    "token",
    "sample",
)
_UNIT_WORDS = (
    "neur",
    "unit",
    "voxel",
    "vert",
    "chan",
    "electrode",
    "parcel",
    "site",
    "cell",
    "region",
    "roi",
)
_BRAIN_SCORE_UNIT = "neuroid_id"


def _check_not_transposed(array):
    """Raise if the coordinates of a DataArray say that its rows are units."""
    if len(array.dims) != 2:
        return
    first, second = map(str, array.dims)
    if _mentions(_STIMULUS_WORDS, [first]) or _mentions(_UNIT_WORDS, [second]):
        # Coordinates have names of all kinds, dimensions of one.
        return
    first_names, second_names = (
        [str(dim), *(str(n) for n in array.coords if array.coords[n].dims == (dim,))]
        for dim in array.dims
    )
    units_first = _mentions(_UNIT_WORDS, first_names)
    stimuli_second = _mentions(_STIMULUS_WORDS, second_names)
    if units_first and stimuli_second:
        raise ValueError(
            f"The DataArray has the dimensions {tuple(array.dims)}, so its rows are "
            "units: layers must be (n_stimuli, n_units). Write "
            f"`array.transpose({array.dims[1]!r}, {array.dims[0]!r})`."
        )


def _mentions(words, names):
    return any(word in name.lower() for name in names for word in words)


def read_unit_names(given):
    """Read unit names from columns, or from a unique coordinate of a DataArray."""
    if is_frame(given):
        return unit_names_of(given.columns)
    if is_data_array(given) and len(given.dims) == 2:
        index = given.indexes.get(given.dims[1])
        return None if index is None else _unique_names(index)
    return None


def unit_names_of(columns):
    """Return names of units; the default columns 0, 1, 2, ... are none."""
    is_numbered = columns.nlevels == 1 and columns.dtype.kind in "iu"
    if is_numbered and np.array_equal(columns.to_numpy(), np.arange(len(columns))):
        return None
    return as_labels(columns, "unit")


def split_by_layer(array, layer, stimulus, unit):
    """Split a DataArray by a coordinate of its units.

    Parameters
    ----------
    array : DataArray
        Responses, with one dimension of stimuli and one of units, in any order.
    layer, stimulus : str
        Names of the coordinates that name the layer of each unit and the stimulus of
        each row.
    unit : str or None
        Name of the coordinate that names the units.

    Returns
    -------
    layers : dict of ndarray of shape (n_stimuli, n_units)
        Layers by name, in the order of first appearance.
    stimuli : ndarray of shape (n_stimuli,)
        Labels of the stimuli.
    unit_names : list of (ndarray or None)
        Names of the units of each layer.
    """
    if not is_data_array(array):
        raise TypeError(
            f"`array` must be an xarray.DataArray; got {type(array).__name__}."
        )
    units, rows = (_dimension_of(array, name) for name in (layer, stimulus))
    if units == rows:
        raise ValueError(
            f"The coordinates {layer!r} and {stimulus!r} are both along {rows!r}: one "
            "must be along the units and the other along the stimuli."
        )
    others = [dim for dim in array.dims if dim not in (units, rows)]
    for dim in others:
        if array.sizes[dim] != 1:
            raise ValueError(
                f"The DataArray has the dimension {dim!r} of length "
                f"{array.sizes[dim]} besides {rows!r} and {units!r}. Select one of its "
                f"elements, `array.isel({dim}=0)`, or average, `array.mean({dim!r})`."
            )
    values = array.squeeze(others, drop=True).transpose(rows, units).to_numpy()
    layer_of = list_labels(as_labels(array.coords[layer].to_numpy()))
    index = _names_of_units(array, units, unit)
    layers, unit_names = {}, []
    for name in dict.fromkeys(layer_of):
        places = np.flatnonzero([other == name for other in layer_of])
        is_block = places[-1] - places[0] == len(places) - 1
        # A slice is a view.
        chosen = slice(places[0], places[-1] + 1) if is_block else places
        layers[name] = values[:, chosen]
        names = None if index is None else _unique_names(index[chosen])
        if names is None and unit is not None:
            raise ValueError(
                f"The coordinate {unit!r} does not tell the units of {name!r} apart."
            )
        unit_names.append(names)
    return layers, as_labels(array.coords[stimulus].to_numpy()), unit_names


def _dimension_of(array, name):
    """Return the dimension that a coordinate is along."""
    if name not in array.coords or len(array.coords[name].dims) != 1:
        raise ValueError(
            f"{name!r} is no coordinate along one dimension of the DataArray, which "
            f"has the dimensions {tuple(array.dims)} and the coordinates "
            f"{[str(coordinate) for coordinate in array.coords]}."
        )
    return array.coords[name].dims[0]


def _names_of_units(array, units, unit):
    """Return an index that names the units of a DataArray, or None."""
    if unit is None:
        unit = _BRAIN_SCORE_UNIT
        if unit not in array.coords or array.coords[unit].dims != (units,):
            return array.indexes.get(units)
    elif _dimension_of(array, unit) != units:
        raise ValueError(f"The coordinate {unit!r} is not along the units, {units!r}.")
    return array.coords[unit].to_index()


def _unique_names(index):
    return unit_names_of(index) if index.is_unique else None

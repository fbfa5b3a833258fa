"""Positions of feature maps and tokens as stimuli, channels as units."""

from collections.abc import Iterable, Mapping
from numbers import Integral

import numpy as np
from scipy.sparse import csr_array
from sklearn.utils import assert_all_finite, check_array

from skmot._utils.array_api import as_array, read_dtypes, to_numpy
from skmot.layers import LayerStack
from skmot.layers.checks import check_numeric
from skmot.layers.labels import as_labels
from skmot.layers.layout import layer_label
from skmot.layers.positions import (
    by_position,
    check_unit_axis,
    label_positions,
    rows_at_positions,
    usual_unit_axis,
)
from skmot.layers.reading import check_unmasked
from skmot.layers.untrusted import check_stored

# Number of a token that belongs to no common position.
_LEFT_OUT = -1


def positions_as_stimuli(
    maps,
    *,
    unit_axis=None,
    grid=None,
    resampling="area",
    mask=None,
    positions=None,
    stimuli=None,
):
    """Take each position of each stimulus as a row, and channels as units.

    Two networks are then compared by what their channels say at the same place of the
    same image, or at the same word of the same text. The rows of both have to be the
    same positions. What makes them the same is said by the caller, and never guessed:
    `grid` for feature maps, `positions` for tokens.

    Parameters
    ----------
    maps : array-like, list or dict of array-like
        Activations of one layer or of several. Feature maps have the shape (n_stimuli,
        n_channels, height, width), or more axes of positions, and tokens the shape
        (n_stimuli, n_positions, n_channels).
    unit_axis : int or dict, default=None
        Axis of the channels, or a dict of axes by the names of layers. None takes
        axis 1 of arrays with four or more axes, and the last axis of arrays with three,
        as :func:`skmot.extraction.record_activations` does.
    grid : tuple of int, default=None
        Number of positions along each axis, for instance (4, 4), to which all maps are
        resampled. Maps that have this size are not changed. None resamples nothing:
        layers must then have maps of one size.
    resampling : {"area", "linear"}, default="area"
        How maps are resampled.

        - "area" averages over the area of a cell of the grid, with parts of positions
          in proportion to their area. If the sizes are multiples of the grid, this is
          average pooling. A finer grid repeats positions;
        - "linear" interpolates between the centres of positions, as "bilinear" does
          elsewhere, without averaging: a coarser grid skips positions.
    mask : array-like of bool of shape (n_stimuli, n_positions), default=None
        Positions that become rows, such as the attention mask of a tokenizer. It is
        that of all layers. None takes all positions.
    positions : array-like of int of shape (n_stimuli, n_positions), default=None
        Number of the common position that each token belongs to, counted from 0 in each
        stimulus, and -1 for tokens that are left out, such as padding and special
        tokens. Tokens of one number are averaged. It is that of all layers.
        :func:`common_positions` makes such numbers for several tokenizers.
    stimuli : array-like of shape (n_stimuli,), default=None
        Labels of the stimuli. None numbers them from 0.

    Returns
    -------
    stack : LayerStack of shape (n_rows, n_units)
        The layers, as numpy arrays. The rows of a stimulus follow each other, its
        positions in the order of the axes (the last one changes fastest) or of the
        numbers. All have the label of their stimulus. Numbers are float32 if the maps
        are float32 or float16, otherwise float64.

    Raises
    ------
    ValueError
        If layers differ in the number of stimuli or in the sizes of their maps, a layer
        has no axis of positions, `grid` does not fit the axes, `mask` or `positions` do
        not fit the shape, leave a stimulus without a row or skip a number, or both are
        given.

    See Also
    --------
    common_positions : Aligns the tokens of several tokenizers.
    skmot.extraction.record_activations : Does the same while it runs a model, with
        ``reduce="positions"``.

    Notes
    -----
    Positions of one stimulus are not independent observations: neighbours are alike.
    The splitters of :mod:`skmot.model_selection`, its controls and its bootstrap read
    groups from the labels, so positions of one stimulus are never both trained on and
    scored, and p-values count stimuli. scikit-learn's own splitters do not, and
    estimators then raise a :class:`skmot.exceptions.LeakWarning`.

    Functions of repeats (:func:`average_repeats`, :func:`skmot.metrics.noise_ceiling`)
    take rows of one label for repeats of one stimulus. Positions are none: do not give
    them these rows.

    Resampling to a finer grid makes more rows, and no more information.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot.preprocessing import positions_as_stimuli
    >>> rng = np.random.default_rng(0)
    >>> maps = {
    ...     "early": rng.normal(size=(10, 3, 8, 8)),
    ...     "late": rng.normal(size=(10, 6, 4, 4)),
    ... }
    >>> stack = positions_as_stimuli(maps, grid=(4, 4))
    >>> stack
    LayerStack(160 stimuli, 2 layers: early (3 units), late (6 units))
    >>> stack.stimuli[[0, 15, 16]].tolist()
    [0, 0, 1]

    Two tokens of a word are averaged, and the padding is left out:

    >>> tokens = np.array([[[1.0], [3.0], [5.0]], [[7.0], [9.0], [0.0]]])
    >>> words = [[0, 0, 1], [0, 1, -1]]
    >>> positions_as_stimuli(tokens, positions=words).layers[0].ravel().tolist()
    [2.0, 5.0, 7.0, 9.0]
    """
    names, layers = _read_maps(maps)
    where = [f"`maps`, {layer_label(index, names)}" for index in range(len(layers))]
    axes = _read_unit_axes(unit_axis, names, len(layers))
    if mask is not None and positions is not None:
        raise ValueError(
            "`mask` and `positions` are two ways to leave positions out: give one. "
            "`positions` leaves out those of number -1."
        )
    if resampling not in _WEIGHTS:
        raise ValueError(
            f"`resampling` must be one of {sorted(_WEIGHTS)}; got {resampling!r}."
        )
    layers = [
        _units_last(layer, axis, place)
        for layer, axis, place in zip(layers, axes, where, strict=True)
    ]
    if grid is not None:
        layers = [
            _resample(layer, grid, _WEIGHTS[resampling], place)
            for layer, place in zip(layers, where, strict=True)
        ]
    _check_sizes(layers, where)
    values = [by_position(layer, -1) for layer in layers]
    shape = values[0].shape[:2]
    if positions is not None:
        to_rows, counts = _read_positions(positions, shape)
        rows = [
            to_rows.astype(layer.dtype) @ rows_at_positions(layer) for layer in values
        ]
    else:
        mask, counts = _read_mask(mask, shape)
        rows = [rows_at_positions(layer, mask) for layer in values]
    labels = None if stimuli is None else as_labels(stimuli)
    if labels is not None and len(labels) != shape[0]:
        raise ValueError(
            f"`stimuli` has {len(labels)} labels, but the maps have {shape[0]} stimuli."
        )
    return LayerStack(
        rows,
        names=names,
        stimuli=label_positions(labels, counts),
    )


def common_positions(*spans):
    """Align the tokens of several tokenizers by the characters that they stand for.

    Each text is cut into the finest pieces that no token of any tokenizer crosses:
    tokens that share a character belong to one piece, whichever tokenizer they are of.
    Tokens are numbered by their piece, from 0 in each text, for the argument
    `positions` of :func:`positions_as_stimuli`.

    Parameters
    ----------
    *spans : array-like of shape (n_stimuli, n_tokens, 2), or list of lists of pairs
        First character of each token, and the one after its last, for each tokenizer.
        Tokenizers of Hugging Face return them as "offset_mapping", if called with
        `return_offsets_mapping=True`. Empty spans, those of padding and special tokens,
        belong to no piece.

    Returns
    -------
    positions : list of ndarray of int of shape (n_stimuli, n_tokens)
        For each tokenizer, the number of the piece of each token, or -1 for tokens
        without one. Pieces for which a tokenizer has no token are left out on all
        sides. Lists of different lengths are filled with -1 at the end.

    Raises
    ------
    ValueError
        If tokenizers differ in the number of texts, spans are not pairs of whole
        numbers in order, or a text has no piece that all tokenizers share.

    See Also
    --------
    positions_as_stimuli : Averages the tokens of each piece.

    Notes
    -----
    A token that contains a space joins the words on both sides only if another
    tokenizer's token reaches over that space, too. Strip spaces from the spans if
    tokenizers attach them to different words.

    Where only words should be compared, their numbers are common positions as well, and
    no alignment is needed: ``encoding.word_ids(i)`` of a tokenizer of Hugging Face has
    them for text i, with None in place of -1.

    Examples
    --------
    >>> from skmot.preprocessing import common_positions
    >>> coarse = [[(0, 0), (0, 7), (8, 11)]]  # [CLS], "walking", "dog"
    >>> fine = [[(0, 4), (4, 7), (7, 11)]]  # "walk", "ing", " dog"
    >>> for numbers in common_positions(coarse, fine):
    ...     print(numbers)
    [[-1  0  1]]
    [[0 0 1]]
    """
    if not spans:
        raise ValueError("There are no spans to align: give those of each tokenizer.")
    spans = [_read_spans(given, number) for number, given in enumerate(spans)]
    counts = [len(texts) for texts in spans]
    if len(set(counts)) > 1:
        raise ValueError(
            f"The tokenizers have spans of {counts} texts: the texts must be the same."
        )
    found = [
        np.full((counts[0], max(map(len, texts), default=0)), _LEFT_OUT)
        for texts in spans
    ]
    for text, of_tokenizers in enumerate(zip(*spans, strict=True)):
        pieces = _number_pieces(of_tokenizers)
        shared = sorted(set.intersection(*(set(p[p >= 0].tolist()) for p in pieces)))
        if not shared:
            raise ValueError(
                f"Text {text} has no piece for which all tokenizers have a token. Is "
                "it empty, or do the spans belong to different texts?"
            )
        for numbers, piece in zip(found, pieces, strict=True):
            is_shared = np.isin(piece, shared)
            numbers[text, : len(piece)][is_shared] = np.searchsorted(
                shared, piece[is_shared]
            )
    return found


# -- reading -------------------------------------------------------------------------


def _read_maps(maps):
    """Return the names, None if there are none, and the layers."""
    names, layers = None, [maps]
    if isinstance(maps, Mapping):
        names, layers = list(maps), list(maps.values())
    elif isinstance(maps, list | tuple) and all(hasattr(part, "ndim") for part in maps):
        layers = list(maps)
    if not layers:
        raise ValueError("`maps` has no layer: give one array, or a list or dict.")
    return names, layers


def _read_unit_axes(unit_axis, names, n_layers):
    """Return the axis of the units of each layer, None for the usual one."""
    given = unit_axis.values() if isinstance(unit_axis, Mapping) else [unit_axis]
    for axis in given:
        check_unit_axis(axis)
    if not isinstance(unit_axis, Mapping):
        return [unit_axis] * n_layers
    unknown = [name for name in unit_axis if name not in (names or ())]
    if unknown:
        raise ValueError(
            f"`unit_axis` has the layers {unknown}, but those of `maps` are {names}."
        )
    return [unit_axis.get(name) for name in names]


def _units_last(layer, axis, where):
    """Return a layer as an array of shape (n_stimuli, ..., n_units)."""
    check_unmasked(layer, where)
    check_stored(layer, where)
    layer = to_numpy(as_array(layer))
    if layer.ndim < 3:
        raise ValueError(
            f"{where} has the shape {layer.shape}, without an axis of positions. "
            "Feature maps are (n_stimuli, n_channels, height, width), and tokens "
            "(n_stimuli, n_positions, n_channels)."
        )
    try:
        check_numeric(layer)
    except ValueError as error:
        raise ValueError(f"{error} (found in {where})") from error
    # What is at positions that are left out may be infinite or NaN.
    layer = check_array(
        layer,
        allow_nd=True,
        dtype=read_dtypes(layer),
        ensure_all_finite=False,
        input_name=where,
    )
    axis = usual_unit_axis(layer.ndim) if axis is None else axis
    if axis % layer.ndim == 0 or not -layer.ndim < axis < layer.ndim:
        raise ValueError(
            f"`unit_axis` is {axis}, but {where} has the shape {layer.shape}, and its "
            "first axis is that of the stimuli."
        )
    return np.moveaxis(layer, axis, -1)


def _check_sizes(layers, where):
    """Raise an error unless all layers have the same stimuli and positions."""
    for layer, place in zip(layers[1:], where[1:], strict=True):
        if len(layer) != len(layers[0]):
            raise ValueError(
                f"{where[0]} has {len(layers[0])} stimuli and {place} has "
                f"{len(layer)}: all layers must show the same stimuli."
            )
        sizes = [given.shape[1:-1] for given in (layers[0], layer)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"{where[0]} has positions of size {sizes[0]} and {place} of size "
                f"{sizes[1]}, so their rows do not correspond. Say a common size to "
                "resample them to: `grid=(height, width)`. If these are tokens of "
                "different tokenizers, call the function once for each, with "
                "`positions` from `common_positions`."
            )


def _read_mask(mask, shape):
    """Return the mask, or None, and the number of positions of each stimulus."""
    if mask is None:
        return None, np.full(shape[0], shape[1])
    mask = to_numpy(mask)
    _check_shape(mask, shape, "mask")
    if not np.isin(mask, (0, 1)).all():
        raise ValueError(
            "`mask` must be booleans, or 1 for the positions that are kept and 0 for "
            "the others. A mask that is added to attention scores is not one."
        )
    mask = mask != 0
    _check_counts(mask.sum(axis=1), "mask")
    return mask, mask.sum(axis=1)


def _read_positions(positions, shape):
    """Return the averages over tokens as a matrix, and the positions of each stimulus.

    Returns
    -------
    to_rows : csr_array of shape (n_rows, n_stimuli * n_positions)
        Matrix that averages the tokens of each common position.
    counts : ndarray of int of shape (n_stimuli,)
        Number of common positions of each stimulus.
    """
    positions = to_numpy(positions)
    _check_shape(positions, shape, "positions")
    if positions.dtype.kind not in "iu" or (positions < _LEFT_OUT).any():
        raise ValueError(
            "`positions` must be whole numbers from 0, and -1 for tokens that are left "
            f"out; got {positions.dtype} from {positions.min()}."
        )
    counts = positions.max(axis=1).astype(int) + 1
    _check_counts(counts, "positions")
    stimulus, token = np.nonzero(positions >= 0)
    starts = np.cumsum(counts) - counts
    row = starts[stimulus] + positions[stimulus, token]
    n_tokens = np.bincount(row, minlength=counts.sum())
    if (n_tokens == 0).any():
        empty = int(np.argmin(n_tokens))
        skipping = int(np.searchsorted(starts, empty, side="right")) - 1
        raise ValueError(
            f"`positions` of stimulus {skipping} have no token of number "
            f"{empty - int(starts[skipping])}, but one of number "
            f"{counts[skipping] - 1}. Positions that a network has no token for must "
            "be left out on all sides, and the others numbered from 0 without gaps."
        )
    to_rows = csr_array(
        (1.0 / n_tokens[row], (row, stimulus * shape[1] + token)),
        shape=(counts.sum(), shape[0] * shape[1]),
    )
    return to_rows, counts


def _check_shape(given, shape, name):
    if given.shape != shape:
        raise ValueError(
            f"`{name}` has the shape {given.shape}, but the maps have {shape[0]} "
            f"stimuli with {shape[1]} positions."
        )


def _check_counts(counts, name):
    if (counts == 0).any():
        raise ValueError(f"`{name}` leaves no position of stimulus {counts.argmin()}.")


# -- resampling ----------------------------------------------------------------------


def _resample(layer, grid, weights_of, where):
    """Resample a layer of shape (n_stimuli, ..., n_units) to a grid."""
    size = layer.shape[1:-1]
    is_grid = isinstance(grid, tuple | list) and all(
        isinstance(number, Integral) and number > 0 for number in grid
    )
    if not is_grid or len(grid) != len(size):
        raise ValueError(
            f"`grid` must have a positive whole number for each axis of positions; got "
            f"{grid!r}, and {where} has positions of size {size}."
        )
    assert_all_finite(layer, input_name=where)
    for axis, (n_given, n_wanted) in enumerate(zip(size, grid, strict=True), start=1):
        if n_given != n_wanted:
            weights = weights_of(n_given, n_wanted).astype(layer.dtype)
            layer = np.moveaxis(np.tensordot(weights, layer, axes=(1, axis)), 0, axis)
    return layer


def _area_weights(n_given, n_wanted):
    """Return the share of each given position in each cell, by their overlap."""
    length = n_given / n_wanted
    start = length * np.arange(n_wanted)[:, np.newaxis]
    position = np.arange(n_given)
    overlap = np.minimum(start + length, position + 1) - np.maximum(start, position)
    return np.maximum(overlap, 0.0) / length


def _linear_weights(n_given, n_wanted):
    """Return weights that interpolate between the centres of the given positions."""
    centres = (np.arange(n_wanted) + 0.5) * n_given / n_wanted - 0.5
    return np.array(
        [np.interp(centres, np.arange(n_given), unit) for unit in np.eye(n_given)]
    ).T


_WEIGHTS = {"area": _area_weights, "linear": _linear_weights}


# -- aligning ------------------------------------------------------------------------


def _read_spans(spans, number):
    """Return the spans of each text as an array of shape (n_tokens, 2)."""
    if isinstance(spans, str) or not isinstance(spans, Iterable):
        raise TypeError(
            f"`spans` must be lists of the spans of each text; got {spans!r} for "
            f"tokenizer {number}."
        )
    found = []
    for text, given in enumerate(spans):
        given = to_numpy(given)
        given = given.reshape(0, 2).astype(int) if given.size == 0 else given
        if given.ndim != 2 or given.shape[1] != 2 or given.dtype.kind not in "iu":
            raise ValueError(
                "`spans` must be pairs of whole numbers, (first character, character "
                f"after the last); got the shape {given.shape} of {given.dtype} for "
                f"text {text} of tokenizer {number}."
            )
        if (given[:, 0] > given[:, 1]).any() or (given < 0).any():
            raise ValueError(
                "`spans` has one that ends before it starts, or starts before the "
                f"text: text {text} of tokenizer {number}."
            )
        found.append(given)
    return found


def _number_pieces(of_tokenizers):
    """Return the number of the piece of each token of a text, for each tokenizer."""
    tokens = np.concatenate(of_tokenizers)
    pieces = np.full(len(tokens), _LEFT_OUT)
    piece, end = _LEFT_OUT, 0
    for token in np.argsort(tokens[:, 0], kind="stable"):
        first, after = tokens[token]
        if first == after:
            continue
        if piece == _LEFT_OUT or first >= end:
            piece += 1
        pieces[token], end = piece, max(end, after)
    return np.split(pieces, np.cumsum([len(part) for part in of_tokenizers])[:-1])

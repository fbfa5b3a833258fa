"""Functions of the units of a layer: statistics, dead units, tuning curves.

Layers are arrays of any library, or sparse arrays of SciPy, of which no dense copy is
made. Arrays with one value per unit are numpy arrays.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_array, hstack, issparse

from skmot._utils.array_api import (
    device_of,
    move_to_device_of,
    namespace_of,
    numpy_dtype,
    select,
    to_numpy,
)
from skmot._utils.sparse import ShiftedSparse, is_sparse
from skmot._utils.state import stored_as_dict
from skmot._utils.warnings import stacklevel_of_caller
from skmot.exceptions import DeadUnitWarning
from skmot.layers.checks import check_layer
from skmot.layers.layout import layer_label
from skmot.layers.stack import side_by_side
from skmot.transport import TuningCurves

METRICS = ("correlation", "abs_correlation", "cosine", "sqeuclidean")
# Metrics of centred vectors of unit norm.
CENTRED_METRICS = ("correlation", "abs_correlation")
# Layers are read in tiles of about this many entries, which fit into the processor's
# cache. This was the fastest of 16,000 to 1,000,000 entries in both memory orders.
_TILE_ENTRIES = 200_000
# Other libraries start a parallel kernel, perhaps on a GPU, for each operation on a
# tile, so their tiles are larger (128 MB of float64).
_KERNEL_ENTRIES = 16_000_000
# Columns are selected in blocks of about this many entries (32 MB of float64).
_BLOCK_ENTRIES = 4_000_000
# Offset, in standard deviations, above which units that are not centred are compared in
# float64: their cosine is 1 up to the inverse square of it.
_LARGE_OFFSET = 30.0
# A warning names at most this many layers.
_LAYERS_NAMED = 5
# Sums of squares in this range are not affected by overflow or underflow.
_SMALLEST_SQUARES, _LARGEST_SQUARES = 1e-200, 1e300


@stored_as_dict
@dataclass(frozen=True)
class UnitStatistics:
    """Statistics of the units of a layer over the training stimuli.

    Attributes
    ----------
    mean : ndarray of shape (n_units,)
        Mean of each unit in float64.
    deviation : ndarray of shape (n_units,)
        Population standard deviation of each unit in float64, 0 for dead units.
    live : ndarray of bool of shape (n_units,)
        Mask of the units that are not constant.
    dtype : dtype
        Dtype of the layer, the minimum precision of reconstructions.
    shift : ndarray of shape (n_units,)
        Rounding error of the mean, in standard deviations. It is large for a unit whose
        mean is much larger than its deviation. Without correction, all units with a
        shift would correlate with each other.
    weights : dict of str to ndarray of shape (n_units,), default=None
        Weight of each unit in the matching, if the layer is the "source" and if it is
        the "target". Units have equal weights on a side that is missing. None if they
        have equal weights on both sides.
    """

    mean: np.ndarray
    deviation: np.ndarray
    live: np.ndarray
    dtype: np.dtype
    shift: np.ndarray
    weights: dict | None = None

    @property
    def n_live(self):
        """Number of live units."""
        return int(np.count_nonzero(self.live))

    @property
    def dead_units(self):
        """Indices of the dead units."""
        return np.flatnonzero(~self.live)

    def __getitem__(self, units):
        """Return the statistics of some of the units."""
        return UnitStatistics(
            self.mean[units],
            self.deviation[units],
            self.live[units],
            self.dtype,
            self.shift[units],
            self.weights
            and {side: weights[units] for side, weights in self.weights.items()},
        )

    @classmethod
    def side_by_side(cls, parts):
        """Join the statistics of several layers into those of one population."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            mean=np.concatenate([part.mean for part in parts]),
            deviation=np.concatenate([part.deviation for part in parts]),
            live=np.concatenate([part.live for part in parts]),
            dtype=np.result_type(*(part.dtype for part in parts)),
            shift=np.concatenate([part.shift for part in parts]),
        )


def unit_statistics(layer):
    """Compute the statistics of the units of a layer.

    Parameters
    ----------
    layer : array or sparse array of shape (n_stimuli, n_units)
        Finite activations, float32 or float64.

    Returns
    -------
    statistics : UnitStatistics
        Statistics of the units, computed in float64.
    """
    # Squares may overflow or underflow here. These units are computed again below.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        mean, mean_error, squares = (
            _sparse_moments(layer) if issparse(layer) else _moments(layer)
        )
        deviation = np.sqrt(squares / layer.shape[0])
        shift = mean_error / deviation
    live = np.ones(len(mean), dtype=bool)
    is_accurate = (squares > _SMALLEST_SQUARES) & (squares < _LARGEST_SQUARES)
    if issparse(layer):
        # Units that are 0 for all stimuli are known to be dead. Most units may be.
        never_active = count_stored(layer) == 0
        live[never_active], shift[never_active] = False, 0.0
        is_accurate |= never_active
    for units, block in dense_blocks(layer, np.flatnonzero(~is_accurate)):
        live[units], mean[units], deviation[units], shift[units] = _rescaled_moments(
            block
        )
    return UnitStatistics(mean, deviation, live, numpy_dtype(layer), shift)


def count_stored(layer):
    """Return the number of stored entries of each unit of a sparse layer."""
    return np.bincount(layer.indices, minlength=layer.shape[1])


def dense_blocks(layer, units=None):
    """Yield blocks of the units of a layer, which may be sparse, as dense arrays.

    Parameters
    ----------
    layer : array or sparse array of shape (n_stimuli, n_units)
        The layer.
    units : ndarray of int, default=None
        Units to read. None reads all units.

    Yields
    ------
    part : slice or ndarray of int
        Units of the block.
    block : array of shape (n_stimuli, n_units_of_block)
        Their activations, at most about 32 MB.
    """
    if issparse(layer):
        layer = layer.tocsc()
    for part in column_blocks(layer, None if units is None else len(units)):
        if units is None:
            yield part, _dense(layer[:, part])
        else:
            yield units[part], _dense(select(layer, units[part], axis=1))


def _dense(array):
    return array.toarray() if issparse(array) else array


def _sparse_moments(layer):
    """Compute what `_moments` does from the stored entries of a sparse layer.

    The sums are accurate for units that are 0 for at least half of the stimuli, whose
    means are at most as large as their deviations. All other units are read as dense
    blocks.
    """
    n_stimuli, n_units = layer.shape
    n_stored = count_stored(layer)

    def sums(entries):
        return np.bincount(layer.indices, weights=entries, minlength=n_units)

    entries = layer.data.astype(np.float64)
    first = sums(entries) / n_stimuli
    entries -= first[layer.indices]
    # The sum of all differences from the rounded mean is not exactly 0.
    step = (sums(entries) - (n_stimuli - n_stored) * first) / n_stimuli
    mean, error = _sum_exactly(first, step)
    squares = sums(entries**2) + (n_stimuli - n_stored) * first**2
    squares -= n_stimuli * step**2
    active = np.flatnonzero(_are_mostly_active(n_stored, n_stimuli))
    for units, block in dense_blocks(layer, active):
        mean[units], error[units], squares[units] = _moments(block)
    return mean, error, squares


def _are_mostly_active(n_stored, n_stimuli):
    """Return the mask of the units that are not 0 for most of the stimuli."""
    return n_stored > n_stimuli / 2


def _rescaled_moments(block):
    """Return the mask of live units, and means, deviations and shifts of all units.

    Units are divided by a power of two near their largest magnitude. This division is
    exact, and squares neither overflow nor underflow.
    """
    xp = namespace_of(block)
    low, high = (to_numpy(extreme(block, axis=0)) for extreme in (xp.min, xp.max))
    exponent = np.frexp(np.maximum(np.abs(low), np.abs(high)))[1]
    block = xp.astype(block, xp.float64)
    # In two steps, because the inverse of the smallest power of two overflows.
    for part in (-exponent // 2, -exponent - (-exponent // 2)):
        block *= move_to_device_of(block, np.ldexp(1.0, part))
    scaled_mean, error, squares = _moments(block)
    scaled_deviation = np.sqrt(squares / block.shape[0])
    mean = np.ldexp(scaled_mean, exponent)
    # If the mean is a subnormal number, it has been rounded once more.
    error += scaled_mean - np.ldexp(mean, -exponent)
    live = low < high
    shift = np.divide(error, scaled_deviation, out=np.zeros_like(error), where=live)
    return live, mean, np.ldexp(scaled_deviation, exponent), shift


def _moments(layer):
    """Compute the mean of each unit, its rounding error, and the sum of squares.

    The layer is read once, in tiles. The first stimulus is subtracted from each tile,
    then the mean of the tile, and the moments of all tiles are merged. This is accurate
    even if the means are much larger than the deviations.

    Parameters
    ----------
    layer : array of shape (n_stimuli, n_units)
        Finite activations.

    Returns
    -------
    mean : ndarray of shape (n_units,)
        Mean of each unit in float64.
    error : ndarray of shape (n_units,)
        Rounding error of the mean.
    squares : ndarray of shape (n_units,)
        Sum of the squared deviations from the mean.
    """
    xp = namespace_of(layer)
    mean, error, squares = np.empty((3, layer.shape[1]))
    row_blocks, column_blocks = _tiling(layer)
    for columns in column_blocks:
        first = xp.astype(layer[0, columns], xp.float64)
        merged = None
        for rows in row_blocks:
            tile = layer[rows, columns] - first
            tile_mean = xp.mean(tile, axis=0)
            tile -= tile_mean
            tile *= tile
            part = tile.shape[0], tile_mean, xp.sum(tile, axis=0)
            merged = part if merged is None else _merge_moments(merged, part)
        shift, squared = (to_numpy(moment) for moment in merged[1:])
        mean[columns], error[columns] = _sum_exactly(to_numpy(first), shift)
        squares[columns] = squared
    return mean, error, squares


def _merge_moments(first, second):
    """Merge counts, means and sums of squared deviations of two sets of stimuli.

    This is the algorithm of Chan, Golub and LeVeque (1983).
    """
    (n, mean, squares), (n_other, other_mean, other_squares) = first, second
    total = n + n_other
    step = other_mean - mean
    return (
        total,
        mean + step * (n_other / total),
        squares + other_squares + step * step * (n * n_other / total),
    )


def _sum_exactly(first, second):
    """Return a sum and its rounding error, by Knuth's two-sum algorithm."""
    total = first + second
    rounded = total - first
    return total, (first - (total - rounded)) + (second - rounded)


def standardize(layer, statistics, kept=None):
    """Centre and scale units by their training statistics. Dead units become 0.

    Parameters
    ----------
    layer : array or sparse array of shape (n_stimuli, n_units)
        Activations for the training stimuli or other stimuli.
    statistics : UnitStatistics
        Statistics of the training stimuli.
    kept : ndarray of bool of shape (n_units,), default=None
        Mask of the units to return. None returns all units.

    Returns
    -------
    standardized : array or ShiftedSparse of shape (n_stimuli, n_kept_units)
        Standardised units in the precision of the layer.
    """
    return _transform(layer, *_standardization(statistics), kept)


def unstandardize(units, statistics):
    """Invert `standardize`. Dead units become their constant value.

    Parameters
    ----------
    units : array of shape (n_stimuli, n_units)
        Standardised units, which may be overwritten.
    statistics : UnitStatistics
        Statistics of the training stimuli.

    Returns
    -------
    layer : array of shape (n_stimuli, n_units)
        Activations in the precision of the training layer or of `units`, whichever is
        higher.
    """
    units = with_precision_of(units, statistics)
    units *= move_to_device_of(units, statistics.deviation.astype(numpy_dtype(units)))
    units += move_to_device_of(units, statistics.mean.astype(numpy_dtype(units)))
    return units


def scale_units(units, factors):
    """Multiply each unit of an array or of a ShiftedSparse by a factor, in float64."""
    if isinstance(units, ShiftedSparse):
        return units.scaled(factors)
    return units * move_to_device_of(units, factors)


def with_precision_of(units, statistics):
    """Convert units to the precision of their training layer, if that is higher."""
    name = np.result_type(numpy_dtype(units), statistics.dtype).name
    xp = namespace_of(units)
    return xp.astype(units, getattr(xp, name), copy=False)


def tuning_curves(layer, statistics, metric, center=True, scale=True):
    """Return the tuning curves of the live units, as vectors for a metric.

    Parameters
    ----------
    layer : array or sparse array of shape (n_stimuli, n_units)
        Training activations.
    statistics : UnitStatistics
        Statistics of the layer.
    metric : {"correlation", "abs_correlation", "cosine", "sqeuclidean"}
        Metric that the vectors are compared with.

        - "correlation", "abs_correlation": columns are centred and have unit norm.
        - "cosine": columns have unit norm.
        - "sqeuclidean": columns are processed as `center` and `scale` say.
    center : bool, default=True
        Whether to centre the columns for "sqeuclidean".
    scale : bool, default=True
        Whether to divide the layer by one number for "sqeuclidean", so that the mean
        squared norm of its live columns is 1.

    Returns
    -------
    curves : TuningCurves
        Vectors in the layer's memory order and precision (in float64 for "sqeuclidean"
        without `scale`), and offsets as a numpy array in float64.
    """
    mean, divisor, shift = _standardization(statistics)
    centred = metric in CENTRED_METRICS or (metric == "sqeuclidean" and center)
    if not centred:
        divisor = np.where(statistics.live, np.hypot(mean, divisor), np.inf)
        mean = shift = np.zeros_like(mean)
        # In float32 the differences of such units would be rounding errors.
        offsets = np.abs(statistics.mean) > _LARGE_OFFSET * statistics.deviation
        if (offsets & statistics.live).any():
            layer = _in_float64(layer)
    root = np.sqrt(layer.shape[0])
    norms, live = divisor * root, statistics.live
    if metric != "sqeuclidean":
        vectors = _transform(layer, mean, norms, shift / root, live)
        return TuningCurves(vectors, np.full(statistics.n_live, 0.5), 1.0)
    # Without scaling, squares of 1e30 and 1e-30 exceed the range of float32.
    dtype = layer.dtype if scale else namespace_of(layer).float64
    layer_scale = _root_mean_square(norms[live]) if scale else 1.0
    shift = shift * (statistics.deviation / layer_scale)
    divisor = np.where(live, layer_scale, np.inf)
    vectors = _transform(layer, mean, divisor, shift, live, dtype)
    return TuningCurves(vectors, (norms[live] / layer_scale) ** 2, 2.0)


def _in_float64(layer):
    if issparse(layer):
        return layer.astype(np.float64, copy=False)
    xp = namespace_of(layer)
    return xp.astype(layer, xp.float64, copy=False)


def _root_mean_square(norms):
    # Squares of 1e300 and 1e-300 exceed the range of float64.
    largest = norms.max()
    return largest * np.sqrt(np.mean((norms / largest) ** 2))


def _standardization(statistics):
    """Return the mean, divisor and shift that `_transform` needs to standardise."""
    divisor = np.where(statistics.live, statistics.deviation, np.inf)
    return statistics.mean, divisor, statistics.shift


def _transform(layer, mean, divisor, shift, kept=None, dtype=None):
    """Compute (layer - mean) / divisor - shift in float64, reading the layer once.

    The result is rounded to float32 at the end, because a float32 mean would leave its
    rounding error in the result.

    Parameters
    ----------
    layer : array or sparse array of shape (n_stimuli, n_units)
        Activations.
    mean, divisor, shift : ndarray of shape (n_units,)
        Parameters of each unit in float64.
    kept : ndarray of bool of shape (n_units,), default=None
        Mask of the units to return. None returns all units.
    dtype : dtype, default=None
        Dtype of the result. None uses the dtype of the layer.

    Returns
    -------
    transformed : array or ShiftedSparse of shape (n_stimuli, n_kept_units)
        Transformed units in the memory order of the layer.
    """
    kept = np.ones(len(mean), dtype=bool) if kept is None else kept
    if issparse(layer):
        per_unit = (values[kept] for values in (mean, divisor, shift))
        return _transform_sparse(_kept_units(layer, kept), *per_unit, dtype)
    xp = namespace_of(layer)
    transformed = _empty_in_order_of(layer, np.count_nonzero(kept), dtype)
    n_kept = np.cumsum(kept)
    row_blocks, column_blocks = _tiling(layer)
    for columns in column_blocks:
        constants = _columns_of(layer, columns, mean, divisor, shift)
        units = np.flatnonzero(kept[columns])
        end = n_kept[columns.stop - 1]
        output = slice(end - len(units), end)
        for rows in row_blocks:
            tile = _transform_tile(layer[rows, columns], *constants)
            if len(units) < tile.shape[1]:
                tile = select(tile, units, axis=1)
            transformed[rows, output] = xp.astype(tile, transformed.dtype, copy=False)
    return transformed


def _transform_sparse(layer, mean, divisor, shift, dtype=None):
    """Compute what `_transform` does, for all units of a sparse layer.

    The mean is a constant that is subtracted from the sparse entries. Units that are
    active for most of the stimuli are centred first, because a mean that is much larger
    than the deviation would take digits away. Then all their entries are stored, at
    most twice as many as before.
    """
    layer, dtype = csc_array(layer), layer.dtype if dtype is None else dtype
    n_stored = np.diff(layer.indptr)
    is_centred = (mean != 0) | (shift != 0)
    is_filled = _are_mostly_active(n_stored, layer.shape[0]) & is_centred
    offsets = np.where(is_filled, 0.0, mean / divisor + shift)
    entries = layer.data / np.repeat(divisor, n_stored)
    matrix = csc_array(
        (entries.astype(dtype), layer.indices, layer.indptr), layer.shape
    )
    if is_filled.any():
        parts = [matrix[:, np.flatnonzero(~is_filled)]]
        for units, block in dense_blocks(layer, np.flatnonzero(is_filled)):
            constants = (values[units] for values in (mean, divisor, shift))
            tile = _transform_tile(block, *constants)
            parts.append(_full_columns(tile.astype(dtype)))
        order = np.argsort(np.argsort(is_filled, kind="stable"))
        matrix = hstack(parts, format="csc")[:, order]
    return ShiftedSparse(matrix, offsets)


def _full_columns(block):
    """Return a dense block as a sparse array that stores all entries."""
    n_stimuli, n_units = block.shape
    rows = np.tile(np.arange(n_stimuli), n_units)
    return csc_array(
        (block.T.ravel(), rows, np.arange(n_units + 1) * n_stimuli), block.shape
    )


def _transform_tile(tile, mean, divisor, shift):
    tile = tile - mean
    tile /= divisor
    tile -= shift
    return tile


def _columns_of(layer, columns, *per_unit):
    """Return the values of some units on the device of the layer."""
    return [move_to_device_of(layer, values[columns]) for values in per_unit]


def _empty_in_order_of(layer, n_units, dtype):
    xp = namespace_of(layer)
    settings = {"dtype": dtype or layer.dtype, "device": device_of(layer)}
    if _has_units_together(layer):
        return xp.empty((n_units, layer.shape[0]), **settings).T
    return xp.empty((layer.shape[0], n_units), **settings)


def _tiling(layer, n_columns=None):
    """Return the blocks of rows and of columns for reading a layer in tiles.

    The shape of the tiles depends on the order of the entries in memory or in a file.
    """
    n_rows = layer.shape[0]
    n_columns = layer.shape[1] if n_columns is None else n_columns
    is_on_cpu = isinstance(layer, np.ndarray) or is_sparse(layer)
    entries = _TILE_ENTRIES if is_on_cpu else _KERNEL_ENTRIES
    if _has_units_together(layer):
        height, width = n_rows, entries // n_rows
    else:
        height, width = entries // max(1, n_columns), n_columns
    return _blocks(n_rows, height), _blocks(n_columns, width)


def _has_units_together(layer):
    """Whether the entries of a unit are closer in memory than those of a stimulus."""
    if is_sparse(layer):
        return True
    if not isinstance(layer, np.ndarray):
        return False
    between_rows, between_columns = layer.strides
    return abs(between_rows) < abs(between_columns)


def _blocks(length, size):
    size = max(1, size)
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def column_blocks(layer, n_columns=None):
    """Return slices of columns, so that each block has at most about 32 MB."""
    n_columns = layer.shape[1] if n_columns is None else n_columns
    return _blocks(n_columns, _BLOCK_ENTRIES // max(1, layer.shape[0]))


def column_correlations(truth, prediction):
    """Compute the Pearson correlation of each column with its prediction.

    Parameters
    ----------
    truth, prediction : array of shape (n_stimuli, n_units)
        Finite responses, in the same namespace and on the same device. The truth may be
        a sparse array, which is read in dense blocks of units.

    Returns
    -------
    correlations : ndarray of shape (n_units,)
        Correlations, NaN if the truth is constant, and 0 if only the prediction is
        constant.
    """
    xp = namespace_of(truth, prediction)
    sides = [(side, unit_statistics(side)) for side in (truth, prediction)]
    if issparse(truth):
        truth = truth.tocsc()
        sides[0] = truth, sides[0][1]
    products = np.empty(truth.shape[1])
    row_blocks, column_blocks = _tiling(truth)
    for columns in column_blocks:
        constants = [
            _columns_of(side, columns, *_standardization(statistics))
            for side, statistics in sides
        ]
        total = 0.0
        for rows in row_blocks:
            first, second = (
                _transform_tile(_dense(side[rows, columns]), *side_constants)
                for (side, _), side_constants in zip(sides, constants, strict=True)
            )
            first *= second
            total = total + xp.sum(first, axis=0)
        products[columns] = to_numpy(total)
    correlations = np.clip(products / truth.shape[0], -1.0, 1.0)
    correlations[~sides[0][1].live] = np.nan
    return correlations


def unit_columns(block):
    """Centre columns and scale them to unit norm, in float64. Constants become 0."""
    return standardize(block.astype(np.float64), unit_statistics(block)) / np.sqrt(
        len(block)
    )


def paired_products(source, target, rows, columns):
    """Compute the inner products of selected pairs of columns in float64.

    Parameters
    ----------
    source, target : array of shape (n_stimuli, n_units) or ShiftedSparse
        Two populations, in the same namespace and on the same device.
    rows, columns : ndarray of int of shape (n_pairs,)
        Source unit and target unit of each pair.

    Returns
    -------
    products : ndarray of shape (n_pairs,)
        Inner product of source[:, rows[p]] and target[:, columns[p]] for each pair p.
    """

    def multiply(first, second):
        first *= second
        return first

    return _sum_over_stimuli(multiply, source, target, rows, columns)


def paired_squared_distances(source, target, rows, columns, signs=None):
    """Compute the squared distances of selected pairs of columns in float64.

    They are computed from the differences. The formula |x|^2 + |y|^2 - 2 x'y would lose
    half of the digits for similar units.

    Parameters
    ----------
    source, target : array of shape (n_stimuli, n_units) or ShiftedSparse
        Two populations, in the same namespace and on the same device.
    rows, columns : ndarray of int of shape (n_pairs,)
        Source unit and target unit of each pair.
    signs : ndarray of shape (n_pairs,), default=None
        Sign that the target unit of each pair is multiplied by, 1 or -1. None is 1.

    Returns
    -------
    squared : ndarray of shape (n_pairs,)
        |source[:, rows[p]] - signs[p] target[:, columns[p]]|^2 for each pair p.
    """

    def square_difference(first, second):
        first -= second
        first *= first
        return first

    def square_sum(first, second):
        first += second
        first *= first
        return first

    if signs is None:
        return _sum_over_stimuli(square_difference, source, target, rows, columns)
    rows, columns = np.asarray(rows), np.asarray(columns)
    squared = np.empty(len(rows))
    for function, pairs in ((square_difference, signs > 0), (square_sum, signs < 0)):
        squared[pairs] = _sum_over_stimuli(
            function, source, target, rows[pairs], columns[pairs]
        )
    return squared


def _sum_over_stimuli(function, source, target, rows, columns):
    """Sum a function of pairs of columns over the stimuli.

    The function may overwrite its arguments, which are new arrays in float64.
    """
    xp = namespace_of(source, target)
    rows, columns = np.asarray(rows), np.asarray(columns)
    sums = np.empty(len(rows))
    stimulus_blocks, pair_blocks = _tiling(source, len(rows))
    if is_sparse(source) or is_sparse(target):
        # Units of a sparse side are read for all stimuli.
        width = _TILE_ENTRIES // source.shape[0]
        stimulus_blocks, pair_blocks = [slice(None)], _blocks(len(rows), width)
    for pairs in pair_blocks:
        total = 0.0
        for stimuli in stimulus_blocks:
            first, second = (
                _columns_in_float64(side, stimuli, units[pairs])
                for side, units in ((source, rows), (target, columns))
            )
            total = total + xp.sum(function(first, second), axis=0)
        sums[pairs] = to_numpy(total)
    return sums


def _columns_in_float64(side, stimuli, units):
    """Return selected units at some stimuli, or at all if the side is sparse."""
    if isinstance(side, ShiftedSparse):
        return side.columns(units)
    xp = namespace_of(side)
    return xp.astype(select(side[stimuli, :], units, axis=1), xp.float64)


def over_all_units(matrix, live, axis=1):
    """Extend an array of live units by rows or columns of 0 for dead units.

    Parameters
    ----------
    matrix : array of shape (n, m)
        Array of any library, on any device, with the live units along one axis.
    live : ndarray of bool of shape (n_units,)
        Mask of the live units.
    axis : {0, 1}, default=1
        Axis of the units.

    Returns
    -------
    extended : array
        Array of all units. The same object if no unit is dead.
    """
    if live.all():
        return matrix
    shape = list(matrix.shape)
    if isinstance(matrix, np.ndarray):
        shape[axis] = len(live)
        order = "F" if matrix.flags.f_contiguous else "C"
        extended = np.zeros(shape, dtype=matrix.dtype, order=order)
        extended[(slice(None),) * axis + (live,)] = matrix
        return extended
    # Some libraries do not support assignment to selected columns.
    xp = namespace_of(matrix)
    shape[axis] = 1
    zeros = xp.zeros(tuple(shape), dtype=matrix.dtype, device=device_of(matrix))
    indices = np.where(live, np.cumsum(live) - 1, matrix.shape[axis])
    return select(xp.concat([matrix, zeros], axis=axis), indices, axis=axis)


def read_statistics(leaves, digest=None):
    """Check the arrays of a population and compute the statistics of all units.

    Parameters
    ----------
    leaves : iterable of Leaf
        Arrays of the population, with their names in error messages.
    digest : LayerDigest, default=None
        Hash that the values of the arrays are added to.

    Returns
    -------
    statistics : UnitStatistics
        Statistics of all units.

    Raises
    ------
    ValueError, TypeError
        If an array is not numeric and finite, has fewer than two stimuli, or has
        constant units only.
    """
    parts = []
    for leaf in leaves:
        layer = check_layer(leaf.layer, leaf.where, min_stimuli=2, accept_sparse=True)
        statistics = unit_statistics(layer)
        check_some_live(statistics.live, leaf.where)
        if digest is not None:
            digest.add(layer)
        parts.append(statistics)
    return UnitStatistics.side_by_side(parts)


def live_units(layer, statistics):
    """Return the live units of an array, or the array itself if no unit is dead."""
    return _kept_units(layer, statistics.live)


def _kept_units(layer, kept):
    return layer if kept.all() else select(layer, np.flatnonzero(kept), axis=1)


def join_curves(parts):
    """Join the tuning curves of several layers into those of one population."""
    if len(parts) == 1:
        return parts[0]
    return TuningCurves(
        side_by_side(part.vectors for part in parts),
        np.concatenate([part.offsets for part in parts]),
        parts[0].weight,
    )


def constant_units(layer):
    """Return a mask of the units that are constant over the stimuli, in numpy.

    Minimum and maximum are compared. The norm of a centred constant column is not
    always 0: a float32 column of 0.1 becomes 1e-6.
    """
    if issparse(layer):
        return _constant_units_of_sparse(layer)
    xp = namespace_of(layer)
    return to_numpy(xp.min(layer, axis=0) == xp.max(layer, axis=0))


def _constant_units_of_sparse(layer):
    # A unit that stores some of its responses, but not all, varies.
    n_stored = count_stored(layer)
    constant = n_stored == 0
    for units, block in dense_blocks(layer, np.flatnonzero(n_stored == layer.shape[0])):
        constant[units] = constant_units(block)
    return constant


def check_some_live(live, where):
    """Raise an error if all units of a layer are constant.

    Parameters
    ----------
    live : ndarray of bool of shape (n_units,)
        Mask of the units that are not constant over the training stimuli.
    where : str
        Name of the layer in error messages.
    """
    if not live.any():
        raise ValueError(
            f"Every unit is constant over the training stimuli in {where}: there is no "
            "tuning curve to match. Leave the layer out."
        )


def mean_over_units(correlations, where):
    """Average correlations over units, ignoring NaN.

    Parameters
    ----------
    correlations : ndarray of shape (n_units,)
        Correlation of each unit, NaN if it is not defined.
    where : str
        Name of the layer in error messages.

    Returns
    -------
    mean : float
        Mean correlation, from -1 to 1.

    Raises
    ------
    ValueError
        If no unit has a correlation.
    """
    defined = correlations[~np.isnan(correlations)]
    if defined.size == 0:
        raise ValueError(
            f"Every unit of {where} is constant over the stimuli scored: no "
            "correlation is defined. Score on more stimuli, or leave the layer out."
        )
    return float(defined.mean())


def warn_about_dead_units(dead_units, where, layouts=(None, None)):
    """Raise one warning about all constant units.

    Parameters
    ----------
    dead_units : list
        Constant units of each side, as an array of indices or nested lists of arrays.
    where : list of str
        Names of the sides in the warning.
    layouts : tuple of (Layout or None), default=(None, None)
        Layouts of both sides, for the names of the layers. None names no layers.
    """
    descriptions = [
        f"{_count(dead)} unit(s) of {side}{_name_layers(dead, layout)}"
        for dead, side, layout in zip(dead_units, where, layouts, strict=True)
        if _count(dead) > 0
    ]
    if descriptions:
        warnings.warn(
            f"{' and '.join(descriptions)} are constant over the training stimuli: "
            "they have no tuning curve, take no part in the matching, and are "
            "predicted as their constant. Estimators list them in "
            "`dead_source_units_` and `dead_target_units_`.",
            DeadUnitWarning,
            stacklevel=stacklevel_of_caller(),
        )


def without_dead_units(log):
    """Return recorded warnings without those of `warn_about_dead_units`.

    Parameters
    ----------
    log : list
        Warnings in the format of `recorded_warnings`.
    """
    return [entry for entry in log if not issubclass(entry[0], DeadUnitWarning)]


def _name_layers(dead, layout):
    """Return which layers have constant units, or nothing if there is one layer."""
    if layout is None or len(layout.widths) == 1:
        return ""
    if not isinstance(dead, list):
        # The layers form one population, and units are counted over all of them.
        dead = to_numpy(dead)
        dead = np.split(dead, np.searchsorted(dead, np.cumsum(layout.widths)[:-1]))
    having = [
        layer_label(index, layout.names)
        for index, part in enumerate(dead)
        if _count(part) > 0
    ]
    shown = ", ".join(having[:_LAYERS_NAMED])
    more = len(having) - _LAYERS_NAMED
    return f" ({shown}{f' and {more} more' if more > 0 else ''})"


def _count(dead):
    if isinstance(dead, list):
        return sum(_count(part) for part in dead)
    return dead.shape[0]

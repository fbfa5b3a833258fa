"""Units of one layer: their statistics, which of them are dead, their tuning curves.

Layers are arrays of any library. What has one number a unit is numpy's, on the host.
"""

from dataclasses import dataclass

import numpy as np

from skmot._array_api import (
    device_of,
    move_to_home_of,
    namespace_of,
    numpy_dtype,
    select,
    to_numpy,
)
from skmot.transport import TuningCurves

METRICS = ("correlation", "cosine", "sqeuclidean")
# Layers are read in tiles of about this many entries, which stay in a processor's cache
# while they are worked on: measured the fastest of 16,000 to 1,000,000 in both orders.
_TILE_ENTRIES = 200_000
# Other libraries start a parallel kernel, on an accelerator perhaps, for each step on a
# tile: fewer and larger ones (128 MB of float64).
_KERNEL_ENTRIES = 16_000_000
# Columns are gathered in blocks of about this many entries (32 MB of float64).
_BLOCK_ENTRIES = 4_000_000
# Sums of squares in this range have lost none of their digits.
_SMALLEST_SQUARES, _LARGEST_SQUARES = 1e-200, 1e300


@dataclass(frozen=True)
class UnitStatistics:
    """What a fit keeps of each unit of a layer.

    Attributes
    ----------
    mean, deviation : ndarray of shape (n_units,)
        Over the training stimuli, in float64; the deviation divides by their number.
        A dead unit has its constant value and 0.
    live : ndarray of bool of shape (n_units,)
        Units that are not constant over the training stimuli.
    dtype : dtype
        Of the layer: the precision its units are reconstructed in, at least.
    shift : ndarray of shape (n_units,)
        What rounding took from the mean, in deviations. Where a unit's offset is large
        beside its deviation it is not small, and units with a shift correlate with each
        other.
    """

    mean: np.ndarray
    deviation: np.ndarray
    live: np.ndarray
    dtype: np.dtype
    shift: np.ndarray

    @property
    def n_live(self):
        return int(np.count_nonzero(self.live))

    @property
    def dead_units(self):
        return np.flatnonzero(~self.live)

    def __getitem__(self, units):
        """Return the statistics of some of the units."""
        return UnitStatistics(
            self.mean[units],
            self.deviation[units],
            self.live[units],
            self.dtype,
            self.shift[units],
        )

    @classmethod
    def side_by_side(cls, parts):
        """Return the statistics of several layers as of one population."""
        return cls(
            mean=np.concatenate([part.mean for part in parts]),
            deviation=np.concatenate([part.deviation for part in parts]),
            live=np.concatenate([part.live for part in parts]),
            dtype=np.result_type(*(part.dtype for part in parts)),
            shift=np.concatenate([part.shift for part in parts]),
        )


def unit_statistics(layer):
    """Compute mean and deviation of each unit, and which units are live.

    Parameters
    ----------
    layer : array of shape (n_stimuli, n_units)
        Finite activations, float32 or float64.

    Returns
    -------
    statistics : UnitStatistics
        In float64, from float64 sums.
    """
    # Squares may leave the range of float64 here: those units are taken again below.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        mean, rest, squares = _moments(layer)
        deviation = np.sqrt(squares / layer.shape[0])
        shift = rest / deviation
    live = np.ones(len(mean), dtype=bool)
    safe = (squares > _SMALLEST_SQUARES) & (squares < _LARGEST_SQUARES)
    others = np.flatnonzero(~safe)
    for part in _column_blocks(layer, len(others)):
        units = others[part]
        live[units], mean[units], deviation[units], shift[units] = _rescaled_moments(
            select(layer, units, axis=1)
        )
    return UnitStatistics(mean, deviation, live, numpy_dtype(layer), shift)


def _rescaled_moments(block):
    """Return which units are live, and their means, deviations and shifts.

    Units are divided by a power of two near their largest magnitude: exact, and squares
    neither overflow nor vanish, whatever the units.
    """
    xp = namespace_of(block)
    low, high = (to_numpy(extreme(block, axis=0)) for extreme in (xp.min, xp.max))
    exponent = np.frexp(np.maximum(np.abs(low), np.abs(high)))[1]
    block = xp.astype(block, xp.float64)
    # In two steps: the inverse of the smallest power of two there is overflows.
    for part in (-exponent // 2, -exponent - (-exponent // 2)):
        block *= move_to_home_of(block, np.ldexp(1.0, part))
    scaled_mean, rest, squares = _moments(block)
    scaled_deviation = np.sqrt(squares / block.shape[0])
    mean = np.ldexp(scaled_mean, exponent)
    # Below the range of float64 the mean is rounded once more.
    rest += scaled_mean - np.ldexp(mean, -exponent)
    live = low < high
    shift = np.divide(rest, scaled_deviation, out=np.zeros_like(rest), where=live)
    return live, mean, np.ldexp(scaled_deviation, exponent), shift


def _moments(layer):
    """Compute means, what rounding took from them, and sums of squared deviations.

    In one reading of the layer. From each tile of it the first stimulus is subtracted,
    then its own mean, and the tiles' moments are merged: so nothing cancels, however
    large the offsets are beside the deviations.

    Returns
    -------
    mean, rest, squares : ndarray of shape (n_units,)
        In float64.
    """
    xp = namespace_of(layer)
    mean, rest, squares = np.empty((3, layer.shape[1]))
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
        mean[columns], rest[columns] = _sum_exactly(to_numpy(first), shift)
        squares[columns] = squared
    return mean, rest, squares


def _merge_moments(first, second):
    """Merge counts, means and sums of squared deviations of two sets of stimuli.

    As Chan, Golub and LeVeque (1983) do.
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
    """Return a sum and what its rounding took, by Knuth's two-sum."""
    total = first + second
    rounded = total - first
    return total, (first - (total - rounded)) + (second - rounded)


def standardize(layer, statistics):
    """Centre and scale units by their training statistics; dead units become 0.

    Parameters
    ----------
    layer : array of shape (n_stimuli, n_units)
        Activations, of the training stimuli or others.
    statistics : UnitStatistics
        Of the training stimuli.

    Returns
    -------
    standardized : array of shape (n_stimuli, n_units)
        In the layer's own precision.
    """
    return _transform(layer, *_standardization(statistics))


def unstandardize(units, statistics):
    """Put units on their training means and deviations; dead units on their constant.

    Parameters
    ----------
    units : array of shape (n_stimuli, n_units)
        Standardised; they may be overwritten.
    statistics : UnitStatistics
        Of the training stimuli.

    Returns
    -------
    layer : array of shape (n_stimuli, n_units)
        In the precision of the training layer or of `units`, whichever is higher.
    """
    units = with_precision_of(units, statistics)
    units *= move_to_home_of(units, statistics.deviation.astype(numpy_dtype(units)))
    units += move_to_home_of(units, statistics.mean.astype(numpy_dtype(units)))
    return units


def with_precision_of(units, statistics):
    """Return units in the precision of their training layer, if that is higher."""
    wanted = np.result_type(numpy_dtype(units), statistics.dtype).name
    xp = namespace_of(units)
    return xp.astype(units, getattr(xp, wanted), copy=False)


def tuning_curves(layer, statistics, metric, center=True, scale=True):
    """Return the live units of a layer as vectors to be matched under a metric.

    Parameters
    ----------
    layer : array of shape (n_stimuli, n_units)
        The training activations.
    statistics : UnitStatistics
        Of the same layer.
    metric : {"correlation", "cosine", "sqeuclidean"}
        "correlation": centred columns of unit norm; "cosine": columns of unit norm,
        not centred; "sqeuclidean": columns, `center` and `scale` as given.
    center : bool, default=True
        For "sqeuclidean": whether columns are centred.
    scale : bool, default=True
        For "sqeuclidean": whether the layer is divided by one number such that the
        mean squared norm of its live columns is 1.

    Returns
    -------
    curves : TuningCurves
        Vectors in the layer's memory order and precision (in float64 for "sqeuclidean"
        without `scale`), offsets in float64 on the host.
    """
    mean, divisor, shift = _standardization(statistics)
    centred = metric == "correlation" or (metric == "sqeuclidean" and center)
    if not centred:
        divisor = np.where(statistics.live, np.hypot(mean, divisor), np.inf)
        mean = shift = np.zeros_like(mean)
    root = np.sqrt(layer.shape[0])
    norms, live = divisor * root, statistics.live
    if metric != "sqeuclidean":
        vectors = _transform(layer, mean, norms, shift / root, live)
        return TuningCurves(vectors, np.full(statistics.n_live, 0.5), 1.0)
    # Without a scale, squares of 1e30 and 1e-30 leave the range of float32.
    dtype = layer.dtype if scale else namespace_of(layer).float64
    layer_scale = _root_mean_square(norms[live]) if scale else 1.0
    shift = shift * (statistics.deviation / layer_scale)
    divisor = np.where(live, layer_scale, np.inf)
    vectors = _transform(layer, mean, divisor, shift, live, dtype)
    return TuningCurves(vectors, (norms[live] / layer_scale) ** 2, 2.0)


def _root_mean_square(norms):
    # Squares of 1e300 and 1e-300 leave the range of float64.
    largest = norms.max()
    return largest * np.sqrt(np.mean((norms / largest) ** 2))


def _standardization(statistics):
    """Return what is subtracted from units, divided by, and subtracted again."""
    divisor = np.where(statistics.live, statistics.deviation, np.inf)
    return statistics.mean, divisor, statistics.shift


def _transform(layer, mean, divisor, shift, kept=None, dtype=None):
    """Compute (layer - mean) / divisor - shift, in float64, in one reading of a layer.

    Before the rounding to float32: a float32 mean, subtracted, leaves its error.

    Parameters
    ----------
    layer : array of shape (n_stimuli, n_units)
        Activations.
    mean, divisor, shift : ndarray of shape (n_units,)
        In float64.
    kept : ndarray of bool of shape (n_units,), default=None
        The units of the result; None keeps all.
    dtype : dtype, default=None
        Of the result; None keeps the layer's.

    Returns
    -------
    transformed : array of shape (n_stimuli, n_kept_units)
        In the memory order of the layer.
    """
    xp = namespace_of(layer)
    kept = np.ones(len(mean), dtype=bool) if kept is None else kept
    transformed = _empty_in_order_of(layer, np.count_nonzero(kept), dtype)
    places = np.cumsum(kept)
    row_blocks, column_blocks = _tiling(layer)
    for columns in column_blocks:
        constants = _columns_of(layer, columns, mean, divisor, shift)
        units = np.flatnonzero(kept[columns])
        end = places[columns.stop - 1]
        made = slice(end - len(units), end)
        for rows in row_blocks:
            tile = _transform_tile(layer[rows, columns], *constants)
            if len(units) < tile.shape[1]:
                tile = select(tile, units, axis=1)
            transformed[rows, made] = xp.astype(tile, transformed.dtype, copy=False)
    return transformed


def _transform_tile(tile, mean, divisor, shift):
    tile = tile - mean
    tile /= divisor
    tile -= shift
    return tile


def _columns_of(layer, columns, *per_unit):
    """Return numbers of some units where the layer is."""
    return [move_to_home_of(layer, values[columns]) for values in per_unit]


def _empty_in_order_of(layer, n_units, dtype):
    xp = namespace_of(layer)
    home = {"dtype": dtype or layer.dtype, "device": device_of(layer)}
    if _has_units_together(layer):
        return xp.empty((n_units, layer.shape[0]), **home).T
    return xp.empty((layer.shape[0], n_units), **home)


def _tiling(layer, n_columns=None):
    """Return the blocks of rows and of columns that a layer is read in.

    What lies together in memory, or in a file, is read together.
    """
    n_rows = layer.shape[0]
    n_columns = layer.shape[1] if n_columns is None else n_columns
    entries = _TILE_ENTRIES if isinstance(layer, np.ndarray) else _KERNEL_ENTRIES
    if _has_units_together(layer):
        height, width = n_rows, entries // n_rows
    else:
        height, width = entries // max(1, n_columns), n_columns
    return _blocks(n_rows, height), _blocks(n_columns, width)


def _has_units_together(layer):
    """Whether the entries of a unit are nearer in memory than those of a stimulus."""
    if not isinstance(layer, np.ndarray):
        return False
    between_rows, between_columns = layer.strides
    return abs(between_rows) < abs(between_columns)


def _blocks(length, size):
    size = max(1, size)
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def _column_blocks(layer, n_columns=None):
    n_columns = layer.shape[1] if n_columns is None else n_columns
    return _blocks(n_columns, _BLOCK_ENTRIES // max(1, layer.shape[0]))


def column_correlations(truth, prediction):
    """Pearson correlation of each column of one array with that of another.

    Parameters
    ----------
    truth, prediction : array of shape (n_stimuli, n_units)
        Finite responses, in one namespace and on one device.

    Returns
    -------
    correlations : ndarray of shape (n_units,)
        NaN where the truth is constant; 0 where only the prediction is. On the host.
    """
    xp = namespace_of(truth, prediction)
    sides = [(side, unit_statistics(side)) for side in (truth, prediction)]
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
                _transform_tile(side[rows, columns], *those)
                for (side, _), those in zip(sides, constants, strict=True)
            )
            first *= second
            total = total + xp.sum(first, axis=0)
        products[columns] = to_numpy(total)
    correlations = np.clip(products / truth.shape[0], -1.0, 1.0)
    correlations[~sides[0][1].live] = np.nan
    return correlations


def _unit_columns(block):
    """Return columns centred and of unit norm, in float64; constant ones become 0."""
    return standardize(block.astype(np.float64), unit_statistics(block)) / np.sqrt(
        len(block)
    )


def paired_products(source, target, rows, columns):
    """Inner products of chosen pairs of columns, in float64.

    Parameters
    ----------
    source, target : array of shape (n_stimuli, n_units)
        Two populations, in one namespace and on one device.
    rows, columns : ndarray of int of shape (n_pairs,)
        The units of `source` and of `target` that make the pairs.

    Returns
    -------
    products : ndarray of shape (n_pairs,)
        source[:, rows[p]] . target[:, columns[p]], on the host.
    """

    def multiply(first, second):
        first *= second
        return first

    return _sum_over_stimuli(multiply, source, target, rows, columns)


def paired_squared_distances(source, target, rows, columns):
    """Squared distances of chosen pairs of columns, from their differences.

    As |x|^2 + |y|^2 - 2 x'y they would lose half the digits where units are alike.

    Parameters
    ----------
    source, target : array of shape (n_stimuli, n_units)
        Two populations, in one namespace and on one device.
    rows, columns : ndarray of int of shape (n_pairs,)
        The units of `source` and of `target` that make the pairs.

    Returns
    -------
    squared : ndarray of shape (n_pairs,)
        |source[:, rows[p]] - target[:, columns[p]]|^2, in float64, on the host.
    """

    def square_difference(first, second):
        first -= second
        first *= first
        return first

    return _sum_over_stimuli(square_difference, source, target, rows, columns)


def _sum_over_stimuli(function, source, target, rows, columns):
    """Sum a function of pairs of columns, which are new arrays in float64."""
    xp = namespace_of(source, target)
    rows, columns = np.asarray(rows), np.asarray(columns)
    sums = np.empty(len(rows))
    stimulus_blocks, pair_blocks = _tiling(source, len(rows))
    for pairs in pair_blocks:
        total = 0.0
        for stimuli in stimulus_blocks:
            first, second = (
                xp.astype(select(side[stimuli, :], units[pairs], axis=1), xp.float64)
                for side, units in ((source, rows), (target, columns))
            )
            total = total + xp.sum(function(first, second), axis=0)
        sums[pairs] = to_numpy(total)
    return sums


def constant_units(layer):
    """Return a mask of the units that are constant over the stimuli, on the host.

    By their extremes, not by their norm: a float32 column of 0.1 centres to 1e-6.
    """
    xp = namespace_of(layer)
    return to_numpy(xp.min(layer, axis=0) == xp.max(layer, axis=0))


def check_some_live(live, where):
    """Raise unless a layer has a unit that is not constant.

    Parameters
    ----------
    live : ndarray of bool of shape (n_units,)
        The units that are not constant over the training stimuli.
    where : str
        What the layer is called in the message.
    """
    if not live.any():
        raise ValueError(
            f"Every unit is constant over the training stimuli in {where}: there is no "
            "tuning curve to match. Leave the layer out."
        )

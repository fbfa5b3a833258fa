"""Units of one layer: their statistics, which of them are dead, their tuning curves."""

from dataclasses import dataclass

import numpy as np

from skmot.transport import TuningCurves

METRICS = ("correlation", "cosine", "sqeuclidean")
# Columns are worked on in blocks of about this many entries (32 MB of float64).
_BLOCK_ENTRIES = 4_000_000


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
    """

    mean: np.ndarray
    deviation: np.ndarray
    live: np.ndarray
    dtype: np.dtype

    @property
    def n_live(self):
        return int(np.count_nonzero(self.live))

    @property
    def dead_units(self):
        return np.flatnonzero(~self.live)

    def __getitem__(self, units):
        """Return the statistics of some of the units."""
        return UnitStatistics(
            self.mean[units], self.deviation[units], self.live[units], self.dtype
        )

    @classmethod
    def side_by_side(cls, parts):
        """Return the statistics of several layers as of one population."""
        return cls(
            mean=np.concatenate([part.mean for part in parts]),
            deviation=np.concatenate([part.deviation for part in parts]),
            live=np.concatenate([part.live for part in parts]),
            dtype=np.result_type(*(part.dtype for part in parts)),
        )


def unit_statistics(layer):
    """Compute mean and deviation of each unit, and which units are live.

    Parameters
    ----------
    layer : ndarray of shape (n_stimuli, n_units)
        Finite activations, float32 or float64.

    Returns
    -------
    statistics : UnitStatistics
        In float64, from float64 sums.
    """
    n_units = layer.shape[1]
    mean, deviation = np.empty(n_units), np.empty(n_units)
    live = np.empty(n_units, dtype=bool)
    for part in _column_blocks(layer):
        low, high = layer[:, part].min(axis=0), layer[:, part].max(axis=0)
        live[part] = low < high
        block, exponent = _rescaled(layer[:, part], low, high)
        mean[part] = np.ldexp(_centre(block), exponent)
        deviation[part] = np.ldexp(np.sqrt(np.mean(block**2, axis=0)), exponent)
        # A sum of equal numbers, divided by their count, need not be that number.
        mean[part][~live[part]] = low[~live[part]]
        deviation[part][~live[part]] = 0.0
    return UnitStatistics(mean, deviation, live, layer.dtype)


def standardize(layer, statistics):
    """Centre and scale units by their training statistics; dead units become 0.

    Parameters
    ----------
    layer : ndarray of shape (n_stimuli, n_units)
        Activations, of the training stimuli or others.
    statistics : UnitStatistics
        Of the training stimuli.

    Returns
    -------
    standardized : ndarray of shape (n_stimuli, n_units)
        In the layer's own precision.
    """
    divisor = np.where(statistics.live, statistics.deviation, np.inf)
    standardized = np.empty(layer.shape, dtype=layer.dtype)
    for part in _column_blocks(layer):
        # Before the rounding to float32: a float32 mean, subtracted, leaves its error.
        block = layer[:, part] - statistics.mean[part]
        block /= divisor[part]
        standardized[:, part] = block
    return standardized


def tuning_curves(layer, statistics, metric, center=True, scale=True):
    """Return the live units of a layer as vectors to be matched under a metric.

    Parameters
    ----------
    layer : ndarray of shape (n_stimuli, n_units)
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
        Vectors in the layer's precision (in float64 for "sqeuclidean" without
        `scale`), offsets in float64.
    """
    columns = np.flatnonzero(statistics.live)
    if metric == "cosine":
        center = False
    elif metric == "correlation":
        center = True
    # Without a scale, squares of 1e30 and 1e-30 leave the range of float32.
    wide = metric == "sqeuclidean" and not scale
    dtype = np.float64 if wide else layer.dtype
    vectors = np.empty((layer.shape[0], len(columns)), dtype=dtype, order="F")
    # As `ldexp` takes them: on Windows it refuses the default integer.
    norms, exponents = np.empty(len(columns)), np.empty(len(columns), dtype=np.intc)
    blocks = list(_column_blocks(layer[:, :0], len(columns)))

    def centred(part):
        block = layer[:, columns[part]]
        block, exponent = _rescaled(block, block.min(axis=0), block.max(axis=0))
        if center:
            _centre(block)
        return block, exponent

    for part in blocks:
        block, exponents[part] = centred(part)
        norms[part] = np.sqrt(np.einsum("si,si->i", block, block))
        if metric != "sqeuclidean":
            vectors[:, part] = block / norms[part]
    if metric != "sqeuclidean":
        return TuningCurves(vectors, np.full(len(columns), 0.5), 1.0)
    # One power of two for the whole layer keeps squares of 1e30 and 1e-30 in range.
    common = exponents.max()
    norms = np.ldexp(norms, exponents - common)
    layer_scale = np.sqrt(np.mean(norms**2)) if scale else np.ldexp(1.0, -common)
    for part in blocks:
        block, exponent = centred(part)
        vectors[:, part] = np.ldexp(block, exponent - common) / layer_scale
    return TuningCurves(vectors, (norms / layer_scale) ** 2, 2.0)


def _rescaled(block, low, high):
    """Divide columns by a power of two near their largest magnitude, in float64.

    Exact, and squares of the result neither overflow nor vanish, whatever the units.
    """
    peak = np.maximum(np.abs(low), np.abs(high)).astype(np.float64)
    exponent = np.frexp(peak)[1]
    return np.ldexp(block.astype(np.float64), -exponent), exponent


def _centre(block):
    """Subtract the means of columns, in place, and return them.

    Twice: where a unit's offset is large beside its deviation, the rounding error of
    the first mean is a shift, and units with a shift correlate with each other.
    """
    first = block.mean(axis=0)
    block -= first
    rest = block.mean(axis=0)
    block -= rest
    return first + rest


def _column_blocks(layer, n_columns=None):
    n_columns = layer.shape[1] if n_columns is None else n_columns
    width = max(1, _BLOCK_ENTRIES // max(1, layer.shape[0]))
    for start in range(0, n_columns, width):
        yield slice(start, min(start + width, n_columns))


def column_correlations(truth, prediction):
    """Pearson correlation of each column of one array with that of another.

    Parameters
    ----------
    truth, prediction : ndarray of shape (n_stimuli, n_units)
        Finite responses.

    Returns
    -------
    correlations : ndarray of shape (n_units,)
        NaN where the truth is constant; 0 where only the prediction is.
    """
    correlations = np.empty(truth.shape[1])
    for part in _column_blocks(truth):
        first, second = (
            _unit_columns(truth[:, part]),
            _unit_columns(prediction[:, part]),
        )
        block = np.clip(np.einsum("su,su->u", first, second), -1.0, 1.0)
        block[constant_units(truth[:, part])] = np.nan
        correlations[part] = block
    return correlations


def _unit_columns(block):
    """Return columns centred and of unit norm, in float64; constant ones become 0."""
    low, high = block.min(axis=0), block.max(axis=0)
    columns, _ = _rescaled(block, low, high)
    _centre(columns)
    norms = np.sqrt(np.einsum("su,su->u", columns, columns))
    return columns / np.where(low < high, norms, np.inf)


def paired_products(source, target, rows, columns):
    """Inner products of chosen pairs of columns, in float64.

    Parameters
    ----------
    source, target : ndarray of shape (n_stimuli, n_units)
        Two populations.
    rows, columns : ndarray of int of shape (n_pairs,)
        The units of `source` and of `target` that make the pairs.

    Returns
    -------
    products : ndarray of shape (n_pairs,)
        source[:, rows[p]] . target[:, columns[p]].
    """
    products = np.empty(len(rows))
    for part in _column_blocks(source, len(rows)):
        products[part] = np.einsum(
            "sp,sp->p",
            source[:, rows[part]],
            target[:, columns[part]],
            dtype=np.float64,
        )
    return products


def paired_squared_distances(source, target, rows, columns):
    """Squared distances of chosen pairs of columns, from their differences.

    As |x|^2 + |y|^2 - 2 x'y they would lose half the digits where units are alike.

    Parameters
    ----------
    source, target : ndarray of shape (n_stimuli, n_units)
        Two populations.
    rows, columns : ndarray of int of shape (n_pairs,)
        The units of `source` and of `target` that make the pairs.

    Returns
    -------
    squared : ndarray of shape (n_pairs,)
        |source[:, rows[p]] - target[:, columns[p]]|^2, in float64.
    """
    squared = np.empty(len(rows))
    for part in _column_blocks(source, len(rows)):
        difference = np.subtract(
            source[:, rows[part]], target[:, columns[part]], dtype=np.float64
        )
        squared[part] = np.einsum("sp,sp->p", difference, difference)
    return squared


def constant_units(layer):
    """Return a mask of the units that are constant over the stimuli.

    By their extremes, not by their norm: a float32 column of 0.1 centres to 1e-6.
    """
    return layer.min(axis=0) == layer.max(axis=0)


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

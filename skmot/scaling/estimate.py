"""Estimates of the run time and the memory of a fit, from the shapes of its data."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from joblib import effective_n_jobs
from sklearn import get_config

from skmot._utils.sklearn import Interval, validate_params
from skmot.base import PairComparison
from skmot.layers import LayerStack
from skmot.layers.checks import check_layer, check_same_length
from skmot.layers.sides import read_side
from skmot.layers.splits import make_cost_folds
from skmot.multilevel.estimators import LayerCoupler
from skmot.pairs import RotationMatching
from skmot.scaling.measured import WORK, measure_overhead, measure_pair

# Dtypes whose products are computed in float32. All others are computed in float64.
_SINGLE = ("float16", "float32")
# Pairs of at most this many widths a side are measured, for this time each if there is
# one, and for a share of it otherwise. Other widths are interpolated.
_MOST_WIDTHS, _SECONDS = 3, 2.0
# What was measured in this process, by estimator and size.
_measured = {}
_UNITS_OF_BYTES = ("bytes", "kB", "MB", "GB", "TB", "PB")


@dataclass(frozen=True)
class Estimate:
    """Estimated run time and memory of a fit. `print` shows it as a table.

    Attributes
    ----------
    seconds : float
        Wall time of the fit.
    peak_bytes : int
        Peak memory in bytes, in addition to the given layers.
    parts : dict of str to float
        Seconds for "reading" the layers (checks, means and deviations), their
        "preparation" (each layer once: standardisation, or what the estimator computes
        of a layer for all its pairs), the "pairs", and "bookkeeping", summed over all
        workers.
    n_pairs : int
        Number of pairs of populations, without the folds of `cost_cv`.
    n_workers : int
        Number of pairs that are fitted in parallel.
    """

    seconds: float
    peak_bytes: int
    parts: dict
    n_pairs: int
    n_workers: int

    def __str__(self):
        lines = [f"{self.n_pairs:,} pair(s), {self.n_workers} worker(s)"]
        total = sum(self.parts.values())
        for name, seconds in self.parts.items():
            lines.append(f"{name:<16}{_span(seconds):>10}{seconds / total:>7.0%}")
        lines.append(f"{'all work':<16}{_span(total):>10}")
        lines.append(f"{'wall time':<16}{_span(self.seconds):>10}")
        lines.append(f"{'peak memory':<16}{_size(self.peak_bytes):>10}")
        return "\n".join(lines)


@validate_params(
    {
        "n_workers": [Interval(Integral, 1, None, closed="left"), None],
        "n_rounds": [Interval(Real, 0, None, closed="neither"), None],
    },
    prefer_skip_nested_validation=True,
)
def estimate(estimator, X, y, *, n_workers=None, n_rounds=None):
    """Estimate the run time and the memory of a fit from the shapes of its data.

    Pairs of simulated layers are fitted, with all sizes reduced by the same factor, and
    their times are extrapolated to the size of the data. This takes a few seconds for
    an estimator and a size; what was measured is kept for later calls.

    Parameters
    ----------
    estimator : estimator
        Estimator of one pair of populations (such as `SoftMatching`, `RSA` or your own
        :class:`skmot.base.PairComparison`), or a `MultiLevelOT` or
        `MultiLevelOTRotation` above one, at any depth. It is not changed.
    X, y : LayerStack, list, dict, DataFrame or array-like
        Data of the fit. Only shapes and dtypes are read: layers in files are not
        loaded, and layers from :func:`placeholder_layers` are sufficient.
    n_workers : int, default=None
        Number of pairs that are fitted in parallel, each on a core as fast as those of
        this machine. None means the number that `n_jobs` of the estimator gives on this
        machine.
    n_rounds : float, default=None
        For rotations: number of iterations until one converges, which depends on the
        data. None means `max_iter * n_init`, so that the estimate is an upper bound.

    Returns
    -------
    estimate : Estimate
        Estimate for one fit. K-fold cross-validation takes about k - 1 times as long,
        plus the time for scores. Results that are already in `memory` are ignored.

    Raises
    ------
    TypeError
        If the estimator, or its innermost estimator, is none of the above.
    ValueError
        If the sides differ in their number of stimuli, `n_workers` or `n_rounds` is not
        positive, or `cost_cv` is an iterator.

    See Also
    --------
    placeholder_layers : Layers that have a shape and take no memory.

    Notes
    -----
    The simulated units are tuned to dimensions that all layers share. The time of a
    matching depends on the data: it can differ by a factor of two, and by more if many
    costs are equal. Units are simulated with equal weights; with `source_weights` or
    `target_weights`, the transport of a pair takes up to three times as long, and
    reliabilities take additional time. If layers have more than three widths a side,
    three are measured and the others interpolated. The time for held-out costs of
    `cost_cv` is not included, nor that cores share memory bandwidth, or that machines
    communicate over a network.

    Examples
    --------
    Sixteen layers of 2,048 units and 24 of 896, on this machine and on 64 cores:

    >>> from skmot import MultiLevelOT
    >>> from skmot.scaling import estimate, placeholder_layers
    >>> source = placeholder_layers(2042, [2048] * 16)
    >>> target = placeholder_layers(2042, [896] * 24)
    >>> here = estimate(MultiLevelOT(n_jobs=2), source, target)
    >>> here.n_pairs, here.n_workers
    (384, 2)
    >>> print(here)  # doctest: +ELLIPSIS
    384 pair(s), 2 worker(s)
    reading ...
    >>> there = estimate(MultiLevelOT(), source, target, n_workers=64)
    >>> there.seconds < here.seconds
    True
    """
    inner = _innermost_estimator(estimator)
    sides = [_read_shapes(X, "X"), _read_shapes(y, "y")]
    check_same_length(*sides, "X", "y")
    if n_workers is None:
        n_workers = effective_n_jobs(getattr(estimator, "n_jobs", 1))
    if n_rounds is None and isinstance(inner, RotationMatching):
        n_rounds = inner.max_iter * inner.n_init
    whole, *folds = _stimuli_of_fits(estimator, *sides)
    widths = [_widths(estimator, stack.structure) for stack in sides]
    overhead = measure_overhead() if isinstance(estimator, LayerCoupler) else 0.0

    def work_of(n_stimuli):
        return _Work(
            inner, n_stimuli, widths, _dtype(sides), n_rounds, overhead, n_workers
        )

    fits = [work_of(whole)]
    if folds:
        # Folds differ by a few stimuli.
        fits += [work_of(round(np.mean(folds)))] * len(folds)
    return Estimate(
        seconds=sum(fit.seconds for fit in fits),
        peak_bytes=fits[0].peak_bytes,
        parts={name: sum(fit.parts[name] for fit in fits) for name in fits[0].parts},
        n_pairs=fits[0].n_pairs,
        n_workers=n_workers,
    )


@validate_params(
    {
        "n_stimuli": [Interval(Integral, 1, None, closed="left")],
        "widths": ["array-like"],
    },
    prefer_skip_nested_validation=True,
)
def placeholder_layers(n_stimuli, widths, dtype="float32"):
    """Create layers that have a shape but take no memory, for :func:`estimate`.

    Parameters
    ----------
    n_stimuli : int
        Number of rows of each layer.
    widths : sequence of int
        Number of units of each layer. For an additional level, put several of these
        stacks into a :class:`skmot.LayerStack`.
    dtype : dtype, default="float32"
        Dtype of all layers.

    Returns
    -------
    layers : LayerStack
        Layers of zeros, which take no memory.

    Examples
    --------
    >>> from skmot.scaling import placeholder_layers
    >>> placeholder_layers(10**9, [8192, 4096])
    LayerStack(1000000000 stimuli, 2 layers: 0 (8192 units), 1 (4096 units))
    """
    for width in widths:
        if not isinstance(width, Integral) or width < 1:
            raise ValueError(
                f"`widths` must be whole numbers of at least 1; got {width!r}."
            )
    if not len(widths):
        raise ValueError("`widths` is empty: give one number of units for each layer.")
    try:
        zero = np.zeros((), dtype=dtype)
    except TypeError as error:
        raise TypeError(f"`dtype` is none: {error}.") from error
    if zero.dtype.kind not in "biuf":
        raise ValueError(f"`dtype` must be a dtype of real numbers; got {dtype!r}.")
    return LayerStack([np.broadcast_to(zero, (n_stimuli, width)) for width in widths])


# -- properties of the estimator and the data --------------------------------------


def _read_shapes(given, argument):
    """Read a side, and check one row of each layer, without reading files."""
    stack, layout = read_side(given, argument)
    for leaf in layout.leaves(stack[:1]):
        check_layer(leaf.layer, leaf.where, allow_missing=True, accept_sparse=True)
    return stack


def _innermost_estimator(estimator):
    """Return the estimator that is fitted to pairs of populations."""
    inner = estimator
    while isinstance(inner, LayerCoupler):
        inner = inner._inner_estimator()
    if not isinstance(inner, PairComparison):
        raise TypeError(
            f"`estimator` is or contains a {type(inner).__name__}: the time of a fit "
            "is estimated for the estimators of skmot, and those that are derived from "
            "skmot.base.PairComparison. Measure the time for one pair of layers, and "
            "multiply it by the number of pairs."
        )
    return inner


def _widths(estimator, structure):
    """Return the number of units of each population."""
    if not isinstance(structure, tuple):
        return [structure]
    parts = structure[1]
    if not isinstance(estimator, LayerCoupler):
        # All layers form one population.
        return [sum(sum(_widths(estimator, part)) for part in parts)]
    return [
        width for part in parts for width in _widths(estimator._inner_estimator(), part)
    ]


def _dtype(sides):
    """Return the dtype in which products are computed."""
    # The name of a torch dtype starts with "torch.".
    names = [str(stack.dtype).rpartition(".")[2] for stack in sides]
    return "float32" if all(name in _SINGLE for name in names) else "float64"


def _stimuli_of_fits(estimator, source, target):
    """Return the numbers of stimuli of the fit and of the fits to `cost_cv` folds."""
    if not isinstance(estimator, LayerCoupler):
        return [len(source)]
    inner = estimator._inner_estimator()
    fits = _stimuli_of_fits(inner, source, target)
    if estimator.cost_cv is None:
        return fits
    if isinstance(estimator.cost_cv, Iterator):
        raise ValueError(
            "`cost_cv` is an iterator, which can be read only once: give a list of "
            "folds to estimate the time of their fits."
        )
    for train, _ in make_cost_folds(estimator.cost_cv, source, target):
        fits += _stimuli_of_fits(inner, source[train], target[train])
    return fits


# -- the work of all pairs -----------------------------------------------------------


class _Work:
    """Time and memory of one fit.

    Parameters
    ----------
    inner : PairComparison
        Estimator of a pair.
    n_stimuli : int
        Number of stimuli.
    widths : list of two lists of int
        Numbers of units of the populations of both sides.
    dtype : {"float32", "float64"}
        Dtype of the layers.
    n_rounds : float or None
        Number of iterations of a rotation.
    overhead : float
        Seconds that a level adds to each pair.
    n_workers : int
        Number of pairs that are fitted in parallel.
    """

    def __init__(self, inner, n_stimuli, widths, dtype, n_rounds, overhead, n_workers):
        self.n_pairs = math.prod(map(len, widths))
        pairs = _work_of_pairs(inner, n_stimuli, widths, dtype, n_rounds)
        layers = {
            name: _share_among_layers(pairs[name], widths)
            for name in ("reading", "preparing", "prepared bytes")
        }
        reading = layers["reading"].sum()
        preparing = np.split(layers["preparing"], [len(widths[0])])
        self.parts = {
            "reading": float(reading),
            "preparation": float(layers["preparing"].sum()),
            "pairs": float(pairs["solving"].sum()),
            "bookkeeping": float(self.n_pairs * overhead),
        }
        # Workers wait for a layer of the smaller network that their pairs have in
        # common, and prepare those of the other network side by side.
        alone = min(preparing, key=len).sum()
        if self.n_pairs == 1:
            alone = layers["preparing"].sum()
        in_parallel = sum(self.parts.values()) - reading - alone
        longest = pairs["solving"].max() + overhead
        self.seconds = float(reading + alone + max(in_parallel / n_workers, longest))
        n_at_once = min(n_workers, self.n_pairs)
        # Layers of pairs that are being fitted stay in memory, even beyond the limit.
        kept_layers = min(
            layers["prepared bytes"].sum(),
            max(
                get_config()["working_memory"] * 2**20,
                (n_at_once + 1) * layers["prepared bytes"].max(),
            ),
        )
        self.peak_bytes = int(
            kept_layers
            + n_at_once * pairs["solving bytes"].max()
            + pairs["kept bytes"].sum()
        )


def _work_of_pairs(inner, n_stimuli, widths, dtype, n_rounds):
    """Estimate the work of each pair of populations.

    Returns
    -------
    work : dict of str to ndarray of shape (n_source, n_target)
        The quantities of `WORK` for each pair.
    """
    sizes = [_representative(side) for side in widths]
    seconds = _SECONDS / math.prod(map(len, sizes))
    measured = np.array(
        [
            [
                _work_of_pair(inner, n_stimuli, n, k, dtype, n_rounds, seconds)
                for k in sizes[1]
            ]
            for n in sizes[0]
        ]
    )
    # Between the sizes that were measured, work follows powers of the widths.
    logarithms = np.log(np.maximum(measured, np.finfo(float).tiny))
    for axis, (side, known) in enumerate(zip(widths, sizes, strict=True)):
        logarithms = np.apply_along_axis(
            lambda values, side=side, known=known: np.interp(
                np.log(side), np.log(known), values
            ),
            axis,
            logarithms,
        )
    return dict(zip(WORK, np.moveaxis(np.exp(logarithms), -1, 0), strict=True))


def _representative(widths):
    """Return the widths to measure, sorted: all if they are few."""
    widths = np.unique(widths)
    if len(widths) <= _MOST_WIDTHS:
        return widths.tolist()
    wanted = np.geomspace(widths[0], widths[-1], _MOST_WIDTHS)
    nearest = np.abs(np.log(widths) - np.log(wanted)[:, np.newaxis]).argmin(axis=1)
    return np.unique(widths[nearest]).tolist()


def _work_of_pair(inner, n_stimuli, n, k, dtype, n_rounds, seconds):
    """Measure a pair, with the given number of iterations if it has a rotation."""
    size = n_stimuli, n, k, dtype, seconds
    if not isinstance(inner, RotationMatching):
        return _measure_once(inner, *size)
    once, twice = (
        _measure_once(type(inner)(inner.metric, max_iter, tol=0.0), *size)
        for max_iter in (1, 2)
    )
    work, solving = once.copy(), WORK.index("solving")
    work[solving] += (n_rounds - 1) * max(twice[solving] - once[solving], 0.0)
    return work


def _share_among_layers(work, widths):
    """Return the work of each layer, given that of both layers of each pair."""
    source, target = (np.array(side) for side in widths)
    share = source[:, np.newaxis] / (source[:, np.newaxis] + target)
    return np.concatenate(
        [(work * share).mean(axis=1), (work * (1 - share)).mean(axis=0)]
    )


def _measure_once(estimator, *size):
    """Measure a pair, or return what was measured before in this process."""
    settings = repr(sorted(estimator.get_params().items()))
    key = type(estimator), settings, size
    if key not in _measured:
        _measured[key] = measure_pair(estimator, *size)
    return _measured[key]


def _span(seconds):
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= (2 if unit > 1 else 1) * unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{1000 * seconds:.3g} ms"


def _size(n_bytes):
    power = min(int(math.log(max(n_bytes, 1), 1000)), len(_UNITS_OF_BYTES) - 1)
    return f"{n_bytes / 1000**power:.3g} {_UNITS_OF_BYTES[power]}"

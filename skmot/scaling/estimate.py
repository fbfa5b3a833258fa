"""Estimates of the run time and the memory of a fit, from the shapes of its data."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from joblib import effective_n_jobs
from sklearn import get_config

from skmot.layers import LayerStack
from skmot.layers.checks import check_same_length
from skmot.layers.sides import read_side
from skmot.layers.splits import make_cost_folds
from skmot.multilevel.estimators import LayerCoupler
from skmot.pairs import RotationMatching, SoftMatching
from skmot.scaling import calibration

# Dtypes whose products are computed in float32. All others are computed in float64.
_SINGLE = ("float16", "float32")
# Measured memory per arc, in bytes, while a worker solves a pair in float32. Partial
# transport uses all arcs in float64.
_BYTES_AN_ARC, _BYTES_AN_ARC_PARTIAL = 8, 32
# Bytes per unit of each side in the fitted attributes of a pair: a plan has one entry
# of 12 bytes for each unit, and flow, potentials and matched fractions are as long.
_BYTES_A_UNIT = 48
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
        Seconds for "standardisation", "products", "transport", "rotation" (0 without a
        rotation) and "bookkeeping", summed over all workers.
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


def estimate(estimator, X, y, *, n_workers=None, n_rounds=None):
    """Estimate the run time and the memory of a fit from the shapes of its data.

    A fit of L source layers of N units to M target layers of K units over S stimuli
    standardises S (L N + M K) numbers. For each pair of layers it computes a matrix
    product of S N K multiplications and solves a transport problem with N K arcs. With
    a rotation, each iteration solves a transport problem and computes further products.
    The time of each step is measured on small problems on this machine, which takes
    about a second in each process, and scaled to the size of the data.

    Parameters
    ----------
    estimator : SoftMatching, RotationMatching, MultiLevelOT or MultiLevelOTRotation
        Fitted or unfitted estimator, which is not changed. A `MultiLevelOT` can contain
        any of these estimators, at any depth.
    X, y : LayerStack, list, dict, DataFrame or array-like
        Data of the fit. Only shapes and dtypes are read: layers in files are not
        loaded, and layers from :func:`placeholder_layers` are sufficient.
    n_workers : int, default=None
        Number of pairs that are fitted in parallel, each on a core as fast as those of
        this machine. None means the number that `n_jobs` of the estimator gives on this
        machine.
    n_rounds : float, default=None
        Number of iterations until a rotation converges, which depends on the data. None
        means `max_iter * n_init`, so that the estimate is an upper bound.

    Returns
    -------
    estimate : Estimate
        Estimate for one fit. K-fold cross-validation takes about k - 1 times as long,
        plus the time for scores. Results that are already in `memory` are ignored.

    Raises
    ------
    TypeError
        If the estimator, or its innermost estimator, is none of the above. For other
        estimators, measure the time for one pair of layers and multiply it.
    ValueError
        If the sides differ in their number of stimuli, `n_workers` or `n_rounds` is not
        positive, or `cost_cv` is an iterator.

    See Also
    --------
    placeholder_layers : Layers that have a shape and take no memory.

    Notes
    -----
    The time for transport depends on the data. It can differ by a factor of two, in
    either direction, from the time measured on correlated units, and by more if many
    costs are equal. The estimate does not include that cores share memory bandwidth,
    or that machines communicate over a network.

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
    standardisation ...
    >>> there = estimate(MultiLevelOT(), source, target, n_workers=64)
    >>> there.seconds < here.seconds
    True
    """
    inner = _innermost_estimator(estimator)
    sides = [read_side(given, name)[0] for given, name in ((X, "X"), (y, "y"))]
    check_same_length(*sides, "X", "y")
    n_workers = _positive(
        "n_workers",
        effective_n_jobs(getattr(estimator, "n_jobs", 1))
        if n_workers is None
        else n_workers,
    )
    if not isinstance(inner, RotationMatching):
        n_rounds = 0
    elif n_rounds is None:
        n_rounds = inner.max_iter * inner.n_init
    else:
        n_rounds = _positive("n_rounds", n_rounds)
    problem = _Problem(
        *(_widths(estimator, stack.structure) for stack in sides),
        dtype=_dtype(sides),
        mass=getattr(inner, "mass", 1.0),
        n_rounds=n_rounds,
        n_workers=n_workers,
    )
    fits = [problem.work(n) for n in _stimuli_of_fits(estimator, *sides)]
    return Estimate(
        seconds=sum(fit.seconds(n_workers) for fit in fits),
        peak_bytes=problem.peak_bytes(len(sides[0])),
        parts={name: sum(fit.parts[name] for fit in fits) for name in fits[0].parts},
        n_pairs=problem.n_pairs,
        n_workers=n_workers,
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
    zero = np.zeros((), dtype=dtype)
    return LayerStack([np.broadcast_to(zero, (n_stimuli, width)) for width in widths])


# -- properties of the estimator and the data --------------------------------------


def _innermost_estimator(estimator):
    """Return the estimator that is fitted to pairs of populations."""
    inner = estimator
    while isinstance(inner, LayerCoupler):
        inner = inner._inner_estimator()
    if not isinstance(inner, (SoftMatching, RotationMatching)):
        raise TypeError(
            f"`estimator` is or contains a {type(inner).__name__}: the time of a fit "
            "is known for SoftMatching and RotationMatching only, alone or within "
            "MultiLevelOT. Measure the time for one pair of layers, and multiply it by "
            "the number of pairs."
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


def _positive(name, number):
    if not number > 0:
        raise ValueError(f"`{name}` must be more than 0; got {number!r}.")
    return number


# -- the model of run time and memory ------------------------------------------------


@dataclass(frozen=True)
class _Work:
    """CPU seconds of one fit, of its serial part, and of its slowest pair."""

    parts: dict
    serial: float
    longest_pair: float

    def seconds(self, n_workers):
        parallel = sum(self.parts.values()) - self.serial
        return self.serial + max(parallel / n_workers, self.longest_pair)


@dataclass(frozen=True)
class _Problem:
    """Pairs of populations of two networks, given by their numbers of units."""

    source: list
    target: list
    dtype: str
    mass: float
    n_rounds: float
    n_workers: int

    @property
    def n_pairs(self):
        return len(self.source) * len(self.target)

    def work(self, n_stimuli):
        n_units = sum(self.source) + sum(self.target)
        reading = calibration.reading_seconds(self.dtype) * n_stimuli * n_units
        scaling = calibration.standardisation_seconds(self.dtype) * n_stimuli * n_units
        # Pairs of the same size are computed once.
        pairs = Counter()
        for (n, n_times), (k, k_times) in product(
            Counter(self.source).items(), Counter(self.target).items()
        ):
            pairs[n, k] += n_times * k_times
        seconds = {pair: self._pair_seconds(*pair, n_stimuli) for pair in pairs}
        parts = {"standardisation": reading + scaling}
        for name in ("products", "transport", "rotation", "bookkeeping"):
            parts[name] = sum(
                times * seconds[pair][name] for pair, times in pairs.items()
            )
        longest = max(sum(pair_parts.values()) for pair_parts in seconds.values())
        return _Work(parts, reading, longest)

    def _pair_seconds(self, n, k, n_stimuli):
        """Return the seconds for each part of the fit of one pair."""
        seconds = {
            "products": self._product_seconds(n_stimuli * n * k),
            "transport": _transport_seconds(n * k, self.mass),
            "rotation": 0.0,
            "bookkeeping": calibration.pair_seconds(),
        }
        if self.n_rounds:
            seconds["transport"] *= self.n_rounds
            seconds["rotation"] = self._rotation_seconds(n, k, n_stimuli)
        return seconds

    def _rotation_seconds(self, n, k, n_stimuli):
        """Return the seconds of all iterations of one pair, without transport."""
        rank, rows = min(n, k, n_stimuli), min(n, n_stimuli)
        # Before the iterations: products of target units, and a triangular factor and
        # a basis of the source.
        once = n_stimuli * k**2 + 2 * n_stimuli * rows * n + 2 * n * rank**2
        # In each iteration: decompositions of a matrix with the size of the smaller
        # side, in float64, products with the source, and the rotation of the source.
        multiplications = 6 * rank**2 * k + n * rank * k
        decompositions = calibration.eigen_seconds()
        if rank == n:
            multiplications += n**2 * rows
        else:
            decompositions += calibration.singular_seconds(self.dtype)
            multiplications += 3 * n * rank**2 + min(
                3 * n * rank * rows, 2 * n**2 * rank + n**2 * rows
            )
        iteration = self._product_seconds(multiplications) + decompositions * rank**3
        return self._product_seconds(once) + self.n_rounds * iteration

    def _product_seconds(self, n_multiplications):
        return n_multiplications * calibration.product_seconds(self.dtype)

    def peak_bytes(self, n_stimuli):
        """Return the peak memory in bytes, in addition to the given layers."""
        item = np.dtype(self.dtype).itemsize
        sources = [item * n_stimuli * n for n in self.source]
        targets = [item * n_stimuli * k for k in self.target]
        n, k = max(self.source), max(self.target)
        bytes_per_arc = _BYTES_AN_ARC if self.mass == 1 else _BYTES_AN_ARC_PARTIAL
        solving = bytes_per_arc * n * k * item / 4
        attributes = _BYTES_A_UNIT * (
            len(self.target) * sum(self.source) + len(self.source) * sum(self.target)
        )
        if self.n_rounds:
            # The triangular factor of each source layer, and the rotation of each pair.
            sources = [
                size + item * min(n_stimuli, n) * n
                for size, n in zip(sources, self.source, strict=True)
            ]
            attributes += item * len(self.target) * sum(n**2 for n in self.source)
            # Products and units before and after a rotation, and products of target
            # units. Decompositions are in float64.
            rank, rows = min(n, k, n_stimuli), min(n, n_stimuli)
            solving += item * (2 * n * k + k**2 + 4 * n * rank + 2 * n * rows)
            solving += 8 * (2 * rank * k + 4 * rank**2)
        n_at_once = min(self.n_workers, self.n_pairs)
        # Layers of pairs that are being fitted stay in memory, even beyond the limit.
        limit = max(
            get_config()["working_memory"] * 2**20,
            (n_at_once + 1) * max(*sources, *targets),
        )
        layers = min(sum(sources) + sum(targets), limit)
        return int(layers + n_at_once * solving + attributes)


def _transport_seconds(n_arcs, mass):
    """Interpolate the measured times on logarithmic scales.

    Beyond the largest measured size, the time is proportional to the number of arcs:
    for 1.4 to 59 million arcs, 12 to 20 ns per arc were measured, both for widths that
    divide each other and for others.
    """
    arcs, seconds = calibration.transport_seconds(mass)
    if n_arcs > arcs[-1]:
        return seconds[-1] * n_arcs / arcs[-1]
    return math.exp(np.interp(math.log(n_arcs), np.log(arcs), np.log(seconds)))


def _span(seconds):
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{1000 * seconds:.3g} ms"


def _size(n_bytes):
    power = min(int(math.log(max(n_bytes, 1), 1000)), len(_UNITS_OF_BYTES) - 1)
    return f"{n_bytes / 1000**power:.3g} {_UNITS_OF_BYTES[power]}"

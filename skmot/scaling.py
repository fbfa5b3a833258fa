"""What a fit will take, before it is made: seconds, memory, and where they go."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from joblib import effective_n_jobs
from sklearn import get_config
from sklearn.model_selection import check_cv

from skmot import _calibration as calibration
from skmot._validation import check_same_length, read_side
from skmot.layers import LayerStack
from skmot.multilevel import LayerCoupler
from skmot.rotation import RotationMatching
from skmot.soft_matching import SoftMatching

__all__ = ["Estimate", "estimate", "placeholder_layers"]

# Dtypes whose products are taken in float32; all others are float64 there.
_SINGLE = ("float16", "float32")
# Bytes an arc that a worker holds while it solves a pair in float32; measured. Where
# only a share of the mass is matched, all arcs are solved for, in float64.
_BYTES_AN_ARC, _BYTES_AN_ARC_OF_A_SHARE = 8, 32
# Bytes a unit of each side that is kept of a pair: a plan has an entry a unit, of 12
# bytes, and flows, potentials and shares are as long.
_BYTES_A_UNIT = 48
_UNITS_OF_BYTES = ("bytes", "kB", "MB", "GB", "TB", "PB")


@dataclass(frozen=True)
class Estimate:
    """What a fit is expected to take; printed, it is a table.

    Attributes
    ----------
    seconds : float
        Wall time of the fit.
    peak_bytes : int
        Most memory beside the layers as they were given.
    parts : dict of str to float
        Seconds of work of "standardisation", "products", "transport", "rotation" (0
        without one) and "bookkeeping", of all workers together.
    n_pairs : int
        Pairs of populations that are matched, folds of `cost_cv` not counted.
    n_workers : int
        Pairs that are worked on at the same time.
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
    """Estimate what fitting an estimator will take, from the shapes of its data.

    A fit of L source layers of N units to M target layers of K units over S stimuli
    standardises S (L N + M K) numbers, multiplies and adds S N K numbers a pair of
    layers, and solves transport over N K arcs a pair; a rotation adds its rounds. How
    long each takes on this machine is measured once, in about a second, on small
    problems, and scaled.

    Parameters
    ----------
    estimator : SoftMatching, RotationMatching, MultiLevelOT or MultiLevelOTRotation
        Not fitted, or fitted: it is not changed. `MultiLevelOT` above any of these, to
        any depth.
    X, y : LayerStack, list, dict, DataFrame or array-like
        What it would be fitted to. Only shapes and dtypes are read: layers in files
        stay there, and :func:`placeholder_layers` will do.
    n_workers : int, default=None
        Pairs that are worked on at the same time, each on a core like this one's. None
        takes what `n_jobs` of the estimator means here.
    n_rounds : float, default=None
        Rounds that a rotation takes to settle, which depends on the data. None takes
        `max_iter`, so that the estimate is an upper bound.

    Returns
    -------
    estimate : Estimate
        Of the fit alone: k-fold cross-validation takes about k - 1 times that, and
        its scores. What is kept in `memory` already is not taken into account.

    Raises
    ------
    TypeError
        If the estimator, or what is fitted to pairs of layers, is none of the above: of
        others nothing is known; time one pair of layers and multiply.
    ValueError
        If the sides differ in their number of stimuli, `n_workers` or `n_rounds` is not
        positive, or folds can be read only once.

    See Also
    --------
    placeholder_layers : Layers that have a shape and take no memory.

    Notes
    -----
    How long transport takes depends on the data: by a factor of two either way from
    what is measured on correlated units, and more where many costs are equal. Pairs on
    several cores share memory and its bandwidth, which is left out, as is the network
    between machines.

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
    inner = _matching(estimator)
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
        dtype=_precision(sides),
        mass=getattr(inner, "mass", 1.0),
        n_rounds=n_rounds,
        n_workers=n_workers,
    )
    fits = [problem.work(n) for n in _stimuli_of_fits(estimator, len(sides[0]))]
    return Estimate(
        seconds=sum(fit.seconds(n_workers) for fit in fits),
        peak_bytes=problem.peak_bytes(len(sides[0])),
        parts={name: sum(fit.parts[name] for fit in fits) for name in fits[0].parts},
        n_pairs=problem.n_pairs,
        n_workers=n_workers,
    )


def placeholder_layers(n_stimuli, widths, dtype="float32"):
    """Make layers that have a shape and hold nothing, for :func:`estimate`.

    Parameters
    ----------
    n_stimuli : int
        Rows of each layer.
    widths : sequence of int
        Units of each layer. For a level more, put stacks of these into a
        :class:`skmot.LayerStack`.
    dtype : dtype, default="float32"
        Of all layers.

    Returns
    -------
    layers : LayerStack
        Of zeros that take no memory, whatever the shape.

    Examples
    --------
    >>> from skmot.scaling import placeholder_layers
    >>> placeholder_layers(10**9, [8192, 4096])
    LayerStack(1000000000 stimuli, 2 layers: 0 (8192 units), 1 (4096 units))
    """
    zero = np.zeros((), dtype=dtype)
    return LayerStack([np.broadcast_to(zero, (n_stimuli, width)) for width in widths])


# -- reading what is to be fitted --------------------------------------------------


def _matching(estimator):
    """Return what is fitted to pairs of populations, at whatever depth."""
    inner = estimator
    while isinstance(inner, LayerCoupler):
        inner = inner._inner()
    if not isinstance(inner, (SoftMatching, RotationMatching)):
        raise TypeError(
            f"`estimator` is, or fits to pairs of layers, a {type(inner).__name__}: "
            "what a fit takes is known of SoftMatching and RotationMatching only, "
            "alone or within MultiLevelOT. Time the fit of one pair of layers, and "
            "multiply it by the number of pairs."
        )
    return inner


def _widths(estimator, structure):
    """Return the number of units of each population that is matched."""
    if not isinstance(structure, tuple):
        return [structure]
    parts = structure[1]
    if not isinstance(estimator, LayerCoupler):
        # Whatever is matched as one population.
        return [sum(sum(_widths(estimator, part)) for part in parts)]
    return [width for part in parts for width in _widths(estimator._inner(), part)]


def _precision(sides):
    # A dtype of torch is "torch.float32".
    names = [str(stack.dtype).rpartition(".")[2] for stack in sides]
    return "float32" if all(name in _SINGLE for name in names) else "float64"


def _stimuli_of_fits(estimator, n_stimuli):
    """Return the number of stimuli of the fit, and of those on folds of `cost_cv`."""
    if not isinstance(estimator, LayerCoupler):
        return [n_stimuli]
    inner = estimator._inner()
    fits = _stimuli_of_fits(inner, n_stimuli)
    if estimator.cost_cv is None:
        return fits
    if isinstance(estimator.cost_cv, Iterator):
        raise ValueError(
            "`cost_cv` is an iterator, which can be read only once: give a list of "
            "folds to estimate what they take."
        )
    for train, _ in check_cv(estimator.cost_cv).split(np.empty((n_stimuli, 0))):
        fits += _stimuli_of_fits(inner, len(train))
    return fits


def _positive(name, number):
    if not number > 0:
        raise ValueError(f"`{name}` must be more than 0; got {number!r}.")
    return number


# -- the model -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Work:
    """One fit: seconds of work, how much of them is serial, and the longest pair."""

    parts: dict
    serial: float
    longest_pair: float

    def seconds(self, n_workers):
        parallel = sum(self.parts.values()) - self.serial
        return self.serial + max(parallel / n_workers, self.longest_pair)


@dataclass(frozen=True)
class _Problem:
    """All pairs of populations of two networks, by their widths."""

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
        # Most pairs are alike.
        pairs = Counter()
        for (n, n_times), (k, k_times) in product(
            Counter(self.source).items(), Counter(self.target).items()
        ):
            pairs[n, k] += n_times * k_times
        one = {pair: self._pair(*pair, n_stimuli) for pair in pairs}
        parts = {"standardisation": reading + scaling}
        for name in ("products", "transport", "rotation", "bookkeeping"):
            parts[name] = sum(times * one[pair][name] for pair, times in pairs.items())
        longest = max(sum(seconds.values()) for seconds in one.values())
        return _Work(parts, reading, longest)

    def _pair(self, n, k, n_stimuli):
        """Return the seconds of the parts of one pair."""
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
        """Return the seconds of all rounds of one pair, without their transport."""
        rank, rows = min(n, k, n_stimuli), min(n, n_stimuli)
        # Products of target units, a triangular factor and a basis of the source.
        once = n_stimuli * k**2 + 2 * n_stimuli * rows * n + 2 * n * rank**2
        # Each round, a mixture of the units of least number, in float64, is carried to
        # the source, and turns it.
        multiplications = 6 * rank**2 * k + n * rank * k
        decompositions = calibration.eigen_seconds()
        if rank == n:
            multiplications += n**2 * rows
        else:
            decompositions += calibration.singular_seconds(self.dtype)
            multiplications += 3 * n * rank**2 + min(
                3 * n * rank * rows, 2 * n**2 * rank + n**2 * rows
            )
        a_round = self._product_seconds(multiplications) + decompositions * rank**3
        return self._product_seconds(once) + self.n_rounds * a_round

    def _product_seconds(self, n_multiplications):
        return n_multiplications * calibration.product_seconds(self.dtype)

    def peak_bytes(self, n_stimuli):
        """Return the most memory beside the layers as they were given."""
        item = np.dtype(self.dtype).itemsize
        sources = [item * n_stimuli * n for n in self.source]
        targets = [item * n_stimuli * k for k in self.target]
        n, k = max(self.source), max(self.target)
        an_arc = _BYTES_AN_ARC if self.mass == 1 else _BYTES_AN_ARC_OF_A_SHARE
        solving = an_arc * n * k * item / 4
        kept = _BYTES_A_UNIT * (
            len(self.target) * sum(self.source) + len(self.source) * sum(self.target)
        )
        if self.n_rounds:
            # A triangular factor of each source layer, and each pair's rotation.
            sources = [
                size + item * min(n_stimuli, n) * n
                for size, n in zip(sources, self.source, strict=True)
            ]
            kept += item * len(self.target) * sum(n**2 for n in self.source)
            # Products and units before and after; decompositions in float64.
            rank, rows = min(n, k, n_stimuli), min(n, n_stimuli)
            solving += item * (2 * n * k + 4 * n * rank + 2 * n * rows)
            solving += 8 * (2 * rank * k + 4 * rank**2)
        n_at_once = min(self.n_workers, self.n_pairs)
        # What is worked on stays, whatever the limit.
        limit = max(
            get_config()["working_memory"] * 2**20,
            (n_at_once + 1) * max(*sources, *targets),
        )
        layers = min(sum(sources) + sum(targets), limit)
        return int(layers + n_at_once * solving + kept)


def _transport_seconds(n_arcs, mass):
    """Interpolate what was timed, on logarithmic scales.

    Beyond that, an arc takes as long as there: from 1.4 to 59 million arcs, and at
    widths that divide each other and do not, 12 to 20 ns were measured.
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

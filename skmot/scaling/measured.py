"""Time and memory of one pair of populations, measured on smaller simulated ones.

Every estimator of a pair is measured in the same way, so that a new one needs no entry
here. Source and target are simulated at increasing sizes, with stimuli and units of
both sides reduced by the same factor, so that each step takes the same path as for the
data. The number of operations of a matrix product, a decomposition or an assignment is
then a polynomial of degree three of this factor, which is fitted and evaluated at 1.
"""

import pickle
import time
import tracemalloc
import warnings
from contextlib import contextmanager
from functools import cache

import numpy as np
from scipy.optimize import nnls
from sklearn.base import clone

from skmot._units import read_statistics
from skmot._utils.sklearn import one_thread
from skmot.layers.stack import leaves_of
from skmot.multilevel import MultiLevelOT
from skmot.pairs import SoftMatching

# What is measured of a pair: seconds for checking both layers and for the statistics of
# their units, for preparing both layers (which a level does once a layer), and for the
# pair; peak memory of preparing a layer or solving the pair, and memory of the prepared
# layers and of what is kept of the pair.
WORK = (
    "reading",
    "preparing",
    "solving",
    "solving bytes",
    "prepared bytes",
    "kept bytes",
)
# The first size has at least so many units on the larger and on the smaller side, and
# so many stimuli. Below, overhead would be most of the time.
_FIRST_LARGER, _FIRST_SMALLER, _FIRST_STIMULI = 64, 4, 16
# The next size is twice as large, so it takes up to eight times as long.
_STEP, _LONGER = 2.0, 8.0
# Runs shorter than this are repeated, because others may have disturbed them.
_SHORT, _REPEATS = 0.05, 3
# Number of shared dimensions of the simulated layers, with decreasing variance as in
# networks, and deviation of the noise relative to that of the units.
_DIMENSIONS, _NOISE = 128, 0.1
# Stimuli, source units and target units of a pair whose time is mostly overhead, and
# number of layers of a level that is fitted to measure what it adds to each pair.
_SMALL, _MANY_LAYERS = (16, 4, 4), 8


def measure_pair(estimator, n_stimuli, n, k, dtype, seconds):
    """Estimate the work of one pair from smaller pairs.

    Parameters
    ----------
    estimator : PairComparison
        Estimator of the pair, which is not changed.
    n_stimuli, n, k : int
        Number of stimuli, source units and target units.
    dtype : {"float32", "float64"}
        Dtype of the layers.
    seconds : float
        Pairs are measured until the next one would take longer than this.

    Returns
    -------
    work : ndarray of shape (6,)
        Seconds and bytes at this size, in the order of `WORK`.
    """
    factor = max(
        _FIRST_LARGER / max(n, k),
        _FIRST_SMALLER / min(n, k),
        _FIRST_STIMULI / n_stimuli,
    )
    factors, pairs, times = [], [], []
    # The first solution may import modules.
    _SimulatedPair(estimator, *_SMALL, dtype).times()
    while True:
        factors.append(min(1.0, factor))
        shape = [max(2, round(factors[-1] * size)) for size in (n_stimuli, n, k)]
        pairs.append(_SimulatedPair(estimator, *shape, dtype))
        times.append(pairs[-1].times())
        # Two sizes tell whether the time grows at all.
        next_time = sum(times[-1]) * (_LONGER if len(times) > 1 else 1.0)
        if factors[-1] == 1.0 or next_time > seconds:
            break
        factor *= _STEP
    sizes = [pair.sizes() for pair in pairs[-2:]]
    return np.array(
        [_extrapolate(factors, values, (0, 2, 3)) for values in np.transpose(times)]
        + [_extrapolate(factors[-2:], values, (1, 2)) for values in np.transpose(sizes)]
    )


@cache
def measure_overhead():
    """Measure the CPU seconds that a level adds to each of its pairs."""
    n_stimuli, n_units, _ = _SMALL
    network = [
        simulated_layer(n_stimuli, n_units, "float64", seed)
        for seed in range(_MANY_LAYERS)
    ]
    reading, preparing, solving = _SimulatedPair(
        SoftMatching(), *_SMALL, "float64"
    ).times()
    seconds = []
    with _quietly():
        for _ in range(_REPEATS):
            start = time.thread_time()
            MultiLevelOT().fit(network, network)
            seconds.append(time.thread_time() - start)
    # Reading and preparing were measured for two layers, and are done once for each
    # layer of both sides.
    layers = len(network) * (reading + preparing)
    n_pairs = len(network) ** 2
    return max(0.0, (min(seconds) - layers) / n_pairs - solving)


def simulated_layer(n_stimuli, n_units, dtype="float32", seed=0):
    """Simulate noisy units that are tuned to dimensions shared by all layers."""
    scale = np.arange(1, _DIMENSIONS + 1) ** -0.5
    shared = np.random.default_rng(0).normal(size=(n_stimuli, _DIMENSIONS)) * scale
    rng = np.random.default_rng([1, seed])
    tuned = np.maximum(shared @ rng.normal(size=(_DIMENSIONS, n_units)), 0)
    noise = _NOISE * tuned.std() * rng.normal(size=tuned.shape)
    return (tuned + noise).astype(dtype)


class _SimulatedPair:
    """Two simulated layers, and what an estimator does with them."""

    def __init__(self, estimator, n_stimuli, n, k, dtype):
        self.estimator = estimator
        layers = (
            simulated_layer(n_stimuli, width, dtype, seed)
            for seed, width in enumerate((n, k))
        )
        self.leaves = [list(leaves_of(layer, "the layer")) for layer in layers]
        self.n_stimuli = n_stimuli

    def read(self):
        return [read_statistics(side) for side in self.leaves]

    def prepare(self, statistics):
        return [
            self.estimator._prepare(*side)
            for side in zip(self.leaves, statistics, strict=True)
        ]

    def solve(self, prepared):
        return clone(self.estimator)._solve_checked(*prepared, (None, None))

    def times(self):
        """Measure the CPU seconds of reading, preparing and solving.

        What a solution makes of the layers and keeps with them, for their other pairs,
        is missing from the time of a second solution. It counts as preparing.
        """
        found = []
        with _quietly():
            for _ in range(_REPEATS):
                times = [time.thread_time()]
                statistics = self.read()
                times.append(time.thread_time())
                prepared = self.prepare(statistics)
                times.append(time.thread_time())
                for _ in range(2):
                    self.solve(prepared)
                    times.append(time.thread_time())
                reading, preparing, first, second = np.diff(times)
                found.append((reading, preparing + max(first - second, 0.0), second))
                if times[-1] - times[0] > _SHORT:
                    break
        return np.min(found, axis=0)

    def sizes(self):
        """Measure the bytes of preparing or solving, of prepared layers, and kept."""
        statistics = self.read()
        with _quietly():
            tracemalloc.start()
            try:
                prepared, most = [], 0
                for side in zip(self.leaves, statistics, strict=True):
                    tracemalloc.reset_peak()
                    prepared.append(self.estimator._prepare(*side))
                    kept, peak = tracemalloc.get_traced_memory()
                    most = max(most, peak - kept)
                self.solve(prepared)
                tracemalloc.reset_peak()
                before = tracemalloc.get_traced_memory()[0]
                solution = self.solve(prepared)
                most = max(most, tracemalloc.get_traced_memory()[1] - before)
            finally:
                tracemalloc.stop()
        prepared_bytes = sum(
            self.estimator._prepared_bytes(self.n_stimuli, side) for side in statistics
        )
        solution_bytes = len(pickle.dumps((solution.maps, solution.attributes)))
        return most, prepared_bytes, solution_bytes


@contextmanager
def _quietly():
    """Silence warnings, and limit linear algebra to one thread."""
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore")
        yield


def _extrapolate(factors, values, powers):
    """Fit a polynomial with the given powers to values, and evaluate it at 1."""
    if factors[-1] == 1.0:
        return float(values[-1])
    # Small pairs say little about the highest power.
    factors, values = factors[-len(powers) :], values[-len(powers) :]
    if len(values) < len(powers):
        powers = (*powers[: len(values) - 1], powers[-1])
    values = np.maximum(values, np.finfo(float).tiny)
    terms = np.power.outer(np.array(factors), powers) / values[:, np.newaxis]
    # Relative errors count alike, and no coefficient is negative.
    coefficients, _ = nnls(terms, np.ones(len(values)))
    return float(coefficients.sum())

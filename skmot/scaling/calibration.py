"""Measurements of the speed of this machine, the constants used by `estimate`.

Each constant is measured at its first use and then cached in the process. The
measurements use small simulated layers and single-threaded linear algebra, as in a fit.
All of them together take about a second.
"""

import time
from functools import cache, partial

import numpy as np

from skmot._units import read_statistics, tuning_curves, unit_statistics
from skmot._utils.linalg import thin_svd
from skmot._utils.sklearn import one_thread
from skmot.layers.stack import leaves_of
from skmot.multilevel import MultiLevelOT
from skmot.transport import solve_partial_transport

# The smallest size at which linear algebra runs at full speed.
STIMULI, UNITS = 1024, 768
_FACTORISED = 512
# Transport is measured at several sizes and interpolated, because small problems use
# another algorithm than large ones and have constant overhead. Widths that do not
# divide each other take longer.
_TRANSPORT_SIZES = ((8, 8), (64, 48), (256, 192), (768, 640), (1536, 896))
# A fit of small layers measures the overhead of each pair.
_SMALL_STIMULI, _SMALL_UNITS, _MANY_LAYERS = 16, 4, 8
# Number of shared dimensions of the simulated layers, with decreasing variance as in
# networks, and deviation of the noise relative to that of the units.
_DIMENSIONS, _NOISE = 128, 0.1
_REPEATS = 3


@cache
def reading_seconds(dtype):
    """Measure the seconds per entry for checking a layer and computing statistics."""
    layer = _layer(STIMULI, UNITS, dtype)
    return (
        _best_time(lambda: read_statistics(leaves_of(layer, "the layer"))) / layer.size
    )


@cache
def standardisation_seconds(dtype):
    """Measure the seconds per entry for standardising a layer."""
    layer = _layer(STIMULI, UNITS, dtype)
    statistics = unit_statistics(layer)
    seconds = _best_time(lambda: tuning_curves(layer, statistics, "correlation"))
    return seconds / layer.size


@cache
def product_seconds(dtype):
    """Measure the seconds per multiplication and addition of a matrix product."""
    source, target = (_layer(STIMULI, UNITS, dtype, seed) for seed in (0, 1))
    return _best_time(lambda: source.T @ target) / (STIMULI * UNITS**2)


@cache
def transport_seconds(mass):
    """Measure the seconds for transport problems with increasing numbers of arcs."""
    seconds = []
    for n, k in _TRANSPORT_SIZES:
        layers = _layer(STIMULI, n, seed=0), _layer(STIMULI, k, seed=1)
        source, target = (
            tuning_curves(layer, unit_statistics(layer), "correlation").vectors
            for layer in layers
        )
        costs = -(source.T @ target)
        seconds.append(_best_time(partial(solve_partial_transport, costs, mass)))
    return [n * k for n, k in _TRANSPORT_SIZES], seconds


@cache
def eigen_seconds():
    """Measure the seconds for eigenvectors in float64, divided by n^3 for n rows."""
    units = _layer(STIMULI, _FACTORISED, "float64")
    matrix = units.T @ units
    return _best_time(lambda: np.linalg.eigh(matrix)) / _FACTORISED**3


@cache
def singular_seconds(dtype):
    """Measure the seconds for singular vectors, divided by n^3 for n rows."""
    matrix = _layer(_FACTORISED, _FACTORISED, dtype)
    return _best_time(lambda: thin_svd(matrix)) / _FACTORISED**3


@cache
def pair_seconds():
    """Measure the overhead of each pair of layers in seconds."""
    source, target = (
        [_layer(_SMALL_STIMULI, _SMALL_UNITS, seed=seed)] * _MANY_LAYERS
        for seed in (0, 1)
    )
    return _best_time(lambda: MultiLevelOT().fit(source, target)) / len(source) ** 2


def _layer(n_stimuli, n_units, dtype="float32", seed=0):
    """Simulate noisy units that are tuned to dimensions shared by all layers."""
    scale = np.arange(1, _DIMENSIONS + 1) ** -0.5
    shared = np.random.default_rng(0).normal(size=(n_stimuli, _DIMENSIONS)) * scale
    rng = np.random.default_rng([1, seed])
    tuned = np.maximum(shared @ rng.normal(size=(_DIMENSIONS, n_units)), 0)
    noise = _NOISE * tuned.std() * rng.normal(size=tuned.shape)
    return (tuned + noise).astype(dtype)


def _best_time(function):
    """Return the CPU seconds of the fastest run: other runs may have been disturbed."""
    times = []
    with one_thread():
        for _ in range(_REPEATS):
            start = time.thread_time()
            function()
            times.append(time.thread_time() - start)
    return min(times)

"""How fast this machine is: the constants of the cost model in `skmot.scaling`.

Each is measured when it is first asked for, on small made-up layers, with linear
algebra in one thread as in a fit, and kept as long as the process lives. All together
take about a second.
"""

import time
from functools import cache, partial

import numpy as np

from skmot._linalg import thin_svd
from skmot._pair import read_statistics
from skmot._sklearn import one_thread
from skmot._units import tuning_curves, unit_statistics
from skmot.multilevel import MultiLevelOT
from skmot.transport import solve_partial_transport

# Large enough for linear algebra to run at its full speed, and no larger.
STIMULI, UNITS = 1024, 768
_FACTORISED = 512
# Small problems are solved in another way than large ones, and each has a fixed price:
# transport is timed at several sizes, and interpolated. Widths that do not divide each
# other take longer.
_TRANSPORT_SIZES = ((8, 8), (64, 48), (256, 192), (768, 640), (1536, 896))
# The same for a fit of small layers, which is bookkeeping and hardly more.
_SMALL_STIMULI, _SMALL_UNITS, _MANY_LAYERS = 16, 4, 8
# Layers share so many dimensions of falling variance, as those of networks do; a unit's
# noise is a share of its deviation.
_DIMENSIONS, _NOISE = 128, 0.1
_REPEATS = 3


@cache
def reading_seconds(dtype):
    """Return the seconds of checking one entry of a layer and learning its mean."""
    layer = _layer(STIMULI, UNITS, dtype)
    return _least_seconds(lambda: read_statistics(layer, "the layer")) / layer.size


@cache
def standardisation_seconds(dtype):
    """Return the seconds of standardising one entry of a layer."""
    layer = _layer(STIMULI, UNITS, dtype)
    statistics = unit_statistics(layer)
    seconds = _least_seconds(lambda: tuning_curves(layer, statistics, "correlation"))
    return seconds / layer.size


@cache
def product_seconds(dtype):
    """Return the seconds of one multiplication and addition of a matrix product."""
    source, target = (_layer(STIMULI, UNITS, dtype, seed) for seed in (0, 1))
    return _least_seconds(lambda: source.T @ target) / (STIMULI * UNITS**2)


@cache
def transport_seconds(mass):
    """Return numbers of arcs, ascending, and the seconds of a problem of each."""
    seconds = []
    for n, k in _TRANSPORT_SIZES:
        layers = _layer(STIMULI, n, seed=0), _layer(STIMULI, k, seed=1)
        source, target = (
            tuning_curves(layer, unit_statistics(layer), "correlation").vectors
            for layer in layers
        )
        costs = -(source.T @ target)
        seconds.append(_least_seconds(partial(solve_partial_transport, costs, mass)))
    return [n * k for n, k in _TRANSPORT_SIZES], seconds


@cache
def eigen_seconds():
    """Return the seconds of the eigenvectors of a matrix of one unit, in float64."""
    units = _layer(STIMULI, _FACTORISED, "float64")
    matrix = units.T @ units
    return _least_seconds(lambda: np.linalg.eigh(matrix)) / _FACTORISED**3


@cache
def singular_seconds(dtype):
    """Return the seconds of the singular vectors of a matrix of one unit."""
    matrix = _layer(_FACTORISED, _FACTORISED, dtype)
    return _least_seconds(lambda: thin_svd(matrix)) / _FACTORISED**3


@cache
def pair_seconds():
    """Return the seconds that a pair of layers takes, however small they are."""
    source, target = (
        [_layer(_SMALL_STIMULI, _SMALL_UNITS, seed=seed)] * _MANY_LAYERS
        for seed in (0, 1)
    )
    return _least_seconds(lambda: MultiLevelOT().fit(source, target)) / len(source) ** 2


def _layer(n_stimuli, n_units, dtype="float32", seed=0):
    """Return units that are tuned to what all layers share, with noise."""
    scale = np.arange(1, _DIMENSIONS + 1) ** -0.5
    shared = np.random.default_rng(0).normal(size=(n_stimuli, _DIMENSIONS)) * scale
    rng = np.random.default_rng([1, seed])
    tuned = np.maximum(shared @ rng.normal(size=(_DIMENSIONS, n_units)), 0)
    noise = _NOISE * tuned.std() * rng.normal(size=tuned.shape)
    return (tuned + noise).astype(dtype)


def _least_seconds(function):
    """Return the fastest of a few runs, in seconds of a core: others may be busy."""
    times = []
    with one_thread():
        for _ in range(_REPEATS):
            start = time.thread_time()
            function()
            times.append(time.thread_time() - start)
    return min(times)

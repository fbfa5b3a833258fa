"""Target 1: time of exact transport, compared with the product that gives the costs."""

from functools import partial

import numpy as np
import ot
from literal import MAX_PIVOTS, emd, match_many, scaled
from measure import in_fresh_process, shortest
from problems import (
    correlated,
    heavy_tailed,
    latents,
    near_duplicates,
    noise,
    relu_like,
    ruled_by_outliers,
    unit_columns,
)
from report import Row

from skmot.transport import TuningCurves, match_tuning_curves, solve_transport

N_STIMULI = 2042
REPEATS = 5
# These problems are small, so the best of many runs is used.
SMALL_REPEATS = 50
# Largest difference from the cost of `ot.emd`, relative to the spread.
AGREEMENT = 1e-9

# Kind of units, sizes, and limit of the ratio of the solver to the product.
CASES = {
    "full": [
        (relu_like, 3072, 2048, 1.0),
        (correlated, 3072, 2048, 1.0),
        (noise, 2048, 896, 1.0),
        (relu_like, 2048, 2048, 1.0),
        (relu_like, 4096, 4096, 1.0),
        (relu_like, 8192, 512, 1.0),
        (heavy_tailed, 1536, 2688, 1.0),
        (ruled_by_outliers, 1536, 2688, 1.0),
        (near_duplicates, 3072, 2048, 1.3),
    ],
    "small": [
        (relu_like, 1536, 1024, 1.0),
        (noise, 1536, 896, 1.0),
        (near_duplicates, 1536, 1024, 1.3),
    ],
}
WHATEVER_SIZES = {
    "full": [(1200, 1000), (2048, 1024)],
    "small": [(1200, 1000)],
}
SMALL_SIZES = {
    "full": [(10, 10), (20, 50), (64, 64), (128, 128), (300, 200), (500, 400)],
    "small": [(10, 10), (128, 128), (300, 200)],
}
MOST_OVERHEAD_MILLISECONDS = 0.2
# Layers of each side, and units, as in trajectories of small networks.
MANY_SQUARES = {"full": (28, 128), "small": (7, 128)}
MOST_TIMES_ASSIGNMENT = 1.5


def rows(scale):
    """Yield the rows of target 1."""
    for kind, n, k, limit in CASES[scale]:
        name = kind.__name__.replace("_", " ")
        yield in_fresh_process(_against_product, kind, n, k, limit, name)
    for n, k in WHATEVER_SIZES[scale]:
        for kind in ("all equal", "integer", "duplicated columns"):
            yield in_fresh_process(_against_emd, kind, n, k)
    for n, k in SMALL_SIZES[scale]:
        yield in_fresh_process(_overhead, n, k)
    yield in_fresh_process(_many_squares, *MANY_SQUARES[scale])


def _against_product(kind, n, k, limit, name):
    rng = np.random.default_rng(0)
    shared = latents(N_STIMULI, rng)
    x, y = (unit_columns(kind(shared, units, rng)) for units in (n, k))
    costs = -(x.T @ y)
    solver, product = shortest(
        [lambda: solve_transport(costs), lambda: x.T @ y], REPEATS
    )
    result = solve_transport(costs)
    difference, spread, seconds = _differs_from_emd(result.cost, costs)
    return Row(
        1,
        f"{n} x {k} {name}",
        solver,
        product,
        "float32 product",
        wanted=f"at most {limit:g}x, cost to 1e-9",
        limit=limit,
        right=difference <= AGREEMENT * spread,
        details={
            "stimuli": N_STIMULI,
            "cost difference / spread": difference / spread,
            "duality gap / spread": result.duality_gap / spread,
            "converged": result.converged,
            "seconds of ot.emd": seconds,
        },
    )


def _differs_from_emd(cost, costs):
    """Compare a cost with that of `ot.emd`; also return the spread and its seconds."""
    kept = []
    (seconds,) = shortest([lambda: kept.append(emd(costs))], 1)
    spread = scaled(costs)[1]
    expected = float(np.sum(kept[0] * costs.astype(np.float64)))
    return abs(cost - expected), spread or 1.0, seconds


def _hard_costs(kind, n, k, rng):
    if kind == "all equal":
        return np.full((n, k), 0.5, dtype=np.float32)
    if kind == "integer":
        return rng.integers(0, 10, size=(n, k)).astype(np.float32)
    shared = latents(500, rng)
    columns = relu_like(shared, k // 4, rng)
    x, y = relu_like(shared, n, rng), np.repeat(columns, 4, axis=1)
    return -(unit_columns(x).T @ unit_columns(y))


def _against_emd(kind, n, k):
    costs = _hard_costs(kind, n, k, np.random.default_rng(0))
    in_float64 = scaled(costs)[0]
    potentials = solve_transport(costs).potentials[0][:, np.newaxis]
    solver, simplex, one_pass = shortest(
        [
            lambda: solve_transport(costs),
            partial(ot.emd, [], [], in_float64, numItermax=MAX_PIVOTS),
            # One pass over all arcs computes the c-transform of the columns.
            lambda: np.subtract(costs, potentials).min(axis=0),
        ],
        REPEATS,
    )
    result = solve_transport(costs)
    difference, spread, _ = _differs_from_emd(result.cost, costs)
    return Row(
        1,
        f"{n} x {k} {kind}",
        solver,
        1.1 * simplex + one_pass,
        "1.1 ot.emd + a pass",
        wanted="at most 1x, cost to 1e-9",
        limit=1.0,
        right=difference <= AGREEMENT * spread,
        details={
            "seconds of ot.emd": simplex,
            "seconds of a pass": one_pass,
            "cost difference / spread": difference / spread,
        },
    )


def _overhead(n, k):
    rng = np.random.default_rng(0)
    shared = latents(N_STIMULI, rng)
    x, y = (unit_columns(relu_like(shared, units, rng)) for units in (n, k))
    costs = -(x.T @ y)
    in_float64 = scaled(costs)[0]
    solver, simplex = shortest(
        [
            lambda: solve_transport(costs),
            partial(ot.emd, [], [], in_float64, numItermax=MAX_PIVOTS),
        ],
        SMALL_REPEATS,
    )
    return Row(
        1,
        f"{n} x {k} overhead over ot.emd",
        1e3 * (solver - simplex),
        MOST_OVERHEAD_MILLISECONDS,
        "allowed",
        unit="ms",
        wanted="at most 0.2 ms",
        limit=1.0,
        details={"milliseconds of ot.emd": 1e3 * simplex},
    )


def _many_squares(n_layers, n_units):
    rng = np.random.default_rng(0)
    shared = latents(N_STIMULI, rng)
    source, target = (
        [unit_columns(relu_like(shared, n_units, rng)) for _ in range(n_layers)]
        for _ in range(2)
    )
    offsets = np.full(n_units, 0.5)
    curves = [
        [TuningCurves(layer, offsets, 1.0) for layer in side]
        for side in (source, target)
    ]
    ours, bare = shortest(
        [
            lambda: [match_tuning_curves(x, y) for x in curves[0] for y in curves[1]],
            lambda: match_many(source, target),
        ],
        REPEATS,
    )
    return Row(
        1,
        f"{n_layers**2} squares of {n_units} x {n_units}, with products",
        ours,
        bare,
        "bare products and assignments",
        wanted=f"at most {MOST_TIMES_ASSIGNMENT:g}x",
        limit=MOST_TIMES_ASSIGNMENT,
        details={"stimuli": N_STIMULI},
    )

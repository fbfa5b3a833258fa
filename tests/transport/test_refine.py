"""Plans between units of very different norms, judged in exact arithmetic."""

from fractions import Fraction

import numpy as np
import pytest

from skmot.transport import TuningCurves, match_tuning_curves

N_STIMULI = 7
SIDES = [(0,), (1,), (0, 1)]


def curves(columns):
    return TuningCurves(columns, np.sum(columns**2, axis=0), 2.0)


def loud_populations(seed, shape, loudness, sides):
    """Return two populations, in which the first unit of some sides is loud."""
    rng = np.random.default_rng(seed)
    populations = [rng.normal(size=(N_STIMULI, width)) for width in shape]
    for side in sides:
        populations[side][:, 0] *= loudness
    return populations


def exact_distances(x, y):
    """Return squared distances without rounding errors."""
    x, y = ([[Fraction(a) for a in unit] for unit in side.T] for side in (x, y))
    return [
        [sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) for q in y] for p in x
    ]


def least_cycle(flow, costs):
    """Return the least change of the cost by moving flow from column to column.

    A plan is optimal if, and only if, no closed path of such moves is negative.
    """
    n, k = flow.shape
    paths = [
        [
            min(costs[i][b] - costs[i][a] for i in range(n) if flow[i, a] > 0)
            for b in range(k)
        ]
        for a in range(k)
    ]
    for through in range(k):
        for a in range(k):
            for b in range(k):
                detour = paths[a][through] + paths[through][b]
                paths[a][b] = min(paths[a][b], detour)
    return min(paths[a][a] for a in range(k))


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("loudness", [40.0, 1e3, 1e5, 1e6])
@pytest.mark.parametrize("shape", [(6, 6), (8, 6), (6, 9)])
def test_plans_are_optimal_among_quiet_units_too(shape, loudness, sides):
    for seed in range(4):
        x, y = loud_populations(seed, shape, loudness, sides)
        result = match_tuning_curves(curves(x), curves(y))
        costs = exact_distances(x, y)
        flow = result.flow.toarray()
        # Squared norms of quiet units are about the number of stimuli.
        assert least_cycle(flow, costs) >= -1e-9 * N_STIMULI
        # The cost of two units that are both 1e6 times the others is too large to prove
        # anything about the others.
        assert result.converged or loudness ** len(sides) == 1e12
        typical = max(np.median(np.sum(side**2, axis=0)) for side in (x, y))
        assert result.converged == (result.duality_gap <= 1e-9 * typical)
        rounded = np.array(costs, dtype=np.float64)
        total = sum(
            int(flow[i, j]) * costs[i][j] for i, j in zip(*flow.nonzero(), strict=True)
        )
        assert result.cost == pytest.approx(float(total / int(flow.sum())), rel=1e-12)
        # Potentials are feasible up to the rounding error of each cost.
        u, v = result.potentials
        assert np.all(u[:, np.newaxis] + v - rounded <= 1e-9 + 1e-14 * rounded)
        assert u.mean() + v.mean() == pytest.approx(result.cost, rel=1e-12)


@pytest.mark.parametrize("sides", SIDES)
def test_weighted_quiet_units_are_matched_as_their_copies(sides):
    rng = np.random.default_rng(0)
    for seed in range(8):
        x, y = loud_populations(seed, (6, 6), 1e5, sides)
        counts = [rng.integers(1, 4, 6) for _ in range(2)]
        weighted = match_tuning_curves(curves(x), curves(y), weights=counts)
        copies = match_tuning_curves(
            *(
                curves(np.repeat(side, n, axis=1))
                for side, n in zip((x, y), counts, strict=True)
            )
        )
        # Copies of a unit are one unit again.
        merged = [np.repeat(np.arange(6), n) for n in counts]
        plan, wide = np.zeros((6, 6)), copies.coupling.tocoo()
        np.add.at(plan, (merged[0][wide.row], merged[1][wide.col]), wide.data)
        np.testing.assert_allclose(weighted.coupling.toarray(), plan, atol=1e-12)
        assert weighted.converged

import numpy as np
import pytest

from skmot.transport import TuningCurves, match_tuning_curves
from tests import reference


def unit_columns(rng, n_stimuli, n_units):
    columns = rng.normal(size=(n_stimuli, n_units))
    columns -= columns.mean(axis=0)
    return columns / np.linalg.norm(columns, axis=0)


def correlation_curves(columns):
    return TuningCurves(columns, np.full(columns.shape[1], 0.5), 1.0)


def euclidean_curves(columns):
    offsets = np.sum(columns.astype(np.float64) ** 2, axis=0)
    return TuningCurves(columns, offsets, 2.0)


def slow_squared_distances(x, y):
    return np.array([[np.sum((a - b) ** 2) for b in y.T] for a in x.T])


@pytest.mark.parametrize("widths", [(6, 6), (6, 9), (10, 7), (1, 5), (5, 1), (1, 1)])
def test_offsets_and_weight_of_correlation_make_one_minus_correlation(widths):
    rng = np.random.default_rng(0)
    x, y = (unit_columns(rng, 30, width) for width in widths)
    costs = reference.correlation_distances(x, y).reshape(widths)
    result = match_tuning_curves(correlation_curves(x), correlation_curves(y))
    _, optimum = reference.transport(costs)
    assert result.cost == pytest.approx(optimum, rel=0, abs=1e-12)
    found = float((result.coupling.toarray() * costs).sum())
    assert found == pytest.approx(optimum, rel=0, abs=1e-12)
    u, v = result.potentials
    assert np.max(u[:, np.newaxis] + v - costs) <= 1e-12
    assert u.mean() + v.mean() + result.duality_gap == pytest.approx(
        result.cost, rel=0, abs=1e-12
    )


@pytest.mark.parametrize("widths", [(6, 6), (6, 9), (10, 7), (1, 5), (5, 1), (1, 1)])
def test_offsets_and_weight_of_euclid_make_squared_distances(widths):
    rng = np.random.default_rng(1)
    x, y = (rng.normal(size=(30, width)) + 2 for width in widths)
    costs = slow_squared_distances(x, y)
    result = match_tuning_curves(euclidean_curves(x), euclidean_curves(y))
    _, optimum = reference.transport(costs)
    # Norms of about 150 round to 1e-14 of themselves.
    assert result.cost == pytest.approx(optimum, rel=0, abs=1e-11)
    u, v = result.potentials
    assert np.max(u[:, np.newaxis] + v - costs) <= 1e-11
    assert u.mean() + v.mean() + result.duality_gap == pytest.approx(
        result.cost, rel=0, abs=1e-11
    )


def test_units_of_very_different_norms_do_not_hide_the_plan():
    # Costs themselves are dominated by the norms, which no plan can change.
    rng = np.random.default_rng(2)
    x = rng.normal(size=(40, 8)) * np.array([1e4, *np.ones(7)])
    order = rng.permutation(8)
    result = match_tuning_curves(euclidean_curves(x), euclidean_curves(x[:, order]))
    np.testing.assert_array_equal(
        result.flow.toarray(), np.arange(8)[:, np.newaxis] == order
    )


@pytest.mark.parametrize("loudness", [1.0, 100.0, 1e5])
def test_a_partial_plan_is_proven_if_its_gap_is_small_among_most_units(loudness):
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(30, 12)), rng.normal(size=(30, 9))
    x[:, 0] *= loudness
    curves = [euclidean_curves(side) for side in (x, y)]
    typical = max(np.median(side.offsets) for side in curves)
    result = match_tuning_curves(*curves, mass=0.5)
    # Float64 has 16 digits: those of the largest norm are lost to all others.
    lost = np.finfo(np.float64).eps * np.max(curves[0].offsets)
    assert result.converged == (result.duality_gap <= 1e-9 * typical)
    assert result.converged == (lost < 1e-10 * typical)
    if loudness > 1:
        assert lost <= result.duality_gap <= 100 * lost


@pytest.mark.parametrize("dtypes", ["ff", "fd", "df"])
def test_float32_curves_cost_what_float64_ones_do(dtypes):
    rng = np.random.default_rng(3)
    x, y = unit_columns(rng, 50, 12), unit_columns(rng, 50, 18)
    expected = match_tuning_curves(correlation_curves(x), correlation_curves(y)).cost
    found = match_tuning_curves(
        correlation_curves(x.astype(dtypes[0])), correlation_curves(y.astype(dtypes[1]))
    )
    assert found.cost == pytest.approx(expected, rel=0, abs=1e-5)
    assert all(part.dtype == np.float64 for part in found.potentials)


def test_curves_are_left_as_they_are():
    x = unit_columns(np.random.default_rng(4), 20, 5)
    curves = correlation_curves(x.copy())
    for array in (curves.vectors, curves.offsets):
        array.setflags(write=False)
    match_tuning_curves(curves, curves)
    np.testing.assert_array_equal(curves.vectors, x)
    np.testing.assert_array_equal(curves.offsets, 0.5)

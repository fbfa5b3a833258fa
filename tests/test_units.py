"""Statistics of units against exact rational arithmetic and numpy's own functions."""

import math
from fractions import Fraction

import numpy as np
import pytest

from skmot._units import (
    check_some_live,
    column_correlations,
    constant_units,
    paired_products,
    paired_squared_distances,
    standardize,
    tuning_curves,
    unit_statistics,
    unstandardize,
)
from tests import reference


def exact_mean_and_deviation(column):
    """Return mean and deviation from rational arithmetic, rounded once at the end."""
    values = [Fraction(float(value)) for value in column]
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    # A power of four brings the variance near one, out of reach of under- and overflow.
    shift = variance.numerator.bit_length() - variance.denominator.bit_length()
    shift -= shift % 2
    deviation = math.ldexp(
        math.sqrt(variance / Fraction(2) ** shift if variance else 0), shift // 2
    )
    return float(mean), deviation


def exact_correlation(a, b):
    a, b = ([Fraction(float(value)) for value in column] for column in (a, b))
    a = [value - sum(a) / len(a) for value in a]
    b = [value - sum(b) / len(b) for value in b]
    covariance = sum(x * y for x, y in zip(a, b, strict=True))
    square = covariance**2 / (sum(x * x for x in a) * sum(y * y for y in b))
    return math.sqrt(square) if covariance > 0 else -math.sqrt(square)


def hostile_columns(n_stimuli=60):
    """Return columns of very different scales, offsets and spreads."""
    rng = np.random.default_rng(0)
    normal, coin = rng.normal(size=n_stimuli), rng.integers(0, 2, n_stimuli)
    outlier = np.zeros(n_stimuli)
    outlier[7] = 1.0
    return {
        "normal": normal,
        "1e30": 1e30 * normal,
        "1e-30": 1e-30 * normal,
        "1e300": 1e300 * normal,
        "1e-300": 1e-300 * normal,
        "subnormal": 1e-310 * normal,
        "offset 1e6": 1e6 + normal,
        "offset 1e12": 1e12 + normal,
        "offset 1e15": 1e15 + coin,
        "one step of 0.1": np.where(coin > 0, np.nextafter(0.1, 1.0), 0.1),
        "outlier": outlier,
        "outlier on an offset": 1e8 + outlier,
        "ReLU": np.maximum(normal, 0),
    }


# -- unit_statistics -------------------------------------------------------------------


@pytest.mark.parametrize("name", hostile_columns())
def test_mean_and_deviation_are_the_exact_ones(name):
    column = hostile_columns()[name]
    statistics = unit_statistics(column[:, np.newaxis])
    mean, deviation = exact_mean_and_deviation(column)
    peak = np.abs(column).max()
    assert statistics.mean[0] == pytest.approx(mean, rel=0, abs=2e-16 * peak)
    # A subnormal number has few digits.
    precision = 1e-13 if deviation > 1e-300 else 1e-12
    assert statistics.deviation[0] == pytest.approx(deviation, rel=precision, abs=0)
    assert statistics.live.all()


@pytest.mark.parametrize("scale", [1.0, 3e20, 1e37, 1e-30, 1e-44])
def test_float32_statistics_are_those_of_the_same_numbers_in_float64(scale):
    normal = np.random.default_rng(1).normal(size=(40, 3))
    layer = (scale * normal).astype(np.float32)
    statistics = unit_statistics(layer)
    for unit in range(3):
        mean, deviation = exact_mean_and_deviation(layer[:, unit])
        assert statistics.mean[unit] == pytest.approx(mean, rel=1e-13)
        assert statistics.deviation[unit] == pytest.approx(deviation, rel=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_units_are_dead_and_keep_their_value(dtype):
    values = np.array([0.1, 0.0, -7.3, 1e-30, 3e20, 1e30], dtype=dtype)
    layer = np.tile(values, (1001, 1))
    statistics = unit_statistics(layer)
    assert not statistics.live.any()
    assert statistics.n_live == 0
    np.testing.assert_array_equal(statistics.dead_units, np.arange(6))
    np.testing.assert_array_equal(statistics.mean, values.astype(np.float64))
    np.testing.assert_array_equal(statistics.deviation, 0.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_step_of_one_stimulus_makes_a_unit_live(dtype):
    layer = np.full((500, 2), 0.1, dtype=dtype)
    layer[3, 1] = np.nextafter(dtype(0.1), dtype(1))
    statistics = unit_statistics(layer)
    np.testing.assert_array_equal(statistics.live, [False, True])
    np.testing.assert_array_equal(statistics.dead_units, [0])
    assert statistics.deviation[1] > 0
    np.testing.assert_array_equal(constant_units(layer), [True, False])


def memory_orders(layer):
    """Return the same numbers in orders that are read in tiles of other shapes."""
    spread = np.repeat(np.repeat(layer, 2, axis=0), 3, axis=1)
    return {
        "C": np.ascontiguousarray(layer),
        "Fortran": np.asfortranarray(layer),
        "spread": spread[::2, ::3],
        "reversed": np.ascontiguousarray(layer[::-1, ::-1])[::-1, ::-1],
    }


@pytest.mark.parametrize("order", ["C", "Fortran", "spread", "reversed"])
@pytest.mark.parametrize("entries", [1, 60, 10**6])
def test_statistics_are_the_exact_ones_however_a_layer_is_read(
    monkeypatch, order, entries
):
    monkeypatch.setattr("skmot._units._TILE_ENTRIES", entries)
    monkeypatch.setattr("skmot._units._BLOCK_ENTRIES", entries)
    columns = np.column_stack([*hostile_columns().values(), np.full(60, 0.1)])
    layer = memory_orders(columns)[order]
    statistics = unit_statistics(layer)
    for unit, column in enumerate(columns.T[:-1]):
        mean, deviation = exact_mean_and_deviation(column)
        # Half a step of the mean, and of a sum of few numbers before it.
        step = 4e-16 * np.abs(column).max()
        assert statistics.mean[unit] == pytest.approx(mean, rel=0, abs=step)
        precision = 1e-13 if deviation > 1e-300 else 1e-12
        assert statistics.deviation[unit] == pytest.approx(deviation, rel=precision)
    np.testing.assert_array_equal(statistics.dead_units, [len(columns.T) - 1])


@pytest.mark.parametrize("where", [0, 1, 30, 59])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_outlier_spoils_no_statistics_wherever_it_is(monkeypatch, where, dtype):
    # What is subtracted first is the first stimulus, be it an outlier.
    monkeypatch.setattr("skmot._units._TILE_ENTRIES", 10)
    column = np.random.default_rng(20).normal(size=(60, 1)).astype(dtype)
    column[where] = 1e6
    statistics = unit_statistics(column)
    mean, deviation = exact_mean_and_deviation(column[:, 0])
    assert statistics.mean[0] == pytest.approx(mean, rel=1e-14)
    assert statistics.deviation[0] == pytest.approx(deviation, rel=1e-14)


@pytest.mark.parametrize("order", ["C", "Fortran", "spread", "reversed"])
def test_results_do_not_depend_on_the_memory_order(monkeypatch, order):
    monkeypatch.setattr("skmot._units._TILE_ENTRIES", 60)
    layer = np.random.default_rng(21).normal(size=(40, 9))
    layer[:, 4] = 0.1
    given, statistics = memory_orders(layer)[order], unit_statistics(layer)
    np.testing.assert_array_equal(
        standardize(given, statistics), standardize(layer, statistics)
    )
    for metric in ("correlation", "cosine", "sqeuclidean"):
        np.testing.assert_array_equal(
            tuning_curves(given, statistics, metric).vectors,
            tuning_curves(layer, statistics, metric).vectors,
        )
    np.testing.assert_allclose(
        column_correlations(given, layer[::-1]),
        column_correlations(layer, layer[::-1]),
        rtol=0,
        atol=1e-14,
    )
    rows = [0, 3, 8, 8]
    np.testing.assert_allclose(
        paired_products(given, layer, rows, rows[::-1]),
        paired_products(layer, layer, rows, rows[::-1]),
        rtol=1e-14,
    )


def test_some_units_and_several_layers_select_and_join_statistics():
    rng = np.random.default_rng(3)
    layer = rng.normal(size=(15, 7))
    layer[:, 2] = 4.0
    whole = unit_statistics(layer)
    parts = [unit_statistics(layer[:, :3]), unit_statistics(layer[:, 3:])]
    joined = type(whole).side_by_side(parts)
    for name in ("mean", "deviation", "live"):
        expected = getattr(whole, name)
        np.testing.assert_array_equal(getattr(joined, name), expected)
        np.testing.assert_array_equal(getattr(whole[3:], name), expected[3:])


def test_layers_are_left_as_they_are_in_any_memory_order():
    layer = np.random.default_rng(4).normal(size=(12, 5))
    for given in (np.asfortranarray(layer), np.repeat(layer[::-1], 2, axis=0)[::-2]):
        before = given.copy()
        given.setflags(write=False)
        statistics = unit_statistics(given)
        np.testing.assert_allclose(statistics.mean, layer.mean(axis=0), atol=1e-15)
        standardize(given, statistics)
        for metric in ("correlation", "cosine", "sqeuclidean"):
            tuning_curves(given, statistics, metric)
        column_correlations(given, given)
        np.testing.assert_array_equal(given, before)


# -- standardize -----------------------------------------------------------------------


def test_standardized_training_units_have_mean_zero_and_deviation_one():
    layer = np.random.default_rng(5).normal(3, 5, size=(80, 6))
    standardized = standardize(layer, unit_statistics(layer))
    expected = (layer - layer.mean(axis=0)) / layer.std(axis=0)
    np.testing.assert_allclose(standardized, expected, rtol=0, atol=1e-13)


def test_other_stimuli_are_standardized_by_the_training_statistics():
    rng = np.random.default_rng(6)
    training, others = rng.normal(2, 3, (50, 4)), rng.normal(-1, 1, (9, 4))
    statistics = unit_statistics(training)
    expected = (others - training.mean(axis=0)) / training.std(axis=0)
    np.testing.assert_allclose(
        standardize(others, statistics), expected, rtol=0, atol=1e-13
    )
    for row in range(9):
        one = standardize(others[row : row + 1], statistics)
        np.testing.assert_allclose(one, expected[row : row + 1], rtol=0, atol=1e-13)


def test_dead_units_are_standardized_to_zero_whatever_they_do_later():
    training = np.column_stack([np.arange(6.0), np.full(6, 0.1)])
    later = np.array([[1.0, 55.0], [2.0, -1e30]])
    standardized = standardize(later, unit_statistics(training))
    np.testing.assert_array_equal(standardized[:, 1], 0.0)
    assert np.all(standardized[:, 0] != 0)


@pytest.mark.parametrize("name", hostile_columns())
def test_hostile_units_are_standardized_as_far_as_their_mean_is_a_number(name):
    column = hostile_columns()[name]
    mean, deviation = exact_mean_and_deviation(column)
    statistics = unit_statistics(column[:, np.newaxis])
    standardized = standardize(column[:, np.newaxis], statistics)[:, 0]
    expected = np.array(
        [
            float((Fraction(float(x)) - Fraction(mean)) / Fraction(deviation))
            for x in column
        ]
    )
    # The mean is known to a rounding of the offset; so is the result.
    step = 4e-16 * np.abs(column).max() / deviation
    np.testing.assert_allclose(standardized, expected, rtol=1e-11, atol=1e-12 + step)


@pytest.mark.parametrize("scale", [1.0, 3e20, 1e-30])
def test_float32_units_with_an_offset_are_standardized_in_float64_and_then_rounded(
    scale,
):
    normal = np.random.default_rng(7).normal(1e3, 1.0, size=(200, 3))
    layer = (scale * normal).astype(np.float32)
    standardized = standardize(layer, unit_statistics(layer))
    assert standardized.dtype == np.float32
    exact = layer.astype(np.float64)
    expected = (exact - exact.mean(axis=0)) / exact.std(axis=0)
    # Half a step of float32 at values below 4; a float32 mean would be off by 3e-5.
    np.testing.assert_allclose(standardized, expected, rtol=0, atol=1.3e-7)


# -- tuning_curves ---------------------------------------------------------------------


@pytest.mark.parametrize("name", hostile_columns())
def test_correlation_curves_are_centred_and_of_unit_norm(name):
    column = hostile_columns()[name][:, np.newaxis]
    curves = tuning_curves(column, unit_statistics(column), "correlation")
    # The sum is that of 60 numbers, each rounded to 1e-17 at least.
    assert math.fsum(curves.vectors[:, 0]) == pytest.approx(0, abs=1e-13)
    assert np.linalg.norm(curves.vectors) == pytest.approx(1, abs=1e-13)


def test_products_of_correlation_curves_are_the_exact_correlations():
    columns = list(hostile_columns().values())
    layer = np.column_stack(columns)
    curves = tuning_curves(layer, unit_statistics(layer), "correlation")
    products = curves.vectors.T @ curves.vectors
    expected = [[exact_correlation(a, b) for b in columns] for a in columns]
    np.testing.assert_allclose(products, expected, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(curves.offsets, 0.5)
    assert curves.weight == 1.0


def test_cosine_curves_are_not_centred():
    layer = np.random.default_rng(8).normal(2, 1, size=(30, 5))
    curves = tuning_curves(layer, unit_statistics(layer), "cosine")
    expected = layer / np.linalg.norm(layer, axis=0)
    np.testing.assert_allclose(curves.vectors, expected, rtol=0, atol=1e-15)


def test_scaled_euclidean_curves_have_a_mean_squared_norm_of_one():
    layer = np.random.default_rng(9).normal(2, 3, size=(30, 5)) * np.arange(1, 6)
    curves = tuning_curves(layer, unit_statistics(layer), "sqeuclidean")
    centred = layer - layer.mean(axis=0)
    expected = centred / np.sqrt(np.mean(np.sum(centred**2, axis=0)))
    np.testing.assert_allclose(curves.vectors, expected, rtol=0, atol=1e-14)
    squared_norms = np.sum(expected**2, axis=0)
    np.testing.assert_allclose(curves.offsets, squared_norms, rtol=1e-13)
    assert curves.weight == 2.0


@pytest.mark.parametrize("center", [True, False])
def test_unscaled_euclidean_curves_are_the_columns(center):
    layer = np.random.default_rng(10).normal(2, 3, size=(30, 5))
    curves = tuning_curves(
        layer, unit_statistics(layer), "sqeuclidean", center=center, scale=False
    )
    expected = layer - layer.mean(axis=0) if center else layer
    np.testing.assert_allclose(curves.vectors, expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(curves.offsets, np.sum(expected**2, axis=0), rtol=1e-13)


@pytest.mark.parametrize("metric", ["correlation", "cosine", "sqeuclidean"])
def test_dead_units_have_no_curve(metric):
    layer = np.random.default_rng(11).normal(size=(20, 5))
    layer[:, [0, 3]] = 0.1
    curves = tuning_curves(layer, unit_statistics(layer), metric)
    # In the same memory order: sums are taken in it.
    live = np.ascontiguousarray(layer[:, [1, 2, 4]])
    expected = tuning_curves(live, unit_statistics(live), metric)
    np.testing.assert_array_equal(curves.vectors, expected.vectors)
    np.testing.assert_array_equal(curves.offsets, expected.offsets)


@pytest.mark.parametrize("metric", ["correlation", "cosine", "sqeuclidean"])
@pytest.mark.parametrize("scale", [1.0, 3e20, 1e-30])
def test_float32_curves_are_those_of_float64_and_stay_float32(metric, scale):
    layer = (scale * np.random.default_rng(12).normal(1, 2, (40, 6))).astype(np.float32)
    curves = tuning_curves(layer, unit_statistics(layer), metric)
    exact = layer.astype(np.float64)
    expected = tuning_curves(exact, unit_statistics(exact), metric)
    assert curves.vectors.dtype == np.float32
    assert curves.offsets.dtype == np.float64
    np.testing.assert_allclose(curves.vectors, expected.vectors, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(curves.offsets, expected.offsets, rtol=1e-12)


@pytest.mark.parametrize("metric", ["correlation", "cosine", "sqeuclidean"])
def test_units_stay_together_in_memory_where_they_were(metric):
    layer = np.random.default_rng(13).normal(size=(20, 17))
    for given in (layer, np.asfortranarray(layer)):
        vectors = tuning_curves(given, unit_statistics(given), metric).vectors
        assert vectors.flags.f_contiguous == given.flags.f_contiguous
        assert vectors.flags.c_contiguous == given.flags.c_contiguous


# -- unstandardize ---------------------------------------------------------------------


@pytest.mark.parametrize("dtypes", ["ff", "fd", "df"])
def test_unstandardized_units_are_those_that_were_standardized(dtypes):
    layer = np.random.default_rng(22).normal(3, 5, size=(80, 6)).astype(dtypes[0])
    layer[:, 2] = 0.1
    statistics = unit_statistics(layer)
    units = standardize(layer, statistics).astype(dtypes[1])
    found = unstandardize(units, statistics)
    assert found.dtype == np.result_type(*dtypes)
    # Two steps of float32 at values below 32.
    np.testing.assert_allclose(found, layer, rtol=0, atol=4e-6)
    np.testing.assert_array_equal(found[:, 2], layer[0, 2].astype(found.dtype))


# -- column_correlations ---------------------------------------------------------------


def test_column_correlations_are_those_of_numpy():
    rng = np.random.default_rng(14)
    truth = rng.normal(5, 2, (50, 8))
    prediction = truth * rng.normal(size=8) + rng.normal(size=(50, 8))
    expected = [np.corrcoef(truth[:, i], prediction[:, i])[0, 1] for i in range(8)]
    np.testing.assert_allclose(
        column_correlations(truth, prediction), expected, rtol=0, atol=1e-14
    )


@pytest.mark.parametrize("name", hostile_columns())
def test_correlations_with_hostile_columns_are_exact(name):
    columns = hostile_columns()
    truth = np.column_stack(list(columns.values()))
    prediction = np.repeat(columns[name][:, np.newaxis], len(columns), axis=1)
    expected = [exact_correlation(column, columns[name]) for column in truth.T]
    found = column_correlations(truth, prediction)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)
    assert np.all(np.abs(found) <= 1)


def test_nearly_constant_columns_are_not_correlated_by_their_rounding():
    # The sum of 5000 numbers near 1e15 is off by more than the units' deviations.
    rng = np.random.default_rng(15)
    truth, prediction = 1e15 + rng.integers(0, 2, (2, 5000, 3))
    expected = [
        reference.pearson(a - 1e15, b - 1e15)
        for a, b in zip(truth.T, prediction.T, strict=True)
    ]
    assert np.abs(expected).max() < 0.05
    np.testing.assert_allclose(
        column_correlations(truth, prediction), expected, rtol=0, atol=1e-12
    )


def test_constant_truth_is_missing_and_constant_prediction_is_zero():
    rng = np.random.default_rng(16)
    truth, prediction = rng.normal(size=(2, 30, 4))
    truth[:, [0, 1]] = 0.1
    prediction[:, [1, 2]] = 0.3
    found = column_correlations(truth, prediction)
    np.testing.assert_array_equal(np.isnan(found), [True, True, False, False])
    assert found[2] == 0
    assert found[3] == pytest.approx(
        reference.pearson(truth[:, 3], prediction[:, 3]), abs=1e-14
    )


@pytest.mark.parametrize("dtypes", ["ff", "fd", "df"])
def test_column_correlations_of_float32_are_those_of_the_same_numbers(dtypes):
    rng = np.random.default_rng(17)
    truth = (1e4 + rng.normal(size=(60, 5))).astype(dtypes[0])
    prediction = (truth + rng.normal(size=(60, 5))).astype(dtypes[1])
    np.testing.assert_array_equal(
        column_correlations(truth, prediction),
        column_correlations(truth.astype(float), prediction.astype(float)),
    )


def test_column_correlations_in_tiles_are_those_of_the_whole(monkeypatch):
    truth, prediction = np.random.default_rng(18).normal(size=(2, 20, 17))
    whole = column_correlations(truth, prediction)
    monkeypatch.setattr("skmot._units._TILE_ENTRIES", 60)
    in_tiles = column_correlations(truth, prediction)
    np.testing.assert_allclose(in_tiles, whole, rtol=0, atol=1e-15)


# -- pairs -----------------------------------------------------------------------------


@pytest.mark.parametrize("entries", [4_000_000, 30])
def test_products_and_distances_of_pairs_are_those_of_the_columns(monkeypatch, entries):
    monkeypatch.setattr("skmot._units._TILE_ENTRIES", entries)
    rng = np.random.default_rng(19)
    source, target = rng.normal(size=(12, 5)), rng.normal(size=(12, 8))
    rows, columns = rng.integers(0, 5, 20), rng.integers(0, 8, 20)
    pairs = list(zip(source.T[rows], target.T[columns], strict=True))
    np.testing.assert_allclose(
        paired_products(source, target, rows, columns),
        [sum(a * b for a, b in zip(*pair, strict=True)) for pair in pairs],
        rtol=0,
        atol=1e-13,
    )
    np.testing.assert_allclose(
        paired_squared_distances(source, target, rows, columns),
        [sum((a - b) ** 2 for a, b in zip(*pair, strict=True)) for pair in pairs],
        rtol=1e-14,
    )


def test_no_pairs_have_no_products():
    empty = np.empty((6, 0))
    none = np.empty(0, dtype=int)
    assert paired_products(empty, np.ones((6, 2)), none, none).shape == (0,)


def test_distance_of_nearly_equal_pairs_keeps_its_digits():
    source = np.full((10, 1), 1e6)
    target = source + 2.0**-20
    squared = paired_squared_distances(source, target, [0], [0])
    assert squared[0] == 10 * 2.0**-40


def test_pairs_of_float32_are_summed_in_float64():
    # Neither sum nor square fits float32, and 1 is below a step of 1e8.
    source = np.array([[1e4], [1.0], [3e20]], dtype=np.float32)
    target = np.array([[1e4], [1.0], [0.0]], dtype=np.float32)
    assert paired_products(source, target, [0], [0])[0] == 1e8 + 1
    big = float(source[2, 0])
    assert paired_squared_distances(source, target, [0], [0])[0] == big**2


def test_a_layer_without_live_units_is_an_error_that_names_it():
    check_some_live(np.array([False, True]), "X, layer 'conv1'")
    with pytest.raises(ValueError, match=r"Every unit is constant.*X, layer 'conv1'"):
        check_some_live(np.array([False, False]), "X, layer 'conv1'")

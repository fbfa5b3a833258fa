"""Statistics of units against exact rational arithmetic and numpy's own functions.

They are read through an estimator that shows what it is given, see `Revealing`. Layers
are read in tiles of 200,000 entries: those that must cross them are larger.
"""

import math
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from scipy.sparse import csr_array

from skmot import MultiLevelOT, SoftMatching
from skmot.metrics import reconstruction_correlation, soft_matching_distance
from tests import reference
from tests.estimators import Revealing, Witness
from tests.networks import hostile_columns

METRICS = ["correlation", "cosine", "sqeuclidean"]

pytestmark = pytest.mark.filterwarnings(
    "ignore:.* are constant over:skmot.exceptions.DeadUnitWarning"
)


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


@cache
def exact_correlations():
    """Return the correlations of all hostile columns with each other."""
    columns = list(hostile_columns().values())
    correlations = np.eye(len(columns))
    for i, first in enumerate(columns):
        for j, second in enumerate(columns[:i]):
            correlations[i, j] = correlations[j, i] = exact_correlation(first, second)
    return correlations


def population(layer, metric="correlation"):
    """Return what an estimator is given of a layer."""
    return Revealing(metric).fit(layer, layer).source_


def statistics_of(layer):
    return population(layer).statistics


def standardized(training, others):
    """Return other stimuli as the maps of an estimator are given them."""
    fitted = Revealing().fit(training, training)
    fitted.predict(others)
    return fitted.maps_[0].units


def column(values):
    return values[:, np.newaxis]


# -- statistics ------------------------------------------------------------------------


@pytest.mark.parametrize("name", hostile_columns())
def test_mean_and_deviation_are_the_exact_ones(name):
    values = hostile_columns()[name]
    statistics = statistics_of(column(values))
    mean, deviation = exact_mean_and_deviation(values)
    peak = np.abs(values).max()
    assert statistics.mean[0] == pytest.approx(mean, rel=0, abs=2e-16 * peak)
    # A subnormal number has few digits.
    precision = 1e-13 if deviation > 1e-300 else 1e-12
    assert statistics.deviation[0] == pytest.approx(deviation, rel=precision, abs=0)
    assert statistics.live.all()


@pytest.mark.parametrize("scale", [1.0, 3e20, 1e37, 1e-30, 1e-44])
def test_float32_statistics_are_those_of_the_same_numbers_in_float64(scale):
    normal = np.random.default_rng(1).normal(size=(40, 3))
    layer = (scale * normal).astype(np.float32)
    statistics = statistics_of(layer)
    for unit in range(3):
        mean, deviation = exact_mean_and_deviation(layer[:, unit])
        assert statistics.mean[unit] == pytest.approx(mean, rel=1e-13)
        assert statistics.deviation[unit] == pytest.approx(deviation, rel=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_units_are_dead_and_keep_their_value(dtype):
    values = np.array([0.1, 0.0, -7.3, 1e-30, 3e20, 1e30], dtype=dtype)
    layer = np.tile(values, (1001, 1))
    layer = np.column_stack([layer, np.arange(1001, dtype=dtype)])
    fitted = Revealing().fit(layer, layer)
    statistics = fitted.source_.statistics
    np.testing.assert_array_equal(statistics.live, [False] * 6 + [True])
    np.testing.assert_array_equal(fitted.dead_source_units_, np.arange(6))
    np.testing.assert_array_equal(statistics.mean[:6], values.astype(np.float64))
    np.testing.assert_array_equal(statistics.deviation[:6], 0.0)
    np.testing.assert_array_equal(fitted.predict(layer[:4])[:, :6], layer[:4, :6])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_step_of_one_stimulus_makes_a_unit_live(dtype):
    layer = np.full((500, 2), 0.1, dtype=dtype)
    layer[3, 1] = np.nextafter(dtype(0.1), dtype(1))
    fitted = Revealing().fit(layer, layer)
    np.testing.assert_array_equal(fitted.source_.statistics.live, [False, True])
    np.testing.assert_array_equal(fitted.dead_source_units_, [0])
    assert fitted.source_.statistics.deviation[1] > 0
    # Below an estimator that is not skmot's they are found another way.
    foreign = MultiLevelOT(Witness()).fit([layer], [layer])
    np.testing.assert_array_equal(foreign.dead_source_units_, [[0]])


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
# In memory order C one tile, two of 59 stimuli and of one, and five.
@pytest.mark.parametrize("n_copies", [1, 240, 1000])
def test_statistics_are_the_exact_ones_however_a_layer_is_read(order, n_copies):
    columns = np.column_stack([*hostile_columns().values(), np.full(60, 0.1)])
    layer = memory_orders(np.tile(columns, n_copies))[order]
    statistics = Revealing().fit(layer, layer[:, :1]).source_.statistics
    mean, deviation, live = (
        values.reshape(n_copies, -1).T
        for values in (statistics.mean, statistics.deviation, statistics.live)
    )
    for unit, values in enumerate(columns.T[:-1]):
        exact_mean, exact_deviation = exact_mean_and_deviation(values)
        # Half a step of the mean, and of a sum of few numbers before it.
        step = 4e-16 * np.abs(values).max()
        np.testing.assert_allclose(mean[unit], exact_mean, rtol=0, atol=step)
        precision = 1e-13 if exact_deviation > 1e-300 else 1e-12
        np.testing.assert_allclose(deviation[unit], exact_deviation, rtol=precision)
    assert live[:-1].all()
    assert not live[-1].any()


def test_many_units_whose_squares_vanish_have_the_exact_statistics():
    # They are gathered in blocks of 4,000,000 entries.
    values = 1e-300 * np.random.default_rng(2).normal(size=(60, 7))
    layer = np.tile(values, 10_000)
    layer[:, ::7] = 0.1
    statistics = Revealing().fit(layer, values).source_.statistics
    mean, deviation, live = (
        numbers.reshape(-1, 7).T
        for numbers in (statistics.mean, statistics.deviation, statistics.live)
    )
    assert not live[0].any()
    assert live[1:].all()
    for unit in range(1, 7):
        exact_mean, exact_deviation = exact_mean_and_deviation(values[:, unit])
        np.testing.assert_allclose(mean[unit], exact_mean, rtol=1e-13)
        np.testing.assert_allclose(deviation[unit], exact_deviation, rtol=1e-13)


@pytest.mark.parametrize("where", [0, 1, 30, 59])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_outlier_spoils_no_statistics_wherever_it_is(where, dtype):
    # What is subtracted first is the first stimulus of a tile, be it an outlier.
    values = np.random.default_rng(20).normal(size=60).astype(dtype)
    values[where] = 1e6
    # So many copies that a tile has ten stimuli.
    layer = np.tile(column(values), 20_000)
    statistics = Revealing().fit(layer, column(values)).source_.statistics
    mean, deviation = exact_mean_and_deviation(values)
    np.testing.assert_allclose(statistics.mean, mean, rtol=1e-14)
    np.testing.assert_allclose(statistics.deviation, deviation, rtol=1e-14)


@pytest.mark.parametrize("order", ["C", "Fortran", "spread", "reversed"])
def test_results_do_not_depend_on_the_memory_order(order):
    layer = np.random.default_rng(21).normal(size=(40, 6000))
    layer[:, 4] = 0.1
    given = memory_orders(layer)[order]
    for metric in METRICS:
        found, expected = (Revealing(metric).fit(layer, layer) for _ in range(2))
        found.predict(given)
        expected.predict(layer)
        np.testing.assert_array_equal(found.maps_[0].units, expected.maps_[0].units)
        np.testing.assert_allclose(
            population(given, metric).curves.vectors,
            expected.source_.curves.vectors,
            rtol=0,
            atol=1e-14,
        )
    np.testing.assert_allclose(
        found.unit_scores(given, layer[::-1]),
        expected.unit_scores(layer, layer[::-1]),
        rtol=0,
        atol=1e-14,
    )
    assert reconstruction_correlation(given, layer[::-1]) == pytest.approx(
        reconstruction_correlation(layer, layer[::-1]), rel=0, abs=1e-14
    )


@pytest.mark.parametrize("metric", METRICS)
def test_layers_side_by_side_have_the_statistics_of_the_whole(metric):
    rng = np.random.default_rng(3)
    layer = rng.normal(size=(15, 7))
    layer[:, 2] = 4.0
    whole = population(layer, metric)
    parts = [layer[:, :3], layer[:, 3:]]
    joined = Revealing(metric).fit(parts, parts).source_
    for name in ("mean", "deviation", "live"):
        np.testing.assert_array_equal(
            getattr(joined.statistics, name), getattr(whole.statistics, name)
        )
    if metric != "sqeuclidean":
        # Under which each layer has a scale of its own.
        np.testing.assert_array_equal(joined.curves.vectors, whole.curves.vectors)
        np.testing.assert_array_equal(joined.curves.offsets, whole.curves.offsets)


@pytest.mark.parametrize("metric", METRICS)
def test_layers_are_left_as_they_are_in_any_memory_order(metric):
    layer = np.random.default_rng(4).normal(size=(12, 5))
    for given in (np.asfortranarray(layer), np.repeat(layer[::-1], 2, axis=0)[::-2]):
        before = given.copy()
        given.setflags(write=False)
        np.testing.assert_allclose(
            statistics_of(given).mean, layer.mean(axis=0), atol=1e-15
        )
        matching = SoftMatching(metric).fit(given, given)
        for method in ("score", "inverse_score", "held_out_cost", "matching_score"):
            getattr(matching, method)(given, given)
        np.testing.assert_array_equal(given, before)


# -- standardised units ----------------------------------------------------------------


def test_standardized_training_units_have_mean_zero_and_deviation_one():
    layer = np.random.default_rng(5).normal(3, 5, size=(80, 6))
    expected = (layer - layer.mean(axis=0)) / layer.std(axis=0)
    for found in (standardized(layer, layer), population(layer).units):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


def test_other_stimuli_are_standardized_by_the_training_statistics():
    rng = np.random.default_rng(6)
    training, others = rng.normal(2, 3, (50, 4)), rng.normal(-1, 1, (9, 4))
    expected = (others - training.mean(axis=0)) / training.std(axis=0)
    np.testing.assert_allclose(
        standardized(training, others), expected, rtol=0, atol=1e-13
    )
    for row in range(9):
        one = standardized(training, others[row : row + 1])
        np.testing.assert_allclose(one, expected[row : row + 1], rtol=0, atol=1e-13)


@pytest.mark.parametrize("metric", METRICS)
def test_dead_units_predict_nothing_whatever_they_do_later(metric):
    rng = np.random.default_rng(23)
    training, later = rng.normal(size=(2, 30, 4))
    training[:, 1] = later[:, 1] = 0.1
    assert standardized(training, later).shape == (30, 3)
    matching = SoftMatching(metric).fit(training, training)
    changed = later.copy()
    changed[:, 1] = rng.choice([55.0, -1e30], size=30)
    np.testing.assert_array_equal(matching.predict(changed), matching.predict(later))
    for method in ("held_out_cost", "matching_score"):
        read = getattr(matching, method)
        assert read(changed, later) == pytest.approx(read(later, later), abs=1e-12)


@pytest.mark.parametrize("name", hostile_columns())
def test_hostile_units_are_standardized_as_far_as_their_mean_is_a_number(name):
    values = hostile_columns()[name]
    mean, deviation = exact_mean_and_deviation(values)
    found = standardized(column(values), column(values))[:, 0]
    expected = np.array(
        [
            float((Fraction(float(x)) - Fraction(mean)) / Fraction(deviation))
            for x in values
        ]
    )
    # The mean is known to a rounding of the offset; so is the result.
    step = 4e-16 * np.abs(values).max() / deviation
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12 + step)


@pytest.mark.parametrize("scale", [1.0, 3e20, 1e-30])
def test_float32_units_with_an_offset_are_standardized_in_float64_and_then_rounded(
    scale,
):
    normal = np.random.default_rng(7).normal(1e3, 1.0, size=(200, 3))
    layer = (scale * normal).astype(np.float32)
    found = standardized(layer, layer)
    assert found.dtype == np.float32
    exact = layer.astype(np.float64)
    expected = (exact - exact.mean(axis=0)) / exact.std(axis=0)
    # Half a step of float32 at values below 4; a float32 mean would be off by 3e-5.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1.3e-7)


@pytest.mark.parametrize("dtypes", ["ff", "fd", "df"])
def test_units_are_put_back_where_they_were_before_they_were_standardized(dtypes):
    layer = np.random.default_rng(22).normal(3, 5, size=(80, 6)).astype(dtypes[0])
    layer[:, 2] = 0.1
    fitted = Revealing().fit(layer, layer)
    fitted.maps_[0].dtype = np.dtype(dtypes[1])
    found = fitted.predict(layer)
    assert found.dtype == np.result_type(*dtypes)
    # Two steps of float32 at values below 32.
    np.testing.assert_allclose(found, layer, rtol=0, atol=4e-6)
    np.testing.assert_array_equal(found[:, 2], layer[0, 2].astype(found.dtype))


# -- tuning curves ---------------------------------------------------------------------


@pytest.mark.parametrize("name", hostile_columns())
def test_correlation_curves_are_centred_and_of_unit_norm(name):
    curves = population(column(hostile_columns()[name])).curves
    # The sum is that of 60 numbers, each rounded to 1e-17 at least.
    assert math.fsum(curves.vectors[:, 0]) == pytest.approx(0, abs=1e-13)
    assert np.linalg.norm(curves.vectors) == pytest.approx(1, abs=1e-13)


def test_products_of_correlation_curves_are_the_exact_correlations():
    curves = population(np.column_stack(list(hostile_columns().values()))).curves
    products = curves.vectors.T @ curves.vectors
    np.testing.assert_allclose(products, exact_correlations(), rtol=0, atol=1e-13)
    np.testing.assert_array_equal(curves.offsets, 0.5)
    assert curves.weight == 1.0


def test_cosine_curves_are_not_centred():
    layer = np.random.default_rng(8).normal(2, 1, size=(30, 5))
    curves = population(layer, "cosine").curves
    expected = layer / np.linalg.norm(layer, axis=0)
    np.testing.assert_allclose(curves.vectors, expected, rtol=0, atol=1e-15)


def test_scaled_euclidean_curves_have_a_mean_squared_norm_of_one():
    layer = np.random.default_rng(9).normal(2, 3, size=(30, 5)) * np.arange(1, 6)
    curves = population(layer, "sqeuclidean").curves
    centred = layer - layer.mean(axis=0)
    expected = centred / np.sqrt(np.mean(np.sum(centred**2, axis=0)))
    np.testing.assert_allclose(curves.vectors, expected, rtol=0, atol=1e-14)
    squared_norms = np.sum(expected**2, axis=0)
    np.testing.assert_allclose(curves.offsets, squared_norms, rtol=1e-13)
    assert curves.weight == 2.0


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize(
    ("scale", "dtype"), [(1, "f8"), (1, "f4"), (1e30, "f4"), (1e-30, "f4")]
)
def test_unscaled_euclidean_curves_are_the_columns(center, scale, dtype):
    rng = np.random.default_rng(10)
    X, Y = (scale * rng.normal(2, 3, size=(30, n)) for n in (5, 4))
    X, Y = X.astype(dtype), Y.astype(dtype)
    found = soft_matching_distance(X, Y, center=center, scale=False) / scale
    X, Y = (layer.astype(np.float64) / scale for layer in (X, Y))
    if center:
        X, Y = X - X.mean(axis=0), Y - Y.mean(axis=0)
    squared = [[np.sum((x - y) ** 2) for y in Y.T] for x in X.T]
    expected = np.sqrt(reference.transport(squared)[1])
    assert found == pytest.approx(expected, rel=1e-12 if scale == 1 else 1e-7)


@pytest.mark.parametrize("metric", METRICS)
def test_dead_units_have_no_curve(metric):
    layer = np.random.default_rng(11).normal(size=(20, 5))
    layer[:, [0, 3]] = 0.1
    curves = population(layer, metric).curves
    # In the same memory order: sums are taken in it.
    expected = population(np.ascontiguousarray(layer[:, [1, 2, 4]]), metric).curves
    np.testing.assert_array_equal(curves.vectors, expected.vectors)
    np.testing.assert_array_equal(curves.offsets, expected.offsets)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1.0, 3e20, 1e-30])
def test_float32_curves_are_those_of_float64_and_stay_float32(metric, scale):
    layer = (scale * np.random.default_rng(12).normal(1, 2, (40, 6))).astype(np.float32)
    curves = population(layer, metric).curves
    expected = population(layer.astype(np.float64), metric).curves
    assert curves.vectors.dtype == np.float32
    assert curves.offsets.dtype == np.float64
    np.testing.assert_allclose(curves.vectors, expected.vectors, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(curves.offsets, expected.offsets, rtol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_units_stay_together_in_memory_where_they_were(metric):
    layer = np.random.default_rng(13).normal(size=(20, 17))
    for given in (layer, np.asfortranarray(layer)):
        vectors = population(given, metric).curves.vectors
        assert vectors.flags.f_contiguous == given.flags.f_contiguous
        assert vectors.flags.c_contiguous == given.flags.c_contiguous


# -- correlations of recorded and reconstructed units ----------------------------------


def correlations(truth, prediction):
    """Return the correlation of each column of one array with that of another."""
    return np.array(
        [
            reconstruction_correlation(*columns)
            for columns in zip(truth.T, prediction.T, strict=True)
        ]
    )


def test_correlations_are_those_of_numpy():
    rng = np.random.default_rng(14)
    truth = rng.normal(5, 2, (50, 8))
    prediction = truth * rng.normal(size=8) + rng.normal(size=(50, 8))
    expected = [np.corrcoef(truth[:, i], prediction[:, i])[0, 1] for i in range(8)]
    np.testing.assert_allclose(
        correlations(truth, prediction), expected, rtol=0, atol=1e-14
    )
    assert reconstruction_correlation(truth, prediction) == pytest.approx(
        np.mean(expected), abs=1e-14
    )


@pytest.mark.parametrize("name", hostile_columns())
def test_correlations_with_hostile_columns_are_exact(name):
    columns = hostile_columns()
    truth = np.column_stack(list(columns.values()))
    prediction = np.repeat(column(columns[name]), len(columns), axis=1)
    expected = exact_correlations()[list(columns).index(name)]
    found = correlations(truth, prediction)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)
    assert np.all(np.abs(found) <= 1)
    # All of them at once, in one array.
    assert reconstruction_correlation(truth, prediction) == pytest.approx(
        expected.mean(), abs=1e-13
    )


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
        correlations(truth, prediction), expected, rtol=0, atol=1e-12
    )


def test_constant_truth_is_missing_and_constant_prediction_is_zero():
    rng = np.random.default_rng(16)
    training, truth, prediction = rng.normal(size=(3, 30, 4))
    truth[:, [0, 1]] = 0.1
    prediction[:, [1, 2]] = 0.3
    found = Revealing().fit(training, training).unit_scores(prediction, truth)
    np.testing.assert_array_equal(np.isnan(found), [True, True, False, False])
    assert found[2] == 0
    expected = reference.pearson(truth[:, 3], prediction[:, 3])
    assert found[3] == pytest.approx(expected, abs=1e-14)
    assert reconstruction_correlation(truth, prediction) == pytest.approx(
        expected / 2, abs=1e-14
    )


@pytest.mark.parametrize("dtypes", ["ff", "fd", "df"])
def test_correlations_of_float32_are_those_of_the_same_numbers(dtypes):
    rng = np.random.default_rng(17)
    truth = (1e4 + rng.normal(size=(60, 5))).astype(dtypes[0])
    prediction = (truth + rng.normal(size=(60, 5))).astype(dtypes[1])
    np.testing.assert_array_equal(
        correlations(truth, prediction),
        correlations(truth.astype(float), prediction.astype(float)),
    )


def test_correlations_of_many_units_are_those_of_each():
    # In two tiles, of 33 and of 7 stimuli.
    training, truth, prediction = np.random.default_rng(18).normal(size=(3, 40, 6000))
    found = Revealing().fit(training, training).unit_scores(prediction, truth)
    expected = [
        reference.pearson(*pair) for pair in zip(truth.T, prediction.T, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)
    assert reconstruction_correlation(truth, prediction) == pytest.approx(
        np.mean(expected), abs=1e-14
    )


# -- pairs of units --------------------------------------------------------------------


@pytest.mark.parametrize("n_stimuli", [12, 20_000])
def test_products_and_distances_of_pairs_are_those_of_the_columns(n_stimuli):
    # Twelve pairs: in one tile, or in two.
    rng = np.random.default_rng(19)
    source, target = rng.normal(size=(n_stimuli, 5)), rng.normal(size=(n_stimuli, 8))
    plan = rng.random((5, 8)) * (rng.permutation(40).reshape(5, 8) < 12)

    matching = SoftMatching().fit(source, target)
    matching.coupling_ = csr_array(plan)
    products = 1 - reference.correlation_distances(source, target)
    assert matching.matching_score(source, target) == pytest.approx(
        np.sum(plan * products) / plan.sum(), abs=1e-13
    )
    matching = SoftMatching("sqeuclidean").fit(source, target)
    matching.coupling_ = csr_array(plan)
    squared = reference.squared_distances(source, target)
    assert matching.held_out_cost(source, target) == pytest.approx(
        np.sum(plan * squared), rel=1e-12
    )


def test_no_pairs_have_no_products():
    X, y = np.random.default_rng(24).normal(size=(2, 20, 3))
    # Where all source units are silent, none tells anything of its counterpart.
    matching = SoftMatching().fit(X, y)
    assert matching.matching_score(np.ones_like(X), y) == 0


def test_distance_of_nearly_equal_pairs_keeps_its_digits():
    # Mean 0 and deviation 1, so that other stimuli stay what they are.
    training = np.array([[-1.0], [1.0]])
    matching = SoftMatching("sqeuclidean").fit(training, training)
    source = np.full((10, 1), 1e6)
    assert matching.held_out_cost(source, source + 2.0**-20) == 2.0**-40


def test_pairs_of_float32_are_summed_in_float64():
    training = np.array([[-1.0], [1.0]], dtype=np.float32)
    matching = SoftMatching("sqeuclidean").fit(training, training)
    # The square does not fit float32, and 1 is below a step of it.
    source = np.array([[3e20], [0.0]], dtype=np.float32)
    big = float(source[0, 0])
    assert matching.held_out_cost(source, np.zeros_like(source)) == big**2 / 2
    source = np.array([[1e4], [1.0]], dtype=np.float32)
    assert matching.held_out_cost(source, np.zeros_like(source)) == (1e8 + 1) / 2
    # In float32 the sum of so many products is off by more.
    layer = np.random.default_rng(25).normal(size=(200_000, 3)).astype(np.float32)
    matching = SoftMatching().fit(layer, layer)
    assert matching.matching_score(layer, layer) == pytest.approx(1, abs=2e-8)


def test_a_layer_without_live_units_is_an_error_that_names_it():
    live, dead = np.arange(6.0).reshape(3, 2), np.ones((3, 2))
    half = np.column_stack([live[:, 0], dead[:, 0]])
    assert SoftMatching().fit({"conv1": half}, [live]).cost_ < 1e-12
    with pytest.raises(ValueError, match=r"Every unit is constant.*X, layer 'conv1'"):
        SoftMatching().fit({"conv1": dead}, [live])

"""Distances and scores of paper 1: brute force, closed forms, and the laws of a metric.

The distances are square roots of sums that rounding leaves at 1e-16 and not at 0, so a
distance of 0 is tested to 1e-7 where such a sum is taken, and of 1 to 1e-12.
"""

import warnings
from itertools import permutations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from skmot.exceptions import DeadUnitWarning
from skmot.metrics import (
    one_to_one_distance,
    soft_matching_distance,
    soft_matching_score,
)
from tests import reference

WIDTHS = [(6, 6), (6, 9), (10, 7), (1, 5), (5, 1), (1, 1), (60, 91)]
METRICS = [soft_matching_distance, one_to_one_distance, soft_matching_score]


def populations(widths, n_stimuli=30, seed=0):
    """Return populations that share some of their structure."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n_stimuli, 4))
    return [
        (1 + rng.random(width))
        * (latent @ rng.normal(size=(4, width)) + rng.normal(size=(n_stimuli, width)))
        + rng.normal(size=width)
        for width in widths
    ]


def prepare(layer, center, scale):
    layer = layer - layer.mean(axis=0) if center else layer
    return layer / np.sqrt(np.mean(np.sum(layer**2, axis=0))) if scale else layer


def orthogonal_curves():
    """Return X, Y and Z of Figure 3A: Z holds both, X and Y are orthogonal."""
    curves, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(20, 6)))
    return curves[:, :3], curves[:, 3:], curves


# -- definitions -----------------------------------------------------------------------


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("scale", [True, False])
def test_soft_matching_distance_is_that_of_the_definition(widths, center, scale):
    X, Y = populations(widths)
    x, y = prepare(X, center, scale), prepare(Y, center, scale)
    costs = np.array([[np.sum((a - b) ** 2) for b in y.T] for a in x.T])
    _, optimum = reference.transport(costs)
    found = soft_matching_distance(X, Y, center=center, scale=scale)
    assert found == pytest.approx(np.sqrt(optimum), rel=1e-9)


@pytest.mark.parametrize("widths", WIDTHS)
def test_soft_matching_score_is_that_of_the_definition(widths):
    X, Y = populations(widths)
    costs = reference.correlation_distances(X, Y)
    _, optimum = reference.transport(costs)
    assert soft_matching_score(X, Y) == pytest.approx(1 - optimum, abs=1e-9)


@pytest.mark.parametrize("widths", WIDTHS)
def test_uncentred_score_is_that_of_the_cosine(widths):
    X, Y = populations(widths)
    _, optimum = reference.transport(reference.cosine_distances(X, Y))
    found = soft_matching_score(X, Y, center=False)
    assert found == pytest.approx(1 - optimum, abs=1e-9)


@pytest.mark.parametrize("width", range(1, 7))
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("scale", [True, False])
def test_one_to_one_distance_is_that_of_the_best_permutation(width, center, scale):
    X, Y = populations((width, width), n_stimuli=12, seed=width)
    x, y = prepare(X, center, scale), prepare(Y, center, scale)
    brute_force = min(
        np.linalg.norm(x - y[:, order]) for order in permutations(range(width))
    )
    found = one_to_one_distance(X, Y, center=center, scale=scale)
    assert found == pytest.approx(brute_force, rel=1e-12)


@pytest.mark.parametrize("width", [1, 2, 5, 6, 40])
def test_one_to_one_distance_is_root_n_times_the_soft_matching_distance(width):
    X, Y = populations((width, width), seed=width)
    expected = np.sqrt(width) * soft_matching_distance(X, Y)
    assert one_to_one_distance(X, Y) == pytest.approx(expected, rel=1e-9)


def test_score_of_equal_sizes_is_the_mean_correlation_of_the_best_assignment():
    X, Y = populations((25, 25))
    correlations = 1 - reference.correlation_distances(X, Y)
    best = correlations[linear_sum_assignment(correlations, maximize=True)]
    assert soft_matching_score(X, Y) == pytest.approx(best.mean(), abs=1e-12)


def test_figure_3a_of_the_first_paper():
    X, Y, Z = orthogonal_curves()
    assert soft_matching_score(X, Z, center=False) == pytest.approx(0.5, abs=1e-14)
    assert soft_matching_score(Y, Z, center=False) == pytest.approx(0.5, abs=1e-14)
    assert soft_matching_score(X, Y, center=False) == pytest.approx(0.0, abs=1e-14)
    assert soft_matching_score(Z, Z, center=False) == pytest.approx(1.0, abs=1e-14)


def test_orthogonal_populations_are_at_the_square_root_of_two():
    X, Y, Z = orthogonal_curves()
    # Unit vectors: |x - y|^2 is 0 or 2, and half of Z is X.
    found = soft_matching_distance(X, Y, center=False)
    assert found == pytest.approx(np.sqrt(2), rel=1e-14)
    found = soft_matching_distance(X, Z, center=False)
    assert found == pytest.approx(1.0, rel=1e-14)
    found = one_to_one_distance(X, Y, center=False)
    assert found == pytest.approx(np.sqrt(6), rel=1e-14)


def test_opposite_populations_are_at_distance_two_and_score_minus_one():
    x = np.random.default_rng(2).normal(size=(20, 1))
    assert soft_matching_distance(x, -x) == pytest.approx(2, rel=1e-14)
    assert one_to_one_distance(x, -x) == pytest.approx(2, rel=1e-14)
    assert soft_matching_score(x, -x) == pytest.approx(-1, abs=1e-14)


# -- laws ------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("widths", [(6, 6), (40, 40)])
def test_equal_sizes_are_compared_the_same_in_both_directions(metric, widths):
    X, Y = populations(widths)
    assert metric(X, Y) == pytest.approx(metric(Y, X), rel=1e-12)


@pytest.mark.parametrize("metric", [soft_matching_distance, soft_matching_score])
@pytest.mark.parametrize("widths", [(6, 9), (1, 5), (60, 91)])
def test_unequal_sizes_are_compared_the_same_in_both_directions(metric, widths):
    X, Y = populations(widths)
    assert metric(X, Y) == pytest.approx(metric(Y, X), rel=1e-12)


def test_distances_satisfy_the_triangle_inequality():
    rng = np.random.default_rng(3)
    closest = np.inf
    for trial in range(150):
        widths = rng.integers(1, 9, 3)
        X, Y, Z = populations(widths, n_stimuli=int(rng.integers(3, 12)), seed=trial)
        if trial % 2:
            # On the way from X to Z, where the inequality is nearly an equality.
            Z = X + rng.normal(size=X.shape)
            Y = (X + Z) / 2
        for options in ({}, {"center": False}, {"scale": False}):
            xy = soft_matching_distance(X, Y, **options)
            yz = soft_matching_distance(Y, Z, **options)
            xz = soft_matching_distance(X, Z, **options)
            assert xz <= (xy + yz) * (1 + 1e-12)
            closest = min(closest, (xy + yz) / xz)
    # Some triples came close enough for the test to mean something.
    assert closest < 1.01


def test_one_to_one_distance_satisfies_the_triangle_inequality():
    for seed in range(100):
        X, Y, Z = populations((4, 4, 4), n_stimuli=6, seed=seed)
        through_y = one_to_one_distance(X, Y) + one_to_one_distance(Y, Z)
        assert one_to_one_distance(X, Z) <= through_y * (1 + 1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_permuted_units_are_at_distance_zero(dtype):
    rng = np.random.default_rng(4)
    X = populations((30,))[0].astype(dtype)
    permuted = X[:, rng.permutation(30)]
    # Norms are added in another order, which moves the scale by a rounding.
    assert soft_matching_distance(X, permuted) < 1e-6 * (dtype == np.float32) + 1e-14
    assert one_to_one_distance(X, permuted) < 1e-6 * (dtype == np.float32) + 1e-13
    assert soft_matching_score(X, permuted) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("repeats", [2, 3, 7])
def test_repeated_units_are_at_distance_zero(repeats):
    X = populations((8,))[0]
    for repeated in (np.repeat(X, repeats, axis=1), np.tile(X, repeats)):
        assert soft_matching_distance(X, repeated) < 1e-14
        assert soft_matching_score(X, repeated) == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("repeats", [2, 5])
def test_repeating_every_unit_changes_neither_distance_nor_score(repeats):
    X, Y = populations((6, 8))
    for metric in (soft_matching_distance, soft_matching_score):
        expected = metric(X, Y)
        repeated = np.repeat(X, repeats, axis=1)
        assert metric(repeated, Y) == pytest.approx(expected, rel=1e-12)
        assert metric(Y, repeated) == pytest.approx(expected, rel=1e-12)
        both = metric(repeated, np.tile(Y, 3))
        assert both == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_order_of_units_and_of_stimuli_changes_nothing(metric):
    X, Y = populations((9, 9))
    rng = np.random.default_rng(5)
    stimuli, units = rng.permutation(30), rng.permutation(9)
    expected = metric(X, Y)
    assert metric(X[:, units], Y) == pytest.approx(expected, rel=1e-12)
    assert metric(X[stimuli], Y[stimuli]) == pytest.approx(expected, rel=1e-12)


def test_score_ignores_offset_and_scale_of_each_unit():
    X, Y = populations((6, 9))
    rng = np.random.default_rng(6)
    moved = X * 10.0 ** rng.uniform(-6, 6, 6)
    # An offset of 100 deviations costs two digits.
    moved += 100 * moved.std(axis=0) * rng.normal(size=6)
    expected = soft_matching_score(X, Y)
    assert soft_matching_score(moved, Y) == pytest.approx(expected, abs=1e-12)
    assert soft_matching_score(Y, moved) == pytest.approx(expected, abs=1e-12)


def test_distance_ignores_offsets_of_units_and_the_scale_of_a_population():
    X, Y = populations((6, 6))
    for metric in (soft_matching_distance, one_to_one_distance):
        moved = metric(7 * X + np.arange(6), 0.1 * Y - np.arange(6))
        assert moved == pytest.approx(metric(X, Y), rel=1e-12)


def test_unscaled_distance_is_proportional_to_the_activations():
    X, Y = populations((6, 6))
    for metric in (soft_matching_distance, one_to_one_distance):
        expected = 3 * metric(X, Y, scale=False)
        assert metric(3 * X, 3 * Y, scale=False) == pytest.approx(expected, rel=1e-12)


# -- numbers of any size ---------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("factors", [(1e30, 1e30), (1e-30, 1e-30), (1e30, 1e-30)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_very_large_and_very_small_activations_are_compared_as_any(
    metric, factors, dtype
):
    X, Y = populations((12, 12))
    scaled = [
        (factor * layer).astype(dtype)
        for factor, layer in zip(factors, (X, Y), strict=True)
    ]
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    assert metric(*scaled) == pytest.approx(metric(X, Y), rel=tolerance)


@pytest.mark.parametrize("metric", [soft_matching_distance, one_to_one_distance])
@pytest.mark.parametrize("factor", [1e30, 1e-30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_very_large_and_very_small_activations_are_compared_without_scaling(
    metric, factor, dtype
):
    # In float32 their products are infinite, or all 0 and any plan as good as any.
    X, Y = populations((12, 12))
    scaled = [(factor * layer).astype(dtype) for layer in (X, Y)]
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    found = metric(*scaled, scale=False) / factor
    assert found == pytest.approx(metric(X, Y, scale=False), rel=tolerance)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("factor", [1e300, 1e-300])
def test_activations_near_the_ends_of_float64_are_compared_as_any(metric, factor):
    X, Y = populations((12, 12))
    found = metric(factor * X, factor * Y)
    assert found == pytest.approx(metric(X, Y), rel=1e-12)


def test_float32_units_at_3e20_and_1e_30_in_one_layer_have_their_correlations():
    X, Y = populations((8, 12))
    scales = np.where(np.arange(8) % 2, 3e20, 1e-30)
    found = soft_matching_score((X * scales).astype(np.float32), Y.astype(np.float32))
    assert found == pytest.approx(soft_matching_score(X, Y), abs=1e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_float32_is_compared_as_float64_to_five_digits(metric):
    X, Y = populations((40, 40))
    expected = metric(X, Y)
    X32, Y32 = X.astype(np.float32), Y.astype(np.float32)
    assert metric(X32, Y32) == pytest.approx(expected, rel=1e-5)
    assert metric(X32, Y) == pytest.approx(expected, rel=1e-5)
    assert metric(X, Y32) == pytest.approx(expected, rel=1e-5)


def test_a_unit_a_million_times_its_neighbours_leaves_them_matched():
    X = populations((8,))[0] * np.array([1e6, *np.ones(7)])
    permuted = X[:, np.random.default_rng(7).permutation(8)]
    # The neighbours are 1e-6 of the layer: mismatched, they would be this far apart.
    mismatched = soft_matching_distance(X[:, 1:], np.roll(X[:, 1:], 1, axis=0)) * 1e-6
    assert soft_matching_distance(X, permuted) < 1e-3 * mismatched
    assert one_to_one_distance(X, permuted) < 1e-3 * mismatched
    assert soft_matching_score(X, permuted) == pytest.approx(1, abs=1e-14)


def test_a_unit_a_million_times_its_neighbours_counts_as_one_in_the_score():
    X, Y = populations((8, 5))
    found = soft_matching_score(X * np.array([1e6, *np.ones(7)]), Y)
    assert found == pytest.approx(soft_matching_score(X, Y), abs=1e-12)


def test_nearly_equal_populations_keep_the_digits_of_their_distance():
    X = populations((20,))[0]
    noise = 1e-9 * np.random.default_rng(8).normal(size=X.shape)
    centred = noise - noise.mean(axis=0)
    expected = np.sqrt(np.mean(np.sum(centred**2, axis=0)))
    found = soft_matching_distance(X, X + noise, scale=False)
    # The activations themselves hold the noise to 1e-7 of it.
    assert found == pytest.approx(expected, rel=1e-6)


# -- dead units, and input -------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dead_units_are_left_out_with_one_warning(metric, dtype):
    X, Y = (layer.astype(dtype) for layer in populations((6, 6)))
    expected = metric(X, Y)
    # A float32 column of 0.1 centres to 1e-6, not to 0.
    dead = np.full((30, 2), 0.1, dtype=dtype)
    with pytest.warns(DeadUnitWarning, match="of X and 2 unit") as caught:
        found = metric(np.hstack([dead, X]), np.hstack([Y, dead]))
    assert len(caught) == 1
    assert found == expected


def test_the_dead_unit_warning_names_the_side():
    X, Y = populations((6, 6))
    X[:, 2] = 1.0
    with pytest.warns(DeadUnitWarning, match=r"1 unit\(s\) of X are constant"):
        soft_matching_distance(X, Y)
    with pytest.warns(DeadUnitWarning, match=r"1 unit\(s\) of Y are constant"):
        soft_matching_score(Y, X)


@pytest.mark.parametrize("metric", METRICS)
def test_a_population_of_dead_units_is_an_error_that_names_it(metric):
    X, Y = populations((4, 4))
    with pytest.raises(ValueError, match=r"Every unit is constant.* in Y"):
        metric(X, np.ones_like(Y))


def test_one_to_one_distance_of_unequal_sizes_is_an_error():
    X, Y = populations((4, 5))
    with pytest.raises(ValueError, match="X has 4 and Y has 5"):
        one_to_one_distance(X, Y)
    Y[:, 1] = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeadUnitWarning)
        found = one_to_one_distance(X, Y)
    assert found == one_to_one_distance(X, np.delete(Y, 1, axis=1))


@pytest.mark.parametrize("metric", METRICS)
def test_input_of_any_kind_is_read_and_left_as_it_is(metric):
    X, Y = (np.round(10 * layer) for layer in populations((5, 5)))
    expected = metric(X, Y)
    readonly = np.asfortranarray(X)
    readonly.setflags(write=False)
    for given in (
        readonly,
        X.astype(np.int64),
        X.tolist(),
        np.repeat(X, 2, axis=1)[:, ::2],
    ):
        assert metric(given, Y) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_array_equal(readonly, X)


@pytest.mark.parametrize("metric", METRICS)
def test_input_that_cannot_be_compared_is_refused(metric):
    X, Y = populations((5, 5))
    with pytest.raises(ValueError, match="30 stimuli and Y has 29"):
        metric(X, Y[1:])
    with pytest.raises(ValueError, match=r"1 sample\(s\).*minimum of 2.*found in X"):
        metric(X[:1], Y[:1])
    broken = Y.copy()
    broken[3, 2] = np.nan
    with pytest.raises(ValueError, match=r"NaN.*\n?.*found in Y"):
        metric(X, broken)

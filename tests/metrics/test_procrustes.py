"""Procrustes distance: equations 4 and 5 of paper 1, and laws."""

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.stats import ortho_group

from skmot.metrics import procrustes_distance
from tests.metrics.common import (
    LAWS,
    WIDTHS,
    by_law,
    populations,
    swapping_the_populations_changes_nothing,
    the_basis_does_not_matter,
)


def prepare(layer, center=True, scale=True):
    layer = layer - layer.mean(axis=0) if center else layer
    return layer / np.linalg.norm(layer) if scale else layer


@pytest.mark.parametrize("n_stimuli", [30, 8])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("scale", [True, False])
def test_at_equal_widths_equation_5_is_the_minimum_of_equation_4(
    n_stimuli, center, scale
):
    X, Y = populations((10, 10), n_stimuli)
    x, y = prepare(X, center, scale), prepare(Y, center, scale)
    rotation, _ = orthogonal_procrustes(y, x)
    assert procrustes_distance(X, Y, center=center, scale=scale) == pytest.approx(
        np.linalg.norm(x - y @ rotation), rel=1e-9
    )


@pytest.mark.parametrize("widths", WIDTHS)
def test_at_unequal_widths_the_narrower_is_as_if_padded_with_zeros(widths):
    X, Y = populations(widths)
    x, y = (
        np.pad(prepare(layer), [(0, 0), (0, max(widths) - layer.shape[1])])
        for layer in (X, Y)
    )
    rotation, _ = orthogonal_procrustes(y, x)
    assert procrustes_distance(X, Y) == pytest.approx(
        np.linalg.norm(x - y @ rotation), rel=1e-9
    )


@pytest.mark.parametrize("n_stimuli", [30, 8])
def test_rotated_copies_are_at_distance_0(n_stimuli):
    X = np.random.default_rng(0).normal(size=(n_stimuli, 12))
    rotated = 3 * X @ ortho_group.rvs(12, random_state=0) + 5
    # The root of a sum that rounding leaves at 1e-16.
    assert procrustes_distance(X, rotated) == pytest.approx(0, abs=1e-7)


def test_procrustes_satisfies_the_triangle_inequality():
    for seed in range(20):
        X, Y, Z = populations((5, 8, 3), 12, seed)
        assert procrustes_distance(X, Z) <= (
            procrustes_distance(X, Y) + procrustes_distance(Y, Z) + 1e-12
        )


@by_law(*LAWS, swapping_the_populations_changes_nothing, the_basis_does_not_matter)
def test_laws(law):
    law(procrustes_distance)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("widths", [(50, 50), (50, 70), (30, 300)])
def test_the_distance_of_nearly_identical_populations_keeps_its_digits(dtype, widths):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, widths[0]))
    X = (X - X.mean(axis=0)).astype(dtype)
    assert procrustes_distance(X, X) < 1e-6
    # Rotated into more units, exactly in float64, and moved by little.
    basis = ortho_group.rvs(widths[1], random_state=0)[: widths[0]]
    Y = X.astype(float) @ basis
    for size in (1e-3, 1e-6):
        noise = size * rng.normal(size=Y.shape)
        moved = Y + noise - noise.mean(axis=0)
        first, second = (
            side / np.linalg.norm(side) for side in (X.astype(float), moved)
        )
        rotation = orthogonal_procrustes(
            np.pad(first, ((0, 0), (0, widths[1] - widths[0]))), second
        )[0][: widths[0]]
        by_hand = np.linalg.norm(first @ rotation - second)
        # Rounded to float32, populations of norm 1 are this far from what they were.
        rounding = 2e-7 if dtype == "f4" else 0.0
        found = procrustes_distance(X, moved)
        assert found == pytest.approx(by_hand, rel=1e-6, abs=rounding)

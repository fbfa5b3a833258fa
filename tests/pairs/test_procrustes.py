"""Procrustes: scipy's, the metric's, and laws."""

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.stats import ortho_group

from skmot import Procrustes
from skmot.metrics import procrustes_distance
from tests.pairs.common import (
    LAWS_OF_MAPS,
    SIZES,
    by_law,
    populations,
    swapping_source_and_target_changes_nothing,
)


@pytest.mark.parametrize("n_stimuli", [40, 12])
def test_procrustes_at_equal_widths_is_scipys(n_stimuli):
    X, Y = populations(8, 8, n_stimuli)
    train, test = slice(0, n_stimuli - 3), slice(n_stimuli - 3, None)
    procrustes = Procrustes().fit(X[train], Y[train])
    x, y = X[train] - X[train].mean(axis=0), Y[train] - Y[train].mean(axis=0)
    norms = np.linalg.norm(x), np.linalg.norm(y)
    rotation, _ = orthogonal_procrustes(x / norms[0], y / norms[1])
    np.testing.assert_allclose(procrustes.rotation_, rotation, atol=1e-9)
    assert procrustes.cost_ == pytest.approx(
        np.linalg.norm(x / norms[0] @ rotation - y / norms[1]) ** 2
    )
    x = (X[test] - X[train].mean(axis=0)) @ rotation * norms[1] / norms[0]
    np.testing.assert_allclose(
        procrustes.predict(X[test]), x + Y[train].mean(axis=0), atol=1e-9
    )
    y = (Y[test] - Y[train].mean(axis=0)) @ rotation.T * norms[0] / norms[1]
    np.testing.assert_allclose(
        procrustes.inverse_predict(Y[test]), y + X[train].mean(axis=0), atol=1e-9
    )
    x, y = X[test] - X[test].mean(axis=0), Y[test] - Y[test].mean(axis=0)
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    assert procrustes.held_out_cost(X[test], Y[test]) == pytest.approx(
        np.linalg.norm(x @ rotation - y) ** 2
    )


@pytest.mark.parametrize(("n", "k"), SIZES)
def test_procrustes_maps_by_a_partial_isometry_that_attains_its_cost(n, k):
    X, Y = populations(n, k, n_stimuli=25)
    procrustes = Procrustes().fit(X, Y)
    singular_values = np.linalg.svd(procrustes.rotation_, compute_uv=False)
    rank = min(n, k, 24)
    np.testing.assert_allclose(singular_values[:rank], 1)
    np.testing.assert_allclose(singular_values[rank:], 0, atol=1e-9)
    assert procrustes.cost_ == pytest.approx(procrustes_distance(X, Y) ** 2)
    # Read on the training stimuli, the cost of the map is that of the singular values.
    assert procrustes.held_out_cost(X, Y) == pytest.approx(procrustes.cost_)


def test_procrustes_undoes_a_rotation_into_more_units():
    X, _ = populations(6, 6, n_stimuli=60)
    Y = 3 * X @ ortho_group.rvs(10, random_state=0)[:6] - 2
    procrustes = Procrustes().fit(X[:40], Y[:40])
    assert procrustes.cost_ == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(procrustes.predict(X[40:]), Y[40:])
    np.testing.assert_allclose(procrustes.inverse_predict(Y[40:]), X[40:])


@pytest.mark.parametrize(("n", "k"), SIZES)
def test_swapping_source_and_target_changes_nothing(n, k):
    swapping_source_and_target_changes_nothing(Procrustes(), n, k)


@by_law(*LAWS_OF_MAPS)
def test_laws_of_all_pairs(law):
    law(Procrustes())

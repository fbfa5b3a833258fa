"""Embeddings in any number of dimensions, and what they say of themselves."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from skmot._utils.embedding import embed_costs


@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_points_are_found_again_in_their_number_of_dimensions(n_components):
    points = np.random.default_rng(0).normal(size=(7, n_components))
    distances = squareform(pdist(points))
    embedding = embed_costs(distances, n_components)
    assert embedding.positions.shape == (7, n_components)
    found = squareform(pdist(embedding.positions))
    np.testing.assert_allclose(found, distances, atol=0.05 * distances.max())
    assert embedding.stress < 0.02
    assert not embedding.says_little
    assert str(embedding).startswith(
        f"7 networks in {n_components} dimension(s): stress 0.0"
    )


def test_equally_far_networks_need_one_dimension_less_than_there_are():
    costs = 1 - np.eye(5)
    for n_components in (1, 2, 3):
        embedding = embed_costs(costs, n_components)
        assert embedding.says_little
        assert embedding.stress > embedding.equal_stress - 0.01
        assert f"A map of {n_components} dimension(s) says little." in str(embedding)
    exact = embed_costs(costs, 4)
    assert exact.stress < 0.01
    assert not exact.says_little


def test_costs_that_are_no_distances_and_more_dimensions_than_networks():
    # The way over the second network is shorter, so no space has these distances.
    costs = np.array([[0, 1, 5], [1, 0, 1], [5, 1, 0]], dtype=float)
    # On a line, x units between the ends and x / 2 to the middle have the least error
    # of 2 (x / 2 - 1)^2 + (x - 5)^2 at x = 4.
    embedding = embed_costs(costs, 2)
    found = squareform(pdist(embedding.positions))
    np.testing.assert_allclose(found[0], [0, 2, 4], atol=0.02)
    wide = embed_costs(costs, 5)
    assert wide.positions.shape == (3, 5)
    assert wide.stress == pytest.approx(embedding.stress, abs=1e-3)


def test_means_of_both_directions_are_told():
    costs = squareform(pdist(np.random.default_rng(0).normal(size=(5, 2))))
    directed = costs * (1 + 0.1 * np.triu(np.ones((5, 5))))
    with pytest.raises(ValueError, match="symmetrize=True"):
        embed_costs(directed)
    embedding = embed_costs(directed, symmetrize=True)
    np.testing.assert_allclose(embedding.costs, 1.05 * costs)
    assert "of the mean of both directions" in str(embedding)


def test_bad_numbers_of_dimensions_are_named():
    for wrong in (0, 1.5, True, "2"):
        with pytest.raises(ValueError, match="`n_components` must be an integer"):
            embed_costs(1 - np.eye(4), wrong)

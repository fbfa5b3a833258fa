"""Semi-matching and rectangular matching: brute force, figure 3A, and laws."""

from itertools import permutations

import numpy as np
import pytest

from skmot.metrics import rectangular_matching_score, semi_matching_score
from tests import reference
from tests.metrics.common import (
    LAWS,
    WIDTHS,
    by_law,
    populations,
    swapping_the_populations_changes_the_score,
)


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("center", [True, False])
def test_semi_matching_is_the_mean_of_best_correlations(widths, center):
    X, Y = populations(widths)
    distances = (
        reference.correlation_distances if center else reference.cosine_distances
    )(X, Y)
    by_hand = np.mean([max(1 - row) for row in distances])
    assert semi_matching_score(X, Y, center=center) == pytest.approx(by_hand)


@pytest.mark.parametrize("widths", [(3, 3), (2, 6), (1, 4), (5, 7), (6, 6)])
@pytest.mark.parametrize("center", [True, False])
def test_rectangular_matching_is_the_best_of_all_assignments(widths, center):
    X, Y = populations(widths)
    distances = (
        reference.correlation_distances if center else reference.cosine_distances
    )(X, Y)
    best = max(
        np.mean([1 - distances[i, j] for i, j in enumerate(chosen)])
        for chosen in permutations(range(widths[1]), widths[0])
    )
    assert rectangular_matching_score(X, Y, center=center) == pytest.approx(best)


def test_rectangular_matching_needs_as_many_targets():
    X, Y = populations((6, 4))
    with pytest.raises(ValueError, match=r"X has 6 and Y has 4 .* Swap them"):
        rectangular_matching_score(X, Y)


def test_figure_3a_of_paper_1():
    curves, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(20, 6)))
    X, Y, Z = curves[:, :3], curves[:, 3:], curves
    for score in (semi_matching_score, rectangular_matching_score):
        assert score(X, Z, center=False) == pytest.approx(1, abs=1e-12)
        assert score(Y, Z, center=False) == pytest.approx(1, abs=1e-12)
        assert score(X, Y, center=False) == pytest.approx(0, abs=1e-12)
    assert semi_matching_score(Z, X, center=False) == pytest.approx(0.5, abs=1e-12)


@by_law(*LAWS)
@pytest.mark.parametrize("score", [semi_matching_score, rectangular_matching_score])
def test_laws(score, law):
    law(score)


def test_semi_matching_is_directed():
    swapping_the_populations_changes_the_score(semi_matching_score)

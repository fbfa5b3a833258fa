"""The alternatives: closed forms, brute force, other libraries, laws."""

import warnings
from itertools import permutations

import numpy as np
import pytest
from rsatoolbox.data import Dataset
from rsatoolbox.rdm import calc_rdm, compare
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.distance import pdist
from scipy.stats import ortho_group, spearmanr
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skmot.exceptions import DeadUnitWarning
from skmot.metrics import (
    _alternatives,
    linear_cka,
    linear_predictivity_score,
    procrustes_distance,
    rectangular_matching_score,
    rsa_score,
    semi_matching_score,
)
from tests import reference

WIDTHS = [(6, 6), (6, 9), (10, 7), (3, 5), (40, 50)]
SYMMETRIC = [procrustes_distance, rsa_score, linear_cka]
ALL = [*SYMMETRIC, semi_matching_score, linear_predictivity_score]


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


def prepare(layer, center=True, scale=True):
    layer = layer - layer.mean(axis=0) if center else layer
    return layer / np.linalg.norm(layer) if scale else layer


# -- Procrustes ------------------------------------------------------------------------


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


# -- assignments -----------------------------------------------------------------------


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


# -- geometries ------------------------------------------------------------------------


@pytest.mark.parametrize("widths", WIDTHS)
def test_rsa_is_spearman_of_scipys_correlation_distances(widths):
    X, Y = populations(widths)
    by_hand = spearmanr(pdist(X, "correlation"), pdist(Y, "correlation"))
    assert rsa_score(X, Y) == pytest.approx(by_hand.statistic, abs=1e-12)


def test_rsa_is_that_of_rsatoolbox():
    X, Y = populations((10, 7))
    rdms = [calc_rdm(Dataset(layer), method="correlation") for layer in (X, Y)]
    by_toolbox = compare(*rdms, method="spearman")[0, 0]
    assert rsa_score(X, Y) == pytest.approx(by_toolbox, abs=1e-12)


def test_rsa_of_two_units_takes_equal_dissimilarities_for_ties():
    # Over two units a correlation is 1 or -1, whatever rounding makes of it.
    X, Y = populations((2, 7))
    upper = np.triu_indices(len(X), 1)
    signs = np.sign(X[:, 1] - X[:, 0])
    by_hand = spearmanr(1 - np.outer(signs, signs)[upper], pdist(Y, "correlation"))
    assert rsa_score(X, Y) == pytest.approx(by_hand.statistic, abs=1e-12)


def test_rsa_of_one_unit_says_nothing():
    X, Y = populations((1, 7))
    assert rsa_score(X, Y) == 0


def slow_hsic(K, L, debiased):
    """The definitions of Kornblith et al. and of Song et al., with loops."""
    n = len(K)
    if not debiased:
        H = np.eye(n) - 1 / n
        return np.trace(K @ H @ L @ H) / (n - 1) ** 2
    trace = sum(K[i, j] * L[j, i] for i in range(n) for j in range(n) if i != j)
    sums = [sum(M[i, j] for i in range(n) for j in range(n) if i != j) for M in (K, L)]
    middle = sum(
        K[i, j] * L[j, k]
        for i in range(n)
        for j in range(n)
        for k in range(n)
        if i != j and j != k
    )
    total = trace + np.prod(sums) / ((n - 1) * (n - 2)) - 2 * middle / (n - 2)
    return total / (n * (n - 3))


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize("widths", [(6, 9), (1, 4), (20, 30)])
def test_cka_is_that_of_the_gram_matrices(debiased, widths):
    X, Y = populations(widths, n_stimuli=12)
    K, L = X @ X.T, Y @ Y.T
    by_hand = slow_hsic(K, L, debiased) / np.sqrt(
        slow_hsic(K, K, debiased) * slow_hsic(L, L, debiased)
    )
    assert linear_cka(X, Y, debiased=debiased) == pytest.approx(by_hand, abs=1e-10)


def test_only_plain_cka_rises_with_the_width_of_independent_populations():
    plain, unbiased = [], []
    for width in (16, 128, 1024):
        pairs = [
            np.random.default_rng(seed).normal(size=(2, 100, width))
            for seed in range(5)
        ]
        plain.append(np.mean([linear_cka(*pair, debiased=False) for pair in pairs]))
        unbiased.append(np.mean([linear_cka(*pair) for pair in pairs]))
    assert plain[0] < 0.3
    assert 0.3 < plain[1] < 0.7
    assert plain[2] > 0.9
    # Five draws, each with a deviation of about sqrt(2) / 100.
    np.testing.assert_allclose(unbiased, 0, atol=0.03)


def test_cka_of_one_unit_active_once_is_0_and_not_noise():
    X = np.zeros((20, 1))
    X[3] = 0.1
    _, Y = populations((2, 6), n_stimuli=20)
    assert linear_cka(X, Y) == 0


@pytest.mark.parametrize(("score", "least"), [(rsa_score, 3), (linear_cka, 4)])
def test_geometries_say_how_many_stimuli_they_need(score, least):
    X, Y = populations((5, 6))
    assert -1 <= score(X[:least], Y[:least]) <= 1
    with pytest.raises(ValueError, match=rf"n_samples={least - 1} in X: .* {least} st"):
        score(X[: least - 1], Y[: least - 1])


# -- linear predictivity ---------------------------------------------------------------


@pytest.mark.parametrize("n_stimuli", [40, 41, 44, 47, 101])
def test_parts_of_stimuli_have_the_sizes_of_scikit_learn(n_stimuli):
    for share in (0.1, 0.125, 0.2):
        part, rest = _alternatives.split_stimuli(n_stimuli, [share], 0)
        expected = train_test_split(np.arange(n_stimuli), test_size=share)
        assert (len(rest), len(part)) == tuple(map(len, expected))
        np.testing.assert_array_equal(
            np.sort(np.concatenate([part, rest])), np.arange(n_stimuli)
        )


def slow_predictivity(X, Y, parts, alphas):
    test, validation, training = parts
    kept = np.concatenate([training, validation])
    x, y = StandardScaler().fit(X[kept]), StandardScaler().fit(Y[kept])

    def mean_r(alpha, fitted, scored):
        regression = Ridge(alpha).fit(x.transform(X[fitted]), y.transform(Y[fitted]))
        predicted = regression.predict(x.transform(X[scored]))
        pairs = zip(Y[scored].T, predicted.T, strict=True)
        return np.mean([reference.pearson(a, b) for a, b in pairs])

    best = max(alphas, key=lambda alpha: mean_r(alpha, training, validation))
    return mean_r(best, kept, test)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("alphas", [None, [0.1, 3.0, 300.0]])
def test_linear_predictivity_is_ridge_by_the_papers_protocol(seed, alphas):
    X, Y = populations((30, 8), n_stimuli=100, seed=seed)
    order = np.random.RandomState(seed).permutation(100)
    expected = slow_predictivity(
        X,
        Y,
        (order[:20], order[20:30], order[30:]),
        np.logspace(-4, 4, 8) if alphas is None else alphas,
    )
    assert linear_predictivity_score(
        X, Y, alphas=alphas, random_state=seed
    ) == pytest.approx(expected, abs=1e-9)


def test_linear_predictivity_needs_stimuli_for_every_part():
    X, Y = populations((5, 6), n_stimuli=6)
    assert -1 <= linear_predictivity_score(X, Y, random_state=0) <= 1
    with pytest.raises(ValueError, match="n_samples=5 stimuli cannot be split"):
        linear_predictivity_score(X[:5], Y[:5])
    with pytest.raises(ValueError, match=r"between 0 and 1; got 1\.5"):
        linear_predictivity_score(X, Y, test_size=1.5)


@pytest.mark.parametrize("alphas", [[], [0.0, 1.0], [-1.0], [np.inf], 3.0])
def test_penalties_are_positive(alphas):
    X, Y = populations((5, 6))
    with pytest.raises(ValueError, match="`alphas` must be"):
        linear_predictivity_score(X, Y, alphas=alphas)


# -- laws of all -----------------------------------------------------------------------


@pytest.mark.parametrize("score", SYMMETRIC)
@pytest.mark.parametrize("widths", WIDTHS)
def test_swapping_the_populations_changes_nothing(score, widths):
    X, Y = populations(widths)
    assert score(X, Y) == pytest.approx(score(Y, X), abs=1e-12)


@pytest.mark.parametrize("score", [semi_matching_score, linear_predictivity_score])
def test_directed_scores_are_not_symmetric(score):
    X, Y = populations((3, 20), n_stimuli=100)
    assert abs(score(X, Y) - score(Y, X)) > 0.01


@pytest.mark.parametrize("score", SYMMETRIC)
def test_geometric_scores_do_not_see_the_basis(score):
    X, Y = populations((8, 6))
    if score is rsa_score:
        # A correlation over units sees their mean: rotate what has none.
        X = X - X.mean(axis=1, keepdims=True)
        basis = np.linalg.qr(np.column_stack([np.ones(8), np.eye(8)[:, 1:]]))[0][:, 1:]
        rotation = basis @ ortho_group.rvs(7, random_state=0) @ basis.T
    else:
        rotation = ortho_group.rvs(8, random_state=0)
    assert score(X @ rotation, Y) == pytest.approx(score(X, Y), abs=1e-10)


@pytest.mark.parametrize("score", [*ALL, rectangular_matching_score])
def test_dead_units_take_no_part(score):
    X, Y = populations((5, 6), n_stimuli=40)
    dead = np.column_stack([X, np.full(40, 7.0)])
    settings = {"random_state": 0} if score is linear_predictivity_score else {}
    with pytest.warns(DeadUnitWarning, match=r"1 unit\(s\) of X") as caught:
        found = score(dead, Y, **settings)
    assert caught[0].filename == __file__
    assert found == pytest.approx(score(X, Y, **settings), abs=1e-9)


@pytest.mark.parametrize("score", [*ALL, rectangular_matching_score])
def test_a_population_without_a_live_unit_is_an_error(score):
    X, Y = populations((5, 6))
    with pytest.raises(ValueError, match=r"Every unit is constant .* in Y"):
        score(X, np.ones_like(Y))


@pytest.mark.parametrize("score", [*ALL, rectangular_matching_score])
@pytest.mark.parametrize("factor", [1e30, 1e-30])
def test_magnitudes_do_not_matter(score, factor):
    X, Y = populations((5, 6), n_stimuli=40)
    settings = {"random_state": 0} if score is linear_predictivity_score else {}
    expected = score(X, Y, **settings)
    assert score(factor * X, Y, **settings) == pytest.approx(expected, abs=1e-9)
    single = (factor * X).astype(np.float32), Y.astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Of float32 correlations; ranks have 64 of its rounding units.
        assert score(*single, **settings) == pytest.approx(expected, abs=1e-4)

"""RSA and CKA: the definitions, other libraries, and laws."""

import warnings
from itertools import product

import numpy as np
import pytest
from rsatoolbox.data import Dataset
from rsatoolbox.rdm import calc_rdm, compare
from scipy.spatial.distance import pdist
from scipy.stats import ortho_group, spearmanr

from skmot.metrics import linear_cka, rsa_score
from tests import reference
from tests.metrics.common import (
    LAWS,
    LAWS_OF_PATTERNS,
    WIDTHS,
    by_law,
    populations,
    swapping_the_populations_changes_nothing,
    the_basis_does_not_matter,
)


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


def test_equal_dissimilarities_get_their_mean_rank_in_rsa():
    rng = np.random.default_rng(3)
    # Orders of four numbers have few different correlations.
    X, Y = (rng.permuted(np.tile([0, 1, 2, 5], (40, 1)), axis=1) for _ in range(2))
    rdms = [np.round(pdist(side, "correlation"), 10) for side in (X, Y)]
    assert len(np.unique(rdms[0])) < 20
    by_hand = spearmanr(*rdms).statistic
    assert rsa_score(X, Y) == pytest.approx(by_hand, abs=1e-12)


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


def cka_over_stimuli(X, Y, debiased):
    K, L = (reference.products_of_stimuli(layer, debiased) for layer in (X, Y))
    return float(np.sum(K * L) / np.sqrt(np.sum(K * K) * np.sum(L * L)))


def loud(X):
    return X * np.where(np.arange(X.shape[1]) == 0, 1e6, 1)


HARD = {
    "of few units": lambda X: X,
    "with a loud unit": loud,
    "with large means": lambda X: X + 1e6,
    "with a dead unit": lambda X: np.column_stack([np.full(len(X), 0.1), X]),
    "in float32": lambda X: X.astype(np.float32),
    "of duplicated units": lambda X: np.repeat(X, 3, axis=1),
}


@pytest.mark.filterwarnings("ignore::skmot.exceptions.DeadUnitWarning")
@pytest.mark.parametrize("hard", HARD.values(), ids=HARD)
@pytest.mark.parametrize(
    ("n_stimuli", "widths", "debiased"),
    [
        *product([150], [(20, 9), (20, 200), (180, 200)], [True, False]),
        *product([150], [(1, 1), (1, 300)], [True, False]),
        *product([40], [(9, 3)], [True, False]),
        *product([5], [(2, 1)], [True, False]),
        *product([4], [(1, 3), (1, 1)], [True, False]),
        (3, (1, 2), False),
        (2, (1, 1), False),
    ],
    ids=str,
)
def test_products_of_units_and_of_stimuli_give_one_cka(
    n_stimuli, widths, debiased, hard
):
    X, Y = populations(widths, n_stimuli)
    X = hard(X)
    # The layer itself is rounded to float32, once it is centred and scaled.
    tolerance = 1e-7 if X.dtype == np.float32 else 5e-15
    if n_stimuli == 4 and debiased:
        # With few degrees of freedom, U-centring takes most of the products away.
        tolerance *= 100
    assert linear_cka(X, Y, debiased=debiased) == pytest.approx(
        cka_over_stimuli(X, Y, debiased), abs=tolerance
    )


@pytest.mark.parametrize("n_stimuli", [12, 200])
def test_an_outlying_stimulus_does_not_hide_the_others_in_debiased_cka(n_stimuli):
    X, Y = populations((3, 5), n_stimuli)
    X[2], Y[2] = 1e5 * X[2], 1e5 * Y[2]
    expected = cka_over_stimuli(X, Y, True)
    assert linear_cka(X, Y) == pytest.approx(expected, abs=1e-9)
    # Next to the product with itself of the outlier, all others are small.
    X = np.zeros((n_stimuli, 4))
    X[:, 1:], X[7, 0] = Y[:, :3], 1e4
    expected = cka_over_stimuli(X, X[:, :2], True)
    assert linear_cka(X, X[:, :2]) == pytest.approx(expected, abs=1e-6)


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


@by_law(*LAWS, swapping_the_populations_changes_nothing)
def test_laws_of_cka(law):
    law(linear_cka)


@by_law(*LAWS_OF_PATTERNS, swapping_the_populations_changes_nothing)
def test_laws_of_rsa(law):
    law(rsa_score)


def test_rsa_of_patterns_with_a_large_common_part_in_float32():
    # As raw responses of fMRI: 800 +- 200 a voxel, and signals of 1.
    rng = np.random.default_rng(0)
    common, signal = 800 + 200 * rng.normal(size=(2, 300)), rng.normal(size=(60, 300))
    X = (common[0] + signal).astype("f4")
    Y = (common[1] + signal + 0.5 * rng.normal(size=signal.shape)).astype("f4")
    exact = [np.corrcoef(side.astype(float))[np.triu_indices(60, 1)] for side in (X, Y)]
    assert rsa_score(X, Y) == pytest.approx(spearmanr(*exact).statistic, abs=1e-9)


def test_rsa_of_two_massive_units_in_float32():
    rng = np.random.default_rng(1)
    X, Y = rng.normal(size=(2, 40, 768))
    for side in (X, Y):
        side[:, :2] = 3000 + rng.normal(size=(40, 2))
    X, Y = X.astype("f4"), (Y + X).astype("f4")
    exact = [np.corrcoef(side.astype(float))[np.triu_indices(40, 1)] for side in (X, Y)]
    assert rsa_score(X, Y) == pytest.approx(spearmanr(*exact).statistic, abs=1e-6)


def test_constant_units_are_part_of_the_patterns_of_rsa():
    X, Y = (np.maximum(side, 0) for side in populations((30, 30), n_stimuli=40))
    X, Y = (np.hstack([side, np.zeros((40, 30))]) for side in (X, Y))
    upper = np.triu_indices(40, 1)
    by_hand = spearmanr(np.corrcoef(X)[upper], np.corrcoef(Y)[upper]).statistic
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rsa_score(X, Y) == pytest.approx(by_hand, abs=1e-9)
    # A unit that is as good as silent changes as little.
    X[3, -1] = 1e-9
    assert rsa_score(X, Y) == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize("debiased", [True, False])
def test_cka_in_float32_is_that_of_float64(debiased):
    rng = np.random.default_rng(2)
    X, Y = rng.normal(size=(2, 50, 768))
    for side in (X, Y):
        side[:, :2] *= 3000
        side += 1e4
    X, Y = X.astype("f4"), (X + Y).astype("f4")
    exact = linear_cka(X.astype(float), Y.astype(float), debiased=debiased)
    assert linear_cka(X, Y, debiased=debiased) == pytest.approx(exact, abs=1e-6)


def test_cka_does_not_see_the_basis():
    the_basis_does_not_matter(linear_cka)


def test_rsa_does_not_see_the_basis_of_patterns_without_a_mean():
    # A correlation over units sees their mean: rotate what has none.
    X, Y = populations((8, 6))
    X = X - X.mean(axis=1, keepdims=True)
    basis = np.linalg.qr(np.column_stack([np.ones(8), np.eye(8)[:, 1:]]))[0][:, 1:]
    rotation = basis @ ortho_group.rvs(7, random_state=0) @ basis.T
    assert rsa_score(X @ rotation, Y) == pytest.approx(rsa_score(X, Y), abs=1e-10)

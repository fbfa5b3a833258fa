import numpy as np
import pytest
from scipy.stats import norm
from sklearn.model_selection import (
    KFold,
    RepeatedKFold,
    ShuffleSplit,
    TimeSeriesSplit,
)

from skmot.model_selection.dependence import (
    are_splits_independent,
    combine_independent,
    dependent_means,
    design_correlations,
    pilot_correlation,
    split_correlations,
)


def splits_of(cv, n_rows=30):
    return list(cv.split(np.zeros((n_rows, 1))))


@pytest.mark.parametrize(
    "cv",
    [
        KFold(4),
        RepeatedKFold(n_splits=3, n_repeats=2, random_state=0),
        ShuffleSplit(12, test_size=0.3, random_state=0),
        TimeSeriesSplit(3, gap=2),
    ],
)
def test_design_correlations_count_the_pairs_of_rows_that_cross_in_both_splits(cv):
    splits = splits_of(cv)
    crossing = [
        {frozenset((int(a), int(b))) for a in train for b in test}
        for train, test in splits
    ]
    expected = [
        [len(one & other) / np.sqrt(len(one) * len(other)) for other in crossing]
        for one in crossing
    ]
    np.testing.assert_allclose(design_correlations(splits, 30), expected, atol=1e-12)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 1.0])
def test_a_long_pilot_finds_the_correlation_of_splits(correlation):
    rng = np.random.default_rng(0)
    locations, scales = (
        np.array([[0.5], [-3], [0], [2]]),
        np.array([[1], [9], [0.1], [4]]),
    )
    null_scores = locations + scales * rng.normal(size=(4, 5000))
    covariance = np.full((4, 4), correlation) + (1 - correlation) * np.eye(4)
    z = rng.multivariate_normal(np.zeros(4), covariance, size=5000)
    found = pilot_correlation(null_scores, locations.T + scales.T * z)
    assert found == pytest.approx(correlation, abs=0.03)


def test_the_pilot_is_the_excess_of_the_variance_of_a_sum():
    rng = np.random.default_rng(1)
    null_scores, pilot = rng.normal(size=(3, 50)), rng.normal(size=(15, 3))
    pilot += rng.normal(size=(15, 1))
    of_sum = of_each = 0.0
    for scores in pilot:
        z = [
            (score - null.mean()) / null.std()
            for score, null in zip(scores, null_scores, strict=True)
        ]
        of_sum += sum(z) ** 2 / 15
        of_each += sum(value**2 for value in z) / 15
    expected = (of_sum / of_each - 1) / 2
    assert 0.2 < expected < 1
    assert pilot_correlation(null_scores, pilot) == pytest.approx(expected)


def test_a_pilot_without_variation_or_of_one_split_finds_no_correlation():
    assert pilot_correlation(np.zeros((2, 5)), np.zeros((4, 2))) == 0
    assert pilot_correlation([[1.0, 2, 3]], [[5.0], [7]]) == 0
    # Opposite scores of the splits would give a negative one.
    assert pilot_correlation([[-1, 1], [-1, 1]], [[1, -1], [-1, 1]]) == 0


def test_each_correlation_is_the_larger_of_design_and_pilot():
    splits = splits_of(RepeatedKFold(n_splits=3, n_repeats=2, random_state=0))
    design = design_correlations(splits, 30)
    np.testing.assert_allclose(split_correlations(splits, 30), design)
    # Two folds of one repetition correlate by 0.5, of two repetitions by 0.44 or more.
    found = split_correlations(splits, 30, 0.45)
    for k, j in np.ndindex(6, 6):
        assert found[k, j] == pytest.approx(1 if k == j else max(design[k, j], 0.45))
    assert np.count_nonzero(found == 0.45) > 0


@pytest.mark.parametrize("correlation", [0.0, 0.25, 0.8, 1.0])
def test_means_of_normal_null_scores_have_the_variance_of_the_correlations(correlation):
    rng = np.random.default_rng(2)
    correlations = np.full((5, 5), correlation) + (1 - correlation) * np.eye(5)
    means = dependent_means(
        rng.normal(size=(5, 8000)), correlations, np.random.RandomState(0)
    )
    # A variance of 8000 normal numbers strays by 1.6 % a deviation.
    assert means.var() == pytest.approx(correlations.mean(), rel=0.06)


def test_splits_keep_their_null_scores():
    null_scores = np.array([[5.0, 1, 3, 2], [10, 40, 20, 30]])
    random = np.random.RandomState(0)
    means = dependent_means(null_scores, np.array([[1, 0.5], [0.5, 1]]), random)
    possible = (null_scores[0][:, np.newaxis] + null_scores[1]) / 2
    assert all(np.isclose(possible, mean).any() for mean in means)
    assert means.sum() == pytest.approx(null_scores.sum() / 2)
    # Fully dependent: the smallest with the smallest.
    full = dependent_means(null_scores, np.ones((2, 2)), random)
    np.testing.assert_allclose(np.sort(full), [5.5, 11, 16.5, 22.5])


def test_correlations_that_no_variables_have_are_clipped():
    # Both others correlate with the first, and not with each other.
    impossible = np.array([[1, 0.9, 0.9], [0.9, 1, 0], [0.9, 0, 1.0]])
    assert np.linalg.eigvalsh(impossible).min() < 0
    means = dependent_means(
        np.random.default_rng(0).normal(size=(3, 50)),
        impossible,
        np.random.RandomState(0),
    )
    assert np.isfinite(means).all()


FIRST, SECOND, THIRD = np.split(np.arange(12), [4, 8])


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (splits_of(KFold(2)), False),
        (splits_of(ShuffleSplit(2, random_state=0)), False),
        (splits_of(TimeSeriesSplit(5, gap=1)), True),
        (splits_of(TimeSeriesSplit(5))[::-1], True),
        (splits_of(ShuffleSplit(1, random_state=0)), True),
        ([(FIRST, THIRD), (SECOND, THIRD)], False),
        # Their pairs of rows differ, but each needs another one to come before it.
        ([(FIRST, SECOND), (SECOND, THIRD), (THIRD, FIRST)], False),
        ([(FIRST, SECOND), (SECOND, THIRD)], True),
    ],
    ids=[
        "folds",
        "shuffled",
        "forward",
        "backward",
        "one",
        "held out twice",
        "circle",
        "chain",
    ],
)
def test_splits_are_independent_if_each_holds_out_rows_new_to_those_before(
    splits, expected
):
    assert are_splits_independent(splits) is expected


def test_splits_of_rows_of_one_group_are_dependent():
    splits = splits_of(TimeSeriesSplit(2), 9)
    assert are_splits_independent(splits, np.arange(9))
    # Rows 5 and 6 are held out in different splits.
    assert not are_splits_independent(splits, np.array([0, 1, 2, 3, 4, 5, 5, 7, 8]))


def test_combined_p_values_are_uniform_and_weighted():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(3, 2000))
    weights = [1.0, 2.0, 0.5]
    combined = [combine_independent(norm.sf(column), weights) for column in z.T]
    expected = norm.sf((z.T @ weights) / np.sqrt(1 + 4 + 0.25))
    np.testing.assert_allclose(combined, expected, rtol=1e-9)
    assert combine_independent([0.03], [7]) == pytest.approx(0.03)
    assert combine_independent([1.0, 0.01], [1, 1]) == 1

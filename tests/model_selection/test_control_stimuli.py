import warnings

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    LeaveOneGroupOut,
    ShuffleSplit,
    TimeSeriesSplit,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmot import RSA, LayerStack, MultiLevelOT, SoftMatching
from skmot.model_selection import permutation_control
from skmot.preprocessing import LayerwiseTransformer, TransformedTargetLayers
from tests.model_selection.common import ONE_SPLIT, stacks


class CountedMatching(SoftMatching):
    n_fits = 0

    def fit(self, X, y):
        CountedMatching.n_fits += 1
        return super().fit(X, y)


def related(strength, seed=0, n_stimuli=60, n_units=12):
    """Return two sides whose units correspond one to one, more or less."""
    rng = np.random.default_rng(seed)
    X, noise = rng.normal(size=(2, n_stimuli, n_units))
    return X, strength * X[:, ::-1] + noise


def control(X, y, estimator=None, **options):
    return permutation_control(
        CountedMatching() if estimator is None else estimator,
        X,
        y,
        control="stimuli",
        **{"n_permutations": 99, "random_state": 0, **options},
    )


# -- kept fits ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cv", "n_pilot", "n_fits"),
    [
        (KFold(3), 15, 3 + 45),
        (KFold(3), 2, 3 + 6),
        (KFold(3), 0, 3),
        (ShuffleSplit(12, test_size=0.3, random_state=0), 1, 12 + 12),
        (TimeSeriesSplit(3), 15, 3),
        (ONE_SPLIT, 15, 1),
    ],
    ids=["folds", "short pilot", "no pilot", "shuffled", "forward", "one split"],
)
def test_only_splits_that_share_rows_need_a_pilot(cv, n_pilot, n_fits):
    X, y = related(0.5)
    CountedMatching.n_fits = 0
    result = control(X, y, cv=cv, n_pilot=n_pilot)
    assert CountedMatching.n_fits == n_fits
    n_splits = len(result.scores)
    assert result.split_correlations.shape == (n_splits, n_splits)
    has_pilot = n_fits > n_splits
    assert np.isnan(result.pilot_correlation) == (not has_pilot)
    assert ("pilot of" in result.correlations_from) == has_pilot
    assert "conservative" not in result


@pytest.mark.parametrize("direction", ["target", "source"])
def test_correlations_of_folds_are_the_larger_of_design_and_pilot(direction):
    X, y = related(0.5)
    result = control(X, y, cv=KFold(5), direction=direction)
    expected = max(1 / 4, result.pilot_correlation)
    np.testing.assert_allclose(
        result.split_correlations, np.where(np.eye(5) == 1, 1, expected)
    )
    # A longer null distribution with a longer pilot of other permutations is near.
    assert 0 <= result.pilot_correlation < 0.8
    # The mean of five null scores with these correlations, against one of them.
    one = control(X, y, cv=list(KFold(5).split(X))[:1], direction=direction)
    ratio = result.null_scores.var() / one.null_scores.var()
    assert ratio == pytest.approx((1 + 4 * expected) / 5, rel=0.6)


def test_the_pilot_raises_correlations_above_the_design():
    # Splits of other rows on which the fit is the same: one unit has one partner. The
    # scores then only depend on the held-out rows, half of which are the same.
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(2, 60, 1))
    rows = np.arange(60)
    cv = [(rows[:10], rows[20:]), (rows[10:20], rows[20:])]
    result = control(X, y, cv=cv)
    # No pair of rows crosses in both, so that the design knows no correlation.
    assert result.pilot_correlation > 0.5
    assert result.split_correlations[0, 1] == result.pilot_correlation
    assert result.correlations_from.startswith("a pilot of 15 refits")
    assert control(X, y, cv=cv, n_pilot=0).split_correlations[0, 1] == 0


def test_splits_of_earlier_rows_are_combined_by_stouffer():
    X, y = related(0.1, n_stimuli=80)
    cv = TimeSeriesSplit(3, gap=2)
    result = control(X, y, cv=cv, n_permutations=199)
    z = weights = squares = 0.0
    for number, (train, test) in enumerate(cv.split(X)):
        one = control(X, y, cv=[(train, test)], n_permutations=4999)
        assert one.score == pytest.approx(result.scores[number])
        weight = np.sqrt(len(train) * len(test))
        z += weight * norm.isf(one.p_value)
        weights, squares = weights + weight, squares + weight**2
    # The p-values of 199 and 4999 permutations differ a little.
    assert norm.isf(result.p_value) == pytest.approx(z / np.sqrt(squares), abs=0.4)
    least = norm.sf(weights * norm.isf(1 / 200) / np.sqrt(squares))
    assert result.smallest_p == pytest.approx(least)
    assert "Stouffer" in result.conclusion
    np.testing.assert_array_equal(result.split_correlations, np.eye(3))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"n_permutations": 3}, "raise `n_permutations`"),
        ({"blocks": 5, "cv": TimeSeriesSplit(2, gap=6, test_size=15)}, "too few"),
    ],
)
def test_combined_p_values_that_cannot_be_small_are_warned_of(options, reason):
    X, y = related(1)
    with pytest.warns(UserWarning, match=f"cannot be below 0.*{reason}"):
        result = control(X, y, **{"cv": TimeSeriesSplit(2), **options})
    # Each split has a p-value of at least 1/4 or 1/6.
    assert result.p_value >= result.smallest_p > 0.05


def test_weak_relations_are_found_more_often_than_by_sorted_null_scores():
    n_found = n_sorted = 0
    for seed in range(20):
        X, y = related(0.18, seed=seed, n_units=15)
        result = control(
            X, y, SoftMatching(), cv=KFold(4, shuffle=True, random_state=0)
        )
        n_found += result.p_value <= 0.05
        # As if the splits were perfectly dependent.
        splits = KFold(4, shuffle=True, random_state=0).split(X)
        alone = [
            np.sort(control(X, y, SoftMatching(), cv=[split]).null_scores)
            for split in splits
        ]
        n_sorted += np.mean(np.mean(alone, axis=0) >= result.score) <= 0.04
    assert n_found >= n_sorted + 5


def test_many_permutations_are_told_from_a_pilot_that_is_as_long():
    X, y = related(1)
    assert "hardly more fits" in control(X, y, cv=3, n_permutations=19).conclusion
    assert "hardly more fits" not in control(X, y, cv=3).conclusion


# -- runs ---------------------------------------------------------------------------

RUNS = np.repeat(["first", "second", "third", "fourth"], 15)


@pytest.mark.parametrize("blocks", [3, "circular"])
@pytest.mark.parametrize("refit", [False, True])
def test_a_run_can_be_left_out_with_blocks(blocks, refit):
    X, y = related(1)
    cv = list(LeaveOneGroupOut().split(X, groups=RUNS))
    # Warnings are errors in these tests.
    result = control(
        X, y, cv=cv, blocks=blocks, runs=RUNS, refit=refit, n_permutations=39
    )
    assert result.p_value <= 0.05
    assert "approximate: the p-value can be somewhat too small" in result.conclusion
    if not refit:
        with pytest.warns(UserWarning, match="Training rows are 1 row"):
            control(X, y, cv=cv, blocks=blocks)


@pytest.mark.parametrize(("blocks", "n_orders"), [(8, 4), ("circular", 225)])
@pytest.mark.filterwarnings("ignore:The p-value of control")
def test_runs_that_are_held_out_together_are_permuted_by_themselves(blocks, n_orders):
    X, y = related(0.5)
    runs = np.repeat([3, 1, 2], [16, 28, 16]) if blocks == 8 else RUNS
    test = np.flatnonzero(np.isin(runs, [3, 2] if blocks == 8 else ["first", "third"]))
    train = np.setdiff1d(np.arange(60), test)
    size = len(test) // 2
    result = control(
        X, y, cv=[(train, test)], blocks=blocks, runs=runs, n_permutations=n_orders
    )
    fitted = SoftMatching().fit(X[train], y[train])
    shifts = (0, 8) if blocks == 8 else range(15)
    # Two blocks change places as in a shift by one of them.
    slow = [
        fitted.score(
            X[test], y[np.r_[np.roll(test[:size], first), np.roll(test[size:], second)]]
        )
        for first in shifts
        for second in shifts
    ]
    np.testing.assert_allclose(np.sort(result.null_scores), np.sort(slow), atol=1e-10)
    assert result.smallest_p == 1 / n_orders


def test_rows_of_a_run_beside_held_out_ones_are_warned_of():
    X, y = related(1)
    with pytest.warns(UserWarning, match=r"Training rows are 1 row.*`runs=`") as caught:
        control(X, y, cv=KFold(3), blocks=2, runs=RUNS)
    assert caught[0].filename == __file__
    with pytest.raises(ValueError, match="held-out rows of each run must be"):
        control(X, y, cv=KFold(3, shuffle=True, random_state=0), blocks=2, runs=RUNS)


# -- costs --------------------------------------------------------------------------


def test_costs_are_of_fits_to_permuted_rows_without_splits():
    X, y = stacks(n_stimuli=24)
    with pytest.warns(UserWarning, match="only 6 permutations are distinct"):
        result = control(
            X.with_stimuli(np.arange(24)),
            y.with_stimuli(np.arange(24)),
            MultiLevelOT(),
            statistic="cost",
            blocks=8,
            n_permutations=6,
        )
    blocks = np.split(np.arange(24), 3)
    slow = [
        -MultiLevelOT().fit(X, y[np.concatenate([blocks[k] for k in order])]).cost_
        for order in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    ]
    assert result.score == pytest.approx(slow[0])
    assert result.scores.shape == (1,)
    np.testing.assert_allclose(np.sort(result.null_scores), np.sort(slow), atol=1e-10)
    n_as_good = np.count_nonzero(np.array(slow) >= slow[0] - 1e-10)
    assert result.p_value == (n_as_good + 1) / 7
    assert (result.statistic, result.split_correlations) == ("cost", None)
    assert np.isfinite(result.p_value_t)


@pytest.mark.parametrize(
    "estimator",
    [
        RSA(),
        MultiLevelOT(RSA()),
        MultiLevelOT(cost_cv=3),
        make_pipeline(LayerwiseTransformer(StandardScaler()), MultiLevelOT()),
        GridSearchCV(MultiLevelOT(), {"strategy": ["transport"]}, cv=2),
        TransformedTargetLayers(SoftMatching(), LayerwiseTransformer(StandardScaler())),
    ],
    ids=["cost only", "cost above", "held out", "pipeline", "search", "target"],
)
def test_costs_of_every_kind_of_estimator_are_tested(estimator):
    X, y = map(LayerStack, ([side] for side in related(1, n_units=6)))
    result = control(X, y, estimator, statistic="cost", n_permutations=19)
    assert result.p_value == 1 / 20
    assert result.p_value_t < 1 / 20


def test_p_values_of_costs_are_uniform_with_and_without_groups():
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        X, y = np.repeat(rng.normal(size=(2, 20, 6)), 2, axis=1)
        X, y = X + 0.3 * rng.normal(size=X.shape), y + 0.3 * rng.normal(size=y.shape)
        groups = np.repeat(np.arange(20), 2)
        result = control(
            X,
            y,
            SoftMatching(),
            statistic="cost",
            groups=groups,
            n_permutations=19,
            random_state=seed,
        )
        found.append(result.p_value)
    # 40 p-values of a uniform distribution over 1/20, ..., 1: a mean of them strays
    # by 0.05 a deviation, and five or fewer of them are 0.05 in 97 %.
    assert np.mean(found) == pytest.approx(0.525, abs=0.15)
    assert np.count_nonzero(np.array(found) <= 0.05) <= 5


def test_tests_that_an_estimator_cannot_take_are_refused():
    X, y = related(1)
    with pytest.raises(TypeError, match=r"RSA has no `predict`.*statistic='cost'"):
        control(X, y, RSA(), cv=3)
    with pytest.raises(TypeError, match="Ridge learned none: use statistic='score'"):
        control(X, y, Ridge(), statistic="cost")
    with pytest.raises(TypeError, match=r"no `inverse_predict`.*nothing to test"):
        control(X, y, Ridge(), cv=3, direction="source")


def test_numbered_rows_of_data_frames_are_permuted_without_a_warning():
    pandas = pytest.importorskip("pandas")
    X, y = map(pandas.DataFrame, related(1))
    for options in ({"cv": 3}, {"cv": 3, "refit": True}, {"statistic": "cost"}):
        assert control(X, y, n_permutations=19, **options).p_value == 1 / 20


# -- what results say ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cv": 3}, "The p-value is approximate, because splits share rows"),
        ({"cv": ONE_SPLIT}, "It shows neither how strong the relation is"),
        ({"cv": 3, "refit": True}, "nor that single units or layers correspond."),
        ({"statistic": "cost"}, "neither how well one side predicts the other"),
    ],
)
def test_a_result_prints_what_it_shows_and_what_it_does_not(options, words):
    X, y = related(2)
    result = control(X, y, n_permutations=39, **options)
    assert str(result) == result.conclusion
    assert "shows that the responses of both sides to the stimuli" in str(result)
    assert words in str(result)
    assert f"p = {result.p_value:.2g}" in str(result)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        X, y = related(0, seed=4)
        unrelated = control(X, y, n_permutations=39, **options)
    assert unrelated.p_value > 0.05
    assert "does not show that the responses" in str(unrelated)
    assert "does not exclude it" in str(unrelated)


# -- time series --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("blocks", "gap", "remark", "permuted"),
    [
        ("circular", 1, "Circular shifts", "rows, shifted circularly,"),
        (3, 3, "Blocks", "blocks of 3 rows"),
    ],
)
def test_rows_just_outside_of_the_gap_are_no_cause_of_a_warning(
    blocks, gap, remark, permuted
):
    # Warnings are errors: the nearest training row is one row more than needed.
    X, y = stacks()
    result = control(
        X, y, SoftMatching(), cv=TimeSeriesSplit(2, gap=gap), blocks=blocks
    )
    assert f" {remark} of a time series are approximate" in str(result)
    assert permuted in result.null_hypothesis

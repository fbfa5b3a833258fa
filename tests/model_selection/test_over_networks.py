import itertools

import numpy as np
import pytest
from scipy.stats import binom, ttest_1samp

from skmot.model_selection import mean_over_networks
from tests.model_selection.common import FALSE_ALARM
from tests.tables import assert_survives_files

LETTERS, NUMBERS = "abcdefghij", range(20)


def grid(values):
    """Name the entries of an array of sources by targets."""
    return {
        (LETTERS[row], NUMBERS[column]): values[row, column]
        for row, column in np.ndindex(values.shape[:2])
    }


def one_set(values, pairs):
    return {(LETTERS[i], LETTERS[j]): values[i, j] for i, j in pairs}


@pytest.mark.parametrize("n_given", [1, 2, 3])
@pytest.mark.parametrize("sampled", ["sources", "targets"])
def test_few_networks_on_one_side_are_given(n_given, sampled):
    d = np.random.default_rng(0).normal(0.5, 1, size=(n_given, 8))
    result = mean_over_networks(grid(d if sampled == "targets" else d.T))
    expected = ttest_1samp(d.mean(axis=0), 0)
    interval = expected.confidence_interval(0.95)
    assert result.sample == sampled
    assert result.p_value == pytest.approx(expected.pvalue)
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high))
    side = sampled.removesuffix("s")
    given = "target" if sampled == "sources" else "source"
    these = f"this {given}" if n_given == 1 else f"these {n_given} {given}s"
    assert f"for {these} only, over 8 {side}s as a sample" in str(result)
    assert "for these stimuli" in str(result)


def test_where_only_one_side_matters_its_variance_is_used():
    # Sources differ, targets and pairs do not: all that is known is four numbers.
    effects = np.array([0.1, 0.5, -0.2, 0.9])
    result = mean_over_networks(grid(np.tile(effects[:, np.newaxis], 6)))
    expected = ttest_1samp(effects, 0)
    assert result.p_value == pytest.approx(expected.pvalue)
    assert result.degrees_of_freedom == 3


@pytest.mark.parametrize("shape", [(5, 6), (7, 4)])
def test_the_variance_over_both_sides_is_that_of_mean_squares(shape):
    rng = np.random.default_rng(0)
    n_sources, n_targets = shape
    d = rng.normal(size=(n_sources, 1)) + rng.normal(size=n_targets)
    d = d + 0.7 * rng.normal(size=shape)
    sums = {"sources": 0.0, "targets": 0.0, "residuals": 0.0}
    for i, j in np.ndindex(shape):
        of_source, of_target = d[i].mean() - d.mean(), d[:, j].mean() - d.mean()
        sums["sources"] += of_source**2
        sums["targets"] += of_target**2
        sums["residuals"] += (d[i, j] - d.mean() - of_source - of_target) ** 2
    squares = (
        sums["sources"] / (n_sources - 1),
        sums["targets"] / (n_targets - 1),
        sums["residuals"] / ((n_sources - 1) * (n_targets - 1)),
    )
    result = mean_over_networks(grid(d))
    variance = (squares[0] + squares[1] - squares[2]) / d.size
    assert result.standard_error == pytest.approx(np.sqrt(variance))
    assert result.degrees_of_freedom == min(shape) - 1


@pytest.mark.parametrize("few", ["sources", "targets"])
def test_few_networks_in_one_role_leave_few_degrees_of_freedom(few):
    pairs = [(i, j) for i, j in itertools.product(range(5), range(10)) if i != j]
    if few == "targets":
        pairs = [pair[::-1] for pair in pairs]
    values = np.random.default_rng(0).normal(size=(10, 10))
    assert mean_over_networks(one_set(values, pairs)).degrees_of_freedom == 4
    alike = mean_over_networks(one_set(values, pairs), one_set=True)
    assert alike.degrees_of_freedom > 4


def test_the_variance_over_stimuli_is_added():
    rng = np.random.default_rng(0)
    d = rng.normal(size=(5, 6))
    resampled = d[..., np.newaxis] + rng.normal(size=(5, 6, 400)) + rng.normal(size=400)
    plain = mean_over_networks(grid(d))
    result = mean_over_networks(grid(d), grid(resampled))
    over_stimuli = resampled.mean(axis=(0, 1)).std(ddof=1)
    assert over_stimuli > 0.9
    assert result.standard_error_over_stimuli == pytest.approx(over_stimuli)
    assert result.standard_error == pytest.approx(
        np.hypot(plain.standard_error, over_stimuli)
    )
    assert np.isnan(plain.standard_error_over_stimuli)
    assert "and over stimuli" in str(result)
    # A resample in which one pair has no score is left out for all pairs.
    resampled[0, 0, :10] = np.nan
    result = mean_over_networks(grid(d), grid(resampled))
    assert result.standard_error_over_stimuli == pytest.approx(
        resampled[..., 10:].mean(axis=(0, 1)).std(ddof=1)
    )


@pytest.mark.parametrize("directed", [True, False])
def test_one_set_is_judged_by_leaving_out_each_network(directed):
    d = np.random.default_rng(0).normal(0.5, 1, size=(6, 6))
    choose = itertools.permutations if directed else itertools.combinations
    pairs = list(choose(range(6), 2))
    result = mean_over_networks(one_set(d, pairs))
    without = [
        np.mean([d[i, j] for i, j in pairs if network not in (i, j)])
        for network in range(6)
    ]
    jackknife = 5 / 6 * np.sum((without - np.mean(without)) ** 2)
    assert result.standard_error_over_networks == pytest.approx(np.sqrt(jackknife))
    assert (result.sample, result.n_networks, result.n_pairs) == (
        "networks",
        6,
        len(pairs),
    )
    assert "over one set of 6 networks as a sample" in str(result)


def test_balanced_sets_have_a_degree_of_freedom_less_than_networks():
    ring = [(i, (i + 1) % 7) for i in range(7)]
    for pairs in (ring, itertools.combinations(range(7), 2)):
        values = one_set(np.random.default_rng(0).normal(size=(7, 7)), pairs)
        assert mean_over_networks(values, one_set=True).degrees_of_freedom == 6


def test_networks_in_most_of_the_pairs_cost_degrees_of_freedom():
    d = np.random.default_rng(0).normal(size=(7, 7))
    pairs = [(0, j) for j in range(1, 7)] + [(1, j) for j in range(2, 7)]
    pairs += [(2, j) for j in range(3, 7)]
    result = mean_over_networks(one_set(d, pairs), one_set=True)
    counts = np.array([6, 6, 6, 3, 3, 3, 3])
    assert result.degrees_of_freedom == pytest.approx(
        np.sum(counts**2) ** 2 / np.sum(counts**4) - 1
    )
    assert 3 < result.degrees_of_freedom < 6
    star = mean_over_networks(one_set(d, [*pairs[:5], (6, 0)]), one_set=True)
    assert star.sample == "none"
    # Two networks in all pairs are no sample of networks, whatever the others are.
    hubs = mean_over_networks(one_set(d, pairs[:11]), one_set=True)
    assert (hubs.sample, hubs.n_networks) == ("none", 7)
    assert np.isnan(hubs.p_value)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (3, 3), (2, 3)])
def test_too_few_networks_have_no_p_value(shape):
    d = np.random.default_rng(0).normal(size=shape)
    result = mean_over_networks(grid(d), grid(d[..., np.newaxis] + [0, 1]))
    assert result.mean == pytest.approx(d.mean())
    assert result.standard_error_over_stimuli > 0
    for name in ("low", "high", "p_value", "detectable", "standard_error"):
        assert np.isnan(result[name])
    assert "too few networks to generalise" in str(result)
    assert "p =" not in str(result)


@pytest.mark.parametrize("level", [0.95, 0.8])
def test_the_conclusion_names_the_confidence_level(level):
    d = np.random.default_rng(0).normal(size=(5, 6))
    result = mean_over_networks(grid(d), confidence_level=level)
    assert f"({100 * level:g} % interval {result.low:.3g} to" in str(result)


def test_four_networks_of_one_set_are_enough():
    pairs = list(itertools.combinations(range(4), 2))
    values = np.random.default_rng(0).normal(1, 0.1, size=(4, 4))
    result = mean_over_networks(one_set(values, pairs), one_set=True)
    assert result.sample == "networks"
    assert 0 < result.p_value < 1


def test_three_networks_of_one_set_are_too_few():
    pairs = list(itertools.combinations(range(3), 2))
    result = mean_over_networks(one_set(np.ones((3, 3)), pairs))
    assert result.sample == "none"


def test_bad_values_are_refused():
    d = np.random.default_rng(0).normal(size=(4, 4))
    with pytest.raises(ValueError, match="not a complete grid: there is none of d and"):
        mean_over_networks(dict(list(grid(d).items())[:-1]))
    with pytest.raises(ValueError, match="`values` must be a dict"):
        mean_over_networks({})
    with pytest.raises(ValueError, match="`values` must be a dict"):
        mean_over_networks([0.1, 0.2])
    with pytest.raises(ValueError, match="must be pairs of two networks"):
        mean_over_networks({("a", "a"): 1.0})
    with pytest.raises(ValueError, match="must be pairs of two networks"):
        mean_over_networks({"ab": 1.0})
    with pytest.raises(ValueError, match=r"has nan for \('a', 0\)"):
        mean_over_networks({("a", 0): np.nan})
    with pytest.raises(ValueError, match="must be pairs of two networks"):
        mean_over_networks({("a", "b", "c"): 1.0})
    with pytest.raises(ValueError, match=r"has 0.5 for \('a', 0\)"):
        mean_over_networks({("a", 0): "0.5"})
    with pytest.raises(ValueError, match="'confidence_level' parameter"):
        mean_over_networks(grid(d), confidence_level=95)
    with pytest.raises(ValueError, match="the same pairs"):
        mean_over_networks(grid(d), {("a", 0): [1.0, 2.0]})
    with pytest.raises(ValueError, match=r"1 resample\(s\)"):
        mean_over_networks(grid(d), grid(d[..., np.newaxis]))


def test_values_that_do_not_vary_prove_nothing():
    assert mean_over_networks(grid(np.zeros((4, 4)))).p_value == 1
    assert np.isnan(mean_over_networks(grid(np.full((4, 4), 0.5))).p_value)


# -- simulations -----------------------------------------------------------------------


def simulate(n_sources, n_targets, deviations, rng, mean=0.0, n_stimuli=40):
    """Draw values with effects of sources, targets, pairs and shared stimuli."""
    of_source, of_target, of_pair, of_stimulus = deviations
    d = (
        mean
        + of_source * rng.normal(size=(n_sources, 1))
        + of_target * rng.normal(size=(1, n_targets))
        + of_pair * rng.normal(size=(n_sources, n_targets))
    )
    trials = of_stimulus * rng.normal(size=n_stimuli)
    trials = d[..., np.newaxis] + trials + rng.normal(size=(*d.shape, n_stimuli))
    resamples = rng.integers(n_stimuli, size=(100, n_stimuli))
    return grid(trials.mean(axis=-1)), grid(trials[..., resamples].mean(axis=-1))


@pytest.mark.parametrize(
    ("shape", "deviations"),
    [
        ((6, 6), (0.3, 0.3, 0.3, 0.5)),
        ((4, 8), (0.0, 0.0, 0.0, 1.5)),
        ((4, 8), (0.5, 0.0, 0.0, 0.5)),
        ((1, 8), (0.0, 0.3, 0.3, 0.5)),
    ],
    ids=["all effects", "stimuli only", "few sources", "one source"],
)
def test_true_null_hypotheses_are_seldom_rejected(shape, deviations):
    rng = np.random.default_rng(0)
    n_found = sum(
        mean_over_networks(*simulate(*shape, deviations, rng)).p_value <= 0.05
        for _ in range(300)
    )
    # One-sided: the test may be conservative.
    assert n_found <= binom.ppf(1 - FALSE_ALARM, 300, 0.05)


def test_pairs_taken_as_independent_would_be_rejected_far_too_often():
    # What the simulations above are able to see.
    rng = np.random.default_rng(0)
    n_found = sum(
        ttest_1samp(list(simulate(6, 6, (0.3, 0.3, 0.3, 0.5), rng)[0].values()), 0)[1]
        <= 0.05
        for _ in range(100)
    )
    assert n_found > 30


@pytest.mark.parametrize("choose", [itertools.combinations, itertools.permutations])
def test_true_null_hypotheses_of_one_set_are_seldom_rejected(choose):
    rng = np.random.default_rng(0)
    n_found = 0
    for _ in range(300):
        d = rng.normal(size=(6, 1)) + rng.normal(size=6) + rng.normal(size=(6, 6))
        values = one_set(d, choose(range(6), 2))
        n_found += mean_over_networks(values).p_value <= 0.05
    assert n_found <= binom.ppf(1 - FALSE_ALARM, 300, 0.05)


def test_the_detectable_mean_is_found_in_about_four_fifths():
    # Pair effects only, so that the standard error hardly differs between data sets.
    rng = np.random.default_rng(0)
    detectable = np.mean(
        [
            mean_over_networks(grid(rng.normal(size=(1, 12)))).detectable
            for _ in range(200)
        ]
    )
    n_found = sum(
        mean_over_networks(grid(rng.normal(detectable, 1, size=(1, 12)))).p_value
        <= 0.05
        for _ in range(300)
    )
    assert 0.7 < n_found / 300 < 0.9


@pytest.mark.parametrize("shape", [(4, 6), (2, 2)])
def test_the_table_has_one_row(shape):
    d = np.random.default_rng(0).normal(0.5, 1, size=shape)
    result = mean_over_networks(grid(d))
    frame = result.to_frame()
    assert list(frame.columns) == [*list(result)[1:], "conclusion"]
    assert frame["mean"].tolist() == [result.mean]
    assert frame["sample"].tolist() == [result.sample]
    assert_survives_files(frame)

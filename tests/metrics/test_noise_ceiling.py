import warnings

import numpy as np
import pytest
from scipy.stats import t

from skmot import LayerStack
from skmot.metrics import ceiling_from_ncsnr, corrected_scores, noise_ceiling
from tests import reference
from tests.tables import assert_survives_files

DEVIATIONS = np.repeat([0.3, 1.0, 2.0], 40)


def simulate(n_repeats, n_stimuli=1000, seed=0):
    """Return a signal of unit variance and noisy repeats, of three kinds of units."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(n_stimuli, len(DEVIATIONS)))
    noise = rng.normal(size=(n_repeats, *signal.shape)) * DEVIATIONS
    return signal, signal + noise


def perfect_scores(signal, average):
    return np.array(
        [reference.pearson(*pair) for pair in zip(signal.T, average.T, strict=True)]
    )


def spearman_brown(r, factor):
    return factor * r / (1 + (factor - 1) * r)


# -- from repeats ------------------------------------------------------------------


@pytest.mark.parametrize("n_repeats", [2, 3, 4, 5])
def test_a_perfect_prediction_scores_one_after_correction(n_repeats):
    signal, repeats = simulate(n_repeats)
    ceilings = noise_ceiling(repeats, random_state=0)
    truth = 1 / np.sqrt(1 + DEVIATIONS**2 / n_repeats)
    for kind in np.split(np.arange(120), 3):
        assert ceilings[kind].mean() == pytest.approx(truth[kind][0], abs=0.01)
        scores = corrected_scores(
            perfect_scores(signal, repeats.mean(axis=0))[kind],
            ceilings[kind],
            threshold=0.2,
        )
        assert scores.corrected_mean == pytest.approx(1, abs=0.02)
        assert scores.raw_mean < scores.corrected_mean
        assert scores.n_left_out == 0


def test_unequal_repeats_a_perfect_prediction_scores_one():
    signal, repeats = simulate(6)
    rng = np.random.default_rng(1)
    counts = rng.integers(1, 7, size=len(signal))
    shown = np.arange(6)[:, np.newaxis] < counts
    trials, groups = repeats[shown], np.nonzero(shown)[1]
    order = rng.permutation(len(trials))
    average = np.array([repeats[:n, s].mean(axis=0) for s, n in enumerate(counts)])
    ceilings = noise_ceiling(trials[order], groups[order], random_state=0)
    truth = 1 / np.sqrt(1 + DEVIATIONS**2 * np.mean(1 / counts))
    for kind in np.split(np.arange(120), 3):
        assert ceilings[kind].mean() == pytest.approx(truth[kind][0], abs=0.015)
        scores = perfect_scores(signal, average)[kind]
        corrected = corrected_scores(scores, ceilings[kind], threshold=0.1)
        assert corrected.corrected_mean == pytest.approx(1, abs=0.02)


def test_two_repeats_are_the_correlation_of_the_one_with_the_other():
    _, repeats = simulate(2, n_stimuli=60)
    r = perfect_scores(repeats[0], repeats[1])
    expected = np.sqrt(spearman_brown(np.clip(r, 0, 1), 2))
    np.testing.assert_allclose(noise_ceiling(repeats), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("n_repeats", "halves", "factor"),
    [
        (3, [([0], [1]), ([0], [2]), ([1], [2])], 3),
        (4, [([0, 1], [2, 3]), ([0, 2], [1, 3]), ([0, 3], [1, 2])], 2),
    ],
)
def test_random_halves_approach_all_halves(n_repeats, halves, factor):
    _, repeats = simulate(n_repeats, n_stimuli=60)
    r = np.mean(
        [
            perfect_scores(repeats[a].mean(axis=0), repeats[b].mean(axis=0))
            for a, b in halves
        ],
        axis=0,
    )
    expected = np.sqrt(spearman_brown(np.clip(r, 0, 1), factor))
    found = noise_ceiling(repeats, n_halves=3000, random_state=0)
    # The share of each of the three splits has a deviation of sqrt(2/9/3000) = .009,
    # times a spread of correlations over splits of up to .2, and the root's slope.
    np.testing.assert_allclose(
        found[expected > 0.2], expected[expected > 0.2], atol=0.02
    )


def test_averaging_before_the_correction_is_less_biased_than_after():
    # 20,000 units of reliability 1/2 in the average of four repeats of 30 stimuli.
    rng = np.random.default_rng(0)
    repeats = rng.normal(size=(30, 20_000)) + 2 * rng.normal(size=(4, 30, 20_000))
    halves = [([0, 1], [2, 3]), ([0, 2], [1, 3]), ([0, 3], [1, 2])]
    r = []
    for half in halves:
        first, second = (
            part - part.mean(axis=0)
            for part in (repeats[list(rows)].mean(axis=0) for rows in half)
        )
        r.append(
            np.sum(first * second, axis=0)
            / np.sqrt(np.sum(first**2, axis=0) * np.sum(second**2, axis=0))
        )
    before = spearman_brown(np.mean(r, axis=0), 2).mean()
    after = spearman_brown(np.array(r), 2).mean()
    # Their standard error is about .001.
    assert after + 0.005 < before < 0.5


def test_trials_with_groups_agree_with_the_array_where_splits_cannot_differ():
    # Without noise the split does not matter.
    signal, _ = simulate(1, n_stimuli=20)
    repeats = np.repeat(signal[np.newaxis], 3, axis=0)
    trials, groups = repeats.reshape(60, -1), np.tile(np.arange(20), 3)
    for found in (noise_ceiling(repeats), noise_ceiling(trials, groups)):
        np.testing.assert_allclose(found, 1, atol=1e-12)


def test_labels_of_any_kind_name_the_stimuli():
    _, repeats = simulate(3, n_stimuli=25)
    trials, numbers = repeats.reshape(75, -1), np.tile(np.arange(25), 3)
    expected = noise_ceiling(trials, numbers, random_state=3)
    for groups in (
        [f"image {number}" for number in numbers],
        [("cat", number) for number in numbers],
        np.datetime64("2020-01-01") + numbers,
    ):
        found = noise_ceiling(trials, groups, random_state=3)
        np.testing.assert_array_equal(found, expected)


def test_what_shifts_a_whole_repeat_is_no_noise():
    _, repeats = simulate(4, n_stimuli=40)
    shifts = 1000.0 * np.arange(4)[:, np.newaxis, np.newaxis]
    np.testing.assert_allclose(
        noise_ceiling(repeats + shifts, random_state=0),
        noise_ceiling(repeats, random_state=0),
        atol=1e-9,
    )


def test_offset_scale_and_order_of_units_change_nothing():
    _, repeats = simulate(3, n_stimuli=40)
    expected = noise_ceiling(repeats, random_state=0)
    scale = 10.0 ** np.linspace(-30, 30, 120)
    found = noise_ceiling(((repeats + 5) * scale)[:, :, ::-1], random_state=0)
    np.testing.assert_allclose(found[::-1], expected, atol=1e-7)


def test_negative_reliability_is_a_ceiling_of_zero():
    signal, _ = simulate(1, n_stimuli=30)
    found = noise_ceiling(np.stack([signal, -signal]), random_state=0)
    np.testing.assert_array_equal(found, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_units_have_no_ceiling(dtype):
    _, repeats = simulate(3, n_stimuli=30)
    repeats = repeats.astype(dtype)
    repeats[:, :, [2, 5]] = 0.1
    found = noise_ceiling(repeats, random_state=0)
    assert np.flatnonzero(np.isnan(found)).tolist() == [2, 5]


def test_a_seed_gives_the_same_ceilings():
    _, repeats = simulate(5, n_stimuli=30)
    first, again, other = (
        noise_ceiling(repeats, n_halves=2, random_state=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("repeats", "groups", "message"),
    [
        (np.ones((1, 5, 2)), None, r"`repeats` has 1 repeat\(s\) of 5 stimuli"),
        (np.ones((3, 5, 2)), np.zeros(15), "`groups` is for rows of trials"),
        (np.ones((6, 2)), None, "`groups` must say which stimulus"),
        (np.ones((6, 2)), np.zeros(5), "`groups` has 5 labels, but `repeats` has 6"),
        (np.ones((6, 2)), np.arange(6), "0 of 6 stimuli has two trials"),
        (np.ones((6, 2)), [1, 1, 2, 3, 4, 5], "1 of 5 stimuli has two trials"),
        (np.ones(6), None, "must have two or three dimensions; got 1"),
        (np.full((2, 5, 2), np.nan), None, r"NaN.*found in repeats"),
    ],
)
def test_what_gives_no_ceiling_is_an_error(repeats, groups, message):
    with pytest.raises(ValueError, match=message):
        noise_ceiling(repeats, groups)


def test_repeats_under_a_mask_give_no_ceiling():
    _, repeats = simulate(3, n_stimuli=20)
    masked = np.ma.array(repeats, mask=np.zeros(repeats.shape, dtype=bool))
    masked[1, 4, 0] = np.ma.masked
    with pytest.raises(ValueError, match="repeats has masked entries"):
        noise_ceiling(masked, random_state=0)
    with pytest.raises(ValueError, match="repeats has masked entries"):
        noise_ceiling(masked.reshape(60, -1), np.tile(np.arange(20), 3))


def test_input_is_not_changed():
    _, repeats = simulate(3, n_stimuli=20)
    copy = repeats.copy()
    repeats.flags.writeable = False
    noise_ceiling(repeats, random_state=0)
    np.testing.assert_array_equal(repeats, copy)


# -- from a ratio ------------------------------------------------------------------


@pytest.mark.parametrize("n_repeats", [1, 3])
def test_ceiling_of_a_ratio_is_that_of_a_simulation(n_repeats):
    truth = ceiling_from_ncsnr(1 / DEVIATIONS, n_repeats)
    signal, repeats = simulate(n_repeats, n_stimuli=4000)
    scores = perfect_scores(signal, repeats.mean(axis=0))
    # Of a correlation over 4,000 stimuli the deviation is at most .016.
    np.testing.assert_allclose(scores, truth, atol=0.06)
    np.testing.assert_allclose(scores.mean(), truth.mean(), atol=0.005)


def test_ceiling_is_the_formula_of_the_natural_scenes_dataset():
    assert ceiling_from_ncsnr(0.7, 3) ** 2 == pytest.approx(0.49 / (0.49 + 1 / 3))
    # Of 10 stimuli seen three times, 20 twice and 30 once.
    counts = [3] * 10 + [2] * 20 + [1] * 30
    noise = (10 / 3 + 20 / 2 + 30) / 60
    assert ceiling_from_ncsnr(0.7, counts) ** 2 == pytest.approx(0.49 / (0.49 + noise))


def test_extreme_ratios():
    found = ceiling_from_ncsnr([0.0, np.inf, 1e200, np.nan], 3)
    np.testing.assert_array_equal(found, [0, 1, 1, np.nan])
    assert isinstance(ceiling_from_ncsnr(1.0, 1), float)


def test_impossible_ratios_and_repeats_are_errors():
    with pytest.raises(ValueError, match=r"`ncsnr` must not be negative; got -0\.5"):
        ceiling_from_ncsnr([1.0, -0.5], 3)
    for n_repeats in (0, [3, 0], []):
        with pytest.raises(ValueError, match="`n_repeats` must be 1 or larger"):
            ceiling_from_ncsnr(1.0, n_repeats)


# -- corrected scores --------------------------------------------------------------


def test_scores_are_divided_by_ceilings_and_low_ones_left_out():
    scores = corrected_scores(
        [[0.5, 0.1, np.nan, 0.2], [0.3, -0.2]],
        [[0.8, 0.1, 0.9, np.nan], [0.6, 0.5]],
        threshold=0.3,
    )
    np.testing.assert_allclose(scores.corrected[0], [0.625, np.nan, np.nan, np.nan])
    np.testing.assert_allclose(scores.corrected[1], [0.5, -0.4])
    np.testing.assert_array_equal(scores.raw[0], [0.5, 0.1, np.nan, 0.2])
    assert scores.n_left_out == [3, 0]
    assert [kept.tolist() for kept in scores.kept] == [[True] + [False] * 3, [True] * 2]
    # Layers count alike, whatever their number of units; both means are of units kept.
    assert scores.raw_mean == pytest.approx((0.5 + 0.05) / 2)
    assert scores.corrected_mean == pytest.approx((0.625 + 0.05) / 2)
    assert scores.threshold == 0.3


def test_one_layer_is_given_back_as_one():
    scores = corrected_scores(np.array([0.5]), np.array([0.5]), threshold=0.5)
    assert scores.corrected.tolist() == [1.0]
    assert scores.n_left_out == 0


def test_given_scores_are_not_changed_or_shared():
    given, ceilings = np.array([[0.5, 0.2], [0.5, 0.1]])
    scores = corrected_scores(given, ceilings, threshold=0.3)
    np.testing.assert_array_equal(scores.ceilings, [0.5, 0.1])
    scores.raw[:] = scores.ceilings[:] = 7
    assert given.tolist() == [0.5, 0.2]
    assert ceilings.tolist() == [0.5, 0.1]


def test_corrected_scores_say_on_how_many_units_they_rest():
    scores = corrected_scores(
        [[0.5, 0.1, np.nan], [0.3, -0.2]], [[0.8, 0.1, 0.9], [0.6, 0.5]], threshold=0.3
    )
    assert str(scores).startswith(
        "Over the 3 of 5 units with a score and a noise ceiling of at least 0.3, the "
        f"mean score is 0.275, which is {(0.5 / 0.8 + 0.1 / 1.1) / 2:.3f} of the mean"
    )


def test_tables_of_corrected_scores_have_one_row_for_each_unit_layer_or_result():
    given = [[0.5, 0.1, np.nan], [0.3, -0.2]], [[0.8, 0.1, 0.9], [0.6, 0.5]]
    scores = corrected_scores(*given, threshold=0.3)
    units = scores.to_frame("units")
    assert units["layer"].tolist() == [0, 0, 0, 1, 1]
    assert units["unit"].tolist() == [0, 1, 2, 0, 1]
    np.testing.assert_array_equal(units["score"], np.concatenate(given[0]))
    np.testing.assert_array_equal(units["ceiling"], np.concatenate(given[1]))
    kept = units[units["kept"]]
    assert kept.index.tolist() == [0, 3, 4]
    np.testing.assert_allclose(kept["corrected"], kept["score"] / kept["ceiling"])
    assert units["corrected"][~units["kept"]].isna().all()
    layers = scores.to_frame("layers")
    assert layers["n_units"].tolist() == [1, 2]
    assert layers["n_left_out"].tolist() == scores.n_left_out
    (row,) = scores.to_frame().to_dict("records")
    for name in ("raw_mean", "corrected_mean", "ratio_of_means"):
        assert row[name] == scores[name] == pytest.approx(layers[name].mean())
    assert (row["n_units"], row["n_left_out"]) == (3, 2)
    for table in (None, "layers", "units"):
        assert_survives_files(scores.to_frame(table))


def test_corrected_scores_have_the_names_of_a_stack_of_trials():
    _, repeats = simulate(3, n_stimuli=20)
    trials = repeats[:, :, :4].reshape(-1, 4)
    labels = np.tile(np.arange(20), 3)
    stack = LayerStack.from_trials(
        {"V1": trials, "V4": trials[:, :2]},
        labels,
        unit_names=[list("abcd"), None],
    )
    scores = [np.full(4, 0.5), np.full(2, 0.4)]
    corrected = corrected_scores(scores, stack, threshold=0.01, random_state=0)
    units = corrected.to_frame("units")
    assert units["layer"].tolist() == ["V1"] * 4 + ["V4"] * 2
    assert units["unit"].tolist() == [*"abcd", 0, 1]
    ceilings = noise_ceiling(stack, random_state=0)
    np.testing.assert_array_equal(units["ceiling"], np.concatenate(ceilings))


def test_corrected_scores_of_layers_within_layers_are_named_by_paths():
    scores = corrected_scores(
        [[[0.4, 0.3], [0.2]], [[0.1]]], [[[0.8, 0.8], [0.8]], [[0.8]]], threshold=0.3
    )
    assert scores.to_frame("units")["layer"].tolist() == ["0/0", "0/0", "0/1", "1/0"]
    assert scores.to_frame("layers")["layer"].tolist() == ["0/0", "0/1", "1/0"]


@pytest.mark.parametrize(
    ("scores", "ceilings", "threshold", "message"),
    [
        ([0.5, 0.2], [0.5], 0.1, r"the shape \(2,\) and `ceilings` \(1,\)"),
        ([[0.5], [0.2]], [[0.5]], 0.1, "2 layers and `ceilings` has 1"),
        ([[0.5], [0.2]], [[0.5], [0.4]], 0.5, "layer 1 is left: .* 0.4 and the thresh"),
        ([0.5], [np.nan], 0.5, "its 1 units is missing"),
        ([0.5], [36.0], 0.1, "from 0 to 1; unit 0 has 36.0"),
        ([0.5], [0.5], 0, "'threshold' parameter"),
    ],
)
def test_what_cannot_be_corrected_is_an_error(scores, ceilings, threshold, message):
    with pytest.raises(ValueError, match=message):
        corrected_scores(scores, ceilings, threshold=threshold)


def test_exchanged_axes_of_repeats_and_stimuli_are_warned_of():
    repeats = np.random.default_rng(0).normal(size=(30, 4, 3))
    with pytest.warns(UserWarning, match=r"`np.swapaxes\(repeats, 0, 1\)`") as caught:
        noise_ceiling(repeats, random_state=0)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        noise_ceiling(np.swapaxes(repeats, 0, 1), random_state=0)


# -- runs ----------------------------------------------------------------------------


def drifting_trials(n_runs=4, n_stimuli=300, n_units=60, seed=0):
    """Return trials of which those of a stimulus in a run share noise.

    Each run shows each stimulus twice in a row. The signal, the noise of a run and that
    of a trial have deviations of .7, 1 and 1.
    """
    rng = np.random.default_rng(seed)
    signal = 0.7 * rng.normal(size=(n_stimuli, n_units))
    drift = rng.normal(size=(n_runs, 1, n_stimuli, n_units))
    trials = signal + drift + rng.normal(size=(n_runs, 2, n_stimuli, n_units))
    labels = np.tile(np.arange(n_stimuli), 2 * n_runs)
    runs = np.repeat(np.arange(n_runs), 2 * n_stimuli)
    truth = np.sqrt(0.49 / (0.49 + 1 / n_runs + 1 / (2 * n_runs)))
    return trials.reshape(-1, n_units), labels, runs, truth


@pytest.mark.parametrize("n_runs", [4, 5])
def test_halves_of_runs_see_the_drift_that_halves_of_trials_do_not(n_runs):
    trials, labels, runs, truth = drifting_trials(n_runs)
    # The mean of 60 ceilings, each with a deviation of about .03.
    by_run = noise_ceiling(trials, labels, runs=runs, random_state=0).mean()
    assert by_run == pytest.approx(truth, abs=0.015)
    by_trial = noise_ceiling(trials, labels, random_state=0).mean()
    assert by_trial > truth + 0.03


def test_two_runs_are_the_correlation_of_the_one_with_the_other():
    rng = np.random.default_rng(0)
    # Unequal numbers of trials; stimulus 40 is shown in one run only.
    counts = rng.integers(1, 4, size=(2, 41))
    counts[1, 40] = 0
    labels = np.concatenate([np.repeat(np.arange(41), n) for n in counts])
    runs = np.repeat(["first", "second"], counts.sum(axis=1))
    signal = rng.normal(size=(41, 3))
    trials = signal[labels] + rng.normal(size=(len(labels), 3))
    first, second = (
        np.array(
            [trials[(labels == i) & (runs == run)].mean(axis=0) for i in range(40)]
        )
        for run in ("first", "second")
    )
    r = perfect_scores(first, second)
    factor = np.mean(1 / counts[:, :40]) / np.mean(1 / counts.sum(axis=0))
    expected = np.sqrt(spearman_brown(np.clip(r, 0, 1), factor))
    order = rng.permutation(len(labels))
    found = noise_ceiling(trials[order], labels[order], runs=runs[order])
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_what_shifts_a_whole_run_is_no_noise():
    trials, labels, runs, _ = drifting_trials(n_stimuli=40)
    shifts = 1000.0 * runs[:, np.newaxis]
    np.testing.assert_allclose(
        noise_ceiling(trials + shifts, labels, runs=runs, random_state=0),
        noise_ceiling(trials, labels, runs=runs, random_state=0),
        atol=1e-9,
    )


def test_runs_of_whole_repeats():
    _, repeats = simulate(4, n_stimuli=50)
    distinct = noise_ceiling(repeats, runs=["a", "b", "c", "d"], random_state=0)
    np.testing.assert_array_equal(distinct, noise_ceiling(repeats, random_state=0))
    in_pairs = noise_ceiling(repeats, runs=[1, 1, 2, 2], random_state=0)
    r = perfect_scores(repeats[:2].mean(axis=0), repeats[2:].mean(axis=0))
    expected = np.sqrt(spearman_brown(np.clip(r, 0, 1), 2))
    np.testing.assert_allclose(in_pairs, expected, atol=1e-12)


def test_masked_runs_of_whole_repeats_are_refused():
    runs = np.ma.array([1, 1, 2, 2], mask=[False, False, False, True])
    with pytest.raises(ValueError, match="`runs` has masked entries"):
        noise_ceiling(np.random.default_rng(0).normal(size=(4, 9, 2)), runs=runs)


def test_a_stack_of_runs_is_read_by_stimulus():
    trials, labels, runs, _ = drifting_trials(n_stimuli=30)
    order = np.random.default_rng(1).permutation(len(labels))
    trials, labels, runs = trials[order], labels[order], runs[order]
    names = np.array([f"image {label}" for label in labels])
    stack = LayerStack.from_trials({"V1": trials}, names)
    stack_of_runs = LayerStack.from_trials(runs[:, np.newaxis], names)
    rows = [22, 3, 17, 5, 8, 1]
    part = stack[rows]
    shown = [
        place for row in rows for place in np.flatnonzero(names == stack.stimuli[row])
    ]
    (expected,) = noise_ceiling(part, runs=runs[shown], random_state=0)
    for given in (stack_of_runs, stack_of_runs[rows], stack_of_runs[::-1]):
        (found,) = noise_ceiling(part, runs=given, random_state=0)
        np.testing.assert_array_equal(found, expected)
    (unlike,) = noise_ceiling(part, random_state=0)
    assert not np.allclose(unlike, expected)
    scores = [np.full(60, 0.3)]
    corrected = corrected_scores(
        scores, part, threshold=0.01, runs=stack_of_runs, random_state=0
    )
    kept = expected >= 0.01
    np.testing.assert_allclose(corrected.corrected[0][kept], 0.3 / expected[kept])


def test_runs_that_do_not_fit_are_errors():
    trials, labels, runs, _ = drifting_trials(n_stimuli=10, n_units=2)
    stack = LayerStack.from_trials([trials], labels)
    column = runs[:, np.newaxis]
    masked = np.ma.array(runs, mask=runs == 1)
    two_units = np.column_stack([runs, runs])
    for given, message in (
        (runs[:-1], "`runs` has 79 runs, but .* layer 0 has 80 trials"),
        (np.zeros(80), "0 of 10 stimuli is shown in two runs"),
        (masked, "`runs` has masked entries"),
        (np.where(runs == 1, np.nan, runs), "missing"),
        (LayerStack([column]), "must have one unit, the number of the run, and trials"),
        (LayerStack.from_trials(two_units, labels), "must have one unit"),
        (
            LayerStack.from_trials(column, labels)[:9],
            "`runs` has no stimulus 9, which is one of",
        ),
        (
            LayerStack.from_trials(column[:-3], labels[:-3]),
            "`runs` has 7 trials of the stimulus in row 7",
        ),
        (
            LayerStack.from_trials(column, labels)[:9].with_stimuli(None),
            "has 9 rows and .* 10",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            noise_ceiling(stack, runs=given)
    with pytest.raises(ValueError, match="`runs` is a stack, but `repeats` has no tri"):
        noise_ceiling(trials, labels, runs=LayerStack.from_trials(column, labels))
    with pytest.raises(ValueError, match="one run for each repeat"):
        noise_ceiling(trials.reshape(8, 10, 2), runs=runs)
    with pytest.raises(ValueError, match="give a stack with trials as `ceilings`"):
        corrected_scores([0.5], [0.5], threshold=0.1, runs=[1, 2])


# -- intervals -----------------------------------------------------------------------


def test_ceilings_are_the_same_with_an_interval():
    _, repeats = simulate(3, n_stimuli=30)
    trials, labels = repeats.reshape(90, -1), np.tile(np.arange(30), 3)
    stack = LayerStack.from_trials({"a": trials[:, :50], "b": trials[:, 50:]}, labels)
    nested = LayerStack({"brain": stack})
    for given in (stack, nested):
        expected = noise_ceiling(given, random_state=0)
        ceilings, intervals = noise_ceiling(
            given, random_state=0, return_interval=True, n_resamples=10
        )
        layers, ends = (
            (side[0] if given is nested else side) for side in (ceilings, intervals)
        )
        wanted = expected[0] if given is nested else expected
        for layer, same, (low, high) in zip(layers, wanted, ends, strict=True):
            np.testing.assert_array_equal(layer, same)
            assert low.shape == high.shape == layer.shape
            assert ((low <= layer) & (layer <= high)).all()


def test_the_interval_is_the_bootstrap_over_stimuli():
    _, repeats = simulate(2, n_stimuli=60)
    repeats = repeats[:, :, [0, 45, 90]]
    _, interval = noise_ceiling(
        repeats,
        n_halves=1,
        random_state=0,
        return_interval=True,
        confidence_level=0.8,
        n_resamples=4000,
    )
    rng = np.random.default_rng(1)
    drawn = [rng.integers(60, size=60) for _ in range(4000)]
    r = np.array([perfect_scores(*(side[rows] for side in repeats)) for rows in drawn])
    half_width = t.ppf(0.9, 58) * np.arctanh(r).std(axis=0)
    z = np.arctanh(perfect_scores(*repeats))
    ends = np.tanh([z - half_width, z + half_width])
    expected = np.sqrt(spearman_brown(np.clip(ends, 0, 1), 2))
    # The deviation of 4,000 draws has a relative error of about .011.
    np.testing.assert_allclose(interval, expected, atol=0.01)


def test_intervals_cover_the_true_ceiling():
    truth = 1 / np.sqrt(1 + DEVIATIONS**2 / 4)
    covered = []
    for seed in range(3):
        _, repeats = simulate(4, n_stimuli=80, seed=seed)
        _, (low, high) = noise_ceiling(
            repeats,
            n_halves=20,
            random_state=0,
            return_interval=True,
            n_resamples=200,
        )
        covered.append((low <= truth) & (truth <= high))
    # Of 360 units; the deviation of the share is .012.
    assert 0.90 < np.mean(covered) < 0.99


def test_units_without_signal_have_ceilings_above_zero_and_intervals_from_zero():
    noise = np.random.default_rng(0).normal(size=(4, 100, 300))
    ceilings, (low, _) = noise_ceiling(
        noise, random_state=0, return_interval=True, n_resamples=200
    )
    # What the documentation says of 100 stimuli and four repeats.
    assert ceilings.mean() == pytest.approx(0.16, abs=0.03)
    assert np.mean(ceilings >= 0.3) == pytest.approx(0.28, abs=0.09)
    assert np.mean(low > 0) < 0.06


def test_units_without_noise_have_an_interval_at_one():
    signal = np.random.default_rng(0).normal(size=(20, 3))
    _, interval = noise_ceiling(np.stack([signal] * 3), return_interval=True)
    np.testing.assert_allclose(interval, 1, atol=1e-5)


def test_constant_units_have_no_interval():
    _, repeats = simulate(3, n_stimuli=30)
    repeats[:, :, 2] = 0.1
    _, interval = noise_ceiling(repeats, return_interval=True, n_resamples=20)
    assert np.isnan(interval[:, 2]).all()
    assert not np.isnan(np.delete(interval, 2, axis=1)).any()


# -- masked arrays, and the ratio of means -------------------------------------------


def test_masked_scores_ceilings_and_ratios_are_errors():
    masked = np.ma.array([0.5, 0.6], mask=[False, True])
    for arguments, name in (
        ((masked, [0.5, 0.6]), "unit_scores"),
        (([0.5, 0.6], masked), "ceilings"),
        (([[0.1], masked], [[0.5], [0.5, 0.6]]), "unit_scores`, layer 1"),
    ):
        with pytest.raises(ValueError, match=f"`{name}.* has masked entries"):
            corrected_scores(*arguments, threshold=0.1)
    with pytest.raises(ValueError, match="`ncsnr` has masked entries"):
        ceiling_from_ncsnr(masked, 3)
    with pytest.raises(ValueError, match="`n_repeats` has masked entries"):
        ceiling_from_ncsnr(0.5, np.ma.array([1, 2], mask=[True, False]))
    unmasked = np.ma.array([0.5, 0.6], mask=False)
    assert corrected_scores(unmasked, unmasked, threshold=0.1).corrected_mean == 1


def test_the_ratio_of_means_is_of_the_units_kept_and_layers_count_alike():
    scores = corrected_scores(
        [[0.4, 0.2, 0.3, np.nan], [0.3]],
        [[0.8, 0.4, 0.1, 0.9], [0.5]],
        threshold=0.3,
    )
    assert scores.ratio_of_means == pytest.approx((0.6 / 1.2 + 0.3 / 0.5) / 2)
    nested = corrected_scores([[[0.4], [0.2]]], [[[0.8], [0.8]]], threshold=0.3)
    assert nested.ratio_of_means == pytest.approx((0.5 + 0.25) / 2)


def test_the_ratio_of_means_varies_less_than_the_mean_of_ratios():
    # A model that holds .7 of the signal; units from none to twice the noise.
    rng = np.random.default_rng(0)
    found = []
    for _ in range(60):
        size = np.repeat([0.0, 0.3, 2.0], 20)
        signal = rng.normal(size=(60, 60))
        repeats = size * signal + rng.normal(size=(4, 60, 60))
        model = 0.7 * signal + np.sqrt(0.51) * rng.normal(size=(60, 60))
        scores = perfect_scores(model, repeats.mean(axis=0))
        ceilings = noise_ceiling(repeats, n_halves=10, random_state=0)
        corrected = corrected_scores(scores, ceilings, threshold=0.05)
        found.append((corrected.ratio_of_means, corrected.corrected_mean))
    ratio, mean = np.std(found, axis=0)
    assert ratio < 0.6 * mean

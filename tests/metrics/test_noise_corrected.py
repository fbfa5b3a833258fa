import warnings

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skmot import (
    RSA,
    LayerStack,
    LinearPredictivity,
    MultiLevelOT,
    RegressorMapping,
    RotationMatching,
    SoftMatching,
)
from skmot.exceptions import LeakWarning
from skmot.metrics import corrected_scores, noise_ceiling, noise_corrected_score
from skmot.preprocessing import (
    LayerwiseTransformer,
    ReliabilitySelector,
    TransformedTargetLayers,
    UnitSubsampler,
)
from tests import reference
from tests.tables import assert_survives_files


def signals(n_stimuli, source_widths=(12,), target_widths=(12,), seed=0):
    """Return the noiseless layers of two networks that share their signals."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n_stimuli, 6))
    sides = []
    for widths in (source_widths, target_widths):
        layers = []
        for width in widths:
            tuning = rng.normal(size=(6, width))
            layers.append(latent @ (tuning / np.linalg.norm(tuning, axis=0)))
        sides.append(layers)
    return sides


def with_trials(layers, counts, noise, seed):
    """Return a stack of noisy trials, `counts` of each stimulus, in random order."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(np.repeat(np.arange(len(layers[0])), counts))
    trials = [
        layer[rows] + noise * rng.normal(size=(len(rows), layer.shape[1]))
        for layer in layers
    ]
    stack = LayerStack.from_trials(trials, rows)
    return stack[np.argsort(stack.stimuli)]


def unit_correlations(first, second):
    return np.array(
        [reference.pearson(*pair) for pair in zip(first.T, second.T, strict=True)]
    )


def spearman_brown(r, factor=2):
    r = np.clip(r, 0, 1)
    return factor * r / (1 + (factor - 1) * r)


def two_runs(n_stimuli=40, n_units=5, seed=0):
    """Return two noisy recordings of one trial in each of two runs, and the runs."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(n_stimuli, n_units))
    sides = [signal + rng.normal(size=(2, n_stimuli, n_units)) for _ in range(2)]
    labels = np.tile(np.arange(n_stimuli), 2)
    stacks = [
        LayerStack.from_trials([side.reshape(-1, n_units)], labels) for side in sides
    ]
    return sides, stacks, np.tile([1, 2], n_stimuli)


# -- against the definition ----------------------------------------------------------


@pytest.mark.parametrize("direction", ["target", "source"])
@pytest.mark.parametrize("both_sides", [False, True])
def test_the_score_is_a_ratio_of_means(direction, both_sides):
    (x, y), (X, Y), runs = two_runs()
    matching = SoftMatching().fit(X[:20].layers[0], Y[:20].layers[0])
    predict, scored, given = matching.predict, y, x
    if direction == "source":
        predict, scored, given = matching.inverse_predict, x, y
    result = noise_corrected_score(
        matching,
        X[20:],
        Y[20:],
        direction=direction,
        both_sides=both_sides,
        runs=runs[: 2 * 20],
    )
    scored, given = scored[:, 20:], given[:, 20:]
    raw = unit_correlations(scored.mean(axis=0), predict(given.mean(axis=0)))
    reliability = spearman_brown(unit_correlations(*scored))
    of_prediction = spearman_brown(unit_correlations(*map(predict, given)))
    ceilings = np.sqrt(reliability * (of_prediction if both_sides else 1))
    np.testing.assert_allclose(result.unit_scores[0], raw)
    np.testing.assert_allclose(result.reliabilities[0], reliability)
    np.testing.assert_allclose(result.ceilings[0], ceilings)
    assert result.raw_score == pytest.approx(raw.mean())
    assert result.score == pytest.approx(raw.mean() / ceilings.mean())
    if both_sides:
        np.testing.assert_allclose(result.prediction_reliabilities[0], of_prediction)
    else:
        assert result.prediction_reliabilities is None


@pytest.mark.parametrize("both_sides", [False, True])
def test_disjoint_trials_score_one_half_on_the_other(both_sides):
    (x, y), (X, Y), runs = two_runs()
    matching = SoftMatching().fit(X[:20].layers[0], Y[:20].layers[0])
    result = noise_corrected_score(
        matching,
        X[20:],
        Y[20:],
        both_sides=both_sides,
        disjoint_trials=True,
        runs=runs[: 2 * 20],
    )
    (y1, y2), (x1, x2) = y[:, 20:], [matching.predict(side) for side in x[:, 20:]]
    raw = (unit_correlations(y1, x2) + unit_correlations(y2, x1)) / 2
    ceilings = np.sqrt(unit_correlations(y1, y2).clip(0, 1))
    if both_sides:
        ceilings *= np.sqrt(unit_correlations(x1, x2).clip(0, 1))
    assert result.raw_score == pytest.approx(raw.mean())
    assert result.score == pytest.approx(raw.mean() / ceilings.mean())
    np.testing.assert_allclose(result.ceilings[0], ceilings)


def test_without_the_other_side_the_ceilings_are_those_of_the_units():
    source, target = signals(80, (8, 9), (10, 6, 7))
    y = with_trials(target, 3, 1.0, seed=1)
    mot = MultiLevelOT().fit(source, list(y.layers))
    result = noise_corrected_score(mot, source, y, random_state=0)
    ceilings = noise_ceiling(y, random_state=0)
    for found, expected in zip(result.ceilings, ceilings, strict=True):
        np.testing.assert_allclose(found, expected)
    raw = mot.layer_scores(source, list(y.layers))
    np.testing.assert_allclose(result.raw_layer_scores, raw)
    expected = raw / [layer.mean() for layer in ceilings]
    np.testing.assert_allclose(result.layer_scores, expected)
    assert result.score == pytest.approx(expected.mean())
    assert result.raw_score == pytest.approx(mot.score(source, list(y.layers)))


def test_nested_networks_weight_their_layers_alike():
    _, target = signals(60, (4,), (5, 6, 7))
    noisy = with_trials(target, 2, 1.0, seed=1)
    trials = list(noisy.trials.layers)
    y = LayerStack.from_trials([trials[:2], trials[2:]], noisy.trials.stimuli)
    X = LayerStack([target[:2], target[2:]])
    mot = MultiLevelOT(MultiLevelOT()).fit(X, X)
    result = noise_corrected_score(mot, X, y, random_state=0)
    ratios = [
        scores.mean() / ceilings.mean()
        for scores, ceilings in zip(result.unit_scores, result.ceilings, strict=True)
    ]
    expected = [(ratios[0] + ratios[1]) / 2, ratios[2]]
    np.testing.assert_allclose(result.layer_scores, expected)


# -- against the noiseless truth -----------------------------------------------------


@pytest.mark.parametrize(
    "counts", [2, 3, 4, np.tile([2, 3, 5, 6], 300)], ids=["2", "3", "4", "unequal"]
)
@pytest.mark.parametrize(
    "estimator",
    [SoftMatching(), RotationMatching(random_state=0), LinearPredictivity()],
    ids=lambda estimator: type(estimator).__name__,
)
def test_the_corrected_score_is_that_of_noiseless_responses(estimator, counts):
    (source,), (target,) = signals(1200, (18,), (10,))
    X = with_trials([source], counts, 1.0, seed=1)
    y = with_trials([target], counts, 1.0, seed=2)
    fitted = estimator.fit(X[:200].layers[0], y[:200].layers[0])
    result = noise_corrected_score(
        fitted, X[200:], y[200:], both_sides=True, n_halves=20, random_state=0
    )
    true = unit_correlations(fitted.predict(source[200:]), target[200:])
    expected = np.average(true, weights=result.ceilings[0])
    assert result.score == pytest.approx(expected, abs=0.02)
    # The correction of one side is too small.
    one_side = noise_corrected_score(fitted, X[200:], y[200:], random_state=0)
    assert result.raw_score < one_side.score < result.score - 0.02


def test_the_noise_of_several_source_layers_averages_out():
    source, target = signals(1000, (12, 15), (10,))
    X = with_trials(source, 4, 1.5, seed=1)
    y = with_trials(target, 4, 1.0, seed=2)
    mot = MultiLevelOT().fit(X[:200], y[:200])
    result = noise_corrected_score(
        mot, X[200:], y[200:], both_sides=True, random_state=0
    )
    rows = slice(200, None)
    true = mot.unit_scores([layer[rows] for layer in source], [target[0][rows]])[0]
    expected = np.average(true, weights=result.ceilings[0])
    assert result.score == pytest.approx(expected, abs=0.02)


def sharing_noise(n_stimuli=1000, n_trials=4):
    """Return two unrelated sides whose trials share noise, unit by unit."""
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(n_stimuli), n_trials)
    noise = rng.normal(size=(len(labels), 8))
    sides = []
    for _ in range(2):
        signal = rng.normal(size=(n_stimuli, 8))
        own = 0.5 * rng.normal(size=noise.shape)
        sides.append(LayerStack.from_trials([signal[labels] + noise + own], labels))
    return sides


def test_noise_that_both_sides_share_counts_unless_trials_are_disjoint():
    X, y = sharing_noise()
    matching = SoftMatching().fit(X[:300].layers[0], y[:300].layers[0])
    together, apart = (
        noise_corrected_score(
            matching,
            X[300:],
            y[300:],
            both_sides=True,
            disjoint_trials=disjoint,
            random_state=0,
        )
        for disjoint in (False, True)
    )
    # The signals are unrelated: the true score is 0. Shared noise has a variance of
    # 1/4 in averages of variance 1 + 1/4 + 1/16.
    assert together.raw_score == pytest.approx(0.25 / 1.3125, abs=0.04)
    assert together.score > together.raw_score
    assert abs(apart.score) < 0.04


def test_disjoint_trials_find_the_signals_too():
    (source,), (target,) = signals(1200, (12,), (12,))
    X = with_trials([source], 4, 1.0, seed=1)
    y = with_trials([target], 4, 1.0, seed=2)
    fitted = SoftMatching().fit(X[:200].layers[0], y[:200].layers[0])
    result = noise_corrected_score(
        fitted,
        X[200:],
        y[200:],
        both_sides=True,
        disjoint_trials=True,
        n_halves=20,
        random_state=0,
    )
    true = unit_correlations(fitted.predict(source[200:]), target[200:])
    expected = np.average(true, weights=result.ceilings[0])
    assert result.score == pytest.approx(expected, abs=0.02)


def test_halves_by_run_see_noise_that_trials_of_a_run_share():
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(600, 10))
    drift = np.repeat(rng.normal(size=(4, 600, 10)), 2, axis=0)
    trials = (signal + drift + rng.normal(size=drift.shape)).reshape(-1, 10)
    labels, runs = np.tile(np.arange(600), 8), np.repeat(np.arange(4), 1200)
    y = LayerStack.from_trials([trials], labels)
    stack_of_runs = LayerStack.from_trials(runs[:, np.newaxis], labels)
    matching = SoftMatching().fit(signal, y.layers[0])
    by_trial, by_run, only_y = (
        noise_corrected_score(matching, signal, y, runs=runs, random_state=0).score
        for runs in (None, stack_of_runs, {"y": stack_of_runs})
    )
    assert by_trial < 0.98
    assert by_run == pytest.approx(1, abs=0.01)
    assert only_y == by_run


# -- what is scored ------------------------------------------------------------------


def test_pipelines_searches_and_transformed_targets_are_unwrapped():
    source, target = signals(60, (8, 9), (7, 6))
    X, y = (with_trials(side, 3, 0.5, seed=1) for side in (source, target))
    mot = MultiLevelOT()
    everything = UnitSubsampler(1.0)
    expected = noise_corrected_score(
        MultiLevelOT().fit(X, y), X, y, both_sides=True, random_state=0
    )
    for wrapped in (
        make_pipeline(everything, mot),
        TransformedTargetLayers(mot, everything),
        GridSearchCV(mot, {"strategy": ["transport"]}, cv=2),
        GridSearchCV(
            make_pipeline(everything, TransformedTargetLayers(mot, everything)),
            {"unitsubsampler__random_state": [0]},
            cv=2,
        ),
    ):
        result = noise_corrected_score(
            wrapped.fit(X, y), X, y, both_sides=True, random_state=0
        )
        np.testing.assert_allclose(result.layer_scores, expected.layer_scores)


def test_a_transformed_target_is_scored_and_corrected_in_its_units():
    source, target = signals(60, (8,), (7,))
    X, y = (with_trials(side, 3, 0.5, seed=1) for side in (source, target))
    pca = LayerwiseTransformer(PCA(3))
    fitted = TransformedTargetLayers(SoftMatching(), pca).fit(X, y)
    result = noise_corrected_score(fitted, X, y, random_state=0)
    components = fitted.transformer_.transform(y.trials).layers[0]
    transformed = LayerStack.from_trials([components], y.trials.stimuli)
    expected = noise_ceiling(transformed, random_state=0)[0]
    np.testing.assert_allclose(result.ceilings[0], expected)
    assert result.raw_score == pytest.approx(fitted.score(X, y))


def test_selected_units_keep_their_trials():
    source, target = signals(60, (8,), (9,))
    y = with_trials(target, 4, np.tile([0.5, 8.0, 8.0], 3), seed=1)
    selector = ReliabilitySelector(0.6, random_state=0)
    fitted = TransformedTargetLayers(SoftMatching(), selector).fit(source, y)
    result = noise_corrected_score(fitted, source, y, random_state=0)
    assert result.ceilings[0].shape == (3,)
    assert (result.ceilings[0] > 0.8).all()


def test_units_that_are_not_predicted_count_as_zero():
    (x, y), (X, Y), runs = two_runs(n_units=6)
    half = SoftMatching(mass=0.5).fit(X.layers[0], Y.layers[0])
    result = noise_corrected_score(half, X, Y, both_sides=True, runs=runs)
    predictions = [half.predict(side) for side in x]
    is_predicted = np.ptp(predictions[0], axis=0) > 0
    assert is_predicted.sum() == 3
    of_prediction = np.zeros(6)
    of_prediction[is_predicted] = spearman_brown(
        unit_correlations(*(side[:, is_predicted] for side in predictions))
    )
    roots = np.sqrt(of_prediction)
    roots[~is_predicted] = roots[is_predicted].mean()
    ceilings = roots * np.sqrt(spearman_brown(unit_correlations(*y)))
    np.testing.assert_array_equal(result.unit_scores[0][~is_predicted], 0)
    assert result.score == pytest.approx(result.raw_score / ceilings.mean())
    np.testing.assert_array_equal(
        np.isnan(result.prediction_reliabilities[0]), ~is_predicted
    )


def test_constant_units_are_left_out():
    source, target = signals(60, (8,), (7,))
    y = with_trials(target, 3, 0.5, seed=1)
    matching = SoftMatching().fit(source, list(y.layers))
    target[0][:, 2] = 0.1
    flat = with_trials(target, 3, np.where(np.arange(7) == 2, 0, 0.5), seed=1)
    for disjoint in (False, True):
        X = with_trials(source, 3, 0.5, seed=2)
        result = noise_corrected_score(
            matching, X, flat, disjoint_trials=disjoint, random_state=0
        )
        scores, ceilings = result.unit_scores[0], result.ceilings[0]
        assert np.flatnonzero(np.isnan(scores)).tolist() == [2]
        assert np.flatnonzero(np.isnan(ceilings)).tolist() == [2]
        assert result.score == pytest.approx(np.nanmean(scores) / np.nanmean(ceilings))


# -- linear maps only ----------------------------------------------------------------


def test_a_map_that_is_not_linear_is_an_error_if_it_matters():
    source, target = signals(60, (8,), (7,))
    X, y = (with_trials(side, 3, 0.5, seed=1) for side in (source, target))
    fitted = RegressorMapping(KNeighborsRegressor(3), random_state=0).fit(X, y)
    for settings in ({"both_sides": True}, {"disjoint_trials": True}):
        with pytest.raises(ValueError, match="reconstruction of y, layer 0 is not lin"):
            noise_corrected_score(fitted, X, y, **settings)
    assert noise_corrected_score(fitted, X, y).score > 0
    linear = RegressorMapping(random_state=0).fit(X, y)
    assert noise_corrected_score(linear, X, y, both_sides=True).score > 0


def test_a_transformer_of_the_target_that_is_not_linear_is_an_error():
    source, target = signals(60, (8,), (7,))
    y = with_trials(target, 3, 0.5, seed=1)
    squares = LayerwiseTransformer(FunctionTransformer(np.square))
    fitted = TransformedTargetLayers(SoftMatching(), squares).fit(source, y)
    with pytest.raises(ValueError, match="The transformer of y is not linear"):
        noise_corrected_score(fitted, source, y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_offsets_and_scales_change_nothing(dtype):
    source, target = signals(60, (8,), (7,))
    scores = []
    for scale, offset in ((1.0, 0.0), (1e6, 100.0)):
        X, y = (
            with_trials([scale * (layer + offset) for layer in side], 3, 0, seed=1)
            for side in (source, target)
        )
        rng = np.random.default_rng(0)
        X, y = (
            LayerStack.from_trials(
                [
                    (layer + 0.5 * scale * rng.normal(size=layer.shape)).astype(dtype)
                    for layer in side.trials.layers
                ],
                side.trials.stimuli,
            )
            for side in (X, y)
        )
        matching = SoftMatching().fit(X, y)
        scores.append(
            noise_corrected_score(matching, X, y, both_sides=True, random_state=0).score
        )
    assert scores[0] == pytest.approx(scores[1], rel=1e-3)


# -- errors and warnings -------------------------------------------------------------


def test_missing_or_unequal_trials_are_errors():
    source, target = signals(60, (8,), (7,))
    X, y = (with_trials(side, 3, 0.5, seed=1) for side in (source, target))
    matching = SoftMatching().fit(X, y)
    cases = (
        ((X, target), {}, "y has no trials, so its noise"),
        ((source, y), {"direction": "source"}, "X has no trials, so its noise"),
        ((source, y), {"both_sides": True}, "X has no trials, which `both_sides=True`"),
        ((X, target), {"direction": "source", "both_sides": True}, "y has no trials"),
        ((source, y), {"disjoint_trials": True}, "which `disjoint_trials=True` needs"),
        (
            (with_trials(source, 4, 0.5, seed=1), y),
            {"disjoint_trials": True},
            "X has 4 trials of the stimulus in row 0 and y 3",
        ),
        ((X, y), {"runs": {"target": [1]}}, "`runs` has the key 'target'"),
        ((X, y), {"runs": [1, 2]}, "`runs` has 2 runs, but y has 180 trials"),
        (
            (X, y),
            {"runs": {"y": [1]}, "disjoint_trials": True},
            "give `runs` once, not for each side",
        ),
        ((X[::-1], y), {}, "The stimuli differ"),
        ((X, y), {"direction": "both"}, "'direction' parameter"),
    )
    for sides, settings, message in cases:
        with pytest.raises(ValueError, match=message):
            noise_corrected_score(matching, *sides, **settings)


def test_estimators_that_cannot_predict_are_errors():
    source, target = signals(60, (8,), (7,))
    y = with_trials(target, 3, 0.5, seed=1)
    with pytest.raises(AttributeError, match="RSA has no `predict`"):
        noise_corrected_score(RSA().fit(source, y), source, y)
    with pytest.raises(NotFittedError):
        noise_corrected_score(SoftMatching(), source, y)


def test_a_layer_without_any_reliable_unit_is_an_error():
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(30, 4))
    y = LayerStack.from_trials(
        [np.concatenate([signal, -signal + 0.1 * rng.normal(size=(30, 4))])],
        np.tile(np.arange(30), 2),
    )
    matching = SoftMatching().fit(signal, rng.normal(size=(30, 4)))
    with pytest.raises(ValueError, match="No unit of y, layer 0 is reliable"):
        noise_corrected_score(matching, [signal], y)


def test_low_ceilings_are_warned_of_in_the_users_file():
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(500, 4))
    y = with_trials([0.1 * signal], 2, 1.0, seed=0)
    matching = SoftMatching().fit(signal, signal)
    with pytest.warns(UserWarning, match="mean ceiling of y, layer 0 is 0") as caught:
        noise_corrected_score(matching, [signal], y, random_state=0)
    assert caught[0].filename == __file__


def test_stimuli_that_were_trained_on_are_warned_of():
    source, target = signals(60, (8,), (7,))
    y = with_trials(target, 3, 0.5, seed=1)
    X = LayerStack(source, stimuli=y.stimuli)
    matching = SoftMatching().fit(X[:40], y[:40])
    with pytest.warns(LeakWarning, match="trained on"):
        noise_corrected_score(matching, X[30:], y[30:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        noise_corrected_score(matching, X[40:], y[40:])


def test_a_score_of_the_training_rows_says_that_it_is_not_held_out():
    source, target = signals(60, (8,), (7,))
    y = with_trials(target, 3, 2.0, seed=1)
    X = LayerStack(source, stimuli=y.stimuli)
    matching = SoftMatching().fit(X[:30], y[:30])
    in_sample = noise_corrected_score(matching, X[:30], y[:30], random_state=0)
    held_out = noise_corrected_score(matching, X[30:], y[30:], random_state=0)
    assert (in_sample.n_trained_on, held_out.n_trained_on) == (30, 0)
    assert "30 of the stimuli were trained on" in str(in_sample)
    assert "trained on" not in str(held_out)
    # The fit follows the noise, which is what the sentence is for.
    assert in_sample.score > held_out.score
    # Without labels in the fit nothing is known.
    plain = SoftMatching().fit(source[0][:30], target[0][:30])
    bare = noise_corrected_score(plain, source[0][:30], y[:30], random_state=0)
    assert bare.n_trained_on == 0


def test_it_is_the_ratio_of_means_of_corrected_scores_for_one_side():
    source, target = signals(80, (8, 9), (7, 6))
    y = with_trials(target, 4, 0.5, seed=1)
    mot = MultiLevelOT().fit(LayerStack(source)[:40], y[:40])
    X_test, y_test = LayerStack(source)[40:], y[40:]
    result = noise_corrected_score(mot, X_test, y_test, random_state=0)
    ratios = corrected_scores(
        mot.unit_scores(X_test, y_test), y_test, threshold=1e-6, random_state=0
    )
    assert ratios.n_left_out == [0, 0]
    assert ratios.ratio_of_means == pytest.approx(result.score)


# -- habits --------------------------------------------------------------------------


def test_the_result_prints_what_it_shows_and_does_not_show():
    (_, _), (X, Y), _ = two_runs()
    matching = SoftMatching().fit(X[:20], Y[:20])
    plain, both, apart = (
        noise_corrected_score(matching, X[20:], Y[20:], random_state=0, **settings)
        for settings in ({}, {"both_sides": True}, {"disjoint_trials": True})
    )
    for result in (plain, both, apart):
        assert f"{result.score:.3f} after correction" in str(result)
        assert "does not show how well a fit to noiseless training" in str(result)
    assert "and of its reconstruction" in str(both)
    assert "and of its reconstruction" not in str(plain)
    assert "would raise it" in str(plain)
    assert "would raise it" not in str(apart)


def test_a_seed_gives_the_same_score():
    source, target = signals(40, (8,), (7,))
    X, y = (with_trials(side, 4, 1.0, seed=1) for side in (source, target))
    matching = SoftMatching().fit(X, y)
    for settings in ({"both_sides": True}, {"disjoint_trials": True}):
        first, again, other = (
            noise_corrected_score(
                matching, X, y, n_halves=2, random_state=seed, **settings
            ).score
            for seed in (0, 0, 1)
        )
        assert first == again != other


# -- names and tables ------------------------------------------------------------------


def named_sides():
    """Return the training and the held-out part of two recordings with names."""
    rng = np.random.default_rng(0)
    layers = signals(60, (5, 4), (3, 6))
    labels = np.tile(np.arange(60), 3)
    names = [["V1", "V4"], ["first", "second"]], [[list("abcde"), None], None]
    return [
        LayerStack.from_trials(
            {
                name: np.tile(layer, (3, 1))
                + 0.5 * rng.normal(size=(180, layer.shape[1]))
                for name, layer in zip(layer_names, side, strict=True)
            },
            labels,
            unit_names=unit_names,
        )
        for side, layer_names, unit_names in zip(layers, *names, strict=True)
    ]


@pytest.mark.parametrize("direction", ["target", "source"])
@pytest.mark.parametrize("both_sides", [False, True])
def test_tables_name_the_layers_and_units_of_the_scored_side(direction, both_sides):
    X, y = named_sides()
    mot = MultiLevelOT().fit(X[:40], y[:40])
    result = noise_corrected_score(
        mot,
        X[40:],
        y[40:],
        direction=direction,
        both_sides=both_sides,
        random_state=0,
    )
    if direction == "target":
        names, widths, units = ["first", "second"], (3, 6), [*range(3), *range(6)]
    else:
        names, widths, units = ["V1", "V4"], (5, 4), [*"abcde", *range(4)]
    assert result.layer_names == result.array_names == names
    by_unit = result.to_frame("units")
    assert by_unit["layer"].tolist() == np.repeat(names, widths).tolist()
    assert by_unit["unit"].tolist() == units
    assert ("prediction_reliability" in by_unit) == both_sides
    by_layer = result.to_frame("layers").set_index("layer")
    grouped = by_unit.groupby("layer", sort=False)[["score", "ceiling"]].mean()
    np.testing.assert_allclose(by_layer["raw_score"], grouped["score"])
    ratios = grouped["score"] / grouped["ceiling"]
    np.testing.assert_allclose(by_layer["score"], ratios)
    (row,) = result.to_frame().to_dict("records")
    assert row["score"] == result.score == pytest.approx(ratios.mean())
    assert row["direction"] == direction
    for table in (None, "layers", "units"):
        assert_survives_files(result.to_frame(table))


def test_units_that_a_selector_keeps_have_their_numbers_from_before():
    X, y = named_sides()
    selector = UnitSubsampler(fraction=0.5, random_state=0)
    model = TransformedTargetLayers(MultiLevelOT(), selector).fit(X[:40], y[:40])
    result = noise_corrected_score(model, X[40:], y[40:], random_state=0)
    chosen = selector.fit(y).units_
    assert result.unit_names == [units.tolist() for units in chosen]


def test_layers_of_layers_are_named_by_paths():
    X, y = named_sides()
    nested = LayerStack({"brain": y, "again": y})
    mot = MultiLevelOT(MultiLevelOT()).fit(LayerStack([X, X])[:40], nested[:40])
    result = noise_corrected_score(
        mot, LayerStack([X, X])[40:], nested[40:], random_state=0
    )
    assert result.layer_names == ["brain", "again"]
    assert result.array_names == [
        f"{network}/{layer}"
        for network in ("brain", "again")
        for layer in ("first", "second")
    ]
    assert result.to_frame("layers")["layer"].tolist() == ["brain", "again"]
    paths = result.to_frame("units")["layer"].unique().tolist()
    assert paths == result.array_names


def test_layers_that_are_reconstructed_as_one_array_have_the_name_of_both():
    X, y = named_sides()
    nested = LayerStack({"brain": y, "again": y})
    mot = MultiLevelOT(SoftMatching()).fit(LayerStack([X, X])[:40], nested[:40])
    result = noise_corrected_score(
        mot, LayerStack([X, X])[40:], nested[40:], random_state=0
    )
    assert result.array_names == result.layer_names == ["brain", "again"]
    units = result.to_frame("units")
    assert units["layer"].tolist() == ["brain"] * 9 + ["again"] * 9
    assert units["unit"].tolist() == 2 * [*range(3), *range(6)]

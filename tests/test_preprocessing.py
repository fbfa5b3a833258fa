import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, clone, is_regressor
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from skmot import LayerStack, MultiLevelOT, SoftMatching
from skmot.metrics import noise_ceiling, source_score, target_score
from skmot.preprocessing import (
    LayerwiseTransformer,
    ReliabilitySelector,
    TransformedTargetLayers,
    UnitSubsampler,
    average_repeats,
)
from tests.networks import random_networks


@pytest.fixture
def stack():
    layers, _ = random_networks()
    return LayerStack(layers, names=["V1", "V2", "V4"], stimuli=np.arange(60) + 5)


def test_layers_are_transformed_each_by_a_clone_of_its_own(stack):
    transformer = LayerwiseTransformer(PCA(n_components=3))
    transformed = transformer.fit_transform(stack)
    assert transformed.names == stack.names
    np.testing.assert_array_equal(transformed.stimuli, stack.stimuli)
    for given, got in zip(stack.layers, transformed.layers, strict=True):
        np.testing.assert_allclose(got, PCA(n_components=3).fit_transform(given))
    assert not hasattr(transformer.transformer, "components_")
    assert [pca.n_features_in_ for pca in transformer.transformers_] == [7, 12, 5]


def test_training_statistics_are_used_on_other_stimuli(stack):
    transformer = LayerwiseTransformer(StandardScaler()).fit(stack[:40])
    transformed = transformer.transform(stack[40:])
    for given, got in zip(stack.layers, transformed.layers, strict=True):
        expected = (given[40:] - given[:40].mean(axis=0)) / given[:40].std(axis=0)
        np.testing.assert_allclose(got, expected)


def test_layers_come_back_as_the_kind_they_came(stack):
    transformer = LayerwiseTransformer(StandardScaler())
    listed = transformer.fit_transform(list(stack.layers))
    assert isinstance(listed, list)
    named = transformer.fit_transform({"a": stack.layers[0]})
    assert list(named) == ["a"]
    array = transformer.fit_transform(stack.layers[0])
    assert isinstance(array, np.ndarray)
    # What was fitted to a stack transforms a list of the same layers, as a list.
    assert isinstance(transformer.fit(stack).transform(list(stack.layers)), list)


def test_stacks_within_stacks_are_transformed_at_the_bottom(stack):
    nested = LayerStack([stack, stack[:, ...]], names=["run 1", "run 2"])
    transformed = LayerwiseTransformer(StandardScaler()).fit_transform(nested)
    np.testing.assert_allclose(
        transformed.layer("run 2").layer("V2"),
        StandardScaler().fit_transform(stack.layer("V2")),
    )
    kept = UnitSubsampler(fraction=0.5, random_state=0).fit(nested)
    assert kept.transform(nested).layer("run 1").widths == (4, 6, 2)


def test_a_target_reaches_every_transformer(stack):
    y = stack.layer("V1")[:, 0] + stack.layer("V4")[:, 2]
    transformer = LayerwiseTransformer(SelectKBest(f_regression, k=2)).fit(stack, y)
    for layer, fitted in zip(stack.layers, transformer.transformers_, strict=True):
        expected = SelectKBest(f_regression, k=2).fit(layer, y).get_support()
        np.testing.assert_array_equal(fitted.get_support(), expected)


def test_set_output_changes_nothing(stack):
    transformer = LayerwiseTransformer(StandardScaler())
    assert transformer.set_output(transform="pandas") is transformer
    assert isinstance(transformer.fit_transform(stack), LayerStack)
    assert isinstance(transformer.fit_transform(stack.layers[0]), np.ndarray)


def test_subsampled_units_are_units_of_the_layer(stack):
    subsampler = UnitSubsampler(fraction=0.5, random_state=0).fit(stack)
    transformed = subsampler.transform(stack)
    assert transformed.widths == (4, 6, 2)
    for given, got, units in zip(
        stack.layers, transformed.layers, subsampler.units_, strict=True
    ):
        np.testing.assert_array_equal(got, given[:, units])
        assert len(set(units.tolist())) == len(units)
        assert list(units) == sorted(units)


def test_the_choice_of_units_follows_the_seed(stack):
    def chosen(seed):
        subsampler = UnitSubsampler(fraction=0.5, random_state=seed).fit(stack)
        return [units.tolist() for units in subsampler.units_]

    assert chosen(0) == chosen(0)
    assert len({str(chosen(seed)) for seed in range(10)}) > 5


def test_every_unit_is_as_likely():
    stack = LayerStack([np.random.default_rng(0).normal(size=(3, 10))])
    counts = np.zeros(10)
    for seed in range(500):
        (units,) = UnitSubsampler(fraction=0.3, random_state=seed).fit(stack).units_
        counts[units] += 1
    # 150 expected; binomial standard deviation 10.2.
    assert np.all(np.abs(counts - 150) < 5 * 10.2)


def test_at_least_one_unit_and_at_most_all_are_kept(stack):
    tiny = UnitSubsampler(fraction=1e-6, random_state=0).fit_transform(stack)
    assert tiny.widths == (1, 1, 1)
    everything = UnitSubsampler(fraction=1.0).fit_transform(stack)
    for given, got in zip(stack.layers, everything.layers, strict=True):
        np.testing.assert_array_equal(given, got)


@pytest.mark.parametrize("fraction", [0, -0.5, 1.5, "half"])
def test_fractions_that_are_none_are_refused(stack, fraction):
    with pytest.raises(ValueError, match="'fraction' parameter"):
        UnitSubsampler(fraction=fraction).fit(stack)


@pytest.mark.parametrize(
    "transformer", [UnitSubsampler(), LayerwiseTransformer(StandardScaler())]
)
def test_bad_input_is_refused_with_the_layer_s_name(stack, transformer):
    transformer = clone(transformer)
    with pytest.raises(NotFittedError):
        transformer.transform(stack)
    transformer.fit(stack)
    with pytest.raises(ValueError, match="expecting 24 features as input"):
        transformer.transform(LayerStack(list(stack.layers)[:2]))
    with pytest.raises(ValueError, match=r"'V4', 'V2', 'V1'"):
        transformer.transform(
            LayerStack(dict(zip(["V4", "V2", "V1"], stack.layers, strict=True)))
        )
    broken = [layer.copy() for layer in stack.layers]
    broken[1][3, 2] = np.nan
    with pytest.raises(ValueError, match=r"NaN.*layer 'V2'"):
        transformer.transform(LayerStack(broken, names=stack.names))
    with pytest.raises(TypeError, match="Sparse data was passed"):
        transformer.fit([csr_array(np.eye(3))])


def test_a_pipeline_keeps_the_layers_to_the_end(stack):
    _, target = random_networks()
    y = LayerStack(target)
    pipeline = make_pipeline(
        LayerwiseTransformer(StandardScaler()),
        UnitSubsampler(fraction=0.8, random_state=0),
        MultiLevelOT(),
    ).fit(stack[:40], y[:40])
    by_hand = UnitSubsampler(fraction=0.8, random_state=0).fit(stack[:40])
    mot = MultiLevelOT().fit(by_hand.transform(stack[:40]), y[:40])
    held_out = by_hand.transform(stack[40:]), y[40:]
    assert pipeline.score(stack[40:], y[40:]) == pytest.approx(mot.score(*held_out))
    assert target_score(pipeline, stack[40:], y[40:]) == pytest.approx(
        mot.score(*held_out)
    )
    assert source_score(pipeline, stack[40:], y[40:]) == pytest.approx(
        mot.inverse_score(*held_out)
    )


def test_a_transformer_that_forgets_the_layers_is_caught(stack):
    _, target = random_networks()
    y = LayerStack(target)
    with pytest.raises(ValueError, match="without `LayerwiseTransformer`"):
        make_pipeline(StandardScaler(), MultiLevelOT()).fit(stack, y)


# -- inverse transforms ------------------------------------------------------------


def test_inverse_transform_brings_every_layer_back(stack):
    scaler = LayerwiseTransformer(StandardScaler()).fit(stack[:40])
    back = scaler.inverse_transform(scaler.transform(stack[40:]))
    assert back.names == stack.names
    assert back.stimuli.tolist() == stack.stimuli[40:].tolist()
    for given, got in zip(stack[40:].layers, back.layers, strict=True):
        np.testing.assert_allclose(got, given)
    listed = scaler.inverse_transform(list(scaler.transform(stack).layers))
    assert isinstance(listed, list)
    single = LayerwiseTransformer(PCA(2)).fit(stack.layers[0])
    expected = PCA(2).fit(stack.layers[0])
    projected = expected.transform(stack.layers[0])
    np.testing.assert_allclose(
        single.inverse_transform(single.transform(stack.layers[0])),
        expected.inverse_transform(projected),
    )


def test_stacks_within_stacks_come_back(stack):
    nested = LayerStack({"run 1": stack, "run 2": stack[:, ...]})
    scaler = LayerwiseTransformer(StandardScaler()).fit(nested)
    back = scaler.inverse_transform(scaler.transform(nested))
    np.testing.assert_allclose(
        back.layer("run 2").layer("V2"), stack.layer("V2"), atol=1e-12
    )


def test_inverse_transform_is_there_if_the_transformer_has_one():
    assert hasattr(LayerwiseTransformer(PCA()), "inverse_transform")
    with pytest.raises(AttributeError, match="no attribute 'inverse_transform'"):
        _ = LayerwiseTransformer(Normalizer()).inverse_transform


def test_layers_that_were_not_made_here_do_not_come_back(stack):
    scaler = LayerwiseTransformer(StandardScaler())
    with pytest.raises(NotFittedError):
        scaler.inverse_transform(stack)
    scaler.fit(stack)
    with pytest.raises(ValueError, match=r"X has 2 layer\(s\).*fitted to 3"):
        scaler.inverse_transform(list(stack.layers)[:2])
    with pytest.raises(ValueError, match=r"\['V4', 'V2', 'V1'\].*in that order"):
        scaler.inverse_transform(
            dict(zip(["V4", "V2", "V1"], stack.layers, strict=True))
        )
    wider = [stack.layers[0], stack.layers[2], stack.layers[2]]
    with pytest.raises(ValueError, match=r"found in X, layer 'V2'"):
        scaler.inverse_transform(LayerStack(wider, names=stack.names))


# -- averaging repeats -------------------------------------------------------------


def test_rows_of_a_label_are_averaged_in_order_of_appearance(stack):
    labels = np.array(["cat", "owl", "cat", "ant", "owl", "cat"])
    averages = average_repeats(LayerStack(stack[:6], stimuli=labels))
    assert averages.stimuli.tolist() == ["cat", "owl", "ant"]
    assert averages.names == stack.names
    for given, got in zip(stack.layers, averages.layers, strict=True):
        expected = [given[[0, 2, 5]], given[[1, 4]], given[[3]]]
        np.testing.assert_allclose(got, [part.mean(axis=0) for part in expected])


def test_groups_take_the_place_of_labels(stack):
    groups = [("a", 1), ("b", 1)] * 30
    averages = average_repeats(stack, groups)
    assert averages.stimuli.tolist() == [("a", 1), ("b", 1)]
    np.testing.assert_allclose(
        averages.layer("V2")[1], stack.layer("V2")[1::2].mean(axis=0)
    )
    bare = average_repeats(stack.layers[0], groups)
    np.testing.assert_allclose(bare.layers[0], averages.layers[0])


def test_stacks_within_stacks_are_averaged_at_the_bottom(stack):
    nested = LayerStack({"run": stack}, stimuli=np.arange(60) // 3)
    averages = average_repeats(nested)
    assert averages.layer("run").names == stack.names
    assert averages.layer("run").stimuli.tolist() == list(range(20))
    np.testing.assert_allclose(
        averages.layer("run").layer("V4")[7], stack.layer("V4")[21:24].mean(axis=0)
    )


def test_averages_keep_precision_and_add_in_float64():
    layer = np.full((10_000, 1), 0.1, dtype=np.float32)
    layer[::2] += np.float32(1e-3)
    (average,) = average_repeats(LayerStack([layer]), np.zeros(10_000)).layers
    assert average.dtype == np.float32
    assert average[0, 0] == np.float32(layer.astype(np.float64).mean())
    assert average_repeats([layer.astype(np.float64)], range(10_000)).dtype == float


def test_constant_units_stay_constant():
    # (0.1 + 0.1 + 0.1) / 3 is not 0.1.
    layer = np.column_stack([np.full(7, 0.1), np.arange(7)])
    averages = average_repeats([layer], [0, 0, 0, 1, 2, 2, 1])
    assert set(averages.layers[0][:, 0].tolist()) == {0.1}


def test_layers_are_averaged_one_at_a_time():
    layers = [np.ones((400, 500)) for _ in range(20)]
    shuffled = LayerStack(layers)[np.random.default_rng(0).permutation(400)]
    groups = np.arange(400) % 4
    average_repeats([np.ones((2, 2))], [0, 0])
    tracemalloc.start()
    average_repeats(shuffled, groups)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A layer, and what averaging it takes; all twenty at once would be 32 MB and more.
    assert peak < 7 * layers[0].nbytes


def test_what_cannot_be_averaged_is_an_error(stack):
    with pytest.raises(ValueError, match=r"no stimulus labels.*give `groups`"):
        average_repeats(stack.with_stimuli(None))
    with pytest.raises(ValueError, match=r"`groups` has 59 labels.* 60 trials"):
        average_repeats(stack, np.zeros(59))
    broken = [layer.copy() for layer in stack.layers]
    broken[2][3, 3] = np.nan
    with pytest.raises(ValueError, match=r"NaN.*layer 'V4'"):
        average_repeats(LayerStack(broken, names=stack.names), np.zeros(60))


# -- reliable units ----------------------------------------------------------------


def noisy_trials(n_stimuli=200, n_repeats=4, seed=0):
    """Two layers: units of reliability near 0.97 and units of none, in turn."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(n_stimuli, 10)) * np.tile([3, 0], 5)
    trials = np.tile(signal, (n_repeats, 1))
    trials = trials + rng.normal(size=trials.shape)
    labels = np.tile(np.arange(n_stimuli), n_repeats)
    return LayerStack({"V1": trials[:, :6], "V2": trials[:, 6:]}, stimuli=labels)


def test_units_that_repeat_are_kept():
    trials = noisy_trials()
    selector = ReliabilitySelector(threshold=0.6, random_state=0).fit(trials)
    assert [units.tolist() for units in selector.units_] == [[0, 2, 4], [0, 2]]
    kept = selector.transform(trials)
    assert kept.stimuli.tolist() == trials.stimuli.tolist()
    np.testing.assert_array_equal(kept.layer("V2"), trials.layer("V2")[:, [0, 2]])


def test_reliability_is_the_square_of_the_noise_ceiling():
    trials = noisy_trials()
    selector = ReliabilitySelector(random_state=0).fit(trials)
    ceilings = noise_ceiling(trials.layer("V1"), trials.stimuli, random_state=0)
    np.testing.assert_allclose(selector.reliabilities_[0], ceilings**2)
    # Four repeats of a signal of variance 9 under noise of variance 1.
    assert selector.reliabilities_[1][::2] == pytest.approx(1 / (1 + 1 / 36), abs=0.02)


def test_only_training_repeats_count():
    trials = noisy_trials()
    broken = trials.layer("V1").copy()
    broken[400:, 0] = np.random.default_rng(1).normal(size=400)
    stack = LayerStack({"V1": broken}, stimuli=trials.stimuli)
    early, late = (
        ReliabilitySelector(threshold=0.6, random_state=0).fit(part)
        for part in (stack[:400], stack[400:])
    )
    assert early.units_[0].tolist() == [0, 2, 4]
    assert late.units_[0].tolist() == [2, 4]


def test_given_reliabilities_need_no_labels(stack):
    bare = stack.with_stimuli(None)
    given = [np.linspace(0, 1, width) for width in bare.widths]
    given[1][3] = np.nan
    kept = ReliabilitySelector(0.5, reliabilities=given).fit_transform(bare)
    assert kept.widths == (4, 6, 3)
    np.testing.assert_array_equal(kept.layer("V4"), bare.layer("V4")[:, 2:])
    single = ReliabilitySelector(0.5, reliabilities=given[0]).fit(bare.layers[0])
    assert single.units_[0].tolist() == [3, 4, 5, 6]
    listed = ReliabilitySelector(0.5, reliabilities=given[2].tolist())
    assert listed.fit([bare.layers[2]]).units_[0].tolist() == [2, 3, 4]
    everything = ReliabilitySelector(reliabilities=1.0).fit_transform(bare)
    assert everything.widths == bare.widths


def test_units_of_stacks_within_stacks_are_selected(stack):
    given = [np.linspace(0, 1, width) for width in stack.widths]
    nested = LayerStack({"a": stack, "b": stack.layers[0]})
    kept = ReliabilitySelector(0.5, reliabilities=[given, given[0]])
    kept.fit(nested)
    assert kept.transform(nested).layer("a").widths == (4, 6, 3)
    assert kept.units_[1].tolist() == [3, 4, 5, 6]
    assert [len(part) for part in kept.reliabilities_[0]] == [7, 12, 5]
    twice = LayerStack([noisy_trials(), noisy_trials()])
    estimated = ReliabilitySelector(0.6, random_state=0).fit(twice)
    assert [units.tolist() for units in estimated.units_[1]] == [[0, 2, 4], [0, 2]]


def test_constant_units_are_never_kept():
    trials = noisy_trials()
    layer = trials.layer("V1").copy()
    layer[:, 2] = 0.1
    stack = LayerStack([layer], stimuli=trials.stimuli)
    assert 2 not in ReliabilitySelector(-1.0).fit(stack).units_[0]


def test_what_tells_no_reliability_is_an_error(stack):
    trials = noisy_trials()
    with pytest.raises(ValueError, match=r"no stimulus labels.*`reliabilities`"):
        ReliabilitySelector().fit(stack.with_stimuli(None))
    with pytest.raises(ValueError, match="0 of 60 stimuli has two trials"):
        ReliabilitySelector().fit(stack)
    with pytest.raises(ValueError, match=r"No unit of X, layer 'V1'.*at least 0\.99"):
        ReliabilitySelector(0.99).fit(trials)
    with pytest.raises(ValueError, match="2 arrays for 3 layer"):
        ReliabilitySelector(reliabilities=[np.ones(7), np.ones(12)]).fit(stack)
    with pytest.raises(ValueError, match=r"of X, layer 'V4' has the shape \(7,\)"):
        ReliabilitySelector(reliabilities=[np.ones(7), np.ones(12), np.ones(7)]).fit(
            stack
        )


def test_selection_follows_repeats_through_a_search():
    source, target = noisy_trials(seed=0), noisy_trials(seed=0)
    pipeline = make_pipeline(
        ReliabilitySelector(random_state=0),
        TransformedTargetLayers(MultiLevelOT(), ReliabilitySelector(0.6)),
    )
    search = GridSearchCV(
        pipeline,
        {"reliabilityselector__threshold": [0.0, 0.6]},
        cv=GroupKFold(4),
        error_score="raise",
    ).fit(source, target, groups=source.stimuli)
    best = search.best_estimator_
    assert [len(units) for units in best[0].units_] == [3, 2]
    assert [len(units) for units in best[1].transformer_.units_] == [3, 2]


# -- transformed targets -----------------------------------------------------------


@pytest.fixture
def pair(stack):
    source, _ = random_networks()
    _, target = random_networks()
    names = ["a", "b", "c", "d"]
    return (
        LayerStack(source, names=stack.names, stimuli=stack.stimuli),
        LayerStack(target, names=names, stimuli=stack.stimuli),
    )


def test_the_target_is_transformed_layer_by_layer_and_brought_back(pair):
    X, y = pair
    wrapped = TransformedTargetLayers(
        MultiLevelOT(), LayerwiseTransformer(PCA(n_components=3))
    ).fit(X[:40], y[:40])
    pcas = [PCA(n_components=3).fit(layer) for layer in y[:40].layers]
    projected = [
        pca.transform(layer) for pca, layer in zip(pcas, y.layers, strict=True)
    ]
    mot = MultiLevelOT().fit(X[:40], [layer[:40] for layer in projected])
    predicted = mot.predict(X[40:])
    held_out = [layer[40:] for layer in projected]
    found = wrapped.predict(X[40:])
    assert found.names == y.names
    assert found.stimuli.tolist() == y.stimuli[40:].tolist()
    for pca, expected, got in zip(pcas, predicted, found.layers, strict=True):
        np.testing.assert_allclose(got, pca.inverse_transform(expected))
    test = X[40:], y[40:]
    assert wrapped.score(*test) == pytest.approx(mot.score(X[40:], held_out))
    assert wrapped.inverse_score(*test) == pytest.approx(
        mot.inverse_score(X[40:], held_out)
    )
    np.testing.assert_allclose(
        wrapped.layer_scores(*test, direction="source"),
        mot.layer_scores(X[40:], held_out, direction="source"),
    )
    np.testing.assert_allclose(
        np.concatenate(wrapped.unit_scores(*test)),
        np.concatenate(mot.unit_scores(X[40:], held_out)),
    )
    np.testing.assert_allclose(
        np.asarray(wrapped.inverse_predict(y[40:])),
        np.asarray(mot.inverse_predict(held_out)),
    )
    assert wrapped.held_out_cost(*test) == pytest.approx(
        mot.held_out_cost(X[40:], held_out)
    )
    assert wrapped.cost_ == pytest.approx(mot.cost_)
    assert wrapped.n_features_in_ == 24


def test_scaling_the_target_changes_no_score_and_no_prediction(pair):
    X, y = pair
    plain = MultiLevelOT().fit(X[:40], y[:40])
    scaled = TransformedTargetLayers(
        MultiLevelOT(), LayerwiseTransformer(StandardScaler())
    ).fit(X[:40], y[:40])
    assert scaled.score(X[40:], y[40:]) == pytest.approx(plain.score(X[40:], y[40:]))
    np.testing.assert_allclose(
        np.asarray(scaled.predict(X)), np.asarray(plain.predict(X))
    )


def test_without_an_inverse_predictions_are_in_the_transformed_space(pair):
    X, y = pair
    wrapped = TransformedTargetLayers(
        MultiLevelOT(), UnitSubsampler(0.5, random_state=0)
    ).fit(X[:40], y[:40])
    kept = UnitSubsampler(0.5, random_state=0).fit(y[:40])
    predicted = wrapped.predict(X[40:])
    assert predicted.widths == kept.transform(y).widths
    expected = MultiLevelOT().fit(X[:40], kept.transform(y[:40]))
    assert wrapped.score(X[40:], y[40:]) == pytest.approx(
        expected.score(X[40:], kept.transform(y[40:]))
    )


def test_predictions_are_of_the_kind_of_the_target(pair):
    X, y = pair
    scaler = LayerwiseTransformer(StandardScaler())
    layers = list(X.layers)
    named = dict(zip(y.names, y.layers, strict=True))
    wrapped = TransformedTargetLayers(MultiLevelOT(), scaler)
    assert isinstance(wrapped.fit(layers, list(y.layers)).predict(layers), list)
    assert list(wrapped.fit(layers, named).predict(layers)) == list(named)
    frame = pd.concat({k: pd.DataFrame(v) for k, v in named.items()}, axis=1)
    found = wrapped.fit(layers, frame).predict(layers)
    pd.testing.assert_index_equal(found.columns, frame.columns)
    matching = TransformedTargetLayers(SoftMatching(), scaler)
    array = matching.fit(layers[0], y.layers[0])
    assert array.predict(layers[0]).shape == (60, 6)
    assert array.unit_scores(layers[0], y.layers[0]).shape == (6,)
    assert matching.fit(layers[0], y.layers[0][:, 0]).predict(layers[0]).shape == (60,)
    halved = TransformedTargetLayers(SoftMatching(), UnitSubsampler(0.5))
    assert isinstance(halved.fit(layers, frame).predict(layers), LayerStack)
    assert halved.fit(layers[0], y.layers[0]).predict(layers[0]).shape == (60, 3)


def test_folds_of_a_search_are_those_of_a_loop(pair):
    X, y = pair
    wrapped = TransformedTargetLayers(
        MultiLevelOT(), LayerwiseTransformer(PCA(n_components=2))
    )
    cv = KFold(3, shuffle=True, random_state=0)
    expected = []
    for train, test in cv.split(np.empty((60, 1))):
        pcas = LayerwiseTransformer(PCA(n_components=2)).fit(y[train])
        mot = MultiLevelOT().fit(X[train], pcas.transform(y[train]))
        expected.append(mot.score(X[test], pcas.transform(y[test])))
    found = cross_validate(wrapped, X, y, cv=cv, error_score="raise")["test_score"]
    np.testing.assert_allclose(found, expected)
    grid = {
        "transformer__transformer__n_components": [2, 3],
        "regressor__strategy": ["transport", "pairwise_best"],
    }
    search = GridSearchCV(wrapped, grid, cv=cv, error_score="raise").fit(X, y)
    row = search.cv_results_["params"].index(
        {
            "transformer__transformer__n_components": 2,
            "regressor__strategy": "transport",
        }
    )
    assert search.cv_results_["mean_test_score"][row] == pytest.approx(
        np.mean(expected)
    )


def test_a_pipeline_may_be_the_regressor(pair):
    X, y = pair
    scaler = LayerwiseTransformer(StandardScaler())
    inside = TransformedTargetLayers(
        make_pipeline(clone(scaler), MultiLevelOT()), scaler
    ).fit(X, y)
    outside = make_pipeline(
        clone(scaler), TransformedTargetLayers(MultiLevelOT(), scaler)
    ).fit(X, y)
    assert inside.score(X, y) == pytest.approx(outside.score(X, y))
    assert source_score(outside, X, y) == pytest.approx(
        MultiLevelOT().fit(X, y).inverse_score(X, y)
    )
    assert not hasattr(inside, "inverse_predict")


def test_a_regressor_without_a_map_shows_none(pair):
    class Cost(BaseEstimator):
        def fit(self, X, y):
            self.cost_ = float(np.asarray(y).sum())
            return self

    X, y = pair
    scaler = LayerwiseTransformer(StandardScaler())
    wrapped = TransformedTargetLayers(Cost(), scaler).fit(X, y)
    assert wrapped.cost_ == pytest.approx(0, abs=1e-9)
    for method in ("predict", "inverse_predict", "score", "unit_scores"):
        assert not hasattr(wrapped, method)
    assert not is_regressor(wrapped)
    assert is_regressor(TransformedTargetLayers(MultiLevelOT(), scaler))


def test_bad_targets_are_refused(pair):
    X, y = pair
    wrapped = TransformedTargetLayers(
        MultiLevelOT(), LayerwiseTransformer(StandardScaler())
    )
    with pytest.raises(NotFittedError):
        wrapped.predict(X)
    with pytest.raises(NotFittedError):
        wrapped.score(X, y)
    with pytest.raises(ValueError, match="the target y is None"):
        wrapped.fit(X, None)
    broken = [layer.copy() for layer in y.layers]
    broken[1][3, 2] = np.nan
    with pytest.raises(ValueError, match=r"NaN.*found in y, layer 'b'"):
        wrapped.fit(X, LayerStack(broken, names=y.names))
    with pytest.raises(ValueError, match="row 0 is"):
        wrapped.fit(X, y[::-1])
    with pytest.raises(ValueError, match="60 stimuli and y has 59"):
        wrapped.fit(X.with_stimuli(None), y[:59])
    with pytest.raises(TypeError, match="LayerwiseTransformer"):
        TransformedTargetLayers(MultiLevelOT(), StandardScaler()).fit(X, y)
    wrapped.fit(X, y)
    with pytest.raises(ValueError, match="y has 23 features"):
        wrapped.score(X, LayerStack([*list(y.layers)[:2], y.layers[3]]))
    with pytest.raises(ValueError, match="sample_weight is not supported"):
        wrapped.score(X, y, sample_weight=np.ones(60))

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmot import LayerStack, MultiLevelOT
from skmot.metrics import source_score, target_score
from skmot.preprocessing import LayerwiseTransformer, UnitSubsampler
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

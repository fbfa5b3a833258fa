import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from skmot import LayerStack, MultiLevelOT
from skmot.metrics import source_score, target_score
from skmot.preprocessing import LayerwiseTransformer, UnitSubsampler
from tests.networks import random_networks


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
        transformer.fit(csr_array(np.eye(3)))


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


class Picky(StandardScaler):
    """A transformer that refuses to transform layers of one width."""

    def transform(self, X):
        if X.shape[1] == 5:
            raise TypeError("five units")
        return super().transform(X)


def test_errors_of_transformers_name_the_layer(stack):
    narrow = stack.select_units([None, np.arange(5), None])
    where = r"\(found in X, layer 'V2'\)"
    with pytest.raises(ValueError, match=rf"n_components=6 .*{where}"):
        LayerwiseTransformer(PCA(6)).fit(narrow)
    with pytest.raises(TypeError, match=f"five units {where}"):
        LayerwiseTransformer(Picky()).fit(narrow).transform(narrow)

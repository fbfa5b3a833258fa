import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, clone, is_regressor
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from skmot import RSA, LayerStack, MultiLevelOT, SoftMatching
from skmot.metrics import source_score
from skmot.preprocessing import (
    FiniteUnitSelector,
    LayerwiseTransformer,
    TransformedTargetLayers,
    UnitSubsampler,
)
from tests.networks import random_networks


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


def missing_unit(y):
    """The target without the first unit of 'b', and with a NaN in it."""
    layers = [layer.copy() for layer in y.layers]
    layers[1][:, 0] = np.nan
    broken = LayerStack(layers, names=y.names, stimuli=y.stimuli)
    return y.select_units({"b": np.arange(1, layers[1].shape[1])}), broken


def test_a_target_may_miss_units_that_the_transformer_leaves_out(pair):
    X, y = pair
    finite, broken = missing_unit(y)
    expected = MultiLevelOT().fit(X[:40], finite[:40])
    scaled = LayerwiseTransformer(StandardScaler())
    for transformer in (
        FiniteUnitSelector(),
        make_pipeline("passthrough", FiniteUnitSelector(), scaled),
        make_pipeline(make_pipeline(FiniteUnitSelector()), scaled),
    ):
        wrapped = TransformedTargetLayers(MultiLevelOT(), transformer)
        wrapped.fit(X[:40], broken[:40])
        assert wrapped.score(X[40:], broken[40:]) == pytest.approx(
            expected.score(X[40:], finite[40:])
        )
        assert wrapped.inverse_score(X[40:], broken[40:]) == pytest.approx(
            expected.inverse_score(X[40:], finite[40:])
        )
    predicted = TransformedTargetLayers(MultiLevelOT(), FiniteUnitSelector())
    assert predicted.fit(X, broken).predict(X).widths == finite.widths
    for transformer in (
        scaled,
        make_pipeline(scaled, FiniteUnitSelector()),
        make_pipeline("passthrough"),
    ):
        wrapped = TransformedTargetLayers(MultiLevelOT(), transformer)
        with pytest.raises(ValueError, match=r"NaN.*of y, layer 'b' have missing"):
            wrapped.fit(X, broken)


def test_errors_of_the_transformer_say_that_it_was_given_the_target(pair):
    X, y = pair
    _, broken = missing_unit(y)
    wrapped = TransformedTargetLayers(MultiLevelOT(), FiniteUnitSelector()).fit(X, y)
    with pytest.raises(ValueError, match=r"^Input contains NaN.*layer 'b'") as error:
        wrapped.score(X, broken)
    assert "y" in error.value.__notes__[0]
    broken = LayerStack({"a": np.full((60, 2), np.nan)}, stimuli=y.stimuli)
    with pytest.raises(ValueError, match="Each of the 2") as error:
        wrapped.fit(X, broken)
    assert "y" in error.value.__notes__[0]


def test_nan_is_allowed_in_the_source_if_the_regressor_allows_it(pair):
    scaler = LayerwiseTransformer(StandardScaler())
    selecting = make_pipeline(FiniteUnitSelector(), MultiLevelOT())
    for regressor, allowed in ((MultiLevelOT(), False), (selecting, True)):
        wrapped = TransformedTargetLayers(regressor, scaler)
        assert get_tags(wrapped).input_tags.allow_nan is allowed


def test_the_error_itself_says_why_there_is_no_score():
    estimator = TransformedTargetLayers(RSA(), LayerwiseTransformer(StandardScaler()))
    for name in ("score", "predict", "unit_scores"):
        with pytest.raises(AttributeError, match=r"RSA has no `\w+` .*compares two"):
            getattr(estimator, name)


def test_scores_of_a_pipeline_are_those_of_its_last_step():
    source, target = (LayerStack(side) for side in random_networks())
    X, y, X_test, y_test = source[:40], target[:40], source[40:], target[40:]
    half = UnitSubsampler(fraction=0.5, random_state=0)
    both = TransformedTargetLayers(make_pipeline(half, MultiLevelOT()), half)
    both.fit(X, y)
    by_hand = MultiLevelOT().fit(half.fit_transform(X), half.fit_transform(y))
    sides = half.fit(X).transform(X_test), half.fit(y).transform(y_test)
    for found, expected in zip(
        both.unit_scores(X_test, y_test), by_hand.unit_scores(*sides), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    for direction in ("target", "source"):
        np.testing.assert_array_equal(
            both.layer_scores(X_test, y_test, direction),
            by_hand.layer_scores(*sides, direction),
        )
    assert both.inverse_score(X_test, y_test) == by_hand.inverse_score(*sides)
    assert both.held_out_cost(X_test, y_test) == by_hand.held_out_cost(*sides)

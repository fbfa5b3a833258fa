"""What a fit remembers of a side: its layers, their names, and what they came as."""

import numpy as np
import pandas as pd
import pytest

from skmot import LayerStack, MultiLevelOT, SoftMatching
from tests.layers.common import (
    IT,
    NAMES,
    SOURCE,
    TARGET,
    V1,
    V2,
    frame,
    with_entry,
    with_layer,
)

# -- names in messages -----------------------------------------------------------------

KINDS = {
    "list": (lambda layers: list(layers.values()), "layer 1"),
    "dict": (dict, "layer 'V2'"),
    "frame": (frame, "layer 'V2'"),
    "stack": (LayerStack, "layer 'V2'"),
    "nested": (lambda layers: [layers], "layer 0, layer 'V2'"),
    "nested by name": (lambda layers: {"late": layers}, "layer 'late', layer 'V2'"),
    "bare": (lambda layers: layers["V2"], ""),
}


@pytest.mark.parametrize(("give", "layer"), KINDS.values(), ids=KINDS)
def test_layer_is_named_as_it_was_given(estimator, give, layer):
    bad = with_layer(SOURCE, "V2", with_entry(np.nan)(SOURCE["V2"]))
    with pytest.raises(ValueError, match="contains NaN") as error:
        estimator.fit(give(bad), give(TARGET))
    assert f"found in X{', ' if layer else ''}{layer})" in str(error.value)


# -- other layers than those fitted to -------------------------------------------------

OTHER_LAYERS = {
    "wider": ({"V1": V1, "V2": V2, "IT": np.c_[IT, IT]}, "X has 21 features, but"),
    "as many units in all": (
        {"V1": V1[:, 1:], "V2": np.c_[V2, V2[:, 0]], "IT": IT},
        "",
    ),
    "fewer layers": ({"V1": V1, "V2": V2}, "X has 9 features, but"),
    "more layers": ([V1, V2, IT, V1], "X has 20 features, but"),
    "one array": (np.c_[V1, V2, IT], "got 1 of [15]"),
    "other order": ({"V2": V2, "V1": V1, "IT": IT}, "got 3 of [4, 5, 6]"),
}


@pytest.mark.parametrize(("other", "found"), OTHER_LAYERS.values(), ids=OTHER_LAYERS)
@pytest.mark.parametrize("method", ["predict", "score"])
def test_other_layers_are_an_error_with_both(estimator, other, found, method):
    estimator.fit(SOURCE, TARGET)
    given = (other,) if method == "predict" else (other, TARGET)
    with pytest.raises(ValueError, match="is expecting 15 features as input") as error:
        getattr(estimator, method)(*given)
    assert found in str(error.value)
    assert "3 layer(s) of [5, 4, 6] units" in str(error.value)


def test_other_target_layers_are_an_error_with_both(estimator):
    estimator.fit(SOURCE, TARGET)
    with pytest.raises(ValueError, match=r"y has 9 features, but .* expecting 15"):
        estimator.score(SOURCE, {"V1": TARGET["V1"], "V2": TARGET["V2"]})


def test_layers_of_equal_width_in_other_order_are_an_error(estimator):
    estimator.fit({"V1": V1, "V4": V1 + 1}, [V1, V1 + 1])
    with pytest.raises(ValueError, match=r"\['V4', 'V1'\].*\['V1', 'V4'\]"):
        estimator.predict({"V4": V1 + 1, "V1": V1})
    # Without names there is nothing to tell by.
    assert estimator.predict([V1, V1 + 1])[0].shape == V1.shape


@pytest.mark.parametrize("inner", [SoftMatching(), MultiLevelOT()])
def test_nested_layers_in_other_order_are_an_error(inner):
    layers = {"V1": V1, "V4": V1 + 1}
    swapped = {"V4": V1 + 1, "V1": V1}
    mot = MultiLevelOT(inner).fit({"late": layers}, {"late": layers})
    for given in (mot.predict, lambda X: mot.score(X, {"late": layers})):
        with pytest.raises(ValueError, match="X, layer 'late' has") as error:
            given({"late": swapped})
        assert "['V4', 'V1']" in str(error.value)
        assert "['V1', 'V4']" in str(error.value)
    with pytest.raises(
        ValueError, match=r"'late' has 10 units in one array.* 2 layers"
    ):
        mot.predict({"late": np.c_[V1, V1]})
    with pytest.raises(ValueError, match=r"'late', layer 'V1' has 4 units .* 5 units"):
        mot.predict({"late": {"V1": V1[:, 1:], "V4": np.c_[V1, V1[:, 0]]}})


# -- kinds that come back --------------------------------------------------------------


def test_frame_comes_back_in_the_order_of_its_layers(estimator):
    columns = [("V2", 0), ("V1", 0), ("V2", 1), ("V1", 1), ("V1", 2)]
    y = pd.DataFrame(TARGET["V1"], columns=pd.MultiIndex.from_tuples(columns))
    predicted = estimator.fit([V1, V2], y).predict([V1, V2])
    expected = estimator.fit([V1, V2], [y["V2"], y["V1"]]).predict([V1, V2])
    for name, layer in zip(("V2", "V1"), expected, strict=True):
        assert predicted[name].columns.tolist() == y[name].columns.tolist()
        assert np.allclose(predicted[name], layer, rtol=0, atol=1e-9)


GIVEN = {
    "list": lambda layers: list(layers.values()),
    "tuple": lambda layers: tuple(layers.values()),
    "dict": dict,
    "frame": frame,
    "stack": LayerStack,
    "unnamed stack": lambda layers: LayerStack(list(layers.values())),
}


@pytest.mark.parametrize("fitted", GIVEN.values(), ids=GIVEN)
@pytest.mark.parametrize("later", GIVEN.values(), ids=GIVEN)
def test_kinds_may_differ_between_fit_and_predict(estimator, fitted, later):
    expected = estimator.fit(list(SOURCE.values()), TARGET).predict(SOURCE)
    score = estimator.score(SOURCE, TARGET)
    estimator.fit(fitted(SOURCE), TARGET)
    predicted = estimator.predict(later(SOURCE))
    assert list(predicted) == list(NAMES)
    for name in NAMES:
        assert np.allclose(predicted[name], expected[name], rtol=0, atol=1e-9)
    assert estimator.score(later(SOURCE), later(TARGET)) == pytest.approx(score)


COMES_BACK = {
    "list": (GIVEN["list"], list),
    "tuple": (GIVEN["tuple"], list),
    "dict": (dict, dict),
    "frame": (frame, pd.DataFrame),
    "stack": (LayerStack, LayerStack),
}


@pytest.mark.parametrize(("give", "kind"), COMES_BACK.values(), ids=COMES_BACK)
def test_target_comes_back_as_the_kind_it_was_fitted_as(estimator, give, kind):
    predicted = estimator.fit(SOURCE, give(TARGET)).predict(SOURCE)
    assert type(predicted) is kind
    expected = estimator.fit(SOURCE, TARGET).predict(SOURCE)
    for found, name in zip(LayerStack(predicted).layers, NAMES, strict=True):
        assert np.allclose(found, expected[name], rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_vector_comes_back_as_a_vector_and_a_column_as_a_column(estimator, shape):
    y = TARGET["V1"][:, 0].reshape(shape)
    assert estimator.fit(V1, y).predict(V1).shape == y.shape

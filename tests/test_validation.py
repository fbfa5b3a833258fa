"""Bad input gets an error that names the layer; unusual good input works."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skmot import LayerStack, MultiLevelOT, SoftMatching
from skmot.exceptions import DeadUnitWarning
from skmot.metrics import soft_matching_distance

N = 40
NAMES = ("V1", "V2", "IT")
ESTIMATORS = {"SoftMatching": SoftMatching(), "MultiLevelOT": MultiLevelOT()}


def network(seed=0):
    # Whole numbers: integers and float16 then hold the same values as float64.
    random = np.random.default_rng(seed)
    return {
        name: np.round(8 * random.normal(size=(N, width)))
        for name, width in zip(NAMES, (5, 4, 6), strict=True)
    }


SOURCE = network()
TARGET = {
    name: np.round(layer[:, ::-1] + 4 * network(1)[name])
    for name, layer in SOURCE.items()
}


@pytest.fixture(params=ESTIMATORS.values(), ids=ESTIMATORS)
def estimator(request):
    return clone(request.param)


def with_layer(layers, name, layer):
    return {**layers, name: layer}


def frame(layers):
    return pd.DataFrame(
        {
            (name, unit): column
            for name, layer in layers.items()
            for unit, column in enumerate(layer.T)
        }
    )


def with_entry(value, dtype=None):
    def change(layer):
        layer = layer.astype(dtype or layer.dtype)
        layer[7, 1] = value
        return layer

    return change


# -- one bad layer -----------------------------------------------------------------

BAD_NUMBERS = {
    "NaN": (with_entry(np.nan), ValueError, "contains NaN"),
    "infinity": (with_entry(-np.inf), ValueError, "contains infinity"),
    "float32 infinity": (with_entry(np.inf, "f4"), ValueError, "contains infinity"),
    "masked": (
        lambda layer: np.ma.array(layer, mask=layer > 9),
        ValueError,
        "masked entries",
    ),
    "complex": (lambda layer: layer + 1j, ValueError, "Complex data not supported"),
    "strings": (lambda layer: layer.astype(str), ValueError, "arrays of <U"),
    "bytes": (lambda layer: layer.astype("S"), ValueError, "arrays of |S"),
    "dates": (lambda layer: layer.astype("M8[s]"), ValueError, "arrays of datetime64"),
    "spans": (lambda layer: layer.astype("m8[s]"), ValueError, "arrays of timedelta"),
    "object string": (
        with_entry("owl", object),
        ValueError,
        "could not convert string to float: 'owl'",
    ),
    "object list": (with_entry([], object), ValueError, "with a sequence"),
    "object too large": (with_entry(10**400, object), ValueError, "too large"),
    "sparse": (sparse.csr_array, TypeError, "Sparse data was passed"),
    "sparse dict": (sparse.dok_array, TypeError, "Sparse data was passed"),
    "feature maps": (
        lambda layer: np.zeros((N, 4, 3, 3)),
        ValueError,
        "Found array with dim 4, while dim <= 2 is required",
    ),
    "tokens": (
        lambda layer: np.zeros((N, 7, 4)),
        ValueError,
        "layer.mean(axis=1)",
    ),
    "one dimension": (lambda layer: layer[:, 0], ValueError, "Expected 2D array"),
}
BAD_AT_FIT = {
    "no unit": (
        lambda layer: layer[:, :0],
        ValueError,
        f"Found array with 0 feature(s) (shape=({N}, 0)) while a minimum of 1",
    ),
    "constant units only": (np.ones_like, ValueError, "Every unit is constant"),
}


def bad_layers(cases):
    return pytest.mark.parametrize(
        ("spoil", "kind", "found"), cases.values(), ids=list(cases)
    )


def check_message(error, argument, layer, found):
    message = str(error.value)
    assert found in message
    assert f"found in {argument}" in message or f"in {argument}, " in message
    assert layer in message


@bad_layers(BAD_NUMBERS | BAD_AT_FIT)
@pytest.mark.parametrize("side", ["X", "y"])
def test_bad_layer_is_named_at_fit(estimator, side, spoil, kind, found):
    bad = with_layer(SOURCE, "V2", spoil(SOURCE["V2"]))
    sides = (bad, TARGET) if side == "X" else (TARGET, bad)
    with pytest.raises(kind) as error:
        estimator.fit(*sides)
    check_message(error, side, "layer 'V2'", found)


@bad_layers(BAD_NUMBERS)
def test_bad_layer_is_named_at_predict(estimator, spoil, kind, found):
    estimator.fit(SOURCE, TARGET)
    bad = with_layer(SOURCE, "V2", spoil(SOURCE["V2"]))
    with pytest.raises(kind) as error:
        estimator.predict(bad)
    check_message(error, "X", "layer 'V2'", found)


@bad_layers(BAD_NUMBERS)
def test_bad_layer_is_named_at_score(estimator, spoil, kind, found):
    estimator.fit(SOURCE, TARGET)
    bad = with_layer(TARGET, "IT", spoil(TARGET["IT"]))
    with pytest.raises(kind) as error:
        estimator.score(SOURCE, bad)
    check_message(error, "y", "layer 'IT'", found)


def test_constant_held_out_layer_is_named_at_score(estimator):
    estimator.fit(SOURCE, TARGET)
    with pytest.raises(ValueError, match="constant") as error:
        estimator.score(SOURCE, with_layer(TARGET, "V1", np.ones((N, 5))))
    assert "y, layer 'V1'" in str(error.value)


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


BAD_VECTORS = {
    "NaN": (lambda y: np.append(y[:-1], np.nan), "contains NaN"),
    "masked": (lambda y: np.ma.array(y, mask=y > 9), "masked entries"),
    "strings": (lambda y: y.astype(str), "arrays of <U"),
    "complex": (lambda y: y + 1j, "Complex data not supported"),
    "constant": (np.ones_like, "Every unit is constant"),
}


@pytest.mark.parametrize(("spoil", "found"), BAD_VECTORS.values(), ids=BAD_VECTORS)
def test_bad_vector_is_an_error(estimator, spoil, found):
    with pytest.raises(ValueError, match=r"in y\b") as error:
        estimator.fit(SOURCE["V1"], spoil(TARGET["V1"][:, 0]))
    assert found in str(error.value)


@bad_layers({name: BAD_NUMBERS[name] for name in ("NaN", "strings", "sparse")})
def test_functions_of_two_arrays_name_the_argument(spoil, kind, found):
    with pytest.raises(kind, match="found in X") as error:
        soft_matching_distance(spoil(SOURCE["V1"]), TARGET["V1"])
    assert found in str(error.value)


def test_functions_of_two_arrays_refuse_masked_entries():
    hidden = np.ma.array(TARGET["V1"], mask=TARGET["V1"] > 9)
    with pytest.raises(ValueError, match="Y has masked entries"):
        soft_matching_distance(SOURCE["V1"], hidden)


# -- sides that do not belong together ---------------------------------------------


@pytest.mark.parametrize("nothing", [[], {}])
@pytest.mark.parametrize("side", ["X", "y"])
def test_no_layer_is_an_error(estimator, nothing, side):
    sides = (nothing, TARGET) if side == "X" else (SOURCE, nothing)
    with pytest.raises(ValueError, match=f"at least one layer.*found in {side}"):
        estimator.fit(*sides)


def test_no_target_is_an_error(estimator):
    with pytest.raises(ValueError, match="requires y to be passed, but the target y"):
        estimator.fit(SOURCE, None)


@pytest.mark.parametrize("n_stimuli", [0, 1])
def test_fewer_than_two_stimuli_are_an_error(estimator, n_stimuli):
    X, y = LayerStack(SOURCE)[:n_stimuli], LayerStack(TARGET)[:n_stimuli]
    phrase = rf"Found array with {n_stimuli} sample\(s\) .* minimum of 2 is required"
    with pytest.raises(ValueError, match=phrase + ".*X, layer 'V1'"):
        estimator.fit(X, y)
    estimator.fit(SOURCE, TARGET)
    with pytest.raises(ValueError, match=f"{n_stimuli} sample.*layer 'V1'"):
        estimator.score(X, y)


def test_layers_of_unequal_length_are_an_error_with_both(estimator):
    bad = with_layer(SOURCE, "V2", SOURCE["V2"][:30])
    with pytest.raises(ValueError, match=r"'V1' has 40 .*'V2' has 30.*found in X"):
        estimator.fit(bad, TARGET)


def test_sides_of_unequal_length_are_an_error_with_both(estimator):
    short = LayerStack(TARGET)[:30]
    message = "inconsistent numbers of samples: X has 40 stimuli and y has 30"
    with pytest.raises(ValueError, match=message):
        estimator.fit(SOURCE, short)
    with pytest.raises(ValueError, match=message):
        estimator.fit(SOURCE, TARGET).score(SOURCE, short)


def test_sides_of_other_labels_are_an_error_with_the_first_mismatch(estimator):
    labels = [f"image{row}" for row in range(N)]
    X = LayerStack(SOURCE, stimuli=labels)
    y = LayerStack(TARGET, stimuli=[*labels[:5], labels[6], labels[5], *labels[7:]])
    message = "row 5 is 'image5' in X and 'image6' in y"
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, y)
    estimator.fit(X, y.with_stimuli(None))
    with pytest.raises(ValueError, match=message):
        estimator.score(X, y)
    assert estimator.score(X, y.with_stimuli(None)) == estimator.score(SOURCE, TARGET)


def test_labels_dropped_are_dropped_within_nested_stacks():
    labels = np.arange(N)
    X = LayerStack([LayerStack(SOURCE, stimuli=labels)])
    y = LayerStack([LayerStack(TARGET, stimuli=labels[::-1])])
    nested = MultiLevelOT(MultiLevelOT())
    with pytest.raises(ValueError, match="row 0 is 0 in X and 39 in y"):
        nested.fit(X, y)
    nested.fit(X, y.with_stimuli(None))
    assert nested.score(X, y.with_stimuli(None)) == nested.score([SOURCE], [TARGET])


@pytest.mark.parametrize("bare", ["X", "y"])
def test_bare_array_against_layers_is_an_error(estimator, bare):
    array = np.asarray(LayerStack(SOURCE))
    sides = (array, TARGET) if bare == "X" else (TARGET, array)
    with pytest.raises(ValueError, match=rf"LayerStack\(\[{bare}\]\)") as error:
        estimator.fit(*sides)
    assert f"{'y' if bare == 'X' else 'X'} has 3 layers" in str(error.value)
    sides = [LayerStack([side]) if side is array else side for side in sides]
    estimator.fit(*sides)


# -- other layers than those fitted to ---------------------------------------------

V1, V2, IT = SOURCE.values()
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


@pytest.mark.parametrize("inner", [None, MultiLevelOT()])
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


@pytest.mark.parametrize("method", ["predict", "inverse_predict", "score"])
def test_unfitted_use_is_an_error(estimator, method):
    given = (SOURCE, TARGET) if method == "score" else (SOURCE,)
    with pytest.raises(NotFittedError):
        getattr(estimator, method)(*given)


# -- unusual layers that work ------------------------------------------------------


def reversed_strides(layer):
    return layer[::-1, ::-1].copy()[::-1, ::-1]


def read_only(layer):
    layer = layer.copy()
    layer.setflags(write=False)
    return layer


FORMS = {
    "float32": lambda layer: layer.astype(np.float32),
    "float16": lambda layer: layer.astype(np.float16),
    "int64": lambda layer: layer.astype(np.int64),
    "int8": lambda layer: layer.astype(np.int8),
    "long double": lambda layer: layer.astype(np.longdouble),
    "big endian": lambda layer: layer.astype(">f8"),
    "objects": lambda layer: layer.astype(object),
    "lists": lambda layer: layer.tolist(),
    "frame": pd.DataFrame,
    "nullable frame": lambda layer: pd.DataFrame(layer).astype("Int64"),
    "Fortran order": np.asfortranarray,
    "negative strides": reversed_strides,
    "strides": lambda layer: np.repeat(np.repeat(layer, 2, 0), 3, 1)[::2, ::3],
    "read-only": read_only,
}


def numbers(given):
    return np.array(given, dtype=float)


def side_by_side(layers):
    return np.concatenate(layers, axis=1)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_form_of_a_layer_changes_no_result_and_no_input(estimator, form):
    X = [form(layer) for layer in SOURCE.values()]
    y = [form(layer) for layer in TARGET.values()]
    plain = list(SOURCE.values()), list(TARGET.values())
    estimator.fit(*plain)
    expected = estimator.predict(plain[0])
    costs = estimator.cost_, estimator.score(*plain), estimator.inverse_score(*plain)

    estimator.fit(X, y)
    predicted = estimator.predict(X)
    found = estimator.cost_, estimator.score(X, y), estimator.inverse_score(X, y)
    # float32 and float16 are computed in float32.
    assert found == pytest.approx(costs, abs=2e-6)
    assert np.allclose(side_by_side(predicted), side_by_side(expected), atol=1e-4)
    for layer, before in zip((*X, *y), (*plain[0], *plain[1]), strict=True):
        assert np.array_equal(numbers(layer), before)


@pytest.mark.parametrize(
    ("given", "computed"),
    [
        ("f2", "f4"),
        ("f4", "f4"),
        ("f8", "f8"),
        ("i1", "f8"),
        ("O", "f8"),
    ],
)
def test_half_and_single_precision_are_computed_in_single(estimator, given, computed):
    X = [layer.astype(given) for layer in SOURCE.values()]
    y = [layer.astype(given) for layer in TARGET.values()]
    predicted = estimator.fit(X, y).predict(X)
    assert {layer.dtype for layer in predicted} == {np.dtype(computed)}


def test_frame_comes_back_in_the_order_of_its_layers(estimator):
    columns = [("V2", 0), ("V1", 0), ("V2", 1), ("V1", 1), ("V1", 2)]
    y = pd.DataFrame(TARGET["V1"], columns=pd.MultiIndex.from_tuples(columns))
    predicted = estimator.fit([V1, V2], y).predict([V1, V2])
    expected = estimator.fit([V1, V2], [y["V2"], y["V1"]]).predict([V1, V2])
    for name, layer in zip(("V2", "V1"), expected, strict=True):
        assert predicted[name].columns.tolist() == y[name].columns.tolist()
        assert np.allclose(predicted[name], layer, rtol=0, atol=1e-9)


@pytest.mark.parametrize("order", ["C", "F"])
def test_layers_in_files_work(estimator, tmp_path, order):
    mapped = {}
    for name, layer in SOURCE.items():
        np.save(tmp_path / name, np.asarray(layer, order=order))
        mapped[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    cost = estimator.fit(SOURCE, TARGET).cost_
    assert estimator.fit(mapped, TARGET).cost_ == pytest.approx(cost, abs=1e-12)
    assert estimator.score(mapped, TARGET) == pytest.approx(
        estimator.score(SOURCE, TARGET), abs=1e-12
    )


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


@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_and_tiny_values_change_no_cost_and_no_score(estimator, scale, dtype):
    X = {name: layer.astype(dtype) for name, layer in SOURCE.items()}
    y = {name: layer.astype(dtype) for name, layer in TARGET.items()}
    cost, score = estimator.fit(X, y).cost_, estimator.score(X, y)
    predicted = estimator.predict(X)
    X, y = (
        {name: layer * np.dtype(dtype).type(scale) for name, layer in side.items()}
        for side in (X, y)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.fit(X, y)
        assert estimator.cost_ == pytest.approx(cost, abs=1e-5)
        assert estimator.score(X, y) == pytest.approx(score, abs=1e-5)
        scaled = estimator.predict(X)
    for name in NAMES:
        assert np.allclose(scaled[name] / scale, predicted[name], rtol=1e-3, atol=1e-3)


def test_unit_far_larger_than_its_neighbours_changes_no_cost(estimator):
    cost = estimator.fit(SOURCE, TARGET).cost_
    large = with_layer(SOURCE, "V1", V1 * [1e6, 1, 1, 1e-6, 1])
    assert estimator.fit(large, TARGET).cost_ == pytest.approx(cost, abs=1e-9)


@pytest.mark.parametrize("n_copies", [2, 30])
def test_duplicated_units_have_the_cost_of_one_copy(estimator, n_copies):
    cost = estimator.fit([V1, V2], [TARGET["V1"]] * 2).cost_
    copies = [np.tile(layer, n_copies) for layer in (V1, V2)]
    estimator.fit(copies, [TARGET["V1"]] * 2)
    assert estimator.cost_ == pytest.approx(cost, abs=1e-9)


def test_equal_costs_are_the_cost(estimator):
    x, y = V1[:, :1], TARGET["V1"][:, :1]
    estimator.fit([np.tile(x, 40)] * 2, [np.tile(y, 30)] * 3)
    expected = 1 - np.corrcoef(x, y, rowvar=False)[0, 1]
    assert estimator.cost_ == pytest.approx(expected, abs=1e-9)


def test_some_constant_units_are_warned_of_once(estimator):
    dead = with_layer(SOURCE, "V2", V2 * [1, 0, 1, 0] + 0.1)
    with pytest.warns(DeadUnitWarning, match="of X are constant") as caught:
        estimator.fit(dead, TARGET)
    assert len(caught) == 1
    alive = estimator.cost_
    without = with_layer(SOURCE, "V2", V2[:, [0, 2]])
    assert estimator.fit(without, TARGET).cost_ == pytest.approx(alive, abs=1e-9)

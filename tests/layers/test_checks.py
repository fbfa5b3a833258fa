"""Bad input gets an error that names the layer; unusual good input works."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from skmot import SoftMatching
from skmot.exceptions import DeadUnitWarning
from skmot.metrics import (
    linear_cka,
    rsa_score,
    soft_matching_distance,
    soft_matching_score,
)
from skmot.transport import solve_transport
from tests.layers.common import (
    N_STIMULI,
    NAMES,
    SOURCE,
    TARGET,
    V1,
    V2,
    with_entry,
    with_layer,
)

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
    "sparse NaN": (
        lambda layer: sparse.coo_array(with_entry(np.nan)(layer)),
        ValueError,
        "contains NaN",
    ),
    "sparse complex": (
        lambda layer: sparse.dok_array(layer + 1j),
        ValueError,
        "Complex data not supported",
    ),
    "feature maps": (
        lambda layer: np.zeros((N_STIMULI, 4, 3, 3)),
        ValueError,
        "Found array with dim 4, while dim <= 2 is required",
    ),
    "tokens": (
        lambda layer: np.zeros((N_STIMULI, 7, 4)),
        ValueError,
        "layer.mean(axis=1)",
    ),
    "one dimension": (lambda layer: layer[:, 0], ValueError, "Expected 2D array"),
}


BAD_AT_FIT = {
    "no unit": (
        lambda layer: layer[:, :0],
        ValueError,
        f"Found array with 0 feature(s) (shape=({N_STIMULI}, 0)) while a minimum of 1",
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


def test_missing_responses_are_counted(estimator):
    layer = SOURCE["IT"].copy()
    layer[9, 4] = layer[3, 4] = np.inf
    layer[20:, 2] = np.nan
    with pytest.raises(
        ValueError,
        match=r"^Input contains NaN\. 2 of 6 unit\(s\) of X, layer 'IT' have missing "
        r"responses \(NaN or infinite\), the first in unit 2, row 20\. .*"
        r"`skmot\.preprocessing\.FiniteUnitSelector`",
    ):
        estimator.fit(with_layer(SOURCE, "IT", layer), TARGET)
    layer[20:, 2] = 0
    with pytest.raises(ValueError, match=r"^Input contains inf.* 1 of 6 .* 4, row 3\."):
        estimator.fit(with_layer(SOURCE, "IT", layer), TARGET)


def test_constant_held_out_layer_is_named_at_score(estimator):
    estimator.fit(SOURCE, TARGET)
    with pytest.raises(ValueError, match="constant") as error:
        estimator.score(SOURCE, with_layer(TARGET, "V1", np.ones((N_STIMULI, 5))))
    assert "y, layer 'V1'" in str(error.value)


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


@bad_layers(
    {name: BAD_NUMBERS[name] for name in ("NaN", "strings")}
    | {"sparse": (sparse.csr_array, TypeError, "Sparse data was passed")}
)
def test_functions_of_two_arrays_name_the_argument(spoil, kind, found):
    with pytest.raises(kind, match="found in X") as error:
        soft_matching_distance(spoil(SOURCE["V1"]), TARGET["V1"])
    assert found in str(error.value)


def test_functions_of_two_arrays_refuse_masked_entries():
    hidden = np.ma.array(TARGET["V1"], mask=TARGET["V1"] > 9)
    with pytest.raises(ValueError, match="Y has masked entries"):
        soft_matching_distance(SOURCE["V1"], hidden)


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
    with pytest.warns(DeadUnitWarning, match=r"of X.* are constant") as caught:
        estimator.fit(dead, TARGET)
    assert len(caught) == 1
    alive = estimator.cost_
    without = with_layer(SOURCE, "V2", V2[:, [0, 2]])
    assert estimator.fit(without, TARGET).cost_ == pytest.approx(alive, abs=1e-9)


@pytest.mark.parametrize(
    "values",
    [
        ["1", "2.5"],
        [np.datetime64("2020-01-01"), np.datetime64("2021")],
        [b"1", 2],
    ],
    ids=["digits", "dates", "bytes"],
)
def test_objects_that_numpy_would_convert_are_refused(values):
    column = np.empty((4, 2), dtype=object)
    column[:] = [values] * 4
    column[0] = column[0][::-1]
    for read in (
        lambda: SoftMatching().fit(column, np.eye(4)),
        lambda: soft_matching_score(column, np.eye(4)),
        lambda: soft_matching_score(pd.DataFrame(column), np.eye(4)),
        lambda: solve_transport(column),
    ):
        with pytest.raises(ValueError, match=r"numeric|must be numbers"):
            read()


@pytest.mark.parametrize("function", [soft_matching_score, rsa_score, linear_cka])
def test_functions_of_two_arrays_refuse_what_is_no_layer(function):
    layer = np.random.default_rng(0).normal(size=(20, 3))
    masked = [np.ma.array(row, mask=[0, 0, 1]) for row in layer]
    for given, error, message in (
        ([layer[:, 0], layer[:, 1]], ValueError, r"list of 2 vectors"),
        ("layer.npy", TypeError, r"np\.load"),
        (b"layer.npy", TypeError, r"np\.load"),
        (layer[:, :, np.newaxis], ValueError, "average"),
        (masked, ValueError, "masked entries"),
    ):
        with pytest.raises(error, match=message):
            function(given, layer)

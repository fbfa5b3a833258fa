"""Unusual forms of good data give equal results everywhere, and are not changed."""

import numpy as np
import pytest
from sklearn.base import clone

from skmot import FunctionComparison, TemplateMOT
from tests.bad_input.calls import CALLS, Later
from tests.bad_input.test_estimators import COMPARISONS, PUBLIC, data_of, make

# There are few stimuli, which some functions warn of.
pytestmark = pytest.mark.filterwarnings("ignore")


def in_memory_map(folder, layer, order="C"):
    path = folder / f"{len(list(folder.iterdir()))}.npy"
    np.save(path, np.asarray(layer, order=order))
    return np.load(path, mmap_mode="r")


# The values are whole numbers below 128, which all of these hold exactly.
FORMS = {
    "int64": lambda layer, folder: layer.astype(np.int64),
    "int8": lambda layer, folder: layer.astype(np.int8),
    "float16": lambda layer, folder: layer.astype(np.float16),
    "objects": lambda layer, folder: layer.astype(object),
    "Fortran order": lambda layer, folder: np.asfortranarray(layer),
    "negative strides": lambda layer, folder: layer[::-1, ::-1].copy()[::-1, ::-1],
    "big endian": lambda layer, folder: layer.astype(">f8"),
    "memory map": lambda layer, folder: in_memory_map(folder, layer),
    "Fortran memory map": lambda layer, folder: in_memory_map(folder, layer, "F"),
}
# float16 is computed in float32.
TOLERANCES = {"float16": 1e-4}


def convert(given, change):
    """Return data of any kind with each layer changed."""
    if isinstance(given, dict):
        return {name: convert(part, change) for name, part in given.items()}
    return change(given)


def numbers_in(result):
    """Return all numbers of a result, in order."""
    if hasattr(result, "to_frame"):
        result = dict(result) if isinstance(result, dict) else vars(result)
    if hasattr(result, "select_dtypes"):
        return result.select_dtypes("number").to_numpy(float).ravel()
    if hasattr(result, "layers"):
        result = list(result.layers)
    if isinstance(result, dict):
        # Times differ between runs.
        result = [part for name, part in result.items() if name != "seconds"]
    if isinstance(result, list | tuple):
        parts = [numbers_in(part) for part in result]
        return np.concatenate([*parts, np.empty(0)])
    try:
        return np.asarray(result, dtype=float).ravel()
    except (TypeError, ValueError):
        return np.empty(0)


def seeded(call):
    return {"random_state": 0} if "random_state" in call.parameters else {}


# An estimate measures time, which differs between runs.
WITH_DATA = [call for call in CALLS if call.data and call.name != "estimate"]


@pytest.mark.parametrize("call", WITH_DATA, ids=lambda call: call.name)
def test_form_of_a_layer_changes_no_result_of_a_function_and_no_input(call, tmp_path):
    expected = numbers_in(call(**seeded(call)))
    assert expected.size
    for name, form in FORMS.items():
        changed = {
            argument: convert(
                call.given[argument], lambda layer, form=form: form(layer, tmp_path)
            )
            for argument in call.data
        }
        before = convert(changed, lambda layer: np.array(layer, dtype=float))
        found = numbers_in(call(**{**changed, **seeded(call)}))
        tolerance = TOLERANCES.get(name, 1e-9)
        np.testing.assert_allclose(
            found, expected, rtol=tolerance, atol=tolerance, err_msg=name
        )
        assert_equal(changed, before)


def assert_equal(given, before):
    if isinstance(given, dict):
        for name, part in given.items():
            assert_equal(part, before[name])
    else:
        np.testing.assert_array_equal(np.array(given, dtype=float), before)


def outputs_of(estimator, given):
    """Fit and return the cost, or the transformed layers, as numbers."""
    estimator = clone(estimator)
    if "random_state" in estimator.get_params():
        estimator.set_params(random_state=0)
    estimator.fit(**given)
    if isinstance(estimator, TemplateMOT):
        return numbers_in(estimator.costs_)
    if hasattr(estimator, "cost_"):
        return numbers_in(estimator.cost_)
    if hasattr(estimator, "predict"):
        return numbers_in(estimator.predict(given["X"]))
    return numbers_in(estimator.transform(given["X"]))


@pytest.mark.parametrize("estimator", PUBLIC)
def test_form_of_a_layer_changes_no_fit_and_no_input(estimator, tmp_path):
    estimator = make(estimator)
    given, _ = data_of(estimator)
    expected = outputs_of(estimator, given)
    assert expected.size
    for name, form in FORMS.items():
        changed = convert(given, lambda layer, form=form: form(layer, tmp_path))
        before = convert(changed, lambda layer: np.array(layer, dtype=float))
        found = outputs_of(estimator, changed)
        tolerance = TOLERANCES.get(name, 1e-9)
        np.testing.assert_allclose(
            found, expected, rtol=tolerance, atol=tolerance, err_msg=name
        )
        assert_equal(changed, before)


# -- the size of the numbers -----------------------------------------------------------

SCALES = (1e-30, 1e30)
# Averages have the units of the responses. What was fitted to responses of another size
# predicts with their mean.
IS_FITTED = [
    call
    for call in WITH_DATA
    if any(isinstance(value, Later) for value in call.given.values())
]
OF_ANY_SIZE = [
    call
    for call in WITH_DATA
    if call not in IS_FITTED and call.name != "average_repeats"
]
# Transformers return responses, and the cost of a function is in its units.
COSTS = [cls for cls in COMPARISONS if cls is not FunctionComparison]


@pytest.mark.parametrize("call", OF_ANY_SIZE, ids=lambda call: call.name)
def test_tiny_and_huge_responses_change_no_result_of_a_function(call):
    expected = numbers_in(call(**seeded(call)))
    for scale in SCALES:
        changed = {
            argument: convert(
                call.given[argument], lambda layer, scale=scale: layer * scale
            )
            for argument in call.data
        }
        found = numbers_in(call(**{**changed, **seeded(call)}))
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("estimator", COSTS)
def test_tiny_and_huge_responses_change_no_cost(estimator):
    estimator = make(estimator)
    given, _ = data_of(estimator)
    expected = outputs_of(estimator, given)
    for scale in SCALES:
        changed = convert(given, lambda layer, scale=scale: layer * scale)
        found = outputs_of(estimator, changed)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)

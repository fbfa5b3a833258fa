"""Every public function, and every parameter, is on the list of the table."""

import inspect

import pytest

from tests.bad_input.calls import CALLS, INTERNAL
from tests.bad_input.test_estimators import WRONG_PARAMETERS
from tests.public import public_modules
from tests.test_estimator_checks import PUBLIC


def public_functions():
    found = (
        getattr(module, name) for module in public_modules() for name in module.__all__
    )
    return {value for value in found if inspect.isfunction(value)}


def test_every_public_function_is_listed():
    listed = [call.function for call in CALLS]
    assert len(set(listed)) == len(listed)
    missing = {function.__name__ for function in public_functions() - set(listed)}
    assert missing == INTERNAL, "say in tests/bad_input/calls.py how it is called"
    assert set(listed) <= public_functions()


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_every_argument_is_data_or_has_wrong_values(call):
    missing = [
        name
        for name in call.parameters
        if name not in call.data and not call.wrong_values(name)
    ]
    assert not missing
    assert set(call.data) | set(call.wrong) <= set(call.parameters)


@pytest.mark.parametrize("estimator", PUBLIC)
def test_every_parameter_of_an_estimator_has_wrong_values(estimator):
    parameters = set(inspect.signature(estimator).parameters)
    assert parameters <= set(WRONG_PARAMETERS)

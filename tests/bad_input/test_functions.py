"""Public functions refuse bad data and wrong arguments, and say which."""

import re

import numpy as np
import pytest

from tests.bad_input.calls import CALLS, N_STIMULI, labelled
from tests.bad_input.rows import message_of, rows_of, spoil_layer

# There are few stimuli, which some functions warn of.
pytestmark = pytest.mark.filterwarnings("ignore")

BAD_DATA = [
    pytest.param(call, argument, row, id=f"{call.name}-{argument}-{name}")
    for call in CALLS
    for argument, kind in call.data.items()
    for name, row in rows_of(kind, call.is_fit).items()
    if name not in call.accepts.get(argument, ())
]
WRONG_ARGUMENTS = [
    pytest.param(call, name, value, id=f"{call.name}-{name}-{number}")
    for call in CALLS
    for name in call.parameters
    if name not in call.data
    for number, value in enumerate(call.wrong_values(name) or ())
]
WITH_DATA = [pytest.param(call, id=call.name) for call in CALLS if len(call.data) > 0]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is optional")
    plt.close("all")


@pytest.mark.parametrize("call", WITH_DATA)
def test_good_data_are_accepted(call):
    call()


@pytest.mark.parametrize(("call", "argument", "row"), BAD_DATA)
def test_bad_layer_is_named_with_its_argument_and_a_remedy(call, argument, row):
    kind = call.data[argument]
    bad, layer = spoil_layer(call.given[argument], kind, row)
    with pytest.raises((TypeError, ValueError)) as error:
        call(**{argument: bad})
    message = message_of(error.value)
    assert isinstance(error.value, row.kind)
    assert row.found in message
    assert row.remedy in message
    assert re.search(call.names_of(argument), message)
    if row.found:
        assert layer in message


@pytest.mark.parametrize(("call", "name", "value"), WRONG_ARGUMENTS)
def test_wrong_argument_is_named(call, name, value):
    with pytest.raises((TypeError, ValueError)) as error:
        call(**{name: value})
    assert re.search(call.names_of(name), message_of(error.value))


# -- two sides -------------------------------------------------------------------------


def with_rows(given, kind, rows):
    """Return data with some of the stimuli."""
    if kind == "layer":
        return given[rows]
    nested = "layer" if kind == "network" else "network"
    return {name: with_rows(part, nested, rows) for name, part in given.items()}


# The same networks over held-out stimuli need not be as long.
HELD_OUT = {"mutual_matches", "rosetta_units"}
TWO_SIDES = [
    pytest.param(call, id=call.name)
    for call in CALLS
    if len(call.data) == 2 and call.name not in HELD_OUT
]


@pytest.mark.parametrize("call", TWO_SIDES)
def test_sides_of_unequal_length_are_named_with_both_numbers(call):
    argument, kind = list(call.data.items())[1]
    short = with_rows(call.given[argument], kind, slice(-2))
    both = rf"\b{N_STIMULI}\b.*\b{N_STIMULI - 2}\b"
    with pytest.raises(ValueError, match=both):
        call(**{argument: short})


# What is defined for one stimulus: an average, a count, a run time.
ONE_STIMULUS = {"average_repeats", "scored_units", "estimate"}


@pytest.mark.parametrize(
    "call", [given for given in WITH_DATA if given.id not in ONE_STIMULUS]
)
def test_a_single_stimulus_is_refused_with_its_number(call):
    single = {
        argument: with_rows(call.given[argument], kind, slice(1))
        for argument, kind in call.data.items()
    }
    with pytest.raises(ValueError, match=r"\b1\b|n_samples=1"):
        call(**single)


LABELLED = [
    pytest.param(call, id=call.name)
    for call in CALLS
    # An estimate reads no labels.
    if list(call.data.values()) == ["network"] * 2 and call.name != "estimate"
]


@pytest.mark.parametrize("call", LABELLED)
def test_labels_in_another_order_are_named(call):
    order = np.arange(N_STIMULI)
    order[[4, 5]] = 5, 4
    first, second = call.data
    with pytest.raises(ValueError, match=r"row 4 is 4 in \w+ and 5 in \w+") as error:
        call(
            **{
                first: labelled(call.given[first]),
                second: labelled(call.given[second], order),
            }
        )
    assert re.search(rf"\b{first}\b", str(error.value))
    assert re.search(rf"\b{second}\b", str(error.value))

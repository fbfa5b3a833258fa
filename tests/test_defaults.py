"""Defaults of parameters: the documentation says the ones that the code has."""

import inspect
import re

import pytest

from tests.public import public_modules

# "width, height : float, default=4.5" of a section of parameters, also over two lines.
PARAMETER = re.compile(
    r"^(?P<names>\*{0,2}\w+(?:, \w+)*) : (?P<kind>.*(?:\n {8,}.*)*?)$", re.M
)
DEFAULT = re.compile(r"\bdefault=(.+)", re.S)


def public_signatures():
    """Return the signature and the docstring of each public function and class."""
    found = {}
    for module in public_modules():
        for name in module.__all__:
            given = getattr(module, name)
            is_class = inspect.isclass(given) and not issubclass(given, Exception)
            if inspect.isfunction(given) or is_class:
                found[name] = inspect.signature(given), inspect.getdoc(given) or ""
    return found


SIGNATURES = public_signatures()


def documented_defaults(text):
    """Return the default of each parameter that a docstring has, as text."""
    section = re.search(
        r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n-{3,}$|\Z)", text, re.M | re.S
    )
    found = {}
    for entry in PARAMETER.finditer("" if section is None else section[1]):
        default = DEFAULT.search(entry["kind"])
        if default is not None:
            names = entry["names"].split(", ")
            said = " ".join(default[1].replace("\\", " ").split()).strip("`")
            # Several parameters can have one default, or "1 and 2" or "1, 2".
            each = re.split(r" and |, (?![^(]*\))", said)
            each = each if len(each) == len(names) else [said] * len(names)
            found.update(zip(names, each, strict=True))
    return found


@pytest.mark.parametrize("name", SIGNATURES)
def test_documented_defaults_are_those_of_the_signature(name):
    signature, text = SIGNATURES[name]
    for parameter, said in documented_defaults(text).items():
        default = signature.parameters[parameter].default
        # Some are expressions, such as (64,) * 3.
        value = eval(said, {})
        if isinstance(value, tuple) and Ellipsis in value:
            # Only the ends are written.
            n_first = value.index(Ellipsis)
            n_last = len(value) - 1 - n_first
            ends = default[:n_first], default[len(default) - n_last :]
            assert (*ends[0], ..., *ends[1]) == value
        elif repr(default) != "<factory>":
            assert default == value


def test_defaults_are_found_in_docstrings():
    said = [documented_defaults(text) for _, text in SIGNATURES.values()]
    assert sum(map(len, said)) > 200
    text = "Parameters\n----------\na, b : int, default=3\nc, d : int, default=4, 5\n"
    assert documented_defaults(text) == {"a": "3", "b": "3", "c": "4", "d": "5"}

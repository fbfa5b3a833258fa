"""Warnings of many fits, told once each."""

import re
import warnings
from contextlib import contextmanager

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


@contextmanager
def recorded_warnings(log, place=None):
    """Keep what is warned of from the caller, to be repeated later.

    Parameters
    ----------
    log : list
        Is appended a (category, message, place) a warning. It can be sent back from a
        worker, whose warnings would be lost otherwise.
    place : object, default=None
        What warned, as `repeat_warnings` is to name it.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    log += [(warning.category, str(warning.message), place) for warning in caught]


def repeat_warnings(log, stacklevel):
    """Warn of what was recorded, once each, with how often it came.

    Warnings that differ in their numbers alone are one: each fit has another count of
    dead units, or another distance to its tolerance. The first is repeated.

    Parameters
    ----------
    log : list
        As `recorded_warnings` fills it.
    stacklevel : int
        As `warnings.warn` takes it, counted from here.
    """
    found = {}
    for category, message, place in log:
        found.setdefault((category, _NUMBER.sub("0", message)), []).append(
            (message, place)
        )
    for (category, _), entries in found.items():
        message, place = entries[0]
        first = "" if place is None else f"{place}; "
        warnings.warn(
            f"{message} ({first}{len(entries)} time(s) in all)",
            category,
            stacklevel=stacklevel,
        )

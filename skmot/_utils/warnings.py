"""Functions that collect the warnings of many fits and raise each of them once."""

import re
import sys
import warnings
from contextlib import contextmanager

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


@contextmanager
def recorded_warnings(log, place=None):
    """Record warnings instead of raising them.

    A log can be sent from a worker to the main process, where `repeat_warnings` raises
    the warnings.

    Parameters
    ----------
    log : list
        List to which a tuple (category, message, place) is appended for each warning.
    place : object, default=None
        Origin of the warnings, which `repeat_warnings` adds to the message.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    log += [(warning.category, str(warning.message), place) for warning in caught]


def stacklevel_of_caller():
    """Return the stack level of the first caller outside skmot and scikit-learn.

    For `warnings.warn` in the function that calls this one.
    """
    level, frame = 1, sys._getframe(1)
    while frame is not None:
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package not in ("skmot", "sklearn"):
            return level
        level, frame = level + 1, frame.f_back
    return 1


def repeat_warnings(log):
    """Raise each recorded warning once, with the number of times that it occurred.

    Warnings that differ only in numbers, such as the number of dead units, are treated
    as the same warning. The message of the first one is used.

    Parameters
    ----------
    log : list
        Warnings recorded by `recorded_warnings`.
    """
    groups = {}
    for category, message, place in log:
        groups.setdefault((category, _NUMBER.sub("0", message)), []).append(
            (message, place)
        )
    for (category, _), entries in groups.items():
        message, place = entries[0]
        first = "" if place is None else f"{place}; "
        warnings.warn(
            f"{message} ({first}{len(entries)} time(s) in all)",
            category,
            stacklevel=stacklevel_of_caller(),
        )


def say_few_validation(n_regressions, n_stimuli, parameter):
    """Return the message that regressions were judged by too few validation stimuli."""
    return (
        f"{n_regressions} regression(s) were judged by a correlation over {n_stimuli} "
        "validation stimuli, too few to estimate one: the cost, and the choice of a "
        "penalty, are mostly chance. Give more stimuli, or a larger "
        f"`{parameter}`."
    )

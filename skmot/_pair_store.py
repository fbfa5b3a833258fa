"""Results of pairs of layers kept in a `joblib.Memory`, by what they were made from."""

import functools
import inspect
import os
import pickle
from hashlib import sha256
from numbers import Integral

import joblib
import numpy as np
import sklearn
from sklearn.utils.validation import check_memory

from skmot._array_api import to_numpy
from skmot._base import LayerEstimator

# Settings of skmot's own estimators that change no result.
_OF_NO_CONSEQUENCE = ("n_jobs", "memory")


class PairStore:
    """Keeps results of pairs from one fit to the next.

    Each entry carries a checksum of itself: joblib would use one with a flipped bit.

    Parameters
    ----------
    memory : str, path-like or joblib.Memory
        Where they are kept.
    inner : estimator
        What is fitted to the pairs.

    Attributes
    ----------
    log : list
        What is to be warned of, as `recorded_warnings` has it.
    """

    def __init__(self, memory, inner):
        if isinstance(memory, os.PathLike):
            memory = os.fspath(memory)
        self._described = describe(inner, type(inner).__name__)
        # All that joblib could tell of a call is the key.
        self._entries = check_memory(memory).cache(_entry, ignore=["made"], verbose=0)
        self._takes_entries = True
        self.log = []

    def key(self, what, source, target):
        """Return what a result is found by: all that it depends on."""
        from skmot import __version__

        made_from = (__version__, sklearn.__version__, self._described)
        return sha256(repr((*made_from, what, source, target)).encode()).hexdigest()

    def find(self, key):
        """Return a result, or None where there is none that can be trusted."""
        if not self._entries.check_call_in_cache(key, None):
            return None
        # Where joblib cannot read an entry it makes one, of the None given here.
        entry = self._entries(key, None)
        if _is_whole(entry):
            return pickle.loads(entry[0])
        self._entries.call_and_shelve(key, None).clear()
        self.log.append(
            (
                RuntimeWarning,
                "A pair of layers kept in `memory` is damaged. It is fitted again.",
                None,
            )
        )
        return None

    def keep(self, key, result):
        """Keep a result under its key."""
        if not self._takes_entries:
            return
        content = pickle.dumps(result, protocol=pickle.HIGHEST_PROTOCOL)
        self._entries(key, (content, sha256(content).digest()))
        # Where it cannot be written joblib warns; once is enough.
        self._takes_entries = self._entries.check_call_in_cache(key, None)


class NoStore:
    """Where no `memory` is given."""

    def __init__(self):
        self.log = []

    def key(self, what, source, target):
        return None

    def find(self, key):
        return None

    def keep(self, key, result):
        pass


def _entry(key, made):
    """Return what was made: joblib keeps it under the key."""
    return made


def _is_whole(entry):
    return (
        isinstance(entry, tuple)
        and [type(part) for part in entry] == [bytes, bytes]
        and sha256(entry[0]).digest() == entry[1]
    )


def describe(value, where):
    """Write a setting down such that what differs is written differently.

    Parameters
    ----------
    value : object
        A setting, or an estimator with all of its own.
    where : str
        What it is called in messages.

    Returns
    -------
    text : str
        The same in every process.

    Raises
    ------
    ValueError
        If what it is or does cannot be known again: it draws without an integer seed,
        or is a function without a name.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, dict | list | tuple | set | frozenset):
        parts = value.items() if isinstance(value, dict) else value
        parts = [describe(part, where) for part in parts]
        if not isinstance(value, list | tuple):
            parts.sort()
        return f"{type(value).__name__}({', '.join(parts)})"
    if isinstance(value, functools.partial):
        return describe([value.func, value.args, value.keywords], where)
    if inspect.isroutine(value) or inspect.isclass(value):
        return _describe_by_name(value, where)
    if hasattr(value, "get_params"):
        return _describe_estimator(value)
    if hasattr(value, "__array_namespace__") and value.dtype != object:
        value = np.ascontiguousarray(to_numpy(value))
        digest = sha256(value.data).hexdigest()
        return f"array({value.dtype.str}, {value.shape}, {digest})"
    if hasattr(value, "random_state") and getattr(value, "shuffle", True):
        _check_seed(value.random_state, where)
    try:
        return f"{type(value).__qualname__}({joblib.hash(value)})"
    except pickle.PicklingError as error:
        raise ValueError(
            f"`memory` cannot keep {where}: a {type(value).__name__} is not known "
            "again in another process. Leave `memory` out."
        ) from error


def _describe_estimator(estimator):
    kind = type(estimator)
    settings = estimator.get_params(deep=False)
    if isinstance(estimator, LayerEstimator):
        settings = {
            name: value
            for name, value in settings.items()
            if name not in _OF_NO_CONSEQUENCE
        }
        if not estimator._draws:
            settings.pop("random_state", None)
    if "random_state" in settings:
        _check_seed(settings["random_state"], kind.__name__)
    described = ", ".join(
        f"{name}={describe(settings[name], f'{kind.__name__}, `{name}`')}"
        for name in sorted(settings)
    )
    return f"{kind.__module__}.{kind.__qualname__}({described})"


def _describe_by_name(value, where):
    name = f"{value.__module__}.{value.__qualname__}"
    if "<" in name:
        raise ValueError(
            f"`memory` cannot keep {where}: {name} has no name by which it is known "
            "again. Define it in a module."
        )
    return name


def _check_seed(seed, where):
    if not isinstance(seed, Integral):
        raise ValueError(
            f"`memory` cannot keep what {where} draws: its `random_state` is {seed!r}, "
            "so that each fit draws anew. Give an integer."
        )

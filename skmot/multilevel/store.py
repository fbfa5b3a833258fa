"""Disk cache of the results of pairs of layers, in a `joblib.Memory`."""

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

from skmot._utils.array_api import to_numpy
from skmot._version import __version__
from skmot.base import LayerEstimator

# Increased whenever the stored results, or numbers in them, change.
_FORMAT = 4
# Parameters of the built-in estimators that do not affect the results.
_IGNORED_PARAMETERS = ("n_jobs", "memory")
# Folder of the entries within the folder of the `joblib.Memory`.
_FOLDER = ("skmot", "pairs")


def open_store(memory, inner):
    """Return the disk cache for the pairs of an inner estimator.

    Parameters
    ----------
    memory : str, path-like, joblib.Memory or None
        Folder of the disk cache.
    inner : estimator
        Inner estimator that is fitted to the pairs.

    Returns
    -------
    store : PairStore or NoStore
        A store that keeps nothing if there is no folder.
    """
    if isinstance(memory, os.PathLike):
        memory = os.fspath(memory)
    entries = check_memory(memory).store_backend
    return NoStore() if entries is None else PairStore(entries, inner)


class PairStore:
    """Disk cache of the results of pairs of layers.

    The key of a result is a hash of everything that the result depends on. Each entry
    contains a checksum, because joblib does not detect damaged data. Entries are read
    and written without the function that `joblib.Memory` caches: it compares the code
    of the function with a file, and forgets all entries if that file is damaged.

    Parameters
    ----------
    entries : joblib store backend
        Where a `joblib.Memory` keeps its entries.
    inner : estimator
        Inner estimator that is fitted to the pairs.

    Attributes
    ----------
    log : list
        Warnings to be raised, in the format of `recorded_warnings`.
    """

    def __init__(self, entries, inner):
        self._description = describe(inner, type(inner).__name__)
        self._entries = entries
        self._is_writable = True
        self.log = []

    def key(self, what, source, target):
        """Return the key of a result.

        Parameters
        ----------
        what : str
            Name of the function that computes the result.
        source, target : str or tuple of str
            Digests of the layers.

        Returns
        -------
        key : str
            Hash of everything that the result depends on.
        """
        if None in (*np.ravel(source), *np.ravel(target)):
            raise RuntimeError("A pair of layers without digests cannot be stored.")
        context = (_FORMAT, __version__, sklearn.__version__, self._description)
        return sha256(repr((*context, what, source, target)).encode()).hexdigest()

    def find(self, key):
        """Return the result of a key, or None if it is missing or damaged."""
        if not self._entries.contains_item((*_FOLDER, key)):
            return None
        try:
            entry = self._entries.load_item((*_FOLDER, key), verbose=0)
            if _is_intact(entry, key):
                return pickle.loads(entry[0])
        except Exception:
            # What is read of a damaged entry can raise any error, and so can an intact
            # one if the class of something in it was changed or removed.
            pass
        self._entries.clear_item((*_FOLDER, key))
        self.log.append(
            (
                RuntimeWarning,
                "A pair of layers kept in `memory` is damaged. It is fitted again.",
                None,
            )
        )
        return None

    def keep(self, key, result):
        """Store a result under its key."""
        if not self._is_writable:
            return
        content = pickle.dumps(result, protocol=pickle.HIGHEST_PROTOCOL)
        entry = (content, _checksum(key, content))
        self._entries.dump_item((*_FOLDER, key), entry, verbose=0)
        # joblib warns if it cannot write an entry. One warning is enough.
        self._is_writable = self._entries.contains_item((*_FOLDER, key))
        if not self._is_writable:
            # Remove the part that was written before the disk was full.
            self._entries.clear_item((*_FOLDER, key))


class NoStore:
    """Store that keeps nothing, for `memory=None`."""

    def __init__(self):
        self.log = []

    def key(self, what, source, target):
        return None

    def find(self, key):
        return None

    def keep(self, key, result):
        pass


def _checksum(key, content):
    """Return the checksum of an entry, which differs between keys."""
    return sha256(key.encode() + content).digest()


def _is_intact(entry, key):
    """Whether an entry is a pickled result and its checksum, stored under the key."""
    return (
        isinstance(entry, tuple)
        and [type(part) for part in entry] == [bytes, bytes]
        and _checksum(key, entry[0]) == entry[1]
    )


def describe(value, where):
    """Describe a parameter value by a text that identifies it in every process.

    Parameters
    ----------
    value : object
        A parameter value, or an estimator, which is described with its parameters.
    where : str
        Name of the value in error messages.

    Returns
    -------
    text : str
        Description that is the same in every process, and differs for different values.

    Raises
    ------
    ValueError
        If the value cannot be identified in another process: a random state that is not
        an integer, a function without a name or with a closure, or an object that
        cannot be pickled.
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
    if inspect.ismethod(value):
        return describe([value.__func__, value.__self__], where)
    if inspect.isfunction(value):
        return _describe_function(value, where)
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
            f"`memory` cannot keep {where}: a {type(value).__name__} cannot be "
            "pickled. Use `memory=None`."
        ) from error


def _describe_estimator(estimator):
    kind = type(estimator)
    settings = estimator.get_params(deep=False)
    if isinstance(estimator, LayerEstimator):
        settings = {
            name: value
            for name, value in settings.items()
            if name not in _IGNORED_PARAMETERS
        }
        if not estimator._is_stochastic:
            settings.pop("random_state", None)
    if "random_state" in settings:
        _check_seed(settings["random_state"], kind.__name__)
    described = ", ".join(
        f"{name}={describe(settings[name], f'{kind.__name__}, `{name}`')}"
        for name in sorted(settings)
    )
    return f"{kind.__module__}.{kind.__qualname__}({described})"


def _describe_function(function, where):
    """Describe a function by its name, code and defaults, but not the code it calls."""
    name = _describe_by_name(function, where)
    if function.__closure__ is not None or function.__module__ == "__main__":
        raise ValueError(
            f"`memory` cannot keep {where}: {name} is a closure or a function of "
            "`__main__`, whose code cannot be told apart in another process. Define it "
            "in a module, or leave `memory` out."
        )
    defaults = describe([function.__defaults__, function.__kwdefaults__], where)
    code = sha256(repr(_code_parts(function.__code__)).encode()).hexdigest()
    return f"{name}({code}, {defaults})"


def _code_parts(code):
    """Return the parts of a code object that define what it does, without positions."""
    constants = [
        _code_parts(constant)
        if inspect.iscode(constant)
        # The order of a set is different in every process.
        else sorted(map(repr, constant))
        if isinstance(constant, frozenset)
        else (type(constant).__name__, repr(constant))
        for constant in code.co_consts
    ]
    return code.co_code, code.co_names, code.co_varnames, constants


def _describe_by_name(value, where):
    name = f"{value.__module__}.{value.__qualname__}"
    if "<" in name:
        raise ValueError(
            f"`memory` cannot keep {where}: {name} has no name by which another "
            "process can find it. Define it in a module."
        )
    return name


def _check_seed(seed, where):
    if not isinstance(seed, Integral):
        raise ValueError(
            f"`memory` cannot keep what {where} draws: its `random_state` is {seed!r}, "
            "so that each fit gives different results. Give an integer."
        )

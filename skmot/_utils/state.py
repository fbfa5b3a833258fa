"""States of public objects in plain types, for `skops.io`.

`skops.io` loads an object only if the user trusts its class and the classes of all
objects in it. The state of a public object therefore names no private class, and no
class of NumPy or SciPy except arrays: a private object is stored as the dict of its
attributes, a sparse array as its arrays, and a dtype as a string.
"""

import copyreg

import numpy as np
from scipy.sparse import csr_array

from skmot._utils.array_api import is_foreign

# Key of the dicts that stand for an object: its kind, and what it is made of.
_KIND, _CONTENT = "skmot kind", "skmot content"
# Key that tells a state in plain types from the state of a pickle.
_IS_PLAIN = "is plain"
# Private classes by the name that they are stored under.
_CLASSES = {}


def _build_csr_array(content):
    data, indices, indptr, shape = content
    built = csr_array((data, indices, indptr), shape=shape)
    # SciPy would read outside of its arrays for the indices of a damaged file.
    built.check_format(full_check=True)
    return built


# What makes the objects of other libraries from their content.
_BUILDERS = {
    "csr_array": _build_csr_array,
    "dtype": np.dtype,
    "range": lambda content: range(*content),
}


def stored_as_dict(cls):
    """Register a private class, whose instances are stored as dicts of attributes."""
    _CLASSES[cls.__name__] = cls
    return cls


class PlainState:
    """Mixin of public classes that `skops.io` stores in plain types.

    `skops.io` takes the state from `__getstate__`. pickle, copy and joblib take it from
    `__reduce__`, which leaves private objects as they are: this is faster, and an
    object that several others use is stored once.
    """

    def _attributes_to_store(self):
        """Return the attributes that are stored."""
        return self.__dict__.copy()

    def __reduce__(self):
        # A subclass may have a state of its own.
        has_own_state = type(self).__getstate__ is not PlainState.__getstate__
        state = self.__getstate__() if has_own_state else self._attributes_to_store()
        return copyreg.__newobj__, (type(self),), state

    def __getstate__(self):
        state = _apply_to_learned(to_plain, self._attributes_to_store())
        return {**state, _IS_PLAIN: True}

    def __setstate__(self, state):
        if state.get(_IS_PLAIN):
            state = _apply_to_learned(from_plain, state)
            del state[_IS_PLAIN]
        self.__dict__.update(state)


def _apply_to_learned(function, state):
    """Apply a function to all attributes except parameters, which are the user's."""
    return {
        name: function(value) if name[0] == "_" or name[-1] == "_" else value
        for name, value in state.items()
    }


def to_plain(value):
    """Convert objects to plain types, also in lists, tuples and dicts.

    Parameters
    ----------
    value : object
        Value of an attribute.

    Returns
    -------
    plain : object
        Value without objects of private classes, dtypes, ranges and `csr_array`. It
        shares all arrays and all other objects with the value.

    Raises
    ------
    TypeError
        If there are arrays of another library than NumPy, which `skops.io` would not
        load again.
    """
    kind = type(value)
    if kind is list or kind is tuple:
        return kind([to_plain(part) for part in value])
    if kind is dict:
        return {key: to_plain(part) for key, part in value.items()}
    if _CLASSES.get(kind.__name__) is kind:
        return {_KIND: kind.__name__, _CONTENT: to_plain(value.__getstate__())}
    if kind is csr_array:
        content = [value.data, value.indices, value.indptr, value.shape]
        return {_KIND: "csr_array", _CONTENT: content}
    if kind is range:
        return {_KIND: "range", _CONTENT: [value.start, value.stop, value.step]}
    if isinstance(value, np.dtype):
        return {_KIND: "dtype", _CONTENT: value.str}
    if isinstance(value, PlainState):
        return value
    library = kind.__module__.partition(".")[0]
    # References stand for the arrays of zarr that are in folders.
    if library == "zarr" or is_foreign(value):
        raise TypeError(
            f"skops.io cannot store arrays of {library}. Give NumPy arrays to `fit` or "
            "LayerStack, or store with pickle."
        )
    return value


def from_plain(value):
    """Convert plain types back to objects: the inverse of `to_plain`.

    Only the classes of a fixed list are made, whatever the value says.
    """
    kind = type(value)
    if kind is list or kind is tuple:
        return kind([from_plain(part) for part in value])
    if kind is not dict:
        return value
    parts = {key: from_plain(part) for key, part in value.items()}
    if _KIND not in parts:
        return parts
    name, content = parts[_KIND], parts[_CONTENT]
    if name in _BUILDERS:
        return _BUILDERS[name](content)
    if name not in _CLASSES:
        raise ValueError(
            f"The stored object has a {name!r}, which this version of skmot does not "
            "know: load it with the version that stored it."
        )
    made = object.__new__(_CLASSES[name])
    if hasattr(made, "__setstate__"):
        made.__setstate__(content)
    else:
        made.__dict__.update(content)
    return made

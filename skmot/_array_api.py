"""Arrays of other libraries: what namespace and device they are in, and ways across.

Whether arrays of other libraries stay what they are is decided once, where layers are
read: with scikit-learn's `array_api_dispatch` they do, without it they become numpy's.
Everything after asks the arrays themselves, so that it does not depend on a
configuration, which threads and workers do not share. Code for all libraries is written
in the functions of the array API standard (`xp.astype`, `xp.matmul`, `xp.take`, ...);
what is small, sparse or combinatorial is numpy's, on the host.
"""

import numpy as np
from sklearn import get_config
from sklearn.externals import array_api_compat
from sklearn.utils._array_api import _convert_to_numpy, _max_precision_float_dtype

# scikit-learn's wrapper of numpy. A stack must name the same namespace as the arrays
# that it is used with, or they do not mix.
NUMPY = array_api_compat.array_namespace(np.empty(0))
# Matrices of fewer entries stay in a processor's cache while they are turned (1 MB of
# float32). Of larger ones a cache line's worth of rows does; measured the fastest of 16
# to 512.
_CACHED_ENTRIES = 2**18
_ROWS_TURNED = 16


def namespace_of(*arrays):
    """Return the array API namespace that arrays are of.

    Parameters
    ----------
    *arrays : array
        At least one, all of one library.

    Returns
    -------
    xp : module
        For numpy's arrays scikit-learn's wrapper of numpy, which has the names of the
        standard (`xp.astype`, `xp.matmul`, `xp.concat`) on every version.
    """
    if all(type(array) is np.ndarray for array in arrays):
        # The same, sooner: it is asked for at every step.
        return NUMPY
    return array_api_compat.array_namespace(*arrays)


def device_of(array):
    """Return the device an array lies on, as its namespace takes `device=`."""
    return array_api_compat.device(array)


def has_same_home(first, second):
    """Whether two arrays are of one namespace and on one device."""
    return namespace_of(first) is namespace_of(second) and (
        device_of(first) == device_of(second)
    )


def home_of(array):
    """Return an empty array where another is: what to compare with, and to move to."""
    xp = namespace_of(array)
    return xp.empty(0, dtype=xp.bool, device=device_of(array))


def keeps(array):
    """Whether an array of another library stays what it is, under the configuration.

    What is no array (a list, a DataFrame) becomes one of numpy, and so do all arrays
    without scikit-learn's `array_api_dispatch`.
    """
    return get_config()["array_api_dispatch"] and is_foreign(array)


def is_foreign(array):
    """Whether something is an array of another library than numpy."""
    return array_api_compat.is_array_api_obj(array) and not isinstance(
        array, np.ndarray | np.generic
    )


def as_array(array):
    """Return what is given as an array: as it is where its library is kept.

    Raises
    ------
    TypeError
        If it is of another library, and numpy cannot read it where it is.
    """
    if not is_foreign(array):
        return np.asarray(array)
    if keeps(array):
        return array
    try:
        return np.asarray(array)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{error} Arrays of other libraries than numpy stay what they are, and "
            "where they are, under `sklearn.set_config(array_api_dispatch=True)`."
        ) from error


def to_numpy(array):
    """Return an array as numpy's, on the host; numpy's own as it is.

    Parameters
    ----------
    array : array
        Of any library, on any device, or what numpy reads as an array.

    Returns
    -------
    array : ndarray
        It may share memory with what was given.
    """
    if is_foreign(array):
        return _convert_to_numpy(array, namespace_of(array))
    return np.asarray(array)


def move_to_home_of(reference, array):
    """Move an array to the namespace and the device of another.

    Parameters
    ----------
    reference : array
        Where to.
    array : array
        What, of any library and on any device; its dtype is kept.

    Returns
    -------
    array : array
        As it is where it is there already.
    """
    xp, device = namespace_of(reference), device_of(reference)
    if namespace_of(array) is not xp:
        # Through numpy, which every library reads; not all take negative strides or
        # read-only memory.
        array = to_numpy(array)
        if xp is namespace_of(array):
            return array
        return xp.asarray(np.require(array, requirements=["C", "W"]), device=device)
    return array_api_compat.to_device(array, device)


def numpy_dtype(array):
    """Return numpy's dtype of the same name as an array's."""
    if isinstance(array, np.ndarray):
        return array.dtype
    xp = namespace_of(array)
    return to_numpy(xp.empty(0, dtype=array.dtype)).dtype


def select(array, indices, axis):
    """Select rows or columns of a matrix by their numbers.

    Parameters
    ----------
    array : array of shape (n, m)
        Of any library, on any device.
    indices : ndarray of int of shape (n_selected,)
        On the host.
    axis : {0, 1}
        Rows or columns.

    Returns
    -------
    selected : array
        A new one, in the namespace and on the device of the array.
    """
    if not isinstance(array, np.ndarray):
        xp = namespace_of(array)
        return xp.take(array, move_to_home_of(array, indices), axis=axis)
    # `take` first copies what is not contiguous; of what is, it gathers columns six
    # times as fast as indexing.
    if array.flags.c_contiguous:
        return np.take(np.asarray(array), indices, axis=axis)
    return array[indices] if axis == 0 else array[:, indices]


def check_home(array, home, estimator, method):
    """Raise unless an array is where a fit was.

    Parameters
    ----------
    array : array
        What is given to a fitted estimator.
    home : array
        One that lies where what was learned does.
    estimator : estimator
        The fitted estimator.
    method : str
        Which of its methods it was given to.

    Raises
    ------
    ValueError
        If it is of another library, or on another device.
    """
    if has_same_home(array, home):
        return
    given, fitted = (
        f"{namespace_of(part).__name__} on {device_of(part)}" for part in (array, home)
    )
    raise ValueError(
        f"Inputs passed to {type(estimator).__name__}.{method}() must use the same "
        f"namespace and the same device as those passed to fit(): got {given}, and the "
        f"fit was to {fitted}. Move the arrays, or the estimator by "
        "`sklearn.utils._array_api.move_estimator_to(estimator, xp, device)`; arrays "
        "of other libraries than numpy are numpy's without `array_api_dispatch`."
    )


def check_numpy(array, what):
    """Raise where an array is of another library, to what takes numpy's only.

    Parameters
    ----------
    array : array
        What is given.
    what : str
        What takes it, as the message begins.
    """
    if is_foreign(array):
        raise TypeError(
            f"{what} takes arrays of numpy only; X is of "
            f"{namespace_of(array).__name__}. Convert the layers to numpy, on the CPU, "
            "or use it without `array_api_dispatch`, which does that for arrays on the "
            "CPU."
        )


def carry(units, plan):
    """Multiply units by a sparse matrix between units.

    Parameters
    ----------
    units : array of shape (n_stimuli, n_units_seen)
        Of any library, on any device.
    plan : sparse array of shape (n_units_seen, n_units_wanted)
        SciPy's.

    Returns
    -------
    carried : array of shape (n_stimuli, n_units_wanted)
        New, in the namespace, on the device and in the precision of the units.
    """
    if isinstance(units, np.ndarray):
        return _carry_on_host(units, plan.tocsr().astype(units.dtype))
    # No other namespace has sparse matrices in the standard: there, a dense one.
    xp = namespace_of(units)
    weights = plan.astype(numpy_dtype(units)).toarray()
    return xp.matmul(units, move_to_home_of(units, weights))


def _carry_on_host(units, plan):
    if units.size < _CACHED_ENTRIES or not units.flags.c_contiguous:
        return units @ plan
    # SciPy takes units one by one, and so turns the matrix first: in one piece that
    # takes most of the time.
    carried = np.empty((len(units), plan.shape[1]), dtype=units.dtype)
    turned = plan.T.tocsr()
    for start in range(0, len(units), _ROWS_TURNED):
        rows = slice(start, start + _ROWS_TURNED)
        carried[rows] = (turned @ units[rows].T).T
    return carried


def check_float64(array):
    """Raise unless float64, in which sums are taken, is there on an array's device."""
    xp, device = namespace_of(array), device_of(array)
    if _max_precision_float_dtype(xp, device) != xp.float64:
        raise TypeError(
            f"The device {device} has no float64, in which sums are taken here. Move "
            "the arrays to one that has it, the CPU for instance."
        )


def read_dtypes(array):
    """Return the dtypes an array may keep when it is read, the first the default."""
    xp = namespace_of(array) if keeps(array) else NUMPY
    half = [getattr(xp, name) for name in ("float16", "bfloat16") if hasattr(xp, name)]
    if getattr(array, "dtype", None) in half:
        return (xp.float32,)
    return xp.float64, xp.float32

"""Functions for arrays of several libraries: namespaces, devices and conversions.

When layers are read, arrays of other libraries are converted to numpy, unless
scikit-learn's `array_api_dispatch` is enabled. Later code only looks at the arrays,
because threads and workers do not share the configuration. Code for all libraries uses
the functions of the array API standard (`xp.astype`, `xp.matmul`, `xp.take`, ...).
Small, sparse and combinatorial problems are solved in numpy, on the CPU.
"""

from datetime import date, timedelta

import numpy as np
from scipy.sparse import issparse
from sklearn import get_config

from skmot._utils.sklearn import (
    array_api_compat,
    convert_to_numpy,
    max_precision_float_dtype,
)
from skmot._utils.sparse import ShiftedSparse, is_sparse

# scikit-learn's wrapper of numpy. A stack must have the same namespace as the arrays
# that it is combined with.
NUMPY = array_api_compat.array_namespace(np.empty(0))
# Dtype kinds of strings, bytes, structured arrays, dates and time differences.
_NON_NUMERIC_KINDS = tuple("USVMm")
_NON_NUMERIC = (str, bytes, date, timedelta, np.datetime64, np.timedelta64)
# Smaller matrices fit into the processor's cache while they are transposed (1 MB of
# float32). Larger matrices are transposed in blocks of as many rows as fill a cache
# line, which was the fastest of 16 to 512 rows.
_CACHED_ENTRIES = 2**18
_ROWS_TURNED = 16


def namespace_of(*arrays):
    """Return the array API namespace of arrays.

    Parameters
    ----------
    *arrays : array
        One or more arrays of one library.

    Returns
    -------
    xp : module
        Namespace of the arrays. For numpy arrays, this is scikit-learn's wrapper of
        numpy, which has the functions of the standard (`xp.astype`, `xp.matmul`,
        `xp.concat`) for all versions of numpy. It is that of sparse arrays, too.
    """
    if all(type(array) is np.ndarray or is_sparse(array) for array in arrays):
        # A shortcut, because this function is called very often.
        return NUMPY
    return array_api_compat.array_namespace(*arrays)


def device_of(array):
    """Return the device of an array, in the form of its namespace's `device=`."""
    if is_sparse(array):
        return "cpu"
    return array_api_compat.device(array)


def on_same_device(first, second):
    """Whether two arrays have the same namespace and device."""
    return namespace_of(first) is namespace_of(second) and (
        device_of(first) == device_of(second)
    )


def device_reference(array):
    """Return an empty array with the namespace and device of an array."""
    xp = namespace_of(array)
    return xp.empty(0, dtype=xp.bool, device=device_of(array))


def is_dispatched(array):
    """Whether array API dispatch is enabled for an array of another library than numpy.

    All other objects, such as lists and DataFrames, are converted to numpy arrays.
    """
    return get_config()["array_api_dispatch"] and is_foreign(array)


def is_foreign(array):
    """Whether an object is an array of another library than numpy."""
    return array_api_compat.is_array_api_obj(array) and not isinstance(
        array, np.ndarray | np.generic
    )


def non_numeric_type(array):
    """Return the type of strings or dates in an array, or None if there are none.

    numpy converts strings of digits, and dates, to numbers silently.
    """
    dtype = getattr(array, "dtype", None)
    if getattr(dtype, "kind", None) in _NON_NUMERIC_KINDS:
        return str(dtype)
    if isinstance(array, np.ndarray) and dtype.kind == "O":
        for kind in dict.fromkeys(map(type, array.ravel())):
            if issubclass(kind, _NON_NUMERIC):
                return kind.__name__
    return None


def as_numbers(values, argument):
    """Convert the numbers that an argument holds to a float64 array.

    Parameters
    ----------
    values : array-like
        Numbers that are no layer, such as weights or penalties.
    argument : str
        Name of the argument in error messages.

    Returns
    -------
    numbers : ndarray of float64
        The numbers, possibly the given array.

    Raises
    ------
    TypeError, ValueError
        If something else is given. Strings of digits count as strings.
    """
    try:
        numbers = to_numpy(values)
        found = non_numeric_type(numbers)
        if found is None and numbers.dtype.kind != "c":
            return np.asarray(numbers, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise type(error)(f"`{argument}` must be real numbers ({error}).") from error
    raise ValueError(
        f"`{argument}` must be real numbers; got {found or 'complex numbers'}."
    )


def as_array(array):
    """Convert an object to a numpy array, unless it is dispatched to its own library.

    Parameters
    ----------
    array : array-like
        Object to convert.

    Returns
    -------
    array : array
        The same array if `is_dispatched(array)`, otherwise a numpy array.

    Raises
    ------
    TypeError
        If the array is of another library and numpy cannot read it, for instance
        because it is on a GPU, or if it requires gradients.
    """
    if not is_foreign(array):
        return np.asarray(array)
    if is_dispatched(array):
        if getattr(array, "requires_grad", False):
            raise TypeError(f"The array requires gradients. {_remedy(array)}")
        return array
    try:
        return np.asarray(array)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{str(error).rstrip('.')}. {_remedy(array)}") from error


def _remedy(array):
    """Say what to do with an array that numpy cannot read."""
    if getattr(array, "requires_grad", False):
        return (
            "Take it out of the graph of gradients: `layer.detach()`, or record "
            "activations within `torch.no_grad()`."
        )
    if "bfloat16" in str(getattr(array, "dtype", "")):
        return "numpy has no bfloat16: convert with `layer.float()`."
    return (
        "Move it to the CPU, `layer.cpu()`, or use "
        "`sklearn.set_config(array_api_dispatch=True)` to work with arrays of other "
        "libraries than numpy on their device."
    )


def to_numpy(array):
    """Convert an array to a numpy array on the CPU.

    Parameters
    ----------
    array : array-like or sparse array
        Array of any library on any device, or another object that numpy can convert.

    Returns
    -------
    array : ndarray
        Numpy array, which may share memory with the input.
    """
    if issparse(array):
        return array.toarray()
    if is_foreign(array):
        return convert_to_numpy(array, namespace_of(array))
    return np.asarray(array)


def move_to_device_of(reference, array):
    """Move an array to the namespace and the device of another.

    Parameters
    ----------
    reference : array
        Array whose namespace and device are used.
    array : array
        Array to move, of any library and on any device.

    Returns
    -------
    array : array
        Array of the same dtype. The same object if no move is necessary.
    """
    xp, device = namespace_of(reference), device_of(reference)
    if namespace_of(array) is not xp:
        # Every library can convert numpy arrays, but some do not support negative
        # strides or read-only memory.
        array = to_numpy(array)
        if xp is namespace_of(array):
            return array
        return xp.asarray(np.require(array, requirements=["C", "W"]), device=device)
    return array_api_compat.to_device(array, device)


def numpy_dtype(array):
    """Return the numpy dtype that corresponds to the dtype of an array."""
    if isinstance(array, np.ndarray) or is_sparse(array):
        return array.dtype
    xp = namespace_of(array)
    return to_numpy(xp.empty(0, dtype=array.dtype)).dtype


def select(array, indices, axis):
    """Select rows or columns of a matrix by their indices.

    Parameters
    ----------
    array : array of shape (n, m)
        Matrix of any library, on any device, or sparse array.
    indices : ndarray of int of shape (n_selected,)
        Indices of the rows or columns.
    axis : {0, 1}
        0 selects rows, 1 selects columns.

    Returns
    -------
    selected : array
        New array in the namespace and on the device of the matrix.
    """
    if issparse(array):
        return array[indices] if axis == 0 else array[:, indices]
    if not isinstance(array, np.ndarray):
        xp = namespace_of(array)
        return xp.take(array, move_to_device_of(array, indices), axis=axis)
    # `take` selects columns six times as fast as indexing, but it first copies an array
    # that is not contiguous.
    if array.flags.c_contiguous:
        return np.take(np.asarray(array), indices, axis=axis)
    return array[indices] if axis == 0 else array[:, indices]


def check_same_device(array, reference, estimator, method):
    """Raise an error unless an array has the namespace and device of the fit.

    Parameters
    ----------
    array : array
        Argument of a method of a fitted estimator.
    reference : array
        Array in the namespace and on the device of the fitted attributes.
    estimator : estimator
        The fitted estimator.
    method : str
        Name of the method in error messages.

    Raises
    ------
    ValueError
        If the array is of another library or on another device.
    """
    if on_same_device(array, reference):
        return
    given, fitted = (
        f"{namespace_of(part).__name__} on {device_of(part)}"
        for part in (array, reference)
    )
    raise ValueError(
        f"Inputs passed to {type(estimator).__name__}.{method}() must use the same "
        f"namespace and the same device as those passed to fit(): got {given}, and the "
        f"fit was to {fitted}. Move the arrays, or the estimator by "
        "`sklearn.utils._array_api.move_estimator_to(estimator, xp, device)`. Without "
        "`array_api_dispatch`, arrays of other libraries are converted to numpy."
    )


def check_numpy(array, what):
    """Raise an error if an array is not a numpy array.

    Parameters
    ----------
    array : array
        Array to check.
    what : str
        Name of the function or estimator, which the error message starts with.
    """
    if is_foreign(array):
        raise TypeError(
            f"{what} takes arrays of numpy only; X is of "
            f"{namespace_of(array).__name__}. Convert the layers to numpy arrays. "
            "Arrays on the CPU are converted automatically without "
            "`array_api_dispatch`."
        )


def apply_plan(units, plan):
    """Multiply units by a sparse matrix, such as a transport plan.

    Parameters
    ----------
    units : array of shape (n_stimuli, n_input_units)
        Units of any library, on any device, or sparse units.
    plan : sparse array of shape (n_input_units, n_output_units)
        SciPy sparse array.

    Returns
    -------
    mapped : array of shape (n_stimuli, n_output_units)
        New dense array in the namespace, on the device and in the precision of the
        units.
    """
    if is_sparse(units):
        return ShiftedSparse.of(units).times(plan)
    if isinstance(units, np.ndarray):
        return _apply_plan_in_numpy(units, plan.tocsr().astype(units.dtype))
    # The array API standard has no sparse arrays, so the plan becomes dense.
    xp = namespace_of(units)
    weights = plan.astype(numpy_dtype(units)).toarray()
    return xp.matmul(units, move_to_device_of(units, weights))


def _apply_plan_in_numpy(units, plan):
    if units.size < _CACHED_ENTRIES or not units.flags.c_contiguous:
        return units @ plan
    # SciPy transposes the dense matrix, which takes most of the time for a large one.
    # Blocks of rows are faster.
    mapped = np.empty((len(units), plan.shape[1]), dtype=units.dtype)
    transposed = plan.T.tocsr()
    for start in range(0, len(units), _ROWS_TURNED):
        rows = slice(start, start + _ROWS_TURNED)
        mapped[rows] = (transposed @ units[rows].T).T
    return mapped


def check_float64(array):
    """Raise an error unless an array's device supports float64, used for sums."""
    xp, device = namespace_of(array), device_of(array)
    if max_precision_float_dtype(xp, device) != xp.float64:
        raise TypeError(
            f"The device {device} has no float64, which skmot uses for sums. Move "
            "the arrays to a device that supports it, for instance the CPU."
        )


def read_dtypes(array):
    """Return the dtypes that an input array may keep; other dtypes become the first."""
    xp = namespace_of(array) if is_dispatched(array) else NUMPY
    half = [getattr(xp, name) for name in ("float16", "bfloat16") if hasattr(xp, name)]
    if getattr(array, "dtype", None) in half:
        return (xp.float32,)
    return xp.float64, xp.float32

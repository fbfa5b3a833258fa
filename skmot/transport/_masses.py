"""Masses of rows and columns as integers, which flows use without rounding."""

import math

import numpy as np

from skmot._utils.array_api import as_numbers

# Weights that are not small whole numbers are rounded to multiples of 1 over about this
# total. Flows of the network simplex are then sums of integers below 2^53, which are
# exact in float64, also in the extended problem of partial transport. For 10,000 units
# the resolution is 1e-8 of the mean mass.
RESOLUTION = 2**40
# Weights count as whole numbers if they sum to at most this. The least common multiple
# of two such sums is at most the resolution.
_LARGEST_SUM = 2**20
# Sums of larger weights could overflow.
_LARGEST_WEIGHT = 1e150
# Ratios of weights that differ from whole numbers by less than this are rounded.
_ROUNDING = 1e-12


def whole_masses(shape, row_weights=None, column_weights=None):
    """Return the mass of each row and of each column as integers.

    Parameters
    ----------
    shape : tuple of int
        Number n of rows and number k of columns.
    row_weights, column_weights : array-like of shape (n,) and (k,), default=None
        Positive weights. None means equal weights.

    Returns
    -------
    row_masses, column_masses : ndarray of int64 of shape (n,) and (k,)
        Masses with equal sums. Without weights they are k/g and n/g, where g is the
        greatest common divisor of n and k.

    Raises
    ------
    ValueError
        If there is not one positive, finite weight for each row and each column.
    """
    weights = [
        None if given is None else _check_weights(given, length, name)
        for given, length, name in zip(
            (row_weights, column_weights),
            shape,
            ("row_weights", "column_weights"),
            strict=True,
        )
    ]
    wholes = [
        np.ones(length, dtype=np.int64) if given is None else _as_whole_numbers(given)
        for given, length in zip(weights, shape, strict=True)
    ]
    sums = [int(whole.sum()) for whole in wholes if whole is not None]
    total = math.lcm(*sums)
    if len(sums) < 2:
        total *= RESOLUTION // total
    return tuple(
        _apportion(given, total) if whole is None else whole * (total // whole.sum())
        for given, whole in zip(weights, wholes, strict=True)
    )


def mean_over_mass(values, masses):
    """Return the mean of the values of rows, or of columns, weighted by their masses.

    Parameters
    ----------
    values : ndarray of shape (n,)
        One value per row or column.
    masses : ndarray of int64 of shape (n,)
        Masses.

    Returns
    -------
    mean : float
        Weighted mean.
    """
    if masses.min() == masses.max():
        return float(values.mean())
    return float(masses @ values / masses.sum())


def _check_weights(weights, length, name):
    weights = as_numbers(weights, name)
    if weights.shape != (length,):
        raise ValueError(
            f"`{name}` must have shape ({length},), like the costs; got shape "
            f"{weights.shape}."
        )
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        raise ValueError(f"`{name}` must be positive and finite.")
    if weights.max() <= _LARGEST_WEIGHT:
        return weights
    return np.maximum(weights / weights.max(), np.finfo(np.float64).tiny)


def _as_whole_numbers(weights):
    """Return whole numbers in the ratios of the weights, or None if there are none."""
    with np.errstate(over="ignore"):
        relative = weights / weights.min()
    for ratios in (weights, relative):
        whole = np.rint(ratios)
        if not whole.sum() <= _LARGEST_SUM:
            continue
        if whole.min() > 0 and np.allclose(ratios, whole, rtol=_ROUNDING, atol=0.0):
            whole = whole.astype(np.int64)
            return whole // np.gcd.reduce(whole)
    return None


def _apportion(weights, total):
    """Divide a whole number in proportion to weights, into whole numbers above 0.

    Fractions are rounded down, and those with the largest remainders are rounded up.
    """
    shares = weights / weights.sum() * total
    masses = np.maximum(np.floor(shares), 1.0).astype(np.int64)
    missing = total - int(masses.sum())
    if missing > 0:
        masses[np.argsort(masses - shares, kind="stable")[:missing]] += 1
    else:
        # Tiny weights were rounded up to 1.
        masses[np.argmax(masses)] += missing
    return masses

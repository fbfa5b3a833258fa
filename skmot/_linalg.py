"""Factorisations in the namespace, on the device and in the precision of an array."""

from functools import partial

import numpy as np
import scipy.linalg

from skmot._array_api import namespace_of


def thin_qr(matrix):
    """Factorise a matrix of at least as many rows as columns: Q, R.

    Parameters
    ----------
    matrix : array of shape (n, k)
        Finite.

    Returns
    -------
    basis : array of shape (n, min(n, k))
        Orthonormal columns.
    triangular : array of shape (min(n, k), k)
        With basis @ triangular = matrix.
    """
    if isinstance(matrix, np.ndarray):
        # numpy's own works on float32 in float64, which takes half as long again.
        return scipy.linalg.qr(matrix, mode="economic", check_finite=False)
    return namespace_of(matrix).linalg.qr(matrix)


def thin_svd(matrix):
    """Factorise a matrix into singular vectors and values: U, s, V'.

    Parameters
    ----------
    matrix : array of shape (n, k)
        Finite, not empty.

    Returns
    -------
    left : array of shape (n, min(n, k))
        Orthonormal columns.
    values : array of shape (min(n, k),)
        Falling.
    right : array of shape (min(n, k), k)
        Orthonormal rows.
    """
    if isinstance(matrix, np.ndarray):
        # As above: it takes twice as long.
        svd = partial(scipy.linalg.svd, full_matrices=False, check_finite=False)
        try:
            return svd(matrix)
        except np.linalg.LinAlgError:
            # Divide and conquer fails to converge on some float32 products of bases,
            # of which many singular values are one; QR iterations are slower.
            return svd(matrix, lapack_driver="gesvd")
    return namespace_of(matrix).linalg.svd(matrix, full_matrices=False)


def triangular_factor(vectors):
    """Return a matrix of at most as many rows as columns with the same products.

    That is the R of vectors = Q R, where there are more rows than columns; the products
    R'R of its columns are those of the vectors. Rows are read a few at a time.

    Parameters
    ----------
    vectors : array of shape (n, k)
        Finite.

    Returns
    -------
    factor : array of shape (min(n, k), k)
        The vectors themselves where n is at most k.
    """
    n, k = vectors.shape
    if n <= k:
        return vectors
    xp = namespace_of(vectors)
    factor = vectors[:0, :]
    # Steps of twice as many rows as columns: a third of the work is what was found.
    for start in range(0, n, 2 * k):
        rows = vectors[start : min(start + 2 * k, n), :]
        factor = thin_qr(xp.concat([factor, rows], axis=0))[1]
    return factor

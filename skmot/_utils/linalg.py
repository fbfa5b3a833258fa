"""Matrix factorisations for arrays of all libraries, devices and precisions."""

from functools import partial

import numpy as np
import scipy.linalg

from skmot._utils.array_api import namespace_of


def thin_qr(matrix):
    """Compute the reduced QR decomposition of a matrix.

    Parameters
    ----------
    matrix : array of shape (n, k)
        Finite matrix.

    Returns
    -------
    basis : array of shape (n, min(n, k))
        Matrix Q with orthonormal columns.
    triangular : array of shape (min(n, k), k)
        Upper triangular matrix R with Q R = matrix.
    """
    if isinstance(matrix, np.ndarray):
        # numpy factorises float32 in float64, which takes 1.5 times as long.
        return scipy.linalg.qr(matrix, mode="economic", check_finite=False)
    return namespace_of(matrix).linalg.qr(matrix)


def thin_svd(matrix):
    """Compute the reduced singular value decomposition of a matrix, U diag(s) V'.

    Parameters
    ----------
    matrix : array of shape (n, k)
        Finite matrix that is not empty.

    Returns
    -------
    left : array of shape (n, min(n, k))
        Matrix U with orthonormal columns.
    values : array of shape (min(n, k),)
        Singular values s in descending order.
    right : array of shape (min(n, k), k)
        Matrix V' with orthonormal rows.
    """
    if isinstance(matrix, np.ndarray):
        # As in `thin_qr`: for float32, numpy takes twice as long.
        svd = partial(scipy.linalg.svd, full_matrices=False, check_finite=False)
        try:
            return svd(matrix)
        except np.linalg.LinAlgError:
            # Divide and conquer does not converge for some float32 products of bases,
            # which have many singular values of one. QR iterations are slower.
            return svd(matrix, lapack_driver="gesvd")
    return namespace_of(matrix).linalg.svd(matrix, full_matrices=False)


def triangular_factor(vectors):
    """Return a matrix with few rows whose columns have the same inner products.

    If n > k, this is the R of the decomposition vectors = Q R, with R'R =
    vectors'vectors. Rows are read a few at a time.

    Parameters
    ----------
    vectors : array of shape (n, k)
        Finite matrix.

    Returns
    -------
    factor : array of shape (min(n, k), k)
        Matrix R, or the vectors themselves if n is at most k.
    """
    n, k = vectors.shape
    if n <= k:
        return vectors
    xp = namespace_of(vectors)
    factor = vectors[:0, :]
    # Each step adds 2k rows to the k rows of the previous factor, so a third of the
    # rows are factorised again.
    for start in range(0, n, 2 * k):
        rows = vectors[start : min(start + 2 * k, n), :]
        factor = thin_qr(xp.concat([factor, rows], axis=0))[1]
    return factor

"""Matrix factorisations for arrays of all libraries, devices and precisions."""

import numpy as np
import scipy.linalg
from scipy.sparse import issparse

from skmot._utils.array_api import namespace_of
from skmot._utils.sparse import ShiftedSparse

try:
    # `numpy.linalg.svd` calls it in float64, which takes twice as long for float32.
    from numpy.linalg._umath_linalg import svd_s as _svd_of_float32
except ImportError:
    # Versions of numpy with other private names
    _svd_of_float32 = None

# Rows that `triangular_factor` adds in one step, for each column. The rows of the
# previous factor are factorised again: a fifth of all, in memory of five factors.
_ROWS_PER_COLUMN = 4
# Products with sparse units are computed in blocks of about this many entries (32 MB
# of float64), so that little is stored besides the result.
_PRODUCT_ENTRIES = 4_000_000


def inner_products(first, second):
    """Compute the inner products of all pairs of columns of two matrices.

    Parameters
    ----------
    first : array of shape (n, k) or ShiftedSparse
        First matrix.
    second : array of shape (n, m) or ShiftedSparse
        Second matrix. If neither is sparse, it has the namespace and device of the
        first one.

    Returns
    -------
    products : array of shape (k, m)
        Dense array, in numpy if a matrix is sparse.
    """
    if isinstance(first, ShiftedSparse):
        products = _empty_products(first, second)
        _multiply_sparse(first, second, products)
        return products
    if isinstance(second, ShiftedSparse):
        products = _empty_products(first, second)
        _multiply_sparse(second, first, products.T)
        return products
    xp = namespace_of(first, second)
    return xp.matmul(xp.matrix_transpose(first), second)


def _empty_products(first, second):
    dtype = np.result_type(first.dtype, second.dtype)
    return np.empty((first.shape[1], second.shape[1]), dtype)


def _multiply_sparse(first, second, products):
    """Write the inner products of sparse and other columns into an array.

    Columns are x = u - a and y = v - b, with sparse u and constants a and b. Their
    inner product is x'y = u'v - a sum(y) - b sum(u).
    """
    if isinstance(second, ShiftedSparse):
        entries, offsets, sums = second.matrix.tocsr(), second.offsets, second.sums()
    else:
        # SciPy would copy any other array for each block.
        entries, offsets = np.ascontiguousarray(second), np.zeros(second.shape[1])
        sums = second.sum(axis=0, dtype=np.float64)
    own_sums = first.matrix.sum(axis=0, dtype=np.float64)
    units = first.matrix.T
    step = max(1, _PRODUCT_ENTRIES // max(1, second.shape[1]))
    for start in range(0, len(own_sums), step):
        part = slice(start, start + step)
        block = units[part] @ entries
        block = block.toarray() if issparse(block) else block
        block -= np.multiply.outer(first.offsets[part], sums).astype(block.dtype)
        if offsets.any():
            constants = np.multiply.outer(own_sums[part], offsets)
            block -= constants.astype(block.dtype)
        products[part] = block


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


def complete_qr(matrix):
    """Compute the QR decomposition of a tall matrix with a square Q.

    Parameters
    ----------
    matrix : array of shape (n, k)
        Finite matrix with n >= k.

    Returns
    -------
    orthogonal : array of shape (n, n)
        Orthogonal matrix Q, whose first k columns span those of the matrix.
    triangular : array of shape (k, k)
        Upper triangular matrix R with Q[:, :k] R = matrix.
    """
    if isinstance(matrix, np.ndarray):
        orthogonal, triangular = scipy.linalg.qr(matrix, check_finite=False)
    else:
        qr = namespace_of(matrix).linalg.qr
        orthogonal, triangular = qr(matrix, mode="complete")
    return orthogonal, triangular[: matrix.shape[1], :]


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
    if not isinstance(matrix, np.ndarray):
        return namespace_of(matrix).linalg.svd(matrix, full_matrices=False)
    try:
        return _divide_and_conquer(matrix)
    except np.linalg.LinAlgError:
        # Divide and conquer does not converge for some float32 products of bases, which
        # have many singular values of one. QR iterations are slower.
        return scipy.linalg.svd(
            matrix, full_matrices=False, check_finite=False, lapack_driver="gesvd"
        )


def _divide_and_conquer(matrix):
    """Compute the reduced SVD in the precision of the matrix, without a lock.

    scipy holds Python's global lock meanwhile, so that other threads have to wait.
    """
    if matrix.dtype != np.float32:
        return np.linalg.svd(matrix, full_matrices=False)
    if _svd_of_float32 is None:
        return scipy.linalg.svd(matrix, full_matrices=False, check_finite=False)
    with np.errstate(invalid="ignore"):
        factors = _svd_of_float32(matrix, signature="f->fff")
    if np.isnan(factors[1]).any():
        raise np.linalg.LinAlgError("SVD did not converge")
    return factors


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
    xp, step = namespace_of(vectors), _ROWS_PER_COLUMN * k
    factor = vectors[:0, :]
    for start in range(0, n, step):
        rows = vectors[start : min(start + step, n), :]
        factor = _triangle(xp.concat([factor, rows], axis=0))
    return factor


def _triangle(matrix):
    """Return R of the reduced QR decomposition."""
    if isinstance(matrix, np.ndarray):
        # Without Q, which takes half of the time.
        (triangle,) = scipy.linalg.qr(matrix, mode="r", check_finite=False)
        return triangle[: matrix.shape[1], :]
    return namespace_of(matrix).linalg.qr(matrix)[1]

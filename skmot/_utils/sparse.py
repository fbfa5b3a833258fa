"""Sparse layers: their form in a stack, and sparse units with constants subtracted."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_array, csr_array, hstack, issparse


def as_csr(array):
    """Convert a sparse array or matrix to the form in which a stack stores it.

    Parameters
    ----------
    array : sparse array or matrix of shape (n_rows, n_columns)
        Any format of SciPy. It is not modified.

    Returns
    -------
    array : csr_array of shape (n_rows, n_columns)
        The same values, with sorted indices, and without duplicate entries and stored
        zeros. It shares memory with a CSR array that has this form already.
    """
    rows = csr_array(array)
    if not (rows.has_canonical_format and rows.data.all()):
        rows = rows.copy()
        rows.sum_duplicates()
        rows.eliminate_zeros()
    return rows


@dataclass(frozen=True)
class ShiftedSparse:
    """Sparse matrix with a constant subtracted from each column.

    Centred units are dense, but this form of them is sparse.

    Attributes
    ----------
    matrix : csc_array of shape (n_rows, n_columns)
        Sparse matrix in float32 or float64.
    offsets : ndarray of shape (n_columns,)
        Constant of each column in float64.
    """

    matrix: csc_array
    offsets: np.ndarray

    @classmethod
    def of(cls, array):
        """Return an array, which may be dense, sparse or shifted already."""
        if isinstance(array, cls):
            return array
        return cls(csc_array(array), np.zeros(array.shape[1]))

    @classmethod
    def side_by_side(cls, arrays):
        """Join the columns of several arrays, which may be dense or sparse."""
        parts = [cls.of(array) for array in arrays]
        return cls(
            hstack([part.matrix for part in parts], format="csc"),
            np.concatenate([part.offsets for part in parts]),
        )

    @property
    def shape(self):
        return self.matrix.shape

    @property
    def dtype(self):
        return self.matrix.dtype

    def columns(self, indices):
        """Return some columns as a dense array in float64."""
        columns = self.matrix[:, indices].toarray().astype(np.float64, copy=False)
        columns -= self.offsets[indices]
        return columns

    def sums(self):
        """Return the sum of each column in float64."""
        stored = self.matrix.sum(axis=0, dtype=np.float64)
        return stored - self.shape[0] * self.offsets

    def squared_norms(self):
        """Return the squared norm of each column in float64."""
        stored = self.matrix.astype(np.float64)
        squares = stored.power(2).sum(axis=0)
        products = 2 * self.offsets * stored.sum(axis=0)
        return squares - products + self.shape[0] * self.offsets**2

    def scaled(self, factors):
        """Return the columns multiplied by factors, in float64."""
        matrix = self.matrix.astype(np.float64, copy=True)
        matrix.data *= np.repeat(factors, np.diff(matrix.indptr))
        return ShiftedSparse(matrix, self.offsets * factors)

    def times(self, weights):
        """Multiply the matrix by sparse weights.

        Parameters
        ----------
        weights : sparse array of shape (n_columns, n_outputs)
            Weights of the columns.

        Returns
        -------
        product : ndarray of shape (n_rows, n_outputs)
            Product in the precision of the matrix.
        """
        constants = self.offsets @ weights
        product = (self.matrix @ weights.astype(self.dtype)).toarray(order="C")
        product -= constants.astype(self.dtype)
        return product


def is_sparse(array):
    """Whether an array is stored with its nonzero entries only, possibly shifted."""
    return issparse(array) or isinstance(array, ShiftedSparse)

"""Orthogonal matrices: random rotations, and solutions of Procrustes problems."""

import math
from functools import cached_property

import numpy as np
from scipy.stats import ortho_group, special_ortho_group

from skmot._utils.array_api import apply_plan, device_of, namespace_of
from skmot._utils.linalg import thin_qr, thin_svd

# Singular values that are rounding errors were measured in products of 10 to 3000
# units. They were at most 0.2 sqrt(n) epsilon times the largest singular value, in
# float32 and in float64.
_ROUNDING = 2.0


def random_rotation(n_units, random, *, reflections):
    """Sample an orthogonal matrix from the uniform distribution.

    Parameters
    ----------
    n_units : int
        Size of the matrix, at least 1.
    random : RandomState
        Random number generator.
    reflections : bool
        Whether to sample from O(n), which includes reflections, or from SO(n).

    Returns
    -------
    rotation : ndarray of shape (n_units, n_units)
        Orthogonal matrix in float64.
    """
    if n_units > 1:
        group = ortho_group if reflections else special_ortho_group
        return group.rvs(n_units, random_state=random)
    # SciPy needs at least two dimensions. In one dimension, the matrix is a sign.
    return np.array([[random.choice([-1.0, 1.0]) if reflections else 1.0]])


def differ(matrix, other):
    """Whether two sparse matrices of the same shape differ in any entry."""
    return matrix.nnz != other.nnz or (matrix != other).nnz > 0


def rounding_error(n, dtype, xp):
    """Return the expected rounding error of a sum of n terms of size one.

    It grows with sqrt(n). The worst case, n, is the tolerance of
    `numpy.linalg.matrix_rank`. For 1000 units in float32, that tolerance would discard
    so many shared dimensions that reconstruction errors increase by 2e-3. With this
    tolerance, they increase by 2e-5.

    Parameters
    ----------
    n : int
        Number of terms.
    dtype : dtype
        Dtype of the terms in the namespace.
    xp : module
        Array API namespace.

    Returns
    -------
    error : float
        Rounding error, 2 sqrt(n) epsilon.
    """
    return _ROUNDING * math.sqrt(n) * float(xp.finfo(dtype).eps)


class ProcrustesProblem:
    """Solver for the orthogonal R with the largest <R, M>, where M = cross weights'.

    The matrix `cross` is fixed and the weights vary between calls of `solve`. With
    M = U1 S V1' of rank r, all R = U1 V1' + U2 W V2' with orthogonal W are optimal. The
    solver returns the one nearest to the identity, which has W = polar(U2' V2). A basis
    of the columns of `cross` is computed once. Therefore, no n x n matrix is factorised
    unless `cross` has rank n.

    Parameters
    ----------
    cross : array of shape (n, k)
        First factor of M: inner products of n source units and k target units.
    spanning : array of shape (n, s), default=None
        Matrix whose columns span the columns of `cross`. It is used if s < k.

    Attributes
    ----------
    basis : array of shape (n, m) or None
        Orthonormal columns that span the columns of `cross`. None means the identity.
    core : array of shape (m, k)
        Coordinates of `cross` in the basis: basis @ core = cross.
    """

    def __init__(self, cross, spanning=None):
        if spanning is None or spanning.shape[1] >= cross.shape[1]:
            spanning = cross
        if spanning.shape[1] >= cross.shape[0]:
            self.basis, self.core = None, cross
        else:
            self.basis, self.core = thin_qr(spanning)
            if spanning is not cross:
                self.core = self.basis.T @ cross
        xp = namespace_of(cross)
        self._exact_core = xp.astype(self.core, xp.float64)
        self._negligible = rounding_error(cross.shape[0], cross.dtype, xp)
        self._known = None

    def solve(self, weights):
        """Compute the optimal R that is nearest to the identity.

        Parameters
        ----------
        weights : sparse array of shape (n, k)
            Second factor of M.

        Returns
        -------
        rotation : Rotation
            Matrix R in the precision of `cross`.
        """
        xp, dtype = namespace_of(self.core), self.core.dtype
        if dtype == xp.float64:
            coordinates, right = self._by_decomposition(weights)
        else:
            coordinates, right = self._by_squares(weights)
        right = xp.astype(right, dtype)
        if coordinates is None:
            return Rotation(self.basis, right)
        coordinates = xp.astype(coordinates, dtype)
        left = coordinates if self.basis is None else self.basis @ coordinates
        return Rotation(left, right, coordinates)

    def _by_decomposition(self, weights):
        """Compute the coordinates of U1 in the basis, and V1, by an SVD."""
        left, values, right = thin_svd(apply_plan(self._exact_core, weights.T))
        rank = _count(values > self._negligible * values[0])
        return self._simplify_full_rank(left[:, :rank], right[:rank, :].T)

    def _by_squares(self, weights):
        """Compute the coordinates of U1 in the basis, and V1, from M M'.

        This takes less than half the time of an SVD.
        """
        n, k = weights.shape
        if k > n:
            factors = self._eigenvectors(apply_plan(self._exact_core, weights.T))
            return self._simplify_full_rank(*factors)
        # V1 = weights mixture, where the mixture depends on weights' weights only. This
        # product is constant if every iteration couples the same number of source units
        # to each target unit, for instance one to one.
        overlaps = (weights.T @ weights).tocsr()
        if self._known is None or differ(self._known[0], overlaps):
            factors = self._eigenvectors(self._exact_core, overlaps)
            self._known = (overlaps, *self._simplify_full_rank(*factors))
        _, coordinates, mixture = self._known
        return coordinates, apply_plan(mixture.T, weights.T).T

    def _eigenvectors(self, core, overlaps=None):
        """Return U and core' U / s of core overlaps core' = U s^2 U', without zeros.

        In float64, s^2 is accurate for singular values s down to 4e-5 of the largest
        one. Smaller ones that are not rounding errors are rare. They are computed again
        after the space of the larger ones has been removed.
        """
        xp, basis = namespace_of(core), None
        unresolved = float(xp.finfo(xp.float64).eps / xp.finfo(self.core.dtype).eps)
        coordinates, mixtures, negligible = [], [], None
        while core.shape[0] > 0:
            product = core if overlaps is None else apply_plan(core, overlaps)
            squares, vectors = xp.linalg.eigh(product @ core.T)
            largest = max(float(squares[-1]), 0.0)
            if negligible is None:
                negligible = self._negligible**2 * largest
            first = _count(squares <= max(negligible, unresolved * largest))
            remaining, found = vectors[:, :first], vectors[:, first:]
            coordinates.append(found if basis is None else basis @ found)
            mixtures.append(core.T @ (found / xp.sqrt(squares[first:])))
            if unresolved * largest <= negligible:
                break
            core = remaining.T @ core
            basis = remaining if basis is None else basis @ remaining
            # Rounding errors leave parts of the vectors found in `core`, which would be
            # large compared to smaller singular values.
            product = core if overlaps is None else apply_plan(core, overlaps)
            core -= (product @ mixtures[-1]) @ mixtures[-1].T
        return xp.concat(coordinates, axis=1), xp.concat(mixtures, axis=1)

    def _simplify_full_rank(self, coordinates, right):
        """If U1 spans the whole basis, use the basis as U1 and rotate V1 accordingly.

        The coordinates returned are then None.
        """
        if coordinates.shape[1] == self.core.shape[0]:
            return None, right @ coordinates.T
        return coordinates, right


def _count(mask):
    return int(namespace_of(mask).count_nonzero(mask))


class Rotation:
    """The orthogonal R nearest to the identity that maps `right` to `left`.

    R = left right' + U2 polar(U2' V2) V2', where U2 and V2 span the orthogonal
    complements of left and right. On the complements, R is the direct rotation of Davis
    and Kahan, which maps the principal vectors q of right to the principal vectors p of
    left. With their cosines c,
    R = I + left (right - left)' - (q - c p) / (1 + c) (p + q)'.

    Parameters
    ----------
    left : array of shape (n, r) or None
        Orthonormal columns. None means the identity.
    right : array of shape (n, r)
        Orthonormal columns.
    coordinates : array of shape (m, r) or None
        Coordinates of `left` in the basis of a `ProcrustesProblem`. None means that
        `left` is the basis.
    """

    def __init__(self, left, right, coordinates=None):
        self.left, self.right, self.coordinates = left, right, coordinates

    def rotate(self, units, along):
        """Compute R' units.

        Parameters
        ----------
        units : array of shape (n, s)
            Units as rows.
        along : array of shape (m, s)
            Coordinates of the columns in the basis, basis' units.

        Returns
        -------
        rotated : array of shape (n, s)
            New array.
        """
        if self._is_matrix_faster:
            return self.matrix.T @ units
        if self.coordinates is not None:
            along = self.coordinates.T @ along
        return self._apply(units, along, self._complement_factors[0].T @ units)

    def rotate_within(self, units, along):
        """Compute R' units as `rotate`, for columns of `units` in the basis's span."""
        if self.coordinates is None:
            return self.right @ along
        return self.rotate(units, along)

    @cached_property
    def matrix(self):
        """Matrix R of shape (n, n)."""
        if self.left is None:
            return self.right.T
        xp, n = namespace_of(self.left), self.left.shape[0]
        identity = xp.eye(n, dtype=self.left.dtype, device=device_of(self.left))
        return self._apply(identity, self.left.T, self._complement_factors[0].T).T

    @property
    def _is_matrix_faster(self):
        """Whether multiplication by the full matrix takes fewer operations."""
        n, rank = self.right.shape
        return 2 * rank > n

    def _apply(self, units, along_left, along_complement):
        rotated = (self.right - self.left) @ along_left
        rotated += units
        rotated -= self._complement_factors[1] @ along_complement
        return rotated

    @cached_property
    def _complement_factors(self):
        """The factors (q - c p) / (1 + c) and p + q."""
        if self.left.shape[1] == 0:
            # R is the identity, and there is nothing to decompose.
            return self.left, self.right
        left_vectors, cosines, right_vectors = thin_svd(self.left.T @ self.right)
        left, right = self.left @ left_vectors, self.right @ right_vectors.T
        return (right - cosines * left) / (1 + cosines), left + right


class DenseRotation:
    """Orthogonal matrix with the methods of `Rotation`."""

    def __init__(self, matrix):
        self.matrix = matrix

    def rotate(self, units, along):
        """Compute R' units."""
        return self.matrix.T @ units

    rotate_within = rotate

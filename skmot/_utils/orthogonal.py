"""Orthogonal matrices: random rotations, and solutions of Procrustes problems."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import ortho_group, special_ortho_group

from skmot._utils.array_api import apply_plan, device_of, namespace_of
from skmot._utils.linalg import complete_qr, thin_qr, thin_svd

# Singular values that are rounding errors were measured in products of 10 to 3000
# units. They were at most 0.2 sqrt(n) epsilon times the largest singular value, in
# float32 and in float64.
_ROUNDING = 2.0
# Largest norm of a row of coefficients whose rounding errors in float32 are acceptable:
# they grow with the norm. It was at most 2.3 in couplings of 30 to 2048 units, and 3.9
# where 300 units are coupled with 299 in one chain.
_LARGE_MIXTURE = 10.0
# Largest number of columns of a complement, relative to those of the subspace, from
# which a rotation is computed by the complement. For 1024 units, this took 0.96 of the
# time of principal vectors at a ratio of 0.6, and 1.07 of it at 0.9.
_SMALL_COMPLEMENT = 0.75


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
    by `solve` unless `cross` has rank n.

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
        n, m = spanning.shape
        self.basis, self._complement, self.core = None, None, cross
        if m < n:
            if _is_small_complement(n - m, m):
                columns, self.core = complete_qr(spanning)
                self.basis, self._complement = columns[:, :m], columns[:, m:]
            else:
                self.basis, self.core = thin_qr(spanning)
            if spanning is not cross:
                self.core = self.basis.T @ cross
        xp = namespace_of(cross)
        self._exact_core = xp.astype(self.core, xp.float64)
        self._negligible = rounding_error(n, cross.dtype, xp)

    def split(self, units):
        """Split units into their part in the span of the basis, and the rest.

        Parameters
        ----------
        units : array of shape (n, s)
            Units as rows.

        Returns
        -------
        split : SplitUnits
            Units that `rotate` methods accept.
        """
        if self.basis is None:
            return SplitUnits(units, units)
        along = self.basis.T @ units
        if self._complement is not None:
            return SplitUnits(units, along, self._complement.T @ units)
        return SplitUnits(units, along, units - self.basis @ along)

    def solve(self, weights):
        """Compute the optimal R that is nearest to the identity.

        Parameters
        ----------
        weights : sparse array of shape (n, k)
            Second factor of M.

        Returns
        -------
        rotation : Rotation or DenseRotation
            Matrix R in the precision of `cross`.
        value : float
            The maximum <R, M>.
        """
        xp, dtype = namespace_of(self.core), self.core.dtype
        if dtype == xp.float64:
            *factors, value, first = self._by_decomposition(weights)
        else:
            *factors, value, first = self._by_squares(weights)
        found, rest, mixture = (xp.astype(factor, dtype) for factor in factors)
        rotation = self._rotation(found, rest, mixture, first)
        return rotation, value + self._remaining_value(rotation, rest, weights)

    def _by_decomposition(self, weights):
        """Compute the factors of `solve` by an SVD.

        Returns
        -------
        found, rest : array of shape (m, r) and (m, m - r)
            Coordinates of U1 in the basis, and of the part of U2 in its span.
        mixture : array
            Coefficients of V1 = first @ mixture.
        value : float
            Sum of the singular values.
        first : sparse array or None
            First factor of V1. None means the identity.
        """
        left, values, right = thin_svd(apply_plan(self._exact_core, weights.T))
        rank = _count(values > self._negligible * values[0])
        value = float(namespace_of(values).sum(values[:rank]))
        return left[:, :rank], left[:, rank:], right[:rank, :].T, value, None

    def _by_squares(self, weights):
        """Compute the same as `_by_decomposition` from M M'.

        This takes less than half the time of an SVD.
        """
        n, k = weights.shape
        if k > n:
            core = apply_plan(self._exact_core, weights.T)
            return *self._eigenvectors(core), None
        found, rest, mixture, value = self._eigenvectors(
            self._exact_core, (weights.T @ weights).tocsr()
        )
        xp = namespace_of(mixture)
        norms = xp.linalg.vector_norm(mixture, axis=1)
        # Other libraries have no sparse products, so that V1 itself takes less time.
        if isinstance(mixture, np.ndarray) and xp.max(norms) < _LARGE_MIXTURE:
            return found, rest, mixture, value, weights
        return found, rest, _multiply(weights, mixture), value, None

    def _eigenvectors(self, core, overlaps=None):
        """Return U1, U2, core' U1 / s and sum(s) of core overlaps core' = U s^2 U'.

        In float64, s^2 is accurate for singular values s down to 4e-5 of the largest
        one. Smaller ones that are not rounding errors are rare. They are computed again
        after the space of the larger ones has been removed.
        """
        xp, rest = namespace_of(core), None
        unresolved = float(xp.finfo(xp.float64).eps / xp.finfo(self.core.dtype).eps)
        found, mixtures, value, negligible = [], [], 0.0, None
        while True:
            product = core if overlaps is None else apply_plan(core, overlaps)
            squares, vectors = xp.linalg.eigh(product @ core.T)
            largest = max(float(squares[-1]), 0.0)
            if negligible is None:
                negligible = self._negligible**2 * largest
            first = _count(squares <= max(negligible, unresolved * largest))
            remaining, resolved = vectors[:, :first], vectors[:, first:]
            values = xp.sqrt(squares[first:])
            value += float(xp.sum(values))
            mixtures.append(core.T @ (resolved / values))
            found.append(resolved if rest is None else rest @ resolved)
            rest = remaining if rest is None else rest @ remaining
            if first == 0 or unresolved * largest <= negligible:
                break
            core = remaining.T @ core
            # Rounding errors leave parts of the vectors found in `core`, which would be
            # large compared to smaller singular values.
            product = core if overlaps is None else apply_plan(core, overlaps)
            core -= (product @ mixtures[-1]) @ mixtures[-1].T
        return xp.concat(found, axis=1), rest, xp.concat(mixtures, axis=1), value

    def _remaining_value(self, rotation, rest, weights):
        """Compute the part of <R, M> from the columns of M that count as zero."""
        if rest.shape[1] == 0:
            return 0.0
        units = rest if self.basis is None else self.basis @ rest
        rotated = rotation.rotate(SplitUnits(units, rest))
        columns = apply_plan(rest.T @ self.core, weights.T).T
        xp = namespace_of(columns)
        return float(xp.sum(rotated * columns, dtype=xp.float64))

    def _rotation(self, found, rest, mixture, weights):
        """Return R from the coordinates of U1 and U2 in the basis, and from V1."""
        xp, basis, complement = namespace_of(found), self.basis, self._complement
        if rest.shape[1] == 0:
            # U1 spans the whole basis: use the basis as U1 and rotate V1 accordingly.
            mixture = mixture @ found.T
            if basis is None:
                return DenseRotation(_multiply(weights, mixture).T)
            return Rotation(basis, mixture, weights, complement)
        if basis is None:
            return DenseRotation(Rotation(found, mixture, weights, rest).matrix)
        if complement is not None:
            complement = xp.concat([basis @ rest, complement], axis=1)
        return Rotation(basis, mixture, weights, complement, (found, rest))


def _is_small_complement(n_columns, rank):
    """Whether a complement has so few columns that a `Rotation` is computed by it."""
    return n_columns <= _SMALL_COMPLEMENT * rank


def _count(mask):
    return int(namespace_of(mask).count_nonzero(mask))


def _multiply(weights, array):
    """Multiply sparse weights by an array. None as weights means the identity."""
    return array if weights is None else apply_plan(array.T, weights.T).T


def _multiply_transposed(weights, array):
    """Multiply transposed sparse weights by an array, as `_multiply`."""
    return array if weights is None else apply_plan(array.T, weights).T


@dataclass(frozen=True)
class SplitUnits:
    """Units as rows, and their parts inside and outside of the span of a basis.

    Attributes
    ----------
    units : array of shape (n, s)
        Sum of both parts.
    along : array of shape (m, s)
        Coordinates of the columns in the basis, basis' units.
    beyond : array of shape (n, s) or (n - m, s), default=None
        Part that is orthogonal to the basis: its coordinates in the complement of the
        basis if the `ProcrustesProblem` has computed the complement, else the part
        itself. None means zero.
    """

    units: object
    along: object
    beyond: object = None


class Rotation:
    """The orthogonal R nearest to the identity that maps `right` to `left`.

    R = left right' + U2 polar(U2' V2) V2', where U2 and V2 span the orthogonal
    complements of left and right. It is computed in the faster of two ways:

    - If U2 has much fewer columns than left, from U2, V2 and the polar factor.
    - Otherwise from principal vectors. On the complements, R is the direct rotation of
      Davis and Kahan, which maps the principal vectors q of right to the principal
      vectors p of left. With their cosines c,
      R = I + left (right - left)' - (q - c p) / (1 + c) (p + q)'.

    Parameters
    ----------
    basis : array of shape (n, m)
        Orthonormal columns whose span includes that of `left`.
    mixture : array of shape (k, r)
        Second factor of right = weights @ mixture, whose columns are orthonormal.
    weights : sparse array of shape (n, k) or None
        First factor of right. Products with both factors take less time than products
        with right. None means the identity.
    complement : array of shape (n, n - r) or None
        U2, if it is known.
    coordinates : tuple of array of shape (m, r) and (m, m - r), default=None
        Coordinates in the basis of `left`, and of the part of the span of the basis
        that is orthogonal to `left`. The first m - r columns of U2, if given, are this
        part. None means that `left` is the basis.
    """

    def __init__(self, basis, mixture, weights, complement, coordinates=None):
        self.basis, self.coordinates = basis, coordinates
        self.left = basis if coordinates is None else basis @ coordinates[0]
        self.mixture, self.weights, self.complement = mixture, weights, complement
        self._uses_complement = complement is not None and _is_small_complement(
            complement.shape[1], mixture.shape[1]
        )

    def rotate(self, split):
        """Compute R' units.

        Parameters
        ----------
        split : SplitUnits
            Units, split by the `ProcrustesProblem` that R is a solution of.

        Returns
        -------
        rotated : array of shape (n, s)
            New array.
        """
        along, beyond = split.along, split.beyond
        if self.coordinates is not None:
            along, beyond = self._split_along(along, beyond)
        rotated = self.mixture @ along
        if beyond is None:
            return _multiply(self.weights, rotated)
        if self._uses_complement:
            rotated = _multiply(self.weights, rotated)
            rotated += self._rotated_complement @ beyond
            return rotated
        if self.complement is not None:
            beyond = self.complement @ beyond
        if self.mixture.shape[1] == 0:
            return beyond
        left, mixture, cosines = self._principal_pairs
        # Products of the units with q - c p, divided by 1 + c.
        parts = mixture.T @ _multiply_transposed(self.weights, beyond)
        parts /= 1 + cosines[:, np.newaxis]
        rotated -= mixture @ parts
        rotated = _multiply(self.weights, rotated)
        rotated -= left @ parts
        rotated += beyond
        return rotated

    def _split_along(self, along, beyond):
        """Move the part in the basis that is orthogonal to left to the part beyond."""
        found, rest = self.coordinates
        xp, outside = namespace_of(along), rest.T @ along
        if self.complement is None:
            outside = self.basis @ (rest @ outside)
            return found.T @ along, outside if beyond is None else beyond + outside
        if beyond is None:
            n_missing = self.complement.shape[1] - outside.shape[0]
            shape = n_missing, along.shape[1]
            beyond = xp.zeros(shape, dtype=along.dtype, device=device_of(along))
        return found.T @ along, xp.concat([outside, beyond], axis=0)

    @cached_property
    def matrix(self):
        """Matrix R of shape (n, n)."""
        left, right = self.left, _multiply(self.weights, self.mixture)
        if self._uses_complement:
            return left @ right.T + self.complement @ self._rotated_complement.T
        xp, n = namespace_of(left), left.shape[0]
        matrix = xp.eye(n, dtype=left.dtype, device=device_of(left))
        if right.shape[1] > 0:
            matrix += left @ (right - left).T
            p, mixture, cosines = self._principal_pairs
            q = _multiply(self.weights, mixture)
            matrix -= ((q - cosines * p) / (1 + cosines)) @ (p + q).T
        return matrix

    @cached_property
    def _rotated_complement(self):
        """R' U2 = V2 polar(V2' U2), of shape (n, n - r)."""
        others = self._complement_of_right()
        first, _, second = thin_svd(others.T @ self.complement)
        return others @ (first @ second)

    def _complement_of_right(self):
        """Compute V2, an orthonormal basis of what is orthogonal to right."""
        others = self.complement
        # Where U2 is nearly in the span of right, rounding errors of the first pass
        # are large. They are projected out by the second one.
        for _ in range(2):
            inside = self.mixture @ self._products_with_right(others)
            others = thin_qr(others - _multiply(self.weights, inside))[0]
        xp, (n, rank) = namespace_of(others), self.left.shape
        errors = self._products_with_right(others)
        if xp.max(xp.abs(errors)) > rounding_error(n, others.dtype, xp):
            # Some of U2 is in the span of right, so that projections do not find V2.
            right = _multiply(self.weights, self.mixture)
            return complete_qr(right)[0][:, rank:]
        return others

    def _products_with_right(self, units):
        return self.mixture.T @ _multiply_transposed(self.weights, units)

    @cached_property
    def _principal_pairs(self):
        """The vectors p, the mixtures of the vectors q, and their cosines c."""
        overlaps = _multiply_transposed(self.weights, self.left)
        vectors, cosines, right_vectors = thin_svd(overlaps.T @ self.mixture)
        return self.left @ vectors, self.mixture @ right_vectors.T, cosines


class DenseRotation:
    """Orthogonal matrix with the methods of `Rotation`."""

    def __init__(self, matrix):
        self.matrix = matrix

    def rotate(self, split):
        """Compute R' units."""
        return self.matrix.T @ split.units

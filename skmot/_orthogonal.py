"""Orthogonal maps between units: random ones, and those that best fit a coupling."""

import math
from functools import cached_property

import numpy as np
from scipy.stats import ortho_group, special_ortho_group

from skmot._array_api import carry, device_of, namespace_of
from skmot._linalg import thin_qr, thin_svd

# Of products of 10 to 3000 units, singular values that stand for nothing were at most
# 0.2 sqrt(n) epsilon times the largest, in float32 and in float64.
_ROUNDING = 2.0


def random_rotation(n_units, random, *, reflections):
    """Draw an orthogonal matrix, uniformly.

    Parameters
    ----------
    n_units : int
        At least 1.
    random : RandomState
        The source of randomness.
    reflections : bool
        Whether to draw from O(n), of both determinants, or from SO(n).

    Returns
    -------
    rotation : ndarray of shape (n_units, n_units)
        In float64.
    """
    if n_units > 1:
        group = ortho_group if reflections else special_ortho_group
        return group.rvs(n_units, random_state=random)
    # SciPy draws in two dimensions and more; in one, a rotation is a sign.
    return np.array([[random.choice([-1.0, 1.0]) if reflections else 1.0]])


def differ(matrix, other):
    """Whether two sparse matrices of one shape differ in any entry."""
    return matrix.nnz != other.nnz or (matrix != other).nnz > 0


def rounding_error(n, dtype, xp):
    """How large the sum of n terms around one may be, of rounding alone.

    Their errors add up like sqrt(n). In the worst case it is n, which
    `numpy.linalg.matrix_rank` takes; but that leaves out of what 1000 units in float32
    share so much that errors of reconstruction rise by 2e-3, this by 2e-5.
    """
    return _ROUNDING * math.sqrt(n) * float(xp.finfo(dtype).eps)


class ProcrustesProblem:
    """The orthogonal R of largest <R, cross weights'>, for one cross and any weights.

    With M = cross weights' = U1 S V1' of rank r, every R = U1 V1' + U2 W V2' with
    orthogonal W is as good. The answer is the one nearest to the identity, which has
    W = polar(U2' V2). A basis of the columns of `cross` is found once, so that no
    matrix of all units is factorised unless its rank is theirs.

    Parameters
    ----------
    cross : array of shape (n, k)
        First factor of M: products of n source units and k target units.
    spanning : array of shape (n, s), default=None
        Whose columns span those of `cross`; used where s < k.

    Attributes
    ----------
    basis : array of shape (n, m) or None
        Orthonormal columns that span those of `cross`; None stands for the identity.
    core : array of shape (m, k)
        basis @ core = cross.
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
        """Find the best R, of those that are as good the nearest to the identity.

        Parameters
        ----------
        weights : sparse array of shape (n, k)
            Second factor of M.

        Returns
        -------
        rotation : Rotation
            In the precision of `cross`.
        """
        xp, dtype = namespace_of(self.core), self.core.dtype
        if dtype == xp.float64:
            place, right = self._by_decomposition(weights)
        else:
            place, right = self._by_squares(weights)
        right = xp.astype(right, dtype)
        if place is None:
            return Rotation(self.basis, right)
        place = xp.astype(place, dtype)
        left = place if self.basis is None else self.basis @ place
        return Rotation(left, right, place)

    def _by_decomposition(self, weights):
        """Find U1, in the basis, and V1 by singular value decomposition."""
        left, values, right = thin_svd(carry(self._exact_core, weights.T))
        rank = _count(values > self._negligible * values[0])
        return self._all_or_some(left[:, :rank], right[:rank, :].T)

    def _by_squares(self, weights):
        """Find U1, in the basis, and V1 from M M', in less than half the time."""
        n, k = weights.shape
        if k > n:
            found = self._eigenvectors(carry(self._exact_core, weights.T))
            return self._all_or_some(*found)
        # V1 is what U1 makes of a mixture of the weights: products of k x k, which stay
        # as they are where each round couples one to one, or so many to one.
        overlaps = (weights.T @ weights).tocsr()
        if self._known is None or differ(self._known[0], overlaps):
            found = self._eigenvectors(self._exact_core, overlaps)
            self._known = (overlaps, *self._all_or_some(*found))
        _, place, mixture = self._known
        return place, carry(mixture.T, weights.T).T

    def _eigenvectors(self, core, overlaps=None):
        """Return U and core' U / s of core overlaps core' = U s^2 U', without zeros.

        Of squares float64 resolves what float32 does of numbers: those of singular
        values down to 4e-5 of the largest. The few that are smaller, and no rounding
        error, are found from what the others leave.
        """
        xp, place = namespace_of(core), None
        unresolved = float(xp.finfo(xp.float64).eps / xp.finfo(self.core.dtype).eps)
        places, mixtures, negligible = [], [], None
        while core.shape[0] > 0:
            moved = core if overlaps is None else carry(core, overlaps)
            squares, vectors = xp.linalg.eigh(moved @ core.T)
            largest = max(float(squares[-1]), 0.0)
            if negligible is None:
                negligible = self._negligible**2 * largest
            first = _count(squares <= max(negligible, unresolved * largest))
            rest, found = vectors[:, :first], vectors[:, first:]
            places.append(found if place is None else place @ found)
            mixtures.append(core.T @ (found / xp.sqrt(squares[first:])))
            if unresolved * largest <= negligible:
                break
            core, place = rest.T @ core, rest if place is None else place @ rest
            # What rounding left in it of those found would show beside smaller ones.
            moved = core if overlaps is None else carry(core, overlaps)
            core -= (moved @ mixtures[-1]) @ mixtures[-1].T
        return xp.concat(places, axis=1), xp.concat(mixtures, axis=1)

    def _all_or_some(self, place, right):
        """Where U1 is all of the basis, leave that as it is and turn the other side."""
        if place.shape[1] == self.core.shape[0]:
            return None, right @ place.T
        return place, right


def _count(mask):
    return int(namespace_of(mask).count_nonzero(mask))


class Rotation:
    """The orthogonal R that takes `right` to `left`, nearest to the identity.

    That is R = left right' + U2 polar(U2' V2) V2', with U2 and V2 what left and right
    leave out. On these it is the direct rotation of Davis and Kahan, which turns the
    principal vectors q of right into those p of left, so that with their cosines c
    R = I + left (right - left)' - (q - c p) / (1 + c) (p + q)'.

    Parameters
    ----------
    left : array of shape (n, r) or None
        Orthonormal columns; None is the identity.
    right : array of shape (n, r)
        Orthonormal columns.
    place : array of shape (m, r) or None
        Where `left` is in the basis of a `ProcrustesProblem`; None is all of it.
    """

    def __init__(self, left, right, place=None):
        self.left, self.right, self.place = left, right, place

    def turn(self, units, along):
        """Return R' units.

        Parameters
        ----------
        units : array of shape (n, s)
            A row a unit.
        along : array of shape (m, s)
            basis' units.

        Returns
        -------
        turned : array of shape (n, s)
            A new one.
        """
        if self._is_wide:
            return self.matrix.T @ units
        if self.place is not None:
            along = self.place.T @ along
        return self._turned(units, along, self._rest[0].T @ units)

    def turn_within(self, units, along):
        """Return R' units, as `turn`, for units whose columns the basis spans."""
        return self.right @ along if self.place is None else self.turn(units, along)

    @cached_property
    def matrix(self):
        """R, of shape (n, n)."""
        if self.left is None:
            return self.right.T
        xp, n = namespace_of(self.left), self.left.shape[0]
        identity = xp.eye(n, dtype=self.left.dtype, device=device_of(self.left))
        return self._turned(identity, self.left.T, self._rest[0].T).T

    @property
    def _is_wide(self):
        """Whether products with the matrix are the cheaper ones."""
        n, rank = self.right.shape
        return 2 * rank > n

    def _turned(self, units, along_left, along_away):
        turned = (self.right - self.left) @ along_left
        turned += units
        turned -= self._rest[1] @ along_away
        return turned

    @cached_property
    def _rest(self):
        """(q - c p) / (1 + c), and p + q."""
        if self.left.shape[1] == 0:
            # Where nothing is turned there is nothing to decompose.
            return self.left, self.right
        turn_left, cosines, turn_right = thin_svd(self.left.T @ self.right)
        left, right = self.left @ turn_left, self.right @ turn_right.T
        return (right - cosines * left) / (1 + cosines), left + right


class DenseRotation:
    """An orthogonal matrix, with the methods of `Rotation`."""

    def __init__(self, matrix):
        self.matrix = matrix

    def turn(self, units, along):
        """Return R' units."""
        return self.matrix.T @ units

    turn_within = turn

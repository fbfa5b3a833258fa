"""Procrustes distance, and the orthogonal map that it is based on."""

import math

import numpy as np

from skmot._utils.array_api import namespace_of, to_numpy
from skmot._utils.sklearn import validate_params
from skmot.metrics._matching import read_curves


@validate_params(
    {"center": ["boolean"], "scale": ["boolean"]}, prefer_skip_nested_validation=True
)
def procrustes_distance(X, Y, *, center=True, scale=True):
    """Procrustes distance between two populations, which does not depend on the basis.

    ``d_O(X, Y)^2 = |X|_F^2 + |Y|_F^2 - 2 |X'Y|_*`` ([1]_, eq. 5), where ``|.|_*`` is
    the sum of the singular values. For populations of equal size it is the minimum of
    ``|X - Y Q|_F`` over orthogonal Q (eq. 4). For other sizes it is this minimum after
    adding units of 0 to the smaller population.

    Parameters
    ----------
    X : array-like of shape (n_stimuli, n_units_x)
        Responses of the first population.
    Y : array-like of shape (n_stimuli, n_units_y)
        Responses of the second population to the same stimuli.
    center : bool, default=True
        Whether to subtract the mean of each unit over the stimuli.
    scale : bool, default=True
        Whether to divide each population by its Frobenius norm, as in [1]_. Individual
        units are not scaled, so units of large variance have more weight.

    Returns
    -------
    distance : float
        Symmetric distance, at least 0; with `scale` at most sqrt(2).

    Raises
    ------
    ValueError, TypeError
        If X and Y are not two-dimensional arrays of finite numbers over the same
        stimuli, or every unit of a population is constant.

    Warns
    -----
    DeadUnitWarning
        If units are constant over the stimuli. These units are left out.

    See Also
    --------
    soft_matching_distance : Distance that depends on the basis.
    skmot.Procrustes : The estimator, which also makes predictions.

    References
    ----------
    .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
       representations that captures single-neuron tuning. UniReps, PMLR, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import ortho_group
    >>> from skmot.metrics import procrustes_distance, soft_matching_distance
    >>> X = np.random.default_rng(0).normal(size=(50, 8))
    >>> rotated = X @ ortho_group.rvs(8, random_state=0)
    >>> round(procrustes_distance(X, rotated), 6)
    0.0
    >>> round(soft_matching_distance(X, rotated), 1)
    1.1
    """
    first, second = (
        curves.vectors / math.sqrt(curves.vectors.shape[1]) if scale else curves.vectors
        for curves in read_curves(X, Y, "sqeuclidean", center, scale)
    )
    xp = namespace_of(first, second)
    # In float32 the differences of populations that are nearly alike would be rounding.
    first, second = (xp.astype(part, xp.float64) for part in (first, second))
    return math.sqrt(squared_distance(first, second, align_orthogonally(first, second)))


def squared_distance(X, Y, rotation):
    """Return |X|^2 + |Y|^2 - 2 <X T, Y> from sums of squared differences.

    That is |X T - Y|^2 + |X - X T T'|^2 for a partial isometry T. Unlike the difference
    of norms it has all its digits where the populations are alike.

    Parameters
    ----------
    X, Y : array of shape (n_stimuli, n_units_x) and (n_stimuli, n_units_y)
        Two populations.
    rotation : array of shape (n_units_x, n_units_y)
        T, as `align_orthogonally` returns it.

    Returns
    -------
    squared : float
        At least 0.
    """
    xp = namespace_of(X, Y)
    rotated = X @ rotation
    parts = rotated - Y, X - rotated @ rotation.T
    return sum(float(xp.sum(part**2, dtype=xp.float64)) for part in parts)


def align_orthogonally(X, Y):
    """Compute the map T with orthonormal rows or columns that maximises <X T, Y>.

    Parameters
    ----------
    X, Y : array of shape (n_stimuli, n_units_x) and (n_stimuli, n_units_y)
        Two populations of the same array library and on the same device.

    Returns
    -------
    rotation : array of shape (n_units_x, n_units_y)
        Polar factor of X'Y, in float64. It is an isometry between the directions of X
        and Y that covary, and 0 on other directions.
    """
    xp = namespace_of(X, Y)
    dtype = xp.result_type(X, Y)
    if X.shape[0] < min(X.shape[1], Y.shape[1]):
        # X'Y has at most as many singular vectors as there are stimuli. The SVD of a
        # small core matrix gives them.
        (left, X), (right, Y) = (
            xp.linalg.qr(xp.astype(part.T, xp.float64)) for part in (X, Y)
        )
        u, s, vt = xp.linalg.svd(X @ Y.T, full_matrices=False)
        u, vt = left @ u, vt @ right.T
    else:
        products = xp.astype(xp.matmul(X.T, Y), xp.float64)
        u, s, vt = xp.linalg.svd(products, full_matrices=False)
    s = to_numpy(s)
    # Threshold of `numpy.linalg.matrix_rank`, for the dtype of the populations.
    smallest = s[0] * max(u.shape[0], vt.shape[1]) * xp.finfo(dtype).eps
    rank = np.count_nonzero(s > smallest)
    return u[:, :rank] @ vt[:rank, :]

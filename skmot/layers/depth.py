"""The relative depth of layers, and couplings made with a prior on it."""

import numpy as np


def relative_depths(n_layers):
    """Return equally spaced depths from 0 to 1, or 0.5 for a single layer."""
    return np.linspace(0.0, 1.0, n_layers) if n_layers > 1 else np.array([0.5])


def depth_distances(source_depths, target_depths):
    """Return the difference in depth of each pair of layers."""
    return np.abs(source_depths[:, np.newaxis] - target_depths)


class DepthPriorCoupling(np.ndarray):
    """Layer coupling that was made with a prior on depth.

    It is an array like any other. The class is a mark by which
    :func:`skmot.metrics.hierarchy_score` tells that the coupling follows depth because
    it was made to. Scaled, sliced, copied and pickled couplings keep the mark.
    Conversions by `numpy.asarray`, to tables and to other array libraries lose it.

    Parameters
    ----------
    coupling : array-like of shape (n_source_layers, n_target_layers)
        Weights of the layer pairs.

    See Also
    --------
    skmot.MultiLevelOT : With `depth_prior`, learns a coupling of this kind.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import MultiLevelOT
    >>> rng = np.random.default_rng(0)
    >>> layers = [rng.normal(size=(50, 8)) for _ in range(3)]
    >>> mot = MultiLevelOT(depth_prior=0.5).fit(layers, layers[:2])
    >>> shares = 2 * mot.coupling_
    >>> type(shares).__name__, type(np.asarray(shares)).__name__
    ('DepthPriorCoupling', 'ndarray')
    """

    def __new__(cls, coupling):
        return np.asarray(coupling).view(cls)

    def __array_wrap__(self, array, context=None, return_scalar=False):
        # A sum is a number and no coupling, as for arrays without a class of their own.
        if return_scalar:
            return array[()]
        return super().__array_wrap__(array, context, return_scalar)

"""Maps of networks, on which distances are close to their costs."""

from numbers import Integral

import numpy as np
from sklearn.manifold import MDS

from skmot._utils.results import Result

# Costs of both directions that differ by less than this share of the largest one differ
# by rounding errors.
_SAME = 1e-6
# A map says little from this stress: its distances are wrong by 30 %. Kruskal calls
# 20 % poor, for nonmetric scaling, whose stress is lower.
_POOR_STRESS = 0.3
# The same, as a share of the stress of networks that are all equally far: that of four
# is .17, and their map says nothing.
_POOR_SHARE = 0.8
# Networks that are all equally far fit exactly up to this stress.
_EXACT = 1e-3
# The distances of equally far networks are fitted from this many random positions.
_N_STARTS = 4


class Embedding(Result):
    """Positions of networks and their stress, returned by `embed_costs`."""

    def _tables(self):
        return {"positions": self._positions, **super()._tables()}

    def _positions(self):
        names = self.names
        if names is None:
            names = range(len(self.positions))
        columns = {
            f"dimension {number}": column
            for number, column in enumerate(self.positions.T, start=1)
        }
        return {"network": list(names), **columns}


def embed_costs(costs, n_components=2, *, names=None, squared=False, symmetrize=False):
    """Place networks so that their distances are close to their costs.

    Parameters
    ----------
    costs : array-like of shape (n_networks, n_networks)
        Nonnegative costs of all pairs, at least three networks. The diagonal is not
        used.
    n_components : int, default=2
        Number of dimensions.
    names : sequence, default=None
        Names of the networks.
    squared : bool, default=False
        Whether costs are squared distances, whose roots are embedded.
    symmetrize : bool, default=False
        Whether to take the mean of both directions, if costs are not symmetric.

    Returns
    -------
    embedding : Embedding
        Result with the attributes `positions`, `stress`, `equal_stress`, `costs` (the
        distances that were embedded), `names`, `n_components`, `is_symmetrized` and
        `says_little`.

    Raises
    ------
    ValueError
        If the costs are not a square matrix of finite nonnegative numbers, all are 0,
        or they are not symmetric and `symmetrize` is False.
    """
    is_whole = isinstance(n_components, Integral) and not isinstance(n_components, bool)
    if not is_whole or n_components < 1:
        raise ValueError(
            f"`n_components` must be an integer of at least 1; got {n_components!r}."
        )
    costs = np.array(costs, dtype=np.float64)
    _check_shape(costs)
    np.fill_diagonal(costs, 0.0)
    _check_values(costs)
    difference = float(np.abs(costs - costs.T).max())
    is_symmetric = difference <= _SAME * costs.max()
    if not is_symmetric and not symmetrize:
        raise ValueError(
            "`costs` are not symmetric: both directions of a pair differ by up to "
            f"{difference:.3g}. A map has one distance for each pair: "
            "`symmetrize=True` takes the mean of both."
        )
    # Rounding errors are removed, too, because MDS needs exact symmetry.
    costs = (costs + costs.T) / 2
    if squared:
        costs = np.sqrt(costs)
    start = _classical_start(costs, int(n_components))
    positions, stress = _scale(costs, n_components, start, n_init=1)
    # Classical scaling cannot start from equal distances.
    equal = 1.0 - np.eye(len(costs))
    start = {"n_init": _N_STARTS, "random_state": 0}
    _, equal_stress = _scale(equal, n_components, init="random", **start)
    result = {
        "positions": positions,
        "stress": stress,
        "equal_stress": equal_stress,
        "says_little": says_little(stress, equal_stress),
        "costs": costs,
        "names": names,
        "n_components": int(n_components),
        "is_symmetrized": not is_symmetric,
    }
    return Embedding(_conclude(result), **result)


def says_little(stress, equal_stress=None):
    """Whether the distances of a map are too far from the costs to be read.

    Parameters
    ----------
    stress : float
        Stress of the map.
    equal_stress : float, default=None
        Stress of as many networks that are all equally far from each other.
    """
    if stress >= _POOR_STRESS:
        return True
    is_known = equal_stress is not None and equal_stress > _EXACT
    return bool(is_known and stress >= _POOR_SHARE * equal_stress)


def _conclude(result):
    """Say how far the map can be trusted."""
    n_components = result["n_components"]
    said = (
        f"{len(result['costs'])} networks in {n_components} dimension(s): stress "
        f"{result['stress']:.2f} ({result['equal_stress']:.2f} if all were equally far)"
    )
    if result["is_symmetrized"]:
        said += ", of the mean of both directions"
    if result["says_little"]:
        return f"{said}. A map of {n_components} dimension(s) says little."
    return f"{said}."


def _scale(costs, n_components, start=None, init="random", **options):
    """Return positions by metric multidimensional scaling, and their stress."""
    embedding = MDS(
        n_components, metric="precomputed", normalized_stress=True, init=init, **options
    )
    positions = embedding.fit_transform(costs, init=start)
    return positions, float(embedding.stress_)


def _classical_start(costs, n_components):
    """Return positions by classical scaling, whose missing dimensions are 0.

    Costs need not be distances in a space: those of scikit-learn's ClassicalMDS are
    then NaN, because it takes roots of negative eigenvalues.
    """
    squared = costs**2
    squared = squared - squared.mean(axis=0) - squared.mean(axis=1, keepdims=True)
    products = -0.5 * (squared + np.mean(costs**2))
    values, vectors = np.linalg.eigh(products)
    largest = np.argsort(values)[::-1][:n_components]
    start = np.zeros((len(costs), n_components))
    scales = np.sqrt(np.maximum(values[largest], 0))
    start[:, : len(largest)] = vectors[:, largest] * scales
    return start


def _check_shape(costs):
    if costs.ndim != 2 or costs.shape[0] != costs.shape[1] or len(costs) < 3:
        raise ValueError(
            "`costs` must be a square matrix of three or more networks; got an array "
            f"of shape {costs.shape}."
        )


def _check_values(costs):
    if not np.isfinite(costs).all() or costs.min() < 0:
        raise ValueError("`costs` must be finite and not negative, as distances are.")
    if costs.max() == 0:
        raise ValueError("All `costs` are 0: the networks do not differ.")

"""References of the benchmarks: literal implementations of the papers' formulas.

They use float64 and one dense `ot.emd` for each coupling. Costs are first scaled to
[0, 1], because `ot.emd` can otherwise return a wrong plan without a warning.
"""

import numpy as np
import ot
from scipy.optimize import linear_sum_assignment

# More pivots than any of these problems needs. With the default `ot.emd` stops early.
MAX_PIVOTS = 100_000_000


def scaled(costs):
    """Return costs in float64, shifted and scaled to [0, 1], and their spread."""
    costs = np.asarray(costs, dtype=np.float64)
    spread = np.ptp(costs)
    return (costs - costs.min()) / (spread if spread > 0 else 1.0), spread


def emd(costs):
    """Return the optimal dense plan between uniform masses."""
    return ot.emd([], [], scaled(costs)[0], numItermax=MAX_PIVOTS)


def z_scored(layer):
    """Return standardised units in float64."""
    layer = np.asarray(layer, dtype=np.float64)
    return (layer - layer.mean(axis=0)) / layer.std(axis=0)


def correlations(source, target):
    """Compute correlations of all units of both sides by NumPy; return one block."""
    source, target = np.asarray(source, float), np.asarray(target, float)
    n_units = source.shape[1]
    return np.corrcoef(source, target, rowvar=False)[:n_units, n_units:]


def cross_correlations(source, target):
    """Compute only the correlations of units of one side with those of the other."""
    return z_scored(source).T @ z_scored(target) / len(source)


def match_layers(source, target, correlate=correlations):
    """Match one pair of layers by a dense plan, and return the cost."""
    distances = 1 - correlate(source, target)
    return float(np.sum(emd(distances) * distances))


def match_after_rotation(source, target, n_rounds):
    """Alternate coupling and rotation of activations for a number of iterations.

    Returns
    -------
    errors : list of float
        Mean squared error of the reconstructed source after each iteration.
    """
    source, target = z_scored(source), z_scored(target)
    n_units = source.shape[1]
    rotation, errors = np.eye(n_units), []
    for _ in range(n_rounds):
        rotated = source @ rotation
        distances = 1 - z_scored(rotated).T @ target / len(source)
        carried = target @ (n_units * emd(distances)).T
        left, _, right = np.linalg.svd(source.T @ carried)
        rotation = left @ right
        errors.append(float(np.mean((source @ rotation - carried) ** 2)))
    return errors


def match_many(source, target):
    """Compute only products and assignments of columns of norm 1."""
    return [
        linear_sum_assignment(x.T @ y, maximize=True) for x in source for y in target
    ]

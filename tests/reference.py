"""The definitions spelt out slowly: what the package is tested against.

Nothing here is shared with the package. Costs are shifted and scaled to [0, 1] before
`ot.emd` sees them, because it is silently wrong on costs much smaller than one.
"""

import math

import numpy as np
import ot


def correlation_distances(X, Y):
    """1 - corr(x_i, y_j), from `np.corrcoef`, in float64."""
    X, Y = np.asarray(X, dtype=np.float64), np.asarray(Y, dtype=np.float64)
    n = X.shape[1]
    return 1.0 - np.corrcoef(X, Y, rowvar=False)[:n, n:]


def cosine_distances(X, Y):
    X, Y = np.asarray(X, dtype=np.float64), np.asarray(Y, dtype=np.float64)
    return 1.0 - (X / np.linalg.norm(X, axis=0)).T @ (Y / np.linalg.norm(Y, axis=0))


def squared_distances(X, Y):
    """|x_i - y_j|^2 of centred columns, each layer's mean squared norm being 1."""
    prepared = []
    for layer in (X, Y):
        layer = np.asarray(layer, dtype=np.float64)
        layer = layer - layer.mean(axis=0)
        prepared.append(layer / np.sqrt(np.mean(np.sum(layer**2, axis=0))))
    X, Y = prepared
    return np.array([[np.sum((x - y) ** 2) for y in Y.T] for x in X.T])


def transport(costs):
    """Return the optimal plan of T(n, k) and its cost, by `ot.emd` in float64."""
    costs = np.asarray(costs, dtype=np.float64)
    n, k = costs.shape
    spread = np.ptp(costs)
    scaled = (costs - costs.min()) / (spread if spread > 0 else 1.0)
    divisor = math.gcd(n, k)
    plan = ot.emd(
        np.full(n, float(k // divisor)),
        np.full(k, float(n // divisor)),
        scaled,
        numItermax=10_000_000,
    )
    plan = plan / plan.sum()
    return plan, float(np.sum(plan * costs))


def pearson(a, b):
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


class SlowMultiLevelOT:
    """Section 2 of the design, with loops, for layers without constant units."""

    def __init__(self, source, target, distances=correlation_distances):
        self.means = [[x.mean(axis=0) for x in side] for side in (source, target)]
        self.deviations = [[x.std(axis=0) for x in side] for side in (source, target)]
        shape = (len(source), len(target))
        self.plans = np.empty(shape, dtype=object)
        self.costs = np.empty(shape)
        for pair in np.ndindex(shape):
            costs = distances(source[pair[0]], target[pair[1]])
            self.plans[pair], self.costs[pair] = transport(costs)
        self.coupling, self.cost = transport(self.costs)

    def z(self, side, index, layer):
        return (layer - self.means[side][index]) / self.deviations[side][index]

    def predict(self, source, coupling=None):
        """Yhat_m = sum_l (M P_lm) Z(X_l) (K_m Q_lm), put back on its training scale."""
        coupling = self.coupling if coupling is None else coupling
        n_source, n_target = self.costs.shape
        predicted = []
        for m in range(n_target):
            total = 0.0
            for s in range(n_source):
                plan = self.plans[s, m]
                carried = self.z(0, s, source[s]) @ (plan.shape[1] * plan)
                total = total + n_target * coupling[s, m] * carried
            predicted.append(total * self.deviations[1][m] + self.means[1][m])
        return predicted

    def inverse_predict(self, target, coupling=None):
        """Xhat_l = sum_m (L P_lm) Z(Y_m) (N_l Q_lm)', put back on its scale."""
        coupling = self.coupling if coupling is None else coupling
        n_source, n_target = self.costs.shape
        predicted = []
        for s in range(n_source):
            total = 0.0
            for m in range(n_target):
                plan = self.plans[s, m]
                carried = self.z(1, m, target[m]) @ (plan.shape[0] * plan).T
                total = total + n_source * coupling[s, m] * carried
            predicted.append(total * self.deviations[0][s] + self.means[0][s])
        return predicted


def score(recorded, reconstructed):
    """Mean over layers of the mean over units of the Pearson correlation."""
    return float(
        np.mean(
            [
                np.mean([pearson(a, b) for a, b in zip(x.T, xhat.T, strict=True)])
                for x, xhat in zip(recorded, reconstructed, strict=True)
            ]
        )
    )


def products_of_stimuli(layer, debiased):
    """Return the kernel of CKA, in more digits where the platform has them.

    If `debiased`, it is U-centred as in Song et al.
    """
    layer = layer.astype(np.longdouble)
    layer = layer[:, np.ptp(layer, axis=0) > 0]
    layer = layer - layer.mean(axis=0)
    layer = layer / np.abs(layer).max()
    n = len(layer)
    kernel = np.einsum("ik,jk->ij", layer, layer)
    if debiased:
        np.fill_diagonal(kernel, 0)
        sums = kernel.sum(axis=0) / (n - 2)
        kernel = kernel - sums - sums[:, None] + sums.sum() / (n - 1)
        np.fill_diagonal(kernel, 0)
    return kernel

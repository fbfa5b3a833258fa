"""Methods and networks that the tests of comparisons share."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmot import LayerStack, MultiLevelOT, SoftMatching
from skmot.preprocessing import LayerwiseTransformer
from tests.networks import random_networks


class CostOnly(BaseEstimator):
    """A method without a map."""

    def fit(self, X, y):
        self.cost_ = abs(float(np.asarray(X).mean() - np.asarray(y).mean()))
        return self


class ForwardOnly(BaseEstimator):
    """A method without an inverse."""

    def fit(self, X, y):
        self.inner_ = SoftMatching().fit(X, y)
        return self

    def predict(self, X):
        return self.inner_.predict(X)


METHODS = {
    "mot": MultiLevelOT(),
    "piped": make_pipeline(LayerwiseTransformer(StandardScaler()), SoftMatching()),
    "forward": ForwardOnly(),
    "cost": CostOnly(),
}


def networks_to_compare():
    first, second = random_networks(), random_networks(seed=1)
    return (
        {"a": LayerStack(first[0], names=["x", "y", "z"]), "b": second[0]},
        {"c": first[1], "d": second[1]},
    )


def wide_pair():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(120, 7)) * [3, 1, 1, 1, 1, 1, 1]

    def network(width):
        mixed = shared @ rng.normal(size=(7, width))
        return mixed + 3 * rng.normal(size=mixed.shape)

    return (LayerStack([network(n), network(n)]) for n in (30, 25))


QUICK = {"n_bootstrap": 20, "random_state": 0, "verbose": False}


def many_networks():
    first, second = random_networks(), random_networks(seed=1)
    return {"a": first[0], "b": LayerStack(second[0]), "c": first[1], "d": second[1]}

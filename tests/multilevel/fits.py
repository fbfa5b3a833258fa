"""Networks, counting estimators and comparisons of fits, for the tests of levels."""

import hashlib

import numpy as np

from skmot import SoftMatching
from tests.networks import random_networks


def trajectories(n_source=3, n_target=2):
    """Return two trajectories of networks that share structure."""
    networks = [random_networks(seed=seed) for seed in range(max(n_source, n_target))]
    return [n[0] for n in networks[:n_source]], [n[1] for n in networks[:n_target]]


def assert_same_fit(first, second):
    """Compare two fits, at every level, bit for bit."""
    if hasattr(first, "inner_"):
        np.testing.assert_array_equal(first.layer_costs_, second.layer_costs_)
        np.testing.assert_array_equal(first.coupling_, second.coupling_)
        for row, other in zip(first.inner_, second.inner_, strict=True):
            for inner, same in zip(row, other, strict=True):
                assert_same_fit(inner, same)
    else:
        assert first.cost_ == second.cost_
        if hasattr(first, "coupling_"):
            difference = abs(first.coupling_ - second.coupling_)
            assert difference.nnz == 0 or difference.max() == 0


class CountedMatching(SoftMatching):
    """A matching that counts the pairs it solves in this process, in any thread."""

    solved = []

    def _solve(self, source, target):
        self.solved.append(self.get_params())
        return super()._solve(source, target)


class CountedPreparations:
    """Counts what is prepared in this process; to be inherited with an estimator.

    Attributes
    ----------
    prepared : list of tuple of str
        The method and a digest of the numbers of each population that was prepared.
    """

    prepared = []

    def _count(self, method, leaves):
        leaves = list(leaves)
        digest = hashlib.sha256()
        for leaf in leaves:
            digest.update(np.ascontiguousarray(leaf.layer).data)
        self.prepared.append((method, digest.hexdigest()))
        return leaves

    def _prepare(self, leaves, statistics):
        return super()._prepare(self._count("_prepare", leaves), statistics)

    def _prepare_map(self, leaves, statistics):
        return super()._prepare_map(self._count("_prepare_map", leaves), statistics)

    def _prepare_held_out(self, leaves, statistics):
        leaves = self._count("_prepare_held_out", leaves)
        return super()._prepare_held_out(leaves, statistics)


def counted(kind):
    """Return a subclass of an estimator that counts what it prepares."""
    return type(f"Counted{kind.__name__}", (CountedPreparations, kind), {})

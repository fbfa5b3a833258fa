import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.manifold import MDS

from skmot import MultiLevelOT, RotationMatching, SoftMatching
from skmot.exceptions import DeadUnitWarning
from skmot.metrics import pairwise_costs
from tests.networks import random_networks


@pytest.fixture
def networks():
    first, second = random_networks()
    third, _ = random_networks(seed=1)
    return {"a": first, "b": second, "c": third}


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_every_ordered_pair_is_fitted(networks, n_jobs):
    estimator = MultiLevelOT(strategy="pairwise_best")
    costs = pairwise_costs(networks, estimator, n_jobs=n_jobs)
    for i, source in enumerate(networks.values()):
        for j, target in enumerate(networks.values()):
            expected = MultiLevelOT(strategy="pairwise_best").fit(source, target).cost_
            assert costs[i, j] == pytest.approx(expected, abs=1e-12)
    assert not hasattr(estimator, "cost_")


def test_what_is_directed_stays_directed(networks):
    populations = [layers[0] for layers in networks.values()]
    costs = pairwise_costs(populations, RotationMatching(tol=0))
    assert np.abs(costs - costs.T).max() > 0.01


class CountedMatching(SoftMatching):
    """Adds one to `n_fits`, of whichever class it is, a fit."""

    def fit(self, X, y):
        type(self).n_fits += 1
        return super().fit(X, y)


def test_symmetric_costs_take_half_the_fits(networks):
    class Both(CountedMatching):
        n_fits = 0

    class Half(CountedMatching):
        n_fits = 0

    both = pairwise_costs(networks, Both())
    half = pairwise_costs(networks, Half(), symmetric=True)
    assert (Both.n_fits, Half.n_fits) == (9, 6)
    np.testing.assert_allclose(half, both, atol=1e-12)


def test_roots_of_twice_a_correlation_cost_are_distances():
    rng = np.random.default_rng(0)
    populations = [rng.normal(size=(30, n)) for n in (3, 5, 8, 5, 4)]
    populations.append(populations[1][:, ::-1])
    distances = np.sqrt(2 * pairwise_costs(populations, SoftMatching()))
    np.testing.assert_allclose(np.diag(distances), 0, atol=1e-7)
    assert distances[1, 5] == pytest.approx(0, abs=1e-7)
    detours = (distances[:, :, np.newaxis] + distances[np.newaxis]).min(axis=1)
    assert np.all(distances <= detours + 1e-7)
    # The root of a cost of 1e-16 is 1e-8: rounding, but more than MDS takes.
    np.testing.assert_allclose(distances, distances.T, atol=1e-7)
    embedded = MDS(
        metric="precomputed", n_init=1, init="random", random_state=0
    ).fit_transform((distances + distances.T) / 2)
    np.testing.assert_allclose(embedded[1], embedded[5], atol=1e-3)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_warnings_of_fits_come_once(networks, n_jobs):
    # Different numbers of dead units, so that messages differ in them.
    networks["a"][0][:, 0] = 1.0
    networks["b"][0][:, :2] = 1.0
    populations = {name: networks[name][0] for name in ("c", "a", "b")}
    with pytest.warns(DeadUnitWarning) as caught:
        pairwise_costs(populations, SoftMatching(), n_jobs=n_jobs)
    messages = [str(warning.message) for warning in caught]
    # Of the source alone, of the target alone, and of both.
    assert len(messages) == 3
    assert all("time(s) in all" in message for message in messages)
    assert any(
        "source 'a', target 'c'; 2 time(s) in all" in message for message in messages
    )
    assert {warning.filename for warning in caught} == {__file__}


def test_bad_arguments_are_refused(networks):
    with pytest.raises(ValueError, match="At least two networks"):
        pairwise_costs([networks["a"]], SoftMatching())
    arrays = [layers[0] for layers in networks.values()]
    with pytest.raises(TypeError, match="Ridge learned no `cost_`"):
        pairwise_costs(arrays, Ridge())

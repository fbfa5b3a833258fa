import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import Ridge
from sklearn.manifold import MDS
from sklearn.metrics import mean_squared_error
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skmot import (
    CKA,
    RSA,
    FunctionComparison,
    LayerStack,
    LinearPredictivity,
    MultiLevelOT,
    MultiLevelOTRotation,
    OneToOneMatching,
    Procrustes,
    RotationMatching,
    SemiMatching,
    SoftMatching,
)
from skmot.exceptions import DeadUnitWarning
from skmot.metrics import pairwise_costs
from skmot.preprocessing import LayerwiseTransformer
from tests.networks import random_networks
from tests.tables import assert_survives_files


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


def test_symmetric_costs_take_half_the_fits_and_one_more(networks):
    class Both(CountedMatching):
        n_fits = 0

    class Half(CountedMatching):
        n_fits = 0

    both = pairwise_costs(networks, Both())
    half = pairwise_costs(networks, Half(), symmetric=True)
    assert (Both.n_fits, Half.n_fits) == (9, 7)
    np.testing.assert_allclose(half, both, atol=1e-12)


@pytest.mark.parametrize(
    "estimator",
    [RotationMatching(tol=0), SemiMatching(), LinearPredictivity(random_state=0)],
)
def test_directed_costs_are_not_taken_for_symmetric_ones(estimator):
    rng = np.random.default_rng(0)
    populations = {"a": rng.normal(size=(60, 4)), "b": rng.normal(size=(60, 7))}
    with pytest.raises(
        ValueError,
        match=r"depend on the order.*'a' as the source and 'b'.*`symmetric=False`",
    ):
        pairwise_costs(populations, estimator, symmetric=True)


def test_costs_of_float32_layers_are_symmetric_enough():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(300, 20)) + 100
    populations = [
        (shared + 1e-3 * rng.normal(size=shared.shape)).astype("float32")
        for _ in range(3)
    ]
    for estimator in (SoftMatching(), Procrustes(), CKA(), RSA()):
        costs = np.asarray(pairwise_costs(populations, estimator, symmetric=True))
        np.testing.assert_array_equal(costs, costs.T)


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


# -- networks that are prepared once ---------------------------------------------------


def populations(n_stimuli=30):
    """Dead units, more units than stimuli, float32, one unit, near-duplicates."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(n_stimuli, 4))
    dead = shared @ rng.normal(size=(4, 6))
    dead[:, 2] = 0.1
    wide = shared @ rng.normal(size=(4, 50)) + rng.normal(size=(n_stimuli, 50))
    single = rng.normal(size=(n_stimuli, 1))
    near = dead[:, [0, 0, 1, 1]] + 1e-7 * rng.normal(size=(n_stimuli, 4))
    return [dead, wide, wide[:, :7].astype(np.float32), single, near]


def costs_of_fits(networks, estimator):
    return [[cost_of_fit(estimator, x, y) for y in networks] for x in networks]


def cost_of_fit(estimator, x, y):
    fitted = clone(estimator).fit(x, y)
    return (fitted[-1] if isinstance(fitted, Pipeline) else fitted).cost_


def is_close_to_fits(costs, networks, estimator):
    expected = costs_of_fits(networks, estimator)
    # Geometries are sums over units or over stimuli, whichever takes less time.
    np.testing.assert_allclose(costs, expected, rtol=0, atol=1e-13)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize(
    "estimator",
    [
        SoftMatching(),
        SoftMatching("sqeuclidean"),
        SoftMatching("cosine", mass=0.5),
        SemiMatching(),
        Procrustes(),
        RotationMatching(n_init=2, random_state=0),
        LinearPredictivity(random_state=0),
        RSA(),
        CKA(),
    ],
    ids=str,
)
def test_costs_of_hard_populations_are_those_of_separate_fits(estimator, n_jobs):
    networks = populations()
    costs = pairwise_costs(networks, estimator, n_jobs=n_jobs)
    is_close_to_fits(costs, networks, estimator)
    # The same as the level above.
    expected = MultiLevelOT(estimator).fit(networks, networks).layer_costs_
    # numpy multiplies an array with itself in another order than with its copy.
    np.testing.assert_allclose(np.diag(costs), np.diag(expected), atol=1e-14)
    others = ~np.eye(len(networks), dtype=bool)
    np.testing.assert_array_equal(costs[others], expected[others])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "estimator",
    [SoftMatching(), OneToOneMatching(), Procrustes(), CKA(debiased=False)],
    ids=str,
)
@pytest.mark.parametrize("n_stimuli", [2, 3])
def test_few_stimuli_are_enough(estimator, n_stimuli):
    networks = [layer[:, :5] for layer in populations(n_stimuli)[:3]]
    if isinstance(estimator, OneToOneMatching):
        networks = [layer[:, [0, 1, 3, 4]] for layer in networks]
    costs = pairwise_costs(networks, estimator)
    is_close_to_fits(costs, networks, estimator)


class MeanDifference(BaseEstimator):
    """An estimator that is not of skmot."""

    def fit(self, X, y):
        self.cost_ = abs(float(np.mean(X) - np.mean(y)))
        return self


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize(
    "estimator",
    [
        MultiLevelOT(cost_cv=3),
        MultiLevelOT(RSA(), strategy="single_best"),
        MultiLevelOTRotation(max_iter=2, tol=1.0),
        # All layers as one population.
        SoftMatching(),
        FunctionComparison(lambda X, Y: mean_squared_error(X[:, :2], Y[:, :2])),
        # Inner estimators, and pipelines, that are fitted pair by pair.
        MultiLevelOT(MeanDifference()),
        make_pipeline(LayerwiseTransformer(StandardScaler()), SoftMatching()),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_costs_of_networks_are_those_of_separate_fits(networks, estimator, n_jobs):
    networks["a"][0][:, 0] = 1.0
    networks["b"] = {"x": networks["b"][0], "y": networks["b"][1]}
    costs = pairwise_costs(networks, estimator, n_jobs=n_jobs)
    is_close_to_fits(costs, list(networks.values()), estimator)


def test_networks_of_networks_are_those_of_separate_fits(networks):
    nested = [LayerStack({"p": side, "q": side[:2]}) for side in networks.values()]
    estimator = MultiLevelOT(MultiLevelOT())
    is_close_to_fits(pairwise_costs(nested, estimator), nested, estimator)


class Prepared(SoftMatching):
    n_prepared = 0

    def _prepare(self, leaves, statistics):
        Prepared.n_prepared += 1
        return super()._prepare(leaves, statistics)


@pytest.mark.parametrize("symmetric", [False, True])
def test_each_network_is_prepared_once(networks, symmetric):
    arrays = [layers[0] for layers in networks.values()]
    for estimator, given, expected in (
        (Prepared(), arrays, 3),
        (MultiLevelOT(Prepared()), networks, 3 + 4 + 3),
    ):
        Prepared.n_prepared = 0
        pairwise_costs(given, estimator, symmetric=symmetric)
        assert Prepared.n_prepared == expected


def test_networks_larger_than_the_cache_have_the_same_costs():
    networks = populations()[:3]
    with pytest.warns(DeadUnitWarning):
        expected = pairwise_costs(networks, SoftMatching())
    with config_context(working_memory=0), pytest.warns(DeadUnitWarning):
        costs = pairwise_costs(networks, SoftMatching())
    np.testing.assert_array_equal(costs, expected)


# -- what is refused, and the result ---------------------------------------------------


def test_networks_that_cannot_be_compared_are_named(networks):
    arrays = {name: layers[0] for name, layers in networks.items()}
    with pytest.raises(ValueError, match=r"networks\['a'\] has 60 .*\['b'\] has 59"):
        pairwise_costs({**arrays, "b": arrays["b"][:59]}, SoftMatching())
    labelled = {
        name: LayerStack(layer, stimuli=np.arange(60)) for name, layer in arrays.items()
    }
    labelled["c"] = LayerStack(arrays["c"], stimuli=np.arange(60)[::-1])
    with pytest.raises(ValueError, match=r"row 0 is .*networks\['a'\].*\['c'\]"):
        pairwise_costs(labelled, CKA())
    with pytest.raises(ValueError, match=r"networks\['b'\] is a single array"):
        pairwise_costs({**networks, "b": arrays["b"]}, MultiLevelOT())
    with pytest.raises(ValueError, match="NaN") as raised:
        pairwise_costs({**arrays, "b": np.full((60, 2), np.nan)}, SoftMatching())
    assert "networks['b']" in str(raised.value)
    with pytest.raises(ValueError, match="must be finite") as raised:
        pairwise_costs(arrays, FunctionComparison(lambda X, Y: np.inf))
    assert raised.value.__notes__ == ["(source 'a', target 'a')"]


def test_row_numbers_in_another_order_are_warned_of(networks):
    frames = {name: pd.DataFrame(layers[0]) for name, layers in networks.items()}
    frames["b"] = frames["b"][::-1]
    with pytest.warns(UserWarning, match="source 'a', target 'b'; 4 time") as caught:
        pairwise_costs(frames, SoftMatching())
    assert len(caught) == 1


def test_costs_are_used_as_an_array(networks):
    costs = pairwise_costs(networks, MultiLevelOT(), n_jobs=None)
    array = np.asarray(costs)
    assert costs.names == ["a", "b", "c"]
    assert repr(costs) == "PairwiseCosts(3 networks, MultiLevelOT())"
    assert type(array) is np.ndarray
    assert (costs.shape, costs.ndim, len(costs)) == ((3, 3), 2, 3)
    assert costs[0, 1] == array[0, 1] == next(iter(costs))[1]
    for found, expected in (
        (2 * costs - costs.T, 2 * array - array.T),
        (np.sqrt(costs), np.sqrt(array)),
        (np.maximum.reduce(costs), array.max(axis=0)),
        (np.max(costs), array.max()),
        (np.diag(costs), np.diag(array)),
        (costs < 0.5, array < 0.5),
        (np.array(costs, dtype=np.float32), array.astype(np.float32)),
        (pd.DataFrame(costs, costs.names, costs.names).loc["a"], array[0]),
        (pickle.loads(pickle.dumps(costs)), array),
    ):
        np.testing.assert_array_equal(found, expected)
    total = costs
    with pytest.raises(TypeError):
        np.add(costs, 1, out=costs)
    total = total + 1
    np.testing.assert_array_equal(total, array + 1)
    np.testing.assert_array_equal(costs, array)


def test_costs_are_a_table_with_the_names_of_both_sides(networks):
    costs = pairwise_costs(networks, MultiLevelOT(strategy="pairwise_best"))
    frame = costs.to_frame()
    assert list(frame.index) == list(frame.columns) == ["a", "b", "c"]
    assert frame.loc["a", "c"] == costs[0, 2]
    long = frame.stack().rename("cost").reset_index()
    assert list(long.columns) == ["source", "target", "cost"]
    np.testing.assert_array_equal(long["cost"], np.ravel(costs))
    assert_survives_files(frame)
    assert_survives_files(long)


def test_networks_with_tuples_as_names_have_one_level_of_names(networks):
    named = {("run", name): network[:1] for name, network in networks.items()}
    frame = pairwise_costs(named, SoftMatching()).to_frame()
    assert list(frame.columns) == list(named)
    assert frame.columns.nlevels == frame.index.nlevels == 1

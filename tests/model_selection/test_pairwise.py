import itertools
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import Ridge
from sklearn.manifold import MDS
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import KFold, ShuffleSplit
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
from skmot.metrics import negative_cost, pairwise_costs
from skmot.model_selection import StimulusKFold, permutation_control
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


@pytest.mark.parametrize("size", [5e-6, 1e9])
def test_costs_that_differ_by_rounding_are_symmetric(size):
    def rounded(X, Y):
        # Near 0, rounding errors are not small shares of a cost.
        share = 1 if size < 1 else 1e-12
        return size * (1 + share * (X[0, 0] > Y[0, 0]))

    populations = [np.arange(6.0)[:, np.newaxis] + k for k in range(3)]
    costs = pairwise_costs(populations, FunctionComparison(rounded), symmetric=True)
    np.testing.assert_array_equal(costs, np.asarray(costs).T)


def test_asymmetric_costs_are_named_with_both_numbers():
    populations = {name: np.ones((6, 1)) * k for k, name in enumerate("ab", 1)}
    populations = {name: side + np.eye(6)[:, :1] for name, side in populations.items()}
    quotient = FunctionComparison(lambda X, Y: X[0, 0] / Y[0, 0] * 3)
    with pytest.raises(
        ValueError, match=r": 2 with 'a' as the source .* 4.5 the other"
    ):
        pairwise_costs(populations, quotient, symmetric=True)


@pytest.mark.parametrize("cv", [None, 2])
@pytest.mark.parametrize(
    ("estimator", "name"),
    [
        (SoftMatching(metric="manhattan"), "metric"),
        (MultiLevelOT(strategy="best"), "strategy"),
        (MultiLevelOT(SoftMatching(mass=2)), "mass"),
    ],
)
def test_wrong_settings_of_the_estimator_are_named(networks, estimator, name, cv):
    if isinstance(estimator, SoftMatching):
        networks = {key: layers[0] for key, layers in networks.items()}
    with pytest.raises(ValueError, match=f"'{name}' parameter"):
        pairwise_costs(networks, estimator, cv=cv)


def test_a_vector_is_no_network():
    with pytest.raises(ValueError, match=r"networks\[1\]"):
        pairwise_costs([np.ones((6, 2)), np.arange(6.0)], SoftMatching())


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


# -- held-out costs --------------------------------------------------------------------


def held_out_costs_of_fits(networks, estimator, splits):
    """One fit for each pair and split, one after the other."""
    networks = [LayerStack(network) for network in networks]
    return np.mean(
        [
            [
                [
                    -negative_cost(
                        clone(estimator).fit(x[train], y[train]), x[test], y[test]
                    )
                    for y in networks
                ]
                for x in networks
            ]
            for train, test in splits
        ],
        axis=0,
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize(
    "estimator",
    [
        SoftMatching(),
        SoftMatching("sqeuclidean"),
        SoftMatching(mass=0.5),
        SemiMatching(),
        Procrustes(),
        RotationMatching(n_init=2, random_state=0),
        LinearPredictivity(random_state=0),
        RSA(),
        CKA(),
        FunctionComparison(lambda X, Y: mean_squared_error(X[:, :1], Y[:, :1])),
        make_pipeline(LayerwiseTransformer(StandardScaler()), SoftMatching()),
    ],
    ids=str,
)
def test_held_out_costs_of_hard_populations_are_those_of_separate_fits(
    estimator, n_jobs
):
    networks = populations()
    splits = list(KFold(3).split(networks[0]))
    costs = pairwise_costs(networks, estimator, cv=3, n_jobs=n_jobs)
    expected = held_out_costs_of_fits(networks, estimator, splits)
    np.testing.assert_allclose(costs, expected, rtol=0, atol=1e-13)
    assert costs.n_splits == 3
    # It matters on which stimuli costs are computed.
    if not isinstance(estimator, FunctionComparison):
        assert np.abs(costs - pairwise_costs(networks, estimator)).max() > 0.01


@pytest.mark.parametrize(
    "estimator",
    [
        MultiLevelOT(),
        MultiLevelOT(RSA(), strategy="single_best"),
        MultiLevelOT(cost_cv=2),
        MultiLevelOTRotation(max_iter=2, tol=1.0),
        SoftMatching(),
        make_pipeline(LayerwiseTransformer(StandardScaler()), MultiLevelOT()),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.filterwarnings("ignore")
def test_held_out_costs_of_networks_are_those_of_separate_fits(networks, estimator):
    networks["a"][0][:, 0] = 1.0
    splitter = ShuffleSplit(2, test_size=0.3, random_state=0)
    costs = pairwise_costs(networks, estimator, cv=splitter)
    splits = list(splitter.split(networks["a"][0]))
    expected = held_out_costs_of_fits(networks.values(), estimator, splits)
    np.testing.assert_allclose(costs, expected, rtol=0, atol=1e-13)


def test_splits_can_be_given_in_every_form(networks):
    arrays = [layers[0] for layers in networks.values()]
    splits = list(KFold(3).split(arrays[0]))
    masks = [tuple(np.isin(range(60), rows) for rows in split) for split in splits]
    expected = pairwise_costs(arrays, SoftMatching(), cv=3)
    for cv in (KFold(3), splits, iter(splits), masks):
        costs = pairwise_costs(arrays, SoftMatching(), cv=cv)
        np.testing.assert_array_equal(costs, expected)


def test_held_out_costs_of_networks_of_networks_are_those_of_separate_fits(networks):
    nested = [LayerStack({"p": side, "q": side[:2]}) for side in networks.values()]
    estimator = MultiLevelOT(MultiLevelOT())
    costs = pairwise_costs(nested, estimator, cv=2)
    splits = list(KFold(2).split(nested[0]))
    expected = held_out_costs_of_fits(nested, estimator, splits)
    np.testing.assert_allclose(costs, expected, rtol=0, atol=1e-13)


def test_held_out_costs_are_the_layer_costs_of_the_level_above():
    networks = populations()[1:3]
    costs = pairwise_costs(networks, SoftMatching(), cv=4)
    expected = MultiLevelOT(SoftMatching(), cost_cv=4).fit(networks, networks)
    np.testing.assert_array_equal(costs, expected.layer_costs_)


def labelled_networks(n_stimuli=8, n_repeats=3):
    rng = np.random.default_rng(0)
    labels = np.repeat([f"image {i}" for i in range(n_stimuli)], n_repeats)
    signal = np.repeat(rng.normal(size=(n_stimuli, 6)), n_repeats, axis=0)
    return [
        LayerStack(
            signal @ rng.normal(size=(6, n_units))
            + rng.normal(size=(len(labels), n_units)),
            stimuli=labels,
        )
        for n_units in (5, 7, 9)
    ]


def test_repeats_of_a_stimulus_are_held_out_together():
    networks = labelled_networks()
    splits = list(StimulusKFold(4).split(networks[0]))
    expected = held_out_costs_of_fits(networks, SoftMatching(), splits)
    for cv in (4, StimulusKFold(4)):
        costs = pairwise_costs(networks, SoftMatching(), cv=cv)
        np.testing.assert_allclose(costs, expected, rtol=0, atol=1e-13)
    with pytest.raises(ValueError, match=r"Split 0 of `cv`.*'image 2'"):
        pairwise_costs(networks, SoftMatching(), cv=KFold(3))


@pytest.mark.parametrize("n_permutations", [0, 2])
def test_each_network_is_prepared_once_a_split(networks, n_permutations):
    arrays = [layers[0] for layers in networks.values()]
    options = {"cv": 4, "n_permutations": n_permutations, "random_state": 0}
    for estimator, given, n_layers in (
        (Prepared(), arrays, 3),
        (MultiLevelOT(Prepared()), networks, 3 + 4 + 3),
    ):
        Prepared.n_prepared = 0
        pairwise_costs(given, estimator, **options)
        assert Prepared.n_prepared == 4 * n_layers


def test_held_out_costs_of_networks_larger_than_the_cache_are_the_same():
    networks = populations()[1:3]
    options = {"cv": 3, "n_permutations": 2, "random_state": 0}
    expected = pairwise_costs(networks, SoftMatching(), **options)
    with config_context(working_memory=0):
        costs = pairwise_costs(networks, SoftMatching(), **options)
    np.testing.assert_array_equal(costs, expected)
    np.testing.assert_array_equal(costs.null_costs, expected.null_costs)


def test_held_out_costs_need_an_estimator_that_has_them(networks):
    arrays = [layers[0] for layers in networks.values()]
    for estimator, given in (
        (MeanDifference(), arrays),
        (MultiLevelOT(MeanDifference()), networks),
        (MultiLevelOT(MultiLevelOT(MeanDifference())), networks),
    ):
        with pytest.raises(TypeError, match=r"MeanDifference has no `held_out_cost"):
            pairwise_costs(given, estimator, cv=2)


def test_warnings_of_held_out_fits_come_once(networks):
    populations = {name: layers[0] for name, layers in networks.items()}
    # The unit is constant in two of three training parts.
    populations["b"][:40, 0] = 1.0
    with pytest.warns(DeadUnitWarning, match="time") as caught:
        pairwise_costs(populations, SoftMatching(), cv=[(range(40), range(40, 60))])
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == 3
    assert {warning.filename for warning in caught} == {__file__}


# -- chance levels ---------------------------------------------------------------------


def mean_over_orders(cost, x, y, n_repeats=1):
    """Mean over all orders of the rows of y, of which some stay together."""
    costs = []
    for order in itertools.permutations(range(len(y) // n_repeats)):
        rows = [n_repeats * i + repeat for i in order for repeat in range(n_repeats)]
        costs.append(cost(x, y[rows]))
    return np.mean(costs)


@pytest.mark.parametrize(
    "estimator", [SoftMatching(), Procrustes(), CKA(debiased=False)], ids=str
)
def test_chance_in_sample_is_the_mean_over_all_orders_of_the_rows(estimator):
    networks = list(np.random.default_rng(0).normal(size=(3, 4, 2)))
    # Few different orders are all used, equally often.
    costs = pairwise_costs(networks, estimator, n_permutations=24, random_state=0)
    np.testing.assert_array_equal(costs, pairwise_costs(networks, estimator))
    assert np.isnan(np.diag(costs.chance)).all()
    for i, j in itertools.permutations(range(3), 2):
        expected = mean_over_orders(
            lambda x, y: clone(estimator).fit(x, y).cost_, networks[i], networks[j]
        )
        assert costs.chance[i, j] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("is_pipeline", [False, True])
@pytest.mark.parametrize(
    "estimator", [SoftMatching(), Procrustes(), CKA(debiased=False)], ids=str
)
def test_held_out_chance_is_the_mean_over_all_orders_of_held_out_rows(
    estimator, is_pipeline
):
    networks = list(np.random.default_rng(0).normal(size=(3, 12, 2)))
    splits = list(KFold(3).split(networks[0]))
    given = make_pipeline(estimator) if is_pipeline else estimator
    costs = pairwise_costs(networks, given, cv=3, n_permutations=24, random_state=0)
    without = pairwise_costs(networks, estimator, cv=3)
    np.testing.assert_allclose(costs, without, atol=1e-14)
    for i, j in itertools.permutations(range(3), 2):
        x, y = networks[i], networks[j]
        expected = [
            mean_over_orders(
                clone(estimator).fit(x[train], y[train]).held_out_cost, x[test], y[test]
            )
            for train, test in splits
        ]
        assert costs.chance[i, j] == pytest.approx(np.mean(expected), abs=1e-12)


def test_chance_is_below_one_in_sample_and_one_on_held_out_stimuli():
    """For independent noise; with 40 units, .75 at 60 stimuli and .92 at 600."""
    rng = np.random.default_rng(0)
    others = ~np.eye(4, dtype=bool)
    for n_stimuli, in_sample in ((60, 0.75), (600, 0.92)):
        noise = rng.normal(size=(4, n_stimuli, 40))
        options = {"n_permutations": 10, "random_state": 0, "symmetric": True}
        costs = pairwise_costs(noise, SoftMatching(), **options)
        held_out = pairwise_costs(noise, SoftMatching(), cv=5, **options)
        assert costs.chance[others].mean() == pytest.approx(in_sample, abs=0.01)
        assert held_out.chance[others].mean() == pytest.approx(1, abs=0.01)
        # Costs of noise are at their chance level, not below.
        assert costs[others].mean() == pytest.approx(in_sample, abs=0.01)
        assert held_out[others].mean() == pytest.approx(1, abs=0.03)


def test_held_out_chance_does_not_depend_on_width():
    rng = np.random.default_rng(0)
    noise = [rng.normal(size=(60, n_units)) for n_units in (5, 5, 150, 150)]
    options = {"n_permutations": 20, "random_state": 0}
    in_sample = pairwise_costs(noise, SoftMatching(), **options).chance
    held_out = pairwise_costs(noise, SoftMatching(), cv=5, **options).chance
    assert in_sample[0, 1] - in_sample[2, 3] > 0.15
    assert abs(held_out[0, 1] - held_out[2, 3]) < 0.05


def test_null_costs_give_the_p_value_of_the_permutation_control():
    """Both estimate the share of all 24 orders with a cost that is as low."""
    x, y = np.random.default_rng(3).normal(size=(2, 4, 2))
    costs = pairwise_costs([x, y], SoftMatching(), n_permutations=24, random_state=0)
    control = permutation_control(
        SoftMatching(), x, y, statistic="cost", n_permutations=24, random_state=0
    )
    n_as_low = np.count_nonzero(costs.null_costs[:, 0, 1] <= costs[0, 1] + 1e-10)
    assert (1 + n_as_low) / 25 == control.p_value


@pytest.mark.parametrize("cv", [None, 2])
def test_null_costs_follow_the_seed_for_any_number_of_jobs(networks, cv):
    networks = [layers[:2] for layers in networks.values()]
    options = {"cv": cv, "n_permutations": 2}
    first, same, other = (
        pairwise_costs(
            networks, MultiLevelOT(), random_state=seed, n_jobs=n_jobs, **options
        )
        for seed, n_jobs in ((0, None), (0, 2), (1, None))
    )
    assert first.null_costs.shape == (2, 3, 3)
    np.testing.assert_array_equal(first.null_costs, same.null_costs)
    assert np.nanmax(np.abs(first.null_costs - other.null_costs)) > 1e-3
    # Estimators that are fitted pair by pair get the same permutations.
    wrapped = make_pipeline(MultiLevelOT())
    pipeline = pairwise_costs(networks, wrapped, random_state=0, **options)
    np.testing.assert_allclose(first.null_costs, pipeline.null_costs, atol=1e-12)


@pytest.mark.parametrize("cv", [None, 3])
def test_symmetric_null_costs_are_those_of_one_order(networks, cv):
    options = {"cv": cv, "n_permutations": 3, "random_state": 0}
    half = pairwise_costs(networks, MultiLevelOT(), symmetric=True, **options)
    both = pairwise_costs(networks, MultiLevelOT(), **options)
    upper = np.triu_indices(3, 1)
    np.testing.assert_array_equal(half.chance[upper], both.chance[upper])
    np.testing.assert_array_equal(half.chance, half.chance.T)


@pytest.mark.parametrize(
    "estimator", [SoftMatching(), make_pipeline(SoftMatching())], ids=str
)
def test_repeats_are_permuted_together(estimator):
    networks = labelled_networks(n_stimuli=4)
    arrays = [network.layers[0] for network in networks]
    options = {"n_permutations": 24, "random_state": 0}
    costs = pairwise_costs(networks, estimator, **options)
    held_out = pairwise_costs(networks, estimator, cv=2, **options)
    splits = list(StimulusKFold(2).split(networks[0]))
    for i, j in itertools.permutations(range(3), 2):
        x, y = arrays[i], arrays[j]
        in_sample = mean_over_orders(
            lambda x, y: SoftMatching().fit(x, y).cost_, x, y, n_repeats=3
        )
        expected = [
            mean_over_orders(
                SoftMatching().fit(x[train], y[train]).held_out_cost,
                x[test],
                y[test],
                n_repeats=3,
            )
            for train, test in splits
        ]
        assert costs.chance[i, j] == pytest.approx(in_sample, abs=1e-12)
        assert held_out.chance[i, j] == pytest.approx(np.mean(expected), abs=1e-12)


def test_unequal_numbers_of_repeats_are_warned_of():
    network = np.random.default_rng(0).normal(size=(7, 3))
    stacks = [LayerStack(network, stimuli=list("aabbccc")) for _ in range(2)]
    with pytest.warns(UserWarning, match="Only 57% of the rows can move") as caught:
        pairwise_costs(stacks, SoftMatching(), n_permutations=1, random_state=0)
    assert caught[0].filename == __file__
    with pytest.raises(ValueError, match="Nothing can be permuted"):
        pairwise_costs(
            [LayerStack(network, stimuli=list("aaaaabb")) for _ in range(2)],
            SoftMatching(),
            n_permutations=1,
        )


@pytest.mark.parametrize("cv", [None, 2])
def test_permuted_fits_are_not_taken_for_stored_ones(networks, tmp_path, cv):
    networks = [layers[:2] for layers in networks.values()][:2]
    options = {"cv": cv, "n_permutations": 2, "random_state": 0}
    expected = pairwise_costs(networks, MultiLevelOT(), **options)
    for _ in range(2):
        costs = pairwise_costs(networks, MultiLevelOT(memory=tmp_path), **options)
        np.testing.assert_array_equal(costs, expected)
        np.testing.assert_array_equal(costs.null_costs, expected.null_costs)


class LabelledDistance(BaseEstimator):
    """An estimator that is not of skmot, and checks the labels of what it is given."""

    def fit(self, X, y):
        self.matching_ = SoftMatching().fit(X, y)
        self.cost_ = self.matching_.cost_
        return self

    def held_out_cost(self, X, y):
        return self.matching_.held_out_cost(X, y)


@pytest.mark.parametrize("cv", [None, 2])
def test_labels_do_not_keep_layers_from_being_permuted(networks, cv):
    labels = [f"image {i}" for i in range(60)]
    plain = [LayerStack({"p": side[:2], "q": side[1:]}) for side in networks.values()][
        :2
    ]
    labelled = [stack.with_stimuli(labels) for stack in plain]
    estimator = MultiLevelOT(LabelledDistance())
    options = {"cv": cv, "n_permutations": 2, "random_state": 0}
    costs = pairwise_costs(labelled, estimator, **options)
    expected = pairwise_costs(plain, estimator, **options)
    np.testing.assert_array_equal(costs.null_costs, expected.null_costs)


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
    for cv in (None, 2):
        with pytest.warns(UserWarning, match="target 'b'; 4 time") as caught:
            pairwise_costs(frames, SoftMatching(), cv=cv)
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
    assert costs.dtype == array.dtype
    # Only `np.array` asks for a copy.
    assert np.shares_memory(array, costs.costs)
    assert not np.shares_memory(np.array(costs), costs.costs)
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


def test_pairs_are_a_table_with_their_chance_levels(networks):
    options = {"cv": 3, "n_permutations": 2, "random_state": 0}
    costs = pairwise_costs(networks, MultiLevelOT(), **options)
    assert repr(costs) == (
        "PairwiseCosts(3 networks, MultiLevelOT(), held out in 3 splits)"
    )
    frame = costs.to_frame("pairs")
    assert len(frame) == 3 * 2
    for row in frame.itertuples():
        i, j = (costs.names.index(name) for name in (row.source, row.target))
        assert i != j
        assert (row.cost, row.chance) == (costs[i, j], costs.chance[i, j])
    assert_survives_files(frame)
    without = pairwise_costs(networks, MultiLevelOT())
    assert without.chance is without.null_costs is None
    assert list(without.to_frame("pairs").columns) == ["source", "target", "cost"]
    with pytest.raises(ValueError, match=r"\['matrix', 'pairs'\]; got 'other'"):
        costs.to_frame("other")
    copy = pickle.loads(pickle.dumps(costs))
    np.testing.assert_array_equal(copy.null_costs, costs.null_costs)


def test_networks_are_embedded_with_their_names():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(200, 10))
    networks = {
        name: shared + noise * rng.normal(size=shared.shape)
        for name, noise in (("a", 0.1), ("b", 0.1), ("c", 1.0), ("d", 3.0))
    }
    costs = pairwise_costs(networks, SoftMatching(), symmetric=True)
    embedding = costs.embed(squared=True)
    np.testing.assert_allclose(embedding.costs, np.sqrt((costs + costs.T) / 2))
    assert embedding.names == list("abcd")
    expected = MDS(
        metric="precomputed", init="classical_mds", n_init=1, normalized_stress=True
    ).fit(embedding.costs)
    np.testing.assert_allclose(embedding.positions, expected.embedding_)
    assert embedding.stress == pytest.approx(expected.stress_)
    frame = embedding.to_frame()
    assert frame["network"].tolist() == list("abcd")
    np.testing.assert_array_equal(frame["dimension 2"], embedding.positions[:, 1])
    assert_survives_files(frame)
    # The first two networks are nearly the same.
    distances = np.linalg.norm(embedding.positions - embedding.positions[0], axis=1)
    assert distances.argsort()[1] == 1


@pytest.mark.parametrize(
    ("option", "value"), [("n_permutations", -1), ("cv", 1.5), ("symmetric", "yes")]
)
def test_bad_options_are_named(networks, option, value):
    with pytest.raises(ValueError, match=option):
        pairwise_costs(networks, MultiLevelOT(), **{option: value})

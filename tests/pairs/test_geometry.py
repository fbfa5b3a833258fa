"""RSA and CKA: costs without a map, and laws."""

import pickle
import warnings

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn import config_context
from sklearn.base import clone, is_regressor
from sklearn.model_selection import GridSearchCV
from sklearn.utils import get_tags

from skmot import CKA, RSA, LayerStack, MultiLevelOT
from skmot.metrics import linear_cka, negative_cost, rsa_score
from tests import reference
from tests.libraries import HOMES, home_at, record_host_copies, to_host
from tests.networks import random_networks
from tests.pairs.common import (
    LAWS_OF_COSTS,
    SIZES,
    by_law,
    dead_units_take_no_part,
    populations,
    swapping_source_and_target_changes_nothing,
)

GEOMETRIES = [RSA(), CKA(), CKA(debiased=False)]


@pytest.mark.parametrize(("n", "k"), SIZES)
def test_costs_of_geometries_are_those_of_the_functions(n, k):
    X, Y = populations(n, k)
    held_out = X[30:], Y[30:]
    for estimator, score in (
        (RSA(), rsa_score),
        (CKA(), linear_cka),
        (CKA(debiased=False), lambda X, Y: linear_cka(X, Y, debiased=False)),
    ):
        estimator.fit(X[:30], Y[:30])
        assert estimator.cost_ == pytest.approx(1 - score(X[:30], Y[:30]), abs=1e-12)
        assert estimator.held_out_cost(*held_out) == pytest.approx(
            1 - score(*held_out), abs=1e-12
        )


@pytest.mark.parametrize("estimator", GEOMETRIES, ids=repr)
@pytest.mark.parametrize("wrap", [lambda inner: inner, MultiLevelOT])
def test_geometries_are_no_regressors(estimator, wrap):
    estimator = wrap(clone(estimator))
    assert not is_regressor(estimator)
    X, Y = populations(5, 9)
    estimator.fit(X, Y)
    for method in (
        *("predict", "inverse_predict", "score", "inverse_score"),
        *("unit_scores", "layer_scores"),
    ):
        assert not hasattr(estimator, method)
        with pytest.raises(AttributeError) as caught:
            getattr(estimator, method)
        assert "no `" in str(caught.value)


@pytest.mark.parametrize("estimator", GEOMETRIES, ids=repr)
def test_a_layers_geometry_is_made_once(estimator):
    prepared = []

    class Counted(type(estimator)):
        def _prepare(self, leaves, statistics):
            prepared.append(statistics)
            return super()._prepare(leaves, statistics)

    source, target = random_networks()
    counted = Counted(**estimator.get_params())
    mot = MultiLevelOT(counted).fit(source, target)
    assert len(prepared) == len(source) + len(target)
    by_pairs = [[estimator.fit(x, y).cost_ for y in target] for x in source]
    np.testing.assert_allclose(mot.layer_costs_, by_pairs, atol=1e-12)


@pytest.mark.parametrize("estimator", GEOMETRIES, ids=repr)
def test_costs_on_held_out_folds_need_one_geometry_a_layer_and_fold(estimator):
    n_stimuli = []

    class Counted(type(estimator)):
        def _describe_geometry(self, units, where):
            n_stimuli.append(len(units))
            return super()._describe_geometry(units, where)

    source, target = random_networks()
    n_layers = len(source) + len(target)
    MultiLevelOT(Counted(**estimator.get_params()), cost_cv=4).fit(source, target)
    assert sorted(n_stimuli) == [15] * (4 * n_layers) + [60] * n_layers


@pytest.mark.parametrize("width", [5, 60])
@pytest.mark.parametrize("estimator", GEOMETRIES, ids=repr)
def test_a_layer_costs_nothing_to_itself(estimator, width):
    X, _ = populations(width, 1, n_stimuli=100)
    assert estimator.fit(X, X.copy()).cost_ == 0
    assert MultiLevelOT(estimator).fit([X, X[:, :3]], [X.copy()]).layer_costs_[0] == 0


def cost_from_differences(X, Y, debiased):
    kernels = [reference.products_of_stimuli(layer, debiased) for layer in (X, Y)]
    K, L = (kernel / np.sqrt(np.sum(kernel**2)) for kernel in kernels)
    return float(np.sum((K - L) ** 2) / 2)


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize("width", [1, 8, 70])
@pytest.mark.parametrize("size", [1e-4, 1e-7, 1e-9])
def test_small_costs_of_cka_are_right_in_relative_terms(size, width, debiased):
    X, _ = populations(width, 1, n_stimuli=140)
    Y = X + size * np.random.default_rng(1).normal(size=X.shape)
    cost = CKA(debiased=debiased).fit(X, Y).cost_
    expected = cost_from_differences(X, Y, debiased)
    assert 0 < expected < 1e-6
    assert cost == pytest.approx(expected, rel=1e-5)
    layers = MultiLevelOT(CKA(debiased=debiased)).fit([X], [Y]).layer_costs_
    assert layers.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("estimator", GEOMETRIES[1:], ids=repr)
def test_another_basis_or_repeated_units_cost_next_to_nothing_in_cka(estimator):
    X, _ = populations(6, 1, n_stimuli=100)
    X -= X.mean(axis=0)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    for other in (X @ rotation, np.hstack([X, X]), np.hstack([X] * 30)):
        assert 0 <= estimator.fit(X, 3 * other).cost_ < 1e-25


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("estimator", GEOMETRIES[1:], ids=repr)
def test_layers_of_few_and_of_many_units_are_compared_as_alone(estimator, dtype):
    rng = np.random.default_rng(5)
    latent = rng.normal(size=(200, 6))
    networks = [
        [latent @ rng.normal(size=(6, n)) + rng.normal(size=(200, n)) for n in widths]
        for widths in ((4, 250, 40), (300, 12, 3, 90))
    ]
    networks = [[layer.astype(dtype) for layer in side] for side in networks]
    costs = MultiLevelOT(estimator).fit(*networks).layer_costs_
    alone = [[estimator.fit(x, y).cost_ for y in networks[1]] for x in networks[0]]
    np.testing.assert_allclose(costs, alone, rtol=0, atol=5e-15)


@pytest.mark.parametrize("estimator", GEOMETRIES, ids=repr)
def test_geometries_of_several_layers_are_those_of_all_their_units(estimator):
    source, target = random_networks()
    together = estimator.fit(source, target).cost_
    side_by_side = estimator.fit(np.hstack(source), np.hstack(target)).cost_
    assert together == pytest.approx(side_by_side, abs=1e-12)
    nested = MultiLevelOT(estimator).fit([LayerStack(source)], [LayerStack(target)])
    assert nested.cost_ == pytest.approx(side_by_side, abs=1e-12)


def test_geometries_name_the_layer_that_is_constant():
    source, target = random_networks()
    target[2] = np.ones_like(target[2])
    for estimator in (RSA(), MultiLevelOT(RSA())):
        with pytest.raises(ValueError, match=r"Every unit is constant .* y, layer 2"):
            estimator.fit(source, target)


def test_a_geometry_and_activations_stay_with_the_data_of_the_fit():
    assert len(pickle.dumps(RSA().fit(*populations(2, 2, 300)))) < 5_000


@pytest.mark.parametrize(("n", "k"), SIZES)
@pytest.mark.parametrize("estimator", GEOMETRIES, ids=repr)
def test_swapping_source_and_target_changes_nothing(estimator, n, k):
    swapping_source_and_target_changes_nothing(estimator, n, k)


@by_law(*LAWS_OF_COSTS)
@pytest.mark.parametrize("estimator", GEOMETRIES[1:], ids=repr)
def test_laws_of_cka(estimator, law):
    law(clone(estimator))


@by_law(*(law for law in LAWS_OF_COSTS if law is not dead_units_take_no_part))
def test_laws_of_rsa(law):
    law(RSA())


def test_constant_units_take_part_in_rsa():
    X, Y = populations(5, 9)
    X, Y = np.insert(X, 2, 7.0, axis=1), np.insert(Y, 4, -0.1, axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rsa = RSA().fit(X, Y)
    assert rsa.cost_ == pytest.approx(1 - rsa_score(X, Y), abs=1e-12)
    assert rsa.cost_ != pytest.approx(RSA().fit(X[:, [0, 1, 3]], Y).cost_, abs=1e-3)
    assert rsa.dead_source_units_.size == rsa.dead_target_units_.size == 0


def test_units_that_are_silent_in_some_rows_count_in_rows_scored():
    X, Y = (np.maximum(side, 0) for side in populations(12, 9, n_stimuli=50))
    training, held_out = slice(0, 30), slice(30, 50)
    X[training, 3] = X[held_out, 7] = 0.0
    Y[training, 2] = Y[held_out, 5] = 4.0
    upper = np.triu_indices(20, 1)
    rdms = [np.corrcoef(side[held_out])[upper] for side in (X, Y)]
    by_hand = 1 - spearmanr(*rdms).statistic
    fitted = RSA().fit(X[training], Y[training])
    assert fitted.held_out_cost(X[held_out], Y[held_out]) == pytest.approx(by_hand)
    folds = [(np.arange(50)[training], np.arange(50)[held_out])]
    assert MultiLevelOT(RSA(), cost_cv=folds).fit([X], [Y]).cost_ == pytest.approx(
        by_hand
    )


# -- within MultiLevelOT ---------------------------------------------------------------


@pytest.mark.parametrize(
    "strategy", ["transport", "single_best", "pairwise_best", "permuted"]
)
@pytest.mark.parametrize("inner", GEOMETRIES, ids=repr)
def test_multilevel_couples_layers_by_any_cost(inner, strategy):
    source, target = random_networks()
    mot = MultiLevelOT(inner, strategy=strategy, random_state=0).fit(source, target)
    assert mot.coupling_.sum() == pytest.approx(1)
    assert mot.cost_ == pytest.approx(np.sum(mot.coupling_ * mot.layer_costs_))
    assert mot.held_out_cost(source, target) == pytest.approx(mot.cost_)


# -- arrays of other libraries ---------------------------------------------------------


@pytest.fixture(params=HOMES)
def home(request):
    return home_at(request.param)


@pytest.mark.filterwarnings("ignore::skmot.exceptions.DeadUnitWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("widths", [(5, 9), (50, 4), (70, 80)], ids=str)
@pytest.mark.parametrize("estimator", GEOMETRIES, ids=repr)
def test_arrays_of_other_libraries_have_the_costs_of_numpys(
    home, estimator, widths, dtype
):
    X, Y = (side.astype(dtype) for side in populations(*widths, n_stimuli=90))
    X[:, 1], Y[:, 0] = 0.1, np.round(Y[:, 0])
    expected = estimator.fit(X[:60], Y[:60])
    tolerance = 1e-6 if dtype == "float32" else 1e-12
    costs = expected.cost_, expected.held_out_cost(X[60:], Y[60:])
    with config_context(array_api_dispatch=True):
        assert get_tags(estimator).array_api_support
        elsewhere = home.asarray(X), home.asarray(Y)
        found = clone(estimator).fit(*(side[:60, :] for side in elsewhere))
        assert type(found.cost_) is float
        assert found.cost_ == pytest.approx(costs[0], abs=tolerance)
        assert found.held_out_cost(
            *(side[60:, :] for side in elsewhere)
        ) == pytest.approx(costs[1], abs=tolerance)
        assert clone(estimator).fit(elsewhere[0], elsewhere[0]).cost_ == 0


@pytest.mark.parametrize("estimator", GEOMETRIES, ids=repr)
def test_networks_of_other_libraries_are_coupled_where_they_are(
    home, estimator, monkeypatch
):
    source, target = random_networks()
    expected = MultiLevelOT(estimator, cost_cv=3).fit(source, target)
    sizes_on_host = record_host_copies(home, monkeypatch)
    with config_context(array_api_dispatch=True):
        found = MultiLevelOT(estimator, cost_cv=3).fit(
            home.layers(source), home.layers(target)
        )
        assert home.has(found.layer_costs_)
    # A number for each unit or stimulus, of which there are 60.
    assert max(sizes_on_host) <= 60
    np.testing.assert_allclose(
        to_host(found.layer_costs_), expected.layer_costs_, atol=1e-12
    )


# -- within scikit-learn ---------------------------------------------------------------


def test_costs_can_be_searched_over_the_kind_of_geometry():
    X, y = (LayerStack(network) for network in random_networks())
    search = GridSearchCV(
        MultiLevelOT(RSA()),
        {"inner": [RSA(), CKA(), CKA(debiased=False)]},
        scoring=negative_cost,
        cv=3,
        error_score="raise",
    ).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()

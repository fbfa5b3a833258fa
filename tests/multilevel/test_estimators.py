import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin, is_regressor
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, KFold, LeaveOneOut
from sklearn.utils import get_tags

from skmot import (
    CKA,
    RSA,
    LayerStack,
    LinearPredictivity,
    MultiLevelOT,
    MultiLevelOTRotation,
    RotationMatching,
    SemiMatching,
    SoftMatching,
)
from skmot.exceptions import DeadUnitWarning
from skmot.model_selection import StimulusKFold
from skmot.scaling import estimate
from tests import reference
from tests.libraries import HOMES, home_at, to_host
from tests.multilevel.fits import trajectories
from tests.networks import random_networks, rows

STRATEGIES = ["transport", "single_best", "pairwise_best", "permuted", "uniform"]
TRAIN, TEST = slice(0, 45), slice(45, 60)


def split(networks=None):
    source, target = networks or random_networks()
    return (
        rows(source, TRAIN),
        rows(target, TRAIN),
        rows(source, TEST),
        rows(target, TEST),
    )


# -- against the definition ------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "distances"),
    [
        ("correlation", reference.correlation_distances),
        ("cosine", reference.cosine_distances),
        ("sqeuclidean", reference.squared_distances),
    ],
)
def test_costs_couplings_and_reconstructions_are_those_of_the_definition(
    metric, distances
):
    X, y, held_out_X, held_out_y = split()
    mot = MultiLevelOT(SoftMatching(metric)).fit(X, y)
    slow = reference.SlowMultiLevelOT(X, y, distances)
    np.testing.assert_allclose(mot.layer_costs_, slow.costs, rtol=0, atol=1e-9)
    np.testing.assert_allclose(mot.coupling_, slow.coupling, atol=1e-12)
    assert mot.cost_ == pytest.approx(slow.cost, abs=1e-9)
    for predicted, expected in (
        (mot.predict(held_out_X), slow.predict(held_out_X)),
        (mot.inverse_predict(held_out_y), slow.inverse_predict(held_out_y)),
    ):
        for layer, slow_layer in zip(predicted, expected, strict=True):
            np.testing.assert_allclose(layer, slow_layer, atol=1e-8)
    assert mot.score(held_out_X, held_out_y) == pytest.approx(
        reference.score(held_out_y, slow.predict(held_out_X)), abs=1e-9
    )
    assert mot.inverse_score(held_out_X, held_out_y) == pytest.approx(
        reference.score(held_out_X, slow.inverse_predict(held_out_y)), abs=1e-9
    )


def test_float32_layers_give_nearly_the_same_costs():
    X, y, *_ = split()
    single = [[layer.astype(np.float32) for layer in side] for side in (X, y)]
    mot, slow = MultiLevelOT().fit(*single), reference.SlowMultiLevelOT(X, y)
    np.testing.assert_allclose(mot.layer_costs_, slow.costs, rtol=0, atol=1e-5)
    assert mot.predict(rows(single[0], slice(3)))[0].dtype == np.float32


# -- strategies ------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_reconstructions_weigh_inner_predictions_by_the_coupling(strategy):
    X, y, held_out_X, held_out_y = split()
    mot = MultiLevelOT(strategy=strategy, random_state=3).fit(X, y)
    slow = reference.SlowMultiLevelOT(X, y)
    expected = slow.predict(held_out_X, mot.coupling_)
    for layer, slow_layer in zip(mot.predict(held_out_X), expected, strict=True):
        np.testing.assert_allclose(layer, slow_layer, atol=1e-8)
    expected = slow.inverse_predict(held_out_y, mot.inverse_coupling_)
    for layer, slow_layer in zip(
        mot.inverse_predict(held_out_y), expected, strict=True
    ):
        np.testing.assert_allclose(layer, slow_layer, atol=1e-8)
    assert mot.cost_ == pytest.approx(np.sum(mot.coupling_ * slow.costs), abs=1e-9)


@pytest.mark.parametrize("library", HOMES)
def test_uniform_works_on_arrays_of_other_libraries(library):
    home = home_at(library)
    X, y, held_out_X, held_out_y = split()
    plain = MultiLevelOT(strategy="uniform").fit(X, y)
    with config_context(array_api_dispatch=True):
        moved = MultiLevelOT(strategy="uniform").fit(home.layers(X), home.layers(y))
        held_out = home.layers(held_out_X), home.layers(held_out_y)
        assert moved.score(*held_out) == pytest.approx(
            plain.score(held_out_X, held_out_y), abs=1e-9
        )
        assert moved.held_out_cost(*held_out) == pytest.approx(
            plain.held_out_cost(held_out_X, held_out_y), abs=1e-9
        )
    for name in ("coupling_", "inverse_coupling_"):
        assert home.has(getattr(moved, name))
        np.testing.assert_array_equal(
            to_host(getattr(moved, name)), np.full((3, 4), 1 / 12)
        )
    assert moved.cost_ == pytest.approx(plain.cost_, abs=1e-9)


def test_uniform_takes_the_pairs_that_transport_takes():
    X, y, *_ = split()
    for kind in (MultiLevelOT, MultiLevelOTRotation):
        plain, uniform = (
            estimate(kind(strategy=strategy), X, y)
            for strategy in ("transport", "uniform")
        )
        assert uniform.n_pairs == plain.n_pairs == 12


def test_uniform_draws_nothing():
    X, y, *_ = split()
    first, second = (
        MultiLevelOT(strategy="uniform", random_state=seed).fit(X, y)
        for seed in (0, np.random.RandomState(1))
    )
    np.testing.assert_array_equal(first.coupling_, second.coupling_)


# -- laws ------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_permuting_units_changes_no_cost_and_no_score(strategy):
    X, y, held_out_X, held_out_y = split()
    rng = np.random.default_rng(0)
    orders = [[rng.permutation(layer.shape[1]) for layer in side] for side in (X, y)]

    def permute(layers, order):
        return [layer[:, o] for layer, o in zip(layers, order, strict=True)]

    mot = MultiLevelOT(strategy=strategy, random_state=0)
    plain = mot.fit(X, y)
    expected = (
        plain.layer_costs_,
        plain.score(held_out_X, held_out_y),
        plain.inverse_score(held_out_X, held_out_y),
    )
    moved = mot.fit(permute(X, orders[0]), permute(y, orders[1]))
    scored = permute(held_out_X, orders[0]), permute(held_out_y, orders[1])
    np.testing.assert_allclose(moved.layer_costs_, expected[0], atol=1e-12)
    assert moved.score(*scored) == pytest.approx(expected[1], abs=1e-12)
    assert moved.inverse_score(*scored) == pytest.approx(expected[2], abs=1e-12)


def test_a_network_is_at_no_cost_from_itself():
    X, _ = random_networks()
    mot = MultiLevelOT().fit(X, X)
    np.testing.assert_array_equal(mot.coupling_, np.eye(3) / 3)
    assert mot.cost_ == pytest.approx(0, abs=1e-12)
    assert mot.score(X, X) == pytest.approx(1)


def test_rescaling_units_changes_no_cost_and_no_score():
    X, y, held_out_X, held_out_y = split()
    rng = np.random.default_rng(0)
    scales = [np.exp(3 * rng.normal(size=layer.shape[1])) for layer in X]

    def rescale(layers):
        return [s * layer - 3 for s, layer in zip(scales, layers, strict=True)]

    plain, moved = MultiLevelOT().fit(X, y), MultiLevelOT().fit(rescale(X), y)
    np.testing.assert_allclose(moved.layer_costs_, plain.layer_costs_, atol=1e-10)
    assert moved.score(rescale(held_out_X), held_out_y) == pytest.approx(
        plain.score(held_out_X, held_out_y), abs=1e-9
    )


# -- scores ----------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["target", "source"])
def test_layer_and_unit_scores_average_to_the_score(direction):
    X, y, *held_out = split()
    mot = MultiLevelOT().fit(X, y)
    units = mot.unit_scores(*held_out, direction=direction)
    layers = mot.layer_scores(*held_out, direction=direction)
    score = mot.score if direction == "target" else mot.inverse_score
    widths = [layer.shape[1] for layer in (y if direction == "target" else X)]
    assert [len(layer) for layer in units] == widths
    np.testing.assert_allclose(layers, [layer.mean() for layer in units])
    assert score(*held_out) == pytest.approx(layers.mean())


def test_weights_are_refused():
    X, y, *_ = split()
    with pytest.raises(ValueError, match="sample_weight is not supported"):
        MultiLevelOT().fit(X, y).score(X, y, sample_weight=np.ones(45))


@pytest.mark.parametrize("method", ["score", "inverse_score", "layer_scores"])
def test_unfitted_use_is_an_error(method):
    X, y, *_ = split()
    with pytest.raises(NotFittedError):
        getattr(MultiLevelOT(), method)(X, y)


# -- what is learned -------------------------------------------------------------------


def test_a_fitted_comparison_keeps_no_activations():
    rng = np.random.default_rng(0)
    widths = [50, 60, 70]
    sizes = []
    for n_stimuli in (100, 4000):
        X = [rng.normal(size=(n_stimuli, width)) for width in widths]
        y = [layer + rng.normal(size=layer.shape) for layer in X]
        sizes.append(len(pickle.dumps(MultiLevelOT().fit(X, y))))
    # Forty times the stimuli, and not a layer's width of numbers more. (Plans of other
    # data differ by a few entries.)
    assert abs(sizes[1] - sizes[0]) < 8 * 50 * 9


def test_inner_estimators_are_those_of_each_pair():
    X, y, held_out_X, held_out_y = split()
    mot = MultiLevelOT().fit(X, y)
    for s, m in np.ndindex(3, 4):
        alone = SoftMatching().fit(X[s], y[m])
        assert mot.inner_[s][m].cost_ == pytest.approx(alone.cost_, abs=1e-12)
        np.testing.assert_allclose(
            mot.inner_[s][m].predict(held_out_X[s]), alone.predict(held_out_X[s])
        )
        assert mot.inner_[s][m].score(held_out_X[s], held_out_y[m]) == pytest.approx(
            alone.score(held_out_X[s], held_out_y[m])
        )


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_statistics_of_a_layer_are_kept_once(n_jobs, tmp_path):
    rng = np.random.default_rng(0)
    X, y = ([rng.normal(size=(5, 2000)) for _ in range(depth)] for depth in (6, 8))
    # It learns nothing but a cost: all that is large are statistics of units.
    mot = MultiLevelOT(CKA(), n_jobs=n_jobs, memory=tmp_path).fit(X, y)
    found_again = MultiLevelOT(CKA(), n_jobs=n_jobs, memory=tmp_path).fit(X, y)
    # Three numbers and whether it varies, of each unit; not for each of 48 pairs.
    for fit in (mot, found_again):
        assert len(pickle.dumps(fit)) < 1.1 * (6 + 8) * 2000 * (3 * 8 + 1)


def test_predictions_come_as_the_kind_fitted_to():
    X, y, *_ = split()
    named = LayerStack(y, names=["a", "b", "c", "d"])
    mot = MultiLevelOT().fit(dict(zip("xyz", X, strict=True)), named)
    predicted = mot.predict(dict(zip("xyz", X, strict=True)))
    assert isinstance(predicted, LayerStack)
    assert predicted.names == ("a", "b", "c", "d")
    assert list(mot.inverse_predict(y)) == ["x", "y", "z"]
    assert isinstance(MultiLevelOT().fit(X, y).predict(X), list)
    assert MultiLevelOT().fit(X[0], y[0]).predict(X[0]).shape == y[0].shape


# -- parallel --------------------------------------------------------------------------


def test_the_number_of_jobs_changes_nothing():
    X, y, *held_out = split()
    one, two = (MultiLevelOT(n_jobs=n_jobs).fit(X, y) for n_jobs in (1, 2))
    np.testing.assert_array_equal(one.layer_costs_, two.layer_costs_)
    np.testing.assert_array_equal(one.coupling_, two.coupling_)
    assert one.score(*held_out) == two.score(*held_out)


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("inner", [None, MultiLevelOT()], ids=["units", "layers"])
def test_dead_units_of_all_pairs_are_warned_of_once(inner, n_jobs):
    X, y, *_ = split()
    X = [np.insert(layer, 0, 1.0, axis=1) for layer in X]
    y = [*y[:2], np.insert(y[2], 3, -2.0, axis=1), y[3]]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mot = MultiLevelOT(inner, n_jobs=n_jobs).fit(X, y)
    assert [warning.category for warning in caught] == [DeadUnitWarning]
    assert [dead.tolist() for dead in mot.dead_source_units_] == [[0], [0], [0]]
    assert [dead.tolist() for dead in mot.dead_target_units_] == [[], [], [3], []]
    predicted = mot.predict(X)
    np.testing.assert_allclose(predicted[2][:, 3], -2.0, rtol=1e-12)
    np.testing.assert_allclose(mot.inverse_predict(y)[1][:, 0], 1.0, rtol=1e-12)


def test_dead_units_change_nothing_for_the_others():
    X, y, *_ = split()
    plain = MultiLevelOT().fit(X, y)
    with pytest.warns(DeadUnitWarning):
        mot = MultiLevelOT().fit([np.insert(x, 2, 7.0, axis=1) for x in X], y)
    np.testing.assert_array_equal(mot.layer_costs_, plain.layer_costs_)
    np.testing.assert_array_equal(mot.coupling_, plain.coupling_)


# -- any inner estimator ---------------------------------------------------------------


class MeanDifference(RegressorMixin, BaseEstimator):
    """A foreign inner estimator: raw layers in, a cost and a constant out."""

    def fit(self, X, y):
        self.cost_ = abs(X.mean() - y.mean())
        self.target_mean_, self.source_mean_ = y.mean(axis=0), X.mean(axis=0)
        return self

    def predict(self, X):
        return np.tile(self.target_mean_, (len(X), 1))

    def inverse_predict(self, y):
        return np.tile(self.source_mean_, (len(y), 1))


class CostOnly(BaseEstimator):
    """A foreign inner estimator without a map."""

    def __init__(self, value=None):
        self.value = value

    def fit(self, X, y):
        self.cost_ = abs(X.mean() - y.mean()) if self.value is None else self.value
        return self


def test_any_estimator_with_a_cost_can_be_inner():
    X, y, *_ = split()
    mot = MultiLevelOT(MeanDifference(), n_jobs=2).fit(X, y)
    costs = np.array([[abs(a.mean() - b.mean()) for b in y] for a in X])
    np.testing.assert_allclose(mot.layer_costs_, costs)
    np.testing.assert_allclose(mot.coupling_, reference.transport(costs)[0], atol=1e-12)
    for layer, truth in zip(mot.predict(X), y, strict=True):
        np.testing.assert_allclose(layer, np.tile(truth.mean(axis=0), (45, 1)))


def test_an_inner_estimator_without_a_map_leaves_a_cost_and_a_coupling():
    X, y, *_ = split()
    mot = MultiLevelOT(CostOnly()).fit(X, y)
    assert mot.cost_ == pytest.approx(np.sum(mot.coupling_ * mot.layer_costs_))
    for method in ("predict", "score", "inverse_predict", "inverse_score"):
        assert not hasattr(mot, method)
    with pytest.raises(AttributeError) as error:
        mot.predict(X)
    assert "CostOnly has no `predict`" in str(error.value)
    assert not is_regressor(mot)
    assert get_tags(mot).regressor_tags is None
    assert is_regressor(MultiLevelOT())


@pytest.mark.parametrize(
    "inner",
    [
        CostOnly(),
        MeanDifference(),
        CKA(),
        RSA(),
        SemiMatching(),
        LinearPredictivity(random_state=0),
    ],
    ids=lambda inner: type(inner).__name__,
)
def test_uniform_is_above_any_inner_estimator(inner):
    X, y, held_out_X, held_out_y = split()
    plain = MultiLevelOT(inner).fit(X, y)
    uniform = MultiLevelOT(inner, strategy="uniform").fit(X, y)
    assert uniform.cost_ == pytest.approx(plain.layer_costs_.mean())
    assert hasattr(uniform, "predict") == hasattr(plain, "predict")
    if hasattr(plain, "predict"):
        parts = [plain.inner_[s][2].predict(held_out_X[s]) for s in range(3)]
        found = uniform.predict(held_out_X)[2]
        np.testing.assert_allclose(found, np.mean(parts, axis=0), atol=1e-10)
    if hasattr(inner, "held_out_cost"):
        costs = [
            plain.inner_[s][m].held_out_cost(held_out_X[s], held_out_y[m])
            for s, m in np.ndindex(3, 4)
        ]
        found = uniform.held_out_cost(held_out_X, held_out_y)
        assert found == pytest.approx(np.mean(costs))


def test_an_inner_estimator_without_a_cost_is_an_error():
    X, y, *_ = split()
    with pytest.raises(TypeError, match="Ridge learned no `cost_`"):
        MultiLevelOT(Ridge()).fit(X, y)


@pytest.mark.parametrize("cost", [np.nan, np.inf])
def test_a_cost_that_is_no_number_is_an_error(cost):
    X, y, *_ = split()
    with pytest.raises(ValueError, match=r"`cost_` of (nan|inf) for X, layer 0"):
        MultiLevelOT(CostOnly(cost)).fit(X, y)


def test_inner_settings_are_reached_by_their_names():
    mot = MultiLevelOT(SoftMatching())
    mot.set_params(inner__metric="cosine", inner__reconstruct="raw")
    assert mot.inner.metric == "cosine"
    X, y, *_ = split()
    assert mot.fit(X, y).inner_[0][0].reconstruct == "raw"


# -- more levels -----------------------------------------------------------------------


def test_a_level_more_couples_networks_by_their_costs():
    X, y = trajectories()
    mot = MultiLevelOT(MultiLevelOT()).fit(X, y)
    costs = np.array([[reference.SlowMultiLevelOT(a, b).cost for b in y] for a in X])
    np.testing.assert_allclose(mot.layer_costs_, costs, atol=1e-9)
    plan, cost = reference.transport(costs)
    np.testing.assert_allclose(mot.coupling_, plan, atol=1e-12)
    assert mot.cost_ == pytest.approx(cost, abs=1e-9)


def test_a_level_more_reconstructs_networks_from_networks():
    X, y = trajectories()
    stack_X, stack_y = LayerStack(X), LayerStack(y)
    mot = MultiLevelOT(MultiLevelOT()).fit(stack_X[TRAIN], stack_y[TRAIN])
    predicted = mot.predict(stack_X[TEST])
    assert predicted.layers[0].widths == stack_y.layers[0].widths
    slow = {
        pair: reference.SlowMultiLevelOT(
            rows(X[pair[0]], TRAIN), rows(y[pair[1]], TRAIN)
        )
        for pair in np.ndindex(3, 2)
    }
    held_out = [rows(network, TEST) for network in X]
    scores = []
    for n in range(2):
        expected = [np.zeros_like(layer[TEST]) for layer in y[n]]
        for k in range(3):
            for total, part in zip(
                expected, slow[k, n].predict(held_out[k]), strict=True
            ):
                total += 2 * mot.coupling_[k, n] * part
        for layer, truth in zip(predicted.layers[n].layers, expected, strict=True):
            np.testing.assert_allclose(layer, truth, atol=1e-8)
        scores.append(reference.score(rows(y[n], TEST), expected))
    assert mot.score(stack_X[TEST], stack_y[TEST]) == pytest.approx(np.mean(scores))
    np.testing.assert_allclose(mot.layer_scores(stack_X[TEST], stack_y[TEST]), scores)


def test_uniform_couples_networks_as_it_couples_layers():
    X, y = trajectories()
    costs = np.array([[reference.SlowMultiLevelOT(a, b).cost for b in y] for a in X])
    above = MultiLevelOT(MultiLevelOT(), strategy="uniform").fit(X, y)
    np.testing.assert_allclose(above.coupling_, np.full((3, 2), 1 / 6), atol=1e-15)
    assert above.cost_ == pytest.approx(costs.mean(), abs=1e-9)
    below = MultiLevelOT(MultiLevelOT(strategy="uniform")).fit(X, y)
    means = [[reference.SlowMultiLevelOT(a, b).costs.mean() for b in y] for a in X]
    np.testing.assert_allclose(below.layer_costs_, means, atol=1e-9)
    assert below.cost_ == pytest.approx(reference.transport(means)[1], abs=1e-9)


def test_a_plain_matching_takes_each_network_as_one_population():
    X, y = trajectories()
    mot = MultiLevelOT(SoftMatching()).fit(X, y)
    alone = SoftMatching().fit(X[1], y[0])
    assert mot.layer_costs_[1, 0] == pytest.approx(alone.cost_, abs=1e-12)
    assert np.isfinite(mot.score(X, y))


# -- costs on held-out stimuli ---------------------------------------------------------


def test_held_out_costs_are_means_over_folds_of_the_training_stimuli():
    X, y, held_out_X, held_out_y = split()
    mot = MultiLevelOT(cost_cv=3).fit(X, y)
    expected = np.zeros((3, 4))
    for start in range(0, 45, 15):
        test = np.arange(start, start + 15)
        train = np.setdiff1d(np.arange(45), test)
        for s, m in np.ndindex(3, 4):
            plan, _ = reference.transport(
                reference.correlation_distances(X[s][train], y[m][train])
            )
            distances = reference.correlation_distances(X[s][test], y[m][test])
            expected[s, m] += np.sum(plan * distances) / 3
    np.testing.assert_allclose(mot.layer_costs_, expected, atol=1e-9)
    coupling, cost = reference.transport(expected)
    np.testing.assert_allclose(mot.coupling_, coupling, atol=1e-12)
    assert mot.cost_ == pytest.approx(cost, abs=1e-9)
    # The unit plans are those of all training stimuli.
    plain = MultiLevelOT().fit(X, y)
    np.testing.assert_array_equal(
        mot.inner_[2][1].coupling_.toarray(), plain.inner_[2][1].coupling_.toarray()
    )
    assert mot.score(held_out_X, held_out_y) == pytest.approx(
        reference.score(
            held_out_y, reference.SlowMultiLevelOT(X, y).predict(held_out_X, coupling)
        ),
        abs=1e-9,
    )


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("cost_cv", [3, KFold(3), list(KFold(3).split(np.ones(45)))])
def test_folds_are_given_as_scikit_learn_takes_them(cost_cv, n_jobs):
    X, y, *_ = split()
    np.testing.assert_allclose(
        MultiLevelOT(cost_cv=cost_cv, n_jobs=n_jobs).fit(X, y).layer_costs_,
        MultiLevelOT(cost_cv=3).fit(X, y).layer_costs_,
        atol=1e-12,
    )


@pytest.mark.parametrize(
    "inner",
    [SoftMatching(), SoftMatching("sqeuclidean"), SoftMatching(mass=0.5)],
    ids=str,
)
def test_width_alone_does_not_lower_a_held_out_cost(inner):
    rng = np.random.default_rng(0)
    widths = (32, 128, 512)
    X, y = ([rng.normal(size=(100, width)) for width in widths] for _ in range(2))
    in_sample = np.diag(MultiLevelOT(inner).fit(X, y).layer_costs_)
    held_out = np.diag(MultiLevelOT(inner, cost_cv=5).fit(X, y).layer_costs_)
    # Squared distances of unit vectors are twice the correlation distance.
    unit = 2.0 if inner.metric == "sqeuclidean" else 1.0
    assert np.all(np.diff(in_sample) < -0.02 * unit)
    # A mean of 32 pairs (half as many with half the mass) over five folds of 20
    # stimuli has a standard error of 1 / sqrt(32 * 95) = .018, and is the widest.
    np.testing.assert_allclose(held_out, held_out.mean(), atol=3 * 0.026 * unit)
    assert abs(held_out.mean() / unit - 1) < 0.05


def test_costs_of_a_fit_are_read_on_other_stimuli():
    X, y, held_out_X, held_out_y = split()
    mot = MultiLevelOT().fit(X, y)
    slow = reference.SlowMultiLevelOT(X, y)
    expected = sum(
        slow.coupling[pair]
        * np.sum(
            slow.plans[pair]
            * reference.correlation_distances(held_out_X[pair[0]], held_out_y[pair[1]])
        )
        for pair in np.ndindex(3, 4)
    )
    assert mot.held_out_cost(held_out_X, held_out_y) == pytest.approx(expected)
    assert mot.held_out_cost(X, y) == pytest.approx(mot.cost_)


def test_levels_of_networks_read_held_out_costs_too():
    X, y = trajectories()
    stack_X, stack_y = LayerStack(X), LayerStack(y)
    mot = MultiLevelOT(MultiLevelOT(), cost_cv=2).fit(stack_X, stack_y)
    halves = np.arange(30, 60), np.arange(30)
    expected = np.mean(
        [
            MultiLevelOT()
            .fit(rows(X[1], train), rows(y[0], train))
            .held_out_cost(rows(X[1], test), rows(y[0], test))
            for train, test in (halves, halves[::-1])
        ]
    )
    assert mot.layer_costs_[1, 0] == pytest.approx(expected)
    one = MultiLevelOT(SoftMatching(), cost_cv=2).fit(stack_X, stack_y)
    assert np.isfinite(one.held_out_cost(stack_X, stack_y))


def test_the_cost_of_uniform_is_the_mean_of_held_out_costs_too():
    X, y, *_ = split()
    plain = MultiLevelOT(cost_cv=3).fit(X, y)
    uniform = MultiLevelOT(cost_cv=3, strategy="uniform").fit(X, y)
    np.testing.assert_array_equal(uniform.layer_costs_, plain.layer_costs_)
    assert uniform.cost_ == pytest.approx(plain.layer_costs_.mean())


# -- rows that repeat a stimulus -------------------------------------------------------


def unrelated_subjects(labels="both"):
    """Two subjects that share nothing, and were shown each of 40 images three times."""
    rng = np.random.default_rng(0)
    images = np.repeat([f"image {number}" for number in range(40)], 3)
    sides = []
    for side in ("source", "target"):
        layers = []
        for _ in range(2):
            signal = np.repeat(rng.normal(size=(40, 60)), 3, axis=0)
            layers.append(signal + 0.3 * rng.normal(size=signal.shape))
        stimuli = images if labels in (side, "both") else None
        sides.append(LayerStack(layers, stimuli=stimuli))
    return sides


def stimulus_folds(n_splits):
    return list(GroupKFold(n_splits).split(np.zeros(120), groups=np.arange(120) // 3))


def level_with(cost_cv, n_levels=1, kind=MultiLevelOT, **settings):
    """Return the level that splits, below further levels."""
    mot = kind(cost_cv=cost_cv, **settings)
    for _ in range(n_levels - 1):
        mot = MultiLevelOT(mot)
    return mot


def test_repeats_on_both_sides_of_a_fold_would_make_unrelated_subjects_alike():
    # This is what the check below is there for.
    X, y = unrelated_subjects(labels="none")
    torn = KFold(5, shuffle=True, random_state=0)
    assert MultiLevelOT(cost_cv=torn).fit(X, y).cost_ < 0.85
    # With nothing in common, held-out correlations are 0 on average. Over 5 folds of
    # 8 images and 60 pairs, their mean has a standard error of about .05.
    X, y = unrelated_subjects()
    assert MultiLevelOT(cost_cv=5).fit(X, y).cost_ == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("n_levels", [1, 2, 3])
@pytest.mark.parametrize("labels", ["source", "target", "both"])
def test_a_number_of_folds_keeps_equal_labels_together(labels, n_levels):
    X, y = unrelated_subjects(labels)
    bare = unrelated_subjects("none")
    found = level_with(4, n_levels).fit(X, y)
    expected = level_with(stimulus_folds(4), n_levels).fit(*bare)
    np.testing.assert_allclose(found.layer_costs_, expected.layer_costs_, atol=1e-12)
    torn = level_with(4, n_levels).fit(*bare)
    assert abs(torn.layer_costs_ - found.layer_costs_).max() > 1e-3


@pytest.mark.parametrize(
    "cost_cv", [StimulusKFold(4), GroupKFold(4), stimulus_folds(4)], ids=repr
)
def test_splitters_that_keep_equal_labels_together_are_taken(cost_cv):
    X, y = unrelated_subjects("target")
    np.testing.assert_allclose(
        MultiLevelOT(cost_cv=cost_cv).fit(X, y).layer_costs_,
        MultiLevelOT(cost_cv=4).fit(X, y).layer_costs_,
        atol=1e-12,
    )


@pytest.mark.parametrize("labels", ["source", "target"])
@pytest.mark.parametrize(
    "mot",
    [
        level_with(KFold(5, shuffle=True, random_state=0)),
        level_with(KFold(7), kind=MultiLevelOTRotation, max_iter=1),
        level_with([(np.arange(61), np.arange(61, 120))]),
        level_with(KFold(7), n_levels=2),
        level_with(KFold(7), n_levels=3),
        MultiLevelOT(MultiLevelOT(cost_cv=KFold(7)), cost_cv=2),
    ],
    ids=["shuffled", "rotation", "listed", "two levels", "three levels", "both levels"],
)
def test_folds_that_separate_equal_labels_are_refused(mot, labels):
    X, y = unrelated_subjects(labels)
    message = r"`cost_cv` has rows of \d+ group\(s\), such as 'image \d+' \(row \d+\)"
    with pytest.raises(ValueError, match=message) as error:
        mot.fit(X, y)
    for remedy in ("cost_cv=StimulusKFold()", "LayerStack.from_trials", "with_stimuli"):
        assert remedy in str(error.value)


def test_labels_of_nested_stacks_are_read_too():
    bare = [
        LayerStack([LayerStack([layer]) for layer in side.layers])
        for side in unrelated_subjects("none")
    ]
    X, y = (stack.with_stimuli(np.arange(120) // 3) for stack in bare)
    with pytest.raises(ValueError, match="`cost_cv` has rows of"):
        MultiLevelOT(MultiLevelOT(cost_cv=KFold(7))).fit(X, y)
    np.testing.assert_allclose(
        MultiLevelOT(MultiLevelOT(cost_cv=4)).fit(X, y).layer_costs_,
        MultiLevelOT(MultiLevelOT(cost_cv=stimulus_folds(4))).fit(*bare).layer_costs_,
        atol=1e-12,
    )


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_averages_over_trials_can_be_split_anyhow(n_jobs):
    averaged = [
        LayerStack.from_trials(list(side.layers), stimuli=side.stimuli)
        for side in unrelated_subjects()
    ]
    mot = MultiLevelOT(cost_cv=KFold(5, shuffle=True, random_state=0), n_jobs=n_jobs)
    assert mot.fit(*averaged).cost_ == pytest.approx(1, abs=0.15)


def test_labels_that_do_not_repeat_change_no_fold():
    X, y, *_ = split()
    labelled = [LayerStack(side, stimuli=np.arange(45)[::-1]) for side in (X, y)]
    np.testing.assert_array_equal(
        MultiLevelOT(cost_cv=3).fit(*labelled).layer_costs_,
        MultiLevelOT(cost_cv=3).fit(X, y).layer_costs_,
    )


@pytest.mark.parametrize(
    ("cost_cv", "message"),
    [
        ([(np.arange(30), np.arange(29, 45))], "`cost_cv` has row 29 both in training"),
        (LeaveOneOut(), r"Split 0 of `cost_cv` holds out 1 row\(s\)"),
    ],
    ids=["overlap", "one row"],
)
def test_folds_on_which_no_cost_is_held_out_are_refused(cost_cv, message):
    X, y, *_ = split()
    with pytest.raises(ValueError, match=message):
        MultiLevelOT(cost_cv=cost_cv).fit(X, y)


def test_an_inner_estimator_that_reads_no_other_stimuli_is_named():
    X, y, *_ = split()
    with pytest.raises(TypeError, match="MeanDifference has no `held_out_cost"):
        MultiLevelOT(MeanDifference(), cost_cv=3).fit(X, y)


# -- settings of the inner estimator ---------------------------------------------------


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (SoftMatching(metric="corelation"), "'metric' parameter of SoftMatching"),
        (SoftMatching(mass=2.0), "'mass' parameter of SoftMatching"),
        (MultiLevelOT(strategy="best"), "'strategy' parameter of MultiLevelOT"),
        (MultiLevelOT(SoftMatching("no")), "'metric' parameter of SoftMatching"),
        (RotationMatching(max_iter=0), "'max_iter' parameter of RotationMatching"),
        (CKA(debiased="no"), "'debiased' parameter of CKA"),
    ],
    ids=str,
)
def test_wrong_settings_of_an_inner_estimator_are_refused(inner, message):
    X, y, *_ = split()
    with pytest.raises(ValueError, match=message):
        MultiLevelOT(inner).fit(X, y)


class ShortOnFewStimuli(SoftMatching):
    """A matching that misses its tolerance where it is given fewer than 45 stimuli."""

    def _solve(self, source, target):
        solution = super()._solve(source, target)
        n_stimuli = source.units.shape[0]
        if n_stimuli == 45:
            return solution
        return replace(solution, converged={"duality gap": n_stimuli / 1000})


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("levels", [1, 2])
def test_folds_short_of_their_tolerance_are_not_silent(levels, n_jobs):
    X, y, *_ = split()
    mot = MultiLevelOT(ShortOnFewStimuli(), cost_cv=2, n_jobs=n_jobs)
    if levels == 2:
        X, y, mot = [X], [y], MultiLevelOT(mot)
    # Twelve pairs of layers in either fold, of 22 and of 23 stimuli.
    message = r"^24 problem.s. did not reach the tolerance: .* duality gap is 2.3e-02"
    with pytest.warns(ConvergenceWarning, match=message) as caught:
        mot.fit(X, y)
    assert len(caught) == 1


def test_rotations_of_folds_short_of_their_tolerance_are_counted_too():
    X, y, *_ = split()
    message = "^{} problem.s. did not reach the tolerance: the largest fall of J"
    for cost_cv, n_problems in ((None, 12), (2, 12 * (1 + 2))):
        mot = MultiLevelOTRotation(max_iter=1, tol=0.0, cost_cv=cost_cv)
        with pytest.warns(ConvergenceWarning, match=message.format(n_problems)):
            mot.fit(X, y)


def test_folds_that_can_be_read_only_once_are_refused():
    X, y = random_networks()
    mot = MultiLevelOT(cost_cv=KFold(4).split(np.zeros(60)))
    with pytest.raises(ValueError, match=r"`cost_cv` is an iterator"):
        mot.fit(X, y)
    listed = MultiLevelOT(cost_cv=list(KFold(4).split(np.zeros(60))))
    first = listed.fit(X, y).cost_
    assert listed.fit(X, y).cost_ == first
    with pytest.raises(ValueError, match=r"`cost_cv` makes no split"):
        MultiLevelOT(cost_cv=[]).fit(X, y)


@pytest.mark.parametrize(
    "once",
    [iter, lambda folds: map(tuple, folds), lambda folds: (fold for fold in folds)],
    ids=["iterator", "map", "generator"],
)
def test_folds_of_every_level_must_be_there_for_the_next_fit(once):
    X, y = random_networks()
    folds = list(KFold(3).split(np.zeros(60)))
    for mot in (
        MultiLevelOT(cost_cv=once(folds)),
        MultiLevelOT(MultiLevelOT(cost_cv=once(folds))),
        MultiLevelOTRotation(max_iter=1, cost_cv=once(folds)),
    ):
        with pytest.raises(ValueError, match=r"`cost_cv` is an iterator"):
            mot.fit(X, y)
    with pytest.raises(ValueError, match=r"`cost_cv` makes no split"):
        MultiLevelOT(MultiLevelOT(cost_cv=())).fit(X, y)


@pytest.mark.parametrize("estimator", [MultiLevelOT(), SoftMatching()], ids=repr)
def test_warning_about_dead_units_names_their_layers(estimator):
    rng = np.random.default_rng(0)
    layers = {name: rng.normal(size=(20, 3)) for name in ("V1", "V4", "IT")}
    layers["V4"][:, 1] = layers["IT"][:, 2] = 7.0
    with pytest.warns(DeadUnitWarning, match=r"2 unit\(s\) of X \(.*'V4', .*'IT'\)"):
        estimator.fit(layers, [rng.normal(size=(20, 4))])
    many = rng.normal(size=(8, 20, 3))
    many[:, :, 0] = 0.0
    with pytest.warns(DeadUnitWarning, match="8 .* of y .*layer 4 and 3 more"):
        estimator.fit([rng.normal(size=(20, 4))], list(many))


def test_parameters_of_no_inner_estimator_are_an_error_that_says_what_to_give():
    message = r"'inner__mass' cannot be set.*`MultiLevelOT\(SoftMatching\(\)\)`"
    with pytest.raises(ValueError, match=message):
        MultiLevelOT().set_params(inner__mass=0.5)
    mot = MultiLevelOT().set_params(inner=SoftMatching(), inner__mass=0.5)
    assert mot.inner.mass == 0.5


# -- layers of layers without a level of their own -------------------------------------


def test_layers_of_layers_that_become_one_population_are_warned_of():
    X, y = (LayerStack([LayerStack(n) for n in side]) for side in trajectories())
    with pytest.warns(UserWarning, match="side by side") as caught:
        pooled = MultiLevelOT().fit(X, y)
    (warning,) = caught
    assert str(warning.message).startswith("X, layer 0 has 3 layers itself")
    assert "`MultiLevelOT(MultiLevelOT())`" in str(warning.message)
    assert warning.filename == __file__
    # It is what the message says, and what an explicit inner estimator means.
    by_hand = [[SoftMatching().fit(a, b).cost_ for b in y.layers] for a in X.layers]
    np.testing.assert_allclose(pooled.layer_costs_, by_hand)
    # Warnings are errors here.
    explicit = MultiLevelOT(SoftMatching()).fit(X, y)
    np.testing.assert_array_equal(explicit.layer_costs_, pooled.layer_costs_)
    MultiLevelOT(MultiLevelOT()).fit(X, y)
    # A stack of one layer is that layer.
    MultiLevelOT().fit(*([[layers] for layers in side[0]] for side in trajectories()))


def test_layers_of_one_side_that_become_one_population_are_warned_of():
    sources, targets = trajectories()
    X = LayerStack([np.hstack(layers) for layers in sources])
    y = LayerStack({"early": LayerStack(targets[0]), "late": LayerStack(targets[1])})
    with pytest.warns(UserWarning, match=r"^y, layer 'early' has 4 layers itself"):
        MultiLevelOT().fit(X, y)

"""TemplateMOT: rounds against the definitions, what it finds, what it refuses."""

import pickle

import numpy as np
import pytest
import skops.io
from scipy.optimize import linear_sum_assignment
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from skmot import (
    CKA,
    RSA,
    LayerStack,
    LinearPredictivity,
    MultiLevelOT,
    OneToOneMatching,
    Procrustes,
    RotationMatching,
    SemiMatching,
    SoftMatching,
    TemplateMOT,
)
from skmot.exceptions import DeadUnitWarning, LeakWarning
from skmot.model_selection import StimulusKFold
from skmot.preprocessing import LayerwiseTransformer
from tests.networks import assert_same_fit
from tests.reference import (
    SlowMultiLevelOT,
    correlation_distances,
    score,
    squared_distances,
    transport,
)


def noisy_networks(n_networks=3, n_stimuli=50, depths=(2, 3, 4), seed=0):
    """Return networks of other depths and widths, whose units mix three layers."""
    rng = np.random.default_rng(seed)
    common = [rng.normal(size=(n_stimuli, 8)) for _ in range(3)]
    networks = []
    for index in range(n_networks):
        depth, layers = depths[index % len(depths)], []
        for layer in range(depth):
            base = common[3 * layer // depth]
            width = rng.integers(5, 11)
            scale = rng.lognormal(0, 1, size=width)
            noise = 0.5 * rng.normal(size=(n_stimuli, width))
            layers.append((base[:, rng.integers(0, 8, width)] + noise) * scale + layer)
        networks.append(layers)
    return networks


def same_units(n_networks=3, n_stimuli=80, noise=0.4, seed=0):
    """Return networks of two layers with the same units in another order."""
    rng = np.random.default_rng(seed)
    units = [rng.normal(size=(n_stimuli, 6)) for _ in range(2)]
    orders = [[rng.permutation(6) for _ in units] for _ in range(n_networks)]
    networks = [
        [
            layer[:, order] + noise * rng.normal(size=layer.shape)
            for layer, order in zip(units, part, strict=True)
        ]
        for part in orders
    ]
    return networks, orders, units


def standardized(layer):
    return (layer - layer.mean(axis=0)) / layer.std(axis=0)


def one_scale(layer):
    layer = layer - layer.mean(axis=0)
    return layer / np.sqrt(np.mean(layer**2))


class SlowTemplate:
    """The rounds spelt out, from the design's formulas and `ot.emd`."""

    def __init__(self, networks, template, distances, n_rounds):
        self.costs = []
        scaled = {correlation_distances: standardized, squared_distances: one_scale}
        scale = scaled[distances]
        template = [scale(layer) for layer in template]
        for number in range(n_rounds):
            mots = [SlowMultiLevelOT(net, template, distances) for net in networks]
            self.costs.append(np.mean([mot.cost for mot in mots]))
            self.template, self.mots = template, mots
            if number + 1 == n_rounds:
                break
            sums = [np.zeros_like(layer) for layer in template]
            for mot, net in zip(mots, networks, strict=True):
                for row, column in np.ndindex(mot.costs.shape):
                    part = scale(net[row]) @ mot.plans[row, column]
                    sums[column] += mot.coupling[row, column] * part
            template = [scale(layer) for layer in sums]


# -- the rounds --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "distances"),
    [("correlation", correlation_distances), ("sqeuclidean", squared_distances)],
)
def test_rounds_are_those_of_a_literal_loop(metric, distances):
    networks = noisy_networks()
    with pytest.warns(ConvergenceWarning, match="did not converge in 4 round"):
        fitted = TemplateMOT(inner=SoftMatching(metric), init=1, max_iter=4, tol=0).fit(
            networks
        )
    slow = SlowTemplate(networks, networks[1], distances, 4)
    np.testing.assert_allclose(fitted.costs_, slow.costs, atol=1e-9)
    assert fitted.n_iter_ == 4
    for layer, expected in zip(fitted.template_.layers, slow.template, strict=True):
        np.testing.assert_allclose(layer, expected, atol=1e-9)
    for mot, expected in zip(fitted.mots_, slow.mots, strict=True):
        np.testing.assert_allclose(mot.layer_costs_, expected.costs, atol=1e-9)
        np.testing.assert_allclose(mot.coupling_, expected.coupling, atol=1e-12)


def hard_networks(kind):
    """Return networks that are hard to match, one of each kind."""
    rng = np.random.default_rng(1)
    networks = noisy_networks(seed=1)
    if kind == "float32":
        return [[layer.astype(np.float32) for layer in net] for net in networks]
    if kind == "more units than stimuli":
        return [[layer[:4] for layer in net] for net in networks]
    if kind == "three stimuli":
        return [[layer[:3] for layer in net] for net in networks]
    if kind == "one unit":
        return [[rng.normal(size=(20, 1))] for _ in range(4)]
    if kind == "near-duplicates":
        return [
            [
                np.repeat(layer, 3, axis=1)
                + 1e-6 * rng.normal(size=(50, 3 * layer.shape[1]))
                for layer in net
            ]
            for net in networks
        ]
    if kind == "ties":
        return [
            [rng.integers(0, 2, size=(12, 7)).astype(float) for _ in range(2)]
            for _ in range(3)
        ]
    if kind == "ReLU":
        return [[np.maximum(layer, 0) for layer in net] for net in networks]
    if kind == "noise":
        return [[rng.normal(size=(40, 9)) for _ in range(3)] for _ in range(4)]
    raise ValueError(kind)


HARD = (
    "float32",
    "more units than stimuli",
    "three stimuli",
    "one unit",
    "near-duplicates",
    "ties",
    "ReLU",
    "noise",
)


@pytest.mark.filterwarnings("ignore:.*constant over:skmot.exceptions.DeadUnitWarning")
@pytest.mark.parametrize("kind", HARD)
@pytest.mark.parametrize(
    "inner",
    [
        SoftMatching(),
        SoftMatching("sqeuclidean"),
        SoftMatching("cosine"),
        SoftMatching(mass=0.6),
        MultiLevelOT(strategy="uniform"),
        MultiLevelOT(strategy="pairwise_best"),
    ],
    ids=str,
)
def test_the_cost_never_rises(inner, kind):
    fitted = TemplateMOT(inner=inner, max_iter=40, tol=0, random_state=0)
    fitted.fit(hard_networks(kind))
    precision = 1e-6 if kind == "float32" else 1e-12
    assert np.diff(fitted.costs_).max(initial=-1) <= precision
    own = [mot.cost_ for mot in fitted.mots_]
    assert fitted.costs_.min() == np.mean(own)


def test_squared_euclidean_costs_rise_if_standardized_predictions_are_averaged():
    # What the scaling of the units is for: the same rounds with `predict` fail.
    networks = noisy_networks(seed=2)
    inner = SoftMatching("sqeuclidean")
    template, costs = [one_scale(layer) for layer in networks[0]], []
    for _ in range(8):
        mots = [MultiLevelOT(inner).fit(net, template) for net in networks]
        costs.append(np.mean([mot.cost_ for mot in mots]))
        predicted = [mot.predict(net) for mot, net in zip(mots, networks, strict=True)]
        template = [
            one_scale(np.mean(part, axis=0)) for part in zip(*predicted, strict=True)
        ]
    fitted = TemplateMOT(inner=inner, init=0, max_iter=20, tol=0).fit(networks)
    assert np.diff(costs).max() > 1e-6
    assert np.diff(fitted.costs_).max() <= 1e-12
    assert fitted.costs_.min() < min(costs)


def test_the_template_has_mean_zero_and_variance_one():
    fitted = TemplateMOT(random_state=0).fit(noisy_networks())
    for layer in fitted.template_.layers:
        np.testing.assert_allclose(layer.mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(layer.std(axis=0), 1)


def test_mots_are_those_of_the_template():
    networks = noisy_networks()
    fitted = TemplateMOT(random_state=0).fit(networks)
    for mot, network in zip(fitted.mots_, networks, strict=True):
        assert_same_fit(mot, MultiLevelOT().fit(network, fitted.template_))


def test_the_round_of_least_cost_is_kept_if_the_cost_rises():
    networks = noisy_networks()
    template = TemplateMOT(inner=SemiMatching(), tol=0, random_state=0)
    with pytest.warns(UserWarning, match="higher cost than the first template"):
        fitted = template.fit(networks)
    assert fitted.costs_[-1] > fitted.costs_.min()
    own = [mot.cost_ for mot in fitted.mots_]
    assert np.mean(own) == fitted.costs_.min()


@pytest.mark.parametrize(
    "inner",
    [
        Procrustes(),
        OneToOneMatching(),
        RotationMatching(random_state=0),
        LinearPredictivity(random_state=0),
    ],
    ids=str,
)
def test_other_estimators_that_predict_can_be_the_inner_one(inner):
    networks = noisy_networks(n_stimuli=80)
    fitted = TemplateMOT(inner=inner, init=0, max_iter=3, tol=0.5).fit(networks)
    assert fitted.costs_[-1] < fitted.costs_[0]
    # The first round is the fit to the network that it starts from.
    start = [standardized(layer) for layer in networks[0]]
    first = [MultiLevelOT(inner).fit(net, start).cost_ for net in networks]
    np.testing.assert_allclose(fitted.costs_[0], np.mean(first))


def test_a_procrustes_template_of_rotated_copies_fits_them_all():
    # Hyperalignment: one rotation a network onto a common space.
    rng = np.random.default_rng(0)
    base = rng.normal(size=(60, 5))
    base = np.linalg.qr(base - base.mean(axis=0))[0]
    networks = [base @ np.linalg.qr(rng.normal(size=(5, 5)))[0] for _ in range(3)]
    procrustes = TemplateMOT(inner=Procrustes(), init=0).fit(networks)
    np.testing.assert_allclose(procrustes.costs_, 0, atol=1e-6)
    assert TemplateMOT(init=0).fit(networks).costs_[-1] > 0.1


@pytest.mark.parametrize("inner", [RSA(), CKA(), MultiLevelOT(RSA())], ids=str)
def test_an_inner_estimator_without_a_map_is_refused(inner):
    with pytest.raises(TypeError, match=r"A template needs an inner .* predicts"):
        TemplateMOT(inner=inner).fit(noisy_networks())


# -- the first template --------------------------------------------------------------


def test_the_default_size_is_the_median_of_depths_and_of_live_widths():
    networks = noisy_networks(5, depths=(2, 3, 4, 3, 2))
    fitted = TemplateMOT(random_state=0).fit(networks)
    widths = [layer.shape[1] for network in networks for layer in network]
    assert fitted.template_.widths == (int(np.median(widths)),) * 3


def test_the_size_can_be_chosen():
    fitted = TemplateMOT(n_layers=2, n_units=4, random_state=0).fit(noisy_networks())
    assert fitted.template_.widths == (4, 4)


def test_shared_units_are_found_in_order_of_depth():
    networks, orders, units = same_units()
    fitted = TemplateMOT(random_state=0).fit(networks)
    for index, layer in enumerate(units):
        found = correlation_distances(layer, fitted.template_.layers[index])
        rows, columns = linear_sum_assignment(found)
        assert found[rows, columns].max() < 0.1
        for mot, order in zip(fitted.mots_, orders, strict=True):
            # Unit i of the network is unit order[i] of the layer.
            plan = 6 * mot.inner_[index][index].coupling_.toarray()
            np.testing.assert_allclose(plan, np.eye(6)[columns[order[index]]])


def test_a_network_to_start_from_finds_layers_in_any_order_and_pools_do_not():
    rng = np.random.default_rng(0)
    units = [rng.normal(size=(80, 6)) for _ in range(7)]
    orders = [np.arange(7), *(rng.permutation(7) for _ in range(3))]
    networks = [
        [units[layer] + 0.5 * rng.normal(size=(80, 6)) for layer in order]
        for order in orders
    ]

    def n_found(fitted):
        # A region is found if all networks have it at the same template layer.
        partners = [mot.coupling_.argmax(axis=0) for mot in fitted.mots_]
        regions = [order[found] for order, found in zip(orders, partners, strict=True)]
        return np.count_nonzero(np.ptp(regions, axis=0) == 0)

    assert n_found(TemplateMOT(init=0).fit(networks)) == 7
    assert n_found(TemplateMOT(random_state=0, max_iter=30).fit(networks)) < 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"init": 3}, r"init=3 is no index of a network: X has 3 network\(s\)"),
        ({"init": 0, "n_layers": 5}, r"n_layers=5, but network 0, .* has 2 layer"),
        ({"init": 0, "n_units": 50}, r"n_units=50, but the layers of network 0"),
        ({"n_units": 5000}, r"n_units=5000 exceeds the \d+ unit\(s\) .* layer 0"),
    ],
)
def test_sizes_that_cannot_be_are_errors(settings, message):
    with pytest.raises(ValueError, match=message):
        TemplateMOT(**settings).fit(noisy_networks())


def test_units_and_their_negatives_leave_a_usable_template():
    # The centre of a unit and its negative is constant.
    unit = np.random.default_rng(0).normal(size=(30, 1))
    fitted = TemplateMOT(n_units=1).fit([np.hstack([unit, -unit])] * 2)
    (layer,) = fitted.template_.layers
    np.testing.assert_allclose(np.abs(np.corrcoef(layer[:, 0], unit[:, 0])), 1)
    np.testing.assert_allclose(fitted.costs_, 1)


# -- input --------------------------------------------------------------------------


def test_networks_in_any_form_give_the_same_template():
    networks = noisy_networks()
    fitted = TemplateMOT(random_state=0).fit(networks)
    names = ("a", "b", "c")
    for given in (
        LayerStack([LayerStack(network) for network in networks]),
        dict(zip(names, networks, strict=True)),
        [dict(enumerate(network)) for network in networks],
    ):
        other = TemplateMOT(random_state=0).fit(given)
        np.testing.assert_array_equal(np.asarray(other.template_), fitted.template_)
    assert other.network_names_ is None
    assert (
        TemplateMOT(random_state=0)
        .fit(dict(zip(names, networks, strict=True)))
        .network_names_
        == names
    )


def test_arrays_are_networks_of_one_layer():
    arrays = [network[0] for network in noisy_networks()]
    fitted = TemplateMOT(random_state=0).fit(arrays)
    assert len(fitted.mots_) == 3
    assert fitted.template_.n_layers == 1
    alone = TemplateMOT(random_state=0).fit(arrays[0])
    assert alone.n_features_in_ == arrays[0].shape[1]
    np.testing.assert_allclose(alone.costs_[-1], 0, atol=1e-12)
    assert isinstance(alone.transform(arrays[0]), np.ndarray)


def test_networks_of_networks_are_refused():
    networks = noisy_networks()
    with pytest.raises(ValueError, match=r"X, network 0, layer 0 has layers itself"):
        TemplateMOT().fit([networks, networks])


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        ([np.eye(4), np.full((4, 3), np.nan)], r"NaN.*network 1"),
        ([np.eye(4), np.ones((4, 3))], r"constant .* in X, network 1"),
        ([np.eye(4), np.eye(5)], "4|5"),
        ([np.eye(1)], "n_samples=1|1 sample|minimum of 2"),
    ],
    ids=["missing", "all constant", "unequal stimuli", "one stimulus"],
)
def test_bad_networks_are_errors_that_name_the_network(networks, message):
    with pytest.raises(ValueError, match=message):
        TemplateMOT().fit(networks)


def test_dead_units_take_no_part_and_are_named_once():
    networks = noisy_networks()
    fitted = TemplateMOT(random_state=0).fit(networks)
    with_dead = [list(network) for network in networks]
    with_dead[1][2] = np.insert(networks[1][2], 1, 0.1, axis=1)
    with pytest.warns(DeadUnitWarning) as warned:
        other = TemplateMOT(random_state=0).fit(
            {"a": with_dead[0], "b": with_dead[1], "c": with_dead[2]}
        )
    (message,) = [str(w.message) for w in warned]
    assert "1 unit(s) of X, network 'b' (layer 2)" in message
    np.testing.assert_allclose(np.asarray(other.template_), fitted.template_)
    assert [len(dead) for dead in other.dead_source_units_[1]] == [0, 0, 1]


def test_labels_that_differ_are_refused():
    first, second, _ = (LayerStack(network) for network in noisy_networks())
    labels = np.arange(50)
    with pytest.raises(ValueError, match=r"differ|label"):
        TemplateMOT().fit(
            [first.with_stimuli(labels), second.with_stimuli(labels[::-1])]
        )


def test_inputs_are_not_changed():
    networks = noisy_networks()
    copies = [[layer.copy() for layer in network] for network in networks]
    for network in networks:
        for layer in network:
            layer.flags.writeable = False
    TemplateMOT(random_state=0).fit(networks).transform(networks)
    for network, copy in zip(networks, copies, strict=True):
        for layer, same in zip(network, copy, strict=True):
            np.testing.assert_array_equal(layer, same)


def test_float32_networks_give_a_float32_template():
    networks = hard_networks("float32")
    fitted = TemplateMOT(random_state=0).fit(networks)
    assert fitted.template_.dtype == np.float32
    assert fitted.transform(networks).dtype == np.float32


# -- other stimuli -------------------------------------------------------------------


def split(networks, rows):
    return [[layer[rows] for layer in network] for network in networks]


def test_curves_at_other_stimuli_are_averages_of_the_predictions():
    networks = noisy_networks(n_stimuli=70)
    fitted = TemplateMOT(random_state=0).fit(split(networks, slice(50)))
    test = split(networks, slice(50, None))
    predicted = [mot.predict(n) for mot, n in zip(fitted.mots_, test, strict=True)]
    for index, layer in enumerate(fitted.transform(test).layers):
        expected = np.mean([part.layers[index] for part in predicted], axis=0)
        np.testing.assert_allclose(layer, expected, atol=1e-12)


@pytest.mark.parametrize("metric", ["correlation", "sqeuclidean", "cosine"])
def test_curves_at_the_training_stimuli_are_those_of_the_template(metric):
    networks = noisy_networks()
    fitted = TemplateMOT(
        inner=SoftMatching(metric), max_iter=50, tol=0, random_state=0
    ).fit(networks)
    curves = fitted.transform(networks)
    for layer, unit_curves in zip(fitted.template_.layers, curves.layers, strict=True):
        found = correlation_distances(layer, unit_curves).diagonal()
        np.testing.assert_allclose(found, 0, atol=1e-9)


def test_named_networks_can_be_left_out():
    networks = dict(zip("abc", noisy_networks(), strict=True))
    fitted = TemplateMOT(random_state=0).fit(networks)
    some = {name: networks[name] for name in ("c", "a")}
    predicted = [
        fitted.mots_["abc".index(name)].predict(network)
        for name, network in some.items()
    ]
    for index, layer in enumerate(fitted.transform(some).layers):
        expected = np.mean([part.layers[index] for part in predicted], axis=0)
        np.testing.assert_allclose(layer, expected, atol=1e-12)
    with pytest.raises(ValueError, match=r"X, network 'a'|found in"):
        fitted.transform({"a": networks["c"]})
    with pytest.raises(ValueError, match="features"):
        fitted.transform({"a": networks["a"], "d": networks["c"]})


def test_other_networks_than_in_the_fit_are_refused():
    networks = noisy_networks()
    fitted = TemplateMOT(random_state=0).fit(networks)
    with pytest.raises(ValueError, match=r"features, but TemplateMOT is expecting"):
        fitted.transform(networks[:2])
    with pytest.raises(NotFittedError):
        TemplateMOT().transform(networks)


def test_labels_of_the_stimuli_are_kept():
    labels = [f"image {i}" for i in range(50)]
    stack = LayerStack(noisy_networks(), stimuli=labels)
    fitted = TemplateMOT(random_state=0).fit(stack)
    assert fitted.template_.stimuli.tolist() == labels
    assert fitted.transform(stack[10:20]).stimuli.tolist() == labels[10:20]


# -- leave one out --------------------------------------------------------------------


def test_leave_one_out_scores_are_those_of_templates_of_the_others():
    networks = noisy_networks(n_stimuli=70)
    train, test = split(networks, slice(50)), split(networks, slice(50, None))
    found = TemplateMOT(init=0).leave_one_out_scores(train, test)
    for index, others in enumerate(([1, 2], [0, 2], [0, 1])):
        fitted = TemplateMOT(init=0).fit([train[other] for other in others])
        own = SlowMultiLevelOT(train[index], list(fitted.template_.layers))
        curves = fitted.transform([test[other] for other in others])
        reconstructed = own.inverse_predict(list(curves.layers))
        np.testing.assert_allclose(found[index], score(test[index], reconstructed))


def test_the_network_that_is_scored_takes_no_part():
    networks = noisy_networks(n_stimuli=70)
    train, test = split(networks, slice(50)), split(networks, slice(50, None))
    found = TemplateMOT(random_state=0).leave_one_out_scores(train, test)
    rng = np.random.default_rng(5)
    noise = [rng.normal(size=layer.shape) for layer in networks[2]]
    noise = [[layer[:50] for layer in noise], [layer[50:] for layer in noise]]
    replaced = TemplateMOT(random_state=0).leave_one_out_scores(
        [*train[:2], noise[0]], [*test[:2], noise[1]]
    )
    assert abs(replaced[2]) < 0.2 < found[2]


def test_folds_average_the_scores_of_splits():
    networks = noisy_networks(n_stimuli=60, depths=(1,))
    rows = np.arange(60)
    splits = [(rows[20:], rows[:20]), (rows[:40], rows[40:])]
    template = TemplateMOT(random_state=0)
    found = template.leave_one_out_scores(networks, cv=splits)
    single = [
        template.leave_one_out_scores(split(networks, train), split(networks, test))
        for train, test in splits
    ]
    np.testing.assert_allclose(found, np.mean(single, axis=0))
    assert template.leave_one_out_scores(networks).shape == (3,)


@pytest.mark.parametrize("init", [0, 1, 2])
def test_an_index_to_start_from_names_the_same_network_when_one_is_left_out(init):
    networks = noisy_networks(n_stimuli=60)
    train, test = split(networks, slice(40)), split(networks, slice(40, None))
    found = TemplateMOT(init=init).leave_one_out_scores(train, test)[1]
    # Of networks 0 and 2, or the first of them where network 1 is named.
    start = {0: 0, 1: 0, 2: 1}[init]
    fitted = TemplateMOT(init=start).fit([train[0], train[2]])
    mot = MultiLevelOT().fit(train[1], fitted.template_)
    expected = mot.inverse_score(test[1], fitted.transform([test[0], test[2]]))
    assert found == expected


def test_repeats_of_a_stimulus_stay_together():
    networks = noisy_networks(n_stimuli=60, depths=(1,))
    labels = np.tile(range(30), 2)
    stack = LayerStack(networks, stimuli=labels)
    template = TemplateMOT(tol=0.05, random_state=0)
    splits = list(StimulusKFold(5).split(stack))
    assert not any(set(labels[a]) & set(labels[b]) for a, b in splits)
    np.testing.assert_array_equal(
        template.leave_one_out_scores(stack),
        template.leave_one_out_scores(stack, cv=splits),
    )


def test_rows_that_were_trained_on_are_warned_of():
    stack = LayerStack(noisy_networks(n_stimuli=60), stimuli=np.arange(60))
    with pytest.warns(LeakWarning, match="trained on"):
        TemplateMOT(random_state=0).leave_one_out_scores(stack[:40], stack[30:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((noisy_networks(1),), "at least two networks; got 1"),
        ((noisy_networks(), noisy_networks(), 3), "`X_test` or `cv`, not both"),
        ((noisy_networks(), noisy_networks(2)), "features"),
    ],
)
def test_leave_one_out_refuses_what_it_cannot_score(arguments, message):
    with pytest.raises(ValueError, match=message):
        TemplateMOT().leave_one_out_scores(*arguments)


# -- as an estimator -----------------------------------------------------------------


class Counting:
    """A callback that counts the tasks that it is told of."""

    def __init__(self):
        self.names = []

    def setup(self, estimator, context):
        self.ended = 0

    def on_fit_task_begin(self, estimator, context):
        self.names.append(context.task_name)

    def on_fit_task_end(self, estimator, context):
        self.ended += 1

    def teardown(self, estimator, context):
        pass


def test_callbacks_are_told_of_each_network_in_each_round():
    counting = Counting()
    template = TemplateMOT(random_state=0).set_callbacks(counting)
    fitted = template.fit(noisy_networks())
    assert counting.ended == len(counting.names)
    expected = [
        f"round {index}: X, network {network}"
        for index in range(fitted.n_iter_)
        for network in range(3)
    ]
    assert counting.names == ["fit", *expected]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_settings_of_the_level_are_passed_by_an_estimator(n_jobs, tmp_path):
    networks = noisy_networks()
    fitted = TemplateMOT(random_state=0).fit(networks)
    inner = MultiLevelOT(n_jobs=n_jobs, memory=str(tmp_path / "pairs"))
    for _ in range(2):
        other = TemplateMOT(inner=inner, random_state=0).fit(networks)
        np.testing.assert_array_equal(other.costs_, fitted.costs_)


def test_fitted_templates_survive_pickle_and_skops():
    stack = LayerStack({"a": noisy_networks()[0], "b": noisy_networks()[1]})
    fitted = TemplateMOT(random_state=0).fit(stack)
    content = skops.io.dumps(fitted)
    untrusted = skops.io.get_untrusted_types(data=content)
    assert all(name.startswith("skmot.") for name in untrusted)
    for other in (
        pickle.loads(pickle.dumps(fitted)),
        skops.io.loads(content, trusted=untrusted),
    ):
        np.testing.assert_array_equal(
            np.asarray(other.transform(stack)), np.asarray(fitted.transform(stack))
        )
        assert other.network_names_ == ("a", "b")


def test_a_clone_and_a_pipeline_fit_alike():
    networks = noisy_networks()
    fitted = TemplateMOT(random_state=0).fit(networks)
    np.testing.assert_array_equal(clone(fitted).fit(networks).costs_, fitted.costs_)
    pipeline = make_pipeline(
        LayerwiseTransformer(StandardScaler()), TemplateMOT(random_state=0)
    ).set_output(transform="pandas")
    # Correlations do not depend on the scale of the units.
    np.testing.assert_allclose(
        np.asarray(pipeline.fit_transform(networks)),
        np.asarray(fitted.transform(networks)),
        atol=1e-9,
    )


def test_parameters_of_the_inner_estimator_can_be_set():
    template = TemplateMOT(inner=MultiLevelOT(SoftMatching()))
    template.set_params(inner__inner__mass=0.5)
    assert template.inner.inner.mass == 0.5
    assert get_tags(template).estimator_type is None


def test_the_cost_of_a_template_is_that_of_its_plans():
    networks = [network[:1] for network in noisy_networks()]
    fitted = TemplateMOT(random_state=0).fit(networks)
    (layer,) = fitted.template_.layers
    costs = [transport(correlation_distances(net[0], layer))[1] for net in networks]
    np.testing.assert_allclose(fitted.costs_.min(), np.mean(costs))

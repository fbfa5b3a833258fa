"""Arrays of other libraries give what numpy's give, and stay where they are."""

import sys
from functools import partial

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_predict, cross_validate, train_test_split
from sklearn.utils import get_tags
from sklearn.utils._array_api import get_namespace, move_estimator_to

from skmot import (
    LayerStack,
    LinearPredictivity,
    MultiLevelOT,
    MultiLevelOTRotation,
    OneToOneMatching,
    Procrustes,
    RegressorMapping,
    RotationMatching,
    SemiMatching,
    SoftMatching,
)
from skmot.metrics import (
    hierarchy_score,
    linear_cka,
    linear_predictivity_score,
    noise_ceiling,
    one_to_one_distance,
    procrustes_distance,
    reconstruction_correlation,
    rectangular_matching_score,
    rsa_score,
    semi_matching_score,
    soft_matching_distance,
    soft_matching_score,
)
from tests.estimators import Revealing
from tests.libraries import HOMES, beside, home_at, record_host_copies, to_host
from tests.networks import hostile_columns, random_networks

DTYPES = ["float32", "float64"]
# Sums over 60 stimuli, taken in another order.
TOLERANCE = {"float32": 3e-5, "float64": 1e-10}

pytestmark = pytest.mark.filterwarnings(
    "ignore:.* are constant over:skmot.exceptions.DeadUnitWarning"
)


@pytest.fixture(params=HOMES)
def home(request):
    return home_at(request.param)


@pytest.fixture(autouse=True, scope="module")
def one_torch_thread():
    """On arrays as small as these, threads of torch wait for each other."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def dispatch():
    with config_context(array_api_dispatch=True):
        yield


def networks(dtype="float64", seed=0):
    """Return two networks, each with a unit that is constant."""
    source, target = random_networks(seed=seed)
    source[0][:, 2], target[1][:, 0] = 0.1, -3.0
    return [[layer.astype(dtype) for layer in side] for side in (source, target)]


def on_host(found):
    """Return what an estimator gave as nested lists of numpy arrays."""
    if isinstance(found, LayerStack):
        found = list(found.layers)
    if isinstance(found, list | tuple):
        return [on_host(part) for part in found]
    return to_host(found)


def assert_close(found, expected, tolerance):
    found, expected = on_host(found), on_host(expected)
    if isinstance(found, list):
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            assert_close(*pair, tolerance)
        return
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


# -- units -----------------------------------------------------------------------------


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric", ["correlation", "cosine", "sqeuclidean"])
def test_units_are_prepared_as_numpy_ones_are(home, dtype, metric):
    rng = np.random.default_rng(3)
    layer = (5 + rng.normal(size=(40, 9)) * np.arange(1, 10)).astype(dtype)
    layer[:, 4] = 0.1
    elsewhere, tolerance = home.asarray(layer), TOLERANCE[dtype]
    expected = Revealing(metric).fit(layer, layer)
    found = Revealing(metric).fit(elsewhere, elsewhere)
    for side in ("source_", "target_"):
        wanted, shown = getattr(expected, side), getattr(found, side)
        assert shown.statistics.dtype == dtype
        for name in ("mean", "deviation"):
            np.testing.assert_allclose(
                getattr(shown.statistics, name),
                getattr(wanted.statistics, name),
                rtol=1e-14,
            )
        np.testing.assert_array_equal(shown.statistics.live, np.arange(9) != 4)
        for name in ("vectors", "offsets"):
            made = getattr(shown.curves, name)
            assert home.has(made) == (name == "vectors")
            assert_close(made, getattr(wanted.curves, name), tolerance)
    expected.predict(layer)
    predicted = found.predict(elsewhere)
    assert home.has(found.maps_[0].units)
    assert_close(found.maps_[0].units, expected.maps_[0].units, tolerance)
    assert home.has(predicted)
    assert_close(predicted, layer, tolerance)


@pytest.mark.usefixtures("dispatch")
def test_hostile_units_are_prepared_as_numpy_ones_are(home):
    layer = np.column_stack(list(hostile_columns().values()))
    expected = Revealing().fit(layer, layer).source_
    found = Revealing().fit(home.asarray(layer), home.asarray(layer)).source_
    np.testing.assert_allclose(
        found.statistics.deviation, expected.statistics.deviation, rtol=1e-12
    )
    assert_close(found.curves.vectors, expected.curves.vectors, 1e-13)


@pytest.mark.usefixtures("dispatch")
def test_layers_too_large_for_one_step_are_prepared_as_numpy_ones_are(home):
    # Steps have 16,000,000 entries.
    layer = np.random.default_rng(7).random((1_650_000, 10), dtype=np.float32)
    expected = Revealing().fit(layer, layer[:, :1])
    found = Revealing().fit(home.asarray(layer), home.asarray(layer[:, :1]))
    for name in ("mean", "deviation"):
        np.testing.assert_allclose(
            getattr(found.source_.statistics, name),
            getattr(expected.source_.statistics, name),
            rtol=1e-12,
        )
    assert_close(found.source_.curves.vectors, expected.source_.curves.vectors, 1e-6)


# Of 300 units so many stimuli are more than 2**18 entries: a plan is then applied to 16
# stimuli at a time, and to the rest of them.
N_CARRIED = 16 * 62 + 11


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("dtype", DTYPES)
def test_units_carried_by_a_sparse_plan_are_the_product(home, dtype):
    rng = np.random.default_rng(1)
    X, y = (rng.normal(size=(50, width)).astype(dtype) for width in (300, 290))
    later = rng.normal(size=(N_CARRIED, 300)).astype(dtype)
    matching = SoftMatching().fit(X, y)
    mean, deviation = X.mean(axis=0, dtype=float), X.std(axis=0, dtype=float)
    carried = (later - mean) / deviation @ (290 * matching.coupling_.toarray())
    expected = carried * y.std(axis=0, dtype=float) + y.mean(axis=0, dtype=float)
    elsewhere = SoftMatching().fit(home.asarray(X), home.asarray(y))
    for fitted, given in (
        (matching, later),
        (matching, np.asfortranarray(later)),
        (elsewhere, home.asarray(later)),
    ):
        predicted = fitted.predict(given)
        assert beside(predicted, given)
        assert_close(predicted, expected.astype(dtype), TOLERANCE[dtype])


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("dtype", DTYPES)
def test_columns_are_compared_as_numpy_ones_are(home, dtype):
    truth, prediction = np.random.default_rng(4).normal(size=(2, 40, 9)).astype(dtype)
    truth[:, 1], prediction[:, 2] = 0.1, 0.3
    found = reconstruction_correlation(home.asarray(truth), home.asarray(prediction))
    assert found == pytest.approx(
        reconstruction_correlation(truth, prediction), abs=1e-14
    )
    training = np.random.default_rng(5).normal(size=(40, 9)).astype(dtype)
    expected = Revealing().fit(training, training).unit_scores(prediction, truth)
    np.testing.assert_array_equal(np.isnan(expected), np.arange(9) == 1)
    fitted = Revealing().fit(home.asarray(training), home.asarray(training))
    found = fitted.unit_scores(home.asarray(prediction), home.asarray(truth))
    assert_close(found, expected, TOLERANCE[dtype])


# -- layers ----------------------------------------------------------------------------


@pytest.mark.usefixtures("dispatch")
def test_layers_of_a_stack_stay_where_they_are(home):
    source, _ = networks()
    for given in (source, [source[:2], source[1:]]):
        expected, stack = LayerStack(given), LayerStack(home.layers(given))
        assert stack.shape == expected.shape
        assert stack.device == home.asarray(np.zeros(1)).device
        for rows in ([3, 0, 0], slice(10, 40), slice(None, None, -2), slice(0, 60, 3)):
            for key in (rows, home.asarray(np.arange(60)[rows])):
                found = stack[key]
                assert all(home.has(leaf.layer) for leaf in found.leaves())
                assert_close(found, expected[rows], 0)
        mask = home.asarray(np.arange(60) % 3 == 1)
        assert_close(stack[mask], expected[1::3], 0)


@pytest.mark.usefixtures("dispatch")
def test_averages_of_trials_stay_where_they_are(home):
    source, _ = networks()
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(20), 3))
    expected = LayerStack.from_trials(source, labels)[[7, 3, 8]]
    stack = LayerStack.from_trials(home.layers(source), labels)[[7, 3, 8]]
    for found, other in ((stack, expected), (stack.trials, expected.trials)):
        assert all(home.has(layer) for layer in found.layers)
        assert_close(found, other, 0)
    for given, other in zip(
        noise_ceiling(stack, random_state=0),
        noise_ceiling(expected, random_state=0),
        strict=True,
    ):
        assert np.array_equal(given, other, equal_nan=True)


@pytest.mark.usefixtures("dispatch")
def test_scikit_learn_splits_stacks_stimulus_by_stimulus(home):
    source, target = networks()
    stacks = [LayerStack(home.layers(side)) for side in (source, target)]
    parts = train_test_split(*stacks, random_state=0)
    with config_context(array_api_dispatch=False):
        expected = train_test_split(
            LayerStack(source), LayerStack(target), random_state=0
        )
    for part, other in zip(parts, expected, strict=True):
        assert part.n_layers == other.n_layers
        assert_close(part, other, 0)


@pytest.mark.usefixtures("dispatch")
def test_layers_of_one_network_lie_in_one_place(home):
    source, _ = networks()
    with pytest.raises(ValueError, match=r"layer 0 is of .* and layer 1 of .*numpy on"):
        LayerStack([home.asarray(source[0]), source[1]])
    with pytest.raises(ValueError, match="layer 'b' of"):
        SoftMatching().fit({"a": source[0], "b": home.asarray(source[1])}, source)


def test_without_dispatch_layers_become_numpy_arrays():
    home = home_at("torch")
    source, target = networks()
    stack = LayerStack(home.layers(source))
    assert all(isinstance(layer, np.ndarray) for layer in stack.layers)
    with config_context(array_api_dispatch=True):
        kept = LayerStack(home.layers(source))
    expected = SoftMatching().fit(source, target)
    for given in (home.layers(source), stack, kept):
        matching = SoftMatching().fit(given, home.layers(target))
        assert isinstance(matching.matched_[0], np.ndarray)
        assert matching.cost_ == expected.cost_
        assert_close(matching.predict(given), expected.predict(source), 0)


def test_without_dispatch_nothing_is_copied_to_the_host_unasked():
    home = home_at("array_api_strict")
    source, target = networks()
    with pytest.raises(TypeError, match=r"array_api_dispatch=True.*in layer 0"):
        LayerStack(home.layers(source))
    with config_context(array_api_dispatch=True):
        stack = LayerStack(home.layers(source))
    with pytest.raises(TypeError, match=r"device1.*found in X, layer 0"):
        SoftMatching().fit(stack, target)


# -- checks ----------------------------------------------------------------------------


@pytest.mark.usefixtures("dispatch")
def test_half_precision_is_read_as_float32_and_integers_as_float64():
    torch = pytest.importorskip("torch")
    layer = torch.arange(12).reshape(4, 3)
    for given in (torch.float16, torch.bfloat16, torch.float32):
        predicted = SoftMatching().fit(layer.to(given), layer).predict(layer.to(given))
        assert predicted.dtype == torch.float64
        fitted = SoftMatching().fit(layer.to(given), layer.to(given))
        assert fitted.predict(layer.to(given)).dtype == torch.float32
    assert SoftMatching().fit(layer, layer).predict(layer).dtype == torch.float64


@pytest.mark.usefixtures("dispatch")
def test_a_device_without_float64_is_an_error_that_says_what_to_do():
    strict = pytest.importorskip("array_api_strict")
    layer = np.arange(12, dtype=np.float32).reshape(4, 3)
    elsewhere = strict.asarray(layer, device=strict.Device("no_x64"))
    message = r"no float64.*Move.*\(found in {}, layer 0\)"
    for sides, where in (
        (([elsewhere], [elsewhere]), "X"),
        (([layer], [elsewhere]), "y"),
    ):
        with pytest.raises(TypeError, match=message.format(where)):
            SoftMatching().fit(*sides)


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_numbers_are_found_where_they_are(home, bad):
    source, target = networks()
    target[2][5, 1] = bad
    with pytest.raises(ValueError, match="y, layer 2"):
        SoftMatching().fit(home.layers(source), home.layers(target))


FORMS = {
    "read-only": lambda y: np.require(y, requirements=["W"]),
    "reversed": lambda y: y[::-1],
    "transposed": lambda y: np.ascontiguousarray(y.T).T,
    "strided": lambda y: np.repeat(y, 2, axis=1)[:, ::2],
    "float32": lambda y: y.astype(np.float32),
    "bool": lambda y: y > 0,
    "integers": lambda y: y.astype(int),
}


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_target_of_any_form_is_moved_to_the_source(home, form):
    X, y = np.round(8 * np.random.default_rng(8).normal(size=(2, 20, 4)))
    given = form(y)
    before = given.copy()
    given.flags.writeable = False
    expected = Revealing().fit(X, given).target_
    found = Revealing().fit(home.asarray(X), given)
    assert home.has(found.target_.curves.vectors)
    assert_close(found.target_.curves.vectors, expected.curves.vectors, 1e-6)
    assert home.has(found.predict(home.asarray(X)))
    np.testing.assert_array_equal(given, before)
    # And back: where the source is numpy's, so is all that is made.
    found = Revealing().fit(X, home.asarray(given))
    assert isinstance(found.target_.curves.vectors, np.ndarray)
    assert_close(found.target_.curves.vectors, expected.curves.vectors, 0)


@pytest.mark.usefixtures("dispatch")
def test_reconstruction_correlation_takes_arrays_of_any_library(home):
    y, prediction = np.random.default_rng(5).normal(size=(2, 30, 4))
    expected = reconstruction_correlation(y, prediction)
    found = reconstruction_correlation(home.asarray(y), home.asarray(prediction))
    assert found == pytest.approx(expected, abs=1e-14)
    one = reconstruction_correlation(home.asarray(y[:, 0]), home.asarray(y[:, 0]))
    assert one == pytest.approx(1)


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize(
    "metric",
    [
        soft_matching_distance,
        soft_matching_score,
        one_to_one_distance,
        procrustes_distance,
        semi_matching_score,
        rectangular_matching_score,
        rsa_score,
        linear_cka,
        partial(linear_predictivity_score, validation_size=0.2, random_state=0),
    ],
)
def test_metrics_of_two_populations_take_arrays_of_any_library(home, metric):
    X, y = np.random.default_rng(6).normal(size=(2, 40, 7))
    y = y.astype(np.float32)
    expected = pytest.approx(metric(X, y), abs=1e-6)
    for given in (y, home.asarray(y)):
        assert metric(home.asarray(X), given) == expected
    assert metric(X, home.asarray(y)) == expected


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize(
    "metric", [soft_matching_distance, one_to_one_distance, procrustes_distance]
)
@pytest.mark.parametrize("center", [True, False])
def test_distances_that_are_not_scaled_take_arrays_of_any_library(home, metric, center):
    settings = {"center": center, "scale": False}
    X, y = np.random.default_rng(6).normal(3, 2, size=(2, 40, 7))
    found = metric(home.asarray(X), home.asarray(y), **settings)
    assert found == pytest.approx(metric(X, y, **settings), rel=1e-12)


@pytest.mark.usefixtures("dispatch")
def test_the_hierarchy_score_takes_learned_couplings(home):
    sides = networks()
    coupling = MultiLevelOT().fit(*map(home.layers, sides)).coupling_
    expected = hierarchy_score(MultiLevelOT().fit(*sides).coupling_)
    assert hierarchy_score(coupling) == pytest.approx(expected, abs=1e-12)


# -- estimators ------------------------------------------------------------------------

ONE_POPULATION = [
    SoftMatching(),
    SoftMatching(metric="abs_correlation"),
    SoftMatching(metric="cosine"),
    SoftMatching(metric="sqeuclidean"),
    SoftMatching(reconstruct="raw", mass=0.7),
    SoftMatching("sqeuclidean", source_weights="variance", target_weights="variance"),
    SemiMatching(),
    OneToOneMatching(),
    Procrustes(),
    RotationMatching(tol=1e-2),
    LinearPredictivity(random_state=0),
    # The second penalty is so small that the layers themselves are decomposed.
    LinearPredictivity([10.0, 1e-14], True, validation_fraction=0.5, random_state=0),
]
SEVERAL_LAYERS = [
    MultiLevelOT(),
    MultiLevelOT(cost_cv=2),
    MultiLevelOT(strategy="single_best"),
    MultiLevelOT(strategy="pairwise_best"),
    MultiLevelOT(depth_prior=0.5),
    MultiLevelOT(Procrustes()),
    MultiLevelOT(LinearPredictivity(random_state=0)),
    MultiLevelOT(SoftMatching(metric="sqeuclidean", mass=0.7)),
    MultiLevelOTRotation(tol=1e-2),
]
ESTIMATORS = ONE_POPULATION + SEVERAL_LAYERS
ROTATING = (Procrustes, RotationMatching, MultiLevelOTRotation)
CASES = [
    *((estimator, dtype) for estimator in ESTIMATORS for dtype in DTYPES),
    (MultiLevelOT(MultiLevelOT()), "float64"),
    (MultiLevelOT(SoftMatching(metric="cosine")), "nested"),
]


def sides_for(estimator, dtype, seed=0):
    nested = dtype == "nested"
    source, target = networks("float64" if nested else dtype, seed)
    if nested or isinstance(getattr(estimator, "inner", None), MultiLevelOT):
        # A level more, or layers of several parts that are one population.
        return [source[:2], source[1:]], [target[:2], target[2:]]
    return source, target


def learned_arrays(estimator):
    """Return dense learned attributes, by name."""
    return {
        name: value
        for name, value in vars(estimator).items()
        if name.endswith("_") and isinstance(value, np.ndarray | list | tuple)
        if name not in ("inner_", "source_names_", "target_names_")
    }


def leaves(found):
    if isinstance(found, LayerStack):
        found = list(found.layers)
    if isinstance(found, list | tuple):
        for part in found:
            yield from leaves(part)
    else:
        yield found


@pytest.mark.parametrize(("estimator", "dtype"), CASES, ids=str)
def test_estimators_learn_and_tell_what_they_do_from_numpy_arrays(
    home, estimator, dtype
):
    tolerance = TOLERANCE.get(dtype, 1e-10)
    if dtype == "float32" and isinstance(
        getattr(estimator, "inner", None) or estimator, ROTATING
    ):
        # Directions in which the sides hardly covary are known less precisely.
        tolerance *= 10
    sides, others = sides_for(estimator, dtype), sides_for(estimator, dtype, seed=1)
    expected = clone(estimator).fit(*sides)
    with config_context(array_api_dispatch=True):
        found = clone(estimator).fit(*map(home.layers, sides))
        for name, value in learned_arrays(expected).items():
            learned = getattr(found, name)
            assert all(home.has(part) for part in leaves(learned)), name
            assert_close(learned, value, tolerance)
        assert found.cost_ == pytest.approx(expected.cost_, abs=tolerance)
        X, y = map(home.layers, others)
        for made, wanted in (
            (found.predict(X), expected.predict(others[0])),
            (found.inverse_predict(y), expected.inverse_predict(others[1])),
        ):
            assert type(made) is type(wanted)
            assert all(home.has(layer) for layer in leaves(made))
            assert_close(made, wanted, tolerance)
        for method in ("score", "inverse_score", "held_out_cost", "layer_scores"):
            assert getattr(found, method)(X, y) == pytest.approx(
                getattr(expected, method)(*others), abs=tolerance
            )
        assert_close(
            found.unit_scores(X, y), expected.unit_scores(*others), 10 * tolerance
        )
        if hasattr(found, "matching_score"):
            assert found.matching_score(X, y) == pytest.approx(
                expected.matching_score(*others), abs=tolerance
            )


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_sparse_plans_are_scipys_and_on_the_host(home, estimator):
    found = clone(estimator).fit(*map(home.layers, networks()))
    pairs = [found]
    if hasattr(found, "inner_"):
        pairs = [pair for row in found.inner_ for pair in row]
    for pair in pairs:
        plan = getattr(pair, "coupling_", None)
        assert plan is None or plan.format == "csr"


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("estimator", [SoftMatching(), MultiLevelOT()], ids=str)
def test_the_target_is_moved_to_the_source(home, estimator):
    source, target = networks()
    expected = clone(estimator).fit(source, target)
    score = expected.score(source, target)
    mixed = clone(estimator).fit(home.layers(source), target)
    assert all(home.has(layer) for layer in mixed.predict(home.layers(source)))
    for y in (target, home.layers(target), LayerStack(target)):
        assert mixed.score(home.layers(source), y) == pytest.approx(score, abs=1e-10)
    turned = clone(estimator).fit(source, home.layers(target))
    assert all(isinstance(layer, np.ndarray) for layer in turned.predict(source))
    assert turned.score(source, home.layers(target)) == pytest.approx(score, abs=1e-10)


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("estimator", [SoftMatching(), MultiLevelOT()], ids=str)
def test_another_library_than_that_of_the_fit_is_an_error(home, estimator):
    source, target = networks()
    fitted = clone(estimator).fit(home.layers(source), home.layers(target))
    name = type(estimator).__name__
    for method, given in (
        ("predict", [source]),
        ("inverse_predict", [target]),
        ("score", [source, target]),
        ("unit_scores", [source, home.layers(target)]),
        ("held_out_cost", [source, target]),
    ):
        with pytest.raises(
            ValueError,
            match=rf"{name}.{method}\(\) must use the same namespace.*got .*numpy on",
        ):
            getattr(fitted, method)(*given)
    on_numpy = clone(estimator).fit(source, target)
    with pytest.raises(ValueError, match=r"the fit was to .*numpy"):
        on_numpy.predict(home.layers(source))


@pytest.mark.usefixtures("dispatch")
def test_another_device_than_that_of_the_fit_is_an_error():
    first = home_at("array_api_strict", "device1")
    second = home_at("array_api_strict", "device2")
    source, target = networks()
    fitted = SoftMatching().fit(first.layers(source), second.layers(target))
    predicted = fitted.predict(first.layers(source))
    assert all(first.has(layer) for layer in predicted)
    assert_close(predicted, SoftMatching().fit(source, target).predict(source), 1e-10)
    with pytest.raises(ValueError, match=r"same device.*device2.*device1"):
        fitted.predict(second.layers(source))


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("estimator", [SoftMatching(), Procrustes()], ids=str)
def test_fitted_estimators_move(home, estimator):
    source, target = networks()
    fitted = clone(estimator).fit(source, target)
    xp, _ = get_namespace(home.asarray(np.zeros(1)))
    moved = move_estimator_to(fitted, xp, home.device)
    assert_close(moved.predict(home.layers(source)), fitted.predict(source), 1e-10)
    xp, _ = get_namespace(source[0])
    back = move_estimator_to(moved, xp, "cpu")
    assert_close(back.predict(source), fitted.predict(source), 0)


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize(
    "estimator",
    [
        SoftMatching(),
        Procrustes(),
        LinearPredictivity(random_state=0),
        MultiLevelOT(Procrustes()),
    ],
    ids=str,
)
def test_stimuli_stay_on_the_device(home, estimator, monkeypatch):
    sizes_on_host = record_host_copies(home, monkeypatch)
    source, target = map(home.layers, networks())
    fitted = clone(estimator).fit(source, target)
    if not isinstance(estimator, SoftMatching):
        # What the solver of transport reads of the costs is tested with it.
        assert max(sizes_on_host) <= max(32, 34)
    del sizes_on_host[:]
    fitted.predict(source)
    fitted.score(source, target)
    fitted.inverse_score(source, target)
    # A number a unit, or a layer.
    assert max(sizes_on_host) <= 34


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("estimator", [SoftMatching(), MultiLevelOT()], ids=str)
def test_scikit_learn_cross_validates(home, estimator):
    sides = networks()
    found = cross_validate(
        estimator, *(LayerStack(home.layers(side)) for side in sides), cv=3
    )
    with config_context(array_api_dispatch=False):
        expected = cross_validate(estimator, *map(LayerStack, sides), cv=3)
    np.testing.assert_allclose(
        found["test_score"], expected["test_score"], rtol=0, atol=1e-10
    )


@pytest.mark.usefixtures("dispatch")
def test_cross_val_predict_gives_layers_back(home):
    sides = networks()
    stacks = [LayerStack(home.layers(side)) for side in sides]
    found = cross_val_predict(SoftMatching(), *stacks, cv=3)
    with config_context(array_api_dispatch=False):
        expected = cross_val_predict(SoftMatching(), *map(LayerStack, sides), cv=3)
    assert all(home.has(layer) for layer in found.layers)
    assert_close(found, expected, 1e-10)


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize(
    "estimator",
    [RegressorMapping(Ridge()), MultiLevelOT(RegressorMapping(Ridge()))],
    ids=str,
)
def test_what_takes_numpy_arrays_only_says_so(home, estimator):
    assert not get_tags(estimator).array_api_support
    source, target = networks()
    with pytest.raises(TypeError, match=r"takes arrays of numpy only.*Convert"):
        clone(estimator).fit(home.layers(source), home.layers(target))
    assert clone(estimator).fit(source, target).cost_ < 2


class RidgeWithCost(Ridge):
    """A foreign inner estimator that takes arrays of any library."""

    def fit(self, X, y):
        super().fit(X, y)
        self.cost_ = 1.0 - float(self.score(X, y))
        return self


@pytest.mark.usefixtures("dispatch")
def test_a_foreign_inner_estimator_gets_arrays_of_the_library(home):
    sides = networks()
    expected = MultiLevelOT(RidgeWithCost(solver="svd")).fit(*sides)
    found = MultiLevelOT(RidgeWithCost(solver="svd")).fit(*map(home.layers, sides))
    assert home.has(found.inner_[0][0].coef_)
    assert_close(found.dead_source_units_, expected.dead_source_units_, 0)
    made = found.predict(home.layers(sides[0]))
    assert all(home.has(layer) for layer in made)
    assert_close(made, expected.predict(sides[0]), 1e-8)


@pytest.mark.parametrize("dispatch", [False, True])
def test_tensors_that_numpy_cannot_read_say_what_to_do(dispatch):
    torch = pytest.importorskip("torch")
    layer = torch.randn((20, 3))
    with config_context(array_api_dispatch=dispatch):
        for read in (
            lambda given: LayerStack([given]),
            lambda g: soft_matching_score(g, g),
        ):
            with pytest.raises(TypeError, match=r"layer\.detach\(\)"):
                read(layer.requires_grad_())
            read(layer.detach())
            if dispatch:
                read(layer.detach().to(torch.bfloat16))
            else:
                with pytest.raises(TypeError, match=r"layer\.float\(\)"):
                    read(layer.detach().to(torch.bfloat16))

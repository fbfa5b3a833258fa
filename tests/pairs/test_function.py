"""FunctionComparison: what a function is given, and every place it works in."""

from functools import partial

import numpy as np
import pytest
from scipy.spatial.distance import directed_hausdorff
from sklearn.base import clone, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.metrics import mean_squared_error, r2_score
from sklearn.model_selection import GridSearchCV, KFold

from skmot import FunctionComparison, LayerStack, MultiLevelOT
from skmot.metrics import negative_cost, pairwise_costs
from tests.networks import random_networks, rows


def mean_difference(X, Y):
    return abs(X.mean() - Y.mean())


def shared_variance(X, Y, n_dimensions=2):
    """Return the share of variance of Y in the first dimensions of X."""
    directions = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)[0]
    Y = Y - Y.mean(axis=0)
    return np.sum((directions[:, :n_dimensions].T @ Y) ** 2) / np.sum(Y**2)


@pytest.fixture
def pair():
    source, target = random_networks(source_widths=(5,), target_widths=(8,))
    return source[0], target[0]


# -- what the function is given, and gives ---------------------------------------------


def recorder(value=0.5):
    """Return a function, and the list of what it is given."""
    given = []

    def keep(X, Y, **kw_args):
        given.append((X, Y, kw_args))
        return value

    return keep, given


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("above", [False, True])
def test_it_is_given_the_arrays_as_they_are_with_constant_units(
    pair, dtype, above, recwarn
):
    X, Y = (side.astype(dtype) for side in pair)
    X[:, 2], Y[:, [0, 7]] = 0.1, -3.0
    kept = X.copy(), Y.copy()
    keep, given = recorder()
    comparison = FunctionComparison(keep)
    if above:
        MultiLevelOT(comparison).fit(LayerStack([X]), LayerStack([Y]))
    else:
        comparison.fit(X, Y).held_out_cost(X, Y)
        np.testing.assert_array_equal(comparison.dead_source_units_, [])
        np.testing.assert_array_equal(comparison.dead_target_units_, [])
    assert len(given) == (1 if above else 2)
    for found, expected, side in (
        (arrays[place], kept[place], (X, Y)[place])
        for arrays in given
        for place in (0, 1)
    ):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == dtype
        # What is given cannot be changed, and what was given has not been.
        with pytest.raises(ValueError, match="read-only"):
            found[0, 0] = 1
        np.testing.assert_array_equal(side, expected)
        assert side.flags.writeable
    # Constant units take part: there is nothing to warn of.
    assert list(recwarn) == []


def test_whole_numbers_and_several_layers_are_one_array_of_floats():
    source = [np.arange(12).reshape(6, 2), np.arange(18).reshape(6, 3)]
    keep, given = recorder()
    FunctionComparison(keep).fit(source, [source[0].tolist()])
    ((X, Y, _),) = given
    np.testing.assert_array_equal(X, np.hstack(source))
    np.testing.assert_array_equal(Y, source[0])
    assert X.dtype == Y.dtype == np.float64


def test_the_cost_is_the_number_and_minus_it_for_a_similarity(pair):
    X, Y = pair
    value = shared_variance(X, Y)
    assert FunctionComparison(shared_variance).fit(X, Y).cost_ == value
    alike = FunctionComparison(shared_variance, greater_is_more_alike=True).fit(X, Y)
    assert alike.cost_ == -value
    assert isinstance(alike.cost_, float)


def test_further_arguments_are_passed_by_name(pair):
    X, Y = pair
    keep, given = recorder()
    kw_args = {"n_dimensions": 3, "what": "else"}
    FunctionComparison(keep, kw_args=kw_args).fit(X, Y).held_out_cost(X, Y)
    assert [settings for *_, settings in given] == [kw_args, kw_args]
    found = FunctionComparison(shared_variance, kw_args={"n_dimensions": 3}).fit(X, Y)
    assert found.cost_ == shared_variance(X, Y, 3) != shared_variance(X, Y)


@pytest.mark.parametrize(
    "value", [3, np.float32(0.5), np.array(2.0), True, np.int64(-1)]
)
def test_every_kind_of_real_number_is_a_cost(pair, value):
    cost = FunctionComparison(recorder(value)[0]).fit(*pair).cost_
    assert cost == float(value)
    assert type(cost) is float


@pytest.mark.parametrize("greater_is_more_alike", [False, True])
def test_the_held_out_cost_is_the_function_on_the_rows_given(
    pair, greater_is_more_alike
):
    X, Y = pair
    # Silent on the held-out stimuli, a unit is still given.
    X[40:, 1] = Y[40:, 2] = 0.0
    comparison = FunctionComparison(
        shared_variance, greater_is_more_alike=greater_is_more_alike
    )
    with pytest.raises(NotFittedError):
        comparison.held_out_cost(X[40:], Y[40:])
    comparison.fit(X[:40], Y[:40])
    value = shared_variance(X[40:], Y[40:])
    expected = -value if greater_is_more_alike else value
    assert comparison.held_out_cost(X[40:], Y[40:]) == expected
    assert comparison.cost_ != expected


# -- what is refused -------------------------------------------------------------------


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, np.float32("nan")])
def test_a_value_that_is_not_finite_is_an_error_that_names_the_function(
    pair, value, above
):
    def off(X, Y):
        return value

    comparison = FunctionComparison(off)
    estimator = MultiLevelOT(comparison) if above else comparison
    with pytest.raises(ValueError, match=r"`func` \(off\) returned -?(nan|inf)") as e:
        estimator.fit(*pair)
    assert "(60, 5) and (60, 8)" in str(e.value)


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "NoneType"),
        (np.array([1.0, 2.0]), "ndarray"),
        ((0.5, 0.1), "tuple"),
        ("far", "str"),
        # Python and numpy would make numbers of these.
        ("0.5", "str"),
        (1 + 2j, "complex"),
        (np.complex128(1 + 2j), "complex128"),
    ],
)
def test_what_is_no_number_is_an_error_that_names_the_function(
    pair, value, kind, above
):
    def off(X, Y):
        return value

    comparison = FunctionComparison(off)
    estimator = MultiLevelOT(comparison) if above else comparison
    with pytest.raises(TypeError, match=rf"`func` \(off\) returned {kind}; .*number"):
        estimator.fit(*pair)


def test_a_value_that_is_not_finite_on_held_out_rows_is_an_error(pair):
    def warier(X, Y):
        return np.nan if len(X) < 30 else 0.0

    comparison = FunctionComparison(warier).fit(*pair)
    with pytest.raises(ValueError, match=r"\(warier\) returned nan"):
        comparison.held_out_cost(pair[0][:20], pair[1][:20])
    with pytest.raises(ValueError, match=r"\(warier\) returned nan"):
        MultiLevelOT(FunctionComparison(warier), cost_cv=3).fit(*pair)


def test_functions_without_a_name_are_called_by_their_kind(pair):
    class Off:
        def __call__(self, X, Y):
            return np.nan

    with pytest.raises(ValueError, match=r"`func` \(Off\) returned"):
        FunctionComparison(Off()).fit(*pair)
    with pytest.raises(ValueError, match=r"`func` \(partial\) returned"):
        FunctionComparison(partial(Off().__call__)).fit(*pair)


def test_an_error_of_the_function_is_its_own(pair):
    def broken(X, Y):
        raise ZeroDivisionError("of its own")

    for estimator in (
        FunctionComparison(broken),
        MultiLevelOT(FunctionComparison(broken)),
    ):
        with pytest.raises(ZeroDivisionError, match="of its own"):
            estimator.fit(*pair)


@pytest.mark.parametrize(
    "settings",
    [
        {"func": "mean"},
        {"func": None},
        {"func": mean_difference, "greater_is_more_alike": "yes"},
        {"func": mean_difference, "kw_args": [("n_dimensions", 3)]},
    ],
)
def test_wrong_settings_are_refused(pair, settings):
    name = list(settings)[-1]
    for estimator in (
        FunctionComparison(**settings),
        MultiLevelOT(FunctionComparison(**settings)),
    ):
        message = f"'{name}' parameter of FunctionComparison"
        with pytest.raises(ValueError, match=message):
            estimator.fit(*pair)


@pytest.mark.parametrize("wrap", [lambda inner: inner, MultiLevelOT])
def test_it_maps_nothing_and_says_why(pair, wrap):
    estimator = wrap(FunctionComparison(mean_difference))
    assert not is_regressor(estimator)
    estimator.fit(*pair)
    for method in (
        *("predict", "inverse_predict", "score", "inverse_score"),
        *("unit_scores", "layer_scores"),
    ):
        assert not hasattr(estimator, method)
        with pytest.raises(AttributeError) as caught:
            getattr(estimator, method)
        reason = str(caught.value)
        assert "FunctionComparison has no `" in reason
        assert "compares" in reason


# -- within MultiLevelOT and scikit-learn ----------------------------------------------


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_above_it_layers_are_coupled_by_the_function(n_jobs):
    source, target = random_networks()
    inner = FunctionComparison(shared_variance, greater_is_more_alike=True)
    mot = MultiLevelOT(inner, n_jobs=n_jobs).fit(source, target)
    costs = [[-shared_variance(x, y) for y in target] for x in source]
    np.testing.assert_array_equal(mot.layer_costs_, costs)
    assert mot.cost_ == pytest.approx(np.sum(mot.coupling_ * costs))
    folds = MultiLevelOT(inner, cost_cv=3, n_jobs=n_jobs).fit(source, target)
    costs = np.mean(
        [
            [[-shared_variance(x[test], y[test]) for y in target] for x in source]
            for _, test in KFold(3).split(source[0])
        ],
        axis=0,
    )
    np.testing.assert_allclose(folds.layer_costs_, costs, rtol=1e-12)
    held_out = rows(source, np.arange(30)), rows(target, np.arange(30))
    costs = [[-shared_variance(x, y) for y in held_out[1]] for x in held_out[0]]
    assert folds.held_out_cost(*held_out) == pytest.approx(
        np.sum(folds.coupling_ * costs)
    )


def test_layers_are_put_in_the_order_that_the_function_finds():
    rng = np.random.default_rng(0)
    source = [rng.normal(size=(50, 8)) + shift for shift in (0, 1, 2)]
    target = [rng.normal(size=(50, 5)) + shift for shift in (2, 0, 1)]
    mot = MultiLevelOT(FunctionComparison(mean_difference)).fit(source, target)
    np.testing.assert_allclose(
        3 * mot.coupling_, [[0, 1, 0], [0, 0, 1], [1, 0, 0]], atol=1e-12
    )


def test_levels_nest_above_it():
    networks = [random_networks(seed=seed)[0] for seed in range(4)]
    source, target = (
        LayerStack([LayerStack(layers) for layers in side])
        for side in (networks[:2], networks[2:])
    )
    inner = MultiLevelOT(FunctionComparison(mean_difference))
    mot = MultiLevelOT(inner).fit(source, target)
    for s, m in np.ndindex((2, 2)):
        x, y = networks[s], networks[2 + m]
        pair = clone(inner).fit(x, y)
        assert mot.layer_costs_[s, m] == pair.cost_
        np.testing.assert_array_equal(
            mot.inner_[s][m].layer_costs_,
            [[mean_difference(a, b) for b in y] for a in x],
        )


@pytest.mark.parametrize(
    ("func", "settings"),
    [
        (mean_squared_error, {}),
        # Directed, and a similarity.
        (r2_score, {"greater_is_more_alike": True}),
        (r2_score, {"kw_args": {"multioutput": "variance_weighted"}}),
    ],
)
def test_functions_of_another_package_compare_many_networks(func, settings):
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(40, 6))
    networks = [shared + scale * rng.normal(size=(40, 6)) for scale in (0.1, 0.5, 2.0)]
    found = pairwise_costs(networks, FunctionComparison(func, **settings))
    sign = -1 if settings.get("greater_is_more_alike") else 1
    expected = [
        [sign * func(x, y, **settings.get("kw_args", {})) for y in networks]
        for x in networks
    ]
    np.testing.assert_array_equal(found, expected)


def test_a_function_of_scipy_couples_the_layers_of_two_networks():
    def hausdorff(X, Y):
        return directed_hausdorff(X, Y)[0]

    networks = random_networks((6, 6, 6), (6, 6))
    mot = MultiLevelOT(FunctionComparison(hausdorff)).fit(*networks)
    expected = [[directed_hausdorff(x, y)[0] for y in networks[1]] for x in networks[0]]
    np.testing.assert_array_equal(mot.layer_costs_, expected)


def test_a_search_over_the_arguments_of_the_function():
    X, y = (LayerStack(network) for network in random_networks())
    search = GridSearchCV(
        MultiLevelOT(FunctionComparison(shared_variance, greater_is_more_alike=True)),
        {"inner__kw_args": [{"n_dimensions": 1}, {"n_dimensions": 4}, None]},
        scoring=negative_cost,
        cv=3,
        error_score="raise",
    ).fit(X, y)
    # More dimensions share more variance.
    assert search.best_params_ == {"inner__kw_args": {"n_dimensions": 4}}

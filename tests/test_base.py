"""The bases for a similarity of one's own, used as a stranger would use them."""

import numbers
import pickle

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.base import clone, is_regressor
from sklearn.exceptions import (
    ConvergenceWarning,
    NotFittedError,
    SkipTestWarning,
)
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.utils import check_random_state
from sklearn.utils.estimator_checks import parametrize_with_checks

from skmot import LayerStack, MultiLevelOT
from skmot.base import (
    PairComparison,
    PairMapping,
    Population,
    RawPopulation,
    Solution,
)
from skmot.exceptions import DeadUnitWarning
from tests import reference
from tests.networks import random_networks, rows

TRAIN, TEST = np.arange(45), np.arange(45, 60)


# -- a stranger's classes --------------------------------------------------------------


class SpectrumComparison(PairComparison):
    """How much the spectra of two populations differ."""

    def __init__(self, n_values=2):
        self.n_values = n_values

    def _solve(self, source, target):
        first, second = (
            spectrum(side.units, self.n_values) for side in (source, target)
        )
        return Solution(
            cost=np.sum((first - second) ** 2),
            attributes={"spectra_": [first, second]},
        )


class RawSpectrumComparison(SpectrumComparison):
    _input = "raw"


def spectrum(units, n_values):
    """Return the shares of the first singular values, and 0 where there are fewer."""
    values = np.linalg.svd(units, compute_uv=False)[:n_values]
    return np.pad(values / values.sum(), (0, n_values - len(values)))


class Product:
    """A map as a function."""

    def __init__(self, matrix):
        self.matrix = matrix

    def __call__(self, units):
        return units @ self.matrix


FORMS = {"matrix": np.asarray, "sparse": csr_array, "function": Product}


class LeastSquares(PairMapping):
    """The map of least squared error, as a matrix, a sparse one or a function."""

    def __init__(self, form="matrix"):
        self.form = form

    def _solve(self, source, target):
        X, Y = source.units, target.units
        to_target, to_source = np.linalg.lstsq(X, Y)[0], np.linalg.lstsq(Y, X)[0]
        form = FORMS[self.form]
        return Solution(
            cost=np.mean((Y - X @ to_target) ** 2),
            maps=(form(to_target), form(to_source)),
            attributes={"coef_": to_target},
        )


def itself(units):
    return units


def reversed_units(units):
    return units[:, ::-1]


class Unchanged(PairMapping):
    """Its maps return what they are given, or a view of it."""

    def __init__(self, function=itself):
        self.function = function

    def _solve(self, source, target):
        return Solution(
            cost=np.mean((target.units - self.function(source.units)) ** 2),
            maps=(self.function, self.function),
        )


COMPARISONS = [SpectrumComparison(), RawSpectrumComparison()]
MAPPINGS = [LeastSquares(form) for form in FORMS]


def z(layer, training=None):
    training = layer if training is None else training
    return (layer - training.mean(axis=0)) / training.std(axis=0)


def least_squares_by_hand(seen, made, scored):
    """Predict units put on the means and deviations of those fitted to."""
    weights = np.linalg.lstsq(z(seen), z(made))[0]
    return z(scored, seen) @ weights * made.std(axis=0) + made.mean(axis=0)


def networks(n_stimuli=60):
    """Return two networks whose layers have more stimuli than units."""
    return random_networks((4, 6, 5), (5, 3), n_stimuli)


@pytest.fixture
def pair():
    source, target = networks()
    return source[1], target[0]


def with_dead_units(X, Y):
    """Return populations with one and two more units, silent in training only."""
    X, Y = np.insert(X, 2, 7.0, axis=1), np.insert(Y, [0, 4], [-0.1, 3.0], axis=1)
    X[TEST, 2] = Y[TEST, 0] = np.arange(15)
    return X, Y


# -- what `_solve` is given ------------------------------------------------------------


class Watching(PairComparison):
    """Keeps what it is given."""

    given = None

    def _solve(self, source, target):
        type(self).given = source, target
        return Solution(cost=0.0)


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_standardized_populations_are_the_live_units(pair, dtype, above):
    X, Y = (side.astype(dtype) for side in with_dead_units(*pair))

    class Standardized(Watching):
        pass

    estimator = MultiLevelOT(Standardized()) if above else Standardized()
    with pytest.warns(DeadUnitWarning, match=r"1 unit\(s\) of X and 2 unit\(s\) of y"):
        estimator.fit(X[TRAIN], Y[TRAIN])
    for population, given, dead in zip(
        Standardized.given, (X[TRAIN], Y[TRAIN]), ([2], [0, 5]), strict=True
    ):
        assert isinstance(population, Population)
        live = np.delete(given.astype(np.float64), dead, axis=1)
        tolerance = 1e-12 if dtype == np.float64 else 1e-5
        np.testing.assert_allclose(population.units, z(live), atol=tolerance)
        assert population.units.dtype == dtype
        np.testing.assert_allclose(
            population.curves.vectors, z(live) / np.sqrt(45), atol=tolerance
        )
        statistics = population.statistics
        np.testing.assert_array_equal(np.flatnonzero(~statistics.live), dead)
        np.testing.assert_allclose(statistics.mean, given.mean(axis=0, dtype="f8"))
        np.testing.assert_allclose(
            statistics.deviation[statistics.live], live.std(axis=0)
        )
        np.testing.assert_array_equal(statistics.deviation[dead], 0)


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_raw_populations_are_all_units_as_given(pair, dtype, above, recwarn):
    X, Y = (side.astype(dtype) for side in with_dead_units(*pair))

    class Raw(Watching):
        _input = "raw"

    estimator = MultiLevelOT(Raw()) if above else Raw()
    estimator.fit(X[TRAIN], Y[TRAIN])
    for population, given, dead in zip(
        Raw.given, (X[TRAIN], Y[TRAIN]), ([2], [0, 5]), strict=True
    ):
        assert isinstance(population, RawPopulation)
        np.testing.assert_array_equal(population.units, given)
        assert population.units.dtype == dtype
        np.testing.assert_array_equal(np.flatnonzero(~population.statistics.live), dead)
    # They take part: there is nothing to report.
    assert list(recwarn) == []
    for dead in (estimator.dead_source_units_, estimator.dead_target_units_):
        np.testing.assert_array_equal(np.concatenate(dead) if above else dead, [])


@pytest.mark.parametrize("comparison", [*COMPARISONS, *MAPPINGS], ids=repr)
def test_all_layers_of_a_stack_are_one_population(comparison):
    source, target = networks()
    together = clone(comparison).fit(source, target)
    side_by_side = clone(comparison).fit(np.hstack(source), np.hstack(target))
    assert together.cost_ == pytest.approx(side_by_side.cost_, abs=1e-12)
    assert together.held_out_cost(source, target) == pytest.approx(
        side_by_side.held_out_cost(np.hstack(source), np.hstack(target)), abs=1e-12
    )
    if isinstance(comparison, PairMapping):
        made = together.predict(source)
        assert [layer.shape[1] for layer in made] == [5, 3]
        np.testing.assert_allclose(
            np.hstack(made), side_by_side.predict(np.hstack(source)), atol=1e-9
        )


# -- comparisons -----------------------------------------------------------------------


def test_what_a_solution_says_is_learned(pair):
    X, Y = pair
    comparison = SpectrumComparison(n_values=3).fit(X, Y)
    spectra = [spectrum(z(side), 3) for side in (X, Y)]
    assert comparison.cost_ == pytest.approx(np.sum((spectra[0] - spectra[1]) ** 2))
    assert type(comparison.cost_) is float
    np.testing.assert_allclose(comparison.spectra_, spectra)
    assert clone(comparison).n_values == 3
    assert not hasattr(clone(comparison), "cost_")


def test_a_comparison_on_other_stimuli_is_made_anew(pair):
    X, Y = with_dead_units(*pair)
    live_X, live_Y = pair
    # Live in training and silent in the test: nothing is left of it to compare.
    X[TEST, 0] = live_X[TEST, 0] = 1.5
    spectra = spectrum(z(live_X[TEST][:, 1:]), 2), spectrum(z(live_Y[TEST]), 2)
    with pytest.warns(DeadUnitWarning):
        comparison = SpectrumComparison().fit(X[TRAIN], Y[TRAIN])
    assert comparison.held_out_cost(X[TEST], Y[TEST]) == pytest.approx(
        np.sum((spectra[0] - spectra[1]) ** 2)
    )
    for silent in ((np.ones_like(X[TEST]), Y[TEST]), (X[TEST], np.ones_like(Y[TEST]))):
        with pytest.raises(ValueError, match=r"Every unit of (X|y) is constant"):
            comparison.held_out_cost(*silent)
    raw = RawSpectrumComparison().fit(X[TRAIN], Y[TRAIN])
    spectra = spectrum(X[TEST], 2), spectrum(Y[TEST], 2)
    assert raw.held_out_cost(X[TEST], Y[TEST]) == pytest.approx(
        np.sum((spectra[0] - spectra[1]) ** 2)
    )


@pytest.mark.parametrize("wrap", [lambda inner: inner, MultiLevelOT])
@pytest.mark.parametrize("comparison", COMPARISONS, ids=repr)
def test_a_comparison_maps_nothing_and_says_so_by_its_own_name(pair, comparison, wrap):
    estimator = wrap(clone(comparison)).fit(*pair)
    assert not is_regressor(estimator)
    for method in ("predict", "inverse_predict", "score", "layer_scores"):
        assert not hasattr(estimator, method)
        with pytest.raises(AttributeError) as caught:
            getattr(estimator, method)
        reason = str(caught.value)
        assert f"{type(comparison).__name__} has no `" in reason


class HeldOutWatching(PairComparison):
    """Reads the cost on other stimuli in a way of its own."""

    def _solve(self, source, target):
        return Solution(cost=0.0, attributes={"n_stimuli_": len(source.units)})

    def _held_out_cost(self, source, target):
        assert isinstance(source, Population)
        assert isinstance(target, Population)
        return self.n_stimuli_ + len(source.units) / 100


class MappedHeldOutWatching(Unchanged):
    def _held_out_cost(self, source, target):
        # Both sides are given whole and as they are, dead units too.
        assert source.shape == target.shape
        return float(np.abs(target - source).max() + source[0, 0])


def test_the_cost_on_other_stimuli_may_be_read_in_a_way_of_its_own(pair):
    X, Y = pair
    comparison = HeldOutWatching().fit(X[TRAIN], Y[TRAIN])
    assert comparison.held_out_cost(X[TEST], Y[TEST]) == 45.15
    folds = MultiLevelOT(HeldOutWatching(), cost_cv=3).fit(X, Y)
    np.testing.assert_allclose(folds.layer_costs_, 40.2)
    X = np.insert(X, 1, 0.5, axis=1)
    with pytest.warns(DeadUnitWarning):
        mapping = MappedHeldOutWatching().fit(X, 2 * X)
    X[:, 1] = 99.0
    expected = float(np.abs(X).max() + X[0, 0])
    assert mapping.held_out_cost(X, 2 * X) == expected


# -- maps ------------------------------------------------------------------------------


@pytest.mark.parametrize("mapping", MAPPINGS, ids=repr)
def test_maps_of_every_form_are_put_on_training_means_and_deviations(pair, mapping):
    X, Y = pair
    # Other stimuli have other means and deviations.
    X[TEST], Y[TEST] = 3 * X[TEST] + 50, 2 * Y[TEST] - 20
    mapping = clone(mapping).fit(X[TRAIN], Y[TRAIN])
    predicted = least_squares_by_hand(X[TRAIN], Y[TRAIN], X[TEST])
    recovered = least_squares_by_hand(Y[TRAIN], X[TRAIN], Y[TEST])
    np.testing.assert_allclose(mapping.predict(X[TEST]), predicted)
    np.testing.assert_allclose(mapping.inverse_predict(Y[TEST]), recovered)
    correlations = [
        reference.pearson(a, b) for a, b in zip(Y[TEST].T, predicted.T, strict=True)
    ]
    np.testing.assert_allclose(mapping.unit_scores(X[TEST], Y[TEST]), correlations)
    assert mapping.score(X[TEST], Y[TEST]) == pytest.approx(np.mean(correlations))
    assert mapping.held_out_cost(X[TEST], Y[TEST]) == pytest.approx(
        1 - np.mean(correlations)
    )
    assert mapping.inverse_score(X[TEST], Y[TEST]) == pytest.approx(
        reference.score([X[TEST]], [recovered])
    )
    np.testing.assert_allclose(
        mapping.coef_, np.linalg.lstsq(z(X[TRAIN]), z(Y[TRAIN]))[0]
    )


@pytest.mark.parametrize("mapping", MAPPINGS, ids=repr)
def test_dead_units_predict_nothing_and_are_predicted_as_their_constant(pair, mapping):
    X, Y = with_dead_units(*pair)
    without = clone(mapping).fit(pair[0][TRAIN], pair[1][TRAIN])
    with pytest.warns(DeadUnitWarning, match=r"1 unit\(s\) of X and 2 unit\(s\) of y"):
        mapping = clone(mapping).fit(X[TRAIN], Y[TRAIN])
    np.testing.assert_array_equal(mapping.dead_source_units_, [2])
    np.testing.assert_array_equal(mapping.dead_target_units_, [0, 5])
    assert mapping.cost_ == pytest.approx(without.cost_)
    predicted, recovered = mapping.predict(X[TEST]), mapping.inverse_predict(Y[TEST])
    np.testing.assert_array_equal(predicted[:, [0, 5]], [[-0.1, 3.0]] * 15)
    np.testing.assert_array_equal(recovered[:, 2], 7.0)
    np.testing.assert_allclose(
        np.delete(predicted, [0, 5], axis=1), without.predict(pair[0][TEST])
    )
    np.testing.assert_allclose(
        np.delete(recovered, 2, axis=1), without.inverse_predict(pair[1][TEST])
    )
    assert mapping.held_out_cost(X[TEST], Y[TEST]) == pytest.approx(
        without.held_out_cost(pair[0][TEST], pair[1][TEST])
    )


@pytest.mark.parametrize("mapping", MAPPINGS, ids=repr)
def test_predictions_are_as_precise_as_what_was_fitted(pair, mapping):
    X, Y = (side.astype(np.float32) for side in pair)
    single = clone(mapping).fit(X, Y)
    double = clone(mapping).fit(*pair)
    for found, expected in (
        (single.predict(X), double.predict(pair[0])),
        (single.inverse_predict(Y), double.inverse_predict(pair[1])),
    ):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


class FirstUnit:
    """A map that returns a vector."""

    def __call__(self, units):
        return units[:, 0]


class ToOne(PairMapping):
    def _solve(self, source, target):
        return Solution(cost=1.0, maps=(FirstUnit(), np.ones((1, 6))))


def test_a_map_to_one_unit_may_return_a_vector(pair):
    X, y = pair[0], pair[1][:, 0]
    mapping = ToOne().fit(X, y)
    expected = z(X)[:, 0] * y.std() + y.mean()
    np.testing.assert_allclose(np.ravel(mapping.predict(X)), expected)
    np.testing.assert_allclose(
        mapping.inverse_predict(y), np.outer(z(y), X.std(axis=0)) + X.mean(axis=0)
    )


@pytest.mark.parametrize("function", [itself, reversed_units])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_map_that_returns_its_input_corrupts_nothing(function, dtype):
    source, target = random_networks((6, 6), (6, 6, 6))
    source, target = ([x.astype(dtype) for x in side] for side in (source, target))
    kept = [x.copy() for x in (*source, *target)]
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == np.float32 else {"rtol": 1e-9}

    def expected(seen, made):
        return function(z(seen)) * made.std(axis=0) + made.mean(axis=0)

    alone = Unchanged(function).fit(source[0], target[0])
    for _ in range(2):
        np.testing.assert_allclose(
            alone.predict(source[0]), expected(source[0], target[0]), **tolerance
        )
        np.testing.assert_allclose(
            alone.inverse_predict(target[0]),
            expected(target[0], source[0]),
            **tolerance,
        )
    # Above it, each layer is made once and seen by every layer of the other side.
    mot = MultiLevelOT(Unchanged(function), strategy="transport", cost_cv=2)
    mot.fit(source, target)
    for _ in range(2):
        for m, found in enumerate(mot.predict(source)):
            made = sum(
                3 * mot.coupling_[s, m] * expected(source[s], target[m]) for s in (0, 1)
            )
            np.testing.assert_allclose(found, made, **tolerance)
        for s, found in enumerate(mot.inverse_predict(target)):
            made = sum(
                2 * mot.coupling_[s, m] * expected(target[m], source[s])
                for m in range(3)
            )
            np.testing.assert_allclose(found, made, **tolerance)
    for layer, before in zip((*source, *target), kept, strict=True):
        np.testing.assert_array_equal(layer, before)


class UnchangedAnywhere(Unchanged):
    """Unchanged, for arrays of any library."""

    _supports_array_api = True

    def _solve(self, source, target):
        return Solution(cost=1.0, maps=(self.function, self.function))


def test_a_map_that_returns_its_input_corrupts_no_array_of_another_library():
    xp = pytest.importorskip("array_api_strict")
    source, target = random_networks((6, 6), (6, 6, 6))
    # Costs are all equal: each layer of the target is made of more than one.
    mot = MultiLevelOT(UnchangedAnywhere()).fit(source, target)
    expected = mot.predict(source)
    with config_context(array_api_dispatch=True):
        source, target = ([xp.asarray(x) for x in side] for side in (source, target))
        found = clone(mot).fit(source, target).predict(source)
        for layer, in_numpy in zip(found, expected, strict=True):
            np.testing.assert_allclose(np.asarray(layer), in_numpy, rtol=1e-9)


# -- what is wrong with a solution -----------------------------------------------------


class Answering(PairComparison):
    """Answers with what it is told."""

    def __init__(self, answer=None):
        self.answer = answer

    def _solve(self, source, target):
        return self.answer


class AnsweringMapping(PairMapping):
    def __init__(self, answer=None):
        self.answer = answer

    def _solve(self, source, target):
        return self.answer


def both_levels(inner):
    return [inner, MultiLevelOT(inner), MultiLevelOT(MultiLevelOT(inner))]


@pytest.mark.parametrize("kind", [Answering, AnsweringMapping])
@pytest.mark.parametrize("answer", [None, 0.5, {"cost": 0.5}, (0.5, None)])
def test_what_is_no_solution_is_an_error_that_names_the_class(pair, kind, answer):
    message = rf"{kind.__name__}\._solve returned a {type(answer).__name__}; .*Solution"
    for estimator in both_levels(kind(answer)):
        with pytest.raises(TypeError, match=message):
            estimator.fit(*pair)


@pytest.mark.parametrize("kind", [Answering, AnsweringMapping])
@pytest.mark.parametrize("cost", [None, "0.5", 1 + 0j, [0.5], np.array([0.5, 0.1])])
def test_a_cost_that_is_no_real_number_is_an_error(pair, kind, cost):
    maps = (np.ones((6, 5)), np.ones((5, 6)))
    for estimator in both_levels(kind(Solution(cost, maps))):
        with pytest.raises(TypeError, match=rf"{kind.__name__}\._solve .*real number"):
            estimator.fit(*pair)


@pytest.mark.parametrize("cost", [2, np.float32(2.0), np.int64(2), 2.0])
def test_every_real_number_is_a_cost(pair, cost):
    assert isinstance(cost, numbers.Real)
    fitted = Answering(Solution(cost)).fit(*pair)
    assert fitted.cost_ == 2.0
    assert type(fitted.cost_) is float


@pytest.mark.parametrize("cost", [np.nan, np.inf])
def test_costs_of_layers_must_be_finite(cost):
    source, target = networks()
    mot = MultiLevelOT(Answering(Solution(cost)))
    with pytest.raises(
        ValueError, match=r"Answering learned a `cost_` of (nan|inf) for X, layer 0"
    ):
        mot.fit(source, target)


@pytest.mark.parametrize("cost", [np.nan, -np.inf])
def test_the_cost_of_a_pair_must_be_finite(pair, cost):
    message = rf"Answering\._solve returned a cost of {cost}; it must be finite"
    with pytest.raises(ValueError, match=message):
        Answering(Solution(cost)).fit(*pair)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((7, 5), (5, 6)), r"shape \(7, 5\); .* must be \(6, 5\)"),
        (((6, 5), (6, 5)), r"shape \(6, 5\); .* must be \(5, 6\)"),
    ],
)
def test_maps_of_a_wrong_shape_are_an_error(shapes, message):
    X, y = np.eye(8)[:, :6], np.eye(8)[:, :5]
    answer = Solution(0.5, tuple(map(np.ones, shapes)))
    with pytest.raises(ValueError, match=rf"_solve returned a map of {message}"):
        AnsweringMapping(answer).fit(X, y)


@pytest.mark.parametrize("maps", [None, (), (np.ones((6, 5)),), (1, 2, 3)])
def test_a_mapping_needs_two_maps(pair, maps):
    for estimator in both_levels(AnsweringMapping(Solution(0.5, maps))):
        with pytest.raises(
            TypeError, match=r"AnsweringMapping\._solve returned no maps"
        ):
            estimator.fit(*pair)


def test_a_base_without_a_solution_cannot_be_made():
    class Half(PairMapping):
        pass

    for base in (PairComparison, PairMapping, Half):
        with pytest.raises(TypeError, match="abstract"):
            base()


def test_a_solution_has_its_defaults_and_cannot_be_changed():
    solution = Solution(0.5)
    assert solution.maps is None
    assert solution.attributes == {}
    assert solution.converged is True
    # Defaults are not shared.
    assert solution.attributes is not Solution(0.5).attributes
    with pytest.raises(AttributeError):
        solution.cost = 1.0


# -- whether it converged --------------------------------------------------------------


@pytest.mark.parametrize("converged", [True, np.True_, {}])
def test_what_converged_warns_of_nothing(pair, converged, recwarn):
    inner = Answering(Solution(0.5, converged=converged))
    for estimator in both_levels(inner):
        estimator.fit(*pair)
    assert list(recwarn) == []


@pytest.mark.parametrize(
    ("converged", "message"),
    [
        (False, r" problem\(s\) did not reach the tolerance\. The result may be inac"),
        (np.False_, r" problem\(s\) did not reach the tolerance\. The result may be"),
        (
            {"last step": 0.03},
            r" problem\(s\) did not reach the tolerance: the largest last step is "
            r"3\.0e-02",
        ),
    ],
)
def test_what_did_not_converge_is_one_warning_a_fit(pair, converged, message):
    inner = Answering(Solution(0.5, converged=converged))
    with pytest.warns(ConvergenceWarning, match="1" + message) as alone:
        inner.fit(*pair)
    # Pairs of layers, and then those of three folds.
    with pytest.warns(ConvergenceWarning, match="6" + message) as above:
        MultiLevelOT(inner).fit(*networks())
    with pytest.warns(ConvergenceWarning, match="24" + message) as folds:
        MultiLevelOT(inner, cost_cv=3).fit(*networks())
    for caught in (alone, above, folds):
        assert [warning.filename for warning in caught] == [__file__]


class Unsteady(PairComparison):
    """Misses two tolerances, the one by the number of source units."""

    def _solve(self, source, target):
        missed = {"last step": source.units.shape[1] / 100, "residual": 0.5}
        return Solution(cost=0.5, converged=missed)


def test_each_quantity_that_missed_its_tolerance_is_told_with_its_largest():
    with pytest.warns(ConvergenceWarning) as caught:
        MultiLevelOT(Unsteady()).fit(*networks())
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == 2
    assert "6 problem(s)" in messages[0]
    assert "the largest last step is 6.0e-02" in messages[0]
    assert "the largest residual is 5.0e-01" in messages[1]


# -- every place it works in -----------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize(
    "inner", [SpectrumComparison(3), RawSpectrumComparison(), *MAPPINGS], ids=repr
)
def test_layers_are_coupled_by_it_with_folds_and_jobs(inner, n_jobs):
    source, target = networks()
    X, y = rows(source, TRAIN), rows(target, TRAIN)
    pairs = [[clone(inner).fit(a, b) for b in y] for a in X]
    mot = MultiLevelOT(inner, n_jobs=n_jobs).fit(X, y)
    costs = [[pair.cost_ for pair in row] for row in pairs]
    np.testing.assert_allclose(mot.layer_costs_, costs, rtol=1e-9)
    if isinstance(inner, PairMapping):
        held_out = rows(source, TEST)
        for m, found in enumerate(mot.predict(held_out)):
            expected = sum(
                2 * mot.coupling_[s, m] * pairs[s][m].predict(held_out[s])
                for s in range(3)
            )
            np.testing.assert_allclose(found, expected, rtol=1e-9)
    folds = MultiLevelOT(inner, cost_cv=3, n_jobs=n_jobs).fit(X, y)
    costs = np.zeros((3, 2))
    for train, test in KFold(3).split(TRAIN):
        for s, m in np.ndindex(3, 2):
            fitted = clone(inner).fit(X[s][train], y[m][train])
            costs[s, m] += fitted.held_out_cost(X[s][test], y[m][test]) / 3
    np.testing.assert_allclose(folds.layer_costs_, costs, rtol=1e-9)


@pytest.mark.parametrize("inner", [RawSpectrumComparison(), LeastSquares()], ids=repr)
def test_levels_nest_above_it(inner):
    checkpoints = [random_networks((4, 5), (5, 3), seed=seed) for seed in (0, 1)]
    X, y = (
        LayerStack([LayerStack(pair[side]) for pair in checkpoints]) for side in (0, 1)
    )
    mot = MultiLevelOT(MultiLevelOT(inner)).fit(X, y)
    for s, m in np.ndindex(2, 2):
        below = MultiLevelOT(inner).fit(checkpoints[s][0], checkpoints[m][1])
        assert mot.layer_costs_[s, m] == pytest.approx(below.cost_)
        np.testing.assert_allclose(mot.inner_[s][m].layer_costs_, below.layer_costs_)


def test_kept_pairs_are_not_solved_again(tmp_path, monkeypatch):
    source, target = networks()
    first = MultiLevelOT(LeastSquares("function"), memory=tmp_path).fit(source, target)

    def solve_again(self, source, target):
        raise AssertionError("A pair that was kept is solved again.")

    monkeypatch.setattr(LeastSquares, "_solve", solve_again)
    again = MultiLevelOT(LeastSquares("function"), memory=tmp_path).fit(source, target)
    for found, expected in zip(
        again.predict(source), first.predict(source), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    # Another setting is another pair.
    with pytest.raises(AssertionError, match="solved again"):
        MultiLevelOT(LeastSquares("sparse"), memory=tmp_path).fit(source, target)


class Drawn(PairComparison):
    """A cost at random."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def _solve(self, source, target):
        return Solution(cost=check_random_state(self.random_state).uniform())


def test_what_draws_at_random_follows_its_seed(tmp_path):
    source, target = networks()
    expected = np.random.RandomState(3).uniform()
    for settings in ({}, {"n_jobs": 2}, {"memory": tmp_path}):
        mot = MultiLevelOT(Drawn(random_state=3), **settings).fit(source, target)
        # A clone draws what every other clone draws.
        np.testing.assert_array_equal(mot.layer_costs_, expected)
    assert len(np.unique(MultiLevelOT(Drawn()).fit(source, target).layer_costs_)) == 6
    with pytest.raises(ValueError, match="Drawn draws"):
        MultiLevelOT(Drawn(), memory=tmp_path).fit(source, target)


def test_a_search_over_its_settings():
    X, y = (LayerStack(network) for network in networks())
    search = GridSearchCV(
        MultiLevelOT(LeastSquares()), {"inner__form": list(FORMS)}, cv=3
    ).fit(X, y)
    scores = cross_val_score(MultiLevelOT(LeastSquares()), X, y, cv=3)
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], scores.mean())


class Constrained(SpectrumComparison):
    _parameter_constraints = {"n_values": [numbers.Integral]}


def test_its_settings_are_checked_where_it_says_what_they_may_be(pair):
    for estimator in both_levels(Constrained(n_values="two")):
        message = "'n_values' parameter of Constrained"
        with pytest.raises(ValueError, match=message):
            estimator.fit(*pair)


@pytest.mark.parametrize("estimator", [*COMPARISONS, *MAPPINGS], ids=repr)
def test_a_fit_survives_pickling(pair, estimator):
    X, Y = pair
    fresh = clone(estimator)
    with pytest.raises(NotFittedError):
        fresh.held_out_cost(X, Y)
    fitted = pickle.loads(pickle.dumps(fresh.fit(X, Y)))
    assert fitted.held_out_cost(X, Y) == fresh.held_out_cost(X, Y)


def test_arrays_of_other_libraries_are_refused_where_it_is_not_written_for_them(pair):
    xp = pytest.importorskip("array_api_strict")
    X, Y = (xp.asarray(side) for side in pair)
    with (
        config_context(array_api_dispatch=True),
        pytest.raises(TypeError, match="LeastSquares"),
    ):
        LeastSquares().fit(X, Y)


# The checks draw data at random, some of it with constant units.
@pytest.mark.filterwarnings(
    "ignore:.* are constant over:skmot.exceptions.DeadUnitWarning"
)
@pytest.mark.filterwarnings(f"error::{SkipTestWarning.__module__}.SkipTestWarning")
@parametrize_with_checks(
    [
        *COMPARISONS,
        *MAPPINGS,
        *map(MultiLevelOT, [RawSpectrumComparison(), LeastSquares("function")]),
    ]
)
def test_it_passes_scikit_learns_checks(estimator, check):
    check(estimator)

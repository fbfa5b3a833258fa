"""Linear predictivity and maps by any regressor: by hand, and laws."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cross_decomposition import PLSRegression
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from skmot import (
    LayerStack,
    LinearPredictivity,
    MultiLevelOT,
    OneToOneMatching,
    Procrustes,
    RegressorMapping,
    RotationMatching,
    SemiMatching,
    SoftMatching,
)
from skmot.exceptions import DeadUnitWarning
from skmot.metrics import linear_predictivity_score
from tests import reference
from tests.networks import random_networks
from tests.pairs.common import (
    LAWS_OF_MAPS,
    SIZES,
    back,
    by_law,
    dead_units_take_no_part,
    mean_r,
    populations,
    z,
)

ESTIMATORS = [LinearPredictivity(random_state=0), RegressorMapping(random_state=0)]


# -- linear predictivity ---------------------------------------------------------------


@pytest.mark.parametrize("alphas", [None, (0.5, 20.0)])
@pytest.mark.parametrize(("n", "k"), SIZES)
def test_linear_predictivity_is_a_ridge_with_one_chosen_penalty(n, k, alphas):
    X, Y = populations(n, k, n_stimuli=60)
    train, test = slice(0, 40), slice(40, None)
    regression = LinearPredictivity(alphas=alphas, random_state=3)
    regression.fit(X[train], Y[train])
    validation, fitted = np.split(np.random.RandomState(3).permutation(40), [5])

    def by_hand(seen, made, cost, alpha_found, predicted):
        zs, zm = z(seen[train], seen[train]), z(made[train], made[train])
        costs = {}
        for alpha in np.logspace(-4, 4, 8) if alphas is None else alphas:
            # A matrix of targets, whatever their number.
            ridge = Ridge(alpha).fit(zs[fitted], np.hstack([zm, zm])[fitted])
            r = mean_r(zm[validation], ridge.predict(zs[validation])[:, : zm.shape[1]])
            costs[alpha] = 1 - r
        # Correlations of one unit with one are the same for all penalties.
        least = min(costs.values())
        assert costs[alpha_found] == pytest.approx(least, abs=1e-12)
        if cost is not None:
            assert cost == pytest.approx(least)
        ridge = Ridge(alpha_found).fit(zs, np.hstack([zm, zm]))
        carried = ridge.predict(z(seen[test], seen[train]))[:, : zm.shape[1]]
        np.testing.assert_allclose(predicted, back(carried, made[train]), atol=1e-8)

    by_hand(X, Y, regression.cost_, regression.alpha_, regression.predict(X[test]))
    by_hand(Y, X, None, regression.inverse_alpha_, regression.inverse_predict(Y[test]))
    assert regression.coef_.shape == (n, k)
    assert regression.inverse_coef_.shape == (k, n)
    assert regression.held_out_cost(X[test], Y[test]) == pytest.approx(
        1 - regression.score(X[test], Y[test])
    )


def test_linear_predictivity_takes_strong_penalties_where_they_are_better():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 150))
    Y = X[:, :5] @ rng.normal(size=(5, 3)) + 5 * rng.normal(size=(200, 3))
    assert LinearPredictivity(random_state=0).fit(X, Y).alpha_ > 10
    assert LinearPredictivity(random_state=0).fit(X, X[:, :3]).alpha_ < 1


def test_linear_predictivity_swapped_swaps_its_maps_and_not_its_cost():
    X, Y = populations(3, 20, n_stimuli=60)
    there, back_again = (
        LinearPredictivity(random_state=0).fit(*pair) for pair in ((X, Y), (Y, X))
    )
    np.testing.assert_allclose(there.predict(X), back_again.inverse_predict(X))
    np.testing.assert_allclose(there.inverse_predict(Y), back_again.predict(Y))
    assert abs(there.cost_ - back_again.cost_) > 0.001


def test_linear_predictivity_of_a_target_that_varies_once():
    X, _ = populations(4, 4)
    Y = np.zeros((40, 1))
    Y[17] = 1
    # The validation part has it, so that there is something to correlate.
    for seed in range(5):
        regression = LinearPredictivity(random_state=seed).fit(X, Y)
        assert 0 <= regression.cost_ <= 2


def test_linear_predictivity_checks_its_settings():
    X, Y = populations(4, 4)
    with pytest.raises(ValueError, match="`alphas` must be"):
        LinearPredictivity(alphas=[1.0, 0.0]).fit(X, Y)
    with pytest.raises(ValueError, match="'validation_fraction' parameter"):
        LinearPredictivity(validation_fraction=1.0).fit(X, Y)
    with pytest.raises(ValueError, match="n_samples=3 stimuli cannot be split"):
        LinearPredictivity().fit(X[:3], Y[:3])


def ridge_by_hand(seen, made, training, alphas):
    """Return the correlation of each unit for each penalty, in decreasing order.

    Units are standardised over all stimuli, and those that are not in the training part
    are the validation part.
    """
    zs, zm = z(seen, seen), z(made, made)
    validation = np.delete(np.arange(len(seen)), training)
    scores = []
    for alpha in np.sort(alphas)[::-1]:
        ridge = Ridge(alpha).fit(zs[training], np.hstack([zm, zm])[training])
        predicted = ridge.predict(zs[validation])[:, : zm.shape[1]]
        pairs = zip(zm[validation].T, predicted.T, strict=True)
        scores.append([reference.pearson(a, b) for a, b in pairs])
    return np.array(scores)


@pytest.mark.filterwarnings("ignore:.*validation stimuli:UserWarning")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "k"), [(7, 7), (1, 4), (4, 1), (30, 50), (200, 20)])
def test_each_unit_has_the_penalty_that_is_best_for_it(n, k, dtype):
    X, Y = (side.astype(dtype) for side in populations(n, k, n_stimuli=80))
    alphas = np.logspace(-3, 4, 8)
    regression = LinearPredictivity(alphas, alpha_per_target=True, random_state=3)
    regression.fit(X, Y)
    training = np.random.RandomState(3).permutation(80)[10:]
    X, Y = X.astype(float), Y.astype(float)
    for seen, made, chosen, coefficients in (
        (X, Y, regression.alpha_, regression.coef_),
        (Y, X, regression.inverse_alpha_, regression.inverse_coef_),
    ):
        scores = ridge_by_hand(seen, made, training, alphas)
        # Within 1e-6 the largest penalty is chosen, the first one here.
        is_best = scores > scores.max(axis=0) - 1e-6
        expected = np.sort(alphas)[::-1][is_best.argmax(axis=0)]
        np.testing.assert_array_equal(chosen, expected)
        for unit, alpha in enumerate(chosen):
            ridge = Ridge(alpha).fit(z(seen, seen), z(made, made)[:, unit])
            np.testing.assert_allclose(
                coefficients[:, unit],
                ridge.coef_,
                rtol=1e-6,
                atol=1e-9 if dtype == np.float64 else 1e-6,
            )
    # In float32, too: the penalties are chosen in float64.
    scores = ridge_by_hand(X, Y, training, alphas)
    assert regression.cost_ == pytest.approx(1 - scores.max(axis=0).mean(), abs=2e-6)


@pytest.mark.filterwarnings("ignore:.*validation stimuli:UserWarning")
def test_dead_units_have_no_penalty_and_units_without_a_score_the_largest():
    X, Y = populations(4, 5)
    validation, fitted = np.split(np.random.RandomState(0).permutation(40), [5])
    Y[:, 1] = 0.1
    Y[validation, 3] = -2.0
    regression = LinearPredictivity(alpha_per_target=True, random_state=0)
    with pytest.warns(DeadUnitWarning):
        regression.fit(X, Y)
    assert regression.alpha_.shape == (5,)
    np.testing.assert_array_equal(np.isnan(regression.alpha_), np.arange(5) == 1)
    assert regression.alpha_[3] == 1e4
    scores = ridge_by_hand(X, Y[:, [0, 2, 4]], fitted, np.logspace(-4, 4, 8))
    assert regression.cost_ == pytest.approx(1 - scores.max(axis=0).mean(), abs=2e-6)


@pytest.mark.filterwarnings("ignore:.*validation stimuli:UserWarning")
@pytest.mark.parametrize("alpha_per_target", [False, True])
@pytest.mark.parametrize("shape", [(60, 9, 7), (36, 50, 40), (40, 1, 6)])
def test_float32_has_the_penalties_and_the_cost_of_float64(shape, alpha_per_target):
    for seed in range(5):
        X, Y = (
            side.astype(np.float32)
            for side in populations(*shape[1:], n_stimuli=shape[0], seed=seed)
        )
        # Near-duplicates, which small penalties tell apart.
        X = np.hstack([X, X + np.float32(1e-3) * X[::-1]])
        single, double = (
            LinearPredictivity(alpha_per_target=alpha_per_target, random_state=0).fit(
                X.astype(dtype), Y.astype(dtype)
            )
            for dtype in (np.float32, np.float64)
        )
        np.testing.assert_array_equal(single.alpha_, double.alpha_)
        np.testing.assert_array_equal(single.inverse_alpha_, double.inverse_alpha_)
        assert single.cost_ == pytest.approx(double.cost_, abs=1e-12)
        assert single.coef_.dtype == np.float32
        np.testing.assert_array_equal(single.coef_, double.coef_.astype(np.float32))


def test_units_that_vary_in_one_part_only_are_not_predicted_and_predict_nothing():
    X, Y = populations(4, 3)
    fitted = np.random.RandomState(0).permutation(40)[5:]
    alphas = np.logspace(-4, 4, 8)
    # Over the training part the first unit of each side is constant.
    X[fitted, 0], Y[fitted, 0] = 0.3, 0.1
    found = LinearPredictivity(random_state=0).fit(X, Y)
    scores = ridge_by_hand(X[:, 1:], Y[:, 1:], fitted, alphas)
    best = scores.mean(axis=1).max()
    # A constant prediction counts as 0.
    assert found.cost_ == pytest.approx(1 - 2 / 3 * best, abs=2e-6)


@pytest.mark.filterwarnings("ignore:.*validation stimuli:UserWarning")
def test_what_is_constant_over_the_validation_part_predicts_nothing():
    validation, fitted = np.split(np.random.RandomState(0).permutation(40), [5])
    for seed in range(5):
        rng = np.random.default_rng(seed)
        # Of low rank: other eigenvalues are 0, too, like that of the unit which is
        # constant over the training part and alone varies over the validation part.
        X = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 12))
        X[validation] = 0.7
        X[fitted, 5], X[validation, 5] = 0.3, rng.normal(size=5)
        Y = rng.normal(size=(40, 3))
        for alpha_per_target in (False, True):
            ridge = LinearPredictivity(None, alpha_per_target, random_state=0)
            assert ridge.fit(X, Y).cost_ == 1


def exact_ridge(X, Y, alpha):
    """Solve by least squares, with a row for the penalty of each coefficient."""
    penalties = np.sqrt(alpha) * np.eye(X.shape[1])
    rows = np.vstack([X, penalties]), np.vstack([Y, np.zeros((len(penalties), 1))])
    return np.linalg.lstsq(*rows, rcond=None)[0]


@pytest.mark.parametrize("n", [30, 90])
@pytest.mark.parametrize(("alpha", "tolerance"), [(1e-11, 1e-6), (1e-6, 1e-4)])
def test_small_penalties_of_nearly_dependent_units(n, alpha, tolerance):
    # Singular values fall from 1 to 1e-8.
    rng = np.random.default_rng(0)
    shrinking = 10.0 ** -np.linspace(0, 8, n)
    X = (rng.normal(size=(60, n)) * shrinking) @ rng.normal(size=(n, n))
    Y = rng.normal(size=(60, 1))
    regression = LinearPredictivity([alpha], random_state=0).fit(X, Y)
    expected = exact_ridge(z(X, X), z(Y, Y), alpha)
    predicted = z(X, X) @ regression.coef_
    np.testing.assert_allclose(predicted, z(X, X) @ expected, atol=tolerance)
    validation, fitted = np.split(np.random.RandomState(0).permutation(60), [8])
    zx, zy = z(X, X), z(Y, Y)
    centred = zx[fitted] - zx[fitted].mean(axis=0)
    expected = exact_ridge(centred, zy[fitted] - zy[fitted].mean(), alpha)
    r = reference.pearson(zy[validation, 0], (zx[validation] @ expected)[:, 0])
    assert regression.cost_ == pytest.approx(1 - r, abs=tolerance)


@pytest.mark.parametrize("n", [5, 90])
def test_infinite_penalties_are_the_limit_of_large_ones(n):
    X, Y = populations(n, 4, n_stimuli=60)
    validation, fitted = np.split(np.random.RandomState(0).permutation(60), [8])
    zx, zy = z(X, X), z(Y, Y)
    centred = zx[fitted] - zx[fitted].mean(axis=0)
    expected = 1 - mean_r(zy[validation], zx[validation] @ centred.T @ zy[fitted])
    for alpha in (1e12, 1e250):
        regression = LinearPredictivity([alpha], random_state=0).fit(X, Y)
        assert regression.cost_ == pytest.approx(expected, abs=1e-6)


@pytest.fixture
def decomposed(monkeypatch):
    """Return a list that is filled with the shapes of decomposed matrices."""
    shapes, eigh = [], np.linalg.eigh

    def record(matrix, *args, **kwargs):
        shapes.append(matrix.shape)
        return eigh(matrix, *args, **kwargs)

    monkeypatch.setattr(np.linalg, "eigh", record)
    return shapes


@pytest.mark.filterwarnings("ignore:.*validation stimuli:UserWarning")
@pytest.mark.parametrize("random_state", [0, np.random.RandomState(0)], ids=str)
@pytest.mark.parametrize("n_jobs", [1, 3])
def test_each_layer_is_decomposed_twice_for_all_its_partners(
    decomposed, n_jobs, random_state
):
    source, target = random_networks((6, 40, 90), (7, 30, 80, 5))
    inner = LinearPredictivity(alpha_per_target=True, random_state=random_state)
    MultiLevelOT(inner, n_jobs=n_jobs).fit(source, target)
    widths = (6, 40, 90, 7, 30, 80, 5)
    # Of more units than stimuli, the stimuli: 60, or 52 without the validation part.
    expected = [min(width, n) for width in widths for n in (60, 52)]
    assert sorted(decomposed) == sorted((size, size) for size in expected)


def test_parts_that_differ_from_pair_to_pair_are_told_apart():
    (X,), target = random_networks((9,), (7, 30, 8))
    # `random_state=None` draws from NumPy's global generator, as in scikit-learn, so
    # this alone makes both series of parts the same: hence the two `noqa`.
    np.random.seed(4)  # noqa: NPY002
    costs = [LinearPredictivity().fit(X, y).cost_ for y in target]
    np.random.seed(4)  # noqa: NPY002
    mot = MultiLevelOT(LinearPredictivity()).fit([X], target)
    np.testing.assert_allclose(mot.layer_costs_, [costs], rtol=1e-12)
    # A generator is copied for each pair, and is not read.
    random = np.random.RandomState(4)
    shared = MultiLevelOT(LinearPredictivity(random_state=random)).fit([X], target)
    alone = MultiLevelOT(LinearPredictivity(random_state=4)).fit([X], target)
    np.testing.assert_array_equal(shared.layer_costs_, alone.layer_costs_)
    assert random.random() == np.random.RandomState(4).random()


def test_a_layer_that_varies_once_has_a_part_of_its_own():
    source, target = random_networks((9, 70), (7, 8, 30))
    target[1] = np.zeros((60, 2))
    target[1][17] = 1
    ridge = LinearPredictivity(random_state=0)
    mot = MultiLevelOT(ridge).fit(source, target)
    for s, m in np.ndindex(2, 3):
        alone = clone(ridge).fit(source[s], target[m])
        assert mot.layer_costs_[s, m] == alone.cost_
        np.testing.assert_array_equal(mot.inner_[s][m].coef_, alone.coef_)


# -- any regressor ---------------------------------------------------------------------


class Flat(Ridge):
    """Predicts a vector where there is one target, as many regressors do."""

    def predict(self, X):
        return np.squeeze(super().predict(X))


REGRESSORS = [
    Ridge(3.0),
    PLSRegression(n_components=1),
    KernelRidge(alpha=0.5, kernel="rbf", gamma=0.1),
    make_pipeline(StandardScaler(with_std=False), Ridge(0.2)),
    Flat(2.0),
]


def predict_by_hand(regressor, seen, made, fitted, scored):
    """Return the predictions of units standardised over all of `fitted`."""
    zs, zm = z(seen, seen[fitted]), z(made, made[fitted])
    predicted = clone(regressor).fit(zs[fitted], zm[fitted]).predict(zs[scored])
    return back(np.reshape(predicted, (len(predicted), -1)), made[fitted])


def test_the_default_is_scikit_learns_ridge_between_standardised_units():
    X, Y = populations(7, 4, n_stimuli=60)
    train, test = np.arange(40), np.arange(40, 60)
    mapping = RegressorMapping(random_state=0).fit(X[train], Y[train])
    # Unit by unit, with the closed form of each.
    for seen, made, found in (
        (X, Y, mapping.predict(X[test])),
        (Y, X, mapping.inverse_predict(Y[test])),
    ):
        zs = z(seen, seen[train])
        for unit in range(made.shape[1]):
            recorded = made[train, unit]
            deviations = (recorded - recorded.mean()) / recorded.std()
            ridge = Ridge().fit(zs[train], deviations)
            gram = zs[train].T @ zs[train] + np.eye(seen.shape[1])
            np.testing.assert_allclose(
                ridge.coef_, np.linalg.solve(gram, zs[train].T @ deviations)
            )
            expected = ridge.predict(zs[test]) * recorded.std() + recorded.mean()
            np.testing.assert_allclose(found[:, unit], expected, rtol=1e-9)
    assert isinstance(mapping.regressor_, Ridge)
    assert mapping.regressor_.coef_.shape == (4, 7)
    assert mapping.inverse_regressor_.coef_.shape == (7, 4)
    given = RegressorMapping(Ridge(), random_state=0).fit(X[train], Y[train])
    np.testing.assert_array_equal(given.predict(X), mapping.predict(X))
    assert given.cost_ == mapping.cost_


@pytest.mark.parametrize("regressor", REGRESSORS, ids=lambda r: type(r).__name__)
@pytest.mark.parametrize(("n", "k"), [(7, 4), (4, 7), (1, 5), (5, 1), (1, 1)])
def test_both_directions_are_those_of_a_clone_fitted_by_hand(regressor, n, k):
    X, Y = populations(n, k, n_stimuli=60)
    train, test = np.arange(40), np.arange(40, 60)
    mapping = RegressorMapping(regressor, random_state=0).fit(X[train], Y[train])
    np.testing.assert_allclose(
        mapping.predict(X[test]), predict_by_hand(regressor, X, Y, train, test)
    )
    np.testing.assert_allclose(
        mapping.inverse_predict(Y[test]), predict_by_hand(regressor, Y, X, train, test)
    )
    assert mapping.predict(X[test]).shape == (20, k)
    # What was given is not fitted itself.
    with pytest.raises(NotFittedError):
        check_is_fitted(regressor)
    for fitted in (mapping.regressor_, mapping.inverse_regressor_):
        assert type(fitted) is type(regressor)
        check_is_fitted(fitted)


@pytest.mark.filterwarnings("ignore:.*validation stimuli, too few")
@pytest.mark.parametrize("regressor", REGRESSORS, ids=lambda r: type(r).__name__)
@pytest.mark.parametrize(("fraction", "size"), [(0.125, 5), (0.3, 12), (0.01, 2)])
def test_the_cost_is_that_of_the_validation_part(regressor, fraction, size):
    X, Y = populations(6, 5)
    mapping = RegressorMapping(regressor, validation_fraction=fraction, random_state=3)
    mapping.fit(X, Y)
    validation, fitted = np.split(np.random.RandomState(3).permutation(40), [size])
    # Standardised over all training stimuli, fitted to the rest.
    zx, zy = z(X, X), z(Y, Y)
    predicted = clone(regressor).fit(zx[fitted], zy[fitted]).predict(zx[validation])
    constant = np.ptp(predicted, axis=0) == 0
    scores = [
        0.0 if is_constant else reference.pearson(a, b)
        for a, b, is_constant in zip(
            zy[validation].T, predicted.T, constant, strict=True
        )
    ]
    assert mapping.cost_ == pytest.approx(1 - np.mean(scores), abs=1e-12)
    assert mapping.held_out_cost(X[:9], Y[:9]) == pytest.approx(
        1 - mapping.score(X[:9], Y[:9]), abs=1e-12
    )


def test_a_target_that_varies_once_is_in_the_validation_part():
    X, _ = populations(4, 4)
    Y = np.zeros((40, 1))
    Y[17] = 1
    for seed in range(5):
        # Silent over the other stimuli, it is predicted as a constant.
        mapping = RegressorMapping(KNeighborsRegressor(1), random_state=seed)
        assert mapping.fit(X, Y).cost_ == 1


@pytest.mark.parametrize("regressor", REGRESSORS, ids=lambda r: type(r).__name__)
def test_constant_units_take_no_part_whatever_the_regressor(regressor):
    dead_units_take_no_part(RegressorMapping(regressor, random_state=0))


@pytest.mark.parametrize("above", [False, True])
def test_regressors_are_given_float64_and_predictions_are_as_precise_as_layers(above):
    given = []

    class Watched(Ridge):
        def fit(self, X, y):
            given.extend([X.dtype, y.dtype])
            return super().fit(X, y)

    X, Y = (side.astype(np.float32) for side in populations(6, 5))
    mapping = RegressorMapping(Watched(), random_state=0)
    estimator = (MultiLevelOT(mapping) if above else mapping).fit(X, Y)
    assert given == [np.float64] * 8
    assert estimator.predict(X).dtype == np.float32
    assert estimator.inverse_predict(Y).dtype == np.float32


class Undefined(Ridge):
    def predict(self, X):
        return np.full(np.shape(super().predict(X)), np.nan)


def test_predictions_that_are_no_numbers_are_an_error_that_names_the_regressor():
    X, Y = populations(6, 5)
    with pytest.raises(ValueError, match="Undefined predicted NaN or infinity for y"):
        RegressorMapping(Undefined(), random_state=0).fit(X, Y)


class Loud(Ridge):
    def fit(self, X, y):
        warnings.warn(f"off by {X[0, 0]:.1e}", ConvergenceWarning, stacklevel=2)
        return super().fit(X, y)


def test_what_regressors_warn_of_comes_once_a_fit():
    source, target = random_networks()
    mot = MultiLevelOT(RegressorMapping(Loud(), random_state=0))
    with pytest.warns(ConvergenceWarning, match=r"off by.*48 time\(s\)") as caught:
        mot.fit(source, target)
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"regressor": StandardScaler()}, "'regressor' parameter"),
        ({"regressor": "ridge"}, "'regressor' parameter"),
        ({"validation_fraction": 0.0}, "'validation_fraction' parameter"),
        ({"validation_fraction": 0.99}, "stimuli cannot be split"),
        ({"random_state": "first"}, "'random_state' parameter"),
        # The regressor checks its own settings.
        ({"regressor": Ridge(alpha=-1.0)}, "'alpha' parameter of Ridge"),
    ],
)
def test_wrong_settings_of_a_mapping_are_refused(settings, message):
    X, Y = populations(4, 4)
    for estimator in (
        RegressorMapping(**settings),
        MultiLevelOT(RegressorMapping(**settings)),
    ):
        with pytest.raises(ValueError, match=message):
            estimator.fit(X, Y)


@pytest.mark.parametrize("cost_cv", [None, 3])
def test_the_number_of_jobs_changes_no_mapping(cost_cv):
    source, target = random_networks()
    inner = RegressorMapping(PLSRegression(n_components=2), random_state=0)
    alone = MultiLevelOT(inner, cost_cv=cost_cv).fit(source, target)
    both = MultiLevelOT(inner, cost_cv=cost_cv, n_jobs=2).fit(source, target)
    np.testing.assert_allclose(both.layer_costs_, alone.layer_costs_, rtol=1e-7)
    for found, expected in zip(
        both.predict(source), alone.predict(source), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)
    assert isinstance(both.inner_[1][2].regressor_, PLSRegression)


def test_a_search_over_regressors_and_their_settings():
    source, target = random_networks(n_stimuli=60)
    X, y = LayerStack(source), LayerStack(target)
    regressors = [Ridge(0.5), PLSRegression(n_components=2), KernelRidge()]
    search = GridSearchCV(
        MultiLevelOT(RegressorMapping(Ridge(), random_state=0)),
        [
            {"inner__regressor": regressors},
            {"inner__regressor__alpha": [1e-3, 1e6]},
        ],
        cv=3,
        error_score="raise",
    ).fit(X, y)
    found = search.cv_results_["mean_test_score"]
    inner = [*regressors, Ridge(1e-3), Ridge(1e6)]
    expected = [
        cross_val_score(
            MultiLevelOT(RegressorMapping(regressor, random_state=0)), X, y, cv=KFold(3)
        ).mean()
        for regressor in inner
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert found[4] < found[3]
    assert search.best_score_ == found.max()


# -- both ------------------------------------------------------------------------------


@by_law(*LAWS_OF_MAPS)
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_laws_of_all_pairs(estimator, law):
    law(clone(estimator))


def test_a_search_over_the_kind_of_inner_itself():
    source, target = random_networks(n_stimuli=60)
    X, y = LayerStack(source), LayerStack(target)
    candidates = [
        *(
            SoftMatching(),
            RotationMatching(),
            *(SemiMatching(), OneToOneMatching(), Procrustes()),
        ),
        LinearPredictivity(alphas=[1.0], random_state=0),
    ]
    search = GridSearchCV(
        MultiLevelOT(SoftMatching()),
        [
            {"inner": candidates, "strategy": ["transport", "pairwise_best"]},
            {
                "inner": [LinearPredictivity(random_state=0)],
                "inner__alphas": [[1.0], [100.0]],
            },
        ],
        cv=3,
        error_score="raise",
    ).fit(X, y)
    assert len(search.cv_results_["params"]) == 2 * len(candidates) + 2
    for candidate, mean in zip(
        search.cv_results_["params"],
        search.cv_results_["mean_test_score"],
        strict=True,
    ):
        mot = MultiLevelOT().set_params(**candidate)
        by_hand = cross_val_score(mot, X, y, cv=KFold(3))
        assert mean == pytest.approx(by_hand.mean())
    # The layers share random mixtures of a few latents, which a regression undoes.
    assert isinstance(search.best_params_["inner"], LinearPredictivity)


@pytest.mark.filterwarnings("ignore:.*validation stimuli, too few")
def test_ties_of_penalties_do_not_depend_on_the_order_of_units():
    # Two validation stimuli: every correlation is 1 or -1, and penalties tie.
    for seed in range(40):
        rng = np.random.default_rng(seed)
        X, y, order = (
            rng.normal(size=(14, 9)),
            rng.normal(size=(14, 2)),
            rng.permutation(9),
        )
        alphas = {
            LinearPredictivity(random_state=0).fit(units, y).alpha_
            for units in (X, X[:, order])
        }
        assert len(alphas) == 1


@pytest.mark.filterwarnings("ignore:.*validation stimuli, too few")
def test_ties_of_penalties_do_not_depend_on_scales_and_offsets_of_units():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(11, 6)), rng.normal(size=(11, 3))
        factors, offsets = np.exp(rng.normal(size=6)), 10 * rng.normal(size=6)
        chosen = set()
        for source, target in (
            (X, y),
            (X * factors + offsets, y),
            (X, y[:, ::-1] * factors[:3]),
            (np.asfortranarray(X), y - offsets[3:]),
        ):
            regression = LinearPredictivity(random_state=0).fit(source, target)
            chosen.add((regression.alpha_, regression.inverse_alpha_))
        assert len(chosen) == 1


@pytest.mark.filterwarnings("ignore:.*validation stimuli, too few")
def test_of_penalties_that_tie_the_largest_is_chosen():
    # One unit predicts one: whatever the penalty, the correlation is 1.
    X = np.random.default_rng(0).normal(size=(30, 1))
    assert LinearPredictivity(random_state=0).fit(X, 2 * X + 1).alpha_ == 1e4


def few_stimuli(n_stimuli, n_layers=1):
    random = np.random.default_rng(0)
    return [random.normal(size=(n_stimuli, 3)) for _ in range(n_layers)]


TOO_FEW = "validation stimuli, too few"


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_too_few_validation_stimuli_are_told_once_a_fit(n_jobs):
    layers = few_stimuli(16, n_layers=2)
    ridge = LinearPredictivity(random_state=0)
    with pytest.warns(UserWarning, match=f"1 .* over 2 {TOO_FEW}") as caught:
        ridge.fit(layers[0], layers[1])
    assert caught[0].filename == __file__
    mot = MultiLevelOT(ridge, n_jobs=n_jobs)
    with pytest.warns(UserWarning, match=f"4 .* over 2 {TOO_FEW}") as caught:
        mot.fit(layers, layers)
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.warns(UserWarning, match=f"over 2 {TOO_FEW}.*`validation_size`"):
        linear_predictivity_score(*layers, random_state=0)


def test_enough_validation_stimuli_or_a_score_without_a_choice_are_no_warning():
    layers = few_stimuli(40, n_layers=2)
    LinearPredictivity(random_state=0).fit(*layers)
    few = [layer[:16] for layer in layers]
    linear_predictivity_score(*few, alphas=[1.0], random_state=0)
    # Costs are correlations too.
    with pytest.warns(UserWarning, match=TOO_FEW):
        RegressorMapping(random_state=0).fit(*few)


def unrelated_subjects():
    """Return two subjects that saw 60 images three times and share nothing."""
    random = np.random.default_rng(0)
    for _ in range(2):
        signal = np.repeat(random.normal(size=(60, 40)), 3, axis=0)
        trials = signal + 0.7 * random.normal(size=signal.shape)
        yield LayerStack([trials], stimuli=np.repeat(np.arange(60), 3))


def test_repeats_stay_in_one_part_of_the_validation():
    X, y = unrelated_subjects()
    ridge = LinearPredictivity(random_state=0)
    for estimator in (ridge, MultiLevelOT(ridge), MultiLevelOT(ridge, cost_cv=4)):
        assert estimator.fit(X, y).cost_ > 0.9
        # Labels of one side are enough.
        assert estimator.fit(X, y.with_stimuli(None)).cost_ > 0.9
    assert linear_predictivity_score(X, y, random_state=0) < 0.1
    # Without labels, repeats are on both sides.
    assert ridge.fit(*(side.with_stimuli(None) for side in (X, y))).cost_ < 0.7


def test_solutions_on_disk_know_which_rows_are_repeats(tmp_path):
    X, y = unrelated_subjects()
    mot = MultiLevelOT(LinearPredictivity(random_state=0), memory=tmp_path)
    torn = mot.fit(*(side.with_stimuli(None) for side in (X, y))).cost_
    assert mot.fit(X, y).cost_ > torn + 0.2
    unique = [side.with_stimuli(range(180)) for side in (X, y)]
    assert mot.fit(*unique).cost_ == torn


@pytest.mark.parametrize(("n_stimuli", "is_warned"), [(232, True), (240, False)])
def test_a_penalty_for_each_unit_on_few_validation_stimuli_raises_a_warning(
    n_stimuli, is_warned
):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(2, n_stimuli, 4))
    ridge = LinearPredictivity(random_state=0, alpha_per_target=True)
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        ridge.fit(X, y)
    found = [str(warning.message) for warning in raised]
    assert bool(found) == is_warned
    assert all("29 validation stimuli" in message for message in found)

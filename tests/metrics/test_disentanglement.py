"""Disentanglement: hand cases, the papers' formulas spelt out, laws and bad input."""

from copy import deepcopy
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ortho_group
from sklearn import config_context
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Lasso, LassoLars, LinearRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeRegressor

from skmot import LayerStack
from skmot.exceptions import DeadUnitWarning
from skmot.metrics import (
    dci_scores,
    disentanglement_score,
    mutual_information_gap,
    soft_matching_score,
)
from tests import reference
from tests.libraries import HOMES, home_at
from tests.metrics.common import LAWS_OF_PATTERNS, WIDTHS, by_law, populations

FUNCTIONS = [disentanglement_score, dci_scores, mutual_information_gap]
by_function = pytest.mark.parametrize("function", FUNCTIONS)


def grid(*levels):
    """Return all combinations of factors 0, 1, ..., so that they are independent."""
    axes = np.meshgrid(*(np.arange(level) for level in levels), indexing="ij")
    return np.stack([axis.ravel() for axis in axes], axis=1).astype(float)


def one_hot(column):
    return (column[:, np.newaxis] == np.unique(column)).astype(float)


class FixedImportances(LinearRegression):
    """Regression whose importances are given, a column for each factor in turn."""

    columns = None

    def fit(self, X, y):
        super().fit(X, y)
        self.coef_ = next(FixedImportances.columns)
        return self

    def predict(self, X):
        return np.zeros(len(X))


def scores_of(importances, factors=None):
    """Return the DCI scores of a matrix of importances (n_units, n_factors)."""
    n_units, n_factors = np.shape(importances)
    rng = np.random.default_rng(0)
    FixedImportances.columns = iter(np.array(importances, dtype=float).T)
    return dci_scores(
        rng.normal(size=(60, n_factors)) if factors is None else factors,
        rng.normal(size=(60, n_units)),
        regressor=FixedImportances(),
        random_state=0,
    )


# -- soft matching ---------------------------------------------------------------------


@pytest.mark.parametrize("widths", WIDTHS)
def test_it_is_the_soft_matching_score_of_factors_and_units(widths):
    factors, units = populations(widths)
    found = disentanglement_score(factors, units)
    _, cost = reference.transport(reference.correlation_distances(factors, units))
    assert found == pytest.approx(1 - cost, abs=1e-9)
    assert found == pytest.approx(soft_matching_score(factors, units), abs=1e-9)


@pytest.mark.parametrize("widths", WIDTHS)
def test_without_signs_it_matches_magnitudes_of_correlations(widths):
    factors, units = populations(widths)
    magnitudes = np.abs(1 - reference.correlation_distances(factors, units))
    _, cost = reference.transport(1 - magnitudes)
    found = disentanglement_score(factors, units, signed=False)
    assert found == pytest.approx(1 - cost, abs=1e-9)


def test_a_negative_unit_counts_against_its_factor_unless_signs_are_ignored():
    factors = grid(5, 5)
    units = factors * [1.0, -1.0]
    # The correlations are [[1, 0], [0, -1]]: both plans have a mean of 0.
    assert disentanglement_score(factors, units) == pytest.approx(0, abs=1e-12)
    assert disentanglement_score(factors, units, signed=False) == pytest.approx(1)
    assert disentanglement_score(factors, -factors) == pytest.approx(0, abs=1e-12)


def test_three_units_of_two_factors_share_the_mass():
    factors = grid(4, 4)
    # Rows of the plan sum to 1/2, columns to 1/3: 1/3 + 1/2 of the mass can match.
    assert disentanglement_score(factors, factors[:, [0, 0, 1]]) == pytest.approx(5 / 6)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ([0, 1, 2], 1),
        ([2, 0, 1], 1),
        ([0, 0, 1, 1, 2, 2], 1),
        # One unit in three is one of three factors: a third of the mass.
        ([0, 0, 0], 1 / 3),
        ([0], 1 / 3),
        ([0, 1], 2 / 3),
    ],
)
def test_units_that_are_factors_score_the_mass_that_can_match(columns, expected):
    factors = grid(3, 4, 5)
    found = disentanglement_score(factors, factors[:, columns])
    assert found == pytest.approx(expected, abs=1e-12)


def test_units_that_match_no_factor_lower_the_score():
    factors = grid(4, 4, 4, 4)
    found = disentanglement_score(factors[:, :2], factors)
    assert found == pytest.approx(1 / 2, abs=1e-12)


def test_two_equal_factors_each_need_a_unit():
    factors = grid(4, 4)[:, [0, 0, 1]]
    # Unit 0 has a mass of 1/2 for two factors of 1/3 each; unit 1 takes its factor.
    assert disentanglement_score(factors, grid(4, 4)) == pytest.approx(1 / 2 + 1 / 3)
    assert disentanglement_score(factors, factors) == pytest.approx(1)


@pytest.mark.parametrize("signed", [True, False])
def test_a_rotation_lowers_the_score(signed):
    factors = np.random.default_rng(0).normal(size=(400, 6))
    rotated = factors @ ortho_group.rvs(6, random_state=1)
    aligned = disentanglement_score(factors, factors, signed=signed)
    assert aligned == pytest.approx(1)
    assert disentanglement_score(factors, rotated, signed=signed) < 0.85


@pytest.mark.parametrize("categorical", [[1], [False, True], np.array([1])])
def test_a_categorical_factor_is_one_column_a_category(categorical):
    factors = grid(3, 4)
    factors[:, 1] = np.array([7.0, -2.0, 40.0, 3.0])[factors[:, 1].astype(int)]
    columns = np.column_stack([factors[:, 0], one_hot(factors[:, 1])])
    units = np.random.default_rng(0).normal(size=(12, 5))
    found = disentanglement_score(factors, units, categorical=categorical)
    assert found == pytest.approx(disentanglement_score(columns, units), abs=1e-12)
    # The columns themselves are the best representation.
    found = disentanglement_score(factors, columns, categorical=categorical)
    assert found == pytest.approx(1)
    assert disentanglement_score(factors, columns) < 0.9


def test_two_categories_are_one_column():
    factors = grid(2, 5)
    units = np.random.default_rng(0).normal(size=(10, 3))
    assert disentanglement_score(
        factors, units, categorical=[0]
    ) == disentanglement_score(factors, units)


# -- DCI -------------------------------------------------------------------------------


def test_dci_of_a_matrix_of_importances_by_hand():
    scores = scores_of([[3, 1], [0, 2], [0, 2]])
    # Unit 0: shares 3/4 and 1/4, entropy to the base 2; the others have one factor.
    of_unit_0 = 1 + 3 / 4 * np.log2(3 / 4) + 1 / 4 * np.log2(1 / 4)
    assert scores.unit_disentanglement == pytest.approx([of_unit_0, 1, 1])
    assert scores.unit_importances == pytest.approx([4 / 8, 2 / 8, 2 / 8])
    assert scores.disentanglement == pytest.approx(of_unit_0 / 2 + 1 / 2)
    # Factor 1: shares 1/5, 2/5, 2/5, entropy to the base 3.
    shares = np.array([1, 2, 2]) / 5
    of_factor_1 = 1 + np.sum(shares * np.log(shares)) / np.log(3)
    assert scores.factor_completeness == pytest.approx([1, of_factor_1])
    assert scores.completeness == pytest.approx((1 + of_factor_1) / 2)
    assert scores.importances.tolist() == [[3, 1], [0, 2], [0, 2]]


@pytest.mark.parametrize(
    ("importances", "disentanglement", "completeness"),
    [
        (np.eye(4), 1, 1),
        (np.ones((4, 4)), 0, 0),
        # Two units a factor: each unit is disentangled, each factor is half complete.
        (np.repeat(np.eye(2), 2, axis=0), 1, 1 / 2),
        # Two factors a unit.
        (np.repeat(np.eye(2), 2, axis=1), 1 / 2, 1),
        # One factor, or one unit: an entropy to the base 1 counts as 0.
        ([[1], [3]], 1, 1 + (np.log2(1 / 4) + 3 * np.log2(3 / 4)) / 4),
        ([[1, 3]], 1 + (np.log2(1 / 4) + 3 * np.log2(3 / 4)) / 4, 1),
        ([[2]], 1, 1),
        # A factor that no unit is important for, and a unit without importance.
        ([[1, 0], [0, 0]], 1, 1 / 2),
        (np.zeros((2, 2)), 0, 0),
    ],
)
def test_dci_of_clear_cases(importances, disentanglement, completeness):
    scores = scores_of(importances)
    assert scores.disentanglement == pytest.approx(disentanglement, abs=1e-12)
    assert scores.completeness == pytest.approx(completeness, abs=1e-12)


def test_a_unit_without_importance_has_no_disentanglement():
    scores = scores_of([[1, 0], [0, 0], [0, 1]])
    assert scores.unit_disentanglement == pytest.approx([1, np.nan, 1], nan_ok=True)


def test_the_error_of_the_lasso_is_that_of_scikit_learn_on_held_out_stimuli():
    rng = np.random.default_rng(0)
    units = rng.normal(3, 2, size=(200, 4))
    factors = units @ rng.normal(size=(4, 2)) + rng.normal(size=(200, 2))
    scores = dci_scores(factors, units, test_size=0.3, random_state=5)
    test = np.random.RandomState(5).permutation(200)[:60]
    train = np.setdiff1d(np.arange(200), test)

    def standardized(side):
        return (side - side[train].mean(axis=0)) / side[train].std(axis=0)

    X, Z = standardized(units), standardized(factors)
    for j in range(2):
        lasso = Lasso(alpha=0.02).fit(X[train], Z[train, j])
        residuals = Z[test, j] - lasso.predict(X[test])
        error = np.sqrt(np.mean(residuals**2)) / np.std(Z[test, j])
        assert scores.factor_errors[j] == pytest.approx(error, rel=1e-6)
        assert scores.importances[:, j] == pytest.approx(np.abs(lasso.coef_), abs=1e-5)
    assert scores.error == pytest.approx(scores.factor_errors.mean())
    assert scores.informativeness == pytest.approx(1 - scores.error)


def test_the_lasso_converges_for_nearly_equal_units():
    rng = np.random.default_rng(0)
    units = rng.normal(size=(60, 1)) + 0.01 * rng.normal(size=(60, 30))
    factors = units[:, :3].sum(axis=1, keepdims=True) + 0.3 * rng.normal(size=(60, 1))
    # scikit-learn warns of a fit that has not converged.
    scores = dci_scores(factors, units, test_size=0.2, random_state=0)
    test = np.random.RandomState(0).permutation(60)[:12]
    train = np.setdiff1d(np.arange(60), test)
    X, z = (
        (side - side[train].mean(axis=0)) / side[train].std(axis=0)
        for side in (units, factors)
    )
    # Least angle regression needs no iterations.
    lasso = LassoLars(alpha=0.02).fit(X[train], z[train, 0])
    residuals = z[test, 0] - lasso.predict(X[test])
    error = np.sqrt(np.mean(residuals**2)) / np.std(z[test, 0])
    assert scores.error == pytest.approx(error, rel=0.01)


@pytest.mark.parametrize(("seed", "depth"), [(0, 2), (6, 4), (2, 12)])
def test_the_depth_of_the_forest_is_the_best_one_of_the_published_code(seed, depth):
    rng = np.random.default_rng(seed)
    units = rng.uniform(-1, 1, size=(120, 1))
    factors = np.abs(units) + (0.2 + 0.1 * seed) * rng.normal(size=(120, 1))
    found = dci_scores(
        factors, units, regressor="random_forest", test_size=0.2, random_state=seed
    )
    random = np.random.RandomState(seed)
    test, validation, rest = np.split(random.permutation(120), [24, 36])
    fitted = np.concatenate([rest, validation])
    X, z = (
        (side - side[fitted].mean(axis=0)) / side[fitted].std(axis=0)
        for side in (units, factors)
    )

    def error_of(depth, fitted, scored):
        forest = RandomForestRegressor(
            10, max_depth=depth, random_state=deepcopy(random)
        )
        residuals = z[scored, 0] - forest.fit(X[fitted], z[fitted, 0]).predict(
            X[scored]
        )
        return np.sqrt(np.mean(residuals**2)) / np.std(z[scored, 0])

    # The depths of the published code.
    assert depth == min(
        (2, 4, 6, 8, 10, 12), key=lambda depth: error_of(depth, rest, validation)
    )
    assert found.error == pytest.approx(error_of(depth, fitted, test), abs=1e-9)


@pytest.mark.parametrize("regressor", ["lasso", "random_forest"])
def test_dci_of_axis_aligned_rotated_and_unrelated_units(regressor):
    rng = np.random.default_rng(0)
    factors = rng.uniform(size=(600, 3))
    settings = {"regressor": regressor, "random_state": 0}
    aligned = dci_scores(factors, 1 - factors[:, ::-1], **settings)
    assert aligned.disentanglement > 0.95
    assert aligned.completeness > 0.95
    assert aligned.informativeness > 0.9
    rotation = np.linalg.qr(np.array([[1.0, 1, 1], [1, -1, 1], [1, 1, -2]]))[0]
    rotated = dci_scores(factors, factors @ rotation, **settings)
    assert rotated.disentanglement < 0.7
    unrelated = dci_scores(factors, rng.normal(size=(600, 3)), **settings)
    assert unrelated.informativeness < 0.1


def test_the_forest_sees_a_relation_that_no_line_describes():
    units = np.random.default_rng(0).uniform(-1, 1, size=(600, 2))
    factors = np.abs(units)
    linear = dci_scores(factors, units, random_state=0)
    forest = dci_scores(factors, units, regressor="random_forest", random_state=0)
    assert linear.informativeness < 0.1
    assert forest.informativeness > 0.8
    assert forest.disentanglement > 0.9
    assert disentanglement_score(factors, units, signed=False) < 0.1


def test_one_hot_columns_of_a_categorical_factor_are_predicted_together():
    factors = np.tile(grid(4, 3), (20, 1))
    units = np.column_stack([one_hot(factors[:, 0]), factors[:, 1]])
    settings = {"regressor": LinearRegression(), "random_state": 0}
    scores = dci_scores(factors, units, categorical=[0], **settings)
    assert scores.importances.shape == (5, 2)
    assert scores.factor_errors == pytest.approx([0, 0], abs=1e-9)
    assert scores.importances[4, 0] == pytest.approx(0, abs=1e-9)
    # As numbers, the four categories are one column of the same five units.
    assert dci_scores(factors, units, **settings).importances.shape == (5, 2)


def test_errors_of_a_categorical_factor_are_relative_to_the_spread_of_all_columns():
    rng = np.random.default_rng(0)
    factors = rng.integers(4, size=(300, 1))
    units = one_hot(factors[:, 0]) + rng.normal(size=(300, 4))
    found = dci_scores(
        factors,
        units,
        categorical=[0],
        regressor=LinearRegression(),
        test_size=0.5,
        random_state=3,
    ).error
    test = np.random.RandomState(3).permutation(300)[:150]
    train = np.setdiff1d(np.arange(300), test)
    columns = one_hot(factors[:, 0])
    columns = columns / columns[train].std(axis=0)
    model = LinearRegression().fit(units[train], columns[train])
    residuals = columns[test] - model.predict(units[test])
    spread = columns[test] - columns[test].mean(axis=0)
    assert found == pytest.approx(np.linalg.norm(residuals) / np.linalg.norm(spread))


def test_dci_repeats_with_the_same_seed():
    factors, units = populations((3, 5), n_stimuli=100)
    settings = {"regressor": "random_forest", "random_state": 7}
    first, second = (dci_scores(factors, units, **settings) for _ in range(2))
    assert first.error == second.error
    np.testing.assert_array_equal(first.importances, second.importances)
    other = dci_scores(factors, units, regressor="random_forest", random_state=8)
    assert other.error != first.error


def test_any_regressor_with_importances_can_be_used():
    factors, units = populations((3, 5), n_stimuli=100)
    tree = DecisionTreeRegressor(max_depth=3, random_state=0)
    scores = dci_scores(factors, units, regressor=tree, random_state=0)
    assert scores.importances.sum(axis=0) == pytest.approx([1, 1, 1])
    assert not hasattr(tree, "tree_")
    with pytest.raises(TypeError, match=r"KNeighborsRegressor has neither"):
        dci_scores(factors, units, regressor=KNeighborsRegressor())


def test_repeats_of_a_stimulus_are_not_split():
    # Every stimulus is shown six times, and a tree learns single stimuli by heart.
    rng = np.random.default_rng(0)
    factors, units = (np.repeat(rng.normal(size=(40, 2)), 6, axis=0) for _ in range(2))
    labelled = LayerStack([units], stimuli=np.repeat(np.arange(40), 6))
    tree = DecisionTreeRegressor(random_state=0)
    torn, kept = (
        dci_scores(factors, side, regressor=tree, test_size=0.4, random_state=0)
        for side in (units, labelled)
    )
    assert torn.error < 0.5
    assert kept.error > 1


def test_a_factor_that_is_constant_in_a_part_is_named():
    factors = pd.DataFrame({"size": np.arange(40.0), "rare": np.r_[1.0, np.zeros(39)]})
    units = np.random.default_rng(0).normal(size=(40, 3))
    message = r"'rare' of factors is constant in .* `test_size`"
    with pytest.raises(ValueError, match=message):
        dci_scores(factors, units, random_state=1)


# -- mutual information gap ------------------------------------------------------------


def slow_gap(factors, units):
    """Return the gap of each factor for discrete columns, from counts."""

    def entropy(*columns):
        counts = {}
        for row in zip(*columns, strict=True):
            counts[row] = counts.get(row, 0) + 1
        shares = np.array(list(counts.values())) / len(columns[0])
        return -np.sum(shares * np.log(shares))

    gaps = []
    for v in factors.T:
        informations = sorted(entropy(z) + entropy(v) - entropy(z, v) for z in units.T)
        gaps.append((informations[-1] - informations[-2]) / entropy(v))
    return gaps


def test_the_gap_is_that_of_entropies_from_counts():
    rng = np.random.default_rng(0)
    factors = rng.integers(5, size=(200, 3))
    units = np.column_stack([factors + rng.integers(3, size=(200, 3)), factors[:, 0]])
    result = mutual_information_gap(factors, units)
    assert result.factor_gaps == pytest.approx(slow_gap(factors, units), abs=1e-12)
    assert result.gap == pytest.approx(np.mean(result.factor_gaps))


def test_the_gap_by_hand():
    factors = grid(2, 2)
    # Factor 0: unit 0 knows all, one bit, and unit 1 half of it, because it is factor 0
    # if factor 1 is 0, and 2 otherwise. Factor 1: unit 1 knows all, unit 0 nothing.
    second = np.where(factors[:, 1] == 0, factors[:, 0], 2)
    result = mutual_information_gap(factors, np.column_stack([factors[:, 0], second]))
    assert result.factor_gaps == pytest.approx([1 / 2, 1])
    assert result.gap == pytest.approx(3 / 4)
    assert result.best_units.tolist() == [0, 1]
    bit = np.log(2)
    assert result.information == pytest.approx(bit * np.array([[1, 0], [0.5, 1]]))


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ([0, 1, 2], 1),
        # A second unit that knows as much leaves no gap.
        ([0, 1, 2, 2], 2 / 3),
        ([0, 0, 1, 1, 2, 2], 0),
        # A single unit: nobody is second.
        ([0], 1 / 3),
    ],
)
def test_the_gap_of_units_that_are_factors(columns, expected):
    factors = grid(3, 4, 5)
    units = -2.0 * factors[:, columns] + 1
    found = mutual_information_gap(factors, units).gap
    assert found == pytest.approx(expected, abs=1e-12)


def test_continuous_columns_are_put_into_bins_of_equal_width():
    rng = np.random.default_rng(0)
    factors, units = rng.normal(size=(2, 500, 3)) + rng.normal(size=(500, 3))
    bins = [
        np.column_stack(
            [np.searchsorted(np.linspace(c.min(), c.max(), 8)[1:-1], c) for c in side.T]
        )
        for side in (factors, units)
    ]
    found = mutual_information_gap(factors, units, n_bins=7).factor_gaps
    assert found == pytest.approx(slow_gap(*bins), abs=1e-12)


def test_bins_of_equal_width_do_not_depend_on_the_scale():
    rng = np.random.default_rng(0)
    units = rng.exponential(size=(200, 2))
    # The largest value overflows if it is divided by the second smallest one.
    units[:2] = [[0.0, 1e-320], [1e-320, 0.0]]
    factors = units + rng.exponential(size=(200, 2))
    expected = mutual_information_gap(factors, 1 + units, n_bins=7).factor_gaps
    for scale in (1.0, 1e-300, 1e307):
        found = mutual_information_gap(factors, scale * units, n_bins=7).factor_gaps
        assert found == pytest.approx(expected, abs=1e-12)


def test_categories_are_not_put_into_bins():
    rng = np.random.default_rng(0)
    factors = rng.permutation(np.repeat(np.arange(30), 10))[:, np.newaxis]
    units = np.column_stack([factors % 5, rng.integers(3, size=300)])
    found = mutual_information_gap(factors, units, categorical=[0]).gap
    assert found == pytest.approx(slow_gap(factors, units)[0], abs=1e-12)
    # Bins of neighbouring numbers keep less of what the unit knows.
    assert mutual_information_gap(factors, units, n_bins=5).gap < found


def test_monotone_transformations_of_few_values_do_not_matter():
    factors = grid(3, 4)
    units = np.exp(5 * factors[:, ::-1])
    assert mutual_information_gap(factors, units).gap == pytest.approx(1)
    assert mutual_information_gap(factors, units).best_units.tolist() == [1, 0]


# -- all of them -----------------------------------------------------------------------


def first_number(function):
    """Return a function with the first number of its result, for the laws."""

    def score(factors, units):
        if function is dci_scores:
            return dci_scores(factors, units, random_state=0).disentanglement
        result = function(factors, units)
        return getattr(result, "gap", result)

    return score


@by_law(*LAWS_OF_PATTERNS)
@by_function
def test_laws(function, law):
    score = first_number(function)

    def renamed(X, Y):
        # The laws know the arguments as X and Y.
        try:
            return score(X, Y)
        except ValueError as error:
            message = str(error).replace("in representation", "in Y")
            raise ValueError(message) from error

    law(renamed)


@by_function
def test_constant_factors_and_units_are_left_out(function):
    factors, units = populations((3, 4), n_stimuli=60)
    score = first_number(function)
    expected = score(factors, units)
    factors = np.insert(factors, 1, 5.0, axis=1)
    units = np.insert(units, [0, 2], 0.1, axis=1)
    with pytest.warns(
        DeadUnitWarning, match=r"1 unit\(s\) of factors and 2 unit\(s\) of rep"
    ) as caught:
        assert score(factors, units) == pytest.approx(expected, abs=1e-9)
    assert caught[0].filename == __file__


def test_values_of_constant_columns_are_missing():
    factors, units = populations((3, 4), n_stimuli=60)
    factors, units = np.insert(factors, 1, 5, axis=1), np.insert(units, 2, 5, axis=1)
    with pytest.warns(DeadUnitWarning):
        scores = dci_scores(factors, units, random_state=0)
    with pytest.warns(DeadUnitWarning):
        result = mutual_information_gap(factors, units)
    for matrix in (scores.importances, result.information):
        assert np.isnan(matrix[2]).all()
        assert np.isnan(matrix[:, 1]).all()
        assert np.isfinite(np.delete(np.delete(matrix, 2, 0), 1, 1)).all()
    assert np.isnan(scores.factor_errors).tolist() == [False, True, False, False]
    assert result.best_units[1] == -1
    # Indices are those of the columns given.
    live = np.delete(units, 2, axis=1)
    found = mutual_information_gap(np.delete(factors, 1, axis=1), live).best_units
    assert np.delete(result.best_units, 1).tolist() == [[0, 1, 3, 4][k] for k in found]


@by_function
def test_the_order_of_units_and_of_factors_does_not_matter(function):
    factors, units = populations((3, 6), n_stimuli=80)
    score = first_number(function)
    # The lasso stops at a tolerance, which depends on the order of the units.
    tolerance = 1e-3 if function is dci_scores else 1e-12
    expected = pytest.approx(score(factors, units), abs=tolerance)
    assert score(factors, units[:, ::-1]) == expected
    assert score(factors[:, ::-1], units) == expected


@by_function
@pytest.mark.parametrize("n_stimuli", [8, 20])
def test_more_units_than_stimuli_and_more_factors_than_units(function, n_stimuli):
    wide, narrow = populations((30, 2), n_stimuli=n_stimuli)
    score = first_number(function)
    for factors, units in ((narrow, wide), (wide, narrow), (wide, wide)):
        for dtype in (np.float32, np.float64):
            found = score(factors.astype(dtype), units.astype(dtype))
            assert 0 <= found <= 1 + 1e-12


@pytest.mark.parametrize("function", [disentanglement_score, mutual_information_gap])
@pytest.mark.parametrize("n_stimuli", [2, 3])
def test_two_stimuli_and_one_unit_are_enough(function, n_stimuli):
    factor = np.arange(n_stimuli)[:, np.newaxis]
    assert first_number(function)(factor, factor) == pytest.approx(1)


def test_too_few_stimuli_for_the_parts_of_dci_are_an_error():
    with pytest.raises(ValueError, match="n_samples=5 stimuli cannot be split"):
        dci_scores(np.arange(5.0)[:, np.newaxis], np.arange(5.0)[:, np.newaxis])


@by_function
def test_nearly_equal_units_change_little(function):
    rng = np.random.default_rng(0)
    factors = rng.uniform(size=(400, 3))
    score = first_number(function)
    exact = score(factors, np.repeat(factors, 2, axis=1))
    near = np.repeat(factors, 2, axis=1) + 1e-9 * rng.normal(size=(400, 6))
    assert score(factors, near) == pytest.approx(exact, abs=0.02)


@by_function
@pytest.mark.parametrize(
    ("factors", "units", "message"),
    [
        (np.zeros((20, 2)), np.eye(20), "Every unit is constant .* in factors"),
        (np.eye(20), np.full((20, 2), np.nan), r"NaN.*of representation"),
        (np.eye(20), np.eye(21), "factors has 20 stimuli and representation has 21"),
        (np.arange(20.0), np.eye(20), "Expected 2D array"),
        (np.eye(20)[:, :0], np.eye(20), "0 feature.* factors"),
        (np.full((20, 1), "red"), np.eye(20), "not compatible with arrays of"),
    ],
)
def test_bad_input_is_named(function, factors, units, message):
    with pytest.raises(ValueError, match=f"(?i){message}"):
        function(factors, units)


@by_function
@pytest.mark.parametrize(
    "categorical", [[3], [-1], [0.5], [True, False], ["size"], 1, [[0]]]
)
def test_columns_that_do_not_exist_are_not_categorical(function, categorical):
    factors, units = populations((3, 4), n_stimuli=40)
    with pytest.raises(ValueError, match=r"`categorical` must be indices from 0 to 2"):
        function(factors, units, categorical=categorical)


@by_function
def test_no_categorical_column_is_as_none(function):
    factors, units = populations((3, 4), n_stimuli=40)
    settings = {"random_state": 0} if function is dci_scores else {}
    found = [
        function(factors, units, categorical=categorical, **settings)
        for categorical in (None, [], [False, False, False])
    ]
    assert str(found[0]) == str(found[1]) == str(found[2])


@by_function
def test_other_stimuli_in_a_row_are_an_error(function):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 3)))
    frame.index = [f"image {row}" for row in range(20)]
    with pytest.raises(ValueError, match=r"'image 0' .* 'image 19'"):
        function(frame, frame[::-1])


def test_tables_have_the_names_of_the_columns():
    factors, units = populations((2, 3), n_stimuli=60)
    factors = pd.DataFrame(factors, columns=["shape", "colour"])
    scores = dci_scores(factors, units, random_state=0)
    assert scores.to_frame("factors")["factor"].tolist() == ["shape", "colour"]
    assert scores.to_frame("units")["unit"].tolist() == [0, 1, 2]
    assert scores.to_frame()["disentanglement"].tolist() == [scores.disentanglement]
    units = pd.DataFrame(units, columns=["a", "b", "c"])
    result = mutual_information_gap(factors, units)
    table = result.to_frame("factors")
    assert table["best_unit"].tolist() == [list("abc")[k] for k in result.best_units]
    assert "as a share of the entropy" in str(result)


def test_a_table_says_where_no_unit_is_best():
    factors, units = populations((2, 3), n_stimuli=60)
    factors[:, 0] = 1
    with pytest.warns(DeadUnitWarning):
        result = mutual_information_gap(factors, units)
    assert result.to_frame("factors")["best_unit"].isna().tolist() == [True, False]


@by_function
@pytest.mark.parametrize("library", sorted(HOMES))
def test_arrays_of_any_library_are_taken(function, library):
    home = home_at(library)
    factors, units = populations((3, 4), n_stimuli=60)
    score = first_number(function)
    expected = pytest.approx(score(factors, units), abs=1e-9)
    with config_context(array_api_dispatch=True):
        assert score(home.asarray(factors), home.asarray(units)) == expected


@by_function
def test_input_is_not_changed(function):
    factors, units = populations((3, 4), n_stimuli=100)
    factors[:, 0] = factors[:, 0] > 0
    copies = factors.copy(), units.copy()
    settings = {"random_state": 0} if function is dci_scores else {}
    function(factors, units, categorical=[0], **settings)
    np.testing.assert_array_equal(factors, copies[0])
    np.testing.assert_array_equal(units, copies[1])


def test_all_measures_agree_on_all_pairs_of_clear_factors():
    factors = np.tile(grid(3, 3, 3), (4, 1))
    for columns in combinations(range(3), 2):
        chosen = factors[:, columns]
        assert disentanglement_score(chosen, chosen) == pytest.approx(1)
        assert mutual_information_gap(chosen, chosen).gap == pytest.approx(1)
        scores = dci_scores(chosen, chosen, random_state=0)
        assert scores.disentanglement == pytest.approx(1, abs=0.05)

import pickle
import warnings

import numpy as np
import pytest
from scipy.sparse import issparse
from scipy.stats import norm
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skmot import (
    RSA,
    FunctionComparison,
    LayerStack,
    MultiLevelOT,
    OneToOneMatching,
    SoftMatching,
)
from skmot.exceptions import DeadUnitWarning
from skmot.model_selection import coupling_stability
from skmot.preprocessing import (
    ReliabilitySelector,
    TransformedTargetLayers,
    UnitSubsampler,
)
from tests import reference
from tests.networks import random_networks
from tests.tables import assert_survives_files


def mean_difference(X, y):
    return float(np.mean(X - y))


def one_minus_correlation(X, y):
    return 1 - reference.pearson(X[:, 0], y[:, 0])


def pairs_of_numbers(n_stimuli, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_stimuli, 1)), rng.normal(size=(n_stimuli, 1))


class Recorder(BaseEstimator):
    """Estimator whose cost is its number of rows, and which notes the first row."""

    def fit(self, X, y):
        numbers = np.asarray(X)[:, 0]
        self.cost_ = float(len(numbers))
        self.coupling_ = np.array([[float(0 in numbers), float(0 not in numbers)]])
        return self


# -- the interval of the cost --------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.3, 0.632, 0.9])
def test_the_standard_error_of_a_mean_is_the_usual_one(fraction):
    X, y = pairs_of_numbers(40)
    result = coupling_stability(
        FunctionComparison(mean_difference),
        X,
        y,
        1000,
        fraction=fraction,
        random_state=0,
    )
    expected = np.std(X - y, ddof=1) / np.sqrt(40)
    # The deviation of 1,000 subsamples has a relative error of 1 / sqrt(2,000).
    assert result.standard_error == pytest.approx(expected, rel=0.1)


def test_the_standard_error_of_few_subsamples_is_that_of_the_formula():
    X, y = pairs_of_numbers(20)
    result = coupling_stability(
        FunctionComparison(mean_difference), X, y, 3, fraction=0.4, random_state=0
    )
    assert len(result.costs) == 3
    expected = np.std(result.costs, ddof=1) * np.sqrt(8 / 12)
    assert result.standard_error == pytest.approx(expected, rel=1e-12)


def test_of_groups_the_standard_error_is_that_of_the_mean_over_groups():
    X, y = pairs_of_numbers(30)
    groups = np.repeat(np.arange(30), 4)
    X, y = X[groups], y[groups]
    expected = np.std(X[::4] - y[::4], ddof=1) / np.sqrt(30)
    estimator = FunctionComparison(mean_difference)
    given = coupling_stability(estimator, X, y, 500, groups=groups, random_state=0)
    assert given.standard_error == pytest.approx(expected, rel=0.15)
    assert (given.n_stimuli, given.n_subsample) == (30, 19)
    labelled = LayerStack([X], stimuli=groups), LayerStack([y], stimuli=groups)
    from_labels = coupling_stability(estimator, *labelled, 500, random_state=0)
    np.testing.assert_allclose(from_labels.costs, given.costs)


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_the_interval_is_normal_around_the_cost(level):
    X, y = pairs_of_numbers(20)
    estimator = FunctionComparison(mean_difference)
    result = coupling_stability(
        estimator, X, y, 20, confidence_level=level, random_state=0
    )
    assert result.cost == pytest.approx(mean_difference(X, y))
    half_width = norm.ppf(0.5 + level / 2) * result.standard_error
    assert result.interval == pytest.approx(
        (result.cost - half_width, result.cost + half_width)
    )


def test_the_interval_covers_the_expected_cost():
    # Of two normal variables with correlation .6 over n stimuli, the mean correlation
    # is .6 (1 - (1 - .36) / 2n) up to terms in 1/n^2.
    n, rho, covered = 50, 0.6, []
    expected = 1 - rho * (1 - (1 - rho**2) / (2 * n))
    for seed in range(80):
        X, noise = pairs_of_numbers(n, seed)
        y = rho * X + np.sqrt(1 - rho**2) * noise
        estimator = FunctionComparison(one_minus_correlation)
        low, high = coupling_stability(estimator, X, y, 40, random_state=seed).interval
        covered.append(low <= expected <= high)
    # Of 80 intervals that cover with probability .93, fewer than 66 do in 1e-3.
    assert sum(covered) >= 66


def test_quantiles_of_resampled_costs_do_not_contain_the_cost_of_noise():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(2, 60, 20))
    result = coupling_stability(SoftMatching(), X, y, 40, random_state=0)
    assert result.costs.max() < result.cost
    assert result.interval[0] < result.cost < result.interval[1]


# -- recurrence of the coupling ------------------------------------------------------


def test_subsamples_are_drawn_without_replacement_and_alike():
    X = np.arange(50.0)[:, np.newaxis]
    result = coupling_stability(Recorder(), X, X, 400, random_state=0)
    assert (result.costs == 32).all()
    assert result.n_subsample == 32
    # Row 0 is in a subsample with probability .64, its share has a deviation of .024.
    np.testing.assert_allclose(result.frequencies, [[0.64, 0.36]], atol=0.08)
    np.testing.assert_allclose(result.mean_coupling, result.frequencies)
    assert result.recurrence == result.frequencies[0, 0]


def test_a_clear_order_of_layers_always_recurs():
    source, _ = random_networks((6, 7, 8))
    target = [source[layer][:, ::-1] for layer in (2, 0, 1)]
    result = coupling_stability(MultiLevelOT(), source, target, 8, random_state=0)
    expected = np.eye(3)[[1, 2, 0]]
    np.testing.assert_array_equal(result.frequencies, expected)
    np.testing.assert_allclose(result.mean_coupling, expected / 3)
    assert result.recurrence == 1


def test_entries_of_unequal_layer_numbers_are_counted_where_there_is_mass():
    source, target = random_networks()
    result = coupling_stability(MultiLevelOT(), source, target, 10, random_state=0)
    assert result.frequencies.shape == result.coupling.shape == (3, 4)
    # A plan of 3 x 4 layers has at most 3 + 4 - 1 entries, and at least 4.
    assert 4 <= result.frequencies.sum() <= 6
    np.testing.assert_allclose(result.mean_coupling.sum(axis=0), 1 / 4)
    present = result.coupling > 1e-12
    assert result.recurrence == pytest.approx(result.frequencies[present].mean())


def test_couplings_of_units_stay_sparse():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 6))
    for estimator in (SoftMatching(), OneToOneMatching()):
        result = coupling_stability(estimator, X, X[:, [1, 2, 3, 4, 5, 0]], 5)
        assert issparse(result.coupling)
        assert issparse(result.frequencies)
        found = result.frequencies.toarray()
        np.testing.assert_array_equal(found, np.eye(6)[:, [1, 2, 3, 4, 5, 0]])
        assert result.recurrence == 1


def test_a_cost_without_a_coupling_has_an_interval_only():
    source, target = random_networks()
    result = coupling_stability(RSA(), source[0], target[0], 5, random_state=0)
    assert result.coupling is result.frequencies is result.mean_coupling is None
    assert np.isnan(result.recurrence)
    assert "coupling" not in str(result)
    assert result.interval[0] < result.cost < result.interval[1]


def test_pipelines_searches_and_transformed_targets_are_unwrapped():
    source, target = map(LayerStack, random_networks())
    mot = MultiLevelOT()
    plain = coupling_stability(mot, source, target, 4, random_state=0)
    everything = UnitSubsampler(1.0)
    for wrapped in (
        make_pipeline(everything, mot),
        TransformedTargetLayers(mot, everything),
        GridSearchCV(mot, {"strategy": ["transport"]}, cv=2),
    ):
        result = coupling_stability(wrapped, source, target, 4, random_state=0)
        np.testing.assert_allclose(result.costs, plain.costs)
        np.testing.assert_allclose(result.frequencies, plain.frequencies)


# -- what cannot be resampled --------------------------------------------------------


def test_units_that_each_fit_selects_anew_are_an_error():
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(12, 30))
    trials = np.concatenate([signal, signal]) + 2 * rng.normal(size=(24, 30))
    X = LayerStack.from_trials([trials], np.tile(np.arange(12), 2))
    pipeline = make_pipeline(ReliabilitySelector(0.5, random_state=0), SoftMatching())
    with pytest.raises(ValueError, match="each fit selects units or layers anew"):
        coupling_stability(pipeline, X, X, 10, random_state=0)


@pytest.mark.parametrize(("n", "fraction"), [(2, 0.632), (10, 0.1), (5, 0.95)])
def test_a_subsample_of_too_few_or_all_stimuli_is_an_error(n, fraction):
    X, y = pairs_of_numbers(n)
    with pytest.raises(ValueError, match="at least two of them and not all"):
        coupling_stability(FunctionComparison(mean_difference), X, y, fraction=fraction)


def test_few_groups_are_an_error_that_names_them():
    X, y = pairs_of_numbers(20)
    with pytest.raises(ValueError, match="of 2 groups is 1"):
        coupling_stability(
            FunctionComparison(mean_difference), X, y, groups=np.arange(20) // 10
        )


def test_an_estimator_without_cost_is_an_error():
    X, y = pairs_of_numbers(20)
    with pytest.raises(TypeError, match="LinearRegression learned no `cost_`"):
        coupling_stability(LinearRegression(), X, y)


def test_settings_are_validated():
    X, y = pairs_of_numbers(20)
    for settings in ({"n_resamples": 1}, {"fraction": 1.0}, {"confidence_level": 0}):
        with pytest.raises(ValueError, match=f"'{next(iter(settings))}' parameter"):
            coupling_stability(SoftMatching(), X, y, **settings)


def test_sides_of_unequal_length_are_an_error():
    X, y = pairs_of_numbers(20)
    with pytest.raises(ValueError, match="20"):
        coupling_stability(SoftMatching(), X, y[:19])


# -- habits --------------------------------------------------------------------------


def test_a_seed_and_any_number_of_jobs_give_the_same_result():
    source, target = random_networks()
    first, again, parallel, other = (
        coupling_stability(
            MultiLevelOT(), source, target, 4, random_state=seed, n_jobs=n_jobs
        )
        for seed, n_jobs in ((0, None), (0, None), (0, 2), (1, None))
    )
    np.testing.assert_array_equal(first.costs, again.costs)
    np.testing.assert_allclose(first.costs, parallel.costs, rtol=1e-12)
    assert not np.array_equal(first.costs, other.costs)


def test_warnings_of_the_fits_are_raised_once_in_the_users_file():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(2, 30, 4))
    X[:, 1] = 0.1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        coupling_stability(SoftMatching(), X, y, 5)
    (warning,) = (each for each in caught if each.category is DeadUnitWarning)
    assert "6 time(s) in all" in str(warning.message)
    assert warning.filename == __file__


def test_the_result_prints_what_it_shows_and_does_not_show():
    source, target = random_networks()
    result = coupling_stability(MultiLevelOT(), source, target, 4, random_state=0)
    for text in (str(result), str(pickle.loads(pickle.dumps(result)))):
        assert f"{result.cost:.3g}" in text
        assert "expected in-sample cost of 60 stimuli" in text
        assert f"recur in {result.recurrence:.0%}" in text
        assert "not the probability that they are right" in text


def test_input_is_not_changed():
    source, target = random_networks()
    copies = [layer.copy() for layer in source]
    coupling_stability(MultiLevelOT(), source, target, 3)
    for layer, copy in zip(source, copies, strict=True):
        np.testing.assert_array_equal(layer, copy)


def test_tables_have_one_row_for_each_result_pair_of_layers_or_subsample():
    X, y = random_networks()
    X = LayerStack(dict(zip(["V1", "V2", "V4"], X, strict=True)))
    result = coupling_stability(MultiLevelOT(), X, y, n_resamples=5, random_state=0)
    (row,) = result.to_frame().to_dict("records")
    assert (row["low"], row["high"]) == result.interval
    assert (row["cost"], row["recurrence"]) == (result.cost, result.recurrence)
    entries = result.to_frame("coupling")
    assert entries["source_layer"].tolist() == np.repeat(["V1", "V2", "V4"], 4).tolist()
    assert entries["target_layer"].tolist() == [*range(4)] * 3
    for column, name in (
        ("coupling", "coupling"),
        ("mean_coupling", "mean_coupling"),
        ("frequency", "frequencies"),
    ):
        np.testing.assert_array_equal(entries[column], result[name].ravel())
    costs = result.to_frame("subsamples")["cost"]
    np.testing.assert_array_equal(costs, result.costs)
    for table in (None, "coupling", "subsamples"):
        assert_survives_files(result.to_frame(table))


def test_the_table_of_a_coupling_of_units_has_the_entries_that_ever_occur():
    X, y = random_networks()
    X = LayerStack(dict(zip(["V1", "V2", "V4"], X, strict=True)))
    y = LayerStack([y[0]], unit_names=[list("abcdef")])
    result = coupling_stability(SoftMatching(), X, y, n_resamples=4, random_state=0)
    entries = result.to_frame("coupling")
    dense = result.coupling.toarray(), result.mean_coupling.toarray()
    rows, columns = np.nonzero(sum(dense))
    assert len(entries) == len(rows) < dense[0].size
    layers = np.repeat(["V1", "V2", "V4"], (7, 12, 5))
    units = [*range(7), *range(12), *range(5)]
    assert entries["source_layer"].tolist() == layers[rows].tolist()
    assert entries["source_unit"].tolist() == [units[row] for row in rows]
    assert set(entries["target_layer"]) == {0}
    assert entries["target_unit"].tolist() == ["abcdef"[column] for column in columns]
    np.testing.assert_array_equal(entries["coupling"], dense[0][rows, columns])
    np.testing.assert_array_equal(entries["mean_coupling"], dense[1][rows, columns])
    assert (entries["coupling"] == 0).any()
    assert_survives_files(entries)


def test_without_a_coupling_there_is_no_table_of_it():
    X, y = pairs_of_numbers(20)
    result = coupling_stability(
        FunctionComparison(mean_difference), X, y, n_resamples=3, random_state=0
    )
    assert "recurrence" in result.to_frame()
    with pytest.raises(ValueError, match="got 'coupling'"):
        result.to_frame("coupling")


def test_units_selected_before_the_fit_keep_their_numbers():
    X, y = (LayerStack(side) for side in random_networks())
    selector = UnitSubsampler(fraction=0.5, random_state=0)
    pipeline = make_pipeline(selector, SoftMatching())
    entries = coupling_stability(
        pipeline, X, y, n_resamples=3, random_state=0
    ).to_frame("coupling")
    chosen = selector.fit(X).units_
    for layer, units in enumerate(chosen):
        named = entries["source_unit"][entries["source_layer"] == layer]
        assert set(named) <= set(units.tolist())

"""SoftMatching, with all of the mass; what it does with less is in test_partial.

One test interrupts the solver inside `skmot.transport._tuning`: how many pivots it may
make is no parameter of an estimator, and none needs as many as there are.
"""

import pickle
import tracemalloc
import warnings
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from skmot import LayerStack, SoftMatching
from skmot.exceptions import DeadUnitWarning
from skmot.metrics import (
    reconstruction_correlation,
    soft_matching_distance,
    soft_matching_score,
)
from skmot.transport import solve_partial_transport, solve_transport
from tests import reference
from tests.networks import random_networks, rows

DISTANCES = {
    "correlation": reference.correlation_distances,
    "cosine": reference.cosine_distances,
    "sqeuclidean": reference.squared_distances,
}
SIZES = [(9, 9), (7, 12), (12, 7), (5, 1), (1, 5), (16, 4)]


def populations(n, k, n_stimuli=40, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_stimuli, n)) * (1 + rng.random(n)) + rng.normal(size=n)
    Y = X @ rng.normal(size=(n, k)) + rng.normal(size=(n_stimuli, k)) + 3
    return X, Y


@pytest.mark.parametrize("metric", DISTANCES)
@pytest.mark.parametrize(("n", "k"), SIZES)
def test_plan_and_cost_are_those_of_the_definition(metric, n, k):
    X, Y = populations(n, k)
    matching = SoftMatching(metric=metric).fit(X, Y)
    distances = DISTANCES[metric](X, Y)
    plan, cost = reference.transport(distances)
    spread = np.ptp(distances)
    assert matching.cost_ == pytest.approx(cost, abs=1e-9 * spread)
    np.testing.assert_allclose(matching.coupling_.toarray(), plan, atol=1e-12)
    assert matching.coupling_.format == "csr"
    assert matching.coupling_.nnz <= n + k - 1
    np.testing.assert_allclose(matching.coupling_.sum(axis=1), 1 / n, atol=1e-12)
    np.testing.assert_allclose(matching.coupling_.sum(axis=0), 1 / k, atol=1e-12)
    assert matching.duality_gap_ <= 1e-9 * spread


@pytest.mark.parametrize("metric", DISTANCES)
def test_potentials_prove_the_cost(metric):
    X, Y = populations(8, 13)
    matching = SoftMatching(metric=metric).fit(X, Y)
    u, v = matching.potentials_
    distances = DISTANCES[metric](X, Y)
    assert np.all(u[:, np.newaxis] + v <= distances + 1e-9)
    assert u.mean() + v.mean() == pytest.approx(matching.cost_, abs=1e-9)


@pytest.mark.parametrize("metric", DISTANCES)
@pytest.mark.parametrize(("n", "k"), [(60, 60), (90, 40)])
def test_float32_costs_are_near_those_of_float64(metric, n, k):
    X, Y = populations(n, k, n_stimuli=200)
    single = SoftMatching(metric=metric).fit(X.astype(np.float32), Y.astype(np.float32))
    _, cost = reference.transport(DISTANCES[metric](X, Y))
    assert single.cost_ == pytest.approx(cost, abs=1e-5)
    assert single.predict(X.astype(np.float32)).dtype == np.float32


def test_costs_are_those_of_the_functions():
    X, Y = populations(8, 13)
    assert SoftMatching().fit(X, Y).cost_ == pytest.approx(
        1 - soft_matching_score(X, Y), abs=1e-12
    )
    assert SoftMatching("cosine").fit(X, Y).cost_ == pytest.approx(
        1 - soft_matching_score(X, Y, center=False), abs=1e-12
    )
    assert SoftMatching("sqeuclidean").fit(X, Y).cost_ == pytest.approx(
        soft_matching_distance(X, Y) ** 2, abs=1e-12
    )


@pytest.mark.parametrize(("n", "k"), SIZES)
def test_predictions_carry_standardised_units_along_the_plan(n, k):
    X, Y = populations(n, k)
    matching = SoftMatching().fit(X[:30], Y[:30])
    slow = reference.SlowMultiLevelOT([X[:30]], [Y[:30]])
    np.testing.assert_allclose(
        matching.predict(X[30:]), slow.predict([X[30:]])[0], atol=1e-9
    )
    np.testing.assert_allclose(
        matching.inverse_predict(Y[30:]), slow.inverse_predict([Y[30:]])[0], atol=1e-9
    )


def test_raw_predictions_read_as_the_papers_formula():
    X, Y = populations(6, 10)
    matching = SoftMatching(reconstruct="raw").fit(X, Y)
    plan, _ = reference.transport(reference.correlation_distances(X, Y))
    np.testing.assert_allclose(matching.predict(X), X @ (10 * plan), atol=1e-9)
    np.testing.assert_allclose(matching.inverse_predict(Y), Y @ (6 * plan).T, atol=1e-9)


def test_scores_are_mean_correlations_of_held_out_units():
    X, Y = populations(8, 13, n_stimuli=60)
    matching = SoftMatching().fit(X[:40], Y[:40])
    predicted, recorded = matching.predict(X[40:]), Y[40:]
    by_hand = [
        reference.pearson(a, b) for a, b in zip(recorded.T, predicted.T, strict=True)
    ]
    np.testing.assert_allclose(matching.unit_scores(X[40:], Y[40:]), by_hand)
    assert matching.score(X[40:], Y[40:]) == pytest.approx(np.mean(by_hand))
    np.testing.assert_allclose(
        matching.layer_scores(X[40:], Y[40:]), [np.mean(by_hand)]
    )
    assert matching.inverse_score(X[40:], Y[40:]) == pytest.approx(
        reconstruction_correlation(X[40:], matching.inverse_predict(Y[40:]))
    )
    np.testing.assert_allclose(
        matching.unit_scores(X[40:], Y[40:], direction="source").mean(),
        matching.inverse_score(X[40:], Y[40:]),
    )


def test_matching_score_weighs_held_out_correlations_by_the_training_plan():
    X, Y = populations(8, 13, n_stimuli=60)
    matching = SoftMatching().fit(X[:40], Y[:40])
    correlations = 1 - reference.correlation_distances(X[40:], Y[40:])
    plan, _ = reference.transport(reference.correlation_distances(X[:40], Y[:40]))
    assert matching.matching_score(X[40:], Y[40:]) == pytest.approx(
        np.sum(plan * correlations)
    )
    # In sample it is s_T itself.
    assert matching.matching_score(X[:40], Y[:40]) == pytest.approx(1 - matching.cost_)


def test_matching_score_leaves_out_targets_constant_over_the_rows_given():
    X, Y = populations(4, 4, n_stimuli=60)
    matching = SoftMatching().fit(X, Y)
    held_out_X, held_out_Y = X[40:].copy(), Y[40:].copy()
    held_out_Y[:, 0] = 2.0
    plan = matching.coupling_.toarray()
    correlations = 1 - reference.correlation_distances(X[40:], Y[40:])
    kept = plan[:, 1:]
    assert matching.matching_score(held_out_X, held_out_Y) == pytest.approx(
        np.sum(kept * correlations[:, 1:]) / kept.sum()
    )
    # A source unit that is constant counts as 0, it is not left out.
    held_out_X[:, 1] = -1.0
    correlations[1] = 0.0
    assert matching.matching_score(held_out_X, Y[40:]) == pytest.approx(
        np.sum(plan * correlations)
    )


@pytest.mark.parametrize("metric", DISTANCES)
def test_both_directions_are_one_plan(metric):
    X, Y = populations(8, 13)
    forth, back = (SoftMatching(metric).fit(*pair) for pair in ((X, Y), (Y, X)))
    np.testing.assert_allclose(
        forth.coupling_.toarray().T, back.coupling_.toarray(), atol=1e-12
    )
    assert forth.cost_ == pytest.approx(back.cost_, abs=1e-12)
    np.testing.assert_allclose(forth.predict(X), back.inverse_predict(X), atol=1e-9)


@pytest.mark.parametrize("metric", DISTANCES)
def test_permuting_units_permutes_the_plan_and_nothing_else(metric):
    X, Y = populations(8, 13, n_stimuli=60)
    rng = np.random.default_rng(1)
    p, q = rng.permutation(8), rng.permutation(13)
    plain = SoftMatching(metric).fit(X[:40], Y[:40])
    permuted = SoftMatching(metric).fit(X[:40][:, p], Y[:40][:, q])
    np.testing.assert_allclose(
        permuted.coupling_.toarray(), plain.coupling_.toarray()[np.ix_(p, q)]
    )
    assert permuted.cost_ == pytest.approx(plain.cost_, abs=1e-12)
    for method in ("score", "inverse_score", "matching_score"):
        assert getattr(permuted, method)(X[40:][:, p], Y[40:][:, q]) == pytest.approx(
            getattr(plain, method)(X[40:], Y[40:]), abs=1e-12
        )


def test_rescaling_and_shifting_units_changes_no_correlation_cost():
    X, Y = populations(8, 13)
    rng = np.random.default_rng(1)
    moved = X * np.exp(3 * rng.normal(size=8)) + 50 * rng.normal(size=8)
    assert SoftMatching().fit(moved, Y).cost_ == pytest.approx(
        SoftMatching().fit(X, Y).cost_, abs=1e-10
    )


def test_units_and_predictions_come_back_in_the_target_s_own_units():
    X, _ = populations(6, 6)
    Y = X[:, ::-1] * 1e3 - 7
    matching = SoftMatching().fit(X, Y)
    assert matching.cost_ == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(matching.predict(X), Y, rtol=1e-9)
    np.testing.assert_allclose(matching.inverse_predict(Y), X, rtol=1e-9, atol=1e-12)


def test_a_stack_is_one_population():
    source, target = random_networks()
    matching = SoftMatching().fit(source, target)
    X, Y = np.hstack(source), np.hstack(target)
    flat = SoftMatching().fit(X, Y)
    assert matching.cost_ == pytest.approx(flat.cost_, abs=1e-12)
    np.testing.assert_allclose(
        matching.coupling_.toarray(), flat.coupling_.toarray(), atol=1e-12
    )
    np.testing.assert_allclose(
        np.hstack(matching.predict(source)), flat.predict(X), atol=1e-9
    )
    np.testing.assert_allclose(
        np.hstack(matching.inverse_predict(target)), flat.inverse_predict(Y), atol=1e-9
    )
    # Scored per layer, as the levels above are: not the mean over all units.
    scores = flat.unit_scores(X, Y)
    layers = np.split(scores, np.cumsum([layer.shape[1] for layer in target])[:-1])
    assert matching.score(source, target) == pytest.approx(
        np.mean([layer.mean() for layer in layers])
    )


def test_each_layer_of_a_population_has_one_scale_of_its_own():
    source, target = random_networks()
    X = np.hstack([layer / np.sqrt(layer.var(axis=0).mean()) for layer in source])
    Y = np.hstack([layer / np.sqrt(layer.var(axis=0).mean()) for layer in target])
    X, Y = X - X.mean(axis=0), Y - Y.mean(axis=0)
    distances = np.array([[np.mean((x - y) ** 2) for y in Y.T] for x in X.T])
    assert SoftMatching("sqeuclidean").fit(source, target).cost_ == pytest.approx(
        reference.transport(distances)[1], abs=1e-9
    )


@pytest.mark.parametrize("reconstruct", ["standardized", "raw"])
def test_dead_units_take_no_part_and_are_predicted_as_their_constant(reconstruct):
    X, Y = populations(6, 9)
    dead_X = np.insert(X, 2, 0.1, axis=1).astype(np.float32)
    dead_Y = np.insert(Y, [0, 9], [-4.0, 7.0], axis=1).astype(np.float32)
    plain = SoftMatching(reconstruct=reconstruct).fit(
        X.astype(np.float32), Y.astype(np.float32)
    )
    expected = r"1 unit\(s\) of X and 2 unit\(s\) of y"
    with pytest.warns(DeadUnitWarning, match=expected) as caught:
        matching = SoftMatching(reconstruct=reconstruct).fit(dead_X, dead_Y)
    assert len(caught) == 1
    np.testing.assert_array_equal(matching.dead_source_units_, [2])
    np.testing.assert_array_equal(matching.dead_target_units_, [0, 10])
    assert matching.cost_ == plain.cost_
    coupling = matching.coupling_.toarray()
    assert coupling.shape == (7, 11)
    assert not coupling[2].any()
    assert not coupling[:, [0, 10]].any()
    np.testing.assert_array_equal(
        np.delete(np.delete(coupling, 2, axis=0), [0, 10], axis=1),
        plain.coupling_.toarray(),
    )
    predicted = matching.predict(dead_X)
    np.testing.assert_array_equal(predicted[:, [0, 10]], [[-4.0, 7.0]] * len(X))
    np.testing.assert_allclose(
        np.delete(predicted, [0, 10], axis=1),
        plain.predict(X.astype(np.float32)),
        rtol=1e-5,
        atol=1e-5,
    )
    assert np.isnan(matching.potentials_[0][2])
    assert np.isfinite(np.delete(matching.potentials_[0], 2)).all()


def test_a_unit_predicted_as_constant_counts_as_zero_and_a_constant_one_not_at_all():
    X, Y = populations(3, 3, n_stimuli=40)
    train, test = slice(0, 30), slice(30, 40)
    Y[train, 0] = 5.0  # dead in training, alive in the test
    with pytest.warns(DeadUnitWarning):
        matching = SoftMatching().fit(X[train], Y[train])
    scores = matching.unit_scores(X[test], Y[test])
    assert scores[0] == 0.0
    assert matching.score(X[test], Y[test]) == pytest.approx(scores.mean())
    Y[test, 1] = 1.0  # alive in training, constant in the test
    scores = matching.unit_scores(X[test], Y[test])
    assert np.isnan(scores[1])
    assert matching.score(X[test], Y[test]) == pytest.approx(scores[[0, 2]].mean())
    Y[test] = 1.0
    with pytest.raises(ValueError, match="Every unit of y is constant"):
        matching.score(X[test], Y[test])


def test_a_layer_of_dead_units_is_an_error():
    X, Y = populations(3, 3)
    with pytest.raises(ValueError, match=r"Every unit is constant .* y"):
        SoftMatching().fit(X, np.ones_like(Y))
    with pytest.raises(ValueError, match=r"y, layer 1"):
        SoftMatching().fit([X], [Y, np.ones_like(Y)])


def test_predictions_come_as_the_kind_fitted_to():
    source, target = random_networks()
    X = {f"s{i}": layer for i, layer in enumerate(source)}
    y = LayerStack(target, names="abcd", stimuli=np.arange(60) + 100)
    matching = SoftMatching().fit(X, y)
    predicted = matching.predict(X)
    assert isinstance(predicted, LayerStack)
    assert predicted.names == tuple("abcd")
    back = matching.inverse_predict(y[10:20])
    assert list(back) == list(X)
    assert back["s1"].shape == (10, 12)
    listed = SoftMatching().fit(source, target).predict(source)
    assert isinstance(listed, list)
    vector = SoftMatching().fit(source[0], target[0][:, 0]).predict(source[0])
    assert vector.shape == (60,)


def test_predictions_of_labelled_stimuli_are_labelled():
    source, target = random_networks()
    labels = [f"image {i}" for i in range(60)]
    X, y = LayerStack(source, stimuli=labels), LayerStack(target, stimuli=labels)
    predicted = SoftMatching().fit(X, y).predict(X[[3, 1]])
    assert predicted.stimuli.tolist() == ["image 3", "image 1"]


def test_two_level_frames_come_back_as_frames():
    pd = pytest.importorskip("pandas")
    source, target = random_networks()
    y = pd.concat({f"t{i}": pd.DataFrame(t) for i, t in enumerate(target)}, axis=1)
    y.index = [f"image {i}" for i in range(60)]
    predicted = SoftMatching().fit(source, y).predict(rows(source, slice(0, 5)))
    assert isinstance(predicted, pd.DataFrame)
    pd.testing.assert_index_equal(predicted.columns, y.columns)


def test_arrays_of_features_keep_their_names():
    pd = pytest.importorskip("pandas")
    X, Y = populations(3, 3)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    matching = SoftMatching().fit(frame, Y)
    assert matching.feature_names_in_.tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature names should match"):
        matching.predict(frame[["b", "a", "c"]])


def test_weights_are_refused():
    X, Y = populations(3, 3)
    with pytest.raises(ValueError, match="sample_weight is not supported"):
        SoftMatching().fit(X, Y).score(X, Y, sample_weight=np.ones(len(X)))


def test_unknown_directions_are_refused():
    X, Y = populations(3, 3)
    with pytest.raises(ValueError, match="'both'"):
        SoftMatching().fit(X, Y).unit_scores(X, Y, direction="both")


@pytest.mark.parametrize(
    "method",
    ["score", "inverse_score", "matching_score", "unit_scores", "layer_scores"],
)
def test_unfitted_use_is_an_error(method):
    X, Y = populations(3, 3)
    with pytest.raises(NotFittedError):
        getattr(SoftMatching(), method)(X, Y)


def test_fitting_changes_nothing_it_was_given():
    X, Y = populations(6, 9)
    kept = X.copy(), Y.copy()
    X.flags.writeable = Y.flags.writeable = False
    matching = SoftMatching().fit(X, Y)
    matching.predict(X)
    matching.score(X, Y)
    np.testing.assert_array_equal(X, kept[0])
    np.testing.assert_array_equal(Y, kept[1])


def test_predictions_are_as_precise_as_the_target():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5)).astype(np.float32)
    # A float32 holds neither the offset nor the scale.
    for y in (X.astype(np.float64) + 1e9, X.astype(np.float64) * 1e-50):
        matching = SoftMatching().fit(X, y)
        assert matching.predict(X).dtype == np.float64
        assert matching.score(X, y) == pytest.approx(1, abs=1e-6)
        assert matching.inverse_score(X, y) == pytest.approx(1, abs=1e-6)


def test_a_warning_points_to_the_line_that_fitted():
    X, Y = populations(3, 3)
    X[:, 0] = 1.0
    with pytest.warns(DeadUnitWarning) as caught:
        SoftMatching().fit(X, Y)
    with pytest.warns(DeadUnitWarning) as also_caught:
        soft_matching_score(X, Y)
    assert caught[0].filename == also_caught[0].filename == __file__


def test_predicting_does_not_depend_on_the_batch():
    X, Y = populations(6, 9)
    matching = SoftMatching().fit(X, Y)
    together = matching.predict(X[:5])
    one_by_one = np.vstack([matching.predict(X[[i]]) for i in range(5)])
    np.testing.assert_allclose(together, one_by_one, atol=1e-12)


def test_extreme_units_are_matched_rightly():
    X, Y = populations(6, 9)
    scales = np.array([1e30, 1e-30, 1.0, 1e6, 1e-6, 1e15])
    plain, scaled = SoftMatching().fit(X, Y), SoftMatching().fit(X * scales, Y)
    assert scaled.cost_ == pytest.approx(plain.cost_, abs=1e-12)
    np.testing.assert_allclose(scaled.predict(X * scales), plain.predict(X), rtol=1e-9)
    back = scaled.inverse_predict(Y) / scales
    np.testing.assert_allclose(back, plain.inverse_predict(Y), rtol=1e-9, atol=1e-12)


def test_one_scale_of_a_layer_survives_extreme_units():
    X, Y = populations(6, 9)
    plain = SoftMatching("sqeuclidean").fit(X, Y).cost_
    for scale in (1e30, 1e-30):
        assert SoftMatching("sqeuclidean").fit(X * scale, Y).cost_ == pytest.approx(
            plain, abs=1e-9
        )


# POT says so too, in its own words.
@pytest.mark.filterwarnings("ignore:numItermax reached")
@pytest.mark.parametrize("mass", [1.0, 0.5])
def test_a_plan_short_of_its_tolerance_is_never_silent(mass, monkeypatch):
    X, Y = populations(30, 20)
    optimum = SoftMatching(mass=mass).fit(X, Y).cost_
    for solve in (solve_transport, solve_partial_transport):
        monkeypatch.setattr(
            f"skmot.transport._tuning.{solve.__name__}", partial(solve, max_pivots=3)
        )
    with pytest.warns(ConvergenceWarning, match="duality gap is"):
        matching = SoftMatching(mass=mass).fit(X, Y)
    assert optimum < matching.cost_ <= optimum + matching.duality_gap_
    plan = matching.coupling_
    assert plan.sum() == pytest.approx(mass, abs=1e-12)
    # With all of the mass that makes them equal.
    assert plan.sum(axis=1).max() <= 1 / 30 + 1e-12
    assert plan.sum(axis=0).max() <= 1 / 20 + 1e-12


def test_a_fit_warns_of_nothing_else():
    X, Y = populations(6, 9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SoftMatching().fit(X, Y).score(X, Y)


def test_a_fit_survives_pickling_and_cloning():
    X, Y = populations(6, 9)
    matching = SoftMatching("cosine", reconstruct="raw").fit(X, Y)
    restored = pickle.loads(pickle.dumps(matching))
    np.testing.assert_array_equal(restored.predict(X), matching.predict(X))
    assert clone(matching).get_params() == matching.get_params()


# -- loud units ------------------------------------------------------------------------


def loud_pair(n, k, n_loud, factor, seed=0):
    """Two populations of which some units are many times as large as the others."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(200, n))
    Y = X[:, np.arange(k) % n] + rng.normal(size=(200, k))
    for side in (X, Y):
        side[:, :n_loud] *= factor
    return X, Y[:, rng.permutation(k)]


def similarity_among_others(plan, X, Y, factor):
    """Sum of the products of matched units that are not loud."""
    X, Y = (side.astype(float) for side in (X, Y))
    X, Y = X - X.mean(axis=0), Y - Y.mean(axis=0)
    quiet = [side.std(axis=0) < factor / 10 for side in (X, Y)]
    products = X[:, quiet[0]].T @ Y[:, quiet[1]]
    return np.sum(plan[np.ix_(*quiet)] * products)


def best_plan(X, Y):
    """Return the plan of an assignment of copies of the units, in whole numbers.

    Products of loud units are 1e16 times the others, so that a solver in float64 does
    not see which of the others are best.
    """
    (n_stimuli, n), k = X.shape, Y.shape[1]
    X, Y = in_whole_numbers(X), in_whole_numbers(Y)
    products = n_stimuli * (X.T @ Y) - np.outer(X.sum(axis=0), Y.sum(axis=0))
    copies = np.lcm(n, k)
    rows, columns = exact_assignment(
        -np.repeat(np.repeat(products, copies // n, axis=0), copies // k, axis=1)
    )
    plan = np.zeros((n, k))
    np.add.at(plan, (rows // (copies // n), columns // (copies // k)), 1 / copies)
    return plan


def in_whole_numbers(side):
    """Return numbers times 2^120 as integers of Python. None of them is rounded."""
    whole = [int(Fraction(float(value)) * 2**120) for value in side.ravel()]
    assert [value / 2**120 for value in whole] == side.ravel().tolist()
    return np.array(whole, dtype=object).reshape(side.shape)


def exact_assignment(costs):
    """Return the cheapest assignment of integers, by shortest augmenting paths."""
    size = len(costs)
    never = 1 + 2 * size * int(np.abs(costs).max())
    rows, columns = np.zeros(size, dtype=object), np.zeros(size, dtype=object)
    row_of = np.full(size, -1)
    for start in range(size):
        distance = np.full(size, never, dtype=object)
        before, seen = np.full(size, -1), np.zeros(size, dtype=bool)
        row, last, length = start, -1, 0
        while True:
            through = length + costs[row] - rows[row] - columns
            shorter = ~seen & (through < distance).astype(bool)
            distance[shorter], before[shorter] = through[shorter], last
            last = min(np.flatnonzero(~seen), key=distance.__getitem__)
            length, seen[last] = distance[last], True
            if row_of[last] < 0:
                break
            row = row_of[last]
        rows[start] += length
        for column in np.flatnonzero(seen):
            slack = length - distance[column]
            columns[column] -= slack
            if row_of[column] >= 0:
                rows[row_of[column]] += slack
        while last >= 0:
            previous = before[last]
            row_of[last] = start if previous < 0 else row_of[previous]
            last = previous
    return row_of, np.arange(size)


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("factor", [1e3, 1e6, 1e8])
@pytest.mark.parametrize(("n", "k", "n_loud"), [(60, 60, 1), (60, 60, 4), (40, 60, 1)])
def test_loud_units_do_not_hide_the_others(n, k, n_loud, factor, dtype):
    X, Y = (side.astype(dtype) for side in loud_pair(n, k, n_loud, factor))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = SoftMatching("sqeuclidean").fit(X, Y).coupling_.toarray()
    if factor > 1e6 and caught:
        # Beyond, the reduced costs of loud units themselves are rounding: it is said.
        assert caught[0].category is ConvergenceWarning
        return
    assert not caught
    best = similarity_among_others(best_plan(X, Y), X, Y, factor)
    assert similarity_among_others(found, X, Y, factor) == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize(("n", "k"), [(250, 250), (240, 180)])
@pytest.mark.parametrize("factors", [[1e6], [1e6, 1e4]])
def test_loud_units_of_populations_that_use_few_arcs_do_not_hide_the_others(
    factors, n, k, dtype
):
    rng = np.random.default_rng(3)
    scales = np.append(factors, np.ones(n - len(factors)))
    X = scales * rng.normal(size=(300, n))
    Y = X[:, :k] + scales[:k] * rng.normal(size=(300, k))
    X, Y = X.astype(dtype), Y[:, rng.permutation(k)].astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = SoftMatching("sqeuclidean").fit(X, Y).coupling_.toarray()
    best = similarity_among_others(best_plan(X, Y), X, Y, 1e3)
    assert similarity_among_others(found, X, Y, 1e3) == pytest.approx(best, rel=1e-6)


def test_loud_units_of_a_partial_matching_are_warned_of():
    X, Y = loud_pair(60, 60, 1, 1e6)
    with pytest.warns(ConvergenceWarning, match="duality gap"):
        SoftMatching("sqeuclidean", mass=0.7).fit(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SoftMatching("sqeuclidean", mass=0.7).fit(*loud_pair(60, 60, 1, 10))


# -- memory ------------------------------------------------------------------------


def test_a_pair_of_wide_layers_needs_little_more_memory_than_its_distances():
    n, k, n_stimuli = 8200, 8210, 30
    rng = np.random.default_rng(21)
    shared = rng.normal(size=(n_stimuli, 12))
    X, y = (
        (shared @ rng.normal(size=(12, n_units)) + rng.normal(size=(30, n_units)))
        for n_units in (n, k)
    )
    X, y = X.astype(np.float32), y.astype(np.float32)
    tracemalloc.start()
    try:
        matching = SoftMatching().fit(X, y)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= 1.3 * np.dtype(np.float32).itemsize * n * k
    # The potentials prove that no plan costs less.
    u, v = matching.potentials_
    some = np.arange(0, n, 40)
    distances = reference.correlation_distances(X[:, some], y)
    assert np.min(distances - u[some, np.newaxis] - v) >= -1e-6
    assert u.mean() + v.mean() == pytest.approx(matching.cost_, rel=0, abs=1e-6)
    np.testing.assert_allclose(matching.coupling_.sum(axis=1), 1 / n, rtol=1e-9)
    np.testing.assert_allclose(matching.coupling_.sum(axis=0), 1 / k, rtol=1e-9)

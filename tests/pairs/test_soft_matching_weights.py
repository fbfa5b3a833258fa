"""Weights of units in SoftMatching, against copies of units and loops over `ot.emd`."""

import pickle

import numpy as np
import ot
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmot import LayerStack, MultiLevelOT, SoftMatching
from skmot.exceptions import DeadUnitWarning
from skmot.metrics import pairwise_costs
from skmot.partial import mass_curve
from skmot.preprocessing import (
    LayerwiseTransformer,
    ReliabilitySelector,
    UnitSubsampler,
)
from tests import reference
from tests.networks import random_networks, rows
from tests.pairs.common import (
    LAWS_OF_MAPS,
    back,
    by_law,
    correlations,
    mean_r,
    populations,
    z,
)

METRICS = ["correlation", "abs_correlation", "cosine", "sqeuclidean"]
TRAIN, TEST = slice(0, 30), slice(30, None)


def weighted_transport(costs, a, b):
    """Return the optimal plan with row sums a and column sums b, by `ot.emd`."""
    scaled = (costs - costs.min()) / max(np.ptp(costs), 1e-300)
    return ot.emd(a / a.sum(), b / b.sum(), scaled, numItermax=10**7)


def deviations(layer):
    return layer.std(axis=0)


def first_two(layer):
    return np.arange(layer.shape[1]) < 2


def two_weights(layer):
    return np.ones(2)


# -- the mathematics -------------------------------------------------------------------


@pytest.mark.parametrize("reconstruct", ["standardized", "raw"])
@pytest.mark.parametrize("mass", [1.0, 0.6])
@pytest.mark.parametrize("metric", METRICS)
def test_a_unit_of_weight_2_counts_like_two_copies(metric, mass, reconstruct):
    X, Y = populations(6, 9)
    rng = np.random.default_rng(2)
    counts = [rng.integers(1, 4, n) for n in (6, 9)]
    copies = [
        np.repeat(side, n, axis=1) for side, n in zip((X, Y), counts, strict=True)
    ]
    matching = SoftMatching(metric, mass, reconstruct)
    plain = clone(matching).fit(*(side[TRAIN] for side in copies))
    matching.set_params(source_weights=counts[0], target_weights=counts[1])
    matching.fit(X[TRAIN], Y[TRAIN])
    assert matching.cost_ == pytest.approx(plain.cost_, abs=1e-12)
    assert matching.held_out_cost(X[TEST], Y[TEST]) == pytest.approx(
        plain.held_out_cost(*(side[TEST] for side in copies)), abs=1e-9
    )
    if metric != "cosine":
        assert matching.matching_score(X[TEST], Y[TEST]) == pytest.approx(
            plain.matching_score(*(side[TEST] for side in copies)), abs=1e-9
        )
    # The copies of a unit may be matched differently. Together they have its plan.
    groups = [np.repeat(np.arange(len(n)), n) for n in counts]
    merged = np.zeros((6, 9))
    np.add.at(merged, np.ix_(*groups), plain.coupling_.toarray())
    np.testing.assert_allclose(matching.coupling_.toarray(), merged, atol=1e-12)
    predicted = plain.predict(copies[0][TEST])
    means = np.column_stack(
        [predicted[:, groups[1] == unit].mean(axis=1) for unit in range(9)]
    )
    np.testing.assert_allclose(matching.predict(X[TEST]), means, atol=1e-9)


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize(("n", "k"), [(7, 7), (5, 9), (1, 4), (4, 1), (150, 190)])
def test_each_unit_is_reconstructed_by_its_column_over_its_own_mass(n, k, dtype):
    X, Y = (side.astype(dtype) for side in populations(n, k))
    rng = np.random.default_rng(n)
    weights = [rng.random(size) + 0.05 for size in (n, k)]
    matching = SoftMatching(source_weights=weights[0], target_weights=weights[1])
    matching.fit(X[TRAIN], Y[TRAIN])
    a, b = (side / side.sum() for side in weights)
    X, Y = X.astype(float), Y.astype(float)
    plan = weighted_transport(1 - correlations(X[TRAIN], Y[TRAIN]), a, b)
    tolerance = 1e-9 if dtype == "f8" else 1e-5
    expected = np.sum(plan * (1 - correlations(X[TRAIN], Y[TRAIN])))
    assert matching.cost_ == pytest.approx(expected, abs=tolerance)
    if dtype == "f4":
        return
    np.testing.assert_allclose(matching.coupling_.toarray(), plan, atol=1e-10)
    np.testing.assert_allclose(matching.masses_[0], a, atol=1e-12)
    np.testing.assert_allclose(matching.masses_[1], b, atol=1e-12)
    to_target, to_source = plan / plan.sum(axis=0), (plan / plan.sum(axis=1)[:, None]).T
    predicted = back(z(X[TEST], X[TRAIN]) @ to_target, Y[TRAIN])
    recovered = back(z(Y[TEST], Y[TRAIN]) @ to_source, X[TRAIN])
    np.testing.assert_allclose(matching.predict(X[TEST]), predicted, atol=1e-7)
    np.testing.assert_allclose(matching.inverse_predict(Y[TEST]), recovered, atol=1e-7)
    r = np.sum(plan * correlations(X[TEST], Y[TEST]))
    assert matching.matching_score(X[TEST], Y[TEST]) == pytest.approx(r)
    assert matching.held_out_cost(X[TEST], Y[TEST]) == pytest.approx(1 - r)
    # Scores are plain means over units: they ask how well each unit is predicted.
    assert matching.score(X[TEST], Y[TEST]) == pytest.approx(mean_r(Y[TEST], predicted))
    assert matching.inverse_score(X[TEST], Y[TEST]) == pytest.approx(
        mean_r(X[TEST], recovered)
    )
    # The certificate, with weighted means.
    u, v = matching.potentials_
    assert np.all(u[:, None] + v <= 1 - correlations(X[TRAIN], Y[TRAIN]) + 1e-9)
    assert a @ u + b @ v == pytest.approx(matching.cost_, abs=1e-9)
    assert matching.duality_gap_ <= 1e-9


@pytest.mark.parametrize("metric", METRICS)
def test_squared_distances_have_a_weighted_scale_and_others_none(metric):
    X, Y = populations(6, 9)
    X[:, 0] *= 30
    weights = np.array([0.1, 0.7, 0.3, 0.25, 1.9, 0.2])
    matching = SoftMatching(metric, source_weights=weights).fit(X, Y)
    scaled = []
    for side, masses in ((X, weights / weights.sum()), (Y, np.full(9, 1 / 9))):
        side = side - side.mean(axis=0) * (metric != "cosine")
        norms = np.linalg.norm(side, axis=0)
        scaled.append(
            side / (np.sqrt(masses @ norms**2) if metric[0] == "s" else norms)
        )
    costs = 1 - scaled[0].T @ scaled[1]
    if metric == "abs_correlation":
        costs = 1 - np.abs(1 - costs)
    if metric == "sqeuclidean":
        costs = np.array(
            [[np.sum((x - y) ** 2) for y in scaled[1].T] for x in scaled[0].T]
        )
    plan = weighted_transport(costs, weights, np.ones(9))
    assert matching.cost_ == pytest.approx(np.sum(plan * costs), abs=1e-9)
    # On the training rows, the cost of the plan is the cost.
    assert matching.held_out_cost(X, Y) == pytest.approx(matching.cost_, abs=1e-9)


@pytest.mark.parametrize("mass", [1.0, 0.6])
@pytest.mark.parametrize("reconstruct", ["standardized", "raw"])
@pytest.mark.parametrize("metric", METRICS)
def test_units_without_weight_are_left_out_and_count_as_0(metric, reconstruct, mass):
    X, Y = populations(7, 10)
    weights = [np.where(np.arange(7) == 2, 0, 1.5), np.arange(10) % 3 * 1.0]
    kept = [side > 0 for side in weights]
    matching = SoftMatching(metric, mass, reconstruct, *weights).fit(X[TRAIN], Y[TRAIN])
    without = SoftMatching(
        metric, mass, reconstruct, target_weights=weights[1][kept[1]]
    ).fit(X[TRAIN][:, kept[0]], Y[TRAIN][:, kept[1]])
    assert matching.cost_ == pytest.approx(without.cost_, abs=1e-12)
    plan = matching.coupling_.toarray()
    np.testing.assert_allclose(
        plan[np.ix_(*kept)], without.coupling_.toarray(), atol=1e-12
    )
    assert plan.sum() == pytest.approx(mass)
    assert plan[np.ix_(*kept)].sum() == pytest.approx(mass)
    predicted = matching.predict(X[TEST])
    np.testing.assert_allclose(
        predicted[:, kept[1]], without.predict(X[TEST][:, kept[0]]), atol=1e-9
    )
    np.testing.assert_allclose(
        predicted[:, ~kept[1]],
        np.tile(Y[TRAIN].mean(axis=0)[~kept[1]], (10, 1)),
        rtol=1e-12,
    )
    scores = matching.unit_scores(X[TEST], Y[TEST])
    np.testing.assert_array_equal(scores[~kept[1]], 0)
    assert matching.score(X[TEST], Y[TEST]) == pytest.approx(scores.mean())
    assert matching.held_out_cost(X[TEST], Y[TEST]) == pytest.approx(
        without.held_out_cost(X[TEST][:, kept[0]], Y[TEST][:, kept[1]]), abs=1e-9
    )
    for side in (0, 1):
        assert np.isnan(matching.potentials_[side][~kept[side]]).all()
        assert np.isfinite(matching.potentials_[side][kept[side]]).all()
        np.testing.assert_array_equal(matching.matched_[side][~kept[side]], 0)
        np.testing.assert_array_equal(matching.masses_[side] > 0, kept[side])


def test_weights_of_dead_units_are_ignored():
    X, Y = populations(5, 9)
    weights = np.array([0.2, 1, 3, 0.5, 2])
    plain = SoftMatching(source_weights=weights).fit(X, Y)
    dead = np.insert(X, 2, 7.0, axis=1)
    for ignored in (0.0, 4.0, np.nan, -1.0):
        matching = SoftMatching(source_weights=np.insert(weights, 2, ignored))
        with pytest.warns(DeadUnitWarning):
            matching.fit(dead, Y)
        assert matching.cost_ == plain.cost_
        assert matching.masses_[0][2] == 0
        np.testing.assert_allclose(matching.predict(dead), plain.predict(X), atol=1e-9)
        np.testing.assert_array_equal(matching.inverse_predict(Y)[:, 2], 7.0)


@pytest.mark.parametrize("mass", [1.0, 0.7])
def test_equal_weights_change_nothing(mass):
    X, Y = populations(6, 9)
    plain = SoftMatching(mass=mass).fit(X, Y)
    weighted = SoftMatching(mass=mass, source_weights=np.full(6, 0.3)).fit(X, Y)
    assert weighted.cost_ == plain.cost_
    np.testing.assert_array_equal(
        weighted.coupling_.toarray(), plain.coupling_.toarray()
    )
    np.testing.assert_allclose(weighted.predict(X), plain.predict(X), rtol=1e-12)
    assert not hasattr(plain, "masses_")


def test_constant_held_out_targets_are_left_out_by_their_mass():
    X, Y = populations(4, 4, n_stimuli=60)
    weights = np.array([5.0, 1, 2, 3])
    matching = SoftMatching(target_weights=weights).fit(X, Y)
    Y = Y.copy()
    r = correlations(X[40:], Y[40:])
    Y[40:, 0] = 2.0
    plan = matching.coupling_.toarray()[:, 1:]
    assert matching.matching_score(X[40:], Y[40:]) == pytest.approx(
        np.sum(plan * r[:, 1:]) / plan.sum()
    )


@by_law(*LAWS_OF_MAPS)
def test_laws_of_all_pairs(law):
    law(SoftMatching(source_weights="variance"))


# -- where weights come from -----------------------------------------------------------


@pytest.mark.parametrize("factor", [1e-300, 1e-30, 1.0, 1e30, 1e300])
def test_variances_are_those_of_numpy(factor):
    X, Y = populations(6, 9)
    wanted = X.var(axis=0) / X.var(axis=0).sum()
    matching = SoftMatching(source_weights="variance").fit(X * factor, Y)
    np.testing.assert_allclose(matching.masses_[0], wanted, rtol=1e-9)


def test_functions_get_every_layer_of_a_population():
    source, target = random_networks()
    matching = SoftMatching(source_weights=deviations).fit(source, target)
    wanted = np.concatenate([deviations(layer) for layer in source])
    np.testing.assert_allclose(matching.masses_[0], wanted / wanted.sum(), rtol=1e-9)
    flat = SoftMatching(source_weights=wanted).fit(np.hstack(source), np.hstack(target))
    assert matching.cost_ == pytest.approx(flat.cost_, abs=1e-12)


def test_functions_cannot_change_the_data():
    def change(layer):
        layer[:] = 0

    X, Y = populations(3, 3)
    with pytest.raises(ValueError, match="read-only"):
        SoftMatching(source_weights=change).fit(X, Y)


def trials(n_units=8, n_stimuli=60, n_repeats=4, seed=0):
    """Return trials of units of very different noise, and their stimuli."""
    rng = np.random.default_rng(seed)
    stimuli = np.repeat(np.arange(n_stimuli), n_repeats)
    signal = rng.normal(size=(n_stimuli, n_units))[stimuli]
    noise = rng.normal(size=signal.shape) * np.geomspace(0.3, 6, n_units)
    return signal + noise, stimuli


def test_reliabilities_are_those_of_the_selector():
    data, stimuli = trials()
    X = LayerStack.from_trials([data], stimuli)
    _, Y = populations(3, 5, n_stimuli=60)
    matching = SoftMatching(source_weights="reliability").fit(X, [Y])
    selector = ReliabilitySelector(threshold=-1, random_state=0).fit(X)
    wanted = selector.reliabilities_[0]
    np.testing.assert_allclose(matching.masses_[0], wanted / wanted.sum(), atol=1e-9)
    # Without noise in the weights: the same fit twice.
    again = SoftMatching(source_weights="reliability").fit(X, [Y])
    np.testing.assert_array_equal(again.masses_[0], matching.masses_[0])


def test_reliabilities_are_those_of_the_training_trials():
    data, stimuli = trials()
    X = LayerStack.from_trials([data], stimuli)
    Y = LayerStack([populations(3, 5, n_stimuli=60)[1]])
    matching = SoftMatching(source_weights="reliability")
    scores = cross_validate(matching, X, Y, cv=KFold(3), return_estimator=True)
    for fitted, (train, _) in zip(
        scores["estimator"], KFold(3).split(np.arange(60)), strict=True
    ):
        kept = np.isin(stimuli, train)
        alone = LayerStack.from_trials([data[kept]], stimuli[kept])
        np.testing.assert_array_equal(
            fitted.masses_[0], clone(matching).fit(alone, Y[train]).masses_[0]
        )


# -- bad input -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            [1, 2],
            r"`source_weights` must have one weight for each of the 3 unit\(s\) of X",
        ),
        ([[1, 2, 3]], r"got shape \(1, 3\)"),
        ([1, -2, 3], r"1 other weight\(s\) for X, the first is -2.0 for unit 1"),
        ([1, 2, np.nan], "the first is nan for unit 2"),
        ([np.inf, 2, 3], "the first is inf for unit 0"),
        ([0, 0, 0], "All weights of `source_weights` are 0 for X"),
        (["a", "b", "c"], "`source_weights` must be numbers"),
        (
            two_weights,
            "The result of `source_weights`, two_weights, must have one weight",
        ),
        ("reliability", "needs the single trials of X, which has none.*from_trials"),
        ("mean", "The 'source_weights' parameter of SoftMatching must be"),
    ],
)
def test_bad_weights_are_refused(weights, message):
    X, Y = populations(3, 4)
    with pytest.raises(ValueError, match=message):
        SoftMatching(source_weights=weights).fit(X, Y)


def test_errors_name_the_target_and_the_layer():
    source, target = random_networks()
    with pytest.raises(
        ValueError, match=r"`target_weights`, two_weights, .* of y, layer 0"
    ):
        MultiLevelOT(SoftMatching(target_weights=two_weights)).fit(source, target)
    with pytest.raises(ValueError, match="needs the single trials of y, layer 0"):
        MultiLevelOT(SoftMatching(target_weights="reliability")).fit(source, target)


def test_lost_trials_are_told_apart_from_trials_that_never_were():
    data, stimuli = trials()
    X = LayerStack.from_trials([data], stimuli)
    changed = LayerwiseTransformer(StandardScaler()).fit_transform(X)
    _, Y = populations(3, 5, n_stimuli=60)
    with pytest.raises(ValueError, match="A transformation has replaced the trials"):
        SoftMatching(source_weights="reliability").fit(changed, [Y])


@pytest.mark.parametrize("n_levels", [1, 2])
def test_arrays_are_for_a_single_pair(n_levels):
    source, target = random_networks()
    estimator = MultiLevelOT(SoftMatching(target_weights=[1.0, 2.0]))
    if n_levels == 2:
        estimator, source, target = MultiLevelOT(estimator), [source], [target]
    with pytest.raises(ValueError, match=r"`target_weights` is an array, .* one pair"):
        estimator.fit(source, target)


# -- above and beside ------------------------------------------------------------------


def test_layers_are_reconstructed_by_columns_over_their_own_masses():
    source, target = random_networks()
    train, test = slice(0, 40), slice(40, None)
    inner = SoftMatching(source_weights="variance", target_weights=deviations)
    mot = MultiLevelOT(inner).fit(rows(source, train), rows(target, train))
    shape = len(source), len(target)
    costs, plans = np.empty(shape), np.empty(shape, dtype=object)
    for row, column in np.ndindex(shape):
        X, Y = source[row][train], target[column][train]
        distances = 1 - correlations(X, Y)
        plan = weighted_transport(distances, X.var(axis=0), Y.std(axis=0))
        plans[row, column], costs[row, column] = plan, np.sum(plan * distances)
    np.testing.assert_allclose(mot.layer_costs_, costs, atol=1e-9)
    coupling, cost = reference.transport(costs)
    assert mot.cost_ == pytest.approx(cost)
    predicted = mot.predict(rows(source, test))
    recovered = mot.inverse_predict(rows(target, test))
    held_out = 0.0
    for m, layer in enumerate(target):
        total = 0.0
        for s, given in enumerate(source):
            weights = plans[s, m] / plans[s, m].sum(axis=0)
            total = (
                total
                + shape[1] * coupling[s, m] * z(given[test], given[train]) @ weights
            )
            held_out += coupling[s, m] * np.sum(
                plans[s, m] * correlations(given[test], layer[test])
            )
        np.testing.assert_allclose(predicted[m], back(total, layer[train]), atol=1e-7)
    for s, layer in enumerate(source):
        total = 0.0
        for m, given in enumerate(target):
            weights = (plans[s, m] / plans[s, m].sum(axis=1)[:, None]).T
            total = (
                total
                + shape[0] * coupling[s, m] * z(given[test], given[train]) @ weights
            )
        np.testing.assert_allclose(recovered[s], back(total, layer[train]), atol=1e-7)
    assert mot.held_out_cost(rows(source, test), rows(target, test)) == pytest.approx(
        1 - held_out
    )


def test_sides_have_their_own_weights_at_every_level():
    source, target = random_networks()
    inner = SoftMatching(source_weights=first_two)
    flat = MultiLevelOT(inner, cost_cv=3).fit(source, target)
    nested = MultiLevelOT(clone(flat)).fit([source], [target])
    for fitted in (flat, nested.inner_[0][0]):
        for pair in fitted.inner_[1]:
            assert np.count_nonzero(pair.masses_[0]) == 2
            assert pair.masses_[1].min() > 0
    np.testing.assert_allclose(nested.layer_costs_, [[flat.cost_]])
    assert nested.score([source], [target]) == pytest.approx(flat.score(source, target))


def test_reliabilities_follow_trials_into_levels_jobs_and_memory(tmp_path):
    data, stimuli = trials()
    other, _ = trials(seed=1)
    _, Y = populations(3, 5, n_stimuli=60)

    def network(first):
        return LayerStack.from_trials([first, other], stimuli)

    mot = MultiLevelOT(SoftMatching(source_weights="reliability"), cost_cv=3)
    plain = clone(mot).fit(network(data), [Y, Y])
    nested = MultiLevelOT(clone(mot)).fit(LayerStack([network(data)]), [[Y, Y]])
    np.testing.assert_array_equal(nested.inner_[0][0].layer_costs_, plain.layer_costs_)
    for settings in ({"n_jobs": 2}, {"memory": tmp_path}, {"memory": tmp_path}):
        found = clone(mot).set_params(**settings).fit(network(data), [Y, Y])
        np.testing.assert_array_equal(found.layer_costs_, plain.layer_costs_)
    # Trials with the same averages and other reliabilities are other data.
    averages = network(data).layers[0]
    noise = data - averages[stimuli]
    less = np.where(np.arange(8) < 4, 0.01, 1.0) * noise + averages[stimuli]
    changed = network(less)
    np.testing.assert_allclose(changed.layers[0], averages, atol=1e-12)
    expected = clone(mot).fit(changed, [Y, Y]).layer_costs_
    found = clone(mot).set_params(memory=tmp_path).fit(changed, [Y, Y]).layer_costs_
    np.testing.assert_array_equal(found, expected)
    assert np.abs(found[0] - plain.layer_costs_[0]).max() > 1e-4


def test_networks_that_are_source_and_target_have_both_weights():
    networks = [rows(random_networks(seed=seed)[0], slice(None)) for seed in range(3)]
    matching = SoftMatching(source_weights="variance", target_weights=deviations)
    result = pairwise_costs(networks, matching)
    for first, second in [(0, 1), (1, 0), (2, 1)]:
        expected = clone(matching).fit(networks[first], networks[second]).cost_
        assert result.costs[first, second] == pytest.approx(expected, abs=1e-12)


def test_mass_curves_are_tested_and_not_judged():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(2, 100, 10))
    Y = X[:, ::-1] + 0.3 * Y
    curve = mass_curve(
        X,
        Y,
        [0.3, 0.6, 1],
        estimator=SoftMatching(source_weights=np.arange(1, 11)),
        cv=3,
        n_permutations=99,
        random_state=0,
    )
    assert curve.verdict == "some"
    assert (
        "`source_weights`, for which bounds are not known to hold" in curve.conclusion
    )
    np.testing.assert_allclose(
        curve.costs[-1], SoftMatching(source_weights=np.arange(1, 11)).fit(X, Y).cost_
    )


def test_weights_are_searched_in_pipelines_of_trials():
    data, stimuli = trials()
    X, Y = (LayerStack.from_trials([data + shift], stimuli) for shift in (0, 1))
    search = GridSearchCV(
        make_pipeline(
            UnitSubsampler(0.6, random_state=0), MultiLevelOT(SoftMatching())
        ),
        {"multilevelot__inner__source_weights": [None, "reliability", deviations]},
        cv=3,
    ).fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(set(search.cv_results_["mean_test_score"])) == 3


def test_weighted_fits_pickle_and_clone():
    X, Y = populations(6, 9)
    matching = SoftMatching("sqeuclidean", 0.8, "raw", np.arange(6), "variance").fit(
        X, Y
    )
    restored = pickle.loads(pickle.dumps(matching))
    np.testing.assert_array_equal(restored.predict(X), matching.predict(X))
    assert restored.held_out_cost(X, Y) == matching.held_out_cost(X, Y)
    copy = clone(matching)
    np.testing.assert_array_equal(copy.source_weights, np.arange(6))

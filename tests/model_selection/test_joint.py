import itertools

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.base import BaseEstimator
from sklearn.model_selection import KFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state

from skmot import RSA, LayerStack, MultiLevelOT, SoftMatching
from skmot.exceptions import DeadUnitWarning
from skmot.model_selection import joint_permutation_test
from skmot.preprocessing import LayerwiseTransformer
from tests.model_selection.common import FALSE_ALARM
from tests.tables import assert_survives_files

QUICK = {"n_permutations": 19, "random_state": 0}


def sides(n_sources=2, n_targets=2, shared=1.0, seed=0, n_rows=30):
    rng = np.random.default_rng(seed)
    signals = rng.normal(size=(n_rows, 4))

    def network():
        own = rng.normal(size=(n_rows, 5))
        return shared * signals @ rng.normal(size=(4, 5)) + own

    return (
        {f"s{number}": network() for number in range(n_sources)},
        {f"t{number}": network() for number in range(n_targets)},
    )


class Correlation(BaseEstimator):
    """Estimator whose cost is quick to compute."""

    def fit(self, X, y):
        self.cost_ = -abs(np.corrcoef(np.asarray(X)[:, 0], np.asarray(y)[:, 0])[0, 1])
        return self


class Recorder(BaseEstimator):
    """Estimator whose cost shows which rows of the target meet those of the source."""

    def fit(self, X, y):
        x, y = np.asarray(X)[:, 0], np.asarray(y)[:, 0]
        self.cost_ = float(np.sum(x * y))
        return self


def test_the_p_value_is_the_rank_of_the_mean_of_standardised_values():
    sources, targets = sides()
    result = joint_permutation_test(RSA(), sources, targets, **QUICK)
    pairs = list(itertools.product(sources, targets))
    assert result.pairs == pairs
    costs = [RSA().fit(sources[s], targets[t]).cost_ for s, t in pairs]
    np.testing.assert_allclose(result.pair_values, -np.array(costs))
    assert result.null_pair_values.shape == (19, 4)
    every = np.vstack([result.pair_values, result.null_pair_values])
    z = (every - every.mean(axis=0)) / every.std(axis=0)
    assert result.effect == pytest.approx(z[0].mean())
    np.testing.assert_allclose(result.null_effects, z[1:].mean(axis=1))
    n_as_good = np.count_nonzero(z[1:].mean(axis=1) >= z[0].mean())
    assert result.p_value == (n_as_good + 1) / 20


def test_all_targets_have_the_same_order():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(12, 1))
    # Both targets are the same numbers on another scale.
    targets = {"one": rows, "two": 2 * rows}
    result = joint_permutation_test(
        Recorder(), {"a": rng.normal(size=(12, 1))}, targets, **QUICK
    )
    np.testing.assert_allclose(
        result.null_pair_values[:, 1], 2 * result.null_pair_values[:, 0]
    )
    assert len(np.unique(result.null_pair_values[:, 0].round(9))) > 10
    assert "the same for all targets" in result.null_hypothesis


@pytest.mark.parametrize("both", [True, False])
def test_networks_of_one_set_have_orders_of_their_own(both):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(12, 1))
    networks = {"a": rows, "b": 2 * rows, "c": 3 * rows}
    result = joint_permutation_test(
        Recorder(), networks, networks if both else None, **QUICK
    )
    null = dict(zip(result.pairs, result.null_pair_values.T, strict=True))
    # Were the order the same, a network would meet another as in the data.
    for (a, b), factor in ((("a", "b"), 2), (("a", "c"), 3), (("b", "c"), 6)):
        observed = -factor * np.sum(rows**2)
        assert np.count_nonzero(np.isclose(null[a, b], observed)) <= 1
    if both:
        # A pair and its reverse are the same rows.
        np.testing.assert_allclose(null["a", "c"], null["c", "a"])
    assert "No network is related to another one" in result.null_hypothesis


@pytest.mark.parametrize("cv", [3, ShuffleSplit(1, random_state=0), KFold(11)])
@pytest.mark.parametrize("direction", ["target", "source"])
def test_held_out_scores_can_be_tested(cv, direction):
    sources, targets = sides(n_rows=44)
    splits = list(
        (KFold(3) if cv == 3 else cv).split(np.zeros(44)),
    )
    result = joint_permutation_test(
        SoftMatching(),
        sources,
        targets,
        pairs=[("s0", "t1")],
        statistic="score",
        cv=splits,
        direction=direction,
        n_permutations=19,
        random_state=0,
    )
    X, y = sources["s0"], targets["t1"]
    by_hand = []
    for train, test in splits:
        soft = SoftMatching().fit(X[train], y[train])
        score = soft.score if direction == "target" else soft.inverse_score
        by_hand.append(score(X[test], y[test]))
    assert result.pair_values == pytest.approx([np.mean(by_hand)])


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_related_networks_are_found(n_jobs):
    sources, targets = sides(shared=1.5)
    result = joint_permutation_test(
        MultiLevelOT(), sources, targets, n_jobs=n_jobs, **QUICK
    )
    assert result.p_value == result.smallest_p == 0.05
    assert "at least one pair is related, not which one" in str(result)
    again = joint_permutation_test(MultiLevelOT(), sources, targets, **QUICK)
    np.testing.assert_array_equal(again.null_pair_values, result.null_pair_values)


@pytest.mark.parametrize("one_set", [False, True])
def test_unrelated_networks_are_seldom_found(one_set):
    n_found = 0
    for seed in range(40):
        sources, targets = sides(2, 2, shared=0.0, seed=seed, n_rows=16)
        if one_set:
            sources, targets = {"s0": sources["s0"]} | targets, None
        result = joint_permutation_test(Correlation(), sources, targets, **QUICK)
        n_found += result.p_value <= 0.1
    assert n_found <= binom.ppf(1 - FALSE_ALARM, 40, 0.1)


def test_labels_and_pipelines_are_no_obstacle():
    sources, targets = sides()
    labels = [f"image {number}" for number in range(30)]
    sources = {
        name: LayerStack([layer], stimuli=labels) for name, layer in sources.items()
    }
    targets = {
        name: LayerStack([layer], stimuli=labels) for name, layer in targets.items()
    }
    method = make_pipeline(LayerwiseTransformer(StandardScaler()), MultiLevelOT())
    for options in ({}, {"statistic": "score", "cv": 3}):
        result = joint_permutation_test(method, sources, targets, **options, **QUICK)
        assert np.isfinite(result.null_pair_values).all()


def test_groups_and_blocks_are_permuted_as_a_whole():
    rows = np.arange(12.0)[:, np.newaxis]
    source, target = (
        {"a": rows},
        {"b": np.repeat(2.0 ** np.arange(6), 2)[:, np.newaxis]},
    )
    values = np.arange(12.0).reshape(6, 2).sum(axis=1)
    possible = {
        -round(values @ np.array(order))
        for order in itertools.permutations(2.0 ** np.arange(6))
    }
    for options in ({"groups": np.repeat(np.arange(6), 2)}, {"blocks": 2}):
        result = joint_permutation_test(Recorder(), source, target, **options, **QUICK)
        assert {round(value) for value in result.null_pair_values[:, 0]} <= possible
        assert result.movable_share == 1
    # Labels that repeat are groups.
    labelled = {"a": LayerStack([rows], stimuli=np.repeat(list("uvwxyz"), 2))}
    result = joint_permutation_test(Recorder(), labelled, target, **QUICK)
    assert {round(value) for value in result.null_pair_values[:, 0]} <= possible
    with pytest.warns(UserWarning, match="cannot be below 0.0833"):
        shifted = joint_permutation_test(
            Recorder(), source, target, blocks="circular", **QUICK
        )
    assert len(np.unique(shifted.null_pair_values)) <= 12


def test_little_freedom_to_permute_is_told():
    source, target = sides(1, 1)
    groups = np.concatenate([np.zeros(10), np.repeat(np.arange(1, 11), 2)])
    with pytest.warns(UserWarning, match="Only 67% of the rows can move") as told:
        joint_permutation_test(RSA(), source, target, groups=groups, **QUICK)
    assert told[0].filename == __file__
    with pytest.warns(UserWarning, match="cannot be below 0.1: raise") as told:
        joint_permutation_test(RSA(), source, target, n_permutations=9, random_state=0)
    assert told[0].filename == __file__
    with pytest.raises(ValueError, match="`groups` and `blocks`"):
        joint_permutation_test(RSA(), source, target, groups=groups, blocks=2)


class Chance(BaseEstimator):
    """Estimator whose cost is a random number."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y):
        self.cost_ = check_random_state(self.random_state).normal()
        return self


def test_estimators_without_a_seed_get_seeds_of_their_own():
    source, target = sides()
    first, again = (
        joint_permutation_test(Chance(), source, target, **QUICK) for _ in range(2)
    )
    values = np.vstack([first.pair_values, first.null_pair_values])
    np.testing.assert_array_equal(first.pair_values, again.pair_values)
    np.testing.assert_array_equal(first.null_pair_values, again.null_pair_values)
    assert len(np.unique(values)) == values.size


def test_warnings_of_fits_come_once():
    sources, targets = sides()
    for network in targets.values():
        network[:, 1] = 1.0
    with pytest.warns(DeadUnitWarning, match=r"of y.*80 time\(s\)") as told:
        joint_permutation_test(SoftMatching(), sources, targets, **QUICK)
    assert [record.filename for record in told] == [__file__]


def test_values_that_never_vary_prove_nothing():
    class Constant(BaseEstimator):
        def fit(self, X, y):
            self.cost_ = 0.3
            return self

    result = joint_permutation_test(Constant(), *sides(), **QUICK)
    assert result.p_value == 1


def test_bad_tests_are_refused():
    sources, targets = sides()
    with pytest.raises(ValueError, match="needs splits: give `cv`"):
        joint_permutation_test(SoftMatching(), sources, targets, statistic="score")
    with pytest.raises(TypeError, match="no `predict`: use statistic='cost'") as raised:
        joint_permutation_test(RSA(), sources, targets, statistic="score", cv=3)
    assert "source 's0', target 't0'" in raised.value.__notes__[0]
    scaler = StandardScaler()
    with pytest.raises(TypeError, match="no `cost_`: use statistic='score'"):
        joint_permutation_test(scaler, sources, targets, n_permutations=19)
    with pytest.raises(ValueError, match="There is no pair"):
        joint_permutation_test(RSA(), {"a": sources["s0"]}, None)
    with pytest.raises(ValueError, match="'statistic' parameter"):
        joint_permutation_test(RSA(), sources, targets, statistic="rank")


def test_tables_have_one_row_for_each_result_pair_or_permutation():
    result = joint_permutation_test(RSA(), *sides(2, 3), **QUICK)
    (row,) = result.to_frame().to_dict("records")
    assert row["p_value"] == result.p_value
    assert row["statistic"] == "cost"
    pairs = result.to_frame("pairs")
    assert list(zip(pairs["source"], pairs["target"], strict=True)) == result.pairs
    np.testing.assert_array_equal(pairs["value"], result.pair_values)
    np.testing.assert_allclose(
        pairs["null_mean"], [values.mean() for values in result.null_pair_values.T]
    )
    effects = result.to_frame("permutations")["effect"]
    np.testing.assert_array_equal(effects, result.null_effects)
    for table in (None, "pairs", "permutations"):
        assert_survives_files(result.to_frame(table))


@pytest.mark.parametrize(
    ("n_rows", "n_networks", "n_distinct"), [(3, 3, 36), (4, 2, 24), (3, 4, 216)]
)
def test_networks_of_one_set_have_a_power_of_the_orders_of_one(
    n_rows, n_networks, n_distinct
):
    networks = sides(n_networks, 0, n_rows=n_rows)[0]
    result = joint_permutation_test(
        Recorder(), networks, None, n_permutations=99, random_state=0
    )
    assert result.smallest_p == pytest.approx(max(1 / n_distinct, 1 / 100))

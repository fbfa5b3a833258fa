import itertools
import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from skmot import SoftMatching
from skmot.metrics import pairwise_costs
from skmot.model_selection import group_separation_test
from tests.tables import assert_survives_files

# Small sets of networks cannot have small p-values, which is warned of.
few = pytest.mark.filterwarnings("ignore:The p-value cannot be below")


def random_costs(n_networks, seed=0, is_symmetric=True):
    costs = np.random.default_rng(seed).random((n_networks, n_networks))
    return (costs + costs.T) / 2 if is_symmetric else costs


def slow_accuracy(costs, groups):
    """Network by network; networks alone in their group are not counted."""
    right = []
    for i, group in enumerate(groups):
        if list(groups).count(group) == 1:
            continue
        others = [j for j in range(len(groups)) if j != i]
        least = min(costs[i][j] for j in others)
        nearest = [j for j in others if costs[i][j] == least]
        right.append(np.mean([groups[j] == group for j in nearest]))
    return np.mean(right)


def slow_p_value(costs, groups):
    """Over all orders of the groups, each labelling several times."""
    accuracy = slow_accuracy(costs, groups)
    orders = itertools.permutations(groups)
    return np.mean(
        [slow_accuracy(costs, order) >= accuracy - 1e-12 for order in orders]
    )


@few
@pytest.mark.parametrize("groups", ["aabb", "aaabb", "aaaabc", "aabbcc", "aaabbc"])
@pytest.mark.parametrize("is_symmetric", [True, False])
def test_accuracy_and_p_value_are_those_of_all_orders(groups, is_symmetric):
    costs = random_costs(len(groups), len(groups), is_symmetric)
    result = group_separation_test(costs, list(groups))
    assert result.is_exact
    assert result.accuracy == pytest.approx(slow_accuracy(costs, groups))
    assert result.p_value == pytest.approx(slow_p_value(costs, groups))
    orders = list(itertools.permutations(groups))
    chance = np.mean([slow_accuracy(costs, order) for order in orders])
    assert result.chance == pytest.approx(chance)
    assert len(result.null_accuracies) == len(set(orders)) - 1
    assert result.p_value >= result.smallest_p - 1e-12


@few
def test_accuracy_is_that_of_a_nearest_neighbour_classifier():
    points = np.random.default_rng(0).normal(size=(15, 3))
    groups = np.repeat(["x", "y", "z"], 5)
    points[groups == "y"] += 1.0
    distances = np.linalg.norm(points[:, np.newaxis] - points, axis=2)
    expected = cross_val_score(
        KNeighborsClassifier(n_neighbors=1), points, groups, cv=LeaveOneOut()
    )
    result = group_separation_test(distances, groups, n_permutations=99, random_state=0)
    np.testing.assert_array_equal(result.network_accuracies, expected)
    assert 0 < result.accuracy == expected.mean() < 1


@few
def test_groups_that_separate_have_the_smallest_p_value_of_their_sizes():
    for groups, smallest in (
        ("aaabbb", 2 / math.comb(6, 3)),
        ("aaaabbbb", 2 / math.comb(8, 4)),
        ("aaabbbb", 1 / math.comb(7, 3)),
        # The two that are alone can change places, too.
        ("aaabbbcd", 2 * 2 / (math.factorial(8) // 36)),
    ):
        codes = np.array(list(groups))
        costs = 1.0 + random_costs(len(groups)) - (codes[:, np.newaxis] == codes)
        result = group_separation_test(costs, list(groups))
        assert result.accuracy == result.conformity_rate == 1.0
        assert result.average_precision == pytest.approx(1.0)
        assert result.p_value == pytest.approx(smallest)
        assert result.smallest_p == pytest.approx(smallest)


@few
def test_networks_that_are_equally_near_count_equally():
    costs = np.ones((6, 6))
    result = group_separation_test(costs, list("aaaabb"), n_permutations=14)
    # Three of five others are an "a", one of five is a "b".
    np.testing.assert_allclose(result.network_accuracies, [0.6] * 4 + [0.2] * 2)
    assert result.accuracy == pytest.approx(result.chance)
    assert result.p_value == 1.0
    assert result.is_exact
    # Differences by rounding errors are ties, too.
    noisy = costs + 1e-14 * random_costs(6)
    near = group_separation_test(noisy, list("aaaabb"))
    np.testing.assert_allclose(near.network_accuracies, result.network_accuracies)


@few
def test_copies_of_a_network_are_equally_near():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 40, 5))
    networks = [first, first[:, ::-1], first.copy(), second, second[:, ::-1]]
    costs = pairwise_costs(networks, SoftMatching())
    result = group_separation_test(costs, list("aabcc"))
    np.testing.assert_allclose(result.network_accuracies, [0.5, 0.5, np.nan, 1, 1])
    assert result.n_scored == 4


@few
def test_the_direction_of_costs_can_be_chosen():
    costs = random_costs(7, is_symmetric=False)
    groups = list("aaabbbb")
    for direction, chosen in (
        ("source", costs),
        ("target", costs.T),
        ("mean", (costs + costs.T) / 2),
    ):
        result = group_separation_test(costs, groups, direction=direction)
        assert result.accuracy == pytest.approx(slow_accuracy(chosen, groups))
        assert result.direction == direction
    # By hand: as a source, "c" is nearest to "a", as a target nearest to "d".
    costs = np.array([[9, 1, 5, 5], [0.5, 9, 5, 5], [1, 5, 9, 2], [5, 5, 1, 9.0]])
    source = group_separation_test(costs, list("xxyy"))
    target = group_separation_test(costs, list("xxyy"), direction="target")
    assert source.nearest.tolist() == [1, 0, 0, 2]
    assert target.nearest.tolist() == [1, 0, 3, 2]
    assert (source.accuracy, target.accuracy) == (0.75, 1.0)


def similarities_of_resi(costs, groups, group):
    """Pairs within a group, and across, as ReSi lists them; higher is more alike."""
    members = [i for i, other in enumerate(groups) if other == group]
    others = [i for i, other in enumerate(groups) if other != group]
    highest = max(costs[i, j] for i in members for j in range(len(groups)) if i != j)
    within = [highest - costs[i, j] for i, j in itertools.combinations(members, 2)]
    across = [highest - costs[i, j] for i, j in itertools.product(members, others)]
    return within, across


@few
@pytest.mark.parametrize("decimals", [1, 6])
@pytest.mark.parametrize("groups", ["aaabbb", "aaaabbc"])
def test_conformity_and_average_precision_are_those_of_resi(groups, decimals):
    # One decimal gives ties.
    costs = random_costs(len(groups), 3).round(decimals)
    costs = np.triu(costs) + np.triu(costs, 1).T
    rates, precisions = [], []
    for group in sorted(set(groups)):
        if groups.count(group) == 1:
            continue
        within, across = similarities_of_resi(costs, groups, group)
        pairs = list(itertools.product(within, across))
        violations = sum(inside <= outside for inside, outside in pairs)
        rates.append(1 - violations / len(pairs))
        truth = [1] * len(within) + [0] * len(across)
        precisions.append(average_precision_score(truth, within + across))
    result = group_separation_test(costs, list(groups))
    assert result.conformity_rate == pytest.approx(np.mean(rates))
    assert result.average_precision == pytest.approx(np.mean(precisions))


def test_the_diagonal_is_not_used():
    costs = random_costs(8)
    result = group_separation_test(costs, list("aaaabbbb"))
    costs[np.diag_indices(8)] = [np.nan, -5, 0, 1, np.inf, 2, 0, 0]
    same = group_separation_test(costs, list("aaaabbbb"))
    assert (same.accuracy, same.p_value) == (result.accuracy, result.p_value)
    assert same.nearest.tolist() == result.nearest.tolist()


def test_roots_of_costs_have_the_same_result():
    costs = random_costs(9)
    first, second = (
        group_separation_test(matrix, list("aaabbbccc"))
        for matrix in (costs, np.sqrt(2 * costs))
    )
    assert (first.accuracy, first.p_value) == (second.accuracy, second.p_value)


def test_random_exchanges_follow_the_seed_and_agree_with_all_of_them():
    points = np.random.default_rng(1).normal(size=(10, 2))
    groups = np.repeat(list("ab"), 5)
    points[groups == "a"] += 0.7
    costs = np.linalg.norm(points[:, np.newaxis] - points, axis=2)
    exact = group_separation_test(costs, groups)
    assert (exact.is_exact, len(exact.null_accuracies)) == (True, math.comb(10, 5) - 1)
    # One exchange less than there are, so that they are drawn at random.
    options = {"n_permutations": math.comb(10, 5) - 2}
    first, again, other = (
        group_separation_test(costs, groups, random_state=seed, **options)
        for seed in (0, 0, 1)
    )
    assert not first.is_exact
    np.testing.assert_array_equal(first.null_accuracies, again.null_accuracies)
    assert (first.null_accuracies != other.null_accuracies).any()
    # (b + 1) / (n + 1), within four standard errors of the exact value.
    n_as_good = np.count_nonzero(first.null_accuracies >= first.accuracy - 1e-12)
    assert first.p_value == (n_as_good + 1) / (len(first.null_accuracies) + 1)
    error = math.sqrt(exact.p_value * (1 - exact.p_value) / 250)
    assert abs(first.p_value - exact.p_value) < 4 * error


def test_p_values_of_unrelated_groups_are_valid():
    """Over all labellings of one matrix, p <= alpha in at most alpha of them."""
    costs = random_costs(8, 5)
    p_values = []
    for members in itertools.combinations(range(8), 4):
        groups = ["a" if number in members else "b" for number in range(8)]
        p_values.append(group_separation_test(costs, groups).p_value)
    for alpha in set(p_values):
        assert np.mean(np.array(p_values) <= alpha + 1e-12) <= alpha + 1e-12


@few
def test_groups_are_given_in_order_or_by_name():
    rng = np.random.default_rng(0)
    networks = {name: rng.normal(size=(30, 4)) for name in ("p", "q", "r", "s", "t")}
    costs = pairwise_costs(networks, SoftMatching())
    by_order = group_separation_test(costs, ["x", "y", "x", "y", "x"])
    by_name = group_separation_test(
        costs, {"q": "y", "s": "y", "p": "x", "r": "x", "t": "x"}
    )
    assert by_name.groups == by_order.groups == ["x", "y", "x", "y", "x"]
    assert by_name.p_value == by_order.p_value
    with pytest.raises(ValueError, match=r"\['t'\] are missing, and \['u'\] are no"):
        group_separation_test(costs, dict(zip("pqrsu", "xyxyx", strict=True)))


def test_series_of_groups_and_tables_of_costs_are_read_by_name():
    rng = np.random.default_rng(0)
    families = {name: rng.normal(size=(60, 5)) for name in "xy"}
    networks = {
        f"{name}{index}": families[name] + rng.normal(size=(60, 5))
        for index in range(4)
        for name in "xy"
    }
    costs = pairwise_costs(networks, SoftMatching())
    groups = pd.Series({name: name[0] for name in sorted(networks)})
    expected = group_separation_test(costs, groups.to_dict())
    assert expected.accuracy == 1
    assert group_separation_test(costs, groups).accuracy == 1
    table = costs.to_frame()
    assert group_separation_test(table, groups).p_value == expected.p_value
    # Row numbers are no names.
    in_order = pd.Series([name[0] for name in networks])
    assert group_separation_test(costs, in_order).accuracy == 1
    with pytest.raises(ValueError, match="name both alike, in the same order"):
        group_separation_test(table[sorted(networks)], groups)
    with pytest.raises(ValueError, match=r"\['y3'\] are missing"):
        group_separation_test(costs, groups.drop("y3"))


def test_the_result_says_what_it_shows_and_becomes_tables():
    codes = np.repeat([0, 1], 4)
    costs = 1.0 + random_costs(8) - (codes[:, np.newaxis] == codes)
    result = group_separation_test(costs, [f"g{code}" for code in codes])
    assert str(result).startswith(
        "The nearest network is of the same group for 100 % of 8 networks (43 % by "
        "chance, p = 0.029, of all exchanges of members), which shows that the groups"
    )
    frame = result.to_frame()
    assert frame.loc[0, "accuracy"] == 1.0
    assert_survives_files(frame)
    networks = result.to_frame("networks")
    assert networks["group"].tolist() == networks["nearest_group"].tolist()
    assert_survives_files(networks)
    mixed = group_separation_test(costs, list("abababab"))
    assert "does not show that the groups differ, and does not exclude" in str(mixed)


def test_groups_that_cannot_be_significant_are_warned_of():
    with pytest.warns(UserWarning, match=r"cannot be below 0\.1: 6 networks") as caught:
        group_separation_test(random_costs(6), list("aaabbb"))
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=r"below 0\.1: .*or raise `n_permutations`"):
        group_separation_test(random_costs(10), list("aaaaabbbbb"), n_permutations=9)


def test_bad_costs_and_groups_are_refused():
    costs = random_costs(4)
    for wrong, match in (
        (costs[:3], "square matrix"),
        (np.where(np.eye(4)[::-1], np.nan, costs), "4 are not"),
    ):
        with pytest.raises(ValueError, match=match):
            group_separation_test(wrong, list("aabb"))
    for groups, match in (
        (list("aab"), "3 entries, but there are 4 networks"),
        (list("aaaa"), "4 networks have one group"),
        (list("abcd"), "have a group of its own each"),
        (["a", "a", None, "b"], "row 2 is missing"),
    ):
        with pytest.raises(ValueError, match=match):
            group_separation_test(costs, groups)
    with pytest.raises(ValueError, match="direction"):
        group_separation_test(costs, list("aabb"), direction="both")
    with pytest.raises(ValueError, match="n_permutations"):
        group_separation_test(costs, list("aabb"), n_permutations=0)


@pytest.mark.parametrize("n_given", [3, 5])
def test_groups_of_another_number_of_networks_are_refused(n_given):
    costs = 1 - np.eye(4)
    with pytest.raises(ValueError, match=f"has {n_given} entries, but there are 4"):
        group_separation_test(costs, ["a", "a", "b", "b", "b"][:n_given])

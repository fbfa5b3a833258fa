import itertools
import math
import pickle
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import least_squares
from scipy.stats import binom
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from sklearn.pipeline import make_pipeline

from skmot import (
    RSA,
    FunctionComparison,
    LayerStack,
    MultiLevelOT,
    MultiLevelOTRotation,
    SoftMatching,
)
from skmot.exceptions import DeadUnitWarning
from skmot.metrics import hierarchy_score
from skmot.model_selection import hierarchy_test
from skmot.preprocessing import (
    LayerwiseTransformer,
    TransformedTargetLayers,
    UnitSubsampler,
)
from tests import reference
from tests.model_selection.common import FALSE_ALARM
from tests.tables import assert_survives_files

# The smallest number of permutations that can be significant at .05.
FEW = {"n_permutations": 19, "random_state": 0}

pytestmark = pytest.mark.filterwarnings(
    # Small data cannot show much, which the test warns of. Warnings are tested below.
    "ignore:The p-value of hierarchy_test cannot be",
    "ignore:.*of the layer pairs are no more alike",
)


def hierarchical(source_widths, target_widths, n_stimuli=60, seed=0, noise=0.5):
    """Return networks that read signals which change with depth in the same way."""
    rng = np.random.default_rng(seed)
    levels = [rng.normal(size=(n_stimuli, 6))]
    for _ in range(max(len(source_widths), len(target_widths)) - 1):
        levels.append(0.8 * levels[-1] + 0.6 * rng.normal(size=(n_stimuli, 6)))
    networks = []
    for widths in (source_widths, target_widths):
        places = np.linspace(0, len(levels) - 1, len(widths)).round().astype(int)
        networks.append(
            [
                levels[place] @ rng.normal(size=(6, width)) / np.sqrt(6)
                + noise * rng.normal(size=(n_stimuli, width))
                for place, width in zip(places, widths, strict=True)
            ]
        )
    return networks


def unrelated(widths, n_stimuli=60, seed=0):
    rng = np.random.default_rng(seed)
    return [[rng.normal(size=(n_stimuli, w)) for w in widths] for _ in range(2)]


# -- the definition ------------------------------------------------------------------


def slow_test(X, y, row_orders, depths=None):
    """Compute the statistics of the test with loops, for all given orders of rows."""
    n, k = len(X), len(y)
    u, v = depths or ([i / (n - 1) for i in range(n)], [j / (k - 1) for j in range(k)])
    costs = [
        reference.SlowMultiLevelOT(X, [layer[list(order)] for layer in y]).costs
        for order in [range(len(X[0])), *row_orders]
    ]
    pairs = list(itertools.product(range(n), range(k)))
    distance = {pair: abs(u[pair[0]] - v[pair[1]]) for pair in pairs}
    row = [sum(distance[i, j] for j in range(k)) / k for i in range(n)]
    column = [sum(distance[i, j] for i in range(n)) / n for j in range(k)]
    mean = sum(row) / n
    centred = {(i, j): distance[i, j] - row[i] - column[j] + mean for i, j in pairs}
    spreads = {}
    for pair in pairs:
        values = [cost[pair] for cost in costs[1:]]
        spreads[pair] = math.log(np.std(values, ddof=1))
    # For the comparison with permuted rows, its logarithm is a sum of row and column.
    smooth = {
        (i, j): math.exp(
            sum(spreads[i, other] for other in range(k)) / k
            + sum(spreads[other, j] for other in range(n)) / n
            - sum(spreads.values()) / len(pairs)
        )
        for i, j in pairs
    }
    logarithms, n_clipped = [{} for _ in costs], 0
    compared = [{} for _ in costs]
    for pair in pairs:
        values = [cost[pair] for cost in costs]
        m = sum(values) / len(values)
        null_mean = sum(values[1:]) / len(row_orders)
        squares = sum((value - null_mean) ** 2 for value in values[1:])
        sd = math.sqrt(squares / (len(row_orders) - 1))
        for result, value in zip(logarithms, values, strict=True):
            result[pair] = -math.log(max(m - value, sd))
        for result, value in zip(compared, values, strict=True):
            result[pair] = -math.log(max(m - value, smooth[pair]))
        n_clipped += m - values[0] <= sd
    slope, *slopes = (
        sum(result[pair] * centred[pair] for pair in pairs)
        / sum(centred[pair] ** 2 for pair in pairs)
        for result in (logarithms[0], *compared)
    )

    def p_layers(weights):
        def value(order):
            if n >= k:
                return sum(logarithms[0][i, j] * weights[order[i], j] for i, j in pairs)
            return sum(logarithms[0][i, j] * weights[i, order[j]] for i, j in pairs)

        orders = list(itertools.permutations(range(max(n, k))))
        given = value(orders[0])
        return sum(value(order) >= given - 1e-11 for order in orders) / len(orders)

    as_steep = sum(slope >= slopes[0] - 1e-11 for slope in slopes[1:])
    return {
        "slope": slope,
        "smoothed_slope": slopes[0],
        "null_slopes": sorted(slopes[1:]),
        "p_stimuli": (1 + as_steep) / (1 + len(row_orders)),
        "p_layers": p_layers(distance),
        "p_layers_centred": p_layers(centred),
        "clipped_share": n_clipped / len(pairs),
    }


def orders_of_pieces(sizes):
    """Return all orders of rows that move equal pieces of the given size."""
    size, n_pieces = sizes
    return [
        np.concatenate([np.arange(size) + size * piece for piece in order])
        for order in itertools.permutations(range(n_pieces))
    ]


# As many permutations as there are orders: each order is used once.
@pytest.mark.parametrize(
    ("how", "orders", "options"),
    [
        (
            "groups",
            orders_of_pieces((6, 4)),
            {"groups": np.repeat(list("cabd"), 6), "n_permutations": 24},
        ),
        ("blocks", orders_of_pieces((6, 4)), {"blocks": 6, "n_permutations": 24}),
        (
            "circular",
            [np.roll(np.arange(24), shift) for shift in range(24)],
            {"blocks": "circular", "n_permutations": 24},
        ),
    ],
)
@pytest.mark.parametrize("noise", [0.5, 4.0])
@pytest.mark.parametrize("shape", [(4, 3), (3, 5), (4, 4)])
def test_result_is_that_of_the_definition(shape, noise, how, orders, options):
    X, y = hierarchical((4, 7, 5, 6)[: shape[0]], (5, 4, 6, 3, 7)[: shape[1]], 24)
    result = hierarchy_test(MultiLevelOT(), X, y, random_state=0, **options)
    slow = slow_test(X, y, orders)
    np.testing.assert_allclose(
        np.sort(result.null_slopes), slow.pop("null_slopes"), atol=1e-12
    )
    for name, value in slow.items():
        assert result[name] == pytest.approx(value, abs=1e-9), name
    assert result.p_value == max(
        result.p_stimuli,
        result.p_layers,
        result.p_layers_centred,
        result.p_layers_weighted,
    )
    assert result.slope_ == result.slope
    assert result.movable_share == 1


@pytest.mark.parametrize("shape", [(4, 3), (3, 5), (4, 4), (6, 5)])
def test_weighted_order_test_is_that_of_a_general_optimiser(shape):
    widths = (4, 7, 5, 6, 30, 3)[: shape[0]], (5, 4, 6, 3, 40)[: shape[1]]
    X, y = hierarchical(*widths)
    result = hierarchy_test(MultiLevelOT(), X, y, **FEW)
    similarity = result.chance_costs - result.layer_costs
    n = shape[0]

    def errors(qualities):
        products = np.outer(qualities[:n], qualities[n:])
        return ((products - similarity) / result.chance_sd).ravel()

    best = least_squares(errors, np.full(sum(shape), 0.5), xtol=1e-14, ftol=1e-14)
    products = np.outer(best.x[:n], best.x[n:])
    slope = (products - similarity) * products / result.chance_sd**2
    distance = np.abs(np.subtract.outer(*(np.linspace(0, 1, k) for k in shape)))
    if shape[0] < shape[1]:
        slope, distance = slope.T, distance.T
    values = [
        np.sum(slope * distance[list(order)])
        for order in itertools.permutations(range(max(shape)))
    ]
    share = np.mean(np.array(values) >= values[0] - 1e-6 * np.abs(slope).sum())
    assert result.p_layers_weighted == pytest.approx(share)


@pytest.mark.filterwarnings("ignore:.*no more alike")
def test_noisy_ends_of_networks_that_get_wider_are_not_significant():
    def networks(seed):
        rng = np.random.default_rng(seed)
        signals = rng.normal(size=(80, 6))
        return [
            [
                signals @ rng.normal(size=(6, width)) / np.sqrt(6)
                + noise * rng.normal(size=(80, width))
                for width, noise in zip((8, 16, 32, 64), (4, 1, 1, 4), strict=True)
            ]
            for _ in range(2)
        ]

    n_simulations = 20
    n_significant, _ = count_significant(networks, n_simulations)
    assert binom.sf(n_significant - 1, n_simulations, 0.05) > FALSE_ALARM


def test_result_has_the_numbers_for_a_plot():
    X, y = hierarchical((4, 7, 5, 6), (5, 4, 6))
    result = hierarchy_test(MultiLevelOT(), X, y, **FEW)
    fitted = MultiLevelOT().fit(X, y)
    np.testing.assert_allclose(result.layer_costs, fitted.layer_costs_)
    distances = np.abs(np.arange(4).reshape(-1, 1) / 3 - np.arange(3) / 2)
    np.testing.assert_allclose(result.depth_distances, distances)
    similarity = np.maximum(result.chance_costs - result.layer_costs, result.chance_sd)
    np.testing.assert_allclose(np.exp(-result.log_dissimilarities), similarity)
    # With row and column effects taken out, the slope is that of least squares.
    design = np.column_stack(
        [
            distances.ravel(),
            np.kron(np.eye(4), np.ones((3, 1))),
            np.tile(np.eye(3)[:, :2], (4, 1)),
        ]
    )
    found = np.linalg.lstsq(design, result.log_dissimilarities.ravel(), rcond=None)[0]
    assert result.slope == pytest.approx(found[0])
    assert result.hierarchy == pytest.approx(hierarchy_score(fitted.coupling_))
    assert result.adjusted_hierarchy == pytest.approx(
        hierarchy_score(fitted.coupling_, adjusted=True)
    )


class KnownCosts(BaseEstimator):
    """Costs fall from 1 by a known similarity, times a relation of the rows."""

    def __init__(self, similarity, noise=0.0):
        self.similarity = similarity
        self.noise = noise

    def fit(self, X, y):
        relation = reference.pearson(X.layers[0][:, 0], y.layers[0][:, 0])
        # Noise that depends on the rows of the target only.
        seed = abs(hash(tuple(y.layers[0][:, 0]))) % 2**32
        noise = np.random.default_rng(seed).normal(size=np.shape(self.similarity))
        self.layer_costs_ = 1 - relation * self.similarity + self.noise * noise
        return self


def rows_of(shape, n_stimuli=40):
    shared = np.random.default_rng(0).normal(size=(n_stimuli, 1))
    return [[shared] * n_layers for n_layers in shape]


@pytest.mark.parametrize("shape", [(5, 5), (4, 6), (12, 3)])
def test_slope_of_a_product_of_qualities_and_depth_is_the_rate_of_depth(shape):
    rng = np.random.default_rng(0)
    depths = [np.arange(n) / (n - 1) for n in shape]
    fall = np.exp(-1.3 * np.abs(depths[0].reshape(-1, 1) - depths[1]))
    qualities = [rng.uniform(0.1, 1, size=n) for n in shape]
    similarity = np.outer(*qualities) * fall
    result = hierarchy_test(KnownCosts(similarity), *rows_of(shape), **FEW)
    assert result.slope == pytest.approx(1.3)
    assert result.clipped_share == 0
    assert result.p_layers_centred <= 1 / 24


@pytest.mark.parametrize("shape", [(5, 5), (4, 6)])
def test_qualities_that_rise_with_depth_are_not_a_hierarchy(shape):
    qualities = [np.linspace(0.1, 1, n) for n in shape]
    estimator = KnownCosts(np.outer(*qualities), noise=1e-4)
    result = hierarchy_test(estimator, *rows_of(shape), **FEW)
    assert abs(result.slope) < 0.02
    # Transport would couple these layers in their order: H alone does not show it.
    best = reference.transport(-np.outer(*qualities))[0]
    assert hierarchy_score(best, adjusted=True) > 0.9
    assert math.isnan(result.hierarchy)
    assert math.isnan(result.adjusted_hierarchy)


def test_more_than_seven_layers_use_random_orders():
    rng = np.random.default_rng(1)
    depths = np.arange(9) / 8
    distances = np.abs(depths.reshape(-1, 1) - depths)
    similarity = np.exp(-0.05 * distances + 0.4 * rng.normal(size=(9, 9)))
    result = hierarchy_test(KnownCosts(similarity), *rows_of((9, 9)), random_state=0)
    orders = np.argsort(rng.random((20_000, 9)), axis=1)
    values = -np.log(similarity)
    given = np.sum(values * distances)
    share = np.mean([np.sum(values * distances[order]) >= given for order in orders])
    assert 0.05 < share < 0.95
    n_found = round(1000 * result.p_layers) - 1
    assert 1000 * result.p_layers == pytest.approx(n_found + 1)
    assert binom.cdf(n_found, 999, share) > FALSE_ALARM
    assert binom.sf(n_found - 1, 999, share) > FALSE_ALARM


def test_orders_of_more_than_seven_layers_can_be_significant():
    X, y = hierarchical([8] * 8, [8] * 8, noise=0.2)
    result = hierarchy_test(MultiLevelOT(), X, y, **FEW)
    assert result.p_layers == result.p_layers_centred == 1 / 1000
    assert result.p_layers_weighted == 1 / 1000
    assert result.p_value == result.smallest_p == 1 / 20


def test_exchanging_the_networks_does_not_change_the_result():
    X, y = hierarchical((4, 7, 5), (5, 4, 6, 3, 7), 24)
    options = {"blocks": "circular", "n_permutations": 24, "random_state": 0}
    there = hierarchy_test(MultiLevelOT(), X, y, **options)
    back = hierarchy_test(MultiLevelOT(), y, X, **options)
    for name in ("slope", "p_stimuli", "p_layers", "p_layers_centred", "hierarchy"):
        assert there[name] == pytest.approx(back[name])


# -- what it finds -------------------------------------------------------------------


def count_significant(networks, n_simulations):
    results = [
        hierarchy_test(MultiLevelOT(), *networks(seed), n_permutations=19)
        for seed in range(n_simulations)
    ]
    n_significant = sum(result.p_value <= 0.05 for result in results)
    return n_significant, np.mean([result.adjusted_hierarchy for result in results])


def test_widths_that_grow_with_depth_are_not_significant():
    n_simulations = 30
    n_significant, mean_hierarchy = count_significant(
        lambda seed: unrelated((4, 8, 16, 32), seed=seed), n_simulations
    )
    assert binom.sf(n_significant - 1, n_simulations, 0.05) > FALSE_ALARM
    # Couplings of random costs have mean 0.
    assert mean_hierarchy > 0.5


@pytest.mark.parametrize("widths", [(12,) * 5, (8, 16, 24, 32, 64)])
def test_a_common_hierarchy_is_significant_whatever_the_widths(widths):
    n_significant, _ = count_significant(
        lambda seed: hierarchical(widths, widths, 80, seed=seed), 8
    )
    assert n_significant >= 6


def test_unrelated_noise_is_mostly_clipped():
    shares = [
        hierarchy_test(
            MultiLevelOT(), *unrelated([6] * 4, seed=seed), n_permutations=19
        ).clipped_share
        for seed in range(12)
    ]
    # A normal variable is below its mean by less than a standard deviation.
    assert np.mean(shares) == pytest.approx(0.84, abs=0.08)


def test_conclusion_says_what_is_shown_and_what_is_not():
    X, y = hierarchical([10] * 5, [10] * 5)
    found = hierarchy_test(MultiLevelOT(), X, y, **FEW)
    rng = np.random.default_rng(0)
    nothing = hierarchy_test(
        MultiLevelOT(),
        X,
        [layer[rng.permutation(60)] for layer in y],
        **FEW,
    )
    impossible = hierarchy_test(MultiLevelOT(), X[:3], y[:3], **FEW)
    assert str(found).startswith("Similarity falls with the difference in depth")
    assert str(nothing).startswith("No fall of similarity")
    assert "does not show that there is none" in str(nothing)
    assert str(impossible).startswith("Nothing is shown about depth")
    assert "cannot be below 0.17" in str(impossible)
    for result in (found, nothing, impossible):
        assert "for exchangeable layers" in str(result)
        assert re.search("not show that layers correspond one to one", str(result))
        assert f"p = {result.p_value:.2g}" in str(result)
        assert str(pickle.loads(pickle.dumps(result))) == str(result)


# -- depths --------------------------------------------------------------------------


def test_depths_replace_equal_spacing():
    X, y = hierarchical((4, 7, 5, 6), (5, 4, 6), 24)
    depths = ([0.0, 0.7, 0.8, 1.0], np.array([0.1, 0.2, 0.9]))
    options = {"blocks": "circular", "n_permutations": 24, "random_state": 0}
    result = hierarchy_test(MultiLevelOT(), X, y, depths=depths, **options)
    slow = slow_test(
        X, y, [np.roll(np.arange(24), shift) for shift in range(24)], depths
    )
    for name in ("slope", "p_stimuli", "p_layers", "p_layers_centred"):
        assert result[name] == pytest.approx(slow[name], abs=1e-9), name
    distances = np.abs(np.subtract.outer(*depths))
    coupling = MultiLevelOT().fit(X, y).coupling_
    score = 1 - np.sum(coupling * distances)
    best = 1 - reference.transport(distances)[1]
    uniform = 1 - distances.mean()
    assert result.hierarchy == pytest.approx(score)
    assert result.adjusted_hierarchy == pytest.approx(
        (score - uniform) / (best - uniform)
    )


def test_equally_spaced_depths_are_the_default():
    X, y = hierarchical((4, 7, 5, 6), (5, 4, 6))
    given = [np.arange(4) / 3, np.arange(3) / 2]
    results = [
        hierarchy_test(MultiLevelOT(), X, y, depths=depths, **FEW)
        for depths in (None, given)
    ]
    assert results[0].p_value == results[1].p_value
    assert results[0].slope == pytest.approx(results[1].slope)


def test_depths_follow_layers_in_any_order():
    X, y = hierarchical((4, 7, 5, 6), (5, 4, 6, 8))
    order = [2, 0, 3, 1]
    in_order = hierarchy_test(MultiLevelOT(), X, y, **FEW)
    shuffled = hierarchy_test(
        MultiLevelOT(),
        [X[layer] for layer in order],
        y,
        depths=(np.arange(4)[order] / 3, np.arange(4) / 3),
        **FEW,
    )
    assert shuffled.slope == pytest.approx(in_order.slope)
    assert shuffled.p_value == in_order.p_value


def test_layers_of_the_same_depth_leave_fewer_orders():
    X, y = hierarchical([6] * 4, [6] * 4)
    depths = ([0, 0, 1, 1], [0, 0.3, 0.7, 1])
    with pytest.warns(UserWarning, match="cannot be below 0.167: 4 layers have too"):
        result = hierarchy_test(MultiLevelOT(), X, y, depths=depths, **FEW)
    # Each of the four exchanges of layers of the same depth is the given order.
    assert result.smallest_p == pytest.approx(4 / 24)
    assert result.p_value >= result.smallest_p


@pytest.mark.parametrize(
    ("depths", "message"),
    [
        (([0, 0.5, 1],), r"two arrays, \(source depths, target depths\); got 1"),
        (([0, 0.5, 1], [0, 1]), "of the source must be one depth for each of its 4"),
        (([0, 0.2, 0.5, 1], [[0], [1]]), "of the target must be one depth .* 3 layers"),
        (([0, 1, 2, 3], [0, 0.5, 1]), "of the source must be from 0 .* Rescale them"),
        (([0, 0.2, 0.5, 1], [0, 0.5, 1.5]), "of the target must be from 0 .* Rescale"),
        (([0, 0.1, 0.2, np.nan], [0, 0.5, 1]), "of the source must be from 0"),
        # |u - v| is v - u: a sum of a source depth and a target depth.
        (([0, 0.1, 0.2, 0.3], [0.4, 0.5, 1]), "no difference in depth to test"),
        (([0.5] * 4, [0, 0.5, 1]), "no difference in depth to test"),
    ],
)
def test_unusable_depths_are_an_error(depths, message):
    X, y = hierarchical([6] * 4, [6] * 3)
    with pytest.raises(ValueError, match=message):
        hierarchy_test(MultiLevelOT(), X, y, depths=depths)


# -- rows ----------------------------------------------------------------------------


def test_repeated_labels_are_groups():
    X, y = hierarchical([6] * 4, [6] * 4, n_stimuli=24)
    labels = np.repeat([f"image {k}" for k in range(8)], 3)
    by_labels = hierarchy_test(
        MultiLevelOT(),
        LayerStack(X, stimuli=labels),
        LayerStack(y, stimuli=labels),
        **FEW,
    )
    by_groups = hierarchy_test(MultiLevelOT(), X, y, groups=labels, **FEW)
    by_rows = hierarchy_test(MultiLevelOT(), X, y, **FEW)
    np.testing.assert_array_equal(by_labels.null_slopes, by_groups.null_slopes)
    assert not np.array_equal(by_labels.null_slopes, by_rows.null_slopes)
    assert by_labels.null_hypothesis.startswith("Groups of rows")


def test_unique_labels_and_trials_are_permuted_as_rows():
    X, y = hierarchical([6] * 4, [6] * 4, n_stimuli=30)
    labels = [f"image {k}" for k in range(30)]
    plain = hierarchy_test(MultiLevelOT(), X, y, **FEW)
    labelled = hierarchy_test(
        MultiLevelOT(),
        LayerStack(X, stimuli=labels),
        LayerStack(y, stimuli=labels),
        **FEW,
    )
    trials = [
        LayerStack.from_trials([np.repeat(layer, 2, axis=0) for layer in side], twice)
        for side, twice in ((X, np.repeat(labels, 2)), (y, np.repeat(labels, 2)))
    ]
    averaged = hierarchy_test(MultiLevelOT(), *trials, **FEW)
    for result in (labelled, averaged):
        np.testing.assert_allclose(result.null_slopes, plain.null_slopes)


def test_data_frames_raise_no_warning_of_permuted_row_numbers():
    X, y = (
        pd.concat(
            [pd.DataFrame(layer) for layer in side], axis=1, keys=range(len(side))
        )
        for side in hierarchical([6] * 4, [6] * 4)
    )
    # pytest turns warnings into errors.
    result = hierarchy_test(MultiLevelOT(), X, y, **FEW)
    assert result.p_stimuli == 1 / 20


def test_groups_of_unequal_size_tell_the_movable_share():
    X, y = hierarchical([6] * 4, [6] * 4, n_stimuli=24)
    groups = np.repeat(range(7), [3, 3, 3, 3, 3, 3, 6])
    with pytest.warns(UserWarning, match="Only 75% of the rows can move"):
        result = hierarchy_test(MultiLevelOT(), X, y, groups=groups, **FEW)
    assert result.movable_share == 18 / 24


@pytest.mark.parametrize("blocks", [5, "circular"])
def test_blocks_keep_time_series_together(blocks):
    X, y = hierarchical([6] * 5, [6] * 5, n_stimuli=48, noise=0.2)
    # Each of the 48 shifts is used once.
    result = hierarchy_test(MultiLevelOT(), X, y, blocks=blocks, n_permutations=48)
    assert result.p_value <= 0.05
    what = {5: "Blocks of 5 rows", "circular": "Rows, shifted circularly,"}[blocks]
    assert result.null_hypothesis.startswith(what)


def test_nothing_to_permute_is_an_error():
    X, y = hierarchical([6] * 4, [6] * 4, n_stimuli=24)
    with pytest.raises(ValueError, match="Nothing can be permuted"):
        hierarchy_test(MultiLevelOT(), X, y, groups=np.repeat([0, 1, 2], [6, 8, 10]))
    with pytest.raises(ValueError, match="two ways to keep rows together"):
        hierarchy_test(MultiLevelOT(), X, y, groups=np.repeat([0, 1], 12), blocks=2)


# -- estimators ----------------------------------------------------------------------


def cost_of_first_units(x, y):
    return 1 - abs(reference.pearson(x[:, 0], y[:, 0]))


@pytest.mark.parametrize(
    "estimator",
    [
        MultiLevelOT(RSA()),
        MultiLevelOT(FunctionComparison(cost_of_first_units)),
        MultiLevelOTRotation(max_iter=2),
        MultiLevelOT(strategy="pairwise_best"),
        MultiLevelOT(cost_cv=3),
        MultiLevelOT(cost_cv=ShuffleSplit(1, test_size=0.5, random_state=0)),
        MultiLevelOT(cost_cv=ShuffleSplit(11, test_size=0.4, random_state=0)),
    ],
    ids=lambda estimator: str(estimator).replace("\n", " "),
)
def test_any_estimator_with_layer_costs_works(estimator):
    X, y = hierarchical([6] * 4, [6] * 4, noise=0.1)
    result = hierarchy_test(estimator, X, y, **FEW)
    fitted = estimator.fit(X, y)
    np.testing.assert_allclose(result.layer_costs, fitted.layer_costs_)
    assert result.hierarchy == pytest.approx(hierarchy_score(fitted.coupling_))
    # Two units alone do not show the hierarchy of the layers.
    if not isinstance(getattr(estimator, "inner", None), FunctionComparison):
        assert result.p_value <= 0.05


def test_layers_may_be_stacks():
    runs = [hierarchical([4] * 2, [4] * 2, seed=seed, n_stimuli=30) for seed in (0, 1)]
    X, y = ([run[side] for run in runs] for side in (0, 1))
    result = hierarchy_test(
        MultiLevelOT(MultiLevelOT()), LayerStack(X), LayerStack(y), random_state=0
    )
    assert result.layer_costs.shape == (2, 2)
    assert result.smallest_p == 1 / 2


def test_pipelines_searches_and_transformed_targets_are_unwrapped():
    X, y = (LayerStack(side) for side in hierarchical([8] * 4, [8] * 4))
    units = LayerwiseTransformer(UnitSubsampler(0.5, random_state=0))
    wrapped = make_pipeline(
        units, TransformedTargetLayers(MultiLevelOT(), transformer=units)
    )
    search = GridSearchCV(
        wrapped, {"transformedtargetlayers__regressor": [MultiLevelOT()]}, cv=2
    )
    by_hand = hierarchy_test(
        MultiLevelOT(), units.fit_transform(X), units.fit_transform(y), **FEW
    )
    for estimator in (wrapped, search):
        result = hierarchy_test(estimator, X, y, **FEW)
        np.testing.assert_allclose(result.null_slopes, by_hand.null_slopes)
        assert result.slope == pytest.approx(by_hand.slope)
    assert not hasattr(wrapped[-1], "regressor_")


def test_estimators_without_layer_costs_are_an_error():
    X, y = hierarchical([6] * 4, [6] * 4)
    with pytest.raises(TypeError, match="SoftMatching learned no `layer_costs_`"):
        hierarchy_test(SoftMatching(), X, y)


@pytest.mark.parametrize(("n_source", "n_target"), [(1, 4), (4, 1), (1, 1)])
def test_a_single_layer_is_an_error(n_source, n_target):
    X, y = hierarchical([6] * 4, [6] * 4)
    message = rf"`X` has {n_source} layer\(s\) and `y` has {n_target}"
    with pytest.raises(ValueError, match=message):
        hierarchy_test(
            MultiLevelOT(), LayerStack(X[:n_source]), LayerStack(y[:n_target])
        )


def difference_of_spread(x, y):
    return abs(np.log(x.std() / y.std()))


def test_costs_that_no_permutation_changes_are_an_error():
    X, y = hierarchical([6] * 4, [6] * 4)
    estimator = MultiLevelOT(FunctionComparison(difference_of_spread))
    with pytest.raises(ValueError, match=r"standard deviation is 0.*which rows belong"):
        hierarchy_test(estimator, X, y, n_permutations=19)


def test_settings_are_checked():
    X, y = hierarchical([6] * 4, [6] * 4)
    for name, value in [
        ("n_permutations", 1),
        ("blocks", 0),
        ("depths", "equal"),
        ("n_jobs", 1.5),
    ]:
        with pytest.raises(ValueError, match=f"The '{name}' parameter"):
            hierarchy_test(MultiLevelOT(), X, y, **{name: value})
    with pytest.raises(ValueError, match="The 'strategy' parameter"):
        hierarchy_test(MultiLevelOT(strategy="best"), X, y)


# -- warnings ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_layers", "n_permutations", "smallest"), [(4, 4, 1 / 5), (2, 19, 1 / 2)]
)
def test_the_smallest_p_value_is_that_of_the_fewest_orders(
    n_layers, n_permutations, smallest
):
    # Four layers have 24 orders, two have 2.
    X, y = hierarchical([4] * n_layers, [5] * n_layers, n_stimuli=24)
    result = hierarchy_test(
        MultiLevelOT(), X, y, n_permutations=n_permutations, random_state=0
    )
    assert result.smallest_p == pytest.approx(smallest)
    assert f"cannot be below {smallest:.2g}" in str(result)
    assert str(result).startswith("Nothing is shown")


def test_three_layers_and_few_permutations_warn_that_nothing_can_be_significant():
    X, y = hierarchical([6] * 4, [6] * 4)
    with pytest.warns(UserWarning, match="cannot be below 0.167: 3 layers have too"):
        result = hierarchy_test(MultiLevelOT(), X[:3], y[:3], **FEW)
    assert result.smallest_p == 1 / 6
    assert result.p_value == 1 / 6
    with pytest.warns(UserWarning, match="below 0.1: raise `n_permutations` to 19"):
        hierarchy_test(MultiLevelOT(), X, y, n_permutations=9, random_state=0)
    groups = np.repeat(range(3), 20)
    with pytest.warns(UserWarning, match="only 6 permutations of the rows are dist"):
        result = hierarchy_test(MultiLevelOT(), X, y, groups=groups, **FEW)
    assert result.smallest_p == 1 / 6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hierarchy_test(MultiLevelOT(), X, y[:2], **FEW)


def test_noise_warns_of_pairs_that_are_no_more_alike_than_by_chance():
    X, y = unrelated([6] * 4)
    with pytest.warns(UserWarning, match="no more alike than by chance .84 %"):
        result = hierarchy_test(MultiLevelOT(), X, y, **FEW)
    assert result.clipped_share > 0.5


@pytest.mark.parametrize("kind", [MultiLevelOT, MultiLevelOTRotation])
def test_a_depth_prior_changes_nothing(kind):
    # In the wrong order, in which a prior changes the coupling most.
    X, y = hierarchical([6] * 4, [6] * 5)
    plain, prior = (
        hierarchy_test(make_pipeline(kind(depth_prior=weight)), X[::-1], y, **FEW)
        for weight in (0.0, 2.0)
    )
    assert vars(plain).keys() == vars(prior).keys()
    for name, value in vars(plain).items():
        np.testing.assert_equal(vars(prior)[name], value)
    fitted = kind(depth_prior=2.0).fit(X[::-1], y)
    with pytest.warns(UserWarning, match="circular"):
        assert hierarchy_score(fitted.coupling_) > plain.hierarchy + 0.2


def test_couplings_that_do_not_follow_the_costs_are_warned_of():
    X, y = hierarchical([6] * 4, [6] * 4)
    estimator = MultiLevelOT(strategy="permuted", random_state=0)
    with pytest.warns(UserWarning, match="strategy='permuted' does not describe"):
        result = hierarchy_test(estimator, X, y, **FEW)
    transport = hierarchy_test(MultiLevelOT(), X, y, **FEW)
    assert result.p_value == transport.p_value
    assert result.hierarchy != transport.hierarchy


def test_warnings_of_the_fits_are_raised_once_with_their_number():
    X, y = hierarchical([6] * 4, [6] * 4)
    X[1][:, 2] = 5.0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hierarchy_test(MultiLevelOT(), X, y, **FEW)
    assert [warning.category for warning in caught] == [DeadUnitWarning]
    assert "(20 time(s) in all)" in str(caught[0].message)
    assert caught[0].filename == __file__


# -- what stays the same -------------------------------------------------------------


def test_results_do_not_depend_on_the_number_of_jobs():
    X, y = hierarchical([4] * 8, [4] * 2)
    one, two = (
        hierarchy_test(
            MultiLevelOT(), X, y, n_permutations=19, random_state=3, n_jobs=n_jobs
        )
        for n_jobs in (None, 2)
    )
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def test_data_and_estimator_are_not_changed():
    X, y = hierarchical([6] * 4, [6] * 4)
    before = [layer.copy() for layer in X + y]
    estimator = MultiLevelOT()
    hierarchy_test(estimator, X, y, n_permutations=19)
    for layer, copy in zip(X + y, before, strict=True):
        np.testing.assert_array_equal(layer, copy)
    assert not hasattr(estimator, "layer_costs_")


def test_a_strong_relation_is_found_whatever_the_spread_of_permuted_fits():
    # All permuted fits are clipped. A spread that grows with the difference in depth
    # must not be their slope.
    rng = np.random.default_rng(0)
    depth = [rng.normal(size=(200, 4))]
    for _ in range(4):
        depth.append(0.8 * depth[-1] + 0.6 * rng.normal(size=(200, 4)))
    X, y = (
        LayerStack([layer + 0.1 * rng.normal(size=layer.shape) for layer in depth])
        for _ in range(2)
    )
    for seed in range(6):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = hierarchy_test(
                MultiLevelOT(), X, y, n_permutations=3, random_state=seed
            )
        assert result.p_stimuli == 0.25


# -- tables ----------------------------------------------------------------------------


def test_layers_have_the_names_of_the_fit_or_numbers():
    X, y = hierarchical((4, 7, 5), (5, 4, 6, 3))
    named = LayerStack(dict(zip(["V1", "V2", "V4"], X, strict=True)))
    result = hierarchy_test(MultiLevelOT(), named, y, **FEW)
    assert result.source_names == ["V1", "V2", "V4"]
    assert result.target_names == [0, 1, 2, 3]
    unnamed = hierarchy_test(KnownCosts(np.eye(3), noise=0.1), *rows_of((3, 3)), **FEW)
    assert unnamed.source_names == unnamed.target_names == [0, 1, 2]


def test_tables_have_one_row_for_each_result_pair_of_layers_or_permutation():
    X, y = hierarchical((4, 7, 5), (5, 4, 6, 3))
    result = hierarchy_test(MultiLevelOT(), X, y, **FEW)
    (row,) = result.to_frame().to_dict("records")
    for name in ("p_value", "p_stimuli", "slope", "smoothed_slope", "hierarchy"):
        assert row[name] == result[name]
    assert "slope_" not in row
    layers = result.to_frame("layers")
    for column, name in (
        ("layer_cost", "layer_costs"),
        ("chance_cost", "chance_costs"),
        ("chance_sd", "chance_sd"),
        ("log_dissimilarity", "log_dissimilarities"),
        ("depth_distance", "depth_distances"),
    ):
        wide = layers.pivot(index="source_layer", columns="target_layer", values=column)
        np.testing.assert_array_equal(wide, result[name])
    permutations = result.to_frame("permutations")
    np.testing.assert_array_equal(permutations["slope"], result.null_slopes)
    as_steep = (permutations["slope"] >= result.smoothed_slope).sum()
    assert result.p_stimuli == (1 + as_steep) / 20
    for table in (None, "layers", "permutations"):
        assert_survives_files(result.to_frame(table))

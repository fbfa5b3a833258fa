"""Published definitions on inputs so small that every number is worked out by hand.

The equations are those of two papers: (1) M. Khosla, A. H. Williams, "Soft matching
distance", 2024, and (2) "Representational alignment across model layers and brain
regions with multi-level optimal transport". Units are differences of stimuli,
`r(i, j) = e_i - e_j` over four stimuli, whose correlations are 0, 1/2, 1 and their
negatives, or columns of a Hadamard matrix, which are orthogonal. Numbers are fractions;
where a definition has a square root, its square is one.
"""

from fractions import Fraction
from itertools import permutations, product

import numpy as np
import pytest
from scipy.linalg import hadamard

from skmot import (
    CKA,
    RSA,
    LinearPredictivity,
    MultiLevelOT,
    MultiLevelOTRotation,
    OneToOneMatching,
    Procrustes,
    RotationMatching,
    SemiMatching,
    SoftMatching,
    TemplateMOT,
)
from skmot.metrics import (
    hierarchy_score,
    linear_cka,
    one_to_one_distance,
    procrustes_distance,
    reconstruction_correlation,
    rectangular_matching_score,
    rsa_score,
    semi_matching_score,
    soft_matching_distance,
    soft_matching_score,
)

F = Fraction
# Seven orthogonal columns over eight stimuli, each with mean 0 and variance 1.
H = hadamard(8)[:, 1:].T.astype(float)


def r(i, j):
    """Return the unit that is 1 for stimulus i, -1 for stimulus j, and 0 otherwise."""
    return np.eye(4)[i - 1] - np.eye(4)[j - 1]


def population(*units):
    return np.column_stack(units)


def moved(units):
    """Return units at other scales and offsets, which correlations ignore."""
    n_units = units.shape[1]
    return units * (1.0 + np.arange(n_units)) + 10.0 - np.arange(n_units)


def close(found, expected, rel=1e-12):
    """Compare a number with a fraction."""
    assert found == pytest.approx(float(expected), rel=rel, abs=1e-12)


def all_plans(n, k):
    """Yield all vertices, and some more points, of T(n, k) for n = 2, in fractions.

    An optimal plan of n x k units is a whole multiple of 1 / (n k).
    """
    assert n == 2
    for first in product(range(n + 1), repeat=k):
        if sum(first) == k:
            yield [[F(a, n * k) for a in first], [F(n - a, n * k) for a in first]]


def inner_product(plan, values):
    return sum(
        p * F(v)
        for row, other in zip(plan, values, strict=True)
        for p, v in zip(row, other, strict=True)
    )


# -- paper 1: two populations ------------------------------------------------------

#            r12  r14  r34
#       r12   1   1/2   0
#       r34   0   1/2   1
CORRELATIONS = [[1, F(1, 2), 0], [0, F(1, 2), 1]]
X = population(r(1, 2), r(3, 4))
Y = population(r(1, 2), r(1, 4), r(3, 4))
# The only plan of the largest correlation: 2 + 1/2 + 1/2 + 2 = 5 sixths.
PLAN = [[F(2, 6), F(1, 6), F(0)], [F(0), F(1, 6), F(2, 6)]]
# Other stimuli, or other units: r13 with r12, r14, r34 is 1/2, 1/2, -1/2.
X_2 = population(r(1, 2), r(1, 3))
CORRELATIONS_2 = [[1, F(1, 2), 0], [F(1, 2), F(1, 2), F(-1, 2)]]


def test_the_plan_of_the_table_is_the_only_best_one():
    values = [inner_product(plan, CORRELATIONS) for plan in all_plans(2, 3)]
    assert max(values) == inner_product(PLAN, CORRELATIONS) == F(5, 6)
    assert values.count(F(5, 6)) == 1


def test_soft_matching_score_is_equation_12():
    for Y_given in (Y, moved(Y)):
        close(soft_matching_score(X, Y_given), F(5, 6))
        close(soft_matching_score(Y_given, X), F(5, 6))
    best = max(inner_product(plan, CORRELATIONS_2) for plan in all_plans(2, 3))
    # 1 + (a + c) / 2 sixths, where a + c is at most 3.
    assert best == F(5, 12)
    close(soft_matching_score(X_2, Y), best)


def test_soft_matching_has_the_plan_the_cost_and_the_maps_of_the_definition():
    matching = SoftMatching().fit(X, moved(Y))
    np.testing.assert_allclose(matching.coupling_.toarray(), np.array(PLAN, float))
    close(matching.cost_, F(1, 6))
    # Columns of K Q sum to one: r12, (r12 + r34) / 2, r34, at the scale of the target.
    expected = population(X[:, 0], (X[:, 0] + X[:, 1]) / 2, X[:, 1])
    np.testing.assert_allclose(matching.predict(X), moved(expected), atol=1e-12)
    # Rows of N Q: (2/3, 1/3, 0) and (0, 1/3, 2/3).
    expected = population((2 * Y[:, 0] + Y[:, 1]) / 3, (Y[:, 1] + 2 * Y[:, 2]) / 3)
    np.testing.assert_allclose(matching.inverse_predict(moved(Y)), expected, atol=1e-12)


def test_the_held_out_score_keeps_the_training_plan():
    matching = SoftMatching().fit(X, Y)
    # 1/3 (1) + 1/6 (1/2) + 1/6 (1/2) + 1/3 (-1/2)
    close(matching.matching_score(X_2, Y), inner_product(PLAN, CORRELATIONS_2))
    assert inner_product(PLAN, CORRELATIONS_2) == F(1, 3)
    close(matching.held_out_cost(X_2, Y), F(2, 3))


def test_absolute_correlations_have_signs():
    matching = SoftMatching("abs_correlation").fit(X_2, moved(Y))
    absolute = [[abs(v) for v in row] for row in CORRELATIONS_2]
    values = [inner_product(plan, absolute) for plan in all_plans(2, 3)]
    assert max(values) == inner_product(PLAN, absolute) == F(2, 3)
    close(matching.cost_, F(1, 3))
    np.testing.assert_allclose(matching.coupling_.toarray(), np.array(PLAN, float))
    np.testing.assert_array_equal(matching.signs_.toarray(), [[1, 1, 0], [0, 1, -1]])


def test_weighted_units_have_masses_in_the_ratios_of_their_weights():
    matching = SoftMatching(target_weights=[1, 2, 1]).fit(X, Y)
    # Columns 1/4, 1/2, 1/4 and rows 1/2: the middle column is shared.
    plan = [[F(1, 4), F(1, 4), 0], [0, F(1, 4), F(1, 4)]]
    np.testing.assert_allclose(matching.coupling_.toarray(), np.array(plan, float))
    close(matching.cost_, 1 - inner_product(plan, CORRELATIONS))
    assert inner_product(plan, CORRELATIONS) == F(3, 4)


@pytest.mark.parametrize(
    ("mass", "cost"),
    [
        # Two thirds of the mass match equal units. The rest costs 1/2, then nothing
        # else is left.
        (F(1, 2), F(0)),
        (F(2, 3), F(0)),
        (F(5, 6), F(1, 6) * F(1, 2) / F(5, 6)),
        (F(1), F(1, 6)),
    ],
)
def test_partial_matching_matches_the_cheapest_mass(mass, cost):
    close(SoftMatching(mass=float(mass)).fit(X, Y).cost_, cost)


def test_soft_matching_distance_is_equation_11():
    # |7 r12|^2 = 98, |r34|^2 = 2, and 2 for all of Y; products 14, 7, 0 and 0, 1, 2.
    loud = population(7 * r(1, 2), r(3, 4))
    squared = [
        [98 + 2 - 2 * 14, 98 + 2 - 2 * 7, 98 + 2],
        [2 + 2, 2 + 2 - 2 * 1, 2 + 2 - 2 * 2],
    ]
    # (2 * 72 + 86 + 2 + 0) / 6
    least = min(inner_product(plan, squared) for plan in all_plans(2, 3))
    assert least == F(116, 3) == inner_product(PLAN, squared)
    close(soft_matching_distance(loud, Y, scale=False) ** 2, least)
    # Mean squared norms 50 and 2, whose product has the root 10; the products of
    # matched units are (2 * 14 + 7 + 1 + 2 * 2) / 6 = 20/3 on average.
    expected = 1 + 1 - 2 * F(20, 3) / 10
    assert expected == F(2, 3)
    close(soft_matching_distance(loud, Y) ** 2, expected)
    close(SoftMatching("sqeuclidean").fit(loud, Y).cost_, expected)
    # Centring removes what it does not mean to compare.
    close(soft_matching_distance(loud + 5, Y - 3) ** 2, expected)


def test_one_to_one_distance_is_equation_9():
    other = population(r(3, 4), r(1, 4))
    # Products: r12 with both 0 and 1, r34 with both 2 and 1. The sums of the two
    # permutations are 0 + 1 and 1 + 2; each population has squared norm 4.
    products = [[0, 1], [2, 1]]
    best = max(
        sum(products[i][j] for i, j in enumerate(order))
        for order in permutations(range(2))
    )
    expected = 4 + 4 - 2 * F(best)
    assert expected == 2
    close(one_to_one_distance(X, other, scale=False) ** 2, expected)
    # sqrt(N) times the soft matching distance.
    close(soft_matching_distance(X, other, scale=False) ** 2, expected / 2)
    # Mean squared norm 1 instead of 2.
    close(one_to_one_distance(X, other) ** 2, expected / 2)


def test_semi_matching_score_is_equation_13():
    close(semi_matching_score(X, Y), 1)
    # The best of each column: 1, 1/2, 1.
    close(semi_matching_score(Y, X), F(1 + F(1, 2) + 1, 3))
    # Rows of the second table: 1 and 1/2. Columns: 1, 1/2, 0.
    close(semi_matching_score(X_2, moved(Y)), F(3, 4))
    close(semi_matching_score(moved(Y), X_2), F(1, 2))
    semi = SemiMatching().fit(X_2, Y)
    close(semi.cost_, F(1, 4))
    # Each target unit from its best source unit, 1/3 a unit. The second has two.
    np.testing.assert_allclose(semi.coupling_.toarray()[:, 0], [1 / 3, 0])
    np.testing.assert_allclose(semi.coupling_.toarray()[:, 2], [1 / 3, 0])


def test_rectangular_matching_score_is_equation_15():
    close(rectangular_matching_score(X, Y), 1)
    # r12 and r13 to distinct units: 1 + 1/2, or 1/2 + 1/2, or less.
    best = max(
        F(CORRELATIONS_2[0][a]) + F(CORRELATIONS_2[1][b])
        for a, b in permutations(range(3), 2)
    )
    assert best == F(3, 2)
    close(rectangular_matching_score(X_2, moved(Y)), best / 2)
    close(OneToOneMatching().fit(moved(Y), X_2).cost_, 1 - best / 2)


def test_populations_of_figure_3a():
    first, second = np.eye(6)[:, :3], np.eye(6)[:, 3:]
    both = np.hstack([first, second])
    for part in (first, second):
        close(semi_matching_score(part, both, center=False), 1)
        # Half of the mass of each unit has a copy; the other half has nothing alike.
        close(soft_matching_score(part, both, center=False), F(1, 2))
    close(semi_matching_score(first, second, center=False), 0)


def test_procrustes_distance_is_equation_5():
    # X'Y has the columns (3, 4) and (0, 0): its only singular value is 5.
    first = np.eye(4)[:, :2]
    second = population(3 * first[:, 0] + 4 * first[:, 1], np.eye(4)[2])
    squared = procrustes_distance(first, second, center=False, scale=False) ** 2
    close(squared, 2 + (25 + 1) - 2 * 5)
    # Centred, with |X| = 4 and |Y| = sqrt(8 (25 + 25)) = 20; X'Y has (24, 32): 40.
    first, second = population(*H[:2]), population(3 * H[0] + 4 * H[1], 5 * H[2])
    expected = 1 + 1 - 2 * F(40, 4 * 20)
    assert expected == 1
    for shift in (0, 7):
        close(procrustes_distance(first + shift, second) ** 2, expected)
    close(Procrustes().fit(first, 3 * second + 1).cost_, expected)


# -- geometries --------------------------------------------------------------------


def test_linear_cka_without_debiasing():
    first, second = population(*H[:4]), population(3 * H[0] + 4 * H[1])
    # |X'Y|^2 = 24^2 + 32^2, |X'X| = |8 I| = 16, |Y'Y| = 8 * 25.
    expected = F(24**2 + 32**2, 16 * 200)
    assert expected == F(1, 2)
    close(linear_cka(first + 3, second - 2, debiased=False), expected)
    close(CKA(debiased=False).fit(first, 5 * second).cost_, 1 - expected)


def unbiased_hsic(K, L):
    """Return HSIC_1 of Song et al. (2012, eq. 5) times n (n - 3), in fractions."""
    n = len(K)
    K, L = (
        [[F(0) if i == j else v for j, v in enumerate(row)] for i, row in enumerate(M)]
        for M in (K, L)
    )
    trace = sum(K[i][j] * L[j][i] for i in range(n) for j in range(n))
    sums = [[sum(row) for row in M] for M in (K, L)]
    return (
        trace
        + sum(sums[0]) * sum(sums[1]) / ((n - 1) * (n - 2))
        - 2 * sum(a * b for a, b in zip(*sums, strict=True)) / (n - 2)
    )


def kernel(rows):
    return [
        [sum(F(a) * F(b) for a, b in zip(p, q, strict=True)) for q in rows]
        for p in rows
    ]


def test_linear_cka_with_debiasing_is_the_unbiased_hsic():
    first = [[1, 2], [0, -1], [3, 1], [-2, 2], [0, 5]]
    second = [[2, 0, 1], [1, 1, -1], [4, -1, 0], [-1, 0, 2], [0, 3, 3]]
    K, L = kernel(first), kernel(second)
    # Its square is a fraction.
    squared = unbiased_hsic(K, L) ** 2 / (unbiased_hsic(K, K) * unbiased_hsic(L, L))
    assert unbiased_hsic(K, L) > 0
    close(linear_cka(first, second) ** 2, squared)
    close((1 - CKA().fit(np.array(first), np.array(second)).cost_) ** 2, squared)


def test_rsa_is_the_rank_correlation_of_dissimilarities():
    # Patterns of three stimuli over four units; entries 12, 13, 23 of the RDMs.
    first = np.array([r(1, 2), r(1, 3), r(2, 4)])  # 1/2, 3/2, 1: ranks 1, 3, 2
    second = np.array([r(1, 2), r(3, 4), r(1, 3)])  # 1, 1/2, 3/2: ranks 2, 1, 3
    expected = 1 - F(6 * (1 + 4 + 1), 3 * (9 - 1))
    assert expected == F(-1, 2)
    close(rsa_score(first, second), expected)
    close(RSA().fit(3 * first, second + 4).cost_, 1 - expected)
    # Tied: 1/2, 3/2, 1/2 has the ranks 3/2, 3, 3/2. Deviations of ranks are -1/2, 1,
    # -1/2 and 0, -1, 1: product -3/2, squared norms 3/2 and 2.
    tied = np.array([r(1, 2), r(1, 3), r(2, 3)])
    found = rsa_score(tied, second)
    assert found < 0
    close(found**2, F(3, 2) ** 2 / (F(3, 2) * 2))


# -- paper 2: two networks ---------------------------------------------------------

# Source layers A and B, target layers U, V and W.
SOURCE = [population(r(1, 2), r(3, 4)), population(r(1, 3))]
TARGET = [
    population(r(1, 2), r(1, 4), r(3, 4)),
    population(r(1, 3), r(2, 4)),
    population(r(1, 3), r(1, 4)),
]
# A-U as above. A-V: r12-r13 and r34-r24, both 1/2. A-W: r12-r13 and r34-r14, both 1/2.
# B-U: 1/2, 1/2, -1/2. B-V: 1, 0. B-W: 1, 1/2.
LAYER_COSTS = [
    [F(1, 6), F(1, 2), F(1, 2)],
    [1 - F(1, 6), 1 - F(1, 2), 1 - F(3, 4)],
]


def test_costs_and_coupling_of_layers():
    mot = MultiLevelOT().fit(SOURCE, [moved(layer) for layer in TARGET])
    np.testing.assert_allclose(
        mot.layer_costs_, np.array(LAYER_COSTS, float), rtol=1e-12
    )
    values = [inner_product(plan, LAYER_COSTS) for plan in all_plans(2, 3)]
    # (2/6 + 1/2 + 1/2 + 2/4) / 6
    assert min(values) == inner_product(PLAN, LAYER_COSTS) == F(11, 36)
    assert values.count(F(11, 36)) == 1
    np.testing.assert_allclose(mot.coupling_, np.array(PLAN, float))
    np.testing.assert_allclose(mot.inverse_coupling_, np.array(PLAN, float))
    close(mot.cost_, F(11, 36))
    swapped = MultiLevelOT().fit(TARGET, SOURCE)
    np.testing.assert_allclose(swapped.coupling_, np.array(PLAN, float).T)
    close(swapped.cost_, F(11, 36))


def test_reconstructions_of_target_layers():
    targets = [moved(layer) for layer in TARGET]
    mot = MultiLevelOT().fit(SOURCE, targets)
    r12, r34, r13 = r(1, 2), r(3, 4), r(1, 3)
    # M P is 1, 1/2 and 1/2, 1 down the columns of U, V, W.
    expected = [
        # Of A alone: r12, half of both, r34.
        population(r12, (r12 + r34) / 2, r34),
        # Half of A's r12, r34 and half of B's r13, r13.
        population((r12 + r13) / 2, (r34 + r13) / 2),
        # Of B alone.
        population(r13, r13),
    ]
    for predicted, wanted in zip(mot.predict(SOURCE), expected, strict=True):
        np.testing.assert_allclose(predicted, moved(wanted), atol=1e-12)
    # Squared correlations: 1, 1/2, 1; 3/4, 1/4; 1, 1/4.
    squares = [[F(1), F(1, 2), F(1)], [F(3, 4), F(1, 4)], [F(1), F(1, 4)]]
    layers = [sum(float(s) ** 0.5 for s in layer) / len(layer) for layer in squares]
    np.testing.assert_allclose(mot.layer_scores(SOURCE, targets), layers, rtol=1e-12)
    close(mot.score(SOURCE, targets), sum(layers) / 3)


def test_reconstructions_of_source_layers():
    mot = MultiLevelOT().fit(SOURCE, TARGET)
    r12, r14, r34, r13, r24 = r(1, 2), r(1, 4), r(3, 4), r(1, 3), r(2, 4)
    # L P is 2/3, 1/3, 0 and 0, 1/3, 2/3. N Q' averages the counterparts of each unit.
    expected = [
        population(
            2 / 3 * (2 * r12 + r14) / 3 + 1 / 3 * r13,
            2 / 3 * (r14 + 2 * r34) / 3 + 1 / 3 * r24,
        ),
        population(1 / 3 * (r13 + r24) / 2 + 2 / 3 * (r13 + r14) / 2),
    ]
    for predicted, wanted in zip(mot.inverse_predict(TARGET), expected, strict=True):
        np.testing.assert_allclose(predicted, wanted, atol=1e-12)


@pytest.mark.parametrize(
    ("strategy", "coupling", "inverse", "cost"),
    [
        # V has as much of A as of B, at the same cost: the lower index.
        (
            "single_best",
            [[F(1, 3), F(1, 3), 0], [0, 0, F(1, 3)]],
            [[F(1, 2), 0, 0], [0, 0, F(1, 2)]],
            (F(1, 6) + F(1, 2) + F(1, 4)) / 3,
        ),
        (
            "pairwise_best",
            [[F(1, 3), F(1, 3), 0], [0, 0, F(1, 3)]],
            [[F(1, 2), 0, 0], [0, 0, F(1, 2)]],
            (F(1, 6) + F(1, 2) + F(1, 4)) / 3,
        ),
        ("uniform", [[F(1, 6)] * 3] * 2, [[F(1, 6)] * 3] * 2, F(11, 24)),
    ],
)
def test_strategies_of_the_coupling(strategy, coupling, inverse, cost):
    mot = MultiLevelOT(strategy=strategy).fit(SOURCE, TARGET)
    np.testing.assert_allclose(mot.coupling_, np.array(coupling, float))
    np.testing.assert_allclose(mot.inverse_coupling_, np.array(inverse, float))
    close(mot.cost_, cost)


def test_a_depth_prior_adds_to_the_outer_costs_only():
    # The target backwards. Relative depths 0, 1 and 0, 1/2, 1; costs range over 2/3.
    costs = [row[::-1] for row in LAYER_COSTS]
    distances = [[0, F(1, 2), 1], [1, F(1, 2), 0]]
    assert max(map(max, costs)) - min(map(min, costs)) == F(2, 3)
    with_prior = [
        [c + F(1, 2) * F(2, 3) * d for c, d in zip(*rows, strict=True)]
        for rows in zip(costs, distances, strict=True)
    ]
    plans = list(all_plans(2, 3))
    best = min(plans, key=lambda plan: inner_product(plan, with_prior))
    assert best == [[F(1, 6), 0, F(2, 6)], [F(1, 6), F(2, 6), 0]]
    # (1/2 + 2/6 + 1/4 + 2/2) / 6
    assert inner_product(best, costs) == F(25, 72)
    mot = MultiLevelOT(depth_prior=0.5).fit(SOURCE, TARGET[::-1])
    np.testing.assert_allclose(np.asarray(mot.coupling_), np.array(best, float))
    close(mot.cost_, F(25, 72))
    without = MultiLevelOT().fit(SOURCE, TARGET[::-1])
    np.testing.assert_allclose(without.coupling_, np.array(PLAN, float)[:, ::-1])


@pytest.mark.parametrize(
    ("sixths", "score", "adjusted"),
    [
        # Differences of depth 0, 1/2, 1 and 1, 1/2, 0. The uniform coupling has
        # H = 1/2, and the best one, which is the first, 5/6.
        ([[2, 1, 0], [0, 1, 2]], F(5, 6), F(1)),
        ([[1, 1, 1], [1, 1, 1]], F(1, 2), F(0)),
        ([[0, 1, 2], [2, 1, 0]], F(1, 6), F(-1)),
        ([[1, 0, 2], [1, 2, 0]], F(1, 3), F(-1, 2)),
    ],
)
def test_hierarchy_score_is_that_of_appendix_g(sixths, score, adjusted):
    distances = [[0, F(1, 2), 1], [1, F(1, 2), 0]]
    assert 1 - inner_product(sixths, distances) / 6 == score
    for scale in (1 / 6, -4.0):
        coupling = scale * np.array(sixths)
        close(hierarchy_score(coupling), score)
        close(hierarchy_score(coupling, adjusted=True), adjusted)


def test_three_levels_are_transport_of_transport():
    # The costs of two pairs of networks: one as above, one of a network with itself.
    runs = [SOURCE, TARGET]
    mot = MultiLevelOT(MultiLevelOT()).fit(runs, [SOURCE])
    expected = [[F(0)], [F(11, 36)]]
    np.testing.assert_allclose(mot.layer_costs_, np.array(expected, float), atol=1e-12)
    close(mot.cost_, F(11, 72))


# -- rotations ---------------------------------------------------------------------


def test_a_rotation_is_found_if_there_is_one():
    source = population(H[0], H[1])
    target = population(
        3 * H[0] + 4 * H[1],
        -4 * H[0] + 3 * H[1],
    )
    # Correlations 3/5, -4/5 and 4/5, 3/5: matched in order, 6/5 against 0.
    matching = RotationMatching().fit(source, target)
    rotation = [[F(3, 5), F(-4, 5)], [F(4, 5), F(3, 5)]]
    np.testing.assert_allclose(
        matching.rotation_, np.array(rotation, float), atol=1e-12
    )
    np.testing.assert_allclose(matching.coupling_.toarray(), np.eye(2) / 2)
    close(matching.cost_, 0)
    level = MultiLevelOTRotation().fit([source, population(H[2])], [target])
    # The other layer is orthogonal to its reconstruction (y_1 + y_2) / 2, of variance
    # 1/2: |h_3 - (y_1 + y_2) / 2|^2 / S = 1 + 1/2.
    np.testing.assert_allclose(
        level.layer_costs_, [[0], [float(1 + F(1, 2))]], atol=1e-12
    )
    close(level.cost_, F(3, 4))


@pytest.mark.parametrize(
    ("source", "target", "error", "objective"),
    [
        # |h_2 - h_3|^2 / (S N) = 16 / 16; the rotation nearest to the identity is it.
        (H[:2], H[[0, 2]], F(1), F(1)),
        # One unit for two: |h_1 - (h_1 + h_2) / 2|^2 / S = 4 / 8; J is (0 + 2) / 2.
        (H[:1], H[:2], F(1, 2), F(1)),
        # Two units for one: each is reconstructed as h_1. R maps (1, 1) / sqrt(2) and
        # (1, 0) on each other, so that M = X'Y (N Q)' keeps its singular value sqrt(2):
        # J = error = 2 - 2 sqrt(2) / 2, whose distance from 2 has the square 2.
        (H[:2], H[:1], None, None),
    ],
)
def test_error_and_objective_of_a_rotation(source, target, error, objective):
    matching = RotationMatching().fit(source.T, 2 * target.T + 1)
    if error is None:
        close((2 - matching.cost_) ** 2, 2)
        close((2 - matching.path_["objective"][-1]) ** 2, 2)
    else:
        close(matching.cost_, error)
        close(matching.path_["objective"][-1], objective)


# -- reconstructions ---------------------------------------------------------------


def test_reconstruction_correlation_is_the_mean_over_units():
    true = population(r(1, 2), r(3, 4), r(1, 3))
    # 1, 1/2, and a constant prediction, which counts as 0.
    predicted = population(5 * r(1, 2) + 1, r(1, 4), np.full(4, 3.0))
    close(reconstruction_correlation(true, predicted), F(1 + F(1, 2) + 0, 3))


@pytest.mark.filterwarnings("ignore:.* validation stimuli, too few:UserWarning")
@pytest.mark.parametrize("alpha", [1, 8, 24])
def test_linear_predictivity_shrinks_by_its_penalty(alpha):
    source = population(H[0], H[1])
    target = population(3 * H[0] + 4 * H[1], H[0] - H[1])
    # Orthogonal units of squared norm 8: coefficients are those without a penalty
    # times 8 / (8 + alpha).
    model = LinearPredictivity([float(alpha)], random_state=0)
    model.fit(source, target + 7)
    shrinkage = F(8, 8 + alpha)
    np.testing.assert_allclose(
        model.predict(source), 7 + float(shrinkage) * target, atol=1e-12
    )


# -- many networks -----------------------------------------------------------------


def test_a_template_is_the_average_of_its_networks():
    networks = [population(H[0]), population(H[1])]
    template = TemplateMOT(init=0).fit(networks)
    # The first template is h_1, with costs 0 and 1. Then it is (h_1 + h_2) / sqrt(2),
    # whose correlation with each has the square 1/2.
    close(template.costs_[0], F(1, 2))
    close((1 - template.costs_[1]) ** 2, F(1, 2))
    np.testing.assert_allclose(
        template.template_.layers[0][:, 0] ** 2, (H[0] + H[1]) ** 2 / 2, atol=1e-12
    )

import copy
import pickle

import numpy as np
import pytest

from skmot import MultiLevelOT
from skmot.metrics import DepthPriorCoupling, hierarchy_score
from tests import reference

DEPTHS = [(2, 2), (2, 3), (4, 4), (4, 8), (8, 4), (6, 9), (12, 7), (30, 30)]


def depth(layer, n_layers):
    return layer / (n_layers - 1) if n_layers > 1 else 0.5


def slow_score(coupling):
    n, k = coupling.shape
    total = sum(abs(coupling[i, j]) for i in range(n) for j in range(k))
    disorder = 0.0
    for i in range(n):
        for j in range(k):
            disorder += abs(coupling[i, j]) * abs(depth(i, n) - depth(j, k))
    return 1 - disorder / total


def distances(n, k):
    return np.array(
        [[abs(depth(i, n) - depth(j, k)) for j in range(k)] for i in range(n)]
    )


def best_plan(n, k):
    return reference.transport(distances(n, k))[0]


@pytest.mark.parametrize("depths", [*DEPTHS, (1, 1), (1, 5), (5, 1)])
def test_score_is_that_of_the_definition(depths):
    rng = np.random.default_rng(0)
    for coupling in (rng.random(depths), rng.normal(size=depths)):
        found = hierarchy_score(coupling)
        assert found == pytest.approx(slow_score(coupling), abs=1e-14)
        assert 0 <= found <= 1


@pytest.mark.parametrize("n_layers", [2, 5, 12])
def test_diagonal_coupling_scores_one(n_layers):
    coupling = np.eye(n_layers) / n_layers
    assert hierarchy_score(coupling) == 1
    assert hierarchy_score(coupling, adjusted=True) == pytest.approx(1, abs=1e-12)


def test_reversed_order_of_two_layers_scores_zero_and_minus_one():
    coupling = np.eye(2)[::-1] / 2
    assert hierarchy_score(coupling) == 0
    assert hierarchy_score(coupling, adjusted=True) == pytest.approx(-1, abs=1e-12)


@pytest.mark.parametrize("depths", DEPTHS)
def test_uniform_coupling_scores_a_half_to_two_thirds_and_zero_adjusted(depths):
    coupling = np.full(depths, 1 / np.prod(depths))
    # The mean of |u - v| is 1/2 for two layers and goes to 1/3 for many.
    assert 0.5 - 1e-12 <= hierarchy_score(coupling) <= 2 / 3
    assert hierarchy_score(coupling, adjusted=True) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("depths", DEPTHS)
def test_best_plan_of_uniform_marginals_scores_one_adjusted(depths):
    coupling = best_plan(*depths)
    assert hierarchy_score(coupling, adjusted=True) == pytest.approx(1, abs=1e-9)


def test_best_plan_of_four_and_eight_layers_scores_its_closed_form():
    # Layer l of four takes layers 2l and 2l + 1 of eight: the outer pairs are 0 and
    # 1/7 away, the inner ones |1/3 - 2/7| = 1/21 and |1/3 - 3/7| = 2/21.
    expected = 1 - (0 + 1 / 7 + 1 / 21 + 2 / 21) / 4
    assert expected == pytest.approx(0.93, abs=0.005)
    coupling = np.kron(np.eye(4), np.ones((1, 2))) / 8
    assert hierarchy_score(coupling) == pytest.approx(expected, abs=1e-14)
    assert hierarchy_score(best_plan(4, 8)) == pytest.approx(expected, abs=1e-12)
    assert hierarchy_score(coupling, adjusted=True) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("depths", DEPTHS)
def test_adjusted_score_is_linear_between_the_uniform_and_the_best_plan(depths):
    best, uniform = best_plan(*depths), np.full(depths, 1 / np.prod(depths))
    for share in (0.25, 0.8):
        mixed = share * best + (1 - share) * uniform
        found = hierarchy_score(mixed, adjusted=True)
        assert found == pytest.approx(share, abs=1e-9)


@pytest.mark.parametrize("depths", DEPTHS)
def test_no_random_plan_scores_above_one_adjusted(depths):
    rng = np.random.default_rng(1)
    for _ in range(20):
        coupling, _ = reference.transport(rng.random(depths))
        assert hierarchy_score(coupling, adjusted=True) <= 1 + 1e-9


@pytest.mark.parametrize("adjusted", [True, False])
@pytest.mark.parametrize("factor", [1e-300, 1e-30, 32.0, 1e30, 1e308, -1.0])
def test_total_weight_and_sign_do_not_matter(factor, adjusted):
    coupling = np.random.default_rng(2).random((5, 8))
    expected = hierarchy_score(coupling, adjusted=adjusted)
    found = hierarchy_score(factor * coupling, adjusted=adjusted)
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("adjusted", [True, False])
def test_both_networks_read_the_other_way_score_the_same(adjusted):
    coupling = np.random.default_rng(3).random((5, 8))
    expected = hierarchy_score(coupling, adjusted=adjusted)
    for same in (coupling.T, coupling[::-1, ::-1]):
        found = hierarchy_score(same, adjusted=adjusted)
        assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("depths", [(1, 1), (1, 5), (5, 1)])
def test_adjusted_score_of_a_single_layer_is_an_error(depths):
    with pytest.raises(ValueError, match="one possible order"):
        hierarchy_score(np.ones(depths), adjusted=True)


@pytest.mark.parametrize("coupling", [np.ones(4), np.ones((0, 3)), np.ones((2, 2, 2))])
def test_coupling_of_a_wrong_shape_is_refused(coupling):
    with pytest.raises(ValueError, match="two-dimensional and not empty"):
        hierarchy_score(coupling)


@pytest.mark.parametrize("weight", [np.nan, np.inf, 0.0])
def test_coupling_without_finite_weight_is_refused(weight):
    with pytest.raises(ValueError, match="finite and have some weight"):
        hierarchy_score(np.full((2, 3), weight))


def test_coupling_is_left_as_it_is():
    coupling = -np.ones((3, 3))
    coupling.setflags(write=False)
    hierarchy_score(coupling, adjusted=True)
    np.testing.assert_array_equal(coupling, -1)


# -- couplings with a depth prior ------------------------------------------------------


@pytest.mark.parametrize("adjusted", [False, True])
def test_a_coupling_made_with_a_depth_prior_is_warned_of(adjusted):
    rng = np.random.default_rng(0)
    X, y = ([rng.normal(size=(30, 4)) for _ in range(depth)] for depth in (3, 4))
    coupling = MultiLevelOT(depth_prior=0.5).fit(X, y).coupling_
    with pytest.warns(UserWarning, match="hierarchy_test") as caught:
        score = hierarchy_score(coupling, adjusted=adjusted)
    assert caught[0].filename == __file__
    assert score == hierarchy_score(np.asarray(coupling), adjusted=adjusted)
    hierarchy_score(MultiLevelOT().fit(X, y).coupling_, adjusted=adjusted)


@pytest.mark.parametrize(
    "derive",
    [
        lambda coupling: 3 * coupling,
        lambda coupling: coupling[1:],
        lambda coupling: coupling.T,
        copy.deepcopy,
        lambda coupling: pickle.loads(pickle.dumps(coupling)),
    ],
    ids=["scaled", "sliced", "transposed", "copied", "pickled"],
)
def test_the_mark_of_a_depth_prior_is_kept(derive):
    coupling = DepthPriorCoupling(np.random.default_rng(0).random((4, 3)))
    with pytest.warns(UserWarning, match="circular"):
        hierarchy_score(derive(coupling))


def test_a_masked_coupling_is_refused():
    coupling = np.ma.masked_array(np.eye(3) / 3, mask=np.eye(3))
    with pytest.raises(ValueError, match="`coupling` has masked entries"):
        hierarchy_score(coupling)

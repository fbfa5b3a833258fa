import numpy as np
import pytest
from sklearn.model_selection import KFold

from skmot import RSA, MultiLevelOT, SoftMatching
from skmot.model_selection import permutation_control
from tests import reference
from tests.model_selection.common import ONE_SPLIT, stacks
from tests.networks import random_networks, rows

FEW_LAYERS = pytest.mark.filterwarnings("ignore:The p-value of control")


def control(X, y, estimator=None, **options):
    return permutation_control(
        MultiLevelOT() if estimator is None else estimator,
        X,
        y,
        control="layers",
        **{"cv": ONE_SPLIT, "n_permutations": 99, "random_state": 0, **options},
    )


@pytest.mark.parametrize("direction", ["target", "source"])
@pytest.mark.parametrize(
    ("widths", "side"),
    [(((5,) * 3, (6,) * 6), "target"), (((6,) * 6, (5,) * 3), "source")],
)
def test_three_and_six_layers_have_ninety_orders(widths, side, direction):
    X, y = stacks(source_widths=widths[0], target_widths=widths[1])
    result = control(X, y, direction=direction)
    # Each of the three layers has two counterparts: 6! / (2! 2! 2!) orders.
    assert result.smallest_p == 1 / 90
    assert result.permuted_side == side


@FEW_LAYERS
def test_the_source_is_permuted_if_both_sides_are_as_deep():
    X, y = stacks(source_widths=(5, 6, 7), target_widths=(7, 6, 5))
    result = control(X, y)
    assert result.permuted_side == "source"
    assert "permuting the source layers" in result.null_hypothesis
    assert result.smallest_p == 1 / 6


@FEW_LAYERS
def test_a_single_layer_cannot_be_permuted():
    X, y = stacks(source_widths=(5,), target_widths=(6,))
    result = control(X, y)
    assert (result.smallest_p, result.p_value) == (1, 1)


def test_a_result_names_the_quality_of_layers():
    X, y = stacks(
        source_widths=(15,) * 5, target_widths=(15,) * 5, n_stimuli=80, seed=3
    )
    result = control(X, y, cv=KFold(4))
    assert result.p_value <= 0.05
    for text in (result.conclusion, str(result)):
        assert "or layers differ in quality" in text
        assert "nor that layers correspond in the order of depth" in text
    assert "layers do not differ in quality" in result.null_hypothesis


def test_a_layer_coupling_of_costs_cannot_be_scored():
    X, y = stacks()
    with pytest.raises(TypeError, match="MultiLevelOT has no `predict`"):
        control(X, y, MultiLevelOT(RSA()))


@FEW_LAYERS
@pytest.mark.parametrize("scale", [1e-200, 1e-170, 1e160])
def test_units_whose_squares_are_no_numbers_have_the_same_scores(scale):
    X, y = random_networks((7, 5, 6), (6, 8))
    expected = control(X, y)
    found = control(X, [scale * layer for layer in y])
    assert found.score == pytest.approx(expected.score, abs=1e-9)
    np.testing.assert_allclose(
        np.sort(found.null_scores), np.sort(expected.null_scores), atol=1e-9
    )


@FEW_LAYERS
@pytest.mark.parametrize("n_held_out", [11, 13, 19])
def test_units_that_no_layer_predicts_count_as_zero(n_held_out):
    # Predictions of unmatched units are constant; their mean over 11 rows is rounded.
    X, y = random_networks((7, 5, 6), (30, 40))
    y = [layer + np.linspace(0.1, 3, layer.shape[1]) for layer in y]
    test = np.arange(n_held_out)
    split = np.arange(n_held_out, 60), test
    mot = MultiLevelOT(SoftMatching(mass=0.1))
    found = control(X, y, mot, cv=[split])
    X_train, y_train = rows(X, split[0]), rows(y, split[0])
    fitted = mot.fit(X_train, y_train)
    predicted = fitted.predict(rows(X, test))
    scores = [
        [
            0.0 if np.ptp(guess) == 0 else reference.pearson(guess, truth)
            for guess, truth in zip(guesses.T, layer[test].T, strict=True)
        ]
        for guesses, layer in zip(predicted, y, strict=True)
    ]
    assert 0.0 in scores[0]
    expected = np.mean([np.mean(layer) for layer in scores])
    assert found.score == pytest.approx(expected, abs=1e-12)

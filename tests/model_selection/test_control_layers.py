import pytest
from sklearn.model_selection import KFold

from skmot import RSA, MultiLevelOT
from skmot.model_selection import permutation_control
from tests.model_selection.common import ONE_SPLIT, stacks


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


@pytest.mark.filterwarnings("ignore:The p-value of control")
def test_the_source_is_permuted_if_both_sides_are_as_deep():
    X, y = stacks(source_widths=(5, 6, 7), target_widths=(7, 6, 5))
    result = control(X, y)
    assert result.permuted_side == "source"
    assert "permuting the source layers" in result.null_hypothesis
    assert result.smallest_p == 1 / 6


@pytest.mark.filterwarnings("ignore:The p-value of control")
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

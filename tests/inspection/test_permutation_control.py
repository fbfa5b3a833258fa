import numpy as np
import pytest

from skmot import SoftMatching
from skmot.inspection import PermutationControlDisplay
from skmot.model_selection import permutation_control

plt = pytest.importorskip("matplotlib.pyplot")


def result(**options):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 6))
    y = X[:, ::-1] + rng.normal(size=X.shape)
    options = {"control": "stimuli", "n_permutations": 30, "random_state": 0} | options
    return permutation_control(SoftMatching(), X, y, **options)


def test_the_numbers_and_the_sentence_are_those_of_the_result():
    control = result(n_pilot=0)
    display = PermutationControlDisplay.from_result(control)
    np.testing.assert_array_equal(display.null_scores, control.null_scores)
    assert sum(bar.get_height() for bar in display.bars_) == 30
    assert display.line_.get_xdata()[0] == control.score
    title = display.ax_.get_title(loc="left").replace("\n", " ")
    assert title == control.conclusion
    labels = [t.get_text() for t in display.ax_.get_legend().get_texts()]
    assert labels[0] == "permuted stimuli (30)"
    assert labels[1] == f"score {control.score:.3g} (p = {control.p_value:.2g})"
    assert display.ax_.get_xlabel() == "held-out correlation of the target"


def test_a_cost_is_drawn_as_a_cost():
    control = result(statistic="cost")
    display = PermutationControlDisplay.from_result(control, show_conclusion=False)
    assert display.line_.get_xdata()[0] == -control.score
    low, high = display.ax_.get_xlim()
    assert low < min(-control.null_scores)
    assert max(-control.null_scores) < high
    assert display.ax_.get_xlabel() == "cost of the fit"
    assert display.ax_.get_title(loc="left") == ""


def test_rotations_are_called_rotations():
    control = result(control="basis", n_permutations=19, cv=2, scale="raw")
    display = PermutationControlDisplay.from_result(control)
    legend = display.ax_.get_legend().get_texts()
    assert legend[0].get_text() == "rotated units (19)"


def test_given_axes_are_used_and_drawn_again():
    _, ax = plt.subplots()
    display = PermutationControlDisplay.from_result(result(n_pilot=0), ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert display.plot() is display
    assert display.ax_ is not ax


def test_equal_null_scores_can_be_drawn():
    display = PermutationControlDisplay(0.5, np.zeros(9), 0.1).plot()
    assert sum(bar.get_height() for bar in display.bars_) == 9


def test_other_results_are_refused():
    with pytest.raises(TypeError, match=r"permutation_control returns.*null_scores"):
        PermutationControlDisplay.from_result(np.ones(3))

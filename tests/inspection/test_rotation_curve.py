import numpy as np
import pytest

from skmot.inspection import RotationCurveDisplay
from skmot.metrics import rotation_curve

plt = pytest.importorskip("matplotlib.pyplot")


def curve(n_rotations=3):
    X = np.random.default_rng(0).exponential(size=(50, 6))
    return rotation_curve(X, X, n_rotations=n_rotations, random_state=0)


def test_mean_and_deviation_are_those_of_the_result():
    result = curve()
    display = RotationCurveDisplay.from_result(result, score_name="matching score")
    line, _, (bars,) = display.curve_
    np.testing.assert_array_equal(line.get_xdata(), result.alphas)
    np.testing.assert_array_equal(line.get_ydata(), result.mean)
    lengths = [np.ptp(segment[:, 1]) for segment in bars.get_segments()]
    np.testing.assert_allclose(lengths, 2 * result.standard_deviation, atol=1e-12)
    assert display.ax_.get_ylabel() == "matching score"
    assert display.ax_.get_legend() is None


def test_a_single_rotation_has_no_bars():
    display = RotationCurveDisplay.from_result(curve(n_rotations=1))
    assert display.curve_[2] == ()


def test_curves_on_the_same_axes_can_be_told_apart_in_grey():
    _, ax = plt.subplots()
    lines = [
        RotationCurveDisplay.from_result(curve(), name=name, ax=ax).curve_[0]
        for name in "abc"
    ]
    assert len({line.get_marker() for line in lines}) == 3
    assert len({line.get_linestyle() for line in lines}) == 3
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b", "c"]


def test_other_results_are_refused():
    with pytest.raises(TypeError, match=r"rotation_curve returns.*alphas"):
        RotationCurveDisplay.from_result({})

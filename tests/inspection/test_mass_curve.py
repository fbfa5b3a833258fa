import numpy as np
import pytest

from skmot import SoftMatching
from skmot.inspection import MassCurveDisplay
from skmot.partial import mass_curve

plt = pytest.importorskip("matplotlib.pyplot")


def curve(n_shared, **options):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(2, 120, 8))
    y[:, :n_shared] = X[:, :n_shared] + 0.3 * y[:, :n_shared]
    return mass_curve(
        X, y, np.arange(1, 9) / 8, n_permutations=19, random_state=0, **options
    )


def test_the_curve_the_share_and_its_interval_are_those_of_the_result():
    result = curve(5)
    display = MassCurveDisplay.from_result(result)
    np.testing.assert_array_equal(display.curve_.get_xdata(), result.masses)
    np.testing.assert_array_equal(display.curve_.get_ydata(), result.similarities)
    np.testing.assert_array_equal(
        display.fitted_curve_.get_ydata(), result.fitted_similarities
    )
    assert list(display.share_line_.get_xdata()) == [result.share] * 2
    across = display.interval_.get_paths()[0].vertices[:, 0]
    np.testing.assert_allclose([across.min(), across.max()], [result.low, result.high])
    title = display.ax_.get_title(loc="left").replace("\n", " ")
    assert title == result.conclusion
    verdict = display.ax_.get_legend().get_title().get_text()
    assert verdict == f"verdict: some (p = {result.p_value:.2g})"


def test_the_band_has_the_curves_by_chance():
    result = curve(5)
    display = MassCurveDisplay.from_result(result)
    heights = display.null_band_.get_paths()[0].vertices[:, 1]
    bounds = np.percentile(result.null_similarities, [2.5, 97.5], axis=0)
    np.testing.assert_allclose(
        [heights.min(), heights.max()], [bounds.min(), bounds.max()]
    )


def test_without_a_share_no_line_is_drawn():
    # Not detected, and not judged.
    for result in (curve(0), curve(5, estimator=SoftMatching(metric="cosine"))):
        display = MassCurveDisplay.from_result(result, show_conclusion=False)
        assert display.share_line_ is display.interval_ is display.fitted_curve_ is None
        assert display.verdict == result.verdict
        assert display.ax_.get_title(loc="left") == ""


def test_given_axes_are_used_and_other_results_refused():
    _, ax = plt.subplots()
    display = MassCurveDisplay.from_result(curve(8), ax=ax)
    assert display.ax_ is ax
    with pytest.raises(TypeError, match=r"mass_curve returns.*similarities"):
        MassCurveDisplay.from_result({"masses": [1]})

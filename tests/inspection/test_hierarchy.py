import numpy as np
import pytest

from skmot import MultiLevelOT
from skmot.inspection import HierarchyTestDisplay
from skmot.model_selection import hierarchy_test
from tests.networks import random_networks

plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(scope="module")
def result():
    return hierarchy_test(
        MultiLevelOT(), *random_networks(), n_permutations=19, random_state=0
    )


def test_the_line_is_the_regression_line_of_the_dots(result):
    display = HierarchyTestDisplay.from_result(result)
    distances, dissimilarities = display.dots_.get_data()
    assert len(distances) == 12
    # An independent fit of one slope to all dots.
    slope, intercept = np.polyfit(distances, dissimilarities, 1)
    np.testing.assert_allclose(slope, result.slope)
    np.testing.assert_allclose(intercept, 0, atol=1e-12)
    x, y = display.line_.get_data()
    np.testing.assert_allclose((y[1] - y[0]) / (x[1] - x[0]), result.slope)


def test_the_wedge_has_the_slopes_by_chance(result):
    display = HierarchyTestDisplay.from_result(result)
    vertices = display.wedge_.get_paths()[0].vertices
    right = vertices[vertices[:, 0] == vertices[:, 0].max()]
    slopes = right[:, 1] / right[:, 0]
    low, high = np.percentile(result.null_slopes, [2.5, 97.5])
    np.testing.assert_allclose([slopes.min(), slopes.max()], [low, high])


def test_p_values_and_the_sentence_are_written(result):
    _, ax = plt.subplots()
    display = HierarchyTestDisplay.from_result(result, ax=ax)
    assert display.ax_ is ax
    assert ax.get_title(loc="left").replace("\n", " ") == result.conclusion
    written = ax.get_legend().get_title().get_text()
    for p_value in (result.p_value, result.p_stimuli, result.p_layers_weighted):
        assert f"{p_value:.2g}" in written
    display.plot(show_conclusion=False)
    assert display.ax_.get_title(loc="left") == ""
    assert (display.slope, display.p_layers) == (result.slope, result.p_layers)


def test_other_results_are_refused(result):
    with pytest.raises(TypeError, match=r"hierarchy_test returns.*null_slopes"):
        HierarchyTestDisplay.from_result({})

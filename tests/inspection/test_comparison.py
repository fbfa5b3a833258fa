import numpy as np
import pytest

from skmot import RSA, MultiLevelOT, SoftMatching
from skmot.inspection import ComparisonDisplay
from skmot.model_selection import compare

plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(scope="module")
def comparison():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(40, 4))

    def draw():
        units = shared @ rng.normal(size=(4, 6)) + rng.normal(size=(40, 6))
        return units * rng.exponential(size=6)

    methods = {
        "plain": SoftMatching(),
        "raw": SoftMatching(reconstruct="raw"),
        "half": SoftMatching(mass=0.5),
    }
    return compare(
        {name: draw() for name in "abcd"},
        {name: draw() for name in "vwxyz"},
        methods,
        cv=2,
        n_bootstrap=20,
        random_state=0,
        verbose=False,
    )


def test_scores_and_mean_differences_are_those_of_the_comparison(comparison):
    display = ComparisonDisplay.from_result(comparison, "plain")
    assert display.methods_ == ["plain", "raw", "half"]
    assert len(display.lines_) == 20
    rows = comparison.differences("plain")
    rows = [row for row in rows if row["direction"] == "target"]
    found = display.means_[1].get_xdata()
    np.testing.assert_allclose(found, [row["difference"] for row in rows])
    ends = [interval.get_segments()[0][:, 0] for interval in display.intervals_]
    np.testing.assert_allclose(ends, [(row["low"], row["high"]) for row in rows])
    summary = comparison.summary(("method", "direction"))
    means = [row["mean"] for row in summary if row["direction"] == "target"]
    np.testing.assert_allclose(display.means_[0].get_xdata(), means)
    assert display.conclusion == comparison.differences("plain").conclusion
    # The first method is at the top, and all are within the axes.
    for ax in display.axes_:
        bottom, top = ax.get_ylim()
        assert bottom > 2 > 0 > top


def test_each_line_joins_the_scores_of_one_pair(comparison):
    display = ComparisonDisplay.from_result(comparison, "plain", direction="source")
    scores, places = display.lines_[3].get_data()
    assert list(places) == [0, 1, 2]
    rows = [
        row
        for row in comparison.summary()
        if (row["source"], row["target"], row["direction"]) == ("a", "y", "source")
    ]
    by_method = {row["method"]: row["mean"] for row in rows}
    np.testing.assert_allclose(scores, [by_method[m] for m in display.methods_])
    assert display.axes_[0].get_xlabel() == "held-out correlation of the source"


def test_over_stimuli_each_pair_has_its_interval(comparison):
    display = ComparisonDisplay.from_result(comparison, "raw", over="stimuli")
    rows = comparison.differences("raw", "stimuli")
    rows = [row for row in rows if row["direction"] == "target"]
    assert display.pair_differences == rows
    assert len(display.intervals_) == len(rows) == 40
    assert len(display.means_) == 1


def test_costs_have_no_interval():
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(30, 5)) for _ in range(3)]
    comparison = compare(
        {"x": X},
        {"y": X[::-1]},
        {s: MultiLevelOT(RSA(), strategy=s) for s in ("transport", "uniform")},
        cv=2,
        n_bootstrap=2,
        random_state=0,
        verbose=False,
    )
    display = ComparisonDisplay.from_result(comparison, "transport", direction="cost")
    assert display.intervals_ == []
    assert display.axes_[0].get_xlabel() == "held-out cost"
    with pytest.raises(ValueError, match=r"one of \['cost'\]; got 'target'"):
        ComparisonDisplay.from_result(comparison, "transport")


def test_given_axes_are_used_and_other_results_refused(comparison):
    _, axes = plt.subplots(1, 2)
    display = ComparisonDisplay.from_result(comparison, "plain", axes=axes)
    assert display.axes_.tolist() == axes.tolist()
    assert display.plot() is display
    assert display.axes_[0] is not axes[0]
    with pytest.raises(ValueError, match="Two axes"):
        ComparisonDisplay.from_result(comparison, "plain", axes=axes[0])
    with pytest.raises(TypeError, match=r"compare returns.*differences"):
        ComparisonDisplay.from_result({}, "plain")
    with pytest.raises(ValueError, match="'nothing'"):
        ComparisonDisplay.from_result(comparison, "nothing")

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from skmot import LayerStack, MultiLevelOT, SoftMatching
from skmot.inspection import CheckpointMapDisplay
from skmot.preprocessing import UnitSubsampler
from tests.networks import random_networks, trajectories

pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(scope="module")
def runs():
    source, target = trajectories(4, 2)
    source = LayerStack([LayerStack(n) for n in source], names=list("abcd"))
    return source, LayerStack([LayerStack(n) for n in target])


@pytest.fixture(scope="module")
def fitted(runs):
    return MultiLevelOT(MultiLevelOT()).fit(*runs)


def test_costs_and_coupling_are_those_of_the_checkpoints(fitted):
    display = CheckpointMapDisplay.from_estimator(fitted, network_names=("r1", "r2"))
    np.testing.assert_array_equal(display.images_[0].get_array(), fitted.layer_costs_)
    np.testing.assert_allclose(display.images_[1].get_array(), 2 * fitted.coupling_)
    ax = display.axes_[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("r2 checkpoint", "r1 checkpoint")
    assert display.colour_bars_[0].ax.get_ylabel() == "correlation distance"
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert labels == ["a", "b", "c", "d"]


@pytest.mark.parametrize("direction", ["target", "source"])
def test_the_line_is_at_the_mean_matched_checkpoint(fitted, direction):
    display = CheckpointMapDisplay.from_estimator(
        fitted, direction=direction, panels="coupling"
    )
    weights = fitted.coupling_ if direction == "target" else fitted.coupling_.T
    expected = [np.average(range(len(weights)), weights=w) for w in weights.T]
    np.testing.assert_allclose(display.positions_, expected)
    x, y = display.line_.get_data()
    along, across = (x, y) if direction == "target" else (y, x)
    np.testing.assert_array_equal(along, range(len(expected)))
    np.testing.assert_allclose(across, expected)


def test_a_pipeline_and_the_costs_alone_are_drawn(runs):
    pipeline = make_pipeline(
        UnitSubsampler(random_state=0), MultiLevelOT(MultiLevelOT())
    ).fit(*runs)
    display = CheckpointMapDisplay.from_estimator(pipeline, panels="costs")
    np.testing.assert_array_equal(display.layer_costs, pipeline[-1].layer_costs_)
    assert display.line_ is None


def test_what_has_no_checkpoints_is_refused():
    source, target = random_networks()
    for estimator in (MultiLevelOT(), SoftMatching()):
        with pytest.raises(TypeError, match="couples no networks of layers"):
            CheckpointMapDisplay.from_estimator(estimator.fit(source, target))

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from skmot import LayerStack, MultiLevelOT
from skmot.inspection import LayerCouplingDisplay
from skmot.preprocessing import UnitSubsampler
from tests.networks import random_networks

# Only this package needs it, so that it is optional.
pytest.importorskip("matplotlib").use("agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def stacks():
    source, target = random_networks()
    return LayerStack(source, names=["V1", "V2", "V4"]), LayerStack(target)


@pytest.mark.parametrize("strategy", ["transport", "pairwise_best"])
def test_costs_and_shares_are_those_of_the_fit(stacks, strategy):
    mot = MultiLevelOT(strategy=strategy).fit(*stacks)
    display = LayerCouplingDisplay.from_estimator(mot)
    costs, shares = (np.asarray(image.get_array()) for image in display.images_)
    np.testing.assert_array_equal(costs, mot.layer_costs_)
    np.testing.assert_allclose(shares.sum(axis=0), 1)
    np.testing.assert_allclose(shares, 4 * mot.coupling_)
    display = LayerCouplingDisplay.from_estimator(mot, direction="source")
    shares = np.asarray(display.images_[1].get_array())
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_allclose(shares, 3 * mot.inverse_coupling_)


def test_layers_are_called_by_their_names_else_by_number(stacks):
    mot = MultiLevelOT().fit(*stacks)
    axis = LayerCouplingDisplay.from_estimator(mot).axes_[0]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["V1", "V2", "V4"]
    assert [t.get_text() for t in axis.get_xticklabels()] == ["1", "2", "3", "4"]


def test_every_cell_is_written_out_while_there_are_few(stacks):
    display = LayerCouplingDisplay.from_estimator(MultiLevelOT().fit(*stacks))
    written = [float(text.get_text()) for text in display.axes_[0].texts]
    np.testing.assert_allclose(
        written, display.layer_costs.ravel(), rtol=0, atol=0.005 + 1e-12
    )
    wide = LayerCouplingDisplay(np.zeros((3, 40)), np.full((3, 40), 1 / 120)).plot()
    assert not wide.axes_[0].texts
    assert len(wide.axes_[0].get_xticklabels()) <= 13


def test_a_picture_is_drawn_again_without_a_fit(stacks):
    display = LayerCouplingDisplay.from_estimator(MultiLevelOT().fit(*stacks))
    first = display.figure_
    _, axes = plt.subplots(1, 2)
    assert display.plot(axes) is display
    assert display.figure_ is not first
    assert display.axes_[0] is axes[0]


def test_a_pipeline_is_drawn_as_its_last_step(stacks):
    pipeline = make_pipeline(UnitSubsampler(random_state=0), MultiLevelOT())
    display = LayerCouplingDisplay.from_estimator(pipeline.fit(*stacks))
    np.testing.assert_array_equal(display.layer_costs, pipeline[-1].layer_costs_)


def test_what_cannot_be_drawn_is_refused(stacks):
    with pytest.raises(NotFittedError):
        LayerCouplingDisplay.from_estimator(MultiLevelOT())
    mot = MultiLevelOT().fit(*stacks)
    with pytest.raises(ValueError, match="'sideways'"):
        LayerCouplingDisplay.from_estimator(mot, direction="sideways")
    with pytest.raises(ValueError, match="Two axes"):
        LayerCouplingDisplay.from_estimator(mot, axes=[plt.gca()])

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from skmot import (
    CKA,
    RSA,
    FunctionComparison,
    LayerStack,
    LinearPredictivity,
    MultiLevelOT,
    MultiLevelOTRotation,
    OneToOneMatching,
    Procrustes,
    SoftMatching,
)
from skmot.inspection import LayerCouplingDisplay
from skmot.metrics import hierarchy_score
from skmot.preprocessing import UnitSubsampler
from tests.networks import random_networks

# Only this package needs it, so that it is optional.
plt = pytest.importorskip("matplotlib.pyplot")


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
    with pytest.raises(ValueError, match="'shares'"):
        LayerCouplingDisplay.from_estimator(mot, panels="shares")
    with pytest.raises(TypeError, match="SoftMatching couples no layers"):
        LayerCouplingDisplay.from_estimator(SoftMatching().fit(*stacks))
    with pytest.raises(ValueError, match="no costs"):
        LayerCouplingDisplay(None, mot.coupling_).plot(panels="costs")


def mean_difference(X, Y):
    return abs(X.mean() - Y.mean())


QUANTITIES = {
    "correlation distance": MultiLevelOT(),
    "correlation distance, held-out folds": MultiLevelOT(cost_cv=2),
    "cosine distance": MultiLevelOT(SoftMatching(metric="cosine")),
    "squared Euclidean distance": MultiLevelOT(SoftMatching(metric="sqeuclidean")),
    "correlation distance ": MultiLevelOT(OneToOneMatching()),
    "squared error an entry": MultiLevelOTRotation(max_iter=200),
    "squared Procrustes distance": MultiLevelOT(Procrustes()),
    "1 - validation correlation": MultiLevelOT(LinearPredictivity(random_state=0)),
    "1 - RSA correlation": MultiLevelOT(RSA()),
    "1 - CKA": MultiLevelOT(CKA()),
    "mean_difference": MultiLevelOT(FunctionComparison(mean_difference)),
    "-mean_difference": MultiLevelOT(
        FunctionComparison(mean_difference, greater_is_more_alike=True)
    ),
}


@pytest.mark.parametrize(("quantity", "mot"), QUANTITIES.items(), ids=str)
def test_the_colour_bar_names_the_cost(stacks, quantity, mot):
    display = LayerCouplingDisplay.from_estimator(mot.fit(*stacks), panels="costs")
    (bar,) = display.colour_bars_
    assert bar.ax.get_ylabel().replace("\n", " ") == quantity.strip()


def test_a_cost_of_a_class_of_the_user_is_called_by_the_class(stacks):
    class Similar(SoftMatching):
        """Keeps the quantity of its base class."""

    class Other(RSA.__mro__[2]):
        def _solve(self, source, target):
            raise NotImplementedError

    fitted = MultiLevelOT(Similar()).fit(*stacks)
    display = LayerCouplingDisplay.from_estimator(fitted, panels="costs")
    assert display.cost_name == "correlation distance"
    fitted.inner_[0][0] = Other()
    display = LayerCouplingDisplay.from_estimator(fitted, panels="costs")
    assert display.cost_name == "cost of Other"


def test_the_networks_are_named_on_axes_and_colour_bar(stacks):
    mot = MultiLevelOT().fit(*stacks)
    display = LayerCouplingDisplay.from_estimator(mot, network_names=("V", "ResNet"))
    for ax in display.axes_:
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("ResNet layer", "V layer")
    label = display.colour_bars_[1].ax.get_ylabel()
    assert label.replace("\n", " ") == "share of each ResNet layer"
    display = LayerCouplingDisplay.from_estimator(
        mot, network_names=("V", "ResNet"), direction="source"
    )
    label = display.colour_bars_[1].ax.get_ylabel()
    assert label.replace("\n", " ") == "share of each V layer"


def test_the_coupling_is_drawn_alone(stacks):
    mot = MultiLevelOT().fit(*stacks)
    _, ax = plt.subplots()
    display = LayerCouplingDisplay.from_estimator(mot, axes=ax, panels="coupling")
    assert display.axes_.tolist() == [ax]
    np.testing.assert_allclose(display.images_[0].get_array(), 4 * mot.coupling_)
    display = LayerCouplingDisplay(None, mot.coupling_).plot()
    assert display.axes_.shape == (1,)


def test_pairs_can_share_limits(stacks):
    mot = MultiLevelOT().fit(*stacks)
    display = LayerCouplingDisplay.from_estimator(
        mot, cost_limits=(0, 2), share_limits=(0, 0.7)
    )
    assert [image.get_clim() for image in display.images_] == [(0, 2), (0, 0.7)]


def test_small_shares_are_scaled_to_the_largest():
    coupling = np.full((40, 3), 1 / 120)
    display = LayerCouplingDisplay(None, coupling).plot()
    np.testing.assert_allclose(display.images_[0].get_clim(), (0, 1 / 40))
    display = LayerCouplingDisplay(None, coupling, direction="source").plot()
    np.testing.assert_allclose(display.images_[0].get_clim(), (0, 1 / 3))
    display = LayerCouplingDisplay(None, np.eye(3) / 3).plot()
    assert display.images_[0].get_clim() == (0, 1)


def test_the_hierarchy_score_is_that_of_the_coupling(stacks):
    mot = MultiLevelOT().fit(*stacks)
    display = LayerCouplingDisplay.from_estimator(mot)
    assert display.hierarchy_ == hierarchy_score(mot.coupling_)
    assert display.adjusted_hierarchy_ == hierarchy_score(mot.coupling_, adjusted=True)
    assert f"hierarchy {display.hierarchy_:.2f}" in display.axes_[1].get_title()
    display.plot(show_hierarchy=False)
    assert display.axes_[1].get_title() == "Layer coupling"
    single = LayerCouplingDisplay(None, np.ones((1, 1))).plot()
    assert np.isnan(single.hierarchy_)


@pytest.mark.parametrize(
    ("source_widths", "target_widths", "note"),
    [
        ((4, 8, 16), (4, 6, 9, 12), "grow"),
        ((16, 8, 4), (12, 9, 6, 4), "fall"),
        ((4, 8, 16), (12, 9, 6, 4), None),
        ((8, 8, 8), (4, 6, 9, 12), None),
    ],
)
def test_widths_that_could_order_the_layers_are_told(
    source_widths, target_widths, note
):
    networks = random_networks(source_widths, target_widths)
    display = LayerCouplingDisplay.from_estimator(MultiLevelOT().fit(*networks))
    title = display.axes_[1].get_title().replace("\n", " ")
    assert ("Widths" in title) == (note is not None)
    assert note is None or f"Widths {note} with depth on both sides" in title
    # Costs of held-out stimuli do not fall with the width.
    held_out = MultiLevelOT(cost_cv=2).fit(*networks)
    assert LayerCouplingDisplay.from_estimator(held_out, panels="coupling").note is None


@pytest.mark.parametrize("direction", ["target", "source"])
def test_the_hierarchy_score_of_a_depth_prior_is_said_to_be_circular(stacks, direction):
    mot = MultiLevelOT(depth_prior=0.5).fit(*stacks)
    with pytest.warns(UserWarning, match="circular") as caught:
        display = LayerCouplingDisplay.from_estimator(mot, direction=direction)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    title = display.axes_[1].get_title().replace("\n", " ")
    assert "Made with depth_prior=0.5: the score is circular" in title
    # Where no score is written, nothing is said.
    display.plot(show_hierarchy=False)
    with pytest.warns(UserWarning, match="circular"):
        LayerCouplingDisplay(None, mot.coupling_).plot()


@pytest.mark.parametrize("direction", ["target", "source"])
@pytest.mark.parametrize("strategy", ["transport", "pairwise_best", "uniform"])
def test_the_costs_of_the_coupled_pairs_are_written_beside_the_mean(
    stacks, strategy, direction
):
    mot = MultiLevelOT(strategy=strategy).fit(*stacks)
    display = LayerCouplingDisplay.from_estimator(mot, direction=direction)
    plan = mot.coupling_ if direction == "target" else mot.inverse_coupling_
    coupled = sum(
        plan[pair] * mot.layer_costs_[pair] for pair in np.ndindex(plan.shape)
    )
    assert display.coupled_cost_ == pytest.approx(coupled)
    assert display.mean_cost_ == pytest.approx(
        MultiLevelOT(strategy="uniform").fit(*stacks).cost_
    )
    title = display.axes_[0].get_title()
    mean, coupled = (
        f"{cost:.2f}".lstrip("0")
        for cost in (display.mean_cost_, display.coupled_cost_)
    )
    assert title == f"Layer cost\nmean {mean}, of coupled pairs {coupled}"


def test_a_coupling_drawn_alone_has_its_costs_unless_it_is_to_be_bare(stacks):
    display = LayerCouplingDisplay.from_estimator(
        MultiLevelOT().fit(*stacks), panels="coupling"
    )
    assert "of coupled pairs" in display.axes_[0].get_title().replace("\n", " ")
    display.plot(panels="coupling", show_hierarchy=False)
    assert display.axes_[0].get_title() == "Layer coupling"
    plain = LayerCouplingDisplay(None, np.eye(3)).plot()
    assert "pairs" not in plain.axes_[0].get_title()
    assert np.isnan(plain.mean_cost_)

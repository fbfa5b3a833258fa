import numpy as np
import pytest
from scipy.sparse import csr_array, random_array
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from skmot import RSA, LayerStack, MultiLevelOT, SoftMatching
from skmot.exceptions import DeadUnitWarning
from skmot.inspection import UnitCouplingDisplay
from skmot.preprocessing import UnitSubsampler
from tests.networks import random_networks, trajectories

plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture
def networks():
    source, target = random_networks()
    return LayerStack(source, names=["V1", "V2", "V4"]), LayerStack(target)


def test_shares_are_the_columns_of_the_plan(networks):
    matching = SoftMatching().fit(*networks)
    display = UnitCouplingDisplay.from_estimator(matching)
    plan = matching.coupling_.toarray()
    shares = plan / plan.sum(axis=0)
    np.testing.assert_allclose(display.shares_.toarray(), shares)
    np.testing.assert_allclose(display.best_shares_, shares.max(axis=0))
    assert display.colour_bar_.ax.get_ylabel().split() == [
        "share",
        "of",
        "the",
        "target",
        "unit",
    ]


def test_dots_are_where_the_orders_say(networks):
    display = UnitCouplingDisplay.from_estimator(SoftMatching().fit(*networks))
    drawn = np.zeros(display.shares_.shape)
    for (x, y), share in zip(
        display.dots_.get_offsets(), display.dots_.get_array(), strict=True
    ):
        unit = display.source_order_[int(y)], display.target_order_[int(x)]
        drawn[unit] = share
    np.testing.assert_allclose(drawn, display.shares_.toarray())


def test_target_units_are_sorted_by_share_and_source_units_by_match():
    plan = np.array([[0, 0.5, 0, 0], [0, 0, 0.25, 0], [0.5, 0, 0.25, 0]])
    display = UnitCouplingDisplay(plan).plot()
    # Ties go to the lower index. Unit 3 has no weight.
    assert display.target_order_.tolist() == [0, 1, 2]
    assert display.source_order_.tolist() == [2, 0, 1]
    assert np.isnan(display.best_shares_[3])
    assert "1 target units have none" in display.ax_.get_title(loc="left").replace(
        "\n", " "
    )


def test_only_the_top_units_are_drawn():
    plan = random_array((30, 20), density=0.3, rng=0)
    display = UnitCouplingDisplay(plan, top=2).plot()
    dense = plan.toarray()
    shares = dense / dense.sum(axis=0)
    for column in range(20):
        kept = np.sort(display.shares_.toarray()[:, column])[-2:]
        np.testing.assert_allclose(kept, np.sort(shares[:, column])[-2:])
        assert np.count_nonzero(display.shares_.toarray()[:, column]) <= 2
    np.testing.assert_allclose(display.best_shares_, shares.max(axis=0))


def test_units_of_several_layers_stay_within_their_layer(networks):
    display = UnitCouplingDisplay.from_estimator(SoftMatching().fit(*networks))
    for order, widths in (
        (display.source_order_, (7, 12, 5)),
        (display.target_order_, (6, 9, 11, 8)),
    ):
        layers = np.repeat(np.arange(len(widths)), widths)[order]
        np.testing.assert_array_equal(layers, np.sort(layers))
    labels = [text.get_text() for text in display.ax_.get_yticklabels()]
    assert labels == ["V1", "V2", "V4"]
    # Each name is in the middle of its layer, whose units are at whole numbers.
    np.testing.assert_allclose(display.ax_.get_yticks(), [3, 7 + 5.5, 7 + 12 + 2])


def test_a_pair_of_layers_is_found_by_name_or_index(networks):
    mot = MultiLevelOT().fit(*networks)
    display = UnitCouplingDisplay.from_estimator(mot, layers=("V2", 3))
    expected = mot.inner_[1][3].coupling_.toarray()
    np.testing.assert_allclose(display.coupling.toarray(), expected)
    assert "V2" in display.ax_.get_ylabel()
    assert "layer 4" in display.ax_.get_xlabel()
    runs = trajectories()
    deep = MultiLevelOT(MultiLevelOT()).fit(
        *([LayerStack(network) for network in run] for run in runs)
    )
    display = UnitCouplingDisplay.from_estimator(deep, layers=((2, 1), (0, 3)))
    assert display.coupling is deep.inner_[2][0].inner_[1][3].coupling_


def test_dead_units_are_counted_and_left_out():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(2, 30, 6))
    y[:, 2] = 1.0
    with pytest.warns(DeadUnitWarning):
        matching = SoftMatching().fit(X, y)
    display = UnitCouplingDisplay.from_estimator(matching)
    assert sorted(display.target_order_) == [0, 1, 3, 4, 5]


def test_two_thousand_units_are_one_scatter():
    order = np.random.default_rng(0).permutation(2000)
    plan = csr_array((np.full(2000, 1 / 2000), (order, np.arange(2000))))
    display = UnitCouplingDisplay(plan).plot()
    x, y = display.dots_.get_offsets().T
    np.testing.assert_array_equal(x, y)
    assert len(display.ax_.collections) == 1


def test_pipelines_and_given_axes_are_used(networks):
    pipeline = make_pipeline(UnitSubsampler(random_state=0), SoftMatching())
    _, ax = plt.subplots()
    display = UnitCouplingDisplay.from_estimator(pipeline.fit(*networks), ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert display.plot() is display
    assert display.ax_ is not ax


def test_what_has_no_plan_is_refused(networks):
    with pytest.raises(NotFittedError):
        UnitCouplingDisplay.from_estimator(SoftMatching())
    mot = MultiLevelOT().fit(*networks)
    refuse = UnitCouplingDisplay.from_estimator
    with pytest.raises(TypeError, match="RSA has no plan"):
        refuse(MultiLevelOT(RSA()).fit(*networks), layers=(0, 0))
    with pytest.raises(ValueError, match="one plan for each pair"):
        refuse(mot)
    with pytest.raises(ValueError, match="no source layer 'V3'"):
        refuse(mot, layers=("V3", 0))
    with pytest.raises(ValueError, match="no target layer 4"):
        refuse(mot, layers=(0, 4))
    for layers in ((0,), (0, 0, 0), ((0, 0), 0)):
        with pytest.raises(ValueError, match="target layer of the same level"):
            refuse(mot, layers=layers)
    with pytest.raises(ValueError, match="more levels"):
        refuse(mot, layers=((0, 0), (0, 0)))
    above = MultiLevelOT(MultiLevelOT()).fit(*([side] for side in networks))
    with pytest.raises(ValueError, match="fewer levels"):
        refuse(above, layers=(0, 0))
    with pytest.raises(ValueError, match="one plan for all units"):
        refuse(SoftMatching().fit(*networks), layers=(0, 0))
    with pytest.raises(ValueError, match="no weight"):
        UnitCouplingDisplay(np.zeros((2, 3))).plot()
    with pytest.raises(ValueError, match="at least 1"):
        UnitCouplingDisplay(np.ones((2, 3)), top=0).plot()
    with pytest.raises(ValueError, match="have 5 units"):
        UnitCouplingDisplay(np.ones((2, 3)), target_layers=[("a", 5)]).plot()

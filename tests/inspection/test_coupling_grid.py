import numpy as np
import pytest

from skmot import LayerStack, MultiLevelOT, SoftMatching
from skmot.inspection import plot_coupling_grid
from tests.networks import random_networks

pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(scope="module")
def fits():
    networks = {
        name: LayerStack(random_networks(seed=seed)[0], names=["V1", "V2", "V4"])
        for seed, name in enumerate("abc")
    }
    return {
        (s, t): MultiLevelOT().fit(networks[s], networks[t])
        for s, t in [("a", "b"), ("a", "c"), ("b", "c")]
    }


def test_each_panel_shows_its_pair_on_one_scale(fits):
    grid = plot_coupling_grid(fits)
    assert grid.axes_.shape == (2, 2)
    assert grid.limits == (0, 1)
    for (source, target), mot in fits.items():
        ax = grid.axes_["ab".index(source), "bc".index(target)]
        (image,) = ax.get_images()
        np.testing.assert_allclose(image.get_array(), 3 * mot.coupling_)
        assert image.get_clim() == grid.limits
    assert not grid.axes_[1, 0].get_visible()
    assert grid.colour_bar_.ax.get_ylabel() == "share of each target layer"


def test_costs_share_limits_and_are_named(fits):
    grid = plot_coupling_grid(fits, quantity="costs")
    costs = np.array([mot.layer_costs_ for mot in fits.values()])
    assert grid.limits == (costs.min(), costs.max())
    for pair, mot in fits.items():
        np.testing.assert_array_equal(grid.matrices[pair], mot.layer_costs_)
    assert grid.colour_bar_.ax.get_ylabel() == "correlation distance"


def test_outer_panels_name_the_networks_and_the_layers(fits):
    grid = plot_coupling_grid(fits)
    # Of one set of networks the right column and the top row are whole.
    first, last = grid.axes_[0, 0], grid.axes_[0, 1]
    assert (first.get_xlabel(), first.get_ylabel()) == ("b", "")
    assert (last.get_xlabel(), last.get_ylabel()) == ("c", "a")
    assert [t.get_text() for t in last.get_yticklabels()] == ["V1", "V2", "V4"]
    assert not len(first.get_yticks())
    pairs = [("a", "c"), ("b", "c")]
    grid = plot_coupling_grid({pair: fits[pair] for pair in pairs})
    assert [ax.get_ylabel() for ax in grid.axes_.ravel()] == ["a", "b"]
    assert [ax.get_xlabel() for ax in grid.axes_.ravel()] == ["", "c"]


def test_pairs_that_leave_no_side_whole_are_labelled_each(fits):
    coupling = fits["a", "b"].coupling_
    given = [
        [coupling if i == 1 or j == 1 else None for j in range(3)] for i in range(3)
    ]
    grid = plot_coupling_grid(given)
    assert [ax.get_xlabel() for ax in grid.axes_[:, 1]] == ["2"] * 3


def test_arrays_in_nested_lists_are_drawn_in_the_order_of_the_names(fits):
    coupling = fits["a", "b"].coupling_
    given = [[None, coupling], [coupling.T, None]]
    grid = plot_coupling_grid(given, ["x", "y"], direction="source")
    np.testing.assert_allclose(grid.matrices["y", "x"], 3 * coupling.T)
    assert grid.colour_bar_.ax.get_ylabel() == "share of each source layer"
    reordered = plot_coupling_grid(fits, names=["c", "b", "a"])
    (image,) = reordered.axes_[1, 0].get_images()
    np.testing.assert_allclose(image.get_array(), 3 * fits["a", "c"].coupling_)


def test_pairs_without_a_common_scale_or_name_are_refused(fits):
    networks = random_networks()
    other = MultiLevelOT(SoftMatching(metric="cosine")).fit(*networks)
    with pytest.raises(ValueError, match="different quantities"):
        plot_coupling_grid(fits | {("b", "a"): other}, quantity="costs")
    with pytest.raises(ValueError, match=r"lacks the networks \['c'\]"):
        plot_coupling_grid(fits, names=["a", "b"])
    with pytest.raises(ValueError, match="as many names"):
        plot_coupling_grid([[None, np.eye(2)]], ["x", "y"])
    with pytest.raises(ValueError, match="no pair"):
        plot_coupling_grid([[None]])
    with pytest.raises(ValueError, match="'shares'"):
        plot_coupling_grid(fits, quantity="shares")
    with pytest.raises(ValueError, match="two dimensions"):
        plot_coupling_grid({("a", "b"): np.ones(3)})
    with pytest.raises(TypeError, match="couples no layers"):
        plot_coupling_grid({("a", "b"): SoftMatching().fit(*networks)})

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from skmot import SoftMatching
from skmot.inspection import NetworkMapDisplay
from skmot.metrics import pairwise_costs

plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture
def distances():
    points = np.random.default_rng(0).normal(size=(6, 2))
    return squareform(pdist(points))


def stress(positions, distances):
    """Kruskal's stress-1, term by term."""
    errors = squares = 0.0
    for i in range(len(distances)):
        for j in range(i):
            found = np.linalg.norm(positions[i] - positions[j])
            errors += (found - distances[i, j]) ** 2
            squares += found**2
    return np.sqrt(errors / squares)


def test_distances_in_a_plane_are_found_again(distances):
    display = NetworkMapDisplay.from_costs(distances, names=list("abcdef"))
    np.testing.assert_allclose(
        squareform(pdist(display.positions)), distances, atol=0.02
    )
    assert display.stress < 0.01
    assert display.ax_.get_title().startswith("stress 0.0")
    assert [text.get_text() for text in display.texts_] == list("abcdef")


def test_the_stress_is_that_of_the_map():
    rng = np.random.default_rng(0)
    costs = 1 + rng.random((8, 8))
    costs = np.triu(costs, 1) + np.triu(costs, 1).T
    display = NetworkMapDisplay.from_costs(costs)
    np.testing.assert_allclose(display.stress, stress(display.positions, costs))
    assert f"stress {display.stress:.2f}" in display.ax_.get_title()
    np.testing.assert_array_equal(display.costs, costs)


def test_equal_distances_have_the_stress_that_is_written():
    display = NetworkMapDisplay.from_costs(1 - np.eye(4))
    # Four points that are equally far are closest to the corners of a square. This is
    # its side with the least sum of squared errors, of four sides and two diagonals.
    side = (4 + 2 * np.sqrt(2)) / 8
    square = side * np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    best = stress(square, 1 - np.eye(4))
    np.testing.assert_allclose(display.equal_stress, best, atol=1e-3)
    assert f"({best:.2f} if all were equally far)" in display.ax_.get_title()


def test_the_map_tells_when_two_dimensions_say_little(distances):
    def title(costs):
        return NetworkMapDisplay.from_costs(costs).ax_.get_title()

    assert "little" not in title(distances)
    for n_networks in (4, 8):
        assert "two dimensions say little" in title(1 - np.eye(n_networks))
    # Three networks that are equally far are a triangle.
    assert "little" not in title(1 - np.eye(3))
    # A display that is made by hand says it, too.
    display = NetworkMapDisplay(np.zeros((5, 2)), 0.31)
    assert display.plot().ax_.get_title() == "stress 0.31:\ntwo dimensions say little"
    assert NetworkMapDisplay(np.zeros((5, 2)), 0.29).plot().ax_.get_title() == (
        "stress 0.29"
    )


def test_squared_distances_are_shown_by_their_roots(distances):
    display = NetworkMapDisplay.from_costs(distances**2, squared=True)
    np.testing.assert_allclose(display.costs, distances)
    assert display.stress < 0.01


def test_costs_that_differ_by_direction_need_a_decision(distances):
    distances[0, 1] += 0.5
    with pytest.raises(ValueError, match=r"differ by up to 0\.5.*symmetrize=True"):
        NetworkMapDisplay.from_costs(distances)
    display = NetworkMapDisplay.from_costs(distances, symmetrize=True)
    np.testing.assert_allclose(display.costs, (distances + distances.T) / 2)
    assert "mean of both directions" in display.ax_.get_title()
    symmetric = NetworkMapDisplay.from_costs(display.costs, symmetrize=True)
    assert "directions" not in symmetric.ax_.get_title()


def test_groups_have_markers_and_a_legend(distances):
    _, ax = plt.subplots()
    display = NetworkMapDisplay.from_costs(distances, groups=list("xxyyzz"), ax=ax)
    assert display.ax_ is ax
    assert len(display.dots_) == 3
    markers = {dots.get_paths()[0].vertices.tobytes() for dots in display.dots_}
    assert len(markers) == 3
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["x", "y", "z"]


def test_the_costs_of_a_network_with_itself_are_not_used(distances):
    held_out = distances + 0.3 * np.eye(6)
    display = NetworkMapDisplay.from_costs(held_out)
    assert display.stress < 0.01
    np.testing.assert_array_equal(np.diag(held_out), 0.3)


def test_what_is_no_matrix_of_distances_is_refused(distances):
    for wrong, match in (
        (distances[:2], "square matrix"),
        (distances[:2, :2], "three or more"),
        (-distances, "not negative"),
        (distances * np.nan, "finite"),
        (np.eye(3), "All `costs` are 0"),
    ):
        with pytest.raises(ValueError, match=match):
            NetworkMapDisplay.from_costs(wrong)
    with pytest.raises(ValueError, match="`names` has 1 entries"):
        NetworkMapDisplay.from_costs(distances, names=["a"])
    with pytest.raises(ValueError, match="`groups` has 1 entries"):
        NetworkMapDisplay.from_costs(distances, groups=["a"])


def test_networks_keep_the_names_that_their_costs_have():
    rng = np.random.default_rng(0)
    networks = {name: rng.normal(size=(40, 5)) for name in ("a", "b", "c")}
    costs = pairwise_costs(networks, SoftMatching(), symmetric=True)
    display = NetworkMapDisplay.from_costs(costs)
    assert list(display.names) == ["a", "b", "c"]
    renamed = NetworkMapDisplay.from_costs(costs, names=["x", "y", "z"])
    assert list(renamed.names) == ["x", "y", "z"]

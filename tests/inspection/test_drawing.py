"""What all displays have in common: figures, sizes, colours and labels."""

import sys
from itertools import pairwise

import numpy as np
import pytest

from skmot.inspection import (
    CheckpointMapDisplay,
    ComparisonDisplay,
    HierarchyTestDisplay,
    LayerCouplingDisplay,
    MassCurveDisplay,
    NetworkMapDisplay,
    PermutationControlDisplay,
    RotationCurveDisplay,
    UnitCouplingDisplay,
    UnitScoresDisplay,
    plot_coupling_grid,
)

plt = pytest.importorskip("matplotlib.pyplot")
to_rgb = pytest.importorskip("matplotlib.colors").to_rgb
rng = np.random.default_rng(0)

SENTENCE = "A sentence that says what is shown, and what is not shown by it. " * 4
LONG = "model.encoder.layers.{}.output.dense"
# A page has columns of about this width in inches.
COLUMN = 3.4


def layer_coupling(n_source, n_target):
    names = [[LONG.format(i) for i in range(n)] for n in (n_source, n_target)]
    coupling = rng.random((n_source, n_target))
    return LayerCouplingDisplay(
        rng.random((n_source, n_target)),
        coupling / coupling.sum(axis=0) / n_target,
        source_names=names[0],
        target_names=names[1],
        network_names=("a network with a long name", "another network"),
        cost_name="squared Euclidean distance, held-out folds",
        note="Widths grow with depth on both sides, which alone can order layers.",
    )


def checkpoint_map(n_source, n_target):
    display = layer_coupling(n_source, n_target)
    return CheckpointMapDisplay(display.layer_costs, display.coupling)


def unit_scores(n_layers, _):
    scores, ceilings = rng.random((2, n_layers, 20))
    names = [LONG.format(i) for i in range(n_layers)]
    return UnitScoresDisplay(
        list(scores), list(ceilings), threshold=0.2, layer_names=names
    )


def unit_coupling(n_layers, _):
    layers = [(LONG.format(i), 5) for i in range(n_layers)]
    return UnitCouplingDisplay(
        rng.random((5 * n_layers, 5 * n_layers)),
        source_layers=layers,
        target_layers=layers,
        top=2,
    )


def permutation_control(*_):
    return PermutationControlDisplay(
        0.5, rng.normal(size=999), 0.001, conclusion=SENTENCE
    )


def hierarchy(n_source, n_target):
    return HierarchyTestDisplay(
        rng.random((n_source, n_target)),
        rng.random((n_source, n_target)),
        0.5,
        rng.normal(size=99),
        p_value=0.0123,
        p_stimuli=0.0123,
        p_layers=0.0123,
        p_layers_centred=0.0123,
        p_layers_weighted=0.0123,
        conclusion=SENTENCE,
    )


def mass_curve(n_masses, _):
    curve = rng.random(n_masses)
    return MassCurveDisplay(
        np.arange(1, n_masses + 1) / n_masses,
        curve,
        curve,
        rng.normal(size=(99, n_masses)),
        verdict="some",
        share=0.6,
        low=0.5,
        high=0.7,
        p_value=0.001,
        conclusion=SENTENCE,
    )


def rotation_curve(n_alphas, _):
    alphas = np.linspace(0, 1, n_alphas)
    scores = rng.random((5, n_alphas))
    return RotationCurveDisplay(
        alphas, scores, scores.mean(axis=0), scores.std(axis=0), name="V1 and V2"
    )


def network_map(n_networks, _):
    names = [LONG.format(i) for i in range(n_networks)]
    return NetworkMapDisplay(rng.normal(size=(n_networks, 2)), 0.1, names=names)


def comparison(n_methods, n_pairs):
    methods = [LONG.format(i) for i in range(n_methods)]
    pairs = [
        {"source": i, "target": "t", "method": method, "mean": rng.random()}
        for i in range(n_pairs)
        for method in methods
    ]
    rows = [
        {"method": m, "difference": 0.1, "low": 0.0, "high": 0.3, "p_corrected": 1e-6}
        for m in methods[1:]
    ]
    differences = [
        pair | {"difference": 0.1} for pair in pairs if pair["method"] != methods[0]
    ]
    return ComparisonDisplay(pairs, rows, differences, reference=methods[0])


DISPLAYS = [
    layer_coupling,
    checkpoint_map,
    unit_scores,
    unit_coupling,
    permutation_control,
    hierarchy,
    mass_curve,
    rotation_curve,
    network_map,
    comparison,
]


def assert_all_is_inside(figure):
    """Compare what is drawn, all texts included, with the page."""
    figure.draw_without_rendering()
    drawn = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert min(drawn.x0, drawn.y0) >= -0.02
    assert drawn.x1 <= width + 0.02
    assert drawn.y1 <= height + 0.02


@pytest.mark.parametrize("size", [(3, 3), (40, 40)], ids=str)
@pytest.mark.parametrize("make", DISPLAYS)
def test_no_text_is_cut_off_at_the_width_of_a_column(make, size):
    display = make(*size).plot()
    assert_all_is_inside(display.figure_)
    n_panels = len(getattr(display, "axes_", [0]))
    assert display.figure_.get_figwidth() <= n_panels * COLUMN
    sizes = [text.get_fontsize() for text in display.figure_.findobj(plt.Text)]
    assert min(sizes) >= 5


@pytest.mark.parametrize("n_networks", [2, 6])
def test_no_text_of_a_grid_is_cut_off(n_networks):
    names = [f"subject {i}" for i in range(n_networks)]
    coupling = np.eye(7) / 7
    pairs = {(s, t): coupling for i, s in enumerate(names) for t in names[i + 1 :]}
    assert_all_is_inside(plot_coupling_grid(pairs).figure_)


@pytest.mark.parametrize("n_layers", [3, 13, 40, 200])
def test_labels_of_layers_do_not_overlap(n_layers):
    display = LayerCouplingDisplay(None, np.eye(n_layers) / n_layers).plot()
    display.figure_.draw_without_rendering()
    ax = display.axes_[0]
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        boxes = [label.get_window_extent() for label in labels]
        assert not any(first.overlaps(second) for first, second in pairwise(boxes))
        assert labels[0].get_text() == "1"
        assert len(labels) <= 13


def test_numbers_in_cells_fit_and_can_be_told_from_their_cells():
    values = np.linspace(-0.5, 3, 30).reshape(5, 6)
    display = LayerCouplingDisplay(values, values, cost_name="x").plot(panels="costs")
    display.figure_.draw_without_rendering()
    ax, image = display.axes_[0], display.images_[0]
    width = ax.get_window_extent().width / 6
    for text, value in zip(ax.texts, values.ravel(), strict=True):
        np.testing.assert_allclose(float(text.get_text()), value, rtol=0, atol=0.006)
        assert text.get_window_extent().width < width
        cell = image.cmap(image.norm(value))[:3]
        assert abs(lightness(cell) - lightness(to_rgb(text.get_color()))) > 0.3
    values = 1e-4 * values[:, :2]
    small = LayerCouplingDisplay(values, values).plot(panels="costs")
    written = [float(text.get_text()) for text in small.axes_[0].texts]
    np.testing.assert_allclose(written, values.ravel(), rtol=0.06)


def lightness(colour):
    return np.dot(colour, [0.299, 0.587, 0.114])


def test_colour_scales_can_be_read_in_grey():
    images = [
        *layer_coupling(3, 3).plot().images_,
        unit_coupling(3, 3).plot().dots_,
    ]
    for image in images:
        colours = image.cmap(np.linspace(0, 1, 50))[:, :3]
        steps = np.diff([lightness(colour) for colour in colours])
        assert (steps > 0).all() or (steps < 0).all()


@pytest.mark.parametrize("make", DISPLAYS)
def test_drawing_opens_one_figure_and_none_on_given_axes(make):
    display = make(3, 4).plot()
    assert plt.get_fignums() == [display.figure_.number]
    axes = getattr(display, "axes_", None)
    _, given = plt.subplots(1, 1 if axes is None else len(axes))
    assert display.plot(given) is display
    assert len(plt.get_fignums()) == 2
    assert display.figure_ is np.ravel(given)[0].figure


def test_a_figure_is_closed_if_drawing_fails():
    display = HierarchyTestDisplay(
        np.eye(3),
        np.eye(3),
        "no number",
        np.ones(3),
        p_value=1,
        p_stimuli=1,
        p_layers=1,
        p_layers_centred=1,
        p_layers_weighted=1,
    )
    with pytest.raises(TypeError):
        display.plot()
    assert plt.get_fignums() == []


def test_the_style_of_the_user_is_kept():
    before = dict(plt.rcParams)
    layer_coupling(3, 3).plot()
    plot_coupling_grid({("a", "b"): np.eye(3) / 3})
    assert dict(plt.rcParams) == before
    with plt.rc_context({"font.size": 15}):
        _, ax = plt.subplots()
        rotation_curve(3, 3).plot(ax)
    assert ax.xaxis.label.get_fontsize() == 15


@pytest.mark.parametrize("make", DISPLAYS)
def test_without_matplotlib_the_extra_is_named(make, monkeypatch):
    display = make(3, 3)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install 'skmot\[plot\]'"):
        display.plot()


def test_without_matplotlib_a_grid_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"skmot\[plot\]"):
        plot_coupling_grid({("a", "b"): np.eye(3) / 3})

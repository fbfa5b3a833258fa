import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

from skmot import LayerStack, MultiLevelOT, SoftMatching
from skmot.inspection import UnitScoresDisplay
from skmot.metrics import noise_ceiling, noise_corrected_score
from skmot.preprocessing import UnitSubsampler
from tests.networks import random_networks, trajectories

plt = pytest.importorskip("matplotlib.pyplot")
TRAIN, TEST = slice(40), slice(40, 60)


@pytest.fixture
def stacks():
    source, target = random_networks()
    # Constant on the held-out rows only, so that it is live in the fit.
    target[1][TEST, 4] = 0.5
    return LayerStack(source), LayerStack(target, names=["V1", "V2", "V4", "IT"])


@pytest.mark.parametrize("direction", ["target", "source"])
def test_boxes_and_means_are_those_of_the_scores(stacks, direction):
    X, y = stacks
    mot = MultiLevelOT().fit(X[TRAIN], y[TRAIN])
    display = UnitScoresDisplay.from_estimator(
        mot, X[TEST], y[TEST], direction=direction
    )
    scores = mot.unit_scores(X[TEST], y[TEST], direction)
    for layer, median in zip(scores, display.boxes_["medians"], strict=True):
        np.testing.assert_allclose(median.get_ydata(), np.nanmedian(layer))
    means = mot.layer_scores(X[TEST], y[TEST], direction)
    np.testing.assert_allclose(display.layer_scores_, means)
    np.testing.assert_allclose(display.means_.get_ydata(), means)
    assert display.ax_.get_xlabel() == f"{direction} layer"


def test_units_that_are_left_out_are_counted(stacks):
    X, y = stacks
    mot = MultiLevelOT().fit(X[TRAIN], y[TRAIN])
    display = UnitScoresDisplay.from_estimator(mot, X[TEST], y[TEST])
    assert display.n_left_out_.tolist() == [0, 1, 0, 0]
    title = display.ax_.get_title(loc="left").replace("\n", " ")
    assert "33 of 34 target units; 1 left out (constant)" in title


def test_units_with_low_ceilings_are_left_out():
    scores = [np.array([0.1, 0.2, np.nan, 0.4]), np.array([0.5, 0.6])]
    ceilings = [np.array([0.9, 0.1, 0.9, np.nan]), np.array([0.1, 0.2])]
    display = UnitScoresDisplay(scores, ceilings, threshold=0.3).plot()
    assert display.n_left_out_.tolist() == [3, 2]
    assert display.kept_[0].tolist() == [True, False, False, False]
    np.testing.assert_allclose(display.layer_scores_, [0.1, np.nan])
    np.testing.assert_allclose(
        display.ceiling_boxes_["medians"][0].get_ydata(), [0.9, 0.9]
    )
    title = display.ax_.get_title(loc="left").replace("\n", " ")
    assert "1 of 6 target units; 5 left out (constant, or ceiling below 0.3)" in title
    labels = [t.get_text() for t in display.ax_.get_legend().get_texts()]
    assert labels == ["unit scores", "noise ceilings", "mean"]


def test_a_stack_with_trials_gives_the_ceilings():
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(60, 5))
    labels = np.tile(np.arange(60), 3)
    trials = np.tile(signal, (3, 1)) + rng.normal(size=(180, 5))
    y = LayerStack.from_trials({"V1": trials}, labels)
    X = LayerStack({"model": signal}, stimuli=np.arange(60))
    mot = MultiLevelOT().fit(X[TRAIN], y[TRAIN])
    display = UnitScoresDisplay.from_estimator(mot, X[TEST], y[TEST], ceilings=y[TEST])
    expected = noise_ceiling(y[TEST], random_state=0)[0]
    np.testing.assert_allclose(display.ceilings[0], expected)
    result = noise_corrected_score(mot, X[TEST], y[TEST], random_state=0)
    from_result = UnitScoresDisplay.from_result(result, layer_names=["V1"])
    assert from_result.layer_names == ["V1"]
    named = UnitScoresDisplay.from_result(result)
    assert list(named.layer_names) == list(result.array_names)
    np.testing.assert_allclose(from_result.layer_scores_, result.raw_score)
    np.testing.assert_allclose(from_result.ceilings[0], result.ceilings[0])


def test_nested_layers_are_drawn_one_by_one():
    source, target = (
        LayerStack([LayerStack(network) for network in run]) for run in trajectories()
    )
    mot = MultiLevelOT(MultiLevelOT()).fit(source[TRAIN], target[TRAIN])
    display = UnitScoresDisplay.from_estimator(mot, source[TEST], target[TEST])
    assert display.layer_names[:5] == ["1, 1", "1, 2", "1, 3", "1, 4", "2, 1"]
    scores = mot.unit_scores(source[TEST], target[TEST])
    np.testing.assert_allclose(display.layer_scores_[5], scores[1][1].mean())


def test_single_arrays_pipelines_and_given_axes_are_used(stacks):
    X, y = stacks
    matching = SoftMatching().fit(X.layers[0][TRAIN], y.layers[0][TRAIN])
    _, ax = plt.subplots()
    display = UnitScoresDisplay.from_estimator(
        matching, X.layers[0][TEST], y.layers[0][TEST], ax=ax
    )
    assert display.ax_ is ax
    assert len(display.kept_) == 1
    pipeline = make_pipeline(UnitSubsampler(random_state=0), MultiLevelOT())
    pipeline.fit(X[TRAIN], y[TRAIN])
    display = UnitScoresDisplay.from_estimator(pipeline, X[TEST], y[TEST])
    np.testing.assert_allclose(
        display.layer_scores_.mean(), pipeline.score(X[TEST], y[TEST])
    )


def test_what_has_no_scores_is_refused(stacks):
    X, y = stacks
    with pytest.raises(NotFittedError):
        UnitScoresDisplay.from_estimator(MultiLevelOT(), X, y)
    regression = LinearRegression().fit(X.layers[0], y.layers[0])
    with pytest.raises(TypeError, match="LinearRegression has no `unit_scores`"):
        UnitScoresDisplay.from_estimator(regression, X.layers[0], y.layers[0])
    with pytest.raises(TypeError, match=r"noise_corrected_score.*without unit_scores"):
        UnitScoresDisplay.from_result({})
    scores = [np.ones(3), np.ones(2)]
    for wrong, match in (
        ({"ceilings": [np.ones(3)]}, "one number for each unit"),
        ({"ceilings": [np.ones(3), np.ones(3)]}, "one number for each unit"),
        ({"threshold": 0.1}, "give `ceilings`"),
        ({"layer_names": ["a"]}, "1 names"),
        ({"direction": "up"}, "'up'"),
    ):
        with pytest.raises(ValueError, match=match):
            UnitScoresDisplay(scores, **wrong).plot()
    with pytest.raises(ValueError, match="No unit has a score"):
        UnitScoresDisplay(np.full(3, np.nan)).plot()
